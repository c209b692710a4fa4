"""A way to get the scores, as it is timed."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from hnscore.bench.workloads import Workload

PEER = "torch fp32"  # as it is usually written


TUNED = "torch fp32 tuned"


Run = Callable[[], Any]


@dataclass(frozen=True)
class Method:
    """One way to get the scores.

    `inputs` converts the workload (neither timed nor counted as memory). `build` gets buffers or fills an index
    (counted, not timed) and returns the function that is timed and returns the scores; `weight` is None where it
    returns something else. `rows`: of a slow method only so many images are timed. `share`: of the work that a time
    is stated for, what one call does.
    """

    name: str
    setting: str
    package: str
    inputs: Callable[[Workload], Any]
    build: Callable[..., Run]
    weight: str | None = "hinge"
    rows: int | None = None
    share: float = 1.0

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None
