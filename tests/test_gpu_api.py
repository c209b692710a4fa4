"""Arrays on a GPU: every keyword, every kind of side array, chunks, streams, errors. Tolerances: tolerances.py.

On pretended GPUs (gpus.py), and on a real one where there is one.
"""

import contextlib
import gc
import pickle
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from fake_cuda import Device, FakeCuda, at, capsule_of
from gpus import PRETENDED, REAL, Gpu, OnGpu, a_gpu
from numpy.typing import NDArray
from tolerances import assert_score, norm_products

import hnscore
from hnscore import _core
from hnscore import reference as ref
from hnscore.engine.memory import device as _device
from hnscore.engine.memory import libraries, reports
from hnscore.engine.memory import stream as _gpu_stream
from hnscore.selections import coverage
from hnscore.selections.tensor_passes import TensorPasses

pytestmark = pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")

RNG = np.random.default_rng(0)
IMG = RNG.standard_normal((40, 12)).astype(np.float32)
TXT = RNG.standard_normal((17, 12)).astype(np.float32)
OWN = RNG.standard_normal((17, 12)).astype(np.float32)
R = np.full(17, 0.5)
LIMITS = RNG.uniform(0.2, 0.9, 17)
IMG_LABELS, TXT_LABELS = np.arange(40) % 9, np.arange(17) % 9
LABELS = {"img_groups": IMG_LABELS, "txt_groups": TXT_LABELS}


@pytest.fixture(params=[*PRETENDED, *REAL])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    yield from a_gpu(request.param, monkeypatch)


@pytest.fixture(params=["late", "at random"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    for gpu in a_gpu(request.param, monkeypatch):
        yield gpu
        assert used(gpu) == 0, "memory was not given back"


def used(fake: Gpu, expected: int = 0) -> int:
    """Bytes on the devices."""
    for device in range(2):
        fake.backend.synchronize_device(device)
    _device.release()
    if fake.backend.used != expected:
        gc.collect()
    return int(fake.backend.used)


def on_gpu(gpu: Gpu, rules: dict[str, Any]) -> dict[str, Any]:
    return {
        name: gpu.put(rule) if isinstance(rule, np.ndarray) and rule.dtype.kind != "U" else rule
        for name, rule in rules.items()
    }


def check(scores: NDArray[Any], img: NDArray[Any], txt: NDArray[Any], margin: float, **rules: Any) -> None:
    similarity = rules.pop("similarity", "cosine")
    s = ref.similarity_matrix(img, txt, similarity)
    paired = rules.pop("paired_emb", None)
    if "owner" in rules and isinstance(rules.get("reference", ""), str):
        own = (img if paired is None else paired)[rules["owner"]]
        rules["reference"] = ref.pair_similarity(own, txt, similarity)
    if paired is not None:
        del rules["owner"]
    if np.ndim(rules.get("reference", 0)) == 2:
        rules["reference"] = ref.pair_similarity(rules["reference"], txt, similarity)
    assert_score(scores, s, norm_products(img, txt, similarity), margin, label=rules, **rules)


# ---- Scores ----------------------------------------------------------------------------------------------------------

OWNER = np.arange(17) * 3 % 17
STRINGS = (
    np.char.add("photo-", LABELS["img_groups"].astype(str)),
    np.char.add("photo-", LABELS["txt_groups"].astype(str)),
)

RULES: list[dict[str, Any]] = [
    {},
    {"weight": "count"},
    {"reference": "paired"},
    {"reference": R},
    *({"reference": R, name: values[0]} for name, values in ref.MARGINS.items()),
    {"reference": OWN},
    {"reference": R, "weight": "squared_hinge", "aggregate": "mean"},
    {"reference": OWN, "weight": "similarity", "aggregate": "max"},
    {"reference": R, "weight": "exp", "temperature": 0.1, "aggregate": "topk", "k": 3},
    {"weight": "count", "aggregate": "topk", "k": 2, "reference": R},
    {"weight": "count", "minibatch": 7, "random_state": 3},
    {"reference": OWN, "minibatch": 7, "random_state": 3, "max_similarity": LIMITS},
    {"reference": R, "minibatch": 7, "random_state": 3, "aggregate": "mean"},
    {"reference": "paired", "minibatch": 7, "random_state": 3, "top_k_images": 5},
    {"top_k_images": 4, "max_similarity": 0.6},
    {"top_k_images": 40, "max_similarity": np.full(17, np.inf)},
    {"top_k_images": 3, "weight": "count", **LABELS},
    {"minibatch": 9, "random_state": 0, **LABELS},
    {"similarity": "dot", "reference": R, "max_similarity": LIMITS.astype(np.float32)},
    {"owner": OWNER},
    {"owner": OWNER, "reference": R, "weight": "count"},
    {"owner": OWNER % 9, "paired_emb": OWN[:9], "minibatch": 7, "random_state": 3},
    {"owner": OWNER, "minibatch": 7, "random_state": 3, "top_k_images": 4},
    {"reference": R, "skip_top_images": 3},
    {"owner": OWNER, "skip_top_images": 2, "top_k_images": 6, "weight": "count", "max_similarity": 0.6},
    {"skip_top_images": 40, "weight": "count"},
    {"skip_top_images": 1, "aggregate": "topk", "k": 2, "reference": R},
    {"img_groups": STRINGS[0], "txt_groups": STRINGS[1], "weight": "count"},
]


@pytest.mark.parametrize("rules", RULES)
def test_every_rule(gpu: Gpu, rules: dict[str, Any]) -> None:
    img = IMG[:17] if isinstance(rules.get("reference"), str) else IMG
    for side in (rules, on_gpu(gpu, rules)):  # side arrays of the host, and on the device
        scores = hnscore.score(gpu.put(img), gpu.put(TXT), 0.4, **side)
        check(gpu.get(scores), img, TXT, 0.4, **rules)


DTYPES = ["float16", "bfloat16", "float64", "int8", "uint8", "int16", "int32", "int64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_layouts(gpu: Gpu, dtype: str) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    img, txt, own = ((20 * np.abs(x)).astype(kind) for x in (IMG, TXT, OWN))
    wide = np.zeros((80, 36), kind)
    wide[::2, 1::3] = img
    columns = np.ascontiguousarray(txt.T)
    scores = [
        gpu.get(hnscore.score(gpu.put(img), gpu.put(txt), 0.3, reference=gpu.put(own))),
        gpu.get(hnscore.score(gpu.view(gpu.put(wide), slice(None, None, 2), slice(1, None, 3)), gpu.put(txt), 0.3,
                              reference=own)),
    ]  # fmt: skip
    if gpu.tensors:
        scores.append(gpu.get(hnscore.score(gpu.put(img), gpu.put(columns).t(), 0.3, reference=gpu.put(own))))
    check(scores[0], img, txt, 0.3, reference=own)
    for other in scores[1:]:
        np.testing.assert_array_equal(other, scores[0])


def test_strides_below_one(gpu: Gpu) -> None:
    img, txt = gpu.put(IMG), gpu.put(np.broadcast_to(TXT[0], (17, 12)))
    plain = gpu.get(hnscore.score(img, txt, reference=R))
    if gpu.tensors:
        one = gpu.put(TXT[:1]).expand(17, 12)
        np.testing.assert_array_equal(gpu.get(hnscore.score(img, one, reference=R)), plain)
    elif isinstance(img, OnGpu):
        back = gpu.view(gpu.put(IMG[::-1, ::-1]), slice(None, None, -1), slice(None, None, -1))
        one = gpu.put(TXT[:1])
        one = OnGpu(np.lib.stride_tricks.as_strided(one.array, (17, 12), (0, 4)), owner=one)
        np.testing.assert_array_equal(gpu.get(hnscore.score(back, one, reference=R)), plain)


@pytest.mark.parametrize("precision", ["exact", "fp32", "bf16", "fp16"])
def test_every_precision_runs(gpu: Gpu, precision: str) -> None:
    scores = gpu.get(hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.4, reference=R, precision=precision))
    np.testing.assert_allclose(scores, ref.score(IMG, TXT, 0.4, reference=R), atol=0.1)


@pytest.mark.parametrize("method", ["auto", "dense", "cascade"])
def test_every_method_counts_alike(gpu: Gpu, method: str) -> None:
    got = hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.4, reference=R, weight="count", method=method)
    np.testing.assert_array_equal(gpu.get(got), ref.score(IMG, TXT, 0.4, reference=R, weight="count"))


def test_labels_of_any_width(gpu: Gpu) -> None:
    plain = ref.score(IMG, TXT, 0.9, reference=R, **LABELS)
    for img_dtype, txt_dtype in (("int8", "int64"), ("uint8", "int16"), ("int32", "uint8")):
        groups = {"img_groups": gpu.put(IMG_LABELS.astype(img_dtype)), "txt_groups": TXT_LABELS.astype(txt_dtype)}
        for sides in (
            groups,
            {name: gpu.put(np.array(x)) if isinstance(x, np.ndarray) else x for name, x in groups.items()},
        ):
            scores = gpu.get(hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.9, reference=R, **sides))
            np.testing.assert_allclose(scores, plain, rtol=1e-6)


