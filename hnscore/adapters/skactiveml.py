"""Query strategies for scikit-activeml: picks that cover the pool, by `hnscore.select` and `hnscore.core_set`; and hard
negatives of texts, by `hnscore.score`.

strategy = HNScoreSampling(method="coverage")
query_idx = strategy.query(X=embeddings, y=y, batch_size=100)
"""

# ruff: noqa: N803, N806  X is what the host calls samples

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skactiveml.base import SingleAnnotatorPoolQueryStrategy
from skactiveml.utils import MISSING_LABEL, labeled_indices, simple_batch

import hnscore
from hnscore.adapters.picks import covering
from hnscore.adapters.zero_rows import zero_rows
from hnscore.arguments.numbers import check_choice, count_threads
from hnscore.arguments.options import PREFERENCES
from hnscore.selections.gains import gains_of_all
from hnscore.selections.greedy import Pool

_METHODS = ("coverage", "herding", "core_set")


class HNScoreSampling(SingleAnnotatorPoolQueryStrategy):  # type: ignore[misc]  # the host has no types
    """Pick the candidates that represent the pool best, beside what is labeled already.

    The samples are embeddings, compared by cosine similarity; their labels only say which are known. A sample of zeros
    has no direction: other strategies of the host take it, so it is no error here, but is similar to nothing, picked
    last, and named in a warning.

    Parameters
    ----------
    method : {"coverage", "herding", "core_set"}
        Greedy facility location, kernel herding (`hnscore.select`), or k-center (`hnscore.core_set`).
    select_dict : dict, optional
        Further keywords of `hnscore.select`, for example ``{"temperature": 0.05}``.
    missing_label : scalar, str, None or np.nan
        The value of a missing label.
    random_state : int, RandomState or None
        For `hnscore.select`.
    """

    def __init__(
        self,
        method: str = "coverage",
        select_dict: dict[str, Any] | None = None,
        missing_label: object = MISSING_LABEL,
        random_state: object = None,
    ) -> None:
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.method = method
        self.select_dict = select_dict

    def query(
        self, X: Any, y: object, candidates: object = None, batch_size: int = 1, return_utilities: bool = False
    ) -> NDArray[np.int64] | tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Determine which samples to label next.

        Parameters
        ----------
        X : array (n_samples, n_features)
            Embeddings, labeled and unlabeled.
        y : array (n_samples,)
            Labels, `missing_label` where unknown.
        candidates : None, integer array (n_candidates,) or array (n_candidates, n_features)
            What may be picked: every unlabeled sample of X, some of them by index, or samples of their own. What is
            represented are the candidates; other unlabeled samples of X are left out.
        batch_size : int
            How many to pick.
        return_utilities : bool
            Whether to return utilities too.

        Returns
        -------
        query_indices : int64 array (batch_size,)
            Best first: rows of X, or of the candidates where these are samples.
        utilities : float64 array (batch_size, n_samples) or (batch_size, n_candidates)
            What each candidate would have added at each step: for "core_set" its distance to the nearest sample that
            is labeled or picked, or where there is none its likeness to the mean sample; for "coverage" what the mean
            over the candidates would rise by; for "herding" the mean kernel less that with the chosen. The pick has the
            largest; samples of zeros the least; NaN for all that cannot be picked any more, labeled ones among them.
            It takes a look at all candidates for each pick.
        """
        X, y, candidates, batch_size, return_utilities = self._validate_data(
            X, y, candidates, batch_size, return_utilities, reset=True
        )
        check_choice("method", self.method, _METHODS)
        rows, mapping = self._transform_candidates(candidates, X, y, allow_only_unlabeled=True)
        known = labeled_indices(y, self.missing_label_)
        names = np.arange(len(rows)) if mapping is None else mapping
        picks = self._pick(rows, X[known], batch_size, np.concatenate([names, known]))
        if not return_utilities:
            return picks if mapping is None else mapping[picks]
        return (picks if mapping is None else mapping[picks]), self._utilities(rows, X, known, picks, mapping)

    def _utilities(
        self,
        rows: NDArray[Any],
        X: NDArray[Any],
        known: NDArray[np.int64],
        picks: NDArray[np.int64],
        mapping: NDArray[np.int64] | None,
    ) -> NDArray[np.float64]:
        """Of the rows at each step, or of all of X where these are some of its samples."""
        emb = np.concatenate([rows, X[known]])
        real = np.flatnonzero(~zero_rows(emb))
        place = np.full(len(emb), -1)
        place[real] = np.arange(len(real))
        some = picks[place[picks] >= 0]
        gains = np.full((len(picks), len(rows)), np.nan)
        if len(some):
            pool = Pool("X", emb[real], count_threads(None))
            labeled = place[len(rows) :][place[len(rows) :] >= 0]
            temperature = float((self.select_dict or {}).get("temperature", 0.1))
            of_real = gains_of_all(self.method, pool, place[some], labeled, temperature)
            own = real[real < len(rows)]
            gains[: len(some), own] = of_real[:, place[own]]
        zero = place[: len(rows)] < 0
        for step in range(len(picks)):
            least = np.nanmin(gains[step]) - 1 if step < len(some) else 0.0
            gains[step, zero] = least
            gains[step, picks[:step]] = np.nan
            if step >= len(some):  # only samples of zeros are left: in the order of their rows
                gains[step, picks[step]] = 1.0
        if mapping is None:
            return gains
        utilities = np.full((len(picks), len(X)), np.nan)
        utilities[:, mapping] = gains
        return utilities

    def _pick(self, rows: NDArray[Any], known: NDArray[Any], n: int, names: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions among `rows`; `names` are the rows of X."""
        options = dict(self.select_dict or {}) | {"method": self.method}
        if self.method != "core_set":
            options["random_state"] = self.random_state_
        labeled = np.arange(len(rows), len(rows) + len(known))
        return covering(np.concatenate([rows, known]), np.arange(len(rows)), labeled, n, names=names, of="X", **options)


