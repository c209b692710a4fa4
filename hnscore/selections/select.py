"""Which rows of the pool to send to the annotator: by score alone, or so that they are not all alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert_like, read_array
from hnscore.arguments.checks import (
    check_given_for,
    check_preference,
    check_same_rows,
    check_subsample,
    read_region_labels,
    read_row_numbers,
)
from hnscore.arguments.numbers import (
    as_generator,
    check_choice,
    check_flag,
    check_integer,
    check_not_negative,
    check_positive,
    check_real,
    check_share,
    count_threads,
)
from hnscore.arguments.options import SELECTION_METHODS
from hnscore.arguments.values import read_point_values
from hnscore.datasets.spool import spooling
from hnscore.densities.density import density as density_of
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.interrupts import interruptible
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.engine.progress import rows_bar
from hnscore.selections import ranked
from hnscore.selections.allocate import STRONGEST, allocate
from hnscore.selections.balls import ball_coverage, check_kernel
from hnscore.selections.coverage import How, coverage
from hnscore.selections.greedy import Floats, Pool, Rows, herding, repulsive
from hnscore.selections.regions import kmeans_regions

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, SelectOptions

_COVERING = ("coverage", "stochastic")
_COMPARING = ("repulsive", "herding", *_COVERING)  # the rows of the pool with one another
_WITHOUT_SCORES = ("herding", *_COVERING)
_TEMPERATURE, _AUTO_TEMPERATURE = 0.1, 0.4
# Points that means are taken over by default: so many, and so many a pick. docs/selection.md has what they cost.
_POINTS, _POINTS_OF_PICK = 10_000, 4


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
@computed_on_cpu
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
    Arrays on a GPU are copied to the CPU, where this is computed, and the result is put beside them; this waits.

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
    check_choice("method", method, SELECTION_METHODS)
    auto = method == "auto"
    if auto:
        check_given_for(method, "scores or embeddings", scores is not None or embeddings is not None)
        method = "top" if embeddings is None else "coverage"
    check_given_for(method, "scores", scores is not None or method in _WITHOUT_SCORES)
    check_given_for(method, "embeddings", embeddings is not None or (method not in _COMPARING and scores is not None))
    check_given_for(method, "regions", regions is not None or method != "budgeted")
    pool = None if embeddings is None else Pool("embeddings", embeddings, count_threads(n_threads))
    kind = embeddings if scores is None else scores  # of the result
    if method == "herding" or scores is None:
        assert pool is not None
        n, values = len(pool.emb), None
        check_preference(prefer, "without scores" if scores is None else "")
    else:
        weights = method in _COVERING and not auto
        check_preference(prefer, f"with method={method!r}, where scores are weights" if weights else "")
        values = read_point_values("scores", scores, least=0.0 if weights else None)
        values = -values if prefer == "easy" else values
        n = len(values)
        if pool is not None:
            check_same_rows("embeddings", pool.emb, n)
    taken = read_row_numbers("labeled", labeled, n)
    budget = check_integer("budget", budget, 0, n - len(taken), "rows to choose, of those that are not labeled")
    regularization = check_real("regularization", regularization)
    density_exponent = min(max(check_real("density_exponent", density_exponent), -STRONGEST), STRONGEST)
    if temperature is None:
        temperature = _AUTO_TEMPERATURE if auto else _TEMPERATURE
    temperature = check_positive("temperature", temperature)
    level = check_kernel(kernel, method, min_similarity)
    points = check_subsample(subsample, max(_POINTS, _POINTS_OF_PICK * budget))
    epsilon = check_share("epsilon", epsilon)
    memory_limit = check_integer("memory_limit", memory_limit, 0, None, "bytes")
    random = as_generator(random_state)
    ties = None if random_state is None else random
    check_flag("return_gains", return_gains)
    if check_flag("center", center):
        check_given_for("a centered pool", "embeddings", pool is not None)
        assert pool is not None
        pool = pool.centered()

    if method in _COMPARING:
        assert pool is not None
        pool.prepare(taken, rows_bar(show_progress_bar, method, budget))
        if method == "repulsive":
            assert values is not None
            check_not_negative("regularization", regularization)
            chosen = repulsive(pool, budget, values, regularization, temperature)
        elif method == "herding":
            chosen = herding(pool, budget, temperature, points, random)
        else:
            if auto and values is not None:
                values = ranked.better_half(values, taken)
            if level is not None:
                chosen = ball_coverage(pool, budget, values, level, points, random)
            else:
                scale = temperature if kernel == "exponential" else None
                share = -math.log(epsilon) / max(budget, 1) if method == "stochastic" else None
                chosen = coverage(pool, budget, values, How(scale, memory_limit, points, share), random)
        return _given(kind, *chosen, return_gains)

    assert values is not None
    free = np.delete(np.arange(n), taken)
    if method == "top":
        picks = free[ranked.best(values[free], budget, ties)]
        return _given(kind, picks, values[picks], return_gains)
    if method == "budgeted" and read_array("regions", regions)[0].ndim == 0:
        check_given_for(method, "embeddings", pool is not None)
        regions = check_integer("regions", regions, 1, n, "the number to be found, or the region of each row")
    if density is None:
        check_given_for(method, "density or embeddings", pool is not None)
    if pool is not None and (density is None or isinstance(regions, int)):
        pool.prepare(taken, None)
    if density is None:
        assert pool is not None
        density = _density(pool, show_progress_bar)
    crowded = read_point_values("density", density, n)[free]
    if method == "density":
        exponents = density_exponent * ranked.standardised(crowded)
        picks = free[ranked.best_adjusted(values[free], exponents, budget, ties)]
        return _given(kind, picks, values[picks], return_gains)
    codes = _region_codes(regions, pool, free, n, random)
    # Shares of those that have rows.
    shares = allocate(values[free], crowded, codes, budget, regularization=regularization)
    picks = free[ranked.best_of_each(values[free], codes, shares, ties)]
    return _given(kind, picks, values[picks], return_gains)


def _given(kind: object, picks: Rows, gains: Floats, return_gains: bool) -> Any:
    rows = convert_like(kind, picks)
    return (rows, convert_like(kind, gains)) if return_gains else rows


def _region_codes(regions: object, pool: Pool | None, free: Rows, n: int, random: np.random.Generator) -> Rows:
    """The regions of the rows that are free, numbered without gaps."""
    if isinstance(regions, int):
        assert pool is not None
        labels = kmeans_regions(pool, regions, random)[free]
    else:
        labels = read_region_labels("regions", regions, n)[free]
    return interruptible(len(labels), lambda: np.unique(labels, return_inverse=True)[1])


def _density(pool: Pool, show_progress_bar: bool | None) -> Any:
    if len(pool.emb) < 2:
        return np.zeros(len(pool.emb))
    return density_of(pool.given, "knn", n_threads=pool.n_threads, show_progress_bar=bool(show_progress_bar))
