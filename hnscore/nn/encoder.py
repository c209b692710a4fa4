"""Frozen features in, Gaussians out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hnscore.arguments.checks import check_feature_dim, read_features, read_float32_features
from hnscore.arguments.numbers import as_generator, check_integer, check_positive, check_share

CHUNK = 4096  # rows of NumPy arrays that are embedded at a time: some MiB of activations


class GaussianPairs(NamedTuple):
    """Diagonal Gaussians of images and of texts, each (rows, dim): what `informativeness` and `fuse` take."""

    img_mean: Any
    img_var: Any
    txt_mean: Any
    txt_var: Any


class _Head(torch.nn.Module):
    """Features of one kind to (mean, variance): standardised, one hidden layer, two linear outputs.

    The hidden features are normalised, so that the length of a row of features is no shortcut to its variance, and so
    that no row, however unusual, is given a log-variance beyond sqrt(hidden) times the norm of its weights.
    """

    shift: Tensor
    scale: Tensor
    standardized: Tensor

    def __init__(self, in_dim: int, dim: int, hidden: int, dropout: float, variance_floor: float) -> None:
        super().__init__()
        self.in_dim, self.dim, self.variance_floor = in_dim, dim, variance_floor
        self.register_buffer("shift", torch.zeros(in_dim))
        self.register_buffer("scale", torch.ones(in_dim))
        self.register_buffer("standardized", torch.tensor(False))
        self.hidden = torch.nn.Sequential(
            torch.nn.Linear(in_dim, hidden),
            torch.nn.GELU(),
            torch.nn.LayerNorm(hidden, elementwise_affine=False),
            torch.nn.Dropout(dropout),
        )
        self.mean = torch.nn.Linear(hidden, dim)
        self.log_var = torch.nn.Linear(hidden, dim)  # starts equal for all rows, with a sum over dimensions of 1/4
        torch.nn.init.zeros_(self.log_var.weight)
        torch.nn.init.constant_(self.log_var.bias, -math.log(4 * dim))

    def activations(self, x: Tensor) -> Tensor:
        activations: Tensor = self.hidden((x.to(self.shift.dtype) - self.shift) / self.scale)
        return activations

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.activations(x)
        return functional.normalize(self.mean(h), dim=1), self.variance_floor + self.log_var(h).exp()

    def standardize(self, x: NDArray[np.float32]) -> None:
        """Take means and standard deviations of the columns from `x`, the first time only: a second fit continues."""
        if self.standardized:
            return
        deviation = x.std(axis=0, dtype=np.float64)
        constant = deviation <= 1e-3 * np.abs(x).max(axis=0)  # what looks constant in a sample may not be elsewhere
        self.shift.copy_(torch.from_numpy(x.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(np.where(constant, 1.0, deviation)))
        self.standardized.fill_(True)


class ProbabilisticEncoder(torch.nn.Module):
    """Gaussian embeddings of images and texts on top of frozen features.

    Each side is a head of its own: features standardised (by `fit`), a hidden layer, a mean of unit norm and a diagonal
    variance. Until `fit` has seen the data, all rows of a side have almost the same variance.

    Parameters
    ----------
    img_dim, txt_dim : int
        Columns of the image and the text features.
    dim : int
        Dimension of the joint space.
    hidden : int, optional
        Width of the hidden layer. Default: dim.
    variance_floor : float
        Added to every variance, above 0.
    dropout : float
        Share of the hidden features that are dropped in training, at least 0 and below 1.
    random_state : None, int or NumPy generator
        Seed of the first weights. None: torch's global generator, as for any torch module.

    Notes
    -----
    `forward`, `encode_images` and `encode_texts` take tensors, and then are an ordinary torch module: gradients flow,
    dropout follows `train()` and `eval()`, nothing is looked up in the values. They also take NumPy arrays of any
    numeric dtype, and then return float32 NumPy arrays: without gradient, without dropout, a few thousand rows at a
    time, with an error for NaN and Inf. The state_dict holds the standardisation of the features too.

    Examples
    --------
    >>> encoder = ProbabilisticEncoder(img_dim=8, txt_dim=6, dim=4)
    >>> mean, var = encoder.encode_images(np.ones((3, 8)))
    >>> mean.shape, var.shape
    ((3, 4), (3, 4))
    """

    def __init__(
        self,
        img_dim: int,
        txt_dim: int,
        dim: int = 512,
        *,
        hidden: int | None = None,
        variance_floor: float = 1e-6,
        dropout: float = 0.5,
        random_state: object = None,
    ) -> None:
        super().__init__()
        img_dim = check_integer("img_dim", img_dim, 1, None, "columns of the image features")
        txt_dim = check_integer("txt_dim", txt_dim, 1, None, "columns of the text features")
        dim = check_integer("dim", dim, 2, None, "dimensions of the joint space")
        hidden = dim if hidden is None else check_integer("hidden", hidden, 2, None, "width of the hidden layer")
        variance_floor = check_positive("variance_floor", variance_floor)
        dropout = check_share("dropout", dropout, or_zero=True)
        with seeded(None if random_state is None else as_generator(random_state)):
            self.img = _Head(img_dim, dim, hidden, dropout, variance_floor)
            self.txt = _Head(txt_dim, dim, hidden, dropout, variance_floor)

    def forward(self, img: object, txt: object) -> GaussianPairs:
        """The Gaussians of images (n, img_dim) and texts (m, txt_dim)."""
        return GaussianPairs(*self.encode_images(img), *self.encode_texts(txt))

    def encode_images(self, img: object) -> tuple[Any, Any]:
        """(mean, var) of image features (n, img_dim), each (n, dim)."""
        return self._encode(self.img, "img", img)

    def encode_texts(self, txt: object) -> tuple[Any, Any]:
        """(mean, var) of text features (n, txt_dim), each (n, dim)."""
        return self._encode(self.txt, "txt", txt)

    def _encode(self, head: _Head, name: str, x: object) -> tuple[Any, Any]:
        if isinstance(x, Tensor):
            check_feature_dim(name, tuple(x.shape), head.in_dim)
            mean, var = head(x)
            return mean, var
        array, code = read_features(name, x, head.in_dim)
        mean, var = (np.empty((len(array), head.dim), np.float32) for _ in range(2))
        with evaluating(self), torch.no_grad():
            for start in range(0, len(array), CHUNK):
                rows = slice(start, start + CHUNK)
                chunk = torch.from_numpy(read_float32_features(name, array[rows], code, start))
                mean[rows], var[rows] = (out.cpu().numpy() for out in head(chunk.to(head.shift.device)))
        return mean, var


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """No dropout inside; afterwards as before."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


@contextmanager
def seeded(rng: np.random.Generator | None) -> Iterator[None]:
    """Inside, torch draws from a seed of `rng`; afterwards its global generators are as before. None: no change."""
    if rng is None:
        yield
        return
    gpus = range(torch.cuda.device_count())
    with torch.random.fork_rng(gpus):
        seed = int(rng.integers(2**63))
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        yield
