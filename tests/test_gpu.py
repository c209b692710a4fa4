"""The numbers of a GPU against reference.py: on the emulated one, on each of its tile loops, and on a real one.

What only a real one can show stands at the end: streams of torch, graphs, no waiting, much memory, several devices.
"""

import gc
from collections.abc import Iterator
from functools import cache
from itertools import islice, product
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import torch
from gpus import REAL, Gpu, a_gpu, real_backend
from numpy.typing import NDArray
from tolerances import assert_sandwich, assert_score, gpu_similarity_error, norm_products

import hnscore
from hnscore import reference as ref

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # a wide margin is the point of some tests

# float32 multiply-adds, mma, wgmma.
LOOPS = {"simt": (7, 5, 4), "mma": (8, 0, 4), "wgmma": (9, 0, 4)}  # capability and number of processors


@pytest.fixture(params=[*LOOPS, *REAL[:1]])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """Each tile loop on the emulated GPU; a real one has its own."""
    capability = LOOPS.get(request.param)
    for gpu in a_gpu("emulated" if capability else request.param, monkeypatch):
        if capability:
            gpu.backend.set_capability(*capability)
        yield gpu
        if capability:
            gpu.backend.set_capability(*LOOPS["wgmma"])


class Problem(NamedTuple):
    x: NDArray[Any]
    t: NDArray[Any]
    s: NDArray[np.float64]
    norms: NDArray[np.float64]
    r: NDArray[np.float64]  # with margin 0 about a third of the pairs count
    scale: float  # a similarity difference that matters here: 1 under cosine


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
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    x, t = np.clip(x, -127, 127).astype(kind), np.clip(t, -127, 127).astype(kind)
    s = ref.similarity_matrix(x, t, similarity)
    norms = norm_products(x, t, similarity)
    return Problem(x, t, s, norms, np.quantile(s, 2 / 3, axis=0, method="higher"), float(norms.max()))


WEIGHTS: dict[str, dict[str, Any]] = {
    "count": {}, "hinge": {}, "squared_hinge": {}, "similarity": {}, "exp": {"temperature": 0.25},
}  # fmt: skip
AGGREGATES: tuple[dict[str, Any], ...] = (
    {}, {"aggregate": "mean"}, {"aggregate": "max"}, {"aggregate": "topk", "k": 3},
)  # fmt: skip


def recipes(scale: float) -> Iterator[dict[str, Any]]:
    for (weight, extra), aggregate in product(WEIGHTS.items(), AGGREGATES):
        yield {"weight": weight, **{name: value * scale for name, value in extra.items()}, **aggregate}


def scores_of(gpu: Gpu, p: Problem, margin: float, **rules: Any) -> NDArray[Any]:
    sides = {name: gpu.put(rule) if isinstance(rule, np.ndarray) else rule for name, rule in rules.items()}
    return gpu.get(hnscore.score(gpu.put(p.x), gpu.put(p.t), margin, **sides))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "int8"])
def test_every_recipe(gpu: Gpu, dtype: str, similarity: str) -> None:
    p = problem(37, 90, 72, dtype, similarity)
    # All of them for one dtype, each weight for the others.
    for rules in islice(recipes(p.scale), None, None, 1 if (dtype, similarity) == ("float32", "cosine") else 3):
        margin = 0.05 * p.scale
        scores = scores_of(gpu, p, margin, reference=p.r, similarity=similarity, **rules)
        assert_score(scores, p.s, p.norms, margin, label=rules, reference=p.r, **rules)


@pytest.mark.parametrize("method", ["dense", "cascade"])
@pytest.mark.parametrize("weight", ["count", "hinge"])
def test_sizes_around_the_tiles(gpu: Gpu, weight: str, method: str) -> None:
    """Tiles have 64 to 256 rows and columns, of 64 values a step."""
    for n_img, n_txt, dim in ((1, 1, 1), (65, 3, 64), (3, 257, 65), (129, 65, 7), (130, 129, 130)):
        p = problem(n_img, n_txt, dim, "float32", "cosine")
        for margin in (0.0, 0.1):
            scores = scores_of(gpu, p, margin, reference=p.r, weight=weight, method=method)
            assert_score(scores, p.s, p.norms, margin, label=(n_img, n_txt, dim), reference=p.r, weight=weight)


