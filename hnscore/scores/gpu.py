"""`score` on a GPU: what score.py and texts.py do, with values that nobody waits for.

A call queues its work on the current stream of the caller's library and returns.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert, embeddings, is_tensor, is_unsigned, same_library
from hnscore.arguments.numbers import threads
from hnscore.arguments.rules import not_empty, same_dim
from hnscore.arguments.values import (
    group_labels,
    one_integer_per_row,
    one_value_per_text,
    own_images,
    owners,
    same_kind_of_labels,
    values,
    values_or_rows,
)
from hnscore.engine.memory import reports
from hnscore.engine.memory.device import PRECISIONS, DeviceArray, Space, location
from hnscore.engine.memory.libraries import space_of
from hnscore.scores.rule import Rule, Settings
from hnscore.scores.texts import enough_pairs, judge_margin, samples

_LOG = logging.getLogger("hnscore")
_MOST_TEXTS = 2**31 - 512  # what the copy engine of a GPU can count


def pointer(array: DeviceArray | None) -> int:
    return 0 if array is None else array.pointer


class GpuTexts(Settings):
    """Everything about the texts that images on a GPU are scored against."""

    _keep = False  # all packed texts in memory, for many calls

    def __init__(
        self,
        space: Space,
        txt: DeviceArray,
        rule: Rule,
    ) -> None:
        not_empty("txt_emb", txt)
        super().__init__(txt.shape[0], rule, PRECISIONS)
        if self.n_used > _MOST_TEXTS:
            raise ValueError(
                f"txt_emb must have at most {_MOST_TEXTS} rows on a GPU, got {self.n_used}; score against parts of "
                "the texts and add up the scores"
            )
        self.n_threads = rule.n_threads
        self.threads = threads(rule.n_threads)  # that fill buffers with images of the host
        if self.is_minibatch and space.capturing:
            raise ValueError(
                f"minibatch must be None while a CUDA graph is captured, whose replays would all have one draw, got "
                f"{rule.minibatch}; make a Scorer before"
            )
        self.drawn = self.draw(rule.random_state)  # rows of the texts in use; None: all
        self.pick = None if self.drawn is None else space.upload("minibatch", self.drawn)
        self.txt, self.side = txt, reports.TXT
        self.limits = None
        if rule.max_similarity is not None:
            self.limits = self._values(space, "max_similarity", rule.max_similarity, reports.LIMITS)
        self.groups: Labels | None = None
        if rule.txt_groups is not None:
            self.groups = Labels(space, "txt_groups", rule.txt_groups, self.n_txt, self.drawn, self.pick)
        self.reference: DeviceArray | None = None
        self.chosen: DeviceArray | None = None  # by "auto", for all chunks
        self._columns: Any = None
        self._memory: list[object] = []  # of the columns

    def _values(self, space: Space, name: str, x: Any, side: int) -> DeviceArray | None:
        """A float64 value for each text in use; None for limits that limit nothing."""
        limits = side == reports.LIMITS
        if isinstance(x, DeviceArray) or location(x) is not None:
            array = x if isinstance(x, DeviceArray) else space.array(name, x)
            one_value_per_text(name, array, array.code, self.n_txt, limits)
            if not array.shape:
                array = replace(array, shape=(self.n_txt,), strides=(0,))
            return space.values(array, "float64", side, self.pick, finite=True, or_infinity=limits)
        if limits and convert(name, x)[0].ndim == 0:
            limit = float(values(name, x, 1, upper_limits=True)[0])
            return None if limit == np.inf else space.full(self.n_used, limit)
        host = values(name, x, self.n_txt, upper_limits=limits)
        return None if limits and np.isposinf(host).all() else space.upload(name, self._in_use(host))

    def _in_use(self, array: NDArray[Any]) -> NDArray[Any]:
        return array if self.drawn is None else array[self.drawn]

    def set_reference(self, space: Space, x: Any) -> None:
        """r_j from similarities, or from the embeddings of the texts' own images."""
        dim = self.txt.shape[1]
        if location(x) is None:
            array, code = own_images(x, self.n_txt, dim, self.similarity)
            own = space.upload("reference", self._in_use(array), code)
            self.reference = own if code is None else self.paired(space, own, reports.REFERENCE_ROWS, None)
            return
        own = space.array("reference", x)
        values_or_rows(own, own.code, self.n_txt, dim)
        if len(own.shape) == 1:
            self.reference = self._values(space, "reference", own, reports.REFERENCE_VALUES)
        else:
            self.reference = self.paired(space, own, reports.REFERENCE_ROWS, self.pick)

    def paired_rows(self, space: Space, paired_emb: Any) -> DeviceArray:
        """Paired images that are not in the pool, of the host or on the device."""
        if location(paired_emb) is None:
            array, code = embeddings("paired_emb", paired_emb)
            rows = space.upload("paired_emb", array, code)
        else:
            rows = space.embeddings("paired_emb", paired_emb)
        same_dim(rows, self.txt, "paired_emb")
        return rows

    def set_owned(self, space: Space, owner: Any, paired: DeviceArray, name: str, keep: bool) -> DeviceArray:
        """r_j of the texts' own images among the paired ones, unless there is a reference; whose rows they are."""
        rows = owners(of_host(space, owner, self.n_txt), self.n_txt, len(paired), name)
        own = space.upload("owner", self._in_use(rows))
        if not keep:
            self.reference = self.paired(space, paired, reports.IMG if name == "img_emb" else reports.PAIRED, own)
        return own

    def paired(self, space: Space, own: DeviceArray, side: int, pick: DeviceArray | None) -> DeviceArray:
        """Similarity of each text in use with its row of `own`."""
        gpu = space.gpu
        out = space.internal((self.n_used,), "float64")
        with space.scratch() as context:
            gpu.pair_similarity(context, own.rows(gpu, side, pick), self.rows(space), self.similarity, out.pointer)
        return out

    def rows(self, space: Space) -> Any:
        return self.txt.rows(space.gpu, self.side, self.pick)

    def image_groups(self, space: Space, img_groups: Any, n_img: int) -> Labels | None:
        return None if self.groups is None else Labels(space, "img_groups", img_groups, n_img, names=self.groups.names)

    def group_rules(self, ids: Labels | None) -> dict[str, Any]:
        if self.groups is None or ids is None:
            return {}
        return {
            "row_groups": ids.array.pointer,
            "col_groups": self.groups.array.pointer,
            "negative_groups_differ": self.groups.unsigned != ids.unsigned,
        }

    def columns(self, space: Space) -> Any:
        """The packed texts."""
        if self._columns is None:
            context = space.gpu.Context(space.device, space.stream, space.keeping(self._memory))
            self._columns = space.gpu.Columns(
                context, self.rows(space), self.similarity, self.precision, self.method, self._keep
            )  # fmt: skip
        return self._columns

    def reduce(self, space: Space, images: Any, out: int, **rules: Any) -> None:
        """The scores of some images, rows of the backend."""
        columns = self.columns(space)
        with space.scratch() as context:
            space.gpu.reduce(
                context, images, columns, self.recipe, out, reference=pointer(self.reference), margin=self.margin,
                max_similarity=pointer(self.limits), weight=self.weight, temperature=self.temperature,
                k=self.k if self.takes_largest else 1, divisor=1.0 if self.divisor is None else float(self.divisor),
                cap=self.cap or 0, integer=self.dtype is np.int64, choice=pointer(self.chosen), **rules,
            )  # fmt: skip

    def warn_if_wide(self, space: Space, img: DeviceArray, stacklevel: int) -> bool:
        """As on the CPU, which judges the sample: so this waits, and is for those who asked for it."""
        if not enough_pairs(img.shape[0], self.n_used):
            return False
        assert self.reference is not None
        rows, columns = samples(img.shape[0], self.n_used)
        pick = self.pick and self.pick.every(columns.step)
        txt = self.txt if pick is not None else self.txt.every(columns.step)

        def host(array: DeviceArray, pick: DeviceArray | None = None) -> NDArray[Any]:
            return space.download(space.copy(array, pick))

        assert img.code is not None
        assert self.txt.code is not None
        judge_margin(
            host(img.every(rows.step)), img.code, host(txt, pick), self.txt.code,
            host(self.reference.every(columns.step)) - self.margin,
            None if self.limits is None else host(self.limits.every(columns.step)),
            self.margin, self.similarity, stacklevel + 1,
        )  # fmt: skip
        return True

    def log(self, space: Space, n_img: int, verbose: Any) -> None:
        """Says what was decided."""
        if not (verbose or _LOG.isEnabledFor(logging.INFO)):
            return
        device = space.gpu.device(space.device)
        line = (
            f"method={self.method}, device={space.name} ({device.name}, {device.arch}), precision={self.precision}: "
            f"{n_img} images x {self.n_used} texts, dim {self.txt.shape[1]}, "
            f"{self.columns(space).nbytes / 2**20:.1f} MiB of packed texts"
        )
        _LOG.info(line)
        if verbose:
            print(f"hnscore: {line}")


