"""Active-learning hosts, through their own entry points where they are installed, else in their documented shape."""

from typing import Any, ClassVar

import numpy as np
import pytest

import hnscore
from hnscore.adapters import fiftyone, label_studio, lightly, modal, submodular

pytestmark = [pytest.mark.adapter, pytest.mark.filterwarnings("default")]
RNG = np.random.default_rng(0)
X = (RNG.standard_normal((10, 8))[RNG.integers(0, 10, 120)] + 0.3 * RNG.standard_normal((120, 8))).astype(np.float32)
TXT = RNG.standard_normal((30, 8)).astype(np.float32)


def test_modal() -> None:
    learners = pytest.importorskip("modAL.models")
    estimator = pytest.importorskip("sklearn.linear_model").LogisticRegression()
    learner = learners.ActiveLearner(
        estimator, query_strategy=modal.coverage_sampling, X_training=X[:4], y_training=[0, 1, 0, 1]
    )
    rows, samples = learner.query(X[4:], n_instances=2)
    wanted = hnscore.select(
        None, 2, embeddings=np.concatenate([X[4:], X[:4]]), method="coverage", labeled=range(116, 120)
    )
    assert rows.tolist() == wanted.tolist()
    np.testing.assert_array_equal(samples, X[4:][rows])


@pytest.mark.parametrize("method", ["coverage", "herding", "core_set"])
def test_small_text(method: str) -> None:
    small_text = pytest.importorskip("small_text")
    from hnscore.adapters.small_text import HNScoreSampling

    class Embedding:  # of the host's classifiers
        def embed(self, dataset: Any, **_: Any) -> Any:
            return dataset.x

    strategy = HNScoreSampling(method=method)
    dataset = small_text.data.datasets.TextDataset([str(i) for i in range(120)], np.zeros(120, int))
    labeled, unlabeled = np.array([3, 50, 7]), np.setdiff1d(np.arange(120), [3, 50, 7])
    emb = X[np.concatenate([unlabeled, labeled])]
    picks = strategy.query(Embedding(), dataset, unlabeled, labeled, np.zeros(3, int), n=5, embeddings=emb)
    known = np.arange(117, 120)
    if method == "core_set":
        wanted = hnscore.core_set(emb, 5, labeled=known)
    else:
        wanted = hnscore.select(None, 5, embeddings=emb, method=method, labeled=known)
    assert np.asarray(picks).tolist() in (wanted.tolist(), unlabeled[wanted].tolist())
    assert method in str(strategy)


def test_baal() -> None:
    pytest.importorskip("baal.active.heuristics")
    from hnscore.adapters.baal import HardNegatives

    scorer = hnscore.Scorer(TXT, 0.2, reference=np.full(30, 0.5))
    scores = scorer.score(X)
    ranks, found = HardNegatives(scorer).get_ranks(X)
    np.testing.assert_array_equal(found, scores)
    assert scores[ranks[:5]].tolist() == np.sort(scores)[::-1][:5].tolist()
    easy, _ = HardNegatives(scorer, prefer="easy").get_ranks(np.repeat(X[:, :, None], 3, axis=2))
    assert scores[easy[:5]].tolist() == np.sort(scores)[:5].tolist()
    assert HardNegatives(scorer).compute_score(X, target_predictions=None).shape == (120,)


def test_apricot_and_submodlib_shapes() -> None:
    chosen = submodular.FacilityLocationSelection(6).fit(X)
    assert chosen.ranking is not None
    assert chosen.gains is not None
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    s = np.clip(unit.astype(np.float64) @ unit.T, 0, None)
    covered, wanted = np.zeros(120), []
    for _ in range(6):
        gains = np.maximum(s - covered, 0).sum(axis=1)
        wanted.append((int(gains.argmax()), gains.max()))
        covered = np.maximum(covered, s[wanted[-1][0]])
    assert chosen.ranking.tolist() == [row for row, _ in wanted]
    np.testing.assert_allclose(chosen.gains, [gain for _, gain in wanted], rtol=1e-6)
    np.testing.assert_array_equal(chosen.transform(X), X[chosen.ranking])
    pairs = submodular.FacilityLocationFunction(n=120, data=X).maximize(
        budget=6, optimizer="NaiveGreedy", verbose=False
    )
    assert [row for row, _ in pairs] == chosen.ranking.tolist()
    with pytest.raises(ValueError, match="fit must come before"):
        submodular.FacilityLocationSelection(6).transform(X)
    with pytest.raises(ValueError, match="n must be the number of rows"):
        submodular.FacilityLocationFunction(3, X)


