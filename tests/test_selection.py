"""Selections: the reference's picks, whatever the dtype, the layout and the threads; ties to the lowest row.

Two float64 sums of the same n terms of at most 1 in different orders differ by less than n^2 * 2^-53, and kernels of
cosines that differ by dim * 2^-52 by that over the temperature: NEAR is far above both for the sizes here. Gains of
random rows are further apart than that, so that random data must give equal picks; data with ties of other kinds than
equal rows must give picks whose gains are within NEAR of the best.
"""

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import hnscore
from hnscore import _core
from hnscore import reference as ref
from hnscore.selections import choose, coverage, farthest, greedy

Array = NDArray[Any]
NEAR = 1e-9
COMPARING = ("repulsive", "coverage", "herding")
GREEDY = (*COMPARING, "core_set")


def clustered(n: int, dim: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    centres = 3 * random.standard_normal((5, dim)) + 1
    x = centres[random.integers(5, size=n)] + random.standard_normal((n, dim))
    return (8 * x).round().clip(-127, 127).astype(dtype) if np.dtype(dtype).kind == "i" else x.astype(dtype)


def scores_of(n: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).random(n)


def pick(emb: Any, method: str, budget: int, scores: Any = None, **rules: Any) -> Any:
    """`select` or `core_set`, which knows neither scores nor their weight."""
    if method == "core_set":
        return hnscore.core_set(
            emb, budget, **{k: v for k, v in rules.items() if k in ("labeled", "n_threads", "show_progress_bar")}
        )
    return hnscore.select(scores, budget, embeddings=emb, method=method, **rules)


def assert_near_greedy(
    picks: Array, emb: Array, method: str, scores: Any = None, near: float = NEAR, **rules: Any
) -> None:
    """Every pick has, within `near`, the largest gain that the reference finds after the picks before it."""
    chosen: list[int] = []
    gains_after = ref.greedy_gains(emb, method, scores, **rules)
    for row in picks.tolist():
        gains = gains_after(chosen)
        assert gains[row] >= gains.max() - near * (len(chosen) + 1), (method, chosen, row)
        chosen.append(row)
    assert len(set(chosen)) == len(chosen)


# ---- The reference's picks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", GREEDY)
@pytest.mark.parametrize(
    ("n", "dim", "dtype"),
    [(1, 3, "f4"), (9, 1, "f8"), (60, 2, "f8"), (90, 7, "f4"), (130, 24, "f2"), (200, 33, "f4"), (100, 64, "i1"),
     (120, 130, "f8")],
)  # fmt: skip
@pytest.mark.parametrize("labeled", [0, 5])
def test_is_the_reference(method: str, n: int, dim: int, dtype: str, labeled: int) -> None:
    emb, scores = clustered(n, dim, dtype), scores_of(n)
    own = np.random.default_rng(2).permutation(n)[: min(labeled, n - 1)]
    budget = min(n - len(own), 40)
    for given_scores in (scores, None) if method == "coverage" else (scores,):
        expected = ref.greedy(emb, method, budget, given_scores, labeled=own)
        got = pick(emb, method, budget, given_scores, labeled=own)
        assert got.dtype == np.int64
        # Ties: where dim is 1 cosines are 1 or -1; without scores two rows that are alone together cover the same.
        if dim == 1 or given_scores is None:
            assert_near_greedy(got, emb, method, given_scores, labeled=own)
        else:
            assert got.tolist() == expected


@pytest.mark.parametrize(("n", "labeled"), [(3, [1]), (60, []), (61, [5, 0, 17]), (200, list(range(0, 200, 7)))])
@pytest.mark.parametrize("sign", [1, -1])
def test_auto_covers_the_better_half(n: int, labeled: list[int], sign: int) -> None:
    emb, scores, budget = clustered(n, 9), sign * scores_of(n), (n - len(labeled)) // 3 + 1
    u = ref.better_half(scores, labeled)
    assert u[np.delete(np.arange(n), labeled)].sum() == (n - len(labeled) + 1) // 2
    for rules, temperature in (({}, 0.4), ({"temperature": 0.1}, 0.1)):  # two rows alone together cover the same: ties
        picks = hnscore.select(scores, budget, embeddings=emb, labeled=labeled, **rules)
        assert_near_greedy(picks, emb, "coverage", u, labeled=labeled, temperature=temperature)


def test_auto_without_scores_or_without_embeddings() -> None:
    emb, scores = clustered(80, 9), scores_of(80)
    unweighted = hnscore.select(None, 20, embeddings=emb, method="coverage", temperature=0.4).tolist()
    assert hnscore.select(None, 20, embeddings=emb).tolist() == unweighted
    assert hnscore.select(np.full(80, -3.0), 20, embeddings=emb).tolist() == unweighted  # all as good as the median
    assert hnscore.select(scores, 20).tolist() == hnscore.select(scores, 20, method="top").tolist()
    assert sorted(hnscore.select(scores, 80, embeddings=emb)) == list(range(80))
    assert hnscore.select(scores, 0, embeddings=emb, labeled=range(80)).tolist() == []


@pytest.mark.parametrize("method", GREEDY)
@pytest.mark.parametrize("temperature", [0.003, 0.3, 5.0])
@pytest.mark.parametrize("regularization", [0.0, 0.3, 20.0])
def test_other_settings(method: str, temperature: float, regularization: float) -> None:
    emb, scores = clustered(120, 12), scores_of(120)
    rules = {"temperature": temperature, "regularization": regularization}
    assert pick(emb, method, 40, scores, **rules).tolist() == ref.greedy(emb, method, 40, scores, **rules)


def test_negative_scores_of_repulsive() -> None:
    emb, scores = clustered(100, 9), scores_of(100) - 0.8
    assert pick(emb, "repulsive", 50, scores).tolist() == ref.greedy(emb, "repulsive", 50, scores)


def test_large_fronts_and_blocks() -> None:
    """More rows than the least front holds, more picks than a block of columns, and fronts that come and go."""
    emb, scores = clustered(3000, 16), scores_of(3000)
    for method in ("repulsive", "herding", "core_set"):
        assert pick(emb, method, 300, scores).tolist() == ref_greedy_fast(emb, method, 300, scores), method


@pytest.mark.parametrize("labeled", [[], list(range(0, 10000, 100))])
def test_bounds_by_blocks_of_picks(labeled: list[int]) -> None:
    """Most scores are 0, and all rows lose much to all picks: bounds by mean directions decide who is in the race."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((300, 64))
    emb = (centres[random.integers(300, size=10000)] + 0.8 * random.standard_normal((10000, 64))).astype(np.float32)
    scores = np.maximum(random.standard_normal(10000) - 0.8, 0)
    picks = np.zeros(400, np.int64)
    _core.greedy(
        emb, _core.DTYPES["float32"], np.array(labeled, np.int64), picks, np.zeros(400),
        base=scores / scores.max(), penalty=0.05, temperature=0.5, n_threads=1,
    )  # fmt: skip
    assert picks.tolist() == ref_greedy_fast(emb, "repulsive", 400, scores, 0.05, 0.5, labeled)


def ref_greedy_fast(
    emb: Array,
    method: str,
    budget: int,
    scores: Array,
    regularization: float = 1.0,
    temperature: float = 0.1,
    labeled: Any = (),
) -> list[int]:
    """The reference's recipe with running sums instead of sums, and only the columns of s that it needs."""
    x = emb.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    lost = np.full(len(x), 2.0) if method == "core_set" else np.zeros(len(x))
    if method == "herding":
        mean = np.exp((np.minimum(x @ x.T, 1) - 1) / temperature).mean(axis=1)
    taken: list[int] = []
    while len(taken) < budget + len(labeled):
        t = len(taken) - len(labeled)
        if method == "core_set":
            gain = lost if taken else x @ x.mean(axis=0)
        else:
            gain = ((t + 1) * mean if method == "herding" else scores / scores.max()) - regularization * lost
        gain[taken] = -np.inf
        taken.append(labeled[len(taken)] if t < 0 else int(gain.argmax()))
        s = np.minimum(x @ x[taken[-1]], 1)
        lost = np.minimum(lost, 1 - s) if method == "core_set" else lost + np.exp((s - 1) / temperature)
    return taken[len(labeled) :]


def test_most_rows_are_left_alone() -> None:
    """Few rows of high score are in the race, and only they are compared with the picks."""
    emb, scores = clustered(5000, 16), scores_of(5000) ** 30
    picks = np.zeros(50, np.int64)
    rows_read, products = _core.greedy(
        emb,
        _core.DTYPES["float32"],
        np.zeros(0, np.int64),
        picks,
        np.zeros(50),
        base=scores / scores.max(),
        penalty=0.01,
        temperature=0.1,
        n_threads=1,
    )
    assert picks.tolist() == ref_greedy_fast(emb, "repulsive", 50, scores, 0.01)
    assert products < 5000 * 50 / 4
    assert rows_read < 5000 * 50 / 4


@given(st.data())
def test_small_problems(data: st.DataObject) -> None:
    """Small integers: equal rows, multiples of rows, opposite rows, equal scores."""
    n, dim = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    row = st.lists(st.integers(-2, 2), min_size=dim, max_size=dim).filter(any)
    emb = np.array(data.draw(st.lists(row, min_size=n, max_size=n)), data.draw(st.sampled_from(["f4", "i1", "f8"])))
    scores = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.float64)
    labeled = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n))
    budget = data.draw(st.integers(0, n - len(labeled)))
    temperature = data.draw(st.sampled_from([0.05, 0.5]))
    for method in GREEDY:
        picks = pick(emb, method, budget, scores, labeled=labeled, temperature=temperature)
        assert len(picks) == budget
        assert not set(picks) & set(labeled)
        if method == "core_set" and not labeled and budget:  # whose first pick is decided by roundings of a mean
            gains = ref.greedy_gains(emb, method)([])
            assert gains[picks[0]] >= gains.max() - NEAR
        assert_near_greedy(picks, emb, method, scores, labeled=labeled, temperature=temperature)
        for i, chosen in enumerate(picks):
            alike = (emb == emb[chosen]).all(axis=1) & (scores == scores[chosen])
            lower = set(np.flatnonzero(alike[:chosen])) - set(labeled) - set(picks[:i])
            assert not lower, (method, picks)


