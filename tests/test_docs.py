"""The blocks of the documentation and the examples of the docstrings run; what the page says of its picture is so."""

import doctest
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from hnscore import demo

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("selection.md", "mining.md", "pools.md")
PAGE = (DOCS / "selection.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(?:<!-- needs: (?P<needs>[^\n]+) -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
# Modules with examples.
EXAMPLES = (
    "densities.density", "densities.neighbours", "selections.select", "selections.allocate",
    "gaussians.informativeness", "scores.score", "scores.scorer", "nn.encoder", "nn.fit", "mining.pairs", "mining.mine",
    "mining.duplicates", "mining.graph", "mining.pool", "adapters.faiss", "nn.triplet", "datasets.opening",
    "mining.margin_for", "scores.estimate", "scores.references", "engine.config", "reports.report", "plot",
    "shards.score_pool", "shards.density_pool", "shards.mine_pool", "shards.select_pool", "shards.best",
    "distributed.score_ranks", "distributed.mine_ranks", "distributed.references", "distributed.triplet",
)  # fmt: skip
SVG_TEXT = "{http://www.w3.org/2000/svg}text"


class Block(NamedTuple):
    page: str
    line: int
    code: str
    missing: list[str]  # of what it needs, what is not installed


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        content = (DOCS / page).read_text(encoding="utf-8")
        for match in BLOCK.finditer(content):
            needs = (match["needs"] or "").replace(" ", "").split(",")
            missing = [name for name in needs if name and importlib.util.find_spec(name) is None]
            found.append(Block(page, content[: match.start("code")].count("\n"), match["code"], missing))
    return found


BLOCKS = blocks()


class Reader:
    """Runs the blocks of each page one after another in one namespace, as far as a test asks."""

    def __init__(self) -> None:
        self.namespaces: dict[str, dict[str, Any]] = {page: {} for page in PAGES}
        self.done = dict.fromkeys(PAGES, 0)

    def pending(self, block: Block) -> list[Block]:
        """Those that are to run up to it: tests of earlier ones may run in another process."""
        of_page = [other for other in BLOCKS if other.page == block.page]
        return of_page[self.done[block.page] : of_page.index(block) + 1]

    def read_to(self, block: Block) -> None:
        for now in self.pending(block):
            self.done[block.page] += 1
            if not now.missing:
                # as many lines above as in the page, so that a traceback names the page's line
                code = compile("\n" * now.line + now.code, DOCS / now.page, "exec")
                exec(code, self.namespaces[block.page])


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


def texts(svg: Path) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.parse(svg).iter(SVG_TEXT)]


@pytest.mark.filterwarnings("ignore:.*texts have fewer")
@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning", "default::ResourceWarning")
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page} line {block.line}")
def test_block_runs(
    reader: Reader, block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if block.missing:
        pytest.skip(f"needs {', '.join(block.missing)}")
    monkeypatch.chdir(folder)
    if any("s3://" in other.code and not other.missing for other in reader.pending(block)):
        fill_bucket(request.getfixturevalue("store"), monkeypatch)
    reader.read_to(block)
    if 'engine="ray"' in block.code:
        sys.modules["ray"].shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the blocks write."""
    return tmp_path_factory.mktemp("docs")


def fill_bucket(store: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user has there already, and the credentials in the environment."""
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", store["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store["secret"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", store["endpoint_url"])
    demo.save("example", shards=8)
    s3 = s3fs.S3FileSystem(**store)
    s3.mkdir("my-bucket")
    s3.put("example/pool/", "my-bucket/pool/", recursive=True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str) -> None:
    if name.startswith(("nn.", "distributed.")):
        pytest.importorskip("torch")
    if name.startswith("shards."):
        pytest.importorskip("pyarrow")
    if name == "plot":
        pytest.importorskip("matplotlib").use("Agg")
    result = doctest.testmod(importlib.import_module(f"hnscore.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_block_is_found() -> None:
    assert sum(block.page == "selection.md" for block in BLOCKS) == PAGE.count("```python") == PAGE.count("```") / 2
    for page in ("mining.md", "pools.md"):
        assert sum(block.page == page for block in BLOCKS) == (DOCS / page).read_text().count("```python")


@pytest.mark.parametrize("name", ["selection", "mining"])
def test_picture_says_what_the_command_draws(name: str, tmp_path: Path) -> None:
    getattr(demo, f"draw_{name}")(tmp_path / "picture.svg")
    assert texts(tmp_path / "picture.svg") == texts(DOCS / f"{name}.svg")


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
