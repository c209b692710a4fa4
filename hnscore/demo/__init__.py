"""The packaged image-text set, and what ``hnscore demo`` does with it."""

import json
import os
import statistics
import time
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import hnscore
from hnscore.arguments.numbers import check_integer
from hnscore.demo import mining_picture, selection_picture
from hnscore.demo import picture as _picture
from hnscore.engine.host import host_rows
from hnscore.figures.maps import principal_axes

MARGIN = 0.2
N_CALLS = 9  # one call takes about a millisecond
N_ROWS, N_MISTAKES, N_NEXT = 8, 3, 5
MINED_CAPTION, MINED_MARGIN = "walking", 0.1
N_MINED, N_SHOWN, WINDOW = 5, 18, 12
EASY = 'auto, prefer="easy"'
N_PICKS, N_AXES = 16, 3  # of the picture of the selections; 2^3 regions


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


def run(
    output: str | os.PathLike[str] = "hnscore_demo.svg",
    n_threads: int | None = None,
    export: str | os.PathLike[str] | None = None,
    selection: str | os.PathLike[str] | None = None,
    mining: str | os.PathLike[str] | None = None,
    shards: int | None = None,
) -> None:
    """Score the packaged set and choose from it, say what was found, draw it into the SVG file `output`.

    Write the set to the folder `export`, with `shards` also in so many files. Draw what each method of selection
    chooses into the SVG file `selection`, and what each rule of mining keeps into `mining`.

    Raises
    ------
    OSError
        `output`, `export`, `selection` or `mining` cannot be written.
    ValueError
        Two of the pictures are the same file.
    """
    pictures = {"output": output, "selection": selection, "mining": mining}
    taken: dict[str, str] = {}
    for name, picture in pictures.items():
        if picture is not None and (other := taken.setdefault(os.path.realpath(picture), name)) != name:
            raise ValueError(f"{name} must be another file than {other}, got {picture} for both; choose two names")
    if shards is not None and export is None:
        raise ValueError(f"shards must come with export, got {shards} alone; pass the folder to write")
    if export is not None:
        save(export, shards)
    for picture in pictures.values():
        if picture is not None and not Path(picture).parent.is_dir():
            raise FileNotFoundError(f"{picture}: No such folder; make it, or choose another")
    data = load()
    seconds = []
    for _ in range(N_CALLS):
        begun = time.perf_counter()
        scores = hnscore.score(data.img_emb, data.txt_emb, MARGIN, reference=data.reference, n_threads=n_threads)
        seconds.append(time.perf_counter() - begun)
    counts = hnscore.score(
        data.img_emb, data.txt_emb, MARGIN, reference=data.reference, weight="count", n_threads=n_threads
    )

    ranking = np.argsort(-scores, kind="stable").tolist()

    def row(rank: int) -> _picture.Row:
        i = ranking[rank - 1]
        return _picture.Row(
            rank, data.names[i], float(scores[i]), int(counts[i]), data.thumbnails[i], _mistakes(data, i)
        )

    (n_img, dim), n_txt = data.img_emb.shape, len(data.txt_emb)
    pairs, median, n_hard = n_img * n_txt, statistics.median(seconds), int(counts.sum())
    print(
        f"{n_img:,} emoji images without a caption, compared with {n_txt:,} captions of {len(data.own_names):,} other "
        f"emoji\nas {dim}-dimensional embeddings of a small image-text encoder that was trained on those captions.\n"
        f"An image is a hard negative of a caption when it is more similar to it than the caption's own image "
        f"less {MARGIN:g}:\n{n_hard:,} of {pairs:,} pairs are ({n_hard / pairs:.2%}). An image's score sums by how "
        f"much.\n\n"
        f"One call of hnscore.score: {median * 1e3:.2f} ms (median of {N_CALLS}), {pairs / median / 1e6:,.0f} million "
        f"pairs/s, {2 * dim * pairs / median / 1e9:,.1f} GFLOP/s.\n\n"
        "The five hardest negatives, and texts the encoder mistakes them for:"
    )
    for best in map(row, range(1, 6)):
        texts = ", ".join(f'"{mistake.caption.split(":")[0]}"' for mistake in best.mistakes)
        print(f"  {best.rank}. {best.name:22s} score {best.score:.2f}, {best.n_texts} texts: {texts}, ...")

    # What docs/active_learning.md found is for features that no caption has shaped; this set has only the encoder's.
    picks = hnscore.select(scores, N_NEXT, prefer="easy", embeddings=data.img_emb, n_threads=n_threads).tolist()
    call = f'hnscore.select(scores, {N_NEXT}, prefer="easy", embeddings=...)'
    print(
        f"\nWhat to annotate next, by {call}:\n  {', '.join(data.names[i] for i in picks)}\n"
        "They stand for the least hard half of the pool: in our runs on photographs, the hardest negatives made a\n"
        "worse training set than random picks, and such picks a better one (docs/active_learning.md)."
    )

    explanation = (
        f"{n_img} emoji images that have no caption yet, scored against {n_txt:,} captions of other emoji. An image is "
        "mistaken for a caption's own when its similarity to the caption exceeds that of the own image less "
        f"{MARGIN:g}, the threshold; its score sums the excess. The hardest first; an image that is mistaken mostly "
        "for the same captions as one above is passed over."
    )
    sheet = _picture.draw(
        [row(rank) for rank in _one_of_each_kind(data, ranking)],
        _picture.Picks(
            "What to annotate next",
            f"{call}: they stand for the least hard half of the pool",
            [data.names[i] for i in picks],
            [data.thumbnails[i] for i in picks],
        ),
        "Which images would be mistaken for another's caption?",
        explanation,
        MARGIN,
    )
    Path(output).write_text(sheet, encoding="utf-8")
    print(f"\nThe picture, with one row for each kind of hard negative: {output}")
    if export is not None:
        print(f"The set as .npy files: {export}")
    if selection is not None:
        draw_selection(selection, n_threads)
        print(f"What each method of selection chooses: {selection}")
    if mining is not None:
        draw_mining(mining, n_threads)
        print(f"What each rule of mining keeps: {mining}")


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


