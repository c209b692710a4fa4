"""Every kernel once at small awkward sizes, checked against float64; small enough for compute-sanitizer.

python benchmarks/gpu/small.py           prints a line per case, exits with 1 if one is wrong
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from peers import DTYPES

import hnscore

TEMPERATURE, K = 0.1, 3
# One of each; tails of every tile; several tiles along texts and depth; more than one chunk of texts; depths that fill
# no tile and no 16 bytes.
SIZES = ((1, 1, 1), (17, 33, 5), (130, 300, 64), (260, 1100, 200), (65, 8200, 40))
SUMS: dict[str, dict[str, Any]] = {
    "count": {"weight": "count"},
    "hinge": {"weight": "hinge"},
    "exp": {"weight": "exp", "temperature": TEMPERATURE},
    "top": {"weight": "hinge", "aggregate": "topk", "k": K},
}


class Case(NamedTuple):
    size: tuple[int, int, int]
    dtype: str
    precision: str
    similarity: str
    sums: str

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.size))} {self.dtype} {self.precision} {self.similarity} {self.sums}"


def cases() -> Iterator[Case]:
    for size in SIZES:
        for dtype, precision in (("bf16", "bf16"), ("fp16", "fp16"), ("fp32", "exact"), ("bf16", "exact")):
            for similarity in ("dot", "cosine"):
                for sums in SUMS:
                    yield Case(size, dtype, precision, similarity, sums)
        for sums in SUMS:
            yield Case(size, "fp32", "fp32", "cosine", sums)


def check(case: Case, device: str) -> None:
    """AssertionError where a score is not between those of gaps a little smaller and a little larger."""
    n_img, n_txt, dim = case.size
    generator = torch.Generator().manual_seed(n_img + n_txt + dim)
    rows = torch.randn(n_img + n_txt, dim, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    img, txt = rows.to(DTYPES[case.dtype]).split((n_img, n_txt))
    x, t = img.double(), txt.double()
    if case.similarity == "cosine":
        x, t = x / x.norm(dim=1, keepdim=True), t / t.norm(dim=1, keepdim=True)
    tau = torch.linspace(-0.2, 0.3, n_txt).double()
    gap = x @ t.T - tau
    top = {"k": min(K, n_txt)} if case.sums == "top" else {}
    options = {**SUMS[case.sums], **top, "precision": case.precision, "similarity": case.similarity, "method": "dense"}
    scores = hnscore.score(img.to(device), txt.to(device), 0.0, reference=tau.to(device), **options).cpu().double()
    d = slack(case)
    # Float32 sums, and the result rounded to float32; the weights of a pair differ by less than their own slack.
    rounding = 2.0**-18
    low, high = reduced(gap - d, case.sums), reduced(gap + d, case.sums)
    assert scores.shape == (n_img,), f"{case}: shape {tuple(scores.shape)}"
    wrong = (scores < low * (1 - rounding) - 1e-30) | (scores > high * (1 + rounding) + 1e-30)
    if wrong.any():
        i = int(wrong.nonzero()[0])
        between = f"{float(scores[i])} is not in {float(low[i])} to {float(high[i])}"
        raise AssertionError(f"{case}: {int(wrong.sum())} scores are wrong, the first of image {i}: {between}")


def slack(case: Case) -> float:
    """How far a similarity of unit rows may be off: of float32 sums, and of rows rounded to 8 or 11 bits."""
    if case.precision == "exact":
        return 2.0**-20 if case.sums != "count" else 1e-13  # counts are exact; no gap of these inputs is as small
    sums = case.size[2] * 2.0**-22
    if case.similarity == "dot" and case.precision == case.dtype:
        return sums  # the products of the given values are exact
    return sums + {"bf16": 2.0**-7, "fp16": 2.0**-10, "fp32": 2.0**-21}[case.precision]


def reduced(gap: torch.Tensor, sums: str) -> torch.Tensor:
    if sums == "count":
        return (gap > 0).double().sum(1)
    if sums == "exp":
        return torch.where(gap > 0, torch.exp(gap / TEMPERATURE), 0).sum(1)
    gap = gap.clamp(min=0)
    return gap.sum(1) if sums == "hinge" else gap.topk(min(K, gap.shape[1])).values.sum(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", default="", metavar="TEXT", help='cases whose name holds this, like "bf16 dot"')
    args = parser.parse_args()
    wrong = total = 0
    for case in cases():
        if args.only in str(case):
            total += 1
            try:
                check(case, args.device)
                print(f"right: {case}", flush=True)
            except Exception as failure:  # the others may still say something
                wrong += 1
                print(f"WRONG: {case}: {' '.join(str(failure).split())}", flush=True)
    print(f"{total - wrong} of {total} cases are right")
    return 1 if wrong or not total else 0


if __name__ == "__main__":
    sys.exit(main())
