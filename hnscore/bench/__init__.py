"""``hnscore bench``: hnscore beside what people use today, in one run on one machine.

workloads: the inputs; methods: what is timed; measure: how; table: the main comparison; report: tables, the machine,
results on disk. benchmarks/ of the source tree has more comparisons.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hnscore.bench.report import Group


Comparisons = Mapping[str, Callable[[argparse.Namespace], "Group"]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    size = parser.add_argument_group("size")
    size.add_argument("--n-img", type=int, default=16384, help="default: %(default)s")
    size.add_argument("--n-txt", type=int, default=16384, help="default: %(default)s")
    size.add_argument("--dim", type=int, default=512, help="default: %(default)s")
    size.add_argument("--threads", type=int, default=2, help="for every method (default: %(default)s)")
    size.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    size.add_argument("--quick", action="store_true", help="n_img = n_txt = 4096, 3 rounds, small shapes and pool")
    out = parser.add_argument_group("output")
    out.add_argument("--only", metavar="TEXT", help="of the table only methods whose name holds one of these, by comma")
    out.add_argument("--markdown", action="store_true", help="tables in Markdown")
    out.add_argument("--json", metavar="FILE", help="keep results here; a later run skips what the file already has")
    out.add_argument("--record", metavar="DIR", help="write DIR/<date>-<cpu>.json and .md (implies --json)")


def run(args: argparse.Namespace, comparisons: Comparisons | None = None) -> int:
    """All comparisons asked for, the table if none is, printed as they finish."""
    from hnscore.bench import report, table

    if args.quick:
        args.n_img, args.n_txt, args.rounds = min(args.n_img, 4096), min(args.n_txt, 4096), min(args.rounds, 3)
    book = report.Book(args)
    print(book.heading(), flush=True)
    for comparison in (comparisons or {"table": table.table}).values():
        group = comparison(args)
        print(f"\n## {group.title}\n\n{group.note}\n", flush=True)
        for key, measure in group.parts:
            if key not in book:
                book.add(group, key, measure())
        print(book.table(group), flush=True)
    return 0
