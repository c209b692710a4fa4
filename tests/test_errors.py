"""Bad input: an error that names the argument, what was expected, what came, and the remedy. Awkward input: right."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import hnscore

RNG = np.random.default_rng(0)
IMG = RNG.standard_normal((12, 8)).astype(np.float32)
TXT = RNG.standard_normal((6, 8)).astype(np.float32)
OWN = RNG.standard_normal((6, 8)).astype(np.float32)
R = np.full(6, 0.5)

GOOD: dict[Callable[..., Any], dict[str, Any]] = {
    hnscore.score: {"img_emb": IMG, "txt_emb": TXT, "reference": R},
    hnscore.Scorer: {"txt_emb": TXT, "reference": R},
    hnscore.Scorer(TXT, reference=R).score: {"img_chunk": IMG},
    hnscore.Scorer(TXT, reference=R, txt_groups=np.arange(6)).score: {"img_chunk": IMG, "img_groups": np.arange(12)},
    hnscore.reference_similarity: {"img_emb": IMG, "txt_emb": TXT, "owner": np.arange(6)},
    hnscore.show_config: {"mode": "dicts"},
}
SCORE, SCORER, CHUNK, GROUPED_CHUNK, REFERENCE, CONFIG = GOOD


def with_value(array: NDArray[Any], row: int, value: float) -> NDArray[Any]:
    array = array.copy()
    array[row] = value
    return array


class OnGpu:
    """What an array of a GPU library shows of itself."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


