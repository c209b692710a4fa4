"""The charts of a report: SVG whose colours are those of the page, light or dark."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from hnscore.figures.maps import Coverage
from hnscore.figures.margins import Similarities
from hnscore.reports.findings import Map

Floats = NDArray[np.float64]

WIDTH, HEIGHT, _MAP_HEIGHT = 720, 260, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 26, 34
_BINS = 120


class Frame:
    """Places of numbers in a chart, its axes and what is drawn between them."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: int = HEIGHT) -> None:
        self.x, self.y, self.height = x, y, height
        self.parts: list[str] = []

    def at_x(self, value: Floats | float) -> Floats:
        return np.asarray(_LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - _LEFT - _RIGHT))

    def at_y(self, value: Floats | float) -> Floats:
        share = (value - self.y[0]) / (self.y[1] - self.y[0])
        return np.asarray(self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM))

    def line(self, x: Floats, y: Floats, style: str, closed: bool = False) -> str:
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(self.at_x(x), self.at_y(y), strict=True))
        return f'<{"polygon" if closed else "polyline"} class="{style}" points="{points}"/>'

    def area(self, x: Floats, y: Floats, style: str) -> str:
        return self.line(np.concatenate([x[:1], x, x[-1:]]), np.concatenate([[0], y, [0]]), style, closed=True)

    def svg(self, title: str, description: str, x_label: str, y_label: str, y_ticks: bool = True) -> str:
        parts = [
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" class="chart">',
            f"<title>{escape(title)}</title><desc>{escape(description)}</desc>",
        ]
        bottom = self.height - _BOTTOM
        for tick in _ticks(*self.x, 8):
            x = float(self.at_x(tick))
            parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(tick)}</text>')
        for tick in _ticks(*self.y, 4) if y_ticks else ():
            y = float(self.at_y(tick))
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
        parts += self.parts
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(f'<text x="{WIDTH - _RIGHT}" y="{self.height - 4}" text-anchor="end">{escape(x_label)}</text>')
        parts.append(f'<text x="4" y="14">{escape(y_label)}</text></svg>')
        return "".join(parts)


def histogram(found: Similarities, margin: float) -> str:
    """Similarities of pairs, references and thresholds, each as high as its fullest bin; those that a margin moves are
    in the group "thresholds", whose data-unit says how far one unit of similarity is."""
    values = [found.pairs, found.reference, found.reference - margin]
    low, high = (f(v) for f, v in ((min, [x.min() for x in values if len(x)]), (max, [x.max() for x in values])))
    pad = 0.02 * (high - low) or 0.01
    edges = np.linspace(low - pad, high + pad, _BINS + 1)
    frame = Frame((float(edges[0]), float(edges[-1])), (0.0, 1.08))
    middle = (edges[1:] + edges[:-1]) / 2
    shapes = [np.histogram(x, edges)[0].astype(float) for x in values]
    shapes = [shape / max(shape.max(), 1) for shape in shapes]
    frame.parts += [frame.area(middle, shapes[0], "pairs"), frame.line(middle, shapes[1], "reference")]
    unit = float(frame.at_x(1.0) - frame.at_x(0.0))
    frame.parts.append(
        f'<g id="thresholds" data-unit="{unit:.4f}" data-margin="{margin!r}">'
        f"{frame.line(middle, shapes[2], 'threshold')}</g>"
    )
    typical = float(np.median(found.reference)) if len(found.reference) else 0.0
    above = float((found.pairs > typical - margin).mean()) if len(found.pairs) else 0.0
    return frame.svg(
        "Similarities of images and texts",
        f"Pairs lie between {low:.2f} and {high:.2f}, half of the references above {typical:.2f}; {above:.1%} of the "
        f"pairs are more similar than that reference less the margin of {margin:g}.",
        "similarity", "each as high as its fullest bin", y_ticks=False,
    )  # fmt: skip


def coverage(found: Coverage) -> str:
    everything = np.concatenate([found.picked, found.random_low, found.random_high])
    pad = 0.05 * (everything.max() - everything.min()) or 0.01
    x = found.budget.astype(float)
    frame = Frame((1.0, max(float(x[-1]), 2.0)), (float(everything.min() - pad), float(everything.max() + pad)))
    band = np.concatenate([found.random_low, found.random_high[::-1]])
    frame.parts += [
        frame.line(np.concatenate([x, x[::-1]]), band, "band", closed=True),
        frame.line(x, found.random, "random"),
        frame.line(x, found.picked, "picked"),
    ]
    return frame.svg(
        "How near the pool is to the picks",
        f"After {len(x)} picks an image's nearest pick has a cosine of {found.picked[-1]:.3f} on average; after "
        f"as many random ones {found.random[-1]:.3f}.",
        "picks", "mean cosine with the nearest pick",
    )  # fmt: skip


def selection_map(found: Map) -> str:
    """The pool as dots, random rows as rings, picks as numbered discs."""
    every = np.concatenate([found.pool, found.picks, found.random])
    low, high = every.min(axis=0), every.max(axis=0)
    pad = 0.04 * (high - low) + 1e-9
    frame = Frame(
        (float(low[0] - pad[0]), float(high[0] + pad[0])), (float(low[1] - pad[1]), float(high[1] + pad[1])), 440
    )
    place = [
        np.stack([frame.at_x(x[:, 0]), frame.at_y(x[:, 1])], axis=1) for x in (found.pool, found.random, found.picks)
    ]
    frame.parts.append(f'<path class="dots" d="{"".join(f"M{x:.0f} {y:.0f}h0" for x, y in place[0])}"/>')
    frame.parts += [f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="5"/>' for x, y in place[1]]
    for number, (x, y) in enumerate(place[2], 1):
        frame.parts.append(
            f'<circle class="pick" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
            f'<text class="on-pick" x="{x:.1f}" y="{y + 3.5:.1f}" text-anchor="middle">{number}</text>'
        )
    return frame.svg(
        "The pool, the picks and as many random images",
        f"Along the two directions of the largest spread, which hold {found.share:.0%} of it.",
        "first direction", "second direction", y_ticks=False,
    )  # fmt: skip


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers in a range."""
    step = 10.0 ** np.floor(np.log10((high - low) / about))
    step *= next(x for x in (1, 2, 5, 10) if (high - low) / (x * step) <= about)
    return [float(x) for x in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


def _number(x: float) -> str:
    return f"{round(x, 10) + 0.0:g}"  # not -0
