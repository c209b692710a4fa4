"""
A pool on disk
==============

Pools are kept as folders of shards, with ids. A ``dataset`` reads them block by block; ``shards`` writes one result for
each shard and continues where it was interrupted.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import hnscore
from hnscore import demo

folder = Path(tempfile.mkdtemp())
demo.save(folder, shards=8)
print(*sorted(path.name for path in (folder / "pool").iterdir()))

pool = hnscore.dataset(folder / "pool", ids="id")
texts, reference = np.load(folder / "texts.npy"), np.load(folder / "reference.npy")
print(pool.shape)

# %%
# The scores are those of one array, bit for bit:

scores = hnscore.score(pool, texts, 0.2, reference=reference)
print(pool.ids_of(np.argsort(-scores)[:5]))

# %%
# With an output the work is resumable: the second run finds everything done.

for _ in range(2):
    done = hnscore.shards.score(pool, texts, 0.2, reference=reference, output=folder / "scores")
    print(f"{done.computed} of {done.shards} shards computed")

figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
ax.boxplot(np.array_split(scores, 8))
ax.set(xlabel="shard", ylabel="score")
