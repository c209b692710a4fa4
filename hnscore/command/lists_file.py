"""The files of `hnscore mine`, `pairs` and `duplicates`: what is there so far, and what tells whether it may be
believed.

`negatives.npz.partial` holds one part after the other, each of some rows: how many entries each row has, their indices,
their similarities. When all rows are there the parts become the arrays of `negatives.npz`. `kept.npy.partial` holds the
rows that stand for others so far.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hnscore.command.output import Output, differences, to_disk
from hnscore.datasets.files import Array, StrPath

_COPIED = 2**24  # bytes at a time


class Resumable(Output):
    """An output of rows, some of which may be there already."""

    def new_state(self) -> dict[str, Any]:
        return super().new_state() | {"rows": 0, "digest": ""}

    @property
    def worth_keeping(self) -> bool:
        return bool(self.state.get("rows"))

    @property
    def rows(self) -> int:
        return int(self.state["rows"])

    def resume(self, state: dict[str, Any]) -> bool:
        if not state.get("rows"):
            return False
        changed = differences(state["settings"], self._settings)
        if not changed and not self.same_inputs(state):
            changed = ["the inputs have changed since"]
        if not changed and not (self.partial.exists() and self._is_whole(state)):
            changed = [f"{self.partial} does not hold what was written"]
        if changed and not self._overwrite:
            raise ValueError(
                f"{self.path} cannot be continued: {'; '.join(changed)}; repeat what was begun, or pass --overwrite to "
                "start anew"
            )
        return not changed

    def _is_whole(self, state: Mapping[str, Any]) -> bool:
        """Whether the partial file is as this record says."""
        raise NotImplementedError


class StandsFile(Resumable):
    """The row that stands for each of n rows, decided up to some row. All of it is written each time: seldom enough to
    take a twentieth of the time at most."""

    _due = 0.0  # on the clock: before it a write would be too soon

    def _is_whole(self, state: Mapping[str, Any]) -> bool:
        return _chained("", self.partial.read_bytes()) == state.get("digest")

    def load(self) -> NDArray[np.int64] | None:
        return np.frombuffer(self.partial.read_bytes(), np.int64).copy() if self.rows else None

    def write_rows(self, rows: int, stands: NDArray[np.int64]) -> None:
        began = time.monotonic()
        if began < self._due:
            return
        content = stands.tobytes()
        with self.named_errors():
            self.file.seek(0)
            self.file.write(content)
            to_disk(self.file)
        self.state |= {"rows": rows, "digest": _chained("", content)}
        self.save()
        now = time.monotonic()
        self._due = now + 20 * (now - began)

    def finish_as(self, array: Array) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.write(array)
        self.finish()


class ListsFile(Resumable):
    """Lists of `n` rows."""

    def __init__(
        self,
        path: StrPath,
        inputs: Mapping[str, StrPath],
        settings: Mapping[str, Any],
        overwrite: bool,
        n: int,
        dtype: type[np.generic],
    ) -> None:
        super().__init__(path, inputs, settings, overwrite)
        self.n, self.dtype = n, np.dtype(dtype)

    def new_state(self) -> dict[str, Any]:
        return super().new_state() | {"parts": []}

    def _is_whole(self, state: Mapping[str, Any]) -> bool:
        parts, rows = state.get("parts"), state.get("rows")
        if not isinstance(parts, list) or not all(isinstance(p, list) and len(p) == 2 for p in parts):
            return False
        if sum(p[0] for p in parts) != rows:
            return False
        digest = ""
        with open(self.partial, "rb") as file:
            for rows_of, entries in parts:
                content = file.read(self._size(rows_of, entries))
                digest = _chained(digest, content)
        return digest == state.get("digest")

    def _size(self, rows: int, entries: int) -> int:
        return 8 * rows + (8 + self.dtype.itemsize) * entries

    def write_part(self, counts: Array, indices: Array, similarities: Array) -> None:
        """The next rows; on disk before the record says so."""
        content = b"".join(
            np.ascontiguousarray(x, dtype).tobytes()
            for x, dtype in ((counts, np.int64), (indices, np.int64), (similarities, self.dtype))
        )
        with self.named_errors():
            self.file.seek(sum(self._size(*part) for part in self.state["parts"]))
            self.file.write(content)
            to_disk(self.file)
        self.state["parts"].append([len(counts), len(indices)])
        self.state["digest"] = _chained(self.state["digest"], content)
        self.state["rows"] += len(counts)
        self.save()

    # ---- From parts to arrays ----------------------------------------------------------------------------------------

    def finish_as(self, arrays: Mapping[str, tuple[tuple[int, ...], str, Callable[[], Iterator[Array]]]]) -> None:
        """Writes named arrays, shape, dtype and pieces in order, and puts the file in its place."""
        whole = Path(f"{self.partial}.whole")
        try:
            with self.named_errors(), zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for name, (shape, dtype, pieces) in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        _write_array(file, shape, dtype, pieces())
            self.file.close()
            os.replace(whole, self.partial)
            self._file = open(self.partial, "r+b")  # noqa: SIM115  see __exit__
        finally:
            whole.unlink(missing_ok=True)
        self.finish()

    def entries(self, at: int) -> Iterator[Array]:
        """Of all parts: their counts, indices or similarities, a piece at a time."""
        dtype = (np.dtype(np.int64), np.dtype(np.int64), self.dtype)[at]
        with open(self.partial, "rb") as file:
            first = 0
            for rows, entries in self.state["parts"]:
                begin = first + (0, 8 * rows, 8 * (rows + entries))[at]
                end = begin + dtype.itemsize * (rows if at == 0 else entries)
                for start in range(begin, end, _COPIED):
                    file.seek(start)
                    yield np.frombuffer(file.read(min(_COPIED, end - start)), dtype)
                first += self._size(rows, entries)

    def offsets(self) -> Iterator[NDArray[np.int64]]:
        total = np.zeros(1, np.int64)
        yield total
        for counts in self.entries(0):
            sums = np.cumsum(counts) + total
            total = sums[-1:]
            yield sums

    @property
    def total(self) -> int:
        return sum(entries for _, entries in self.state["parts"])


def _chained(digest: str, content: bytes) -> str:
    return blake2b(digest.encode() + content, digest_size=16).hexdigest()


def _write_array(file: IO[bytes], shape: tuple[int, ...], dtype: str, pieces: Iterator[Array]) -> None:
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in pieces:
        file.write(piece.tobytes())
