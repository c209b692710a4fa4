"""`hnscore.density` of a dataset against a set of points, into result shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.numbers import check_flag
from hnscore.datasets.dataset import Dataset
from hnscore.densities.density import density as density_of
from hnscore.shards.bar import bar_over
from hnscore.shards.engines import engine_named
from hnscore.shards.run import Run, Summary
from hnscore.shards.sink import check_dataset, setting


def density(  # noqa: PLR0913
    pool: Dataset,
    kind: str = "knn",
    *,
    against: object,
    output: object,
    k: int | None = None,
    min_similarity: float | None = None,
    temperature: float | None = None,
    weights: object = None,
    similarity: str = "cosine",
    precision: str = "exact",
    engine: str = "threads",
    n_workers: int | None = None,
    n_threads: int | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    show_progress_bar: bool | None = None,
) -> Summary:
    """Write ``hnscore.density(pool, kind, against=against, ...)`` to result shards, one for each shard of the pool.

    Parameters
    ----------
    pool : Dataset
        Of `hnscore.dataset`.
    kind, against, k, min_similarity, temperature, weights, similarity, precision
        As in `hnscore.density`; kinds but "gaussian", and NumPy arrays. `against` (m, dim) are points in memory, such
        as those that are labeled.
    output, engine, n_workers, n_threads, overwrite, storage_options, show_progress_bar
        As in `hnscore.shards.score`; the column of values is ``density``.

    Returns
    -------
    summary : Summary
        As of `hnscore.shards.score`.

    Raises
    ------
    ShardError, ValueError, TypeError, OSError, ImportError, ConnectionError
        As `hnscore.shards.score`, and as `hnscore.density`.

    Notes
    -----
    What is kept of an earlier run is as in `hnscore.shards.score`.

    Examples
    --------
    >>> import tempfile, hnscore
    >>> from hnscore import demo
    >>> data = demo.load()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     demo.save(folder, shards=4)
    ...     pool = hnscore.dataset(f"{folder}/pool", ids="id")
    ...     done = hnscore.shards.density(pool, "knn", k=5, against=data.txt_emb, output=f"{folder}/densities",
    ...                                   show_progress_bar=False)
    ...     print(done.rows, done.computed)
    500 4
    """
    check_dataset("pool", pool)
    run_in = engine_named(engine, n_workers, n_threads)
    options = {
        "kind": kind, "k": k, "min_similarity": min_similarity, "temperature": temperature, "similarity": similarity,
        "precision": precision,
    }  # fmt: skip
    settings = options | {"result": "density", "against": setting(against), "weights": setting(weights)}
    threads = None if engine == "ray" else n_threads
    work = _Densities(options | {"against": against, "weights": weights, "n_threads": threads})
    work(np.ones((1, pool.shape[1]), np.float32), 0)  # errors before hours of work
    with (
        Run(pool, output, settings, "density", check_flag("overwrite", overwrite), storage_options) as run,
        bar_over("density", len(pool), show_progress_bar) as bar,
    ):
        run.keep_state()
        return run.finish(work, run_in, bar, lambda _: {})


class _Densities(NamedTuple):
    options: dict[str, Any]

    def __call__(self, rows: NDArray[Any], first: int) -> NDArray[Any]:
        result: NDArray[Any] = density_of(rows, **self.options)
        return result
