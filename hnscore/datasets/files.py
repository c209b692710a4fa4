"""The .npy files of the command line, read where they lie; and what a file is that is none."""

import importlib
import json
import os
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
StrPath = str | os.PathLike[str]

_LOAD = "write its array with np.save"
# What files begin with that people pass by mistake: what each is, and what to do.
_OTHERS: list[tuple[bytes, str, str]] = [
    (b"PAR1", "a Parquet file", "np.save one of its columns, for example np.stack(pandas.read_parquet(path)['emb'])"),
    (b"ARROW1", "an Arrow file", "np.save one of its columns"),
    (b"\x89HDF", "an HDF5 file", "np.save one of its data sets, h5py.File(path)['name'][:]"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull"),
    (b"\x1f\x8b", "gzip-compressed", "decompress it"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "decompress it"),
    (b"\x80", "a pickle", f"load it where you trust it, and {_LOAD}"),
    (b"<", "a text in HTML or XML, as a failed download leaves it", "download the file itself"),
]


def open_array(path: StrPath, name: str, dtype: str | None, ndims: tuple[int, ...]) -> Array:
    """The array of a .npy file, read where it lies."""
    what = f"{name}: {path}"
    if "://" in str(path):
        raise ValueError(f"{what} is an address, expected a .npy file on a disk; download it first")
    if os.path.isdir(path):
        raise ValueError(f"{what} is a folder, expected a .npy file; run the command for each .npy file in it")
    with open(path, "rb") as file:
        start = file.read(512)
    if start[:6] != b"\x93NUMPY":
        kind, remedy = _what_it_is(path, start)
        raise ValueError(f"{what} is {kind}, expected a .npy file; {remedy}")
    try:
        array: Array = np.load(path, mmap_mode="r")
    except (ValueError, EOFError, OverflowError, SyntaxError, MemoryError, OSError) as error:
        raise ValueError(f"{what} is not a .npy file of numbers: {_why_not(path, error)}") from None
    if array.ndim not in ndims:
        expected = " or ".join(f"{n}-d" for n in ndims)
        raise ValueError(f"{what} holds a {array.ndim}-d array of shape {array.shape}, expected {expected}")
    if dtype is None and array.dtype.kind == "V":
        raise TypeError(
            f"{what} has dtype {array.dtype.str}, which names no number type; "
            "pass --dtype bfloat16 if these are bfloat16 values"
        )
    return array


def _what_it_is(path: StrPath, start: bytes) -> tuple[str, str]:
    """What a file is that is no .npy file, and what to do."""
    if not start:
        return "empty", "write it again"
    if start[:2] == b"PK":
        return _zip(path)
    for magic, kind, remedy in _OTHERS:
        if start.startswith(magic):
            return kind, remedy
    if len(start) > 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**27:
        return "a safetensors file", "np.save one of its tensors, safetensors.numpy.load_file(path)['name']"
    try:
        json.dumps(start.decode())
        return "not a .npy file but a text", f"read it with np.loadtxt or pandas, and {_LOAD}"
    except UnicodeDecodeError:
        return "not a .npy file", _LOAD


def _zip(path: StrPath) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "a zip archive (.npz, .pt) that is cut short or broken", "write or download it again"
    if any(member.endswith("data.pkl") for member in members):
        return "a PyTorch file", "np.save('name.npy', torch.load(path).float().numpy())"
    arrays = [member.removesuffix(".npy") for member in members if member.endswith(".npy")]
    if arrays:
        names = ", ".join(arrays[:8])
        return f"an archive of arrays ({names})", f"np.save('name.npy', np.load(path)[{arrays[0]!r}])"
    return "a zip archive", "unpack it"


def _why_not(path: StrPath, error: Exception) -> str:
    """Why NumPy could not map a file that begins as a .npy file does."""
    try:
        with open(path, "rb") as file:
            shape, _, dtype = npy_header(file)
            there = os.fstat(file.fileno()).st_size - file.tell()
    except (ValueError, EOFError, OverflowError, SyntaxError, MemoryError, OSError):
        return "its header is broken; write it again"
    if dtype.hasobject:
        return "it holds Python objects; np.save np.stack of its rows, of one length and all of numbers"
    if any(n < 0 for n in shape):
        return f"its header has the shape {shape}; write it again"
    wanted = dtype.itemsize
    for n in shape:
        wanted *= n
    if there < wanted:
        promised = f"its header promises {wanted} bytes of {dtype}, there are {there}"
        return f"it is cut short: {promised}; write or download it again"
    return f"{' '.join(str(error).split())}; write it again"


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, dtype; the file is then where its values begin."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


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


def identity(path: StrPath) -> dict[str, Any]:
    """What tells one state of a file from another without reading it: every change of its content changes this."""
    stat = os.stat(path)
    return {
        "path": os.path.realpath(path),
        "bytes": stat.st_size,
        "modified": stat.st_mtime_ns,
        "changed": stat.st_ctime_ns,
        "inode": stat.st_ino,
        "device": stat.st_dev,
    }
