"""Informativeness and fusion of pairs of Gaussians, against reference.py and known answers."""

import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import hnscore
from hnscore import _core
from hnscore import reference as ref

Pairs = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]

U = 2.0**-24  # the relative rounding of float32
DIMS = (1, 2, 3, 4, 5, 8, 15, 63, 64, 65, 130, 512)


def pairs(n: int, dim: int, seed: int = 0) -> Pairs:
    """Pairs some of which match: distances around 1, variances of all sizes, a few of them 0."""
    rng = np.random.default_rng(seed)
    img = rng.standard_normal((n, dim)) / np.sqrt(dim)
    txt = img + rng.uniform(0, 1.5, (n, 1)) * rng.standard_normal((n, dim)) / np.sqrt(dim)
    img_var, txt_var = (np.exp(rng.normal(-3, 2, (n, dim))) / dim for _ in range(2))
    img_var[rng.random((n, dim)) < 0.1] = 0
    return tuple(a.astype(np.float32) for a in (img, img_var, txt, txt_var))  # type: ignore[return-value]


PAIRS = pairs(12, 8)


# ---- The specification -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # known answers of Random123, philox4x32 10
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, words: str) -> None:
    given, by, expected = (np.array([int(w, 16) for w in text.split()], np.uint64) for text in (counter, key, words))
    np.testing.assert_array_equal(ref.philox(given, by), expected)


def test_draws_are_independent_standard_normals() -> None:
    """280,000 draws of a fixed seed; every bound is about five standard errors of its estimate."""
    n, n_samples, dim = 2000, 5, 14
    e = ref.normals(n, n_samples, dim, 0)
    count = e.size
    assert abs(e.mean()) < 5 / np.sqrt(count)
    assert abs(e.var() - 1) < 5 * np.sqrt(2 / count)
    assert abs((e**3).mean()) < 5 * np.sqrt(15 / count)
    assert abs((e**4).mean() - 3) < 5 * np.sqrt(96 / count)
    columns = e.reshape(n, -1)  # every (modality, sample, dimension) beside every other, over the rows
    correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert np.abs(correlation).max() < 5 / np.sqrt(n)
    rows = np.corrcoef(columns[:100]) - np.eye(100)
    assert np.abs(rows).max() < 5 / np.sqrt(columns.shape[1])


def test_reference_by_hand() -> None:
    # Pair 0: distance (3, 4) of the means, deviations (1, 2) and (1, 0). Pair 1: one point.
    img, img_var = np.array([[0.0, 4.0], [1.0, 1.0]]), np.array([[1.0, 4.0], [0.0, 0.0]])
    txt, txt_var = np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(ref.wasserstein(img, img_var, txt, txt_var), [np.sqrt(9 + 16 + 0 + 4), 0])
    np.testing.assert_allclose(ref.intra_uncertainty(img_var, txt_var, 0.25), [np.log(2.5 * 0.5) / 2, np.log(0.25)])
    expected = 1 / (1 + np.exp(-2 * (5 - 0.9 * np.array([np.sqrt(25 + 5 + 1), 0]))))
    np.testing.assert_allclose(ref.expected_match(img, img_var, txt, txt_var, 0.9, 5), expected)
    sampled = ref.sampled_match(img, img_var, txt, txt_var, 400, 0.9, 5, 0)
    np.testing.assert_allclose(sampled[1], expected[1], rtol=1e-14)
    mean, var = ref.fuse([[0.0]], [[1.0]], [[3.0]], [[2.0]])
    np.testing.assert_allclose((mean, var), ([[1.0]], [[2 / 3]]))
    total = ref.total_informativeness(np.array([1.0, 3.0]), np.array([2.0, 2.0]), np.array([0.5, 0.75]), 2.0, 0.5)
    np.testing.assert_allclose(total, [-2 - 0.5, 2 + 0.5])


def test_sampled_match_is_the_mean_of_its_distribution() -> None:
    """One dimension, equal means: the distance is |N(0, v + v')|, so its match probability is an integral."""
    v = np.full((300, 1), 0.5)
    zero = np.zeros((300, 1))
    x = np.linspace(-8, 8, 20001)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    given = 1 / (1 + np.exp(-2 * (1 - 2 * np.abs(x))))
    expected = np.sum(given * density) * (x[1] - x[0])
    match = ref.sampled_match(zero, v, zero, v, 7, 2.0, 1.0, 0)
    # The 49 probabilities of a row share draws, but rows do not.
    assert abs(match.mean() - expected) < 5 * match.std() / np.sqrt(len(match))


