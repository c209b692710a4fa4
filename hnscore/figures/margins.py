"""What a margin keeps: the similarities of pairs, and how many count at every margin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.rules import check_not_empty
from hnscore.engine.host import host_rows
from hnscore.mining.pairs import DEFAULTS
from hnscore.mining.shortfalls import Shortfalls

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_RULES = {"reference", "owner", "paired_emb", "max_similarity", "img_groups", "txt_groups", "similarity", "n_threads"}
_MARGINS = 201
_MOST_PAIRS = 2**24  # looked at one by one: about a second beside the pass that finds them
_LARGEST_SHARE = 0.05  # of the pairs, at the widest margin of a curve: beyond, a score is little more than a mean


class Similarities(NamedTuple):
    """Of pairs that may count."""

    pairs: Floats  # a sample: up to 512 images, evenly spread, with up to 512 texts
    reference: Floats  # (n_txt,)


class MarginCurve(NamedTuple):
    """What counts at some margins, ascending."""

    margins: Floats
    pairs: Counts  # that count, of n_pairs
    images: Counts  # that are a hard negative of a text at least, of n_img
    n_pairs: int
    n_img: int


class Closest(NamedTuple):
    """The pairs that are closest to their text's own image, or beyond it, closest first."""

    images: Counts
    texts: Counts
    shortfalls: Floats


class Looked(NamedTuple):
    """What one pass over the pairs found."""

    curve: MarginCurve
    closest: Closest
    of_texts: Counts  # (n_txt,): images that count for each text at the margin asked for, as far as the curve goes


def shortfalls_of(img_emb: object, txt_emb: object, **rule: object) -> Shortfalls:
    """The rules are those keywords of `pairs` that say which pairs count."""
    unknown = sorted(set(rule) - _RULES)
    if unknown:
        raise TypeError(f"got an unexpected keyword {unknown[0]!r}, expected some of {', '.join(sorted(_RULES))}")
    check_not_empty("img_emb", host_rows("img_emb", img_emb))
    return Shortfalls.of(DEFAULTS | {"img_emb": img_emb, "txt_emb": txt_emb} | rule)


def similarities(shortfalls: Shortfalls) -> Similarities:
    sample = shortfalls.reference[shortfalls.sampled_texts()] - shortfalls.sample()
    return Similarities(sample[np.isfinite(sample)], shortfalls.reference)


def margin_curve(
    shortfalls: Shortfalls, margin: float | None = None, n_closest: int = 0, margins: Floats | None = None
) -> Looked:
    """Exact counts, in one pass over the pairs that count at the widest margin; by default up to that of 5 % of the
    pairs or of 17 million, whichever is less, or to `margin` where that is wider and has no more than twice as many."""
    if margins is None:
        margins = _margins(shortfalls, margin)
    n_img, n = shortfalls.img.shape[0], len(margins)
    new_pairs = np.zeros(n + 1, np.int64)
    earliest = np.full(n_img, n)  # of the margins, at which an image is in a pair that counts
    closest = Closest(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    of_texts = np.zeros(shortfalls.txt.shape[0], np.int64)
    for part in shortfalls.parts(float(margins[-1])):
        reference = shortfalls.reference[part.columns]
        distance = reference - part.similarities
        at = _first_margin(margins, distance, reference, part.similarities)
        new_pairs += np.bincount(at, minlength=n + 1)
        filled = np.flatnonzero(part.counts)
        if len(filled):
            first = (np.cumsum(part.counts) - part.counts)[filled]
            earliest[part.first + filled] = np.minimum.reduceat(at, first)
        if margin is not None:
            counts = part.similarities > reference - margin
            of_texts += np.bincount(part.columns[counts], minlength=len(of_texts))
        if n_closest:
            closest = _best(closest, Closest(part.rows, part.columns.astype(np.int64), distance), n_closest)
    new_images = np.bincount(earliest, minlength=n + 1)
    curve = MarginCurve(margins, np.cumsum(new_pairs)[:n], np.cumsum(new_images)[:n], shortfalls.n_pairs, n_img)
    return Looked(curve, closest, of_texts)


def _margins(shortfalls: Shortfalls, wanted: float | None) -> Floats:
    """Evenly spread from where pairs begin to count, in steps that people can read."""
    sample = shortfalls.sample()
    finite = np.sort(sample[np.isfinite(sample)])
    if not len(finite):
        return np.zeros(1)

    def at(share: float) -> float:
        return float(finite[min(int(share * sample.size), len(finite) - 1)])

    widest = at(min(_LARGEST_SHARE, _MOST_PAIRS / shortfalls.n_pairs))
    if wanted is not None and wanted > widest and (finite < wanted).mean() * shortfalls.n_pairs <= 2 * _MOST_PAIRS:
        widest = wanted
    low = min(0.0, at(1e-4))
    widest = max(widest, low + 1e-6)
    step = 10.0 ** np.floor(np.log10((widest - low) / _MARGINS))
    step *= next(x for x in (1, 2, 5, 10) if (widest - low) / (x * step) <= _MARGINS)
    first = np.floor(low / step)
    margins: Floats = np.arange(first, np.ceil(widest / step) + 1) * step
    return margins


def _first_margin(margins: Floats, distance: Floats, reference: Floats, similarity: Floats) -> NDArray[np.int64]:
    """The first margin at which each pair counts: the first above its shortfall, but for the rounding of r - margin,
    by which `score` decides."""
    first = np.searchsorted(margins, distance, side="right")
    for shift in (-1, 0):
        at = np.clip(first + shift, 0, len(margins) - 1)
        close = np.flatnonzero(np.abs(distance - margins[at]) < 1e-12 * (1 + np.abs(reference)))
        counts = similarity[close] > reference[close] - margins[at[close]]
        first[close] = at[close] + ~counts
    return first


def _best(a: Closest, b: Closest, n: int) -> Closest:
    images, texts, shortfalls = (np.concatenate(both) for both in zip(a, b, strict=True))
    if len(shortfalls) > n:
        kept = np.argpartition(shortfalls, n)[:n]
        images, texts, shortfalls = images[kept], texts[kept], shortfalls[kept]
    order = np.lexsort((texts, images, shortfalls))
    return Closest(images[order], texts[order], shortfalls[order])
