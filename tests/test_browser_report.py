"""A report in a browser: it needs no network, fits a phone, and its slider says what `score` counts."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import PHONE, WIDE, check, opened

import hnscore
from hnscore import demo

MARGIN = 0.2


@pytest.fixture(scope="module")
def data() -> demo.EmojiSet:
    return demo.load()


@pytest.fixture(scope="module")
def path(data: demo.EmojiSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report") / "report.html"
    first = np.unique(data.owner, return_index=True)[1]
    hnscore.report(
        data.img_emb, data.txt_emb, MARGIN, owner=data.owner, paired_emb=data.reference[first],
        images=data.thumbnails, paired_images=data.own_thumbnails, captions=data.captions, ids=data.names,
        output=output,
    )  # fmt: skip
    return output


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page(browser: Any, path: Path, size: tuple[int, int], scheme: str) -> None:
    with opened(browser, path.as_uri(), size, scheme) as page:
        check(page)
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        for key in page.eval_on_selector_all("nav a", "links => links.map((link) => link.hash)"):
            assert page.query_selector(key) is not None


def test_slider_by_keyboard(browser: Any, path: Path, data: demo.EmojiSet) -> None:
    with opened(browser, path.as_uri()) as page:
        slider = page.locator("#margin")
        slider.focus()
        seen = set()
        for key in ("Home", "End", "ArrowLeft", "ArrowLeft", "PageDown"):
            page.keyboard.press(key)
            margin = float(page.inner_text("#margin-value"))
            seen.add(margin)
            assert f"margin {page.inner_text('#margin-value')}" in slider.get_attribute("aria-valuetext")
            if margin < 0:
                continue
            counts = hnscore.score(data.img_emb, data.txt_emb, margin, reference=data.reference, weight="count")
            assert page.inner_text("#pairs-value").startswith(f"{counts.sum():,} (")
            assert page.inner_text("#images-value").startswith(f"{(counts > 0).sum():,} (")
        assert len(seen) == 5


def test_skip_link_is_the_first_stop(browser: Any, path: Path) -> None:
    with opened(browser, path.as_uri()) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"


def test_contrast(browser: Any, path: Path) -> None:
    """Of text and its background, at least 4.5 to 1, in both schemes."""
    measure = """() => {
        const light = (colour) => { const c = colour.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
            .map((x) => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
            return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2] };
        const behind = (e) => { for (; e; e = e.parentElement) { const b = getComputedStyle(e).backgroundColor;
            if (!b.startsWith("rgba(0, 0, 0, 0")) return b } return "rgb(255, 255, 255)" };
        return [...document.querySelectorAll("p, small, dt, dd, h1, h2, h3, td, th, a:not(.skip), output")].map((e) => {
            const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05) }).reduce((x, y) => Math.min(x, y)) }"""
    for scheme in ("light", "dark"):
        with opened(browser, path.as_uri(), WIDE, scheme) as page:
            assert page.evaluate(measure) >= 4.5


def test_ten_thousand_photographs_stay_small(browser: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    img, txt = rng.standard_normal((10_000, 32), np.float32), rng.standard_normal((500, 32), np.float32)

    read = []

    def picture(row: int) -> bytes:
        read.append(row)
        out = io.BytesIO()
        pixels = np.random.default_rng(row).integers(0, 255, (300, 400, 3), np.uint8)
        image.fromarray(pixels).save(out, "JPEG", quality=95)
        return out.getvalue()

    path = hnscore.report(
        img, txt, 0.2, reference=np.full(500, 0.8), images=picture, paired_images=picture, output=tmp_path / "r.html"
    )
    assert Path(path).stat().st_size < 5e6
    assert len(read) < 300  # what is shown, not all
    with opened(browser, Path(path).as_uri()) as page:
        check(page)
