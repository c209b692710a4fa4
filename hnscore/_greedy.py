"""Greedy selections on the compiled core: the pool of a call, and the methods that compare its rows with the chosen.

k(x, c) = exp((s(x, c) - 1) / temperature), s the cosine. All choices are made in float64; float32 sums serve as upper
bounds, and, in large pools, as the mean kernel of herding.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import embeddings
from ._kernels import kernel_gains
from ._pool import check_rows

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# Mean kernels and first gains are over this many rows of the pool, drawn at random where there are more.
MOST_POINTS = 100_000
# Up to so many pairs, a second or two of work, kernels are summed in float64 from the start.
_PLAIN_PAIRS = 2**26
# Candidates of a step of coverage are looked at in batches, from this size on: a single one would take as long as
# reading the points, as a few do.
_FIRST_BATCH, _LARGEST_BATCH = 16, 512
_LEAST_FLOAT32 = 2.0**-126


class Pool:
    """Embeddings to choose from, the labeled rows among them, and the threads and progress of the call."""

    def __init__(self, name: str, emb: Any, n_threads: int) -> None:
        self.name = name
        self.emb, self.code = embeddings(name, emb)
        self.n_threads = n_threads
        self.labeled = np.zeros(0, np.int64)
        self.progress: Any = None

    def prepare(self, labeled: Rows, progress: Any) -> None:
        """The error that names bad rows, before anything else looks at them."""
        check_rows(self.name, self.emb, self.code, "cosine", self.n_threads, only_cosine=True)
        self.labeled, self.progress = labeled, progress

    def part(self, start: float) -> Any:
        """Progress of one half of the work, the one from `start` on, as progress of the whole."""
        progress = self.progress
        return progress and (lambda share: progress(start + share * 0.5))

    def points(self, random: np.random.Generator) -> tuple[NDArray[Any], Rows | None]:
        """The rows that means are over, and which they are; None: all."""
        if len(self.emb) <= MOST_POINTS:
            return self.emb, None
        drawn = np.sort(random.choice(len(self.emb), MOST_POINTS, replace=False, shuffle=False))
        return self.emb[drawn], drawn

    def kernel_sums(
        self, points: NDArray[Any], temperature: float, weights: Floats | None, floor: Floats | None
    ) -> Any:
        """sum_x weights_x max(k(x, c) - floor_x, 0) of each row c over the points x, and a bound on its errors."""
        # A kernel is off by 4 * 2^-24 / temperature of itself and a few roundings; twice that is claimed. What is
        # below its floor in float32 and not in float64 is within that of the floor.
        exponent = 8 * 2.0**-24 / temperature
        if len(self.emb) * len(points) <= _PLAIN_PAIRS or exponent > 1:
            rows = np.arange(len(self.emb))
            return self.gains(rows, points, temperature, weights, floor, self.part(0.0)), 0.0
        sums = kernel_gains(
            self.emb, self.code, points, self.code, temperature, self.n_threads, weights=weights, floor=floor,
            progress=self.part(0.0), names=(self.name, self.name),
        )  # fmt: skip
        relative = np.expm1(exponent) + 2.0**-18
        total = float(len(points) if weights is None else weights.sum())
        covered = 0.0 if floor is None else float(floor.sum() if weights is None else weights @ floor)
        return sums, relative * (sums + covered) + total * _LEAST_FLOAT32

    def gains(
        self, rows: Rows, points: NDArray[Any], temperature: float, weights: Any, floor: Any, progress: Any = None
    ) -> Floats:
        """The same in float64: equal rows get equal gains, and a higher floor never a higher gain."""
        return _core.coverage_gains(
            self.emb, self.code, rows, points, self.code, temperature, self.n_threads, weights=weights, floor=floor,
            progress=progress,
        )  # fmt: skip

    def greedy(self, budget: int, *, progress: Any, **criterion: Any) -> Rows:
        picks, _, _ = _core.greedy(
            self.emb, self.code, self.labeled, budget, n_threads=self.n_threads, progress=progress, **criterion
        )
        self.finish()
        return picks

    def finish(self) -> None:
        if self.progress is not None:
            self.progress(1.0)


def core_set(pool: Pool, budget: int) -> Rows:
    return pool.greedy(budget, progress=pool.progress, farthest=True)


def repulsive(pool: Pool, budget: int, scores: Floats, regularization: float, temperature: float) -> Rows:
    return pool.greedy(
        budget, progress=pool.progress, base=unit_scaled(scores), penalty=regularization, temperature=temperature
    )


def herding(pool: Pool, budget: int, temperature: float, random: np.random.Generator) -> Rows:
    if not budget:
        return np.zeros(0, np.int64)
    points, _ = pool.points(random)
    mean = pool.kernel_sums(points, temperature, None, None)[0] / len(points)
    # With the same constant taken off all means, gains only fall from pick to pick, as the core needs.
    return pool.greedy(
        budget, progress=pool.part(0.5), base=mean - mean.max(), first_factor=1.0 + len(pool.labeled), factor_step=1.0,
        penalty=1.0, temperature=temperature,
    )  # fmt: skip


def coverage(pool: Pool, budget: int, scores: Floats | None, temperature: float, random: np.random.Generator) -> Rows:
    """Lazy greedy: a gain only falls, so that one of an earlier step is a bound, and most rows need no other."""
    if not budget:
        return np.zeros(0, np.int64)
    points, drawn = pool.points(random)
    weights = None
    if scores is not None:
        weights = np.ascontiguousarray(unit_scaled(scores)[slice(None) if drawn is None else drawn])
    floor = np.zeros(len(points))

    def cover(rows: Rows) -> None:
        _core.raise_floor(
            pool.emb, pool.code, rows, points, pool.code, temperature, pool.n_threads, floor, progress=None
        )

    cover(pool.labeled)
    sums, errors = pool.kernel_sums(points, temperature, weights, floor if len(pool.labeled) else None)
    free = np.ones(len(pool.emb), np.bool_)
    free[pool.labeled] = False
    # Entries (minus a bound on the gain, row): the smallest comes first, ties by the lowest row.
    heap = list(zip((-(sums + errors))[free].tolist(), np.flatnonzero(free).tolist(), strict=True))
    heapq.heapify(heap)
    picks: list[int] = []
    progress = pool.part(0.5)
    while len(picks) < budget:
        fresh: list[tuple[float, int]] = []
        batch = _FIRST_BATCH
        while heap and not (fresh and fresh[0] < heap[0]):
            rows = np.array([heapq.heappop(heap)[1] for _ in range(min(batch, len(heap)))])
            gains = pool.gains(rows, points, temperature, weights, floor)
            for entry in zip((-gains).tolist(), rows.tolist(), strict=True):
                heapq.heappush(fresh, entry)
            batch = min(2 * batch, _LARGEST_BATCH)
        picks.append(heapq.heappop(fresh)[1])
        for entry in fresh:
            heapq.heappush(heap, entry)
        cover(np.array(picks[-1:]))
        if progress is not None:
            progress(len(picks) / budget)
    pool.finish()
    return np.array(picks, np.int64)


def unit_scaled(scores: Floats) -> Floats:
    """scores / max |score|."""
    largest = np.abs(scores).max(initial=0.0)
    return scores / largest if largest > 0 else np.zeros(len(scores))
