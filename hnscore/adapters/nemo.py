"""Hard negatives for NeMo AutoModel, as a mixin that stands before the host's own recipe.

    class Mine(HNScoreMining, MineHardNegativesRecipe):
        pass

The rule is the host's, kept at the margin, but a query with fewer negatives than asked for gets these: the host fills
up with documents that its own margin has removed. It runs on the CPU, without a batch of rows of the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.arguments.numbers import check_choice, check_integer, check_real
from hnscore.engine.cpu import Cpu
from hnscore.mining.positives import pair_similarities


class HNScoreMining:
    """Mines by `hnscore.mine`, with inner products as the host."""

    def _mine_hard_negatives(
        self,
        query_embeddings: NDArray[Any],
        document_embeddings: NDArray[Any],
        pos_doc_indices: Sequence[Sequence[int]],
        batch_size: int,
        num_negs: int,
        hard_neg_margin: float | None = None,
        hard_neg_margin_type: str | None = None,
    ) -> tuple[list[list[int]], list[list[float]], list[list[float]]]:
        return mine_hard_negatives(
            query_embeddings, document_embeddings, pos_doc_indices, num_negs, hard_neg_margin, hard_neg_margin_type
        )


def mine_hard_negatives(
    query_embeddings: NDArray[Any],
    document_embeddings: NDArray[Any],
    pos_doc_indices: Sequence[Sequence[int]],
    num_negs: int,
    hard_neg_margin: float | None = None,
    hard_neg_margin_type: str | None = None,
) -> tuple[list[list[int]], list[list[float]], list[list[float]]]:
    """The negatives of each query.

    Parameters
    ----------
    query_embeddings, document_embeddings : arrays (n_queries, dim), (n_documents, dim)
        Compared by inner products.
    pos_doc_indices : n_queries lists of int
        The positive documents of each query, which are never negatives.
    num_negs : int
        Negatives of each query.
    hard_neg_margin, hard_neg_margin_type
        With p the least similar positive, a negative has at most ``p - margin`` ("abs"), or ``p * margin`` ("perc";
        below 0, ``p - (1 - margin) * abs(p)``: the host's own product would raise it).

    Returns
    -------
    neg_indices, neg_scores, pos_scores : lists of lists
        Of each query: its negatives, the most similar first, their similarities, and those of its positives.
    """
    engine = Cpu(None)
    queries = engine.embeddings("query_embeddings", query_embeddings)
    documents = engine.embeddings("document_embeddings", document_embeddings)
    num_negs = check_integer("num_negs", num_negs, 1, None, "negatives of each query")
    counts = np.array([len(rows) for rows in pos_doc_indices])
    images = np.concatenate([np.asarray(rows, np.int64) for rows in pos_doc_indices])
    texts = np.repeat(np.arange(len(counts)), counts)
    scores = pair_similarities(engine, documents, images, queries, texts, "dot")
    ceiling = np.full(len(counts), np.inf)
    if hard_neg_margin is not None:
        margin, kind = check_real("hard_neg_margin", hard_neg_margin), str(hard_neg_margin_type).lower()
        check_choice("hard_neg_margin_type", kind, ("abs", "perc"))
        least = np.minimum.reduceat(scores, np.cumsum(counts) - counts)
        ceiling = least - margin if kind == "abs" else np.where(least < 0, least * (2 - margin), least * margin)
    similarities, indices = hnscore.mine(
        document_embeddings, query_embeddings, num_negs, owner=list(map(list, pos_doc_indices)), margin=None,
        max_similarity=ceiling, similarity="dot",
    )  # fmt: skip
    found = (indices >= 0).sum(axis=1)
    return (
        [row[:n] for row, n in zip(indices.tolist(), found, strict=True)],
        [row[:n] for row, n in zip(similarities.tolist(), found, strict=True)],
        [part.tolist() for part in np.split(scores, np.cumsum(counts)[:-1])],
    )
