"""Density: how crowded the embedding space is around each point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert_like, is_tensor
from hnscore.arguments.numbers import check_choice, check_given_with, check_integer
from hnscore.arguments.options import DENSITY_KINDS, SIMILARITIES
from hnscore.arguments.values import read_point_values
from hnscore.datasets.dataset import Dataset
from hnscore.densities.kinds import KINDS, check_method, unit_weights
from hnscore.densities.points import Call, Points
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.memory.copies import given_back
from hnscore.engine.memory.device import on_device, precisions
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import Request

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, DensityKind, DensityOptions


@overload
def density(emb: torch.Tensor, kind: DensityKind = "knn", **options: Unpack[DensityOptions]) -> torch.Tensor: ...
@overload
def density(emb: ArrayLike, kind: DensityKind = "knn", **options: Unpack[DensityOptions]) -> NDArray[Any]: ...
@breaks_graph
def density(  # noqa: PLR0913
    emb: object,
    kind: str = "knn",
    *,
    k: int | None = None,
    min_similarity: float | None = None,
    temperature: float | None = None,
    against: object = None,
    weights: object = None,
    variance: object = None,
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
        One point per row; kinds and dtypes as in `score`. Or a `dataset`: read block by block with `against`, else
        copied to a temporary file.
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

    Returns
    -------
    density : float32 array (n,), int64 for "ball" without weights
        The kind of array that `emb` is. The numbers in a ball are exact, as are the neighbours of "knn"; a weighted
        ball is off by at most 2^-19 of itself. A kernel is off by at most ``4 * 2^-24 / temperature`` and 2^-18 of
        itself; an overlap's logarithm, with ``precision="exact"``, by at most 2^-10 plus 2^-15 of the exponent
        ``d2 / (2 * v)`` that decides it plus ``dim * 2^-22``, wherever the points lie: only their differences count; a
        mean by about 2^-50 of the largest ``weight * norm``, over the weights compared with.

    Other Parameters
    ----------------
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
    if isinstance(emb, Dataset) or isinstance(against, Dataset):
        from hnscore.densities.of_dataset import density_of_dataset

        return density_of_dataset(arguments)
    check_choice("kind", kind, DENSITY_KINDS)
    check_choice("similarity", similarity, SIMILARITIES)
    check_choice("precision", precision, precisions(emb))
    check_method(method, kind, precision)
    chosen = KINDS[kind]
    if k is not None:
        k = check_integer("k", k, 1, None, "points compared with")
    for name, other in KINDS.items():
        if other.keyword and (other.needs_value or other is not chosen):
            given = arguments[other.keyword] is not None
            check_given_with(other.keyword, given, f"kind={name!r}", other is chosen)
    if chosen.cosine_only and similarity != "cosine":
        raise ValueError(f"similarity must be 'cosine' for kind={kind!r}, got {similarity!r}; leave it out")
    no_kernels = chosen.on_gpu is None or weights is not None or (chosen.of_tensors and not is_tensor(emb))
    if no_kernels and on_device(emb, against):
        return given_back(density, arguments)
    points = Points(emb, against, exclude_self, similarity, n_threads)
    if weights is not None:
        weights = unit_weights(read_point_values("weights", weights, points.n_others, least=0.0))
        if chosen.float32_weights:
            weights = weights.astype(np.float32).astype(np.float64)
    points.enough()
    value = chosen.check(arguments.get(chosen.keyword), points)
    bar = rows_bar(show_progress_bar, kind, points.n)
    request = Request(similarity=similarity, precision=precision, method=method)
    call = Call(points, value, weights, request, bar)
    if chosen.on_gpu is not None and not points.engine.sees_values:
        return points.engine.give(emb, chosen.on_gpu(call))
    dtype = np.int64 if chosen.counts and weights is None else np.float32
    if not points.n:
        return convert_like(emb, np.zeros(0, dtype))
    result = chosen.mean(chosen.sums(call), points.total(weights), call)
    if bar is not None:
        bar(1.0)
    with np.errstate(over="ignore"):  # beyond float32, of dot products alone, a density is infinite
        return convert_like(emb, result.astype(dtype))
