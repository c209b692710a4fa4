"""Columns of tables as embeddings, values and labels: what they hold, and where nothing is copied."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hnscore
from hnscore.arguments.arrays import read_array

pa = pytest.importorskip("pyarrow")
N, DIM = 20, 4
X = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)
T = np.random.default_rng(1).standard_normal((7, DIM)).astype(np.float32)


def fixed(x: Any = X) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])


def hugging_face(form: str | None) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"e": list(X), "id": list(range(N))}).with_format(form)["e"]


FORMS = (None, "numpy", "arrow", "polars", "torch", "pandas")
COLUMNS: dict[str, Callable[[], Any]] = {
    "fixed": fixed,
    "list": lambda: pa.array(list(X), pa.list_(pa.float32())),
    "large list": lambda: pa.array(list(X), pa.large_list(pa.float32())),
    "tensor": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(X),
    "chunked": lambda: pa.chunked_array([fixed(X[:7]), fixed(X[7:7]), fixed(X[7:])]),
    "table": lambda: pa.table({"e": fixed()}),
    "pandas arrow": lambda: pytest.importorskip("pandas").Series(
        pytest.importorskip("pandas").arrays.ArrowExtensionArray(pa.array(list(X), pa.list_(pa.float32())))
    ),
    "pandas objects": lambda: pytest.importorskip("pandas").Series(list(X)),
    "polars list": lambda: pytest.importorskip("polars").Series(list(X)).cast(
        pytest.importorskip("polars").List(pytest.importorskip("polars").Float32)
    ),
    "polars array": lambda: pytest.importorskip("polars").Series("e", X),
    **{f"hugging face {form}": lambda form=form: hugging_face(form) for form in FORMS},
    "zarr": lambda: pytest.importorskip("zarr").array(X),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_are_those_of_the_array(name: str) -> None:
    np.testing.assert_array_equal(hnscore.score(COLUMNS[name](), T, 0.2), hnscore.score(X, T, 0.2))


@pytest.mark.parametrize("name", ["fixed", "list", "large list", "tensor", "table"])
def test_one_chunk_is_read_where_it_lies(name: str) -> None:
    column = COLUMNS[name]()
    array, _ = read_array("x", column)
    again, _ = read_array("x", column)
    assert array.ctypes.data == again.ctypes.data


def test_slices_begin_where_they_do() -> None:
    for column in (fixed()[3:9], COLUMNS["list"]()[3:9], COLUMNS["large list"]()[3:9]):
        np.testing.assert_array_equal(read_array("x", column)[0], X[3:9])
    assert read_array("x", fixed()[:0])[0].shape == (0, DIM)


def test_values_and_labels() -> None:
    r = np.linspace(0.1, 0.5, 7)
    wanted = hnscore.score(X, T, 0.2, reference=r, img_groups=np.arange(N) % 3, txt_groups=np.arange(7) % 3)
    words = np.array(["a", "b", "c"])
    got = hnscore.score(
        X, T, 0.2, reference=pa.array(r), img_groups=pa.array(words[np.arange(N) % 3]),
        txt_groups=pa.chunked_array([words[np.arange(7) % 3].tolist()]),
    )  # fmt: skip
    np.testing.assert_array_equal(got, wanted)
    assert hnscore.select(pa.array([0.1, 0.5, 0.3]), 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (lambda: pa.array([[1.0, 2.0], None, [3.0, 4.0]]), "null at index 1"),
        (lambda: pa.array([[1.0, 2.0], [3.0, None]]), "null at index 1, in column 1"),
        (lambda: pa.chunked_array([[[1.0, 2.0]], [[1.0, 2.0], [3.0]]]), "got 1 values at index 2 and 2 before it"),
        (lambda: pa.chunked_array([fixed(X[:3]), pa.array([None], fixed().type)]), "null at index 3"),
        (lambda: pa.table({"a": fixed(), "b": fixed()}), r"img_emb\['a'\], img_emb\['b'\]"),
        (lambda: pa.array(["a", "b"]), "must hold real numbers"),
    ],
)
def test_what_is_wrong_is_named(column: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        hnscore.score(column(), T[:, :2], 0.2)


def test_nulls_among_values() -> None:
    with pytest.raises(ValueError, match=r"reference must hold .* null at index 2"):
        hnscore.score(X, T, 0.2, reference=pa.array([0.1, 0.2, None, 0.1, 0.1, 0.1, 0.1]))
