"""Tables, figures and measures of picks of the active-learning benchmark, from a folder of results."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

pytest.importorskip("matplotlib")
pytest.importorskip("torch")
pytest.importorskip("tomllib", reason="the benchmark reads TOML: Python 3.11 or newer")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "active_learning"))

import config
import loop
import picks
import pictures
import plots
import report
from retrieval import Retrieval
from store import Store

RNG = np.random.default_rng(0)
STRATEGIES = """
[strategies.random]
select = { method = "random" }
[strategies.core_set]
select = { method = "core_set" }
[strategies.hinge]
score = { kind = "hard_negative" }
"""
ARM = """
[arms.{name}]
data = "{data}"
task = "images"
part = "dev"
start = 0.1
step = 0.1
stop = 0.3
train = {{ epochs = 1, least_steps = 3, dim = 8 }}
"""


def experiment_in(folder, data="nowhere", arms=("low", "high"), seeds=3):
    path = folder / "made.toml"
    path.write_text(f"seeds = {seeds}\n" + STRATEGIES + "".join(ARM.format(name=a, data=data) for a in arms))
    return path, config.read(path)


def values_of(strategy, seed, gains):
    """A curve that differs from random's of the same seed by its gain, and by noise that seeds do not share."""
    noise = np.random.default_rng([seed, len(strategy)]).normal(0, 0.1, 3)
    noise[0] = 0
    return seed + np.array([10.0, 20.0, 40.0]) + gains[strategy] * np.array([0, 1, 2]) + noise


@pytest.fixture
def made(tmp_path):
    """Whole curves of every strategy in arm "low" but one whose last round is missing; "high" has none."""
    path, experiment = experiment_in(tmp_path)
    store = Store(tmp_path / "results")
    with store.writing(experiment):
        pass
    gains = {"random": 0.0, "core_set": 1.0, "hinge": -3.0}
    (low, high) = experiment.arms
    for name, strategy in experiment.strategies.items():
        for seed in range(3):
            for r, value in enumerate(values_of(name, seed, gains)):
                if (name, seed, r) != ("hinge", 2, 2):
                    metrics = {"r1": value, "rsum": 5 * value, "train_seconds": 1.0}
                    store.add(low, strategy, seed, r, 10 * (r + 1), low.start + r * low.step, metrics)
    store.add(high, experiment.strategies["random"], 0, 0, 10, 0.1, {"r1": 1.0})
    return path, experiment, store, gains


