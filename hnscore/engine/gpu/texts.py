"""Texts in GPU memory, packed for one call, or once for many: for images there or in CPU memory, on any stream."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hnscore.engine.gpu.lists import PairCounts, check_rows, finder
from hnscore.engine.host import HostRows
from hnscore.engine.memory.device import DeviceArray, Kept, Space
from hnscore.engine.memory.rows import DeviceRows, backend_rules, pointer
from hnscore.engine.memory.stream import Lane, stream
from hnscore.engine.protocol import Find, Progress, Request, Rules

if TYPE_CHECKING:
    from hnscore.engine.gpu.gpu import Gpu


class DeviceTexts:
    share = 0.0  # nobody has looked

    def __init__(
        self,
        space: Space,
        txt: DeviceRows,
        request: Request,
        keep: bool,
        n_threads: int,
        chosen: DeviceArray | None = None,
    ) -> None:
        self.txt, self.request, self.method, self.threads = txt, request, request.method, n_threads
        self.lanes: list[Lane] = []  # for images of the host, between calls
        self.chosen = chosen  # by "auto", for all chunks
        self._memory: list[object] = []  # of the columns
        self._kept: Kept | None = None
        if keep and self.method == "auto" and chosen is None:
            self.chosen = space.zeros(8)
        context = space.gpu.Context(space.device, space.stream, space.keeping(self._memory))
        method = "cascade" if request.recipe == "pairs" else request.method  # lists have one way alone
        self.columns = space.gpu.Columns(
            context, txt.of(space.gpu), request.similarity, request.precision, method, keep
        )

    def hold(self, engine: Gpu, *arrays: DeviceArray | None) -> None:
        """For calls on other streams: the packed texts and what goes with them."""
        owners = [array.owner for array in (self.txt.array, self.chosen, *arrays) if array is not None]
        self._kept = Kept(engine.space, self._memory + owners)

    def prepare(self, images: DeviceRows, n_img: int, tau: DeviceArray, rules: Rules[DeviceArray]) -> None:
        pass  # the device chooses, from a sample that it takes itself

    def reduce(
        self,
        engine: Gpu,
        images: DeviceRows | HostRows,
        tau: DeviceArray,
        rules: Rules[DeviceArray],
        progress: Progress = None,
    ) -> DeviceArray | NDArray[Any]:
        if isinstance(images, HostRows):
            return stream(engine.space, self, images, tau, rules, progress)
        out = engine.space.empty((images.shape[0],), self.request.dtype.__name__)
        self.queue(engine.space, images.of(engine.gpu), out.pointer, tau, rules)
        return out

    def queue(self, space: Space, images: object, out: int, tau: DeviceArray, rules: Rules[DeviceArray]) -> None:
        """The scores of rows of the backend, to be written to `out`."""
        r = self.request
        with space.scratch() as context:
            space.gpu.reduce(
                context, images, self.columns, r.recipe, out, tau=tau.pointer, weight=r.weight,
                temperature=r.temperature, k=r.k if r.takes_largest else 1,
                divisor=1.0 if r.divisor is None else float(r.divisor), cap=r.cap or 0, integer=r.dtype is np.int64,
                choice=pointer(self.chosen), rules=backend_rules(space.gpu, rules),
            )  # fmt: skip

    def lists(
        self,
        engine: Gpu,
        images: DeviceRows,
        tau: DeviceArray,
        rules: Rules[DeviceArray],
        dtype: type[np.generic],
        progress: Progress,
    ) -> Find:
        """The texts that count for each image, for some of the images at a time."""
        check_rows(engine, images, self.request.similarity)
        return finder(engine, self, images, tau, rules, dtype, progress)

    def counts(self, engine: Gpu, images: DeviceRows, tau: DeviceArray, rules: Rules[DeviceArray]) -> NDArray[np.int64]:
        """How many texts count for each image."""
        return PairCounts(engine.space, self, images, tau, rules).of_rows

    def read_on(self, engine: Gpu) -> AbstractContextManager[None]:
        return nullcontext() if self._kept is None else self._kept.read_on(engine.space)

    def may_be_wide(self) -> bool:
        return True

    def where(self, engine: Gpu) -> str:
        here = engine.gpu.device(engine.space.device)
        return f"device={engine.space.name} ({here.name}, {here.arch}), precision={self.request.precision}"

    def why(self) -> str:
        return ""

    @property
    def nbytes(self) -> int:
        return int(self.columns.nbytes)
