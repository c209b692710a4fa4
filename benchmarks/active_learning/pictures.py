"""Draw what each strategy picks first: contact sheets where items have pictures, and where the picks lie in the pool.

python benchmarks/active_learning/pictures.py benchmarks/active_learning/configs/headline.toml --results results \
  --output docs/active_learning --arms low --strategies random core_set hinge
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

import config
import loop
import numpy as np
from config import Arm, Experiment
from data import normalized
from matplotlib.figure import Figure
from PIL import Image
from plots import styles
from store import Store
from tasks import Array, Rows

Picks = dict[str, Rows]
SIDE = 64
PER_ROW = 16
PANELS = 8


def first_picks(store: Store, arm: Arm, experiment: Experiment, strategies: list[str]) -> Picks:
    """Of the first round of the first seed, for the strategies that have got there."""
    paths = {s: store.picks(arm, experiment.strategies[s], arm.first_seed, 0) for s in strategies}
    return {s: np.load(path).astype(np.int64) for s, path in paths.items() if path.is_file()}


def draw_sheet(arm: Arm, picks: Picks) -> Figure | None:
    """One row a strategy: thumbnails of its first picks, pixel for pixel, best first."""
    thumbnail = getattr(loop.task(arm), "thumbnail", None)
    if thumbnail is None:
        return None
    gap, left, top = 4, 200, 34
    width, height = left + PER_ROW * (SIDE + gap), top + len(picks) * (SIDE + gap)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    figure.text(8 / width, 1 - 12 / height, f"{arm.name}: the first {PER_ROW} picks of the first round, best first, "
                f"seed {arm.first_seed}", va="top", fontsize=9)  # fmt: skip
    for row, (s, items) in enumerate(picks.items()):
        y = height - top - (row + 1) * (SIDE + gap)
        figure.text((left - 12) / width, (y + SIDE / 2) / height, s, ha="right", va="center", fontsize=8)
        for column, item in enumerate(items[:PER_ROW]):
            figure.figimage(thumbnail(int(item)), left + column * (SIDE + gap), y)
    return figure


def layout(features: Array) -> Array:
    """t-SNE of the normalized features' 50 principal components, in the unit square."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    x = PCA(min(50, *features.shape), random_state=0).fit_transform(normalized(features))
    perplexity = min(30, (len(x) - 1) / 3)
    y = TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(x)
    return np.asarray((y - y.min(axis=0)) / np.ptp(y, axis=0), np.float32)


def draw_map(arm: Arm, picks: Picks, place: Array, strategies: list[str]) -> Figure:
    """Small multiples of one map of the pool, a strategy each."""
    style = styles(strategies)
    rows = -(-len(picks) // 4)
    columns = -(-len(picks) // rows)
    figure = Figure(figsize=(2.7 * columns, 2.85 * rows + 0.3), layout="constrained")
    figure.suptitle(
        f"{arm.name}: picks of the first round (seed {arm.first_seed}) in the pool, t-SNE of its frozen features; "
        f"crosses: labeled before",
        fontsize=9,
    )
    labeled = place[loop.start(arm, arm.first_seed)]
    size = 14 if len(labeled) < 300 else 6
    for i, (s, items) in enumerate(picks.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.scatter(place[:, 0], place[:, 1], s=max(1.5, 6000 / len(place)), color="#D9D9D9", lw=0)
        axes.scatter(labeled[:, 0], labeled[:, 1], s=size, marker="x", color="#777777", lw=0.5)
        axes.scatter(place[items, 0], place[items, 1], s=size, color=style[s].color, lw=0)
        axes.set_title(f"{s} ({len(items)})", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal")
    return figure


def save(figure: Figure, path: Path) -> None:
    """As a PNG of 256 colours, the same bytes each time."""
    raw = BytesIO()
    figure.savefig(raw, dpi=100, metadata={"Software": None})
    Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="TOML file that the results were made with")
    parser.add_argument("--results", type=Path, required=True, help="folder of results")
    parser.add_argument("--output", type=Path, required=True, help="folder for sheet-ARM.png and map-ARM.png")
    parser.add_argument("--arms", nargs="+", help="else all")
    parser.add_argument("--strategies", nargs="+", help=f"else all in the sheets, and the first {PANELS} in the maps")
    args = parser.parse_args()
    experiment, store = config.read(args.config), Store(args.results)
    for option, given, known in (("arms", args.arms, [a.name for a in experiment.arms]),
                                 ("strategies", args.strategies, list(experiment.strategies))):  # fmt: skip
        if unknown := set(given or ()) - set(known):
            raise SystemExit(f"--{option}: unknown {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    args.output.mkdir(parents=True, exist_ok=True)
    places: dict[tuple[str, str], Array] = {}
    for arm in experiment.arms:
        if args.arms and arm.name not in args.arms:
            continue
        picks = first_picks(store, arm, experiment, args.strategies or list(arm.strategies))
        if not picks:
            print(f"{arm.name}: no picks of seed {arm.first_seed} yet")
            continue
        if (sheet := draw_sheet(arm, picks)) is not None:
            save(sheet, args.output / f"sheet-{arm.name}.png")
        key = arm.data, arm.task
        if key not in places:
            places[key] = layout(loop.first(arm, arm.first_seed).view.spaces["features"])
        few = picks if args.strategies else dict(list(picks.items())[:PANELS])
        save(
            draw_map(arm, few, places[key], args.strategies or list(experiment.strategies)),
            args.output / f"map-{arm.name}.png",
        )


if __name__ == "__main__":
    main()
