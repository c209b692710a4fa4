"""Long calls into NumPy, such as the sort of 2e8 scores, that Ctrl-C ends within a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

_LONG = 2**22  # values: less takes no second
_LOOKED_EVERY = 0.05  # seconds


def interruptible(size: int, work: Callable[[], Result]) -> Result:
    """``work()``, which NumPy would not let a signal end, on an array of so many values.

    It runs on a thread of its own while the main thread, which alone gets signals, waits. One that is interrupted
    leaves it to end by itself.
    """
    if size < _LONG or threading.current_thread() is not threading.main_thread():
        return work()
    result: Future[Result] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOKED_EVERY)
    return result.result()
