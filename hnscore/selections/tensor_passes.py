"""Bounds on the gains of all rows, from passes over all pairs by torch: for embeddings on a GPU.

Everything is float32 and rounded towards more; what is picked is decided as for any other pool.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_PAIRS = 2**25  # at a time, 4 bytes each
_UNIT = 2.0**-24
# What a product may lose where torch is allowed to round its factors: to TF32, or to bfloat16 (one, or a sum of them).
_ROUNDED = {"highest": 0.0, "high": 2.0**-9, "medium": 2.0**-6}
_LEAST_FLOAT32 = 2.0**-126


class TensorPasses:
    """Over the rows of a tensor (n, dim), finite and not zero, and some of them as points."""

    def __init__(
        self,
        emb: torch.Tensor,
        points: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        temperature: float | None,
    ) -> None:
        self._emb, self._temperature = emb.detach(), temperature
        self._points = unit_rows(self._emb[self._there(points)])
        self._total = float(len(points) if weights is None else weights.sum())
        self._weights = None if weights is None else self._there(_rounded(weights, np.inf))

    def error(self) -> float:
        """Of a kernel: of the cosine absolute; of the exponential relative, before its exponential."""
        import torch

        try:
            rounded = _ROUNDED[torch.get_float32_matmul_precision()]
        except RuntimeError:  # set in parts
            rounded = _ROUNDED["medium"]
        # A value: scaled, over a norm of dim terms; a sum of dim products.
        error = (2 * self._emb.shape[1] + 20) * _UNIT + rounded
        return error if self._temperature is None else (error + 8 * _UNIT) / self._temperature + 4 * _UNIT

    def bounds(self, floor: NDArray[np.float64], progress: Any = None) -> NDArray[np.float64]:
        """At least sum_x weight(x) max(k(x, c) - floor(x), 0) of each row c."""
        import torch

        n, error = self._emb.shape[0], self.error()
        covered = self._there(_rounded(floor, -np.inf))
        out = np.empty(n)
        step = max(1, _PAIRS // len(floor))
        for first in range(0, n, step):
            rows = unit_rows(self._emb[first : first + step])
            with torch.autocast(rows.device.type, enabled=False):  # which would multiply in half precision
                k = rows @ self._points.T
            if self._temperature is None:
                k.add_(error)
            else:
                k.sub_(1).div_(self._temperature).exp_().mul_((1 + math.expm1(error)) * (1 + 2.0**-20))
            k.sub_(covered).clamp_(min=0)
            if self._weights is not None:
                k.mul_(self._weights)
            out[first : first + step] = np.asarray(k.sum(dim=1, dtype=torch.float64).cpu())
            if progress is not None:
                progress(min(first + step, n) / n)
        return out * (1 + 2.0**-20) + self._total * _LEAST_FLOAT32

    def _there(self, x: NDArray[Any]) -> torch.Tensor:
        """Where the embeddings are."""
        import torch

        return self._emb.new_tensor(x, dtype=torch.from_numpy(x).dtype)


def unit_rows(x: torch.Tensor) -> torch.Tensor:
    """Each over its largest value, then over its norm, in float32."""
    if not x.is_floating_point() or x.element_size() < 4:
        x = x.float()
    scaled = (x / x.abs().amax(dim=1, keepdim=True)).float()
    unit: torch.Tensor = scaled / scaled.norm(dim=1, keepdim=True)
    return unit


def _rounded(x: NDArray[np.float64], towards: float) -> NDArray[np.float32]:
    """As float32, on that side."""
    rounded: NDArray[np.float32] = np.nextafter(x.astype(np.float32), np.float32(towards))
    return rounded
