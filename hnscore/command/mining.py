"""The commands `hnscore mine`, `hnscore pairs` and `hnscore duplicates`: the keywords of the library functions, arrays
as files, in parts that a later run continues."""

import argparse
import sys
from typing import Any

import numpy as np

import hnscore
from hnscore import _core, shards
from hnscore.arguments.arrays import read_array
from hnscore.arguments.checks import check_similarity_level
from hnscore.arguments.numbers import check_choice
from hnscore.arguments.options import METHODS, SIMILARITIES
from hnscore.command.groups import Commands, Group
from hnscore.command.lists_file import ListsFile, StandsFile
from hnscore.command.pools import APART, as_one_array, is_many, open_pool, read_rows
from hnscore.command.selection import add_reading, add_work, command_of_keywords, number_or_path, say_up_to_date
from hnscore.datasets.files import numbers_of, open_array
from hnscore.engine.cpu import Cpu
from hnscore.engine.progress import rows_bar
from hnscore.engine.protocol import Request
from hnscore.mining.duplicates import DuplicatesCall
from hnscore.mining.pairs import DEFAULTS, DTYPES, PairCall
from hnscore.scores.rule import MARGINS, Rule

_TEXTS = 2**14  # mined at a time: each time the pool passes by once

_MINE_HELP = """\
The k hardest negatives of each text: its most similar images that are `margin` or more below the least similar of its
own. A .npz file with `indices` (n_txt, k), -1 where there is none, and `similarities`; of a pool in many files a folder
with that file, `negatives.npz`. Files of any size; Ctrl-C stops within a second, and the same command again continues
where it stopped.
The rules are explained by: python -c "help('hnscore.mine')"
"""

_PAIRS_HELP = """\
All pairs of an image and a text that `hnscore score --weight count` counts. A .npz file: the texts of image i are
`indices[offsets[i]:offsets[i + 1]]`, and `similarities` are those of these pairs. Results of any size; Ctrl-C stops
within a second, and the same command again continues where it stopped.
The rules are explained by: python -c "help('hnscore.pairs')"
"""

_DUPLICATES_HELP = """\
Near-duplicates among the rows of a .npy file: a .npy file with the rows to keep, or with --representatives the row that
stands for each row, (n,). Ctrl-C stops within a second, and the same command again continues where it stopped.
The rules are explained by: python -c "help('hnscore.duplicates')"
"""


def add_to(commands: Commands) -> None:
    """Add the three to the commands of a parser."""
    _add_mine(commands)
    _add_pairs(commands)
    _add_duplicates(commands)


def add_sides(files: Group, writes: bool = True) -> None:
    """Both sides and the files that say which of their pairs count."""
    files.add_argument("--images", required=True, metavar="PATH", help="the pool, (n_img, dim), in one file or many")
    files.add_argument("--texts", required=True, metavar="PATH", help="the texts, (n_txt, dim)")
    files.add_argument("--owner", metavar="NPY", help="each text's own images, (n_txt,) or for mine (n_txt, p)")
    files.add_argument("--reference", type=str, metavar="RULE|NPY", help="pool_max, paired, or a file, as for score")
    files.add_argument("--img-groups", metavar="NPY", help="labels (n_img,); equal labels never count")
    files.add_argument("--txt-groups", metavar="NPY", help="labels (n_txt,)")
    files.add_argument("--max-similarity", type=number_or_path, metavar="S|NPY", help="a number, or a file (n_txt,)")
    add_reading(files, writes, "--texts and --paired")


def add_margins(rule: Group) -> None:
    """What the threshold takes of the reference."""
    for name, what in MARGINS.items():
        default = Rule._field_defaults[name]
        rule.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=default, help=f"{what} (default: {default:g})"
        )


def _add_mine(commands: Commands) -> None:
    mine = command_of_keywords(commands, "mine", "the hardest negatives of each text", _MINE_HELP)
    files = mine.add_argument_group("files")
    files.add_argument("-o", "--output", required=True, metavar="NPZ", help="the negatives to write")
    add_sides(files)
    files.add_argument("--min-similarity", type=number_or_path, metavar="S|NPY", help="a number, or a file (n_txt,)")
    rule = mine.add_argument_group("rule")
    rule.add_argument("--k", type=int, required=True, help="negatives of each text")
    rule.add_argument("--margin", type=float, help="below the reference (default: 0)")
    rule.add_argument("--relative-margin", type=float, help="share of the reference (default: 0)")
    rule.add_argument("--skip", type=int, help="leave the so many best out (default: 0)")
    rule.add_argument("--sampling", help="top (default) or random")
    rule.add_argument("--random-state", type=int, default=0, metavar="SEED", help="of random (default: %(default)s)")
    rule.add_argument("--open", dest="closed", action="store_false", help="a similarity at the ceiling is above it")
    rule.add_argument("--similarity", help="cosine (default) or dot")
    work = mine.add_argument_group("work")
    work.add_argument("--method", help="auto (default), dense, cascade")
    add_work(work)
    mine.set_defaults(command=_mine)


