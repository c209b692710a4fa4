"""Scores of a pool that lies in a file: read in chunks, written in chunks, resumable after any interruption.

`output.py` has the files of a run. Beside those there is here, with reference="pool_max",
`scores.npy.partial.reference.npy`: the best match of every text so far. What is read back is checked before it is
believed: digests of the scores that were written and of the pool's rows that they were made of.
"""

import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from secrets import randbits
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore import _core
from hnscore.arguments.arrays import read_embeddings
from hnscore.arguments.numbers import check_choice, count_threads
from hnscore.arguments.options import SIMILARITIES
from hnscore.arguments.rules import describe_all_bad_rows
from hnscore.arguments.values import read_owners
from hnscore.command.files import Array, StrPath, numbers_of, open_array
from hnscore.command.output import Output, differences, replace, to_disk
from hnscore.engine import pool
from hnscore.engine.host import host_rows
from hnscore.engine.protocol import NO_RULES, Request

# Ctrl-C is noticed between chunks at the latest and is promised within a second.
_CHUNK_SECONDS = 0.4
_FIRST_CHUNK_MULTIPLY_ADDS = 5e8
_SAMPLED_ROWS = 4096
_CHECKED_BYTES = 2**26  # of the pool, at a time
_NAMED_ROWS = 20  # bad ones, in an error


