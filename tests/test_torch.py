"""Torch in, torch out; compiled graphs hold one operator; peace with torch's threads."""

import os
import pickle
import shutil
from typing import Any

import numpy as np
import pytest
import torch

import hnscore
from hnscore.scores.rule import Rule

GENERATOR = torch.Generator().manual_seed(0)
IMG = torch.randn(40, 24, generator=GENERATOR)
TXT = torch.randn(16, 24, generator=GENERATOR)
OWN = torch.randn(16, 24, generator=GENERATOR)
R = torch.full((16,), 0.5)

BACKENDS = ["eager", "aot_eager"] + (["inductor"] if shutil.which("c++") or shutil.which("g++") else [])
RULES: list[dict[str, Any]] = [
    {},
    {"weight": "count"},
    {"weight": "count", "minibatch": 7, "random_state": 3},
    {"reference": R, "weight": "exp", "temperature": 0.1, "aggregate": "mean"},
    {"reference": OWN, "aggregate": "topk", "k": 3, "max_similarity": 0.4},
    {"reference": "pool_max", "top_k_images": 4, "max_similarity": torch.full((16,), 0.4), "precision": "fp32"},
    {"img_groups": torch.arange(40), "txt_groups": torch.arange(16, dtype=torch.int32), "similarity": "dot"},
]


@pytest.mark.parametrize("rules", RULES)
def test_tensors_equal_arrays(rules: dict[str, Any]) -> None:
    scores = hnscore.score(IMG, TXT, 0.2, **rules)
    assert isinstance(scores, torch.Tensor)
    plain: dict[str, Any] = {
        name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in rules.items()
    }
    expected = hnscore.score(IMG.numpy(), TXT.numpy(), 0.2, **plain)
    np.testing.assert_array_equal(scores.numpy(), expected)
    assert scores.numpy().dtype == expected.dtype
    # Arrays beside the embeddings may be of the other kind.
    np.testing.assert_array_equal(hnscore.score(IMG, TXT, 0.2, **plain).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.uint8, torch.int64])
def test_dtypes(dtype: torch.dtype) -> None:
    img, txt = (16 * IMG).abs().to(dtype), (16 * TXT).abs().to(dtype)
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    expected = hnscore.score(img.to(wide), txt.to(wide), 0.1)
    assert torch.equal(hnscore.score(img, txt, 0.1), expected)
    assert torch.equal(hnscore.score(img.t().contiguous().t(), txt.repeat(1, 2)[:, :24], 0.1), expected)


def test_gradients_are_left_out() -> None:
    img, txt = IMG.clone().requires_grad_(), TXT.bfloat16().requires_grad_()
    scores = hnscore.score(img, txt, 0.2, reference=R.clone().requires_grad_())
    assert not scores.requires_grad
    assert torch.equal(scores, hnscore.score(IMG, TXT.bfloat16(), 0.2, reference=R))


def test_other_functions_return_tensors() -> None:
    scorer = hnscore.Scorer(TXT.bfloat16(), 0.2, reference=R)
    expected = hnscore.score(IMG, TXT.bfloat16(), 0.2, reference=R)
    assert torch.equal(scorer.score(IMG), expected)
    assert torch.equal(pickle.loads(pickle.dumps(scorer)).score(IMG), expected)
    reference = hnscore.reference_similarity(IMG, TXT, owner=torch.arange(16), kind="hardest")
    assert reference.dtype == torch.float64
    np.testing.assert_array_equal(
        reference.numpy(), hnscore.reference_similarity(IMG.numpy(), TXT.numpy(), owner=range(16), kind="hardest")
    )


@pytest.mark.exhaustive(2)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rules", RULES)
def test_compiled_graphs_are_whole(backend: str, rules: dict[str, Any]) -> None:
    torch.compiler.reset()

    def step(img: torch.Tensor, txt: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = hnscore.score(2 * img, txt, 0.2, **rules)
        return scores + 1

    compiled = torch.compile(step, backend=backend, fullgraph=True)
    for img in (IMG,) if "img_groups" in rules else (IMG, IMG[:30]):
        assert torch.equal(compiled(img.clone().requires_grad_(), TXT), step(img, TXT))


def test_compiled_errors_are_the_same() -> None:
    torch.compiler.reset()
    compiled = torch.compile(lambda img, txt: hnscore.score(img, txt), backend="eager", fullgraph=True)
    with pytest.raises(ValueError, match="txt_emb has dim 5, img_emb has dim 24"):
        compiled(IMG, TXT[:, :5])


def test_exported_programs_hold_the_operator() -> None:
    class Module(torch.nn.Module):
        def forward(self, img: torch.Tensor, txt: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = hnscore.score(img, txt, 0.2)
            return scores

    program = torch.export.export(Module(), (IMG, TXT))
    assert torch.ops.hnscore.score.default in {node.target for node in program.graph.nodes}
    assert torch.equal(program.module()(IMG, TXT), hnscore.score(IMG, TXT, 0.2))


@pytest.mark.parametrize("weight", ["hinge", "count"])
@pytest.mark.parametrize("reference", [None, R, OWN])
def test_operator_contract(weight: str, reference: torch.Tensor | None) -> None:
    from hnscore.scores import operators  # noqa: F401  registers the operator

    values = Rule(weight=weight, reference=reference)._asdict()
    operator = torch.ops.hnscore.score.default
    torch.library.opcheck(operator, (IMG, TXT), values | {"reference_name": "pool_max"})


def test_reference_operator_contract() -> None:
    from hnscore.scores import operators  # noqa: F401  registers the operator

    owner = torch.arange(len(TXT)) % len(IMG)
    torch.library.opcheck(
        torch.ops.hnscore.reference_similarity.default, (IMG, TXT, owner, "hardest", 1, None, "cosine", None)
    )


def test_compiled_without_a_warning() -> None:
    """What has no operator breaks the graph; warnings are errors here."""
    owner = torch.arange(len(TXT)) % len(IMG)

    def whole(img: torch.Tensor, txt: torch.Tensor) -> torch.Tensor:
        reference = hnscore.reference_similarity(img * 2, txt, owner=owner)
        return hnscore.score(img, txt, 0.2, owner=owner, skip_top_images=1).sum() + reference.sum()

    compiled = torch.compile(whole, fullgraph=True, backend="eager")
    assert compiled(IMG, TXT) == whole(IMG, TXT)
    for function in (
        lambda x: hnscore.select(x[:, 0] * 2, 3, embeddings=x) + 1,
        lambda x: hnscore.density(x * 2, k=3) + 1,
        lambda x: hnscore.knn_graph(x * 2, 3)[0] + 1,
        lambda x: hnscore.core_set(x * 2, 3) + 1,
    ):
        torch._dynamo.reset()
        assert (torch.compile(function, backend="eager")(IMG) == function(IMG)).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_fork_and_beside_torch_threads() -> None:
    """Both libraries have run their threads before the fork; the child starts its own."""
    large = torch.randn(600, 24, generator=GENERATOR)
    assert torch.isfinite(large @ large.T).all()
    expected = hnscore.score(large, TXT, reference=R).numpy()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, hnscore.score(large.numpy(), TXT.numpy(), reference=R.numpy()).tobytes())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == expected.tobytes()
    assert os.waitpid(child, 0)[1] == 0