def test_no_label_is_special(gpu: Gpu) -> None:
    everything = gpu.get(hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.9, reference=R))
    top, signed = np.uint64(2**64 - 1), np.int64(-1)
    cases = [(top, top, True), (signed, signed, True), (top, signed, False), (signed, top, False)]
    for img_label, txt_label, equal in cases:
        groups = {"img_groups": np.full(40, img_label), "txt_groups": np.full(17, txt_label)}
        scores = gpu.get(hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.9, reference=R, **groups))
        np.testing.assert_array_equal(scores, 0 if equal else everything)


def test_an_empty_pool_has_empty_scores(gpu: Gpu) -> None:
    for rules in ({"top_k_images": 5}, {"reference": R}, {"weight": "count"}):
        scores = hnscore.score(gpu.put(IMG[:0]), gpu.put(TXT), **rules)  # type: ignore[arg-type]
        assert tuple(scores.shape) == (0,)
        assert gpu.get(scores).dtype == (np.int64 if "weight" in rules else np.float32)


# ---- Scorers ---------------------------------------------------------------------------------------------------------

SCORERS: list[dict[str, Any]] = [
    {"reference": R},
    {"reference": OWN, "weight": "count"},
    {"reference": R, "max_similarity": LIMITS, "aggregate": "topk", "k": 2},
    {"reference": OWN, "minibatch": 7, "random_state": 3},
    {"reference": R, "minibatch": 7, "random_state": 3, "weight": "count", **LABELS},
]


def a_scorer(gpu: Gpu, rules: dict[str, Any]) -> hnscore.Scorer:
    txt = gpu.put(TXT)
    sides = on_gpu(gpu, {name: rule for name, rule in rules.items() if name != "img_groups"})
    return hnscore.Scorer(txt, 0.4, **sides)


def labels_of(rules: dict[str, Any], part: slice) -> Any:
    return rules["img_groups"][part] if "img_groups" in rules else None


@pytest.mark.parametrize("rules", SCORERS)
def test_chunks_get_the_bits_of_one_call(gpu: Gpu, rules: dict[str, Any]) -> None:
    whole = gpu.get(hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.4, **rules))
    scorer = a_scorer(gpu, rules)
    assert "17 texts" in repr(scorer) or "minibatch" in rules
    for one in (scorer, pickle.loads(pickle.dumps(scorer))):
        for size in (7, 40):
            parts = [slice(start, start + size) for start in range(0, 40, size)]
            scores = [one.score(gpu.put(IMG[part]), img_groups=labels_of(rules, part)) for part in parts]
            np.testing.assert_array_equal(np.concatenate([gpu.get(x) for x in scores]), whole)


