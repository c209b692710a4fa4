"""Exact where it is hardest, on each tile loop of the emulated GPU: test_exactness.py's adversaries and a GPU's own.

Its own are what float16 cannot hold, what a tensor core cuts off, float32 sums of any depth, and work that is split:
chunks of columns, slabs of rows, blocks, warps.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from gpus import Gpu, a_gpu
from numpy.typing import NDArray
from test_exactness import CASES, RECIPES, Embeddings
from tolerances import U, assert_score, norm_products

import hnscore
from hnscore import reference as ref
from hnscore.engine.memory import reports

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Array = NDArray[Any]
RNG = np.random.default_rng
CHUNK = 8192  # columns that are added up together
# float32 multiply-adds, mma, wgmma; whatever the device, sums of method="dense" are those of the first.
LOOPS = {"simt": (7, 5), "mma": (8, 0), "wgmma": (9, 0)}


@pytest.fixture(params=LOOPS)
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    for gpu in a_gpu("emulated", monkeypatch):
        gpu.backend.set_capability(*LOOPS[request.param], 4)
        yield gpu
        gpu.backend.set_capability(9, 0, 4)


def score(gpu: Gpu, x: Array, t: Array, margin: float = 0.0, **rules: Any) -> Array:
    sides = {name: gpu.put(rule) if isinstance(rule, np.ndarray) else rule for name, rule in rules.items()}
    return gpu.get(hnscore.score(gpu.put(x), gpu.put(t), margin, **sides))


# ---- Which pairs count -----------------------------------------------------------------------------------------------


def halves(n: int, m: int, dim: int) -> Embeddings:
    """Nothing is lost by packing; products of many bits are, by a tensor core."""
    x, t = RNG(1).uniform(0.5, 2, (2, max(n, m), dim)).astype(np.float16)
    x[: n // 2] = t[: n // 2]
    return x[:n], t[:m]


def swamped(n: int, m: int, dim: int) -> Embeddings:
    """Products that a tensor core cuts off to the last bit, since one is larger by 2^23."""
    x, t = np.full((2, max(n, m), dim), 1448 * 2.0**-22)
    x[:, 0], t[:, 0] = 1 + np.arange(max(n, m)) % 4 * 2.0**-10, 1
    return x[:n].astype(np.float32), t[:m].astype(np.float32)


def wide_rows(n: int, m: int, dim: int) -> Embeddings:
    """Values of one row from 1e-30 to 1: most are no float16 beside the largest."""
    rng = RNG(2)
    x, t = rng.standard_normal((2, max(n, m), dim)) * 10.0 ** rng.uniform(-30, 0, (2, max(n, m), dim))
    return x[:n].astype(np.float32), t[:m].astype(np.float32)


def halfway(n: int, m: int, dim: int) -> Embeddings:
    """Rows that float16 holds, columns that it rounds by nearly half a unit, all in one direction, and the reverse."""
    x, t = np.ones((n, dim), np.float32), np.full((m, dim), 1 + 2.0**-11 - 2.0**-20, np.float32)
    x[::3] = t[0] + np.float32(2.0**-10)
    t[::3] *= np.float32(1 + 2.0**-11 + 2.0**-19)
    x[:, 0] += np.arange(n, dtype=np.float32) * np.float32(2.0**-12)
    return x, t


def rounded_apart(n: int, m: int, dim: int) -> Embeddings:
    """The larger of two values just beside the middle of two float16 becomes the smaller one, all along the row."""
    x, t = np.full((n, dim), 1 + 2.0**-11 - 2.0**-20, np.float32), np.ones((m, dim), np.float32)
    x[1::2] += np.float32(2.0**-19)
    x[1::2, 0] -= np.float32(2.0**-12)
    x[:, 1] += np.arange(n, dtype=np.float32) * np.float32(2.0**-22)
    t[:, 2] += np.arange(m, dtype=np.float32) * np.float32(2.0**-10)
    return x, t


GPU_ADVERSARIES = (halves, swamped, wide_rows, halfway, rounded_apart)
ALL_CASES = [
    *CASES,
    *((f, similarity) for f in GPU_ADVERSARIES for similarity in ("cosine", "dot")),
]
each_case = pytest.mark.parametrize(
    ("adversary", "similarity"), ALL_CASES, ids=lambda v: v if v in ("cosine", "dot") else v.__name__
)
Case = Callable[[int, int, int], Embeddings]
WEIGHTS = (*RECIPES[1:], {"weight": "exp"}, {"weight": "hinge", "aggregate": "mean"})


@cache
def similarities(adversary: Case, n: int, m: int, dim: int, similarity: str) -> tuple[Array, Array, Array, Array]:
    x, t = adversary(n, m, dim)
    return x, t, ref.similarity_matrix(x, t, similarity), norm_products(x, t, similarity)


@pytest.mark.exhaustive(2)
@each_case
def test_thresholds_next_to_similarities(gpu: Gpu, adversary: Case, similarity: str) -> None:
    n, m, dim = 9, 21, 70
    x, t, s, norms = similarities(adversary, n, m, dim, similarity)
    turn = 0

    def check(**rules: Any) -> None:
        nonlocal turn
        turn += 1
        recipe = dict(WEIGHTS[turn % len(WEIGHTS)])
        if recipe["weight"] == "exp":
            recipe["temperature"] = float(np.clip(norms.max(), 1, 1e30))
        for weighed in ({"weight": "count"}, recipe):
            if weighed["weight"] == "similarity" and np.abs(s).max() > 1e38:
                continue  # +inf and -inf make no sum
            method = ("dense", "cascade", "auto")[turn % 3]
            scores = score(gpu, x, t, similarity=similarity, method=method, **weighed, **rules)
            assert_score(scores, s, norms, 0.0, label=(weighed, method, [*rules]), **weighed, **rules)

    # tau_j is exactly the similarity of one pair, or its neighbour on either side.
    for row in (0, n - 1):
        for tau in (s[row].copy(), np.nextafter(s[row], np.inf), np.nextafter(s[row], -np.inf)):
            check(reference=tau, **({"max_similarity": np.roll(tau, 1)} if row else {}))
    check(reference=np.full(m, s.min() - 1), max_similarity=s[1].copy())
    check(reference="pool_max")
    check(reference=s[2].copy(), img_groups=np.arange(n) % 3, txt_groups=np.arange(m) % 5)


@pytest.mark.exhaustive(2)
@each_case
def test_ranks_among_ties(gpu: Gpu, adversary: Case, similarity: str) -> None:
    n, m, dim = 9, 21, 70
    x, t, s, norms = similarities(adversary, n, m, dim, similarity)
    rules: dict[str, Any]
    for k in (1, 2, n // 2):
        rules = {"reference": np.full(m, s.min() - 1)}
        if k == 2:
            rules = {"reference": s[0].copy(), "max_similarity": s[1].copy()}
        counts = score(gpu, x, t, similarity=similarity, weight="count", top_k_images=k, **rules)
        assert_score(counts, s, norms, 0.0, label=(k, [*rules]), weight="count", top_k_images=k, **rules)
    owner = np.arange(m) % n
    for rules in ({"kind": "hardest"}, {"kind": "topk", "k": 5}, {"kind": "positive"}):
        got = hnscore.reference_similarity(gpu.put(x), gpu.put(t), owner=owner, similarity=similarity, **rules)
        s_own, others = s[owner, np.arange(m)], np.sort(np.where(np.arange(n)[:, None] == owner, -np.inf, s), axis=0)
        want = s_own if rules["kind"] == "positive" else others[-rules.get("k", 1)]
        np.testing.assert_array_equal(gpu.get(got), want, err_msg=str(rules))


def test_magnitudes_and_strides(gpu: Gpu) -> None:
    """Rows of any length under dot, read backwards, in float64, some of them beyond what the tiles can hold."""
    rng = RNG(3)
    x, t = rng.standard_normal((40, 12)), rng.standard_normal((50, 12))
    x *= 10.0 ** rng.integers(-140, 140, (40, 1))
    t *= 10.0 ** rng.integers(-140, 140, (50, 1))
    s = ref.similarity_matrix(x[::-1, ::-1], t[:, ::-1], "dot")
    back, all_rows = slice(None, None, -1), slice(None)
    images, texts = gpu.view(gpu.put(x), back, back), gpu.view(gpu.put(t), all_rows, back)
    for row in (0, 20):
        for tau in (s[row].copy(), np.nextafter(s[row], np.inf)):
            for method in ("dense", "cascade"):
                got = hnscore.score(
                    images, texts, 0.0, reference=gpu.put(tau), weight="count", method=method, similarity="dot"
                )
                np.testing.assert_array_equal(gpu.get(got), (s > tau).sum(axis=1))
    # cosines of the same rows
    s = ref.similarity_matrix(x, t)
    for method in ("dense", "cascade"):
        counts = score(gpu, x, t, reference=s[7].copy(), weight="count", method=method)
        np.testing.assert_array_equal(counts, (s > s[7]).sum(axis=1))


# ---- What they weigh -------------------------------------------------------------------------------------------------


def similar(rng: np.random.Generator, n: int, dim: int, cosine: float) -> Embeddings:
    common = rng.standard_normal(dim)
    x = cosine * common + np.sqrt(1 - cosine**2) * rng.standard_normal((n, dim))
    return x.astype(np.float32), common[None].astype(np.float32)


@pytest.mark.parametrize("dim", [16, 32, 64, 512, 2048])
def test_one_similarity_is_within_4_units(gpu: Gpu, dim: int) -> None:
    """No average over many pairs: the largest error of any, also where all products are alike."""
    rng = RNG(4)
    pairs = [similar(rng, 512 if dim < 512 else 128, dim, cosine) for cosine in (0.96, 0.999)]
    pairs += [
        (np.full((1, dim), a, np.float32), np.full((1, dim), b, np.float32)) for a, b in rng.uniform(1, 2, (9, 2))
    ]
    for x, t in pairs:
        xd, td = x.astype(np.float64), t.astype(np.float64)
        s = (xd @ td.T)[:, 0]
        norms = np.linalg.norm(xd, axis=1) * np.linalg.norm(td)
        for similarity, want, scale in (("dot", s, norms), ("cosine", s / norms, 1.0)):
            got = score(gpu, x, t, reference=np.zeros(1), weight="similarity", similarity=similarity, method="dense")
            assert np.all(np.abs(got - want) <= 4 * U * scale + U * np.abs(want))


def test_thresholds_are_not_rounded(gpu: Gpu) -> None:
    """A gap is as fine as float32, though neither tau nor a norm is a float32."""
    x = np.array([[1.5, 0], [1.25, 0]], np.float32)
    gap = score(
        gpu, x, np.eye(1, 2, dtype=np.float32), reference=np.array([1 + 2.0**-25]), similarity="dot", method="dense"
    )
    np.testing.assert_array_equal(gap, [0.5 - 2.0**-25, np.float32(0.25 - 2.0**-25)])
    for length in range(3, 30):  # of norm sqrt(length)
        x = np.zeros((1, 32), np.float32)
        x[:, :length] = 1
        for tau in (0.999, 0.9991):
            gap = score(gpu, x, x, reference=np.array([tau]), method="dense")
            # The gap is rounded twice, norms that it is divided by once or twice, the weight twice.
            np.testing.assert_allclose(gap, 1 - tau, rtol=8 * U)


def test_weights_beyond_float32_in_row_units(gpu: Gpu) -> None:
    """Sums are kept in units of the row: m_i gap, whose square may be too large where that of the gap is not."""
    x, t = 2.0**-29 * np.array([[1, 1, 0, 0.5]]), 2.0**29 * np.array([[1, 1, 0, 0.5]])
    for tau in (-(2.0**20), -(2.0**40), -(2.0**59)):
        for method in ("dense", "cascade"):
            rules: dict[str, Any] = {"reference": np.array([tau]), "weight": "squared_hinge"}
            got = score(gpu, x, t, similarity="dot", method=method, **rules)
            np.testing.assert_array_equal(got, ref.score(x, t, 0.0, similarity="dot", **rules))


@pytest.mark.parametrize("precision", ["exact", "fp32", "bf16", "fp16"])
def test_thresholds_far_from_any_similarity(gpu: Gpu, precision: str) -> None:
    x = np.eye(2, 4, dtype=np.float32)
    for tau in 10.0 ** np.arange(0, 32, 4):
        for similarity in ("cosine", "dot"):
            for sign, expected in ((-1, 2), (1, 0)):
                rules: dict[str, Any] = {"reference": np.full(2, sign * 3 * tau), "similarity": similarity}
                counts = score(gpu, x, x, weight="count", precision=precision, **rules)
                np.testing.assert_array_equal(counts, [expected, expected])
    # A difference beyond float64 is a threshold, too.
    for r, expected in ((1e308, 0), (-1e308, 2)):
        counts = score(
            gpu, x, x, np.copysign(1.5e308, -r), reference=np.full(2, r), weight="count", precision=precision
        )
        np.testing.assert_array_equal(counts, [expected, expected])


# ---- The k largest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 16, 70])
def test_the_k_largest(gpu: Gpu, k: int) -> None:
    """Of few that qualify, of ties, of more than a warp has lanes."""
    rng = RNG(5)
    few = rng.standard_normal((9, 20)).astype(np.float32)
    x, t = few[rng.integers(0, 9, 20)], np.concatenate([few[rng.integers(0, 9, 250)], rng.standard_normal((50, 20))])
    t = t.astype(np.float32)
    s = ref.similarity_matrix(x, t)
    weights = ("hinge", "similarity", "hinge", "similarity")
    for tau, weight in zip((np.full(300, -1.0), np.full(300, 0.3), s[0].copy(), s.max(axis=0)), weights, strict=True):
        rules: dict[str, Any] = {"reference": tau, "weight": weight, "aggregate": "topk", "k": k}
        want = ref.score_matrix(s, 0.0, **rules)  # all is decided: float64 sums, rounded once
        np.testing.assert_allclose(score(gpu, x, t, **rules), want, rtol=2.0**-23)
    similarity, indices = hnscore.knn_graph(gpu.put(x), k, against=gpu.put(t))
    order = np.argsort(-s, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(gpu.get(indices), order)
    np.testing.assert_array_equal(gpu.get(similarity), np.take_along_axis(s, order, 1))


# ---- Work that is split ----------------------------------------------------------------------------------------------


def mixed(n: int, m: int) -> Embeddings:
    """Integers with many ties, times powers of two; the second half of the columns takes back what the first adds.

    What is left of a sum is the rounding of its partial sums: each order of addition has its own.
    """
    rng = RNG(6)
    x, t = rng.integers(-3, 4, (n, 4)), rng.integers(-3, 4, (m, 4))
    x[:, 0] = t[:, 0] = 1
    t[m - m // 2 :] = -t[: m // 2]
    sizes = 2.0 ** rng.integers(-25, 26, (m, 1))
    sizes[m - m // 2 :] = sizes[: m // 2]
    return x.astype(np.float32), (t * sizes).astype(np.float32)


ALL_COUNT = -(2.0**40)


def in_chunks(gpu: Gpu, x: Array, size: int, scorer: hnscore.Scorer) -> Array:
    images = gpu.put(x)
    parts = [gpu.view(images, slice(i, i + size)) for i in range(0, len(x), size)]
    return np.concatenate([gpu.get(scorer.score(part)) for part in parts])


@pytest.mark.parametrize("method", ["dense", "cascade"])
def test_the_same_bits_in_any_parts(gpu: Gpu, method: str) -> None:
    x, t = mixed(40, 600)
    s = ref.similarity_matrix(x, t, "dot")
    for weight, tau in (("count", np.quantile(s, 0.4, axis=0)), ("similarity", np.full(600, ALL_COUNT))):
        rules: dict[str, Any] = {"reference": gpu.put(tau), "weight": weight, "similarity": "dot", "method": method}
        scorer = hnscore.Scorer(gpu.put(t), 0.0, **rules)
        whole = in_chunks(gpu, x, 40, scorer)
        if weight == "count":
            np.testing.assert_array_equal(whole, (s > tau).sum(axis=1))
        for seed, size in enumerate((7, 33)):
            gpu.backend.seed(seed)
            np.testing.assert_array_equal(in_chunks(gpu, x, size, scorer), whole)


@pytest.mark.parametrize("rules", [{"weight": "count"}, {"method": "dense"}, {"method": "cascade"}], ids=str)
def test_chunks_of_columns(gpu: Gpu, rules: dict[str, Any]) -> None:
    """In one item, or in an item each where there are processors for them."""
    m = CHUNK + 300
    x, t = mixed(3, m)
    s = ref.similarity_matrix(x, t, "dot")
    rules = {"reference": np.full(m, ALL_COUNT), "weight": "similarity", "similarity": "dot", **rules}
    if rules["weight"] == "count":
        rules["reference"] = np.quantile(s, 0.4, axis=0)
    sums = []
    for processors in (1, 132):
        gpu.backend.set_capability(*gpu.backend.device(0).capability, processors)
        sums.append(score(gpu, x, t, **rules))
    np.testing.assert_array_equal(sums[0], sums[1])
    if rules["weight"] == "count":
        np.testing.assert_array_equal(sums[0], (s > rules["reference"]).sum(axis=1))


def test_largest_of_several_chunks(gpu: Gpu) -> None:
    """Ties across chunks, and lists that are merged in the end."""
    x, t = mixed(3, CHUNK + 300)
    t[CHUNK::30] = 2 * x[np.arange(10) % 3]
    s = ref.similarity_matrix(x, t)
    for processors in (1, 132):
        gpu.backend.set_capability(*gpu.backend.device(0).capability, processors)
        _, indices = hnscore.knn_graph(gpu.put(x), 40, against=gpu.put(t))
        np.testing.assert_array_equal(gpu.get(indices), np.argsort(-s, axis=1, kind="stable")[:, :40])


@pytest.fixture
def small_slabs(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of rows at a time, and 8192 columns of a pool."""
    monkeypatch.setattr(gpu.backend, "Context", partial(gpu.backend.Context, slab_bytes=1))


