"""Hard negatives for sentence-transformers: its own function, with all of the corpus as the window.

    from hnscore.adapters.sentence_transformers import mine_hard_negatives
    # in place of: from sentence_transformers.util import mine_hard_negatives

    triplets = mine_hard_negatives(dataset, model, absolute_margin=0.1, num_negatives=5)
    triplets = mine_hard_negatives(dataset, anchor_embeddings=a, positive_embeddings=p)      # without a model

The rules and the four output formats are the host's. What differs: the margins are applied to the whole corpus, where
the host first cuts to `range_max` candidates and loses negatives; columns may hold images, or anything else that has an
embedding; ``sampling_strategy="random"`` takes a seed.
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

import hnscore
from hnscore.arguments.numbers import check_choice, check_integer, count_threads
from hnscore.engine.cpu import Cpu
from hnscore.mining.positives import pair_similarities

FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")


def mine_hard_negatives(  # noqa: PLR0913, PLR0917
    dataset: Dataset,
    model: object = None,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Sequence[Any] | None = None,
    cross_encoder: None = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["top", "random"] = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: str = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: list[str] | bool = False,
    verbose: bool = True,
    *,
    anchor_embeddings: object = None,
    positive_embeddings: object = None,
    corpus_embeddings: object = None,
    random_state: Any = None,
    n_threads: int | None = None,
) -> Dataset:
    """Adds hard negatives to a dataset of anchors and positives.

    Parameters
    ----------
    dataset : datasets.Dataset
        A row is an anchor and one of its positives. Rows with equal anchors are one anchor with several positives.
    model : SentenceTransformer, optional
        Encodes the columns. Not needed where embeddings are given.
    anchor_column_name, positive_column_name, corpus, range_min, max_score, min_score, absolute_margin, relative_margin
        As in the host: with p the similarity of an anchor's least similar positive, a negative s has
        ``s <= p - absolute_margin``, ``s <= p - relative_margin * abs(p)``, ``s <= max_score`` and
        ``s >= min_score``; the `range_min` best of these are left out.
    range_max : int, optional
        Candidates are the so many most similar of an anchor, as in the host, where one is given. Default: all.
    num_negatives, output_format, output_scores, include_positives
        As in the host.
    sampling_strategy : {"top", "random"}
        As in the host; random ones are drawn from all that the rules leave.
    query_prompt_name, query_prompt, corpus_prompt_name, corpus_prompt, batch_size, use_multi_process
        For the model.
    verbose : bool
        Print what was found.
    anchor_embeddings, positive_embeddings : arrays (len(dataset), dim), optional
        Of the rows of the dataset, in place of a model.
    corpus_embeddings : array (len(corpus), dim), optional
        With these, those of `corpus`.
    random_state : int, numpy.random.Generator or RandomState, optional
        Seed of the draw.
    n_threads : int, optional
        Default: all that the process may use.
    cross_encoder, faiss_batch_size, use_faiss
        A cross-encoder cannot score a whole corpus: it is refused. The others are of the host's search; they change
        nothing here.

    Returns
    -------
    datasets.Dataset
        With the host's columns: ``"triplet"``: anchor, positive, negative[, scores]; ``"n-tuple"``: anchor, positive,
        negative_1, ...[, scores], of the rows that have them all; ``"labeled-pair"``: anchor, positive, label or score;
        ``"labeled-list"``: anchor, a list, labels or scores.

    Raises
    ------
    TypeError, ValueError
        As `hnscore.mine`; for a cross-encoder, and without a model or embeddings.
    """
    check_choice("output_format", output_format, FORMATS)
    num_negatives = check_integer("num_negatives", num_negatives, 1, None, "negatives of each anchor")
    range_min = check_integer("range_min", range_min, 0, None, "negatives left out")
    if range_max is not None:
        check_integer("range_max", range_max, range_min + num_negatives, None, "candidates")
    if cross_encoder is not None:
        raise ValueError(
            "cross_encoder must be None, since it would have to score every pair of the corpus; use "
            "sentence_transformers.util.mine_hard_negatives, whose window it scores"
        )
    if not len(dataset):
        raise ValueError("dataset must have rows, got none; pass anchors and positives")
    names = _columns(dataset, anchor_column_name, positive_column_name)
    rows = _Rows(list(dataset[names[0]]), list(dataset[names[1]]), None if corpus is None else list(corpus))
    encode = {"batch_size": batch_size, "use_multi_process": use_multi_process}
    anchors = rows.anchors.embeddings(
        "anchor_embeddings", [anchor_embeddings], model, "encode_query",
        encode | {"prompt_name": query_prompt_name, "prompt": query_prompt},
    )  # fmt: skip
    documents = rows.corpus.embeddings(
        "positive_embeddings", [positive_embeddings] if corpus is None else [corpus_embeddings, positive_embeddings],
        model, "encode_document", encode | {"prompt_name": corpus_prompt_name, "prompt": corpus_prompt},
    )  # fmt: skip
    engine = Cpu(count_threads(n_threads))
    counts = np.array([len(x) for x in rows.positives])
    texts, images = np.repeat(np.arange(len(counts)), counts), np.concatenate(rows.positives)
    positive_scores = pair_similarities(
        engine, engine.embeddings("corpus", documents), images, engine.embeddings("anchors", anchors), texts, "cosine"
    )
    least = np.minimum.reduceat(positive_scores, np.cumsum(counts) - counts)
    ceiling = np.full(len(counts), np.inf if max_score is None else max_score)
    if absolute_margin is not None:
        ceiling = np.minimum(ceiling, least - absolute_margin)
    if relative_margin is not None:
        ceiling = np.minimum(ceiling, least - relative_margin * np.abs(least))
    floor: Any = min_score
    if range_max is not None and range_max + int(counts.max()) < len(documents):
        window = hnscore.knn_graph(
            anchors, range_max + int(counts.max()), against=documents, exclude_self=False, n_threads=n_threads
        )[0][:, -1]
        floor = window if min_score is None else np.maximum(window, min_score)
    scores, indices = hnscore.mine(
        documents, anchors, num_negatives, owner=None if include_positives else rows.positives, margin=None,
        max_similarity=ceiling, min_similarity=floor, skip=range_min, sampling=sampling_strategy,
        random_state=random_state, n_threads=n_threads,
    )  # fmt: skip
    found = _Found(rows, names, positive_scores, counts, scores, indices)
    format_ = "n-tuple" if include_positives else output_format
    columns = getattr(found, format_.replace("-", "_"))(output_scores)
    if verbose:
        n = int((indices >= 0).sum())
        print(
            f"{n:,} of {indices.size:,} negatives found for {len(counts):,} anchors among {len(documents):,} candidates"
        )
    return Dataset.from_dict(columns)


def _columns(dataset: Dataset, anchor: str | None, positive: str | None) -> tuple[str, str]:
    names = dataset.column_names
    first = anchor if anchor in names else names[0]
    if positive not in names and len(names) < 2:
        raise ValueError(f"dataset must have two columns, anchors and positives, got {names}; add one")
    return str(first), str(positive if positive in names else names[1])


class _Distinct:
    """Values without repetition, in the order in which they come; and which of them each is."""

    def __init__(self, values: list[Any]) -> None:
        known: dict[Hashable, int] = {}
        self.of_value = np.array([known.setdefault(_key(x), len(known)) for x in values], np.int64)
        _, self.firsts = np.unique(self.of_value, return_index=True)
        self.values = [values[i] for i in self.firsts]

    def embeddings(self, name: str, given: list[Any], model: Any, method: str, options: dict[str, Any]) -> NDArray[Any]:
        if all(x is not None for x in given):
            rows = np.concatenate([np.asarray(x) for x in given])
            if len(rows) != len(self.of_value):
                raise ValueError(
                    f"{name} must have {len(self.of_value)} rows, got {len(rows)}; pass one for each value"
                )
            return rows[self.firsts]
        if model is None:
            raise ValueError(f"model must be given, or all embeddings, got neither it nor {name}; pass one of them")
        devices = options.pop("use_multi_process")
        pool = model.start_multi_process_pool(None if devices is True else devices) if devices else None
        try:
            encoded = getattr(model, method)(
                self.values,
                pool=pool,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=True,
                **options,
            )
        finally:
            if pool is not None:
                model.stop_multi_process_pool(pool)
        return np.asarray(encoded)


def _key(value: Any) -> Hashable:
    """Equal for equal values, images among them."""
    if hasattr(value, "tobytes") and hasattr(value, "mode"):  # of Pillow
        return value.mode, value.size, value.tobytes()
    try:
        hash(value)
    except TypeError:
        return pickle.dumps(value)
    return value  # type: ignore[no-any-return]


class _Rows:
    """Distinct anchors, the corpus, and the positives of each anchor, in the order of the dataset."""

    def __init__(self, anchors: list[Any], positives: list[Any], corpus: list[Any] | None) -> None:
        self.all_anchors, self.all_positives = anchors, positives
        self.anchors = _Distinct(anchors)
        self.corpus = _Distinct([*(corpus or []), *positives])
        own = self.corpus.of_value[len(corpus or []) :]
        self.positives: list[list[int]] = [[] for _ in self.anchors.values]
        for anchor, positive in zip(self.anchors.of_value.tolist(), own.tolist(), strict=True):
            self.positives[anchor].append(positive)


class _Found(NamedTuple):
    """What was mined, as the columns of each format. Rows of the dataset come by anchor, as in the host."""

    rows: _Rows
    names: tuple[str, str]
    positive_scores: NDArray[np.float64]
    counts: NDArray[np.int64]
    scores: NDArray[np.float64]
    indices: NDArray[np.int64]

    def _each(self) -> Any:
        """Anchor after anchor: its value, its positives with their scores, its negatives with theirs."""
        values, start = self.rows.corpus.values, 0
        for anchor, own, scores, indices in zip(
            self.rows.anchors.values, self.rows.positives, self.scores.tolist(), self.indices.tolist(), strict=True
        ):
            of_own = self.positive_scores[start : start + len(own)].tolist()
            start += len(own)
            negatives = [(values[i], s) for i, s in zip(indices, scores, strict=True) if i >= 0]
            yield anchor, [(values[i], s) for i, s in zip(own, of_own, strict=True)], negatives

    def triplet(self, output_scores: bool) -> dict[str, list[Any]]:
        rows = [(a, p, n) for a, positives, negatives in self._each() for p in positives for n in negatives]
        columns = {
            self.names[0]: [a for a, _, _ in rows], self.names[1]: [p[0] for _, p, _ in rows],
            "negative": [n[0] for _, _, n in rows],
        }  # fmt: skip
        return columns | ({"scores": [[p[1], n[1]] for _, p, n in rows]} if output_scores else {})

    def n_tuple(self, output_scores: bool) -> dict[str, list[Any]]:
        k = self.indices.shape[1]
        rows = [(a, p, n) for a, positives, n in self._each() if len(n) == k for p in positives]
        columns = {self.names[0]: [a for a, _, _ in rows], self.names[1]: [p[0] for _, p, _ in rows]}
        columns |= {f"negative_{r + 1}": [n[r][0] for _, _, n in rows] for r in range(k)}
        return columns | ({"scores": [[p[1], *(s for _, s in n)] for _, p, n in rows]} if output_scores else {})

    def labeled_pair(self, output_scores: bool) -> dict[str, list[Any]]:
        rows = [
            (a, value, score, label)
            for a, positives, negatives in self._each()
            for label, pairs in ((1, positives), (0, negatives))
            for value, score in pairs
        ]
        columns = {self.names[0]: [r[0] for r in rows], self.names[1]: [r[1] for r in rows]}
        return columns | ({"score": [r[2] for r in rows]} if output_scores else {"label": [r[3] for r in rows]})

    def labeled_list(self, output_scores: bool) -> dict[str, list[Any]]:
        rows = [(a, [p, *n]) for a, positives, n in self._each() if n for p in positives]
        columns = {self.names[0]: [a for a, _ in rows], self.names[1]: [[v for v, _ in pairs] for _, pairs in rows]}
        if output_scores:
            return columns | {"scores": [[s for _, s in pairs] for _, pairs in rows]}
        return columns | {"labels": [[1] + [0] * (len(pairs) - 1) for _, pairs in rows]}
