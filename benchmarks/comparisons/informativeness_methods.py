"""Informativeness of pairs of Gaussians by hnscore and by torch, chunked to little memory."""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.bench.method import Method, Run
from hnscore.bench.workloads import Workload, normalise

N_SAMPLES = 7
SCALE = SHIFT = 15.0
CHUNKS = (64, 256, 1024)  # pairs at a time; 1024 of dim 512 with 7 draws are a buffer of 14 MiB for each side

Pairs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def pairs(n: int, dim: int) -> Pairs:
    """Unit vectors, those of a pair at distances of 0 to 2, with variances as trained encoders give them."""
    rng = np.random.default_rng(0)
    img = normalise(rng.standard_normal((n, dim), np.float32))
    txt = rng.standard_normal((n, dim), np.float32)
    txt *= rng.random((n, 1), np.float32) * np.float32(2 / dim**0.5)
    txt = normalise(txt + img)
    img_var, txt_var = (np.exp(rng.standard_normal((n, dim), np.float32) - 8) for _ in range(2))
    return img, img_var, txt, txt_var


def methods(given: Pairs) -> tuple[list[Method], list[Method]]:
    """Ours, and the settings of the peer; they return the match probabilities."""
    ours = [
        Method(f"hnscore {match}", "", "hnscore", lambda w: _head(given, w), _hnscore_build(match), weight=None)
        for match in ("sampled", "closed_form")
    ]
    peers = [
        Method(
            "torch sampled",
            f"{distance}, chunk {chunk}" + (", a generator for each thread" if every_thread else ""),
            "torch",
            lambda w: _tensors(_head(given, w)),
            _torch_build(distance, chunk, every_thread),
            weight=None,
        )
        for distance, every_thread, chunk in product(_DISTANCES, (False, True), CHUNKS)
    ]
    return ours, peers


def _head(given: Pairs, workload: Workload) -> Any:
    return tuple(array[: len(workload.img)] for array in given)


def _hnscore_build(match: str) -> Callable[..., Run]:
    def build(*given_and_threads: Any) -> Run:
        *given, n_threads = given_and_threads
        options: dict[str, Any] = {"n_samples": N_SAMPLES, "scale": SCALE, "shift": SHIFT, "n_threads": n_threads}
        return lambda: hnscore.informativeness(*given, match=match, **options).match_probability

    return build


# ---- torch -----------------------------------------------------------------------------------------------------------


def _tensors(given: Any) -> Any:
    torch = importlib.import_module("torch")
    return tuple(torch.from_numpy(array) for array in given)


def _cdist(mode: str) -> Callable[[Any, Any], Any]:
    def apart(img: Any, txt: Any) -> Any:
        return importlib.import_module("torch").cdist(img, txt, compute_mode=f"{mode}_mm_for_euclid_dist")

    return apart


def _differences(img: Any, txt: Any) -> Any:
    stack = importlib.import_module("torch").stack
    return stack([(img[:, s, None] - txt).norm(dim=2) for s in range(N_SAMPLES)], 1)


_DISTANCES = {"cdist": _cdist("donot_use"), "products": _cdist("use"), "differences": _differences}


def _torch_build(distance: str, chunk: int, every_thread: bool) -> Callable[..., Run]:
    """`chunk` pairs at a time in buffers that are reused.

    torch fills a tensor with normals on one thread. With `every_thread` so many Python threads, each with its own
    generator, take turns at the chunks.
    """

    def build(img_mean: Any, img_var: Any, txt_mean: Any, txt_var: Any, n_threads: int) -> Run:
        torch = importlib.import_module("torch")
        n, dim = img_mean.shape
        workers = n_threads if every_thread else 1
        intra, inter, match = (torch.empty(n) for _ in range(3))

        def work(worker: int) -> None:
            generator = torch.Generator().manual_seed(worker)
            noise = torch.empty(chunk, N_SAMPLES, dim)
            img, txt = torch.empty_like(noise), torch.empty_like(noise)
            with torch.inference_mode():
                for start in range(worker * chunk, n, workers * chunk):
                    rows = slice(start, min(start + chunk, n))
                    m, v, mt, vt = img_mean[rows], img_var[rows], txt_mean[rows], txt_var[rows]
                    spread, txt_spread, size = v.sqrt(), vt.sqrt(), len(m)
                    for mean, deviation, draws in ((m, spread, img[:size]), (mt, txt_spread, txt[:size])):
                        normals = noise[:size].normal_(generator=generator)
                        torch.addcmul(mean[:, None], deviation[:, None], normals, out=draws)
                    apart = _DISTANCES[distance](img[:size], txt[:size])
                    match[rows] = torch.sigmoid(2 * (SHIFT - SCALE * apart)).mean(dim=(1, 2))
                    intra[rows] = (v.mean(dim=1).clamp_min(1e-12).log() + vt.mean(dim=1).clamp_min(1e-12).log()) / 2
                    inter[rows] = ((m - mt).square().sum(1) + (spread - txt_spread).square().sum(1)).sqrt()

        def run() -> Any:
            if every_thread:
                torch.set_num_threads(1)
                with ThreadPoolExecutor(workers) as pool:
                    list(pool.map(work, range(workers)))
                torch.set_num_threads(n_threads)
            else:
                work(0)
            total = _standardised(intra) + _standardised(_standardised(inter) + _standardised(1 - match))
            assert len(total) == n
            return match.numpy()

        return run

    return build


def _standardised(x: Any) -> Any:
    return (x - x.mean()) / x.std(correction=0).clamp_min(1e-12)
