"""Tables, the machine they are from, and results on disk."""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import hnscore
from hnscore import _core

Row = dict[str, str]
FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")
PACKAGES = ("hnscore", "numpy", "torch", "faiss-cpu", "pykeops", "scikit-learn", "scikit-activeml", "apricot-select")


@dataclass(frozen=True)
class Group:
    """One table: its title, what its columns mean, and its parts, each of which is measured and kept on its own."""

    title: str
    note: str
    parts: list[tuple[str, Callable[[], list[Row]]]]


class Book:
    """Finished parts by key, with the machine and versions they are from; a file of others is refused."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.facts = {**machine(), "threads": str(args.threads), "rounds": str(args.rounds)}
        self._markdown = bool(args.markdown)
        self._path = Path(args.json) if args.json else None
        self._page: Path | None = None
        if args.record:
            cpu = re.sub("[^a-z0-9]+", "-", self.facts["cpu"].lower()).strip("-")
            self._page = Path(args.record) / f"{date.today()}-{cpu}.md"
            self._path = self._path or self._page.with_suffix(".json")
            self._page.parent.mkdir(parents=True, exist_ok=True)
        self._groups: dict[str, dict[str, Any]] = {}
        if self._path and self._path.exists():
            old = json.loads(self._path.read_text())
            if old["facts"] != self.facts:
                changed = sorted(key for key, value in self.facts.items() if old["facts"].get(key) != value)
                raise ValueError(f"{self._path} is of another {' and '.join(changed)}; move it away or choose another")
            self._groups = old["groups"]

    def __contains__(self, key: str) -> bool:
        return any(key in group["parts"] for group in self._groups.values())

    def add(self, group: Group, key: str, rows: list[Row]) -> None:
        entry = self._groups.setdefault(group.title, {"note": group.note, "parts": {}})
        entry["parts"][key] = rows
        if self._path:
            _replace(self._path, json.dumps({"facts": self.facts, "groups": self._groups}, indent=1) + "\n")
        if self._page:
            tables = (
                f"## {title}\n\n{entry['note']}\n\n{table(_rows(entry), markdown=True)}\n"
                for title, entry in self._groups.items()
            )
            facts = "\n".join(f"- {key}: {value}" for key, value in self.facts.items())
            _replace(self._page, "\n".join([f"# {self.facts['cpu']}, {date.today()}\n\n{facts}\n", *tables]))

    def heading(self) -> str:
        return "\n".join(f"{key}: {value}" for key, value in self.facts.items())

    def table(self, group: Group) -> str:
        parts = self._groups[group.title]["parts"]
        return table([row for key, _ in group.parts for row in parts[key]], self._markdown)


def _rows(entry: dict[str, Any]) -> list[Row]:
    return [row for rows in entry["parts"].values() for row in rows]


def _replace(path: Path, text: str) -> None:
    fresh = Path(f"{path}.new")
    fresh.write_text(text)
    os.replace(fresh, path)


def table(rows: Iterable[Row], markdown: bool) -> str:
    """Columns in the order in which they first occur, the first left, the others right."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([row.get(name, "") for name in names] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(names))]
    lines = [
        [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        for line in cells
    ]
    if markdown:
        rule = ["-" * width if n == 0 else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
        return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
    return "\n".join("  ".join(line).rstrip() for line in lines)


def say(text: str) -> None:
    """What is being measured now, on one line of stderr that the next one overwrites."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """What a number rests on."""
    cpu: dict[str, str] = {}
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            for line in file.read().split("\n\n")[0].splitlines():
                key, _, value = line.partition(":")
                cpu[key.strip()] = value.strip()
    flags = cpu.get("flags", cpu.get("Features", "")).split()
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "family, model": f"{cpu.get('cpu family', '?')}, {cpu.get('model', '?')}",
        "cores": str(os.cpu_count()),
        "flags": " ".join(flag for flag in FLAGS if flag in flags),
        "target": str(_core.config()["target"]),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "commit": _commit(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _version(package: str) -> str:
    if package == "hnscore":
        return hnscore.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Of the checkout that the command runs in; the package itself may be installed elsewhere."""
    changed = ["git", "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)benchmarks/results"]
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
        if head.returncode:
            return "unknown"
        return head.stdout.strip() + ("-dirty" if subprocess.run(changed).returncode else "")
    except OSError:
        return "unknown"


# ---- Cells -----------------------------------------------------------------------------------------------------------


def seconds(times: list[float], middle: float) -> str:
    return f"{middle:.3f} s ({min(times):.3f} to {max(times):.3f})"


def milliseconds(times: list[float]) -> str:
    return f"{1e3 * median(times):.1f} ({1e3 * min(times):.1f} to {1e3 * max(times):.1f})"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def mebibytes(size: int | None) -> str:
    return "—" if size is None else f"{size / 2**20:.1f} MiB"
