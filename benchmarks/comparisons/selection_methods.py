"""What --select times: hnscore's greedy selections, and k-center greedy and facility location as people run them.

The peers are written anew after the published algorithms, or called through their packages' public functions. All get
unit rows. k-center greedy starts from row 0, which is labeled.
"""

import heapq
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.bench.method import Method, Run
from hnscore.bench.workloads import Array, Workload

Picks = NDArray[np.int64]

TEMPERATURE = 0.1
READ = "one read of the pool"
_READS = 5  # timed together: one alone is short


def _pool(workload: Workload) -> tuple[Array]:
    return (workload.img,)


# ---- k-center greedy -------------------------------------------------------------------------------------------------


def core_set_methods(budget: int, slow: int) -> Iterator[Method]:
    """`slow`: so many picks of the slow ones are timed; each takes the same time."""
    part, share = f"timed on {slow} picks", slow / budget

    def ours(emb: Any, n_threads: int) -> Run:
        return lambda: hnscore.core_set(emb, budget, labeled=np.array([0]), n_threads=n_threads)

    yield Method("hnscore core_set", "", "hnscore", _pool, ours, weight=None)
    yield Method("torch tuned", "", "torch", _tensor, _torch_tuned(budget), weight=None)
    yield Method("torch cdist", part, "torch", _tensor, _torch_cdist(slow), weight=None, share=share)
    yield Method("NumPy and scikit-learn", part, "sklearn", _pool, _sklearn_distances(slow), weight=None, share=share)
    yield Method("scikit-activeml CoreSet", part, "skactiveml", _pool, _activeml_core_set(slow), None, share=share)


def _tensor(workload: Workload) -> Any:
    return (importlib.import_module("torch").from_numpy(workload.img),)


def _torch_tuned(budget: int) -> Callable[..., Run]:
    """All that we know to help: one product with a vector into a buffer, cosines instead of distances, all in place."""

    def build(emb: Any, n_threads: int) -> Run:
        torch = importlib.import_module("torch")

        def run() -> Any:
            picks = np.empty(budget, np.int64)
            nearest = emb @ emb[0]
            product = torch.empty_like(nearest)
            for n in range(budget):
                picks[n] = pick = int(nearest.argmin())
                torch.mv(emb, emb[pick], out=product)
                torch.maximum(nearest, product, out=nearest)
            return picks

        return run

    return build


def _torch_cdist(budget: int) -> Callable[..., Run]:
    """As it is usually written."""

    def build(emb: Any, n_threads: int) -> Run:
        torch = importlib.import_module("torch")

        def run() -> Any:
            picks = []
            closest = torch.cdist(emb, emb[:1])[:, 0]
            for _ in range(budget):
                pick = int(closest.argmax())
                picks.append(pick)
                closest = torch.minimum(closest, torch.cdist(emb, emb[pick : pick + 1])[:, 0])
            return np.array(picks)

        return run

    return build


def _sklearn_distances(budget: int) -> Callable[..., Run]:
    """Farthest first as in the published code of BADGE; its minimum is a loop over the rows in Python, here NumPy's."""

    def build(emb: Any, n_threads: int) -> Run:
        distances = importlib.import_module("sklearn.metrics").pairwise_distances

        def run() -> Any:
            picks = []
            closest = distances(emb, emb[:1]).min(axis=1)
            for _ in range(budget):
                pick = int(closest.argmax())
                picks.append(pick)
                closest = np.minimum(closest, distances(emb, emb[[pick]])[:, 0])
            return np.array(picks)

        return run

    return build


def _activeml_core_set(budget: int) -> Callable[..., Run]:
    def build(emb: Any, n_threads: int) -> Run:
        strategy = importlib.import_module("skactiveml.pool").CoreSet(random_state=0)
        labels = np.full(len(emb), np.nan)
        labels[0] = 0
        return lambda: strategy.query(emb, labels, batch_size=budget)

    return build


# ---- The units: reading the pool, and a pass of the engine -----------------------------------------------------------


def read_methods() -> Iterator[Method]:
    """Every byte of the pool once."""
    runs: dict[str, tuple[str, Callable[[Any], Run]]] = {
        "torch integers": ("torch", lambda emb: _torch(emb.view(np.int64)).sum),
        "NumPy integers": ("numpy", lambda emb: emb.view(np.int64).sum),
        "torch sum": ("torch", lambda emb: _torch(emb).sum),
        "torch matrix times vector": ("torch", lambda emb: lambda: _torch(emb) @ _torch(emb[0])),
    }
    for setting, (package, make) in runs.items():
        yield Method(READ, setting, package, _pool, _repeated(make, "integers" in setting), weight=None, share=_READS)


