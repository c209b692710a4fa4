"""Negatives drawn at random from all that are allowed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.engine.cpu import Cpu
from hnscore.engine.host import HostRows
from hnscore.engine.lists import finder, parts
from hnscore.engine.pool import HostRules, pack, pool_blocks, rules_of_texts
from hnscore.engine.protocol import Progress, Request
from hnscore.mining.positives import Positives, pair_similarities

_TEXTS = 256  # at a time: their draws do not depend on how many there are
_ROUNDS = 3


class Allowed(NamedTuple):
    """Which images are allowed for which texts, but for positives."""

    engine: Cpu
    img: HostRows
    txt: HostRows
    request: Request
    rules: HostRules
    floor: NDArray[np.float64]

    def similarities(self, texts: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of pairs, NaN where one is not allowed."""
        s = pair_similarities(self.engine, self.img, images, self.txt, texts, self.request.similarity)
        most = self.rules.max_similarity
        assert most is not None
        bad = (s > most[texts]) | (s <= self.floor[texts])
        if self.rules.row_groups is not None and self.rules.col_groups is not None:
            bad |= self.rules.row_groups[images] == self.rules.col_groups[texts]
        s[bad] = np.nan
        return s

    def all_of(self, texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """All allowed pairs of some texts: the place among these, the image, the similarity."""
        rows = self.txt._replace(array=self.txt.array[texts], shape=(len(texts), self.txt.shape[1]))
        found: list[tuple[Any, Any, Any]] = []
        rules = self.rules._replace(
            max_similarity=None if self.rules.max_similarity is None else self.rules.max_similarity[texts],
            col_groups=None if self.rules.col_groups is None else self.rules.col_groups[texts],
        )
        for start, stop in pool_blocks(self.img.shape[0], 4 * self.img.shape[1]):
            columns = pack(self.img.part(start, stop), self.request.similarity, "exact", self.engine.threads)

            def limits(part: slice, start: int = start, stop: int = stop) -> dict[str, Any]:
                return {"floor": self.floor[texts[part]], "rules": rules_of_texts(rules, None, part, start, stop)}

            find = finder(rows, columns, self.engine.threads, np.float64, limits)
            for p in parts(find, len(texts), stop - start):
                found.append((p.rows, p.columns.astype(np.int64) + start, p.similarities))
        return tuple(np.concatenate(x) for x in zip(*found, strict=True))  # type: ignore[return-value]


def drawn(
    allowed: Allowed,
    k: int,
    positives: Positives | None,
    best: NDArray[np.int64] | None,
    rng: np.random.Generator,
    bar: Progress,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """k allowed images of each text with equal chances, the most similar first; `best`: images that are skipped."""
    n_txt, n_img = allowed.txt.shape[0], allowed.img.shape[0]
    values, rows = np.full((n_txt, k), -np.inf), np.full((n_txt, k), -1)
    for first in range(0, n_txt, _TEXTS):
        texts = np.arange(first, min(first + _TEXTS, n_txt))
        removed = [np.zeros(0, np.int64)]
        if positives is not None:
            start, stop = np.searchsorted(positives.texts, [first, first + len(texts)])
            removed.append(positives.texts[start:stop] * n_img + positives.images[start:stop])
        if best is not None:
            of = (texts * n_img)[:, None] + best[texts]
            removed.append(of[best[texts] >= 0])
        _draw(allowed, texts, np.unique(np.concatenate(removed)), k, rng, values, rows)
        if bar is not None:
            bar((texts[-1] + 1) / n_txt)
    return values, rows


def _draw(
    allowed: Allowed,
    texts: NDArray[np.int64],
    removed: NDArray[np.int64],
    k: int,
    rng: np.random.Generator,
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> None:
    """Images drawn one by one until k of a text are allowed; where few are, from the list of all that are. Both give
    every set of k allowed images the same chance."""
    n_img = allowed.img.shape[0]
    open_texts, tries = texts, 2 * k + 8
    for _ in range(_ROUNDS):
        if tries > n_img // 2 or not len(open_texts):
            break
        images = rng.integers(0, n_img, (len(open_texts), tries))
        keys = (open_texts[:, None] * n_img + images).ravel()
        _, firsts = np.unique(keys, return_index=True)  # the first time that each is drawn
        firsts = np.sort(firsts[~_among(removed, keys[firsts])])
        s = allowed.similarities(keys[firsts] // n_img, keys[firsts] % n_img)
        good = ~np.isnan(s)
        firsts, s = firsts[good], s[good]
        places = firsts // tries
        counts = np.bincount(places, minlength=len(open_texts))
        starts = np.cumsum(counts) - counts
        for place in np.flatnonzero(counts >= k):
            part = slice(starts[place], starts[place] + k)
            _put(values, rows, open_texts[place], s[part], keys[firsts[part]] % n_img)
        open_texts, tries = open_texts[counts < k], 4 * tries
    if not len(open_texts):
        return
    places, images, s = allowed.all_of(open_texts)
    left = ~_among(removed, open_texts[places] * n_img + images)
    order = np.argsort(places[left], kind="stable")
    places, images, s = places[left][order], images[left][order], s[left][order]
    counts = np.bincount(places, minlength=len(open_texts))
    starts = np.cumsum(counts) - counts
    for text, start, n in zip(open_texts.tolist(), starts.tolist(), counts.tolist(), strict=True):
        chosen = start + (rng.choice(n, k, replace=False) if n > k else np.arange(n))
        _put(values, rows, text, s[chosen], images[chosen])


def _among(keys: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not len(keys):
        return np.zeros(len(some), bool)
    found: NDArray[np.bool_] = keys[np.minimum(np.searchsorted(keys, some), len(keys) - 1)] == some
    return found


def _put(
    values: NDArray[np.float64], rows: NDArray[np.int64], text: int, s: NDArray[np.float64], images: NDArray[np.int64]
) -> None:
    order = np.lexsort((images, -s))
    values[text, : len(s)], rows[text, : len(s)] = s[order], images[order]
