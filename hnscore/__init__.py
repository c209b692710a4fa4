"""hnscore: scores unpaired images by how hard a negative they are for the texts already paired."""

import importlib.util as _util

if _util.find_spec("hnscore._core") is None:
    raise ImportError(
        "hnscore is not built in the folder that it is imported from, which holds its sources: run `pip install .` "
        "there, then Python in another folder; to work on it, see CONTRIBUTING.md"
    )

from . import cuda
from ._config import show_config
from ._core import VERSION as __version__  # noqa: N811  it is a name of modules
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
