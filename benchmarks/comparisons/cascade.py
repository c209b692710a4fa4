"""The cascade beside the dense path and torch: where few pairs count, where many do, and as pool and texts grow."""

import argparse
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import hnscore
from comparisons import regimes
from comparisons.elsewhere import elsewhere
from comparisons.regimes import Regime, Round
from hnscore import _core, demo
from hnscore.bench.measure import PAUSE, Result, best, compare, ratio
from hnscore.bench.method import PEER, Method, Run
from hnscore.bench.methods import affordable
from hnscore.bench.report import Group, Row, milliseconds, say
from hnscore.bench.workloads import MARGIN
from hnscore.engine.cpu import Cpu, Floats
from hnscore.engine.cpu_texts import HostTexts
from hnscore.engine.host import HostRows
from hnscore.engine.pool import choose
from hnscore.scores.rule import Rule, settings_of
from hnscore.scores.scorer import _CHUNKS

Options = dict[str, Any]

TORCH_ROWS = 20_000  # of a larger pool torch is timed on so many
TWO: list[Options] = [{"weight": "hinge"}, {"weight": "count"}]
ALL: list[Options] = [
    *TWO,
    {"weight": "squared_hinge"},
    {"weight": "similarity"},
    {"weight": "exp", "temperature": 0.1},
    {"weight": "hinge", "aggregate": "max"},
    {"weight": "hinge", "aggregate": "topk", "k": 5},
]


@dataclass(frozen=True)
class Part:
    """One regime at one margin, and what is computed of it; `rounds`: no more than so many."""

    regime: str
    make: Callable[[], Regime | None]
    margin: float
    weights: list[Options]
    rounds: int = 100
    torch: bool = True

    @property
    def key(self) -> str:
        return f"cascade {self.regime} margin {self.margin:g}"


def cascade(args: argparse.Namespace) -> Group:
    note = (
        "Whole calls of `hnscore.score` on arrays by each method, in ms: median of interleaved rounds (fastest to "
        f"slowest). Before each call multiply-adds on all threads for {PAUSE} s: threads that the call before left "
        "spinning stop, and no core of a virtual machine falls asleep, which would cost milliseconds. Scorer: its "
        f"second chunk, all images, after one of 1/{_CHUNKS} of them. "
        f"{PEER}: the chunked product as it is usually written, the best of its chunks; the hinge sum, whatever the "
        f"weight; of more than {TORCH_ROWS} images as many are timed. Resampled pools: one round of the largest, two "
        "of the others. x: how many times faster, the median of the ratios within each round. Arithmetic: "
        "multiply-adds of any precision, relative to dense. Counts: whether those of all methods are equal."
    )
    parts = _parts(args.quick)
    if args.regimes:
        names = args.regimes.split(",")
        parts = [part for part in parts if any(name in part.key for name in names)]
        if not parts:
            raise ValueError(
                f"--regimes {args.regimes}: no part has it; there are {[p.key for p in _parts(args.quick)]}"
            )
    return Group("The cascade", note, [(part.key, _measure(part, args)) for part in parts])


def _parts(quick: bool) -> list[Part]:
    def real(make: Callable[[Round], Regime]) -> Callable[[], Regime | None]:
        def made() -> Regime | None:
            data = regimes.flickr8k()
            return None if data is None else make(data)

        return made

    def resampled(n_img: int, n_txt: int, margin: float, rounds: int) -> Part:
        make = real(lambda data: regimes.resampled(data, n_img, n_txt))
        return Part(f"resampled {n_img} x {n_txt}", make, margin, TWO, rounds)

    own = real(regimes.own_images)
    growing = [resampled(50_000, 5_000, 0.05, 2), resampled(100_000, 10_000, 0.05, 2)]
    growing += [resampled(200_000, 20_000, margin, 1) for margin in (0.2, 0.1, 0.05)]
    return [
        *(Part("Flickr8k", own, margin, ALL if margin == 0.2 else TWO) for margin in (0.2, 0.1, 0.05)),
        Part("Flickr8k hardest paired", real(regimes.hardest_paired), 0.0, TWO),
        Part("Flickr8k pool_max", real(regimes.pool_max), 0.05, TWO, torch=False),
        Part("Flickr8k avx2", own, 0.05, TWO, torch=False),
        Part("emoji", regimes.emoji, demo.MARGIN, TWO),
        Part("normals", regimes.normals, MARGIN, TWO),
        Part("uniform", regimes.uniform, MARGIN, TWO),
        Part("cones", regimes.cones, MARGIN, TWO),
        *([resampled(20_000, 5_000, 0.05, 2)] if quick else growing),
    ]