FILTERS: list[dict[str, Any]] = [
    {"reference": "pool_max"},
    *({name: values[0]} for name, values in ref.MARGINS.items()),
    {"reference": "pool_max", "top_k_images": 5},
    {"reference": "pool_max", "top_k_images": 5, "max_similarity": 0.3},
    {"reference": "paired"},
    {"skip_top_images": 6},
    {"skip_top_images": 3, "top_k_images": 8, "weight": "count"},
    {"max_similarity": np.linspace(-0.5, 0.9, 80)},
    {"img_groups": np.arange(80) % 7, "txt_groups": np.arange(80) % 11},
    {"reference": "paired", "top_k_images": 9, "img_groups": np.arange(80) % 7, "txt_groups": np.arange(80) % 11},
    {"minibatch": 31, "random_state": 5},
]


@pytest.mark.parametrize("weight", ["count", "hinge"])
@pytest.mark.parametrize("filters", FILTERS, ids=[str(i) for i in range(len(FILTERS))])
def test_every_filter(gpu: Gpu, filters: dict[str, Any], weight: str) -> None:
    p = problem(80, 80, 40, "float32", "cosine")
    rules = {"reference": p.r, "weight": weight} | filters
    assert_score(scores_of(gpu, p, 0.2, **rules), p.s, p.norms, 0.2, label=filters, **rules)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_approximate_precisions(gpu: Gpu, precision: str, similarity: str) -> None:
    p = problem(37, 90, 72, "float32", similarity)
    d = gpu_similarity_error(precision, 72) * p.norms
    for weight, aggregate in product(("count", "hinge", "squared_hinge", "exp"), AGGREGATES):
        rules: dict[str, Any] = {"weight": weight, **aggregate}
        if weight == "exp":
            rules["temperature"] = 0.25 * p.scale
        margin = 0.05 * p.scale
        scores = scores_of(gpu, p, margin, reference=p.r, similarity=similarity, precision=precision, **rules)
        open_share = assert_sandwich(scores, p.s, d, margin, reference=p.r, label=rules, **rules)
        assert open_share < 0.25


@pytest.mark.parametrize("rules", [{}, {"weight": "count"}, {"aggregate": "topk", "k": 3}, {"precision": "bf16"}])
def test_the_same_bits_twice_and_in_chunks(gpu: Gpu, rules: dict[str, Any]) -> None:
    p = problem(140, 130, 40, "float32", "cosine")
    whole = scores_of(gpu, p, 0.1, reference=p.r, method="dense", **rules)
    np.testing.assert_array_equal(scores_of(gpu, p, 0.1, reference=p.r, method="dense", **rules), whole)
    scorer = hnscore.Scorer(gpu.put(p.t), 0.1, reference=gpu.put(p.r), method="dense", **rules)
    for first, last in ((0, 1), (1, 65), (65, 140)):
        chunk = gpu.get(scorer.score(gpu.put(p.x[first:last])))
        np.testing.assert_array_equal(chunk, whole[first:last])
    np.testing.assert_array_equal(scorer.score(p.x), whole)


@pytest.mark.parametrize("k", [1, 7, 20])
def test_neighbours(gpu: Gpu, k: int) -> None:
    p = problem(70, 50, 33, "float32", "cosine")
    for against in (None, p.t):
        similarities, indices = hnscore.knn_graph(
            gpu.put(p.x), k, against=None if against is None else gpu.put(against)
        )
        want, at = hnscore.knn_graph(p.x, k, against=against)
        np.testing.assert_array_equal(gpu.get(indices), at)
        np.testing.assert_array_equal(gpu.get(similarities), want)


def test_pools_of_equal_rows(gpu: Gpu) -> None:
    """Ties everywhere: to the lowest row."""
    x = np.repeat(np.eye(3, 8, dtype=np.float32), 23, axis=0)
    for k in (1, 22, 30):
        _, indices = hnscore.knn_graph(gpu.put(x), k)
        np.testing.assert_array_equal(gpu.get(indices), hnscore.knn_graph(x, k)[1])
        counts = hnscore.score(gpu.put(x), gpu.put(x[::7]), 0.5, weight="count", top_k_images=k)
        np.testing.assert_array_equal(gpu.get(counts), ref.score(x, x[::7], 0.5, weight="count", top_k_images=k))