# ---- Against the specification ---------------------------------------------------------------------------------------


def assert_closed_form(given: Pairs, result: hnscore.Informativeness, scale: float = 15.0, shift: float = 15.0) -> None:
    """Sums of float64 and the functions after them are off by far less than the rounding to float32."""
    for values, expected in (
        (result.intra, ref.intra_uncertainty(given[1], given[3], 1e-12)),
        (result.inter, ref.wasserstein(*given)),
        (result.match_probability, ref.expected_match(*given, scale, shift)),
    ):
        assert values.dtype == np.float32
        assert np.all(np.abs(values - expected) <= 1.01 * U * np.abs(expected) + 1e-14)


def assert_sampled(
    given: Pairs, match: NDArray[np.float32], n_samples: int, scale: float, shift: float, seed: int
) -> float:
    """Returns the largest error relative to its bound.

    A draw mean + sigma * e: the normal e is off by 6 units (log and the root of it 2, cosine or sine 3, product 1),
    sigma by 2, the difference of the means by 1, their joining by 1 and the difference of two draws by 1. So a distance
    is off by 11 U of (|difference of the means| + |sigma e| + |sigma' e'|), with the largest draws; and by half as many
    units of its own as its squares are added in a chain: dim / 64 and 8 more. A sigmoid's slope is at most 1/4, that of
    sigmoid(2 x) 1/2. What else is float64, and last is the rounding to float32.
    """
    m, v, mt, vt = (ref.given_values(a) for a in given)
    e = ref.normals(len(m), n_samples, m.shape[1], seed)
    spread = [np.linalg.norm(np.sqrt(a)[:, None] * e[:, side], axis=2).max(axis=1) for side, a in enumerate((v, vt))]
    size = np.linalg.norm(m - mt, axis=1) + spread[0] + spread[1]
    distance_error = U * (11 + (m.shape[1] / 64 + 8) / 2) * size
    expected = ref.sampled_match(*given, n_samples, scale, shift, seed)
    error = np.abs(match - expected)
    bound = scale / 2 * distance_error + 1.01 * U * expected + 1e-14
    assert match.dtype == np.float32
    assert np.all(error <= bound), f"{error.max()} above {bound[error.argmax()]}"
    return float((error / bound).max(initial=0))


@pytest.mark.parametrize("dim", DIMS)
def test_closed_form(dim: int, target: str) -> None:
    given = pairs(33, dim)
    assert_closed_form(given, hnscore.informativeness(*given))
    assert_closed_form(given, hnscore.informativeness(*given, scale=2.0, shift=0.5), 2.0, 0.5)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n_samples", [1, 2, 7])
def test_sampled(dim: int, n_samples: int, target: str) -> None:
    given = pairs(33, dim, seed=dim)
    result = hnscore.informativeness(*given, match="sampled", n_samples=n_samples, random_state=5)
    assert assert_sampled(given, result.match_probability, n_samples, 15.0, 15.0, 5) > 0.001
    closed = hnscore.informativeness(*given)
    for part in ("intra", "inter"):
        np.testing.assert_array_equal(getattr(result, part), getattr(closed, part))


@pytest.mark.parametrize("size", [1e-150, 1e-30, 1.0, 1e30, 1e150])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_sampled_at_any_size_and_place(size: float, offset: float) -> None:
    """Draws are float32 and squares float64, but neither the unit nor a common offset of the means costs digits."""
    m, v, mt, vt = (a.astype(np.float64) for a in pairs(20, 40))
    given = ((m + offset) * size, v * size**2, (mt + offset) * size, vt * size**2)
    match = hnscore.informativeness(*given, match="sampled", random_state=1, scale=3 / size, shift=3).match_probability
    assert_sampled(given, match, 7, 3 / size, 3.0, 1)
    assert np.ptp(match) > 0.1


def test_many_samples() -> None:
    given = pairs(3, 70)
    result = hnscore.informativeness(*given, match="sampled", n_samples=40, random_state=0)
    assert_sampled(given, result.match_probability, 40, 15.0, 15.0, 0)


