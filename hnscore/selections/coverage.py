"""Facility location: rows that cover the points of the pool, by lazy greedy.

k(x, c) = exp((s(x, c) - 1) / temperature), s the cosine; or max(s(x, c), 0). Here gains of all rows are bounded by the
engine, in passes over all pairs; the picks are made in the core (csrc/cover/cover.h), decided in float64.
"""

from __future__ import annotations

import logging
import math
import time
from typing import NamedTuple

import numpy as np

from hnscore import _core
from hnscore.arguments.checks import check_memory_limit
from hnscore.engine.pool import choose
from hnscore.engine.protocol import Progress, Request
from hnscore.engine.sums import hinge_sums, kernel_gains
from hnscore.selections.greedy import Chosen, Floats, Pool, Rows, unit_scaled
from hnscore.selections.tensor_passes import TensorPasses

# Of a pass in bf16 beside one in float32; its bounds are off by so much at most.
_WORK_OF_BF16, _LOOSEST = 0.55, 0.06
# By torch on a GPU, as a share of one here: not measured yet. Where it is so short, few rows are looked at twice, and
# few kernels need be kept.
_WORK_ON_GPU, _KEPT_BESIDE_GPU = 0.005, 2**27
_WORTH_IT = 0.8  # of the work of a dense pass, that of a cascade
_PATIENCE = 0.5  # of the work of a pass, that of the core after one, before the next
_LEAST, _LEAST_FLOAT32 = 1e-300, 2.0**-126
_FIRST = 0.2  # of the progress: the first pass
_TIMED_ROWS = 1024  # for an estimate
# Bytes of the core beside what is kept: for a point, float64 kernels of 96 rows, codes of as many, floors and weights;
# for a value of the rows that are looked at together.
_OF_POINT, _OF_VALUE = (8 + 2) * 96 + 64, 4 * 4096

_LOG = logging.getLogger("hnscore")


class Pass(NamedTuple):
    """Of the engine over all pairs."""

    precision: str
    error: float  # of a kernel: that of the cosine; over the temperature, relative
    work: float  # as a share of a pass in float32
    plan: _core.Plan | None = None


class How(NamedTuple):
    """The kernel, and how much is looked at."""

    temperature: float | None  # None: the cosine is the kernel
    memory_limit: int
    subsample: int | None  # points, at most
    share: float | None = None  # of the rows that are left, drawn for each pick; None: all


def coverage(pool: Pool, budget: int, scores: Floats | None, how: How, random: np.random.Generator) -> Chosen:
    rows, weights = points_of(scores, len(pool.emb), how.subsample, random)
    picks, gains = np.full(budget, -1, np.int64), np.zeros(budget)
    with pool.keeps(picks):
        if budget and len(rows):
            Covering(pool, rows, weights, how, random).fill(picks, gains)
        else:  # nothing to cover: all gains are 0
            picks[:] = pool.free()[:budget]
    pool.finish()
    return picks, gains / max(len(rows), 1)


def points_of(
    scores: Floats | None, n: int, subsample: int | None, random: np.random.Generator
) -> tuple[Rows, Floats | None]:
    """The rows to be covered, at most so many of those that count, and their weights where these differ."""
    rows = np.arange(n) if scores is None else np.flatnonzero(scores > 0)
    if subsample is not None and len(rows) > subsample:
        rows = np.sort(random.choice(rows, subsample, replace=False, shuffle=False))
    weights = None if scores is None else unit_scaled(scores)[rows]
    if weights is not None and (weights == 1).all():
        weights = None
    return rows, weights


