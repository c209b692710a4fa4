"""What is decided from arguments alone, on any device: which recipe, and what is done to its sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import (
    both_groups,
    choice,
    integer,
    owner_beside,
    paired_lengths,
    random_generator,
    real,
    skipped_images,
    weighting,
)


class Settings:
    """The checked settings of a score against `n_txt` texts."""

    def __init__(
        self,
        n_txt: int,
        margin: Any,
        weight: Any,
        aggregate: Any,
        k: Any,
        minibatch: Any,
        similarity: Any,
        temperature: Any,
        precision: Any,
        method: Any,
        precisions: tuple[str, ...] = _core.PRECISIONS,
    ) -> None:
        self.margin = real("margin", margin)
        choice("similarity", similarity, ("cosine", "dot"))
        choice("precision", precision, precisions)
        choice("method", method, ("auto", "dense", "cascade"))
        if method == "cascade" and precision != "exact":
            raise ValueError(
                f"method='cascade' is exact, got precision={precision!r}; leave precision out, or use method='dense'"
            )
        self.n_txt = self.n_used = n_txt
        if minibatch is not None:
            self.n_used = integer("minibatch", minibatch, 1, n_txt, "texts drawn of txt_emb")
        self.is_minibatch = minibatch is not None
        self.k, self.temperature = weighting(weight, aggregate, k, temperature, self.n_used)
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


def pool_rules(
    reference: Any,
    top_k_images: Any,
    skip_top_images: Any,
    img_groups: Any,
    txt_groups: Any,
    owner: Any,
    paired_emb: Any,
    n_img: int,
    n_txt: int,
) -> tuple[int | None, int | None]:
    """The checked `top_k_images` and `skip_top_images`, after the other rules that look at the whole pool."""
    if isinstance(reference, str):
        choice("reference", reference, ("pool_max", "paired"))
    owner_beside(reference, owner, paired_emb)
    if isinstance(reference, str) and reference == "paired":
        paired_lengths("reference='paired'", n_img, n_txt)
    if top_k_images is not None:
        top_k_images = integer("top_k_images", top_k_images, 1, n_img or None, "images of img_emb")
    if skip_top_images is not None:
        skip_top_images = skipped_images(skip_top_images, top_k_images)
    both_groups(img_groups, txt_groups)
    return top_k_images, skip_top_images
