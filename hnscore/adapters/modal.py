"""A query strategy for modAL: picks that cover the pool, beside what the learner was taught.

learner = ActiveLearner(estimator, query_strategy=hnscore.adapters.modal.coverage_sampling)
rows, samples = learner.query(embeddings, n_instances=100)
"""

# ruff: noqa: N803  X is what the host calls samples

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.adapters.picks import covering


def coverage_sampling(
    learner: object, X_pool: object, n_instances: int = 1, **options: Any
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The samples that represent the pool best, beside those that the learner was taught.

    Parameters
    ----------
    learner : modAL learner
        Its ``X_training``, if it has some, counts as covered.
    X_pool : array (n, n_features)
        Embeddings.
    n_instances : int
        How many to pick.
    **options
        Of `hnscore.select`: ``method`` ("coverage", or "core_set"), ``temperature``, ``random_state``, ...

    Returns
    -------
    query_indices : int64 array (n_instances,)
        Rows of X_pool, best first.
    instances : array (n_instances, n_features)
        They themselves: a strategy that returned rows alone would be unpacked wrongly for two of them.

    Raises
    ------
    TypeError, ValueError
        As `hnscore.select`. A sample of zeros has no direction: it is picked last, and named in a warning.
    """
    pool = np.asarray(X_pool)
    known = getattr(learner, "X_training", None)
    known = pool[:0] if known is None else np.asarray(known)
    emb = np.concatenate([pool, known])
    rows = np.arange(len(emb))
    picks = covering(emb, rows[: len(pool)], rows[len(pool) :], n_instances, **options)
    return picks, pool[picks]