# ---- A real one ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    real_backend()
    yield from a_gpu("cuda", monkeypatch)


def large(n_img: int = 20_000, n_txt: int = 30_000, dim: int = 512) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)
    img, txt, own = (torch.randn(n, dim, device="cuda", generator=generator) for n in (n_img, n_txt, n_txt))
    return img, txt, txt + own


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_counts_equal_those_of_the_cpu(cuda: Gpu, dtype: torch.dtype) -> None:
    """Which are exact; so two backends agree on every pair."""
    img, txt, own = (x.to(dtype) for x in large(4000, 9000))
    for rules in ({"reference": own}, {"reference": "pool_max", "top_k_images": 20}):
        for margin in (0.65, 0.6):
            here = hnscore.score(img, txt, margin, weight="count", **rules)
            host = {name: rule.cpu() if isinstance(rule, torch.Tensor) else rule for name, rule in rules.items()}
            there = hnscore.score(img.cpu(), txt.cpu(), margin, weight="count", **host)
            assert torch.equal(here.cpu(), there)
            sums = hnscore.score(img, txt, margin, **rules).cpu()
            torch.testing.assert_close(sums, hnscore.score(img.cpu(), txt.cpu(), margin, **host), rtol=3e-5, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["exact", "fp32", "bf16", "fp16"])
def test_nothing_waits(cuda: Gpu, precision: str) -> None:
    img, txt, own = large(2000, 3000)
    rules: dict[str, Any] = {"reference": own, "precision": precision, "max_similarity": np.full(3000, 0.99)}
    scorer = hnscore.Scorer(txt, 0.6, **rules)

    def calls() -> None:
        hnscore.score(img, txt, 0.6, **rules)
        scorer.score(img)
        hnscore.score(img, txt, 0.6, reference="pool_max", top_k_images=7, precision=precision)
        hnscore.density(img, k=5, precision=precision)

    calls()  # loads kernels, takes memory
    # Work for a while: whoever waits for the stream waits for it.
    busy = torch.randn(8192, 8192, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(40):
            busy = busy @ busy
        done = torch.cuda.Event()
        done.record()
        calls()
        assert not done.query(), "the calls have waited for the device"
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_streams_of_torch(cuda: Gpu) -> None:
    img, txt, own = large(3000, 5000)
    scorer = hnscore.Scorer(txt, 0.6, reference=own)
    want = hnscore.score(img, txt, 0.6, reference=own)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(img)
        busy = torch.randn(4096, 4096, device="cuda")
        for _ in range(50):
            busy = busy @ busy
        late.copy_(img)  # after all that
        got = [hnscore.score(late, txt, 0.6, reference=own), scorer.score(late)]
        assert torch.cuda.current_stream() == stream
    del scorer, late, busy
    junk = [torch.randn(5000, 512, device="cuda") for _ in range(8)]  # on the other stream
    torch.cuda.synchronize()
    assert len(junk) == 8
    for scores in got:
        assert torch.equal(scores, want)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "rules", [{"reference": "own"}, {"top_k_images": 5}, {"precision": "bf16"}, {"weight": "count"}]
)
def test_graphs_are_captured_and_replayed(cuda: Gpu, rules: dict[str, Any]) -> None:
    img, txt, own = large(1000, 2000, 128)
    rules = {name: own if rule == "own" else rule for name, rule in rules.items()}
    scorer = hnscore.Scorer(txt, 0.6, reference=own)
    hnscore.score(img, txt, 0.6, **rules)
    scorer.score(img)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        scores = hnscore.score(img, txt, 0.6, **rules)
        chunk = scorer.score(img)
    for seed in range(3):
        img.copy_(torch.randn(1000, 128, device="cuda", generator=torch.Generator("cuda").manual_seed(seed)))
        graph.replay()
        assert torch.equal(scores, hnscore.score(img, txt, 0.6, **rules))
        assert torch.equal(chunk, scorer.score(img))
    refused = pytest.raises(ValueError, match="reference must be on cuda:0 while a CUDA graph is captured")
    with refused, torch.cuda.graph(torch.cuda.CUDAGraph()):
        hnscore.score(img, txt, 0.6, reference=np.zeros(2000))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_code(cuda: Gpu) -> None:
    img, txt, own = large(500, 700, 64)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: hnscore.score(2 * x, txt, 0.6, reference=own) + 1, fullgraph=True)
    assert torch.equal(compiled(img), hnscore.score(2 * img, txt, 0.6, reference=own) + 1)


