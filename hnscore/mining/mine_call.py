"""A call of `mine`: what is allowed for each text, and the best of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.numbers import (
    as_generator,
    check_choice,
    check_flag,
    check_integer,
    check_not_negative,
)  # fmt: skip
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.arguments.rules import check_both_groups, check_not_empty, check_paired_lengths, check_sides
from hnscore.arguments.warn import warn_caller
from hnscore.engine.cpu import Cpu
from hnscore.engine.host import HostRows
from hnscore.engine.pool import PoolSide, best_in_pool, kth_best
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import NO_RULES, Request, Rules
from hnscore.mining.positives import Positives, pair_similarities, read_positives
from hnscore.mining.sampling import Allowed, drawn
from hnscore.scores.rule import Rule

SAMPLINGS = ("top", "random")


class MineCall:
    """A call, checked."""

    def __init__(self, given: dict[str, Any], pool: PoolSide) -> None:
        img_emb, txt_emb, similarity = given["img_emb"], given["txt_emb"], given["similarity"]
        check_choice("similarity", similarity, SIMILARITIES)
        check_choice("method", given["method"], METHODS)
        check_choice("sampling", given["sampling"], SAMPLINGS)
        self.engine = Cpu(given["n_threads"])
        self.pool, self.img, self.txt = pool, pool.img, self._read_texts(txt_emb)
        self._check_sides(img_emb, txt_emb)
        for name, side in (("img_emb", self.img), ("txt_emb", self.txt)):
            check_not_empty(name, side)
        self.n_img, self.n_txt = self.img.shape[0], self.txt.shape[0]
        self.k = check_integer("k", given["k"], 1, None, "negatives of each text")
        self.skip = check_integer("skip", given["skip"], 0, None, "best images left out")
        self.sampling, self.random_state = given["sampling"], given["random_state"]
        self.request = Request(similarity=similarity, method=given["method"])
        self.bar = rows_bar(given["show_progress_bar"], "mine", self.n_txt)

        owner, reference = given["owner"], given["reference"]
        self.positives = self._positives(owner, reference)
        self.ceiling = self._ceiling(given)
        if not check_flag("closed", given["closed"]):
            self.ceiling = np.nextafter(self.ceiling, -np.inf)
        # Above it: not below min_similarity.
        self.floor = np.nextafter(self._limits("min_similarity", given["min_similarity"], -np.inf), -np.inf)
        self.rules = Rules(max_similarity=self.ceiling)
        of_groups = groups_of(self.engine, given["img_groups"], given["txt_groups"], self.n_img, self.n_txt)
        self.rules = self.rules._replace(**of_groups)

    def _read_texts(self, txt_emb: object) -> HostRows:
        return self.engine.embeddings("txt_emb", txt_emb)

    def _check_sides(self, img_emb: object, txt_emb: object) -> None:
        check_sides(img_emb, txt_emb, self.img, self.txt)

    def _positives(self, owner: object, reference: object) -> Positives | None:
        if isinstance(reference, str):
            check_choice("reference", reference, ("paired", "pool_max"))
            if owner is not None:
                raise ValueError(
                    f"reference must be left out with owner, or be an array, got {reference!r}; leave one out"
                )
            if reference == "paired":
                check_paired_lengths("reference='paired'", self.n_img, self.n_txt)
                owner = np.arange(self.n_txt)
        if owner is None:
            return None
        return read_positives(owner, self.n_txt, self.n_img)

    def _ceiling(self, given: dict[str, Any]) -> NDArray[np.float64]:
        margin, relative = given["margin"], check_not_negative("relative_margin", given["relative_margin"])
        margins = [] if margin is None else [Rule(margin).margins()]
        margins += [Rule(0.0, relative_margin=relative).margins()] if relative else []
        most, reference = self._limits("max_similarity", given["max_similarity"], np.inf), given["reference"]
        if isinstance(reference, str) and reference == "pool_max":
            own = self._best_match()
        elif reference is not None and not isinstance(reference, str):
            own = self._own(reference)
        elif self.positives is not None:
            own = self.positives.least(self.similarities_of_positives)
        else:
            if margin or relative:
                raise ValueError(
                    "margin and relative_margin must come with a reference, got neither owner nor reference; pass one, "
                    "or max_similarity"
                )
            return most
        for terms in margins:
            most = np.minimum(most, self.engine.thresholds(own, terms))
        return most

    def _own(self, reference: object) -> NDArray[np.float64]:
        return self.engine.reference(reference, self.n_txt, self.txt, None, self.request.similarity)

    def _best_match(self) -> NDArray[np.float64]:
        return kth_best(self.txt, self.pool, self.request, NO_RULES, self.engine.threads)[0]

    def _limits(self, name: str, x: object, default: float) -> NDArray[np.float64]:
        """One for each text."""
        limits = None if x is None else self.engine.limits(name, x, self.n_txt, None)
        return np.full(self.n_txt, default) if limits is None else limits

    @cached_property
    def similarities_of_positives(self) -> NDArray[np.float64]:
        assert self.positives is not None
        return pair_similarities(
            self.engine, self.img, self.positives.images, self.txt, self.positives.texts, self.request.similarity
        )

    def mined(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        similarities, indices = self.best(self.k, self.skip) if self.sampling == "top" else self._random()
        short = int((indices[:, -1] < 0).sum())
        if short:
            warn_caller(
                f"{short:,} of {self.n_txt:,} texts have fewer than {self.k} allowed images; their rows are padded "
                "with -1 and -inf"
            )
        return similarities, indices

    def best(self, k: int, skip: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The k most similar allowed images of each text after the `skip` best, padded."""
        similarities, indices = np.full((self.n_txt, k), -np.inf), np.full((self.n_txt, k), -1)
        keys, extra = self._allowed_positives()
        request = self.request._replace(k=min(k + skip + extra, self.n_img))
        first = 0
        for s, i in self._lists(request):
            if extra:
                _drop(s, i, keys, first, self.n_img)
            kept, rows = slice(skip, skip + k), slice(first, first + len(s))
            width = s[:, kept].shape[1]
            similarities[rows, :width], indices[rows, :width] = s[:, kept], i[:, kept]
            first += len(s)
        return similarities, indices

    def _lists(self, request: Request) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """The best of each text, whatever is positive, for one slice of texts after the other."""
        return best_in_pool(self.txt, self.pool, request, self.rules, self.engine.threads, self.bar, self.floor)

    def _allowed_positives(self) -> tuple[NDArray[np.int64], int]:
        """Positives that lie where negatives may, as text * n_img + image, ascending; and the most that a text has."""
        if self.positives is None:
            return np.zeros(0, np.int64), 0
        texts, images = self.positives.texts, self.positives.images
        s = self.similarities_of_positives
        among = (s <= self.ceiling[texts]) & (s > self.floor[texts])
        texts, images = texts[among], images[among]
        most = int(np.bincount(texts, minlength=1).max())
        return np.sort(texts * self.n_img + images), most

    def _random(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        best = self.best(self.skip)[1] if self.skip else None
        allowed = Allowed(self.engine, self.img, self.txt, self.request, self.rules, self.floor)
        return drawn(allowed, self.k, self.positives, best, as_generator(self.random_state), self.bar)


def groups_of(engine: Cpu, img_groups: object, txt_groups: object, n_img: int, n_txt: int) -> dict[str, Any]:
    """What of the rules labels are, where there are some."""
    if img_groups is None and txt_groups is None:
        return {}
    check_both_groups(img_groups, txt_groups)
    of_images, of_texts, _ = engine.same_groups(engine.groups(txt_groups, n_txt, None), img_groups, n_img)
    return {"row_groups": of_images, "col_groups": of_texts}


def _drop(s: NDArray[np.float64], i: NDArray[np.int64], keys: NDArray[np.int64], first: int, n_img: int) -> None:
    """Takes entries whose keys are among these out of the lists; what comes after moves up."""
    own = (np.arange(first, first + len(i)) * n_img)[:, None] + i
    at = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
    found = (i >= 0) & (keys[at] == own)
    for row in np.flatnonzero(found.any(axis=1)):
        left = ~found[row]
        n = int(left.sum())
        s[row, :n], i[row, :n] = s[row, left], i[row, left]
        s[row, n:], i[row, n:] = -np.inf, -1
