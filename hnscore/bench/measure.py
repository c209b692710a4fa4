"""Times in interleaved rounds, errors against float64, memory of a forked child."""

import contextlib
import ctypes
import multiprocessing
import os
import random
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.bench.method import Method, Run
from hnscore.bench.methods import set_threads
from hnscore.bench.peers import forget_buffers
from hnscore.bench.workloads import Workload

TRUTH_ROWS = 256
# Idle OpenMP and OpenBLAS threads spin for some tens of milliseconds after a call, on the cores of whoever comes next.
PAUSE = 0.2


@dataclass
class Result:
    """What one method in one setting did. `seconds` has one entry per round and is scaled to all rows."""

    method: Method
    seconds: list[float] = field(default_factory=list)
    scores: Any = None
    error: float | None = None
    memory: int | None = None
    failure: str | None = None

    @property
    def median(self) -> float:
        return median(self.seconds) if self.seconds else float("inf")


def compare(
    workload: Workload,
    methods: Iterable[Method],
    n_threads: int,
    rounds: int,
    *,
    with_memory: bool = True,
    say: Callable[[str], None] = lambda text: None,
    each_round: Callable[[], None] = lambda: None,
    pause: Callable[[], object] = lambda: time.sleep(PAUSE),
) -> list[Result]:
    """Every method once per round, so that whatever else the machine does hits all alike."""
    results = [Result(m, failure=None if m.installed else "not installed") for m in methods]
    if with_memory:  # before this process has used any threads: a child forked after that may hang in OpenMP
        for result in results:
            if result.failure is None:
                say(f"memory of {result.method.name} {result.method.setting}")
                result.memory = memory_growth(result.method, workload, n_threads)
    set_threads(n_threads)
    ready: list[tuple[Result, Run, float]] = []
    inputs: dict[Any, Any] = {}
    for result in results:
        if result.failure is None:
            say(f"first call of {result.method.name} {result.method.setting}")
            try:
                ready.append((result, *_first_call(result, workload, n_threads, inputs)))
            except Exception as error:  # a peer that does not work here is a row of the table, not an end of the run
                result.failure = f"failed: {' '.join(str(error).split())[:120]}"
    for n in range(rounds):
        say(f"round {n + 1} of {rounds}")
        time.sleep(PAUSE)
        each_round()
        random.Random(n).shuffle(ready)
        for result, run, scale in ready:
            pause()
            began = time.perf_counter()
            run()
            result.seconds.append((time.perf_counter() - began) * scale)
    return results


def best(results: Iterable[Result]) -> list[Result]:
    """Of several settings with one name the fastest by its median."""
    chosen: dict[str, Result] = {}
    for result in results:
        name = result.method.name
        if name not in chosen or result.median < chosen[name].median:
            chosen[name] = result
    return list(chosen.values())


def ratio(slow: Result, fast: Result) -> float:
    """How many times faster: the median of the ratios within each round."""
    return median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))


def _first_call(result: Result, workload: Workload, n_threads: int, inputs: dict[Any, Any]) -> tuple[Run, float]:
    method = result.method
    part = workload if method.rows is None else workload.head(method.rows)
    key = method.name if method.rows or not method.setting else (method.name, "inputs")
    if key not in inputs:  # settings of one peer share its inputs
        inputs[key] = method.inputs(part)
    run = method.build(*inputs[key], n_threads)
    result.scores = np.array(run())
    if method.weight is not None:
        rows = np.linspace(0, len(part.img) - 1, min(TRUTH_ROWS, len(part.img))).astype(np.int64)
        result.error = largest_relative_error(result.scores[rows], part.truth(method.weight, rows))
    return run, len(workload.img) / len(part.img) / method.share


def largest_relative_error(scores: object, truth: NDArray[Any]) -> float:
    """Per row, relative to its own float64 score; a row whose score is 0 is taken relative to the largest."""
    scale = np.where(truth > 0, truth, truth.max(initial=0) or 1)
    return float(np.max(np.abs(np.asarray(scores, np.float64) - truth) / scale, initial=0))


# ---- Memory ----------------------------------------------------------------------------------------------------------


def memory_growth(method: Method, workload: Workload, n_threads: int) -> int | None:
    """Largest growth of anonymous memory in bytes over one call, buffers and index included; Linux only."""
    part = workload if method.rows is None else workload.head(method.rows)
    small = Workload("warm-up", part.img[:8], part.txt[:8], part.reference[:8])

    def prepare() -> Run:
        set_threads(n_threads)
        method.build(*method.inputs(small), n_threads)()  # libraries loaded and threads started
        forget_buffers()
        data = method.inputs(part)
        return lambda: method.build(*data, n_threads)()

    return growth_in_child(prepare)


def growth_in_child(prepare: Callable[[], Run]) -> int | None:
    """Fork, `prepare` there, then watch the child's RssAnon every millisecond while the prepared call runs.

    The parent looks, so a child that holds the interpreter's lock is seen too.
    """
    if not os.path.exists("/proc/self/status"):
        return None
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def child() -> None:
        run = prepare()
        with contextlib.suppress(AttributeError):  # free pages that came with the fork would hide growth (glibc)
            ctypes.CDLL(None).malloc_trim(0)
        there.send("ready")
        there.recv()
        run()
        there.send("done")

    process = context.Process(target=child, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of any fork beside idle BLAS threads
        process.start()
    there.close()
    try:
        here.recv()
        first = peak = anonymous_memory(process.pid)
        here.send("go")
        while not here.poll(0.001):
            peak = max(peak, anonymous_memory(process.pid))
        here.recv()
        return max(peak, anonymous_memory(process.pid)) - first
    except EOFError:  # the call failed in the child; the timed call will say why
        return None
    finally:
        process.kill()
        process.join()


def anonymous_memory(pid: int | str | None) -> int:
    """Of a process, in bytes."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0
