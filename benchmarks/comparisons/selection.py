"""Selections beside what people use for them: k-center greedy, repulsion, coverage; and informativeness of pairs."""

import argparse
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from comparisons import informativeness_methods
from comparisons.elsewhere import elsewhere
from comparisons.selection_methods import (
    READ,
    TEMPERATURE,
    Picks,
    core_set_methods,
    coverage_methods,
    engine_pass,
    kernel,
    read_methods,
    repulsive_method,
)
from hnscore import _core
from hnscore.bench import workloads
from hnscore.bench.measure import PAUSE, Result, best, compare, memory_growth, ratio
from hnscore.bench.method import Method
from hnscore.bench.report import Group, Row, mebibytes, say, seconds
from hnscore.bench.workloads import Array, Workload

_ALONE = "HNSCORE_BENCH_ALONE"
COLUMNS = 300  # of the pass of the engine that is the measure of the repulsive selection

_NOTE = (
    "Median time of interleaved rounds (fastest to slowest). Peers: the best of their settings, in brackets. x: the "
    "time in units of hnscore's, the median of the ratios within each round. Clustered: 500 rows a cluster, each off "
    "its centre by a normal of norm 0 to 1. All get unit rows; hnscore normalises none the less. core_set: row 0 is "
    "labeled; radius: the largest 1 - cosine that the picks leave. NumPy and scikit-learn: a pick is the distances of "
    "all rows to the last one and a minimum, as in published code; torch cdist: the same in torch; torch tuned: one "
    "product with a vector, and a maximum in place. A read: all bytes of the pool once, by the fastest of torch's and "
    "NumPy's ways. repulsive: float16 rows; scores skewed, those of a cluster alike; a pass of the engine: all rows "
    f"against {COLUMNS}. coverage: kernel exp((s - 1) / {TEMPERATURE}), computed inside every time; peers get float64. "
    "informativeness: 7 draws a side; the setting of torch is chosen on a tenth of the pairs; memory: growth of "
    "anonymous memory during one call in a fresh child, of torch on that tenth, its three outputs not counted."
)


def select(args: argparse.Namespace) -> Group:
    parts = _parts(args)
    if args.regimes:
        names = args.regimes.split(",")
        kept = {key: measure for key, measure in parts.items() if any(name in key for name in names)}
        if not kept:
            raise ValueError(f"--regimes {args.regimes}: no part has it; there are {list(parts)}")
        parts = kept
    return Group("Selections", _NOTE, list(parts.items()))


