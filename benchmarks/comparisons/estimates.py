"""What `hnscore.estimate` says, beside what then happens."""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from comparisons import regimes
from hnscore.bench import workloads
from hnscore.bench.report import Group, Row

_ROUNDS = 5


def estimates(args: argparse.Namespace) -> Group:
    """Dense calls of normals, whose time depends on the sizes alone; and embeddings, which a cascade serves."""
    sizes = [(args.n_img, args.n_txt, dim) for dim in (args.dim, 128, 1024)]
    sizes += [(8 * args.n_img, 1000, args.dim), (1000, 8 * args.n_txt, args.dim), (5932, 3295, args.dim)]

    def dense(n_img: int, n_txt: int, dim: int) -> Callable[[], list[Row]]:
        def measure() -> list[Row]:
            workload = workloads.gaussian(n_img, n_txt, dim)
            row: Row = {"n_img x n_txt x dim": workload.name}
            for precision in ("exact", "fp32", "bf16"):
                options = {"precision": precision, "method": "dense", "n_threads": args.threads}
                expected = hnscore.estimate(n_img, n_txt, dim, **options).seconds
                row |= _beside(precision, expected, workload.img, workload.txt, workload.reference, **options)
            return [row]

        return measure

    def cascade(n_img: int | None, n_txt: int, margin: float) -> Callable[[], list[Row]]:
        def measure() -> list[Row]:
            data = regimes.flickr8k()
            if data is None:
                return [{"n_img x n_txt x dim": regimes.NO_FLICKR8K}]
            regime = regimes.own_images(data) if n_img is None else regimes.resampled(data, n_img, n_txt)
            call = {"margin": margin, "n_threads": args.threads}
            counts = hnscore.score(regime.img, regime.txt, reference=regime.similar, weight="count", **call)
            share = float(counts.sum()) / (len(regime.img) * len(regime.txt))
            expected = hnscore.estimate(*regime.shape, share=share, n_threads=args.threads).seconds
            name = f"Flickr8k {' x '.join(map(str, regime.shape))}, margin {margin:g}: {share:.2%} of the pairs"
            row: Row = {"n_img x n_txt x dim": name}
            return [row | _beside("exact", expected, regime.img, regime.txt, regime.similar, **call)]

        return measure

    parts = [("estimate " + " x ".join(map(str, size)), dense(*size)) for size in sizes]
    rounds: list[tuple[int | None, int]] = [(None, 0), (60_000, 10_000)]  # None: the real round
    if not args.quick:
        rounds.append((200_000, 20_000))
    for n_img, n_txt in rounds:
        for margin in (0.2, 0.05):
            parts.append((f"estimate Flickr8k {n_img} {n_txt} {margin}", cascade(n_img, n_txt, margin)))
    return Group("Estimates", f"Median of {_ROUNDS} calls after one; in brackets the range of the ratios.", parts)


def _beside(name: str, expected: float, img: Any, txt: Any, reference: NDArray[np.float64], **options: Any) -> Row:
    seconds = []
    for _ in range(_ROUNDS + 1):
        begun = time.perf_counter()
        hnscore.score(img, txt, reference=reference, **options)
        seconds.append(time.perf_counter() - begun)
    ratios = np.divide(expected, seconds[1:])
    return {
        name: f"{median(seconds[1:]):.3f} s",
        f"{name}: expected": f"{expected:.3f} s",
        f"{name}: expected / measured": f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    }