def test_slabs_of_rows(gpu: Gpu, small_slabs: None) -> None:
    rng = RNG(7)
    x, t = rng.standard_normal((300, 8)), rng.standard_normal((30, 8))
    x[150:] = x[:150]
    s, norms = ref.similarity_matrix(x, t), norm_products(x, t, "cosine")
    limits = {"max_similarity": 0.9, "img_groups": np.arange(300) % 7, "txt_groups": np.arange(30) % 7}
    rules: dict[str, Any]
    for rules in ({}, {"weight": "count"}, {"aggregate": "topk", "k": 3}, {"top_k_images": 155, "weight": "count"}):
        for method, more in (("dense", limits), ("cascade", {})):
            rules = {"reference": s[280].copy(), "weight": "hinge", **rules, **more}
            scores = score(gpu, x, t, method=method, **rules)
            assert_score(scores, s, norms, 0.0, label=(rules, method), **rules)


def test_slabs_of_a_pool(gpu: Gpu, small_slabs: None) -> None:
    """The best of one slab tie with those of another."""
    t, x = mixed(3, CHUNK + 300)
    x = np.sign(x)
    s = ref.similarity_matrix(x, t)
    tied = int((s[:, 0] == s[:, 0].max()).sum())
    for k in (1, tied - 1, tied + 1):
        rules: dict[str, Any] = {"reference": np.full(3, -2.0), "weight": "count", "top_k_images": k}
        np.testing.assert_array_equal(score(gpu, x, t, **rules), ref.score_matrix(s, 0.0, **rules))


