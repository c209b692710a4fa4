"""Training with early stopping, then variances and match probabilities from pairs that it has not seen."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hnscore.arguments import values
from hnscore.arguments.checks import (
    check_enough_images,
    check_finite_loss,
    check_one_text_per_image,
    read_features,
    read_float32_features,
)
from hnscore.arguments.numbers import (
    as_generator,
    check_choice,
    check_integer,
    check_not_negative,
    check_positive,
    check_share,
    check_type,
    count_threads,
)
from hnscore.nn.encoder import CHUNK, ProbabilisticEncoder, evaluating, seeded
from hnscore.nn.loss import ProbabilisticLoss, distances


@dataclass(frozen=True)
class FitResult:
    """What `fit` did."""

    history: dict[str, list[float]]
    """By epoch, from 1: "loss", its mean over the training pairs, and "held_out", the mean average precision on the
    held-out part, both directions together: the mean reciprocal rank where every image has one text."""

    best_epoch: int
    """The epoch with the best "held_out", whose weights the encoder now has; 0 where none was better than the start."""

    held_out: NDArray[np.int64]
    """The rows that were held out."""

    loss: Any
    """The loss that was used, with what it learnt."""

    @property
    def scale(self) -> float:
        """Of the match probability, for `hnscore.informativeness`."""
        return float(torch.as_tensor(self.loss.scale).detach())

    @property
    def shift(self) -> float:
        """Of the match probability, for `hnscore.informativeness`."""
        return float(torch.as_tensor(self.loss.shift).detach())


def fit(  # noqa: PLR0913
    encoder: ProbabilisticEncoder,
    img: object,
    txt: object,
    *,
    groups: object = None,
    labels: object = None,
    loss: Callable[..., Tensor] | None = None,
    variances: str = "held_out",
    epochs: int = 60,
    batch_size: int = 256,
    lr: float = 3e-4,
    weight_decay: float = 1e-2,
    held_out: float = 0.1,
    patience: int = 10,
    random_state: object = None,
    n_threads: int | None = None,
    show_progress_bar: bool = False,
    verbose: bool = False,
) -> FitResult:
    """Train an encoder on image-text pairs, with early stopping on a held-out part of them.

    The means are learnt first, by AdamW on random batches of pairs. After each epoch the held-out part is ranked; after
    `patience` epochs without improvement training stops, and the best epoch's weights are restored. The variances are
    learnt next, from the held-out pairs, whose means were not fitted to each other: where such pairs lie far apart, the
    encoder is uncertain. With ``apart_i = |img_mean_i - txt_mean_i|^2`` over the held-out pairs, for each side::

        slope = ridge regression of log(apart) on the hidden features of the side
        var_i = variance_floor + c * exp(slope @ hidden_i) / dim     # c: mean of sum(var) = mean of apart / 2

    Last, scale and shift of the match probability are fitted to the held-out pairs (Platt's method).

    Parameters
    ----------
    encoder : ProbabilisticEncoder
        Trained in place, from the weights it has, and left in evaluation mode. The first fit also takes the mean and
        standard deviation of each column of the features; later ones keep them.
    img : array (n, img_dim)
        Image features, row i for pair i; NumPy arrays and CPU tensors of any numeric dtype. An image with several texts
        is repeated.
    txt : array (n, txt_dim)
        Text features.
    groups : integer array (n,), optional
        The image of each pair. Pairs of one image match each other and are held out together. Default: rows with
        identical features are one image.
    labels : integer array (n,), optional
        The class of each pair. Where given, pairs of equal labels match each other (and groups only say what is held
        out together): the supervised setting.
    loss : callable, optional
        ``loss(pairs, groups)`` of a `GaussianPairs` of a batch and its int64 groups (labels where given), a scalar.
        Default: `ProbabilisticLoss()`. Parameters of a module are learnt too, with 50 times the lr: scale and shift
        are of the order of ten. The last step above is for a ProbabilisticLoss with ``learn=True``.
    variances : {"held_out", "loss"}
        ``"loss"`` learns them together with the means by the gradient of the loss instead. The variances of a row are
        all equal either way, unless a loss of your own looks at more of them than their sum.
    epochs, batch_size, patience : int
        At least 1, 2 and 1. Batches are of nearly equal size, so that none is much smaller than the others; a
        batch_size above n gives one batch.
    lr, weight_decay : float
        Of AdamW; lr above 0.
    held_out : float
        Share of the images that is held out, above 0 and below 1; at least 2 images are, and at least 2 are not.
    random_state : None, int or NumPy generator
        Seed of the split, the batches and the dropout. On the CPU the same encoder, data and seed give the same bits
        for the same number of threads. Torch's global generator is left as it was.
    n_threads : int, optional
        Threads of torch during the fit. Default: as they are.
    show_progress_bar, verbose : bool
        A bar over the epochs; a line for each.

    Returns
    -------
    FitResult

    Raises
    ------
    TypeError
        For kinds and dtypes that hold no features, float groups, an encoder of another class.
    ValueError
        For shapes, dims, numbers of rows, NaN, Inf, values out of range, fewer than 4 images, and a loss that becomes
        NaN or Inf.

    Notes
    -----
    After Ctrl-C, or any error, the encoder has the best weights so far, variances included, and the exception goes on.

    Memory beyond the encoder: a float32 copy of the features, ``4 * n * (img_dim + txt_dim)`` bytes, and some batches.

    Why not learn variances by the loss alone: a variance adds the same to the distances of a row's match and of all
    others, so matching uses it as a bias and not as a doubt; and training pairs, which the means fit too well, look
    certain.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> img = rng.standard_normal((200, 8))
    >>> encoder = ProbabilisticEncoder(8, 8, dim=4, random_state=0)
    >>> result = fit(encoder, img, img @ rng.standard_normal((8, 8)), random_state=0)
    >>> len(result.held_out)
    20
    """
    check_type("encoder", encoder, ProbabilisticEncoder)
    rng = as_generator(random_state)
    check_choice("variances", variances, ("held_out", "loss"))
    epochs = check_integer("epochs", epochs, 1, None, "passes over the training pairs")
    batch_size = check_integer("batch_size", batch_size, 2, None, "pairs in a batch")
    patience = check_integer("patience", patience, 1, None, "epochs without improvement")
    lr, weight_decay = check_positive("lr", lr), check_not_negative("weight_decay", weight_decay)
    held_out = check_share("held_out", held_out)
    data = _Pairs.read(encoder, img, txt, groups, labels)
    train, held = data.split(held_out, rng)
    criterion: Any = ProbabilisticLoss() if loss is None else loss
    device = encoder.img.shift.device
    if isinstance(criterion, torch.nn.Module):
        criterion.to(device)

    modules = [m for m in (encoder, criterion) if isinstance(m, torch.nn.Module)]
    by_loss = variances == "loss"
    learnt = [p for name, p in encoder.named_parameters() if by_loss or ".log_var." not in name]
    chosen: list[dict[str, Any]] = [{"params": learnt}]
    if isinstance(criterion, torch.nn.Module):
        chosen.append({"params": list(criterion.parameters()), "lr": 50 * lr, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(chosen, lr=lr, weight_decay=weight_decay)
    history: dict[str, list[float]] = {"loss": [], "held_out": []}
    with _thread_count(n_threads), seeded(rng):
        encoder.img.standardize(data.img[train])
        encoder.txt.standardize(data.txt[train])
        best, best_epoch, best_weights = (
            data.precision(encoder, held),
            0,
            copy.deepcopy([m.state_dict() for m in modules]),
        )
        try:
            for epoch in _epochs(epochs, show_progress_bar):
                for module in modules:
                    module.train()
                total = 0.0
                for rows in _batches(rng.permutation(train), batch_size):
                    for module in modules:
                        module.zero_grad()
                    value = criterion(encoder(*data.features(rows, device)), data.match[rows].to(device))
                    value.backward()
                    optimizer.step()
                    total += value.item() * len(rows)
                check_finite_loss(total, epoch, lr)
                precision = data.precision(encoder, held)
                history["loss"].append(total / len(train))
                history["held_out"].append(precision)
                if verbose:
                    print(f"epoch {epoch}: loss {total / len(train):.4f}, held-out precision {precision:.4f}")
                if precision > best:
                    best, best_epoch = precision, epoch
                    best_weights = copy.deepcopy([m.state_dict() for m in modules])
                elif epoch - best_epoch >= patience:
                    break
        finally:
            for module, weights in zip(modules, best_weights, strict=True):
                module.load_state_dict(weights)
                module.zero_grad()
                module.eval()
            with torch.no_grad():
                if not by_loss:
                    _learn_variances(encoder, *data.features(held, device))
                if isinstance(criterion, ProbabilisticLoss) and criterion.learn:
                    _learn_match(encoder, criterion, data, _batches(held, batch_size))
    return FitResult(history, best_epoch, np.sort(held), criterion)


class _Pairs(NamedTuple):
    """Checked features, the image of each pair, and what matches."""

    img: NDArray[np.float32]
    txt: NDArray[np.float32]
    image: NDArray[np.int64]
    match: Tensor

    @classmethod
    def read(cls, encoder: ProbabilisticEncoder, img: object, txt: object, groups: object, classes: object) -> _Pairs:
        img_rows, img_code = read_features("img", img, encoder.img.in_dim)
        txt_rows, txt_code = read_features("txt", txt, encoder.txt.in_dim)
        n = len(img_rows)
        check_one_text_per_image("img", n, "txt", len(txt_rows))
        given = {
            name: values.read_labels(name, x, n)
            for name, x in (("groups", groups), ("labels", classes))
            if x is not None
        }
        img_rows = read_float32_features("img", img_rows, img_code)
        txt_rows = read_float32_features("txt", txt_rows, txt_code)
        as_bytes = img_rows.view(np.dtype((np.void, img_rows.strides[0])))[:, 0]
        image = np.unique(given.get("groups", as_bytes), return_inverse=True)[1]
        match = np.unique(given["labels"], return_inverse=True)[1] if "labels" in given else image
        return cls(img_rows, txt_rows, image, torch.from_numpy(match))

    def split(self, held_out: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to train on and rows held out: no image on both sides."""
        n_images = int(self.image.max(initial=-1)) + 1
        check_enough_images(n_images)
        n_held = min(max(round(held_out * n_images), 2), n_images - 2)
        held = np.isin(self.image, rng.permutation(n_images)[:n_held])
        return np.flatnonzero(~held), np.flatnonzero(held)

    def features(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.img[rows]).to(device), torch.from_numpy(self.txt[rows]).to(device)

    def precision(self, encoder: ProbabilisticEncoder, rows: NDArray[np.int64]) -> float:
        """Mean average precision of the means, images to texts and texts to images."""
        with evaluating(encoder), torch.no_grad():
            img, _, txt, _ = encoder(*self.features(rows, encoder.img.shift.device))
        match = self.match[rows].to(img.device)
        rank = torch.arange(1, len(rows) + 1, device=img.device)
        total = 0.0
        for queries, gallery in ((img, txt), (txt, img)):
            for start in range(0, len(rows), CHUNK // 8):
                some = slice(start, start + CHUNK // 8)
                order = (queries[some] @ gallery.T).argsort(dim=1, descending=True, stable=True)
                found = (match[order] == match[some, None]).double()
                total += float(((found.cumsum(1) / rank * found).sum(1) / found.sum(1)).sum())
        return total / (2 * len(rows))


def _learn_variances(encoder: ProbabilisticEncoder, img: Tensor, txt: Tensor) -> None:
    """The variances of `fit`: var = exp(slope . hidden + bias), the slope by ridge regression on unseen pairs."""
    hidden = [head.activations(x).double() for head, x in ((encoder.img, img), (encoder.txt, txt))]
    pairs = encoder(img, txt)
    apart = (pairs.img_mean - pairs.txt_mean).double().square().sum(1)
    apart = apart.clamp_min(torch.finfo(pairs.img_mean.dtype).eps)
    target = apart.log() - apart.log().mean()
    for head, h in zip((encoder.img, encoder.txt), hidden, strict=True):
        centre = h.mean(0)
        gram = (h - centre) @ (h - centre).T
        # Chance correlations of n rows are of the order of 1 / sqrt(n) of the squared norms, here of a hidden row: all
        # rows have the same. It bounds the exponent of any row too: |slope . hidden| <= |target| / (2 n^(1/4)).
        ridge = h.square().sum(1).mean() * math.sqrt(len(h))
        slope = (h - centre).T @ torch.linalg.solve(gram + ridge * torch.eye(len(h), device=h.device).double(), target)
        level = (apart.mean() / 2).log() - (h @ slope).logsumexp(0) + math.log(len(h))
        head.log_var.weight.copy_(slope.expand(head.dim, -1))
        head.log_var.bias.fill_(float(level) - math.log(head.dim))


def _learn_match(
    encoder: ProbabilisticEncoder, loss: ProbabilisticLoss, data: _Pairs, batches: list[NDArray[np.int64]]
) -> None:
    """Scale and shift by Platt's method: logistic regression, its targets a little off 0 and 1 so that it is finite."""
    apart, matches = [], []
    for rows in batches:
        pairs = encoder(*data.features(rows, encoder.img.shift.device))
        apart.append(distances(*pairs).double().flatten())
        match = data.match[rows]
        matches.append((match[:, None] == match).flatten())
    d, y = torch.cat(apart).cpu(), torch.cat(matches)
    target = torch.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2)).double()
    middle = d.mean()
    start = torch.tensor([loss.log_scale.item(), (loss.shift - loss.scale * middle).item()], dtype=torch.float64)
    parameters = start.requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def cross_entropy() -> float:
        optimizer.zero_grad()
        logit = 2 * (parameters[1] - parameters[0].exp() * (d - middle))
        value = functional.binary_cross_entropy_with_logits(logit, target)
        torch.autograd.backward(value)
        return value.item()

    with torch.enable_grad():
        optimizer.step(cross_entropy)  # type: ignore[no-untyped-call]
    log_scale, shift = parameters.tolist()
    loss.log_scale.fill_(max(log_scale, -20.0))  # where no distance tells anything, scale goes to 0, but is above it
    loss.shift.fill_(shift + math.exp(log_scale) * middle.item())


def _batches(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    return np.array_split(rows, math.ceil(len(rows) / batch_size))


def _epochs(epochs: int, shown: object) -> Iterable[int]:
    if not shown:
        return range(1, epochs + 1)
    from tqdm.auto import tqdm

    bar: Iterable[int] = tqdm(range(1, epochs + 1), desc="fit", unit="epoch")
    return bar


@contextmanager
def _thread_count(n_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(count_threads(n_threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