def _measure(part: Part, args: argparse.Namespace) -> Callable[[], list[Row]]:
    def measure() -> list[Row]:
        if part.regime.endswith("avx2") and os.environ.get("HNSCORE_TARGET") != "avx2":
            if "avx2" not in _core.config()["targets_supported"]:
                return [{"regime": f"{part.regime}: not on this processor"}]
            return elsewhere(args, ["--cascade", "--regimes=avx2"], {"HNSCORE_TARGET": "avx2"})
        say(part.key)
        regime = part.make()
        if regime is None:
            return [{"regime": f"{part.regime}: {regimes.NO_FLICKR8K}"}]
        return rows(part, regime, args.threads, min(args.rounds, part.rounds))

    return measure


def rows(part: Part, regime: Regime, n_threads: int, rounds: int) -> list[Row]:
    """All weights of a part, in the same rounds."""
    some = [method for options in part.weights for method in _methods(regime, part.margin, options)]
    n_img, n_txt, dim = regime.shape
    if part.torch:
        first = TORCH_ROWS if n_img > TORCH_ROWS else None
        peers = [m for m in affordable(n_img, n_txt, (PEER,)) if m.name == PEER]
        some += [replace(m, rows=first, weight=None) for m in peers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hnscore.MarginWarning)
        results = compare(
            regime.workload(part.margin),
            some,
            n_threads,
            rounds,
            with_memory=False,
            say=say,
            pause=lambda: _core.peak(PAUSE, n_threads),
        )
    found = {result.method.name: result for result in best(results)}
    for name, result in found.items():
        if result.failure and name != PEER:
            raise RuntimeError(f"{part.key}: {name}: {result.failure}")
    counts = found["dense count"].scores
    for way in ("cascade", "auto", "Scorer"):
        name = f"{way} count"
        if name in found and not np.array_equal(found[name].scores, counts):
            raise RuntimeError(f"{part.key}: counts of {way} differ from those of dense")
    facts = {
        "regime": part.regime,
        "n_img x n_txt x dim": f"{n_img} x {n_txt} x {dim}",
        "margin": f"{part.margin:g}",
    }
    share = counts.sum() / (n_img * n_txt)
    return [facts | _row(regime, part.margin, options, found, share, n_threads) for options in part.weights]


# ---- What is timed ---------------------------------------------------------------------------------------------------