def test_slabs_of_columns(gpu: Gpu, small_slabs: None) -> None:
    """A call packs the texts slab by slab, a Scorer all of them: the scores are the same bits."""
    m = 2 * CHUNK + 300
    x, t = mixed(5, m)
    t[CHUNK :: CHUNK // 3] = 2 * x[np.arange(4)]  # ties across slabs
    limit = np.where(np.arange(m) % 5, np.inf, 1.0)
    labels = {"img_groups": np.arange(5) % 2, "txt_groups": np.arange(m) % 3}
    s = ref.similarity_matrix(x, t, "dot")
    tau = np.quantile(s, 0.99, axis=0)
    rules: dict[str, Any]
    for rules in (
        {"weight": "count"},
        {"weight": "count", "max_similarity": limit},
        {"weight": "count", "method": "auto"},
        {"weight": "similarity", "method": "dense"},
        {"weight": "similarity", "method": "cascade", "max_similarity": limit},
        {"weight": "similarity", "precision": "bf16"},
        {"weight": "hinge", "aggregate": "topk", "k": 7},
    ):
        rules = {"reference": tau, "similarity": "dot", **rules}
        one_by_one = score(gpu, x, t, **rules, **labels)
        put = {name: gpu.put(rule) if isinstance(rule, np.ndarray) else rule for name, rule in rules.items()}
        scorer = hnscore.Scorer(gpu.put(t), 0.0, txt_groups=gpu.put(labels["txt_groups"]), **put)
        kept = gpu.get(scorer.score(gpu.put(x), img_groups=gpu.put(labels["img_groups"])))
        np.testing.assert_array_equal(one_by_one, kept, err_msg=str([*rules.items()][2:]))
        if rules["weight"] == "count":
            rules.pop("similarity"), rules.pop("method", None)
            np.testing.assert_array_equal(one_by_one, ref.score_matrix(s, 0.0, **rules, **labels))
    counts = score(gpu, x, t, reference=tau, similarity="dot", weight="count", top_k_images=2)
    np.testing.assert_array_equal(counts, ref.score_matrix(s, 0.0, reference=tau, weight="count", top_k_images=2))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("weight", ["count", "hinge", "squared_hinge", "similarity"])
def test_rows_that_need_no_rounding(gpu: Gpu, precision: str, weight: str) -> None:
    """Of each operand the kernels of sums, and the screen that ranks need: small integers have float64 scores."""
    x, t = (RNG(15).integers(-4, 5, (n, 72)).astype(np.float32) for n in (300, 90))
    s = ref.similarity_matrix(x, t, "dot")
    tau = np.quantile(s, 0.9, axis=0).round() + 0.5
    for ranks in ({}, {"top_k_images": 20}, {"top_k_images": 40, "skip_top_images": 3}):
        rules: dict[str, Any] = {"reference": tau, "weight": weight, **ranks}
        want = ref.score_matrix(s, 0.0, **rules)
        assert (want != 0).sum() > 100
        got = score(gpu, x, t, similarity="dot", precision=precision, **rules)
        np.testing.assert_array_equal(got, want, err_msg=str(ranks))


@pytest.mark.parametrize("method", ["dense", "cascade"])
def test_slabs_of_columns_that_are_read_in_place(gpu: Gpu, small_slabs: None, method: str) -> None:
    """Under cosine each has a norm of its own: thresholds next to similarities, in every slab."""
    m = CHUNK + 300
    rng = RNG(14)
    x, t = rng.standard_normal((5, 4)).astype(np.float32), rng.standard_normal((m, 4)).astype(np.float32)
    t *= 2.0 ** rng.integers(-3, 4, (m, 1)).astype(np.float32)
    s = ref.similarity_matrix(x, t)
    tau = np.where(np.arange(m) % 2, s[1], np.nextafter(s[1], -np.inf))
    for weight in ("count", "squared_hinge"):
        rules: dict[str, Any] = {"reference": tau, "weight": weight}
        want = ref.score_matrix(s, 0.0, **rules)
        got = score(gpu, x, t, method=method, **rules)
        if weight == "count":
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, rtol=2.0**-18)


