"""Mining: `mine`, `pairs`, `duplicates` and `nn.TripletLoss` beside what people run today."""

import argparse
import importlib
import multiprocessing
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from comparisons import regimes
from comparisons.selection import _compared as compared
from comparisons.selection import _once as once
from hnscore.bench.measure import Result, anonymous_memory, best, growth_in_child, ratio
from hnscore.bench.method import Method, Run
from hnscore.bench.report import Group, Row, mebibytes, seconds
from hnscore.bench.workloads import Array, Workload, normalise

K, MINED_MARGIN = 10, 0.05
NEAR, COPIES = 0.93, 0.05  # duplicates: from this similarity on; share of the rows that are planted copies
CLUSTERS = 1000
QUERIES = 2000  # of slow peers
LOSS_MARGIN = 0.2
CHUNK = 16384  # queries at a time, as sentence-transformers has it


def mining(args: argparse.Namespace) -> Group:
    data = regimes.flickr8k()
    note = (
        f"Real round of Flickr8k. mine: {K} negatives a text, {MINED_MARGIN} below its own image. Peers get unit "
        "vectors, a filled index and the window that holds the same answer, the largest number of images above the "
        f"ceiling of a text plus {K}; sentence-transformers: its steps (similarity in chunks, topk, masks, topk) in "
        f"torch. pairs: the same pairs from FAISS, range_search with the lowest threshold of a text, then a mask. "
        f"duplicates: s >= {NEAR} among rows of which {COPIES:.0%} are planted copies, float16. TripletLoss: forward "
        "and backward. Peers timed on some of the queries are scaled; "
        "memory: growth of anonymous memory during one call in a fresh child."
    )
    if data is None:
        return Group("Mining", note, [("mining", lambda: [{"task": regimes.NO_FLICKR8K}])])
    sizes = [(20_000, 2_000)] if args.quick else [(200_000, 20_000)]
    n = 50_000 if args.quick else 1_000_000
    batch = 2_048 if args.quick else 16_384

    def part(function: Callable[..., list[Row]], *given: Any) -> Callable[[], list[Row]]:
        return lambda: function(*given, args.threads, args.rounds)

    parts = [
        ("mine flickr", part(_mine, "Flickr8k", _whole)),
        *((f"mine {n_txt} x {n_img}", part(_mine, "resampled", _made(data, n_img, n_txt))) for n_txt, n_img in sizes),
        ("pairs flickr", part(_pairs)),
        (f"duplicates {n}", part(_duplicates, data, n)),
        (f"loss {batch}", part(_loss, batch)),
    ]
    wanted = args.regimes.split(",") if args.regimes else [""]
    return Group("Mining", note, [(name, run) for name, run in parts if any(text in name for text in wanted)])


# ---- Inputs ----------------------------------------------------------------------------------------------------------


def _whole() -> Workload:
    """All images and all texts, each text with its own image."""
    img, txt, owner = regimes.all_of_flickr8k()
    img, txt = _unit(img), _unit(txt)
    return Workload("", img, txt, (img[owner].astype(np.float64) * txt).sum(axis=1))


def _made(data: regimes.Round, n_img: int, n_txt: int) -> Callable[[], Workload]:
    def make() -> Workload:
        made = regimes.resampled(data, n_img, n_txt)
        return Workload("", made.img, made.txt, made.similar)

    return make


def _unit(emb: Array) -> NDArray[np.float32]:
    return normalise(np.array(emb, np.float32))


def _with_copies(data: regimes.Round, n: int) -> NDArray[np.float16]:
    """Captions mixed two by two and blurred, so that few are near each other; then copies of some of them, 0.9 to 1
    similar."""
    rng = np.random.default_rng(7)
    txt = _unit(data.all_txt)
    out = np.empty((n, txt.shape[1]), np.float16)
    for first in range(0, n, 2**16):
        m = min(2**16, n - first)
        mixed = txt[rng.integers(len(txt), size=m)] + txt[rng.integers(len(txt), size=m)]
        mixed += rng.standard_normal(mixed.shape, np.float32) * np.float32(0.7 / np.sqrt(txt.shape[1]))
        out[first : first + m] = normalise(mixed)
    copies = rng.permutation(n)[: int(COPIES * n)]
    noise = rng.standard_normal((len(copies), txt.shape[1]), np.float32) / np.float32(np.sqrt(txt.shape[1]))
    noise *= rng.uniform(0, 0.5, (len(copies), 1)).astype(np.float32)
    out[copies] = normalise(out[rng.integers(n, size=len(copies))].astype(np.float32) + noise)
    return out


