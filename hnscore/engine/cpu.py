"""The engine of the CPU: NumPy arrays in, the core's kernels."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import convert_like
from hnscore.arguments.numbers import count_threads
from hnscore.arguments.values import check_kind_of_labels, read_group_labels, read_owners, read_reference, read_values
from hnscore.engine.cpu_texts import HostTexts
from hnscore.engine.host import HostRows, host_rows, in_use, numbers_among
from hnscore.engine.interrupts import interruptible
from hnscore.engine.near import HostNear
from hnscore.engine.pool import HostRules, PoolSide, best_in_pool, kth_best, pack
from hnscore.engine.protocol import NO_RULES, Progress, Request, Rules

Array = NDArray[Any]
Floats = NDArray[np.float64]

_LOG = logging.getLogger("hnscore")
_LAST_ROW = np.iinfo(np.int64).max
_COPIED_BYTES = 2**24  # at a time: a signal waits no longer


class HostGroups(NamedTuple):
    """The labels that texts have, and which of these each text has."""

    known: Array
    ids: NDArray[np.int32]


class Cpu:
    precisions = _core.PRECISIONS
    sees_values = True

    def __init__(self, n_threads: object) -> None:
        self.n_threads = n_threads
        self.threads = _core.default_threads() if n_threads is None else count_threads(n_threads)

    # ---- Arguments in ------------------------------------------------------------------------------------------------

    embeddings = paired = chunk = staticmethod(host_rows)

    def taken(self, rows: HostRows, drawn: NDArray[np.int64] | None, keep: bool) -> HostRows:
        if drawn is not None:
            array = rows.array[drawn]
            return HostRows(rows.name, array, rows.code, array.shape, drawn)
        return rows._replace(array=copied(rows.array)) if keep else rows

    def limits(self, name: str, x: object, n: int, drawn: NDArray[np.int64] | None) -> Floats | None:
        limits = in_use(read_values(name, x, n, upper_limits=True), drawn)
        return None if np.isposinf(limits).all() else limits

    def owners(
        self, x: object, n_txt: int, n_paired: int, of: str, drawn: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        return in_use(read_owners(x, n_txt, n_paired, of), drawn)

    def arange(self, n: int) -> NDArray[np.int64]:
        return np.arange(n)

    def paired_owners(self, n: int, drawn: NDArray[np.int64] | None) -> NDArray[np.int64]:
        return np.arange(n) if drawn is None else drawn

    def groups(self, x: object, n: int, drawn: NDArray[np.int64] | None) -> HostGroups:
        labels = in_use(read_group_labels("txt_groups", x, n), drawn)
        known, ids = interruptible(len(labels), lambda: np.unique(labels, return_inverse=True))
        return HostGroups(known, ids.astype(np.int32))

    def group_numbers(self, texts: HostGroups) -> Array:
        return texts.ids

    def same_groups(self, texts: HostGroups, x: object, n_img: int) -> tuple[Array, Array, bool]:
        """The number of each image's label among those of the texts, -1 where no text has it."""
        groups, known = read_group_labels("img_groups", x, n_img), texts.known
        check_kind_of_labels(groups, known)
        wanted = groups if known.dtype.kind == "U" else groups.astype(known.dtype)
        ids = interruptible(n_img, lambda: numbers_among(known, wanted))
        if known.dtype.kind != "U" and groups.dtype != known.dtype:
            ids[groups.astype(np.int64) < 0] = -1  # equal bits of int64 and uint64 above 2^63 are no equal labels
        return ids.astype(np.int32), texts.ids, False

    # ---- Work --------------------------------------------------------------------------------------------------------

    def similarity(self, a: HostRows, b: HostRows, similarity: str, picked: NDArray[np.int64] | None = None) -> Floats:
        out, bad_a, bad_b = _core.pair_similarity(a.array, a.code, picked, b.array, b.code, similarity, self.threads)
        if bad_a or bad_b:
            a.refuse(bad_a)
            b.refuse(bad_b)
        return out

    def reference(
        self, x: object, n_txt: int, txt: HostRows, drawn: NDArray[np.int64] | None, similarity: str
    ) -> Floats:
        array, code = read_reference(x, n_txt, txt.shape[1], similarity)
        own = array if drawn is None else array[drawn]
        if code is None:
            return own
        return self.similarity(HostRows("reference", own, code, own.shape, drawn), txt, similarity)

    def thresholds(self, reference: Floats, margins: tuple[float, ...]) -> Floats:
        return _core.thresholds(reference, margins)

    def just_below(self, values: Floats) -> Floats:
        below: Floats = np.nextafter(values, -np.inf)
        return below

    def kth_best(
        self, txt: HostRows, img: HostRows, rank: int, request: Request, rules: HostRules, progress: Progress = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        if img.shape[0] == 1 and rules is NO_RULES:  # the best match is the one image there is
            first = np.zeros(txt.shape[0], np.int64)
            return self.similarity(img, txt, request.similarity, first), first
        value, row = kth_best(txt, img, request._replace(k=rank), rules, self.threads, progress)
        return value, np.where(row < 0, _LAST_ROW, row)

    def expected_best(
        self, txt: HostRows, img: HostRows, weights: Floats, similarity: str, own: NDArray[np.int64]
    ) -> Floats:
        columns = pack(img, similarity, "exact", self.threads)
        owners = own.astype(np.int32), np.arange(img.shape[0], dtype=np.int32)
        result, _, bad = _core.reduce(
            txt.array, txt.code, columns, "top_similarity", self.threads, k=len(weights), rank_weights=weights,
            rules=_core.Rules(row_owners=owners[0], col_owners=owners[1]),
        )  # fmt: skip
        txt.refuse(bad)
        return result

    def nearest(
        self,
        rows: HostRows,
        others: HostRows | PoolSide,
        k: int,
        request: Request,
        exclude_self: bool,
        progress: Progress = None,
    ) -> tuple[Floats, NDArray[np.int64]]:
        n = rows.shape[0]
        values, indices, first = np.empty((n, k)), np.empty((n, k), np.int64), 0
        rules: HostRules = Rules(col_owners=np.arange(n)) if exclude_self else NO_RULES
        parts = best_in_pool(rows, others, request._replace(k=k), rules, self.threads, progress)
        for found, at in parts if n else ():
            part = slice(first, first + len(found))
            values[part], indices[part] = found, at
            first = part.stop
        return values, indices

    def near(self, rows: HostRows, level: float, request: Request) -> HostNear:
        return HostNear(self, rows, level, request)

    def packed(self, txt: HostRows, request: Request, n_img: int | None, keep: bool) -> HostTexts:
        return HostTexts(self, txt, request, n_img)

    # ---- Results out -------------------------------------------------------------------------------------------------

    def no_scores(self, dtype: type[np.generic]) -> Array:
        return np.zeros(0, dtype)

    def sample(self, rows: HostRows, step: int) -> tuple[Array, int]:
        return rows.array[::step], rows.code

    def sampled(self, values: Floats, step: int) -> Floats:
        return np.array(values[::step])

    def may_wait(self, asked: object) -> bool:
        return True

    def finish(self) -> None:
        pass

    give = staticmethod(convert_like)

    # ---- From call to call -------------------------------------------------------------------------------------------

    def again(self, x: object) -> Cpu:
        return self

    def is_own(self, rows: HostRows) -> bool:
        return True

    def exported(self, state: dict[str, Any]) -> dict[str, Any]:
        return state

    def imported(self, state: dict[str, Any]) -> dict[str, Any]:
        return state

    def __reduce__(self) -> tuple[type[Cpu], tuple[object]]:
        return Cpu, (self.n_threads,)  # there may be other processors where it arrives


def copied(array: Array) -> Array:
    """A copy that Ctrl-C can end."""
    out = np.empty_like(array, order="C")
    step = max(1, _COPIED_BYTES // max(1, array.itemsize * array.shape[1]))
    for first in range(0, len(array), step):
        out[first : first + step] = array[first : first + step]
    return out
