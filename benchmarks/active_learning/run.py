"""Which selection spends the annotator's budget best? Run a configuration of active-learning curves, or go on with it.

python benchmarks/active_learning/run.py benchmarks/active_learning/configs/headline.toml --results results
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import config
import loop
from store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="TOML file; README.md has the keys")
    parser.add_argument("--results", type=Path, required=True, help="folder of results, made or continued")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes, one thread each")
    parser.add_argument("--table", action="store_true", help="only print the table of what there is")
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f"--workers must be at least 1, got {args.workers}")
    if args.results.exists() and not args.results.is_dir():
        parser.error(f"--results must be a folder, got the file {args.results}")
    experiment, store = config.read(args.config), Store(args.results)
    if not args.table:
        try:
            loop.run(experiment, store, args.workers)
        except KeyboardInterrupt:
            print(f"stopped; {args.results} has all rounds that ended, and the same command goes on", file=sys.stderr)
            raise SystemExit(130) from None
    from report import summary  # here: each worker imports this module too

    print(summary(store.rows(), experiment))


if __name__ == "__main__":
    main()
