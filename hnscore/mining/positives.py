"""The positives of each text: one, several, or so many as it has."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import read_array
from hnscore.engine.cpu import Cpu
from hnscore.engine.host import HostRows

_COPIED = 2**24  # bytes of texts at a time


class Positives(NamedTuple):
    """Pairs of a text and an image, by text."""

    texts: NDArray[np.int64]
    images: NDArray[np.int64]
    starts: NDArray[np.int64]  # (n_txt,): where those of a text begin

    def least(self, similarities: NDArray[np.float64]) -> NDArray[np.float64]:
        """That of each text's least similar positive."""
        return np.minimum.reduceat(similarities, self.starts)


def read_positives(owner: object, n_txt: int, n_img: int) -> Positives:
    if isinstance(owner, (list, tuple)) and any(np.ndim(rows) == 1 for rows in owner):
        lists = [_integers(np.asarray(rows, None if len(rows) else np.int64)) for rows in owner]
        n, counts, images = len(lists), np.array([len(rows) for rows in lists]), np.concatenate(lists)
    else:
        rows = _integers(read_array("owner", owner)[0])
        if rows.ndim not in {1, 2}:
            raise ValueError(
                f"owner must have shape ({n_txt},) or ({n_txt}, p), got {rows.shape}; pass one row per text"
            )
        real = rows != -1 if rows.ndim == 2 else np.ones((len(rows), 1), bool)
        n, counts, images = len(rows), real.sum(axis=1), rows[real.reshape(rows.shape)]
    if n != n_txt:
        raise ValueError(f"owner must have the positives of {n_txt} texts, got those of {n}; check its length")
    texts = np.repeat(np.arange(n_txt), counts)
    bad = np.flatnonzero((images < 0) | (images >= n_img))
    if len(bad):
        raise ValueError(
            f"owner must hold rows of img_emb, 0 to {n_img - 1}, got {images[bad[0]]} for text {texts[bad[0]]}; it "
            "counts from 0, and ids are turned into rows by np.unique(ids, return_inverse=True)"
        )
    if not counts.all():
        raise ValueError(
            f"owner must have at least one positive for each text, got none for text {int(np.argmin(counts))}; leave "
            "the text out, or pass reference and the positives as groups"
        )
    return Positives(texts, images, np.cumsum(counts) - counts)


def pair_similarities(
    engine: Cpu,
    img: HostRows,
    images: NDArray[np.int64],
    txt: HostRows,
    texts: NDArray[np.int64],
    similarity: str,
) -> NDArray[np.float64]:
    """Of each named image with its named text."""
    step = max(1, _COPIED // max(1, txt.array.itemsize * txt.shape[1]))
    out = np.empty(len(images))
    for first in range(0, len(images), step):
        part = slice(first, first + step)
        rows = txt.array[texts[part]]
        out[part] = engine.similarity(
            img, HostRows(txt.name, rows, txt.code, rows.shape, texts[part]), similarity, images[part]
        )
    return out


def _integers(rows: NDArray[Any]) -> NDArray[np.int64]:
    if rows.dtype.kind not in "iu":
        raise TypeError(f"owner must hold integers, got dtype {rows.dtype}; convert it, for example to int64")
    return rows.astype(np.int64)
