"""Every kernel of the GPU at small awkward sizes; on the CPU, that the checks are right and see a wrong score."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from gpus import a_gpu

import hnscore

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "gpu"))  # flat modules, as run.sh finds them

import devices  # noqa: E402
import first_check  # noqa: E402
import small  # noqa: E402


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[devices.Cpu]:
    for _ in a_gpu("emulated", monkeypatch):  # and after the test the one before
        yield devices.device("emulated")


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("case", tuple(small.cases()), ids=str)
def test_between(case: small.Case) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    if find_spec("hnscore._cuda") is None:
        pytest.skip("hnscore is built without its CUDA backend")
    small.check(case, devices.Cuda())


@pytest.mark.exhaustive(8)
@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("case", tuple(small.cases()), ids=str)
def test_between_on_the_emulated_gpu(case: small.Case, emulated: devices.Cpu) -> None:
    small.check(case, emulated)


@pytest.mark.parametrize("rule", first_check.RULES, ids=" ".join)
@pytest.mark.parametrize("size", [(40, 60, 520), (1101, 20, 96)], ids=str)
def test_first_check_on_the_emulated_gpu(
    rule: first_check.Rule, size: tuple[int, int, int], emulated: devices.Cpu
) -> None:
    """Rows that pass through the ring; a second item and a third for some clusters."""
    data = first_check.Data(first_check.Case(*size), emulated.home)
    assert not first_check.check(data, rule, emulated, 1)


def test_what_sums_lose_is_less_than_is_claimed(emulated: devices.Cpu) -> None:
    said = first_check.lost_in_sums(emulated, 64)
    assert said.startswith("sums of 64 products lose ")


ON_THE_CPU = [case for case in small.cases() if case.precision != "fp16"]


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("case", ON_THE_CPU[:: len(ON_THE_CPU) // 20], ids=str)
def test_small_cases_are_right_on_the_cpu(case: small.Case) -> None:
    small.check(case, devices.Cpu())


def test_small_cases_see_a_wrong_list(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = hnscore.pairs

    def one_less(*args: object, **options: object) -> object:
        found = pairs(*args, **options)
        found.similarities[7] = found.similarities.min() - 1
        return found

    monkeypatch.setattr(hnscore, "pairs", one_less)
    with pytest.raises(AssertionError, match=r"scores are wrong, the first of image"):
        small.check(small.Case((130, 300, 64), "fp32", "exact", "cosine", "pairs"), devices.Cpu())


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
