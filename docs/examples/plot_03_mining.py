"""
Negatives to train on
=====================

``mine`` gives each text its most similar images that are a margin or more below its own: hard ones, but not the
likely false negatives above.
"""

import io

import matplotlib.pyplot as plt
import numpy as np

import hnscore
from hnscore import demo

data = demo.load()
paired = data.reference[np.unique(data.owner, return_index=True)[1]]
emb = np.concatenate([data.img_emb, paired])  # all images, those that own a text at the end
thumbnails = [*data.thumbnails, *data.own_thumbnails]
owner = len(data.img_emb) + data.owner

similarities, indices = hnscore.mine(emb, data.txt_emb, 5, owner=owner, margin=0.1)
print(indices.shape, f"{(indices < 0).sum()} places are empty")

# %%
# Two captions: the own image, then their negatives.

figure, axes = plt.subplots(2, 6, figsize=(9, 3.4), layout="constrained")
for row, caption in zip(axes, ("walking", "smiling face"), strict=True):
    text = data.captions.index(caption)
    for ax, image in zip(row, [owner[text], *indices[text]], strict=True):
        ax.imshow(plt.imread(io.BytesIO(thumbnails[image])))
        ax.axis("off")
        s = hnscore.reference_similarity(emb[image : image + 1], data.txt_emb[text : text + 1])[0]
        ax.set_title(f"{s:.2f}", fontsize=9)
    row[0].set_title(f"“{caption}”", fontsize=9)
