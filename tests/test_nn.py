"""Gaussian embeddings: the loss is its formula, fit learns what is there to learn and leaves everything else alone."""

import io
import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import hnscore.nn
from hnscore.nn import GaussianPairs, ProbabilisticEncoder, ProbabilisticLoss, fit

RNG = np.random.default_rng(0)
IMG = RNG.standard_normal((120, 10)).astype(np.float32)
TXT = np.tanh(IMG @ RNG.standard_normal((10, 7)) + 0.5 * RNG.standard_normal((120, 7))).astype(np.float32)
QUICK: dict[str, Any] = {"epochs": 4, "batch_size": 32, "lr": 0.02, "random_state": 5}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices as small as these are slower with two."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def small(seed: int = 1, **settings: Any) -> ProbabilisticEncoder:
    return ProbabilisticEncoder(10, 7, 6, hidden=8, random_state=seed, **settings)


def weights(module: torch.nn.Module) -> dict[str, bytes]:
    return {name: value.numpy(force=True).tobytes() for name, value in module.state_dict().items()}


# ---- The loss --------------------------------------------------------------------------------------------------------


def gaussians(n: int, dim: int, dtype: torch.dtype, seed: int = 0) -> GaussianPairs:
    generator = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(2, n, dim, generator=generator, dtype=torch.float64), dim=2)
    variances = torch.rand(2, n, dim, generator=generator, dtype=torch.float64) * 0.2 + 1e-4
    return GaussianPairs(*(x.to(dtype) for x in (means[0], variances[0], means[1], variances[1])))


def slow_loss(
    pairs: GaussianPairs, groups: Any, scale: float, shift: float, w: float, f: float, least_variance: float
) -> float:
    a, u, b, v = (np.asarray(x, np.float64) for x in pairs)
    n, total = len(a), 0.0
    for i in range(n):
        for j in range(n):
            distance = math.sqrt(sum((a[i] - b[j]) ** 2) + sum(u[i] + v[j]))
            p = 1 / (1 + math.exp(-2 * (shift - scale * distance)))
            total -= math.log(p if i == j or groups[i] == groups[j] else 1 - p) / n
        total += w / n * (sum((a[i] - b[i]) ** 2) + sum((np.sqrt(u[i]) - np.sqrt(v[i])) ** 2))
        for var in (u, v):
            total += f / (2 * n) * max(math.log(least_variance) - math.log(sum(var[i])), 0)
    return total


# float64: some 1e4 operations of relative error 2^-53 each, on a sum of positive terms. float32: a squared distance is
# off by a few units of 2^-24 on a value of order 1, a logit by scale times that, which is its share of the loss too.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("grouped", [False, True])
def test_loss_is_its_formula(dtype: torch.dtype, tolerance: float, grouped: bool) -> None:
    pairs = gaussians(9, 5, dtype)
    groups = torch.tensor([3, 1, 3, 4, 1, 9, 9, -2, 0]) if grouped else None
    settings = {"scale": 4.0, "shift": 5.0, "least_variance": 0.6}
    loss = ProbabilisticLoss(wasserstein_weight=0.3, floor_weight=0.7, **settings)(pairs, groups)
    expected = slow_loss(pairs, range(9) if groups is None else groups.tolist(), w=0.3, f=0.7, **settings)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(expected, rel=tolerance)


def test_floor_term_counts() -> None:
    pairs = gaussians(9, 5, torch.float64)
    with_floor = ProbabilisticLoss(least_variance=10.0)(pairs)
    assert with_floor > ProbabilisticLoss(least_variance=1e-9)(pairs)  # no sum of variances is below 1e-9


def test_gradients_are_those_of_the_loss() -> None:
    loss = ProbabilisticLoss(scale=3.0, shift=4.0, least_variance=0.5).double()
    pairs = [x.requires_grad_() for x in gaussians(5, 3, torch.float64)]
    groups = torch.tensor([0, 1, 0, 2, 3])
    assert torch.autograd.gradcheck(lambda *x: loss(GaussianPairs(*x), groups), pairs)


