"""Where a call is computed: on the CPU or on a GPU, behind one protocol."""

from __future__ import annotations

from typing import Any

import numpy as np

from hnscore.engine.cpu import Cpu
from hnscore.engine.memory.device import location
from hnscore.engine.protocol import Engine


def engine_of(n_threads: object, **arrays: object) -> Engine[Any, Any, Any]:
    """Where a call on these arrays runs: the one place that chooses."""
    for x in arrays.values():
        if type(x) is not np.ndarray and location(x) is not None:
            from hnscore.engine.gpu.gpu import Gpu

            return Gpu.of(n_threads, arrays)
    return Cpu(n_threads)