def _parts(args: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    quick = args.quick
    pairs = 10_000 if quick else 100_000
    far = (20_000, 512, 200) if quick else (100_000, 512, 1000)  # rows, dim, picks
    apart = (50_000, 512, 500) if quick else (1_000_000, 512, 10_000)
    near = (1500, 128, 100) if quick else (5000, 128, 500)
    parts: dict[str, Callable[[], list[Row]]] = {f"informativeness {pairs}": partial(_alone, args, pairs)}
    for kind in ("normals", "clustered"):
        parts[f"core_set {far} {kind}"] = partial(core_set, kind, *far, args.threads, min(args.rounds, 3))
    parts[f"repulsive {apart}"] = partial(repulsive, *apart, args.threads)
    for kind in ("normals", "clustered"):
        parts[f"coverage {near} {kind}"] = partial(coverage, kind, *near, args.threads, min(args.rounds, 2))
    return parts


def _alone(args: argparse.Namespace, n: int) -> list[Row]:
    """In a process of its own: forked after torch has had threads, a child whose memory is watched may hang."""
    if not os.environ.get(_ALONE):
        quick = ["--quick"] if args.quick else []
        return elsewhere(args, ["--select", "--regimes=informativeness", *quick], {_ALONE: "1"})
    return informative(n, 512, args.threads, min(args.rounds, 3))


# ---- Informativeness -------------------------------------------------------------------------------------------------


def informative(n: int, dim: int, n_threads: int, rounds: int, *, with_memory: bool = True) -> list[Row]:
    task = f"informativeness of {n:,} pairs, dim {dim}"
    given = informativeness_methods.pairs(n, dim)
    workload = Workload(task, given[0], given[2], np.zeros(n))
    ours, peers = informativeness_methods.methods(given)
    memory = {m.name: memory_growth(m, workload, n_threads) if with_memory else None for m in ours}
    tenth = workload.head(-(-n // 10))
    (trial,) = best(_compared(tenth, peers, n_threads, 1, with_memory=with_memory))
    memory[trial.method.name] = trial.memory
    results = _compared(workload, [*ours, trial.method], n_threads, rounds)
    sampled = _ours(results)
    rows = []
    for result in results:
        row = _row(task, result, sampled) | {"memory": mebibytes(memory[result.method.name])}
        if result is not sampled and not result.failure:
            off = np.abs(result.scores - sampled.scores).mean()
            row["check"] = f"match probability within {off:.1e} of the sampled, in the mean"
        rows.append(row)
    return rows


# ---- k-center greedy -------------------------------------------------------------------------------------------------


def core_set(kind: str, n: int, dim: int, budget: int, n_threads: int, rounds: int) -> list[Row]:
    task = f"core_set {budget:,} of {n:,}, dim {dim}, {kind}"
    workload = _made(kind, n, dim)
    some = [*core_set_methods(budget, max(budget // 20, 1)), *read_methods()]
    results = best(_compared(workload, some, n_threads, rounds))
    ours, read = _ours(results), next(r for r in results if r.method.name == READ)
    rows = []
    for result in results:
        row = _row(task, result, ours)
        if result is read:
            row["reads"] = f"1, {workload.img.nbytes / read.median / 1e9:.1f} GB/s"
        elif not result.failure:
            row["reads"] = f"{result.median / budget / read.median:.2f} a pick"
            row["check"] = _same(result.scores, ours.scores, partial(_radius, workload.img), "radius")
        rows.append(row)
    return rows


def _radius(emb: Array, picks: Picks) -> float:
    """The largest 1 - cosine of a row and the nearest of row 0 and the picks."""
    chosen = emb[np.append(0, picks)].T
    nearest = [(emb[start : start + 8192] @ chosen).max(axis=1).min() for start in range(0, len(emb), 8192)]
    return float(1 - min(nearest))


# ---- Repulsion -------------------------------------------------------------------------------------------------------


def repulsive(n: int, dim: int, budget: int, n_threads: int) -> list[Row]:
    task = f"repulsive {budget:,} of {n:,}, dim {dim}, clustered"
    workload = workloads.clustered(n, dim, np.float16)
    engine, read = best(_compared(workload, [engine_pass(COLUMNS), *read_methods()], n_threads, rounds=1))
    ours = _once(repulsive_method(budget), workload, n_threads)
    rows = [_row(task, result, ours) for result in (ours, engine, read)]
    rows[0]["reads"] = f"{ours.median / budget / read.median:.3f} a pick"
    rows[0]["check"] = f"{budget * engine.median / ours.median:.0f} picks in the time of a pass"
    rows[1]["reads"] = f"{engine.median / read.median:.1f}"
    rows[2]["reads"] = f"1, {workload.img.nbytes / read.median / 1e9:.1f} GB/s"
    return rows


# ---- Coverage --------------------------------------------------------------------------------------------------------


def coverage(kind: str, n: int, dim: int, budget: int, n_threads: int, rounds: int) -> list[Row]:
    task = f"coverage {budget:,} of {n:,}, dim {dim}, {kind}"
    workload = _made(kind, n, dim)
    results = best(_compared(workload, coverage_methods(budget), n_threads, rounds))
    ours = _ours(results)
    emb = workload.img.astype(np.float64)
    k = kernel(emb / np.linalg.norm(emb, axis=1, keepdims=True))
    rows = []
    for result in results:
        row = _row(task, result, ours)
        if not result.failure:
            row["check"] = _same(result.scores, ours.scores, lambda picks: k[picks].max(axis=0).mean(), "objective")
        rows.append(row)
    return rows


# ---- What the parts share --------------------------------------------------------------------------------------------


def _made(kind: str, n: int, dim: int) -> Workload:
    return workloads.clustered(n, dim) if kind == "clustered" else workloads.gaussian(n, 1, dim)


def _compared(
    workload: Workload, methods: Iterable[Method], n_threads: int, rounds: int, *, with_memory: bool = False
) -> list[Result]:
    """Cores kept awake before each call, as in the cascade's comparison."""
    pause = partial(_core.peak, PAUSE, n_threads)
    return compare(workload, methods, n_threads, rounds, with_memory=with_memory, say=say, pause=pause)


def _once(method: Method, workload: Workload, n_threads: int) -> Result:
    """A call of minutes, which needs no other before it."""
    say(method.name)
    run = method.build(*method.inputs(workload), n_threads)
    began = time.perf_counter()
    picks = run()
    return Result(method, [time.perf_counter() - began], picks)


def _ours(results: Iterable[Result]) -> Result:
    """The first; it must not fail."""
    first = next(iter(results))
    if first.failure:
        raise RuntimeError(f"{first.method.name}: {first.failure}")
    return first


def _row(task: str, result: Result, ours: Result) -> Row:
    setting = f" [{result.method.setting}]" if result.method.setting else ""
    row = {"task": task, "method": f"{result.method.name}{setting}"}
    if result.failure:
        return row | {"time": result.failure}
    return row | {"time": seconds(result.seconds, result.median), "x": f"{ratio(result, ours):.2f}"}


def _same(picks: Picks, ours: Picks, quality: Callable[[Picks], Any], name: str) -> str:
    """Whether the picks are those of hnscore, and if not from where on, and what that makes of their quality.

    Two gains that are equal but for their rounding, as of rows that cover one another and nothing else, come in any
    order.
    """
    ours = ours[: len(picks)]
    if np.array_equal(picks, ours):
        return f"picks: equal; {name} {quality(ours):.6f}"
    if np.array_equal(np.sort(picks), np.sort(ours)):
        return f"picks: equal but for their order; {name} {quality(ours):.6f}"
    first = int(np.argmax(picks != ours))
    return f"picks: the first {first} equal; {name} {quality(picks):.6f}, of hnscore's {quality(ours):.6f}"
