"""The runner of active-learning experiments: its measures, its strategies, what it refuses, and that it goes on."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "active_learning"
sys.path.insert(0, str(PROGRAM))  # flat modules, as `python run.py` finds them

import config  # noqa: E402
import data  # noqa: E402
import loop  # noqa: E402
import retrieval  # noqa: E402
import strategies  # noqa: E402
from recall import recalls  # noqa: E402
from store import COLUMNS, LAST, Store  # noqa: E402
from tasks import View  # noqa: E402

README = (PROGRAM / "README.md").read_text(encoding="utf-8")
N_TRAIN, N_DEV, N_TEST = 80, 20, 20
N_IMG = N_TRAIN + N_DEV + N_TEST

CONFIGURATION = """
seeds = 2

[arms.tiny]
data = "{folder}"
task = "images"
start = 0.1
step = 0.1
stop = 0.3
train = {{ dim = 8, least_steps = 100, epochs = 1 }}

[strategies.random]
select = {{ method = "random" }}

[strategies.hard]
score = {{ kind = "hard_negative", temperature = 0.1, weight = "exp" }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two or three texts an image, shuffled; texts are a noisy linear image of their image's features."""
    folder = tmp_path_factory.mktemp("tiny")
    random = np.random.default_rng(0)
    img = random.normal(size=(N_IMG, 16))
    owner = random.permutation(np.repeat(np.arange(N_IMG), random.integers(2, 4, N_IMG)))
    txt = img[owner] @ random.normal(size=(16, 12)) + 0.5 * random.normal(size=(len(owner), 12))
    part = random.permutation(["train"] * N_TRAIN + ["dev"] * N_DEV + ["test"] * N_TEST).tolist()
    captions = [[f"image {i} text {t}" for t in range((owner == i).sum())] for i in range(N_IMG)]
    np.save(folder / "image_features.npy", img.astype(np.float16))
    np.save(folder / "text_features.npy", txt.astype(np.float16))
    np.save(folder / "owner.npy", owner)
    (folder / "captions.json").write_text(json.dumps({"part": part, "captions": captions}))
    return folder


def spelled(folder: Path, path: Path, *changes: tuple[str, str]) -> Path:
    """The configuration with pieces of its text replaced."""
    text = CONFIGURATION.format(folder=folder)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def refusal(of: Any, *args: Any) -> str:
    with pytest.raises(SystemExit) as told:
        of(*args)
    assert isinstance(told.value.code, str)  # printed by Python, with exit status 1
    return told.value.code


# ---- measures and losses, against loops


def test_recalls_are_those_of_a_loop() -> None:
    random = np.random.default_rng(1)
    img, txt = random.integers(-2, 3, (9, 3)), random.integers(-2, 3, (21, 3))  # small integers: exact, and many ties
    owner = np.concatenate([np.arange(9), random.integers(0, 9, 12)])
    similarity = (img @ txt.T).tolist()
    n_img, n_txt = len(img), len(txt)
    wanted: dict[str, float] = {}
    ties = 0
    for k in (1, 5, 10):
        hits = 0
        for i in range(n_img):
            best = max(similarity[i][j] for j in range(n_txt) if owner[j] == i)
            hits += sum(similarity[i][j] > best for j in range(n_txt) if owner[j] != i) < k
            ties += sum(similarity[i][j] == best for j in range(n_txt) if owner[j] != i)
        wanted[f"r{k}_i2t"] = 100 * hits / n_img
        hits = sum(sum(similarity[i][j] > similarity[owner[j]][j] for i in range(n_img)) < k for j in range(n_txt))
        wanted[f"r{k}_t2i"] = 100 * hits / n_txt
    found = recalls(*(torch.tensor(x, dtype=torch.float32) for x in (img, txt)), torch.tensor(owner))
    assert ties > 0
    assert found.pop("r1") == pytest.approx(wanted["r1_i2t"] + wanted["r1_t2i"])
    assert found.pop("rsum") == pytest.approx(sum(wanted.values()))
    assert found == pytest.approx(wanted, rel=1e-6)  # means are float32


def test_recalls_of_a_model_that_diverged_are_not_100() -> None:
    with pytest.raises(FloatingPointError, match=r"learning_rate"):
        recalls(torch.full((3, 2), torch.nan), torch.ones(3, 2), torch.arange(3))


def similarities() -> tuple[Any, list[int]]:
    """Of 5 images and 9 texts, one to three texts an image."""
    return np.random.default_rng(2).uniform(-1, 1, (5, 9)), [0, 0, 0, 1, 2, 2, 3, 4, 4]


def test_infonce_is_that_of_a_loop() -> None:
    similarity, own = similarities()
    e = np.exp(similarity / 0.3)
    of_texts = [-np.log(e[i, j] / e[:, j].sum()) for j, i in enumerate(own)]
    of_images = [
        -np.log(e[i, j] / (e[i, j] + sum(e[i, t] for t in range(9) if own[t] != i))) for j, i in enumerate(own)
    ]
    found = retrieval.infonce(torch.tensor(similarity), torch.tensor(own), 0.3)
    assert float(found) == pytest.approx(np.mean(of_texts) + np.mean(of_images), rel=1e-12)


def test_triplet_is_that_of_a_loop() -> None:
    similarity, own = similarities()
    of_texts, of_images = [], []
    for j, i in enumerate(own):
        images = [similarity[a, j] for a in range(5) if a != i]
        texts = [similarity[i, t] for t in range(9) if own[t] != i]
        of_texts.append(max(0, max(images) - similarity[i, j] + 0.2))
        of_images.append(max(0, max(texts) - similarity[i, j] + 0.2))
    found = retrieval.triplet(torch.tensor(similarity), torch.tensor(own), 0.2)
    assert float(found) == pytest.approx(np.mean(of_texts) + np.mean(of_images), rel=1e-12)


@pytest.mark.parametrize("loss", ["infonce", "triplet"])
def test_one_labeled_image_can_be_trained_on(folder: Path, loss: str) -> None:
    """It has no negatives: minus infinity everywhere, but no NaN."""
    schedule = retrieval.Schedule(loss=loss, dim=4, least_steps=3, epochs=1)
    trained = retrieval.Retrieval(data.load(str(folder)), "images", "dev", schedule).train(np.array([7]), 0)
    assert np.isfinite(trained.view.spaces["joint"]).all()


# ---- the retrieval task


def task(features: data.FeatureSet, items: str = "images") -> retrieval.Retrieval:
    return retrieval.Retrieval(features, items, "dev", retrieval.Schedule(dim=8, least_steps=20, epochs=1))


def same_view(a: View, b: View) -> bool:
    assert a.other_emb is not None
    assert b.other_emb is not None
    return (
        np.array_equal(a.labeled, b.labeled)
        and all(np.array_equal(a.spaces[s], b.spaces[s]) for s in ("features", "joint"))
        and np.array_equal(a.other_emb, b.other_emb)
        and np.array_equal(a.other_owner, b.other_owner)
    )


def test_nothing_of_unlabeled_images_or_measured_parts_is_seen(folder: Path) -> None:
    features = data.load(str(folder))
    random = np.random.default_rng(3)
    labeled = random.choice(N_TRAIN, 12, replace=False)
    before = task(features).train(labeled, 5)

    texts = np.isin(features.owner, features.images["train"][labeled])
    assert 24 <= texts.sum() <= 36
    other = copy.deepcopy(features)
    for part in ("train", "dev", "test"):
        rows = features.texts[part][~texts[features.texts[part]]]
        other.txt[rows] = random.normal(size=(len(rows), 12))
        other.owner[rows] = random.permutation(features.owner[rows])
    after = task(other).train(labeled, 5)
    assert same_view(before.view, after.view)
    assert before.metrics != after.metrics  # the dev part was another: the changes were real

    other.txt[np.flatnonzero(texts)[0]] += 1.0
    assert not same_view(before.view, task(other).train(labeled, 5).view)


def test_features_of_measured_parts_do_not_move_those_of_the_pool(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path)
    features = data.load(str(folder))
    for name, part in (("image_features", features.images), ("text_features", features.texts)):
        x = np.load(other / f"{name}.npy")
        x[np.concatenate([part["dev"], part["test"]])] *= 3
        np.save(other / f"{name}.npy", x)
    moved = data.load(str(other))
    assert np.array_equal(moved.img[features.images["train"]], features.img[features.images["train"]])
    assert np.array_equal(moved.txt[features.texts["train"]], features.txt[features.texts["train"]])
    assert not np.array_equal(moved.img, features.img)


def test_texts_for_images(folder: Path) -> None:
    features = data.load(str(folder))
    of_texts = task(features, "texts")
    assert of_texts.n_items == len(features.texts["train"])
    labeled = np.random.default_rng(4).choice(of_texts.n_items, 30, replace=False)
    view = of_texts.train(labeled, 0).view
    assert view.other_emb is not None
    assert np.array_equal(view.spaces["features"], features.txt[features.texts["train"]])
    assert np.array_equal(view.other_owner, labeled)
    images = features.owner[features.texts["train"][labeled]]
    twins = [(a, b) for a in range(30) for b in range(a) if images[a] == images[b]]
    assert twins
    for a, b in twins:  # one image, for each of its texts that are labeled
        assert np.array_equal(view.other_emb[a], view.other_emb[b])
    strategy = strategies.Strategy("hard", {"kind": "hard_negative"})
    picks = strategy.pick(view, 10, np.random.default_rng(0))
    assert len(set(picks)) == 10
    assert not set(picks) & set(labeled)


# ---- strategies


def full_view(seed: int = 0) -> View:
    """Everything that a task can tell, on 150 items of which 20 are labeled, two pairs each."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(np.float32)

    labeled = random.choice(150, 20, replace=False)
    logits = normal(2, 150, 5)
    return View(
        labeled,
        {"features": normal(150, 12), "joint": normal(150, 8)},
        other_emb=normal(40, 8),
        other_owner=np.repeat(labeled, 2),
        probabilities=np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True),
        gaussians=(normal(150, 8), np.exp(normal(150, 8)), normal(150, 8), np.exp(normal(150, 8))),
    )


HARD = {"kind": "hard_negative"}
KINDS = {
    **{f"score {kind}": ({"kind": kind}, {"method": "top"}) for kind in strategies.SCORES},
    **{f"select {m}": (HARD, {"method": m}) for m in strategies.SELECTIONS if m != "budgeted"},
    **{f"reference {r}": ({**HARD, "reference": r}, {"method": "top"}) for r in ("pool_max", "hardest")},
    **{
        f"reference {r}": ({**HARD, "reference": r, "reference_k": 3}, {"method": "top"}) for r in ("topk", "minibatch")
    },
    "groups": ({**HARD, "groups": 4, "sign": -1}, {"method": "top"}),
    "budgeted": (HARD, {"method": "budgeted", "regions": 5}),
    "coverage without scores": (None, {"method": "coverage", "space": "features", "temperature": 0.2}),
    "core-set without scores": (None, {"method": "core_set"}),
    "few clusters": (None, {"method": "typiclust", "most": 7}),
    "random of a shortlist": (HARD, {"method": "random", "shortlist": 0.3}),
    "shortlist": (HARD, {"method": "coverage", "shortlist": 0.3, "ignore_scores": True}),
}


@pytest.mark.parametrize("name", KINDS)
def test_strategies_pick_what_is_not_labeled(name: str) -> None:
    score, select = KINDS[name]
    strategy = strategies.Strategy(name, score, select)
    view = full_view()
    for budget in (1, 25, 130):
        picks = strategy.pick(view, budget, np.random.default_rng(1))
        assert picks.shape == (budget,)
        assert np.issubdtype(picks.dtype, np.integer)
        assert len(set(picks.tolist())) == budget
        assert set(picks.tolist()) <= set(view.free.tolist())
        assert np.array_equal(picks, strategy.pick(full_view(), budget, np.random.default_rng(1)))


def test_a_shortlist_is_of_those_that_score_highest() -> None:
    view = full_view()
    ranked = strategies.Strategy("top", HARD).pick(view, 39, np.random.default_rng(0))
    for method in ("random", "core_set", "coverage"):
        strategy = strategies.Strategy(method, HARD, {"method": method, "shortlist": 0.3, "ignore_scores": True})
        picks = strategy.pick(view, 20, np.random.default_rng(0))
        assert set(picks.tolist()) < set(ranked.tolist())  # 0.3 of 130 free ones is 39


# ---- what is refused before anything is trained


def copied(folder: Path, to: Path) -> Path:
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize("name", ["image_features.npy", "text_features.npy", "owner.npy", "captions.json"])
def test_a_missing_file_is_told(folder: Path, tmp_path: Path, name: str) -> None:
    (copied(folder, tmp_path) / name).unlink()
    told = refusal(data.load, str(tmp_path))
    assert str(tmp_path) in told
    assert name in told
    assert "README.md" in told


def rewrite(file: Path, change: Any) -> None:
    if file.suffix == ".npy":
        np.save(file, change(np.load(file)))
    else:
        file.write_text(json.dumps(change(json.loads(file.read_text()))))


def with_nan(x: Any) -> Any:
    x[3, 2] = np.nan
    return x


N_TXT = r"\d+"
BAD_DATA = {
    "a feature row short": ("image_features.npy", lambda x: x[:-1], "part and image_features .* 120, 119"),
    "an owner short": ("owner.npy", lambda x: x[:-1], "owner and text_features"),
    "owner above": ("owner.npy", lambda x: np.where(x == 5, 120, x), "0 to 119, got 0 to 120"),
    "owner below": ("owner.npy", lambda x: np.where(x == 5, -1, x), "0 to 119, got -1"),
    "owner of floats": ("owner.npy", lambda x: x.astype(float), "owner must be a whole number a text, got float64"),
    "NaN": ("text_features.npy", with_nan, "text_features.npy must be a matrix of finite numbers"),
    "vector": ("image_features.npy", lambda x: x[:, 0], "image_features.npy must be a matrix"),
    "empty part": (
        "captions.json",
        lambda a: {**a, "part": [p.replace("dev", "val") for p in a["part"]]},
        "every part needs images with texts, dev has none",
    ),
    "no part": ("captions.json", lambda a: {"captions": a["captions"]}, 'must be JSON with "part"'),
    "part of another kind": ("captions.json", lambda a: {"part": 3}, 'must be JSON with "part"'),
    "captions short": (
        "captions.json",
        lambda a: {**a, "captions": []},
        "captions must be a list of one list an image",
    ),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_told(folder: Path, tmp_path: Path, name: str) -> None:
    file, change, words = BAD_DATA[name]
    rewrite(copied(folder, tmp_path) / file, change)
    told = refusal(data.load, str(tmp_path))
    assert re.search(words, told), told
    assert str(tmp_path) in told


def test_files_that_are_no_arrays_are_told(folder: Path, tmp_path: Path) -> None:
    (copied(folder, tmp_path) / "owner.npy").write_text("1 2 3")
    assert "owner.npy must be an array" in refusal(data.load, str(tmp_path))


def test_a_missing_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNSCORE_DATA", str(tmp_path))
    told = refusal(data.load, "flickr30k")
    assert f"there is no {tmp_path / 'flickr30k'}" in told
    monkeypatch.delenv("HNSCORE_DATA")
    told = refusal(data.load, "flickr30k")
    assert "not set" in told
    assert "set HNSCORE_DATA" in told


def test_images_without_a_text_are_left_out(folder: Path, tmp_path: Path) -> None:
    whole = data.load(str(folder))
    lonely = int(whole.images["train"][0])
    for file in ("owner.npy", "text_features.npy"):
        keep = np.load(folder / "owner.npy") != lonely
        rewrite((copied(folder, tmp_path) if file == "owner.npy" else tmp_path) / file, lambda x, k=keep: x[k])
    assert data.load(str(tmp_path)).images["train"].tolist() == whole.images["train"][1:].tolist()


BAD_CONFIGURATIONS = {
    "unknown key": (("seeds = 2", "sedes = 2"), "unknown sedes; known are arms, seeds, strategies"),
    "unknown key of an arm": (("start = 0.1", "begin = 0.1"), "arms.tiny: unknown begin; known are .*start"),
    "unknown key of a strategy": (("select = {", "selection = {"), "strategies.random: unknown selection"),
    "unknown strategy": (("start", 'strategies = ["best"]\nstart'), "unknown strategy best; there are random, hard"),
    "a strategy twice": (("start", 'strategies = ["hard", "hard"]\nstart'), "strategies must name each one once"),
    "a strategy for a list": (("start", 'strategies = "random"\nstart'), "strategies must be a list, each a string"),
    "no strategy": (("start", "strategies = []\nstart"), "at least one strategy"),
    "no arm": (("[arms.tiny]", "[strategies.odd]"), "strategies.odd: unknown data"),
    "unknown task": (('"images"', '"videos"'), "task must be one of images, texts, .* got 'videos'"),
    "unknown score": (('"hard_negative"', '"hardest"'), "score kind must be one of hard_negative, .* got 'hardest'"),
    "score of another kind": (('"hard_negative"', "[1]"), r"score kind must be one of .* got \[1\]"),
    "unknown selection": (('"random"', '"rnadom"'), "select method must be one of random, .* got 'rnadom'"),
    "no method": (('method = "random"', ""), "select method must be one of .* got None"),
    "a score for a table": (('{ kind = "hard_negative"', '"hard_negative" #'), "score must be a table"),
    "nothing to rank by": (('"random"', '"top"'), "'top'.* goes by score, and there is none; add score"),
    "no shortlist without scores": (('"random"', '"core_set", shortlist = 0.5'), "add score"),
    "shortlist": (('"exp" }', '"exp" }\nselect = { method = "random", shortlist = 2 }'), "shortlist must be a share"),
    "typo in score": (
        ("temperature", "tempreature"),
        "strategies.hard.score: unknown tempreature; known .*temperature",
    ),
    "typo in select": (('"random"', '"core_set", spaec = "joint"'), "strategies.random.select: unknown spaec"),
    "an option of another method": (('"random"', '"core_set", temperature = 1'), "select: unknown temperature"),
    "what the runner gives": (('"random"', '"coverage", n_threads = 2'), "select: unknown n_threads"),
    "option of another kind": (("temperature = 0.1", 'temperature = "a"'), "temperature must be a number, got 'a'"),
    "budget beyond the pool": (("stop = 0.3", "stop = 1.2"), "stop <= 1 .* stop 1.2; no more can be annotated"),
    "steps beside stop": (("step = 0.1", "step = 0.15"), "steps must lead from start to stop, .* stop could be 0.25"),
    "seeds 0": (("seeds = 2", "seeds = 0"), "seeds must be at least 1 .* got 0"),
    "seeds of another kind": (("seeds = 2", "seeds = true"), "seeds must be a whole number, got True"),
    "first seed": (("start", "first_seed = -1\nstart"), "first_seed at least 0, got 2 and -1"),
    "bad TOML": (("seeds = 2", "seeds = = 2"), "configuration .*line 2"),
    "start of another kind": (("start = 0.1", 'start = "a"'), "arms.tiny: start must be a number, got 'a'"),
    "start NaN": (("start = 0.1", "start = nan"), "start must be a number, got nan"),
    "step 0": (("step = 0.1", "step = 0"), "step > 0, got start 0.1, step 0"),
    "no start": (("start = 0.1", ""), "arms.tiny must say start"),
    "part": (("start", 'part = "train"\nstart'), "part must be dev or test, got 'train'"),
    "train of another kind": (("train = { dim = 8,", "train = [8] #"), "train must be a table"),
    "arm of another kind": (("[arms.tiny]", "arms = 3\n[strategies.odd]"), "arms must be a table, got 3"),
    "name of two cells": (("[strategies.hard]", '[strategies."a,b"]'), "letters, digits .* got 'a,b'"),
    "name of a folder": (("[arms.tiny]", '[arms."../tiny"]'), r"letters, digits .* got '\.\./tiny'"),
}


@pytest.mark.parametrize("name", BAD_CONFIGURATIONS)
def test_bad_configurations_are_told(folder: Path, tmp_path: Path, name: str) -> None:
    change, words = BAD_CONFIGURATIONS[name]
    path = spelled(folder, tmp_path / "c.toml", change)
    told = refusal(config.read, path)
    assert told.startswith(f"configuration {path}: ")
    assert re.search(words, told), told


def test_configurations_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    assert "No such file" in refusal(config.read, tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"seeds = '\xe9'")
    assert "utf-8" in refusal(config.read, tmp_path / "latin.toml")


BAD_RUNS = {
    "typo in train": (("dim = 8", "dmi = 8"), "arms.tiny.train: unknown dmi; known are batch, dim,"),
    "train of another kind": (("dim = 8", "dim = 8.5"), "arms.tiny.train: dim must be a whole number, got 8.5"),
    "unknown loss": (("dim = 8", 'loss = "tripelt"'), "loss must be infonce or triplet, got 'tripelt'"),
    "no dropout": (("dim = 8", "dropout = 1"), "dropout must be at least 0 and below 1, got 1"),
    "less than an item": (("step = 0.1", "step = 0.001"), "at least an item of the 80 in the pool"),
    "no data": (('data = "', 'data = "no'), "data must be a folder"),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_bad_runs_are_told_and_leave_no_results(folder: Path, tmp_path: Path, name: str) -> None:
    change, words = BAD_RUNS[name]
    experiment = config.read(spelled(folder, tmp_path / "c.toml", change))
    told = refusal(loop.run, experiment, Store(tmp_path / "results"), 1)
    assert re.search(words, told), told
    assert not (tmp_path / "results").exists()


def test_bad_values_of_options_name_the_strategy(folder: Path, tmp_path: Path) -> None:
    """They are known to hnscore alone, and told when it is asked: after the first round, in one line."""
    experiment = config.read(spelled(folder, tmp_path / "c.toml", ("temperature = 0.1", "temperature = -1.0")))
    (arm,) = experiment.arms
    told = refusal(loop.curve, tmp_path, arm, 0, experiment.strategies["hard"])
    assert re.search("arms.tiny, strategies.hard, seed 0, round 0: temperature must be .*-1", told), told


# ---- results on disk


def opened(folder: Path, experiment: config.Experiment) -> Store:
    """As after a run that ended."""
    store = Store(folder)
    with store.writing(experiment):
        return store


def test_results_of_another_configuration_are_refused(folder: Path, tmp_path: Path) -> None:
    path, results = tmp_path / "c.toml", tmp_path / "results"
    opened(results, config.read(spelled(folder, path)))
    settings = (results / "settings.json").read_text()
    told = refusal(opened, results, config.read(spelled(folder, path, ("stop = 0.3", "stop = 0.4"))))
    assert re.search("holds results of arms.tiny with other settings: stop was 0.3 and is 0.4; name another", told)
    told = refusal(opened, results, config.read(spelled(folder, path, ("= 0.1, weight", "= 0.2, weight"))))
    assert re.search("strategies.hard .*score was .*0.1.* and is .*0.2", told)
    assert "select was" not in told
    assert (results / "settings.json").read_text() == settings


def test_a_table_of_another_program_is_refused_and_left(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    told = refusal(opened, tmp_path, config.read(spelled(folder, tmp_path / "c.toml")))
    assert "another program" in told
    assert (tmp_path / "results.csv").read_text() == "a,b\n1,2\n"


def test_strategies_and_seeds_can_be_added(folder: Path, tmp_path: Path) -> None:
    path, results = tmp_path / "c.toml", tmp_path / "results"
    opened(results, config.read(spelled(folder, path)))
    more = ("seeds = 2", 'seeds = 4\n[strategies.core_set]\nselect = { method = "core_set" }')
    opened(results, config.read(spelled(folder, path, more)))
    opened(results, config.read(spelled(folder, path)))
    assert set(json.loads((results / "settings.json").read_text())["strategies"]) == {"random", "hard", "core_set"}


def test_two_runs_do_not_write_to_one_folder(folder: Path, tmp_path: Path) -> None:
    experiment = config.read(spelled(folder, tmp_path / "c.toml"))
    with Store(tmp_path / "results").writing(experiment):
        assert "another run is writing" in refusal(opened, tmp_path / "results", experiment)
    opened(tmp_path / "results", experiment)


@pytest.mark.parametrize("cut", [1, 20, 31, 32, 33, 110])
def test_a_round_that_was_cut_is_left_out(folder: Path, tmp_path: Path, cut: int) -> None:
    """At any character of its rows, the line break after one of them included."""
    experiment = config.read(spelled(folder, tmp_path / "c.toml"))
    store = opened(tmp_path / "results", experiment)
    (arm,), strategy = experiment.arms, experiment.strategies["hard"]
    store.add(arm, strategy, 0, 0, 8, 0.1, {"r1": 12.5, "select_seconds": 0.1, LAST: 1.0})
    whole = store.table.read_text()
    store.add(arm, strategy, 0, 1, 16, 0.2, {"r1": 13.5, "select_seconds": 0.1, LAST: 1.0})
    rows = store.table.read_text()[len(whole) :]
    assert rows.index("\n") == 31
    store.table.write_text(whole + rows[:cut])
    assert opened(tmp_path / "results", experiment).table.read_text() == whole
    assert store.rounds_done() == {("tiny", "hard", 0): 1}


def test_missing_picks_are_told(folder: Path, tmp_path: Path) -> None:
    experiment = config.read(spelled(folder, tmp_path / "c.toml"))
    store = opened(tmp_path / "results", experiment)
    (arm,), strategy = experiment.arms, experiment.strategies["hard"]
    store.add(arm, strategy, 0, 0, 8, 0.1, {"r1": 12.5, LAST: 1.0})
    told = refusal(loop.curve, store.folder, arm, 0, strategy)
    assert re.search("seed 0: round 0 is in the table, but there is no .*hard-seed0-round0.npy; put it back", told)


# ---- runs that end early


def lines(results: Path) -> list[str]:
    """Those of the table but for the times, sorted."""
    table = results / "results.csv"
    return sorted(x for x in table.read_text().splitlines() if "_seconds," not in x) if table.is_file() else []


class Runs:
    """Runs of the program with these arguments, each a process group of its own."""

    def __init__(self, path: Path, results: Path) -> None:
        self.line = [sys.executable, PROGRAM / "run.py", path, "--results", results, "--workers", "2"]
        self.results, self.all = results, list[subprocess.Popen[str]]()

    def begin(self) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.all.append(subprocess.Popen(self.line, **pipes, text=True, start_new_session=True))
        return self.all[-1]

    def begin_and_measure(self) -> subprocess.Popen[str]:
        """Until there is more than there was."""
        before = len(lines(self.results))
        process = self.begin()
        while len(lines(self.results)) <= max(before, 1):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        return process


@pytest.fixture
def runs(folder: Path, tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(spelled(folder, tmp_path / "c.toml"), tmp_path / "results")
    yield runs
    for process in runs.all:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.exhaustive(0)
def test_a_run_goes_on_where_it_was_stopped(runs: Runs, tmp_path: Path) -> None:
    results = runs.results
    experiment = config.read(tmp_path / "c.toml")
    for arm, seed, strategy in experiment.curves():
        loop.curve(opened(tmp_path / "in one", experiment).folder, arm, seed, strategy)
    whole = lines(tmp_path / "in one")
    assert len(whole) == 1 + 2 * 2 * 3 * 8  # header; strategies, seeds, rounds, metrics

    def some() -> bool:
        """Not all, and all that there is as it should be."""
        return 1 < len(lines(results)) < len(whole) and set(lines(results)) < set(whole)

    process = runs.begin_and_measure()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in told
    assert "Traceback" not in told
    assert some()

    process = runs.begin_and_measure()
    process.kill()
    process.communicate(timeout=120)  # ends with the last process of the group: none goes on writing
    assert some()

    process = runs.begin()
    table, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert lines(results) == whole
    assert "random" in table
    assert len(re.split("[\r\n]", told)) < 10  # a bar that moves is for terminals
    assert (results / "results.csv").read_text().startswith(",".join(COLUMNS) + "\n")


# ---- README.md


def test_blocks_of_the_readme_lay_out_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)

    def embedded(what: list[str]) -> Any:
        return np.array([[len(w), w.count("a")] for w in what], np.float32)

    karpathy = [
        {"filename": f"{i}.jpg", "split": split, "sentences": [{"raw": f"{i}{'a' * t}"} for t in range(1 + i % 3)]}
        for i, split in enumerate(["train", "restval", "val", "test", "test", "train"])
    ]
    Path("dataset_flickr30k.json").write_text(json.dumps({"images": karpathy}))
    namespace: dict[str, Any] = {
        "embed_images": embedded, "embed_texts": embedded, "vocabulary": ["sun", "sea", "sky"],
        "tags": random.integers(0, 2, (60, 3)), "concepts": random.integers(0, 2, (60, 4)),
        "split": ["train"] * 50 + ["test"] * 10, "image_features": random.normal(size=(60, 5)),
    }  # fmt: skip
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), namespace)

    flickr30k = data.load("flickr30k")
    assert flickr30k.images["train"].tolist() == [0, 1, 5]
    assert flickr30k.images["dev"].tolist() == [2]
    assert [flickr30k.captions[t] for t in flickr30k.texts["dev"]] == ["2", "2a", "2aa"]
    mirflickr = data.load("mirflickr")
    n_img = len(mirflickr.img)
    assert 40 < n_img < 60
    assert mirflickr.owner.tolist() == list(range(n_img))
    assert len(np.load("mirflickr/labels.npy")) == n_img
    assert set(" ".join(mirflickr.captions).split()) == {"sun", "sea", "sky"}
    assert len(mirflickr.images["dev"]) == (mirflickr.texts["train"].size + mirflickr.texts["dev"].size) // 10


def test_the_readme_has_every_key() -> None:
    said = re.findall(r"^\| (.*?) \|", README.partition("## The configuration")[2].partition("## The results")[0], re.M)
    keys = set(re.findall(r"`([a-z_]+)`", " ".join(said)))
    of_classes = {f.name for of in (config.Arm, strategies.Strategy) for f in fields(of)}
    assert keys == of_classes - {"name"}


# ---- the configurations that the project carries


@pytest.mark.parametrize("path", sorted((PROGRAM / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_the_configurations_are_read(path: Path) -> None:
    experiment = config.read(path)
    assert {arm.part for arm in experiment.arms} == {"dev" if path.stem in ("search", "smoke") else "test"}
    assert all("random" in arm.strategies for arm in experiment.arms)
