"""Features of images and texts, which text belongs to which image, and the parts of a data set."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tasks import Array, Rows

PARTS = ("train", "dev", "test")


@dataclass
class FeatureSet:
    """A folder of image_features.npy, text_features.npy, owner.npy and captions.json; README.md has the layout."""

    img: Array
    """(n_img, d), standardised by the train part."""
    txt: NDArray[Any]
    """(n_txt, e), likewise."""
    owner: Rows
    """(n_txt,) the image of each text."""
    images: dict[str, Rows]
    """The images of each part that have a text."""
    texts: dict[str, Rows]
    """The texts of each part."""
    captions: list[str]
    """(n_txt,) empty where the folder has none."""


def normalized(emb: NDArray[Any]) -> Array:
    """Rows of norm 1."""
    return np.asarray(emb / np.maximum(np.linalg.norm(emb, axis=1, keepdims=True), 1e-12), np.float32)


def find(name: str) -> Path:
    """The folder of a data set: a name under HNSCORE_DATA, or else a path."""
    of_data = Path(os.environ.get("HNSCORE_DATA", ".")) / name
    folder = of_data if of_data.is_dir() else Path(name)
    if not folder.is_dir():
        raise SystemExit(
            f"data must be a folder or the name of one in HNSCORE_DATA, which is "
            f"{os.environ.get('HNSCORE_DATA', 'not set')}; got {name!r}, and there is no {of_data}; "
            "set HNSCORE_DATA, or lay the data out as benchmarks/active_learning/README.md says"
        )
    return folder


def load(name: str) -> FeatureSet:
    folder = find(name)
    missing = [f for f in ("image_features.npy", "text_features.npy", "owner.npy", "captions.json")
               if not (folder / f).is_file()]  # fmt: skip
    if missing:
        raise SystemExit(f"{folder} must hold {', '.join(missing)}; README.md beside this program has the layout")
    img, txt = _numbers(folder / "image_features.npy"), _numbers(folder / "text_features.npy")
    owner = _array(folder / "owner.npy")
    try:
        about = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
        part, captions = np.asarray(list(about["part"]), dtype=str), about.get("captions")
    except (ValueError, KeyError, TypeError):
        raise SystemExit(f'{folder}/captions.json must be JSON with "part", one of {", ".join(PARTS)} an image, and '
                         'optionally "captions", a list of texts an image') from None  # fmt: skip
    if len(part) != len(img) or len(owner) != len(txt):
        raise SystemExit(
            f"{folder}: part and image_features must have one entry an image, owner and text_features one a text; got "
            f"{len(part)}, {len(img)}, {len(owner)}, {len(txt)}"
        )
    if captions is not None and not (isinstance(captions, list) and len(captions) == len(img)):
        raise SystemExit(f"{folder}: captions must be a list of one list an image, {len(img)} of them")
    if owner.ndim != 1 or owner.dtype.kind not in "iu":
        raise SystemExit(f"{folder}: owner must be a whole number a text, got {owner.dtype} {owner.shape}")
    if len(owner) and not 0 <= owner.min() <= owner.max() < len(img):
        raise SystemExit(
            f"{folder}: owner must hold rows of image_features, 0 to {len(img) - 1}, got {owner.min()} to {owner.max()}"
        )
    owner = owner.astype(np.int64)
    texts = {p: np.flatnonzero(part[owner] == p) for p in PARTS}
    if empty := [p for p in PARTS if not len(texts[p])]:
        raise SystemExit(f"{folder}: every part needs images with texts, {', '.join(empty)} has none")
    images = {p: np.unique(owner[texts[p]]) for p in PARTS}
    return FeatureSet(
        _standardised(img, images["train"]), _standardised(txt, texts["train"]), owner, images, texts,
        _flat_captions(captions, owner),
    )  # fmt: skip


def _array(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path))
    except (ValueError, EOFError) as error:
        raise SystemExit(f"{path} must be an array of NumPy's, without pickled objects: {error}") from None


def _numbers(path: Path) -> Array:
    x = _array(path)
    if x.ndim != 2 or x.dtype.kind not in "fiu" or not np.isfinite(x).all():
        raise SystemExit(f"{path} must be a matrix of finite numbers, one row each, got {x.dtype} {x.shape}; "
                         "look for NaN and Inf")  # fmt: skip
    return np.asarray(x, np.float32)


def _standardised(x: Array, rows: Rows) -> Array:
    mean, deviation = x[rows].mean(axis=0), x[rows].std(axis=0)
    return np.asarray((x - mean) / np.maximum(deviation, 1e-6), np.float32)


def _flat_captions(captions: list[list[str]] | None, owner: Rows) -> list[str]:
    """captions[i] are those of image i, in the order of their rows."""
    flat = [""] * len(owner)
    if captions is not None:
        following = [iter(c) for c in captions]
        for j, i in enumerate(owner):
            flat[j] = next(following[i], "")
    return flat
