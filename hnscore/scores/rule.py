"""What a call of `score` asks for: one object, made once; and what is decided from it alone, on any device."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.numbers import choice, integer, random_generator, real
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.arguments.rules import both_groups, owner_beside, paired_lengths, skipped_images, weighting


class Rule(NamedTuple):
    """The keywords of `score` and `Scorer`, unchecked, as their docstrings have them. Made by name, never by place."""

    margin: float = 0.2
    # Which pairs count.
    reference: Any = "pool_max"
    top_k_images: int | None = None
    skip_top_images: int | None = None
    max_similarity: Any = None
    img_groups: Any = None
    txt_groups: Any = None
    owner: Any = None
    paired_emb: Any = None
    minibatch: int | None = None
    random_state: Any = None
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
        return cls(*[arguments[name] for name in cls._fields])

    @property
    def has_given_reference(self) -> bool:
        """As an array."""
        return not isinstance(self.reference, str)

    def of_pool(self, n_img: int, n_txt: int) -> tuple[int | None, int | None]:
        """The checked `top_k_images` and `skip_top_images`, after the other rules that look at the whole pool."""
        if isinstance(self.reference, str):
            choice("reference", self.reference, ("pool_max", "paired"))
        owner_beside(self.reference, self.owner, self.paired_emb)
        if isinstance(self.reference, str) and self.reference == "paired":
            paired_lengths("reference='paired'", n_img, n_txt)
        top, skip = self.top_k_images, self.skip_top_images
        if top is not None:
            top = integer("top_k_images", top, 1, n_img or None, "images of img_emb")
        if skip is not None:
            skip = skipped_images(skip, top)
        both_groups(self.img_groups, self.txt_groups)
        return top, skip


class Settings:
    """What a rule says of a score against `n_txt` texts, checked."""

    def __init__(self, n_txt: int, rule: Rule, precisions: tuple[str, ...] = _core.PRECISIONS) -> None:
        similarity, precision, method, minibatch = rule.similarity, rule.precision, rule.method, rule.minibatch
        weight, aggregate = rule.weight, rule.aggregate
        self.margin = real("margin", rule.margin)
        choice("similarity", similarity, SIMILARITIES)
        choice("precision", precision, precisions)
        choice("method", method, METHODS)
        if method == "cascade" and precision != "exact":
            raise ValueError(
                f"method='cascade' is exact, got precision={precision!r}; leave precision out, or use method='dense'"
            )
        self.n_txt = self.n_used = n_txt
        if minibatch is not None:
            self.n_used = integer("minibatch", minibatch, 1, n_txt, "texts drawn of txt_emb")
        self.is_minibatch = minibatch is not None
        self.k, self.temperature = weighting(weight, aggregate, rule.k, rule.temperature, self.n_used)
        self.weight, self.aggregate = weight, aggregate
        self.similarity, self.precision = similarity, precision
        self.method: str = method if precision == "exact" else "dense"

        # What the core is asked for, and what is done to its sums.
        self.recipe: str = weight
        self.cap: int | None = None
        self.divisor: float | None = None
        self.dtype: type[np.generic] = np.float32
        if aggregate == "mean":
            self.divisor = self.n_used
        elif aggregate == "sum":
            if self.is_minibatch:
                self.divisor = self.n_used / n_txt
            elif weight == "count":
                self.dtype = np.int64
        elif weight == "count":
            self.cap = self.k
        else:
            self.recipe = "top_similarity" if weight == "similarity" else "top_gap"

    @property
    def takes_largest(self) -> bool:
        return self.recipe.startswith("top_")

    def draw(self, random_state: Any) -> NDArray[np.int64] | None:
        """The texts of the minibatch, ascending; None: all texts."""
        if not self.is_minibatch:
            return None
        rows = random_generator(random_state).choice(self.n_txt, self.n_used, replace=False, shuffle=False)
        return np.sort(rows).astype(np.int64)