def run(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    module.main()


def test_area_is_the_mean_height():
    assert report.area(report.Curve(np.array([0.1, 0.2, 0.5]), np.array([1.0, 3.0, 5.0]))) == pytest.approx(
        (0.1 * 2 + 0.3 * 4) / 0.4
    )
    assert report.area(report.Curve(np.array([0.02, 0.1]), np.array([7.0, 7.0]))) == pytest.approx(7)
    assert report.area(report.Curve(np.array([0.1]), np.array([7.0]))) == 7


def test_paired_interval_is_student_s():
    a, b = RNG.normal(1, 1, 6), RNG.normal(0, 1, 6)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = report.paired(dict(enumerate(a)), {**dict(enumerate(b)), 17: 3.0})
    assert found.seeds == 6
    assert_allclose([found.mean - found.half_width, found.mean + found.half_width], expected)
    assert found.above_zero == (expected.low > 0)
    assert found.below_zero == (expected.high < 0)


def test_paired_interval_is_student_s_at_every_share():
    a, b = RNG.normal(1, 1, (4, 3)), RNG.normal(0, 1, (4, 3))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = report.paired(dict(enumerate(a)), dict(enumerate(b)))
    assert_allclose(found.mean - found.half_width, expected.low)
    assert_allclose(found.mean + found.half_width, expected.high)


def test_one_seed_or_none_proves_nothing():
    one = report.paired({0: 5.0, 1: 6.0}, {0: 1.0})
    assert (one.mean, one.seeds, one.above_zero, one.below_zero) == (4.0, 1, False, False)
    assert np.isnan(one.half_width)
    none = report.paired({0: 5.0}, {1: 1.0})
    assert none.seeds == 0
    assert not none.above_zero


def test_only_whole_curves_of_the_configuration_count(made):
    _, experiment, store, gains = made
    low, high = experiment.arms
    rows = store.rows()
    found = report.curves([*rows, *({**row, "seed": "9"} for row in rows)], low, "r1")
    assert {s: sorted(seeds) for s, seeds in found.items()} == {
        "random": [0, 1, 2], "core_set": [0, 1, 2], "hinge": [0, 1],
    }  # fmt: skip
    assert_allclose(found["core_set"][1].values, values_of("core_set", 1, gains), rtol=1e-5)
    assert_allclose(found["core_set"][1].shares, [0.1, 0.2, 0.3])
    assert report.curves(rows, high, "r1") == {}


def test_table_has_areas_and_paired_differences(made):
    _, experiment, store, gains = made
    text = report.summary(store.rows(), experiment)
    low, high = text.split("## high")
    assert "No curve is whole yet" in high
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in low.splitlines() if line.startswith("|")]
    head, rows = lines[0], lines[2:]
    assert [row[0] for row in rows] == ["`core_set`", "`random`", "`hinge`"]
    of = {s: np.array([values_of(s, seed, gains) @ [0.25, 0.5, 0.25] for seed in range(3)]) for s in gains}
    best = dict(zip(head, rows[0], strict=True))
    interval = stats.ttest_rel(of["core_set"], of["random"]).confidence_interval(0.95)
    assert best["area r1"] == f"{of['core_set'].mean():.2f}"
    assert best["area rsum"] == f"{5 * of['core_set'].mean():.1f}"
    half_width = (interval.high - interval.low) / 2
    assert best["area - random"] == f"{(interval.low + interval.high) / 2:+.2f} ± {half_width:.2f}"
    assert (best["area - core_set"], best["above zero"], best["seeds"]) == ("", "random", "3")
    assert (rows[2][1], rows[2][-1]) == ("2", "-")
    assert [h for h in head if " at " in h] == ["r1 at 10 %", "r1 at 20 %", "r1 at 30 %"]


@pytest.mark.parametrize(("largest", "expected"), [(250.0, 1), (42.0, 2), (0.45, 4), (1234.5, 0)])
def test_decimals_leave_four_digits(largest, expected):
    assert report.decimals(np.array([0.001, -largest])) == expected


def test_labels_are_moved_apart_and_no_further():
    assert_allclose(plots.spread([0.1, 0.5, 0.9], 0.1), [0.1, 0.5, 0.9])
    assert_allclose(plots.spread([0.5, 0.5, 0.5], 0.1), [0.4, 0.5, 0.6])
    places = np.sort(RNG.random(12))
    moved = plots.spread(list(places), 0.05)
    assert np.diff(moved).min() > 0.05 - 1e-12
    assert np.mean(moved) == pytest.approx(places.mean())  # least squares moves blocks to their mean


def test_figures_are_made_and_the_same_each_time(made, tmp_path, monkeypatch):
    path, _, store, gains = made
    for folder in ("once", "again"):
        run(monkeypatch, plots, path, "--results", store.folder, "--output", tmp_path / folder)
    once = {f.name: f.read_bytes() for f in (tmp_path / "once").iterdir()}
    assert once == {f.name: f.read_bytes() for f in (tmp_path / "again").iterdir()}
    assert set(once) == {"curves-low.svg", "curves-low.png", "differences.svg", "differences.png", "curves.csv"}
    assert len(once["curves-low.svg"]) < 150_000
    for text in (b"share of the pool annotated (%)", b"hinge", b"core_set", b"random"):
        assert text in once["curves-low.svg"]
    table = list(csv.DictReader(once["curves.csv"].decode().splitlines()))
    assert {row["metric"] for row in table} == {"r1", "rsum"}
    last = next(r for r in table if (r["strategy"], r["metric"], r["share"]) == ("core_set", "r1", "0.3000"))
    of = {s: [values_of(s, seed, gains)[2] for seed in range(3)] for s in gains}
    interval = stats.ttest_rel(of["core_set"], of["random"]).confidence_interval(0.95)
    assert float(last["mean"]) == pytest.approx(np.mean(of["core_set"]), rel=1e-5)
    # The table of results has 6 digits of values up to 50.
    assert float(last["difference_to_random"]) == pytest.approx((interval.low + interval.high) / 2, abs=1e-4)
    assert float(last["half_width_95"]) == pytest.approx((interval.high - interval.low) / 2, abs=5e-4)


