"""Pictures of what each method of selection chooses of the packaged set, and of what each rule of mining keeps."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import hnscore
from hnscore.demo import mining_picture, selection_picture
from hnscore.demo.data import MARGIN, load
from hnscore.engine.host import host_rows
from hnscore.figures.maps import principal_axes

MINED_CAPTION, MINED_MARGIN = "walking", 0.1
N_MINED, N_SHOWN, WINDOW = 5, 18, 12
EASY = 'auto, prefer="easy"'
N_PICKS, N_AXES = 16, 3  # of the picture of the selections; 2^3 regions


def draw_selection(output: str | os.PathLike[str], n_threads: int | None = None) -> None:
    """Draw what each method of `hnscore.select`, every keyword at its default, chooses from the packaged pool.

    Raises
    ------
    OSError
        `output` cannot be written.
    """
    data = load()
    emb = data.img_emb
    scores = hnscore.score(emb, data.txt_emb, MARGIN, reference=data.reference, n_threads=n_threads)
    rows = host_rows("emb", emb)
    axes = principal_axes(rows, N_AXES)
    place = axes.place(rows, np.arange(len(emb)))
    regions = (place > 0) @ (1 << np.arange(N_AXES))

    def chosen(name: str) -> npt.NDArray[np.int64]:
        how: dict[str, Any] = {"prefer": "easy"} if name == EASY else {"method": name, "regions": regions}
        if name == "random":
            return np.random.default_rng(0).choice(len(emb), N_PICKS, replace=False)
        rows: npt.NDArray[np.int64] = (
            hnscore.core_set(emb, N_PICKS, n_threads=n_threads)
            if name == "core_set"
            else hnscore.select(scores, N_PICKS, embeddings=emb, n_threads=n_threads, **how)
        )
        return rows

    best = float(scores[chosen("top")].sum(dtype=np.float64))

    def panel(name: str, rule: str) -> selection_picture.Panel:
        picks = chosen(name)
        share = float(scores[picks].sum(dtype=np.float64)) / best
        return selection_picture.Panel(
            name, rule, picks.tolist(), share, _mean_cosine(emb[picks]), divided=name == "budgeted"
        )

    at_random = N_PICKS * float(scores.mean(dtype=np.float64)) / best, _mean_cosine(emb)
    explanation = (
        f"{N_PICKS} of the demo's {len(emb)} images, by each method with every keyword at its default. Picked at "
        f"random they would have {at_random[0]:.0%} of the best sum and a cosine of {at_random[1]:.2f}. Grey: the pool "
        f"along the two directions in which it spreads most, which hold {axes.share:.0%} of its variance: some that "
        "look close are not. Thumbnails that would overlap are moved, with a line to their place. Dashed: sides of "
        "regions."
    )
    sheet = selection_picture.draw(
        [
            panel(EASY, "the default: picks that the least hard half has near"),
            panel("random", "no rule"),
            panel("top", "the highest scores"),
            panel("density", "the highest scores, made less where it is crowded"),
            panel("budgeted", f"high scores of {2**N_AXES} regions: signs of {N_AXES} directions"),
            panel("repulsive", "high scores, less the likeness to the other picks"),
            panel("coverage", "picks that high scores have near them"),
            panel("core_set", "no scores: always the one farthest from the picks"),
            panel("herding", "no scores: a small copy of the pool"),
        ],
        place[:, :2],
        data.thumbnails,
        data.names,
        f"{N_PICKS} images for the annotator, chosen in nine ways",
        explanation,
    )
    Path(output).write_text(sheet, encoding="utf-8")


def draw_mining(output: str | os.PathLike[str], n_threads: int | None = None) -> None:
    """Draw what several rules of mining keep for one caption, among the images of the packaged set.

    Raises
    ------
    OSError
        `output` cannot be written.
    """
    data = load()
    text = data.captions.index(MINED_CAPTION)
    first = np.unique(data.owner, return_index=True)[1]
    emb = np.concatenate([data.img_emb, data.reference[first]])
    names, thumbnails = [*data.names, *data.own_names], [*data.thumbnails, *data.own_thumbnails]
    own = len(data.img_emb) + int(data.owner[text])
    caption = data.txt_emb[text : text + 1]
    s, near = (x[0] for x in hnscore.knn_graph(caption, N_SHOWN, against=emb, exclude_self=False, n_threads=n_threads))
    _, mined = hnscore.mine(emb, caption, N_MINED, owner=[own], margin=MINED_MARGIN, n_threads=n_threads)
    reference = float(hnscore.reference_similarity(emb, caption, owner=[own])[0])
    ceiling = int((s > reference - MINED_MARGIN).sum())
    places = [place for place in range(N_SHOWN) if near[place] != own]
    sheet = mining_picture.draw(
        [
            mining_picture.Image(thumbnails[i], names[i], float(x), bool(i == own))
            for i, x in zip(near.tolist(), s.tolist(), strict=True)
        ],
        ceiling,
        [
            mining_picture.Rule(f"the {N_MINED} most similar", "all but the caption's own image", places[:N_MINED]),
            mining_picture.Rule("by rank", "ranks 6 to 10, whatever their similarity", places[5 : 5 + N_MINED]),
            mining_picture.Rule(
                f"a window of {WINDOW}, then the margin", "what the margin leaves of so many candidates",
                [place for place in places if ceiling <= place < WINDOW], WINDOW,
            ),
            mining_picture.Rule(
                "mine", f"the {N_MINED} most similar that the margin leaves of all images",
                [near.tolist().index(i) for i in mined[0].tolist()],
            ),
        ],
        f"Negatives of the caption “{MINED_CAPTION}”, by four rules",
        f"The {N_SHOWN} images of the demo that are most similar to it, with their similarity; blue: its own image. "
        f"Left of the dashed line they are within {MINED_MARGIN} of the own image: some show somebody walking, and "
        "would be false negatives (red). Green: kept, and below the margin. Beyond the grey line a window does not "
        "look.",
    )  # fmt: skip
    Path(output).write_text(sheet, encoding="utf-8")


def _mean_cosine(emb: npt.NDArray[np.float16]) -> float:
    """Of all pairs of two rows: |sum of the rows|^2 is the sum over all pairs, with each row's own."""
    x = emb.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    n = len(x)
    return float((np.square(x.sum(axis=0)).sum() - n) / (n * (n - 1)))
