"""Image-text retrieval on frozen features: which images, or texts, to have paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from config import Arm
from data import FeatureSet, load
from recall import recalls
from tasks import Array, Rows, Task, Trained, View
from torch import Tensor, nn
from torch.nn.functional import normalize
from training import Steps, minimise


@dataclass(frozen=True, kw_only=True)
class Schedule(Steps):
    """Of the dual encoder. A batch is of images, with all their labeled texts."""

    loss: str = "infonce"  # or "triplet"
    dim: int = 512
    dropout: float = 0.5
    temperature: float = 0.07
    margin: float = 0.2

    def __post_init__(self) -> None:
        if self.loss not in ("infonce", "triplet"):
            raise ValueError(f"train: loss must be infonce or triplet, got {self.loss!r}")
        if min(self.dim, self.batch, self.epochs, self.learning_rate, self.temperature) <= 0:
            raise ValueError(f"train: dim, batch, epochs, learning_rate and temperature must be above 0, got {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"train: dropout must be at least 0 and below 1, got {self.dropout}")


def build(arm: Arm) -> Retrieval:
    return Retrieval(load(arm.data), arm.task, arm.part, Schedule(**arm.train))


class Retrieval(Task):
    """An item is an image, annotated with its texts, or a text, annotated with its image."""

    headline = "r1"

    def __init__(self, data: FeatureSet, items: str, part: str, schedule: Schedule) -> None:
        self.img, self.txt = torch.from_numpy(data.img), torch.from_numpy(data.txt)
        self.owner = data.owner
        self.items, self.schedule = items, schedule
        self.rows = (data.images if items == "images" else data.texts)["train"]
        self.n_items = len(self.rows)
        self.measured = data.images[part], data.texts[part]
        self.of_item = _texts_of(self.rows, data.owner) if items == "images" else [np.array([t]) for t in self.rows]

    def train(self, labeled: Rows, seed: int) -> Trained:
        texts = np.concatenate([self.of_item[i] for i in labeled])
        torch.manual_seed(seed)
        encoder = fit(self.encoder(), self.img, self.txt, texts, self.owner, self.schedule)
        img_rows, txt_rows = self.measured
        place = np.searchsorted(img_rows, self.owner[txt_rows])
        metrics = recalls(encoder.image(self.img[img_rows]), encoder.text(self.txt[txt_rows]), torch.from_numpy(place))
        ours, other = (encoder.image, encoder.text) if self.items == "images" else (encoder.text, encoder.image)
        mine, others = (self.img, self.txt) if self.items == "images" else (self.txt, self.img)
        view = View(
            labeled,
            {"features": self.features(mine[self.rows]), "joint": ours(mine[self.rows]).numpy()},
            other_emb=other(others[texts if self.items == "images" else self.owner[texts]]).numpy(),
            other_owner=np.concatenate([np.full(len(self.of_item[i]), i) for i in labeled]),
        )
        return Trained(view, metrics)

    def encoder(self) -> DualEncoder:
        """One linear map of each side's standardised features into the joint space."""
        s = self.schedule
        img, txt = (nn.Sequential(nn.Dropout(s.dropout), nn.Linear(x.shape[1], s.dim)) for x in (self.img, self.txt))
        return DualEncoder(img, txt)

    def features(self, items: Tensor) -> Array:
        """What is known of all items without annotation."""
        return np.asarray(items.numpy(), np.float32)


def _texts_of(images: Rows, owner: Rows) -> list[Rows]:
    order = np.argsort(owner, kind="stable")
    first, last = (np.searchsorted(owner[order], images, side) for side in ("left", "right"))
    return [order[a:b] for a, b in zip(first, last, strict=True)]


class DualEncoder(nn.Module):
    """A network of each side into the joint space."""

    def __init__(self, img: nn.Module, txt: nn.Module) -> None:
        super().__init__()
        self.img, self.txt = img, txt

    @torch.no_grad()
    def image(self, images: Tensor) -> Tensor:
        return normalize(self.img(images), dim=1)

    @torch.no_grad()
    def text(self, texts: Tensor) -> Tensor:
        return normalize(self.txt(texts), dim=1)


def fit(encoder: DualEncoder, img: Tensor, txt: Tensor, texts: Rows, owner: Rows, schedule: Schedule) -> DualEncoder:
    """Train on the pairs of these texts with their images; in evaluation mode afterwards."""
    images = np.unique(owner[texts])
    texts_of = _texts_of(images, owner[texts])

    def loss(batch: Tensor) -> Tensor:
        of_image = [texts_of[i] for i in batch]
        own = torch.from_numpy(np.repeat(np.arange(len(batch)), [len(rows) for rows in of_image]))
        img_emb = normalize(encoder.img(img[images[batch.numpy()]]), dim=1)
        txt_emb = normalize(encoder.txt(txt[texts[np.concatenate(of_image)]]), dim=1)
        similarity = img_emb @ txt_emb.T
        if schedule.loss == "infonce":
            return infonce(similarity, own, schedule.temperature)
        return triplet(similarity, own, schedule.margin)

    minimise(encoder, loss, len(images), schedule)
    return encoder


def infonce(similarity: Tensor, own: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each text among the images, and of each image and one of its texts among the other texts."""
    logits = similarity / temperature
    pair = torch.arange(len(own))
    positive = logits[own, pair]
    others = _others(logits, own).logsumexp(1)[own]
    return nn.functional.cross_entropy(logits.T, own) + (torch.logaddexp(positive, others) - positive).mean()


def triplet(similarity: Tensor, own: Tensor, margin: float) -> Tensor:
    """The hinge of the hardest negative in the batch, both ways (VSE++)."""
    positive = similarity[own, torch.arange(len(own))]
    others = _others(similarity, own)
    costs = (hardest - positive + margin for hardest in (others.amax(0), others.amax(1)[own]))
    return torch.stack([c.clamp(min=0).mean() for c in costs]).sum()


def _others(similarity: Tensor, own: Tensor) -> Tensor:
    """Similarities, an image's own texts left out."""
    return similarity.masked_fill(own == torch.arange(len(similarity))[:, None], -torch.inf)
