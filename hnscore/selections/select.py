"""Which rows of the pool to send to the annotator: by score alone, or so that they are not all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import is_tensor
from hnscore.datasets.spool import spooling
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.memory.copies import given_back
from hnscore.engine.memory.device import on_device
from hnscore.selections.choose import SelectCall, Selection

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, SelectOptions


@overload
def select(
    scores: torch.Tensor,
    budget: int,
    *,
    embeddings: ArrayLike | None = None,
    return_gains: Literal[False] = False,
    **options: Unpack[SelectOptions],
) -> torch.Tensor: ...
@overload
def select(
    scores: None,
    budget: int,
    *,
    embeddings: torch.Tensor,
    return_gains: Literal[False] = False,
    **options: Unpack[SelectOptions],
) -> torch.Tensor: ...
@overload
def select(
    scores: ArrayLike | None,
    budget: int,
    *,
    embeddings: ArrayLike | None = None,
    return_gains: Literal[False] = False,
    **options: Unpack[SelectOptions],
) -> NDArray[np.int64]: ...
@overload
def select(
    scores: ArrayLike | None,
    budget: int,
    *,
    embeddings: ArrayLike | None = None,
    return_gains: Literal[True],
    **options: Unpack[SelectOptions],
) -> tuple[Any, Any]: ...
@breaks_graph
@spooling
def select(  # noqa: PLR0913
    scores: object,
    budget: int,
    *,
    embeddings: object = None,
    prefer: str | None = None,
    method: str = "auto",
    labeled: object = None,
    random_state: object = None,
    temperature: float | None = None,
    kernel: str = "exponential",
    min_similarity: float | None = None,
    center: bool = False,
    density: object = None,
    density_exponent: float = -1.0,
    regions: object = None,
    regularization: float = 1.0,
    subsample: object = "auto",
    epsilon: float = 0.1,
    memory_limit: int = 3 * 2**29,
    return_gains: bool = False,
    n_threads: int | None = None,
    show_progress_bar: bool | None = None,
) -> Any:
    """Choose `budget` rows of a pool: those of high score, and with most methods not the same thing twice.

    With S the rows chosen so far, s the cosine of two rows of `embeddings` and
    ``k(x, c) = exp((s(x, c) - 1) / temperature)``, the rows that are not labeled are ranked by, or one after another
    picked for the largest::

        score(x)                                                          # "top"
        (score(x) - min(scores, 0)) * exp(z(x)) ** density_exponent       # "density"
        score(x), as many from each region as `allocate` gives it         # "budgeted"
        score(x) / max(abs(scores)) - regularization * sum(k(x, c) for c in S + labeled)             # "repulsive"
        (len(S + labeled) + 1) * mean(k(x, y) for y in pool) - sum(k(x, c) for c in S + labeled)     # "herding"
        mean(u(y) * max(k(y, x) - m(y), 0) for y in pool)                 # "coverage", "stochastic"

    where z is the density, standardised over the rows that are not labeled; ``min(scores, 0)`` is the smallest score of
    these rows or 0, so that crowded rows count less for scores of any sign; u is the score, or 1 without scores; and
    ``m(y) = max(k(y, c) for c in S + labeled)``, 0 without any. Ties go to the lowest row. "stochastic" looks, for each
    pick, at a random ``log(1 / epsilon) / budget`` of the rows that are left.

    "auto", the default, is "top" without `embeddings`. With them it is "coverage" where the rows of the better half of
    the scores (at least the median, labeled rows aside) have u = 1 and the others 0; without scores, all have u = 1.
    What is better is yours to say: for image-text retrieval on real data, the images that are the *least* hard
    negatives, ``prefer="easy"`` of `hnscore.score`, beside embeddings that no label has shaped, made the better
    training set [1]_.

    Parameters
    ----------
    scores : array (n,) or None
        One finite value per row of the pool, larger for rows to prefer. None for "herding", which ignores them, for
        "coverage" and "stochastic", which want them at least 0, and for "auto".
    budget : int
        Rows to choose, from 0 to the number of rows that are not labeled.
    embeddings : array (n, dim), optional
        Of the pool; kinds and dtypes as in `score`, or a `dataset`, copied to a temporary file. For "auto",
        "repulsive", "coverage", "stochastic" and "herding"; and for "density" and "budgeted" where density, or regions
        as an array, are not given.
    prefer : {"easy", "hard"}, optional
        Of scores that say how hard a row is: "easy" prefers the smaller, and is the same as ``-scores``; "hard" the
        larger.
    method : {"auto", "top", "density", "budgeted", "repulsive", "coverage", "stochastic", "herding"}
        See above. What a method does not name is ignored.
    labeled : integer array, optional
        Rows that are paired already: never chosen, and counted as covered.
    random_state : None, int or NumPy generator
        For whatever is drawn: points (see subsample), candidates of "stochastic", k-means of "budgeted"; and, if
        given, rows of equal score in "top", "density" and "budgeted".

    Returns
    -------
    rows : int64 array (budget,)
        Best first, the kind of array that scores (without them, embeddings) is.
    gains : float64 array (budget,)
        With `return_gains`, of each pick at its turn: "repulsive": what the objective rises by; "coverage",
        "stochastic": what the mean over the points rises by; "herding": the mean kernel with the points less that with
        the chosen; the others: its score, of the opposite sign with ``prefer="easy"``.

    Other Parameters
    ----------------
    temperature : float
        Of the kernel: the difference of cosines over which it falls by a factor of e. Default: 0.4 for "auto", 0.1
        for the others.
    kernel : {"exponential", "cosine", "ball"}
        For "coverage": the one above; ``max(s, 0)``, facility location over cosines; or 1 where
        ``s >= min_similarity`` and else 0, as ProbCover has it.
    min_similarity : float, optional
        For ``kernel="ball"``.
    center : bool
        Standardise each dimension of embeddings over the pool first: as the evidence for "auto" was measured [1]_.
        Takes a float32 copy of them.
    density : array (n,), optional
        How crowded the space is around each row. Default: ``hnscore.density(embeddings, "knn")``.
    density_exponent : float
        For "density": below 0 crowded rows count less.
    regions : integer array (n,) or int
        For "budgeted": the region of each row, numbered from 0; or a number of regions, found by k-means over the
        directions of `embeddings` (needs scikit-learn).
    regularization : float
        For "repulsive", at least 0: what an identical row among the chosen costs, as a share of the best score. For
        "budgeted": see `allocate`.
    subsample : int, "auto" or None
        The means of "coverage", "stochastic", "herding" and "auto" are over at most so many rows of the pool, drawn
        without replacement from those with u > 0; None: all. "auto": 10,000, or four for each pick if these are more.
        With u at most 1 the mean of a given set of picks is then off by less than
        ``sqrt(log(2 / p) / (2 * subsample))`` with a probability of 1 - p [2]_: 0.014 at 10,000 for p = 0.05.
    epsilon : float
        For "stochastic", above 0 and below 1: a smaller one looks at more rows.
    memory_limit : int
        Bytes for what "coverage", "stochastic" and "auto" keep beside their inputs, 1.5 GiB. More is faster, up to two
        and a half bytes for each pair of a row and a point: from there on no pair is looked at twice.
    return_gains : bool
        Also return the gain of each pick.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.
    show_progress_bar : bool, optional
        Show one on standard error. Default: after three seconds, where that is a terminal or a notebook.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no real numbers, a budget that is no int, labeled as a mask.
    ValueError
        For shapes, NaN, Inf, zero rows, values out of range, a budget above the number of unlabeled rows, and a
        memory_limit below what is needed.
    ImportError
        For regions as a number where scikit-learn is not installed.
    KeyboardInterrupt
        On Ctrl-C, with the rows picked so far as its attribute `picks`.

    Warns
    -----
    UserWarning
        Where "top", "density" or "budgeted" picks only some of the rows of one score, by their row numbers.

    Notes
    -----
    Arrays on a GPU are copied to the CPU, where picks are decided, and the result is put beside them; this waits. The
    passes of "coverage" and "auto" over all pairs run on the GPU if `embeddings` is a tensor there.

    "repulsive" is the greedy maximum of ``sum(scores of S) / max(abs(scores)) - regularization * sum(k over the pairs
    of S)``; greedy is no guarantee: a set can be better. Of "coverage" it has 1 - 1/e of the best possible, of
    "stochastic" on average 1 - 1/e - epsilon.

    Picks are decided in float64: a dot product is off by (dim + 8) * 2^-53 of the norms, and equal rows have equal
    gains. The mean kernel of "herding" is a float32 one beyond 2^26 pairs of rows, off by at most
    8 * 2^-24 / temperature of itself.

    "repulsive" and "herding" bring the gain of a row up to date only where its last one, an upper bound, leaves it in
    the race, and in blocks of picks. So does "coverage", first by bounds in float32, then by the gains of the few rows
    that lead. What covers a point never falls: a row that was compared with all points is from then on compared with
    those alone that it would cover better. Where too many rows are in the race for that, one pass over all pairs bounds
    all of them. docs/selection.md has times.
    Memory beyond inputs and outputs: 80 bytes a row; for "coverage" memory_limit and a copy of the points; for the
    others ``8 * dim`` bytes for each row chosen or labeled.

    References
    ----------
    .. [1] docs/active_learning.md: which selection spends the annotator's budget best.
    .. [2] Hoeffding: Probability inequalities for sums of bounded random variables, 1963; also without replacement.

    Zhang, Yang, Qi, Qian, Xu: Active Supervised Cross-Modal Retrieval, IEEE TPAMI 2025, for informativeness under a
    semantic density regulariser; "repulsive" is our reading of it. Nemhauser, Wolsey, Fisher: An analysis of
    approximations for maximizing submodular set functions, 1978. Minoux: Accelerated greedy algorithms, 1978.
    Mirzasoleiman, Badanidiyuru, Karbasi, Vondrak, Krause: Lazier than lazy greedy, AAAI 2015. Chen, Welling, Smola:
    Super-samples from kernel herding, UAI 2010.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> emb = np.array([[1, 0], [1, 0.01], [0, 1]], np.float32)
    >>> hnscore.select([3.0, 2.9, 1.0], 2)
    array([0, 1])
    >>> hnscore.select([3.0, 2.9, 1.0], 2, embeddings=emb, method="repulsive")
    array([0, 2])
    """
    given = Selection(**locals())
    if not on_device(*given):
        return SelectCall(given).chosen()
    there = embeddings if is_tensor(embeddings) and on_device(embeddings) else None

    def select_by_copies(**arguments: Any) -> Any:
        return SelectCall(Selection(**arguments), there).chosen()

    return given_back(select_by_copies, given._asdict())
