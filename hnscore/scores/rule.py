"""What a call of `score` asks for: one object, made once; and what is decided from it alone, on any device."""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.numbers import as_generator, check_choice, check_integer, check_not_negative, check_real
from hnscore.arguments.options import METHODS, REFERENCE_KINDS, SIMILARITIES, RandomState
from hnscore.arguments.rules import (
    check_both_groups,
    check_owner,
    check_paired_lengths,
    check_skip_top_images,
    check_weighting,
)
from hnscore.engine.protocol import Request

if TYPE_CHECKING:
    from hnscore.arguments.options import Aggregate, ArrayLike, Method, Precision, Similarity, Weight


# What the threshold takes of the reference, and what each is, in the words of the command line.
MARGINS = {"margin": "similarity difference", "relative_margin": "share of a text's reference"}


class Rule(NamedTuple):
    """The keywords of `score` and `Scorer`, unchecked, as their docstrings have them. Made by name, never by place."""

    margin: float = 0.2
    # Which pairs count.
    relative_margin: float = 0.0
    reference: object = "pool_max"
    top_k_images: int | None = None
    skip_top_images: int | None = None
    max_similarity: object = None
    img_groups: object = None
    txt_groups: object = None
    owner: object = None
    paired_emb: object = None
    minibatch: int | None = None
    random_state: RandomState = None
    # What they weigh, and how that is added up.
    weight: str = "hinge"
    aggregate: str = "sum"
    k: int | None = None
    similarity: str = "cosine"
    temperature: float | None = None
    # How it is computed.
    precision: str = "exact"
    method: str = "auto"
    n_threads: int | None = None
    show_progress_bar: bool = False
    verbose: bool = False

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Rule:
        """Of a function's own arguments, its locals(), which have all of them: by name, in a third of the time of
        keywords."""
        return tuple.__new__(cls, _IN_ORDER(arguments))

    @property
    def of_best_match(self) -> bool:
        """Whether each text is measured against its best match in the pool."""
        return self.owner is None and isinstance(self.reference, str) and self.reference == "pool_max"

    def of_pool(self, n_img: int, n_txt: int) -> tuple[int | None, int | None]:
        """The checked `top_k_images` and `skip_top_images`, after the other rules that look at the whole pool."""
        if isinstance(self.reference, str):
            if self.reference in REFERENCE_KINDS:
                raise ValueError(
                    f"reference must be similarities where they are of kind {self.reference!r}; pass "
                    f"reference=reference_similarity(paired_emb, txt_emb, kind={self.reference!r}, ...)"
                )
            check_choice("reference", self.reference, ("pool_max", "paired"))
        if self.owner is not None or self.paired_emb is not None:
            check_owner(self.reference, self.owner, self.paired_emb)
        if isinstance(self.reference, str) and self.reference == "paired":
            check_paired_lengths("reference='paired'", n_img, n_txt)
        top, skip = self.top_k_images, self.skip_top_images
        if top is not None:
            top = check_integer("top_k_images", top, 1, n_img or None, "images of img_emb")
        if skip is not None:
            skip = check_skip_top_images(skip, top)
        if self.img_groups is not None or self.txt_groups is not None:
            check_both_groups(self.img_groups, self.txt_groups)
        return top, skip

    def margins(self) -> tuple[float, ...]:
        """Those of MARGINS, checked, in the order of csrc/recipes/threshold.h."""
        return check_real("margin", self.margin), check_not_negative("relative_margin", self.relative_margin)


_IN_ORDER = itemgetter(*Rule._fields)
_DEFAULTS = Rule._field_defaults
ARRAYS = ("reference", "max_similarity", "img_groups", "txt_groups", "owner", "paired_emb")
SHOWN = ("show_progress_bar", "verbose")
_OF_ONE_CALL = (*ARRAYS, *SHOWN, "top_k_images", "skip_top_images", "random_state", "n_threads")
# What is checked without a look at any array.
NUMBERS = tuple(name for name in _DEFAULTS if name not in _OF_ONE_CALL)
_NUMBERS = itemgetter(*map(Rule._fields.index, NUMBERS))


def keywords(*left_out: str, **others: object) -> dict[str, object]:
    """Those of `score` with their defaults, without some, and with other defaults."""
    return {name: x for name, x in _DEFAULTS.items() if name not in ("margin", *left_out)} | others


