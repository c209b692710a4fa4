"""References from paired images: what the similarities of a text are measured against."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.numbers import check_choice, check_given_with, check_integer
from hnscore.arguments.options import REFERENCE_KINDS, SIMILARITIES
from hnscore.arguments.rules import check_not_empty, check_other_images, check_paired_lengths, check_sides
from hnscore.engine import engine_of
from hnscore.engine.protocol import Request, Rules

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, ReferenceOptions

# Ranks of the mini-batch expectation are left out once they hold less than this share of the whole weight: their
# similarities, at most as large as those before them, are below the rounding of the sum.
_LEAST_WEIGHT = 2.0**-60


@overload
def reference_similarity(
    img_emb: torch.Tensor, txt_emb: torch.Tensor, **options: Unpack[ReferenceOptions]
) -> torch.Tensor: ...
@overload
def reference_similarity(
    img_emb: ArrayLike, txt_emb: ArrayLike, **options: Unpack[ReferenceOptions]
) -> NDArray[np.float64]: ...
def reference_similarity(
    img_emb: object,
    txt_emb: object,
    *,
    owner: object = None,
    kind: str = "positive",
    k: int = 1,
    batch_size: int | None = None,
    similarity: str = "cosine",
    n_threads: int | None = None,
) -> Any:
    """Similarity of each text with a paired image, to be the reference of `score`.

    With the rows of both sides normalised this equals, for each text j with ``s = img_emb @ txt_emb[j]``::

        others = np.sort(np.delete(s, owner[j]))[::-1]
        s[owner[j]]                               # "positive"
        others[0]                                 # "hardest"
        others[k - 1]                             # "topk"
        sum(others[r - 1] * comb(N - r, b - 1) / comb(N, b) for r in range(1, N - b + 2))
                                                  # "minibatch", N = len(others), b = batch_size - 1

    Parameters
    ----------
    img_emb : array (n_img, dim)
        The paired images; kinds and dtypes as in `score`.
    txt_emb : array (n_txt, dim)
        Their texts.
    owner : integer array (n_txt,), optional
        Row of each text's own image. Default: text j owns row j, which needs n_img = n_txt.
    kind : {"positive", "hardest", "topk", "minibatch"}
        The text's own image; the hardest other image; the k-th hardest other; the expected hardest other in a random
        mini-batch of `batch_size` images that has the text's own among them.
    k : int
        For ``kind="topk"``: from 1 to n_img - 1.
    batch_size : int, optional
        For ``kind="minibatch"``: from 2 to n_img.
    similarity : {"cosine", "dot"}
        Cosine normalises the rows on the way in.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.

    Returns
    -------
    reference : float64 array (n_txt,)
        The kind of array that img_emb is. A similarity is the exact dot product rounded once to float64, divided by
        the root of the product of the exact squared norms: equal rows have exactly 1, and none has more. An
        expectation is off by a few float64 roundings more.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no embeddings, a float owner, NumPy mixed with torch.
    ValueError
        For shapes, dims, NaN, Inf, zero rows under cosine, and values out of range.

    Notes
    -----
    Memory beyond inputs and outputs: 16 MiB of packed images and at most 64 MiB of running best images; with
    ``"minibatch"`` all packed images, about ``4 * n_img * dim`` bytes, and the ranks that count of one text per thread.

    On a GPU nothing waits, as in `score`, unless `owner` is there: its values are looked at.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> hnscore.reference_similarity(np.eye(3), np.array([[1.0, 0, 0], [0.6, 0.8, 0]]), owner=[0, 1])
    array([1. , 0.8])
    """
    arguments = (img_emb, txt_emb, owner, kind, k, batch_size, similarity, n_threads)
    torch = sys.modules.get("torch")
    if torch is not None and type(img_emb) is not np.ndarray and torch.compiler.is_compiling():
        from hnscore.scores import operators

        return operators.traced_reference(*arguments)
    return _reference_similarity(*arguments)


def _reference_similarity(  # noqa: PLR0917
    img_emb: object,
    txt_emb: object,
    owner: object,
    kind: str,
    k: int,
    batch_size: int | None,
    similarity: str,
    n_threads: object,
) -> Any:
    check_choice("kind", kind, REFERENCE_KINDS)
    check_choice("similarity", similarity, SIMILARITIES)
    engine = engine_of(n_threads, img_emb=img_emb, txt_emb=txt_emb)
    img, txt = engine.embeddings("img_emb", img_emb), engine.embeddings("txt_emb", txt_emb)
    check_sides(img_emb, txt_emb, img, txt)
    check_not_empty("img_emb", img)
    check_not_empty("txt_emb", txt)
    n_img, n_txt = img.shape[0], txt.shape[0]
    check_given_with("batch_size", batch_size is not None, "kind='minibatch'", kind == "minibatch")
    if kind != "topk":
        check_given_with("k", k != 1, "kind='topk'", False)
    if kind != "positive":
        check_other_images(kind, n_img)
    if owner is None:
        check_paired_lengths("owner=None", n_img, n_txt)
    own = engine.paired_owners(n_txt, None) if owner is None else engine.owners(owner, n_txt, n_img, "img_emb")
    if kind == "positive":
        result = engine.similarity(img, txt, similarity, None if owner is None else own)
    elif kind == "minibatch":
        batch_size = check_integer(
            "batch_size", batch_size, 2, n_img, "images in a mini-batch, the text's own included"
        )
        result = engine.expected_best(txt, img, _rank_weights(n_img - 1, batch_size - 1), similarity, own)
    else:
        if kind == "topk":
            k = check_integer("k", k, 1, n_img - 1, "other images of img_emb")
        request = Request(similarity=similarity, precision="exact")
        result, _ = engine.kth_best(txt, img, k, request, Rules(col_owners=own))
    return engine.give(img_emb, result)


def _rank_weights(n: int, b: int) -> NDArray[np.float64]:
    """P(the largest of b out of n is the one of rank r) = C(n - r, b - 1) / C(n, b), r = 1, 2, ... while it counts.

    In steps: `left`, the probability that none of the first r - 1 was drawn, times b / (n - r + 1).
    """
    weights = []
    left = 1.0
    for rest in range(n, b - 1, -1):
        weights.append(left * b / rest)
        left *= (rest - b) / rest
        if left < _LEAST_WEIGHT:
            break
    return np.array(weights)
