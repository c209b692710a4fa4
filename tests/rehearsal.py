"""The emulated GPU for the programs of benchmarks/gpu, and faults that they must notice.

HNSCORE_PLANT=wrong     a tile of 64 rows x all columns is wrong in some scores of "count"
HNSCORE_PLANT=deadlock  a warp of the tile loop does not say that it has read its operands
HNSCORE_PLANT=hang      a call never returns
HNSCORE_PLANT=leak      the memory of a call is never given back
"""

import ctypes
import os
import sys
import time
from typing import Any

import devices
import numpy as np
import torch
from emulated import emulated_module
from gpus import Gpu

from hnscore.engine.memory import device as _device


class Emulated(devices.Cpu):
    has_fp16 = True

    def __init__(self) -> None:
        self.gpu: Any = emulated_module()
        self.clusters = self.gpu.device(0).processors // devices.PROCESSORS_OF_A_CLUSTER
        self._arrays = Gpu(self.gpu)
        _device._loaded = self.gpu
        plant(os.environ.get("HNSCORE_PLANT", ""), self.gpu)

    def put(self, x: torch.Tensor) -> Any:
        x = x.contiguous()
        if x.dtype == torch.bfloat16:
            import ml_dtypes

            return self._arrays.put(x.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
        return self._arrays.put(x.numpy())

    def get(self, x: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(self._arrays.get(x)))

    def memory_used(self) -> int:
        return int(self.gpu.memory_used(0))

    def hangs(self) -> str:
        return str(self.gpu.hangs())


def plant(fault: str, gpu: Any) -> None:
    reduce, context = gpu.reduce, gpu.Context
    if fault == "wrong":

        def wrong(c: Any, rows: Any, columns: Any, recipe: str, out: int, **rules: Any) -> None:
            reduce(c, rows, columns, recipe, out, **rules)
            if recipe == "count" and rows.count > 128:
                (ctypes.c_int64 * rows.count).from_address(out)[128] += 1

        gpu.reduce = wrong
    elif fault == "hang":

        def hang(*args: Any, **rules: Any) -> None:
            if args[3] == "count":
                while True:
                    time.sleep(1)
            reduce(*args, **rules)

        gpu.reduce = hang
    elif fault == "deadlock":
        site = emulated_site(gpu, "mainloop_wgmma.h", "barrier_arrive_remote")
        gpu.disable(site)
    elif fault == "leak":
        kept: list[Any] = []

        def leak(device: int, stream: int, allocate: Any, *more: int) -> Any:
            def keep(n_bytes: int) -> int:
                memory = gpu.Memory(device, stream, n_bytes)
                kept.append(memory)
                return int(memory.pointer)

            return context(device, stream, keep, *more)

        gpu.Context = leak
    elif fault:
        sys.exit(f"HNSCORE_PLANT={fault}: there are wrong, deadlock, hang, leak")


def emulated_site(gpu: Any, file: str, call: str) -> str:
    """A synchronising call of a kernel, which the emulator knows once it has run."""
    import hnscore

    arrays = Gpu(gpu)
    x = arrays.put(np.eye(4, 64, dtype=np.float16))
    hnscore.score(x, x, 0.0, reference=np.zeros(4), precision="fp16", method="dense")
    (site,) = (site for site in gpu.sites() if site.startswith(file) and call in site)
    return str(site)
