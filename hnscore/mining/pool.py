"""A pool that is packed once and asked many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import check_same_library, convert_like, is_tensor
from hnscore.arguments.checks import check_same_width
from hnscore.arguments.numbers import check_choice, check_flag, check_integer
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.arguments.rules import check_not_empty
from hnscore.engine.cpu import Cpu
from hnscore.engine.host import HostRows
from hnscore.engine.lists import Lists, Room, finder, gathered, in_order, parts
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.engine.memory.device import on_device
from hnscore.engine.memory.libraries import to_host
from hnscore.engine.pool import PoolSide, best_in_pool
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import NO_RULES, Request
from hnscore.mining import mine as mining
from hnscore.mining.pairs import DTYPES, Pairs

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike, Method, MineOptions, Similarity


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
        values, rows = np.empty((txt.shape[0], k)), np.empty((txt.shape[0], k), np.int64)
        first = 0
        request = self._request._replace(k=k)
        for s, i in best_in_pool(txt, self._pool, request, NO_RULES, engine.threads) if txt.shape[0] else ():
            values[first : first + len(s)], rows[first : first + len(s)] = s, i
            first += len(s)
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
        check_choice("order", order, ("index", "similarity"))
        check_choice("dtype", dtype, DTYPES)
        if max_pairs is not None:
            max_pairs = check_integer("max_pairs", max_pairs, 0, None, "pairs")
        n = txt.shape[0]
        limits = engine.limits("min_similarity", min_similarity, n, None)
        floor = np.full(n, np.inf) if limits is None else limits
        if check_flag("closed", closed):
            floor = np.nextafter(floor, -np.inf)
        lists = self._lists(engine, txt, floor, DTYPES[dtype], max_pairs, show_progress_bar)
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
        similarities, indices = mining.MineCall(mining.DEFAULTS | given, self._pool).mined()
        return convert_like(txt_emb, similarities), convert_like(txt_emb, indices)

    def _texts(self, txt_emb: object) -> tuple[Cpu, HostRows]:
        engine = Cpu(self._n_threads)
        txt = engine.embeddings("txt_emb", txt_emb)
        check_same_library(txt_emb, self._tensors, "txt_emb", "the pool")
        check_same_width("txt_emb", txt, "the pool", self._pool.img)
        return engine, txt

    def _lists(
        self,
        engine: Cpu,
        txt: HostRows,
        floor: NDArray[np.float64],
        dtype: Any,
        max_pairs: int | None,
        show_progress_bar: bool,
    ) -> Lists:
        n, n_img, threads = txt.shape[0], len(self), engine.threads
        if not n:
            return Lists(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, dtype))
        self._pool.prepare(txt, self._request, threads, floor=floor)
        bar = rows_bar(show_progress_bar, "range_search", n)

        assert self._pool.columns is not None

        def limits(part: slice) -> dict[str, Any]:
            return {"floor": floor[part]}

        find = finder(txt, self._pool.columns, threads, dtype, limits, bar)

        def count_from(first: int) -> int:
            return sum(
                len(part.columns) for part in parts(lambda a, b, m: find(first + a, first + b, m), n - first, n_img)
            )

        room = Room(max_pairs, 8 + np.dtype(dtype).itemsize, "raise min_similarity")
        return gathered(parts(find, n, n_img), n, dtype, room, count_from)
