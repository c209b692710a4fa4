"""The habits of this project, one session each: `nox -l` lists them, CONTRIBUTING.md has each as a plain command."""

import shutil
import time
from pathlib import Path

import nox

nox.options.sessions = ["lint", "typecheck", "tests"]
nox.options.reuse_existing_virtualenvs = True

CPP = ["csrc", "tests/cpp"]
STUBTEST = ["--allowlist", str(Path("tests/stubtest.txt").resolve()), "--ignore-unused-allowlist"]
WITHOUT_CUDA = ["-Ccmake.define.HNSCORE_CUDA=OFF"]  # where it would only cost minutes
PYPROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style of Python and C++."""
    session.install(*EXTRAS["lint"])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo", env={"PYTHONPATH": "."})  # which of hnscore may import which
    files = session.run("git", "ls-files", *CPP, external=True, silent=True)
    sources = [f for f in str(files).split() if f.endswith((".h", ".cpp", ".cu", ".cuh"))]
    session.run("clang-format", "--dry-run", "--Werror", *sources)


@nox.session
def typecheck(session: nox.Session) -> None:
    """mypy --strict, and the stubs of the core against the compiled module."""
    session.install(".[test,lint]", *WITHOUT_CUDA)
    session.run("mypy")
    with session.chdir(session.create_tmp()):  # away from the source tree, which has no compiled module
        session.run("python", "-m", "mypy.stubtest", "hnscore._core", *STUBTEST)
    session.run("pytest", "tests/test_remedies.py", "-n0", "-k", "types")  # what users' type checkers see


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite on an installed package."""
    session.install(".[test,hosts]")
    session.run("pytest", *session.posargs)


@nox.session
def exhaustive(session: nox.Session) -> None:
    """All cases of the tests that else try some of many."""
    session.install(".[test,hosts]")
    session.run("pytest", "--exhaustive", "-m", "exhaustive", *session.posargs)


@nox.session
def gpu_rehearsal(session: nox.Session) -> None:
    """benchmarks/gpu/run.sh from end to end on the emulated GPU, and faults that it must name. In exhaustive too."""
    session.install(".[test]", *WITHOUT_CUDA)
    session.run("pytest", "--exhaustive", "tests/test_gpu_rehearsal.py", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branches of the core and of the package that the tests reach."""
    build = "build/coverage"
    options = ["-Ccmake.define.HNSCORE_COVERAGE=ON", f"-Cbuild-dir={build}", *WITHOUT_CUDA]
    session.install(".[test]", "gcovr", "pytest-cov", *options)
    # Not those that limit the size of files, which are coverage's own too.
    session.run("pytest", "-nauto", "-knot full_disk", "--cov", "--cov-report=term:skip-covered", *session.posargs)
    folders = [f"--filter=csrc/{name}/" for name in ("core", "recipes", "cpu", "gaussians", "select")]
    # Headers of the build's own environment are gone by now, and counters of several threads may be off by some.
    lenient = ["--gcov-ignore-errors=all", "--gcov-ignore-parse-errors=all"]
    only = ["--exclude-throw-branches", "--exclude-unreachable-branches", *folders]
    session.run("gcovr", "--txt-metric=branch", *only, *lenient, build)


@nox.session
def sanitize(session: nox.Session) -> None:
    """The engine's self-check without optimisation, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    _check_engine(session, "sanitize")


@nox.session
def tests_debug(session: nox.Session) -> None:
    """The numeric tests on a sanitized debug build of the extension."""
    session.install("-e", ".[test]", "-Ccmake.build-type=Debug", "-Ccmake.define.HNSCORE_SANITIZE=ON", *WITHOUT_CUDA)
    libraries = [
        session.run("gcc", f"-print-file-name=lib{n}.so", external=True, silent=True) for n in ("asan", "ubsan")
    ]
    env = {"LD_PRELOAD": " ".join(str(x).strip() for x in libraries), "ASAN_OPTIONS": "detect_leaks=0"}
    session.run(
        "pytest", "tests/test_exactness.py", "tests/test_errors.py", "tests/test_api.py", *session.posargs, env=env
    )


@nox.session
def cuda_compile(session: nox.Session) -> None:
    """The CUDA backend for every architecture, and what its compiler made of it; skipped where there is no nvcc.

    After `--`, another list of architectures.
    """
    if not shutil.which("nvcc"):
        session.skip("needs nvcc of CUDA 12.8 or later")
    archs = ",".join(session.posargs) or "all"
    tools = ("cmake", "ninja", "pybind11", "nvidia", "pytest>", "hypothesis", "mypy")  # not torch
    extras = [x for x in EXTRAS["test"] + EXTRAS["lint"] if x.startswith(tools)]
    session.install(*PYPROJECT["build-system"]["requires"], *PYPROJECT["project"]["dependencies"], *extras)
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    defines = {"HNSCORE_CUDA": "ON", "HNSCORE_CUDA_ARCHS": archs, "HNSCORE_WERROR": "ON"}
    options = [f"-Ccmake.define.{name}={value}" for name, value in defines.items()]
    # In its own folder and with the tools of this session, so that a second run builds what changed.
    options += ["--no-build-isolation", "-Cbuild-dir=build/cuda_compile"]
    start = time.monotonic()
    session.run("pip", "wheel", "-v", "--no-deps", "-w", str(wheels), ".", *options)
    seconds = time.monotonic() - start
    (wheel,) = wheels.iterdir()
    session.run("pip", "install", "--force-reinstall", "--no-deps", str(wheel))
    print_size = "import hnscore._cuda as m, os; print(f'{os.path.getsize(m.__file__) / 1e6:.1f} MB:', m.__file__)"
    with session.chdir(session.create_tmp()):  # away from the source tree, which has no compiled module
        session.run("python", "-c", print_size)
        session.run("python", "-m", "mypy.stubtest", "hnscore._cuda", *STUBTEST)
    session.log(f"{archs}: wheel of {wheel.stat().st_size / 1e6:.1f} MB, built in {seconds:.0f} s")
    session.run("pytest", "tests/test_cuda_compile.py")


@nox.session
def cross(session: nox.Session) -> None:
    """The aarch64 build, checked under an emulator; skipped where Debian's cross tools are not installed."""
    if not (shutil.which("aarch64-linux-gnu-g++") and shutil.which("qemu-aarch64")):
        session.skip("needs g++-aarch64-linux-gnu and qemu-user")
    _check_engine(session, "aarch64")


@nox.session
def bench(session: nox.Session) -> None:
    """The table of the README, on this machine."""
    session.install(".[bench]")
    session.run("python", "benchmarks/bench_score.py", *session.posargs)


@nox.session
def experiments(session: nox.Session) -> None:
    """The curves of active learning; after `--`, a configuration and a folder for its results."""
    session.install(".[experiments]")
    session.run("python", "benchmarks/active_learning/run.py", *session.posargs)


def _check_engine(session: nox.Session, preset: str) -> None:
    session.install("cmake", "ninja")
    session.run("cmake", "--preset", preset)
    session.run("cmake", "--build", "--preset", preset)
