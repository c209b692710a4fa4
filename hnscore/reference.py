"""What hnscore computes, in slow and obvious float64 NumPy. Every backend is tested against this file.

    x_i, t_j     row i of img_emb, row j of txt_emb: the values as given
    s_ij         <x_i, t_j> / sqrt(<x_i, x_i> <t_j, t_j>), at least -1 and at most 1; or <x_i, t_j> where similarity is
                 "dot"
    r_j          reference of text j
    gap_ij       s_ij - tau_j, tau_j = r_j - margin - relative_margin |r_j|
    counts_ij    gap_ij > 0  and  s_ij <= max_similarity_j  and  the groups differ  and  i is not the owner of j;
                 with top_k_images and skip_top_images, i is also among the k most similar of the images that the last
                 three rules leave, but not among the so many most similar of them
    w_ij         g(gap_ij, s_ij) where counts_ij, else 0
    h_i          an aggregate of w_ij over the texts j

Every <.,.> is the exact sum of products, rounded once to float64. All else is one float64 operation after another in
the order written, on numbers that powers of two have brought to where nothing overflows or underflows. So which pairs
count is the same on every machine, and equal rows have exactly 1.

It stores the n_img x n_txt matrix, checks no argument and shares nothing with the rest of the package.
"""

from collections.abc import Callable
from fractions import Fraction
from math import comb, fsum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

# ---- Similarities ----------------------------------------------------------------------------------------------------


def given_values(emb: ArrayLike) -> Float:
    """The values of an embedding as float64: exact, but for integers beyond 2^53."""
    return np.asarray(emb).astype(np.float64)


def similarity_matrix(img_emb: ArrayLike, txt_emb: ArrayLike, similarity: str = "cosine") -> Float:
    """`s_ij`, shape (n_img, n_txt)."""
    x, x_exponent = _integers(given_values(img_emb))
    t, t_exponent = _integers(given_values(txt_emb))
    dots = _rounded(x @ t.T, np.add.outer(x_exponent, t_exponent))
    if similarity == "dot":
        return dots
    x_square, x_scale = _near_one(_rounded((x * x).sum(axis=1), 2 * x_exponent))
    t_square, t_scale = _near_one(_rounded((t * t).sum(axis=1), 2 * t_exponent))
    dots = np.ldexp(dots, -np.add.outer(x_scale, t_scale))
    return np.clip(dots / np.sqrt(np.multiply.outer(x_square, t_square)), -1.0, 1.0)


def _near_one(squares: Float) -> tuple[Float, NDArray[np.int32]]:
    """squares / 4^scale, and the scale, such that the quotients are near 1."""
    scale = np.frexp(squares)[1] // 2
    return np.ldexp(squares, -2 * scale), scale


def pair_similarity(x: ArrayLike, t: ArrayLike, similarity: str = "cosine") -> Float:
    """The similarity of row j of `x` with row j of `t`, shape (n,)."""
    rows = zip(np.asarray(x), np.asarray(t), strict=True)
    return np.array([similarity_matrix(a[None], b[None], similarity)[0, 0] for a, b in rows], np.float64)


