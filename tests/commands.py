"""The command line in a process of its own."""

import subprocess
import sys
from typing import Any


def command(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "hnscore", *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, **options)


def refused(*args: object, **options: Any) -> str:
    """The one line of error, without its prefix; nothing else is printed."""
    done = command(*args, **options)
    lines = [line for line in done.stderr.splitlines() if line.startswith("hnscore: error: ")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return lines[0].removeprefix("hnscore: error: ")
