"""The packaged image-text set, and what ``hnscore demo`` does with it."""

import os
import statistics
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

import hnscore
from hnscore.demo import picture as _picture
from hnscore.demo.choices import EASY, N_PICKS, draw_mining, draw_selection
from hnscore.demo.data import MARGIN, EmojiSet, load, save

__all__ = [
    "EASY", "MARGIN", "N_MISTAKES", "N_NEXT", "N_PICKS", "N_ROWS", "EmojiSet", "draw_mining", "draw_selection", "load",
    "run", "save",
]  # fmt: skip

N_CALLS = 9  # one call takes about a millisecond
N_ROWS, N_MISTAKES, N_NEXT = 8, 3, 5


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