def _cosine(a: npt.NDArray[np.float16], b: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Row by row, in float64; a single row goes with every row of the other."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    cosine: npt.NDArray[np.float64] = (x * y).sum(-1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))
    return cosine


def _gap(data: EmojiSet, i: int) -> npt.NDArray[np.float64]:
    """By how much pool image i exceeds each text's threshold, 0 where it does not."""
    threshold = _cosine(data.reference, data.txt_emb) - MARGIN
    return np.maximum(_cosine(data.img_emb[i], data.txt_emb) - threshold, 0)


def _mistakes(data: EmojiSet, i: int) -> list[_picture.Mistake]:
    """The texts with the largest gap, of each image only its first: two captions of one image look the same."""
    gap = _gap(data, i)
    order = np.argsort(-gap, kind="stable")
    _, first = np.unique(data.owner[order], return_index=True)
    texts = [j for j in order[np.sort(first)[:N_MISTAKES]] if gap[j] > 0]
    similarity = _cosine(data.img_emb[i], data.txt_emb[texts])
    own_similarity = _cosine(data.reference[texts], data.txt_emb[texts])
    return [
        _picture.Mistake(data.captions[j], float(s), float(own), data.own_thumbnails[data.owner[j]])
        for j, s, own in zip(texts, similarity, own_similarity, strict=True)
    ]


def _one_of_each_kind(data: EmojiSet, ranking: list[int]) -> list[int]:
    """Ranks, best first, of images at least half of whose score comes from texts that no image before is mistaken for:
    the top of the ranking alone may be one picture eight times."""
    ranks: list[int] = []
    seen = np.zeros(len(data.txt_emb), bool)
    for rank, i in enumerate(ranking, 1):
        if len(ranks) == N_ROWS:
            break
        gap = _gap(data, i)
        if 2 * gap[~seen].sum() >= gap.sum() > 0:
            ranks.append(rank)
            seen |= gap > 0
    return ranks
