"""How much can be learnt from an image-text pair whose two sides are embedded as Gaussians."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.arguments.arrays import convert_like
from hnscore.arguments.checks import (
    GAUSSIANS,
    check_weight,
    read_gaussians,
    refuse_far_apart,
    refuse_negative,
    refuse_two_points,
)
from hnscore.arguments.dtypes import as_float64, is_float64
from hnscore.arguments.numbers import (
    as_generator,
    check_choice,
    check_integer,
    check_positive,
    check_real,
    count_threads,
)
from hnscore.arguments.rules import refuse_bad_rows
from hnscore.engine.memory.copies import computed_on_cpu
from hnscore.engine.progress import rows_bar

Float = NDArray[np.float64]

# A spread of less than this share of the values is their rounding, and they count as constant.
_CONSTANT = 2.0**-40
# Values below, where float64 has fewer digits, are 0.
_LEAST_NORMAL = 2.0**-1022
# Values of each array that `fuse` has in float64 at a time.
_FUSED_VALUES = 2**18


class Informativeness(NamedTuple):
    """The informativeness of n pairs and what it is made of: four float32 arrays (n,), larger for less certain pairs.

    The last is the exception: a pair that probably matches is a certain one.
    """

    total: object
    """The weighted sum of both uncertainties, standardised over the pairs; no unit."""

    intra: object
    """Uncertainty within the modalities: the mean of the logs of the two mean variances."""

    inter: object
    """Uncertainty between the modalities: the 2-Wasserstein distance of the two Gaussians, in units of the means."""

    match_probability: object
    """The probability, 0 to 1, that image and text match."""


@computed_on_cpu
def informativeness(  # noqa: PLR0913
    img_mean: object,
    img_var: object,
    txt_mean: object,
    txt_var: object,
    *,
    match: str = "closed_form",
    n_samples: int = 7,
    scale: float = 15.0,
    shift: float = 15.0,
    intra_weight: float = 1.0,
    inter_weight: float = 1.0,
    random_state: object = None,
    variance_floor: float = 1e-12,
    n_threads: int | None = None,
    show_progress_bar: bool = False,
) -> Informativeness:
    """Informativeness of image-text pairs that are embedded as Gaussians: how uncertain a model is of each.

    With ``z(x) = (x - x.mean()) / x.std()``, and without arrays of the input's size, the defaults equal::

        log_var = [np.log(np.maximum(v.mean(axis=1), variance_floor)) for v in (img_var, txt_var)]
        intra = (log_var[0] + log_var[1]) / 2
        apart = ((img_mean - txt_mean) ** 2).sum(axis=1)
        inter = np.sqrt(apart + ((np.sqrt(img_var) - np.sqrt(txt_var)) ** 2).sum(axis=1))
        distance = np.sqrt(apart + (img_var + txt_var).sum(axis=1))
        match_probability = 1 / (1 + np.exp(-2 * (shift - scale * distance)))
        mismatch = 1 / (1 + np.exp(-2 * (scale * distance - shift)))  # 1 - match_probability, with all its digits
        total = intra_weight * z(intra) + inter_weight * z(z(inter) + z(mismatch))

    Parameters
    ----------
    img_mean, img_var, txt_mean, txt_var : arrays (n, dim)
        Means and variances (not their logs) of the pairs' diagonal Gaussians; row i of all four is pair i. Kinds and
        dtypes as in `score`, each array its own. They are read where they lie, memory-mapped files included. A
        variance may be 0: a point.
    match : {"closed_form", "sampled"}
        ``"closed_form"``: the match probability at the root of the expected squared distance of a draw of the image
        from a draw of the text, as above. ``"sampled"``: the mean of ``1 / (1 + exp(-2 * (shift - scale * d)))`` over
        the distances d of all n_samples^2 pairs of n_samples draws of each side, ``mean + sqrt(var) * normal``.
    n_samples : int
        Draws of each side for ``match="sampled"``, 1 to 4096.
    scale, shift : float
        Of the match probability, scale above 0: it is 1/2 at the distance shift / scale. The scale is in units of
        1 / distance: match it to the embeddings, or take those that the model was trained with.
    intra_weight, inter_weight : float
        How much each uncertainty counts, in standard deviations. Above 0 the less certain pair is the more
        informative one; below 0 the more certain; 0 leaves that uncertainty out. From -1e30 to 1e30.
    random_state : int, numpy.random.Generator or RandomState, optional
        Seed of the draws. They are counter-based: those of row i depend on the seed, i and n_samples alone.
    variance_floor : float
        Mean variances below this, in squared units of the means, count as this, since 0 has no logarithm. Above 0.
    n_threads : int, optional
        Default: all that the process may use. The result does not depend on it.
    show_progress_bar : bool
        Show the pairs done, the rate and the time left.

    Returns
    -------
    Informativeness
        The named tuple (total, intra, inter, match_probability) of float32 arrays (n,), the kind of array that
        img_mean is. All are computed in float64 but for the draws: their distances are off by about 2^-20 of
        themselves, which moves a probability by at most scale / 2 times as much.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no embeddings, NumPy mixed with torch.
    ValueError
        For shapes that differ, NaN, Inf, negative variances, squares that leave the float64 range (the rows are
        named), and values out of range.

    Notes
    -----
    Arrays on a GPU are copied to the CPU, where this is computed, and the result is put beside them; this waits.

    A part that is the same for all pairs, but for rounding, tells them apart in nothing and counts as 0; so does
    everything for a single pair. `inter` and the mismatch say nearly the same, once in units of distance
    and once saturating: they are standardised, added, and standardised again, so that both uncertainties have
    variance 1 before their weights.

    Memory beyond inputs and outputs: about ``80 * n`` bytes, and for each thread ``8 * (n_samples + 10) * dim``.

    The method section of [1]_ was not at hand: it joins variances, the distance of the Gaussians and their matching
    probability, and this is our reading of it. The form of the probability is that of probabilistic cross-modal
    embeddings [2]_, the expected squared distance that of [3]_. The random numbers are Philox4x32-10 [4]_.

    References
    ----------
    .. [1] Zhang, Yang, Qi, Qian, Xu, "Active Supervised Cross-Modal Retrieval", IEEE TPAMI 2025,
       doi 10.1109/TPAMI.2025.3550526.
    .. [2] Chun, Oh, de Rezende, Kalantidis, Larlus, "Probabilistic Embeddings for Cross-Modal Retrieval", CVPR 2021.
    .. [3] Chun, "Improved Probabilistic Image-Text Representations", ICLR 2024.
    .. [4] Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> mean, certain, vague = np.eye(3), np.full((3, 3), 0.01), np.full((3, 3), [[0.01], [0.1], [1.0]])
    >>> hnscore.informativeness(mean, certain, mean, vague).total.round(2)
    array([-2.07, -0.56,  2.63], dtype=float32)
    """
    check_choice("match", match, ("closed_form", "sampled"))
    arrays = read_gaussians(img_mean, img_var, txt_mean, txt_var)
    n_samples = check_integer("n_samples", n_samples, 1, 4096, "draws of each side")
    scale, shift = check_positive("scale", scale), check_real("shift", shift)
    intra_weight, inter_weight = check_weight("intra_weight", intra_weight), check_weight("inter_weight", inter_weight)
    variance_floor = check_positive("variance_floor", variance_floor)
    key = as_generator(random_state).integers(2**32, size=2, dtype=np.uint32)
    n = len(arrays[0][0])
    progress = rows_bar(show_progress_bar, "informativeness", n)
    img, txt, inter, probability, mismatch, bad = _core.gaussian_pairs(
        [array for array, _ in arrays], [code for _, code in arrays], count_threads(n_threads), scale=scale,
        shift=shift,
        n_samples=n_samples if match == "sampled" else 0, key=(int(key[0]), int(key[1])),
        progress=progress,
    )  # fmt: skip
    for name, rows in zip(GAUSSIANS, bad, strict=False):
        if rows and rows[0][1] == _core.BAD_NEGATIVE:
            refuse_negative(name, (row for row, kind in rows if kind == _core.BAD_NEGATIVE))
        if rows:
            refuse_bad_rows(name, rows)
    if bad[4]:
        refuse_far_apart(row for row, _ in bad[4])
    if progress is not None:
        progress(1.0)
    intra = (np.log(np.maximum(img, variance_floor)) + np.log(np.maximum(txt, variance_floor))) / 2
    apart = _standardised(inter) + _standardised(mismatch)
    total = intra_weight * _standardised(intra) + inter_weight * _standardised(apart, unit=1.0)
    with np.errstate(over="ignore", under="ignore"):  # in the rounding to float32
        return Informativeness(
            *(convert_like(img_mean, x.astype(np.float32)) for x in (total, intra, inter, probability))
        )


def _standardised(x: Float, unit: float = 0.0) -> Float:
    """x less its mean, over its standard deviation; zeros where that is the rounding of values as large as `unit`.

    By default the largest of x.
    """
    unit = unit or float(np.abs(x).max(initial=0.0))
    if unit < _LEAST_NORMAL:
        return np.zeros_like(x)
    x = x / unit  # so that no square overflows
    x -= x.mean() if len(x) else 0.0
    spread = math.sqrt(np.mean(x * x)) if len(x) else 0.0
    return x / spread if spread > _CONSTANT else np.zeros_like(x)


@computed_on_cpu
def fuse(img_mean: object, img_var: object, txt_mean: object, txt_var: object) -> tuple[Any, Any]:
    """Fuse the two Gaussians of each pair into one: their product, the more certain side weighing more.

    For each pair and dimension this equals::

        var = 1 / (1 / img_var + 1 / txt_var)
        mean = var * (img_mean / img_var + txt_mean / txt_var)

    Parameters
    ----------
    img_mean, img_var, txt_mean, txt_var : arrays (n, dim)
        Means and variances (not their logs) of the pairs' diagonal Gaussians. Kinds and dtypes as in `score`. A
        variance of 0 is a point, which is also the product; two points must be the same one.

    Returns
    -------
    mean, var : arrays (n, dim)
        The kind of array that img_mean is: float64 where one of the four is, else float32. Computed in float64.

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no embeddings, NumPy mixed with torch.
    ValueError
        For shapes that differ, NaN, Inf, negative variances, and two points that differ; the rows are named.

    Notes
    -----
    Arrays on a GPU are copied to the CPU, where this is computed, and the result is put beside them; this waits.

    Memory beyond inputs and outputs: about 20 MiB.

    References
    ----------
    .. [1] Zhang, Yang, Qi, Qian, Xu, "Active Supervised Cross-Modal Retrieval", IEEE TPAMI 2025,
       doi 10.1109/TPAMI.2025.3550526, estimates densities on one fused Gaussian per pair.

    Examples
    --------
    >>> import numpy as np, hnscore
    >>> mean, var = hnscore.fuse(np.array([[0.0]]), np.array([[1.0]]), np.array([[3.0]]), np.array([[2.0]]))
    >>> mean.round(3), var.round(3)
    (array([[1.]]), array([[0.667]]))
    """
    arrays = read_gaussians(img_mean, img_var, txt_mean, txt_var)
    n, dim = arrays[0][0].shape
    dtype = np.float64 if any(is_float64(code) for _, code in arrays) else np.float32
    mean, var = np.empty((n, dim), dtype), np.empty((n, dim), dtype)
    step = max(1, _FUSED_VALUES // dim)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        m, v, mt, vt = (_checked_rows(name, *given, start, step) for name, given in zip(GAUSSIANS, arrays, strict=True))
        if (two := ((v == 0) & (vt == 0) & (m != mt)).any(axis=1)).any():
            refuse_two_points(start + np.flatnonzero(two)[:8])
        # With q = smaller / larger variance, 1 where both are 0: the weights are 1 / (1 + q) and q / (1 + q), the
        # variance smaller / (1 + q). Nothing overflows, and a variance of 0 takes all.
        smaller, larger = np.minimum(v, vt), np.maximum(v, vt)
        q = np.divide(smaller, larger, out=np.ones_like(v), where=larger > 0)
        img_weight = np.where(v <= vt, 1.0, q) / (1 + q)
        with np.errstate(over="ignore", under="ignore"):  # in the rounding to float32
            mean[rows] = img_weight * m + np.where(v <= vt, q, 1.0) / (1 + q) * mt
            var[rows] = smaller / (1 + q)
    return convert_like(img_mean, mean), convert_like(img_mean, var)


def _checked_rows(name: str, array: NDArray[Any], code: int, start: int, step: int) -> Float:
    values = as_float64(array[start : start + step], code)
    if (bad := ~np.isfinite(values).all(axis=1)).any():
        refuse_bad_rows(name, [(int(row), 1) for row in np.flatnonzero(bad)[:8]], start=start)
    if name.endswith("var") and (bad := (values < 0).any(axis=1)).any():
        refuse_negative(name, start + np.flatnonzero(bad)[:8])
    return values
