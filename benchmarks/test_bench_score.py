"""The methods of bench_score.py under pytest-benchmark, at a size for a quick look: `pytest benchmarks`."""

from typing import Any

import numpy as np
import pytest
from comparisons import cascade, regimes

from hnscore.bench import workloads
from hnscore.bench.method import Method
from hnscore.bench.methods import methods, set_threads

N, DIM, THREADS = 2048, 256, 2
WORKLOAD = workloads.gaussian(N, N, DIM)


@pytest.mark.parametrize("method", methods(N, N, 1e9), ids=lambda m: f"{m.name} {m.setting}".strip().replace(" ", "-"))
def test_score(benchmark: Any, method: Method) -> None:
    if not method.installed:
        pytest.skip(f"{method.package} is not installed")
    if method.package == "pykeops":
        pytest.skip("KeOps compiles at its first call; bench_score.py has it")
    set_threads(THREADS)
    run = method.build(*method.inputs(WORKLOAD), THREADS)
    benchmark.extra_info["GFLOP"] = WORKLOAD.flops / 1e9
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)


def test_one_image_and_one_text(benchmark: Any) -> None:
    pair = workloads.gaussian(1, 1, 512)
    method = next(m for m in methods(1, 1, 1e9) if m.name == "hnscore exact hinge")
    benchmark(method.build(*method.inputs(pair), THREADS))


def test_cones_are_as_wide_as_they_say() -> None:
    made = regimes.cones(1500, 1000)
    similar = made.img.astype(np.float64) @ made.txt.astype(np.float64).T
    np.testing.assert_allclose([similar.mean(), similar.std()], [0.17, 0.045], atol=1e-3)
    assert 0.8 < (similar > regimes.CONES_REFERENCE - workloads.MARGIN).mean() < 0.92


def test_rows_of_the_cascade() -> None:
    made = workloads.gaussian(1000, 800, DIM)
    regime = regimes.Regime(made.img, made.txt, made.reference, made.reference)
    part = cascade.Part("normals", lambda: regime, workloads.MARGIN, cascade.ALL)
    for row in cascade.rows(part, regime, THREADS, rounds=1):
        assert row["counts"] == "equal"
        assert 0.9 < float(row["pairs that count"].removesuffix(" %")) < 1.1
        assert float(row["arithmetic"]) >= 1 or "a basis" in row["auto"]
