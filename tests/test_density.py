"""Densities and neighbour graphs against reference.py, on every CPU target; what must hold for any input; bad input."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tolerances import EXP, SMALLEST, U, norm_products

import hnscore
from hnscore import _core
from hnscore import reference as ref
from hnscore.arguments.options import DENSITY_KINDS
from hnscore.densities.kinds import KINDS
from hnscore.engine import pool

TEMPERATURE = 0.1
LEVEL = 0.25
SETTINGS: dict[str, dict[str, Any]] = {
    "knn": {"k": 3},
    "ball": {"min_similarity": LEVEL},
    "kernel": {"temperature": TEMPERATURE},
    "mean": {},
    "gaussian": {},
}


def points(n: int, dim: int, dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    """Clusters and copies: similarities spread, and some are exactly equal."""
    rng = np.random.default_rng([n, dim, seed])
    centres = rng.standard_normal((max(2, n // 20), dim)) * 2
    x = centres[rng.integers(0, len(centres), n)] + rng.standard_normal((n, dim))
    x[n // 3 :: 7] = x[0]
    if np.dtype(dtype).kind == "i":
        x = np.clip(np.rint(20 * x), -127, 127)
    x[~x.any(axis=1), 0] = 1
    return x.astype(dtype)


def assert_density(got: NDArray[Any], x: NDArray[Any], kind: str, label: object = "", **options: Any) -> None:
    """Within what float32 products allow of the reference.

    knn, mean: float64 and one rounding to float32. ball: no tolerance; with weights, these are rounded to float32.
    kernel: similarities are within 4 u |x||t| (the contract), times 1 / T, and the exponential's own EXP. Sums of
    positive terms in float32: a row's lanes take 16, a column's 14 of a tile and 16 tiles, each addition one u at most;
    weights are rounded, and multiplied, 2 u; the result once.
    gaussian: the error of a log sum is the mean of the errors of its exponents, weighted by their shares. There v is
    off by 3 u (both variances and their sum), so dim / 2 ln v by dim / 2 (3 u + 4 u |ln v|), v in units of v_0;
    |x - t|^2 by 10 u (|x|^2 + |t|^2) (the product 4 u, twice; both squares, the sum), and its quotient by 5 u. Adding
    these up rounds twice. The sum as that of a kernel, EXP and the rounding of the result.
    """
    similarity = options.get("similarity", "cosine")
    want = ref.density(x, kind, **options)
    assert got.dtype == want.dtype, label
    assert got.shape == want.shape, label
    exact = want.astype(np.float64)
    if kind == "ball":
        tolerance = np.abs(exact) * (4 * U if options.get("weights") is not None else 0)
    elif kind in ("knn", "mean"):
        other = options.get("against", x)
        scale = norm_products(x, other, similarity).max()
        tolerance = 2 * U * np.abs(exact) + 2.0**-40 * scale
    elif kind == "kernel":
        tolerance = exact * (4 * U / options["temperature"] + EXP + (16 + 14 + 16 + 2 + 1) * U) + SMALLEST * len(x)
    else:
        tolerance = _overlap_error(x, **options) + (EXP + (16 + 2) * U) + 2 * U * np.abs(exact)
    error = np.abs(got.astype(np.float64) - exact)
    assert np.all(error <= tolerance), (label, kind, options, float((error / np.maximum(tolerance, 1e-300)).max()))


def _overlap_error(
    x: NDArray[Any],
    *,
    variance: Any,
    against: Any = None,
    weights: Any = None,
    exclude_self: bool = True,
    similarity: str = "cosine",
) -> NDArray[np.float64]:
    t = x if against is None else against
    own, other = (variance, variance) if against is None else variance
    a, b = ref.given_values(x), ref.given_values(t)
    if similarity == "cosine":
        a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    d2 = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    squares = np.add.outer((a * a).sum(axis=1), (b * b).sum(axis=1))
    v = np.add.outer(own, other)
    log_v = np.abs(np.log(v / (2 * np.exp(np.log(other).mean()))))
    half_dim = x.shape[1] / 2
    error = half_dim * (3 + 4 * log_v) * U + (10 * squares + 5 * d2) * U / (2 * v)
    e = ref.log_overlap(d2, v, x.shape[1])
    error += 2 * U * (half_dim * log_v + d2 / (2 * v))
    with np.errstate(divide="ignore"):
        e = e + (0 if weights is None else np.log(weights))
    if exclude_self and against is None:
        np.fill_diagonal(e, -np.inf)
    share = np.exp(e - e.max(axis=1, keepdims=True))
    return np.asarray((share * error).sum(axis=1) / share.sum(axis=1), np.float64)


def settings(kind: str, n: int, m: int | None = None) -> dict[str, Any]:
    """The settings of a kind for n points, compared with m others or each other."""
    if kind != "gaussian":
        return dict(SETTINGS[kind])
    rng = np.random.default_rng(n)
    own = np.exp(rng.uniform(-4, 1, n))
    return {"variance": own if m is None else (own, np.exp(rng.uniform(-4, 1, m)))}


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int8, ml_dtypes.bfloat16])
def test_densities_are_those_of_the_reference(target: str, kind: str, dtype: Any) -> None:
    for n, dim in ((5, 1), (33, 17)):
        x = points(n, dim, np.float32).astype(dtype) if dtype is ml_dtypes.bfloat16 else points(n, dim, dtype)
        weights = np.random.default_rng(n).uniform(0.1, 1, n)
        for similarity, exclude_self, w in product(("cosine", "dot"), (True, False), (None, weights)):
            if (kind, similarity) == ("kernel", "dot"):
                continue
            options = settings(kind, n) | {"similarity": similarity, "exclude_self": exclude_self, "weights": w}
            if dtype is np.int8 and similarity == "dot" and kind == "gaussian":
                options["variance"] = options["variance"] * 1e4  # of the size of the squared distances
            if (kind, similarity) == ("ball", "dot"):
                options["min_similarity"] = float(np.quantile(ref.similarity_matrix(x, x, "dot"), 0.8))
            assert_density(hnscore.density(x, kind, **options), x, kind, (target, n, dim), **options)


@pytest.mark.parametrize("kind", SETTINGS)
def test_against_another_set(target: str, kind: str) -> None:
    x, t = points(37, 24), points(61, 24, seed=1)
    for w in (None, np.random.default_rng(0).uniform(0, 1, 61)):
        options = settings(kind, 37, 61) | {"against": t, "weights": w}
        assert_density(hnscore.density(x, kind, **options), x, kind, target, **options)


@pytest.mark.parametrize("kind", SETTINGS)
def test_several_blocks(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """More points than are packed at once, more row blocks than one, and rows that begin inside a column block."""
    monkeypatch.setattr(pool, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(pool, "_LEAST_BLOCK", 256)
    x = points(550, 24)
    for w in (None, np.random.default_rng(0).uniform(0.1, 1, 550)):
        options = settings(kind, 550) | {"weights": w}
        assert_density(hnscore.density(x, kind, **options), x, kind, **options)


@pytest.mark.parametrize("kind", SETTINGS)
def test_another_set_of_several_blocks(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(pool, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(pool, "_LEAST_BLOCK", 256)
    x, t = points(40, 24), points(550, 24, seed=1)
    for w in (None, np.random.default_rng(0).uniform(0.1, 1, 550)):
        options = settings(kind, 40, 550) | {"against": t, "weights": w}
        assert_density(hnscore.density(x, kind, **options), x, kind, **options)


@pytest.mark.parametrize("kind", ["knn", "ball"])
def test_both_methods(method: str, kind: str) -> None:
    x = points(300, 48)
    for options in ({}, {"weights": np.random.default_rng(0).uniform(0.1, 1, 300)}, {"exclude_self": False}):
        options = settings(kind, 300) | options
        assert_density(hnscore.density(x, kind, method=method, **options), x, kind, method, **options)


def test_numbers_in_a_ball_are_exact_at_its_edge(target: str, method: str) -> None:
    """Small integers: many similarities are exactly the level, which is inside."""
    x = np.random.default_rng(0).integers(-1, 2, (120, 6)).astype(np.float32)
    x[~x.any(axis=1), 0] = 1
    s = ref.similarity_matrix(x, x)
    for level in np.unique(s[:3])[::3]:
        level = min(float(level), 1.0)
        got = hnscore.density(x, "ball", min_similarity=level, method=method)
        np.testing.assert_array_equal(got, ref.density(x, "ball", min_similarity=level))


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("weighted", [False, True])
def test_same_bits_for_any_number_of_threads(kind: str, weighted: bool) -> None:
    x = points(1500, 96)  # 1500^2 x 96 multiply-adds are worth several threads
    options = settings(kind, 1500) | {"weights": np.random.default_rng(0).uniform(0.1, 1, 1500) if weighted else None}
    one = hnscore.density(x, kind, n_threads=1, **options)
    for n_threads in (2, 3, 5):
        np.testing.assert_array_equal(hnscore.density(x, kind, n_threads=n_threads, **options), one)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_approximate_precisions(precision: str) -> None:
    """s is off by d: 1e-6 and 2^-7 + 2^-16 more at dim 32 (tests/tolerances.py has the whole argument)."""
    x = points(90, 32)
    d = {"fp32": 1e-6, "bf16": 2**-7 + 2**-16 + 1e-6}[precision]
    knn = hnscore.density(x, "knn", k=5, precision=precision)
    np.testing.assert_allclose(knn, ref.density(x, "knn", k=5), rtol=0, atol=d)
    kernel = hnscore.density(x, "kernel", temperature=0.5, precision=precision)
    np.testing.assert_allclose(kernel, ref.density(x, "kernel", temperature=0.5), rtol=np.expm1(d / 0.5) + 1e-5)


def test_kernels_of_a_small_temperature_neither_overflow_nor_vanish() -> None:
    x = np.array([[1, 0], [1, 1e-3], [-1, 0]], np.float32)
    got = hnscore.density(x, "kernel", temperature=1e-4)
    assert_density(got, x, "kernel", temperature=1e-4)
    assert got[2] == 0  # e^-20000
    assert got[0] > 0


def test_overlaps_of_any_size(target: str) -> None:
    """Exponents far beyond what float32 could exponentiate; narrow beside wide Gaussians."""
    x = points(60, 200)
    for scale in (1e-6, 1e-3, 1.0, 1e6):
        variance = scale * np.exp(np.random.default_rng(0).uniform(-2, 2, 60))
        for options in ({}, {"exclude_self": False}, {"weights": np.arange(60.0)}):
            options = {"variance": variance, **options}
            assert_density(hnscore.density(x, "gaussian", **options), x, "gaussian", (target, scale), **options)


def test_rows_that_float32_cannot_hold() -> None:
    """Under dot, norms from 2^-40 to 2^40: such pairs are decided one by one."""
    x = points(20, 6, np.float64) * 2.0 ** np.linspace(-40, 40, 20)[:, None]
    for kind, options in (("knn", {"k": 4}), ("ball", {"min_similarity": 1.0}), ("mean", {})):
        assert_density(hnscore.density(x, kind, similarity="dot", **options), x, kind, similarity="dot", **options)


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(1, 12), st.booleans())
def test_permutations_and_duplicates(seed: int, n: int, dim: int, integers: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (n, dim)).astype(np.float32) if integers else points(n, dim, seed=seed)
    x[~x.any(axis=1), 0] = 1
    order = rng.permutation(n)
    counts = hnscore.density(x, "ball", min_similarity=LEVEL)
    np.testing.assert_array_equal(hnscore.density(x[order], "ball", min_similarity=LEVEL), counts[order])
    # Every pair is counted from both of its ends.
    s = ref.similarity_matrix(x, x)
    assert counts.sum() == (s >= LEVEL).sum() - (s.diagonal() >= LEVEL).sum()
    knn = hnscore.density(x, k=1)
    np.testing.assert_array_equal(hnscore.density(x[order], k=1), knn[order])
    # A copy of every point: its nearest neighbour is the copy (a cosine of equal rows may be off by a rounding).
    np.testing.assert_allclose(hnscore.density(np.concatenate([x, x]), k=1), 1, rtol=2 * U)


@pytest.mark.parametrize("kind", SETTINGS)
def test_only_ratios_of_weights_matter(kind: str) -> None:
    x, w = points(40, 8), np.random.default_rng(0).integers(1, 9, 40).astype(np.float64)
    want = hnscore.density(x, kind, weights=w, **settings(kind, 40))
    for power in (-300, -150, 100, 300):
        got = hnscore.density(x, kind, weights=w * 2.0**power, **settings(kind, 40))
        np.testing.assert_allclose(got, want, rtol=4 * U)
    whole = hnscore.density(x, "ball", min_similarity=-1, weights=w)
    assert np.all((whole > 1 - 2.0**-19) & (whole <= 1))


def test_kernels_of_copies_are_at_most_one() -> None:
    x = np.repeat(points(30, 64, np.float64), 2, axis=0)
    for temperature in (1e-5, 1e-3, 0.1):
        got = hnscore.density(x, "kernel", temperature=temperature)
        assert np.all(got <= 1)
        assert_density(got, x, "kernel", temperature=temperature)


def test_weights_are_multiplicities() -> None:
    """A point of weight 2 counts like two equal points of weight 1."""
    x, t = points(30, 8), points(11, 8, seed=3)
    twice = np.repeat(t, 2, axis=0)
    for kind in ("kernel", "mean"):
        got = hnscore.density(x, kind, against=t, weights=np.full(11, 2.0), **SETTINGS[kind])
        want = hnscore.density(x, kind, against=twice, **SETTINGS[kind])
        np.testing.assert_allclose(got, want, rtol=64 * U, atol=64 * U)


# ---- Neighbour graphs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_neighbours_are_those_of_the_reference(target: str, method: str, dtype: Any) -> None:
    for n, dim, k in ((2, 3, 1), (40, 16, 5), (90, 33, 89)):
        x = points(n, dim, dtype)
        for similarity, exclude_self in product(("cosine", "dot"), (True, False)):
            options: dict[str, Any] = {"similarity": similarity, "exclude_self": exclude_self}
            s, i = hnscore.knn_graph(x, k, method=method, **options)
            want_s, want_i = ref.knn_graph(x, k, **options)
            np.testing.assert_array_equal(i, want_i)
            np.testing.assert_array_equal(s, want_s)
            assert (s.dtype, i.dtype) == (np.float64, np.int64)


def test_neighbours_in_another_set() -> None:
    x, t = points(20, 8), points(50, 8, seed=1)
    for got, want in zip(hnscore.knn_graph(x, 7, against=t), ref.knn_graph(x, 7, against=t), strict=True):
        np.testing.assert_array_equal(got, want)


def test_neighbours_over_several_blocks_and_slices(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(pool, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(pool, "_STATE_BYTES", 1)
    x = points(550, 24)
    for got, want in zip(hnscore.knn_graph(x, 9, method=method), ref.knn_graph(x, 9), strict=True):
        np.testing.assert_array_equal(got, want)


def test_neighbours_as_a_sparse_matrix() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x = points(25, 6)
    s, i = hnscore.knn_graph(x, 4)
    graph = hnscore.knn_graph(x, 4, as_csr=True)
    assert sparse.issparse(graph)
    assert graph.shape == (25, 25)
    assert graph.has_sorted_indices
    dense = np.zeros((25, 25))
    np.put_along_axis(dense, i, s, axis=1)
    np.testing.assert_array_equal(graph.toarray(), dense)


# ---- Kinds of arrays, bad input --------------------------------------------------------------------------------------

X = points(12, 8)
GOOD: dict[str, dict[str, Any]] = {kind: settings(kind, 12) for kind in SETTINGS}


@pytest.mark.parametrize("kind", SETTINGS)
def test_inputs_are_read_where_they_lie(tmp_path: Path, kind: str) -> None:
    want = hnscore.density(X, kind, **GOOD[kind])
    np.save(tmp_path / "x.npy", X)
    frozen = X.copy()
    frozen.setflags(write=False)
    wide = np.zeros((24, 16), np.float32)
    wide[::2, ::2] = X
    for x in (frozen, wide[::2, ::2], X[::-1][::-1], X.astype(">f4"), np.load(tmp_path / "x.npy", mmap_mode="r"),
              np.asfortranarray(X)):  # fmt: skip
        np.testing.assert_array_equal(hnscore.density(x, kind, **GOOD[kind]), want)
    tensor = torch.from_numpy(X).requires_grad_()
    got = hnscore.density(tensor, kind, **GOOD[kind])
    assert isinstance(got, torch.Tensor)
    assert not got.requires_grad
    np.testing.assert_array_equal(got.numpy(), want)
    half = hnscore.density(torch.from_numpy(X).bfloat16(), kind, **GOOD[kind])
    np.testing.assert_array_equal(half, hnscore.density(X.astype(ml_dtypes.bfloat16), kind, **GOOD[kind]))


def test_no_points_and_one() -> None:
    for kind in SETTINGS:
        options = {"variance": []} if kind == "gaussian" else {} if kind == "knn" else SETTINGS[kind]
        empty = hnscore.density(np.zeros((0, 4), np.float32), kind, **options)
        assert empty.shape == (0,)
        assert empty.dtype == (np.int64 if kind == "ball" else np.float32)
    assert hnscore.density(X[:1], "knn", k=1, exclude_self=False) == pytest.approx(1)
    assert hnscore.density(X[:1], "ball", min_similarity=0.5, exclude_self=False) == 1
    with pytest.raises(ValueError, match="k must be at least 1"):
        hnscore.density(np.zeros((0, 4), np.float32), k=-5)
    similarities, indices = hnscore.knn_graph(np.zeros((0, 4), np.float32), 2)
    assert similarities.shape == indices.shape == (0, 2)


@pytest.mark.parametrize("as_csr", [False, True])
def test_no_points_are_no_reason_to_accept_any_k(as_csr: bool) -> None:
    if as_csr:
        pytest.importorskip("scipy.sparse")
    none = np.zeros((0, 8), np.float32)
    for k, error in ((0, ValueError), (10**18, ValueError), (10**30, ValueError), (2.0, TypeError), ("x", TypeError)):
        with pytest.raises(error, match=r"k must be .*points compared with"):
            hnscore.knn_graph(none, k, as_csr=as_csr)
    with pytest.raises(ValueError, match="k must be from 1 to 12 "):
        hnscore.knn_graph(none, 13, against=X, as_csr=as_csr)
    graph = hnscore.knn_graph(none, 12, against=X, as_csr=as_csr)
    assert [part.shape for part in ([graph] if as_csr else graph)] == ([(0, 12)] if as_csr else [(0, 12)] * 2)


def test_all_rows_identical() -> None:
    x = np.tile(X[:1], (30, 1))
    assert np.all(hnscore.density(x, "ball", min_similarity=0.999) == 29)
    _, indices = hnscore.knn_graph(x, 2)
    np.testing.assert_array_equal(indices, [[1, 2], [0, 2]] + [[0, 1]] * 28)


BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("knn", {"k": 12}, ValueError, "k must be from 1 to 11 .*got 12"),
    ("knn", {"k": 0}, ValueError, "k must be at least 1"),
    ("knn", {"k": 2.0}, TypeError, "k must be an integer"),
    ("nearest", {}, ValueError, "kind must be one of 'knn', 'ball', .*got 'nearest'"),
    ("kernel", {"temperature": 0.1, "k": 3}, ValueError, "k must be given with kind='knn' and only with it"),
    ("ball", {}, ValueError, "min_similarity must be given with kind='ball'"),
    ("knn", {"k": 2, "min_similarity": 0.5}, ValueError, "min_similarity must be given with kind='ball' and only"),
    ("ball", {"min_similarity": 1.5}, ValueError, "min_similarity must be from -1 to 1 .*got 1.5"),
    ("ball", {"min_similarity": np.nan}, ValueError, "min_similarity must be finite"),
    ("kernel", {}, ValueError, "temperature must be given with kind='kernel'"),
    ("kernel", {"temperature": 0}, ValueError, "temperature must be at least 1e-05, .*got 0"),
    ("kernel", {"temperature": np.nan}, ValueError, "temperature must be finite"),
    ("kernel", {"temperature": 1, "similarity": "dot"}, ValueError, "similarity must be 'cosine' for kind='kernel'"),
    ("gaussian", {}, ValueError, "variance must be given with kind='gaussian'"),
    ("gaussian", {"variance": np.zeros(12)}, ValueError, "variance must be finite and above 0, got 0.0 at index 0"),
    ("gaussian", {"variance": -np.ones(12)}, ValueError, "variance must be finite and above 0, got -1.0"),
    ("gaussian", {"variance": np.ones(11)}, ValueError, r"variance must have shape \(12,\)"),
    ("gaussian", {"variance": np.ones(12), "against": X}, TypeError, "variance must be a pair of arrays"),
    ("gaussian", {"variance": np.full(12, 1e-20)}, ValueError, "variance must be from 1e-18 to 1e.18, got 1e-20"),
    ("gaussian", {"variance": np.full(12, 1e308)}, ValueError, "variance must be from 1e-18 to 1e.18, got 1e.308"),
    ("mean", {"exclude_self": "no"}, TypeError, "exclude_self must be True or False, got 'no'"),
    ("mean", {"k": "x"}, TypeError, "k must be an integer"),
    ("mean", {"weights": -np.ones(12)}, ValueError, "weights must be finite and at least 0, got -1.0 at index 0"),
    ("mean", {"weights": np.zeros(12)}, ValueError, "weights must be above 0 .the sum"),
    ("mean", {"weights": np.eye(12)[0]}, ValueError, "weights must be above 0 .the sum"),
    ("mean", {"weights": np.ones(5)}, ValueError, r"weights must have shape \(12,\)"),
    ("mean", {"against": X[:, :4]}, ValueError, "against has dim 4, emb has dim 8"),
    ("mean", {"against": torch.from_numpy(X)}, TypeError, "emb and against must both be torch tensors"),
    ("mean", {"against": X[:0]}, ValueError, "against must have at least one row"),
    ("mean", {"method": "cascade"}, ValueError, "method='cascade' is for the exact kinds"),
    ("ball", {"min_similarity": 0, "method": "cascade", "precision": "fp32"}, ValueError, "method='cascade' is for"),
    ("mean", {"precision": "fp64"}, ValueError, "precision must be one of"),
    ("mean", {"n_threads": 0}, ValueError, "n_threads must be at least 1"),
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), BAD)
def test_errors_say_what_to_do(kind: str, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hnscore.density(X, kind, **options)


@pytest.mark.parametrize("kind", SETTINGS)
def test_bad_rows_are_named(kind: str) -> None:
    bad = X.copy()
    bad[[3, 7], 2] = np.nan
    with pytest.raises(ValueError, match=re.escape("emb must be finite, got NaN or Inf in row")) as raised:
        hnscore.density(bad, kind, **GOOD[kind])
    assert "3" in str(raised.value)
    options = settings(kind, 12, 12) | {"against": bad}
    with pytest.raises(ValueError, match="against must be finite"):
        hnscore.density(X, kind, **options)
    zero = X.copy()
    zero[5] = 0
    with pytest.raises(ValueError, match=r"emb must have no zero rows .*row 5"):
        hnscore.density(zero, kind, **GOOD[kind])
    options = {"variance": [1.0]} if kind == "gaussian" else GOOD[kind]
    with pytest.raises(ValueError, match="emb must have at least 2 rows"):
        hnscore.density(X[:1], kind, **options)
    for x in (X[0], X[None], X[:, :0]):
        with pytest.raises(ValueError, match="emb must have"):
            hnscore.density(x, kind, **GOOD[kind])


def test_the_core_refuses_triangles_that_are_none() -> None:
    columns = _core.Columns(X, _core.DTYPES["float32"], "cosine", "exact", 1)
    for recipe, triangle in (("hinge", 0), ("count", 1), ("count", -1)):
        with pytest.raises(ValueError, match="triangle"):
            _core.reduce(X, _core.DTYPES["float32"], columns, recipe, 1, triangle=triangle)


# ---- Distances that would cancel -------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 10.0, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_gaussians_do_not_move_with_their_points(target: str, offset: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    x = np.rint(rng.standard_normal((50, 3)) * 2**12) * 2.0**-12 * spread  # what is left of x + offset is x
    moved = x + np.rint(offset)
    variance = np.full(50, spread**2)
    want = ref.density(moved, "gaussian", variance=variance, similarity="dot")
    got = hnscore.density(moved, "gaussian", variance=variance, similarity="dot")
    np.testing.assert_allclose(got, want, atol=2**-10)


@pytest.mark.parametrize("dim", [2, 40])
def test_gaussians_of_clusters_far_apart(target: str, dim: int) -> None:
    """No one origin serves: pairs within a cluster are decided by the differences of their values."""
    rng = np.random.default_rng(dim)
    x = rng.standard_normal((5, dim))[rng.integers(0, 5, 120)] * 1000 + rng.standard_normal((120, dim)) * 0.01
    variance = np.exp(rng.uniform(-1, 1, 120)) * 1e-4
    got = hnscore.density(x, "gaussian", variance=variance, similarity="dot")
    want = ref.density(x, "gaussian", variance=variance, similarity="dot").astype(float)
    np.testing.assert_array_less(np.abs(got - want), 2**-10 + 2.0**-14 * (np.abs(want) + 10 * dim))
    against = (x[:70], x[70:], (variance[:70], variance[70:]))
    got = hnscore.density(against[0], "gaussian", against=against[1], variance=against[2], similarity="dot")
    want = ref.density(against[0], "gaussian", against=against[1], variance=against[2], similarity="dot").astype(float)
    np.testing.assert_array_less(np.abs(got - want), 2**-10 + 2.0**-14 * (np.abs(want) + 10 * dim))


def test_gaussians_of_narrow_directions(target: str) -> None:
    """Cosines near 1, and variances so small that their distance decides."""
    rng = np.random.default_rng(1)
    x = (1 + 1e-4 * rng.standard_normal((80, 12))).astype(np.float32)
    variance = np.full(80, 1e-9)
    got = hnscore.density(x, "gaussian", variance=variance)
    want = ref.density(x, "gaussian", variance=variance).astype(float)
    np.testing.assert_array_less(np.abs(got - want), 2**-10 + 2.0**-14 * (np.abs(want) + 120))


@pytest.mark.parametrize("n", [2, 5, 20, 21, 22])
def test_neighbours_by_default(n: int) -> None:
    x = points(n, 6)
    np.testing.assert_array_equal(hnscore.density(x), hnscore.density(x, k=min(20, n - 1)))
    with pytest.raises(ValueError, match="k must be from 1 to"):
        hnscore.density(x, k=n)


def test_the_table_has_every_kind() -> None:
    assert tuple(KINDS) == DENSITY_KINDS
    assert [name for name, kind in KINDS.items() if kind.on_gpu is None] == ["gaussian"]
    assert [name for name, kind in KINDS.items() if kind.of_tensors] == ["mean"]