# ---- mine ------------------------------------------------------------------------------------------------------------


def _mine(name: str, make: Callable[[], Workload], n_threads: int, rounds: int) -> list[Row]:
    workload = make()
    task = f"mine {K} for {len(workload.txt):,} texts x {len(workload.img):,} images, {name}"
    some = min(len(workload.txt), 4 * QUERIES)
    ceiling = workload.reference[:some] - MINED_MARGIN
    above = max(
        int((workload.txt[a : a + 500] @ workload.img.T > ceiling[a : a + 500, None]).sum(axis=1).max())
        for a in range(0, some, 500)
    )
    window = min(above + K + 1, len(workload.img))
    methods = mine_methods(window, some, some / len(workload.txt))
    results = best(compared(workload, methods, n_threads, rounds))
    return [
        _row(f"{task}, window {window:,}", result, results[0], _same_mined(result, results[0])) for result in results
    ]


def mine_methods(window: int, some: int, share: float) -> Iterator[Method]:
    def ours(img: Any, txt: Any, reference: Any, n_threads: int) -> Run:
        return lambda: hnscore.mine(img, txt, K, reference=reference, margin=MINED_MARGIN, n_threads=n_threads)[1]

    def sides(w: Workload) -> Any:
        return w.img, w.txt, w.reference

    yield Method("hnscore mine", "", "hnscore", sides, ours, weight=None)
    part = f"timed on {some:,} texts"

    def faiss(img: Any, txt: Any, reference: Any, n_threads: int) -> Run:
        index = importlib.import_module("faiss").IndexFlatIP(img.shape[1])
        index.add(img)
        ceiling = (reference - MINED_MARGIN).astype(np.float32)

        def run() -> Any:
            out = []
            for a in range(0, some, 1000):
                b = min(a + 1000, some)
                s, rows = index.search(txt[a:b], window)
                place = np.argsort(s > ceiling[a:b, None], axis=1, kind="stable")[:, :K]
                out.append(np.take_along_axis(rows, place, axis=1))
            return np.concatenate(out)

        return run

    def torch(img: Any, txt: Any, reference: Any, n_threads: int) -> Run:
        torch = importlib.import_module("torch")
        images, texts = torch.from_numpy(img), torch.from_numpy(txt)
        own = torch.from_numpy(reference).float()

        def run() -> Any:
            out = []
            for a in range(0, some, CHUNK):
                b = min(a + CHUNK, some)
                s, rows = torch.topk(texts[a:b] @ images.T, window, dim=1)
                s[s + MINED_MARGIN > own[a:b, None]] = -torch.inf
                out.append(torch.gather(rows, 1, torch.topk(s, K, dim=1).indices))
            return torch.cat(out).numpy()

        return run

    yield Method("FAISS search and mask", part, "faiss", sides, faiss, weight=None, share=share)
    yield Method("sentence-transformers' steps", part, "torch", sides, torch, weight=None, share=share)


def _same_mined(result: Result, ours: Result) -> str:
    if result is ours or result.failure:
        return ""
    want = ours.scores[: len(result.scores)]
    return f"{(np.asarray(result.scores) == want).all(axis=1).mean():.2%} of the rows equal"


# ---- pairs -----------------------------------------------------------------------------------------------------------


def _pairs(n_threads: int, rounds: int) -> list[Row]:
    workload, rows = _whole(), []
    for margin in (0.05, -0.1):
        task = f"pairs of {len(workload.img):,} images x {len(workload.txt):,} texts, Flickr8k, margin {margin}"
        results = best(compared(workload, pair_methods(margin, 4 * QUERIES / len(workload.txt)), n_threads, rounds))
        for result in results:
            check = "" if result.failure else f"{int(result.scores / result.method.share):,} pairs"
            rows.append(_row(task, result, results[0], check))
    return rows


