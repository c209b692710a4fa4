"""Other dims, long and wide shapes, and one image with one text, beside torch."""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from hnscore.bench import workloads
from hnscore.bench.measure import best, compare
from hnscore.bench.method import PEER, Run
from hnscore.bench.methods import affordable, set_threads
from hnscore.bench.report import Group, Row, say
from hnscore.bench.table import TIME_NOTE, ratios


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
                    row |= {f"{name} {key}": value for key, value in ratios(result, chosen).items()}
            return [row]

        return measure

    note = f"{TIME_NOTE} Hinge sums; x: median of the ratios within each round."
    return Group("Other shapes", note, [("shape " + " x ".join(map(str, size)), part(*size)) for size in sizes])


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
