"""The emoji task of the active-learning runner, on small made-up images, and the runner's smoke configuration."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import data_file
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("scipy")

FOLDER = Path(__file__).parents[1] / "benchmarks" / "active_learning"
sys.path.insert(0, str(FOLDER))

import config  # noqa: E402
import pixels  # noqa: E402
from retrieval import Schedule  # noqa: E402
from tasks import Task, Trained  # noqa: E402

SMOKE = FOLDER / "configs" / "smoke.toml"
SHORT = Schedule(dim=16, batch=16, epochs=2, least_steps=4, dropout=0.2)
N = 60
LABELED = np.array([3, 17, 8, 25, 1, 30, 12, 9])

Table = dict[tuple[str, ...], str]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (N, 64, 64, 3), np.uint8)


def captions() -> list[list[str]]:
    return [[f"thing {i}", f"thing number {i}"][: 1 + i % 2] for i in range(N)]


def task(images: NDArray[np.uint8], texts: list[list[str]]) -> pixels.Pixels:
    rows = {"train": np.arange(0, 40), "dev": np.arange(40, 50), "test": np.arange(50, N)}
    return pixels.Pixels(images, texts, rows, "dev", SHORT)


def known(trained: Trained) -> dict[str, NDArray[np.generic]]:
    """All that a strategy can look at."""
    view = trained.view
    assert view.other_emb is not None
    assert view.other_owner is not None
    return {**view.spaces, "labeled": view.labeled, "emb": view.other_emb, "owner": view.other_owner}


def assert_same(a: Trained, b: Trained) -> None:
    for name, value in known(a).items():
        np.testing.assert_array_equal(value, known(b)[name], err_msg=name)


@pytest.fixture(scope="module")
def trained(images: NDArray[np.uint8]) -> Trained:
    return task(images, captions()).train(LABELED, 5)


def test_view(trained: Trained) -> None:
    view = known(trained)
    assert view["features"].shape == (40, 40)  # 64 components where there are as many images
    assert view["joint"].shape == (40, SHORT.dim)
    np.testing.assert_array_equal(view["owner"], np.repeat(LABELED, 1 + LABELED % 2))
    assert view["emb"].shape == (len(view["owner"]), SHORT.dim)
    for space in ("joint", "emb"):
        np.testing.assert_allclose(np.linalg.norm(view[space].astype(float), axis=1), 1, rtol=1e-6)
    assert all(0 <= value <= 100 for name, value in trained.metrics.items() if "_" in name)


def test_the_seed_decides(images: NDArray[np.uint8], trained: Trained) -> None:
    again, other = (task(images, captions()).train(LABELED, seed) for seed in (5, 6))
    assert_same(trained, again)
    assert again.metrics == trained.metrics
    assert not np.array_equal(known(trained)["joint"], known(other)["joint"])


@pytest.mark.parametrize("rows", [range(40), range(40, 50)], ids=["pool", "dev"])
def test_captions_that_nobody_annotated_are_not_seen(images: NDArray[np.uint8], trained: Trained, rows: range) -> None:
    changed = captions()
    for i in set(rows) - set(LABELED):
        changed[i] = ["quite another and much longer text"] * (1 + i % 3)
    assert_same(trained, task(images, changed).train(LABELED, 5))


def test_captions_of_labeled_images_are_seen(images: NDArray[np.uint8], trained: Trained) -> None:
    changed = captions()
    changed[LABELED[0]] = ["quite another text", "and one more"]
    view = known(task(images, changed).train(LABELED, 5))
    assert not np.array_equal(known(trained)["joint"], view["joint"])


def test_images_outside_the_pool_are_not_seen(images: NDArray[np.uint8], trained: Trained) -> None:
    changed = images.copy()
    changed[40:] //= 2
    assert_same(trained, task(changed, captions()).train(LABELED, 5))


def test_thumbnails_are_those_of_the_items(images: NDArray[np.uint8]) -> None:
    rows = {"train": np.array([7, 20, 41]), "dev": np.array([0]), "test": np.array([1])}
    small = pixels.Pixels(images, captions(), rows, "dev", SHORT)
    for item, row in enumerate([7, 20, 41]):
        np.testing.assert_array_equal(small.thumbnail(item), images[row])


def test_parts() -> None:
    people = [person + rest for rest, person in product(("\u200d🍳", "\u200d🚀", "\u200d🎨"), "👨👩🧑")]
    running = ["🏃", "🏃\u200d♂\ufe0f", "🏃\u200d♀\ufe0f", "🏃\u200d➡\ufe0f", "🏃\u200d♀\ufe0f\u200d➡\ufe0f"]
    others = [chr(0x1F400 + i) for i in range(2000)]
    parts = pixels.parts(people + running + others)
    joined = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(joined), np.arange(len(people + running + others)))
    assert (len(parts["dev"]), len(parts["test"])) == pytest.approx((pixels.N_DEV, pixels.N_TEST), abs=5)
    part = np.empty(len(joined), int)
    for number, rows in enumerate(parts.values()):
        part[rows] = number
    for group in (slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 14)):
        assert len(set(part[group])) == 1


def test_hashing_is_of_each_caption_alone() -> None:
    one, two = pixels.hashed(["a cat"]), pixels.hashed(["a cat", "a considerably longer caption", ""])
    np.testing.assert_array_equal(two[0, : one.shape[1]], one[0])
    assert not two[0, one.shape[1] :].any()
    assert two[2].any()
    assert two.max() < pixels.BUCKETS


@pytest.fixture
def start() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    data_file("emoji", "images.npz")
    data_file("emoji", "captions.json")
    running: list[subprocess.Popen[str]] = []
    line = [sys.executable, str(FOLDER / "run.py"), str(SMOKE), "--workers", "2", "--results"]

    def started(results: Path) -> "subprocess.Popen[str]":
        # In a session of its own, so that its workers can be killed with it.
        running.append(
            subprocess.Popen(
                [*line, str(results)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        return running[-1]

    yield started
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def table(results: Path) -> tuple[Table, int]:
    """What is measured, times left out, and the number of rows that say it."""
    with (results / "results.csv").open(newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)][1:]
    rows = [row for row in rows if not row[-2].endswith("_seconds")]
    return {row[:-1]: row[-1] for row in rows}, len(rows)


def picks(results: Path) -> dict[str, bytes]:
    return {str(p.relative_to(results)): p.read_bytes() for p in results.rglob("*.npy")}


def finish(process: "subprocess.Popen[str]") -> None:
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
    assert "## smoke" in out


def kill_half_way(process: "subprocess.Popen[str]", results: Path, total: int) -> int:
    """Rows that were there when the run and its workers died."""
    while process.poll() is None:
        if (results / "results.csv").is_file() and (rows := table(results)[1]) >= total // 2:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return rows
        time.sleep(0.05)
    raise AssertionError(process.communicate()[0])


@pytest.mark.slow
@pytest.mark.exhaustive(0)
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups")
def test_smoke_killed_half_way_and_started_again(
    tmp_path: Path, start: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    whole, mended = tmp_path / "whole", tmp_path / "mended"
    finish(start(whole))
    expected, total = table(whole)
    experiment = config.read(SMOKE)
    curves = {(arm.name, strategy.name, str(seed)) for arm, seed, strategy in experiment.curves()}
    assert total == len(expected)
    rounds = {key[:4] for key in expected}
    assert rounds == {(*c, str(r)) for c in curves for r in range(3)}
    metrics = {key[-1] for key in expected}
    assert {"r1", "rsum", "r10_i2t", "r10_t2i"} <= metrics
    assert total == len(rounds) * len(metrics)

    rows = kill_half_way(start(mended), mended, total)
    assert total // 2 <= rows < total
    finish(start(mended))
    assert table(mended) == (expected, total)
    assert picks(mended) == picks(whole)


def test_pixels_is_a_task() -> None:
    assert config.TASKS["pixels"] == pixels.__name__
    assert issubclass(pixels.Pixels, Task)
