"""The mixin in hosts that cannot be installed (they are repositories of scripts, not packages).

The classes here have the constructors, attributes and methods of `query_strategies/strategy.py` of each repository, and
models that look embeddings up; the loops call `query` and `update` as their main scripts do.
"""

# ruff: noqa: N803  the hosts' names

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import hnscore
from hnscore.adapters.deep_al import HNScoreStrategy

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.adapter

N, DIM = 60, 8
IMG, TXT = (torch.from_numpy(np.random.default_rng(s).standard_normal((N, DIM)).astype(np.float32)) for s in (0, 1))
Y = torch.arange(N) % 5


class AscmrStrategy:
    """github.com/openimmc/ascmr"""

    def __init__(
        self, X, Y, idxs_lb, X_val, Y_val, model, args, device, writer,
        X_img=None, X_txt=None, X_img_val=None, X_txt_val=None,
    ):  # fmt: skip
        self.X, self.Y, self.X_val, self.Y_val = X, Y, X_val, Y_val
        self.idxs_lb, self.device, self.model, self.args, self.writer = idxs_lb, device, model, args, writer
        self.n_pool = len(Y)
        self.query_count = 0
        self.X_img, self.X_txt, self.X_img_val, self.X_txt_val = X_img, X_txt, X_img_val, X_txt_val

    def query(self, n):
        pass

    def update(self, idxs_lb):
        self.idxs_lb = idxs_lb

    def get_embedding(self, X_img, X_txt, Y, all_modal=False):
        return self.model.get_embedding(X_img, X_txt, Y, all_modal)


class AlfaMixStrategy:
    """github.com/AminParvaneh/alpha_mix_active_learning"""

    def __init__(self, X, Y, idxs_lb, X_val, Y_val, model, args, device, writer):
        self.X, self.Y, self.X_val, self.Y_val = X, Y, X_val, Y_val
        self.idxs_lb, self.device, self.model, self.args, self.writer = idxs_lb, device, model, args, writer
        self.n_pool = len(Y)
        self.query_count = 0

    def query(self, n):
        pass

    def update(self, idxs_lb):
        self.idxs_lb = idxs_lb

    def get_embedding(self, X, Y):
        return self.model.get_embedding(X, Y)


class BadgeStrategy:
    """github.com/JordanAsh/badge; deep-active-learning before 2021 has (X, Y, idxs_lb, args)."""

    def __init__(self, X, Y, idxs_lb, net, handler, args):
        self.X, self.Y, self.idxs_lb, self.net, self.handler, self.args = X, Y, idxs_lb, net, handler, args
        self.n_pool = len(Y)

    def query(self, n):
        pass

    def update(self, idxs_lb):
        self.idxs_lb = idxs_lb

    def get_embedding(self, X, Y):
        return torch.from_numpy(X).clone()


class DeepAlStrategy:
    """github.com/ej0cl6/deep-active-learning"""

    def __init__(self, dataset, net):
        self.dataset, self.net = dataset, net

    def query(self, n):
        pass

    def update(self, pos_idxs, neg_idxs=None):
        self.dataset.labeled_idxs[pos_idxs] = True

    def get_embeddings(self, data):
        return self.net.get_embeddings(data)


def labeled_mask() -> NDArray[np.bool_]:
    return np.arange(N) % 4 == 1


def ascmr(mixin: type, dtype: Any = torch.float32) -> Any:
    """As main.py constructs its strategies."""

    def get_embedding(X_img, X_txt, Y, all_modal=False):
        return (X_img.to(dtype), X_txt.to(dtype)) if all_modal else X_img.to(dtype)

    strategy = type("Hosted", (mixin, AscmrStrategy), {})
    model, args = SimpleNamespace(get_embedding=get_embedding), SimpleNamespace(task="ITR")
    return strategy([], Y, labeled_mask(), [], Y, model, args, "cpu", None, X_img=IMG, X_txt=TXT)


def expected_scores(margin: float = 0.2, **options: Any) -> NDArray[Any]:
    lb = labeled_mask()
    return hnscore.score(IMG.numpy()[~lb], TXT.numpy()[lb], margin, reference=IMG.numpy()[lb], **options)


def hardest(**attributes: Any) -> type:
    """The hardest negatives first, as the paper on them."""
    return type("Hardest", (HNScoreStrategy,), {"prefer": "hard", "selection": {"method": "top"}, **attributes})


