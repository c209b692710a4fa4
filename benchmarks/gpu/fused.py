"""The honest competitor: one Triton kernel that multiplies, compares and sums, and stores no similarity.

A program owns some images and walks over a span of the texts. Its sums stay in registers; tiles of both operands come
by the bulk copy engine (tensor descriptors), several steps ahead, and are multiplied with float32 accumulators. All
programs of a span walk in step, so that the texts they read come from the L2 cache.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

PAD = 256  # thresholds are padded to a multiple of the widest tile, by what no similarity exceeds
LOG2_E = 1.4426950408889634


class Setting(NamedTuple):
    """A tile of images x texts x depth, loads in flight, warps; into how many spans the texts are cut."""

    rows: int
    cols: int
    depth: int
    stages: int
    warps: int
    spans: int = 4

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols}x{self.depth}, {self.stages} stages, {self.warps} warps"


# The benchmark takes the fastest for each depth and dtype. Two programs with small tiles share a processor, and one
# multiplies while the other sums; large tiles read less. All compile without spills.
SETTINGS = (
    Setting(128, 128, 64, 3, 4),
    Setting(128, 256, 64, 3, 8),
    Setting(128, 256, 64, 4, 8),
    Setting(256, 128, 64, 3, 8),
    Setting(128, 256, 128, 2, 8),
)
SETTINGS_FP32 = (Setting(128, 128, 32, 3, 4), Setting(128, 256, 32, 4, 8), Setting(128, 128, 32, 3, 8))


@triton.jit
def _sum_weights(
    images, texts, threshold, out, n_img, n_txt, dim, exponent,
    weight: tl.constexpr, block_rows: tl.constexpr, block_cols: tl.constexpr, block_depth: tl.constexpr,
    spans: tl.constexpr,
):  # fmt: skip
    """out[span, i] = sum of g(s_ij - tau_j) over the texts j of the span."""
    row_blocks = tl.cdiv(n_img, block_rows)
    row = (tl.program_id(0) % row_blocks) * block_rows
    span = tl.program_id(0) // row_blocks
    blocks = tl.cdiv(n_txt, block_cols)
    first = blocks * span // spans
    steps = (blocks * (span + 1) // spans - first) * tl.cdiv(dim, block_depth)
    total = tl.zeros((block_rows,), tl.float32)
    s = tl.zeros((block_rows, block_cols), tl.float32)
    col = first * block_cols
    k = 0
    for _ in tl.range(steps):  # one loop over texts and depth: the next tiles are under way while weights are summed
        x = images.load([row, k])
        t = texts.load([col, k])
        s = tl.dot(x, t.T, s)  # of float32 operands in tf32
        last = k + block_depth >= dim
        if last:
            gap = s - tl.load(threshold + col + tl.arange(0, block_cols))[None, :]
            if weight == "count":
                w = tl.where(gap > 0, 1.0, 0.0)
            elif weight == "hinge":
                w = tl.maximum(gap, 0.0)
            else:
                w = tl.where(gap > 0, tl.exp2(gap * exponent), 0.0)
            total += tl.sum(w, axis=1)
            s = tl.zeros((block_rows, block_cols), tl.float32)
        k = tl.where(last, 0, k + block_depth)
        col = tl.where(last, col + block_cols, col)
    rows = row + tl.arange(0, block_rows)
    tl.store(out + span * n_img + rows, total, mask=rows < n_img)


def padded(tau: torch.Tensor) -> torch.Tensor:
    """The thresholds as the kernel reads them."""
    return torch.nn.functional.pad(tau, (0, -len(tau) % PAD), value=float("inf"))


def sum_weights(
    img: torch.Tensor, txt: torch.Tensor, padded_tau: torch.Tensor, weight: str, temperature: float, setting: Setting
) -> torch.Tensor:
    """Scores (n_img,), float32. weight: "count", "hinge" or "exp"."""
    images = TensorDescriptor.from_tensor(img, [setting.rows, setting.depth])
    texts = TensorDescriptor.from_tensor(txt, [setting.cols, setting.depth])
    out = torch.empty(setting.spans, len(img), dtype=torch.float32, device=img.device)
    grid = (triton.cdiv(len(img), setting.rows) * setting.spans,)
    _sum_weights[grid](
        images, texts, padded_tau, out, len(img), len(txt), img.shape[1], LOG2_E / temperature,
        weight, setting.rows, setting.cols, setting.depth, setting.spans,
        num_warps=setting.warps, num_stages=setting.stages,
    )  # fmt: skip
    return out.sum(0)
