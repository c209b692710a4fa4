"""The GPU emulator that kernels are tested with, on kernels of its own: tests/cpp/check_emulator.cpp."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_emulator_runs_kernels_and_misses_nothing(tmp_path: Path) -> None:
    program = tmp_path / "check_emulator"
    includes = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests' / 'cpp'}"]
    source = ROOT / "tests" / "cpp" / "check_emulator.cpp"
    command = ["g++", "-std=c++20", "-O1", "-DHNSCORE_EMULATE", *includes, source, "-o", program]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "ok\n"