@pytest.mark.parametrize(
    ("kind", "rules"),
    list(zip(["array", "memmap", "big-endian", "Fortran", "tensor", "bfloat16"], [*SCORERS, SCORERS[0]], strict=True)),
)
def test_chunks_of_the_host(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, rules: dict[str, Any]
) -> None:
    """Through buffers of 7 rows, while scores of the rows before them are computed."""
    monkeypatch.setattr(_gpu_stream, "_BUFFER_BYTES", 7 * 12 * 4)
    monkeypatch.setattr(_gpu_stream, "_LEAST_ROWS", 7)
    monkeypatch.setattr(_gpu_stream, "_PART_BYTES", 100)
    img: Any = IMG
    if kind == "bfloat16":
        img = IMG.astype(ml_dtypes.bfloat16)
    whole = gpu.get(hnscore.score(gpu.put(img), gpu.put(TXT), 0.4, **rules))
    if kind == "memmap":
        np.save(tmp_path / "img.npy", IMG)
        img = np.load(tmp_path / "img.npy", mmap_mode="r")
    elif kind == "big-endian":
        img = IMG.astype(">f4")
    elif kind == "Fortran":
        img = np.asfortranarray(IMG)
    elif kind == "tensor":
        img = torch.from_numpy(IMG)
    scorer = a_scorer(gpu, rules)
    for n in (40, 15, 3):
        scores = scorer.score(img[:n], img_groups=labels_of(rules, slice(n)))
        assert type(scores) is (torch.Tensor if kind == "tensor" else np.ndarray)
        np.testing.assert_array_equal(np.asarray(scores), whole[:n])
    assert scorer.score(IMG[:0], img_groups=labels_of(rules, slice(0))).shape == (0,)


def test_bad_rows_of_the_host_are_named_at_once(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gpu_stream, "_BUFFER_BYTES", 7 * 12 * 4)
    monkeypatch.setattr(_gpu_stream, "_LEAST_ROWS", 7)
    scorer = hnscore.Scorer(gpu.put(TXT), 0.4, reference=R)
    bad = IMG.copy()
    bad[[23, 31], 0] = np.nan
    with pytest.raises(ValueError, match="img_chunk must be finite, got NaN or Inf in rows 23, 31"):
        scorer.score(bad)
    bad = IMG.copy()
    bad[11] = 0
    with pytest.raises(ValueError, match=r"img_chunk must have no zero rows .* row 11 "):
        scorer.score(bad)
    assert np.isfinite(scorer.score(IMG)).all()
    txt = TXT.copy()
    txt[5, 3] = np.inf
    scorer = hnscore.Scorer(gpu.put(txt), 0.4, reference=R)
    with pytest.raises(ValueError, match="txt_emb must be finite, got NaN or Inf in row 5 "):
        scorer.score(IMG)


def test_an_interrupt_leaves_nothing_running(fake: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gpu_stream, "_BUFFER_BYTES", 0)
    monkeypatch.setattr(_gpu_stream, "_LEAST_ROWS", 4)
    scorer = hnscore.Scorer(fake.put(TXT), 0.4, reference=R, show_progress_bar=True)
    hnscore.cuda.check()

    def interrupt(*arguments: Any) -> Any:
        return lambda share: (_ for _ in ()).throw(KeyboardInterrupt()) if share > 0.4 else None

    with monkeypatch.context() as patch:
        patch.setattr("hnscore.scores.scorer.rows_bar", interrupt)
        with pytest.raises(KeyboardInterrupt):
            scorer.score(IMG)
    assert not any(queue for stream, queue in fake.backend.streams[0].queues.items() if stream), "copies go on"
    np.testing.assert_allclose(scorer.score(IMG), ref.score(IMG, TXT, 0.4, reference=R), rtol=1e-5)


def test_the_texts_are_the_scorers_own(gpu: Gpu) -> None:
    txt = gpu.put(TXT)
    scorer = hnscore.Scorer(txt, 0.4, reference=R)
    if isinstance(txt, OnGpu):
        gpu.backend.synchronize_device(0)
        txt.array[:] = np.nan
    elif gpu.tensors:
        txt[:] = np.nan
    check(gpu.get(scorer.score(gpu.put(IMG))), IMG, TXT, 0.4, reference=R)


# ---- Streams, devices, libraries -------------------------------------------------------------------------------------


class OnStream(OnGpu):
    """Of a library whose arrays are made on a stream of its own."""

    def __init__(self, fake: Gpu, x: NDArray[Any], stream: int) -> None:
        made = fake.put(np.full_like(x, np.nan))
        super().__init__(made.array, owner=made)
        self.fake, self.stream = fake, stream
        fake.backend.streams[0].order(0, stream)
        fake.backend.streams[0].queue(stream, lambda: np.copyto(made.array, x))

    def __dlpack__(self, *, stream: int | None = None) -> object:
        assert stream not in (None, 0), "which stream, DLPack wants to know"
        self.fake.backend.streams[0].order(self.stream, 0 if stream == 1 else stream)  # type: ignore[arg-type]
        return super().__dlpack__(stream=stream)


def test_streams_are_handed_over(fake: Gpu) -> None:
    """What is still being made is waited for, on the device; and whoever takes the result waits for it."""
    img, txt, own = (OnStream(fake, x, 5 + i) for i, x in enumerate((IMG, TXT, OWN)))
    waits = fake.backend.waits
    scores = hnscore.score(img, txt, 0.4, reference=own)
    assert fake.backend.waits == waits, "a call on a GPU waits for nothing"
    check(fake.get(scores), IMG, TXT, 0.4, reference=OWN)

    exported = libraries.Exported(
        space := libraries.DlpackSpace(fake.backend, 0), space.values(space.array("x", img), "float32")
    )
    before = fake.backend.streams[0].count
    exported.__dlpack__(stream=-1)
    assert fake.backend.streams[0].count == before
    exported.__dlpack__(stream=77)
    fake.backend.synchronize(0, 77)
    assert not fake.backend.streams[0].queues[0], "stream 77 has to wait for what stream 0 makes"
    assert exported.__dlpack_device__() == (2, 0)


def test_tensors_are_recorded_on_the_streams_that_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch's allocator is told of a Scorer that is made on stream 1 and used on stream 2."""
    told: list[Any] = []

    class Stream:
        cuda_stream = 1

        def wait_event(self, event: Any) -> None:
            told.append(("waits for", event.recorded_on, self.cuda_stream))

    class Event:
        def record(self, stream: Stream) -> None:
            self.recorded_on = stream.cuda_stream

    class Tensor:
        def record_stream(self, stream: Stream) -> None:
            told.append(("is read on", stream.cuda_stream))

    stream = Stream()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    backend = FakeCuda()
    kept = _device.Kept(libraries.TorchSpace(backend, 0), [Tensor()])
    with kept.read_on(libraries.TorchSpace(backend, 0)):
        assert told == []
    stream = Stream()
    stream.cuda_stream = 2
    with kept.read_on(libraries.TorchSpace(backend, 0)):
        assert told == [("waits for", 1, 2), ("is read on", 2)]
    backend.captured = True
    with kept.read_on(libraries.TorchSpace(backend, 0)):
        assert len(told) == 2


