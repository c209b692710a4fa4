"""What the functions promise beside their numbers: chunks, pickles, warnings, progress, a light import."""

import logging
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import hnscore
from hnscore import _core
from hnscore import reference as ref
from hnscore.engine import pool

RNG = np.random.default_rng(0)
IMG = RNG.standard_normal((300, 24)).astype(np.float32)
TXT = RNG.standard_normal((70, 24)).astype(np.float32)
OWN = RNG.standard_normal((70, 24)).astype(np.float32)
LABELS = {"img_groups": np.arange(300) % 90, "txt_groups": np.arange(70)}
RULES: list[dict[str, Any]] = [
    {},
    {"weight": "count"},
    *({"weight": "count", name: values[0]} for name, values in ref.MARGINS.items()),
    {"weight": "similarity", "aggregate": "mean", "max_similarity": 0.5, "similarity": "dot"},
    {"weight": "squared_hinge", "aggregate": "topk", "k": 5, "precision": "bf16"},
    {"weight": "exp", "temperature": 0.05, "aggregate": "max", "precision": "fp32"},
    {"minibatch": 20, "random_state": 7},
    {"minibatch": 20, "random_state": 7, "weight": "count", **LABELS},
]


@pytest.mark.parametrize("rules", RULES)
def test_chunks_get_the_bits_of_one_call(rules: dict[str, Any]) -> None:
    whole = hnscore.score(IMG, TXT, 0.4, reference=OWN, **rules)
    labels = rules.get("img_groups")
    txt = TXT.copy()
    scorer = hnscore.Scorer(
        txt, 0.4, reference=OWN, **{name: value for name, value in rules.items() if name != "img_groups"}
    )
    txt[:] = np.nan  # the caller's memory is the caller's
    for same in (scorer, pickle.loads(pickle.dumps(scorer))):
        for size in (1, 37, 300):
            starts = range(0, len(IMG), size)

            def chunk(start: int, same: hnscore.Scorer = same, size: int = size) -> Any:
                groups = None if labels is None else labels[start : start + size]
                return same.score(IMG[start : start + size], img_groups=groups)

            with ThreadPoolExecutor(4) as threads:
                np.testing.assert_array_equal(np.concatenate(list(threads.map(chunk, starts))), whole)


def test_scorer_says_what_it_is() -> None:
    text = repr(hnscore.Scorer(TXT, 0.4, reference=OWN, weight="count"))
    for words in ("70 texts", "dim 24", "margin=0.4", "weight='count'", "precision='exact'", "method='auto'"):
        assert words in text


@pytest.mark.parametrize("rules", [{}, {"reference": "paired"}, {"reference": OWN}, {"minibatch": 20}, LABELS])
@pytest.mark.parametrize("k", [1, 6, 50])
def test_blocks_of_the_pool_do_not_show(monkeypatch: pytest.MonkeyPatch, rules: dict[str, Any], k: int) -> None:
    """A pool of repeated rows, so that ties lie across blocks."""
    img = np.concatenate([IMG[:35], IMG[:35]])
    rules = rules | {"top_k_images": k, "random_state": 1}
    if "img_groups" in rules:
        rules["img_groups"] = rules["img_groups"][:70]
    whole = hnscore.score(img, TXT, 0.9, weight="count", **rules)
    kinds: list[dict[str, Any]] = [{"kind": "hardest"}, {"kind": "topk", "k": k}]
    references = [hnscore.reference_similarity(img, TXT, **kind) for kind in kinds]
    monkeypatch.setattr(pool, "_BLOCK_BYTES", 0)
    monkeypatch.setattr(pool, "_LEAST_BLOCK", 9)
    monkeypatch.setattr(pool, "_STATE_BYTES", 0)
    np.testing.assert_array_equal(hnscore.score(img, TXT, 0.9, weight="count", **rules), whole)
    for kind, reference in zip(kinds, references, strict=True):
        np.testing.assert_array_equal(hnscore.reference_similarity(img, TXT, **kind), reference)


