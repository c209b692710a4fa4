"""Arguments in, results out. Every argument error of hnscore is raised in this file or, where one function alone asks
for something, in `checks.py`.

An error names the argument, what was expected, what came, and the remedy: TypeError for kinds and dtypes, ValueError
for shapes and values. Embeddings become (ndarray view, dtype code of the core) and are never copied.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import numbers
import operator
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.options import AGGREGATES, WEIGHTS

BFLOAT16 = _core.DTYPES["bfloat16"]
_SWAPPED = 256
_NATIVE = {np.dtype(name): code for name, code in _core.DTYPES.items() if name != "bfloat16"}
_CODES = _NATIVE | {d.newbyteorder(): code + _SWAPPED for d, code in _NATIVE.items() if d.itemsize > 1}
_INTEGERS = frozenset(_core.DTYPES[name] for name in _core.DTYPES if "int" in name)
_UNSIGNED = frozenset(_core.DTYPES[name] for name in _core.DTYPES if "uint" in name)
_COSINE_SLACK = {_core.DTYPES["float16"]: 2.0**-9, BFLOAT16: 2.0**-6}  # one of 16 bits may be rounded upwards
_DLPACK_CPU = 1
_DLPACK_DEVICES = {2: "cuda", 8: "metal", 10: "rocm"}


class Shaped(Protocol):
    """What the checks of shapes and dtypes look at: an array in any memory."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...


