"""hnscore: which images to annotate next, by how hard a negative they are for the texts that are paired already.

You want                          call
images to caption next            select(None, n, embeddings=emb, labeled=rows)
an encoder's mistakes             score(img, txt, margin, owner=owner); then select(scores, n, method="repulsive", ...)
negatives to train on             mine(img, txt, k, owner=owner, margin=margin); all pairs: pairs, iter_pairs
near-duplicates                   duplicates(emb, min_similarity)
counts or a loss in a batch       score(img, txt, margin, reference="paired"); nn.TripletLoss
a margin; time and memory         margin_for(img, txt, share); estimate(n_img, n_txt, dim)
a page about your pool; pictures  report(img, txt, ...); plot
crowding, neighbours              density(emb, kind), knn_graph(emb, k)
texts once, images in chunks      Scorer(txt, margin, reference=...); the other way round: Pool(img)
many files, a cluster, ranks      dataset(path), shards, distributed; other libraries: adapters

``help(hnscore.score)`` and its like have shapes, dtypes, units and errors. ``python -m hnscore demo`` shows it at work.
"""

import importlib as _importlib
import importlib.util as _util
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _util.find_spec("hnscore._core") is None:
    raise ImportError(
        "hnscore is not built in the folder that it is imported from, which holds its sources: run `pip install .` "
        "there, then Python in another folder; to work on it, see CONTRIBUTING.md"
    )

from hnscore import cuda
from hnscore._core import VERSION as __version__  # noqa: N811  it is a name of modules
from hnscore.datasets.dataset import Dataset
from hnscore.datasets.opening import dataset
from hnscore.datasets.shard import ShardError
from hnscore.densities.density import density
from hnscore.densities.neighbours import knn_graph
from hnscore.engine.config import show_config
from hnscore.gaussians.informativeness import Informativeness, fuse, informativeness
from hnscore.mining.duplicates import Duplicates, duplicates
from hnscore.mining.graph import range_graph
from hnscore.mining.margin_for import margin_for
from hnscore.mining.mine import mine
from hnscore.mining.pairs import Pairs, iter_pairs, pairs
from hnscore.mining.pool import Pool
from hnscore.scores.estimate import Estimate, estimate
from hnscore.scores.margin import MarginWarning
from hnscore.scores.references import reference_similarity
from hnscore.scores.score import score
from hnscore.scores.scorer import Scorer
from hnscore.selections.allocate import allocate
from hnscore.selections.farthest import core_set
from hnscore.selections.select import select

if _TYPE_CHECKING:
    from hnscore import plot, shards
    from hnscore.reports.report import report

__all__ = [
    "Dataset",
    "Duplicates",
    "Estimate",
    "Informativeness",
    "MarginWarning",
    "Pairs",
    "Pool",
    "Scorer",
    "ShardError",
    "__version__",
    "allocate",
    "core_set",
    "cuda",
    "dataset",
    "density",
    "duplicates",
    "estimate",
    "fuse",
    "informativeness",
    "iter_pairs",
    "knn_graph",
    "margin_for",
    "mine",
    "pairs",
    "plot",
    "range_graph",
    "reference_similarity",
    "report",
    "score",
    "select",
    "shards",
    "show_config",
]


def __getattr__(name: str) -> _Any:
    # What most programs do without is loaded when it is first asked for.
    if name in ("plot", "shards"):
        return _importlib.import_module(f"hnscore.{name}")
    if name == "report":
        return _importlib.import_module("hnscore.reports.report").report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
