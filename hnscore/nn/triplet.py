"""The triplet loss of image-text retrieval, of the pairs that violate the margin alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from hnscore import _core
from hnscore.arguments.checks import check_one_text_per_image
from hnscore.arguments.numbers import check_choice, check_flag, check_not_negative
from hnscore.arguments.options import SIMILARITIES
from hnscore.arguments.values import read_group_labels
from hnscore.engine.cpu import Cpu
from hnscore.engine.lists import Lists, by_other_side
from hnscore.engine.pool import PoolSide
from hnscore.mining.mine import DEFAULTS as MINE
from hnscore.mining.mine_call import MineCall
from hnscore.mining.pairs import DEFAULTS as PAIRS
from hnscore.mining.pairs import PairCall

_DENSE = 0.04  # share of pairs above which products of matrices are faster than lists
_LISTS = 1024
_LEAST_NORM = 1e-12  # as torch.nn.functional.normalize has it
_SAMPLED = 64  # rows that tell the share
_ROW_BYTES = 2**22  # of rows of the matrix at a time


class TripletLoss(torch.nn.Module):
    """Hinges of all negatives of a batch, or of the hardest ones, in both directions: the loss of VSE++.

    For a batch of B pairs, with ``s = img @ txt.T`` and without the diagonal and pairs of equal groups::

        of_texts = (margin + s - s.diagonal()).clamp(min=0)                   # image i against the image of text j
        of_images = (margin + s - s.diagonal()[:, None]).clamp(min=0)         # text j against the text of image i
        loss = of_texts.sum() + of_images.sum()
        loss = of_texts.amax(0).sum() + of_images.amax(1).sum()               # max_violation=True

    Only pairs that violate the margin are held, some at a time, in place of the (B, B) matrix.

    Parameters
    ----------
    margin : float
        A similarity difference; at least 0.
    max_violation : bool
        Only the hardest negative of each text and of each image.
    similarity : {"cosine", "dot"}
        Cosine normalises the rows; dot is for rows that are.
    n_threads : int, optional
        Default: all that the process may use.

    Notes
    -----
    Embeddings on a GPU are copied to the CPU, where this is computed, and the gradients are put beside them. Which
    pairs violate the margin is decided exactly, as by `hnscore.pairs`, unless more than about 4 % do: then all products
    are formed, in the dtype of the embeddings, some rows at a time. The loss is summed up in float64. It can be
    differentiated once.

    References
    ----------
    Faghri, Fleet, Kiros, Fidler: VSE++: Improving Visual-Semantic Embeddings with Hard Negatives, BMVC 2018.

    Examples
    --------
    >>> import torch, hnscore.nn
    >>> img, txt = torch.eye(3), torch.eye(3) + 0.4
    >>> hnscore.nn.TripletLoss(margin=0.8)(img, txt)
    tensor(1.6528)
    """

    def __init__(
        self,
        margin: float = 0.2,
        max_violation: bool = False,
        similarity: str = "cosine",
        n_threads: int | None = None,
    ) -> None:
        super().__init__()
        self.margin = check_not_negative("margin", margin)
        self.max_violation = check_flag("max_violation", max_violation)
        check_choice("similarity", similarity, SIMILARITIES)
        self.similarity, self.n_threads = similarity, n_threads

    def forward(self, img_emb: Tensor, txt_emb: Tensor, groups: object = None) -> Tensor:
        """The loss of a batch.

        Parameters
        ----------
        img_emb, txt_emb : float tensors (B, dim)
            Row i of both is a pair.
        groups : array of integers or strings (B,), optional
            Pairs of equal groups are no negatives: an image that comes with several of its captions.

        Returns
        -------
        loss : tensor ()
            Of the dtype of img_emb.

        Raises
        ------
        TypeError, ValueError
            As `hnscore.score`; and for sides of different length.
        """
        check_one_text_per_image("txt_emb", len(txt_emb), "img_emb", len(img_emb))
        labels = None
        if groups is not None:
            labels = torch.from_numpy(
                np.unique(read_group_labels("groups", groups, len(img_emb)), return_inverse=True)[1]
            )
        if len(img_emb) < 2:
            return (img_emb * 0).sum() + (txt_emb * 0).sum()
        hinges: Any = _Hinges.apply
        how = _How(self.similarity == "cosine", self.margin, self.max_violation, self.n_threads)
        loss: Tensor = hinges(img_emb, txt_emb, labels, how)
        return loss


class _How(NamedTuple):
    cosine: bool
    margin: float
    hardest: bool
    n_threads: int | None


class _Hinges(torch.autograd.Function):
    """The loss is linear in the similarities, given which pairs violate the margin: its gradient is known with its
    value, and all that is kept."""

    @staticmethod
    def forward(ctx: Any, img_emb: Tensor, txt_emb: Tensor, groups: Tensor | None, how: _How) -> Tensor:
        img, txt = (x.detach().cpu() for x in (img_emb, txt_emb))
        if img.dtype not in {torch.float32, torch.float64}:  # 16 bits do not count to 2^11
            img, txt = img.float(), txt.float()
        norms = [x.norm(dim=1, keepdim=True).clamp_min(_LEAST_NORM) if how.cosine else None for x in (img, txt)]
        img, txt = (x if norm is None else x / norm for x, norm in zip((img, txt), norms, strict=True))
        sums = _Sums(img, txt, any(ctx.needs_input_grad[:2]))
        if not how.hardest and _share(img, txt, how.margin) > _DENSE:
            _add_rows(sums, groups, how.margin)
        else:
            find = _hardest if how.hardest else _all
            for a, b in ((0, 1), (1, 0)):  # rows of side a violate the margin of rows of side b
                for first, lists, hinges in find(sums.sides[a], sums.sides[b], groups, how.margin, how.n_threads):
                    sums.value += hinges
                    sums.add_lists(a, b, first, lists)
        gradients = sums.gradients()
        for g, x, norm in zip(gradients, sums.sides, norms, strict=True):
            if norm is not None and sums.wanted:  # of a row divided by its norm
                along = torch.where(norm > _LEAST_NORM, torch.einsum("ij,ij->i", g, x)[:, None], 0.0)
                g.addcmul_(along, x, value=-1).div_(norm)
        ctx.save_for_backward(*(g.to(x) for g, x in zip(gradients, (img_emb, txt_emb), strict=True)))
        return torch.tensor(sums.value, dtype=img_emb.dtype, device=img_emb.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors  # type: ignore[attr-defined]
        if outputs[0] != 1:  # else they are as they are wanted, and large
            gradients = [outputs[0] * g for g in gradients]
        return *gradients, None, None


class _Sums:
    """The loss and what is summed up for its gradients: w_ij (x_i . t_j - x_j . t_j) gives w_ij t_j to row i of the
    images, w_ij x_i to row j of the texts, and takes the own pair of j away as often."""

    def __init__(self, img: Tensor, txt: Tensor, wanted: bool) -> None:
        self.sides, self.wanted, self.value = (img, txt), wanted, 0.0
        self.sums = torch.zeros_like(img), torch.zeros_like(txt)
        self.counts = torch.zeros(len(img), dtype=img.dtype)

    def add_lists(self, a: int, b: int, first: int, lists: Lists) -> None:
        """Rows of side a from `first` on, each with those of side b whose margin it violates."""
        if not self.wanted:
            return
        rows = slice(first, first + len(lists.offsets) - 1)
        other = by_other_side(lists, len(self.counts))
        _add_sums(self.sums[a][rows], lists, self.sides[b])
        _add_sums(self.sums[b], other, self.sides[a][rows])
        self.counts += torch.from_numpy(np.diff(other.offsets))

    def gradients(self) -> tuple[Tensor, Tensor]:
        for a in (0, 1):
            self.sums[a].addcmul_(self.counts[:, None], self.sides[1 - a], value=-1)
        return self.sums


def _share(img: Tensor, txt: Tensor, margin: float) -> float:
    """Of the pairs of some images that violate the margin of a text."""
    rows = torch.arange(0, len(img), max(1, len(img) // _SAMPLED))
    own = torch.einsum("ij,ij->i", img, txt)
    return float((img[rows] @ txt.T > own - margin).double().mean())


def _add_rows(sums: _Sums, groups: Tensor | None, margin: float) -> None:
    """Both directions of some rows of the matrix after the other."""
    img, txt = sums.sides
    n = len(img)
    labels = torch.arange(n) if groups is None else groups
    floor = torch.einsum("ij,ij->i", img, txt) - margin
    step = max(1, _ROW_BYTES // (n * img.element_size()))
    for first in range(0, n, step):
        rows = slice(first, first + step)
        s = img[rows] @ txt.T
        s.masked_fill_(labels[rows, None] == labels, -torch.inf)
        of_texts, of_images = torch.relu(s - floor), s.sub_(floor[rows, None]).relu_()
        sums.value += float(of_texts.sum(dtype=torch.float64) + of_images.sum(dtype=torch.float64))
        if sums.wanted:
            sums.counts += of_texts.sign_().sum(dim=0)
            sums.counts[rows] += of_images.sign_().sum(dim=1)
            weights = of_texts.add_(of_images)
            sums.sums[0][rows] = weights @ txt
            sums.sums[1].addmm_(weights.T, img[rows])


Violations = Iterator[tuple[int, Lists, float]]


def _all(
    candidates: Tensor, anchors: Tensor, groups: Tensor | None, margin: float, n_threads: int | None
) -> Violations:
    """Part after part of the candidates: its first row, which anchors each violates, and the sum of these hinges."""
    given = {
        "img_emb": candidates, "txt_emb": anchors, "margin": margin, "reference": "paired", "img_groups": groups,
        "txt_groups": groups, "similarity": "dot", "n_threads": n_threads,
        "dtype": "float64" if candidates.dtype == torch.float64 else "float32",
    }  # fmt: skip
    call = PairCall(PAIRS | given, quiet=True)
    tau: Any = call.texts.tau
    for part in call.parts():
        hinges = part.similarities.sum(dtype=np.float64) - tau[part.columns].sum()
        yield part.first, part.lists(), float(hinges)


def _hardest(
    candidates: Tensor, anchors: Tensor, groups: Tensor | None, margin: float, n_threads: int | None
) -> Violations:
    """The same of the one that violates the margin of an anchor most."""
    rows = np.arange(len(anchors))
    given = {
        "img_emb": candidates, "txt_emb": anchors, "k": 1, "owner": rows, "margin": None,
        "img_groups": groups, "txt_groups": groups, "similarity": "dot", "n_threads": n_threads,
    }  # fmt: skip
    call = MineCall(MINE | given, PoolSide(Cpu(n_threads).embeddings("img_emb", candidates)))
    similarities, indices = call.best(1)
    own = call.similarities_of_positives
    gaps = similarities[:, 0] - (own - margin)
    found = np.flatnonzero(gaps > 0)
    lists = Lists(*_core.group(indices[found, 0], found, gaps[found], len(candidates)))
    yield 0, lists, float(gaps[found].sum())


def _add_sums(to: Tensor, lists: Lists, rows: Tensor) -> None:
    """Adds the sum of the listed rows of each list, so many lists at a time: a sum is as long as a row."""
    for first in range(0, len(to), _LISTS):
        offsets = torch.from_numpy(lists.offsets[first : first + _LISTS + 1])
        indices = torch.from_numpy(lists.indices[offsets[0] : offsets[-1]])
        sums = functional.embedding_bag(indices, rows, offsets[:-1] - offsets[0], mode="sum")
        to[first : first + _LISTS] += sums