def is_tensor(x: object) -> bool:
    """Whether `x` is a torch tensor; torch is looked up, never imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, getattr(torch, "Tensor", ()))


def refuse_device(name: str, device: str) -> NoReturn:
    if device == "meta":
        raise ValueError(
            f"{name} must have values in CPU memory, got a tensor on device meta, which has none; move to the CPU, or "
            "make there, a tensor with values"
        )
    why = "hnscore was built without CUDA"
    if not device.startswith("cuda"):
        why = "hnscore computes on CPUs and NVIDIA GPUs"
    elif importlib.util.find_spec("hnscore._cuda") is not None:
        why = "this is computed on the CPU"
    raise ValueError(f"{name} must be in CPU memory, got device {device}: {why}; move it to the CPU first")


def dense(name: str, tensor: Any) -> None:
    import torch

    if tensor.is_nested:
        raise ValueError(
            f"{name} must be a dense tensor, got a nested one; pass torch.stack(list({name}.unbind())) if its rows are "
            "of one length"
        )
    if tensor.layout is not torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got layout {tensor.layout}; call .to_dense() first")


def _from_torch(name: str, tensor: Any) -> tuple[NDArray[Any], int | None]:
    import torch

    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        raise TypeError(
            f"{name} must be a tensor with values of its own, got one inside torch.vmap or torch.func; call hnscore "
            "outside of it"
        )
    if isinstance(tensor, torch._subclasses.FakeTensor):
        raise TypeError(
            f"{name} must have values, got a fake tensor, which has none; call hnscore outside FakeTensorMode"
        )
    if tensor.device.type != "cpu":
        refuse_device(name, str(tensor.device))
    dense(name, tensor)
    if tensor.is_quantized:
        raise TypeError(
            f"{name} must hold plain numbers, got a quantized tensor ({tensor.dtype}); call .dequantize() first"
        )
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:  # which NumPy lacks
        return tensor.resolve_neg().view(torch.int16).numpy(), BFLOAT16
    try:
        array = tensor.numpy(force=True)  # on the CPU: a copy only where bits say that values are to be negated
    except TypeError as error:
        refuse_dtype(name, tensor.dtype, error)
    return array, _CODES.get(array.dtype)


def dlpack_device(kind: Any, index: Any) -> str:
    return f"{_DLPACK_DEVICES.get(int(kind), f'DLPack type {int(kind)}')}:{index}"


def convert(name: str, x: Any) -> tuple[NDArray[Any], int | None]:
    """`x` as an array where it lies, with its dtype code; None for a dtype that holds no real numbers."""
    if type(x) is np.ndarray and (code := _CODES.get(x.dtype)) is not None:  # the most usual by far
        return x, code
    if is_tensor(x):
        return _from_torch(name, x)
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array; fill or drop the masked values first")
    if x is None:
        raise TypeError(f"{name} must be an array of numbers, got None; convert what you have to one and pass it")
    refuse_containers(name, x)
    if isinstance(x, (list, tuple)) and len(x) and all(map(is_tensor, x)):
        return _from_torch(name, _stacked_tensors(name, x))
    if not isinstance(x, np.ndarray) and hasattr(x, "__dlpack_device__"):
        kind, index = x.__dlpack_device__()
        if kind != _DLPACK_CPU:
            refuse_device(name, dlpack_device(kind, index))
        # A dtype that NumPy's DLPack lacks, such as bfloat16, is left to __array__.
        with contextlib.suppress(BufferError, RuntimeError, TypeError):
            x = np.from_dlpack(x)
    try:
        array = np.asarray(x)
    except (TypeError, ValueError) as error:
        if isinstance(x, (list, tuple)) and len(x) and all(isinstance(row, (list, tuple, np.ndarray)) for row in x):
            column = np.empty(len(x), object)
            column[:] = x
            return _coded(_stacked(name, column))
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{name} must be an array of numbers, got {type(x).__name__} ({error}); pass a NumPy array"
        ) from error
    return _coded(_stacked(name, array) if array.dtype == object else array)


def _coded(array: NDArray[Any]) -> tuple[NDArray[Any], int | None]:
    code = _CODES.get(array.dtype)
    if code is None and array.dtype.name == "bfloat16":  # of ml_dtypes
        return array.view(np.int16), BFLOAT16
    return array, code


def refuse_containers(name: str, x: Any) -> None:
    """What people hand over in place of the array that is in it."""
    remedy = None
    if isinstance(x, (str, os.PathLike)):
        remedy = f"pass np.load({str(x)!r}), if it names a .npy file"
    elif isinstance(x, np.lib.npyio.NpzFile):
        remedy = f"pass one of its members, {', '.join(f'archive[{member!r}]' for member in list(x)[:8])}"
    elif isinstance(x, Mapping) and len(x):
        remedy = f"pass one of its values, {', '.join(f'{name}[{key!r}]' for key in list(x)[:8])}"
    elif isinstance(x, Iterator):
        remedy = f"pass list({name})"
    elif hasattr(x, "toarray") and hasattr(x, "nnz"):
        remedy = f"pass {name}.toarray(), if that fits in memory"
    if remedy is not None:
        raise TypeError(f"{name} must be an array of numbers, got {type(x).__name__}; {remedy}")


def _stacked_tensors(name: str, x: Sequence[Any]) -> Any:
    import torch

    try:
        return torch.stack(list(x))
    except (RuntimeError, TypeError) as error:
        shapes = sorted({tuple(tensor.shape) for tensor in x})
        raise ValueError(
            f"{name} must hold tensors of one shape, dtype and device, got a {type(x).__name__} of tensors of shapes "
            f"{', '.join(map(str, shapes[:4]))}; make them equal, then torch.stack them"
        ) from error


def _stacked(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """A column of rows, as tables hold them, as one array; what holds single numbers as an array of those."""
    items = array.ravel() if array.ndim == 2 and array.shape[1] == 1 else array
    if items.ndim != 1 or not len(items):
        return array
    if not all(isinstance(item, (np.ndarray, list, tuple)) or is_tensor(item) for item in items):
        first = next((i for i, item in enumerate(items) if item is None), None)
        if first is not None:
            raise TypeError(f"{name} must hold numbers or rows of numbers, got None at index {first}; fill or drop it")
        return array
    if all(map(is_tensor, items)):
        return _from_torch(name, _stacked_tensors(name, list(items)).float())[0]
    rows = [np.asarray(item) for item in items]
    for i, row in enumerate(rows):
        if row.ndim != 1 or row.shape != rows[0].shape:
            raise ValueError(
                f"{name} must be an array of numbers, in rows of one length, got shape {rows[0].shape} at index 0 and "
                f"{row.shape} at index "
                f"{i}; repair or drop that row"
            )
        if row.dtype not in _CODES:
            raise TypeError(
                f"{name} must hold rows of numbers, got dtype {row.dtype} at index {i}; repair or drop that row"
            )
    return np.stack(rows)


def refuse_dtype(name: str, dtype: object, cause: Exception | None = None) -> NoReturn:
    remedy = "convert it, for example to float32"
    if isinstance(dtype, np.dtype) and dtype.names:
        remedy = f"convert it by numpy.lib.recfunctions.structured_to_unstructured({name})"
    elif isinstance(dtype, np.dtype) and dtype.kind in "USOMmVc":
        remedy = "convert it to rows of numbers, without columns of any other kind"
    raise TypeError(
        f"{name} must hold real numbers (float16, bfloat16, float32, float64 or integers), got dtype {dtype}; {remedy}"
    ) from cause


def embeddings(name: str, x: Any) -> tuple[NDArray[Any], int]:
    """The rows of `x`, read where they lie, and the core's code of their dtype."""
    if type(x) is np.ndarray and (code := _CODES.get(x.dtype)) is not None:
        array = x
    else:
        array, known = convert(name, x)
        if known is None:
            refuse_dtype(name, array.dtype)
        code = known
    rows_and_columns(name, array)
    return array, code


