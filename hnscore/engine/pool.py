"""What each text finds in the whole pool on the CPU: the texts are the rows, the pool passes by in packed blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.engine.host import HostRows
from hnscore.engine.protocol import Progress, Request, Rules

HostRules = Rules[NDArray[Any]]

# Pool rows are packed in blocks of this size: much longer than what packing a block and starting a pass cost, much
# smaller than a pool. The blocks are the same for any number of threads, and their results merge exactly.
_BLOCK_BYTES = 2**24
_LEAST_BLOCK = 256
# The running top k of this many texts at a time: 16 bytes an entry, six times over while two lists are merged.
_STATE_BYTES = 2**26
_BYTES_PER_ENTRY = 96
_LEAST_SLICE = 16
# Texts that a pool is kept for, as many as a cascade needs to pay for itself.
_EXPECTED = 2**14


def pack(
    rows: HostRows,
    similarity: str,
    precision: str,
    n_threads: int,
    *,
    plan: _core.Plan | None = None,
    warm: bool = True,
    origin: NDArray[np.float64] | None = None,
) -> _core.Columns:
    """Packed as columns, or the error that names bad rows."""
    columns = _core.Columns(
        rows.array, rows.code, similarity, precision, n_threads, plan=plan, warm=warm, origin=origin
    )  # fmt: skip
    if columns.bad_rows:
        rows.refuse(columns.bad_rows)
    return columns


def check_rows(rows: HostRows, similarity: str, n_threads: int, *, only_cosine: bool = False) -> None:
    """The error that `pack` would raise, without packing."""
    bad = _core.check_rows(rows.array, rows.code, similarity, n_threads)
    if bad:
        rows.refuse(bad, only_cosine=only_cosine)


def choose(rows: HostRows, columns: HostRows, request: Request, n_threads: int, **more: Any) -> _core.Plan:
    """How an exact call with method "auto" or "cascade" goes through its pairs."""
    return _core.choose(
        rows.array, rows.code, columns.array, columns.code, request.similarity, "exact", n_threads,
        forced=request.method == "cascade", recipe=request.recipe, k=request.k, **more,
    )  # fmt: skip


def describe(plan: _core.Plan, dim: int) -> str:
    """What was chosen and expected, for people."""
    if not plan.cascade:
        return f"dense because {plan.reason}"
    passes = [f"{plan.dims} of {dim} dims as {plan.codes} leave {plan.kept[0]:.2%}"]
    if plan.refines:
        passes.append(f"all dims as {plan.codes} {plan.kept[1]:.2%}")
    return f"expected: {', '.join(passes)}, the rest is decided, in about {plan.work:.0%} of the dense time"


def kth_best(
    txt: HostRows,
    img: HostRows | PoolSide,
    request: Request,
    rules: HostRules,
    n_threads: int,
    progress: Progress = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The k-th best of `best_in_pool`: its similarity and its row, (n_txt,)."""
    parts = [
        (values[:, -1].copy(), rows[:, -1].copy())  # a view would keep all k
        for values, rows in best_in_pool(txt, img, request, rules, n_threads, progress)
    ]
    if len(parts) == 1:
        return parts[0]
    value, row = zip(*parts, strict=True)
    return np.concatenate(value), np.concatenate(row)


class PoolSide:
    """A pool that passes by: packed in blocks for each call anew, or as one that is kept."""

    def __init__(self, img: HostRows, *, keep: bool = False) -> None:
        self.img, self.keep = img, keep
        self.lock = threading.Lock()
        self.plan: _core.Plan | None = None
        self.columns: _core.Columns | None = None  # kept

    def prepare(self, txt: HostRows, request: Request, n_threads: int, **more: object) -> None:
        """Chooses how texts like these find what the request is for; a pool that is kept keeps to it."""
        with self.lock:
            if self.columns is not None:
                return
            if request.method != "dense" and request.precision == "exact":
                if self.keep:
                    more["expected_rows"] = _EXPECTED
                self.plan = choose(txt, self.img, request, n_threads, **more)
            if self.keep:
                self.columns = pack(self.img, request.similarity, request.precision, n_threads, plan=self.plan)

    def blocks(self) -> list[tuple[int, int]]:
        if self.keep:
            return [(0, self.img.shape[0])]
        # Packed in float32; of a cascade about codes of one byte a value, and of the prefix.
        value_bytes = 2 if self.plan is not None and self.plan.cascade else 4
        return pool_blocks(self.img.shape[0], value_bytes * self.img.shape[1])

    def packed(self, start: int, stop: int, request: Request, n_threads: int, *, warm: bool) -> _core.Columns:
        """One of the blocks. `warm`: no text knows its best images yet."""
        if self.columns is not None:
            return self.columns
        block = self.img.part(start, stop)
        return pack(block, request.similarity, request.precision, n_threads, plan=self.plan, warm=warm)


