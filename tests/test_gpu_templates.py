"""What host and device compile from one source, on made-up numbers: each program checks properties of random cases.

cpp/properties.h says how a case is drawn; each check_*.cpp says what holds for all of them.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "cpp"


@pytest.mark.parametrize("name", ["exact", "rows", "work", "decide", "epilogue", "top", "finish"])
def test_properties(name: str, tmp_path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        pytest.skip("no C++ compiler: the emulated GPU is built by the tests")
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Wno-unknown-pragmas", "-Werror"]
    folders = [f"-I{FOLDER.parents[1] / 'csrc'}", f"-I{FOLDER}"]
    source, program = str(FOLDER / f"check_{name}.cpp"), str(tmp_path / name)
    command = [compiler, *flags, "-DHNSCORE_EMULATE", *folders, source, "-o", program]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "ok\n"
