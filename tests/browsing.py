"""Pages in a real browser, Debian's chromium driven by playwright, and what every page must hold up to: no error in the
console, nothing asked of the network, nothing wider than the screen, a name for all that a screen reader or a key can
reach."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

WIDE, PHONE = (1280, 900), (390, 844)

_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_NAMELESS = """() => {
    const name = (e) => (e.getAttribute("aria-label") || e.textContent || e.title || "").trim();
    const bad = [];
    for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) bad.push("img " + e.src.slice(0, 60));
    for (const e of document.querySelectorAll("a[href], button"))
        if (!name(e) && !e.querySelector("img[alt], svg")) bad.push(e.outerHTML.slice(0, 120));
    for (const e of document.querySelectorAll("input:not([type=hidden])"))
        if (!e.labels?.length && !e.getAttribute("aria-label") && !e.placeholder) bad.push(e.outerHTML.slice(0, 120));
    return bad;
}"""


@contextmanager
def started() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str, size: tuple[int, int] = WIDE, scheme: str = "light") -> Iterator[Any]:
    """A page, and at its end what went wrong on it."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    own = address if address.startswith("file:") else address[: address.index("/", len("http://"))]
    page.on(
        "request", lambda sent: wrong.append(sent.url) if sent.url.startswith("http") and own not in sent.url else 0
    )
    page.goto(address)
    page.wait_for_load_state("load")
    yield page
    assert not wrong, wrong
    page.close()


def check(page: Any) -> None:
    assert page.evaluate(_OVERFLOW) <= 0, "wider than the screen"
    assert page.evaluate(_NAMELESS) == []
    assert page.title()
