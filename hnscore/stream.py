"""Scores of a pool that lies in a file: read in chunks, written in chunks, resumable after any interruption.

While it runs three files stand beside the output, and a later call with the same settings continues from them:

    scores.npy.partial                the scores so far, a valid .npy file of the final size
    scores.npy.partial.json           all that determines the result, and how many rows are done
    scores.npy.partial.reference.npy  with reference="pool_max": the best match of every text so far
"""

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import randbits
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore import _arrays, _core, _pool
from hnscore._files import Array, StrPath, check_output, fresh_copy, numbers_of, open_array, replace

# Ctrl-C is noticed between chunks at the latest and is promised within a second.
_CHUNK_SECONDS = 0.4
_FIRST_CHUNK_MULTIPLY_ADDS = 5e8
_SAMPLED_ROWS = 4096


def score_file(
    images: StrPath,
    texts: StrPath,
    output: StrPath,
    margin: float = 0.2,
    *,
    reference: StrPath = "pool_max",
    dtype: str | None = None,
    max_similarity: float | StrPath | None = None,
    img_groups: StrPath | None = None,
    txt_groups: StrPath | None = None,
    top_k_images: int | None = None,
    minibatch: int | None = None,
    random_state: int | None = None,
    similarity: str = "cosine",
    precision: str = "exact",
    n_threads: int | None = None,
    chunk_rows: int | None = None,
    overwrite: bool = False,
    show_progress_bar: bool = True,
    **options: Any,
) -> None:
    """Write ``hnscore.score(np.load(images), np.load(texts), ...)`` to the .npy file `output`, bit for bit.

    The pool is never held in memory. An interrupted or failed call leaves what it had; the next call with the same
    settings continues there, whatever its `n_threads` and `chunk_rows`.

    Parameters
    ----------
    images, texts : path
        .npy files of shape (n_img, dim) and (n_txt, dim).
    output : path
        The .npy file to write, shape (n_img,); float32, or int64 for counts.
    margin : float
        Similarity difference, as in `hnscore.score`.
    reference : "pool_max", "paired" or path
        "pool_max" reads the pool twice. "paired" (and `top_k_images`) needs the whole pool in one call, which starts
        anew after an interruption. A path names a .npy file of shape (n_txt,) or (n_txt, dim).
    dtype : "bfloat16", optional
        Read two-byte void .npy files, as NumPy saves bfloat16, and embeddings of int16 or uint16 as bfloat16.
    max_similarity : float or path, optional
        A number, or a .npy file of shape (n_txt,).
    img_groups, txt_groups : path, optional
        .npy files of integer labels, (n_img,) and (n_txt,).
    chunk_rows : int, optional
        Pool rows per chunk; by default as many as take about 0.4 seconds.
    overwrite : bool
        Replace a finished `output`, and drop an unfinished one of other settings, instead of refusing.
    top_k_images, minibatch, random_state, similarity, precision, n_threads, **options
        As in `hnscore.score`. Without a `random_state` the mini-batch's seed is drawn once and kept for resuming.

    Raises
    ------
    OSError, ValueError, TypeError
        A file that cannot be read or written, or holds the wrong thing; settings that differ from the unfinished run's.
    """
    if chunk_rows is not None and chunk_rows < 1:
        raise ValueError(f"chunk_rows must be at least 1, got {chunk_rows}")
    numbers = numbers_of(dtype)
    img = open_array(images, "images", dtype, (2,))
    txt = numbers(open_array(texts, "texts", dtype, (2,)))
    if img.shape[1] != txt.shape[1]:
        raise ValueError(
            f"texts has dim {txt.shape[1]}, images has dim {img.shape[1]}; use the same encoder output size"
        )
    files: dict[str, StrPath] = {"images": images, "texts": texts}
    ref: str | Array = str(reference)
    if ref not in ("pool_max", "paired"):
        files["reference"] = reference
        ref = numbers(open_array(reference, "reference", dtype, (1, 2)))
    limit: float | Array | None = None
    if isinstance(max_similarity, float | int):
        limit = float(max_similarity)
    elif max_similarity is not None:
        files["max_similarity"] = max_similarity
        limit = numbers(open_array(max_similarity, "max_similarity", dtype, (1,)))
    img_labels = txt_labels = None
    if img_groups is not None:
        files["img_groups"] = img_groups
        img_labels = open_array(img_groups, "img_groups", dtype, (1,))
        if len(img_labels) != len(img):  # chunks would hide it until the last one
            raise ValueError(f"img_groups has {len(img_labels)} labels, images has {len(img)} rows")
    if txt_groups is not None:
        files["txt_groups"] = txt_groups
        txt_labels = open_array(txt_groups, "txt_groups", dtype, (1,))
    if (img_labels is None) != (txt_labels is None):
        raise ValueError("img_groups and txt_groups: give both or neither")

    settings = {
        "hnscore": hnscore.__version__,
        "target": _core.config()["target"],  # another instruction set may round differently
        **{f"{name} file": _identity(path) for name, path in files.items()},
        "margin": margin,
        "reference": reference if isinstance(ref, str) else "file",
        "dtype": dtype,
        "max_similarity": limit if isinstance(limit, float) else None,
        "top_k_images": top_k_images,
        "minibatch": minibatch,
        "random_state": random_state,
        "similarity": similarity,
        "precision": precision,
        **options,
    }
    common: dict[str, Any] = dict(
        options,
        max_similarity=limit,
        txt_groups=txt_labels,
        minibatch=minibatch,
        similarity=similarity,
        precision=precision,
        n_threads=n_threads,
    )
    with _Partial(Path(output), list(files.values()), settings, overwrite) as partial:
        common["random_state"] = random_state if minibatch is None or random_state is not None else partial.seed
        if reference == "paired" or top_k_images is not None or not len(img):
            scores = hnscore.score(
                numbers(img),
                txt,
                margin,
                reference=ref,
                img_groups=img_labels,
                top_k_images=top_k_images,
                show_progress_bar=show_progress_bar,
                **common,
            )
            partial.write(0, len(img), scores)
        else:
            method = options.get("method", "auto")
            size = (len(img), *txt.shape, chunk_rows, show_progress_bar)
            if isinstance(ref, str):  # pool_max, the first of two passes over the file
                hnscore.Scorer(txt, margin, reference=np.zeros(len(txt)), **common)  # errors before hours of work
                ref = partial.load_reference(len(txt))
                for start, stop in _chunks("reference", partial.reference_rows, *size):
                    with _rows_of(images, start):
                        chunk = numbers(img[start:stop])
                        ref = np.maximum(ref, best_matches(chunk, txt, similarity, precision, n_threads, method))
                    partial.write_reference(stop, ref)
            # What "auto" means is settled once, by the pool as a whole as in hnscore.score, and kept for resuming.
            scorer = hnscore.Scorer(txt, margin, reference=ref, **(common | {"method": partial.method or method}))
            some = img if dtype is None else img[:: max(1, len(img) // _SAMPLED_ROWS)]  # numbers() may copy
            partial.method = scorer._choose_for(numbers(some), len(img))
            for start, stop in _chunks("scores", partial.rows, *size):
                labels = None if img_labels is None else img_labels[start:stop]
                with _rows_of(images, start):
                    scores = scorer.score(numbers(img[start:stop]), img_groups=labels)
                partial.write(start, len(img), scores)
        partial.finish()


def best_matches(
    img_emb: Array, txt_emb: Array, similarity: str, precision: str, n_threads: int | None, method: str = "auto"
) -> NDArray[np.float64]:
    """The similarity of each text to its best image, (n_txt,): the maximum over chunks is that of the pool."""
    _arrays.choice("similarity", similarity, ("cosine", "dot"))
    _arrays.choice("precision", precision, _core.PRECISIONS)
    img, img_code = _arrays.embeddings("img_emb", img_emb)
    txt, txt_code = _arrays.embeddings("txt_emb", txt_emb)
    threads = _arrays.threads(n_threads)
    return _pool.kth_best(txt, txt_code, img, img_code, 1, similarity, precision, threads, method=method)[0]


class _Partial:
    """The unfinished output on disk."""

    def __init__(self, output: Path, inputs: list[StrPath], settings: dict[str, Any], overwrite: bool) -> None:
        self._output = output
        self._scores = Path(f"{output}.partial")
        self._side = Path(f"{output}.partial.json")
        self._reference = Path(f"{output}.partial.reference.npy")
        self._state: dict[str, Any] = {
            "settings": settings, "seed": randbits(32), "method": None, "reference_rows": 0, "rows": 0,
        }  # fmt: skip
        replaced = [self._side, self._reference]
        check_output(output, [self._scores, *replaced, *map(fresh_copy, replaced)], inputs, overwrite)
        state = self._load(overwrite) if self._side.exists() and self._scores.exists() else None
        changed = [] if state is None else _changed(state["settings"], settings)
        if state is not None and not changed:
            self._state = state
            return
        if state is not None and (state["rows"] or state["reference_rows"]) and not overwrite:
            raise ValueError(
                f"{self._scores} is the unfinished output of other settings ({'; '.join(changed)}): "
                "repeat those to continue it, or pass --overwrite to start anew"
            )
        self._scores.write_bytes(b"")  # an output that cannot be written must fail before the work
        self._reference.unlink(missing_ok=True)
        self._save()

    def _load(self, overwrite: bool) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads(self._side.read_text())
            if self._state.keys() <= state.keys():
                return state
        except (ValueError, AttributeError):
            pass
        if overwrite:
            return None
        raise ValueError(f"{self._side} is no progress file of hnscore; pass --overwrite to start anew")

    def __enter__(self) -> "_Partial":
        self._file = open(self._scores, "r+b")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def rows(self) -> int:
        return int(self._state["rows"])

    @property
    def reference_rows(self) -> int:
        return int(self._state["reference_rows"])

    @property
    def seed(self) -> int:
        return int(self._state["seed"])

    @property
    def method(self) -> str | None:
        """That the scores so far were made by."""
        return None if self._state["method"] is None else str(self._state["method"])

    @method.setter
    def method(self, method: str) -> None:
        self._state["method"] = method

    def write(self, start: int, total: int, scores: Array) -> None:
        """Rows from `start` on, of `total`; on disk before the side file says so."""
        try:
            self._write(start, total, scores)
        except OSError as error:  # which knows no name
            raise OSError(error.errno, error.strerror, str(self._scores)) from error
        self._state["rows"] = start + len(scores)
        self._save()

    def _write(self, start: int, total: int, scores: Array) -> None:
        # Plain writes, not a memmap: on a full disk they raise, where a memmap would end the process.
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(scores.dtype), "fortran_order": False, "shape": (total,)}
        )
        offset = header.tell()
        if start == 0:
            self._file.write(header.getvalue())
            self._file.flush()
            size = offset + total * scores.itemsize
            self._file.truncate(size)
            if total and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)  # a disk too small is noticed here, not hours later
        self._file.seek(offset + start * scores.itemsize)
        self._file.write(scores.tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())

    def load_reference(self, n_txt: int) -> NDArray[np.float64]:
        if self.reference_rows and self._reference.exists():
            return np.asarray(np.load(self._reference), np.float64)
        self._state["reference_rows"] = 0
        return np.full(n_txt, -np.inf)

    def write_reference(self, rows: int, best: NDArray[np.float64]) -> None:
        # A crash between the two writes repeats one chunk, which changes no maximum.
        buffer = io.BytesIO()
        np.save(buffer, best)
        replace(self._reference, buffer.getvalue())
        self._state["reference_rows"] = rows
        self._save()

    def finish(self) -> None:
        self._file.close()
        os.replace(self._scores, self._output)
        self._side.unlink()
        self._reference.unlink(missing_ok=True)

    def _save(self) -> None:
        replace(self._side, json.dumps(self._state, indent=1).encode())


def _changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    new = json.loads(json.dumps(new))  # as it would come back from the file
    keys = sorted({*old, *new})
    return [f"{key} was {old.get(key)}, is {new.get(key)}" for key in keys if old.get(key) != new.get(key)]


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


class _rows_of:  # noqa: N801  reads as a phrase
    """Errors about row numbers inside: say which row of the file they count from."""

    def __init__(self, path: StrPath, start: int) -> None:
        self._path, self._start = path, start

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TypeError | ValueError) and self._start:
            raise type(error)(f"{error} (rows counted from row {self._start} of {self._path})") from error


def _identity(path: StrPath) -> str:
    """What tells one input file from another, without reading it."""
    stat = os.stat(path)
    return f"{os.path.realpath(path)} of {stat.st_size} bytes, modified at {stat.st_mtime_ns} ns"
