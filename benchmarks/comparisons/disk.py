"""The memory of a call on a pool on disk."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hnscore
from hnscore.bench import workloads
from hnscore.bench.measure import growth_in_child
from hnscore.bench.method import Run
from hnscore.bench.report import Group, Row, mebibytes, say
from hnscore.bench.workloads import MARGIN, Workload

MEMORY_TEXTS = 20_000
MEMORY_DIM = 512


def memory(args: argparse.Namespace) -> Group:
    def measure() -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pool.npy"
            workload = workloads.gaussian(1, MEMORY_TEXTS, MEMORY_DIM)
            _random_pool(path, args.rows)
            pool = np.load(path, mmap_mode="r")
            packed = 4 * MEMORY_TEXTS * MEMORY_DIM
            scores = 4 * args.rows
            took: list[Row] = []
            for precision in ("exact", "fp32", "bf16"):
                say(f"{args.rows} rows from disk, {precision}")
                growth = growth_in_child(_pool_call(pool, workload, precision, args.threads))
                allowed = packed + scores + 64 * 2**20
                took.append(
                    {
                        "precision": precision,
                        "anonymous memory grew by": mebibytes(growth),
                        "packed texts + scores + 64 MiB": mebibytes(allowed),
                        "size of the pool file": mebibytes(path.stat().st_size),
                    }
                )
            return took

    title = f"{args.rows} float16 images on disk x {MEMORY_TEXTS} texts, dim {MEMORY_DIM}"
    note = "`hnscore.score` on a memory map, in a fresh child watched every millisecond. Page cache is not counted."
    return Group(title, note, [(f"memory {args.rows}", measure)])


def _random_pool(path: Path, rows: int) -> None:
    pool = np.lib.format.open_memmap(path, "w+", np.float16, (rows, MEMORY_DIM))
    rng = np.random.default_rng(2)
    for start in range(0, rows, 65536):
        block = pool[start : start + 65536]
        block[:] = rng.standard_normal(block.shape, np.float32)
    pool.flush()


def _pool_call(pool: Any, workload: Workload, precision: Any, n_threads: int) -> Callable[[], Run]:
    def call(images: Any, n_txt: int) -> Any:
        txt, reference = workload.txt[:n_txt], workload.reference[:n_txt]
        return hnscore.score(
            images, txt, MARGIN, reference=reference, precision=precision, method="dense", n_threads=n_threads
        )

    def prepare() -> Run:
        call(np.ones((8, MEMORY_DIM), np.float16), 8)
        return lambda: call(pool, MEMORY_TEXTS)

    return prepare
