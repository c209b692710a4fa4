"""Digests of results, for changes that must change no bit: a thousand and more calls, on each CPU target and each tile
loop of the emulated GPU.

python tests/digests.py --write FILE     a line a call: its name and the SHA-256 of its result
python tests/digests.py --check FILE     those that differ; exits with 1 if one does
"""

import argparse
import hashlib
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore import _core

Array = NDArray[Any]
Case = tuple[str, Callable[[], Any]]
N_IMG, N_TXT, DIM = 61, 97, 37
WEIGHTS = ("count", "hinge", "squared_hinge", "similarity", "exp")
AGGREGATES: tuple[dict[str, Any], ...] = ({}, {"aggregate": "mean"}, {"aggregate": "topk", "k": 5})
DTYPES = ("float32", "float64", "float16", "int8")
LOOPS = {"simt": (7, 5), "mma": (8, 0), "wgmma": (9, 0)}


def embeddings(dtype: str) -> tuple[Array, Array]:
    """Rows that are similar to each other, some of them equal."""
    rng = np.random.Generator(np.random.Philox(7))
    centres = rng.standard_normal((5, DIM))
    x, t = (centres[rng.integers(0, 5, n)] + rng.standard_normal((n, DIM)) for n in (N_IMG, N_TXT))
    x[::9] = t[: len(x[::9])]
    scale = 20 if dtype == "int8" else 1
    return (x * scale).astype(dtype), (t * scale).astype(dtype)


def rules() -> list[dict[str, Any]]:
    """Which pairs count, beside the default."""
    rng = np.random.Generator(np.random.Philox(8))
    labels = {"img_groups": rng.integers(0, 7, N_IMG), "txt_groups": rng.integers(0, 7, N_TXT)}
    own = rng.integers(0, N_IMG, N_TXT)
    return [
        {},
        {"reference": rng.uniform(0.2, 0.6, N_TXT)},
        {"owner": own},
        {"max_similarity": 0.8, "reference": rng.uniform(0.2, 0.6, N_TXT)},
        {"reference": np.full(N_TXT, 0.4), **labels},
        {"top_k_images": 9, "skip_top_images": 2, "owner": own},
        {"minibatch": 30, "random_state": 3},
    ]