def test_total(target: str) -> None:
    given = pairs(50, 20)
    for options in ({}, {"match": "sampled", "random_state": 2}, {"intra_weight": -2.0, "inter_weight": 0.5}):
        result = hnscore.informativeness(*given, scale=2.0, shift=2.0, **options)
        if "match" in options:
            mismatch = ref.sampled_match(*given, 7, -2.0, -2.0, 2)
        else:
            mismatch = ref.expected_match(*given, -2.0, -2.0)
        expected = ref.total_informativeness(
            ref.intra_uncertainty(given[1], given[3], 1e-12),
            ref.wasserstein(*given),
            mismatch,
            options.get("intra_weight", 1.0),
            options.get("inter_weight", 1.0),
        )
        # Standardising divides the errors, below 1e-5, by spreads above 0.1.
        np.testing.assert_allclose(result.total, expected, atol=2e-4 if "match" in options else 1e-6, rtol=0)


@pytest.mark.parametrize("shift", [-300.0, -19.0, 19.0, 300.0])
@pytest.mark.parametrize("options", [{"match": "closed_form"}, {"match": "sampled", "random_state": 3}])
def test_probabilities_at_both_ends(shift: float, options: dict[str, Any], target: str) -> None:
    """A mismatch of e^-38 or e^-600 has as many digits as one of 1/2, and its order decides."""
    m, _, mt, vt = pairs(40, 6, seed=1)
    v = np.full(m.shape, 1e-12)
    given = (m, v, m + 1e-3 * (mt - m), 1e-6 * vt)
    result = hnscore.informativeness(*given, scale=1.0, shift=shift, intra_weight=0.0, **options)
    if options["match"] == "sampled":
        match, mismatch = (ref.sampled_match(*given, 7, sign, sign * shift, 3) for sign in (1.0, -1.0))
    else:
        match, mismatch = (ref.expected_match(*given, sign, sign * shift) for sign in (1.0, -1.0))
    # The exponent is off by 2^-52 of itself; draws, below 0.01, by 2^-20 of themselves.
    relative = 2 * 300 * 2.0**-52 + 2 * 0.01 * 2.0**-20 + 1.01 * U
    assert np.all(np.abs(result.match_probability - match) <= relative * match + 2.0**-149)
    expected = ref.total_informativeness(np.zeros(40), ref.wasserstein(*given), mismatch, 0.0, 1.0)
    # The spread of the mismatch is about 1e-3 of itself where it is small; where it is nearly 1 it is 0.
    assert (ref.standardised(mismatch) == 0).all() == (shift < 0)
    np.testing.assert_allclose(result.total, expected, atol=1e-4, rtol=0)


def test_equal_pairs_stay_equal_where_the_match_is_certain() -> None:
    """1 - p of probabilities near 1 is all rounding: 0 for some and 2^-53 for others."""
    mean, var = np.zeros((200, 2)), np.linspace(1e-6, 2e-6, 200)[:, None] * np.ones(2)
    total = hnscore.informativeness(mean, var, mean + 1e-2, var, scale=1.0, shift=19.0).total
    second = np.diff(total, n=2)
    assert np.all(np.diff(total) > 0)
    assert np.abs(second).max() < 1e-3, "smooth in the variance"
    # Beyond the normal range of float64 a mismatch has no digits left: it counts as 0, and the distance alone tells.
    other = mean + np.linspace(0, 0.01, 200)[:, None]
    beyond = hnscore.informativeness(mean, 0 * var, other, 0 * var, scale=1.0, shift=370.0)
    inter = ref.wasserstein(mean, 0 * var, other, 0 * var)
    np.testing.assert_allclose(beyond.total, ref.standardised(inter), atol=1e-6)


def test_less_certain_is_more_informative() -> None:
    mean = np.zeros((3, 4))
    apart = mean + np.array([[0.0], [0.1], [0.3]])
    var = np.broadcast_to(np.array([[0.01], [0.02], [0.05]]), (3, 4))
    for weights in ((1, 0), (0, 1), (1, 1)):
        options = {"intra_weight": weights[0], "inter_weight": weights[1]}
        assert np.all(np.diff(hnscore.informativeness(mean, var, apart, var, **options).total) > 0)
        opposite = {name: -weight for name, weight in options.items()}
        assert np.all(np.diff(hnscore.informativeness(mean, var, apart, var, **opposite).total) < 0)


