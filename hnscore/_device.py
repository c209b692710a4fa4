"""GPU memory: which arrays lie there, and where a call on them runs, with whose memory and on which stream.

Torch tensors are read directly, the arrays of other libraries through DLPack. Nothing here waits for a device.
"""

from __future__ import annotations

import importlib
import math
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import dense, is_tensor, native, refuse_device, refuse_dtype, rows_and_columns

# DLPack's numbers of CUDA memory and of its managed memory.
_DLPACK_CUDA = (2, 13)
# DLPack's number of the legacy default stream, which CUDA calls 0.
_LEGACY_STREAM = 1
_NAMES = {code: name for name, code in _core.DTYPES.items()}
_ITEM_BYTES = {name: 2 if name == "bfloat16" else np.dtype(name).itemsize for name in _core.DTYPES}
PRECISIONS = (*_core.PRECISIONS, "fp16")
_loaded: Any = None
used: set[int] = set()  # devices
_held: list[tuple[Any, list[DeviceArray]]] = []  # a stream that ends when the arrays have been read
_lock = threading.Lock()


def backend() -> Any:
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
    return int(index) if int(kind) in _DLPACK_CUDA else None


def on_device(*arrays: Any) -> bool:
    return any(location(x) is not None for x in arrays)


def precisions(*arrays: Any) -> tuple[str, ...]:
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

    def rows(self, gpu: Any, side: int, pick: DeviceArray | None = None) -> Any:
        """Its rows, or those that are picked; values are rows of one column, and a single value as many as picked."""
        n = self.shape[0]
        count = n if pick is None else pick.shape[0]
        dim, col_stride = (self.shape[1], self.strides[1]) if len(self.shape) == 2 else (1, 0)
        where = 0 if pick is None else pick.pointer
        return gpu.Rows(self.pointer, n, dim, self.strides[0], col_stride, self.code, side, where, count)


