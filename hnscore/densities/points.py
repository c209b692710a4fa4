"""The points of a density or a neighbour graph, and those they are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import check_same_library, is_tensor
from hnscore.arguments.checks import check_other_points, check_same_width
from hnscore.arguments.numbers import check_flag, check_positive
from hnscore.arguments.rules import check_not_empty
from hnscore.engine import engine_of
from hnscore.engine.pool import HostRules, best_in_pool
from hnscore.engine.protocol import NO_RULES, Progress, Request, Rules


class Points:
    """The points of a call and those they are compared with."""

    def __init__(self, emb: object, against: object, exclude_self: object, similarity: str, n_threads: object) -> None:
        self.own = against is None
        self.engine = engine_of(n_threads, **({"emb": emb} if self.own else {"emb": emb, "against": against}))
        self.rows = self.others = self.engine.embeddings("emb", emb)
        if not self.own:
            self.others = self.engine.embeddings("against", against)
            check_same_library(emb, is_tensor(against), "emb", "against")
            check_same_width("emb", self.rows, "against", self.others)
            check_not_empty("against", self.others)
        self.n, self.dim = self.rows.shape
        self.exclude_self = check_flag("exclude_self", exclude_self) and self.own
        self.similarity = similarity
        self.n_others = self.others.shape[0]
        self.compared = self.n_others - self.exclude_self

    def enough(self) -> None:
        if self.n and self.exclude_self:
            check_other_points(self.n)

    def total(self, weights: NDArray[np.float64] | None) -> Any:
        """The weights of the points that each is compared with."""
        if weights is None:
            return self.compared
        total = weights.sum() - weights if self.exclude_self else np.full(self.n, weights.sum())
        if self.exclude_self:  # a difference of sums may be all rounding
            largest = np.argsort(weights)[-2:]
            total[largest[-1]] = np.delete(weights, largest[-1]).sum()
        check_positive("weights", float(total.min()), "the sum of the weights of the points compared with")
        return total

    def owners(self) -> NDArray[np.int32] | None:
        return np.arange(self.n, dtype=np.int32) if self.exclude_self else None

    def own_similarity(self) -> NDArray[np.float64]:
        """s_ii: 1 under cosine, but for a rounding."""
        s: NDArray[np.float64] = self.engine.similarity(self.rows, self.rows, self.similarity)
        return s


def neighbours(
    points: Points, request: Request, bar: Progress
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """The k most similar of each point, for one part of the points in CPU memory after the other."""
    if not points.n:
        return
    rules: HostRules = Rules(col_owners=np.arange(points.n)) if points.exclude_self else NO_RULES
    yield from best_in_pool(points.rows, points.others, request, rules, points.engine.threads, bar)


@dataclass(frozen=True)
class Call:
    """A density of points, checked. `value`: of the keyword that its kind alone has."""

    points: Points
    value: Any
    weights: NDArray[np.float64] | None
    request: Request  # similarity, precision, method
    bar: Progress