def test_a_bad_row_of_another_slab_spoils_all_scores(gpu: Gpu, small_slabs: None) -> None:
    x, t = mixed(5, CHUNK + 300)
    t[CHUNK + 7, 1] = np.nan
    assert np.isnan(score(gpu, x, t, reference=np.zeros(len(t)))).all()
    assert gpu.backend.bad_rows(0) == [(1, CHUNK + 7, 1)]


@pytest.fixture
def tune(gpu: Gpu) -> Iterator[Callable[..., None]]:
    """What a measurement may choose."""
    default = gpu.backend.tuning()
    yield lambda **choices: gpu.backend.set_tuning(**default | choices)
    gpu.backend.set_tuning(**default)


@pytest.mark.parametrize("dim", [40, 200, 520])
def test_tuning_changes_no_bit(gpu: Gpu, tune: Callable[..., None], dim: int) -> None:
    rng = RNG(10)
    x, t = rng.standard_normal((2, 300, dim)).astype(np.float32)
    rules: dict[str, Any] = {"reference": np.full(300, 1.5 / np.sqrt(dim)), "precision": "fp16", "weight": "hinge"}
    want = score(gpu, x, t, **rules)
    assert (want > 0).any()
    choices: dict[str, Any]
    for choices in ({"resident_steps": 0}, {"most_stages": 2}, {"apart": "lead"}, {"apart": "ordered"}):
        tune(**choices)
        np.testing.assert_array_equal(score(gpu, x, t, **rules), want, err_msg=str(choices))


