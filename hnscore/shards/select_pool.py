"""Selection beyond memory, in two stages: picks in partitions of the pool, then picks among these."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.numbers import as_generator, check_choice, check_integer, check_positive
from hnscore.arguments.values import read_point_values
from hnscore.datasets.dataset import Dataset
from hnscore.engine.cpu import Cpu
from hnscore.engine.host import host_rows
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import NO_RULES, Request
from hnscore.selections.farthest import core_set
from hnscore.selections.select import select as select_rows
from hnscore.shards.engines import engine_named
from hnscore.shards.sink import check_dataset

METHODS = ("coverage", "herding", "core_set")
_PARTITION_ROWS = 100_000
_POINTS = 10_000  # that the objective is measured over
_AT_ONCE = 4  # partitions that are gathered in one pass: they are in memory together


class Selection(NamedTuple):
    """Rows chosen in two stages."""

    rows: NDArray[np.int64]
    candidates: int  # picks of the partitions, among which the second stage chose
    objective: float
    """What the picks reach over a sample of the pool, see `select`."""


def select(  # noqa: PLR0913
    pool: Dataset,
    budget: int,
    *,
    method: str = "coverage",
    scores: object = None,
    temperature: float = 0.4,
    partition_rows: int = _PARTITION_ROWS,
    random_state: object = 0,
    engine: str = "threads",
    n_workers: int | None = None,
    n_threads: int | None = None,
    show_progress_bar: bool | None = None,
) -> Selection:
    """Choose rows of a pool that does not fit: `budget` of each partition, then `budget` of all these.

    Rows are dealt to partitions at random; four partitions are gathered in a pass over the pool, and are in memory
    together, as are the candidates: ``budget * partitions`` rows. A candidate weighs as much in the second stage as the
    rows of its partition that it is nearest to.

    Parameters
    ----------
    pool : Dataset
        Of `hnscore.dataset`.
    budget : int
        Rows to choose.
    method : {"coverage", "herding", "core_set"}
        As ``hnscore.select(method=...)`` and `hnscore.core_set` have them.
    scores : array (n_rows,), optional
        For "coverage": weights of the rows to be covered, at least 0.
    temperature : float
        Of the kernel of "coverage" and "herding".
    partition_rows : int
        Rows of a partition: more come closer to one greedy over all.
    random_state : int, numpy.random.Generator, optional
        Of the partitions and the points that means are over.
    engine : {"threads", "ray"}
        This process with all its threads; or tasks of a Ray cluster, to which this process sends partitions. The picks
        are the same.
    n_workers : int, optional
        For Ray: partitions that are worked on at a time. Default: one on each node.
    n_threads : int, optional
        Of this process, or of each task. Default: all there are.
    show_progress_bar : bool, optional
        Default: after three seconds, where standard error is a terminal or a notebook.

    Returns
    -------
    selection : Selection
        A named tuple: ``rows`` (budget,), numbers of rows, best first; ``candidates``; and ``objective``, over 10,000
        rows of the pool drawn at random: of "coverage" and "herding" the mean over them of the largest kernel with a
        pick (weighted by the scores, as a share of their sum), of "core_set" the largest distance ``1 - s`` to the
        nearest pick, which a sample can only underestimate.

    Raises
    ------
    TypeError, ValueError
        As `hnscore.select`; for a budget above the rows of a partition.
    ShardError
        For a shard that cannot be read.

    Notes
    -----
    Two greedy stages over random partitions reach at least (1 - 1/e) / 2 of the best "coverage" in expectation [1]_,
    for partitions as they are at least ``1 / min(sqrt(budget), partitions)`` of what greedy over all has up to 1 - 1/e
    [2]_; docs/pools.md has what was measured, which is far nearer. "core_set" leaves at most four times the distance
    that any choice could [3]_. "herding" has no guarantee.

    References
    ----------
    .. [1] Barbosa, Ene, Nguyen, Ward: The power of randomization: distributed submodular maximization on massive
       datasets, ICML 2015.
    .. [2] Mirzasoleiman, Karbasi, Sarkar, Krause: Distributed submodular maximization: identifying representative
       elements in massive data, NIPS 2013.
    .. [3] Malkomes, Kusner, Chen, Weinberger, Moseley: Fast distributed k-center clustering with outliers on massive
       data, NIPS 2015.

    Examples
    --------
    >>> import tempfile, hnscore
    >>> from hnscore import demo
    >>> data = demo.load()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     demo.save(folder, shards=4)
    ...     pool = hnscore.dataset(f"{folder}/pool", ids="id")
    ...     picked = hnscore.shards.select(pool, 5, show_progress_bar=False)
    ...     print(len(pool.ids_of(picked.rows)))
    5
    """
    check_dataset("pool", pool)
    check_choice("method", method, METHODS)
    temperature = check_positive("temperature", temperature)
    partition_rows = check_integer("partition_rows", partition_rows, 1, None, "rows of a partition")
    n = len(pool)
    budget = check_integer("budget", budget, 1, min(n, partition_rows), "rows to choose, of one partition")
    weights = None if scores is None else read_point_values("scores", scores, n, least=0.0)
    if weights is not None and method != "coverage":
        raise ValueError(f"scores must be left out with method={method!r}, which has no weights; leave them out")
    random = as_generator(random_state)
    run_in = engine_named(engine, n_workers, n_threads)
    how = _How(method, temperature, n_threads if engine == "threads" else None)
    bar = rows_bar(show_progress_bar, f"{method}, in partitions", n)
    seed = int(random.integers(2**63))
    kept: list[NDArray[Any]] = []
    numbers: list[NDArray[np.int64]] = []
    masses: list[NDArray[np.float64]] = []
    partitions = (
        _Partition(rows, part, np.ones(len(part)) if weights is None else weights[part], seed)
        for rows, part in _partitions(pool, max(1, math.ceil(n / partition_rows)), random)
    )
    work, done = _OfPartition(how, budget), 0
    found: Iterator[_Kept] = (work(each) for each in partitions)
    if engine != "threads":
        found = run_in.in_order(work, partitions)
    for rows, part, mass, n_rows in found:
        kept.append(rows)
        numbers.append(part)
        masses.append(mass)
        done += n_rows
        if bar is not None:
            bar(done / n)
    rows, part = np.concatenate(kept), np.concatenate(numbers)
    picks = how.picks(rows, budget, np.concatenate(masses), seed) if len(masses) > 1 else np.arange(budget)
    points = np.sort(random.choice(n, min(n, _POINTS), replace=False))
    near, _ = how.nearest(pool.take(points), rows[picks])
    return Selection(part[picks], len(rows), how.objective(near, None if weights is None else weights[points]))


def _partitions(
    pool: Dataset, count: int, random: np.random.Generator
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Random partitions of the pool in one pass, each with the numbers of its rows.

    Rows gather in so many piles that some are full before the pool ends; a pile that is full is a partition.
    """
    size = math.ceil(len(pool) / count)
    order = random.permutation(len(pool))  # row order[i] goes to partition i // size
    of_row = np.empty(len(pool), np.int32)
    of_row[order] = np.arange(len(pool)) // size
    for first in range(0, count, _AT_ONCE):
        stop = min(first + _AT_ONCE, count)
        rows: list[list[NDArray[Any]]] = [[] for _ in range(first, stop)]
        numbers: list[list[NDArray[np.int64]]] = [[] for _ in range(first, stop)]
        for block, start in pool.passes():
            here = of_row[start : start + len(block.rows)]
            for i in range(first, stop):
                at = np.flatnonzero(here == i)
                rows[i - first].append(block.rows[at])
                numbers[i - first].append(start + at)
        for i in range(stop - first):
            yield np.concatenate(rows[i]), np.concatenate(numbers[i])
            rows[i] = []


