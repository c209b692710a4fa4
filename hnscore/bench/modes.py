"""The comparisons of ``hnscore bench``. Each returns its table in parts; a part is measured in one go."""

import argparse
import importlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

import hnscore
from hnscore import _core
from hnscore.bench import regimes, workloads
from hnscore.bench.cascade import cascade as cascade
from hnscore.bench.density import density as density
from hnscore.bench.measure import TRUTH_ROWS, Result, best, compare, growth_in_child, ratio
from hnscore.bench.methods import PEER, TUNED, Method, Run, affordable, set_threads
from hnscore.bench.report import Group, Row, elsewhere, mebibytes, percent, say, seconds
from hnscore.bench.selection import select as select
from hnscore.bench.workloads import MARGIN, Workload

MEMORY_TEXTS = 20_000
MEMORY_DIM = 512
KINDS: tuple[Literal["bf16", "int8"], ...] = ("bf16", "int8")

_TIME_NOTE = (
    "Median time of interleaved rounds (fastest to slowest). Peers: the best of their settings, in brackets; inputs "
    "are converted and indexes filled before the clock starts. torch: the chunked product as it is usually written; "
    "tuned: all we know to help, buffers that stay and the threshold inside the product."
)


def _label(result: Result) -> str:
    setting, part = result.method.setting, result.method.rows
    notes = [note for note in (setting, f"timed on {part} images" if part else "") if note]
    return f"{result.method.name} [{', '.join(notes)}]" if notes else result.method.name


def _ratios(result: Result, chosen: list[Result]) -> Row:
    """How many times faster than each of the two torch rows."""
    peers = [peer for peer in (_find(chosen, PEER), _find(chosen, TUNED)) if peer]
    return {f"x {peer.method.name}": f"{ratio(peer, result):.2f}" for peer in peers}


def _find(results: list[Result], name: str) -> Result | None:
    return next((r for r in results if r.method.name == name and r.seconds), None)


# ---- The table -------------------------------------------------------------------------------------------------------


def table(args: argparse.Namespace) -> Group:
    only = tuple(args.only.split(",")) if args.only else ()
    title = f"{args.n_img} x {args.n_txt}, dim {args.dim}"
    note = (
        f"{_TIME_NOTE} Unit vectors of independent normals; 1 % of the pairs count (margin {MARGIN}, one fixed "
        "reference). GFLOP/s = 2 n_img n_txt dim / time. Peak: single-precision multiply-adds, measured in every "
        f"round; bf16 instructions do twice that. x: median of the ratios within each round. Error: largest of "
        f"{TRUTH_ROWS} rows, relative to the float64 score. Memory: growth of anonymous memory during one call in a "
        "fresh child, buffers and indexes included."
    )

    def measure() -> list[Row]:
        workload = workloads.gaussian(args.n_img, args.n_txt, args.dim)
        peaks: list[float] = []
        chosen = best(
            compare(
                workload,
                affordable(args.n_img, args.n_txt, only),
                args.threads,
                args.rounds,
                say=say,
                each_round=lambda: peaks.append(_core.peak(0.3, args.threads)),
            )
        )
        rows = [_row(workload, result, peaks, chosen) for result in chosen]
        fp32 = median(peaks)
        rows.append({"method": "peak of fp32 multiply-adds", "GFLOP/s": f"{fp32 / 1e9:.0f}", "of peak": "100 %"})
        for kind in KINDS:
            rate = _core.peak(0.3, args.threads, kind)
            if rate:
                name = f"peak of {kind} products"
                rows.append({"method": name, "GFLOP/s": f"{rate / 1e9:.0f}", "of peak": percent(rate / fp32)})
        return rows

    return Group(title, note, [(f"table {title}", measure)])


def _row(workload: Workload, result: Result, peaks: list[float], chosen: list[Result]) -> Row:
    if result.failure:
        return {"method": result.method.name, "time": result.failure}
    rates = [workload.flops / t for t in result.seconds]
    return {
        "method": _label(result),
        "time": seconds(result.seconds, result.median),
        "GFLOP/s": f"{workload.flops / result.median / 1e9:.0f}",
        "of peak": percent(median(rate / peak for rate, peak in zip(rates, peaks, strict=True))),
        **_ratios(result, chosen),
        "error": "—" if result.error is None else f"{result.error:.1e}",
        "memory": mebibytes(result.memory),
    }


