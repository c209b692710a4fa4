"""The score of every pool image: how much of a hard negative it is for the texts that are already paired."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.rules import check_same_dim, check_sides
from hnscore.datasets.dataset import Dataset
from hnscore.engine import engine_of
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import NO_RULES, Engine, Rows, Rules
from hnscore.scores.rule import Rule
from hnscore.scores.texts import TextSide

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike
    from hnscore.scores.rule import ScoreOptions


@overload
def score(
    img_emb: torch.Tensor, txt_emb: torch.Tensor, margin: float = 0.2, **options: Unpack[ScoreOptions]
) -> torch.Tensor: ...
@overload
def score(
    img_emb: ArrayLike, txt_emb: ArrayLike, margin: float = 0.2, **options: Unpack[ScoreOptions]
) -> NDArray[Any]: ...
def score(  # noqa: PLR0913
    img_emb: object,
    txt_emb: object,
    margin: float = 0.2,
    *,
    relative_margin: float = 0.0,
    reference: object = "pool_max",
    weight: str = "hinge",
    aggregate: str = "sum",
    k: int | None = None,
    top_k_images: int | None = None,
    skip_top_images: int | None = None,
    max_similarity: object = None,
    img_groups: object = None,
    txt_groups: object = None,
    owner: object = None,
    paired_emb: object = None,
    minibatch: int | None = None,
    similarity: str = "cosine",
    temperature: float | None = None,
    precision: str = "exact",
    method: str = "auto",
    random_state: object = None,
    n_threads: int | None = None,
    show_progress_bar: bool = False,
    verbose: bool = False,
) -> Any:
    """Score every unpaired image by how much of a hard negative it is for the paired texts.

    A text's similarities are measured against its *reference*. Where you know each text's own image, pass it: `owner`,
    or `reference` as an array. The default, ``reference="pool_max"``, takes the text's best match in the pool instead:
    it is for texts whose images are not at hand, and many more pairs may count.

    With the rows of both sides normalised, and without the ``(n_img, n_txt)`` matrix, the defaults equal::

        s = img_emb @ txt_emb.T                   # similarity
        tau = s.max(axis=0) - margin              # threshold of each text: its reference less the margin
        gap = s - tau
        scores = np.where(gap > 0, gap, 0).sum(axis=1)

    Parameters
    ----------
    img_emb : array (n_img, dim)
        The pool. NumPy array, torch tensor or anything with DLPack or ``__array__``, in CPU memory or on an NVIDIA
        GPU; float16, bfloat16, float32, float64 or integers, with any strides. It is read where it lies,
        memory-mapped files included. Or a `dataset`, read block by block.
    txt_emb : array (n_txt, dim)
        The texts that are already paired with an image; the same kinds and dtypes, independently of img_emb's dtype.
    margin : float
        The triplet loss margin, a similarity difference.
    reference : {"pool_max", "paired"}, array (n_txt,) or array (n_txt, dim)
        What a text's similarities are measured against. ``"pool_max"``: its best match in the whole pool, before
        groups and max_similarity; **the score of an image then depends on the pool it comes in**. ``"paired"``: row
        j of img_emb is text j's own image (needs n_img = n_txt); that pair is the reference and never counts.
        An array ``(n_txt,)``: similarities, floats, for example from `reference_similarity`. An array
        ``(n_txt, dim)``: each text's own image embedding.
    owner : integer array (n_txt,), optional
        Each text's own image, as a row of `paired_emb` or, without it, of img_emb. Its similarity is the reference,
        unless `reference` is an array; and where it is a row of img_emb the pair never counts.
    weight : {"hinge", "count", "squared_hinge", "similarity", "exp"}
        The weight of a pair whose gap is above 0: gap, 1, gap^2, s, or exp(gap / temperature).

    Returns
    -------
    scores : array (n_img,)
        float32, the kind of array that img_emb is, on its device; int64 for ``weight="count"`` with
        ``aggregate="sum"`` and no minibatch. A weight beyond the float32 range is +inf, but that similarities keep
        their float64 values, which may cancel; a score beyond it is infinite. Torch results carry no
        gradient.

    Other Parameters
    ----------------
    relative_margin : float
        A margin that grows with the reference r of a text: its threshold is ``r - margin - relative_margin * abs(r)``.
        At least 0. With ``margin=0, relative_margin=0.05``, 95 % of a positive reference.
    aggregate : {"sum", "mean", "max", "topk"}
        How the weights of one image become its score. The mean is over all n_txt texts; the maximum and the sum of
        the `k` largest look at qualifying pairs only: none gives 0, fewer than k gives all of them.
    k : int, optional
        For ``aggregate="topk"`` only.
    top_k_images : int, optional
        Only the so many most similar images of each text count, among those that owner, groups and max_similarity
        leave; ties go to the lowest row. Our reading of the Top-k variant of [1]_.
    skip_top_images : int, optional
        The so many most similar images of each text, among the same, do not count (likely false negatives). With
        ``skip_top_images=10, top_k_images=210`` ranks 10 to 209 count, from 0.
    max_similarity : float or array (n_txt,), optional
        Pairs more similar than this do not count (probable false negatives); +inf is allowed.
    img_groups, txt_groups : arrays of integers or strings (n_img,), (n_txt,), optional
        A pair with equal labels never counts. Both or neither, of one kind; no label value is special.
    paired_emb : array (n, dim), optional
        The images that are paired already, where they are not in img_emb; as img_emb.
    minibatch : int, optional
        Score against this many texts, drawn without replacement. A sum is scaled by n_txt / minibatch.
        Our reading of the mini-batch variant of [1]_.
    similarity : {"cosine", "dot"}
        Cosine normalises the rows on the way in.
    temperature : float, optional
        For ``weight="exp"`` only, in units of similarity.
    precision : {"exact", "fp32", "bf16"}, and "fp16" on a GPU
        ``"exact"``: a pair counts as it does with exact dot products rounded once to float64, so that counts are the
        same integers everywhere; a sum is within 4 * 2^-24 of the sum over its qualifying pairs of
        ``|dw/ds| * norm(x) * norm(t)``, plus the rounding of the output. Where the threshold is larger than any
        similarity, ``|tau|`` stands for ``norm(x) * norm(t)``; for rows of few different magnitudes on both sides,
        such as constant ones, 4 becomes 8; and a weight of ``"exp"`` is off by
        ``(4 * |gap| / temperature + 5) * 2^-24`` of itself more.
        ``"fp32"``: the same sums, but pairs within float32 rounding of their threshold (a few
        2^-24 * norm(x) * norm(t)) may fall on either side. ``"bf16"``: embeddings are rounded to 8 significant bits,
        which moves a similarity by at most 2^-7 * norm(x) * norm(t), usually far less. ``"fp16"``: to 11
        bits after scaling by a power of two, at most 2^-10 * norm(x) * norm(t). On a GPU a cosine is that of the
        rounded rows, which may double both, and its tensor cores add up to dim * 2^-22 * norm(x) * norm(t).
    method : {"auto", "dense", "cascade"}
        ``"dense"`` computes every similarity. ``"cascade"`` drops most pairs after a glance at few dimensions in low
        precision, by a bound that never drops one that counts, and decides the rest: the same counts, sums within
        the error of `precision`, several times faster where few pairs count. ``"auto"`` takes what it expects
        to be faster, from a sample of the call's own embeddings. Each of the two gives the same bits for any number
        of threads and any chunks. A cascade is always exact: ``precision="exact"`` only.
    random_state : int, numpy.random.Generator or RandomState, optional
        Seed of the minibatch.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it. A GPU needs none.
    show_progress_bar : bool
        Show the rows done, the rate and the time left. Not for arrays on a GPU: the call returns before they are done.
    verbose : bool
        Print in one line what was decided. The logger "hnscore" has it at level INFO in any case.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no embeddings, float labels, NumPy mixed with torch.
    ValueError
        For shapes, dims, NaN, Inf, zero rows under cosine, values out of range, and arrays on different devices. What
        only a GPU can see is told later: see `hnscore.cuda.check`.
    RuntimeError, MemoryError
        Where a GPU cannot do it: RuntimeError in the words of CUDA or of what this build lacks, and
        torch.OutOfMemoryError, for tensors, or MemoryError.

    Warns
    -----
    MarginWarning
        When over half of a sample of the pairs qualify, or, of 65,536 pairs or more, none. On a GPU it needs an answer
        from there: the first comes only where `verbose` is set or CUDA_LAUNCH_BLOCKING=1, the second never.

    Notes
    -----
    On a GPU the call queues its work on the current stream of torch or CuPy, or on the default stream, takes memory
    from torch's allocator, and waits for nothing, but for an `owner` that is there, whose values are looked at. A call
    that has been made once can be captured into a CUDA graph if all its arrays are on the device and there is no owner;
    reference, groups and max_similarity may else be in CPU memory. Counts are those of the CPU.

    Memory beyond inputs and outputs: the packed texts, about ``4 * n_txt * dim`` bytes (2 with bf16 on machines that
    multiply it), ``32 * (n_img + n_txt)`` bytes and a fixed workspace. ``"pool_max"`` and `top_k_images` add 16 MiB of
    packed images and at most 64 MiB of running best images, and one more pass over the pairs.

    The method sections of [1]_ were not at hand: these rules cover the variants that its summary names.

    References
    ----------
    .. [1] Jo, Lee, Chung, Choi, "Active Learning for Finely-Categorized Image-Text Retrieval by Selecting Hard
       Negative Unpaired Samples", arXiv 2405.16301.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> img, txt = np.eye(3, 2, dtype=np.float32) + 1, np.eye(2, dtype=np.float32)
    >>> hnscore.score(img, txt, 0.2, reference=np.array([0.9, 0.9])).round(3)
    array([0.194, 0.194, 0.014], dtype=float32)
    """
    torch = sys.modules.get("torch")
    if isinstance(img_emb, Dataset):
        from hnscore.scores.of_dataset import score_dataset

        return score_dataset(img_emb, txt_emb, Rule.of(locals()))
    if torch is not None and type(img_emb) is not np.ndarray and torch.compiler.is_compiling():
        from hnscore.scores import operators

        return operators.traced(locals())
    return _score(img_emb, txt_emb, Rule.of(locals()))


def _score(img_emb: object, txt_emb: object, rule: Rule) -> Any:
    engine, img, texts, rules = resolve(img_emb, txt_emb, rule)
    n_img = img.shape[0]
    if not n_img:
        return engine.give(img_emb, engine.no_scores(texts.settings.request.dtype))
    if rule.top_k_images is None:
        texts.warn_if_wide(engine, img, rule.verbose)
    texts.log(engine, n_img, rule.verbose, rule)
    scores = texts.scores(engine, img, rules, rows_bar(rule.show_progress_bar, "score", n_img))
    if engine.sees_values and rule.top_k_images is None and rule.skip_top_images is None:
        texts.warn_if_none(img, scores)
    return engine.give(img_emb, scores)


class Resolved(NamedTuple):
    """A call's two sides, its thresholds and which pairs count; texts are packed where there are images."""

    engine: Engine[Any, Any, Any]
    img: Any
    texts: TextSide[Any, Any, Any]
    rules: Rules[Any]


