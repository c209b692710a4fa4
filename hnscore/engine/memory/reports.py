"""What a device found in values that only it knows, and told later.

The scores concerned are NaN, or -1 where they are counts. At the end of a call the device writes the first bad row of
each side to memory of the host, where the next call finds it: nobody waits.
"""

from __future__ import annotations

import os

from hnscore.arguments.rules import describe_bad_rows
from hnscore.arguments.values import describe_bad_value
from hnscore.engine.memory.device import Backend, Space

# The sides that are told apart, by their numbers in the backend.
SIDES = (
    "img_emb", "txt_emb", "reference", "reference", "max_similarity", "img_chunk", "emb", "against",
    "txt_emb[the minibatch drawn]", "img_chunk", "paired_emb",
)  # fmt: skip
IMG, TXT, REFERENCE_ROWS, REFERENCE_VALUES, LIMITS, CHUNK, EMB, AGAINST, DRAWN, HOST_CHUNK, PAIRED = range(len(SIDES))


def _message(side: int, row: int, kind: int) -> str:
    if side in (REFERENCE_VALUES, LIMITS):
        return describe_bad_value(SIDES[side], "NaN or Inf", row, upper_limits=side == LIMITS)
    return describe_bad_rows(SIDES[side], [row], kind)


def raise_found(gpu: Backend, device: int, *, earlier: bool = True) -> None:
    """The error for what the device has told since it was last asked."""
    # A call names its own bad rows of the host; a bad reference was found before, or comes of bad rows.
    found = [bad for bad in gpu.bad_rows(device) if bad[0] not in (HOST_CHUNK, gpu.REFERENCE_SIDE)]
    if not found:
        return
    what = "; ".join(_message(*bad) for bad in found)
    if earlier:
        what = (
            f"an earlier call on cuda:{device}, whose scores are NaN or -1 for that, found a bad value: {what}. "
            "hnscore.cuda.check() right after a call, or CUDA_LAUNCH_BLOCKING=1, names the call"
        )
    raise ValueError(what)


def blocking() -> bool:
    """Whether calls wait for the device, so that errors come from the call that made them."""
    return os.environ.get("CUDA_LAUNCH_BLOCKING") == "1"


def finish(space: Space) -> None:
    """The end of a call."""
    space.gpu.publish(space.device, space.stream)
    space.end()
    if blocking() and not space.capturing:
        space.gpu.synchronize(space.device, space.stream)
        raise_found(space.gpu, space.device, earlier=False)
