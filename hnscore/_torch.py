"""The torch operators ``hnscore::score`` and ``hnscore::reference_similarity``, through which torch.compile and
torch.export trace. Imported on first use.

Their fake implementations know a result's shape and dtype; everything else, checks included, happens when they run.
"""

from typing import Any

import torch

from .references import _reference_similarity
from .score import _score

# The schema has no unions: a reference that is a name comes as `reference_name`, one that is an array as `reference`.


@torch.library.custom_op("hnscore::score", mutates_args=())
def score_op(
    img_emb: torch.Tensor,
    txt_emb: torch.Tensor,
    margin: float,
    reference: torch.Tensor | None,
    reference_name: str,
    weight: str,
    aggregate: str,
    k: int | None,
    top_k_images: int | None,
    skip_top_images: int | None,
    max_similarity: torch.Tensor | None,
    img_groups: torch.Tensor | None,
    txt_groups: torch.Tensor | None,
    owner: torch.Tensor | None,
    paired_emb: torch.Tensor | None,
    minibatch: int | None,
    similarity: str,
    temperature: float | None,
    precision: str,
    method: str,
    random_state: int | None,
    n_threads: int | None,
    show_progress_bar: bool,
    verbose: bool,
) -> torch.Tensor:
    result: torch.Tensor = _score(
        img_emb, txt_emb, margin, reference_name if reference is None else reference, weight, aggregate, k,
        top_k_images, skip_top_images, max_similarity, img_groups, txt_groups, owner, paired_emb, minibatch, similarity,
        temperature, precision, method, random_state, n_threads, show_progress_bar, verbose,
    )  # fmt: skip
    return result


@score_op.register_fake
def _(
    img_emb: torch.Tensor, txt_emb: torch.Tensor, margin: float, reference: torch.Tensor | None, reference_name: str,
    weight: str, aggregate: str, k: int | None, top_k_images: int | None, skip_top_images: int | None,
    max_similarity: torch.Tensor | None, img_groups: torch.Tensor | None, txt_groups: torch.Tensor | None,
    owner: torch.Tensor | None, paired_emb: torch.Tensor | None, minibatch: int | None, *rest: Any,
) -> torch.Tensor:  # fmt: skip
    counts = weight == "count" and aggregate == "sum" and minibatch is None
    return img_emb.new_empty(img_emb.shape[:1], dtype=torch.int64 if counts else torch.float32)


def _tensor(x: Any) -> torch.Tensor | None:
    return None if x is None else torch.as_tensor(x).detach()


def traced(
    img_emb: Any, txt_emb: Any, margin: Any, reference: Any, weight: Any, aggregate: Any, k: Any, top_k_images: Any,
    skip_top_images: Any, max_similarity: Any, img_groups: Any, txt_groups: Any, owner: Any, paired_emb: Any,
    *settings: Any,
) -> Any:  # fmt: skip
    """`score` as a call of the operator, in code that Dynamo traces."""
    named = isinstance(reference, str)
    return score_op(
        img_emb.detach(), txt_emb.detach(), margin, None if named else _tensor(reference), reference if named else "",
        weight, aggregate, k, top_k_images, skip_top_images, _tensor(max_similarity), _tensor(img_groups),
        _tensor(txt_groups), _tensor(owner), _tensor(paired_emb), *settings,
    )  # fmt: skip


@torch.compiler.disable  # type: ignore[untyped-decorator, unused-ignore]
def eagerly(function: Any, args: Any, keywords: Any) -> Any:
    """A call that Dynamo breaks its graph for."""
    return function(*args, **keywords)


@torch.library.custom_op("hnscore::reference_similarity", mutates_args=())
def reference_op(
    img_emb: torch.Tensor,
    txt_emb: torch.Tensor,
    owner: torch.Tensor | None,
    kind: str,
    k: int,
    batch_size: int | None,
    similarity: str,
    n_threads: int | None,
) -> torch.Tensor:
    result: torch.Tensor = _reference_similarity(
        img_emb, txt_emb, owner, kind, k, batch_size, similarity, n_threads
    )  # fmt: skip
    return result


@reference_op.register_fake
def _(img_emb: torch.Tensor, txt_emb: torch.Tensor, *rest: Any) -> torch.Tensor:
    return img_emb.new_empty(txt_emb.shape[:1], dtype=torch.float64)


def traced_reference(img_emb: Any, txt_emb: Any, owner: Any, *settings: Any) -> Any:
    """`reference_similarity` as a call of the operator."""
    return reference_op(img_emb.detach(), txt_emb.detach(), _tensor(owner), *settings)
