"""The demo's picture: one SVG file with the thumbnails inside it, written without a drawing library."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hnscore.demo.svg import GAP, LINE, OWN, PAGE, TRACK, opening, text, thumbnail, wrap


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


class Picks(NamedTuple):
    """Pool images to annotate next."""

    title: str
    explanation: str
    names: Sequence[str]
    thumbnails: Sequence[bytes]


WIDTH, EDGE = 1060, 32
HEADER, ROW, FOOTER = 172, 124, 10
CARD_LEFT, CARD_WIDTH, CARD_GAP, CARD_HEIGHT = 330, 226, 10, 104
BAR_WIDTH, BAR_HEIGHT = CARD_WIDTH - 24, 6


def draw(rows: Sequence[Row], picks: Picks, title: str, explanation: str, margin: float) -> str:
    """The whole sheet as SVG text, the picks below the rows."""
    height = HEADER + ROW * (len(rows) + 1) + FOOTER
    parts = [
        *opening(WIDTH, height, title, PAGE),
        text(EDGE, 42, title, "title"),
        *(text(EDGE, 68 + 19 * i, line, "line") for i, line in enumerate(wrap(explanation, 140, 3))),
        *_legend(margin),
    ]
    for number, row in enumerate(rows):
        parts += _row(row, HEADER + number * ROW, margin)
    parts += _picks(picks, HEADER + len(rows) * ROW)
    return "\n".join([*parts, "</svg>\n"])


def _legend(margin: float) -> Iterator[str]:
    y = HEADER - 20
    yield text(EDGE, y, "image without a text, and its rank", "small")
    yield text(CARD_LEFT, y, "texts it is mistaken for, with their own images", "small")
    x = CARD_LEFT + 310
    for colour, width, label in (
        (OWN, 2, "own image"),
        (TRACK, 14, f"threshold: own less {margin:g}"),
        (GAP, 14, "gap beyond it"),
    ):
        yield f'<rect x="{x}" y="{y - 9}" width="{width}" height="10" fill="{colour}"/>'
        yield text(x + width + 6, y, label, "small")
        x += width + 24 + 7 * len(label)  # 7 is as wide as a character of the widest of the fonts


def _line_above(y: int) -> str:
    return f'<line x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y - 10}" y2="{y - 10}" stroke="{LINE}"/>'


def _picks(picks: Picks, y: int) -> Iterator[str]:
    yield _line_above(y)
    yield text(EDGE, y + 30, picks.title, "name")
    for i, line in enumerate(wrap(picks.explanation, 38, 4)):
        yield text(EDGE, y + 50 + 17 * i, line, "line")
    step = (WIDTH - EDGE - CARD_LEFT) // len(picks.names)
    for i, (name, png) in enumerate(zip(picks.names, picks.thumbnails, strict=True)):
        x = CARD_LEFT + i * step
        yield thumbnail(png, x, y + 2, 80, name)
        yield text(x, y + 98, wrap(name, 20, 1)[0], "small")


def _row(row: Row, y: int, margin: float) -> Iterator[str]:
    yield _line_above(y)
    yield thumbnail(row.thumbnail, EDGE, y + 2, 100, row.name)
    x = EDGE + 120
    name = wrap(row.name, 20, 2)
    top = y + 33 - 9 * (len(name) - 1)
    yield text(x, top - 2, f"#{row.rank}", "small")
    for i, line in enumerate(name):
        yield text(x, top + 19 + 18 * i, line, "name")
    below = top + 19 + 18 * len(name)
    yield text(x, below + 2, f"score {row.score:.2f}", "line")
    yield text(x, below + 20, f"hard negative of {row.n_texts} text{'s' * (row.n_texts != 1)}", "small")
    for i, mistake in enumerate(row.mistakes):
        yield from _card(mistake, CARD_LEFT + i * (CARD_WIDTH + CARD_GAP), y, margin)


def _card(mistake: Mistake, x: int, y: int, margin: float) -> Iterator[str]:
    yield (f'<rect x="{x}" y="{y}" width="{CARD_WIDTH}" height="{CARD_HEIGHT}" rx="8" fill="#ffffff" stroke="{LINE}"/>')
    yield thumbnail(mistake.thumbnail, x + 10, y + 10, 48, f"the own image of: {mistake.caption}")
    lines = wrap(mistake.caption, 21, 3)
    for i, line in enumerate(lines):
        yield text(x + 68, y + 39 - 8 * (len(lines) - 1) + 16 * i, line, "line")

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
    yield text(left, bar + 23, numbers, "small")
