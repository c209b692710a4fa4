"""The nearest neighbours of each point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.numbers import check_choice, check_integer
from hnscore.arguments.options import SIMILARITIES
from hnscore.datasets.spool import spooling
from hnscore.densities.kinds import check_method
from hnscore.densities.points import Points
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.lists import Lists, check_csr, csr_of
from hnscore.engine.memory.copies import from_copies
from hnscore.engine.memory.device import on_device, precisions
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import Request

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, NeighbourOptions

_MOST_POINTS = 2**31 - 1  # of one set; the limit of k where there are none


@overload
def knn_graph(
    emb: torch.Tensor, k: int, *, as_csr: Literal[False] = False, **options: Unpack[NeighbourOptions]
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def knn_graph(
    emb: ArrayLike, k: int, *, as_csr: Literal[False] = False, **options: Unpack[NeighbourOptions]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...
@overload
def knn_graph(
    emb: ArrayLike, k: int, *, as_csr: Literal[True, "similarity", "distance"], **options: Unpack[NeighbourOptions]
) -> Any: ...
@breaks_graph
@spooling
def knn_graph(  # noqa: PLR0913
    emb: object,
    k: int,
    *,
    against: object = None,
    exclude_self: bool = True,
    similarity: str = "cosine",
    as_csr: bool | str = False,
    precision: str = "exact",
    method: str = "auto",
    n_threads: int | None = None,
    show_progress_bar: bool = False,
) -> Any:
    """The k most similar other points of each point.

    With the rows normalised this equals::

        s = emb @ emb.T
        np.fill_diagonal(s, -np.inf)
        indices = np.argsort(-s, axis=1, kind="stable")[:, :k]
        similarities = np.take_along_axis(s, indices, axis=1)

    Parameters
    ----------
    emb, against, exclude_self, similarity, precision, method, n_threads, show_progress_bar
        As in `density`.
    k : int
        Up to the number of points compared with.
    as_csr : {False, True, "similarity", "distance"}
        Return a matrix in place of two arrays: of similarities with sorted indices, or of distances 1 - s, the nearest
        first in each row, as cleanlab and scikit-learn's ``metric="precomputed"`` take them. It needs SciPy, and is in
        CPU memory.

    Returns
    -------
    similarities : float64 array (n, k)
        Descending; the kind of array that `emb` is. With ``precision="exact"`` they are the similarities that `score`
        compares, to the last bit: as its `max_similarity` or `reference` they are met exactly.
    indices : int64 array (n, k)
        Rows of `against`, or of `emb`; ties to the lowest. The neighbours are exact.

    Or, with `as_csr`, a `scipy.sparse.csr_array` (n, m).

    Raises
    ------
    TypeError, ValueError
        As `density`.
    ImportError
        For `as_csr` without SciPy.

    Notes
    -----
    Memory beyond inputs and outputs: 16 MiB of packed points and at most 64 MiB of running neighbours.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> points = np.array([[1, 0], [0.9, 0.1], [0.8, 0.3], [-1, 0.1]], np.float32)
    >>> hnscore.knn_graph(points, k=1)[1].ravel()
    array([1, 0, 1, 2])
    """
    arguments = dict(locals())
    check_choice("similarity", similarity, SIMILARITIES)
    check_choice("precision", precision, precisions(emb))
    check_method(method, "knn", precision)
    entries = check_csr(as_csr, similarity)
    if entries and on_device(emb, against):
        return from_copies(knn_graph, arguments)
    points = Points(emb, against, exclude_self, similarity, n_threads)
    points.enough()
    most = points.compared if points.n or not points.own else _MOST_POINTS
    k = check_integer("k", k, 1, most, "points compared with")
    bar = rows_bar(show_progress_bar, "knn", points.n)
    similarities, indices = points.engine.nearest(
        points.rows, points.others, k, Request(similarity=similarity, precision=precision, method=method),
        points.exclude_self, bar,
    )  # fmt: skip
    if not entries:
        values = points.engine.give(emb, similarities)
        return values, points.engine.give(emb, indices)
    offsets = np.arange(points.n + 1) * k
    lists = Lists(offsets, indices.reshape(-1), similarities.reshape(-1))
    return csr_of(lists, points.n_others, entries, points.engine.threads)
