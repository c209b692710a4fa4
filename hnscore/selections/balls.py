"""Coverage by balls, as ProbCover has it: k(x, c) is 1 where s(x, c) >= min_similarity, else 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hnscore import _core
from hnscore.arguments.checks import check_similarity_level
from hnscore.arguments.numbers import check_choice, check_given_with
from hnscore.arguments.options import KERNELS
from hnscore.engine.lists import Room, by_other_side, finder, gathered, parts
from hnscore.engine.pool import choose, pack
from hnscore.engine.protocol import Request
from hnscore.selections.coverage import points_of
from hnscore.selections.greedy import Chosen, Floats, Pool

if TYPE_CHECKING:
    from hnscore.engine.host import HostRows


def check_kernel(kernel: object, method: str, min_similarity: object) -> float | None:
    """The radius of a ball."""
    check_choice("kernel", kernel, KERNELS)
    if kernel != "exponential" and method != "coverage":
        raise ValueError(f"kernel must be 'exponential' with method={method!r}, got {kernel!r}; use method='coverage'")
    check_given_with("min_similarity", min_similarity is not None, "kernel='ball'", kernel == "ball")
    return check_similarity_level("min_similarity", min_similarity, "cosine") if kernel == "ball" else None


def ball_coverage(
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


def _lists(pool: Pool, points: HostRows, tau: float) -> Any:
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