# ---- Ties ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", GREEDY)
@pytest.mark.parametrize("n", [1, 5, 700])
def test_identical_rows_in_order(method: str, n: int) -> None:
    emb = np.tile(np.random.default_rng(0).standard_normal(37).astype(np.float32), (n, 1))
    assert pick(emb, method, n, np.full(n, 0.7)).tolist() == list(range(n))
    assert pick(emb, method, n - 1, np.zeros(n), labeled=[n // 2]).tolist() == [i for i in range(n) if i != n // 2]


def test_covered_rows_of_core_set_in_order() -> None:
    """Once every direction is chosen all distances are 0: rounding decides nothing, and scale neither."""
    directions = np.random.default_rng(0).standard_normal((4, 50))
    emb = np.concatenate([directions * scale for scale in (1, 3, 0.1, 7, 1 / 3)])
    picks = hnscore.core_set(emb, 20).tolist()
    assert {i % 4 for i in picks[:4]} == {0, 1, 2, 3}
    assert picks[4:] == sorted(picks[4:])


def test_ties_of_scores() -> None:
    scores = np.array([1, 3, 3, 0, 3, -0.0])
    assert hnscore.select(scores, 6).tolist() == [1, 2, 4, 0, 3, 5]
    with pytest.warns(UserWarning, match="2 rows share the score at which the budget ends, and 1 of them are picked"):
        assert hnscore.select(scores, 3, labeled=[1, 0]).tolist() == [2, 4, 3]
    assert hnscore.select(scores, 6, method="density", density=np.ones(6)).tolist() == [1, 2, 4, 0, 3, 5]
    assert hnscore.select(scores, 3).tolist() == [1, 2, 4], "all three of the best: no tie at the cut"


@pytest.mark.parametrize(
    "rules",
    [{}, {"method": "density", "density": np.ones(500)},
     {"method": "budgeted", "density": np.ones(500), "regions": np.arange(500) % 2}],
)  # fmt: skip
def test_ties_at_the_cut(rules: dict[str, Any]) -> None:
    """Scores of which most are 0, as sums are: row order decides with a warning, chance with a random state."""
    scores = np.zeros(500)
    scores[[400, 401]] = 1.0
    with pytest.warns(UserWarning, match="share the score.*random_state") as caught:
        picks = hnscore.select(scores, 20, **rules)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert set(picks) == {400, 401, *range(18)}
    drawn = [set(hnscore.select(scores, 20, random_state=i, **rules)) for i in range(20)]
    assert all({400, 401} <= rows for rows in drawn)
    assert len(set.union(*drawn)) > 200, "of 500, of which each is missed by all 20 with a probability of one half"
    assert hnscore.select(scores, 20, random_state=3, **rules).tolist() == list(
        hnscore.select(scores, 20, random_state=np.random.default_rng(3), **rules)
    )


def test_prefer() -> None:
    emb, scores = clustered(90, 9), scores_of(90)
    for rules in ({}, {"embeddings": emb}, {"embeddings": emb, "method": "repulsive"}):
        easy = hnscore.select(-scores, 12, **rules).tolist()
        assert hnscore.select(scores, 12, prefer="easy", **rules).tolist() == easy
        assert (
            hnscore.select(scores, 12, prefer="hard", **rules).tolist() == hnscore.select(scores, 12, **rules).tolist()
        )


def test_the_log_says_how_long_and_what_came_out(caplog: pytest.LogCaptureFixture) -> None:
    emb = clustered(900, 40)
    with caplog.at_level("INFO", "hnscore"):
        picks = hnscore.select(None, 20, embeddings=emb, memory_limit=least_memory(emb))
    assert re.search(r"a pass over 900 rows and 900 points takes about \S+ s; .* as long as five", caplog.text)
    covered = np.exp((ref.cosines(emb)[picks] - 1) / 0.4).max(axis=0)
    said = re.search(r"covered by (\S+) in the mean, \+- (\S+) ", caplog.text)
    assert said is not None
    assert float(said[1]) == pytest.approx(covered.mean(), abs=1e-5)
    assert float(said[2]) == pytest.approx(1.96 * covered.std() / 30, abs=1e-5)


def test_center() -> None:
    emb = clustered(200, 9) + 40
    whole = np.asarray((emb - emb.mean(axis=0)) / emb.std(axis=0), np.float32)
    for method in ("auto", "repulsive", "herding"):
        expected = hnscore.select(scores_of(200), 15, embeddings=whole, method=method)
        got = hnscore.select(scores_of(200), 15, embeddings=emb, method=method, center=True)
        assert got.tolist() == expected.tolist()
    constant = np.concatenate([emb, np.ones((200, 1), np.float32)], axis=1)
    expected = hnscore.select(None, 15, embeddings=whole)
    assert hnscore.select(None, 15, embeddings=constant, center=True).tolist() == expected.tolist()


@pytest.mark.parametrize(("method", "n", "budget"), [("coverage", 3000, 900), ("core_set", 20_000, 5000)])
def test_ctrl_c_leaves_the_picks(method: str, n: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    emb = clustered(n, 32)

    def bar(*_: object) -> Callable[[float], None]:
        return lambda share: signal.raise_signal(signal.SIGINT) if share > 0.3 else None

    expected = pick(emb, method, budget).tolist()
    for module in (choose, farthest):
        monkeypatch.setattr(module, "rows_bar", bar)
    with pytest.raises(KeyboardInterrupt, match=f"of {budget} rows were picked: the attribute `picks`") as caught:
        pick(emb, method, budget)
    made = caught.value.picks.tolist()  # type: ignore[attr-defined]
    assert 0 < len(made) < budget
    assert made == expected[: len(made)]


@pytest.mark.parametrize("method", GREEDY)
def test_equal_scores(method: str) -> None:
    emb = clustered(400, 11)
    assert pick(emb, method, 40, np.ones(400)).tolist() == ref.greedy(emb, method, 40, np.ones(400))


# ---- Scores, density and regions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("labeled", [[], [3, 17, 40]])
@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 2.0])
def test_density_is_the_reference(labeled: list[int], exponent: float) -> None:
    scores, density = scores_of(80) - 0.3, scores_of(80, 5)
    scores[5] = 0
    got = hnscore.select(scores, 50, density=density, density_exponent=exponent, method="density", labeled=labeled)
    assert got.tolist() == ref.select_density(scores, density, 50, exponent, labeled)


def test_density_beyond_the_range_of_exp() -> None:
    """Factors of exp(+-2000) still rank: among equal densities by score, and sparse before dense."""
    density = np.array([0, 0, 0, 1, 1.0])
    got = hnscore.select([1, 2, -1, 3, 4.0], 5, density=density, density_exponent=-1000, method="density")
    assert got.tolist() == [1, 0, 4, 3, 2]


@pytest.mark.parametrize("exponent", [1e200, 1e308])
def test_density_exponents_beyond_all_range(exponent: float) -> None:
    """Only the order of the density is left, and among equal densities that of the scores."""
    scores, density = [1.0, 5.0, -3.0, 0.0, 4.0], [2.0, 1.0, 0.0, 1.0, 3.0]
    sparse = hnscore.select(scores, 5, density=density, density_exponent=-exponent, method="density")
    assert sparse.tolist() == [1, 3, 0, 4, 2], "the lowest score counts as 0, whatever the density"
    crowded = hnscore.select(scores, 5, density=density, density_exponent=exponent, method="density")
    assert crowded.tolist() == [4, 0, 1, 3, 2]


def test_crowded_rows_count_less_for_scores_of_any_sign() -> None:
    def chosen(*scores: float) -> list[int]:  # those of each pair of equal scores: the sparse row, then the crowded
        rows = hnscore.select(np.repeat(scores, 2), 2 * len(scores), density=[0, 2] * len(scores), method="density")
        return list(rows)

    assert chosen(2, 4, 1) == [2, 0, 4, 3, 1, 5], "4 e, 2 e, e, 4 / e, ..."
    assert chosen(-1, 1, -2) == [2, 0, 3, 1, 4, 5], "3 e, e, 3 / e, 1 / e, and the lowest scores by row"
    assert chosen(-3, -1) == [2, 3, 0, 1]
    # A labeled row's score does not count, and a range beyond that of float64 is no matter.
    assert hnscore.select([-9, 1, 1.2], 2, density=[0, 0, 1], method="density", labeled=[0]).tolist() == [1, 2]
    assert hnscore.select([-1.7e308, 1.6e308, 1.7e308], 3, density=[1] * 3, method="density").tolist() == [2, 1, 0]


def test_density_is_computed_where_it_is_missing() -> None:
    emb, scores, regions = clustered(90, 6), scores_of(90), np.arange(90) % 4
    density = hnscore.density(emb, "knn")
    for method in ("density", "budgeted"):
        expected = hnscore.select(scores, 30, density=density, regions=regions, method=method)
        got = hnscore.select(scores, 30, embeddings=emb, regions=regions, method=method)
        np.testing.assert_array_equal(got, expected)
    assert hnscore.select([2.0], 1, embeddings=emb[:1], method="density").tolist() == [0]


@pytest.mark.filterwarnings("ignore:.*share the score")
@given(st.data())
def test_budgeted_is_the_reference(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 20))
    whole = st.lists(st.integers(0, 5), min_size=n, max_size=n)
    scores, density, regions = (np.array(data.draw(whole)) for _ in range(3))
    labeled = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n))
    budget = data.draw(st.integers(0, n - len(labeled)))
    got = hnscore.select(
        scores, budget, density=density, regions=regions, method="budgeted", regularization=0.5, labeled=labeled
    )
    assert got.tolist() == ref.select_budgeted(scores, density, regions, budget, 0.5, labeled)


