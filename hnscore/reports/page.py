"""The page of a report: findings as HTML that needs nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from hnscore.reports import charts
from hnscore.reports.findings import Bad, Findings, how_to_select
from hnscore.reports.thumbnails import data_uri


class Names(NamedTuple):
    """What a reader calls an image and a text, and their pictures; None where there is none."""

    image: Callable[[int], str]
    text: Callable[[int], str]
    picture: Callable[[int], Any]  # of an image of the pool
    own_picture: Callable[[int], Any]  # of the own image of a text


class Settings(NamedTuple):
    title: str
    margin: float
    reference: str  # in words
    rule: Sequence[str]  # further rules, in words
    prefer: str
    near: float
    version: str
    seconds: float
    bad_images: Bad
    bad_texts: Bad


def page(found: Findings, settings: Settings, names: Names) -> str:
    sections = [
        ("margin-section", "What the margin keeps", _margin(found, settings)),
        ("hardest", "The hardest images", _hardest(found, settings, names)),
        ("false", "Pairs that may be no negatives", _closest(found, names)),
        ("picks", "What to annotate next", _picks(found, settings, names)),
        ("rows", "Rows to look at", _rows(found, settings, names)),
        ("how", "How this was made", _how(found, settings)),
    ]
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{title}</h2>{content}</section>'
        for key, title, content in sections
    )
    style, script = (files("hnscore.reports").joinpath(name).read_text("utf-8") for name in ("style.css", "slider.js"))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(settings.title)}</title><style>{style}</style></head><body>'
        f'<a class="skip" href="#margin-section">Skip to the findings</a><main><h1>{escape(settings.title)}</h1>'
        f'{_summary(found, settings)}<nav aria-label="Sections"><ul>{links}</ul></nav>{body}</main>'
        f"<script>{script}</script></body></html>\n"
    )


def _summary(found: Findings, settings: Settings) -> str:
    n, hard = int(found.counts.sum()), int((found.counts > 0).sum())
    facts = {
        "images without a text": f"{found.n_img:,}",
        "texts": f"{found.n_txt:,}",
        "dimensions": f"{found.dim:,}",
        "margin": f"{settings.margin:g}",
        "pairs that count": f"{n:,} ({n / found.curve.n_pairs:.2g})"
        if n == 0
        else f"{n:,} ({_share(n / found.curve.n_pairs)})",
        "images that are a hard negative": f"{hard:,} ({_share(hard / found.n_img)})",
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return (
        "<p>An image is a <em>hard negative</em> of a text when it is more similar to it than the reference of the "
        f"text less the margin. The reference here: {escape(settings.reference)}. An image's score sums by how "
        "much.</p>"
        f'<dl class="facts">{items}</dl>'
    )


def _margin(found: Findings, settings: Settings) -> str:
    curve = found.curve
    at = int(np.abs(curve.margins - settings.margin).argmin())
    data = {
        "margins": [round(float(x), 9) for x in curve.margins], "pairs": curve.pairs.tolist(),
        "images": curve.images.tolist(), "n_pairs": curve.n_pairs, "n_img": curve.n_img,
    }  # fmt: skip
    wide = ""
    if settings.margin > curve.margins[-1]:
        wide = (
            f"<p>The margin in use, {settings.margin:g}, is wider than what the slider shows: a score is then little "
        )
        wide += "more than a mean similarity.</p>"
    rows = []
    for share in (0.0001, 0.001, 0.01):
        if curve.pairs[0] <= share * curve.n_pairs < curve.pairs[-1]:
            widest = np.searchsorted(curve.pairs, share * curve.n_pairs, "right") - 1
            rows.append((_share(share), f"{curve.margins[widest]:.4g}"))
    return (
        "<p>Move the slider: the thresholds move with it. A margin at which 0.1 to 1 % of the pairs count makes scores "
        "that rest on hard negatives; where half of them count, a score is little more than a mean similarity.</p>"
        f"{charts.histogram(found.similarities, settings.margin)}"
        f"{_key(('area', 'track', 'pairs, a sample'), ('line', 'own', 'references'), ('dash', 'gap', 'thresholds'))}"
        f'<script type="application/json" id="curve">{json.dumps(data, separators=(",", ":"))}</script>'
        '<div class="slider"><label for="margin">margin</label>'
        f'<input id="margin" type="range" min="0" max="{len(curve.margins) - 1}" step="1" value="{at}">'
        '<span>margin</span><output id="margin-value" for="margin"></output>'
        '<span>pairs that count</span><output id="pairs-value" for="margin" aria-live="polite"></output>'
        '<span>images in them</span><output id="images-value" for="margin"></output></div>'
        f"{wide}{_table('The widest margin on the slider for a share of the pairs', ('share', 'margin'), rows)}"
    )


def _hardest(found: Findings, settings: Settings, names: Names) -> str:
    if not found.hardest:
        return "<p>No image is a hard negative at this margin.</p>"
    rows = []
    for rank, hard in enumerate(found.hardest, 1):
        cards = "".join(
            f'<li class="card">{_picture(names.own_picture(m.text), f"own image of: {names.text(m.text)}")}<div>'
            f"{escape(names.text(m.text))}<br><small>{m.similarity:.3f}; own image {m.reference:.3f}, threshold "
            f"{m.reference - settings.margin:.3f}</small></div></li>"
            for m in hard.mistakes
        )
        name = names.image(hard.image)
        rows.append(
            f'<div class="row"><div>{_picture(names.picture(hard.image), name)}</div><div>'
            f'<h3>{rank}. {escape(name)}</h3><p class="faint">score {hard.score:.4g}, hard negative of '
            f"{hard.n_texts:,} texts; those it is mistaken for most, with their own images:</p>"
            f'<ul class="cards">{cards}</ul></div></div>'
        )
    note = "By score, best first; an image that is mistaken mostly for the texts of one above is passed over."
    return f"<p>{note}</p>{''.join(rows)}"


def _closest(found: Findings, names: Names) -> str:
    cards = []
    for image, text, short in zip(*(x.tolist() for x in found.closest), strict=True):
        side = (
            f"{-short:.3f} closer than the text's own image" if short < 0 else f"{short:.3f} below the text's own image"
        )
        cards.append(
            f'<li class="card">{_picture(names.picture(image), names.image(image))}<div>{escape(names.text(text))}<br>'
            f"<small>{escape(names.image(image))}: {side}</small></div></li>"
        )
    if not cards:
        return "<p>None is near its reference.</p>"
    return (
        "<p>The pairs nearest to their reference, or beyond it. Many of them may be right: a text that describes the "
        f'image as well. <code>max_similarity=</code> leaves such pairs out.</p><ul class="cards">{"".join(cards)}</ul>'
    )


def _picks(found: Findings, settings: Settings, names: Names) -> str:
    if found.map is None or found.coverage is None:
        return "<p>No budget was given.</p>"
    how = "".join(f", {name}={value}" for name, value in how_to_select(found.n_img).items())
    rows = []
    for number, pick in enumerate(found.picks, 1):
        near = "".join(_picture(names.picture(i), names.image(i)) for i in pick.nearest)
        rows.append(
            f'<li class="card">{_picture(names.picture(pick.image), names.image(pick.image))}<div><strong>{number}. '
            f"{escape(names.image(pick.image))}</strong><br><small>nearest pick of {_share(pick.share)} of the pool"
            f'{", such as:" if near else ""}</small><div class="strip">{near}</div></div></li>'
        )
    return (
        f"<p>{len(found.picks)} picks that cover the pool, by <code>hnscore.select(scores, {len(found.picks)}, "
        f'prefer="{escape(settings.prefer)}", embeddings=...{how})</code>, beside as many random images.</p>'
        f"{charts.selection_map(found.map)}"
        f"{_key(('disc', 'track', 'the pool'), ('disc', 'pick', 'picks'), ('ring', 'faint', 'random images'))}"
        f"<p>Along the two directions of the largest spread, which hold {found.map.share:.0%} of it: what looks near "
        f"need not be.</p>{charts.coverage(found.coverage)}"
        f"{_key(('line', 'pick', 'picks'), ('line', 'faint', 'random images, five draws and their range'))}"
        f'<ul class="cards">{"".join(rows)}</ul>'
    )


def _rows(found: Findings, settings: Settings, names: Names) -> str:
    bad = [
        (f"{side} that {what}", f"{len(rows):,}", _some(rows.tolist()))
        for side, each in (("images", settings.bad_images), ("texts", settings.bad_texts))
        for what, rows in (("are all zeros", each.zero), ("hold NaN or Inf", each.not_finite))
    ]
    bad.append(
        (f"images of which another is a near-duplicate (cosine from {settings.near:g})", f"{found.n_duplicates:,}", "")
    )
    parts = [_table("Left out, or counted more than once", ("rows", "number", "which"), bad)]
    if found.duplicates:
        strips = "".join(
            f'<li><div class="strip">{"".join(_picture(names.picture(i), names.image(i)) for i in rows[:6])}'
            f"</div><small>{len(rows):,} images: {escape(', '.join(map(names.image, rows[:6])))}</small></li>"
            for rows in found.duplicates
        )
        parts.append(f"<h3>The largest groups of near-duplicates</h3><ul>{strips}</ul>")
    parts.append(_table(
        "Images that are a hard negative of the most texts", ("image", "texts", "share of all"),
        [(names.image(i), f"{n:,}", _share(n / found.n_txt)) for i, n in found.hub_images],
    ))  # fmt: skip
    parts.append(_table(
        "Texts that the most images are a hard negative of", ("text", "images", "share of all"),
        [(names.text(j), f"{n:,}", _share(n / found.n_img)) for j, n in found.hub_texts],
    ))  # fmt: skip
    return "".join(parts)


def _how(found: Findings, settings: Settings) -> str:
    rules = "".join(f"<li>{escape(rule)}</li>" for rule in settings.rule)
    return (
        f"<p>hnscore {escape(settings.version)}, {settings.seconds:.1f} s. Scores, counts, the curve of the margin, "
        "near-duplicates and the pairs shown are of all images and texts, the counts exact. The histogram is of "
        f"{len(found.similarities.pairs):,} pairs of images and texts that are evenly spread; the map, the coverage "
        f"and the shares of the picks are of evenly spread images, at most 4,000, 10,000 and 20,000.</p>"
        f"{f'<p>Rules:</p><ul>{rules}</ul>' if rules else ''}"
    )


# ---- Elements --------------------------------------------------------------------------------------------------------


def _picture(image: object, label: str) -> str:
    if image is None:
        return f'<div class="none" aria-hidden="true">{escape(label[:24])}</div>'
    return f'<img src="{data_uri(image)}" alt="{escape(label, quote=True)}" title="{escape(label, quote=True)}">'


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(
        "<tr>" + "".join(f'<td class="{"n" if 0 < i < 3 and _is_number(x) else ""}">{escape(x)}</td>'
                         for i, x in enumerate(row)) + "</tr>" for row in rows
    )  # fmt: skip
    if not cells:
        return ""
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}">'
        f"<h3>{escape(caption)}</h3><table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table></div>"
    )


def _is_number(text: str) -> bool:
    return text.lstrip("-")[:1].isdigit()


def _key(*entries: tuple[str, str, str]) -> str:
    """What the colours of a chart are."""
    shapes = {
        "area": '<rect width="14" height="12" fill="{}"/>',
        "line": '<line x1="0" x2="14" y1="6" y2="6" stroke="{}" stroke-width="3"/>',
        "dash": '<line x1="0" x2="14" y1="6" y2="6" stroke="{}" stroke-width="3" stroke-dasharray="5 3"/>',
        "disc": '<circle cx="7" cy="6" r="5" fill="{}"/>',
        "ring": '<circle cx="7" cy="6" r="5" fill="none" stroke="{}" stroke-width="1.5"/>',
    }
    items = "".join(
        '<li><svg width="14" height="12" aria-hidden="true">'
        f"{shapes[shape].format(f'var(--{colour})')}</svg>{label}</li>"
        for shape, colour, label in entries
    )
    return f'<ul class="key">{items}</ul>'


def _share(x: float) -> str:
    digits = "0" if x == 0 else f"{100 * x:.2g}" if x < 0.1 else f"{100 * x:.0f}"
    return f"{digits}\N{NO-BREAK SPACE}%"


def _some(rows: list[int]) -> str:
    return ", ".join(map(str, rows[:12])) + (", ..." if len(rows) > 12 else "")