def test_no_results_are_told(tmp_path, monkeypatch, capsys):
    path, _ = experiment_in(tmp_path)
    run(monkeypatch, plots, path, "--results", tmp_path / "none", "--output", tmp_path / "out")
    assert "curves-low: no curve is whole yet" in capsys.readouterr().out


def test_a_crowd_of_strategies_is_cut_to_the_best(made):
    _, experiment, store, _ = made
    crowd = {f"s{i}": experiment.strategies["hinge"] for i in range(plots.MOST)}
    many = config.Experiment(experiment.arms, {**crowd, **experiment.strategies})
    assert plots.shown(store.rows(), many) == ["random", "core_set", "hinge"]  # those that have a curve
    assert plots.shown(store.rows(), experiment) == list(experiment.strategies)


def unit(*shape):
    return picks.normalized(RNG.standard_normal(shape))


def test_redundancy_is_the_mean_cosine_of_pairs():
    x = unit(7, 5)
    expected = np.mean([x[i] @ x[j] for i in range(7) for j in range(7) if i != j])
    assert picks.redundancy(x) == pytest.approx(expected, abs=1e-6)
    assert picks.redundancy(np.repeat(x[:1], 3, axis=0)) == pytest.approx(1)


def test_novelty_is_what_the_nearest_labeled_lacks():
    x, labeled = unit(6, 5), unit(4, 5)
    expected = np.mean([1 - max(a @ b for b in labeled) for a in x])
    assert picks.novelty(x, labeled) == pytest.approx(expected, abs=1e-6)
    assert picks.novelty(x, x) == pytest.approx(0, abs=1e-6)


def test_highest_takes_the_share_asked_for():
    assert_array_equal(picks.highest(np.array([3, 1, 9, 3, 0]), 0.4), [True, False, True, False, False])
    assert picks.highest(np.arange(101), 0.01).sum() == 2


def test_occurrences_count_the_nearest():
    items, queries = unit(30, 5), unit(600, 5)
    expected = np.zeros(30, int)
    for q in queries:
        for i in sorted(range(30), key=lambda i: -(items[i] @ q))[:4]:
            expected[i] += 1
    assert_array_equal(picks.occurrences(items, queries, 4), expected)
    assert_array_equal(picks.occurrences(items, queries, 99), np.full(30, 600))


def test_skewness_is_the_third_standardised_moment():
    counts = RNG.poisson(2.0, 200)
    assert picks.skewness(counts) == pytest.approx(stats.skew(counts))
    assert picks.skewness(np.full(5, 3)) == 0


def test_hard_pairs_are_nearer_than_the_own_image_less_the_margin():
    items, texts, own = unit(8, 4), unit(9, 4), unit(9, 4)
    expected = [(i, j) for i in range(8) for j in range(9) if items[i] @ texts[j] > own[j] @ texts[j] - 0.3]
    assert len(expected) > 0
    assert list(zip(*picks.hard_pairs(items, texts, own, 0.3), strict=True)) == expected


def test_same_looks_at_the_nearest_caption():
    texts, captions = unit(9, 4), [unit(n, 4) for n in (1, 3, 2)]
    i, j = np.repeat(np.arange(3), 9), np.tile(np.arange(9), 3)
    expected = [max(c @ texts[b] for c in captions[a]) > 0.4 for a, b in zip(i, j, strict=True)]
    assert 0 < sum(expected) < len(expected)
    assert_array_equal(picks.same(i, j, captions, texts, 0.4), expected)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds on a tiny set of features, run for true."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "data"
    data.mkdir()
    n, each = 120, 2
    hidden = RNG.standard_normal((n, 6))
    owner = np.repeat(np.arange(n), each)
    np.save(data / "image_features.npy", hidden @ RNG.standard_normal((6, 12)))
    np.save(data / "text_features.npy", (hidden[owner] + RNG.normal(0, 0.3, (n * each, 6))) @ RNG.normal(size=(6, 10)))
    np.save(data / "owner.npy", owner)
    (data / "captions.json").write_text(json.dumps({"part": ["train"] * 80 + ["dev"] * 20 + ["test"] * 20}))
    path, experiment = experiment_in(folder, data, ("tiny",), 2)
    store = Store(folder / "results")
    with store.writing(experiment):
        for arm, seed, strategy in experiment.curves():
            loop.curve(store.folder, arm, seed, strategy)
    return path, experiment, store


