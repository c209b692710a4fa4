"""The best rows of the result shards of a run, one shard in memory at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.checks import check_given_for, read_region_labels, read_row_numbers
from hnscore.arguments.numbers import check_choice, check_integer, check_real
from hnscore.arguments.options import PREFERENCES
from hnscore.datasets.folder import Folder
from hnscore.selections.allocate import STRONGEST, Range, exponents, less_lowest, shares
from hnscore.selections.ranked import adjusted, within_shares
from hnscore.selections.standard import GroupSums, standard
from hnscore.shards.results import MANIFEST, read_result

METHODS = ("top", "density", "budgeted")
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Top(NamedTuple):
    """The best rows of a run."""

    rows: Rows
    values: NDArray[Any]
    ids: NDArray[Any] | None


def top(  # noqa: PLR0913
    output: str | os.PathLike[str],
    budget: int,
    *,
    prefer: str = "hard",
    method: str = "top",
    labeled: object = None,
    density: str | os.PathLike[str] | None = None,
    density_exponent: float = -1.0,
    regions: object = None,
    regularization: float = 1.0,
    storage_options: Mapping[str, Any] | None = None,
) -> Top:
    """The best rows of the result shards of a run: `hnscore.select` of the same method, without the arrays.

    Parameters
    ----------
    output : path or URI
        The folder of a run that is finished.
    budget : int
        Rows to choose, from 0 to all that are not labeled.
    prefer : {"hard", "easy"}
        The largest values, or the smallest.
    method : {"top", "density", "budgeted"}
        As in `hnscore.select`: by value alone; less where the space is crowded; or a share for each region.
    labeled : integer array, optional
        Numbers of rows that are not chosen.
    density : path or URI, optional
        For "density" and "budgeted": the folder of a finished run over the same shards, of `hnscore.shards.density`.
    density_exponent : float
        For "density": below 0 crowded rows count less.
    regions : integer array (n,), optional
        For "budgeted": the region of each row, numbered from 0. It is read part by part: a memory-mapped file will do.
    regularization : float
        For "budgeted": see `allocate`.
    storage_options : dict, optional
        For fsspec.

    Returns
    -------
    rows : int64 array (budget,)
        Numbers of rows of the dataset, best first; ties to the lowest.
    values : array (budget,)
    ids : array (budget,) or None
        Where the dataset has ids.

        A named tuple.

    Raises
    ------
    FileNotFoundError
        Where there is no finished run.
    ValueError
        For a budget beyond the rows, runs over different shards, NaN and Inf with "density" and "budgeted", and what
        `hnscore.select` refuses.

    Notes
    -----
    One shard of each run is in memory at a time, beside the best rows so far. "density" reads the values twice, as
    "budgeted" does three times, and the densities four times more.

    Examples
    --------
    >>> import tempfile, hnscore
    >>> from hnscore import demo
    >>> data = demo.load()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     demo.save(folder, shards=4)
    ...     pool = hnscore.dataset(f"{folder}/pool", ids="id")
    ...     _ = hnscore.shards.score(pool, data.txt_emb, 0.2, reference=data.reference, output=f"{folder}/scores",
    ...                              show_progress_bar=False)
    ...     print(hnscore.shards.top(f"{folder}/scores", 3, prefer="easy").values)
    [0. 0. 0.]
    """
    check_choice("prefer", prefer, PREFERENCES)
    check_choice("method", method, METHODS)
    check_given_for(method, "density", density is not None or method == "top")
    check_given_for(method, "regions", regions is not None or method != "budgeted")
    values = _Finished(output, storage_options)
    crowding = None if density is None or method == "top" else _Finished(density, storage_options)
    if crowding is not None:
        crowding.check_same_shards(values)
    labels = None if method != "budgeted" else np.asarray(regions)
    if labels is not None and labels.shape != (values.n_rows,):
        raise ValueError(f"regions must have shape ({values.n_rows},), one for each row, got {labels.shape}")
    taken = read_row_numbers("labeled", labeled, values.n_rows)
    budget = check_integer("budget", budget, 0, values.n_rows - len(taken), "rows to choose, of those not labeled")
    of_density = check_real("density_exponent", density_exponent)
    of_regions = check_real("regularization", regularization)
    pool = _Pool(values, crowding, labels, taken, -1 if prefer == "easy" else 1)
    if method == "top":
        best = _Best(budget)
        for part in pool.parts():
            best.add(part.rows, (part.signed,))
    elif method == "density":
        best = _by_density(pool, budget, min(max(of_density, -STRONGEST), STRONGEST))
    else:
        best = _by_regions(pool, budget, min(max(of_regions, -STRONGEST), STRONGEST))
    return values.at(best.rows)


# ---- Results of runs, part by part -----------------------------------------------------------------------------------


class _Finished:
    """The result shards of a run that is finished."""

    def __init__(self, output: str | os.PathLike[str], options: Mapping[str, Any] | None) -> None:
        self.folder = Folder(output, options)
        content = self.folder.read(MANIFEST)
        if content is None:
            raise FileNotFoundError(f"{self.folder} holds no finished run; run it to its end first")
        manifest = json.loads(content)
        self.n_rows: int = manifest["rows"]
        self.shards: Sequence[Mapping[str, Any]] = manifest["shards"]
        self.value = manifest["value"]

    def check_same_shards(self, other: _Finished) -> None:
        mine, theirs = ([(shard["shard"], shard["rows"]) for shard in run.shards] for run in (self, other))
        if mine != theirs:
            raise ValueError(
                f"density must be a run over the shards of output, got {self.folder} of {len(mine)} and "
                f"{other.folder} of {len(theirs)} shards of other names or rows; run it over the same dataset"
            )

    def shard(self, number: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Values and ids."""
        name = self.shards[number]["result"]
        content = self.folder.read(name)
        if content is None:
            raise FileNotFoundError(f"{self.folder.at(name)} is gone; run the same again")
        return read_result(content, self.value)

    def at(self, rows: Rows) -> Top:
        """Values and ids of some rows."""
        first = np.cumsum([0, *(shard["rows"] for shard in self.shards)])
        of_shard = np.searchsorted(first, rows, side="right") - 1
        wanted = np.unique(of_shard) if len(rows) else np.arange(min(1, len(self.shards)))  # for the dtypes
        found: list[Any] = []
        for number in wanted:
            at = np.flatnonzero(of_shard == number)
            values, ids = self.shard(int(number))
            here = rows[at] - first[number]
            found.append((at, values[here], None if ids is None else ids[here]))
        if not found:
            return Top(rows, np.empty(0), None)
        back = np.argsort(np.concatenate([at for at, _, _ in found]))
        ids = None if found[0][2] is None else np.concatenate([named for _, _, named in found])[back]
        return Top(rows, np.concatenate([values for _, values, _ in found])[back], ids)


