"""Every kernel once at small awkward sizes, checked against float64; small enough for compute-sanitizer.

python benchmarks/gpu/small.py           prints a line per case, exits with 1 if one is wrong
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from bounds import ROUNDING, between, complaint, slack
from devices import NAMES, Cpu, device
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
# In one precision and similarity: their kernels differ from those of hinge in the weight alone.
MORE_SUMS: dict[str, dict[str, Any]] = {
    "squared_hinge": {"weight": "squared_hinge"},
    "similarity": {"weight": "similarity"},
}


# Of each text, over the images: the most similar image that is not its own, and its own.
REFERENCES = ("hardest", "positive")


class Case(NamedTuple):
    size: tuple[int, int, int]
    dtype: str
    precision: str
    similarity: str
    sums: str
    method: str = "dense"

    def __str__(self) -> str:
        words = [self.dtype, self.precision, self.similarity, self.sums]
        return " ".join(["x".join(map(str, self.size)), *words, *([] if self.method == "dense" else [self.method])])


def cases() -> Iterator[Case]:
    for size in SIZES:
        for dtype, precision in (("bf16", "bf16"), ("fp16", "fp16"), ("fp32", "exact"), ("bf16", "exact")):
            for similarity in ("dot", "cosine"):
                for sums in SUMS:
                    yield Case(size, dtype, precision, similarity, sums)
        for sums in SUMS:
            yield Case(size, "fp32", "fp32", "cosine", sums)
        for sums in MORE_SUMS:
            yield Case(size, "fp16", "fp16", "dot", sums)
            yield Case(size, "fp32", "exact", "cosine", sums)
        for dtype, precision in (("bf16", "bf16"), ("fp16", "fp16"), ("fp32", "exact"), ("fp32", "fp32")):
            yield Case(size, dtype, precision, "cosine", "pairs")
        for method in ("cascade", "auto"):
            yield Case(size, "fp32", "exact", "cosine", "hinge", method)
        for kind in REFERENCES if size[0] > 1 else ():
            yield Case(size, "fp32", "exact", "cosine", kind)


def check(case: Case, on: Cpu) -> None:
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
    s = x @ t.T
    if case.sums in REFERENCES:
        own = torch.arange(n_txt) % n_img
        right = s[own, torch.arange(n_txt)]
        if case.sums == "hardest":
            right = s.index_put((own, torch.arange(n_txt)), torch.tensor(-2.0).double()).max(0).values
        images, texts = on.put(img.to(on.home)), on.put(txt.to(on.home))
        found = on.get(hnscore.reference_similarity(images, texts, owner=own.numpy(), kind=case.sums)).cpu()
        off = 2.0**-48  # these are of rows that were rounded when they were normalised
        wrong = complaint(found, right - off, right + off, 0.0)
        assert not wrong, f"{case}: {wrong}"
        return
    lists = case.sums == "pairs"
    options = {} if lists else {**SUMS, **MORE_SUMS}[case.sums] | ({"k": min(K, n_txt)} if case.sums == "top" else {})
    options |= {"precision": case.precision, "similarity": case.similarity, "method": case.method}
    img, txt, reference = (on.put(v.to(on.home)) for v in (img, txt, tau))
    if lists:
        scores = hinge_of_pairs(img, txt, reference, on, **options).cpu()
    else:
        scores = on.get(hnscore.score(img, txt, 0.0, reference=reference, **options)).cpu().double()
    weight = "hinge" if lists else case.sums
    off = slack(case.dtype, case.precision, case.similarity, dim, weight)
    bounds = between(s - tau, s, off, weight, TEMPERATURE, K)
    assert scores.shape == (n_img,), f"{case}: shape {tuple(scores.shape)}"
    wrong = complaint(scores, *bounds, ROUNDING)
    assert not wrong, f"{case}: {wrong}"


def hinge_of_pairs(img: Any, txt: Any, tau: Any, on: Cpu, **options: Any) -> torch.Tensor:
    """What the weights "hinge" of the listed pairs add up to."""
    found = hnscore.pairs(img, txt, 0.0, reference=tau, dtype="float64", **options)
    offsets, indices, similarities = (on.get(x) for x in found)
    images = torch.repeat_interleave(torch.arange(len(offsets) - 1, device=offsets.device), offsets.diff())
    sums = torch.zeros(len(offsets) - 1, dtype=torch.float64, device=offsets.device)
    return sums.index_add(0, images, similarities - on.get(tau)[indices])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=NAMES, default="cuda")
    parser.add_argument("--only", default="", metavar="TEXT", help='cases whose name holds this, like "bf16 dot"')
    args = parser.parse_args()
    on = device(args.device)
    wrong = []
    total = 0
    for case in cases():
        if args.only in str(case) and (on.has_fp16 or case.precision != "fp16"):
            total += 1
            print(f"{case}: ", end="", flush=True)
            try:
                check(case, on)
                print("right", flush=True)
            except Exception as failure:  # the others may still say something
                wrong.append(str(case))
                print(f"WRONG: {' '.join(str(failure).split())}", flush=True)
    print(f"{total - len(wrong)} of {total} cases are right" + "".join(f"; not {case}" for case in wrong[:3]))
    return 1 if wrong or not total else 0


if __name__ == "__main__":
    sys.exit(main())
