"""What is timed: hnscore and what people use instead, each at the best of the settings that are listed for it.

Every peer gets unit rows in its number type and its thresholds ready; hnscore is called as a user calls it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from bounds import ROUNDING, ROUNDING_OF_PEERS, slack, slack_of_peer
from devices import Cpu

import hnscore

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
WEIGHTS = ("count", "hinge", "exp", "top-16")
TOP = 16
TEMPERATURE = 0.05

Run = Callable[[], torch.Tensor]
Block = tuple[int, int]


@dataclass(frozen=True)
class Problem:
    """Unit rows of one dtype and a float32 threshold for each text; what becomes of the gaps above 0."""

    img: torch.Tensor
    txt: torch.Tensor
    tau: torch.Tensor
    weight: str
    on: Cpu

    @property
    def dtype(self) -> str:
        return next(name for name, dtype in DTYPES.items() if dtype == self.img.dtype)

    def head(self, rows: int) -> Problem:
        """The same texts and the first images."""
        return Problem(self.img[:rows], self.txt, self.tau, self.weight, self.on)


Slack = Callable[[Problem, torch.Tensor], Any]


class Method(NamedTuple):
    """`build` gets a problem and one of the settings and returns the call that is timed."""

    name: str
    settings: tuple[Any, ...]
    build: Callable[[Problem, Any], Run]
    similarity: str  # what its scores are compared with; "" where it returns none
    slack: Slack  # how far its similarities may be off, from the problem and the float64 ones
    rate: float  # what to expect, for the plan of the run only: FLOP/s of the products,
    traffic: float = 0.0  # and bytes that a pair moves beside them

    def expected(self, n_img: int, n_txt: int, dim: int) -> float:
        """Seconds."""
        return n_img * n_txt * (2 * dim / self.rate + self.traffic / 3.5e12)

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("hnscore")

    @property
    def rounding(self) -> float:
        """Of its sums, relative."""
        return ROUNDING if self.is_ours else ROUNDING_OF_PEERS


# ---- Chunked matrix products -----------------------------------------------------------------------------------------

# Images x texts of a product; the second is cut along both so that less of it leaves the L2 cache.
BLOCKS: tuple[Block, ...] = ((16384, 1 << 30), (8192, 8192))
EAGER_BLOCKS: tuple[Block, ...] = ((4096, 1 << 30), *BLOCKS)


def eager_step(x: torch.Tensor, txt: torch.Tensor, tau: torch.Tensor, weight: str) -> torch.Tensor:
    """As it is usually written: a product, then one operation after another, in place where there is a place."""
    s = x @ txt.T
    if weight == "count":
        return (s > tau).sum(1)
    gap = s - tau  # float32, like tau
    if weight == "hinge":
        return gap.clamp_(min=0).sum(1)
    if weight == "exp":
        positive = gap > 0
        return gap.div_(TEMPERATURE).exp_().mul_(positive).sum(1)
    return gap.clamp_(min=0).topk(min(TOP, gap.shape[1])).values


def plain_step(x: torch.Tensor, txt: torch.Tensor, tau: torch.Tensor, weight: str) -> torch.Tensor:
    """The same without writing in place, for the compiler."""
    gap = x @ txt.T - tau
    if weight == "count":
        return (gap > 0).sum(1)
    if weight == "hinge":
        return gap.clamp(min=0).sum(1)
    if weight == "exp":
        return torch.where(gap > 0, torch.exp(gap / TEMPERATURE), 0).sum(1)
    return gap.clamp(min=0).topk(min(TOP, gap.shape[1])).values


@functools.cache
def compiled_step() -> Callable[..., torch.Tensor]:
    config: Any = importlib.import_module("torch._dynamo").config
    config.recompile_limit = 256  # the default is 8 for one function, and then it would silently run uncompiled
    config.fail_on_recompile_limit_hit = True
    return torch.compile(plain_step, dynamic=False)


def blocks(n_img: int, n_txt: int, block: Block) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n_img, block[0]):
        for j in range(0, n_txt, block[1]):
            yield slice(i, min(i + block[0], n_img)), slice(j, min(j + block[1], n_txt))


def chunked(problem: Problem, block: Block, step: Callable[..., torch.Tensor]) -> Run:
    """Scores block by block. What is left over at the edges is always eager: nothing is compiled for it."""
    img, txt, tau, weight = problem.img, problem.txt, problem.tau, problem.weight
    block = (min(block[0], len(img)), min(block[1], len(txt)))

    def run() -> torch.Tensor:
        if weight == "top-16":
            out = tau.new_zeros(len(img), TOP)
        else:
            out = torch.zeros(len(img), dtype=torch.int64 if weight == "count" else torch.float32, device=img.device)
        for i, j in blocks(len(img), len(txt), block):
            full = (i.stop - i.start, j.stop - j.start) == block
            part = (step if full else eager_step)(img[i], txt[j], tau[j], weight)
            if weight == "top-16":
                out[i] = torch.cat([out[i], part], dim=1).topk(TOP).values
            else:
                out[i] += part
        return out.sum(1) if weight == "top-16" else out

    return run


def products(problem: Problem, block: Block) -> Run:
    """`torch.mm` alone, into one buffer: the rate of the library, which nothing that stores the products exceeds."""
    img, txt = problem.img, problem.txt
    block = (min(block[0], len(img)), min(block[1], len(txt)))

    def run() -> torch.Tensor:
        buffer = torch.empty(block[0] * block[1], dtype=img.dtype, device=img.device)
        for i, j in blocks(len(img), len(txt), block):
            n, m = i.stop - i.start, j.stop - j.start
            torch.mm(img[i], txt[j].T, out=buffer[: n * m].view(n, m))
        return buffer

    return run


# ---- Triton ----------------------------------------------------------------------------------------------------------


def triton_settings(dtype: str) -> tuple[Any, ...]:
    if not find_spec("triton"):
        return (None,)  # `fused` fails with the name of what is missing
    module = importlib.import_module("fused")
    return tuple(module.SETTINGS_FP32 if dtype == "fp32" else module.SETTINGS)


def fused(problem: Problem, setting: Any) -> Run:
    module = importlib.import_module("fused")
    tau = module.padded(problem.tau)
    return lambda: module.sum_weights(problem.img, problem.txt, tau, problem.weight, TEMPERATURE, setting)


# ---- hnscore ---------------------------------------------------------------------------------------------------------


def call(problem: Problem, setting: str, precision: str, similarity: str, method: str = "dense") -> Run:
    weight: dict[str, Any] = {"weight": problem.weight}
    if problem.weight == "top-16":
        weight = {"weight": "hinge", "aggregate": "topk", "k": TOP}
    elif problem.weight == "exp":
        weight["temperature"] = TEMPERATURE
    options: dict[str, Any] = {**weight, "precision": precision, "similarity": similarity, "method": method}
    on = problem.on
    img, txt, reference = on.put(problem.img), on.put(problem.txt), on.put(problem.tau.double())

    def run() -> torch.Tensor:
        return on.get(hnscore.score(img, txt, 0.0, reference=reference, **options))

    return run


# ---- All of them -----------------------------------------------------------------------------------------------------

MM, EAGER, COMPILED, TRITON = "torch.mm alone", "torch chunked", "torch.compile", "Triton"


def stored(p: Problem, s: torch.Tensor) -> torch.Tensor:
    return slack_of_peer(s, p.dtype, stores=True)


def not_stored(p: Problem, s: torch.Tensor) -> torch.Tensor:
    return slack_of_peer(s, p.dtype, stores=False)


def methods(dtype: str, weight: str, which: str) -> list[Method]:
    """The methods for one input. which: "first" has torch.mm and every way of hnscore to choose pairs; "peers" all
    peers, "compiled" torch.compile too, whose compiler takes its time."""
    mm = 3e14 if dtype == "fp32" else 6e14
    top = weight == "top-16"
    found = [Method(MM, BLOCKS, products, "", stored, mm, 2)]
    if which != "first":
        eager = functools.partial(chunked, step=eager_step)
        found.append(Method(EAGER, EAGER_BLOCKS, eager, "dot", stored, mm, 100 if top else 36))
    if which == "compiled":
        traffic = 90 if top else 8
        found.append(Method(COMPILED, BLOCKS, lambda p, b: chunked(p, b, compiled_step()), "dot", stored, mm, traffic))
    if which != "first" and not top:  # a list of the best in registers is more than a page of Triton
        found.append(Method(TRITON, triton_settings(dtype), fused, "dot", not_stored, 0.8 * mm))
    ours = [("exact", "dot"), ("exact", "cosine"), ("bf16", "dot"), ("fp32", "dot")]
    if dtype != "fp32":
        ours = [(dtype, "dot"), (dtype, "cosine"), ("exact", "dot")]
    for precision, similarity in ours:
        # Kernels that decide pairs one by one are chosen by how many there are; "auto" is what users get.
        decides = precision == "exact" and weight in ("hinge", "exp")
        for how in ("auto", "dense", "cascade")[: 3 if similarity == "dot" else 1] if decides else ("dense",):
            build = functools.partial(call, precision=precision, similarity=similarity, method=how)
            rate = 4e13 if precision == "fp32" or (decides and how == "dense") else 4e14
            off = functools.partial(slack_of_ours, precision=precision, similarity=similarity)
            name = f"hnscore {precision} {similarity}" + (f" {how}" if decides else "")
            found.append(Method(name, ("",), build, similarity, off, rate))
    return found


def slack_of_ours(p: Problem, s: torch.Tensor, precision: str, similarity: str) -> float:
    return slack(p.dtype, precision, similarity, p.img.shape[1], p.weight)
