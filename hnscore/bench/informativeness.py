"""Informativeness with sampled match probabilities: hnscore beside torch, chunked to the same memory.

``python -m hnscore.bench.informativeness`` prints one table: times of interleaved rounds, memory, and how far apart the
probabilities are, which for random draws is how far two seeds of one method are.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.bench.measure import growth_in_child
from hnscore.bench.methods import Run, set_threads
from hnscore.bench.report import say

SCALE = SHIFT = 15.0
CHUNKS = (64, 256, 1024)  # pairs at a time; 1024 of dim 512 with 7 draws are two buffers of 14 MiB for each side

Pairs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def pairs(n: int, dim: int) -> Pairs:
    """Unit vectors, those of a pair at distances of 0 to 2, with variances as trained encoders give them."""
    rng = np.random.default_rng(0)
    img = rng.standard_normal((n, dim), np.float32)
    img /= np.linalg.norm(img, axis=1, keepdims=True)
    txt = img + rng.uniform(0, 2, (n, 1)).astype(np.float32) * rng.standard_normal((n, dim), np.float32) / dim**0.5
    txt /= np.linalg.norm(txt, axis=1, keepdims=True)
    img_var, txt_var = (np.exp(rng.standard_normal((n, dim), np.float32) - 8) for _ in range(2))
    return img, img_var, txt, txt_var


def torch_informativeness(
    img_mean: Any,
    img_var: Any,
    txt_mean: Any,
    txt_var: Any,
    *,
    n_samples: int,
    scale: float,
    shift: float,
    chunk: int,
    distance: str,
    workers: int = 1,
) -> tuple[Any, Any, Any, Any]:
    """The same in torch, `chunk` pairs at a time in buffers that are reused.

    `distance`: "cdist", "product" (cdist by a matrix product) or "difference". torch fills a tensor with normals on one
    thread; with `workers` above 1 as many Python threads, each with its own generator, take every so many-th chunk.
    """
    import torch

    n, dim = img_mean.shape
    intra, inter, match = (torch.empty(n) for _ in range(3))

    def work(worker: int) -> None:
        generator = torch.Generator().manual_seed(worker)
        noise = torch.empty(chunk, n_samples, dim)
        img, txt = torch.empty_like(noise), torch.empty_like(noise)
        with torch.inference_mode():
            for start in range(worker * chunk, n, workers * chunk):
                rows = slice(start, min(start + chunk, n))
                m, v, mt, vt = img_mean[rows], img_var[rows], txt_mean[rows], txt_var[rows]
                deviation, txt_deviation = v.sqrt(), vt.sqrt()
                size = len(m)
                for mean, spread, draws in ((m, deviation, img[:size]), (mt, txt_deviation, txt[:size])):
                    torch.addcmul(mean[:, None], spread[:, None], noise[:size].normal_(generator=generator), out=draws)
                if distance == "difference":
                    apart = torch.stack([(img[:size, s, None] - txt[:size]).norm(dim=2) for s in range(n_samples)], 1)
                else:
                    mode = f"{'use' if distance == 'product' else 'donot_use'}_mm_for_euclid_dist"
                    apart = torch.cdist(img[:size], txt[:size], compute_mode=mode)
                match[rows] = torch.sigmoid(2 * (shift - scale * apart)).mean(dim=(1, 2))
                intra[rows] = (v.mean(dim=1).clamp_min(1e-12).log() + vt.mean(dim=1).clamp_min(1e-12).log()) / 2
                inter[rows] = ((m - mt).square().sum(dim=1) + (deviation - txt_deviation).square().sum(dim=1)).sqrt()

    if workers == 1:
        work(0)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))

    def standardised(x: Any) -> Any:
        return (x - x.mean()) / x.std(correction=0).clamp_min(1e-12)

    total = standardised(intra) + standardised(standardised(inter) + standardised(1 - match))
    return total, intra, inter, match


def runs(given: Pairs, n_samples: int, n_threads: int) -> dict[str, Callable[[], Run]]:
    """What is timed, by name: functions that set the threads and return the call."""
    import torch

    def ours(match: str) -> Callable[[], Run]:
        return lambda: (
            lambda: hnscore.informativeness(
                *given, match=match, n_samples=n_samples, scale=SCALE, shift=SHIFT, n_threads=n_threads
            )
        )

    def peer(chunk: int, distance: str, workers: int) -> Callable[[], Run]:
        def prepared() -> Run:
            set_threads(n_threads if workers == 1 else 1)
            tensors = [torch.from_numpy(a) for a in given]
            return lambda: torch_informativeness(
                *tensors, n_samples=n_samples, scale=SCALE, shift=SHIFT, chunk=chunk, distance=distance, workers=workers
            )

        return prepared

    torch_runs = {
        f"torch {distance}, chunks of {chunk}" + (f", {workers} workers" if workers > 1 else ""): peer(
            chunk, distance, workers
        )
        for distance in ("cdist", "product", "difference")
        for workers in sorted({1, n_threads})
        for chunk in CHUNKS
    }
    return {"hnscore sampled": ours("sampled"), "hnscore closed form": ours("closed_form")} | torch_runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--dim", type=int, default=512, help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=7, help="draws of each side (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="for every method (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default: %(default)s)")
    args = parser.parse_args()
    given = pairs(args.pairs, args.dim)
    part: Pairs = tuple(a[: max(1, args.pairs // 40)] for a in given)  # type: ignore[assignment]

    memory = {}  # before this process has started threads, which a forked child would miss
    for name in ("hnscore sampled", "hnscore closed form"):
        memory[name] = growth_in_child(runs(given, args.samples, args.threads)[name])

    # The best settings of torch, with one worker and with several, are found on a part of the pairs.
    trial = {}
    for name, prepare in runs(part, args.samples, args.threads).items():
        run = prepare()
        trial[name] = min(_seconds(run) for _ in range(3))
        say(f"{name}: {trial[name]:.3f} s")
    torch_runs = sorted((name for name in trial if name.startswith("torch")), key=trial.__getitem__)
    peers = [*[n for n in torch_runs if "workers" in n][:1], next(n for n in torch_runs if "workers" not in n)]
    every = runs(given, args.samples, args.threads)
    chosen = {name: every[name] for name in ("hnscore sampled", "hnscore closed form", *peers)}
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for n in range(args.rounds):
        say(f"round {n + 1} of {args.rounds}")
        for name, prepare in chosen.items():
            times[name].append(_seconds(prepare()))

    ours = times["hnscore sampled"]
    print(
        f"{args.pairs} pairs, dim {args.dim}, {args.samples} draws a side, {args.threads} threads, {args.rounds} rounds"
    )
    for name, seconds in times.items():
        ratio = median(theirs / mine for theirs, mine in zip(seconds, ours, strict=True))
        size = memory.get(name)
        grown = "" if size is None else f"  {size / 2**20:.0f} MiB"
        print(f"{name:<48} {median(seconds):8.3f} s ({min(seconds):.3f} to {max(seconds):.3f})  {ratio:6.2f} x{grown}")
    own, other = (chosen["hnscore sampled"]()().match_probability for _ in range(2))
    theirs = chosen[peers[0]]()()[3].numpy()
    for what, values in (("another seed", other), (peers[0], theirs)):
        difference = np.abs(own - values)
        print(f"match probability beside {what}: {difference.mean():.2e} in the mean, {difference.max():.2e} at most")
    return 0


def _seconds(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
