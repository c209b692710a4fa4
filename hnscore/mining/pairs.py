"""All pairs that count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.keywords import accepts
from hnscore.arguments.numbers import check_choice, check_flag, check_integer
from hnscore.datasets.spool import spooling
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.lists import Lists, Part, Room, by_other_side, check_csr, csr_of, gathered, in_order, parts
from hnscore.engine.progress import rows_bar
from hnscore.scores.rule import SHOWN, Rule, RuleOptions, ShownOptions, keywords
from hnscore.scores.score import resolve

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike

DTYPES: dict[str, type[np.generic]] = {"float32": np.float32, "float64": np.float64}


class Pairs(NamedTuple):
    """Lists of pairs: those of row i are the elements from ``offsets[i]`` to ``offsets[i + 1]``."""

    offsets: Any
    indices: Any
    similarities: Any


RULE = keywords(*SHOWN, "weight", "aggregate", "k", "minibatch", "temperature", "random_state")
DEFAULTS = RULE | {"closed": False, "dtype": "float32"} | dict.fromkeys(SHOWN, False)


class PartOptions(RuleOptions, ShownOptions, total=False):
    closed: bool
    dtype: Literal["float32", "float64"]


class PairOptions(PartOptions, total=False):
    by: Literal["image", "text"]
    order: Literal["index", "similarity"]
    max_pairs: int | None


@overload
def pairs(
    img_emb: torch.Tensor,
    txt_emb: torch.Tensor,
    margin: float = 0.2,
    *,
    as_csr: Literal[False] = False,
    **options: Unpack[PairOptions],
) -> Pairs: ...
@overload
def pairs(
    img_emb: ArrayLike,
    txt_emb: ArrayLike,
    margin: float = 0.2,
    *,
    as_csr: Literal[False] = False,
    **options: Unpack[PairOptions],
) -> Pairs: ...
@overload
def pairs(
    img_emb: ArrayLike,
    txt_emb: ArrayLike,
    margin: float = 0.2,
    *,
    as_csr: Literal[True, "similarity", "distance"],
    **options: Unpack[PairOptions],
) -> Any: ...
@breaks_graph
@spooling
@accepts(RULE)
def pairs(  # noqa: PLR0913
    img_emb: object,
    txt_emb: object,
    margin: float = 0.2,
    *,
    closed: bool = False,
    by: str = "image",
    order: str = "index",
    as_csr: object = False,
    dtype: str = "float32",
    max_pairs: int | None = None,
    show_progress_bar: bool = False,
    verbose: bool = False,
    **options: Unpack[RuleOptions],
) -> Any:
    """All pairs of an image and a text that `score` counts: image i is a hard negative of text j, and how similar.

    With the rows of both sides normalised this equals, for ``by="image"``::

        s = img_emb @ txt_emb.T
        images, texts = np.nonzero(s - tau > 0)              # tau: the reference of each text less the margin
        offsets = np.searchsorted(images, np.arange(n_img + 1))
        indices, similarities = texts, s[images, texts]

    The lengths of the lists are ``score(..., weight="count")``, to the last one.

    Parameters
    ----------
    img_emb : array (n_img, dim)
        The pool; kinds and dtypes as in `score`.
    txt_emb : array (n_txt, dim)
        The texts that are already paired with an image.
    margin, reference, owner, ...
        Which pairs count: as in `score`.

    Returns
    -------
    offsets : int64 array (n + 1,)
        Those of image i (or text, with ``by="text"``) are the elements from ``offsets[i]`` to ``offsets[i + 1]``.
    indices : int64 array (offsets[n],)
        Rows of txt_emb (of img_emb), ascending within a list.
    similarities : array (offsets[n],)
        Of these pairs: the exact similarity, rounded once to `dtype`.

    A named tuple of arrays of the kind that img_emb is; or, with `as_csr`, a `scipy.sparse.csr_array` (n_img, n_txt),
    or (n_txt, n_img), in CPU memory.

    Other Parameters
    ----------------
    closed : bool
        Whether a pair exactly at its threshold counts. False: as `score` and FAISS; True: as sentence-transformers and
        pytorch-metric-learning keep triplets.
    by : {"image", "text"}
        Whose lists these are.
    order : {"index", "similarity"}
        Of each list: ascending indices, or the most similar first, ties to the lowest index.
    as_csr : {False, True, "similarity", "distance"}
        A matrix of similarities with sorted indices, or of distances 1 - s, the nearest first in each row; needs SciPy.
    dtype : {"float32", "float64"}
        Of the similarities.
    max_pairs : int, optional
        More than these are refused, with their number. Default: what fits into half of the free memory.
    relative_margin, top_k_images, skip_top_images, max_similarity, img_groups, txt_groups, paired_emb
        As in `score`.
    similarity, precision, method, n_threads, show_progress_bar, verbose
        As in `score`. With precision "fp32" or "bf16" similarities are those that were compared.

    Raises
    ------
    TypeError, ValueError
        As `score`; and for more pairs than `max_pairs`.
    MemoryError
        For more pairs than fit into memory; before they are there. `iter_pairs` gives them part by part.
    ImportError
        For `as_csr` without SciPy.

    Warns
    -----
    MarginWarning
        As `score`.

    Notes
    -----
    On a GPU the pairs are found there, put in order on the CPU and put beside img_emb; this waits. Under precision
    "bf16" and "fp16" the similarity of the rounded values decides there, in float64.

    Memory beyond inputs and the result (12 bytes a pair in float32, 16 in float64): the packed texts as in `score` and
    about 200 MiB; with ``by="text"`` a second result. The same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> img, txt = np.eye(3, 2, dtype=np.float32) + 1, np.eye(2, dtype=np.float32)
    >>> found = hnscore.pairs(img, txt, 0.2, reference=np.array([0.9, 0.9]))
    >>> found.offsets, found.indices, found.similarities.round(3)
    (array([0, 1, 2, 4]), array([0, 1, 0, 1]), array([0.894, 0.894, 0.707, 0.707], dtype=float32))
    """
    arguments = {
        "img_emb": img_emb, "txt_emb": txt_emb, "margin": margin, "closed": closed, "dtype": dtype,
        "show_progress_bar": show_progress_bar, "verbose": verbose, **options,
    }  # fmt: skip
    check_choice("by", by, ("image", "text"))
    max_pairs = check_lists(order, dtype, max_pairs)
    entries = check_csr(as_csr, options["similarity"])
    call = PairCall(arguments)
    lists = call.lists(by, max_pairs)
    if entries:
        return csr_of(lists, call.n_txt if by == "image" else call.n_img, entries, call.threads)
    if order == "similarity":
        in_order(lists, "descending", call.threads)
    return Pairs(*(call.engine.give(img_emb, x) for x in lists))


@breaks_graph
@accepts(DEFAULTS)
def iter_pairs(
    img_emb: object, txt_emb: object, margin: float = 0.2, **options: Unpack[PartOptions]
) -> Iterator[tuple[range, NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """The same pairs for one part of the pool after the other, for results larger than memory.

    Parameters
    ----------
    img_emb, txt_emb, margin, ...
        As in `pairs`, but that `by`, `order`, `as_csr` and `max_pairs` are none of it.

    Yields
    ------
    images : range
        The rows of img_emb that this part is of: so many that it has about a million pairs.
    offsets, indices, similarities
        NumPy arrays as `pairs` returns, for these images.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> img, txt = np.eye(3, 2, dtype=np.float32) + 1, np.eye(2, dtype=np.float32)
    >>> for images, offsets, indices, similarities in hnscore.iter_pairs(img, txt, reference=np.array([0.9, 0.9])):
    ...     print(images, np.diff(offsets))
    range(0, 3) [1 1 2]
    """
    return _each(PairCall({"img_emb": img_emb, "txt_emb": txt_emb, "margin": margin, **options}))


def _each(call: PairCall) -> Iterator[tuple[range, NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    for part in call.parts():
        yield range(part.first, part.first + len(part.counts)), *part.lists()


def check_lists(order: object, dtype: object, max_pairs: object) -> int | None:
    """How lists are to be; the largest number of pairs."""
    check_choice("order", order, ("index", "similarity"))
    check_choice("dtype", dtype, DTYPES)
    return None if max_pairs is None else check_integer("max_pairs", max_pairs, 0, None, "pairs")


class PairCall:
    """A call, checked; its texts packed. `quiet`: where any share of the pairs is as good."""

    def __init__(self, arguments: dict[str, Any], quiet: bool = False) -> None:
        closed = check_flag("closed", arguments["closed"])
        check_choice("dtype", arguments["dtype"], DTYPES)
        self.dtype = DTYPES[arguments["dtype"]]
        self.rule = Rule(**{name: arguments[name] for name in Rule._fields if name in arguments})
        self.engine, self.img, self.texts, self.rules = resolve(
            arguments["img_emb"], arguments["txt_emb"], self.rule, "pairs", closed
        )
        self.n_img, self.n_txt, self.threads = self.img.shape[0], self.texts.txt.shape[0], self.engine.threads
        ranked = self.rule.top_k_images is not None
        self.quiet = quiet or ranked or self.rule.skip_top_images is not None
        if self.n_img and not (quiet or ranked):
            self.texts.warn_if_wide(self.engine, self.img, verbose=True)  # lists are waited for
        if self.n_img:
            self.texts.log(self.engine, self.n_img, self.rule.verbose, self.rule)

    def parts(self, first: int = 0) -> Iterator[Part]:
        """Of the images from one on."""
        if first >= self.n_img:
            return
        bar = rows_bar(self.rule.show_progress_bar, "pairs", self.n_img)
        find = self.texts.lists(self.engine, self.img, self.rules, self.dtype, bar)
        found = 0
        for part in parts(find, self.n_img, self.n_txt, first):
            found += len(part.columns)
            yield part
        if bar is not None:
            bar(1.0)
        if not (found or first or self.quiet):
            self.texts.warn_if_none(self.img, np.zeros(1))

    def lists(self, by: str = "image", max_pairs: int | None = None) -> Lists:
        pair_bytes = (2 if by == "text" else 1) * (8 + np.dtype(self.dtype).itemsize)
        room = Room(max_pairs, pair_bytes, "lower the margin, or take the pairs part by part, from iter_pairs")
        lists = gathered(self.parts(), self.n_img, self.dtype, room, self.count_from)
        return by_other_side(lists, self.n_txt) if by == "text" else lists

    def count_from(self, first: int) -> int:
        """The number of pairs of the images from one on."""
        images = self.img.part(first, self.n_img)
        return int(self.texts.counts(self.engine, images, self.rules.of_rows(first, self.n_img)).sum())
