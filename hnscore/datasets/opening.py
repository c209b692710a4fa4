"""A pool in many files, opened: what each file holds, as its header says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from hnscore.datasets.dataset import Dataset
from hnscore.datasets.described import Described, Format
from hnscore.datasets.formats import FORMATS, TABLES
from hnscore.datasets.location import Location, locations
from hnscore.datasets.shard import Shard, ShardError, named

_OPENED = 16  # at a time, where that waits for a store


def dataset(
    source: object,
    *,
    column: str | None = None,
    ids: str | None = None,
    metadata: object = None,
    dtype: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Dataset:
    """A pool that is kept in files: .npy, .npz, Parquet, Arrow or safetensors, on a disk or in an object store.

    Only headers are read. `score`, `density`, `mine`, `duplicates` and `select` take the result for their pool, and
    `hnscore.shards` writes results shard by shard.

    Parameters
    ----------
    source : path, pattern, URI, folder, or a list of these
        The files of a folder (itself, not its folders) and of a pattern in the order of their paths, those of a list in
        its order. A URI names an object store that fsspec knows, such as s3://bucket/folder. Files of a suffix that is
        unknown are not looked at in a folder, nor those whose names begin with . or _.
    column : str, optional
        The column (Parquet, Arrow), member (.npz) or tensor (safetensors) with the embeddings. Default: the only one
        that can be. Columns are lists of numbers, of fixed length or not, or fixed-shape tensors.
    ids : str, optional
        The column with the ids of the rows, strings or integers: of the same files, or of `metadata`.
    metadata : as source, optional
        Parquet or Arrow files, one beside each of `source` in the same order, with the same rows: how img2dataset and
        clip-retrieval keep ids beside .npy files.
    dtype : "bfloat16", optional
        Read two-byte void .npy files, as NumPy saves bfloat16, and embeddings of int16 or uint16 as bfloat16.
    storage_options : dict, optional
        For fsspec: credentials, endpoint, ...

    Returns
    -------
    dataset : Dataset

    Raises
    ------
    OSError
        For what is not there, or a store that cannot be reached.
    ShardError
        A ValueError: for a shard of another dim or dtype than the others, or one that cannot be read.
    ImportError
        Parquet and Arrow need pyarrow, URIs need fsspec: ``pip install 'hnscore[pools]'``; s3:// needs s3fs.

    Notes
    -----
    Shards may be empty. A .npy file of shape (dim,) is one row.

    Examples
    --------
    >>> import numpy as np, hnscore, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(3):
    ...         np.save(f"{folder}/{i}.npy", np.eye(2, dtype=np.float32) + i)
    ...     pool = hnscore.dataset(folder)
    ...     pool, hnscore.score(pool, np.eye(2, dtype=np.float32), 0.1).round(2)
    (Dataset(3 shards, 6 rows, dim 2, float32), array([0.1, 0.1, 0. , 0. , 0. , 0. ], dtype=float32))
    """
    files = locations(source, storage_options, FORMATS, "source")
    tables: list[Location | None] = [None] * len(files)
    if metadata is not None:
        if ids is None:
            raise ValueError("metadata must come with ids, the column to read of it; pass ids, or leave it out")
        tables = list(locations(metadata, storage_options, TABLES, "metadata"))
        if len(tables) != len(files):
            raise ValueError(
                f"metadata must have one file for each of source, got {len(tables)} for {len(files)}; pass both as "
                "patterns or lists of the same parts"
            )
    readers = [_format(file, "source")(file, column, dtype) for file in files]
    of_ids = [
        reader if table is None else _format(table, "metadata")(table, None, None)
        for reader, table in zip(readers, tables, strict=True)
    ]
    if ids is not None and not all(hasattr(reader, "read_column") for reader in of_ids):
        raise ValueError("ids must be a column of Parquet or Arrow files, and these have none; pass metadata")
    with ThreadPoolExecutor(_OPENED) as opened:
        described = list(opened.map(_describe, range(len(files)), files, readers))
    dim, of_numbers = _common(files, described)
    root, shards, first = _root(files), [], 0
    for i, file in enumerate(files):
        n = described[i].n_rows
        shards.append(Shard(os.path.relpath(file.path, root), file, readers[i], first, n, ids and of_ids[i]))
        first += n
    return Dataset(shards, dim, of_numbers, ids, column)


def _format(file: Location, name: str) -> Any:
    suffix = os.path.splitext(file.path)[1].lower()
    if suffix not in FORMATS:
        raise ValueError(f"{name}: {file} has the suffix {suffix!r}, expected one of {', '.join(FORMATS)}; rename it")
    return FORMATS[suffix]


def _describe(number: int, file: Location, reader: Format) -> Described:
    with named(Shard("", file, reader, 0, 0), number):
        return reader.describe()


def _common(files: Sequence[Location], described: Sequence[Described]) -> tuple[int, np.dtype[Any]]:
    """The dim and dtype that all have."""
    known = [i for i, each in enumerate(described) if each.n_rows]
    if not known:
        raise ValueError(f"source must have rows, got {len(files)} empty shards; check the path")
    one = described[known[0]]
    for i in known:
        other = described[i]
        if (other.dim, other.dtype) != (one.dim, one.dtype):
            error = ShardError(
                f"shard {files[i]} holds rows of dim {other.dim} in {other.dtype}, shard {files[known[0]]} of dim "
                f"{one.dim} in {one.dtype}; write all shards with one encoder and one dtype"
            )
            error.shard = i
            raise error
    assert one.dtype is not None
    return one.dim, one.dtype


def _root(files: Sequence[Location]) -> str:
    folders = {os.path.dirname(file.path) for file in files}
    return folders.pop() if len(folders) == 1 else os.path.commonpath([file.path for file in files])