def test_regions_by_kmeans() -> None:
    pytest.importorskip("sklearn")
    emb, scores = np.repeat(np.eye(3), 20, axis=0) + 0.01 * clustered(60, 3), scores_of(60)
    rules: dict[str, Any] = {"embeddings": emb, "density": np.ones(60), "method": "budgeted"}
    got = hnscore.select(scores, 12, regions=3, random_state=0, **rules)
    np.testing.assert_array_equal(got, hnscore.select(scores, 12, regions=np.repeat([0, 1, 2], 20), **rules))
    np.testing.assert_array_equal(got, hnscore.select(scores, 12, regions=3, random_state=0, **rules))


def test_regions_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        hnscore.select(scores_of(9), 3, embeddings=clustered(9, 3), regions=2, method="budgeted")


# ---- The same bits, whatever the threads, the order and the layout ---------------------------------------------------


@pytest.mark.parametrize("method", GREEDY)
def test_threads(method: str) -> None:
    emb, scores = clustered(6000, 100), scores_of(6000)  # enough work for several threads
    if method == "coverage":
        emb, scores = emb[:1200], scores[:1200]
    one = pick(emb, method, 60, scores, n_threads=1)
    for n_threads in (2, 3):
        np.testing.assert_array_equal(pick(emb, method, 60, scores, n_threads=n_threads), one)


