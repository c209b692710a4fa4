"""What `hnscore.estimate` and `hnscore score` say, beside what then happens."""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

import hnscore
from hnscore.bench import workloads
from hnscore.bench.report import Group, Row

_ROUNDS = 5


def estimates(args: argparse.Namespace) -> Group:
    """Dense calls of normals, whose time depends on the sizes alone."""
    sizes = [(args.n_img, args.n_txt, dim) for dim in (args.dim, 128, 1024)]
    sizes += [(8 * args.n_img, 1000, args.dim), (1000, 8 * args.n_txt, args.dim), (5932, 3295, args.dim)]

    def part(n_img: int, n_txt: int, dim: int) -> Callable[[], list[Row]]:
        def measure() -> list[Row]:
            workload = workloads.gaussian(n_img, n_txt, dim)
            row: Row = {"n_img x n_txt x dim": workload.name}
            for precision in ("exact", "fp32", "bf16"):
                options = {"precision": precision, "method": "dense", "n_threads": args.threads}
                expected = hnscore.estimate(n_img, n_txt, dim, **options).seconds
                seconds = []
                for _ in range(_ROUNDS + 1):
                    begun = time.perf_counter()
                    hnscore.score(workload.img, workload.txt, reference=workload.reference, **options)
                    seconds.append(time.perf_counter() - begun)
                ratios = np.divide(expected, seconds[1:])
                row[precision] = f"{median(seconds[1:]):.3f} s"
                row[f"{precision}: expected"] = f"{expected:.3f} s"
                row[f"{precision}: expected / measured"] = (
                    f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                )
            return [row]

        return measure

    note = f"Median of {_ROUNDS} calls after one; in brackets the range of the ratios."
    return Group("Estimates", note, [("estimate " + " x ".join(map(str, size)), part(*size)) for size in sizes])
