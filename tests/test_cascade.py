"""The cascade: no pair that counts is ever lost, sums do not depend on the plan, and the plan knows when to be dense.

The other tests run every rule, dtype and tie through the cascade too (the `method` fixture). Here are inputs whose
screens have pairs to drop, and ways to go wrong that only a screen has.
"""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tolerances import assert_score

import hnscore
from hnscore import _core
from hnscore import reference as ref
from hnscore.command import score_file, scores_file
from hnscore.engine import pool
from hnscore.engine.host import host_rows
from hnscore.engine.protocol import NO_RULES, Request

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Embeddings = NDArray[np.float32]
Pair = tuple[Embeddings, Embeddings]


def concentrated(n: int, m: int, dim: int, rank: int = 12, noise: float = 0.3, seed: int = 0) -> Pair:
    """Rows that a few directions hold nearly, as real embeddings are: what a basis is for."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((rank, dim)) * np.exp(-np.arange(rank) / rank)[:, None]
    x, t = (
        rng.standard_normal((k, rank)) @ directions / np.sqrt(rank)
        + noise * rng.standard_normal((k, dim)) / np.sqrt(rank)
        for k in (n, m)
    )
    return x.astype(np.float32), t.astype(np.float32)


def thresholds(x: Embeddings, t: Embeddings, share: float, similarity: str = "cosine") -> NDArray[np.float64]:
    """Of each text one similarity itself, such that about this share of the pairs is above: ties everywhere."""
    s, _ = ref.fast_similarity(x, t, similarity)
    rows = np.argsort(s, axis=0)[int((1 - share) * (len(x) - 1))]
    return ref.pair_similarity(x[rows], t, similarity)


class Survivors:
    """What the passes left, from the log."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        (record,) = (r for r in caplog.records if "first pass left" in r.msg)
        assert isinstance(record.args, tuple)
        self.pairs, self.first, self.last = record.args


# ---- Nothing is lost -------------------------------------------------------------------------------------------------


