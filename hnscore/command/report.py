"""The commands `hnscore report`, `margin` and `estimate`: the keywords of the library functions, arrays as files."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import hnscore
from hnscore.arguments.options import PREFERENCES
from hnscore.command.groups import Commands
from hnscore.command.mining import add_sides, read_files
from hnscore.command.pools import APART, is_many, open_pool
from hnscore.command.selection import add_work, command_of_keywords

_REPORT_HELP = """\
One HTML file about a pool and its texts: what the margin keeps, the hardest images, pairs that may be no negatives,
what to annotate next, duplicates and bad rows. It needs no network. What it says is explained by:
python -c "help('hnscore.report')"
"""

_MARGIN_HELP = """\
The largest margin at which at most a share of the pairs counts, exactly. The rules are explained by:
python -c "help('hnscore.margin_for')"
"""

_ESTIMATE_HELP = """\
How long `hnscore score` would take for so many images and texts, and what memory it would need. The first time this
machine is measured, for about five seconds. What is assumed is said by: python -c "help('hnscore.estimate')"
"""


def add_to(commands: Commands) -> None:
    """Add the three to the commands of a parser."""
    report = command_of_keywords(commands, "report", "an HTML page about a pool and its texts", _REPORT_HELP)
    files = report.add_argument_group("files")
    add_sides(files, writes=False)
    files.add_argument("--paired", dest="paired_emb", metavar="NPY", help="the images that --owner is about")
    files.add_argument(
        "-o", "--output", default="hnscore_report.html", metavar="HTML", help="to write (default: %(default)s)"
    )
    files.add_argument("--pictures", metavar="PATH", help="of the images: a text file of paths, or a folder, by name")
    files.add_argument("--paired-pictures", metavar="PATH", help="the same of the rows of --paired, else of the texts")
    files.add_argument("--captions", metavar="PATH", help="of the texts: a text file, one a line, or a JSON list")
    rule = report.add_argument_group("rule")
    rule.add_argument("--margin", type=float, default=0.2, help="similarity difference (default: %(default)s)")
    rule.add_argument("--similarity", help="cosine (default) or dot")
    rule.add_argument("--budget", type=int, metavar="N", help="how many images to pick (default: 24)")
    rule.add_argument("--prefer", choices=PREFERENCES, help="which half of the scores to cover (default: easy)")
    rule.add_argument("--min-similarity", type=float, metavar="S", help="of near-duplicates (default: 0.95)")
    rule.add_argument("--title", help="of the page")
    add_work(report.add_argument_group("work"))
    report.set_defaults(command=_report)

    margin = command_of_keywords(commands, "margin", "the margin at which a share of the pairs counts", _MARGIN_HELP)
    files = margin.add_argument_group("files")
    add_sides(files, writes=False)
    files.add_argument("--paired", dest="paired_emb", metavar="NPY", help="the images that --owner is about")
    rule = margin.add_argument_group("rule")
    rule.add_argument("--share", type=float, default=0.01, help="of all pairs (default: %(default)s)")
    rule.add_argument("--similarity", help="cosine (default) or dot")
    add_work(margin.add_argument_group("work"))
    margin.set_defaults(command=_margin)

    brief = "how long a score would take, and what memory it would need"
    estimate = command_of_keywords(commands, "estimate", brief, _ESTIMATE_HELP)
    for name, what in (("n_img", "images"), ("n_txt", "texts"), ("dim", "values of an embedding")):
        estimate.add_argument(name, type=int, metavar=name.upper(), help=what)
    estimate.add_argument("--share", type=float, help="of the pairs that count (default: 0.005)")
    estimate.add_argument("--precision", help="exact (default), fp32, bf16")
    estimate.add_argument("--method", help="auto (default), dense, cascade")
    estimate.add_argument("--n-threads", type=int, help="default: every core")
    estimate.set_defaults(command=_estimate)


def _report(args: argparse.Namespace) -> None:
    _, arrays, options = read_files(args)
    options["show_progress_bar"] = None if options["show_progress_bar"] else False
    words: dict[str, Any] = {}
    for name in ("pictures", "paired_pictures", "captions"):
        if (path := options.pop(name, None)) is not None:
            words[name.replace("pictures", "images")] = _lines(name, Path(path))
    if args.ids is not None and is_many(args.images):
        pool = open_pool(args.images, args)
        words["ids"] = pool.ids_of(np.arange(len(pool))).tolist()
    img, txt = arrays.pop("images"), arrays.pop("texts")
    path = hnscore.report(img, txt, options.pop("margin"), output=args.output, **arrays, **options, **words)
    print(f"hnscore: {path}", file=sys.stderr)


def _margin(args: argparse.Namespace) -> None:
    _, arrays, options = read_files(args)
    options["show_progress_bar"] = None if options["show_progress_bar"] else False
    print(hnscore.margin_for(arrays.pop("images"), arrays.pop("texts"), options.pop("share"), **arrays, **options))


def _estimate(args: argparse.Namespace) -> None:
    print(hnscore.estimate(**{name: x for name, x in vars(args).items() if name not in APART}))


def _lines(name: str, path: Path) -> list[str]:
    """Of a text file or a JSON list; the files of a folder, by name. Paths in a file are from where it lies."""
    if path.is_dir():
        return [str(each) for each in sorted(path.iterdir()) if each.is_file() and not each.name.startswith(".")]
    text = path.read_text(encoding="utf-8")
    lines = json.loads(text) if path.suffix == ".json" else text.splitlines()
    if not isinstance(lines, list):
        raise ValueError(f"--{name.replace('_', '-')} {path} must hold a JSON list, got {type(lines).__name__}")
    return [str(x) for x in lines] if name == "captions" else [str(path.parent / str(x)) for x in lines]
