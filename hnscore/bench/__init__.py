"""``hnscore bench``: hnscore beside what people use today, in one run on one machine.

workloads, regimes: the inputs; methods: what is timed; measure: how; modes, cascade, density: which comparisons there
are; report: tables, the machine, results on disk.
"""

import argparse
import sys

MODES = ("table", "shapes", "latency", "memory", "haswell", "flickr", "cascade", "density")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    size = parser.add_argument_group("size")
    size.add_argument("--n-img", type=int, default=16384, help="default: %(default)s")
    size.add_argument("--n-txt", type=int, default=16384, help="default: %(default)s")
    size.add_argument("--dim", type=int, default=512, help="default: %(default)s")
    size.add_argument("--rows", type=int, default=1_000_000, help="pool rows of --memory (default: %(default)s)")
    size.add_argument("--threads", type=int, default=2, help="for every method (default: %(default)s)")
    size.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    size.add_argument("--quick", action="store_true", help="n_img = n_txt = 4096, 3 rounds, small shapes and pool")
    modes = parser.add_argument_group("comparisons (without one: the table)")
    modes.add_argument("--table", action="store_true", help="every method: time, rate, error, memory")
    modes.add_argument("--shapes", action="store_true", help="other dims and long or wide shapes beside torch")
    modes.add_argument("--latency", action="store_true", help="one image, one text")
    modes.add_argument("--memory", action="store_true", help="a float16 pool on disk against 20,000 texts")
    modes.add_argument("--haswell", action="store_true", help="the avx2 target beside NumPy held to OpenBLAS's Haswell")
    modes.add_argument("--flickr", action="store_true", help="a real round of Flickr8k; needs HNSCORE_DATA")
    modes.add_argument("--cascade", action="store_true", help="dense beside cascade on real and made embeddings")
    modes.add_argument("--density", action="store_true", help="densities and neighbours beside FAISS and torch")
    modes.add_argument("--all", action="store_true", help="all of these")
    out = parser.add_argument_group("output")
    out.add_argument("--only", metavar="TEXT", help="of the table only methods whose name holds one of these, by comma")
    out.add_argument(
        "--regimes", metavar="TEXT", help="of --cascade only parts whose name holds one of these, by comma"
    )
    out.add_argument("--markdown", action="store_true", help="tables in Markdown")
    out.add_argument("--json", metavar="FILE", help="keep results here; a later run skips what the file already has")
    out.add_argument("--record", metavar="DIR", help="write DIR/<date>-<cpu>.json and .md (implies --json)")


def run(args: argparse.Namespace) -> int:
    """All comparisons asked for, printed as they finish."""
    from hnscore.bench import modes, report

    chosen = [mode for mode in MODES if args.all or getattr(args, mode)] or ["table"]
    if args.quick:
        args.n_img, args.n_txt, args.rounds = min(args.n_img, 4096), min(args.n_txt, 4096), min(args.rounds, 3)
        args.rows = min(args.rows, 50_000)
    book = report.Book(args)
    print(book.heading(), flush=True)
    for mode in chosen:
        group = getattr(modes, mode)(args)
        print(f"\n## {group.title}\n\n{group.note}\n", flush=True)
        for key, measure in group.parts:
            if key not in book:
                book.add(group, key, measure())
        print(book.table(group), flush=True)
    return 0


def main() -> int:
    """``python benchmarks/bench_score.py``"""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except KeyboardInterrupt:
        print("\ninterrupted; with --json or --record the same command continues", file=sys.stderr)
        return 130
