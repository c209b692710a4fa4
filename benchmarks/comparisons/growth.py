"""What a selection takes as the pool and the budget grow: real embeddings, and larger pools made of them."""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import hnscore
from comparisons import regimes
from hnscore.bench.report import Group, Row, say
from hnscore.bench.workloads import Array, normalise

NOISE = 0.3
SIZES = [(5_000, 100), (5_000, 1_000), (50_000, 100), (50_000, 1_000), (640_000, 300), (1_000_000, 10_000)]
METHODS: dict[str, dict[str, Any]] = {
    "auto": {},
    "auto, temperature 0.2": {"temperature": 0.2},
    "auto, temperature 0.1": {"temperature": 0.1},
    "coverage": {"method": "coverage"},
    "stochastic": {"method": "stochastic"},
    "herding": {"method": "herding"},
    "repulsive": {"method": "repulsive"},
    "core_set": {},
}

_NOTE = (
    "Flickr8k: joint embeddings of captions, 512 float16 values; beyond the 40,455 that there are, drawn with "
    f"replacement, each moved by normals of norm {NOISE}. Scores: normals, for coverage and stochastic their "
    "magnitudes. Every call once, defaults but for what the column says; in brackets a pick, in ms. "
)


def growth(args: argparse.Namespace) -> Group:
    sizes = SIZES[:2] if args.quick else SIZES
    if args.regimes:
        sizes = [size for size in sizes if any(name in f"{size[0]} {size[1]}" for name in args.regimes.split(","))]
    parts: list[tuple[str, Callable[[], list[Row]]]]
    parts = [(f"growth {n} {budget}", partial(_rows, n, budget, args.threads)) for n, budget in sizes]
    return Group("Selections as the pool grows", _NOTE, parts)


def pool(emb: Array, n: int) -> Array:
    """The first n rows, or n drawn ones, each moved."""
    if n <= len(emb):
        return emb[:n]
    rng = np.random.default_rng(0)
    out = np.empty((n, emb.shape[1]), np.float16)
    for start in range(0, n, 20_000):
        part = out[start : start + 20_000]
        rows = normalise(emb[rng.integers(len(emb), size=len(part))].astype(np.float32))
        part[:] = rows + NOISE / np.sqrt(rows.shape[1]) * rng.standard_normal(rows.shape, np.float32)
    return out


def _rows(n: int, budget: int, n_threads: int) -> list[Row]:
    data = regimes.flickr8k()
    if data is None:
        return [{"rows": regimes.NO_FLICKR8K}]
    emb = pool(data.all_txt, n)
    scores = np.random.default_rng(1).standard_normal(n)
    row = {"rows": f"{n:,}", "picks": f"{budget:,}"}
    for name, options in METHODS.items():
        say(f"{budget} of {n} by {name}")
        began = time.perf_counter()
        if name == "core_set":
            hnscore.core_set(emb, budget, n_threads=n_threads)
        else:
            given = np.abs(scores) if name in ("coverage", "stochastic") else scores
            hnscore.select(given, budget, embeddings=emb, random_state=0, n_threads=n_threads, **options)
        took = time.perf_counter() - began
        row[name] = f"{took:.2f} s ({1e3 * took / budget:.2g})"
    return [row]
