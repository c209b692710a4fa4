"""Train a small image-text dual encoder on a part of the emoji set and write the data that the package carries.

    pip install numpy torch==2.13.0
    python benchmarks/emoji/train_encoder.py --images DIR --output hnscore/data/emoji.npz

DIR is what build_images.py wrote. The split is one round of active learning: `paired` images are trained on together
with their captions, `held_out` images are only ever used to state R@1 and R@10, and `pool` images are seen by the
encoder for the first time when they are embedded at the end. Nothing is downloaded; half a minute on one core.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize, pad

N_PAIRED, N_POOL, N_HELD_OUT = 550, 500, 200
BUCKETS = 8192
MARGIN = 0.2


class ImageEncoder(nn.Module):
    """Four strided convolutions over 32 x 32 pixels and a linear head."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in ((3, 32), (32, 64), (64, 128), (128, 128)):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * 2 * 2, dim))

    def forward(self, pixels: Tensor) -> Tensor:
        return normalize(self.body(pixels), dim=1)


class TextEncoder(nn.Module):
    """The mean of the vectors of a caption's words and character n-grams, and a linear head."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(BUCKETS, 128, mode="mean")
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, dim))

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        return normalize(self.head(self.bag(ids, offsets)), dim=1)


def hashed(caption: str) -> Tensor:
    """Bucket numbers of the words and of their 3- and 4-grams; crc32 because it is the same everywhere."""
    grams: list[str] = []
    for word in re.findall(r"\w+", caption.lower()):
        bounded = f"<{word}>"
        grams.append(bounded)
        grams += [bounded[i : i + n] for n in (3, 4) for i in range(len(bounded) - n + 1)]
    return torch.tensor([zlib.crc32(gram.encode()) % BUCKETS for gram in grams or [caption]])


def bag(captions: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Concatenated ids and where each caption begins, as EmbeddingBag takes them."""
    lengths = torch.tensor([0] + [len(ids) for ids in captions[:-1]])
    return torch.cat(captions), lengths.cumsum(0)


