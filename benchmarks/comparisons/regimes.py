"""Inputs of --cascade: embeddings, real and made, that differ in how many pairs count and in what a basis can learn."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore import demo
from hnscore.bench import workloads
from hnscore.bench.workloads import MARGIN, Array, Workload, normalise

NO_FLICKR8K = "skipped: HNSCORE_DATA is not set"
MADE = (6000, 4000, 512)  # n_img, n_txt, dim
NOISE = 0.1
CONES = 0.17  # mean similarity
CONES_REFERENCE = 0.32


@dataclass(frozen=True)
class Regime:
    """`reference` is what hnscore is given, `similar` (n_txt,) the similarities that it means."""

    img: Array
    txt: Array
    reference: Any
    similar: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.img), len(self.txt), self.img.shape[1]

    def workload(self, margin: float) -> Workload:
        """The same for the peers: unit vectors, and a reference that gives the same thresholds with their margin."""
        img, txt = _unit(self.img), _unit(self.txt)
        return Workload("", img, txt, self.similar - margin + MARGIN)


class Round(NamedTuple):
    """The first round of active learning on Flickr8k; text j belongs to the paired image train[owner[j]]."""

    pool: Array
    txt: Array
    train: Array
    owner: NDArray[np.int64]
    all_txt: Array

    @property
    def own(self) -> Array:
        return self.train[self.owner]


def flickr8k() -> Round | None:
    """None without HNSCORE_DATA."""
    folder = os.environ.get("HNSCORE_DATA")
    if not folder:
        return None
    with np.load(Path(folder) / "flickr8k" / "round1_embeddings.npz") as data:
        img, txt, owner, trained = data["img_emb"], data["txt_emb"], data["owner"], data["part"] == "train"
        unused = data["part"] == "pool_unused"
    texts = trained[owner]
    row = np.cumsum(trained) - 1
    return Round(img[unused], txt[texts], img[trained], row[owner[texts]], txt)


def all_of_flickr8k() -> tuple[Array, Array, NDArray[np.int64]]:
    """All images, all texts, and the image of each text. Needs HNSCORE_DATA."""
    with np.load(Path(os.environ["HNSCORE_DATA"]) / "flickr8k" / "round1_embeddings.npz") as data:
        return data["img_emb"], data["txt_emb"], data["owner"]


def _unit(emb: Array) -> NDArray[np.float32]:
    return normalise(np.array(emb, np.float32))


# ---- Real ------------------------------------------------------------------------------------------------------------


def own_images(data: Round) -> Regime:
    return _of_own(data.pool, data.txt, data.own)


def hardest_paired(data: Round) -> Regime:
    """A pair counts where it is more similar than every paired image that is not the text's own."""
    similar = hnscore.reference_similarity(data.train, data.txt, owner=data.owner, kind="hardest")
    return Regime(data.pool, data.txt, similar, similar)


def pool_max(data: Round) -> Regime:
    similar = (_unit(data.pool).astype(np.float64) @ _unit(data.txt).T).max(axis=0)
    return Regime(data.pool, data.txt, "pool_max", similar)


def emoji() -> Regime:
    data = demo.load()
    return _of_own(data.img_emb, data.txt_emb, data.reference)


def _of_own(img: Array, txt: Array, own: Array) -> Regime:
    return Regime(img, txt, own, hnscore.reference_similarity(own, txt))


# ---- Made ------------------------------------------------------------------------------------------------------------


def normals() -> Regime:
    """1 % of the pairs count; no direction holds more than another."""
    made = workloads.gaussian(*MADE)
    return _of_values(made.img, made.txt, made.reference)


def uniform(passing: float = 0.01) -> Regime:
    """Values of [0, 1): all rows lie near one direction, and all similarities near 3/4; a share `passing` counts."""
    n_img, n_txt, dim = MADE
    rng = np.random.default_rng(3)
    img, txt = rng.random((n_img, dim), np.float32), rng.random((n_txt, dim), np.float32)
    tau = np.quantile(_unit(img[:1000]) @ _unit(txt[:1000]).T, 1 - passing)
    return _of_values(img, txt, np.full(n_txt, tau + MARGIN))


def cones(n_img: int = MADE[0], n_txt: int = MADE[1]) -> Regime:
    """Similarities as CLIP gives them to images and texts: mean 0.17, standard deviation 0.045; most pairs count.

    Each side has a direction in common, which holds half of every row's square. The two have the cosine 0.34, and the
    rest of a row is across both: the mean is 0.17. The k-th value of a rest is normal with a variance proportional to
    k^-0.72. The cosine of two rests then has the standard deviation 0.09, the root of the sum of the squares of these
    shares, and half of it reaches the similarity. A common rotation leaves no axis special.
    """
    dim = MADE[2]
    rng = np.random.default_rng(4)
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    scale = np.arange(1, dim - 1) ** -0.36
    axis = {"img": (1.0, 0.0), "txt": (2 * CONES, np.sqrt(1 - (2 * CONES) ** 2))}

    def side(name: str, rows: int) -> NDArray[np.float32]:
        rest = rng.standard_normal((rows, dim - 2)) * scale
        rest /= np.linalg.norm(rest, axis=1, keepdims=True)
        emb = np.concatenate([np.broadcast_to(axis[name], (rows, 2)), rest], axis=1) * np.sqrt(0.5)
        return np.asarray(emb @ rotation, np.float32)

    return _of_values(side("img", n_img), side("txt", n_txt), np.full(n_txt, CONES_REFERENCE))


def resampled(data: Round, n_img: int, n_txt: int) -> Regime:
    """Rows of the real round, drawn with replacement, each moved by normals of norm NOISE and normalised.

    A drawn text keeps its own image as the reference. So its similarities are those of the real round, slightly
    blurred, and the share of the pairs that count does not depend on the sizes.
    """
    rng = np.random.default_rng(5)

    def drawn(emb: Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        noise = rng.standard_normal((len(rows), emb.shape[1]), np.float32)
        noise *= np.float32(NOISE / np.sqrt(emb.shape[1]))
        noise += _unit(emb)[rows]
        return normalise(noise)

    img = drawn(data.pool, rng.integers(len(data.pool), size=n_img))
    rows = rng.integers(len(data.txt), size=n_txt)
    return _of_own(img, drawn(data.txt, rows), data.own[rows])


def _of_values(img: Array, txt: Array, reference: NDArray[np.float64]) -> Regime:
    return Regime(img, txt, reference, reference)
