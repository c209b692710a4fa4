"""What points find among points on a GPU: references, densities and neighbours, with nothing that waits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.engine.memory import reports
from hnscore.engine.memory.device import DeviceArray, Space

if TYPE_CHECKING:
    from hnscore.densities.points import Points

_FLOAT32, _FLOAT64 = (_core.DTYPES[name] for name in ("float32", "float64"))
# exp((s - 1) / temperature) less than e^-87 = 1.6e-38 of 1 is no float32 that has all its bits.
_LEAST_EXPONENT = 87.0
_LEAST_COSINE = -1 - 2.0**-20  # below it, whatever the rounding
_CHUNK_VALUES = 2**24  # of points read as float64 at a time


def reference_similarity(
    space: Space,
    img: DeviceArray,
    txt: DeviceArray,
    own: NDArray[np.int64] | None,
    kind: str,
    k: int,
    weights: NDArray[np.float64] | None,
    similarity: str,
) -> Any:
    """What hnscore.reference_similarity is of checked arguments."""
    gpu, n_txt = space.gpu, txt.shape[0]
    reports.raise_found(gpu, space.device)
    result = space.empty((n_txt,), "float64")
    owners = None if own is None else space.upload("owner", own)
    texts = txt.rows(gpu, reports.TXT)
    if kind == "positive":
        with space.scratch() as context:
            gpu.pair_similarity(context, img.rows(gpu, reports.IMG, owners), texts, similarity, result.pointer)
    else:
        owners = space.arange(n_txt) if owners is None else owners
        ranks = None if weights is None else space.upload("weights", weights)
        k = k if weights is None else len(weights)
        out = {"kth_value": result.pointer}
        if ranks is not None:
            out = {"rank_weights": ranks.pointer, "sums": result.pointer}
        with space.scratch() as context:
            gpu.top(
                context, texts, img.rows(gpu, reports.IMG), similarity, "exact", k, row_owners=owners.pointer, **out
            )  # fmt: skip
    reports.finish(space)
    return space.give(result)


class _Search:
    """Points that are looked up among points."""

    def __init__(self, points: Points, precision: str) -> None:
        assert points.space is not None
        self.points, self.precision, self.space = points, precision, points.space
        self.gpu = self.space.gpu
        reports.raise_found(self.gpu, self.space.device)
        emb: Any = points.emb
        other: Any = points.other
        self.rows = emb.rows(self.gpu, reports.EMB)
        self.others = other.rows(self.gpu, reports.EMB if points.own else reports.AGAINST)
        self.owners = self.space.arange(points.n) if points.exclude_self else None

    def top(self, k: int, **out: int) -> None:
        if not self.points.n:
            return
        owners = 0 if self.owners is None else self.owners.pointer
        with self.space.scratch() as context:
            self.gpu.top(
                context, self.rows, self.others, self.points.similarity, self.precision, k, row_owners=owners, **out
            )

    def reduce(self, recipe: str, method: str, tau: float, result: DeviceArray, **options: Any) -> None:
        """Over all pairs with s > tau."""
        if not self.points.n:
            return
        space, p = self.space, self.points
        reference = space.full(len(p.other), tau)
        if self.owners is not None:
            options |= {"row_owners": self.owners.pointer, "col_owners": self.owners.pointer}
        with space.scratch() as packed, space.scratch() as context:
            columns = self.gpu.Columns(packed, self.others, p.similarity, self.precision, method, False)
            self.gpu.reduce(
                context, self.rows, columns, recipe, result.pointer, reference=reference.pointer, weight=recipe,
                **options,
            )  # fmt: skip

    def as_float32(self, array: DeviceArray) -> Any:
        result = self.space.empty(array.shape, "float32")
        with self.space.scratch() as context:
            self.gpu.copy_rows(context, array.rows(self.gpu, 0), result.pointer, _FLOAT32)
        reports.finish(self.space)
        return self.space.give(result)


def knn_graph(points: Points, k: int, precision: str) -> tuple[Any, Any]:
    search = _Search(points, precision)
    values = search.space.empty((points.n, k), "float64")
    indices = search.space.empty((points.n, k), "int64")
    search.top(k, values=values.pointer, indices=indices.pointer)
    reports.finish(search.space)
    return search.space.give(values), search.space.give(indices)


def density(
    points: Points,
    kind: str,
    value: Any,
    precision: str,
    method: str,
    emb: Any,
    against: Any,
) -> Any:
    """What hnscore.density is of checked arguments; `value`: of the keyword that the kind alone has."""
    search = _Search(points, precision)
    space, n = search.space, points.n
    if kind == "knn":
        means, ranks = space.internal((n,), "float64"), space.full(value, 1 / value)
        search.top(value, rank_weights=ranks.pointer, sums=means.pointer)
        return search.as_float32(means)
    if kind == "mean":
        return _mean(search, emb, against)
    result = space.empty((n,), "int64" if kind == "ball" else "float32")
    if kind == "ball":
        search.reduce("count", method, float(np.nextafter(value, -np.inf)), result, integer=True)
    else:
        # exp((s - 1) / T) = exp((s - tau) / T) / exp((1 - tau) / T)
        tau = max(_LEAST_COSINE, 1 - _LEAST_EXPONENT * value)
        divisor = points.compared * math.exp((1 - tau) / value)
        search.reduce("exp", method, tau, result, temperature=value, divisor=divisor)
    reports.finish(space)
    return space.give(result)


def _mean(search: _Search, emb: Any, against: Any) -> Any:
    """sum_j s_ij = x_i . sum_j x_j, in float64, by torch."""
    p, space = search.points, search.space
    own, result = space.empty((p.n,), "float64"), space.empty((p.n,), "float32")
    scores = space.give(result)
    with space.scratch() as context:  # s_ii, and the reports of bad rows
        search.gpu.pair_similarity(context, search.rows, search.rows, p.similarity, own.pointer)
    sums = _products_with_sum(emb.detach(), (emb if against is None else against).detach(), p.similarity == "cosine")
    if p.exclude_self:
        sums -= space.give(own)
    scores.copy_(sums / p.compared)
    reports.finish(space)
    return scores


def _products_with_sum(emb: Any, others: Any, cosine: bool) -> Any:
    import torch

    def chunks(rows: Any) -> Any:
        for part in rows.split(max(1, _CHUNK_VALUES // rows.shape[1])):
            x = part.to(torch.float64)
            yield x / (x * x).sum(dim=1, keepdim=True).sqrt() if cosine else x

    centre = sum(x.sum(dim=0) for x in chunks(others))
    return torch.cat([(x * centre).sum(dim=1) for x in chunks(emb)])
