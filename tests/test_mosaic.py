"""The mosaic of channels in a browser, without the rest of the page."""

import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from residae.ui import static
from residae.ui.maps import MOSAIC_TEMPLATE

STYLE = ":root { --background-fill-secondary: #ddd; --border-color-primary: #ccc; }" + static.read("page.css")
SCRIPT = f"""
{static.read("dom.js")}
const element = document.querySelector("#mosaic"), props = {{}}, shifts = [];
let changed;
const watch = (_, callback) => {{ changed = callback; }};
const show = (value) => {{ props.value = value; return changed(); }};
new PerformanceObserver((list) => list.getEntries().forEach(({{ value }}) => shifts.push(value)))
  .observe({{ type: "layout-shift", buffered: true }});
{static.read("mosaic.js")}
"""
DOCUMENT = (
    f'<!doctype html><style>{STYLE}</style><body><div class="gradio-container"><div id="mosaic" class="card">'
    f"{MOSAIC_TEMPLATE}</div></div><script>{SCRIPT}</script></body>"
)
SETTLE = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))"
PLACES = """() => {
  const round = ({ x, y, right, bottom }) => [x, y, right, bottom].map((side) => Math.round(side));
  return [".tiles", ...Array.from({ length: document.querySelectorAll(".tile").length }, (_, i) =>
    `.tile:nth-child(${i + 1})`)].map((place) => round(document.querySelector(place).getBoundingClientRect()));
}"""


@pytest.fixture(params=[300, 366])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A card of the width that it has beside the picture, and on a phone."""
    page = browser.new_page(viewport={"width": request.param, "height": 500})
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.set_content(DOCUMENT)
    yield page
    page.close()


def value(channels: int, height: int, width: int) -> dict[str, object]:
    """The value of a mosaic, as `mosaic_value` describes it."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, channels * height), "gray").save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"picture": {"url": url}, "shape": [channels, height, width], "shares": [1 / channels] * channels}


@pytest.mark.parametrize("channels", [16, 6])
def test_a_picture_of_another_shape_moves_nothing(page: Page, channels: int) -> None:
    rooms, ways = set(), set()
    for height, width in ((32, 48), (48, 32), (30, 30), (16, 64), (64, 16), (32, 48)):
        page.evaluate("(value) => show(value)", value(channels, height, width))
        page.evaluate(SETTLE)
        moved = sum(page.evaluate("shifts.splice(0)"))
        assert moved < 0.02, (height, width)
        (left, top, right, bottom), *tiles = page.evaluate(PLACES)
        rooms.add((left, top, right, bottom))
        ways.add(str(tiles))
        assert len(tiles) == channels
        for i, tile in enumerate(tiles):
            assert left <= tile[0] < tile[2] <= right, tile
            assert top <= tile[1] < tile[3] <= bottom, tile
            assert all(
                tile[2] < other[0] or other[2] < tile[0] or tile[3] < other[1] or other[3] < tile[1]
                for other in tiles[:i]
            )
    assert len(rooms) == 1
    assert len(ways) > 3  # tiles are as large as they can be