# Sizes of more values than that are no memory's: products of sizes stay in 64 bits below.
_MOST_COLUMNS, _MOST_VALUES = 2**31 - 1, 2**53


def rows_and_columns(name: str, array: Shaped) -> None:
    shape = tuple(array.shape)
    if len(shape) == 3 and shape[0] and shape[1] == 1:
        raise ValueError(f"{name} must have 2 dimensions (rows, dim), got shape {shape}; reshape it: pass {name}[:, 0]")
    if len(shape) == 3 and shape[0] and shape[2]:
        raise ValueError(
            f"{name} must have 2 dimensions (rows, dim), got shape {shape}; reshape it: pass {name}.reshape(-1, "
            f"{shape[2]}), and "
            f"where row i has {shape[1]} of them, owner=np.repeat(np.arange({shape[0]}), {shape[1]})"
        )
    if len(shape) == 1 and shape[0]:
        raise ValueError(
            f"{name} must have 2 dimensions (rows, dim), got shape {shape}; reshape it: pass {name}[None] if it is "
            "one row"
        )
    if len(shape) != 2:
        raise ValueError(
            f"{name} must have 2 dimensions (rows, dim), got shape {shape}; reshape it, one embedding per row"
        )
    if shape[1] > _MOST_COLUMNS or shape[0] * shape[1] > _MOST_VALUES:
        raise ValueError(
            f"{name} must have at most {_MOST_COLUMNS} columns and {_MOST_VALUES} values, got shape {shape}; pass a "
            "part of it"
        )
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {array.shape}; check the encoder's output")


def as_float64(array: NDArray[Any], code: int) -> NDArray[np.float64]:
    """A copy of rows that `embeddings` read."""
    return (widened(array) if code == BFLOAT16 else array).astype(np.float64)


