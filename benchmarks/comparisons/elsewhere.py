"""A part of a comparison in a process of its own."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hnscore.bench.report import Row


def elsewhere(args: argparse.Namespace, options: list[str], environment: dict[str, str]) -> list[Row]:
    """The rows of one part that a process of its own measures: of what is read when the libraries are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        options = [*options, f"--threads={args.threads}", f"--rounds={args.rounds}", f"--json={path}"]
        subprocess.run(
            [sys.executable, str(Path(__file__).parents[1] / "bench_score.py"), *options],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        (group,) = json.loads(path.read_text())["groups"].values()
        (rows,) = group["parts"].values()
        return list(rows)
