"""
How crowded is the pool?
========================

A density says how much there is around each image: typical ones, and those that stand alone.
"""

import io

import matplotlib.pyplot as plt
import numpy as np

import hnscore
from hnscore import demo

data = demo.load()
kinds = {
    "knn": {"k": 10},
    "ball": {"min_similarity": 0.7},
    "kernel": {"temperature": 0.1},
    "mean": {},
}
densities = {kind: hnscore.density(data.img_emb, kind, **options) for kind, options in kinds.items()}

figure, axes = plt.subplots(4, 12, figsize=(10, 4), layout="constrained")
for row, (kind, density) in zip(axes, densities.items(), strict=True):
    order = np.argsort(density)
    for ax, i in zip(row, [*order[::-1][:6], *order[:6]], strict=True):
        ax.imshow(plt.imread(io.BytesIO(data.thumbnails[i])))
        ax.axis("off")
    row[0].set_title(f"{kind}: where it is densest", fontsize=9, loc="left")
    row[6].set_title("and where it is not", fontsize=9, loc="left")
