"""Mean and deviation of numbers that may come in parts: exact sums, rounded once, whatever the parts are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Parts = Callable[[], Iterable[Floats]]  # the same parts at every call


class Standard(NamedTuple):
    """How numbers become standardised ones."""

    power: int
    mean: float
    centred_power: int
    deviation: float  # 0: all are one number

    def centred(self, x: Floats) -> Floats:
        """Less their mean, in a unit that keeps sums of squares in the range of float64."""
        return np.asarray(np.ldexp(np.ldexp(x, self.power) - self.mean, self.centred_power), np.float64)

    def of(self, x: Floats) -> Floats:
        return self.centred(x) / self.deviation if self.deviation else np.zeros(len(x))


def standard(parts: Parts) -> Standard:
    """Of all parts together; four looks at each."""
    n, lowest, highest = 0, np.inf, -np.inf
    for x in parts():
        n, lowest, highest = n + len(x), min(lowest, x.min(initial=np.inf)), max(highest, x.max(initial=-np.inf))
    if not lowest < highest:
        return Standard(0, 0.0, 0, 0.0)
    power = power_of(max(abs(lowest), abs(highest)))
    mean = exact_sum(np.ldexp(x, power) for x in parts()) / n
    largest = max(np.abs(np.ldexp(x, power) - mean).max(initial=0.0) for x in parts())
    half = Standard(power, mean, power_of(largest), 0.0)
    squares = exact_sum(np.square(half.centred(x)) for x in parts())
    return half._replace(deviation=math.sqrt(squares / n))


def power_of(largest: float) -> int:
    """The power of two that brings numbers up to this one below 1."""
    return -int(np.frexp(largest)[1])


def exact_sum(parts: Iterable[Floats]) -> float:
    """Rounded once."""
    return math.fsum(chain.from_iterable(x.tolist() for x in parts))


class GroupSums:
    """Exact sums of numbers in groups, part by part: each is kept as a few floats that add up to it exactly."""

    def __init__(self) -> None:
        self._terms: dict[int, list[float]] = {}

    def add(self, x: Floats, groups: NDArray[np.int64]) -> None:
        order = np.argsort(groups, kind="stable")
        here, first = np.unique(groups[order], return_index=True)
        ends = [*first, len(x)]
        for i, group in enumerate(here.tolist()):
            left = self._terms.get(group, []) + x[order[ends[i] : ends[i + 1]]].tolist()
            terms: list[float] = []
            while (term := math.fsum(left)) != 0:
                terms.append(term)
                left.append(-term)
            self._terms[group] = terms

    def totals(self, groups: NDArray[np.int64]) -> Floats:
        """Of these groups, rounded once."""
        return np.array([math.fsum(self._terms.get(group, ())) for group in groups.tolist()], np.float64)
