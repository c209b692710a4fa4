"""Rows that lie in a column of a table: Parquet and Arrow files, read by pyarrow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hnscore.arguments.columns import arrow_values, dtype_of_values
from hnscore.arguments.dtypes import CODES
from hnscore.datasets.described import Described, check_there, chosen
from hnscore.datasets.files import Array
from hnscore.datasets.location import Location

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


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
            check_there(name, file.schema_arrow.names)
            return file.read(columns=[name]).column(0)

    def _mean_length(self, meta: pq.FileMetaData, name: str) -> int:
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
            check_there(name, schema.names)
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


def _pyarrow(suffix: str) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"{suffix} files need pyarrow; pip install 'hnscore[pools]'") from error
    return pa


def _list_column(schema: pa.Schema, column: str | None) -> tuple[str, np.dtype[Any], int]:
    """The column of embeddings: its name, the dtype of its numbers, and values in a row, 0 where that is open."""
    known = {}
    for field in schema:
        dtype = dtype_of_values(field.type)
        if dtype is not None and dtype in CODES:
            storage = getattr(field.type, "storage_type", field.type)
            known[field.name] = dtype, max(getattr(storage, "list_size", 0), 0)
    name = chosen(column, list(known), schema.names, "column")
    if name not in known:
        raise TypeError(
            f"column {name!r} holds {schema.field(name).type}, expected lists of numbers"
            + (f"; pass column={next(iter(known))!r}" if known else "; write the embeddings as lists")
        )
    return (name, *known[name])


def _width_of_first(batch: pa.RecordBatch, name: str) -> int:
    return int(arrow_values(f"column {name!r}", batch.column(name)[:1]).shape[1])
