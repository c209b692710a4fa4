"""Recall at k between images and texts, both ways."""

from __future__ import annotations

import torch
from torch import Tensor

AT = (1, 5, 10)


def recalls(img_emb: Tensor, txt_emb: Tensor, owner: Tensor) -> dict[str, float]:
    """Percent of queries with a right answer among the k most similar; owner (n_txt,) is a row of img_emb.

    i2t: images ask, each of an image's texts is right. t2i: texts ask, their own image is right. A wrong answer that is
    exactly as similar comes after the right one.
    """
    similarity = img_emb @ txt_emb.T
    if not similarity.isfinite().all():  # NaN would be ahead of nothing, and all recalls 100 %
        raise FloatingPointError("embeddings are not finite after training; lower train.learning_rate")
    own = similarity[owner, torch.arange(len(owner))]
    best = torch.full((len(img_emb),), -torch.inf).scatter_reduce(0, owner, own, "amax")
    ahead = {"i2t": (similarity > best[:, None]).sum(1), "t2i": (similarity > own).sum(0)}
    found = {f"r{k}_{way}": 100 * float((rank < k).float().mean()) for way, rank in ahead.items() for k in AT}
    return {"r1": found["r1_i2t"] + found["r1_t2i"], "rsum": sum(found.values()), **found}
