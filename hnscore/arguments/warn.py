"""Warnings that point at the user's line."""

from __future__ import annotations

import sys
import warnings


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """At the line that called hnscore."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "hnscore":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
