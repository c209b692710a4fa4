"""Each text's own image as `owner`, ranks to skip, labels that are strings, and mistakes that would else be silent."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from commands import command, refused

import hnscore
from hnscore import reference as ref

RNG = np.random.default_rng(0)
IMG = RNG.standard_normal((30, 16)).astype(np.float32)
OWNER = RNG.integers(0, 30, 47)
TXT = (IMG[OWNER] + 1.5 * RNG.standard_normal((47, 16))).astype(np.float32)
POOL = RNG.standard_normal((60, 16)).astype(np.float32)
IMAGES = np.arange(30)
pytestmark = pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("rules", [{}, {"weight": "count"}, {"aggregate": "max"}, {"top_k_images": 5}], ids=str)
def test_owner_says_what_three_arguments_say(rules: dict[str, Any], similarity: str) -> None:
    rules = rules | {"similarity": similarity}
    want = hnscore.score(IMG, TXT, 0.3, reference=IMG[OWNER], img_groups=IMAGES, txt_groups=OWNER, **rules)
    np.testing.assert_array_equal(hnscore.score(IMG, TXT, 0.3, owner=OWNER, **rules), want)
    tensors = hnscore.score(torch.from_numpy(IMG), torch.from_numpy(TXT), 0.3, owner=torch.from_numpy(OWNER), **rules)
    np.testing.assert_array_equal(tensors.numpy(), want)


def test_owner_among_other_images() -> None:
    """Those are not in the pool, and no pair of it is an own pair."""
    want = hnscore.score(POOL, TXT, 0.3, reference=IMG[OWNER])
    np.testing.assert_array_equal(hnscore.score(POOL, TXT, 0.3, owner=OWNER, paired_emb=IMG), want)
    scorer = hnscore.Scorer(TXT, 0.3, owner=OWNER, paired_emb=IMG)
    np.testing.assert_array_equal(np.concatenate([scorer.score(POOL[:7]), scorer.score(POOL[7:])]), want)


def test_owner_beside_a_reference_excludes_own_pairs() -> None:
    hardest = hnscore.reference_similarity(IMG, TXT, owner=OWNER, kind="hardest")
    want = hnscore.score(IMG, TXT, 0.1, reference=hardest, img_groups=IMAGES, txt_groups=OWNER)
    np.testing.assert_array_equal(hnscore.score(IMG, TXT, 0.1, reference=hardest, owner=OWNER), want)


def test_owner_of_a_minibatch() -> None:
    want = ref.score(IMG, TXT, 0.3, owner=OWNER, minibatch=11, random_state=4)
    got = hnscore.score(IMG, TXT, 0.3, owner=OWNER, minibatch=11, random_state=4)
    # Of a pair 4 * 2^-24 at most, of all texts by the scale of the minibatch.
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=4 * 2.0**-24 * len(TXT))


@pytest.mark.parametrize("more", [[], ["--minibatch", 11, "--random-state", 4], ["--top-k-images", 4]], ids=str)
@pytest.mark.parametrize("paired", [True, False])
def test_owner_of_files(tmp_path: Any, more: list[Any], paired: bool) -> None:
    for name, array in (("pool", POOL if paired else IMG), ("img", IMG), ("txt", TXT), ("owner", OWNER)):
        np.save(tmp_path / f"{name}.npy", array)
    args = ["score", "--images", "pool.npy", "--texts", "txt.npy", "--owner", "owner.npy", "-o", "s.npy"]
    args += ["--paired", "img.npy"] if paired else []
    done = command(*args, "--chunk-rows", 7, "--no-progress", *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rules = {"minibatch": 11, "random_state": 4} if "--minibatch" in more else {"top_k_images": 4} if more else {}
    want = hnscore.score(
        POOL if paired else IMG,
        TXT,
        owner=OWNER,
        paired_emb=IMG if paired else None,
        **rules,  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), want)


# ---- Ranks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dense", "cascade"])
@pytest.mark.parametrize(("skip", "top"), [(0, None), (1, None), (10, 21), (5, 6), (59, None), (60, None), (99, None)])
def test_ranks(target: str, method: Any, skip: int, top: int | None) -> None:
    """Ties go to the lowest row: half of the pool are copies of the other half."""
    pool = np.concatenate([POOL[:30], POOL[:30]])
    got = hnscore.score(
        pool, TXT, 2.0, reference=np.zeros(47), skip_top_images=skip, top_k_images=top, weight="count", method=method
    )
    order = np.argsort(-ref.similarity_matrix(pool, TXT), axis=0, kind="stable")
    want = np.bincount(order[skip:top].ravel(), minlength=60)
    np.testing.assert_array_equal(got, want)


def test_skipping_as_a_limit_by_neighbours() -> None:
    """Similarities of knn_graph are those that are compared: its 11th best as a limit leaves rank 10."""
    kth = hnscore.knn_graph(TXT, 11, against=POOL)[0][:, 10]
    assert kth.dtype == np.float64
    limited = hnscore.score(POOL, TXT, 2.0, reference=np.zeros(47), max_similarity=kth, weight="count")
    skipped = hnscore.score(POOL, TXT, 2.0, reference=np.zeros(47), skip_top_images=10, weight="count")
    np.testing.assert_array_equal(limited, skipped)
    above = hnscore.score(POOL, TXT, 0.0, reference=kth, weight="count")
    assert above.sum() == 10 * 47


# ---- Labels ----------------------------------------------------------------------------------------------------------

NAMES = np.array([f"{i // 5}.jpg" for i in range(60)])


MAKE: dict[str, Any] = {
    "list": list, "array": np.asarray, "objects": lambda x: x.astype(object), "bytes": lambda x: x.astype("S9"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MAKE)
def test_labels_are_strings(kind: str) -> None:
    make = MAKE[kind]
    texts = np.array([f"{i}.jpg" for i in range(47)])
    numbers = np.arange(60) // 5, np.arange(47)
    want = hnscore.score(POOL, TXT, 0.5, reference=np.zeros(47), img_groups=numbers[0], txt_groups=numbers[1])
    keywords = {"reference": np.zeros(47), "txt_groups": make(texts)}
    np.testing.assert_array_equal(hnscore.score(POOL, TXT, 0.5, img_groups=make(NAMES), **keywords), want)
    scorer = hnscore.Scorer(TXT, 0.5, **keywords)
    np.testing.assert_array_equal(scorer.score(POOL, img_groups=make(NAMES)), want)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.arange(60.0), "float64"), (np.arange(60) > 3, "bool"), ([None] * 60, "None of type NoneType at index 0"),
        (["a"] * 59 + [3], "strings and, at index 59, integers"), ([["a"]] * 60, "got (60, 1)"),
        (np.arange(60), "integers and strings"), ([2**80] + ["a"] * 59, "integers and, at index 1, strings"),
    ],
)  # fmt: skip
def test_labels_of_other_kinds(labels: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        hnscore.score(POOL, TXT, 0.5, reference=np.zeros(47), img_groups=labels, txt_groups=["a"] * 47)
    assert "img_groups" in str(caught.value)
    assert says in str(caught.value)


# ---- Mistakes --------------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"reference": OWNER}, "pass them as owner, or reference=img_emb[rows]"),
    ({"reference": OWNER.astype(np.float64)}, "similarities from -1 to 1 under similarity='cosine', got"),
    ({"reference": np.full(47, 1.00001)}, "got 1.00001 at index 0; pass cosines"),
    ({"reference": np.full(47, -1.00001)}, "got -1.00001 at index 0; pass cosines"),
    ({"owner": OWNER * 100}, "owner must hold rows of img_emb, 0 to 29"),
    ({"owner": OWNER + 30, "paired_emb": IMG}, "owner must hold rows of paired_emb, 0 to 29"),
    ({"owner": OWNER[:5]}, "owner must have shape (47,)"),
    ({"owner": OWNER.astype(float)}, "owner must hold integers"),
    ({"owner": OWNER, "reference": "paired"}, "owner must be None with reference='paired'"),
    ({"paired_emb": IMG}, "paired_emb must be given with owner"),
    ({"owner": OWNER, "paired_emb": IMG[:, :5]}, "paired_emb has dim 5"),
    ({"owner": OWNER, "paired_emb": IMG * [[0.0]]}, "paired_emb must have no zero rows"),
    ({"skip_top_images": -1}, "skip_top_images must be at least 0"),
    ({"skip_top_images": 5, "top_k_images": 5}, "skip_top_images must be from 0 to 4"),
    ({"skip_top_images": 1.5}, "skip_top_images must be an integer"),
]


@pytest.mark.parametrize(("rules", "says"), WRONG, ids=[says for _, says in WRONG])
def test_what_is_refused(rules: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        hnscore.score(IMG, TXT, 0.2, **rules)
    assert says in str(caught.value)


def test_what_a_scorer_refuses() -> None:
    for rules, says in (
        ({}, "reference must be given for a Scorer"),
        ({"owner": OWNER}, "paired_emb must be given with owner for a Scorer"),
        ({"reference": np.zeros(47), "skip_top_images": 3}, "skip_top_images must be None for a Scorer"),
    ):
        with pytest.raises(ValueError, match=says):
            hnscore.Scorer(TXT, 0.2, **rules)  # type: ignore[arg-type]


def test_similarities_of_few_bits_may_round_above_one() -> None:
    for dtype in (np.float16, np.float32):
        hnscore.score(IMG, TXT, 0.2, reference=np.full(47, np.nextafter(dtype(1), dtype(2))))
    bits = torch.full((47,), 1.0078125, dtype=torch.bfloat16)
    hnscore.score(torch.from_numpy(IMG), torch.from_numpy(TXT), 0.2, reference=bits)


def test_row_numbers_as_a_reference_of_files(tmp_path: Any) -> None:
    for name, array in (("img", IMG), ("txt", TXT), ("owner", OWNER)):
        np.save(tmp_path / f"{name}.npy", array)
    args = ["score", "--images", "img.npy", "--texts", "txt.npy", "-o", "s.npy", "--reference", "owner.npy"]
    assert "pass them as owner" in refused(*args, cwd=tmp_path)


@pytest.mark.filterwarnings("error")
def test_no_pair_at_all_is_told() -> None:
    many = np.concatenate([POOL] * 40)
    with pytest.warns(
        hnscore.MarginWarning, match=r"no pair is a hard negative.*margin=.* would let about 1 %"
    ) as caught:
        hnscore.score(many, TXT, 0.0, reference=np.ones(47))
    assert caught[0].filename == __file__
    hnscore.score(many[:100], TXT, 0.0, reference=np.ones(47))  # too few to expect any
    useful = float(str(caught[0].message).split("margin=")[2].split()[0])
    share = hnscore.score(many, TXT, useful, reference=np.ones(47), weight="count").sum() / (len(many) * 47)
    assert 0.003 < share < 0.03


def test_what_is_said_of_the_reference_and_the_share(capsys: Any, caplog: Any) -> None:
    many = np.concatenate([POOL] * 40)
    with caplog.at_level(logging.INFO, logger="hnscore"):
        hnscore.score(many, TXT, 0.6, verbose=True)
    out = capsys.readouterr().out
    assert "reference='pool_max': each text's best match in this pool, not its own image" in out
    assert "of the pairs count, where 0.1 to 1 % tell images apart" in out
    assert sum("reference='pool_max'" in line for line in caplog.messages) == 1
    hnscore.score(IMG, TXT, 0.1, owner=OWNER, verbose=True)
    assert "pool_max" not in capsys.readouterr().out
