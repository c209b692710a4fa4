"""The pairs themselves: `pairs`, `iter_pairs`, `mine`, `duplicates`, `range_graph` and `Pool`.

That they are those of reference.py is for the random calls of fuzz.py; here is what random calls of small arrays do not
reach: parts and blocks, limits of memory, kinds of arrays, threads, bad input.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import hnscore
from hnscore import reference as ref
from hnscore.engine import lists, pool
from hnscore.mining import duplicates as duplicates_module
from hnscore.mining import sampling

N, M, DIM = 700, 90, 24
RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((9, DIM))
IMG = (CENTRES[RNG.integers(0, 9, N)] + 0.7 * RNG.standard_normal((N, DIM))).astype(np.float32)
OWNER = RNG.choice(N, M, replace=False)
TXT = (IMG[OWNER] + 0.5 * RNG.standard_normal((M, DIM))).astype(np.float32)
S = ref.similarity_matrix(IMG, TXT)
COPIES = np.concatenate([IMG[:300], IMG[:200] * 2 + np.float32(1e-3), IMG[:100]])
OF_COPIES = ref.similarity_matrix(COPIES, COPIES)


def assert_same(a: Any, b: Any) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few pairs, rows and bytes at a time that every loop turns often."""
    monkeypatch.setattr(lists, "_MOST", 50)
    monkeypatch.setattr(lists, "_FIRST", 300)
    monkeypatch.setattr(pool, "_BLOCK_BYTES", 4 * DIM)
    monkeypatch.setattr(pool, "_LEAST_BLOCK", 64)
    monkeypatch.setattr(duplicates_module, "BLOCK", 96)
    monkeypatch.setattr(duplicates_module, "_SMALL_BLOCK", 32)
    monkeypatch.setattr(duplicates_module, "_CHUNK_BYTES", 4 * DIM * 50)
    monkeypatch.setattr(sampling, "_TEXTS", 16)


def results() -> list[Any]:
    groups = {"img_groups": np.arange(N) % 5, "txt_groups": np.arange(M) % 5}
    found = list(hnscore.iter_pairs(IMG, TXT, 0.3, owner=OWNER, top_k_images=60, skip_top_images=2, **groups))
    joined = [np.concatenate([part[k] for part in found]) for k in (2, 3)]
    joined.append(np.concatenate([np.diff(part[1]) for part in found]))
    assert [i for part in found for i in part[0]] == list(range(N))
    return [
        hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, order="similarity", by="text", **groups),
        joined,
        hnscore.mine(IMG, TXT, 6, owner=OWNER, margin=0.1, skip=1, **groups),
        hnscore.duplicates(COPIES, 0.999),
        hnscore.duplicates(COPIES, 0.95, keep=np.arange(len(COPIES)) % 7),
        hnscore.range_graph(COPIES, 0.95),
        hnscore.Pool(IMG).range_search(TXT, np.linspace(0.1, 0.9, M)),
    ]


RESULTS = results()


@pytest.mark.usefixtures("small_parts")
def test_same_bits_for_any_parts() -> None:
    for got, want in zip(results(), RESULTS, strict=True):
        assert_same(got, want)


def test_results_are_those_of_the_reference() -> None:
    for keep, got in (("first", RESULTS[3]), (np.arange(len(COPIES)) % 7, RESULTS[4])):
        order = None if isinstance(keep, str) else np.argsort(-keep, kind="stable")
        want = ref.duplicates(OF_COPIES, 0.999 if order is None else 0.95, order)
        np.testing.assert_array_equal(got.representatives, want)
        assert 50 < len(got.kept) < len(COPIES) - 200
    assert_same(RESULTS[5], _rounded(ref.lists((OF_COPIES >= 0.95) & ~np.eye(len(COPIES), dtype=bool), OF_COPIES)))
    counts, s = ref.pairs(
        IMG, TXT, 0.3, owner=OWNER, img_groups=np.arange(N) % 5, txt_groups=np.arange(M) % 5, top_k_images=60,
        skip_top_images=2,
    )  # fmt: skip
    offsets, indices, similarities = _rounded(ref.lists(counts, s))
    assert_same(RESULTS[1], (indices, similarities, np.diff(offsets)))


