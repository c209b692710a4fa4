"""A query strategy for deep-active-learning repositories, as a mixin that stands before the host's own `Strategy`.

    class CoverPairs(HNScoreStrategy, Strategy):  # ASCMR: a pool of images and texts
        margin = 0.1

    class HardestFirst(HNScoreStrategy, Strategy):  # as the paper on hard negatives picks
        prefer = "hard"
        selection = {"method": "top"}

    class Cover(HNScoreStrategy, Strategy):  # BADGE: one modality, no scores; deep-active-learning needs no `returns`
        returns = "indices"

The host constructs it, trains and calls ``query(n)`` as it does with its own strategies. Rows that a model embeds as
zeros are similar to nothing: they are picked last, their texts score nothing, and a warning names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.adapters.zero_rows import pick_around_zero_rows, zero_rows
from hnscore.arguments.arrays import is_tensor
from hnscore.arguments.numbers import check_choice

_PER_ROW = ("density", "regions")
_WITHOUT_SCORES = ("auto", "coverage", "stochastic", "herding")


class HNScoreStrategy:
    """Picks by `hnscore.select`; where the pool has images and texts, from `hnscore.score`.

    The defaults are what made the better training set on real data, picks that cover the images that are the *least*
    hard negatives; the hardest ones were worse than random picks (docs/active_learning.md).

    Attributes
    ----------
    margin : float
        Of `hnscore.score`.
    score_options : mapping
        Further keywords of `hnscore.score`, for example ``{"weight": "count"}``.
    prefer : {"easy", "hard"}
        Whether low or high hard-negative scores are better: "easy" takes by how much a score is below the highest.
    selection : mapping
        Keywords of `hnscore.select`: its method, by default "auto", and what that needs. Arrays are per row of the
        pool. Give "embeddings" where you have features that no label has shaped: they are the better ones to cover,
        and without them it is the model's embeddings of this round.
    returns : {"auto", "tuple", "indices"}
        What `query` returns: ``(pool indices, None, None, None, positions among the unlabeled, None)`` for ASCMR and
        ALFA-Mix, or the pool indices alone for BADGE and deep-active-learning; best first. "auto" knows ASCMR by its
        images and texts, deep-active-learning by its dataset; what has neither is taken for ALFA-Mix.
    """

    margin: ClassVar[float] = 0.2
    score_options: ClassVar[Mapping[str, Any]] = {}
    prefer: ClassVar[str] = "easy"
    selection: ClassVar[Mapping[str, Any]] = {}
    returns: ClassVar[str] = "auto"

    # What the host has; `dataset` and `get_embeddings` are those of deep-active-learning since 2021.
    n_pool: int
    idxs_lb: NDArray[np.bool_]
    X: object
    Y: object
    X_img: object
    X_txt: object
    dataset: Any
    get_embedding: Any
    get_embeddings: Any

    def query(self, n: int) -> Any:
        """The next n rows of the pool to label."""
        check_choice("returns", self.returns, ("auto", "tuple", "indices"))
        check_choice("prefer", self.prefer, ("easy", "hard"))
        labeled = np.asarray(self.dataset.labeled_idxs if hasattr(self, "dataset") else self.idxs_lb, np.bool_)
        known, unlabeled = np.flatnonzero(labeled), np.flatnonzero(~labeled)
        img_emb, txt_emb = self.embed_pool()
        zero = zero_rows(img_emb)
        pairs = known if txt_emb is None else known[~zero[known] & ~zero_rows(txt_emb)[known]]
        scored = unlabeled[~zero[unlabeled]]
        scores = self.score_pool(img_emb, txt_emb, scored, pairs)
        if scores is not None:
            of_pool = np.zeros(len(labeled))  # those of other rows are never looked at
            of_pool[scored] = _numbers(scores)
            scores = of_pool
        options = self.selection_options(img_emb)
        emb = _numbers(options.pop("embeddings"))
        # A row that has no embedding here is no candidate either, whatever embeddings are covered.
        emb = np.where(zero[:, None], 0, emb) if zero.any() else emb
        per_row = {name: options.pop(name) for name in _PER_ROW if np.ndim(options.get(name, 0)) == 1}
        if scores is not None:
            per_row["scores"] = scores

        def pick(n: int, scores: Any = None, **given: Any) -> Any:
            return hnscore.select(scores, n, **given, **options)

        picks = pick_around_zero_rows(pick, n, emb, known, np.arange(len(emb)), "the pool", per_row)
        if self.returns == "indices" or (self.returns == "auto" and hasattr(self, "dataset")):
            return picks
        return picks, None, None, None, np.searchsorted(unlabeled, picks), None

    def embed_pool(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Embeddings of all rows of the pool: images and texts, or those of a single modality and None."""
        if getattr(self, "X_img", None) is not None:
            img_emb, txt_emb = self.get_embedding(self.X_img, self.X_txt, self.Y, all_modal=True)
            return _numbers(img_emb), _numbers(txt_emb)
        if hasattr(self, "dataset"):
            return _numbers(self.get_embeddings(self.dataset.get_train_data()[1])), None
        return _numbers(self.get_embedding(self.X, self.Y)), None

    def score_pool(
        self,
        img_emb: NDArray[Any],
        txt_emb: NDArray[Any] | None,
        unlabeled: NDArray[np.int64],
        labeled: NDArray[np.int64],
    ) -> Any:
        """Scores of the unlabeled rows, higher is better, (n_unlabeled,); None for a selection without scores.

        `unlabeled` and `labeled` lack the rows whose embeddings are zeros.

        Here, how hard a negative an unlabeled image is for the labeled texts, measured against their own images, or how
        much less hard than the hardest where `prefer` is "easy". Override it for other scores, and always where there
        is one modality and the selection needs scores.
        """
        if txt_emb is not None:
            reference = img_emb[labeled]
            hardness = hnscore.score(
                img_emb[unlabeled], txt_emb[labeled], self.margin, reference=reference, **self.score_options
            )
            return hardness if self.prefer == "hard" else hardness.max(initial=0) - hardness  # at least 0
        if self.selection.get("method", "auto") in _WITHOUT_SCORES:
            return None
        raise NotImplementedError(
            f"{type(self).__name__}.score_pool must be overridden where the pool has one modality, of which there are "
            f"no hard negatives; or choose a selection without scores: {', '.join(_WITHOUT_SCORES)}"
        )

    def selection_options(self, img_emb: NDArray[Any]) -> dict[str, Any]:
        """Keywords of `hnscore.select` in this round. Override it to add what the embeddings give, such as regions."""
        return {"embeddings": img_emb, **self.selection}


def _numbers(x: Any) -> NDArray[Any]:
    """A tensor as an array; NumPy lacks bfloat16, whose values float32 holds."""
    if is_tensor(x):
        x = x.detach().cpu()
        x = x.float() if str(x.dtype) == "torch.bfloat16" else x
    return np.asarray(x)
