"""A side of a call in CPU memory: its rows, with what an error says of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import read_embeddings
from hnscore.arguments.rules import refuse_bad_rows


class HostRows(NamedTuple):
    name: str  # of the argument
    array: NDArray[Any]
    code: int  # of the dtype
    shape: tuple[int, ...]
    numbers: NDArray[np.int64] | None = None  # that the rows have for the caller, or
    first: int = 0  # the number of the first one

    @property
    def row_bytes(self) -> int:
        return max(1, self.array.itemsize * self.shape[1])

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def part(self, start: int, stop: int) -> HostRows:
        array = self.array[start:stop]
        return HostRows(self.name, array, self.code, array.shape, None, start)

    def refuse(self, bad: _core.BadRows, *, only_cosine: bool = False) -> None:
        """The error for rows that the core reports, where there are any."""
        if bad:
            refuse_bad_rows(self.name, bad, self.numbers, self.first, only_cosine=only_cosine)


def in_use(array: NDArray[Any], drawn: NDArray[np.int64] | None) -> NDArray[Any]:
    """What a minibatch leaves of one value or row for each text."""
    return array if drawn is None else array[drawn]


def numbers_among(known: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    """Where each label is among the sorted known ones, -1 where it is not."""
    ids = np.searchsorted(known, labels)
    ids[ids == len(known)] = 0
    return np.where(known[ids] == labels, ids, -1)


def evenly_spread(n: int, most: int) -> NDArray[np.int64]:
    """At most so many of n rows."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64)) if n else np.empty(0, np.int64)


def host_rows(name: str, x: object) -> HostRows:
    array, code = read_embeddings(name, x)
    return HostRows(name, array, code, array.shape)
