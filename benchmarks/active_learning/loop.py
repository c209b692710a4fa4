"""Train, measure, select, annotate, train again: the curves of an experiment, on several processes."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import zlib
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import config
import numpy as np
from config import Arm, Experiment
from options import check
from store import LAST, Store
from strategies import Strategy
from tasks import Rows, Task, Trained
from tqdm import tqdm


def run(experiment: Experiment, store: Store, workers: int) -> None:
    """Everything that `store` has not yet."""
    sizes = {a.name: sizes_of(a) for a in experiment.arms}  # loads all data: what is wrong there is told first
    with store.writing(experiment):
        _run(experiment, store, workers, sizes)


def _run(experiment: Experiment, store: Store, workers: int, sizes: dict[str, list[int]]) -> None:
    done = store.rounds_done()
    todo = [c for c in experiment.curves() if done.get((c[0].name, c[2].name, c[1]), 0) < len(sizes[c[0].name])]
    total = sum(len(sizes[a.name]) for a, _, _ in experiment.curves())
    curves = {(a.name, s.name, seed) for a, seed, s in experiment.curves()}

    def measured() -> int:
        return sum(n for curve, n in store.rounds_done().items() if curve in curves)

    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    often = 0.1 if sys.stderr.isatty() else 60  # a log needs no moving bar
    with (
        tqdm(
            total=total, initial=measured(), unit="round", smoothing=0.05, mininterval=often, maxinterval=often
        ) as bar,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent) as pool,
    ):
        heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as workers are born: Ctrl-C is for this process alone
        waiting = {pool.submit(curve, store.folder, arm, seed, strategy) for arm, seed, strategy in todo}
        signal.signal(signal.SIGINT, heeded)
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=2, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                bar.update(measured() - bar.n)
        except BrokenProcessPool:
            raise SystemExit("a worker was killed, perhaps for want of memory: fewer --workers need less; the same "
                             "command goes on") from None  # fmt: skip
        except BaseException:
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """A worker whose parent was killed would go on, and write rounds that the next run is at too."""

    def wait_for_end() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


def sizes_of(arm: Arm) -> list[int]:
    """Items annotated at each measurement, at least one more each time."""
    n_items = task(arm).n_items
    sizes = arm.sizes(n_items)
    if any(b <= a for a, b in pairwise([0, *sizes])):
        raise SystemExit(f"arms.{arm.name}: start and step must be at least an item of the {n_items} in the pool, got "
                         f"start {arm.start} and step {arm.step}, which is {sizes} items")  # fmt: skip
    return sizes


def curve(folder: Path, arm: Arm, seed: int, strategy: Strategy) -> None:
    """The rounds of one curve that are missing."""
    store, of_arm = Store(folder), task(arm)
    sizes = sizes_of(arm)
    done = store.rounds_done().get((arm.name, strategy.name, seed), 0)
    labeled = start(arm, seed)
    where = f"arms.{arm.name}, strategies.{strategy.name}, seed {seed}"
    for r in range(min(done, len(sizes) - 1)):
        path = store.picks(arm, strategy, seed, r)
        if not path.is_file():
            raise SystemExit(f"{where}: round {r} is in the table, but there is no {path}; put it back, or take the "
                             "rows of this curve out of the table")  # fmt: skip
        labeled = np.concatenate([labeled, np.load(path)])
    for r in range(done, len(sizes)):
        begun = time.perf_counter()
        try:
            trained = first(arm, seed) if r == 0 else of_arm.train(labeled, 1000 * seed + r)
        except FloatingPointError as error:
            raise SystemExit(f"{where}, round {r}: {error}") from error
        spent = {LAST: time.perf_counter() - begun}
        if r + 1 < len(sizes):
            begun = time.perf_counter()
            random = np.random.default_rng([seed, r, zlib.crc32(strategy.name.encode())])
            try:
                picks = strategy.pick(trained.view, sizes[r + 1] - sizes[r], random)
            except (TypeError, ValueError) as error:  # of hnscore: an option's value
                raise SystemExit(f"{where}, round {r}: {error}") from error
            spent = {"select_seconds": time.perf_counter() - begun, **spent}
            assert len(np.unique(np.concatenate([labeled, picks]))) == sizes[r + 1], strategy.name
            store.add_picks(arm, strategy, seed, r, picks)
        store.add(arm, strategy, seed, r, len(labeled), len(labeled) / of_arm.n_items, {**trained.metrics, **spent})
        if r + 1 < len(sizes):
            labeled = np.concatenate([labeled, picks])


def start(arm: Arm, seed: int) -> Rows:
    """The items that are annotated before the first selection, the same for every strategy."""
    n_items = task(arm).n_items
    return np.random.default_rng([seed]).choice(n_items, arm.sizes(n_items)[0], replace=False)


@lru_cache(maxsize=1)
def _first(arm: str, seed: int) -> Trained:
    described = Arm(**json.loads(arm))
    return task(described).train(start(described, seed), 1000 * seed)


def first(arm: Arm, seed: int) -> Trained:
    """The first round, which all strategies share."""
    return _first(_key(arm), seed)


def task(arm: Arm) -> Task:
    return _task(_key(arm))


def _key(arm: Arm) -> str:
    return json.dumps({"name": arm.name, "strategies": (), "seeds": 0, **arm.settings()})


@lru_cache(maxsize=2)
def _task(arm: str) -> Task:
    """Loaded once a process."""
    import torch

    torch.set_num_threads(1)
    described = Arm(**json.loads(arm))
    module = importlib.import_module(config.TASKS[described.task])
    try:
        check(f"arms.{described.name}.train", described.train, module.Schedule)
        built: Task = module.build(described)
    except (TypeError, ValueError) as error:
        raise SystemExit(str(error)) from error
    return built
