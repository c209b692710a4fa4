"""GPUs for tests, real and pretended: what puts arrays on one and takes them off."""

from typing import Any

import numpy as np
from fake_cuda import External, at, capsule_of, numpy_dtype
from numpy.typing import NDArray

from hnscore import _device


class OnGpu:
    """An array of a GPU library that speaks DLPack and the array API; its memory is NumPy's."""

    def __init__(self, array: NDArray[Any], device: int = 0, owner: Any = None) -> None:
        self.array, self.device, self._owner = array, device, owner
        self.streams: list[int | None] = []

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.streams.append(stream)
        return capsule_of(self.array, self.device)

    def __array_namespace__(self) -> type["OnGpu"]:
        return OnGpu

    @staticmethod
    def from_dlpack(x: Any) -> "OnGpu":
        kind, device = x.__dlpack_device__()
        assert kind == 2
        external = External(x.__dlpack__(stream=1))
        array = at(external.pointer, external.shape, numpy_dtype(external.dtype), external.strides, owner=external)
        return OnGpu(array, device, external)


class Gpu:
    """A pretended one."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def put(self, x: Any, device: int = 0) -> Any:
        x = np.asarray(x)
        memory = self.backend.Memory(device, 0, x.nbytes)  # which goes back in the order of the stream
        array = at(memory.pointer, x.shape, x.dtype, owner=memory)
        array[...] = x
        return OnGpu(array, device)

    def get(self, x: Any) -> NDArray[Any]:
        """The values, once they are there."""
        assert isinstance(x, OnGpu)
        self.backend.synchronize_device(x.device)
        return np.array(x.array)

    def view(self, x: Any, key: Any) -> Any:
        return OnGpu(x.array[key], x.device)


def use(backend: Any) -> None:
    _device._loaded = backend
