"""Keywords that several functions share: listed once, with their defaults, and shown in the signature of each."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def accepts(keywords: Mapping[str, object]) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """For a function that ends in ``**options``: it gets all of these keywords, by default with these values, and its
    signature has them."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        signature = inspect.signature(function)
        own = [*signature.parameters.values()][:-1]
        more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=x) for name, x in keywords.items()]
        signature = signature.replace(parameters=[*own, *more])

        @functools.wraps(function)
        def call(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
            for name in options:
                if name not in signature.parameters:
                    near = difflib.get_close_matches(name, signature.parameters, 1)
                    raise TypeError(
                        f"{function.__qualname__}() got an unexpected keyword argument {name!r}; "
                        f"{f'did you mean {near[0]}?' if near else 'leave it out'}"
                    )
            options.update({name: x for name, x in keywords.items() if name not in options})
            return function(*args, **options)

        call.__signature__ = signature  # type: ignore[attr-defined]
        return call

    return decorate
