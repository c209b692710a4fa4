"""benchmarks/gpu/run.sh from end to end without a GPU: on the emulated one, with stand-ins of NVIDIA's tools.

A fault that is planted makes it fail, with a name. Beside the other tests these take minutes: `nox -s gpu_rehearsal`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]
RUN = ROOT / "benchmarks" / "gpu" / "run.sh"
FILES = {"build.log", "checks.log", "bench.log", "results.json", "results.md", "counters.csv", "summary.txt"}
STEPS = ("build", "smoke", "bench", "tests", "tune", "counters", "memcheck", "racecheck", "synccheck", "libraries")

pytestmark = [
    pytest.mark.exhaustive(0),
    pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash"),
]


def rehearse(folder: Path, *steps: str, status: int = 0, **environment: str) -> dict[str, tuple[str, str]]:
    """Steps of the summary: what came of each, and what it said last."""
    stand_ins = os.pathsep.join([str(ROOT / "tests" / "stand_ins"), os.environ["PATH"]])
    env = os.environ | {"HNSCORE_GPU_DEVICE": "emulated", "PATH": stand_ins, "PYTHON": sys.executable} | environment
    done = subprocess.run(["bash", RUN, folder, *steps], env=env, capture_output=True, text=True, timeout=1500)
    logs = "".join(f"\n== {path}\n{path.read_text()[-3000:]}" for path in folder.glob("*.log"))
    assert done.returncode == status, done.stdout + done.stderr + logs
    lines = (folder / "summary.txt").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("step "))
    return {line[:10].strip(): (line[11:19].strip(), line[27:]) for line in lines[start + 1 : -1]}


@pytest.mark.parametrize("minutes", ["3", "10", "30"])
def test_each_budget(minutes: str, tmp_path: Path) -> None:
    steps = rehearse(tmp_path, HNSCORE_GPU_MINUTES=minutes)
    assert tuple(steps) == STEPS
    left_out = {"3": STEPS[3:], "10": STEPS[7:], "30": ()}[minutes]
    assert {name: result for name, (result, _) in steps.items()} == {
        name: "left out" if name in left_out else "passed" for name in STEPS
    }
    assert {path.name for path in tmp_path.iterdir()} == FILES - ({"counters.csv"} if minutes == "3" else set())
    assert "first check passed" in steps["smoke"][1]
    assert "0 failed" in steps["bench"][1]
    if minutes != "3":
        assert " skipped" in steps["tests"][1]  # of a real GPU all of them, and none was lost on the way
        assert "0 errors" in steps["memcheck"][1]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "wrong",
            ["not right: 130 x 100 x 37 ", "(exact, count, dense): WRONG", "the first is 128 (row block 0, block 1"],
        ),
        ("deadlock", ["not right: 130 x 100 x 520 Rounded<Hinge>", "HANG: ", "warps (the first is warp"]),
        ("hang", ["130 x 100 x 37 Rounded<Count> (fp16, count, dense): \nSTOPPED after 12 s"]),
        ("leak", ["not right: memory after calls: LEAK: 5 calls keep"]),
    ],
)
def test_a_planted_fault_is_named_and_stops_the_rest(fault: str, words: list[str], tmp_path: Path) -> None:
    steps = rehearse(tmp_path, "smoke", "bench", "memcheck", status=1, HNSCORE_PLANT=fault, HNSCORE_GPU_LIMIT="12")
    log = (tmp_path / "checks.log").read_text()
    for text in words:
        assert text in log
    assert steps["smoke"][0] == "failed"
    assert steps["bench"] == steps["memcheck"] == ("not run", "the first check failed")
    assert ("hang" in steps) == (fault == "hang")  # again, with kernels that say what they wait for


def test_a_step_that_is_stopped_names_its_test(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_slow.py").write_text(
        "import time, pytest\n@pytest.mark.gpu\ndef test_first(): pass\n"
        "@pytest.mark.gpu\ndef test_that_hangs(): time.sleep(1000)\n"
    )
    steps = rehearse(tmp_path / "out", "tests", status=1, HNSCORE_GPU_MINUTES="3", HNSCORE_GPU_TESTS=str(tests))
    assert steps["tests"][0] == "stopped"
    assert "test_slow.py::test_that_hangs" in steps["tests"][1]


def test_wrong_words(tmp_path: Path) -> None:
    for environment, text in (
        ({"HNSCORE_GPU_MINUTES": "5"}, "must be 3, 10 or 30, got 5"),
        ({"HNSCORE_GPU_DEVICE": "tpu"}, "must be cuda or emulated, got tpu"),
    ):
        done = subprocess.run(["bash", RUN, tmp_path], env=os.environ | environment, capture_output=True, text=True)
        assert done.returncode == 2
        assert text in done.stderr
