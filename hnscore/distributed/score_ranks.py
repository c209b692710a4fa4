"""`hnscore.score` where images and texts lie on many ranks: the texts pass by in blocks, the images stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hnscore.arguments.checks import check_same_width
from hnscore.arguments.keywords import accepts
from hnscore.arguments.numbers import check_choice
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.arguments.rules import check_both_groups, check_paired_lengths
from hnscore.arguments.values import read_group_labels, read_labels, read_values
from hnscore.distributed.ranks import Passing, Ranks, as_tensor, given_like, same_on_all
from hnscore.engine import engine_of
from hnscore.engine.pool import check_rows
from hnscore.engine.protocol import NO_RULES, Request
from hnscore.scores.rule import NUMBERS, SHOWN, Rule, keywords, settings_of
from hnscore.scores.scorer import Scorer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hnscore.scores.rule import WeightOptions

AGGREGATES = ("sum", "mean", "max")
_SAMPLED = 4096  # images that choose the method


_RULE = tuple(name for name in NUMBERS if name not in ("k", "minibatch", "method"))


@accepts(keywords("k", "minibatch", "top_k_images", "skip_top_images", "paired_emb", "random_state", *SHOWN))
def score(
    img_emb: object, txt_emb: object, margin: float = 0.2, *, group: object = None, **options: Unpack[WeightOptions]
) -> Any:
    """The scores of this rank's images against the texts of all ranks.

    Parameters
    ----------
    img_emb, txt_emb : array (n_img, dim), (n_txt, dim)
        Of this rank; as in `hnscore.score`. Ranks may have any number of rows, and none.
    reference : {"pool_max", "paired"}, array (n_txt,) or (n_txt, dim)
        As in `hnscore.score`: the best match among the images of all ranks; row j of this rank's images is the own
        image of its text j; or an array for this rank's texts.
    owner : integer array (n_txt,), optional
        Each text's own image, as a row among the images of all ranks.
    max_similarity, img_groups, txt_groups
        For this rank's rows.
    margin, weight, aggregate, method, ...
        As in `hnscore.score`, the same on all ranks; ``aggregate="topk"`` is for one process.
    n_threads : int, optional
        Of this rank.
    group : ProcessGroup, optional
        Default: all ranks.

    Returns
    -------
    scores : array (n_img,)
        As `hnscore.score` returns.

    Raises
    ------
    TypeError, ValueError
        As `hnscore.score`, on all ranks where it is so on one; and where the ranks do not agree on settings, dims or
        dtypes.

    Notes
    -----
    Counts are those of one call of `hnscore.score` on all rows. Sums are added up over blocks of 8,192 texts, in
    float64: the same bits for any number of ranks, and off by one rounding a block more than `hnscore.score` has.
    ``method="auto"`` is decided once, by 4,096 images from all ranks.

    Texts are broadcast block after block, the next one while one is scored. Memory beyond inputs and outputs: three
    blocks, one of them packed, and 16 bytes for each text of all ranks.

    Examples
    --------
    >>> import hnscore, hnscore.distributed, torch
    >>> import torch.distributed as dist
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # torchrun starts more
    >>> img, txt = torch.eye(3, 2) + 1, torch.eye(2)
    >>> hnscore.distributed.score(img, txt, 0.2, reference=torch.tensor([0.9, 0.9]), weight="count")
    tensor([1, 1, 2])
    >>> dist.destroy_process_group()
    """
    given: dict[str, Any] = {"img_emb": img_emb, "txt_emb": txt_emb, "margin": margin, **options}
    ranks = Ranks(group)
    (img, txt), found = ranks.agree(lambda: _local(given))
    same_on_all([each["settings"] for each in found])
    return given_like(img_emb, _Call(ranks, img, txt, found, given).scores())


def _local(given: dict[str, Any]) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
    """This rank's sides; and what all ranks are to know of it, small beside the embeddings."""
    img_emb, txt_emb, reference, owner = given["img_emb"], given["txt_emb"], given["reference"], given["owner"]
    img, txt = as_tensor("img_emb", img_emb), as_tensor("txt_emb", txt_emb)
    check_choice("aggregate", given["aggregate"], AGGREGATES)
    check_choice("similarity", given["similarity"], SIMILARITIES)
    check_choice("method", given["method"], METHODS)
    for name, rows in (("img_emb", img), ("txt_emb", txt)):
        if rows.ndim != 2:
            raise ValueError(f"{name} must have 2 dimensions (rows, dim), got shape {tuple(rows.shape)}")
    check_same_width("img_emb", img, "txt_emb", txt)
    engine = engine_of(given["n_threads"], img_emb=img, txt_emb=txt)
    n_img, n_txt, similarity = len(img), len(txt), given["similarity"]
    rule = Rule(**{name: given[name] for name in _RULE})
    settings_of(max(n_txt, 1), rule, engine.precisions)
    if engine.sees_values:
        for rows in (engine.embeddings("img_emb", img), engine.embeddings("txt_emb", txt)):
            check_rows(rows, similarity, engine.threads)  # here, where no rank waits yet
    check_both_groups(given["img_groups"], given["txt_groups"])
    own: object = None
    if isinstance(reference, str):
        check_choice("reference", reference, ("pool_max", "paired"))
        kind = "owner" if owner is not None else reference
        if reference == "paired":
            check_paired_lengths("reference='paired'", n_img, n_txt)
    else:
        kind = "array"
        if n_txt:
            side = engine.embeddings("txt_emb", txt)
            own = engine.give(txt, engine.reference(reference, n_txt, side, None, similarity)).cpu().numpy()
    limits = given["max_similarity"]
    known = {
        "n_img": n_img,
        "n_txt": n_txt,
        "reference": np.zeros(0) if own is None else own,
        "owner": None if owner is None else read_labels("owner", owner, n_txt).astype(np.int64),
        "limits": None if limits is None else read_values("max_similarity", limits, n_txt, upper_limits=True),
        "groups": None if given["txt_groups"] is None else read_group_labels("txt_groups", given["txt_groups"], n_txt),
        "settings": {name: given[name] for name in (*_RULE, "method")}
        | {
            "reference": kind, "owner": owner is not None, "max_similarity": limits is not None,
            "txt_groups": given["txt_groups"] is not None, "dim": int(img.shape[1]),
            "dtype of img_emb": str(img.dtype), "dtype of txt_emb": str(txt.dtype), "device": img.device.type,
        },
    }  # fmt: skip
    return (img, txt), known


