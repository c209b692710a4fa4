"""`density` of a dataset: block by block where it is compared with points in memory, else from a copy on the disk."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.datasets.dataset import Dataset
from hnscore.datasets.spool import spooled
from hnscore.densities.density import density
from hnscore.engine.progress import rows_bar


def density_of_dataset(given: dict[str, Any]) -> NDArray[Any]:
    pool, against, variance = given.pop("emb"), given["against"], given["variance"]
    with ExitStack() as stack:
        if isinstance(against, Dataset):
            given["against"] = stack.enter_context(spooled(against))
        if not isinstance(pool, Dataset) or against is None:
            rows = stack.enter_context(spooled(pool)) if isinstance(pool, Dataset) else pool
            result: NDArray[Any] = density(rows, **given)
            return result
        shown = given.pop("show_progress_bar")
        parts = []
        for block, first in pool.passes(rows_bar(shown, given["kind"], len(pool))):
            if isinstance(variance, (tuple, list)) and len(variance) == 2:
                given["variance"] = variance[0][first : first + len(block.rows)], variance[1]
            with pool.naming(block):
                parts.append(density(block.rows, **given))
        return np.concatenate(parts)
