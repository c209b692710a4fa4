"""Group labels for a GPU, from there or from CPU memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.dtypes import is_unsigned
from hnscore.arguments.values import check_kind_of_labels, check_one_integer_per_row, read_group_labels
from hnscore.engine.host import in_use, numbers_among
from hnscore.engine.memory.device import DeviceArray, Space, location


@dataclass
class DeviceGroups:
    """Labels as 64-bit integers in GPU memory; of strings, whose numbers are there, the strings."""

    array: DeviceArray
    unsigned: bool
    names: NDArray[np.str_] | None = None


def groups_of_texts(
    space: Space, x: object, n: int, drawn: NDArray[np.int64] | None, picked: DeviceArray | None
) -> DeviceGroups:
    """`drawn`, and the same on the device: the texts in use."""
    if location(x) is not None:
        return labels_on_device(space, "txt_groups", x, n, picked)
    host, names = in_use(read_group_labels("txt_groups", x, n), drawn), None
    if host.dtype.kind == "U":
        names, host = np.unique(host, return_inverse=True)
    return _from_host(space, "txt_groups", host, names)


def groups_of_images(space: Space, x: object, n: int, texts: DeviceGroups) -> DeviceGroups:
    """To be compared with those of the texts."""
    if location(x) is not None:
        return labels_on_device(space, "img_groups", x, n)
    host, known = read_group_labels("img_groups", x, n), texts.names
    check_kind_of_labels(host, np.zeros(1, np.int64) if known is None else known)
    if known is not None and n:
        host = numbers_among(known, host)
    elif known is not None or host.dtype.kind == "U":
        host = np.zeros(0, np.int64)
    return _from_host(space, "img_groups", host)


def _from_host(
    space: Space, name: str, labels: NDArray[np.integer], names: NDArray[np.str_] | None = None
) -> DeviceGroups:
    unsigned = labels.dtype.kind == "u"
    bits = labels.astype(np.uint64 if unsigned else np.int64).view(np.int64)
    return DeviceGroups(space.upload(name, bits), unsigned, names)


def labels_on_device(space: Space, name: str, x: object, n: int, picked: DeviceArray | None = None) -> DeviceGroups:
    """Of integers there."""
    array = space.array(name, x)
    check_one_integer_per_row(name, array, array.code, n)
    wide = space.values(array, "int64", pick=picked) if n else space.internal((0,), "int64")
    return DeviceGroups(wide, is_unsigned(array.code))
