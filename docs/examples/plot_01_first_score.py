"""
A first score
=============

Which images would be mistaken for another image's caption? Three arrays are enough to ask: embeddings of the images
that have no text yet, embeddings of the texts you have, and of these texts' own images.
"""

import io

import matplotlib.pyplot as plt
import numpy as np

import hnscore
from hnscore import demo

data = demo.load()
print(data.img_emb.shape, data.txt_emb.shape, data.reference.shape)

scores = hnscore.score(data.img_emb, data.txt_emb, 0.2, reference=data.reference)

# %%
# A score sums by how much an image exceeds the thresholds of the texts, so 0 means that it is a hard negative of none.
# Three of the hardest that differ, each with the text that it is mistaken for most and that text's own image:

offsets, texts, similarities = hnscore.pairs(data.img_emb, data.txt_emb, 0.2, reference=data.reference)
own_similarity = hnscore.reference_similarity(data.reference, data.txt_emb)

hard = hnscore.select(scores, 3, method="repulsive", embeddings=data.img_emb)
figure, axes = plt.subplots(2, 3, figsize=(7, 4.6), layout="constrained")
for column, i in enumerate(hard):
    of_image = slice(offsets[i], offsets[i + 1])
    gap = similarities[of_image] - own_similarity[texts[of_image]]
    text = texts[of_image][gap.argmax()]
    shown = [
        (data.thumbnails[i], f"{data.names[i]}\nscore {scores[i]:.1f}, {len(gap)} texts"),
        (data.own_thumbnails[data.owner[text]], f"“{data.captions[text].split(':')[0]}”"),
    ]
    for ax, (thumbnail, title) in zip(axes[:, column], shown, strict=True):
        ax.imshow(plt.imread(io.BytesIO(thumbnail)))
        ax.set_title(title, fontsize=9)
        ax.axis("off")

# %%
# Counts instead of sums are exact integers, the same on every machine:

counts = hnscore.score(data.img_emb, data.txt_emb, 0.2, reference=data.reference, weight="count")
print(f"{counts.sum():,} of {len(scores) * len(data.captions):,} pairs count; {np.diff(offsets).sum():,} are listed")
