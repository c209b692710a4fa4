"""A query strategy for small-text: picks that cover the unlabeled texts, beside the labeled ones.

strategy = HNScoreSampling(method="coverage")
active_learner = PoolBasedActiveLearner(classifier_factory, strategy, dataset)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_text.query_strategies import EmbeddingBasedQueryStrategy

from hnscore.adapters.picks import covering
from hnscore.arguments.numbers import check_choice

_METHODS = ("coverage", "herding", "core_set")


class HNScoreSampling(EmbeddingBasedQueryStrategy):  # type: ignore[misc]  # the host has no types
    """Pick the texts that represent the unlabeled ones best.

    Parameters
    ----------
    method : {"coverage", "herding", "core_set"}
        As `hnscore.select` and `hnscore.core_set` have them.
    select_dict : dict, optional
        Further keywords of them, for example ``{"temperature": 0.05}``.

    Notes
    -----
    The host hands over the embeddings with the unlabeled texts first, then the labeled ones. **Where you pass
    embeddings yourself** (``query(..., embeddings=E)``) it does not reorder them: pass
    ``E[np.concatenate([unlabeled, labeled])]``. Embeddings of zeros are picked last, and named in a warning.
    """

    def __init__(self, method: str = "coverage", select_dict: dict[str, Any] | None = None) -> None:
        check_choice("method", method, _METHODS)
        self.method, self.select_dict = method, select_dict or {}

    def sample(  # noqa: PLR0917  as the host calls it
        self,
        clf: object,
        dataset: object,
        indices_unlabeled: NDArray[np.int64],
        indices_labeled: NDArray[np.int64],
        y: object,
        n: int,
        embeddings: object,
        embeddings_proba: object = None,
    ) -> NDArray[np.int64]:
        """Positions among the unlabeled texts, (n,)."""
        emb = np.asarray(embeddings)
        rows = np.arange(len(emb))
        n_unlabeled = len(indices_unlabeled)
        return covering(emb, rows[:n_unlabeled], rows[n_unlabeled:], n, method=self.method, **self.select_dict)

    def __str__(self) -> str:
        return f"HNScoreSampling(method={self.method!r})"
