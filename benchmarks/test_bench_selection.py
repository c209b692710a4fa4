"""The parts of `bench_score.py --select` at sizes for a quick look: rows are made, and peers pick the same."""

import numpy as np
import pytest
from comparisons import selection

from hnscore.bench import workloads
from hnscore.bench.report import Row

THREADS = 2


def _finished(rows: list[Row], *names: str) -> list[Row]:
    """Those of installed packages; all must have a time."""
    for row in rows:
        assert row["time"] == "not installed" or row["time"].endswith(")"), row
    assert [name for name in names if not any(row["method"].startswith(name) for row in rows)] == []
    return [row for row in rows if row["time"] != "not installed"]


def test_rows_of_informativeness() -> None:
    rows = _finished(selection.informative(600, 32, THREADS, 1, with_memory=False), "hnscore sampled", "hnscore closed")
    for row in rows[1:]:
        assert float(row["check"].split()[3]) < 0.1


@pytest.mark.parametrize("kind", ["normals", "clustered"])
def test_all_core_sets_are_equal(kind: str) -> None:
    rows = _finished(selection.core_set(kind, 1200, 64, 40, THREADS, 1), "hnscore", "one read")
    assert {row["check"].split(";")[0] for row in rows if "check" in row} == {"picks: equal"}
    (read,) = [row for row in rows if row["method"].startswith("one read")]
    assert "GB/s" in read["reads"]


def test_rows_of_repulsion() -> None:
    rows = _finished(selection.repulsive(1500, 64, 20, THREADS), "hnscore repulsive", "hnscore density", "one read")
    assert rows[0]["check"].endswith("picks in the time of a pass")


@pytest.mark.parametrize("kind", ["normals", "clustered"])
def test_all_coverages_are_equal(kind: str) -> None:
    rows = _finished(selection.coverage(kind, 300, 32, 20, THREADS, 1), "hnscore coverage")
    assert all(row["check"].startswith("picks: equal") for row in rows)  # gains may tie but for rounding


def test_picks_that_differ_are_told() -> None:
    told = selection._same(np.array([1, 2, 4]), np.array([1, 2, 3, 5]), lambda picks: picks.sum(), "sum")
    assert told == "picks: the first 2 equal; sum 7.000000, of hnscore's 6.000000"
    told = selection._same(np.array([2, 1]), np.array([1, 2, 3]), lambda picks: picks.sum(), "sum")
    assert told == "picks: equal but for their order; sum 3.000000"


def test_radius() -> None:
    emb = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    assert selection._radius(emb, np.array([1])) == pytest.approx(1 - 0.8)


def test_clusters_are_as_wide_as_they_say() -> None:
    made = workloads.clustered(70_000, 16, np.float16)
    assert made.img.dtype == np.float16
    assert len(made.reference) == 70_000
    norms = np.linalg.norm(made.img.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)  # float16 rounds each of 16 values by at most 2^-11 of itself