# ---- Other shapes ----------------------------------------------------------------------------------------------------


def shapes(args: argparse.Namespace) -> Group:
    long = 100_000 if args.quick else 1_000_000
    sizes = [(args.n_img, args.n_txt, dim) for dim in (128, 256, 300, 768, 1024)]
    sizes += [(long, 1000, args.dim), (1000, long, args.dim)]

    def part(n_img: int, n_txt: int, dim: int) -> Callable[[], list[Row]]:
        def measure() -> list[Row]:
            workload = workloads.gaussian(n_img, n_txt, dim)
            some = [m for m in affordable(n_img, n_txt, ("hnscore", PEER)) if m.weight == "hinge"]
            chosen = best(compare(workload, some, args.threads, args.rounds, with_memory=False, say=say))
            row = {"n_img x n_txt x dim": workload.name}
            for result in chosen:
                name = result.method.name.removesuffix(" hinge")
                row[name] = result.failure or f"{result.median:.3f} s"
                if result.method.package == "hnscore" and not result.failure:
                    row |= {f"{name} {key}": value for key, value in _ratios(result, chosen).items()}
            return [row]

        return measure

    note = f"{_TIME_NOTE} Hinge sums; x: median of the ratios within each round."
    return Group("Other shapes", note, [("shape " + " x ".join(map(str, size)), part(*size)) for size in sizes])


# ---- One image, one text ---------------------------------------------------------------------------------------------


def latency(args: argparse.Namespace) -> Group:
    calls = 500 if args.quick else 5000

    def measure() -> list[Row]:
        names = ("hnscore exact hinge", "hnscore fp32 hinge", "hnscore bf16 hinge", PEER, "NumPy")
        set_threads(args.threads)
        workload = workloads.gaussian(1, 1, args.dim)
        rows = []
        for method in affordable(1, 1, names):
            if method.installed:
                run = method.build(*method.inputs(workload), args.threads)
                times = [_timed(run) for _ in range(calls)]
                rows.append(
                    {
                        "method": method.name,
                        "median": f"{1e6 * median(times):.1f} µs",
                        "90 % within": f"{1e6 * float(np.quantile(times, 0.9)):.1f} µs",
                    }
                )
        return rows

    return Group(
        "One image and one text",
        f"{calls} calls from Python, dim {args.dim}. The peers check and normalise nothing and keep their buffers.",
        [(f"latency {args.dim} {calls}", measure)],
    )


