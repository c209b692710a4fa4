"""A lock on an open file, which its process holds until it closes the file or ends."""

import os
import sys

# Windows keeps others from reading what is locked: one byte is, far behind the content.
_BYTE = 2**30

if sys.platform == "win32":
    import msvcrt

    def take_lock(descriptor: int) -> None:
        """Raises BlockingIOError where another process holds it."""
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(error.errno, "another process holds the lock") from error
else:
    import fcntl

    def take_lock(descriptor: int) -> None:
        """Raises BlockingIOError where another process holds it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
