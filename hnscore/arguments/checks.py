"""What single functions ask of their arguments, beyond `arrays.py`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import Shaped, is_tensor, read_array, read_embeddings
from hnscore.arguments.dtypes import BFLOAT16, widen
from hnscore.arguments.numbers import check_choice, check_integer, check_real
from hnscore.arguments.options import PREFERENCES
from hnscore.arguments.values import read_labels

# ---- Values and labels of the rows of a pool -------------------------------------------------------------------------

# A result of so many regions is 1 GiB; labels beyond are codes of some kind, not numbers of regions.
_MOST_REGIONS = 2**27


def read_region_labels(name: str, x: object, n: int) -> NDArray[np.int64]:
    """The region of each of n rows."""
    numbers = read_labels(name, x, n)
    bad = (numbers < 0) | (numbers >= _MOST_REGIONS)
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(
            f"{name} must number the regions from 0, each below {_MOST_REGIONS}, got {numbers[i]} at index {i}; "
            "number them with np.unique(regions, return_inverse=True)[1]"
        )
    return numbers.astype(np.int64)


# ---- Points of one set -----------------------------------------------------------------------------------------------


def check_same_width(name: str, array: Shaped, other_name: str, other: Shaped) -> None:
    if array.shape[1] != other.shape[1]:
        raise ValueError(
            f"{other_name} has dim {other.shape[1]}, {name} has dim {array.shape[1]}; expected equal dims: use the "
            "same encoder"
        )


def check_other_points(n: int) -> None:
    if n < 2:
        raise ValueError(
            f"emb must have at least 2 rows, since a point is compared with the others, got {n}; pass more, or "
            "exclude_self=False"
        )


def check_similarity_level(name: str, value: object, similarity: str) -> float:
    number = check_real(name, value)
    if similarity == "cosine" and abs(number) > 1:
        raise ValueError(f"{name} must be from -1 to 1 under similarity='cosine', got {number}; pass a cosine")
    return number


# ---- Selection -------------------------------------------------------------------------------------------------------


def check_given_for(method: str, name: str, given: bool) -> None:
    if not given:
        raise ValueError(
            f"{name} must be given with method={method!r}, got None; pass {name}, or choose another method"
        )


def check_preference(prefer: object, useless: str) -> None:
    """`useless`: where it would say nothing, if there."""
    if prefer is None:
        return
    check_choice("prefer", prefer, PREFERENCES)
    if useless:
        raise ValueError(
            f"prefer must be None {useless}, got {prefer!r}; leave it out, or pass scores to method='auto'"
        )


def check_subsample(subsample: object, default: int) -> int | None:
    """How many points means are over at most; None: all."""
    if subsample is None:
        return None
    if isinstance(subsample, str):
        check_choice("subsample", subsample, ("auto",))
        return default
    return check_integer("subsample", subsample, 1, None, 'rows that means are over; "auto", or None for all')


def check_same_rows(name: str, array: NDArray[Any], n: int) -> None:
    if len(array) != n:
        raise ValueError(
            f"{name} must have {n} rows, one for each of the scores, got shape {array.shape}; pass the pool's"
        )


def read_row_numbers(name: str, x: object, n: int) -> NDArray[np.int64]:
    """Different rows of a pool of n, ascending; None: no rows."""
    if x is None:
        return np.zeros(0, np.int64)
    array, code = read_array(name, x)
    if array.size and (code is None or code == BFLOAT16 or array.dtype.kind not in "iu"):
        mask = array.dtype == np.bool_
        remedy = "turn a mask into them with np.flatnonzero(mask)" if mask else "pass a list or an array of integers"
        raise TypeError(f"{name} must hold integers, the numbers of rows, got dtype {array.dtype}; {remedy}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension, one integer per row named, got shape {array.shape}; ravel it")
    bad = (array < 0) | (array >= n)
    if bad.any():
        i = int(bad.argmax())
        expected = f"hold rows from 0 to {n - 1}" if n else "be empty for a pool without rows"
        raise ValueError(f"{name} must {expected}, got {array[i]} at index {i}; it counts from 0")
    rows, counts = np.unique(array.astype(np.int64), return_counts=True)
    if len(rows) < len(array):
        raise ValueError(
            f"{name} must name each row once, got {rows[counts.argmax()]} more than once; use np.unique({name})"
        )
    return rows


def check_memory_limit(limit: int, least: int) -> None:
    if limit < least:
        raise ValueError(
            f"memory_limit must be at least {least} bytes for these points, got {limit}; raise it, or lower subsample"
        )


# ---- Gaussians -------------------------------------------------------------------------------------------------------

# Times as many standard deviations as a value of n can be from the mean, sqrt(n), it stays in the range of float32.
_LARGEST_WEIGHT = 1e30

GAUSSIANS = ("img_mean", "img_var", "txt_mean", "txt_var")


def read_gaussians(*given: object) -> list[tuple[NDArray[Any], int]]:
    """Means and variances of n pairs of Gaussians, read where they lie, each with the core's code of its dtype."""
    arrays = [read_embeddings(name, x) for name, x in zip(GAUSSIANS, given, strict=True)]
    first, shape = given[0], arrays[0][0].shape
    for name, x, (array, _) in zip(GAUSSIANS[1:], given[1:], arrays[1:], strict=True):
        if is_tensor(x) != is_tensor(first):
            raise TypeError(
                f"{name} and img_mean must both be torch tensors or neither, got {type(x).__name__} and "
                f"{type(first).__name__}; convert one with torch.from_numpy or .numpy()"
            )
        if array.shape != shape:
            raise ValueError(
                f"{name} has shape {array.shape}, img_mean has shape {shape}; expected equal shapes: row i of all four "
                "belongs to pair i, one variance per dimension"
            )
    return arrays