@pytest.mark.parametrize("variance", [0.0, 1e-30, 0.1, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_embeddings_have_finite_gradients(variance: float, dtype: torch.dtype) -> None:
    """Distance 0, and a root of 0, whose derivatives are infinite."""
    mean = torch.nn.functional.normalize(torch.ones(6, 4, dtype=dtype), dim=1)
    var = torch.full((6, 4), variance, dtype=dtype)
    pairs = GaussianPairs(*(x.clone().requires_grad_() for x in (mean, var, mean, var)))
    loss = ProbabilisticLoss()
    value = loss(pairs)
    value.backward()
    assert value.isfinite()
    for x in (*pairs, *loss.parameters()):
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_learn_decides_whether_scale_and_shift_are_learnt() -> None:
    assert [p.requires_grad for p in ProbabilisticLoss(learn=False).parameters()] == [False, False]
    fixed = ProbabilisticLoss(scale=7.0, shift=8.0, learn=False)
    result = fit(small(), IMG, TXT, loss=fixed, **QUICK)
    assert (result.scale, result.shift) == (pytest.approx(7.0), 8.0)
    learnt = fit(small(), IMG, TXT, **QUICK)
    assert learnt.scale != pytest.approx(15.0)
    assert learnt.shift != pytest.approx(15.0)


# ---- The encoder -----------------------------------------------------------------------------------------------------


def test_embeddings_are_gaussians() -> None:
    encoder = small(variance_floor=0.25)
    pairs = encoder(torch.from_numpy(IMG), torch.from_numpy(TXT[:50]))
    assert [tuple(x.shape) for x in pairs] == [(120, 6), (120, 6), (50, 6), (50, 6)]
    for mean in (pairs.img_mean, pairs.txt_mean):
        torch.testing.assert_close(mean.norm(dim=1), torch.ones(len(mean)))
    assert min(pairs.img_var.min(), pairs.txt_var.min()) >= 0.25
    assert all(x.requires_grad for x in pairs)


def test_unusual_features_have_finite_gaussians() -> None:
    encoder = small()
    fit(encoder, IMG, TXT, **QUICK)
    for factor in (1e-20, 1e4, 1e15):
        mean, var = encoder.encode_images(IMG * np.float32(factor))
        np.testing.assert_allclose(np.linalg.norm(mean, axis=1), 1, rtol=1e-5)
        assert np.isfinite(var).all()
        assert var.sum(axis=1).max() < 1e3  # normalised hidden features: the exponent is bounded, see _Head


AWKWARD: dict[str, Callable[[NDArray[Any]], Any]] = {
    "float16": lambda x: x.astype(np.float16),
    "float64": lambda x: x.astype(np.float64),
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16),
    "int8": lambda x: (x * 20).astype(np.int8),
    "big-endian": lambda x: x.astype(">f4"),
    "backwards": lambda x: x[::-1],
    "transposed": lambda x: np.asfortranarray(x),
    "list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_any_array_is_read(kind: str) -> None:
    x = AWKWARD[kind](IMG)
    encoder = small()
    got = encoder.encode_images(x)
    expected = encoder.encode_images(np.asarray(x).astype(np.float32))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32


def test_read_only_and_many_rows() -> None:
    """More rows than are embedded at a time; rows do not depend on their neighbours but for the order of float sums."""
    x = np.tile(IMG, (75, 1))
    x.flags.writeable = False
    mean, var = small().encode_images(x)
    one_mean, one_var = small().encode_images(IMG)
    np.testing.assert_allclose(mean, np.tile(one_mean, (75, 1)), atol=1e-5)
    np.testing.assert_allclose(var, np.tile(one_var, (75, 1)), atol=1e-5)
    assert small().encode_images(IMG[:0])[0].shape == (0, 6)


def test_arrays_are_encoded_without_dropout_and_leave_the_mode() -> None:
    encoder = small(dropout=0.9)
    encoder.txt.eval()
    modes = [module.training for module in encoder.modules()]
    first, second = encoder.encode_images(IMG), encoder.encode_images(IMG)
    np.testing.assert_array_equal(first[0], second[0])
    assert [module.training for module in encoder.modules()] == modes
    assert any(modes)


def test_state_dict_and_pickle_carry_everything() -> None:
    encoder = small()
    result = fit(encoder, IMG * 100 + 3, TXT, **QUICK)
    stored = io.BytesIO()
    torch.save(encoder.state_dict(), stored)
    stored.seek(0)
    other = small(seed=9)
    other.load_state_dict(torch.load(stored, weights_only=True))
    for copy in (other, pickle.loads(pickle.dumps(encoder))):
        for a, b in zip(copy(IMG, TXT), encoder(IMG, TXT), strict=True):
            np.testing.assert_array_equal(a, b)
    assert pickle.loads(pickle.dumps(result)).scale == result.scale


# ---- fit: what it learns ---------------------------------------------------------------------------------------------


def noisy_pairs(n: int, seed: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Two views of an 8-dimensional latent; half of the images show it under heavy noise, and one column hints at it.

    The hint is what an encoder can know of its own doubt, as the blur of a photograph.
    """
    mix = np.random.default_rng(0).standard_normal((2, 8, 16)) / math.sqrt(8)
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, 8))
    noisy = rng.random(n) < 0.5
    seen = latent + np.where(noisy, 1.5, 0.1)[:, None] * rng.standard_normal((n, 8))
    hint = noisy + 0.3 * rng.standard_normal(n)
    return np.column_stack([seen @ mix[0], hint]), latent @ mix[1], noisy


def chance_above(x: NDArray[Any], above: NDArray[np.bool_]) -> float:
    """P(x of a row of `above` > x of another row)."""
    return float((x[above][:, None] > x[~above]).mean())


@pytest.mark.parametrize("seed", [1, 2])
def test_learns_to_match_and_where_to_doubt(seed: int) -> None:
    img, txt, _ = noisy_pairs(1000, seed)
    encoder = ProbabilisticEncoder(17, 16, 32, dropout=0.1, random_state=seed)
    result = fit(encoder, img, txt, epochs=12, batch_size=128, lr=3e-3, held_out=0.2, random_state=seed)
    new_img, new_txt, noisy = noisy_pairs(500, seed + 100)
    pairs = encoder(new_img, new_txt)
    best = (pairs.img_mean @ pairs.txt_mean.T).argmax(axis=1)
    hits = best == np.arange(500)
    # Chance is 0.002 (500 texts). A clean latent is known within 0.1 in 8 dimensions and is nearly always found.
    assert hits[~noisy].mean() > 0.5
    # The hint tells noisy from clean with probability Phi(1 / (0.3 sqrt(2))) = 0.99. Squared distances of noisy pairs
    # are several times those of clean ones, and 200 held-out pairs show it; a variance that ignores it has 0.5 +- 0.03.
    assert chance_above(pairs.img_var.sum(axis=1), noisy) > 0.9
    # The texts look the same in both halves.
    assert 0.35 < chance_above(pairs.txt_var.sum(axis=1), noisy) < 0.65
    # Neither collapsed nor exploded: of the order of the squared distances that they stand for, which are 0 to 4.
    assert 0.01 < pairs.img_var.sum(axis=1).min() < pairs.img_var.sum(axis=1).max() < 4
    apart = ((pairs.img_mean - pairs.txt_mean) ** 2).sum(axis=1)
    match = 1 / (
        1 + np.exp(-2 * (result.shift - result.scale * np.sqrt(apart + pairs.img_var.sum(1) + pairs.txt_var.sum(1))))
    )
    assert match[~noisy].mean() > 2 * match[noisy].mean()


def test_variances_by_the_loss_are_learnt_with_the_means() -> None:
    def likelihood(pairs: GaussianPairs, groups: torch.Tensor) -> torch.Tensor:
        var = pairs.img_var + pairs.txt_var
        return ((pairs.img_mean - pairs.txt_mean).square() / var + var.log()).mean()

    for variances, expected in (("loss", True), ("held_out", False)):
        encoder = small()
        fit(encoder, IMG, TXT, loss=likelihood, variances=variances, **QUICK)
        var = encoder.encode_images(IMG)[1]
        assert (np.ptp(var, axis=1).max() > 1e-3) == expected  # the dimensions of a row differ
    encoder = small()
    fit(encoder, IMG, TXT, variances="loss", **QUICK)
    assert np.ptp(encoder.encode_images(IMG)[1].sum(axis=1)) > 1e-3  # rows differ


def test_variances_and_match_probability_are_their_formulas() -> None:
    encoder = small(variance_floor=1e-9)
    result = fit(encoder, IMG, TXT, held_out=0.4, batch_size=64, lr=0.02, random_state=0)
    held = result.held_out
    pairs = GaussianPairs(*(np.asarray(x, np.float64) for x in encoder(IMG[held], TXT[held])))
    apart = ((pairs.img_mean - pairs.txt_mean) ** 2).sum(axis=1)
    y = np.log(apart) - np.log(apart).mean()
    for head, x, var in ((encoder.img, IMG, pairs.img_var), (encoder.txt, TXT, pairs.txt_var)):
        h = head.activations(torch.from_numpy(x[held])).numpy(force=True).astype(np.float64)
        c = h - h.mean(axis=0)
        ridge = (h**2).sum() / len(h) * math.sqrt(len(h))
        slope = np.linalg.solve(c.T @ c + ridge * np.eye(8), c.T @ y)
        expected = np.exp(h @ slope)
        expected *= apart.mean() / 2 / expected.mean()
        # float32 weights and activations: some 2^-24 in the exponent, which is of order 1.
        np.testing.assert_allclose(var.sum(axis=1), expected, rtol=1e-5)
    # Platt: the residuals of the held-out pairs, which are one batch, sum to 0, and so do their products with the
    # distances: the gradient of the cross-entropy. Targets of 0 and 1 instead would move the sum by some percent.
    both = (pairs.img_mean[:, None] - pairs.txt_mean) ** 2 + pairs.img_var[:, None] + pairs.txt_var
    distance, match, n = np.sqrt(both.sum(axis=2)), np.eye(len(held), dtype=bool), len(held)
    target = np.where(match, (n + 1) / (n + 2), 1 / (n * n - n + 2))
    residual = 1 / (1 + np.exp(-2 * (result.shift - result.scale * distance))) - target
    assert abs(residual.sum()) < 1e-3 * np.abs(residual).sum()
    assert abs((residual * distance).sum()) < 1e-3 * np.abs(residual * distance).sum()


def slow_precision(img: NDArray[Any], txt: NDArray[Any], match: NDArray[Any]) -> float:
    total = 0.0
    for s in (img @ txt.T, txt @ img.T):
        for i, row in enumerate(s):
            ranks = [1 + int((row > row[j]).sum()) for j in np.flatnonzero(match == match[i])]
            total += sum((k + 1) / rank for k, rank in enumerate(sorted(ranks))) / len(ranks)
    return total / (2 * len(img))


@pytest.mark.parametrize("labelled", [False, True])
def test_the_best_epoch_is_kept(labelled: bool) -> None:
    labels = np.arange(120) % 5 if labelled else None
    encoder = small()
    result = fit(encoder, IMG, TXT, labels=labels, epochs=40, patience=3, lr=0.02, held_out=0.2, random_state=2)
    scores = result.history["held_out"]
    assert len(scores) == len(result.history["loss"])
    assert result.best_epoch == int(np.argmax(scores)) + 1
    assert len(scores) == min(result.best_epoch + 3, 40)
    assert len(scores) < 40  # 120 pairs are soon overfitted
    held = result.held_out
    pairs = encoder(IMG[held], TXT[held])
    match = np.arange(len(held)) if labels is None else labels[held]
    assert slow_precision(pairs.img_mean, pairs.txt_mean, match) == pytest.approx(max(scores), abs=1e-9)


def test_no_epoch_better_than_the_start() -> None:
    """A loss that sends every image away from its text: the means stay as they were."""
    encoder = small()
    fit(encoder, IMG, TXT, lr=0.02, random_state=0)
    means = encoder(IMG, TXT)[::2]
    result = fit(encoder, IMG, TXT, loss=lambda p, _: (p.img_mean * p.txt_mean).sum(), lr=0.1, random_state=0)
    assert result.best_epoch == 0
    for a, b in zip(encoder(IMG, TXT)[::2], means, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_second_fit_continues() -> None:
    encoder = small()
    fit(encoder, IMG, TXT, **QUICK)
    shift = encoder.img.shift.clone()
    fit(encoder, IMG + 5, TXT, **QUICK)
    assert torch.equal(encoder.img.shift, shift)


# ---- fit: what it leaves alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 2])
def test_same_seed_same_bits(n_threads: int) -> None:
    runs = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(runs))  # must not matter
        encoder = small()
        result = fit(encoder, IMG, TXT, **(QUICK | {"random_state": seed, "n_threads": n_threads}))
        runs.append((weights(encoder), result.history, result.scale, result.held_out.tolist()))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]
    assert weights(small(seed=1)) != weights(small(seed=2))


def test_global_state_is_left_as_it_was() -> None:
    state, count = torch.get_rng_state(), torch.get_num_threads()
    img, txt = torch.from_numpy(IMG.copy()), TXT.copy()
    encoder = small()
    fit(encoder, img, txt, n_threads=1, **QUICK)
    fit(encoder, img, txt, epochs=1)

    def stop(*_: object) -> torch.Tensor:
        raise RuntimeError(f"stopped with {torch.get_num_threads()} threads")

    with pytest.raises(RuntimeError, match=f"stopped with {count + 1} threads"):
        fit(encoder, img, txt, loss=stop, n_threads=count + 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == count
    np.testing.assert_array_equal(img.numpy(), IMG)
    np.testing.assert_array_equal(txt, TXT)
    assert not any(p.grad is not None for p in encoder.parameters())
    assert all(p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.modules())
    ProbabilisticEncoder(3, 3)  # without a seed: torch's own generator, as any module
    assert not torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("given", [True, False])
def test_an_image_is_on_one_side_only(given: bool) -> None:
    owner = np.repeat(np.arange(30), 4) * 7 - 50
    img = IMG[np.repeat(np.arange(30), 4)]
    result = fit(small(), img, TXT, groups=owner if given else None, held_out=0.3, epochs=1, random_state=0)
    held = np.zeros(120, bool)
    held[result.held_out] = True
    assert held.sum() == 36  # 9 of 30 images
    assert not set(owner[held]) & set(owner[~held])


def test_interrupted_keeps_the_best_so_far() -> None:
    finished, interrupted = small(), small()
    settings = QUICK | {"batch_size": 500}  # more than there are pairs: one batch, an epoch is a call

    class Interrupted(ProbabilisticLoss):
        calls = 0

        def forward(self, pairs: GaussianPairs, groups: Any = None) -> torch.Tensor:
            self.calls += 1
            if self.calls == 4:
                raise KeyboardInterrupt
            return super().forward(pairs, groups)

    result = fit(finished, IMG, TXT, **(settings | {"epochs": 3}))
    assert result.best_epoch > 0  # else weights are equal for nothing
    with pytest.raises(KeyboardInterrupt):
        fit(interrupted, IMG, TXT, loss=Interrupted(), **(settings | {"epochs": 9}))
    assert weights(interrupted) == weights(finished)


@pytest.mark.parametrize("n", [4, 5, 17])
def test_few_pairs(n: int) -> None:
    encoder = small()
    result = fit(encoder, IMG[:n], TXT[:n], epochs=2, random_state=0)
    assert len(result.held_out) == 2
    assert all(np.isfinite(x).all() for x in encoder(IMG, TXT))
    assert math.isfinite(result.scale)
    assert result.scale > 0


def test_constant_columns_and_identical_pairs() -> None:
    img = np.column_stack([IMG[:, :9], np.full(120, 3.0)])
    encoder = small()
    fit(encoder, img, np.ones((120, 7)), **QUICK)
    assert all(np.isfinite(x).all() for x in encoder(img * 2, TXT))


def test_progress_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    fit(small(), IMG, TXT, verbose=True, show_progress_bar=True, **QUICK)
    shown = capsys.readouterr()
    assert [line.split(":")[0] for line in shown.out.splitlines()] == [f"epoch {i}" for i in (1, 2, 3, 4)]
    assert "epoch" in shown.err


# ---- Errors and imports ----------------------------------------------------------------------------------------------

ENCODER = small()
FIT: dict[str, Any] = {"encoder": ENCODER, "img": IMG, "txt": TXT, "epochs": 1}
NAN = np.where(np.arange(120)[:, None] == 17, np.nan, IMG)
BAD: list[tuple[str, dict[str, Any], type[Exception], tuple[str, ...]]] = [
    ("dims", {"img": IMG[:, :4]}, ValueError, ("img", "10 columns", "(120, 4)", "use the features")),
    ("1-D", {"txt": TXT[0]}, ValueError, ("txt", "2 dimensions", "(7,)", "reshape")),
    ("NaN", {"img": NAN}, ValueError, ("img", "finite", "row 17", "repair")),
    ("beyond float32", {"txt": TXT.astype(float) * 1e300}, ValueError, ("txt", "float32", "row 0", "repair")),
    ("strings", {"txt": TXT.astype(str)}, TypeError, ("txt", "real numbers", "dtype <U", "convert")),
    ("bools", {"img": IMG > 0}, TypeError, ("img", "real numbers", "bool", "convert")),
    ("rows", {"txt": TXT[:50]}, ValueError, ("txt", "same number of rows", "120 and 50", "repeat")),
    ("groups length", {"groups": np.arange(9)}, ValueError, ("groups", "(120,)", "(9,)", "check")),
    ("float groups", {"groups": np.ones(120)}, TypeError, ("groups", "integers", "float64", "convert")),
    ("labels length", {"labels": np.arange(9)}, ValueError, ("labels", "(120,)", "(9,)", "check")),
    ("batch_size", {"batch_size": 1}, ValueError, ("batch_size", "at least 2", "got 1", "pass")),
    ("epochs", {"epochs": 0}, ValueError, ("epochs", "at least 1", "got 0", "pass")),
    ("patience", {"patience": 1.5}, TypeError, ("patience", "integer", "1.5", "pass")),
    ("lr", {"lr": 0}, ValueError, ("lr", "above 0", "got 0", "pass")),
    ("weight_decay", {"weight_decay": -1.0}, ValueError, ("weight_decay", "at least 0", "got -1", "pass")),
    ("held_out 0", {"held_out": 0}, ValueError, ("held_out", "above 0 and below 1", "got 0", "pass")),
    ("held_out 1", {"held_out": 1.0}, ValueError, ("held_out", "above 0 and below 1", "got 1", "pass")),
    ("held_out NaN", {"held_out": math.nan}, ValueError, ("held_out", "finite", "nan", "pass")),
    ("variances", {"variances": "prior"}, ValueError, ("variances", "'held_out', 'loss'", "'prior'", "choose")),
    ("n_threads", {"n_threads": 0}, ValueError, ("n_threads", "at least 1", "got 0", "pass")),
    ("random_state", {"random_state": "x"}, TypeError, ("random_state", "an int", "'x'", "pass")),
    ("encoder", {"encoder": torch.nn.Linear(2, 2)}, TypeError, ("encoder", "ProbabilisticEncoder", "Linear", "make")),
    ("3 pairs", {"img": IMG[:3], "txt": TXT[:3]}, ValueError, ("img", "4 different images", "got 3", "more")),
    ("no pairs", {"img": IMG[:0], "txt": TXT[:0]}, ValueError, ("img", "4 different images", "got 0", "more")),
    ("1 image", {"img": np.tile(IMG[0], (120, 1))}, ValueError, ("img", "4 different images", "got 1", "more")),
    ("1 group", {"groups": np.zeros(120, int)}, ValueError, ("groups", "4 different images", "got 1", "more")),
    (
        "lr too large",
        {"loss": lambda p, _: p.img_mean.sum() * math.inf},
        ValueError,
        ("lr", "finite", "inf", "smaller"),
    ),
]


@pytest.mark.parametrize(("changes", "error", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_arguments_of_fit(changes: dict[str, Any], error: type[Exception], words: tuple[str, ...]) -> None:
    before = weights(ENCODER)
    with pytest.raises(error) as caught:
        fit(**(FIT | changes))
    for word in words:
        assert word in str(caught.value)
    if "loss" not in changes:  # the one error that comes late
        assert weights(ENCODER) == before


def test_bad_arguments_of_the_modules() -> None:
    for changes, word in [({"dim": 1}, "dim"), ({"hidden": 0}, "hidden"), ({"variance_floor": 0}, "variance_floor"),
                          ({"dropout": 1}, "dropout"), ({"img_dim": 0}, "img_dim")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{word} must be"):
            ProbabilisticEncoder(**({"img_dim": 3, "txt_dim": 3} | changes))
    for changes, word in [({"scale": 0}, "scale"), ({"wasserstein_weight": -1}, "wasserstein_weight"),
                          ({"least_variance": 0}, "least_variance"), ({"shift": math.nan}, "shift")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{word} must be"):
            ProbabilisticLoss(**changes)
    for x in (IMG[:, :4], torch.ones(3, 4)):
        with pytest.raises(ValueError, match="img must have 10 columns"):
            ENCODER.encode_images(x)
    with pytest.raises(ValueError, match="row 17"):
        ENCODER.encode_images(NAN)
    with pytest.raises(ValueError, match="row 4817"):  # of the second part that is embedded
        ENCODER.encode_images(np.vstack([np.zeros((4800, 10)), NAN]))
    with pytest.raises(ValueError, match="groups must have the same number of rows"):
        ProbabilisticLoss()(gaussians(4, 3, torch.float32), torch.arange(3))


def test_without_torch_the_error_says_how_to_get_it() -> None:
    code = "import sys; sys.modules['torch'] = None; import hnscore; import hnscore.nn"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: hnscore.nn needs torch" in result.stderr
    assert "pip install 'hnscore[torch]'" in result.stderr


def test_names() -> None:
    assert set(hnscore.nn.__all__) <= set(dir(hnscore.nn))
