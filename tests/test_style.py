"""The style sheets, on pages that have no more than a test asserts of them."""

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from residae.baselines import CODECS
from residae.codec import FileInfo
from residae.compare import OURS, CodecResult, Comparison
from residae.ui import static
from residae.ui.text import comparison_begun, comparison_table, definition_list, file_figures

STYLE = "".join(map(static.read, ("page.css", "viewer.css", "tabs.css")))
FONT = "body { margin: 0; font-family: system-ui; }"
PHONE, DESK = 390, 1440  # pixels of the window's width
SAME_HEIGHT = "(nodes) => new Set(nodes.map((node) => node.offsetHeight)).size === 1"


def show(page: Page, width: int, body: str) -> None:
    """Show HTML in the page's style in a window of this width."""
    page.set_viewport_size({"width": width, "height": 844})
    page.set_content(f'<style>{FONT}{STYLE}</style><main class="gradio-container contain">{body}</main>')


@pytest.fixture
def page(browser: Browser) -> Page:
    return browser.new_page()


def test_the_bytes_of_three_planes_take_one_line_on_a_phone(page: Page) -> None:
    info = FileInfo(1024, 768, 80, 1.0, "c35413332f862b8c", "residae-16c", (15_388, 11_648, 11_380), 38_500)
    show(page, PHONE, f'<div id="opened-figures">{file_figures(info, 16)}</div>')
    assert page.locator("dd").evaluate_all(SAME_HEIGHT)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_code_in_the_card_is_not_broken_within_words_on_a_phone(page: Page) -> None:
    code = 'network = ResidualAutoencoder.from_pretrained("checkpoints/residae-16c")  # or a folder with these files'
    show(page, PHONE, f'<div id="model-card"><pre style="overflow-x: auto"><code>{code}\n{code}</code></pre></div>')
    one_line = page.locator("code").evaluate("(node) => new Set([...node.getClientRects()].map(({ y }) => y)).size")
    assert one_line == 2  # lines of code, and of the page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE  # the box scrolls, and not the page


def test_figures_that_come_move_no_heading_of_the_comparison(page: Page) -> None:
    picture = np.zeros((8, 8), np.uint8)
    results = [CodecResult(OURS, picture, 8_459, 33.53, 0.9067, 0.9719)]
    for name, codec in CODECS.items():
        results.append(CodecResult(name, picture, 8_354, 28.77, 0.8125, 0.8799, 58.1, effort=codec.description))
    headings = []
    for table in (comparison_begun(8_459, 33.53), comparison_table(Comparison(picture, tuple(results)))):
        show(page, DESK, f'<div id="baselines-figures" style="width: 546px">{table}</div>')
        headings.append(page.locator("thead th").evaluate_all("(nodes) => nodes.map((node) => node.offsetLeft)"))
    assert np.abs(np.subtract(*headings)).max() <= 1


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_figures_without_a_file_stand_where_they_do_with_one(page: Page, width: int) -> None:
    quality = {"PSNR": "33.53 dB", "SSIM": "0.9067"}
    others = {"Picture": "768 × 512", "Encode · decode": "1.5 s · 1.6 s"}
    rate = {"Rate": "0.172 bpp", "Raw pixels": "139 : 1", "Source file": "10.6 : 1"}
    places = []
    for figures in (quality | rate | others, quality | others):
        room = "position: absolute; inset-inline: 12px; max-width: 768px"
        show(page, width, f'<div id="result" style="{room}"><div id="figures">{definition_list(figures)}</div></div>')
        places.append([page.locator("dt").nth(i).evaluate("(node) => node.getBoundingClientRect().x") for i in (0, 1)])
    assert np.abs(np.subtract(*places)).max() <= 12
    rows = page.locator("dt").evaluate_all("(nodes) => nodes.map((node) => node.getBoundingClientRect().y)")
    assert min(map(rows.count, rows)) > 1, "a figure stands alone in its row"


def test_the_comparison_and_the_figures_fit_the_smallest_phone(page: Page) -> None:
    picture = np.zeros((8, 8), np.uint8)
    ours = CodecResult(OURS, picture, 8_459, 33.53, 0.9067, 0.9719, -58.1)
    figures = {"PSNR": "33.53 dB", "SSIM": "0.9067", "Rate": "0.172 bpp", "Raw pixels": "1,931 : 1"}
    figures |= {"Source file": "10.6 : 1", "Picture": "768 × 512", "Encode · decode": "1.5 s · 1.6 s"}
    table = comparison_table(Comparison(picture, (ours,)))
    body = f'<div id="baselines-figures">{table}</div><div id="figures">{definition_list(figures)}</div>'
    show(page, 320, f'<div style="margin: 12px">{body}</div>')
    for place in page.locator("table, dl").all():
        assert place.evaluate("(node) => node.scrollWidth") <= 296
