"""The documentation site, in the folder that HNSCORE_SITE names: every page on a screen and on a phone; links."""

import functools
import os
import re
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from browsing import PHONE, WIDE, check, opened

SITE = Path(os.environ.get("HNSCORE_SITE", "not there"))
FILES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")) if SITE.is_dir() else []
PAGES = [name for name in FILES if not name.startswith("_static/")]

pytestmark = pytest.mark.skipif(not PAGES, reason="HNSCORE_SITE names no built site")


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)


@pytest.mark.parametrize("name", PAGES)
def test_page(browser: Any, name: str) -> None:
    pictures = Path(os.environ["HNSCORE_SHOTS"]) if "HNSCORE_SHOTS" in os.environ else None
    for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
        with opened(browser, (SITE / name).resolve().as_uri(), size, scheme) as page:
            check(page)
            if pictures is not None:
                page.screenshot(path=pictures / f"{name.replace('/', '-')}-{size[0]}.png")


def test_no_link_is_broken() -> None:
    parsed = {name: Page(SITE / name) for name in PAGES}
    broken = []
    for name, page in parsed.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (SITE / name).parent.joinpath(path.partition("?")[0]).resolve() if path else SITE.resolve() / name
            if target.is_dir():
                target = target / "index.html"
            if not target.exists():
                broken.append(f"{name}: {link}")
                continue
            key = target.relative_to(SITE.resolve()).as_posix()
            if anchor and key in parsed and anchor not in parsed[key].anchors:
                broken.append(f"{name}: {link}")
    assert broken == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_search_finds(browser: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))  # it fetches the pages
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with opened(browser, f"http://127.0.0.1:{server.server_port}/search.html?q=margin") as page:
            page.wait_for_selector("#search-results li", timeout=10_000)
            assert "choosing a margin" in page.inner_text("#search-results").lower()
    finally:
        server.shutdown()
        server.server_close()


def test_every_public_name_has_a_page() -> None:
    import hnscore

    missing = [
        name for name in hnscore.__all__
        if name not in ("__version__", "cuda", "plot", "shards") and f"generated/hnscore.{name}.html" not in PAGES
    ]  # fmt: skip
    assert missing == []


def test_every_example_shows_a_picture() -> None:
    examples = [name for name in PAGES if name.startswith("gallery/plot_")]
    assert len(examples) >= 8
    for name in examples:
        assert any("_images/sphx_glr" in link for link in Page(SITE / name).links), name
