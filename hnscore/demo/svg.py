"""What the demo's pictures share: colours, fonts, and the few SVG elements they are made of."""

import base64
import textwrap
from html import escape

# Only colours that also tell apart without hue. Pictures paint their own page, because the viewer's may be dark.
INK, FAINT, LINE, PAGE, GAP, OWN, TRACK = "#1f2937", "#6b7280", "#e2e5ea", "#f7f8fa", "#e4572e", "#1f6feb", "#c9ced6"
STYLE = f"""
text {{ font-family: -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: {INK} }}
.title {{ font-size: 22px; font-weight: 600 }}
.name {{ font-size: 15px; font-weight: 600 }}
.line {{ font-size: 13px }}
.small {{ font-size: 11px; fill: {FAINT} }}
"""


def opening(width: int, height: int, title: str, background: str) -> list[str]:
    """The parts that every picture begins with; ``</svg>`` ends it."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="{background}"/>',
    ]


def thumbnail(png: bytes, x: float, y: float, size: int, label: str, radius: int = 8, border: int = 4) -> str:
    """White behind, because the thumbnails are on white and the page is not."""
    data = base64.b64encode(png).decode()
    inner = size - 2 * border
    return (
        f'<rect x="{x}" y="{y}" width="{size}" height="{size}" rx="{radius}" fill="#ffffff" stroke="{LINE}"/>'
        f'<image x="{x + border}" y="{y + border}" width="{inner}" height="{inner}" '
        f'href="data:image/png;base64,{data}"><title>{escape(label)}</title></image>'
    )


def text(x: float, y: float, content: str, style: str) -> str:
    """One line of text, from x on, with its baseline at y."""
    return f'<text x="{x}" y="{y}" class="{style}">{escape(content)}</text>'


def wrap(content: str, width: int, lines: int) -> list[str]:
    """At most so many lines of at most `width` characters."""
    return textwrap.wrap(content, width, max_lines=lines, placeholder="…")