def test_tuning_that_cannot_be(gpu: Gpu, tune: Callable[..., None]) -> None:
    for choices in ({"resident_steps": 9}, {"most_stages": 1}, {"few_share": 0}, {"apart": "far"}):
        with pytest.raises(ValueError, match=r"must be 0 to 8|is unknown to the core"):
            tune(**choices)


def test_rows_that_are_picked(gpu: Gpu, small_slabs: None) -> None:
    """A minibatch's texts, among which are duplicates of each other."""
    rng = RNG(8)
    x, t = rng.standard_normal((150, 8)).astype(np.float32), rng.standard_normal((90, 8)).astype(np.float32)
    t[::2] = x[:45]
    s, norms = ref.similarity_matrix(x, t), norm_products(x, t, "cosine")
    rules: dict[str, Any]
    for rules in ({"reference": s[3].copy()}, {"reference": "pool_max"}, {"reference": s[3].copy(), "top_k_images": 4}):
        for weight in ("count", "hinge"):
            rules = {"minibatch": 40, "random_state": 1, "weight": weight, **rules}
            assert_score(score(gpu, x, t, **rules), s, norms, 0.0, label=rules, **rules)


# ---- Bad rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_rows_spoil_nothing_else(gpu: Gpu, dtype: str, value: float) -> None:
    """Also where the tiles read the caller's memory, NaN included."""
    rng = RNG(9)
    x, t = rng.standard_normal((70, 64)).astype(dtype), rng.standard_normal((40, 64)).astype(dtype)
    bad = x.copy()
    bad[5, 3] = bad[68, 0] = value
    good = np.isfinite(bad).all(axis=1)
    s = ref.similarity_matrix(x, t)
    rules: dict[str, Any]
    for rules in ({"weight": "count"}, {"aggregate": "topk", "k": 3}, {"weight": "exp", "temperature": 1.0}):
        for method in ("dense", "cascade"):
            want = score(gpu, x, t, reference=s[6].copy(), method=method, **rules)
            got = score(gpu, bad, t, reference=s[6].copy(), method=method, **rules)
            assert gpu.backend.bad_rows(0) == [(0, 5, 1)]
            np.testing.assert_array_equal(got[good], want[good])
            np.testing.assert_array_equal(got[~good], -1 if got.dtype == np.int64 else np.nan)
    # In a pool they are never the best.
    got = hnscore.reference_similarity(gpu.put(bad), gpu.put(t), owner=np.full(40, 68), kind="hardest")
    gpu.backend.bad_rows(0)
    np.testing.assert_array_equal(gpu.get(got), s[good].max(axis=0))


def test_reports_of_several_calls(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bad row of all of them, told once; what comes between takes nothing away."""
    monkeypatch.setattr(reports, "raise_found", lambda *args, **options: None)  # nobody asks between the calls
    x, t = RNG(11).standard_normal((2, 40, 8))
    bad = {row: x.copy() for row in (30, 5, 12)}
    for row, rows in bad.items():
        rows[row, 2] = np.inf
        score(gpu, rows, t, reference=np.zeros(40))
        score(gpu, x, t, reference=np.zeros(40))
        gpu.backend.publish(0, 0)
    assert gpu.backend.bad_rows(0) == [(0, 5, 1)]
    assert gpu.backend.bad_rows(0) == []
    for _ in range(40):  # more calls than there are slots
        score(gpu, bad[12], t, reference=np.zeros(40))
    assert gpu.backend.bad_rows(0) == [(0, 12, 1)]
    gpu.backend.publish(0, 0)
    assert gpu.backend.bad_rows(0) == []
