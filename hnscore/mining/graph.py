"""All pairs of one set that are near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hnscore import _core
from hnscore.arguments.checks import check_similarity_level
from hnscore.arguments.numbers import check_choice
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.datasets.spool import spooling
from hnscore.densities.density import density
from hnscore.engine import engine_of
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.lists import Growing, Lists, Room, check_csr, csr_of, in_order, parts
from hnscore.engine.pool import pool_blocks
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import Engine, Request
from hnscore.mining.pairs import DTYPES, Pairs, check_lists

if TYPE_CHECKING:
    from hnscore.arguments.options import ArrayLike


@breaks_graph
@spooling
def range_graph(  # noqa: PLR0913
    emb: ArrayLike,
    min_similarity: float,
    *,
    order: str = "index",
    as_csr: bool | str = False,
    dtype: str = "float32",
    max_pairs: int | None = None,
    similarity: str = "cosine",
    method: str = "auto",
    n_threads: int | None = None,
    show_progress_bar: bool | None = None,
) -> Any:
    """All points that are at least so similar to each point, itself left out.

    With the rows normalised this equals::

        s = emb @ emb.T
        np.fill_diagonal(s, -np.inf)
        rows, indices = np.nonzero(s >= min_similarity)
        offsets, similarities = np.searchsorted(rows, np.arange(n + 1)), s[rows, indices]

    Parameters
    ----------
    emb : array (n, dim)
        The points; kinds and dtypes as in `score`.
    min_similarity : float
        From this similarity on two points are neighbours: the lengths of the lists are ``density(emb, "ball",
        min_similarity=...)``.
    order, as_csr, dtype, max_pairs
        As in `pairs`; a pair counts twice, once for each of its points.
    similarity, method, n_threads
        As in `score`.
    show_progress_bar : bool, optional
        Show one on standard error. Default: after three seconds, where that is a terminal or a notebook.

    Returns
    -------
    offsets, indices, similarities
        As `pairs`; or, with `as_csr`, a symmetric `scipy.sparse.csr_array` (n, n) in CPU memory.

    Raises
    ------
    TypeError, ValueError, MemoryError, ImportError
        As `density` and `pairs`.

    Notes
    -----
    On a GPU the pairs are found there, put in order on the CPU and put beside emb; this waits.

    Of each two points one similarity is computed. Memory beyond inputs: the result, as much again while it is put
    together, 16 MiB of packed points and about 200 MiB.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> emb = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1]], np.float32)
    >>> hnscore.range_graph(emb, 0.9).indices
    array([1, 0, 3, 2])
    """
    arguments = dict(locals())
    check_choice("similarity", similarity, SIMILARITIES)
    check_choice("method", method, METHODS)
    max_pairs = check_lists(order, dtype, max_pairs)
    entries = check_csr(as_csr, similarity)
    least = check_similarity_level("min_similarity", min_similarity, similarity)
    engine = engine_of(n_threads, emb=emb)
    lists = _graph(engine, engine.embeddings("emb", emb), least, arguments, max_pairs)
    if entries:
        return csr_of(lists, len(lists.offsets) - 1, entries, engine.threads)
    in_order(lists, "descending" if order == "similarity" else "index", engine.threads)
    return Pairs(*(engine.give(emb, x) for x in lists))


def _graph(
    engine: Engine[Any, Any, Any], rows: Any, least: float, given: dict[str, Any], max_pairs: int | None
) -> Lists:
    """Each two points once, then both ways; lists are not in order."""
    n, values = rows.shape[0], DTYPES[given["dtype"]]
    room = Room(max_pairs, 3 * (8 + np.dtype(values).itemsize), "raise min_similarity")
    level = float(np.nextafter(least, -np.inf))  # s >= least where s > level
    near = engine.near(rows, level, Request("pairs", similarity=given["similarity"], method=given["method"]))

    def count_all() -> int:
        return int(density(given["emb"], "ball", min_similarity=least, similarity=given["similarity"]).sum())

    bar = rows_bar(given["show_progress_bar"], "range_graph", n)
    edges = Growing(np.int64, np.int64, values)
    for start, stop in pool_blocks(n, 4 * rows.shape[1]):
        find = near.find(rows.part(start, n), near.pack(rows.part(start, stop)), values)
        for part in parts(find, n - start, stop - start):
            i = part.rows
            once = i > part.columns
            room.check(2 * (edges.count + int(once.sum())), count_all)
            edges.add(i[once] + start, part.columns[once] + np.int64(start), part.similarities[once])
        if bar is not None:
            bar(1 - (1 - stop / n) ** 2)
    i, j, similarities = edges.taken()
    return Lists(*_core.group(i, j, similarities, n, both=True))
