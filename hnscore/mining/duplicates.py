"""Near-duplicates, exactly: all pairs are looked at, without clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.checks import check_similarity_level
from hnscore.arguments.numbers import check_choice
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.arguments.values import read_point_values
from hnscore.datasets.spool import spooling
from hnscore.engine import engine_of
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.lists import Part, parts
from hnscore.engine.memory.device import on_device
from hnscore.engine.memory.libraries import to_host
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import Engine, Progress, Request

if TYPE_CHECKING:
    from hnscore.arguments.options import ArrayLike

# Rows that are compared with all that come later, packed at once; and, of these, so many that decide among themselves
# before the others are compared with what they keep: many copies of one row make that many pairs, squared.
BLOCK, _SMALL_BLOCK = 2**15, 2**11
_CHUNK_BYTES = 2**25  # of later rows at a time


class Duplicates(NamedTuple):
    """Rows that are kept, and the one that stands for each row."""

    kept: object
    representatives: Any


@breaks_graph
@spooling
def duplicates(
    emb: ArrayLike,
    min_similarity: float,
    *,
    keep: str | ArrayLike = "first",
    similarity: str = "cosine",
    method: str = "auto",
    n_threads: int | None = None,
    show_progress_bar: bool | None = None,
) -> Duplicates:
    """Which rows are near-duplicates of others, and which to keep.

    Rows are taken in order, and each is kept unless one that is kept before it is at least `min_similarity` similar,
    which then stands for it. With the rows normalised this equals::

        kept = []
        for i in order:                                          # keep="first": 0, 1, 2, ...
            near = [c for c in kept if emb[i] @ emb[c] >= min_similarity]
            representatives[i] = near[0] if near else i
            if not near:
                kept.append(i)

    So no two rows that are kept are near-duplicates, and every other row is one of its representative. All pairs are
    looked at: there are no clusters whose borders could part two copies.

    Parameters
    ----------
    emb : array (n, dim)
        Embeddings; kinds and dtypes as in `score`. Read where they lie, memory-mapped files included.
        Or a `dataset`, copied to a temporary file.
    min_similarity : float
        From this similarity on two rows are near-duplicates.
    keep : "first" or array (n,)
        Which of several duplicates is kept: the first, or the one with the largest of these scores, the lowest row
        where they tie.
    similarity : {"cosine", "dot"}
        Cosine normalises the rows on the way in.
    method : {"auto", "dense", "cascade"}
        As in `score`; the result is the same.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.
    show_progress_bar : bool, optional
        Show one on standard error. Default: after three seconds, where that is a terminal or a notebook.

    Returns
    -------
    kept : int64 array (n_kept,)
        Ascending rows; the kind of array that emb is.
    representatives : int64 array (n,)
        The row that stands for each row: itself, where it is kept.

    A named tuple.

    Raises
    ------
    TypeError, ValueError
        For kinds, dtypes, shapes, NaN, Inf, zero rows under cosine, and a min_similarity outside -1 to 1 under cosine.

    Notes
    -----
    On a GPU the pairs are found there, and what they mean is decided on the CPU; this waits.

    Pairs are decided as those of `score` with ``precision="exact"``: the same on every machine. Memory beyond inputs
    and outputs: 32,768 packed rows, a copy of 32 MiB of rows, and about 200 MiB, whatever is found.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> emb = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1]], np.float32)
    >>> hnscore.duplicates(emb, 0.9)
    Duplicates(kept=array([0, 2]), representatives=array([0, 0, 2, 2]))
    """
    check_choice("similarity", similarity, SIMILARITIES)
    check_choice("method", method, METHODS)
    least = check_similarity_level("min_similarity", min_similarity, similarity)
    engine = engine_of(n_threads, emb=emb)
    if on_device(keep):
        keep = to_host("keep", keep)
    call = DuplicatesCall(engine, emb, least, keep, Request("pairs", similarity=similarity, method=method))
    call.run(rows_bar(show_progress_bar, "duplicates", call.n))
    return Duplicates(*(engine.give(emb, x) for x in call.result()))


class DuplicatesCall:
    """Which earlier row stands for each; rows are counted in the order in which they are kept."""

    def __init__(
        self, engine: Engine[Any, Any, Any], emb: object, least: float, keep: object, request: Request
    ) -> None:
        self.engine, self.all, self.request = engine, engine.embeddings("emb", emb), request
        self.n = n = self.all.shape[0]
        self.order: NDArray[np.int64] | None = None
        if not (isinstance(keep, str) and keep == "first"):
            if isinstance(keep, str):
                raise ValueError(f"keep must be 'first' or an array of scores, got {keep!r}; choose one of these")
            self.order = np.argsort(-read_point_values("keep", keep, n), kind="stable")
        self.level = float(np.nextafter(least, -np.inf))  # s >= least where s > level
        self.stands = np.arange(n)

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows that are kept, and the one that stands for each."""
        stands = self.stands
        if self.order is not None:
            stands = np.empty_like(stands)
            stands[self.order] = self.order[self.stands]
        return np.flatnonzero(stands == np.arange(self.n)), stands

    def run(self, bar: Progress, begin: int = 0, done: Callable[[int], object] = lambda stop: None) -> None:
        """From a block of rows on; `done` is told where one ends."""
        if begin >= self.n:
            return
        self._near = self.engine.near(self.all, self.level, self.request)
        for first in range(begin, self.n, BLOCK):
            stop = min(first + BLOCK, self.n)
            for start in range(first, stop, _SMALL_BLOCK):
                end = min(start + _SMALL_BLOCK, stop)
                self._among(self._left(start, end))
                self._compare(self._left(start, end), end, stop)
            self._compare(self._left(first, stop), stop, self.n)
            done(stop)
            if bar is not None:
                bar(1 - (1 - stop / self.n) ** 2)

    def _left(self, start: int, stop: int) -> NDArray[np.int64]:
        """Rows that nothing stands for yet."""
        return start + np.flatnonzero(self.stands[start:stop] == np.arange(start, stop))

    def _rows(self, places: NDArray[np.int64]) -> Any:
        return self._near.some(places if self.order is None else self.order[places])

    def _found(self, rows: Any, packed: Any, n_packed: int) -> Iterator[Part]:
        return parts(self._near.find(rows, packed, np.float32), rows.shape[0], n_packed)

    def _among(self, places: NDArray[np.int64]) -> None:
        """Decides the rows of a small block one after the other."""
        if len(places) < 2:
            return
        gone, own = np.zeros(len(places), bool), self._rows(places)
        for part in self._found(own, self._near.pack(own), len(places)):
            rows = part.rows
            earlier = part.columns < rows
            rows, columns = rows[earlier], part.columns[earlier]
            for near in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows)) + 1) if len(rows) else ():
                kept = columns[near[~gone[columns[near]]]]
                if len(kept):
                    row = rows[near[0]]
                    gone[row] = True
                    self.stands[places[row]] = places[kept[0]]

    def _compare(self, kept: NDArray[np.int64], start: int, stop: int) -> None:
        """Lets the first of the kept rows that is near stand for later ones."""
        if not len(kept) or start >= stop:
            return
        packed = self._near.pack(self._rows(kept))
        chunk = max(1, _CHUNK_BYTES // self.all.row_bytes)
        for first in range(start, stop, chunk):
            places = self._left(first, min(first + chunk, stop))
            if not len(places):
                continue
            for part in self._found(self._rows(places), packed, len(kept)):
                found = np.flatnonzero(part.counts)
                firsts = part.columns[(np.cumsum(part.counts) - part.counts)[found]]
                self.stands[places[part.first + found]] = kept[firsts]
