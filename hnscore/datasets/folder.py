"""A folder that results are written to, on a disk or in an object store: every file is there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Any

from hnscore.datasets.location import Location, in_store, one_line
from hnscore.datasets.locks import take_lock

_FRESH = ".hnscore-"  # then 16 digits: a file before it takes its name


class Folder:
    """Files by their names below a folder, which is made when the first is written."""

    def __init__(self, path: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> None:
        self.path, self.store = os.fspath(path), None
        if "://" in self.path:
            with one_line(self.path):
                self.path, self.store = in_store(self.path, options)
        if self.store is None and os.path.exists(self.path) and not os.path.isdir(self.path):
            raise ValueError(f"output must be a folder, got the file {self.path}; choose another")
        self.path = self.path.rstrip("/") or "/"

    def __str__(self) -> str:
        return str(Location(self.path, self.store))

    def at(self, name: str) -> Location:
        return Location(f"{self.path}/{name}", self.store)

    def read(self, name: str) -> bytes | None:
        """None where there is no such file."""
        try:
            with one_line(str(self.at(name))), self.at(name).open() as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """The old content or the new, also after a power cut."""
        place = self.at(name)
        with one_line(str(place)):
            if self.store is not None:
                self.store.pipe_file(place.path, content)  # one request: an object is there whole
                return
            os.makedirs(os.path.dirname(place.path), exist_ok=True)
            fresh = f"{os.path.dirname(place.path)}/{_FRESH}{token_hex(8)}"
            try:
                with open(fresh, "xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(fresh, place.path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(fresh)
                raise

    def identity(self, name: str) -> dict[str, Any] | None:
        try:
            with one_line(str(self.at(name))):
                return self.at(name).identity()
        except FileNotFoundError:
            return None

    def names(self, below: str) -> list[str]:
        """The files of a folder in it, itself."""
        path = f"{self.path}/{below}"
        with one_line(path):
            if self.store is None:
                return sorted(os.listdir(path)) if os.path.isdir(path) else []
            self.store.invalidate_cache(path)
            try:
                return sorted(os.path.basename(each) for each in self.store.ls(path, detail=False))
            except FileNotFoundError:
                return []

    def unlink(self, name: str) -> None:
        place = self.at(name)
        with one_line(str(place)), contextlib.suppress(FileNotFoundError):
            if self.store is None:
                os.unlink(place.path)
            else:
                self.store.rm_file(place.path)

    def remove(self, below: str) -> None:
        """A folder in it, with all that it holds."""
        path = f"{self.path}/{below}"
        if self.store is None:
            shutil.rmtree(path, ignore_errors=True)
        else:
            with one_line(path), contextlib.suppress(FileNotFoundError):
                self.store.rm(path, recursive=True)

    def remove_if_empty(self) -> None:
        """The folder itself, after a call that has written nothing. A store has no empty folders."""
        if self.store is None:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Against a second run that writes the same, on one machine."""
        if self.store is not None:
            yield
            return
        path = f"{self.path}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a+b") as file:
            try:
                take_lock(file.fileno())
            except BlockingIOError:
                raise ValueError(
                    f"output {self.path} is being written by another run; wait for it, or choose another output"
                ) from None
            yield
