"""The names of options, once: for the checks of arguments, for what errors say, and for users' type checkers; and, for
these alone, the keywords of functions whose results follow their input.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray


class SupportsArray(Protocol):
    """NumPy can make an array of it: a column of a table, a JAX array, a data set of h5py or zarr."""

    def __array__(self) -> NDArray[Any]: ...


class SupportsDLPack(Protocol):
    def __dlpack__(self, *args: object, **keywords: object) -> Any: ...
    def __dlpack_device__(self) -> Any: ...


ArrayLike = NDArray[Any] | list[Any] | tuple[Any, ...] | SupportsArray | SupportsDLPack

Similarity = Literal["cosine", "dot"]
Precision = Literal["exact", "fp32", "bf16", "fp16"]
Method = Literal["auto", "dense", "cascade"]
Weight = Literal["count", "hinge", "squared_hinge", "similarity", "exp"]
Aggregate = Literal["sum", "mean", "max", "topk"]
ReferenceKind = Literal["positive", "hardest", "topk", "minibatch"]
DensityKind = Literal["knn", "ball", "kernel", "mean", "gaussian"]
SelectionMethod = Literal["auto", "top", "density", "budgeted", "repulsive", "coverage", "stochastic", "herding"]
Preference = Literal["easy", "hard"]
Kernel = Literal["exponential", "cosine", "ball"]
SIMILARITIES, METHODS = get_args(Similarity), get_args(Method)
WEIGHTS, AGGREGATES = get_args(Weight), get_args(Aggregate)
REFERENCE_KINDS, DENSITY_KINDS = get_args(ReferenceKind), get_args(DensityKind)
SELECTION_METHODS, PREFERENCES, KERNELS = get_args(SelectionMethod), get_args(Preference), get_args(Kernel)

RandomState = int | np.random.Generator | np.random.RandomState | None


class MineOptions(TypedDict, total=False):
    reference: Literal["pool_max", "paired"] | ArrayLike | None
    owner: ArrayLike | None
    margin: float | None
    relative_margin: float
    max_similarity: float | ArrayLike | None
    min_similarity: float | ArrayLike | None
    skip: int
    img_groups: ArrayLike | None
    txt_groups: ArrayLike | None
    sampling: Literal["top", "random"]
    closed: bool
    similarity: Similarity
    method: Method
    random_state: RandomState
    n_threads: int | None
    show_progress_bar: bool


class ReferenceOptions(TypedDict, total=False):
    owner: ArrayLike | None
    kind: ReferenceKind
    k: int
    batch_size: int | None
    similarity: Similarity
    n_threads: int | None


class DensityOptions(TypedDict, total=False):
    k: int | None
    min_similarity: float | None
    temperature: float | None
    against: ArrayLike | None
    weights: ArrayLike | None
    variance: ArrayLike | None
    exclude_self: bool
    similarity: Similarity
    precision: Precision
    method: Method
    n_threads: int | None
    show_progress_bar: bool


class NeighbourOptions(TypedDict, total=False):
    against: ArrayLike | None
    exclude_self: bool
    similarity: Similarity
    precision: Precision
    method: Method
    n_threads: int | None
    show_progress_bar: bool


class SelectOptions(TypedDict, total=False):
    prefer: Preference | None
    method: SelectionMethod
    labeled: ArrayLike | None
    random_state: RandomState
    temperature: float | None
    kernel: Kernel
    min_similarity: float | None
    center: bool
    density: ArrayLike | None
    density_exponent: float
    regions: int | ArrayLike | None
    regularization: float
    subsample: int | Literal["auto"] | None
    epsilon: float
    memory_limit: int
    n_threads: int | None
    show_progress_bar: bool | None


class CoreSetOptions(TypedDict, total=False):
    labeled: ArrayLike | None
    n_threads: int | None
    show_progress_bar: bool | None