def _rounded(found: Any) -> Any:
    return found[0], found[1], found[2].astype(np.float32)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_same_bits_for_any_threads(n_threads: int) -> None:
    call: dict[str, Any] = {"owner": OWNER, "n_threads": n_threads, "method": "cascade"}
    assert_same(hnscore.pairs(IMG, TXT, 0.3, **call), hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, method="dense"))
    assert_same(hnscore.mine(IMG, TXT, 4, margin=0.1, **call), hnscore.mine(IMG, TXT, 4, margin=0.1, owner=OWNER))
    assert_same(hnscore.duplicates(COPIES, 0.99, n_threads=n_threads), hnscore.duplicates(COPIES, 0.99))


def test_rows_in_another_order() -> None:
    order = RNG.permutation(N)
    where = np.argsort(order)
    a = hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, as_csr=True)
    b = hnscore.pairs(IMG[order], TXT, 0.3, owner=where[OWNER], as_csr=True)
    assert (a[order] != b).nnz == 0
    similarities = [
        x[0] for x in (hnscore.mine(IMG, TXT, 5, owner=OWNER), hnscore.mine(IMG[order], TXT, 5, owner=where[OWNER]))
    ]
    np.testing.assert_array_equal(*similarities)


def test_many_copies_of_one_row() -> None:
    emb = np.ones((9000, 8), np.float32)
    emb[::3] += np.arange(3000, dtype=np.float32)[:, None] % 3 * np.eye(8, dtype=np.float32)[0] * 9
    found = hnscore.duplicates(emb, 0.999)
    np.testing.assert_array_equal(found.kept, [0, 3, 6])


def test_random_negatives_have_equal_chances() -> None:
    txt = np.repeat(TXT[:1], 4000, axis=0)
    for least in (0.2, 0.6):  # many are allowed, and few: drawn one by one, and from a list
        _, rows = hnscore.mine(IMG, txt, 3, min_similarity=least, max_similarity=0.8, sampling="random", random_state=0)
        allowed = np.flatnonzero((S[:, 0] >= least) & (S[:, 0] <= 0.8))
        counts = np.bincount(rows.ravel(), minlength=N)
        assert counts.sum() == counts[allowed].sum() == 12000
        expected = 12000 / len(allowed)
        # A sum of len(allowed) - 1 nearly independent squares of normals: 6 of its standard deviations.
        chi = ((counts[allowed] - expected) ** 2 / expected).sum()
        assert abs(chi - len(allowed)) < 6 * np.sqrt(2 * len(allowed))


def test_seed_of_random_negatives() -> None:
    call: dict[str, Any] = {"owner": OWNER, "margin": 0.1, "sampling": "random"}
    first, again, other = (hnscore.mine(IMG, TXT, 3, random_state=seed, **call)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_short_rows_are_padded_with_one_warning() -> None:
    with pytest.warns(UserWarning, match=r"90 of 90 texts have fewer than 701 allowed images") as told:
        s, rows = hnscore.mine(IMG, TXT, N + 1)
    assert len(told) == 1
    assert told[0].filename == __file__
    np.testing.assert_array_equal(np.sort(rows[:, :-1]), np.tile(np.arange(N), (M, 1)))
    assert (rows[:, -1] == -1).all()
    assert np.isneginf(s[:, -1]).all()
    with pytest.warns(UserWarning, match="fewer than 2"):
        assert (hnscore.mine(IMG, TXT, 2, max_similarity=-1.0)[1] == -1).all()


def test_kinds_of_arrays() -> None:
    img, txt = torch.from_numpy(IMG), torch.from_numpy(TXT)
    for got in (hnscore.pairs(img, txt, 0.3, owner=OWNER), hnscore.mine(img, txt, 3, owner=OWNER)):
        assert all(isinstance(x, torch.Tensor) for x in got)
    assert all(isinstance(x, torch.Tensor) for x in (*hnscore.duplicates(img, 0.9), *hnscore.range_graph(img, 0.9)))
    assert_same(hnscore.pairs(img, txt, 0.3, owner=OWNER), hnscore.pairs(IMG, TXT, 0.3, owner=OWNER))
    found = hnscore.Pool(img)
    assert all(isinstance(x, torch.Tensor) for x in (*found.search(txt, 2), *found.range_search(txt, 0.5)))


def test_pairs_by_precision() -> None:
    exact = hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, by="text")
    for precision, error in (("fp32", 2.0**-20), ("bf16", 2.0**-6)):
        found = hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, by="text", precision=precision)
        images, texts = found.indices, np.repeat(np.arange(M), np.diff(found.offsets))
        np.testing.assert_allclose(found.similarities, S[images, texts], atol=error)
        assert abs(len(found.indices) - len(exact.indices)) < 0.2 * len(exact.indices)


