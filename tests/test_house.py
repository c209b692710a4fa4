"""The house stays one that a newcomer can walk through: short files, and maps that name the rooms there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 300
# The specification is one text; what the compiled modules have is one stub each.
LONG = {"hnscore/reference.py", "hnscore/_core.pyi", "hnscore/_cuda.pyi"}
SUFFIXES = (".py", ".pyi", ".h", ".cpp", ".cu")

pytestmark = pytest.mark.skipif(not (ROOT / "CONTRIBUTING.md").exists(), reason="not in a checkout")


def sources(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]


@pytest.mark.parametrize("folder", ["hnscore", "csrc"])
def test_files_are_short(folder: str) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(folder)}
    assert len(lengths) > 50
    too_long = {name: n for name, n in lengths.items() if n > MOST_LINES and name not in LONG}
    assert not too_long, "split it by job"


def rows(page: str, after: str) -> list[str]:
    """Of the first table after these words."""
    lines = (ROOT / page).read_text().partition(after)[2].splitlines()
    table = [line for line in lines if line.startswith("| `")]
    assert table, page
    return table


def folders_of(row: str, root: Path) -> list[Path]:
    return [root / name for name in re.findall(r"`([^`]+)/`", row.split("|")[1])]


def test_map_of_the_package_is_the_folder_tree() -> None:
    table = rows("CONTRIBUTING.md", "## Where things are")
    known = {folder for row in table for folder in folders_of(row, ROOT / "hnscore")}
    there = {path.parent for path in sources("hnscore")} - {ROOT / "hnscore"}
    assert known == there
    for row in table:
        folders = [*folders_of(row, ROOT / "hnscore"), ROOT / "hnscore"]
        for name in re.findall(r"`([a-z_]+\.py)`", row):
            assert any((folder / name).exists() for folder in folders), f"{name} is not there: {row}"


def test_map_of_the_core_names_what_there_is() -> None:
    table = rows("csrc/README.md", "| folder |")
    named = {folder for row in table for folder in folders_of(row, ROOT / "csrc")}
    there = {path.parent for path in sources("csrc")} - {ROOT / "csrc"}
    assert {path for path in there if not any(path == room or room in path.parents for room in named)} <= {
        ROOT / "csrc" / "cpu",
        ROOT / "csrc" / "cuda",
    }
    for row in table:
        place = row.split("|")[1]
        folders = [*folders_of(row, ROOT / "csrc"), ROOT / "csrc", *(ROOT / "csrc" / "cpu" / x for x in ("target",))]
        if "`cuda/" in place:
            folders.append(ROOT / "csrc" / "cuda")
        for name in re.findall(r"`([a-z_0-9-]+\.(?:h|cpp|cu|def|\*))`", row.partition("|")[2]):
            assert any(list(folder.glob(name)) for folder in folders), f"{name} is not there: {row}"