class Hasty(OnGpu):
    """Of a library that uses memory anew as soon as nobody holds the array, whatever its streams have to do."""

    def __init__(self, x: NDArray[Any]) -> None:
        self._memory = np.array(x)
        super().__init__(self._memory)

    def __dlpack__(self, *, stream: int | None = None) -> object:
        memory = self._memory
        view = at(memory.ctypes.data, memory.shape, memory.dtype, owner=(holder := type("Holder", (), {})()))
        weakref.finalize(holder, memory.fill, 0)
        return capsule_of(view, 0)


def test_arrays_are_held_until_they_are_read(fake: Gpu) -> None:
    scores = hnscore.score(Hasty(IMG), Hasty(TXT), 0.4, reference=Hasty(OWN))
    check(fake.get(scores), IMG, TXT, 0.4, reference=OWN)
    scorer = hnscore.Scorer(Hasty(TXT), 0.4, reference=R)
    check(fake.get(scorer.score(Hasty(IMG))), IMG, TXT, 0.4, reference=R)
    hnscore.cuda.check()
    assert not _device._held


def test_each_call_uses_the_device_of_its_arrays(fake: Gpu) -> None:
    scores = hnscore.score(fake.put(IMG, 1), fake.put(TXT, 1), 0.4, reference=fake.put(R, 1))
    assert scores.__dlpack_device__() == (2, 1)
    assert not fake.backend.streams[0].queues, "device 0 has nothing to do"
    check(fake.get(scores), IMG, TXT, 0.4, reference=R)


def test_a_library_without_a_namespace_gets_dlpack(fake: Gpu) -> None:
    class Plain(OnGpu):
        __array_namespace__ = None  # type: ignore[assignment]

    scores = hnscore.score(Plain(fake.put(IMG).array), fake.put(TXT), 0.4, reference=R)
    check(fake.get(OnGpu.from_dlpack(scores)), IMG, TXT, 0.4, reference=R)


