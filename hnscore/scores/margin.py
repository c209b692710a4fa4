"""Whether a margin fits the similarities that it is given for, judged by a sample of the pairs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.warn import warn_caller

# The margin is looked at where a call has this many pairs, on a sample of at most so many images and texts.
SAMPLED_FROM = 2**16
_SAMPLED_IMAGES = 64
_SAMPLED_TEXTS = 256


class MarginWarning(UserWarning):
    """Over half of all pairs are hard negatives, or none: the margin does not fit these similarities."""


class Sample(NamedTuple):
    """Some images and texts, in CPU memory, and what decides which of their pairs count."""

    img: NDArray[Any]
    img_code: int
    txt: NDArray[Any]
    txt_code: int
    tau: NDArray[np.float64]
    max_similarity: NDArray[np.float64] | None
    margin: float
    similarity: str

    def reduce(self, recipe: str, **options: Any) -> tuple[NDArray[np.float64], Any, _core.BadRows]:
        columns = _core.Columns(self.txt, self.txt_code, self.similarity, "fp32", 1)
        rules = _core.Rules(max_similarity=self.max_similarity)
        return _core.reduce(self.img, self.img_code, columns, recipe, 1, rules=rules, **options)


def steps(n_img: int, n_txt: int) -> tuple[int, int]:
    """Each so many-th image and text is in the sample."""
    return -(-n_img // _SAMPLED_IMAGES), -(-n_txt // _SAMPLED_TEXTS)


def judge_margin(sample: Sample) -> float:
    """The share of the pairs that qualify; warns where it is over half."""
    counts, _, bad = sample.reduce("count", tau=sample.tau)
    if bad:
        return 0.0  # the scores' own pass names the rows
    share = float(counts.sum() / (len(sample.img) * len(sample.txt)))
    if share <= 0.5:
        return share
    useful = margin_of_one_percent(sample)
    remedy = (
        f"margin={useful:.3g} would leave about 1 %; hnscore.margin_for gives the exact one of any share"
        if useful > 0
        else "no positive margin would help: the reference is too low"
    )
    warn_caller(
        f"{share:.0%} of the sampled pairs are hard negatives: margin={sample.margin:g} is too wide for these "
        f"similarities; {remedy}",
        MarginWarning,
    )
    return share


def warn_if_too_small(sample: Sample) -> None:
    """That no pair counts, unless no margin would let one."""
    useful = margin_of_one_percent(sample)
    if not np.isfinite(useful):  # the other rules leave no pair
        return
    warn_caller(
        f"no pair is a hard negative, every score is 0: margin={sample.margin:g} is too small for these similarities "
        f"and references; margin={useful:.3g} would let about 1 % of the sampled pairs count; "
        "hnscore.margin_for gives the exact one of any share",
        MarginWarning,
    )


def margin_of_one_percent(sample: Sample) -> float:
    """That lets 1 % of these pairs count."""
    similar, at, _ = sample.reduce("top_similarity", k=len(sample.txt))
    gaps = (similar - sample.tau[at])[at >= 0]
    # The pair counts from the margin r - s = margin - gap on.
    return float(sample.margin - np.quantile(gaps, 0.99)) if len(gaps) else float("nan")
