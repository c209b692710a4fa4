"""Picks that cover some rows of a pool, for hosts that name rows of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.adapters.zero_rows import pick_around_zero_rows


def covering(
    emb: NDArray[Any],
    unlabeled: NDArray[np.int64],
    labeled: NDArray[np.int64],
    n: int,
    *,
    names: NDArray[np.int64] | None = None,
    of: str = "embeddings",
    **options: object,
) -> NDArray[np.int64]:
    """Positions among the unlabeled rows, best first. `options`: of `hnscore.select`; the method may be "core_set" too.

    Rows of zeros have no direction: they are picked last, and named in a warning, as rows of the array `of`: by
    `names`, those of the unlabeled rows first.
    """
    given: dict[str, Any] = {"method": "coverage"} | options

    def pick(n: int, embeddings: NDArray[Any], labeled: Any) -> Any:
        if given["method"] == "core_set":
            rest = {name: x for name, x in given.items() if name != "method"}
            return hnscore.core_set(embeddings, n, labeled=labeled, **rest)
        return hnscore.select(None, n, embeddings=embeddings, labeled=labeled, **given)

    rows = np.concatenate([unlabeled, labeled]).astype(np.int64)
    known = np.arange(len(unlabeled), len(rows))
    return pick_around_zero_rows(pick, n, emb[rows], known, rows if names is None else names, of, {})
