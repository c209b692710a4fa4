"""What has no kernels for a GPU: computed on the CPU from copies, with the result on the GPU. It waits for the GPU."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from hnscore.engine.memory.device import location
from hnscore.engine.memory.libraries import to_device, to_host

_LOG = logging.getLogger("hnscore")
Function = TypeVar("Function", bound=Callable[..., Any])


def computed_on_cpu(function: Function) -> Function:
    """`function`, of arrays that may be on a GPU."""

    @functools.wraps(function)
    def call(*args: object, **keywords: object) -> Any:
        if _on_gpu((*args, *keywords.values())) is None:
            return function(*args, **keywords)
        return given_back(function, inspect.signature(function).bind(*args, **keywords).arguments)

    return cast(Function, call)


def from_copies(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """The result, in CPU memory, of `function` on copies of its arguments, at least one of which is on a GPU."""
    place = location(_on_gpu(arguments.values()))
    _LOG.info("%s: computed on the CPU, from copies of arrays on cuda:%d", function.__name__, place)
    return function(**{name: copied(name, x) for name, x in arguments.items()})


def given_back(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """The same with the result where the first of these arguments is."""
    return _given_back(from_copies(function, arguments), _on_gpu(arguments.values()))


def _arrays(x: object) -> Iterator[Any]:
    """Of an argument, which may be a pair of them."""
    if isinstance(x, tuple | list):
        for part in x[:2]:  # rows in a long list are of one kind
            yield from _arrays(part)
    else:
        yield x


def _on_gpu(arguments: Iterable[Any]) -> Any:
    """The first array that is on a GPU; None where there is none."""
    return next((x for part in arguments for x in _arrays(part) if location(x) is not None), None)


def copied(name: str, x: object) -> Any:
    """An argument in CPU memory."""
    if isinstance(x, tuple | list) and any(location(part) is not None for part in _arrays(x)):
        return type(x)(copied(name, part) for part in x)
    return x if location(x) is None else to_host(name, x)


def _given_back(result: object, example: object) -> Any:
    if isinstance(result, tuple):
        parts = [_given_back(part, example) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    return to_device(result, example)