class _Partition(NamedTuple):
    """Some rows of the pool: themselves, their numbers and weights, and the seed of what is drawn of them."""

    rows: NDArray[Any]
    numbers: NDArray[np.int64]
    weights: NDArray[np.float64]
    seed: int


# The picks of a partition: rows, numbers, and what each stands for; and how many rows there were.
_Kept = tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64], int]


class _OfPartition(NamedTuple):
    """The first stage. It travels to other processes."""

    how: _How
    budget: int

    def __call__(self, of: _Partition) -> _Kept:
        picks = self.how.picks(of.rows, min(self.budget, len(of.rows)), of.weights, of.seed)
        nearest = self.how.nearest(of.rows, of.rows[picks])[1]
        mass = np.bincount(nearest, of.weights, len(picks)).astype(np.float64)
        return of.rows[picks], of.numbers[picks], mass, len(of.rows)


class _How(NamedTuple):
    method: str
    temperature: float
    n_threads: int | None

    def picks(self, rows: NDArray[Any], budget: int, weights: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
        """Of a partition, or of the candidates, which weigh as much as the rows that they are nearest to."""
        given: dict[str, Any] = {"n_threads": self.n_threads, "show_progress_bar": False}
        if self.method == "core_set":
            found: NDArray[np.int64] = core_set(rows, budget, **given)
            return found
        more: dict[str, Any] = {"method": self.method, "temperature": self.temperature, "random_state": seed}
        scores = weights if self.method == "coverage" else None
        choose: Any = select_rows
        picks: NDArray[np.int64] = choose(scores, budget, embeddings=rows, **more, **given)
        return picks

    def nearest(self, rows: NDArray[Any], picks: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The similarity of each row to its nearest pick, and which that is."""
        engine = Cpu(self.n_threads)
        return engine.kth_best(host_rows("rows", rows), host_rows("picks", picks), 1, Request(), NO_RULES)

    def objective(self, near: NDArray[np.float64], weights: NDArray[np.float64] | None) -> float:
        if self.method == "core_set":
            return float((1 - near).max())
        covered = np.exp((near - 1) / self.temperature)
        return float(np.average(covered, weights=weights if weights is None or weights.any() else None))
