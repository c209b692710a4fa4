"""Draw the curves of each arm, and the difference to random of all strategies in all arms, from a folder of results.

python benchmarks/active_learning/plots.py benchmarks/active_learning/configs/headline.toml --results results \
  --output docs/active_learning
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import config
import matplotlib as mpl
import numpy as np
from config import Arm, Experiment
from matplotlib.figure import Figure
from report import Row, areas, best_first, curves, headline, paired
from store import Store

MOST = 12
"""Curves that one figure can still tell apart."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#332288", "#E69F00", "#56B4E9", "#882255", "#999933", "#000099")
"""Okabe and Ito's palette with four of Paul Tol's: told apart by colour-blind readers, with the markers' help."""
MARKERS = "osD^vPX<>p"


class Style(NamedTuple):
    color: str
    marker: str
    line: str


BASELINE_STYLES = {"random": Style("#000000", "", "--"), "core_set": Style("#808080", "s", "-")}


def styles(strategies: Sequence[str]) -> dict[str, Style]:
    """By their order in the configuration, so that a strategy looks the same in every figure."""
    others = [s for s in strategies if s not in BASELINE_STYLES]
    return BASELINE_STYLES | {
        s: Style(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], "-") for i, s in enumerate(others)
    }


def shown(rows: list[Row], experiment: Experiment) -> list[str]:
    """All strategies, or the baselines and those that gain most on average over the arms; in the order of the file."""
    names = list(experiment.strategies)
    if len(names) <= MOST:
        return names
    gains = _gains(rows, experiment)
    baselines = [s for s in names if s in BASELINE_STYLES]
    best = sorted(gains, key=lambda s: -float(np.mean([d.mean / scale for d, scale in gains[s].values()])))
    keep = {*baselines, *best[: MOST - len(baselines)]}
    return [s for s in names if s in keep]


def _gains(rows: list[Row], experiment: Experiment) -> dict[str, dict[str, tuple[Any, float]]]:
    """strategy -> arm -> the difference of its area to random's, and random's area."""
    gains: dict[str, dict[str, tuple[Any, float]]] = {}
    for arm in experiment.arms:
        of = areas(rows, arm, headline(rows, arm) or "")
        for s in of:
            gained = paired(of[s], of.get("random", {}))
            if s != "random" and gained.seeds:
                gains.setdefault(s, {})[arm.name] = gained, float(np.mean(list(of["random"].values())))
    return gains


def draw_curves(rows: list[Row], arm: Arm, strategies: Sequence[str], style: dict[str, Style]) -> Figure | None:
    """Left, the metric; right, the paired difference to random with its 95 % interval, side by side at each share."""
    metric = headline(rows, arm) or ""
    of = curves(rows, arm, metric)
    drawn = [s for s in best_first(areas(rows, arm, metric)) if s in strategies]
    if not drawn:
        return None
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    ends: list[tuple[str, float, float]] = []
    beside = {s: 4 * arm.step * (i - (len(drawn) - 1) / 2) for i, s in enumerate(drawn)}
    for s in reversed(drawn):
        color, marker, line = style[s]
        keep = {"color": color, "marker": marker, "ls": line, "lw": 1.6, "ms": 4}
        share = 100 * np.mean([c.shares for c in of[s].values()], axis=0)
        left.plot(share, np.mean([c.values for c in of[s].values()], axis=0), **keep)
        gained = paired(
            {seed: c.values for seed, c in of[s].items()},
            {seed: c.values for seed, c in of.get("random", {}).items()},
        )
        if not gained.seeds:
            continue
        x = share + (0 if s == "random" else beside[s])
        right.plot(x, gained.mean, **keep)
        ends.append((s, x[-1], float(gained.mean[-1])))
        if gained.seeds > 1 and s != "random":
            low, high = gained.mean - gained.half_width, gained.mean + gained.half_width
            right.vlines(x[1:], low[1:], high[1:], color=color, lw=1.2, alpha=0.6)
    for axes in (left, right):
        axes.set_xlabel("share of the pool annotated (%)")
        axes.set_xticks(100 * (arm.start + arm.step * np.arange(len(arm.sizes(1)))))
        _plain(axes)
    left.set_ylabel(named(metric))
    right.set_ylabel(f"difference to random: {named(metric)}")
    left.set_title(_title(arm, {len(of[s]) for s in drawn}), loc="left", fontsize=10)
    right.set_title("less random, paired by seed; bars: 95 % interval", loc="left", fontsize=10)
    _label_ends(right, ends, style)
    return figure


