"""Train, measure, select, annotate, train again: the curves of an experiment, on several processes."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import time
import zlib
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import lru_cache
from pathlib import Path

import config
import numpy as np
from config import Arm, Experiment
from store import Store
from strategies import Strategy
from tasks import Rows, Task, Trained
from tqdm import tqdm


def run(experiment: Experiment, store: Store, workers: int) -> None:
    """Everything that `store` has not yet."""
    sizes = {a.name: a.sizes(task(a).n_items) for a in experiment.arms}
    done = store.rounds_done()
    todo = [c for c in experiment.curves() if done.get((c[0].name, c[2].name, c[1]), 0) < len(sizes[c[0].name])]
    total = sum(len(sizes[a.name]) for a, _, _ in experiment.curves())
    curves = {(a.name, s.name, seed) for a, seed, s in experiment.curves()}

    def measured() -> int:
        return sum(n for curve, n in store.rounds_done().items() if curve in curves)

    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    with (
        tqdm(total=total, initial=measured(), unit="round", smoothing=0.05) as bar,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool,
    ):
        waiting = {pool.submit(curve, store.folder, arm, seed, strategy) for arm, seed, strategy in todo}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=2, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                bar.update(measured() - bar.n)
        except BaseException:
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def curve(folder: Path, arm: Arm, seed: int, strategy: Strategy) -> None:
    """The rounds of one curve that are missing."""
    store, of_arm = Store(folder), task(arm)
    sizes = arm.sizes(of_arm.n_items)
    done = store.rounds_done().get((arm.name, strategy.name, seed), 0)
    labeled = start(arm, seed)
    for r in range(done):
        labeled = np.concatenate([labeled, np.load(store.picks(arm, strategy, seed, r))])
    for r in range(done, len(sizes)):
        begun = time.perf_counter()
        trained = first(arm, seed) if r == 0 else of_arm.train(labeled, 1000 * seed + r)
        spent = {"train_seconds": time.perf_counter() - begun}
        if r + 1 < len(sizes):
            begun = time.perf_counter()
            random = np.random.default_rng([seed, r, zlib.crc32(strategy.name.encode())])
            picks = strategy.pick(trained.view, sizes[r + 1] - sizes[r], random)
            spent["select_seconds"] = time.perf_counter() - begun
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
    try:
        built: Task = importlib.import_module(config.TASKS[described.task]).build(described)
    except TypeError as error:
        raise SystemExit(f"arm {described.name!r}, train: {error}") from None
    return built
