"""Scores of a pool that lies in a file: read in chunks, written in chunks, resumable after any interruption.

`scores_file.py` has the files of a run.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import hnscore
from hnscore import _core
from hnscore.arguments.numbers import check_choice
from hnscore.arguments.options import SIMILARITIES
from hnscore.command.scores_file import ScoresFile, digest_of_file
from hnscore.datasets.files import Array, StrPath, numbers_of, open_array
from hnscore.scores.chunks import ChunkedScore
from hnscore.scores.estimate import in_words

# Ctrl-C is noticed between chunks at the latest and is promised within a second.
_CHUNK_SECONDS = 0.4
_FIRST_CHUNK_MULTIPLY_ADDS = 5e8
_SAMPLED_ROWS = 4096
# How long the rest will take is said once, where it is long, when the chunks have their size.
_SAID_AFTER, _LONG = 2.0, 10.0  # seconds


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
    **options: object,
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
    ref: object = str(reference)
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
        **{f"{name} file": digest_of_file(path) for name, path in files.items() if name != "images"},
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
    with ScoresFile(output, files, settings, overwrite, img) as scores:
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
            rule |= {"margin": margin, "reference": ref, "img_groups": img_labels}
            _score_chunks(scores, txt, rule, numbers, size)
        scores.finish()
    return True


def _score_chunks(
    scores: "ScoresFile",
    txt: Array,
    rule: dict[str, Any],
    numbers: Callable[[Array], Array],
    size: tuple[int, int, int, int | None, bool],
) -> None:
    """The scores in one pass over the pool, or in two where it is the reference. `size`: of `_chunks`."""
    img = scores.pool
    call = ChunkedScore(img.shape, txt, rule, lambda rows: numbers(img[rows]), "images")
    if call.looks_for_reference:  # the first of two passes over the file
        best = scores.load_reference(len(txt))
        for start, stop in _chunks("reference", scores.reference_rows, *size):
            best = np.maximum(best, call.best_of(numbers(img[start:stop])))
            scores.write_reference(start, stop, best)
        call.set_reference(best)
    # What "auto" means is settled once, by the pool as a whole as in hnscore.score, and kept for resuming.
    some = img if numbers is np.asarray else img[:: max(1, len(img) // _SAMPLED_ROWS)]  # numbers() may copy
    scores.state["method"] = call.start(numbers(some), scores.state["method"])
    none = True
    for start, stop in _chunks("scores", scores.rows, *size):
        result = call.scores(numbers(img[start:stop]), start)
        none = none and not result.any()
        scores.write_rows(start, result)
    if none and not scores.began_at:
        call.warn_if_none(numbers(some))


def _chunks(
    what: str, done: int, n_img: int, n_txt: int, dim: int, chunk_rows: int | None, shown: bool
) -> Iterator[tuple[int, int]]:
    """Row ranges from `done` on, under a progress bar: rows/s, pairs/s, share done and time left on stderr."""
    from tqdm import tqdm

    rows = chunk_rows or max(1, int(_FIRST_CHUNK_MULTIPLY_ADDS // (n_txt * dim)))
    begun, said = time.perf_counter(), not shown
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
            left = (n_img - stop) * seconds / (stop - done)
            if not said and time.perf_counter() - begun >= _SAID_AFTER:
                said = True
                if left >= _LONG:
                    bar.write(
                        f"hnscore: {what}: about {in_words(left)} for the other {n_img - stop:,} rows", sys.stderr
                    )
            done = stop
            if chunk_rows is None:
                rows = max(1, min(2 * rows, int(rows * _CHUNK_SECONDS / seconds)))
