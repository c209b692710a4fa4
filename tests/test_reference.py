"""The specification itself, against numbers worked out by hand."""

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hnscore
from hnscore import _core
from hnscore import reference as ref

# Similarities of 3 images (rows) and 4 texts. All numbers are multiples of 1/8, so all arithmetic below is exact.
S = np.array(
    [
        [0.500, 0.250, 0.75, 0.125],
        [0.625, 0.250, 0.50, -0.50],
        [0.250, 0.125, 0.50, 0.125],
    ]
)
R = np.array([0.625, 0.5, 0.75, 0.25])
# With margin 0.25: tau = (0.375, 0.25, 0.5, 0), gaps
#    0.125  0 (not > 0)  0.25        0.125
#    0.25   0 (not > 0)  0 (not > 0) -0.5
#   -0.125  -0.125       0 (not > 0) 0.125


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("count", [3, 1, 1]),
        ("hinge", [0.125 + 0.25 + 0.125, 0.25, 0.125]),
        ("squared_hinge", [1 / 64 + 1 / 16 + 1 / 64, 1 / 16, 1 / 64]),
        ("similarity", [0.5 + 0.75 + 0.125, 0.625, 0.125]),
        ("exp", [np.e + np.e**2 + np.e, np.e**2, np.e]),  # temperature 1/8
    ],
)
def test_weights(weight: str, expected: list[float]) -> None:
    scores = ref.score_matrix(S, 0.25, reference=R, weight=weight, temperature=0.125)
    np.testing.assert_array_equal(scores, np.array(expected).astype(scores.dtype))
    assert scores.dtype == (np.int64 if weight == "count" else np.float32)


@pytest.mark.parametrize(
    ("aggregate", "k", "expected"),
    [
        ("sum", None, [0.5, 0.25, 0.125]),
        ("mean", None, [0.125, 0.0625, 0.03125]),  # over 4 texts
        ("max", None, [0.25, 0.25, 0.125]),
        ("topk", 1, [0.25, 0.25, 0.125]),
        ("topk", 2, [0.375, 0.25, 0.125]),  # rows 1 and 2 have only one pair
        ("topk", 4, [0.5, 0.25, 0.125]),
    ],
)
def test_aggregates(aggregate: str, k: int | None, expected: list[float]) -> None:
    scores = ref.score_matrix(S, 0.25, reference=R, aggregate=aggregate, k=k)
    np.testing.assert_array_equal(scores, np.float32(expected))


def test_largest_looks_at_counting_pairs_only() -> None:
    # tau = (-1, -1): the one counting pair of row 0 weighs -0.5, less than the 0 of a pair that does not count.
    s = np.array([[-0.5, -1.0], [-1.0, -1.0]])
    scores = ref.score_matrix(s, 0.0, reference=[-1, -1], weight="similarity", aggregate="max")
    np.testing.assert_array_equal(scores, [-0.5, 0.0])


def test_pool_max() -> None:
    # r = column maxima (0.625, 0.25, 0.75, 0.125); margin 0.25: tau = (0.375, 0, 0.5, -0.125)
    # counts: row 0: all (0.5, 0.25, 0.75, 0.125); row 1: texts 0, 1; row 2: texts 1, 3.
    np.testing.assert_array_equal(ref.score_matrix(S, 0.25, weight="count"), [4, 2, 2])
    np.testing.assert_array_equal(ref.score_matrix(S[:0], 0.25), np.zeros(0, np.float32))


def test_paired_never_counts_the_own_image() -> None:
    # S[:, :3]: diagonal r = (0.5, 0.25, 0.5), margin 0.25: tau = (0.25, 0, 0.25)
    # row 0: texts 1, 2; row 1: texts 0, 2 (text 1 is its own); row 2: text 1 (text 0 has a gap of 0).
    np.testing.assert_array_equal(ref.score_matrix(S[:, :3], 0.25, reference="paired", weight="count"), [2, 2, 1])


def test_max_similarity() -> None:
    # At most 0.5: row 0 loses text 2 (0.75), row 1 text 0 (0.625); text 0 at exactly 0.5 stays.
    count = {"reference": R, "weight": "count"}
    np.testing.assert_array_equal(ref.score_matrix(S, 0.25, max_similarity=0.5, **count), [2, 0, 1])
    per_text = [np.inf, np.inf, np.inf, 0.0]  # text 3 loses rows 0 and 2
    np.testing.assert_array_equal(ref.score_matrix(S, 0.25, max_similarity=per_text, **count), [2, 1, 0])


