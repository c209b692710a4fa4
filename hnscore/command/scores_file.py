"""The files of a run of `hnscore score`: scores so far, and what tells whether they may be believed.

Beside those of `output.py` there is, with reference="pool_max", `scores.npy.partial.reference.npy`: the best match of
every text so far. What is read back is checked before it is believed: digests of the scores that were written and of
the pool's rows that they were made of.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from secrets import randbits
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import read_embeddings
from hnscore.arguments.numbers import count_threads
from hnscore.arguments.rules import describe_all_bad_rows
from hnscore.command.output import Output, differences, replace, to_disk
from hnscore.datasets.files import Array, StrPath

_CHECKED_BYTES = 2**26  # of the pool, at a time
_NAMED_ROWS = 20  # bad ones, in an error


class Digests:
    """Digests of the rows of an array, so many at a time, of which any number are done."""

    def __init__(self, row_bytes: int) -> None:
        self.block = max(1, _CHECKED_BYTES // max(1, row_bytes))
        self.rows = 0
        self._done: list[str] = []
        self._open = blake2b(digest_size=16)

    def add(self, rows: Array) -> None:
        """The next ones."""
        while len(rows):
            part = rows[: self.block - self.rows % self.block]
            self._open.update(np.ascontiguousarray(part).view(np.uint8).data)
            self.rows += len(part)
            rows = rows[len(part) :]
            if self.rows % self.block == 0:
                self._done.append(self._open.hexdigest())
                self._open = blake2b(digest_size=16)

    def believe(self, digests: list[str]) -> None:
        """The first ones, as they were read before."""
        self.rows, self._done = len(digests) * self.block, digests

    def add_until(self, array: Array, stop: int) -> None:
        """The rows of an array that are not there yet, up to `stop`."""
        for first in range(self.rows, stop, self.block):
            self.add(array[first : min(stop, first + self.block)])

    @property
    def state(self) -> list[str]:
        return [*self._done, self._open.hexdigest()]


class ScoresFile(Output):
    """The scores of a pool, some of which may be there already."""

    def __init__(
        self, path: StrPath, inputs: Mapping[str, StrPath], settings: Mapping[str, Any], overwrite: bool, pool: Array
    ) -> None:
        super().__init__(path, inputs, settings, overwrite)
        self.pool = pool
        self._read_rows = Digests(pool.itemsize * pool.shape[1])
        self._written = Digests(8)
        self.began_at = 0  # the first row of this run

    def new_state(self) -> dict[str, Any]:
        return super().new_state() | {
            "seed": randbits(32), "method": None, "reference_rows": 0, "rows": 0, "reference": None, "dtype": None,
            "checked": None, "pool_digests": [], "score_digests": [],
        }  # fmt: skip

    @property
    def worth_keeping(self) -> bool:
        return bool(self.state.get("rows") or self.state.get("reference_rows"))

    @property
    def rows(self) -> int:
        return int(self.state["rows"])

    @property
    def reference_rows(self) -> int:
        return int(self.state["reference_rows"])

    # ---- What an earlier run left ------------------------------------------------------------------------------------

    def same_inputs(self, state: Mapping[str, Any]) -> bool:
        # All but the pool are in the settings, by a digest of their content.
        before = state.get("inputs")
        if isinstance(before, dict) and before.get("images") == self._identities["images"]:
            return True
        digests = Digests(self.pool.itemsize * self.pool.shape[1])
        digests.add_until(self.pool, len(self.pool))
        return bool(state.get("pool_digests") == digests.state)

    def resume(self, state: dict[str, Any]) -> bool:
        counts = _count(state, "rows"), _count(state, "reference_rows")
        if counts == (0, 0):
            return False
        done = max(counts)
        changed = differences(state["settings"], self._settings)
        if changed and not self._overwrite:
            raise ValueError(
                f"{self.partial} is the unfinished output of other settings ({'; '.join(changed)}): "
                "repeat those to continue it, or pass --overwrite to start anew"
            )
        damage = "other settings" if changed else self._damage(state, done)
        if damage and not self._overwrite:
            raise ValueError(f"{self.path} cannot be continued: {damage}; pass --overwrite to start anew")
        return damage is None

    def _damage(self, state: dict[str, Any], done: int) -> str | None:
        """What is wrong with what an earlier run left, or None. What is right is kept."""
        n, side = len(self.pool), self._state_path
        rows, reference_rows = _count(state, "rows"), _count(state, "reference_rows")
        method, seed = state.get("method"), state.get("seed")
        if min(rows, reference_rows) < 0 or done > n or not (rows == 0 or reference_rows in (0, n)):
            return f"{side} names rows that there are not"
        if method not in (None, "dense", "cascade") or not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            return f"{side} holds no settings of hnscore"
        if rows:
            wrong = self._wrong_scores(state, rows, n)
            if wrong:
                return f"{self.partial} {wrong}"
        same = isinstance(state.get("inputs"), dict) and state["inputs"].get("images") == self._identities["images"]
        whole = done // self._read_rows.block
        digests = state.get("pool_digests")
        if not isinstance(digests, list) or len(digests) != whole + 1 or not all(isinstance(x, str) for x in digests):
            return f"{side} lacks the digests of the pool"
        if same:  # only what is under way is read again
            self._read_rows.believe(digests[:whole])
        self._read_rows.add_until(self.pool, done)
        if self._read_rows.state != digests:
            first = next(
                i for i, pair in enumerate(zip(self._read_rows.state, digests, strict=True)) if len(set(pair)) > 1
            )
            start = first * self._read_rows.block
            return (
                f"images have changed since, in rows {start} to {min(done, start + self._read_rows.block) - 1} that "
                "were scored already"
            )
        if not same:
            state["checked"] = None
            state["inputs"] = self._identities
        if reference_rows and self._load_reference(state) is None:
            return f"{self.reference_path} does not hold what was written"
        self.began_at = rows
        return None

    def _wrong_scores(self, state: dict[str, Any], rows: int, n: int) -> str | None:
        try:
            array = np.load(self.partial, mmap_mode="r")
        except (ValueError, EOFError, OSError, OverflowError, SyntaxError, MemoryError) as error:
            return f"is damaged ({' '.join(str(error).split())})"
        if array.shape != (n,) or array.dtype.str != state.get("dtype") or array.dtype not in (np.float32, np.int64):
            return f"holds {array.shape} {array.dtype}"
        self._written = Digests(array.itemsize)
        self._written.add_until(array, rows)
        return None if self._written.state == state.get("score_digests") else "does not hold what was written"

    # ---- The pool ----------------------------------------------------------------------------------------------------

    def check_rows(
        self, path: StrPath, numbers: Callable[[Array], Array], similarity: str, n_threads: int | None, shown: bool
    ) -> None:
        """Names the bad rows of the pool, before hours of work, unless it was looked at before."""
        if self.state["checked"] == self._identities["images"]:
            return
        step = self._read_rows.block
        threads = count_threads(n_threads)
        found: list[tuple[int, int]] = []
        for start, stop in passes("check", 0, len(self.pool), step, shown):
            array, code = read_embeddings("images", numbers(self.pool[start:stop]))
            bad = _core.check_rows(array, code, similarity, threads, _NAMED_ROWS + 1)
            found += [(start + row, kind) for row, kind in bad]
            if len(found) > _NAMED_ROWS:
                break
        if found:
            raise ValueError(describe_all_bad_rows("images", found, str(path), _NAMED_ROWS))
        self.state["checked"] = self._identities["images"]
        self.save()

    # ---- What is written ---------------------------------------------------------------------------------------------

    def write_rows(self, start: int, scores: Array) -> None:
        """Rows from `start` on; on disk before the record says so."""
        with self.named_errors():
            self._write(start, scores)
        if start == 0:
            self._written = Digests(scores.itemsize)
        self._written.add(scores)
        stop = start + len(scores)
        if self._read_rows.rows < stop:  # else the reference's pass has been here
            self._read_rows.add_until(self.pool, stop)
        self.state |= {
            "rows": stop, "dtype": scores.dtype.str, "score_digests": self._written.state,
            "pool_digests": self._read_rows.state,
        }  # fmt: skip
        self.save()

    def _write(self, start: int, scores: Array) -> None:
        # Plain writes, not a memmap: on a full disk they raise, where a memmap would end the process.
        header = io.BytesIO()
        total = len(self.pool)
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(scores.dtype), "fortran_order": False, "shape": (total,)}
        )
        offset = header.tell()
        if start == 0:
            self.file.seek(0)
            self.file.write(header.getvalue())
            self.file.flush()
            size = offset + total * scores.itemsize
            self.file.truncate(size)
            if total and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.file.fileno(), 0, size)  # a disk too small is noticed here, not hours later
        self.file.seek(offset + start * scores.itemsize)
        self.file.write(scores.tobytes())
        to_disk(self.file)

    def load_reference(self, n_txt: int) -> NDArray[np.float64]:
        best = self._load_reference(self.state) if self.reference_rows else None
        if best is None or best.shape != (n_txt,):
            self.state["reference_rows"] = 0
            return np.full(n_txt, -np.inf)
        return best

    def _load_reference(self, state: Mapping[str, Any]) -> NDArray[np.float64] | None:
        try:
            content = self.reference_path.read_bytes()
            if blake2b(content, digest_size=16).hexdigest() not in (
                state.get("reference"),
                state.get("reference_before"),
            ):
                return None
            return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), np.float64)
        except (OSError, ValueError, EOFError):
            return None

    def write_reference(self, start: int, stop: int, best: NDArray[np.float64]) -> None:
        buffer = io.BytesIO()
        np.save(buffer, best)
        content = buffer.getvalue()
        # A crash between these writes repeats one chunk, which changes no maximum: either content is right then.
        self.state["reference_before"] = self.state["reference"]
        self.state["reference"] = blake2b(content, digest_size=16).hexdigest()
        self.save()
        replace(self.reference_path, content)
        self._read_rows.add_until(self.pool, stop)
        self.state |= {"reference_rows": stop, "pool_digests": self._read_rows.state}
        self.save()


def _count(state: Mapping[str, Any], name: str) -> int:
    """A number of rows that a record holds, or -1."""
    value = state.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1


def digest_of_file(path: StrPath) -> str:
    digest = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while part := file.read(2**22):
            digest.update(part)
        size = file.tell()
    return f"{os.path.basename(path)} of {size} bytes, digest {digest.hexdigest()}"


def passes(what: str, done: int, n_img: int, rows: int, shown: bool) -> Iterator[tuple[int, int]]:
    """Row ranges of `rows` each, under a progress bar where there are many."""
    from tqdm import tqdm

    with tqdm(
        desc=what, total=n_img, initial=done, unit="rows", unit_scale=True, disable=not shown or n_img <= rows,
        file=sys.stderr,
    ) as bar:  # fmt: skip
        for start in range(done, n_img, rows):
            stop = min(n_img, start + rows)
            yield start, stop
            bar.update(stop - start)
