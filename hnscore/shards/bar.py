"""One progress bar over all passes of a run: rows, rate, time left."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar_over(what: str, n_rows: int, shown: bool | None) -> Iterator[Callable[[int], object]]:
    """A function that takes the number of rows that are done. `shown` None: only where somebody looks."""
    from tqdm import tqdm

    with tqdm(
        desc=what, total=n_rows, unit="rows", unit_scale=True, disable=None if shown is None else not shown,
        file=sys.stderr, mininterval=0.1 if sys.stderr.isatty() else 10,
    ) as bar:  # fmt: skip
        yield bar.update
