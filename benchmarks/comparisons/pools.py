"""Pools in many files beside one array; what a shard costs; Ray and torch.distributed; selection in two stages."""

import argparse
import contextlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import hnscore
from comparisons import growth, regimes
from hnscore.bench.measure import anonymous_memory
from hnscore.bench.report import Group, Row, say
from hnscore.bench.workloads import Array

N_TXT, MARGIN, SHARDS, DRAWN = 20_000, 0.05, 64, 500_000
BATCH = 16_384  # of all ranks

_NOTE = (
    f"Flickr8k, resampled: float16 rows of 512 against {N_TXT:,} texts at margin {MARGIN}, scores by "
    "hnscore.shards.score into result shards, inputs in the page cache; beside hnscore.score of the same rows mapped "
    "from one .npy file. Rounds interleaved, medians, in brackets the spread. Parquet of fixed-size lists as pyarrow "
    "writes them, with use_dictionary=False, and with fields that are not nullable, too. Growth: of anonymous memory. "
    "Ray: two actors of one core each; its rate is of the shards beyond the first part, once it is started. "
    "gloo: processes of one thread each; a "
    f"batch of {BATCH:,} images and texts, hinge sums at margin 0.2, the own image as reference."
)


def pools(args: argparse.Namespace) -> Group:
    n, sizes = (64_000, (1, 10)) if args.quick else (4_000_000, (1, 10, 100, 1000))
    rounds = args.rounds
    parts: list[tuple[str, Callable[[], list[Row]]]] = [
        *((f"files: {way}", partial(_files, way, n, args.threads, rounds)) for way in WAYS),
        ("shards", partial(_shards, min(n, 200_000), sizes, args.threads, rounds)),
        ("ray", partial(_on_ray, n // 2, rounds)),
        ("gloo", partial(_on_ranks, BATCH // (8 if args.quick else 1), rounds)),
        ("two stages", partial(_two_stages, n // 40, n // 4, args.threads)),
    ]
    wanted = args.regimes.split(",") if args.regimes else [""]
    return Group("Pools in many files", _NOTE, [(name, run) for name, run in parts if any(x in name for x in wanted)])


def _made(n: int) -> Any:
    data = regimes.flickr8k()
    return None if data is None else regimes.resampled(data, min(n, DRAWN), N_TXT)


def _rows(made: Any, i: int, rows: int) -> Array:
    """Those of shard i: the drawn ones, again and again."""
    return np.take(made.img, np.arange(i * rows, (i + 1) * rows), axis=0, mode="wrap").astype(np.float16)


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


@contextlib.contextmanager
def _growth() -> Iterator[list[int]]:
    """How much more anonymous memory there is, seen every 5 ms."""
    before, done, seen = anonymous_memory("self"), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(anonymous_memory("self") - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


# ---- Files -----------------------------------------------------------------------------------------------------------


def _files(way: str, n: int, n_threads: int, rounds: int) -> list[Row]:
    """One way a time: the files of all would not stay in the page cache."""
    made = _made(n)
    if made is None:
        return [{"task": regimes.NO_FLICKR8K}]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = np.lib.format.open_memmap(folder / "all.npy", "w+", np.float16, (n, made.txt.shape[1]))
        (folder / "pool").mkdir()
        for i in range(SHARDS):
            rows = _rows(made, i, n // SHARDS)
            whole[i * n // SHARDS : (i + 1) * n // SHARDS] = rows
            WAYS[way](folder / f"pool/{i:04d}", i, rows)
        del whole
        os.sync()
        took: dict[str, list[float]] = {"one .npy": [], way: []}
        grown = 0
        for _ in range(rounds):
            for source in took:
                say(f"{n:,} rows from {source}")
                shutil.rmtree(folder / "out", ignore_errors=True)
                with _growth() as seen:
                    began = time.perf_counter()
                    _scored(folder, source == way, made, n_threads)
                    took[source].append(time.perf_counter() - began)
                grown = max(seen)
    one, many = (median(seconds) for seconds in took.values())
    return [
        {
            "task": f"{n:,} rows from {SHARDS} {way}",
            "time": _spread(took[way]),
            "rows/s": f"{n / many:,.0f}",
            "share": f"{one / many:.0%} of one .npy's rate, {n / one:,.0f} rows/s",
            "growth": f"{grown / 2**20:.0f} MiB",
        }
    ]


def _scored(folder: Path, of_shards: bool, made: Any, n_threads: int) -> None:
    given: dict[str, Any] = {"reference": made.similar, "n_threads": n_threads}
    if not of_shards:
        hnscore.score(np.load(folder / "all.npy", mmap_mode="r"), made.txt, MARGIN, **given)
        return
    ids = "id" if next((folder / "pool").iterdir()).suffix == ".parquet" else None
    pool = hnscore.dataset(folder / "pool", ids=ids)
    hnscore.shards.score(pool, made.txt, MARGIN, output=folder / "out", show_progress_bar=False, **given)


def _write_npy(path: Path, i: int, rows: Array) -> None:
    np.save(f"{path}.npy", rows)


def _write_parquet(path: Path, i: int, rows: Array, dictionary: bool = True, nulls: bool = True) -> None:
    """As pyarrow writes a table, with a dictionary of the values, which are few in float16, and a mark for each value
    whether it is null; or without."""
    pa, pq = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    ids = pa.array([f"{i:04d}/{j:06d}" for j in range(len(rows))])
    values = pa.array(rows.ravel())
    kind = pa.list_(pa.field("element", values.type, nullable=nulls), rows.shape[1])
    schema = pa.schema([pa.field("id", ids.type), pa.field("emb", kind, nullable=nulls)])
    emb = pa.FixedSizeListArray.from_arrays(values, type=kind)
    pq.write_table(
        pa.table([ids, emb], schema=schema), f"{path}.parquet", row_group_size=16384, use_dictionary=dictionary
    )


WAYS: dict[str, Callable[[Path, int, Array], None]] = {
    ".npy shards": _write_npy,
    "Parquet shards, ids": _write_parquet,
    "Parquet shards, ids, no dictionary": partial(_write_parquet, dictionary=False),
    "Parquet shards, ids, no dictionary, not null": partial(_write_parquet, dictionary=False, nulls=False),
}


def _shards(n: int, sizes: tuple[int, ...], n_threads: int, rounds: int) -> list[Row]:
    made = _made(n)
    if made is None:
        return [{"task": regimes.NO_FLICKR8K}]
    found: list[Row] = []
    least = 0.0
    for count in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "pool").mkdir()
            for i in range(count):
                np.save(folder / f"pool/{i:04d}.npy", _rows(made, i, n // count))
            took = []
            for _ in range(rounds):
                say(f"{n:,} rows in {count} shards")
                shutil.rmtree(folder / "out", ignore_errors=True)
                began = time.perf_counter()
                hnscore.shards.score(
                    hnscore.dataset(folder / "pool"), made.txt, MARGIN, reference=made.similar, output=folder / "out",
                    n_threads=n_threads, show_progress_bar=False,
                )  # fmt: skip
                took.append(time.perf_counter() - began)
        least = least or median(took)
        more = f"{1e3 * (median(took) - least) / max(count - 1, 1):.1f} ms" if count > 1 else ""
        found.append({"task": f"{n:,} rows in {count:,} .npy shards", "time": _spread(took), "a shard more": more})
    return found


# ---- Processes -------------------------------------------------------------------------------------------------------


def _on_ray(n: int, rounds: int) -> list[Row]:
    made = _made(n)
    if made is None or not importlib.util.find_spec("ray"):
        return [{"task": "needs ray and HNSCORE_DATA"}]
    ray = importlib.import_module("ray")
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    rates: dict[str, list[float]] = {"threads": [], "ray": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pool").mkdir()
        for i in range(SHARDS):
            np.save(folder / f"pool/{i:04d}.npy", _rows(made, i, n // SHARDS))
        whole = hnscore.dataset(folder / "pool")
        part = hnscore.dataset([shard.location.path for shard in whole.shards[: SHARDS // 8]])
        for _ in range(rounds):
            for engine in rates:
                seconds = []
                for pool in (part, whole):
                    say(f"{len(pool):,} rows by {engine}")
                    shutil.rmtree(folder / "out", ignore_errors=True)
                    began = time.perf_counter()
                    options: dict[str, Any] = {"n_workers": 2, "n_threads": 1} if engine == "ray" else {"n_threads": 2}
                    hnscore.shards.score(
                        pool, made.txt, MARGIN, reference=made.similar, output=folder / "out", engine=engine,
                        show_progress_bar=False, **options,
                    )  # fmt: skip
                    seconds.append(time.perf_counter() - began)
                rates[engine].append((len(whole) - len(part)) / (seconds[1] - seconds[0]))
    ray.shutdown()
    return [
        {
            "task": f"{n:,} rows by {engine}, once started",
            "rows/s": f"{median(found):,.0f} ({min(found):,.0f} to {max(found):,.0f})",
            "share": f"{median(found) / median(rates['threads']):.0%} of threads",
        }
        for engine, found in rates.items()
    ]


_RANK = """
import os, sys, time, numpy as np, torch, torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from comparisons import regimes
from hnscore import distributed
rank, world, batch, rounds = map(int, sys.argv[2:6])
torch.set_num_threads(1)
dist.init_process_group("gloo", rank=rank, world_size=world)
data = regimes.flickr8k()
made = regimes.resampled(data, 1, batch)
mine = slice(rank * batch // world, (rank + 1) * batch // world)
txt = torch.from_numpy(np.ascontiguousarray(made.txt[mine]))
noise = torch.randn(txt.shape, generator=torch.Generator().manual_seed(rank)) / txt.shape[1] ** 0.5
img = torch.nn.functional.normalize(txt + 0.7 * noise)
for i in range(rounds + 1):
    dist.barrier()
    began = time.perf_counter()
    distributed.score(img, txt, 0.2, reference="paired", n_threads=1, method=sys.argv[6])
    dist.barrier()
    if rank == 0 and i:
        print(time.perf_counter() - began, flush=True)
"""


def _on_ranks(batch: int, rounds: int) -> list[Row]:
    if regimes.flickr8k() is None:
        return [{"task": regimes.NO_FLICKR8K}]
    return [row for method in ("dense", "cascade") for row in _ranks(method, batch, rounds)]


def _ranks(method: str, batch: int, rounds: int) -> list[Row]:
    took = {}
    for world in (1, 2):
        say(f"{world} ranks, {method}")
        here = str(Path(__file__).parents[1])
        env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29_500 + world), "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-c", _RANK, here]
        ranks = [
            subprocess.Popen(
                [*line, *map(str, (rank, world, batch, rounds, method))], env=env, stdout=subprocess.PIPE, text=True
            )
            for rank in range(world)
        ]
        said = [process.communicate()[0] for process in ranks]
        took[world] = [float(x) for x in said[0].split()]
    return [
        {
            "task": f"distributed.score, {method}, batch {batch:,}, {world} gloo rank{'s' * (world > 1)} of a thread",
            "time": _spread(seconds),
            "share": f"{median(took[1]) / median(seconds):.2f} x one rank",
        }
        for world, seconds in took.items()
    ]


# ---- Selection -------------------------------------------------------------------------------------------------------


def _two_stages(n: int, large: int, n_threads: int) -> list[Row]:
    data = regimes.flickr8k()
    if data is None:
        return [{"task": regimes.NO_FLICKR8K}]
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        emb = growth.pool(data.all_txt, large)
        for i in range(10):
            np.save(f"{name}/{i}.npy", emb[i * large // 10 : (i + 1) * large // 10])
            np.save(f"{name}/{i}.part.npy", emb[i * n // 10 : (i + 1) * n // 10])
        part = hnscore.dataset(f"{name}/*.part.npy")
        for method, budget in (("coverage", 100), ("herding", 100), ("core_set", 100)):
            say(f"{budget} of {n:,} by {method}")
            began = time.perf_counter()
            two = hnscore.shards.select(part, budget, method=method, partition_rows=n // 10, n_threads=n_threads)
            seconds = time.perf_counter() - began
            began = time.perf_counter()
            one = _central(emb[:n], budget, method, n_threads)
            central = time.perf_counter() - began
            reached = [_reached(emb[:n], rows, method) for rows in (two.rows, one)]
            ratio = reached[0] / reached[1]
            found.append(
                {
                    "task": f"{budget} of {n:,} by {method}, in 10 partitions",
                    "time": f"{seconds:.1f} s (one greedy: {central:.1f} s)",
                    "objective": f"{reached[0]:.4f}, {ratio:.1%} of one greedy",
                }
            )
        say(f"100 of {large:,} by coverage")
        began = time.perf_counter()
        whole = hnscore.dataset([f"{name}/{i}.npy" for i in range(10)])
        two = hnscore.shards.select(whole, 100, n_threads=n_threads)
        seconds = time.perf_counter() - began
    found.append(
        {
            "task": f"100 of {large:,} by coverage, in partitions of 100,000",
            "time": f"{seconds:.1f} s",
            "objective": f"{two.objective:.4f} over 10,000 rows",
        }
    )
    return found


def _central(emb: Array, budget: int, method: str, n_threads: int) -> Any:
    if method == "core_set":
        return hnscore.core_set(emb, budget, n_threads=n_threads)
    select: Any = hnscore.select
    options = {"method": method, "temperature": 0.4, "random_state": 0, "n_threads": n_threads}
    return select(None, budget, embeddings=emb, **options)


def _reached(emb: Array, rows: Any, method: str) -> float:
    """Of all rows: the mean largest kernel with a pick, or the largest distance to one."""
    unit = emb.astype(np.float32) / np.linalg.norm(emb.astype(np.float32), axis=1, keepdims=True)
    near = (unit @ unit[rows].T).max(axis=1)
    return float((1 - near).max() if method == "core_set" else np.exp((near.astype(np.float64) - 1) / 0.4).mean())
