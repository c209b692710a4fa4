"""What a Scorer has on a GPU, on its way to another process: arrays travel through the host, which waits for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from hnscore.engine.gpu.labels import DeviceGroups
from hnscore.engine.gpu.texts import DeviceTexts
from hnscore.engine.memory.device import DeviceArray, Space
from hnscore.engine.memory.rows import DeviceRows


@dataclass
class _Travelling:
    array: NDArray[Any]
    code: int | None


def to_host(space: Space, value: object) -> Any:
    """Anything else stays what it is."""
    if isinstance(value, DeviceArray):
        return _Travelling(space.download(value), value.code)
    if isinstance(value, DeviceRows | DeviceGroups):
        return replace(value, array=to_host(space, value.array))
    if isinstance(value, DeviceTexts):
        return None if value.chosen is None else to_host(space, value.chosen)
    return value


def to_device(space: Space, value: object) -> Any:
    """Back again."""
    if isinstance(value, _Travelling):
        return space.upload("a Scorer", value.array, value.code)
    if isinstance(value, DeviceRows | DeviceGroups):
        return replace(value, array=to_device(space, value.array))
    return value