def test_constant_parts_count_as_zero() -> None:
    rng = np.random.default_rng(0)
    mean, var = np.full((100, 7), 0.1), np.full((100, 7), 0.3)
    result = hnscore.informativeness(mean, var, mean + 0.7, var)
    np.testing.assert_array_equal(result.total, 0)
    only = hnscore.informativeness(mean, var, mean + rng.random((100, 1)), var, inter_weight=0.0)
    np.testing.assert_array_equal(only.total, 0)
    assert np.isclose(hnscore.informativeness(mean, var, mean + rng.random((100, 1)), var).total.std(), 1)
    # Nothing but saturation: the match is 0 in float64 for all, the distance still tells.
    far = hnscore.informativeness(mean, var, mean + 1000 + rng.random((100, 1)), var)
    assert not far.match_probability.any()
    assert np.isclose(far.total.std(), 1)


def test_one_pair_and_none() -> None:
    result = hnscore.informativeness(*(a[:1] for a in PAIRS), match="sampled", random_state=0)
    assert result.total == 0
    assert result.inter > 0
    for match in ("closed_form", "sampled"):
        for values in hnscore.informativeness(*(a[:0] for a in PAIRS), match=match):
            assert values.shape == (0,)
            assert values.dtype == np.float32


def test_the_largest_weights() -> None:
    result = hnscore.informativeness(*PAIRS, intra_weight=1e30, inter_weight=-1e30)
    plain = hnscore.informativeness(*PAIRS, intra_weight=1.0, inter_weight=-1.0)
    np.testing.assert_allclose(result.total / np.float32(1e30), plain.total, rtol=1e-5, atol=1e-6)


def test_variance_floor() -> None:
    mean, var = np.ones((2, 3)), np.array([[0.0, 0, 0], [1.0, 1, 1]])
    result = hnscore.informativeness(mean, var, mean, var, variance_floor=1e-6)
    np.testing.assert_allclose(result.intra, [np.log(1e-6), 0], rtol=1e-7)
    # Two points at one place: the draws are the means, and both ways agree.
    for match in ("closed_form", "sampled"):
        at_zero = hnscore.informativeness(mean, 0 * var, mean, 0 * var, match=match, shift=0.2, random_state=0)
        np.testing.assert_allclose(at_zero.match_probability, 1 / (1 + np.exp(-0.4)), rtol=1e-7)
    apart = {
        m: hnscore.informativeness(mean, 0 * var, mean + 0.6, 0 * var, match=m) for m in ("closed_form", "sampled")
    }
    np.testing.assert_allclose(apart["sampled"][3], apart["closed_form"][3], rtol=1e-5)


# ---- Draws -----------------------------------------------------------------------------------------------------------


def test_same_bits_for_any_number_of_threads(target: str) -> None:
    given = pairs(400, 300)
    for match in ("closed_form", "sampled"):
        one = hnscore.informativeness(*given, match=match, random_state=3, n_threads=1)
        for n_threads in (2, 3, 8):
            more = hnscore.informativeness(*given, match=match, random_state=3, n_threads=n_threads)
            for a, b in zip(one, more, strict=True):
                assert a.tobytes() == b.tobytes()


def test_draws_do_not_depend_on_the_number_of_pairs() -> None:
    given = pairs(100, 30)
    every = hnscore.informativeness(*given, match="sampled", random_state=3).match_probability
    first = hnscore.informativeness(*(a[:17] for a in given), match="sampled", random_state=3).match_probability
    assert first.tobytes() == every[:17].tobytes()
    alike = tuple(np.repeat(a[:1], 50, axis=0) for a in given)
    draws = hnscore.informativeness(*alike, match="sampled", random_state=3).match_probability
    assert len(set(draws.tolist())) > 40, "each row has its own draws"


def test_random_state() -> None:
    def match(random_state: Any) -> bytes:
        result = hnscore.informativeness(*PAIRS, match="sampled", random_state=random_state)
        return bytes(result.match_probability.tobytes())

    assert match(1) == match(1) == match(np.random.default_rng(1))
    assert len({match(1), match(2), match(None), match(None)}) == 4
    generator = np.random.default_rng(1)
    assert match(generator) != match(generator), "a generator moves on"
    assert match(np.random.RandomState(0)) == match(np.random.RandomState(0))


