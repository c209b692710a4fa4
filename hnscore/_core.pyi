"""Types of the compiled core. One reduction engine, one packed side, one exact pair similarity."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

VERSION: str
DTYPES: Final[dict[str, int]]
RECIPES: Final[tuple[str, ...]]
PRECISIONS: Final[tuple[str, ...]]
BAD_NONFINITE: Final[int]
BAD_ZERO: Final[int]
BAD_RANGE: Final[int]
BAD_NEGATIVE: Final[int]

Progress = Callable[[float], object] | None
BadRows = list[tuple[int, int]]

class Plan:
    """How a call goes through its pairs; dense, for the `reason`, unless `cascade`."""

    @property
    def cascade(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def dims(self) -> int:
        """That the first pass looks at, on a basis where `has_basis`."""

    @property
    def has_basis(self) -> bool: ...
    @property
    def codes(self) -> str:
        """ "int8" or "float32"."""

    @property
    def refines(self) -> bool:
        """Whether a second pass looks at all dims."""

    @property
    def share(self) -> float:
        """Of the sampled pairs, those that count; NaN where none were sampled."""

    @property
    def kept(self) -> tuple[float, float]:
        """Shares of the sampled pairs that the first and the last pass would leave."""

    @property
    def work(self) -> float:
        """Expected time relative to dense."""

def choose(
    rows: NDArray[Any],
    rows_code: int,
    columns: NDArray[Any],
    columns_code: int,
    similarity: str,
    precision: str,
    n_threads: int,
    *,
    recipe: str,
    k: int = 1,
    tau: NDArray[np.float64] | None = None,
    kth_value: NDArray[np.float64] | None = None,
    floor: NDArray[np.float64] | None = None,
    ceiling: NDArray[np.float64] | None = None,
    expected_rows: int = 0,
    forced: bool = False,
) -> Plan:
    """The plan for `reduce` of these rows, and `expected_rows` in all, over these columns; `forced`: a cascade."""

def check_rows(
    array: NDArray[Any], code: int, similarity: str, n_threads: int, most: int = 8, progress: Progress = None
) -> BadRows:
    """The first rows that `Columns` or `reduce` would call bad, at most so many."""

class Columns:
    """The side that is packed once: rows of `array` scaled by powers of two, in panels of one CPU target.

    With a cascading `plan`: codes of them; and with `warm` the first few as panels too, which a top recipe without
    `tau` and `floor` needs.
    `code` is DTYPES[name], plus 256 where the bytes are swapped. `bad_rows` lists at most 8 rows
    (row, kind) in ascending order; an object with bad rows must not be used.
    The array is kept alive and read again where `precision` is "exact". `origin` (dim,) is subtracted from each row of
    these and of those that meet them: for "overlap" under the dot product, whose distances it leaves as they are.
    """

    def __init__(
        self,
        array: NDArray[Any],
        code: int,
        similarity: str,
        precision: str,
        n_threads: int,
        progress: Progress = None,
        plan: Plan | None = None,
        warm: bool = True,
        origin: NDArray[np.float64] | None = None,
    ) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def target(self) -> str: ...
    @property
    def bad_rows(self) -> BadRows: ...

class Rules:
    """Which pairs count beside the threshold: `s <= max_similarity[col or row]`, the group ids differ, the owner ids
    differ, and (s, row) is not below (kth_value[col], kth_row[col]) and is below (skip_value[col], skip_row[col]),
    where of equal s the lower row is above. `negative_groups_differ`: of equal groups below 0 each is another.
    """

    def __init__(
        self,
        *,
        max_similarity: NDArray[np.float64] | None = None,
        max_similarity_of_rows: bool = False,
        row_groups: NDArray[np.int32] | None = None,
        col_groups: NDArray[np.int32] | None = None,
        negative_groups_differ: bool = False,
        row_owners: NDArray[np.int32] | None = None,
        col_owners: NDArray[np.int32] | None = None,
        kth_value: NDArray[np.float64] | None = None,
        kth_row: NDArray[np.int64] | None = None,
        skip_value: NDArray[np.float64] | None = None,
        skip_row: NDArray[np.int64] | None = None,
    ) -> None: ...

class Terms:
    """What a term is made of beside the similarity. `col_weights` multiply the terms of a sum; `row_weights` those of a
    column in a triangle. `col_shift` is added to a term of "kernel" and "overlap"; the rest is of "overlap".
    """

    def __init__(
        self,
        *,
        row_weights: NDArray[np.float64] | None = None,
        col_weights: NDArray[np.float64] | None = None,
        col_shift: NDArray[np.float64] | None = None,
        row_variance: NDArray[np.float64] | None = None,
        col_variance: NDArray[np.float64] | None = None,
        rate: float = 0.0,
    ) -> None: ...

def reduce(
    array: NDArray[Any],
    code: int,
    columns: Columns,
    recipe: str,
    n_threads: int,
    *,
    tau: NDArray[np.float64] | None = None,
    rules: Rules = ...,
    terms: Terms = ...,
    weight: str = "similarity",
    temperature: float = 1.0,
    k: int = 1,
    floor: NDArray[np.float64] | None = None,
    rank_weights: NDArray[np.float64] | None = None,
    triangle: int | None = None,
    progress: Progress = None,
    survivors: Callable[[int, int, int], object] | None = None,
) -> tuple[NDArray[np.float64], Any, BadRows]:
    """Reduce every row of `array` over all columns.

    Sum recipes (the weight names) return the (n,) sums. Top recipes ("top_gap", "top_similarity") return the
    k largest keys (n, k), descending, ties to the lowest column, padded with -inf, and their columns, padded
    with -1; with `rank_weights` (k,) they return (n,) `sum_r rank_weights[r] * weight(entry r)` instead.
    A pair counts where `s > tau[col]` and the rules leave it. `floor[row]`: only entries above it.
    "kernel" is `exp((s - 1) / temperature) + col_shift`; "overlap" the logarithm of the sum of the exponentials of
    `col_shift - dim / 2 ln v - rate d^2 / v`, `v` the sum of the two
    variances, `d` the distance of the two rows.
    `triangle`: the columns are the rows from that one on; of each two points one pair counts, whose term is also added
    to the sum of its column, weighted by `row_weights`; those sums (m,) come second. For "count" and "kernel".
    `survivors` is told of a cascade how many pairs there were, the first pass left, and the last left.
    """

def pairs(
    array: NDArray[Any],
    code: int,
    columns: Columns,
    n_threads: int,
    *,
    most: int,
    in_float32: bool,
    tau: NDArray[np.float64] | None = None,
    rules: Rules = ...,
    floor: NDArray[np.float64] | None = None,
    progress: Progress = None,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any], BadRows] | None:
    """The pairs that count: how many each row has (n,), their columns, ascending in a row, and their similarities,
    float64 or as float32 rounds these.

    A pair counts where `s > tau[col]`, `s > floor[row]` and the rules leave it. None where there are more than `most`.
    Where rows are bad, nothing but these.
    """

_Real = TypeVar("_Real", np.float32, np.float64)

def sort_lists(
    offsets: NDArray[np.int64], indices: NDArray[np.int64], values: NDArray[_Real], order: str, n_threads: int
) -> None:
    """Sorts each list, offsets[i] to offsets[i + 1], in place: by "index", or by value, "descending" or "ascending",
    ties to the lowest index."""

def group(
    keys: NDArray[np.int64], others: NDArray[np.int64], values: NDArray[_Real], n: int, both: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[_Real]]:
    """Lists by key: offsets (n + 1,), the others of each key and their values, in the order given; with `both` each
    element goes to the list of its other too."""

def pair_similarity(
    a: NDArray[Any],
    a_code: int,
    a_rows: NDArray[np.int64] | None,
    b: NDArray[Any],
    b_code: int,
    similarity: str,
    n_threads: int,
) -> tuple[NDArray[np.float64], BadRows, BadRows]:
    """Exact similarity of row a_rows[j] of `a` (row j where None) with row j of `b`: (len(b),) float64."""

def thresholds(reference: NDArray[np.float64], margins: Sequence[float]) -> NDArray[np.float64]:
    """tau_j = reference_j less the margins: csrc/recipes/threshold.h."""

def greedy(
    array: NDArray[Any],
    code: int,
    covered: NDArray[np.int64],
    picks: NDArray[np.int64],
    gains: NDArray[np.float64],
    *,
    farthest: bool = False,
    base: NDArray[np.float64] | None = None,
    first_factor: float = 1.0,
    factor_step: float = 0.0,
    penalty: float = 0.0,
    temperature: float = 1.0,
    n_threads: int,
    progress: Progress = None,
) -> tuple[int, int]:
    """Into `picks`, all of it, one by one: rows of the largest gain, ties to the lowest row; with their gains. How many
    rows were read, and how many products of two rows computed. With c over the covered and the picked, the gain of row
    x at pick t = 0, 1, .. is min_c (1 - s(x, c)) with `farthest`, otherwise

        base[x] * (first_factor + t * factor_step) - penalty * sum_c exp((s(x, c) - 1) / temperature)

    Good rows only; penalty >= 0; base <= 0 where factor_step > 0.
    """

def coverage_gains(
    array: NDArray[Any],
    code: int,
    candidates: NDArray[np.int64],
    points: NDArray[Any],
    points_code: int,
    temperature: float,
    n_threads: int,
    *,
    weights: NDArray[np.float64] | None = None,
    floor: NDArray[np.float64] | None = None,
    kernel: str = "exponential",
    progress: Progress = None,
) -> NDArray[np.float64]:
    """sum_x weights[x] max(k(x, c) - floor[x], 0) over the points x, in float64, for the candidates c among the rows of
    `array`; k = exp((s - 1) / temperature), or with kernel "cosine" max(s, 0). Good rows only."""

class Cover:
    """Candidates picked one after another for the largest of `coverage_gains`, ties to the lowest row, each raising the
    `floor` as `raise_floor` does. `memory`: bytes for what is kept, beside what is needed."""

    def __init__(
        self,
        array: NDArray[Any],
        code: int,
        candidates: NDArray[np.int64],
        points: NDArray[Any],
        points_code: int,
        temperature: float,
        n_threads: int,
        *,
        weights: NDArray[np.float64] | None = None,
        floor: NDArray[np.float64],
        memory: int,
        kernel: str = "exponential",
    ) -> None: ...
    def lower(self, bounds: NDArray[np.float64]) -> None:
        """At least the gain now, of every row of the array."""

    def pick(
        self,
        picks: NDArray[np.int64],
        gains: NDArray[np.float64],
        *,
        patience: int = 0,
        draw: int = 0,
        seed: int = 0,
        progress: Progress = None,
    ) -> int:
        """Into `picks`, one by one, with their gains; how many were made. Fewer than there is room for where more
        candidates than `patience` were looked at since `lower` or wait to be; 0: never. `draw`: so many candidates for
        each pick."""

    @property
    def keeps_all(self) -> bool:
        """The memory is enough for all kernels: then no `lower` is of use."""

    @property
    def counts(self) -> tuple[int, int]:
        """Gains computed so far: their bounds in float32, and in float64."""

def bf16_rest(array: NDArray[Any], code: int, n_threads: int, *, progress: Progress = None) -> float:
    """The largest |x - bf16(x)| / |x| of the rows x. Good rows only."""

def product_units(dim: int) -> float:
    """Units of 2^-24 of the product of two norms by which a float32 product of two rows can be off."""

def raise_floor(
    array: NDArray[Any],
    code: int,
    candidates: NDArray[np.int64],
    points: NDArray[Any],
    points_code: int,
    temperature: float,
    n_threads: int,
    floor: NDArray[np.float64],
    *,
    kernel: str = "exponential",
    progress: Progress = None,
) -> None:
    """floor[x] = max(floor[x], k(x, c)) for all candidates c, in place; k as for `coverage_gains`."""

def gaussian_pairs(
    arrays: Sequence[NDArray[Any]],
    codes: Sequence[int],
    n_threads: int,
    *,
    scale: float,
    shift: float,
    n_samples: int = 0,
    key: tuple[int, int] = (0, 0),
    progress: Progress = None,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    list[BadRows],
]:
    """Of each pair: mean variances of image and text, 2-Wasserstein distance, probabilities of a match and of none.

    `arrays` and their `codes`: img_mean, img_var, txt_mean, txt_var. The probabilities are those of the expected
    distance, or with `n_samples` their means over the pairs of so many draws. The last list has the bad rows of each
    array, and fifth the pairs out of the float64 range; with any the other results must not be used.
    """

def exact_dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The exact sum of products, rounded once to float64."""

def default_threads() -> int: ...
def exit_on_bus_error(message: str) -> None:
    """From now on a SIGBUS writes the message to standard error and ends the process with 2."""

def set_target(name: str) -> str:
    """Use another CPU target from now on; returns the previous one. For tests."""

def peak(seconds: float, n_threads: int, kind: Literal["fp32", "int8", "bf16"] = "fp32") -> float:
    """Measured peak of the current target's products of a kind, in operations a second; 0: it has no unit for them."""

def config() -> dict[str, Any]:
    """Build and run-time facts: version, compiler, targets compiled / supported / current, cuda."""
