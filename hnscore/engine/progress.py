"""A progress bar over the rows of the pool, fed by the share of the work that is done."""

from __future__ import annotations

from collections.abc import Callable


def rows_bar(shown: object, what: str, n_rows: int) -> Callable[[float], object] | None:
    """A function that takes the share done, or None where no bar is to be shown. At 1 the bar is complete."""
    if not shown:
        return None
    from tqdm.auto import tqdm

    bar = tqdm(total=n_rows, desc=what, unit="row", unit_scale=True)

    def update(share: float) -> None:
        bar.update(round(share * n_rows) - bar.n)
        if share >= 1:
            bar.close()

    return update