def score_file(  # noqa: PLR0913
    images: StrPath,
    texts: StrPath,
    output: StrPath,
    margin: float = 0.2,
    *,
    reference: StrPath = "pool_max",
    owner: StrPath | None = None,
    paired: StrPath | None = None,
    dtype: str | None = None,
    max_similarity: float | StrPath | None = None,
    img_groups: StrPath | None = None,
    txt_groups: StrPath | None = None,
    top_k_images: int | None = None,
    skip_top_images: int | None = None,
    minibatch: int | None = None,
    random_state: int | None = None,
    similarity: str = "cosine",
    precision: str = "exact",
    n_threads: int | None = None,
    chunk_rows: int | None = None,
    overwrite: bool = False,
    show_progress_bar: bool = True,
    **options: Any,
) -> bool:
    """Write ``hnscore.score(np.load(images), np.load(texts), ...)`` to the .npy file `output`, bit for bit.

    The pool is never held in memory. An interrupted or failed call leaves what it had; the next call with the same
    settings continues there, whatever its `n_threads` and `chunk_rows`, also where rows of the pool have been repaired
    that it had not come to. Every row is checked before the first is scored.

    Parameters
    ----------
    images, texts : path
        .npy files of shape (n_img, dim) and (n_txt, dim).
    output : path
        The .npy file to write, shape (n_img,); float32, or int64 for counts.
    margin : float
        Similarity difference, as in `hnscore.score`.
    reference : "pool_max", "paired" or path
        "pool_max" reads the pool twice. "paired" (and `top_k_images`, `skip_top_images`) needs the whole pool in one
        call, which starts anew after an interruption. A path names a .npy file of shape (n_txt,) or (n_txt, dim).
    owner, paired : path, optional
        .npy files: each text's own image (n_txt,), as a row of `paired` (n, dim) or of `images`.
    dtype : "bfloat16", optional
        Read two-byte void .npy files, as NumPy saves bfloat16, and embeddings of int16 or uint16 as bfloat16.
    max_similarity : float or path, optional
        A number, or a .npy file of shape (n_txt,).
    img_groups, txt_groups : path, optional
        .npy files of labels, integers or strings, (n_img,) and (n_txt,).
    chunk_rows : int, optional
        Pool rows per chunk; by default as many as take about 0.4 seconds.
    overwrite : bool
        Replace a finished `output`, and drop an unfinished one of other settings, instead of refusing.
    top_k_images, skip_top_images, minibatch, random_state, similarity, precision, n_threads, **options
        As in `hnscore.score`. Without a `random_state` the mini-batch's seed is drawn once and kept for resuming.

    Returns
    -------
    bool
        Whether there was something to do: False where `output` is there, of the same settings and inputs.

    Raises
    ------
    OSError, ValueError, TypeError
        A file that cannot be read or written, or holds the wrong thing, or changes while it is read; settings that
        differ from the unfinished run's; another run that writes the same output.
    """
    if chunk_rows is not None and chunk_rows < 1:
        raise ValueError(f"chunk_rows must be at least 1, got {chunk_rows}; leave it out, or pass 1 or more")
    files: dict[str, StrPath] = {"images": images, "texts": texts}
    numbers = numbers_of(dtype)

    def read(name: str, path: StrPath | None, *ndims: int) -> Any:
        if path is None:
            return None
        files[name] = path
        return open_array(path, name, dtype, ndims)

    img = open_array(images, "images", dtype, (2,))
    txt = numbers(open_array(texts, "texts", dtype, (2,)))
    if img.shape[1] != txt.shape[1]:
        raise ValueError(
            f"texts has dim {txt.shape[1]}, images has dim {img.shape[1]}; use the same encoder output size"
        )
    ref: Any = str(reference)
    if ref not in ("pool_max", "paired"):
        ref = numbers(read("reference", reference, 1, 2))
    owners, paired_img = read("owner", owner, 1), read("paired", paired, 2)
    limit: Any = max_similarity
    if max_similarity is not None and not isinstance(max_similarity, float | int):
        limit = numbers(read("max_similarity", max_similarity, 1))
    img_labels, txt_labels = read("img_groups", img_groups, 1), read("txt_groups", txt_groups, 1)
    if img_labels is not None and len(img_labels) != len(img):  # chunks would hide it until the last one
        raise ValueError(
            f"img_groups has {len(img_labels)} labels, images has {len(img)} rows; pass one label for each row"
        )
    if (img_labels is None) != (txt_labels is None):
        raise ValueError("img_groups and txt_groups must be given together; pass both or neither")

    settings = {
        "hnscore": hnscore.__version__,
        "target": _core.config()["target"],  # another instruction set may round differently
        "images": f"{img.shape} {img.dtype.str}",
        **{f"{name} file": _digest_of_file(path) for name, path in files.items() if name != "images"},
        "margin": margin,
        "reference": reference if isinstance(ref, str) else "file",
        "dtype": dtype,
        "max_similarity": max_similarity if isinstance(max_similarity, float | int) else None,
        "top_k_images": top_k_images,
        "skip_top_images": skip_top_images,
        "minibatch": minibatch,
        "random_state": random_state,
        "similarity": similarity,
        "precision": precision,
        **options,
    }
    rule: dict[str, Any] = dict(
        options,
        max_similarity=None if limit is None else limit if isinstance(limit, np.ndarray) else float(limit),
        txt_groups=txt_labels,
        owner=owners,
        paired_emb=None if paired_img is None else numbers(paired_img),
        minibatch=minibatch,
        similarity=similarity,
        precision=precision,
        n_threads=n_threads,
    )
    with _Scores(output, files, settings, overwrite, img) as scores:
        if scores.up_to_date:
            return False
        rule["random_state"] = random_state if minibatch is None or random_state is not None else scores.state["seed"]
        whole_pool = reference == "paired" or top_k_images is not None or skip_top_images is not None or not len(img)
        check_choice("similarity", similarity, SIMILARITIES)
        scores.check_rows(images, numbers, similarity, n_threads, show_progress_bar)
        if whole_pool:
            result = hnscore.score(
                numbers(img),
                txt,
                margin,
                reference=ref,
                img_groups=img_labels,
                top_k_images=top_k_images,
                skip_top_images=skip_top_images,
                show_progress_bar=show_progress_bar,
                **rule,
            )
            scores.write_rows(0, result)
        else:
            size = (len(img), *txt.shape, chunk_rows, show_progress_bar)
            _score_chunks(scores, txt, ref, img_labels, rule | {"margin": margin}, numbers, size)
        scores.finish()
    return True


