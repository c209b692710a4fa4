"""Columns of tables, as arrays: Arrow's, and what pandas, polars and Hugging Face datasets keep in Arrow.

One chunk without nulls is read where it lies. No library is imported that the caller has not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_column(x: Any) -> Any:
    """The Arrow array or chunked array that `x` is, or keeps its values in; None where it is no such column."""
    library = type(x).__module__.partition(".")[0]
    if library == "pyarrow":
        import pyarrow as pa

        if isinstance(x, (pa.Table, pa.RecordBatch)):
            return x.column(0) if x.num_columns == 1 else None
        return x if isinstance(x, (pa.Array, pa.ChunkedArray)) else None
    if library == "datasets" and hasattr(x, "source") and hasattr(x, "column_name"):
        name = x.column_name
        return x.source.select_columns(name).with_format("arrow")[name]
    if "pyarrow" not in sys.modules:
        return None
    if library == "pandas" and type(getattr(x, "dtype", None)).__name__ == "ArrowDtype":
        return getattr(x, "array", x).__arrow_array__()
    if library == "polars" and getattr(x, "dtype", None) is not None:
        kind = str(x.dtype)
        return x.to_arrow() if kind.startswith(("List", "Array")) else None
    return None


def arrow_values(name: str, column: pa.ChunkedArray, first: int = 0) -> NDArray[Any]:
    """Its numbers (n,), or its rows (n, dim), counted from `first`; nulls and rows of several lengths are refused with
    their row."""
    chunks = list(_chunks(column, first))
    if not _of_lists(column.type):
        for start, chunk in chunks:
            _refuse_nulls(name, chunk, start)
        values = [chunk.to_numpy(zero_copy_only=False) for _, chunk in chunks]
        return _joined(values) if values else column.to_numpy()
    width = _width(column.type)
    rows = []
    for start, chunk in chunks:
        part, width = _rows(name, chunk, start, width)
        rows.append(part)
    if not rows:
        return np.empty((0, max(width, 1)), dtype_of_values(column.type) or object)
    return _joined(rows)


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _chunks(column: object, first: int) -> Iterator[tuple[int, Any]]:
    """Those that hold something, each with its first row."""
    for chunk in getattr(column, "chunks", [column]):
        if len(chunk):
            yield first, chunk
        first += len(chunk)


def _of_lists(kind: object) -> bool:
    import pyarrow.types as types

    storage = getattr(kind, "storage_type", kind)  # of a fixed-shape tensor
    kinds = types.is_fixed_size_list, types.is_list, types.is_large_list
    return any(is_kind(storage) for is_kind in kinds)


def _width(kind: object) -> int:
    """Values in a row, 0 where the type leaves it open."""
    return getattr(getattr(kind, "storage_type", kind), "list_size", 0)


def dtype_of_values(kind: object) -> np.dtype[Any] | None:
    """Of the numbers in a column of lists; None where it holds none. pyarrow's own answer needs pandas."""
    value = getattr(getattr(kind, "storage_type", kind), "value_type", None)
    name = str(value)
    try:
        return np.dtype(_ARROW_FLOATS.get(name, name))
    except TypeError:
        return None


_ARROW_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


def _rows(name: str, chunk: pa.Array, first: int, width: int) -> tuple[NDArray[Any], int]:
    """The rows of a chunk, and how many values each has, where that is `width` or that is not known."""
    shape = getattr(chunk.type, "shape", None)
    chunk = getattr(chunk, "storage", chunk)
    _refuse_nulls(name, chunk, first)
    if not getattr(chunk.type, "list_size", 0):
        lengths = chunk.value_lengths().to_numpy()
        width = width or int(lengths[0])
        if (lengths != width).any():
            i = int((lengths != width).argmax())
            raise ValueError(
                f"{name} must hold rows of one length, got {lengths[i]} values at index {first + i} and {width} before "
                "it; repair or drop that row"
            )
    values = chunk.flatten()
    if values.null_count:
        i = int(values.is_null().to_numpy(zero_copy_only=False).argmax())
        _refuse_null(name, first + i // width, f", in column {i % width}")
    array = values.to_numpy(zero_copy_only=False)
    return array.reshape(len(chunk), *(shape if shape and len(shape) > 1 else (width,))), width


def _refuse_nulls(name: str, chunk: pa.Array, first: int) -> None:
    if chunk.null_count:
        _refuse_null(name, first + int(chunk.is_null().to_numpy(zero_copy_only=False).argmax()))


def _refuse_null(name: str, index: int, where: str = "") -> NoReturn:
    raise ValueError(f"{name} must hold numbers or rows of numbers, got null at index {index}{where}; fill or drop it")


def check_ids(name: str, column: pa.ChunkedArray, n: int) -> None:
    """The error where ids, integers or strings, are not those of n rows, each of which has its own."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
        raise TypeError(f"{name} must hold ids, integers or strings, got {column.type}; choose another column")
    for first, chunk in _chunks(column, 0):
        _refuse_nulls(name, chunk, first)
    if len(column) != n:
        raise ValueError(
            f"{name} must have an id for each of {n} rows, got {len(column)}; pass tables of the same rows"
        )
    if pc.count_distinct(column).as_py() != n:
        values = column.to_pylist()
        seen: dict[Any, int] = {}
        for i, value in enumerate(values):
            if value in seen:
                raise ValueError(
                    f"{name} must name each row once, got {value!r} at index {seen[value]} and at index {i}; drop one "
                    "of them"
                )
            seen[value] = i