def test_matrices() -> None:
    counts, s = ref.pairs(IMG, TXT, 0.3, owner=OWNER)
    matrix = hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, as_csr=True, dtype="float64")
    np.testing.assert_array_equal(matrix.toarray(), np.where(counts, s, 0))
    by_text = hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, as_csr="distance", by="text", dtype="float64")
    np.testing.assert_array_equal(by_text.toarray().T, np.where(counts, 1 - s, 0))
    for row in range(M):
        assert np.all(np.diff(by_text.data[by_text.indptr[row] : by_text.indptr[row + 1]]) >= 0)
    graph = hnscore.range_graph(COPIES, 0.9, as_csr="distance")
    assert graph.nnz == ((OF_COPIES >= 0.9).sum() - len(COPIES))  # distances of 0 are there
    neighbours = hnscore.knn_graph(IMG, 5, as_csr="distance")
    np.testing.assert_array_equal(neighbours.indices.reshape(N, 5), hnscore.knn_graph(IMG, 5)[1])
    np.testing.assert_array_equal(neighbours.data.reshape(N, 5), 1 - hnscore.knn_graph(IMG, 5)[0])


def test_more_pairs_than_allowed() -> None:
    n = len(hnscore.pairs(IMG, TXT, 0.3, owner=OWNER).indices)
    assert len(hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, max_pairs=n).indices) == n
    with pytest.raises(ValueError, match=rf"max_pairs must be at least {n:,}, .* got {n - 1:,}; .*iter_pairs"):
        hnscore.pairs(IMG, TXT, 0.3, owner=OWNER, max_pairs=n - 1)
    edges = len(hnscore.range_graph(COPIES, 0.9).indices)
    with pytest.raises(ValueError, match=rf"max_pairs must be at least {edges:,}"):
        hnscore.range_graph(COPIES, 0.9, max_pairs=3)
    with pytest.raises(ValueError, match="max_pairs must be at least 63,000"):
        hnscore.Pool(IMG).range_search(TXT, -1.0, max_pairs=62999)


@pytest.mark.usefixtures("small_parts")
def test_more_pairs_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    n = len(RESULTS[0].indices)
    monkeypatch.setattr(lists, "free_bytes", lambda: 24 * 100)
    with pytest.raises(MemoryError, match=r"must fit into memory, got [0-9,]+ pairs"):
        hnscore.pairs(IMG, TXT, 0.3, owner=OWNER)
    monkeypatch.setattr(lists, "free_bytes", lambda: None)  # unknown
    assert len(hnscore.pairs(IMG, TXT, 0.3, owner=OWNER).indices) > n


def test_empty_sides() -> None:
    none = IMG[:0]
    assert [len(x) for x in hnscore.pairs(none, TXT, 0.3, reference=np.zeros(M))] == [1, 0, 0]
    assert list(hnscore.iter_pairs(none, TXT, 0.3, reference=np.zeros(M))) == []
    assert [len(x) for x in hnscore.pairs(none, TXT, reference=np.zeros(M), by="text")] == [M + 1, 0, 0]
    assert [len(x) for x in hnscore.duplicates(none, 0.5)] == [0, 0]
    assert [len(x) for x in hnscore.range_graph(none, 0.5)] == [1, 0, 0]
    found = hnscore.Pool(IMG)
    assert [x.shape for x in found.search(TXT[:0], 3)] == [(0, 3), (0, 3)]
    assert [len(x) for x in found.range_search(TXT[:0], 0.5)] == [1, 0, 0]


