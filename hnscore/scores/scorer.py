"""Scores for a pool that comes in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import check_same_library, is_tensor
from hnscore.arguments.keywords import accepts
from hnscore.arguments.rules import check_both_groups, check_owner, check_same_dim, refuse_pool_wide
from hnscore.engine import engine_of
from hnscore.engine.cpu_texts import HostTexts
from hnscore.engine.host import in_use
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import Rules
from hnscore.scores.rule import Rule, keywords
from hnscore.scores.score import paired_images
from hnscore.scores.texts import TextSide

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from hnscore.arguments.options import ArrayLike
    from hnscore.scores.rule import ScoreOptions

_CHUNKS = 16  # of the first one's size, for which the method is chosen


class Scorer:
    """`score` for a pool that comes in chunks: the texts are checked, drawn and packed once.

    Any number of chunks of any size, from any number of threads, get the same bits as one call of `score` by the same
    method; ``method="auto"`` chooses it at the first chunk, as for a pool of sixteen such chunks. Rules that need the
    whole pool (``reference="pool_max"``, ``reference="paired"``, `top_k_images`, `skip_top_images`) are refused.

    Parameters
    ----------
    txt_emb, margin, reference, ...
        As in `score`; reference must be an array, or come from `owner` and `paired_emb`. A minibatch is drawn here, the
        same as `score` draws.

    Raises
    ------
    TypeError, ValueError
        As `score` does.

    Notes
    -----
    Memory: the packed texts as in `score`, and a copy of txt_emb, so that later changes to the caller's array cannot
    change scores. A Scorer can be pickled: the copy travels and is packed again on arrival.

    With texts on a GPU, chunks may be there or in CPU memory. Those in CPU memory, memory-mapped files included, are
    copied through pinned buffers of 3 * 64 MiB while the images before them are scored: a pool may be larger than the
    memory of the GPU. That call waits for its scores, which are in CPU memory.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> img, txt = np.eye(3, 2, dtype=np.float32) + 1, np.eye(2, dtype=np.float32)
    >>> scorer = hnscore.Scorer(txt, 0.2, reference=np.array([0.9, 0.9]))
    >>> scorer.score(img[:2]).round(3), scorer.score(img[2:]).round(3)
    (array([0.194, 0.194], dtype=float32), array([0.014], dtype=float32))
    """

    @accepts(keywords("img_groups", reference=None))
    def __init__(self, txt_emb: ArrayLike, margin: float = 0.2, **options: Unpack[ScoreOptions]) -> None:
        rule = Rule(margin, **options)
        reference, owner, paired_emb = rule.reference, rule.owner, rule.paired_emb
        refuse_pool_wide(reference, rule.top_k_images, rule.skip_top_images, owner, paired_emb)
        check_owner(reference, owner, paired_emb)
        engine = engine_of(rule.n_threads, txt_emb=txt_emb)
        self._texts = texts = TextSide(engine, engine.embeddings("txt_emb", txt_emb), rule, keep=True)
        if reference is None:
            paired = paired_images(engine, paired_emb, texts.txt)
            own = texts.similarity(paired, texts.owned(owner, paired, "paired_emb"))
        else:
            own = texts.given(reference)
        texts.set_reference(own)
        texts.hold()
        engine.finish()
        self._of_tensors = is_tensor(txt_emb)
        self._judged = False
        self._show_progress_bar = rule.show_progress_bar
        self._verbose = rule.verbose

    @overload
    def score(self, img_chunk: torch.Tensor, *, img_groups: ArrayLike | None = None) -> torch.Tensor: ...
    @overload
    def score(self, img_chunk: ArrayLike, *, img_groups: ArrayLike | None = None) -> NDArray[Any]: ...
    def score(self, img_chunk: object, *, img_groups: object = None) -> Any:
        """Scores of some images of the pool.

        Parameters
        ----------
        img_chunk : array (n, dim)
            As img_emb in `score`; a torch tensor where txt_emb was one, unless txt_emb was on a GPU and this is not.
        img_groups : array (n,) of integers or strings, optional
            Labels of these images; needed where txt_groups was given.

        Returns
        -------
        scores : array (n,)
            As `score` returns.

        Raises
        ------
        TypeError, ValueError
            As `score` does.
        """
        return self._score(img_chunk, img_groups)

    def _score(
        self,
        img_chunk: object,
        img_groups: object,
        first_row: int = 0,
        owner: NDArray[np.int64] | None = None,
        ranks: Rules[Any] | None = None,
    ) -> Any:
        """`owner`, `ranks`: of a pool on the CPU, in which these images begin at `first_row`."""
        texts, engine = self._texts, self._texts.engine.again(img_chunk)
        img = engine.chunk("img_chunk", img_chunk)
        if engine.is_own(img):
            check_same_library(img_chunk, self._of_tensors, "img_chunk")
        check_same_dim(img, texts.txt, "img_chunk")
        check_both_groups(img_groups, texts.groups)
        n_img = img.shape[0]
        rules = texts.rules_for(engine, img_groups, n_img)
        if not n_img:
            return engine.give(img_chunk, engine.no_scores(texts.settings.request.dtype))
        if owner is not None:
            rules = rules._replace(row_owners=first_row + np.arange(n_img), col_owners=in_use(owner, texts.drawn))
        if ranks is not None:
            at = ranks.of_rows(first_row, first_row + n_img)._asdict()
            rules = rules._replace(**{name: x for name, x in at.items() if name.startswith(("kth_", "skip_"))})
        with texts.packed.read_on(engine):
            texts.prepare(img, _CHUNKS * n_img, rules)
            if not self._judged:
                self._judged = texts.warn_if_wide(engine, img, self._verbose)
                texts.log(engine, n_img, self._verbose)
            scores = texts.scores(engine, img, rules, rows_bar(self._show_progress_bar, "score", n_img))
        return engine.give(img_chunk, scores)

    def _choose_for(self, some: ArrayLike, n_img: int) -> str:
        """Settles the method for `n_img` images of which these are some; the method."""
        texts = self._texts
        texts.prepare(texts.engine.embeddings("img_emb", some), n_img, Rules(texts.limits))
        return texts.packed.method

    def _adopt(self, other: Scorer) -> None:
        """The method of another, of texts like these on the CPU, with its plan."""
        cast(HostTexts, self._texts.packed).adopt(cast(HostTexts, other._texts.packed))

    def _warn_if_none(self, some: ArrayLike) -> None:
        """Warns that no pair of any chunk counts; `some` images of the pool say what would."""
        self._texts.warn_if_none(self._texts.engine.embeddings("img_emb", some), np.zeros(1))

    @property
    def n_txt(self) -> int:
        """Texts, with those that a minibatch left out."""
        return self._texts.settings.n_txt

    @property
    def dim(self) -> int:
        """Values of an embedding."""
        return int(self._texts.txt.shape[1])

    @property
    def margin(self) -> float:
        return self._texts.settings.margin

    def __repr__(self) -> str:
        texts, settings, request = self._texts, self._texts.settings, self._texts.settings.request
        return (
            f"Scorer({settings.n_used} texts, dim {texts.txt.shape[1]}, margin={settings.margin:g}, "
            f"weight={request.weight!r}, aggregate={settings.aggregate!r}, similarity={request.similarity!r}, "
            f"precision={request.precision!r}, method={texts.packed.method!r})"
        )
