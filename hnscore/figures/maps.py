"""Where rows lie, and what picks stand for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.dtypes import as_float64
from hnscore.engine.host import HostRows, evenly_spread

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_LEARNT = 20_000  # rows that axes are learnt from
_COVERED = 10_000
_DRAWS = 5  # of random picks


class Axes(NamedTuple):
    """The directions along which unit rows spread most."""

    mean: Floats
    axes: Floats  # (n, dim)
    share: float  # of the variance that the first two hold

    def place(self, emb: HostRows, rows: Rows) -> Floats:
        places: Floats = (unit(emb, rows) - self.mean) @ self.axes.T
        return places


class Coverage(NamedTuple):
    """How near the pool is to its nearest pick, on average, after each number of picks, and to random ones."""

    budget: Rows
    picked: Floats
    random: Floats  # mean of several draws
    random_low: Floats
    random_high: Floats


def unit(emb: HostRows, rows: Rows) -> Floats:
    """Some rows with norm 1, in float64; a zero row stays one."""
    x = as_float64(emb.array[rows], emb.code)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    scaled: Floats = np.divide(x, norms, out=np.zeros(x.shape), where=norms > 0)
    return scaled


def principal_axes(emb: HostRows, n_axes: int = 2) -> Axes:
    """Of at most 20,000 rows, evenly spread."""
    x = unit(emb, evenly_spread(emb.shape[0], _LEARNT))
    mean = x.mean(axis=0)
    x -= mean
    spread, axes = np.linalg.eigh(x.T @ x)
    spread, axes = spread[::-1], axes.T[::-1][:n_axes].copy()
    axes = np.concatenate([axes, np.zeros((n_axes - len(axes), axes.shape[1]))])  # of fewer dims than that
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.sign(axes[np.arange(len(axes)), largest])[:, None]  # either sign is right: the largest entry is positive
    total = float(spread.sum())
    return Axes(mean, axes, float(spread[:2].sum()) / total if total else 1.0)


def coverage_curve(emb: HostRows, picks: Rows, seed: int = 0) -> Coverage:
    """Over at most 10,000 rows, evenly spread; random picks in five draws."""
    n = emb.shape[0]
    looked_at = unit(emb, evenly_spread(n, _COVERED)).astype(np.float32)
    rng = np.random.default_rng(seed)

    def curve(rows: Rows) -> Floats:
        s = np.maximum.accumulate(unit(emb, rows).astype(np.float32) @ looked_at.T, axis=0)
        means: Floats = s.mean(axis=1, dtype=np.float64)
        return means

    random = np.stack([curve(rng.choice(n, len(picks), replace=False)) for _ in range(_DRAWS)])
    return Coverage(
        np.arange(1, len(picks) + 1), curve(picks), random.mean(axis=0), random.min(axis=0), random.max(axis=0)
    )


def stands_for(emb: HostRows, picks: Rows) -> tuple[Rows, Rows, Floats]:
    """Rows, at most 20,000 evenly spread; of each the nearest pick, by its place in `picks`, and the similarity."""
    rows = evenly_spread(emb.shape[0], _LEARNT)
    s = unit(emb, rows).astype(np.float32) @ unit(emb, picks).astype(np.float32).T
    nearest = s.argmax(axis=1)
    return rows, nearest, s[np.arange(len(rows)), nearest].astype(np.float64)
