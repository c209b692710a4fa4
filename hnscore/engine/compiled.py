"""Functions that torch.compile leaves alone: under it they break the graph, without a word, and run as ever."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def breaks_graph(function: Function) -> Function:
    """`function`, which Dynamo is not to trace into: it would warn of every call of the core."""

    @functools.wraps(function)
    def call(*args: object, **keywords: object) -> Any:
        torch = sys.modules.get("torch")
        if torch is not None and torch.compiler.is_compiling():
            from hnscore.engine.eagerly import eagerly

            return eagerly(function, args, keywords)
        return function(*args, **keywords)

    return cast(Function, call)
