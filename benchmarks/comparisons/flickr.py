"""A real round of Flickr8k."""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

import hnscore
from comparisons import regimes
from hnscore.bench.measure import best, compare
from hnscore.bench.method import PEER, Method, Run
from hnscore.bench.methods import affordable
from hnscore.bench.report import Group, Row, say, seconds
from hnscore.bench.table import TIME_NOTE, label, ratios
from hnscore.bench.workloads import MARGIN, Workload


def flickr(args: argparse.Namespace) -> Group:
    note = (
        "Pool: the images without captions after the first round; texts: the captions of the training images; "
        f"reference: their own images; margin {MARGIN}. hnscore reads float16 and computes the references inside its "
        f"time; torch gets float32 unit vectors and thresholds. {TIME_NOTE}"
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
                "method": label(result),
                "time": seconds(result.seconds, result.median),
                **ratios(result, chosen),
                "rows that differ from float64": str(np.count_nonzero(off)) if right is truth["count"] else "",
                "largest error / largest score": f"{off.max() / right.max():.1e}",
            }
        )
    sizes = f"{len(pool)} x {len(txt)}, {100 * (gap > 0).mean():.2f} % of the pairs count, nearest gap {nearest:.0e}"
    return [*rows, {"method": sizes}]


def _unit(emb: Any) -> Any:
    emb = emb.astype(np.float64)
    return emb / np.linalg.norm(emb, axis=1, keepdims=True)
