"""The report of a pool: one HTML file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import read_array
from hnscore.arguments.dtypes import BFLOAT16, widen
from hnscore.arguments.numbers import check_choice, check_integer, check_real
from hnscore.arguments.options import PREFERENCES
from hnscore.arguments.rules import check_not_empty
from hnscore.arguments.values import read_owners
from hnscore.datasets.folder import Folder
from hnscore.datasets.spool import spooling
from hnscore.engine.compiled import breaks_graph
from hnscore.engine.host import host_rows
from hnscore.engine.memory.copies import from_copies
from hnscore.engine.memory.device import on_device
from hnscore.reports.findings import bad_rows, find
from hnscore.reports.page import Names, Settings, page
from hnscore.reports.thumbnails import Images, image_of

if TYPE_CHECKING:
    from hnscore.arguments.options import ArrayLike

Rows = NDArray[np.int64]

_BUDGET = 24


class Report(str):
    """The path of a report; a notebook shows the report itself."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        content = escape(Path(self).read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{content}" title="report" style="width:100%;height:48rem;border:0"></iframe>'


@breaks_graph
@spooling
def report(  # noqa: PLR0913
    img_emb: ArrayLike,
    txt_emb: ArrayLike,
    margin: float = 0.2,
    *,
    output: str | os.PathLike[str] = "hnscore_report.html",
    reference: object = "pool_max",
    owner: ArrayLike | None = None,
    paired_emb: ArrayLike | None = None,
    max_similarity: object = None,
    img_groups: ArrayLike | None = None,
    txt_groups: ArrayLike | None = None,
    similarity: str = "cosine",
    budget: int | None = None,
    prefer: str = "easy",
    min_similarity: float = 0.95,
    images: Images = None,
    paired_images: Images = None,
    captions: Sequence[str] | None = None,
    ids: Sequence[Any] | None = None,
    title: str | None = None,
    n_threads: int | None = None,
    show_progress_bar: bool | None = None,
) -> Report:
    """Write an HTML file about a pool and its texts, for the people who annotate it.

    What the margin keeps, on a slider; the hardest images with the texts they are mistaken for; pairs that may be no
    negatives; what to annotate next, on a map; duplicates, hubs and bad rows. The file needs no network and nothing
    beside it.

    Parameters
    ----------
    img_emb : array (n_img, dim)
        The pool; kinds and dtypes as in `score`. Rows of zeros, NaN or Inf are listed and left out. Or a `dataset`,
        copied to a temporary file.
    txt_emb : array (n_txt, dim)
        The texts that are already paired with an image; such rows are left out likewise.
    margin, reference, owner, paired_emb, max_similarity, img_groups, txt_groups, similarity
        Which pairs count: as in `score`. `margin_for` finds a margin.
    output : path
        The file to write; it is replaced.
    budget : int, optional
        How many images to pick, by `select`; 0 for none. Default: 24, or all there are.
    prefer : {"easy", "hard"}
        Which half of the scores the picks cover, as in `select`.
    min_similarity : float
        From this cosine on two images are near-duplicates.
    images : sequence, mapping or function of a row, optional
        The picture of each row of img_emb: a path, the bytes of a file, a PIL image or a uint8 array
        (height, width, 3). Only those that are shown are read. Files above 16 KB need Pillow.
    paired_images : likewise, optional
        Of each row of paired_emb; of each text where `owner` is not given.
    captions : sequence of str, optional
        The texts, (n_txt,).
    ids : sequence, optional
        What to call the images, (n_img,). Default: their rows.
    title : str, optional
        Of the page.
    n_threads : int, optional
        Default: all that the process may use.
    show_progress_bar : bool, optional
        Show one on standard error. Default: where that is a terminal or a notebook, for what takes long.

    Returns
    -------
    str
        `output`. In a notebook it shows the page.

    Raises
    ------
    TypeError, ValueError
        As `score` and `select`; for captions or ids of another length.
    OSError
        A picture cannot be read, or `output` not be written.
    ImportError
        For large pictures without Pillow.

    Warns
    -----
    MarginWarning
        As `score`.

    Notes
    -----
    Scores, counts, the margin's curve and duplicates are of all rows; the histogram, the map and the curve of coverage
    are of a sample, and the page says so. Arrays on a GPU are copied to the CPU.

    Examples
    --------
    >>> import hnscore, tempfile
    >>> from hnscore import demo
    >>> data = demo.load()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = hnscore.report(data.img_emb, data.txt_emb, reference=data.reference, images=data.thumbnails,
    ...                           captions=data.captions, ids=data.names, output=f"{folder}/report.html")
    ...     print(path == f"{folder}/report.html")
    True
    """
    arguments = dict(locals())
    if on_device(img_emb, txt_emb, reference, owner, paired_emb, max_similarity, img_groups, txt_groups):
        return from_copies(report, arguments)  # type: ignore[no-any-return]
    begun = time.perf_counter()
    margin = check_real("margin", margin)
    check_choice("prefer", prefer, PREFERENCES)
    img, txt = host_rows("img_emb", img_emb), host_rows("txt_emb", txt_emb)
    (n_img, _), (n_txt, _) = img.shape, txt.shape
    for name, side in (("img_emb", img), ("txt_emb", txt)):
        check_not_empty(name, side)
    _check_length("captions", captions, n_txt, "texts")
    _check_length("ids", ids, n_img, "images")
    _check_length("images", images, n_img, "images")
    place = Path(output).absolute()
    if not place.parent.is_dir():
        raise FileNotFoundError(f"output {os.fspath(output)}: there is no such folder; make it first")
    if place.is_dir():
        raise IsADirectoryError(f"output {os.fspath(output)} is a folder; pass the name of a file, such as report.html")
    rule: dict[str, Any] = {
        "reference": reference, "owner": owner, "paired_emb": paired_emb, "max_similarity": max_similarity,
        "img_groups": img_groups, "txt_groups": txt_groups, "similarity": similarity,
    }  # fmt: skip
    reference_in_words = _in_words(rule)
    bad_images, bad_texts = bad_rows(img), bad_rows(txt)
    image_rows, text_rows = _good(n_img, bad_images.all), _good(n_txt, bad_texts.all)
    own_rows = _own_rows(rule, n_img, n_txt)
    if len(bad_images.all) or len(bad_texts.all):
        img_emb, txt_emb, image_rows, text_rows, rule = _without_bad(
            img_emb, txt_emb, n_img, rule, own_rows, image_rows, text_rows
        )
    for name, good, n in (("img_emb", image_rows, n_img), ("txt_emb", text_rows, n_txt)):
        if not len(good):
            raise ValueError(f"{name} must have a row to report of; all {n} are zeros, NaN or Inf, or their images are")
    n_good = len(image_rows)
    budget = min(_BUDGET, n_good) if budget is None else check_integer("budget", budget, 0, n_good, "images")

    def own_picture(text: int) -> Any:
        if own_rows is None:
            return image_of(paired_images, text)
        return image_of(images if paired_emb is None else paired_images, int(own_rows[text]))

    names = Names(
        lambda i: f"image {image_rows[i]}" if ids is None else str(ids[int(image_rows[i])]),
        lambda j: f"text {text_rows[j]}" if captions is None else str(captions[int(text_rows[j])]),
        lambda i: image_of(images, int(image_rows[i])),
        lambda j: own_picture(int(text_rows[j])),
    )
    own = text_rows if own_rows is None else own_rows[text_rows]
    given = {name: x for name, x in rule.items() if x is not None}
    work = {"n_threads": n_threads, "show_progress_bar": show_progress_bar}
    found = find(img_emb, txt_emb, margin, given, own, budget=budget, prefer=prefer, near=min_similarity, work=work)
    also = [f"{name} was given" for name in ("max_similarity", "img_groups", "owner") if rule[name] is not None] + (
        [f"similarity: {similarity}"] if similarity != "cosine" else []
    )
    settings = Settings(
        title or f"{n_img:,} images and {n_txt:,} texts", margin, reference_in_words, also, prefer, min_similarity,
        _core.VERSION, time.perf_counter() - begun, bad_images, bad_texts,
    )  # fmt: skip
    Folder(place.parent).write(place.name, page(found, settings, names).encode(errors="replace"))
    return Report(os.fspath(output))


