"""How far a score may be from reference.py, and why. Every numeric test takes its tolerance from here.

Units: u = 2^-24, the relative rounding of float32. |x||t| is the product of the norms of the two rows, 1 under cosine.

precision="exact"
    Which pairs count is decided exactly: counts have no tolerance at all.
    A weight g(s) is evaluated from s within 4 u |x||t| (the contract), so it is off by at most 4 u |x||t| |dg/ds|.
    Where the threshold is larger than any similarity, |tau| > |x||t|, a float32 gap is as coarse as tau is: 4 u |tau|.
    `exp` adds the rounding of its argument gap / T, whose two factors are rounded and multiplied, 4 u of it, and that
    of its own evaluation (EXP).
    Sums and means add the errors of their pairs. A sum of the k largest moves by no more than the sum of the k largest
    errors: replacing w by w' moves every sum of k of them by no more than that, hence also the largest such sum.
    Last, the score and the reference's score are each rounded to float32.

precision="fp32", "bf16"
    s itself is only known within d, so a pair close to its threshold may fall on either side: a sandwich,
    lowest admissible score <= score <= highest admissible score.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hnscore import reference as ref

Float = NDArray[np.float64]

U = 2.0**-24
SMALLEST = 2.0**-149  # the distance of the smallest float32 numbers

# exp: Horner's last step rounds once, the earlier ones are damped by r <= ln(2) / 2, together below 2 u; two products
# with powers of two are exact unless subnormal; argument reduction: 2 u; the polynomial itself u / 4.
EXP = 5 * U


def norm_products(x: ArrayLike, t: ArrayLike, similarity: str) -> Float:
    """|x_i||t_j|, shape (n_img, n_txt)."""
    x, t = ref.given_values(x), ref.given_values(t)
    if similarity == "cosine":
        return np.ones((len(x), len(t)))
    return np.multiply.outer(_norms(x), _norms(t))


def _norms(rows: Float) -> Float:
    largest = np.abs(rows).max(axis=1)  # its square may leave the range of float64
    return largest * np.linalg.norm(rows / largest[:, None], axis=1)


def assert_score(
    scores: NDArray[Any], s: Float, norms: ArrayLike, margin: float, *, label: object = "", **rules: Any
) -> None:
    """`scores` are those of precision="exact" for the exact similarities `s`."""
    expected = ref.score_matrix(s, margin, **rules)
    assert scores.dtype == expected.dtype, label
    assert scores.shape == expected.shape, label
    if expected.dtype == np.int64:
        np.testing.assert_array_equal(scores, expected, err_msg=str(label))
        return
    got, want = scores.astype(np.float64), expected.astype(np.float64)
    infinite = np.isinf(want) | ~np.isfinite(got)
    np.testing.assert_array_equal(got[infinite], want[infinite], err_msg=str(label))
    got, want, error = got[~infinite], want[~infinite], _error(s, norms, margin, **rules)[~infinite]
    excess = np.abs(got - want) - (error + U * (np.abs(got) + np.abs(want)) + SMALLEST)
    worst = int(excess.argmax()) if excess.size else 0
    assert not (excess > 0).any(), f"{label} row {worst}: {got[worst]!r}, expected {want[worst]!r} +- {error[worst]!r}"


def _error(
    s: Float,
    norms: ArrayLike,
    margin: float,
    *,
    weight: str = "hinge",
    aggregate: str = "sum",
    k: int | None = None,
    temperature: float | None = None,
    minibatch: int | None = None,
    random_state: Any = None,
    **filters: Any,
) -> Float:
    """The error of precision="exact" before rounding the score, shape (n_img,)."""
    gap, counts = ref.counting(s, margin, **filters)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.maximum(np.asarray(norms), 0.0 if weight == "similarity" else np.abs(s - gap))
        error = 4 * U * size * ref.SLOPES[weight](gap, temperature or 1.0)
        if weight == "exp":
            error = error + (EXP + 4 * U * np.abs(gap) / (temperature or 1.0)) * np.exp(gap / (temperature or 1.0))
    error, scale = np.where(counts, error, 0.0), 1.0
    if minibatch is not None:
        drawn = np.random.default_rng(random_state).choice(s.shape[1], minibatch, replace=False, shuffle=False)
        error, counts = error[:, drawn], counts[:, drawn]
        scale = s.shape[1] / minibatch if aggregate == "sum" else 1.0
    return scale * ref.AGGREGATES[aggregate](error, counts, k or 1)


def similarity_error(precision: str, dim: int) -> float:
    """d / |x||t| of the approximate precisions.

    float32: products are summed in chunks of 16, `per_group` chunks to a group, and groups (bf16: one chain). So each
    product is rounded at most as often as these chains are long, by u of a partial sum, and partial sums are at most
    |x||t| by Cauchy-Schwarz. Six roundings more: the product (where it is not fused), both values (where they were
    float64), the norms and the threshold.
    bfloat16 has 8 significant bits: rounding a row moves it by at most 2^-8 of its norm, rounding both moves a product
    by 2^-7 + 2^-16 of |x||t|. The norms divided by are those of the rows as given.
    """
    chunks = -(-dim // 16)
    groups = next(g for g in range(1, chunks + 2) if g**3 >= 2 * chunks)
    per_group = -(-chunks // groups)
    chain = dim if precision == "bf16" else 16 + per_group + -(-chunks // per_group)
    float32 = (chain + 6) * U
    return float32 + {"fp32": 0.0, "bf16": 2.0**-7 + 2.0**-16}[precision]


def gpu_similarity_error(precision: str, dim: int) -> float:
    """d / |x||t| of the approximate precisions on a GPU.

    float32: one chain of fused multiply-adds over `dim` products, and the six roundings above.
    Tensor cores add products of 2-byte values to float32 sums with at most one truncation of 2^-22 of the largest
    partial sum per product. float16 has 11 significant bits, rows are scaled by powers of two to norms in [2^10, 2^11):
    rounding a row moves it by at most 2^-11 of its norm, and values that are subnormal then, below 2^-14, by 2^-25
    each, which is 2^-35 sqrt(dim) of the norm. bfloat16 as above. Cosines are those of the rounded rows: dividing by
    their norms moves a similarity by as much again at most.
    """
    if precision == "fp32":
        return (dim + 6) * U
    row = {"bf16": 2.0**-8, "fp16": 2.0**-11 + 2.0**-35 * dim**0.5}[precision]
    return 2 * (2 * row + row * row) + dim * 2.0**-22 + 6 * U


# Of a weight: evaluated in float32 (at most 7 u, exp), added up in chains of at most 16, the score rounded to float32.
EVALUATION = 24 * U


def assert_sandwich(
    scores: NDArray[Any],
    s: Float,
    d: ArrayLike,
    margin: float,
    *,
    reference: NDArray[Any],
    weight: str = "hinge",
    aggregate: str = "sum",
    k: int | None = None,
    temperature: float | None = None,
    max_similarity: ArrayLike = np.inf,
    label: object = "",
    **margins: float,
) -> float:
    """`scores` can come from similarities that are within `d` of `s`; the share of pairs that may fall on either side.

    For weights that never fall as s grows. A large share means that the sandwich says little.
    """
    low, high = s - np.asarray(d), s + np.asarray(d)
    tau = ref.threshold(reference, margin, **margins)
    never = (high <= tau) | (low > max_similarity)
    surely = (low > tau) & (high <= max_similarity)

    def w(values: Float) -> Float:
        gap = np.maximum(values - tau, 0.0)
        return np.where(never, 0.0, ref.WEIGHTS[weight](gap, values, temperature or 1.0))

    # A pair that may or may not count contributes its weight or nothing, whichever is more extreme.
    least, most = np.where(surely, w(low), np.minimum(w(low), 0.0)), np.where(surely, w(high), np.maximum(w(high), 0.0))
    if aggregate in ("max", "topk"):
        assert least.min() >= 0, "the sandwich of the k largest needs nonnegative weights"
    magnitude = np.maximum(np.abs(least), np.abs(most))
    lower = ref.AGGREGATES[aggregate](least - EVALUATION * magnitude, surely, k or 1)
    upper = ref.AGGREGATES[aggregate](most + EVALUATION * magnitude, ~never, k or 1)
    assert np.all(scores >= lower - SMALLEST), f"{label}: {np.max(lower - scores)} below the sandwich"
    assert np.all(scores <= upper + SMALLEST), f"{label}: {np.max(scores - upper)} above the sandwich"
    return float(np.mean(~surely & ~never)) if s.size else 0.0
