"""A sampler in the shape of those of TypiClust and of deep-active-learning-pytorch.

elif sampling_fn == "hnscore":                                   # in ActiveLearning.sample_from_uSet
    return HNScore(cfg, lSet, uSet, budgetSize=budget, features=features).select_samples()
"""

# ruff: noqa: N803  the host's names

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.adapters.picks import covering


class HNScore:
    """Picks that cover the unlabeled set, beside the labeled one.

    Parameters
    ----------
    cfg
        The host's; not looked at.
    lSet, uSet : array
        Rows that are labeled, and that are not; floats too, as the host may have them.
    budgetSize : int
        How many to pick.
    features : array (n, dim)
        Of all rows, as ``pycls.datasets.utils.load_features`` reads them.
    **options
        Of `hnscore.select`: ``method`` ("coverage", or "core_set"), ``temperature``, ...
    """

    def __init__(
        self, cfg: object, lSet: object, uSet: object, budgetSize: int, features: object, **options: Any
    ) -> None:
        self.labeled, self.unlabeled = (np.asarray(rows).astype(np.int64) for rows in (lSet, uSet))
        self.budget, self.features, self.options = int(budgetSize), np.asarray(features), options

    def select_samples(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows that were picked, in their order, and those that remain, ascending."""
        picks = covering(self.features, self.unlabeled, self.labeled, self.budget, **self.options)
        active = self.unlabeled[picks]
        return active, np.setdiff1d(self.unlabeled, active)
