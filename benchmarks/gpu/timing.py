"""Inputs, time by events of the device, memory, and scores against float64."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from bounds import between, complaint
from devices import Cpu
from peers import DTYPES, TEMPERATURE, TOP, Method, Problem, Run

TRUTH_ROWS = 64
SAMPLE = 8192  # images from which the thresholds are estimated
TRIAL = 0.25  # of the images, to choose among the settings of a peer
LEAST = 16384  # images; fewer would not fill the device

Chosen = dict[tuple[Any, ...], Any]


@dataclass
class Result:
    """What one method did with one problem. `seconds` has one entry per round and is scaled to all images."""

    method: Method
    setting: str = ""
    rows: int = 0  # images it was timed on
    seconds: list[float] = field(default_factory=list)
    error: float | None = None
    memory: int | None = None  # bytes beyond inputs, the result included
    failure: str = ""

    @property
    def median(self) -> float:
        return median(self.seconds) if self.seconds else float("inf")


class DeviceLostError(RuntimeError):
    """A kernel left the device in a state in which nothing else can run in this process."""


# ---- Inputs ----------------------------------------------------------------------------------------------------------


def unit_rows(rows: int, dim: int, seed: int, device: str) -> torch.Tensor:
    """Independent normals, normalised, float32; made in blocks."""
    generator = torch.Generator(device).manual_seed(seed)
    out = torch.empty(rows, dim, device=device)
    for block in out.split(65536):
        block.normal_(generator=generator)
        block.div_(block.norm(dim=1, keepdim=True))
    return out


def thresholds(img: torch.Tensor, txt: torch.Tensor, share: float) -> torch.Tensor:
    """Of each text: what such a share of a sample of the images exceeds; between two similarities, equal to none."""
    sample = img[:: max(len(img) // SAMPLE, 1)]
    passing = max(round(share * len(sample)), 1)
    parts = []
    for texts in txt.split(8192):
        largest = (sample @ texts.T).topk(passing + 1, dim=0).values
        parts.append((largest[-1] + largest[-2]) / 2)
    return torch.cat(parts)


def problem(img: torch.Tensor, txt: torch.Tensor, tau: torch.Tensor, dtype: str, weight: str, on: Cpu) -> Problem:
    return Problem(img.to(DTYPES[dtype]), txt.to(DTYPES[dtype]), tau, weight, on)


# ---- Truth -----------------------------------------------------------------------------------------------------------


def pairs(p: Problem, rows: torch.Tensor, similarity: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 gaps and similarities of some images, from the values that every method is given."""
    img, txt = p.img[rows].double(), p.txt.double()
    if similarity == "cosine":
        img, txt = (x / x.norm(dim=1, keepdim=True) for x in (img, txt))
    s = img @ txt.T
    return s - p.tau.double(), s


def scores_of(gap: torch.Tensor, s: torch.Tensor, weight: str, off: torch.Tensor | float = 0.0) -> torch.Tensor:
    """What they add up to: the least and the largest, (2, n)."""
    return torch.stack(between(gap, s, off, {"top-16": "top"}.get(weight, weight), TEMPERATURE, TOP))


def error(scores: torch.Tensor, right: torch.Tensor) -> float:
    """The largest difference, each relative to its own float64 score; a score of 0 is taken relative to the largest."""
    scale = torch.where(right > 0, right, right.max().clamp(min=1e-30))
    worst = ((scores.double() - right).abs() / scale).max()
    return float("inf") if worst.isnan() else float(worst)


# ---- Time and memory -------------------------------------------------------------------------------------------------


def growth(run: Run, on: Cpu) -> tuple[torch.Tensor, int | None]:
    """The result of a call and the most device memory that it held beyond what there was before."""
    if on.home != "cuda":
        return run(), None
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = run()
    torch.cuda.synchronize()
    return out, torch.cuda.max_memory_allocated() - before


