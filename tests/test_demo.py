"""The packaged set, and the demo that scores and draws it."""

import base64
import importlib.util
import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import hnscore
from hnscore import demo
from hnscore.demo import picture

SVG = "{http://www.w3.org/2000/svg}"
EMOJI_SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "emoji"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def data():
    return demo.load()


@pytest.fixture(scope="module")
def gap(data):
    """Similarity of every pool image and text minus the text's threshold, in float64."""
    images, texts, own = (
        emb / np.linalg.norm(emb, axis=1, keepdims=True)
        for emb in (x.astype(np.float64) for x in (data.img_emb, data.txt_emb, data.reference))
    )
    return images @ texts.T - ((own * texts).sum(1) - demo.MARGIN)


def test_file_is_small_and_has_no_pickle():
    file = files("hnscore") / "data" / "emoji.npz"
    with file.open("rb") as stream:
        assert len(stream.read()) <= 5_000_000
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as arrays:
            assert not any(arrays[name].dtype.hasobject for name in arrays.files)
        with zipfile.ZipFile(stream) as archive:
            assert archive.testzip() is None


def test_shapes_and_dtypes(data):
    n_img, dim = data.img_emb.shape
    n_txt = len(data.captions)
    assert data.txt_emb.shape == data.reference.shape == (n_txt, dim)
    assert {data.img_emb.dtype, data.txt_emb.dtype, data.reference.dtype} == {np.dtype(np.float16)}
    assert data.owner.shape == (n_txt,)
    assert set(data.owner.tolist()) == set(range(len(data.own_names)))
    assert len(data.names) == len(data.thumbnails) == n_img
    assert len(data.own_names) == len(data.own_thumbnails)
    for png in data.thumbnails + data.own_thumbnails:
        assert png.startswith(PNG_SIGNATURE)
        assert png.endswith(b"IEND\xaeB`\x82")
    for emb in (data.img_emb, data.txt_emb, data.reference):
        np.testing.assert_allclose(np.linalg.norm(emb.astype(np.float64), axis=1), 1, atol=1e-3)


def test_pool_and_paired_images_are_apart(data):
    assert not set(data.thumbnails) & set(data.own_thumbnails)


def test_margin_suits_the_similarities(gap):
    """A few pairs in a hundred qualify at most: the score is about hard negatives."""
    assert 0.001 < (gap > 0).mean() < 0.05


def test_scores_are_the_float64_ones(data, gap):
    arguments = (data.img_emb, data.txt_emb, demo.MARGIN)
    counts = hnscore.score(*arguments, reference=data.reference, weight="count")
    np.testing.assert_array_equal(counts, (gap > 0).sum(1))
    expected = np.maximum(gap, 0).sum(1)
    scores = hnscore.score(*arguments, reference=data.reference)
    # the documented error, 4 * 2^-24 for each qualifying pair, and the rounding of the output
    assert (np.abs(scores - expected) <= 2.0**-22 * (gap > 0).sum(1) + 2.0**-24 * expected).all()


