"""The dtypes that the core reads, by its codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core

BFLOAT16 = _core.DTYPES["bfloat16"]


SWAPPED = 256


_NATIVE = {np.dtype(name): code for name, code in _core.DTYPES.items() if name != "bfloat16"}


CODES = _NATIVE | {d.newbyteorder(): code + SWAPPED for d, code in _NATIVE.items() if d.itemsize > 1}


_INTEGERS = frozenset(_core.DTYPES[name] for name in _core.DTYPES if "int" in name)


_UNSIGNED = frozenset(_core.DTYPES[name] for name in _core.DTYPES if "uint" in name)


def as_float64(array: NDArray[Any], code: int) -> NDArray[np.float64]:
    """A copy of rows that `embeddings` read."""
    return (widen(array) if code == BFLOAT16 else array).astype(np.float64)


def widen(bfloat16: NDArray[Any]) -> NDArray[np.float32]:
    return (bfloat16.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def to_native(array: NDArray[Any], code: int) -> tuple[NDArray[Any], int]:
    """`array` in the byte order of this machine, a copy where it has the other, and the code that it has then."""
    return (array, code) if code < SWAPPED else (array.astype(array.dtype.newbyteorder("=")), code - SWAPPED)


def is_float64(code: int) -> bool:
    return code % SWAPPED == _core.DTYPES["float64"]


def is_integer(code: int | None) -> bool:
    return code is not None and code % SWAPPED in _INTEGERS


def is_unsigned(code: int | None) -> bool:
    return code is not None and code % SWAPPED in _UNSIGNED
