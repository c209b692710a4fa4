"""Pairs, mined negatives and near-duplicates of arrays on a GPU: the very arrays that the CPU gives.

On pretended GPUs (gpus.py), and on a real one where there is one; on each tile loop of the emulated one.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from gpus import PRETENDED, REAL, Gpu, a_gpu
from numpy.typing import NDArray
from test_gpu_api import IMG, LABELS, LIMITS, OWN, OWNER, STRINGS, TXT, R, on_gpu
from test_gpu_exact import LOOPS, Case, each_case, similarities

import hnscore
from hnscore import reference as ref
from hnscore.engine import lists
from hnscore.mining import duplicates as duplicates_module
from hnscore.mining import on_gpu as on_gpu_module

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Array = NDArray[Any]


@pytest.fixture(params=[*PRETENDED, *REAL])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    yield from a_gpu(request.param, monkeypatch)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    for gpu in a_gpu("emulated", monkeypatch):
        gpu.backend.set_capability(*LOOPS[request.param], 4)
        yield gpu
        gpu.backend.set_capability(9, 0, 4)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few pairs and rows at a time that every loop turns often."""
    monkeypatch.setattr(lists, "_MOST", 50)
    monkeypatch.setattr(lists, "_FIRST", 16)
    monkeypatch.setattr(duplicates_module, "BLOCK", 16)
    monkeypatch.setattr(duplicates_module, "_SMALL_BLOCK", 8)
    monkeypatch.setattr(duplicates_module, "_CHUNK_BYTES", 4 * 12 * 9)
    monkeypatch.setattr(on_gpu_module, "_LIST_BYTES", 16 * 3 * 5)


def assert_same(gpu: Gpu, got: Any, want: Any) -> None:
    for a, b in zip(got, want, strict=True):
        host = gpu.get(a)
        assert host.dtype == b.dtype
        np.testing.assert_array_equal(host, b)


