"""A miner for pytorch-metric-learning: triplets whose negative is within a margin of the positive.

    miner = HNScoreMiner(margin=0.1)                            # in place of TripletMarginMiner(margin=0.1)
    loss = loss_fn(embeddings, labels, miner(embeddings, labels))

The triplets are those of `TripletMarginMiner` with cosine similarity, ties included, without its B x B x B tensor:
memory grows with the triplets that are found.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.miners import BaseMiner
from torch import Tensor

import hnscore
from hnscore.arguments.numbers import check_choice, check_real
from hnscore.mining.pairs import DEFAULTS, PairCall

KINDS = ("all", "hard", "semihard")


class HNScoreMiner(BaseMiner):  # type: ignore[misc]
    """Triplets (anchor, positive, negative) with ``s_ap - s_an <= margin`` under cosine similarity.

    Parameters
    ----------
    margin : float
        A similarity difference.
    type_of_triplets : {"all", "hard", "semihard"}
        All of these; those whose negative is at least as similar as the positive; or the others.

    Notes
    -----
    Called as every miner of that library: ``miner(embeddings, labels)`` or ``miner(embeddings, labels, ref_emb,
    ref_labels)``, with tensors on any device; it gives three index tensors of int64 there. Similarities are compared
    exactly, as by `hnscore.pairs`, so that which triplets there are does not depend on the device.
    """

    def __init__(self, margin: float = 0.2, type_of_triplets: str = "all", **kwargs: object) -> None:
        kwargs.setdefault("distance", CosineSimilarity())
        super().__init__(**kwargs)
        self.margin = check_real("margin", margin)
        check_choice("type_of_triplets", type_of_triplets, KINDS)
        self.type_of_triplets = type_of_triplets

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The triplets: anchors are rows of `embeddings`, the others of `ref_emb`."""
        device = embeddings.device
        images, of_texts, of_images = ref_emb.detach().cpu(), labels.cpu(), ref_labels.cpu()
        anchors, positives = _positive_pairs(of_texts, of_images, ref_labels is labels)
        negatives = rows = anchors[:0]
        if len(anchors):
            texts = embeddings.detach().cpu()[anchors]
            reference = hnscore.reference_similarity(images, texts, owner=positives)
            rules: dict[str, Any] = {"img_groups": of_images, "txt_groups": of_texts[anchors], "closed": True}
            if self.type_of_triplets == "semihard":
                rules["max_similarity"] = np.nextafter(reference.numpy(), -np.inf)
            margin = min(self.margin, 0.0) if self.type_of_triplets == "hard" else self.margin
            given = {"img_emb": images, "txt_emb": texts, "margin": margin, "reference": reference, **rules}
            lists = PairCall(DEFAULTS | given, quiet=True).lists("text")
            negatives, counts = torch.from_numpy(lists.indices), torch.from_numpy(np.diff(lists.offsets))
            rows = torch.repeat_interleave(torch.arange(len(anchors)), counts)
        return anchors[rows].to(device), positives[rows].to(device), negatives.to(device)


def _positive_pairs(labels: Tensor, ref_labels: Tensor, is_own: bool) -> tuple[Tensor, Tensor]:
    """Rows with equal labels, but no row with itself."""
    order = torch.argsort(ref_labels, stable=True)
    known = ref_labels[order]
    first, last = torch.searchsorted(known, labels), torch.searchsorted(known, labels, right=True)
    counts = last - first
    anchors = torch.repeat_interleave(torch.arange(len(labels)), counts)
    within = torch.arange(len(anchors)) - (torch.cumsum(counts, 0) - counts)[anchors]
    positives = order[first[anchors] + within]
    if is_own:
        other = anchors != positives
        anchors, positives = anchors[other], positives[other]
    return anchors, positives
