"""benchmarks/gpu without a GPU: its peers compute the scores, its tables are right, it says what could not run."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hnscore import reference

torch = pytest.importorskip("torch")
FOLDER = Path(__file__).parents[1] / "benchmarks" / "gpu"
sys.path.insert(0, str(FOLDER))  # flat modules, as run.sh finds them

import bench  # noqa: E402
import bounds  # noqa: E402
import counters  # noqa: E402
import devices  # noqa: E402
import peers  # noqa: E402
import plan  # noqa: E402
import tables  # noqa: E402
import timing  # noqa: E402

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="is of machines without a GPU")
N_IMG, N_TXT, DIM = 50, 70, 32
BLOCK = (16, 32)  # cuts both sides, and leaves something over on both
WEIGHTS = {
    "count": {"weight": "count"},
    "hinge": {"weight": "hinge"},
    "exp": {"weight": "exp", "temperature": peers.TEMPERATURE},
    "top-16": {"weight": "hinge", "aggregate": "topk", "k": peers.TOP},
}


def some_problem(weight: str, dtype: str = "fp32") -> peers.Problem:
    """A quarter of the pairs counts, so that most images have more than 16 of them and some fewer."""
    img, txt = timing.unit_rows(N_IMG, DIM, 1, "cpu"), timing.unit_rows(N_TXT, DIM, 2, "cpu")
    tau = torch.full((N_TXT,), 0.12) + torch.linspace(-0.02, 0.02, N_TXT)
    return timing.problem(img, txt, tau, dtype, weight, devices.Cpu())


def some_scores(p: peers.Problem, rows: Any, similarity: str = "dot") -> Any:
    """By the benchmark's own float64."""
    return timing.scores_of(*timing.pairs(p, rows, similarity), p.weight)[0]


def defined(p: peers.Problem) -> NDArray[Any]:
    """The scores by the specification."""
    img, txt, tau = (x.double().numpy() for x in (p.img, p.txt, p.tau))
    return reference.score(img, txt, 0.0, reference=tau, similarity="dot", **WEIGHTS[p.weight])


def close(scores: Any, right: NDArray[Any], weight: str) -> None:
    """float32 products of depth 32 are off by 32 * 2^-24 at most: 4e-5 of exp(gap / 0.05), 2e-6 of each of 70 gaps. A
    count would differ by whole pairs: none of these gaps is as small."""
    scores = np.asarray(scores, np.float64)
    if weight == "count":
        np.testing.assert_array_equal(scores, right)
    else:
        np.testing.assert_allclose(scores, right, rtol=1e-4, atol=2e-4)
    assert right.max() > 1


def command(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=120, **options)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


# ---- The peers compute what hnscore computes -------------------------------------------------------------------------


@pytest.mark.parametrize("weight", peers.WEIGHTS)
@pytest.mark.parametrize("step", [peers.eager_step, peers.plain_step])
@pytest.mark.parametrize("block", [BLOCK, (1 << 30, 1 << 30)])
def test_chunked_products_are_the_scores(weight: str, step: Any, block: peers.Block) -> None:
    p = some_problem(weight)
    close(peers.chunked(p, block, step)(), defined(p), weight)


@pytest.mark.parametrize("weight", peers.WEIGHTS)
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_truth_and_the_call_of_hnscore_are_the_scores(weight: str, similarity: str) -> None:
    p = some_problem(weight)
    rows = torch.arange(N_IMG)
    close(some_scores(p, rows, similarity), defined(p), weight)
    close(peers.call(p, "", "exact", similarity)(), defined(p), weight)


def test_products_fill_the_buffer() -> None:
    p = some_problem("hinge")
    last = (N_IMG % BLOCK[0], N_TXT % BLOCK[1])
    buffer = peers.products(p, BLOCK)()[: last[0] * last[1]].view(last)
    torch.testing.assert_close(buffer, p.img[-last[0] :] @ p.txt[-last[1] :].T)


