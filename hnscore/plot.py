"""Pictures on matplotlib: similarities, what a margin keeps, picks on a map, how well picks cover a pool.

Each takes the arrays that `hnscore.score` and `hnscore.select` take, draws into `ax` or into axes of its own, and
returns them. Needs matplotlib: ``pip install 'hnscore[plot]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hnscore import _core
from hnscore.arguments.arrays import read_array
from hnscore.arguments.checks import read_row_numbers
from hnscore.arguments.numbers import check_real
from hnscore.arguments.rules import check_not_empty
from hnscore.arguments.values import read_point_values
from hnscore.engine.host import HostRows, evenly_spread, host_rows
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.engine.pool import check_rows
from hnscore.figures import maps, margins

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hnscore.arguments.options import ArrayLike

__all__ = ["coverage_curve", "margin_curve", "selection_map", "similarity_histogram"]

# Colours that also tell apart without hue.
_PAIRS, _OWN, _GAP, _PICK, _FAINT = "#c3c9d2", "#1d5fd1", "#c2410c", "#0f766e", "#5b6472"
_DOTS = 5000


@computed_on_cpu
def similarity_histogram(
    img_emb: ArrayLike, txt_emb: ArrayLike, margin: float = 0.2, *, ax: Axes | None = None, **rule: object
) -> Axes:
    """Similarities of pairs, beside the references of the texts and their thresholds.

    Parameters
    ----------
    img_emb, txt_emb : arrays (n_img, dim), (n_txt, dim)
        As in `score`.
    margin : float
        A similarity difference; the thresholds are the references less it.
    ax : matplotlib Axes, optional
        To draw into.
    **rule
        Which pairs may count: `reference`, `owner`, `paired_emb`, `max_similarity`, `img_groups`, `txt_groups`,
        `similarity`, as in `score`.

    Returns
    -------
    matplotlib Axes
        Each curve is as high as its fullest bin. Pairs are a sample of up to 512 images with up to 512 texts.

    Examples
    --------
    >>> import hnscore
    >>> from hnscore import demo
    >>> data = demo.load()
    >>> ax = hnscore.plot.similarity_histogram(data.img_emb, data.txt_emb, 0.2, reference=data.reference)
    >>> ax.get_xlabel()
    'similarity'
    """
    margin = check_real("margin", margin)
    found = margins.similarities(margins.shortfalls_of(img_emb, txt_emb, **rule))
    ax = _axes(ax)
    every = np.concatenate([found.pairs, found.reference, found.reference - margin])
    edges = np.linspace(every.min(), every.max(), 121)
    middle = (edges[1:] + edges[:-1]) / 2

    def height(values: Any) -> Any:
        counts = np.histogram(values, edges)[0]
        return counts / max(counts.max(), 1)

    ax.fill_between(middle, height(found.pairs), color=_PAIRS, label="pairs")
    ax.plot(middle, height(found.reference), color=_OWN, label="references")
    ax.plot(middle, height(found.reference - margin), "--", color=_GAP, label=f"thresholds, margin {margin:g}")
    ax.set(xlabel="similarity", yticks=[], ylim=(0, None))
    ax.legend()
    return ax


@computed_on_cpu
def margin_curve(
    img_emb: ArrayLike, txt_emb: ArrayLike, margin: float | None = None, *, ax: Axes | None = None, **rule: Any
) -> Axes:
    """The share of the pairs that count at every margin, up to about 5 % of them, and of the images that are in them.

    Parameters
    ----------
    img_emb, txt_emb, ax, **rule
        As in `similarity_histogram`.
    margin : float, optional
        One to mark.

    Returns
    -------
    matplotlib Axes
        The counts are exact, of all pairs.

    Examples
    --------
    >>> import hnscore
    >>> from hnscore import demo
    >>> data = demo.load()
    >>> ax = hnscore.plot.margin_curve(data.img_emb, data.txt_emb, reference=data.reference)
    >>> ax.get_xlabel()
    'margin'
    """
    if margin is not None:
        margin = check_real("margin", margin)
    curve = margins.margin_curve(margins.shortfalls_of(img_emb, txt_emb, **rule), margin).curve
    ax = _axes(ax)
    ax.plot(curve.margins, curve.pairs / max(curve.n_pairs, 1), color=_GAP, label="pairs that count")
    ax.plot(curve.margins, curve.images / max(curve.n_img, 1), color=_OWN, label="images in them")
    if margin is not None:
        ax.axvline(margin, color=_FAINT, linestyle="--", label=f"margin {margin:g}")
    ax.set(xlabel="margin", ylabel="share", yscale="log")
    ax.legend()
    return ax


@computed_on_cpu
def selection_map(emb: ArrayLike, picks: ArrayLike, *, values: ArrayLike | None = None, ax: Axes | None = None) -> Axes:
    """Picks among the pool, along the two directions in which its unit rows spread most.

    Parameters
    ----------
    emb : array (n, dim)
        The pool.
    picks : integer array (n_picks,)
        Rows, as `select` returns them.
    values : array (n,), optional
        What colours the pool, for example scores.
    ax : matplotlib Axes, optional
        To draw into.

    Returns
    -------
    matplotlib Axes
        With at most 5,000 rows of the pool, evenly spread. What looks near need not be: the title has the share of the
        spread that two directions hold.

    Examples
    --------
    >>> import hnscore
    >>> from hnscore import demo
    >>> emb = demo.load().img_emb
    >>> ax = hnscore.plot.selection_map(emb, hnscore.core_set(emb, 16))
    >>> ax.get_title()
    'two directions, 17% of the spread'
    """
    rows, chosen = _pool(emb, picks)
    if values is not None:
        values = read_point_values("values", values, rows.shape[0])
    axes = maps.principal_axes(rows)
    shown = evenly_spread(rows.shape[0], _DOTS)
    place, at = axes.place(rows, shown), axes.place(rows, chosen)
    ax = _axes(ax)
    colour: Any = _PAIRS if values is None else values[shown]
    dots = ax.scatter(place[:, 0], place[:, 1], s=6, c=colour)
    if values is not None:
        ax.figure.colorbar(dots, ax=ax)
    ax.scatter(at[:, 0], at[:, 1], s=60, color=_PICK, edgecolor="white", label="picks")
    ax.set(xticks=[], yticks=[], title=f"two directions, {axes.share:.0%} of the spread")
    ax.legend()
    return ax


@computed_on_cpu
def coverage_curve(emb: ArrayLike, picks: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """How near the pool is to its nearest pick, after each number of picks, beside random ones.

    Parameters
    ----------
    emb, picks, ax
        As in `selection_map`.

    Returns
    -------
    matplotlib Axes
        Mean cosine with the nearest pick, over at most 10,000 rows, evenly spread; random: five draws and their range.

    Examples
    --------
    >>> import hnscore
    >>> from hnscore import demo
    >>> emb = demo.load().img_emb
    >>> ax = hnscore.plot.coverage_curve(emb, hnscore.core_set(emb, 16))
    >>> ax.get_xlabel()
    'picks'
    """
    rows, chosen = _pool(emb, picks)
    found = maps.coverage_curve(rows, chosen)
    ax = _axes(ax)
    ax.fill_between(found.budget, found.random_low, found.random_high, color=_PAIRS, alpha=0.5)
    ax.plot(found.budget, found.random, color=_FAINT, label="random")
    ax.plot(found.budget, found.picked, color=_PICK, linewidth=2, label="picks")
    ax.set(xlabel="picks", ylabel="mean cosine with the nearest pick")
    ax.legend()
    return ax


def _axes(ax: Axes | None) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("hnscore.plot needs matplotlib; pip install 'hnscore[plot]'") from error
    return plt.subplots(layout="constrained")[1]


def _pool(emb: object, picks: object) -> tuple[HostRows, Any]:
    rows = host_rows("emb", emb)
    check_not_empty("emb", rows)
    check_rows(rows, "cosine", _core.default_threads())
    if not len(read_row_numbers("picks", picks, rows.shape[0])):
        raise ValueError("picks must have at least one row, got none; pass what select returns")
    return rows, read_array("picks", picks)[0].astype(np.int64)  # in their order
