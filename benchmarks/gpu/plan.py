"""What is measured, in which order and at which sizes, and what it is measured against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from peers import COMPILED, EAGER, MM, TRITON, Method, methods

MAIN, OTHERS = 512, (256, 768, 1024)  # depths
N_IMG, N_TXT = 1_000_000, 100_000
QUICK = (65_536, 16_384)
LONG, SHORT = 0.4, 0.05  # longest call in seconds: what is expected to take longer is timed on fewer images
CALLS = 3  # beside the rounds: the first two, and the trials of settings
COMPILES, LOADS = 5.0, 1.5  # seconds of torch.compile, and of everything else that is built at a first call
INPUTS = 1.5

# In this order, the most telling first: what does not fit into the time is left out at the end.
# depths, dtype, weights, longest call, is torch.compile among the peers?
PARTS = (
    ((MAIN,), "bf16", ("count", "hinge"), LONG, True),
    ((MAIN,), "fp32", ("count", "hinge"), SHORT, True),
    ((MAIN,), "bf16", ("exp", "top-16"), SHORT, True),
    (OTHERS, "bf16", ("count", "hinge"), SHORT, False),
    ((MAIN,), "fp16", ("count", "hinge"), SHORT, True),
    (OTHERS, "fp32", ("count", "hinge"), SHORT, False),
    ((MAIN,), "fp32", ("exp", "top-16"), SHORT, True),
    (OTHERS, "bf16", ("exp", "top-16"), SHORT, False),
    (OTHERS, "fp16", ("hinge",), SHORT, False),
    ((MAIN,), "fp16", ("exp", "top-16"), SHORT, False),
)


class Case(NamedTuple):
    """An input and a weight."""

    dim: int
    dtype: str
    weight: str
    n_img: int
    n_txt: int
    limit: float
    compiles: bool

    @property
    def name(self) -> str:
        return f"D={self.dim} {self.dtype} {self.weight}"

    def methods(self) -> list[Method]:
        return methods(self.dtype, self.weight, self.compiles)

    def expected(self, rounds: int) -> float:
        """Seconds, on the pessimistic side."""
        calls = (min(m.expected(self.n_img, self.n_txt, self.dim), self.limit) for m in self.methods())
        return sum(calls) * (rounds + CALLS) + LOADS + COMPILES * self.compiles


def cases(quick: bool = False) -> Iterator[Case]:
    """In the order in which they are measured; quick: only the first three parts, small."""
    n_img, n_txt = QUICK if quick else (N_IMG, N_TXT)
    for dims, dtype, weights, limit, compiles in PARTS[: 3 if quick else None]:
        for dim in dims:
            for weight in weights:
                yield Case(dim, dtype, weight, n_img, n_txt, limit, compiles)


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
        at = case.dim in self.dims and case.dtype in self.dtypes and case.weight in self.weights
        return at and method.startswith(f"hnscore {precision} ")


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