class Space(ABC):
    """Where a call runs: a device, a stream, and the library that gives memory and takes results."""

    def __init__(self, gpu: Any, device: int, stream: int) -> None:
        self.gpu, self.device, self.stream = gpu, device, stream
        self._read: list[DeviceArray] = []  # of libraries beside torch

    @abstractmethod
    def read(self, name: str, x: Any) -> DeviceArray:
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

    @abstractmethod
    def copied(self, array: NDArray[Any]) -> tuple[int, object]:
        """The bytes of a contiguous array of the host, and what keeps them."""

    @abstractmethod
    def mark(self) -> Any:
        """The point that the stream is at."""

    @abstractmethod
    def join(self, mark: Any, owners: list[Any]) -> None:
        """What is queued from now on runs after the mark of another stream, and may read memory of its."""

    @abstractmethod
    def leave(self, mark: Any) -> None:
        """The memory that was joined is no longer in use."""

    def zeros(self, n: int) -> DeviceArray:
        """So many zero bytes."""
        return self.upload("method", np.zeros(n, np.int8))

    def end(self) -> None:
        """The end of a call. Who owns an array may use its memory anew once nobody holds it, which torch alone does in
        the order of the stream: hold those of other libraries until the device has read them."""
        if not self._read or self.capturing:
            return
        reader = self.gpu.CopyStream(self.device)
        reader.wait_for(self.stream)
        release((reader, self._read))
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

    def array(self, name: str, x: Any) -> DeviceArray:
        """`x`, of which this device is asked."""
        place = location(x)
        if place != self.device:
            raise ValueError(
                f"{name} must be on {self.name}, as the embeddings are, or in CPU memory, got device cuda:{place}; "
                "move it there"
            )
        return self.read(name, x)

    def from_dlpack(self, x: Any) -> DeviceArray:
        external = self.gpu.External(x.__dlpack__(stream=self.stream or _LEGACY_STREAM))
        code = external.dtype if external.dtype >= 0 else None
        dtype = getattr(x, "dtype", None) if code is None else _NAMES[code]
        self._read.append(
            DeviceArray(external.pointer, external.shape, external.strides, code, dtype, self.device, external)
        )
        return self._read[-1]

    def embeddings(self, name: str, x: Any) -> DeviceArray:
        array = self.array(name, x)
        if array.code is None:
            refuse_dtype(name, array.dtype)
        rows_and_columns(name, array)
        return array

    def upload(self, name: str, array: NDArray[Any], code: int | None = None) -> DeviceArray:
        """An array of the host."""
        if self.capturing:
            raise ValueError(
                f"{name} must be on {self.name} while a CUDA graph is captured, got it in CPU memory; copy it there "
                "before"
            )
        array, code = (array, _core.DTYPES[array.dtype.name]) if code is None else native(array, code)
        array = np.ascontiguousarray(array)
        pointer, owner = self.copied(array) if array.size else (0, None)
        return DeviceArray(pointer, array.shape, array.strides, code, array.dtype, self.device, owner)

    def reader(self, name: str, x: Any) -> tuple[DeviceArray, int]:
        """What `_arrays.embeddings` is for arrays of the host."""
        array = self.embeddings(name, x)
        assert array.code is not None
        return array, array.code

    def internal(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """Memory that the caller never sees."""
        pointer, owner = self.allocate(_ITEM_BYTES[dtype] * math.prod(shape))
        return self._contiguous(pointer, shape, dtype, owner)

    def _contiguous(self, pointer: int, shape: tuple[int, ...], dtype: str, owner: object) -> DeviceArray:
        item = _ITEM_BYTES[dtype]
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
        name = _NAMES[array.code]
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
        out = self.internal((n, *array.shape[1:]), _NAMES[array.code])
        with self.scratch() as context:
            self.gpu.copy_rows(context, array.rows(self.gpu, 0, pick), out.pointer)
        return out


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


class TorchSpace(Space):
    """Tensors, torch's current stream, its caching allocator."""

    def __init__(self, gpu: Any, device: int) -> None:
        import torch

        self.torch_device = torch.device("cuda", device)
        super().__init__(gpu, device, torch.cuda.current_stream(device).cuda_stream)

    def read(self, name: str, x: Any) -> DeviceArray:
        if not is_tensor(x):  # beside tensors: an array of another library
            return self.from_dlpack(x)
        dense(name, x)
        tensor = x.detach()
        if tensor.is_neg():  # a view whose memory has the other sign
            tensor = tensor.resolve_neg()
        item = tensor.element_size()
        strides = tuple(item * stride for stride in tensor.stride())
        code = _core.DTYPES.get(str(tensor.dtype).removeprefix("torch."))
        return DeviceArray(
            tensor.data_ptr(), tuple(tensor.shape), strides, code, tensor.dtype, self.device, tensor
        )  # fmt: skip

    def _tensor(self, shape: tuple[int, ...], dtype: str) -> Any:
        import torch

        try:
            return torch.empty(shape, dtype=getattr(torch, dtype), device=self.torch_device)
        except torch.cuda.OutOfMemoryError as error:
            n_bytes = _ITEM_BYTES[dtype] * math.prod(shape)
            raise torch.cuda.OutOfMemoryError(
                f"hnscore needs {n_bytes} bytes ({n_bytes / 2**20:.0f} MiB) more on {self.name}: {error}"
            ) from None

    def allocate(self, n_bytes: int) -> tuple[int, object]:
        memory = self._tensor((n_bytes,), "uint8")
        return memory.data_ptr(), memory

    def empty(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        tensor = self._tensor(shape, dtype)
        return self._contiguous(tensor.data_ptr(), shape, dtype, tensor)

    def give(self, array: DeviceArray) -> Any:
        return array.owner

    def copied(self, array: NDArray[Any]) -> tuple[int, object]:
        import torch

        pinned = torch.empty(array.nbytes, dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[:] = array.reshape(-1).view(np.uint8)
        tensor = pinned.to(self.torch_device, non_blocking=True)
        return tensor.data_ptr(), tensor

    def zeros(self, n: int) -> DeviceArray:
        import torch

        tensor = torch.zeros(n, dtype=torch.int8, device=self.torch_device)
        return self._contiguous(tensor.data_ptr(), (n,), "int8", tensor)

    def arange(self, n: int) -> DeviceArray:
        import torch

        tensor = torch.arange(n, device=self.torch_device)
        return self._contiguous(tensor.data_ptr(), (n,), "int64", tensor)

    def full(self, n: int, value: float) -> DeviceArray:
        import torch

        tensor = torch.full((n,), value, dtype=torch.float64, device=self.torch_device)
        return self._contiguous(tensor.data_ptr(), (n,), "float64", tensor)

    def mark(self) -> Any:
        import torch

        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def join(self, mark: Any, owners: list[Any]) -> None:
        import torch

        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(mark)
        for tensor in owners:  # the allocator gives its memory to nobody before this stream is through with it
            tensor.record_stream(stream)

    def leave(self, mark: Any) -> None:
        pass


class DlpackSpace(Space):
    """The arrays of any library that speaks DLPack; CuPy's current stream, the default stream for the others."""

    def __init__(self, gpu: Any, device: int, example: Any = None) -> None:
        library = sys.modules.get(type(example).__module__.partition(".")[0])
        namespace = getattr(example, "__array_namespace__", None)
        self._from_dlpack = getattr(library if namespace is None else namespace(), "from_dlpack", None)
        stream = 0
        if getattr(library, "__name__", "") == "cupy":
            with library.cuda.Device(device):  # type: ignore[union-attr]
                stream = int(library.cuda.get_current_stream().ptr)  # type: ignore[union-attr]
        super().__init__(gpu, device, stream)

    def read(self, name: str, x: Any) -> DeviceArray:
        return self.from_dlpack(x)

    def allocate(self, n_bytes: int) -> tuple[int, object]:
        memory = self.gpu.Memory(self.device, self.stream, n_bytes)
        return memory.pointer, memory

    def empty(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        return self.internal(shape, dtype)

    def give(self, array: DeviceArray) -> Any:
        result = Exported(self, array)
        return result if self._from_dlpack is None else self._from_dlpack(result)

    def copied(self, array: NDArray[Any]) -> tuple[int, object]:
        # From pageable memory: CUDA has read it when this returns.
        pointer, memory = self.allocate(array.nbytes)
        self.gpu.copy_to_device(self.device, self.stream, pointer, array.ctypes.data, array.nbytes)
        return pointer, memory

    def mark(self) -> Any:
        return self

    def join(self, mark: Any, owners: list[Any]) -> None:
        in_order(mark, self.stream)

    def leave(self, mark: Any) -> None:
        in_order(self, mark.stream)  # where the memory goes back


class Exported:
    """A result, for whoever speaks DLPack."""

    def __init__(self, space: Space, array: DeviceArray) -> None:
        self._space, self._array = space, array
        self.shape, self.dtype = array.shape, array.dtype

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_CUDA[0], self._space.device

    def __dlpack__(self, *, stream: int | None = None, **version: Any) -> Any:
        space = self._space
        if stream != -1:
            in_order(space, _LEGACY_STREAM if stream is None else stream)
        return space.gpu.to_dlpack(self._array.owner, self._array.shape, self._array.code)


def release(*more: tuple[Any, list[DeviceArray]]) -> None:
    """Lets go of arrays that the devices have read; holds some more until they have."""
    with _lock:
        _held[:] = [held for held in (*_held, *more) if not held[0].done()]


def in_order(space: Space, stream: int) -> None:
    """What is queued on `stream` from now on runs after what the space's stream has now."""
    if (stream or _LEGACY_STREAM) != (space.stream or _LEGACY_STREAM):
        between = space.gpu.CopyStream(space.device)
        between.wait_for(space.stream)
        between.make_wait(stream)


def space_of(**arrays: Any) -> Space:
    """Where a call on these arrays runs; the error that tells apart their devices."""
    places = {name: location(x) for name, x in arrays.items()}
    name, x = next((name, x) for name, x in arrays.items() if places[name] is not None)
    device = places[name]
    assert device is not None
    try:
        gpu = backend()
    except ImportError as error:
        if type(error) is ModuleNotFoundError:
            refuse_device(name, f"cuda:{device}")
        raise ImportError(
            f"{name} is on cuda:{device}, and what hnscore needs there does not load: {error}; update the NVIDIA "
            "driver, or move the arrays to the CPU"
        ) from error
    for other, place in places.items():
        if place != device:
            where = "in CPU memory" if place is None else f"on cuda:{place}"
            raise ValueError(
                f"{name} is on cuda:{device} and {other} {where}; expected both on one device: move one of them to "
                "the other's"
            )
    return space_on(gpu, device, x)


def space_on(gpu: Any, device: int, example: Any = None, *, tensors: bool | None = None) -> Space:
    """Where a call on arrays like `example` runs, or one on tensors."""
    properties = gpu.device(device)
    if not properties.arch:
        refuse_gpu(gpu, device, properties)
    used.add(device)
    return TorchSpace(gpu, device) if tensors or is_tensor(example) else DlpackSpace(gpu, device, example)


_OLDEST = (7, 5)


def refuse_gpu(gpu: Any, device: int, properties: Any) -> None:
    major, minor = properties.capability
    what = f"cuda:{device} is an {properties.name} of compute capability {major}.{minor}"
    if (major, minor) < _OLDEST:
        raise RuntimeError(f"{what}; hnscore needs {_OLDEST[0]}.{_OLDEST[1]} or later: move the arrays to the CPU")
    raise RuntimeError(
        f"{what}, and this build has {', '.join(gpu.ARCHS) or 'no architectures'}; rebuild with "
        f"HNSCORE_CUDA_ARCHS={major}{minor}, or move the arrays to the CPU"
    )
