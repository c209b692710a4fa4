"""The first minutes on a GPU: every kernel at the sizes that only time reaches, on integers whose sums are exact.

python benchmarks/gpu/first_check.py                    every case; stops at the first that hangs or crashes
python benchmarks/gpu/first_check.py --device emulated  a rehearsal, at sizes for two clusters

Small integers have no rounding at any step. So every score must be the float64 score to the last bit, in each of many
repetitions: a difference is a wrong tile or a race, never arithmetic. Each group of sizes is a process of its own, with
a limit, and every case is named before it runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from devices import NAMES, Cpu, device
from small import hinge_of_pairs

import hnscore

ROWS = 256  # of a cluster's item
BLOCK_ROWS, WARP_ROWS = 128, 16
# Rows stay up to 512, in a ring longer than a tile up to 256; beyond, they pass through the ring.
DEPTHS = (64, 128, 256, 320, 512, 520, 768, 1024)
TEMPERATURE = 8.0
REPEATS = 10
LIMIT = 60.0  # seconds of a group


class Rule(NamedTuple):
    """A call, and the kernel that it runs."""

    kernel: str
    precision: str
    weight: str
    method: str = "dense"


RULES = (
    Rule("Rounded<Hinge>", "bf16", "hinge"),
    Rule("Rounded<Similarity>", "fp16", "similarity"),
    Rule("Rounded<SquaredHinge>", "bf16", "squared_hinge"),
    Rule("Rounded<Count>", "fp16", "count"),
    Rule("Rounded<Exp>", "bf16", "exp"),
    Rule("ExactCount", "exact", "count"),
    Rule("Screen", "exact", "hinge", "cascade"),
    Rule("Screen or Accurate<Hinge>", "exact", "hinge", "auto"),
    Rule("Accurate<Hinge>", "exact", "hinge"),
    Rule("Top", "bf16", "top"),
    Rule("Top, decided", "exact", "top"),
    Rule("List", "bf16", "pairs"),
    Rule("List, decided", "exact", "pairs"),
)


class Case(NamedTuple):
    n_img: int
    n_txt: int
    dim: int


def groups(clusters: int) -> list[list[Case]]:
    """Few rows; two items and a third for some clusters; several chunks of texts."""
    many = 2 * clusters * ROWS + 77
    if clusters < 8:  # a rehearsal
        return [
            [Case(130, 100, 37), Case(130, 100, 520)],
            [Case(many, 20, dim) for dim in (64, 320, 520)],
            [Case(20, 8300, 64)],
        ]
    return [
        [Case(130, 300, dim) for dim in (37, 64, 512, 520, 1024)],
        [Case(many, 700, dim) for dim in DEPTHS[:5]],
        [Case(many, 700, dim) for dim in DEPTHS[5:]],
        [Case(600, 20_000, dim) for dim in (128, 512, 768)],
    ]


class Data:
    """Rows of -1, 0 and 1, thresholds between two integers, and the float64 scores."""

    def __init__(self, case: Case, home: str) -> None:
        generator = torch.Generator().manual_seed(case.dim + case.n_img)
        sides = (torch.randint(-1, 2, (n, case.dim), generator=generator).float() for n in case[:2])
        self.img, self.txt = (x.to(home) for x in sides)
        self.img[:, 0] = self.txt[:, 0] = 1  # no zero rows
        s = torch.cat([part.double() @ self.txt.double().T for part in self.img.split(4096)])
        # Few pairs inside, for the kernels that decide pairs one by one; a half, so that no pair is near it.
        tau = float(s.flatten()[:: max(s.numel() // 1000, 1)].quantile(0.995).floor()) + 0.5
        self.tau = torch.full((case.n_txt,), tau, dtype=torch.float64, device=home)
        gap = (s - tau).clamp(min=0)
        self.k = min(3, case.n_txt)
        self.right = {
            "hinge": gap.sum(1),
            "squared_hinge": (gap * gap).sum(1),
            "count": (gap > 0).sum(1).double(),
            "similarity": torch.where(gap > 0, s, 0).sum(1),
            "exp": torch.where(gap > 0, torch.exp(gap / TEMPERATURE), 0).sum(1),
            "top": gap.topk(self.k).values.sum(1),
            "pairs": gap.sum(1),
        }


def check(data: Data, rule: Rule, on: Cpu, repeats: int) -> str:
    """What is wrong, in words; "" where nothing is."""
    options: dict[str, Any] = {"weight": rule.weight, "precision": rule.precision, "method": rule.method}
    if rule.weight == "top":
        options |= {"weight": "hinge", "aggregate": "topk", "k": data.k}
    if rule.weight == "exp":
        options["temperature"] = TEMPERATURE
    dtype = torch.float16 if rule.precision == "fp16" else torch.bfloat16
    img, txt, tau = on.put(data.img.to(dtype)), on.put(data.txt.to(dtype)), on.put(data.tau)
    right, first = data.right[rule.weight], None
    for repeat in range(repeats):
        if rule.weight == "pairs":
            got = hinge_of_pairs(img, txt, tau, on, similarity="dot", precision=rule.precision)
        else:
            got = on.get(hnscore.score(img, txt, 0.0, reference=tau, similarity="dot", **options)).double()
        wrong = got != right
        if rule.weight == "exp":  # ex2 and float32 sums: 2^-22 of each weight, and once more for each of 20,000 sums
            wrong = ~((got - right).abs() <= right * 2.0**-18)
        if first is not None:
            wrong |= got != first
        first = got
        if wrong.any():
            i = int(wrong.nonzero()[0])
            place = f"row block {i // ROWS}, block {i // BLOCK_ROWS % 2}, warp {i % BLOCK_ROWS // WARP_ROWS}"
            return (
                f"WRONG in repetition {repeat}: {int(wrong.sum())} of {len(wrong)} rows, the first is {i} ({place}): "
                f"{float(got[i])} for {float(right[i])}"
            )
    return ""


def leak(data: Data, on: Cpu) -> str:
    """Memory that calls do not give back."""
    img, txt, tau = on.put(data.img), on.put(data.txt), on.put(data.tau)

    def call() -> None:
        hnscore.score(img, txt, 0.0, reference=tau, similarity="dot")
        on.synchronize()

    for _ in range(2):
        call()
    before = on.memory_used()
    for _ in range(5):
        call()
    lost = on.memory_used() - before
    return f"LEAK: 5 calls keep {lost} bytes" if lost > 0 else ""


def lost_in_sums(on: Cpu, dim: int) -> str:
    """What the tensor cores lose of a sum, beside what exact counts allow for: backend.cu, rounding_of_sums."""
    generator = torch.Generator().manual_seed(dim)
    worst = 0.0
    for rows in (torch.randn(2048, dim, generator=generator), torch.rand(2048, dim, generator=generator) + 0.5):
        img, txt = rows.half().to(on.home), rows[:1].half().to(on.home)
        tau = torch.full((1,), -1e6, dtype=torch.float64, device=on.home)
        options: dict[str, Any] = {"weight": "similarity", "precision": "fp16", "similarity": "dot"}
        got = on.get(hnscore.score(on.put(img), on.put(txt), 0.0, reference=on.put(tau), **options)).double()
        norms = img.double().norm(dim=1) * txt.double().norm()
        worst = max(worst, float(((got - (img.double() @ txt.double().T)[:, 0]).abs() / norms).max()))
    claimed = (4 * dim + 32) * 2.0**-24
    said = f"sums of {dim} products lose {worst:.2e} of the norms at most, {claimed:.2e} are claimed"
    return f"WRONG: {said}" if worst > claimed else said


def run_group(number: int, on: Cpu, repeats: int) -> Iterator[str]:
    """Lines to print: a name before each case, and what came of it."""
    for case in groups(on.clusters)[number]:
        yield f"{case.n_img} x {case.n_txt} x {case.dim}, data: "
        data = Data(case, on.home)
        yield "made\n"
        for rule in RULES:
            if rule.precision == "fp16" and not on.has_fp16:
                continue
            yield f"{case.n_img} x {case.n_txt} x {case.dim} {rule.kernel} ({', '.join(rule[1:])}): "
            began = time.monotonic()
            try:
                said = check(data, rule, on, repeats)
                on.synchronize()
            except RuntimeError as failure:
                yield f"FAILED: {' '.join(str(failure).split())[:600]}\n"
                if hang := on.hangs():
                    yield f"HANG: {hang}\n"
                return
            yield f"{said or f'right {repeats} times'}, {time.monotonic() - began:.2f} s\n"
    if number == 0:
        yield "memory after calls: "
        yield f"{leak(data, on) or 'as before'}\n"
        if on.has_fp16:
            for dim in (512, 4096) if on.clusters >= 8 else (512,):
                yield f"sums of {dim} products: "
                yield f"{lost_in_sums(on, dim)}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=NAMES, default="cuda")
    parser.add_argument("--repeats", type=int, help=f"default: {REPEATS}; 2 on the emulated GPU")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of a group (default: %(default)s)")
    parser.add_argument("--group", type=int, help="only this one, in this process")
    args = parser.parse_args()
    repeats = args.repeats or (REPEATS if args.device == "cuda" else 2)
    if args.group is not None:
        failed, name = [], ""
        for text in run_group(args.group, device(args.device), repeats):
            print(text, end="", flush=True)
            if text.startswith(("WRONG", "LEAK", "FAILED")):
                failed.append(f"{name}{text.strip()[:200]}")
            name = text
        for line in failed[:3]:
            print(f"not right: {line}", flush=True)
        return int(bool(failed))
    for number in range(len(groups(device(args.device).clusters))):
        words = ["--group", str(number), "--device", args.device, "--repeats", str(repeats)]
        try:
            status = subprocess.run([sys.executable, __file__, *words], timeout=args.limit).returncode
        except subprocess.TimeoutExpired:
            print(f"\nSTOPPED after {args.limit:g} s: the case named last hangs, or the limit is too short", flush=True)
            return 2
        if status:
            print(f"FIRST CHECK FAILED in group {number}, exit {status}; what is above says where", flush=True)
            return 1
    print("first check passed: every score is the float64 score")
    return 0


if __name__ == "__main__":
    sys.exit(main())