def _methods(regime: Regime, margin: float, options: Options) -> Iterator[Method]:
    def method(way: str, build: Callable[[int], Run]) -> Method:
        return Method(f"{way} {_label(options)}", "", "hnscore", lambda _: (), build, weight=None)

    def call(way: str) -> Callable[[int], Run]:
        def build(n_threads: int) -> Run:
            given = {"reference": regime.reference, "method": way, "n_threads": n_threads, **options}
            return lambda: hnscore.score(regime.img, regime.txt, margin, **given)

        return build

    def second_chunk(n_threads: int) -> Run:
        scorer = hnscore.Scorer(regime.txt, margin, reference=regime.reference, n_threads=n_threads, **options)
        scorer.score(regime.img[: -(-len(regime.img) // _CHUNKS)])  # from which it plans for the whole pool
        return lambda: scorer.score(regime.img)

    def plan(n_threads: int) -> Run:
        texts, img, tau = _texts(regime, margin, options, n_threads)
        return lambda: _plan(texts, img, tau)

    for way in ("dense", "cascade", "auto"):
        yield method(way, call(way))
    if not isinstance(regime.reference, str):  # rules for the whole pool
        yield method("Scorer", second_chunk)
    yield method("plan", plan)


def _label(options: Options) -> str:
    return " ".join(map(str, options.values()))


def _texts(regime: Regime, margin: float, options: Options, n_threads: int) -> tuple[HostTexts, HostRows, Floats]:
    """Texts before anything is planned, the images, and the thresholds."""
    engine = Cpu(n_threads)
    txt, img = engine.embeddings("txt_emb", regime.txt), engine.embeddings("img_emb", regime.img)
    settings = settings_of(len(regime.txt), Rule(margin=margin, n_threads=n_threads, **options))
    texts = engine.packed(txt, settings.request, None, False)
    return texts, img, engine.thresholds(regime.similar, settings.margins)


def _plan(texts: HostTexts, img: HostRows, tau: Floats) -> _core.Plan:
    return choose(img, texts.txt, texts.request, texts.engine.threads, tau=tau, expected_rows=0)


# ---- What is said of it ----------------------------------------------------------------------------------------------


def _row(
    regime: Regime, margin: float, options: Options, found: dict[str, Result], share: float, n_threads: int
) -> Row:
    label = _label(options)
    ways = {way: found[f"{way} {label}"] for way in ("dense", "cascade", "auto")}
    scorer, torch = found.get(f"Scorer {label}"), found.get(PEER)
    row = {"weight": label, "pairs that count": f"{100 * share:.3g} %"}
    row |= _work(*_texts(regime, margin, options, n_threads))
    row["plan and basis, ms"] = milliseconds(found[f"plan {label}"].seconds)
    row |= {f"{way}, ms": milliseconds(result.seconds) for way, result in ways.items()}
    row["Scorer, ms"] = milliseconds(scorer.seconds) if scorer else "—"
    row[f"{PEER}, ms"] = "—"
    if torch:
        row[f"{PEER}, ms"] = torch.failure or f"{milliseconds(torch.seconds)} [{torch.method.setting}]"
    for way in ("cascade", "auto"):
        row[f"{way} x dense"] = f"{ratio(ways['dense'], ways[way]):.2f}"
        row[f"{way} x torch"] = f"{ratio(torch, ways[way]):.2f}" if torch and torch.seconds else "—"
    n_img, n_txt, _ = regime.shape
    row["auto, ns a pair"] = f"{1e9 * ways['auto'].median / (n_img * n_txt):.3f}"
    return row | {"counts": "equal"}


def _work(texts: HostTexts, img: HostRows, tau: Floats) -> Row:
    """What auto chose, what its passes left, and the multiply-adds of it."""
    plan = _plan(texts, img, tau)
    if not plan.cascade:
        return {"auto": f"dense, {plan.reason}", "first pass leaves": "—", "last pass leaves": "—", "arithmetic": "1"}
    txt, threads = texts.txt, texts.engine.threads
    columns = _core.Columns(txt.array, txt.code, "cosine", "exact", threads, plan=plan)
    told: list[tuple[int, int, int]] = []
    _core.reduce(
        img.array, img.code, columns, texts.request.recipe, threads, tau=tau, survivors=lambda *left: told.append(left),
        **texts.options,
    )  # fmt: skip
    ((pairs, after_first, after_last),) = told
    (n_img, dim), n_txt = img.shape, txt.shape[0]
    first, last = after_first / pairs, after_last / pairs
    work = plan.dims + last * dim
    if plan.refines:
        work += first * dim
    if plan.has_basis:
        work += (n_img + n_txt) * dim * plan.dims / (n_img * n_txt)
    passes = f"cascade, {plan.dims} dims of {'a basis' if plan.has_basis else 'the values'}, {plan.codes}"
    return {
        "auto": f"{passes}, then all dims" if plan.refines else passes,
        "first pass leaves": f"{100 * first:.3g} %",
        "last pass leaves": f"{100 * last:.3g} %",
        "arithmetic": f"{work / dim:.3f}",
    }
