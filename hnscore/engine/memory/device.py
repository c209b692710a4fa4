"""GPU memory: which arrays lie there, and what a call on them needs: memory, copies, the order of streams."""

from __future__ import annotations

import importlib
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import check_rows_and_columns, is_tensor, refuse_dtype
from hnscore.arguments.dtypes import to_native

# DLPack's numbers of CUDA memory and of its managed memory.
DLPACK_CUDA = (2, 13)
# DLPack's number of the legacy default stream, which CUDA calls 0.
LEGACY_STREAM = 1
NAMES = {code: name for name, code in _core.DTYPES.items()}
ITEM_BYTES = {name: 2 if name == "bfloat16" else np.dtype(name).itemsize for name in _core.DTYPES}
PRECISIONS = (*_core.PRECISIONS, "fp16")
Backend = Any  # the module hnscore._cuda, whose types its stub has
_loaded: Backend = None
used: set[int] = set()  # devices
_held: list[tuple[Any, list[DeviceArray]]] = []  # a mark that is passed when the arrays have been read
_lock = threading.Lock()


def backend() -> Backend:
    """The extension for GPUs, imported on first use."""
    global _loaded
    if _loaded is None:
        _loaded = importlib.import_module("hnscore._cuda")
    return _loaded


def location(x: Any) -> int | None:
    """The number of the CUDA device where `x` lies; None for everything else."""
    if type(x) is np.ndarray:
        return None
    if is_tensor(x):
        import torch

        return x.device.index if x.device.type == "cuda" and torch.version.hip is None else None
    if isinstance(x, np.generic | np.ndarray) or not hasattr(x, "__dlpack_device__"):
        return None
    kind, index = x.__dlpack_device__()
    return int(index) if int(kind) in DLPACK_CUDA else None


def on_device(*arrays: object) -> bool:
    return any(location(x) is not None for x in arrays)


def precisions(*arrays: object) -> tuple[str, ...]:
    """What there is for a call on these arrays."""
    return PRECISIONS if on_device(*arrays) else _core.PRECISIONS


