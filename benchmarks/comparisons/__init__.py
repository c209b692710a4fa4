"""Comparisons beside the main table: each takes the arguments of `bench_score.py` and returns its table in parts."""
