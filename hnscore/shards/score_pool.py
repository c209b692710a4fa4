"""`hnscore.score` of a dataset, into result shards."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import randbits
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from hnscore.arguments.keywords import accepts
from hnscore.arguments.numbers import check_flag, check_integer
from hnscore.datasets.dataset import Dataset
from hnscore.scores.chunks import ChunkedScore
from hnscore.scores.rule import ARRAYS, SHOWN, Rule, keywords
from hnscore.shards.bar import bar_over
from hnscore.shards.engines import engine_named
from hnscore.shards.passes import best_match
from hnscore.shards.run import Run, Summary
from hnscore.shards.sink import check_dataset, setting

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hnscore.scores.rule import WeightOptions


@accepts(keywords(*SHOWN))
def score(
    pool: Dataset,
    txt_emb: object,
    margin: float = 0.2,
    *,
    output: object,
    engine: str = "threads",
    n_workers: int | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    show_progress_bar: bool | None = None,
    **options: Unpack[WeightOptions],
) -> Summary:
    """Write ``hnscore.score(pool, txt_emb, margin, ...)`` to result shards, one for each shard of the pool.

    A run that was ended, by whatever, is continued by the same call, which computes the shards that are missing or that
    have changed since, and no others. The scores are those of one call of `hnscore.score` with the same method.

    Parameters
    ----------
    pool : Dataset
        Of `hnscore.dataset`.
    txt_emb, margin, ...
        As in `hnscore.score`; NumPy arrays or CPU tensors.
    output : path or URI
        The folder to write: for each shard a Parquet file of columns ``id`` and ``score`` where the dataset has ids,
        else a .npy file of scores (n_rows,), with the name of the shard; and ``manifest.json``.
    owner : integer array (n_txt,), optional
        Rows of the dataset, for example ``pool.rows_of(ids)``, or of paired_emb.
    img_groups : array (n_img,) of integers or strings, optional
        Labels of all rows.
    random_state : int, optional
        Of the minibatch. None: one is drawn, and kept for continuing.
    engine : {"threads", "ray"}
        This process with all its threads, or the actors of a Ray cluster, which read the shards and write the results
        themselves: both must be where all of them can reach them. The files are the same.
    n_workers : int, optional
        For Ray: actors. Default: one on each node.
    n_threads : int, optional
        Of this process, or of each actor. Default: all there are.
    overwrite : bool
        Replace the output of other settings, instead of refusing.
    storage_options : dict, optional
        For fsspec, of `output`.
    show_progress_bar : bool, optional
        One over all passes. Default: where standard error is a terminal.

    Returns
    -------
    summary : Summary
        A named tuple: ``output``, ``rows``, ``shards``, and ``computed``, the shards computed in this call.

    Raises
    ------
    ShardError
        A ValueError, when all other shards are finished: which shards could not be read, or changed meanwhile.
    ValueError
        For an output of other settings, or one that another run is writing; else as `hnscore.score`.
    OSError, ImportError, ConnectionError
        For a folder or store that cannot be written, missing libraries, a Ray cluster that is not there.

    Notes
    -----
    ``reference="pool_max"`` is a pass over the pool before the scores; what it has found is kept every few seconds, and
    when shards have changed it is made again, and so are all scores if a reference has changed. `top_k_images` and
    `skip_top_images` are one more pass, in this process, which starts anew.

    Memory beyond the packed texts: three blocks of 32 MiB of rows, and the scores of one shard. Of .npz, and of .npy in
    Fortran order in a store, a whole shard.

    A shard counts as unchanged while its size and its time of modification, or in a store its ETag, are.

    Examples
    --------
    >>> import tempfile, hnscore
    >>> from hnscore import demo
    >>> data = demo.load()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     demo.save(folder, shards=4)
    ...     pool = hnscore.dataset(f"{folder}/pool", ids="id")
    ...     done = hnscore.shards.score(pool, data.txt_emb, 0.2, reference=data.reference, output=f"{folder}/scores",
    ...                                 show_progress_bar=False)
    ...     print(done.rows, done.computed, hnscore.shards.top(f"{folder}/scores", 2).ids)
    500 4 ['twelve-thirty' 'eleven-thirty']
    """
    check_dataset("pool", pool)
    rule = Rule(margin, **options)
    if rule.random_state is not None:
        seed = check_integer("random_state", rule.random_state, 0, None, "a seed, which is kept")
        rule = rule._replace(random_state=seed)
    run_in = engine_named(engine, n_workers, rule.n_threads)
    if engine == "ray":
        rule = rule._replace(n_threads=None)
    settings = {name: x for name, x in rule._asdict().items() if name not in (*ARRAYS, *SHOWN, "n_threads")}
    settings |= {name: setting(getattr(rule, name)) for name in ARRAYS}
    settings |= {"txt_emb": setting(txt_emb), "result": "score"}
    with Run(pool, output, settings, "score", check_flag("overwrite", overwrite), storage_options) as run:
        if rule.minibatch is not None and rule.random_state is None:
            rule = rule._replace(random_state=run.state.setdefault("seed", randbits(32)))
        call = ChunkedScore(pool.shape, txt_emb, rule._asdict(), pool.take, "pool")
        passes = 1 + call.looks_for_reference + call.looks_for_ranks
        with bar_over("score", passes * len(pool), show_progress_bar) as bar:
            if call.looks_for_reference:
                call.set_reference(best_match(run, call.best_of, call.n_txt, run_in, bar))
            if call.looks_for_ranks:
                for block, first in pool.passes():
                    with pool.naming(block):
                        call.add_ranked(block.rows, first)
                    bar(len(block.rows))
            some = pool.sample()
            run.state["method"] = call.start(some, run.state.get("method"))
            run.keep_state()
            of_pool = call.depends_on()
            work = _Scores(call)
            by_row = call.depends_on_rows

            def more(number: int) -> dict[str, Any]:
                return {"pool": of_pool, "first": pool.shards[number].first if by_row else None}

            return run.finish(work, run_in, bar, more)


class _Scores(NamedTuple):
    call: ChunkedScore

    def __call__(self, rows: NDArray[Any], first: int) -> NDArray[Any]:
        return self.call.scores(rows, first)
