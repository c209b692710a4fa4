"""hnscore on a GPU beside torch and Triton, on the same data in one process; `run.sh` builds and runs everything.

python benchmarks/gpu/bench.py --json results.json     writes results.md beside it, after each case anew
python benchmarks/gpu/bench.py --dry-run               what would be measured, at which sizes; needs no GPU

plan: cases, sizes and goals; peers, fused: what is timed; timing: inputs, times, memory; bounds: what a score may be;
devices: a GPU, and what rehearses one; tables: results.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import warnings
from pathlib import Path

import plan
import tables
import torch
from devices import NAMES, Cpu, device
from timing import Chosen, DeviceLostError, Race, problem, thresholds, unit_rows

from hnscore.bench.report import table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.5, help="then no case is begun (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--only", default="", metavar="TEXT", help='cases whose name holds this, like "D=512 bf16"')
    parser.add_argument("--methods", default="", metavar="TEXT", help="methods whose name holds one of these, by comma")
    parser.add_argument("--n-img", type=int, help="instead of the plan's")
    parser.add_argument("--n-txt", type=int, help="instead of the plan's")
    parser.add_argument("--device", choices=NAMES, default="cuda", help="cpu, emulated: a rehearsal of this program")
    parser.add_argument("--commit", default="", help="of the code, where git cannot tell")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results for programs; the tables go beside it")
    parser.add_argument("--dry-run", action="store_true", help="print the plan")
    args = parser.parse_args()
    sizes = {key: value for key in ("n_img", "n_txt") if (value := getattr(args, key))}
    cases = [case._replace(**sizes) for case in plan.cases() if args.only in case.name]
    if args.dry_run:
        print(planned(cases, args.rounds, args.minutes))
        return 0
    if args.device == "cuda" and not torch.cuda.is_available():
        why = "torch finds no GPU" if torch.version.cuda else "this torch was built without CUDA"
        print(f"bench.py: nothing to measure: {why}; --dry-run prints the plan", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was measured is still written
    on = device(args.device)
    book = tables.Book(tables.facts(args.device, args.commit), args.json)
    try:
        measure(cases, args, book, on)
    except DeviceLostError as lost:
        print(f"the GPU runs nothing more after: {lost}", file=sys.stderr)
        if hang := on.hangs():
            print(f"HANG: {hang}", file=sys.stderr)
        return 1
    finally:
        book.write()
        print("\n" + book.markdown())
        print(book.line())
    return 1 if book.failed or book.no_room else 0


def planned(cases: list[plan.Case], rounds: int, minutes: float) -> str:
    """The cases, their sizes and the time that they are expected to take."""
    lines = []
    for number, case in enumerate(cases):
        until = plan.expected(cases[: number + 1], rounds)
        methods = ", ".join(m.name for m in case.methods())
        lines.append(f"{case.name:<19} {case.n_img} x {case.n_txt}, {until:4.0f} s until its end: {methods}")
    total = plan.expected(cases, rounds) / 60
    lines.append(f"{len(cases)} cases, {rounds} rounds, at most {total:.1f} minutes expected, {minutes:g} allowed.")
    lines.append("A call that is expected to take longer than its case allows is timed on fewer images.")
    return "\n".join(lines)


def measure(cases: list[plan.Case], args: argparse.Namespace, book: tables.Book, on: Cpu) -> None:
    warnings.simplefilter("ignore")  # of the peers' compilers
    torch.set_float32_matmul_precision("high")  # tf32, for the peers
    names = [name for name in args.methods.split(",") if name]
    chosen: Chosen = {}
    inputs: list[torch.Tensor] = []
    began, of = time.monotonic(), (0, 0.0)
    for case in cases:
        left = 60 * args.minutes - (time.monotonic() - began)
        if case.expected(args.rounds) > left and book.cases:
            book.left_out.append(case.name)
            continue
        say(f"{time.monotonic() - began:.0f} s: {case.name}")
        try:
            if of != (case.dim, case.share):
                inputs.clear()  # before there are others
                of = case.dim, case.share
                inputs += [
                    unit_rows(n, case.dim, case.dim + i, on.home) for i, n in enumerate((case.n_img, case.n_txt))
                ]
                inputs.append(thresholds(*inputs, case.share))
            race = Race(problem(*inputs, case.dtype, case.weight, on), case.limit, chosen)
            methods = [m for m in case.methods() if not names or any(name in m.name for name in names)]
            results = race.run(methods, args.rounds, say)
        except torch.OutOfMemoryError as failure:
            book.no_room.append(case.name)
            of = (0, 0.0)
            say(f"too little memory: {' '.join(str(failure).split())[:200]}")
            continue
        book.add(case, results)
        print(table(tables.rows(case, results), markdown=False), flush=True)
        del race, results


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
