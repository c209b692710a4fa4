"""Where a call on a GPU runs, by the library of its arrays: with whose memory, and on which stream.

Torch tensors are read directly, the arrays of other libraries through DLPack. Nothing here waits for a device but
`to_host`.
"""

from __future__ import annotations

import importlib
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import check_dense, is_tensor, refuse_device, refuse_dtype
from hnscore.engine.memory import device as _device
from hnscore.engine.memory.device import DLPACK_CUDA, ITEM_BYTES, LEGACY_STREAM, Backend, DeviceArray, Space, location

if TYPE_CHECKING:
    from hnscore._cuda import Device


class TorchSpace(Space):
    """Tensors, torch's current stream, its caching allocator."""

    def __init__(self, gpu: Backend, device: int) -> None:
        import torch

        self.torch_device = torch.device("cuda", device)
        super().__init__(gpu, device, torch.cuda.current_stream(device).cuda_stream)

    def read(self, name: str, x: Any) -> DeviceArray:
        if not is_tensor(x):  # beside tensors: an array of another library
            return self.from_dlpack(x)
        check_dense(name, x)
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
            n_bytes = ITEM_BYTES[dtype] * math.prod(shape)
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

        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def join(self, mark: Any, owners: list[Any]) -> None:
        import torch

        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(mark)
        for tensor in owners:  # the allocator gives its memory to nobody before this stream is through with it
            tensor.record_stream(stream)

    def leave(self, mark: object) -> None:
        pass


class DlpackSpace(Space):
    """The arrays of any library that speaks DLPack; CuPy's current stream, the default stream for the others."""

    def __init__(self, gpu: Backend, device: int, example: object = None) -> None:
        library = sys.modules.get(type(example).__module__.partition(".")[0])
        namespace = getattr(example, "__array_namespace__", None)
        self._from_dlpack = getattr(library if namespace is None else namespace(), "from_dlpack", None)
        stream = 0
        if getattr(library, "__name__", "") == "cupy":
            with library.cuda.Device(device):  # type: ignore[union-attr]
                stream = int(library.cuda.get_current_stream().ptr)  # type: ignore[union-attr]
        super().__init__(gpu, device, stream)

    def read(self, name: str, x: object) -> DeviceArray:
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
        return DLPACK_CUDA[0], self._space.device

    def __dlpack__(self, *, stream: int | None = None, **version: Any) -> Any:
        space = self._space
        if stream != -1:
            in_order(space, LEGACY_STREAM if stream is None else stream)
        return space.gpu.to_dlpack(self._array.owner, self._array.shape, self._array.code)


def in_order(space: Space, stream: int) -> None:
    """What is queued on `stream` from now on runs after what the space's stream has now."""
    if (stream or LEGACY_STREAM) != (space.stream or LEGACY_STREAM):
        between = space.gpu.CopyStream(space.device)
        between.wait_for(space.stream)
        between.make_wait(stream)


def space_of(**arrays: object) -> Space:
    """Where a call on these arrays runs; the error that tells apart their devices."""
    places = {name: location(x) for name, x in arrays.items()}
    name, x = next((name, x) for name, x in arrays.items() if places[name] is not None)
    device = places[name]
    assert device is not None
    try:
        gpu = _device.backend()
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


def space_on(gpu: Backend, device: int, example: object = None, *, tensors: bool | None = None) -> Space:
    """Where a call on arrays like `example` runs, or one on tensors."""
    properties = gpu.device(device)
    if not properties.arch:
        refuse_gpu(gpu, device, properties)
    _device.used.add(device)
    return TorchSpace(gpu, device) if tensors or is_tensor(example) else DlpackSpace(gpu, device, example)


def to_host(name: str, x: object) -> Any:
    """A copy in CPU memory: a tensor of a tensor, else a NumPy array. This waits."""
    if is_tensor(x):
        return host_tensor(x)
    space = space_of(**{name: x})
    array = space.from_dlpack(x)
    if array.code is None:
        refuse_dtype(name, array.dtype)
    host = space.download(space.copy(array))
    space.end()
    if array.dtype == "bfloat16":  # which JAX alone has, and brings for NumPy
        host = host.view(importlib.import_module("ml_dtypes").bfloat16)
    return host


def host_tensor(x: Any) -> Any:
    return x.detach().cpu()


def to_device(result: Any, example: Any) -> Any:
    """A copy of a result where `example` is, as the same kind of array."""
    if is_tensor(example):
        return device_tensor(result, example)
    return space_of(example=example).give_copy(result)


def device_tensor(result: Any, example: Any) -> Any:
    return result.to(example.device)


_OLDEST = (7, 5)


def refuse_gpu(gpu: Backend, device: int, properties: Device) -> None:
    major, minor = properties.capability
    what = f"cuda:{device} is an {properties.name} of compute capability {major}.{minor}"
    if (major, minor) < _OLDEST:
        raise RuntimeError(f"{what}; hnscore needs {_OLDEST[0]}.{_OLDEST[1]} or later: move the arrays to the CPU")
    raise RuntimeError(
        f"{what}, and this build has {', '.join(gpu.ARCHS) or 'no architectures'}; rebuild with "
        f"HNSCORE_CUDA_ARCHS={major}{minor}, or move the arrays to the CPU"
    )
