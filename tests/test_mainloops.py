"""The tile loops on tensor cores, on the emulated GPU: cpp/check_mainloops.cpp says what is checked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        pytest.skip("no C++ compiler: the emulated GPU is built by the tests")
    path = tmp_path_factory.mktemp("mainloops") / "check_mainloops"
    flags = [
        "-std=c++20",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Wshadow",
        "-Wno-unknown-pragmas",
        "-Werror",
        "-DHNSCORE_EMULATE",
    ]
    source = ROOT / "tests" / "cpp" / "check_mainloops.cpp"
    folders = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests' / 'cpp'}"]
    done = subprocess.run([compiler, *flags, *folders, source, "-o", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("what", ["products", "mutants"])
def test_tile_loops(program: Path, what: str) -> None:
    done = subprocess.run([program, what], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