# (id, function, changes to its good arguments, error, argument it names, expected, got, remedy)
Case = tuple[str, Callable[..., Any], dict[str, Any], type[Exception], str, str, str, str]
CASES: list[Case] = [
    # Kinds and dtypes of embeddings.
    ("bool", SCORE, {"img_emb": IMG > 0}, TypeError, "img_emb", "real numbers", "bool", "convert"),
    ("object", SCORE, {"txt_emb": TXT.astype(object)}, TypeError, "txt_emb", "real numbers", "object", "convert"),
    ("complex", SCORE, {"img_emb": IMG + 1j}, TypeError, "img_emb", "real numbers", "complex64", "convert"),
    ("string", SCORE, {"txt_emb": TXT.astype(str)}, TypeError, "txt_emb", "real numbers", "U", "convert"),
    ("datetime", SCORE, {"img_emb": IMG.astype("M8[s]")}, TypeError, "img_emb", "real numbers", "datetime", "convert"),
    ("void", SCORE, {"img_emb": IMG.view("V4")}, TypeError, "img_emb", "real numbers", "V4", "convert"),
    ("None", SCORE, {"img_emb": None}, TypeError, "img_emb", "array of numbers", "None", "convert"),
    ("masked", SCORE, {"img_emb": np.ma.masked_array(IMG)}, TypeError, "img_emb", "plain", "masked array", "fill"),
    ("ragged", SCORE, {"img_emb": [[1.0, 2.0], [3.0]]}, ValueError, "img_emb", "rows of one length",
     "(1,) at index 1", "drop that row"),
    ("torch bool", SCORE, {"img_emb": torch.ones(3, 8) > 0, "txt_emb": torch.ones(6, 8)}, TypeError, "img_emb",
     "real numbers", "bool", "convert"),
    ("torch float8", SCORE, {"img_emb": torch.ones(3, 8).to(torch.float8_e5m2), "txt_emb": torch.ones(6, 8)},
     TypeError, "img_emb", "real numbers", "float8", "convert"),
    ("torch meta", SCORE, {"img_emb": torch.ones(3, 8, device="meta"), "txt_emb": torch.ones(6, 8)}, ValueError,
     "img_emb", "CPU memory", "meta", "move"),
    ("torch sparse", SCORE, {"img_emb": torch.ones(3, 8).to_sparse(), "txt_emb": torch.ones(6, 8)}, ValueError,
     "img_emb", "dense", "sparse", "to_dense"),
    ("other device", SCORE, {"img_emb": OnGpu()}, ValueError, "img_emb", "CPU memory", "cuda:0", "move"),
    ("numpy with torch", SCORE, {"txt_emb": torch.ones(6, 8)}, TypeError, "txt_emb", "both", "as a tensor", "convert"),
    ("torch with numpy", SCORE, {"img_emb": torch.ones(6, 8)}, TypeError, "img_emb", "both", "Tensor", "convert"),
    ("torch chunk", CHUNK, {"img_chunk": torch.ones(6, 8)}, TypeError, "img_chunk", "both", "Tensor", "convert"),
    # Shapes of embeddings.
    ("1-D", SCORE, {"img_emb": IMG[0]}, ValueError, "img_emb", "2 dimensions", "(8,)", "reshape"),
    ("3-D", SCORE, {"txt_emb": TXT[None]}, ValueError, "txt_emb", "2 dimensions", "(1, 6, 8)", "reshape"),
    ("0-D", SCORE, {"img_emb": 3.0}, ValueError, "img_emb", "2 dimensions", "()", "reshape"),
    ("dims differ", SCORE, {"txt_emb": TXT[:, :5]}, ValueError, "txt_emb", "img_emb has dim 8", "dim 5", "use"),
    ("chunk dim", CHUNK, {"img_chunk": IMG[:, :5]}, ValueError, "img_chunk", "dim 8", "dim 5", "use the same"),
    ("dim 0", SCORE, {"img_emb": IMG[:, :0]}, ValueError, "img_emb", "at least one column", "(12, 0)", "check"),
    ("no texts", SCORE, {"txt_emb": TXT[:0]}, ValueError, "txt_emb", "at least one row", "(0, 8)", "pass"),
    ("no paired images", REFERENCE, {"img_emb": IMG[:0]}, ValueError, "img_emb", "at least one row", "(0, 8)", "pass"),
    # Values of embeddings.
    ("NaN", SCORE, {"img_emb": with_value(IMG, 7, np.nan)}, ValueError, "img_emb", "finite", "row 7", "drop"),
    ("Inf", SCORE, {"txt_emb": with_value(TXT, 3, np.inf)}, ValueError, "txt_emb", "finite", "row 3", "drop"),
    ("several", SCORE, {"img_emb": with_value(with_value(IMG, 2, np.nan), 3, np.nan)}, ValueError, "img_emb", "finite",
     "rows 2, 3", "drop"),  # of one tile on every target
    ("NaN in the reference", SCORE, {"reference": with_value(OWN, 2, np.nan)}, ValueError, "reference", "finite",
     "row 2", "drop"),
    ("NaN in a drawn text", SCORE, {"txt_emb": with_value(TXT, 5, np.nan), "minibatch": 6}, ValueError, "txt_emb",
     "finite", "row 5", "drop"),
    ("NaN in the pool", SCORE, {"img_emb": with_value(IMG, 4, np.nan), "reference": "pool_max"}, ValueError, "img_emb",
     "finite", "row 4", "drop"),
    ("NaN chunk", CHUNK, {"img_chunk": with_value(IMG, 1, np.nan)}, ValueError, "img_chunk", "finite", "row 1", "drop"),
    ("NaN image", REFERENCE, {"img_emb": with_value(IMG, 1, np.nan)}, ValueError, "img_emb", "finite", "row 1", "drop"),
    ("NaN text", REFERENCE, {"txt_emb": with_value(TXT, 5, np.nan), "kind": "hardest"}, ValueError, "txt_emb",
     "finite", "row 5", "drop"),
    ("zero row", SCORE, {"img_emb": with_value(IMG, 0, 0)}, ValueError, "img_emb", "no zero rows", "row 0", "dot"),
    ("zero text", SCORE, {"txt_emb": with_value(TXT, 4, 0)}, ValueError, "txt_emb", "no zero rows", "row 4", "dot"),
    ("range", SCORE, {"img_emb": with_value(IMG.astype(np.float64), 6, 1e300)}, ValueError, "img_emb",
     "float64 range", "row 6", "rescale"),
    # Numbers.
    ("margin NaN", SCORE, {"margin": np.nan}, ValueError, "margin", "finite", "nan", "pass"),
    ("margin Inf", SCORE, {"margin": np.inf}, ValueError, "margin", "finite", "inf", "pass"),
    ("margin string", SCORE, {"margin": "0.2"}, TypeError, "margin", "a number", "str", "pass"),
    ("margin bool", SCORE, {"margin": True}, TypeError, "margin", "a number", "bool", "pass"),
    ("margin array", SCORE, {"margin": R}, TypeError, "margin", "a number", "ndarray", "pass"),
    ("margin huge", SCORE, {"margin": 10**400}, ValueError, "margin", "finite", "inf", "pass"),
    ("temperature 0", SCORE, {"weight": "exp", "temperature": 0.0}, ValueError, "temperature", "above 0", "0", "pass"),
    ("temperature NaN", SCORE, {"weight": "exp", "temperature": np.nan}, ValueError, "temperature", "finite", "nan",
     "pass"),
    ("no temperature", SCORE, {"weight": "exp"}, ValueError, "temperature", "weight='exp'", "without", "pass"),
    ("idle temperature", SCORE, {"temperature": 1.0}, ValueError, "temperature", "weight='exp'", "with", "leave out"),
    ("no k", SCORE, {"aggregate": "topk"}, ValueError, "k", "aggregate='topk'", "without", "pass"),
    ("idle k", SCORE, {"k": 3}, ValueError, "k", "aggregate='topk'", "with", "leave out"),
    ("k 0", SCORE, {"aggregate": "topk", "k": 0}, ValueError, "k", "from 1 to 6", "0", "pass"),
    ("k above", SCORE, {"aggregate": "topk", "k": 7}, ValueError, "k", "from 1 to 6", "7", "pass"),
    ("k above the minibatch", SCORE, {"aggregate": "topk", "k": 4, "minibatch": 3}, ValueError, "k", "from 1 to 3", "4",
     "pass"),
    ("k float", SCORE, {"aggregate": "topk", "k": 2.0}, TypeError, "k", "an integer", "2.0", "pass"),
    ("top_k_images 0", SCORE, {"top_k_images": 0}, ValueError, "top_k_images", "from 1 to 12", "0", "pass"),
    ("top_k_images above", SCORE, {"top_k_images": 13}, ValueError, "top_k_images", "from 1 to 12", "13", "pass"),
    ("top_k_images bool", SCORE, {"top_k_images": True}, TypeError, "top_k_images", "an integer", "True", "pass"),
    ("minibatch 0", SCORE, {"minibatch": 0}, ValueError, "minibatch", "from 1 to 6", "0", "pass"),
    ("minibatch above", SCORE, {"minibatch": 7}, ValueError, "minibatch", "from 1 to 6", "7", "pass"),
    ("random_state", SCORE, {"minibatch": 3, "random_state": 1.5}, TypeError, "random_state", "an int", "1.5", "pass"),
    ("random_state < 0", SCORE, {"minibatch": 3, "random_state": -1}, ValueError, "random_state", "int >= 0", "-1",
     "pass"),
    ("no threads", SCORE, {"n_threads": 0}, ValueError, "n_threads", "at least 1", "0", "pass"),
    ("half a thread", SCORE, {"n_threads": 0.5}, TypeError, "n_threads", "an integer", "0.5", "pass"),
    # Names.
    ("reference name", SCORE, {"reference": "max"}, ValueError, "reference", "'pool_max', 'paired'", "'max'", "choose"),
    ("weight", SCORE, {"weight": "relu"}, ValueError, "weight", "'squared_hinge'", "'relu'", "choose"),
    ("aggregate", SCORE, {"aggregate": "median"}, ValueError, "aggregate", "'topk'", "'median'", "choose"),
    ("similarity", SCORE, {"similarity": "l2"}, ValueError, "similarity", "'cosine', 'dot'", "'l2'", "choose"),
    ("precision", SCORE, {"precision": "fp16"}, ValueError, "precision", "'exact', 'fp32', 'bf16'", "'fp16'", "choose"),
    ("method", SCORE, {"method": "fast"}, ValueError, "method", "'auto', 'dense', 'cascade'", "'fast'", "choose"),
    ("cascade", SCORE, {"method": "cascade", "precision": "bf16"}, ValueError, "method", "exact", "'bf16'", "leave"),
    ("no name", SCORE, {"weight": 3}, TypeError, "weight", "'hinge'", "3", "choose"),
    ("kind", REFERENCE, {"kind": "mean"}, ValueError, "kind", "'positive', 'hardest'", "'mean'", "choose"),
    ("mode", CONFIG, {"mode": "json"}, ValueError, "mode", "'stdout', 'dicts'", "'json'", "choose"),
    # Arrays beside the embeddings.
    ("reference length", SCORE, {"reference": R[:4]}, ValueError, "reference", "(6,)", "(4,)", "check"),
    ("reference shape", SCORE, {"reference": OWN[:, :7]}, ValueError, "reference", "(6, 8)", "(6, 7)", "pass"),
    ("reference scalar", SCORE, {"reference": 0.9}, ValueError, "reference", "(6,)", "()", "pass"),
    ("reference NaN", SCORE, {"reference": with_value(R, 2, np.nan)}, ValueError, "reference", "finite", "index 2",
     "repair"),
    ("reference dtype", SCORE, {"reference": R > 0}, TypeError, "reference", "real numbers", "bool", "convert"),
    ("paired lengths", SCORE, {"reference": "paired"}, ValueError, "paired", "same number", "12 and 6", "repeat"),
    ("limit length", SCORE, {"max_similarity": R[:5]}, ValueError, "max_similarity", "(6,)", "(5,)", "check"),
    ("limit NaN", SCORE, {"max_similarity": np.nan}, ValueError, "max_similarity", "+inf", "nan", "repair"),
    ("limit -inf", SCORE, {"max_similarity": with_value(R, 1, -np.inf)}, ValueError, "max_similarity", "+inf",
     "-inf at index 1", "repair"),
    ("limit string", SCORE, {"max_similarity": "high"}, TypeError, "max_similarity", "array of numbers", "str", "pass"),
    ("img_groups alone", SCORE, {"img_groups": np.arange(12)}, ValueError, "txt_groups", "together", "img_groups",
     "neither"),
    ("txt_groups alone", SCORE, {"txt_groups": np.arange(6)}, ValueError, "img_groups", "together", "txt_groups",
     "neither"),
    ("img_groups length", SCORE, {"img_groups": np.arange(11), "txt_groups": np.arange(6)}, ValueError, "img_groups",
     "(12,)", "(11,)", "check"),
    ("txt_groups shape", SCORE, {"img_groups": np.arange(12), "txt_groups": np.ones((6, 1), int)}, ValueError,
     "txt_groups", "(6,)", "(6, 1)", "check"),
    ("float labels", SCORE, {"img_groups": np.arange(12.0), "txt_groups": np.arange(6)}, TypeError, "img_groups",
     "integers", "float64", "convert"),
    ("string labels", SCORE, {"img_groups": np.arange(12), "txt_groups": list("abcdef")}, TypeError, "txt_groups",
     "one kind", "integers and strings", "convert"),
    # Scorer.
    ("pool-wide reference", SCORER, {"reference": "pool_max"}, ValueError, "reference", "an array", "'pool_max'",
     "hnscore.score"),
    ("paired chunks", SCORER, {"reference": "paired"}, ValueError, "reference", "an array", "'paired'",
     "hnscore.score"),
    ("pool-wide top k", SCORER, {"top_k_images": 3}, ValueError, "top_k_images", "None", "3", "hnscore.score"),
    ("labels missing", GROUPED_CHUNK, {"img_groups": None}, ValueError, "img_groups", "together", "only txt_groups",
     "pass both"),
    ("labels without", CHUNK, {"img_groups": np.arange(12)}, ValueError, "txt_groups", "together", "only img_groups",
     "pass both"),
    # reference_similarity.
    ("owner None", REFERENCE, {"owner": None}, ValueError, "owner", "same number", "12 and 6", "repeat"),
    ("owner length", REFERENCE, {"owner": np.arange(5)}, ValueError, "owner", "(6,)", "(5,)", "check"),
    ("owner float", REFERENCE, {"owner": R}, TypeError, "owner", "integers", "float64", "convert"),
    ("owner above", REFERENCE, {"owner": [0, 1, 2, 12, 4, 5]}, ValueError, "owner", "0 to 11", "12 at index 3", "0"),
    ("owner below", REFERENCE, {"owner": [0, -1, 2, 3, 4, 5]}, ValueError, "owner", "0 to 11", "-1 at index 1", "0"),
    ("k-th of too few", REFERENCE, {"kind": "topk", "k": 12}, ValueError, "k", "from 1 to 11", "12", "pass"),
    ("k idle", REFERENCE, {"kind": "hardest", "k": 2}, ValueError, "k", "kind='topk'", "with", "leave out"),
    ("batch_size missing", REFERENCE, {"kind": "minibatch"}, ValueError, "batch_size", "kind='minibatch'", "without",
     "pass"),
    ("batch_size idle", REFERENCE, {"batch_size": 4}, ValueError, "batch_size", "kind='minibatch'", "with",
     "leave out"),
    ("batch of 1", REFERENCE, {"kind": "minibatch", "batch_size": 1}, ValueError, "batch_size", "from 2 to 12", "1",
     "pass"),
    ("batch too large", REFERENCE, {"kind": "minibatch", "batch_size": 13}, ValueError, "batch_size", "from 2 to 12",
     "13", "pass"),
    ("one image", REFERENCE, {"img_emb": IMG[:1], "owner": np.zeros(6, int), "kind": "hardest"}, ValueError, "img_emb",
     "at least 2", "1", "pass more"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_bad_input(case: Case) -> None:
    _, function, changes, error, argument, expected, got, remedy = case
    with pytest.raises(error) as caught:
        function(**(GOOD[function] | changes))
    message = str(caught.value)
    assert re.search(rf"\b{argument}\b", message)
    for words in (expected, got, remedy):
        assert words in message


@pytest.mark.parametrize("function", GOOD)
def test_good_input_is_good(function: Callable[..., Any]) -> None:
    assert function(**GOOD[function]) is not None


def test_an_empty_pool_has_empty_scores() -> None:
    for rules in ({"reference": "pool_max", "top_k_images": 5}, {"reference": R}, {"reference": OWN}):
        scores = hnscore.score(IMG[:0], TXT, **rules)
        assert scores.shape == (0,)
        assert scores.dtype == np.float32
    assert hnscore.score(IMG[:0], TXT, weight="count").dtype == np.int64
    assert hnscore.Scorer(TXT, reference=R).score(IMG[:0]).shape == (0,)
    with pytest.raises(ValueError, match="txt_emb must be finite"):
        hnscore.score(IMG[:0], with_value(TXT, 0, np.nan))


# ---- Awkward but good ------------------------------------------------------------------------------------------------


def misaligned(a: NDArray[Any]) -> NDArray[Any]:
    memory = np.zeros(a.nbytes + 1, np.uint8)
    out: NDArray[Any] = np.ndarray(a.shape, a.dtype, memory.data, offset=1)
    out[:] = a
    return out


def padded(a: NDArray[Any]) -> NDArray[Any]:
    wide: NDArray[Any] = np.full((2 * len(a), 3 * a.shape[1]), 99, a.dtype)
    wide[::2, 1::3] = a
    return wide[::2, 1::3]


def read_only(a: NDArray[Any]) -> NDArray[Any]:
    a = a.copy()
    a.flags.writeable = False
    return a


AWKWARD: dict[str, Callable[[NDArray[Any]], Any]] = {
    "not contiguous": padded,
    "Fortran order": np.asfortranarray,
    "negative strides": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "misaligned": misaligned,
    "misaligned big-endian": lambda a: misaligned(a.astype(a.dtype.newbyteorder(">"))),
    "matrix": lambda a: a.view(type("Subclass", (np.ndarray,), {})),
    "nested list": lambda a: a.astype(np.float64).tolist(),
    "array protocol": lambda a: type("Wrapped", (), {"__array__": lambda self, dtype=None, copy=None: a})(),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "int32", "int64"])
@pytest.mark.parametrize("awkward", AWKWARD)
def test_awkward_layouts_give_the_same_bits(awkward: str, dtype: str) -> None:
    img, txt, own = ((20 * np.abs(a)).astype(dtype) for a in (IMG, TXT, OWN))
    change = AWKWARD[awkward]
    plain = hnscore.score(img, txt, 0.3, reference=own)
    np.testing.assert_array_equal(hnscore.score(change(img), change(txt), 0.3, reference=change(own)), plain)
    np.testing.assert_array_equal(hnscore.score(img, change(txt), 0.3, reference=own), plain)


def test_zero_strides() -> None:
    one_text = np.broadcast_to(TXT[0], (6, 8))
    plain = hnscore.score(IMG, one_text.copy(), reference=R)
    np.testing.assert_array_equal(hnscore.score(IMG, one_text, reference=R), plain)


@pytest.mark.parametrize("order", ["<f4", ">f4", "<f2"])
def test_memory_maps(tmp_path: Path, order: str) -> None:
    for name, array in (("img", IMG), ("txt", TXT)):
        np.save(tmp_path / f"{name}.npy", array.astype(order))
    img, txt = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("img", "txt"))
    plain = hnscore.score(IMG.astype(order), TXT.astype(order))
    assert type(hnscore.score(img, txt)) is np.ndarray
    np.testing.assert_array_equal(hnscore.score(img, txt), plain)