class HardNegativeSampling(SingleAnnotatorPoolQueryStrategy):  # type: ignore[misc]  # the host has no types
    """Pick the candidates by how hard a negative each is for texts that are paired already: `hnscore.score`.

    Parameters
    ----------
    txt_emb : array (n_txt, n_features)
        Embeddings of the texts.
    margin : float
        Of `hnscore.score`.
    prefer : {"hard", "easy"}
        The hardest negatives first, or the least hard ones, which made the better training set
        (docs/active_learning.md).
    score_dict : dict, optional
        Further keywords of `hnscore.score`, for example ``{"reference": own_similarities}``. With the default,
        "pool_max", a text is measured against its best match among the candidates.
    missing_label : scalar, str, None or np.nan
        The value of a missing label.
    random_state : int, RandomState or None
        Breaks ties, as the host has it.
    """

    def __init__(
        self,
        txt_emb: Any = None,
        margin: float = 0.2,
        prefer: str = "hard",
        score_dict: dict[str, Any] | None = None,
        missing_label: object = MISSING_LABEL,
        random_state: object = None,
    ) -> None:
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.txt_emb = txt_emb
        self.margin = margin
        self.prefer = prefer
        self.score_dict = score_dict

    def query(
        self, X: Any, y: object, candidates: object = None, batch_size: int = 1, return_utilities: bool = False
    ) -> Any:
        """Determine which samples to label next.

        Parameters
        ----------
        X, y, candidates, batch_size, return_utilities
            As in `HNScoreSampling`; X are embeddings of images.

        Returns
        -------
        query_indices : int64 array (batch_size,)
            Best first: rows of X, or of the candidates where these are samples.
        utilities : float64 array (batch_size, n_samples) or (batch_size, n_candidates)
            The scores, negative with ``prefer="easy"``; NaN for all that cannot be picked any more.
        """
        X, y, candidates, batch_size, return_utilities = self._validate_data(
            X, y, candidates, batch_size, return_utilities, reset=True
        )
        check_choice("prefer", self.prefer, PREFERENCES)
        rows, mapping = self._transform_candidates(candidates, X, y, allow_only_unlabeled=True)
        scores = np.asarray(hnscore.score(rows, self.txt_emb, self.margin, **(self.score_dict or {})), np.float64)
        scores = -scores if self.prefer == "easy" else scores
        if mapping is None:
            utilities = scores
        else:
            utilities = np.full(len(X), np.nan)
            utilities[mapping] = scores
        return simple_batch(utilities, self.random_state_, batch_size=batch_size, return_utilities=return_utilities)
