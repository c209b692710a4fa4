"""Target amx: its loops on emulated registers, mutants of them, the hardware's bits, and its manners in a process."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tolerances import assert_score, norm_products

import hnscore
from hnscore import _core

ROOT = Path(__file__).parents[1]
LOOPS = ROOT / "csrc" / "cpu" / "kernels" / "amx"
EMULATED = "amx_emulated" in _core.config()["targets_emulated"]
# Where the system was asked and refused, there is nothing to test but that.
HARDWARE = "amx" in _core.config()["targets_supported"] and "amx" not in _core.config()["targets_missing"]

emulated = pytest.mark.skipif(not EMULATED, reason="the emulation needs AVX-512")
hardware = pytest.mark.skipif(not HARDWARE, reason="no AMX here")

# ---- The loops -------------------------------------------------------------------------------------------------------

INSTRUCTIONS = ["avx2", "fma", "bmi2", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"]
FLAGS = ["-std=c++20", "-O1", "-ffp-contract=off", "-Wno-psabi", *(f"-m{name}" for name in INSTRUCTIONS)]


def built(folder: Path, *includes: Path) -> Path:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        pytest.skip("no C++ compiler")
    program = folder / "check_tiles"
    paths = [f"-I{path}" for path in (*includes, ROOT / "csrc")]
    source = ROOT / "tests" / "cpp" / "check_tiles.cpp"
    done = subprocess.run(
        [compiler, *FLAGS, *paths, source, "-o", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


@emulated
def test_every_pair_meets_its_epilogue_once(tmp_path: Path) -> None:
    done = subprocess.run([built(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout


MUTANTS = {
    "two accumulators change places": ("o1 = (p + 1) % 5, o0 = (p + 2) % 5", "o1 = (p + 2) % 5, o0 = (p + 1) % 5"),
    "a phase of digits follows another": ("HNSCORE_PHASE(0, 3)", "HNSCORE_PHASE(0, 2)"),
    "a phase of whole values follows another": ("HNSCORE_PHASE(2, 1)", "HNSCORE_PHASE(2, 0)"),
    "a quarter is stored elsewhere": ("tile_store<o3>(area + 16 * 32, 128)", "tile_store<o3>(area, 128)"),
    "sums of a part are taken for all": ("due = last;", "due = true;"),
    "sums of earlier parts are forgotten": ("first > 0 ? waiting + i * 768 : nullptr", "nullptr"),
    "parts do not wait": ("old = last ? pending.area.value : waiting + i * 768;", "old = pending.area.value;"),
    "rows are left": ("    if (due && r < 16) pending.rows(r, 16);\n", ""),
    "the last tile is left": ("    pending.rows(0, 32);\n}", "}"),
    "a digit meets another": ("<n1, 7, 6>();\n        tile_stream", "<n1, 5, 6>();\n        tile_stream"),
    "low products for all": ("if (row_spread[r] * col_spread[c] > 1)", "if (true)"),
    "fine tiles twice": ("            if (!is_fine(i)) continue;\n", ""),
    "sure pairs survive": ("                bits &= ~sure;\n", ""),
    "what may be equal is dropped": ("= Simd::not_gt(tau[v], upper);", "= Simd::gt(upper, tau[v]);"),
    "no epilogue but of the first steps": ("r + share < 32 ? r + share : 32", "r + share < 32 ? r + share : 31"),
}  # fmt: skip


@emulated
@pytest.mark.exhaustive(3)
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_noticed(tmp_path: Path, name: str) -> None:
    old, new = MUTANTS[name]
    mutants = shutil.copytree(LOOPS, tmp_path / LOOPS.relative_to(ROOT / "csrc"))
    changed = [path for path in mutants.iterdir() if old in path.read_text()]
    assert changed, "the mutant is of today's source"
    for path in changed:
        path.write_text(path.read_text().replace(old, new))
    program = built(tmp_path, tmp_path)
    try:
        done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return
    assert done.returncode != 0, name


# ---- The hardware's bits ---------------------------------------------------------------------------------------------


def rows(rng: np.random.Generator, n: int, dim: int, kind: str) -> NDArray[np.float32]:
    x = rng.standard_normal((n, dim))
    if kind == "alike":
        x += 3 * np.sin(np.arange(dim))
    if kind == "outliers":
        x[rng.random(n) < 0.3, 0] *= 50 * dim**0.5
    if kind == "wide":
        x *= np.exp(rng.uniform(-60, 20, (n, dim)))
    return x.astype(np.float32)


@hardware
@emulated
@pytest.mark.parametrize("kind", ["gaussian", "alike", "outliers", "wide"])
@pytest.mark.parametrize("dim", [1, 63, 64, 130, 600, 1100])
def test_emulation_has_the_bits_of_the_hardware(dim: int, kind: str) -> None:
    rng = np.random.default_rng(dim)
    x, t = rows(rng, 130, dim, kind), rows(rng, 90, dim, kind)
    group = np.arange(130) % 7
    calls: list[dict[str, Any]] = [
        {"weight": "hinge"},
        {"weight": "count", "precision": "fp32"},
        {"weight": "similarity", "precision": "bf16"},
        {"weight": "exp", "temperature": 0.1, "precision": "bf16", "similarity": "dot"},
        {"weight": "hinge", "img_groups": group, "txt_groups": np.arange(90) % 7, "max_similarity": 0.9},
        {"aggregate": "topk", "k": 3, "similarity": "dot"},
        {"weight": "hinge", "method": "cascade"},
        {"weight": "count", "method": "cascade", "similarity": "dot"},
        {"aggregate": "max", "method": "cascade"},
    ]
    previous = _core.config()["target"]
    try:
        for call in calls:
            got = []
            for target in ("amx", "amx_emulated"):
                _core.set_target(target)
                got.append(hnscore.score(x, t, 0.05, **{"method": "dense", "reference": np.full(90, 0.1), **call}))
            assert got[0].tobytes() == got[1].tobytes(), call
    finally:
        _core.set_target(previous)


@pytest.mark.parametrize("spread", [1.0, 0.75, 0.3])
def test_outliers_keep_the_contract(target: str, spread: float) -> None:
    """One value of a row holds that share of its norm: digits of the largest leave the others little."""
    dim = 512
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((50, dim)), rng.standard_normal((40, dim))
    for a in (x, t):
        a[:, 0] = spread / max(1 - spread**2, 1e-6) ** 0.5 * np.linalg.norm(a[:, 1:], axis=1)
    x, t = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, t))
    x, t = x.astype(np.float32), t.astype(np.float32)
    s = x.astype(np.float64) @ t.T.astype(np.float64)
    got = hnscore.score(x, t, 0.0, reference=np.full(40, -2.0), similarity="dot", weight="similarity", method="dense")
    error = np.abs(got - s.sum(axis=1)) / 2.0**-24
    norms = np.multiply.outer(*(np.linalg.norm(a.astype(np.float64), axis=1) for a in (x, t))).sum(axis=1)
    assert (error <= 4 * norms + np.abs(got)).all()


@pytest.mark.parametrize("levels", [(-2, -1, -1, 1, 1, 1, 2), (-5, -1, -1, -1, 1, 1, 2, 2), (-9, 1, 1, 1, 2)])
@pytest.mark.parametrize("dim", [31, 64, 512])
@pytest.mark.parametrize("whole", [True, False])
def test_few_magnitudes_keep_the_contract(target: str, whole: bool, dim: int, levels: tuple[int, ...]) -> None:
    """What the digits of such rows leave out has one sign in the products of equal rows; of whole numbers it is 0."""
    x = np.random.default_rng(dim).choice(levels, (60, dim)).astype(np.float32)
    if not whole:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    s = x.astype(np.float64) @ x.T.astype(np.float64)
    norms = norm_products(x, x, "dot") * (1 if whole else 2)  # the contract's exception
    for weight in ("hinge", "similarity"):
        rules: dict[str, Any] = {"reference": np.diag(s).copy(), "weight": weight}
        got = hnscore.score(x, x, 0.2, similarity="dot", method="dense", **rules)
        assert_score(got, s, norms, 0.2, **rules)


# ---- In a process ----------------------------------------------------------------------------------------------------

PROGRAM = """
import ctypes, os, sys
import numpy as np

