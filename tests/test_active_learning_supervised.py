"""Supervised retrieval in the active-learning benchmark: its measure, its labels, and what its strategies pick."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import data_file
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("scipy")
FOLDER = Path(__file__).parents[1] / "benchmarks" / "active_learning"


@pytest.fixture(scope="module", autouse=True)
def modules() -> Iterator[None]:
    """The benchmark's modules are flat scripts: its folder is on the path, as when its program runs."""
    sys.path.insert(0, str(FOLDER))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    sys.path.remove(str(FOLDER))


N_CLASSES = 4


@pytest.fixture(scope="module", params=[False, True], ids=["one label", "several labels"])
def pairs(request: pytest.FixtureRequest) -> Any:
    """Two sides that both show the class, with noise."""
    from labels import LabeledPairs

    rng = np.random.default_rng(0)
    labels = np.eye(N_CLASSES, dtype=np.float32)[rng.integers(N_CLASSES, size=300)]
    if request.param:
        labels = np.maximum(labels, np.eye(N_CLASSES, dtype=np.float32)[rng.integers(N_CLASSES, size=300)])
    img, txt = (
        (labels @ rng.standard_normal((N_CLASSES, dim)) + rng.standard_normal((300, dim))).astype(np.float32)
        for dim in (12, 9)
    )
    rows = dict(zip(("train", "dev", "test"), np.split(rng.permutation(300), [180, 240]), strict=True))
    return LabeledPairs(img, txt, labels, request.param, rows)


SHORT = {"dim": 8, "hidden": 16, "least_steps": 30, "epochs": 2}
LABELED = np.arange(0, 180, 9)


@pytest.fixture(scope="module")
def task(pairs: Any) -> Any:
    from supervised import Schedule, Supervised

    return Supervised(pairs, "dev", Schedule(**SHORT))


@pytest.fixture(scope="module")
def trained(task: Any) -> Any:
    return task.train(LABELED, 0)


def looped_map(query: NDArray[Any], gallery: NDArray[Any], labels: NDArray[Any]) -> float:
    query, gallery = (
        x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1)[:, None] for x in (query, gallery)
    )
    total = 0.0
    for q in range(len(query)):
        order = sorted(range(len(gallery)), key=lambda g: -float(query[q] @ gallery[g]))
        found, precision = 0, 0.0
        for rank, g in enumerate(order, 1):
            if (labels[q] * labels[g]).any():
                found += 1
                precision += found / rank
        total += precision / found
    return total / len(query)


@pytest.mark.parametrize("several", [False, True])
def test_mean_average_precision_is_that_of_the_obvious_loop(several: bool) -> None:
    from average_precision import mean_average_precision

    rng = np.random.default_rng(1)
    img, txt = (rng.standard_normal((40, 5)).astype(np.float32) for _ in range(2))
    labels = np.eye(6, dtype=np.float32)[rng.integers(6, size=40)]
    if several:
        labels = np.maximum(labels, np.eye(6, dtype=np.float32)[rng.integers(6, size=40)])
    given = mean_average_precision(*(torch.from_numpy(x) for x in (img, txt, labels)))
    i2t, t2i = 100 * looped_map(img, txt, labels), 100 * looped_map(txt, img, labels)
    # Nothing is tied here, so that only the float64 sums of 40 terms differ.
    assert given["map_i2t"] == pytest.approx(i2t, rel=1e-12)
    assert given["map_t2i"] == pytest.approx(t2i, rel=1e-12)
    assert given["map"] == pytest.approx((i2t + t2i) / 2, rel=1e-12)


def folder_of(path: Path, captions: list[list[str]], part: list[str]) -> Path:
    rng = np.random.default_rng(2)
    owner = np.repeat(np.arange(len(captions)), [len(c) for c in captions])
    np.save(path / "image_features.npy", rng.standard_normal((len(captions), 6)).astype(np.float32))
    np.save(path / "text_features.npy", rng.standard_normal((len(owner), 5)).astype(np.float32))
    np.save(path / "owner.npy", owner)
    (path / "captions.json").write_text(json.dumps({"part": part, "captions": captions}))
    return path


