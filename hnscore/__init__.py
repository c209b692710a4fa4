"""hnscore: scores unpaired images by how hard a negative they are for the texts already paired."""

from . import cuda
from ._config import show_config
from ._core import VERSION as __version__
from ._texts import MarginWarning
from .allocation import allocate
from .density import density
from .informativeness import Informativeness, fuse, informativeness
from .neighbours import knn_graph
from .references import reference_similarity
from .score import score
from .scorer import Scorer
from .selection import core_set, select

__all__ = [
    "Informativeness",
    "MarginWarning",
    "Scorer",
    "__version__",
    "allocate",
    "core_set",
    "cuda",
    "density",
    "fuse",
    "informativeness",
    "knn_graph",
    "reference_similarity",
    "score",
    "select",
    "show_config",
]