@pytest.mark.parametrize("method", GREEDY)
def test_every_target(method: str, target: str) -> None:
    emb, scores = clustered(150, 21), scores_of(150)
    assert pick(emb, method, 50, scores).tolist() == ref.greedy(emb, method, 50, scores)


@pytest.mark.parametrize("method", ["top", "density", "budgeted", *GREEDY])
def test_order_of_the_rows(method: str) -> None:
    emb, scores, density, regions = clustered(150, 10), scores_of(150), scores_of(150, 7), np.arange(150) % 3
    order = np.random.default_rng(3).permutation(150)
    plain: dict[str, Any] = {} if method == "core_set" else {"density": density, "regions": regions}
    moved = {name: values[order] for name, values in plain.items()}
    np.testing.assert_array_equal(
        order[pick(emb[order], method, 40, scores[order], **moved)], pick(emb, method, 40, scores, **plain)
    )


def layouts(tmp_path: Path, emb: Array) -> dict[str, Any]:
    read_only = emb.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "emb.npy", emb)
    wide = np.zeros((2 * len(emb), 3 * emb.shape[1]), emb.dtype)
    wide[::2, ::3] = emb
    return {
        "read-only": read_only,
        "memory map": np.load(tmp_path / "emb.npy", mmap_mode="r"),
        "strided": wide[::2, ::3],
        "reversed": emb[::-1, ::-1].copy()[::-1, ::-1],
        "Fortran": np.asfortranarray(emb),
        "big-endian": emb.astype(emb.dtype.newbyteorder(">")),
        "tensor": torch.from_numpy(emb),
    }


@pytest.mark.parametrize("method", GREEDY)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1"])
def test_layouts(method: str, dtype: str, tmp_path: Path) -> None:
    emb, scores = clustered(80, 19, dtype), scores_of(80)
    expected = pick(emb, method, 20, scores)
    for name, awkward in layouts(tmp_path, emb).items():
        np.testing.assert_array_equal(np.asarray(pick(awkward, method, 20, scores)), expected, err_msg=name)


@pytest.mark.parametrize("method", GREEDY)
def test_bfloat16(method: str) -> None:
    emb, scores = torch.from_numpy(clustered(90, 20)).bfloat16(), scores_of(90)
    expected = ref.greedy(emb.double().numpy(), method, 30, scores)
    assert pick(emb, method, 30, scores).tolist() == expected


def test_kind_of_the_result() -> None:
    emb, scores = torch.from_numpy(clustered(30, 4)), torch.from_numpy(scores_of(30))
    for result in (
        hnscore.core_set(emb, 3),
        hnscore.select(scores, 3),
        hnscore.select(None, 3, embeddings=emb, method="herding"),
        hnscore.select(None, 0, embeddings=emb, method="coverage"),
        hnscore.select(scores, 3, embeddings=emb.numpy(), method="herding"),
    ):
        assert isinstance(result, torch.Tensor)
        assert result.dtype == torch.int64
    for method in COMPARING:
        assert isinstance(hnscore.select(scores.tolist(), 3, embeddings=emb, method=method), np.ndarray)


# ---- What a selection is for -----------------------------------------------------------------------------------------


def objective(emb: Array, scores: Array, rows: Array, regularization: float) -> float:
    k = np.exp((ref.cosines(emb[rows]) - 1) / 0.1)
    return float((scores[rows] / np.abs(scores).max()).sum() - regularization * (k.sum() - np.trace(k)) / 2)


@given(st.integers(0, 2**32 - 1), st.floats(0, 50))
def test_a_repulsive_pair_is_the_best_with_the_top_row(seed: int, regularization: float) -> None:
    """So it is never worse than the two top rows. Of larger sets this need not be so: greedy can be unlucky."""
    emb, scores = clustered(20, 3, seed=seed), scores_of(20, seed)
    pair = pick(emb, "repulsive", 2, scores, regularization=regularization)
    top = hnscore.select(scores, 2)
    assert pair[0] == top[0]
    assert objective(emb, scores, pair, regularization) >= objective(emb, scores, top, regularization) - NEAR


@given(st.integers(0, 2**32 - 1))
def test_more_regularization_never_brings_a_pair_closer(seed: int) -> None:
    """The first row is the top one. Of the others b beats c at weight v and c beats b at w > v only if
    score(b) - v k(b) >= score(c) - v k(c) and score(b) - w k(b) <= score(c) - w k(c), whose difference is
    (w - v) (k(b) - k(c)) >= 0: the kernel does not rise."""
    emb, scores = clustered(30, 3, seed=seed), scores_of(30, seed)
    similarity = ref.cosines(emb)
    kernels = []
    for regularization in (0, 0.1, 0.3, 1, 3, 10, 1e6):
        first, second = pick(emb, "repulsive", 2, scores, regularization=regularization)
        kernels.append(np.exp((similarity[first, second] - 1) / 0.1))
    assert (np.diff(kernels) <= NEAR).all()


def test_regularization_spreads_the_picks() -> None:
    emb, scores = clustered(500, 8), scores_of(500)
    mean_kernel = []
    for regularization in (0, 0.01, 0.1, 1, 10):
        rows = pick(emb, "repulsive", 40, scores, regularization=regularization)
        mean_kernel.append(np.exp((ref.cosines(emb[rows]) - 1) / 0.1).mean())
    assert mean_kernel[-1] < 0.5 * mean_kernel[0]
    np.testing.assert_array_equal(pick(emb, "repulsive", 40, scores, regularization=0), hnscore.select(scores, 40))


@pytest.mark.parametrize("method", ["top", *GREEDY])
def test_budgets(method: str) -> None:
    emb, scores = clustered(40, 5), scores_of(40)
    whole = pick(emb, method, 40, scores)
    assert sorted(whole) == list(range(40))
    for budget in (0, 1, 7, 39):  # a smaller budget is the beginning of a larger one
        np.testing.assert_array_equal(pick(emb, method, budget, scores), whole[:budget])
    others = np.delete(np.arange(40), 23)
    assert pick(emb, method, 1, scores, labeled=others).tolist() == [23]
    assert pick(emb, method, 0, scores, labeled=np.arange(40)).tolist() == []


@pytest.mark.parametrize("method", GREEDY)
def test_an_empty_pool(method: str) -> None:
    assert pick(np.zeros((0, 4)), method, 0, np.zeros(0)).tolist() == []


# ---- Float32 sums and samples ----------------------------------------------------------------------------------------


def least_memory(emb: Array) -> int:
    """With which no kernel and no packed point is kept, and every pass is over all pairs."""
    return coverage._OF_POINT * len(emb) + coverage._OF_VALUE * emb.shape[1]


def covering(emb: Array, weights: Array | None, temperature: float, labeled: list[int]) -> coverage.Covering:
    pool = greedy.Pool("embeddings", emb, 1)
    pool.prepare(np.array(labeled, np.int64), None)
    how = coverage.How(temperature, least_memory(emb), None)
    return coverage.Covering(pool, np.arange(len(emb)), weights, how, np.random.default_rng(0))