CAPTIONS = [
    ["A dog runs.", "Two dogs", "the hotdog"],  # dog, by singular and plural; hotdog is another word
    ["A man and a dog", "A man", "dog"],
    ["One dog", "a beach", "grass"],  # each noun once: no label
    ["Snow.", "the SNOW", "a man in snow"],
    ["A man", "men", "snow"],
    ["a dog and a man", "man, dog", "dog"],
]
PARTS = ["train", "train", "train", "train", "dev", "test"]


def test_labels_from_captions(tmp_path: Path) -> None:
    from data import load
    from labels import caption_labels, load_pairs

    folder = folder_of(tmp_path, CAPTIONS, PARTS)
    labels = caption_labels(load(str(folder)))
    assert labels.shape == (6, 24)
    # The most frequent of the train part first: dog twice; man and snow once, in the order of the list.
    expected = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 0]]
    np.testing.assert_array_equal(labels[:, :3], expected)
    assert not labels[:, 3:].any()
    pairs = load_pairs(str(folder))
    assert pairs.multi_label
    assert {part: rows.tolist() for part, rows in pairs.rows.items()} == {"train": [0, 1, 3], "dev": [4], "test": [5]}


def test_text_of_an_image_is_the_mean_of_its_texts(tmp_path: Path) -> None:
    from labels import load_pairs

    folder = folder_of(tmp_path, CAPTIONS, PARTS)
    np.save(folder / "labels.npy", np.array([0, 1, 0, 1, 1, 0]))
    pairs = load_pairs(str(folder))
    raw = np.load(folder / "text_features.npy").astype(np.float64)
    raw = (raw - raw[:12].mean(axis=0)) / raw[:12].std(axis=0)
    mean = raw.reshape(6, 3, 5).mean(axis=1)
    expected = (mean - mean[:4].mean(axis=0)) / mean[:4].std(axis=0)
    # float32 standardisation, twice, of values of a few units: some 2^-24 of them each.
    np.testing.assert_allclose(pairs.txt, expected, atol=2e-5)
    assert not pairs.multi_label


@pytest.mark.parametrize(
    ("labels", "several", "expected"),
    [(np.array([2, 0, -1, 1]), False, [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]]),
     (np.array([[1, 1], [0, 0], [1, 0], [0, 2]]), True, [[1, 1], [0, 0], [1, 0], [0, 1]])],
)  # fmt: skip
def test_labels_of_a_folder(tmp_path: Path, labels: NDArray[Any], several: bool, expected: list[list[int]]) -> None:
    from labels import load_pairs

    folder = folder_of(tmp_path, [["a", "b"]] * 4, ["train", "train", "dev", "test"])
    np.save(folder / "labels.npy", labels)
    if (labels == -1).any():  # leaves dev without labels
        with pytest.raises(SystemExit, match="dev has none"):
            load_pairs(str(folder))
        labels[2], expected[2] = 0, [1, 0, 0]
        np.save(folder / "labels.npy", labels)
    pairs = load_pairs(str(folder))
    assert pairs.multi_label == several
    np.testing.assert_array_equal(pairs.labels, expected)
    assert 1 not in pairs.rows["train"] or not several  # row 1 has no label there
    np.save(folder / "labels.npy", labels[:3])
    with pytest.raises(SystemExit, match="n_img = 4"):
        load_pairs(str(folder))


def test_wikipedia_has_a_dev_part_that_is_not_in_the_pool() -> None:
    from labels import load_pairs

    pairs = load_pairs(str(data_file("wikipedia", "features.npz").parent))
    assert {part: len(rows) for part, rows in pairs.rows.items()} == {"train": 1739, "dev": 434, "test": 693}
    assert len(np.unique(np.concatenate(list(pairs.rows.values())))) == 2866
    assert pairs.img[pairs.rows["train"]].mean(axis=0) == pytest.approx(0, abs=1e-5)


