"""What each strategy picks, measured: redundant, crowded, hubs, false negatives? Writes picks.csv and prints a table.

python benchmarks/active_learning/picks.py benchmarks/active_learning/configs/headline.toml --results results

An analysis after the fact: `false_negatives` looks at captions of images that were not annotated yet when they were
picked, which no strategy may. Where texts are picked for images, the labeled texts below are labeled images.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import config
import data
import loop
import numpy as np
from config import Arm, Experiment
from data import normalized
from numpy.typing import NDArray
from store import Store
from tasks import Array, Rows, View

import hnscore

COLUMNS = ("arm", "strategy", "seed", "round", "measure", "value")
MARGIN = 0.2
"""Of hard-negative pairs, as in the strategies."""
SAME = 0.7
"""Cosine of two texts' frozen features above which they nearly say the same."""
FEW = 20
"""Of fewer pairs than this no share is told."""
POOL = "(all free items)"
"""In the place of a strategy: what a pick of everything would measure."""
MEASURES = {
    "redundancy": "mean cosine of two picks, frozen features",
    "dense": "% of picks in the densest tenth of the pool (mean cosine to the 20 nearest, frozen features)",
    "novelty": "mean of 1 less the cosine to the nearest labeled item, frozen features",
    "hubs": "% of picks among the 1 % of free items that are most often among the 10 nearest of a labeled text",
    "hard_negatives": f"hard-negative pairs a pick: texts to which it is closer than their own image less {MARGIN}",
    "false_negatives": f"% of these pairs (of {FEW} or more) with a caption of the pick of cosine > {SAME} to the text",
    "skewness": "of how often free items are among the 10 nearest of a labeled text",
}
"""The first three of every round; the others of the first, whose model all strategies share."""


def redundancy(x: Array) -> float:
    """mean_{i != j} x_i . x_j = (|sum_i x_i|^2 - n) / (n (n - 1)) of normalized rows."""
    n = len(x)
    return float((np.square(x.sum(axis=0, dtype=np.float64)).sum() - n) / (n * (n - 1))) if n > 1 else np.nan


