"""Areas under the curves, and how far a strategy is from another over the same seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from config import Arm, Experiment
from numpy.typing import NDArray
from scipy import stats

Row = dict[str, str]
Values = NDArray[np.float64]
BASELINES = ("random", "core_set")


class Curve(NamedTuple):
    shares: Values
    """Share of the pool annotated, at each measurement."""
    values: Values


class Difference(NamedTuple):
    """Of two strategies, over the seeds that both have; a number each, or one per share."""

    mean: Values
    half_width: Values
    """Of the 95 % interval (Student); not a number where there are fewer than two seeds."""
    seeds: int

    @property
    def above_zero(self) -> bool:
        return bool(self.mean - self.half_width > 0)

    @property
    def below_zero(self) -> bool:
        return bool(self.mean + self.half_width < 0)


def headline(rows: list[Row], arm: Arm) -> str | None:
    """Tasks name the metric that decides first."""
    return next((row["metric"] for row in rows if row["arm"] == arm.name), None)


def curves(rows: list[Row], arm: Arm, metric: str) -> dict[str, dict[int, Curve]]:
    """strategy -> seed -> curve, of seeds whose curve is whole; in the order of the configuration."""
    points: dict[tuple[str, int], dict[int, tuple[float, float]]] = defaultdict(dict)
    for row in rows:
        if row["arm"] == arm.name and row["metric"] == metric:
            points[row["strategy"], int(row["seed"])][int(row["round"])] = float(row["share"]), float(row["value"])
    n_points = len(arm.sizes(1))
    found: dict[str, dict[int, Curve]] = {}
    for strategy in arm.strategies:
        for seed in arm.of_seeds():
            if len(of_round := points.get((strategy, seed), {})) == n_points:
                at = np.array([of_round[r] for r in range(n_points)])
                found.setdefault(strategy, {})[seed] = Curve(at[:, 0], at[:, 1])
    return found


def area(curve: Curve) -> float:
    """The mean height of the curve over its range of shares."""
    x, y = curve
    if len(x) == 1:
        return float(y[0])
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0]))


def areas(rows: list[Row], arm: Arm, metric: str) -> dict[str, dict[int, float]]:
    return {s: {seed: area(c) for seed, c in seeds.items()} for s, seeds in curves(rows, arm, metric).items()}


def paired(a: Mapping[int, float | Values], b: Mapping[int, float | Values]) -> Difference:
    """mean(a - b) ± t(0.975, n - 1) std(a - b) / sqrt(n) over the n common seeds."""
    seeds = sorted(set(a) & set(b))
    n = len(seeds)
    if n == 0:
        return Difference(np.array(np.nan), np.array(np.nan), 0)
    differences = np.array([np.asarray(a[s]) - np.asarray(b[s]) for s in seeds], np.float64)
    mean = differences.mean(axis=0)
    if n == 1:
        return Difference(mean, np.full_like(mean, np.nan), 1)
    return Difference(mean, stats.t.ppf(0.975, n - 1) * differences.std(axis=0, ddof=1) / np.sqrt(n), n)


def best_first(of: Mapping[str, Mapping[int, float]]) -> list[str]:
    """By the paired difference to random, so that a strategy with fewer seeds is not judged by which they are."""

    def height(strategy: str) -> float:
        gained = paired(of[strategy], of.get("random", {}))
        return float(gained.mean) if gained.seeds else float(np.mean(list(of[strategy].values())))

    return sorted(of, key=height, reverse=True)


def decimals(values: Values) -> int:
    """Those that leave four digits of the largest."""
    return max(0, 3 - int(np.floor(np.log10(max(float(np.abs(values).max()), 1e-9)))))


def summary(rows: list[Row], experiment: Experiment) -> str:
    """One Markdown table an arm, of what is whole so far."""
    return "\n\n".join(_table(rows, arm) for arm in experiment.arms)


def _table(rows: list[Row], arm: Arm) -> str:
    title = f"## {arm.name}: {arm.data}, {arm.task}, measured on {arm.part}"
    metric = headline(rows, arm)
    of = areas(rows, arm, metric) if metric else {}
    if not of or not metric:
        return f"{title}\n\nNo curve is whole yet."
    whole = curves(rows, arm, metric)
    total = areas(rows, arm, "rsum")
    baselines = [b for b in BASELINES if b in of]
    last = len(arm.sizes(1)) - 1
    points = sorted({0, last // 2, last})
    digits = decimals(np.array([v for seeds in of.values() for v in seeds.values()]))
    total_digits = decimals(np.array([v for seeds in total.values() for v in seeds.values()] or [1.0]))
    head = ["strategy", "seeds", f"area {metric}", *(["area rsum"] if total else [])]
    head += [f"{metric} at {100 * (arm.start + p * arm.step):.3g} %" for p in points]
    head += [f"area - {b}" for b in baselines] + (["above zero"] if baselines else [])
    lines = [head, ["---"] + ["---:"] * (len(head) - 2) + ["---" if baselines else "---:"]]
    for s in best_first(of):
        mean = np.mean([c.values for c in whole[s].values()], axis=0)
        line = [f"`{s}`", f"{len(of[s])}", f"{np.mean(list(of[s].values())):.{digits}f}"]
        line += [f"{np.mean(list(total[s].values())):.{total_digits}f}"] if total else []
        line += [f"{mean[p]:.{digits}f}" for p in points]
        gained = {b: paired(of[s], of[b]) for b in baselines if b != s}
        line += [_interval(gained[b], digits) if b in gained else "" for b in baselines]
        line += [", ".join(b for b, g in gained.items() if g.above_zero) or "-"] if baselines else []
        lines.append(line)
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    note = f"Means over whole curves, of {arm.seeds} seeds; area: mean height of the curve; differences are paired by \
seed, ± half the 95 % interval (Student)."
    return f"{title}\n\n{table}\n\n{note}"


def _interval(of: Difference, digits: int) -> str:
    return f"{of.mean:+.{digits}f}" + (f" ± {of.half_width:.{digits}f}" if of.seeds > 1 else "")
