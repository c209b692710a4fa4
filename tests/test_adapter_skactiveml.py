"""The strategy in scikit-activeml, through the host's own `query`."""

from typing import Any

import numpy as np
import pytest

import hnscore

pytest.importorskip("skactiveml")

from skactiveml.pool import SubSamplingWrapper
from skactiveml.utils import MISSING_LABEL, is_unlabeled
from sklearn.base import clone

from hnscore.adapters.skactiveml import HardNegativeSampling, HNScoreSampling

pytestmark = pytest.mark.adapter

METHODS = ["coverage", "herding", "core_set"]
N = 40
X = np.random.default_rng(0).standard_normal((N, 6))
Y = np.where(np.arange(N) % 5 == 2, np.arange(N) % 3, MISSING_LABEL)
KNOWN, UNLABELED = np.flatnonzero(~np.isnan(Y)), np.flatnonzero(np.isnan(Y))


def picks_of(method: str, emb: Any, n: int, labeled: Any) -> Any:
    if method == "core_set":
        return hnscore.core_set(emb, n, labeled=labeled)
    return hnscore.select(None, n, embeddings=emb, labeled=labeled, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_picks_are_those_of_hnscore(method: str) -> None:
    query = HNScoreSampling(method).query(X, Y, batch_size=7)
    assert query.shape == (7,)
    assert not set(query) & set(KNOWN)
    # The strategy lays the unlabeled first; the rows are the same, and so are the picks.
    np.testing.assert_array_equal(query, picks_of(method, X, 7, KNOWN))


@pytest.mark.parametrize("method", METHODS)
def test_utilities_lead_to_the_picks(method: str) -> None:
    query, utilities = HNScoreSampling(method).query(X, Y, batch_size=5, return_utilities=True)
    assert utilities.shape == (5, N)
    for step in range(5):
        assert np.nanargmax(utilities[step]) == query[step]
        assert np.count_nonzero(utilities[step] == np.nanmax(utilities[step])) == 1, "no tie"
        np.testing.assert_array_equal(
            np.flatnonzero(np.isnan(utilities[step])), np.sort(np.concatenate([KNOWN, query[:step]]))
        )


@pytest.mark.parametrize("method", METHODS)
def test_candidates(method: str) -> None:
    strategy = HNScoreSampling(method)
    everything, utilities = strategy.query(X, Y, candidates=UNLABELED, batch_size=4, return_utilities=True)
    np.testing.assert_array_equal(everything, strategy.query(X, Y, batch_size=4))

    some = UNLABELED[::-2]
    query, utilities = strategy.query(X, Y, candidates=some, batch_size=4, return_utilities=True)
    assert set(query) <= set(some)
    assert utilities.shape == (4, N)
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(utilities[0])), np.sort(some))

    query_of_samples, utilities = strategy.query(X, Y, candidates=X[some], batch_size=4, return_utilities=True)
    np.testing.assert_array_equal(some[query_of_samples], query)
    assert utilities.shape == (4, len(some))
    assert np.nanargmax(utilities[0]) == query_of_samples[0]

    with pytest.raises(ValueError, match="labeled"):
        strategy.query(X, Y, candidates=KNOWN[:2])


def test_batches_larger_than_the_pool_are_what_there_is() -> None:
    with pytest.warns(UserWarning, match="batch_size"):
        query = HNScoreSampling().query(X, Y, batch_size=N)
    np.testing.assert_array_equal(np.sort(query), UNLABELED)


def test_nothing_labeled_and_everything_labeled() -> None:
    for method in METHODS:
        assert len(HNScoreSampling(method).query(X, np.full(N, MISSING_LABEL), batch_size=3)) == 3
        with pytest.warns(UserWarning, match="batch_size"):
            query, utilities = HNScoreSampling(method).query(X, np.zeros(N), return_utilities=True)
        assert query.shape == (0,)
        assert utilities.shape == (0, N)


@pytest.mark.parametrize(("missing", "label"), [(np.nan, 1.0), (-1, 1), (None, "A"), ("", "A")])
def test_missing_labels_of_any_kind(missing: Any, label: Any) -> None:
    y = np.full(N, missing, dtype=object if missing is None else np.array([missing, label]).dtype)
    y[KNOWN] = label
    np.testing.assert_array_equal(
        HNScoreSampling(missing_label=missing).query(X, y, batch_size=5), HNScoreSampling().query(X, Y, batch_size=5)
    )


@pytest.mark.parametrize("method", METHODS)
def test_survives_clone(method: str) -> None:
    strategy = HNScoreSampling(method, missing_label=-1, random_state=3)
    copy = clone(strategy)
    assert copy.get_params() == strategy.get_params()
    y = np.where(np.isnan(Y), -1, Y)
    np.testing.assert_array_equal(copy.query(X, y, batch_size=5), strategy.query(X, y, batch_size=5))


