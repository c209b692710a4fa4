"""What a configuration file says, checked before anything is trained."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from options import check
from strategies import Strategy
from tasks import Options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TASKS = {"images": "retrieval", "texts": "retrieval", "supervised": "supervised", "pixels": "pixels"}
"""The module of each task, which has `build(arm) -> Task`."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*")
"""Of arms and strategies: they are in a table with commas, and name files."""


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
    except (OSError, ValueError) as error:
        raise SystemExit(f"configuration {path}: {error}") from None
    try:
        return _experiment(**_checked(given))
    except (TypeError, ValueError) as error:
        raise SystemExit(f"configuration {path}: {error}") from None


def _checked(given: Options) -> Options:
    check("the configuration", given, _experiment)
    for kind in ("arms", "strategies"):
        for name, options in given.get(kind, {}).items():
            if not NAME.fullmatch(name):
                raise ValueError(f"{kind}: a name is of letters, digits and _ . + = - alone, got {name!r}")
            check(f"{kind}.{name}", options, Arm if kind == "arms" else Strategy)
    return given


def _experiment(*, arms: Options = {}, strategies: Options = {}, seeds: int = 5) -> Experiment:  # noqa: B006
    known = {name: Strategy(name, **options) for name, options in strategies.items()}
    if not arms:
        raise ValueError("there must be at least one [arms.NAME]")
    return Experiment([_arm(name, {"seeds": seeds, **options}, known) for name, options in arms.items()], known)


def _arm(name: str, given: Options, strategies: dict[str, Strategy]) -> Arm:
    where = f"arms.{name}"
    if missing := [k for k in ("data", "task", "start", "step", "stop") if k not in given]:
        raise ValueError(f"{where} must say {', '.join(missing)}")
    arm = Arm(name=name, **{**given, "strategies": tuple(given.get("strategies", strategies))})
    if not arm.strategies:
        raise ValueError(f"{where}: there must be at least one strategy, [strategies.NAME]")
    if unknown := [s for s in arm.strategies if s not in strategies]:
        raise ValueError(f"{where}: unknown strategy {', '.join(unknown)}; there are {', '.join(strategies)}")
    if len(set(arm.strategies)) < len(arm.strategies):
        raise ValueError(f"{where}: strategies must name each one once, got {', '.join(arm.strategies)}")
    if arm.task not in TASKS:
        raise ValueError(f"{where}: task must be one of {', '.join(TASKS)}, got {arm.task!r}")
    if arm.part not in ("dev", "test"):
        raise ValueError(f"{where}: part must be dev or test, got {arm.part!r}")
    if not 0 < arm.start <= arm.stop <= 1 or not arm.step > 0:
        raise ValueError(
            f"{where}: shares of the pool must be 0 < start <= stop <= 1 and step > 0, got start {arm.start}, "
            f"step {arm.step}, stop {arm.stop}; no more can be annotated than there is"
        )
    n_rounds = (arm.stop - arm.start) / arm.step
    if abs(n_rounds - round(n_rounds)) > 1e-6:
        raise ValueError(
            f"{where}: steps must lead from start to stop, got start {arm.start}, step {arm.step}, stop {arm.stop}; "
            f"stop could be {arm.start + int(n_rounds) * arm.step:.6g}"
        )
    if arm.seeds < 1 or arm.first_seed < 0:
        raise ValueError(f"{where}: seeds must be at least 1 and first_seed at least 0, got {arm.seeds} and "
                         f"{arm.first_seed}")  # fmt: skip
    return arm
