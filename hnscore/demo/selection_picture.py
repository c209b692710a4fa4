"""The picture of the selection methods: one map of the pool for each, with its picks as thumbnails."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hnscore.demo.svg import FAINT, GAP, LINE, OWN, opening, text, thumbnail, wrap

Floats = npt.NDArray[np.float64]


class Panel(NamedTuple):
    """What one method chose."""

    method: str
    rule: str
    picks: Sequence[int]  # rows of the map
    score_share: float  # sum of the picks' scores, of the best sum that so many rows have
    mean_cosine: float  # of all pairs of picks
    divided: bool = False  # lines where the axes are 0


COLUMNS, WIDTH, EDGE, SPACE = 3, 1000, 28, 16
PANEL_WIDTH = (WIDTH - 2 * EDGE - (COLUMNS - 1) * SPACE) // COLUMNS
MAP_TOP, MAP_HEIGHT, NUMBERS = 52, 264, 54
PANEL_HEIGHT = MAP_TOP + MAP_HEIGHT + NUMBERS
HEADER, MARGIN = 138, 14  # MARGIN of a map, in which no point lies
THUMBNAIL = 34
BAR_LEFT, BAR_WIDTH, BAR_HEIGHT = 158, 90, 6
LONGEST_COSINE = 0.5  # a bar of full length


def draw(
    panels: Sequence[Panel],
    where: Floats,
    thumbnails: Sequence[bytes],
    names: Sequence[str],
    title: str,
    explanation: str,
) -> str:
    """The whole sheet as SVG text. `where` are the points of the pool in two dimensions, (n, 2)."""
    *points, origin = _on_the_map(np.vstack([where, [0.0, 0.0]]))
    at = np.array(points)
    rows = -(-len(panels) // COLUMNS)
    height = HEADER + rows * (PANEL_HEIGHT + SPACE) + EDGE - SPACE
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in at)
    parts = [
        *opening(WIDTH, height, title, "#ffffff"),
        f'<defs><path id="pool" d="{dots}" stroke="#b8bec8" stroke-width="3" stroke-linecap="round"/></defs>',
        text(EDGE, 42, title, "title"),
        *(text(EDGE, 68 + 19 * i, line, "line") for i, line in enumerate(wrap(explanation, 134, 3))),
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, COLUMNS)
        x, y = EDGE + column * (PANEL_WIDTH + SPACE), HEADER + row * (PANEL_HEIGHT + SPACE)
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel, at, origin, thumbnails, names), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    panel: Panel, at: Floats, origin: Floats, thumbnails: Sequence[bytes], names: Sequence[str]
) -> Iterator[str]:
    yield text(0, 20, panel.method, "name")
    yield text(0, 39, panel.rule, "small")
    yield f'<rect y="{MAP_TOP}" width="{PANEL_WIDTH}" height="{MAP_HEIGHT}" rx="8" fill="none" stroke="{LINE}"/>'
    yield f'<g transform="translate(0 {MAP_TOP})">'
    yield '<use href="#pool"/>'
    if panel.divided:
        x, y = origin
        lines = f"M{x:.1f} 0V{MAP_HEIGHT}M0 {y:.1f}H{PANEL_WIDTH}"
        yield f'<path d="{lines}" stroke="{FAINT}" stroke-dasharray="2 4"/>'
    own = at[list(panel.picks)]
    drawn = _apart(own)
    for (x, y), (to_x, to_y) in zip(own, drawn, strict=True):
        if max(abs(x - to_x), abs(y - to_y)) > THUMBNAIL / 2:
            yield f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{FAINT}"/>'
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{FAINT}"/>'
    for pick, (x, y) in zip(panel.picks, drawn, strict=True):
        corner = round(float(x) - THUMBNAIL / 2, 1), round(float(y) - THUMBNAIL / 2, 1)
        yield thumbnail(thumbnails[pick], *corner, THUMBNAIL, names[pick], radius=6, border=3)
    yield "</g>"
    below = MAP_TOP + MAP_HEIGHT
    for line, (label, length, number, colour) in enumerate((
        ("scores, of the best sum", panel.score_share, f"{panel.score_share:.0%}", OWN),
        ("mean cosine of two picks", panel.mean_cosine / LONGEST_COSINE, f"{panel.mean_cosine:.2f}", GAP),
    )):  # fmt: skip
        y = below + 22 + 20 * line
        yield text(0, y, label, "small")
        for width, fill in ((BAR_WIDTH, LINE), (BAR_WIDTH * min(max(length, 0.0), 1.0), colour)):
            yield f'<rect x="{BAR_LEFT}" y="{y - 7}" width="{width:.1f}" height="{BAR_HEIGHT}" fill="{fill}"/>'
        yield text(BAR_LEFT + BAR_WIDTH + 10, y, number, "line")


def _on_the_map(where: Floats) -> Floats:
    """Both axes in one unit, the points in the middle of the map, y upwards."""
    low, high = where.min(axis=0), where.max(axis=0)
    room = np.array([PANEL_WIDTH, MAP_HEIGHT]) - 2 * MARGIN
    unit = (room / (high - low)).min()
    flat: Floats = (where - (low + high) / 2) * unit * [1, -1] + np.array([PANEL_WIDTH, MAP_HEIGHT]) / 2
    return flat


def _apart(own: Floats) -> Floats:
    """Places for thumbnails at `own`: those that overlap push each other away, within the map."""
    side = THUMBNAIL + 2.0
    at = own.copy()
    least, most = side / 2, np.array([PANEL_WIDTH, MAP_HEIGHT]) - side / 2
    for _ in range(500):
        at = np.clip(at, least, most)
        for i in range(len(at)):
            for j in range(i):
                over = side - np.abs(at[i] - at[j])
                if over.min() > 0:
                    axis = int(over.argmin())
                    push = over[axis] / 2 * (1.0 if at[i, axis] >= at[j, axis] else -1.0)
                    at[i, axis] += push
                    at[j, axis] -= push
    return np.asarray(np.clip(at, least, most), np.float64)
