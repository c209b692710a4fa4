"""Density: how crowded the embedding space is around each point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import (
    as_float64,
    at_least,
    choice,
    integer,
    like,
    only_with,
    point_values,
    positive,
    within,
)
from hnscore.arguments.checks import similarity_level
from hnscore.arguments.options import DENSITY_KINDS, SIMILARITIES
from hnscore.densities.points import Points, checked_method, neighbours
from hnscore.engine import gpu
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.cpu import check_rows, choose
from hnscore.engine.memory.copies import given_back
from hnscore.engine.memory.device import on_device, precisions
from hnscore.engine.progress import rows_bar
from hnscore.engine.sums import kernel_gains, reduced_blocks, triangle_sums

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, DensityKind, DensityOptions

_NEIGHBOURS = 20
_LEAST_TEMPERATURE = 1e-5  # where a kernel is known to 2 %
_VARIANCES = (1e-18, 1e18)  # what float32 exponents can take
_CHUNK_VALUES = 2**20  # of points read as float64 at a time


@overload
def density(emb: torch.Tensor, kind: DensityKind = "knn", **options: Unpack[DensityOptions]) -> torch.Tensor: ...
@overload
def density(emb: ArrayLike, kind: DensityKind = "knn", **options: Unpack[DensityOptions]) -> NDArray[Any]: ...
@breaks_graph
def density(
    emb: Any,
    kind: str = "knn",
    *,
    k: int | None = None,
    min_similarity: float | None = None,
    temperature: float | None = None,
    against: Any = None,
    weights: Any = None,
    variance: Any = None,
    exclude_self: bool = True,
    similarity: str = "cosine",
    precision: str = "exact",
    method: str = "auto",
    n_threads: int | None = None,
    show_progress_bar: bool = False,
) -> Any:
    """How crowded the space is around each point: large in the middle of a cluster, small for an outlier.

    With the rows normalised this equals, for each point i with ``s`` its similarities to the other points::

        np.sort(s)[::-1][:k].mean()                          # "knn"
        (s >= min_similarity).sum()                          # "ball"
        np.exp((s - 1) / temperature).mean()                 # "kernel"
        s.mean()                                             # "mean"
        v = variance[i] + variance[others]
        d2 = ((emb[i] - emb[others]) ** 2).sum(axis=1)
        np.log(np.mean((2 * np.pi * v) ** (-dim / 2) * np.exp(-d2 / (2 * v))))      # "gaussian"

    Parameters
    ----------
    emb : array (n, dim)
        One point per row; kinds and dtypes as in `score`.
    kind : {"knn", "ball", "kernel", "mean", "gaussian"}
        Mean similarity to the k nearest points; number of points at least that similar; mean of an exponential kernel;
        mean similarity; logarithm of the mean overlap of the isotropic Gaussians N(emb_i, variance_i I), which is the
        density of point i, blurred by its own uncertainty, under the mixture of the others.
    k : int
        For ``kind="knn"``: up to the number of points compared with. Default: 20, or all of them where there are fewer.
    min_similarity : float
        For ``kind="ball"``; from -1 to 1 under cosine. Equal rows have a cosine of exactly 1, and so may rows that
        differ by less than float64 tells.
    temperature : float
        For ``kind="kernel"``: the similarity difference over which a point's share falls by a factor of e; at least
        1e-5.
    against : array (m, dim), optional
        The points to compare with. Default: the other rows of `emb`.
    weights : array (m,), optional
        Of the points compared with, at least 0: means are weighted, the number in a ball becomes its share of the
        weights.
    variance : array (n,), optional
        For ``kind="gaussian"``: of each coordinate, from 1e-18 to 1e18; with `against` a pair of arrays, (n,) and
        (m,).
    exclude_self : bool
        Whether a point is compared with the others only. Without meaning where `against` is given.
    similarity : {"cosine", "dot"}
        Cosine normalises the rows on the way in, those of "gaussian" too. A kernel needs it.
    precision : {"exact", "fp32", "bf16"}, and "fp16" on a GPU
        As in `score`; the mean is always computed in float64.
    method : {"auto", "dense", "cascade"}
        As in `score`; a cascade serves "knn" and "ball".
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.
    show_progress_bar : bool
        Show one on standard error.

    Returns
    -------
    density : float32 array (n,), int64 for "ball" without weights
        The kind of array that `emb` is. The numbers in a ball are exact, as are the neighbours of "knn"; a weighted
        ball is off by at most 2^-19 of itself. A kernel is off by at most ``4 * 2^-24 / temperature`` and 2^-18 of
        itself; an overlap's logarithm, with ``precision="exact"``, by at most 2^-10 plus 2^-15 of the exponent
        ``d2 / (2 * v)`` that decides it plus ``dim * 2^-22``, wherever the points lie: only their differences count; a
        mean by about 2^-50 of the largest ``weight * norm``, over the weights compared with.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no embeddings, NumPy mixed with torch.
    ValueError
        For shapes, dims, NaN, Inf, zero rows under cosine, and values out of range.

    Notes
    -----
    Kernel, ball and neighbour densities of one set look at each pair of points once where they do not skip most of
    them. Memory beyond inputs and outputs: 16 MiB of packed points, at most 64 MiB of neighbours, ``40 * n`` bytes and
    a fixed workspace.

    On a GPU "knn", "ball", "kernel" and, for torch tensors, "mean" are computed there, and nothing waits, as in
    `score`; a kernel's terms below e^-87 count as 0. The other kinds, and weights, are computed on the CPU from copies,
    which waits; the result is on the GPU.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> points = np.array([[1, 0], [0.9, 0.1], [0.8, 0.3], [-1, 0.1]], np.float32)
    >>> hnscore.density(points, k=2).round(2)
    array([ 0.97,  0.98,  0.95, -0.94], dtype=float32)
    """
    arguments = dict(locals())
    choice("kind", kind, DENSITY_KINDS)
    choice("similarity", similarity, SIMILARITIES)
    choice("precision", precision, precisions(emb))
    checked_method(method, kind, precision)
    if k is not None:
        k = integer("k", k, 1, None, "points compared with")
    if kind != "knn":
        only_with("k", k is not None, "kind='knn'", False)
    only_with("min_similarity", min_similarity is not None, "kind='ball'", kind == "ball")
    only_with("temperature", temperature is not None, "kind='kernel'", kind == "kernel")
    only_with("variance", variance is not None, "kind='gaussian'", kind == "gaussian")
    if kind == "kernel" and similarity != "cosine":
        raise ValueError(f"similarity must be 'cosine' for kind='kernel', got {similarity!r}; leave it out")
    if on_device(emb, against) and (kind not in gpu.kinds(emb) or weights is not None):
        return given_back(density, arguments)
    points = Points(emb, against, exclude_self, similarity, n_threads)
    if weights is not None:
        weights = _unit_weights(point_values("weights", weights, len(points.other), least=0.0))
        if kind in ("ball", "kernel"):  # as the core has them
            weights = weights.astype(np.float32).astype(np.float64)
    if kind == "ball":
        min_similarity = similarity_level("min_similarity", min_similarity, similarity)
    elif kind == "kernel":
        temperature = at_least("temperature", temperature, _LEAST_TEMPERATURE, "below which float32 tells no kernel")
    elif kind == "gaussian":
        variance = _variances(variance, points)
    points.enough()
    compared = max(points.compared, 1)
    k = min(_NEIGHBOURS, compared) if k is None else k
    if points.space is not None:
        if kind == "knn":
            k = integer("k", k, 1, compared, "points compared with")
        return gpu.density(points, kind, k, min_similarity, temperature, precision, method, emb, against)
    if not points.n:
        return like(emb, np.zeros(0, np.int64 if kind == "ball" and weights is None else np.float32))
    if kind == "knn":
        k = integer("k", k, 1, points.compared, "points compared with")
    total = points.total(weights)
    bar = rows_bar(show_progress_bar, kind, points.n)
    if kind == "knn":
        result = _knn(points, k, weights, precision, method, bar)
    elif kind == "ball":
        assert min_similarity is not None
        result = _ball(points, min_similarity, weights, precision, method, bar)
        if weights is not None:
            result = np.minimum(result / total, 1.0)  # but for rounding it never is more
    elif kind == "kernel":
        assert temperature is not None
        result = _kernel(points, temperature, weights, precision, bar) / total
    elif kind == "mean":
        result = _mean(points, weights) / total
    else:
        result = _gaussian(points, variance, weights, precision, bar) - np.log(total)
    if bar is not None:
        bar(1.0)
    with np.errstate(over="ignore"):  # beyond float32, of dot products alone, a density is infinite
        return like(emb, result.astype(np.int64 if kind == "ball" and weights is None else np.float32))


def _unit_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """With the largest 1: only their ratios matter, and no sum leaves the range of its type."""
    largest = weights.max(initial=0.0)
    return weights / largest if largest > 0 else weights


def _knn(
    points: Points, k: int, weights: NDArray[np.float64] | None, precision: str, method: str, bar: Any
) -> NDArray[np.float64]:
    means = []
    for values, rows in neighbours(points, k, precision, method, bar):
        if weights is None:
            means.append(values.mean(axis=1))
            continue
        w = weights[rows]
        total = w.sum(axis=1)
        positive("weights", float(total.min()), "the sum of the weights of a point's neighbours")
        means.append((values * w).sum(axis=1) / total)
    return np.concatenate(means)


def _ball(
    points: Points, least: float, weights: NDArray[np.float64] | None, precision: str, method: str, bar: Any
) -> NDArray[np.float64]:
    p = points
    tau = float(np.nextafter(least, -np.inf))  # s >= least where s > tau
    plan = None
    if method != "dense" and precision == "exact":
        plan = choose(
            p.emb, p.code, p.other, p.other_code, p.similarity, p.threads, method, recipe="count",
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


def _kernel(
    points: Points, temperature: float, weights: NDArray[np.float64] | None, precision: str, bar: Any
) -> NDArray[np.float64]:
    p = points
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


def _mean(points: Points, weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """sum_j w_j s_ij = x_i . sum_j w_j x_j: no pair is looked at. Sums in one order, whatever the threads."""
    p = points
    check_rows("emb", p.emb, p.code, p.similarity, p.threads)
    if not p.own:
        check_rows("against", p.other, p.other_code, p.similarity, p.threads)
    step = max(1, _CHUNK_VALUES // p.emb.shape[1])

    def chunks(array: NDArray[Any], code: int) -> Iterator[tuple[slice, NDArray[np.float64]]]:
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


def _variances(variance: Any, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    def values(name: str, x: Any, n: int) -> NDArray[np.float64]:
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


def _mean_point(points: Points) -> NDArray[np.float64]:
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


def _gaussian(
    points: Points,
    variance: tuple[NDArray[np.float64], NDArray[np.float64]],
    weights: NDArray[np.float64] | None,
    precision: str,
    bar: Any,
) -> NDArray[np.float64]:
    """ln sum_j w_j N(mu_i; mu_j, (v_i + v_j) I), variances in units of a typical sum of two, v_0."""
    p = points
    own, other = variance
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
