"""Facility location with other kernels than the exponential: the cosine itself, and a ball.

Cosine, as facility location has it: k(x, c) = max(s(x, c), 0). Ball, as ProbCover has it: 1 where
s(x, c) >= min_similarity, else 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.checks import check_similarity_level
from hnscore.arguments.numbers import check_choice, check_given_with
from hnscore.arguments.options import KERNELS
from hnscore.engine.lists import Room, by_other_side, finder, gathered, parts
from hnscore.engine.pool import choose, pack
from hnscore.engine.protocol import Request
from hnscore.engine.sums import reduced_blocks
from hnscore.selections.coverage import points_of
from hnscore.selections.greedy import Chosen, Floats, Pool

_LOOKED_AT = 256  # rows at a time, of those that lead by their bounds
_PATIENCE = 16  # times that, for one pick, before all bounds are made anew
_BOUND = 2.0**-18  # of a sum of the engine, relative: far above its error


def check_kernel(kernel: object, method: str, min_similarity: object) -> float | None:
    """The radius of a ball."""
    check_choice("kernel", kernel, KERNELS)
    if kernel != "exponential" and method != "coverage":
        raise ValueError(f"kernel must be 'exponential' with method={method!r}, got {kernel!r}; use method='coverage'")
    check_given_with("min_similarity", min_similarity is not None, "kernel='ball'", kernel == "ball")
    return check_similarity_level("min_similarity", min_similarity, "cosine") if kernel == "ball" else None


def other_coverage(
    pool: Pool,
    budget: int,
    scores: Floats | None,
    level: float | None,
    subsample: int | None,
    random: np.random.Generator,
) -> Chosen:
    """Balls of that radius, or cosines where there is none."""
    if level is None:
        return _cosine_coverage(pool, budget, scores, subsample, random)
    return _ball_coverage(pool, budget, scores, level, subsample, random)


def _ball_coverage(
    pool: Pool, budget: int, scores: Floats | None, level: float, subsample: int | None, random: np.random.Generator
) -> Chosen:
    """From lists of the points that each row covers. Which these are is exact."""
    n = len(pool.emb)
    rows, weights = points_of(scores, n, subsample, random)
    points = pool.rows._replace(array=pool.emb[rows], shape=(len(rows), pool.emb.shape[1]))
    u = np.ones(len(rows)) if weights is None else weights
    picks, gains = np.full(budget, -1, np.int64), np.zeros(budget)
    with pool.keeps(picks):
        lists = _lists(pool, points, float(np.nextafter(level, -np.inf)))  # s >= level where s > that
        of_points = by_other_side(lists, len(rows))
        left = np.ones(len(rows), bool)
        for known in pool.labeled.tolist():
            left[lists.indices[lists.offsets[known] : lists.offsets[known + 1]]] = False
        degree = np.bincount(lists.rows, (u * left)[lists.indices], minlength=n)
        degree[pool.labeled] = -np.inf
        for t in range(budget):
            row = int(degree.argmax())
            own = lists.indices[lists.offsets[row] : lists.offsets[row + 1]]
            new = own[left[own]]
            picks[t], gains[t] = row, u[new].sum()
            left[new] = False
            counts = of_points.offsets[new + 1] - of_points.offsets[new]
            at = np.repeat(of_points.offsets[new] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
            np.subtract.at(degree, of_points.indices[at], np.repeat(u[new], counts))
            degree[row] = -np.inf
            if pool.progress is not None:
                pool.progress((t + 1) / budget)
    pool.finish()
    return picks, gains / max(len(rows), 1)


def _lists(pool: Pool, points: Any, tau: float) -> Any:
    n, tau_of = len(pool.emb), np.full(points.shape[0], tau)
    plan = None
    if n and len(tau_of):
        plan = choose(pool.rows, points, Request("pairs"), pool.n_threads, tau=tau_of)
    columns = pack(points, "cosine", "exact", pool.n_threads, plan=plan)
    find = finder(pool.rows, columns, pool.n_threads, np.float32, lambda part: {"tau": tau_of})

    def count_from(first: int) -> int:
        rest = pool.rows.part(first, n)
        return int(_core.reduce(rest.array, rest.code, columns, "count", pool.n_threads, tau=tau_of)[0].sum())

    # Beside each pair: who covers the point, and the row that it is of.
    room = Room(None, 40, "raise min_similarity, or lower subsample")
    return gathered(parts(find, n, len(tau_of)), n, np.float32, room, count_from)


def _cosine_coverage(
    pool: Pool, budget: int, scores: Floats | None, subsample: int | None, random: np.random.Generator
) -> Chosen:
    """Lazy greedy: gains only fall, so that earlier ones and sums of the engine bound them; decided in float64."""
    n = len(pool.emb)
    rows, weights = points_of(scores, n, subsample, random)
    points = pool.rows._replace(array=pool.emb[rows], shape=(len(rows), pool.emb.shape[1]))
    picks, gains = np.full(budget, -1, np.int64), np.zeros(budget)
    with pool.keeps(picks):
        floor = np.zeros(len(rows))
        of_points = (points.array, pool.code, 1.0, pool.n_threads)
        _core.raise_floor(pool.emb, pool.code, pool.labeled, *of_points, floor, kernel="cosine")
        free = np.ones(n, bool)
        free[pool.labeled] = False
        bounds = np.full(n, np.inf)
        for t in range(budget):
            current = ~free  # at the present floor
            best, at, looked = -1.0, -1, 0
            if not t:
                bounds = _bounds(pool, points, weights, floor, bounds)
            while True:
                stale = np.flatnonzero(free & ~current & (bounds >= best))
                if at >= 0:
                    stale = stale[(bounds[stale] > best) | (stale < at)]
                if not len(stale):
                    break
                if looked >= _PATIENCE * _LOOKED_AT:
                    bounds, looked = _bounds(pool, points, weights, floor, bounds), -n
                    continue
                if len(stale) > _LOOKED_AT:
                    stale = np.sort(stale[np.argpartition(-bounds[stale], _LOOKED_AT)[:_LOOKED_AT]])
                found = _core.coverage_gains(
                    pool.emb, pool.code, stale, *of_points, weights=weights, floor=floor, kernel="cosine"
                )
                bounds[stale], current[stale] = found, True
                looked += len(stale)
                first = int(found.argmax())
                if found[first] > best or (found[first] == best and stale[first] < at):
                    best, at = float(found[first]), int(stale[first])
            picks[t], gains[t] = at, best
            free[at] = False
            _core.raise_floor(pool.emb, pool.code, picks[t : t + 1], *of_points, floor, kernel="cosine")
            if pool.progress is not None:
                pool.progress((t + 1) / budget)
    pool.finish()
    return picks, gains / max(len(rows), 1)


def _bounds(
    pool: Pool, points: Any, weights: Floats | None, floor: Floats, known: NDArray[np.float64]
) -> NDArray[np.float64]:
    """sum_x weights(x) (s(x, c) - floor(x)) over s > floor, of all rows c: the hinge of the engine, a little raised."""
    if not len(floor):
        return np.zeros(len(pool.emb))

    def options(start: int, stop: int) -> dict[str, Any]:
        part = slice(start, stop)
        of_part = None if weights is None else weights[part]
        return {"tau": floor[part], "terms": _core.Terms(col_weights=of_part)}

    sums = np.zeros(len(pool.emb))
    for block in reduced_blocks(pool.rows, points, Request("hinge", precision="fp32"), pool.n_threads, options, None):
        sums += block
    total = float(len(floor) if weights is None else weights.sum())
    error = (_core.product_units(pool.emb.shape[1]) + 4) * 2.0**-24  # of a pair, its threshold and its term
    return np.minimum(known, sums * (1 + _BOUND) + total * error)
