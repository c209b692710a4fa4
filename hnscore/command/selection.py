"""The commands `hnscore density` and `hnscore select`: the keywords of the library functions, arrays as .npy files."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import hnscore
from hnscore import _core, shards
from hnscore.arguments.options import PREFERENCES, SELECTION_METHODS
from hnscore.command.groups import Commands, Group
from hnscore.command.output import Output
from hnscore.command.pools import APART, add_columns, as_one_array, is_many, open_pool, read_rows
from hnscore.datasets.files import Array, numbers_of, open_array

_DENSITY_HELP = """\
How crowded the embedding space is around every row of a .npy file: a .npy file (n,), or with -o - one value a line.
The kinds and their rules are explained by: python -c "help('hnscore.density')"
"""

_SELECT_HELP = """\
Which rows of the pool to annotate next: their indices, best first, one a line, or with -o as an int64 .npy file.
Without --method: picks that cover the better half of the scores where --embeddings are given, else the best scores.
High scores are better; for those of `hnscore score`, --prefer easy takes the images that are the least hard negatives,
which made the better training set in our runs (docs/active_learning.md).
The methods and what each needs are explained by: python -c "help('hnscore.select')"
"""


def add_to(commands: Commands) -> None:
    """Add both to the commands of a parser."""
    _add_density(commands)
    _add_select(commands)


def _add_density(commands: Commands) -> None:
    density = command_of_keywords(commands, "density", "how crowded the embeddings of a .npy file are", _DENSITY_HELP)
    files = density.add_argument_group("files")
    files.add_argument("emb", metavar="EMB", help="the embeddings, (n, dim), in one file or many")
    files.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="NPY",
        help="the densities, (n,): a .npy file, or -, one a line; of many files with --against, or a folder",
    )
    files.add_argument("--against", metavar="NPY", help="the points to look at instead of the other rows, (m, dim)")
    files.add_argument("--weights", metavar="NPY", help="of the points looked at")
    files.add_argument("--variance", metavar="NPY", help="for --kind gaussian, (n,)")
    files.add_argument("--against-variance", metavar="NPY", help="the same of --against, (m,)")
    add_reading(files, others="--against")
    rule = density.add_argument_group("rule")
    rule.add_argument("--kind", help="knn (default), ball, kernel, mean, gaussian")
    rule.add_argument("--k", type=int, help="for --kind knn (default: 20)")
    rule.add_argument("--min-similarity", type=float, metavar="S", help="for --kind ball")
    rule.add_argument("--temperature", type=float, help="for --kind kernel")
    rule.add_argument("--no-exclude-self", dest="exclude_self", action="store_false", help="count the point itself too")
    rule.add_argument("--similarity", help="cosine (default) or dot")
    work = density.add_argument_group("work")
    work.add_argument("--precision", help="exact (default), fp32, bf16")
    work.add_argument("--method", help="auto (default), dense, cascade")
    add_work(work)
    density.set_defaults(command=_density)


def _add_select(commands: Commands) -> None:
    select = command_of_keywords(commands, "select", "choose what to annotate next from .npy files", _SELECT_HELP)
    files = select.add_argument_group("files")
    files.add_argument("--scores", metavar="NPY", help="of every pool row, (n,); some methods do without")
    files.add_argument("--embeddings", metavar="PATH", help="the pool, (n, dim), in one file or many")
    files.add_argument("--density", metavar="NPY", help="of every pool row, (n,), as `hnscore density` writes it")
    files.add_argument(
        "--regions",
        type=number_or_path,
        metavar="N|NPY",
        help="integer labels from 0, (n,), or how many to find (needs scikit-learn)",
    )
    files.add_argument("--labeled", metavar="NPY", help="rows that are labeled already and never picked")
    files.add_argument("-o", "--output", default="-", metavar="NPY", help="default: -, one index a line")
    add_reading(files)
    rule = select.add_argument_group("rule")
    rule.add_argument("--budget", type=int, required=True, metavar="N", help="how many rows to pick")
    rule.add_argument("--prefer", choices=PREFERENCES, help="easy: low scores are the better ones")
    rule.add_argument("--method", help=f"auto (default), {', '.join(SELECTION_METHODS[1:])}")
    rule.add_argument("--center", action="store_true", help="standardise the embeddings over the pool first")
    rule.add_argument("--regularization", type=float, metavar="R", help="for budgeted and repulsive (default: 1)")
    rule.add_argument("--density-exponent", type=float, metavar="E", help="for density (default: -1)")
    rule.add_argument("--temperature", type=float, metavar="T", help="of the kernel (default: 0.4 for auto, else 0.1)")
    rule.add_argument(
        "--subsample",
        type=_number_or_word,
        metavar="N|all",
        help="points of means (default: 10,000 or more)",
    )
    rule.add_argument("--epsilon", type=float, metavar="E", help="for stochastic (default: 0.1)")
    rule.add_argument("--random-state", type=int, metavar="SEED")
    work = select.add_argument_group("work")
    work.add_argument("--memory-limit", type=int, metavar="BYTES", help="of what is kept (default: 1.5 GiB)")
    add_work(work)
    select.set_defaults(command=_select)


def command_of_keywords(commands: Commands, name: str, brief: str, description: str) -> argparse.ArgumentParser:
    """A command whose options are keywords of a function: those not given are left to its defaults."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=brief,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    return parser


