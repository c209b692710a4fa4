"""A pool that is kept in many files, as one sequence of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.columns import check_ids
from hnscore.arguments.values import read_group_labels
from hnscore.datasets.shard import Block, Shard, ShardError, named, read_ahead

_BLOCK_BYTES = 2**25  # of rows that are read at a time: two blocks wait, one is worked on
_SAMPLED_SHARDS, _SAMPLED_ROWS = 16, 256


class Dataset:
    """Embeddings in many files, as one sequence of rows. `dataset` makes one; it holds no rows.

    ``numpy.asarray`` of it reads all of them, and so does a function that takes arrays alone.

    Attributes
    ----------
    shards : tuple of Shard
        The files, in their order: `name`, `first` (the number of its first row), `n_rows`.
    shape : (int, int)
        Rows of all shards, and dim.
    dtype : numpy.dtype
        Of all shards.
    """

    def __init__(
        self, shards: Sequence[Shard], dim: int, dtype: np.dtype[Any], ids: str | None, column: str | None
    ) -> None:
        self.shards = tuple(shards)
        self.shape = sum(shard.n_rows for shard in shards), dim
        self.dtype = dtype
        self.id_column, self.column = ids, column

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        n, dim = self.shape
        dtype = "bfloat16" if self.dtype.kind == "V" else self.dtype
        return f"Dataset({len(self.shards):,} shards, {n:,} rows, dim {dim}, {dtype})"

    def __array__(self, dtype: Any = None, copy: object = None) -> NDArray[Any]:
        """All rows, in memory: for what takes arrays alone."""
        out = np.empty(self.shape, self.read_dtype())
        for block, first in self.passes():
            out[first : first + len(block.rows)] = block.rows
        return out if dtype is None else out.astype(dtype)

    @property
    def block_rows(self) -> int:
        return max(1, _BLOCK_BYTES // (self.shape[1] * self.dtype.itemsize))

    def blocks(self, shards: Sequence[int] | None = None) -> Iterator[Block]:
        """All rows in their order, or those of some shards; the next block is read while one is worked on."""
        yield from read_ahead(self._blocks(range(len(self.shards)) if shards is None else shards))

    def _blocks(self, shards: Sequence[int]) -> Generator[Block, None, None]:
        for number in shards:
            shard, first = self.shards[number], 0
            with named(shard, number):
                for rows in shard.rows.blocks(self.block_rows):
                    if rows.shape[1] != self.shape[1] or first + len(rows) > shard.n_rows:
                        raise ValueError(f"it holds rows of shape {rows.shape[1:]}, {self.shape[1:]} was announced")
                    yield Block(number, first, rows)
                    first += len(rows)
                if first != shard.n_rows:
                    raise ValueError(f"it holds {first} rows, {shard.n_rows} were announced; open the dataset again")

    def ids(self, number: int) -> NDArray[Any]:
        """The ids of the rows of a shard, (n,): strings or integers; without a column of ids, the numbers of the rows.

        Raises
        ------
        ShardError
            For ids that are missing, or twice in one shard.
        """
        shard = self.shards[number]
        if self.id_column is None:
            return np.arange(shard.first, shard.first + shard.n_rows)
        column = self.arrow_ids(number)
        with named(shard, number):
            return read_group_labels(self.id_column, column, shard.n_rows)

    def arrow_ids(self, number: int) -> Any:
        """The same as the column of the table that they are in, an Arrow array."""
        assert self.id_column is not None
        shard = self.shards[number]
        with named(shard, number):
            column = shard.ids.read_column(self.id_column)
            check_ids(self.id_column, column, shard.n_rows)
            return column

    @contextmanager
    def naming(self, block: Block) -> Iterator[None]:
        """What a computation says of the rows of a block, with the name of their shard."""
        try:
            yield
        except ShardError:
            raise
        except ValueError as error:
            later = f"; rows are counted from row {block.first:,} of the shard" if block.first else ""
            wrong = ShardError(f"shard {self.shards[block.shard].location} cannot be used: {error}{later}")
            wrong.shard = block.shard
            raise wrong from error

    def passes(self, bar: Callable[[float], object] | None = None) -> Iterator[tuple[Block, int]]:
        """All blocks, each with the number of its first row; what is said of its rows is said with their shard."""
        for block in self.blocks():
            first = self.shards[block.shard].first + block.first
            yield block, first
            if bar is not None:
                bar((first + len(block.rows)) / len(self))

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows by their numbers, (n, dim), in memory."""
        rows = np.asarray(rows, np.int64)
        out = np.empty((len(rows), self.shape[1]), self.read_dtype())
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        held = self._shards_of(wanted)
        for block in self._blocks([int(number) for number in np.unique(held)]):
            begin = self.shards[block.shard].first + block.first
            part = slice(*np.searchsorted(wanted, (begin, begin + len(block.rows))))
            out[order[part]] = block.rows[wanted[part] - begin]
        return out

    def sample(self) -> NDArray[Any]:
        """The first rows of shards here and there, of those that can be read: what they are like."""
        held = [i for i, shard in enumerate(self.shards) if shard.n_rows]
        parts, wrong = [], None
        for number in held[:: math.ceil(len(held) / _SAMPLED_SHARDS)]:
            shard = self.shards[number]
            try:
                with named(shard, number):
                    parts.append(next(iter(shard.rows.blocks(_SAMPLED_ROWS))))
            except ShardError as error:  # which is met again when it is its turn
                wrong = error
        if not parts:
            assert wrong is not None
            raise wrong
        return np.concatenate(parts)

    def ids_of(self, rows: object) -> NDArray[Any]:
        """The ids of some rows by their numbers, (n,)."""
        rows = np.asarray(rows, np.int64)
        held = self._shards_of(rows)
        parts = {int(number): self.ids(int(number)) for number in np.unique(held)}
        return np.array([parts[int(i)][row - self.shards[i].first] for i, row in zip(held, rows, strict=True)])

    def _shards_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the shard that holds each row: of those that begin at one row, the last is not empty."""
        found: NDArray[np.int64] = np.searchsorted([shard.first for shard in self.shards], rows, side="right") - 1
        return found

    def rows_of(self, ids: object) -> NDArray[np.int64]:
        """The numbers of the rows that have these ids, (n,).

        Raises
        ------
        ValueError
            For ids that no row has, or more than one.
        """
        wanted, back = np.unique(np.asarray(ids), return_inverse=True)
        rows = np.full(len(wanted), -1)
        for number, shard in enumerate(self.shards):
            there = self.ids(number)
            if not len(wanted) or not len(there):
                continue
            at = np.minimum(np.searchsorted(wanted, there), len(wanted) - 1)
            found = np.flatnonzero(wanted[at] == there)
            again = rows[at[found]] >= 0
            if again.any():
                twice = at[found[again][0]]
                raise ValueError(
                    f"ids must be those of one row each, got {wanted.tolist()[twice]!r}, which rows {rows[twice]} and "
                    f"{shard.first + found[again][0]} have; drop one of them"
                )
            rows[at[found]] = shard.first + found
        if (rows < 0).any():
            lacking = wanted[rows < 0]
            raise ValueError(
                f"ids must be ids of rows, got {lacking.tolist()[0]!r}, which no row has (of {len(lacking):,} such); "
                f"check the column of ids, {self.id_column!r}"
            )
        return rows[back.ravel()]

    def read_dtype(self) -> np.dtype[Any]:
        """The dtype that rows have when they are read."""
        if self.dtype.kind != "V":
            return self.dtype
        held = next(i for i, shard in enumerate(self.shards) if shard.n_rows)
        return next(self._blocks([held])).rows.dtype
