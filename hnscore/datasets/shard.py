"""One of the files of a dataset: what goes wrong with it, and its rows, read ahead."""

from __future__ import annotations

import queue
import threading
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from numpy.typing import NDArray

from hnscore.datasets.described import Format
from hnscore.datasets.location import Location, one_line

_PATIENCE = 0.5  # seconds, for a reader that waits for a store when nobody wants its rows any more


class ShardError(ValueError):
    """A shard cannot be read, or does not hold what the others do. `shard` is its number."""

    shard = -1


class Shard(NamedTuple):
    """One of the files."""

    name: str  # below the folder that all of them are in
    location: Location
    rows: Format
    first: int  # the number of its first row among all
    n_rows: int
    ids: Any = None  # the table that holds them: a Format


class Block(NamedTuple):
    shard: int
    first: int  # row of the shard
    rows: NDArray[Any]


@contextmanager
def named(shard: Shard, number: int) -> Iterator[None]:
    """What goes wrong with a shard, with its name."""
    try:
        with one_line(str(shard.location)) if shard.location.store is not None else nullcontext():
            yield
    except (ShardError, ImportError, KeyboardInterrupt, GeneratorExit):
        raise
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        said = " ".join(str(error).split()).removeprefix(f"shard: {shard.location} ") or type(error).__name__
        wrong = ShardError(f"shard {shard.location} cannot be used: {said}")
        wrong.shard = number
        raise wrong from error


def read_ahead(blocks: Generator[Block, None, None]) -> Iterator[Block]:
    """The same, each read by a thread of its own while the one before is worked on."""
    ready: queue.Queue[Any] = queue.Queue(1)
    stopped = threading.Event()

    def hand_on(item: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for block in blocks:
                if not hand_on(block):
                    return
            hand_on(None)
        except BaseException as error:  # in the thread that waits
            hand_on(error)

    reader = threading.Thread(target=read, name="hnscore-reader", daemon=True)
    reader.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            del item
    finally:
        stopped.set()
        reader.join(_PATIENCE)
        if not reader.is_alive():
            blocks.close()
