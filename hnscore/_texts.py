"""The text side of a call or a Scorer: arguments checked, minibatch drawn, texts packed, thresholds set."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._arrays import (
    choice,
    integer,
    labels,
    not_empty,
    random_generator,
    real,
    refuse_bad_rows,
    threads,
    values,
    weighting,
)
from ._pool import check_rows, choose, describe, pack

_LOG = logging.getLogger("hnscore")
# The margin is looked at where a call has this many pairs, on a sample of at most so many images and texts.
_SAMPLED_FROM = 2**16
_SAMPLED_IMAGES = 64
_SAMPLED_TEXTS = 256
# What the plan's own sample, where there is one, must show for that.
_LOOK_AGAIN = 0.4


class MarginWarning(UserWarning):
    """Over half of all pairs are hard negatives: the margin does not fit these similarities."""


class TextSide:
    """Everything about the texts that the images of any number of chunks are scored against."""

    def __init__(
        self,
        txt: NDArray[Any],
        txt_code: int,
        margin: Any,
        weight: Any,
        aggregate: Any,
        k: Any,
        max_similarity: Any,
        txt_groups: Any,
        minibatch: Any,
        similarity: Any,
        temperature: Any,
        precision: Any,
        method: Any,
        random_state: Any,
        n_threads: Any,
        keep: bool = False,
    ) -> None:
        not_empty("txt_emb", txt)
        n_txt = n_used = len(txt)
        self.margin = real("margin", margin)
        choice("similarity", similarity, ("cosine", "dot"))
        choice("precision", precision, _core.PRECISIONS)
        choice("method", method, ("auto", "dense", "cascade"))
        if method == "cascade" and precision != "exact":
            raise ValueError(
                f"method='cascade' is exact, got precision={precision!r}; leave precision out, or use method='dense'"
            )
        self.rows: NDArray[np.int64] | None = None  # of the texts that were drawn
        if minibatch is not None:
            n_used = integer("minibatch", minibatch, 1, n_txt, "texts drawn of txt_emb")
        k, temperature = weighting(weight, aggregate, k, temperature, n_used)
        self.n_threads = n_threads
        self.threads = threads(n_threads)
        limits = None if max_similarity is None else values("max_similarity", max_similarity, n_txt, upper_limits=True)
        groups = None if txt_groups is None else labels("txt_groups", txt_groups, n_txt)
        if minibatch is not None:
            rows = random_generator(random_state).choice(n_txt, n_used, replace=False, shuffle=False)
            self.rows = np.sort(rows).astype(np.int64)
            txt = txt[self.rows]
            limits = None if limits is None else limits[self.rows]
            groups = None if groups is None else groups[self.rows]
        elif keep:
            txt = txt.copy()
        self.txt, self.txt_code = txt, txt_code
        self.weight, self.aggregate, self.k = weight, aggregate, k
        self.similarity, self.precision = similarity, precision
        self.max_similarity = None if limits is None or np.isposinf(limits).all() else limits

        # What the core is asked for, and what is done to its sums.
        self.options: dict[str, Any] = {"weight": weight, "temperature": temperature}
        self.recipe: str = weight
        self.cap: int | None = None
        self.divisor: float | None = None
        self.dtype: type[np.generic] = np.float32
        if aggregate == "mean":
            self.divisor = n_used
        elif aggregate == "sum":
            if minibatch is not None:
                self.divisor = n_used / n_txt
            elif weight == "count":
                self.dtype = np.int64
        elif weight == "count":
            self.cap = k
        else:
            self.recipe = "top_similarity" if weight == "similarity" else "top_gap"
            self.options["k"] = k
            self.options["rank_weights"] = np.ones(k)
        if self.max_similarity is not None:
            self.options["max_similarity"] = self.max_similarity
        self.labels: NDArray[Any] | None = None
        if groups is not None:
            self.labels, ids = np.unique(groups, return_inverse=True)
            self.options["col_groups"] = ids.astype(np.int32)
        self.method: str = method if precision == "exact" else "dense"
        self._plan: _core.Plan | None = None
        self._columns: _core.Columns | None = None
        self._lock = threading.Lock()
        if self.method == "dense":
            self._columns = pack("txt_emb", txt, txt_code, similarity, precision, self.threads, self.rows)
        else:  # the plan wants to see images and thresholds first
            check_rows("txt_emb", txt, txt_code, similarity, self.threads, self.rows)

    def set_reference(self, reference: NDArray[np.float64]) -> None:
        """tau_j = r_j - margin."""
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
        groups = labels("img_groups", img_groups, n_img)
        known = self.labels
        ids = np.searchsorted(known, groups.astype(known.dtype))
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
        txt, tau = self.txt, self.options["tau"]
        if len(img) * len(txt) < _SAMPLED_FROM:
            return False
        if self._plan is not None and self._plan.share < _LOOK_AGAIN:
            return True
        img = img[:: -(-len(img) // _SAMPLED_IMAGES)]
        step = -(-len(txt) // _SAMPLED_TEXTS)
        txt, tau = txt[::step], tau[::step].copy()
        columns = _core.Columns(txt, self.txt_code, self.similarity, "fp32", 1)
        limit = None if self.max_similarity is None else self.max_similarity[::step].copy()
        options: dict[str, Any] = {} if limit is None else {"max_similarity": limit}
        counts, _, bad = _core.reduce(img, img_code, columns, "count", 1, tau=tau, **options)
        if bad:
            return True  # the scores' own pass names the rows
        share = counts.sum() / (len(img) * len(txt))
        if share > 0.5:
            similar, at, _ = _core.reduce(img, img_code, columns, "top_similarity", 1, k=len(txt), **options)
            assert at is not None
            gaps = similar - tau[at]
            # The pair counts from the margin r - s = margin - gap on.
            useful = self.margin - np.quantile(gaps, 0.99)
            remedy = (
                f"margin={useful:.3g} would leave about 1 %"
                if useful > 0
                else "no positive margin would help: the reference is too low"
            )
            warnings.warn(
                f"{share:.0%} of the sampled pairs are hard negatives: margin={self.margin:g} is too wide for these "
                f"similarities; {remedy}",
                MarginWarning,
                stacklevel=stacklevel,
            )
        return True

    def log(self, n_img: int, verbose: Any) -> None:
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


def _log_survivors(pairs: int, first: int, second: int) -> None:
    _LOG.info(
        "cascade: of %d pairs the first pass left %.3g %%, the last %.3g %%",
        pairs,
        100 * first / pairs,
        100 * second / pairs,
    )
