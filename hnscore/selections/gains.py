"""What each row of a pool would have added at each pick of a greedy selection: for hosts that ask for utilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.engine.cpu import Cpu
from hnscore.engine.protocol import Request
from hnscore.selections.greedy import Floats, Pool, Rows


def gains_of_all(method: str, pool: Pool, picks: Rows, labeled: Rows, temperature: float) -> Floats:
    """(len(picks), n), NaN for rows that are labeled or picked before. The pick has the largest of its row.

    "core_set": the distance to the nearest row labeled or picked, or where there is none the likeness to the mean row;
    "coverage" and "herding": as `hnscore.select` returns them, all rows being points.
    """
    gains = {"core_set": _distances, "coverage": _coverage, "herding": _herding}[method]
    out = np.empty((len(picks), len(pool.emb)))
    taken = np.zeros(len(pool.emb), bool)
    taken[labeled] = True
    for t, (pick, row) in enumerate(zip(picks, gains(pool, picks, labeled, temperature), strict=False)):
        out[t] = row
        out[t, taken] = np.nan
        out[t, pick] = np.nanmax(out[t])  # but for rounding it is
        taken[pick] = True
    return out


def _kernels(pool: Pool, points: NDArray[Any], temperature: float) -> Floats:
    """sum_x k(x, c) of all rows c."""
    everyone = np.arange(len(pool.emb))
    return _core.coverage_gains(pool.emb, pool.code, everyone, points, pool.code, temperature, pool.n_threads)


def _similarities(pool: Pool, row: int) -> Floats:
    """Of all rows with one."""
    one = np.full(len(pool.emb), row)
    return _core.pair_similarity(
        pool.emb, pool.code, one, pool.emb, pool.code, "cosine", pool.n_threads
    )[0]  # fmt: skip


def _distances(pool: Pool, picks: Rows, labeled: Rows, _: float) -> Any:
    if len(labeled):
        known = pool.emb[labeled]
        others = pool.rows._replace(array=known, shape=known.shape)
        distance = 1 - Cpu(pool.n_threads).nearest(pool.rows, others, 1, Request(), False)[0][:, 0]
    else:
        x = pool.emb / np.linalg.norm(pool.emb.astype(np.float64), axis=1, keepdims=True)
        yield x @ x.mean(axis=0)
        distance = 1 - _similarities(pool, int(picks[0]))
        picks = picks[1:]
    for pick in picks.tolist():
        yield distance
        distance = np.minimum(distance, 1 - _similarities(pool, pick))


def _coverage(pool: Pool, picks: Rows, labeled: Rows, temperature: float) -> Any:
    everyone, floor = np.arange(len(pool.emb)), np.zeros(len(pool.emb))
    points = (pool.emb, pool.code, temperature, pool.n_threads)
    _core.raise_floor(pool.emb, pool.code, labeled, *points, floor)
    for t in range(len(picks)):
        yield _core.coverage_gains(pool.emb, pool.code, everyone, *points, floor=floor) / len(everyone)
        _core.raise_floor(pool.emb, pool.code, picks[t : t + 1], *points, floor)


def _herding(pool: Pool, picks: Rows, labeled: Rows, temperature: float) -> Any:
    mean = _kernels(pool, pool.emb, temperature) / len(pool.emb)
    chosen = _kernels(pool, pool.emb[labeled], temperature) if len(labeled) else np.zeros(len(pool.emb))
    for t in range(len(picks)):
        yield mean - chosen / (len(labeled) + t + 1)
        chosen += _kernels(pool, pool.emb[picks[t : t + 1]], temperature)
