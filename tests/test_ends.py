"""Interpreters that end, address spaces that are small, sizes that are none: never an abort, and nothing lost."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hnscore

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and threads as Linux has them")


def python(program: str, *args: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-W", "ignore", "-c", program, *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, **options)


# ---- Exit while a daemon thread is inside a call ---------------------------------------------------------------------

DAEMON = """
import sys, threading, time
import numpy as np, hnscore

x = np.random.default_rng(0).standard_normal((30_000, 64)).astype(np.float32)
t, var = x[:3000], np.abs(x)
scorer = hnscore.Scorer(t, 0.2, reference=np.full(3000, 0.3), method="dense")
call = lambda: {call}
def loop():
    while True:
        call()
threading.Thread(target=loop, daemon=True).start()
time.sleep({seconds})
"""
CALLS = [
    "hnscore.score(x, t, 0.2, reference=np.full(3000, 0.3))",
    "hnscore.score(x, t, 0.2, show_progress_bar=True)",
    "scorer.score(x)",
    "hnscore.reference_similarity(x, x)",
    "hnscore.density(x, 'kernel', temperature=0.1)",
    "hnscore.knn_graph(x, 5)",
    "hnscore.core_set(x, 2000)",
    "hnscore.select(None, 300, embeddings=x[:4000])",
    "hnscore.select(None, 300, embeddings=x, memory_limit=3 * 10**7)",
    "hnscore.select(np.arange(30_000.0), 500, embeddings=x, method='repulsive')",
    "hnscore.informativeness(x, var, x, var, match='sampled')",
    "hnscore.fuse(x, var, x, var)",
]


@pytest.mark.parametrize("call", CALLS)
def test_exit_while_a_daemon_thread_is_inside(call: str) -> None:
    """Python ends such a thread by unwinding its stack where it takes the interpreter lock."""
    for seconds in (0.2, 0.45):
        done = python(DAEMON.format(call=call, seconds=seconds))
        assert done.returncode == 0, (done.returncode, done.stderr[-300:])


GPU = """
import sys, threading, time
sys.path.insert(0, {tests!r})
import numpy as np, pytest, hnscore
from gpus import a_gpu

gpus = a_gpu("emulated", pytest.MonkeyPatch())
gpu = next(gpus)
x, t = (gpu.put(np.random.default_rng(i).standard_normal((60, 16)).astype(np.float32)) for i in range(2))
def loop():
    while True:
        gpu.get(hnscore.score(x, t, 0.2, reference=np.full(60, 0.3)))
threading.Thread(target=loop, daemon=True).start()
time.sleep(1)
"""


def test_exit_while_a_daemon_thread_is_inside_the_gpu_module() -> None:
    from emulated import emulated_module

    emulated_module()  # built
    done = python(GPU.format(tests=str(Path(__file__).parent)))
    assert done.returncode == 0, (done.returncode, done.stderr[-300:])


# ---- A small address space -------------------------------------------------------------------------------------------

SMALL = """
import sys, resource
import numpy as np, hnscore

x = np.random.default_rng(0).standard_normal((8000, 128)).astype(np.float32)
t, r = x[:3000].copy(), np.full(3000, 0.3)
few = hnscore.score(x[:50], t[:50], 0.2, reference=r[:50])
call = lambda: {call}
pages = int(open("/proc/self/statm").read().split()[0])
for room in {rooms}:
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + int(room * 2**20), resource.RLIM_INFINITY))
    try:
        call()
        print("done")
    except MemoryError:
        print("MemoryError")
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (hnscore.score(x[:50], t[:50], 0.2, reference=r[:50]) == few).all()
"""
LARGE_CALLS = [
    "hnscore.score(x, t, 0.2, reference=r, method='dense', n_threads=8)",
    "hnscore.score(x, t, 0.2, reference=r, method='cascade', n_threads=8)",
    "hnscore.score(x, t, 0.2, reference=r, aggregate='topk', k=50, n_threads=8)",
    "hnscore.knn_graph(x, 50, n_threads=8)",
    "hnscore.density(x, 'kernel', temperature=0.1, n_threads=8)",
    "hnscore.core_set(x, 100, n_threads=8)",
    "hnscore.reference_similarity(x, x, n_threads=8)",
]


@pytest.mark.parametrize("call", LARGE_CALLS)
def test_small_address_space(call: str) -> None:
    """Some threads or none, an answer or a MemoryError; the next call works."""
    rooms = [0.1, 1, 8, 9, 10, 16, 17, 24, 32, 40, 56, 64, 80, 400]
    done = python(SMALL.format(call=call, rooms=rooms))
    assert done.returncode == 0, (done.returncode, done.stderr[-300:])
    assert {"done"} <= set(done.stdout.split()) <= {"done", "MemoryError"}


# ---- Sizes that are none ---------------------------------------------------------------------------------------------

ONE = np.ones((1, 1), np.int8)


@pytest.mark.parametrize("shape", [(1, 2**62), (1, 2**40), (2**62, 1), (2**60, 4), (1, 2**31)], ids=str)
def test_sizes_beyond_any_memory(shape: tuple[int, int]) -> None:
    """Arrays of strides 0 may have any shape: no product of sizes wraps around."""
    x = np.broadcast_to(ONE, shape)
    with pytest.raises(
        ValueError, match=r"must have at most 2147483647 columns and \d+ values, got shape .*; pass a part"
    ):
        hnscore.score(x, np.broadcast_to(ONE, (1, shape[1])), 0.1, reference=np.zeros(1))
    for call in (lambda: hnscore.core_set(x, 1), lambda: hnscore.density(x, k=1), lambda: hnscore.fuse(x, x, x, x)):
        with pytest.raises(ValueError, match="must have at most"):
            call()


def test_more_rows_than_there_is_memory_for() -> None:
    with pytest.raises(MemoryError), pytest.warns(hnscore.MarginWarning):
        hnscore.score(np.broadcast_to(ONE, (2**50, 4)), np.ones((3, 4)), 0.1, reference=np.zeros(3))


# ---- A package that is not built -------------------------------------------------------------------------------------


def test_sources_that_are_not_built(tmp_path: Any) -> None:
    source = Path(hnscore.__file__).read_text()
    (tmp_path / "hnscore").mkdir()
    (tmp_path / "hnscore" / "__init__.py").write_text(source)
    # Without the finder of an editable installation, which comes before any folder.
    done = python("import sys; sys.meta_path[:] = sys.meta_path[-3:]; import hnscore", cwd=tmp_path)
    assert done.returncode == 1
    assert "hnscore is not built in the folder that it is imported from" in done.stderr
    assert "circular" not in done.stderr


@pytest.mark.parametrize("args", [["info"], ["demo"], ["density", "x.npy", "-o", "-"]], ids=str)
def test_a_target_that_there_is_not(args: list[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told in one line by the command that needs it; the package is imported all the same."""
    from commands import command, refused

    np.save(tmp_path / "x.npy", np.eye(3))
    monkeypatch.setenv("HNSCORE_TARGET", "sse9")
    assert "HNSCORE_TARGET is 'sse9'; expected one that this machine supports: scalar" in refused(*args, cwd=tmp_path)
    assert command("--version").returncode == 0


def test_unknown_options_come_with_the_usage_of_their_command() -> None:
    from commands import command

    done = command("score", "--images", "a.npy", "--texts", "b.npy", "-o", "c.npy", "--bogus", "1")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: hnscore score")
    assert "unrecognized arguments: --bogus 1" in done.stderr
