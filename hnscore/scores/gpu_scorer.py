"""`Scorer` on a GPU: texts packed once, for chunks on their device or in host memory, on any stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from hnscore.arguments.arrays import embeddings, is_tensor, like, same_library
from hnscore.arguments.numbers import threads
from hnscore.arguments.rules import both_groups, same_dim
from hnscore.engine.memory import device, reports
from hnscore.engine.memory.device import Kept, Space, location
from hnscore.engine.memory.libraries import space_of, space_on
from hnscore.engine.memory.stream import Lane, stream
from hnscore.engine.progress import rows_bar
from hnscore.scores.gpu import GpuTexts, Labels
from hnscore.scores.rule import Rule

_STAYS = ("_columns", "_memory", "_kept", "lanes")


class ScorerTexts(GpuTexts):
    """The texts of a Scorer: in memory of their own, packed once, read on any stream of their device."""

    _keep = True

    def __init__(self, txt_emb: Any, rule: Rule) -> None:
        space = space_of(txt_emb=txt_emb)
        reports.raise_found(space.gpu, space.device)
        super().__init__(space, space.embeddings("txt_emb", txt_emb), rule)
        if rule.reference is None:
            self.set_owned(space, rule.owner, self.paired_rows(space, rule.paired_emb), "paired_emb", False)
        else:
            self.set_reference(space, rule.reference)
        self.device, self.tensors = space.device, is_tensor(txt_emb)
        self.txt = space.copy(self.txt, self.pick)
        if self.pick is not None:
            self.pick, self.side = None, reports.DRAWN
        if self.method == "auto":
            self.chosen = space.zeros(8)
        self._pack(space)
        reports.finish(space)

    def _pack(self, space: Space) -> None:
        self.columns(space)
        self.lanes: list[Lane] = []  # for images of the host, between calls
        labels = None if self.groups is None else self.groups.array
        arrays = (self.txt, self.reference, self.limits, labels, self.chosen)
        self._kept = Kept(space, self._memory + [array.owner for array in arrays if array is not None])

    def score(self, img_chunk: Any, img_groups: Any, show_bar: Any, verbose: Any, judged: bool) -> tuple[Any, bool]:
        """The scores of a chunk on the texts' device or of the host, and whether the margin has been judged."""
        gpu = device.backend()
        reports.raise_found(gpu, self.device)
        of_host = location(img_chunk) is None
        space = space_on(gpu, self.device, None if of_host else img_chunk, tensors=self.tensors)
        if of_host:
            host, code = embeddings("img_chunk", img_chunk)
            n_img = len(host)
            same_dim(host, self.txt, "img_chunk")
        else:
            img = space.embeddings("img_chunk", img_chunk)
            n_img = img.shape[0]
            same_library(img_chunk, self.tensors, "img_chunk")
            same_dim(img, self.txt, "img_chunk")
        both_groups(img_groups, self.groups)
        ids = self.image_groups(space, img_groups, n_img)
        judge = (verbose or reports.blocking()) and not judged and not space.capturing
        with self._kept.read_on(space):
            if of_host:
                bar = rows_bar(show_bar, "score", n_img)
                return like(img_chunk, stream(space, self, host, code, ids, bar)), judged
            scores = space.empty((n_img,), self.dtype.__name__)
            if n_img:
                self.reduce(space, img.rows(gpu, reports.CHUNK), scores.pointer, **self.group_rules(ids))
                if not judged:
                    self.log(space, n_img, verbose)
                judged = self.warn_if_wide(space, img, stacklevel=4) if judge else True
            reports.finish(space)
        return space.give(scores), judged

    def __getstate__(self) -> dict[str, Any]:
        # Arrays travel through the host, which waits for them, and the texts are packed again on arrival.
        space = space_on(device.backend(), self.device, tensors=self.tensors)
        state = {name: value for name, value in self.__dict__.items() if name not in _STAYS}
        with self._kept.read_on(space):
            for name in ("txt", "reference", "limits", "chosen"):
                array = state[name]
                state[name] = None if array is None else (space.download(array), array.code)
            if self.groups is not None:
                state["groups"] = (space.download(self.groups.array), self.groups.unsigned, self.groups.names)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.threads = threads(self.n_threads)
        if self.tensors:
            import torch  # noqa: F401  whose memory it is
        space = space_on(device.backend(), self.device, tensors=self.tensors)
        for name in ("txt", "reference", "limits", "chosen"):
            array = state[name]
            setattr(self, name, None if array is None else space.upload("a Scorer", *array))
        if self.groups is not None:
            host, unsigned, names = state["groups"]
            self.groups = Labels(space, "txt_groups", host.view(np.uint64) if unsigned else host, len(host))
            self.groups.names = names
        self._columns, self._memory = None, []
        self._pack(space)
