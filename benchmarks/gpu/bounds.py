"""Between what a score must be: from the float64 pairs, and from how far a similarity of a method may be off."""

from __future__ import annotations

import torch

# Sums in float32, in any order, of the pairs that count (about 1,000 of 100,000), relative to the result.
ROUNDING_OF_PEERS = 2.0**-12
ROUNDING = 2.0**-18  # hnscore adds in float64 from tile to tile, and rounds the result to float32
# Of a value rounded to a dtype, relative: half a unit in the last place, of tf32 for float32 products on tensor cores.
HALF_UNIT = {"bf16": 2.0**-9, "fp16": 2.0**-12, "fp32": 2.0**-12}


def slack(dtype: str, precision: str, similarity: str, dim: int, weight: str) -> float:
    """How far a similarity of unit rows may be off in hnscore: of float32 sums, and of rows rounded to 8 or 11 bits."""
    if precision == "exact":
        return 2.0**-20 if weight != "count" else 1e-13  # counts are exact; no gap of these inputs is as small
    sums = dim * 2.0**-22
    if similarity == "dot" and precision == dtype:
        return sums  # the products of the given values are exact
    return sums + {"bf16": 2.0**-7, "fp16": 2.0**-10, "fp32": 2.0**-21}[precision]


def slack_of_peer(s: torch.Tensor, dtype: str, stores: bool) -> torch.Tensor:
    """The same of a peer: products are float32 sums on tensor cores, of operands in tf32 where the input is float32.
    `stores`: they are rounded to the input's dtype, as partial sums may have been before."""
    off = torch.full_like(s, 2.0**-12)  # float32 sums of 1024 products
    if dtype == "fp32":
        return off + 2 * HALF_UNIT["fp32"]
    return off + 4 * HALF_UNIT[dtype] * s.abs() if stores else off


def between(
    gap: torch.Tensor, s: torch.Tensor, off: torch.Tensor | float, weight: str, temperature: float, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the largest score of each row, where every similarity may be off by `off`: (n,), float64.

    weight: count, hinge, squared_hinge, similarity, exp, or top for the k largest gaps.
    """
    if weight == "top":
        low, high = ((gap + side).clamp(min=0).topk(min(k, gap.shape[1])).values.sum(1) for side in (-off, off))
        return low, high
    sums = []
    for sign in (-1, 1):
        moved = gap + sign * off
        if weight == "count":
            w = torch.ones_like(gap)
        elif weight == "exp":
            w = torch.exp(moved / temperature)
        elif weight == "similarity":
            w = s + sign * off
        else:
            w = moved.clamp(min=0) ** (2 if weight == "squared_hinge" else 1)
        # A pair too close to call adds the least of nothing and its weight, or the most.
        unsure = w.clamp(max=0) if sign < 0 else w.clamp(min=0)
        sums.append(torch.where(gap > off, w, torch.where(gap > -off, unsure, 0)).sum(1))
    return sums[0], sums[1]


def complaint(
    scores: torch.Tensor, low: torch.Tensor, high: torch.Tensor, rounding: float, images: torch.Tensor | None = None
) -> str:
    """The first score that is not between its bounds, of `images` or of all; "" where all are."""
    below, above = low - low.abs() * rounding - 1e-30, high + high.abs() * rounding + 1e-30
    wrong = ~((scores >= below) & (scores <= above))  # NaN is wrong
    if not wrong.any():
        return ""
    i = int(wrong.nonzero()[0])
    image = i if images is None else int(images[i])
    return (
        f"{int(wrong.sum())} of {len(scores)} scores are wrong, the first of image {image}: "
        f"{float(scores[i])} is not in {float(low[i])} to {float(high[i])}"
    )