def default_picks(data, scores, budget):
    """The definition, slow: each pick is the row that covers most of the half of the pool with the least scores."""
    emb = data.img_emb.astype(np.float64)
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    kernel = np.exp((emb @ emb.T - 1) / 0.4)
    wanted = scores <= np.sort(scores)[(len(scores) - 1) // 2]
    covered, picks = np.zeros(len(emb)), []
    for _ in range(budget):
        gain = np.maximum(kernel - covered, 0) @ wanted
        gain[picks] = -1
        picks.append(int(gain.argmax()))
        covered = np.maximum(covered, kernel[picks[-1]])
    return picks


def test_run_writes_the_picture(tmp_path, capsys, data, gap):
    output = tmp_path / "demo.svg"
    demo.run(output)
    printed = capsys.readouterr().out
    assert str(output) in printed
    assert "pairs/s" in printed
    assert "GFLOP/s" in printed
    assert "docs/active_learning.md" in printed
    scores = np.maximum(gap, 0).sum(1)
    best = scores.argmax()
    assert data.names[best] in printed
    picks = default_picks(data, scores, demo.N_NEXT)
    assert ", ".join(data.names[i] for i in picks) in printed

    root = ElementTree.parse(output).getroot()
    assert root.tag == f"{SVG}svg"
    images = root.findall(f"{SVG}image")
    assert len(images) == demo.N_ROWS * (1 + demo.N_MISTAKES) + demo.N_NEXT
    shown = [base64.b64decode(image.attrib["href"].partition(",")[2]) for image in images[-demo.N_NEXT :]]
    assert shown == [data.thumbnails[i] for i in picks]
    for image in images:
        prefix, _, encoded = image.attrib["href"].partition(",")
        assert prefix == "data:image/png;base64"
        assert base64.b64decode(encoded).startswith(PNG_SIGNATURE)
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts.count("#1") == 1
    assert data.names[best] in texts
    for line in texts:
        if found := re.fullmatch(r"similarity (\S+) > threshold (\S+)", line):
            assert float(found[1]) > float(found[2])


def test_run_draws_the_same_twice(tmp_path):
    for name, n_threads in (("a.svg", 1), ("b.svg", 2)):
        demo.run(tmp_path / name, n_threads=n_threads)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.fixture(scope="module")
def selection(tmp_path_factory):
    file = tmp_path_factory.mktemp("selection") / "selection.svg"
    demo.draw_selection(file)
    return file


def test_selection_has_a_panel_for_each_method_and_its_picks(selection, data, gap):
    root = ElementTree.parse(selection).getroot()
    panels = root.findall(f"{SVG}g")
    expected = np.maximum(gap, 0).sum(1)
    best = np.sort(expected)[-demo.N_PICKS :].sum()
    emb = data.img_emb.astype(np.float64)
    emb /= np.linalg.norm(emb, axis=1, keepdims=True)
    methods = []
    for panel in panels:
        method, _, _, share, _, cosine = ("".join(text.itertext()) for text in panel.findall(f"{SVG}text"))
        methods.append(method)
        images = panel.findall(f"{SVG}g/{SVG}image")
        files = [base64.b64decode(image.attrib["href"].partition(",")[2]) for image in images]
        picks = [data.thumbnails.index(file) for file in files]
        assert len(set(picks)) == demo.N_PICKS
        # both are printed with two digits
        assert abs(float(share.rstrip("%")) / 100 - expected[picks].sum() / best) < 0.006
        pairs = (emb[picks] @ emb[picks].T)[np.triu_indices(demo.N_PICKS, 1)]
        assert abs(float(cosine) - pairs.mean()) < 0.006
    easy, random, *methods = methods
    assert (easy, random) == (demo.EASY, "random")
    assert methods == ["top", "density", "budgeted", "repulsive", "coverage", "core_set", "herding"]


def test_selection_shows_thumbnails_apart_and_inside_their_map(selection):
    for panel in ElementTree.parse(selection).getroot().findall(f"{SVG}g"):
        frame = panel.find(f"{SVG}rect").attrib
        boxes = panel.findall(f"{SVG}g/{SVG}rect")
        at = np.array([[float(box.attrib["x"]), float(box.attrib["y"])] for box in boxes])
        side = float(boxes[0].attrib["width"])
        assert (at >= 0).all()
        assert (at + side <= [float(frame["width"]), float(frame["height"])]).all()
        apart = np.abs(at[:, None] - at).max(axis=2)[np.triu_indices(len(at), 1)]
        assert (apart >= side).all()


def test_selection_is_small_and_the_same_twice(selection, tmp_path, capsys):
    demo.run(tmp_path / "demo.svg", n_threads=1, selection=tmp_path / "again.svg")
    assert str(tmp_path / "again.svg") in capsys.readouterr().out
    assert (tmp_path / "again.svg").read_bytes() == selection.read_bytes()
    assert selection.stat().st_size < 400_000


def test_export(tmp_path, data):
    demo.run(tmp_path / "demo.svg", export=tmp_path / "new" / "folder")
    for name, expected in (("pool", data.img_emb), ("texts", data.txt_emb), ("reference", data.reference)):
        np.testing.assert_array_equal(np.load(tmp_path / "new" / "folder" / f"{name}.npy"), expected)


def test_pictures_that_cannot_be_written_fail_before_the_work(tmp_path, monkeypatch):
    def work(*args, **keywords):
        raise AssertionError

    monkeypatch.setattr(hnscore, "score", work)
    good, missing = tmp_path / "demo.svg", tmp_path / "missing" / "picture.svg"
    for pictures in ({"output": missing}, {"output": good, "selection": missing}):
        with pytest.raises(FileNotFoundError, match=r"picture\.svg: No such folder"):
            demo.run(**pictures)
    for selection in (good, tmp_path / "." / "demo.svg", tmp_path / ".." / tmp_path.name / "demo.svg"):
        with pytest.raises(ValueError, match=r"selection must be another file than output, got .*demo\.svg"):
            demo.run(good, selection=selection)
    assert not list(tmp_path.iterdir())


def test_export_makes_the_folder_of_the_picture(tmp_path):
    demo.run(tmp_path / "set" / "demo.svg", export=tmp_path / "set")
    assert {path.name for path in (tmp_path / "set").iterdir()} == {
        "demo.svg",
        "pool.npy",
        "texts.npy",
        "reference.npy",
    }


def test_picture_escapes_text_and_clips_bars():
    mistake = picture.Mistake("<script>&\"'", similarity=0.1, own_similarity=0.05, thumbnail=PNG_SIGNATURE)
    row = picture.Row(1, "a < b & c", 1.0, 1, PNG_SIGNATURE, [mistake])
    picks = picture.Picks("'next' & >", "why", ["</text>"], [PNG_SIGNATURE])
    root = ElementTree.fromstring(picture.draw([row], picks, "x & y", "<b>", 0.2))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert {"a < b & c", "<script>&\"'", "x & y", "<b>", "hard negative of 1 text", "'next' & >", "</text>"} <= set(
        texts
    )
    assert all(float(rect.attrib["width"]) >= 0 for rect in root.iter(f"{SVG}rect"))


@pytest.mark.parametrize(("script", "needs"), [("train_encoder.py", ["torch"]), ("build_images.py", ["PIL", "emoji"])])
def test_scripts_say_how_to_call_them(script, needs):
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{script} needs {', '.join(missing)}")
    done = subprocess.run(
        [sys.executable, EMOJI_SCRIPTS / script, "--help"], capture_output=True, text=True, check=True
    )
    assert "--output" in done.stdout
