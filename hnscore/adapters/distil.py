"""A strategy for DISTIL, as a mixin that stands before the host's own `Strategy`.

class Cover(HNScoreStrategy, Strategy):
    selection = {"method": "coverage"}

Cover(labeled_dataset, unlabeled_dataset, net, nclasses, args).select(budget)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hnscore.adapters.picks import covering


class HNScoreStrategy:
    """Picks that cover the unlabeled dataset, beside the labeled one, by the model's embeddings of both.

    Attributes
    ----------
    selection : mapping
        Keywords of `hnscore.select`; its method may be "core_set" too.
    """

    selection: ClassVar[Mapping[str, Any]] = {}

    # What the host has.
    labeled_dataset: Any
    unlabeled_dataset: object
    get_embedding: Any

    def select(self, budget: int) -> list[int]:
        """Positions in the unlabeled dataset, best first."""
        unlabeled = _array(self.get_embedding(self.unlabeled_dataset))
        labeled = unlabeled[:0]
        if len(self.labeled_dataset):  # whose items have a label, which the host's embedding does not take
            labeled = _array(self.get_embedding(_Unlabeled(self.labeled_dataset)))
        emb = np.concatenate([unlabeled, labeled])
        rows = np.arange(len(emb))
        picks = covering(emb, rows[: len(unlabeled)], rows[len(unlabeled) :], budget, **self.selection)
        return [int(row) for row in picks]


class _Unlabeled:
    """A dataset without its labels."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Any:
        return self.dataset[i][0]


def _array(x: Any) -> NDArray[Any]:
    return np.asarray(x.detach().float().cpu()) if hasattr(x, "detach") else np.asarray(x)