def draw_forest(rows: list[Row], experiment: Experiment, style: dict[str, Style]) -> Figure | None:
    """One row a strategy, one panel an arm: the difference of the areas to random, with its 95 % interval."""
    gains = _gains(rows, experiment)
    arms = [a for a in experiment.arms if any(a.name in g for g in gains.values())]
    if not arms:
        return None
    order = sorted(gains, key=lambda s: float(np.mean([d.mean / scale for d, scale in gains[s].values()])))
    figure = Figure(figsize=(2.6 + 3.2 * len(arms), 1.3 + 0.27 * len(order)), layout="constrained")
    panels = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
    for axes, arm in zip(panels, arms, strict=True):
        axes.axvline(0, color="black", ls="--", lw=1)
        n_seeds = set()
        for y, s in enumerate(order):
            if arm.name not in gains[s]:
                continue
            gained, _ = gains[s][arm.name]
            n_seeds.add(gained.seeds)
            sure = gained.above_zero or gained.below_zero
            color, marker, _ = style.get(s, Style("#444444", "o", "-"))
            if gained.seeds > 1:
                axes.plot(gained.mean + gained.half_width * np.array([-1, 1]), [y, y], color=color, lw=1.6)
            axes.plot(gained.mean, y, marker=marker, color=color, ms=6, mfc=color if sure else "white", mew=1.4)
        axes.set_title(_title(arm, n_seeds), loc="left", fontsize=10)
        axes.set_xlabel(f"area under the curve, less random's:\n{named(headline(rows, arm) or '')}")
        _plain(axes)
        axes.grid(axis="y", color="#EEEEEE", lw=0.8)
    panels[0].set_yticks(range(len(order)), order)
    panels[0].set_ylim(-0.6, len(order) - 0.4)
    figure.supxlabel("line: 95 % interval, paired by seed; filled: the interval leaves zero out", fontsize=8)
    return figure


def write_curves(rows: list[Row], experiment: Experiment, path: Path) -> None:
    """The numbers behind the curves."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("arm", "strategy", "metric", "share", "seeds", "mean", "difference_to_random", "half_width_95"))
        for arm in experiment.arms:
            metrics = dict.fromkeys(row["metric"] for row in rows if row["arm"] == arm.name)
            for metric in (m for m in metrics if not m.endswith("_seconds")):
                of = curves(rows, arm, metric)
                values = {s: {seed: c.values for seed, c in seeds.items()} for s, seeds in of.items()}
                for s, seeds in values.items():
                    mean = np.mean(list(seeds.values()), axis=0)
                    gained = paired(seeds, values.get("random", {}))
                    shares = next(iter(of[s].values())).shares
                    for r, share in enumerate(shares):
                        difference = [f"{v[r]:.6g}" if v.ndim else "" for v in (gained.mean, gained.half_width)]
                        table.writerow((arm.name, s, metric, f"{share:.4f}", len(seeds), f"{mean[r]:.6g}", *difference))


def save(figure: Figure, path: Path) -> None:
    """As PNG and SVG, the same bytes each time."""
    with mpl.rc_context({"svg.hashsalt": "hnscore", "svg.fonttype": "none"}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=130, metadata={"Software": None})
    print(path.with_suffix(".png"))


def named(metric: str) -> str:
    return {"r1": "R@1, both ways added (%)", "map": "mAP, mean of both ways (%)"}.get(metric, metric)


def _title(arm: Arm, seeds: set[int]) -> str:
    n = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    return f"{arm.name}: {100 * arm.start:.3g} to {100 * arm.stop:.3g} % of the pool, {n} seed{'s' * (n != '1')}"


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def _label_ends(axes: Any, ends: list[tuple[str, float, float]], style: dict[str, Style]) -> None:
    """The name of each curve beside its end, moved apart where they would overlap."""
    heights = [y for _, _, y in ends]
    if heights:  # of two seeds the intervals may be too long to show whole
        room = max(2 * (max(heights) - min(heights)), 1e-9)
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, min(heights) - room), min(high, max(heights) + room))
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda e: e[2])
    places = spread([(y - low) / (high - low) for _, _, y in ends], 0.055)
    for (s, x, y), place in zip(ends, places, strict=True):
        axes.annotate(
            s, (x, y), (1.04, place), textcoords="axes fraction", fontsize=8.5, color=style[s].color, va="center",
            arrowprops={"arrowstyle": "-", "color": style[s].color, "lw": 0.6, "shrinkA": 0, "shrinkB": 3,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Sorted places, moved as little as needed, in blocks, so that neighbours are at least `gap` apart."""
    blocks: list[list[float]] = []  # each the wanted place of its first, and of how many
    for i, place in enumerate(places):
        blocks.append([place - i * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    firsts = [first for first, n in blocks for _ in range(int(n))]
    return [first + i * gap for i, first in enumerate(firsts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="TOML file that the results were made with")
    parser.add_argument("--results", type=Path, required=True, help="folder of results")
    parser.add_argument("--output", type=Path, required=True, help="folder for curves-ARM, differences and curves.csv")
    parser.add_argument("--strategies", nargs="+", help=f"curves to draw; else all, or the best {MOST}")
    args = parser.parse_args()
    experiment, rows = config.read(args.config), Store(args.results).rows()
    strategies = args.strategies or shown(rows, experiment)
    if unknown := set(strategies) - set(experiment.strategies):
        raise SystemExit(f"--strategies: unknown {', '.join(sorted(unknown))}")
    style = styles(strategies)
    args.output.mkdir(parents=True, exist_ok=True)
    write_curves(rows, experiment, args.output / "curves.csv")
    figures = {f"curves-{a.name}": draw_curves(rows, a, strategies, style) for a in experiment.arms}
    for name, figure in {**figures, "differences": draw_forest(rows, experiment, style)}.items():
        if figure is None:
            print(f"{name}: no curve is whole yet")
        else:
            save(figure, args.output / name)


if __name__ == "__main__":
    main()
