"""Result shards: a .npy file of values, or a Parquet file of ids and values; and the best rows of all of them."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANIFEST = "manifest.json"


def result_name(shard: str, with_ids: bool) -> str:
    return os.path.splitext(shard)[0] + (".parquet" if with_ids else ".npy")


def result_bytes(values: NDArray[Any], ids: object, value: str) -> bytes:
    """The content of a result shard. `ids`: an Arrow array, or None."""
    buffer = io.BytesIO()
    if ids is None:
        np.save(buffer, values)
        return buffer.getvalue()
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ids, value: pa.array(values)}), buffer)
    return buffer.getvalue()


def read_result(content: bytes, value: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The values of a result shard, and its ids."""
    if content.startswith(b"\x93NUMPY"):
        return np.load(io.BytesIO(content), allow_pickle=False), None
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    return table.column(value).to_numpy(), table.column("id").to_numpy()
