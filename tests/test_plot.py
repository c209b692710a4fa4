"""Pictures on matplotlib: what they show is what was computed; bad input is named."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

import hnscore  # noqa: E402
from hnscore import demo  # noqa: E402


@pytest.fixture(scope="module")
def data() -> demo.EmojiSet:
    return demo.load()


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def line(ax: Any, label: str) -> Any:
    return next(x for x in ax.lines if x.get_label() == label)


def test_margin_curve(data: demo.EmojiSet) -> None:
    ax = hnscore.plot.margin_curve(data.img_emb, data.txt_emb, 0.2, reference=data.reference)
    margins, shares = line(ax, "pairs that count").get_data()
    k = int(np.abs(margins - 0.3).argmin())
    counts = hnscore.score(data.img_emb, data.txt_emb, margins[k], reference=data.reference, weight="count")
    assert shares[k] == counts.sum() / (len(counts) * len(data.txt_emb))
    assert line(ax, "images in them").get_ydata()[k] == (counts > 0).mean()


def test_similarity_histogram(data: demo.EmojiSet) -> None:
    _, axes = plt.subplots()
    ax = hnscore.plot.similarity_histogram(data.img_emb, data.txt_emb, 0.2, reference=data.reference, ax=axes)
    assert ax is axes
    x, y = line(ax, "references").get_data()
    typical = np.median(hnscore.reference_similarity(data.reference, data.txt_emb))
    assert abs(x[y.argmax()] - typical) < 0.1
    x, y = line(ax, "thresholds, margin 0.2").get_data()
    assert abs(x[y.argmax()] - (typical - 0.2)) < 0.1


def test_selection_map(data: demo.EmojiSet) -> None:
    picks = hnscore.core_set(data.img_emb, 7)
    ax = hnscore.plot.selection_map(data.img_emb, picks, values=np.arange(500))
    pool, chosen = (dots.get_offsets() for dots in ax.collections[:2])
    assert len(pool) == 500
    np.testing.assert_allclose(np.asarray(pool)[picks], chosen)


def test_coverage_curve(data: demo.EmojiSet) -> None:
    picks = hnscore.select(None, 12, embeddings=data.img_emb, method="coverage")
    ax = hnscore.plot.coverage_curve(data.img_emb, picks)
    x = data.img_emb.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = [(x @ x[picks[: k + 1]].T).max(axis=1).mean() for k in range(12)]
    np.testing.assert_allclose(line(ax, "picks").get_ydata(), expected, atol=1e-6)
    assert line(ax, "random").get_ydata()[-1] < expected[-1]


def test_tensors(data: demo.EmojiSet) -> None:
    torch = pytest.importorskip("torch")
    emb = torch.from_numpy(data.img_emb).bfloat16()
    ax = hnscore.plot.selection_map(emb, torch.arange(3))
    assert len(ax.collections[1].get_offsets()) == 3


@pytest.mark.parametrize(
    ("picks", "message"),
    [([], "picks must have at least one row"), ([500], "picks must hold rows from 0 to 499"),
     ([True], "picks must hold integers"), ([1, 1], "picks must name each row once")],
)  # fmt: skip
def test_errors(data: demo.EmojiSet, picks: Any, message: str) -> None:
    for draw in (hnscore.plot.selection_map, hnscore.plot.coverage_curve):
        with pytest.raises((TypeError, ValueError), match=message):
            draw(data.img_emb, picks)


def test_what_else_is_refused(data: demo.EmojiSet) -> None:
    emb = data.img_emb
    with pytest.raises(ValueError, match="values must have shape"):
        hnscore.plot.selection_map(emb, [0], values=[1, 2])
    with pytest.raises(ValueError, match="emb"):
        hnscore.plot.selection_map(np.full((4, 3), np.nan), [0])
    for draw in (hnscore.plot.margin_curve, hnscore.plot.similarity_histogram):
        with pytest.raises(TypeError, match="unexpected keyword 'weight', expected some of"):
            draw(emb, data.txt_emb, weight="count")
        with pytest.raises(ValueError, match="img_emb must have at least one row"):
            draw(emb[:0], data.txt_emb)


def test_one_dim() -> None:
    hnscore.plot.selection_map(np.array([[1.0], [2.0], [-1.0]]), [0, 2])


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, data: demo.EmojiSet) -> None:
    """The names are there, and say what is missing when they are called."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    names: dict[str, Any] = {}
    exec("from hnscore import *", names)
    with pytest.raises(ImportError, match=r"hnscore.plot needs matplotlib; pip install 'hnscore\[plot\]'"):
        names["plot"].selection_map(data.img_emb, [0])