def _add_pairs(commands: Commands) -> None:
    pairs = command_of_keywords(commands, "pairs", "all pairs that count, from .npy files", _PAIRS_HELP)
    files = pairs.add_argument_group("files")
    files.add_argument("-o", "--output", required=True, metavar="NPZ", help="the pairs to write")
    add_sides(files)
    files.add_argument("--paired", dest="paired_emb", metavar="NPY", help="the images that --owner is about")
    rule = pairs.add_argument_group("rule")
    add_margins(rule)
    rule.add_argument("--top-k-images", type=int, metavar="K", help="only each text's K best images count")
    rule.add_argument("--skip-top-images", type=int, metavar="K", help="each text's K best images do not count")
    rule.add_argument("--closed", action="store_true", help="a pair at its threshold counts too")
    rule.add_argument("--similarities", dest="values", choices=DTYPES, default="float32", help="their dtype")
    rule.add_argument("--similarity", help="cosine (default) or dot")
    work = pairs.add_argument_group("work")
    work.add_argument("--precision", help="exact (default), fp32, bf16")
    work.add_argument("--method", help="auto (default), dense, cascade")
    add_work(work)
    pairs.set_defaults(command=_pairs)


def _add_duplicates(commands: Commands) -> None:
    duplicates = command_of_keywords(commands, "duplicates", "near-duplicates in a .npy file", _DUPLICATES_HELP)
    files = duplicates.add_argument_group("files")
    files.add_argument("emb", metavar="EMB", help="the embeddings, (n, dim), in one file or many")
    files.add_argument("-o", "--output", required=True, metavar="NPY", help="the rows to keep, or the representatives")
    files.add_argument("--keep", metavar="NPY", help="scores (n,): of duplicates the highest is kept, not the first")
    add_reading(files)
    rule = duplicates.add_argument_group("rule")
    rule.add_argument("--min-similarity", type=float, required=True, metavar="S", help="of near-duplicates")
    rule.add_argument("--representatives", action="store_true", help="write the row that stands for each row")
    rule.add_argument("--similarity", help="cosine (default) or dot")
    work = duplicates.add_argument_group("work")
    work.add_argument("--method", help="auto (default), dense, cascade")
    add_work(work)
    duplicates.set_defaults(command=_duplicates)


# ---- What they do ----------------------------------------------------------------------------------------------------

_FILES = {
    "images": (2,), "texts": (2,), "owner": (1, 2), "reference": (1, 2), "paired_emb": (2,), "img_groups": (1,),
    "txt_groups": (1,), "max_similarity": (1,), "min_similarity": (1,), "emb": (2,), "keep": (1,),
}  # fmt: skip
_LABELS = ("owner", "img_groups", "txt_groups")
_WORDS = ("pool_max", "paired")
_UNHEARD = ("n_threads", "show_progress_bar")  # by the result


def read_files(args: argparse.Namespace) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """The files, their arrays, and the other options; settings that tell one result from another."""
    options = {k: v for k, v in vars(args).items() if k not in APART}
    paths = {name: x for name in _FILES if isinstance(x := options.get(name), str) and x not in _WORDS}
    arrays, numbers = {}, numbers_of(args.dtype)
    for name, path in list(paths.items()):
        del options[name]
        if name in ("images", "texts", "emb") and is_many(path):
            del paths[name]
            arrays[name], files = as_one_array(path, name, args)
            paths |= files
            continue
        array = open_array(path, name, args.dtype, _FILES[name])
        arrays[name] = array if name in _LABELS else numbers(array)
    return paths, arrays, options


