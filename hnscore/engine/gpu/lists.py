"""Pairs that count, found on a GPU: counted, written down, then brought to the CPU, where lists get their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hnscore.engine.lists import Lists, in_order
from hnscore.engine.memory import reports
from hnscore.engine.memory.device import DeviceArray, Space
from hnscore.engine.memory.rows import DeviceRows, backend_rules
from hnscore.engine.protocol import NO_RULES, Find, Progress, Request, Rules

if TYPE_CHECKING:
    from hnscore.engine.gpu.gpu import Gpu
    from hnscore.engine.gpu.texts import DeviceTexts

_PAIR = np.dtype([("similarity", "<f8"), ("column", "<i8")])


class PairCounts:
    """How many pairs some images have with each chunk of the texts; and then the pairs."""

    def __init__(
        self, space: Space, texts: DeviceTexts, images: DeviceRows, tau: DeviceArray, rules: Rules[DeviceArray]
    ) -> None:
        self.space, self.columns = space, texts.columns
        self.rows, self.tau, self.rules = images.of(space.gpu), tau, backend_rules(space.gpu, rules)
        self._memory = images, rules  # that these point to
        counts = space.internal((self.columns.chunks, images.shape[0]), "int64")
        self._reduce(counts=counts.pointer)
        self.of_chunks: NDArray[np.int64] = space.download(counts)

    @property
    def of_rows(self) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = self.of_chunks.sum(axis=0)
        return counts

    def lists(self, dtype: type[np.generic], n_threads: int) -> Lists:
        """Ascending columns."""
        by_row = self.of_chunks.T
        if not by_row.any():
            return Lists(np.zeros(len(by_row) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, dtype))
        ends = np.cumsum(by_row).reshape(by_row.shape)
        begins = self.space.upload("begins", np.ascontiguousarray((ends - by_row).T))
        found = self.space.internal((int(by_row.sum()), 2), "int64")
        self._reduce(begins=begins.pointer, lists=found.pointer)
        pairs = self.space.download(found).view(_PAIR)[:, 0]
        offsets = np.concatenate([[0], np.cumsum(self.of_rows)])
        with np.errstate(over="ignore"):
            lists = Lists(offsets, pairs["column"].copy(), pairs["similarity"].astype(dtype))
        return in_order(lists, "index", n_threads)

    def _reduce(self, **given: int) -> None:
        with self.space.scratch() as context:
            self.space.gpu.reduce(
                context, self.rows, self.columns, "pairs", 0, tau=self.tau.pointer, rules=self.rules, **given
            )


def finder(
    engine: Gpu,
    texts: DeviceTexts,
    images: DeviceRows,
    tau: DeviceArray,
    rules: Rules[DeviceArray],
    dtype: type[np.generic],
    progress: Progress = None,
) -> Find:
    """The pairs of some images with all texts."""
    n, space = images.shape[0], engine.space

    def find(start: int, stop: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]] | None:
        part = PairCounts(space, texts, images.part(start, stop), tau, _of_rows(space, rules, start, stop))
        if part.of_chunks.sum() > most:
            return None
        lists = part.lists(dtype, engine.threads)
        if progress is not None:
            progress(stop / n)
        return part.of_rows, lists.indices.astype(np.int32), lists.similarities

    return find


def _of_rows(space: Space, rules: Rules[DeviceArray], start: int, stop: int) -> Rules[DeviceArray]:
    """For some of the rows, which are then counted from `start`."""
    changed: dict[str, Any] = {}
    for name in ("row_groups", "row_owners"):
        if (x := getattr(rules, name)) is not None:
            changed[name] = x.part(start, stop)
    for name in ("kth_row", "skip_row"):
        if start and (x := getattr(rules, name)) is not None:
            changed[name] = space.upload("rows", space.download(x) - start)
    return rules._replace(**changed)


def check_rows(engine: Gpu, rows: DeviceRows, similarity: str) -> None:
    """The error for rows that are bad, which only the device knows. This waits."""
    engine.similarity(rows, rows, similarity)
    told(engine.space)


def told(space: Space) -> None:
    """The error for what was found so far. This waits."""
    space.gpu.publish(space.device, space.stream)
    space.gpu.synchronize(space.device, space.stream)
    reports.raise_found(space.gpu, space.device, earlier=False)


class DeviceNear:
    """Which rows of a set are more similar than a level: some packed, others compared with these."""

    def __init__(self, engine: Gpu, rows: DeviceRows, level: float, request: Request) -> None:
        self.engine, self.rows, self.level, self.request = engine, rows, level, request
        if rows.shape[0]:
            check_rows(engine, rows, request.similarity)

    def some(self, numbers: NDArray[np.int64]) -> DeviceRows:
        return DeviceRows(self.rows.array, self.rows.side, self.engine.space.upload("rows", numbers))

    def pack(self, rows: DeviceRows) -> DeviceTexts:
        return self.engine.packed(rows, self.request, None, False)

    def find(self, rows: DeviceRows, packed: DeviceTexts, dtype: type[np.generic]) -> Find:
        level = self.engine.space.full(packed.txt.shape[0], self.level)
        return finder(self.engine, packed, rows, level, NO_RULES, dtype)
