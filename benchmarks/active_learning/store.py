"""Results on disk: one tidy table, the picks behind it, and what they depend on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from config import Arm, Experiment
from strategies import Strategy
from tasks import Options, Rows

COLUMNS = ("arm", "strategy", "seed", "round", "labeled", "share", "metric", "value")


class Store:
    """A folder with results.csv, settings.json and picks/.

    A round's picks are written before its rows, and these by one write, so that a killed run goes on with the round
    that it was at.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.table = folder, folder / "results.csv"

    def open(self, experiment: Experiment) -> None:
        """Refuse results that were made with other settings; mend a table whose last line was cut."""
        given = {
            "arms": {a.name: a.settings() for a in experiment.arms},
            "strategies": {n: {"score": s.score, "select": s.select} for n, s in experiment.strategies.items()},
        }
        path = self.folder / "settings.json"
        before = json.loads(path.read_text()) if path.is_file() else {"arms": {}, "strategies": {}}
        for kind, settings in given.items():
            for name, now in settings.items():
                was = before[kind].get(name, now)
                if was != now:
                    raise SystemExit(
                        f"{self.folder} holds results of {kind} {name!r} with other settings: "
                        f"{_difference(was, now)}; name another folder with --results, or rename it in {kind}"
                    )
                before[kind][name] = now
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(before, indent=1) + "\n")
        if not self.table.is_file():
            self.table.write_text(",".join(COLUMNS) + "\n")
        text = self.table.read_bytes()
        if not text.endswith(b"\n"):
            self.table.write_bytes(text[: text.rfind(b"\n") + 1])

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


def _difference(was: Options, now: Options) -> str:
    keys = [k for k in {**was, **now} if was.get(k) != now.get(k)]
    return ", ".join(f"{k} was {was.get(k)!r} and is {now.get(k)!r}" for k in keys)
