"""A call that torch.compile breaks its graph for. Imported on first use, since it needs torch."""

from typing import Any

import torch


@torch.compiler.disable  # type: ignore[untyped-decorator, unused-ignore]
def eagerly(function: Any, args: Any, keywords: Any) -> Any:
    return function(*args, **keywords)
