"""The main table: every method on one workload, in one run. Returned in parts; a part is measured in one go."""

import argparse
from statistics import median
from typing import Literal

from hnscore import _core
from hnscore.bench import workloads
from hnscore.bench.measure import TRUTH_ROWS, Result, best, compare, ratio
from hnscore.bench.method import PEER, TUNED
from hnscore.bench.methods import affordable
from hnscore.bench.report import Group, Row, mebibytes, percent, say, seconds
from hnscore.bench.workloads import MARGIN, Workload

KINDS: tuple[Literal["bf16", "int8"], ...] = ("bf16", "int8")

TIME_NOTE = (
    "Median time of interleaved rounds (fastest to slowest). Peers: the best of their settings, in brackets; inputs "
    "are converted and indexes filled before the clock starts. torch: the chunked product as it is usually written; "
    "tuned: all we know to help, buffers that stay and the threshold inside the product."
)


def label(result: Result) -> str:
    setting, part = result.method.setting, result.method.rows
    notes = [note for note in (setting, f"timed on {part} images" if part else "") if note]
    return f"{result.method.name} [{', '.join(notes)}]" if notes else result.method.name


def ratios(result: Result, chosen: list[Result]) -> Row:
    """How many times faster than each of the two torch rows."""
    peers = [peer for peer in (find(chosen, PEER), find(chosen, TUNED)) if peer]
    return {f"x {peer.method.name}": f"{ratio(peer, result):.2f}" for peer in peers}


def find(results: list[Result], name: str) -> Result | None:
    return next((r for r in results if r.method.name == name and r.seconds), None)


def table(args: argparse.Namespace) -> Group:
    only = tuple(args.only.split(",")) if args.only else ()
    title = f"{args.n_img} x {args.n_txt}, dim {args.dim}"
    note = (
        f"{TIME_NOTE} Unit vectors of independent normals; 1 % of the pairs count (margin {MARGIN}, one fixed "
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
        "method": label(result),
        "time": seconds(result.seconds, result.median),
        "GFLOP/s": f"{workload.flops / result.median / 1e9:.0f}",
        "of peak": percent(median(rate / peak for rate, peak in zip(rates, peaks, strict=True))),
        **ratios(result, chosen),
        "error": "—" if result.error is None else f"{result.error:.1e}",
        "memory": mebibytes(result.memory),
    }
