"""hnscore._cuda for tests without a GPU: NumPy on host memory, by reference.py, with streams that are streams.

What is queued on a stream runs later: as late as a synchronisation allows, or at random moments before (`eager`). So
work that should have waited for other work, and memory that went back too early, show up as wrong numbers.
"""

import ctypes
import random
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore import reference as ref

CODES = _core.DTYPES
NAMES = {code: name for name, code in CODES.items()}
_ALL = np.iinfo(np.int64).max
_GARBAGE = 0xFF  # NaN, -1
_CHUNK = 7  # columns that are listed together


def numpy_dtype(code: int) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if NAMES[code] == "bfloat16" else NAMES[code])


def at(
    pointer: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None, owner: Any = None
) -> NDArray[Any]:
    """The memory there, as an array that keeps its owner."""
    dtype = np.dtype(dtype)
    if 0 in shape:
        return np.zeros(shape, dtype)
    carrier = np.dtype(f"u{dtype.itemsize}").str
    interface = {"shape": shape, "strides": strides, "typestr": carrier, "data": (pointer, False), "version": 3}
    out: NDArray[Any] = np.asarray(_At(interface, owner)).view(dtype)
    return out


class _At:
    def __init__(self, interface: dict[str, Any], owner: Any) -> None:
        self.__array_interface__, self.owner = interface, owner


class GpuError(RuntimeError):
    pass


class GpuMemoryError(MemoryError):
    pass


# ---- Streams ---------------------------------------------------------------------------------------------------------


class Work(NamedTuple):
    number: int
    after: int  # the number of other work that comes first
    run: Callable[[], object]


class Streams:
    """Queues of work."""

    def __init__(self, seed: int | None = None, at_once: bool = False) -> None:
        self.at_once = at_once
        self.queues: dict[int, list[Work]] = {}
        self.count = 0
        self.done: set[int] = {0}
        self.eager = None if seed is None else random.Random(seed)

    def queue(self, stream: int, run: Callable[[], object], after: int = 0) -> int:
        self.count += 1
        self.queues.setdefault(stream, []).append(Work(self.count, after, run))
        number = self.count
        if self.at_once:
            self.synchronize(stream)
        while self.eager and self.eager.random() < 0.6:
            queue = self.queues[self.eager.choice(list(self.queues))]
            if queue and queue[0].after in self.done:
                self._step(queue)
        return number

    def _step(self, queue: list[Work]) -> None:
        work = queue.pop(0)
        while work.after not in self.done:
            self._step(next(q for q in self.queues.values() if any(w.number == work.after for w in q)))
        work.run()
        self.done.add(work.number)

    def order(self, first: int, then: int) -> None:
        """What is queued on `then` from now on runs after what `first` has now."""
        self.queue(then, lambda: None, after=self.queue(first, lambda: None))

    def synchronize(self, stream: int) -> None:
        queue = self.queues.get(stream, [])
        while queue:
            self._step(queue)

    def synchronize_all(self) -> None:
        for stream in list(self.queues):
            self.synchronize(stream)


# ---- Rows and what is done to them -----------------------------------------------------------------------------------


class Rows:
    def __init__(
        self,
        pointer: int,
        rows: int,
        dim: int,
        row_stride: int,
        col_stride: int,
        dtype: int,
        side: int,
        pick: int = 0,
        count: int = -1,
    ) -> None:
        assert 0 <= side < FakeCuda.SIDES
        self.pointer, self.shape, self.strides = pointer, (rows, dim), (row_stride, col_stride)
        self.dtype, self.side, self.pick = dtype, side, pick
        self.count = count if pick and count >= 0 else rows

    def numbers(self) -> NDArray[np.int64]:
        return at(self.pick, (self.count,), np.int64) if self.pick else np.arange(self.count)

    def values(self) -> NDArray[Any]:
        return at(self.pointer, self.shape, numpy_dtype(self.dtype), self.strides)[self.numbers()]

    def bad(self, cosine: bool) -> NDArray[np.int64]:
        """The kind of each row that is bad, -1 for the others."""
        x = self.values().astype(np.float64)
        kinds = np.full(len(x), -1)
        with np.errstate(all="ignore"):
            squares = (x * x).sum(axis=1)
            kinds[~np.isfinite(squares)] = _core.BAD_RANGE
            kinds[cosine & (squares == 0)] = _core.BAD_RANGE
            kinds[cosine & ~x.any(axis=1)] = _core.BAD_ZERO
            kinds[~np.isfinite(x).all(axis=1)] = _core.BAD_NONFINITE
        return kinds