def test_picks_are_measured(trained, tmp_path, monkeypatch, capsys):
    path, experiment, store = trained
    run(monkeypatch, picks, path, "--results", store.folder, "--output", tmp_path)
    with (tmp_path / "picks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == picks.COLUMNS
    of = {(r["strategy"], int(r["seed"]), int(r["round"]), r["measure"]): float(r["value"]) for r in rows}
    (arm,) = experiment.arms
    x = picks.normalized(loop.first(arm, 1).view.spaces["features"])
    chosen = [np.load(store.picks(arm, experiment.strategies["core_set"], 1, r)) for r in (0, 1)]
    labeled = np.concatenate([loop.start(arm, 1), chosen[0]])
    assert of["core_set", 1, 1, "redundancy"] == pytest.approx(picks.redundancy(x[chosen[1]]), rel=1e-5)
    assert of["core_set", 1, 1, "novelty"] == pytest.approx(picks.novelty(x[chosen[1]], x[labeled]), rel=1e-5)
    everything = {m: of[picks.POOL, 0, 0, m] for m in picks.MEASURES if (picks.POOL, 0, 0, m) in of}
    assert everything["hubs"] == pytest.approx(100 / 72, rel=1e-5)  # ceil(1 %) of the 72 free items
    assert everything["hard_negatives"] > 0
    assert 0 <= everything["false_negatives"] <= 100
    assert ("hinge", 0, 1, "hubs") not in of  # only of the first round
    assert of["hinge", 0, 0, "hard_negatives"] > of["random", 0, 0, "hard_negatives"]
    assert "| `hinge` | 2 |" in capsys.readouterr().out


def test_pictures_of_the_first_picks(trained, tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    path, experiment, store = trained
    colour = {i: np.full((64, 64, 3), i, np.uint8) for i in range(80)}
    monkeypatch.setattr(Retrieval, "thumbnail", lambda self, item: colour[item], raising=False)
    monkeypatch.setattr(pictures, "PER_ROW", 4)
    run(monkeypatch, pictures, path, "--results", store.folder, "--output", tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == {"sheet-tiny.png", "map-tiny.png"}
    (arm,) = experiment.arms
    drawn = np.asarray(image.open(tmp_path / "sheet-tiny.png").convert("RGB"))
    rows = pictures.first_picks(store, arm, experiment, list(experiment.strategies)).values()
    for row, items in enumerate(rows):
        middle = drawn[34 + 68 * row + 32, 200 + 32 :: 68, 0]
        assert_array_equal(middle[:4], items[:4])


@pytest.mark.parametrize(("module", "option"), [(plots, "strategies"), (pictures, "strategies"), (pictures, "arms")])
def test_unknown_names_are_told(made, tmp_path, monkeypatch, module, option):
    path, _, store, _ = made
    with pytest.raises(SystemExit, match=f"--{option}: unknown nobody"):
        run(monkeypatch, module, path, "--results", store.folder, "--output", tmp_path, f"--{option}", "nobody")


RECORDS = Path(__file__).parents[1] / "benchmarks" / "results" / "active_learning"


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in RECORDS.glob("*/results.csv")))
def test_tables_of_record_are_of_the_results_beside_them(folder, tmp_path):
    experiment = config.read(RECORDS.parents[1] / "active_learning" / "configs" / f"{folder}.toml")
    store = Store(tmp_path / folder)
    shutil.copytree(RECORDS / folder, store.folder)
    with store.writing(experiment):  # told where the results are of other settings
        page = (RECORDS / "README.md").read_text(encoding="utf-8")
        assert report.summary(store.rows(), experiment).replace("## ", "### ") in page
