"""A call that torch.compile breaks its graph for. Imported on first use, since it needs torch."""

from collections.abc import Callable
from typing import Any

import torch


@torch.compiler.disable  # type: ignore[untyped-decorator, unused-ignore]
def eagerly(function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return function(*args, **keywords)
