"""The budget of the regions: spent exactly, within their sizes, fair, and the same whatever the order of the rows.

Equalities are of integers: sums are rounded once and shares are compared exactly, so that no tolerance is needed.
"""

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import hnscore
from hnscore import reference as ref

Pool = tuple[list[Any], list[Any], list[int]]

WHOLE = st.integers(0, 20)
ORDINARY = st.one_of(WHOLE, st.floats(-100, 100, allow_subnormal=False))
EXTREME = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, 5e-324, 1e-310, 1e300, -1.7e308, 1.7e308])
)


@st.composite
def pools(draw: st.DrawFn, values: st.SearchStrategy[Any] = ORDINARY, density: Any = None) -> Pool:
    n = draw(st.integers(1, 25))
    rows = {"min_size": n, "max_size": n}
    return (
        draw(st.lists(values, **rows)),
        draw(st.lists(values if density is None else density, **rows)),
        draw(st.lists(st.integers(0, 5), **rows)),
    )


def sizes(regions: list[int]) -> NDArray[np.int64]:
    return np.bincount(regions)


def budget_of(data: st.DataObject, pool: Pool) -> int:
    return data.draw(st.integers(0, len(pool[0])), "budget")


# ---- What it is ------------------------------------------------------------------------------------------------------


@given(pools(), st.data(), st.one_of(st.integers(-3, 3), st.floats(-5, 5)))
def test_is_the_reference(pool: Pool, data: st.DataObject, regularization: float) -> None:
    budget = budget_of(data, pool)
    got = hnscore.allocate(*pool, budget, regularization=regularization)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, ref.allocate(*pool, budget, regularization=regularization))


def test_known_answers() -> None:
    one = [1.0] * 10
    info = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    thirds = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert hnscore.allocate(info, one, thirds, 3).tolist() == [1, 1, 1]
    assert hnscore.allocate(info, one, thirds, 4).tolist() == [2, 1, 1], "equal remainders: the lowest region"
    assert hnscore.allocate([0, 3, 0, 1, 1], [1] * 5, [0, 0, 1, 1, 1], 3).tolist() == [2, 1]
    assert hnscore.allocate([0, 9, 1, 1, 1, 1], one[:6], [0, 0, 1, 1, 2, 2], 4).tolist() == [2, 1, 1], "full at 2"
    # Region 1 is as informative as 0 but one standard deviation denser than the mean, 0 one less: e^2 = 7.39 to 1.
    crowded = [0.0] * 8 + [1.0] * 8
    assert hnscore.allocate([0, *[1] * 7] * 2, crowded, [0] * 8 + [1] * 8, 8).tolist() == [7, 1]  # 7.05 and 0.95
    assert hnscore.allocate([0, *[1] * 7] * 2, crowded, [0] * 8 + [1] * 8, 8, regularization=0).tolist() == [4, 4]
    assert hnscore.allocate([0, *[1] * 7] * 2, crowded, [0] * 8 + [1] * 8, 8, regularization=-1).tolist() == [1, 7]


def test_equal_remainders_that_float64_would_tell_apart() -> None:
    """Shares 4/3, 1/3 and 1/3: the remainder of 4/3 in float64 is below that of 1/3."""
    info = [0, 4, 0, 0, 1, 1]
    assert hnscore.allocate(info, [1] * 6, [0, 0, 0, 0, 1, 2], 2).tolist() == [2, 0, 0]


@given(pools(values=st.just(7.5), density=WHOLE), st.data())
def test_without_information_sizes_stand_for_it(pool: Pool, data: st.DataObject) -> None:
    budget = budget_of(data, pool)
    allocation = hnscore.allocate(*pool, budget, regularization=0)
    assert np.all(np.abs(allocation * len(pool[0]) - budget * sizes(pool[2])) < len(pool[0])), "a share, rounded"
    crowded = [0, 0, 1, 1, 1, 1]  # deviations from the mean: -sqrt(2) and sqrt(1/2)
    assert hnscore.allocate([3] * 6, crowded, [0, 0, 1, 1, 1, 1], 2).tolist() == [2, 0], "2 e^1.41 to 4 e^-0.71"


