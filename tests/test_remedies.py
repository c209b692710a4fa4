"""Errors whose remedy is followed: what the message says must work."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import hnscore

X = np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)
T, R = X[:30], np.full(30, 0.3)
WANT = hnscore.score(X, T, 0.2, reference=R)


def follow(x: Any, namespace: dict[str, Any], pattern: str) -> Any:
    """What the error for `x` says in the part that `pattern` captures, evaluated."""
    with pytest.raises((TypeError, ValueError)) as caught:
        hnscore.score(x, T, 0.2, reference=R)
    message = str(caught.value)
    assert message.startswith("img_emb "), "the argument is named"
    found = re.search(pattern, message)
    assert found, message
    return eval(found.group(1), {"np": np, "torch": torch, "img_emb": x, **namespace})


class Sparse:
    """As SciPy has them."""

    nnz = 800

    def toarray(self) -> Any:
        return X


STRUCTURED = np.rec.fromarrays(X.T)
REMEDIES: list[tuple[str, Callable[[Path], Any], str, dict[str, Any]]] = [
    ("a path", lambda p: p / "x.npy", r"pass (np\.load\(.*?\))", {}),
    ("a path as text", lambda p: str(p / "x.npy"), r"pass (np\.load\(.*?\))", {}),
    ("an archive", lambda p: np.load(p / "x.npz"), r"members, (archive\['emb'\])", {}),
    ("a dict", lambda p: {"emb": X}, r"values, (img_emb\['emb'\])", {}),
    ("a generator", lambda p: (row for row in X), r"pass (list\(img_emb\))", {}),
    ("a sparse matrix", lambda p: Sparse(), r"pass (img_emb\.toarray\(\))", {}),
    ("three dimensions", lambda p: X[:, None], r"pass (img_emb\[:, 0\])", {}),
    ("captions by image", lambda p: X.reshape(10, 5, 16), r"pass (img_emb\.reshape\(-1, 16\))", {}),
    ("a structured array", lambda p: STRUCTURED, r"convert it by (numpy\.lib.*?\(img_emb\))", {"numpy": np}),
]


@pytest.mark.parametrize(("make", "pattern", "more"), [row[1:] for row in REMEDIES], ids=[row[0] for row in REMEDIES])
def test_remedies_of_arrays(tmp_path: Path, make: Callable[[Path], Any], pattern: str, more: dict[str, Any]) -> None:
    import numpy.lib.recfunctions  # noqa: F401  which the remedy names

    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", emb=X)
    x = make(tmp_path)
    if "archive" in pattern:
        more = {"archive": x}
    np.testing.assert_array_equal(hnscore.score(follow(x, more, pattern), T, 0.2, reference=R), WANT)
    if "archive" in pattern:
        x.close()


TENSORS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("sparse", lambda x: x.to_sparse(), r"call \.(to_dense\(\)) first"),
    ("quantized", lambda x: torch.quantize_per_tensor(x, 0.001, 0, torch.qint32), r"call \.(dequantize\(\)) first"),
    ("nested", lambda x: torch.nested.nested_tensor(list(x)), r"pass (torch\.stack\(list\(img_emb\.unbind\(\)\)\))"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("make", "pattern"), [row[1:] for row in TENSORS], ids=[row[0] for row in TENSORS])
def test_remedies_of_tensors(make: Callable[[Any], Any], pattern: str) -> None:
    x, t = make(torch.from_numpy(X)), torch.from_numpy(T)
    with pytest.raises((TypeError, ValueError)) as caught:
        hnscore.score(x, t, 0.2, reference=R)
    found = re.search(pattern, str(caught.value))
    assert found, str(caught.value)
    remedy = found.group(1) if "img_emb" in found.group(1) else f"img_emb.{found.group(1)}"
    repaired = eval(remedy, {"torch": torch, "img_emb": x})
    np.testing.assert_allclose(hnscore.score(repaired, t, 0.2, reference=R).numpy(), WANT, rtol=0.05)


def test_tensors_that_have_no_values_to_give() -> None:
    t = torch.from_numpy(T)
    with pytest.raises(ValueError, match="img_emb must have values in CPU memory, got a tensor on device meta"):
        hnscore.score(torch.empty(50, 16, device="meta"), t, 0.2, reference=R)
    with torch._subclasses.FakeTensorMode() as mode:
        fake = mode.from_tensor(torch.from_numpy(X))
    with pytest.raises(TypeError, match="img_emb must have values, got a fake tensor"):
        hnscore.score(fake, t, 0.2, reference=R)
    with pytest.raises(TypeError, match=r"got one inside torch\.vmap"):
        torch.vmap(lambda x: torch.as_tensor(hnscore.score(x, t, 0.2, reference=R)))(torch.from_numpy(X)[None])


def test_tensors_that_are_to_be_negated() -> None:
    """A bit of the tensor says so, which NumPy does not know."""
    complex_ = torch.complex(torch.zeros(50, 16), -torch.from_numpy(X))
    x = complex_.conj().imag
    assert x.is_neg()
    np.testing.assert_array_equal(hnscore.score(x, torch.from_numpy(T), 0.2, reference=R).numpy(), WANT)


COLUMNS: dict[str, Any] = {
    "list of arrays": list(X),
    "tuple of lists": tuple(X.tolist()),
    "object column": np.array([*X, None], object)[:50],
    "object column of one": np.array([*X, None], object)[:50, None],
    "list of tensors": [torch.from_numpy(row) for row in X],
    "list of tensors with gradients": [torch.from_numpy(row.copy()).requires_grad_() for row in X],
    "list of bfloat16 tensors": [torch.from_numpy(row).bfloat16() for row in X],
    "object column of tensors": np.array([*map(torch.from_numpy, X), None], object)[:50],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_read_as_rows(name: str) -> None:
    x = COLUMNS[name]
    want = WANT
    if "bfloat16" in name:
        want = hnscore.score(X.astype(ml_dtypes.bfloat16), T, 0.2, reference=R)
    got = hnscore.score(x, T, 0.2, reference=R)
    assert isinstance(got, np.ndarray)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        ([*X[:-1], X[0, :3]], "rows of one length, got shape (16,) at index 0 and (3,) at index 49"),
        (np.array([*X[:-1], None], object), "got None at index 49"),
        (np.array([*X[:-1], ["a"] * 16, None], object)[:-1], "got dtype <U1 at index 49"),
        ([torch.zeros(3), torch.zeros(4)], "shapes (3,), (4,)"),
        (None, "got None"),
        ({}, "got dtype object"),
    ],
)
def test_columns_that_are_refused(x: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        hnscore.score(x, T, 0.2, reference=R)
    assert str(caught.value).startswith("img_emb ")
    assert says in str(caught.value)


def test_scores_of_one_column() -> None:
    with pytest.raises(ValueError, match=r"pass scores\.ravel\(\)"):
        hnscore.select(WANT[:, None], 3)
    hnscore.select(WANT[:, None].ravel(), 3)


def test_ids_as_owners() -> None:
    ids = np.arange(30) * 1000
    with pytest.raises(ValueError, match=r"turned into rows by np\.unique\(ids, return_inverse=True\)"):
        hnscore.score(X[:30], T, 0.2, owner=ids)
    rows = np.unique(ids, return_inverse=True)[1]
    hnscore.score(X[:30], T, 0.2, owner=rows)


# ---- Types -----------------------------------------------------------------------------------------------------------

SNIPPET = """
import numpy as np, torch, hnscore
x, t = np.zeros((3, 2)), torch.zeros(3, 2)
reveal_type(hnscore.score(x, x, weight="count"))
reveal_type(hnscore.score(t, t, owner=[0, 1, 2]))
reveal_type(hnscore.reference_similarity(t, t))
reveal_type(hnscore.density(x))
reveal_type(hnscore.knn_graph(t, 1))
reveal_type(hnscore.select(None, 2, embeddings=t))
reveal_type(hnscore.core_set(x, 2))
reveal_type(hnscore.Scorer(x, reference=x).score(x))
hnscore.score(x, x, weight="linear")
hnscore.density(x, "gauss")
hnscore.Scorer(x, reference=x, method="fast")
"""
TYPES = ["ndarray", "Tensor", "Tensor", "ndarray", "tuple[torch._tensor.Tensor", "Tensor", "ndarray", "ndarray"]


def test_types_that_users_see(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    (tmp_path / "snippet.py").write_text(SNIPPET)
    out, _, code = api.run(["--no-incremental", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "snippet.py")])
    revealed = re.findall(r'Revealed type is "(.*)"', out)
    assert code == 1
    assert len(revealed) == len(TYPES)
    for seen, expected in zip(revealed, TYPES, strict=True):
        assert expected in seen, out
    errors = [int(x) for x in re.findall(r"snippet\.py:(\d+): error", out)]
    assert errors == [12, 13, 14], out


INSIDE = """
from hnscore.scores.rule import Rule
from hnscore.scores.texts import TextSide
from hnscore.engine.cpu import Array, HostGroups
from hnscore.engine.host import HostRows
from hnscore.engine.protocol import Engine
def text_side(engine: Engine[HostRows, Array, HostGroups], txt: HostRows) -> None:
    TextSide(engine, txt, Rule(margin=0.1, weight="count"))
    TextSide(engine, Rule(margin=0.1), txt)
    Rule(margin="count", weight=0.1)
"""


def test_types_see_swapped_arguments(tmp_path: Path) -> None:
    """Of a call's way inside hnscore, where lists of arguments of no type once were."""
    api = pytest.importorskip("mypy.api")
    snippet = tmp_path / "snippet.py"
    snippet.write_text(INSIDE)
    out, _, code = api.run(["--strict", "--no-incremental", "--cache-dir", str(tmp_path / "cache"), str(snippet)])
    assert code == 1
    errors = [int(x) for x in re.findall(r"snippet\.py:(\d+): error", out)]
    assert sorted(set(errors)) == [9, 10], out
