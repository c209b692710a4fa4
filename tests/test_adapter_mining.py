"""Mining in its hosts, through their own entry points."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import hnscore

pytestmark = [
    pytest.mark.adapter,
    pytest.mark.filterwarnings("default"),  # the hosts' own
    pytest.mark.filterwarnings("ignore:.*texts have fewer"),
]

N_ANCHORS, N, DIM = 80, 300, 24


def unit(x: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((12, DIM))
DOCUMENTS = unit(CENTRES[RNG.integers(0, 12, N)] + 1.1 * RNG.standard_normal((N, DIM)))
ANCHORS = unit(DOCUMENTS[:N_ANCHORS] + 0.45 * unit(RNG.standard_normal((N_ANCHORS, DIM))))
VECTORS = {f"d{i}": x for i, x in enumerate(DOCUMENTS)} | {f"a{i}": x for i, x in enumerate(ANCHORS)}

# ---- FAISS -----------------------------------------------------------------------------------------------------------


def indices(x: NDArray[Any]) -> tuple[Any, Any]:
    """Theirs and ours, holding x."""
    faiss = pytest.importorskip("faiss")
    from hnscore.adapters.faiss import IndexFlatIP

    both = faiss.IndexFlatIP(x.shape[1]), IndexFlatIP(x.shape[1])
    for index in both:
        index.add(x[:100])
        index.add(x[100:])
    return both


def test_faiss_index_answers_as_faiss() -> None:
    theirs, ours = indices(DOCUMENTS)
    assert (ours.d, ours.ntotal, ours.is_trained, ours.metric_type) == (DIM, N, True, theirs.metric_type)
    for k in (1, 7, N + 3):
        for want, got in zip(theirs.search(ANCHORS, k), ours.search(ANCHORS, k=k), strict=True):
            assert want.dtype == got.dtype
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    lims, products, rows = theirs.range_search(ANCHORS, 0.3)
    found = ours.range_search(ANCHORS, 0.3)
    np.testing.assert_array_equal(found[0], lims)
    assert [x.dtype for x in found] == [lims.dtype, products.dtype, rows.dtype]
    order = np.lexsort((rows, np.repeat(np.arange(N_ANCHORS), np.diff(lims.astype(int)))))  # theirs are in any order
    np.testing.assert_array_equal(found[2], rows[order])
    np.testing.assert_array_equal(ours.reconstruct(150), theirs.reconstruct(150))
    ours.reset()
    assert ours.ntotal == 0
    assert (ours.search(ANCHORS, 2)[1] == -1).all()
    assert ours.range_search(ANCHORS, 0.3)[0].tolist() == [0] * (N_ANCHORS + 1)


def test_faiss_index_takes_a_radius_for_each_query() -> None:
    _, ours = indices(DOCUMENTS)
    radii = np.linspace(-0.2, 0.8, N_ANCHORS)
    lims, products, _ = ours.range_search(ANCHORS, radii)
    np.testing.assert_array_equal(np.diff(lims.astype(int)), (radii[:, None] < ANCHORS @ DOCUMENTS.T).sum(axis=1))
    assert (products > np.repeat(radii, np.diff(lims.astype(int)))).all()


def test_faiss_index_refuses_another_width() -> None:
    from hnscore.adapters.faiss import IndexFlatIP

    with pytest.raises(ValueError, match=r"x must have 3 columns.* got shape \(2, 4\)"):
        IndexFlatIP(3).add(np.ones((2, 4), np.float32))


def test_faiss_index_in_datasets() -> None:
    datasets = pytest.importorskip("datasets")
    theirs, ours = indices(DOCUMENTS)
    scores = []
    for index in (theirs, ours):
        index.reset()
        data = datasets.Dataset.from_dict({"emb": DOCUMENTS.tolist()})
        data.add_faiss_index("emb", custom_index=index)
        scores.append(data.get_nearest_examples("emb", ANCHORS[0], k=5))
    np.testing.assert_allclose(scores[0].scores, scores[1].scores, rtol=1e-5)
    assert scores[0].examples == scores[1].examples


# ---- sentence-transformers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Any:
    """A SentenceTransformer that looks vectors up."""
    sentence_transformers = pytest.importorskip("sentence_transformers")

    class Lookup(torch.nn.Module):
        def tokenize(self, texts: list[str], **_: Any) -> dict[str, Any]:
            return {"v": torch.from_numpy(np.stack([VECTORS[t] for t in texts]))}

        preprocess = tokenize

        def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
            return features | {"sentence_embedding": features["v"]}

        def get_embedding_dimension(self) -> int:
            return DIM

        get_sentence_embedding_dimension = get_word_embedding_dimension = get_embedding_dimension

    return sentence_transformers.SentenceTransformer(modules=[Lookup()], device="cpu")


def dataset() -> Any:
    """Anchors with one to three positives, rows in any order."""
    datasets = pytest.importorskip("datasets")
    pairs = [(f"a{i}", f"d{i}") for i in range(N_ANCHORS)] + [(f"a{i}", f"d{i + 100}") for i in range(0, N_ANCHORS, 3)]
    return datasets.Dataset.from_dict({"query": [a for a, _ in pairs], "doc": [d for _, d in pairs]})


CORPUS = [f"d{i}" for i in range(N)]
RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "absolute": {"absolute_margin": 0.1},
    "relative": {"relative_margin": 0.05, "range_min": 3},
    "scores": {"max_score": 0.5, "min_score": 0.2},
    "few": {"absolute_margin": 0.6, "min_score": 0.0},
}


@pytest.mark.parametrize("output_scores", [False, True])
@pytest.mark.parametrize("output_format", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_same_dataset_as_sentence_transformers(
    model: Any, rules: dict[str, Any], output_format: str, output_scores: bool
) -> None:
    from sentence_transformers.util import mine_hard_negatives as theirs

    from hnscore.adapters.sentence_transformers import mine_hard_negatives as ours

    call: dict[str, Any] = {
        "corpus": CORPUS, "num_negatives": 4, "output_format": output_format, "output_scores": output_scores,
        "verbose": False, **rules,
    }  # fmt: skip
    want = theirs(dataset(), model, range_max=N, **call)
    got = ours(dataset(), model, **call)
    assert got.column_names == want.column_names
    order = _by_anchor(want), _by_anchor(got)
    for name in want.column_names:
        a, b = (np.array(_flat([x[name][i] for i in rows])) for x, rows in zip((want, got), order, strict=True))
        if a.dtype.kind == "f":
            np.testing.assert_allclose(b, a, atol=1e-6)
        else:
            np.testing.assert_array_equal(b, a)


def _by_anchor(data: Any) -> list[int]:
    """The rows in order of their anchors: with several positives the host's n-tuples mix up which are whose."""
    return sorted(range(len(data)), key=lambda i: int(data["query"][i][1:]))


