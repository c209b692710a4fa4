"""Inputs, time by events of the device, memory, and errors against float64."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from peers import DTYPES, TEMPERATURE, TOP, Method, Problem, Run

PASSING = 0.01  # of the pairs
TRUTH_ROWS = 64
SAMPLE = 2048  # images from which the thresholds are estimated
TRIAL = 0.25  # of the images, to choose among the settings of a peer
LEAST = 16384  # images; fewer would not fill the device
WRONG = 0.5  # a setting with such an error computes something else

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


def thresholds(img: torch.Tensor, txt: torch.Tensor) -> torch.Tensor:
    """Of each text: what a hundredth of a sample of the images exceeds; between two similarities, equal to none."""
    sample = img[:: max(len(img) // SAMPLE, 1)]
    passing = max(round(PASSING * len(sample)), 1)
    parts = []
    for texts in txt.split(8192):
        largest = (sample @ texts.T).topk(passing + 1, dim=0).values
        parts.append((largest[-1] + largest[-2]) / 2)
    return torch.cat(parts)


def problem(img: torch.Tensor, txt: torch.Tensor, tau: torch.Tensor, dtype: str, weight: str) -> Problem:
    return Problem(img.to(DTYPES[dtype]), txt.to(DTYPES[dtype]), tau, weight)


# ---- Truth -----------------------------------------------------------------------------------------------------------


def truth(p: Problem, rows: torch.Tensor, similarity: str) -> torch.Tensor:
    """Float64 scores of some images, from the values that every method is given."""
    img, txt = p.img[rows].double(), p.txt.double()
    if similarity == "cosine":
        img, txt = (x / x.norm(dim=1, keepdim=True) for x in (img, txt))
    gap = img @ txt.T - p.tau.double()
    if p.weight == "count":
        return (gap > 0).double().sum(1)
    if p.weight == "exp":
        return torch.where(gap > 0, torch.exp(gap / TEMPERATURE), 0).sum(1)
    gap.clamp_(min=0)
    return gap.sum(1) if p.weight == "hinge" else gap.topk(min(TOP, gap.shape[1])).values.sum(1)


def error(scores: torch.Tensor, right: torch.Tensor) -> float:
    """The largest difference, each relative to its own float64 score; a score of 0 is taken relative to the largest."""
    scale = torch.where(right > 0, right, right.max().clamp(min=1e-30))
    worst = ((scores.double() - right).abs() / scale).max()
    return float("inf") if worst.isnan() else float(worst)


# ---- Time and memory -------------------------------------------------------------------------------------------------


def elapsed(run: Run, device: str) -> float:
    """Seconds between events before and after, with what the host does between the kernels."""
    if device != "cuda":
        began = time.perf_counter()
        run()
        return time.perf_counter() - began
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    before.record()
    run()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after)) / 1e3


def growth(run: Run, device: str) -> tuple[torch.Tensor, int | None]:
    """The result of a call and the most device memory that it held beyond what there was before."""
    if device != "cuda":
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

    def __init__(self, p: Problem, device: str, limit: float, chosen: Chosen) -> None:
        """limit: seconds; a call that is expected to take longer is timed on fewer images. chosen: kept from race to
        race, the settings that were the fastest."""
        self.p, self.device, self.limit, self.chosen = p, device, limit, chosen
        self.rows = torch.linspace(0, len(p.img) - 1, TRUTH_ROWS, device=p.img.device).long()
        self.right = {name: truth(p, self.rows, name) for name in ("dot", "cosine")}

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
            except Exception as failure:  # what does not work here is a row of the table, not an end of the run
                result.failure = self._line(failure)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            random.Random(number).shuffle(ready)
            for result, run, scale in ready:
                result.seconds.append(elapsed(run, self.device) * scale)
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
            scores, result.memory = growth(run, self.device)
            result.error = self._error(method, scores)
            took = elapsed(run, self.device)
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
                error = self._error(method, run())
                if error is not None and not error < WRONG:
                    raise ArithmeticError(f"{named(setting)}: error {error:.1e}")
                times[setting] = min(elapsed(run, self.device) for _ in range(2))
            except Exception as failure:
                failures.append(failure)
                self._line(failure)
        if not times:
            raise failures[0]
        return min(times, key=lambda setting: times[setting])

    def _error(self, method: Method, scores: torch.Tensor) -> float | None:
        if not method.similarity:
            return None
        inside = self.rows < len(scores)
        return error(scores[self.rows[inside]], self.right[method.similarity][inside])

    def _line(self, failure: Exception) -> str:
        """What went wrong, in one line. Memory is given back; a device that runs nothing more ends the race."""
        text = " ".join(str(failure).split())[:160] or type(failure).__name__
        if self.device == "cuda":
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            except RuntimeError as lost:
                raise DeviceLostError(text) from lost
        return f"failed: {text}"


def _whole(rows: float, most: int) -> int:
    """Rows that fill the device, or all there are."""
    return most if rows >= most else min(max(int(rows) // LEAST * LEAST, LEAST), most)


def named(setting: Any) -> str:
    if type(setting) is tuple:
        return f"{setting[0]} images" if setting[1] >= 1 << 30 else f"{setting[0]} x {setting[1]}"
    return str(setting)