def _torch(emb: Any) -> Any:
    return importlib.import_module("torch").from_numpy(emb)


def _repeated(make: Callable[[Any], Run], any_dtype: bool) -> Callable[..., Run]:
    def build(emb: Any, n_threads: int) -> Run:
        if emb.dtype != np.float32 and not any_dtype:
            raise TypeError("slow in float16")
        read = make(emb)

        def run() -> int:
            for _ in range(_READS):
                read()
            return 0

        return run

    return build


def engine_pass(columns: int) -> Method:
    def build(emb: Any, n_threads: int) -> Run:
        options: dict[str, Any] = {"temperature": TEMPERATURE, "n_threads": n_threads}
        return lambda: hnscore.density(emb, "kernel", against=emb[:columns], **options)

    return Method(f"hnscore density against {columns}", "", "hnscore", _pool, build, weight=None)


def repulsive_method(budget: int) -> Method:
    """The scores of the rows are the workload's reference."""

    def build(emb: Any, scores: Any, n_threads: int) -> Run:
        return lambda: hnscore.select(
            scores, budget, embeddings=emb, method="repulsive", temperature=TEMPERATURE, n_threads=n_threads
        )

    return Method("hnscore repulsive", "", "hnscore", lambda w: (w.img, w.reference), build, weight=None)


# ---- Facility location -----------------------------------------------------------------------------------------------


def coverage_methods(budget: int) -> Iterator[Method]:
    def ours(emb: Any, n_threads: int) -> Run:
        options: dict[str, Any] = {"method": "coverage", "temperature": TEMPERATURE, "n_threads": n_threads}
        options["subsample"] = None
        return lambda: hnscore.select(None, budget, embeddings=emb, **options)

    yield Method("hnscore coverage", "", "hnscore", _pool, ours, weight=None)
    yield Method("NumPy lazy greedy", "matrix kept", "numpy", _pool, _numpy_lazy(budget), weight=None)
    for optimizer in ("lazy", "two-stage"):  # "naive" is slower by far
        build = _apricot(budget, optimizer)
        yield Method("apricot facility location", optimizer, "apricot", _float64, build, weight=None)
    yield Method("scikit-activeml MaxHerding", "", "skactiveml", _float64, _activeml_herding(budget), weight=None)


def _float64(workload: Workload) -> Any:
    emb = workload.img.astype(np.float64)
    return (emb / np.linalg.norm(emb, axis=1, keepdims=True),)


def kernel(emb: Any) -> Any:
    k = emb @ emb.T
    k -= 1
    k /= TEMPERATURE
    return np.exp(k, out=k)


def _numpy_lazy(budget: int) -> Callable[..., Run]:
    """As users write it: the float32 kernels of all pairs, and a heap of gains as they were last."""

    def build(emb: Any, n_threads: int) -> Run:
        def run() -> Any:
            k = kernel(emb)
            covered = np.zeros(len(emb), np.float32)
            heap = [(-gain, row, 0) for row, gain in enumerate(k.sum(axis=0, dtype=np.float64))]
            heapq.heapify(heap)
            picks: list[int] = []
            while len(picks) < budget:
                _, row, seen = heapq.heappop(heap)
                if seen == len(picks):
                    picks.append(row)
                    covered = np.maximum(covered, k[row])
                else:
                    gain = np.maximum(k[row] - covered, 0).sum(dtype=np.float64)
                    heapq.heappush(heap, (-gain, row, len(picks)))
            return np.array(picks)

        return run

    return build


def _apricot(budget: int, optimizer: str) -> Callable[..., Run]:
    def build(emb: Any, n_threads: int) -> Run:
        numba = importlib.import_module("numba")
        numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))
        selection = importlib.import_module("apricot").FacilityLocationSelection

        def run() -> Any:
            chosen = selection(budget, metric="precomputed", optimizer=optimizer)
            return chosen.fit(kernel(emb)).ranking

        return run

    return build


def _activeml_herding(budget: int) -> Callable[..., Run]:
    """On unit rows exp((s - 1) / T) is exp(-|x - y|^2 / 2T)."""

    def build(emb: Any, n_threads: int) -> Run:
        options = {"metric": "rbf", "metric_dict": {"gamma": 1 / (2 * TEMPERATURE)}, "normalize_samples": False}
        strategy = importlib.import_module("skactiveml.pool").MaxHerding(random_state=0, **options)
        labels = np.full(len(emb), np.nan)
        return lambda: strategy.query(emb, labels, batch_size=budget)

    return build
