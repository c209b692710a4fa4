"""Facility location in the shape of apricot and of submodlib, without their matrix of all pairs.

    from hnscore.adapters.submodular import FacilityLocationSelection     # in place of apricot's
    FacilityLocationSelection(100, metric="cosine").fit(X).ranking

    from hnscore.adapters.submodular import FacilityLocationFunction      # in place of submodlib's
    FacilityLocationFunction(n=len(X), data=X, mode="dense", metric="cosine").maximize(budget=100)

The "cosine" kernel is ``max(s, 0)`` (apricot's own squares the cosine; a precomputed matrix of cosines gives it this
one); "exponential" is that of `hnscore.select`, which is far faster. Gains are sums over the pool, as they have them.
"""

# ruff: noqa: N803  X is what the hosts call samples

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.arguments.numbers import check_choice, check_integer

METRICS = ("cosine", "exponential")


def _picked(emb: Any, budget: int, metric: str, **options: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    check_choice("metric", metric, METRICS)
    given: dict[str, Any] = {"kernel": metric, "subsample": None} | options
    select: Any = hnscore.select
    rows, gains = select(None, budget, embeddings=emb, method="coverage", return_gains=True, **given)
    return rows, gains * len(emb)


class FacilityLocationSelection:
    """As `apricot.FacilityLocationSelection`, exact.

    Parameters
    ----------
    n_samples : int
        How many to pick.
    metric : {"cosine", "exponential"}
        The kernel.
    **options
        Of `hnscore.select`: ``temperature``, ``memory_limit``, ``n_threads``, ...

    Attributes
    ----------
    ranking : int64 array (n_samples,)
        Rows in the order of picking.
    gains : float64 array (n_samples,)
        What each added to the objective, a sum over the pool.
    """

    def __init__(self, n_samples: int, metric: str = "cosine", **options: Any) -> None:
        self.n_samples, self.metric, self.options = n_samples, metric, options
        self.ranking: NDArray[np.int64] | None = None
        self.gains: NDArray[np.float64] | None = None

    def fit(self, X: object, y: object = None) -> FacilityLocationSelection:
        """Pick from the rows of X, embeddings (n, dim)."""
        self.ranking, self.gains = _picked(X, self.n_samples, self.metric, **self.options)
        return self

    def transform(self, X: object) -> Any:
        """The picked rows of X."""
        if self.ranking is None:
            raise ValueError("fit must come before transform; call fit_transform")
        return np.asarray(X)[self.ranking]

    def fit_transform(self, X: object, y: object = None) -> Any:
        return self.fit(X).transform(X)


class FacilityLocationFunction:
    """As `submodlib.FacilityLocationFunction`, exact, of embeddings.

    Parameters
    ----------
    n : int
        Rows of data.
    data : array (n, dim)
        Embeddings.
    mode : str
        Ignored: nothing is stored, and nothing is left out.
    metric : {"cosine", "exponential"}
        The kernel.
    **options
        Of `hnscore.select`.
    """

    def __init__(self, n: int, data: Any, mode: str = "dense", metric: str = "cosine", **options: Any) -> None:
        if n != len(data):
            raise ValueError(f"n must be the number of rows of data, {len(data)}, got {n}; pass that")
        self.data, self.metric, self.options = data, metric, options

    def maximize(self, budget: int, optimizer: str = "LazyGreedy", **ignored: object) -> list[tuple[int, float]]:
        """Picks with their gains; any optimizer of the host means the exact greedy."""
        budget = check_integer("budget", budget, 0, len(self.data), "rows to pick")
        rows, gains = _picked(self.data, budget, self.metric, **self.options)
        return list(zip(rows.tolist(), gains.tolist(), strict=True))
