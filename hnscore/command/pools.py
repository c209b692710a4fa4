"""Pools in many files, for the commands: which paths are such, and what is made of them."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack

import numpy as np

import hnscore
from hnscore.command.groups import Group
from hnscore.datasets.files import Array, numbers_of, open_array
from hnscore.datasets.formats import FORMATS
from hnscore.datasets.location import PATTERN
from hnscore.datasets.spool import spooled

# What argparse holds that is no keyword of a function.
APART = (
    "name",
    "command",
    "output",
    "dtype",
    "overwrite",
    "column",
    "ids",
    "metadata",
    "text_column",
    "stack",
    "stores",
)
POOLS = ("images", "emb", "embeddings")  # names of arguments


def add_columns(files: Group, others: str = "") -> None:
    """The options of a pool that is a folder, a pattern, a URI or a table; `others`: options that may be one, too."""
    files.add_argument(
        "--column", default=None, metavar="NAME", help="the column, member or tensor with the embeddings"
    )
    if others:
        files.add_argument("--text-column", default=None, metavar="NAME", help=f"the same of {others}")
    files.add_argument("--ids", default=None, metavar="NAME", help="the column with the ids of the rows")
    files.add_argument("--metadata", default=None, metavar="PATH", help="the tables with --ids beside .npy shards")


def is_many(path: str) -> bool:
    """Whether a path names more than an array: a folder, a pattern, a URI, a table or an archive."""
    suffix = os.path.splitext(path)[1].lower()
    if "://" in path or path.endswith("/") or os.path.isdir(path):
        return True
    if os.path.exists(path):
        return suffix in FORMATS and suffix != ".npy" and not _is_npy(path)
    return bool(PATTERN.intersection(path)) or (suffix in FORMATS and suffix != ".npy")


def _is_npy(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(6) == b"\x93NUMPY"


def open_pool(path: str, args: argparse.Namespace) -> hnscore.Dataset:
    return hnscore.dataset(path, column=args.column, ids=args.ids, metadata=args.metadata, dtype=args.dtype)


def read_rows(path: str, name: str, args: argparse.Namespace) -> Array:
    """Embeddings of the other side, which are to be in memory, of any kind of file."""
    if not is_many(path):
        return numbers_of(args.dtype)(open_array(path, name, args.dtype, (2,)))
    pool = hnscore.dataset(path, column=args.text_column, dtype=args.dtype)
    return pool.take(np.arange(len(pool)))


def as_one_array(path: str, name: str, args: argparse.Namespace) -> tuple[Array, dict[str, str]]:
    """What is gone through again and again, as one array while the command runs; and its files, by names for errors.

    `args.stores` gets what tells one result from another beside these files: the column, and whether files in a store
    have changed. --column and its like are the pool's, --text-column is that of the other side.
    """
    stack: ExitStack = args.stack
    is_pool = name in POOLS
    column = args.column if is_pool else args.text_column
    pool = open_pool(path, args) if is_pool else hnscore.dataset(path, column=column, dtype=args.dtype)
    if column is not None:
        args.stores[f"{name} column"] = column
    files = {}
    for shard in pool.shards:
        if shard.location.store is None:
            files[f"{name} {shard.name}"] = shard.location.path
        else:
            args.stores[f"{name} {shard.name}"] = shard.location.identity()
    return stack.enter_context(spooled(pool)), files