@given(pools(), st.data())
def test_only_standardised_density_and_gains_count(pool: Pool, data: st.DataObject) -> None:
    """Powers of two scale exactly."""
    budget = budget_of(data, pool)
    info, density, regions = (np.array(x) for x in pool)
    scaled = hnscore.allocate(np.ldexp(info, 30), np.ldexp(density, -20), regions, budget)
    np.testing.assert_array_equal(scaled, hnscore.allocate(info, density, regions, budget))


# ---- What it promises ------------------------------------------------------------------------------------------------


@given(pools(values=EXTREME), st.data(), st.floats(allow_nan=False, allow_infinity=False))
def test_spends_the_budget_within_the_sizes(pool: Pool, data: st.DataObject, regularization: float) -> None:
    budget = budget_of(data, pool)
    allocation = hnscore.allocate(*pool, budget, regularization=regularization)
    assert allocation.shape == (max(pool[2]) + 1,)
    assert allocation.sum() == budget
    assert np.all(allocation >= 0)
    assert np.all(allocation <= sizes(pool[2]))


@given(pools(values=EXTREME), st.data(), st.sampled_from([0, 1, -2.5, 1e300]))
def test_order_of_rows_does_not_matter(pool: Pool, data: st.DataObject, regularization: float) -> None:
    budget = budget_of(data, pool)
    order = data.draw(st.permutations(range(len(pool[0]))))
    permuted = [[x[i] for i in order] for x in pool]
    np.testing.assert_array_equal(
        hnscore.allocate(*permuted, budget, regularization=regularization),
        hnscore.allocate(*pool, budget, regularization=regularization),
    )


@given(pools(), st.data())
def test_names_of_regions_matter_for_ties_alone(pool: Pool, data: st.DataObject) -> None:
    """Renamed regions get the same, but for the one more that a tie gives to the lowest."""
    budget = budget_of(data, pool)
    info, density, regions = pool
    names = data.draw(st.permutations(range(6)))
    plain = np.pad(hnscore.allocate(info, density, regions, budget), (0, 6))[:6]
    renamed = np.pad(hnscore.allocate(info, density, [names[r] for r in regions], budget), (0, 6))[names]
    assert np.all(np.abs(plain - renamed) <= 1)


def test_names_of_regions_do_not_matter_without_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        info, density, regions = rng.random(40), rng.random(40), rng.permutation(np.arange(40) % 6)
        names = rng.permutation(6)
        budget = int(rng.integers(0, 41))
        plain = hnscore.allocate(info, density, regions, budget)
        np.testing.assert_array_equal(hnscore.allocate(info, density, names[regions], budget)[names], plain)


@given(pools(values=WHOLE, density=st.just(1.0)), st.data(), st.integers(1, 30))
def test_more_information_never_means_fewer(pool: Pool, data: st.DataObject, more: int) -> None:
    """Quotas: the region's own rises, all others fall or stay full. Where another's whole part falls by one it frees a
    pick, and it alone can come to stand before this region in the order of remainders; so this region loses nothing.
    Whole numbers, whose sums are exact; and a smallest that stays, or all gains would change.
    """
    budget = budget_of(data, pool)
    info, density, regions = pool
    row = data.draw(st.integers(0, len(info) - 1))
    assume(min(info[:row] + info[row + 1 :], default=info[row] + 1) <= info[row])
    raised = [x + more * (i == row) for i, x in enumerate(info)]
    before, after = (hnscore.allocate(x, density, regions, budget)[regions[row]] for x in (info, raised))
    assert after >= before


@given(pools(), st.data(), st.floats(0, 3), st.floats(0, 3))
def test_regularization_moves_picks_out_of_the_densest(pool: Pool, data: st.DataObject, less: float, by: float) -> None:
    """Share of the densest region: d log(share) / d regularization = mean of z under the shares - its own z <= 0, and
    where regions are full, the share only moves on to the sparser that are not. So the unrounded share falls and its
    whole part plus one bounds what it gets: rounding may add one, no more. Likewise the sparsest, the other way round.
    """
    budget = budget_of(data, pool)
    regions = np.array(pool[2])
    means = {r: np.mean(np.array(pool[1], np.float64)[regions == r]) for r in np.unique(regions)}
    densest, sparsest = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    before = hnscore.allocate(*pool, budget, regularization=less)
    after = hnscore.allocate(*pool, budget, regularization=less + by)
    assert after[densest] <= before[densest] + 1
    assert after[sparsest] >= before[sparsest] - 1


