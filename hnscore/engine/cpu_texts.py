"""The texts of a call on the CPU: packed in panels or codes, and what images are scored against."""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.engine.host import HostRows
from hnscore.engine.lists import finder
from hnscore.engine.pool import HostRules, check_rows, choose, describe, pack
from hnscore.engine.protocol import NO_RULES, Find, Progress, Request

if TYPE_CHECKING:
    from hnscore.engine.cpu import Cpu

Array = NDArray[Any]
Floats = NDArray[np.float64]

_LOG = logging.getLogger("hnscore")
_SMALL = 2**20  # multiply-adds: far fewer than csrc/cpu/cascade/plan.cpp wants for a cascade, on any target
_LOOK_AGAIN = 0.4  # what the plan's own sample, where there is one, must show for another look


class HostTexts:
    """The texts in panels or codes: packed at once for the dense way, else when the plan has seen images."""

    def __init__(self, engine: Cpu, txt: HostRows, request: Request, n_img: int | None) -> None:
        self.engine, self.txt, self.request, self.method = engine, txt, request, request.method
        self.share = 0.0
        self._plan: _core.Plan | None = None
        self._columns: _core.Columns | None = None
        self._lock = threading.Lock()
        self.options: dict[str, Any] = {"weight": request.weight, "temperature": request.temperature}  # of the core
        if request.takes_largest:
            self.options |= {"k": request.k, "rank_weights": np.ones(request.k)}
        # A plan would take longer than it could save, and say so.
        self._is_small = self.method == "auto" and n_img is not None and n_img * txt.array.size < _SMALL
        if self._is_small:
            self.method = "dense"
        if self.method == "dense":
            self._pack(None)
        else:  # the plan wants to see images and thresholds first
            check_rows(txt, request.similarity, engine.threads)

    def _pack(self, plan: _core.Plan | None) -> None:
        self._columns = pack(
            self.txt, self.request.similarity, self.request.precision, self.engine.threads, plan=plan
        )  # fmt: skip

    def prepare(self, images: HostRows, n_img: int, tau: Floats, rules: HostRules) -> None:
        with self._lock:
            if self._columns is not None:
                return
            self._plan = choose(
                images, self.txt, self.request, self.engine.threads,
                tau=tau, kth_value=rules.kth_value, expected_rows=n_img,
            )  # fmt: skip
            self.method = "cascade" if self._plan.cascade else "dense"
            self.share = self._plan.share
            self._pack(self._plan)

    def adopt(self, other: HostTexts) -> None:
        """The way of other texts like these, whose plan took longer than packing takes."""
        with self._lock:
            if self._columns is None:
                self._plan, self.method, self.share = other._plan, other.method, other.share
                self._pack(self._plan)

    def reduce(self, engine: Cpu, images: HostRows, tau: Floats, rules: HostRules, progress: Progress = None) -> Array:
        request, columns = self.request, self._columns
        assert columns is not None, "prepare() comes first"
        options = self.options | {"tau": tau, "rules": core_rules(rules)}
        if progress is not None:
            options["progress"] = progress
        if self.method == "cascade" and _LOG.isEnabledFor(logging.INFO):
            options["survivors"] = _log_survivors
        sums, _, bad = _core.reduce(images.array, images.code, columns, request.recipe, engine.threads, **options)
        if progress is not None:
            progress(1.0)
        if bad:
            images.refuse(bad)
        if request.cap is not None:
            sums = np.minimum(sums, request.cap)
        if request.divisor is not None:
            sums = sums / request.divisor
        if request.dtype is np.int64:
            return sums.astype(np.int64)
        with np.errstate(over="ignore"):
            return sums.astype(np.float32)

    def lists(
        self, engine: Cpu, images: HostRows, tau: Floats, rules: HostRules, dtype: type[np.generic], progress: Progress
    ) -> Find:
        """The texts that count for each image, for some of the images at a time."""
        assert self._columns is not None, "prepare() comes first"

        def limits(part: slice) -> dict[str, Any]:
            return {"tau": tau, "rules": core_rules(rules.of_rows(part.start, part.stop))}

        return finder(images, self._columns, engine.threads, dtype, limits, progress)

    def counts(self, engine: Cpu, images: HostRows, tau: Floats, rules: HostRules) -> Floats:
        """How many texts count for each image."""
        columns = self._columns
        assert columns is not None, "prepare() comes first"
        return _core.reduce(
            images.array, images.code, columns, "count", engine.threads, tau=tau, rules=core_rules(rules)
        )[0]

    def hold(self, engine: Cpu, *arrays: Array | None) -> None:
        pass  # Python holds them

    def read_on(self, engine: Cpu) -> AbstractContextManager[None]:
        return nullcontext()

    def may_be_wide(self) -> bool:
        return not (self._is_small or (self._plan is not None and self._plan.share < _LOOK_AGAIN))

    def where(self, engine: Cpu) -> str:
        assert self._columns is not None
        return f"target={self._columns.target}, precision={self.request.precision}, {engine.threads} threads"

    def why(self) -> str:
        if self._plan is not None:
            return f"; {describe(self._plan, self.txt.shape[1])}"
        return "; dense because few pairs" if self._is_small else ""

    @property
    def nbytes(self) -> int:
        assert self._columns is not None
        return self._columns.nbytes

    def __getstate__(self) -> dict[str, Any]:
        # The plan stays here: on arrival the chosen method packs anew, a cascade by its first chunk. No bit changes.
        return {name: value for name, value in self.__dict__.items() if name not in ("_columns", "_plan", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plan = self._columns = None
        self._lock = threading.Lock()
        if self.method == "dense":
            self._pack(None)


_NO_RULES = _core.Rules()


def core_rules(rules: HostRules) -> _core.Rules:
    """As the core has them."""
    if rules is NO_RULES:
        return _NO_RULES
    given: dict[str, Any] = {name: x for name, x in rules._asdict().items() if not (x is None or x is False)}
    for name in ("row_owners", "col_owners"):
        if name in given:
            given[name] = given[name].astype(np.int32)
    return _core.Rules(**given) if given else _NO_RULES


def _log_survivors(pairs: int, first: int, second: int) -> None:
    _LOG.info(
        "cascade: of %d pairs the first pass left %.3g %%, the last %.3g %%",
        pairs,
        100 * first / pairs,
        100 * second / pairs,
    )
