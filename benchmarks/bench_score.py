"""hnscore beside what people use today, in one run: `python benchmarks/bench_score.py --help`, also `hnscore bench`."""

from hnscore.bench import main

if __name__ == "__main__":
    raise SystemExit(main())
