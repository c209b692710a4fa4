"""The kinds of density, in one table: what each needs, how it adds up, where there is more than the plain way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import as_float64
from hnscore.arguments.checks import similarity_level
from hnscore.arguments.numbers import at_least, choice, integer, positive, within
from hnscore.arguments.options import METHODS
from hnscore.arguments.values import point_values
from hnscore.densities.points import Points, neighbours
from hnscore.engine.cpu import check_rows, choose
from hnscore.engine.sums import kernel_gains, reduced_blocks, triangle_sums

Floats = NDArray[np.float64]

_NEIGHBOURS = 20
_LEAST_TEMPERATURE = 1e-5  # where a kernel is known to 2 %
_VARIANCES = (1e-18, 1e18)  # what float32 exponents can take
_CHUNK_VALUES = 2**20  # of points read as float64 at a time


@dataclass(frozen=True)
class Call:
    """A call on points in CPU memory, checked. `value`: of the keyword that its kind alone has."""

    points: Points
    value: Any
    weights: Floats | None
    precision: str
    method: str
    bar: Any


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
    on_gpu: str = "no"  # there are kernels: "yes", "tensors" for these alone, "no"


def has_gpu_kernels(kind: Kind, of_tensors: bool, weights: Any) -> bool:
    return weights is None and (kind.on_gpu == "yes" or (kind.on_gpu == "tensors" and of_tensors))


def unit_weights(weights: Floats) -> Floats:
    """With the largest 1: only their ratios matter, and no sum leaves the range of its type."""
    largest = weights.max(initial=0.0)
    return weights / largest if largest > 0 else weights


# ---- knn -------------------------------------------------------------------------------------------------------------


def _neighbours(k: Any, points: Points) -> int:
    if not points.n:  # nobody has neighbours
        return 1
    if k is None:
        return min(_NEIGHBOURS, points.compared)
    return integer("k", k, 1, points.compared, "points compared with")


def _knn(c: Call) -> Floats:
    if not c.points.n:
        return np.zeros(0)
    means = []
    for values, rows in neighbours(c.points, c.value, c.precision, c.method, c.bar):
        if c.weights is None:
            means.append(values.mean(axis=1))
            continue
        w = c.weights[rows]
        total = w.sum(axis=1)
        positive("weights", float(total.min()), "the sum of the weights of a point's neighbours")
        means.append((values * w).sum(axis=1) / total)
    return np.concatenate(means)


# ---- ball ------------------------------------------------------------------------------------------------------------


def _ball(c: Call) -> Floats:
    p, least, weights, precision, bar = c.points, c.value, c.weights, c.precision, c.bar
    tau = float(np.nextafter(least, -np.inf))  # s >= least where s > tau
    plan = None
    if c.method != "dense" and precision == "exact":
        plan = choose(
            p.emb, p.code, p.other, p.other_code, p.similarity, p.threads, c.method, recipe="count",
            tau=np.full(len(p.other), tau), expected_rows=p.n,
        )  # fmt: skip
        if not plan.cascade:
            plan = None
    if plan is None and p.own:
        counts = triangle_sums(
            p.emb, p.code, "count", p.similarity, precision, p.threads, tau=tau, weights=weights, progress=bar
        )
        if not p.exclude_self:
            counts += (p.own_similarity() >= least) * (1 if weights is None else weights)
        return counts
    owners = p.owners()

    def options(start: int, stop: int) -> dict[str, Any]:
        given: dict[str, Any] = {"tau": np.full(stop - start, tau)}
        if weights is not None:
            given["col_weights"] = weights[start:stop]
        if owners is not None:
            given["row_owners"], given["col_owners"] = owners, owners[start:stop]
        return given

    counts = np.zeros(p.n)
    for block in reduced_blocks(
        p.emb, p.code, p.other, p.other_code, "count", p.similarity, precision, p.threads, options, bar, p.names, plan
    ):
        counts += block
    return counts


def _share(sums: Floats, total: Any, c: Call) -> Floats:
    return sums if c.weights is None else np.minimum(sums / total, 1.0)  # but for rounding it never is more


# ---- kernel ----------------------------------------------------------------------------------------------------------


def _kernel(c: Call) -> Floats:
    p, temperature, weights, precision, bar = c.points, c.value, c.weights, c.precision, c.bar
    if not p.own:
        return kernel_gains(
            p.emb, p.code, p.other, p.other_code, temperature, p.threads, precision=precision, weights=weights,
            progress=bar, names=p.names,
        )  # fmt: skip
    sums = triangle_sums(
        p.emb, p.code, "kernel", "cosine", precision, p.threads, temperature=temperature, weights=weights, progress=bar
    )
    if not p.exclude_self:
        sums += 1 if weights is None else weights
    return sums


# ---- mean ------------------------------------------------------------------------------------------------------------


def _mean(c: Call) -> Floats:
    """sum_j w_j s_ij = x_i . sum_j w_j x_j: no pair is looked at. Sums in one order, whatever the threads."""
    p, weights = c.points, c.weights
    check_rows("emb", p.emb, p.code, p.similarity, p.threads)
    if not p.own:
        check_rows("against", p.other, p.other_code, p.similarity, p.threads)
    step = max(1, _CHUNK_VALUES // p.emb.shape[1])

    def chunks(array: NDArray[Any], code: int) -> Iterator[tuple[slice, Floats]]:
        for first in range(0, len(array), step):
            x = as_float64(array[first : first + step], code)
            if p.similarity == "cosine":
                x /= np.sqrt((x * x).sum(axis=1, keepdims=True))
            yield slice(first, first + len(x)), x

    centre = np.zeros(p.emb.shape[1])
    for part, x in chunks(p.other, p.other_code):
        centre += x.sum(axis=0) if weights is None else (x * weights[part, None]).sum(axis=0)
    sums = np.empty(p.n)
    for part, x in chunks(p.emb, p.code):
        sums[part] = (x * centre).sum(axis=1)
        if p.exclude_self:
            own = (x * x).sum(axis=1)
            sums[part] -= own if weights is None else own * weights[part]
    return sums


# ---- gaussian --------------------------------------------------------------------------------------------------------


def _variances(variance: Any, points: Points) -> tuple[Floats, Floats]:
    def values(name: str, x: Any, n: int) -> Floats:
        v = point_values(name, x, n, above=0.0)
        for extreme in (v.min(initial=1.0), v.max(initial=1.0)):
            within(name, float(extreme), *_VARIANCES)
        return v

    if points.own:
        own = values("variance", variance, points.n)
        return own, own
    if not (isinstance(variance, (tuple, list)) and len(variance) == 2):
        raise TypeError(
            f"variance must be a pair of arrays with against, of emb and of against, got {type(variance).__name__}; "
            "pass (emb_variance, against_variance)"
        )
    return values("variance[0]", variance[0], points.n), values("variance[1]", variance[1], len(points.other))


def _mean_point(points: Points) -> Floats:
    """The mean of all points: distances do not move when it is subtracted, and float32 holds more of what is left."""
    p = points
    sides = [(p.emb, p.code)] if p.own else [(p.emb, p.code), (p.other, p.other_code)]
    n = sum(len(array) for array, _ in sides)
    step = max(1, _CHUNK_VALUES // p.emb.shape[1])
    centre = np.zeros(p.emb.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        for array, code in sides:
            for first in range(0, len(array), step):
                centre += (as_float64(array[first : first + step], code) / n).sum(axis=0)
    return centre if np.isfinite(centre).all() else np.zeros_like(centre)  # bad rows are named where they are packed


def _gaussian(c: Call) -> Floats:
    """ln sum_j w_j N(mu_i; mu_j, (v_i + v_j) I), variances in units of a typical sum of two, v_0."""
    p, weights, precision, bar = c.points, c.weights, c.precision, c.bar
    own, other = c.value
    unit = 2 * float(np.exp(np.log(other).mean()))
    origin = _mean_point(p) if p.similarity == "dot" else None
    owners = np.arange(p.n, dtype=np.int32) if p.own else None
    with np.errstate(divide="ignore"):
        shift = np.zeros(len(other)) if weights is None else np.log(weights)
    logs = np.full(p.n, -np.inf)
    if p.own and not p.exclude_self:  # where the distance is 0, and float32 products would not say so
        logs = shift - p.emb.shape[1] / 2 * np.log(2 * own / unit)

    def options(start: int, stop: int) -> dict[str, Any]:
        given: dict[str, Any] = {
            "rate": 0.5 / unit,
            "row_variance": own / unit,
            "col_variance": other[start:stop] / unit,
            "col_shift": shift[start:stop],
        }
        if owners is not None:
            given["row_owners"], given["col_owners"] = owners, owners[start:stop]
        return given

    for block in reduced_blocks(
        p.emb, p.code, p.other, p.other_code, "overlap", p.similarity, precision, p.threads, options, bar, p.names,
        origin=origin,
    ):  # fmt: skip
        logs = np.logaddexp(logs, block)
    constant = p.emb.shape[1] / 2 * float(np.log(2 * np.pi * unit))
    return np.asarray(logs - constant, np.float64)


# ---- The table -------------------------------------------------------------------------------------------------------


def _over_total(sums: Floats, total: Any, c: Call) -> Floats:
    return np.asarray(sums / total)


KINDS = {
    "knn": Kind(
        "k", _neighbours, _knn, lambda means, total, c: means, needs_value=False, has_cascade=True, on_gpu="yes"
    ),
    "ball": Kind(
        "min_similarity", lambda x, points: similarity_level("min_similarity", x, points.similarity), _ball, _share,
        counts=True, has_cascade=True, float32_weights=True, on_gpu="yes",
    ),
    "kernel": Kind(
        "temperature",
        lambda x, points: at_least("temperature", x, _LEAST_TEMPERATURE, "below which float32 tells no kernel"),
        _kernel, _over_total, cosine_only=True, float32_weights=True, on_gpu="yes",
    ),
    "mean": Kind("", lambda x, points: None, _mean, _over_total, on_gpu="tensors"),
    "gaussian": Kind("variance", _variances, _gaussian, lambda logs, total, c: np.asarray(logs - np.log(total))),
}  # fmt: skip


def check_method(method: Any, kind: str, precision: str) -> None:
    choice("method", method, METHODS)
    if method == "cascade" and not (KINDS[kind].has_cascade and precision == "exact"):
        having = " and ".join(repr(name) for name, other in KINDS.items() if other.has_cascade)
        raise ValueError(
            f"method='cascade' is for the exact kinds {having}, got kind={kind!r} and precision={precision!r}; use "
            "method='auto'"
        )
