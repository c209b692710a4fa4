"""Datasets: the rows and ids of shards of every kind; what functions make of them; errors that name the shard."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pools
import pytest
import torch
from pools import CUTS, IDS, IMG, KINDS, N_TXT, TXT, WITH_IDS, N

import hnscore
from hnscore.datasets import dataset as reading
from hnscore.engine.host import host_rows
from hnscore.engine.protocol import Request
from hnscore.engine.running import RunningBest

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several a shard."""
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 2 * pools.DIM * 77)


@pytest.fixture
def pool(tmp_path: Path) -> hnscore.Dataset:
    return hnscore.dataset(pools.write(tmp_path / "pool", "npy"))


def open_kind(tmp_path: Path, kind: str, **options: Any) -> hnscore.Dataset:
    if kind == "safetensors":
        pytest.importorskip("safetensors")
    return hnscore.dataset(pools.write(tmp_path / kind, kind), **options)


# ---- Rows and ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_their_order(tmp_path: Path, kind: str) -> None:
    pool = open_kind(tmp_path, kind, column="emb" if kind == "npz" else None)
    assert pool.shape == (N, pools.DIM)
    assert [shard.first for shard in pool.shards] == list(CUTS[:-1])
    np.testing.assert_array_equal(np.concatenate([block.rows for block in pool.blocks()]), IMG)
    rows = np.random.default_rng(0).integers(0, N, 60)
    np.testing.assert_array_equal(pool.take(rows), IMG[rows])
    assert len(pool.take([])) == 0
    assert len(pool.sample()) > 0


@pytest.mark.parametrize("kind", WITH_IDS)
def test_ids(tmp_path: Path, kind: str) -> None:
    pool = open_kind(tmp_path, kind, ids="id")
    rows = np.random.default_rng(0).integers(0, N, 60)
    assert (pool.ids_of(rows) == IDS[rows]).all()
    assert (pool.rows_of(IDS[rows]) == rows).all()
    with pytest.raises(ValueError, match="'nobody', which no row has"):
        pool.rows_of(["im0001", "nobody"])


def test_ids_beside_arrays(tmp_path: Path) -> None:
    """As img2dataset and clip-retrieval leave them."""
    pools.write(tmp_path / "img_emb", "npy")
    pools.write(tmp_path / "metadata", "fixed")
    pool = hnscore.dataset(tmp_path / "img_emb", metadata=tmp_path / "metadata", ids="id")
    assert pool.ids_of([0, 899]).tolist() == ["im0000", "im0899"]
    with pytest.raises(FileNotFoundError, match="pass one of its folders, img_emb, metadata"):
        hnscore.dataset(tmp_path)
    with pytest.raises(ValueError, match="metadata must have one file for each of source, got 1 for 5"):
        hnscore.dataset(tmp_path / "img_emb", metadata=tmp_path / "metadata/0.parquet", ids="id")


def test_order_of_lists_and_patterns(tmp_path: Path) -> None:
    folder = pools.write(tmp_path / "pool", "npy")
    assert [shard.name for shard in hnscore.dataset(f"{folder}/*.npy").shards] == [f"{i}.npy" for i in range(5)]
    pool = hnscore.dataset([folder / "4.npy", folder / "0.npy"])
    np.testing.assert_array_equal(pool.take([0, 450]), IMG[[450, 0]])