def _score_chunks(
    scores: "_Scores",
    txt: Array,
    ref: Any,
    img_labels: Array | None,
    rule: dict[str, Any],
    numbers: Any,
    size: tuple[int, int, int, int | None, bool],
) -> None:
    """The scores by a Scorer, in one pass over the pool, or in two where it is the reference. `size`: of `_chunks`."""
    img, method = scores.pool, rule.get("method", "auto")
    owners: NDArray[np.int64] | None = None
    if rule["owner"] is not None and rule["paired_emb"] is None:  # own images are rows of the pool
        owners = read_owners(rule["owner"], len(txt), len(img), "images")
        own = hnscore.reference_similarity(numbers(img[owners]), txt, similarity=rule["similarity"])
        ref = own if isinstance(ref, str) else ref
        rule = rule | {"owner": None}
    if rule["owner"] is not None and isinstance(ref, str):
        ref = None
    if isinstance(ref, str):  # pool_max, the first of two passes over the file
        hnscore.Scorer(txt, reference=np.zeros(len(txt)), **rule)  # errors before hours of work
        ref = scores.load_reference(len(txt))
        settings = (rule["similarity"], rule["precision"], rule["n_threads"], method)
        for start, stop in _chunks("reference", scores.reference_rows, *size):
            ref = np.maximum(ref, best_matches(numbers(img[start:stop]), txt, *settings))
            scores.write_reference(start, stop, ref)
    # What "auto" means is settled once, by the pool as a whole as in hnscore.score, and kept for resuming.
    scorer = hnscore.Scorer(txt, reference=ref, **(rule | {"method": scores.state["method"] or method}))
    some = img if numbers is np.asarray else img[:: max(1, len(img) // _SAMPLED_ROWS)]  # numbers() may copy
    scores.state["method"] = scorer._choose_for(numbers(some), len(img))
    none = True
    for start, stop in _chunks("scores", scores.rows, *size):
        labels = None if img_labels is None else img_labels[start:stop]
        result = scorer._score(numbers(img[start:stop]), labels, start, owners)
        none = none and not result.any()
        scores.write_rows(start, result)
    if none and not scores.began_at:
        scorer._warn_if_none(numbers(some))


def best_matches(
    img_emb: Array, txt_emb: Array, similarity: str, precision: str, n_threads: int | None, method: str = "auto"
) -> NDArray[np.float64]:
    """The similarity of each text to its best image, (n_txt,): the maximum over chunks is that of the pool."""
    check_choice("similarity", similarity, SIMILARITIES)
    check_choice("precision", precision, _core.PRECISIONS)
    request = Request(similarity=similarity, precision=precision, method=method)
    txt, img = host_rows("txt_emb", txt_emb), host_rows("img_emb", img_emb)
    return pool.kth_best(txt, img, request, NO_RULES, count_threads(n_threads))[0]


class _Digests:
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


class _Scores(Output):
    """The scores of a pool, some of which may be there already."""

    def __init__(
        self, path: StrPath, inputs: Mapping[str, StrPath], settings: Mapping[str, Any], overwrite: bool, pool: Array
    ) -> None:
        super().__init__(path, inputs, settings, overwrite)
        self.pool = pool
        self._read_rows = _Digests(pool.itemsize * pool.shape[1])
        self._written = _Digests(8)
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
        digests = _Digests(self.pool.itemsize * self.pool.shape[1])
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
        self._written = _Digests(array.itemsize)
        self._written.add_until(array, rows)
        return None if self._written.state == state.get("score_digests") else "does not hold what was written"

    # ---- The pool ----------------------------------------------------------------------------------------------------

    def check_rows(self, path: StrPath, numbers: Any, similarity: str, n_threads: int | None, shown: bool) -> None:
        """Names the bad rows of the pool, before hours of work, unless it was looked at before."""
        if self.state["checked"] == self._identities["images"]:
            return
        step = self._read_rows.block
        threads = count_threads(n_threads)
        found: list[tuple[int, int]] = []
        for start, stop in _passes("check", 0, len(self.pool), step, shown):
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
            self._written = _Digests(scores.itemsize)
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


def _digest_of_file(path: StrPath) -> str:
    digest = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while part := file.read(2**22):
            digest.update(part)
        size = file.tell()
    return f"{os.path.basename(path)} of {size} bytes, digest {digest.hexdigest()}"


def _passes(what: str, done: int, n_img: int, rows: int, shown: bool) -> Iterator[tuple[int, int]]:
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


def _chunks(
    what: str, done: int, n_img: int, n_txt: int, dim: int, chunk_rows: int | None, shown: bool
) -> Iterator[tuple[int, int]]:
    """Row ranges from `done` on, under a progress bar: rows/s, pairs/s, share done and time left on stderr."""
    from tqdm import tqdm

    rows = chunk_rows or max(1, int(_FIRST_CHUNK_MULTIPLY_ADDS // (n_txt * dim)))
    with tqdm(
        desc=what,
        total=n_img,
        initial=done,
        unit="rows",
        unit_scale=True,
        disable=not shown,
        file=sys.stderr,
        mininterval=0.1 if sys.stderr.isatty() else 10,  # a log file wants few lines
    ) as bar:
        while done < n_img:
            stop = min(done + rows, n_img)
            began = time.perf_counter()
            yield done, stop
            seconds = time.perf_counter() - began
            bar.set_postfix_str(f"{(stop - done) * n_txt / seconds:.3g} pairs/s", refresh=False)
            bar.update(stop - done)
            done = stop
            if chunk_rows is None:
                rows = max(1, min(2 * rows, int(rows * _CHUNK_SECONDS / seconds)))