def test_the_fused_kernel_computes_the_scores(tmp_path: Path) -> None:
    """bfloat16 is beyond Triton's interpreter."""
    pytest.importorskip("triton")
    problems = [some_problem(weight, dtype) for dtype in ("fp32", "fp16") for weight in ("count", "hinge", "exp")]
    torch.save([(p.img, p.txt, p.tau, p.weight, peers.TEMPERATURE) for p in problems], tmp_path / "problems")
    program = Path(__file__).with_name("interpreted.py")
    done = command(sys.executable, program, tmp_path / "problems", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    for p, scores in zip(problems, torch.load(tmp_path / "scores"), strict=True):
        close(scores, defined(p), p.weight)


# ---- Measuring -------------------------------------------------------------------------------------------------------


def test_a_hundredth_of_the_pairs_counts() -> None:
    img, txt = timing.unit_rows(2000, DIM, 1, "cpu"), timing.unit_rows(300, DIM, 2, "cpu")
    for share, n in ((0.01, 20), (0.001, 2)):
        gap = img @ txt.T - timing.thresholds(img, txt, share)
        torch.testing.assert_close((gap > 0).sum(0), torch.full((300,), n))
        assert gap.abs().min() > 0


def method(name: str, build: Any, settings: tuple[Any, ...] = ("",), rate: float = 1e15) -> peers.Method:
    return peers.Method(name, settings, build, "dot", lambda p, s: 1e-6, rate)


def test_a_method_that_fails_is_a_row_and_a_wrong_setting_gives_way() -> None:
    p = some_problem("hinge")
    right = torch.from_numpy(np.asarray(defined(p), np.float64))

    def broken(p: peers.Problem, setting: str) -> peers.Run:
        raise ValueError("there is no such\nkernel")

    def build(p: peers.Problem, setting: str) -> peers.Run:
        if setting == "fails":
            raise RuntimeError(setting)
        return lambda: right[: len(p.img)] * (3 if setting == "is wrong" else 1)

    race = timing.Race(p, 1.0, {})
    settings = ("is wrong", "fails", "works")
    failed, works = race.run([method("a", broken), method("b", build, settings)], 3)
    assert failed.failure == "failed: there is no such kernel"
    assert (works.setting, len(works.seconds), works.failure) == ("works", 3, "")
    assert works.error is not None
    assert works.error < 1e-6  # float64 products in another order, and the result in float32
    (none,) = race.run([method("c", build, settings[:2])], 1)
    assert none.failure.startswith("failed: is wrong: 50 of 50 scores are wrong, the first of image 0: ")


@pytest.mark.parametrize("weight", peers.WEIGHTS)
def test_a_wrong_score_has_no_time(weight: str) -> None:
    """By a hundredth part of a percent, or by one pair of a count."""
    p = some_problem(weight)

    def run() -> Any:
        scores = peers.call(p, "", "exact", "dot")()
        scores[7] += 1 if weight == "count" else scores[7] * 1e-4
        return scores

    ours = [m for m in peers.methods("fp32", weight, "first") if m.name.startswith("hnscore exact dot")]
    assert len(ours) == (3 if weight in ("hinge", "exp") else 1)
    race = timing.Race(p, 1.0, {})
    assert all(r.seconds for r in race.run(ours, 1))
    for r in race.run([m._replace(build=lambda p, s: run) for m in ours], 1):
        assert r.failure.startswith("failed: 1 of 50 scores are wrong, the first of image 7: ")
        assert not r.seconds


def test_what_is_not_here_has_not_failed() -> None:
    p = some_problem("hinge")

    def build(p: peers.Problem, setting: str) -> peers.Run:
        raise ModuleNotFoundError("No module named 'triton'")

    book = tables.Book({"gpu": "", "date": ""}, None)
    book.add(made_up_case()[0], timing.Race(p, 1.0, {}).run([method("a", build)], 1))
    assert not book.failed
    assert "not here: No module named 'triton'" in book.markdown()


@pytest.mark.parametrize("weight", ["count", "hinge", "squared_hinge", "similarity", "exp", "top"])
def test_bounds_hold_what_moved_similarities_add_up_to(weight: str) -> None:
    generator = torch.Generator().manual_seed(1)
    s = torch.rand(40, 300, generator=generator, dtype=torch.float64) - 0.5
    tau, off = s[3].clone(), 0.01
    low, high = bounds.between(s - tau, s, off, weight, 0.1, 5)
    exact, same = bounds.between(s - tau, s, 0.0, weight, 0.1, 5)
    torch.testing.assert_close(exact, same, rtol=0, atol=0)
    assert (low < high).all()
    for _ in range(20):
        moved = s + off * (2 * torch.rand(s.shape, generator=generator, dtype=torch.float64) - 1)
        scores, _ = bounds.between(moved - tau, moved, 0.0, weight, 0.1, 5)
        assert not bounds.complaint(scores, low, high, 1e-12)
    # Each alone is reached: all of them moved as far as they may.
    for sign, bound in ((-1, low), (1, high)):
        moved = s + sign * off
        scores, _ = bounds.between(moved - tau, moved, 0.0, weight, 0.1, 5)
        if weight != "similarity":  # of either sign
            torch.testing.assert_close(scores, bound)
    assert bounds.complaint(high * 1.01 + 0.1, low, high, 1e-12)
    assert bounds.complaint(torch.full((40,), float("nan")), low, high, 1e-12)


def test_a_method_that_is_slow_is_timed_on_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LEAST", 8)
    monkeypatch.setattr(devices.Cpu, "elapsed", lambda self, run: len(run()) / 10)
    p = some_problem("hinge")
    slow = method("a", lambda p, s: lambda: some_scores(p, torch.arange(len(p.img))))
    (result,) = timing.Race(p, 2.0, {}).run([slow], 2)
    assert result.rows == 50  # 5 s, less than three times as long as allowed
    (result,) = timing.Race(p, 2.0 / 3, {}).run([slow], 2)
    assert result.rows == 8
    assert result.seconds == [0.8 * 50 / 8] * 2


def test_errors_are_relative_and_nan_is_never_right() -> None:
    right = torch.tensor([0.0, 2.0, 4.0]).double()
    assert timing.error(torch.tensor([0.0, 2.0, 5.0]), right) == 0.25
    assert timing.error(torch.tensor([1.0, 2.0, 4.0]), right) == 0.25  # of the largest, where the score is 0
    assert timing.error(torch.tensor([0.0, 2.0, float("nan")]), right) == float("inf")


# ---- Tables and goals ------------------------------------------------------------------------------------------------


def made_up(name: str, seconds: list[float], **facts: Any) -> timing.Result:
    return timing.Result(method(name, None), "", plan.N_IMG, seconds, 1e-6, **facts)


def made_up_case() -> tuple[plan.Case, list[timing.Result]]:
    case = next(case for case in plan.cases() if case.name == "D=512 bf16 hinge")
    results = [
        made_up(peers.MM, [0.10, 0.20, 0.12]),
        made_up(peers.EAGER, [0.40, 0.40, 0.40]),
        made_up(peers.TRITON, [], failure="failed: no such\tthing"),
        made_up("hnscore bf16 dot", [0.10, 0.25, 0.125], memory=99_000_000),
        made_up("hnscore exact dot auto", [0.30, 0.30, 0.30], memory=101_000_000),
    ]
    return case, results


def test_ratios_are_medians_of_the_rounds() -> None:
    case, results = made_up_case()
    assert tables.ratio(results[0], results[3]) == pytest.approx(0.96)  # of 1, 0.8 and 0.96
    rows = {row["method"]: row for row in tables.rows(case, results)}
    ours = rows["hnscore bf16 dot"]
    assert ours["time"] == "125.0 ms (100.0 to 250.0)"
    assert ours["TFLOP/s"] == f"{2 * 1e6 * 1e5 * 512 / 0.125 / 1e12:.3g}"
    assert (ours["of mm"], ours["x chunked"], ours["x Triton"]) == ("0.96", "3.20", "")
    assert rows[peers.TRITON] == {
        "input": "bf16",
        "weight": "hinge",
        "inside": "1.0%",
        "method": "Triton",
        "time": "failed: no such\tthing",
    }


def test_goals_say_what_was_reached_and_what_was_not_measured() -> None:
    case, results = made_up_case()
    found = {(v.goal, v.method): v for v in tables.verdicts(case, results)}
    ours = "hnscore bf16 dot"
    assert {goal for goal, name in found if name == ours} == {
        "0.92 x torch.mm alone", "2 x torch chunked", "1.5 x torch.compile", "1.15 x Triton", "under 100 MB",
    }  # fmt: skip
    assert found["0.92 x torch.mm alone", ours].met
    assert found["2 x torch chunked", ours].met
    assert not found["1.15 x Triton", ours].met
    assert found["1.15 x Triton", ours].reached is None
    assert found["under 100 MB", ours].met
    assert not found["under 100 MB", "hnscore exact dot auto"].met
    assert tables.verdicts(case._replace(n_img=1000), results) == []  # goals are of the full size
    counts = case._replace(weight="count"), [made_up("hnscore exact dot", [0.2])]
    (of_peak,) = [v for v in tables.verdicts(*counts, gpu="NVIDIA H100 80GB HBM3") if "peak" in v.goal]
    assert of_peak.reached == pytest.approx(2 * 1e6 * 1e5 * 512 / 0.2 / 989.4e12)
    assert not of_peak.met
    assert not [v for v in tables.verdicts(*counts, gpu="another") if "peak" in v.goal]
    rows = tables.goal_rows(found.values())
    assert [row["reached"] for row in rows if row["goal"] == "1.15 x Triton"] == ["not measured"]


def test_every_goal_has_a_case_that_measures_it() -> None:
    for goal in plan.GOALS:
        covered = [
            (case.dim, case.dtype, m.name)
            for case in plan.cases()
            for m in case.methods()
            if goal.covers(case, m.name) and goal.peer in {peer.name for peer in case.methods()}
        ]
        assert {dim for dim, *_ in covered} == set(goal.dims), goal
        assert {dtype for _, dtype, _ in covered} == set(goal.dtypes), goal


def test_the_book_is_written_after_each_case(tmp_path: Path) -> None:
    book = tables.Book({"gpu": "a GPU", "date": "today", "commit": "abc"}, tmp_path / "results.json")
    book.left_out.append("D=256 fp16 hinge")
    book.add(*made_up_case())
    values = json.loads((tmp_path / "results.json").read_text())
    assert values["facts"]["commit"] == "abc"
    assert values["cases"][0]["methods"][3]["seconds"] == [0.10, 0.25, 0.125]
    assert [goal["met"] for goal in values["goals"] if goal["goal"] == "under 100 MB"] == [True, False]
    page = (tmp_path / "results.md").read_text()
    assert page.startswith("# a GPU, today")
    assert "## 1000000 x 100000, dim 512" in page
    assert "Left out, because the time was used up: D=256 fp16 hinge." in page
    assert book.failed == ["Triton at D=512 bf16 hinge"]
    assert book.line() == "1 cases, 1 left out, 3 of 6 goals met, 1 failed: Triton at D=512 bf16 hinge"


# ---- The programs ----------------------------------------------------------------------------------------------------


def test_the_plan_fits_into_the_time_that_it_is_allowed() -> None:
    cases = list(plan.cases())
    text = bench.planned(cases, 5, 9.0)
    assert "D=512 bf16 hinge" in text
    assert "1000000 x 100000" in text
    assert 60 < plan.expected(cases, 5) < 9 * 60  # what run.sh has for it in 30 minutes
    first = [case for case in cases if case.which == "first"]
    assert first == cases[: len(first)]
    assert plan.expected(first, 5) < 55  # in 3 minutes
    assert {case.dim for case in cases} == {256, 512, 768, 1024}
    assert {(case.dtype, case.weight) for case in cases if case.dim == 512} == {
        (dtype, weight) for dtype in peers.DTYPES for weight in peers.WEIGHTS
    }


def test_a_rehearsal_on_the_cpu_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = next(case for case in plan.cases() if case.name == "D=512 bf16 hinge")
    case = case._replace(n_img=300, n_txt=200)
    book = tables.Book(tables.facts("cpu", "abc"), tmp_path / "results.json")
    args = Namespace(minutes=1.0, rounds=2, device="cpu", methods="chunked,alone,hnscore")
    precision = torch.get_float32_matmul_precision()
    try:
        bench.measure([case], args, book, devices.Cpu())
    finally:
        torch.set_float32_matmul_precision(precision)
    names = [m["method"] for m in json.loads((tmp_path / "results.json").read_text())["cases"][0]["methods"]]
    exact = [f"hnscore exact dot {how}" for how in ("auto", "dense", "cascade")]
    assert names == [peers.MM, peers.EAGER, "hnscore bf16 dot", "hnscore bf16 cosine", *exact]
    assert not book.failed
    assert "hnscore exact dot auto" in capsys.readouterr().out
    errors = {r.method.name: r.error for _, results in book.cases for r in results}
    # Chunks round similarities of about 0.1 to bfloat16, so that gaps, of about 0.01 and few in an image, are off by up
    # to 0.0002 each.
    assert 1e-4 < errors[peers.EAGER] < 0.5
    assert errors["hnscore exact dot dense"] < 1e-4  # 4 * 2^-24 of a pair, next to a few such gaps


def test_dry_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", "--dry-run"])
    assert bench.main() == 0
    said = capsys.readouterr().out
    assert "D=1024 bf16 top-16" in said
    assert "minutes expected" in said


@WITHOUT_GPU
def test_without_a_gpu_the_benchmark_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    assert bench.main() == 1
    assert "nothing to measure: " in capsys.readouterr().err


def test_the_script_is_bash() -> None:
    assert command("bash", "-n", FOLDER / "run.sh").returncode == 0
    done = command("bash", FOLDER / "run.sh", "unused", "no-such-step")
    assert done.returncode == 2
    assert "no step no-such-step; there are: build smoke bench" in done.stderr


@WITHOUT_GPU
def test_without_a_gpu_the_script_says_which_steps_could_not_run(tmp_path: Path) -> None:
    done = command(
        "bash", FOLDER / "run.sh", tmp_path / "results", env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    )
    assert done.returncode == 1
    summary = (tmp_path / "results" / "summary.txt").read_text()
    for step in ("build", "smoke", "bench", "tests", "tune", "counters", "memcheck"):
        (line,) = [line for line in summary.splitlines() if line.startswith(step)]
        assert line.split(maxsplit=3)[1:3] == ["not", "run"]
        assert "torch" in line or "not installed" in line
    assert summary in done.stdout


# ---- Counters ------------------------------------------------------------------------------------------------------

RAW = """==PROF== Connected to process 1
"ID","Kernel Name","gpu__time_duration.sum","sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active","launch__registers_per_thread","smsp__average_warps_issue_stalled_wait_per_issue_active.ratio","smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio"
"","","ns","%","register/thread","inst","inst"
"0","pack(int)","12,000","0.0","40","0.1","0.2"
"1","main_loop<Hinge, Bf16>(Problem)","2,500,000","91.5","168","0.5","1.25"
==PROF== Disconnected
"""  # noqa: E501


def test_counters_are_those_of_the_longest_kernel() -> None:
    launches = counters.parse(RAW)
    assert [counters.duration(x) for x in launches] == [12e3, 2.5e6]
    lines = counters.report(launches).splitlines()
    assert lines[:2] == ["     0.012 ms  pack(int)", "     2.500 ms  main_loop<Hinge, Bf16>(Problem)"]
    shown = [line.split() for line in lines]
    assert ["sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active", "[%]", "91.5"] in shown
    assert ["launch__registers_per_thread", "[register/thread]", "168"] in shown
    assert [line.split()[0] for line in lines[-2:]] == ["barrier", "wait"]
    assert "shared-memory bank conflicts: not among the counters of this ncu" in lines
    assert counters.parse("==ERROR== no permission") == []
