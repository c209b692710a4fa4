"""`mine` from a dataset: the pool passes by in blocks, once, and once before where it is the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import is_tensor
from hnscore.arguments.rules import check_same_dim
from hnscore.datasets.dataset import Dataset
from hnscore.datasets.spool import spooled
from hnscore.engine.host import HostRows, host_rows
from hnscore.engine.pool import PoolSide, kth_best
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import NO_RULES, Request, Rules
from hnscore.engine.running import RunningBest
from hnscore.mining.mine import mine
from hnscore.mining.mine_call import MineCall
from hnscore.mining.positives import pair_similarities

_Lists = tuple[NDArray[np.float64], NDArray[np.int64]]


def mine_dataset(pool: Dataset, given: dict[str, Any]) -> _Lists:
    """NumPy arrays, whatever the texts are."""
    given = dict(given)
    if given["sampling"] == "random":  # a draw among all that are allowed looks at the pool more than once
        del given["img_emb"]
        with spooled(pool) as rows:
            result: _Lists = mine(rows, **(given | {"txt_emb": texts_of(given["txt_emb"])}))
            return result
    return MineOfDataset(pool, given).mined()


def texts_of(txt_emb: Any) -> Any:
    """The texts, those in a tensor as an array."""
    if not is_tensor(txt_emb):
        return txt_emb
    host = txt_emb.detach().cpu()
    return host.float().numpy() if str(host.dtype) == "torch.bfloat16" else host.numpy()


class Blocks(Protocol):
    """A pool that comes block by block, as a dataset has these."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def passes(self, bar: Callable[[float], object] | None = None) -> Iterator[tuple[Any, int]]: ...
    def naming(self, block: Any) -> AbstractContextManager[None]: ...
    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]: ...


class MineOfDataset(MineCall):
    """A call, checked.

    Who works on the blocks elsewhere asks for `running` and gives its lists to `mined_of`.
    """

    def __init__(self, pool: Blocks, given: dict[str, Any], best: NDArray[np.float64] | float | None = None) -> None:
        """`best`: of each text its best match in the pool, where that is known; a number stands for all of them."""
        self.dataset, self._best = pool, best
        self._shown = given["show_progress_bar"]
        nothing = host_rows("img_emb", np.empty((0, pool.shape[1]), np.float32))
        side = PoolSide(nothing._replace(shape=pool.shape))
        super().__init__(
            given | {"img_emb": None, "txt_emb": texts_of(given["txt_emb"]), "show_progress_bar": False}, side
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: x for name, x in self.__dict__.items() if name != "pool"}  # which passes by in blocks

    def _check_sides(self, img_emb: object, txt_emb: object) -> None:
        check_same_dim(self.img, self.txt)

    def best_of(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """The best match of each text among these."""
        return kth_best(self.txt, host_rows("img_emb", rows), self.request, NO_RULES, self.engine.threads)[0]

    def _best_match(self) -> NDArray[np.float64]:
        if self._best is not None:
            return np.full(self.n_txt, self._best)
        best = np.full(self.n_txt, -np.inf)
        for block, _ in self.dataset.passes(rows_bar(self._shown, "reference", self.n_img)):
            with self.dataset.naming(block):
                best = np.maximum(best, self.best_of(block.rows))
        return best

    @cached_property
    def similarities_of_positives(self) -> NDArray[np.float64]:
        assert self.positives is not None
        wanted, back = np.unique(self.positives.images, return_inverse=True)
        img = host_rows("img_emb", self.dataset.take(wanted))
        numbered: HostRows = img._replace(numbers=wanted)
        return pair_similarities(
            self.engine, numbered, back.ravel(), self.txt, self.positives.texts, self.request.similarity
        )

    @property
    def wanted(self) -> int:
        """How many of each text's best to look for: some may be its positives."""
        return min(self.k + self.skip + self._allowed_positives()[1], self.n_img)

    def running(self, request: Request | None = None) -> RunningBest:
        request = request or self.request._replace(k=self.wanted)
        return RunningBest(self.txt, request.k, request, self.engine.threads, self.floor)

    def rules_of(self, first: int, n: int) -> Rules[Any]:
        """For a block of images."""
        groups = self.rules.row_groups
        return self.rules if groups is None else self.rules._replace(row_groups=groups[first : first + n])

    def _lists(self, request: Request) -> Iterator[_Lists]:
        running = self.running(request)
        for block, first in self.dataset.passes(rows_bar(self._shown, "mine", self.n_img)):
            with self.dataset.naming(block):
                running.add(host_rows("img_emb", block.rows), first, self.rules_of(first, len(block.rows)))
        yield running.values, running.rows

    def mined_of(self, values: NDArray[np.float64], rows: NDArray[np.int64]) -> _Lists:
        """The result, of the lists that `running` has found."""
        found = self.__class__.__new__(self.__class__)
        found.__dict__ = dict(self.__dict__)
        found._lists = lambda request: iter([(values, rows)])  # type: ignore[method-assign]
        return found.mined()
