"""The Triton kernel of benchmarks/gpu in Triton's interpreter: `interpreted.py PROBLEMS SCORES`, files of torch.save.

A process of its own: the switch is read when Triton is imported.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "gpu"))

import fused
import torch
from triton.runtime import interpreter

patch_tensors = interpreter._patch_lang_tensor


def patched(tensor: Any, scope: Any) -> None:
    patch_tensors(tensor, scope)  # it takes int() of arrays of one element, which newer NumPy refuses
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


interpreter._patch_lang_tensor = patched
setting = fused.Setting(16, 32, 16, 2, 4, spans=2)
scores = []
for img, txt, tau, weight, temperature in torch.load(sys.argv[1]):
    padded = fused.padded(tau)
    assert len(padded) % fused.PAD == 0
    scores.append(fused.sum_weights(img, txt, padded, weight, temperature, setting))
torch.save(scores, sys.argv[2])
