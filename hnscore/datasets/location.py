"""Files on a disk or in an object store, and which of them a path, pattern, list, folder or URI names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from hnscore.datasets.files import identity

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


PATTERN = frozenset("*?[")


class Location(NamedTuple):
    """A file, on a disk or in a store that fsspec knows."""

    path: str
    store: AbstractFileSystem | None = None  # a file system of fsspec; None: a disk

    def __str__(self) -> str:
        return self.path if self.store is None else str(self.store.unstrip_protocol(self.path))

    def open(self) -> IO[bytes]:
        return open(self.path, "rb") if self.store is None else cast("IO[bytes]", self.store.open(self.path, "rb"))

    def read(self, start: int, stop: int) -> bytes:
        if self.store is not None:
            return bytes(self.store.cat_file(self.path, start=start, end=stop))
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(stop - start)

    @property
    def size(self) -> int:
        return os.stat(self.path).st_size if self.store is None else int(self.store.info(self.path)["size"])

    def identity(self) -> dict[str, Any]:
        """What every change of the content changes, without reading it; a file's copy with its time is the same."""
        if self.store is None:
            known = identity(self.path)
            return {"bytes": known["bytes"], "modified": known["modified"]}
        self.store.invalidate_cache(os.path.dirname(self.path))
        info = self.store.info(self.path)
        mark = info.get("ETag") or info.get("etag") or info.get("md5Hash") or info.get("mtime") or info.get("created")
        return {"bytes": int(info["size"]), "modified": str(mark)}


def locations(source: object, options: Mapping[str, Any] | None, suffixes: Iterable[str], name: str) -> list[Location]:
    """The files that a source names: those of a list in its order, else sorted by their paths."""
    if isinstance(source, (list, tuple)):
        return [each for part in source for each in locations(part, options, suffixes, name)]
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"{name} must be a path, pattern, URI or a list of them, got {type(source).__name__}; an array is passed "
            "to the functions as it is"
        )
    path, store = os.fspath(source), None
    with one_line(path):
        if "://" in path:
            path, store = in_store(path, options)
        found = _found(path, store, tuple(suffixes), name)
    return [Location(each, store) for each in found]


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Errors of a store, whose libraries have kinds of their own for them, as an OSError that names what was asked."""
    try:
        yield
    except (ValueError, TypeError, KeyboardInterrupt, ImportError):
        raise
    except OSError as error:
        if (error.filename is not None and error.strerror) or what in str(error):
            raise
        kind = next(k for k in (FileNotFoundError, PermissionError, OSError) if isinstance(error, k))
        raise kind(f"{what}: {_said(error)}") from error
    except Exception as error:
        raise OSError(f"{what}: {_said(error)}; check the address and the credentials") from error


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def in_store(uri: str, options: Mapping[str, Any] | None) -> tuple[str, Any]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(f"{uri} needs fsspec; pip install 'hnscore[pools]'") from error
    try:
        store, path = url_to_fs(uri, **(options or {}))
    except ImportError as error:
        raise ImportError(f"{uri} needs a library: {error}") from error
    except ValueError as error:
        raise ValueError(f"{uri} cannot be opened: {_said(error)}; check the address") from error
    if "file" in (store.protocol if isinstance(store.protocol, tuple) else (store.protocol,)):
        return path, None
    return path, store


def _found(path: str, store: AbstractFileSystem | None, suffixes: tuple[str, ...], name: str) -> list[str]:
    is_folder = os.path.isdir(path) if store is None else store.isdir(path)
    if not is_folder and PATTERN.intersection(path) and not (store is None and os.path.exists(path)):
        found = glob.glob(path, recursive=True) if store is None else store.glob(path)
        # The pattern may say which kind of file is meant by no suffix that is known.
        found = [each for each in found if (os.path.isfile(each) if store is None else True)]
        if not found:
            raise FileNotFoundError(f"{name}: no file is named like {path}; check the pattern")
        return sorted(found)
    if not is_folder:
        there = os.path.exists(path) if store is None else store.exists(path)
        if not there:
            raise FileNotFoundError(f"{name}: {path} is not there; check the path")
        return [path]
    listed = [os.path.join(path, each) for each in os.listdir(path)] if store is None else store.ls(path, detail=False)
    found = [each for each in listed if each.endswith(suffixes) and not os.path.basename(each).startswith((".", "_"))]
    kinds = sorted({os.path.splitext(each)[1] for each in found})
    if not found:
        folders = [os.path.basename(each.rstrip("/")) for each in listed if _is_folder(each, store)]
        below = f"; pass one of its folders, {', '.join(sorted(folders)[:8])}, or a pattern" if folders else ""
        raise FileNotFoundError(f"{name}: {path} holds no {', '.join(suffixes)} files{below or '; check the path'}")
    if len(kinds) > 1:
        raise ValueError(
            f"{name}: {path} holds {' and '.join(kinds)} files; pass a pattern, for example "
            f"{os.path.join(path, '*' + kinds[0])}"
        )
    return sorted(found)


def _is_folder(path: str, store: AbstractFileSystem | None) -> bool:
    return os.path.isdir(path) if store is None else bool(store.isdir(path))
