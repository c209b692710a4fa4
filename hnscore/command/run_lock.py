"""The lock of a run on its output: a file beside it that says which process has it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hnscore.datasets.files import StrPath
from hnscore.datasets.locks import take_lock


class RunLock:
    """The file `path`, beside the output `of`."""

    def __init__(self, path: Path, of: StrPath) -> None:
        self.path, self.of = path, of
        self._file = -1

    def take(self) -> None:
        while True:
            try:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
                content = os.read(self._file, 64)
                if content and not content.startswith(b"hnscore "):
                    raise FileExistsError(
                        f"{self.path} is in the way, and is no lock of hnscore: move it, or choose another output"
                    )
                take_lock(self._file)
            except BlockingIOError:
                pid = content.decode(errors="replace").removeprefix("hnscore ").strip() or "unknown"
                self._close()
                raise ValueError(
                    f"output {self.of} is being written by another run (process {pid}); wait for it, or choose "
                    "another output"
                ) from None
            except FileExistsError:
                self._close()
                raise
            if self._is_there():
                break
            self._close()  # its holder has just finished and removed it
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, f"hnscore {os.getpid()}\n".encode())

    def _is_there(self) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file)
        return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)

    def drop(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(PermissionError):  # Windows removes no file that is open
                self.path.unlink(missing_ok=True)  # while it is held: nobody else can have it
            self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
