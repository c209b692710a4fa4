"""The ranks of a process group, what they agree on, and rows that pass from all to all, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from hnscore.arguments.arrays import is_tensor
from hnscore.engine.host import host_rows

# Rows of a block. Sums are added up block by block in float64, so this is part of the result: it does not depend on the
# ranks. Large beside what packing a block takes, small beside a pool: 16 MiB of 512 floats, three blocks at a time.
BLOCK_ROWS = 8192


class Ranks:
    """A process group; without one, this process alone."""

    def __init__(self, group: Any = None) -> None:
        self.group = group
        self.many = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank(group) if self.many else 0
        self.world = dist.get_world_size(group) if self.many else 1

    def gather(self, x: Any) -> list[Any]:
        """An object of each rank, on all ranks."""
        if not self.many:
            return [x]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, x, group=self.group)
        return found

    def agree(self, function: Callable[[], Any]) -> tuple[Any, list[Any]]:
        """What `function` gives here, a pair of what stays and what travels; and what it gave to travel on each rank.
        Its error on any rank is one on all of them: none is left to wait."""
        error, stays, travels = None, None, None
        try:
            stays, travels = function()
        except (TypeError, ValueError, MemoryError) as caught:
            error = caught
        found = self.gather((None if error is None else (type(error).__name__, str(error)), travels))
        for rank, (wrong, _) in enumerate(found):
            if wrong is not None and error is None:
                kind = TypeError if wrong[0] == "TypeError" else ValueError
                raise kind(f"on rank {rank}: {wrong[1]}")
        if error is not None:
            raise error
        return stays, [each for _, each in found]

    def largest(self, values: Tensor) -> Tensor:
        """The largest over the ranks, of each number."""
        if self.many:
            dist.all_reduce(values, dist.ReduceOp.MAX, group=self.group)
        return values

    def source(self, rank: int) -> int:
        return dist.get_global_rank(self.group, rank) if self.group is not None else rank


def same_on_all(settings: list[Mapping[str, Any]]) -> None:
    """The error, on all ranks, where they do not agree."""
    for name in settings[0]:
        for rank, other in enumerate(settings):
            if other[name] != settings[0][name]:
                raise ValueError(
                    f"{name} must be the same on all ranks, got {settings[0][name]} on rank 0 and {other[name]} on "
                    f"rank {rank}; pass the same"
                )


def as_tensor(name: str, x: Any) -> Tensor:
    """Rows on the device they are on."""
    if is_tensor(x):
        return x.detach()  # type: ignore[no-any-return]
    rows = host_rows(name, x)
    array = np.ascontiguousarray(rows.array)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable:
        array = array.copy()
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if rows.code == host_rows(name, torch.zeros(1, 1).bfloat16()).code else tensor


class Block(NamedTuple):
    shard: int  # of a dataset one of its files; here none
    first: int
    rows: Tensor


class Passing:
    """Rows that lie on all ranks, as one sequence: each pass, on all ranks at once, gives all of them to each rank.

    The next block is on its way while one is worked on. It has what a dataset has of use to those who look at the pool
    block by block.
    """

    def __init__(self, ranks: Ranks, rows: Tensor, counts: list[int], *, as_arrays: bool = False) -> None:
        self.ranks, self.own = ranks, rows.contiguous()
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.shape = int(self.starts[-1]), int(rows.shape[1])
        self.as_arrays = as_arrays

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def first(self) -> int:
        """The number of this rank's first row among all."""
        return int(self.starts[self.ranks.rank])

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """All rows, each block with the number of its first."""
        starts = range(0, len(self), BLOCK_ROWS)
        if not self.ranks.many:
            yield from ((first, self.own[first : first + BLOCK_ROWS]) for first in starts)
            return
        ahead = self._sent(0, BLOCK_ROWS) if len(self) else None
        for first in starts:
            assert ahead is not None
            rows, works = ahead
            stop = first + BLOCK_ROWS
            ahead = self._sent(stop, stop + BLOCK_ROWS) if stop < len(self) else None
            for work in works:
                work.wait()
            yield first, rows

    def whole(self) -> Tensor:
        """All rows at once."""
        if not self.ranks.many:
            return self.own.clone()
        rows, works = self._sent(0, len(self))
        for work in works:
            work.wait()
        return rows

    def _sent(self, first: int, stop: int) -> tuple[Tensor, list[Any]]:
        """Rows that are on their way, from the ranks that have them."""
        stop = min(stop, len(self))
        rows, works = torch.empty((stop - first, self.shape[1]), dtype=self.own.dtype, device=self.own.device), []
        for rank in range(self.ranks.world):
            a, b = max(first, int(self.starts[rank])), min(stop, int(self.starts[rank + 1]))
            if a >= b:
                continue
            part = rows[a - first : b - first]
            if rank == self.ranks.rank:
                part.copy_(self.own[a - self.first : b - self.first])
            source = self.ranks.source(rank)
            # As bytes: gloo lacks some dtypes.
            works.append(dist.broadcast(part.view(torch.uint8), source, group=self.ranks.group, async_op=True))
        return rows, works

    # ---- As a dataset ------------------------------------------------------------------------------------------------

    def passes(self, bar: Callable[[float], object] | None = None) -> Iterator[tuple[Block, int]]:
        for first, rows in self.blocks():
            yield Block(0, first, as_array(rows)), first

    @contextmanager
    def naming(self, block: Block) -> Iterator[None]:
        yield

    def take(self, wanted: object) -> Any:
        """Some rows by their numbers, which may differ from rank to rank. All ranks ask at once."""
        wanted = np.asarray(wanted, np.int64)
        out = torch.empty((len(wanted), self.shape[1]), dtype=self.own.dtype, device=self.own.device)
        for first, rows in self.blocks():
            here = np.flatnonzero((wanted >= first) & (wanted < first + len(rows)))
            at = torch.from_numpy(wanted[here] - first).to(rows.device)
            out[torch.from_numpy(here).to(rows.device)] = rows[at]
        return as_array(out) if self.as_arrays else out


def as_array(rows: Tensor) -> Any:
    """In CPU memory, as NumPy has it; bfloat16, which it lacks, stays a tensor."""
    rows = rows.cpu()
    return rows if rows.dtype == torch.bfloat16 else rows.numpy()


def given_like(x: object, result: Tensor) -> Any:
    return result if is_tensor(x) else result.cpu().numpy()
