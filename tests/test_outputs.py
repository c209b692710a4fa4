"""What a command writes when two write the same, inputs change, the disk is full, memory is short, the process ends.

Never a wrong finished file, never a lost one; and the next run ends right.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command, refused

import hnscore

N_IMG, N_TXT, DIM = 300, 40, 16
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="locks and signals as Linux has them")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "img.npy", rng.standard_normal((N_IMG, DIM), np.float32))
    np.save(tmp_path / "txt.npy", rng.standard_normal((N_TXT, DIM), np.float32))
    np.save(tmp_path / "r.npy", rng.uniform(0.3, 0.5, N_TXT))
    return tmp_path


SCORE = ["score", "--images", "img.npy", "--texts", "txt.npy", "-o", "scores.npy", "--no-progress", "--chunk-rows", 150]
REFERENCE = [*SCORE, "--reference", "r.npy"]
DENSITY = ["density", "img.npy", "--kind", "mean", "-o", "scores.npy", "--no-progress"]


def expected(folder: Path, name: str = "score") -> Any:
    img, txt = np.load(folder / "img.npy"), np.load(folder / "txt.npy")
    return hnscore.density(img, "mean") if name == "density" else hnscore.score(img, txt)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(folder: Path, args: list[Any], **options: Any) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "hnscore", *map(str, args)]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=folder, **options)


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def rows_done(folder: Path, key: str = "rows") -> int:
    try:
        return int(json.loads((folder / "scores.npy.partial.json").read_text())[key])
    except (FileNotFoundError, KeyError, ValueError):
        return 0


def interrupted(folder: Path, args: list[Any], key: str = "rows") -> int:
    """A run ended by Ctrl-C when some rows are done; how many."""
    process = start(folder, [*args, "--chunk-rows", 1])
    wait_for(lambda: rows_done(folder, key), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    return rows_done(folder, key)


# ---- Two runs, one output --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [[], ["--margin", 0.3], ["--overwrite"], ["--margin", 0.3, "--overwrite"]], ids=str)
def test_a_second_run_is_refused(folder: Path, second: list[Any]) -> None:
    first = start(folder, [*REFERENCE, "--chunk-rows", 1])
    wait_for(lambda: rows_done(folder), first)
    first.send_signal(signal.SIGSTOP)
    try:
        message = refused(*REFERENCE, *second, cwd=folder)
    finally:
        first.send_signal(signal.SIGCONT)
    assert f"output scores.npy is being written by another run (process {first.pid})" in message
    assert first.communicate(timeout=60) == (None, "")
    assert first.returncode == 0
    np.testing.assert_array_equal(
        np.load(folder / "scores.npy"), hnscore.score(
            np.load(folder / "img.npy"), np.load(folder / "txt.npy"), reference=np.load(folder / "r.npy")
        )
    )  # fmt: skip


def test_a_lock_that_was_left_is_taken(folder: Path) -> None:
    process = start(folder, [*REFERENCE, "--chunk-rows", 1])
    wait_for(lambda: rows_done(folder), process)
    process.kill()
    process.communicate()
    assert (folder / "scores.npy.lock").exists()
    assert command(*REFERENCE, cwd=folder).returncode == 0
    assert sorted(x.name for x in folder.glob("scores*")) == ["scores.npy", "scores.npy.json"]


@pytest.mark.parametrize("args", [SCORE, DENSITY], ids=["score", "density"])
@pytest.mark.parametrize("name", [".partial", ".partial.json", ".lock", ".json", ".partial.reference.npy"])
def test_files_of_others_are_left_alone(folder: Path, name: str, args: list[Any]) -> None:
    (folder / f"scores.npy{name}").write_text("of somebody else")
    before = files(folder)
    for more in ([], ["--overwrite"]):
        assert "is in the way" in refused(*args, *more, cwd=folder)
        assert files(folder) == before


def test_a_file_that_appears_under_way_is_not_replaced(folder: Path) -> None:
    process = start(folder, [*REFERENCE, "--chunk-rows", 1])
    wait_for(lambda: rows_done(folder), process)
    (folder / "scores.npy").write_text("precious")
    assert "scores.npy appeared during the run" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert (folder / "scores.npy").read_text() == "precious"
    (folder / "scores.npy").unlink()
    assert command(*REFERENCE, cwd=folder).returncode == 0


def test_a_link_is_followed(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "scores.npy").symlink_to("elsewhere/real.npy")
    assert command(*SCORE, cwd=folder).returncode == 0
    assert (folder / "scores.npy").is_symlink()
    np.testing.assert_array_equal(np.load(folder / "elsewhere" / "real.npy"), expected(folder))
    assert "up to date" in command(*SCORE, cwd=folder).stderr


# ---- Finished outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [SCORE, DENSITY], ids=["score", "density"])
def test_a_finished_output_is_up_to_date(folder: Path, args: list[Any]) -> None:
    """So that a loop over shards can be run again."""
    assert command(*args, cwd=folder).returncode == 0
    before = files(folder)
    again = command(*args, "--n-threads", 1, cwd=folder)
    assert (again.returncode, again.stderr) == (0, "hnscore: scores.npy is up to date\n")
    assert files(folder) == before

    img = np.load(folder / "img.npy")
    img[3] += 1
    np.save(folder / "img.npy", img)
    assert "scores.npy exists; pass --overwrite to replace it" in refused(*args, cwd=folder)
    assert command(*args, "--overwrite", cwd=folder).returncode == 0
    np.testing.assert_array_equal(np.load(folder / "scores.npy"), expected(folder, str(args[0])))


def test_other_settings_and_other_contents_are_not_up_to_date(folder: Path) -> None:
    assert command(*SCORE, cwd=folder).returncode == 0
    assert "margin was 0.2, is 0.3" in refused(*SCORE, "--margin", 0.3, cwd=folder)
    shutil.copyfile(folder / "r.npy", folder / "scores.npy")
    assert "scores.npy exists" in refused(*SCORE, cwd=folder)


def test_touched_inputs_are_looked_at(folder: Path) -> None:
    """A pool of another time is read once more; its digest tells that it is the same."""
    assert command(*SCORE, cwd=folder).returncode == 0
    for name in ("img.npy", "txt.npy"):
        os.utime(folder / name, (1, 1))
    assert "up to date" in command(*SCORE, cwd=folder).stderr


# ---- Going on --------------------------------------------------------------------------------------------------------

STATES: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("rows beyond the pool", lambda state: state.update(rows=N_IMG + 1), "rows that there are not"),
    ("negative rows", lambda state: state.update(rows=-3, reference_rows=5), "rows that there are not"),
    ("rows that are no number", lambda state: state.update(rows="many"), "rows that there are not"),
    ("too many rows", lambda state: state.update(rows=state["rows"] + 1), "does not hold what was written"),
    ("another method", lambda state: state.update(method="guess"), "no settings"),
    ("no seed", lambda state: state.update(seed=None), "no settings"),
    ("no digests", lambda state: state.update(pool_digests=None), "lacks the digests"),
    ("another dtype", lambda state: state.update(dtype="<i8"), "holds (300,) float32"),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in STATES], ids=[row[0] for row in STATES])
def test_a_record_is_checked(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    interrupted(folder, REFERENCE)
    side = folder / "scores.npy.partial.json"
    state = json.loads(side.read_text())
    change(state)
    side.write_text(json.dumps(state))
    assert message in refused(*REFERENCE, cwd=folder)
    assert command(*REFERENCE, "--overwrite", cwd=folder).returncode == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is in the way"), (b"[1]", "is in the way"), (b'{"hnscore": 1}', "is in the way"), (b"{", "is in the way")],
)
def test_a_record_that_is_none_is_left_alone(folder: Path, content: bytes, message: str) -> None:
    interrupted(folder, REFERENCE)
    (folder / "scores.npy.partial.json").write_bytes(content)
    assert message in refused(*REFERENCE, cwd=folder)


@pytest.mark.parametrize("damage", ["emptied", "cut", "changed", "gone", "another array"])
def test_scores_that_were_written_are_checked(folder: Path, damage: str) -> None:
    interrupted(folder, REFERENCE)
    partial = folder / "scores.npy.partial"
    content = bytearray(partial.read_bytes())
    content[130] ^= 1
    if damage == "emptied":
        partial.write_bytes(b"")
    elif damage == "cut":
        partial.write_bytes(content[:500])
    elif damage == "changed":
        partial.write_bytes(content)
    elif damage == "gone":
        partial.unlink()
    else:
        with open(partial, "wb") as file:
            np.save(file, np.zeros(7))
    assert "cannot be continued" in refused(*REFERENCE, cwd=folder)
    assert command(*REFERENCE, "--overwrite", cwd=folder).returncode == 0


@pytest.mark.parametrize("damage", ["gone", "changed", "another shape"])
def test_a_reference_that_was_written_is_checked(folder: Path, damage: str) -> None:
    interrupted(folder, SCORE, "reference_rows")
    path = folder / "scores.npy.partial.reference.npy"
    if damage == "gone":
        path.unlink()
    else:
        np.save(path, np.load(path) + 1 if damage == "changed" else np.zeros(3))
    assert "reference.npy does not hold what was written" in refused(*SCORE, cwd=folder)
    assert command(*SCORE, "--overwrite", cwd=folder).returncode == 0
    np.testing.assert_array_equal(np.load(folder / "scores.npy"), expected(folder))


@pytest.mark.parametrize("where", ["scored", "to come"])
@pytest.mark.parametrize("keep_times", [False, True])
def test_a_pool_that_has_changed_between_runs(folder: Path, where: str, keep_times: bool) -> None:
    """Rows that were scored must be as they were; the others may have been repaired. Times of files prove nothing."""
    done = interrupted(folder, REFERENCE)
    img, stat = np.load(folder / "img.npy"), os.stat(folder / "img.npy")
    img[0 if where == "scored" else N_IMG - 1] += 1
    np.save(folder / "img.npy", img)
    if keep_times:
        os.utime(folder / "img.npy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if where == "scored":
        assert f"images have changed since, in rows 0 to {done - 1}" in refused(*REFERENCE, cwd=folder)
        return
    assert command(*REFERENCE, cwd=folder).returncode == 0
    want = hnscore.score(img, np.load(folder / "txt.npy"), reference=np.load(folder / "r.npy"))
    np.testing.assert_array_equal(np.load(folder / "scores.npy"), want)


# ---- Inputs that change under way ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["img", "txt", "r"])
def test_an_input_that_changes_during_the_run(folder: Path, name: str) -> None:
    process = start(folder, [*REFERENCE, "--chunk-rows", 1])
    wait_for(lambda: rows_done(folder), process)
    with open(folder / f"{name}.npy", "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert f"{name}.npy has changed" in error
    assert "Traceback" not in error
    assert not (folder / "scores.npy").exists()


def test_a_pool_that_is_cut_while_it_is_mapped(folder: Path) -> None:
    np.save(folder / "img.npy", np.random.default_rng(0).standard_normal((4000, 512), np.float32))
    np.save(folder / "txt.npy", np.random.default_rng(1).standard_normal((N_TXT, 512), np.float32))
    process = start(folder, [*REFERENCE, "--chunk-rows", 1])
    wait_for(lambda: rows_done(folder), process)
    os.truncate(folder / "img.npy", 8192)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert error == "hnscore: error: a file was cut short while it was read; run the same command again\n"
    assert not (folder / "scores.npy").exists()
    assert "cut short: its header promises" in refused(*REFERENCE, cwd=folder)


# ---- Ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_process(folder: Path, number: signal.Signals) -> None:
    process = start(folder, [*REFERENCE, "--chunk-rows", 1])
    wait_for(lambda: rows_done(folder), process)
    process.send_signal(number)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number
    assert error.strip() == f"hnscore: {number.name}; run the same command again to finish scores.npy"
    assert not (folder / "scores.npy.lock").exists()
    assert command(*REFERENCE, cwd=folder).returncode == 0


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]], ids=str)
def test_standard_streams_that_are_closed(folder: Path, closed: list[int]) -> None:
    """Whatever becomes of messages, the scores are whole: no file takes the place of a closed stream."""
    line = [sys.executable, "-m", "hnscore", *map(str, SCORE), "--margin", "3"]  # which warns
    done = subprocess.run(
        line, cwd=folder, preexec_fn=lambda: [os.close(fd) for fd in closed], timeout=120, check=False
    )
    assert done.returncode == 0
    wide = hnscore.score(np.load(folder / "img.npy"), np.load(folder / "txt.npy"), 3.0)
    np.testing.assert_array_equal(np.load(folder / "scores.npy"), wide)


@pytest.mark.parametrize("full", [True, False], ids=["full", "broken"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_standard_streams_that_cannot_be_written(folder: Path, stream: str, full: bool) -> None:
    """A progress bar into the void."""
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "hnscore", *map(str, [x for x in SCORE if x != "--no-progress"])]
    with open("/dev/full", "w") if full else os.fdopen(write, "w") as file:
        done = subprocess.run(line, cwd=folder, timeout=120, check=False, **{stream: file})
    assert done.returncode == 0
    np.testing.assert_array_equal(np.load(folder / "scores.npy"), expected(folder))


def test_output_to_a_closed_or_full_standard_output(folder: Path) -> None:
    line = [sys.executable, "-m", "hnscore", "density", "img.npy", "-o", "-", "--no-progress"]
    closed = subprocess.run(
        line, cwd=folder, preexec_fn=lambda: os.close(1), stderr=subprocess.PIPE, text=True, check=False
    )
    assert closed.returncode == 2
    assert "which is closed; pass a file name" in closed.stderr
    with open("/dev/full", "w") as full:
        done = subprocess.run(line, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "hnscore: error: No space left on device\n"


# ---- Every call fails once -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("failing") / "failing.so"
    source = Path(__file__).parent / "failing.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def run_failing(folder: Path, library: Path, args: list[Any], what: str, at: int) -> tuple[int, str, list[int]]:
    """The exit code, the errors, and how many calls and allocations there were."""
    env = {"LD_PRELOAD": library, "FAIL_PATH": "scores.npy", "FAIL_WHAT": what, "FAIL_AT": at, "FAIL_COUNT": "count"}
    done = command(*args, "--n-threads", 1, cwd=folder, env=os.environ | {k: str(v) for k, v in env.items()})
    count = folder / "count"
    numbers = [int(x) for x in count.read_text().split()] if count.exists() else [0, 0]
    return done.returncode, done.stderr, numbers


@pytest.mark.exhaustive
@pytest.mark.parametrize("what", ["error", "kill", "memory"])
@pytest.mark.parametrize("args", [SCORE, DENSITY], ids=["score", "density"])
def test_every_call_fails_once(
    folder: Path, failing: Path, args: list[Any], what: str, exhaustive: bool, record_property: Any
) -> None:
    """Writes and other calls on the output's files, the process at each of them, allocations of the core."""
    code, errors, (calls, allocations) = run_failing(folder, failing, args, "", 0)
    assert (code, errors) == (0, "")
    want = expected(folder, str(args[0]))
    many = allocations if what == "memory" else calls
    assert many >= 3, "the library was preloaded"
    record_property("calls", many)
    step = 1 if exhaustive else max(1, many // 5)
    for at in range(1, many + 1, step):
        for path in folder.glob("scores.npy*"):
            path.unlink()
        code, errors, _ = run_failing(folder, failing, args, what, at)
        label = f"{what} {at} of {many}: {code} {errors}"
        assert "Traceback" not in errors, label
        assert code in ((-signal.SIGKILL,) if what == "kill" else (0, 2)), label
        if what != "kill":
            assert errors.count("\n") == (1 if code else 0), label
        if (folder / "scores.npy").exists():  # no part of it, ever
            np.testing.assert_array_equal(np.load(folder / "scores.npy"), want, err_msg=label)
        else:
            assert code != 0, label
        again = command(*args, cwd=folder)
        if again.returncode == 2 and "exists; pass --overwrite" in again.stderr:  # finished, but for its record
            assert (folder / "scores.npy").exists()
        else:
            assert again.returncode == 0, f"{label}, then {again.stderr}"
        np.testing.assert_array_equal(np.load(folder / "scores.npy"), want, err_msg=label)
        left = {path.name for path in folder.glob("scores.npy*")} - {"scores.npy", "scores.npy.json"}
        assert not left, f"{label}: {left}"
