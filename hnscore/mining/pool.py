"""A pool that is packed once and asked many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import check_same_library, convert_like, is_tensor
from hnscore.arguments.checks import check_same_width
from hnscore.arguments.keywords import accepts
from hnscore.arguments.numbers import check_choice, check_flag, check_integer
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.arguments.rules import check_not_empty, check_owner, check_paired_lengths
from hnscore.engine.cpu import Cpu
from hnscore.engine.host import HostRows
from hnscore.engine.lists import Lists, Room, by_other_side, finder, gathered, in_order, parts
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.engine.memory.device import on_device
from hnscore.engine.memory.libraries import to_host
from hnscore.engine.pool import HostRules, PoolSide, kth_best, rules_of_texts
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import NO_RULES, Request, Rules
from hnscore.mining.mine import DEFAULTS as MINE
from hnscore.mining.mine_call import MineCall, groups_of
from hnscore.mining.pairs import DTYPES, RULE, Pairs, check_lists
from hnscore.scores.rule import Rule

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, Method, MineOptions, Similarity
    from hnscore.scores.rule import RuleOptions

# Of the rule of `pairs`: the others are the pool's, or need more than one look at the texts.
_NOT_HERE = (
    "similarity", "method", "precision", "n_threads", "paired_emb", "top_k_images", "skip_top_images"
)  # fmt: skip
_RULE = {name: x for name, x in RULE.items() if name not in _NOT_HERE}


class Pool:
    """A pool of images that is packed once and then searched any number of times, exactly.

    Parameters
    ----------
    img_emb : array (n_img, dim)
        The pool; kinds and dtypes as in `score`. It is held, not copied: do not change it while the pool is in use.
    similarity : {"cosine", "dot"}
        Cosine normalises the rows on the way in.
    method : {"auto", "dense", "cascade"}
        As in `score`. Chosen at the first search, for thousands like it; no answer depends on it.
    n_threads : int, optional
        Default: all that the process may use. The results do not depend on it.

    Raises
    ------
    TypeError, ValueError
        As `score`; at the first search for rows that are NaN, Inf or zero.

    Notes
    -----
    Arrays on a GPU are copied to the CPU. Memory: the packed images, about ``4 * n_img * dim`` bytes, or half of that
    where a cascade serves. Any number of threads may search at once.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> pool = hnscore.Pool(np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32))
    >>> pool.search(np.array([[1, 0.1]], np.float32), 2)[1]
    array([[0, 1]])
    >>> pool.range_search(np.array([[1, 0.1], [0.1, 1]], np.float32), [0.9, 0.6]).offsets
    array([0, 1, 3])
    """

    def __init__(
        self,
        img_emb: ArrayLike,
        *,
        similarity: Similarity = "cosine",
        method: Method = "auto",
        n_threads: int | None = None,
    ) -> None:
        check_choice("similarity", similarity, SIMILARITIES)
        check_choice("method", method, METHODS)
        if on_device(img_emb):
            img_emb = to_host("img_emb", img_emb)
        self._n_threads, self._tensors = n_threads, is_tensor(img_emb)
        self._img_emb = img_emb
        img = Cpu(n_threads).embeddings("img_emb", img_emb)
        check_not_empty("img_emb", img)
        self._pool = PoolSide(img, keep=True)
        self._request = Request("pairs", similarity=similarity, method=method)

    def __len__(self) -> int:
        return int(self._pool.img.shape[0])

    @property
    def dim(self) -> int:
        """Of the embeddings."""
        return int(self._pool.img.shape[1])

    @property
    def nbytes(self) -> int:
        """Of what is packed; 0 before the first search."""
        return 0 if self._pool.columns is None else self._pool.columns.nbytes

    @computed_on_cpu
    def search(self, txt_emb: ArrayLike, k: int) -> tuple[Any, Any]:
        """The k most similar images of each text.

        Parameters
        ----------
        txt_emb : array (n_txt, dim)
            Texts, or whatever searches.
        k : int
            Up to the number of images.

        Returns
        -------
        similarities : float64 array (n_txt, k)
            Descending, exact to the last bit; the kind of array that txt_emb is.
        indices : int64 array (n_txt, k)
            Rows of the pool; ties to the lowest.
        """
        engine, txt = self._texts(txt_emb)
        k = check_integer("k", k, 1, len(self), "images of the pool")
        values, rows = engine.nearest(txt, self._pool, k, self._request, False)
        return convert_like(txt_emb, values), convert_like(txt_emb, rows)

    @computed_on_cpu
    def range_search(
        self,
        txt_emb: ArrayLike,
        min_similarity: float | ArrayLike,
        *,
        closed: bool = True,
        order: str = "index",
        dtype: str = "float32",
        max_pairs: int | None = None,
        show_progress_bar: bool = False,
    ) -> Pairs:
        """All images that are similar enough to each text.

        Parameters
        ----------
        txt_emb : array (n_txt, dim)
            Texts, or whatever searches.
        min_similarity : float or array (n_txt,)
            One for all, or one for each text.
        closed : bool
            Whether a similarity exactly at it is enough; False as FAISS.
        order, dtype, max_pairs, show_progress_bar
            As in `pairs`.

        Returns
        -------
        offsets, indices, similarities
            As `pairs` by text: those of text j are the elements from ``offsets[j]`` to ``offsets[j + 1]``.
        """
        engine, txt = self._texts(txt_emb)
        max_pairs = check_lists(order, dtype, max_pairs)
        n = txt.shape[0]
        limits = engine.limits("min_similarity", min_similarity, n, None)
        floor = np.full(n, np.inf) if limits is None else limits
        if check_flag("closed", closed):
            floor = np.nextafter(floor, -np.inf)
        how = _Lists(DTYPES[dtype], order, max_pairs, "raise min_similarity", show_progress_bar)
        lists = self._lists(engine, txt, floor, NO_RULES, how)
        return Pairs(*(convert_like(txt_emb, x) for x in lists))

    @computed_on_cpu
    @accepts(_RULE)
    def pairs(
        self,
        txt_emb: ArrayLike,
        margin: float = 0.2,
        *,
        closed: bool = False,
        by: str = "image",
        order: str = "index",
        dtype: str = "float32",
        max_pairs: int | None = None,
        show_progress_bar: bool = False,
        **options: Unpack[RuleOptions],
    ) -> Pairs:
        """All pairs that count: `hnscore.pairs` with these images, but what is the pool's (`similarity`, `method`,
        `n_threads`) or needs more than one look at the texts (`paired_emb`, `top_k_images`, `skip_top_images`)."""
        engine, txt = self._texts(txt_emb)
        check_not_empty("txt_emb", txt)
        check_choice("by", by, ("image", "text"))
        max_pairs = check_lists(order, dtype, max_pairs)
        rule = Rule(margin, **options)
        margins, reference, owner = rule.margins(), rule.reference, rule.owner
        check_owner(reference, owner, None)
        n, n_img, similarity = txt.shape[0], len(self), self._request.similarity
        rules: HostRules = Rules()
        if isinstance(reference, str):
            check_choice("reference", reference, ("pool_max", "paired"))
        if isinstance(reference, str) and reference == "paired":
            check_paired_lengths("reference='paired'", n_img, n)
            owner = np.arange(n)
        own = None
        if owner is not None:
            rows = engine.owners(owner, n, n_img, "the pool")
            rules = rules._replace(row_owners=np.arange(n_img), col_owners=rows)
            own = engine.similarity(self._pool.img, txt, similarity, rows)
        if not isinstance(reference, str):
            own = engine.reference(reference, n, txt, None, similarity)
        if own is None:
            own, _ = kth_best(txt, self._pool, self._request, NO_RULES, engine.threads)
        if rule.max_similarity is not None:
            rules = rules._replace(max_similarity=engine.limits("max_similarity", rule.max_similarity, n, None))
        rules = rules._replace(**groups_of(engine, rule.img_groups, rule.txt_groups, n_img, n))
        tau = engine.thresholds(own, margins)
        if check_flag("closed", closed):
            tau = np.nextafter(tau, -np.inf)
        how = _Lists(DTYPES[dtype], order, max_pairs, "lower the margin", show_progress_bar)
        lists = self._lists(engine, txt, tau, rules, how if by == "text" else how._replace(order="index"))
        if by == "image":
            lists = by_other_side(lists, n_img)
            if order == "similarity":
                in_order(lists, "descending", engine.threads)
        return Pairs(*(convert_like(txt_emb, x) for x in lists))

    @computed_on_cpu
    def mine(self, txt_emb: ArrayLike, k: int, **options: Unpack[MineOptions]) -> tuple[Any, Any]:
        """The k hardest negatives of each text: `hnscore.mine` with these images, but `similarity`, `method` and
        `n_threads`, which are the pool's."""
        given: dict[str, Any] = dict(options)
        for name in ("similarity", "method", "n_threads"):
            if name in given:
                raise TypeError(f"{name} must be given to the Pool, got it at mine; leave it out here")
        given |= {
            "img_emb": self._img_emb, "txt_emb": txt_emb, "k": k, "similarity": self._request.similarity,
            "method": self._request.method, "n_threads": self._n_threads,
        }  # fmt: skip
        similarities, indices = MineCall(MINE | given, self._pool).mined()
        return convert_like(txt_emb, similarities), convert_like(txt_emb, indices)

    def _texts(self, txt_emb: object) -> tuple[Cpu, HostRows]:
        engine = Cpu(self._n_threads)
        txt = engine.embeddings("txt_emb", txt_emb)
        check_same_library(txt_emb, self._tensors, "txt_emb", "the pool")
        check_same_width("txt_emb", txt, "the pool", self._pool.img)
        return engine, txt

    def _lists(self, engine: Cpu, txt: HostRows, floor: NDArray[np.float64], rules: HostRules, how: _Lists) -> Lists:
        n, n_img, threads = txt.shape[0], len(self), engine.threads
        if not n:
            return Lists(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, how.dtype))
        self._pool.prepare(txt, self._request, threads, floor=floor)
        bar = rows_bar(how.show_progress_bar, "pairs", n)
        assert self._pool.columns is not None
        owners = None if rules.col_owners is None else rules.col_owners.astype(np.int32)

        def limits(part: slice) -> dict[str, Any]:
            return {"floor": floor[part], "rules": rules_of_texts(rules, owners, part, 0, n_img)}

        find = finder(txt, self._pool.columns, threads, how.dtype, limits, bar)

        def count_from(first: int) -> int:
            rest = parts(lambda a, b, m: find(first + a, first + b, m), n - first, n_img)
            return sum(len(part.columns) for part in rest)

        room = Room(how.max_pairs, 2 * (8 + np.dtype(how.dtype).itemsize), how.remedy)
        lists = gathered(parts(find, n, n_img), n, how.dtype, room, count_from)
        return in_order(lists, "descending", threads) if how.order == "similarity" else lists


class _Lists(NamedTuple):
    """How lists are to be."""

    dtype: type[np.generic]
    order: str
    max_pairs: int | None
    remedy: str
    show_progress_bar: bool
