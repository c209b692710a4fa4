"""Which rows of the pool to send to the annotator: by score alone, or so that they are not all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert_like, read_array
from hnscore.arguments.checks import check_given_for, check_same_rows, read_region_labels, read_row_numbers
from hnscore.arguments.numbers import (
    as_generator,
    check_choice,
    check_integer,
    check_not_negative,
    check_positive,
    check_real,
    count_threads,
)
from hnscore.arguments.options import SELECTION_METHODS
from hnscore.arguments.values import read_point_values
from hnscore.densities.density import density as density_of
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.interrupts import interruptible
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.engine.progress import rows_bar
from hnscore.selections import greedy
from hnscore.selections.allocate import STRONGEST, allocate
from hnscore.selections.greedy import Floats, Pool, Rows
from hnscore.selections.regions import kmeans_regions

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, CoreSetOptions, SelectOptions

_COMPARING = ("repulsive", "coverage", "herding")  # the rows of the pool with one another
_WITHOUT_SCORES = ("coverage", "herding")
_TEMPERATURE, _AUTO_TEMPERATURE = 0.1, 0.4


@overload
def select(
    scores: torch.Tensor, budget: int, *, embeddings: ArrayLike | None = None, **options: Unpack[SelectOptions]
) -> torch.Tensor: ...
@overload
def select(
    scores: None, budget: int, *, embeddings: torch.Tensor, **options: Unpack[SelectOptions]
) -> torch.Tensor: ...
@overload
def select(
    scores: ArrayLike | None, budget: int, *, embeddings: ArrayLike | None = None, **options: Unpack[SelectOptions]
) -> NDArray[np.int64]: ...
@breaks_graph
@computed_on_cpu
def select(  # noqa: PLR0913
    scores: object,
    budget: int,
    *,
    embeddings: object = None,
    density: object = None,
    regions: object = None,
    method: str = "auto",
    regularization: float = 1.0,
    density_exponent: float = -1.0,
    temperature: float | None = None,
    labeled: object = None,
    random_state: object = None,
    n_threads: int | None = None,
    show_progress_bar: bool = False,
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
        mean(u(y) * max(k(y, x) - m(y), 0) for y in pool)                 # "coverage"

    where z is the density, standardised over the rows that are not labeled; ``min(scores, 0)`` is the smallest score of
    these rows or 0, so that crowded rows count less for scores of any sign; u is the score, or 1 without scores; and
    ``m(y) = max(k(y, c) for c in S + labeled)``, 0 without any. Ties go to the lowest row.

    "auto", the default, is "top" without `embeddings`. With them it is "coverage" where the rows of the better half of
    the scores (at least the median, labeled rows aside) have u = 1 and the others 0; without scores, all have u = 1.
    What is better is yours to say: for image-text retrieval on real data, the images that are the *least* hard
    negatives, ``-hnscore.score(...)``, beside embeddings that no label has shaped, made the better training set [1]_.

    Parameters
    ----------
    scores : array (n,) or None
        One finite value per row of the pool, larger for rows to prefer. None for "herding", which ignores them, for
        "coverage", which wants them at least 0, and for "auto".
    budget : int
        Rows to choose, from 0 to the number of rows that are not labeled.
    embeddings : array (n, dim), optional
        Of the pool; kinds and dtypes as in `score`. For "auto", "repulsive", "coverage" and "herding"; and for
        "density" and "budgeted" where density, or regions as an array, are not given.
    density : array (n,), optional
        How crowded the space is around each row. Default: ``hnscore.density(embeddings, "knn")``.
    regions : integer array (n,) or int
        For "budgeted": the region of each row, numbered from 0; or a number of regions, found by k-means over the
        directions of `embeddings` (needs scikit-learn).
    method : {"auto", "top", "density", "budgeted", "repulsive", "coverage", "herding"}
        See above. What a method does not name is ignored.
    regularization : float
        For "repulsive", at least 0: what an identical row among the chosen costs, as a share of the best score. For
        "budgeted": see `allocate`.
    density_exponent : float
        For "density": below 0 crowded rows count less.
    temperature : float
        Of the kernel: the difference of cosines over which it falls by a factor of e. Default: 0.4 for "auto", 0.1
        for the others.
    labeled : integer array, optional
        Rows that are paired already: never chosen, and counted as covered.
    random_state : None, int or NumPy generator
        For the k-means of "budgeted", and for pools of more than 100,000 rows: the means of "herding", "coverage" and
        "auto" are over 100,000 rows of the pool, drawn without replacement.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.
    show_progress_bar : bool
        Show one on standard error.

    Returns
    -------
    rows : int64 array (budget,)
        Best first, the kind of array that scores (without them, embeddings) is.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no real numbers, a budget that is no int, labeled as a mask.
    ValueError
        For shapes, NaN, Inf, zero rows, values out of range, and a budget above the number of unlabeled rows.
    ImportError
        For regions as a number where scikit-learn is not installed.

    Notes
    -----
    Arrays on a GPU are copied to the CPU, where this is computed, and the result is put beside them; this waits.

    "repulsive" is the greedy maximum of ``sum(scores of S) / max(abs(scores)) - regularization * sum(k over the pairs
    of S)``; greedy is no guarantee: a set can be better. Of "coverage" it has 1 - 1/e of the best possible.

    Picks are decided in float64: a dot product is off by (dim + 8) * 2^-53 of the norms, and equal rows have equal
    gains. The mean kernel of "herding" is a float32 one beyond 2^26 pairs of rows (8,192 rows), off by at most
    8 * 2^-24 / temperature of itself.

    "repulsive" and "herding" bring the gain of a row up to date only where its last one, an upper bound, leaves it in
    the race, and in blocks of picks. "coverage" looks at all pairs once, then at few candidates a pick, and once these
    cover few points that are not covered better, at those alone. Memory beyond inputs and outputs: 40 bytes a row,
    ``8 * dim`` bytes for each row chosen or labeled, a fixed workspace; for "coverage" 150 bytes a row and at most
    128 MiB, and beyond 100,000 rows a copy of the drawn ones; inputs are read where they lie.

    References
    ----------
    .. [1] docs/active_learning.md: which selection spends the annotator's budget best.

    Zhang, Yang, Qi, Qian, Xu: Active Supervised Cross-Modal Retrieval, IEEE TPAMI 2025, for informativeness under a
    semantic density regulariser; "repulsive" is our reading of it. Nemhauser, Wolsey, Fisher: An analysis of
    approximations for maximizing submodular set functions, 1978. Minoux: Accelerated greedy algorithms, 1978. Chen,
    Welling, Smola: Super-samples from kernel herding, UAI 2010.

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
    else:
        values = read_point_values("scores", scores)
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
    random = as_generator(random_state)

    if method in _COMPARING:
        assert pool is not None
        pool.prepare(taken, rows_bar(show_progress_bar, method, budget))
        if method == "repulsive":
            assert values is not None
            check_not_negative("regularization", regularization)
            picks = greedy.repulsive(pool, budget, values, regularization, temperature)
        elif method == "coverage":
            if auto and values is not None:
                values = _better_half(values, taken)
            elif values is not None:
                values = read_point_values("scores", scores, n, least=0.0)
            picks = greedy.coverage(pool, budget, values, temperature, random)
        else:
            picks = greedy.herding(pool, budget, temperature, random)
        return convert_like(kind, picks)

    assert values is not None
    free = np.delete(np.arange(n), taken)
    if method == "top":
        order = _best_first(values[free])
    else:
        n_regions = None
        if method == "budgeted" and read_array("regions", regions)[0].ndim == 0:
            check_given_for(method, "embeddings", pool is not None)
            n_regions = check_integer("regions", regions, 1, n, "the number to be found, or the region of each row")
        if density is None:
            check_given_for(method, "density or embeddings", pool is not None)
        if pool is not None and (density is None or n_regions is not None):
            pool.prepare(taken, None)
        if density is None:
            density = _density(embeddings, n, n_threads, show_progress_bar)
        crowded = read_point_values("density", density, n)[free]
        if method == "density":
            order = _best_adjusted(values[free], density_exponent * _standardised(crowded))
        else:
            if n_regions is not None:
                assert pool is not None
                labels = kmeans_regions(pool, n_regions, random)[free]
            else:
                labels = read_region_labels("regions", regions, n)[free]
            codes = interruptible(len(labels), lambda: np.unique(labels, return_inverse=True)[1])
            # Shares of those that have rows.
            shares = allocate(values[free], crowded, codes, budget, regularization=regularization)
            order = _best_of_each(values[free], codes, shares)
    return convert_like(kind, free[order[:budget]])


@overload
def core_set(emb: torch.Tensor, budget: int, **options: Unpack[CoreSetOptions]) -> torch.Tensor: ...
@overload
def core_set(emb: ArrayLike, budget: int, **options: Unpack[CoreSetOptions]) -> NDArray[np.int64]: ...
@breaks_graph
@computed_on_cpu
def core_set(
    emb: object, budget: int, *, labeled: object = None, n_threads: int | None = None, show_progress_bar: bool = False
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
    budget : int
        Rows to choose, from 0 to the number of rows that are not labeled.
    labeled : integer array, optional
        Rows that are paired already: never chosen, and counted as chosen before.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.
    show_progress_bar : bool
        Show one on standard error.

    Returns
    -------
    rows : int64 array (budget,)
        In the order of picking, the kind of array that emb is. The first k of them are those of ``budget=k``.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no embeddings, a budget that is no int, labeled as a mask.
    ValueError
        For shapes, NaN, Inf, zero rows, and a budget above the number of unlabeled rows.

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
    pool = Pool("emb", emb, count_threads(n_threads))
    taken = read_row_numbers("labeled", labeled, len(pool.emb))
    budget = check_integer(
        "budget", budget, 0, len(pool.emb) - len(taken), "rows to choose, of those that are not labeled"
    )
    pool.prepare(taken, rows_bar(show_progress_bar, "core_set", budget))
    return convert_like(emb, greedy.core_set(pool, budget))


def _better_half(values: Floats, labeled: Rows) -> Floats:
    """1 for values of at least the (upper) median of those that are not labeled, 0 for the others."""
    free = np.delete(values, labeled)
    if not len(free):
        return np.zeros(len(values))
    middle = len(free) // 2
    upper = interruptible(len(free), lambda: np.partition(free, middle))
    return np.where(values >= upper[middle], 1.0, 0.0)


def _best_first(values: Floats) -> Rows:
    """Descending, ties to the lowest row: a stable sort of the negatives."""
    return interruptible(len(values), lambda: np.argsort(-values, kind="stable"))


def _best_adjusted(values: Floats, exponents: Floats) -> Rows:
    """By (values - min(values, 0)) * exp(exponents), compared as logarithms: factors may be beyond float64's range."""
    lowest = values.min(initial=0.0)
    if lowest < 0:
        values = values / 2 - lowest / 2  # halves: a difference may be beyond the range too
    with np.errstate(divide="ignore"):
        log = np.log(values) + exponents
    return interruptible(len(values), lambda: np.lexsort((-values, -log)))


def _best_of_each(values: Floats, labels: Rows, shares: Rows) -> Rows:
    """The best shares[r] rows of every region r, best first."""
    order = _best_first(values)
    by_region = order[interruptible(len(values), lambda: np.argsort(labels[order], kind="stable"))]
    first = np.cumsum(np.bincount(labels, minlength=len(shares))) - np.bincount(labels, minlength=len(shares))
    rank = np.empty(len(values), np.int64)
    rank[by_region] = np.arange(len(values)) - first[labels[by_region]]
    return order[rank[order] < shares[labels[order]]]


def _density(embeddings: Any, n: int, n_threads: int | None, show_progress_bar: bool) -> Any:
    if n < 2:
        return np.zeros(n)
    return density_of(embeddings, "knn", n_threads=n_threads, show_progress_bar=show_progress_bar)


def _standardised(x: Floats) -> Floats:
    """(x - mean) / deviation, 0 where x is constant."""
    if len(x) == 0 or x.min() == x.max():
        return np.zeros(len(x))
    x = x / np.abs(x).max()  # squares stay in the range of float64
    x = x - x.mean()
    return np.asarray(x / x.std(), np.float64)
