"""`hnscore.mine` where images and texts lie on many ranks: the images pass by in blocks, the texts stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from hnscore.arguments.checks import check_same_width
from hnscore.arguments.numbers import check_choice
from hnscore.arguments.values import read_group_labels
from hnscore.datasets.shard import Block
from hnscore.distributed.ranks import Passing, Ranks, as_tensor, given_like, same_on_all
from hnscore.engine.host import host_rows
from hnscore.engine.pool import check_rows
from hnscore.mining.mine import DEFAULTS
from hnscore.mining.of_dataset import MineOfDataset, texts_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hnscore.arguments.options import MineOptions

_ARRAYS = ("reference", "owner", "max_similarity", "min_similarity", "img_groups", "txt_groups")


def mine(
    img_emb: object, txt_emb: object, k: int, *, group: object = None, **options: Unpack[MineOptions]
) -> tuple[Any, Any]:
    """The k hardest negatives of each of this rank's texts among the images of all ranks.

    Parameters
    ----------
    img_emb, txt_emb : array (n_img, dim), (n_txt, dim)
        Of this rank; as in `hnscore.mine`. A rank may have no images, but some texts.
    k, **options
        As in `hnscore.mine`, the same on all ranks, with ``sampling="top"`` alone; arrays are for this rank's rows.
        ``reference="paired"``: row j of this rank's images is the positive of its text j. `owner` holds rows among the
        images of all ranks.
    group : ProcessGroup, optional
        Default: all ranks.

    Returns
    -------
    similarities : float64 array (n_txt, k)
        As `hnscore.mine` returns.
    indices : int64 array (n_txt, k)
        Rows among the images of all ranks.

    Raises
    ------
    TypeError, ValueError
        As `hnscore.mine`, on all ranks where it is so on one; and where they do not agree on settings, dims or dtypes.

    Notes
    -----
    Images are broadcast block after block, the next one while one is looked at, and for references and positives once
    more. Tensors on a GPU are computed on the CPU. The result is that of one call of `hnscore.mine` on all rows.

    Examples
    --------
    >>> import hnscore, hnscore.distributed, torch
    >>> import torch.distributed as dist
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # torchrun starts more
    >>> img, txt = torch.eye(3, 2) + 1, torch.eye(2)
    >>> hnscore.distributed.mine(img, txt, 1, reference=torch.tensor([0.9, 0.9]), margin=0.1)[1]
    tensor([[2],
            [2]])
    >>> dist.destroy_process_group()
    """
    given: dict[str, Any] = DEFAULTS | dict(options) | {"txt_emb": txt_emb, "k": k, "img_emb": None}
    ranks = Ranks(group)
    (img, txt), found = ranks.agree(lambda: _local(img_emb, txt_emb, given))
    same_on_all([each["settings"] for each in found])
    pool = Passing(ranks, img.cpu(), [each["n_img"] for each in found], as_arrays=True)
    if isinstance(given["reference"], str) and given["reference"] == "paired":
        given |= {"reference": None, "owner": pool.first + np.arange(len(txt))}
    if given["img_groups"] is not None:
        given["img_groups"] = np.concatenate([each["groups"] for each in found])
    given["txt_emb"] = texts_of(txt)
    if not len(txt):
        given = _with_one_text(given, pool.shape[1])
    ranks.agree(lambda: (MineOfDataset(_Unread(pool.shape), given), None))
    similarities, indices = (torch.from_numpy(x)[: len(txt)] for x in MineOfDataset(pool, given).mined())
    return given_like(txt_emb, similarities), given_like(txt_emb, indices)


def _local(img_emb: object, txt_emb: object, given: dict[str, Any]) -> Any:
    img, txt = as_tensor("img_emb", img_emb), as_tensor("txt_emb", txt_emb)
    check_same_width("img_emb", img, "txt_emb", txt)
    check_choice("sampling", given["sampling"], ("top",))
    reference, labels = given["reference"], given["img_groups"]
    if isinstance(reference, str) and reference == "paired" and len(img) != len(txt):
        raise ValueError(
            f"reference='paired' needs as many images as texts on each rank, got {len(img)} and {len(txt)}; pass owner"
        )
    for name, rows in (("img_emb", img), ("txt_emb", txt)):
        side = host_rows(name, rows.cpu())
        check_rows(side, given["similarity"], 1)
    settings = {name: x for name, x in given.items() if name not in (*_ARRAYS, "img_emb", "txt_emb", "n_threads")}
    settings |= {name: reference if isinstance(given[name], str) else given[name] is not None for name in _ARRAYS}
    settings |= {"dim": int(img.shape[1]), "dtype of img_emb": str(img.dtype)}
    groups = None if labels is None else read_group_labels("img_groups", labels, len(img))
    return (img, txt), {"n_img": len(img), "groups": groups, "settings": settings}


class _Unread:
    """A pool of that shape, for the checks of a call before rows pass: an error then leaves no rank waiting."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def passes(self, bar: object = None) -> Iterator[Any]:
        return iter(())

    def naming(self, block: Block) -> AbstractContextManager[None]:
        return nullcontext()

    def take(self, rows: NDArray[np.int64]) -> Any:
        return np.ones((len(rows), self.shape[1]), np.float32)


def _with_one_text(given: dict[str, Any], dim: int) -> dict[str, Any]:
    """For a rank without texts, which takes part in every pass."""
    one: dict[str, Any] = {"txt_emb": np.ones((1, dim), np.float32)}
    for name in ("owner", "reference", "max_similarity", "min_similarity"):
        if given[name] is not None and not isinstance(given[name], (str, float, int)):
            one[name] = np.zeros(1, np.int64 if name == "owner" else np.float64)
    if given["txt_groups"] is not None:
        one["txt_groups"] = given["img_groups"][:1]
    return given | one
