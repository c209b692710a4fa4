"""How many labels does a strategy need to come near full supervision?

python benchmarks/active_learning/labels_needed.py CONFIG --results DIR --arm wikipedia_high --full wikipedia_full
"""

from __future__ import annotations

import argparse
from pathlib import Path

import config
import numpy as np
from config import Arm
from numpy.typing import NDArray
from report import curves, paired
from store import Store


def first_share(shares: NDArray[np.float64], values: NDArray[np.float64], level: float) -> float:
    """Where the curve first reaches the level, by linear interpolation: infinite where it does not.

    A curve that begins above the level needs at most its first share, and that is what is given.
    """
    reached = np.flatnonzero(values >= level)
    if not len(reached):
        return np.inf
    i = int(reached[0])
    if i == 0:
        return float(shares[0])
    along = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(shares[i - 1] + along * (shares[i] - shares[i - 1]))


def labels_needed(
    rows: list[dict[str, str]], arm: Arm, full: str, metric: str = "map", part: float = 0.95
) -> dict[str, tuple[float, dict[int, float]]]:
    """strategy -> (share at which its mean curve reaches that part of full supervision, the same of each seed's curve).

    full: the arm whose only share is 1. Its level is the mean over all its seeds.
    """
    whole = [float(r["value"]) for r in rows if r["arm"] == full and r["metric"] == metric and float(r["share"]) == 1]
    if not whole:
        raise SystemExit(f"there are no results of {metric} at share 1 in arm {full!r}; run that arm first")
    level = part * float(np.mean(whole))
    needed = {}
    for strategy, seeds in curves(rows, arm, metric).items():
        if seeds:
            shares = next(iter(seeds.values()))[0]
            mean = np.mean([values for _, values in seeds.values()], axis=0)
            each = {seed: first_share(*curve, level) for seed, curve in seeds.items()}
            needed[strategy] = first_share(shares, mean, level), each
    return needed


def table(needed: dict[str, tuple[float, dict[int, float]]], against: str = "random") -> str:
    """Percent of the pool's labels; differences over the seeds in which both curves get there."""
    out = ["| strategy | labels needed, % | seeds that get there | - " + against + " |", "|---|---|---|---|"]
    for strategy, (mean, each) in sorted(needed.items(), key=lambda item: item[1][0]):
        there, others = (
            {s: 100 * x for s, x in seeds.items() if np.isfinite(x)}
            for seeds in (each, needed.get(against, (np.inf, {}))[1])
        )
        difference, half, n = paired(there, others)
        shown = f"{100 * mean:.1f}" if np.isfinite(mean) else "not reached"
        apart = f"{difference:+.1f} ± {half:.1f} ({n})" if n else ""
        out.append(f"| {strategy} | {shown} | {len(there)} of {len(each)} | {apart} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="that made the results")
    parser.add_argument("--results", type=Path, required=True, help="folder of results")
    parser.add_argument("--arm", required=True, help="the curves")
    parser.add_argument("--full", required=True, help="the arm of full supervision")
    parser.add_argument("--metric", default="map")
    parser.add_argument("--part", type=float, default=0.95, help="of full supervision")
    args = parser.parse_args()
    arms = {a.name: a for a in config.read(args.config).arms}
    if args.arm not in arms:
        parser.error(f"--arm must be one of {', '.join(arms)}, got {args.arm}")
    print(table(labels_needed(Store(args.results).rows(), arms[args.arm], args.full, args.metric, args.part)))


if __name__ == "__main__":
    main()
