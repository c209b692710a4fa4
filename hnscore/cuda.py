"""hnscore on NVIDIA GPUs: which there are, and what they found in values that only they have seen."""

from __future__ import annotations

from dataclasses import dataclass

from hnscore.arguments.arrays import is_tensor
from hnscore.engine.memory import device as _device
from hnscore.engine.memory import reports


@dataclass(frozen=True)
class Device:
    """A GPU of this machine."""

    index: int
    name: str
    capability: tuple[int, int]
    memory: int
    """In bytes."""
    arch: str
    """The machine code of this build that it runs, such as ``"sm_90a"``; empty where there is none for it."""


def devices() -> list[Device]:
    """The GPUs that CUDA shows to this process.

    Returns
    -------
    devices : list of Device
        Empty where hnscore was built without CUDA, or there is no driver.

    Examples
    --------
    >>> import hnscore
    >>> all(isinstance(device.name, str) for device in hnscore.cuda.devices())
    True
    """
    try:
        gpu = _device.backend()
    except ImportError:
        return []
    found = []
    for index in range(gpu.device_count()):
        device = gpu.device(index)
        found.append(Device(index, device.name, device.capability, device.memory, device.arch))
    return found


def is_available() -> bool:
    """Whether there is a GPU that this build of hnscore can compute on.

    Returns
    -------
    bool

    Examples
    --------
    >>> import hnscore
    >>> hnscore.cuda.is_available() in (True, False)
    True
    """
    return any(device.arch for device in devices())


def check(device: object = None) -> None:
    """Wait for a GPU, and raise what it found in the values of calls that did not wait.

    A call on arrays of a GPU returns before its work is done. A NaN, an Inf or, under cosine, a zero row among its
    embeddings makes the scores concerned NaN, or -1 where they are counts; one among the texts or the references makes
    all scores so. The error is raised by the next call on that device that finds it, or here.

    Parameters
    ----------
    device : int, str or torch.device, optional
        Such as ``1`` or ``"cuda:1"``. Default: every GPU that hnscore has been used on.

    Raises
    ------
    ValueError
        For a bad value, in the words of the call on a CPU; and for a device that is not there.
    TypeError
        For another kind of device.

    Notes
    -----
    With CUDA_LAUNCH_BLOCKING=1 in the environment every call waits and raises its own errors.

    Examples
    --------
    >>> import hnscore
    >>> hnscore.cuda.check()
    """
    numbers = sorted(_device.used) if device is None else [_number(device)]
    for number in numbers:
        gpu = _device.backend()
        gpu.synchronize_device(number)
        _device.release()
        reports.raise_found(gpu, number)


def _number(device: object) -> int:
    known = devices()
    number = device
    if isinstance(device, str) or hasattr(device, "type"):
        kind, _, index = str(device).partition(":")
        number = int(index or 0) if kind == "cuda" and (index or "0").isdigit() else -1
    if isinstance(number, bool) or not isinstance(number, int) or is_tensor(device):
        raise TypeError(f"device must be an int, a string like 'cuda:0' or a torch.device, got {device!r}; pass one")
    if not 0 <= number < len(known):
        there = ", ".join(f"cuda:{d.index}" for d in known) or "none"
        raise ValueError(f"device must be one of the GPUs that there are ({there}), got {device!r}; pass one of these")
    return number
