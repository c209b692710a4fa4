"""What must hold for any input: symmetries, monotonicity, and the same bits for any threads, chunks and array kinds."""

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tolerances import U

import hnscore
from hnscore import _core
from hnscore import reference as ref

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Case = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]

WEIGHTS: dict[str, dict[str, Any]] = {name: {"temperature": 0.1} if name == "exp" else {} for name in ref.WEIGHTS}
AGGREGATES: dict[str, dict[str, Any]] = {name: {"k": 3} if name == "topk" else {} for name in ref.AGGREGATES}
RECIPES = [
    {"weight": w, "aggregate": a, **WEIGHTS[w], **AGGREGATES[a]} for w, a in product(ref.WEIGHTS, ref.AGGREGATES)
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Images, texts and references; small integers among the values, so that ties are frequent."""
    n, m, dim = draw(st.integers(1, 20)), draw(st.integers(1, 40)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.booleans()):
        x, t = rng.integers(-2, 3, (n, dim)), rng.integers(-2, 3, (m, dim))
        x[~x.any(axis=1), 0] = t[~t.any(axis=1), 0] = 1
    else:
        x, t = rng.standard_normal((n, dim)), rng.standard_normal((m, dim))
    return x.astype(np.float32), t.astype(np.float32), rng.choice([-0.5, 0.0, 0.25, 0.5, 0.9, 1.0], m)


margins = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])


@given(cases(), margins)
def test_counts_and_references_are_those_of_the_reference(case: Case, margin: float) -> None:
    x, t, r = case
    for reference in ("pool_max", r):
        got = hnscore.score(x, t, margin, reference=reference, weight="count")
        np.testing.assert_array_equal(got, ref.score(x, t, margin, reference=reference, weight="count"))
    owner = np.arange(len(t)) % len(x)
    kinds: list[dict[str, Any]] = [{"kind": "positive"}]
    if len(x) > 1:
        kinds += [{"kind": "hardest"}, {"kind": "topk", "k": len(x) - 1}, {"kind": "minibatch", "batch_size": 2}]
    for kind in kinds:
        got = hnscore.reference_similarity(x, t, owner=owner, **kind)
        want = ref.reference_similarity(x, t, owner=owner, **kind)
        # The mini-batch is a mean of at most 19 cosines, added up in float64 in some order.
        np.testing.assert_allclose(got, want, rtol=0, atol=64 * 2.0**-53 if kind["kind"] == "minibatch" else 0)


@given(cases(), margins, st.integers(0, 2**32))
def test_order_does_not_matter(case: Case, margin: float, seed: int) -> None:
    x, t, r = case
    rng = np.random.default_rng(seed)
    images, texts = rng.permutation(len(x)), rng.permutation(len(t))
    for recipe in RECIPES:
        if recipe.get("k", 1) > len(t):
            continue
        scores = hnscore.score(x, t, margin, reference=r, **recipe)
        np.testing.assert_array_equal(hnscore.score(x[images], t, margin, reference=r, **recipe), scores[images])
    counts = hnscore.score(x, t, margin, reference=r, weight="count")
    np.testing.assert_array_equal(hnscore.score(x, t[texts], margin, reference=r[texts], weight="count"), counts)


@given(cases(), margins, st.integers(0, 2**32))
def test_powers_of_two_do_not_change_cosines(case: Case, margin: float, seed: int) -> None:
    x, t, r = case
    rng = np.random.default_rng(seed)
    scale_x, scale_t = np.exp2(rng.integers(-60, 60, (len(x), 1))), np.exp2(rng.integers(-60, 60, (len(t), 1)))
    scaled_x, scaled_t = x * scale_x.astype(np.float32), t * scale_t.astype(np.float32)
    for reference in ("pool_max", r):
        counts = hnscore.score(x, t, margin, reference=reference, weight="count")
        got = hnscore.score(scaled_x, scaled_t, margin, reference=reference, weight="count")
        np.testing.assert_array_equal(got, counts)


@given(cases())
def test_wider_margins_count_more(case: Case) -> None:
    x, t, r = case
    for recipe in RECIPES:
        if recipe["weight"] == "similarity" or recipe.get("k", 1) > len(t):
            continue  # a similarity may be negative
        scores = [hnscore.score(x, t, margin, reference=r, **recipe) for margin in (-3.0, 0.0, 0.1, 0.25, 0.5, 3.0)]
        # No cosine is above r + 3, since r >= -0.5, and none is below r - 3.
        np.testing.assert_array_equal(scores[0], 0)
        if recipe["weight"] == "count":
            full = {"sum": len(t), "mean": 1, "max": 1, "topk": min(3, len(t))}[recipe["aggregate"]]
            np.testing.assert_array_equal(scores[-1], full)
        for less, more in pairwise(scores):
            # Both are off by at most 4 u a pair times the slope: 1, twice a gap of at most 4, or 10 weights (exp).
            slack = 8 * U * (10 * np.abs(more) + 8 * len(t)) + U * np.abs(more)
            assert np.all(less <= more + (0 if recipe["weight"] == "count" else slack)), recipe


@given(cases(), margins)
def test_roles_can_be_swapped(case: Case, margin: float) -> None:
    """Texts against images: the transposed similarities."""
    x, t, _ = case
    r = np.linspace(-0.5, 1, len(x))
    got = hnscore.score(t, x, margin, reference=r, weight="count")
    s = ref.similarity_matrix(x, t)
    np.testing.assert_array_equal(got, ((s - (r - margin)[:, None]) > 0).sum(axis=0))


@given(cases(), margins)
def test_aggregates_agree_with_each_other(case: Case, margin: float) -> None:
    x, t, r = case
    for weight, extra in WEIGHTS.items():
        if weight == "similarity":
            continue  # may be negative
        rules = {"reference": r, "weight": weight, **extra}
        total = hnscore.score(x, t, margin, **rules).astype(np.float64)
        mean = hnscore.score(x, t, margin, aggregate="mean", **rules).astype(np.float64)
        largest = hnscore.score(x, t, margin, aggregate="max", **rules).astype(np.float64)
        top = hnscore.score(x, t, margin, aggregate="topk", k=min(3, len(t)), **rules).astype(np.float64)
        everything = hnscore.score(x, t, margin, aggregate="topk", k=len(t), **rules).astype(np.float64)
        # As above, with gaps of at most 3.
        slack = 4 * U * (10 * total + 6 * len(t)) + U * total
        np.testing.assert_allclose(mean * len(t), total, rtol=3 * U)
        assert np.all(largest <= top + slack)
        assert np.all(top <= everything + slack)
        assert np.all(np.abs(everything - total) <= 2 * slack)


@given(cases(), st.integers(0, 2**32))
def test_minibatches_can_be_repeated(case: Case, seed: int) -> None:
    x, t, r = case
    rules: dict[str, Any] = {"reference": r, "minibatch": (len(t) + 1) // 2, "random_state": seed}
    first, second = (hnscore.score(x, t, 0.25, **rules) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, hnscore.Scorer(t, 0.25, **rules).score(x))
    counts = hnscore.score(x, t, 0.25, weight="count", **rules)
    np.testing.assert_array_equal(counts, ref.score(x, t, 0.25, weight="count", **rules))


# ---- Same bits -------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
# Several blocks of rows and of columns on every target, and a remainder of each.
N_IMG, N_TXT, DIM = 1501, 1203, 75
IMAGES = RNG.standard_normal((N_IMG, DIM)).astype(np.float32)
TEXTS = RNG.standard_normal((N_TXT, DIM)).astype(np.float32)
OWN = np.quantile(IMAGES[:64] @ TEXTS.T / np.sqrt(DIM) / np.linalg.norm(TEXTS, axis=1), 0.9, axis=0) + 0.1
PRECISIONS = _core.PRECISIONS


def assert_same_bits(a: NDArray[Any], b: NDArray[Any], label: object) -> None:
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes(), label


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_bits_for_any_threads_and_chunks(target: str, precision: str) -> None:
    rng = np.random.default_rng(1)
    groups = {"img_groups": rng.integers(0, 9, N_IMG), "txt_groups": rng.integers(0, 9, N_TXT)}
    for turn, recipe in enumerate(RECIPES):
        grouped = groups if turn % 2 else {}
        rules = {"reference": OWN, "precision": precision, **recipe}
        whole = hnscore.score(IMAGES, TEXTS, 0.1, n_threads=1, **rules, **grouped)
        for n_threads in (2, 3, 7):
            again = hnscore.score(IMAGES, TEXTS, 0.1, n_threads=n_threads, **rules, **grouped)
            assert_same_bits(whole, again, (recipe, n_threads))
        txt_groups = {"txt_groups": grouped["txt_groups"]} if grouped else {}
        scorer = hnscore.Scorer(TEXTS, 0.1, **rules, **txt_groups)
        cuts = np.sort(rng.integers(0, N_IMG, 5))
        parts = [
            scorer.score(IMAGES[chunk], **({"img_groups": grouped["img_groups"][chunk]} if grouped else {}))
            for chunk in np.split(np.arange(N_IMG), [1, 2, 17, *np.maximum(cuts, 17)])
        ]
        assert_same_bits(whole, np.concatenate(parts), (recipe, cuts))


@pytest.mark.exhaustive(2)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_bits_for_pool_wide_rules(target: str, precision: str) -> None:
    for rules in (
        {"reference": "pool_max"},
        {"reference": "pool_max", "top_k_images": 7},
        {"reference": OWN, "top_k_images": 400, "weight": "count"},
    ):
        first, *others = (
            hnscore.score(IMAGES, TEXTS, 0.1, n_threads=n, precision=precision, **rules) for n in (1, 2, 3, 7)
        )
        for other in others:
            assert_same_bits(first, other, rules)


@pytest.mark.parametrize("kind", ["positive", "hardest", "topk", "minibatch"])
def test_same_bits_of_references(target: str, kind: str) -> None:
    rules: dict[str, Any] = {"kind": kind, "owner": np.arange(N_TXT) % 301}
    rules |= {"topk": {"k": 5}, "minibatch": {"batch_size": 32}}.get(kind, {})
    first, *others = (hnscore.reference_similarity(IMAGES[:301], TEXTS, n_threads=n, **rules) for n in (1, 2, 3, 7))
    for other in others:
        assert_same_bits(first, other, kind)


def test_counts_are_the_same_on_every_target(targets: tuple[str, ...]) -> None:
    counts = {}
    for name in targets:
        previous = _core.set_target(name)
        counts[name] = hnscore.score(IMAGES, TEXTS, 0.1, reference=OWN, weight="count")
        _core.set_target(previous)
    s = ref.decided_similarity(IMAGES, TEXTS, "cosine", OWN - 0.1)
    expected = ref.score_matrix(s, 0.1, reference=OWN, weight="count")
    for name, got in counts.items():
        np.testing.assert_array_equal(got, expected, err_msg=name)


def test_any_layout_gives_the_same_bits(target: str) -> None:
    x, t = IMAGES[:50], TEXTS[:70]
    expected = hnscore.score(x, t, 0.1, reference=OWN[:70])
    wide = np.zeros((100, 2 * DIM), np.float32)
    wide[::2, ::2] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(np.float32).reshape(x.shape)
    misaligned[:] = x
    layouts = {
        "strided": wide[::2, ::2],
        "reversed": x[::-1].copy()[::-1],
        "reversed columns": x[:, ::-1].copy()[:, ::-1],
        "transposed": np.asfortranarray(x),
        "big-endian": x.astype(">f4"),
        "misaligned": misaligned,
        "float64": x.astype(np.float64),
    }
    for name, layout in layouts.items():
        np.testing.assert_array_equal(layout, x)
        assert_same_bits(hnscore.score(layout, t, 0.1, reference=OWN[:70]), expected, name)
    as_texts = hnscore.score(t, x, 0.1, reference=np.full(50, 0.3))
    for name, layout in layouts.items():
        assert_same_bits(hnscore.score(t, layout, 0.1, reference=np.full(50, 0.3)), as_texts, name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_gives_the_same_bits(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x, t = (
        torch.from_numpy(IMAGES[:99]).to(getattr(torch, dtype)),
        torch.from_numpy(TEXTS[:77]).to(getattr(torch, dtype)),
    )
    numpy_dtype = getattr(ml_dtypes, dtype) if dtype == "bfloat16" else dtype
    x_numpy, t_numpy = (tensor.to(torch.float64).numpy().astype(numpy_dtype) for tensor in (x, t))
    for precision, recipe in product(PRECISIONS, RECIPES):
        rules = {"precision": precision, **recipe}
        got = hnscore.score(x, t, 0.1, reference=torch.from_numpy(OWN[:77]), **rules)
        assert isinstance(got, torch.Tensor)
        assert_same_bits(got.numpy(), hnscore.score(x_numpy, t_numpy, 0.1, reference=OWN[:77], **rules), rules)
