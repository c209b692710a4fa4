"""Tables, goals, the machine, and results on disk."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from peers import COMPILED, EAGER, MM, TRITON
from plan import GOALS, MAIN, MEMORY_GOAL, N_IMG, N_TXT, PEAK_GOAL, Case, peak
from timing import Result

from hnscore.bench.report import Row, table

RATIOS = {"of mm": MM, "x chunked": EAGER, "x compile": COMPILED, "x Triton": TRITON}
NOTE = (
    "Time: median of the rounds (fastest to slowest), by events of the device, each method once a round in a shuffled "
    "order. TFLOP/s: 2 n_img n_txt dim / time. of mm: time of torch.mm alone, which stores products and reduces "
    "nothing, over the method's; x: how many times faster; both the median of the ratios within each round. Error: "
    "largest of 64 images, relative to the float64 score of the values that every method is given; a method whose "
    "scores are not between what its own roundings allow has failed, and counts of hnscore exact allow none. Memory: "
    "the most that was allocated beyond the inputs during a call, result included. Peers: the best of their settings, "
    "in brackets. Where a call would take long it was timed on the images that the brackets state, and the time is "
    "scaled. fp32 peers multiply in tf32."
)


@dataclass(frozen=True)
class Verdict:
    goal: str
    case: str
    method: str
    target: float
    reached: float | None  # None: not measured
    most: bool = False  # the target is an upper limit

    @property
    def met(self) -> bool:
        if self.reached is None:
            return False
        return self.reached <= self.target if self.most else self.reached >= self.target


def ratio(slow: Result | None, fast: Result) -> float | None:
    """How many times faster: the median of the ratios within each round."""
    if slow is None or not slow.seconds or not fast.seconds:
        return None
    return median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))


def find(results: Iterable[Result], name: str) -> Result | None:
    return next((r for r in results if r.method.name == name), None)


# ---- Rows ------------------------------------------------------------------------------------------------------------


def rows(case: Case, results: list[Result]) -> list[Row]:
    found = []
    for r in results:
        row = {"input": case.dtype, "weight": case.weight, "inside": f"{case.share:.1%}", "method": label(case, r)}
        if r.failure or not r.seconds:
            found.append(row | {"time": r.failure or "not timed"})
            continue
        rate = 2.0 * case.n_img * case.n_txt * case.dim / r.median
        row["time"] = f"{1e3 * r.median:.1f} ms ({1e3 * min(r.seconds):.1f} to {1e3 * max(r.seconds):.1f})"
        row["TFLOP/s"] = f"{rate / 1e12:.3g}"
        for column, name in RATIOS.items():
            value = ratio(find(results, name), r)
            row[column] = "" if value is None else f"{value:.2f}"
        row["error"] = "—" if r.error is None else f"{r.error:.1e}"
        row["memory"] = "—" if r.memory is None else f"{r.memory / 1e6:.0f} MB"
        found.append(row)
    return found


def label(case: Case, r: Result) -> str:
    notes = [r.setting] if r.setting else []
    if 0 < r.rows < case.n_img:
        notes.append(f"timed on {r.rows}")
    return f"{r.method.name} [{'; '.join(notes)}]" if notes else r.method.name


def verdicts(case: Case, results: list[Result], gpu: str = "") -> list[Verdict]:
    """The goals that this case can speak of: those of the full size."""
    found: list[Verdict] = []
    if (case.n_img, case.n_txt) != (N_IMG, N_TXT):
        return found
    for r in (r for r in results if r.method.is_ours):
        for goal in GOALS:
            if goal.covers(case, r.method.name):
                reached = ratio(find(results, goal.peer), r)
                name = f"{goal.factor:g} x {goal.peer}"
                found.append(Verdict(name, case.name, r.method.name, goal.factor, reached))
        if (most := peak(gpu)) and (case.dim, case.weight) == (MAIN, "count") and "exact" in r.method.name:
            reached = None if not r.seconds else 2.0 * case.n_img * case.n_txt * case.dim / r.median / most
            name = f"{PEAK_GOAL:g} of the peak of float16"
            found.append(Verdict(name, case.name, r.method.name, PEAK_GOAL, reached))
        if r.rows == case.n_img and r.memory is not None:
            megabytes = MEMORY_GOAL / 1e6
            name = f"under {megabytes:.0f} MB"
            found.append(Verdict(name, case.name, r.method.name, megabytes, r.memory / 1e6, most=True))
    return found


def goal_rows(found: Iterable[Verdict]) -> list[Row]:
    return [
        {
            "goal": v.goal,
            "case": v.case,
            "method": v.method,
            "reached": "not measured" if v.reached is None else f"{v.reached:.3g}",
            "met": "yes" if v.met else "no",
        }
        for v in found
    ]


# ---- The machine -----------------------------------------------------------------------------------------------------


def facts(device: str, commit: str) -> dict[str, str]:
    """What a number rests on."""
    import torch

    found = {"date": str(date.today())}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = f"{properties.name}, {properties.multi_processor_count} multiprocessors"
        found["compute capability, memory"] = (
            f"{properties.major}.{properties.minor}, {properties.total_memory / 2**30:.0f} GiB"
        )
        fields = "driver_version,clocks.max.sm,power.limit"
        line = _output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")
        found["driver, highest clock, power limit"] = line.splitlines()[0] if line else "unknown"
        found["CUDA of torch"] = str(torch.version.cuda)
    else:
        found["gpu"] = "none: a rehearsal on the CPU, whose times say nothing"
    found["versions"] = ", ".join(f"{name} {_version(name)}" for name in ("hnscore", "torch", "triton", "numpy"))
    found["system"] = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    found["commit"] = commit or _output("git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD")
    found["commit"] = found["commit"] or "unknown"
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        module = __import__(package) if package == "hnscore" else None  # built by CMake alone, it has no metadata
        return getattr(module, "__version__", "not installed")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# ---- On disk ---------------------------------------------------------------------------------------------------------


class Book:
    """Everything measured so far, written anew after each case."""

    def __init__(self, facts: dict[str, str], json_path: Path | None) -> None:
        self.facts, self._path = facts, json_path
        self.cases: list[tuple[Case, list[Result]]] = []
        self.left_out: list[str] = []
        self.no_room: list[str] = []

    def add(self, case: Case, results: list[Result]) -> None:
        self.cases.append((case, results))
        self.write()

    def write(self) -> None:
        if self._path:
            _replace(self._path, json.dumps(self._values(), indent=1) + "\n")
            _replace(self._path.with_suffix(".md"), self.markdown())

    @property
    def verdicts(self) -> list[Verdict]:
        return [v for case, results in self.cases for v in verdicts(case, results, self.facts["gpu"])]

    @property
    def failed(self) -> list[str]:
        """Methods, with their cases; one that is not here has not failed."""
        found = ((case, r) for case, results in self.cases for r in results)
        return [f"{r.method.name} at {case.name}" for case, r in found if r.failure.startswith("failed")]

    def line(self) -> str:
        """All of it in one line."""
        met, named = sum(v.met for v in self.verdicts), self.failed[:3]
        more = f": {'; '.join(named)}" + (" and others" if len(self.failed) > 3 else "") if named else ""
        return (
            f"{len(self.cases)} cases, {len(self.left_out) + len(self.no_room)} left out, {met} of "
            f"{len(self.verdicts)} goals met, {len(self.failed)} failed{more}"
        )

    def markdown(self) -> str:
        parts = [f"# {self.facts['gpu']}, {self.facts['date']}", ""]
        parts += [*(f"- {key}: {value}" for key, value in self.facts.items()), "", NOTE, ""]
        for dim, n_img, n_txt in sorted({(case.dim, case.n_img, case.n_txt) for case, _ in self.cases}):
            body = [row for case, results in self.cases if case.dim == dim for row in rows(case, results)]
            parts += [f"## {n_img} x {n_txt}, dim {dim}", "", table(body, markdown=True), ""]
        if self.verdicts:
            parts += ["## Goals", "", table(goal_rows(self.verdicts), markdown=True), ""]
        if self.left_out:
            parts += ["Left out, because the time was used up: " + ", ".join(self.left_out) + ".", ""]
        if self.no_room:
            parts += ["Left out, because the GPU had too little free memory: " + ", ".join(self.no_room) + ".", ""]
        return "\n".join(parts)

    def _values(self) -> dict[str, Any]:
        cases = []
        for case, results in self.cases:
            methods = [
                {
                    "method": r.method.name,
                    "setting": r.setting,
                    "timed_on": r.rows,
                    "seconds": r.seconds,
                    "error": r.error,
                    "memory": r.memory,
                    "failure": r.failure,
                }
                for r in results
            ]
            cases.append({**case._asdict(), "methods": methods})
        goals = [{**v.__dict__, "met": v.met} for v in self.verdicts]
        return {"facts": self.facts, "cases": cases, "goals": goals, "left_out": self.left_out, "no_room": self.no_room}


def _replace(path: Path, text: str) -> None:
    fresh = Path(f"{path}.new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)
