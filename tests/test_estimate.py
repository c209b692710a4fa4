"""What `estimate` says, and where it keeps what it measured. How near it comes is a benchmark's: `--estimates`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command

import hnscore
from hnscore.scores import calibration
from hnscore.scores.estimate import in_words

KNOWN = calibration.Costs(
    threads=2,
    multiply_add={"exact": 1e-11, "fp32": 1e-11, "bf16": 5e-12},
    pair={"exact": 1e-10, "fp32": 1e-10, "bf16": 1e-10},
    value=1e-10,
    ratios=(0.1, 0.2, 0.4, 1.0),
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """A machine whose costs are known, in a cache of its own; how often it was measured."""
    calls: list[int] = []

    def measure() -> calibration.Costs:
        calls.append(1)
        return KNOWN

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(calibration, "_measure", measure)
    monkeypatch.setattr(calibration, "_known", {})
    return calls


@pytest.mark.usefixtures("measured")
def test_dense() -> None:
    found = hnscore.estimate(1_000_000, 10_000, 512, method="dense")
    work = 1e10 * (512 * 1e-11 + 1e-10) + 1_010_000 * 512 * 1e-10
    assert found.seconds == pytest.approx(work, rel=1e-3)
    assert found.method == "dense"
    assert hnscore.estimate(1_000_000, 10_000, 512, method="dense", n_threads=1).seconds == pytest.approx(
        2 * work, 1e-3
    )


@pytest.mark.usefixtures("measured")
def test_cascade_by_share() -> None:
    seconds = [hnscore.estimate(1_000_000, 10_000, 512, share=share).seconds for share in (0, 1e-4, 1e-3, 5e-3, 0.01)]
    assert seconds[0] == seconds[1] < seconds[2] < seconds[3] < seconds[4]
    assert hnscore.estimate(1_000_000, 10_000, 512, share=0.001).method == "cascade"
    assert hnscore.estimate(1_000_000, 10_000, 512, share=0.5).method == "dense"
    assert hnscore.estimate(1_000_000, 10_000, 512, share=0.001, precision="bf16").method == "dense"
    assert hnscore.estimate(10, 10, 8).method == "dense"


@pytest.mark.usefixtures("measured")
def test_memory_is_what_score_promises() -> None:
    found = hnscore.estimate(10**6, 10**4, 512)
    assert 4 * 10**4 * 512 < found.nbytes < 4 * 10**4 * 512 + 40 * 10**6
    assert str(found) == f"about {in_words(found.seconds)} and {found.nbytes / 2**20:,.0f} MiB (cascade)"


def test_measured_once_and_kept(measured: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = hnscore.estimate(1000, 1000, 64)
    assert hnscore.estimate(1000, 1000, 64) == first
    monkeypatch.setattr(calibration, "_known", {})  # another process
    assert hnscore.estimate(1000, 1000, 64) == first
    assert len(measured) == 1
    path = tmp_path / "hnscore" / "calibration.json"
    assert list(json.loads(path.read_text()).values()) == [json.loads(json.dumps(KNOWN._asdict()))]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', '{"%s": {}}', '{"%s": {"threads": 2}}', '{"%s": 3}'])
def test_a_damaged_record_is_measured_anew(
    measured: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "hnscore" / "calibration.json"
    path.parent.mkdir()
    path.write_text(content % calibration._machine() if "%s" in content else content)
    hnscore.estimate(1000, 1000, 64)
    monkeypatch.setattr(calibration, "_known", {})
    hnscore.estimate(1000, 1000, 64)
    assert len(measured) == 1


def test_where_nothing_can_be_kept(measured: list[int], tmp_path: Path) -> None:
    (tmp_path / "hnscore").write_text("a file where the folder would be")
    hnscore.estimate(1000, 1000, 64)
    hnscore.estimate(1000, 1000, 64)
    assert len(measured) == 1


def test_a_real_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_DENSE": (256, 128), "_CASCADE": (1024, 512, 128), "_ROWS": (512, 4, 64)}.items():
        monkeypatch.setattr(calibration, name, value)
    found = calibration._measure()
    assert all(x > 0 for x in found.multiply_add.values())
    assert all(x >= 0 for x in found.pair.values())
    assert len(found.ratios) == len(calibration.SHARES)
    assert np.isfinite(found.ratios).all()


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("sizes", "options", "error"),
    [
        ((-1, 2, 3), {}, "n_img must be at least 0"),
        ((1.5, 2, 3), {}, "n_img must be an int"),
        ((1, 2, 3), {"share": 2}, "share must be from 0 to 1"),
        ((1, 2, 3), {"precision": "fp8"}, "precision must be one of"),
        ((1, 2, 3), {"method": "fast"}, "method must be one of"),
        ((1, 2, 3), {"n_threads": 0}, "n_threads"),
    ],
)
def test_errors(sizes: tuple[Any, Any, Any], options: dict[str, Any], error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        hnscore.estimate(*sizes, **options)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3e-5, "0.03 ms"), (0.25, "2.5e+02 ms"), (1.234, "1.2 s"), (59.0, "59 s"), (119, "119 s"), (120, "2 min"),
     (7200, "2 h"), (3 * 86400, "3 days")],
)  # fmt: skip
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert in_words(seconds) == words.replace("2.5e+02", "250")


@pytest.mark.usefixtures("measured")
def test_command() -> None:
    """In a process of its own, which reads what was kept."""
    expected = str(hnscore.estimate(1_000_000, 10_000, 512, share=0.001))
    done = command("estimate", 1_000_000, 10_000, 512, "--share", 0.001)
    assert (done.returncode, done.stdout) == (0, f"{expected}\n"), done.stderr
    done = command("estimate", 10, 10, 8, "--precision", "fp8")
    assert done.returncode == 2
    assert "precision must be one of" in done.stderr