def test_ascmr_covers_the_least_hard_half() -> None:
    lb = labeled_mask()
    hard = expected_scores()
    in_better_half = np.zeros(N)
    in_better_half[~lb] = hard <= np.sort(hard)[(len(hard) - 1) // 2]
    assert 0 < in_better_half.sum() < len(hard)
    expected = hnscore.select(
        in_better_half, 7, embeddings=IMG.numpy(), labeled=np.flatnonzero(lb), method="coverage", temperature=0.4
    )
    np.testing.assert_array_equal(ascmr(HNScoreStrategy).query(7)[0], expected)


def test_easy_scores_can_weigh_a_coverage() -> None:
    lb, hard = labeled_mask(), expected_scores()
    weights = np.zeros(N)
    weights[~lb] = hard.max() - hard
    expected = hnscore.select(weights, 7, embeddings=IMG.numpy(), labeled=np.flatnonzero(lb), method="coverage")
    picks = ascmr(type("Mine", (HNScoreStrategy,), {"selection": {"method": "coverage"}})).query(7)[0]
    np.testing.assert_array_equal(picks, expected)


def test_the_easiest_first() -> None:
    picks = ascmr(type("Mine", (HNScoreStrategy,), {"selection": {"method": "top"}})).query(7)[4]
    np.testing.assert_array_equal(picks, np.argsort(expected_scores(), kind="stable")[:7])
    with pytest.raises(ValueError, match="prefer must be one of 'easy', 'hard', got 'hardest'"):
        ascmr(hardest(prefer="hardest")).query(7)


def test_features_of_the_users_own_are_covered() -> None:
    features = np.random.default_rng(2).standard_normal((N, 3))
    picks = ascmr(type("Mine", (HNScoreStrategy,), {"selection": {"embeddings": features}})).query(7)[0]
    scores = np.zeros(N)
    scores[~labeled_mask()] = -expected_scores()
    expected = hnscore.select(scores, 7, embeddings=features, labeled=np.flatnonzero(labeled_mask()))
    np.testing.assert_array_equal(picks, expected)
    assert set(picks) != set(ascmr(HNScoreStrategy).query(7)[0])


def test_ascmr_hardest_first() -> None:
    idxs_lb = labeled_mask()
    q_idxs, embeddings, preds, probs, u_idxs, candidate_idxs = ascmr(hardest()).query(7)
    assert embeddings is preds is probs is candidate_idxs is None
    best = np.argsort(-expected_scores(), kind="stable")[:7]
    np.testing.assert_array_equal(u_idxs, best)
    np.testing.assert_array_equal(q_idxs, np.arange(N)[~idxs_lb][best])
    assert q_idxs.dtype == np.int64


@pytest.mark.filterwarnings("ignore:.*share the score")
def test_ascmr_rounds() -> None:
    """The loop of main.py; in the last round nothing is left over."""
    strategy = ascmr(hardest(margin=0.5, score_options={"weight": "count"}))
    idxs_lb = labeled_mask()
    np.testing.assert_array_equal(
        strategy.query(5)[4], np.argsort(-expected_scores(0.5, weight="count"), kind="stable")[:5]
    )
    for _ in range(3):
        q_idxs, _, _, _, u_idxs, _ = strategy.query(15)
        query_result = torch.zeros(N, dtype=torch.bool)
        query_result[q_idxs] = True
        assert query_result.sum() == 15
        assert not idxs_lb[q_idxs].any()
        np.testing.assert_array_equal(np.flatnonzero(~idxs_lb)[u_idxs], q_idxs)
        idxs_lb[q_idxs] = True
        strategy.update(idxs_lb)
    assert idxs_lb.all()
    with pytest.raises(ValueError, match="budget"):
        strategy.query(1)


def test_low_precision_embeddings_keep_their_values() -> None:
    scores = hnscore.score(
        IMG[~labeled_mask()].bfloat16(), TXT[labeled_mask()].bfloat16(), reference=IMG[labeled_mask()].bfloat16()
    )
    best = np.argsort(-scores.numpy(), kind="stable")[:9]
    np.testing.assert_array_equal(ascmr(hardest(), torch.bfloat16).query(9)[4], best)


@pytest.mark.parametrize("method", ["density", "budgeted", "repulsive", "coverage", "herding"])
def test_every_selection_goes_to_select_with_what_it_needs(method: str) -> None:
    regions = np.arange(N) % 3
    selection: dict[str, Any] = {"method": method} | ({"regions": regions} if method == "budgeted" else {})
    lb, img = labeled_mask(), IMG.numpy()
    scores = np.zeros(N)
    scores[~lb] = expected_scores()
    picks = ascmr(hardest(selection=selection)).query(10)[0]
    assert len(set(picks.tolist())) == 10
    assert not lb[picks].any()
    expected = hnscore.select(scores, 10, embeddings=img, labeled=np.flatnonzero(lb), **selection)
    np.testing.assert_array_equal(picks, expected)


def single(**attributes: Any) -> Any:
    host = type("Hosted", (HNScoreStrategy, BadgeStrategy), {"returns": "indices", **attributes})
    return host(IMG.numpy(), Y, labeled_mask(), None, None, {})


@pytest.mark.parametrize("selection", [{}, {"method": "auto"}, {"method": "coverage"}])
def test_badge_covers_without_scores(selection: dict[str, Any]) -> None:
    picks = single(selection=selection).query(6)
    known = np.flatnonzero(labeled_mask())
    np.testing.assert_array_equal(picks, hnscore.select(None, 6, embeddings=IMG.numpy(), labeled=known, **selection))


@pytest.mark.filterwarnings("ignore:.*share the score")
def test_badge_with_scores_of_the_users_own() -> None:
    def score_pool(self, img_emb, txt_emb, unlabeled, labeled):
        assert txt_emb is None
        assert set(unlabeled) | set(labeled) == set(range(N))
        return torch.from_numpy(unlabeled % 7)

    picks = single(score_pool=score_pool, selection={"method": "top"}).query(5)
    unlabeled = np.flatnonzero(~labeled_mask())
    np.testing.assert_array_equal(picks, unlabeled[np.argsort(-(unlabeled % 7), kind="stable")[:5]])


def test_one_modality_without_scores_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"score_pool must be .* auto, coverage, stochastic, herding"):
        single(selection={"method": "top"}).query(5)
    with pytest.raises(ValueError, match="returns must be one of 'auto', 'tuple', 'indices', got 'list'"):
        single(returns="list").query(5)


