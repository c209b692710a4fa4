"""GPUs for tests, real and pretended: what puts arrays on one and takes them off.

Pretended ones do everything on the host: `FakeCuda` in NumPy, as late as streams allow or at random moments; the
emulated backend with the kernels themselves.
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fake_cuda import External, FakeCuda, at, capsule_of, numpy_dtype
from numpy.typing import NDArray

from hnscore.engine.memory import device as _device
from hnscore.engine.memory import libraries


class OnGpu:
    """An array of a GPU library that speaks DLPack and the array API; its memory is the host's."""

    def __init__(self, array: NDArray[Any], device: int = 0, owner: Any = None) -> None:
        self.array, self.device, self._owner = array, device, owner
        self.streams: list[int | None] = []  # that were handed over

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
    """One that is pretended, with arrays that speak DLPack."""

    tensors = False

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def put(self, x: Any, device: int = 0) -> Any:
        x = np.array(x, order="C")
        memory = self.backend.Memory(device, 0, x.nbytes)
        self.backend.copy_to_device(device, 0, memory.pointer, x.ctypes.data, x.nbytes)
        return OnGpu(at(memory.pointer, x.shape, x.dtype, owner=memory), device)

    def get(self, x: Any) -> NDArray[Any]:
        """The values, once they are there."""
        assert isinstance(x, OnGpu)
        self.backend.synchronize_device(x.device)
        return np.array(x.array)

    def view(self, x: Any, *key: Any) -> Any:
        """x[key], where it lies."""
        return OnGpu(x.array[key], x.device, x)


class PretendedTensor(torch.Tensor):
    """A tensor of the host that says it is on a GPU."""

    device = property(lambda self: torch.device("cuda", 0))  # type: ignore[assignment]


class PretendedSpace(libraries.TorchSpace):
    def __init__(self, gpu: Any, device: int) -> None:
        self.torch_device = torch.device("cpu")
        _device.Space.__init__(self, gpu, device, 0)

    def copied(self, array: NDArray[Any]) -> tuple[int, object]:
        tensor = torch.from_numpy(array.reshape(-1).view(np.uint8).copy())
        return tensor.data_ptr(), tensor

    def give(self, array: _device.DeviceArray) -> Any:
        tensor: Any = array.owner
        return tensor.as_subclass(PretendedTensor)

    def mark(self) -> Any:
        return None


class Tensors(Gpu):
    """One that is pretended, with tensors."""

    tensors = True

    def put(self, x: Any, device: int = 0) -> Any:
        return to_tensor(np.array(x)).as_subclass(PretendedTensor)

    def get(self, x: Any) -> NDArray[Any]:
        assert isinstance(x, PretendedTensor)
        return np.array(x.as_subclass(torch.Tensor).numpy())

    def view(self, x: Any, *key: Any) -> Any:
        return x[key]


def to_tensor(x: NDArray[Any]) -> torch.Tensor:
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(x))


class Cuda(Gpu):
    """A real one, with tensors."""

    tensors = True

    def put(self, x: Any, device: int = 0) -> Any:
        return to_tensor(np.array(x)).to(torch.device("cuda", device))

    def get(self, x: Any) -> NDArray[Any]:
        assert x.device.type == "cuda"
        return np.array(x.cpu().numpy())

    def view(self, x: Any, *key: Any) -> Any:
        return x[key]


class Library(Gpu):
    """A real one, with the arrays of another library: cupy, or jax.numpy."""

    def __init__(self, backend: Any, library: Any) -> None:
        super().__init__(backend)
        self.library = library

    def put(self, x: Any, device: int = 0) -> Any:
        if np.asarray(x).dtype.name == "bfloat16" and self.library.__name__ == "cupy":
            pytest.skip("CuPy has no bfloat16")
        return self.library.asarray(x)

    def get(self, x: Any) -> NDArray[Any]:
        return np.array(x.get() if hasattr(x, "get") else x)

    def view(self, x: Any, *key: Any) -> Any:
        return x[key]


PRETENDED = ["late", "at random", "tensors", "emulated"]
REAL = []  # where hnscore was built for one
if importlib.util.find_spec("hnscore._cuda"):
    REAL = [pytest.param(name, marks=pytest.mark.gpu) for name in ("cuda", "cupy", "jax")]


def real_backend() -> Any:
    """Skips the test where there is no GPU."""
    _cuda = pytest.importorskip("hnscore._cuda")
    if not _cuda.device_count():
        pytest.skip("no GPU")
    return _cuda


def a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """The GPU of that name, for as long as the iterator lives."""
    gpu: Gpu
    if name in ("late", "at random"):
        gpu = Gpu(FakeCuda(eager=0 if name == "at random" else None))
    elif name == "tensors":
        monkeypatch.setattr(libraries, "TorchSpace", PretendedSpace)
        monkeypatch.setattr(libraries, "host_tensor", lambda x: x.as_subclass(torch.Tensor))
        monkeypatch.setattr(libraries, "device_tensor", lambda x, example: x.as_subclass(PretendedTensor))
        gpu = Tensors(FakeCuda(at_once=True))
    elif name == "emulated":
        from emulated import emulated_module

        gpu = Gpu(emulated_module())
    elif name == "cuda":
        gpu = Cuda(real_backend())
    else:
        library = pytest.importorskip("cupy" if name == "cupy" else "jax.numpy")
        if name == "jax":
            pytest.importorskip("jax").config.update("jax_enable_x64", True)
        gpu = Library(real_backend(), library)
    monkeypatch.setattr(_device, "_loaded", gpu.backend)
    monkeypatch.setattr(_device, "used", set())
    monkeypatch.setattr(_device, "_held", [])
    yield gpu
    for device in range(gpu.backend.device_count()):
        gpu.backend.synchronize_device(device)
        gpu.backend.bad_rows(device)
