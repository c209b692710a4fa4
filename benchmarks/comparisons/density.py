"""Densities and nearest neighbours beside FAISS and torch."""

import argparse
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import hnscore
from comparisons import regimes
from hnscore import _core
from hnscore.bench import workloads
from hnscore.bench.measure import Result, best, compare, growth_in_child, ratio
from hnscore.bench.method import Method, Run
from hnscore.bench.methods import CHUNKS
from hnscore.bench.report import Group, Row, mebibytes, say, seconds
from hnscore.bench.workloads import Array, Workload

K = 20
TEMPERATURE = 0.1
LEVEL = 0.5
VARIANCE = 0.05
SAMPLED = 200  # rows of which the float64 density is known
PAUSE = 0.2

SETTINGS: dict[str, dict[str, Any]] = {
    "knn": {"k": K},
    "ball": {"min_similarity": LEVEL},
    "kernel": {"temperature": TEMPERATURE},
    "mean": {},
    "gaussian": {},
}


def density(args: argparse.Namespace) -> Group:
    n, many = (4_000, 20_000) if args.quick else (20_000, 100_000)
    note = (
        f"Median of interleaved rounds (fastest to slowest), whole calls on float32 arrays. knn: k = {K}; ball: s >= "
        f"{LEVEL}; kernel: temperature {TEMPERATURE}. x dense: the same call with method='dense'. Peers get unit "
        "vectors and a filled index, and return the point itself among its neighbours: FAISS `IndexFlatIP.search` for "
        "k + 1, `range_search`; torch: one product, kernel and sum (or `topk`) a chunk, the best of its chunks in "
        f"brackets. Error: largest difference to float64 in {SAMPLED} rows, of a kernel relative. Memory: growth of "
        "anonymous memory during one call in a fresh child."
    )
    inputs: dict[str, Callable[[], Array | None]] = {
        "normals": lambda: workloads.gaussian(n, 1, args.dim).img,
        "Flickr8k texts": lambda: _flickr8k(n),
    }
    parts = [(f"density {name} {n}", _measure(name, make, args)) for name, make in inputs.items()]
    return Group("Densities", note, [*parts, (f"density memory {many}", lambda: _memory(many, args))])


def _flickr8k(n: int) -> Array | None:
    data = regimes.flickr8k()
    return None if data is None else np.resize(data.txt, (n, data.txt.shape[1])) if len(data.txt) < n else data.txt[:n]


def _measure(name: str, make: Callable[[], Array | None], args: argparse.Namespace) -> Callable[[], list[Row]]:
    def measure() -> list[Row]:
        emb = make()
        if emb is None:
            return [{"density": f"{name}: {regimes.NO_FLICKR8K}"}]
        return rows(name, emb, args.threads, args.rounds)

    return measure


def rows(name: str, emb: Array, n_threads: int, rounds: int) -> list[Row]:
    """All kinds of density of some points, in the same rounds."""
    x = workloads.normalise(np.array(emb, np.float32))
    workload = Workload(name, x, x[:1], np.zeros(1))
    results = compare(
        workload,
        [*_hnscore(), *_faiss(), *_torch(len(x))],
        n_threads,
        rounds,
        with_memory=False,
        say=say,
        pause=lambda: _core.peak(PAUSE, n_threads),
    )
    found = {result.method.name: result for result in best(results)}
    return [_row(name, kind, x, found) for kind in SETTINGS]


def _row(name: str, kind: str, x: Array, found: dict[str, Result]) -> Row:
    ours = found[f"hnscore {kind}"]
    if ours.failure:
        raise RuntimeError(f"{kind}: {ours.failure}")
    n, dim = x.shape
    row = {"density": f"{kind} of {name}", "n x dim": f"{n} x {dim}", "hnscore": seconds(ours.seconds, ours.median)}
    dense = found.get(f"hnscore {kind} dense")
    row["x dense"] = f"{ratio(dense, ours):.2f}" if dense else "—"
    for package in ("FAISS", "torch"):
        peer = found.get(f"{package} {kind}")
        row[package] = row[f"x {package}"] = "—"
        if peer:
            row[package] = peer.failure or f"{seconds(peer.seconds, peer.median)} [{peer.method.setting}]"
            row[f"x {package}"] = f"{ratio(peer, ours):.2f}" if peer.seconds else "—"
    return row | {"error": f"{_error(kind, x, ours.scores):.1e}"}


