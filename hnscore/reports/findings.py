"""What a report says, as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.dtypes import as_float64
from hnscore.engine.host import HostRows, evenly_spread, host_rows
from hnscore.figures.maps import Coverage, coverage_curve, principal_axes, stands_for
from hnscore.figures.margins import Closest, MarginCurve, Similarities, margin_curve, similarities
from hnscore.mining.duplicates import duplicates
from hnscore.mining.pairs import DEFAULTS
from hnscore.mining.shortfalls import Shortfalls
from hnscore.scores.score import score
from hnscore.selections.select import select

if TYPE_CHECKING:
    from hnscore.arguments.options import ArrayLike


Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

N_HARDEST, N_MISTAKES, N_CLOSEST, N_GROUPS, N_HUBS = 12, 3, 12, 8, 8
_CANDIDATES = 256  # of the hardest: the top of a ranking alone may be one picture many times
_LARGE = 50_000  # images
_ON_MAP = 4000
_NEAREST = 3  # rows shown beside a pick
_READ_BYTES = 2**26  # rows as float64 at a time


class Mistake(NamedTuple):
    """A text that an image is mistaken for."""

    text: int
    similarity: float
    reference: float


class Hard(NamedTuple):
    image: int
    score: float
    n_texts: int
    mistakes: list[Mistake]


class Pick(NamedTuple):
    image: int
    share: float  # of the pool that no other pick is nearer to
    nearest: list[int]  # other images


class Map(NamedTuple):
    """Places along the two directions of the largest spread."""

    pool: Floats  # a sample, (n, 2)
    picks: Floats
    random: Floats  # as many rows, drawn at random
    share: float  # of the spread


class Bad(NamedTuple):
    """Rows of one side that no cosine is defined for."""

    zero: Rows
    not_finite: Rows

    @property
    def all(self) -> Rows:
        return np.union1d(self.zero, self.not_finite)


class Findings(NamedTuple):
    """Rows are those of the arrays that were given."""

    n_img: int
    n_txt: int
    dim: int
    scores: NDArray[np.float32]
    counts: Rows
    similarities: Similarities
    curve: MarginCurve
    hardest: list[Hard]
    closest: Closest
    duplicates: list[list[int]]  # the largest groups
    n_duplicates: int
    hub_images: list[tuple[int, int]]  # and for how many texts each counts
    hub_texts: list[tuple[int, int]]
    picks: list[Pick]
    coverage: Coverage | None
    map: Map | None


def bad_rows(rows: HostRows) -> Bad:
    """In one pass over them."""
    zero, not_finite = [], []
    step = max(1, _READ_BYTES // (8 * max(rows.shape[1], 1)))
    for start in range(0, rows.shape[0], step):
        x = as_float64(rows.array[start : start + step], rows.code)
        zero.append(start + np.flatnonzero(~x.any(axis=1)))
        not_finite.append(start + np.flatnonzero(~np.isfinite(x).all(axis=1)))
    return Bad(*(np.concatenate([*parts, np.empty(0, np.int64)]) for parts in (zero, not_finite)))


def find(
    img: ArrayLike, txt: ArrayLike, margin: float, rule: dict[str, Any], own: Rows, *, budget: int, prefer: str,
    near: float, work: dict[str, Any],
) -> Findings:  # fmt: skip
    """Of images and texts without bad rows. `own`: equal where texts have one own image. `work`: n_threads,
    show_progress_bar."""
    shortfalls = Shortfalls.of(DEFAULTS | {"img_emb": img, "txt_emb": txt, "n_threads": work["n_threads"]} | rule)
    shared = rule | work | {"reference": shortfalls.reference, "show_progress_bar": bool(work["show_progress_bar"])}
    if shared.pop("paired_emb", None) is not None:
        shared.pop("owner")  # rows of other images, which no pair of the pool is one of
    scores = score(img, txt, margin, **shared)
    counts = score(img, txt, margin, weight="count", **shared)
    looked = margin_curve(shortfalls, margin, N_CLOSEST)
    kept = duplicates(img, near, **work)
    rows = host_rows("img_emb", img)
    picks = np.empty(0, np.int64)
    if budget:
        how: dict[str, Any] = {"prefer": prefer, "embeddings": img} | how_to_select(rows.shape[0]) | work
        picks = select(scores, budget, **how)
    return Findings(
        rows.shape[0], shortfalls.txt.shape[0], rows.shape[1], scores, counts, similarities(shortfalls), looked.curve,
        _hardest(shortfalls, scores, counts, margin, own), looked.closest, *_groups(kept.representatives),
        _largest(counts, N_HUBS), _largest(looked.of_texts, N_HUBS), _picks(rows, picks),
        coverage_curve(rows, picks) if budget else None, _map(rows, picks) if budget else None,
    )  # fmt: skip


def how_to_select(n: int) -> dict[str, int]:
    """What `select` is told beside its defaults: a large pool shall not take minutes, nor a gibibyte."""
    return {"subsample": 2000, "memory_limit": 2**28} if n > _LARGE else {}


def _hardest(shortfalls: Shortfalls, scores: NDArray[Any], counts: Rows, margin: float, own: Rows) -> list[Hard]:
    """Best first, but for images at least half of whose score comes from texts that one before is mistaken for; of the
    texts of one image, only the first is shown."""
    best = np.argsort(-scores, kind="stable")[:_CANDIDATES]
    best = best[counts[best] > 0]
    found: list[Hard] = []
    seen = np.zeros(shortfalls.txt.shape[0], bool)
    for part in shortfalls.some(best).parts(margin) if len(best) else ():
        ends = np.cumsum(part.counts)
        for place, end in enumerate(ends.tolist()):
            if len(found) == N_HARDEST:
                return found
            texts = part.columns[end - part.counts[place] : end]
            s = part.similarities[end - part.counts[place] : end]
            excess = s - (shortfalls.reference[texts] - margin)
            if found and 2 * excess[~seen[texts]].sum() < excess.sum():
                continue
            seen[texts] = True
            image = int(best[part.first + place])
            order = np.argsort(-excess, kind="stable")
            _, first = np.unique(own[texts[order]], return_index=True)
            order = order[np.sort(first)[:N_MISTAKES]]
            mistakes = [Mistake(int(texts[j]), float(s[j]), float(shortfalls.reference[texts[j]])) for j in order]
            found.append(Hard(image, float(scores[image]), int(counts[image]), mistakes))
    return found


def _groups(representatives: Rows) -> tuple[list[list[int]], int]:
    """The largest sets of near-duplicates, and how many rows another stands for."""
    size = np.bincount(representatives)
    largest = np.argsort(-size, kind="stable")[:N_GROUPS]
    groups = [np.flatnonzero(representatives == row).tolist() for row in largest[size[largest] > 1]]
    return groups, len(representatives) - int((size > 0).sum())


def _largest(values: Rows, n: int) -> list[tuple[int, int]]:
    order = np.argsort(-values, kind="stable")[:n]
    return [(int(i), int(values[i])) for i in order if values[i] > 0]


def _picks(rows: HostRows, picks: Rows) -> list[Pick]:
    if not len(picks):
        return []
    looked_at, nearest, s = stands_for(rows, picks)
    found = []
    for place, pick in enumerate(picks.tolist()):
        mine = np.flatnonzero((nearest == place) & (looked_at != pick))
        shown = looked_at[mine[np.argsort(-s[mine], kind="stable")[:_NEAREST]]]
        found.append(Pick(pick, float((nearest == place).mean()), shown.tolist()))
    return found


def _map(rows: HostRows, picks: Rows) -> Map:
    axes = principal_axes(rows)
    n = rows.shape[0]
    drawn = np.random.default_rng(0).choice(n, len(picks), replace=False)
    return Map(
        axes.place(rows, evenly_spread(n, _ON_MAP)), axes.place(rows, picks), axes.place(rows, drawn), axes.share
    )
