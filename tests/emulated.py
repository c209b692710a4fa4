"""The CUDA backend compiled for the CPU: what the tests of its kernels run on a machine without a GPU."""

import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType

import pybind11
import pytest

ROOT = Path(__file__).parents[1]
MODULE = "_cuda_emulated"


@functools.cache
def emulated_module() -> ModuleType:
    """Build the module unless it is up to date, and import it; skips the test where there is no C++ compiler."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        pytest.skip("no C++ compiler: the emulated CUDA backend is built by the tests")
    folder = _folder(compiler)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of a parallel test run share one build
        _build(folder)
    path = folder / "tests" / "cpp" / f"{MODULE}{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _folder(compiler: str) -> Path:
    """Kept between sessions, so that only what changed is built again; one for each source tree and set of tools."""
    key = hashlib.sha256(
        repr((ROOT, sys.executable, sys.version, pybind11.__file__, pybind11.__version__, compiler)).encode()
    ).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"hnscore-emulated-{os.getuid()}-{key}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} belongs to somebody else"
    return folder


def _build(folder: Path) -> None:
    if not (folder / "build.ninja").exists():
        defines = {
            "HNSCORE_EMULATE": "ON",
            "HNSCORE_CUDA": "OFF",
            "CMAKE_MAKE_PROGRAM": tool("ninja"),
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
        }
        options = [f"-D{name}={value}" for name, value in defines.items()]
        _run(tool("cmake"), "-G", "Ninja", "-S", str(ROOT), "-B", str(folder), *options)
    _run(tool("cmake"), "--build", str(folder), "--target", MODULE, "--parallel", "2")


def tool(name: str) -> str:
    """A program of the test extra; its folder need not be on PATH."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    path = shutil.which(name, path=places)
    assert path, f"{name} is not installed; pip install 'hnscore[test]' brings it"
    return path


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # of a sanitizer
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout[-8000:]}", pytrace=False)