class Covering:
    """The points to be covered, how well they are, and bounds on what each row of the pool would add."""

    def __init__(
        self, pool: Pool, numbers: Rows, weights: Floats | None, how: How, random: np.random.Generator
    ) -> None:
        """`numbers`: the rows that are points."""
        points = pool.emb if len(numbers) == len(pool.emb) else pool.emb[numbers]
        n, dim = points.shape
        least = _OF_POINT * n + _OF_VALUE * dim
        check_memory_limit(how.memory_limit, least)
        self._pool, self._weights, self._how, self._random = pool, weights, how, random
        self._points = pool.rows._replace(array=points, shape=points.shape)
        self._floor = np.zeros(n)
        shared = (points, pool.code, how.temperature or 1.0, pool.n_threads)
        kernel = "cosine" if how.temperature is None else "exponential"
        _core.raise_floor(pool.emb, pool.code, pool.labeled, *shared, self._floor, kernel=kernel)
        self._free, self._dim = pool.free(), dim
        memory = how.memory_limit - least
        self._tensors: TensorPasses | None = None
        if pool.there is not None and how.share is None:
            self._tensors = TensorPasses(pool.there, numbers, weights, how.temperature)
            memory = min(memory, _KEPT_BESIDE_GPU)
        self._core = _core.Cover(
            pool.emb, pool.code, self._free, *shared, weights=weights, floor=self._floor, kernel=kernel, memory=memory
        )

    def fill(self, picks: Rows, gains: Floats) -> None:
        """Pick after pick, and a pass over all pairs where the core would look at more rows than that is worth."""
        pool, share = self._pool, self._how.share
        self._say_how_long()
        draw = 0 if share is None else max(1, math.ceil(share * len(self._free)))
        by_passes = not draw and not self._core.keeps_all and self._float32().error <= 1  # else float32 knows no kernel
        made, passed_at, work = 0, -1, 0.0
        if by_passes:
            work = self._pass(self._first(), pool.part(0.0, _FIRST))
        while made < len(picks):
            # A second pass at one floor would not help: then all that are in the race are looked at, for one pick.
            once = made == passed_at
            reached = _FIRST + (1 - _FIRST) * made / len(picks)
            now = slice(made, made + 1) if once else slice(made, None)
            patience = 0 if once else math.ceil(_PATIENCE * work * len(self._free))
            made += self._core.pick(
                picks[now], gains[now], patience=patience, draw=draw,
                seed=int(self._random.integers(2**63)) if draw else 0, progress=pool.part(reached),
            )  # fmt: skip
            passed_at = -1
            if made < len(picks) and not once:
                reached = _FIRST + (1 - _FIRST) * made / len(picks)
                work, passed_at = self._pass(self._next(), pool.part(reached, reached)), made
        self._say_what_was_done(len(picks))

    def _first(self) -> Pass:
        """Nothing is covered: bf16 is good enough where its error is small beside the temperature."""
        how = self._float32()
        if self._floor.any() or self._how.temperature is None or self._tensors is not None:
            return self._next()
        # Products of bf16 are added in one chain.
        rest = _core.bf16_rest(self._pool.emb, self._pool.code, self._pool.n_threads)
        error = (2 * rest + rest**2 + (self._dim + 8) * 2.0**-24) / self._how.temperature
        return how._replace(precision="bf16", error=error, work=_WORK_OF_BF16) if error <= _LOOSEST else how

    def _next(self) -> Pass:
        """Few pairs count beside what is covered already: the cascade finds them."""
        how, temperature, tau = self._float32(), self._how.temperature, self._floor
        if self._tensors is not None:
            return how
        if temperature is not None:
            tau = 1 + temperature * np.log(np.maximum(self._floor, _LEAST))
        recipe = "hinge" if temperature is None else "kernel"
        plan = choose(
            self._pool.rows, self._points, Request(recipe=recipe), self._pool.n_threads, tau=tau, kth_value=None,
            expected_rows=len(self._pool.emb),
        )  # fmt: skip
        if not plan.cascade or plan.work > _WORTH_IT:
            return how
        return how._replace(precision="exact", plan=plan, work=plan.work)

    def _float32(self) -> Pass:
        if self._tensors is not None:
            return Pass("fp32", self._tensors.error(), _WORK_ON_GPU)
        return Pass("fp32", (_core.product_units(self._dim) + 2) * 2.0**-24 / (self._how.temperature or 1.0), 1.0)

    def _pass(self, how: Pass, progress: Progress) -> float:
        """Bounds of all rows, at the present floor. The work of it: another is due when looking at rows is as much."""
        pool, weights = self._pool, self._weights
        if self._tensors is not None:
            self._core.lower(self._tensors.bounds(self._floor, progress))
            return how.work
        of_points = np.ones(len(self._floor)) if weights is None else weights
        total, covered = float(of_points.sum()), float(of_points @ self._floor)
        if self._how.temperature is None:
            sums = hinge_sums(
                pool.rows, self._points, Request(precision=how.precision), pool.n_threads, tau=self._floor,
                weights=weights, plan=how.plan, progress=progress,
            )  # fmt: skip
            self._core.lower(sums * (1 + 2.0**-18) + 2 * how.error * total)
            return how.work
        request = Request(recipe="kernel", temperature=self._how.temperature, precision=how.precision)
        floor = self._floor if covered else None
        sums = kernel_gains(
            pool.rows, self._points, request, pool.n_threads, weights=weights, floor=floor, plan=how.plan,
            progress=progress,
        )  # fmt: skip
        # What is covered is rounded with every kernel. What is below its floor as computed and not in truth is within
        # this of the floor.
        relative = math.expm1(how.error) + 2.0**-18
        self._core.lower((sums + relative * (sums + covered) + total * _LEAST_FLOAT32) * (1 + 2.0**-40))
        return how.work

    def _say_how_long(self) -> None:
        """From the time that some of the rows take."""
        if not _LOG.isEnabledFor(logging.INFO):
            return
        rows = self._pool.rows.part(0, _TIMED_ROWS)
        request = Request(recipe="kernel", temperature=self._how.temperature or 1.0, precision="fp32")
        began = time.perf_counter()
        kernel_gains(rows, self._points, request, self._pool.n_threads, weights=self._weights)
        seconds = (time.perf_counter() - began) * len(self._pool.emb) / max(rows.shape[0], 1)
        passes = "two, as all kernels are kept" if self._core.keeps_all else "five"
        _LOG.info(
            "a pass over %d rows and %d points takes about %.2g s; the picks take about as long as %s",
            len(self._pool.emb), len(self._floor), seconds, passes,
        )  # fmt: skip

    def _say_what_was_done(self, picks: int) -> None:
        """With the objective, the mean over the points, and how far that over another sample may be."""
        if not _LOG.isEnabledFor(logging.INFO):
            return
        covered = self._floor if self._weights is None else self._weights * self._floor
        _LOG.info(
            "%d picks of %d rows: %d bounds and %d gains computed; %d points are covered by %.5f in the mean, "
            "+- %.5f (95 %% of samples of so many points, for these picks)",
            picks, len(self._free), *self._core.counts, len(covered), covered.mean(),
            1.96 * covered.std() / math.sqrt(len(covered)),
        )  # fmt: skip