def of_host(space: Space, x: Any, n: int) -> Any:
    """Integers of which every one is looked at, as an array of the host; this waits where they are on the device."""
    return x if location(x) is None else space.download(Labels(space, "owner", x, n).array)


class Labels:
    """Integers in GPU memory, as 64 bits each."""

    def __init__(
        self,
        space: Space,
        name: str,
        x: Any,
        n: int,
        drawn: NDArray[np.int64] | None = None,
        pick: DeviceArray | None = None,
        names: NDArray[Any] | None = None,
    ) -> None:
        self.names: NDArray[Any] | None = None  # of labels that are strings; their numbers are on the device
        if location(x) is None:
            host = group_labels(name, x, n)
            if names is not None or (name == "img_groups" and host.dtype.kind == "U"):
                same_kind_of_labels(host, np.zeros(1, np.int64) if names is None else names)
            if host.dtype.kind == "U":
                if names is None:
                    self.names, ids = np.unique(host, return_inverse=True)
                else:
                    ids = np.searchsorted(names, host)
                    ids[ids == len(names)] = 0
                    ids = np.where(names[ids] == host, ids, -1)
                host = ids.astype(np.int64)
            self.unsigned = host.dtype.kind == "u"
            self.array = space.upload(name, (host if drawn is None else host[drawn]).view(np.int64))
        else:
            array = space.array(name, x)
            one_integer_per_row(name, array, array.code, n)
            self.unsigned = is_unsigned(array.code)
            self.array = space.values(array, "int64", pick=pick) if n else space.internal((0,), "int64")