def test_same_labels_and_seed_same_metrics(task: Any, trained: Any) -> None:
    assert task.train(LABELED, 0).metrics == trained.metrics
    assert task.train(LABELED, 1).metrics != trained.metrics


def test_only_labels_of_labeled_pool_rows_are_trained_on(pairs: Any, task: Any, trained: Any) -> None:
    """With all others another class, the view is the same, bit for bit."""
    from labels import LabeledPairs
    from supervised import Schedule, Supervised

    labels = np.roll(pairs.labels, 1, axis=1)
    known = pairs.rows["train"][LABELED]
    labels[known] = pairs.labels[known]
    other = LabeledPairs(pairs.img, pairs.txt, labels, pairs.multi_label, pairs.rows)
    view = Supervised(other, "dev", Schedule(**SHORT)).train(LABELED, 0).view
    for name, space in trained.view.spaces.items():
        np.testing.assert_array_equal(view.spaces[name], space)
    np.testing.assert_array_equal(view.probabilities, trained.view.probabilities)
    assert view.match_scale == trained.view.match_scale


def test_the_pool_has_no_row_of_dev_or_test(pairs: Any, task: Any, trained: Any) -> None:
    assert task.n_items == trained.view.n_items == len(pairs.rows["train"])
    assert not np.isin(task.rows, np.concatenate([pairs.rows["dev"], pairs.rows["test"]])).any()
    assert trained.view.multi_label == pairs.multi_label
    if not pairs.multi_label:
        np.testing.assert_allclose(trained.view.probabilities.sum(axis=2), 1, rtol=1e-5)


def test_labels_are_learnt(pairs: Any) -> None:
    from supervised import Schedule, Supervised

    task = Supervised(pairs, "test", Schedule(dim=8, hidden=32, least_steps=200, epochs=2))
    few, all_ = (task.train(rows, 0).metrics["map"] for rows in (np.arange(4), np.arange(180)))
    labels = pairs.labels[pairs.rows["test"]]
    chance = 100 * (labels @ labels.T > 0).mean()
    assert all_ > few > 0
    assert all_ > chance + 10


def view_of(probabilities: list[Any], joint: list[Any], labeled: list[int], multi_label: bool) -> Any:
    from tasks import View

    emb = np.array(joint, np.float32)
    return View(
        np.array(labeled, np.int64), {"features": emb, "joint": emb},
        probabilities=np.array(probabilities, np.float32), multi_label=multi_label,
    )  # fmt: skip


def test_entropy() -> None:
    from strategies import SCORES

    random = np.random.default_rng(0)
    half, log2 = [[[0.5, 0.5], [1, 0]], [[1, 0], [1, 0]]], np.log(2)
    joint = [[1, 0], [0, 1]]
    one = SCORES["entropy"](view_of(half, joint, [], False), random)
    np.testing.assert_allclose(one, [log2 / 2, 0], rtol=1e-12)  # an image says nothing of row 0, its text all
    several = SCORES["entropy"](view_of(half, joint, [], True), random)
    np.testing.assert_allclose(several, [log2, 0], rtol=1e-12)  # two labels, each of one bit


