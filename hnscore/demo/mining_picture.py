"""The picture of what each rule of mining keeps: the images nearest to one caption, rule after rule."""

from collections.abc import Sequence
from typing import NamedTuple

from hnscore.demo.svg import FAINT, GAP, LINE, OWN, opening, text, thumbnail, wrap

WIDTH, EDGE = 1000, 28
SIZE, STEP = 44, 52
HEADER, ROW = 128, 128


class Image(NamedTuple):
    """One of the images nearest to the caption."""

    thumbnail: bytes
    name: str
    similarity: float
    own: bool  # of the caption


class Rule(NamedTuple):
    """What one rule keeps."""

    name: str
    words: str
    kept: Sequence[int]  # places in the row of images
    window: int | None = None  # places that it looks at


def draw(images: Sequence[Image], ceiling: int, rules: Sequence[Rule], title: str, explanation: str) -> str:
    """The whole sheet as SVG text. `ceiling`: the first place whose similarity is allowed."""
    height = HEADER + len(rules) * ROW + EDGE - 12
    parts = [
        *opening(WIDTH, height, title, "#ffffff"),
        text(EDGE, 42, title, "title"),
        *(text(EDGE, 66 + 19 * i, line, "line") for i, line in enumerate(wrap(explanation, 134, 3))),
    ]
    for number, rule in enumerate(rules):
        y = HEADER + number * ROW
        parts += [f'<g transform="translate({EDGE} {y})">', *_row(images, ceiling, rule), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _row(images: Sequence[Image], ceiling: int, rule: Rule) -> list[str]:
    parts = [text(0, 14, rule.name, "name"), text(0, 32, rule.words, "small")]
    top = 42
    for place, image in enumerate(images):
        x, kept = place * STEP, place in rule.kept
        seen = rule.window is None or place < rule.window
        parts.append(f'<g opacity="{1 if kept or image.own else 0.45 if seen else 0.15}">')
        parts.append(thumbnail(image.thumbnail, x, top, SIZE, image.name, radius=6, border=4))
        if kept or image.own:
            colour = OWN if image.own else GAP if place < ceiling else "#2e7d4f"
            parts.append(
                f'<rect x="{x}" y="{top}" width="{SIZE}" height="{SIZE}" rx="6" fill="none" stroke="{colour}" '
                'stroke-width="3"/>'
            )
        words = "own" if image.own else f"{image.similarity:.2f}"
        parts += [text(x + 10, top + SIZE + 15, words, "small"), "</g>"]
    line = ceiling * STEP - (STEP - SIZE) / 2
    parts.append(f'<path d="M{line:.0f} {top - 4}V{top + SIZE + 20}" stroke="{FAINT}" stroke-dasharray="3 3"/>')
    if rule.window is not None:
        line = rule.window * STEP - (STEP - SIZE) / 2
        parts.append(f'<path d="M{line:.0f} {top - 4}V{top + SIZE + 20}" stroke="{LINE}" stroke-width="3"/>')
    return parts