def widened(bfloat16: NDArray[Any]) -> NDArray[np.float32]:
    return (bfloat16.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def native(array: NDArray[Any], code: int) -> tuple[NDArray[Any], int]:
    """`array` in the byte order of this machine, a copy where it has the other, and the code that it has then."""
    return (array, code) if code < _SWAPPED else (array.astype(array.dtype.newbyteorder("=")), code - _SWAPPED)


def is_float64(code: int) -> bool:
    return code % _SWAPPED == _core.DTYPES["float64"]


def same_library(img_emb: Any, of_tensors: bool, name: str = "img_emb", other: str = "txt_emb") -> None:
    """Both sides must be torch tensors, or neither."""
    if is_tensor(img_emb) != of_tensors:
        raise TypeError(
            f"{name} and {other} must both be torch tensors or neither, got {name} as {type(img_emb).__name__} and "
            f"{other} {'as a tensor' if of_tensors else 'as no tensor'}; convert one with torch.from_numpy or .numpy()"
        )


def is_integer(code: int | None) -> bool:
    return code is not None and code % _SWAPPED in _INTEGERS


def is_unsigned(code: int | None) -> bool:
    return code is not None and code % _SWAPPED in _UNSIGNED


def same_dim(img: Shaped, txt: Shaped, name: str = "img_emb") -> None:
    if img.shape[1] != txt.shape[1]:
        raise ValueError(
            f"txt_emb has dim {txt.shape[1]}, {name} has dim {img.shape[1]}; expected equal dims: use the same encoder "
            "output size"
        )


def refuse_pool_wide(reference: Any, top_k_images: Any, skip_top_images: Any, owner: Any, paired_emb: Any) -> None:
    """What a Scorer cannot do, since it sees the pool in chunks."""
    if reference is None and owner is None:
        raise ValueError(
            "reference must be given for a Scorer, which sees the pool in chunks, got None; pass similarities or the "
            "texts' own images, or owner and paired_emb"
        )
    if owner is not None and paired_emb is None:
        raise ValueError(
            "paired_emb must be given with owner for a Scorer, which sees the pool in chunks, got None; pass the "
            "paired images, or use hnscore.score"
        )
    if skip_top_images is not None:
        raise ValueError(
            "skip_top_images must be None for a Scorer, which sees the pool in chunks, and a text's most similar "
            f"images need the whole pool, got {skip_top_images!r}; use hnscore.score"
        )
    if isinstance(reference, str):
        raise ValueError(
            "reference must be an array for a Scorer, which sees the pool in chunks, and a name like 'pool_max' needs "
            f"the whole pool, got {reference!r}; pass similarities or embeddings, or use hnscore.score"
        )
    if top_k_images is not None:
        raise ValueError(
            "top_k_images must be None for a Scorer, which sees the pool in chunks, and a text's most similar images "
            f"need the whole pool, got {top_k_images!r}; use hnscore.score"
        )


def not_empty(name: str, array: Shaped) -> None:
    if not array.shape[0]:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}; pass the embeddings to compare")


def paired_lengths(argument: str, n_img: int, n_txt: int) -> None:
    if n_img != n_txt:
        raise ValueError(
            f"{argument} needs img_emb and txt_emb of the same number of rows, row j of one belonging to row j of the "
            f"other, got {n_img} and {n_txt}; repeat an image that has several texts, or pass their similarities"
        )


def other_images(kind: str, n_img: int) -> None:
    if n_img < 2:
        raise ValueError(
            f"img_emb must have at least 2 rows for kind={kind!r}, which looks at other images than the text's own, "
            f"got {n_img}; pass more images"
        )


def refuse_bad_rows(
    name: str,
    bad: _core.BadRows,
    rows: NDArray[np.int64] | None = None,
    start: int = 0,
    *,
    only_cosine: bool = False,
) -> NoReturn:
    """Raise for the rows that the core reports; row i of the core is `rows[i]` or `start + i` of the caller.

    `only_cosine`: the caller's function has no other similarity.
    """
    kind = bad[0][1]
    named = dict.fromkeys(start + row if rows is None else int(rows[row]) for row, other in bad if other == kind)
    raise ValueError(bad_rows(name, list(named), kind, only_cosine))


def all_bad_rows(name: str, found: list[tuple[int, int]], path: str, most: int) -> str:
    """What is wrong with the rows of a file, at most so many of them by number."""
    which = f"of {path}{', the first ones' if len(found) > most else ', and no others'}"
    kinds = dict.fromkeys(kind for _, kind in found[:most])
    rows = {kind: [row for row, other in found[:most] if other == kind] for kind in kinds}
    return ". ".join(bad_rows(name, rows[kind], kind, which=which) for kind in kinds)


