"""`score` of a dataset, with the result in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.datasets.dataset import Dataset
from hnscore.engine.progress import rows_bar
from hnscore.scores.chunks import ChunkedScore
from hnscore.scores.rule import Rule


def score_dataset(pool: Dataset, txt_emb: object, rule: Rule) -> NDArray[Any]:
    """The scores of all rows, (n,)."""
    options = rule._asdict() | {"show_progress_bar": False}
    call = ChunkedScore(pool.shape, txt_emb, options, pool.take, "the dataset")
    shown, n = rule.show_progress_bar, len(pool)
    if call.looks_for_reference:
        best = np.full(call.n_txt, -np.inf)
        for block, _ in pool.passes(rows_bar(shown, "reference", n)):
            with pool.naming(block):
                best = np.maximum(best, call.best_of(block.rows))
        call.set_reference(best)
    if call.looks_for_ranks:
        for block, first in pool.passes(rows_bar(shown, "top images", n)):
            with pool.naming(block):
                call.add_ranked(block.rows, first)
    some = pool.sample()
    call.start(some)
    scores = None
    for block, first in pool.passes(rows_bar(shown, "score", n)):
        with pool.naming(block):
            found = call.scores(block.rows, first)
        if scores is None:
            scores = np.empty(n, found.dtype)
        scores[first : first + len(found)] = found
    assert scores is not None
    if not scores.any():
        call.warn_if_none(some)
    return scores
