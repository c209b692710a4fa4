"""The second source's arrangement on real data, from end to end: 500 pairs at first, 500 a round, chosen by
informativeness, density and regions of Gaussian embeddings that are learnt anew in every round."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import hnscore
from hnscore.nn import ProbabilisticEncoder, fit

Pairs = dict[str, NDArray[Any]]
FIRST = EACH = 500


def choose(data: Pairs, labeled: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """The rows to label next."""
    pool = np.setdiff1d(np.arange(len(data["label"])), labeled)
    img, txt = data["image"], data["text"]
    encoder = ProbabilisticEncoder(img.shape[1], txt.shape[1], dim=32, random_state=0)
    learnt = fit(
        encoder, img[labeled], txt[labeled], labels=data["label"][labeled], epochs=8, random_state=0, n_threads=1
    )
    pairs = [x.numpy() if hasattr(x, "numpy") else x for x in encoder(img[pool], txt[pool])]
    info = hnscore.informativeness(*pairs, scale=learnt.scale, shift=learnt.shift)
    mean, var = hnscore.fuse(*pairs)
    crowded = hnscore.density(mean, "gaussian", variance=var.mean(axis=1), similarity="dot")
    regions = (mean - mean.mean(axis=0) > 0)[:, :3] @ [1, 2, 4]
    shares = hnscore.allocate(info.total, crowded, regions, budget)
    picks = hnscore.select(info.total, budget, density=crowded, regions=regions, method="budgeted")

    assert shares.sum() == len(picks) == len(set(picks)) == budget
    assert np.all(shares <= np.bincount(regions, minlength=len(shares)))
    np.testing.assert_array_equal(np.bincount(regions[picks], minlength=len(shares)), shares)
    for region, share in enumerate(shares):  # inside a region the most informative ones
        inside = info.total[regions == region]
        chosen = info.total[picks[regions[picks] == region]]
        np.testing.assert_array_equal(np.sort(chosen)[::-1], np.sort(inside)[::-1][:share])
    return pool[picks]


def test_rounds_of_500_pairs(wikipedia: Pairs) -> None:
    n = len(wikipedia["label"])
    labeled = np.random.default_rng(0).choice(n, FIRST, replace=False)
    sizes = [FIRST]
    while len(labeled) < n:
        budget = min(EACH, n - len(labeled))
        picks = choose(wikipedia, labeled, budget)
        np.testing.assert_array_equal(np.intersect1d(picks, labeled), [])
        labeled = np.concatenate([labeled, picks])
        sizes.append(len(labeled))
    assert sizes == [500, 1000, 1500, 2000, 2173]
    np.testing.assert_array_equal(np.sort(labeled), np.arange(n))
