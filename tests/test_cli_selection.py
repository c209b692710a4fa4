"""`hnscore density` and `hnscore select`, in processes of their own: the result of one call, whole files or none."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command, refused

import hnscore
from hnscore.command import cli as cli

N, DIM, BUDGET = 90, 12, 15


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "emb.npy", rng.standard_normal((N, DIM)).astype(np.float16))
    np.save(tmp_path / "other.npy", rng.standard_normal((40, DIM)))
    np.save(tmp_path / "scores.npy", rng.random(N, np.float32))
    np.save(tmp_path / "density.npy", rng.random(N))
    np.save(tmp_path / "variance.npy", rng.uniform(0.1, 0.5, N))
    np.save(tmp_path / "v.npy", rng.uniform(0.1, 0.5, 40))
    np.save(tmp_path / "regions.npy", rng.integers(0, 5, N).astype(np.int32))
    np.save(tmp_path / "labeled.npy", np.arange(0, N, 7))
    return tmp_path


def loaded(folder: Path, keywords: dict[str, Any]) -> dict[str, Any]:
    def load(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(load, value))
        return np.load(folder / value) if isinstance(value, str) and value.endswith(".npy") else value

    return {name: load(value) for name, value in keywords.items()}


def assert_written(folder: Path, name: str, expected: Any) -> None:
    written = np.load(folder / name)
    assert written.dtype == expected.dtype
    np.testing.assert_array_equal(written, expected)
    assert not list(folder.glob("*.partial*"))


# ---- The result of the function --------------------------------------------------------------------------------------

DENSITY: list[tuple[list[object], dict[str, Any]]] = [
    ([], {}),
    (["--kind", "knn", "--k", 5], {"kind": "knn", "k": 5}),
    (["--kind", "ball", "--min-similarity", 0.2], {"kind": "ball", "min_similarity": 0.2}),
    (["--kind", "ball", "--min-similarity", 0.2, "--no-exclude-self"],
     {"kind": "ball", "min_similarity": 0.2, "exclude_self": False}),
    (["--kind", "kernel", "--temperature", 0.3], {"kind": "kernel", "temperature": 0.3}),
    (["--kind", "mean", "--against", "other.npy"], {"kind": "mean", "against": "other.npy"}),
    (["--kind", "gaussian", "--variance", "variance.npy"], {"kind": "gaussian", "variance": "variance.npy"}),
    (["--kind", "gaussian", "--variance", "variance.npy", "--against", "other.npy", "--against-variance", "v.npy"],
     {"kind": "gaussian", "variance": ("variance.npy", "v.npy"), "against": "other.npy"}),
]  # fmt: skip


@pytest.mark.parametrize(("args", "keywords"), DENSITY, ids=lambda value: " ".join(map(str, value)))
def test_density_is_the_function(folder: Path, args: list[object], keywords: dict[str, Any]) -> None:
    done = command("density", "emb.npy", "-o", "out.npy", "--no-progress", *args, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    expected = hnscore.density(np.load(folder / "emb.npy"), **loaded(folder, keywords))
    assert_written(folder, "out.npy", expected)
    done = command("density", "emb.npy", "-o", "-", *args, cwd=folder)
    np.testing.assert_array_equal(np.array(done.stdout.splitlines(), expected.dtype), expected)
    assert not (folder / "-").exists()


SELECT: list[tuple[list[object], dict[str, Any]]] = [
    (["--scores", "scores.npy"], {"scores": "scores.npy"}),
    (["--scores", "scores.npy", "--labeled", "labeled.npy"], {"scores": "scores.npy", "labeled": "labeled.npy"}),
    (["--scores", "scores.npy", "--embeddings", "emb.npy"], {"scores": "scores.npy", "embeddings": "emb.npy"}),
    (["--embeddings", "emb.npy"], {"scores": None, "embeddings": "emb.npy"}),
    (["--scores", "scores.npy", "--method", "density", "--density", "density.npy", "--density-exponent", -2],
     {"scores": "scores.npy", "method": "density", "density": "density.npy", "density_exponent": -2.0}),
    (["--scores", "scores.npy", "--method", "budgeted", "--density", "density.npy", "--regions", "regions.npy"],
     {"scores": "scores.npy", "method": "budgeted", "density": "density.npy", "regions": "regions.npy"}),
    (["--scores", "scores.npy", "--method", "repulsive", "--embeddings", "emb.npy", "--regularization", 0.3],
     {"scores": "scores.npy", "method": "repulsive", "embeddings": "emb.npy", "regularization": 0.3}),
    (["--method", "coverage", "--embeddings", "emb.npy", "--temperature", 0.2, "--labeled", "labeled.npy"],
     {"scores": None, "method": "coverage", "embeddings": "emb.npy", "temperature": 0.2, "labeled": "labeled.npy"}),
    (["--method", "herding", "--embeddings", "emb.npy", "--random-state", 3],
     {"scores": None, "method": "herding", "embeddings": "emb.npy", "random_state": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("args", "keywords"), SELECT, ids=lambda value: " ".join(map(str, value)))
def test_select_is_the_function(folder: Path, args: list[object], keywords: dict[str, Any]) -> None:
    given = loaded(folder, keywords)
    picks = hnscore.select(given.pop("scores"), BUDGET, **given)
    assert picks.dtype == np.int64
    done = command("select", "--budget", BUDGET, "-o", "picks.npy", "--no-progress", *args, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    assert_written(folder, "picks.npy", picks)
    for output in ([], ["-o", "-"]):
        done = command("select", "--budget", BUDGET, *output, *args, cwd=folder)
        assert done.stdout == "".join(f"{pick}\n" for pick in picks)


@pytest.mark.filterwarnings("ignore:.*share the score")
def test_prefer(folder: Path) -> None:
    """Also of unsigned integers, whose negatives NumPy wraps."""
    np.save(folder / "bytes.npy", np.arange(N, dtype=np.uint8) * 37 % N)
    for name in ("scores.npy", "bytes.npy"):
        scores = -np.load(folder / name).astype(np.float64)
        for more, keywords in (([], {}), (["--embeddings", "emb.npy"], {"embeddings": np.load(folder / "emb.npy")})):
            done = command("select", "--scores", name, "--prefer", "easy", "--budget", BUDGET, *more, cwd=folder)
            picks = hnscore.select(scores, BUDGET, **keywords)
            assert done.stdout.split() == [str(pick) for pick in picks]


def test_from_density_to_picks(folder: Path) -> None:
    assert command("density", "emb.npy", "--k", 8, "-o", "crowded.npy", cwd=folder).returncode == 0
    args = ["--scores", "scores.npy", "--method", "density", "--density", "crowded.npy"]
    done = command("select", *args, "--budget", 4, cwd=folder)
    emb, scores = np.load(folder / "emb.npy"), np.load(folder / "scores.npy")
    picks = hnscore.select(scores, 4, method="density", density=hnscore.density(emb, k=8))
    assert done.stdout.split() == [str(pick) for pick in picks]


def test_a_number_of_regions(folder: Path) -> None:
    args = ["--scores", "scores.npy", "--method", "budgeted", "--embeddings", "emb.npy", "--random-state", 1]
    done = command("select", *args, "--regions", 3, "--budget", BUDGET, cwd=folder)
    if "scikit-learn" in done.stderr:  # which the function needs, and says so
        assert done.returncode == 2
        return
    scores, emb = np.load(folder / "scores.npy"), np.load(folder / "emb.npy")
    picks = hnscore.select(scores, BUDGET, embeddings=emb, method="budgeted", regions=3, random_state=1)
    assert done.stdout.split() == [str(pick) for pick in picks]


def test_no_budget_prints_nothing(folder: Path) -> None:
    done = command("select", "--scores", "scores.npy", "--budget", 0, cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("as_void", [True, False])
def test_bfloat16(folder: Path, as_void: bool) -> None:
    bits = np.load(folder / "emb.npy").astype(np.float32).view(np.uint32) >> 16
    np.save(folder / "raw.npy", bits.astype(np.uint16).view("V2" if as_void else np.uint16))
    values = (bits << 16).view(np.float32)
    if as_void:
        assert "--dtype bfloat16" in refused("density", "raw.npy", "-o", "out.npy", cwd=folder)
    assert command("density", "raw.npy", "--dtype", "bfloat16", "-o", "out.npy", cwd=folder).returncode == 0
    assert_written(folder, "out.npy", hnscore.density(values))
    args = ["--method", "coverage", "--embeddings", "raw.npy", "--dtype", "bfloat16", "--budget", BUDGET]
    picks = hnscore.select(None, BUDGET, embeddings=values, method="coverage")
    assert command("select", *args, cwd=folder).stdout.split() == [str(pick) for pick in picks]


def test_bfloat16_of_one_dimension(folder: Path) -> None:
    """Files of two-byte voids, read as bfloat16 beside others that have a number type."""
    bits = {
        name: np.load(folder / f"{name}.npy").astype(np.float32).view(np.uint32) >> 16 for name in ("scores", "density")
    }
    for name, array in bits.items():
        np.save(folder / f"{name}_raw.npy", array.astype(np.uint16).view("V2"))
    scores, density = ((array << 16).view(np.float32) for array in bits.values())
    args = ["select", "--scores", "scores_raw.npy", "--budget", BUDGET, "--labeled", "labeled.npy"]
    assert "scores: scores_raw.npy has dtype |V2" in refused(*args, cwd=folder)
    args += ["--dtype", "bfloat16", "--method", "density", "--density"]
    labeled = np.load(folder / "labeled.npy")
    for file, values in (("density_raw.npy", density), ("density.npy", np.load(folder / "density.npy"))):
        picks = hnscore.select(scores, BUDGET, method="density", density=values, labeled=labeled)
        assert command(*args, file, cwd=folder).stdout.split() == [str(pick) for pick in picks]
    args = ["density", "emb.npy", "--weights", "density_raw.npy", "--dtype", "bfloat16", "-o", "out.npy"]
    assert command(*args, cwd=folder).returncode == 0
    assert_written(folder, "out.npy", hnscore.density(np.load(folder / "emb.npy"), weights=density))
    assert "labeled must hold integers" in refused(
        "select",
        "--scores",
        "scores.npy",
        "--labeled",
        "density_raw.npy",
        "--budget",
        1,
        "--dtype",
        "bfloat16",
        cwd=folder,
    )


@pytest.mark.skipif(os.name != "posix", reason="needs pipes that break")
def test_a_reader_that_stops_reading_is_no_error(folder: Path) -> None:
    """A million lines are more than a pipe holds; one is read."""
    np.save(folder / "many.npy", np.arange(1_000_000, dtype=np.float32))
    line = [sys.executable, "-m", "hnscore", "select", "--scores", "many.npy", "--budget", "1000000"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"999999\n"
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert errors == b""


# ---- Nothing lost ----------------------------------------------------------------------------------------------------

COMMANDS: dict[str, list[object]] = {
    "density": ["density", "emb.npy", "-o", "out.npy"],
    "select": ["select", "--scores", "scores.npy", "--budget", BUDGET, "-o", "out.npy"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_finished_output_is_not_overwritten(folder: Path, name: str) -> None:
    (folder / "out.npy").write_text("precious")
    assert "out.npy exists; pass --overwrite" in refused(*COMMANDS[name], cwd=folder)
    assert (folder / "out.npy").read_text() == "precious"
    assert command(*COMMANDS[name], "--overwrite", cwd=folder).returncode == 0
    assert len(np.load(folder / "out.npy")) in (N, BUDGET)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_input_is_not_written_to_while_the_output_is_unfinished(folder: Path, name: str) -> None:
    given = "emb.npy" if name == "density" else "scores.npy"
    (folder / given).rename(folder / "out.npy.partial")
    before = (folder / "out.npy.partial").read_bytes()
    args = ["./out.npy.partial" if arg == given else arg for arg in COMMANDS[name]]
    assert "output out.npy needs out.npy.partial while it is unfinished, but ./out.npy.partial is one of" in refused(
        *args, "--overwrite", cwd=folder
    )
    assert (folder / "out.npy.partial").read_bytes() == before


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
def test_interrupted(folder: Path, name: str) -> None:
    """The function is replaced by one that waits for Ctrl-C; what was there before is there after."""
    (folder / "out.npy").write_text("precious")
    program = (
        "import sys, time, hnscore, hnscore.command.cli\n"
        f"hnscore.{name} = lambda *args, **keywords: time.sleep(100)\n"
        "raise SystemExit(hnscore.command.cli.main(sys.argv[1:]))"
    )
    line = [sys.executable, "-c", program, *map(str, COMMANDS[name]), "--overwrite"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=folder)
    deadline = time.monotonic() + 60
    while not (folder / "out.npy.partial").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == "hnscore: interrupted"
    assert (folder / "out.npy").read_text() == "precious"
    assert not (folder / "out.npy.partial").exists()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit on file sizes")
def test_full_disk(folder: Path, name: str) -> None:
    """A limit on the size of files stands for the end of the disk."""
    import resource

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    assert "out.npy.partial.json: File too large" in refused(*COMMANDS[name], cwd=folder, preexec_fn=little_room)
    assert not list(folder.glob("out.npy*"))
    assert command(*COMMANDS[name], cwd=folder).returncode == 0


# ---- Bad input -------------------------------------------------------------------------------------------------------

BUDGETED = ["--scores", "scores.npy", "--density", "density.npy", "--embeddings", "emb.npy", "--method", "budgeted"]

BAD: list[tuple[str, list[object], str]] = [
    ("density", ["missing.npy"], "missing.npy: No such file"),
    ("density", ["text.npy"], "emb: text.npy is not a .npy file"),
    ("density", ["scores.npy"], "emb: scores.npy holds a 1-d array of shape (90,), expected 2-d"),
    ("density", ["zero.npy"], "emb must have no zero rows"),
    ("density", ["emb.npy", "--kind", "mode"], "kind must be one of"),
    ("density", ["emb.npy", "--against", "scores.npy"], "against: scores.npy holds a 1-d"),
    ("density", ["emb.npy", "--weights", "void.npy", "--dtype", "bfloat16"], "weights must hold real numbers"),
    ("density", ["wide.npy", "--dtype", "bfloat16"], "emb must hold real numbers"),
    ("density", ["emb.npy", "--variance", "other.npy"], "variance: other.npy holds a 2-d"),
    ("density", ["e", "--against", "a", "--variance", "v"], "got --against and --variance; pass all three"),
    ("density", ["e", "--against", "a", "--against-variance", "v"], "got --against and --against-variance; pass all"),
    ("density", ["e", "--variance", "v", "--against-variance", "v"], "got --variance and --against-variance; pass"),
    ("density", ["e", "--against-variance", "v"], "must be given where --against and --variance both are"),
    ("density", ["emb.npy", "-o", "nowhere/out.npy"], "output nowhere/out.npy: there is no folder nowhere"),
    ("density", ["emb.npy", "-o", "."], "output . is no regular file"),
    ("density", ["emb.npy", "-o", "emb.npy", "--overwrite"], "output emb.npy is one of the inputs"),
    ("density", ["emb.npy", "--against", "other.npy", "-o", "./other.npy", "--overwrite"], "is one of the inputs"),
    ("select", ["--scores", "missing.npy"], "missing.npy: No such file"),
    ("select", ["--scores", "emb.npy"], "scores: emb.npy holds a 2-d array"),
    ("select", ["--scores", "scores.npy", "--method", "best"], "method must be one of"),
    ("select", ["--scores", "scores.npy", "--budget", 91], "budget"),
    ("select", ["--scores", "scores.npy", "--budget", -1], "budget"),
    ("select", [], "scores"),
    ("select", ["--embeddings", "emb.npy", "--prefer", "easy"], "prefer must be None without scores"),
    ("select", ["--scores", "void.npy", "--prefer", "easy"], "which names no number type"),
    (
        "select",
        [*BUDGETED, "--regions", "-1"],
        "regions must be from 1 to 90 (the number to be found, or the region of each row), got -1",
    ),
    (
        "select",
        [*BUDGETED, "--regions", "2.0"],
        "regions must be an integer (the number to be found, or the region of each row), got 2.0",
    ),
    ("select", [*BUDGETED, "--regions", "five.npy"], "five.npy: No such file"),
    (
        "select",
        ["--scores", "scores.npy", "-o", "nowhere/out.npy"],
        "output nowhere/out.npy: there is no folder nowhere",
    ),
    ("select", ["--scores", "scores.npy", "-o", "scores.npy", "--overwrite"], "output scores.npy is one of the inputs"),
]


@pytest.mark.parametrize(
    ("name", "args", "message"), BAD, ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else ""
)
def test_bad_input(
    folder: Path,
    name: str,
    args: list[object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, where twenty take no time."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets its own
    (folder / "text.npy").write_text("not an array")
    np.save(folder / "zero.npy", np.zeros((N, DIM)))
    np.save(folder / "void.npy", np.zeros(N, "V4"))
    np.save(folder / "wide.npy", np.zeros((N, DIM), "V4"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    defaults: list[object] = ["-o", "out.npy", *(["--budget", BUDGET] if name == "select" else [])]
    assert cli.main([name, *map(str, defaults + args)]) == 2
    printed = capsys.readouterr()
    *bars, error = printed.err.rstrip("\n").split("\n")
    assert all("|" in line for line in bars), "nothing else but a progress bar"
    assert error.startswith("hnscore: error: ")
    assert message in error
    assert printed.out == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: hnscore {name}")


def test_required_options() -> None:
    assert "required: -o/--output" in command("density", "emb.npy").stderr
    assert "required: --budget" in command("select", "--scores", "scores.npy").stderr
