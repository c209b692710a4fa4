"""Gaussian embeddings of image-text pairs on top of frozen features, learnt with torch: `import hnscore.nn`.

encoder = ProbabilisticEncoder(img.shape[1], txt.shape[1])
result = fit(encoder, img, txt, groups=image_of_each_pair)
pairs = encoder(pool_img, pool_txt)                       # means and variances
hnscore.informativeness(*pairs, scale=result.scale, shift=result.shift)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

try:
    import torch
except ImportError as error:
    raise ImportError("hnscore.nn needs torch, which is not installed; pip install 'hnscore[torch]'") from error
from torch import Tensor
from torch.nn import functional

from ._arrays import (
    above_zero,
    choice,
    enough_images,
    feature_dim,
    features,
    finite_loss,
    float32_features,
    integer,
    labels,
    not_negative,
    of_type,
    one_text_per_image,
    random_generator,
    real,
    share,
    threads,
)

__all__ = ["FitResult", "GaussianPairs", "ProbabilisticEncoder", "ProbabilisticLoss", "fit"]

_CHUNK = 4096  # rows of NumPy arrays that are embedded at a time: some MiB of activations


class GaussianPairs(NamedTuple):
    """Diagonal Gaussians of images and of texts, each (rows, dim): what `informativeness` and `fuse` take."""

    img_mean: Any
    img_var: Any
    txt_mean: Any
    txt_var: Any


class _Head(torch.nn.Module):
    """Features of one kind to (mean, variance): standardised, one hidden layer, two linear outputs.

    The hidden features are normalised, so that the length of a row of features is no shortcut to its variance, and so
    that no row, however unusual, is given a log-variance beyond sqrt(hidden) times the norm of its weights.
    """

    shift: Tensor
    scale: Tensor
    standardized: Tensor

    def __init__(self, in_dim: int, dim: int, hidden: int, dropout: float, variance_floor: float) -> None:
        super().__init__()
        self.in_dim, self.dim, self.variance_floor = in_dim, dim, variance_floor
        self.register_buffer("shift", torch.zeros(in_dim))
        self.register_buffer("scale", torch.ones(in_dim))
        self.register_buffer("standardized", torch.tensor(False))
        self.hidden = torch.nn.Sequential(
            torch.nn.Linear(in_dim, hidden),
            torch.nn.GELU(),
            torch.nn.LayerNorm(hidden, elementwise_affine=False),
            torch.nn.Dropout(dropout),
        )
        self.mean = torch.nn.Linear(hidden, dim)
        self.log_var = torch.nn.Linear(hidden, dim)  # starts equal for all rows, with a sum over dimensions of 1/4
        torch.nn.init.zeros_(self.log_var.weight)
        torch.nn.init.constant_(self.log_var.bias, -math.log(4 * dim))

    def activations(self, x: Tensor) -> Tensor:
        activations: Tensor = self.hidden((x.to(self.shift.dtype) - self.shift) / self.scale)
        return activations

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.activations(x)
        return functional.normalize(self.mean(h), dim=1), self.variance_floor + self.log_var(h).exp()

    def standardize(self, x: NDArray[np.float32]) -> None:
        """Take means and standard deviations of the columns from `x`, the first time only: a second fit continues."""
        if self.standardized:
            return
        deviation = x.std(axis=0, dtype=np.float64)
        constant = deviation <= 1e-6 * np.abs(x).max(axis=0)
        self.shift.copy_(torch.from_numpy(x.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(np.where(constant, 1.0, deviation)))
        self.standardized.fill_(True)


class ProbabilisticEncoder(torch.nn.Module):
    """Gaussian embeddings of images and texts on top of frozen features.

    Each side is a head of its own: features standardised (by `fit`), a hidden layer, a mean of unit norm and a diagonal
    variance. Until `fit` has seen the data, all rows of a side have almost the same variance.

    Parameters
    ----------
    img_dim, txt_dim : int
        Columns of the image and the text features.
    dim : int
        Dimension of the joint space.
    hidden : int, optional
        Width of the hidden layer. Default: dim.
    variance_floor : float
        Added to every variance, above 0.
    dropout : float
        Share of the hidden features that are dropped in training, at least 0 and below 1.
    random_state : None, int or NumPy generator
        Seed of the first weights. None: torch's global generator, as for any torch module.

    Notes
    -----
    `forward`, `encode_images` and `encode_texts` take tensors, and then are an ordinary torch module: gradients flow,
    dropout follows `train()` and `eval()`, nothing is looked up in the values. They also take NumPy arrays of any
    numeric dtype, and then return float32 NumPy arrays: without gradient, without dropout, a few thousand rows at a
    time, with an error for NaN and Inf. The state_dict holds the standardisation of the features too.

    Examples
    --------
    >>> encoder = ProbabilisticEncoder(img_dim=8, txt_dim=6, dim=4)
    >>> mean, var = encoder.encode_images(np.ones((3, 8)))
    >>> mean.shape, var.shape
    ((3, 4), (3, 4))
    """

    def __init__(
        self,
        img_dim: int,
        txt_dim: int,
        dim: int = 512,
        *,
        hidden: int | None = None,
        variance_floor: float = 1e-6,
        dropout: float = 0.5,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        img_dim = integer("img_dim", img_dim, 1, None, "columns of the image features")
        txt_dim = integer("txt_dim", txt_dim, 1, None, "columns of the text features")
        dim = integer("dim", dim, 2, None, "dimensions of the joint space")
        hidden = dim if hidden is None else integer("hidden", hidden, 2, None, "width of the hidden layer")
        variance_floor = above_zero("variance_floor", variance_floor)
        dropout = share("dropout", dropout, or_zero=True)
        with _seeded(None if random_state is None else random_generator(random_state)):
            self.img = _Head(img_dim, dim, hidden, dropout, variance_floor)
            self.txt = _Head(txt_dim, dim, hidden, dropout, variance_floor)

    def forward(self, img: Any, txt: Any) -> GaussianPairs:
        """The Gaussians of images (n, img_dim) and texts (m, txt_dim)."""
        return GaussianPairs(*self.encode_images(img), *self.encode_texts(txt))

    def encode_images(self, img: Any) -> tuple[Any, Any]:
        """(mean, var) of image features (n, img_dim), each (n, dim)."""
        return self._encode(self.img, "img", img)

    def encode_texts(self, txt: Any) -> tuple[Any, Any]:
        """(mean, var) of text features (n, txt_dim), each (n, dim)."""
        return self._encode(self.txt, "txt", txt)

    def _encode(self, head: _Head, name: str, x: Any) -> tuple[Any, Any]:
        if isinstance(x, Tensor):
            feature_dim(name, tuple(x.shape), head.in_dim)
            mean, var = head(x)
            return mean, var
        array, code = features(name, x, head.in_dim)
        mean, var = (np.empty((len(array), head.dim), np.float32) for _ in range(2))
        with _evaluating(self), torch.no_grad():
            for start in range(0, len(array), _CHUNK):
                rows = slice(start, start + _CHUNK)
                chunk = torch.from_numpy(float32_features(name, array[rows], code, start))
                mean[rows], var[rows] = (out.cpu().numpy() for out in head(chunk.to(head.shift.device)))
        return mean, var


class ProbabilisticLoss(torch.nn.Module):
    """Soft contrastive matching of all pairs of a batch, plus the 2-Wasserstein distance of the matched ones.

    For a batch of B pairs, with the sums over dimensions and ``match[i, j]`` true for i == j and for equal groups::

        distance[i, j] = sqrt(|img_mean_i - txt_mean_j|^2 + sum(img_var_i + txt_var_j))   # root of the expected square
        logit = 2 * (shift - scale * distance)                                            # of the match probability
        matching = (softplus(-logit)[match].sum() + softplus(logit)[~match].sum()) / B   # cross-entropy
        wasserstein = mean_i |img_mean_i - txt_mean_i|^2 + sum((sqrt(img_var_i) - sqrt(txt_var_i))^2)
        floor = mean over both sides of max(log(least_variance) - log(sum(var_i)), 0)
        loss = matching + wasserstein_weight * wasserstein + floor_weight * floor

    Parameters
    ----------
    scale, shift : float
        Of the match probability ``sigmoid(2 (shift - scale * distance))``, scale above 0; the same two numbers, with
        the same meaning, as in `hnscore.informativeness`.
    learn : bool
        Whether scale and shift are parameters to be learnt.
    wasserstein_weight, floor_weight : float
        At least 0.
    least_variance : float
        Sum over dimensions below which a variance is pushed up: matching alone would let some collapse.

    Notes
    -----
    Memory is a few B x B matrices. Squared distances below the machine epsilon count as that: they are rounding, and
    the root has a gradient there. Matching cannot tell the variances of hard pairs from those of easy ones well, see
    `fit`.

    References
    ----------
    .. [1] S. Chun et al., "Probabilistic Embeddings for Cross-Modal Retrieval", CVPR 2021, arXiv 2101.05068.
    .. [2] S. Chun, "Improved Probabilistic Image-Text Representations", ICLR 2024, arXiv 2305.18171.
    """

    log_scale: Tensor
    shift: Tensor

    def __init__(
        self,
        *,
        scale: float = 15.0,
        shift: float = 15.0,
        learn: bool = True,
        wasserstein_weight: float = 0.1,
        floor_weight: float = 0.1,
        least_variance: float = 0.01,
    ) -> None:
        super().__init__()
        self.wasserstein_weight = not_negative("wasserstein_weight", wasserstein_weight)
        self.floor_weight = not_negative("floor_weight", floor_weight)
        self.least_variance = above_zero("least_variance", least_variance)
        self.learn = bool(learn)
        for name, value in (("log_scale", math.log(above_zero("scale", scale))), ("shift", real("shift", shift))):
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(value), requires_grad=self.learn))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    def forward(self, pairs: GaussianPairs, groups: Tensor | None = None) -> Tensor:
        img_mean, img_var, txt_mean, txt_var = pairs
        n = len(img_mean)
        one_text_per_image("img_mean", n, "txt_mean", len(txt_mean))
        match = torch.eye(n, dtype=torch.bool, device=img_mean.device)
        if groups is not None:
            one_text_per_image("img_mean", n, "groups", len(groups))
            match |= groups[:, None] == groups
        logit = 2 * (self.shift - self.scale * _distance(img_mean, img_var, txt_mean, txt_var))
        matching = functional.softplus(torch.where(match, -logit, logit)).sum() / max(n, 1)

        tiny = torch.finfo(img_var.dtype).tiny
        roots = img_var.clamp_min(tiny).sqrt() - txt_var.clamp_min(tiny).sqrt()
        wasserstein = ((img_mean - txt_mean).square() + roots.square()).sum(1).mean()
        totals = torch.stack([img_var.sum(1), txt_var.sum(1)]).clamp_min(tiny)
        floor = functional.relu(math.log(self.least_variance) - totals.log()).mean()
        loss: Tensor = matching + self.wasserstein_weight * wasserstein + self.floor_weight * floor
        return loss


def _distance(img_mean: Tensor, img_var: Tensor, txt_mean: Tensor, txt_var: Tensor) -> Tensor:
    """Root of the expected squared distance of every image and every text."""
    img = (img_mean.square() + img_var).sum(1)
    txt = (txt_mean.square() + txt_var).sum(1)
    expected = torch.addmm(img[:, None] + txt, img_mean, txt_mean.T, alpha=-2)
    return expected.clamp_min(torch.finfo(expected.dtype).eps).sqrt()


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
        return float(self.loss.scale)

    @property
    def shift(self) -> float:
        """Of the match probability, for `hnscore.informativeness`."""
        return float(self.loss.shift)


def fit(
    encoder: ProbabilisticEncoder,
    img: Any,
    txt: Any,
    *,
    groups: Any = None,
    labels: Any = None,
    loss: Callable[..., Tensor] | None = None,
    variances: str = "held_out",
    epochs: int = 60,
    batch_size: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 1e-2,
    held_out: float = 0.1,
    patience: int = 10,
    random_state: Any = None,
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
        ``"loss"`` learns them together with the means by the gradient of the loss instead.
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
    of_type("encoder", encoder, ProbabilisticEncoder)
    rng = random_generator(random_state)
    choice("variances", variances, ("held_out", "loss"))
    epochs = integer("epochs", epochs, 1, None, "passes over the training pairs")
    batch_size = integer("batch_size", batch_size, 2, None, "pairs in a batch")
    patience = integer("patience", patience, 1, None, "epochs without improvement")
    lr, weight_decay = above_zero("lr", lr), not_negative("weight_decay", weight_decay)
    held_out = share("held_out", held_out)
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
    with _thread_count(n_threads), _seeded(rng):
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
                    total += float(value) * len(rows)
                finite_loss(total, epoch, lr)
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
    def read(cls, encoder: ProbabilisticEncoder, img: Any, txt: Any, groups: Any, classes: Any) -> _Pairs:
        img_rows, img_code = features("img", img, encoder.img.in_dim)
        txt_rows, txt_code = features("txt", txt, encoder.txt.in_dim)
        n = len(img_rows)
        one_text_per_image("img", n, "txt", len(txt_rows))
        given = {name: labels(name, x, n) for name, x in (("groups", groups), ("labels", classes)) if x is not None}
        img_rows = float32_features("img", img_rows, img_code)
        txt_rows = float32_features("txt", txt_rows, txt_code)
        as_bytes = img_rows.view(np.dtype((np.void, img_rows.strides[0])))[:, 0]
        image = np.unique(given.get("groups", as_bytes), return_inverse=True)[1]
        match = np.unique(given["labels"], return_inverse=True)[1] if "labels" in given else image
        return cls(img_rows, txt_rows, image, torch.from_numpy(match))

    def split(self, held_out: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to train on and rows held out: no image on both sides."""
        n_images = int(self.image.max(initial=-1)) + 1
        enough_images(n_images)
        n_held = min(max(round(held_out * n_images), 2), n_images - 2)
        held = np.isin(self.image, rng.permutation(n_images)[:n_held])
        return np.flatnonzero(~held), np.flatnonzero(held)

    def features(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.img[rows]).to(device), torch.from_numpy(self.txt[rows]).to(device)

    def precision(self, encoder: ProbabilisticEncoder, rows: NDArray[np.int64]) -> float:
        """Mean average precision of the means, images to texts and texts to images."""
        with _evaluating(encoder), torch.no_grad():
            img, _, txt, _ = encoder(*self.features(rows, encoder.img.shift.device))
        match = self.match[rows].to(img.device)
        rank = torch.arange(1, len(rows) + 1, device=img.device)
        total = 0.0
        for queries, gallery in ((img, txt), (txt, img)):
            for start in range(0, len(rows), _CHUNK // 8):
                some = slice(start, start + _CHUNK // 8)
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
        # With n rows of pure noise, chance correlations between features and target are of the order of 1 / sqrt(n).
        ridge = gram.diagonal().mean() * math.sqrt(len(h)) + torch.finfo(torch.float64).tiny
        slope = (h - centre).T @ torch.linalg.solve(gram + ridge * torch.eye(len(h), device=h.device).double(), target)
        level = (apart.mean() / 2).log() - (h @ slope).logsumexp(0) + math.log(len(h))
        head.log_var.weight.copy_(slope.expand(head.dim, -1))
        head.log_var.bias.fill_(float(level) - math.log(head.dim))


def _learn_match(
    encoder: ProbabilisticEncoder, loss: ProbabilisticLoss, data: _Pairs, batches: list[NDArray[np.int64]]
) -> None:
    """Scale and shift by Platt's method: logistic regression, its targets a little off 0 and 1 so that it is finite."""
    distances, matches = [], []
    for rows in batches:
        pairs = encoder(*data.features(rows, encoder.img.shift.device))
        distances.append(_distance(*pairs).double().flatten())
        match = data.match[rows]
        matches.append((match[:, None] == match).flatten())
    d, y = torch.cat(distances).cpu(), torch.cat(matches)
    target = torch.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2)).double()
    middle = d.mean()
    start = torch.tensor([float(loss.log_scale), float(loss.shift - loss.scale * middle)], dtype=torch.float64)
    parameters = start.requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def cross_entropy() -> float:
        optimizer.zero_grad()
        logit = 2 * (parameters[1] - parameters[0].exp() * (d - middle))
        value = functional.binary_cross_entropy_with_logits(logit, target)
        torch.autograd.backward(value)
        return float(value)

    with torch.enable_grad():
        optimizer.step(cross_entropy)  # type: ignore[no-untyped-call]
    log_scale, shift = parameters.tolist()
    if math.isfinite(log_scale) and math.isfinite(shift):
        loss.log_scale.fill_(log_scale)
        loss.shift.fill_(shift + math.exp(log_scale) * float(middle))


def _batches(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    return np.array_split(rows, math.ceil(len(rows) / batch_size))


def _epochs(epochs: int, shown: object) -> Iterable[int]:
    if not shown:
        return range(1, epochs + 1)
    from tqdm.auto import tqdm

    bar: Iterable[int] = tqdm(range(1, epochs + 1), desc="fit", unit="epoch")
    return bar


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """No dropout inside; afterwards as before."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


@contextmanager
def _seeded(rng: np.random.Generator | None) -> Iterator[None]:
    """Inside, torch draws from a seed of `rng`; afterwards its global generators are as before. None: no change."""
    if rng is None:
        yield
        return
    gpus = range(torch.cuda.device_count())
    with torch.random.fork_rng(gpus):
        seed = int(rng.integers(2**63))
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def _thread_count(n_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(threads(n_threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
