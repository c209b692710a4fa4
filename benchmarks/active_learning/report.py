"""Areas under the curves, and how far a strategy is from another over the same seeds."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Curves = dict[str, dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]]


def curves(rows: list[dict[str, str]], arm: str, metric: str) -> Curves:
    """strategy -> seed -> (shares, values), of seeds whose curve is whole."""
    points: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["arm"] == arm and row["metric"] == metric:
            points[row["strategy"]][int(row["seed"])].append((float(row["share"]), float(row["value"])))
    longest = max((len(p) for seeds in points.values() for p in seeds.values()), default=0)
    return {
        s: {seed: tuple(np.array(sorted(p)).T) for seed, p in seeds.items() if len(p) == longest}  # type: ignore[misc]
        for s, seeds in points.items()
    }


def area(shares: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The mean height of the curve over its range of shares."""
    return float(np.trapezoid(values, shares) / (shares[-1] - shares[0]))


def areas(rows: list[dict[str, str]], arm: str, metric: str) -> dict[str, dict[int, float]]:
    return {s: {seed: area(*c) for seed, c in seeds.items()} for s, seeds in curves(rows, arm, metric).items()}


def paired(a: dict[int, float], b: dict[int, float]) -> tuple[float, float, int]:
    """Mean of a - b over common seeds, half the width of its 95 % interval (Student), and the number of seeds."""
    seeds = sorted(set(a) & set(b))
    difference = np.array([a[s] - b[s] for s in seeds])
    n = len(seeds)
    if n < 2:
        return (float(difference.mean()) if n else np.nan), np.nan, n
    return float(difference.mean()), float(stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / np.sqrt(n)), n


def summary(rows: list[dict[str, str]], against: tuple[str, ...] = ("random", "core_set")) -> str:
    """One table an arm: the area under the curve of its first metric, and the paired differences."""
    out = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        metric = next(row["metric"] for row in rows if row["arm"] == arm)
        of = {s: v for s, v in areas(rows, arm, metric).items() if v}
        out += [f"## {arm}", "", f"| strategy | seeds | area {metric} |" + "".join(f" - {b} |" for b in against),
                "|---|---|---|" + "---|" * len(against)]  # fmt: skip
        for s in sorted(of, key=lambda s: -np.mean(list(of[s].values()))):
            cells = [f"{d:+.2f} ± {h:.2f}" for d, h, _ in (paired(of[s], of.get(b, {})) for b in against)]
            out.append(f"| {s} | {len(of[s])} | {np.mean(list(of[s].values())):.2f} | " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out)
