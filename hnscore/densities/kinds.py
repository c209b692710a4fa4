"""The kinds of density, in one table: what each needs, how it adds up, where there is more than the plain way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.checks import check_similarity_level
from hnscore.arguments.dtypes import as_float64
from hnscore.arguments.numbers import check_at_least, check_choice, check_integer, check_positive, check_within
from hnscore.arguments.options import METHODS
from hnscore.arguments.values import read_point_values
from hnscore.densities import on_gpu
from hnscore.densities.points import Call, Points, neighbours
from hnscore.engine.memory.device import DeviceArray
from hnscore.engine.pool import check_rows, choose
from hnscore.engine.sums import kernel_gains, reduced_blocks, triangle_sums

Floats = NDArray[np.float64]

_NEIGHBOURS = 20
_LEAST_TEMPERATURE = 1e-5  # where a kernel is known to 2 %
_VARIANCES = (1e-18, 1e18)  # what float32 exponents can take
_CHUNK_VALUES = 2**20  # of points read as float64 at a time


class Kind(NamedTuple):
    keyword: str  # that it alone has, "" none
    check: Callable[[Any, Points], Any]  # of the keyword's value
    sums: Callable[[Call], Floats]  # over the other points
    mean: Callable[[Floats, Any, Call], Floats]  # of sums and the total of the weights
    needs_value: bool = True
    counts: bool = False  # integers, without weights
    cosine_only: bool = False
    has_cascade: bool = False
    float32_weights: bool = False  # as the core has them
    on_gpu: Callable[[Call], DeviceArray] | None = None  # the density itself, without weights; None: no kernels
    of_tensors: bool = False  # there alone


def unit_weights(weights: Floats) -> Floats:
    """With the largest 1: only their ratios matter, and no sum leaves the range of its type."""
    largest = weights.max(initial=0.0)
    return weights / largest if largest > 0 else weights


def _rules(owners: NDArray[np.int32] | None, part: slice) -> _core.Rules:
    """Of points that are not compared with themselves."""
    return _core.Rules() if owners is None else _core.Rules(row_owners=owners, col_owners=owners[part])


# ---- knn -------------------------------------------------------------------------------------------------------------


def _neighbours(k: object, points: Points) -> int:
    if not points.n:  # nobody has neighbours
        return 1
    if k is None:
        return min(_NEIGHBOURS, int(points.compared))
    return check_integer("k", k, 1, points.compared, "points compared with")


def _knn(c: Call) -> Floats:
    if not c.points.n:
        return np.zeros(0)
    means = []
    for values, rows in neighbours(c.points, c.request._replace(k=c.value), c.bar):
        if c.weights is None:
            means.append(values.mean(axis=1))
            continue
        w = c.weights[rows]
        total = w.sum(axis=1)
        check_positive("weights", float(total.min()), "the sum of the weights of a point's neighbours")
        means.append((values * w).sum(axis=1) / total)
    return np.concatenate(means)


# ---- ball ------------------------------------------------------------------------------------------------------------


def _ball(c: Call) -> Floats:
    p, least, weights, threads = c.points, c.value, c.weights, c.points.engine.threads
    request = c.request._replace(recipe="count")
    tau = float(np.nextafter(least, -np.inf))  # s >= least where s > tau
    plan = None
    if request.method != "dense" and request.precision == "exact":
        plan = choose(p.rows, p.others, request, threads, tau=np.full(p.n_others, tau), expected_rows=p.n)
        if not plan.cascade:
            plan = None
    if plan is None and p.own:
        counts = triangle_sums(p.rows, request, threads, tau=tau, weights=weights, progress=c.bar)
        if not p.exclude_self:
            counts += (p.own_similarity() >= least) * (1 if weights is None else weights)
        return counts
    owners = p.owners()

    def options(start: int, stop: int) -> dict[str, Any]:
        part = slice(start, stop)
        return {
            "tau": np.full(stop - start, tau),
            "terms": _core.Terms(col_weights=None if weights is None else weights[part]),
            "rules": _rules(owners, part),
        }

    counts = np.zeros(p.n)
    for block in reduced_blocks(p.rows, p.others, request, threads, options, c.bar, plan=plan):
        counts += block
    return counts


def _share(sums: Floats, total: float, c: Call) -> Floats:
    return sums if c.weights is None else np.minimum(sums / total, 1.0)  # but for rounding it never is more


# ---- kernel ----------------------------------------------------------------------------------------------------------


def _kernel(c: Call) -> Floats:
    p, weights, threads = c.points, c.weights, c.points.engine.threads
    request = c.request._replace(recipe="kernel", temperature=c.value)
    if not p.own:
        return kernel_gains(p.rows, p.others, request, threads, weights=weights, progress=c.bar)
    sums = triangle_sums(p.rows, request, threads, weights=weights, progress=c.bar)
    if not p.exclude_self:
        sums += 1 if weights is None else weights
    return sums


# ---- mean ------------------------------------------------------------------------------------------------------------


def _mean(c: Call) -> Floats:
    """sum_j w_j s_ij = x_i . sum_j w_j x_j: no pair is looked at. Sums in one order, whatever the threads."""
    p, weights = c.points, c.weights
    for side in (p.rows,) if p.own else (p.rows, p.others):
        check_rows(side, p.similarity, p.engine.threads)
    step = max(1, _CHUNK_VALUES // p.dim)

    def chunks(array: NDArray[Any], code: int) -> Iterator[tuple[slice, Floats]]:
        for first in range(0, len(array), step):
            x = as_float64(array[first : first + step], code)
            if p.similarity == "cosine":
                x /= np.sqrt((x * x).sum(axis=1, keepdims=True))
            yield slice(first, first + len(x)), x

    centre = np.zeros(p.dim)
    for part, x in chunks(p.others.array, p.others.code):
        centre += x.sum(axis=0) if weights is None else (x * weights[part, None]).sum(axis=0)
    sums = np.empty(p.n)
    for part, x in chunks(p.rows.array, p.rows.code):
        sums[part] = (x * centre).sum(axis=1)
        if p.exclude_self:
            own = (x * x).sum(axis=1)
            sums[part] -= own if weights is None else own * weights[part]
    return sums


# ---- gaussian --------------------------------------------------------------------------------------------------------


def _variances(variance: object, points: Points) -> tuple[Floats, Floats]:
    def values(name: str, x: object, n: int) -> Floats:
        v = read_point_values(name, x, n, above=0.0)
        for extreme in (v.min(initial=1.0), v.max(initial=1.0)):
            check_within(name, float(extreme), *_VARIANCES)
        return v

    if points.own:
        own = values("variance", variance, points.n)
        return own, own
    if not (isinstance(variance, (tuple, list)) and len(variance) == 2):
        raise TypeError(
            f"variance must be a pair of arrays with against, of emb and of against, got {type(variance).__name__}; "
            "pass (emb_variance, against_variance)"
        )
    return values("variance[0]", variance[0], points.n), values("variance[1]", variance[1], points.n_others)


def _mean_point(points: Points) -> Floats:
    """The mean of all points: distances do not move when it is subtracted, and float32 holds more of what is left."""
    p = points
    sides = [(p.rows.array, p.rows.code)] if p.own else [(p.rows.array, p.rows.code), (p.others.array, p.others.code)]
    n = sum(len(array) for array, _ in sides)
    step = max(1, _CHUNK_VALUES // p.dim)
    centre = np.zeros(p.dim)
    with np.errstate(over="ignore", invalid="ignore"):
        for array, code in sides:
            for first in range(0, len(array), step):
                centre += (as_float64(array[first : first + step], code) / n).sum(axis=0)
    return centre if np.isfinite(centre).all() else np.zeros_like(centre)  # bad rows are named where they are packed


def _gaussian(c: Call) -> Floats:
    """ln sum_j w_j N(mu_i; mu_j, (v_i + v_j) I), variances in units of a typical sum of two, v_0."""
    p, weights = c.points, c.weights
    own, other = c.value
    unit = 2 * float(np.exp(np.log(other).mean()))
    origin = _mean_point(p) if p.similarity == "dot" else None
    owners = np.arange(p.n, dtype=np.int32) if p.own else None
    with np.errstate(divide="ignore"):
        shift = np.zeros(len(other)) if weights is None else np.log(weights)
    logs = np.full(p.n, -np.inf)
    if p.own and not p.exclude_self:  # where the distance is 0, and float32 products would not say so
        logs = shift - p.dim / 2 * np.log(2 * own / unit)

    def options(start: int, stop: int) -> dict[str, Any]:
        part = slice(start, stop)
        terms = _core.Terms(
            rate=0.5 / unit, row_variance=own / unit, col_variance=other[part] / unit, col_shift=shift[part]
        )
        return {"terms": terms, "rules": _rules(owners, part)}

    request = c.request._replace(recipe="overlap")
    for block in reduced_blocks(p.rows, p.others, request, p.engine.threads, options, c.bar, origin=origin):
        logs = np.logaddexp(logs, block)
    constant = p.dim / 2 * float(np.log(2 * np.pi * unit))
    return np.asarray(logs - constant, np.float64)


# ---- The table -------------------------------------------------------------------------------------------------------


def _over_total(sums: Floats, total: float, c: Call) -> Floats:
    return np.asarray(sums / total)


KINDS = {
    "knn": Kind(
        "k", _neighbours, _knn, lambda means, total, c: means, needs_value=False, has_cascade=True, on_gpu=on_gpu.knn
    ),
    "ball": Kind(
        "min_similarity", lambda x, points: check_similarity_level("min_similarity", x, points.similarity),
        _ball, _share,
        counts=True, has_cascade=True, float32_weights=True, on_gpu=on_gpu.ball,
    ),
    "kernel": Kind(
        "temperature",
        lambda x, points: check_at_least("temperature", x, _LEAST_TEMPERATURE, "below which float32 tells no kernel"),
        _kernel, _over_total, cosine_only=True, float32_weights=True, on_gpu=on_gpu.kernel,
    ),
    "mean": Kind("", lambda x, points: None, _mean, _over_total, on_gpu=on_gpu.mean, of_tensors=True),
    "gaussian": Kind("variance", _variances, _gaussian, lambda logs, total, c: np.asarray(logs - np.log(total))),
}  # fmt: skip


def check_method(method: object, kind: str, precision: str) -> None:
    check_choice("method", method, METHODS)
    if method == "cascade" and not (KINDS[kind].has_cascade and precision == "exact"):
        having = " and ".join(repr(name) for name, other in KINDS.items() if other.has_cascade)
        raise ValueError(
            f"method='cascade' is for the exact kinds {having}, got kind={kind!r} and precision={precision!r}; use "
            "method='auto'"
        )