class Lowered:
    """In place of the core: keeps the bounds that it is given."""

    def lower(self, bounds: Array) -> None:
        self.bounds = bounds


@pytest.mark.parametrize("labeled", [[], [1, 8, 30], list(range(0, 600, 3))])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("temperature", [0.003, 0.03, 0.1, 0.4, 2.0])
def test_bounds_of_a_pass(labeled: list[int], weighted: bool, temperature: float) -> None:
    """In bf16, in float32 and by the cascade: at least the gains, and near them."""
    emb, weights = clustered(600, 96), scores_of(600) if weighted else None
    c = covering(emb, weights, temperature, labeled)
    exact = _core.coverage_gains(
        emb, _core.DTYPES["float32"], np.arange(600), emb, _core.DTYPES["float32"], temperature, 1, weights=weights,
        floor=c._floor,
    )  # fmt: skip
    covered = float(c._floor @ (np.ones(600) if weights is None else weights))
    for how in {c._first(), c._float32(), c._next()} if labeled else {c._first(), c._float32()}:
        core, c._core = c._core, Lowered()
        c._pass(how, None)
        bounds, c._core = c._core.bounds, core
        assert (bounds >= exact).all(), how
        assert (bounds - exact <= 2.1 * np.expm1(how.error + 2.0**-17) * (exact + covered) + 1e-30).all(), how


def test_bf16_rest() -> None:
    for dtype in ("f2", "f4", "f8"):
        x = torch.from_numpy(clustered(50, 37).astype(dtype).astype(np.float32))
        rest = ((x - x.bfloat16()).double().norm(dim=1) / x.double().norm(dim=1)).max()
        emb = clustered(50, 37).astype(dtype)
        got = _core.bf16_rest(emb, _core.DTYPES[emb.dtype.name], 2)
        assert got == pytest.approx(float(rest), rel=1e-3)