# ---- The same keywords, for the type checkers of users ---------------------------------------------------------------


class RuleOptions(TypedDict, total=False):
    """Which pairs count."""

    relative_margin: float
    reference: Literal["pool_max", "paired"] | ArrayLike
    top_k_images: int | None
    skip_top_images: int | None
    max_similarity: float | ArrayLike | None
    img_groups: ArrayLike | None
    txt_groups: ArrayLike | None
    owner: ArrayLike | None
    paired_emb: ArrayLike | None
    similarity: Similarity
    precision: Precision
    method: Method
    n_threads: int | None


class ShownOptions(TypedDict, total=False):
    show_progress_bar: bool
    verbose: bool


class WeightOptions(RuleOptions, total=False):
    """And what they weigh."""

    weight: Weight
    aggregate: Aggregate
    k: int | None
    minibatch: int | None
    temperature: float | None
    random_state: RandomState


class ScoreOptions(WeightOptions, ShownOptions):
    pass


# ---- Checked ---------------------------------------------------------------------------------------------------------


class Settings(NamedTuple):
    """What a rule says of a score against `n_txt` texts, checked."""

    n_txt: int
    n_used: int  # of a minibatch
    is_minibatch: bool
    margins: tuple[float, ...]  # the margin first: what the threshold takes of the reference: csrc/recipes/threshold.h
    aggregate: str
    request: Request

    @property
    def margin(self) -> float:
        return self.margins[0]

    def draw(self, random_state: object) -> NDArray[np.int64]:
        """The texts of the minibatch, ascending."""
        rows = as_generator(random_state).choice(self.n_txt, self.n_used, replace=False, shuffle=False)
        return np.sort(rows).astype(np.int64)


def settings_of(n_txt: int, rule: Rule, precisions: tuple[str, ...] = _core.PRECISIONS) -> Settings:
    """Checked once where a training loop repeats them."""
    numbers = _NUMBERS(rule)
    # Only what cannot change: a tensor of one number may be another one at the next call.
    checked = _checked if _PLAIN.issuperset(map(type, numbers)) else _checked.__wrapped__
    return checked(n_txt, precisions, *numbers)


_PLAIN = frozenset((int, float, str, tuple, type(None)))


@lru_cache(256, typed=True)
def _checked(n_txt: int, precisions: tuple[str, ...], *numbers: Any) -> Settings:
    rule = Rule(**dict(zip(NUMBERS, numbers, strict=True)))
    margins = rule.margins()
    weight, aggregate, similarity, precision, method = (
        rule.weight, rule.aggregate, rule.similarity, rule.precision, rule.method
    )  # fmt: skip
    check_choice("similarity", similarity, SIMILARITIES)
    if precision == "fp16" and precision not in precisions:
        names = ", ".join(map(repr, precisions))
        raise ValueError(
            f"precision must be one of {names}, got 'fp16', which needs arrays on a GPU; choose one of these"
        )
    check_choice("precision", precision, precisions)
    check_choice("method", method, METHODS)
    if method == "cascade" and precision != "exact":
        raise ValueError(
            f"method='cascade' is exact, got precision={precision!r}; leave precision out, or use method='dense'"
        )
    n_used = n_txt
    is_minibatch = rule.minibatch is not None
    if rule.minibatch is not None:
        n_used = check_integer("minibatch", rule.minibatch, 1, n_txt, "texts drawn of txt_emb")
    k, temperature = check_weighting(weight, aggregate, rule.k, rule.temperature, n_used)
    recipe, cap = weight, None
    divisor: float | None = None
    dtype: type[np.generic] = np.float32
    if aggregate == "mean":
        divisor = n_used
    elif aggregate == "sum":
        if is_minibatch:
            divisor = n_used / n_txt
        elif weight == "count":
            dtype = np.int64
    elif weight == "count":
        cap = k
    else:
        recipe = "top_similarity" if weight == "similarity" else "top_gap"
    way = method if precision == "exact" else "dense"
    request = Request(recipe, weight, temperature, k, similarity, precision, way, divisor, cap, dtype)
    return Settings(n_txt, n_used, is_minibatch, margins, aggregate, request)
