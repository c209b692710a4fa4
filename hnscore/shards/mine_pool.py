"""`hnscore.mine` from a dataset, into one file, resumable."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.numbers import check_choice, check_flag
from hnscore.datasets.dataset import Dataset
from hnscore.engine.host import host_rows
from hnscore.engine.running import merged_by_row
from hnscore.mining.mine import DEFAULTS
from hnscore.mining.of_dataset import MineOfDataset
from hnscore.shards.bar import bar_over
from hnscore.shards.engines import engine_named
from hnscore.shards.passes import Arrays, Pass, best_match
from hnscore.shards.run import Run, Summary
from hnscore.shards.sink import MARK, STATE, check_dataset, digest, setting

_LISTS = f"{STATE}/lists"
RESULT = "negatives.npz"


def mine(  # noqa: PLR0913
    pool: Dataset,
    txt_emb: object,
    k: int,
    *,
    output: object,
    engine: str = "threads",
    n_workers: int | None = None,
    n_threads: int | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    show_progress_bar: bool | None = None,
    **options: object,
) -> Summary:
    """Write ``hnscore.mine(pool, txt_emb, k, ...)`` to a folder, from where an earlier run has come to.

    Parameters
    ----------
    pool : Dataset
        Of `hnscore.dataset`.
    txt_emb, k, **options
        As in `hnscore.mine`; ``sampling="top"`` alone.
    output : path or URI
        The folder to write: ``negatives.npz`` of the arrays ``similarities`` and ``indices`` (n_txt, k), and ``ids``
        (n_txt, k), empty strings where there is none, where the dataset has ids; and ``manifest.json``.
    engine, n_workers, n_threads, overwrite, storage_options, show_progress_bar
        As in `hnscore.shards.score`.

    Returns
    -------
    summary : Summary
        As of `hnscore.shards.score`.

    Raises
    ------
    ShardError, ValueError, TypeError, OSError, ImportError, ConnectionError
        As `hnscore.shards.score`, and as `hnscore.mine`. A shard that cannot be read ends it, when all others are done.

    Notes
    -----
    The lists so far are kept every few seconds, with the names of the shards that they are of. Where one of these has
    changed, all of them are looked at again. Memory: three blocks of 32 MiB of rows, and 100 bytes an entry.

    Examples
    --------
    >>> import tempfile, hnscore
    >>> from hnscore import demo
    >>> data = demo.load()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     demo.save(folder, shards=4)
    ...     pool = hnscore.dataset(f"{folder}/pool", ids="id")
    ...     done = hnscore.shards.mine(pool, data.txt_emb, 3, reference=data.reference, margin=0.1,
    ...                                output=f"{folder}/negatives", show_progress_bar=False)
    ...     print(done.rows, done.computed)
    500 4
    """
    check_dataset("pool", pool)
    run_in = engine_named(engine, n_workers, n_threads)
    given = DEFAULTS | options | {"txt_emb": txt_emb, "k": k, "n_threads": n_threads if engine == "threads" else None}
    check_choice("sampling", given["sampling"], ("top",))
    unknown = sorted(set(options) - set(DEFAULTS) | ({"show_progress_bar", "n_threads"} & set(options)))
    if unknown:
        raise TypeError(f"mine has no keyword {unknown[0]!r}; see help(hnscore.mine)")
    unheard = ("n_threads", "show_progress_bar", "img_emb")
    settings = {name: setting(x) for name, x in given.items() if name not in unheard} | {"result": "mine"}
    with Run(pool, output, settings, "similarity", check_flag("overwrite", overwrite), storage_options) as run:
        numbers = range(len(pool.shards))
        names = {pool.shards[number].name: run.identity(number) for number in numbers}
        record = run.records.get(RESULT)
        if record is not None and record["input"] == names and run.folder.identity(RESULT) == record["written"]:
            return Summary(str(run.folder), len(pool), len(names), 0)
        given["show_progress_bar"] = False
        best: NDArray[np.float64] | None = None
        by_pool = isinstance(given["reference"], str) and given["reference"] == "pool_max"
        # Errors before hours of work.
        call = MineOfDataset(pool, given, 0.0 if by_pool else None)
        with bar_over("mine", (1 + by_pool) * len(pool), show_progress_bar) as bar:
            run.keep_state()
            if by_pool:
                best = best_match(run, call.best_of, call.n_txt, run_in, bar)
                call = MineOfDataset(pool, given, best)
            nothing = np.full((call.n_txt, call.wanted), -np.inf), np.full((call.n_txt, call.wanted), -1)
            lists = Pass(run, _LISTS, nothing, _merged, "" if best is None else digest(best.tobytes()))
            found = lists.over(_BestOf(pool, call), run_in, bar)
        similarities, indices = call.mined_of(found[0], found[1])
        arrays: dict[str, Any] = {"similarities": similarities, "indices": indices}
        if pool.id_column is not None:
            ids = np.zeros(indices.shape, object)
            ids[:] = ""
            ids[indices >= 0] = pool.ids_of(indices[indices >= 0])
            arrays["ids"] = ids.astype(str)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        run.folder.write(RESULT, buffer.getvalue())
        record = {"shard": RESULT, "input": names, "written": run.folder.identity(RESULT)}
        run.write_manifest([record | {MARK: 1, "result": RESULT, "digest": digest(buffer.getvalue())}])
        return Summary(str(run.folder), len(pool), len(names), lists.computed)


class _BestOf:
    """A task: what a shard has for each text. What one shard has found spares the next ones work."""

    def __init__(self, pool: Dataset, call: MineOfDataset) -> None:
        self.pool, self.call, self.running = pool, call, call.running()

    def __reduce__(self) -> tuple[type[_BestOf], tuple[Dataset, MineOfDataset]]:
        return _BestOf, (self.pool, self.call)

    def block(self, rows: NDArray[Any], first: int) -> None:
        self.running.add(host_rows("img_emb", rows), first, self.call.rules_of(first, len(rows)))

    def drop(self) -> None:
        floors = self.running.floors
        self.running = self.call.running()
        self.running.floors = floors

    def done(self, number: int, parts: list[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        values, rows = self.running.values, self.running.rows
        floors = np.where(rows[:, -1] < 0, -np.inf, np.nextafter(values[:, -1], -np.inf))
        before = self.running.floors
        self.running = self.call.running()
        self.running.floors = floors if before is None else np.maximum(before, floors)
        return values, rows

    def kept(self, number: int, found: Arrays) -> Arrays:
        return found


def _merged(so_far: Arrays, more: Arrays) -> Arrays:
    values, rows = so_far
    return merged_by_row(values, rows, more[0], more[1], values.shape[1])
