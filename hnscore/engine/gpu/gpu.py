"""The engine of NVIDIA GPUs: a call queues its work on the current stream of the caller's library and returns.

Results are values that nobody waits for; what only the device sees of its arguments is told later (memory/reports.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.arrays import convert_like, is_tensor, read_array, read_embeddings
from hnscore.arguments.numbers import count_threads
from hnscore.arguments.values import (
    check_one_per_text,
    check_values_or_rows,
    read_owners,
    read_reference,
    read_values,
)
from hnscore.engine.gpu.labels import DeviceGroups, groups_of_images, groups_of_texts, labels_on_device
from hnscore.engine.gpu.lists import DeviceNear
from hnscore.engine.gpu.texts import DeviceTexts
from hnscore.engine.gpu.travel import to_device, to_host
from hnscore.engine.host import HostRows, host_rows, in_use
from hnscore.engine.memory import device, reports
from hnscore.engine.memory.device import PRECISIONS, DeviceArray, Space, location
from hnscore.engine.memory.libraries import space_of, space_on
from hnscore.engine.memory.rows import DeviceRows, backend_rules
from hnscore.engine.protocol import Progress, Request, Rules

Drawn = NDArray[np.int64] | None
_MOST_TEXTS = 2**31 - 512  # what the copy engine of a GPU can count
_SIDES = {
    "img_emb": reports.IMG, "txt_emb": reports.TXT, "paired_emb": reports.PAIRED, "img_chunk": reports.CHUNK,
    "emb": reports.EMB, "against": reports.AGAINST,
}  # fmt: skip


class Gpu:
    precisions = PRECISIONS
    sees_values = False

    def __init__(self, space: Space, tensors: bool, n_threads: object) -> None:
        self.space, self.gpu, self.tensors, self.n_threads = space, space.gpu, tensors, n_threads
        self.threads = count_threads(n_threads)  # that fill buffers with images of the host
        self._drawn: Drawn = None
        self._picked: DeviceArray | None = None

    @classmethod
    def of(cls, n_threads: object, arrays: dict[str, Any]) -> Gpu:
        engine = cls(space_of(**arrays), is_tensor(next(iter(arrays.values()))), n_threads)
        reports.raise_found(engine.gpu, engine.space.device)
        return engine

    # ---- Arguments in ------------------------------------------------------------------------------------------------

    def embeddings(self, name: str, x: object) -> DeviceRows:
        return DeviceRows(self.space.embeddings(name, x), _SIDES[name])

    def paired(self, name: str, x: object) -> DeviceRows:
        if location(x) is not None:
            return self.embeddings(name, x)
        return DeviceRows(self.space.upload(name, *read_embeddings(name, x)), _SIDES[name])

    def taken(self, rows: DeviceRows, drawn: Drawn, keep: bool) -> DeviceRows:
        rows = rows if drawn is None else replace(rows, pick=self._pick(drawn))
        if not keep:
            return rows
        side = rows.side if drawn is None else reports.DRAWN
        return DeviceRows(self.space.copy(rows.array, rows.pick), side)

    def limits(self, name: str, x: object, n: int, drawn: Drawn) -> DeviceArray | None:
        if location(x) is not None:
            return self._values(name, self.space.array(name, x), n, drawn, reports.LIMITS)
        if read_array(name, x)[0].ndim == 0:
            limit = float(read_values(name, x, 1, upper_limits=True)[0])
            return None if limit == np.inf else self.space.full(n if drawn is None else len(drawn), limit)
        host = read_values(name, x, n, upper_limits=True)
        return None if np.isposinf(host).all() else self.space.upload(name, in_use(host, drawn))

    def _values(self, name: str, array: DeviceArray, n: int, drawn: Drawn, side: int) -> DeviceArray:
        """A float64 value for each text in use."""
        limits = side == reports.LIMITS
        check_one_per_text(name, array, array.code, n, limits)
        if not array.shape:
            array = replace(array, shape=(n,), strides=(0,))
        return self.space.values(array, "float64", side, self._pick(drawn), finite=True, or_infinity=limits)

    def _pick(self, drawn: Drawn) -> DeviceArray | None:
        """The rows that were drawn, on the device: copied there once a call."""
        if drawn is not None and self._drawn is not drawn:
            if self.space.capturing:
                raise ValueError(
                    "minibatch must be None while a CUDA graph is captured, whose replays would all have one draw, got "
                    f"{len(drawn)}; make a Scorer before"
                )
            self._drawn, self._picked = drawn, self.space.upload("minibatch", drawn)
        return None if drawn is None else self._picked

    def owners(self, x: object, n_txt: int, n_paired: int, of: str, drawn: Drawn = None) -> DeviceArray:
        if location(x) is not None:  # every one is looked at, which waits
            x = self.space.download(labels_on_device(self.space, "owner", x, n_txt).array)
        return self.space.upload("owner", in_use(read_owners(x, n_txt, n_paired, of), drawn))

    def arange(self, n: int) -> DeviceArray:
        return self.space.arange(n)

    def paired_owners(self, n: int, drawn: Drawn) -> DeviceArray:
        picked = self._pick(drawn)
        return self.space.arange(n) if picked is None else picked

    def groups(self, x: object, n: int, drawn: Drawn) -> DeviceGroups:
        return groups_of_texts(self.space, x, n, drawn, self._pick(drawn))

    def group_numbers(self, texts: DeviceGroups) -> DeviceArray:
        return texts.array

    def same_groups(self, texts: DeviceGroups, x: object, n_img: int) -> tuple[DeviceArray, DeviceArray, bool]:
        images = groups_of_images(self.space, x, n_img, texts)
        return images.array, texts.array, texts.unsigned != images.unsigned

    # ---- Work --------------------------------------------------------------------------------------------------------

    def similarity(
        self, a: DeviceRows, b: DeviceRows, similarity: str, picked: DeviceArray | None = None
    ) -> DeviceArray:
        out = self.space.empty((b.shape[0],), "float64")
        own = a if picked is None else replace(a, pick=picked)
        with self.space.scratch() as context:
            self.gpu.pair_similarity(context, own.of(self.gpu), b.of(self.gpu), similarity, out.pointer)
        return out

    def reference(self, x: object, n_txt: int, txt: DeviceRows, drawn: Drawn, similarity: str) -> DeviceArray:
        dim = txt.shape[1]
        if location(x) is None:
            host, code = read_reference(x, n_txt, dim, similarity)
            array = self.space.upload("reference", in_use(host, drawn), code)
            if code is None:
                return array
            return self.similarity(DeviceRows(array, reports.REFERENCE_ROWS), txt, similarity)
        array = self.space.array("reference", x)
        check_values_or_rows(array, array.code, n_txt, dim)
        if len(array.shape) == 1:
            return self._values("reference", array, n_txt, drawn, reports.REFERENCE_VALUES)
        return self.similarity(DeviceRows(array, reports.REFERENCE_ROWS, self._pick(drawn)), txt, similarity)

    def thresholds(self, reference: DeviceArray, margins: tuple[float, ...]) -> DeviceArray:
        n = reference.shape[0]
        tau = self.space.internal((n,), "float64")
        with self.space.scratch() as context:
            self.gpu.thresholds(context, reference.pointer, n, margins, tau.pointer)
        return tau

    def just_below(self, values: DeviceArray) -> DeviceArray:
        return self.space.upload("thresholds", np.nextafter(self.space.download(values), -np.inf))

    def kth_best(
        self,
        txt: DeviceRows,
        img: DeviceRows,
        rank: int,
        request: Request,
        rules: Rules[DeviceArray],
        progress: Progress = None,
    ) -> tuple[DeviceArray, DeviceArray]:
        n = txt.shape[0]
        value, row = self.space.empty((n,), "float64"), self.space.internal((n,), "int64")
        swapped = Rules(  # the texts are the rows, and images own themselves
            rules.max_similarity, rules.col_groups, rules.row_groups, rules.negative_groups_differ, rules.col_owners
        )  # fmt: skip
        self.best(
            txt, img, rank, request.similarity, request.precision, swapped, kth_value=value.pointer,
            kth_row=row.pointer,
        )  # fmt: skip
        return value, row

    def best(
        self,
        rows: DeviceRows,
        pool: DeviceRows,
        k: int,
        similarity: str,
        precision: str,
        rules: Rules[DeviceArray],
        **results: int,
    ) -> None:
        """What each row finds in the pool: `results` of the backend's `top`."""
        if not rows.shape[0]:
            return
        given = backend_rules(self.gpu, rules, max_similarity_of_rows=True)
        with self.space.scratch() as context:
            self.gpu.top(
                context, rows.of(self.gpu), pool.of(self.gpu), similarity, precision, k, rules=given, **results
            )

    def expected_best(
        self, txt: DeviceRows, img: DeviceRows, weights: NDArray[np.float64], similarity: str, own: DeviceArray
    ) -> DeviceArray:
        sums, ranks = self.space.empty((txt.shape[0],), "float64"), self.space.upload("weights", weights)
        self.best(
            txt, img, len(weights), similarity, "exact", Rules(row_owners=own), rank_weights=ranks.pointer,
            sums=sums.pointer,
        )  # fmt: skip
        return sums

    def nearest(
        self,
        rows: DeviceRows,
        others: DeviceRows,
        k: int,
        request: Request,
        exclude_self: bool,
        progress: Progress = None,
    ) -> tuple[DeviceArray, DeviceArray]:
        n = rows.shape[0]
        values, indices = self.space.empty((n, k), "float64"), self.space.empty((n, k), "int64")
        rules: Rules[DeviceArray] = Rules(row_owners=self.arange(n) if exclude_self else None)
        self.best(
            rows, others, k, request.similarity, request.precision, rules, values=values.pointer,
            indices=indices.pointer,
        )  # fmt: skip
        return values, indices

    def near(self, rows: DeviceRows, level: float, request: Request) -> DeviceNear:
        return DeviceNear(self, rows, level, request)

    def packed(self, txt: DeviceRows, request: Request, n_img: int | None, keep: bool) -> DeviceTexts:
        if (n := txt.shape[0]) > _MOST_TEXTS:
            raise ValueError(
                f"txt_emb must have at most {_MOST_TEXTS} rows on a GPU, got {n}; score against parts of the texts and "
                "add up the scores"
            )
        return DeviceTexts(self.space, txt, request, keep, self.threads)

    # ---- Results out -------------------------------------------------------------------------------------------------

    def no_scores(self, dtype: type[np.generic]) -> DeviceArray:
        return self.space.empty((0,), dtype.__name__)

    def sample(self, rows: DeviceRows, step: int) -> tuple[NDArray[Any], int]:
        assert rows.array.code is not None
        pick = None if rows.pick is None else rows.pick.every(step)
        some = rows.array if pick is not None else rows.array.every(step)
        return self.space.download(self.space.copy(some, pick)), rows.array.code

    def sampled(self, values: DeviceArray, step: int) -> NDArray[np.float64]:
        return self.space.download(self.space.copy(values.every(step)))

    def may_wait(self, asked: object) -> bool:
        return bool(asked or reports.blocking()) and not self.space.capturing

    def finish(self) -> None:
        reports.finish(self.space)

    def give(self, x: object, values: DeviceArray | NDArray[Any]) -> Any:
        if isinstance(values, np.ndarray) and location(x) is None:  # of images of the host
            return convert_like(x, values)
        self.finish()
        return self.space.give_copy(values) if isinstance(values, np.ndarray) else self.space.give(values)

    # ---- From call to call -------------------------------------------------------------------------------------------

    def again(self, x: object) -> Gpu:
        if x is not None:
            reports.raise_found(self.gpu, self.space.device)
        example = x if x is not None and location(x) is not None else None
        return Gpu(space_on(self.gpu, self.space.device, example, tensors=self.tensors), self.tensors, self.n_threads)

    def chunk(self, name: str, x: object) -> DeviceRows | HostRows:
        if location(x) is not None:
            return self.embeddings(name, x)
        return host_rows(name, x)

    def is_own(self, rows: object) -> bool:
        return isinstance(rows, DeviceRows)

    def exported(self, state: dict[str, Any]) -> dict[str, Any]:
        return {name: to_host(self.space, value) for name, value in state.items()}

    def imported(self, state: dict[str, Any]) -> dict[str, Any]:
        there = {name: to_device(self.space, value) for name, value in state.items()}
        texts = DeviceTexts(self.space, there["txt"], there["settings"].request, True, self.threads, there["packed"])
        groups = None if there["groups"] is None else there["groups"].array
        texts.hold(self, there["tau"], there["limits"], groups)
        return there | {"packed": texts}

    def __getstate__(self) -> dict[str, Any]:
        return {"device": self.space.device, "tensors": self.tensors, "n_threads": self.n_threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["tensors"]:
            import torch  # noqa: F401  whose memory it is
        space = space_on(device.backend(), state["device"], tensors=state["tensors"])
        self.__init__(space, state["tensors"], state["n_threads"])  # type: ignore[misc]
