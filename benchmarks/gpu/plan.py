"""What is measured, in which order and at which sizes, and what it is measured against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from peers import COMPILED, EAGER, MM, TRITON, Method, methods

MAIN, OTHERS = 512, (256, 768, 1024)  # depths
N_IMG, N_TXT = 1_000_000, 100_000
LONG, SHORT = 0.4, 0.05  # longest call in seconds: what is expected to take longer is timed on fewer images
CALLS = 3  # beside the rounds: the first two, and the trials of settings
COMPILES, LOADS = 5.0, 1.5  # seconds of torch.compile, and of everything else that is built at a first call
INPUTS = 1.5

FEW, FEWER = 0.01, 0.001  # of the pairs are inside

# In this order, the most telling first: what does not fit into the time is left out at the end.
# depths, dtype, weights, longest call, which methods (see peers.methods), share of the pairs that are inside
PARTS = (
    ((MAIN,), "bf16", ("count", "hinge"), LONG, "first", FEW),
    ((MAIN,), "fp32", ("count", "hinge"), SHORT, "first", FEWER),
    ((MAIN,), "bf16", ("count", "hinge"), LONG, "compiled", FEW),
    ((MAIN,), "fp32", ("count", "hinge"), SHORT, "compiled", FEW),
    ((MAIN,), "bf16", ("exp", "top-16"), SHORT, "compiled", FEW),
    (OTHERS, "bf16", ("count", "hinge"), SHORT, "peers", FEW),
    ((MAIN,), "fp16", ("count", "hinge"), SHORT, "compiled", FEW),
    (OTHERS, "fp32", ("count", "hinge"), SHORT, "peers", FEW),
    ((MAIN,), "fp32", ("exp", "top-16"), SHORT, "compiled", FEW),
    (OTHERS, "bf16", ("exp", "top-16"), SHORT, "peers", FEW),
    (OTHERS, "fp16", ("hinge",), SHORT, "peers", FEW),
    ((MAIN,), "fp16", ("exp", "top-16"), SHORT, "peers", FEW),
)


class Case(NamedTuple):
    """An input and a weight."""

    dim: int
    dtype: str
    weight: str
    n_img: int
    n_txt: int
    limit: float
    which: str
    share: float

    @property
    def name(self) -> str:
        more = {"first": ", first"}.get(self.which, "") + (f", {self.share:.1%} inside" if self.share != FEW else "")
        return f"D={self.dim} {self.dtype} {self.weight}{more}"

    def methods(self) -> list[Method]:
        return methods(self.dtype, self.weight, self.which)

    def expected(self, rounds: int) -> float:
        """Seconds, on the pessimistic side."""
        calls = (min(m.expected(self.n_img, self.n_txt, self.dim), self.limit) for m in self.methods())
        return sum(calls) * (rounds + CALLS) + LOADS + COMPILES * (self.which == "compiled")


def cases() -> Iterator[Case]:
    """In the order in which they are measured."""
    for dims, dtype, weights, limit, which, share in PARTS:
        for dim in dims:
            for weight in weights:
                yield Case(dim, dtype, weight, N_IMG, N_TXT, limit, which, share)


def expected(chosen: Iterable[Case], rounds: int) -> float:
    """Seconds for all of them."""
    total, dim = 0.0, 0
    for case in chosen:
        total += case.expected(rounds) + (INPUTS if case.dim != dim else 0)
        dim = case.dim
    return total


class Goal(NamedTuple):
    """hnscore at least `factor` times as fast as a peer, in these cases."""

    peer: str
    factor: float
    dims: tuple[int, ...]
    dtypes: tuple[str, ...]
    weights: tuple[str, ...]
    precision: str  # "own": the input's own

    def covers(self, case: Case, method: str) -> bool:
        precision = case.dtype if self.precision == "own" else self.precision
        at = case.dim in self.dims and case.dtype in self.dtypes and case.weight in self.weights and case.share == FEW
        # Where there are several ways to choose pairs, the goal is of the one that users get.
        own_way = not method.endswith((" dense", " cascade"))
        return at and own_way and method.startswith(f"hnscore {precision} ")


LOW, SUMS = ("bf16", "fp16"), ("count", "hinge")
GOALS = (
    Goal(MM, 0.92, (MAIN,), LOW, SUMS, "own"),
    Goal(MM, 0.85, (256,), LOW, SUMS, "own"),
    Goal(MM, 0.93, (768, 1024), LOW, SUMS, "own"),
    Goal(MM, 0.85, (MAIN,), LOW, ("exp",), "own"),
    Goal(MM, 0.75, (MAIN,), LOW, ("top-16",), "own"),
    Goal(EAGER, 2.0, (MAIN,), LOW, SUMS, "own"),
    Goal(COMPILED, 1.5, (MAIN,), LOW, SUMS, "own"),
    Goal(TRITON, 1.15, (MAIN,), LOW, SUMS, "own"),
    Goal(MM, 1.8, (MAIN, *OTHERS), ("fp32",), SUMS, "exact"),
)
MEMORY_GOAL = 100e6  # bytes beyond the inputs, at the full size
PEAK_GOAL = 0.75  # of the peak, for exact counts at depth 512
# FLOP/s of float16 products without sparsity, by what a name of a GPU holds, as its maker states them.
PEAKS = {"H200": 989.4e12, "H100 PCIe": 756.5e12, "H100": 989.4e12, "A100": 312e12}


def peak(gpu: str) -> float | None:
    return next((rate for name, rate in PEAKS.items() if name in gpu), None)
