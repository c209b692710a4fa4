"""Greedy selections on the compiled core: the pool of a call, and the methods that compare its rows with the chosen.

k(x, c) = exp((s(x, c) - 1) / temperature), s the cosine. All choices are made in float64; float32 sums serve as upper
bounds, and, in large pools, as the mean kernel of herding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.engine.host import host_rows
from hnscore.engine.pool import check_rows
from hnscore.engine.protocol import Request
from hnscore.engine.sums import kernel_gains

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# Mean kernels and first gains are over this many rows of the pool, drawn at random where there are more.
MOST_POINTS = 100_000
# Up to so many pairs, a second or two of work, mean kernels are float64.
_PLAIN_PAIRS = 2**26
_LEAST_FLOAT32 = 2.0**-126


class Pool:
    """Embeddings to choose from, the labeled rows among them, and the threads and progress of the call."""

    def __init__(self, name: str, emb: object, n_threads: int) -> None:
        self.rows = host_rows(name, emb)
        self.emb, self.code = self.rows.array, self.rows.code
        self.n_threads = n_threads
        self.labeled = np.zeros(0, np.int64)
        self.progress: Any = None

    def prepare(self, labeled: Rows, progress: object) -> None:
        """The error that names bad rows, before anything else looks at them."""
        check_rows(self.rows, "cosine", self.n_threads, only_cosine=True)
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
        self,
        points: NDArray[Any],
        temperature: float,
        weights: Floats | None = None,
        floor: Floats | None = None,
        plain_pairs: int = 0,
    ) -> Any:
        """sum_x weights_x max(k(x, c) - floor_x, 0) of each row c over the points x, and a bound on its errors.

        In float64 up to so many pairs, and where float32 knows no kernel.
        """
        # A kernel is off by 4 * 2^-24 / temperature of itself and a few roundings; twice that is claimed. What is
        # below its floor in float32 and not in float64 is within that of the floor.
        exponent = 8 * 2.0**-24 / temperature
        if len(self.emb) * len(points) <= plain_pairs or exponent > 1:
            sums = _core.coverage_gains(
                self.emb, self.code, np.arange(len(self.emb)), points, self.code, temperature, self.n_threads,
                weights=weights, floor=floor, progress=self.part(0.0),
            )  # fmt: skip
            return sums, 0.0
        of_points = self.rows._replace(array=points, shape=points.shape)
        sums = kernel_gains(
            self.rows, of_points, Request(temperature=temperature), self.n_threads, weights=weights, floor=floor,
            progress=self.part(0.0),
        )  # fmt: skip
        relative = np.expm1(exponent) + 2.0**-18
        total = float(len(points) if weights is None else weights.sum())
        covered = 0.0 if floor is None else float(floor.sum() if weights is None else weights @ floor)
        return sums, relative * (sums + covered) + total * _LEAST_FLOAT32

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
    mean = pool.kernel_sums(points, temperature, plain_pairs=_PLAIN_PAIRS)[0] / len(points)
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

    _core.raise_floor(
        pool.emb, pool.code, pool.labeled, points, pool.code, temperature, pool.n_threads, floor, progress=None
    )
    sums, errors = pool.kernel_sums(points, temperature, weights, floor if len(pool.labeled) else None)
    free = np.delete(np.arange(len(pool.emb)), pool.labeled)
    picks = _core.cover(
        pool.emb, pool.code, free, points, pool.code, temperature, pool.n_threads, bounds=(sums + errors)[free],
        budget=budget, weights=weights, floor=floor, progress=pool.part(0.5),
    )  # fmt: skip
    pool.finish()
    return picks


def unit_scaled(scores: Floats) -> Floats:
    """scores / max |score|."""
    largest = np.abs(scores).max(initial=0.0)
    return scores / largest if largest > 0 else np.zeros(len(scores))
