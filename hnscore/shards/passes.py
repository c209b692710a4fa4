"""Passes over all shards for something of the whole pool: what is found so far is kept, and a later run goes on."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.datasets.dataset import Dataset
from hnscore.shards.run import REFERENCE, Run, RunIn, Steps
from hnscore.shards.sink import digest

_SAVED_SECONDS = 5.0  # between two states: of 20,000 texts 0.2 MB are written, with 10 negatives each 3 MB

Arrays = tuple[NDArray[Any], ...]


class Pass:
    """What has been found, in one file of the output, saved every few seconds.

    `nothing`: before the first shard. `merge`: with what one more shard has. `of`: what it depends on beside the
    shards; where that, or a shard that was looked at, has changed, the pass starts anew: nothing is taken back.
    """

    def __init__(
        self, run: Run, name: str, nothing: Arrays, merge: Callable[[Arrays, Arrays], Arrays], of: str = ""
    ) -> None:
        self.run, self.name, self.found, self._merge, self._of = run, name, nothing, merge, of
        self.done: dict[str, Any] = {}
        self.computed = 0  # shards, in this call
        content = run.folder.read(name)
        if content is not None:
            self._load(content)

    def over(self, task: Steps, run_in: RunIn, bar: Callable[[int], object]) -> Arrays:
        """Looks at the shards that have not been looked at; an error if one cannot be read, when all others are."""
        shards, todo = self.run.pool.shards, []
        for number, shard in enumerate(shards):
            if shard.name in self.done:
                bar(shard.n_rows)
            else:
                todo.append(number)
        failed: list[Exception] = []
        saved = time.monotonic()
        try:
            for number, found in run_in(task, todo, bar, failed.append):
                self.found = self._merge(self.found, found)
                self.done[shards[number].name] = self.run.identity(number)
                self.computed += 1
                if time.monotonic() - saved > _SAVED_SECONDS:
                    self._save()
                    saved = time.monotonic()
        finally:
            if self.computed:
                self._save()
        if failed:
            raise failed[0]
        return self.found

    def digest(self) -> str:
        """Of what is found, and what it depends on."""
        return digest(b"".join(x.tobytes() for x in self.found) + self._of.encode())

    def _load(self, content: bytes) -> None:
        nothing, file = self.found, io.BytesIO(content)
        try:
            self.found = tuple(np.load(file, allow_pickle=False) for _ in nothing)
            known = json.loads(file.read())
        except (ValueError, EOFError, OSError):
            self.found = nothing
            return
        names = {shard.name: self.run.identity(number) for number, shard in enumerate(self.run.pool.shards)}
        fits = [x.shape for x in self.found] == [x.shape for x in nothing] and known["of"] == self.digest()
        if fits and all(names.get(name) == identity for name, identity in known["done"].items()):
            self.done = known["done"]
        else:
            self.found = nothing

    def _save(self) -> None:
        buffer = io.BytesIO()
        for x in self.found:
            np.save(buffer, x)
        buffer.write(json.dumps({"of": self.digest(), "done": self.done}).encode())
        self.run.folder.write(self.name, buffer.getvalue())


# ---- The best match of each text -------------------------------------------------------------------------------------


def best_match(
    run: Run, best_of: Callable[[NDArray[Any]], NDArray[np.float64]], n_txt: int, run_in: RunIn,
    bar: Callable[[int], object],
) -> NDArray[np.float64]:  # fmt: skip
    """In the pool, (n_txt,). `best_of`: in some rows; it travels to other processes."""
    found = Pass(run, REFERENCE, (np.full(n_txt, -np.inf),), lambda a, b: (np.maximum(a[0], b[0]),))
    return found.over(_BestMatch(run.pool, best_of, n_txt), run_in, bar)[0]


class _BestMatch(NamedTuple):
    """A task: in a shard."""

    pool: Dataset
    best_of: Callable[[NDArray[Any]], NDArray[np.float64]]
    n_txt: int

    def block(self, rows: NDArray[Any], first: int) -> NDArray[np.float64]:
        return self.best_of(rows)

    def drop(self) -> None:
        pass

    def done(self, number: int, parts: Sequence[NDArray[np.float64]]) -> Arrays:
        return (np.maximum.reduce(parts) if len(parts) else np.full(self.n_txt, -np.inf),)

    def kept(self, number: int, found: Arrays) -> Arrays:
        return found
