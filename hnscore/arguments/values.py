"""Arrays beside the embeddings: similarities, limits, labels, owners. Errors as arrays.py says."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import Shaped, is_tensor, read_array, refuse_dtype
from hnscore.arguments.columns import arrow_column, arrow_values
from hnscore.arguments.dtypes import BFLOAT16, SWAPPED, as_float64, is_integer, is_unsigned

_COSINE_SLACK = {_core.DTYPES["float16"]: 2.0**-9, BFLOAT16: 2.0**-6}  # one of 16 bits may be rounded upwards


def check_reference(array: NDArray[Any], code: int, similarity: str) -> NDArray[np.float64]:
    """One value a text as similarities, which row numbers and distances are not."""
    if is_integer(code) and len(array):
        raise TypeError(
            f"reference must hold similarities, floats, got dtype {array.dtype}; if these are the rows of the texts' "
            "own images, pass them as owner, or reference=img_emb[rows]"
        )
    out = np.empty(len(array))
    out[:] = array if code != BFLOAT16 else as_float64(array, code)
    most = 1 + _COSINE_SLACK.get(code % SWAPPED, 1e-6) if similarity == "cosine" else sys.float_info.max
    good = np.abs(out) <= most
    if not good.all():
        j = int(good.argmin())
        if not math.isfinite(out[j]):
            raise ValueError(describe_bad_value("reference", out[j], j))
        raise ValueError(
            f"reference must hold similarities from -1 to 1 under similarity='cosine', got {out[j]} at index {j}; pass "
            "cosines, or owner where these are the rows of the texts' own images"
        )
    return out


def read_values(name: str, x: object, n: int, *, upper_limits: bool = False) -> NDArray[np.float64]:
    """`x` as n float64 values, one per text, in memory of their own: what the caller changes later does not matter.

    Upper limits may be +inf, and one for all texts.
    """
    array, code = read_array(name, x)
    code = check_one_per_text(name, array, code, n, upper_limits)
    out = np.empty(n)
    out[:] = as_float64(array, code)
    bad = np.isnan(out) | (out == -np.inf) if upper_limits else ~np.isfinite(out)
    if bad.any():
        j = int(bad.argmax())
        raise ValueError(describe_bad_value(name, out[j], j, upper_limits))
    return out


def check_one_per_text(name: str, array: Shaped, code: int | None, n: int, upper_limits: bool = False) -> int:
    """The dtype code of real numbers."""
    if code is None:
        refuse_dtype(name, array.dtype)
    if array.shape != (n,) and not (upper_limits and array.shape == ()):
        raise ValueError(f"{name} must have shape ({n},), one value per text, got {array.shape}; check its length")
    return code


def describe_bad_value(name: str, value: object, index: int, upper_limits: bool = False) -> str:
    return f"{name} must be finite{' or +inf' if upper_limits else ''}, got {value} at index {index}; repair that value"


def read_point_values(
    name: str, x: object, n: int | None = None, *, least: float | None = None, above: float | None = None
) -> NDArray[np.float64]:
    """`x` as n finite float64 values, one per row, or as many as it has; `least` is allowed, `above` is not."""
    array, code = read_array(name, x)
    if code is None:
        refuse_dtype(name, array.dtype)
    if array.ndim != 1 or n not in (None, len(array)):
        shape = f"({'n' if n is None else n},)"
        remedy = f"pass {name}.ravel()" if array.ndim == 2 and array.shape[1] == 1 else "check its length"
        raise ValueError(f"{name} must have shape {shape}, one value per row, got {array.shape}; {remedy}")
    out = as_float64(array, code)
    bad = ~np.isfinite(out)
    expected = "finite"
    if least is not None:
        bad |= out < least
        expected = f"finite and at least {least:g}"
    if above is not None:
        bad |= out <= above
        expected = f"finite and above {above:g}"
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{name} must be {expected}, got {out[i]} at index {i}; repair that value")
    return out


def read_reference(x: object, n_txt: int, dim: int, similarity: str) -> tuple[NDArray[Any], int | None]:
    """A reference that is no name: (n_txt,) similarities and None, or (n_txt, dim) embeddings and their dtype code."""
    array, code = read_array("reference", x)
    if array.shape != (n_txt,) or code is None:
        code = check_values_or_rows(array, code, n_txt, dim)
    return (array, code) if array.ndim == 2 else (check_reference(array, code, similarity), None)


def check_values_or_rows(reference: Shaped, code: int | None, n_txt: int, dim: int) -> int:
    """The dtype code of a reference that is no name, of either shape."""
    if code is None:
        refuse_dtype("reference", reference.dtype)
    if len(reference.shape) == 1:
        return check_one_per_text("reference", reference, code, n_txt)
    if reference.shape != (n_txt, dim):
        raise ValueError(
            f"reference must be 'pool_max', 'paired', an array of shape ({n_txt},) or one of shape ({n_txt}, {dim}), "
            f"got shape {reference.shape}; pass one similarity or one image embedding per text"
        )
    return code


def read_labels(name: str, x: object, n: int) -> NDArray[Any]:
    """`x` as n integers of any width."""
    array, code = read_array(name, x)
    check_one_integer_per_row(name, array, code, n)
    return array.astype(np.uint64 if is_unsigned(code) else np.int64)


def read_group_labels(name: str, x: object, n: int) -> NDArray[Any]:
    """`x` as n integers of any width, or as n strings."""
    column = arrow_column(x)
    if column is not None:
        x = arrow_values(name, column)
    if is_tensor(x) or (hasattr(x, "__dlpack_device__") and not isinstance(x, np.ndarray)):
        return read_labels(name, x, n)
    array = np.asarray(x)
    if array.dtype.kind in "US" and isinstance(x, (list, tuple)):  # NumPy makes strings of numbers among strings
        array = np.asarray(x, object)
    if array.dtype.kind not in "OUST":
        return read_labels(name, x, n)
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one label per row, got {array.shape}; check its length")
    if array.dtype.kind != "O":
        return array.astype(str)
    kinds: dict[type, str] = {bool: "bools", str: "strings", int: "integers"}
    first: type = int
    for i, label in enumerate(array):
        kind = next((k for k in kinds if isinstance(label, k)), int if isinstance(label, np.integer) else None)
        if kind is None or kind is bool:
            raise TypeError(
                f"{name} must hold integers or strings, got {label!r} of type {type(label).__name__} at index {i}; "
                "convert or fill it"
            )
        if i and kind is not first:
            raise TypeError(
                f"{name} must hold labels of one kind, got {kinds[first]} and, at index {i}, {kinds[kind]}; convert "
                "them"
            )
        first = kind
    try:
        return array.astype(str if not n or first is str else np.int64)
    except OverflowError as error:
        raise ValueError(f"{name} must hold integers of 64 bits, got a larger one; convert them to strings") from error


def check_kind_of_labels(img_groups: NDArray[Any], txt_groups: NDArray[Any]) -> None:
    of_strings = [groups.dtype.kind == "U" for groups in (img_groups, txt_groups)]
    if of_strings[0] != of_strings[1] and len(img_groups) and len(txt_groups):
        kinds = ["strings" if x else "integers" for x in of_strings]
        raise TypeError(
            f"img_groups and txt_groups must hold labels of one kind, got {kinds[0]} and {kinds[1]}; convert one of "
            "them"
        )


def check_one_integer_per_row(name: str, array: Shaped, code: int | None, n: int) -> None:
    if 0 not in array.shape and not is_integer(code):
        of_groups = " or strings" if name.endswith("_groups") else ""
        raise TypeError(
            f"{name} must hold integers{of_groups}, got dtype {array.dtype}; convert it, for example to int64"
        )
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one integer per row, got {array.shape}; check its length")


def read_owners(x: object, n_txt: int, n_img: int, of: str = "img_emb") -> NDArray[np.int64]:
    """The row of each text's own image among the rows of `of`."""
    rows = read_labels("owner", x, n_txt)
    bad = (rows < 0) | (rows >= n_img)
    if bad.any():
        j = int(bad.argmax())
        raise ValueError(
            f"owner must hold rows of {of}, 0 to {n_img - 1}, got {rows[j]} at index {j}; it counts from 0, and ids "
            "are turned into rows by np.unique(ids, return_inverse=True)"
        )
    return rows.astype(np.int64)