@given(st.lists(st.tuples(ORDINARY, ORDINARY), min_size=4, max_size=20), st.data(), st.floats(0, 3), st.floats(0.01, 3))
def test_of_two_regions_the_denser_never_gets_more(
    rows: list[tuple[float, float]], data: st.DataObject, less: float, by: float
) -> None:
    """Of two, one gets its share rounded to the nearest, which is monotone."""
    info, density = zip(*rows, strict=True)
    regions = [0, 1, *data.draw(st.lists(st.integers(0, 1), min_size=len(rows) - 2, max_size=len(rows) - 2))]
    mean = [np.mean([d for d, r in zip(density, regions, strict=True) if r == one]) for one in (0, 1)]
    assume(abs(mean[0] - mean[1]) > 1e-6)
    budget = data.draw(st.integers(0, len(rows)))
    denser = int(np.argmax(mean))
    before = hnscore.allocate(info, density, regions, budget, regularization=less)[denser]
    after = hnscore.allocate(info, density, regions, budget, regularization=less + by)[denser]
    assert after <= before


# ---- Extremes --------------------------------------------------------------------------------------------------------


def test_the_strongest_regularization_fills_the_sparsest_first() -> None:
    regions, density = np.repeat(np.arange(5), 4), np.repeat([3.0, 1.0, 4.0, 0.0, 2.0], 4)
    info = np.tile([0.0, 1.0, 2.0, 3.0], 5)
    for regularization in (1e4, 1e300):
        for budget in range(21):
            got = hnscore.allocate(info, density, regions, budget, regularization=regularization)
            expected = np.clip(budget - 4 * density[::4], 0, 4)
            np.testing.assert_array_equal(got, expected)


def test_information_decides_between_the_equally_sparse_at_any_strength() -> None:
    info, density, regions = [0, 3, 0, 1, 0, 5], [1.0, 1.0, 1.0, 1.0, 2.0, 2.0], [0, 0, 1, 1, 2, 2]
    for regularization in (1e3, 1e30, 1e300):
        got = hnscore.allocate(info, density, regions, 2, regularization=regularization)
        assert got.tolist() == [2, 0, 0], "1.5 and 0.5: a tie"
        got = hnscore.allocate([0, 1, 0, 4, 0, 5], density, regions, 2, regularization=regularization)
        assert got.tolist() == [0, 2, 0], "0.4 and 1.6"
        got = hnscore.allocate([0, 1e-200, 0, 1e100, 0, 1], density, regions, 3, regularization=regularization)
        assert got.tolist() == [1, 2, 0], "full, then what is left"


def test_sums_are_exact() -> None:
    """2^53 + 1 + 1 is 2^53 when float64 adds from the left: the regions tie, and the lower one comes first."""
    assert hnscore.allocate([2**53, 1, 1, 2**53 + 2, 0], [1] * 5, [0, 0, 0, 1, 1], 1).tolist() == [1, 0]


def test_regions_of_any_range_of_information() -> None:
    """Gains from the smallest to the largest float64: each fills up before the next smaller one gets anything."""
    info = [0.0, 5e-324, 1e-300, 1e-30, 1.0, 1e30, 1.7e308, -0.0]
    regions = [0, 1, 2, 3, 4, 5, 6, 6]
    assert hnscore.allocate(info, [1.0] * 8, regions, 4).tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert hnscore.allocate([-1.7e308, 1.7e308, 1.7e308], [1.7e308, -1.7e308, 0], [0, 1, 2], 2).tolist() == [0, 1, 1]


def test_tiny_differences_are_differences() -> None:
    info, regions = [0.0, 5e-324, 1.5e-323, 0.0, 0.0], [0, 0, 1, 1, 0]
    assert hnscore.allocate(info, [1.0] * 5, regions, 4, regularization=0).tolist() == [2, 2], (
        "gains 1 and 3, full at 2"
    )
    near = 1 + np.finfo(np.float64).eps
    assert hnscore.allocate([0, 1, 1, 0], [1, 1, near, near], [0, 0, 1, 1], 1, regularization=5).tolist() == [1, 0]


