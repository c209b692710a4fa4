"""What the build says where it has no compiler for the CUDA backend: installing must not fail for it."""

import os
import subprocess
from pathlib import Path

import pytest
from emulated import ROOT, tool

BROKEN = "#!/bin/sh\necho \"/usr/x.h:3:2: error: #error -- unsupported GNU version; 'later' than 15\" >&2\nexit 2\n"


def configure(folder: Path, nvcc: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run the part of the build that looks for nvcc."""
    script = ["cmake_minimum_required(VERSION 3.24)"]
    script += [f'set({name} "{value}")' for name, value in ({"CMAKE_CXX_COMPILER": "c++"} | options).items()]
    script += [
        f"include({ROOT}/csrc/cuda/build.cmake)",
        'message("[${HNSCORE_CUDA_REASON}] [${HNSCORE_CUDA_ARCHS_BUILT}]")',
    ]
    (folder / "script.cmake").write_text("\n".join(script))
    command = [tool("cmake"), "-P", "script.cmake"]
    environment = {**os.environ, "CUDACXX": nvcc}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def broken_nvcc(tmp_path: Path) -> str:
    path = tmp_path / "broken"
    path.write_text(BROKEN)
    path.chmod(0o755)
    return str(path)


def test_broken_nvcc_is_a_reason(tmp_path: Path, broken_nvcc: str) -> None:
    done = configure(tmp_path, broken_nvcc, HNSCORE_CUDA="AUTO")
    assert done.returncode == 0
    said = done.stderr.splitlines()[-1]
    assert "nvcc could not compile a test program: error -- unsupported GNU version later than 15" in said
    assert said.endswith("[]")


def test_missing_nvcc_is_a_reason(tmp_path: Path) -> None:
    done = configure(tmp_path, "/nowhere/nvcc", HNSCORE_CUDA="AUTO")
    assert done.returncode == 0
    assert "when this was built, nvcc could not" in done.stderr.splitlines()[-1]


def test_on_names_the_remedy(tmp_path: Path, broken_nvcc: str) -> None:
    done = configure(tmp_path, broken_nvcc, HNSCORE_CUDA="ON")
    assert done.returncode != 0
    for word in ("HNSCORE_CUDA=ON", "unsupported GNU version", "CUDACXX", "CUDAHOSTCXX", "AUTO"):
        assert word in done.stderr


def test_off_asks_nobody(tmp_path: Path, broken_nvcc: str) -> None:
    done = configure(tmp_path, broken_nvcc, HNSCORE_CUDA="OFF")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "[built with HNSCORE_CUDA=OFF] []"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"HNSCORE_CUDA": "MAYBE"}, "MAYBE"),
        ({"HNSCORE_CUDA": "AUTO", "HNSCORE_CUDA_ARCHS": "80,70"}, "70"),
        ({"HNSCORE_CUDA": "AUTO", "HNSCORE_CUDA_ARCHS": "90b"}, "90b"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, broken_nvcc: str, options: dict[str, str], named: str) -> None:
    done = configure(tmp_path, broken_nvcc, **options)
    assert done.returncode != 0
    assert f"got {named}" in " ".join(done.stderr.split())
