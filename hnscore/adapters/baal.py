"""A heuristic for baal: images that are hard negatives of the texts that are paired already.

heuristic = HardNegatives(hnscore.Scorer(txt, 0.2, reference=r))
active_set = ActiveLearningLoop(dataset, encoder.predict_on_dataset, heuristic, query_size=100)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from baal.active.heuristics import AbstractHeuristic
from numpy.typing import NDArray

from hnscore.scores.scorer import Scorer


class HardNegatives(AbstractHeuristic):  # type: ignore[misc]  # the host has no types
    """Rank images by `hnscore.Scorer.score`.

    Parameters
    ----------
    scorer : Scorer
        Of the paired texts.
    prefer : {"hard", "easy"}
        The largest scores first, or the smallest.
    shuffle_prop : float
        As baal has it.
    """

    def __init__(self, scorer: Scorer, prefer: str = "hard", shuffle_prop: float = 0.0) -> None:
        super().__init__(shuffle_prop=shuffle_prop, reverse=prefer != "easy")
        self.scorer = scorer

    def compute_score(self, predictions: object, target_predictions: object = None) -> NDArray[Any]:
        """The scores of image embeddings, (n, dim), or (n, dim, iterations), whose mean is scored."""
        emb = np.asarray(predictions)
        emb = emb.mean(axis=-1) if emb.ndim == 3 else emb
        scores: NDArray[Any] = self.scorer.score(np.ascontiguousarray(emb))
        return scores