def test_pool_from_many_threads() -> None:
    found, answers = hnscore.Pool(IMG), {}

    def ask(part: int) -> None:
        answers[part] = found.search(TXT[part * 9 : part * 9 + 9], 4)[1]

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    want = hnscore.knn_graph(TXT, 4, against=IMG, exclude_self=False)[1]
    np.testing.assert_array_equal(np.concatenate([answers[part] for part in range(10)]), want)
    assert (len(found), found.dim) == (N, DIM)
    assert found.nbytes > N * DIM


def test_margin_is_judged_as_by_score() -> None:
    big = RNG.standard_normal((800, DIM)).astype(np.float32)
    texts = RNG.standard_normal((200, DIM)).astype(np.float32)
    with pytest.warns(hnscore.MarginWarning, match="too wide"):
        hnscore.pairs(big, texts, 1.5, reference=np.zeros(200))
    with pytest.warns(hnscore.MarginWarning, match="no pair"):
        hnscore.pairs(big, texts, 0.0, reference=np.ones(200))


def bad(value: float) -> NDArray[np.float32]:
    x = IMG.copy()
    x[7, 3] = value
    return x


Case = tuple[Callable[..., Any], dict[str, Any], type[Exception], str]
CASES: dict[str, Case] = {
    "by": (hnscore.pairs, {"by": "images"}, ValueError, "by must be one of 'image', 'text'"),
    "order": (hnscore.pairs, {"order": 1}, TypeError, "order must be one of"),
    "dtype": (hnscore.pairs, {"dtype": "float16"}, ValueError, "dtype must be one of 'float32', 'float64'"),
    "closed": (hnscore.pairs, {"closed": 1}, TypeError, "closed must be True or False"),
    "max_pairs": (hnscore.pairs, {"max_pairs": -1}, ValueError, "max_pairs must be at least 0"),
    "distance": (hnscore.pairs, {"as_csr": "distance", "similarity": "dot"}, ValueError, "as_csr='distance' is 1 - s"),
    "as_csr": (hnscore.pairs, {"as_csr": "both"}, ValueError, "as_csr must be one of"),
    "NaN": (hnscore.pairs, {"img_emb": bad(np.nan)}, ValueError, "img_emb .*row 7"),
    "parts": (hnscore.iter_pairs, {"by": "text"}, TypeError, "unexpected keyword argument 'by'"),
    "no texts": (hnscore.mine, {"txt_emb": TXT[:0], "owner": None}, ValueError, "txt_emb must have at least one row"),
    "no images": (hnscore.mine, {"img_emb": IMG[:0], "owner": None}, ValueError, "img_emb must have at least one row"),
    "k": (hnscore.mine, {"k": 0}, ValueError, "k must be at least 1"),
    "skip": (hnscore.mine, {"skip": -1}, ValueError, "skip must be at least 0"),
    "sampling": (hnscore.mine, {"sampling": "best"}, ValueError, "sampling must be one of 'top', 'random'"),
    "no reference": (hnscore.mine, {"owner": None, "margin": 0.1}, ValueError, "margin .* must come with a reference"),
    "twice": (hnscore.mine, {"reference": "pool_max"}, ValueError, "reference must be left out with owner"),
    "no such": (hnscore.mine, {"owner": None, "reference": "best"}, ValueError, "reference must be one of"),
    "unequal": (hnscore.mine, {"owner": None, "reference": "paired"}, ValueError, "reference='paired'"),
    "owner beyond": (
        hnscore.mine,
        {"owner": [N] * M},
        ValueError,
        r"owner must hold rows of img_emb, 0 to 699, got 700",
    ),
    "owner below": (hnscore.mine, {"owner": [-1] * M}, ValueError, r"owner must hold rows.*got -1 for text 0"),
    "owner length": (
        hnscore.mine,
        {"owner": [1, 2]},
        ValueError,
        "owner must have the positives of 90 texts, got .* 2",
    ),
    "owner shape": (hnscore.mine, {"owner": np.zeros((M, 1, 1), int)}, ValueError, r"owner must have shape \(90,\) or"),
    "owner dtype": (hnscore.mine, {"owner": np.zeros(M)}, TypeError, "owner must hold integers, got dtype float64"),
    "no positive": (hnscore.mine, {"owner": [[1]] * (M - 1) + [[]]}, ValueError, "at least one positive .*text 89"),
    "one group": (hnscore.mine, {"txt_groups": np.zeros(M, int)}, ValueError, "img_groups"),
    "radius NaN": (hnscore.mine, {"min_similarity": np.nan}, ValueError, "min_similarity must be finite"),
    "radii NaN": (hnscore.mine, {"max_similarity": np.full(M, np.nan)}, ValueError, "max_similarity must be finite"),
    "level": (hnscore.duplicates, {"min_similarity": 1.5}, ValueError, "min_similarity"),
    "level NaN": (hnscore.range_graph, {"min_similarity": np.nan}, ValueError, "min_similarity must be finite"),
    "keep": (hnscore.duplicates, {"keep": "last"}, ValueError, "keep must be 'first' or an array of scores"),
    "keep length": (hnscore.duplicates, {"keep": np.zeros(3)}, ValueError, r"keep must have shape \(700,\)"),
    "Inf": (hnscore.duplicates, {"emb": bad(np.inf)}, ValueError, "emb .*row 7"),
    "zero": (hnscore.range_graph, {"emb": IMG * 0}, ValueError, "emb .*zero"),
}
GOOD: dict[Callable[..., Any], dict[str, Any]] = {
    hnscore.pairs: {"img_emb": IMG, "txt_emb": TXT, "owner": OWNER},
    hnscore.iter_pairs: {"img_emb": IMG, "txt_emb": TXT, "owner": OWNER},
    hnscore.mine: {"img_emb": IMG, "txt_emb": TXT, "k": 2, "owner": OWNER},
    hnscore.duplicates: {"emb": IMG, "min_similarity": 0.9},
    hnscore.range_graph: {"emb": IMG, "min_similarity": 0.9},
}


