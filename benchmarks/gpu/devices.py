"""Where the checks run: on a GPU; on the CPU; or rehearsed on the emulated GPU of the tests, with its real kernels."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

NAMES = ("cuda", "cpu", "emulated")
PROCESSORS_OF_A_CLUSTER = 2


class Cpu:
    """hnscore on the CPU: for the programs themselves."""

    home = "cpu"  # torch's name of the device where tensors are made
    clusters = 2  # that run at a time: with more items some of them take a second one
    has_fp16 = False  # as a precision

    def put(self, x: torch.Tensor) -> Any:
        """What hnscore is given of a tensor at home."""
        return x

    def get(self, x: Any) -> torch.Tensor:
        """A result, as a tensor at home."""
        return torch.as_tensor(x)

    def synchronize(self) -> None:
        """Until everything is done."""

    def memory_used(self) -> int:
        """Bytes that are taken now."""
        return 0

    def hangs(self) -> str:
        """What the warps of a kernel that was stopped waited for."""
        return ""

    def elapsed(self, run: Callable[[], object]) -> float:
        """Seconds that a call takes, with what the host does between its kernels."""
        began = time.perf_counter()
        run()
        return time.perf_counter() - began


class Cuda(Cpu):
    home = "cuda"
    has_fp16 = True

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise SystemExit("torch finds no GPU" if torch.version.cuda else "this torch was built without CUDA")
        self.gpu = importlib.import_module("hnscore._cuda")
        self.clusters = self.gpu.device(0).processors // PROCESSORS_OF_A_CLUSTER

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def memory_used(self) -> int:
        return torch.cuda.memory_allocated() + int(self.gpu.memory_used(0))

    def hangs(self) -> str:
        return str(self.gpu.hangs())

    def elapsed(self, run: Callable[[], object]) -> float:
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        before.record()
        run()
        after.record()
        after.synchronize()
        return float(before.elapsed_time(after)) / 1e3


def device(name: str) -> Cpu:
    """The device of that name; ends the program where there is none."""
    if name == "cuda":
        return Cuda()
    if name == "cpu":
        return Cpu()
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    rehearsal: Any = importlib.import_module("rehearsal")
    emulated: Cpu = rehearsal.Emulated()
    return emulated