def bad_rows(name: str, rows: list[int], kind: int, only_cosine: bool = False, which: str = "(the first found)") -> str:
    """What is wrong with those rows."""
    where = f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows))} {which}"
    if kind == _core.BAD_NONFINITE:
        return f"{name} must be finite, got NaN or Inf in {where}; repair or drop them"
    if kind == _core.BAD_ZERO and only_cosine:
        return f"{name} must have no zero rows, which have no direction, got zeros in {where}; drop them"
    if kind == _core.BAD_ZERO:
        return (
            f"{name} must have no zero rows under similarity='cosine', where they have no direction, got zeros in "
            f"{where}; drop them or use similarity='dot'"
        )
    return (
        f"{name} must have squared norms inside the float64 range, got one outside in {where}; rescale the embeddings"
    )


def reference_values(x: Any, n: int, similarity: str) -> NDArray[np.float64]:
    """`x` as n similarities, which row numbers and distances are not."""
    array, code = convert("reference", x)
    if is_integer(code) and len(array):
        raise TypeError(
            f"reference must hold similarities, floats, got dtype {array.dtype}; if these are the rows of the texts' "
            "own images, pass them as owner, or reference=img_emb[rows]"
        )
    code = one_value_per_text("reference", array, code, n)
    out = np.empty(n)
    out[:] = as_float64(array, code)
    most = 1 + _COSINE_SLACK.get(code % _SWAPPED, 1e-6) if similarity == "cosine" else sys.float_info.max
    good = np.abs(out) <= most
    if not good.all():
        j = int(good.argmin())
        if not math.isfinite(out[j]):
            raise ValueError(bad_value("reference", out[j], j))
        raise ValueError(
            f"reference must hold similarities from -1 to 1 under similarity='cosine', got {out[j]} at index {j}; pass "
            "cosines, or owner where these are the rows of the texts' own images"
        )
    return out


def values(name: str, x: Any, n: int, *, upper_limits: bool = False) -> NDArray[np.float64]:
    """`x` as n float64 values, one per text, in memory of their own: what the caller changes later does not matter.

    Upper limits may be +inf, and one for all texts.
    """
    array, code = convert(name, x)
    code = one_value_per_text(name, array, code, n, upper_limits)
    out = np.empty(n)
    out[:] = as_float64(array, code)
    bad = np.isnan(out) | (out == -np.inf) if upper_limits else ~np.isfinite(out)
    if bad.any():
        j = int(bad.argmax())
        raise ValueError(bad_value(name, out[j], j, upper_limits))
    return out


def one_value_per_text(name: str, array: Shaped, code: int | None, n: int, upper_limits: bool = False) -> int:
    """The dtype code of real numbers."""
    if code is None:
        refuse_dtype(name, array.dtype)
    if array.shape != (n,) and not (upper_limits and array.shape == ()):
        raise ValueError(f"{name} must have shape ({n},), one value per text, got {array.shape}; check its length")
    return code


def bad_value(name: str, value: object, index: int, upper_limits: bool = False) -> str:
    return f"{name} must be finite{' or +inf' if upper_limits else ''}, got {value} at index {index}; repair that value"


def point_values(
    name: str, x: Any, n: int | None = None, *, least: float | None = None, above: float | None = None
) -> NDArray[np.float64]:
    """`x` as n finite float64 values, one per row, or as many as it has; `least` is allowed, `above` is not."""
    array, code = convert(name, x)
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


def own_images(x: Any, n_txt: int, dim: int, similarity: str) -> tuple[NDArray[Any], int | None]:
    """A reference that is no name: (n_txt,) similarities and None, or (n_txt, dim) embeddings and their dtype code."""
    array, code = convert("reference", x)
    code = values_or_rows(array, code, n_txt, dim)
    return (array, code) if len(array.shape) == 2 else (reference_values(x, n_txt, similarity), None)


