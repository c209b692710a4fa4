"""The margin at which a share of the pairs counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hnscore.arguments.numbers import check_real
from hnscore.arguments.rules import check_not_empty
from hnscore.datasets.spool import spooling
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.memory.copies import from_copies
from hnscore.engine.memory.device import on_device
from hnscore.mining.pairs import DEFAULTS
from hnscore.mining.shortfalls import Shortfalls, margin_of_rank

if TYPE_CHECKING:
    from hnscore.arguments.options import ArrayLike


@breaks_graph
@spooling
def margin_for(  # noqa: PLR0913
    img_emb: ArrayLike,
    txt_emb: ArrayLike,
    share: float = 0.01,
    *,
    reference: object = "pool_max",
    owner: ArrayLike | None = None,
    paired_emb: ArrayLike | None = None,
    max_similarity: object = None,
    img_groups: ArrayLike | None = None,
    txt_groups: ArrayLike | None = None,
    similarity: str = "cosine",
    n_threads: int | None = None,
    show_progress_bar: bool = False,
) -> float:
    """The largest margin at which at most a share of the pairs counts, exactly.

    With the rows of both sides normalised this equals, where no rule leaves a pair out::

        s = img_emb @ txt_emb.T
        shortfalls = np.sort((reference - s).ravel())    # the margin from which on each pair counts
        margin = shortfalls[int(share * shortfalls.size)]

    Parameters
    ----------
    img_emb : array (n_img, dim)
        The pool; kinds and dtypes as in `score`.
    txt_emb : array (n_txt, dim)
        The texts that are already paired with an image.
    share : float
        Of all ``n_img * n_txt`` pairs, from 0 to 1. About 0.001 to 0.01 makes scores that rest on hard negatives;
        where half of all pairs count, a hinge sum is little more than a mean similarity.
    reference, owner, paired_emb, max_similarity, img_groups, txt_groups
        Which pairs may count: as in `score`.
    similarity, n_threads, show_progress_bar
        As in `score`.

    Returns
    -------
    float
        A difference of similarities: pass it as `margin` to `score`, `pairs` or `mine`. At one that is larger by more
        than the rounding of ``r - margin``, more pairs count. Negative where at a margin of 0 more pairs count already:
        they are more similar than their text's reference. ``inf`` where the rules leave no more pairs than the share.

    Raises
    ------
    TypeError, ValueError
        As `score`; and for an empty `img_emb`, or a share that is not from 0 to 1.

    Notes
    -----
    About two counts of `score`, at and around this margin; the texts are packed for each. Memory beyond inputs: that
    of `score` and about 500 MiB. Arrays on a GPU are copied to the CPU.

    Source: the margin is that of the threshold in arXiv 2405.16301, which gives a value and no rule to choose one.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> rng = np.random.default_rng(0)
    >>> img, txt = rng.normal(size=(400, 64)), rng.normal(size=(300, 64))
    >>> margin = hnscore.margin_for(img, txt, 0.01, reference=np.full(300, 0.5))
    >>> print(f"{margin:.3f}")
    0.212
    >>> counts = hnscore.score(img, txt, margin, reference=np.full(300, 0.5), weight="count")
    >>> int(counts.sum()), int(0.01 * 400 * 300)
    (1200, 1200)
    """
    arguments = dict(locals())
    if on_device(*arguments.values()):
        return from_copies(margin_for, arguments)  # type: ignore[no-any-return]
    share = check_real("share", share)
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, of all pairs, got {share}; 0.01 is 1 %")
    shortfalls = Shortfalls.of(DEFAULTS | {name: x for name, x in arguments.items() if name != "share"})
    check_not_empty("img_emb", shortfalls.img)
    return margin_of_rank(shortfalls, int(share * shortfalls.n_pairs))
