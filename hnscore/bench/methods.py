"""What is timed: hnscore, and its peers."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import hnscore
from hnscore.bench.method import Method, Run
from hnscore.bench.peers import faiss_searches, keops_sums, numkong_products, numpy_products, torch_products
from hnscore.bench.workloads import MARGIN, TEMPERATURE, Array

if TYPE_CHECKING:
    from hnscore.arguments.options import Precision, Weight


CHUNKS = (256, 1024, 4096)


def methods(n_img: int, n_txt: int, memory: float) -> list[Method]:
    """All of them; several settings of one peer carry one name. Buffers beyond `memory` bytes are left out."""
    chunks = sorted({min(chunk, n_img) for chunk in CHUNKS})
    # A wide matrix may be cut along the texts too; whoever writes chunks does so before memory runs out.
    blocks = [(rows, min(n_txt, 16384)) for rows in chunks] + [(rows, n_txt) for rows in chunks if n_txt > 16384]
    blocks = [(rows, cols) for rows, cols in blocks if 4.0 * rows * cols <= memory]
    chunks = [rows for rows in chunks if 4.0 * rows * n_txt <= memory] or chunks[:1]
    return [
        *_hnscore(),
        *torch_products(blocks, chunks),
        *numpy_products(blocks),
        *faiss_searches(n_img),
        *numkong_products(chunks),
        *keops_sums(),
    ]


def affordable(n_img: int, n_txt: int, only: tuple[str, ...] = ()) -> list[Method]:
    """Those that this machine's memory allows; `only`: whose name holds one of these."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [m for m in methods(n_img, n_txt, memory / 5) if not only or any(name in m.name for name in only)]


def set_threads(n_threads: int) -> None:
    """The same number of threads for every peer that is installed."""
    if find_spec("torch"):
        importlib.import_module("torch").set_num_threads(n_threads)
    if find_spec("faiss"):
        importlib.import_module("faiss").omp_set_num_threads(n_threads)
    if find_spec("threadpoolctl"):
        importlib.import_module("threadpoolctl").threadpool_limits(n_threads)


# ---- hnscore ---------------------------------------------------------------------------------------------------------


def _hnscore() -> Iterator[Method]:
    for weight in ("hinge", "count", "exp"):
        for precision in ("exact", "fp32", "bf16"):
            yield Method(
                f"hnscore {precision} {weight}",
                "",
                "hnscore",
                lambda w: (w.img, w.txt, w.reference),
                _hnscore_build(weight, precision),
                weight,
            )


def _hnscore_build(weight: Weight, precision: Precision) -> Callable[..., Run]:
    def build(img: Array, txt: Array, reference: Array, n_threads: int) -> Run:
        return lambda: hnscore.score(
            img,
            txt,
            MARGIN,
            reference=reference,
            weight=weight,
            precision=precision,
            method="dense",
            temperature=TEMPERATURE if weight == "exp" else None,
            n_threads=n_threads,
        )

    return build


# ---- Chunked matrix products -----------------------------------------------------------------------------------------


# ---- FAISS, usearch, NumKong and KeOps -------------------------------------------------------------------------------
