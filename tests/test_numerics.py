"""Recipe x dtype x CPU target x awkward size against reference.py. Tolerances: tolerances.py.

The exact similarities of a problem are computed once; every recipe, rule and corner of the matrix is checked on them.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from tolerances import assert_sandwich, assert_score, norm_products, similarity_error

import hnscore
from hnscore import reference as ref

# A wide margin is the point of some tests here; the warning has its own.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# Around the tiles (6 to 16 rows, 1 to 32 columns), their halves and doubles.
SIZES = (1, 2, 3, 5, 6, 7, 13, 14, 15, 16, 17, 31, 32, 33, 65)
# Around the vectors, the chunks of 64 and the groups of 512 of the summation.
DIMS = (1, 2, 3, 4, 5, 63, 64, 65, 127, 300, 513, 1030)
DTYPES: dict[str, Any] = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
    "int8": np.int8,
    "int64": np.int64,
}
FLOATS = [name for name in DTYPES if not name.startswith("int")]
WEIGHTS: dict[str, dict[str, Any]] = {
    "count": {},
    "hinge": {},
    "squared_hinge": {},
    "similarity": {},
    "exp": {"temperature": 0.25},
}


class Problem(NamedTuple):
    x: NDArray[Any]
    t: NDArray[Any]
    similarity: str
    s: NDArray[np.float64]
    norms: NDArray[np.float64]
    r: NDArray[np.float64]  # with margin 0 about a third of the pairs count
    scale: float  # a similarity difference that matters here: 1 under cosine

    def score(self, margin: float, **rules: Any) -> NDArray[Any]:
        out = hnscore.score(self.x, self.t, margin * self.scale, similarity=self.similarity, **rules)
        assert isinstance(out, np.ndarray)
        return out

    def check(self, margin: float, label: object = "", **rules: Any) -> None:
        scores = self.score(margin, **rules)
        rules = {name: rule for name, rule in rules.items() if name not in ("n_threads", "method")}
        assert_score(scores, self.s, self.norms, margin * self.scale, label=(label, margin, rules), **rules)


@cache
def problem(n_img: int, n_txt: int, dim: int, dtype: str, similarity: str) -> Problem:
    """Rows that share a direction, so that similarities spread; some texts repeat an image, so that ties are real."""
    rng = np.random.default_rng([n_img, n_txt, dim, len(dtype), len(similarity)])
    common = rng.standard_normal(dim)
    x = rng.standard_normal((n_img, dim)) + common * rng.uniform(0, 1, (n_img, 1))
    t = rng.standard_normal((n_txt, dim)) + common * rng.uniform(0, 1, (n_txt, 1))
    t[::5] = x[rng.integers(0, n_img, len(t[::5]))]
    if dtype.startswith("int"):
        x, t = np.rint(20 * x), np.rint(20 * t)
        x[~x.any(axis=1), 0] = t[~t.any(axis=1), 0] = 1  # no zero rows
    x, t = np.clip(x, -127, 127).astype(DTYPES[dtype]), np.clip(t, -127, 127).astype(DTYPES[dtype])
    s = ref.similarity_matrix(x, t, similarity)
    norms = norm_products(x, t, similarity)
    return Problem(x, t, similarity, s, norms, np.quantile(s, 2 / 3, axis=0, method="higher"), float(norms.max()))


AGGREGATES: tuple[dict[str, Any], ...] = (
    {},
    {"aggregate": "mean"},
    {"aggregate": "max"},
    {"aggregate": "topk", "k": 3},
)


def recipes(scale: float) -> Iterator[dict[str, Any]]:
    for (weight, extra), aggregate in product(WEIGHTS.items(), AGGREGATES):
        yield {"weight": weight, **{name: value * scale for name, value in extra.items()}, **aggregate}


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_corner_of_the_tiles(target: str, method: str, weight: str) -> None:
    whole = problem(65, 65, 37, "float32", "cosine")
    for n_img, n_txt in product(SIZES, SIZES):
        part = Problem(
            whole.x[:n_img],
            whole.t[:n_txt],
            "cosine",
            whole.s[:n_img, :n_txt],
            whole.norms[:n_img, :n_txt],
            whole.r[:n_txt],
            1.0,
        )
        aggregate = ("sum", "mean", "max", "topk")[(n_img + n_txt) % 4]
        k = {"k": 1 + n_img % n_txt} if aggregate == "topk" else {}
        part.check(0.01, reference=part.r, weight=weight, method=method, aggregate=aggregate, **k, **WEIGHTS[weight])
        rules = {"max_similarity": 0.6, "method": method, "n_threads": 1, **WEIGHTS[weight]}
        part.check(0.2, reference=part.r, weight=weight, **rules)


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_dim(target: str, method: str, dtype: str, similarity: str) -> None:
    for dim in DIMS:
        p = problem(17, 35, dim, dtype, similarity)
        for recipe in recipes(p.scale):
            p.check(0.03, dim, reference=p.r, method=method, **recipe)
        for weight in ("count", "hinge"):  # exact ties: every column has a pair at its threshold
            p.check(0.0, dim, reference=p.r, method=method, weight=weight)


@pytest.mark.exhaustive(3)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_rule(target: str, method: str, weight: str, similarity: str) -> None:
    p = problem(33, 33, 48, "float32", similarity)
    rng = np.random.default_rng(3)
    extra = {name: value * p.scale for name, value in WEIGHTS[weight].items()}
    references: list[dict[str, Any]] = [
        {"reference": "pool_max"},
        {"reference": "paired"},
        {"reference": p.r},
        {"reference": p.r.astype(np.float32)},
    ]
    filters: list[dict[str, Any]] = [
        {},
        {"max_similarity": p.s[4]},
        {"img_groups": rng.integers(-2, 2, 33), "txt_groups": rng.integers(-2, 2, 33)},
        {"top_k_images": 1},
        {"top_k_images": 5, "max_similarity": float(np.quantile(p.s, 0.9))},
        {"top_k_images": 33, "img_groups": np.arange(33), "txt_groups": np.arange(33) // 2},
        {"minibatch": 9, "random_state": 1},
        {"minibatch": 33, "random_state": 2, "max_similarity": p.s[4], "top_k_images": 20},
    ]
    for reference, rule, aggregate in product(references, filters, AGGREGATES):
        for margin in (0.0, 0.15, 3.0):
            p.check(margin, weight=weight, method=method, **extra, **reference, **rule, **aggregate)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_own_images_as_reference(target: str, method: str, similarity: str) -> None:
    for dtype, own_dtype in product(DTYPES, ("float16", "float64")):
        p = problem(14, 33, 65, dtype, similarity)
        own = problem(33, 1, 65, own_dtype, similarity).x
        r = ref.pair_similarity(own, p.t, similarity)
        for weight in ("count", "hinge"):
            scores = p.score(0.1, reference=own, method=method, weight=weight)
            assert_score(scores, p.s, p.norms, 0.1 * p.scale, reference=r, weight=weight, label=(dtype, own_dtype))


def test_mixed_dtypes(target: str, method: str) -> None:
    for img_dtype, txt_dtype in product(DTYPES, DTYPES):
        x, t = problem(15, 17, 65, img_dtype, "cosine").x, problem(15, 17, 65, txt_dtype, "cosine").t
        s = ref.similarity_matrix(x, t)
        r = np.quantile(s, 0.7, axis=0, method="higher")
        for weight in ("count", "hinge"):
            scores = hnscore.score(x, t, 0.0, reference=r, method=method, weight=weight)
            assert_score(scores, s, 1.0, 0.0, reference=r, weight=weight, label=(img_dtype, txt_dtype))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_approximate_precisions(target: str, precision: str, similarity: str) -> None:
    undecided = []
    for turn, (dtype, dim) in enumerate(product(FLOATS, DIMS)):
        p = problem(17, 35, dim, dtype, similarity)
        d = p.norms * similarity_error(precision, dim)
        cap = (np.inf, float(np.quantile(p.s, 0.95)))[turn % 2]
        for recipe in recipes(p.scale):
            if recipe["weight"] == "similarity" and recipe.get("aggregate") in ("max", "topk"):
                continue  # may be negative, see assert_sandwich
            rules = {"reference": p.r, "max_similarity": cap, **recipe}
            scores = p.score(0.03, precision=precision, **rules)
            share = assert_sandwich(scores, p.s, d, 0.03 * p.scale, label=(dtype, dim, rules), **rules)
            if dim > 2:  # below, most pairs tie
                undecided.append(share)
    # Otherwise the sandwich would hold anything.
    assert np.mean(undecided) < {"fp32": 0.02, "bf16": 0.1}[precision]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_approximate_pool_max(target: str, precision: str) -> None:
    p = problem(33, 33, 300, "float32", "cosine")
    d = similarity_error(precision, 300)
    scores = p.score(0.2, precision=precision)
    # The reference is itself a similarity within d.
    assert_sandwich(scores, p.s, 2 * d, 0.2, reference=p.s.max(axis=0))


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_reference_similarity(target: str, similarity: str) -> None:
    rng = np.random.default_rng(4)
    for dtype, dim in product(DTYPES, (1, 65, 300)):
        p = problem(17, 17, dim, dtype, similarity)
        q = problem(17, 35, dim, dtype, similarity)
        cases: list[dict[str, Any]] = [{"kind": "positive"}, {"kind": "hardest"}]
        cases += [{"kind": "topk", "k": k} for k in (1, 2, 16)]
        cases += [{"kind": "minibatch", "batch_size": b} for b in (2, 3, 9, 17)]
        for case in cases:
            got = hnscore.reference_similarity(p.x, p.t, similarity=similarity, **case)
            want = ref.reference_similarity(p.x, p.t, similarity=similarity, **case)
            owner = rng.integers(0, 17, 35)
            got_owned = hnscore.reference_similarity(q.x, q.t, owner=owner, similarity=similarity, **case)
            want_owned = ref.reference_similarity(q.x, q.t, owner=owner, similarity=similarity, **case)
            assert got.dtype == got_owned.dtype == np.float64
            if case["kind"] == "minibatch":
                # 16 terms, each with a probability and a product of a few roundings, added up in float64.
                size = np.abs(p.s).max() + np.abs(q.s).max()
                np.testing.assert_allclose(got, want, rtol=0, atol=32 * 2.0**-53 * size, err_msg=str((dtype, case)))
                np.testing.assert_allclose(got_owned, want_owned, rtol=0, atol=32 * 2.0**-53 * size)
            else:
                np.testing.assert_array_equal(got, want, err_msg=str((dtype, case)))
                np.testing.assert_array_equal(got_owned, want_owned, err_msg=str((dtype, case)))


def test_weights_beyond_float32(target: str) -> None:
    x = np.array([[1e30, 0], [1e18, 0], [1, 0]], np.float32)
    t = np.array([[1e18, 0], [1, 0]], np.float32)
    s, norms = ref.similarity_matrix(x, t, "dot"), norm_products(x, t, "dot")
    for weight, aggregate in product(("hinge", "squared_hinge", "similarity"), ("sum", "mean", "max")):
        rules: dict[str, Any] = {"reference": np.zeros(2), "weight": weight, "aggregate": aggregate}
        scores = hnscore.score(x, t, 0.0, similarity="dot", **rules)
        assert_score(scores, s, norms, 0.0, label=rules, **rules)
    for aggregate in ("sum", "mean", "max"):
        # gap / temperature is 2, 88 and 90 for cosine 1.
        for temperature in (0.5, 1 / 88, 1 / 90):
            rules = {"reference": np.zeros(2), "weight": "exp", "aggregate": aggregate, "temperature": temperature}
            scores = hnscore.score(x, t, 0.0, **rules)
            assert_score(scores, np.ones((3, 2)), 1.0, 0.0, label=rules, **rules)


def test_an_infinite_weight_has_no_finite_mean(target: str) -> None:
    # One weight of e^90 = 1.2e39 or (2e19)^2 = 4e38 among 20 texts: the mean would be a float32, the weight is none.
    t = np.array([[1.0, 0]] + [[-1.0, 0]] * 19, np.float32)
    cases: list[dict[str, Any]] = [{"weight": "exp", "temperature": 1 / 90}, {"weight": "squared_hinge"}]
    for rules, size in zip(cases, (1.0, 2e19), strict=True):
        x = np.array([[size, 0]], np.float32)
        for aggregate in ("sum", "mean", "max"):
            got = hnscore.score(x, t, 0.0, reference=np.zeros(20), similarity="dot", aggregate=aggregate, **rules)
            assert got == np.inf, (rules, aggregate)


def test_a_similarity_below_float32_is_negative_infinity(target: str) -> None:
    x, t = np.array([[1e20]], np.float32), np.array([[-1e20]], np.float32)
    for aggregate in ("sum", "mean", "max"):
        rules: dict[str, Any] = {"reference": [-1e50], "weight": "similarity", "aggregate": aggregate}
        assert ref.score(x, t, 0.0, similarity="dot", **rules) == -np.inf
        assert hnscore.score(x, t, 0.0, similarity="dot", **rules) == -np.inf, aggregate


# ---- Extremes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dense", "cascade"])
def test_squares_that_only_float32_loses(target: str, method: Any) -> None:
    """m_i^2 gap^2 leaves float32 where gap^2 does not."""
    x = np.array([[2.0**-29, 0], [2.0**29, 0], [0, 2.0**29], [1, 1]])
    t = np.array([[2.0**29, 0], [2.0**-29, 0.0], [1, -1]])
    s = ref.similarity_matrix(x, t, "dot")
    for margin in (2.0**40, 2.0**20, 4e10, 1.0):
        rules = {"reference": np.zeros(3), "weight": "squared_hinge"}
        got = hnscore.score(x, t, margin, similarity="dot", method=method, **rules)
        assert_score(got, s, norm_products(x, t, "dot"), margin, **rules)


@pytest.mark.parametrize("method", ["dense", "cascade"])
@pytest.mark.parametrize("weight", ["count", "hinge", "squared_hinge", "similarity"])
def test_thresholds_beyond_float64(target: str, method: Any, weight: Any) -> None:
    """A finite reference less a finite margin may be -inf: every pair counts, and a gap is infinite."""
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((30, 16)), rng.standard_normal((20, 16))
    s = ref.similarity_matrix(x, t, "dot")
    for r, margin in ((-1.7e308, 1.7e308), (0.0, 1e30), (-1e20, 1e25)):
        rules = {"reference": np.full(20, r), "weight": weight}
        got = hnscore.score(x, t, margin, similarity="dot", method=method, **rules)
        with np.errstate(over="ignore"):
            assert_score(got, s, norm_products(x, t, "dot"), margin, **rules)


@pytest.mark.parametrize("method", ["dense", "cascade"])
def test_similarities_beyond_float32_cancel(target: str, method: Any) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((30, 16)) * 1e20, rng.standard_normal((20, 16)) * 1e19
    got = hnscore.score(x, t, 1e40, reference=np.zeros(20), similarity="dot", weight="similarity", method=method)
    s = ref.similarity_matrix(x, t, "dot")
    assert not np.isnan(got).any()
    with np.errstate(over="ignore"):
        assert_score(got, s, norm_products(x, t, "dot"), 1e40, reference=np.zeros(20), weight="similarity")


@pytest.mark.parametrize("temperature", [0.02, 0.05, 0.3, 1.0, 20.0, 1e4])
@pytest.mark.parametrize("margin", [0.2, 1.0, 2.0])
def test_exp_of_wide_gaps(target: str, temperature: float, margin: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 64)).astype(np.float32)
    t = np.concatenate([x[:20] + 0.1 * rng.standard_normal((20, 64)), rng.standard_normal((20, 64))])
    s = ref.similarity_matrix(x, t)
    rules = {"reference": np.zeros(40), "weight": "exp", "temperature": temperature}
    for method in ("dense", "cascade"):
        assert_score(hnscore.score(x, t, margin, method=method, **rules), s, 1.0, margin, label=method, **rules)
