"""Image-text pairs with class labels: Wikipedia, Flickr8k with labels made from its captions, or any folder of both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import FeatureSet, _standardised, find, load
from tasks import Array, Rows

N_CLASSES = 24
NAMED_BY = 2
"""Captions of an image that must name a label."""
NOUNS = {
    name: {name, *plurals.split()}
    for name, plurals in {
        "baby": "babies", "ball": "balls", "beach": "beaches", "bench": "benches", "bicycle": "bicycles",
        "bike": "bikes", "boat": "boats", "boy": "boys", "building": "buildings", "camera": "cameras", "car": "cars",
        "child": "children", "crowd": "crowds", "dirt": "", "dog": "dogs", "field": "fields", "fountain": "fountains",
        "frisbee": "frisbees", "girl": "girls", "grass": "", "hat": "hats", "hill": "hills", "horse": "horses",
        "jacket": "jackets", "lake": "lakes", "man": "men", "mountain": "mountains", "ocean": "", "park": "parks",
        "people": "", "person": "", "player": "players", "pool": "pools", "race": "races", "ramp": "ramps",
        "road": "roads", "rock": "rocks", "sand": "", "shirt": "shirts", "sidewalk": "sidewalks",
        "skateboard": "skateboards", "snow": "", "soccer": "", "stick": "sticks", "street": "streets", "swing":
        "swings", "table": "tables", "tennis": "", "toy": "toys", "tree": "trees", "wall": "walls", "water": "",
        "wave": "waves", "woman": "women",
    }.items()
}  # fmt: skip
"""Frequent content nouns of photo captions, with their plurals; the labels are the most frequent of them."""


@dataclass
class LabeledPairs:
    """One image and one text a row."""

    img: Array
    """(n, d), standardised by the train part."""
    txt: Array
    """(n, e), likewise."""
    labels: Array
    """(n, n_classes) of 0 and 1."""
    multi_label: bool
    """Whether a row may have several."""
    rows: dict[str, Rows]
    """Of each part; what is in dev or test is not in train."""


def load_pairs(name: str) -> LabeledPairs:
    """Pairs that have a label.

    A folder with features.npz (image, text, label, train, test: the Wikipedia set as it comes) has no dev part: that is
    a fixed fifth of train, which never is in the pool. Any other folder is laid out as for retrieval, with labels.npy,
    (n_img,) or (n_img, n_classes), or else with captions that labels are made from. There a pair is an image and the
    mean of its texts' features: it has all that the captions say, and does not depend on which of them comes first.
    """
    folder = find(name)
    if (folder / "features.npz").is_file():
        return _one_file(folder / "features.npz")
    data = load(name)
    path = folder / "labels.npy"
    labels = np.load(path) if path.is_file() else caption_labels(data)
    if len(labels) != len(data.img) or labels.ndim > 2:
        raise SystemExit(
            f"{path} must be (n_img,) or (n_img, n_classes) with n_img = {len(data.img)}, got {labels.shape}"
        )
    texts = np.bincount(data.owner, minlength=len(data.img))
    txt = np.zeros((len(data.img), data.txt.shape[1]), np.float32)
    np.add.at(txt, data.owner, data.txt)
    txt /= np.maximum(texts, 1)[:, None]
    known = one_hot(labels)
    usable = (known.sum(axis=1) > 0) & (texts > 0)
    return _checked(
        folder,
        LabeledPairs(
            data.img,
            txt,
            known,
            labels.ndim == 2,
            {part: rows[usable[rows]] for part, rows in data.images.items()},
        ),
    )


def _one_file(path: Path) -> LabeledPairs:
    with np.load(path) as data:
        train = np.random.default_rng(0).permutation(data["train"].astype(np.int64))
        n_dev = len(train) // 5
        rows = {"dev": np.sort(train[:n_dev]), "train": np.sort(train[n_dev:]), "test": data["test"].astype(np.int64)}
        img, txt = (data[side].astype(np.float32) for side in ("image", "text"))
        return _checked(path, LabeledPairs(img, txt, one_hot(data["label"]), data["label"].ndim == 2, rows))


def _checked(path: Path, pairs: LabeledPairs) -> LabeledPairs:
    if empty := [part for part, rows in pairs.rows.items() if not len(rows)]:
        raise SystemExit(f"{path}: every part needs images with texts and labels, {', '.join(empty)} has none")
    train = pairs.rows["train"]
    pairs.img, pairs.txt = _standardised(pairs.img, train), _standardised(pairs.txt, train)
    return pairs


def one_hot(labels: Rows | Array) -> Array:
    """(n, n_classes) of 0 and 1. Of class numbers a negative one is no label."""
    if labels.ndim == 2:
        return np.asarray(labels > 0, np.float32)
    return np.asarray(labels[:, None] == np.arange(labels.max() + 1), np.float32)


def caption_labels(data: FeatureSet) -> Array:
    """(n_img, 24) labels of images from their captions. Our construction: Flickr8k has no classes.

    An image has a label when at least 2 of its captions name the noun, in singular or plural. The labels are the 24
    of NOUNS that most images of the train part have. Images without any are left out of the supervised set.
    """
    named = np.zeros((len(data.img), len(NOUNS)), np.int64)
    for caption, image in zip(data.captions, data.owner, strict=True):
        words = set(re.findall("[a-z]+", caption.lower()))
        named[image] += [not words.isdisjoint(forms) for forms in NOUNS.values()]
    has = (named >= NAMED_BY).astype(np.float32)
    most = np.argsort(-has[data.images["train"]].sum(axis=0), kind="stable")[:N_CLASSES]
    return np.asarray(has[:, most], np.float32)