def _timed(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


# ---- A pool on disk --------------------------------------------------------------------------------------------------


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


# ---- Older processors ------------------------------------------------------------------------------------------------


def haswell(args: argparse.Namespace) -> Group:
    """In a process of its own: both switches are read when the libraries are loaded."""

    def measure() -> list[Row]:
        if os.environ.get("OPENBLAS_CORETYPE") != "Haswell":
            sizes = [f"--n-img={args.n_img}", f"--n-txt={args.n_txt}", f"--dim={args.dim}"]
            return elsewhere(args, ["--haswell", *sizes], {"HNSCORE_TARGET": "avx2", "OPENBLAS_CORETYPE": "Haswell"})
        workload = workloads.gaussian(args.n_img, args.n_txt, args.dim)
        some = affordable(args.n_img, args.n_txt, ("hnscore exact hinge", "hnscore fp32 hinge", "NumPy"))
        peaks: list[float] = []
        chosen = best(
            compare(
                workload,
                some,
                args.threads,
                args.rounds,
                with_memory=False,
                say=say,
                each_round=lambda: peaks.append(_core.peak(0.3, args.threads)),
            )
        )
        peer = _find(chosen, "NumPy fp32")
        return [
            {
                "method": _label(result),
                "time": seconds(result.seconds, result.median),
                "GFLOP/s": f"{workload.flops / result.median / 1e9:.0f}",
                "of avx2 peak": percent(
                    median(workload.flops / t / peak for t, peak in zip(result.seconds, peaks, strict=True))
                ),
                "x NumPy": f"{ratio(peer, result):.2f}" if peer else "",
                "target or kernels": _core.config()["target"] if "hnscore" in result.method.name else _blas(),
            }
            for result in chosen
        ]

    title = f"Held to AVX2: {args.n_img} x {args.n_txt}, dim {args.dim}"
    note = f"HNSCORE_TARGET=avx2 beside NumPy under OPENBLAS_CORETYPE=Haswell. {_TIME_NOTE}"
    return Group(title, note, [(f"haswell {args.n_img} x {args.n_txt} x {args.dim}", measure)])


def _blas() -> str:
    if not find_spec("threadpoolctl"):
        return "threadpoolctl not installed"
    info = importlib.import_module("threadpoolctl").threadpool_info()
    pools = [pool for pool in info if pool["internal_api"] == "openblas"]
    return f"OpenBLAS {pools[0].get('architecture')}" if pools else "no OpenBLAS"


# ---- Real data -------------------------------------------------------------------------------------------------------


def flickr(args: argparse.Namespace) -> Group:
    note = (
        "Pool: the images without captions after the first round; texts: the captions of the training images; "
        f"reference: their own images; margin {MARGIN}. hnscore reads float16 and computes the references inside its "
        f"time; torch gets float32 unit vectors and thresholds. {_TIME_NOTE}"
    )
    return Group("Flickr8k, first round", note, [("flickr", lambda: _flickr(args))])


def _flickr(args: argparse.Namespace) -> list[Row]:
    data = regimes.flickr8k()
    if data is None:
        return [{"method": regimes.NO_FLICKR8K}]
    pool, txt, own = data.pool, data.txt, data.own
    workload = Workload("flickr", _unit(pool), _unit(txt), (_unit(own) * _unit(txt)).sum(axis=1))
    workload = replace(workload, img=workload.img.astype(np.float32), txt=workload.txt.astype(np.float32))
    gap = _unit(pool) @ _unit(txt).T - (workload.reference - MARGIN)
    truth = {"count": (gap > 0).sum(axis=1), "hinge": np.maximum(gap, 0).sum(axis=1)}
    nearest = float(np.abs(gap).min())  # far above 1e-15: no rounding of float64 decides about a pair

    def ours(weight: str, precision: str) -> Method:
        def build(pool: Any, txt: Any, own: Any, n_threads: int) -> Run:
            options: dict[str, Any] = {"weight": weight, "precision": precision, "n_threads": n_threads}
            return lambda: hnscore.score(pool, txt, MARGIN, reference=own, method="dense", **options)

        return Method(f"hnscore {precision} {weight}", "", "hnscore", lambda _: (pool, txt, own), build, weight)

    some = [ours(weight, precision) for weight in truth for precision in ("exact", "fp32", "bf16")]
    some = [replace(m, weight=None) for m in (*some, *affordable(len(pool), len(txt), (PEER,)))]
    chosen = best(compare(workload, some, args.threads, args.rounds, with_memory=False, say=say))
    rows = []
    for result in chosen:
        if result.failure:
            rows.append({"method": result.method.name, "time": result.failure})
            continue
        right = truth["count" if result.method.name.endswith("count") else "hinge"]
        off = np.abs(np.asarray(result.scores, np.float64) - right)
        rows.append(
            {
                "method": _label(result),
                "time": seconds(result.seconds, result.median),
                **_ratios(result, chosen),
                "rows that differ from float64": str(np.count_nonzero(off)) if right is truth["count"] else "",
                "largest error / largest score": f"{off.max() / right.max():.1e}",
            }
        )
    sizes = f"{len(pool)} x {len(txt)}, {100 * (gap > 0).mean():.2f} % of the pairs count, nearest gap {nearest:.0e}"
    return [*rows, {"method": sizes}]


def _unit(emb: Any) -> Any:
    emb = emb.astype(np.float64)
    return emb / np.linalg.norm(emb, axis=1, keepdims=True)
