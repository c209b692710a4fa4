"""Greedy selections on the compiled core: the pool of a call, and the methods that compare its rows with the chosen.

k(x, c) = exp((s(x, c) - 1) / temperature), s the cosine. All choices are made in float64; in large pools the mean
kernel of herding is a float32 sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.dtypes import as_float64
from hnscore.engine.host import host_rows
from hnscore.engine.pool import check_rows
from hnscore.engine.protocol import Progress, Request
from hnscore.engine.sums import kernel_gains

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Chosen = tuple[Rows, Floats]  # rows in the order of picking, and the gain of each

_BLOCK = 2**14  # rows at a time
# Up to so many pairs, a second or two of work, mean kernels are float64.
_PLAIN_PAIRS = 2**26


class Pool:
    """Embeddings to choose from, the labeled rows among them, and the threads and progress of the call."""

    def __init__(self, name: str, emb: object, n_threads: int, there: Any = None) -> None:
        """`there`: the same in a tensor on a GPU."""
        self.given: Any = emb
        self.there = there
        self.rows = host_rows(name, emb)
        self.emb, self.code = self.rows.array, self.rows.code
        self.n_threads = n_threads
        self.labeled = np.zeros(0, np.int64)
        self.progress: Progress = None

    def centered(self) -> Pool:
        """The same rows with every dimension standardised, as float32; one that is constant becomes 0."""
        self.rows.refuse(_core.check_rows(self.emb, self.code, "dot", self.n_threads))
        n, dim = self.emb.shape
        blocks = [slice(i, i + _BLOCK) for i in range(0, n, _BLOCK)]
        mean = sum((as_float64(self.emb[b], self.code).sum(axis=0) for b in blocks), np.zeros(dim)) / max(n, 1)
        off = sum(((as_float64(self.emb[b], self.code) - mean) ** 2).sum(axis=0) for b in blocks) + np.zeros(dim)
        deviation = np.sqrt(off / max(n, 1))
        scale = np.divide(1.0, deviation, out=np.zeros(dim), where=deviation > 0)
        out = np.empty((n, dim), np.float32)
        for b in blocks:
            out[b] = (as_float64(self.emb[b], self.code) - mean) * scale
        return Pool(f"{self.rows.name}, centered,", out, self.n_threads)

    def prepare(self, labeled: Rows, progress: Progress) -> None:
        """The error that names bad rows, before anything else looks at them."""
        check_rows(self.rows, "cosine", self.n_threads, only_cosine=True)
        self.labeled, self.progress = labeled, progress

    def part(self, start: float, stop: float = 1.0) -> Any:
        """Progress of a part of the work, from `start` to `stop`, as progress of the whole."""
        progress = self.progress
        return progress and (lambda share: progress(start + share * (stop - start)))

    def sample(self, subsample: int | None, random: np.random.Generator) -> NDArray[Any]:
        """The rows that means are over: at most so many, drawn without replacement."""
        if subsample is None or len(self.emb) <= subsample:
            return self.emb
        return self.emb[np.sort(random.choice(len(self.emb), subsample, replace=False, shuffle=False))]

    def free(self) -> Rows:
        return np.delete(np.arange(len(self.emb)), self.labeled)

    @contextmanager
    def keeps(self, picks: Rows) -> Iterator[None]:
        """Ctrl-C leaves with the picks that were made before it, as the attribute `picks` of the KeyboardInterrupt."""
        try:
            yield
        except KeyboardInterrupt as error:
            made = picks[picks >= 0]
            error.picks = made  # type: ignore[attr-defined]
            error.args = (f"{len(made)} of {len(picks)} rows were picked: the attribute `picks` of this exception",)
            raise

    def greedy(self, budget: int, *, progress: Progress, **criterion: Any) -> Chosen:
        picks, gains = np.full(budget, -1, np.int64), np.zeros(budget)
        with self.keeps(picks):
            _core.greedy(
                self.emb, self.code, self.labeled, picks, gains, n_threads=self.n_threads, progress=progress,
                **criterion,
            )  # fmt: skip
        self.finish()
        return picks, gains

    def finish(self) -> None:
        if self.progress is not None:
            self.progress(1.0)


def repulsive(pool: Pool, budget: int, scores: Floats, regularization: float, temperature: float) -> Chosen:
    return pool.greedy(
        budget, progress=pool.progress, base=unit_scaled(scores), penalty=regularization, temperature=temperature
    )


def herding(pool: Pool, budget: int, temperature: float, subsample: int | None, random: np.random.Generator) -> Chosen:
    if not budget:
        return np.zeros(0, np.int64), np.zeros(0)
    mean = _mean_kernels(pool, pool.sample(subsample, random), temperature)
    # With the same constant taken off all means, gains only fall from pick to pick, as the core needs.
    picks, gains = pool.greedy(
        budget, progress=pool.part(0.5), base=mean - mean.max(), first_factor=1.0 + len(pool.labeled), factor_step=1.0,
        penalty=1.0, temperature=temperature,
    )  # fmt: skip
    return picks, gains / (1.0 + len(pool.labeled) + np.arange(budget)) + mean.max()


def _mean_kernels(pool: Pool, points: NDArray[Any], temperature: float) -> Floats:
    """mean_x k(x, c) of each row c over the points x; in float64 for few pairs, and where float32 knows no kernel."""
    if len(pool.emb) * len(points) <= _PLAIN_PAIRS or 8 * 2.0**-24 / temperature > 1:
        sums = _core.coverage_gains(
            pool.emb, pool.code, np.arange(len(pool.emb)), points, pool.code, temperature, pool.n_threads,
            progress=pool.part(0.0, 0.5),
        )  # fmt: skip
    else:
        of_points = pool.rows._replace(array=points, shape=points.shape)
        sums = kernel_gains(
            pool.rows, of_points, Request(temperature=temperature), pool.n_threads, progress=pool.part(0.0, 0.5)
        )
    return sums / len(points)


def unit_scaled(scores: Floats) -> Floats:
    """scores / max |score|."""
    largest = np.abs(scores).max(initial=0.0)
    return scores / largest if largest > 0 else np.zeros(len(scores))
