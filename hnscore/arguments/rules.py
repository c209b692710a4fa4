"""What arguments ask of each other, and what is said of bad rows. Errors as arrays.py says."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import Shaped, check_same_library, is_tensor
from hnscore.arguments.numbers import check_choice, check_given_with, check_integer, check_positive
from hnscore.arguments.options import AGGREGATES, WEIGHTS


def check_same_dim(img: Shaped, txt: Shaped, name: str = "img_emb") -> None:
    if img.shape[1] != txt.shape[1]:
        raise ValueError(
            f"txt_emb has dim {txt.shape[1]}, {name} has dim {img.shape[1]}; expected equal dims: use the same encoder "
            "output size"
        )


def check_sides(img_emb: object, txt_emb: object, img: Shaped, txt: Shaped) -> None:
    """Images and texts of one library and one dim."""
    if type(img_emb) is not type(txt_emb):
        check_same_library(img_emb, is_tensor(txt_emb))
    if img.shape[1] != txt.shape[1]:
        check_same_dim(img, txt)


def refuse_pool_wide(
    reference: object, top_k_images: object, skip_top_images: object, owner: object, paired_emb: object
) -> None:
    """What a Scorer cannot do, since it sees the pool in chunks."""
    if reference is None and owner is None:
        raise ValueError(
            "reference must be given for a Scorer, which sees the pool in chunks, got None; pass similarities or the "
            "texts' own images, or owner and paired_emb"
        )
    if owner is not None and paired_emb is None:
        raise ValueError(
            "paired_emb must be given with owner for a Scorer, which sees the pool in chunks, got None; pass the "
            "paired images, or use hnscore.score"
        )
    if skip_top_images is not None:
        raise ValueError(
            "skip_top_images must be None for a Scorer, which sees the pool in chunks, and a text's most similar "
            f"images need the whole pool, got {skip_top_images!r}; use hnscore.score"
        )
    if isinstance(reference, str):
        raise ValueError(
            "reference must be an array for a Scorer, which sees the pool in chunks, and a name like 'pool_max' needs "
            f"the whole pool, got {reference!r}; pass similarities or embeddings, or use hnscore.score"
        )
    if top_k_images is not None:
        raise ValueError(
            "top_k_images must be None for a Scorer, which sees the pool in chunks, and a text's most similar images "
            f"need the whole pool, got {top_k_images!r}; use hnscore.score"
        )


def check_not_empty(name: str, array: Shaped) -> None:
    if not array.shape[0]:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}; pass the embeddings to compare")


def check_paired_lengths(argument: str, n_img: int, n_txt: int) -> None:
    if n_img != n_txt:
        raise ValueError(
            f"{argument} needs img_emb and txt_emb of the same number of rows, row j of one belonging to row j of the "
            f"other, got {n_img} and {n_txt}; repeat an image that has several texts, or pass their similarities"
        )


def check_other_images(kind: str, n_img: int) -> None:
    if n_img < 2:
        raise ValueError(
            f"img_emb must have at least 2 rows for kind={kind!r}, which looks at other images than the text's own, "
            f"got {n_img}; pass more images"
        )


def refuse_bad_rows(
    name: str,
    bad: _core.BadRows,
    rows: NDArray[np.int64] | None = None,
    start: int = 0,
    *,
    only_cosine: bool = False,
) -> NoReturn:
    """Raise for the rows that the core reports; row i of the core is `rows[i]` or `start + i` of the caller.

    `only_cosine`: the caller's function has no other similarity.
    """
    kind = bad[0][1]
    named = dict.fromkeys(start + row if rows is None else int(rows[row]) for row, other in bad if other == kind)
    raise ValueError(describe_bad_rows(name, list(named), kind, only_cosine))


def describe_all_bad_rows(name: str, found: list[tuple[int, int]], path: str, most: int) -> str:
    """What is wrong with the rows of a file, at most so many of them by number."""
    which = f"of {path}{', the first ones' if len(found) > most else ', and no others'}"
    kinds = dict.fromkeys(kind for _, kind in found[:most])
    rows = {kind: [row for row, other in found[:most] if other == kind] for kind in kinds}
    return ". ".join(describe_bad_rows(name, rows[kind], kind, which=which) for kind in kinds)


def describe_bad_rows(
    name: str, rows: list[int], kind: int, only_cosine: bool = False, which: str = "(the first found)"
) -> str:
    """What is wrong with those rows."""
    where = f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows))} {which}"
    if kind == _core.BAD_NONFINITE:
        return f"{name} must be finite, got NaN or Inf in {where}; repair or drop them"
    if kind == _core.BAD_ZERO and only_cosine:
        return f"{name} must have no zero rows, which have no direction, got zeros in {where}; drop them"
    if kind == _core.BAD_ZERO:
        return (
            f"{name} must have no zero rows under similarity='cosine', where they have no direction, got zeros in "
            f"{where}; drop them or use similarity='dot'"
        )
    return (
        f"{name} must have squared norms inside the float64 range, got one outside in {where}; rescale the embeddings"
    )


def check_owner(reference: object, owner: object, paired_emb: object) -> None:
    """What `owner` can stand beside."""
    if owner is not None and isinstance(reference, str) and reference == "paired":
        raise ValueError(
            "owner must be None with reference='paired', where row j of img_emb is text j's own image; pass one of them"
        )
    if owner is None and paired_emb is not None:
        raise ValueError(
            "paired_emb must be given with owner, which says whose row of it is which text's own image, got no owner; "
            "pass owner, or the own images as reference"
        )


def check_skip_top_images(value: object, top_k_images: int | None) -> int | None:
    """`skip_top_images`; None where nothing is skipped."""
    meaning = "images of each text that do not count"
    if top_k_images is None:
        return check_integer("skip_top_images", value, 0, None, meaning) or None
    return check_integer("skip_top_images", value, 0, top_k_images - 1, f"{meaning}, fewer than top_k_images") or None


def check_both_groups(img_groups: object, txt_groups: object) -> None:
    if (img_groups is None) != (txt_groups is None):
        given = "img_groups" if txt_groups is None else "txt_groups"
        raise ValueError(f"img_groups and txt_groups must be given together, got only {given}; pass both or neither")


def check_weighting(weight: object, aggregate: object, k: object, temperature: object, n_txt: int) -> tuple[int, float]:
    """(k, temperature) of a weight and an aggregate: each given where it has a meaning, and only there."""
    check_choice("weight", weight, WEIGHTS)
    check_choice("aggregate", aggregate, AGGREGATES)
    check_given_with("k", k is not None, "aggregate='topk'", aggregate == "topk")
    check_given_with("temperature", temperature is not None, "weight='exp'", weight == "exp")
    k = 1 if k is None else check_integer("k", k, 1, n_txt, "texts that an image is scored by")
    if temperature is None:
        return k, 1.0
    return k, check_positive("temperature", temperature)
