"""Arguments in, results out: here embeddings and results; `numbers.py` `values.py` (arrays beside the embeddings)
`rules.py` (between arguments); `checks.py` has what one function alone asks for. No other file raises argument errors.

An error names the argument, what was expected, what came, and the remedy: TypeError for kinds and dtypes, ValueError
for shapes and values. Embeddings become (ndarray view, dtype code of the core) and are never copied.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.columns import arrow_column, arrow_values
from hnscore.arguments.dtypes import BFLOAT16, CODES

if TYPE_CHECKING:
    import torch


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


def check_dense(name: str, tensor: torch.Tensor) -> None:
    import torch

    if tensor.is_nested:
        raise ValueError(
            f"{name} must be a dense tensor, got a nested one; pass torch.stack(list({name}.unbind())) if its rows are "
            "of one length"
        )
    if tensor.layout is not torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got layout {tensor.layout}; call .to_dense() first")


def _from_torch(name: str, tensor: torch.Tensor) -> tuple[NDArray[Any], int | None]:
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
    check_dense(name, tensor)
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
    return array, CODES.get(array.dtype)


def dlpack_device(kind: int, index: object) -> str:
    return f"{_DLPACK_DEVICES.get(int(kind), f'DLPack type {int(kind)}')}:{index}"


def read_array(name: str, x: Any) -> tuple[NDArray[Any], int | None]:
    """`x` as an array where it lies, with its dtype code; None for a dtype that holds no real numbers."""
    if type(x) is np.ndarray and (code := CODES.get(x.dtype)) is not None:  # the most usual by far
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
    column = arrow_column(x)
    if column is not None:
        return _coded(arrow_values(name, column))
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
    code = CODES.get(array.dtype)
    if code is None and array.dtype.name == "bfloat16":  # of ml_dtypes
        return array.view(np.int16), BFLOAT16
    return array, code


def refuse_containers(name: str, x: object) -> None:
    """What people hand over in place of the array that is in it."""
    remedy = None
    if isinstance(x, (str, os.PathLike)):
        remedy = f"pass np.load({str(x)!r}), if it names a .npy file"
    elif isinstance(x, np.lib.npyio.NpzFile):
        remedy = f"pass one of its members, {', '.join(f'archive[{member!r}]' for member in list(x)[:8])}"
    elif isinstance(x, Mapping) and len(x):
        remedy = f"pass one of its values, {', '.join(f'{name}[{key!r}]' for key in list(x)[:8])}"
    elif getattr(x, "num_columns", 0) > 1 and hasattr(x, "column_names"):
        remedy = f"pass one of its columns, {', '.join(f'{name}[{key!r}]' for key in x.column_names[:8])}"
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
        if row.dtype not in CODES:
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


def read_embeddings(name: str, x: object) -> tuple[NDArray[Any], int]:
    """The rows of `x`, read where they lie, and the core's code of their dtype."""
    if type(x) is np.ndarray and (code := CODES.get(x.dtype)) is not None:
        array = x
    else:
        array, known = read_array(name, x)
        if known is None:
            refuse_dtype(name, array.dtype)
        code = known
    if array.ndim != 2 or not 0 < array.shape[1] <= _MOST_COLUMNS or array.size > _MOST_VALUES:
        check_rows_and_columns(name, array)
    return array, code


# Sizes of more values than that are no memory's: products of sizes stay in 64 bits below.
_MOST_COLUMNS, _MOST_VALUES = 2**31 - 1, 2**53


def check_rows_and_columns(name: str, array: Shaped) -> None:
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


def check_same_library(img_emb: object, of_tensors: bool, name: str = "img_emb", other: str = "txt_emb") -> None:
    """Both sides must be torch tensors, or neither."""
    if is_tensor(img_emb) != of_tensors:
        raise TypeError(
            f"{name} and {other} must both be torch tensors or neither, got {name} as {type(img_emb).__name__} and "
            f"{other} {'as a tensor' if of_tensors else 'as no tensor'}; convert one with torch.from_numpy or .numpy()"
        )


def convert_like(x: object, result: NDArray[Any]) -> Any:
    """`result` as the kind of array that `x` is."""
    if isinstance(x, np.ndarray):
        return result
    if is_tensor(x):
        import torch

        return torch.from_numpy(result)
    namespace = getattr(x, "__array_namespace__", None)
    return result if namespace is None else namespace().from_dlpack(result)