def score(img_emb: Any, txt_emb: Any, rule: Rule) -> Any:
    """`hnscore.score` of arrays of which at least one is on a GPU."""
    space = space_of(img_emb=img_emb, txt_emb=txt_emb)
    gpu = space.gpu
    reports.raise_found(gpu, space.device)
    img, txt = space.embeddings("img_emb", img_emb), space.embeddings("txt_emb", txt_emb)
    same_library(img_emb, is_tensor(txt_emb))
    same_dim(img, txt)
    n_img, n_txt = img.shape[0], txt.shape[0]
    ranks = rule.of_pool(n_img, n_txt)
    texts = GpuTexts(space, txt, rule)
    ids = texts.image_groups(space, rule.img_groups, n_img)
    if rule.has_given_reference:
        texts.set_reference(space, rule.reference)
    txt_owners = None
    if rule.owner is not None:
        if rule.paired_emb is None:
            txt_owners = texts.set_owned(space, rule.owner, img, "img_emb", rule.has_given_reference)
        else:
            paired = texts.paired_rows(space, rule.paired_emb)
            texts.set_owned(space, rule.owner, paired, "paired_emb", rule.has_given_reference)
    scores = space.empty((n_img,), texts.dtype.__name__)
    if n_img:
        _score(space, texts, img, rule.reference, ranks, txt_owners, ids, scores)
        if (rule.verbose or reports.blocking()) and ranks == (None, None) and not space.capturing:
            texts.warn_if_wide(space, img, stacklevel=5)
        texts.log(space, n_img, rule.verbose)
    reports.finish(space)
    return space.give(scores)


def _score(
    space: Space,
    texts: GpuTexts,
    img: DeviceArray,
    reference: Any,
    ranks: tuple[int | None, int | None],
    txt_owners: DeviceArray | None,
    ids: Labels | None,
    scores: DeviceArray,
) -> None:
    """Queues the work of a call on at least one image."""
    gpu, n_img = space.gpu, img.shape[0]
    images = img.rows(gpu, reports.IMG)
    rules: dict[str, Any] = {}
    if isinstance(reference, str) and reference == "paired":
        texts.reference = texts.paired(space, img, reports.IMG, texts.pick)
        txt_owners = space.arange(n_img) if texts.pick is None else texts.pick
    if txt_owners is not None:
        img_owners = space.arange(n_img)
        rules |= {"row_owners": img_owners.pointer, "col_owners": txt_owners.pointer}
    if texts.reference is None:
        texts.reference = space.internal((texts.n_used,), "float64")
        with space.scratch() as context:
            gpu.top(
                context, texts.rows(space), images, texts.similarity, texts.precision, 1,
                kth_value=texts.reference.pointer,
            )  # fmt: skip
    kept = []
    for end, rank in zip(("kth", "skip"), ranks, strict=True):
        if rank is None or (end == "kth" and rank >= n_img):
            continue
        value, row = (space.internal((texts.n_used,), dtype) for dtype in ("float64", "int64"))
        kept += [value, row]
        groups = texts.group_rules(ids)
        if groups:  # texts are the rows here
            groups["row_groups"], groups["col_groups"] = groups["col_groups"], groups["row_groups"]
        with space.scratch() as context:
            gpu.top(
                context, texts.rows(space), images, texts.similarity, texts.precision, min(rank, n_img),
                max_similarity=pointer(texts.limits), row_owners=pointer(txt_owners), kth_value=value.pointer,
                kth_row=row.pointer, **groups,
            )  # fmt: skip
        rules |= {f"{end}_value": value.pointer, f"{end}_row": row.pointer}
    texts.reduce(space, images, scores.pointer, **texts.group_rules(ids), **rules)
