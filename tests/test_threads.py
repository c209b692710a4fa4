"""Several Python threads, forked processes, the GIL and Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import hnscore
from hnscore import _core

RNG = np.random.default_rng(0)
X = RNG.standard_normal((700, 64)).astype(np.float32)
T = RNG.standard_normal((300, 64)).astype(np.float32)
R = np.full(300, 0.3)


@pytest.mark.parametrize("n_threads", [1, 2, None])
def test_several_python_threads_at_once(n_threads: int | None) -> None:
    scorer = hnscore.Scorer(T, 0.1, reference=R, n_threads=n_threads)
    expected = hnscore.score(X, T, 0.1, reference=R)
    chunks = np.array_split(np.arange(700), 9)

    def work(turn: int) -> bool:
        whole = hnscore.score(X, T, 0.1, reference=R, n_threads=n_threads)
        parts = np.concatenate([scorer.score(X[chunk]) for chunk in chunks])
        return whole.tobytes() == expected.tobytes() == parts.tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(40)))


def test_errors_in_one_thread_leave_the_others_alone() -> None:
    bad = X.copy()
    bad[123, 4] = np.nan
    expected = hnscore.score(X, T, 0.1, reference=R)

    def work(turn: int) -> bool:
        if turn % 2:
            with pytest.raises(ValueError, match="123"):
                hnscore.score(bad, T, 0.1, reference=R)
            return True
        return hnscore.score(X, T, 0.1, reference=R).tobytes() == expected.tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(40)))


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A hang must not hang the tests; a minute is far more than any of these needs.
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


FORK = """
import os, sys
import numpy as np, hnscore
{before}
rng = np.random.default_rng(0)
x, t = rng.standard_normal((2, 900, 64)).astype(np.float32)
expected = hnscore.score(x, t, 0.1, n_threads=2)   # the parent's threads have run
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = all(hnscore.score(x, t, 0.1, n_threads=n).tobytes() == expected.tobytes() for n in (1, 2, 5))
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
assert hnscore.score(x, t, 0.1, n_threads=2).tobytes() == expected.tobytes()
print("same")
"""
TORCH = "import torch; torch.set_num_threads(2); a = torch.ones(700, 700); (a @ a).exp().sum()"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
def test_after_fork() -> None:
    done = run(FORK.format(before=""))
    assert (done.stdout, done.stderr) == ("same\n", "")


@needs_fork
def test_after_fork_with_torch_threads() -> None:
    pytest.importorskip("torch")
    done = run(FORK.format(before=TORCH))
    assert (done.stdout, done.stderr) == ("same\n", "")


@needs_fork
def test_fork_during_a_call_of_another_thread() -> None:
    script = """
import os, threading
import numpy as np, hnscore
rng = np.random.default_rng(0)
x, t = rng.standard_normal((2, 900, 64)).astype(np.float32)
expected = hnscore.score(x, t, 0.1)
stop = threading.Event()
def busy():
    while not stop.is_set():
        hnscore.score(x, t, 0.1, n_threads=2)
thread = threading.Thread(target=busy)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if hnscore.score(x, t, 0.1, n_threads=2).tobytes() == expected.tobytes() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
thread.join()
print("same")
"""
    done = run(script)
    assert (done.stdout, done.stderr) == ("same\n", "")


def test_beside_torch_threads() -> None:
    torch = pytest.importorskip("torch")
    a = torch.ones(400, 400)
    expected = hnscore.score(X, T, 0.1, reference=R)
    for _ in range(10):
        assert float((a @ a)[0, 0]) == 400
        assert hnscore.score(X, T, 0.1, reference=R).tobytes() == expected.tobytes()


def test_python_runs_during_a_call() -> None:
    """The GIL is released: another Python thread wakes up in the middle of a call, away from its start and its end."""
    long = np.broadcast_to(X[:1], (300_000, 64))
    texts = np.repeat(T, 7, axis=0)
    interval: list[float] = []

    def call() -> None:
        interval.append(time.perf_counter())
        hnscore.score(long, texts, 0.1, reference=np.repeat(R, 7), n_threads=1)
        interval.append(time.perf_counter())

    thread = threading.Thread(target=call)
    awake = []
    thread.start()
    while thread.is_alive():
        awake.append(time.perf_counter())
        time.sleep(0.001)
    thread.join()
    start, end = interval
    quarter = (end - start) / 4
    assert any(start + quarter < now < end - quarter for now in awake)


ENDLESS = """
import numpy as np, hnscore
rng = np.random.default_rng(0)
x = np.broadcast_to(rng.standard_normal((1, 512)).astype(np.float32), (30_000_000, 512))
t = rng.standard_normal((20_000, 512)).astype(np.float32)
r = np.full(20_000, 1.0)
ones = np.broadcast_to(np.ones(1, np.float32), 1_000_000_000)
try:
    print("started", flush=True)
    hnscore.{call}
    print("completed")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
@pytest.mark.parametrize(
    "call",
    [
        "score(x, t, reference=r)",
        "score(x, t, reference='pool_max')",
        "score(x, t, reference=r, aggregate='max')",
        "Scorer(t, reference=r).score(x)",
        "reference_similarity(x, t, kind='hardest', owner=np.zeros(20_000, int))",
        "reference_similarity(x, x)",
        "density(x, 'mean')",
        "density(x, 'gaussian', similarity='dot', variance=ones[:len(x)])",
        "select(np.tile(np.arange(2.0**20), 128), 10)",
        "select(None, 1000, embeddings=x)",
    ],
)
def test_ctrl_c_interrupts(call: str) -> None:
    script = [sys.executable, "-c", ENDLESS.format(call=call)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(0.7)  # into the compiled part; the call takes minutes
        process.send_signal(signal.SIGINT)
        try:
            # A second is promised; this is not a measurement, but far less than the call would take.
            out, error = process.communicate(timeout=5)
        finally:
            process.kill()
    assert (out, error) == ("interrupted\n", "")


def test_default_threads_follow_omp_num_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert _core.default_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert _core.default_threads() >= 1


@pytest.mark.parametrize(("n", "step"), [(0, 1), (1, 1), (1000, 7), (1000, 10**6)])
def test_a_scorers_copy_is_made_in_parts(n: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a signal is seen between them."""
    from hnscore.engine import cpu

    rows = np.asfortranarray(np.arange(n * 3, dtype=np.float32).reshape(n, 3))
    monkeypatch.setattr(cpu, "_COPIED_BYTES", step * 12)
    copy = cpu.copied(rows)
    np.testing.assert_array_equal(copy, rows)
    assert copy.flags.c_contiguous
    assert not np.shares_memory(copy, rows)