def highest(values: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Which ceil(share n) values are the largest."""
    chosen = np.zeros(len(values), bool)
    chosen[np.argsort(-values, kind="stable")[: int(np.ceil(share * len(values)))]] = True
    return chosen


def novelty(x: Array, labeled: Array) -> float:
    """mean_i (1 - max_l x_i . l)"""
    return float(1 - hnscore.density(x, "knn", k=1, against=labeled, n_threads=1).mean())


def occurrences(items: Array, queries: Array, k: int = 10) -> Rows:
    """N_k(i) = #{queries with item i among their k nearest}"""
    counts = np.zeros(len(items), np.int64)
    k = min(k, len(items))
    for rows in np.array_split(queries, max(1, len(queries) // 256)):
        near = np.argpartition(-(rows @ items.T), k - 1, axis=1)[:, :k]
        counts += np.bincount(near.ravel(), minlength=len(items))
    return counts


def skewness(counts: Rows) -> float:
    """E (N - mean)^3 / deviation^3: large where a few items are near to everything."""
    centred = counts - counts.mean()
    return float((centred**3).mean() / max(float((centred**2).mean()) ** 1.5, 1e-12))


def hard_pairs(items: Array, texts: Array, own: Array, margin: float = MARGIN) -> tuple[Rows, Rows]:
    """Pairs (i, j) with items_i . texts_j > own_j . texts_j - margin, an item's texts in order."""
    threshold = (own * texts).sum(axis=1) - margin
    i, j = np.nonzero(items @ texts.T > threshold)
    return i, j


def same(i: Rows, j: Rows, captions: list[Array], texts: Array, level: float = SAME) -> NDArray[np.bool_]:
    """Of each pair, whether max_c captions[i]_c . texts_j > level."""
    found = np.zeros(len(i), bool)
    for item in np.unique(i):
        pairs = np.flatnonzero(i == item)
        found[pairs] = (texts[j[pairs]] @ captions[item].T).max(axis=1) > level
    return found


class Measures:
    """What the strategies of one arm and seed are measured with: the pool, and the first round's model."""

    def __init__(self, arm: Arm, seed: int) -> None:
        view = loop.first(arm, seed).view
        self.labeled, self.free = view.labeled, view.free
        self.features, self.dense = _pool(arm, view)
        self.counts: Rows | None = None
        self.captions: tuple[list[Array], Array] | None = None
        if view.other_emb is not None and view.other_owner is not None:
            self.joint, self.texts = normalized(view.spaces["joint"]), normalized(view.other_emb)
            self.own = self.joint[view.other_owner]
            self.counts = np.zeros(len(self.joint), np.int64)
            self.counts[self.free] = occurrences(self.joint[self.free], self.texts)
            self.hubs = np.zeros(len(self.joint), bool)
            self.hubs[self.free[highest(self.counts[self.free], 0.01)]] = True
            if arm.task == "images":
                self.captions = _captions(arm, self.labeled)

    def every_round(self, picks: Rows, labeled: Rows) -> dict[str, float]:
        x = self.features
        return {
            "redundancy": redundancy(x[picks]),
            "dense": 100 * float(self.dense[picks].mean()),
            "novelty": novelty(x[picks], x[labeled]),
        }

    def first_round(self, picks: Rows) -> dict[str, float]:
        if self.counts is None:
            return {}
        i, j = hard_pairs(self.joint[picks], self.texts, self.own)
        found = {"hubs": 100 * float(self.hubs[picks].mean()), "hard_negatives": len(i) / len(picks)}
        if self.captions is not None and len(i) >= FEW:
            captions, texts = self.captions
            found["false_negatives"] = 100 * float(same(i, j, [captions[p] for p in picks], texts).mean())
        return found

    def pool(self) -> dict[str, float]:
        found = {**self.every_round(self.free, self.labeled), **self.first_round(self.free)}
        return found if self.counts is None else {**found, "skewness": skewness(self.counts[self.free])}


def _pool(arm: Arm, view: View) -> tuple[Array, NDArray[np.bool_]]:
    """Normalized features, and whether an item is in the densest tenth; once for all seeds and arms of a data set."""
    key = arm.data, arm.task
    if key not in _pools:
        x = normalized(view.spaces["features"])
        _pools[key] = x, highest(hnscore.density(x, "knn", n_threads=1), 0.1)
    return _pools[key]


_pools: dict[tuple[str, str], tuple[Array, NDArray[np.bool_]]] = {}


@lru_cache(maxsize=1)
def _text_features(name: str) -> Array:
    """Not standardised, as cosines of sentence embeddings are meant."""
    return normalized(np.load(data.find(name) / "text_features.npy").astype(np.float32))


def _captions(arm: Arm, labeled: Rows) -> tuple[list[Array], Array]:
    """Frozen features of every item's captions, and of the labeled texts in the order of `View.other_emb`."""
    of_item: list[Rows] = loop.task(arm).of_item  # type: ignore[attr-defined]
    x = _text_features(arm.data)
    return [x[rows] for rows in of_item], x[np.concatenate([of_item[i] for i in labeled])]


def measured(experiment: Experiment, store: Store) -> Iterator[tuple[str, str, int, int, str, float]]:
    """Rows of the table, of all picks that there are."""
    for arm in experiment.arms:
        for seed in arm.of_seeds():
            of_strategy = {s: list(_rounds(store, arm, experiment, s, seed)) for s in arm.strategies}
            if not any(of_strategy.values()):
                continue
            measures = Measures(arm, seed)
            yield from ((arm.name, POOL, seed, 0, m, v) for m, v in measures.pool().items())
            for s, rounds in of_strategy.items():
                labeled = measures.labeled
                for r, picks in enumerate(rounds):
                    found = measures.every_round(picks, labeled) | (measures.first_round(picks) if r == 0 else {})
                    yield from ((arm.name, s, seed, r, m, v) for m, v in found.items())
                    labeled = np.concatenate([labeled, picks])


def _rounds(store: Store, arm: Arm, experiment: Experiment, strategy: str, seed: int) -> Iterator[Rows]:
    for r in range(len(arm.sizes(1)) - 1):
        path = store.picks(arm, experiment.strategies[strategy], seed, r)
        if not path.is_file():
            return
        yield np.load(path).astype(np.int64)


def summary(rows: list[tuple[str, str, int, int, str, float]], experiment: Experiment) -> str:
    """One Markdown table an arm: means over seeds, of the first round and, after a slash, of all rounds."""
    out = []
    for arm in experiment.arms:
        found: dict[tuple[str, str], list[tuple[int, float]]] = {}
        seeds: dict[str, set[int]] = {}
        for name, s, seed, r, measure, value in rows:
            if name == arm.name:
                found.setdefault((s, measure), []).append((r, value))
                seeds.setdefault(s, set()).add(seed)
        names = [m for m in MEASURES if m != "skewness" and any(measure == m for _, measure in found)]
        out += [f"## {arm.name}: {arm.data}, {arm.task}", ""]
        if not found:
            out += ["No picks yet.", ""]
            continue
        out += ["| strategy | seeds | " + " | ".join(m.replace("_", " ") for m in names) + " |"]
        out += ["| --- |" + " ---: |" * (1 + len(names))]
        order = sorted(seeds, key=lambda s: (s != POOL, -_mean(found[s, "redundancy"], first=True)))
        for s in order:
            cells = [_cell(m, found.get((s, m), [])) for m in names]
            out.append(f"| `{s}` | {len(seeds[s])} | " + " | ".join(cells) + " |")
        out.append("")
        if (POOL, "skewness") in found:
            out += [f"Skewness {MEASURES['skewness']}: {_mean(found[POOL, 'skewness'], first=True):.1f}.", ""]
    out += ["Means over seeds, of the first round's picks / of all rounds' where these are measured.", ""]
    return "\n".join(out + [f"- {m.replace('_', ' ')}: {text}" for m, text in MEASURES.items() if m != "skewness"])


def _mean(values: list[tuple[int, float]], *, first: bool) -> float:
    return float(np.mean([v for r, v in values if r == 0 or not first]))


def _cell(measure: str, values: list[tuple[int, float]]) -> str:
    if not values:
        return ""
    digits = {"redundancy": 3, "novelty": 3}.get(measure, 1)
    several = any(r for r, _ in values)
    return " / ".join(f"{_mean(values, first=first):.{digits}f}" for first in ((True, False) if several else (True,)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="TOML file that the results were made with")
    parser.add_argument("--results", type=Path, required=True, help="folder of results")
    parser.add_argument("--output", type=Path, help="folder for picks.csv; else that of the results")
    args = parser.parse_args()
    experiment = config.read(args.config)
    rows = list(measured(experiment, Store(args.results)))
    output: Path = args.output or args.results
    output.mkdir(parents=True, exist_ok=True)
    with (output / "picks.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows((*row[:5], f"{row[5]:.6g}") for row in rows)
    print(summary(rows, experiment))


if __name__ == "__main__":
    main()