RULES: list[dict[str, Any]] = [
    {},
    {"closed": True, "reference": R},
    {"reference": "paired", "by": "text"},
    {"reference": OWN, "order": "similarity"},
    *({"reference": R, name: values[0]} for name, values in ref.MARGINS.items()),
    {"top_k_images": 4, "max_similarity": 0.6, "dtype": "float64"},
    {"top_k_images": 3, **LABELS},
    {"similarity": "dot", "reference": R, "max_similarity": LIMITS},
    {"owner": OWNER},
    {"owner": OWNER % 9, "paired_emb": OWN[:9], "method": "dense"},
    {"owner": OWNER, "skip_top_images": 2, "top_k_images": 6, "max_similarity": 0.6},
    {"img_groups": STRINGS[0], "txt_groups": STRINGS[1], "precision": "fp32"},
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.usefixtures("small_parts")
def test_pairs_under_every_rule(gpu: Gpu, rules: dict[str, Any]) -> None:
    img = IMG[:17] if isinstance(rules.get("reference"), str) else IMG
    cpu_rules = rules | {"precision": "exact"}
    want = hnscore.pairs(img, TXT, 0.4, **cpu_rules)
    assert len(want.indices) > 20
    for side in (rules, on_gpu(gpu, rules)):  # side arrays of the host, and on the device
        assert_same(gpu, hnscore.pairs(gpu.put(img), gpu.put(TXT), 0.4, **side), want)


@pytest.mark.parametrize("rules", [{"top_k_images": 11}, {"skip_top_images": 5}])
@pytest.mark.usefixtures("small_parts")
def test_ranks_among_copies_in_several_parts(gpu: Gpu, rules: dict[str, Any]) -> None:
    """Ties go to the lowest row, whichever part it is in."""
    img = np.concatenate([IMG[:3]] * 14)
    want = hnscore.pairs(img, TXT, 0.4, reference=R, **rules)
    assert len(want.indices) > 50
    assert_same(gpu, hnscore.pairs(gpu.put(img), gpu.put(TXT), 0.4, reference=gpu.put(R), **rules), want)


@pytest.mark.usefixtures("small_parts")
def test_pairs_one_part_after_the_other(gpu: Gpu) -> None:
    each = [hnscore.iter_pairs(put(IMG), put(TXT), 0.4) for put in (gpu.put, lambda x: x)]
    parts = 0
    for got, want in zip(*each, strict=True):
        parts += 1
        assert got[0] == want[0]
        for a, b in zip(got[1:], want[1:], strict=True):
            np.testing.assert_array_equal(a, b)
    assert parts > 2
    with pytest.raises(ValueError, match="max_pairs must be at least"):
        hnscore.pairs(gpu.put(IMG), gpu.put(TXT), 0.4, max_pairs=3)
    assert [tuple(gpu.get(x)) for x in hnscore.pairs(gpu.put(IMG[:0]), gpu.put(TXT), reference=gpu.put(R))] == [
        (0,), (), ()
    ]  # fmt: skip


def test_a_matrix_of_pairs(gpu: Gpu) -> None:
    pytest.importorskip("scipy")
    for entries in ("similarity", "distance"):
        got, want = (hnscore.pairs(put(IMG), put(TXT), 0.3, as_csr=entries) for put in (gpu.put, lambda x: x))
        np.testing.assert_array_equal(got.toarray(), want.toarray())


@pytest.mark.parametrize(
    "how",
    [
        {"margin": None},
        {"owner": OWNER, "margin": 0.1},
        {"owner": np.stack([OWNER, (OWNER + 5) % 40], axis=1), "margin": 0.05, "skip": 1},
        {"owner": [[int(i), 3] for i in OWNER], "margin": 0.0, "closed": False},
        {"reference": "pool_max", "margin": 0.2, "min_similarity": 0.1},
        {"reference": R, "relative_margin": 0.1, "max_similarity": LIMITS, "min_similarity": LIMITS - 0.5},
        {"reference": OWN, "margin": 0.1, "similarity": "dot", **LABELS},
        {"reference": "paired", "margin": 0.1, "img_groups": STRINGS[0][:17], "txt_groups": STRINGS[1]},
    ],
)
@pytest.mark.usefixtures("small_parts")
def test_mined_negatives(gpu: Gpu, how: dict[str, Any]) -> None:
    img = IMG[:17] if isinstance(how.get("reference"), str) else IMG
    for k in (1, 3, 40):
        want = hnscore.mine(img, TXT, k, **how)
        for side in (how, on_gpu(gpu, how)):
            assert_same(gpu, hnscore.mine(gpu.put(img), gpu.put(TXT), k, **side), want)


def test_negatives_at_random_are_drawn_on_the_cpu(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    how: dict[str, Any] = {"owner": OWNER, "margin": 0.1, "sampling": "random", "random_state": 0}
    with caplog.at_level("INFO", "hnscore"):
        got = hnscore.mine(gpu.put(IMG), gpu.put(TXT), 2, **how)
    assert "mine: computed on the CPU" in caplog.text
    assert_same(gpu, got, hnscore.mine(IMG, TXT, 2, **how))


COPIES = np.concatenate([IMG, IMG[::2] * np.float32(3), IMG[5:15] + np.float32(0.05)])


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.usefixtures("small_parts")
def test_near_rows(gpu: Gpu, similarity: str) -> None:
    least = 0.97 if similarity == "cosine" else 12.0
    scores = np.arange(len(COPIES)) % 7 + 0.5
    for keep in ("first", scores):
        on = gpu.put(keep) if isinstance(keep, np.ndarray) else keep
        want = hnscore.duplicates(COPIES, least, keep=keep, similarity=similarity)
        assert 10 < len(want.kept) < len(COPIES)
        assert_same(gpu, hnscore.duplicates(gpu.put(COPIES), least, keep=on, similarity=similarity), want)
    for order in ("index", "similarity"):
        want = hnscore.range_graph(COPIES, least, similarity=similarity, order=order)
        assert_same(gpu, hnscore.range_graph(gpu.put(COPIES), least, similarity=similarity, order=order), want)


def test_bad_rows_are_named_at_once(gpu: Gpu) -> None:
    for row, value in ((33, np.nan), (5, 0.0)):
        img, txt = IMG.copy(), TXT.copy()
        img[row] = txt[row % 17] = value
        bad = "NaN or Inf" if value else "zero"
        with pytest.raises(ValueError, match=rf"img_emb.* row {row}.*"):
            hnscore.pairs(gpu.put(img), gpu.put(TXT), reference=gpu.put(R))
        with pytest.raises(ValueError, match=rf"txt_emb.* row {row % 17}.*"):
            hnscore.pairs(gpu.put(IMG), gpu.put(txt), reference=gpu.put(R))
        with pytest.raises(ValueError, match=f"img_emb.*{bad}|{bad}.*img_emb"):
            hnscore.mine(gpu.put(img), gpu.put(TXT), 2, margin=None)
        with pytest.raises(ValueError, match=rf"emb.* row {row}"):
            hnscore.duplicates(gpu.put(img), 0.9)
        with pytest.raises(ValueError, match=rf"emb.* row {row}"):
            hnscore.range_graph(gpu.put(img), 0.9)
    hnscore.score(gpu.put(IMG), gpu.put(TXT))  # nothing is left to be told


@pytest.mark.exhaustive(2)
@each_case
def test_thresholds_next_to_similarities(loop: Gpu, adversary: Case, similarity: str) -> None:
    """Each threshold is the similarity of one pair, or its neighbour: lengths and similarities to the last bit."""
    n, m, dim = 9, 21, 70
    x, t, s, _ = similarities(adversary, n, m, dim, similarity)
    for row in (0, n - 1):
        for tau in (s[row].copy(), np.nextafter(s[row], np.inf), np.nextafter(s[row], -np.inf)):
            rules: dict[str, Any] = {"max_similarity": np.roll(tau, 1)} if row else {}
            got = hnscore.pairs(
                loop.put(x), loop.put(t), 0.0, reference=loop.put(tau), similarity=similarity, dtype="float64", **rules
            )
            counts = ref.counting(s, 0.0, reference=tau, **rules)[1]
            assert_same(loop, got, ref.lists(counts, s))


@pytest.mark.parametrize("slabs", ["one", "small"])
@pytest.mark.parametrize("n", [3, 150])
def test_more_columns_than_a_chunk(loop: Gpu, n: int, slabs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8,192 columns, slabs of columns, blocks of rows: each has a place of its own in a row's list."""
    if slabs == "small":
        monkeypatch.setattr(loop.backend, "Context", partial(loop.backend.Context, slab_bytes=1))
    rng = np.random.default_rng(n)
    x, t = rng.standard_normal((n, 8)).astype(np.float16), rng.standard_normal((20_000, 8)).astype(np.float16)
    reference = np.full(len(t), 1.0)
    want = hnscore.pairs(x, t, 0.2, reference=reference)
    assert len(want.indices) > 80 * n
    assert_same(loop, hnscore.pairs(loop.put(x), loop.put(t), 0.2, reference=loop.put(reference)), want)


def test_lengths_are_the_counts(loop: Gpu) -> None:
    """Under every precision that decides by similarities as they are."""
    for precision in ("exact", "fp32"):
        rules: dict[str, Any] = {"reference": loop.put(R), "precision": precision}
        offsets = loop.get(hnscore.pairs(loop.put(IMG), loop.put(TXT), 0.4, **rules).offsets)
        counts = loop.get(hnscore.score(loop.put(IMG), loop.put(TXT), 0.4, weight="count", **rules))
        np.testing.assert_array_equal(np.diff(offsets), counts)
    for precision in ("bf16", "fp16"):
        found = hnscore.pairs(loop.put(IMG), loop.put(TXT), 0.4, reference=loop.put(R), precision=precision)
        s = ref.similarity_matrix(IMG, TXT)
        images = np.repeat(np.arange(len(IMG)), np.diff(loop.get(found.offsets)))
        near = s[images, loop.get(found.indices)]
        np.testing.assert_allclose(loop.get(found.similarities), near, atol=2.0**-7)
        assert near.min() > R[0] - 0.4 - 2.0**-7
