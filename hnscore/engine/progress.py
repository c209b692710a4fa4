"""A progress bar over the rows of the pool, fed by the share of the work that is done."""

from __future__ import annotations

import sys
from collections.abc import Callable

_DELAY = 3.0  # seconds before a bar appears that nobody asked for


def rows_bar(shown: bool | None, what: str, n_rows: int) -> Callable[[float], object] | None:
    """A function that takes the share done, or None where no bar is to be shown. At 1 the bar is complete.

    `shown` None: where somebody looks, and only if it takes long.
    """
    if not (shown or (shown is None and _is_watched())):
        return None
    from tqdm.auto import tqdm

    bar = tqdm(total=n_rows, desc=what, unit="row", unit_scale=True, delay=0 if shown else _DELAY)

    def update(share: float) -> None:
        bar.update(round(share * n_rows) - bar.n)
        if share >= 1:
            bar.close()

    return update


def _is_watched() -> bool:
    """Whether standard error is a terminal, or the cell of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return bool(sys.stderr and sys.stderr.isatty()) or type(shell).__name__ == "ZMQInteractiveShell"
