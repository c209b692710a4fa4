"""A dataset as one array, for what looks at rows again and again: a copy in a temporary file, mapped."""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from hnscore.datasets.dataset import Dataset
from hnscore.datasets.formats import Npy

Function = TypeVar("Function", bound=Callable[..., Any])


@contextmanager
def spooled(pool: Dataset) -> Iterator[NDArray[Any]]:
    """All rows. One .npy file on a disk is mapped where it lies; else the copy goes when this ends."""
    if len(pool.shards) == 1 and isinstance(pool.shards[0].rows, Npy) and pool.shards[0].location.store is None:
        yield next(pool.shards[0].rows.blocks(len(pool)))
        return
    dtype = pool.read_dtype()
    with tempfile.NamedTemporaryFile(prefix="hnscore-") as file:
        size = pool.shape[0] * pool.shape[1] * dtype.itemsize
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a disk too small is noticed here
        else:
            file.truncate(size)
        for block, _ in pool.passes():
            file.write(np.ascontiguousarray(block.rows).view(np.uint8).data)
        file.flush()
        rows = np.memmap(file, np.uint8, "r", shape=(size,))
        yield rows.view(np.ndarray).view(dtype).reshape(pool.shape)


def spooling(function: Function) -> Function:
    """`function`, of arrays that may be datasets."""

    @functools.wraps(function)
    def call(*args: object, **keywords: object) -> Any:
        if not any(type(x) is Dataset for x in (*args, *keywords.values())):
            return function(*args, **keywords)
        given = inspect.signature(function).bind(*args, **keywords).arguments
        with ExitStack() as stack:
            arrays = {name: stack.enter_context(spooled(x)) if type(x) is Dataset else x for name, x in given.items()}
            return function(**arrays)

    return cast(Function, call)