def _rows(rows: Iterable[int]) -> str:
    named = [str(int(row)) for row in rows]
    return f"row{'s' if len(named) > 1 else ''} {', '.join(named)} (the first found)"


def refuse_negative(name: str, rows: Iterable[int]) -> NoReturn:
    raise ValueError(
        f"{name} must have no negative variances, got one in {_rows(rows)}; pass variances, not their logarithms"
    )


def check_weight(name: str, value: object) -> float:
    number = check_real(name, value)
    if abs(number) > _LARGEST_WEIGHT:
        raise ValueError(
            f"{name} must be from -{_LARGEST_WEIGHT:g} to {_LARGEST_WEIGHT:g}, got {number:g}; pass a smaller one"
        )
    return number


def refuse_far_apart(rows: Iterable[int]) -> NoReturn:
    raise ValueError(
        f"img_mean, img_var, txt_mean and txt_var must have squared distances and summed variances inside the float64 "
        f"range, got one outside in {_rows(rows)}; rescale the embeddings"
    )


def refuse_two_points(rows: Iterable[int]) -> NoReturn:
    raise ValueError(
        f"img_var and txt_var must not both be 0 where the means differ, since the product of two points is nothing, "
        f"got that in {_rows(rows)}; give one of them a variance"
    )


# ---- hnscore.nn ------------------------------------------------------------------------------------------------------


def check_feature_dim(name: str, shape: tuple[int, ...], dim: int) -> None:
    if len(shape) != 2:
        raise ValueError(f"{name} must have 2 dimensions (rows, {dim}), got shape {shape}; reshape it, one row of each")
    if shape[1] != dim:
        raise ValueError(
            f"{name} must have {dim} columns, the {name}_dim of the encoder, got shape {shape}; use the features that "
            "the encoder was made for, or make another one"
        )


def read_features(name: str, x: object, dim: int) -> tuple[NDArray[Any], int]:
    """Features of `dim` columns, where they lie, and the core's code of their dtype."""
    array, code = read_embeddings(name, x)
    check_feature_dim(name, array.shape, dim)
    return array, code


def read_float32_features(name: str, array: NDArray[Any], code: int, start: int = 0) -> NDArray[np.float32]:
    """A contiguous float32 copy; row i is row `start + i` of the caller."""
    if code == BFLOAT16:
        array = widen(array)
    with np.errstate(over="ignore"):
        copy = np.array(array, np.float32, order="C")
    bad = np.flatnonzero(~np.isfinite(copy).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name} must be finite in float32, got NaN, Inf or a value beyond 3.4e38 in row {start + bad[0]} (the "
            "first found); repair or drop it"
        )
    return copy


def check_one_text_per_image(name: str, n: int, other: str, n_other: int) -> None:
    if n != n_other:
        raise ValueError(
            f"{name} and {other} must have the same number of rows, row i of both belonging to pair i, got {n} and "
            f"{n_other}; repeat an image that has several texts"
        )


def check_enough_images(n_images: int) -> None:
    if n_images < 4:
        raise ValueError(
            "img must hold at least 4 different images (or groups, where given), 2 to train on and 2 to hold out, got "
            f"{n_images}; pass more pairs"
        )


def check_finite_loss(value: float, epoch: int, lr: float) -> None:
    if not math.isfinite(value):
        raise ValueError(
            f"lr must be small enough for a finite loss, got {value} in epoch {epoch} with lr={lr}; pass a smaller lr "
            "(the encoder has the best weights of the epochs before)"
        )
