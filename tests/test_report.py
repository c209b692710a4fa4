"""The report: what it says is what the functions give; bad rows are left out; bad input is named. How it looks:
`test_browser_report.py`."""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command

import hnscore
from hnscore import demo
from hnscore.reports.thumbnails import data_uri, image_of


@pytest.fixture(scope="module")
def data() -> demo.EmojiSet:
    return demo.load()


def written(output: Path, *arguments: Any, **options: Any) -> str:
    path = hnscore.report(*arguments, output=output, **options)
    assert path == os.fspath(output)
    return output.read_text(encoding="utf-8")


def curve(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.search(r'id="curve">(.*?)</script>', page)[1])  # type: ignore[index]
    return found


def test_says_what_the_functions_give(data: demo.EmojiSet, tmp_path: Path) -> None:
    page = written(
        tmp_path / "r.html", data.img_emb, data.txt_emb, 0.2, reference=data.reference, captions=data.captions,
        ids=data.names, images=data.thumbnails, budget=9, min_similarity=0.9,
    )  # fmt: skip
    rule = {"reference": data.reference}
    scores = hnscore.score(data.img_emb, data.txt_emb, 0.2, **rule)
    counts = hnscore.score(data.img_emb, data.txt_emb, 0.2, weight="count", **rule)
    assert f"{counts.sum():,} (0.5\N{NO-BREAK SPACE}%)" in page
    hardest = int(scores.argmax())
    assert f"<h3>1. {data.names[hardest]}</h3>" in page
    assert f"hard negative of {counts[hardest]} texts" in page
    picks = hnscore.select(scores, 9, prefer="easy", embeddings=data.img_emb)
    for number, row in enumerate(picks, 1):
        assert f"<strong>{number}. {data.names[row]}</strong>" in page
    kept, _ = hnscore.duplicates(data.img_emb, 0.9)
    assert f'<td class="n">{len(data.img_emb) - len(kept)}</td>' in page
    found = curve(page)
    at = found["margins"].index(0.2)
    assert found["pairs"][at] == counts.sum()
    assert found["images"][at] == (counts > 0).sum()
    s = data.img_emb.astype(float) @ data.txt_emb.astype(float).T
    s /= np.linalg.norm(data.img_emb.astype(float), axis=1)[:, None] * np.linalg.norm(
        data.txt_emb.astype(float), axis=1
    )
    gap = hnscore.reference_similarity(data.reference, data.txt_emb) - s
    image, text = np.unravel_index(gap.argmin(), gap.shape)
    assert f"{data.names[image]}: {-gap.min():.3f} closer than the text" in page
    assert data.captions[text].replace("&", "&amp;") in page