def test_one_embedding_a_file(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", IMG[i])
    np.testing.assert_array_equal(hnscore.dataset(tmp_path).take([2, 0]), IMG[[2, 0]])


def test_bfloat16(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    rows = torch.from_numpy(IMG.astype(np.float32)).bfloat16()
    save_file({"emb": rows}, tmp_path / "0.safetensors")
    pool = hnscore.dataset(tmp_path)
    assert "bfloat16" in repr(pool)
    wanted = hnscore.score(rows, torch.from_numpy(TXT), 0.1).numpy()
    np.testing.assert_array_equal(hnscore.score(pool, TXT, 0.1), wanted)


def test_files_in_a_store(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for kind in ("npy", "fortran", "fixed", "arrow"):
        folder = pools.write(tmp_path / kind, kind)
        for path in folder.iterdir():
            memory.pipe_file(f"/pool/{kind}/{path.name}", path.read_bytes())
        pool = hnscore.dataset(f"memory://pool/{kind}", ids="id" if kind in WITH_IDS else None)
        np.testing.assert_array_equal(np.concatenate([block.rows for block in pool.blocks()]), IMG)


def test_as_an_array(pool: hnscore.Dataset) -> None:
    np.testing.assert_array_equal(np.asarray(pool), IMG)
    assert np.asarray(pool, np.float64).dtype == np.float64
    rows = hnscore.Pool(pool).search(TXT, 3)[1]
    np.testing.assert_array_equal(rows, hnscore.Pool(IMG).search(TXT, 3)[1])


# ---- Functions -------------------------------------------------------------------------------------------------------

OWNERS = np.random.default_rng(1).integers(0, N, N_TXT)
LABELS = np.random.default_rng(2).integers(0, 5, N), np.random.default_rng(3).integers(0, 5, N_TXT)
R = np.random.default_rng(4).uniform(0.2, 0.5, N_TXT)
RULES: list[dict[str, Any]] = [
    {},
    {"reference": R, "weight": "count"},
    {"owner": OWNERS},
    {"owner": OWNERS, "reference": R},
    {"owner": OWNERS % 30, "paired_emb": IMG[:30]},
    {"reference": TXT * 0.5 + 1},
    {"reference": R, "img_groups": LABELS[0], "txt_groups": LABELS[1]},
    {"reference": R, "top_k_images": 20},
    {"reference": R, "top_k_images": 20, "skip_top_images": 3},
    {"skip_top_images": 5},
    {"owner": OWNERS, "top_k_images": 10, "img_groups": LABELS[0], "txt_groups": LABELS[1]},
    {"minibatch": 20, "random_state": 3, "owner": OWNERS, "top_k_images": 9},
    {"reference": R, "aggregate": "topk", "k": 2},
    {"reference": R, "precision": "bf16"},
]


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "+".join(rule) or "default")
@pytest.mark.parametrize("method", ["dense", "cascade"])
def test_score_has_the_bits_of_one_array(pool: hnscore.Dataset, rule: dict[str, Any], method: str) -> None:
    if "precision" in rule and method == "cascade":
        pytest.skip("a cascade is exact")
    wanted = hnscore.score(IMG, TXT, 0.1, method=method, **rule)
    assert wanted.any()
    np.testing.assert_array_equal(hnscore.score(pool, TXT, 0.1, method=method, **rule), wanted)


def test_score_of_tensors(pool: hnscore.Dataset) -> None:
    got = hnscore.score(pool, torch.from_numpy(TXT), 0.1, method="dense")
    np.testing.assert_array_equal(got, hnscore.score(IMG, TXT, 0.1, method="dense"))


MINED: list[dict[str, Any]] = [
    {},
    {"owner": OWNERS, "margin": 0.05},
    {"owner": [[1, 2], [3]] * (N_TXT // 2), "margin": -1.0, "skip": 2},
    {"reference": "pool_max", "margin": 0.1, "img_groups": LABELS[0], "txt_groups": LABELS[1]},
    {"max_similarity": 0.5, "min_similarity": 0.2, "closed": False},
    {"max_similarity": 0.5, "owner": OWNERS, "sampling": "random", "random_state": 0},
]


@pytest.mark.filterwarnings("ignore:.*texts have fewer")
@pytest.mark.parametrize("rule", MINED, ids=lambda rule: "+".join(rule) or "default")
def test_mine(pool: hnscore.Dataset, rule: dict[str, Any]) -> None:
    for got, wanted in zip(hnscore.mine(pool, TXT, 5, **rule), hnscore.mine(IMG, TXT, 5, **rule), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_blocks_in_any_order_leave_ties_to_the_lowest_row() -> None:
    """As they may come from workers; the last hundred rows are copies of the first."""
    texts, request = host_rows("txt_emb", IMG[:100]), Request(similarity="cosine")
    wanted = hnscore.mine(IMG, IMG[:100], 1)
    starts = np.arange(0, N, 100)
    for order in (starts, starts[::-1], np.random.default_rng(0).permutation(starts)):
        running = RunningBest(texts, 1, request, 1)
        for first in order.tolist():
            running.add(host_rows("img_emb", IMG[first : first + 100]), first)
        np.testing.assert_array_equal(running.values, wanted[0])
        np.testing.assert_array_equal(running.rows, wanted[1])
        assert (running.rows[:, 0] < 100).all()


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
def test_the_other_functions(pool: hnscore.Dataset) -> None:
    made: dict[str, Any] = {
        "duplicates": lambda x: hnscore.duplicates(x, 0.9),
        "select": lambda x: hnscore.select(None, 9, embeddings=x),
        "core_set": lambda x: hnscore.core_set(x, 9),
        "density": hnscore.density,
        "against": lambda x: hnscore.density(x, "kernel", temperature=0.1, against=TXT),
        "density of others": lambda x: hnscore.density(TXT, against=x),
        "pairs": lambda x: hnscore.pairs(x, TXT, 0.1),
        "range_graph": lambda x: hnscore.range_graph(x, 0.8),
        "knn_graph": lambda x: hnscore.knn_graph(x, 3),
    }
    for name, make in made.items():
        got, wanted = make(pool), make(IMG)
        both = zip(got, wanted, strict=True) if isinstance(wanted, tuple) else [(got, wanted)]
        for a, b in both:
            np.testing.assert_array_equal(a, b, err_msg=name)
            assert a.dtype == b.dtype


def test_nothing_is_left_of_a_copy(pool: hnscore.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    hnscore.core_set(pool, 3)
    assert not os.listdir(tmp_path / "tmp")


# ---- What is wrong ---------------------------------------------------------------------------------------------------


def test_shards_that_differ_are_named(tmp_path: Path) -> None:
    folder = pools.write(tmp_path / "pool", "npy")
    for rows, message in ((IMG[:3, :8], "dim 8 in float16"), (IMG[:3].astype(np.float32), "dim 16 in float32")):
        np.save(folder / "9.npy", rows)
        with pytest.raises(hnscore.ShardError, match=rf"9\.npy holds rows of {message}, shard .*0\.npy of dim 16"):
            hnscore.dataset(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_that_are_cut_short_are_named(tmp_path: Path, kind: str) -> None:
    folder = open_kind(tmp_path, kind, column="emb" if kind == "npz" else None).shards[4].location.path
    with open(folder, "r+b") as file:
        file.truncate(os.path.getsize(folder) - 200)
    with pytest.raises(hnscore.ShardError, match=os.path.basename(folder)) as caught:  # its header may still be there
        hnscore.score(hnscore.dataset(tmp_path / kind, column="emb" if kind == "npz" else None), TXT, 0.1, reference=R)
    assert caught.value.shard == 4


def test_bad_rows_are_named_with_their_shard(tmp_path: Path) -> None:
    img = IMG.copy()
    img[460, 3] = np.nan
    pool = hnscore.dataset(pools.write(tmp_path / "pool", "npy", img))
    for call in (lambda: hnscore.score(pool, TXT, 0.1), lambda: hnscore.mine(pool, TXT, 3)):
        with pytest.raises(hnscore.ShardError, match=r"4\.npy cannot be used: .*NaN or Inf in row 10"):
            call()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], None], "null at index 1"),
        ([[1.0, 2.0], [1.0, None]], "null at index 1, in column 1"),
        ([[1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0], [1.0]], "got 3 values at index 1"),
    ],
)
def test_nulls_and_ragged_rows_are_named(tmp_path: Path, values: Any, message: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"emb": pa.array(values)}), tmp_path / "0.parquet")
    with pytest.raises(hnscore.ShardError, match=f"0.parquet cannot be used: .*{message}"):
        hnscore.score(hnscore.dataset(tmp_path), TXT[:, :2], 0.1)