def scores(put: Callable[[Any], Any], precisions: tuple[str, ...]) -> Iterator[Case]:
    """Each weight with each aggregate, in turn with what else there is."""
    turn = itertools.count()
    all_rules = rules()
    for dtype in DTYPES:
        x, t = (put(side) for side in embeddings(dtype))
        for precision, weight, aggregate in itertools.product(precisions, WEIGHTS, AGGREGATES):
            number = next(turn)
            method = ("dense", "cascade", "auto")[number % 3] if precision == "exact" else "dense"
            similarity = ("cosine", "dot")[number // 3 % 2] if dtype != "int8" else "cosine"
            options: dict[str, Any] = {"weight": weight, "precision": precision, "method": method, **aggregate}
            if weight == "exp":
                options["temperature"] = 0.5 if similarity == "cosine" else 30.0
            chosen = all_rules[number % len(all_rules)]
            if similarity == "dot":
                chosen = {}
            options |= {name: put(v) if isinstance(v, np.ndarray) else v for name, v in chosen.items()}
            name = f"score {dtype} {similarity} {precision} {method} {weight} {aggregate} {sorted(chosen)}"
            margin = 0.15 if similarity == "cosine" else 5.0
            yield name, lambda x=x, t=t, m=margin, s=similarity, o=options: hnscore.score(x, t, m, similarity=s, **o)


def searches(put: Callable[[Any], Any], on_gpu: bool) -> Iterator[Case]:
    """References, densities and neighbours."""
    for dtype in DTYPES[:3]:
        x, t = (put(side) for side in embeddings(dtype))
        own = np.arange(N_TXT) % N_IMG
        for kind in ({"kind": "positive"}, {"kind": "hardest"}, {"kind": "topk", "k": 4}):
            yield (
                f"reference {dtype} {kind}",
                lambda x=x, t=t, k=kind, own=own: hnscore.reference_similarity(x, t, owner=own, **k),
            )
        for density in (
            {"kind": "knn", "k": 5},
            {"kind": "ball", "min_similarity": 0.5},
            {"kind": "kernel", "temperature": 0.3},
            *(() if on_gpu else ({"kind": "mean"}, {"kind": "gaussian", "variance": np.full((N_IMG, DIM), 0.3)})),
        ):
            yield f"density {dtype} {density['kind']}", lambda x=x, d=density: hnscore.density(x, **d)
        yield f"density against {dtype}", lambda x=x, t=t: hnscore.density(x, against=t, kind="knn", k=3)
        yield f"neighbours {dtype}", lambda x=x: hnscore.knn_graph(x, 6)


def scorers(put: Callable[[Any], Any]) -> Iterator[Case]:
    x, t = embeddings("float32")
    own = put(x[np.arange(N_TXT) % N_IMG])
    for weight, method in itertools.product(WEIGHTS[:4], ("dense", "cascade", "auto")):

        def call(weight: str = weight, method: str = method) -> Any:
            scorer = hnscore.Scorer(put(t), 0.1, reference=own, weight=weight, method=method)
            return scorer.score(put(x[:20])), scorer.score(put(x[20:]))

        yield f"Scorer {weight} {method}", call


def selections() -> Iterator[Case]:
    x, _ = embeddings("float32")
    s = hnscore.score(*embeddings("float32"), 0.15)
    for method in ("auto", "top", "density", "repulsive", "coverage", "herding"):
        yield f"select {method}", lambda m=method: hnscore.select(s, 12, embeddings=x, method=m)
    yield "select budgeted", lambda: hnscore.select(s, 12, embeddings=x, regions=4, method="budgeted", random_state=1)
    yield "core_set", lambda: hnscore.core_set(x, 9)
    rng = np.random.Generator(np.random.Philox(9))
    means, logs = rng.standard_normal((2, 40, 6)), rng.uniform(-1, 0, (2, 40, 6))
    yield "informativeness", lambda: hnscore.informativeness(means[0], np.exp(logs[0]), means[1], np.exp(logs[1]))


def cases() -> Iterator[Case]:
    """Target by target; each case is to be run before the next one is drawn."""
    own = {"amx_emulated"} & set(_core.config()["targets_emulated"])
    for target in (*own, *_core.config()["targets_supported"]):
        before = _core.set_target(target)
        for name, call in itertools.chain(
            scores(lambda v: v, ("exact", "fp32", "bf16")), searches(lambda v: v, False), scorers(lambda v: v)
        ):
            yield f"{target} {name}", call
        _core.set_target(before)
    yield from selections()
    from emulated import emulated_module
    from gpus import Gpu

    from hnscore.engine.memory import device

    gpu: Any = emulated_module()
    device._loaded, arrays = gpu, Gpu(gpu)
    for loop, capability in LOOPS.items():
        gpu.set_capability(*capability, 4)
        for name, call in itertools.chain(
            scores(arrays.put, ("exact", "fp32", "bf16", "fp16")), searches(arrays.put, True), scorers(arrays.put)
        ):
            yield f"gpu {loop} {name}", call


def result_of(call: Callable[[], Any]) -> Any:
    """Or the kind of its error."""
    try:
        return call()
    except (ValueError, TypeError, RuntimeError) as error:
        return np.frombuffer(type(error).__name__.encode(), np.uint8)


def digest(result: Any) -> str:
    parts = result if isinstance(result, tuple) else (result,)
    arrays = [np.ascontiguousarray(getattr(part, "array", part)) for part in parts]
    whole = b"".join(str((a.dtype, a.shape)).encode() + a.tobytes() for a in arrays)
    return hashlib.sha256(whole).hexdigest()[:16]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="FILE")
    action.add_argument("--check", type=Path, metavar="FILE")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {name: digest(result_of(call)) for name, call in cases()}
    if args.write:
        args.write.write_text("".join(f"{digest} {name}\n" for name, digest in found.items()))
        print(f"{len(found)} digests")
        return 0
    known = {name: digest for digest, _, name in (line.partition(" ") for line in args.check.read_text().splitlines())}
    both = found.keys() & known.keys()  # targets that another machine has are left out
    changed = [name for name in both if found[name] != known[name]]
    for name in sorted(changed):
        print(f"differs: {name}")
    print(f"{len(changed)} of {len(both)} differ; {len(known) - len(both)} are not known here")
    return int(bool(changed) or not both)


if __name__ == "__main__":
    sys.exit(main())