def test_keywords_of_select() -> None:
    options = {"temperature": 0.5}
    query = HNScoreSampling("coverage", select_dict=options).query(X, Y, batch_size=6)
    np.testing.assert_array_equal(
        query, hnscore.select(None, 6, embeddings=X, labeled=KNOWN, method="coverage", **options)
    )
    assert options == {"temperature": 0.5}


def test_active_learning_cycles_and_the_hosts_wrapper() -> None:
    strategy = SubSamplingWrapper(HNScoreSampling(random_state=0), max_candidates=10, random_state=0)
    y = np.full(N, MISSING_LABEL)
    for cycle in range(4):
        query = strategy.query(X, y, batch_size=10)
        assert is_unlabeled(y[query]).all()
        y[query] = cycle
    assert not np.isnan(y).any()


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="method must be one of 'coverage', 'herding', 'core_set', got 'random'"):
        HNScoreSampling("random").query(X, Y)


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_zeros_are_picked_last(method: str) -> None:
    """The host takes them; picks are those of the other rows, and one warning names them by their rows of X."""
    x, zero = X.copy(), [UNLABELED[3], KNOWN[1], UNLABELED[5]]
    x[zero] = 0
    free = np.setdiff1d(UNLABELED, zero)
    with pytest.warns(UserWarning, match=f"X has zeros in rows {', '.join(map(str, sorted(zero)))}: "):
        query = HNScoreSampling(method).query(x, Y, batch_size=len(UNLABELED))
    assert set(query) == set(UNLABELED)
    np.testing.assert_array_equal(query[-2:], np.sort([UNLABELED[3], UNLABELED[5]]))
    rest = np.setdiff1d(np.arange(N), zero)
    alone = rest[picks_of(method, x[rest], 6, np.searchsorted(rest, np.setdiff1d(KNOWN, zero)))]
    np.testing.assert_array_equal(query[:6], alone)
    assert set(query[: len(free)]) == set(free)
    with pytest.warns(UserWarning, match="X has zeros"):
        np.testing.assert_array_equal(HNScoreSampling(method).query(np.zeros((N, 3)), Y, batch_size=2), UNLABELED[:2])


@pytest.mark.parametrize("method", METHODS)
def test_utilities_are_gains(method: str) -> None:
    """Those of the picks are what `select` and `core_set` return; those of the others would be theirs."""
    query, utilities = HNScoreSampling(method).query(X, Y, batch_size=6, return_utilities=True)
    rows = np.concatenate([UNLABELED, KNOWN])
    labeled = np.arange(len(UNLABELED), N)
    if method == "core_set":
        picks, gains = hnscore.core_set(X[rows], 6, labeled=labeled, return_distances=True)
    else:
        picks, gains = hnscore.select(
            None,
            6,
            embeddings=X[rows],
            labeled=labeled,
            method=method,
            return_gains=True,  # type: ignore[arg-type]
        )
    np.testing.assert_array_equal(rows[picks], query)
    np.testing.assert_allclose(utilities[np.arange(6), query], gains, rtol=1e-9)
    other = UNLABELED[~np.isin(UNLABELED, query)][4]
    candidates = np.array([other])
    _, alone = HNScoreSampling("core_set").query(X, Y, candidates=candidates, return_utilities=True)
    if method == "core_set":
        assert alone[0, other] == pytest.approx(utilities[0, other])


def test_parts_of_the_candidates_have_comparable_utilities() -> None:
    """What the host's wrapper for parallel work compares: k-center picks the same in parts as alone."""
    whole = HNScoreSampling("core_set").query(X, Y)
    best = [
        (u[0][q[0]], q[0])
        for part in np.array_split(UNLABELED, 3)
        for q, u in [HNScoreSampling("core_set").query(X, Y, candidates=part, return_utilities=True)]
    ]
    assert max(best)[1] == whole[0]


@pytest.mark.parametrize("prefer", ["hard", "easy"])
def test_hard_negatives(prefer: str) -> None:
    txt = np.random.default_rng(1).standard_normal((9, 6))
    strategy = clone(HardNegativeSampling(txt, 0.1, prefer, {"reference": np.full(9, 0.3)}, random_state=0))
    query, utilities = strategy.query(X, Y, batch_size=4, return_utilities=True)
    scores = hnscore.score(X[UNLABELED], txt, 0.1, reference=np.full(9, 0.3)).astype(np.float64)
    best = np.sort(scores)[::-1] if prefer == "hard" else np.sort(scores)
    of_row = dict(zip(UNLABELED.tolist(), scores.tolist(), strict=True))
    assert [of_row[row] for row in query.tolist()] == best[:4].tolist()
    np.testing.assert_array_equal(utilities[0, UNLABELED], scores if prefer == "hard" else -scores)
    assert np.isnan(utilities[0, KNOWN]).all()
    assert np.isnan(utilities[1, query[0]])
    of_samples = strategy.query(X, Y, candidates=X[UNLABELED], batch_size=4)
    assert scores[of_samples].tolist() == best[:4].tolist()
    with pytest.raises(ValueError, match="prefer must be one of 'easy', 'hard'"):
        HardNegativeSampling(txt, prefer="most").query(X, Y)
