"""What each text finds in a pool that comes block by block, from files or from other processes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hnscore.engine.host import HostRows
from hnscore.engine.pool import HostRules, best_in_pool, merge
from hnscore.engine.protocol import NO_RULES, Request


class RunningBest:
    """The k largest similarities of each text and their rows, so far: -inf and -1 where there are fewer.

    Blocks may come in any order of their rows: ties go to the lowest row of all.
    """

    def __init__(
        self, txt: HostRows, k: int, request: Request, n_threads: int, floors: NDArray[np.float64] | None = None
    ) -> None:
        self.txt, self.k, self.request, self.n_threads = txt, k, request, n_threads
        self.floors = floors  # only similarities above them
        self.values = np.full((txt.shape[0], k), -np.inf)
        self.rows = np.full((txt.shape[0], k), -1)

    def add(self, img: HostRows, first: int, rules: HostRules = NO_RULES) -> None:
        """A block of the pool that begins at row `first`. Owners in the rules are rows of the pool."""
        n = img.shape[0]
        if not n:
            return
        if rules.col_owners is not None:
            own = rules.col_owners - first
            rules = rules._replace(col_owners=np.where((own < 0) | (own >= n), -1, own))
        # One at the k-th best counts where its row is lower.
        least = self.values[:, -1]
        least = np.where(self.rows[:, -1] > first, np.nextafter(least, -np.inf), least)
        if self.floors is not None:
            least = np.maximum(least, self.floors)
        request, at = self.request._replace(k=min(self.k, n)), 0
        for values, rows in best_in_pool(self.txt, img, request, rules, self.n_threads, floors=least):
            part = slice(at, at + len(values))
            rows = np.where(rows < 0, -1, rows + first)
            before = self.rows[part].max(initial=-1) < first
            sides = (self.values[part], self.rows[part], values, rows)
            merged = merge(*sides, self.k) if before else merged_by_row(*sides, self.k)
            self.values[part], self.rows[part] = merged
            at = part.stop


def merged_by_row(
    values: NDArray[np.float64], rows: NDArray[np.int64], found: NDArray[np.float64], at: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`merge`, of lists whose rows are mixed."""
    values, rows = np.concatenate([values, found], axis=1), np.concatenate([rows, at], axis=1)
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), -values), axis=1)[:, :k]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(rows, order, axis=1)
