"""The pairs of a training, and what is learnt from those that it has not seen."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hnscore.arguments import values
from hnscore.arguments.checks import (
    check_enough_images,
    check_one_text_per_image,
    read_features,
    read_float32_features,
)
from hnscore.nn.encoder import CHUNK, ProbabilisticEncoder, evaluating
from hnscore.nn.loss import ProbabilisticLoss, distances


class Pairs(NamedTuple):
    """Checked features, the image of each pair, and what matches."""

    img: NDArray[np.float32]
    txt: NDArray[np.float32]
    image: NDArray[np.int64]
    match: Tensor

    @classmethod
    def read(cls, encoder: ProbabilisticEncoder, img: object, txt: object, groups: object, classes: object) -> Pairs:
        img_rows, img_code = read_features("img", img, encoder.img.in_dim)
        txt_rows, txt_code = read_features("txt", txt, encoder.txt.in_dim)
        n = len(img_rows)
        check_one_text_per_image("img", n, "txt", len(txt_rows))
        given = {
            name: values.read_labels(name, x, n)
            for name, x in (("groups", groups), ("labels", classes))
            if x is not None
        }
        img_rows = read_float32_features("img", img_rows, img_code)
        txt_rows = read_float32_features("txt", txt_rows, txt_code)
        as_bytes = img_rows.view(np.dtype((np.void, img_rows.strides[0])))[:, 0]
        image = np.unique(given.get("groups", as_bytes), return_inverse=True)[1]
        match = np.unique(given["labels"], return_inverse=True)[1] if "labels" in given else image
        return cls(img_rows, txt_rows, image, torch.from_numpy(match))

    def split(self, held_out: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to train on and rows held out: no image on both sides."""
        n_images = int(self.image.max(initial=-1)) + 1
        check_enough_images(n_images)
        n_held = min(max(round(held_out * n_images), 2), n_images - 2)
        held = np.isin(self.image, rng.permutation(n_images)[:n_held])
        return np.flatnonzero(~held), np.flatnonzero(held)

    def features(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.img[rows]).to(device), torch.from_numpy(self.txt[rows]).to(device)

    def precision(self, encoder: ProbabilisticEncoder, rows: NDArray[np.int64]) -> float:
        """Mean average precision of the means, images to texts and texts to images."""
        with evaluating(encoder), torch.no_grad():
            img, _, txt, _ = encoder(*self.features(rows, encoder.img.shift.device))
        match = self.match[rows].to(img.device)
        rank = torch.arange(1, len(rows) + 1, device=img.device)
        total = 0.0
        for queries, gallery in ((img, txt), (txt, img)):
            for start in range(0, len(rows), CHUNK // 8):
                some = slice(start, start + CHUNK // 8)
                order = (queries[some] @ gallery.T).argsort(dim=1, descending=True, stable=True)
                found = (match[order] == match[some, None]).double()
                total += float(((found.cumsum(1) / rank * found).sum(1) / found.sum(1)).sum())
        return total / (2 * len(rows))


def learn_variances(encoder: ProbabilisticEncoder, img: Tensor, txt: Tensor) -> None:
    """The variances of `fit`: var = exp(slope . hidden + bias), the slope by ridge regression on unseen pairs."""
    hidden = [head.activations(x).double() for head, x in ((encoder.img, img), (encoder.txt, txt))]
    pairs = encoder(img, txt)
    apart = (pairs.img_mean - pairs.txt_mean).double().square().sum(1)
    apart = apart.clamp_min(torch.finfo(pairs.img_mean.dtype).eps)
    target = apart.log() - apart.log().mean()
    for head, h in zip((encoder.img, encoder.txt), hidden, strict=True):
        centre = h.mean(0)
        gram = (h - centre) @ (h - centre).T
        # Chance correlations of n rows are of the order of 1 / sqrt(n) of the squared norms, here of a hidden row: all
        # rows have the same. It bounds the exponent of any row too: |slope . hidden| <= |target| / (2 n^(1/4)).
        ridge = h.square().sum(1).mean() * math.sqrt(len(h))
        slope = (h - centre).T @ torch.linalg.solve(gram + ridge * torch.eye(len(h), device=h.device).double(), target)
        level = (apart.mean() / 2).log() - (h @ slope).logsumexp(0) + math.log(len(h))
        head.log_var.weight.copy_(slope.expand(head.dim, -1))
        head.log_var.bias.fill_(float(level) - math.log(head.dim))


def learn_match(
    encoder: ProbabilisticEncoder, loss: ProbabilisticLoss, data: Pairs, batches: list[NDArray[np.int64]]
) -> None:
    """Scale and shift by Platt's method: logistic regression, its targets a little off 0 and 1 so that it is finite."""
    apart, matches = [], []
    for rows in batches:
        pairs = encoder(*data.features(rows, encoder.img.shift.device))
        apart.append(distances(*pairs).double().flatten())
        match = data.match[rows]
        matches.append((match[:, None] == match).flatten())
    d, y = torch.cat(apart).cpu(), torch.cat(matches)
    target = torch.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2)).double()
    middle = d.mean()
    start = torch.tensor([loss.log_scale.item(), (loss.shift - loss.scale * middle).item()], dtype=torch.float64)
    parameters = start.requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def cross_entropy() -> float:
        optimizer.zero_grad()
        logit = 2 * (parameters[1] - parameters[0].exp() * (d - middle))
        value = functional.binary_cross_entropy_with_logits(logit, target)
        torch.autograd.backward(value)
        return value.item()

    with torch.enable_grad():
        optimizer.step(cross_entropy)  # type: ignore[no-untyped-call]
    log_scale, shift = parameters.tolist()
    loss.log_scale.fill_(max(log_scale, -20.0))  # where no distance tells anything, scale goes to 0, but is above it
    loss.shift.fill_(shift + math.exp(log_scale) * middle.item())


def batches_of(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    return np.array_split(rows, math.ceil(len(rows) / batch_size))
