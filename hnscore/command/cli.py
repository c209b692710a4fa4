"""The command ``hnscore``: parses, calls the library function of the same name, turns exceptions into one line."""

import argparse
import contextlib
import difflib
import json
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from hnscore.command.streams import forget_stdout, open_closed_streams

_RESUMABLE = ("score", "mine", "pairs", "duplicates")
INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


class _Ended(BaseException):
    """By a signal that asks the process to end."""

    def __init__(self, number: int) -> None:
        self.number = number


_SCORE_HELP = """\
Scores of every row of a pool of embeddings against text embeddings. The pool is a .npy file, of any size; or a folder,
pattern in quotes or URI of .npy, .npz, Parquet, Arrow or safetensors files: then --output is a folder that gets
one file of scores for each. Ctrl-C stops within a second; the same command again continues where it stopped.
The values of --weight, --aggregate and the other rules are explained by: python -c "help('hnscore.score')"
"""


_WELCOME = """\
hnscore: which images to annotate next, by how hard a negative they are for the texts you have. Three things to try:

  hnscore demo                    score a small packaged set, and draw what was found
  hnscore demo --export example   the same set as files, to be scored by:
  hnscore score --images example/pool.npy --texts example/texts.npy --reference example/reference.npy -o scores.npy
  hnscore report --images example/pool.npy --texts example/texts.npy --reference example/reference.npy

All commands: hnscore --help. In Python: help("hnscore").\
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0, 2 on an error, 130 when interrupted, 128 + n when ended by signal n."""
    open_closed_streams()
    args = _parse(argv)
    warnings.showwarning = _show_warning
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:  # Windows has no SIGHUP
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup, for one, has it ignored
            signal.signal(number, _end)
    try:
        from hnscore import _core

        # What mapped files do when they are cut short under the reader: without it the process dies without a word.
        _core.exit_on_bus_error("hnscore: error: a file was cut short while it was read; run the same command again\n")
        args.stores = {}  # files in stores, by what tells whether they have changed
        with contextlib.ExitStack() as args.stack:
            status = int(args.command(args) or 0)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # as of `| head`, which is no error
        forget_stdout()
        return 0
    except (KeyboardInterrupt, _Ended) as error:
        note = f"; run the same command again to finish {args.output}" if args.name in _RESUMABLE else ""
        status, message = INTERRUPTED, f"\nhnscore: interrupted{note}"
        if isinstance(error, _Ended):
            status, message = 128 + error.number, f"\nhnscore: {signal.Signals(error.number).name}{note}"
    except (OSError, TypeError, ValueError, MemoryError, ImportError, OverflowError) as error:
        status, message = 2, f"hnscore: error: {_one_line(error)}"
        if isinstance(error, MemoryError):
            status, message = 2, "hnscore: error: there is not enough memory; pass fewer --n-threads, or free some"
        if isinstance(error, OSError) and error.filename is None:
            forget_stdout()  # whose error it may have been
    # Only now: a progress bar ends its line when the failed call's variables go, which the exception held.
    print(message, file=sys.stderr)
    return status


def _end(number: int, _: object) -> None:
    raise _Ended(number)