def _clean(x: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[Any]:
    x = x.copy()
    x[bad] = 1
    return x


def _similarities(a: NDArray[Any], b: NDArray[Any], similarity: str) -> NDArray[np.float64]:
    return ref.similarity_matrix(a, b, similarity) if len(a) and len(b) else np.zeros((len(a), len(b)))


def _counting(
    s: NDArray[np.float64], groups: tuple[Any, Any] | None, differ: bool, owners: tuple[Any, Any] | None
) -> NDArray[np.bool_]:
    counts = np.ones(s.shape, bool)
    if groups is not None:
        equal = np.equal.outer(*groups)
        if differ:
            equal &= (groups[0] >= 0)[:, None]
        counts &= ~equal
    if owners is not None:
        counts &= ~np.equal.outer(*owners)
    return counts


class Columns:
    def __init__(
        self, context: "Context", rows: Rows, similarity: str, precision: str, method: str, keep: bool
    ) -> None:
        assert precision in ("exact", "fp32", "bf16", "fp16")
        assert method in ("auto", "dense", "cascade")
        self.rows, self.similarity, self.precision, self.method = rows, similarity, precision, method
        self.nbytes = 2 * rows.count * rows.shape[1]
        self.chunks = -(-rows.count // _CHUNK)
        gpu = context.gpu
        self._memory = context.allocate(max(1, 8 * rows.count * rows.shape[1]))

        def pack() -> None:
            x, bad = rows.values().astype(np.float64), rows.bad(similarity == "cosine")
            gpu.report(context.device, rows, bad)
            x = _clean(x, bad >= 0)
            x[bad >= 0] = np.nan
            at(self._memory, x.shape, np.float64)[:] = x

        gpu.queue(context, pack)

    def values(self) -> NDArray[np.float64]:
        """The packed rows, bad ones as NaN; to be exact, the rows themselves are read again."""
        packed = at(self._memory, (self.rows.count, self.rows.shape[1]), np.float64)
        return np.where(np.isnan(packed), packed, self.rows.values()) if self.precision == "exact" else packed


class Rules(NamedTuple):
    max_similarity: int = 0
    max_similarity_of_rows: bool = False
    row_groups: int = 0
    col_groups: int = 0
    negative_groups_differ: bool = False
    row_owners: int = 0
    col_owners: int = 0
    kth_value: int = 0
    kth_row: int = 0
    skip_value: int = 0
    skip_row: int = 0


NO_RULES = Rules()


class Context:
    gpu: "FakeCuda"

    def __init__(self, device: int, stream: int, allocate: Callable[[int], int]) -> None:
        self.device, self.stream, self.allocate = device, stream, allocate


class Device(NamedTuple):
    name: str = "fake GPU"
    capability: tuple[int, int] = (9, 0)
    processors: int = 4
    memory: int = 2**30
    arch: str = "sm_90a"


class _Dlpack(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def dlpack_of(capsule: object) -> Any:
    """The struct in a capsule."""
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    address = pointer_of(capsule, b"dltensor")
    assert address is not None
    return _Dlpack.from_address(address)


def capsule_of(array: NDArray[Any], device: int) -> object:
    """A capsule that says the array is on a GPU."""
    bfloat16 = array.dtype.name == "bfloat16"
    capsule = (array.view(np.int16) if bfloat16 else array).__dlpack__()
    t = dlpack_of(capsule)
    t.device_type, t.device = 2, device
    if bfloat16:
        t.code = _DLPACK_CODES["bfloat"]
    return capsule


_DLPACK_CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4}


class External:
    def __init__(self, capsule: object) -> None:
        t = dlpack_of(capsule)
        self._capsule = capsule
        self.pointer = (t.data or 0) + t.byte_offset
        self.shape = tuple(t.shape[: t.ndim])
        item = t.bits // 8
        strides = [int(np.prod(self.shape[i + 1 :])) for i in range(t.ndim)]
        self.strides = tuple(item * s for s in (t.strides[: t.ndim] if t.strides else strides))
        kinds = {value: kind for kind, value in _DLPACK_CODES.items()}
        self.dtype = CODES.get(f"{kinds.get(t.code)}{t.bits}", -1) if t.lanes == 1 else -1
        self.device = t.device


class FakeCuda:
    """The module; some of its classes know which it is."""

    ARCHS = ("sm_80", "sm_90a")
    SIDES, REFERENCE_SIDE = 12, 11
    EMULATED = True
    GpuError, GpuMemoryError = GpuError, GpuMemoryError
    Rows, External, Rules = Rows, External, Rules

    def __init__(self, n_devices: int = 2, eager: int | None = None, at_once: bool = False) -> None:
        self.devices = [Device() for _ in range(n_devices)]
        self.streams = [Streams(eager, at_once) for _ in range(n_devices)]
        self.words: list[dict[int, tuple[int, int]]] = [{} for _ in range(n_devices)]
        self.published: list[dict[int, tuple[int, int]]] = [{} for _ in range(n_devices)]
        self.captured = False
        self.room = 2**28  # bytes that a device gives
        self.used = 0
        self.free: dict[tuple[int, int, int], list[NDArray[np.uint8]]] = {}
        self.next_stream = 1000
        self.waits = 0
        self.pinned: list[tuple[int, int]] = []
        gpu = self
        self.Context = type("Context", (Context,), {"gpu": gpu})
        self.Columns = Columns

        class Memory:
            def __init__(self, device: int, stream: int, n_bytes: int) -> None:
                if gpu.used + n_bytes > gpu.room:
                    raise GpuMemoryError(f"hnscore wants {n_bytes} bytes of GPU memory")
                gpu.used += n_bytes
                free = gpu.free.setdefault((device, stream, n_bytes), [])
                memory = free.pop() if free else np.full(n_bytes + 64, _GARBAGE, np.uint8)
                self.pointer = memory.ctypes.data + -memory.ctypes.data % 64
                self.device = device

                def give_back() -> None:  # to whoever asks next on the stream, though it may still be in use there
                    gpu.used -= n_bytes
                    gpu.streams[device].queue(stream, lambda: memory.fill(_GARBAGE))
                    free.append(memory)

                weakref.finalize(self, give_back)

        class PinnedMemory:
            def __init__(self, device: int, n_bytes: int) -> None:
                memory = np.full(n_bytes, _GARBAGE, np.uint8)
                self.pointer = memory.ctypes.data
                self._memory = memory
                gpu.pinned.append((self.pointer, self.pointer + n_bytes))

        class CopyStream:
            def __init__(self, device: int) -> None:
                gpu.next_stream += 1
                self.stream, self._streams = gpu.next_stream, gpu.streams[device]

            def wait_for(self, stream: int) -> None:
                self._streams.order(stream, self.stream)

            def make_wait(self, stream: int) -> None:
                self._streams.order(self.stream, stream)

            def synchronize(self) -> None:
                gpu.waits += 1
                self._streams.synchronize(self.stream)

        class Mark:
            def __init__(self, device: int, stream: int) -> None:
                self._passed = False
                gpu.streams[device].queue(stream, lambda: setattr(self, "_passed", True))

            def passed(self) -> bool:
                return self._passed

        self.Memory, self.PinnedMemory, self.CopyStream, self.Mark = Memory, PinnedMemory, CopyStream, Mark

    # -- Devices, streams, memory.

    def device_count(self) -> int:
        return len(self.devices)

    def device(self, index: int) -> Device:
        return self.devices[index]

    def capturing(self, device: int, stream: int) -> bool:
        return self.captured

    def synchronize(self, device: int, stream: int) -> None:
        assert not self.captured
        self.waits += 1
        self.streams[device].synchronize(stream)

    def synchronize_device(self, device: int) -> None:
        self.waits += 1
        self.streams[device].synchronize_all()

    def queue(self, context: Any, run: Callable[[], object]) -> None:
        self.streams[context.device].queue(context.stream, run)

    def copy_to_device(self, device: int, stream: int, to: int, from_: int, n_bytes: int) -> None:
        if not any(start <= from_ < stop for start, stop in self.pinned):  # pageable memory is read at once
            data = bytes(at(from_, (n_bytes,), np.uint8))
            self.streams[device].queue(stream, lambda: ctypes.memmove(to, data, n_bytes))
        else:
            self.streams[device].queue(stream, lambda: ctypes.memmove(to, from_, n_bytes))

    def copy_to_host(self, device: int, stream: int, to: int, from_: int, n_bytes: int) -> None:
        self.streams[device].queue(stream, lambda: ctypes.memmove(to, from_, n_bytes))

    def to_dlpack(self, memory: Any, shape: tuple[int, ...], dtype: int) -> object:
        return capsule_of(at(memory.pointer, shape, numpy_dtype(dtype), owner=memory), memory.device)

    # -- Bad rows.

    def report(self, device: int, rows: Rows, kinds: NDArray[np.int64]) -> None:
        for i in np.flatnonzero(kinds >= 0):
            found = int(rows.numbers()[i]), int(kinds[i])
            self.words[device][rows.side] = min(found, self.words[device].get(rows.side, found))

    def publish(self, device: int, stream: int) -> None:
        def run() -> None:
            for side, found in self.words[device].items():
                self.published[device][side] = min(found, self.published[device].get(side, found))
            self.words[device].clear()

        self.streams[device].queue(stream, run)

    def bad_rows(self, device: int) -> list[tuple[int, int, int]]:
        out = [(side, *found) for side, found in sorted(self.published[device].items())]
        self.published[device] = {}
        return out

    # -- Kernels.

    def copy_rows(
        self, context: Any, rows: Rows, out: int, dtype: int = -1, *, finite: bool = False, or_infinity: bool = False
    ) -> None:
        def run() -> None:
            x = rows.values()
            if finite:
                bad = ~np.isfinite(x) & ~(np.isposinf(x) & or_infinity)
                self.report(context.device, rows, np.where(bad.any(axis=1), _core.BAD_NONFINITE, -1))
            code = rows.dtype if dtype < 0 else dtype
            at(out, x.shape, numpy_dtype(code))[:] = x.astype(numpy_dtype(code), copy=False)

        self.queue(context, run)

    def pair_similarity(self, context: Any, a: Rows, b: Rows, similarity: str, out: int) -> None:
        def run() -> None:
            bad = []
            for rows in (a, b):
                bad.append(rows.bad(similarity == "cosine"))
                self.report(context.device, rows, bad[-1])
            wrong = (bad[0] >= 0) | (bad[1] >= 0)
            s = ref.pair_similarity(_clean(a.values(), wrong), _clean(b.values(), wrong), similarity)
            at(out, (b.count,), np.float64)[:] = np.where(wrong, np.nan, s)

        assert a.count == b.count
        self.queue(context, run)

    def thresholds(self, context: Any, reference: int, count: int, margins: Sequence[float], tau: int) -> None:
        def run() -> None:
            r = at(reference, (count,), np.float64)
            good = np.isfinite(r)
            if not good.all():
                self.words[context.device][self.REFERENCE_SIDE] = int(good.argmin()), _core.BAD_NONFINITE
            at(tau, (count,), np.float64)[:] = np.where(good, _core.thresholds(np.where(good, r, 0), margins), np.nan)

        self.queue(context, run)

    def reduce(
        self,
        context: Any,
        rows: Rows,
        columns: Columns,
        recipe: str,
        out: int,
        *,
        tau: int = 0,
        rules: Rules = NO_RULES,
        weight: str = "similarity",
        temperature: float = 1.0,
        k: int = 1,
        divisor: float = 1.0,
        cap: int = 0,
        integer: bool = False,
        choice: int = 0,
        counts: int = 0,
        begins: int = 0,
        lists: int = 0,
    ) -> None:
        n, m = rows.count, columns.rows.count
        top = recipe in ("top_gap", "top_similarity")
        assert top or recipe in (weight, "pairs")
        n_pairs, first_places, found = counts, begins, lists

        def side(pointer: int, length: int, dtype: Any) -> Any:
            return at(pointer, (length,), dtype) if pointer else None

        def list_pairs(counts: NDArray[np.bool_], s: NDArray[np.float64]) -> None:
            of_chunks = [slice(c * _CHUNK, (c + 1) * _CHUNK) for c in range(columns.chunks)]
            if n_pairs:
                at(n_pairs, (len(of_chunks), n), np.int64)[:] = [counts[:, part].sum(axis=1) for part in of_chunks]
                return
            begins = at(first_places, (len(of_chunks), n), np.int64)
            for c, part in enumerate(of_chunks):
                for i in range(n):
                    js = part.start + np.flatnonzero(counts[i, part])[::-1]
                    to = at(found + 16 * int(begins[c, i]), (len(js), 2), np.int64)
                    to[:, 0], to[:, 1] = s[i, js].view(np.int64), js

        def run() -> None:
            bad = rows.bad(columns.similarity == "cosine")
            self.report(context.device, rows, bad)
            x, t = _clean(rows.values(), bad >= 0), columns.values()
            assert not rules.max_similarity_of_rows
            tau_j, limits = side(tau, m, np.float64), side(rules.max_similarity, m, np.float64)
            wrong = any(x is not None and np.isnan(x).any() for x in (t, tau_j, limits))
            scores = at(out, (n,), np.int64 if integer else np.float32) if out else None
            if wrong and scores is not None:
                scores[:] = -1 if integer else np.nan
                return
            s = _similarities(x, t, columns.similarity)
            gap = s - tau_j
            counts = gap > 0
            if limits is not None:
                counts &= s <= limits
            r = rules
            groups = (side(r.row_groups, n, np.int64), side(r.col_groups, m, np.int64)) if r.row_groups else None
            owners = (side(r.row_owners, n, np.int64), side(r.col_owners, m, np.int64)) if r.row_owners else None
            counts &= _counting(s, groups, r.negative_groups_differ, owners)
            if r.kth_value:
                value, row = side(r.kth_value, m, np.float64), side(r.kth_row, m, np.int64)
                counts &= (s > value) | ((s == value) & (np.arange(n)[:, None] <= row))
            if r.skip_value:
                value, row = side(r.skip_value, m, np.float64), side(r.skip_row, m, np.int64)
                counts &= (s < value) | ((s == value) & (np.arange(n)[:, None] > row))
            if recipe == "pairs":
                list_pairs(counts & (bad < 0)[:, None], s)
                return
            with np.errstate(all="ignore"):
                w = np.where(counts, ref.WEIGHTS[weight](gap, s, temperature), 0.0)
                w = ref.within_float32(w, weight)
                sums = ref.AGGREGATES["topk" if top else "sum"](w, counts, k) / divisor
                if cap:
                    sums = np.minimum(sums, cap)
                scores[:] = np.where(bad >= 0, -1 if integer else np.nan, sums)

        self.queue(context, run)

    def top(
        self,
        context: Any,
        rows: Rows,
        pool: Rows,
        similarity: str,
        precision: str,
        k: int,
        *,
        rules: Rules = NO_RULES,
        values: int = 0,
        indices: int = 0,
        kth_value: int = 0,
        kth_row: int = 0,
        rank_weights: int = 0,
        sums: int = 0,
    ) -> None:
        n, m = rows.count, pool.count
        assert 1 <= k <= m
        assert rules.max_similarity_of_rows
        assert (rules.col_owners, rules.kth_value, rules.skip_value) == (0, 0, 0)

        def run() -> None:
            bad, bad_pool = rows.bad(similarity == "cosine"), pool.bad(similarity == "cosine")
            self.report(context.device, rows, bad)
            self.report(context.device, pool, bad_pool)
            s = _similarities(_clean(rows.values(), bad >= 0), _clean(pool.values(), bad_pool >= 0), similarity)
            counts = np.broadcast_to(bad_pool < 0, s.shape).copy()
            r = rules
            if r.max_similarity:
                counts &= s <= at(r.max_similarity, (n,), np.float64)[:, None]
            groups = (at(r.row_groups, (n,), np.int64), at(r.col_groups, (m,), np.int64)) if r.row_groups else None
            owners = (at(r.row_owners, (n,), np.int64), np.arange(m)) if r.row_owners else None
            counts &= _counting(s, groups, r.negative_groups_differ, owners)
            s[~counts] = -np.inf
            order = np.argsort(-s, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(s, order, axis=1)
            order[best == -np.inf] = -1
            best[bad >= 0] = np.nan
            if values:
                at(values, (n, k), np.float64)[:] = best
            if indices:
                at(indices, (n, k), np.int64)[:] = order
            if kth_value:
                at(kth_value, (n,), np.float64)[:] = best[:, -1]
            if kth_row:
                at(kth_row, (n,), np.int64)[:] = np.where(order[:, -1] < 0, _ALL, order[:, -1])
            if sums:
                at(sums, (n,), np.float64)[:] = best @ at(rank_weights, (k,), np.float64)

        self.queue(context, run)
