"""Training with early stopping, then variances and match probabilities from pairs that it has not seen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hnscore.arguments.checks import (
    check_finite_loss,
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
from hnscore.nn.encoder import ProbabilisticEncoder, seeded
from hnscore.nn.held_out import Pairs, batches_of, learn_match, learn_variances
from hnscore.nn.loss import ProbabilisticLoss


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
    data = Pairs.read(encoder, img, txt, groups, labels)
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
                for rows in batches_of(rng.permutation(train), batch_size):
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
                    learn_variances(encoder, *data.features(held, device))
                if isinstance(criterion, ProbabilisticLoss) and criterion.learn:
                    learn_match(encoder, criterion, data, batches_of(held, batch_size))
    return FitResult(history, best_epoch, np.sort(held), criterion)


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
