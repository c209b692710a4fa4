"""hnscore._cuda for tests without a GPU: NumPy on host memory, by reference.py, with streams that are streams.

What is queued on a stream runs later: as late as a synchronisation allows, or at random moments before (`eager`). So
work that should have waited for other work, and memory that went back too early, show up as wrong numbers.
"""

import ctypes
import random
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore import reference as ref

CODES = _core.DTYPES
NAMES = {code: name for name, code in CODES.items()}
NEVER = np.iinfo(np.int64).max


def numpy_dtype(code: int) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if NAMES[code] == "bfloat16" else NAMES[code])


class _Memory:
    def __init__(self, pointer: int, shape: tuple[int, ...], strides: tuple[int, ...] | None, typestr: str) -> None:
        self.__array_interface__ = {
            "shape": shape, "strides": strides, "typestr": typestr, "data": (pointer, False), "version": 3,
        }  # fmt: skip


def at(pointer: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The memory there, as an array."""
    dtype = np.dtype(dtype)
    if 0 in shape:
        return np.zeros(shape, dtype)
    carrier = np.dtype(f"u{dtype.itemsize}")
    return np.asarray(_Memory(pointer, shape, strides, carrier.str)).view(dtype)


class GpuError(RuntimeError):
    pass


# ---- Streams ---------------------------------------------------------------------------------------------------------


class Streams:
    """Queues of work; a piece of work runs after the one before it and after the marks it waits for."""

    def __init__(self) -> None:
        self.queues: dict[int, list[tuple[int, Callable[[], None]]]] = {}
        self.next = 1
        self.done: set[int] = set()
        self.eager: random.Random | None = None

    def queue(self, stream: int, work: Callable[[], None], after: int = 0) -> int:
        """Runs `work` on the stream, once the piece of work numbered `after` is done; its own number."""
        number, self.next = self.next, self.next + 1
        self.queues.setdefault(stream, []).append((after, lambda: (work(), self.done.add(number))[1]))
        while self.eager and self.eager.random() < 0.5:
            stream = self.eager.choice(list(self.queues))
            if self.queues[stream]:
                self._step(stream, force=False)
        return number

    def mark(self, stream: int) -> int:
        return self.queue(stream, lambda: None)

    def _step(self, stream: int, force: bool = True) -> None:
        after, work = self.queues[stream][0]
        if after and after not in self.done:
            if not force:
                return
            self._until(after)
        self.queues[stream].pop(0)
        work()

    def _until(self, number: int) -> None:
        for stream, queue in self.queues.items():
            while number not in self.done and queue and any(True for _ in queue):
                if not self._holds(stream, number):
                    break
                self._step(stream)

    def _holds(self, stream: int, number: int) -> bool:
        return number in self.numbers.get(stream, ())

    numbers: dict[int, set[int]] = {}

    def synchronize(self, stream: int) -> None:
        for one in list(self.queues) if stream == -1 else [stream]:
            while self.queues.get(one):
                self._step(one)
