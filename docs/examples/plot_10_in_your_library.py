"""
In your library
===============

``hnscore.adapters`` has query strategies and miners in the shape that other libraries expect: here a strategy of
scikit-activeml, which is asked for ten samples a round.
"""

import matplotlib.pyplot as plt
import numpy as np

import hnscore
from hnscore import demo
from hnscore.adapters.skactiveml import HNScoreSampling

data = demo.load()
embeddings = data.img_emb.astype(np.float64)
labels = np.full(len(embeddings), np.nan)

strategy = HNScoreSampling(method="coverage")
rounds = []
for _ in range(4):
    picked = strategy.query(X=embeddings, y=labels, batch_size=10)
    labels[picked] = 0  # whatever the annotator says
    rounds.append(picked)

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
hnscore.plot.selection_map(embeddings, np.concatenate(rounds), ax=ax)

# %%
# The same picks by the function itself:

print(np.array_equal(np.sort(rounds[0]), np.sort(hnscore.select(None, 10, embeddings=embeddings, method="coverage"))))
