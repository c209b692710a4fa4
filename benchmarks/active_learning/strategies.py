"""Strategies: a score of every item, then a choice under the budget, as a configuration file spells them.

score = { kind = "hard_negative", reference = "positive", weight = "hinge", sign = -1 }
select = { method = "coverage", space = "features", temperature = 0.1 }

What stands beside `kind` and `method` goes to the function of hnscore that does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from data import normalized
from numpy.typing import NDArray
from options import check
from scipy.special import xlogy
from tasks import Options, Rows, View

import hnscore

Scores = NDArray[np.float64]
SELECTIONS = (
    "random",
    "core_set",
    "typiclust",
    "badge",
    "auto",
    "top",
    "density",
    "budgeted",
    "repulsive",
    "coverage",
    "herding",
)


@dataclass(frozen=True)
class Strategy:
    """A row of the results table."""

    name: str
    score: Options | None = None
    select: Options = field(default_factory=lambda: {"method": "top"})

    def __post_init__(self) -> None:
        where = f"strategies.{self.name}"
        if self.score is not None:
            kind = self.score.get("kind")
            if not isinstance(kind, str) or kind not in SCORES:
                raise ValueError(f"{where}: score kind must be one of {', '.join(SCORES)}, got {kind!r}")
            goes_to = getattr(hnscore, {"hard_negative": "score"}.get(kind, kind), None)
            check(f"{where}.score", self.score, _score, SCORES[kind], *([goes_to] if goes_to else []))
        method = self.select.get("method")
        if method not in SELECTIONS:
            raise ValueError(f"{where}: select method must be one of {', '.join(SELECTIONS)}, got {method!r}")
        check(f"{where}.select", self.select, *_goes_to(method))
        ranks = method in ("top", "density", "budgeted", "repulsive")
        if self.score is None and (ranks or "shortlist" in self.select):
            raise ValueError(f"{where}: select method {method!r}, or its shortlist, goes by score, and there is none; "
                             "add score = { kind = ... }")  # fmt: skip
        if ranks and self.select.get("ignore_scores"):
            raise ValueError(f"{where}: select method {method!r} goes by score; leave ignore_scores out")
        if not 0 < self.select.get("shortlist", 1) <= 1:
            raise ValueError(f"{where}: shortlist must be a share, above 0 and at most 1, got {self.select}")

    def pick(self, view: View, budget: int, random: np.random.Generator) -> Rows:
        """Items to annotate next, best first."""
        scores = None if self.score is None else _score(view, random, **self.score)
        return _select(view, scores, budget, random, **self.select)


def _score(
    view: View, random: np.random.Generator, *, kind: str, sign: float = 1, ranks: str = "", **keywords: Any
) -> Scores:
    """ranks "all": the share of the free items that score lower. "half": 1 for the better half, 0 for the other."""
    scores = sign * SCORES[kind](view, random, **keywords)
    if not ranks:
        return scores
    rank, free = np.zeros(len(scores)), view.free
    rank[free[np.argsort(scores[free], kind="stable")]] = np.arange(len(free)) / len(free)
    return rank if ranks == "all" else np.where(rank >= 0.5, 1.0, 0.0)


def _hard_negative(
    view: View, random: np.random.Generator, *, reference: Any = "positive", margin: float = 0.2, reference_k: int = 1,
    groups: int = 0, **keywords: Any,
) -> Scores:  # fmt: skip
    """The first paper's score of the free items against the pairs so far; 0 for labeled ones.

    reference_k: of the references "topk" (k) and "minibatch" (batch_size). groups: pairs within one of so many k-means
    clusters of the frozen features are taken for false negatives and do not count.
    """
    assert view.other_emb is not None
    assert view.other_owner is not None
    emb, free, owner = view.spaces["joint"], view.free, view.other_owner
    against: Any = reference
    if reference != "pool_max":
        extra: Any = {"topk": {"k": reference_k}, "minibatch": {"batch_size": reference_k}}.get(reference, {})
        paired, place = np.unique(owner, return_inverse=True)
        against = hnscore.reference_similarity(
            emb[paired], view.other_emb, owner=place, kind=reference, n_threads=1, **extra
        )
    if groups:
        cluster = _clusters(view.spaces["features"], groups, random)
        keywords.update(img_groups=cluster[free], txt_groups=cluster[owner])
    scores = np.zeros(view.n_items)
    scores[free] = hnscore.score(
        emb[free], view.other_emb, margin, reference=against, random_state=random, n_threads=1, **keywords
    )
    return scores


def _clusters(emb: NDArray[Any], n_clusters: int, random: np.random.Generator) -> Rows:
    from sklearn.cluster import KMeans

    model = KMeans(n_clusters, n_init=1, random_state=int(random.integers(2**31)))
    return np.asarray(model.fit_predict(normalized(emb)), np.int64)


def _density(view: View, random: np.random.Generator, *, space: str = "features", **keywords: Any) -> Scores:
    if keywords.get("kind") == "gaussian":  # of the Gaussians of the space "fused"
        assert view.gaussians is not None
        mean, var = hnscore.fuse(*view.gaussians)
        keywords.update(variance=var.mean(axis=1), similarity="dot")
        return np.asarray(hnscore.density(mean, n_threads=1, **keywords), np.float64)
    return np.asarray(hnscore.density(view.spaces[space], n_threads=1, **keywords), np.float64)


def _novelty(view: View, random: np.random.Generator, *, space: str = "features") -> Scores:
    """One less the similarity to the nearest labeled item."""
    emb = view.spaces[space]
    near = hnscore.density(emb, "knn", k=1, against=emb[view.labeled], n_threads=1)
    return np.asarray(1.0 - near, np.float64)


def _entropy(view: View, random: np.random.Generator) -> Scores:
    """Mean over the modalities of the entropy of the classes; with several labels, of the sum of theirs."""
    assert view.probabilities is not None
    p = view.probabilities.astype(np.float64)
    terms = -xlogy(p, p) - (xlogy(1 - p, 1 - p) if view.multi_label else 0.0)
    return np.asarray(terms.sum(axis=2).mean(axis=0))


def _informativeness(view: View, random: np.random.Generator, **keywords: Any) -> Scores:
    """The second paper's, of pairs embedded as Gaussians."""
    assert view.gaussians is not None
    scale, shift = view.match_scale
    found = hnscore.informativeness(
        *view.gaussians, scale=scale, shift=shift, random_state=random, n_threads=1, **keywords
    )
    return np.asarray(found.total, np.float64)