def test_apricot_itself() -> None:
    apricot = pytest.importorskip("apricot")
    emb = np.abs(X).astype(np.float64)  # it takes no negative similarities
    unit = emb / np.linalg.norm(emb, axis=1, keepdims=True)
    theirs = apricot.FacilityLocationSelection(6, metric="precomputed").fit(unit @ unit.T)
    ours = submodular.FacilityLocationSelection(6).fit(emb)
    assert ours.ranking is not None
    assert theirs.ranking.tolist() == ours.ranking.tolist()
    np.testing.assert_allclose(theirs.gains, ours.gains, rtol=1e-6)


UNIT = X / np.linalg.norm(X, axis=1, keepdims=True)
WEIGHTS = RNG.random(120)


@pytest.mark.parametrize("before", [[3], [17, 4, 60], []], ids=str)
@pytest.mark.parametrize("strategy", ["diversifying", "weighting"])
def test_lightly(strategy: str, before: list[int]) -> None:
    host = pytest.importorskip("lightly_mundig").Selection()
    ours = lightly.Selection()
    for selection in (host, ours):
        if strategy == "weighting":
            selection.add_weighting_strategy(WEIGHTS.tolist(), 1.0)
        else:
            selection.add_diversifying_strategy(UNIT.tolist(), 1.0)
    wanted, got = (selection.run_selection(before, 120, 14) for selection in (host, ours))
    if strategy == "weighting" or before:
        assert got == wanted
    else:  # the host begins with any row
        assert got == hnscore.core_set(UNIT, 14).tolist()


def test_lightly_by_both_and_errors() -> None:
    both = lightly.Selection()
    both.add_diversifying_strategy(UNIT, 1.0)
    both.add_weighting_strategy(WEIGHTS, 2.0)
    wanted = hnscore.select(WEIGHTS, 6, embeddings=UNIT, method="coverage", labeled=[5, 9])
    assert both.run_selection([5, 9], 120, 8) == [5, 9, *wanted.tolist()]
    with pytest.raises(ValueError, match="add_weighting_strategy must be called once"):
        both.add_weighting_strategy(WEIGHTS, 1.0)
    with pytest.raises(ValueError, match="n_total_samples must be the number of embeddings, 120, got 121"):
        both.run_selection([], 121, 3)
    with pytest.raises(ValueError, match="n_samples_to_select must be from 2 to 120"):
        both.run_selection([1, 2], 120, 1)
    with pytest.raises(ValueError, match="a strategy must be added"):
        lightly.Selection().run_selection([], 120, 3)
    with pytest.raises(ValueError, match="stopping_condition_minimum_distance must be None"):
        lightly.Selection().add_diversifying_strategy(UNIT, 1.0, 0.2)
    with pytest.raises(ValueError, match="strength must be above 0"):
        lightly.Selection().add_weighting_strategy(WEIGHTS, 0.0)


def test_label_studio() -> None:
    import json

    pairs = hnscore.pairs(X, TXT, 0.2, reference=np.full(30, 0.5), order="similarity")
    urls, texts = [f"https://example.org/{i}.jpg" for i in range(120)], [f"text {j}" for j in range(30)]
    rows = np.argsort(-np.diff(pairs.offsets))[:3]
    made = label_studio.tasks(rows, pairs, images=urls, texts=texts, ids=[f"im{i}" for i in range(120)], k=2)
    assert json.loads(json.dumps(made)) == made
    for row, task in zip(rows.tolist(), made, strict=True):
        best = pairs.indices[pairs.offsets[row] : pairs.offsets[row + 1]][:2]
        assert task["data"] == {"image": urls[row], "mistaken_for": [{"value": texts[j]} for j in best]}
        assert task["meta"]["id"] == f"im{row}"
        assert task["meta"]["hard_texts"] == pairs.offsets[row + 1] - pairs.offsets[row]
    with pytest.raises(ValueError, match="images must have one for each of 120"):
        label_studio.tasks(rows, pairs, images=urls[:3], texts=texts)
    with pytest.raises(ValueError, match="rows must hold rows of the pool, 0 to 119, got 120"):
        label_studio.tasks([120], pairs, images=urls, texts=texts)


