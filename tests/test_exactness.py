"""Counts are exact where it is hardest: ties, neighbours of the threshold, cancellation, any magnitude."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tolerances import assert_score, norm_products

import hnscore
from hnscore import _core
from hnscore import reference as ref

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Embeddings = tuple[NDArray[Any], NDArray[Any]]
RNG = np.random.default_rng


def duplicated(n: int, m: int, dim: int) -> Embeddings:
    rng = RNG(1)
    few = rng.standard_normal((5, dim)).astype(np.float32)
    return few[rng.integers(0, 5, n)], few[rng.integers(0, 5, m)]


def scaled_duplicates(n: int, m: int, dim: int) -> Embeddings:
    """Equal directions, lengths that are no powers of two apart: cosines differ in their last bits only."""
    x, t = duplicated(n, m, dim)
    return x * RNG(2).uniform(0.1, 9, (n, 1)).astype(np.float32), t * RNG(3).uniform(0.1, 9, (m, 1)).astype(np.float32)


def zero_suffix(n: int, m: int, dim: int) -> Embeddings:
    x, t = RNG(4).standard_normal((2, max(n, m), dim)).astype(np.float32)
    x[:, 2:] = 0
    t[:, dim // 2 :] = 0
    return x[:n], t[:m]


def dominant_dimension(n: int, m: int, dim: int) -> Embeddings:
    x, t = RNG(5).standard_normal((2, max(n, m), dim)).astype(np.float32)
    x[:, 0] += 1e5
    t[:, 0] += 1e5
    return x[:n], t[:m]


def one_hot(n: int, m: int, dim: int) -> Embeddings:
    eye = np.eye(dim, dtype=np.float32)
    return eye[np.arange(n) % dim], -eye[np.arange(m) % dim] + eye[np.arange(m) * 2 % dim] * 2


def constant_columns(n: int, m: int, dim: int) -> Embeddings:
    x, t = RNG(6).integers(0, 2, (2, max(n, m), dim)).astype(np.float32)
    x[:, ::2] = 0.1
    t[:, ::2] = 0.1
    return x[:n], t[:m]


def low_rank(n: int, m: int, dim: int) -> Embeddings:
    basis = RNG(7).integers(-3, 4, (2, dim)).astype(np.float32)
    basis[:, 0] = 1
    x, t = RNG(8).integers(1, 4, (2, max(n, m), 2)).astype(np.float32)
    return x[:n] @ basis, t[:m] @ basis


def float64_beyond_float32(n: int, m: int, dim: int) -> Embeddings:
    base = RNG(9).standard_normal(dim)
    noise = 1e-13 * RNG(10).standard_normal((n + m, dim))
    return base + noise[:n], base + noise[n:]


def cancelling(n: int, m: int, dim: int) -> Embeddings:
    """Dots that are exactly 0, or tiny, though their terms are not."""
    half = RNG(11).standard_normal((max(n, m), (dim + 1) // 2)).astype(np.float32)
    x = np.concatenate([half, -half], axis=1)[:, :dim]
    t = np.ones((m, dim), np.float32)
    t[::3, 0] += np.float32(2.0**-23)
    return x[:n], t * RNG(12).uniform(1, 2, (m, 1)).astype(np.float32)


def integers(n: int, m: int, dim: int) -> Embeddings:
    x, t = RNG(13).integers(-3, 4, (2, max(n, m), dim))
    x[:, 0] = t[:, 0] = 1
    return x[:n].astype(np.int64), t[:m].astype(np.int8)


def wide_integers(n: int, m: int, dim: int) -> Embeddings:
    """Products beyond 2^53: not even float64 holds one of them."""
    x, t = 2**40 + RNG(14).integers(-9, 9, (2, max(n, m), dim))
    return x[:n], t[:m]


def denormals(n: int, m: int, dim: int) -> Embeddings:
    x, t = RNG(15).integers(-9, 9, (2, max(n, m), dim)).astype(np.float32)
    x[:, 0] = t[:, 0] = 1
    return x[:n] * np.float32(2.0**-149), t[:m] * np.float32(2.0**-140)


def huge_range(n: int, m: int, dim: int) -> Embeddings:
    rng = RNG(16)
    x, t = rng.standard_normal((2, max(n, m), dim)) * 10.0 ** rng.integers(-30, 30, (2, max(n, m), dim))
    return x[:n].astype(np.float32), t[:m].astype(np.float32)


def huge_range_of_rows(n: int, m: int, dim: int) -> Embeddings:
    """Rows of every length that float32 has, such that many dots are near 1."""
    rng = RNG(17)
    x, t = rng.standard_normal((2, max(n, m), dim))
    x, t = x[:n] * 10.0 ** rng.integers(-37, 37, (n, 1)), t[:m] * 10.0 ** rng.integers(-37, 37, (m, 1))
    return x.astype(np.float32), t.astype(np.float32)


def float64_extremes(n: int, m: int, dim: int) -> Embeddings:
    """Squared norms leave the range of float64 on both ends, the dots do not. Cosines of such rows are refused."""
    x, t = RNG(18).standard_normal((2, max(n, m), dim))
    up = np.where(np.arange(n) % 2, 1e250, 1e-250)[:, None]
    return x[:n] * up, t[:m]


def float64_products_below_range(n: int, m: int, dim: int) -> Embeddings:
    """Products of single values underflow."""
    x, t = RNG(19).integers(-9, 10, (2, max(n, m), dim)).astype(np.float64)
    x[:, 0] = t[:, 0] = 1
    return x[:n] * 2.0**-537, t[:m] * 2.0**-536


ADVERSARIES: tuple[Callable[[int, int, int], Embeddings], ...] = (
    duplicated,
    scaled_duplicates,
    zero_suffix,
    dominant_dimension,
    one_hot,
    constant_columns,
    low_rank,
    float64_beyond_float32,
    cancelling,
    integers,
    wide_integers,
    denormals,
    huge_range,
    huge_range_of_rows,
)
# Under dot only.
DOT_ADVERSARIES = (*ADVERSARIES, float64_extremes, float64_products_below_range)
CASES = [(f, "cosine") for f in ADVERSARIES] + [(f, "dot") for f in DOT_ADVERSARIES]
each_case = pytest.mark.parametrize(
    ("adversary", "similarity"), CASES, ids=lambda v: v if v in ("cosine", "dot") else v.__name__
)


RECIPES: tuple[dict[str, Any], ...] = (
    {"weight": "count"},
    {"weight": "hinge"},
    {"weight": "squared_hinge"},
    {"weight": "similarity"},
    {"weight": "hinge", "aggregate": "max"},
    {"weight": "similarity", "aggregate": "topk", "k": 2},
)


def check(x: NDArray[Any], t: NDArray[Any], s: NDArray[np.float64], similarity: str, method: str, **rules: Any) -> None:
    norms = norm_products(x, t, similarity)
    for recipe in RECIPES:
        if recipe["weight"] == "similarity" and np.abs(s).max() > 1e300:
            continue  # +inf and -inf make no sum
        scores = hnscore.score(x, t, 0.0, similarity=similarity, method=method, **recipe, **rules)
        assert_score(scores, s, norms, 0.0, label=(recipe, [*rules]), **recipe, **rules)


@pytest.mark.exhaustive(4)
@each_case
def test_thresholds_next_to_similarities(
    target: str, method: str, adversary: Callable[[int, int, int], Embeddings], similarity: str
) -> None:
    for n, m, dim in ((9, 21, 4), (17, 35, 70), (5, 3, 530)):
        x, t = adversary(n, m, dim)
        s = ref.similarity_matrix(x, t, similarity)
        for row in (0, n // 2, n - 1):
            # tau_j is exactly the similarity of one pair, or its neighbour on either side.
            for tau in (s[row], np.nextafter(s[row], np.inf), np.nextafter(s[row], -np.inf)):
                check(x, t, s, similarity, method, reference=tau)
                # As an upper limit: the pair counts up to and with equality.
                check(x, t, s, similarity, method, reference=everything(s, similarity), max_similarity=tau)
                check(x, t, s, similarity, method, reference=tau, max_similarity=np.roll(tau, 1))
        check(x, t, s, similarity, method, reference=np.zeros(m))
        check(x, t, s, similarity, method, reference="pool_max")


def everything(s: Any, similarity: str) -> Any:
    """References below which all similarities are, or nearly: a cosine is at least -1."""
    return np.full(s.shape[1], s.min() - 1 if similarity == "dot" else max(s.min() - 1, -1.0))


@pytest.mark.exhaustive(4)
@each_case
def test_ranks_among_ties(
    target: str, method: str, adversary: Callable[[int, int, int], Embeddings], similarity: str
) -> None:
    for n, m, dim in ((9, 21, 4), (17, 35, 70)):
        x, t = adversary(n, m, dim)
        s = ref.similarity_matrix(x, t, similarity)
        for k in (1, 2, n // 2, n):
            check(x, t, s, similarity, method, reference=everything(s, similarity), top_k_images=k)
            check(x, t, s, similarity, method, reference=s[0], max_similarity=s[1], top_k_images=k)


@each_case
def test_references_are_exact(target: str, adversary: Callable[[int, int, int], Embeddings], similarity: str) -> None:
    for dim in (4, 70):
        x, t = adversary(16, 16, dim)
        cases: list[dict[str, Any]] = [{"kind": "positive"}, {"kind": "hardest"}, {"kind": "topk", "k": 5}]
        for rules in cases:
            got = hnscore.reference_similarity(x, t, similarity=similarity, **rules)
            want = ref.reference_similarity(x, t, similarity=similarity, **rules)
            np.testing.assert_array_equal(got, want, err_msg=str((dim, rules)))
        # The own image as the reference ties with itself in the pool, with no margin to help.
        own = x[np.arange(16) // 2]
        s, r = ref.similarity_matrix(x, t, similarity), ref.pair_similarity(own, t, similarity)
        counts = hnscore.score(x, t, 0.0, reference=own, weight="count", similarity=similarity)
        np.testing.assert_array_equal(counts, (s > r).sum(axis=1))


def test_norms_outside_float64_are_refused(target: str) -> None:
    x, t = float64_extremes(4, 4, 8)
    with pytest.raises(ValueError, match=r"img_emb.*squared norms"):
        hnscore.score(x, t)
    with pytest.raises(ValueError, match=r"txt_emb.*squared norms"):
        hnscore.score(t, x)


def test_a_margin_is_subtracted_in_float64(target: str) -> None:
    # 0.3 - 0.1 rounds to just below float64(0.2): an image at exactly 0.2 counts, in float32 arithmetic it would not.
    assert 0.3 - 0.1 < 0.2
    x, t = np.array([[0.2], [0.3 - 0.1]]), np.array([[1.0]])
    for weight, expected in (("count", [1, 0]), ("hinge", [0.2 - (0.3 - 0.1), 0])):
        got = hnscore.score(x, t, 0.1, reference=np.array([0.3]), weight=weight, similarity="dot")
        np.testing.assert_allclose(got, np.float32(expected), rtol=1e-6)


def test_a_float32_reference_is_taken_as_it_is(target: str) -> None:
    r = np.float32([0.1])
    x = np.array([[0.1], [float(r[0])], [np.nextafter(float(r[0]), 1)]])
    got = hnscore.score(x, np.array([[1.0]]), 0.0, reference=r, weight="count", similarity="dot")
    np.testing.assert_array_equal(got, [0, 0, 1])  # float32(0.1) is above float64(0.1)


def test_hinges_next_to_the_threshold_are_relatively_right(target: str) -> None:
    """Decided in float64, a tiny gap is not the noise of a float32 subtraction."""
    x = 1 + np.arange(1, 40)[:, None] * 2.0**-50
    got = hnscore.score(x, np.ones((1, 1)), 0.0, reference=np.ones(1), similarity="dot")
    np.testing.assert_array_equal(got, np.float32(np.arange(1, 40) * 2.0**-50))


finite = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e3, 1e3)
tiny = st.floats(-1e-290, 1e-290)
short = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    st.one_of(
        *[st.lists(st.tuples(values, values), min_size=1, max_size=40) for values in (finite, moderate, tiny, short)]
    )
)
def test_exact_dot(pairs: list[tuple[float, float]]) -> None:
    assert_exact_dot(pairs)
    # The same products and their opposites, one of them moved: what is left is far below the terms.
    a, b = pairs[0]
    assert_exact_dot([*pairs, *((-x, y) for x, y in reversed(pairs)), (np.nextafter(a, 0), b), (-a, b)])


def assert_exact_dot(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    exact = sum((Fraction(x) * Fraction(y) for x, y in pairs), Fraction(0))
    try:
        expected = float(exact)
    except OverflowError:
        expected = np.inf if exact > 0 else -np.inf
    assert _core.exact_dot(np.ascontiguousarray(a), np.ascontiguousarray(b)) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8])
@pytest.mark.parametrize("dim", [1, 3, 15, 16, 384])
def test_copies_have_a_cosine_of_one(target: str, dim: int, dtype: Any) -> None:
    """And opposite rows of -1, whatever powers of two they are scaled by; in every function that compares."""
    rng = np.random.default_rng(dim)
    x = rng.integers(-9, 10, (200, dim)) if dtype is np.int8 else rng.standard_normal((200, dim))
    x = x.astype(dtype)
    x[~x.any(axis=1)] = 1
    scaled = x if dtype in (np.int8, np.float16) else x * dtype(2) ** rng.integers(-40, 41, (200, 1)).astype(dtype)
    assert (hnscore.reference_similarity(scaled, x) == 1).all()
    assert (hnscore.reference_similarity(scaled, -x) == -1).all()
    twice = np.concatenate([x, scaled])
    copies = np.full(400, 2) if dim > 16 else (ref.similarity_matrix(twice, twice) == 1).sum(axis=1)
    for method in ("dense", "cascade"):
        balls = hnscore.density(twice, "ball", min_similarity=1.0, method=method, exclude_self=False)
        np.testing.assert_array_equal(balls, copies)
        rules = {"reference": np.full(200, -1.0), "weight": "count", "method": method}
        everything = hnscore.score(x, x, 0.1, **rules)
        np.testing.assert_array_equal(hnscore.score(x, x, 0.1, max_similarity=1.0, **rules), everything)
        assert (hnscore.knn_graph(x, 1, against=scaled, method=method)[0] == 1).all()


def test_no_cosine_is_beyond_one() -> None:
    """Rows that differ by less than a rounding of their cosine."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 7))
    near = x * (1 + rng.integers(-2, 3, x.shape) * 2.0**-52)
    s = hnscore.reference_similarity(x, near)
    assert s.max() == 1
    np.testing.assert_array_equal(s, ref.pair_similarity(x, near))
    np.testing.assert_array_equal(hnscore.reference_similarity(x, -near), -s)


@pytest.mark.parametrize("sizes", [(490, 490), (-470, -470), (490, -470), (-470, 490), (0, 500)])
def test_cosines_at_the_ends_of_float64(target: str, sizes: tuple[int, int]) -> None:
    """The product of two squared norms leaves the range of float64; that of rows scaled by powers of two does not."""
    rng = np.random.default_rng(0)
    x, t = rng.integers(-9, 10, (40, 5)) + 0.5, rng.integers(-9, 10, (30, 5)) + 0.5
    t[:20] = x[:20]
    large, other = x * 2.0 ** sizes[0], t * 2.0 ** sizes[1]
    s = ref.similarity_matrix(x, t)
    np.testing.assert_array_equal(ref.similarity_matrix(large, other), s)
    assert (hnscore.reference_similarity(large[:20], other[:20]) == 1).all()
    for method in ("dense", "cascade"):
        rules = {"weight": "count", "method": method, "reference": np.sort(s, axis=0)[-3], "max_similarity": 1.0}
        np.testing.assert_array_equal(hnscore.score(large, other, 0.0, **rules), hnscore.score(x, t, 0.0, **rules))