class _Part(NamedTuple):
    """What is known of some rows that are not labeled."""

    rows: Rows
    signed: Floats  # the larger the sooner
    crowded: Floats
    labels: Rows


class _Pool(NamedTuple):
    values: _Finished
    crowding: _Finished | None
    labels: NDArray[Any] | None
    taken: Rows
    sign: int

    def parts(self) -> Iterator[_Part]:
        for number, (first, rows, free) in enumerate(self._free()):
            found = self.values.shard(number)[0].astype(np.float64)
            crowded, labels = np.empty(0), np.empty(0, np.int64)
            if self.crowding is not None:
                _check_finite(f"values of {self.values.folder}", found, first)
                crowded = self._crowded(number, first, free)
            if self.labels is not None:
                part = self.labels[first : first + len(found)]
                labels = read_region_labels(f"regions[{first}:{first + len(found)}]", part, len(found))[free]
            yield _Part(rows[free], self.sign * found[free], crowded, labels)

    def crowded(self) -> Iterator[Floats]:
        """The densities alone."""
        for number, (first, _, free) in enumerate(self._free()):
            yield self._crowded(number, first, free)

    def _free(self) -> Iterator[tuple[int, Rows, NDArray[np.bool_]]]:
        """Of each shard the first row, the rows, and which are not labeled."""
        first = 0
        for shard in self.values.shards:
            rows = np.arange(first, first + shard["rows"])
            yield first, rows, np.isin(rows, self.taken, assume_unique=True, invert=True)
            first += len(rows)

    def _crowded(self, number: int, first: int, free: NDArray[np.bool_]) -> Floats:
        assert self.crowding is not None
        found = self.crowding.shard(number)[0].astype(np.float64)
        _check_finite(f"density of {self.crowding.folder}", found, first)
        return found[free]


def _check_finite(name: str, x: Floats, first: int) -> None:
    bad = ~np.isfinite(x)
    if bad.any():
        raise ValueError(f"{name} must be finite, got {x[bad][0]} in row {first + int(bad.argmax())}; choose by 'top'")


# ---- Which are best --------------------------------------------------------------------------------------------------


class _Best:
    """The best rows so far: by their keys, the first one first, then by row. `quota`: of each region; else `most`."""

    def __init__(self, most: int, quota: Rows | None = None) -> None:
        self.most, self.quota = most, quota
        self.rows, self.labels = np.empty(0, np.int64), np.empty(0, np.int64)
        self._keys: tuple[Floats, ...] = ()

    def add(self, rows: Rows, keys: tuple[Floats, ...], labels: Rows | None = None) -> None:
        keys = tuple(map(np.concatenate, zip(self._keys, keys, strict=True))) if self._keys else keys
        rows = np.concatenate([self.rows, rows])
        order = np.lexsort((rows, *(-key for key in reversed(keys))))
        if self.quota is None or labels is None:
            order = order[: self.most]
        else:
            labels = np.concatenate([self.labels, labels])
            order = within_shares(order, labels, self.quota)
            self.labels = labels[order]
        self.rows, self._keys = rows[order], tuple(key[order] for key in keys)


def _by_density(pool: _Pool, budget: int, exponent: float) -> _Best:
    lowest = min((part.signed.min(initial=0.0) for part in pool.parts()), default=0.0)
    scale = standard(pool.crowded)
    best = _Best(budget)
    for part in pool.parts():
        log = adjusted(part.signed, exponent * scale.of(part.crowded), lowest)
        best.add(part.rows, (log, part.signed))
    return best


def _by_regions(pool: _Pool, budget: int, strength: float) -> _Best:
    scale = standard(pool.crowded)
    known, size = Range(np.inf, 0.0), np.zeros(0, np.int64)
    for part in pool.parts():
        here = Range.of(part.signed)
        known = Range(min(known.lowest, here.lowest), max(known.largest, here.largest))
        counts = np.bincount(part.labels, minlength=len(size))
        counts[: len(size)] += size
        size = counts
    gain, crowding = GroupSums(), GroupSums()
    for part in pool.parts():
        gain.add(less_lowest(part.signed, known), part.labels)
        crowding.add(scale.centred(part.crowded), part.labels)
    held = np.flatnonzero(size)  # regions that have rows
    exponent = exponents(crowding.totals(held), size[held], scale, strength)
    quota = np.zeros(len(size), np.int64)
    quota[held] = shares(size[held], gain.totals(held), exponent, budget)
    best = _Best(budget, quota)
    for part in pool.parts():
        best.add(part.rows, (part.signed,), part.labels)
    return best