def test_groups() -> None:
    # Row 0 shares its label with texts 0 and 3, row 1 with none, row 2 (label -1, nothing special) with text 2 only.
    scores = ref.score_matrix(S, 0.25, reference=R, weight="count", img_groups=[7, 0, -1], txt_groups=[7, 5, -1, 7])
    np.testing.assert_array_equal(scores, [1, 1, 1])


def test_top_k_images() -> None:
    # The most similar image of text 0 is row 1, of text 1 row 0 (a tie with row 1), of text 2 row 0, of text 3 row 0
    # (a tie with row 2). With margin 1 every pair would count: even -0.5 > 0.25 - 1.
    top = {"reference": R, "weight": "count", "top_k_images": 1}
    np.testing.assert_array_equal(ref.score_matrix(S, 1.0, **top), [3, 1, 0])
    # Without row 0 for text 2 (groups) the tie of rows 1 and 2 goes to row 1.
    groups = {"img_groups": [1, 2, 3], "txt_groups": [0, 0, 1, 0]}
    np.testing.assert_array_equal(ref.score_matrix(S, 1.0, **top, **groups), [2, 2, 0])
    # Above 0.5 is out: text 0 falls to row 0, text 2 to row 1.
    np.testing.assert_array_equal(ref.score_matrix(S, 1.0, **top, max_similarity=0.5), [3, 1, 0])
    np.testing.assert_array_equal(ref.score_matrix(S, 1.0, **{**top, "top_k_images": 3}), [4, 4, 4])


def test_minibatch() -> None:
    # 2 of 4 texts: the sum over them is doubled, the mean is over 2, the maximum stays.
    seed = 5
    drawn = np.random.default_rng(seed).choice(4, 2, replace=False, shuffle=False)
    w = np.array([[0.125, 0, 0.25, 0.125], [0.25, 0, 0, 0], [0, 0, 0, 0.125]])[:, drawn]
    rules = {"reference": R, "minibatch": 2, "random_state": seed}
    np.testing.assert_array_equal(ref.score_matrix(S, 0.25, **rules), 2 * w.sum(axis=1))
    np.testing.assert_array_equal(ref.score_matrix(S, 0.25, aggregate="mean", **rules), w.sum(axis=1) / 2)
    np.testing.assert_array_equal(ref.score_matrix(S, 0.25, aggregate="max", **rules), w.max(axis=1))
    assert ref.score_matrix(S, 0.25, weight="count", **rules).dtype == np.float32


def test_weights_beyond_float32_are_infinite() -> None:
    # e^(gap / temperature) with gap 1: e^88 is a float32, e^89 is not. The mean of an infinite weight is infinite.
    s = np.array([[1.0, 0.0]])
    rules: dict[str, Any] = {"reference": [0.0, 0.0], "weight": "exp", "aggregate": "mean"}
    assert ref.score_matrix(s, 0.0, temperature=1 / 89, **rules) == np.inf
    assert ref.score_matrix(s, 0.0, temperature=1 / 88, **rules) == np.float32(np.exp(88.0) / 2)
    big = ref.score_matrix(np.array([[1e20]]), 0.0, reference=[0.0], weight="squared_hinge")
    assert big == np.inf


def test_similarity() -> None:
    # |(3, 4)| = 5, |(5, 12)| = 13: dots 63 and 56 over 65; (0, -2) and (3, 4): -8 over 10.
    x, t = np.array([[3, 4], [0, -2]]), np.array([[5, 12], [12, 5], [3, 4]])
    np.testing.assert_array_equal(ref.similarity_matrix(x, t, "dot"), [[63, 56, 25], [-24, -10, -8]])
    np.testing.assert_array_equal(ref.similarity_matrix(x, t), [[63 / 65, 56 / 65, 1], [-24 / 26, -10 / 26, -0.8]])
    np.testing.assert_array_equal(ref.pair_similarity(x, t[:2], "dot"), [63, -10])
    np.testing.assert_array_equal(ref.similarity_matrix(x * 2.0**500, t * 2.0**-500), ref.similarity_matrix(x, t))
    assert ref.similarity_matrix(x * 2.0**600, x * 2.0**600, "dot")[0, 0] == np.inf