def test_random_states_are_repeated_and_advanced() -> None:
    def draw(random_state: Any) -> bytes:
        scores: bytes = hnscore.score(IMG, TXT, 0.4, reference=OWN, minibatch=9, random_state=random_state).tobytes()
        return scores

    assert draw(3) == draw(3) == draw(np.random.default_rng(3))
    assert draw(3) != draw(4)
    for generator in (np.random.default_rng(0), np.random.RandomState(0)):
        assert draw(generator) != draw(generator)
    assert draw(None) != draw(None)


# ---- Warnings --------------------------------------------------------------------------------------------------------

MANY = RNG.standard_normal((300, 24)).astype(np.float32)


def test_a_wide_margin_is_told_once_with_a_useful_one() -> None:
    img, txt = IMG + 1, MANY + 1
    reference = np.full(300, 0.9)
    with pytest.warns(hnscore.MarginWarning, match="margin=0.8 is too wide") as caught:
        hnscore.score(img, txt, 0.8, reference=reference)
    assert caught[0].filename == __file__
    assert len(caught) == 1
    margin = float(str(caught[0].message).split("; margin=")[1].split()[0])
    share = hnscore.score(img, txt, margin, reference=reference, weight="count").mean() / 300
    assert 0.003 < share < 0.03

    scorer = hnscore.Scorer(txt, 0.8, reference=reference)
    with pytest.warns(hnscore.MarginWarning) as caught:
        scorer.score(img)
    assert caught[0].filename == __file__
    scorer.score(img)  # told once: a second warning would be an error


def test_a_low_reference_is_told() -> None:
    with pytest.warns(hnscore.MarginWarning, match="the reference is too low"):
        hnscore.score(IMG + 1, MANY + 1, 0.1, reference=np.full(300, -0.5))


def test_a_fitting_margin_is_not_told() -> None:
    hnscore.score(IMG, MANY, 0.2)
    hnscore.score(IMG, MANY, 3.0, max_similarity=-1)
    hnscore.score(IMG, MANY, 3.0, top_k_images=3)


def test_a_number_that_changes_is_read_anew() -> None:
    margin = np.array(0.1)
    few = hnscore.score(IMG, TXT, margin, reference=OWN, weight="count").sum()
    margin[()] = 0.9
    assert hnscore.score(IMG, TXT, margin, reference=OWN, weight="count").sum() > few
    torch = pytest.importorskip("torch")
    img, txt, own = (torch.from_numpy(x) for x in (IMG, TXT, OWN))
    scalar = torch.tensor(0.1)
    assert hnscore.score(img, txt, scalar, reference=own, weight="count").sum() == few
    scalar.fill_(0.9)
    assert hnscore.score(img, txt, scalar, reference=own, weight="count").sum() > few


# ---- What is shown ---------------------------------------------------------------------------------------------------


def test_verbose_says_what_was_decided(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="hnscore"):
        hnscore.score(IMG, TXT, verbose=True, precision="fp32")
    out = capsys.readouterr().out
    for words in ("method=dense", f"target={_core.config()['target']}", "precision=fp32", "threads", "300 images x 70"):
        assert words in out
        assert words in caplog.text
    hnscore.score(IMG, TXT)
    assert capsys.readouterr() == ("", "")


def test_progress_ends_at_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    plain = hnscore.score(IMG, TXT, top_k_images=9)
    shown = hnscore.score(IMG, TXT, top_k_images=9, show_progress_bar=True)
    np.testing.assert_array_equal(shown, plain)
    shown = capsys.readouterr().err
    for what in ("reference", "top images", "score"):
        assert f"{what}: 100%" in shown
    assert "300/300" in shown


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    config = hnscore.show_config("dicts")
    assert config is not None
    assert config["version"] == hnscore.__version__
    assert config["threads"] >= 1
    hnscore.show_config()
    out = capsys.readouterr().out
    for words in (hnscore.__version__, config["target"], "cuda", "gpus"):
        assert words in out


def test_import_is_light() -> None:
    heavy = "import hnscore, sys; print([m for m in ('torch', 'tqdm', 'ml_dtypes', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"


def test_names_that_are_loaded_late_are_listed() -> None:
    assert set(hnscore.__all__) <= set(dir(hnscore))
    program = "import sys, hnscore; print(*(name for name in sys.modules if name.startswith('hnscore.')))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for name in ("hnscore.plot", "hnscore.shards", "hnscore.reports", "hnscore.figures"):
        assert name not in loaded.split()
