"""Hardware counters of the kernel in which a call of hnscore spends its time, by Nsight Compute (ncu).

python benchmarks/gpu/counters.py --dtype bf16 --weight hinge
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
from pathlib import Path

SECTIONS = (
    "SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "MemoryWorkloadAnalysis_Tables",
    "SchedulerStats", "WarpStateStats", "LaunchStats", "Occupancy",
)  # fmt: skip
LAUNCHES = 16
DURATION = "gpu__time_duration.sum"
STALLS = re.compile(r"average_warps_issue_stalled_(\w+?)_per_issue_active")

# What is shown, if this ncu and chip have it: a heading and the metrics by a pattern of their names.
SHOWN = (
    ("time and clock", r"gpu__time_duration\.sum|(sm|gpc)__cycles_elapsed\.avg\.per_second"),
    ("tensor pipe", r"pipe_tensor\w*\.(avg|sum)\.pct"),
    ("issue slots", r"smsp__issue_active\.(avg\.pct|avg\.per)|sm__inst_issued\.avg\.pct|smsp__issues?_active"),
    ("throughput", r"(sm|lts|l1tex|gpu__dram|dram|gpu__compute_memory)__?\w*throughput\.avg\.pct"),
    ("bytes", r"dram__bytes_(read|write)\.sum(\.per_second)?$|lts__t_sectors_op_read\.sum$|lts__t_sector_hit_rate"),
    ("shared-memory bank conflicts", r"data_bank_conflicts\w*\.sum$"),
    ("launch", r"launch__(registers_per_thread|block_size|grid_size|waves_per_multiprocessor)$"),
    ("shared memory of a block", r"launch__shared_mem_per_block(_dynamic)?$"),
    ("occupancy", r"launch__occupancy_limit_\w+$|sm__maximum_warps\w*pct|sm__warps_active\.avg\.pct"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16")
    parser.add_argument("--precision", default="", help="default: the dtype's; exact for fp32")
    parser.add_argument("--weight", choices=("count", "hinge", "exp", "top-16"), default="hinge")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--device", choices=("cuda", "emulated"), default="cuda", help="emulated: a rehearsal")
    parser.add_argument("--n-img", type=int, default=131072)
    parser.add_argument("--n-txt", type=int, default=65536)
    parser.add_argument("--csv", type=Path, default=Path("counters.csv"), help="everything that was read")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        call_once(args)
        return 0
    ncu = ["ncu", "--clock-control", "none", "--target-processes", "all", "--profile-from-start", "off", "--csv"]
    ncu += ["--page", "raw", "--print-units", "base", "--launch-count", str(LAUNCHES), "--log-file", str(args.csv)]
    ncu += [word for section in SECTIONS for word in ("--section", section)]
    try:
        done = subprocess.run([*ncu, sys.executable, __file__, "--child", *sys.argv[1:]])
    except FileNotFoundError:
        print("counters.py: ncu is not installed", file=sys.stderr)
        return 1
    launches = parse(args.csv.read_text(errors="replace")) if args.csv.exists() else []
    if done.returncode or not launches:
        print(f"counters.py: ncu read nothing (exit {done.returncode}); {args.csv} says why", file=sys.stderr)
        return 1
    print(report(launches))
    return 0


def call_once(args: argparse.Namespace) -> None:
    """One call between the marks that ncu heeds, after one that loads everything."""
    import torch
    from devices import device
    from peers import call
    from timing import problem, thresholds, unit_rows

    on = device(args.device)
    img, txt = (unit_rows(n, args.dim, seed, on.home) for seed, n in enumerate((args.n_img, args.n_txt)))
    p = problem(img, txt, thresholds(img, txt, 0.01), args.dtype, args.weight, on)
    run = call(p, "", args.precision or {"fp32": "exact"}.get(args.dtype, args.dtype), "dot")
    run()
    on.synchronize()
    if args.device == "cuda":
        torch.cuda.profiler.start()
    run()
    on.synchronize()
    if args.device == "cuda":
        torch.cuda.profiler.stop()


def parse(text: str) -> list[dict[str, str]]:
    """The launches of ncu's raw page: a line of names that begins with "ID", a line of units, a line per launch."""
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    rows = list(csv.reader(line for line in lines[start:] if line.startswith('"')))
    if len(rows) < 3:
        return []
    names, units = rows[0], rows[1]
    named = [f"{name} [{unit}]" if unit else name for name, unit in zip(names, units, strict=True)]
    return [dict(zip(named, row, strict=True)) for row in rows[2:]]


def report(launches: list[dict[str, str]]) -> str:
    """Every launch with its time, then the counters of the longest."""
    lines = [f"{1e-6 * duration(x):10.3f} ms  {x['Kernel Name'][:100]}" for x in launches]
    main = max(launches, key=duration)
    lines += ["", f"counters of {main['Kernel Name'][:100]}"]
    for heading, pattern in SHOWN:
        found = {name: value for name, value in main.items() if re.search(pattern, name.split(" [")[0]) and value}
        lines.append(f"{heading}:" if found else f"{heading}: not among the counters of this ncu")
        lines += [f"  {name:<90} {value}" for name, value in found.items()]
    stalls = {match[1]: number(value) for name, value in main.items() if (match := STALLS.search(name)) and value}
    lines.append("warps stalled, per issue:")
    lines += [f"  {name:<30} {value:.3f}" for name, value in sorted(stalls.items(), key=lambda x: -x[1])[:8]]
    return "\n".join(lines)


def duration(launch: dict[str, str]) -> float:
    """Nanoseconds."""
    return next((number(value) for name, value in launch.items() if name.startswith(DURATION)), 0.0)


def number(value: str) -> float:
    try:
        return float(value.replace(",", ""))
    except ValueError:
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
