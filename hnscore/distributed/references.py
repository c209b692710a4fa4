"""`hnscore.reference_similarity` where images and texts lie on many ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hnscore.arguments.checks import check_same_width
from hnscore.arguments.numbers import check_choice, check_given_with, check_integer
from hnscore.arguments.options import SIMILARITIES
from hnscore.arguments.rules import check_other_images, check_paired_lengths
from hnscore.arguments.values import read_owners
from hnscore.distributed.ranks import Passing, Ranks, as_tensor, given_like, same_on_all
from hnscore.engine.cpu import Cpu
from hnscore.engine.host import host_rows
from hnscore.engine.pool import check_rows
from hnscore.engine.protocol import Request, Rules
from hnscore.engine.running import RunningBest
from hnscore.mining.of_dataset import texts_of

KINDS = ("positive", "hardest", "topk")


def reference_similarity(
    img_emb: object,
    txt_emb: object,
    *,
    owner: object = None,
    kind: str = "positive",
    k: int = 1,
    similarity: str = "cosine",
    n_threads: int | None = None,
    group: object = None,
) -> Any:
    """Similarity of each of this rank's texts with a paired image, which may lie on any rank.

    Parameters
    ----------
    img_emb, txt_emb : array (n_img, dim), (n_txt, dim)
        Of this rank.
    owner : integer array (n_txt,), optional
        Each text's own image, as a row among the images of all ranks. Default: text j of this rank owns its row j.
    kind : {"positive", "hardest", "topk"}
        As in `hnscore.reference_similarity`; "minibatch" is for one process.
    k, similarity, n_threads
        As there.
    group : ProcessGroup, optional
        Default: all ranks.

    Returns
    -------
    reference : float64 array (n_txt,)
        As `hnscore.reference_similarity` returns: with its bits.

    Raises
    ------
    TypeError, ValueError
        As there, on all ranks where it is so on one; and where they do not agree.

    Examples
    --------
    >>> import hnscore, hnscore.distributed, torch
    >>> import torch.distributed as dist
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # torchrun starts more
    >>> img, txt = torch.eye(3, 2) + 1, torch.eye(2)
    >>> hnscore.distributed.reference_similarity(img, txt, owner=torch.tensor([0, 1])).round(decimals=3)
    tensor([0.8940, 0.8940], dtype=torch.float64)
    >>> dist.destroy_process_group()
    """
    ranks = Ranks(group)

    def local() -> Any:
        check_choice("kind", kind, KINDS)
        check_choice("similarity", similarity, SIMILARITIES)
        if kind != "topk":
            check_given_with("k", k != 1, "kind='topk'", False)
        img, txt = as_tensor("img_emb", img_emb), as_tensor("txt_emb", txt_emb)
        check_same_width("img_emb", img, "txt_emb", txt)
        if owner is None:
            check_paired_lengths("owner=None", len(img), len(txt))
        for name, rows in (("img_emb", img), ("txt_emb", txt)):
            check_rows(host_rows(name, rows.cpu()), similarity, 1)
        settings = {
            "kind": kind, "k": k, "similarity": similarity, "owner": owner is not None, "dim": int(img.shape[1]),
            "dtype of img_emb": str(img.dtype),
        }  # fmt: skip
        return (img, txt), {"n_img": len(img), "settings": settings}

    (img, txt), found = ranks.agree(local)
    same_on_all([each["settings"] for each in found])
    pool = Passing(ranks, img.cpu(), [each["n_img"] for each in found], as_arrays=True)

    def owners() -> Any:
        if owner is None:
            return pool.first + np.arange(len(txt)), None
        return read_owners(owner, len(txt), len(pool), "the images of all ranks"), None

    own, _ = ranks.agree(owners)
    engine, texts = Cpu(n_threads), host_rows("txt_emb", texts_of(txt))
    if kind == "positive":
        values = engine.similarity(host_rows("img_emb", pool.take(own)), texts, similarity)
        return given_like(txt_emb, torch.from_numpy(values))
    check_other_images(kind, len(pool))
    rank = check_integer("k", k, 1, len(pool) - 1, "other images of all ranks")
    running = RunningBest(texts, rank, Request(similarity=similarity, k=rank), engine.threads)
    for block, first in pool.passes():
        running.add(host_rows("img_emb", block.rows), first, Rules(col_owners=own))
    return given_like(txt_emb, torch.from_numpy(running.values[:, -1].copy()))