# ---- Input of any kind -----------------------------------------------------------------------------------------------


def padded(a: NDArray[Any]) -> NDArray[Any]:
    wide: NDArray[Any] = np.full((2 * len(a), 3 * a.shape[1]), 99, a.dtype)
    wide[::2, 1::3] = a
    return wide[::2, 1::3]


LAYOUTS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "not contiguous": padded,
    "Fortran order": np.asfortranarray,
    "negative strides": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "nested list": lambda a: a.astype(np.float64).tolist(),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "int64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_dtypes(layout: str, dtype: str) -> None:
    given = [(20 * np.abs(a)).astype(dtype) for a in pairs(9, 21)]
    values = [a.astype(np.float64) for a in given]
    changed = [LAYOUTS[layout](a) for a in given]
    for options in ({}, {"match": "sampled", "random_state": 0}):
        plain = hnscore.informativeness(*values, scale=0.2, shift=4.0, **options)
        for a, b in zip(plain, hnscore.informativeness(*changed, scale=0.2, shift=4.0, **options), strict=True):
            np.testing.assert_array_equal(a, b)
    for array in (given[1], given[3]):
        array += 1  # two points have no product
    for a, b in zip(hnscore.fuse(*given), hnscore.fuse(*map(LAYOUTS[layout], given)), strict=True):
        np.testing.assert_array_equal(a, b.astype(a.dtype))


def test_memory_maps_and_bfloat16(tmp_path: Path) -> None:
    maps = []
    for i, a in enumerate(PAIRS):
        np.save(tmp_path / f"{i}.npy", a)
        maps.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    np.testing.assert_array_equal(hnscore.informativeness(*maps).total, hnscore.informativeness(*PAIRS).total)
    short = [a.astype(ml_dtypes.bfloat16) for a in PAIRS]
    wide = [a.astype(np.float32) for a in short]
    np.testing.assert_array_equal(hnscore.informativeness(*short).total, hnscore.informativeness(*wide).total)
    for a, b in zip(hnscore.fuse(*short), hnscore.fuse(*wide), strict=True):
        np.testing.assert_array_equal(a, b)


MEMORY = """
import resource, numpy as np, hnscore
few = [np.full((10, 2000), 0.1, np.float32) for _ in range(4)]
many = [np.broadcast_to(a[:1], (50_000, 2000)) for a in few]
for given in (few, many):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for match in ("closed_form", "sampled"):
        hnscore.informativeness(*given, match=match, n_samples=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="reads kilobytes")
def test_inputs_are_not_copied() -> None:
    """Four arrays of 400 MB that are one row in memory: a whole float32 copy of one would show."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40_000


def test_tensors() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        tensors = [torch.from_numpy(a).to(dtype).requires_grad_() for a in PAIRS]
        values = [t.detach().to(torch.float64).numpy() for t in tensors]
        result = hnscore.informativeness(*tensors, match="sampled", random_state=1)
        for a, b in zip(result, hnscore.informativeness(*values, match="sampled", random_state=1), strict=True):
            assert a.dtype == torch.float32
            np.testing.assert_array_equal(a.numpy(), b)
        for a, b in zip(hnscore.fuse(*tensors), hnscore.fuse(*values), strict=True):
            assert a.dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
            np.testing.assert_array_equal(a.numpy(), b.astype(a.numpy().dtype))


def test_progress_and_interrupts(capsys: pytest.CaptureFixture[str]) -> None:
    given = pairs(60, 16)
    hnscore.informativeness(*given, show_progress_bar=True)
    assert "60.0/60.0" in capsys.readouterr().err

    class StopError(Exception):
        pass

    def stop(share: float) -> None:
        raise StopError

    long = [np.ones((2000, 512), np.float32) for _ in range(4)]
    with pytest.raises(StopError):
        _core.gaussian_pairs(long, [_core.DTYPES["float32"]] * 4, 2, scale=1.0, shift=0.0, n_samples=100, progress=stop)


