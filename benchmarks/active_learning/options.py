"""Options that a configuration gives, held against the functions that they go to: before anything is trained."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

GIVEN = {"name", "n_threads", "random_state", "embeddings", "labeled", "against", "img_groups", "txt_groups"}
"""What the runner gives these functions itself."""
WORDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", dict: "a table"}


def check(where: str, given: object, *functions: Callable[..., Any]) -> None:
    """Raises TypeError or ValueError, saying where, if an option is unknown or of another kind than the function wants.

    Each next function is asked only where the one before passes its **keywords on.
    """
    if not isinstance(given, dict):
        raise TypeError(f"{where} must be a table, got {given!r}")
    known: dict[str, Any] = {}
    for function in functions:
        hints = get_type_hints(function)
        parameters = inspect.signature(function).parameters.values()
        for p in parameters:
            optional = p.kind is p.KEYWORD_ONLY or p.default is not p.empty or isinstance(function, type)
            if optional and p.kind is not p.VAR_KEYWORD and p.name not in GIVEN:
                known.setdefault(p.name, hints.get(p.name, Any))
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known)) or 'none'}")
    for name, value in given.items():
        if not _fits(value, known[name]):
            raise TypeError(f"{where}: {name} must be {_words(known[name])}, got {value!r}")


def _fits(value: object, hint: Any) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if hint in (Any, object):
        return isinstance(value, str | int | float)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, h) for h in get_args(hint))
    if get_origin(hint) in (tuple, list):
        return isinstance(value, list) and all(_fits(v, get_args(hint)[0]) for v in value)
    kind = get_origin(hint) or hint
    return type(value) is kind or (kind is float and type(value) is int)


def _words(hint: Any) -> str:
    if get_origin(hint) in (tuple, list):
        return f"a list, each {_words(get_args(hint)[0])}"
    union = get_origin(hint) in (Union, types.UnionType)
    kinds = [get_origin(h) or h for h in (get_args(hint) if union else [hint]) if h is not types.NoneType]
    return " or ".join(WORDS.get(kind, "a string or a finite number") for kind in kinds)
