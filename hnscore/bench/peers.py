"""What people use instead of hnscore, each at the best settings that we know.

Every peer gets what helps it: unit vectors (hnscore normalises inside its time), inputs already in its number type,
an index that is already filled, and, but for torch as it is usually written, buffers that were touched before.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hnscore.bench.method import Method, Run
from hnscore.bench.workloads import Array, Workload

if TYPE_CHECKING:
    import torch

_scratch: dict[str, Any] = {}


def _buffer(make: Callable[[int], Any], kind: str, size: int) -> Any:
    """One shared buffer per kind: methods run one after another, and its pages stay touched."""
    if kind not in _scratch or len(_scratch[kind]) < size:
        _scratch[kind] = make(size)
    return _scratch[kind]


def forget_buffers() -> None:
    """So that the next method allocates its own."""
    _scratch.clear()


def _tiles(n_img: int, n_txt: int, rows: int, cols: int) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n_img, rows):
        for j in range(0, n_txt, cols):
            yield slice(i, min(i + rows, n_img)), slice(j, min(j + cols, n_txt))


def torch_products(blocks: list[tuple[int, int]], chunks: list[int]) -> Iterator[Method]:
    for rows in chunks:
        for dtype, short in (("float32", "fp32"), ("bfloat16", "bf16")):
            yield Method(f"torch {short}", f"chunk {rows}", "torch", _tensors(dtype), _torch_plain(rows))
        # set_float32_matmul_precision("medium"): float32 in and out, products in bfloat16 where that is faster
        yield Method("torch fp32 medium", f"chunk {rows}", "torch", _tensors("float32"), _torch_plain(rows, "medium"))
    for rows, cols in blocks:
        setting = _setting(rows, cols)
        yield Method("torch fp32 tuned", setting, "torch", _tensors("float32"), _torch_tuned(rows, cols))
        for low in (False, True):
            gaps = f"{setting}, {'bf16' if low else 'fp32'} gaps"
            yield Method("torch bf16 tuned", gaps, "torch", _tensors("bfloat16"), _torch_tuned(rows, cols, low))


def _setting(rows: int, cols: int) -> str:
    return f"chunk {rows}" if cols <= 16384 else f"chunk {rows} x {cols}"


def _tensors(dtype: str) -> Callable[[Workload], Any]:
    def inputs(w: Workload) -> Any:
        torch = importlib.import_module("torch")
        kind = getattr(torch, dtype)
        return torch.from_numpy(w.img).to(kind), torch.from_numpy(w.txt).to(kind).T, torch.from_numpy(w.tau)

    return inputs


def _torch_plain(rows: int, precision: str = "highest") -> Callable[..., Run]:
    """The chunked product as it is usually written."""

    def build(img: torch.Tensor, txt: torch.Tensor, tau: torch.Tensor, n_threads: int) -> Run:
        import torch

        def run() -> Any:
            torch.set_float32_matmul_precision(precision)
            out = torch.empty(len(img))
            for i in range(0, len(img), rows):
                s = (img[i : i + rows] @ txt).float()
                s -= tau
                s.clamp_(min=0)
                out[i : i + rows] = s.sum(1)
            torch.set_float32_matmul_precision("highest")
            return out.numpy()

        return run

    return build


def _torch_tuned(rows: int, cols: int, low: bool = False) -> Callable[..., Run]:
    """All that we know to help: buffers that stay, the float32 threshold as the C of the product, one pass that widens.

    `low`: bfloat16 gaps, faster and coarser.
    """

    def build(img: torch.Tensor, txt: torch.Tensor, tau: torch.Tensor, n_threads: int) -> Run:
        import torch

        fp32 = img.dtype == torch.float32
        products = _buffer(lambda n: torch.zeros(n, dtype=img.dtype), str(img.dtype), rows * cols)
        gaps = products if fp32 or low else _buffer(torch.zeros, "torch.float32", rows * cols)
        level = tau.to(gaps.dtype)
        out = torch.zeros(len(img))

        def run() -> Any:
            out.zero_()
            for i, j in _tiles(len(img), txt.shape[1], rows, cols):
                n, m = i.stop - i.start, j.stop - j.start
                s, gap = products[: n * m].view(n, m), gaps[: n * m].view(n, m)
                if fp32:
                    torch.addmm(level[j], img[i], txt[:, j], beta=-1, out=s)
                else:
                    torch.mm(img[i], txt[:, j], out=s)
                    torch.sub(s, level[j], out=gap)
                gap.clamp_(min=0)
                out[i] += gap.sum(1, dtype=torch.float32)
            return out.numpy()

        return run

    return build


def numpy_products(blocks: list[tuple[int, int]]) -> Iterator[Method]:
    for rows, cols in blocks:
        inputs: Callable[[Workload], Any] = lambda w: (w.img, w.txt.T, w.tau)  # noqa: E731
        yield Method("NumPy fp32", _setting(rows, cols), "numpy", inputs, _numpy_build(rows, cols))


def _numpy_build(rows: int, cols: int) -> Callable[..., Run]:
    def build(img: Array, txt: Array, tau: Array, n_threads: int) -> Run:
        scratch = _buffer(lambda n: np.zeros(n, np.float32), "numpy", rows * cols)
        out = np.zeros(len(img), np.float32)

        def run() -> NDArray[np.float32]:
            out[:] = 0
            for i, j in _tiles(len(img), txt.shape[1], rows, cols):
                n, m = i.stop - i.start, j.stop - j.start
                s = scratch[: n * m].reshape(n, m)
                np.matmul(img[i], txt[:, j], out=s)
                np.subtract(s, tau[j], out=s)
                np.maximum(s, 0, out=s)
                out[i] += s.sum(axis=1)
            return out

        return run

    return build


def faiss_searches(n_img: int) -> Iterator[Method]:
    for batch in sorted({min(batch, n_img) for batch in (1024, 4096, n_img)}):
        name, setting = "FAISS range_search", f"batch {batch}"
        yield Method(name, setting, "faiss", lambda w: (w.img, w.txt, w.tau), _faiss_range(batch))
    yield Method("FAISS knn k=10", "", "faiss", lambda w: (w.img, w.txt, w.tau), _faiss_knn, weight=None)


def _faiss_index(txt: Array) -> Any:
    index = importlib.import_module("faiss").IndexFlatIP(txt.shape[1])
    index.add(txt)
    return index


def _faiss_range(batch: int) -> Callable[..., Run]:
    def build(img: Array, txt: Array, tau: Array, n_threads: int) -> Run:
        index, threshold = _faiss_index(txt), float(tau[0])

        def run() -> NDArray[np.float64]:
            out = np.empty(len(img))
            for i in range(0, len(img), batch):
                limits, similarities, _ = index.range_search(img[i : i + batch], threshold)
                total = np.concatenate([[0.0], np.cumsum(similarities - np.float32(threshold), dtype=np.float64)])
                out[i : i + batch] = np.diff(total[limits.astype(np.int64)])
            return out

        return run

    return build


def _faiss_knn(img: Array, txt: Array, tau: object, n_threads: int) -> Run:
    index = _faiss_index(txt)
    return lambda: index.search(img, 10)[0]


def _usearch_knn(img: Array, txt: Array, tau: Array, n_threads: int) -> Run:
    index = importlib.import_module("usearch.index")
    k = min(10, len(txt))
    return lambda: index.search(txt, img, k, index.MetricKind.IP, exact=True, threads=n_threads)


def numkong_products(chunks: list[int]) -> Iterator[Method]:
    yield Method("usearch exact k=10", "", "usearch", lambda w: (w.img, w.txt, w.tau), _usearch_knn, weight=None)
    for rows in chunks:
        for dtype, short in (("f32", "fp32"), ("bf16", "bf16")):
            yield Method(f"NumKong {short}", f"chunk {rows}", "numkong", _numkong_inputs(dtype, rows), _numkong_build)


def _numkong_inputs(dtype: str, rows: int) -> Callable[[Workload], Any]:
    def inputs(w: Workload) -> Any:
        kong = importlib.import_module("numkong")
        parts = [kong.astype(w.img[i : i + rows], dtype) for i in range(0, len(w.img), rows)]
        return parts, kong.dots_pack(kong.astype(w.txt, dtype)), w.tau

    return inputs


def _numkong_build(parts: list[Any], txt: object, tau: object, n_threads: int) -> Run:
    """Packed products, chunks shared out to threads, the rest in NumPy."""
    kong = importlib.import_module("numkong")

    def score(part: object) -> NDArray[Any]:
        s = np.asarray(kong.dots_packed(part, txt))
        s -= tau
        np.maximum(s, 0, out=s)
        return np.asarray(s.sum(axis=1))

    def run() -> NDArray[Any]:
        with ThreadPoolExecutor(n_threads) as pool:
            return np.concatenate(list(pool.map(score, parts)))

    return run


def keops_sums() -> Iterator[Method]:
    yield Method("KeOps fp32", "", "pykeops", lambda w: (w.img, w.txt, w.tau), _keops_build, rows=128)


def _keops_build(img: Array, txt: Array, tau: Array, n_threads: int) -> Run:
    os.environ.setdefault("PYKEOPS_VERBOSE", "0")  # read at its import; it would write into the table
    os.environ.setdefault("KEOPS_VERBOSE", "0")
    lazy = importlib.import_module("pykeops.numpy").LazyTensor
    x, t, level = lazy(img[:, None, :]), lazy(txt[None, :, :]), lazy(tau[None, :, None])
    return lambda: ((x | t) - level).relu().sum(axis=1).ravel()
