"""Render emoji to small images and collect their English captions: a real image-text set that may be shipped.

    apt-get install fonts-noto-color-emoji
    pip install numpy pillow emoji
    npm pack emojibase-data
    python benchmarks/emoji/build_images.py --tags emojibase-data-17.0.0.tgz --output DIR

writes DIR/images.npz (images64, keys, thumbnails, thumbnail_ends) and DIR/captions.json (names, captions), which
train_encoder.py reads. Skin tone variants, sequences that the font cannot draw and repeated pictures are left out.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import emoji
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
BITMAP_SIZE = 109  # the one size at which the font holds its bitmaps
CANVAS = 136  # a glyph's advance at that size
SKIN_TONES = frozenset("🏻🏼🏽🏾🏿")
VARIATION_SELECTOR = "\ufe0f"  # present or absent without a change of meaning, so never part of a key


def plain(name: str) -> str:
    """``:1st_place_medal:`` as a person would write it."""
    return name.strip(":").replace("_", " ").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip()


def read_tags(tarball: Path) -> dict[str, str]:
    """For each emoji with tags, its label and the tags as one caption; keys without variation selectors."""
    with tarfile.open(tarball) as archive:
        member = archive.extractfile("package/en/data.json")
        if member is None:
            raise SystemExit(f"{tarball} holds no package/en/data.json; make it with: npm pack emojibase-data")
        entries: list[dict[str, Any]] = json.load(member)
    return {
        entry["emoji"].replace(VARIATION_SELECTOR, ""): f"{entry['label'].lower()}: {', '.join(entry['tags'])}"
        for entry in entries
        if entry.get("tags")
    }


def captions_of(entry: dict[str, Any], tags: str) -> list[str]:
    """The name, the tags and the aliases, each once, in this order."""
    found = [plain(entry["en"]), tags, *map(plain, entry.get("alias", []))]
    return list(dict.fromkeys(caption for caption in found if caption))


def render(key: str, font: ImageFont.FreeTypeFont) -> np.ndarray | None:
    """The emoji on white, (64, 64, 3) uint8; None where the font has no single picture for it."""
    if not 60 <= font.getlength(key) <= 140:  # an unsupported sequence falls apart into several glyphs or into none
        return None
    canvas = Image.new("RGBA", (CANVAS, CANVAS), (255, 255, 255, 255))
    ImageDraw.Draw(canvas).text((0, 0), key, font=font, embedded_color=True)
    pixels = np.asarray(canvas.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS))
    return pixels if pixels.std() >= 1 else None


def thumbnail(pixels: np.ndarray) -> bytes:
    """PNG with a palette: a quarter of the bytes of true colour, and emoji have few colours."""
    file = io.BytesIO()
    Image.fromarray(pixels).quantize(64, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        file, "PNG", optimize=True
    )
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Render emoji and collect their captions.")
    parser.add_argument("--tags", type=Path, required=True, help="the tarball that `npm pack emojibase-data` makes")
    parser.add_argument("--font", default=FONT, help="path of NotoColorEmoji.ttf (default: where Debian installs it)")
    parser.add_argument("--output", type=Path, required=True, help="folder for images.npz and captions.json")
    arguments = parser.parse_args()
    if not features.check("raqm"):
        raise SystemExit("this Pillow lacks libraqm, which joins emoji sequences; Pillow's own wheels have it")

    font = ImageFont.truetype(arguments.font, BITMAP_SIZE)
    tags = read_tags(arguments.tags)
    emoji.config.load_language("en")
    names: list[str] = []
    captions: list[list[str]] = []
    images: list[np.ndarray] = []
    seen: set[bytes] = set()
    for key, entry in emoji.EMOJI_DATA.items():
        if entry["status"] != emoji.STATUS["fully_qualified"] or SKIN_TONES & set(key):
            continue
        pixels = render(key, font)
        if pixels is None or pixels.tobytes() in seen:
            continue
        seen.add(pixels.tobytes())
        names.append(key)
        captions.append(captions_of(entry, tags.get(key.replace(VARIATION_SELECTOR, ""), "")))
        images.append(pixels)

    thumbnails = [thumbnail(pixels) for pixels in images]
    arguments.output.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        arguments.output / "images.npz",
        images64=np.stack(images),
        keys=np.array(names),
        thumbnails=np.frombuffer(b"".join(thumbnails), np.uint8),
        thumbnail_ends=np.cumsum([len(png) for png in thumbnails]),
    )
    text = json.dumps({"names": names, "captions": captions}, ensure_ascii=False)
    (arguments.output / "captions.json").write_text(text, encoding="utf-8")
    print(
        f"{len(names)} images, {sum(map(len, captions))} captions; "
        f"{sum(map(len, thumbnails)) / len(names):.0f} bytes per thumbnail"
    )


if __name__ == "__main__":
    main()
