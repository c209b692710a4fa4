"""Where the results of a shard go, and the digests that tell whether anything has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import is_tensor
from hnscore.datasets.dataset import Dataset
from hnscore.datasets.folder import Folder
from hnscore.datasets.shard import ShardError
from hnscore.shards.results import result_bytes, result_name

STATE = "_hnscore"


MARK = "hnscore"  # a key of every record


class Sink(NamedTuple):
    """Where the results of a shard go: one file, then its record."""

    pool: Dataset
    folder: Folder
    value: str  # the name of the values

    def identity(self, number: int) -> dict[str, Any]:
        shard = self.pool.shards[number]
        known = {"source": shard.location.identity()}
        table = getattr(shard.ids, "location", None)
        if table is not None and table != shard.location:
            known["metadata"] = table.identity()
        return known

    def write(self, number: int, values: NDArray[Any], before: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
        shard = self.pool.shards[number]
        if self.identity(number) != before:
            raise ShardError(f"shard {shard.location} has changed while it was read; run the same again")
        with_ids = self.pool.id_column is not None
        name = result_name(shard.name, with_ids)
        content = result_bytes(values, self.pool.arrow_ids(number) if with_ids else None, self.value)
        self.folder.write(name, content)
        record = {
            MARK: 1, "shard": shard.name, "rows": shard.n_rows, "input": dict(before), "result": name,
            "written": self.folder.identity(name), "digest": digest(content), **more,
        }  # fmt: skip
        self.folder.write(record_name(shard.name), json.dumps(record, indent=1).encode())
        return record


def record_name(shard: str) -> str:
    return f"{STATE}/shard-{digest(shard.encode())}.json"


def check_dataset(name: str, x: object) -> None:
    if not isinstance(x, Dataset):
        raise TypeError(f"{name} must be a Dataset, got {type(x).__name__}; pass hnscore.dataset(path)")


def setting(x: Any) -> Any:
    """An argument as settings have it: a digest of an array."""
    if x is None or isinstance(x, (str, int, float)):
        return x
    if is_tensor(x):
        import torch

        x = x.detach().cpu()
        x = x.view(torch.int16) if x.dtype == torch.bfloat16 else x
    if isinstance(x, (list, tuple)) and any(np.ndim(rows) for rows in x):
        return [digest_of(rows) for rows in x]
    return digest_of(x)


def digest(content: bytes | bytearray | memoryview) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def digest_of(x: Any) -> str | None:
    """Of the content of an array; None of None."""
    if x is None:
        return None
    array = np.ascontiguousarray(x)
    return f"{array.dtype.str} {array.shape} {digest(array.view(np.uint8).data if array.size else b'')}"
