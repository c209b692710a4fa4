"""What a call is made of on any device: rows, rules, a request; and the two engines that answer it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import Shaped

Rows = TypeVar("Rows", bound=Shaped)  # embeddings, where they lie
Contra = TypeVar("Contra", bound=Shaped, contravariant=True)  # rows that are only taken
Values = TypeVar("Values")  # an array of the engine's own
PackedRows = TypeVar("PackedRows")
Groups = TypeVar("Groups")  # labels of the texts, to be compared with those of images
Progress = Callable[[float], object] | None
# The lists of the rows from one to before another, None where there are more than so many pairs.
Find = Callable[[int, int, int], tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]] | None]


class Request(NamedTuple):
    """What is made of the pairs that count, and how."""

    recipe: str = "hinge"
    weight: str = "hinge"  # of the largest values, where the recipe takes these
    temperature: float = 1.0
    k: int = 1
    similarity: str = "cosine"
    precision: str = "exact"
    method: str = "auto"
    # What is done to the sums.
    divisor: float | None = None
    cap: int | None = None
    dtype: type[np.generic] = np.float32

    @property
    def takes_largest(self) -> bool:
        return self.recipe.startswith("top_")


class _Rules(NamedTuple):
    """A base of its own: before Python 3.11 no named tuple is generic."""

    max_similarity: Any = None  # of a column
    row_groups: Any = None
    col_groups: Any = None
    negative_groups_differ: bool = False  # equal bits, of which one side has signs
    row_owners: object = None
    col_owners: Any = None
    kth_value: object = None
    kth_row: object = None
    skip_value: object = None
    skip_row: object = None


class Rules(_Rules, Generic[Values]):
    """Which pairs of row i and column j count, beside the threshold of j; None: no such rule."""

    __slots__ = ()

    def of_rows(self, start: int, stop: int) -> Rules[Values]:
        """For some of the rows, which are then counted from `start`."""
        part = slice(start, stop)
        rows: dict[str, Any] = {
            name: x[part] for name in ("row_groups", "row_owners") if (x := getattr(self, name)) is not None
        }
        ranks: dict[str, Any] = {
            name: x - start for name in ("kth_row", "skip_row") if (x := getattr(self, name)) is not None
        }
        return self._replace(**rows, **ranks) if rows or ranks else self

    def unranked(self) -> Rules[Values]:
        return self._replace(kth_value=None, kth_row=None, skip_value=None, skip_row=None)


NO_RULES: Rules[Any] = Rules()


class Packed(Protocol[Contra, Values]):
    """The texts of one call or of many, packed for a request."""

    method: str
    share: float  # of the pairs that count, where a sample was looked at

    def prepare(self, images: Contra, n_img: int, tau: Values, rules: Rules[Values]) -> None:
        """Chooses the method, once, for about `n_img` images like these, and packs the texts for it."""

    def reduce(
        self, engine: Any, images: Contra, tau: Values, rules: Rules[Values], progress: Progress = None
    ) -> Values:
        """The scores of some images."""

    def hold(self, engine: Any, *arrays: Values | None) -> None:
        """Keeps what later calls read beside the texts."""

    def read_on(self, engine: Any) -> AbstractContextManager[None]:
        """Memory that was written by one call, read by this one."""

    def may_be_wide(self) -> bool:
        """Whether a sample must tell what share of the pairs counts."""

    def where(self, engine: Any) -> str:
        """Device and precision, for people."""

    def why(self) -> str:
        """What was expected of the method, for people."""

    @property
    def nbytes(self) -> int: ...


class Near(Protocol[Rows, PackedRows]):
    """Which rows of a set are more similar than a level: some packed, others compared with these."""

    def some(self, numbers: NDArray[np.int64]) -> Rows: ...
    def pack(self, rows: Rows) -> PackedRows: ...
    def find(self, rows: Rows, packed: PackedRows, dtype: type[np.generic]) -> Find: ...


class Engine(Protocol[Rows, Values, Groups]):
    """A device that computes, for one call."""

    @property
    def threads(self) -> int: ...
    @property
    def precisions(self) -> tuple[str, ...]: ...
    @property
    def sees_values(self) -> bool:
        """Whether results can be looked at without a wait; where not, bad values are told later."""

    # Arguments in.
    def embeddings(self, name: str, x: object) -> Rows:
        """Read where they lie."""

    def paired(self, name: str, x: object) -> Rows:
        """The same of images that may be in CPU memory."""

    def taken(self, rows: Rows, drawn: NDArray[np.int64] | None, keep: bool) -> Rows:
        """Those that were drawn; with `keep` in memory of their own."""

    def limits(self, name: str, x: object, n: int, drawn: NDArray[np.int64] | None) -> Values | None:
        """A value for each text in use; None where no value limits anything."""

    def owners(self, x: object, n_txt: int, n_paired: int, of: str, drawn: NDArray[np.int64] | None = None) -> Values:
        """The row of each text's own image among those of the argument `of`."""

    def arange(self, n: int) -> Values: ...
    def paired_owners(self, n: int, drawn: NDArray[np.int64] | None) -> Values:
        """Of texts that own the image of their own number: the rows of the texts in use."""

    def groups(self, x: object, n: int, drawn: NDArray[np.int64] | None) -> Groups: ...
    def group_numbers(self, texts: Groups) -> Values: ...
    def same_groups(self, texts: Groups, x: object, n_img: int) -> tuple[Values, Values, bool]:
        """Numbers of images and texts, equal where their labels are; whether negative ones differ."""

    # Work.
    def similarity(self, a: Rows, b: Rows, similarity: str, picked: Values | None = None) -> Values:
        """Of each row of b with its row of a, or with the one that is picked, (n_b,)."""

    def reference(self, x: object, n_txt: int, txt: Rows, drawn: NDArray[np.int64] | None, similarity: str) -> Values:
        """Of the texts in use, from similarities or from embeddings of their own images."""

    def thresholds(self, reference: Values, margins: tuple[float, ...]) -> Values:
        """tau_j, float64."""

    def just_below(self, values: Values) -> Values:
        """The next smaller ones: what is above these is not below the values."""

    def kth_best(
        self, txt: Rows, img: Rows, rank: int, request: Request, rules: Rules[Values], progress: Progress = None
    ) -> tuple[Values, Values]:
        """The rank-th best image of each text: its similarity and row, -inf and the last where there is none."""

    def expected_best(self, txt: Rows, img: Rows, weights: NDArray[np.float64], similarity: str, own: Values) -> Values:
        """sum_r weights_r times the similarity of rank r of each text, among the images that are not its own."""

    def nearest(
        self, rows: Rows, others: Rows, k: int, request: Request, exclude_self: bool, progress: Progress = None
    ) -> tuple[Values, Values]:
        """The k most similar others of each row: similarities and rows, (n, k)."""

    def packed(self, txt: Rows, request: Request, n_img: int | None, keep: bool) -> Packed[Rows, Values]:
        """Texts for one call on n_img images, or, with `keep`, for any number of calls."""

    def near(self, rows: Rows, level: float, request: Request) -> Near[Any, Any]:
        """Which of these rows are more similar than the level."""

    # Results out.
    def finish(self) -> None:
        """The end of a call without a result."""

    def no_scores(self, dtype: type[np.generic]) -> Values: ...
    def sample(self, rows: Rows, step: int) -> tuple[NDArray[Any], int]:
        """Each step-th row and the code of their dtype, in CPU memory."""

    def sampled(self, values: Values, step: int) -> NDArray[np.float64]: ...
    def may_wait(self, asked: object) -> bool:
        """Whether a sample may be looked at."""

    def give(self, like: object, values: Values) -> Any:
        """The end of a call: its result, as the kind of array that `like` is."""

    # Of a Scorer, from call to call and from process to process.
    def again(self, x: object) -> Any:
        """The engine for another call, on `x`."""

    def chunk(self, name: str, x: object) -> Rows:
        """Images of the pool, on this device or in CPU memory."""

    def is_own(self, rows: Rows) -> bool:
        """Whether these are on this device."""

    def exported(self, state: dict[str, Any]) -> dict[str, Any]: ...
    def imported(self, state: dict[str, Any]) -> dict[str, Any]: ...