def add_reading(files: Group, writes: bool = True, others: str = "") -> None:
    add_columns(files, others)
    files.add_argument(
        "--dtype", choices=["bfloat16"], default=None, help="read two-byte files without a number type as bfloat16"
    )
    if writes:
        files.add_argument("--overwrite", action="store_true", default=False, help="replace what --output holds")


def add_work(work: Group) -> None:
    work.add_argument("--n-threads", type=int, help="default: every core")
    work.add_argument(
        "--no-progress", dest="show_progress_bar", action="store_false", default=True, help="no progress bar"
    )


def _number_or_word(text: str) -> int | str | None:
    with contextlib.suppress(ValueError):
        return int(text)
    return None if text == "all" else text


def number_or_path(text: str) -> float | str:
    """Numbers that are no count too: the function refuses those by name."""
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text


def _density_shards(args: argparse.Namespace) -> None:
    """Of a pool in many files, against some points: one result shard each."""
    options = {name: x for name, x in vars(args).items() if name not in APART}
    pool, against = open_pool(options.pop("emb"), args), read_rows(options.pop("against"), "against", args)
    if "weights" in options:
        options["weights"] = open_array(options["weights"], "weights", args.dtype, (1,))
    shown = options.pop("show_progress_bar")
    done = shards.density(
        pool, against=against, output=args.output, overwrite=args.overwrite, show_progress_bar=shown, **options
    )
    if not done.computed:
        say_up_to_date(args.output)


def _density(args: argparse.Namespace) -> None:
    if is_many(args.emb) and "against" in args and not args.output.endswith(".npy") and args.output != "-":
        _density_shards(args)
        return
    if ("against_variance" in args) != ("against" in args and "variance" in args):
        given = [f"--{name.replace('_', '-')}" for name in ("against", "variance", "against_variance") if name in args]
        raise ValueError(
            "--against-variance must be given where --against and --variance both are, and only there, got "
            f"{' and '.join(given)}; pass all three, or --variance alone"
        )
    names = ("against", "against_variance", "emb", "variance", "weights")
    paths, arrays, options = _arrays_and_options(args, *names)
    settings = dict(options)
    if "against_variance" in arrays:
        arrays["variance"] = arrays["variance"], arrays.pop("against_variance")
    _write(lambda: hnscore.density(arrays.pop("emb"), **arrays, **options), args, paths, settings)


def _select(args: argparse.Namespace) -> None:
    paths, arrays, options = _arrays_and_options(args, "density", "embeddings", "labeled", "regions", "scores")
    settings = dict(options)
    scores, budget = arrays.pop("scores", None), options.pop("budget")
    _write(lambda: hnscore.select(scores, budget, **arrays, **options), args, paths, settings)


def _arrays_and_options(args: argparse.Namespace, *names: str) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """The files that `names` give, their arrays, and all other options that are for the function."""
    options = {k: v for k, v in vars(args).items() if k not in APART}
    paths = {name: options.pop(name) for name in names if isinstance(options.get(name), str)}
    arrays: dict[str, Any] = {}
    numbers = numbers_of(args.dtype)
    for name, path in list(paths.items()):
        if name in ("against", "emb", "embeddings") and is_many(path):
            del paths[name]
            arrays[name], files = as_one_array(path, name, args)
            paths |= files
            continue
        array = open_array(path, name, args.dtype, (2,) if name in ("against", "emb", "embeddings") else (1,))
        arrays[name] = array if name in ("labeled", "regions") else numbers(array)
    return paths, arrays, options


def _write(
    result: Callable[[], Array], args: argparse.Namespace, inputs: dict[str, str], options: dict[str, Any]
) -> None:
    if args.output == "-":
        _print_lines(result())
        return
    unheard = ("n_threads", "show_progress_bar")  # by the result
    settings = {k: v for k, v in options.items() if k not in unheard} | {
        "command": args.name, "dtype": args.dtype, "hnscore": hnscore.__version__, "target": _core.config()["target"],
        **args.stores,
    }  # fmt: skip
    with Output(args.output, inputs, settings, args.overwrite) as output:
        if output.up_to_date:
            say_up_to_date(args.output)
            return
        output.write(result())
        output.finish()


def say_up_to_date(path: str) -> None:
    print(f"hnscore: {path} is up to date", file=sys.stderr)


def _print_lines(lines: Iterable[object]) -> None:
    if sys.stdout is None or sys.stdout.name == os.devnull:
        raise OSError("output - is the standard output, which is closed; pass a file name")
    try:
        sys.stdout.writelines(str(line) + "\n" for line in lines)  # a float32 as short as tells it from others
        sys.stdout.flush()
    except BrokenPipeError:  # as of `| head`, which is no error; nor shall there be one when Python flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
