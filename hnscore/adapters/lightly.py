"""Selection as lightly-mundig, the engine of LightlyStudio, has it: its names and its lists, with exact picks.

selection = hnscore.adapters.lightly.Selection()
selection.add_diversifying_strategy(embeddings, 1.0)
selection.run_selection(preselected_indices, n_total_samples, n_samples_to_select)

In LightlyStudio itself scores are metadata of the samples, by which its own ``metadata_weighting`` selects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.arguments.numbers import check_integer, check_positive
from hnscore.arguments.options import ArrayLike


class Selection:
    """`hnscore.core_set` where rows are to be diverse, `hnscore.select` by weight, and weighted coverage for both.

    One strategy of each kind; the host multiplies distances and weights where it has both, which covers no pool.
    """

    def __init__(self) -> None:
        self._embeddings: NDArray[Any] | None = None
        self._weights: NDArray[Any] | None = None

    def add_diversifying_strategy(
        self, embeddings: ArrayLike, strength: float = 1.0, stopping_condition_minimum_distance: float | None = None
    ) -> None:
        """Rows far from each other: the cosine distances of `embeddings` (n, dim). The host's are Euclidean, which on
        rows of length 1 give the same picks.

        Parameters
        ----------
        embeddings : array (n, dim)
        strength : float
            Above 0. No pick depends on it.
        stopping_condition_minimum_distance : None
            There is none: `hnscore.duplicates` finds rows that are too near.

        Raises
        ------
        ValueError
            For a second such strategy, a strength that is not above 0, a stopping condition.
        """
        check_positive("strength", strength)
        if stopping_condition_minimum_distance is not None:
            raise ValueError(
                "stopping_condition_minimum_distance must be None, got "
                f"{stopping_condition_minimum_distance!r}; leave rows that are too near out by hnscore.duplicates"
            )
        if self._embeddings is not None:
            raise ValueError("add_diversifying_strategy must be called once, got a second one; make a new Selection")
        self._embeddings = np.asarray(embeddings)

    def add_weighting_strategy(self, weights: ArrayLike, strength: float = 1.0) -> None:
        """Rows of large weight, such as hard-negative scores.

        Parameters
        ----------
        weights : array (n,)
            At least 0 where rows are to be diverse too.
        strength : float
            Above 0. No pick depends on it.

        Raises
        ------
        ValueError
            For a second such strategy, a strength that is not above 0.
        """
        check_positive("strength", strength)
        if self._weights is not None:
            raise ValueError("add_weighting_strategy must be called once, got a second one; make a new Selection")
        self._weights = np.asarray(weights)

    def run_selection(
        self, preselected_indices: Sequence[int], n_total_samples: int, n_samples_to_select: int
    ) -> list[int]:
        """The rows that are selected: those of before first, which count, then the picks, best first.

        Parameters
        ----------
        preselected_indices : list of int
            Rows that are selected already.
        n_total_samples : int
            Rows of the embeddings, and weights.
        n_samples_to_select : int
            Of the result.

        Returns
        -------
        indices : list of int (n_samples_to_select,)

        Raises
        ------
        TypeError, ValueError
            As `hnscore.select`; without a strategy, or for another number of rows.
        """
        before = [int(row) for row in preselected_indices]
        budget = check_integer(
            "n_samples_to_select", n_samples_to_select, len(before), n_total_samples, "rows, with those of before"
        ) - len(before)
        if self._embeddings is None and self._weights is None:
            raise ValueError("a strategy must be added before run_selection, got none; call add_diversifying_strategy")
        for name, rows in (("embeddings", self._embeddings), ("weights", self._weights)):
            if rows is not None and len(rows) != n_total_samples:
                raise ValueError(f"n_total_samples must be the number of {name}, {len(rows)}, got {n_total_samples}")
        labeled = before or None
        if self._embeddings is None:
            picks = hnscore.select(self._weights, budget, labeled=labeled)
        elif self._weights is None:
            picks = hnscore.core_set(self._embeddings, budget, labeled=labeled)
        else:
            picks = hnscore.select(
                self._weights, budget, embeddings=self._embeddings, method="coverage", labeled=labeled
            )
        return [*before, *map(int, picks)]
