"""Arrays on a GPU: every keyword, every kind of side array, chunks, streams, errors. Tolerances: tolerances.py."""

import re
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from fake_cuda import FakeCuda
from gpus import Gpu, OnGpu, use
from numpy.typing import NDArray
from tolerances import assert_score, norm_products

import hnscore
from hnscore import _device
from hnscore import reference as ref

pytestmark = pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")

RNG = np.random.default_rng(0)
IMG = RNG.standard_normal((40, 12)).astype(np.float32)
TXT = RNG.standard_normal((17, 12)).astype(np.float32)
OWN = RNG.standard_normal((17, 12)).astype(np.float32)
R = np.full(17, 0.5)
LIMITS = RNG.uniform(0.2, 0.9, 17)
IMG_LABELS, TXT_LABELS = np.arange(40) % 9, np.arange(17) % 9


@pytest.fixture(params=["late", "at random"])
def gpu(request: pytest.FixtureRequest) -> Iterator[Gpu]:
    backend = FakeCuda(eager=None if request.param == "late" else 0)
    before = _device._loaded
    use(backend)
    yield Gpu(backend)
    use(before)
    import gc

    gc.collect()
    assert backend.used == 0


RULES: list[dict[str, Any]] = [
    {},
    {"weight": "count"},
    {"reference": "paired"},
    {"reference": R},
    {"reference": OWN},
    {"reference": R, "weight": "squared_hinge", "aggregate": "mean"},
    {"reference": OWN, "weight": "similarity", "aggregate": "max"},
    {"reference": R, "weight": "exp", "temperature": 0.1, "aggregate": "topk", "k": 3},
    {"weight": "count", "aggregate": "topk", "k": 2, "reference": R},
    {"weight": "count", "minibatch": 7, "random_state": 3},
    {"reference": OWN, "minibatch": 7, "random_state": 3, "max_similarity": LIMITS},
    {"reference": R, "minibatch": 7, "random_state": 3, "aggregate": "mean"},
    {"reference": "paired", "minibatch": 7, "random_state": 3, "top_k_images": 5},
    {"top_k_images": 4, "max_similarity": 0.6},
    {"top_k_images": 40, "max_similarity": np.full(17, np.inf)},
    {"top_k_images": 3, "img_groups": IMG_LABELS, "txt_groups": TXT_LABELS, "weight": "count"},
    {"img_groups": IMG_LABELS, "txt_groups": TXT_LABELS, "minibatch": 9, "random_state": 0},
    {"similarity": "dot", "reference": R, "max_similarity": LIMITS.astype(np.float32)},
]


def on_gpu(gpu: Gpu, rules: dict[str, Any]) -> dict[str, Any]:
    return {name: gpu.put(rule) if isinstance(rule, np.ndarray) else rule for name, rule in rules.items()}


def check(scores: NDArray[Any], img: NDArray[Any], txt: NDArray[Any], margin: float, **rules: Any) -> None:
    similarity = rules.pop("similarity", "cosine")
    s = ref.similarity_matrix(img, txt, similarity)
    if np.ndim(rules.get("reference", 0)) == 2:
        rules["reference"] = ref.pair_similarity(rules["reference"], txt, similarity)
    assert_score(scores, s, norm_products(img, txt, similarity), margin, label=rules, **rules)


@pytest.mark.parametrize("rules", RULES)
def test_every_rule(gpu: Gpu, rules: dict[str, Any]) -> None:
    img = IMG[:17] if isinstance(rules.get("reference"), str) else IMG
    for side in (rules, on_gpu(gpu, rules)):  # side arrays of the host, and on the device
        scores = hnscore.score(gpu.put(img), gpu.put(TXT), 0.4, **side)
        assert isinstance(scores, OnGpu)
        check(gpu.get(scores), img, TXT, 0.4, **rules)
