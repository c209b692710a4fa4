"""A true early round of active learning: every decision equals that of float64 arithmetic."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import hnscore
from hnscore import reference as ref
from hnscore.command import cli as cli

MARGIN = 0.2
Round = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def exact(flickr8k: Round) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Similarities that decide like the exact ones, and the texts' own similarities."""
    own = ref.pair_similarity(flickr8k["own"], flickr8k["texts"])
    return ref.decided_similarity(flickr8k["pool"], flickr8k["texts"], "cosine", own - MARGIN), own


def test_counts(target: str, flickr8k: Round, exact: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    s, own = exact
    expected = ref.score_matrix(s, MARGIN, reference=own, weight="count")
    got = hnscore.score(flickr8k["pool"], flickr8k["texts"], MARGIN, reference=flickr8k["own"], weight="count")
    np.testing.assert_array_equal(got, expected)
    assert expected.sum() > 10_000, "a round in which nothing counts shows nothing"


def test_hinge(target: str, flickr8k: Round, exact: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    s, own = exact
    expected = ref.score_matrix(s, MARGIN, reference=own)
    got = hnscore.score(flickr8k["pool"], flickr8k["texts"], MARGIN, reference=flickr8k["own"])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * expected.max())


@pytest.mark.parametrize("weight", ["count", "hinge"])
def test_command_line(tmp_path: Path, flickr8k: Round, weight: str) -> None:
    for name in ("pool", "texts", "own"):
        np.save(tmp_path / f"{name}.npy", flickr8k[name])
    pool, texts, own, out = (str(tmp_path / f"{name}.npy") for name in ("pool", "texts", "own", "scores"))
    files = ["--images", pool, "--texts", texts, "--reference", own, "-o", out]
    assert cli.main(["score", *files, "--margin", str(MARGIN), "--weight", weight, "--no-progress"]) == 0
    expected = hnscore.score(flickr8k["pool"], flickr8k["texts"], MARGIN, reference=flickr8k["own"], weight=weight)
    np.testing.assert_array_equal(np.load(out), expected)


def test_references(flickr8k: Round, exact: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    _, own = exact
    np.testing.assert_array_equal(hnscore.reference_similarity(flickr8k["own"], flickr8k["texts"]), own)


def test_pool_max(flickr8k: Round) -> None:
    pool, texts = flickr8k["pool"], flickr8k["texts"][::10]
    s, _ = ref.fast_similarity(pool, texts)
    # What float64 cannot tell from the best of a column is compared exactly; then what it cannot tell from tau.
    r = ref.decided_similarity(pool, texts, "cosine", s.max(axis=0)).max(axis=0)
    s = ref.decided_similarity(pool, texts, "cosine", r, r - MARGIN)
    expected = ref.score_matrix(s, MARGIN, weight="count")
    np.testing.assert_array_equal(hnscore.score(pool, texts, MARGIN, weight="count"), expected)
