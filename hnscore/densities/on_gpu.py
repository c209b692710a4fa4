"""The kinds of density that have kernels on a GPU. Each takes a call without weights and queues its work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hnscore import _core
from hnscore.densities.points import Call
from hnscore.engine.memory.device import DeviceArray
from hnscore.engine.memory.rows import backend_rules
from hnscore.engine.protocol import Rules

if TYPE_CHECKING:
    from hnscore.engine.gpu.gpu import Gpu

# exp((s - 1) / temperature) less than e^-87 = 1.6e-38 of 1 is no float32 that has all its bits.
_LEAST_EXPONENT = 87.0
_LEAST_COSINE = -1 - 2.0**-20  # below it, whatever the rounding
_CHUNK_VALUES = 2**24  # of points read as float64 at a time


def knn(c: Call) -> DeviceArray:
    p, engine = c.points, _engine(c)
    space = engine.space
    means, ranks = space.internal((p.n,), "float64"), space.full(c.value, 1 / c.value)
    engine.best(
        p.rows, p.others, c.value, p.similarity, c.request.precision, _rules(c, of_columns=False),
        rank_weights=ranks.pointer, sums=means.pointer,
    )  # fmt: skip
    out = space.empty((p.n,), "float32")
    with space.scratch() as context:
        space.gpu.copy_rows(context, means.rows(space.gpu, 0), out.pointer, _core.DTYPES["float32"])
    return out


def ball(c: Call) -> DeviceArray:
    return _sums(c, "count", float(np.nextafter(c.value, -np.inf)), integer=True)


def kernel(c: Call) -> DeviceArray:
    """exp((s - 1) / T) = exp((s - tau) / T) / exp((1 - tau) / T)"""
    tau = max(_LEAST_COSINE, 1 - _LEAST_EXPONENT * c.value)
    divisor = c.points.compared * math.exp((1 - tau) / c.value)
    return _sums(c, "exp", tau, temperature=c.value, divisor=divisor)


def mean(c: Call) -> DeviceArray:
    """sum_j s_ij = x_i . sum_j x_j, in float64, by torch."""
    p, engine = c.points, _engine(c)
    own = engine.similarity(p.rows, p.rows, p.similarity)  # s_ii, and the reports of bad rows
    emb, others = p.rows.array.owner, p.others.array.owner
    sums = _products_with_sum(emb, others, p.similarity == "cosine")
    if p.exclude_self:
        sums -= engine.space.give(own)
    out = engine.space.empty((p.n,), "float32")
    engine.space.give(out).copy_(sums / p.compared)
    return out


def _engine(c: Call) -> Gpu:
    return cast("Gpu", c.points.engine)


def _rules(c: Call, of_columns: bool = True) -> Rules[DeviceArray]:
    """Of points that are not compared with themselves."""
    if not c.points.exclude_self:
        return Rules()
    owners = _engine(c).arange(c.points.n)
    return Rules(row_owners=owners, col_owners=owners if of_columns else None)


def _sums(c: Call, recipe: str, tau: float, **options: object) -> DeviceArray:
    """Over all pairs with s > tau."""
    p, space, gpu = c.points, _engine(c).space, _engine(c).gpu
    out = space.empty((p.n,), "int64" if options.get("integer") else "float32")
    if not p.n:
        return out
    thresholds = space.full(p.n_others, tau)
    rules = _rules(c)
    with space.scratch() as packed, space.scratch() as context:
        columns = gpu.Columns(packed, p.others.of(gpu), p.similarity, c.request.precision, c.request.method, False)
        gpu.reduce(
            context, p.rows.of(gpu), columns, recipe, out.pointer, tau=thresholds.pointer, weight=recipe,
            rules=backend_rules(gpu, rules), **options,
        )  # fmt: skip
    return out


def _products_with_sum(emb: object, others: object, cosine: bool) -> Any:
    import torch

    def chunks(rows: Any) -> Any:
        for part in rows.split(max(1, _CHUNK_VALUES // rows.shape[1])):
            x = part.to(torch.float64)
            yield x / (x * x).sum(dim=1, keepdim=True).sqrt() if cosine else x

    centre = sum(x.sum(dim=0) for x in chunks(others))
    return torch.cat([(x * centre).sum(dim=1) for x in chunks(emb)])
