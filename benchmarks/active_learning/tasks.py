"""What an experiment trains and measures, and what a strategy may look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass
class View:
    """All that a strategy knows after a round of training. An *item* is what the annotator is sent.

    Nothing here comes from the annotations of unlabeled items, or from the parts that the model is measured on.
    """

    labeled: Rows
    """Items annotated so far."""
    spaces: dict[str, Array]
    """(n_items, dim) each: "features", frozen; "joint", of the present model; others by their names."""
    other_emb: Array | None = None
    """Retrieval: (n_pairs, dim), in the joint space, the other side of each annotated pair: of pool images, texts."""
    other_owner: Rows | None = None
    """Retrieval: the item that each of them belongs to."""
    probabilities: Array | None = None
    """Supervised: (2, n_items, n_classes), of the present model, by images and by texts."""
    multi_label: bool = False
    """Supervised: whether an item may have several classes, each probability by itself; else they sum to 1."""
    gaussians: tuple[Array, Array, Array, Array] | None = None
    """Supervised: img_mean, img_var, txt_mean, txt_var of each item, as `hnscore.informativeness` takes them."""
    match_scale: tuple[float, float] = (15.0, 15.0)
    """Scale and shift of their match probability, as trained."""

    @property
    def n_items(self) -> int:
        return len(self.spaces["features"])

    @property
    def free(self) -> Rows:
        """Items that can be picked."""
        return np.delete(np.arange(self.n_items), self.labeled)


@dataclass
class Trained:
    """One round's model: its view of the pool and what it reaches."""

    view: View
    metrics: dict[str, float] = field(default_factory=dict)


class Task(ABC):
    """Data, a model and a measure. Everything is a function of the labeled items and the seed."""

    n_items: int
    """Items in the pool, labeled ones included."""
    headline: str
    """The metric whose area under the curve decides; the larger, the better."""

    @abstractmethod
    def train(self, labeled: Rows, seed: int) -> Trained:
        """Train from scratch on the annotations of these items alone, then embed all items and measure."""


Options = dict[str, Any]
