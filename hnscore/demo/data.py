"""The packaged image-text set."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hnscore.arguments.numbers import check_integer

MARGIN = 0.2


class EmojiSet(NamedTuple):
    """Emoji as an image-text set; every embedding is a row of float16 with norm 1.

    ``img_emb[i]`` belongs to ``names[i]`` and ``thumbnails[i]``; ``txt_emb[j]`` and ``reference[j]``, the embedding of
    text j's own image, belong to ``captions[j]``; that image is ``own_names[owner[j]]``, ``own_thumbnails[owner[j]]``.
    """

    img_emb: npt.NDArray[np.float16]  # (n_img, dim), the pool
    txt_emb: npt.NDArray[np.float16]  # (n_txt, dim)
    reference: npt.NDArray[np.float16]  # (n_txt, dim)
    owner: npt.NDArray[np.int32]  # (n_txt,)
    names: list[str]
    captions: list[str]
    own_names: list[str]
    thumbnails: list[bytes]  # PNG, 64 x 64
    own_thumbnails: list[bytes]


def load() -> EmojiSet:
    """Read the packaged set: 500 pool images, and 550 other images with their 1,474 captions."""
    with files("hnscore").joinpath("data/emoji.npz").open("rb") as file, np.load(file, allow_pickle=False) as data:
        strings = json.loads(data["strings"].tobytes())
        png = data["thumbnails"].tobytes()
        ends = data["thumbnail_ends"].tolist()
        thumbnails = [png[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
        n_img = len(data["pool_emb"])
        return EmojiSet(
            img_emb=data["pool_emb"],
            txt_emb=data["txt_emb"],
            reference=data["paired_emb"][data["owner"]],
            owner=data["owner"],
            names=strings["pool_names"],
            captions=strings["captions"],
            own_names=strings["paired_names"],
            thumbnails=thumbnails[:n_img],
            own_thumbnails=thumbnails[n_img:],
        )


def save(directory: str | os.PathLike[str], shards: int | None = None) -> None:
    """Write pool.npy, texts.npy and reference.npy, as ``hnscore score`` reads them.

    With `shards` also the folder pool, of so many Parquet files of the columns ``id``, the names, and ``emb``.
    """
    data = load()
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "pool.npy", data.img_emb)
    np.save(folder / "texts.npy", data.txt_emb)
    np.save(folder / "reference.npy", data.reference)
    if shards is not None:
        _save_shards(folder / "pool", data, check_integer("shards", shards, 1, len(data.img_emb), "files"))


def _save_shards(folder: Path, data: EmojiSet, n: int) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("shards are Parquet files, which need pyarrow; pip install 'hnscore[pools]'") from error
    folder.mkdir(exist_ok=True)
    for i, rows in enumerate(np.array_split(np.arange(len(data.img_emb)), n)):
        values = np.ascontiguousarray(data.img_emb[rows])
        emb = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        pq.write_table(pa.table({"id": [data.names[row] for row in rows], "emb": emb}), folder / f"{i:04d}.parquet")
