"""Every kernel of the GPU at small awkward sizes; on the CPU, that the checks are right and see a wrong score."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import hnscore

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "gpu"))  # flat modules, as run.sh finds them

import devices  # noqa: E402
import small  # noqa: E402


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("case", tuple(small.cases()), ids=str)
def test_between(case: small.Case) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    if find_spec("hnscore._cuda") is None:
        pytest.skip("hnscore is built without its CUDA backend")
    small.check(case, devices.Cuda())


ON_THE_CPU = [case for case in small.cases() if case.precision != "fp16"]


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("case", ON_THE_CPU[:: len(ON_THE_CPU) // 20], ids=str)
def test_small_cases_are_right_on_the_cpu(case: small.Case) -> None:
    small.check(case, devices.Cpu())


@pytest.mark.parametrize(
    ("sums", "factor"),
    [
        ("count", 1.01),
        ("hinge", 0.999),
        ("exp", 1.001),
        ("top", 1.001),
        ("similarity", 1.001),
        ("squared_hinge", 0.999),
    ],
)
def test_small_cases_see_a_wrong_score(sums: str, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    case = small.Case((130, 300, 64), "fp32", "exact", "dot", sums)
    score = hnscore.score
    monkeypatch.setattr(hnscore, "score", lambda *args, **options: score(*args, **options) * factor)
    with pytest.raises(AssertionError, match=r"scores are wrong, the first of image"):
        small.check(case, devices.Cpu())
