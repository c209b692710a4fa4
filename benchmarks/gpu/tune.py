"""What only a measurement decides (csrc/cuda/tiles/tuning.h): each choice beside the default, in one process.

python benchmarks/gpu/tune.py            a line per choice, and what to write into tuning.h
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from statistics import median
from typing import Any, NamedTuple

import torch
from devices import Cpu, device
from peers import Run, call
from timing import problem, thresholds, unit_rows

from hnscore.bench.report import Row, table

MARGIN = 1.01  # a choice that is not faster by this is no reason to change a default


class Trial(NamedTuple):
    """Choices for one kind of call. `question` is what the default would be changed for."""

    question: str
    dim: int
    dtype: str
    weight: str
    choices: tuple[dict[str, Any], ...]


APART: tuple[dict[str, Any], ...] = ({"apart": "lead"}, {"apart": "ordered"})
RESIDENT: tuple[dict[str, Any], ...] = ({"resident_steps": 7}, {"resident_steps": 6}, {"resident_steps": 4})
TRIALS = (
    Trial("apart", 512, "bf16", "hinge", APART),
    Trial("apart", 512, "bf16", "exp", APART),
    Trial("resident_steps", 512, "bf16", "hinge", RESIDENT),
    Trial("resident_steps", 448, "bf16", "hinge", RESIDENT[1:]),
    Trial("most_stages", 256, "bf16", "hinge", ({"most_stages": 4}, {"most_stages": 3})),
    Trial("apart", 1024, "bf16", "hinge", APART),
    Trial("apart", 256, "bf16", "count", APART),
)
# From which share of the pairs on float32 tiles beat the screen: the inverse is few_share.
SHARES = (0.03, 0.01, 0.003)


def named(choice: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in choice.items()) or "default"


def compared(runs: dict[str, Run], on: Cpu, rounds: int) -> dict[str, list[float]]:
    """Seconds of each, in rounds in which each is called once, in a shuffled order."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        print(f"  {name}", flush=True)  # the one that is named last is the one that hangs
        run()
    for number in range(rounds):
        order = [*runs]
        random.Random(number).shuffle(order)
        for name in order:
            seconds[name].append(on.elapsed(runs[name]))
    return seconds


def trial(t: Trial, on: Cpu, n_img: int, n_txt: int, rounds: int) -> list[Row]:
    gpu: Any = on.gpu  # type: ignore[attr-defined]
    default = gpu.tuning()
    img, txt = (unit_rows(n, t.dim, seed, on.home) for seed, n in enumerate((n_img, n_txt)))
    score = call(problem(img, txt, thresholds(img, txt, 0.01), t.dtype, t.weight, on), "", t.dtype, "dot")

    def tuned(choice: dict[str, Any]) -> Run:
        def run() -> torch.Tensor:
            gpu.set_tuning(**default | choice)
            return score()

        return run

    choices = ({}, *t.choices)
    try:
        right = tuned({})()
        wrong = [named(c) for c in t.choices if not torch.equal(tuned(c)(), right)]
        seconds = compared({named(c): tuned(c) for c in choices}, on, rounds)
    finally:
        gpu.set_tuning(**default)
    base = seconds["default"]
    rows = []
    for name, times in seconds.items():
        faster = median(a / b for a, b in zip(base, times, strict=True))
        verdict = "WRONG" if name in wrong else "" if name == "default" else "take it" if faster > MARGIN else "no"
        what = f"{t.question}: D={t.dim} {t.dtype} {t.weight}"
        rows.append({"question": what, "choice": name, "ms": f"{1e3 * median(times):.2f}",
                     "times as fast": f"{faster:.3f}", "decision": verdict})  # fmt: skip
    return rows


def shares(on: Cpu, n_img: int, n_txt: int, rounds: int) -> list[Row]:
    rows = []
    img, txt = (unit_rows(n, 512, seed, on.home) for seed, n in enumerate((n_img, n_txt)))
    for share in SHARES:
        p = problem(img, txt, thresholds(img, txt, share), "fp32", "hinge", on)
        seconds = compared({how: call(p, "", "exact", "dot", how) for how in ("dense", "cascade")}, on, rounds)
        faster = median(a / b for a, b in zip(seconds["dense"], seconds["cascade"], strict=True))
        best = f"few_share at most {1 / share:.0f}" if faster > 1 else f"few_share above {1 / share:.0f}"
        rows.append({"question": f"few_share: D=512 fp32 hinge, {share:.1%} inside", "choice": "cascade beside dense",
                     "ms": f"{1e3 * median(seconds['cascade']):.2f}", "times as fast": f"{faster:.3f}",
                     "decision": best})  # fmt: skip
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "emulated"), default="cuda")
    parser.add_argument("--n-img", type=int, default=135_168, help="default: %(default)s, 8 waves of an H100")
    parser.add_argument("--n-txt", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=2.0, help="then no trial is begun (default: %(default)s)")
    args = parser.parse_args()
    on, began, rows = device(args.device), time.monotonic(), []
    work = [lambda t=t: trial(t, on, args.n_img, args.n_txt, args.rounds) for t in TRIALS]
    work.insert(3, lambda: shares(on, args.n_img // 8, args.n_txt // 2, args.rounds))
    for number, run in enumerate(work):
        if number and time.monotonic() - began > 60 * args.minutes:
            print(f"{len(work) - number} trials are left out, because the time was used up")
            break
        print(f"{time.monotonic() - began:.0f} s: trial {number + 1} of {len(work)}", flush=True)
        found = run()
        print(table(found, markdown=False), flush=True)
        rows += found
    print(table(rows, markdown=False))
    wrong = [row["question"] for row in rows if row["decision"] == "WRONG"]
    for question in wrong:
        print(f"WRONG scores: {question}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
