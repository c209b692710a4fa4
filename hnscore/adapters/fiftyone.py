"""Scores as a field, and picks as a view, of a FiftyOne dataset whose samples are the rows of the pool.

hnscore.adapters.fiftyone.add_field(dataset, "hardness", scores)
session.view = hnscore.adapters.fiftyone.view_of(dataset, hnscore.select(scores, 100, embeddings=img))
"""

from __future__ import annotations

from typing import Any

import numpy as np


def add_field(samples: Any, field: str, values: Any) -> None:
    """Set a field of all samples.

    Parameters
    ----------
    samples : fiftyone dataset or view
        In the order of the rows.
    field : str
        Its name; made where there is none.
    values : array (n,)
        Scores, densities, counts.

    Raises
    ------
    ValueError
        Where there are not as many values as samples.
    """
    values = np.asarray(values)
    if values.shape != (len(samples),):
        raise ValueError(f"values must have shape ({len(samples)},), one per sample, got {values.shape}; check them")
    samples.set_values(field, values.tolist())


def view_of(samples: Any, rows: Any) -> Any:
    """A view of the samples at these rows, in their order.

    Parameters
    ----------
    samples : fiftyone dataset or view
        In the order of the rows.
    rows : integer array
        For example of `hnscore.select`.

    Returns
    -------
    view : fiftyone view
    """
    ids = samples.values("id")
    return samples.select([ids[row] for row in np.asarray(rows, np.int64).tolist()], ordered=True)