def test_bfloat16() -> None:
    img, txt = IMG.astype(ml_dtypes.bfloat16), TXT.astype(ml_dtypes.bfloat16)
    plain = hnscore.score(img.astype(np.float32), txt.astype(np.float32))
    np.testing.assert_array_equal(hnscore.score(img, txt), plain)
    np.testing.assert_array_equal(hnscore.score(padded(img), misaligned(txt)), plain)


def test_zero_copy_tensors() -> None:
    plain = hnscore.score(IMG, TXT, reference=OWN)
    img, txt, own = (torch.from_numpy(a) for a in (IMG, TXT, OWN))
    scores = hnscore.score(img, txt, reference=own)
    np.testing.assert_array_equal(scores.numpy(), plain)
    np.testing.assert_array_equal(hnscore.score(img.t().contiguous().t(), txt, reference=own).numpy(), plain)


class Dlpack:
    """An array of a library that speaks DLPack and the array API, with NumPy inside."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __array_namespace__(self) -> type["Dlpack"]:
        return Dlpack

    @staticmethod
    def from_dlpack(array: Any) -> "Dlpack":
        return Dlpack(np.from_dlpack(array))


def test_dlpack_in_and_out() -> None:
    scores = hnscore.score(Dlpack(IMG), Dlpack(TXT), reference=Dlpack(R))
    assert isinstance(scores, Dlpack)
    np.testing.assert_array_equal(scores.array, hnscore.score(IMG, TXT, reference=R))


@pytest.mark.parametrize("img_dtype", ["int8", "int64", "uint8", "uint64", "list", "torch"])
@pytest.mark.parametrize("txt_dtype", ["int16", "int64", "uint32", "uint64", "torch"])
def test_labels_of_any_width(img_dtype: str, txt_dtype: str) -> None:
    img_labels, txt_labels = np.arange(12) % 7, np.array([5, 0, 3, 100, 6, 0])
    plain = hnscore.score(IMG, TXT, 0.9, reference=R, img_groups=img_labels, txt_groups=txt_labels)

    def of(labels: NDArray[Any], dtype: str) -> Any:
        if dtype == "torch":
            return torch.from_numpy(labels)
        return labels.tolist() if dtype == "list" else labels.astype(dtype)

    scores = hnscore.score(
        IMG, TXT, 0.9, reference=R, img_groups=of(img_labels, img_dtype), txt_groups=of(txt_labels, txt_dtype)
    )
    np.testing.assert_array_equal(scores, plain)


def test_no_label_is_special() -> None:
    """Extremes, negatives, and int64 beside uint64, whose equal bits are different numbers."""
    top, signed = np.uint64(2**64 - 1), np.int64(-1)
    everything = hnscore.score(IMG, TXT, 0.9, reference=R)
    for img_label, txt_label, equal in (
        (top, top, True),
        (signed, signed, True),
        (np.int64(-(2**63)), np.int64(-(2**63)), True),
        (top, signed, False),
        (signed, top, False),
        (np.uint64(2**63), np.int64(-(2**63)), False),
    ):
        scores = hnscore.score(
            IMG, TXT, 0.9, reference=R, img_groups=np.full(12, img_label), txt_groups=np.full(6, txt_label)
        )
        np.testing.assert_array_equal(scores, 0 if equal else everything)


def test_infinite_limits_change_nothing() -> None:
    plain = hnscore.score(IMG, TXT, reference=R)
    np.testing.assert_array_equal(hnscore.score(IMG, TXT, reference=R, max_similarity=np.inf), plain)
    some = np.array([np.inf, 1, 2, np.inf, 3, np.inf])
    np.testing.assert_array_equal(hnscore.score(IMG, TXT, reference=R, max_similarity=some), plain)


def test_side_arrays_of_any_kind() -> None:
    plain = hnscore.score(IMG, TXT, reference=R, max_similarity=R + 0.25)
    for of in (list, tuple, torch.from_numpy, lambda a: torch.from_numpy(a).bfloat16(), lambda a: a.astype(">f2")):
        scores = hnscore.score(IMG, TXT, reference=of(R), max_similarity=of(R + 0.25))
        np.testing.assert_array_equal(scores, plain)


def test_inputs_are_left_alone() -> None:
    img, txt, own, r = (read_only(a) for a in (IMG, TXT, OWN, R))
    hnscore.score(img, txt, reference=own, max_similarity=r, minibatch=3, top_k_images=2)
    for kind in ("positive", "hardest"):
        hnscore.reference_similarity(img, txt, owner=np.arange(6), kind=kind)
