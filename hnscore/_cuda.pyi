# The second extension: hnscore on NVIDIA GPUs. Pointers are device addresses as ints, 0 for none; nothing waits for the
# device unless it says so.
from collections.abc import Callable, Sequence
from typing import TypedDict

ARCHS: tuple[str, ...]
SIDES: int  # sides that bad rows can be reported for: 0 to SIDES - 1
REFERENCE_SIDE: int  # of these: references that reduce() finds not finite
EMULATED: bool  # device memory is host memory, for tests

class GpuError(RuntimeError): ...
class GpuMemoryError(MemoryError): ...

class Device:
    @property
    def name(self) -> str: ...
    @property
    def capability(self) -> tuple[int, int]: ...
    @property
    def processors(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def arch(self) -> str: ...  # of ARCHS, that this device runs; "" where none does

def device_count() -> int: ...
def device(index: int) -> Device: ...
def capturing(device: int, stream: int) -> bool: ...
def synchronize(device: int, stream: int) -> None: ...
def synchronize_device(device: int) -> None: ...
def copy_to_device(device: int, stream: int, to: int, from_: int, n_bytes: int) -> None: ...
def copy_to_host(device: int, stream: int, to: int, from_: int, n_bytes: int) -> None: ...
def publish(device: int, stream: int) -> None: ...  # the end of a call: its bad rows become known to bad_rows
def bad_rows(device: int) -> list[tuple[int, int, int]]:  # (side, first bad row seen, kind as in _core); forgets them
    ...
def hangs() -> str: ...  # what warps waited for when their time ran out (HNSCORE_CUDA_HANG_SECONDS); "" nothing
def memory_used(device: int) -> int: ...  # bytes of Memory objects, where they are not torch's

# What only a measurement decides: csrc/cuda/tiles/tuning.h. For all calls that begin later.
class Tuning(TypedDict):
    resident_steps: int  # 0 to 8
    most_stages: int  # 2 to 8
    apart: str  # none, lead or ordered
    few_share: int

def tuning() -> Tuning: ...
def set_tuning(*, resident_steps: int, most_stages: int, apart: str, few_share: int) -> None: ...

# Memory of libraries that bring no allocator of their own; freed in stream order when the object goes. GpuMemoryError
# where there is not as much.
class Memory:
    def __init__(self, device: int, stream: int, n_bytes: int) -> None: ...
    @property
    def device(self) -> int: ...
    @property
    def pointer(self) -> int: ...

# What a DLPack capsule ("dltensor") describes; keeps it alive.
class External:
    def __init__(self, capsule: object) -> None: ...
    @property
    def pointer(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...  # bytes
    @property
    def dtype(self) -> int: ...  # code of _core.DTYPES, -1 for others
    @property
    def device(self) -> int: ...

# A capsule that keeps the memory alive.
def to_dlpack(memory: Memory, shape: tuple[int, ...], dtype: int) -> object: ...

# Pinned host memory, for copies beside the computation.
class PinnedMemory:
    def __init__(self, device: int, n_bytes: int) -> None: ...
    @property
    def pointer(self) -> int: ...

class CopyStream:  # a stream of its own
    def __init__(self, device: int) -> None: ...
    @property
    def stream(self) -> int: ...
    def wait_for(self, stream: int) -> None: ...  # what is queued here from now on runs after what `stream` has now
    def make_wait(self, stream: int) -> None: ...  # and the other way round
    def synchronize(self) -> None: ...

class Mark:  # the point that a stream is at
    def __init__(self, device: int, stream: int) -> None: ...
    def passed(self) -> bool: ...

# Bad rows are reported by their numbers in the memory: pick[i] where there is a pick.
class Rows:
    def __init__(
        self,
        pointer: int,
        rows: int,
        dim: int,
        row_stride: int,  # bytes, as col_stride
        col_stride: int,
        dtype: int,
        side: int,  # that bad rows are reported for
        pick: int = 0,  # int64[count]: row i of the call is row pick[i]
        count: int = -1,
    ) -> None: ...
    @property
    def count(self) -> int: ...

class Context:
    # allocate(n_bytes) gives memory that lives until the caller's next call, in the order of the stream. Rows are
    # packed for slab_bytes of memory at a time, columns for half as much.
    def __init__(
        self, device: int, stream: int, allocate: Callable[[int], int], slab_bytes: int = 46137344
    ) -> None: ...

# The rows, one after another at `out`: as they are, or as values of `dtype` (float32, float64 or int64, to which uint64
# keeps its bits). finite: a row with a NaN or Inf is reported; or_infinity: +inf is none of these.
def copy_rows(
    context: Context, rows: Rows, out: int, dtype: int = -1, *, finite: bool = False, or_infinity: bool = False
) -> None: ...

# The side that is packed once, or with keep=False slab by slab. `allocate` of this context: memory that lives as long
# as the Columns.
class Columns:
    def __init__(
        self, context: Context, rows: Rows, similarity: str, precision: str, method: str, keep: bool
    ) -> None: ...
    @property
    def chunks(self) -> int: ...  # of columns, that are added up or listed together
    @property
    def nbytes(self) -> int: ...

# out[j] float64: similarity of row j of a with row j of b.
def pair_similarity(context: Context, a: Rows, b: Rows, similarity: str, out: int) -> None: ...

# As _core.Rules; float64, and int64 for labels, owners and rows.
class Rules:
    def __init__(
        self,
        *,
        max_similarity: int = 0,
        max_similarity_of_rows: bool = False,
        row_groups: int = 0,
        col_groups: int = 0,
        negative_groups_differ: bool = False,
        row_owners: int = 0,
        col_owners: int = 0,
        kth_value: int = 0,
        kth_row: int = 0,
        skip_value: int = 0,
        skip_row: int = 0,
    ) -> None: ...

# tau[j], float64, of `count` references; NaN where one is not finite, which is reported.
def thresholds(context: Context, reference: int, count: int, margins: Sequence[float], tau: int) -> None: ...

# out[i]: what the weights of row i add up to, over divisor and at most cap (0: no cap); float32, or int64 where
# `integer`. Where a row or a column is bad: NaN, or -1; a column is bad also where its threshold or its
# max_similarity is NaN. Recipes as in _core.
def reduce(
    context: Context,
    rows: Rows,
    columns: Columns,
    recipe: str,
    out: int,
    *,
    tau: int = 0,  # float64; NaN: its reference is bad
    rules: Rules = ...,
    weight: str = "similarity",  # of an entry of a top recipe
    temperature: float = 1.0,
    k: int = 1,
    divisor: float = 1.0,
    cap: int = 0,
    integer: bool = False,
    choice: int = 0,  # int32, zero at first: what "auto" chose, kept for the next chunks
    # Recipe "pairs", in two calls, int64 (columns.chunks, n): first how many pairs there are; then, each chunk of a row
    # from its place in `lists` on, one behind the other, similarity (float64) and column (int64) of each, in no order.
    counts: int = 0,
    begins: int = 0,
    lists: int = 0,
) -> None: ...

# The k largest similarities of each row over a pool that is packed slab by slab. Descending, ties to the lowest pool
# row; -inf and -1 where fewer count. Each output may be 0.
def top(
    context: Context,
    rows: Rows,
    pool: Rows,
    similarity: str,
    precision: str,
    k: int,
    *,
    rules: Rules = ...,  # owners of rows alone: the pool row that does not count for this row
    values: int = 0,  # float64 (n, k)
    indices: int = 0,  # int64 (n, k)
    kth_value: int = 0,  # float64 (n,)
    kth_row: int = 0,  # int64 (n,), the largest int64 where fewer count
    rank_weights: int = 0,  # float64 (k,): sums[i] = sum_r rank_weights[r] values[i, r]
    sums: int = 0,  # float64 (n,)
) -> None: ...
