"""Roles swapped: what each text finds in the whole pool, which is streamed past the texts in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.rules import refuse_bad_rows

# Pool rows are packed in blocks of this size: much longer than what packing a block and starting a pass cost, much
# smaller than a pool. The blocks are the same for any number of threads, and their results merge exactly.
_BLOCK_BYTES = 2**24
_LEAST_BLOCK = 256
# The running top k of this many texts at a time: 16 bytes an entry, six times over while two lists are merged.
_STATE_BYTES = 2**26
_BYTES_PER_ENTRY = 96
_LEAST_SLICE = 16


def pack(
    name: str,
    array: NDArray[Any],
    code: int,
    similarity: str,
    precision: str,
    n_threads: int,
    rows: NDArray[np.int64] | None = None,
    start: int = 0,
    plan: _core.Plan | None = None,
    warm: bool = True,
    origin: NDArray[np.float64] | None = None,
) -> _core.Columns:
    """`array` packed as columns, or the error that names its bad rows (row i is the caller's rows[i] or start + i)."""
    columns = _core.Columns(array, code, similarity, precision, n_threads, plan=plan, warm=warm, origin=origin)
    if bad := columns.bad_rows:
        refuse_bad_rows(name, bad, rows, start)
    return columns


def check_rows(
    name: str,
    array: NDArray[Any],
    code: int,
    similarity: str,
    n_threads: int,
    rows: NDArray[np.int64] | None = None,
    *,
    only_cosine: bool = False,
) -> None:
    """The error that `pack` would raise, without packing."""
    if bad := _core.check_rows(array, code, similarity, n_threads):
        refuse_bad_rows(name, bad, rows, only_cosine=only_cosine)


def choose(
    rows: NDArray[Any],
    rows_code: int,
    columns: NDArray[Any],
    columns_code: int,
    similarity: str,
    n_threads: int,
    method: str,
    **request: Any,
) -> _core.Plan:
    """How an exact call with method "auto" or "cascade" goes through its pairs."""
    return _core.choose(
        rows, rows_code, columns, columns_code, similarity, "exact", n_threads, forced=method == "cascade", **request
    )


def describe(plan: _core.Plan, dim: int) -> str:
    """What was chosen and expected, for people."""
    if not plan.cascade:
        return f"dense because {plan.reason}"
    passes = [f"{plan.dims} of {dim} dims as {plan.codes} leave {plan.kept[0]:.2%}"]
    if plan.refines:
        passes.append(f"all dims as {plan.codes} {plan.kept[1]:.2%}")
    return f"expected: {', '.join(passes)}, the rest is decided, in about {plan.work:.0%} of the dense time"


def kth_best(
    txt: NDArray[Any],
    txt_code: int,
    img: NDArray[Any],
    img_code: int,
    k: int,
    similarity: str,
    precision: str,
    n_threads: int,
    progress: Callable[[float], object] | None = None,
    **options: Any,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The k-th best of `best_in_pool`: its similarity and its row, (n_txt,)."""
    parts = [
        (values[:, -1].copy(), rows[:, -1].copy())  # a view would keep all k
        for values, rows in best_in_pool(
            txt, txt_code, img, img_code, k, similarity, precision, n_threads, progress, **options
        )
    ]
    if len(parts) == 1:
        return parts[0]
    value, row = zip(*parts, strict=True)
    return np.concatenate(value), np.concatenate(row)


def best_in_pool(
    txt: NDArray[Any],
    txt_code: int,
    img: NDArray[Any],
    img_code: int,
    k: int,
    similarity: str,
    precision: str,
    n_threads: int,
    progress: Callable[[float], object] | None = None,
    *,
    method: str = "auto",
    max_similarity: NDArray[np.float64] | None = None,
    txt_groups: NDArray[np.int32] | None = None,
    img_groups: NDArray[np.int32] | None = None,
    txt_owners: NDArray[np.int32] | None = None,
    names: tuple[str, str] = ("txt_emb", "img_emb"),
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """The k largest similarities of each text over the pool and their rows, for one slice of texts after the other.

    Descending, ties to the lowest row; -inf and -1 where fewer than k pairs count. In NumPy, without the filters and
    without the matrix::

        rows = np.argsort(-(txt @ img.T), axis=1, kind="stable")[:, :k]

    Needs 1 <= k <= n_img and at least one text. `names`: what texts and pool are called in errors.
    """
    plan = None
    row_bytes = 4 * img.shape[1]
    if method != "dense" and precision == "exact":
        plan = choose(txt, txt_code, img, img_code, similarity, n_threads, method, recipe="top_similarity", k=k)
        if plan.cascade:
            row_bytes = 2 * img.shape[1]  # about: codes of one byte a value, and of the prefix
    blocks = pool_blocks(len(img), row_bytes)
    step = max(_LEAST_SLICE, _STATE_BYTES // (_BYTES_PER_ENTRY * k))
    for first in range(0, len(txt), step):
        part = slice(first, first + step)
        filters: dict[str, Any] = {}
        if max_similarity is not None:
            filters["max_similarity"] = max_similarity[part]
            filters["max_similarity_of_rows"] = True
        if txt_groups is not None:
            filters["row_groups"] = txt_groups[part]
        if txt_owners is not None:
            filters["row_owners"] = txt_owners[part]
        values = rows = None
        for start, stop in blocks:
            columns = pack(
                names[1], img[start:stop], img_code, similarity, precision, n_threads, start=start, plan=plan,
                warm="floor" not in filters,
            )  # fmt: skip
            if img_groups is not None:
                filters["col_groups"] = img_groups[start:stop]
            if txt_owners is not None:
                filters["col_owners"] = np.arange(start, stop, dtype=np.int32)
            if progress is not None:
                filters["progress"] = _share(progress, len(txt), len(img), first, len(txt[part]), start, stop)
            found, at, bad = _core.reduce(
                txt[part], txt_code, columns, "top_similarity", n_threads, k=min(k, stop - start), **filters
            )
            if bad:
                refuse_bad_rows(names[0], bad, start=first)
            assert at is not None
            if values is None or rows is None:
                values, rows = found, at
            else:
                at[at >= 0] += start
                values, rows = _merge(values, rows, found, at, k)
            if values.shape[1] == k:
                filters["floor"] = values[:, -1]
        assert values is not None
        assert rows is not None
        yield values, rows
    if progress is not None:
        progress(1.0)


def pool_blocks(n: int, row_bytes: int) -> list[tuple[int, int]]:
    """The blocks of rows in which a pool is packed."""
    block = max(_LEAST_BLOCK, _BLOCK_BYTES // row_bytes)
    return [(start, min(start + block, n)) for start in range(0, n, block)]


def _merge(
    values: NDArray[np.float64], rows: NDArray[np.int64], found: NDArray[np.float64], at: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The k best of two lists. The sort is stable and `values` come from earlier rows, so ties go to the lowest."""
    values = np.concatenate([values, found], axis=1)
    rows = np.concatenate([rows, at], axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _share(
    progress: Callable[[float], object], n_txt: int, n_img: int, first: int, n_part: int, start: int, stop: int
) -> Callable[[float], object]:
    """Progress of one call as progress of all: its share of the text-image rectangle after what came before."""
    done = first * n_img + n_part * start
    here = n_part * (stop - start)
    return lambda fraction: progress((done + fraction * here) / (n_txt * n_img))
