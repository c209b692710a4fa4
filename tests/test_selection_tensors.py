"""Coverage with passes over all pairs by torch: of tensors of the CPU here, which the code cannot tell from a GPU's."""

from typing import Any

import numpy as np
import pytest
import torch
from gpus import to_tensor
from numpy.typing import NDArray

from hnscore import _core
from hnscore.selections import coverage, greedy
from hnscore.selections.tensor_passes import TensorPasses, unit_rows

Array = NDArray[Any]
RNG = np.random.default_rng(3)
CENTRES = RNG.standard_normal((30, 24))
EMB = (CENTRES[RNG.integers(0, 30, 900)] + 0.5 * RNG.standard_normal((900, 24))).astype(np.float32)
EMB[400:500] = EMB[:100]  # copies
EMB[500:520] = EMB[7]
SCORES = np.where(np.arange(900) % 5, RNG.uniform(0.1, 1, 900), 0)


def picks(emb: Array, by: str, weighted: bool, temperature: float | None, budget: int, **how: Any) -> greedy.Chosen:
    pool = greedy.Pool("embeddings", emb, 2, to_tensor(emb) if by == "tensors" else None)
    pool.prepare(how.pop("labeled", np.zeros(0, np.int64)), None)
    limit = coverage._OF_POINT * len(emb) + coverage._OF_VALUE * emb.shape[1] + how.pop("kept", 0)
    scores = SCORES if weighted else None
    options = coverage.How(temperature, limit, how.pop("subsample", None))
    return coverage.coverage(pool, budget, scores, options, np.random.default_rng(0))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("temperature", [None, 0.01, 0.1, 0.4])
@pytest.mark.parametrize("kept", [0, 2**16, 2**28])
def test_picks_are_those_of_the_cpu(
    weighted: bool, temperature: float | None, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "_KEPT_BESIDE_GPU", kept)
    passes: list[int] = []
    bounds = TensorPasses.bounds

    def counted(*given: Any) -> Array:
        passes.append(1)
        return bounds(*given)

    monkeypatch.setattr(TensorPasses, "bounds", counted)
    for how in ({}, {"labeled": np.array([3, 77, 401])}, {"subsample": 200}):
        got, want = (picks(EMB, by, weighted, temperature, 60, kept=kept, **how) for by in ("tensors", "arrays"))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
    assert passes or kept == 2**28, "nothing was bounded by torch"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "int8"])
def test_rows_of_any_kind(dtype: str) -> None:
    if dtype == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes")
        emb = EMB.astype(ml_dtypes.bfloat16)
    else:
        emb = np.round(EMB * 20).astype(dtype) if dtype == "int8" else EMB.astype(dtype)
    got, want = (picks(emb, by, False, 0.2, 30) for by in ("tensors", "arrays"))
    np.testing.assert_array_equal(got[0], want[0])


def test_tensors_of_a_training_loop() -> None:
    """Under autocast, and with a graph: neither changes a pass, and no graph grows."""
    tensor = to_tensor(EMB).requires_grad_()
    tensors = TensorPasses(tensor * 1, np.arange(900), None, 0.1)
    floor = RNG.uniform(0, 0.5, 900)
    want = TensorPasses(to_tensor(EMB), np.arange(900), None, 0.1).bounds(floor)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(tensors.bounds(floor), want)
        np.testing.assert_array_equal(TensorPasses(tensor, np.arange(900), None, 0.1).bounds(floor), want)
    assert not tensors._points.requires_grad


def exact(emb: Array, temperature: float | None, floor: Array, weights: Array | None) -> Array:
    code = _core.DTYPES[emb.dtype.name]
    return _core.coverage_gains(
        emb, code, np.arange(len(emb)), emb, code, temperature or 1.0, 1, weights=weights, floor=floor,
        kernel="cosine" if temperature is None else "exponential",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["clustered", "opposite", "copies", "huge and tiny", "wide rows", "float64"])
@pytest.mark.parametrize("temperature", [None, 0.003, 0.1, 0.4, 20.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_bounds_are_bounds(kind: str, temperature: float | None, weighted: bool) -> None:
    """At least the gains, at any floor, and near them."""
    rng = np.random.default_rng(1)
    emb = EMB[:300].copy()
    if kind == "opposite":
        emb[1::2] = -emb[::2]
    elif kind == "copies":  # whose cosines float32 rounds to one side, all of them
        emb[:] = emb[0] * rng.uniform(0.5, 2, (300, 1))
    elif kind == "huge and tiny":
        emb *= 10.0 ** rng.integers(-30, 30, (300, 1)).astype(np.float32)
    elif kind == "wide rows":
        emb *= 10.0 ** rng.uniform(-30, 0, emb.shape).astype(np.float32)
    elif kind == "float64":
        emb = emb.astype(np.float64) * 10.0 ** rng.integers(-140, 140, (300, 1))
    weights = rng.uniform(0, 1, 300) if weighted else None
    tensors = TensorPasses(to_tensor(emb), np.arange(300), weights, temperature)
    kernels = exact(emb, temperature, np.zeros(300), weights) if temperature else np.full(300, 300.0)
    for floor in (np.zeros(300), rng.uniform(0, 1, 300), np.full(300, 1 - 1e-9), np.ones(300)):
        bounds, gains = tensors.bounds(floor), exact(emb, temperature, floor, weights)
        assert (bounds >= gains).all()
        assert (bounds - gains <= 2.1 * np.expm1(tensors.error() + 2.0**-18) * kernels + 1e-30).all()


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_bounds_where_torch_may_round(precision: str) -> None:
    """TF32 or bfloat16, where a machine has them: the bounds are wider by what these may lose."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        tensors = TensorPasses(to_tensor(EMB), np.arange(900), None, 0.1)
        floor = RNG.uniform(0, 0.5, 900)
        assert (tensors.bounds(floor) >= exact(EMB, 0.1, floor, None)).all()
        assert (tensors.error() > 0.01) == (precision != "highest")
    finally:
        torch.set_float32_matmul_precision(before)


def test_unit_rows_of_extreme_length() -> None:
    for dtype, largest in ((torch.float16, 6e4), (torch.bfloat16, 3e38), (torch.float32, 3e38), (torch.float64, 1e308)):
        x = torch.tensor([[largest, largest], [largest, 0]], dtype=torch.float64).to(dtype)
        assert torch.allclose(unit_rows(x), torch.tensor([[0.5**0.5, 0.5**0.5], [1, 0]]))
