"""What a configuration file says, checked before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import tomllib
from strategies import Strategy
from tasks import Options

TASKS = {"images": "retrieval", "texts": "retrieval", "supervised": "supervised", "pixels": "pixels"}
"""The module of each task, which has `build(arm) -> Task`."""
COMMON = {"seeds", "arms", "strategies"}


@dataclass(frozen=True)
class Arm:
    """One data set, one model, one schedule of annotation: a set of curves."""

    name: str
    data: str
    strategies: tuple[str, ...]
    task: str
    seeds: int
    start: float
    """Share of the items that is annotated, at random, before the first round."""
    step: float
    """Share that each round adds."""
    stop: float
    """Share after the last round."""
    first_seed: int = 0
    part: str = "test"
    """What the models are measured on."""
    train: Options = field(default_factory=dict)
    """Changes to the training of this task, by name."""

    def sizes(self, n_items: int) -> list[int]:
        """Items annotated at each measurement."""
        n_rounds = round((self.stop - self.start) / self.step)
        return [round(n_items * (self.start + r * self.step)) for r in range(n_rounds + 1)]

    def of_seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    def settings(self) -> Options:
        """What a curve depends on, beside its strategy and seed."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("name", "strategies", "seeds", "first_seed")
        }


@dataclass(frozen=True)
class Experiment:
    arms: list[Arm]
    strategies: dict[str, Strategy]

    def curves(self) -> list[tuple[Arm, int, Strategy]]:
        """In the order of running: those that share a first round stand together."""
        return [(a, seed, self.strategies[s]) for a in self.arms for seed in a.of_seeds() for s in a.strategies]


def read(path: Path) -> Experiment:
    """Raises SystemExit with what is wrong, and where."""
    try:
        given: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"configuration {path}: {error}") from None
    try:
        _only(given, COMMON, "the configuration")
        strategies = {}
        for name, options in given.get("strategies", {}).items():
            _only(options, {"score", "select"}, f"strategy {name!r}")
            strategies[name] = Strategy(name, **options)
        arms = [
            _arm(name, {"seeds": given.get("seeds", 5), **a}, strategies) for name, a in given.get("arms", {}).items()
        ]
        if not arms:
            raise ValueError("there must be at least one [arms.NAME]")
    except (TypeError, ValueError) as error:
        raise SystemExit(f"configuration {path}: {error}") from None
    return Experiment(arms, strategies)


def _arm(name: str, given: Options, strategies: dict[str, Strategy]) -> Arm:
    where = f"arm {name!r}"
    known = {f.name for f in fields(Arm)} - {"name"}
    _only(given, known, where)
    if missing := known - {"part", "train", "strategies", "first_seed"} - set(given):
        raise ValueError(f"{where} must say {', '.join(sorted(missing))}")
    arm = Arm(name=name, **{**given, "strategies": tuple(given.get("strategies", strategies))})
    if unknown := [s for s in arm.strategies if s not in strategies]:
        raise ValueError(f"{where}: unknown strategy {', '.join(unknown)}; there are {', '.join(strategies)}")
    if arm.task not in TASKS:
        raise ValueError(f"{where}: task must be one of {', '.join(TASKS)}, got {arm.task!r}")
    if arm.part not in ("dev", "test"):
        raise ValueError(f"{where}: part must be dev or test, got {arm.part!r}")
    if not 0 < arm.start <= arm.stop <= 1 or not arm.step > 0:
        raise ValueError(
            f"{where}: shares of the pool must be 0 < start <= stop <= 1 and step > 0, got start {arm.start}, "
            f"step {arm.step}, stop {arm.stop}; no more can be annotated than there is"
        )
    if not isinstance(arm.seeds, int) or arm.seeds < 1:
        raise ValueError(f"{where}: seeds must be a whole number of at least 1, got {arm.seeds!r}")
    return arm


def _only(given: Options, known: set[str], where: str) -> None:
    if not isinstance(given, dict):
        raise TypeError(f"{where} must be a table, got {given!r}")
    if unknown := sorted(set(given) - known):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