def best_in_pool(
    txt: HostRows,
    img: HostRows | PoolSide,
    request: Request,
    rules: HostRules,
    n_threads: int,
    progress: Progress = None,
    floors: NDArray[np.float64] | None = None,
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """The k largest similarities of each text over the pool and their rows, for one slice of texts after the other.

    Descending, ties to the lowest row; -inf and -1 where fewer than k pairs count. In NumPy, without the rules (those
    of a call of `score`: the texts are their columns) and without the matrix::

        rows = np.argsort(-(txt @ img.T), axis=1, kind="stable")[:, :k]

    Needs 1 <= k <= n_img and at least one text. `floors` (n_txt,): only similarities above it.
    """
    pool = img if isinstance(img, PoolSide) else PoolSide(img)
    n_txt, n_img, k = txt.shape[0], pool.img.shape[0], request.k
    pool.prepare(txt, request._replace(recipe="top_similarity"), n_threads, ceiling=rules.max_similarity)
    blocks = pool.blocks()
    owners = None if rules.col_owners is None else rules.col_owners.astype(np.int32)
    step = max(_LEAST_SLICE, _STATE_BYTES // (_BYTES_PER_ENTRY * k))
    for first in range(0, n_txt, step):
        texts = txt.part(first, first + step)
        part = slice(first, first + step)
        values = rows = None
        least = floor = None if floors is None else floors[part]
        for start, stop in blocks:
            columns = pool.packed(start, stop, request, n_threads, warm=values is None)
            done = first * n_img + texts.shape[0] * start
            found, at, bad = _core.reduce(
                texts.array, txt.code, columns, "top_similarity", n_threads, k=min(k, stop - start), floor=floor,
                rules=rules_of_texts(rules, owners, part, start, stop),
                progress=progress and share_of(progress, done, texts.shape[0] * (stop - start), n_txt * n_img),
            )  # fmt: skip
            texts.refuse(bad)
            assert at is not None
            if values is None or rows is None:
                values, rows = found, at
            else:
                at[at >= 0] += start
                values, rows = merge(values, rows, found, at, k)
            if values.shape[1] == k:
                floor = values[:, -1] if least is None else np.maximum(values[:, -1], least)
        assert values is not None
        assert rows is not None
        yield values, rows
    if progress is not None:
        progress(1.0)


def rules_of_texts(
    rules: HostRules, owners: NDArray[np.int32] | None, part: slice, start: int, stop: int
) -> _core.Rules:
    """The rules where texts are the rows, for some texts and the images from `start` to `stop`."""
    given: dict[str, Any] = {}
    if rules.max_similarity is not None:
        given = {"max_similarity": rules.max_similarity[part], "max_similarity_of_rows": True}
    if rules.col_groups is not None:
        given["row_groups"] = rules.col_groups[part]
    if rules.row_groups is not None:
        given["col_groups"] = rules.row_groups[start:stop]
    if owners is not None:
        given["row_owners"] = owners[part]
        given["col_owners"] = np.arange(start, stop, dtype=np.int32)
    return _core.Rules(**given)


def pool_blocks(n: int, row_bytes: int) -> list[tuple[int, int]]:
    """The blocks of rows in which a pool is packed."""
    block = max(_LEAST_BLOCK, _BLOCK_BYTES // row_bytes)
    return [(start, min(start + block, n)) for start in range(0, n, block)]


def merge(
    values: NDArray[np.float64], rows: NDArray[np.int64], found: NDArray[np.float64], at: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The k best of two lists. The sort is stable and `values` come from earlier rows, so ties go to the lowest."""
    values = np.concatenate([values, found], axis=1)
    rows = np.concatenate([rows, at], axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(rows, order, axis=1)


def share_of(progress: Callable[[float], object], done: int, here: int, total: int) -> Callable[[float], object]:
    """Progress of one call as progress of all: its share of the text-image rectangle after what came before."""
    return lambda fraction: progress((done + fraction * here) / total)