def _integers(values: Float) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Python integers and one exponent per row, such that values = integers * 2^exponent exactly."""
    fraction, exponent = np.frexp(values)
    mantissa, exponent = np.ldexp(fraction, 53).astype(np.int64), exponent.astype(np.int64) - 53
    lowest = np.min(exponent, axis=1, where=mantissa != 0, initial=1024)
    shift = np.where(mantissa != 0, exponent - lowest[:, None], 0)
    return np.left_shift(mantissa.astype(object), shift.astype(object)), lowest


def _rounded(integers: NDArray[Any], exponents: NDArray[np.int64]) -> Float:
    """integers * 2^exponents, each rounded once to float64; beyond its range an infinity."""

    def one(value: int, exponent: int) -> float:
        try:  # Python rounds both conversions correctly
            return float(value << exponent) if exponent >= 0 else value / (1 << -exponent)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")

    return np.asarray(np.frompyfunc(one, 2, 1)(integers, exponents.astype(object)), np.float64)


# ---- References ------------------------------------------------------------------------------------------------------

# r_j from s
REFERENCES: dict[str, Callable[[Float], Float]] = {
    "pool_max": lambda s: s.max(axis=0, initial=-np.inf),
    "paired": lambda s: s.diagonal(),
}


def _expected_hardest(others: Float, k: int, batch_size: int) -> Float:
    """Over batches of the own image and b = batch_size - 1 of the n others: sum_r s_(r) C(n - r, b - 1) / C(n, b)."""
    n, b = others.shape[0], batch_size - 1
    probability = np.array([comb(n - r, b - 1) / comb(n, b) for r in range(1, n + 1)])
    return np.asarray(probability @ others, np.float64)


# r_j from the similarities of the other images in descending order, (n_img - 1, n_txt)
KINDS: dict[str, Callable[[Float, int, int], Float]] = {
    "hardest": lambda others, k, batch_size: others[0],
    "topk": lambda others, k, batch_size: others[k - 1],
    "minibatch": _expected_hardest,
}


def reference_similarity(
    img_emb: ArrayLike,
    txt_emb: ArrayLike,
    *,
    owner: ArrayLike | None = None,
    kind: str = "positive",
    k: int = 1,
    batch_size: int = 0,
    similarity: str = "cosine",
) -> Float:
    """`r_j` of each text among paired images, of which row owner[j] (None: row j) is its own; shape (n_txt,)."""
    s = similarity_matrix(img_emb, txt_emb, similarity)
    texts = np.arange(s.shape[1])
    own = texts if owner is None else np.asarray(owner)
    if kind == "positive":
        return np.asarray(s[own, texts], np.float64)
    others = np.stack([np.sort(np.delete(s[:, j], own[j]))[::-1] for j in texts], axis=1)
    return KINDS[kind](others, k, batch_size)


# ---- Weights: g(gap, s, temperature) ---------------------------------------------------------------------------------

WEIGHTS: dict[str, Callable[[Float, Float, float], Float]] = {
    "count": lambda gap, s, temperature: np.ones_like(gap),
    "hinge": lambda gap, s, temperature: gap,
    "squared_hinge": lambda gap, s, temperature: gap * gap,
    "similarity": lambda gap, s, temperature: s,
    "exp": lambda gap, s, temperature: np.exp(gap / temperature),
}
# |dg/ds|, by which an error of a similarity becomes one of a weight.
SLOPES: dict[str, Callable[[Float, float], Float]] = {
    "count": lambda gap, temperature: np.zeros_like(gap),
    "hinge": lambda gap, temperature: np.ones_like(gap),
    "squared_hinge": lambda gap, temperature: 2 * np.abs(gap),
    "similarity": lambda gap, temperature: np.ones_like(gap),
    "exp": lambda gap, temperature: np.exp(gap / temperature) / temperature,
}

# ---- Aggregates: h from w and counts, (n_img, n_txt) -----------------------------------------------------------------


def _sum_of_largest(w: Float, counts: Mask, k: int) -> Float:
    rows = zip(w, counts, strict=True)
    return np.array([np.sort(row[counted])[::-1][:k].sum() for row, counted in rows])


AGGREGATES: dict[str, Callable[[Float, Mask, int], Float]] = {
    "sum": lambda w, counts, k: w.sum(axis=1),
    "mean": lambda w, counts, k: w.sum(axis=1) / w.shape[1],
    "max": lambda w, counts, k: _sum_of_largest(w, counts, 1),
    "topk": _sum_of_largest,
}

# ---- Score -----------------------------------------------------------------------------------------------------------


def score(
    img_emb: ArrayLike,
    txt_emb: ArrayLike,
    margin: float = 0.2,
    *,
    reference: object = "pool_max",
    similarity: str = "cosine",
    owner: ArrayLike | None = None,
    paired_emb: ArrayLike | None = None,
    **rules: Any,
) -> NDArray[Any]:
    """`h`, shape (n_img,). `rules` are the further keywords of `score_matrix`.

    `owner`: each text's own image as a row of `paired_emb`, or of img_emb; its similarity is the reference where none
    is given.
    """
    reference = similarities_of(reference, img_emb if paired_emb is None else paired_emb, txt_emb, owner, similarity)
    if paired_emb is None:
        rules["owner"] = owner
    return score_matrix(similarity_matrix(img_emb, txt_emb, similarity), margin, reference=reference, **rules)


def similarities_of(
    reference: Any, paired_emb: ArrayLike, txt_emb: ArrayLike, owner: ArrayLike | None, similarity: str
) -> Any:
    """`r` of a reference that is no name."""
    if owner is not None and isinstance(reference, str):
        return pair_similarity(np.asarray(paired_emb)[np.asarray(owner)], txt_emb, similarity)
    if not isinstance(reference, str) and np.ndim(reference) == 2:
        return pair_similarity(reference, txt_emb, similarity)
    return reference


def score_matrix(
    s: Float,
    margin: float,
    *,
    reference: object = "pool_max",
    weight: str = "hinge",
    aggregate: str = "sum",
    k: int | None = None,
    temperature: float | None = None,
    minibatch: int | None = None,
    random_state: Any = None,
    **filters: Any,
) -> NDArray[Any]:
    """`h` from the similarities. `reference` is a name or `r`; `filters` are the further keywords of `counting`."""
    gap, counts = counting(s, margin, reference=reference, **filters)
    n_txt = s.shape[1]
    if minibatch is not None:
        drawn = np.random.default_rng(random_state).choice(n_txt, minibatch, replace=False, shuffle=False)
        s, gap, counts = s[:, drawn], gap[:, drawn], counts[:, drawn]
    with np.errstate(over="ignore"):  # a weight beyond the float32 range is an infinity
        w = np.where(counts, WEIGHTS[weight](gap, s, temperature or 1.0), 0.0)
        w = within_float32(w, weight)
        h = AGGREGATES[aggregate](w, counts, k or 1)
        if minibatch is not None and aggregate == "sum":
            h = h * (n_txt / minibatch)
        is_integer = weight == "count" and aggregate == "sum" and minibatch is None
        return h.astype(np.int64 if is_integer else np.float32)


def within_float32(w: Float, weight: str) -> Float:
    """Weights of which those beyond float32 are infinite; but similarities of both signs may cancel."""
    return w if weight == "similarity" else np.where(np.isinf(w.astype(np.float32)), np.inf, w)


def threshold(r: Float, margin: float, relative_margin: float = 0.0) -> Float:
    """`tau`."""
    return r - margin - relative_margin * np.abs(r) if relative_margin else r - margin


# Its keywords beside the margin, with values that tests try: the first one changes many decisions.
MARGINS: dict[str, tuple[float, ...]] = {"relative_margin": (0.3, 0.05, 1.0)}


def counting(  # noqa: PLR0913
    s: Float,
    margin: float,
    *,
    reference: object = "pool_max",
    max_similarity: ArrayLike | None = None,
    img_groups: ArrayLike | None = None,
    txt_groups: ArrayLike | None = None,
    top_k_images: int | None = None,
    skip_top_images: int | None = None,
    owner: ArrayLike | None = None,
    closed: bool = False,
    **margins: float,
) -> tuple[Float, Mask]:
    """`gap` and `counts`, both (n_img, n_txt). `owner`: each text's own image, as a row of `s`. `closed`: a gap of 0
    counts too. `margins`: of `threshold`."""
    r = REFERENCES[reference](s) if isinstance(reference, str) else np.asarray(reference).astype(np.float64)
    allowed = np.ones(s.shape, np.bool_)
    if max_similarity is not None:
        allowed &= s <= np.asarray(max_similarity).astype(np.float64)
    if img_groups is not None:
        allowed &= np.asarray(img_groups)[:, None] != np.asarray(txt_groups)
    if isinstance(reference, str) and reference == "paired":
        allowed &= ~np.eye(len(r), dtype=np.bool_)
    if owner is not None:
        allowed &= np.arange(len(s))[:, None] != np.asarray(owner)
    if top_k_images is not None or skip_top_images is not None:
        # Descending with ties to the lowest index: a stable sort of the negatives.
        order = np.argsort(-np.where(allowed, s, -np.inf), axis=0, kind="stable")
        among = np.zeros(s.shape, np.bool_)
        np.put_along_axis(among, order[skip_top_images or 0 : top_k_images], True, axis=0)
        allowed &= among
    gap = s - threshold(r, margin, **margins)
    return gap, (gap >= 0 if closed else gap > 0) & allowed


# ---- The pairs themselves --------------------------------------------------------------------------------------------


def pairs(
    img_emb: ArrayLike,
    txt_emb: ArrayLike,
    margin: float = 0.2,
    *,
    reference: object = "pool_max",
    similarity: str = "cosine",
    owner: ArrayLike | None = None,
    paired_emb: ArrayLike | None = None,
    **filters: Any,
) -> tuple[Mask, Float]:
    """Which pairs count, and the similarities; both (n_img, n_txt)."""
    reference = similarities_of(reference, img_emb if paired_emb is None else paired_emb, txt_emb, owner, similarity)
    if paired_emb is None:
        filters["owner"] = owner
    s = similarity_matrix(img_emb, txt_emb, similarity)
    return counting(s, margin, reference=reference, **filters)[1], s


def lists(counts: Mask, s: Float) -> tuple[NDArray[np.int64], NDArray[np.int64], Float]:
    """Offsets, indices and similarities of what counts in each row."""
    rows, indices = np.nonzero(counts)
    return np.searchsorted(rows, np.arange(len(counts) + 1)), indices, s[rows, indices]


def allowed_negatives(  # noqa: PLR0913
    s: Float,
    *,
    positives: list[list[int]] | None = None,
    reference: ArrayLike | None = None,
    margin: float | None = 0.0,
    relative_margin: float = 0.0,
    max_similarity: ArrayLike | None = None,
    min_similarity: ArrayLike | None = None,
    img_groups: ArrayLike | None = None,
    txt_groups: ArrayLike | None = None,
    closed: bool = True,
) -> Mask:
    """Which images may be negatives of which texts, (n_img, n_txt)."""
    allowed = np.ones(s.shape, np.bool_)
    ceiling = np.full(s.shape[1], np.inf)
    if positives is not None:
        for j, rows in enumerate(positives):
            allowed[rows, j] = False
        if reference is None:
            reference = np.array([s[rows, j].min() for j, rows in enumerate(positives)])
    if reference is not None:
        r = np.asarray(reference).astype(np.float64)
        if margin is not None:
            ceiling = np.minimum(ceiling, threshold(r, margin))
        if relative_margin:
            ceiling = np.minimum(ceiling, threshold(r, 0.0, relative_margin))
    if max_similarity is not None:
        ceiling = np.minimum(ceiling, np.asarray(max_similarity).astype(np.float64))
    allowed &= s <= ceiling if closed else s < ceiling
    if min_similarity is not None:
        allowed &= s >= np.asarray(min_similarity).astype(np.float64)
    if img_groups is not None:
        allowed &= np.asarray(img_groups)[:, None] != np.asarray(txt_groups)
    return allowed


def mine(s: Float, allowed: Mask, k: int, skip: int = 0) -> tuple[Float, NDArray[np.int64]]:
    """The k most similar allowed images of each text after the `skip` best, padded with -inf and -1; (n_txt, k)."""
    values, rows = np.full((s.shape[1], k), -np.inf), np.full((s.shape[1], k), -1)
    for j in range(s.shape[1]):
        order = np.argsort(-s[:, j], kind="stable")
        best = order[allowed[order, j]][skip : skip + k]
        values[j, : len(best)], rows[j, : len(best)] = s[best, j], best
    return values, rows


def duplicates(s: Float, min_similarity: float, order: ArrayLike | None = None) -> NDArray[np.int64]:
    """The row that stands for each row, (n,)."""
    kept: list[int] = []
    stands = np.arange(len(s))
    for i in range(len(s)) if order is None else np.asarray(order).tolist():
        near = [c for c in kept if s[i, c] >= min_similarity]
        if near:
            stands[i] = near[0]
        else:
            kept.append(i)
    return stands


# ---- Density ---------------------------------------------------------------------------------------------------------

# d_i of one point from its similarities s to those it is compared with, their squared distances d2 and weights w, and
# the sums v of its variance and theirs


def _weighted_mean(values: Float, w: Float) -> Any:
    return (values * w).sum() / w.sum()


def _nearest(s: Float, w: Float, k: int) -> Any:
    order = np.argsort(-s, kind="stable")[:k]
    return _weighted_mean(s[order], w[order])


def log_overlap(d2: Float, v: Float, dim: int) -> Float:
    """ln N(x; t, v I) from the squared distance of x and t."""
    return np.asarray(-dim / 2 * np.log(2 * np.pi * v) - d2 / (2 * v), np.float64)


def _log_of_weighted_mean(logs: Float, w: Float) -> Any:
    counts = w > 0
    return np.logaddexp.reduce(np.log(w[counts]) + logs[counts]) - np.log(w.sum())


DENSITIES: dict[str, Callable[..., Any]] = {
    "knn": lambda s, w, k, **_: _nearest(s, w, k),
    "ball": lambda s, w, min_similarity, **_: ((s >= min_similarity) * w).sum() / w.sum(),
    "kernel": lambda s, w, temperature, **_: _weighted_mean(np.exp((s - 1) / temperature), w),
    "mean": lambda s, w, **_: _weighted_mean(s, w),
    "gaussian": lambda s, w, d2, v, dim, **_: _log_of_weighted_mean(log_overlap(d2, v, dim), w),
}


def density(
    emb: ArrayLike,
    kind: str = "knn",
    *,
    against: Any = None,
    weights: ArrayLike | None = None,
    variance: Any = None,
    exclude_self: bool = True,
    similarity: str = "cosine",
    **settings: object,
) -> NDArray[Any]:
    """`d`, shape (n,). `settings`: k, min_similarity or temperature."""
    other = emb if against is None else against
    s = similarity_matrix(emb, other, similarity)
    n, m = s.shape
    x, t = given_values(emb), given_values(other)
    if similarity == "cosine":
        x, t = x / np.sqrt((x * x).sum(axis=1, keepdims=True)), t / np.sqrt((t * t).sum(axis=1, keepdims=True))
    w = np.ones(m) if weights is None else np.asarray(weights, np.float64)
    v, v_other = (np.ones(n), np.ones(m)) if variance is None else (variance if against is not None else [variance] * 2)
    compared = ~np.eye(n, m, dtype=np.bool_) if exclude_self and against is None else np.ones((n, m), np.bool_)
    out = np.empty(n)
    for i in range(n):
        c = compared[i]
        d2 = ((x[i] - t[c]) ** 2).sum(axis=1)
        out[i] = DENSITIES[kind](s[i, c], w[c], d2=d2, v=v[i] + v_other[c], dim=x.shape[1], **settings)
        if kind == "ball" and weights is None:
            out[i] *= c.sum()
    return out.round().astype(np.int64) if kind == "ball" and weights is None else out.astype(np.float32)


def knn_graph(
    emb: ArrayLike, k: int, *, against: Any = None, exclude_self: bool = True, similarity: str = "cosine"
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The k largest similarities of each point, descending, and whose they are; both (n, k)."""
    s = similarity_matrix(emb, emb if against is None else against, similarity)
    if exclude_self and against is None:
        np.fill_diagonal(s, -np.inf)
    indices = np.argsort(-s, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(s, indices, axis=1), indices


# What the compiled core calls its recipes, and what defines each of them.
RECIPES: dict[str, Callable[..., Any]] = {
    **WEIGHTS,
    "top_gap": _sum_of_largest,
    "top_similarity": reference_similarity,
    "pairs": pairs,
    "kernel": DENSITIES["kernel"],
    "overlap": DENSITIES["gaussian"],
}

# ---- The same decisions on larger data -------------------------------------------------------------------------------


def fast_similarity(img_emb: ArrayLike, txt_emb: ArrayLike, similarity: str = "cosine") -> tuple[Float, Float]:
    """`s` by a float64 matrix product, and a bound on its distance from `similarity_matrix`; both (n_img, n_txt).

    A sum of n products is within n u |x| |t| of the exact one in any order (u = 2^-53, to first order), a squared norm
    within n u of itself; roots, product, quotient and the rounding of the exact value are 6 u more. Twice the sum is
    claimed. Values whose squares leave the float64 range are not for this function.
    """
    x, t = given_values(img_emb), given_values(txt_emb)
    norms = np.multiply.outer(np.sqrt((x * x).sum(axis=1)), np.sqrt((t * t).sum(axis=1)))
    relative = 2 * (2 * x.shape[1] + 6) * 2.0**-53
    return (x @ t.T, relative * norms) if similarity == "dot" else (x @ t.T / norms, np.full_like(norms, relative))


def decided_similarity(img_emb: ArrayLike, txt_emb: ArrayLike, similarity: str, *levels: ArrayLike) -> Float:
    """`fast_similarity`, but exact wherever it is too close to one of the `levels` (a number per text) to tell."""
    x, t = given_values(img_emb), given_values(txt_emb)
    s, error = fast_similarity(x, t, similarity)
    close = np.zeros(s.shape, np.bool_)
    for level in levels:
        close |= np.abs(s - np.asarray(level)) <= error
    i, j = np.nonzero(close)
    s[i, j] = pair_similarity(x[i], t[j], similarity)
    return s


# ---- Allocation ------------------------------------------------------------------------------------------------------


def allocate(
    informativeness: ArrayLike, density: ArrayLike, regions: ArrayLike, budget: int, *, regularization: float = 1.0
) -> NDArray[np.int64]:
    """How many of the `budget` each region gets, shape (max(regions) + 1,).

        z_r       (mean density of region r - mean density) / standard deviation of the density; 0 where that is 0
        gain_r    sum of max(info_i - min info, 0) over the rows of region r
        share_r   gain_r exp(-regularization z_r), in units that make the shares of all regions sum to the budget

    A region with a share of its size or more is full; the rest of the budget is shared anew among the others, whose
    sizes stand for their gains where these are all 0. Then largest remainders, equal ones from the lowest region on.
    Every sum over rows is exact and rounded once; shares are exact for their float64 weights.
    """
    info, crowded = np.asarray(informativeness, np.float64), np.asarray(density, np.float64)
    label = np.asarray(regions, np.int64)
    rows = [np.flatnonzero(label == r) for r in range(label.max(initial=-1) + 1)]
    allocation = np.zeros(len(rows), np.int64)
    mean = fsum(crowded) / max(len(crowded), 1)
    deviation = np.sqrt(fsum((crowded - mean) ** 2) / max(len(crowded), 1))
    varies = len(np.unique(crowded)) > 1
    z = [fsum(crowded[own] - mean) / len(own) / deviation if varies and len(own) else 0.0 for own in rows]
    gain = [fsum(info[own] - info.min()) for own in rows]
    not_full = [r for r, own in enumerate(rows) if len(own)]
    while budget:
        some = any(gain[r] for r in not_full)
        amount = {r: gain[r] if some else float(len(rows[r])) for r in not_full}
        largest = max(-regularization * z[r] for r in not_full if amount[r])
        weight = {r: Fraction(amount[r] * float(np.exp(-regularization * z[r] - largest))) for r in not_full}
        share = {r: budget * weight[r] / sum(weight.values()) for r in not_full}
        full = [r for r in not_full if share[r] >= len(rows[r])]
        for r in full:
            allocation[r] = len(rows[r])
            budget -= len(rows[r])
        not_full = [r for r in not_full if r not in full]
        if not full:
            for r in not_full:
                allocation[r] = int(share[r])
            for r in sorted(not_full, key=lambda r: (int(share[r]) - share[r], r))[
                : budget - allocation[not_full].sum()
            ]:
                allocation[r] += 1
            break
    return allocation


# ---- Selection -------------------------------------------------------------------------------------------------------


def cosines(emb: ArrayLike) -> Float:
    """s, (n, n), at most 1: a plain float64 matrix product."""
    x = given_values(emb)
    norms = np.sqrt((x * x).sum(axis=1))
    return np.asarray(np.minimum(x @ x.T / np.multiply.outer(norms, norms), 1.0), np.float64)


def select_best(ranks: Float, budget: int, labeled: ArrayLike = ()) -> list[int]:
    """The rows of largest rank, ties to the lowest."""
    rows = [i for i in range(len(ranks)) if i not in np.asarray(labeled)]
    return sorted(rows, key=lambda i: (-ranks[i], i))[:budget]


def select_density(
    scores: ArrayLike, density: ArrayLike, budget: int, density_exponent: float = -1.0, labeled: ArrayLike = ()
) -> list[int]:
    free = np.setdiff1d(np.arange(len(np.asarray(scores))), labeled)
    crowded = np.asarray(density, np.float64)
    deviation = crowded[free].std()
    z = (crowded - crowded[free].mean()) / deviation if deviation > 0 else 0 * crowded
    above = np.asarray(scores, np.float64) - min(np.asarray(scores)[free].min(initial=0.0), 0.0)
    return select_best(above * np.exp(z) ** density_exponent, budget, labeled)


def select_budgeted(
    scores: ArrayLike,
    density: ArrayLike,
    regions: ArrayLike,
    budget: int,
    regularization: float = 1.0,
    labeled: ArrayLike = (),
) -> list[int]:
    h, label = np.asarray(scores, np.float64), np.asarray(regions)
    free = np.setdiff1d(np.arange(len(h)), labeled)
    shares = allocate(h[free], np.asarray(density)[free], label[free], budget, regularization=regularization)
    best = [select_best(h, share, np.flatnonzero(label != r).tolist() + list(np.asarray(labeled)))
            for r, share in enumerate(shares)]  # fmt: skip
    return sorted((i for own in best for i in own), key=lambda i: (-h[i], i))


def better_half(scores: ArrayLike, labeled: ArrayLike = ()) -> Float:
    """The u of "auto": 1 for rows of at least the upper median of those that are not labeled."""
    h = np.asarray(scores, np.float64)
    free = np.sort(np.delete(h, np.asarray(labeled, np.int64)))
    return np.where(h >= free[len(free) // 2], 1.0, 0.0)


# The gain of every row from k = exp((s - 1) / temperature), the rows c picked or labeled, and u = scores
# / max |scores| or 1.


def _gain_repulsive(k: Float, c: list[int], u: Float, regularization: float) -> Float:
    return np.asarray(u - regularization * k[:, c].sum(axis=1))


def _gain_herding(k: Float, c: list[int], u: Float, regularization: float) -> Float:
    return np.asarray((len(c) + 1) * k.mean(axis=1) - k[:, c].sum(axis=1))


def _gain_coverage(k: Float, c: list[int], u: Float, regularization: float) -> Float:
    m = k[:, c].max(axis=1, initial=0.0)
    return np.asarray(u @ np.maximum(k - m[:, None], 0.0) / len(k))


GAINS: dict[str, Callable[[Float, list[int], Float, float], Float]] = {
    "repulsive": _gain_repulsive,
    "herding": _gain_herding,
    "coverage": _gain_coverage,
}


def greedy_gains(
    emb: ArrayLike,
    method: str,
    scores: ArrayLike | None = None,
    *,
    labeled: ArrayLike = (),
    regularization: float = 1.0,
    temperature: float = 0.1,
) -> Callable[[list[int]], Float]:
    """The gain of every row once some are picked, -inf for rows that cannot be; `method` may be "core_set"."""
    s, x = cosines(emb), given_values(emb)
    k = np.exp((s - 1) / temperature)
    directions = x / np.sqrt((x * x).sum(axis=1))[:, None]
    u = np.ones(len(s)) if scores is None else np.asarray(scores, np.float64)
    u = u / (np.abs(u).max(initial=0.0) or 1.0)

    def gains(picks: list[int]) -> Float:
        c = list(np.asarray(labeled, np.int64)) + picks
        if method != "core_set":
            gain = GAINS[method](k, c, u, regularization)
        elif c:
            distance = np.min(1 - s[:, c], axis=1)
            gain = np.where(distance < 2.0**-40, 0.0, distance)
        else:
            gain = directions @ directions.mean(axis=0)
        gain[c] = -np.inf
        return np.asarray(gain, np.float64)

    return gains


def greedy(emb: ArrayLike, method: str, budget: int, scores: ArrayLike | None = None, **rules: Any) -> list[int]:
    """Pick after pick the row of largest gain, ties to the lowest."""
    gains = greedy_gains(emb, method, scores, **rules)
    picks: list[int] = []
    while len(picks) < budget:
        picks.append(int(np.argmax(gains(picks))))
    return picks


# ---- Informativeness -------------------------------------------------------------------------------------------------
# Row i of (mean, var) is the Gaussian N(mean_i, diag var_i).


def philox(counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Philox4x32-10 (Salmon et al. 2011): counters of four 32-bit words (..., 4) mixed by a key of two; the same shape.

    The words are held in uint64, where their products fit.
    """
    word = np.uint64(2**32 - 1)
    half = np.uint64(32)
    c0, c1, c2, c3 = (counter[..., q].astype(np.uint64) for q in range(4))
    k0, k1 = key.astype(np.uint64)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & word, (p0 >> half) ^ c3 ^ k1, p0 & word
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & word, (k1 + np.uint64(0xBB67AE85)) & word
    return np.stack([c0, c1, c2, c3], axis=-1)


def normals(n: int, n_samples: int, dim: int, random_state: Any) -> Float:
    """The draws of n pairs, shape (n, 2, n_samples, dim): standard normals of modality 0 (image) and 1 (text).

    Dimensions 4b to 4b + 3 come from the counter (row mod 2^32, row div 2^32, 2 sample + modality, b), whose words 0
    and 1 give the first two by Box-Muller and words 2 and 3 the others:
    r cos(a), r sin(a) with r = sqrt(-2 log((floor(w / 2^9) + 1/2) / 2^23)) and a = 2 pi floor(w' / 2^8) / 2^24.
    """
    key = np.random.default_rng(random_state).integers(2**32, size=2, dtype=np.uint32).astype(np.uint64)
    row, modality, sample, block = np.ogrid[:n, :2, :n_samples, : (dim + 3) // 4]
    parts = np.broadcast_arrays(row % 2**32, row // 2**32, 2 * sample + modality, block)
    words = philox(np.stack(parts, axis=-1).astype(np.uint64), key)
    r = np.sqrt(-2 * np.log(((words[..., 0::2] >> np.uint64(9)) + 0.5) / 2**23))
    a = 2 * np.pi * (words[..., 1::2] >> np.uint64(8)) / 2**24
    pairs = np.stack([r * np.cos(a), r * np.sin(a)], axis=-1)
    return np.asarray(pairs.reshape(n, 2, n_samples, -1)[..., :dim], np.float64)


def _sigmoid(x: Float) -> Float:
    return np.asarray(np.exp(-np.logaddexp(0, -x)), np.float64)  # no overflow


def expected_match(
    img_mean: ArrayLike, img_var: ArrayLike, txt_mean: ArrayLike, txt_var: ArrayLike, scale: float, shift: float
) -> Float:
    """sigmoid(2 (shift - scale sqrt(E |z - z'|^2))), z and z' drawn from the two Gaussians of a pair; shape (n,).

    With -scale and -shift it is the probability of a mismatch.
    """
    m, v, mt, vt = (given_values(a) for a in (img_mean, img_var, txt_mean, txt_var))
    return _sigmoid(2 * (shift - scale * np.sqrt(((m - mt) ** 2 + v + vt).sum(axis=1))))


def sampled_match(  # noqa: PLR0917
    img_mean: ArrayLike,
    img_var: ArrayLike,
    txt_mean: ArrayLike,
    txt_var: ArrayLike,
    n_samples: int,
    scale: float,
    shift: float,
    random_state: object,
) -> Float:
    """Mean of sigmoid(2 (shift - scale |z - z'|)) over all n_samples^2 pairs of draws; shape (n,).

    With -scale and -shift that of a mismatch.
    """
    m, v, mt, vt = (given_values(a) for a in (img_mean, img_var, txt_mean, txt_var))
    e = normals(len(m), n_samples, m.shape[1], random_state)
    z = m[:, None] + np.sqrt(v)[:, None] * e[:, 0]
    zt = mt[:, None] + np.sqrt(vt)[:, None] * e[:, 1]
    distance = np.sqrt(((z[:, :, None] - zt[:, None, :]) ** 2).sum(axis=-1))
    return np.asarray(_sigmoid(2 * (shift - scale * distance)).mean(axis=(1, 2)), np.float64)


def intra_uncertainty(img_var: ArrayLike, txt_var: ArrayLike, variance_floor: float) -> Float:
    """The mean of the logs of the two mean variances, neither below the floor; shape (n,)."""
    both = [np.log(np.maximum(given_values(v).mean(axis=1), variance_floor)) for v in (img_var, txt_var)]
    return np.asarray((both[0] + both[1]) / 2, np.float64)


def wasserstein(img_mean: ArrayLike, img_var: ArrayLike, txt_mean: ArrayLike, txt_var: ArrayLike) -> Float:
    """2-Wasserstein distance of the diagonal Gaussians; shape (n,)."""
    m, v, mt, vt = (given_values(a) for a in (img_mean, img_var, txt_mean, txt_var))
    return np.asarray(np.sqrt(((m - mt) ** 2 + (np.sqrt(v) - np.sqrt(vt)) ** 2).sum(axis=1)), np.float64)


def standardised(x: Float, unit: float = 0.0) -> Float:
    """x less its mean, over its standard deviation; zeros where that is the rounding of values as large as `unit`.

    By default the largest of x.
    """
    if not x.size:
        return x
    unit = unit or np.abs(x).max()
    if unit < 2.0**-1022:  # where float64 has fewer digits
        return np.zeros_like(x)
    deviation = x / unit - (x / unit).mean()
    spread = np.sqrt((deviation**2).mean())
    return np.asarray(deviation / spread, np.float64) if spread > 2.0**-40 else np.zeros_like(x)


def total_informativeness(
    intra: Float, inter: Float, mismatch: Float, intra_weight: float, inter_weight: float
) -> Float:
    """The weighted sum of standardised intra and of inter and mismatch, joined on equal terms; shape (n,).

    `mismatch` is 1 - match probability, but computed so that it has all its digits where that is nearly 1.
    """
    joined = standardised(inter) + standardised(mismatch)
    return intra_weight * standardised(intra) + inter_weight * standardised(joined, 1.0)


def fuse(img_mean: ArrayLike, img_var: ArrayLike, txt_mean: ArrayLike, txt_var: ArrayLike) -> tuple[Float, Float]:
    """Mean and variance of the product of the two Gaussians, variances above 0; both (n, dim)."""
    m, v, mt, vt = (given_values(a) for a in (img_mean, img_var, txt_mean, txt_var))
    var = 1 / (1 / v + 1 / vt)
    return var * (m / v + mt / vt), var