def test_interrupts_within_a_pair() -> None:
    """However few draws: much work in one pair, of whose share 0 only looks within it can tell."""
    wide = [np.broadcast_to(np.float32(1), (1, 1_000_000))] * 4
    shares: list[float] = []
    _core.gaussian_pairs(
        wide, [_core.DTYPES["float32"]] * 4, 1, scale=1.0, shift=0.0, n_samples=30, progress=shares.append
    )
    assert shares.count(0.0) >= 1


# ---- Fusion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fuse(dtype: type) -> None:
    m, v, mt, vt = pairs(600, 500)
    given = (m, v + 1e-6, mt, vt + 1e-6)  # more than one step of rows
    given = tuple(a.astype(dtype) for a in given)  # type: ignore[assignment]
    mean, var = hnscore.fuse(*given)
    expected_mean, expected_var = ref.fuse(*given)
    unit = np.finfo(dtype).eps / 2 if dtype is np.float32 else 8 * 2.0**-53
    assert mean.dtype == var.dtype == dtype
    size = np.abs(m) + np.abs(mt)
    assert np.all(np.abs(var - expected_var) <= (unit + 8 * 2.0**-53) * expected_var)
    assert np.all(np.abs(mean - expected_mean) <= (unit + 8 * 2.0**-53) * size)


def fuse_one(m: float, v: float, mt: float, vt: float) -> tuple[float, float]:
    mean, var = hnscore.fuse(*(np.array([[x]]) for x in (m, v, mt, vt)))
    return float(mean[0, 0]), float(var[0, 0])


def test_fuse_at_the_ends() -> None:
    assert fuse_one(1, 0, 5, 2) == (1, 0), "a point wins"
    assert fuse_one(1, 2, 5, 0) == (5, 0)
    assert fuse_one(0.1, 0, 0.1, 0) == (0.1, 0)
    assert fuse_one(1, 1, 3, 1) == (2, 0.5)
    assert fuse_one(1, 1e308, 3, 1e308) == (2, 5e307)
    assert fuse_one(1, 1e-300, 3, 1e300) == (1, 1e-300)
    np.testing.assert_allclose(fuse_one(1, 3e-320, 4, 6e-320), (2, 2e-320), rtol=1e-3)  # subnormal, few digits
    mean, var = hnscore.fuse(*(a[:0] for a in PAIRS))
    assert mean.shape == var.shape == (0, 8)


# ---- Bad input -------------------------------------------------------------------------------------------------------


def changed(which: int, row: int, value: float, dtype: type = np.float32) -> dict[str, Any]:
    array = PAIRS[which].astype(dtype)
    array[row, 3] = value
    return {NAMES[which]: array}


