"""
Choosing a margin
=================

A margin says how far below its text's own image an image may be and still count as a hard negative. Too wide, and a
score is little more than a mean similarity; too narrow, and all scores are 0.
"""

import matplotlib.pyplot as plt

import hnscore
from hnscore import demo

data = demo.load()
rule = {"reference": data.reference}

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
hnscore.plot.similarity_histogram(data.img_emb, data.txt_emb, 0.2, ax=left, **rule)
hnscore.plot.margin_curve(data.img_emb, data.txt_emb, 0.2, ax=right, **rule)

# %%
# ``margin_for`` gives the largest margin at which at most a share of the pairs counts, exactly:

for share in (0.0001, 0.001, 0.01):
    margin = hnscore.margin_for(data.img_emb, data.txt_emb, share, **rule)
    print(f"{share:7.2%} of the pairs: margin {margin:+.4f}")

# %%
# A negative margin means that more pairs than that lie beyond their text's own image: at a margin of 0 they would all
# count.

margin = hnscore.margin_for(data.img_emb, data.txt_emb, 0.01, **rule)
counts = hnscore.score(data.img_emb, data.txt_emb, margin, weight="count", **rule)
print(f"at {margin:.4f}: {counts.sum():,} pairs, {counts.sum() / (len(counts) * len(data.captions)):.4%}")
