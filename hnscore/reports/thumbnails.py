"""Small pictures, as the text of a data URI."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_SIZE, _QUALITY = 112, 78  # pixels, and of JPEG: about 4 KB
_SMALL = 16_384  # bytes that are taken as they are
_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}

Images = Sequence[Any] | Mapping[int, Any] | Callable[[int], Any] | None


def image_of(images: Images, row: int) -> Any:
    """Of a row; None where there is none."""
    if images is None:
        return None
    if callable(images):
        return images(row)
    if isinstance(images, Mapping):
        return images.get(row)
    return images[row]


def data_uri(image: object) -> str:
    """Of the path of a picture file, its bytes, a PIL image, or an array (height, width, 3) of uint8."""
    if isinstance(image, (str, os.PathLike)):
        with open(image, "rb") as file:
            image = file.read()
    if isinstance(image, bytes):
        kind = next((kind for mark, kind in _KINDS.items() if image.startswith(mark)), None)
        if kind is not None and len(image) <= _SMALL:
            return _uri(kind, image)
    return _uri("jpeg", _shrunk(image))


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _shrunk(image: Any) -> bytes:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images larger than 16 KB are made smaller by Pillow; pip install pillow") from error
    try:
        if isinstance(image, bytes):
            image = Image.open(io.BytesIO(image))
        elif not isinstance(image, Image.Image):
            image = Image.fromarray(image)
    except (OSError, AttributeError, TypeError, ValueError) as error:
        kind = f"{len(image):,} bytes" if isinstance(image, bytes) else type(image).__name__
        raise ValueError(
            f"images must be paths, bytes of picture files, PIL images or uint8 arrays (height, width, 3), got {kind} "
            f"that Pillow cannot read: {error}"
        ) from error
    if image.mode in ("RGBA", "LA", "P"):
        over = Image.new("RGBA", image.size, "white")
        over.alpha_composite(image.convert("RGBA"))
        image = over
    image = image.convert("RGB")
    image.thumbnail((_SIZE, _SIZE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