def values_or_rows(reference: Shaped, code: int | None, n_txt: int, dim: int) -> int:
    """The dtype code of a reference that is no name, of either shape."""
    if code is None:
        refuse_dtype("reference", reference.dtype)
    if len(reference.shape) == 1:
        return one_value_per_text("reference", reference, code, n_txt)
    if reference.shape != (n_txt, dim):
        raise ValueError(
            f"reference must be 'pool_max', 'paired', an array of shape ({n_txt},) or one of shape ({n_txt}, {dim}), "
            f"got shape {reference.shape}; pass one similarity or one image embedding per text"
        )
    return code


def labels(name: str, x: Any, n: int) -> NDArray[Any]:
    """`x` as n integers of any width."""
    array, code = convert(name, x)
    one_integer_per_row(name, array, code, n)
    return array.astype(np.uint64 if is_unsigned(code) else np.int64)


def group_labels(name: str, x: Any, n: int) -> NDArray[Any]:
    """`x` as n integers of any width, or as n strings."""
    if is_tensor(x) or (hasattr(x, "__dlpack_device__") and not isinstance(x, np.ndarray)):
        return labels(name, x, n)
    array = np.asarray(x)
    if array.dtype.kind in "US" and isinstance(x, (list, tuple)):  # NumPy makes strings of numbers among strings
        array = np.asarray(x, object)
    if array.dtype.kind not in "OUST":
        return labels(name, x, n)
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


def same_kind_of_labels(img_groups: NDArray[Any], txt_groups: NDArray[Any]) -> None:
    of_strings = [groups.dtype.kind == "U" for groups in (img_groups, txt_groups)]
    if of_strings[0] != of_strings[1] and len(img_groups) and len(txt_groups):
        kinds = ["strings" if x else "integers" for x in of_strings]
        raise TypeError(
            f"img_groups and txt_groups must hold labels of one kind, got {kinds[0]} and {kinds[1]}; convert one of "
            "them"
        )


def one_integer_per_row(name: str, array: Shaped, code: int | None, n: int) -> None:
    if 0 not in array.shape and not is_integer(code):
        of_groups = " or strings" if name.endswith("_groups") else ""
        raise TypeError(
            f"{name} must hold integers{of_groups}, got dtype {array.dtype}; convert it, for example to int64"
        )
    if array.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one integer per row, got {array.shape}; check its length")


def owners(x: Any, n_txt: int, n_img: int, of: str = "img_emb") -> NDArray[np.int64]:
    """The row of each text's own image among the rows of `of`."""
    rows = labels("owner", x, n_txt)
    bad = (rows < 0) | (rows >= n_img)
    if bad.any():
        j = int(bad.argmax())
        raise ValueError(
            f"owner must hold rows of {of}, 0 to {n_img - 1}, got {rows[j]} at index {j}; it counts from 0, and ids "
            "are turned into rows by np.unique(ids, return_inverse=True)"
        )
    return rows.astype(np.int64)


def owner_beside(reference: Any, owner: Any, paired_emb: Any) -> None:
    """What `owner` can stand beside."""
    if owner is not None and isinstance(reference, str) and reference == "paired":
        raise ValueError(
            "owner must be None with reference='paired', where row j of img_emb is text j's own image; pass one of them"
        )
    if owner is None and paired_emb is not None:
        raise ValueError(
            "paired_emb must be given with owner, which says whose row of it is which text's own image, got no owner; "
            "pass owner, or the own images as reference"
        )


def skipped_images(value: Any, top_k_images: int | None) -> int | None:
    """`skip_top_images`; None where nothing is skipped."""
    meaning = "images of each text that do not count"
    if top_k_images is None:
        return integer("skip_top_images", value, 0, None, meaning) or None
    return integer("skip_top_images", value, 0, top_k_images - 1, f"{meaning}, fewer than top_k_images") or None


