"""Rows in the order of a score, as it is or made less where the space is crowded; ties, and the better half."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.warn import warn_caller
from hnscore.engine.interrupts import interruptible

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Random = np.random.Generator | None


def better_half(values: Floats, labeled: Rows) -> Floats:
    """1 for values of at least the (upper) median of those that are not labeled, 0 for the others."""
    free = np.delete(values, labeled)
    if not len(free):
        return np.zeros(len(values))
    middle = len(free) // 2
    upper = interruptible(len(free), lambda: np.partition(free, middle))
    return np.where(values >= upper[middle], 1.0, 0.0)


def best(values: Floats, budget: int, random: Random) -> Rows:
    """The rows of largest value, best first. Ties go to the lowest row, or are drawn with `random`."""
    order = best_first(values, random)
    if random is None:
        _warn_of_ties(values[order], budget)
    return order[:budget]


def best_first(values: Floats, random: Random) -> Rows:
    """Descending."""
    return _sorted((-values,), random)


def best_adjusted(values: Floats, exponents: Floats, budget: int, random: Random) -> Rows:
    """By (values - min(values, 0)) * exp(exponents)."""
    log = adjusted(values, exponents, values.min(initial=0.0))
    order = _sorted((-values, -log), random)
    if random is None:
        log, values = log[order], values[order]
        falls = (log[1:] != log[:-1]) | (values[1:] != values[:-1])
        _warn_of_ties(np.concatenate([[0.0], np.cumsum(falls)]), budget)
    return order[:budget]


def best_of_each(values: Floats, labels: Rows, shares: Rows, random: Random) -> Rows:
    """The best shares[r] rows of every region r, best first."""
    order = best_first(values, random)
    by_region, first, sizes = _by_region(order, labels, len(shares))
    if random is None:
        cut = np.flatnonzero((shares > 0) & (shares < sizes))
        for region in cut[values[by_region[(first + shares)[cut] - 1]] == values[by_region[(first + shares)[cut]]]][:1]:
            _warn_of_ties(values[by_region[first[region] :][: sizes[region]]], int(shares[region]))
    return within_shares(order, labels, shares)


def within_shares(order: Rows, labels: Rows, shares: Rows) -> Rows:
    """Of rows in the order of their merit the first shares[r] of every region r, in that order."""
    by_region, first, _ = _by_region(order, labels, len(shares))
    rank = np.empty(len(order), np.int64)
    rank[by_region] = np.arange(len(order)) - first[labels[by_region]]
    return order[rank[order] < shares[labels[order]]]


def _by_region(order: Rows, labels: Rows, n: int) -> tuple[Rows, Rows, Rows]:
    """The rows region by region, each in that order; where each of the n regions begins; and its size."""
    by_region = order[interruptible(len(order), lambda: np.argsort(labels[order], kind="stable"))]
    sizes = np.bincount(labels, minlength=n)
    return by_region, np.cumsum(sizes) - sizes, sizes


def adjusted(values: Floats, exponents: Floats, lowest: float) -> Floats:
    """The logarithms of (values - lowest) * exp(exponents), or of half of that: the factors may be beyond float64's
    range. `lowest`: at most 0."""
    if lowest < 0:
        values = values / 2 - lowest / 2  # a difference may be beyond the range too
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values) + exponents, np.float64)


def _sorted(keys: tuple[Floats, ...], random: Random) -> Rows:
    """By the last key, then the one before; then by row, or at random."""
    n = len(keys[0])
    if random is None and len(keys) == 1:
        return interruptible(n, lambda: np.argsort(keys[0], kind="stable"))
    ties = keys if random is None else (random.permutation(n), *keys)
    return interruptible(n, lambda: np.lexsort(ties))


def _warn_of_ties(in_order: Floats, budget: int) -> None:
    """Where rows on both sides of the cut have one value."""
    if not 0 < budget < len(in_order) or in_order[budget - 1] != in_order[budget]:
        return
    tied = np.flatnonzero(in_order == in_order[budget])
    warn_caller(
        f"{len(tied)} rows share the score at which the budget ends, and {budget - tied[0]} of them are picked: those "
        "of the lowest row numbers; pass random_state to draw them"
    )
