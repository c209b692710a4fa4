"""Sums of symmetric terms over the pairs of points of one set, and of exponential kernels over any pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.engine.host import HostRows
from hnscore.engine.pool import pack, pool_blocks
from hnscore.engine.protocol import Progress, Request

Floats = NDArray[np.float64]


def triangle_sums(
    points: HostRows,
    request: Request,
    n_threads: int,
    *,
    tau: float = -np.inf,
    weights: Floats | None = None,
    progress: Progress = None,
) -> Floats:
    """sum_{j != i} weights_j term(s_ij) over s_ij > tau, each pair of points looked at once; (n,)."""
    n = points.shape[0]
    sums = np.zeros(n)
    for start, stop in pool_blocks(n, 4 * points.shape[1]):
        terms = _core.Terms()
        if weights is not None:
            terms = _core.Terms(row_weights=weights[:stop], col_weights=weights[start:stop])
        columns = pack(points.part(start, stop), request.similarity, request.precision, n_threads)
        of_rows, of_columns, bad = _core.reduce(
            points.array[:stop], points.code, columns, request.recipe, n_threads, triangle=start,
            temperature=request.temperature, tau=None if tau == -np.inf else np.full(stop - start, tau), terms=terms,
            progress=progress and _part(progress, (start / n) ** 2, (stop / n) ** 2),
        )  # fmt: skip
        points.refuse(bad)
        sums[:stop] += of_rows
        sums[start:stop] += of_columns
    return sums


def kernel_gains(
    rows: HostRows,
    points: HostRows,
    request: Request,
    n_threads: int,
    *,
    weights: Floats | None = None,
    floor: Floats | None = None,
    plan: _core.Plan | None = None,
    progress: Progress = None,
) -> Floats:
    """sum_j weights_j max(exp((s_ij - 1) / temperature) - floor_j, 0) of each row i over the points j, s the cosine."""
    temperature = request.temperature

    def options(start: int, stop: int) -> dict[str, Any]:
        part = slice(start, stop)
        given: dict[str, Any] = {"temperature": temperature}
        shift = None
        if floor is not None:
            shift = -floor[part]
            with np.errstate(divide="ignore"):
                given["tau"] = 1 + temperature * np.log(floor[part])
        given["terms"] = _core.Terms(col_weights=None if weights is None else weights[part], col_shift=shift)
        return given

    gains = np.zeros(rows.shape[0])
    request = request._replace(recipe="kernel", similarity="cosine")
    for sums in reduced_blocks(rows, points, request, n_threads, options, progress, plan=plan):
        gains += sums
    return gains


def hinge_sums(
    rows: HostRows,
    points: HostRows,
    request: Request,
    n_threads: int,
    *,
    tau: Floats,
    weights: Floats | None = None,
    plan: _core.Plan | None = None,
    progress: Progress = None,
) -> Floats:
    """sum_j weights_j max(s_ij - tau_j, 0) of each row i over the points j, s the cosine."""

    def options(start: int, stop: int) -> dict[str, Any]:
        part = slice(start, stop)
        return {"tau": tau[part], "terms": _core.Terms(col_weights=None if weights is None else weights[part])}

    sums = np.zeros(rows.shape[0])
    request = request._replace(recipe="hinge", similarity="cosine")
    for block in reduced_blocks(rows, points, request, n_threads, options, progress, plan=plan):
        sums += block
    return sums


def reduced_blocks(
    rows: HostRows,
    points: HostRows,
    request: Request,
    n_threads: int,
    options: Callable[[int, int], dict[str, Any]],
    progress: Progress,
    *,
    plan: _core.Plan | None = None,
    origin: Floats | None = None,
) -> Iterator[Floats]:
    """What each row reduces to over one block of points after the other; `options` of the block start .. stop - 1."""
    n = points.shape[0]
    for start, stop in pool_blocks(n, (2 if plan else 4) * points.shape[1]):
        columns = pack(
            points.part(start, stop), request.similarity, request.precision, n_threads, plan=plan, origin=origin
        )  # fmt: skip
        values, _, bad = _core.reduce(
            rows.array, rows.code, columns, request.recipe, n_threads, **options(start, stop),
            progress=progress and _part(progress, start / n, stop / n),
        )  # fmt: skip
        rows.refuse(bad)
        yield values


def _part(progress: Callable[[float], object], start: float, stop: float) -> Callable[[float], object]:
    """Progress of a part as progress of the whole."""
    return lambda share: progress(start + share * (stop - start))