@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=1, max_size=9))
def test_dot_is_the_exact_sum_rounded_once(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    exact = sum(Fraction(x) * Fraction(y) for x, y in pairs)
    try:
        expected = float(exact)
    except OverflowError:
        expected = np.inf if exact > 0 else -np.inf
    assert ref.similarity_matrix(a[None], b[None], "dot")[0, 0] == expected


def test_reference_array_of_images() -> None:
    # Own images (1, 0) and (0, 1) of texts (1, 0) and (3, 4): r = (1, 0.8); margin 0.5: tau = (0.5, 0.3).
    # Image (0, 1): s = (0, 0.8), gap of text 1 = 0.5 up to float64 rounding.
    own, texts = np.eye(2), np.array([[1, 0], [3, 4]])
    np.testing.assert_array_equal(ref.score([[0, 1]], texts, 0.5, reference=own), np.float32([0.5]))


def test_reference_similarity() -> None:
    # Unit images e0, e1, e2 and the texts' coordinates: s[i, j] = text_j[i].
    texts = np.array([[0.5, 0.25, 0.125], [0.75, 0.5, 1.0], [0.25, 0.25, 0.5]])
    images = np.eye(3)

    def r(**rules: Any) -> list[float]:
        return list(ref.reference_similarity(images, texts, similarity="dot", **rules))

    assert r() == [0.5, 0.5, 0.5]
    assert r(owner=[1, 2, 0]) == [0.25, 1.0, 0.25]
    assert r(kind="hardest") == [0.25, 1.0, 0.25]
    assert r(kind="hardest", owner=[0, 2, 2]) == [0.25, 0.75, 0.25]
    assert r(kind="topk", k=2) == [0.125, 0.75, 0.25]
    # A batch of 2 holds one other image, each with probability 1/2; a batch of 3 holds both.
    assert r(kind="minibatch", batch_size=2) == [0.1875, 0.875, 0.25]
    assert r(kind="minibatch", batch_size=3) == r(kind="hardest")


def test_minibatch_reference_is_the_mean_over_all_batches() -> None:
    from itertools import combinations

    others = np.sort(np.random.default_rng(0).standard_normal(7))[::-1]
    for batch_size in range(2, 9):
        drawn = [max(batch) for batch in combinations(others, batch_size - 1)]
        expected = ref.KINDS["minibatch"](others[:, None], 1, batch_size)
        np.testing.assert_allclose(expected, [np.mean(drawn)], rtol=1e-14)


def test_decided_similarity_decides_like_the_exact_one() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 24)).astype(np.float32)
    t = x[rng.integers(0, 40, 30)] * np.float32(1.25) + np.float32(0.5) * rng.standard_normal((30, 24))
    exact = ref.similarity_matrix(x, t)
    fast, error = ref.fast_similarity(x, t)
    assert np.all(np.abs(fast - exact) <= error)
    levels = exact[7]  # row 7 ties with its level in every column
    decided = ref.decided_similarity(x, t, "cosine", levels)
    np.testing.assert_array_equal(decided > levels, exact > levels)
    np.testing.assert_array_equal(decided[7], levels)


def test_every_name_has_a_reference() -> None:
    assert set(ref.RECIPES) == set(_core.RECIPES)


@pytest.mark.parametrize(
    ("argument", "table"),
    [("weight", ref.WEIGHTS), ("aggregate", ref.AGGREGATES), ("reference", ref.REFERENCES)],
)
def test_score_knows_the_same_names(argument: str, table: dict[str, Any]) -> None:
    x = np.eye(2, dtype=np.float32)
    extra = {"exp": {"temperature": 1.0}, "topk": {"k": 1}}
    for name in table:
        hnscore.score(x, x, **{argument: name, **extra.get(name, {})})
    with pytest.raises(ValueError, match=argument) as error:
        hnscore.score(x, x, **{argument: "no_such"})
    named = set(re.findall(r"""["'](\w+)["']""", str(error.value)))
    assert named - {"no_such"} == set(table), "the error lists the names"


def test_reference_similarity_knows_the_same_names() -> None:
    x = np.eye(3, dtype=np.float32)
    kinds = {"positive", *ref.KINDS}
    for kind in kinds:
        hnscore.reference_similarity(x, x, kind=kind, **({"batch_size": 2} if kind == "minibatch" else {}))
    with pytest.raises(ValueError, match="kind") as error:
        hnscore.reference_similarity(x, x, kind="no_such")
    assert set(re.findall(r"""["'](\w+)["']""", str(error.value))) - {"no_such"} == kinds
