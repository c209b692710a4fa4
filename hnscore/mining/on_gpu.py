"""`mine` on a GPU: the embeddings stay there, what stands beside them is small and comes to the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.engine.gpu.gpu import Gpu
from hnscore.engine.gpu.lists import told
from hnscore.engine.host import HostRows, host_rows
from hnscore.engine.memory.copies import copied
from hnscore.engine.memory.device import DeviceArray
from hnscore.engine.memory.rows import DeviceRows
from hnscore.engine.pool import PoolSide
from hnscore.engine.protocol import NO_RULES, Request, Rules
from hnscore.mining.mine_call import MineCall

_LIST_BYTES = 2**26  # of the best of so many texts at a time, on the device


class MineOnGpu(MineCall):
    """A call, checked."""

    def __init__(self, given: dict[str, Any]) -> None:
        sides = {name: given[name] for name in ("img_emb", "txt_emb")}
        self.gpu = Gpu.of(given["n_threads"], sides)
        self.images, self.texts = (self.gpu.embeddings(name, x) for name, x in sides.items())
        self._like = given["img_emb"]
        there = {*sides, "reference"}
        here = {name: x if name in there else copied(name, x) for name, x in given.items()}
        super().__init__(here, PoolSide(_shape_of("img_emb", self.images)))

    def given(self) -> tuple[Any, Any]:
        """The result, where the embeddings are."""
        similarities, indices = self.mined()
        return self.gpu.give(self._like, similarities), self.gpu.give(self._like, indices)

    def _read_texts(self, txt_emb: object) -> HostRows:
        return _shape_of("txt_emb", self.texts)

    def _own(self, reference: object) -> NDArray[np.float64]:
        return self._down(self.gpu.reference(reference, self.n_txt, self.texts, None, self.request.similarity))

    def _best_match(self) -> NDArray[np.float64]:
        return self._down(self.gpu.kth_best(self.texts, self.images, 1, self.request, NO_RULES)[0])

    @cached_property
    def similarities_of_positives(self) -> NDArray[np.float64]:
        assert self.positives is not None
        up = self.gpu.space.upload
        texts = replace(self.texts, pick=up("owner", self.positives.texts))
        images = up("owner", self.positives.images)
        return self._down(self.gpu.similarity(self.images, texts, self.request.similarity, images))

    def _lists(self, request: Request) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        up, k = self.gpu.space.upload, request.k
        most = up("max_similarity", self.ceiling)
        of_images, of_texts = (
            None if x is None else up("groups", x.astype(np.int64))
            for x in (self.rules.row_groups, self.rules.col_groups)
        )
        step = max(1, _LIST_BYTES // (16 * k))
        for first in range(0, self.n_txt, step):
            stop = min(first + step, self.n_txt)
            groups = None if of_texts is None else of_texts.part(first, stop)
            values, rows = (self.gpu.space.internal((stop - first, k), dtype) for dtype in ("float64", "int64"))
            self.gpu.best(
                self.texts.part(first, stop), self.images, k, request.similarity, request.precision,
                Rules(most.part(first, stop), groups, of_images), values=values.pointer, indices=rows.pointer,
            )  # fmt: skip
            s, i = self._down(values), self._down(rows)
            low = ~(s > self.floor[first:stop, None])
            s[low], i[low] = -np.inf, -1
            yield s, i
            if self.bar is not None:
                self.bar(stop / self.n_txt)

    def _down(self, array: DeviceArray) -> NDArray[Any]:
        told(self.gpu.space)
        return self.gpu.space.download(array)


def _shape_of(name: str, rows: DeviceRows) -> HostRows:
    """Rows of which only the shape is here."""
    return host_rows(name, np.empty((0, rows.shape[1]), np.float32))._replace(shape=rows.shape)