libc = ctypes.CDLL(None, use_errno=True)
def permitted():
    mask = ctypes.c_ulong()
    assert libc.syscall(158, 0x1022, ctypes.byref(mask)) == 0  # arch_prctl, ARCH_GET_XCOMP_PERM
    return mask.value >> 18 & 1
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
kept = ctypes.create_string_buffer(8192)
def small_stack():
    return libc.sigaltstack(ctypes.byref(Stack(ctypes.addressof(kept), 0, 8192)), None)
x = np.random.default_rng(0).standard_normal((300, 70)).astype(np.float32)
def score():
    return hnscore.score(x, x[::-1], 0.1, weight="count")
"""


def run(program: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-X", "faulthandler", "-c", PROGRAM + program]
    done = {**os.environ, "HNSCORE_TARGET": "", **environment}
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env=done)


@hardware
def test_the_system_is_asked_at_the_first_call() -> None:
    done = run("import hnscore\nbefore = permitted()\nscore()\nprint(before, permitted())")
    assert done.stdout == "0 1\n", done.stderr


@hardware
def test_a_refusal_is_heeded() -> None:
    """Linux refuses where a thread has a small stack for signals."""
    program = """
assert small_stack() == 0
import hnscore
config = hnscore.show_config("dicts")
print(config["target"], "|", config["targets_missing"]["amx"], "|", *score())
try:
    hnscore._core.set_target("amx")