SCORES: dict[str, Callable[..., Scores]] = {
    "hard_negative": _hard_negative,
    "density": _density,
    "novelty": _novelty,
    "entropy": _entropy,
    "informativeness": _informativeness,
}


def _select(
    view: View, scores: Scores | None, budget: int, random: np.random.Generator, *, method: Any,
    space: str = "joint", shortlist: float = 1.0, ignore_scores: bool = False, density: Options | None = None,
    **keywords: Any,
) -> Rows:  # fmt: skip
    """`shortlist`: only this share of the free items, those that score highest, can be picked.

    `density`: of "density" and "budgeted", in place of hnscore's default, the options of the score of that name, or
    { kind = "gaussian" } for the overlap of the fused Gaussians.
    """
    if method == "badge":
        return _badge(view, budget, random)
    crowded = None if density is None else _density(view, random, **density)
    emb, labeled = view.spaces[space], view.labeled
    if shortlist < 1.0:
        assert scores is not None
        keep = max(budget, round(shortlist * len(view.free)))
        free = view.free[hnscore.select(scores[view.free], keep)]
        items = np.concatenate([labeled, free])
        emb, scores, labeled = emb[items], scores[items], np.arange(len(labeled))
        crowded = None if crowded is None else crowded[items]
    else:
        items = np.arange(view.n_items)
    if ignore_scores:
        scores = None
    if method == "random":
        picks = random.choice(np.setdiff1d(np.arange(len(items)), labeled), budget, replace=False)
    elif method == "core_set":
        picks = hnscore.core_set(emb, budget, labeled=labeled, n_threads=1)
    elif method == "typiclust":
        picks = _typiclust(emb, labeled, budget, random, **keywords)
    else:
        if method == "coverage" and scores is not None:
            scores = scores - min(scores.min(), 0.0)
        picks = hnscore.select(
            scores, budget, embeddings=emb, density=crowded, method=method, labeled=labeled,
            random_state=int(random.integers(2**31)), n_threads=1, **keywords,
        )  # fmt: skip
    return np.asarray(items[picks])


def _goes_to(method: str) -> list[Callable[..., Any]]:
    """What the options beside `method` are for."""
    of_method = {"random": [], "badge": [], "core_set": [], "typiclust": [_typiclust]}
    return [_select, *of_method.get(method, [hnscore.select])]


def _typiclust(emb: NDArray[Any], labeled: Rows, budget: int, random: np.random.Generator, *, most: int = 500) -> Rows:
    """TypiClust (Hacohen, Dekel, Weinshall 2022): the most typical item of each of the largest uncovered clusters."""
    x = normalized(emb)
    n_clusters = min(len(labeled) + budget, most)
    cluster = _clusters(emb, n_clusters, random)
    typical = np.empty(len(x))
    for c in range(n_clusters):
        rows = np.flatnonzero(cluster == c)
        typical[rows] = hnscore.density(x[rows], "knn", k=min(20, len(rows) - 1), n_threads=1) if len(rows) > 1 else 0
    taken = np.bincount(cluster[labeled], minlength=n_clusters)
    size = np.bincount(cluster, minlength=n_clusters)
    free = np.ones(len(x), bool)
    free[labeled] = False
    picks = []
    for _ in range(budget):
        left = np.bincount(cluster[free], minlength=n_clusters) > 0
        c = np.lexsort((-size, taken, ~left))[0]
        rows = np.flatnonzero(free & (cluster == c))
        best = rows[np.argmax(typical[rows])]
        free[best] = False
        taken[c] += 1
        picks.append(best)
    return np.array(picks)


def _badge(view: View, budget: int, random: np.random.Generator) -> Rows:
    """BADGE (Ash and others 2020): k-means++ seeding among the gradients of the last layer at the model's own labels.

    Our reading for pairs: p is the mean of both sides' probabilities, the layer's input is the row of "joint", and the
    label is the most probable class; with several labels, all that are more probable than not. The gradient is the
    outer product of p - label and the input, of which only inner products are needed:
    <g_i, g_j> = <p_i - label_i, p_j - label_j> <x_i, x_j>.
    """
    assert view.probabilities is not None
    free = view.free
    p = view.probabilities.mean(axis=0, dtype=np.float64)[free]
    label = p > 0.5 if view.multi_label else np.eye(p.shape[1])[p.argmax(axis=1)]
    error, x = p - label, view.spaces["joint"][free].astype(np.float64)
    square = (error**2).sum(axis=1) * (x**2).sum(axis=1)
    picks = [int(square.argmax())]
    distance = np.full(len(free), np.inf)
    while len(picks) < budget:
        last = picks[-1]
        distance = np.minimum(distance, square + square[last] - 2 * (error @ error[last]) * (x @ x[last]))
        distance = np.maximum(distance, 0.0)
        distance[picks] = 0.0
        left = np.delete(np.arange(len(free)), picks)
        total = distance[left].sum()
        picks.append(int(random.choice(left, p=distance[left] / total if total > 0 else None)))
    return free[picks]