def _error(kind: str, x: Array, got: Array) -> float:
    """Against float64 products of some rows."""
    at = np.linspace(0, len(x) - 1, min(SAMPLED, len(x))).astype(np.int64)
    t = x.astype(np.float64)
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    v = 2 * VARIANCE
    peak = x.shape[1] / 2 * np.log(2 * np.pi * v)
    true: dict[str, Callable[[Array], Any]] = {
        "knn": lambda s: np.sort(s)[-K:].mean(),
        "ball": lambda s: (s >= LEVEL).sum(),
        "kernel": lambda s: np.exp((s - 1) / TEMPERATURE).mean(),
        "mean": lambda s: s.mean(),
        "gaussian": lambda s: np.logaddexp.reduce((s - 1) / v) - np.log(len(s)) - peak,
    }
    want = np.array([true[kind](np.delete(t @ t[i], i)) for i in at])
    error = np.abs(got[at] - want)
    return float((error / want if kind == "kernel" else error).max())


# ---- What is timed ---------------------------------------------------------------------------------------------------


def _settings(kind: str, n: int) -> dict[str, Any]:
    return {"variance": np.full(n, VARIANCE)} if kind == "gaussian" else SETTINGS[kind]


def _method(name: str, package: str, build: Callable[[Array, int], Run], setting: str = "") -> Method:
    return Method(name, setting, package, lambda workload: (workload.img,), build, weight=None)


def _hnscore() -> Iterator[Method]:
    def call(kind: Any, **options: Any) -> Callable[[Array, int], Run]:
        def build(x: Array, n_threads: int) -> Run:
            given = _settings(kind, len(x)) | options | {"n_threads": n_threads}
            return lambda: hnscore.density(x, kind, **given)

        return build

    for kind in SETTINGS:
        yield _method(f"hnscore {kind}", "hnscore", call(kind))
    for kind in ("knn", "ball"):
        yield _method(f"hnscore {kind} dense", "hnscore", call(kind, method="dense"))


def _faiss() -> Iterator[Method]:
    def index(x: Array) -> Any:
        filled = importlib.import_module("faiss").IndexFlatIP(x.shape[1])
        filled.add(x)
        return filled

    def knn(x: Array, n_threads: int) -> Run:
        filled = index(x)
        return lambda: filled.search(x, K + 1)[0]

    def ball(x: Array, n_threads: int) -> Run:
        filled = index(x)
        return lambda: np.diff(filled.range_search(x, LEVEL)[0])

    yield _method("FAISS knn", "faiss", knn, "search")
    yield _method("FAISS ball", "faiss", ball, "range_search")


def _torch(n: int) -> Iterator[Method]:
    def chunked(chunk: int, reduce: Callable[[Any, Any], Any]) -> Callable[[Array, int], Run]:
        def build(x: Array, n_threads: int) -> Run:
            torch = importlib.import_module("torch")
            emb = torch.from_numpy(x)

            def run() -> Any:
                with torch.inference_mode():
                    return torch.cat([reduce(torch, rows @ emb.T) for rows in emb.split(chunk)]).numpy()

            return run

        return build

    def knn(torch: Any, s: Any) -> Any:
        return s.topk(K + 1, dim=1).values[:, 1:].mean(dim=1)

    def ball(torch: Any, s: Any) -> Any:
        return (s >= LEVEL).sum(dim=1) - 1

    def kernel(torch: Any, s: Any) -> Any:
        return (s.sub_(1).div_(TEMPERATURE).exp_().sum(dim=1) - 1) / (n - 1)

    for chunk in sorted({min(chunk, n) for chunk in CHUNKS}):
        for kind, reduce in (("knn", knn), ("ball", ball), ("kernel", kernel)):
            yield _method(f"torch {kind}", "torch", chunked(chunk, reduce), f"chunks of {chunk}")


# ---- Memory ----------------------------------------------------------------------------------------------------------


def _memory(n: int, args: argparse.Namespace) -> list[Row]:
    x = workloads.gaussian(n, 1, args.dim).img
    rows = []
    for kind in SETTINGS:
        say(f"memory of {kind}")

        def prepare(kind: Any = kind) -> Run:
            warm = x[:64]
            hnscore.density(warm, kind, **_settings(kind, len(warm)))
            given = _settings(kind, n) | {"n_threads": args.threads}
            return lambda: hnscore.density(x, kind, **given)

        row = {"density": f"{kind} of normals", "n x dim": f"{n} x {args.dim}"}
        rows.append(row | {"memory": mebibytes(growth_in_child(prepare))})
    return rows