@pytest.mark.parametrize("first", [0, 9])
def test_a_scorer_on_several_streams(fake: Gpu, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed on one stream, read on another, which the first then waits for before the memory goes."""
    img = OnStream(fake, IMG, 5)
    scorer = hnscore.Scorer(fake.put(TXT), 0.4, reference=R)
    init = _device.Space.__init__
    monkeypatch.setattr(_device.Space, "__init__", lambda self, gpu, device, stream: init(self, gpu, device, 9))
    scores = scorer.score(img)
    del scorer, img
    fake.backend.synchronize(0, first)
    check(fake.get(scores), IMG, TXT, 0.4, reference=R)


# ---- Values that only the device knows -------------------------------------------------------------------------------


def with_value(array: NDArray[Any], row: int, value: float) -> NDArray[Any]:
    array = array.copy()
    array[row] = value
    return array


BAD: list[tuple[dict[str, Any], str, bool]] = [  # changes, the error, whether all scores are concerned
    ({"img_emb": with_value(IMG, 7, np.nan)}, "img_emb must be finite, got NaN or Inf in row 7 ", False),
    ({"img_emb": with_value(IMG, 8, 0)}, "img_emb must have no zero rows .* row 8 ", False),
    ({"img_emb": with_value(IMG.astype(np.float64), 6, 1e300)}, "img_emb .* float64 range, .* row 6 ", False),
    ({"txt_emb": with_value(TXT, 3, np.inf)}, "txt_emb must be finite, got NaN or Inf in row 3 ", True),
    ({"reference": with_value(R, 2, np.nan)}, "reference must be finite, .* at index 2", True),
    ({"reference": with_value(R, 4, -np.inf)}, "reference must be finite, .* at index 4", True),
    ({"reference": with_value(OWN, 2, np.nan)}, "reference must be finite, got NaN or Inf in row 2", True),
    ({"reference": with_value(OWN, 1, 0)}, "reference must have no zero rows .* row 1", True),
    ({"max_similarity": with_value(LIMITS, 9, np.nan)}, r"max_similarity must be finite or \+inf, .* at index 9", True),
    ({"txt_emb": with_value(TXT, 16, np.nan), "minibatch": 16, "random_state": 0}, "txt_emb .* row 16 ", True),
]


@pytest.mark.parametrize("weight", ["hinge", "count"])
@pytest.mark.parametrize("case", BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_values_are_told_later(gpu: Gpu, case: tuple[dict[str, Any], str, bool], weight: str) -> None:
    changes, message, concerns_all = case
    given = {"img_emb": IMG, "txt_emb": TXT, "reference": R} | changes
    scores = gpu.get(hnscore.score(margin=0.4, weight=weight, **on_gpu(gpu, given)))
    bad = scores == -1 if scores.dtype == np.int64 else np.isnan(scores)
    assert bad.all() if concerns_all else bad.sum() == 1
    with pytest.raises(ValueError, match=f"an earlier call on cuda:0, .*{message}"):
        hnscore.score(gpu.put(IMG), gpu.put(TXT), reference=R)
    hnscore.score(gpu.put(IMG), gpu.put(TXT), reference=R)  # told once
    hnscore.cuda.check()

    hnscore.score(margin=0.4, weight=weight, **on_gpu(gpu, given))
    with pytest.raises(ValueError, match=message):
        hnscore.cuda.check()
    hnscore.cuda.check("cuda:0")


def test_blocking_calls_raise_their_own_errors(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    with pytest.raises(ValueError, match=r"^img_emb must be finite, got NaN or Inf in row 7 "):
        hnscore.score(gpu.put(with_value(IMG, 7, np.nan)), gpu.put(TXT), reference=R)
    with pytest.raises(ValueError, match=r"^txt_emb must be finite"):
        hnscore.Scorer(gpu.put(with_value(TXT, 7, np.nan)), reference=R)
    scorer = hnscore.Scorer(gpu.put(TXT), reference=R)
    with pytest.raises(ValueError, match=r"^img_chunk must be finite"):
        scorer.score(gpu.put(with_value(IMG, 7, np.nan)))
    with pytest.raises(ValueError, match=r"^emb must be finite"):
        hnscore.density(gpu.put(with_value(IMG, 7, np.nan)), k=3)


def test_a_bad_pool_is_told_of_its_references(gpu: Gpu) -> None:
    for reference in ("pool_max", "paired"):
        img = with_value(IMG[:17], 5, np.nan)
        scores = gpu.get(hnscore.score(gpu.put(img), gpu.put(TXT), reference=reference))
        assert np.isnan(scores[5])
        with pytest.raises(ValueError, match="img_emb must be finite, got NaN or Inf in row 5 ") as caught:
            hnscore.cuda.check()
        assert "reference" not in str(caught.value)


def test_hosts_values_are_told_at_once(gpu: Gpu) -> None:
    img, txt = gpu.put(IMG), gpu.put(TXT)
    with pytest.raises(ValueError, match="reference must be finite, got nan at index 2"):
        hnscore.score(img, txt, reference=with_value(R, 2, np.nan))
    with pytest.raises(ValueError, match=r"max_similarity must be finite or \+inf, got nan at index 1"):
        hnscore.score(img, txt, reference=R, max_similarity=with_value(R, 1, np.nan))


# ---- References, densities, neighbours -------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [None, np.array([3, 0, 5, 39, 7, 7, 1] + [2] * 10)])
@pytest.mark.parametrize(
    "rules", [{}, {"kind": "hardest"}, {"kind": "topk", "k": 4}, {"kind": "minibatch", "batch_size": 5}]
)
def test_references(gpu: Gpu, rules: dict[str, Any], owner: NDArray[Any] | None) -> None:
    img = IMG if owner is not None else IMG[:17]
    want = ref.reference_similarity(img, TXT, owner=owner, **rules)
    for side in (owner, None if owner is None else gpu.put(owner.astype(np.int16))):
        got = gpu.get(hnscore.reference_similarity(gpu.put(img), gpu.put(TXT), owner=side, **rules))
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-15)


def test_owners_are_looked_at(gpu: Gpu) -> None:
    for owner, error in (([40] * 17, ValueError), ([-1] * 17, ValueError), ([0.5] * 17, TypeError)):
        with pytest.raises(error, match="owner"):
            hnscore.reference_similarity(gpu.put(IMG), gpu.put(TXT), owner=gpu.put(np.array(owner)))


@pytest.mark.parametrize("against", [None, TXT])
@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize(
    "rules",
    [
        {"k": 3},
        {"kind": "ball", "min_similarity": 0.3},
        {"kind": "kernel", "temperature": 0.5},
        {"kind": "kernel", "temperature": 0.01},
        {"kind": "mean"},
        {"kind": "mean", "similarity": "dot"},
    ],
)
def test_densities(gpu: Gpu, rules: dict[str, Any], exclude_self: bool, against: NDArray[Any] | None) -> None:
    want = ref.density(IMG, against=against, exclude_self=exclude_self, **rules)
    other = None if against is None else gpu.put(against)
    got = gpu.get(hnscore.density(gpu.put(IMG), against=other, exclude_self=exclude_self, **rules))
    assert got.dtype == (np.int64 if rules.get("kind") == "ball" else np.float32)
    # A kernel: 4 * 2^-24 / temperature and 2^-18 of itself; its share below e^-87 is left out.
    rtol = 4 * 2.0**-24 / rules.get("temperature", 1) + 2.0**-18
    np.testing.assert_allclose(got, want, rtol=rtol, atol=2.0**-126 if rules.get("kind") == "kernel" else 2.0**-22)


def test_numbers_in_a_ball_are_exact_at_its_edge(gpu: Gpu) -> None:
    points = np.array([[1, 0], [3, 1], [3, -4], [2, 5]], np.int8)
    for least in (2.0, 3.0, 5.0, 11.0):
        rules: dict[str, Any] = {"kind": "ball", "min_similarity": least, "similarity": "dot"}
        np.testing.assert_array_equal(
            gpu.get(hnscore.density(gpu.put(points), **rules)), hnscore.density(points, **rules)
        )


def test_neighbours(gpu: Gpu) -> None:
    similarities, indices = hnscore.knn_graph(gpu.put(IMG), 5)
    want, at = hnscore.knn_graph(IMG, 5)
    np.testing.assert_array_equal(gpu.get(indices), at)
    np.testing.assert_array_equal(gpu.get(similarities), want)
    empty, _ = hnscore.knn_graph(gpu.put(IMG[:0]), 5)
    assert tuple(empty.shape) == (0, 5)
    _, other = hnscore.knn_graph(gpu.put(IMG), 2, against=gpu.put(TXT))
    np.testing.assert_array_equal(gpu.get(other), hnscore.knn_graph(IMG, 2, against=TXT)[1])


GAUSSIANS = tuple(RNG.uniform(0.5, 1.5, (40, 12)).astype(np.float32) for _ in range(4))
SCORES, LABELS_OF_REGIONS = RNG.uniform(0, 1, 40), np.arange(40) % 3
# What a GPU has no kernels for, of arrays that are put there.
ON_COPIES: dict[str, Any] = {
    "gaussian": lambda put: hnscore.density(put(IMG), "gaussian", variance=put(np.linspace(0.1, 2, 40))),
    "gaussian against": lambda put: hnscore.density(
        put(IMG), "gaussian", against=put(TXT), variance=(put(np.ones(40)), put(np.full(17, 2.0)))
    ),
    "weights": lambda put: hnscore.density(put(IMG), k=3, weights=put(np.linspace(0.1, 2, 40))),
    "select": lambda put: hnscore.select(put(SCORES), 7, embeddings=put(IMG), labeled=put(np.arange(3))),
    "select by scores": lambda put: hnscore.select(put(SCORES), 7),
    "core_set": lambda put: hnscore.core_set(put(IMG), 5),
    "search": lambda put: hnscore.Pool(put(IMG)).search(put(TXT), 3),
    "range_search": lambda put: hnscore.Pool(put(IMG)).range_search(put(TXT), put(np.full(17, 0.3))),
    "allocate": lambda put: hnscore.allocate(put(SCORES), put(SCORES[::-1].copy()), put(LABELS_OF_REGIONS), 9),
    "informativeness": lambda put: hnscore.informativeness(*map(put, GAUSSIANS)),
    "fuse": lambda put: hnscore.fuse(*map(put, GAUSSIANS)),
}


@pytest.mark.parametrize("name", ON_COPIES)
def test_what_is_computed_on_copies(gpu: Gpu, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The same as on the CPU, and where the arrays are."""
    with caplog.at_level("INFO", "hnscore"):
        got = ON_COPIES[name](gpu.put)
    want = ON_COPIES[name](lambda x: x)
    assert "computed on the CPU, from copies of arrays on cuda:0" in caplog.text
    assert isinstance(got, tuple) == isinstance(want, tuple)
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (got, want)), strict=True):
        np.testing.assert_array_equal(gpu.get(a), b)


