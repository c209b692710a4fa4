"""Sums of symmetric terms over the pairs of points of one set, and of exponential kernels over any pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.rules import refuse_bad_rows
from hnscore.engine.cpu import pack, pool_blocks

Progress = Callable[[float], object] | None


def triangle_sums(
    emb: NDArray[Any],
    code: int,
    recipe: str,
    similarity: str,
    precision: str,
    n_threads: int,
    *,
    tau: float = -np.inf,
    temperature: float = 1.0,
    weights: NDArray[np.float64] | None = None,
    progress: Progress = None,
) -> NDArray[np.float64]:
    """sum_{j != i} weights_j term(s_ij) over s_ij > tau, each pair of points looked at once; (n,)."""
    n = len(emb)
    sums = np.zeros(n)
    for start, stop in pool_blocks(n, 4 * emb.shape[1]):
        options: dict[str, Any] = {}
        if weights is not None:
            options["row_weights"] = weights[:stop]
            options["col_weights"] = weights[start:stop]
        if progress is not None:
            options["progress"] = _part(progress, (start / n) ** 2, (stop / n) ** 2)
        columns = pack("emb", emb[start:stop], code, similarity, precision, n_threads, start=start)
        of_rows, of_columns, bad = _core.reduce(
            emb[:stop], code, columns, recipe, n_threads, triangle=start, temperature=temperature,
            tau=None if tau == -np.inf else np.full(stop - start, tau), **options,
        )  # fmt: skip
        if bad:
            refuse_bad_rows("emb", bad)
        sums[:stop] += of_rows
        sums[start:stop] += of_columns
    return sums


def kernel_gains(
    rows: NDArray[Any],
    rows_code: int,
    points: NDArray[Any],
    points_code: int,
    temperature: float,
    n_threads: int,
    *,
    precision: str = "exact",
    weights: NDArray[np.float64] | None = None,
    floor: NDArray[np.float64] | None = None,
    progress: Progress = None,
    names: tuple[str, str] = ("emb", "emb"),
) -> NDArray[np.float64]:
    """sum_j weights_j max(exp((s_ij - 1) / temperature) - floor_j, 0) of each row i over the points j, s the cosine."""

    def options(start: int, stop: int) -> dict[str, Any]:
        given: dict[str, Any] = {"temperature": temperature}
        if weights is not None:
            given["col_weights"] = weights[start:stop]
        if floor is not None:
            given["col_shift"] = -floor[start:stop]
            with np.errstate(divide="ignore"):
                given["tau"] = 1 + temperature * np.log(floor[start:stop])
        return given

    gains = np.zeros(len(rows))
    for sums in reduced_blocks(
        rows, rows_code, points, points_code, "kernel", "cosine", precision, n_threads, options, progress, names
    ):
        gains += sums
    return gains


def reduced_blocks(
    rows: NDArray[Any],
    rows_code: int,
    points: NDArray[Any],
    points_code: int,
    recipe: str,
    similarity: str,
    precision: str,
    n_threads: int,
    options: Callable[[int, int], dict[str, Any]],
    progress: Progress,
    names: tuple[str, str],
    plan: _core.Plan | None = None,
    origin: NDArray[np.float64] | None = None,
) -> Iterator[NDArray[np.float64]]:
    """What each row reduces to over one block of points after the other; `options` of the block start .. stop - 1."""
    n = len(points)
    for start, stop in pool_blocks(n, (2 if plan else 4) * points.shape[1]):
        given = options(start, stop)
        if progress is not None:
            given["progress"] = _part(progress, start / n, stop / n)
        columns = pack(
            names[1], points[start:stop], points_code, similarity, precision, n_threads, start=start, plan=plan,
            origin=origin,
        )  # fmt: skip
        values, _, bad = _core.reduce(rows, rows_code, columns, recipe, n_threads, **given)
        if bad:
            refuse_bad_rows(names[0], bad)
        yield values


def _part(progress: Callable[[float], object], start: float, stop: float) -> Callable[[float], object]:
    """Progress of a part as progress of the whole."""
    return lambda share: progress(start + share * (stop - start))
