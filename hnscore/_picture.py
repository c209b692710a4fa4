"""The demo's picture: one SVG file with the thumbnails inside it, written without a drawing library."""

import base64
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple


class Mistake(NamedTuple):
    """A text for which a pool image is a hard negative."""

    caption: str
    similarity: float  # of the pool image and the text
    own_similarity: float  # of the text's own image and the text: the reference
    thumbnail: bytes  # PNG of the text's own image


class Row(NamedTuple):
    """A pool image and the texts it is mistaken for, the largest gap first."""

    rank: int
    name: str
    score: float
    n_texts: int
    thumbnail: bytes
    mistakes: Sequence[Mistake]


WIDTH, EDGE = 1060, 32
HEADER, ROW, FOOTER = 172, 124, 10
CARD_LEFT, CARD_WIDTH, CARD_GAP, CARD_HEIGHT = 330, 226, 10, 104
BAR_WIDTH, BAR_HEIGHT = CARD_WIDTH - 24, 6
# A page of its own colour, because the viewer's may be dark; only colours that also tell apart without hue.
INK, FAINT, LINE, PAGE, GAP, OWN, TRACK = "#1f2937", "#6b7280", "#e2e5ea", "#f7f8fa", "#e4572e", "#1f6feb", "#c9ced6"
STYLE = f"""
text {{ font-family: -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: {INK} }}
.title {{ font-size: 22px; font-weight: 600 }}
.name {{ font-size: 15px; font-weight: 600 }}
.line {{ font-size: 13px }}
.small {{ font-size: 11px; fill: {FAINT} }}
"""


def draw(rows: Sequence[Row], title: str, explanation: str, margin: float) -> str:
    """The whole sheet as SVG text."""
    height = HEADER + ROW * len(rows) + FOOTER
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="{PAGE}"/>',
        _text(EDGE, 42, title, "title"),
        *(_text(EDGE, 68 + 19 * i, line, "line") for i, line in enumerate(_wrap(explanation, 140, 3))),
        *_legend(margin),
    ]
    for number, row in enumerate(rows):
        parts += _row(row, HEADER + number * ROW, margin)
    return "\n".join([*parts, "</svg>\n"])


def _legend(margin: float) -> Iterator[str]:
    y = HEADER - 20
    yield _text(EDGE, y, "image without a text, and its rank", "small")
    yield _text(CARD_LEFT, y, "texts it is mistaken for, with their own images", "small")
    x = CARD_LEFT + 310
    for colour, width, label in (
        (OWN, 2, "own image"),
        (TRACK, 14, f"threshold: own less {margin:g}"),
        (GAP, 14, "gap beyond it"),
    ):
        yield f'<rect x="{x}" y="{y - 9}" width="{width}" height="10" fill="{colour}"/>'
        yield _text(x + width + 6, y, label, "small")
        x += width + 24 + 7 * len(label)  # 7 is as wide as a character of the widest of the fonts


def _row(row: Row, y: int, margin: float) -> Iterator[str]:
    yield f'<line x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y - 10}" y2="{y - 10}" stroke="{LINE}"/>'
    yield _image(row.thumbnail, EDGE, y + 2, 100, row.name)
    x = EDGE + 120
    name = _wrap(row.name, 20, 2)
    top = y + 33 - 9 * (len(name) - 1)
    yield _text(x, top - 2, f"#{row.rank}", "small")
    for i, line in enumerate(name):
        yield _text(x, top + 19 + 18 * i, line, "name")
    below = top + 19 + 18 * len(name)
    yield _text(x, below + 2, f"score {row.score:.2f}", "line")
    yield _text(x, below + 20, f"hard negative of {row.n_texts} text{'s' * (row.n_texts != 1)}", "small")
    for i, mistake in enumerate(row.mistakes):
        yield from _card(mistake, CARD_LEFT + i * (CARD_WIDTH + CARD_GAP), y, margin)


def _card(mistake: Mistake, x: int, y: int, margin: float) -> Iterator[str]:
    yield (f'<rect x="{x}" y="{y}" width="{CARD_WIDTH}" height="{CARD_HEIGHT}" rx="8" fill="#ffffff" stroke="{LINE}"/>')
    yield _image(mistake.thumbnail, x + 10, y + 10, 48, f"the own image of: {mistake.caption}")
    lines = _wrap(mistake.caption, 21, 3)
    for i, line in enumerate(lines):
        yield _text(x + 68, y + 39 - 8 * (len(lines) - 1) + 16 * i, line, "line")

    threshold = mistake.own_similarity - margin
    left, bar = x + 12, y + 72

    def at(similarity: float) -> float:
        return left + BAR_WIDTH * min(max(similarity, 0.0), 1.0)

    for begin, end, colour in ((0.0, threshold, TRACK), (threshold, mistake.similarity, GAP)):
        yield (
            f'<rect x="{at(begin):.1f}" y="{bar}" width="{at(end) - at(begin):.1f}" height="{BAR_HEIGHT}" '
            f'fill="{colour}"/>'
        )
    yield f'<rect x="{at(mistake.own_similarity) - 1:.1f}" y="{bar - 4}" width="2" height="14" fill="{OWN}"/>'
    numbers = f"similarity {mistake.similarity:.2f} > threshold {threshold:.2f}"
    yield _text(left, bar + 23, numbers, "small")


def _image(png: bytes, x: int, y: int, size: int, label: str) -> str:
    """White behind, because the thumbnails are on white and the page is not."""
    data = base64.b64encode(png).decode()
    return (
        f'<rect x="{x}" y="{y}" width="{size}" height="{size}" rx="8" fill="#ffffff" stroke="{LINE}"/>'
        f'<image x="{x + 4}" y="{y + 4}" width="{size - 8}" height="{size - 8}" href="data:image/png;base64,{data}">'
        f"<title>{escape(label)}</title></image>"
    )


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x}" y="{y}" class="{style}">{escape(text)}</text>'


def _wrap(text: str, width: int, lines: int) -> list[str]:
    return textwrap.wrap(text, width, max_lines=lines, placeholder="…")
