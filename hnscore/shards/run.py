"""A run over the shards of a dataset: one result shard each, and a record of what it was made of.

Beside the result shards there is, when a run is finished, `manifest.json`: its settings, and a record of each shard. An
unfinished run has in `_hnscore/` instead: `settings.json`, and a record for each shard that is done; and, finished or
not, what the pass before the scores has found. A record counts while its shard and its result are as it says, so that
whatever ended a run, and whatever has changed since, the next one computes what is missing and no more.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore import _core
from hnscore.datasets.dataset import Dataset
from hnscore.datasets.folder import Folder
from hnscore.datasets.shard import ShardError
from hnscore.shards.results import MANIFEST, result_name
from hnscore.shards.sink import MARK, STATE, Sink, digest

REFERENCE = f"{STATE}/reference.npy"  # the best match of each text, and of which shards
_ASKED = 16  # files at a time, where that waits for a store
_NAMED = 8  # shards that failed, in an error


class Steps(Protocol):
    """What is done with a shard: its blocks one after the other, then its end."""

    @property
    def pool(self) -> Dataset: ...
    def block(self, rows: NDArray[Any], first: int) -> Any: ...
    def done(self, number: int, parts: list[Any]) -> Any:
        """Of all of its blocks: what is found of the shard."""

    def kept(self, number: int, found: Any) -> Any:
        """What the caller gets of it. A thread of its own waits for disks and stores here, beside the next shard."""

    def drop(self) -> None:
        """What blocks of a shard have left that cannot be used."""


# Shards, by their numbers; called with the rows that are done; called with a shard that failed.
RunIn = Callable[
    [Steps, Sequence[int], Callable[[int], object], Callable[[ShardError], object]], Iterator[tuple[int, Any]]
]


class Work(Protocol):
    """What is computed of each row. It travels to other processes."""

    def __call__(self, rows: NDArray[Any], first: int) -> NDArray[Any]:
        """The values of some rows, which begin at row `first` of the dataset."""


class Summary(NamedTuple):
    """What a run did."""

    output: str
    rows: int
    shards: int
    computed: int  # shards, in this call


class Run:
    """A run, in `with`: what an earlier one has left is looked through first."""

    def __init__(
        self, pool: Dataset, output: Any, settings: Mapping[str, Any], value: str, overwrite: bool, options: Any
    ) -> None:
        self.pool, self.folder = pool, Folder(output, options)
        self.sink = Sink(pool, self.folder, value)
        self.settings = {
            **settings, "hnscore": hnscore.__version__, "target": _core.config()["target"], "dim": pool.shape[1],
            "dtype": str(pool.dtype), "column": pool.column, "ids": pool.id_column,
        }  # fmt: skip
        self.overwrite = overwrite
        self.state: dict[str, Any] = {}  # what a run decides once, such as its method
        self.records: dict[str, Any] = {}  # by the names of shards
        self._identities: dict[int, Any] = {}
        self._left: set[str] = set()  # results of earlier runs
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Run:
        shards: dict[str, str] = {}
        for shard in self.pool.shards:
            name = result_name(shard.name, self.pool.id_column is not None)
            if name in shards:
                raise ValueError(
                    f"shards {shards[name]} and {shard.name} would both have the result {name}; rename one"
                )
            shards[name] = shard.name
            if self.folder.at(name).path == shard.location.path:
                raise ValueError(f"output {self.folder} is the folder of the shards; choose another")
        self._stack.enter_context(self.folder.locked(f"{STATE}/lock"))
        try:
            self._look()
            with ThreadPoolExecutor(_ASKED) as asked:
                self._identities = dict(enumerate(asked.map(self.sink.identity, range(len(self.pool.shards)))))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.folder.names(STATE) == ["lock"]:
            self.folder.remove(STATE)
        self.folder.remove_if_empty()
        self._stack.close()

    def _look(self) -> None:
        begun, finished = self._read(f"{STATE}/settings.json"), self._read(MANIFEST)
        known = begun or finished
        self._left = {record["result"] for record in (finished or {}).get("shards", ())}
        if known is not None and known["settings"] != self.settings:
            old = known["settings"]
            differing = sorted(name for name in {*old, *self.settings} if old.get(name) != self.settings.get(name))
            if not self.overwrite:
                what = "; ".join(f"{name} was {old.get(name)}, is {self.settings.get(name)}" for name in differing)
                raise ValueError(
                    f"{self.folder} is the output of other settings ({what}): repeat those to continue it, choose "
                    "another output, or pass overwrite=True (--overwrite) to start anew"
                )
            known = begun = finished = None
            self.folder.remove(STATE)
            self._stack.close()
            self._stack.enter_context(self.folder.locked(f"{STATE}/lock"))
        if known is not None:
            self.state = known.get("state", {})
        if finished is not None:
            self.records = {record["shard"]: record for record in finished["shards"]}
        if begun is not None:
            for name in self.folder.names(STATE):
                record = self._read(f"{STATE}/{name}") if name.startswith("shard-") else None
                if record is not None:
                    self.records[record["shard"]] = record

    def _read(self, name: str) -> Any:
        """A record of hnscore's; None where there is none."""
        content = self.folder.read(name)
        if content is None:
            return None
        with contextlib.suppress(ValueError):
            found = json.loads(content)
            if isinstance(found, dict) and MARK in found:
                return found
        if name == MANIFEST or name.endswith("settings.json"):
            raise FileExistsError(
                f"{self.folder.at(name)} is in the way, and not of hnscore: move it, or choose another output"
            )
        return None

    # ---- What is known -----------------------------------------------------------------------------------------------

    def identity(self, number: int) -> Any:
        """Of a shard, as it is when the run begins."""
        return self._identities[number]

    def keep_state(self) -> None:
        """What is decided stays so, whatever ends the run."""
        content = {MARK: 1, "settings": self.settings, "state": self.state}
        self.folder.write(f"{STATE}/settings.json", json.dumps(content, indent=1).encode())

    def is_done(self, number: int, more: Mapping[str, Any]) -> bool:
        """Whether the result of a shard is there, of the shard as it is now. `more`: what else must be the same."""
        shard = self.pool.shards[number]
        record = self.records.get(shard.name)
        if record is None or record["input"] != self.identity(number) or record["rows"] != shard.n_rows:
            return False
        if any(record.get(name) != x for name, x in more.items()):
            return False
        there = self.folder.identity(record["result"])
        if there is None or there["bytes"] != record["written"]["bytes"]:
            return False
        return bool(there == record["written"] or digest(self.folder.read(record["result"]) or b"") == record["digest"])

    # ---- Work --------------------------------------------------------------------------------------------------------

    def finish(
        self, work: Work, engine: RunIn, bar: Callable[[int], object], more: Callable[[int], Mapping[str, Any]]
    ) -> Summary:
        """Computes what is missing; `more` of a shard joins its record."""
        numbers = range(len(self.pool.shards))
        with ThreadPoolExecutor(_ASKED) as asked:
            done = list(asked.map(lambda number: self.is_done(number, more(number)), numbers))
        todo = [number for number in numbers if not done[number]]
        bar(sum(self.pool.shards[number].n_rows for number in numbers if done[number]))
        failed: list[ShardError] = []
        task = Task(self.sink, work, {number: self.identity(number) for number in todo}, {n: more(n) for n in todo})
        for _, record in engine(task, todo, bar, failed.append):
            self.records[record["shard"]] = record
        if failed:
            named = "; ".join(map(str, failed[:_NAMED]))
            raise ShardError(
                f"{named}: {len(failed)} of {len(numbers)} shards failed, the others are finished; repair "
                f"{'it' if len(failed) == 1 else 'them'} and run the same again"
            )
        records = [self.records[shard.name] for shard in self.pool.shards]
        self.write_manifest(records)
        return Summary(str(self.folder), len(self.pool), len(records), len(todo))

    def write_manifest(self, records: Sequence[Any]) -> None:
        """The run is finished."""
        whole = {
            MARK: 1, "settings": self.settings, "state": self.state, "value": self.sink.value,
            "rows": len(self.pool), "shards": list(records),
        }  # fmt: skip
        self.folder.write(MANIFEST, json.dumps(whole, indent=1).encode())
        for name in self._left - {record["result"] for record in records}:
            self.folder.unlink(name)  # of a shard that the pool has no more: whoever reads the folder shall not find it
        reference = self.folder.read(REFERENCE)
        self.folder.remove(STATE)
        if reference is not None:  # for a later run, when shards have changed or there are more
            self.folder.write(REFERENCE, reference)


class Task(NamedTuple):
    """The work on any shard, from its rows to its record."""

    sink: Sink
    work: Work
    identities: Mapping[int, Any]
    more: Mapping[int, Mapping[str, Any]]

    @property
    def pool(self) -> Dataset:
        return self.sink.pool

    def done(self, number: int, parts: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts) if parts else self.work(np.empty((0, self.pool.shape[1]), np.float32), 0)

    def kept(self, number: int, found: NDArray[Any]) -> Any:
        return self.sink.write(number, found, self.identities[number], self.more[number])

    def block(self, rows: NDArray[Any], first: int) -> NDArray[Any]:
        return self.work(rows, first)

    def drop(self) -> None:
        """What blocks of a shard have left that cannot be used."""
