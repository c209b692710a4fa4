"""Results on disk: one tidy table, the picks behind it, and what they depend on."""

from __future__ import annotations

import csv
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from config import Arm, Experiment
from strategies import Strategy
from tasks import Options, Rows

COLUMNS = ("arm", "strategy", "seed", "round", "labeled", "share", "metric", "value")
LAST = "train_seconds"
"""The metric that ends the rows of a round."""


class Store:
    """A folder with results.csv, settings.json and picks/.

    A round's picks are written before its rows, and these by one write, so that a killed run goes on with the round
    that it was at. Of each arm and strategy, settings.json has what its rows depend on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.table = folder, folder / "results.csv"

    @contextmanager
    def writing(self, experiment: Experiment) -> Iterator[None]:
        """Refuse results that were made with other settings, or that another run is at; mend a table that was cut."""
        given = {
            "arms": {a.name: a.settings() for a in experiment.arms},
            "strategies": {n: {"score": s.score, "select": s.select} for n, s in experiment.strategies.items()},
        }
        path = self.folder / "settings.json"
        if self.table.is_file() and not path.is_file():
            raise SystemExit(f"{self.table} is of another program: there is no {path.name} beside it; name another "
                             "folder with --results")  # fmt: skip
        before = json.loads(path.read_text()) if path.is_file() else {"arms": {}, "strategies": {}}
        for kind, settings in given.items():
            for name, now in settings.items():
                was = before[kind].get(name, now)
                if was != now:
                    raise SystemExit(
                        f"{self.folder} holds results of {kind}.{name} with other settings: "
                        f"{_difference(was, now)}; name another folder with --results, or rename it in {kind}"
                    )
                before[kind][name] = now
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SystemExit(
                    f"another run is writing to {self.folder}; wait for it, or name another folder"
                ) from None
            _replace(path, json.dumps(before, indent=1) + "\n")
            self._mend()
            yield

    def _mend(self) -> None:
        """Leave out the rows of rounds that were not written to the end."""
        header, *lines = self.table.read_text().split("\n") if self.table.is_file() else [""]
        complete = lines[:-1]  # what follows the last line break is cut, or nothing
        whole = {_round(line) for line in complete if f",{LAST}," in line}
        kept = [line for line in complete if _round(line) in whole]
        text = "".join(f"{line}\n" for line in (",".join(COLUMNS), *kept))
        if text != "\n".join((header, *lines)):
            _replace(self.table, text)

    def rows(self) -> list[dict[str, str]]:
        if not self.table.is_file():
            return []
        with self.table.open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["value"]]

    def rounds_done(self) -> dict[tuple[str, str, int], int]:
        """Rounds measured of each curve."""
        done: dict[tuple[str, str, int], int] = {}
        for row in self.rows():
            curve = row["arm"], row["strategy"], int(row["seed"])
            done[curve] = max(done.get(curve, 0), int(row["round"]) + 1)
        return done

    def add(
        self,
        arm: Arm,
        strategy: Strategy,
        seed: int,
        round_: int,
        labeled: int,
        share: float,
        metrics: dict[str, float],
    ) -> None:
        first = f"{arm.name},{strategy.name},{seed},{round_},{labeled},{share:.4f}"
        lines = "".join(f"{first},{metric},{value:.6g}\n" for metric, value in metrics.items())
        with self.table.open("a") as file:
            file.write(lines)

    def picks(self, arm: Arm, strategy: Strategy, seed: int, round_: int) -> Path:
        """The items chosen after this round."""
        return self.folder / "picks" / arm.name / f"{strategy.name}-seed{seed}-round{round_}.npy"

    def add_picks(self, arm: Arm, strategy: Strategy, seed: int, round_: int, picks: Rows) -> None:
        path = self.picks(arm, strategy, seed, round_)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, picks.astype(np.int32))
        partial.replace(path)


def _round(line: str) -> tuple[str, ...]:
    """Arm, strategy, seed and round."""
    return tuple(line.split(",")[:4])


def _replace(path: Path, text: str) -> None:
    """All of it or nothing, whenever the process is killed."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def _difference(was: Options, now: Options) -> str:
    keys = [k for k in {**was, **now} if was.get(k) != now.get(k)]
    return ", ".join(f"{k} was {was.get(k)!r} and is {now.get(k)!r}" for k in keys)
