"""The torch operators ``hnscore::score`` and ``hnscore::reference_similarity``, through which torch.compile and
torch.export trace. Imported on first use.

Their fake implementations know a result's shape and dtype; everything else, checks included, happens when they run.
"""

from typing import Any

import torch

from hnscore.scores.references import _reference_similarity
from hnscore.scores.rule import Rule
from hnscore.scores.score import _score

# The schema has no unions: a reference that is a name comes as `reference_name`, one that is an array as `reference`.
# What the shape and dtype of the result depend on comes first.


@torch.library.custom_op("hnscore::score", mutates_args=())
def score_op(
    img_emb: torch.Tensor,
    txt_emb: torch.Tensor,
    weight: str,
    aggregate: str,
    minibatch: int | None,
    margin: float,
    reference: torch.Tensor | None,
    reference_name: str,
    k: int | None,
    top_k_images: int | None,
    skip_top_images: int | None,
    max_similarity: torch.Tensor | None,
    img_groups: torch.Tensor | None,
    txt_groups: torch.Tensor | None,
    owner: torch.Tensor | None,
    paired_emb: torch.Tensor | None,
    similarity: str,
    temperature: float | None,
    precision: str,
    method: str,
    random_state: int | None,
    n_threads: int | None,
    show_progress_bar: bool,
    verbose: bool,
) -> torch.Tensor:
    rule = Rule.of(locals())
    if reference is None:
        rule = rule._replace(reference=reference_name)
    result: torch.Tensor = _score(img_emb, txt_emb, rule)
    return result


@score_op.register_fake
def _(
    img_emb: torch.Tensor,
    txt_emb: torch.Tensor,
    weight: str,
    aggregate: str,
    minibatch: int | None,
    *rest: Any,
    **more: Any,
) -> torch.Tensor:
    counts = weight == "count" and aggregate == "sum" and minibatch is None
    return img_emb.new_empty(img_emb.shape[:1], dtype=torch.int64 if counts else torch.float32)


def _tensor(x: Any) -> torch.Tensor | None:
    return None if x is None else torch.as_tensor(x).detach()


_ARRAYS = ("reference", "max_similarity", "img_groups", "txt_groups", "owner", "paired_emb")


def traced(img_emb: Any, txt_emb: Any, rule: Rule) -> Any:
    """`score` as a call of the operator, in code that Dynamo traces."""
    named = isinstance(rule.reference, str)
    values = {name: getattr(rule, name) for name in Rule._fields}
    for name in _ARRAYS:
        values[name] = None if named and name == "reference" else _tensor(values[name])
    return score_op(img_emb.detach(), txt_emb.detach(), reference_name=rule.reference if named else "", **values)


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
