"""The torch operators ``hnscore::score`` and ``hnscore::reference_similarity``, through which torch.compile and
torch.export trace. Imported on first use.

Their fake implementations know a result's shape and dtype; everything else, checks included, happens when they run.
"""

from typing import Any, get_type_hints

import torch

from hnscore.arguments.options import RandomState
from hnscore.scores.references import _reference_similarity
from hnscore.scores.rule import Rule
from hnscore.scores.score import _score

# The schema follows Rule, by what torch calls its types. It has no unions: a reference that is a name comes as
# `reference_name`, one that is an array as `reference`.
_NAMES = {
    object: "Tensor?", float: "float", str: "str", bool: "bool", float | None: "float?", int | None: "int?",
    RandomState: "int?",
}  # fmt: skip
_TYPES = {name: _NAMES[hint] for name, hint in get_type_hints(Rule).items()}
_SCHEMA = ", ".join(f"{kind} {name}" for name, kind in _TYPES.items())


@torch.library.custom_op(
    "hnscore::score",
    mutates_args=(),
    schema=f"(Tensor img_emb, Tensor txt_emb, str reference_name, {_SCHEMA}) -> Tensor",
)
def score_op(img_emb: torch.Tensor, txt_emb: torch.Tensor, reference_name: str, *values: Any) -> torch.Tensor:
    rule = Rule(*values)
    if reference_name:
        rule = rule._replace(reference=reference_name)
    result: torch.Tensor = _score(img_emb, txt_emb, rule)
    return result


@score_op.register_fake
def _(img_emb: torch.Tensor, txt_emb: torch.Tensor, reference_name: str, *values: Any) -> torch.Tensor:
    rule = Rule(*values)
    counts = rule.weight == "count" and rule.aggregate == "sum" and rule.minibatch is None
    return img_emb.new_empty(img_emb.shape[:1], dtype=torch.int64 if counts else torch.float32)


def _tensor(x: object) -> torch.Tensor | None:
    return None if x is None else torch.as_tensor(x).detach()


def traced(arguments: dict[str, Any]) -> Any:
    """`score` as a call of the operator, in code that Dynamo traces."""
    name = arguments["reference"] if isinstance(arguments["reference"], str) else ""
    values = []
    for field, kind in _TYPES.items():
        value = None if name and field == "reference" else arguments[field]
        values.append(_tensor(value) if kind == "Tensor?" else value)
    return score_op(arguments["img_emb"].detach(), arguments["txt_emb"].detach(), name, *values)


@torch.library.custom_op("hnscore::reference_similarity", mutates_args=())
def reference_op(  # noqa: PLR0917
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


def traced_reference(img_emb: Any, txt_emb: Any, owner: object, *settings: object) -> Any:
    """`reference_similarity` as a call of the operator."""
    return reference_op(img_emb.detach(), txt_emb.detach(), _tensor(owner), *settings)
