"""Pools in many files of every kind, for tests."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

N, N_TXT, DIM = 900, 70, 16
CUTS = (0, 100, 100, 450, 450, 900)  # with two empty shards
RNG = np.random.default_rng(0)
IMG = RNG.standard_normal((N, DIM)).astype(np.float16)
IMG[800:] = IMG[:100]
TXT = RNG.standard_normal((N_TXT, DIM)).astype(np.float32)
IDS = np.array([f"im{i:04d}" for i in range(N)])
PARTS = [slice(a, b) for a, b in pairwise(CUTS)]
KINDS = ("npy", "fortran", "npz", "fixed", "list", "arrow", "stream", "safetensors")
WITH_IDS = ("fixed", "list", "arrow", "stream")


def write(folder: Path, kind: str, img: NDArray[Any] = IMG) -> Path:
    """The shards, of one kind; the folder."""
    folder.mkdir(exist_ok=True)
    for i, part in enumerate(PARTS):
        write_shard(folder, kind, i, img[part], IDS[part])
    return folder


def write_shard(folder: Path, kind: str, i: int, rows: NDArray[Any], ids: NDArray[Any]) -> None:
    if kind in ("npy", "fortran"):
        np.save(folder / f"{i}.npy", rows if kind == "npy" else np.asfortranarray(rows))
    elif kind == "npz":
        np.savez_compressed(folder / f"{i}.npz", emb=rows, other=np.zeros(3))
    elif kind == "safetensors":
        from safetensors.numpy import save_file

        save_file({"emb": np.ascontiguousarray(rows), "other": np.zeros(3)}, folder / f"{i}.safetensors")
    else:
        write_table(folder, kind, i, rows, ids)


def write_table(folder: Path, kind: str, i: int, rows: NDArray[Any], ids: NDArray[Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fixed = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    column = fixed if kind == "fixed" else fixed.cast(pa.list_(fixed.type.value_type))
    table = pa.table({"id": pa.array(ids.tolist(), pa.string()), "emb": column})
    if kind in ("fixed", "list"):
        pq.write_table(table, folder / f"{i}.parquet", row_group_size=64)
        return
    new = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
    with new(folder / f"{i}.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=50)
