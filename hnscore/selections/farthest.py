"""Rows that leave no row far away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert_like
from hnscore.arguments.checks import read_row_numbers
from hnscore.arguments.numbers import check_flag, check_integer, count_threads
from hnscore.datasets.spool import spooling
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.engine.progress import rows_bar
from hnscore.selections.greedy import Pool

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, CoreSetOptions


@overload
def core_set(
    emb: torch.Tensor, budget: int, *, return_distances: Literal[False] = False, **options: Unpack[CoreSetOptions]
) -> torch.Tensor: ...
@overload
def core_set(
    emb: ArrayLike, budget: int, *, return_distances: Literal[False] = False, **options: Unpack[CoreSetOptions]
) -> NDArray[np.int64]: ...
@overload
def core_set(
    emb: ArrayLike, budget: int, *, return_distances: Literal[True], **options: Unpack[CoreSetOptions]
) -> tuple[Any, Any]: ...
@breaks_graph
@spooling
@computed_on_cpu
def core_set(
    emb: object,
    budget: int,
    *,
    labeled: object = None,
    return_distances: bool = False,
    n_threads: int | None = None,
    show_progress_bar: bool | None = None,
) -> Any:
    """Choose rows that leave no row far away: k-center greedy, also known as Core-set or farthest-first.

    With the rows of `emb` normalised and c over those labeled or picked before, pick after pick this is::

        argmax(min(1 - emb @ emb[c] for c in chosen))       # a distance below 2^-40 counts as 0
        argmax(emb @ emb.mean(axis=0))                      # the first, where nothing is labeled

    Ties go to the lowest row.

    Parameters
    ----------
    emb : array (n, dim)
        The pool; kinds and dtypes as in `score`.
        Or a `dataset`, copied to a temporary file.
    budget : int
        Rows to choose, from 0 to the number of rows that are not labeled.
    labeled : integer array, optional
        Rows that are paired already: never chosen, and counted as chosen before.
    return_distances : bool
        Also return how far each row was when it was picked.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.
    show_progress_bar : bool, optional
        Show one on standard error. Default: after three seconds, where that is a terminal or a notebook.

    Returns
    -------
    rows : int64 array (budget,)
        In the order of picking, the kind of array that emb is. The first k of them are those of ``budget=k``.
    distances : float64 array (budget,)
        With `return_distances`: 1 - s to the nearest row labeled or picked before, descending; inf for the first where
        there is none. What is left after k picks is at most ``distances[k]`` away.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no embeddings, a budget that is no int, labeled as a mask.
    ValueError
        For shapes, NaN, Inf, zero rows, and a budget above the number of unlabeled rows.
    KeyboardInterrupt
        On Ctrl-C, with the rows picked so far as its attribute `picks`.

    Notes
    -----
    Arrays on a GPU are copied to the CPU, where this is computed, and the result is put beside them; this waits.

    Decided in float64, equal rows having equal distances. The largest distance that is left is at most twice what any
    choice of so many rows could leave (in terms of angles). A row's distance is brought up to date only where its last
    one, an upper bound, leaves it in the race. Memory beyond inputs and outputs: 40 bytes a row, and ``8 * dim`` bytes
    for each row chosen or labeled.

    References
    ----------
    Gonzalez: Clustering to minimize the maximum intercluster distance, 1985. Sener, Savarese: Active learning for
    convolutional neural networks: a core-set approach, ICLR 2018.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> hnscore.core_set(np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.9]], np.float32), 2)
    array([3, 2])
    """
    wanted = check_flag("return_distances", return_distances)
    pool = Pool("emb", emb, count_threads(n_threads))
    taken = read_row_numbers("labeled", labeled, len(pool.emb))
    budget = check_integer(
        "budget", budget, 0, len(pool.emb) - len(taken), "rows to choose, of those that are not labeled"
    )
    pool.prepare(taken, rows_bar(show_progress_bar, "core_set", budget))
    picks, distances = pool.greedy(budget, progress=pool.progress, farthest=True)
    return (convert_like(emb, picks), convert_like(emb, distances)) if wanted else convert_like(emb, picks)
