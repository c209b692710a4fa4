"""`hnscore score` of a pool in many files: the arrays of its options, and what was done, said in a line."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hnscore import shards
from hnscore.command.pools import APART, open_pool, read_rows
from hnscore.command.selection import say_up_to_date
from hnscore.datasets.files import numbers_of, open_array

_FILES = {"owner": (1,), "max_similarity": (1,), "img_groups": (1,), "txt_groups": (1,)}


def score_shards(args: argparse.Namespace) -> None:
    options: dict[str, Any] = {name: x for name, x in vars(args).items() if name not in APART}
    numbers = numbers_of(args.dtype)
    if options.pop("chunk_rows") is not None:
        raise ValueError("--chunk-rows is for a pool in one .npy file; leave it out")
    pool = open_pool(options.pop("images"), args)
    texts = read_rows(options.pop("texts"), "texts", args)
    if options["reference"] not in ("pool_max", "paired"):
        options["reference"] = numbers(open_array(options["reference"], "reference", args.dtype, (1, 2)))
    paired = options.pop("paired")
    options["paired_emb"] = None if paired is None else read_rows(paired, "paired", args)
    for name, ndims in _FILES.items():
        if isinstance(options[name], str):
            options[name] = open_array(options[name], name, args.dtype, ndims)
    if options["owner"] is not None and options["owner"].dtype.kind in "US":
        options["owner"] = pool.rows_of(options["owner"])
    shown = not options.pop("no_progress")
    done = shards.score(
        pool, texts, options.pop("margin"), output=args.output, overwrite=args.overwrite, show_progress_bar=shown,
        **options,
    )  # fmt: skip
    if not done.computed:
        say_up_to_date(args.output)
    else:
        print(f"hnscore: {done.rows:,} rows, {done.computed:,} of {done.shards:,} shards computed", file=sys.stderr)
