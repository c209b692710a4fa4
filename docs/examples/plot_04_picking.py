"""
Picking under a budget
======================

What to annotate next? The hardest images alone are one picture many times. ``select`` picks images that cover the
pool, by default the better half of the scores; ``prefer="easy"`` takes the less hard half, which made the better
training sets in the `experiments <../active_learning.html>`_.
"""

import io

import matplotlib.pyplot as plt

import hnscore
from hnscore import demo

data = demo.load()
scores = hnscore.score(data.img_emb, data.txt_emb, 0.2, reference=data.reference)

picks = {
    "the hardest": hnscore.select(scores, 12, method="top"),
    "hard and different": hnscore.select(scores, 12, method="repulsive", embeddings=data.img_emb),
    "cover the easy half": hnscore.select(scores, 12, prefer="easy", embeddings=data.img_emb),
}
figure, axes = plt.subplots(3, 12, figsize=(10, 3.2), layout="constrained")
for row, (name, rows) in zip(axes, picks.items(), strict=True):
    for ax, i in zip(row, rows, strict=True):
        ax.imshow(plt.imread(io.BytesIO(data.thumbnails[i])))
        ax.axis("off")
    row[0].set_title(name, fontsize=9, loc="left")

# %%
# On a map of the pool, and by how near the pool is to its nearest pick:

rows = hnscore.select(scores, 40, prefer="easy", embeddings=data.img_emb)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
hnscore.plot.selection_map(data.img_emb, rows, values=scores, ax=left)
hnscore.plot.coverage_curve(data.img_emb, rows, ax=right)
