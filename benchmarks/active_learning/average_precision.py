"""Mean average precision between images and texts, both ways."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def average_precision(query: Tensor, gallery: Tensor, labels: Tensor) -> Tensor:
    """(n,) of each query over the whole gallery, by cosine; row i of both has labels[i], (n, n_classes) of 0 and 1.

    Relevant is what shares a label with the query, its own other side included. Equally similar rows keep their order.
    """
    similarity = normalize(query, dim=1) @ normalize(gallery, dim=1).T
    order = similarity.argsort(dim=1, descending=True, stable=True)
    relevant = (labels @ labels.T > 0).gather(1, order).double()
    rank = torch.arange(1, len(gallery) + 1)
    return (relevant.cumsum(1) / rank * relevant).sum(1) / relevant.sum(1)


def mean_average_precision(img: Tensor, txt: Tensor, labels: Tensor) -> dict[str, float]:
    """Percent. i2t: images ask, texts answer."""
    i2t = 100 * float(average_precision(img, txt, labels).mean())
    t2i = 100 * float(average_precision(txt, img, labels).mean())
    return {"map": (i2t + t2i) / 2, "map_i2t": i2t, "map_t2i": t2i}