def resolve(img_emb: object, txt_emb: object, rule: Rule, recipe: str | None = None, closed: bool = False) -> Resolved:
    """Which pairs count. `recipe`: for what is made of them, where that is not what the rule says."""
    engine = engine_of(rule.n_threads, img_emb=img_emb, txt_emb=txt_emb)
    img, txt = engine.embeddings("img_emb", img_emb), engine.embeddings("txt_emb", txt_emb)
    check_sides(img_emb, txt_emb, img, txt)
    n_img, n_txt = img.shape[0], txt.shape[0]
    top_k_images, skip_top_images = rule.of_pool(n_img, n_txt)
    texts = TextSide(engine, txt, rule, n_img, recipe=recipe)
    request = texts.settings.request
    rules = texts.rules_for(engine, rule.img_groups, n_img)
    own = texts.given(rule.reference) if not isinstance(rule.reference, str) else None
    if rule.owner is not None:
        paired, name = img, "img_emb"
        if rule.paired_emb is not None:
            paired, name = paired_images(engine, rule.paired_emb, txt), "paired_emb"
        rows = texts.owned(rule.owner, paired, name)
        own = texts.similarity(paired, rows) if own is None else own
        if rule.paired_emb is None:
            rules = rules._replace(row_owners=engine.arange(n_img), col_owners=rows)
    if not n_img:
        return Resolved(engine, img, texts, rules)

    if own is None and rule.reference == "pool_max":
        bar = rows_bar(rule.show_progress_bar, "reference", n_img)
        own, _ = engine.kth_best(texts.txt, img, 1, request, NO_RULES, bar)
    elif own is None:
        rows = engine.paired_owners(n_txt, texts.drawn)
        own = texts.similarity(img, rows)
        rules = rules._replace(row_owners=engine.arange(n_img), col_owners=rows)
    texts.set_reference(own, closed)
    ranks = {"kth": top_k_images, "skip": skip_top_images}
    for end, rank in ranks.items():
        if rank is None or (end == "kth" and rank >= n_img):  # fewer images than that: all of them count
            continue
        bar = rows_bar(rule.show_progress_bar, "top images", n_img)
        value, row = engine.kth_best(texts.txt, img, min(rank, n_img), request, rules.unranked(), bar)
        rules = rules._replace(**{f"{end}_value": value, f"{end}_row": row})
    texts.prepare(img, n_img, rules)
    return Resolved(engine, img, texts, rules)


def paired_images(engine: Engine[Rows, Any, Any], paired_emb: object, txt: Rows) -> Rows:
    """Images that are paired already and not in the pool."""
    paired = engine.paired("paired_emb", paired_emb)
    check_same_dim(paired, txt, "paired_emb")
    return paired
