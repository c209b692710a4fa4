"""hnscore held to AVX2 beside NumPy held to OpenBLAS's kernels of that time."""

import argparse
import importlib
import os
from importlib.util import find_spec
from statistics import median

from comparisons.elsewhere import elsewhere
from hnscore import _core
from hnscore.bench import workloads
from hnscore.bench.measure import best, compare, ratio
from hnscore.bench.methods import affordable
from hnscore.bench.report import Group, Row, percent, say, seconds
from hnscore.bench.table import TIME_NOTE, find, label


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
        peer = find(chosen, "NumPy fp32")
        return [
            {
                "method": label(result),
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
    note = f"HNSCORE_TARGET=avx2 beside NumPy under OPENBLAS_CORETYPE=Haswell. {TIME_NOTE}"
    return Group(title, note, [(f"haswell {args.n_img} x {args.n_txt} x {args.dim}", measure)])


def _blas() -> str:
    if not find_spec("threadpoolctl"):
        return "threadpoolctl not installed"
    info = importlib.import_module("threadpoolctl").threadpool_info()
    pools = [pool for pool in info if pool["internal_api"] == "openblas"]
    return f"OpenBLAS {pools[0].get('architecture')}" if pools else "no OpenBLAS"