@st.composite
def hostile(draw: st.DrawFn) -> tuple[Embeddings, Embeddings, str, float]:
    """Embeddings that a careless bound fails on, a similarity, and the share of pairs that count."""
    n, m, dim = draw(st.integers(1, 90)), draw(st.integers(1, 120)), draw(st.sampled_from([32, 40, 64, 100, 129]))
    seed, rank = draw(st.integers(0, 2**32)), draw(st.integers(1, 32))
    x, t = concentrated(n, m, dim, rank, draw(st.sampled_from([0.0, 1e-3, 0.3, 3.0])), seed)
    rng = np.random.default_rng(seed)
    for change in draw(st.sets(st.sampled_from(["duplicates", "suffix", "dominant", "columns", "range", "small"]))):
        if change == "duplicates":
            x, t = x[rng.integers(0, (n + 3) // 4, n)], t[rng.integers(0, (m + 3) // 4, m)]
            t[::2] = x[rng.integers(0, n, len(t[::2]))]
        elif change == "suffix":
            x[:, dim // 2 :] = 0
        elif change == "dominant":
            x[:, 3] += 1e4
            t[:, 3] -= 1e4 * rng.choice([-1, 1], m)
        elif change == "columns":
            x[:, ::3] = t[:, ::3] = 0.25
        elif change == "range":
            columns = 10.0 ** rng.uniform(-18, 18, dim)
            x, t = (x * columns).astype(np.float32), (t / columns).astype(np.float32)
        elif change == "small":
            x, t = x * np.float32(2.0**-60), t * np.float32(2.0**-60)
    x[~x.any(axis=1), 0] = t[~t.any(axis=1), 0] = 1
    similarity = draw(st.sampled_from(["cosine", "dot"]))
    if similarity == "dot":
        x = x * (10.0 ** rng.uniform(-6, 6, (n, 1))).astype(np.float32)
    return x, t, similarity, draw(st.sampled_from([0.0, 0.01, 0.1, 0.5]))


@pytest.mark.exhaustive(0)
@given(hostile(), st.sampled_from([*_core.config()["targets_emulated"], *_core.config()["targets_supported"]]))
def test_no_pair_is_lost(case: tuple[Embeddings, Embeddings, str, float], target: str) -> None:
    x, t, similarity, share = case
    tau = thresholds(x, t, share, similarity)
    previous = _core.set_target(target)
    try:
        for neighbour in (-np.inf, np.inf, None):
            r = tau if neighbour is None else np.nextafter(tau, neighbour)
            s = ref.decided_similarity(x, t, similarity, r)
            got = hnscore.score(x, t, 0.0, reference=r, weight="count", similarity=similarity, method="cascade")
            np.testing.assert_array_equal(got, (s > r).sum(axis=1))
        k = 1 + len(x) // 9
        best = [_kth_best(t, x, k, similarity, method) for method in ("dense", "cascade")]
        for dense, cascade in zip(*best, strict=True):
            np.testing.assert_array_equal(cascade, dense)
    finally:
        _core.set_target(previous)


@pytest.mark.parametrize("dim", [16, 31, 64, 130, 512])
def test_codes_that_lose_most(target: str, dim: int) -> None:
    """One value makes the step of the 8-bit codes so large that all others, half a step each, are read as 0.

    On the other side lies what was lost, so that the whole of its error is missing from the product of the codes.
    """
    rng = np.random.default_rng(dim)
    lost = rng.choice([-0.5, 0.5], (40, dim)).astype(np.float32)
    lost[:, 0] = 0
    coarse = lost.copy()
    coarse[:, 0] = 127
    for x, t in ((coarse, lost), (lost, coarse)):
        s = ref.similarity_matrix(x, t)
        for r in (np.nextafter(np.diag(s), -np.inf), s.max(axis=0) - 1e-3):
            got = hnscore.score(x, t, 0.0, reference=r, weight="count", method="cascade")
            np.testing.assert_array_equal(got, (s > r).sum(axis=1))


@pytest.mark.parametrize("dim", [16, 31])
def test_codes_that_lose_nothing(target: str, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 0 and one magnitude: the bound is the similarity but for its slack, and no threshold may be above it."""
    monkeypatch.setattr(pool, "_BLOCK_BYTES", 256 * 2 * dim)  # from the second block on the best so far is a threshold
    rng = np.random.default_rng(dim)
    x, t = (rng.integers(-1, 2, (n, dim)).astype(np.float32) for n in (4000, 60))
    x[~x.any(axis=1), 0] = t[~t.any(axis=1), 0] = 1
    s = ref.similarity_matrix(x, t)
    for k in (1, 20, 300):
        for got, want in zip(
            _kth_best(t, x, k, "cosine", "cascade"), _kth_best(t, x, k, "cosine", "dense"), strict=True
        ):
            np.testing.assert_array_equal(got, want)
        r = np.nextafter(np.sort(s, axis=0)[-k], -np.inf)
        got = hnscore.score(x, t, 0.0, reference=r, weight="count", method="cascade")
        np.testing.assert_array_equal(got, (s > r).sum(axis=1))
        rules: dict[str, Any] = {"reference": np.full(60, -1.0), "weight": "count", "top_k_images": k}
        got = hnscore.score(x, t, 0.0, method="cascade", **rules)
        np.testing.assert_array_equal(got, hnscore.score(x, t, 0.0, method="dense", **rules))


def _kth_best(
    txt: Embeddings, img: Embeddings, k: int, similarity: str, method: str, n_threads: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    request = Request(similarity=similarity, k=k, method=method)
    return pool.kth_best(host_rows("txt_emb", txt), host_rows("img_emb", img), request, NO_RULES, n_threads)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_screens_drop_most_pairs_and_none_that_count(
    target: str, similarity: str, caplog: pytest.LogCaptureFixture
) -> None:
    x, t = concentrated(700, 1300, 96)
    r = thresholds(x, t, 0.01, similarity)
    expected = ref.score_matrix(ref.decided_similarity(x, t, similarity, r), 0.0, reference=r, weight="count")
    with caplog.at_level(logging.INFO, logger="hnscore"):
        got = hnscore.score(x, t, 0.0, reference=r, weight="count", similarity=similarity, method="cascade")
    np.testing.assert_array_equal(got, expected)
    left = Survivors(caplog)
    assert left.pairs == x.shape[0] * t.shape[0]
    # In per cent. Of the one per cent that counts, a screen of all values also takes out what surely does.
    assert 0.1 <= left.last <= left.first < 25, "a screen that drops nothing shows nothing"


@pytest.mark.parametrize("k", [1, 3, 40])
def test_running_thresholds(target: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The k-th best so far is the threshold, within a block of the pool and over several."""
    x, t = concentrated(3000, 150, 64, seed=1)
    x[1500:1600] = x[:100]  # ties: the lowest row wins
    dense = _kth_best(t, x, k, "cosine", "dense")
    monkeypatch.setattr(pool, "_BLOCK_BYTES", 700 * 2 * 64)
    for n_threads in (1, 3):
        for got, want in zip(_kth_best(t, x, k, "cosine", "cascade", n_threads), dense, strict=True):
            np.testing.assert_array_equal(got, want)


# ---- The same sums by any plan ---------------------------------------------------------------------------------------

WEIGHTS: dict[str, dict[str, Any]] = {name: {"temperature": 0.1} if name == "exp" else {} for name in ref.WEIGHTS}


@pytest.mark.parametrize("weight", WEIGHTS)
def test_sums_are_within_the_contract(target: str, weight: str) -> None:
    """Survivors that are clear of their threshold keep their float32 product: every row is next to its own sum."""
    x, t = concentrated(300, 500, 96, seed=2)
    r = np.nextafter(thresholds(x, t, 0.02), -np.inf)
    s = ref.decided_similarity(x, t, "cosine", r)
    for rules in ({}, {"aggregate": "mean"}, {"aggregate": "max"}, {"aggregate": "topk", "k": 4}):
        options: dict[str, Any] = {"reference": r, "weight": weight, **WEIGHTS[weight], **rules}
        got = hnscore.score(x, t, 0.05, method="cascade", **options)
        assert_score(got, s, 1.0, 0.05, label=(weight, rules), **options)


def test_same_bits_for_any_plan_threads_and_chunks(target: str) -> None:
    x, t = concentrated(900, 700, 96, seed=3)
    r = thresholds(x, t, 0.02)
    for rules in ({}, {"weight": "exp", "temperature": 0.02}, {"weight": "similarity", "aggregate": "topk", "k": 9}):
        options: dict[str, Any] = {"reference": r, "method": "cascade", **rules}
        whole = hnscore.score(x, t, 0.03, n_threads=1, **options)
        for n_threads in (2, 5):
            assert hnscore.score(x, t, 0.03, n_threads=n_threads, **options).tobytes() == whole.tobytes()
        # Each Scorer learns its basis from another chunk.
        for chunks in (np.split(x, [1]), np.split(x, [40, 41, 800]), np.split(x, [899])):
            scorer = hnscore.Scorer(t, 0.03, **options)
            parts = [scorer.score(chunk) for chunk in chunks]
            assert np.concatenate(parts).tobytes() == whole.tobytes()
            again = pickle.loads(pickle.dumps(scorer))
            assert again.score(x[100:300]).tobytes() == whole[100:300].tobytes()


def test_layouts_and_dtypes_of_the_same_values_give_the_same_bits(target: str) -> None:
    x, t = (a.astype(np.float16).astype(np.float32) for a in concentrated(60, 80, 70, seed=4))
    options: dict[str, Any] = {"reference": thresholds(x, t, 0.05), "method": "cascade"}
    want = hnscore.score(x, t, 0.01, **options).tobytes()
    for dtype in (np.float16, np.float64, ">f4"):
        assert hnscore.score(x.astype(dtype), t, 0.01, **options).tobytes() == want
        assert hnscore.score(x, t.astype(dtype), 0.01, **options).tobytes() == want
    assert hnscore.score(np.asfortranarray(x), t[::-1].copy()[::-1], 0.01, **options).tobytes() == want


# ---- The plan --------------------------------------------------------------------------------------------------------


def plan_of(x: Embeddings, t: Embeddings, tau: NDArray[np.float64], n_threads: int = 2, **request: Any) -> _core.Plan:
    how = {"recipe": request.pop("recipe"), "k": request.pop("k", 1)}
    return pool.choose(host_rows("x", x), host_rows("t", t), Request(**how), n_threads, tau=tau, **request)


def summary(plan: _core.Plan) -> tuple[Any, ...]:
    return plan.cascade, plan.reason, plan.dims, plan.has_basis, plan.share, plan.kept, plan.work


def test_concentrated_rows_get_a_basis(target: str) -> None:
    x, t = concentrated(4000, 3000, 256, noise=0.05)
    plan = plan_of(x, t, thresholds(x[:300], t, 0.003), recipe="hinge")
    assert plan.cascade
    assert plan.has_basis != target.startswith("amx"), "matrix tiles look at all values in no more time"
    assert (plan.dims < 256) == plan.has_basis
    assert plan.share < 0.02
    assert plan.kept[1] <= plan.kept[0] < 0.2
    assert plan.work < 0.9
    # The same for any number of threads.
    assert summary(plan) == summary(plan_of(x, t, thresholds(x[:300], t, 0.003), 1, recipe="hinge"))


def test_the_plan_is_dense_where_a_cascade_cannot_help(target: str) -> None:
    rng = np.random.default_rng(5)
    x, t = rng.standard_normal((2, 3000, 256)).astype(np.float32)
    # Most pairs qualify, as with raw CLIP cosines at margin 0.2; and few pairs at all.
    plan = plan_of(x, t, np.full(3000, -0.1), recipe="hinge")
    assert (plan.cascade, plan.reason) == (False, "too many pairs count")
    plan = plan_of(x[:50], t[:50], np.full(50, 0.2), recipe="hinge")
    assert (plan.cascade, plan.reason) == (False, "few pairs")
    # Nothing holds these rows, so that no basis is learnt; a few more chunks to come change nothing.
    plan = plan_of(x, t, np.full(3000, 0.08), recipe="hinge", expected_rows=10_000)
    assert not plan.has_basis


def test_auto_is_one_of_the_two_and_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    x, t = concentrated(4000, 3000, 256, noise=0.05)
    r = thresholds(x[:300], t, 0.003)
    auto = hnscore.score(x, t, 0.0, reference=r, verbose=True)
    text = capsys.readouterr().out
    for words in ("method=cascade", "dims as", "leave", "the rest is decided", "of the dense time"):
        assert words in text
    assert auto.tobytes() == hnscore.score(x, t, 0.0, reference=r, method="cascade").tobytes()
    wide = hnscore.score(x, t, 3.0, reference=r, verbose=True)
    assert "method=dense" in (text := capsys.readouterr().out)
    assert "too many pairs count" in text
    assert wide.tobytes() == hnscore.score(x, t, 3.0, reference=r, method="dense").tobytes()


def test_approximate_precisions_stay_dense() -> None:
    x, t = concentrated(4000, 3000, 256, noise=0.05)
    r = thresholds(x[:300], t, 0.003)
    auto = hnscore.score(x, t, 0.0, reference=r, precision="fp32")
    assert auto.tobytes() == hnscore.score(x, t, 0.0, reference=r, precision="fp32", method="dense").tobytes()


def test_files_remember_the_method(tmp_path: Path) -> None:
    """What auto chose is settled by the whole pool, and kept for a run that continues."""
    x, t = concentrated(4000, 3000, 256, noise=0.05)
    r = thresholds(x[:300], t, 0.003)
    for name, array in (("x", x), ("t", t), ("r", r)):
        np.save(tmp_path / f"{name}.npy", array)
    files = [tmp_path / f"{name}.npy" for name in ("x", "t", "out")]
    chosen = []
    write = scores_file.ScoresFile.write_rows

    def spy(self: scores_file.ScoresFile, start: int, scores: NDArray[Any]) -> None:
        write(self, start, scores)
        chosen.append(json.loads((tmp_path / "out.npy.partial.json").read_text())["method"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores_file.ScoresFile, "write_rows", spy)
        score_file.score_file(*files, 0.0, reference=tmp_path / "r.npy", chunk_rows=700, show_progress_bar=False)
    assert chosen == ["cascade"] * 6
    np.testing.assert_array_equal(np.load(files[2]), hnscore.score(x, t, 0.0, reference=r))


# ---- Bad and odd input -----------------------------------------------------------------------------------------------


def test_odd_shapes_and_data(target: str) -> None:
    rng = np.random.default_rng(6)
    x, t = rng.standard_normal((2, 200, 64)).astype(np.float32)
    cases: dict[str, Pair] = {
        "one text": (x, t[:1]),
        "one image": (x[:1], t),
        "one of each": (x[:1], t[:1]),
        "constant": (np.ones_like(x), np.ones_like(t)),
        "constant columns": (np.where(np.arange(64) % 2, x, 1).astype(np.float32), t),
        "one direction": (x[:1] * rng.uniform(1, 2, (200, 1)).astype(np.float32), x[:1] + 0 * t),
        "one hot": (np.eye(64, dtype=np.float32)[np.arange(200) % 64],) * 2,
        "one dim": (x[:, :1], t[:, :1]),
        "a wide row": (np.tile(x[:5], (1, 40)), np.tile(t[:7], (1, 40))),
    }
    for name, (a, b) in cases.items():
        s = ref.similarity_matrix(a, b)
        for r in (s.max(axis=0), s.min(axis=0), np.full(len(b), 1.0), np.full(len(b), -1.0)):
            got = hnscore.score(a, b, 0.0, reference=r, weight="count", method="cascade")
            np.testing.assert_array_equal(got, (s > r).sum(axis=1), err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_rows_are_named(target: str, bad: float) -> None:
    x, t = concentrated(400, 300, 64)
    r = np.full(300, 0.3)
    for name, array, row in (("img_emb", x, 399), ("txt_emb", t, 17)):
        broken = array.copy()
        broken[row, 5] = bad
        arguments = (broken, t) if name == "img_emb" else (x, broken)
        with pytest.raises(ValueError, match=f"{name}.*{row}"):
            hnscore.score(*arguments, 0.1, reference=r, method="cascade")
    with pytest.raises(ValueError, match=r"txt_emb.*17"):
        hnscore.Scorer(np.where(np.arange(300)[:, None] == 17, 0, t), 0.1, reference=r, method="cascade")