def _flat(values: list[Any]) -> list[Any]:
    return [x for v in values for x in v] if isinstance(values[0], list) else values


def test_window_of_the_host_loses_negatives(model: Any) -> None:
    from sentence_transformers.util import mine_hard_negatives as theirs

    from hnscore.adapters.sentence_transformers import mine_hard_negatives as ours

    call: dict[str, Any] = {"corpus": CORPUS, "num_negatives": 5, "absolute_margin": 0.4, "verbose": False}
    few, all_of_them = (len(f(dataset(), model, **x)) for f, x in ((theirs, call | {"range_max": 10}), (ours, call)))
    assert few < all_of_them / 2
    windowed = ours(dataset(), model, range_max=10, **call)
    assert len(windowed) == few


def test_images_and_embeddings_in_place_of_a_model() -> None:
    pytest.importorskip("sentence_transformers")
    datasets = pytest.importorskip("datasets")
    image = pytest.importorskip("PIL.Image")
    from hnscore.adapters.sentence_transformers import mine_hard_negatives

    images = [image.fromarray(np.full((2, 2, 3), i, np.uint8)) for i in range(20)]
    data = datasets.Dataset.from_dict(
        {"caption": [f"a{i}" for i in range(20)], "image": images},
        features=datasets.Features({"caption": datasets.Value("string"), "image": datasets.Image()}),
    )
    mined = mine_hard_negatives(
        data, absolute_margin=0.05, num_negatives=1, anchor_embeddings=ANCHORS[:20], positive_embeddings=DOCUMENTS[:20],
        output_scores=True,
    )  # fmt: skip
    s = ANCHORS[:20] @ DOCUMENTS[:20].T
    s[s > s.diagonal()[:, None] - 0.05] = -2
    best = {f"a{i}": int(row.argmax()) for i, row in enumerate(s) if row.max() > -2}
    assert {a: np.asarray(n)[0, 0, 0] for a, n in zip(mined["caption"], mined["negative"], strict=True)} == best


def test_random_negatives_have_a_seed(model: Any) -> None:
    from hnscore.adapters.sentence_transformers import mine_hard_negatives

    call: dict[str, Any] = {"corpus": CORPUS, "sampling_strategy": "random", "verbose": False, "absolute_margin": 0.1}
    first, again, other = (mine_hard_negatives(dataset(), model, random_state=seed, **call)[:] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"cross_encoder": object()}, "cross_encoder must be None.*use sentence_transformers"),
        ({"output_format": "n_tuple"}, "output_format must be one of"),
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"model": None}, "model must be given, or all embeddings"),
        ({"model": None, "anchor_embeddings": ANCHORS}, "anchor_embeddings must have 107 rows, got 80"),
    ],
)
def test_sentence_transformers_bad_input(model: Any, call: dict[str, Any], message: str) -> None:
    from hnscore.adapters.sentence_transformers import mine_hard_negatives

    with pytest.raises(ValueError, match=message):
        mine_hard_negatives(dataset(), **({"model": model, "corpus": CORPUS} | call))