NAMES = ("img_mean", "img_var", "txt_mean", "txt_var")
GOOD = dict(zip(NAMES, PAIRS, strict=True))
BOTH: list[tuple[str, dict[str, Any], type[Exception], str, str, str, str]] = [
    ("bool", {"img_mean": PAIRS[0] > 0}, TypeError, "img_mean", "real numbers", "bool", "convert"),
    ("object", {"txt_var": PAIRS[3].astype(object)}, TypeError, "txt_var", "real numbers", "object", "convert"),
    ("1-D", {"img_var": PAIRS[1][0]}, ValueError, "img_var", "2 dimensions", "(8,)", "reshape"),
    ("dim 0", {n: a[:, :0] for n, a in GOOD.items()}, ValueError, "img_mean", "one column", "(12, 0)", "check"),
    ("rows", {"txt_mean": PAIRS[2][:5]}, ValueError, "txt_mean", "(12, 8)", "(5, 8)", "row i"),
    ("dims", {"txt_var": PAIRS[3][:, :5]}, ValueError, "txt_var", "(12, 8)", "(12, 5)", "row i"),
    ("one column", {"img_var": PAIRS[1][:, :1]}, ValueError, "img_var", "(12, 8)", "(12, 1)", "one variance per"),
    ("torch", {"txt_var": torch.ones(12, 8)}, TypeError, "txt_var", "both", "Tensor", "convert"),
    ("NaN", changed(0, 7, np.nan), ValueError, "img_mean", "finite", "row 7", "drop"),
    ("Inf", changed(2, 3, -np.inf), ValueError, "txt_mean", "finite", "row 3", "drop"),
    ("NaN variance", changed(3, 11, np.nan), ValueError, "txt_var", "finite", "row 11", "drop"),
    ("negative", changed(1, 4, -1e-30), ValueError, "img_var", "no negative", "row 4", "logarithms"),
    ("negative text", changed(3, 0, -1), ValueError, "txt_var", "no negative", "row 0", "logarithms"),
]  # fmt: skip
ONLY: list[tuple[str, dict[str, Any], type[Exception], str, str, str, str]] = [
    ("range", changed(0, 6, 1e200, np.float64), ValueError, "img_mean", "float64 range", "row 6", "rescale"),
    ("match", {"match": "exact"}, ValueError, "match", "'closed_form', 'sampled'", "'exact'", "choose"),
    ("n_samples 0", {"n_samples": 0}, ValueError, "n_samples", "from 1 to 4096", "0", "pass"),
    ("n_samples many", {"n_samples": 5000}, ValueError, "n_samples", "from 1 to 4096", "5000", "pass"),
    ("n_samples float", {"n_samples": 7.0}, TypeError, "n_samples", "an integer", "7.0", "pass"),
    ("scale 0", {"scale": 0}, ValueError, "scale", "above 0", "0", "pass"),
    ("scale below", {"scale": -1.0}, ValueError, "scale", "above 0", "-1", "pass"),
    ("shift NaN", {"shift": np.nan}, ValueError, "shift", "finite", "nan", "pass"),
    ("weight Inf", {"intra_weight": np.inf}, ValueError, "intra_weight", "finite", "inf", "pass"),
    ("weight large", {"intra_weight": 1e308}, ValueError, "intra_weight", "from -1e+30 to 1e+30", "1e+308", "pass"),
    ("weight negative", {"inter_weight": -2e30}, ValueError, "inter_weight", "from -1e+30 to 1e+30", "-2e+30", "pass"),
    ("weight string", {"inter_weight": "1"}, TypeError, "inter_weight", "a number", "str", "pass"),
    ("floor 0", {"variance_floor": 0.0}, ValueError, "variance_floor", "above 0", "0", "pass"),
    ("random_state", {"random_state": -1}, ValueError, "random_state", "int >= 0", "-1", "pass"),
    ("no threads", {"n_threads": 0}, ValueError, "n_threads", "at least 1", "0", "pass"),
]  # fmt: skip
FUSE: list[tuple[str, dict[str, Any], type[Exception], str, str, str, str]] = [
    ("two points", {"img_var": 0 * PAIRS[1], "txt_var": np.vstack([PAIRS[3][:10], 0 * PAIRS[3][10:]])}, ValueError,
     "img_var", "both be 0", "rows 10, 11", "give one"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "case"),
    [(f, c) for f, cases in ((hnscore.informativeness, BOTH + ONLY), (hnscore.fuse, BOTH + FUSE)) for c in cases],
    ids=lambda x: x[0] if isinstance(x, tuple) else x.__name__,
)
def test_bad_input(
    function: Callable[..., Any], case: tuple[str, dict[str, Any], type[Exception], str, str, str, str]
) -> None:
    _, changes, error, argument, expected, got, remedy = case
    with pytest.raises(error) as caught:
        function(**(GOOD | changes))
    message = str(caught.value)
    assert re.search(rf"\b{argument}\b", message)
    for words in (expected, got, remedy):
        assert words in message


def test_bad_rows_are_named_with_threads() -> None:
    """The first is always among them, whichever thread finds which."""
    m, v, mt, vt = pairs(3000, 64)
    v[700:, 0] = -1
    with pytest.raises(ValueError, match=r"img_var must have no negative variances, got one in rows? 700\b"):
        hnscore.informativeness(m, v, mt, vt, n_threads=4)
    with pytest.raises(ValueError, match=r"img_var must have no negative variances, got one in rows 700, 701\b"):
        hnscore.fuse(m, v, mt, vt)


def test_inputs_are_left_alone() -> None:
    given = [a.copy() for a in PAIRS]
    for a in given:
        a.flags.writeable = False
    hnscore.informativeness(*given, match="sampled", random_state=0)
    hnscore.fuse(*(a + np.float32(1) for a in given))
    for a, b in zip(given, PAIRS, strict=True):
        np.testing.assert_array_equal(a, b)