def shifted(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to 3 pixels, its brightness and its colour balance changed by up to 15 %."""
    n = len(pixels)
    padded = pad(pixels, (3, 3, 3, 3), value=1.0)  # 1 is white, the background
    dy, dx = (torch.randint(0, 7, (n, 1, 1, 1), generator=generator) for _ in range(2))
    rows, columns = torch.arange(32).view(1, 1, 32, 1) + dy, torch.arange(32).view(1, 1, 1, 32) + dx
    moved = padded[torch.arange(n).view(n, 1, 1, 1), torch.arange(3).view(1, 3, 1, 1), rows, columns]
    return moved * (1 + 0.15 * (2 * torch.rand(n, 3, 1, 1, generator=generator) - 1))


def triplet_loss(images: Tensor, texts: Tensor, hardest: bool) -> Tensor:
    """Hinge of (negative - positive + margin) in both directions, over the hardest negative or over all that violate.

    The hardest negatives alone let both encoders collapse to one point when they start from noise, so the first half of
    the training uses all.
    """
    similarity = images @ texts.T
    others = 1 - torch.eye(len(similarity))
    loss = torch.zeros(())
    for rows in (similarity, similarity.T):
        cost = (rows - rows.diagonal()[:, None] + MARGIN).clamp(min=0) * others
        loss = loss + (cost.amax(1).mean() if hardest else cost.sum() / (cost > 0).sum().clamp(min=1))
    return loss


def recall(img_emb: Tensor, txt_emb: Tensor, owner: Tensor, k: int) -> float:
    """Share of texts whose own image is among their k most similar images."""
    nearest = (txt_emb @ img_emb.T).topk(k, dim=1).indices
    return float((nearest == owner[:, None]).any(1).float().mean())


class Data:
    """The whole set in memory: pixels (n, 3, 32, 32) in 0..1, hashed captions, and which image owns which."""

    def __init__(self, folder: Path) -> None:
        text = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
        self.captions: list[list[str]] = text["captions"]
        with np.load(folder / "images.npz") as images:
            if "thumbnails" not in images:
                raise SystemExit(f"{folder}/images.npz holds no thumbnails; make it with build_images.py")
            self.pixels = avg_pool2d(torch.from_numpy(images["images64"]).permute(0, 3, 1, 2) / 255.0, 2)
            ends: list[int] = images["thumbnail_ends"].tolist()
            png = images["thumbnails"].tobytes()
        self.thumbnails = [png[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        self.hashed = [[hashed(caption) for caption in own] for own in self.captions]

    def flat(self, rows: list[int]) -> tuple[list[Tensor], Tensor]:
        """All captions of these images, and for each the position of its image in `rows`."""
        pairs = [(caption, position) for position, row in enumerate(rows) for caption in self.hashed[row]]
        return [caption for caption, _ in pairs], torch.tensor([position for _, position in pairs])


def train(data: Data, paired: list[int], held_out: list[int], dim: int, epochs: int, seed: int) -> nn.ModuleList:
    """Each epoch shows every paired image once, with one of its captions drawn anew: a batch never holds two captions
    of one image, which would be each other's false negatives."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    encoders = nn.ModuleList([ImageEncoder(dim), TextEncoder(dim)])
    optimizer = torch.optim.AdamW(encoders.parameters(), lr=2e-3, weight_decay=1e-3)
    batch_size = 110
    steps = len(paired) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * steps)
    begun = time.perf_counter()
    for epoch in range(epochs):
        encoders.train()
        total = 0.0
        for batch in torch.randperm(len(paired), generator=generator)[: steps * batch_size].split(batch_size):
            rows = [paired[i] for i in batch.tolist()]
            choice = torch.rand(len(rows), generator=generator).tolist()
            captions = [data.hashed[row][int(c * len(data.hashed[row]))] for row, c in zip(rows, choice, strict=True)]
            images = encoders[0](shifted(data.pixels[rows], generator))
            loss = triplet_loss(images, encoders[1](*bag(captions)), hardest=epoch >= epochs // 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if (epoch + 1) % 20 == 0 or epoch + 1 == epochs:
            print(
                f"epoch {epoch + 1:3d}  loss {total / steps:.3f}  paired {report(encoders, data, paired)}  "
                f"held out {report(encoders, data, held_out)}  {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
    return encoders


@torch.no_grad()
def embed(encoders: nn.ModuleList, pixels: Tensor, captions: list[Tensor]) -> tuple[Tensor, Tensor]:
    encoders.eval()
    return encoders[0](pixels), encoders[1](*bag(captions))


def report(encoders: nn.ModuleList, data: Data, rows: list[int]) -> str:
    captions, owner = data.flat(rows)
    img_emb, txt_emb = embed(encoders, data.pixels[rows], captions)
    return f"R@1 {recall(img_emb, txt_emb, owner, 1):.1%} R@10 {recall(img_emb, txt_emb, owner, 10):.1%}"


def write(path: Path, encoders: nn.ModuleList, data: Data, paired: list[int], pool: list[int]) -> None:
    """What hnscore/data/README.md describes; strings as UTF-8 JSON, so that reading needs no pickle."""
    captions, owner = data.flat(paired)
    paired_emb, txt_emb = embed(encoders, data.pixels[paired], captions)
    pool_emb, _ = embed(encoders, data.pixels[pool], captions)
    strings = {
        "pool_names": [data.captions[row][0] for row in pool],
        "paired_names": [data.captions[row][0] for row in paired],
        "captions": [caption for row in paired for caption in data.captions[row]],
    }
    pngs = [data.thumbnails[row] for row in [*pool, *paired]]
    np.savez_compressed(
        path,
        pool_emb=pool_emb.half().numpy(),
        paired_emb=paired_emb.half().numpy(),
        txt_emb=txt_emb.half().numpy(),
        owner=owner.numpy().astype(np.int32),
        strings=np.frombuffer(json.dumps(strings, ensure_ascii=False).encode(), np.uint8),
        thumbnails=np.frombuffer(b"".join(pngs), np.uint8),
        thumbnail_ends=np.cumsum([len(png) for png in pngs]),
    )
    own = (txt_emb * paired_emb[owner]).sum(1)
    qualifying = float((pool_emb @ txt_emb.T > own - MARGIN).float().mean())
    print(
        f"{path}: {len(pool)} pool images, {len(paired)} paired images, {len(captions)} captions, "
        f"{path.stat().st_size / 1e6:.2f} MB; {qualifying:.1%} of the pairs are hard negatives at margin {MARGIN}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the emoji dual encoder and write the packaged data.")
    parser.add_argument("--images", type=Path, required=True, help="folder with images.npz and captions.json")
    parser.add_argument("--output", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--dim", type=int, default=64, help="dimension of the joint space (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=120, help="passes over the paired images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    data = Data(arguments.images)
    order: list[int] = np.random.default_rng(arguments.seed).permutation(len(data.captions)).tolist()
    paired, pool = order[:N_PAIRED], order[N_PAIRED : N_PAIRED + N_POOL]
    held_out = order[N_PAIRED + N_POOL :][:N_HELD_OUT]
    encoders = train(data, paired, held_out, arguments.dim, arguments.epochs, arguments.seed)
    write(arguments.output, encoders, data, paired, pool)


if __name__ == "__main__":
    main()
