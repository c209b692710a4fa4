"""Result shards: a .npy file of values, or a Parquet file of ids and values; and the best rows of all of them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.numbers import check_choice, check_integer
from hnscore.arguments.options import PREFERENCES
from hnscore.datasets.folder import Folder

MANIFEST = "manifest.json"


def result_name(shard: str, with_ids: bool) -> str:
    return os.path.splitext(shard)[0] + (".parquet" if with_ids else ".npy")


def result_bytes(values: NDArray[Any], ids: object, value: str) -> bytes:
    """The content of a result shard. `ids`: an Arrow array, or None."""
    buffer = io.BytesIO()
    if ids is None:
        np.save(buffer, values)
        return buffer.getvalue()
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ids, value: pa.array(values)}), buffer)
    return buffer.getvalue()


def read_result(content: bytes, value: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The values of a result shard, and its ids."""
    if content.startswith(b"\x93NUMPY"):
        return np.load(io.BytesIO(content), allow_pickle=False), None
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    return table.column(value).to_numpy(), table.column("id").to_numpy()


class Top(NamedTuple):
    """The best rows of a run."""

    rows: NDArray[np.int64]
    values: NDArray[Any]
    ids: NDArray[Any] | None


def top(
    output: str | os.PathLike[str],
    budget: int,
    *,
    prefer: str = "hard",
    storage_options: Mapping[str, Any] | None = None,
) -> Top:
    """The best rows of the result shards of a run: ``hnscore.select(values, budget, method="top")`` without the array.

    Parameters
    ----------
    output : path or URI
        The folder of a run that is finished.
    budget : int
        Rows to choose, from 0 to all.
    prefer : {"hard", "easy"}
        The largest values, or the smallest.
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
        For a budget beyond the rows.

    Notes
    -----
    One shard is in memory at a time, beside the best rows so far.

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
    folder = Folder(output, storage_options)
    content = folder.read(MANIFEST)
    if content is None:
        raise FileNotFoundError(f"{folder} holds no finished run; run it to its end first")
    manifest = json.loads(content)
    budget = check_integer("budget", budget, 0, manifest["rows"], "rows to choose")
    sign = -1 if prefer == "hard" else 1
    keys, rows, values = np.empty(0), np.empty(0, np.int64), np.empty(0)
    ids: NDArray[Any] | None = None
    first = 0
    for shard in manifest["shards"]:
        there = folder.read(shard["result"])
        if there is None:
            raise FileNotFoundError(f"{folder.at(shard['result'])} is gone; run the same again")
        found, named = read_result(there, manifest["value"])
        order = np.argsort(sign * found.astype(np.float64), kind="stable")[:budget]
        keys = np.concatenate([keys, sign * found[order].astype(np.float64)])
        rows, values = np.concatenate([rows, first + order]), np.concatenate([values, found[order]])
        best = np.argsort(keys, kind="stable")[:budget]
        if named is not None:
            ids = named[order] if ids is None else np.concatenate([ids, named[order]])
            ids = ids[best]
        keys, rows, values = keys[best], rows[best], values[best].astype(found.dtype)
        first += len(found)
    return Top(rows, values, ids)
