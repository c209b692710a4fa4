"""Regions of a pool: clusters of the directions of its rows."""

from __future__ import annotations

import numpy as np

from hnscore.arguments.dtypes import as_float64
from hnscore.selections.greedy import Floats, Pool, Rows

_MOST_ROWS = 100_000  # that k-means learns from
_CHUNK = 2**14  # rows at a time


def kmeans_regions(pool: Pool, n_regions: int, random: np.random.Generator) -> Rows:
    """The region of each row. k-means learns from at most 100,000 of them, drawn at random."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise ImportError(
            "regions must be an array of labels where scikit-learn is not installed, got a number; "
            "pip install scikit-learn, or pass the region of each row"
        ) from error
    n = len(pool.emb)
    drawn = np.sort(random.choice(n, _MOST_ROWS, replace=False, shuffle=False)) if n > _MOST_ROWS else np.arange(n)
    seed = int(random.integers(2**31))
    model = KMeans(min(n_regions, len(drawn)), n_init=1, random_state=seed).fit(_directions(pool, drawn))
    rows = np.arange(n)
    labels = [model.predict(_directions(pool, rows[i : i + _CHUNK])) for i in range(0, n, _CHUNK)]
    return np.concatenate(labels).astype(np.int64)


def _directions(pool: Pool, rows: Rows) -> Floats:
    values = as_float64(pool.emb[rows], pool.code)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float64)
