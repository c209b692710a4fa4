"""Hard negatives of each text, with their numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert_like
from hnscore.arguments.numbers import (
    as_generator,
    check_choice,
    check_flag,
    check_integer,
    check_not_negative,
)  # fmt: skip
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.arguments.rules import check_both_groups, check_not_empty, check_paired_lengths, check_sides
from hnscore.arguments.warn import warn_caller
from hnscore.datasets.dataset import Dataset
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.cpu import Cpu
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.engine.pool import PoolSide, best_in_pool, kth_best
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import NO_RULES, Request, Rules
from hnscore.mining.positives import Positives, pair_similarities, read_positives
from hnscore.mining.sampling import Allowed, drawn
from hnscore.scores.rule import Rule

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, MineOptions

SAMPLINGS = ("top", "random")


@overload
def mine(
    img_emb: torch.Tensor, txt_emb: torch.Tensor, k: int, **options: Unpack[MineOptions]
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def mine(
    img_emb: ArrayLike, txt_emb: ArrayLike, k: int, **options: Unpack[MineOptions]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...
@breaks_graph
@computed_on_cpu
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
    Arrays on a GPU are copied to the CPU, where this is computed, and the result is put beside them; this waits.

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


class MineCall:
    """A call, checked."""

    def __init__(self, given: dict[str, Any], pool: PoolSide) -> None:
        img_emb, txt_emb, similarity = given["img_emb"], given["txt_emb"], given["similarity"]
        check_choice("similarity", similarity, SIMILARITIES)
        check_choice("method", given["method"], METHODS)
        check_choice("sampling", given["sampling"], SAMPLINGS)
        self.engine = Cpu(given["n_threads"])
        self.pool, self.img, self.txt = pool, pool.img, self.engine.embeddings("txt_emb", txt_emb)
        self._check_sides(img_emb, txt_emb)
        for name, side in (("img_emb", self.img), ("txt_emb", self.txt)):
            check_not_empty(name, side)
        self.n_img, self.n_txt = self.img.shape[0], self.txt.shape[0]
        self.k = check_integer("k", given["k"], 1, None, "negatives of each text")
        self.skip = check_integer("skip", given["skip"], 0, None, "best images left out")
        self.sampling, self.random_state = given["sampling"], given["random_state"]
        self.request = Request(similarity=similarity, method=given["method"])
        self.bar = rows_bar(given["show_progress_bar"], "mine", self.n_txt)

        owner, reference = given["owner"], given["reference"]
        self.positives = self._positives(owner, reference)
        self.ceiling = self._ceiling(given)
        if not check_flag("closed", given["closed"]):
            self.ceiling = np.nextafter(self.ceiling, -np.inf)
        # Above it: not below min_similarity.
        self.floor = np.nextafter(self._limits("min_similarity", given["min_similarity"], -np.inf), -np.inf)
        self.rules = Rules(max_similarity=self.ceiling)
        of_groups = groups_of(self.engine, given["img_groups"], given["txt_groups"], self.n_img, self.n_txt)
        self.rules = self.rules._replace(**of_groups)

    def _check_sides(self, img_emb: object, txt_emb: object) -> None:
        check_sides(img_emb, txt_emb, self.img, self.txt)

    def _positives(self, owner: object, reference: object) -> Positives | None:
        if isinstance(reference, str):
            check_choice("reference", reference, ("paired", "pool_max"))
            if owner is not None:
                raise ValueError(
                    f"reference must be left out with owner, or be an array, got {reference!r}; leave one out"
                )
            if reference == "paired":
                check_paired_lengths("reference='paired'", self.n_img, self.n_txt)
                owner = np.arange(self.n_txt)
        if owner is None:
            return None
        return read_positives(owner, self.n_txt, self.n_img)

    def _ceiling(self, given: dict[str, Any]) -> NDArray[np.float64]:
        margin, relative = given["margin"], check_not_negative("relative_margin", given["relative_margin"])
        margins = [] if margin is None else [Rule(margin).margins()]
        margins += [Rule(0.0, relative_margin=relative).margins()] if relative else []
        most, reference = self._limits("max_similarity", given["max_similarity"], np.inf), given["reference"]
        if isinstance(reference, str) and reference == "pool_max":
            own = self._best_match()
        elif reference is not None and not isinstance(reference, str):
            own = self.engine.reference(reference, self.n_txt, self.txt, None, self.request.similarity)
        elif self.positives is not None:
            own = self.positives.least(self.similarities_of_positives)
        else:
            if margin or relative:
                raise ValueError(
                    "margin and relative_margin must come with a reference, got neither owner nor reference; pass one, "
                    "or max_similarity"
                )
            return most
        for terms in margins:
            most = np.minimum(most, self.engine.thresholds(own, terms))
        return most

    def _best_match(self) -> NDArray[np.float64]:
        return kth_best(self.txt, self.pool, self.request, NO_RULES, self.engine.threads)[0]

    def _limits(self, name: str, x: object, default: float) -> NDArray[np.float64]:
        """One for each text."""
        limits = None if x is None else self.engine.limits(name, x, self.n_txt, None)
        return np.full(self.n_txt, default) if limits is None else limits

    @cached_property
    def similarities_of_positives(self) -> NDArray[np.float64]:
        assert self.positives is not None
        return pair_similarities(
            self.engine, self.img, self.positives.images, self.txt, self.positives.texts, self.request.similarity
        )

    def mined(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        similarities, indices = self.best(self.k, self.skip) if self.sampling == "top" else self._random()
        short = int((indices[:, -1] < 0).sum())
        if short:
            warn_caller(
                f"{short:,} of {self.n_txt:,} texts have fewer than {self.k} allowed images; their rows are padded "
                "with -1 and -inf"
            )
        return similarities, indices

    def best(self, k: int, skip: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The k most similar allowed images of each text after the `skip` best, padded."""
        similarities, indices = np.full((self.n_txt, k), -np.inf), np.full((self.n_txt, k), -1)
        keys, extra = self._allowed_positives()
        request = self.request._replace(k=min(k + skip + extra, self.n_img))
        first = 0
        for s, i in self._lists(request):
            if extra:
                _drop(s, i, keys, first, self.n_img)
            kept, rows = slice(skip, skip + k), slice(first, first + len(s))
            width = s[:, kept].shape[1]
            similarities[rows, :width], indices[rows, :width] = s[:, kept], i[:, kept]
            first += len(s)
        return similarities, indices

    def _lists(self, request: Request) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """The best of each text, whatever is positive, for one slice of texts after the other."""
        return best_in_pool(self.txt, self.pool, request, self.rules, self.engine.threads, self.bar, self.floor)

    def _allowed_positives(self) -> tuple[NDArray[np.int64], int]:
        """Positives that lie where negatives may, as text * n_img + image, ascending; and the most that a text has."""
        if self.positives is None:
            return np.zeros(0, np.int64), 0
        texts, images = self.positives.texts, self.positives.images
        s = self.similarities_of_positives
        among = (s <= self.ceiling[texts]) & (s > self.floor[texts])
        texts, images = texts[among], images[among]
        most = int(np.bincount(texts, minlength=1).max())
        return np.sort(texts * self.n_img + images), most

    def _random(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        best = self.best(self.skip)[1] if self.skip else None
        allowed = Allowed(self.engine, self.img, self.txt, self.request, self.rules, self.floor)
        return drawn(allowed, self.k, self.positives, best, as_generator(self.random_state), self.bar)


def groups_of(engine: Cpu, img_groups: object, txt_groups: object, n_img: int, n_txt: int) -> dict[str, Any]:
    """What of the rules labels are, where there are some."""
    if img_groups is None and txt_groups is None:
        return {}
    check_both_groups(img_groups, txt_groups)
    of_images, of_texts, _ = engine.same_groups(engine.groups(txt_groups, n_txt, None), img_groups, n_img)
    return {"row_groups": of_images, "col_groups": of_texts}


def _drop(s: NDArray[np.float64], i: NDArray[np.int64], keys: NDArray[np.int64], first: int, n_img: int) -> None:
    """Takes entries whose keys are among these out of the lists; what comes after moves up."""
    own = (np.arange(first, first + len(i)) * n_img)[:, None] + i
    at = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
    found = (i >= 0) & (keys[at] == own)
    for row in np.flatnonzero(found.any(axis=1)):
        left = ~found[row]
        n = int(left.sum())
        s[row, :n], i[row, :n] = s[row, left], i[row, left]
        s[row, n:], i[row, n:] = -np.inf, -1
