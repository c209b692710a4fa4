"""The triplet loss of a batch that is spread over ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hnscore import nn
from hnscore.arguments.checks import check_one_text_per_image
from hnscore.arguments.values import read_group_labels
from hnscore.distributed.ranks import Passing, Ranks, same_on_all


class TripletLoss(nn.TripletLoss):
    """`hnscore.nn.TripletLoss` of the batch of all ranks, on every rank.

    Each rank passes its part of the batch and gets the loss of the whole batch; the gradient is that of its own rows,
    as one process would have it. **DistributedDataParallel averages gradients over the ranks: multiply the loss by the
    world size** for those of the whole batch.

    Parameters
    ----------
    margin, max_violation, similarity, n_threads
        As in `hnscore.nn.TripletLoss`, the same on all ranks.
    group : ProcessGroup, optional
        Default: all ranks.

    Notes
    -----
    All embeddings are gathered on every rank, which computes the whole loss: small beside the encoders, and the same
    bits for any number of ranks.

    Examples
    --------
    >>> import hnscore, hnscore.distributed, torch
    >>> import torch.distributed as dist
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # torchrun starts more
    >>> img, txt = torch.eye(3, 2) + 1, torch.eye(2)
    >>> hnscore.distributed.TripletLoss(0.2)(txt, txt)
    tensor(0.)
    >>> dist.destroy_process_group()
    """

    def __init__(
        self,
        margin: float = 0.2,
        max_violation: bool = False,
        similarity: str = "cosine",
        n_threads: int | None = None,
        group: object = None,
    ) -> None:
        super().__init__(margin, max_violation, similarity, n_threads)
        self.group = group

    def forward(self, img_emb: Tensor, txt_emb: Tensor, groups: object = None) -> Tensor:
        """The loss of the batch of all ranks.

        Parameters
        ----------
        img_emb, txt_emb : float tensors (B, dim)
            This rank's rows; B may differ from rank to rank.
        groups : array of integers or strings (B,), optional
            Pairs of equal groups, on any ranks, are no negatives. On all ranks or none.

        Returns
        -------
        loss : tensor ()
            The same on all ranks.

        Raises
        ------
        TypeError, ValueError
            As `hnscore.nn.TripletLoss`, on all ranks where it is so on one; and where they do not agree.
        """
        ranks = Ranks(self.group)

        def local() -> Any:
            check_one_text_per_image("txt_emb", len(txt_emb), "img_emb", len(img_emb))
            labels = None if groups is None else read_group_labels("groups", groups, len(img_emb))
            settings = {
                "margin": self.margin, "max_violation": self.max_violation, "similarity": self.similarity,
                "dims": (int(img_emb.shape[1]), int(txt_emb.shape[1])),
                "dtypes": (str(img_emb.dtype), str(txt_emb.dtype)),
                "groups": groups is not None,
            }  # fmt: skip
            return None, {"n": len(img_emb), "labels": labels, "settings": settings}

        _, found = ranks.agree(local)
        same_on_all([each["settings"] for each in found])
        counts = [each["n"] for each in found]
        labels = None if groups is None else np.concatenate([each["labels"] for each in found])
        gathered: Any = _Gathered.apply
        return super().forward(gathered(img_emb, ranks, counts), gathered(txt_emb, ranks, counts), labels)


class _Gathered(torch.autograd.Function):
    """The rows of all ranks; the gradient of this rank's own."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks, counts: list[int]) -> Tensor:
        passing = Passing(ranks, rows, counts)
        ctx.own = slice(passing.first, passing.first + len(rows))
        return passing.whole()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.own], None, None
