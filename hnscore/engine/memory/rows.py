"""Embeddings in GPU memory as a call has them: which rows, and how a report of bad ones tells them apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hnscore.engine.memory.device import ITEM_BYTES, NAMES, Backend, DeviceArray
from hnscore.engine.protocol import Rules


@dataclass(frozen=True)
class DeviceRows:
    array: DeviceArray
    side: int  # of reports.py
    pick: DeviceArray | None = None  # the rows in use, where it is not all of them

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape if self.pick is None else (self.pick.shape[0], *self.array.shape[1:])

    @property
    def row_bytes(self) -> int:
        assert self.array.code is not None
        return max(1, ITEM_BYTES[NAMES[self.array.code]] * self.shape[1])

    @property
    def dtype(self) -> object:
        return self.array.dtype

    def part(self, start: int, stop: int) -> DeviceRows:
        if self.pick is not None:
            return replace(self, pick=self.pick.part(start, stop))
        return replace(self, array=self.array.part(start, stop))

    def of(self, gpu: Backend) -> Any:
        """As the backend takes them."""
        return self.array.rows(gpu, self.side, self.pick)


def pointer(array: DeviceArray | None) -> int:
    return 0 if array is None else array.pointer


def backend_rules(gpu: Backend, rules: Rules[DeviceArray], **more: object) -> Any:
    """As the backend has them."""
    given = {name: getattr(rule, "pointer", rule) for name, rule in rules._asdict().items() if rule is not None}
    return gpu.Rules(**given, **more)
