"""The points of a density or a neighbour graph, and those they are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import embeddings, is_tensor, same_library
from hnscore.arguments.checks import other_points, same_width
from hnscore.arguments.numbers import flag, positive, threads
from hnscore.arguments.rules import not_empty, refuse_bad_rows
from hnscore.engine.cpu import best_in_pool
from hnscore.engine.memory.device import on_device
from hnscore.engine.memory.libraries import space_of


class Points:
    """The points of a call and those they are compared with."""

    def __init__(self, emb: Any, against: Any, exclude_self: Any, similarity: str, n_threads: Any) -> None:
        self.space = None  # of points on a GPU, which are DeviceArrays
        if on_device(emb, against):
            self.space = space_of(emb=emb) if against is None else space_of(emb=emb, against=against)
        read: Any = embeddings if self.space is None else self.space.reader
        self.emb, self.code = read("emb", emb)
        self.n = len(self.emb)
        self.own = against is None
        self.other, self.other_code = self.emb, self.code
        if not self.own:
            self.other, self.other_code = read("against", against)
            same_library(emb, is_tensor(against), "emb", "against")
            same_width("emb", self.emb, "against", self.other)
            not_empty("against", self.other)
        self.exclude_self = flag("exclude_self", exclude_self) and self.own
        self.similarity = similarity
        self.threads = threads(n_threads)
        self.compared = len(self.other) - self.exclude_self
        self.names = ("emb", "emb" if self.own else "against")

    def enough(self) -> None:
        if self.n and self.exclude_self:
            other_points(self.n)

    def total(self, weights: NDArray[np.float64] | None) -> Any:
        """The weights of the points that each is compared with."""
        if weights is None:
            return self.compared
        total = weights.sum() - weights if self.exclude_self else np.full(self.n, weights.sum())
        if self.exclude_self:  # a difference of sums may be all rounding
            largest = np.argsort(weights)[-2:]
            total[largest[-1]] = np.delete(weights, largest[-1]).sum()
        positive("weights", float(total.min()), "the sum of the weights of the points compared with")
        return total

    def owners(self) -> NDArray[np.int32] | None:
        return np.arange(self.n, dtype=np.int32) if self.exclude_self else None

    def own_similarity(self) -> NDArray[np.float64]:
        """s_ii: 1 under cosine, but for a rounding."""
        s, bad, _ = _core.pair_similarity(
            self.emb, self.code, None, self.emb, self.code, self.similarity, self.threads
        )  # fmt: skip
        if bad:
            refuse_bad_rows("emb", bad)
        return s


def neighbours(
    points: Points, k: int, precision: str, method: str, bar: Any
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    if not points.n:
        return
    yield from best_in_pool(
        points.emb, points.code, points.other, points.other_code, k, points.similarity, precision, points.threads, bar,
        method=method, txt_owners=points.owners(), names=points.names,
    )  # fmt: skip
