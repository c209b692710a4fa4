"""What is known of a file before its rows are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hnscore.datasets.location import Location


class Described(NamedTuple):
    """What a file holds, as its header says."""

    n_rows: int
    dim: int  # 0: unknown, of no rows
    dtype: np.dtype[Any] | None


class Format(Protocol):
    def __init__(self, location: Location, column: str | None, dtype: str | None) -> None: ...
    def describe(self) -> Described: ...
    def blocks(self, n_rows: int) -> Iterator[NDArray[Any]]: ...


def chosen(wanted: str | None, fitting: list[str], all_names: list[str], what: str) -> str:
    if wanted is not None:
        check_there(wanted, all_names, what)
        return wanted
    if len(fitting) != 1:
        some = ", ".join(map(repr, (fitting or all_names)[:8]))
        raise ValueError(f"it holds {len(fitting)} {what}s that may be embeddings; pass column=, one of {some}")
    return fitting[0]


def check_there(name: str, names: list[str], what: str = "column") -> None:
    if name not in names:
        raise ValueError(f"it has no {what} {name!r}; pass one of {', '.join(map(repr, names[:12]))}")