class _Call:
    """A call on which all ranks agree."""

    def __init__(self, ranks: Ranks, img: Tensor, txt: Tensor, found: list[Any], given: dict[str, Any]) -> None:
        self.ranks, self.img, self.given = ranks, img, given
        self.texts = Passing(ranks, txt, [each["n_txt"] for each in found])
        counts = np.array([each["n_img"] for each in found])
        self.n_img, self.n_txt = int(counts.sum()), len(self.texts)
        self.first = int(counts[: ranks.rank].sum())  # the number of this rank's first image
        self.owners = self._owners(found, counts)
        self.reference = np.concatenate([each["reference"] for each in found])
        self.limits = self._joined(found, "limits")
        self.groups = self._joined(found, "groups")
        kind = found[0]["settings"]["reference"]
        self.kind = "owner" if kind == "paired" else kind
        if not self.n_txt:
            raise ValueError("txt_emb must have at least one row, got none on any rank; pass some texts")

    def _joined(self, found: list[Any], name: str) -> Any:
        return None if found[0][name] is None else np.concatenate([each[name] for each in found])

    def _owners(self, found: list[Any], counts: object) -> Any:
        if found[0]["settings"]["reference"] == "paired":
            return np.arange(self.n_txt)
        owners = self._joined(found, "owner")
        if owners is not None and len(owners) and not 0 <= owners.min() <= owners.max() < self.n_img:
            bad = owners[(owners < 0) | (owners >= self.n_img)][0]
            raise ValueError(
                f"owner must hold rows among the images of all ranks, 0 to {self.n_img - 1}, got {bad}; add the "
                "number of images on the ranks before"
            )
        return owners

    def scores(self) -> Tensor:
        given = self.given
        counts = given["weight"] == "count" and given["aggregate"] == "sum"
        total = torch.zeros(len(self.img), dtype=torch.int64 if counts else torch.float64, device=self.img.device)
        method = given["method"] if given["precision"] == "exact" and self.img.device.type == "cpu" else "dense"
        sample = None if method == "dense" else self._sample()
        settled: Scorer | None = None  # how, by the first block and a sample: the same on all ranks
        for first, texts in self.texts.blocks():
            part = slice(first, first + len(texts))
            own = self._references(texts, part)
            scorer = self._scorer(texts, own, part, method)
            if settled is not None:
                scorer._adopt(settled)
            elif sample is not None:
                scorer._choose_for(sample, self.n_img)
                settled = scorer
            if not len(self.img):
                continue
            owners = None if self.owners is None else self.owners[part]
            found = scorer._score(self.img, given["img_groups"], self.first, owners)
            if given["aggregate"] == "max":
                total = torch.maximum(total, found.to(total.dtype))
            else:
                total += found
        if given["aggregate"] == "mean":
            total /= self.n_txt
        return total if counts else total.float()

    def _scorer(self, texts: Any, own: Any, part: slice, method: Any) -> Scorer:
        given = self.given
        rule = {name: given[name] for name in _RULE} | {"aggregate": "max" if given["aggregate"] == "max" else "sum"}
        return Scorer(
            texts, reference=own, method=method, n_threads=given["n_threads"],
            max_similarity=None if self.limits is None else self.limits[part],
            txt_groups=None if self.groups is None else self.groups[part], **rule,
        )  # fmt: skip

    def _references(self, texts: Tensor, part: slice) -> Tensor:
        """Of the texts of a block, from the ranks that have what they are of."""
        if self.kind == "array":
            return torch.from_numpy(self.reference[part]).to(texts.device)
        own = torch.full((len(texts),), -torch.inf, dtype=torch.float64, device=texts.device)
        if len(self.img):
            engine = engine_of(self.given["n_threads"], img_emb=self.img, txt_emb=texts)
            img, txt = engine.embeddings("img_emb", self.img), engine.embeddings("txt_emb", texts)
            if self.kind == "pool_max":
                request = Request(similarity=self.given["similarity"], precision=self.given["precision"])
                own = engine.give(texts, engine.kth_best(txt, img, 1, request, NO_RULES)[0])
            else:
                rows = self.owners[part] - self.first
                here = np.flatnonzero((rows >= 0) & (rows < len(self.img)))
                if len(here):
                    at, mine = (torch.from_numpy(x).to(texts.device) for x in (here, rows[here]))
                    sides = engine.embeddings("img_emb", self.img[mine]), engine.embeddings("txt_emb", texts[at])
                    own[at] = engine.give(texts, engine.similarity(*sides, self.given["similarity"]))
        return self.ranks.largest(own)

    def _sample(self) -> Any:
        """Images of all ranks, the same ones however they are spread."""
        step = max(1, self.n_img // _SAMPLED)
        rows = self.img[-self.first % step :: step].float().cpu()
        return torch.cat(self.ranks.gather(rows))
