"""Options and numbers: each checked alone. Errors as arrays.py says."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable

import numpy as np

from hnscore import _core


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    if not (isinstance(value, str) and value in known):
        error = ValueError if isinstance(value, str) else TypeError
        raise error(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}; choose one of these")


def check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}; make one and pass it")


def check_integer(name: str, value: object, low: int, high: int | None, meaning: str) -> int:
    """An int from `low` to `high`; `meaning` says what it counts."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError("a bool is no number")
        number = operator.index(value)  # type: ignore[arg-type]  # asked here
    except TypeError as error:
        raise TypeError(f"{name} must be an integer ({meaning}), got {value!r}; pass an int") from error
    if number < low or (high is not None and number > high):
        expected = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {expected} ({meaning}), got {number}; pass a value in that range")
    return number


def check_real(name: str, value: object) -> float:
    """A finite float."""
    if type(value) is not float:
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name} must be a number, got {type(value).__name__}; pass a float")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}; pass a finite float")
    return number


def check_positive(name: str, value: object, meaning: str = "") -> float:
    number = check_real(name, value)
    if number <= 0:
        raise ValueError(
            f"{name} must be above 0{f' ({meaning})' if meaning else ''}, got {number}; pass a positive float"
        )
    return number


def check_not_negative(name: str, value: object) -> float:
    number = check_real(name, value)
    if number < 0:
        raise ValueError(f"{name} must be at least 0, got {number}; pass a value in that range")
    return number


def check_within(name: str, value: object, least: float, most: float) -> float:
    number = check_real(name, value)
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least:g} to {most:g}, got {number:g}; rescale it")
    return number


def check_at_least(name: str, value: object, least: float, meaning: str) -> float:
    number = check_real(name, value)
    if number < least:
        raise ValueError(f"{name} must be at least {least:g}, {meaning}, got {number:g}; raise it")
    return number


def check_flag(name: str, value: object) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}; pass a bool")
    return bool(value)


def check_share(name: str, value: object, or_zero: bool = False) -> float:
    number = check_real(name, value)
    if not 0 <= number < 1 or (number == 0 and not or_zero):
        least = "at least 0" if or_zero else "above 0"
        raise ValueError(f"{name} must be {least} and below 1, a share, got {number}; pass a value in that range")
    return number


def check_given_with(name: str, given: bool, setting: str, holds: bool) -> None:
    if given != holds:
        raise ValueError(
            f"{name} must be given with {setting} and only with it, got {setting if holds else 'another choice'} "
            f"{'without' if holds else 'with'} {name}; {'pass' if holds else 'leave out'} {name}"
        )


def count_threads(n_threads: object) -> int:
    """The number of threads to use; results do not depend on it, so that a cap hides nothing."""
    if n_threads is None:
        return _core.default_threads()
    return min(check_integer("n_threads", n_threads, 1, None, "threads"), 1024)


def as_generator(random_state: object) -> np.random.Generator:
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31)
    try:
        return np.random.default_rng(random_state)  # type: ignore[arg-type]  # asked here
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"random_state must be None, an int >= 0 or a NumPy generator, got {random_state!r}; pass an int"
        ) from error
