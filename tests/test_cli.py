"""The command line, in processes of its own: same bits as one call, nothing lost, errors of one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command, refused
from tqdm import tqdm

import hnscore
from hnscore.command import score_file

N_IMG, N_TXT, DIM = 500, 60, 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "img.npy", rng.standard_normal((N_IMG, DIM)).astype(np.float16))
    np.save(tmp_path / "txt.npy", rng.standard_normal((N_TXT, DIM), np.float32))
    np.save(tmp_path / "own.npy", rng.standard_normal((N_TXT, DIM)))
    np.save(tmp_path / "r.npy", rng.uniform(0.4, 0.6, N_TXT))
    np.save(tmp_path / "limit.npy", rng.uniform(0.4, 0.6, N_TXT))
    np.save(tmp_path / "img_groups.npy", rng.integers(0, 9, N_IMG))
    np.save(tmp_path / "txt_groups.npy", rng.integers(0, 9, N_TXT))
    return tmp_path


def score_args(folder: Path, *args: object) -> list[object]:
    output = folder / "scores.npy"
    return ["score", "--images", folder / "img.npy", "--texts", folder / "txt.npy", "-o", output, *args]


def expected(folder: Path, margin: float = 0.2, **keywords: Any) -> Any:
    arrays = {k: np.load(folder / v) if isinstance(v, str) and v.endswith(".npy") else v for k, v in keywords.items()}
    return hnscore.score(np.load(folder / "img.npy"), np.load(folder / "txt.npy"), margin, **arrays)


def assert_same(folder: Path, scores: Any) -> None:
    written = np.load(folder / "scores.npy")
    assert written.dtype == scores.dtype
    np.testing.assert_array_equal(written, scores)
    assert not list(folder.glob("*.partial*")), "side files of a finished run are removed"


RULES: list[tuple[list[object], dict[str, Any]]] = [
    ([], {}),
    (["--reference", "r.npy", "--margin", 0.1], {"reference": "r.npy", "margin": 0.1}),
    (["--weight", "count"], {"weight": "count"}),
    (["--reference", "own.npy"], {"reference": "own.npy"}),
    (["--reference", "r.npy", "--aggregate", "topk", "--k", 3], {"reference": "r.npy", "aggregate": "topk", "k": 3}),
    (["--weight", "exp", "--temperature", 0.1], {"weight": "exp", "temperature": 0.1}),
    (["--max-similarity", 0.5, "--margin", 0.4], {"max_similarity": 0.5, "margin": 0.4}),
    (["--max-similarity", "limit.npy", "--margin", 0.4], {"max_similarity": "limit.npy", "margin": 0.4}),
    (
        ["--img-groups", "img_groups.npy", "--txt-groups", "txt_groups.npy"],
        {"img_groups": "img_groups.npy", "txt_groups": "txt_groups.npy"},
    ),
    (["--minibatch", 20, "--random-state", 5], {"minibatch": 20, "random_state": 5}),
    (["--similarity", "dot", "--margin", 3], {"similarity": "dot", "margin": 3.0}),
    (["--precision", "fp32"], {"precision": "fp32"}),
    (["--precision", "bf16", "--method", "dense"], {"precision": "bf16", "method": "dense"}),
    (["--top-k-images", 4], {"top_k_images": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("args", "keywords"), RULES, ids=lambda value: " ".join(map(str, value)))
def test_score_is_one_call_bit_for_bit(folder: Path, args: list[object], keywords: dict[str, Any]) -> None:
    done = command(*score_args(folder, "--chunk-rows", 77, "--n-threads", 1, *args), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_same(folder, expected(folder, **keywords))


def test_paired(folder: Path) -> None:
    np.save(folder / "img.npy", np.load(folder / "img.npy")[:N_TXT])
    assert command(*score_args(folder, "--reference", "paired", "--no-progress")).returncode == 0
    assert_same(folder, expected(folder, reference="paired"))


def test_empty_pool(folder: Path) -> None:
    np.save(folder / "img.npy", np.zeros((0, DIM), np.float32))
    for args in ([], ["--reference", "r.npy"], ["--reference", "own.npy", "--weight", "count"]):
        done = command(*score_args(folder, "--overwrite", *args), cwd=folder)
        assert done.returncode == 0, done.stderr
        assert np.load(folder / "scores.npy").shape == (0,)


@pytest.mark.parametrize("as_void", [True, False])
def test_bfloat16(folder: Path, as_void: bool) -> None:
    """NumPy saves bfloat16 as two-byte voids; the values are those of the upper halves of float32."""
    bits = np.load(folder / "img.npy").astype(np.float32).view(np.uint32) >> 16
    np.save(folder / "raw.npy", bits.astype(np.uint16).view("V2" if as_void else np.uint16))
    np.save(folder / "txt_raw.npy", (np.load(folder / "txt.npy").view(np.uint32) >> 16).astype(np.uint16))
    args = ["score", "--images", "raw.npy", "--texts", "txt_raw.npy", "-o", "scores.npy", "--chunk-rows", 100]
    if as_void:
        assert "--dtype bfloat16" in refused(*args, cwd=folder)
    assert command(*args, "--dtype", "bfloat16", cwd=folder).returncode == 0
    np.save(folder / "img.npy", (bits << 16).view(np.float32))
    np.save(folder / "txt.npy", (np.load(folder / "txt.npy").view(np.uint32) >> 16 << 16).view(np.float32))
    assert_same(folder, expected(folder))


def test_bfloat16_of_one_dimension(folder: Path) -> None:
    """Beside embeddings that have a number type."""
    for name in ("r", "limit"):
        bits = np.load(folder / f"{name}.npy").astype(np.float32).view(np.uint32) >> 16
        np.save(folder / f"{name}_raw.npy", bits.astype(np.uint16).view("V2"))
        np.save(folder / f"{name}.npy", (bits << 16).view(np.float32))
    args = score_args(folder, "--reference", "r_raw.npy", "--max-similarity", "limit_raw.npy", "--margin", 0.4)
    assert "--dtype bfloat16" in refused(*args, cwd=folder)
    assert command(*args, "--dtype", "bfloat16", cwd=folder).returncode == 0
    assert_same(folder, expected(folder, 0.4, reference="r.npy", max_similarity="limit.npy"))


def test_progress_bar(folder: Path) -> None:
    done = command(*score_args(folder, "--reference", folder / "r.npy"))
    assert "rows/s" in done.stderr
    assert "pairs/s" in done.stderr
    assert "100%" in done.stderr
    assert command(*score_args(folder, "--overwrite", "--no-progress")).stderr == ""


# ---- Interrupted and failed runs -------------------------------------------------------------------------------------


def interrupt(args: list[object], folder: Path, phase: str) -> subprocess.Popen[str]:
    """Start, wait until some but not all rows of `phase` are on disk, press Ctrl-C."""
    line = [sys.executable, "-m", "hnscore", *map(str, args)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=folder)
    side = folder / "scores.npy.partial.json"
    deadline = time.monotonic() + 60
    while not (side.exists() and json.loads(side.read_text())[phase]):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
@pytest.mark.parametrize("phase", ["reference_rows", "rows"])
def test_interrupted_and_continued(folder: Path, phase: str) -> None:
    """Chunks of one row: hundreds of writes to disk are left when the first is seen."""
    rule = [] if phase == "reference_rows" else ["--reference", "r.npy"]
    args = score_args(folder, *rule)
    process = interrupt([*args, "--chunk-rows", 1], folder, phase)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("hnscore: interrupted")
    assert "the same command again" in errors
    assert not (folder / "scores.npy").exists()
    state = json.loads((folder / "scores.npy.partial.json").read_text())
    assert 0 < state[phase] < N_IMG
    wanted = expected(folder, **({"reference": "r.npy"} if rule else {}))
    if phase == "rows":
        partial = np.load(folder / "scores.npy.partial", mmap_mode="r")
        np.testing.assert_array_equal(partial[: state["rows"]], wanted[: state["rows"]])

    before = (folder / "scores.npy.partial.json").read_bytes()
    assert "margin was 0.2, is 0.1" in refused(*args, "--margin", 0.1, cwd=folder)
    assert (folder / "scores.npy.partial.json").read_bytes() == before

    done = command(*args, "--chunk-rows", 200, "--n-threads", 1, cwd=folder)  # neither changes a bit
    assert done.returncode == 0, done.stderr
    assert f" {tqdm.format_sizeof(state[phase])}/{N_IMG} " in done.stderr, "it continues, it does not start anew"
    assert_same(folder, wanted)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
def test_drawn_seed_is_kept(folder: Path) -> None:
    args = score_args(folder, "--reference", "r.npy", "--minibatch", 20)
    interrupt([*args, "--chunk-rows", 1], folder, "rows").communicate(timeout=30)
    seed = json.loads((folder / "scores.npy.partial.json").read_text())["seed"]
    assert command(*args, cwd=folder).returncode == 0
    assert_same(folder, expected(folder, reference="r.npy", minibatch=20, random_state=seed))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
def test_changed_input_is_refused_and_overwrite_starts_anew(folder: Path) -> None:
    args = score_args(folder, "--reference", "r.npy")
    interrupt([*args, "--chunk-rows", 1], folder, "rows").communicate(timeout=30)
    np.save(folder / "r.npy", np.load(folder / "r.npy") + 0.01)
    os.utime(folder / "r.npy", (1, 1))
    assert "reference file was" in refused(*args, cwd=folder)
    assert command(*args, "--overwrite", cwd=folder).returncode == 0
    assert_same(folder, expected(folder, reference="r.npy"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit on file sizes")
def test_full_disk(folder: Path) -> None:
    """A limit on the size of files stands for the end of the disk: the error differs by one word."""
    import resource

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    args = score_args(folder, "--reference", "r.npy")
    assert "scores.npy.partial: File too large" in refused(*args, cwd=folder, preexec_fn=little_room)
    assert command(*args, cwd=folder).returncode == 0
    assert_same(folder, expected(folder, reference="r.npy"))


def test_error_in_the_data_keeps_what_is_done(folder: Path) -> None:
    """Rows that go bad after the check: only what was scored by then need not be repeated."""
    args = score_args(folder, "--reference", "r.npy")
    interrupt([*args, "--chunk-rows", 1], folder, "rows").communicate(timeout=30)
    done = json.loads((folder / "scores.npy.partial.json").read_text())["rows"]
    img, bad = np.load(folder / "img.npy"), np.load(folder / "img.npy")
    bad[[done, N_IMG - 1], 3] = np.nan
    bad[N_IMG - 2] = 0
    np.save(folder / "img.npy", bad)
    message = refused(*args, cwd=folder)
    assert f"NaN or Inf in rows {done}, {N_IMG - 1} of " in message
    assert f"zeros in row {N_IMG - 2} of " in message
    assert json.loads((folder / "scores.npy.partial.json").read_text())["rows"] == done
    np.save(folder / "img.npy", img)
    done_again = command(*args, cwd=folder)
    assert done_again.returncode == 0, done_again.stderr
    assert f" {tqdm.format_sizeof(done)}/{N_IMG} " in done_again.stderr, "it continues, it does not start anew"
    assert_same(folder, expected(folder, reference="r.npy"))


def test_finished_output_is_not_overwritten(folder: Path) -> None:
    args = score_args(folder, "--reference", "r.npy")
    assert command(*args, cwd=folder).returncode == 0
    before = (folder / "scores.npy").read_bytes()
    assert "exists; pass --overwrite" in refused(*args, "--margin", 0.3, cwd=folder)
    assert (folder / "scores.npy").read_bytes() == before
    assert command(*args, "--margin", 0.3, "--overwrite", cwd=folder).returncode == 0
    assert_same(folder, expected(folder, 0.3, reference="r.npy"))


WORKING = [".partial", ".partial.json", ".partial.reference.npy", ".json", ".lock"]


@pytest.mark.parametrize("ending", WORKING)
def test_an_input_is_not_written_to_while_the_output_is_unfinished(folder: Path, ending: str) -> None:
    file = folder / f"scores.npy{ending}"
    (folder / "txt.npy").rename(file)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    message = refused(*score_args(folder, "--texts", file, "--overwrite"))
    assert f"scores.npy needs {file} while it is unfinished, but {file} is one of the inputs" in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_an_input_by_another_name(folder: Path) -> None:
    (folder / "scores.npy.partial").symlink_to(folder / "img.npy")
    before = (folder / "img.npy").read_bytes()
    assert "img.npy is one of the inputs" in refused(*score_args(folder))
    assert (folder / "img.npy").read_bytes() == before


# ---- Bad input -------------------------------------------------------------------------------------------------------

BAD: list[tuple[list[object], str]] = [
    (["--images", "missing.npy"], "missing.npy: No such file"),
    (["--images", "text.npy"], "images: text.npy is not a .npy file"),
    (["--images", "cut.npy"], "images: cut.npy is not a .npy file"),
    (["--images", "archive.npz"], "txt_emb has dim 24, pool has dim 3; use the same"),
    (["--images", "objects.npy"], "images: objects.npy is not a .npy file"),
    (["--images", "r.npy"], "images: r.npy holds a 1-d array of shape (60,), expected 2-d"),
    (["--texts", "complex.npy"], "txt_emb must hold real numbers"),
    (["--texts", "narrow.npy"], "texts has dim 5, images has dim 24"),
    (["--max-similarity", "void.npy"], "max_similarity: void.npy has dtype |V4, which names no number type"),
    (["--max-similarity", "void.npy", "--dtype", "bfloat16"], "max_similarity must hold real numbers"),
    (["--img-groups", "void.npy", "--txt-groups", "txt_groups.npy", "--dtype", "bfloat16"], "img_groups has 60 labels"),
    (["--texts", "void.npy", "--dtype", "bfloat16"], "texts: void.npy holds a 1-d"),
    (["--reference", "short.npy"], "(3,)"),
    (["--reference", "hardest"], "hardest: No such file"),
    (["--reference", "paired"], "500 and 60"),
    (["--max-similarity", "txt.npy"], "max_similarity: txt.npy holds a 2-d array"),
    (["--img-groups", "img_groups.npy"], "both or neither"),
    (["--img-groups", "txt_groups.npy", "--txt-groups", "txt_groups.npy"], "img_groups has 60 labels"),
    (["--weight", "linear"], "weight must be one of"),
    (["--precision", "fp8"], "precision must be one of"),
    (["--similarity", "euclid"], "similarity must be one of"),
    (["--margin", "nan"], "margin must be finite"),
    (["--weight", "exp"], "temperature"),
    (["--n-threads", 0], "n_threads"),
    (["--chunk-rows", 0], "chunk_rows must be at least 1"),
    (["-o", "nowhere/scores.npy"], "output nowhere/scores.npy: there is no folder nowhere; make it first"),
    (["-o", "img.npy", "--overwrite"], "output img.npy is one of the inputs"),
    (["-o", "-"], "output must be a .npy file for score"),
    (["-o", ".", "--overwrite"], "output . is no regular file"),
]


@pytest.mark.parametrize(
    ("args", "message"), BAD, ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else ""
)
def test_bad_input(folder: Path, args: list[object], message: str) -> None:
    (folder / "text.npy").write_text("not an array")
    (folder / "cut.npy").write_bytes((folder / "img.npy").read_bytes()[:5000])
    np.savez(folder / "archive.npz", a=np.ones(3))
    np.save(folder / "objects.npy", np.array([[1, "a"]], object), allow_pickle=True)
    np.save(folder / "complex.npy", np.ones((N_TXT, DIM), np.complex64))
    np.save(folder / "narrow.npy", np.ones((N_TXT, 5)))
    np.save(folder / "short.npy", np.ones(3))
    np.save(folder / "void.npy", np.zeros(N_TXT, "V4"))
    before = (folder / "img.npy").read_bytes()
    assert message in refused(*score_args(folder, *args), cwd=folder)
    assert not (folder / "scores.npy").exists()
    assert (folder / "img.npy").read_bytes() == before
    done = command(*score_args(folder), cwd=folder)  # nothing stands in the way of the right command
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_unreadable(folder: Path) -> None:
    (folder / "img.npy").chmod(0)
    assert "img.npy: Permission denied" in refused(*score_args(folder))


# ---- The other commands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "demo", "score", "bench", "info"])
def test_help(name: str) -> None:
    done = command(*filter(None, [name]), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: hnscore {name}".rstrip())


def test_no_command_says_what_to_try() -> None:
    done = command()
    assert done.returncode == 0
    for line in done.stdout.splitlines():
        if line.startswith("  hnscore "):
            name = line.split()[1]
            assert command(name, "--help").returncode == 0, name
    assert "hnscore demo" in done.stdout


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["scor"], "score"),
        (["score", "--imags", "x"], "--images"),
        (["select", "--budget", "1", "--prefr"], "--prefer"),
    ],
)
def test_errors_name_the_nearest_word(words: list[str], nearest: str) -> None:
    required = ["--images", "a", "--texts", "b", "-o", "c"] if words[0] == "score" else []
    done = command(*words, *required)
    assert done.returncode == 2
    assert f"did you mean {nearest}?" in done.stderr


def test_nothing_near_is_not_suggested() -> None:
    done = command("zzzzzz")
    assert "invalid choice" in done.stderr
    assert "did you mean" not in done.stderr


def test_info_for_programs() -> None:
    assert json.loads(command("info", "--json").stdout) == json.loads(json.dumps(hnscore.show_config("dicts")))


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell: str) -> None:
    done = command("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "hnscore" in done.stdout
    assert "--margin" in done.stdout or shell == "tcsh"


def test_version_and_info() -> None:
    assert command("--version").stdout == f"hnscore {hnscore.__version__}\n"
    assert hnscore.__version__ in command("info").stdout


def test_demo_draws_and_exports(tmp_path: Path) -> None:
    pictures = tmp_path / "picture.svg", tmp_path / "selection.svg"
    done = command("demo", "-o", pictures[0], "--selection", pictures[1], "--export", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert all(picture.read_text().startswith("<svg") for picture in pictures)
    assert list((tmp_path / "set").glob("*.npy"))


def test_bench_keeps_what_it_measured(tmp_path: Path) -> None:
    args = ["bench", "--n-img", 64, "--n-txt", 64, "--dim", 32, "--rounds", 1, "--only", "hnscore exact,NumPy"]
    first = command(*args, "--json", tmp_path / "out.json")
    assert first.returncode == 0, first.stderr
    assert "hnscore exact hinge" in first.stdout
    assert "NumPy fp32" in first.stdout
    kept = (tmp_path / "out.json").read_text()
    again = command(*args, "--json", tmp_path / "out.json", "--markdown")
    assert "| hnscore exact hinge" in again.stdout
    assert (tmp_path / "out.json").read_text() == kept
    assert "of another threads" in refused(*args, "--threads", 1, "--json", tmp_path / "out.json")


def test_says_once_how_long_the_rest_takes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(score_file, "_SAID_AFTER", 0.0)
    for long, times in ((0.0, 1), (1e9, 0)):
        monkeypatch.setattr(score_file, "_LONG", long)
        files = (folder / name for name in ("img.npy", "txt.npy", "out.npy"))
        score_file.score_file(*files, reference=folder / "r.npy", chunk_rows=100, overwrite=True)
        said = re.findall(r"hnscore: scores: about \S+ \w+ for the other 400 rows", capsys.readouterr().err)
        assert len(said) == times
    np.testing.assert_array_equal(
        np.load(folder / "out.npy"),
        hnscore.score(np.load(folder / "img.npy"), np.load(folder / "txt.npy"), reference=np.load(folder / "r.npy"),
                      method="dense"),
    )  # fmt: skip
