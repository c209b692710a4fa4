"""Pairs that count, as lists: found for one part of the rows after the other, and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.numbers import check_choice
from hnscore.engine.host import HostRows
from hnscore.engine.memory.free import free_bytes
from hnscore.engine.pool import share_of
from hnscore.engine.protocol import Find

_MOST = 2**22  # pairs found at a time, where one row has not more: 64 MiB, twice while they are copied
_FIRST = 2**10  # rows, before it is known how many pairs a row has
_MOST_ROWS = 2**16


class Part(NamedTuple):
    """The lists of the rows from `first` on."""

    first: int
    counts: NDArray[np.int64]
    columns: NDArray[np.int32]
    similarities: NDArray[Any]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Of every pair."""
        return np.repeat(np.arange(self.first, self.first + len(self.counts)), self.counts)

    def lists(self) -> Lists:
        """The same, counted from `first`."""
        offsets = np.concatenate([[0], np.cumsum(self.counts)])
        return Lists(offsets, self.columns.astype(np.int64), self.similarities)


class Lists(NamedTuple):
    """The columns of row i and their similarities are the elements from offsets[i] to offsets[i + 1]."""

    offsets: NDArray[np.int64]
    indices: NDArray[np.int64]
    similarities: NDArray[Any]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Of every pair."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def finder(
    rows: HostRows,
    columns: _core.Columns,
    n_threads: int,
    dtype: type[np.generic],
    limits: Callable[[slice], dict[str, Any]],
    progress: Callable[[float], object] | None = None,
) -> Find:
    """The pairs of some rows with all columns; `limits`: what of the thresholds and rules these rows have."""
    n = rows.shape[0]

    def find(start: int, stop: int, most: int) -> Any:
        part = rows.part(start, stop)
        found = _core.pairs(
            part.array, part.code, columns, n_threads, most=most, in_float32=dtype is np.float32,
            progress=progress and share_of(progress, start, stop - start, n), **limits(slice(start, stop)),
        )  # fmt: skip
        if found is not None:
            part.refuse(found[-1])
        return found and found[:-1]

    return find


def parts(find: Find, n: int, n_columns: int, first: int = 0) -> Iterator[Part]:
    """The lists of the rows from `first` to before n. What is held at a time is bounded, whatever counts."""
    most = max(_MOST, n_columns)
    step = _FIRST
    while first < n:
        stop = min(n, first + step)
        found = find(first, stop, most)
        if found is None:
            step = max(1, (stop - first) // 4)
            continue
        yield Part(first, *found)
        expected = max(1, len(found[1]) // (stop - first))
        step = min(4 * step, max(1, most // (4 * expected)), _MOST_ROWS)
        first = stop


class Room:
    """How many pairs a result may have: as many as the caller allows, or as fit into memory."""

    def __init__(self, max_pairs: int | None, pair_bytes: int, remedy: str) -> None:
        self.asked, self.remedy = max_pairs, remedy
        free = free_bytes() if max_pairs is None else None
        self.most = max_pairs if free is None else free // (2 * pair_bytes)
        self.pair_bytes = pair_bytes

    def check(self, found: int, count_all: Callable[[], int]) -> None:
        if self.most is None or found <= self.most:
            return
        total = count_all()
        if self.asked is not None:
            raise ValueError(
                f"max_pairs must be at least {total:,}, the pairs that count, got {self.asked:,}; {self.remedy}"
            )
        size = total * self.pair_bytes / 2**30
        raise MemoryError(f"the result must fit into memory, got {total:,} pairs of {size:,.1f} GiB; {self.remedy}")


def gathered(
    found: Iterable[Part], n: int, dtype: type[np.generic], room: Room, count_from: Callable[[int], int]
) -> Lists:
    """All parts as one. `count_from`: the number of pairs from a row on."""
    counts = np.zeros(n + 1, np.int64)
    pairs = Growing(np.int64, dtype)
    for part in found:
        stop = part.first + len(part.counts)
        counts[part.first + 1 : stop + 1] = part.counts
        so_far = pairs.count + len(part.columns)
        room.check(so_far, lambda so_far=so_far, stop=stop: so_far + count_from(stop))  # type: ignore[misc]
        pairs.add(part.columns, part.similarities)
    return Lists(np.cumsum(counts), *pairs.taken())


class Growing:
    """Arrays of one length that grow where they are: the system moves pages, not bytes."""

    def __init__(self, *dtypes: type[np.generic]) -> None:
        self.count = 0
        self._arrays = [np.empty(0, dtype) for dtype in dtypes]

    def add(self, *values: NDArray[Any]) -> None:
        count = self.count + len(values[0])
        for array, more in zip(self._arrays, values, strict=True):
            if count > len(array):
                array.resize(max(count, len(array) + len(array) // 2), refcheck=False)
            array[self.count : count] = more
        self.count = count

    def taken(self) -> list[NDArray[Any]]:
        for array in self._arrays:
            array.resize(self.count, refcheck=False)
        return self._arrays


def by_other_side(lists: Lists, n: int) -> Lists:
    """The lists of the n columns: their rows, ascending."""
    return Lists(*_core.group(lists.indices, lists.rows, lists.similarities, n))


def in_order(lists: Lists, order: str, n_threads: int) -> Lists:
    """Each list by "index", or by similarity, "descending", in place."""
    _core.sort_lists(*lists, order, n_threads)
    return lists


def check_csr(as_csr: object, similarity: str) -> str | None:
    """What the entries of a matrix are to be: "similarity", "distance", or None for no matrix."""
    if isinstance(as_csr, (bool, np.bool_)):
        return "similarity" if as_csr else None
    check_choice("as_csr", as_csr, ("similarity", "distance"))
    if as_csr == "distance" and similarity != "cosine":
        raise ValueError(
            f"as_csr='distance' is 1 - s of similarity='cosine', got similarity={similarity!r}; pass as_csr=True and "
            "make distances of the similarities"
        )
    return str(as_csr)


def csr_of(lists: Lists, n_columns: int, entries: str, n_threads: int) -> Any:
    """A SciPy matrix: similarities by index, as most of SciPy wants them, or distances, the nearest first, as cleanlab
    and scikit-learn's "precomputed" do. A distance of 0 is an entry of its own."""
    try:
        from scipy import sparse
    except ImportError as error:
        raise ImportError("as_csr needs SciPy; pip install scipy, or use the arrays") from error
    offsets, indices, values = lists
    if entries == "distance":
        values = np.maximum(1 - values, 0)
    in_order(Lists(offsets, indices, values), "ascending" if entries == "distance" else "index", n_threads)
    graph = sparse.csr_array((values, indices, offsets), shape=(len(offsets) - 1, n_columns))
    graph.has_sorted_indices = entries != "distance"
    return graph
