"""`hnscore.nn.TripletLoss` against the formula in torch, with the matrix."""

from typing import Any

import numpy as np
import pytest
import torch

import hnscore.nn
from hnscore.mining import pairs as pairs_module
from hnscore.nn import triplet

B, DIM = 40, 16
GROUPS = {"none": None, "captions": torch.arange(B) // 3}


def formula(img: Any, txt: Any, margin: float, hardest: bool, groups: Any, similarity: str) -> Any:
    if similarity == "cosine":
        img, txt = (torch.nn.functional.normalize(x, dim=1) for x in (img, txt))
    s = img @ txt.T
    groups = torch.arange(len(s)) if groups is None else groups
    same = groups[:, None] == groups
    of_texts = (margin + s - s.diagonal()).clamp(min=0).masked_fill(same, 0)
    of_images = (margin + s - s.diagonal()[:, None]).clamp(min=0).masked_fill(same, 0)
    if hardest:
        return of_texts.amax(0).sum() + of_images.amax(1).sum()
    return of_texts.sum() + of_images.sum()


def batch(noise: float = 0.8, dtype: Any = torch.float64, n: int = B, dim: int = DIM) -> tuple[Any, Any]:
    draw = torch.Generator().manual_seed(0)
    img = torch.randn(n, dim, dtype=dtype, generator=draw)
    txt = img + noise * torch.randn(n, dim, dtype=dtype, generator=draw)
    return img.requires_grad_(), txt.detach().requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])  # few pairs violate the margin, some, most
def test_value_and_gradient_are_those_of_the_formula(
    noise: float, hardest: bool, groups: str, similarity: str, dtype: Any
) -> None:
    img, txt = batch(noise, dtype)
    margin = 0.2 if similarity == "cosine" else 1.0
    loss = hnscore.nn.TripletLoss(margin, hardest, similarity)(img, txt, GROUPS[groups])
    want = formula(img, txt, margin, hardest, GROUPS[groups], similarity)
    assert loss.dtype == dtype
    unit = torch.finfo(dtype).eps * 16
    # Sums of B * B terms of the size of a product, 16 units each.
    torch.testing.assert_close(loss, want, rtol=unit, atol=unit * B * B)
    for a, b in zip(torch.autograd.grad(loss, (img, txt)), torch.autograd.grad(want, (img, txt)), strict=True):
        torch.testing.assert_close(a, b, rtol=unit, atol=unit * B * float(b.abs().max() + 1))


@pytest.mark.parametrize("dense", [-1.0, 2.0])
@pytest.mark.parametrize("hardest", [False, True])
def test_gradcheck(hardest: bool, dense: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triplet, "_DENSE", dense)
    img, txt = batch(n=11, dim=5)
    loss = hnscore.nn.TripletLoss(0.2, hardest)
    assert torch.autograd.gradcheck(loss, (img, txt))
    assert torch.autograd.gradcheck(lambda x: 3 * loss(x, txt.detach()), img)


def test_parts_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    img, txt = batch(noise=2)
    monkeypatch.setattr(triplet, "_DENSE", 2.0)
    want = torch.autograd.grad(hnscore.nn.TripletLoss(0.3)(img, txt), (img, txt))
    monkeypatch.setattr("hnscore.engine.lists._MOST", 60)
    monkeypatch.setattr("hnscore.engine.lists._FIRST", 7)
    got = torch.autograd.grad(hnscore.nn.TripletLoss(0.3)(img, txt), (img, txt))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
    monkeypatch.setattr(triplet, "_DENSE", -1.0)
    monkeypatch.setattr(triplet, "_ROW_BYTES", 7 * 8 * B)
    got = torch.autograd.grad(hnscore.nn.TripletLoss(0.3)(img, txt), (img, txt))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_added_up_in_float32(dtype: Any) -> None:
    """More violations of one row than 16 bits can count."""
    img, txt = (x.detach().to(dtype).requires_grad_() for x in batch(noise=5.0, n=3000))
    full = [x.detach().float().requires_grad_() for x in (img, txt)]
    for hardest in (False, True):
        loss, want = (hnscore.nn.TripletLoss(0.2, hardest)(*sides) for sides in ((img, txt), full))
        assert loss.dtype == dtype
        for a, b in zip(torch.autograd.grad(loss, (img, txt)), torch.autograd.grad(want, full), strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a, b.to(dtype), rtol=2.0**-7, atol=1e-3)


def test_small_batches_and_no_violation() -> None:
    for n in (0, 1):
        img, txt = batch(n=n)
        loss = hnscore.nn.TripletLoss()(img, txt)
        loss.backward()
        assert loss.item() == 0
        assert img.grad.shape == img.shape
    img, txt = batch(noise=0)
    for hardest in (False, True):
        loss = hnscore.nn.TripletLoss(0.0, hardest)(img, txt)
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, img)[0].any()


def test_needs_no_gradient() -> None:
    img, txt = (x.detach() for x in batch())
    assert not hnscore.nn.TripletLoss()(img, txt).requires_grad


def test_trains() -> None:
    """A linear map learns to undo a rotation."""
    img, _ = (x.detach() for x in batch(dtype=torch.float32, n=200))
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1)))[0]
    layer, loss = torch.nn.Linear(DIM, DIM, bias=False), hnscore.nn.TripletLoss(0.2)
    adam = torch.optim.Adam(layer.parameters(), 0.02)
    first = loss(img, layer(img @ turn)).item()
    for _ in range(60):
        adam.zero_grad()
        value = loss(img, layer(img @ turn))
        value.backward()
        adam.step()
    assert value.item() < first / 20


def test_bad_input() -> None:
    img, txt = batch()
    with pytest.raises(ValueError, match="margin must be at least 0"):
        hnscore.nn.TripletLoss(-0.1)
    with pytest.raises(ValueError, match="similarity must be one of"):
        hnscore.nn.TripletLoss(similarity="l2")
    with pytest.raises(TypeError, match="max_violation must be True or False"):
        hnscore.nn.TripletLoss(max_violation=1)
    loss = hnscore.nn.TripletLoss()
    with pytest.raises(ValueError, match="txt_emb"):
        loss(img, txt[:3])
    with pytest.raises(ValueError, match="groups must have shape"):
        loss(img, txt, np.zeros(3, int))
    with torch.no_grad():
        img[2, 1] = torch.nan
    with pytest.raises(ValueError, match="row 2"):
        loss(img, txt)


def test_the_modules_share_one_call() -> None:
    """The loss is quiet whatever share of the pairs violates the margin, where `pairs` warns."""
    img, txt = batch(noise=50.0, n=600)
    hnscore.nn.TripletLoss(0.5)(img, txt)
    with pytest.warns(hnscore.MarginWarning):
        hnscore.pairs(img.detach(), txt.detach(), 0.5, reference="paired")
    assert triplet.PairCall is pairs_module.PairCall
