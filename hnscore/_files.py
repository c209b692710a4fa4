"""The .npy files of the command line: read where they lie, and written whole or not at all."""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
StrPath = str | os.PathLike[str]


def open_array(path: StrPath, name: str, dtype: str | None, ndims: tuple[int, ...]) -> Array:
    """The array of a .npy file, read where it lies."""
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name}: {path} is not a .npy file of numbers: {error}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{name}: {path} is an archive of arrays; expected a .npy file, np.save one of its arrays")
    if array.ndim not in ndims:
        expected = " or ".join(f"{n}-d" for n in ndims)
        raise ValueError(f"{name}: {path} holds a {array.ndim}-d array of shape {array.shape}, expected {expected}")
    if dtype is None and array.dtype.kind == "V":
        raise TypeError(
            f"{name}: {path} has dtype {array.dtype.str}, which names no number type; "
            "pass --dtype bfloat16 if these are bfloat16 values"
        )
    return array


def numbers_of(dtype: str | None) -> Callable[[Array], Array]:
    """What makes numbers of the rows of a file: nothing, or a view as bfloat16 of two-byte values."""
    if dtype is None:
        return np.asarray
    if dtype != "bfloat16":
        raise ValueError(f"dtype must be 'bfloat16' or None, got {dtype!r}")
    try:
        bfloat16 = importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        bfloat16 = None

    def numbers(rows: Array) -> Array:
        if rows.dtype != "V2" and (rows.ndim == 1 or rows.dtype not in ("int16", "uint16")):
            return np.asarray(rows)
        if bfloat16 is None:  # the same values, at the cost of a copy of each chunk
            return (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return rows.view(bfloat16)

    return numbers


@contextlib.contextmanager
def new_file(output: StrPath, inputs: Iterable[StrPath], overwrite: bool) -> Iterator[Callable[[Array], object]]:
    """What saves an array in `output`, which appears when the block ends without an error.

    What cannot be written fails before the block. `inputs` are never replaced.
    """
    fresh = Path(f"{output}.partial")
    check_output(output, [fresh], inputs, overwrite)
    try:
        with open(fresh, "wb") as file:
            yield lambda array: _save(file, array)
            _to_disk(file)
        os.replace(fresh, output)
    except BaseException as error:
        fresh.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(fresh)) from error
        raise


def check_output(output: StrPath, working: Iterable[StrPath], inputs: Iterable[StrPath], overwrite: bool) -> None:
    """Refuse to lose a file: an input, or what `output` holds already. `working`: the files written before it."""
    originals = {os.path.realpath(path): path for path in inputs}
    if os.path.realpath(output) in originals:
        raise ValueError(f"output {output} is one of the inputs; choose another")
    for path in working:
        if (original := originals.get(os.path.realpath(path))) is not None:
            raise ValueError(
                f"output {output} needs {path} while it is unfinished, but {original} is one of the inputs; "
                "choose another output"
            )
    if os.path.exists(output) and not os.path.isfile(output):
        raise ValueError(f"output {output} is no regular file; choose another")
    if os.path.exists(output) and not overwrite:
        raise FileExistsError(f"{output} exists; pass --overwrite to replace it, or choose another output")


def fresh_copy(path: StrPath) -> Path:
    """Where `replace` writes the new content."""
    return Path(f"{path}.new")


def replace(path: Path, content: bytes) -> None:
    """The old content or the new, also after a power cut."""
    fresh = fresh_copy(path)
    with open(fresh, "wb") as file:
        file.write(content)
        _to_disk(file)
    os.replace(fresh, path)


def _save(file: BinaryIO, array: Array) -> None:
    # np.save would not say why a write failed.
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(np.ascontiguousarray(array).data)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