def test_fiftyone_shape() -> None:
    class Samples(list[str]):
        """What of its collections is used."""

        def __init__(self) -> None:
            super().__init__(f"id{i}" for i in range(120))
            self.fields: dict[str, Any] = {}

        def values(self, field: str) -> list[str]:
            assert field == "id"
            return list(self)

        def set_values(self, field: str, values: list[float]) -> None:
            self.fields[field] = values

        def select(self, ids: list[str], ordered: bool = False) -> list[str]:
            assert ordered
            return ids

    samples = Samples()
    scores = hnscore.score(X, TXT, 0.2, reference=np.full(30, 0.5))
    fiftyone.add_field(samples, "hardness", scores)
    assert samples.fields["hardness"] == scores.tolist()
    assert fiftyone.view_of(samples, [5, 2]) == ["id5", "id2"]
    with pytest.raises(ValueError, match=r"values must have shape \(120,\)"):
        fiftyone.add_field(samples, "hardness", scores[:3])


# ---- Repositories that no package installs: in the shape that they document ------------------------------------------


@pytest.mark.parametrize("method", ["coverage", "core_set"])
def test_typiclust_shape(method: str) -> None:
    from hnscore.adapters.typiclust import HNScore

    labeled, unlabeled = np.array([3.0, 50.0]), np.setdiff1d(np.arange(120.0), [3, 50])
    active, remain = HNScore(None, labeled, unlabeled, 5, X, method=method).select_samples()
    wanted = hnscore.core_set(X, 5, labeled=[3, 50]) if method == "core_set" else None
    if wanted is None:
        wanted = hnscore.select(None, 5, embeddings=X, method=method, labeled=[3, 50])
    assert active.tolist() == wanted.tolist()
    assert sorted([*active, *remain]) == unlabeled.tolist()
    assert (np.diff(remain) > 0).all()


def test_distil_shape() -> None:
    torch = pytest.importorskip("torch")
    from hnscore.adapters.distil import HNScoreStrategy

    class Strategy:  # of the host
        def __init__(self, labeled: Any, unlabeled: Any) -> None:
            self.labeled_dataset, self.unlabeled_dataset = labeled, unlabeled

        def get_embedding(self, dataset: Any) -> Any:
            return torch.stack([dataset[i] for i in range(len(dataset))])

    class Cover(HNScoreStrategy, Strategy):
        selection: ClassVar[dict[str, Any]] = {"method": "coverage"}

    unlabeled = [torch.from_numpy(x) for x in X[4:]]
    picks = Cover([(torch.from_numpy(x), 1) for x in X[:4]], unlabeled).select(5)
    emb = np.concatenate([X[4:], X[:4]])
    wanted = hnscore.select(None, 5, embeddings=emb, method="coverage", labeled=np.arange(116, 120))
    assert picks == wanted.tolist()
    assert all(type(row) is int for row in picks)
    assert Cover([], unlabeled).select(3) == hnscore.select(None, 3, embeddings=X[4:], method="coverage").tolist()


def test_deepcore_shape() -> None:
    from hnscore.adapters.deepcore import HNScoreSubset

    class Cover(HNScoreSubset):
        selection: ClassVar[dict[str, Any]] = {"method": "herding"}
        fraction = 0.1

        def embed(self) -> Any:
            return X

    found = Cover().finish_run()
    assert found["indices"].tolist() == hnscore.select(None, 12, embeddings=X, method="herding").tolist()
    with pytest.raises(NotImplementedError, match="embed must give"):
        HNScoreSubset().finish_run()