@dataclass(frozen=True)
class DeviceArray:
    """What is known of an array in GPU memory without looking at its values."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes
    code: int | None  # of the dtype; None for one that holds no real numbers
    dtype: object  # as its library calls it
    device: int
    owner: object  # what keeps the memory alive

    def __len__(self) -> int:
        return self.shape[0]

    def every(self, step: int) -> DeviceArray:
        """Each step-th row."""
        shape = (-(-self.shape[0] // step), *self.shape[1:])
        return replace(self, shape=shape, strides=(step * self.strides[0], *self.strides[1:]))

    def part(self, start: int, stop: int) -> DeviceArray:
        """Some of its rows, where they lie."""
        return replace(self, pointer=self.pointer + start * self.strides[0], shape=(stop - start, *self.shape[1:]))

    def rows(self, gpu: Backend, side: int, pick: DeviceArray | None = None) -> Any:
        """Its rows, or those that are picked; values are rows of one column, and a single value as many as picked."""
        n = self.shape[0]
        count = n if pick is None else pick.shape[0]
        dim, col_stride = (self.shape[1], self.strides[1]) if len(self.shape) == 2 else (1, 0)
        where = 0 if pick is None else pick.pointer
        return gpu.Rows(self.pointer, n, dim, self.strides[0], col_stride, self.code, side, where, count)


class Space(ABC):
    """Where a call runs: a device, a stream, and the library that gives memory and takes results."""

    def __init__(self, gpu: Backend, device: int, stream: int) -> None:
        self.gpu, self.device, self.stream = gpu, device, stream
        self._read: list[DeviceArray] = []  # of libraries beside torch

    @abstractmethod
    def read(self, name: str, x: object) -> DeviceArray:
        """`x`, which is on this device or another."""

    @abstractmethod
    def allocate(self, n_bytes: int) -> tuple[int, object]:
        """Memory for what runs on the stream, and what keeps it."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """A result to be."""

    @abstractmethod
    def give(self, array: DeviceArray) -> Any:
        """A result, as the library's own kind of array."""

    def give_copy(self, host: NDArray[Any]) -> Any:
        """The same of an array of the host."""
        out, host = self.empty(host.shape, host.dtype.name), np.ascontiguousarray(host)
        if host.size:
            self.gpu.copy_to_device(self.device, self.stream, out.pointer, host.ctypes.data, host.nbytes)
        return self.give(out)

    @abstractmethod
    def copied(self, array: NDArray[Any]) -> tuple[int, object]:
        """The bytes of a contiguous array of the host, and what keeps them."""

    @abstractmethod
    def mark(self) -> Any:
        """The point that the stream is at."""

    @abstractmethod
    def join(self, mark: object, owners: list[Any]) -> None:
        """What is queued from now on runs after the mark of another stream, and may read memory of its."""

    @abstractmethod
    def leave(self, mark: object) -> None:
        """The memory that was joined is no longer in use."""

    def zeros(self, n: int) -> DeviceArray:
        """So many zero bytes."""
        return self.upload("method", np.zeros(n, np.int8))

    def end(self) -> None:
        """The end of a call. Who owns an array may use its memory anew once nobody holds it, which torch alone does in
        the order of the stream: hold those of other libraries until the device has read them."""
        if not self._read or self.capturing:
            return
        release((self.gpu.Mark(self.device, self.stream), self._read))
        self._read = []

    def arange(self, n: int) -> DeviceArray:
        return self.upload("rows", np.arange(n))

    def full(self, n: int, value: float) -> DeviceArray:
        return self.upload("values", np.full(n, value))

    @property
    def name(self) -> str:
        return f"cuda:{self.device}"

    @property
    def capturing(self) -> bool:
        return bool(self.gpu.capturing(self.device, self.stream))

    def array(self, name: str, x: object) -> DeviceArray:
        """`x`, of which this device is asked."""
        place = location(x)
        if place != self.device:
            raise ValueError(
                f"{name} must be on {self.name}, as the embeddings are, or in CPU memory, got device cuda:{place}; "
                "move it there"
            )
        return self.read(name, x)

    def from_dlpack(self, x: Any) -> DeviceArray:
        external = self.gpu.External(x.__dlpack__(stream=self.stream or LEGACY_STREAM))
        code = external.dtype if external.dtype >= 0 else None
        dtype = getattr(x, "dtype", None) if code is None else NAMES[code]
        self._read.append(
            DeviceArray(external.pointer, external.shape, external.strides, code, dtype, self.device, external)
        )
        return self._read[-1]

    def embeddings(self, name: str, x: object) -> DeviceArray:
        array = self.array(name, x)
        if array.code is None:
            refuse_dtype(name, array.dtype)
        check_rows_and_columns(name, array)
        return array

    def upload(self, name: str, array: NDArray[Any], code: int | None = None) -> DeviceArray:
        """An array of the host."""
        if self.capturing:
            raise ValueError(
                f"{name} must be on {self.name} while a CUDA graph is captured, got it in CPU memory; copy it there "
                "before"
            )
        array, code = (array, _core.DTYPES[array.dtype.name]) if code is None else to_native(array, code)
        array = np.ascontiguousarray(array)
        pointer, owner = self.copied(array) if array.size else (0, None)
        return DeviceArray(pointer, array.shape, array.strides, code, array.dtype, self.device, owner)

    def internal(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """Memory that the caller never sees."""
        pointer, owner = self.allocate(ITEM_BYTES[dtype] * math.prod(shape))
        return self._contiguous(pointer, shape, dtype, owner)

    def _contiguous(self, pointer: int, shape: tuple[int, ...], dtype: str, owner: object) -> DeviceArray:
        item = ITEM_BYTES[dtype]
        strides = tuple(item * math.prod(shape[i + 1 :]) for i in range(len(shape)))
        return DeviceArray(pointer, shape, strides, _core.DTYPES[dtype], dtype, self.device, owner)

    @contextmanager
    def scratch(self) -> Iterator[Any]:
        """For one call of the backend: its memory goes back when the call has been queued."""
        owners: list[object] = []
        try:
            yield self.gpu.Context(self.device, self.stream, self.keeping(owners))
        finally:
            owners.clear()

    def keeping(self, owners: list[object]) -> Any:
        """An allocator whose memory lives as long as `owners`."""

        def allocate(n_bytes: int) -> int:
            pointer, owner = self.allocate(n_bytes)
            owners.append(owner)
            return pointer

        return allocate

    def download(self, array: DeviceArray) -> NDArray[Any]:
        """A contiguous array, bfloat16 as two-byte integers. This waits."""
        assert array.code is not None
        name = NAMES[array.code]
        host = np.empty(array.shape, np.int16 if name == "bfloat16" else name)
        self.gpu.copy_to_host(self.device, self.stream, host.ctypes.data, array.pointer, host.nbytes)
        self.gpu.synchronize(self.device, self.stream)
        return host

    def values(
        self, array: DeviceArray, dtype: str, side: int = 0, pick: DeviceArray | None = None, **checks: bool
    ) -> DeviceArray:
        """Values, or those that are picked, as contiguous ones of `dtype`."""
        out = self.internal((array if pick is None else pick).shape, dtype)
        with self.scratch() as context:
            self.gpu.copy_rows(context, array.rows(self.gpu, side, pick), out.pointer, out.code, **checks)
        return out

    def copy(self, array: DeviceArray, pick: DeviceArray | None = None) -> DeviceArray:
        """Its rows, or those that are picked, in memory of their own."""
        assert array.code is not None
        n = array.shape[0] if pick is None else pick.shape[0]
        out = self.internal((n, *array.shape[1:]), NAMES[array.code])
        with self.scratch() as context:
            self.gpu.copy_rows(context, array.rows(self.gpu, 0, pick), out.pointer)
        return out


def release(*more: tuple[Any, list[DeviceArray]]) -> None:
    """Lets go of arrays that the devices have read; holds some more until they have."""
    with _lock:
        _held[:] = [held for held in (*_held, *more) if not held[0].passed()]


class Kept:
    """Device memory that outlives its call, and may be read on other streams than the one it was written on."""

    def __init__(self, space: Space, owners: list[Any]) -> None:
        self._stream, self._owners, self._mark = space.stream, owners, space.mark()

    @contextmanager
    def read_on(self, space: Space) -> Iterator[None]:
        # A graph's capture begins with the device at rest, and whoever replays the graph keeps what it reads.
        elsewhere = space.stream != self._stream and not space.capturing
        if elsewhere:
            space.join(self._mark, self._owners)
        try:
            yield
        finally:
            if elsewhere:
                space.leave(self._mark)
