"""Images of the host, scored on a GPU: copied through pinned buffers while the images before them are scored.

host fills buffer          b | b+1 | b+2 | ...
copy stream of the buffer      | b   | b+1 | ...
the caller's stream                  | b   | b+1 | ...
"""

from __future__ import annotations

import ctypes
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.dtypes import to_native
from hnscore.engine.host import HostRows
from hnscore.engine.memory import reports
from hnscore.engine.memory.device import Space
from hnscore.engine.pool import check_rows
from hnscore.engine.protocol import Progress

if TYPE_CHECKING:
    from hnscore.engine.gpu.texts import DeviceTexts
    from hnscore.engine.memory.device import DeviceArray
    from hnscore.engine.protocol import Rules

# One buffer is filled, one is copied, one is scored.
_BUFFERS = 3
# Large enough that copies run at full speed and scoring fills the device, small enough to be little memory.
_BUFFER_BYTES = 2**26
_LEAST_ROWS = 256
# What one thread copies at a time; and more threads than this do not make memory faster.
_PART_BYTES = 2**22
_MOST_THREADS = 8
_NAMED = 8  # bad rows


def stream(
    space: Space, texts: DeviceTexts, images: HostRows, tau: DeviceArray, rules: Rules[DeviceArray], bar: Progress
) -> NDArray[Any]:
    """The scores of images in host memory, which may be more than the device has memory for. This waits."""
    img, code, call = images.array, images.code, Call(space, texts, tau, rules)
    scores = np.empty(len(img), texts.request.dtype)
    if space.capturing:
        raise ValueError(
            f"img_chunk must be on {space.name} while a CUDA graph is captured, got it in CPU memory; copy it there "
            "before"
        )
    n_rows = min(len(img), max(_LEAST_ROWS, _BUFFER_BYTES // (img.shape[1] * img.itemsize)))
    starts = range(0, len(img), n_rows)
    lanes = [_lane(space, texts) for _ in starts[:_BUFFERS]]
    buffers = [_Buffer(call, lane, img, code, n_rows) for lane in lanes]
    try:
        with ThreadPoolExecutor(min(texts.threads, _MOST_THREADS)) as pool:
            for i, start in enumerate(starts):
                buffer = buffers[i % _BUFFERS]
                buffer.finish(scores)
                if bar is not None:
                    bar(max(0, i - _BUFFERS + 1) * n_rows / len(img))
                buffer.fill(img[start : start + n_rows], start, pool)
                buffer.queue()
        for i in range(len(buffers)):
            buffers[(len(starts) + i) % len(buffers)].finish(scores)
    finally:
        for buffer in buffers:  # nothing may be in use when the memory goes, whatever went wrong
            buffer.copies.synchronize()
        space.gpu.publish(space.device, space.stream)
        space.gpu.synchronize(space.device, space.stream)
    texts.lanes += lanes
    if bar is not None:
        bar(1.0)
    bad = np.flatnonzero(np.isnan(scores) if scores.dtype == np.float32 else scores < 0)[:_NAMED]
    if len(bad):
        check_rows(HostRows(images.name, img[bad], code, img[bad].shape, bad), texts.request.similarity, 1)
        reports.raise_found(space.gpu, space.device)  # or else the texts are bad
    return scores


class Call(NamedTuple):
    space: Space
    texts: DeviceTexts
    tau: DeviceArray
    rules: Rules[DeviceArray]

    def rules_from(self, first: int) -> Rules[DeviceArray]:
        """The rules for images from that one on."""
        groups = self.rules.row_groups
        if groups is None:
            return self.rules
        return self.rules._replace(row_groups=replace(groups, pointer=groups.pointer + 8 * first))


class Lane:
    """A stream for copies, and the pinned memory at their end. Pinning takes long: a Scorer keeps its lanes."""

    def __init__(self, space: Space) -> None:
        self._gpu, self._device = space.gpu, space.device
        self.copies = space.gpu.CopyStream(space.device)
        self._memory, self._n_bytes = None, 0

    def pinned(self, n_bytes: int) -> int:
        if self._n_bytes < n_bytes:
            self._memory = None  # before there is more
            self._memory, self._n_bytes = self._gpu.PinnedMemory(self._device, n_bytes), n_bytes
        assert self._memory is not None
        return int(self._memory.pointer)


def _lane(space: Space, texts: DeviceTexts) -> Lane:
    try:
        return texts.lanes.pop()
    except IndexError:  # none, or another thread took it
        return Lane(space)


class _Buffer:
    """Some rows, in pinned memory and on the device, with their scores."""

    def __init__(self, call: Call, lane: Lane, img: NDArray[Any], code: int, n_rows: int) -> None:
        space = call.space
        self.call, self.space, self.gpu, self.copies = call, space, space.gpu, lane.copies
        like, self.code = to_native(img[:0], code)
        shape = (n_rows, img.shape[1])
        scores_at = -(-n_rows * img.shape[1] * like.itemsize // 64) * 64
        pinned = lane.pinned(scores_at + 8 * n_rows)
        self.rows = _array_at(pinned, shape, like.dtype)
        self.scores = _array_at(pinned + scores_at, (n_rows,), np.dtype(call.texts.request.dtype))
        self.on_device = space.allocate(self.rows.nbytes)
        self.scores_on_device = space.allocate(self.scores.nbytes)
        self.copies.wait_for(space.stream)  # where the memory comes from
        self.start = self.count = 0

    def fill(self, rows: NDArray[Any], start: int, pool: ThreadPoolExecutor) -> None:
        self.start, self.count = start, len(rows)
        step = max(1, _PART_BYTES // (self.rows.itemsize * rows.shape[1]))
        parts = [slice(first, min(first + step, len(rows))) for first in range(0, len(rows), step)]
        list(pool.map(lambda part: np.copyto(self.rows[part], rows[part]), parts))

    def queue(self) -> None:
        """Copy, score, copy back."""
        space, gpu, device = self.space, self.gpu, self.space.device
        n_bytes, item = self.count * self.rows.strides[0], self.scores.itemsize
        gpu.copy_to_device(device, self.copies.stream, self.on_device[0], self.rows.ctypes.data, n_bytes)
        self.copies.make_wait(space.stream)
        images = gpu.Rows(
            self.on_device[0], self.count, self.rows.shape[1], *self.rows.strides, self.code, reports.HOST_CHUNK
        )
        rules = self.call.rules_from(self.start)
        self.call.texts.queue(space, images, self.scores_on_device[0], self.call.tau, rules)
        self.copies.wait_for(space.stream)
        gpu.copy_to_host(
            device, self.copies.stream, self.scores.ctypes.data, self.scores_on_device[0], item * self.count
        )

    def finish(self, scores: NDArray[Any]) -> None:
        """Waits for what is queued and hands on its scores."""
        if self.count:
            self.copies.synchronize()
            scores[self.start : self.start + self.count] = self.scores[: self.count]
            self.count = 0


def _array_at(pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array in memory that somebody else keeps."""
    memory = (ctypes.c_char * (math.prod(shape) * dtype.itemsize)).from_address(pointer)
    array: NDArray[Any] = np.frombuffer(memoryview(memory), dtype)
    return array.reshape(shape)