def pair_methods(margin: float, share: float) -> Iterator[Method]:
    """Their scores are the numbers of pairs."""

    def sides(w: Workload) -> Any:
        return w.img, w.txt, w.reference

    def ours(img: Any, txt: Any, reference: Any, n_threads: int) -> Run:
        return lambda: len(hnscore.pairs(img, txt, margin, reference=reference, n_threads=n_threads).indices)

    def faiss(img: Any, txt: Any, reference: Any, n_threads: int) -> Run:
        index = importlib.import_module("faiss").IndexFlatIP(img.shape[1])
        index.add(img)
        some = round(share * len(txt))
        tau = (reference - margin).astype(np.float32)

        def run() -> Any:
            found = 0
            for a in range(0, some, 1000):
                b = min(a + 1000, some)
                lims, s, rows = index.range_search(txt[a:b], float(tau.min()))
                kept = s > np.repeat(tau[a:b], np.diff(lims.astype(np.int64)))
                found += len(rows[kept])
            return found

        return run

    yield Method("hnscore pairs", "", "hnscore", sides, ours, weight=None)
    part = f"timed on {share:.0%} of the texts"
    yield Method("FAISS range_search and mask", part, "faiss", sides, faiss, weight=None, share=share)


# ---- duplicates ------------------------------------------------------------------------------------------------------


def _duplicates(data: regimes.Round, n: int, n_threads: int, rounds: int) -> list[Row]:
    emb = _with_copies(data, n)
    workload = Workload("", emb, emb[:1], np.zeros(1))
    task = f"duplicates among {n:,} x {emb.shape[1]} float16"
    memory = growth_in_child(lambda: lambda: hnscore.duplicates(emb, NEAR, n_threads=n_threads))
    ours, faiss = duplicate_methods(n)
    found = once(ours, workload, n_threads)
    searched = best(compared(workload, [faiss], n_threads, rounds))[0]
    stands = found.scores
    gone = int((stands != np.arange(n)).sum())
    parted, of_all, seconds_ = _parted(emb, n_threads)
    return [
        _row(task, found, found, f"{gone:,} rows go; memory {mebibytes(memory)}; {_subset(emb, stands)}"),
        {"task": task, "method": f"{faiss.name} [{faiss.setting}]", "time": seconds(searched.seconds, searched.median),
         "x": f"{searched.median / found.median:.1f}"},
        {"task": task, "method": f"k-means of {CLUSTERS}, pairs within", "time": f"{seconds_:.0f} s for k-means alone",
         "check": f"{parted:,} of {of_all:,} near pairs lie in two clusters"},
    ]  # fmt: skip


def duplicate_methods(n: int) -> tuple[Method, Method]:
    def ours(emb: Any, n_threads: int) -> Run:
        return lambda: hnscore.duplicates(emb, NEAR, n_threads=n_threads).representatives

    def faiss(emb: Any, n_threads: int) -> Run:
        index = importlib.import_module("faiss").IndexFlatIP(emb.shape[1])
        for first in range(0, len(emb), 2**16):
            index.add(emb[first : first + 2**16].astype(np.float32))
        queries = emb[:QUERIES].astype(np.float32)
        return lambda: len(index.range_search(queries, NEAR)[2])

    part = f"timed on {QUERIES:,} rows"
    return (
        Method("hnscore duplicates", "", "hnscore", lambda w: (w.img,), ours, weight=None),
        Method("FAISS range_search", part, "faiss", lambda w: (w.img,), faiss, weight=None, share=QUERIES / n),
    )


def _subset(emb: Array, stands: NDArray[np.int64]) -> str:
    """What stands for rows of a part, beside all of its similarities in float64."""
    part = emb[: min(len(emb), 20_000)].astype(np.float64)
    part /= np.linalg.norm(part, axis=1, keepdims=True)
    want = np.arange(len(part))
    for first in range(0, len(part), 1000):
        rows, earlier = np.nonzero(part[first : first + 1000] @ part.T >= NEAR)
        for i, j in zip((rows + first).tolist(), earlier.tolist(), strict=True):
            if j < i and want[j] == j and want[i] == i:
                want[i] = j
    same = bool((stands[: len(part)] == want).all())
    return f"the first {len(part):,} {'as' if same else 'NOT as'} in float64"


def _parted(emb: Array, n_threads: int) -> tuple[int, int, float]:
    """Near pairs whose rows k-means puts into two clusters, near pairs, and the time of k-means."""
    faiss = importlib.import_module("faiss")
    graph = hnscore.range_graph(emb, NEAR, n_threads=n_threads)
    x = emb.astype(np.float32)
    began = time.perf_counter()
    means = faiss.Kmeans(x.shape[1], CLUSTERS, niter=20, spherical=True, seed=1, max_points_per_centroid=256)
    means.train(x)
    cluster = means.index.search(x, 1)[1][:, 0]
    elapsed = time.perf_counter() - began
    rows = np.repeat(np.arange(len(emb)), np.diff(graph.offsets))
    return int((cluster[rows] != cluster[graph.indices]).sum()) // 2, len(rows) // 2, elapsed


