"""Inputs of the benchmarks: seeded unit vectors and one threshold that a known share of the pairs passes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.2
TEMPERATURE = 0.05

Array = NDArray[Any]

_WEIGHTS: dict[str, Callable[[Array], Array]] = {
    "count": np.ones_like,
    "hinge": np.asarray,
    "exp": lambda gap: np.exp(gap / TEMPERATURE),
}


@dataclass(frozen=True)
class Workload:
    """Unit rows `img` (n_img, dim) and `txt` (n_txt, dim), and `reference` (n_txt,); tau = reference - MARGIN."""

    name: str
    img: Array
    txt: Array
    reference: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.img), len(self.txt), self.img.shape[1]

    @property
    def flops(self) -> float:
        n_img, n_txt, dim = self.shape
        return 2.0 * n_img * n_txt * dim

    @cached_property
    def tau(self) -> NDArray[np.float32]:
        """The threshold of every text, for the peers that subtract it in float32."""
        return (self.reference - MARGIN).astype(np.float32)

    def head(self, rows: int) -> "Workload":
        """The same texts and the first images."""
        return Workload(self.name, self.img[:rows], self.txt, self.reference)

    def truth(self, weight: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The float64 scores of some rows, one row at a time: no matrix of n_txt columns in memory but for one row."""
        txt = self.txt.astype(np.float64)
        txt /= np.linalg.norm(txt, axis=1, keepdims=True)
        tau = self.reference - MARGIN
        scores = np.empty(len(rows))
        for out, row in enumerate(rows):
            x = self.img[row].astype(np.float64)
            gap = txt @ (x / np.linalg.norm(x)) - tau
            scores[out] = _WEIGHTS[weight](gap[gap > 0]).sum()
        return scores


def gaussian(n_img: int, n_txt: int, dim: int, passing: float = 0.01, seed: int = 1) -> Workload:
    """Rows of independent normals, normalised: a share `passing` of the similarities lies above the threshold.

    Two such rows have similarity of mean 0 and variance 1/dim, nearly normal. The threshold is the same for every text,
    because FAISS knows only one; all other methods read it as an array. It is a float32 number, so that no method
    is charged for rounding it.
    """
    rng = np.random.default_rng(seed)
    tau = np.float64(np.float32(-NormalDist().inv_cdf(passing) / np.sqrt(dim)))
    return Workload(
        f"{n_img} x {n_txt} x {dim}", _unit(rng, n_img, dim), _unit(rng, n_txt, dim), np.full(n_txt, tau + MARGIN)
    )


def _unit(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    return normalise(rng.standard_normal((rows, dim), np.float32))


def clustered(n: int, dim: int, dtype: type[np.floating[Any]] = np.float32) -> Workload:
    """Unit rows in clusters of about 500, each off its centre by a normal of norm 0 to 1; made in blocks.

    `reference`: scores of the rows, many small and few large, those of a cluster alike.
    """
    rng = np.random.default_rng(6)
    centre = rng.integers(max(n // 500, 1), size=n)
    centres = _unit(rng, centre.max(initial=0) + 1, dim)
    scores = rng.exponential(size=len(centres))[centre] * rng.exponential(size=n)
    emb = np.empty((n, dim), dtype)
    for start in range(0, n, 65536):
        block = slice(start, start + 65536)
        moved = rng.standard_normal((len(emb[block]), dim), np.float32)
        moved *= rng.random((len(moved), 1), np.float32) / np.float32(np.sqrt(dim))
        moved += centres[centre[block]]
        emb[block] = normalise(moved)
    return Workload(f"{n} x {dim}, clustered", emb, emb[:0], scores)


def normalise(emb: NDArray[np.float32]) -> NDArray[np.float32]:
    """In place: the largest workloads fill much of the memory."""
    for start in range(0, len(emb), 65536):
        block = emb[start : start + 65536]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return emb
