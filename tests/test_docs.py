"""The blocks of the documentation and the examples of the docstrings run; what the page says of its picture is so."""

import doctest
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from hnscore import demo

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "selection.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(?:<!-- needs: (?P<needs>[^\n]+) -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
# Modules with examples.
EXAMPLES = (
    "densities.density", "densities.neighbours", "selections.select", "selections.allocate",
    "gaussians.informativeness", "scores.score", "scores.scorer", "nn.encoder", "nn.fit",
)  # fmt: skip
SVG_TEXT = "{http://www.w3.org/2000/svg}text"


class Block(NamedTuple):
    line: int
    code: str
    missing: list[str]  # of what it needs, what is not installed


def blocks() -> list[Block]:
    found = []
    for match in BLOCK.finditer(PAGE):
        needs = (match["needs"] or "").replace(" ", "").split(",")
        missing = [name for name in needs if name and importlib.util.find_spec(name) is None]
        found.append(Block(PAGE[: match.start("code")].count("\n"), match["code"], missing))
    return found


BLOCKS = blocks()


class Reader:
    """Runs the blocks one after another in one namespace, as far as a test asks."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {}
        self.done = 0

    def read_to(self, number: int) -> None:
        while self.done <= number:
            block = BLOCKS[self.done]
            self.done += 1
            if not block.missing:
                # as many lines above as in the page, so that a traceback names the page's line
                code = compile("\n" * block.line + block.code, DOCS / "selection.md", "exec")
                exec(code, self.namespace)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


def texts(svg: Path) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.parse(svg).iter(SVG_TEXT)]


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=lambda number: f"line {BLOCKS[number].line}")
def test_block_runs(reader: Reader, number: int) -> None:
    if BLOCKS[number].missing:
        pytest.skip(f"needs {', '.join(BLOCKS[number].missing)}")
    reader.read_to(number)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str) -> None:
    if name.startswith("nn."):
        pytest.importorskip("torch")
    result = doctest.testmod(importlib.import_module(f"hnscore.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_block_is_found() -> None:
    assert len(BLOCKS) == PAGE.count("```python") == PAGE.count("```") / 2


def test_picture_says_what_the_command_draws(tmp_path: Path) -> None:
    demo.draw_selection(tmp_path / "selection.svg")
    assert texts(tmp_path / "selection.svg") == texts(DOCS / "selection.svg")


def test_page_says_what_the_picture_shows() -> None:
    paragraph = PAGE.partition("![")[2].partition("\n\n")[2].partition("\n\n")[0]
    shown = " ".join(texts(DOCS / "selection.svg")).replace("%", " %")
    said = re.findall(r"\d+ %|0\.\d+", paragraph)
    assert len(said) >= 4
    assert all(number in shown for number in said)
    images = ElementTree.parse(DOCS / "selection.svg").iter("{http://www.w3.org/2000/svg}g")
    clocks = {
        panel.findtext(SVG_TEXT): sum("o'clock" in str(t.text) or "thirty" in str(t.text) for t in panel.iter())
        for panel in images
    }
    for method in ("top", "density"):
        assert re.search(rf"`{method}`[^`]* {clocks[method]} clocks", paragraph), method
