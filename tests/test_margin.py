"""margin_for and the counts behind margin curves: those that `score` gives, to the last pair."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import hnscore
from hnscore.figures.margins import margin_curve, shortfalls_of
from hnscore.mining import shortfalls as module

N_IMG, N_TXT, DIM = 400, 300, 24


@pytest.fixture
def sides() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((N_IMG, DIM), np.float32), rng.standard_normal((N_TXT, DIM), np.float32)


def rules() -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(1)
    return {
        "values": {"reference": rng.uniform(0.6, 0.9, N_TXT)},
        "own images": {"reference": rng.standard_normal((N_TXT, DIM))},
        "pool_max": {},
        "owner": {"owner": rng.integers(0, N_IMG, N_TXT)},
        "groups": {
            "reference": np.full(N_TXT, 0.8), "img_groups": np.arange(N_IMG) % 7, "txt_groups": np.arange(N_TXT) % 7,
        },
        "limit": {"reference": np.full(N_TXT, 0.8), "max_similarity": 0.5},
        "dot": {"reference": rng.uniform(20, 30, N_TXT), "similarity": "dot"},
    }  # fmt: skip


def count(img: Any, txt: Any, margin: float, rule: dict[str, Any]) -> int:
    return int(hnscore.score(img, txt, margin, weight="count", **rule).sum())


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("listed", [None, 500], ids=["all at once", "counted first"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3])
@pytest.mark.parametrize("name", rules())
def test_margin_for_is_the_largest(
    sides: tuple[Any, Any], name: str, share: float, listed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if listed is not None:
        monkeypatch.setattr(module, "_LISTED", listed)
    rule = rules()[name]
    margin = hnscore.margin_for(*sides, share, **rule)
    most = int(share * N_IMG * N_TXT)
    assert count(*sides, margin, rule) <= most
    assert count(*sides, margin + 1e-9 * max(1.0, abs(margin)), rule) > most


@pytest.mark.parametrize("name", ["values", "pool_max", "dot"])
def test_margin_for_is_the_quantile(sides: tuple[Any, Any], name: str) -> None:
    rule = rules()[name]
    img, txt = (x.astype(np.float64) for x in sides)
    if name != "dot":
        img, txt = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (img, txt))
    s = img @ txt.T
    reference = s.max(axis=0) if name == "pool_max" else rule["reference"]
    shortfalls = np.sort((reference - s).ravel())
    for share in (0.002, 0.02):
        expected = shortfalls[int(share * shortfalls.size)]
        assert hnscore.margin_for(*sides, share, **rule) == pytest.approx(expected, rel=0, abs=1e-6)


def test_ties_are_left_out() -> None:
    """Of many pairs at one shortfall, that margin counts none."""
    img, txt = np.eye(8), np.eye(8)[:4]
    reference = np.full(4, 0.5)
    margin = hnscore.margin_for(img, txt, 0.5, reference=reference)
    assert margin == 0.5
    assert count(img, txt, margin, {"reference": reference}) == 4


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
def test_many_ties_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LISTED", 10)
    img, txt = np.repeat(np.eye(4), 16, axis=0), np.eye(4)
    reference = np.full(4, 0.5)
    margin = hnscore.margin_for(img, txt, 0.5, reference=reference)
    assert margin == pytest.approx(0.5)
    assert count(img, txt, margin, {"reference": reference}) <= 128


def test_no_more_pairs_than_that(sides: tuple[Any, Any]) -> None:
    assert hnscore.margin_for(*sides, 1.0) == np.inf


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((np.ones((3, 4)), np.ones((2, 4)), 1.5), {}, "share must be from 0 to 1"),
        ((np.ones((3, 4)), np.ones((2, 4)), -0.1), {}, "share must be from 0 to 1"),
        ((np.ones((3, 4)), np.ones((2, 4)), float("nan")), {}, "share must be finite"),
        ((np.ones((0, 4)), np.ones((2, 4))), {}, "img_emb must have at least one row"),
        ((np.ones((3, 4)), np.ones((2, 5))), {}, "dim"),
        ((np.ones((3, 4)), np.full((2, 4), np.nan)), {}, "txt_emb"),
        ((np.ones((3, 4)), np.ones((2, 4))), {"reference": np.ones(3)}, "reference"),
    ],
)
def test_errors(arguments: tuple[Any, ...], keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hnscore.margin_for(*arguments, **keywords)


def test_tensors_and_datasets(sides: tuple[Any, Any], tmp_path: Any) -> None:
    torch = pytest.importorskip("torch")
    expected = hnscore.margin_for(*sides, 0.01)
    assert hnscore.margin_for(*map(torch.from_numpy, sides), 0.01) == expected
    np.save(tmp_path / "a.npy", sides[0][:150])
    np.save(tmp_path / "b.npy", sides[0][150:])
    assert hnscore.margin_for(hnscore.dataset(tmp_path), sides[1], 0.01) == expected


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("name", rules())
def test_curve_has_the_counts_of_score(sides: tuple[Any, Any], name: str) -> None:
    rule = rules()[name]
    looked = margin_curve(shortfalls_of(*sides, **rule), 0.2, 5)
    curve = looked.curve
    assert np.all(np.diff(curve.margins) > 0)
    for k in range(0, len(curve.margins), 17):
        counts = hnscore.score(*sides, curve.margins[k], weight="count", **rule)
        assert curve.pairs[k] == counts.sum()
        assert curve.images[k] == (counts > 0).sum()
    assert len(looked.closest.shortfalls) == 5
    if curve.margins[-1] >= 0.2:
        expected = hnscore.pairs(*sides, 0.2, by="text", **rule).offsets
        np.testing.assert_array_equal(looked.of_texts, np.diff(expected))


def test_curve_decides_ties_as_score_does() -> None:
    """A pair at 0.3 below a reference counts from the margin on after 0.3, whatever 0.3 and r - 0.3 are rounded to."""
    rng = np.random.default_rng(0)
    margins = np.arange(1, 60) * 0.01
    reference = rng.choice(np.arange(40, 100), 64) * 0.01
    similarity = reference - rng.choice(margins, 64)  # many at a margin, to a rounding
    img = np.stack([similarity, np.sqrt(1 - similarity**2)], axis=1)
    txt = np.tile([1.0, 0.0], (64, 1))
    rule = {"reference": reference}
    curve = margin_curve(shortfalls_of(img, txt, **rule), margins=margins).curve
    for margin, pairs, images in zip(margins, curve.pairs, curve.images, strict=True):
        counts = hnscore.score(img, txt, margin, weight="count", **rule)
        assert (pairs, images) == (counts.sum(), (counts > 0).sum()), margin
