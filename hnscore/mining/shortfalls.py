"""How far below its text's reference a pair lies, r - s: the margin from which on it counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.engine.host import HostRows, evenly_spread
from hnscore.engine.lists import Part, parts
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import Request, Rules
from hnscore.mining.pairs import PairCall

if TYPE_CHECKING:
    from hnscore.engine.protocol import Engine


Floats = NDArray[np.float64]

SAMPLED = 512  # images, and texts
_SAMPLED_TO_COUNT = 2048  # the same, where the whole is counted at what the sample says


class Window(NamedTuple):
    """Pairs that count at one margin and not at a lower one."""

    texts: NDArray[np.int32]
    similarities: Floats

    def margin_of_rank(self, reference: Floats, rank: int) -> float:
        """The largest margin at which at most so many of them count; infinite where there are no more."""
        reference = reference[self.texts]
        shortfalls = reference - self.similarities
        if rank >= len(shortfalls):
            return np.inf
        margin = float(np.partition(shortfalls, rank)[rank])
        # `score` compares with r - margin, which may have been rounded below another pair.
        while (self.similarities > reference - margin).sum() > rank:
            margin = float(np.nextafter(margin, -np.inf))
        return margin


class Shortfalls(NamedTuple):
    """Images and texts, with the rules of `pairs` but for the margin, which every question names."""

    img: HostRows
    txt: HostRows
    reference: Floats
    rules: Rules[Any]
    request: Request
    engine: Engine[Any, Any, Any]
    show_progress_bar: bool

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Shortfalls:
        call = PairCall(arguments | {"margin": 0.0, "relative_margin": 0.0, "dtype": "float64"}, quiet=True)
        texts: Any = call.texts
        return cls(
            call.img, texts.txt, texts.tau, call.rules, texts.settings.request, call.engine, call.rule.show_progress_bar
        )  # fmt: skip

    @property
    def n_pairs(self) -> int:
        """With those that the rules leave out."""
        return self.img.shape[0] * self.txt.shape[0]

    def counted(self, margin: float) -> int:
        """How many pairs count."""
        tau = self.reference - margin
        return int(self._packed(tau).counts(self.engine, self.img, tau, self.rules).sum())

    def between(self, low: float, high: float) -> Window | None:
        """The pairs that count at `high` and not at `low`; None where they are too many to be listed."""
        rules = self.rules
        if low > -np.inf:
            below = self.reference - low
            most = below if rules.max_similarity is None else np.minimum(below, rules.max_similarity)
            rules = rules._replace(max_similarity=most)
        found, n = [Window(np.empty(0, np.int32), np.empty(0))], 0
        for part in self.parts(high, rules):
            found.append(Window(part.columns, part.similarities))
            n += len(part.columns)
            if n > _LISTED:
                return None
        return Window(*(np.concatenate(each) for each in zip(*found, strict=True)))

    def some(self, rows: NDArray[np.int64], columns: NDArray[np.int64] | None = None) -> Shortfalls:
        """Of some images, and of some or all texts."""
        columns = np.arange(self.txt.shape[0]) if columns is None else columns
        taken: dict[str, Any] = {}
        for name, x in self.rules._asdict().items():
            if isinstance(x, np.ndarray):
                taken[name] = x[rows if name.startswith("row") else columns]
        return self._replace(
            img=_taken(self.img, rows), txt=_taken(self.txt, columns), reference=self.reference[columns],
            rules=self.rules._replace(**taken) if taken else self.rules, show_progress_bar=False,
        )  # fmt: skip

    def sample(self, most: int = SAMPLED) -> Floats:
        """Of at most so many images, evenly spread, with as many texts; infinite where a rule leaves the pair out."""
        some = self.some(evenly_spread(self.img.shape[0], most), evenly_spread(self.txt.shape[0], most))
        shortfalls = np.full((some.img.shape[0], some.txt.shape[0]), np.inf)
        for part in some.parts(_EVERY):
            shortfalls[part.rows, part.columns] = some.reference[part.columns] - part.similarities
        return shortfalls

    def sampled_texts(self) -> NDArray[np.int64]:
        """The rows of the texts of `sample`."""
        return evenly_spread(self.txt.shape[0], SAMPLED)

    def parts(self, margin: float, rules: Rules[Any] | None = None) -> Iterator[Part]:
        """The pairs that count, with float64 similarities; `rules` instead of the call's."""
        (n_img, n_txt), tau = (self.img.shape[0], self.txt.shape[0]), self.reference - margin
        bar = rows_bar(self.show_progress_bar, "pairs", n_img)
        rules = self.rules if rules is None else rules
        find = self._packed(tau).lists(self.engine, self.img, tau, rules, np.float64, bar)
        yield from parts(find, n_img, n_txt)
        if bar is not None:
            bar(1.0)

    def _packed(self, tau: Floats) -> Any:
        n_img = self.img.shape[0]
        packed = self.engine.packed(self.txt, self.request, n_img, False)
        packed.prepare(self.img, n_img, tau, self.rules)
        return packed