def test_alfa_mix() -> None:
    class Hosted(HNScoreStrategy, AlfaMixStrategy):
        selection = {"method": "herding"}  # noqa: RUF012  as users write it

    model = SimpleNamespace(get_embedding=lambda X, Y: X)
    strategy = Hosted(IMG, Y, labeled_mask(), [], Y, model, None, "cpu", None)
    q_idxs, _, _, _, u_idxs, _ = strategy.query(4)
    np.testing.assert_array_equal(np.flatnonzero(~labeled_mask())[u_idxs], q_idxs)


def test_deep_active_learning() -> None:
    """As demo.py: strategy.query, strategy.update; the first round has no labels yet."""
    dataset = SimpleNamespace(labeled_idxs=np.zeros(N, bool), n_pool=N)
    dataset.get_train_data = lambda: (dataset.labeled_idxs.copy(), IMG)
    net = SimpleNamespace(get_embeddings=lambda data: data)
    host = type("Hosted", (HNScoreStrategy, DeepAlStrategy), {"selection": {"method": "coverage"}})
    strategy = host(dataset, net)
    for labeled in (0, 20, 40):
        assert dataset.labeled_idxs.sum() == labeled
        query_idxs = strategy.query(20)
        assert not dataset.labeled_idxs[query_idxs].any()
        strategy.update(query_idxs)
    assert dataset.labeled_idxs.all()


@pytest.mark.parametrize("one_modality", [False, True])
def test_rows_of_zeros_end_no_run(one_modality: bool) -> None:
    """A narrow ReLU layer makes them, after hours of training: similar to nothing, picked last, one warning."""
    labeled = labeled_mask()
    zero = [2, 7, 9, 30]  # 9 is labeled
    img, txt = IMG.clone(), TXT.clone()
    img[zero] = 0
    txt[5] = 0  # of a labeled pair
    if one_modality:
        host = type("Hosted", (HNScoreStrategy, BadgeStrategy), {"returns": "indices"})
        strategy = host(img.numpy(), Y, labeled, None, None, None)
    else:
        host = type("Hosted", (HNScoreStrategy, AscmrStrategy), {"returns": "indices"})
        model = SimpleNamespace(get_embedding=lambda a, b, y, all_modal: (a, b))
        strategy = host([], Y, labeled, [], Y, model, None, "cpu", None, X_img=img, X_txt=txt)
    free = int((~labeled).sum())
    with pytest.warns(UserWarning, match="the pool has zeros in rows 2, 7, 9, 30: ") as caught:
        picks = strategy.query(free)
    assert len(caught) == 1
    assert sorted(picks) == np.flatnonzero(~labeled).tolist()
    assert picks[-3:].tolist() == [2, 7, 30]

    kept = np.setdiff1d(np.arange(N), zero)
    scores = None
    if not one_modality:
        known = np.setdiff1d(np.flatnonzero(labeled), [9, 5])
        unlabeled = np.setdiff1d(np.flatnonzero(~labeled), zero)
        hard = hnscore.score(img.numpy()[unlabeled], txt.numpy()[known], 0.2, reference=img.numpy()[known])
        scores = np.zeros(N)
        scores[unlabeled] = hard.max() - hard
        scores = scores[kept]
    want = hnscore.select(scores, 5, embeddings=img.numpy()[kept], labeled=np.flatnonzero(labeled[kept]))
    assert picks[:5].tolist() == kept[want].tolist()
