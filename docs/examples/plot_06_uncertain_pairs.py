"""
Uncertain pairs
===============

Some encoders embed an image or a text as a Gaussian: a place, and how sure it is of it. ``informativeness`` says how
much there is to learn from each pair, ``fuse`` joins the two sides.
"""

import matplotlib.pyplot as plt
import numpy as np

import hnscore

rng = np.random.default_rng(0)
n, dim = 400, 16
img_mean = rng.normal(size=(n, dim))
apart = rng.uniform(0, 2, (n, 1))  # how far the text is from its image
txt_mean = img_mean + apart * rng.normal(size=(n, dim)) / np.sqrt(dim)
vague = rng.uniform(0.02, 1, (n, 1))  # how unsure the encoder is
variance = np.repeat(vague, dim, axis=1)

found = hnscore.informativeness(img_mean, variance, txt_mean, variance)

figure, axes = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained")
for ax, name in zip(axes, ("intra", "inter", "total"), strict=True):
    dots = ax.scatter(vague, apart, c=getattr(found, name), s=10)
    ax.set(title=name, xlabel="variance", ylabel="distance of the means")
    figure.colorbar(dots, ax=ax)

# %%
# Where the pairs are crowded, with their uncertainty taken into account:

mean, var = hnscore.fuse(img_mean, variance, txt_mean, variance)
density = hnscore.density(mean, "gaussian", variance=var.mean(axis=1))
chosen = hnscore.select(found.total, 20, method="density", density=density)
print(chosen)