@pytest.mark.parametrize("temperature", [1e-9, 0.01, 0.1, 0.4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labeled", [[], [5, 3, 77]])
def test_picks_by_passes(
    temperature: float, weighted: bool, labeled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same picks where nothing is kept, where some is, and where all is; and those of float64."""
    emb = clustered(900, 40)
    scores = scores_of(900) if weighted else None
    if temperature < 1e-8 and not weighted:  # every row covers itself alone: roundings of 1 decide
        expected = hnscore.select(
            None, 60, embeddings=emb, method="coverage", temperature=temperature, labeled=labeled
        ).tolist()
    else:
        expected = cover_in_float64(emb, 60, scores, temperature, labeled)
    passes: list[int] = []
    whole = coverage.Covering._pass
    monkeypatch.setattr(coverage.Covering, "_pass", lambda *args: passes.append(0) or whole(*args))
    for more in (0, 200_000, 800_000, 10**9):
        passes.clear()
        got = hnscore.select(
            scores, 60, embeddings=emb, method="coverage", temperature=temperature, labeled=labeled,
            memory_limit=least_memory(emb) + more,
        )  # fmt: skip
        assert got.tolist() == expected, more
        assert bool(passes) == (more < 10**9 and temperature > 1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labeled", [[], [5, 3, 77]])
@pytest.mark.parametrize("kernel", ["exponential", "cosine"])
def test_picks_where_no_list_of_points_fits(kernel: str, weighted: bool, labeled: list[int]) -> None:
    """A wide kernel, many candidates in the race and memory for few: they are ruled out by what they have lost at the
    points whose floors rose most."""
    emb = np.random.default_rng(0).standard_normal((4000, 12)).astype(np.float32) + 0.5
    scores = scores_of(4000) if weighted else None
    expected = cover_in_float64(emb, 25, scores, 0.4 if kernel == "exponential" else None, labeled)
    for more in (2 * 10**7, 3 * 10**7):
        got = hnscore.select(
            scores, 25, embeddings=emb, method="coverage", temperature=0.4, labeled=labeled, subsample=None,
            kernel=kernel, memory_limit=least_memory(emb) + more,
        )  # fmt: skip
        assert got.tolist() == expected, more


@pytest.mark.parametrize("memory_limit", [2 * 10**8, 2 * 10**9])
def test_picks_for_more_points_than_16_bits_number(memory_limit: int) -> None:
    n, free = 70_000, np.arange(100, 70_000, 500)
    emb = clustered(n, 6)
    labeled = np.delete(np.arange(n), free)[::700]
    x = emb.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    k = np.exp((np.minimum(x[free] @ x.T, 1) - 1) / 0.4)
    floor = np.zeros(n)
    _core.raise_floor(emb, _core.DTYPES["float32"], np.sort(labeled), emb, _core.DTYPES["float32"], 0.4, 2, floor)
    core = _core.Cover(
        emb,
        _core.DTYPES["float32"],
        free,
        emb,
        _core.DTYPES["float32"],
        0.4,
        2,
        floor=floor.copy(),
        memory=memory_limit,
    )
    picks, gains = np.full(8, -1, np.int64), np.zeros(8)
    assert core.pick(picks, gains) == 8
    for pick, gain in zip(picks.tolist(), gains.tolist(), strict=True):
        of_all = np.maximum(k - floor, 0).sum(axis=1)
        best = int(of_all.argmax())
        assert free[best] == pick
        assert gain == pytest.approx(of_all[best], rel=1e-9)
        floor = np.maximum(floor, k[best])
        k[best] = 0


def cover_in_float64(
    emb: Array, budget: int, scores: Array | None, temperature: float | None, labeled: list[int]
) -> list[int]:
    x = emb.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    s = np.minimum(x @ x.T, 1)
    k = np.maximum(s, 0) if temperature is None else np.exp((s - 1) / temperature)
    u = np.ones(len(x)) if scores is None else scores
    covered = k[labeled].max(axis=0, initial=0)
    taken: list[int] = list(labeled)
    while len(taken) < budget + len(labeled):
        gain = np.maximum(k - covered, 0) @ u
        gain[taken] = -np.inf
        taken.append(int(gain.argmax()))
        covered = np.maximum(covered, k[taken[-1]])
    return taken[len(labeled) :]


@pytest.mark.parametrize("copies", [2, 40])
def test_many_copies_by_passes(copies: int) -> None:
    """Bounds of copies overlap: all that lead are decided in float64. A pass that changes nothing is not repeated."""
    emb = np.tile(clustered(30, 24), (copies, 1))
    for more in (0, 10**9):
        picks = hnscore.select(None, 35, embeddings=emb, memory_limit=least_memory(emb) + more)
        assert sorted(picks[:30] % 30) == list(range(30))
        assert picks[30:].tolist() == [i for i in range(35 + copies) if i not in picks[:30]][:5]
        assert (picks[:30] < 30).all()
    same = np.tile(emb[:1], (300, 1))
    assert hnscore.select(None, 9, embeddings=same, memory_limit=least_memory(same)).tolist() == list(range(9))


def test_stochastic_looks_at_some() -> None:
    emb, scores = clustered(400, 12), scores_of(400)
    rules: dict[str, Any] = {"embeddings": emb, "method": "stochastic"}
    first = hnscore.select(scores, 30, random_state=1, **rules)
    assert len(set(first)) == 30
    for more in ({"n_threads": 1}, {"memory_limit": least_memory(emb)}):
        assert hnscore.select(scores, 30, random_state=1, **more, **rules).tolist() == first.tolist()
    assert hnscore.select(scores, 30, random_state=2, **rules).tolist() != first.tolist()
    # epsilon so small that all rows are looked at
    everything = hnscore.select(scores, 30, random_state=1, epsilon=1e-300, **rules)
    assert everything.tolist() == hnscore.select(scores, 30, embeddings=emb, method="coverage").tolist()
    # One pick: the best of a random third of the rows.
    best = hnscore.select(scores, 400, embeddings=emb, method="coverage", subsample=None)
    gains = ref.greedy_gains(emb, "coverage", scores)([])
    rank = np.argsort(np.argsort(-gains))
    ranks = [rank[hnscore.select(scores, 1, epsilon=np.exp(-1 / 3), random_state=i, **rules)[0]] for i in range(200)]
    # The first of a third drawn of 400 has the rank r with a probability of about (2/3)^r / 3: mean 2, deviation 2.4.
    assert 1.3 < np.mean(ranks) < 2.7, "four deviations of the mean of 200"
    assert len(best) == 400


def test_stochastic_near_the_end() -> None:
    emb = clustered(50, 5)
    picks = hnscore.select(None, 50, embeddings=emb, method="stochastic", epsilon=0.9, random_state=0)
    assert sorted(picks) == list(range(50))


def test_stochastic_guarantee() -> None:
    """On average 1 - 1/e - epsilon of the best possible, of which greedy's is a lower bound."""
    emb = clustered(300, 16)
    k = np.exp((ref.cosines(emb) - 1) / 0.1)
    values = [
        k[hnscore.select(None, 20, embeddings=emb, method="stochastic", random_state=i)].max(axis=0).mean()
        for i in range(10)
    ]
    greedy_value = k[hnscore.select(None, 20, embeddings=emb, method="coverage")].max(axis=0).mean()
    assert np.mean(values) >= (1 - 1 / np.e - 0.1) * greedy_value


def test_float32_means_of_herding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean off by 8 * 2^-24 / temperature of itself moves the gain of pick t by t + 1 times that, that of the best
    by as much."""
    emb = clustered(300, 24)
    monkeypatch.setattr(greedy, "_PLAIN_PAIRS", 0)
    picks = pick(emb, "herding", 60)
    assert_near_greedy(picks, emb, "herding", near=2 * 8 * 2.0**-24 / 0.1)
    same = np.tile(emb[:1], (50, 1))
    assert pick(same, "herding", 50).tolist() == list(range(50))


@pytest.mark.parametrize("weighted", [False, True])
def test_samples(weighted: bool) -> None:
    """Beyond `subsample` rows the means are over so many drawn ones."""
    emb, scores = clustered(200, 6), scores_of(200)
    drawn = np.sort(np.random.default_rng(4).choice(200, 50, replace=False, shuffle=False))
    k = np.exp((ref.cosines(emb) - 1) / 0.1)[drawn]
    u = scores[drawn] if weighted else np.ones(50)
    covered, herd = np.zeros(50), np.zeros(200)
    cover: list[int] = []
    herding: list[int] = []
    for t in range(20):
        for chosen, gain in (
            (cover, u @ np.maximum(k - covered[:, None], 0)),
            (herding, (t + 1) * k.mean(axis=0) - herd),
        ):
            gain[chosen] = -np.inf
            chosen.append(int(gain.argmax()))
        covered = np.maximum(covered, k[:, cover[-1]])
        herd += np.exp((ref.cosines(emb)[:, herding[-1]] - 1) / 0.1)
    given_scores = scores if weighted else None
    assert pick(emb, "coverage", 20, given_scores, random_state=4, subsample=50).tolist() == cover
    assert pick(emb, "herding", 20, given_scores, random_state=4, subsample=50).tolist() == herding


@pytest.mark.parametrize("method", GREEDY)
def test_progress(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    emb, scores = clustered(60, 5), scores_of(60)
    expected = pick(emb, method, 10, scores)
    np.testing.assert_array_equal(pick(emb, method, 10, scores, show_progress_bar=True), expected)
    assert re.search(rf"{method}: 100%.*10", capsys.readouterr().err)


@pytest.mark.parametrize("method", ["density", "budgeted"])
def test_progress_of_the_density(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    given: dict[str, Any] = {"embeddings": clustered(60, 5), "regions": np.arange(60) % 4, "method": method}
    expected = hnscore.select(scores_of(60), 10, **given)
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(hnscore.select(scores_of(60), 10, **given, show_progress_bar=True), expected)
    assert re.search(r"knn: 100%.*60", capsys.readouterr().err)


# ---- Errors ----------------------------------------------------------------------------------------------------------

EMB, SCORES = clustered(12, 4), scores_of(12)


def with_value(array: Array, at: Any, value: float) -> Array:
    out = array.copy()
    out[at] = value
    return out


# Each: what is called, the error, and what its message must say: argument, expectation, what came, remedy.
CASES: list[tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = [
    (lambda: hnscore.select(SCORES, 3, method="best"), ValueError, ("method", "'herding'", "'best'", "choose")),
    (lambda: hnscore.select(SCORES, 3, prefer="soft"), ValueError, ("prefer", "'easy'", "'soft'", "choose")),
    (lambda: hnscore.select(None, 3, embeddings=EMB, prefer="easy"), ValueError, ("prefer", "without scores", "leave")),
    (lambda: hnscore.select(SCORES, 3, embeddings=EMB, method="coverage", prefer="easy"), ValueError,
     ("prefer", "'coverage', where scores are weights", "'easy'", "method='auto'")),
    (lambda: hnscore.select(SCORES, 3, center=True), ValueError, ("embeddings", "centered", "None", "pass")),
    (lambda: hnscore.select(SCORES, 3, embeddings=EMB, center=1), TypeError, ("center", "True or False", "1")),
    (lambda: hnscore.select(SCORES, 3, embeddings=np.ones((12, 2)), center=True), ValueError,
     ("embeddings, centered,", "zero rows", "rows 0, 1")),
    (lambda: hnscore.select(SCORES, 3, embeddings=with_value(EMB, 7, np.nan), center=True), ValueError,
     ("embeddings must be finite", "row 7")),
    (lambda: hnscore.select(SCORES, 3, embeddings=EMB, subsample=0), ValueError, ("subsample", "at least 1", "0")),
    (lambda: hnscore.select(SCORES, 3, embeddings=EMB, subsample="all"), ValueError, ("subsample", "'auto'", "'all'")),
    (lambda: hnscore.select(SCORES, 3, embeddings=EMB, memory_limit=1000), ValueError,
     ("memory_limit", "at least", "bytes", "1000", "raise it, or lower subsample")),
    (lambda: hnscore.select(SCORES, 3, embeddings=EMB, epsilon=1.0), ValueError, ("epsilon", "below 1", "1.0")),
    (lambda: hnscore.select(SCORES, 13), ValueError, ("budget", "from 0 to 12", "13", "pass")),
    (lambda: hnscore.select(SCORES, 12, labeled=[4]), ValueError, ("budget", "from 0 to 11", "not labeled", "12")),
    (lambda: hnscore.select(SCORES, -1), ValueError, ("budget", "from 0 to 12", "-1", "pass")),
    (lambda: hnscore.select(SCORES, 2.0), TypeError, ("budget", "an integer", "2.0", "pass")),
    (lambda: hnscore.select(None, 2), ValueError, ("scores or embeddings", "method='auto'", "None", "pass")),
    (lambda: hnscore.select(None, 2, method="top"), ValueError, ("scores", "method='top'", "None", "pass")),
    (lambda: hnscore.select(with_value(SCORES, 3, np.nan), 2), ValueError, ("scores", "finite", "nan", "index 3")),
    (lambda: hnscore.select(with_value(SCORES, 3, np.inf), 2), ValueError, ("scores", "finite", "inf", "index 3")),
    (lambda: hnscore.select(with_value(SCORES, 3, -np.inf), 2), ValueError, ("scores", "finite", "-inf", "index 3")),
    (lambda: hnscore.select(SCORES[None], 2), ValueError, ("scores", "(n,)", "(1, 12)", "check")),
    (lambda: hnscore.select(SCORES > 0, 2), TypeError, ("scores", "real numbers", "bool", "convert")),
    (lambda: hnscore.select(SCORES, 2, labeled=[1, 1]), ValueError, ("labeled", "once", "1 more", "np.unique")),
    (lambda: hnscore.select(SCORES, 2, labeled=[12]), ValueError, ("labeled", "0 to 11", "12 at index 0", "from 0")),
    (lambda: hnscore.select(SCORES, 2, labeled=[-1]), ValueError, ("labeled", "0 to 11", "-1 at index 0", "from 0")),
    (lambda: hnscore.select(SCORES, 2, labeled=SCORES > 0.5), TypeError, ("labeled", "integers", "flatnonzero")),
    (lambda: hnscore.select(SCORES, 2, labeled=[1.0]), TypeError, ("labeled", "integers", "float64", "pass a list")),
    (lambda: hnscore.select(SCORES, 2, labeled={1}), TypeError, ("labeled", "integers", "object", "pass a list")),
    (lambda: hnscore.select(SCORES, 2, labeled="ab"), TypeError, ("labeled", "array of numbers", "str", "pass")),
    (lambda: hnscore.select([], 0, labeled=[1]), ValueError, ("labeled", "empty", "1 at index 0")),
    (lambda: hnscore.select(SCORES, 2, method="budgeted", density=SCORES, regions=[[1, 2], [3]]), ValueError,
     ("regions must be an array of numbers", "(1,) at index 1", "drop")),
    (lambda: hnscore.select(SCORES, 2, method="budgeted", density=SCORES, embeddings=EMB, regions="ab"), TypeError,
     ("regions", "an array of numbers", "str", "pass")),
    (lambda: hnscore.select(SCORES, 2, labeled=[[1]]), ValueError, ("labeled", "1 dimension", "(1, 1)", "ravel")),
    (lambda: hnscore.select(SCORES, 2, temperature=0), ValueError, ("temperature", "above 0", "0", "pass")),
    (lambda: hnscore.select(SCORES, 2, density_exponent=np.nan), ValueError, ("density_exponent", "finite", "nan")),
    (lambda: hnscore.select(SCORES, 2, random_state="x"), TypeError, ("random_state", "an int", "'x'", "pass")),
    (lambda: hnscore.select(SCORES, 2, method="density"), ValueError, ("density or embeddings", "'density'", "pass")),
    (lambda: hnscore.select(SCORES, 2, method="density", density=SCORES[:5]), ValueError, ("density", "(12,)", "(5,)")),
    (lambda: hnscore.select(SCORES, 2, method="budgeted", density=SCORES), ValueError, ("regions", "budgeted", "pass")),
    (lambda: hnscore.select(SCORES, 2, method="budgeted", density=SCORES, regions=3), ValueError,
     ("embeddings", "budgeted", "pass")),
    (lambda: hnscore.select(SCORES, 2, method="budgeted", density=SCORES, embeddings=EMB, regions=13), ValueError,
     ("regions", "from 1 to 12", "13", "pass")),
    (lambda: hnscore.select(SCORES, 2, method="budgeted", density=SCORES, regions=SCORES), TypeError,
     ("regions", "integers", "float64", "convert")),
    (lambda: hnscore.select(SCORES, 2, method="budgeted", density=SCORES, regions=np.arange(12) - 1), ValueError,
     ("regions", "from 0", "-1 at index 0", "np.unique")),
    (lambda: hnscore.select(SCORES, 2, method="repulsive"), ValueError, ("embeddings", "'repulsive'", "None", "pass")),
    (lambda: hnscore.select(None, 2, method="herding"), ValueError, ("embeddings", "'herding'", "None", "pass")),
    (lambda: hnscore.select(SCORES, 2, method="repulsive", embeddings=EMB, regularization=-1), ValueError,
     ("regularization", "at least 0", "-1", "pass")),
    (lambda: hnscore.select(SCORES, 2, method="repulsive", embeddings=EMB[:5]), ValueError,
     ("embeddings", "12 rows", "(5, 4)", "pass")),
    (lambda: hnscore.select(SCORES, 2, method="repulsive", embeddings=with_value(EMB, 7, np.nan)), ValueError,
     ("embeddings", "finite", "row 7", "repair")),
    (lambda: hnscore.select(SCORES, 2, method="repulsive", embeddings=with_value(EMB, 7, 0)), ValueError,
     ("embeddings", "zero rows", "row 7", "drop")),
    (lambda: hnscore.select(SCORES, 2, method="density", embeddings=with_value(EMB, 7, np.nan)), ValueError,
     ("embeddings must be finite", "row 7", "repair")),
    (lambda: hnscore.select(SCORES, 2, method="budgeted", embeddings=with_value(EMB, 7, 0), regions=np.arange(12)),
     ValueError, ("embeddings must have no zero rows", "row 7", "drop")),
    (lambda: hnscore.select(-SCORES, 2, method="coverage", embeddings=EMB), ValueError, ("scores", "at least 0")),
    (lambda: hnscore.core_set(EMB, 13), ValueError, ("budget", "from 0 to 12", "13", "pass")),
    (lambda: hnscore.core_set(EMB, 12, labeled=[0]), ValueError, ("budget", "from 0 to 11", "not labeled")),
    (lambda: hnscore.core_set(EMB[0], 1), ValueError, ("emb", "2 dimensions", "(4,)", "reshape")),
    (lambda: hnscore.core_set(with_value(EMB, 2, np.inf), 1), ValueError, ("emb", "finite", "row 2", "drop")),
    (lambda: hnscore.core_set(EMB > 0, 1), TypeError, ("emb", "real numbers", "bool", "convert")),
    (lambda: hnscore.core_set(EMB, 1, n_threads=0), ValueError, ("n_threads", "at least 1", "0")),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "says"), CASES)
def test_errors(call: Callable[[], Any], error: type[Exception], says: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    for words in says:
        assert words in str(caught.value)


def test_zero_rows_have_no_remedy_that_is_no_argument() -> None:
    zero = with_value(EMB, 7, 0)
    for method in ("density", *GREEDY):
        with pytest.raises(ValueError, match=r"zeros in row 7 \(the first found\); drop them$"):
            pick(zero, method, 2, SCORES)
    with pytest.raises(ValueError, match="drop them or use similarity='dot'"):
        hnscore.density(zero, k=2)


def test_inputs_are_left_alone() -> None:
    emb, scores, labeled = EMB.copy(), SCORES.copy(), np.array([3, 1])
    for array in (emb, scores, labeled):
        array.flags.writeable = False
    for method in GREEDY:
        pick(emb, method, 3, scores, labeled=labeled)
    hnscore.select(scores, 3, density=scores, regions=np.arange(12) % 2, labeled=labeled, method="budgeted")


# ---- Gains -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labeled", [[], [3, 50, 7]])
@pytest.mark.parametrize("method", ["repulsive", "coverage", "herding"])
def test_gains_are_those_of_the_reference(method: str, labeled: list[int]) -> None:
    emb, scores = clustered(150, 12), scores_of(150)
    given = None if method == "herding" else scores
    rules: dict[str, Any] = {"temperature": 0.3, "regularization": 0.7}
    picks, gains = hnscore.select(
        given,
        20,
        embeddings=emb,
        method=method,
        labeled=labeled,
        return_gains=True,
        **rules,  # type: ignore[arg-type]
    )
    assert picks.tolist() == hnscore.select(
        given, 20, embeddings=emb, method=method, labeled=labeled, **rules  # type: ignore[arg-type]
    ).tolist()  # fmt: skip
    k = np.exp((ref.similarity_matrix(emb, emb) - 1) / 0.3)
    chosen, u = list(labeled), np.ones(150) if method == "herding" else scores / scores.max()
    for pick, gain in zip(picks, gains, strict=True):
        want = ref.GAINS[method](k, chosen, u, 0.7)[pick] / (len(chosen) + 1 if method == "herding" else 1)
        assert gain == pytest.approx(want, rel=1e-9, abs=1e-12)
        chosen.append(pick)
    if method == "coverage":  # the objective is their sum, beside what was covered before
        weighted = u * (k[:, chosen].max(axis=1) - (k[:, labeled].max(axis=1) if labeled else 0))
        assert gains.sum() == pytest.approx(weighted.mean())


def test_distances_of_core_set() -> None:
    emb = clustered(200, 12)
    for labeled in ([], [5, 9]):
        picks, distances = hnscore.core_set(emb, 15, labeled=labeled, return_distances=True)
        s, chosen = ref.similarity_matrix(emb, emb), list(labeled)
        for pick, distance in zip(picks, distances, strict=True):
            want = 1 - s[pick, chosen].max() if chosen else np.inf
            assert distance == pytest.approx(want, abs=1e-12)
            chosen.append(pick)
        assert (1 - s[:, chosen].max(axis=1)).max() <= distances[-1] + 1e-12


def test_gains_of_ranked_methods_are_scores() -> None:
    emb, scores = clustered(60, 8), scores_of(60)
    for method, more in (("top", {}), ("density", {}), ("budgeted", {"regions": np.arange(60) % 3})):
        for prefer, sign in (("hard", 1), ("easy", -1)):
            picks, gains = hnscore.select(
                scores,
                9,
                embeddings=emb,
                method=method,
                prefer=prefer,
                return_gains=True,
                **more,  # type: ignore[arg-type]
            )
            np.testing.assert_array_equal(gains, sign * scores[picks])
    picks, gains = hnscore.select(torch.from_numpy(scores), 3, return_gains=True)
    assert isinstance(picks, torch.Tensor)
    assert isinstance(gains, torch.Tensor)
    with pytest.raises(TypeError, match="return_gains must be True or False"):
        hnscore.select(scores, 3, return_gains=1)  # type: ignore[call-overload]


# ---- Other kernels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labeled", [[], [3, 50, 7]])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kernel", "memory"), [("cosine", 0), ("cosine", 20_000), ("cosine", 10**9), ("ball", 10**9)])
def test_other_kernels_are_those_of_the_reference(kernel: str, memory: int, weighted: bool, labeled: list[int]) -> None:
    emb, scores = clustered(150, 12), scores_of(150)
    emb[100:110] = emb[:10]  # ties
    s = ref.similarity_matrix(emb, emb)
    level = float(np.sort(s[0])[-8])  # met exactly
    more = {"min_similarity": level} if kernel == "ball" else {}
    picks, gains = hnscore.select(
        scores if weighted else None, 40, embeddings=emb, method="coverage", kernel=kernel, labeled=labeled,
        return_gains=True, memory_limit=memory + least_memory(emb), **more,  # type: ignore[arg-type]
    )  # fmt: skip
    k = (s >= level).astype(float) if kernel == "ball" else np.maximum(s, 0)
    chosen, u = list(labeled), scores / scores.max() if weighted else np.ones(150)
    for pick, gain in zip(picks, gains, strict=True):
        want = np.array(ref.GAINS["coverage"](k, chosen, u, 0))
        want[chosen] = -1
        assert gain == pytest.approx(want.max(), abs=1e-12)
        assert want[pick] == pytest.approx(want.max(), abs=1e-12)
        if not (want[:pick] > want.max() - 1e-9).any() and kernel == "ball" and not weighted:
            assert pick == np.flatnonzero(want == want.max())[0]  # whole numbers: ties to the lowest row
        chosen.append(pick)


@pytest.mark.filterwarnings("default")  # of apricot
def test_kernels_of_other_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "float", float, raising=False)  # which apricot still asks for
    apricot = pytest.importorskip("apricot")
    emb = np.abs(clustered(120, 12)) + 0.01
    s = ref.similarity_matrix(emb, emb)
    theirs = apricot.FacilityLocationSelection(15, metric="precomputed").fit(s)
    picks, gains = hnscore.select(None, 15, embeddings=emb, method="coverage", kernel="cosine", return_gains=True)
    np.testing.assert_allclose(gains * len(emb), theirs.gains, rtol=1e-12)  # of two equal gains they take another row
    assert len(set(picks.tolist())) == 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"kernel": "linear"}, "kernel must be one of 'exponential', 'cosine', 'ball'"),
        ({"kernel": "cosine", "method": "herding"}, "kernel must be 'exponential' with method='herding'"),
        ({"kernel": "ball"}, "min_similarity must be given with kernel='ball'"),
        ({"min_similarity": 0.5}, "min_similarity must be given with kernel='ball'"),
        ({"kernel": "ball", "min_similarity": 2.0}, "min_similarity must be from -1 to 1|min_similarity"),
    ],
)
def test_bad_kernels(call: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hnscore.select(None, 3, **({"embeddings": clustered(20, 4), "method": "coverage"} | call))