# ---- TripletLoss -----------------------------------------------------------------------------------------------------


def _loss(n: int, n_threads: int, rounds: int) -> list[Row]:
    rows = []
    for noise in (1.5, 2.5, 4.0):  # of the texts: few pairs violate the margin, some, many
        workload = _batch(n, noise)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hnscore.MarginWarning)
            count = hnscore.score(workload.txt, workload.img, LOSS_MARGIN, reference="paired", weight="count").sum()
        task = f"TripletLoss of {n:,} pairs, dim 512, {count / n**2:.2%} violate the margin"
        results = best(compared(workload, loss_methods(), n_threads, rounds))
        with multiprocessing.get_context("spawn").Pool(1) as child:
            memory = child.apply(_growth_of_loss, (n, noise, n_threads))
        for result in results:
            check = "" if result.failure else f"loss {float(result.scores):.6g}"
            check += f"; memory with the gradients {mebibytes(memory)}" if result is results[0] else ""
            rows.append(_row(task, result, results[0], check))
    return rows


def _batch(n: int, noise: float) -> Workload:
    rng = np.random.default_rng(0)
    img = rng.standard_normal((n, 512), np.float32)
    return Workload("", img, img + np.float32(noise) * rng.standard_normal(img.shape, np.float32), np.zeros(n))


def _growth_of_loss(n: int, noise: float, n_threads: int) -> int:
    """Of the anonymous memory of a fresh process during a call, in bytes; a small call has been made before."""
    peak = 0
    for size in (256, n):
        run = loss_method().build(*loss_method().inputs(_batch(size, noise)), n_threads)
        before, done = anonymous_memory("self"), threading.Event()
        seen = [before]

        def watch(done: threading.Event = done, seen: list[int] = seen) -> None:
            while not done.wait(0.001):
                seen.append(anonymous_memory("self"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        run()
        done.set()
        watcher.join()
        peak = max(seen) - before
    return peak


def _tensors(w: Workload) -> Any:
    torch = importlib.import_module("torch")
    return tuple(torch.from_numpy(x).requires_grad_() for x in (w.img, w.txt))


def loss_method() -> Method:
    def ours(img: Any, txt: Any, n_threads: int) -> Run:
        loss = importlib.import_module("hnscore.nn").TripletLoss(LOSS_MARGIN, n_threads=n_threads)

        def run() -> Any:
            img.grad = txt.grad = None
            value = loss(img, txt)
            value.backward()
            return value.item()

        return run

    return Method("hnscore.nn.TripletLoss", "", "torch", _tensors, ours, weight=None)


def loss_methods() -> Iterator[Method]:
    yield loss_method()

    def torch(img: Any, txt: Any, n_threads: int) -> Run:
        """In chunks, each with its own backward pass, so that no chunk's matrix stays."""
        torch = importlib.import_module("torch")
        normalize = torch.nn.functional.normalize
        step = min(1024, len(img))

        def run() -> Any:
            img.grad = txt.grad = None
            sides = normalize(img, dim=1), normalize(txt, dim=1)
            x, t = (side.detach().requires_grad_() for side in sides)
            value = 0.0
            for a in range(0, len(img), step):
                own, s = (x * t).sum(dim=1), x[a : a + step] @ t.T
                same = torch.zeros(s.shape, dtype=torch.bool)
                same[torch.arange(len(s)), torch.arange(a, a + len(s))] = True
                loss = (LOSS_MARGIN + s - own).clamp(min=0).masked_fill(same, 0).sum()
                loss = loss + (LOSS_MARGIN + s - own[a : a + step, None]).clamp(min=0).masked_fill(same, 0).sum()
                loss.backward()
                value += loss.item()
            torch.autograd.backward(sides, (x.grad, t.grad))
            return value

        return run

    yield Method("torch, chunks of 1,024", "", "torch", _tensors, torch, weight=None)


# ---- Rows ------------------------------------------------------------------------------------------------------------


def _row(task: str, result: Result, ours: Result, check: str = "") -> Row:
    setting = f" [{result.method.setting}]" if result.method.setting else ""
    row = {"task": task, "method": f"{result.method.name}{setting}"}
    if result.failure:
        return row | {"time": result.failure}
    factor = "1.00" if result is ours else f"{ratio(result, ours):.2f}"
    return row | {"time": seconds(result.seconds, result.median), "x": factor, "check": check}
