"""What `select` does: arguments checked, the pool read, and the method that was asked for."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

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
from hnscore.densities.density import density as density_of
from hnscore.engine.interrupts import interruptible
from hnscore.engine.progress import rows_bar
from hnscore.selections import ranked
from hnscore.selections.allocate import STRONGEST, allocate
from hnscore.selections.balls import ball_coverage, check_kernel
from hnscore.selections.coverage import How, coverage
from hnscore.selections.greedy import Chosen, Floats, Pool, Rows, herding, repulsive
from hnscore.selections.regions import kmeans_regions
from hnscore.selections.standard import standard

_COVERING = ("coverage", "stochastic")
_COMPARING = ("repulsive", "herding", *_COVERING)  # the rows of the pool with one another
_WITHOUT_SCORES = ("herding", *_COVERING)
_TEMPERATURE, _AUTO_TEMPERATURE = 0.1, 0.4
# Points that means are taken over by default: so many, and so many a pick. docs/selection.md has what they cost.
_POINTS, _POINTS_OF_PICK = 10_000, 4


class Selection(NamedTuple):
    """A call of `select`: its arguments, unchecked, as its docstring has them."""

    scores: object
    budget: int
    embeddings: object
    prefer: str | None
    method: str
    labeled: object
    random_state: object
    temperature: float | None
    kernel: str
    min_similarity: float | None
    center: bool
    density: object
    density_exponent: float
    regions: object
    regularization: float
    subsample: object
    epsilon: float
    memory_limit: int
    return_gains: bool
    n_threads: int | None
    show_progress_bar: bool | None


class SelectCall:
    """A call, checked."""

    def __init__(self, given: Selection, there: Any = None) -> None:
        """`there`: the embeddings in a tensor on a GPU, where they are copies of that."""
        self.given, method = given, given.method
        scores, embeddings = given.scores, given.embeddings
        check_choice("method", method, SELECTION_METHODS)
        self.auto = method == "auto"
        if self.auto:
            check_given_for(method, "scores or embeddings", scores is not None or embeddings is not None)
            method = "top" if embeddings is None else "coverage"
        self.method = method
        self._needs("scores", scores is not None or method in _WITHOUT_SCORES)
        self._needs("embeddings", embeddings is not None or (method not in _COMPARING and scores is not None))
        self._needs("regions", given.regions is not None or method != "budgeted")
        self.pool = (
            None if embeddings is None else Pool("embeddings", embeddings, count_threads(given.n_threads), there)
        )
        self.kind = embeddings if scores is None else scores  # of the result
        self.values = self._values()
        self.n = n = len(self._pool.emb) if self.values is None else len(self.values)
        self.taken = read_row_numbers("labeled", given.labeled, n)
        free = n - len(self.taken)
        self.budget = check_integer("budget", given.budget, 0, free, "rows to choose, of those that are not labeled")
        self.regularization = check_real("regularization", given.regularization)
        exponent = check_real("density_exponent", given.density_exponent)
        self.density_exponent = min(max(exponent, -STRONGEST), STRONGEST)
        default = _AUTO_TEMPERATURE if self.auto else _TEMPERATURE
        temperature = default if given.temperature is None else given.temperature
        self.temperature = check_positive("temperature", temperature)
        self.level = check_kernel(given.kernel, method, given.min_similarity)
        self.points = check_subsample(given.subsample, max(_POINTS, _POINTS_OF_PICK * self.budget))
        self.epsilon = check_share("epsilon", given.epsilon)
        self.memory_limit = check_integer("memory_limit", given.memory_limit, 0, None, "bytes")
        self.random = as_generator(given.random_state)
        self.ties = None if given.random_state is None else self.random
        check_flag("return_gains", given.return_gains)
        if check_flag("center", given.center):
            check_given_for("a centered pool", "embeddings", self.pool is not None)
            self.pool = self._pool.centered()

    def _needs(self, name: str, there: bool) -> None:
        check_given_for(self.method, name, there)

    @property
    def _pool(self) -> Pool:
        assert self.pool is not None
        return self.pool

    def _values(self) -> Floats | None:
        """The scores, the larger the sooner; None where there are none."""
        given, method = self.given, self.method
        if method == "herding" or given.scores is None:
            check_preference(given.prefer, "without scores" if given.scores is None else "")
            return None
        weights = method in _COVERING and not self.auto
        check_preference(given.prefer, f"with method={method!r}, where scores are weights" if weights else "")
        values = read_point_values("scores", given.scores, least=0.0 if weights else None)
        if self.pool is not None:
            check_same_rows("embeddings", self.pool.emb, len(values))
        return -values if given.prefer == "easy" else values

    def chosen(self) -> Any:
        """The picks, and their gains where asked for."""
        if self.method in _COMPARING:
            picks, gains = self._by_comparing()
        else:
            assert self.values is not None
            picks = self._by_score(self.values)
            gains = self.values[picks]
        rows = convert_like(self.kind, picks)
        return (rows, convert_like(self.kind, gains)) if self.given.return_gains else rows

    # ---- Rows compared with one another ------------------------------------------------------------------------------

    def _by_comparing(self) -> Chosen:
        pool, budget, values, points = self._pool, self.budget, self.values, self.points
        pool.prepare(self.taken, rows_bar(self.given.show_progress_bar, self.method, budget))
        if self.method == "repulsive":
            assert values is not None
            check_not_negative("regularization", self.regularization)
            return repulsive(pool, budget, values, self.regularization, self.temperature)
        if self.method == "herding":
            return herding(pool, budget, self.temperature, points, self.random)
        if self.auto and values is not None:
            values = ranked.better_half(values, self.taken)
        if self.level is not None:
            return ball_coverage(pool, budget, values, self.level, points, self.random)
        scale = self.temperature if self.given.kernel == "exponential" else None
        share = -math.log(self.epsilon) / max(budget, 1) if self.method == "stochastic" else None
        return coverage(pool, budget, values, How(scale, self.memory_limit, points, share), self.random)

    # ---- By score ----------------------------------------------------------------------------------------------------

    def _by_score(self, values: Floats) -> Rows:
        given, pool, n = self.given, self.pool, self.n
        free = np.delete(np.arange(n), self.taken)
        if self.method == "top":
            return free[ranked.best(values[free], self.budget, self.ties)]
        regions = given.regions
        if self.method == "budgeted" and read_array("regions", regions)[0].ndim == 0:
            self._needs("embeddings", pool is not None)
            regions = check_integer("regions", regions, 1, n, "the number to be found, or the region of each row")
        if given.density is None:
            self._needs("density or embeddings", pool is not None)
        if pool is not None and (given.density is None or isinstance(regions, int)):
            pool.prepare(self.taken, None)
        density = _density(self._pool, given.show_progress_bar) if given.density is None else given.density
        crowded = read_point_values("density", density, n)[free]
        if self.method == "density":
            exponents = self.density_exponent * standard(lambda: [crowded]).of(crowded)
            return free[ranked.best_adjusted(values[free], exponents, self.budget, self.ties)]
        codes = _region_codes(regions, pool, free, n, self.random)
        # Shares of those that have rows.
        shares = allocate(values[free], crowded, codes, self.budget, regularization=self.regularization)
        return free[ranked.best_of_each(values[free], codes, shares, self.ties)]


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
