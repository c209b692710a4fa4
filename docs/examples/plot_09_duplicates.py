"""
Near-duplicates
===============

``duplicates`` compares all pairs, without clusters first: which images to keep, and which of them stands for each.
"""

import io

import matplotlib.pyplot as plt
import numpy as np

import hnscore
from hnscore import demo

data = demo.load()
kept, representatives = hnscore.duplicates(data.img_emb, 0.9)
print(f"{len(kept)} of {len(data.img_emb)} images are kept")

size = np.bincount(representatives, minlength=len(data.img_emb))
figure, axes = plt.subplots(4, 8, figsize=(8, 4.4), layout="constrained")
for row, image in zip(axes, np.argsort(-size, kind="stable")[:4], strict=True):
    members = np.flatnonzero(representatives == image)
    for ax, i in zip(row, members[: len(row)], strict=False):
        ax.imshow(plt.imread(io.BytesIO(data.thumbnails[i])))
    row[0].set_title(f"{len(members)} like “{data.names[image]}”", fontsize=9, loc="left")
for ax in axes.flat:
    ax.axis("off")
