"""The engine of the CPU: NumPy arrays in, the core's kernels."""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import convert_like
from hnscore.arguments.numbers import count_threads
from hnscore.arguments.values import check_kind_of_labels, read_group_labels, read_owners, read_reference, read_values
from hnscore.engine.host import HostRows, host_rows, in_use, numbers_among
from hnscore.engine.interrupts import interruptible
from hnscore.engine.lists import Find, finder
from hnscore.engine.pool import HostRules, PoolSide, best_in_pool, check_rows, choose, describe, kth_best, pack
from hnscore.engine.protocol import NO_RULES, Progress, Request, Rules

Array = NDArray[Any]
Floats = NDArray[np.float64]

_LOG = logging.getLogger("hnscore")
_LAST_ROW = np.iinfo(np.int64).max
_SMALL = 2**20  # multiply-adds: far fewer than csrc/cpu/cascade/plan.cpp wants for a cascade, on any target
_LOOK_AGAIN = 0.4  # what the plan's own sample, where there is one, must show for another look
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

    def embeddings(self, name: str, x: object) -> HostRows:
        return host_rows(name, x)

    paired = chunk = embeddings

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
        own = in_use(array, drawn)
        if code is None:
            return own
        return self.similarity(HostRows("reference", own, code, own.shape, drawn), txt, similarity)

    def thresholds(self, reference: Floats, margins: tuple[float, ...]) -> Floats:
        return _core.thresholds(reference, margins)

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

    def give(self, x: object, values: Array) -> Any:
        return convert_like(x, values)

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


class HostTexts:
    """The texts in panels or codes: packed at once for the dense way, else when the plan has seen images."""

    def __init__(self, engine: Cpu, txt: HostRows, request: Request, n_img: int | None) -> None:
        self.engine, self.txt, self.request, self.method = engine, txt, request, request.method
        self.share = 0.0
        self._plan: _core.Plan | None = None
        self._columns: _core.Columns | None = None
        self._lock = threading.Lock()
        self.options: dict[str, Any] = {"weight": request.weight, "temperature": request.temperature}  # of the core
        if request.takes_largest:
            self.options |= {"k": request.k, "rank_weights": np.ones(request.k)}
        # A plan would take longer than it could save, and say so.
        self._is_small = self.method == "auto" and n_img is not None and n_img * txt.array.size < _SMALL
        if self._is_small:
            self.method = "dense"
        if self.method == "dense":
            self._pack(None)
        else:  # the plan wants to see images and thresholds first
            check_rows(txt, request.similarity, engine.threads)

    def _pack(self, plan: _core.Plan | None) -> None:
        self._columns = pack(
            self.txt, self.request.similarity, self.request.precision, self.engine.threads, plan=plan
        )  # fmt: skip

    def plan(self, images: HostRows, n_img: int, tau: Floats, kth_value: Floats | None = None) -> _core.Plan:
        return choose(
            images, self.txt, self.request, self.engine.threads, tau=tau, kth_value=kth_value, expected_rows=n_img
        )

    def prepare(self, images: HostRows, n_img: int, tau: Floats, rules: HostRules) -> None:
        with self._lock:
            if self._columns is not None:
                return
            self._plan = self.plan(images, n_img, tau, rules.kth_value)
            self.method = "cascade" if self._plan.cascade else "dense"
            self.share = self._plan.share
            self._pack(self._plan)

    def adopt(self, other: HostTexts) -> None:
        """The way of other texts like these, whose plan took longer than packing takes."""
        with self._lock:
            if self._columns is None:
                self._plan, self.method, self.share = other._plan, other.method, other.share
                self._pack(self._plan)

    def reduce(self, engine: Cpu, images: HostRows, tau: Floats, rules: HostRules, progress: Progress = None) -> Array:
        request, columns = self.request, self._columns
        assert columns is not None, "prepare() comes first"
        options = self.options | {"tau": tau, "rules": core_rules(rules)}
        if progress is not None:
            options["progress"] = progress
        if self.method == "cascade" and _LOG.isEnabledFor(logging.INFO):
            options["survivors"] = _log_survivors
        sums, _, bad = _core.reduce(images.array, images.code, columns, request.recipe, engine.threads, **options)
        if progress is not None:
            progress(1.0)
        if bad:
            images.refuse(bad)
        if request.cap is not None:
            sums = np.minimum(sums, request.cap)
        if request.divisor is not None:
            sums = sums / request.divisor
        if request.dtype is np.int64:
            return sums.astype(np.int64)
        with np.errstate(over="ignore"):
            return sums.astype(np.float32)

    def lists(
        self, engine: Cpu, images: HostRows, tau: Floats, rules: HostRules, dtype: Any, progress: Progress
    ) -> Find:
        """The texts that count for each image, for some of the images at a time."""
        assert self._columns is not None, "prepare() comes first"

        def limits(part: slice) -> dict[str, Any]:
            return {"tau": tau, "rules": core_rules(rules.of_rows(part.start, part.stop))}

        return finder(images, self._columns, engine.threads, dtype, limits, progress)

    def counts(self, engine: Cpu, images: HostRows, tau: Floats, rules: HostRules) -> Floats:
        """How many texts count for each image."""
        columns = self._columns
        assert columns is not None, "prepare() comes first"
        return _core.reduce(
            images.array, images.code, columns, "count", engine.threads, tau=tau, rules=core_rules(rules)
        )[0]

    def hold(self, engine: Cpu, *arrays: Array | None) -> None:
        pass  # Python holds them

    def read_on(self, engine: Cpu) -> AbstractContextManager[None]:
        return nullcontext()

    def may_be_wide(self) -> bool:
        return not (self._is_small or (self._plan is not None and self._plan.share < _LOOK_AGAIN))

    def where(self, engine: Cpu) -> str:
        assert self._columns is not None
        return f"target={self._columns.target}, precision={self.request.precision}, {engine.threads} threads"

    def why(self) -> str:
        if self._plan is not None:
            return f"; {describe(self._plan, self.txt.shape[1])}"
        return "; dense because few pairs" if self._is_small else ""

    @property
    def nbytes(self) -> int:
        assert self._columns is not None
        return self._columns.nbytes

    def __getstate__(self) -> dict[str, Any]:
        # The plan stays here: on arrival the chosen method packs anew, a cascade by its first chunk. No bit changes.
        return {name: value for name, value in self.__dict__.items() if name not in ("_columns", "_plan", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plan = self._columns = None
        self._lock = threading.Lock()
        if self.method == "dense":
            self._pack(None)


_NO_RULES = _core.Rules()


def core_rules(rules: HostRules) -> _core.Rules:
    """As the core has them."""
    if rules is NO_RULES:
        return _NO_RULES
    given: dict[str, Any] = {name: x for name, x in rules._asdict().items() if not (x is None or x is False)}
    for name in ("row_owners", "col_owners"):
        if name in given:
            given[name] = given[name].astype(np.int32)
    return _core.Rules(**given) if given else _NO_RULES


def copied(array: Array) -> Array:
    """A copy that Ctrl-C can end."""
    out = np.empty_like(array, order="C")
    step = max(1, _COPIED_BYTES // max(1, array.itemsize * array.shape[1]))
    for first in range(0, len(array), step):
        out[first : first + step] = array[first : first + step]
    return out


def _log_survivors(pairs: int, first: int, second: int) -> None:
    _LOG.info(
        "cascade: of %d pairs the first pass left %.3g %%, the last %.3g %%",
        pairs,
        100 * first / pairs,
        100 * second / pairs,
    )
