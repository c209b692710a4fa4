"""Zero rows in a host's pool: a narrow ReLU layer makes them, and a run that has trained for hours must not end there.

A zero row has no direction. It is similar to nothing: it is picked last, covers nothing, and one warning names it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAMED = 8


def zero_rows(emb: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows are zero, (n,). NaN is not."""
    zero: NDArray[np.bool_] = ~np.any(emb != 0, axis=1)
    return zero


def pick_around_zero_rows(
    pick: Callable[..., Any],
    n: int,
    emb: NDArray[Any],
    labeled: NDArray[np.int64],
    rows: NDArray[np.int64],
    name: str,
    per_row: dict[str, Any],
) -> NDArray[np.int64]:
    """n rows of `emb`, none of them labeled, zero rows last.

    ``pick(n, embeddings=..., labeled=..., **per_row)`` picks among rows that are not zero; `labeled` is None where
    there are none. `rows` are what the caller's array `name` calls the rows of `emb`. `per_row`: further arrays by row.
    """
    zero = zero_rows(emb)
    if not zero.any():
        return np.asarray(pick(n, embeddings=emb, labeled=labeled if len(labeled) else None, **per_row), np.int64)
    named = np.sort(rows[zero])
    more = ", ..." if len(named) > _NAMED else ""
    warnings.warn(
        f"{name} has zeros in row{'s' if len(named) > 1 else ''} {', '.join(map(str, named[:_NAMED]))}{more}: rows "
        "without a direction are similar to nothing, and are picked last",
        UserWarning,
        stacklevel=4,
    )
    kept = np.flatnonzero(~zero)
    free = np.ones(len(emb), np.bool_)
    free[labeled] = False
    known = np.flatnonzero(~free[kept])
    some = min(n, int(free[kept].sum()))
    picks = np.zeros(0, np.int64)
    if some:
        arrays = {key: np.asarray(values)[kept] for key, values in per_row.items()}
        picks = kept[
            np.asarray(pick(some, embeddings=emb[kept], labeled=known if len(known) else None, **arrays), np.int64)
        ]
    last = np.flatnonzero(zero & free)[: n - some]
    return np.concatenate([picks, last])