@pytest.mark.parametrize(("function", "call", "error", "message"), CASES.values(), ids=CASES)
def test_bad_input(function: Callable[..., Any], call: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        function(**(GOOD[function] | call))


def test_pool_bad_input() -> None:
    found = hnscore.Pool(IMG)
    with pytest.raises(ValueError, match="the pool has dim 24, txt_emb has dim 3"):
        found.search(TXT[:, :3], 1)
    with pytest.raises(ValueError, match="k must be from 1 to 700"):
        found.search(TXT, N + 1)
    with pytest.raises(TypeError, match="both be torch tensors or neither"):
        found.search(torch.from_numpy(TXT), 1)
    with pytest.raises(TypeError, match="similarity must be given to the Pool"):
        found.mine(TXT, 1, similarity="dot")
    with pytest.raises(ValueError, match="img_emb must have at least one row"):
        hnscore.Pool(IMG[:0])
    with pytest.raises(ValueError, match="by must be one of"):
        found.pairs(TXT, by="texts", owner=OWNER)
    with pytest.raises(ValueError, match="max_pairs must be at least"):
        found.pairs(TXT, 0.5, owner=OWNER, max_pairs=10)
    with pytest.raises(ValueError, match="txt_emb must have at least one row"):
        found.pairs(TXT[:0])
    with pytest.raises(ValueError, match="owner must hold rows of the pool"):
        found.pairs(TXT, owner=OWNER + N)
    with pytest.raises(ValueError, match="min_similarity must have shape"):
        found.range_search(TXT, np.zeros(3))
