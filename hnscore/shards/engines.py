"""Where a run computes: in this process, or by the actors of a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from hnscore.arguments.numbers import check_choice, check_integer
from hnscore.datasets.shard import ShardError
from hnscore.shards.run import Steps

if TYPE_CHECKING:
    from ray.data import DataContext


Item = TypeVar("Item")
Made = TypeVar("Made")

ENGINES = ("threads", "ray")
_ANSWERS = 10.0  # seconds
_PATIENCE = 0.5  # seconds, for a store that a result is on the way to when all is over


def engine_named(engine: str, n_workers: int | None, n_threads: int | None) -> Any:
    """What takes a task, the shards to do, a bar and what is told of failures, and yields what the task made."""
    check_choice("engine", engine, ENGINES)
    if engine == "threads":
        if n_workers is not None:
            raise ValueError(f"n_workers must be left out with engine='threads', got {n_workers}; pass n_threads")
        return in_this_process
    if n_workers is not None:
        n_workers = check_integer("n_workers", n_workers, 1, None, "actors")
    return OnRay(n_workers, n_threads)


def in_this_process(
    task: Steps, todo: Sequence[int], bar: Callable[[int], object], failed: Callable[[ShardError], object]
) -> Iterator[tuple[int, Any]]:
    """The shards one after the other, each by all threads; the next rows are read meanwhile, the last results kept."""
    place = {number: at for at, number in enumerate(todo)}
    current = 0  # the first shard that is not done
    parts: list[NDArray[Any]] = []  # what there is of it
    keeping: list[tuple[int, Future[Any]]] = []  # the shard before it, where that is not kept yet

    def kept() -> Iterator[tuple[int, Any]]:
        while keeping:
            number, future = keeping.pop()
            try:
                yield number, future.result()
            except ShardError as error:  # it has changed
                failed(error)

    def finished(stop: int) -> Iterator[tuple[int, Any]]:
        """Those before that place, all of whose rows have been."""
        nonlocal current, parts
        while current < stop:
            number, found = todo[current], task.done(todo[current], parts)
            current, parts = current + 1, []
            yield from kept()
            keeping.append((number, _beside(partial(task.kept, number, found))))

    try:
        while current < len(todo):
            try:
                for block in task.pool.blocks(todo[current:]):
                    yield from finished(place[block.shard])
                    with task.pool.naming(block):
                        parts.append(task.block(block.rows, task.pool.shards[block.shard].first + block.first))
                    bar(len(block.rows))
                    del block
                yield from finished(len(todo))
            except ShardError as error:
                yield from finished(place[error.shard])
                failed(error)
                task.drop()
                current, parts = place[error.shard] + 1, []
        yield from kept()
    finally:  # of one that was interrupted
        wait([future for _, future in keeping], _PATIENCE)


def _beside(work: Callable[[], Any]) -> Future[Any]:
    """In a thread that nobody waits for at the end of the process."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # of whoever asks
            future.set_exception(error)

    threading.Thread(target=run, name="hnscore-keeper", daemon=True).start()
    return future


class OnRay:
    """Ray Data: an actor pool whose actors unpack the task once and then read, compute and write whole shards.

    What passes between processes are numbers of shards and records. Ray starts lost actors again and repeats their
    shards; a shard that is written twice has the same bytes.
    """

    def __init__(self, n_workers: int | None, n_threads: int | None) -> None:
        self.n_workers, self.n_threads = n_workers, n_threads

    def __call__(
        self, task: Steps, todo: Sequence[int], bar: Callable[[int], object], failed: Callable[[ShardError], object]
    ) -> Iterator[tuple[int, Any]]:
        if not todo:
            return
        ray, n_workers, n_threads = self._started()
        held = [ray.put(task)]  # in a list: an actor that is started again asks for it anew
        with _quiet(ray.data.DataContext.get_current()):
            shards = ray.data.from_items([{"shard": number} for number in todo], override_num_blocks=len(todo))
            found = shards.map_batches(
                _Actor,
                fn_constructor_args=(held,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(n_workers, len(todo))),
                num_cpus=n_threads,  # which Ray says to its actors as OMP_NUM_THREADS, and hnscore heeds
            )
            for row in found.iter_rows():
                number, wrong = row["shard"], row["error"]
                bar(task.pool.shards[number].n_rows)
                if wrong is not None:
                    failed(ShardError(wrong))
                else:
                    yield number, row["made"]

    def in_order(self, work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
        """What `work` makes of each item, as tasks of the cluster: so many at a time as there are workers."""
        ray, n_workers, n_threads = self._started()
        task = ray.remote(num_cpus=n_threads, max_retries=3)(lambda item: work(item))
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(task.remote(item))
            if len(waiting) > n_workers:  # one more than is worked on
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())

    def _started(self) -> tuple[ModuleType, int, int]:
        """Ray, connected to a cluster or started; workers, and the threads of each."""
        try:
            import ray
            import ray.data  # noqa: F401  which is asked for by its name
        except ImportError as error:
            raise ImportError("engine='ray' needs Ray; pip install 'hnscore[ray]'") from error
        if not ray.is_initialized():
            _check_address(os.environ.get("RAY_ADDRESS", ""))
            try:
                ray.init(log_to_driver=False)
            except ConnectionError as error:
                raise ConnectionError(f"no Ray cluster: {' '.join(str(error).split())}") from error
        nodes = [node for node in _nodes(ray) if node["Alive"] and node["Resources"].get("CPU")]
        n_workers = self.n_workers or len(nodes)
        cores = int(min(node["Resources"]["CPU"] for node in nodes))
        return ray, n_workers, self.n_threads or max(1, cores * len(nodes) // n_workers)


def _check_address(address: str) -> None:
    """Ray itself tries an address that nobody answers for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), _ANSWERS).close()
        except OSError as error:
            raise ConnectionError(
                f"no Ray cluster answers at RAY_ADDRESS={address} ({error}); start one with `ray start --head`, or "
                "unset RAY_ADDRESS for one in this machine"
            ) from error


def _nodes(ray: ModuleType) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ray.nodes()
    return found


@contextlib.contextmanager
def _quiet(context: DataContext) -> Iterator[None]:
    """There is one progress bar already."""
    log = logging.getLogger("ray.data")
    level, shown = log.level, context.enable_progress_bars
    log.setLevel(logging.ERROR)
    context.enable_progress_bars = False
    try:
        yield
    finally:
        context.enable_progress_bars = shown
        log.setLevel(level)


class _Actor:
    def __init__(self, held: list[Any]) -> None:
        import ray

        self.task = ray.get(held[0])

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        number = int(batch["shard"][0])
        errors: list[str] = []
        made = None
        for _, one in in_this_process(self.task, [number], lambda n: None, lambda error: errors.append(str(error))):
            made = one
        return {"shard": [number], "made": [made], "error": errors[:1] or [None]}
