"""hnscore beside what people use today, in one run on one machine. By default: the table of `hnscore bench`."""

import argparse
import sys

from comparisons.cascade import cascade
from comparisons.density import density
from comparisons.disk import memory
from comparisons.estimates import estimates
from comparisons.flickr import flickr
from comparisons.growth import growth
from comparisons.haswell import haswell
from comparisons.mining import mining
from comparisons.pools import pools
from comparisons.selection import select
from comparisons.shapes import latency, shapes

from hnscore.bench import add_arguments, run
from hnscore.bench.table import table

COMPARISONS = {
    "table": (table, "every method: time, rate, error, memory"),
    "shapes": (shapes, "other dims and long or wide shapes beside torch"),
    "latency": (latency, "one image, one text"),
    "memory": (memory, "a float16 pool on disk against 20,000 texts"),
    "haswell": (haswell, "the avx2 target beside NumPy held to OpenBLAS's Haswell"),
    "flickr": (flickr, "a real round of Flickr8k; needs HNSCORE_DATA"),
    "cascade": (cascade, "dense beside cascade on real and made embeddings"),
    "density": (density, "densities and neighbours beside FAISS and torch"),
    "select": (select, "informativeness and selections beside their peers"),
    "mining": (mining, "pairs, mine, duplicates and TripletLoss beside their peers; needs HNSCORE_DATA"),
    "pools": (pools, "pools in many files, Ray, torch.distributed, two-stage selection; needs HNSCORE_DATA"),
    "estimates": (estimates, "what hnscore.estimate says beside what then happens"),
    "growth": (growth, "selections as the pool and the budget grow; needs HNSCORE_DATA"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    asked = parser.add_argument_group("comparisons")
    for name, (_, help) in COMPARISONS.items():
        asked.add_argument(f"--{name}", action="store_true", help=help)
    asked.add_argument("--all", action="store_true", help="all of these")
    asked.add_argument("--rows", type=int, default=1_000_000, help="pool rows of --memory (default: %(default)s)")
    asked.add_argument(
        "--regimes",
        metavar="TEXT",
        help="of comparisons with parts (--cascade, --pools, ...) only those whose name holds one of these, by comma",
    )
    args = parser.parse_args()
    if args.quick:
        args.rows = min(args.rows, 50_000)
    chosen = {name: made for name, (made, _) in COMPARISONS.items() if args.all or getattr(args, name)}
    try:
        return run(args, chosen)
    except KeyboardInterrupt:
        print("\ninterrupted; with --json or --record the same command continues", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
