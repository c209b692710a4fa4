"""The standard streams of a command: closed ones, full disks, readers that have gone."""

import contextlib
import io
import os
import sys


class _Lenient(io.TextIOWrapper):
    """A stream of messages: that nobody reads them, or that a disk is full, does not end the work."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def open_closed_streams() -> None:
    """No file that is opened later may be taken for a standard stream that was closed."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the life of the process
    elif type(sys.stderr) is io.TextIOWrapper and sys.stderr is sys.__stderr__:
        raw = open(sys.stderr.fileno(), "wb", 0, closefd=False)  # noqa: SIM115
        sys.stderr = _Lenient(raw, errors="replace", write_through=True)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def forget_stdout() -> None:
    """What it holds cannot be written: Python shall not try again when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
