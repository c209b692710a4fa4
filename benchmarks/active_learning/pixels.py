"""Image-text retrieval from pixels: small networks on emoji, trained from nothing in every round.

A second family of models: nothing here was learnt on other data, neither the features nor the encoders.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace

import numpy as np
import torch
from config import Arm
from data import FeatureSet, find
from numpy.typing import NDArray
from retrieval import DualEncoder, Retrieval, Schedule
from tasks import Array, Rows
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

SCHEDULE = Schedule(dim=128, epochs=40, least_steps=100, learning_rate=4e-3, weight_decay=1e-3, dropout=0.2)
WIDTHS = (16, 32, 64, 128)
BUCKETS = 8192
N_DEV, N_TEST = 200, 400
VARIANT = re.compile("[\N{ZERO WIDTH JOINER}\N{VARIATION SELECTOR-16}♂♀➡]")


def build(arm: Arm) -> Pixels:
    folder = find(arm.data)
    if missing := [f for f in ("images.npz", "captions.json") if not (folder / f).is_file()]:
        raise SystemExit(f"{folder} must hold {', '.join(missing)}; make them with benchmarks/emoji/build_images.py")
    with np.load(folder / "images.npz") as images:
        pixels = images["images64"]
    about = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    return Pixels(pixels, about["captions"], parts(about["names"]), arm.part, replace(SCHEDULE, **arm.train))


def parts(emoji: list[str]) -> dict[str, Rows]:
    """About 400, 200 and 1286 images. Variants by gender or direction are near-duplicates and stay in one part."""
    plain = [re.sub("[👨👩]", "🧑", VARIANT.sub("", e)) for e in emoji]
    group = np.unique(plain, return_inverse=True)[1]
    size = np.bincount(group)
    order = np.random.default_rng(0).permutation(len(size))
    images_so_far = np.empty(len(size), np.int64)
    images_so_far[order] = size[order].cumsum()
    number = np.digitize(images_so_far, [N_TEST, N_TEST + N_DEV], right=True)[group]
    return {part: np.flatnonzero(number == n) for n, part in enumerate(("test", "dev", "train"))}


class Pixels(Retrieval):
    """An item is an image, annotated with its captions."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        captions: list[list[str]],
        images: dict[str, Rows],
        part: str,
        schedule: Schedule = SCHEDULE,
    ) -> None:
        flat = [c for own in captions for c in own]
        owner = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
        small = avg_pool2d(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, 2)
        texts = {p: np.flatnonzero(np.isin(owner, rows)) for p, rows in images.items()}
        super().__init__(FeatureSet(small.numpy(), hashed(flat), owner, images, texts, flat), "images", part, schedule)
        self.pixels = pixels
        self.coarse = coarse(self.img[self.rows])

    def encoder(self) -> DualEncoder:
        dim, dropout = self.schedule.dim, self.schedule.dropout
        image: list[nn.Module] = [Moved()]
        for n_in, n_out in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True):
            image += [nn.Conv2d(n_in, n_out, 3, 2, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
        image += [nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * WIDTHS[-1], dim)]
        text = nn.Sequential(Bag(128), nn.Dropout(dropout), nn.Linear(128, dim))
        return DualEncoder(nn.Sequential(*image), text)

    def features(self, items: Tensor) -> Array:
        """Not the pixels themselves, of which each counts little and which move with the picture."""
        return self.coarse

    def thumbnail(self, item: int) -> NDArray[np.uint8]:
        """(64, 64, 3)"""
        return np.asarray(self.pixels[self.rows[item]])


def coarse(pixels: Tensor, dim: int = 64) -> Array:
    """Frozen features that need no labels: 16 x 16 colours, standardised, their first principal components."""
    x = avg_pool2d(pixels, 2).flatten(1).double().numpy()
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return np.asarray(u[:, :dim] * s[:dim], np.float32)


def hashed(captions: list[str]) -> NDArray[np.int64]:
    """(n, longest) buckets of each caption's words and their 3- and 4-grams, then 0; crc32 is the same everywhere."""
    rows = []
    for caption in captions:
        words = [f"<{word}>" for word in re.findall(r"\w+", caption.lower())] or [caption]
        grams = words + [w[i : i + n] for w in words for n in (3, 4) for i in range(len(w) - n + 1)]
        rows.append([1 + zlib.crc32(g.encode()) % (BUCKETS - 1) for g in grams])
    out = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return out


class Bag(nn.Module):
    """The mean vector of each caption's buckets. Those that no labeled caption has keep their small first vectors."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(BUCKETS, dim, mode="mean")
        nn.init.normal_(self.vectors.weight, std=0.1)

    def forward(self, buckets: Tensor) -> Tensor:
        length = (buckets > 0).sum(1)
        # Without the zeros, as their number depends on the longest caption, and the last bits would too.
        mean: Tensor = self.vectors(buckets[buckets > 0], length.cumsum(0) - length)
        return mean


class Moved(nn.Module):
    """In training, each image is moved by up to 3 pixels and its colours' brightness changed by up to 15 %."""

    def forward(self, pixels: Tensor) -> Tensor:
        if not self.training:
            return pixels
        n, _, size, _ = pixels.shape
        padded = pad(pixels, (3, 3, 3, 3), value=1.0)  # the background is white
        dy, dx = (torch.randint(0, 7, (n, 1, 1, 1)) for _ in range(2))
        rows, columns = torch.arange(size).view(1, 1, -1, 1) + dy, torch.arange(size).view(1, 1, 1, -1) + dx
        moved = padded[torch.arange(n).view(n, 1, 1, 1), torch.arange(3).view(1, 3, 1, 1), rows, columns]
        return moved * (1 + 0.15 * (2 * torch.rand(n, 3, 1, 1) - 1))