def both_groups(img_groups: Any, txt_groups: Any) -> None:
    if (img_groups is None) != (txt_groups is None):
        given = "img_groups" if txt_groups is None else "txt_groups"
        raise ValueError(f"img_groups and txt_groups must be given together, got only {given}; pass both or neither")


def choice(name: str, value: Any, known: Iterable[str]) -> None:
    if not (isinstance(value, str) and value in known):
        error = ValueError if isinstance(value, str) else TypeError
        raise error(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}; choose one of these")


def of_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}; make one and pass it")


def integer(name: str, value: Any, low: int, high: int | None, meaning: str) -> int:
    """An int from `low` to `high`; `meaning` says what it counts."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError("a bool is no number")
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an integer ({meaning}), got {value!r}; pass an int") from error
    if number < low or (high is not None and number > high):
        expected = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {expected} ({meaning}), got {number}; pass a value in that range")
    return number


def real(name: str, value: Any) -> float:
    """A finite float."""
    if type(value) is not float:
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name} must be a number, got {type(value).__name__}; pass a float")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}; pass a finite float")
    return number


def positive(name: str, value: Any, meaning: str = "") -> float:
    number = real(name, value)
    if number <= 0:
        raise ValueError(
            f"{name} must be above 0{f' ({meaning})' if meaning else ''}, got {number}; pass a positive float"
        )
    return number


def not_negative(name: str, value: Any) -> float:
    number = real(name, value)
    if number < 0:
        raise ValueError(f"{name} must be at least 0, got {number}; pass a value in that range")
    return number


def within(name: str, value: Any, least: float, most: float) -> float:
    number = real(name, value)
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least:g} to {most:g}, got {number:g}; rescale it")
    return number


def at_least(name: str, value: Any, least: float, meaning: str) -> float:
    number = real(name, value)
    if number < least:
        raise ValueError(f"{name} must be at least {least:g}, {meaning}, got {number:g}; raise it")
    return number


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}; pass a bool")
    return bool(value)


def share(name: str, value: Any, or_zero: bool = False) -> float:
    number = real(name, value)
    if not 0 <= number < 1 or (number == 0 and not or_zero):
        least = "at least 0" if or_zero else "above 0"
        raise ValueError(f"{name} must be {least} and below 1, a share, got {number}; pass a value in that range")
    return number


def only_with(name: str, given: bool, setting: str, holds: bool) -> None:
    if given != holds:
        raise ValueError(
            f"{name} must be given with {setting} and only with it, got {setting if holds else 'another choice'} "
            f"{'without' if holds else 'with'} {name}; {'pass' if holds else 'leave out'} {name}"
        )


def weighting(weight: Any, aggregate: Any, k: Any, temperature: Any, n_txt: int) -> tuple[int, float]:
    """(k, temperature) of a weight and an aggregate: each given where it has a meaning, and only there."""
    choice("weight", weight, WEIGHTS)
    choice("aggregate", aggregate, AGGREGATES)
    only_with("k", k is not None, "aggregate='topk'", aggregate == "topk")
    only_with("temperature", temperature is not None, "weight='exp'", weight == "exp")
    k = 1 if k is None else integer("k", k, 1, n_txt, "texts that an image is scored by")
    if temperature is None:
        return k, 1.0
    return k, positive("temperature", temperature)


def threads(n_threads: Any) -> int:
    """The number of threads to use; results do not depend on it, so that a cap hides nothing."""
    if n_threads is None:
        return _core.default_threads()
    return min(integer("n_threads", n_threads, 1, None, "threads"), 1024)


def random_generator(random_state: Any) -> np.random.Generator:
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31)
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"random_state must be None, an int >= 0 or a NumPy generator, got {random_state!r}; pass an int"
        ) from error


def like(x: Any, result: NDArray[Any]) -> Any:
    """`result` as the kind of array that `x` is."""
    if isinstance(x, np.ndarray):
        return result
    if is_tensor(x):
        import torch

        return torch.from_numpy(result)
    namespace = getattr(x, "__array_namespace__", None)
    return result if namespace is None else namespace().from_dlpack(result)