@pytest.mark.parametrize("options", [
    {"score": {"kind": "entropy"}},
    {"score": {"kind": "informativeness"}},
    {"select": {"method": "badge"}},
    {"score": {"kind": "informativeness"}, "select": {"method": "density", "density": {"kind": "gaussian"}}},
    {"score": {"kind": "informativeness"},
     "select": {"method": "density", "shortlist": 0.5, "density": {"kind": "gaussian"}}},
    {"score": {"kind": "informativeness"},
     "select": {"method": "budgeted", "space": "fused", "regions": 5, "density": {"kind": "gaussian"}}},
    {"score": {"kind": "entropy"},
     "select": {"method": "budgeted", "regions": 5, "density": {"space": "joint", "k": 3}}},
], ids=str)  # fmt: skip
def test_picks_are_distinct_and_unlabeled(trained: Any, options: dict[str, Any]) -> None:
    from strategies import Strategy

    picks, again = (Strategy("s", **options).pick(trained.view, 30, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(picks, again)
    assert len(np.unique(np.concatenate([picks, trained.view.labeled]))) == 30 + len(LABELED)
    everything = Strategy("s", **options).pick(trained.view, 160, np.random.default_rng(3))
    np.testing.assert_array_equal(np.sort(everything), trained.view.free)


def test_badge_begins_with_the_longest_gradient_and_leaves_copies_to_the_end() -> None:
    """Gradients p - label times row: 4, 5 and 6 are copies of one; row 0 is labeled; 1 and 2 have gradient 0."""
    from strategies import Strategy

    sure, unsure = [1, 0], [0.55, 0.45]
    p = [sure, sure, sure, [0.9, 0.1], unsure, unsure, unsure]
    view = view_of([p, p], [[1, 0]] * 3 + [[1, 0], [0, 1], [0, 1], [0, 1]], [0], False)
    for seed in range(5):
        picks = Strategy("badge", select={"method": "badge"}).pick(view, 6, np.random.default_rng(seed))
        assert picks[0] == 4
        assert set(picks[1:3]) <= {1, 2, 3}
        assert 3 in picks[:3]


def test_the_density_option_is_heeded(trained: Any) -> None:
    from strategies import Strategy

    def picks(**options: Any) -> Any:
        strategy = Strategy("s", {"kind": "informativeness"}, {"method": "density", "density_exponent": 3.0, **options})
        return strategy.pick(trained.view, 20, np.random.default_rng(0)).tolist()

    assert picks(density={"kind": "gaussian"}) != picks(density={"space": "features"}) != picks()


def test_share_where_a_curve_gets_there() -> None:
    import config
    from labels_needed import first_share, labels_needed, table

    shares = np.array([0.1, 0.2, 0.3])
    assert first_share(shares, np.array([10.0, 20.0, 30.0]), 25.0) == pytest.approx(0.25)
    assert first_share(shares, np.array([10.0, 20.0, 15.0]), 12.0) == pytest.approx(0.12)
    assert first_share(shares, np.array([10.0, 20.0, 30.0]), 5.0) == 0.1
    assert first_share(shares, np.array([10.0, 20.0, 30.0]), 31.0) == np.inf

    def rows(arm: str, strategy: str, seed: int, shares: Any, values: Any) -> list[dict[str, str]]:
        return [
            {"arm": arm, "strategy": strategy, "seed": str(seed), "round": str(r), "metric": "map", "share": str(s),
             "value": str(v)}
            for r, (s, v) in enumerate(zip(shares, values, strict=True))
        ]  # fmt: skip

    results = rows("full", "random", 0, [1.0], [38]) + rows("full", "random", 1, [1.0], [42])  # 95 % of 40: 38
    for seed in range(2):
        results += rows("high", "random", seed, [0.2, 0.4], [28, 38 + 10 * seed])
        results += rows("high", "better", seed, [0.2, 0.4], [28, 48])
        results += rows("high", "worse", seed, [0.2, 0.4], [20, 30])
    high = config.Arm("high", "", ("random", "better", "worse"), "supervised", 2, start=0.2, step=0.2, stop=0.4)
    needed = labels_needed(results, high, "full")
    assert needed["random"] == (pytest.approx(0.2 + 0.2 * 10 / 15), {0: pytest.approx(0.4), 1: pytest.approx(0.3)})
    assert needed["better"][0] == pytest.approx(0.3)
    assert needed["worse"] == (np.inf, {0: np.inf, 1: np.inf})
    lines = table(needed).splitlines()
    assert lines[2].startswith("| better | 30.0 | 2 of 2 | -5.0 ±")
    assert lines[4].startswith("| worse | not reached | 0 of 2 |")
    with pytest.raises(SystemExit, match="run that arm first"):
        labels_needed(results, high, "none")