def test_bad_rows_are_listed_and_left_out(data: demo.EmojiSet, tmp_path: Path) -> None:
    first = np.unique(data.owner, return_index=True)[1]
    everything = np.concatenate([data.img_emb, data.reference[first]]).astype(np.float32)
    owner = len(data.img_emb) + data.owner
    spoilt, texts = everything.copy(), data.txt_emb.astype(np.float32)
    spoilt[[3, 10]], spoilt[7], spoilt[owner[0]] = 0, np.nan, 0
    texts = texts.copy()
    texts[20] = np.inf
    page = written(tmp_path / "bad.html", spoilt, texts, 0.2, owner=owner, captions=data.captions)
    assert f">3, 10, {owner[0]}</td>" in page
    assert ">7</td>" in page
    assert ">20</td>" in page
    good = np.delete(np.arange(len(spoilt)), [3, 7, 10, owner[0]])
    kept = np.flatnonzero((owner != owner[0]) & (np.arange(len(texts)) != 20))
    place = np.full(len(spoilt), -1)
    place[good] = np.arange(len(good))
    counts = hnscore.score(spoilt[good], texts[kept], 0.2, owner=place[owner[kept]], weight="count")
    assert f"{counts.sum():,} (" in page
    hardest = hnscore.score(spoilt[good], texts[kept], 0.2, owner=place[owner[kept]]).argmax()
    assert f"<h3>1. image {good[hardest]}</h3>" in page


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("rule", ["groups", "paired", "limit", "pool_max", "dot"])
def test_rules(rule: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    img, txt = rng.standard_normal((300, 16), np.float32), rng.standard_normal((300, 16), np.float32)
    options: dict[str, Any] = {
        "groups": {"reference": np.full(300, 0.7), "img_groups": np.arange(300) % 5, "txt_groups": np.arange(300) % 5},
        "paired": {"reference": "paired"},
        "limit": {"reference": np.full(300, 0.7), "max_similarity": 0.65},
        "pool_max": {},
        "dot": {"reference": np.full(300, 9.0), "similarity": "dot"},
    }[rule]
    img[5] = 0
    page = written(tmp_path / "r.html", img, txt, 0.1, budget=4, **options)
    if rule == "paired":
        options = {"owner": np.arange(300)}
    keep = np.delete(np.arange(300), 5)
    texts = keep if rule == "paired" else np.arange(300)
    taken = {k: v[keep if k == "img_groups" else texts] if isinstance(v, np.ndarray) else v for k, v in options.items()}
    if rule == "paired":
        taken = {"owner": np.arange(299)}
    counts = hnscore.score(img[keep], txt[texts], 0.1, weight="count", **taken)
    assert f"<dt>pairs that count</dt><dd>{counts.sum():,} (" in page


def test_bad_rows_of_any_kind(tmp_path: Path) -> None:
    """A column of a table whose labels are no row numbers, and bfloat16."""
    torch, pandas = pytest.importorskip("torch"), pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    img, txt = rng.standard_normal((60, 8), np.float32), rng.standard_normal((30, 8), np.float32)
    img[4] = 0
    options: dict[str, Any] = {"reference": np.full(30, 0.7), "captions": ["a"] * 30, "budget": 3}
    expected = curve(written(tmp_path / "a.html", img, txt, 0.1, **options))
    column = pandas.Series(list(img), index=np.arange(60)[::-1])
    assert curve(written(tmp_path / "b.html", column, txt, 0.1, **options)) == expected
    rounded = torch.from_numpy(img).bfloat16(), torch.from_numpy(txt).bfloat16()
    exact = curve(written(tmp_path / "c.html", *(x.float().numpy() for x in rounded), 0.1, **options))
    assert curve(written(tmp_path / "d.html", *rounded, 0.1, **options)) == exact


def test_a_small_pool_has_a_budget_of_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    page = written(tmp_path / "r.html", rng.standard_normal((5, 4)), rng.standard_normal((3, 4)), 0.2)
    assert "5 picks that cover the pool" in page


def test_nothing_counts(tmp_path: Path) -> None:
    with pytest.warns(hnscore.MarginWarning, match="too small"):
        page = written(
            tmp_path / "r.html", np.eye(300, dtype=np.float32), np.eye(300, dtype=np.float32)[::-1], 0.1,
            reference=np.ones(300), owner=np.arange(300)[::-1], budget=0,
        )  # fmt: skip
    assert "No image is a hard negative at this margin." in page
    assert "No budget was given." in page


def test_words_are_escaped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    img, txt = rng.standard_normal((40, 8)), rng.standard_normal((30, 8))
    evil = "<script>alert(1)</script>\" onerror='x'"
    page = written(
        tmp_path / "r.html", img, txt, 0.2, captions=[evil] * 30, ids=[evil] * 40, title=evil, budget=3,
        images=lambda row: b"\x89PNG" + bytes([row]),
    )  # fmt: skip
    assert "<script>alert" not in page
    assert 'alt="&lt;script&gt;alert(1)&lt;/script&gt;&quot; onerror=&#x27;x&#x27;"' in page


def test_only_what_is_shown_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    read = []
    img, txt = rng.standard_normal((2000, 16), np.float32), rng.standard_normal((200, 16), np.float32)
    written(
        tmp_path / "r.html", img, txt, 0.2, reference=np.full(200, 0.8), images=lambda row: read.append(row), budget=8
    )
    assert 0 < len(read) < 200


def test_a_notebook_shows_it(data: demo.EmojiSet, tmp_path: Path) -> None:
    path = hnscore.report(data.img_emb[:50], data.txt_emb[:20], 0.2, output=tmp_path / "r.html", budget=2)
    shown = path._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "&lt;!DOCTYPE html&gt;" in shown


def test_pictures_of_any_kind(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    with_alpha = image.fromarray(pixels).convert("RGBA")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), pixels, with_alpha):
        kind, content = data_uri(given).split(",", 1)
        assert kind == "data:image/jpeg;base64"
        assert len(base64.b64decode(content)) < 20_000
    assert image_of(None, 3) is None
    assert image_of({3: "x"}, 3) == "x"
    assert image_of({}, 3) is None
    assert image_of(["a", "b"], 1) == "b"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"captions": ["a"]}, ValueError, "captions must have one entry for each of the 5 texts, got 1"),
        ({"ids": ["a"]}, ValueError, "ids must have one entry for each of the 8 images, got 1"),
        ({"budget": 9}, ValueError, "budget"),
        ({"prefer": "best"}, ValueError, "prefer must be one of"),
        ({"margin": float("nan")}, ValueError, "margin"),
        ({"output": "no/such/folder/r.html"}, FileNotFoundError, "there is no such folder"),
        ({"images": lambda row: f"no/{row}.png"}, FileNotFoundError, "no/"),
        ({"owner": [9] * 5}, ValueError, "owner must hold rows of img_emb"),
        ({"images": [b"x"]}, ValueError, "images must have one entry for each of the 8 images, got 1"),
        ({"images": lambda row: b"no picture" * 9000}, ValueError, "images must be paths.*got 90,000 bytes"),
        ({"images": lambda row: row}, ValueError, "images must be paths.*got int"),
        ({"captions": (str(i) for i in range(5))}, TypeError, "captions must be a sequence, got generator"),
        ({"output": "."}, IsADirectoryError, "is a folder"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {"output": tmp_path / "r.html", "margin": 0.3, "budget": 2} | options
    with pytest.raises(error, match=message):
        hnscore.report(rng.standard_normal((8, 4)), rng.standard_normal((5, 4)), **given)
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("shape", [(1, 4), (30, 1), (7, 3)])
def test_small_shapes(shape: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written(tmp_path / "r.html", rng.standard_normal(shape), rng.standard_normal((2, shape[1])), 0.2)


def test_nothing_is_left(tmp_path: Path) -> None:
    for img, txt, options in (
        (np.zeros((5, 4)), np.ones((2, 4)), {}),
        (np.ones((5, 4)), np.full((2, 4), np.nan), {}),
        (np.eye(5, 4, -1), np.ones((2, 4)), {"owner": [0, 0]}),
    ):
        with pytest.raises(ValueError, match="must have a row to report of"):
            hnscore.report(img, txt, output=tmp_path / "r.html", **options)


def test_words_that_no_file_can_hold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    img, txt = rng.standard_normal((40, 8)), rng.standard_normal((30, 8))
    assert "?" in written(tmp_path / "r.html", img, txt, 0.3, captions=["\udc80"] * 30)


def test_commands(data: demo.EmojiSet, tmp_path: Path) -> None:
    demo.save(tmp_path / "set", shards=3)
    files = ["--images", tmp_path / "set" / "pool.npy", "--texts", tmp_path / "set" / "texts.npy"]
    files += ["--reference", tmp_path / "set" / "reference.npy"]
    done = command("margin", *files, "--share", 0.01)
    assert done.returncode == 0, done.stderr
    rule = {"reference": data.reference}
    assert float(done.stdout) == hnscore.margin_for(data.img_emb, data.txt_emb, 0.01, **rule)
    (tmp_path / "pictures").mkdir()
    for row, png in enumerate(data.thumbnails):
        (tmp_path / "pictures" / f"{row:04d}.png").write_bytes(png)
    (tmp_path / "captions.json").write_text(json.dumps(data.captions))
    words = ["--pictures", tmp_path / "pictures", "--captions", tmp_path / "captions.json"]
    files[1] = tmp_path / "set" / "pool"
    output = tmp_path / "r.html"
    done = command("report", *files, *words, "--ids", "id", "-o", output, "--budget", 5)
    assert done.returncode == 0, done.stderr
    page = output.read_text(encoding="utf-8")
    scores = hnscore.score(data.img_emb, data.txt_emb, 0.2, **rule)
    assert f"<h3>1. {data.names[int(scores.argmax())]}</h3>" in page
    assert data.captions[0].split(":")[0]
    assert page.count("<img ") > 20
    done = command("report", *files, "--captions", tmp_path / "none.txt", "-o", output)
    assert done.returncode == 2
    assert "none.txt" in done.stderr
