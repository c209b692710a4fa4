"""What the Gaussians of a batch of pairs cost."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hnscore.arguments.checks import check_one_text_per_image
from hnscore.arguments.numbers import check_not_negative, check_positive, check_real
from hnscore.nn.encoder import GaussianPairs


class ProbabilisticLoss(torch.nn.Module):
    """Soft contrastive matching of all pairs of a batch, plus the 2-Wasserstein distance of the matched ones.

    For a batch of B pairs, with the sums over dimensions and ``match[i, j]`` true for i == j and for equal groups::

        distance[i, j] = sqrt(|img_mean_i - txt_mean_j|^2 + sum(img_var_i + txt_var_j))   # root of the expected square
        logit = 2 * (shift - scale * distance)                                            # of the match probability
        matching = (softplus(-logit)[match].sum() + softplus(logit)[~match].sum()) / B   # cross-entropy
        wasserstein = mean_i |img_mean_i - txt_mean_i|^2 + sum((sqrt(img_var_i) - sqrt(txt_var_i))^2)
        floor = mean over both sides of max(log(least_variance) - log(sum(var_i)), 0)
        loss = matching + wasserstein_weight * wasserstein + floor_weight * floor

    Parameters
    ----------
    scale, shift : float
        Of the match probability ``sigmoid(2 (shift - scale * distance))``, scale above 0; the same two numbers, with
        the same meaning, as in `hnscore.informativeness`.
    learn : bool
        Whether scale and shift are parameters to be learnt.
    wasserstein_weight, floor_weight : float
        At least 0.
    least_variance : float
        Sum over dimensions below which a variance is pushed up: matching alone would let some collapse.

    Notes
    -----
    Memory is a few B x B matrices. Squared distances below the machine epsilon count as that: they are rounding, and
    the root has a gradient there. Matching cannot tell the variances of hard pairs from those of easy ones well, see
    `fit`.

    References
    ----------
    .. [1] S. Chun et al., "Probabilistic Embeddings for Cross-Modal Retrieval", CVPR 2021, arXiv 2101.05068.
    .. [2] S. Chun, "Improved Probabilistic Image-Text Representations", ICLR 2024, arXiv 2305.18171.
    """

    log_scale: Tensor
    shift: Tensor

    def __init__(
        self,
        *,
        scale: float = 15.0,
        shift: float = 15.0,
        learn: bool = True,
        wasserstein_weight: float = 0.1,
        floor_weight: float = 0.1,
        least_variance: float = 0.01,
    ) -> None:
        super().__init__()
        self.wasserstein_weight = check_not_negative("wasserstein_weight", wasserstein_weight)
        self.floor_weight = check_not_negative("floor_weight", floor_weight)
        self.least_variance = check_positive("least_variance", least_variance)
        self.learn = bool(learn)
        for name, value in (
            ("log_scale", math.log(check_positive("scale", scale))),
            ("shift", check_real("shift", shift)),
        ):
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(value), requires_grad=self.learn))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    def forward(self, pairs: GaussianPairs, groups: Tensor | None = None) -> Tensor:
        img_mean, img_var, txt_mean, txt_var = pairs
        n = len(img_mean)
        check_one_text_per_image("img_mean", n, "txt_mean", len(txt_mean))
        match = torch.eye(n, dtype=torch.bool, device=img_mean.device)
        if groups is not None:
            check_one_text_per_image("img_mean", n, "groups", len(groups))
            match |= groups[:, None] == groups
        logit = 2 * (self.shift - self.scale * distances(img_mean, img_var, txt_mean, txt_var))
        matching = functional.softplus(torch.where(match, -logit, logit)).sum() / max(n, 1)

        tiny = torch.finfo(img_var.dtype).tiny
        roots = img_var.clamp_min(tiny).sqrt() - txt_var.clamp_min(tiny).sqrt()
        wasserstein = ((img_mean - txt_mean).square() + roots.square()).sum(1).mean()
        totals = torch.stack([img_var.sum(1), txt_var.sum(1)]).clamp_min(tiny)
        floor = functional.relu(math.log(self.least_variance) - totals.log()).mean()
        loss: Tensor = matching + self.wasserstein_weight * wasserstein + self.floor_weight * floor
        return loss


def distances(img_mean: Tensor, img_var: Tensor, txt_mean: Tensor, txt_var: Tensor) -> Tensor:
    """Root of the expected squared distance of every image and every text."""
    img = (img_mean.square() + img_var).sum(1)
    txt = (txt_mean.square() + txt_var).sum(1)
    expected = torch.addmm(img[:, None] + txt, img_mean, txt_mean.T, alpha=-2)
    return expected.clamp_min(torch.finfo(expected.dtype).eps).sqrt()