def _check_length(name: str, values: object, n: int, what: str) -> None:
    """Of what is a sequence; a mapping or a function may leave rows out."""
    if values is None or callable(values) or isinstance(values, Mapping):
        return
    if not hasattr(values, "__len__"):
        raise TypeError(f"{name} must be a sequence, got {type(values).__name__}; make a list of it")
    if len(values) != n:
        raise ValueError(f"{name} must have one entry for each of the {n} {what}, got {len(values)}; pass as many")


def _in_words(rule: dict[str, Any]) -> str:
    if rule["owner"] is not None or not isinstance(rule["reference"], str):
        return "the similarity of the text's own image"
    if rule["reference"] == "paired":
        return "the similarity of the image in the text's own row"
    return "the similarity of the text's best match in the pool, because no own images were given"


def _own_rows(rule: dict[str, Any], n_img: int, n_txt: int) -> Rows | None:
    """Of each text's own image, in paired_emb or else in img_emb; None where nobody says."""
    if rule["owner"] is not None:
        paired = rule["paired_emb"]
        n, name = (n_img, "img_emb") if paired is None else (host_rows("paired_emb", paired).shape[0], "paired_emb")
        return read_owners(rule["owner"], n_txt, n, name)
    is_paired = isinstance(rule["reference"], str) and rule["reference"] == "paired"
    return np.arange(n_txt) if is_paired and n_img == n_txt else None


def _good(n: int, bad: Rows) -> Rows:
    return np.delete(np.arange(n), bad)


def _without_bad(
    img_emb: object,
    txt_emb: object,
    n_img: int,
    rule: dict[str, Any],
    owner: Rows | None,
    image_rows: Rows,
    text_rows: Rows,
) -> tuple[Any, Any, Rows, Rows, dict[str, Any]]:
    """Both sides and their rules without the rows left out, and without texts whose own image is one of these."""
    rule = dict(rule)
    if isinstance(rule["reference"], str) and rule["reference"] == "paired":
        rule["reference"] = "pool_max"  # the owner says the same
    if owner is not None and rule["paired_emb"] is None:
        place = np.full(n_img, -1)
        place[image_rows] = np.arange(len(image_rows))
        owner = place[owner]
        text_rows = text_rows[owner[text_rows] >= 0]
    if owner is not None:
        rule["owner"] = owner[text_rows]
    for name in ("reference", "max_similarity"):
        if rule[name] is not None and not isinstance(rule[name], (str, int, float)):
            rule[name] = _taken(name, rule[name], text_rows)
    for name, rows in (("txt_groups", text_rows), ("img_groups", image_rows)):
        if rule[name] is not None:
            rule[name] = np.asarray(rule[name])[rows]
    img, txt = _taken("img_emb", img_emb, image_rows), _taken("txt_emb", txt_emb, text_rows)
    return img, txt, image_rows, text_rows, rule


def _taken(name: str, x: object, rows: Rows) -> NDArray[Any]:
    """Rows of embeddings or values, of any kind that is taken for them."""
    array, code = read_array(name, x)
    return widen(array[rows]) if code == BFLOAT16 else array[rows]