class Race:
    """Methods on one problem, each once per round in a shuffled order: clocks and heat are then the same for all."""

    def __init__(self, p: Problem, limit: float, chosen: Chosen) -> None:
        """limit: seconds; a call that is expected to take longer is timed on fewer images. chosen: kept from race to
        race, the settings that were the fastest."""
        self.p, self.limit, self.chosen = p, limit, chosen
        self.rows = torch.linspace(0, len(p.img) - 1, TRUTH_ROWS, device=p.img.device).long().unique()
        self.pairs = {name: pairs(p, self.rows, name) for name in ("dot", "cosine")}

    def run(
        self, methods: Iterable[Method], rounds: int, say: Callable[[str], None] = lambda text: None
    ) -> list[Result]:
        results = [Result(method) for method in methods]
        ready: list[tuple[Result, Run, float]] = []
        for result in results:
            say(result.method.name)
            try:
                run = self._first_call(result)
                ready.append((result, run, len(self.p.img) / result.rows))
            except ModuleNotFoundError as missing:
                result.failure = f"not here: {missing}"
            except Exception as failure:  # what does not work here is a row of the table, not an end of the run
                result.failure = f"failed: {self._line(failure)}"
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            random.Random(number).shuffle(ready)
            for result, run, scale in ready:
                result.seconds.append(self.p.on.elapsed(run) * scale)
        return results

    def _first_call(self, result: Result) -> Run:
        """The call that is timed in every round; its error and memory."""
        method, p = result.method, self.p
        n_img, dim = p.img.shape
        share = self.limit / method.expected(n_img, len(p.txt), dim)
        result.rows = _whole(n_img * share, n_img)
        key = (method.name, p.img.dtype, dim, p.weight == "top-16")
        if key not in self.chosen:
            self.chosen[key] = self._fastest(method, _whole(TRIAL * result.rows, n_img))
        result.setting = named(self.chosen[key])
        while True:
            run = method.build(p.head(result.rows), self.chosen[key])
            scores, result.memory = growth(run, p.on)
            result.error = self._checked(method, scores)
            took = p.on.elapsed(run)
            fewer = _whole(result.rows * self.limit / took, result.rows)
            if took < 3 * self.limit or fewer == result.rows:
                return run
            result.rows = fewer  # slower than expected; the others wait for it in every round

    def _fastest(self, method: Method, rows: int) -> Any:
        """The setting that takes least time on some images; one that fails or is wrong gives way to one that is not."""
        if len(method.settings) == 1:
            return method.settings[0]
        times: dict[Any, float] = {}
        failures: list[Exception] = []
        for setting in method.settings:
            try:
                run = method.build(self.p.head(rows), setting)
                self._checked(method, run(), named(setting))
                times[setting] = min(self.p.on.elapsed(run) for _ in range(2))
            except Exception as failure:
                failures.append(failure)
                self._line(failure)
        if not times:
            raise failures[0]
        return min(times, key=lambda setting: times[setting])

    def _checked(self, method: Method, scores: torch.Tensor, setting: str = "") -> float | None:
        """The largest relative error of some scores; ArithmeticError where one is not what the method may give."""
        if not method.similarity:
            return None
        inside = self.rows < len(scores)
        gap, s = (x[inside] for x in self.pairs[method.similarity])
        found, (right, _) = scores[self.rows[inside]].double(), scores_of(gap, s, self.p.weight)
        low, high = scores_of(gap, s, self.p.weight, method.slack(self.p, s))
        if wrong := complaint(found, low, high, method.rounding, self.rows[inside]):
            raise ArithmeticError(f"{setting}: {wrong}" if setting else wrong)
        return error(found, right)

    def _line(self, failure: Exception) -> str:
        """What went wrong, in one line. Memory is given back; a device that runs nothing more ends the race."""
        text = " ".join(str(failure).split())[:160] or type(failure).__name__
        if self.p.on.home == "cuda":
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            except RuntimeError as lost:
                raise DeviceLostError(text) from lost
        return text


def _whole(rows: float, most: int) -> int:
    """Rows that fill the device, or all there are."""
    return most if rows >= most else min(max(int(rows) // LEAST * LEAST, LEAST), most)


def named(setting: Any) -> str:
    if type(setting) is tuple:
        return f"{setting[0]} images" if setting[1] >= 1 << 30 else f"{setting[0]} x {setting[1]}"
    return str(setting)
