"""How many picks each region of the pool gets: information, made less where the embedding space is crowded."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert_like
from hnscore.arguments.checks import read_region_labels
from hnscore.arguments.numbers import check_integer, check_real
from hnscore.arguments.values import read_point_values
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.selections.standard import GroupSums, Standard, power_of, standard

# exp(-regularization * z) has long been 0 or infinite for every z of a float64 pool, so that more changes nothing.
STRONGEST = 1e200
# Weights become integers for exact shares: w * 2^500, so that those below 2^-500 of the largest wait until the larger
# ones are full.
_FIXED_POINT = 500

Floats = NDArray[np.float64]


@computed_on_cpu
def allocate(
    informativeness: object, density: object, regions: object, budget: int, *, regularization: float = 1.0
) -> Any:
    """Share a budget among the regions of the pool: to the informative, and less to the crowded.

    With whole shares, none larger than its region, this equals::

        z = (density - density.mean()) / density.std()  # 0 where the density is constant
        gain = np.bincount(regions, informativeness - informativeness.min())
        share = gain * np.exp(-regularization * np.bincount(regions, z) / np.bincount(regions))
        budget * share / share.sum()

    A region with a share of its size or more gets its size; the others divide what is left by the same rule. Then
    every region gets the whole part of its share, and those with the largest remainders one more, until the budget is
    spent; of equal remainders, the lowest region comes first.

    Parameters
    ----------
    informativeness : array (n,)
        Of each row of the pool, for example from `informativeness` or `score`; only what it is above the
        smallest counts.
    density : array (n,)
        Of each row, for example from `density`; only its standardised values count.
    regions : integer array (n,)
        The region of each row, from 0. A number below the largest that no row has is a region of size 0.
    budget : int
        Rows to choose, from 0 to n.
    regularization : float
        How much density counts: a region one standard deviation denser gets exp(-regularization) of the share. 0
        ignores density; below 0, crowded regions get more.

    Returns
    -------
    allocation : int64 array (max(regions) + 1,)
        The kind of array that informativeness is. It sums to the budget, and no region gets more than its size. Where
        no region with room left has any information (all rows are as uninformative as the least), sizes stand for it.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no real numbers, regions that are no integers, a budget that is no int.
    ValueError
        For shapes, NaN, Inf, negative regions, and a budget below 0 or above n.

    Notes
    -----
    Arrays on a GPU are copied to the CPU, where this is computed, and the result is put beside them; this waits.

    Sums are exact and rounded once, and shares are compared exactly: the order of the rows does not matter. More
    information in a row, the smallest staying what it is, never makes the share of its region smaller. More
    regularization makes the unrounded share of the densest region smaller, but rounding can give it one more.
    Memory: about 60 n bytes and the result.

    References
    ----------
    Zhang, Yang, Qi, Qian, Xu: Active Supervised Cross-Modal Retrieval, IEEE TPAMI 2025,
    doi 10.1109/TPAMI.2025.3550526, allocates its budget by informativeness and density; the formula here is ours.

    Examples
    --------
    >>> import hnscore
    >>> hnscore.allocate([0, 3, 0, 1, 1], [1, 1, 1, 1, 1], regions=[0, 0, 1, 1, 1], budget=3)
    array([2, 1])
    """
    info = read_point_values("informativeness", informativeness)
    crowded = read_point_values("density", density, len(info))
    labels = read_region_labels("regions", regions, len(info))
    budget = check_integer("budget", budget, 0, len(info), "rows of the pool to choose")
    strength = min(max(check_real("regularization", regularization), -STRONGEST), STRONGEST)

    # Memory and time for the regions that have rows; the others only have a 0 in the result.
    occupied, labels = np.unique(labels, return_inverse=True)
    size = np.bincount(labels)
    all_regions, scale = np.arange(len(size)), standard(lambda: [crowded])
    gain, crowding = GroupSums(), GroupSums()
    gain.add(less_lowest(info, Range.of(info)), labels)
    crowding.add(scale.centred(crowded), labels)
    exponent = exponents(crowding.totals(all_regions), size, scale, strength)
    of_all = np.zeros(occupied.max(initial=-1) + 1, np.int64)
    of_all[occupied] = shares(size, gain.totals(all_regions), exponent, budget)
    return convert_like(informativeness, of_all)


class Range(NamedTuple):
    """Of numbers."""

    lowest: float
    largest: float  # of their magnitudes

    @classmethod
    def of(cls, x: Floats) -> Range:
        return cls(float(x.min(initial=np.inf)), float(np.abs(x).max(initial=0.0)))


def less_lowest(x: Floats, known: Range) -> Floats:
    """x less the lowest, times a power of two that keeps sums of them in the range of float64."""
    power = power_of(known.largest)
    return np.asarray(np.ldexp(x, power) - np.ldexp(known.lowest, power), np.float64)


def exponents(sums: Floats, size: NDArray[np.int64], scale: Standard, strength: float) -> Floats:
    """Of the share of each region, from its sum of centred densities: less to the crowded."""
    if not scale.deviation:
        return np.zeros(len(size))
    return np.asarray(-strength * (sums / size / scale.deviation), np.float64)


def shares(size: NDArray[np.int64], gain: Floats, exponent: Floats, budget: int) -> NDArray[np.int64]:
    """Of a budget for each region: in proportion to gain * exp(exponent), and no more than its size."""
    allocation = np.zeros(len(size), np.int64)
    while budget:
        room = np.flatnonzero(allocation < size)
        scaled = _weights(gain[room] if gain[room].any() else size[room].astype(np.float64), exponent[room])
        each = room[scaled >= 1]
        weight = [int(w) for w in scaled[scaled >= 1]]
        total = sum(weight)
        full = each[[budget * w >= s * total for w, s in zip(weight, size[each].tolist(), strict=True)]]
        if not len(full):
            _largest_remainders(allocation, each, weight, budget)
            break
        allocation[full] = size[full]
        budget -= int(size[full].sum())
    return allocation


def _largest_remainders(allocation: NDArray[np.int64], regions: NDArray[np.int64], weight: list[int], n: int) -> None:
    """Set the `allocation` of `regions` to whole shares of n, proportional to `weight`."""
    total = sum(weight)
    whole, remainder = zip(*(divmod(n * w, total) for w in weight), strict=True)
    first = sorted(range(len(weight)), key=lambda i: -remainder[i])  # stable: of equals the lowest region
    allocation[regions] = whole
    allocation[regions[first[: n - sum(whole)]]] += 1


def _weights(gain: Floats, exponent: Floats) -> Floats:
    """gain * exp(exponent), up to a common factor that makes the largest about 2^500, whatever the range."""
    with np.errstate(divide="ignore", over="ignore"):
        exponent = exponent - exponent[gain > 0].max()
        log_weight = np.log(gain) + exponent
        best = log_weight.argmax()
        mantissa, power = np.frexp(gain[best])
        # Without a logarithm where the factors are equal, so that equal remainders come out equal.
        alike = exponent == exponent[best]
        weight = np.where(alike, np.ldexp(gain, -power), mantissa * np.exp(log_weight - log_weight[best]))
    return np.asarray(np.ldexp(weight, _FIXED_POINT), np.float64)
