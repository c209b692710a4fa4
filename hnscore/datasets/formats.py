"""The kinds of files that rows lie in: how many there are, without reading them, and the rows, in blocks.

A kind is a class with a row in `FORMATS`. Its errors need not name the file: `shards.py` does.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hnscore.arguments.dtypes import CODES
from hnscore.datasets.described import Described, Format, chosen
from hnscore.datasets.files import Array, npy_header, numbers_of, open_array
from hnscore.datasets.location import Location
from hnscore.datasets.tables import Arrow, Parquet

_HEADER = 2**16  # bytes, of a .npy file in a store


class Npy:
    """A .npy file; one on a disk is mapped."""

    def __init__(self, location: Location, column: str | None, dtype: str | None) -> None:
        self.location, self.dtype = location, dtype
        if column is not None:
            raise ValueError(f"a .npy file has no columns, got column={column!r}; leave it out")

    def describe(self) -> Described:
        if self.location.store is None:
            return _described(self._mapped(), self.dtype)
        shape, _, dtype, _ = self._header()
        return _described(np.broadcast_to(np.zeros((), dtype), shape), self.dtype)

    def blocks(self, n_rows: int) -> Iterator[Array]:
        numbers = numbers_of(self.dtype)
        if self.location.store is None:
            rows = _two_dimensional(self._mapped())
            for first in range(0, len(rows), n_rows):
                yield numbers(rows[first : first + n_rows])
            return
        shape, fortran, dtype, start = self._header()
        if fortran:
            rows = _two_dimensional(np.load(io.BytesIO(self.location.read(0, self.location.size)), allow_pickle=False))
            for first in range(0, len(rows), n_rows):
                yield numbers(rows[first : first + n_rows])
            return
        n, dim = shape if len(shape) == 2 else (1, *shape)
        for first in range(0, n, n_rows):
            count = min(n_rows, n - first)
            begin = start + first * dim * dtype.itemsize
            content = self.location.read(begin, begin + count * dim * dtype.itemsize)
            yield numbers(np.frombuffer(content, dtype).reshape(count, dim))

    def _mapped(self) -> Array:
        return open_array(self.location.path, "shard", self.dtype, (1, 2))

    def _header(self) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
        file = io.BytesIO(self.location.read(0, min(_HEADER, self.location.size)))
        return *npy_header(file), file.tell()


class Npz:
    """A member of a .npz archive, which is read as a whole."""

    def __init__(self, location: Location, column: str | None, dtype: str | None) -> None:
        self.location, self.column, self.dtype = location, column, dtype

    def describe(self) -> Described:
        with (
            self.location.open() as file,
            zipfile.ZipFile(file) as archive,
            archive.open(f"{self._member(archive)}.npy") as member,
        ):
            shape, _, dtype = npy_header(member)
        return _described(np.broadcast_to(np.zeros((), dtype), shape), self.dtype)

    def blocks(self, n_rows: int) -> Iterator[Array]:
        with self.location.open() as file:
            with zipfile.ZipFile(file) as archive:
                name = self._member(archive)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                rows = _two_dimensional(arrays[name])
        for first in range(0, len(rows), n_rows):
            yield numbers_of(self.dtype)(rows[first : first + n_rows])

    def _member(self, archive: zipfile.ZipFile) -> str:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        return chosen(self.column, names, names, "member")


_SAFETENSORS = {
    "F16": "<f2", "BF16": "<V2", "F32": "<f4", "F64": "<f8", "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2",
    "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
}  # fmt: skip


class Safetensors:
    """A tensor of a .safetensors file: a header of JSON, then the tensors one after the other."""

    def __init__(self, location: Location, column: str | None, dtype: str | None) -> None:
        self.location, self.column = location, column

    def describe(self) -> Described:
        shape, dtype, _ = self._header()
        return _described(np.broadcast_to(np.zeros((), dtype), shape), "bfloat16")

    def blocks(self, n_rows: int) -> Iterator[Array]:
        (n, dim), dtype, start = self._header()
        numbers = numbers_of("bfloat16" if dtype.kind == "V" else None)
        for first in range(0, n, n_rows):
            count = min(n_rows, n - first)
            begin = start + first * dim * dtype.itemsize
            content = self.location.read(begin, begin + count * dim * dtype.itemsize)
            yield numbers(np.frombuffer(content, dtype).reshape(count, dim))

    def _header(self) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        length = int.from_bytes(self.location.read(0, 8), "little")
        if not 0 < length < self.location.size:
            raise ValueError("it is no safetensors file, or cut short; write it again")
        header = json.loads(self.location.read(8, 8 + length))
        header.pop("__metadata__", None)
        wanted = [name for name, tensor in header.items() if len(tensor["shape"]) == 2]
        tensor = header[chosen(self.column, wanted, list(header), "tensor")]
        if tensor["dtype"] not in _SAFETENSORS:
            raise TypeError(f"it holds numbers of dtype {tensor['dtype']}; convert them, for example to F16")
        if 8 + length + tensor["data_offsets"][1] > self.location.size:
            raise ValueError("it is cut short; write or download it again")
        shape = tuple(tensor["shape"])
        if len(shape) != 2:
            raise ValueError(f"it holds a tensor of shape {shape}, expected (rows, dim)")
        return shape, np.dtype(_SAFETENSORS[tensor["dtype"]]), 8 + length + tensor["data_offsets"][0]


FORMATS: dict[str, Callable[[Location, str | None, str | None], Format]] = {
    ".npy": Npy, ".npz": Npz, ".parquet": Parquet, ".arrow": Arrow, ".feather": Arrow, ".safetensors": Safetensors,
}  # fmt: skip
TABLES = (".parquet", ".arrow", ".feather")


def _described(array: Array, dtype: str | None) -> Described:
    if array.ndim not in (1, 2):
        raise ValueError(f"it holds a {array.ndim}-d array of shape {array.shape}, expected (rows, dim)")
    if dtype is None and array.dtype not in CODES and array.dtype.name != "bfloat16":
        raise TypeError(f"it holds numbers of dtype {array.dtype}; convert them, for example to float16")
    rows = _two_dimensional(array)
    return Described(len(rows), rows.shape[1] if len(rows) else 0, array.dtype)


def _two_dimensional(array: Array) -> Array:
    """One embedding alone, (dim,), is one row; nothing is no row."""
    return array if array.ndim == 2 else array[None][: len(array)]
