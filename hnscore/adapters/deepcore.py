"""A method for DeepCore: a subset that covers the training set.

class Cover(HNScoreSubset, EarlyTrain):                       # in deepcore/methods, and its name in methods.__dict__
    def embed(self):                                          # (n, dim), of dst_train, by self.model
        ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hnscore.adapters.picks import covering


class HNScoreSubset:
    """What `finish_run` of the host is to return: the picked rows of the training set, a fraction of it.

    Attributes
    ----------
    selection : mapping
        Keywords of `hnscore.select`; its method may be "core_set" too.
    """

    selection: ClassVar[Mapping[str, Any]] = {}

    # What the host has.
    n_train: int
    fraction: float

    def embed(self) -> Any:
        """Embeddings of the training set, (n_train, dim)."""
        raise NotImplementedError(f"{type(self).__name__}.embed must give the embeddings of dst_train; override it")

    def finish_run(self) -> dict[str, NDArray[np.int64]]:
        emb = np.asarray(self.embed())
        n = round(self.fraction * len(emb))
        rows = np.arange(len(emb))
        return {"indices": covering(emb, rows, rows[:0], n, **self.selection)}