def test_constant_density_counts_as_the_mean() -> None:
    """Whatever the number of rows: n times 0.1, divided by n, is not always 0.1 in float64."""
    for n in range(2, 60):
        info = [0, *[1] * (n - 1)]
        got = hnscore.allocate(info, [0.1] * n, [0] * (n // 2) + [1] * (n - n // 2), n // 2, regularization=1e9)
        np.testing.assert_array_equal(got, hnscore.allocate(info, [0] * n, [0] * (n // 2) + [1] * (n - n // 2), n // 2))


def test_no_rows_and_no_budget() -> None:
    assert hnscore.allocate([], [], [], 0).shape == (0,)
    assert hnscore.allocate([1, 2], [1, 2], [0, 3], 0).tolist() == [0, 0, 0, 0]
    assert hnscore.allocate([1, 2], [1, 2], [0, 3], 2).tolist() == [1, 0, 0, 1], "a region without rows gets nothing"


def test_regions_without_rows_take_no_memory_but_the_result() -> None:
    last = 2**24
    tracemalloc.start()
    allocation = hnscore.allocate([1.0, 2.0, 2.0], [1.0, 2.0, 3.0], [0, last, last], 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(allocation) == last + 1
    assert allocation[last] == allocation.sum() == 2
    assert peak < allocation.nbytes + 2**20
    scores, density = np.array([1.0, 2.0, 2.0]), np.arange(3.0)
    tracemalloc.start()
    rows = hnscore.select(scores, 2, density=density, regions=np.array([0, last, last]), method="budgeted")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.tolist() == [1, 2]
    assert peak < 2**20


# ---- Arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "argument", "message"),
    [
        ({"informativeness": [[1, 2, 3]]}, ValueError, "informativeness", r"(n,), one value per row, got (1, 3)"),
        ({"informativeness": [1, np.nan, 3]}, ValueError, "informativeness", "finite, got nan at index 1"),
        ({"informativeness": ["a", "b", "c"]}, TypeError, "informativeness", "real numbers .* got dtype <U1"),
        ({"density": [1.0, 2.0]}, ValueError, "density", r"(3,), .* got (2,)"),
        ({"density": [1, 2, np.inf]}, ValueError, "density", "finite, got inf at index 2"),
        ({"density": np.array([1, 2, 3]) > 1}, TypeError, "density", "real numbers .* got dtype bool"),
        ({"regions": [0, 1]}, ValueError, "regions", r"(3,), .* got (2,)"),
        ({"regions": [0.0, 1.0, 1.0]}, TypeError, "regions", "integers, got dtype float64"),
        ({"regions": [0, -1, 1]}, ValueError, "regions", "from 0.*got -1 at index 1; number them with np.unique"),
        ({"regions": np.array([0, 2**63, 1], np.uint64)}, ValueError, "regions", "got 9223372036854775808 at index 1"),
        ({"budget": 4}, ValueError, "budget", "from 0 to 3 .* got 4"),
        ({"budget": -1}, ValueError, "budget", "from 0 to 3 .* got -1"),
        ({"budget": 1.5}, TypeError, "budget", "an integer .* got 1.5"),
        ({"budget": True}, TypeError, "budget", "an integer .* got True"),
        ({"regularization": np.nan}, ValueError, "regularization", "finite, got nan"),
        ({"regularization": "1"}, TypeError, "regularization", "a number, got str"),
    ],
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], argument: str, message: str) -> None:
    good = {"informativeness": [1, 2, 3], "density": [1.0, 2.0, 3.0], "regions": [0, 1, 1], "budget": 2}
    assert hnscore.allocate(**good).sum() == 2
    pattern = re.escape(message).replace(r"\.\*", ".*").replace(r"\ ", " ")
    with pytest.raises(error, match=rf"^{argument} .*{pattern}"):
        hnscore.allocate(**(good | changes))


def test_kinds_of_arrays() -> None:
    info, density, regions = np.array([0, 1, 5, 2]), np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 1, 2])
    plain = hnscore.allocate(info, density, regions, 2)
    for of in (list, lambda a: a.astype(">i2"), lambda a: np.repeat(a, 2)[::2], lambda a: a.astype(np.float16)):
        got = hnscore.allocate(of(info), of(density), regions.astype(np.uint8), np.int64(2))
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, plain)
    tensors = (torch.from_numpy(x) for x in (info, density, regions))
    got = hnscore.allocate(*tensors, 2)
    assert isinstance(got, torch.Tensor)
    assert got.tolist() == plain.tolist()