def _settings(args: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    settings = {name: x for name, x in options.items() if name not in _UNHEARD}
    return settings | {
        "command": args.name, "dtype": args.dtype, "hnscore": hnscore.__version__, "target": _core.config()["target"],
        **args.stores,
    }  # fmt: skip


def _mine_shards(args: argparse.Namespace) -> None:
    """Of a pool in many files: one pass for all texts."""
    options = {name: x for name, x in vars(args).items() if name not in APART}
    pool, texts = open_pool(options.pop("images"), args), read_rows(options.pop("texts"), "texts", args)
    del options["random_state"]
    numbers = numbers_of(args.dtype)
    for name in _FILES:
        if isinstance(path := options.get(name), str) and path not in _WORDS:
            array = open_array(path, name, args.dtype, _FILES[name])
            options[name] = array if name in _LABELS else numbers(array)
    if (owner := options.get("owner")) is not None and owner.dtype.kind in "US":
        options["owner"] = pool.rows_of(owner.ravel()).reshape(owner.shape)
    shown = options.pop("show_progress_bar")
    done = shards.mine(
        pool, texts, options.pop("k"), output=args.output, overwrite=args.overwrite, show_progress_bar=shown, **options
    )
    if not done.computed:
        say_up_to_date(args.output)


def _mine(args: argparse.Namespace) -> None:
    if is_many(args.images):
        _mine_shards(args)
        return
    paths, arrays, options = read_files(args)
    settings, img, txt = _settings(args, options), arrays.pop("images"), arrays.pop("texts")
    n, k, seed, shown = len(txt), options.pop("k"), options.pop("random_state"), options.pop("show_progress_bar")
    if options.get("reference") == "paired":
        del options["reference"]
        arrays["owner"] = np.arange(n)
    for name in ("owner", "reference", "txt_groups", "max_similarity", "min_similarity"):
        if name in arrays and len(arrays[name]) != n:  # parts would hide it until the last one
            raise ValueError(f"{name} must have {n} rows, one per text, got {len(arrays[name])}; check its length")
    of_images = {name: arrays.pop(name) for name in ("img_groups",) if name in arrays}
    with ListsFile(args.output, paths, settings, args.overwrite, n, np.float64) as output:
        if output.up_to_date:
            say_up_to_date(args.output)
            return
        with _bar("mine", output.rows, n, shown) as bar:
            while (first := output.rows) < n:
                part = slice(first, min(first + _TEXTS, n))
                similarities, indices = hnscore.mine(
                    img, txt[part], k, random_state=np.random.default_rng([seed, first]), **of_images, **options,
                    **{name: x[part] for name, x in arrays.items()},
                )  # fmt: skip
                counts = np.full(part.stop - first, k)
                output.write_part(counts, indices.ravel(), similarities.ravel())
                bar.update(part.stop - first)
        output.finish_as(
            {
                "indices": ((n, k), "<i8", lambda: output.entries(1)),
                "similarities": ((n, k), "<f8", lambda: output.entries(2)),
            }
        )


def _pairs(args: argparse.Namespace) -> None:
    paths, arrays, options = read_files(args)
    settings = _settings(args, options)
    shown, dtype = options.pop("show_progress_bar"), options.pop("values")
    img, txt = arrays.pop("images"), arrays.pop("texts")
    n = len(img)
    with ListsFile(args.output, paths, settings, args.overwrite, n, DTYPES[dtype]) as output:
        if output.up_to_date:
            say_up_to_date(args.output)
            return
        call = PairCall(DEFAULTS | {"img_emb": img, "txt_emb": txt, "dtype": dtype} | arrays | options)
        with _bar("pairs", output.rows, n, shown) as bar:
            for part in call.parts(output.rows):
                output.write_part(part.counts, part.columns, part.similarities)
                bar.update(len(part.counts))
        total, value = output.total, output.dtype.str
        output.finish_as(
            {
                "offsets": ((n + 1,), "<i8", output.offsets),
                "indices": ((total,), "<i8", lambda: output.entries(1)),
                "similarities": ((total,), value, lambda: output.entries(2)),
            }
        )


def _duplicates(args: argparse.Namespace) -> None:
    paths, arrays, options = read_files(args)
    settings, wanted = _settings(args, options), options.pop("representatives", False)
    shown, similarity = options.pop("show_progress_bar"), options.pop("similarity", "cosine")
    check_choice("similarity", similarity, SIMILARITIES)
    check_choice("method", options.get("method", "auto"), METHODS)
    least = check_similarity_level("min_similarity", options.pop("min_similarity"), similarity)
    keep = read_array("keep", arrays["keep"])[0] if "keep" in arrays else "first"
    request = Request("pairs", similarity=similarity, method=options.pop("method", "auto"))
    with StandsFile(args.output, paths, settings, args.overwrite) as output:
        if output.up_to_date:
            say_up_to_date(args.output)
            return
        call = DuplicatesCall(Cpu(options.pop("n_threads", None)), arrays["emb"], least, keep, request)
        stands = output.load()
        if stands is not None:
            call.stands = stands
        call.run(rows_bar(shown, "duplicates", call.n), output.rows, lambda stop: output.write_rows(stop, call.stands))
        kept, representatives = call.result()
        output.finish_as(representatives if wanted else kept)
    print(f"hnscore: {len(kept):,} of {call.n:,} rows are kept", file=sys.stderr)


def _bar(what: str, done: int, total: int, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(
        desc=what, total=total, initial=done, unit="rows", unit_scale=True, disable=not shown, file=sys.stderr,
        mininterval=0.1 if sys.stderr.isatty() else 10,
    )  # fmt: skip
