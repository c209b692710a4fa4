"""Supervised cross-modal retrieval: all pairs are known, and the annotator says what they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from average_precision import mean_average_precision
from config import Arm
from labels import LabeledPairs, load_pairs
from tasks import Array, Rows, Task, Trained, View
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize, softplus
from training import Steps, minimise

import hnscore
from hnscore.nn import GaussianPairs
from hnscore.nn.loss import distances


@dataclass(frozen=True, kw_only=True)
class Schedule(Steps):
    """Of the Gaussian heads. A batch is of pairs."""

    batch: int = 64
    epochs: int = 20
    least_steps: int = 300
    learning_rate: float = 2e-3
    dim: int = 64
    hidden: int = 256
    dropout: float = 0.5
    matching_weight: float = 3.0
    prior_weight: float = 0.01
    pair_weight: float = 0.0
    """Above 0 all pairs of the pool are aligned, labeled or not; at 0 the labeled ones alone are trained on."""


def build(arm: Arm) -> Supervised:
    return Supervised(load_pairs(arm.data), arm.part, Schedule(**arm.train))


class Supervised(Task):
    """An item is a pair, annotated with its labels. What is measured is retrieval by the means of the Gaussians."""

    headline = "map"

    def __init__(self, data: LabeledPairs, part: str, schedule: Schedule) -> None:
        self.schedule, self.multi_label = schedule, data.multi_label
        self.img, self.txt, self.labels = (torch.from_numpy(x) for x in (data.img, data.txt, data.labels))
        self.rows, self.measured = data.rows["train"], data.rows[part]
        self.n_items = len(self.rows)
        self.features = np.hstack([_of_mean_norm_1(x[self.rows]) for x in (data.img, data.txt)])

    def train(self, labeled: Rows, seed: int) -> Trained:
        img, txt, labels = self.img[self.rows], self.txt[self.rows], self.labels[self.rows]
        model = fit(img, txt, labels, torch.from_numpy(labeled), self.multi_label, self.schedule, seed)
        with torch.no_grad():
            measured = model(self.img[self.measured], self.txt[self.measured])
            pool = model(img, txt)
            logits = torch.stack([model.classes(mean) for mean in (pool.img_mean, pool.txt_mean)])
            joint = torch.cat([normalize(mean, dim=1) for mean in (pool.img_mean, pool.txt_mean)], dim=1)
        mean, _ = hnscore.fuse(*(x.numpy() for x in pool))
        view = View(
            labeled,
            {"features": self.features, "joint": joint.numpy(), "fused": mean},
            probabilities=(logits.sigmoid() if self.multi_label else logits.softmax(dim=2)).numpy(),
            multi_label=self.multi_label,
            gaussians=(pool.img_mean.numpy(), pool.img_var.numpy(), pool.txt_mean.numpy(), pool.txt_var.numpy()),
            match_scale=(model.log_scale.exp().item(), model.shift.item()),
        )
        metrics = mean_average_precision(measured.img_mean, measured.txt_mean, self.labels[self.measured])
        return Trained(view, metrics)


def _of_mean_norm_1(x: Array) -> Array:
    """Both sides weigh the same in the features of a pair."""
    return np.asarray(x / np.sqrt((x**2).sum(axis=1).mean()), np.float32)


class GaussianHeads(nn.Module):
    """One hidden layer a side to the mean and the log-variance in the joint space, and one classifier for both."""

    def __init__(self, img_dim: int, txt_dim: int, n_classes: int, schedule: Schedule) -> None:
        super().__init__()
        self.img, self.txt = (self._head(dim, schedule) for dim in (img_dim, txt_dim))
        self.classes = nn.Linear(schedule.dim, n_classes)
        # Of the match probability. Two draws of the prior are about sqrt(2 dim) apart.
        self.log_scale, self.shift = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(schedule.dim**0.5))

    @staticmethod
    def _head(in_dim: int, schedule: Schedule) -> nn.Sequential:
        return nn.Sequential(
            nn.Dropout(schedule.dropout), nn.Linear(in_dim, schedule.hidden), nn.GELU(),
            nn.Dropout(schedule.dropout), nn.Linear(schedule.hidden, 2 * schedule.dim),
        )  # fmt: skip

    def forward(self, img: Tensor, txt: Tensor) -> GaussianPairs:
        (img_mean, img_log_var), (txt_mean, txt_log_var) = self.img(img).chunk(2, dim=1), self.txt(txt).chunk(2, dim=1)
        return GaussianPairs(img_mean, img_log_var.clamp(-10, 10).exp(), txt_mean, txt_log_var.clamp(-10, 10).exp())


def fit(
    img: Tensor, txt: Tensor, labels: Tensor, labeled: Tensor, multi_label: bool, schedule: Schedule, seed: int
) -> GaussianHeads:
    """Train on the labels of the pairs `labeled`; in evaluation mode afterwards.

    Each Gaussian is classified by a draw from it and held near N(0, 1), a variational information bottleneck: a wide
    one pays where the classes are far from certain. Pairs that share a label are to match, others are not.
    """
    torch.manual_seed(seed)
    model = GaussianHeads(img.shape[1], txt.shape[1], labels.shape[1], schedule)

    def loss(batch: Tensor) -> Tensor:
        rows = labeled[batch]
        pairs = model(img[rows], txt[rows])
        loss = classification(model, pairs, labels[rows], multi_label) + schedule.prior_weight * prior(pairs)
        loss = loss + schedule.matching_weight * matching(model, pairs, labels[rows])
        if schedule.pair_weight:
            some = torch.randint(len(img), (2 * schedule.batch,))
            loss = loss + schedule.pair_weight * pairing(model(img[some], txt[some]))
        return loss

    minimise(model, loss, len(labeled), schedule)
    return model


def classification(model: GaussianHeads, pairs: GaussianPairs, labels: Tensor, multi_label: bool) -> Tensor:
    """Cross-entropy of the classes of a draw from each Gaussian; with several labels, of each label by itself."""
    img, txt = (
        model.classes(mean + var.sqrt() * torch.randn_like(mean))
        for mean, var in ((pairs.img_mean, pairs.img_var), (pairs.txt_mean, pairs.txt_var))
    )
    if multi_label:
        n = labels.shape[1]
        return n * (binary_cross_entropy_with_logits(img, labels) + binary_cross_entropy_with_logits(txt, labels))
    return cross_entropy(img, labels) + cross_entropy(txt, labels)


def prior(pairs: GaussianPairs) -> Tensor:
    """Kullback-Leibler divergence of the Gaussians from N(0, 1), summed over dimensions and sides."""
    img, txt = (
        0.5 * (mean.square() + var - 1 - var.log()).sum(dim=1).mean()
        for mean, var in ((pairs.img_mean, pairs.img_var), (pairs.txt_mean, pairs.txt_var))
    )
    return torch.add(img, txt)


def matching(model: GaussianHeads, pairs: GaussianPairs, labels: Tensor) -> Tensor:
    """Cross-entropy of the match probability of `hnscore.informativeness`; as much of matches as of the others."""
    match = labels @ labels.T > 0
    logit = 2 * (model.shift - model.log_scale.exp() * distances(*pairs))
    each = softplus(torch.where(match, -logit, logit))
    return torch.stack([each[kind].mean() for kind in (match, ~match) if kind.any()]).sum()


def pairing(pairs: GaussianPairs, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of the own other side among those of the batch, both ways."""
    similarity = normalize(pairs.img_mean, dim=1) @ normalize(pairs.txt_mean, dim=1).T / temperature
    own = torch.arange(len(similarity))
    return cross_entropy(similarity, own) + cross_entropy(similarity.T, own)
