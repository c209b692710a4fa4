"""Near pairs of one set on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.engine.host import HostRows
from hnscore.engine.lists import finder
from hnscore.engine.pool import check_rows, choose, pack
from hnscore.engine.protocol import Find, Request

if TYPE_CHECKING:
    from hnscore.engine.cpu import Cpu


class HostNear:
    """Which rows of a set are more similar than a level: some packed, others compared with these."""

    def __init__(self, engine: Cpu, rows: HostRows, level: float, request: Request) -> None:
        self.rows, self.level, self.request, self.threads = rows, level, request, engine.threads
        self._plan: _core.Plan | None = None
        if not (n := rows.shape[0]):
            return
        check_rows(rows, request.similarity, self.threads)
        if request.method != "dense":  # the plan looks at some of the rows
            self._plan = choose(rows, rows, request, self.threads, tau=np.full(n, level))

    def some(self, numbers: NDArray[np.int64]) -> HostRows:
        """In memory, or where they lie, where these are neighbours."""
        ordered = len(numbers) and bool((np.diff(numbers) == 1).all())
        array = self.rows.array
        array = array[numbers[0] : numbers[-1] + 1] if ordered else array[numbers]
        return HostRows(self.rows.name, array, self.rows.code, array.shape)

    def pack(self, rows: HostRows) -> _core.Columns:
        return pack(rows, self.request.similarity, "exact", self.threads, plan=self._plan)

    def find(self, rows: HostRows, packed: _core.Columns, dtype: type[np.generic]) -> Find:
        limits = {"tau": np.full(packed.rows, self.level)}
        return finder(rows, packed, self.threads, dtype, lambda part: limits)
