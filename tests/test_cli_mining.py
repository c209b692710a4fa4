"""`hnscore mine`, `hnscore pairs` and `hnscore duplicates`: the result of one call, whole files or none, continued."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command, refused

import hnscore
from hnscore.command import cli, lists_file, mining
from hnscore.mining import duplicates as duplicates_module

N, M, DIM = 300, 90, 12
MINE: dict[str, dict[str, Any]] = {
    "own": {"owner": "owner.npy", "margin": 0.1},
    "several": {"owner": "several.npy", "relative_margin": 0.05, "skip": 2},
    "limits": {"max_similarity": 0.5, "min_similarity": "least.npy", "img_groups": "img_groups.npy",
               "txt_groups": "txt_groups.npy"},
    "pool_max": {"reference": "pool_max", "margin": 0.05, "closed": False},
    "similarities": {"reference": "reference.npy", "margin": 0.05, "similarity": "cosine"},
}  # fmt: skip
PAIRS: dict[str, dict[str, Any]] = {
    "own": {"owner": "owner.npy", "margin": 0.3},
    "ranks": {"reference": "pool_max", "margin": 0.5, "top_k_images": 40, "skip_top_images": 1, "closed": True},
    "groups": {"reference": "reference.npy", "margin": 0.2, "img_groups": "img_groups.npy",
               "txt_groups": "txt_groups.npy"},
    "others": {"owner": "owner.npy", "paired_emb": "img.npy", "margin": 0.3, "dtype": "float64"},
}  # fmt: skip
OPTIONS = {"closed": lambda x: ["--closed"] if x else ["--open"], "paired_emb": lambda x: ["--paired", x],
           "dtype": lambda x: ["--similarities", x]}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    img = rng.standard_normal((N, DIM)).astype(np.float32)
    owner = rng.integers(0, N, M)
    arrays = {
        "img": img, "txt": img[owner] + 0.5 * rng.standard_normal((M, DIM)).astype(np.float32), "owner": owner,
        "several": np.stack([owner, np.where(owner % 2, -1, (owner + 1) % N)], axis=1), "least": rng.uniform(-1, 0, M),
        "img_groups": rng.integers(0, 4, N), "txt_groups": rng.integers(0, 4, M), "reference": rng.uniform(0.4, 1, M),
        "copies": np.concatenate([img, img[:100] * 2]), "scores": rng.random(N + 100),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(name: str, keywords: dict[str, Any], output: str) -> list[str]:
    options = [
        part
        for keyword, value in keywords.items()
        for part in OPTIONS.get(keyword, lambda x, k=keyword: [f"--{k.replace('_', '-')}", x])(value)
    ]
    sides = ["--images", "img.npy", "--texts", "txt.npy"]
    return [name, *sides, *map(str, options), *(["--k", "4"] if name == "mine" else []), "-o", output, "--no-progress"]


def call(keywords: dict[str, Any]) -> dict[str, Any]:
    return {k: np.load(v) if isinstance(v, str) and v.endswith(".npy") else v for k, v in keywords.items()}


@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore:.*texts have fewer")
@pytest.mark.parametrize("keywords", MINE.values(), ids=MINE)
def test_mine_writes_what_mine_returns(keywords: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "_TEXTS", 32)
    assert cli.main(line("mine", keywords, "out.npz")) == 0
    similarities, indices = hnscore.mine(np.load("img.npy"), np.load("txt.npy"), 4, **call(keywords))
    with np.load("out.npz") as out:
        np.testing.assert_array_equal(out["indices"], indices)
        np.testing.assert_array_equal(out["similarities"], similarities)
        assert sorted(out) == ["indices", "similarities"]
    assert not list(Path().glob("*.partial*"))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("keywords", PAIRS.values(), ids=PAIRS)
def test_pairs_writes_what_pairs_returns(keywords: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnscore.engine.lists._MOST", 100)
    monkeypatch.setattr(lists_file, "_COPIED", 64)
    assert cli.main(line("pairs", keywords, "out.npz")) == 0
    found = hnscore.pairs(np.load("img.npy"), np.load("txt.npy"), **call(keywords))
    assert len(found.indices) > 500
    with np.load("out.npz") as out:
        for name, array in found._asdict().items():
            np.testing.assert_array_equal(out[name], array)
            assert out[name].dtype == array.dtype


@pytest.mark.usefixtures("folder")
def test_duplicates_writes_rows() -> None:
    copies = np.load("copies.npy")
    for more, keep in (([], "first"), (["--keep", "scores.npy"], np.load("scores.npy"))):
        found = hnscore.duplicates(copies, 0.999, keep=keep)
        assert len(found.kept) == N
        call_ = ["duplicates", "copies.npy", "--min-similarity", "0.999", "--no-progress", "--overwrite", *more]
        assert cli.main([*call_, "-o", "kept.npy"]) == 0
        assert cli.main([*call_, "--representatives", "-o", "stands.npy"]) == 0
        np.testing.assert_array_equal(np.load("kept.npy"), found.kept)
        np.testing.assert_array_equal(np.load("stands.npy"), found.representatives)


def interrupted_after(monkeypatch: pytest.MonkeyPatch, where: object, name: str, parts: int) -> None:
    """Ctrl-C after so many parts are on disk."""
    write, left = getattr(where, name), [parts]

    def once_more(*args: Any) -> None:
        write(*args)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(where, name, once_more)


COMMANDS: dict[str, list[str]] = {
    "mine": line("mine", MINE["own"], "out.npz"),
    "random": [*line("mine", MINE["own"], "out.npz"), "--sampling", "random"],
    "pairs": line("pairs", PAIRS["own"], "out.npz"),
    "duplicates": ["duplicates", "copies.npy", "--min-similarity", "0.999", "--representatives", "-o", "out.npy"],
}


@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore:.*texts have fewer")
@pytest.mark.parametrize("name", COMMANDS)
def test_interrupted_and_continued(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args, where = COMMANDS[name], lists_file.StandsFile if name == "duplicates" else lists_file.ListsFile
    method, out = (
        "write_rows" if name == "duplicates" else "write_part",
        Path(COMMANDS[name][COMMANDS[name].index("-o") + 1]),
    )
    monkeypatch.setattr(mining, "_TEXTS", 16)
    monkeypatch.setattr("hnscore.engine.lists._FIRST", 40)
    monkeypatch.setattr("hnscore.engine.lists._MOST_ROWS", 40)
    monkeypatch.setattr(duplicates_module, "BLOCK", 64)
    assert cli.main(args) == 0
    whole = out.read_bytes()
    out.unlink()
    Path(f"{out}.json").unlink()
    with monkeypatch.context() as patch:
        interrupted_after(patch, where, method, 2)
        assert cli.main(args) == cli.INTERRUPTED
    assert f"run the same command again to finish {out}" in capsys.readouterr().err
    begun = json.loads(Path(f"{out}.partial.json").read_text())
    assert begun["rows"] > 0
    with monkeypatch.context() as patch:  # nothing that is there is made again
        interrupted_after(patch, where, method, 1)
        assert cli.main(args) == cli.INTERRUPTED
    assert json.loads(Path(f"{out}.partial.json").read_text())["rows"] > begun["rows"]
    assert cli.main(args) == 0
    assert _content(out.read_bytes()) == _content(whole)
    assert cli.main(args) == 0
    assert "is up to date" in capsys.readouterr().err


def _content(file: bytes) -> bytes:
    """Without the times that a zip archive holds."""
    import io
    import zipfile

    if file[:2] != b"PK":
        return file
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore:.*texts have fewer")
@pytest.mark.parametrize("name", ["mine", "pairs", "duplicates"])
def test_what_cannot_be_continued(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args, where = COMMANDS[name], lists_file.StandsFile if name == "duplicates" else lists_file.ListsFile
    method, out = "write_rows" if name == "duplicates" else "write_part", COMMANDS[name][COMMANDS[name].index("-o") + 1]
    monkeypatch.setattr(mining, "_TEXTS", 16)
    monkeypatch.setattr("hnscore.engine.lists._FIRST", 40)
    monkeypatch.setattr("hnscore.engine.lists._MOST_ROWS", 40)
    monkeypatch.setattr(duplicates_module, "BLOCK", 64)

    def begin() -> None:
        with monkeypatch.context() as patch:
            interrupted_after(patch, where, method, 2)
            assert cli.main([*args, "--overwrite"]) == cli.INTERRUPTED
        capsys.readouterr()

    def message(*more: str) -> str:
        assert cli.main([*args, *more]) == 2
        return capsys.readouterr().err

    begin()
    assert "similarity was None, is dot" in message("--similarity", "dot")
    partial = Path(f"{out}.partial")
    content = bytearray(partial.read_bytes())
    content[3] ^= 1
    partial.write_bytes(content)
    assert "does not hold what was written" in message()
    begin()
    source = "copies.npy" if name == "duplicates" else "txt.npy"
    np.save(source, np.load(source)[::-1])
    assert "the inputs have changed" in message()
    assert cli.main([*args, "--overwrite"]) == 0


@pytest.mark.usefixtures("folder")
def test_errors_name_the_argument() -> None:
    base: list[object] = ["--images", "img.npy", "--texts", "txt.npy", "-o", "o.npz", "--no-progress"]
    assert "owner must have 90 rows" in refused("mine", *base, "--k", 2, "--owner", "scores.npy")
    assert "k must be at least 1" in refused("mine", *base, "--k", 0)
    assert "margin and relative_margin must come with" in refused("mine", *base, "--k", 2, "--margin", 0.1)
    assert "sampling must be one of" in refused("mine", *base, "--k", 2, "--sampling", "all")
    assert "reference" in refused("pairs", *base, "--reference", "paired")
    emb: list[object] = ["duplicates", "copies.npy", "-o", "o.npy", "--no-progress"]
    assert "min_similarity" in refused(*emb, "--min-similarity", 2)
    assert "similarity must be one of" in refused(*emb, "--min-similarity", 0.9, "--similarity", "l2")
    assert not list(Path().glob("o.np*"))


@pytest.mark.usefixtures("folder")
def test_words_of_a_run() -> None:
    done = command("duplicates", "copies.npy", "--min-similarity", 0.999, "-o", "kept.npy", "--no-progress")
    assert done.returncode == 0
    assert done.stderr.strip() == f"hnscore: {N} of {N + 100} rows are kept"
