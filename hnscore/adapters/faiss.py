"""An exact index in the shape of `faiss.IndexFlatIP`, for code that takes one.

    index = hnscore.adapters.faiss.IndexFlatIP(dim)            # in place of faiss.IndexFlatIP(dim)

    faiss.IndexFlatIP = hnscore.adapters.faiss.IndexFlatIP     # for a host that makes its own, such as
                                                               # sentence-transformers with use_faiss=True
    dataset.add_faiss_index("emb", custom_index=index)         # datasets

It answers as FAISS does, but that products are exact, ties go to the lowest row, and the radius of `range_search` may
be one for each query.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import read_embeddings
from hnscore.arguments.dtypes import to_native
from hnscore.arguments.numbers import check_integer
from hnscore.arguments.options import ArrayLike
from hnscore.mining.pool import Pool

_NOTHING = float(np.finfo(np.float32).min)  # the similarity that FAISS pads with
_INNER_PRODUCT = 0  # the number that FAISS has for it


class IndexFlatIP:
    """Inner products with all vectors, exactly.

    Parameters
    ----------
    d : int
        Dimensions.

    Attributes
    ----------
    d, ntotal : int
        Dimensions, and vectors added.
    is_trained, verbose, metric_type
        As FAISS has them.

    Raises
    ------
    TypeError, ValueError
        As `hnscore.Pool`: NaN, for example, is refused.

    Examples
    --------
    >>> import numpy as np
    >>> from hnscore.adapters.faiss import IndexFlatIP
    >>> index = IndexFlatIP(2)
    >>> index.add(np.array([[1, 0], [0.8, 0.6]], np.float32))
    >>> index.search(np.array([[1, 0]], np.float32), 3)[1]
    array([[ 0,  1, -1]])
    """

    is_trained = True
    metric_type = _INNER_PRODUCT

    def __init__(self, d: int) -> None:
        self.d = check_integer("d", d, 1, None, "dimensions")
        self.verbose = False
        self._added: list[NDArray[Any]] = []
        self._pool: Pool | None = None

    @property
    def ntotal(self) -> int:
        return sum(map(len, self._added))

    def add(self, x: ArrayLike) -> None:
        """Copies vectors (n, d) to the end."""
        self._added.append(self._read(x).astype(np.float32))
        self._pool = None

    def reset(self) -> None:
        """Forgets all vectors."""
        self._added, self._pool = [], None

    def search(self, x: ArrayLike, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k vectors with the largest inner product with each query, (n, k): the products, descending, and the rows;
        padded with -3.4e38 and -1 where there are fewer."""
        x, k = self._read(x), check_integer("k", k, 1, None, "vectors")
        products = np.full((len(x), k), _NOTHING, np.float32)
        rows = np.full((len(x), k), -1)
        most = min(k, self.ntotal)
        if most and len(x):
            products[:, :most], rows[:, :most] = self._packed().search(x, most)
        return products, rows

    def range_search(
        self, x: ArrayLike, thresh: float | ArrayLike
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        """All vectors whose inner product with a query is above `thresh`, one number or one for each query: lims
        (n + 1,), products and rows; those of query i from ``lims[i]`` to ``lims[i + 1]``, by row."""
        x = self._read(x)
        if not self.ntotal:
            return np.zeros(len(x) + 1, np.uint64), np.zeros(0, np.float32), np.zeros(0, np.int64)
        offsets, rows, products = self._packed().range_search(x, thresh, closed=False)
        return offsets.astype(np.uint64), products, rows

    def reconstruct(self, key: int) -> NDArray[np.float32]:
        """The vector of that row."""
        row = check_integer("key", key, 0, self.ntotal - 1, "a row of the index")
        for part in self._added:
            if row < len(part):
                break
            row -= len(part)
        return np.array(part[row], np.float32)

    def _packed(self) -> Pool:
        if self._pool is None:
            if len(self._added) > 1:
                self._added = [np.concatenate(self._added)]
            self._pool = Pool(self._added[0], similarity="dot")
        return self._pool

    def _read(self, x: ArrayLike) -> NDArray[Any]:
        array, code = read_embeddings("x", x)
        if array.shape[1] != self.d:
            raise ValueError(
                f"x must have {self.d} columns, those of the index, got shape {array.shape}; use its encoder"
            )
        return to_native(array, code)[0]
