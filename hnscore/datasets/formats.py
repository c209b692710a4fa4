"""The kinds of files that rows lie in: how many there are, without reading them, and the rows, in blocks.

A kind is a class with a row in `FORMATS`. Its errors need not name the file: `shards.py` does.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import _CODES
from hnscore.arguments.columns import arrow_values, dtype_of_values
from hnscore.datasets.files import Array, npy_header, numbers_of, open_array
from hnscore.datasets.location import Location

_HEADER = 2**16  # bytes, of a .npy file in a store


class Described(NamedTuple):
    """What a file holds, as its header says."""

    n_rows: int
    dim: int  # 0: unknown, of no rows
    dtype: np.dtype[Any] | None


class Format(Protocol):
    def __init__(self, location: Location, column: str | None, dtype: str | None) -> None: ...
    def describe(self) -> Described: ...
    def blocks(self, n_rows: int) -> Iterator[NDArray[Any]]: ...


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
        return _chosen(self.column, names, names, "member")


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
        tensor = header[_chosen(self.column, wanted, list(header), "tensor")]
        if tensor["dtype"] not in _SAFETENSORS:
            raise TypeError(f"it holds numbers of dtype {tensor['dtype']}; convert them, for example to F16")
        if 8 + length + tensor["data_offsets"][1] > self.location.size:
            raise ValueError("it is cut short; write or download it again")
        shape = tuple(tensor["shape"])
        if len(shape) != 2:
            raise ValueError(f"it holds a tensor of shape {shape}, expected (rows, dim)")
        return shape, np.dtype(_SAFETENSORS[tensor["dtype"]]), 8 + length + tensor["data_offsets"][0]


class Parquet:
    """A column of lists in a Parquet file, read by pyarrow a row group after the other."""

    def __init__(self, location: Location, column: str | None, dtype: str | None) -> None:
        self.location, self.column = location, column

    def describe(self) -> Described:
        with self._file() as file:
            name, dtype, dim = _list_column(file.schema_arrow, self.column)
            meta = file.metadata
            if not dim and meta.num_rows:
                dim = self._mean_length(meta, name) or _width_of_first(next(file.iter_batches(1, columns=[name])), name)
            return Described(meta.num_rows, dim, dtype)

    def blocks(self, n_rows: int) -> Iterator[Array]:
        with self._file() as file:
            name, _, _ = _list_column(file.schema_arrow, self.column)
            first = 0
            for batch in file.iter_batches(n_rows, columns=[name]):
                if batch.num_rows:
                    yield arrow_values(f"column {name!r}", batch.column(0), first)
                first += batch.num_rows

    def read_column(self, name: str) -> Any:
        with self._file() as file:
            _check_there(name, file.schema_arrow.names)
            return file.read(columns=[name]).column(0)

    def _mean_length(self, meta: Any, name: str) -> int:
        """Values in a row, by what the file counts; 0 where that is no whole number. Others are met when read."""
        leaf = next(i for i in range(meta.num_columns) if meta.schema.column(i).path.split(".")[0] == name)
        values = sum(int(meta.row_group(g).column(leaf).num_values) for g in range(meta.num_row_groups))
        dim, rest = divmod(values, int(meta.num_rows))
        return 0 if rest else dim

    def _file(self) -> Any:
        pq = _pyarrow(".parquet").parquet
        if self.location.store is None:
            return pq.ParquetFile(self.location.path, memory_map=True)
        return pq.ParquetFile(self.location.open(), pre_buffer=True)


class Arrow:
    """A column of lists in an Arrow file or stream, as Hugging Face datasets keep them; one on a disk is mapped."""

    def __init__(self, location: Location, column: str | None, dtype: str | None) -> None:
        self.location, self.column = location, column

    def describe(self) -> Described:
        with self._batches() as (schema, batches):
            name, dtype, dim = _list_column(schema, self.column)
            n = 0
            for batch in batches:
                if not dim and batch.num_rows:
                    dim = _width_of_first(batch, name)
                n += batch.num_rows
            return Described(n, dim, dtype)

    def blocks(self, n_rows: int) -> Iterator[Array]:
        with self._batches() as (schema, batches):
            name, _, _ = _list_column(schema, self.column)
            first = 0
            for batch in batches:
                for start in range(0, batch.num_rows, n_rows):
                    yield arrow_values(f"column {name!r}", batch.column(name)[start : start + n_rows], first + start)
                first += batch.num_rows

    def read_column(self, name: str) -> Any:
        import pyarrow as pa

        with self._batches() as (schema, batches):
            _check_there(name, schema.names)
            return pa.chunked_array([batch.column(name) for batch in batches], schema.field(name).type)

    @contextlib.contextmanager
    def _batches(self) -> Iterator[tuple[Any, Iterator[Any]]]:
        pa = _pyarrow(".arrow")
        on_disk = self.location.store is None
        with pa.memory_map(self.location.path) if on_disk else pa.PythonFile(self.location.open(), mode="r") as file:
            if file.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(file)
                yield reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                file.seek(0)
                stream = pa.ipc.open_stream(file)
                yield stream.schema, iter(stream)


FORMATS: dict[str, Callable[[Location, str | None, str | None], Format]] = {
    ".npy": Npy, ".npz": Npz, ".parquet": Parquet, ".arrow": Arrow, ".feather": Arrow, ".safetensors": Safetensors,
}  # fmt: skip
TABLES = (".parquet", ".arrow", ".feather")


def _pyarrow(suffix: str) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"{suffix} files need pyarrow; pip install 'hnscore[pools]'") from error
    return pa


def _list_column(schema: Any, column: str | None) -> tuple[str, np.dtype[Any], int]:
    """The column of embeddings: its name, the dtype of its numbers, and values in a row, 0 where that is open."""
    known = {}
    for field in schema:
        dtype = dtype_of_values(field.type)
        if dtype is not None and dtype in _CODES:
            storage = getattr(field.type, "storage_type", field.type)
            known[field.name] = dtype, max(getattr(storage, "list_size", 0), 0)
    name = _chosen(column, list(known), schema.names, "column")
    if name not in known:
        raise TypeError(
            f"column {name!r} holds {schema.field(name).type}, expected lists of numbers"
            + (f"; pass column={next(iter(known))!r}" if known else "; write the embeddings as lists")
        )
    return (name, *known[name])


def _width_of_first(batch: Any, name: str) -> int:
    return int(arrow_values(f"column {name!r}", batch.column(name)[:1]).shape[1])


def _chosen(wanted: str | None, fitting: list[str], all_names: list[str], what: str) -> str:
    if wanted is not None:
        _check_there(wanted, all_names, what)
        return wanted
    if len(fitting) != 1:
        some = ", ".join(map(repr, (fitting or all_names)[:8]))
        raise ValueError(f"it holds {len(fitting)} {what}s that may be embeddings; pass column=, one of {some}")
    return fitting[0]


def _check_there(name: str, names: list[str], what: str = "column") -> None:
    if name not in names:
        raise ValueError(f"it has no {what} {name!r}; pass one of {', '.join(map(repr, names[:12]))}")


def _described(array: Array, dtype: str | None) -> Described:
    if array.ndim not in (1, 2):
        raise ValueError(f"it holds a {array.ndim}-d array of shape {array.shape}, expected (rows, dim)")
    if dtype is None and array.dtype not in _CODES and array.dtype.name != "bfloat16":
        raise TypeError(f"it holds numbers of dtype {array.dtype}; convert them, for example to float16")
    rows = _two_dimensional(array)
    return Described(len(rows), rows.shape[1] if len(rows) else 0, array.dtype)


def _two_dimensional(array: Array) -> Array:
    """One embedding alone, (dim,), is one row; nothing is no row."""
    return array if array.ndim == 2 else array[None][: len(array)]