_EVERY = 1e300  # a margin at which every pair counts


def _taken(rows: HostRows, wanted: NDArray[np.int64]) -> HostRows:
    array = rows.array[wanted]
    return HostRows(rows.name, array, rows.code, array.shape, wanted)


def margin_of_rank(shortfalls: Shortfalls, rank: int) -> float:
    """The largest margin at which at most so many pairs count; infinite where there are no more pairs.

    A sample has one margin just below the one that is sought, and one above it. The whole is counted at the lower one,
    and the pairs between the two, which are few, are listed. Where the sample was wrong, counts go on from there.
    """
    low, n_low, high, n_high = -np.inf, 0, _EVERY, shortfalls.n_pairs
    for below, above in _brackets(shortfalls, rank / n_high) if n_high > _LISTED else ():
        n = shortfalls.counted(below)
        if n > rank:
            high, n_high = below, n
            continue
        low, n_low = below, n
        found = shortfalls.between(low, above)
        if found is not None and n_low + len(found.texts) > rank:
            return found.margin_of_rank(shortfalls.reference, rank - n_low)
        break
    if n_high - n_low > _LISTED and high == _EVERY:
        n_high = shortfalls.counted(high)
        if n_high <= rank:
            return np.inf
    while n_high - n_low > _LISTED:
        margin = _between(low, n_low, high, n_high, rank)
        if not low < margin < high:
            return low  # so many pairs at one shortfall
        n = shortfalls.counted(margin)
        if n > rank:
            high, n_high = margin, n
        else:
            low, n_low = margin, n
    left = shortfalls.between(low, high)
    assert left is not None, "they have been counted"
    return left.margin_of_rank(shortfalls.reference, rank - n_low)


_LISTED = 2**24  # pairs at a time: 200 MiB, and as much again while the rank is found among them


def _brackets(shortfalls: Shortfalls, share: float) -> Iterator[tuple[float, float]]:
    """Margins below and above the one of a share, by a sample, each pair wider than the one before."""
    sample = shortfalls.sample(_SAMPLED_TO_COUNT)
    at = np.quantile(sample, share, method="lower")
    if not np.isfinite(at):
        return
    # Pairs of one image or text have much in common: the error of the share is that of means over images and texts.
    counts = sample < at
    error = sum(float(counts.mean(axis=axis).std() / np.sqrt(counts.shape[1 - axis])) for axis in (0, 1))
    error = max(error, 1 / sample.size)
    for width in (3, 9, 27):
        ends = (max(share - width * error, 0.0), min(share + width * error, 1.0))
        below, above = (float(np.quantile(sample, end, method="lower")) for end in ends)
        if below < above:
            yield below, min(above, _EVERY)


def _between(low: float, n_low: int, high: float, n_high: int, rank: int) -> float:
    """Where the rank would be if the pairs were spread evenly; of an end that is not known, far from the other."""
    if low == -np.inf:
        return high - 2 * max(abs(high), 1.0) if high < _EVERY else 0.0
    if high >= _EVERY:
        return low + 2 * max(abs(low), 1.0)
    part = (rank - n_low) / (n_high - n_low)
    return low + (high - low) * min(max(part, 0.05), 0.95)