@pytest.mark.gpu
def test_pools_of_the_host(cuda: Gpu) -> None:
    img, txt, own = large(300_000, 2000, 128)
    scorer = hnscore.Scorer(txt, 0.6, reference=own)
    want = scorer.score(img).cpu()
    assert torch.equal(scorer.score(img.cpu()), want)
    np.testing.assert_array_equal(scorer.score(img.cpu().numpy()), want.numpy())


@pytest.mark.gpu
@pytest.mark.slow
def test_more_than_2_to_the_31_values(cuda: Gpu) -> None:
    if torch.cuda.mem_get_info()[0] < 20 * 2**30:
        pytest.skip("needs 20 GB of GPU memory")
    dim = 128
    n = 2**31 // dim + 5000
    some, txt, own = large(4096, 2000, dim)
    img = torch.empty(n, dim, dtype=torch.float16, device="cuda")
    for start in range(0, n, 4096):
        img[start : start + 4096] = some[: n - start]
    want = hnscore.score(some.half(), txt, 0.6, reference=own, method="dense")
    scores = hnscore.score(img, txt, 0.6, reference=own, method="dense")
    assert torch.equal(scores[-5000:], want.repeat(3)[(n - 5000) % 4096 :][:5000])
    assert torch.equal(scores[: 10 * 4096].view(10, -1), want.expand(10, -1))
    best = hnscore.score(img, txt, 0.6, weight="count", top_k_images=3)
    assert int(best.sum()) > 0
    del scores, best
    texts = img  # as many columns
    counts = hnscore.score(some[:64].half(), texts, 0.0, reference=torch.full((n,), 0.2, device="cuda"), weight="count")
    part = hnscore.score(
        some[:64].half(), texts[:4096], 0.0, reference=torch.full((4096,), 0.2, device="cuda"), weight="count"
    )
    assert (counts >= (n // 4096) * part).all()
    assert (counts <= -(-n // 4096) * part).all()


@pytest.mark.gpu
def test_out_of_memory(cuda: Gpu) -> None:
    img, txt, _ = large(1000, 200_000, 512)
    hnscore.score(img, txt[:10], 0.6)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved() + 2**26) / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        with pytest.raises(torch.OutOfMemoryError, match=r"hnscore needs \d+ bytes \(\d+ MiB\) more on cuda:0"):
            hnscore.score(img, txt, 0.6)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    assert torch.cuda.memory_allocated() == before
    assert torch.isfinite(hnscore.score(img, txt, 0.6)).all()


@pytest.mark.gpu
def test_bad_values_are_told_without_waiting(cuda: Gpu) -> None:
    img, txt, own = large(500, 600, 64)
    img[123, 5] = torch.nan
    scores = hnscore.score(img, txt, 0.6, reference=own)
    assert torch.isnan(scores).nonzero().ravel().tolist() == [123]
    with pytest.raises(ValueError, match=r"an earlier call on cuda:0, .* img_emb must be finite, .* row 123 "):
        hnscore.score(img, txt, 0.6, reference=own)
    hnscore.score(img, txt, 0.6, reference=own)
    with pytest.raises(ValueError, match="img_emb must be finite"):
        hnscore.cuda.check()


@pytest.mark.gpu
def test_several_devices(cuda: Gpu) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    img, txt, own = (x.to("cuda:1") for x in large(500, 600, 64))
    assert torch.cuda.current_device() == 0
    scores = hnscore.score(img, txt, 0.6, reference=own)
    assert scores.device == torch.device("cuda", 1)
    assert torch.cuda.current_device() == 0
    assert torch.equal(scores.cpu(), hnscore.score(img.to("cuda:0"), txt.to("cuda:0"), 0.6, reference=own.cpu()).cpu())