except ValueError as error:
    print(error)
"""
    done = run(program)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    target, reason, counts = first.split(" | ")
    assert target.startswith("avx512")
    assert "Linux refused AMX" in reason
    assert "sigaltstack" in reason
    assert "amx: Linux refused" in second
    assert "expected one that this machine supports" in second
    expected = run("import hnscore\nprint(*score())")
    assert counts == expected.stdout.strip()


def test_it_can_be_left_out() -> None:
    program = (
        "import hnscore\nc = hnscore.show_config('dicts')\nprint(c['target'], '|', c['targets_missing'].get('amx'))"
    )
    done = run(program, HNSCORE_AMX="0")
    assert done.returncode == 0, done.stderr
    if "amx" in _core.config()["targets_compiled"]:
        target, reason = done.stdout.strip().split(" | ")
        assert target != "amx"
        assert "HNSCORE_AMX" in reason or "the processor or its system has no" in reason


@pytest.mark.skipif(
    HARDWARE or "amx" not in _core.config()["targets_compiled"], reason="there is AMX, or never will be"
)
def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"amx: .*(AMX|HNSCORE_AMX|AVX)"):
        _core.set_target("amx")


@hardware
def test_threads_signals_and_children() -> None:
    """Calls in many threads, interrupted by signals whose handlers use tiles too, beside torch's, and after a fork."""
    torch = pytest.importorskip("torch")
    previous = _core.set_target("amx")
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((400, 130)).astype(np.float32), rng.standard_normal((300, 130)).astype(np.float32)
    options: dict[str, Any] = {"reference": np.full(300, 0.1), "n_threads": 1}
    calls: list[dict[str, Any]] = [{"method": "dense"}, {"precision": "bf16"}, {"method": "cascade"}]
    want = [hnscore.score(x, t, 0.0, **options, **call).tobytes() for call in calls]
    half = torch.from_numpy(x).bfloat16()
    stop = threading.Event()
    wrong = []

    def beside() -> None:
        while not stop.is_set():
            half @ half.T

    def handler(*_: object) -> None:
        if hnscore.score(x, t, 0.0, **options, **calls[1]).tobytes() != want[1]:
            wrong.append("in a handler")

    neighbour = threading.Thread(target=beside)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        neighbour.start()
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda k: hnscore.score(x, t, 0.0, **options, **calls[k % 3]).tobytes(), range(120)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert [got[k] == want[k % 3] for k in range(120)] == [True] * 120
        assert not wrong
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        stop.set()
        neighbour.join()
        _core.set_target(previous)
    child = run("import hnscore\nwant = score()\npid = os.fork()\n"
                "assert (score() == want).all()\n"
                "if pid: assert os.waitpid(pid, 0)[1] == 0")  # fmt: skip
    assert child.returncode == 0, child.stderr


# ---- The machine code ------------------------------------------------------------------------------------------------


@pytest.mark.skipif("amx" not in _core.config()["targets_compiled"], reason="built for another architecture")
def test_tile_instructions_are_where_they_belong() -> None:
    tool = shutil.which("objdump")
    if tool is None:
        pytest.skip("objdump is not installed")
    line = [tool, "-d", "-C", "--no-show-raw-insn", _core.__file__]
    listing = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    if "hnscore::" not in listing:
        pytest.skip("the module is stripped: its functions have no names")
    counts: dict[str, dict[str, int]] = {}
    function = ""
    for text in listing.splitlines():
        if text.endswith(">:"):
            function = text.split(" <", 1)[1][:-2]
            continue
        _, _, instruction = text.partition("\t")
        name = instruction.split(" ", 1)[0]
        if name in ("ldtilecfg", "tilerelease") or name.startswith(("tdp", "tileload", "tilestored", "tilezero")):
            of = counts.setdefault(function, {})
            of[name] = of.get(name, 0) + 1
    # Five phases of a block, its first step and its loop; the eight products of fine tiles; the peak of the unit.
    expected = {
        "run_digits": {"tdpbssd": 5 * 12 + 8},
        "run_bf16": {"tdpbf16ps": 5 * 8},
        "run_screen": {"tdpbssd": 5 * 8},
        "tile_burst": {},
    }
    loops = {function: re.search(r"hnscore::amx::(\w+)", function) for function in counts}
    assert {loop[1] if loop else "" for loop in loops.values()} == set(expected), "nowhere else, nor in the emulation"
    for function, of in counts.items():
        loop = loops[function]
        assert loop is not None
        assert of["ldtilecfg"] == 1, function
        assert of["tilerelease"] >= 1, function
        for instruction, least in expected[loop[1]].items():
            assert of[instruction] >= least, function  # more where the compiler made two of a branch
