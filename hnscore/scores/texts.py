"""The text side of a call or a Scorer: arguments checked, minibatch drawn, texts packed, thresholds set."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.numbers import threads
from hnscore.arguments.rules import not_empty, refuse_bad_rows
from hnscore.arguments.values import group_labels, same_kind_of_labels, values
from hnscore.engine.cpu import check_rows, choose, describe, pack
from hnscore.engine.interrupts import interruptible
from hnscore.scores.rule import Rule, Settings

_LOG = logging.getLogger("hnscore")
# The margin is looked at where a call has this many pairs, on a sample of at most so many images and texts.
_SAMPLED_FROM = 2**16
_SAMPLED_IMAGES = 64
_SAMPLED_TEXTS = 256
# What the plan's own sample, where there is one, must show for that.
_LOOK_AGAIN = 0.4
_SMALL = 2**20  # multiply-adds: far fewer than csrc/cpu/plan.cpp wants for a cascade, on any target
_LARGE_SHARE = 0.1  # of the pairs that count, said where anything is said
_MARGIN_BESIDE_ANY = 2.0**960  # less cannot take any float64 beyond its range
_COPIED_BYTES = 2**24  # at a time: a signal waits no longer


class MarginWarning(UserWarning):
    """Over half of all pairs are hard negatives, or none: the margin does not fit these similarities."""


class TextSide(Settings):
    """Everything about the texts that the images of any number of chunks are scored against."""

    def __init__(
        self,
        txt: NDArray[Any],
        txt_code: int,
        rule: Rule,
        n_img: int | None = None,
        keep: bool = False,
    ) -> None:
        not_empty("txt_emb", txt)
        n_txt, max_similarity, txt_groups = len(txt), rule.max_similarity, rule.txt_groups
        super().__init__(n_txt, rule)
        self.n_threads = rule.n_threads
        self.threads = threads(rule.n_threads)
        limits = None if max_similarity is None else values("max_similarity", max_similarity, n_txt, upper_limits=True)
        groups = None if txt_groups is None else group_labels("txt_groups", txt_groups, n_txt)
        self.rows = self.draw(rule.random_state)  # of the texts that were drawn
        if self.rows is not None:
            txt = txt[self.rows]
            limits = None if limits is None else limits[self.rows]
            groups = None if groups is None else groups[self.rows]
        elif keep:
            txt = copied(txt)
        self.txt, self.txt_code = txt, txt_code
        self.max_similarity = None if limits is None or np.isposinf(limits).all() else limits
        self.options: dict[str, Any] = {"weight": self.weight, "temperature": self.temperature}  # of the core
        if self.takes_largest:
            self.options["k"] = self.k
            self.options["rank_weights"] = np.ones(self.k)
        if self.max_similarity is not None:
            self.options["max_similarity"] = self.max_similarity
        self.labels: NDArray[Any] | None = None
        if groups is not None:
            self.labels, ids = interruptible(len(groups), lambda: np.unique(groups, return_inverse=True))
            self.options["col_groups"] = ids.astype(np.int32)
        self._plan: _core.Plan | None = None
        self._columns: _core.Columns | None = None
        self._lock = threading.Lock()
        self.share = 0.0  # of the pairs that count, where a sample was looked at
        # A plan would take longer than it could save, and say so.
        self._is_small = self.method == "auto" and n_img is not None and n_img * txt.size < _SMALL
        if self._is_small:
            self.method = "dense"
        if self.method == "dense":
            self._columns = pack("txt_emb", txt, txt_code, self.similarity, self.precision, self.threads, self.rows)
        else:  # the plan wants to see images and thresholds first
            check_rows("txt_emb", txt, txt_code, self.similarity, self.threads, self.rows)

    def set_reference(self, reference: NDArray[np.float64]) -> None:
        """tau_j = r_j - margin."""
        if abs(self.margin) < _MARGIN_BESIDE_ANY:
            self.options["tau"] = reference - self.margin
            return
        with np.errstate(over="ignore"):  # a threshold beyond float64 is an infinity
            self.options["tau"] = reference - self.margin

    def prepare(
        self, img: NDArray[Any], img_code: int, n_img: int, kth_value: NDArray[np.float64] | None = None
    ) -> None:
        """Chooses the method, once, for about `n_img` images like these, and packs the texts for it."""
        with self._lock:
            if self._columns is not None:
                return
            self._plan = choose(
                img, img_code, self.txt, self.txt_code, self.similarity, self.threads, self.method,
                recipe=self.recipe, k=self.options.get("k", 1), tau=self.options["tau"], kth_value=kth_value,
                expected_rows=n_img,
            )  # fmt: skip
            self.method = "cascade" if self._plan.cascade else "dense"
            self._columns = pack(
                "txt_emb", self.txt, self.txt_code, self.similarity, self.precision, self.threads, self.rows,
                plan=self._plan,
            )  # fmt: skip

    @property
    def columns(self) -> _core.Columns:
        assert self._columns is not None, "prepare() comes first"
        return self._columns

    def image_groups(self, img_groups: Any, n_img: int) -> NDArray[np.int32] | None:
        """The text group of each image, -1 where no text has its label."""
        if self.labels is None:
            return None
        groups = group_labels("img_groups", img_groups, n_img)
        known = self.labels
        same_kind_of_labels(groups, known)
        if known.dtype.kind == "U":
            ids = interruptible(len(groups), lambda: np.searchsorted(known, groups))
            ids[ids == len(known)] = 0
            return np.where(known[ids] == groups, ids, -1).astype(np.int32)
        ids = interruptible(len(groups), lambda: np.searchsorted(known, groups.astype(known.dtype)))
        ids[ids == len(known)] = 0
        same = known[ids] == groups.astype(known.dtype)
        if groups.dtype != known.dtype:  # int64 beside uint64: equal bits above 2^63 are no equal labels
            same &= groups.astype(np.int64) >= 0
        return np.where(same, ids, -1).astype(np.int32)

    def reduce(
        self,
        img: NDArray[Any],
        img_code: int,
        progress: Callable[[float], object] | None = None,
        name: str = "img_emb",
        **filters: Any,
    ) -> NDArray[Any]:
        """The scores of some images."""
        if progress is not None:
            filters["progress"] = progress
        if self.method == "cascade" and self._plan is not None and _LOG.isEnabledFor(logging.INFO):
            filters["survivors"] = _log_survivors
        sums, _, bad = _core.reduce(img, img_code, self.columns, self.recipe, self.threads, **self.options, **filters)
        if progress is not None:
            progress(1.0)
        if bad:
            refuse_bad_rows(name, bad)
        if self.cap is not None:
            sums = np.minimum(sums, self.cap)
        if self.divisor is not None:
            sums = sums / self.divisor
        if self.dtype is np.int64:
            return sums.astype(np.int64)
        with np.errstate(over="ignore"):
            return sums.astype(np.float32)

    def warn_if_wide(self, img: NDArray[Any], img_code: int, stacklevel: int) -> bool:
        """Whether there were pairs enough to judge the margin; warns where over half of a sample qualify."""
        if not enough_pairs(len(img), len(self.txt)):
            return False
        if self._is_small or (self._plan is not None and self._plan.share < _LOOK_AGAIN):
            return True
        self.share = judge_margin(**self._sample(img, img_code), stacklevel=stacklevel + 1)
        return True

    def _sample(self, img: NDArray[Any], img_code: int) -> dict[str, Any]:
        """Some images and texts, and what decides which of their pairs count."""
        rows, columns = samples(len(img), len(self.txt))
        limit = None if self.max_similarity is None else self.max_similarity[columns].copy()
        return {
            "img": img[rows], "img_code": img_code, "txt": self.txt[columns], "txt_code": self.txt_code,
            "tau": self.options["tau"][columns].copy(), "max_similarity": limit, "margin": self.margin,
            "similarity": self.similarity,
        }  # fmt: skip

    def warn_if_none(self, img: NDArray[Any], img_code: int, scores: NDArray[Any], stacklevel: int) -> None:
        """Warns where no pair counts though there were enough to expect some."""
        if not enough_pairs(len(img), len(self.txt)) or scores.any():
            return
        useful = margin_of_one_percent(**self._sample(img, img_code))
        if not np.isfinite(useful):  # the other rules leave no pair
            return
        warnings.warn(
            f"no pair is a hard negative, every score is 0: margin={self.margin:g} is too small for these similarities "
            f"and references; margin={useful:.3g} would let about 1 % of the sampled pairs count",
            MarginWarning,
            stacklevel=stacklevel,
        )

    def log(self, n_img: int, verbose: Any, pool_is_reference: bool = False) -> None:
        """Says what was decided."""
        if not (verbose or _LOG.isEnabledFor(logging.INFO)):
            return
        n_txt, dim = self.txt.shape
        line = (
            f"method={self.method}, target={self.columns.target}, precision={self.precision}, {self.threads} threads: "
            f"{n_img} images x {n_txt} texts, dim {dim}, {self.columns.nbytes / 2**20:.1f} MiB of packed texts"
        )
        if self._plan is not None:
            line += f"; {describe(self._plan, dim)}"
        elif self._is_small:
            line += "; dense because few pairs"
        share = self.share if self._plan is None else max(self.share, self._plan.share)
        if share > _LARGE_SHARE:
            line += (
                f"; about {share:.0%} of the pairs count, where 0.1 to 1 % tell images apart: a smaller margin would"
            )
        if pool_is_reference:
            line += (
                "; reference='pool_max': each text's best match in this pool, not its own image, which owner or a "
                "reference array would give"
            )
        _LOG.info(line)
        if verbose:
            print(f"hnscore: {line}")

    def __getstate__(self) -> dict[str, Any]:
        # The plan stays here: on arrival the chosen method packs anew, a cascade by its first chunk. No bit changes.
        return {name: value for name, value in self.__dict__.items() if name not in ("_columns", "_plan", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.threads = threads(self.n_threads)
        self._plan = self._columns = None
        self._lock = threading.Lock()
        if self.method == "dense":
            self._columns = pack("txt_emb", self.txt, self.txt_code, self.similarity, self.precision, self.threads)


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that Ctrl-C can end."""
    out = np.empty_like(array, order="C")
    step = max(1, _COPIED_BYTES // max(1, array.itemsize * array.shape[1]))
    for first in range(0, len(array), step):
        out[first : first + step] = array[first : first + step]
    return out


def enough_pairs(n_img: int, n_txt: int) -> bool:
    """To judge a margin by."""
    return n_img * n_txt >= _SAMPLED_FROM


def samples(n_img: int, n_txt: int) -> tuple[slice, slice]:
    """Images and texts that the margin is judged by."""
    return slice(None, None, -(-n_img // _SAMPLED_IMAGES)), slice(None, None, -(-n_txt // _SAMPLED_TEXTS))


def judge_margin(
    img: NDArray[Any],
    img_code: int,
    txt: NDArray[Any],
    txt_code: int,
    tau: NDArray[np.float64],
    max_similarity: NDArray[np.float64] | None,
    margin: float,
    similarity: str,
    stacklevel: int,
) -> float:
    """The share of the pairs of a sample that qualify; warns where it is over half."""
    columns = _core.Columns(txt, txt_code, similarity, "fp32", 1)
    options: dict[str, Any] = {} if max_similarity is None else {"max_similarity": max_similarity}
    counts, _, bad = _core.reduce(img, img_code, columns, "count", 1, tau=tau, **options)
    if bad:
        return 0.0  # the scores' own pass names the rows
    share = float(counts.sum() / (len(img) * len(txt)))
    if share <= 0.5:
        return share
    useful = margin_of_one_percent(img, img_code, txt, txt_code, tau, max_similarity, margin, similarity)
    remedy = (
        f"margin={useful:.3g} would leave about 1 %"
        if useful > 0
        else "no positive margin would help: the reference is too low"
    )
    warnings.warn(
        f"{share:.0%} of the sampled pairs are hard negatives: margin={margin:g} is too wide for these "
        f"similarities; {remedy}",
        MarginWarning,
        stacklevel=stacklevel,
    )
    return share


def margin_of_one_percent(
    img: NDArray[Any],
    img_code: int,
    txt: NDArray[Any],
    txt_code: int,
    tau: NDArray[np.float64],
    max_similarity: NDArray[np.float64] | None,
    margin: float,
    similarity: str,
) -> float:
    """That lets 1 % of these pairs count."""
    columns = _core.Columns(txt, txt_code, similarity, "fp32", 1)
    options: dict[str, Any] = {} if max_similarity is None else {"max_similarity": max_similarity}
    similar, at, _ = _core.reduce(img, img_code, columns, "top_similarity", 1, k=len(txt), **options)
    assert at is not None
    gaps = (similar - tau[at])[at >= 0]
    # The pair counts from the margin r - s = margin - gap on.
    return float(margin - np.quantile(gaps, 0.99)) if len(gaps) else float("nan")


def _log_survivors(pairs: int, first: int, second: int) -> None:
    _LOG.info(
        "cascade: of %d pairs the first pass left %.3g %%, the last %.3g %%",
        pairs,
        100 * first / pairs,
        100 * second / pairs,
    )
