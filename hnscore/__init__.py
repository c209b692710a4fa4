"""hnscore: scores unpaired images by how hard a negative they are for the texts already paired."""

from ._config import show_config
from ._core import config as _config
from ._texts import MarginWarning
from .informativeness import Informativeness, fuse, informativeness
from .references import reference_similarity
from .score import score
from .scorer import Scorer

__version__: str = _config()["version"]
__all__ = [
    "Informativeness",
    "MarginWarning",
    "Scorer",
    "__version__",
    "fuse",
    "informativeness",
    "reference_similarity",
    "score",
    "show_config",
]
