"""Hard negatives of each text, with their numbers."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert_like
from hnscore.datasets.dataset import Dataset
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.cpu import Cpu
from hnscore.engine.memory.copies import given_back
from hnscore.engine.memory.device import on_device
from hnscore.engine.pool import PoolSide
from hnscore.mining.mine_call import MineCall

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, MineOptions


@overload
def mine(
    img_emb: torch.Tensor, txt_emb: torch.Tensor, k: int, **options: Unpack[MineOptions]
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def mine(
    img_emb: ArrayLike, txt_emb: ArrayLike, k: int, **options: Unpack[MineOptions]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...
@breaks_graph
def mine(  # noqa: PLR0913
    img_emb: object,
    txt_emb: object,
    k: int,
    *,
    reference: object = None,
    owner: object = None,
    margin: float | None = 0.0,
    relative_margin: float = 0.0,
    max_similarity: object = None,
    min_similarity: object = None,
    skip: int = 0,
    img_groups: object = None,
    txt_groups: object = None,
    sampling: str = "top",
    closed: bool = True,
    similarity: str = "cosine",
    method: str = "auto",
    random_state: object = None,
    n_threads: int | None = None,
    show_progress_bar: bool = False,
) -> Any:
    """The k hardest negatives of each text: its most similar images that are no likely positives.

    An image of the pool is *allowed* as a negative of text j where its similarity s is at or below the text's ceiling
    and not below `min_similarity`, and it is no positive of the text and not of its group. With r the text's reference,
    the similarity of its least similar positive::

        ceiling = min(r - margin, r - relative_margin * abs(r), max_similarity)
        allowed = (s <= ceiling) & (s >= min_similarity)

    All of the pool is looked at: there is no window of candidates that could be too small.

    Parameters
    ----------
    img_emb : array (n_img, dim)
        The pool; kinds and dtypes as in `score`. Anything else that texts are to be told apart from, such as other
        texts, serves as well. Or a `dataset`, read block by block.
    txt_emb : array (n_txt, dim)
        The texts, or whatever is to be told apart: the queries, the anchors.
    k : int
        Negatives for each text.
    reference : {"paired", "pool_max"}, array (n_txt,) or array (n_txt, dim), optional
        As in `score`: ``"paired"``: row j of img_emb is the positive of text j; ``"pool_max"``: the best match in the
        pool; similarities; or one positive's embedding for each text. Default: from `owner`; without both there is
        no reference, and no margin.
    owner : integer array (n_txt,) or (n_txt, p), or a list of n_txt lists, optional
        The positives of each text as rows of img_emb; in an array (n_txt, p), -1 stands for none. They are never
        negatives, and the least similar is the reference, unless `reference` is given.
    margin : float, optional
        A similarity difference to the reference. None: the reference is no ceiling, unless by a relative margin.
    relative_margin : float
        A share of the reference: with 0.05 the ceiling is 95 % of it. At least 0; 0 is no ceiling.
    max_similarity, min_similarity : float or array (n_txt,), optional
        The most and the least that a negative may have.
    skip : int
        The so many best of the allowed ones are left out.

    Returns
    -------
    similarities : float64 array (n_txt, k)
        Descending, exact to the last bit; the kind of array that img_emb is. -inf where a text has fewer allowed
        images than k, never an image that the rule has removed.
    indices : int64 array (n_txt, k)
        Rows of img_emb; ties to the lowest; -1 where there is none.

    Other Parameters
    ----------------
    img_groups, txt_groups : arrays of integers or strings (n_img,), (n_txt,), optional
        A pair with equal labels is not allowed. Both or neither.
    sampling : {"top", "random"}
        The k most similar allowed images, or k drawn from all of them with equal chances, the most similar first.
    closed : bool
        Whether a similarity exactly at the ceiling is allowed. True: as sentence-transformers and NeMo keep it.
    similarity : {"cosine", "dot"}
        Cosine normalises the rows on the way in.
    method : {"auto", "dense", "cascade"}
        As in `score`; the result is the same.
    random_state : int, numpy.random.Generator or RandomState, optional
        Seed of the draw.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.
    show_progress_bar : bool
        Show the texts done, the rate and the time left.

    Raises
    ------
    TypeError, ValueError
        As `score`; for rows of `owner` out of range, texts without a positive, and a margin without a reference.

    Warns
    -----
    UserWarning
        Where texts have fewer than k allowed images: how many.

    Notes
    -----
    On a GPU the images are found there, with ``sampling="random"`` on the CPU from copies; this waits.

    Memory beyond inputs and outputs: 16 MiB of packed images and at most 64 MiB of running best images.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> img = np.array([[1, 0], [0.99, 0.1], [0.8, 0.6], [0, 1]], np.float32)
    >>> txt = np.array([[1, 0.05]], np.float32)
    >>> hnscore.mine(img, txt, 2, owner=[0], margin=0.05)
    (array([[0.82896444, 0.04993762]]), array([[2, 3]]))
    """
    given = dict(locals())
    if on_device(img_emb, txt_emb):
        if sampling == "random" or isinstance(img_emb, Dataset):
            return given_back(mine, given)
        from hnscore.mining.on_gpu import MineOnGpu

        return MineOnGpu(given).given()
    if isinstance(img_emb, Dataset):
        from hnscore.mining.of_dataset import mine_dataset

        return mine_dataset(img_emb, given)
    pool = Cpu(n_threads).embeddings("img_emb", img_emb)
    call = MineCall(given, PoolSide(pool))
    similarities, indices = call.mined()
    return convert_like(img_emb, similarities), convert_like(img_emb, indices)


DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(mine).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}