def test_rows_of_a_length_that_was_not_announced_are_named(tmp_path: Path) -> None:
    """By what the file counts they have two values each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = pa.array([[1.0, 2.0, 3.0]] * 4 + [[1.0]] * 4)
    pq.write_table(pa.table({"emb": values}), tmp_path / "0.parquet", row_group_size=4)
    pool = hnscore.dataset(tmp_path)
    with pytest.raises(
        hnscore.ShardError, match=r"0\.parquet cannot be used: it holds rows of shape|rows of one length"
    ):
        hnscore.score(pool, TXT[:, : pool.shape[1]], 0.1)


@pytest.mark.parametrize(
    ("ids", "message"), [(["a", "b", "a"], "'a' at index 0 and at index 2"), (["a", None, "b"], "null at index 1")]
)
def test_ids_that_are_missing_or_there_twice(tmp_path: Path, ids: Any, message: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ids, "emb": pa.array(list(TXT[:3]))}), tmp_path / "0.parquet")
    with pytest.raises(hnscore.ShardError, match=message):
        hnscore.dataset(tmp_path, ids="id").ids(0)


def test_texts_of_another_dim(pool: hnscore.Dataset, tmp_path: Path) -> None:
    calls: list[Any] = [
        lambda: hnscore.score(pool, TXT[:, :8], 0.1),
        lambda: hnscore.mine(pool, TXT[:, :8], 3),
        lambda: hnscore.shards.score(pool, TXT[:, :8], 0.1, output=tmp_path / "out"),
        lambda: hnscore.shards.mine(pool, TXT[:, :8], 3, output=tmp_path / "out"),
        lambda: hnscore.shards.density(pool, against=TXT[:, :8], output=tmp_path / "out"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"has dim 8, .* has dim 16"):
            call()
        assert not (tmp_path / "out").exists()


def test_what_is_asked_for_wrongly(tmp_path: Path) -> None:
    folder = pools.write(tmp_path / "pool", "fixed")
    wrong: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (tmp_path / "nope", {}, FileNotFoundError, "is not there"),
        (f"{folder}/*.npy", {}, FileNotFoundError, "no file is named like"),
        (folder, {"column": "id"}, ValueError, "holds string, expected lists of numbers; pass column='emb'"),
        (folder, {"column": "x"}, ValueError, "it has no column 'x'; pass one of 'id', 'emb'"),
        (folder, {"metadata": folder}, ValueError, "metadata must come with ids"),
        (IMG, {}, TypeError, "source must be a path, pattern, URI"),
        ("zzz://bucket/x", {}, ValueError, "zzz"),
    ]
    for source, options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            hnscore.dataset(source, **options)
    with pytest.raises(ValueError, match="these have none; pass metadata"):
        hnscore.dataset(pools.write(tmp_path / "npy", "npy"), ids="id")


def test_what_a_store_says_is_one_line() -> None:
    pytest.importorskip("s3fs")
    keys = {
        "key": "a",
        "secret": "b",
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"total_max_attempts": 1}},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(OSError, match="s3://bucket/pool: ") as caught:
            hnscore.dataset("s3://bucket/pool", storage_options=keys)
    assert "\n" not in str(caught.value)