class _Parser(argparse.ArgumentParser):
    """Whose errors name what was nearest to a word that it does not know."""

    def error(self, message: str) -> NoReturn:
        word = re.search(r"(?:invalid choice: '|unrecognized arguments: )([^' =]+)", message)
        if word is not None:
            known = [*self._option_string_actions]
            for action in self._actions:
                known += map(str, action.choices or ())
            near = difflib.get_close_matches(word[1], known, 1, 0.6)
            message += f"; did you mean {near[0]}?" if near else ""
        super().error(message)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; what is wrong with those of a command is said with the usage of that command."""
    parser, commands = make_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        commands[args.name].error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


def make_parser() -> tuple[argparse.ArgumentParser, Any]:
    """That of `hnscore`, and those of its commands."""
    from hnscore import __version__, bench
    from hnscore.command import mining, pools, report, selection

    parser = _Parser(prog="hnscore", description="Hard-negative scores of unpaired images and texts.")
    parser.add_argument("--version", action="version", version=f"hnscore {__version__}")
    parser.set_defaults(command=_welcome, name=None)
    commands = parser.add_subparsers(dest="name", metavar="COMMAND")

    demo = commands.add_parser("demo", help="score the packaged emoji set and draw what was found")
    demo.add_argument("-o", "--output", default="hnscore_demo.svg", metavar="SVG", help="default: %(default)s")
    demo.add_argument("--export", metavar="DIR", help="also write the set as .npy files for `hnscore score`")
    demo.add_argument("--shards", type=int, metavar="N", help="with --export: the pool in N Parquet files, too")
    demo.add_argument("--selection", metavar="SVG", help="also draw what each method of selection chooses")
    demo.add_argument("--mining", metavar="SVG", help="also draw what each rule of mining keeps")
    demo.add_argument("--n-threads", type=int)
    demo.set_defaults(command=_demo)

    score = commands.add_parser(
        "score",
        help="score a pool of any size, resumable",
        description=_SCORE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    files = score.add_argument_group("files")
    files.add_argument("--images", required=True, metavar="PATH", help="the pool, (n_img, dim), in one file or many")
    files.add_argument("--texts", required=True, metavar="PATH", help="the annotated texts, (n_txt, dim)")
    files.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="PATH",
        help="the scores, (n_img,): a .npy file; or, of many files, a folder",
    )
    pools.add_columns(files, "--texts and --paired")
    files.add_argument(
        "--owner", metavar="NPY", help="each text's own image (n_txt,), as a row of --paired or --images"
    )
    files.add_argument("--paired", metavar="NPY", help="the images that are paired already, where --images lacks them")
    files.add_argument("--dtype", choices=["bfloat16"], help="read two-byte files without a number type as bfloat16")
    files.add_argument("--overwrite", action="store_true", help="replace what --output holds, or other settings left")
    rule = score.add_argument_group("rule")
    rule.add_argument(
        "--reference",
        default="pool_max",
        metavar="RULE|NPY",
        help="pool_max (default), paired, or a file: similarities (n_txt,) or own images (n_txt, dim)",
    )
    mining.add_margins(rule)
    rule.add_argument("--weight", metavar="W", default="hinge", help="count, hinge (default), squared_hinge, ...")
    rule.add_argument("--aggregate", metavar="A", default="sum", help="sum (default), mean, max, topk")
    rule.add_argument("--k", type=int, help="for --aggregate topk")
    rule.add_argument("--temperature", type=float, help="for --weight exp")
    rule.add_argument("--top-k-images", type=int, metavar="K", help="only each text's K best images count")
    rule.add_argument("--skip-top-images", type=int, metavar="K", help="each text's K best images do not count")
    rule.add_argument(
        "--max-similarity", type=selection.number_or_path, metavar="S|NPY", help="a number, or a file (n_txt,)"
    )
    rule.add_argument("--img-groups", metavar="NPY", help="labels (n_img,); equal labels never count")
    rule.add_argument("--txt-groups", metavar="NPY", help="labels (n_txt,)")
    rule.add_argument("--minibatch", type=int, metavar="N", help="score against N texts drawn at random")
    rule.add_argument("--random-state", type=int, metavar="SEED", help="for --minibatch")
    rule.add_argument("--similarity", default="cosine", help="cosine (default) or dot")
    work = score.add_argument_group("work")
    work.add_argument("--precision", default="exact", help="exact (default), fp32, bf16")
    work.add_argument("--method", default="auto", help="auto (default), dense, cascade")
    work.add_argument("--n-threads", type=int, help="default: every core")
    work.add_argument("--chunk-rows", type=int, help="pool rows per chunk (default: as many as take 0.4 s)")
    work.add_argument("--no-progress", action="store_true", help="no progress bar")
    work.add_argument("--engine", default="threads", help="of many files: threads (default), or ray")
    work.add_argument("--n-workers", type=int, help="of many files, with --engine ray: actors")
    score.set_defaults(command=_score)

    selection.add_to(commands)
    mining.add_to(commands)
    report.add_to(commands)

    benchmark = commands.add_parser("bench", help="time hnscore beside what people use today, on this machine")
    bench.add_arguments(benchmark)
    benchmark.set_defaults(command=bench.run)

    info = commands.add_parser("info", help="version, build, instruction sets, threads")
    info.add_argument("--json", action="store_true", help="for programs")
    info.set_defaults(command=_info)

    completion = commands.add_parser("completion", help="print a script that completes commands and options in a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="hnscore completion bash >> ~/.bashrc")
    completion.set_defaults(command=_completion)
    return parser, commands.choices


def _demo(args: argparse.Namespace) -> None:
    from hnscore import demo

    demo.run(
        args.output, n_threads=args.n_threads, export=args.export, selection=args.selection, mining=args.mining,
        shards=args.shards,
    )  # fmt: skip


def _score(args: argparse.Namespace) -> None:
    from hnscore.command import pools
    from hnscore.command.score_file import score_file
    from hnscore.command.score_shards import score_shards
    from hnscore.command.selection import say_up_to_date

    if pools.is_many(args.images):
        score_shards(args)
        return
    for name in ("column", "ids", "metadata", "n_workers"):
        if getattr(args, name) is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} is for a pool in many files or a table, got it with {args.images}"
            )
    if args.output == "-":
        raise ValueError("output must be a .npy file for score, which is resumable, got -; choose a file name")
    options = {name: x for name, x in vars(args).items() if name not in (*pools.APART, "engine", "n_workers")}
    path = args.output
    done = score_file(
        options.pop("images"),
        options.pop("texts"),
        path,
        options.pop("margin"),
        show_progress_bar=not options.pop("no_progress"),
        dtype=args.dtype,
        overwrite=args.overwrite,
        **options,
    )
    if not done:
        say_up_to_date(path)


def _info(args: argparse.Namespace) -> None:
    import hnscore

    if args.json:
        print(json.dumps(hnscore.show_config("dicts"), indent=1))
    else:
        hnscore.show_config()


def _completion(args: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError as error:
        raise ImportError("completion is written by shtab; pip install shtab") from error
    print(shtab.complete(make_parser()[0], args.shell))


def _welcome(_: argparse.Namespace) -> None:
    print(_WELCOME)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"hnscore: warning: {' '.join(str(message).split())}", file=sys.stderr)