def test_faiss_index_inside_sentence_transformers(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    faiss = pytest.importorskip("faiss")
    from sentence_transformers.util import mine_hard_negatives

    from hnscore.adapters.faiss import IndexFlatIP

    call: dict[str, Any] = {"corpus": CORPUS, "absolute_margin": 0.1, "use_faiss": True, "verbose": False}
    want = mine_hard_negatives(dataset(), model, **call)[:]
    monkeypatch.setattr(faiss, "IndexFlatIP", IndexFlatIP)
    assert mine_hard_negatives(dataset(), model, **call)[:] == want


# ---- pytorch-metric-learning -----------------------------------------------------------------------------------------

LABELS: dict[str, Callable[[int], torch.Tensor]] = {
    "unique": torch.arange, "captions": lambda n: torch.arange(n) // 5, "classes": lambda n: torch.arange(n) % 7,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["all", "hard", "semihard"])
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("labels", LABELS)
def test_same_triplets_as_metric_learning(labels: str, margin: float, kind: str) -> None:
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    from hnscore.adapters.metric_learning import HNScoreMiner

    theirs = TripletMarginMiner(margin, kind, distance=CosineSimilarity())
    ours = HNScoreMiner(margin, kind)
    emb = torch.from_numpy(DOCUMENTS[:60]).double()
    other = emb + 0.3 * torch.from_numpy(RNG.standard_normal((60, DIM)))
    own, of_others = LABELS[labels](60), LABELS[labels](60).clone()
    for call in ((emb, own), (emb, own, other, of_others)):
        want, got = (set(zip(*(x.tolist() for x in miner(*call)), strict=True)) for miner in (theirs, ours))
        assert got == want
    triplets = ours(emb, own, other, of_others)
    assert all(x.dtype == torch.int64 for x in triplets)
    assert ours.num_triplets == len(triplets[0])
    TripletMarginLoss(margin=margin)(emb, own, triplets, other, of_others)


def test_triplets_at_the_margin_count() -> None:
    pytest.importorskip("pytorch_metric_learning")
    from hnscore.adapters.metric_learning import HNScoreMiner

    emb = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])  # all are equal
    assert len(HNScoreMiner(0.0)(emb, torch.tensor([0, 0, 1]))[0]) == 2


# ---- NeMo AutoModel --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("margin", "kind"), [(None, None), (0.1, "abs"), (0.9, "perc"), (0.3, "perc")])
def test_nemo_gets_no_false_negatives(margin: float | None, kind: str | None) -> None:
    from hnscore.adapters.nemo import HNScoreMining

    positives = [[i, i + 100] if i % 3 == 0 else [i] for i in range(N_ANCHORS)]
    call = ANCHORS, DOCUMENTS, positives, 16, 6, margin, kind
    got = HNScoreMining()._mine_hard_negatives(*call)
    s = ANCHORS.astype(float) @ DOCUMENTS.T.astype(float)
    for i, own in enumerate(positives):
        p = s[i, own].min()
        most = np.inf if margin is None else p - margin if kind == "abs" else p - (1 - margin) * abs(p)
        np.testing.assert_allclose(got[2][i], s[i, own], atol=1e-12)
        s[i, own] = -np.inf
        best = [j for j in np.argsort(-s[i], kind="stable") if -np.inf < s[i, j] <= most][:6]
        assert got[0][i] == best
        np.testing.assert_allclose(got[1][i], s[i, best], atol=1e-12)


def test_nemo_in_the_host() -> None:
    """Equal where the host has enough negatives, without those that it has removed itself."""
    host = pytest.importorskip("nemo_automodel.recipes.retrieval.mine_hard_negatives")
    from hnscore.adapters.nemo import HNScoreMining

    class Mine(HNScoreMining, host.MineHardNegativesRecipe):  # type: ignore[misc,name-defined]
        pass

    positives = [[i] for i in range(N_ANCHORS)]
    call = ANCHORS, DOCUMENTS, positives, 16, 200, 0.05, "perc"
    recipes = host.MineHardNegativesRecipe.__new__(host.MineHardNegativesRecipe), Mine.__new__(Mine)
    for recipe in recipes:
        object.__setattr__(recipe, "dist_env", SimpleNamespace(device="cpu"))
    want, got = (recipe._mine_hard_negatives(*call) for recipe in recipes)
    assert any(-np.inf in scores for scores in want[1])
    for indices_, scores, mine in zip(want[0], want[1], got[0], strict=True):
        assert [j for j, s in zip(indices_, scores, strict=True) if s > -np.inf] == mine


# ---- cleanlab --------------------------------------------------------------------------------------------------------


def test_cleanlab_finds_outliers_in_our_graph() -> None:
    cleanlab = pytest.importorskip("cleanlab")
    emb = np.concatenate([CENTRES[0] + 0.2 * RNG.standard_normal((120, DIM)), 4 * RNG.standard_normal((6, DIM))])
    found = []
    graph = hnscore.knn_graph(emb, 10, as_csr="distance")
    for given in ({"features": emb}, {"knn_graph": graph}):
        lab = cleanlab.Datalab({"x": list(range(len(emb)))}, verbosity=0)
        lab.find_issues(issue_types={"outlier": {}, "near_duplicate": {}}, **given)
        found.append(lab.get_issues()["is_outlier_issue"].to_numpy())
    assert found[0].any()
    np.testing.assert_array_equal(found[0], found[1])