def test_passes_of_a_selection_run_on_the_gpu(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch is at hand for it; the picks are those of the CPU either way."""
    passes = []
    bounds = TensorPasses.bounds

    def counted(*given: Any) -> Any:
        passes.append(1)
        return bounds(*given)

    monkeypatch.setattr(TensorPasses, "bounds", counted)
    emb = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    limit = coverage._OF_POINT * 400 + coverage._OF_VALUE * 8
    for put in (gpu.put, lambda x: x):
        found = hnscore.select(None, 30, embeddings=put(emb), memory_limit=limit, return_gains=True)
        if not isinstance(found[0], np.ndarray):
            got = [gpu.get(x) for x in found]
            assert bool(passes) == gpu.tensors
    for a, b in zip(got, found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_graph_of_points_on_a_gpu(gpu: Gpu) -> None:
    pytest.importorskip("scipy")
    got, want = (hnscore.knn_graph(x, 3, as_csr=True) for x in (gpu.put(IMG), IMG))
    np.testing.assert_array_equal(got.toarray(), want.toarray())


def test_copies_say_what_is_wrong(gpu: Gpu) -> None:
    with pytest.raises(ValueError, match="kind"):
        hnscore.density(gpu.put(IMG), "gauss")
    with pytest.raises(ValueError, match="budget"):
        hnscore.core_set(gpu.put(IMG), -1)
    assert tuple(hnscore.core_set(gpu.put(IMG), 0).shape) == (0,)


# ---- Errors ----------------------------------------------------------------------------------------------------------


def test_arrays_on_different_devices(fake: Gpu) -> None:
    img, txt, far = fake.put(IMG), fake.put(TXT), fake.put(TXT, 1)
    with pytest.raises(ValueError, match=r"img_emb is on cuda:0 and txt_emb on cuda:1; .* move one"):
        hnscore.score(img, far)
    with pytest.raises(ValueError, match=r"img_emb is on cuda:0 and txt_emb in CPU memory; .* move one"):
        hnscore.score(img, TXT)
    with pytest.raises(ValueError, match=r"txt_emb is on cuda:0 and img_emb in CPU memory; .* move one"):
        hnscore.score(IMG, txt)
    with pytest.raises(ValueError, match=r"reference must be on cuda:0, .* got device cuda:1; move it"):
        hnscore.score(img, txt, reference=fake.put(R, 1))
    with pytest.raises(ValueError, match=r"img_groups must be on cuda:0, .* got device cuda:1"):
        hnscore.score(img, txt, img_groups=fake.put(IMG_LABELS, 1), txt_groups=TXT_LABELS)
    with pytest.raises(ValueError, match=r"img_chunk must be on cuda:0, .* got device cuda:1"):
        hnscore.Scorer(txt, reference=R).score(fake.put(IMG, 1))
    with pytest.raises(ValueError, match="emb is on cuda:0 and against on cuda:1"):
        hnscore.density(img, against=fake.put(TXT, 1))
    with pytest.raises(ValueError, match="reference must be in CPU memory, got device cuda:0"):
        hnscore.score(IMG, TXT, reference=fake.put(R))
    with pytest.raises(ValueError, match="img_chunk must be in CPU memory, got device cuda:0"):
        hnscore.Scorer(TXT, reference=R).score(img)


def test_dtypes_that_hold_no_numbers(fake: Gpu) -> None:
    for x in (IMG > 0, IMG + 1j):
        with pytest.raises(TypeError, match=f"img_emb must hold real numbers .* got dtype {x.dtype}; convert"):
            hnscore.score(fake.put(x), fake.put(TXT))
    with pytest.raises(TypeError, match="txt_groups must hold integers or strings, got dtype float32; convert"):
        hnscore.score(fake.put(IMG), fake.put(TXT), img_groups=IMG_LABELS, txt_groups=fake.put(R.astype(np.float32)))


def test_tensors_and_other_arrays_do_not_mix(gpu: Gpu) -> None:
    if not gpu.tensors or not isinstance(gpu.backend, FakeCuda):
        pytest.skip("needs pretended tensors")
    other = Gpu(gpu.backend)
    with pytest.raises(TypeError, match="img_emb and txt_emb must both be torch tensors or neither"):
        hnscore.score(gpu.put(IMG), other.put(TXT))
    with pytest.raises(TypeError, match="img_chunk and txt_emb must both be torch tensors or neither"):
        hnscore.Scorer(gpu.put(TXT), reference=R).score(other.put(IMG))
    scores = hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.4, reference=other.put(R))  # beside them, any
    check(gpu.get(scores), IMG, TXT, 0.4, reference=R)
    for x in (torch.ones(3, 12).to(torch.float8_e5m2), torch.ones(3, 12) > 0, torch.ones(3, 12) + 1j):
        pretended = x.as_subclass(type(gpu.put(IMG)))
        with pytest.raises(TypeError, match="img_emb must hold real numbers"):
            hnscore.score(pretended, gpu.put(TXT))


SHAPES: list[tuple[dict[str, Any], str]] = [
    ({"img_emb": IMG[0]}, r"img_emb must have 2 dimensions \(rows, dim\), got shape \(12,\)"),
    ({"img_emb": IMG[:, :5]}, "txt_emb has dim 12, img_emb has dim 5"),
    ({"img_emb": IMG[:, :0]}, "img_emb must have at least one column"),
    ({"txt_emb": TXT[:0]}, "txt_emb must have at least one row"),
    ({"reference": R[:4]}, r"reference must have shape \(17,\), one value per text, got \(4,\)"),
    ({"reference": OWN[:, :7]}, r"reference must be .* \(17, 12\), got shape \(17, 7\)"),
    ({"max_similarity": R[:5]}, r"max_similarity must have shape \(17,\)"),
    ({"img_groups": IMG_LABELS[:11], "txt_groups": TXT_LABELS}, r"img_groups must have shape \(40,\)"),
    ({"img_groups": IMG_LABELS}, "img_groups and txt_groups must be given together"),
    ({"reference": "paired"}, "reference='paired' needs img_emb and txt_emb of the same number"),
    ({"top_k_images": 41}, "top_k_images must be"),
    ({"minibatch": 18}, "minibatch must be"),
    ({"precision": "tf32"}, "precision must be one of 'exact', 'fp32', 'bf16', 'fp16', got 'tf32'"),
    ({"method": "cascade", "precision": "fp16"}, "method='cascade' is exact, got precision='fp16'"),
    ({"n_threads": 0}, "n_threads must be"),
]


@pytest.mark.parametrize("case", SHAPES, ids=[str(i) for i in range(len(SHAPES))])
def test_errors_are_those_of_the_cpu(fake: Gpu, case: tuple[dict[str, Any], str]) -> None:
    changes, message = case
    given = {"img_emb": IMG, "txt_emb": TXT, "reference": R} | changes
    with pytest.raises(ValueError, match=message):
        hnscore.score(**on_gpu(fake, given))
    if changes.get("precision") not in ("tf32", "fp16"):
        with pytest.raises(ValueError, match=message):
            hnscore.score(**given)


def test_scorers_refuse_what_needs_the_pool(fake: Gpu) -> None:
    for rules in ({"reference": "pool_max"}, {"reference": R, "top_k_images": 3}):
        with pytest.raises(ValueError, match="Scorer, which sees the pool in chunks"):
            hnscore.Scorer(fake.put(TXT), **rules)
    with pytest.raises(ValueError, match="img_groups and txt_groups must be given together"):
        hnscore.Scorer(fake.put(TXT), reference=R, txt_groups=TXT_LABELS).score(fake.put(IMG))
    with pytest.raises(ValueError, match="txt_emb has dim 12, img_chunk has dim 5"):
        hnscore.Scorer(fake.put(TXT), reference=R).score(IMG[:, :5])


def test_more_texts_than_a_gpu_counts(fake: Gpu) -> None:
    few = fake.put(TXT[:1])
    many = OnGpu(np.lib.stride_tricks.as_strided(few.array, (2**31, 12), (0, 4)), owner=few)
    with pytest.raises(ValueError, match="txt_emb must have at most 2147483136 rows on a GPU, got 2147483648; score"):
        hnscore.score(fake.put(IMG), many, reference="pool_max")


def test_gpus_that_the_build_has_no_code_for(fake: Gpu) -> None:
    img, txt = fake.put(IMG), fake.put(TXT)
    fake.backend.devices[0] = Device("GTX 1080", (6, 1), arch="")
    with pytest.raises(RuntimeError, match=r"GTX 1080 of compute capability 6.1; hnscore needs 7.5 or later: move"):
        hnscore.score(img, txt)
    fake.backend.devices[0] = Device("RTX 2080", (7, 5), arch="")
    with pytest.raises(RuntimeError, match="this build has sm_80, sm_90a; rebuild with HNSCORE_CUDA_ARCHS=75"):
        hnscore.score(img, txt)
    assert hnscore.cuda.is_available()  # device 1
    assert [device.arch for device in hnscore.cuda.devices()] == ["", "sm_90a"]


def test_a_build_without_cuda(fake: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    img, txt = fake.put(IMG), fake.put(TXT)

    def no_backend() -> Any:
        raise ModuleNotFoundError("No module named 'hnscore._cuda'")

    monkeypatch.setattr(_device, "backend", no_backend)
    monkeypatch.setitem(sys.modules, "hnscore._cuda", None)  # as where it was not built
    for call in (lambda: hnscore.score(img, txt), lambda: hnscore.score(img, TXT), lambda: hnscore.density(img)):
        with pytest.raises(ValueError, match="emb must be in CPU memory, got device cuda:0: hnscore was built without"):
            call()
    assert hnscore.cuda.devices() == []
    assert not hnscore.cuda.is_available()
    hnscore.cuda.check()

    def no_library() -> Any:
        raise ImportError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(_device, "backend", no_library)
    with pytest.raises(ImportError, match=r"img_emb is on cuda:0, .* libcuda.so.1.*; update the NVIDIA driver"):
        hnscore.score(img, txt)


def test_fp16_is_for_gpus(fake: Gpu) -> None:
    with pytest.raises(ValueError, match="precision must be one of 'exact', 'fp32', 'bf16', got 'fp16'"):
        hnscore.score(IMG, TXT, precision="fp16")
    with pytest.raises(ValueError, match="precision must be one of 'exact', 'fp32', 'bf16', got 'fp16'"):
        hnscore.density(IMG, precision="fp16")


def test_out_of_memory_names_bytes_and_leaks_nothing(fake: Gpu) -> None:
    img, txt, r = fake.put(IMG), fake.put(TXT), fake.put(R)
    enough, before = 0, fake.backend.used
    fake.backend.room = before + 100
    with pytest.raises(MemoryError, match=r"hnscore wants \d+ bytes of GPU memory"):
        hnscore.score(img, txt, 0.4)
    for room in range(0, 8000, 200):
        fake.backend.room = before + room
        with contextlib.suppress(MemoryError):
            hnscore.score(img, txt, 0.4, reference=r, max_similarity=LIMITS, top_k_images=3)
            enough = room
        assert used(fake, before) == before
    assert enough > 1000
    fake.backend.room = 2**28
    check(fake.get(hnscore.score(img, txt, 0.4, reference=r)), IMG, TXT, 0.4, reference=R)


def test_graphs_hold_what_is_on_the_device(fake: Gpu) -> None:
    img, txt, r = fake.put(IMG), fake.put(TXT), fake.put(R)
    scorer = hnscore.Scorer(txt, 0.4, reference=r)
    fake.backend.captured = True
    scores = hnscore.score(img, txt, 0.4, reference=r)
    hnscore.score(img, txt, 0.4)
    scorer.score(img)
    for rules, name in (
        ({"reference": R}, "reference"),
        ({"reference": r, "max_similarity": LIMITS}, "max_similarity"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be on cuda:0 while a CUDA graph is captured"):
            hnscore.score(img, txt, 0.4, **rules)
    with pytest.raises(ValueError, match=r"minibatch must be None while a CUDA graph is captured, .* got 3; make a"):
        hnscore.score(img, txt, 0.4, reference=r, minibatch=3)
    with pytest.raises(ValueError, match="img_chunk must be on cuda:0 while a CUDA graph is captured"):
        scorer.score(IMG)
    fake.backend.captured = False
    check(fake.get(scores), IMG, TXT, 0.4, reference=R)


# ---- What is shown ---------------------------------------------------------------------------------------------------


def test_verbose_says_what_was_decided(gpu: Gpu, capsys: pytest.CaptureFixture[str]) -> None:
    hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.2, reference=R, precision="fp16", verbose=True)
    out = capsys.readouterr().out
    for words in ("device=cuda:0", "precision=fp16", "method=dense", "40 images x 17 texts", "dim 12"):
        assert words in out
    hnscore.score(gpu.put(IMG), gpu.put(TXT), 0.2, reference=R)
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("default::hnscore.MarginWarning")
def test_a_wide_margin_is_told_to_who_waits(fake: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    many = RNG.standard_normal((300, 12)).astype(np.float32) + 1
    img, txt = fake.put(many), fake.put(many[::-1])
    calls: list[dict[str, Any]] = [{}, {"minibatch": 290, "random_state": 0}, {"max_similarity": np.full(300, 0.99)}]
    for rules in calls:
        with pytest.warns(hnscore.MarginWarning, match=r"margin=0.9 is too wide .*; margin=0\.\d+ would") as caught:
            hnscore.score(img, txt, 0.9, reference=np.full(300, 0.9), verbose=True, **rules)
        assert caught[0].filename == __file__
    scorer = hnscore.Scorer(txt, 0.9, reference=np.full(300, 0.9), verbose=True)
    with pytest.warns(hnscore.MarginWarning) as caught:
        scorer.score(img)
    assert caught[0].filename == __file__
    scorer.score(img)
    waits = fake.backend.waits
    monkeypatch.setattr("warnings.warn", lambda *a, **k: pytest.fail("a warning"))
    hnscore.score(img, txt, 0.9, reference=np.full(300, 0.9))
    assert fake.backend.waits == waits


def test_devices(fake: Gpu) -> None:
    devices = hnscore.cuda.devices()
    assert [(d.index, d.name, d.capability, d.memory, d.arch) for d in devices] == [
        (i, "fake GPU", (9, 0), 2**30, "sm_90a") for i in (0, 1)
    ]
    for device in (1, "cuda:1", "cuda", torch.device("cuda", 1)):
        hnscore.cuda.check(device)
    for wrong in (2, -1, "cuda:7", "cpu", torch.device("cpu")):
        with pytest.raises(ValueError, match=r"device must be one of the GPUs that there are \(cuda:0, cuda:1\)"):
            hnscore.cuda.check(wrong)
    for wrong in (1.0, True, IMG):
        with pytest.raises(TypeError, match=r"device must be an int, a string like 'cuda:0' or a torch.device"):
            hnscore.cuda.check(wrong)


def test_sides_have_names(gpu: Gpu) -> None:
    assert len(reports.SIDES) < gpu.backend.SIDES
    assert len(reports.SIDES) <= gpu.backend.REFERENCE_SIDE


def test_compiled_graphs_hold_the_operator() -> None:
    """The result is where the images are, which is all that tracing has to know."""
    from hnscore.scores import operators
    from hnscore.scores.rule import Rule

    fake_mode = torch._subclasses.FakeTensorMode()
    with fake_mode:
        img, txt = torch.empty(40, 12, device="cuda"), torch.empty(17, 12, device="cuda")
        for weight, dtype in (("hinge", torch.float32), ("count", torch.int64)):
            scores = operators.traced({"img_emb": img, "txt_emb": txt} | Rule(weight=weight)._asdict())
            assert (scores.device.type, scores.shape, scores.dtype) == ("cuda", (40,), dtype)


# ---- Memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["hinge", "count", "top_gap"])
@pytest.mark.parametrize(
    "how", [("exact", "auto"), ("exact", "dense"), ("exact", "cascade"), ("fp16", "dense")], ids=str
)
@pytest.mark.parametrize(("dtype", "dim"), [("float32", 512), ("bfloat16", 512), ("float32", 768), ("float32", 1024)])
def test_a_call_takes_less_than_100_mb(dtype: str, dim: int, how: tuple[str, str], recipe: str) -> None:
    """Beside a million images and 100,000 texts, the result included: what the host side asks for on an H100."""
    from emulated import emulated_module

    gpu: Any = emulated_module()
    n_img, n_txt, item = 1_000_000, 100_000, 4 if dtype == "float32" else 2
    taken = [8 * n_img if recipe == "count" else 4 * n_img, 8 * n_txt]  # the result, and references in float64
    memory = []

    def allocate(n_bytes: int) -> int:
        taken.append(n_bytes)
        memory.append(np.empty(n_bytes + 256, np.uint8))
        return int(memory[-1].ctypes.data + -memory[-1].ctypes.data % 256)

    sides = [
        gpu.Rows(256, n, dim, dim * item, item, _core.DTYPES[dtype], side) for side, n in enumerate((n_img, n_txt))
    ]
    gpu.set_capability(9, 0, 132)
    gpu.set_idle(True)  # the inputs are nowhere
    try:
        context = gpu.Context(0, 0, allocate)
        columns = gpu.Columns(context, sides[1], "cosine", *how, False)
        weight = "hinge" if recipe == "top_gap" else recipe
        gpu.reduce(context, sides[0], columns, recipe, 256, tau=256, weight=weight, k=16)
    finally:
        gpu.set_idle(False)
        gpu.set_capability(9, 0, 4)
    assert 20e6 < sum(taken) < 100e6
