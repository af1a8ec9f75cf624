"""The tour and the explanations of figures, on a page that has no more than the places that they point to."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from residae.ui import static
from residae.ui.text import definition_list, explained, heading

ADDRESS = "http://tour.test/"
COUNT = explained("32× fewer", "16 × 2 = 32.")
FIGURES = definition_list({"PSNR": "33 dB", "Rate": "0.19 bpp"})
SHIFTS = """
window.shifts = [];
const note = ({ value }) => window.shifts.push(value); // after input as well
new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type: "layout-shift", buffered: true });
"""
SHOW_FIGURES = "html => { document.querySelector('#figures').innerHTML = html; }"
STYLE = static.read("page.css") + static.read("tabs.css")
SCRIPT = "".join(map(static.read, ("dom.js", "session.js", "tour.js", "explain.js")))
PLACES = "".join(
    f'<div style="height: 300px; width: 200px" id="{name}"><div class="surface">A place</div></div>'
    for name in ("compare", "journey", "mosaic", "error")
)
DOCUMENT = (
    f"<!doctype html><head><style>{STYLE}</style><script>{SCRIPT}</script></head>"
    f'<body><div class="gradio-container">{heading(ratio=16)}<div id="figures"></div>{PLACES}</div></body>'
)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """The page on a first visit, before its first result."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.route("**/*", lambda route: route.fulfill(body=DOCUMENT, content_type="text/html; charset=utf-8"))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(ADDRESS)
    yield page
    context.close()


def test_the_tour_comes_by_itself_once_and_without_the_focus(page: Page) -> None:
    tour = page.get_by_role("dialog", name="Tour")
    expect(tour).to_have_count(0)
    page.locator("#compare").evaluate("(node) => { node.hidden = true; }")  # by a link to another tab
    page.evaluate(SHOW_FIGURES, FIGURES)
    expect(page.locator("#figures dt[tabindex]")).to_have_count(2)  # the scripts have seen the figures
    expect(tour).to_have_count(0)
    page.locator("#compare").evaluate("(node) => { node.hidden = false; }")
    expect(tour.get_by_text("1 of 5")).to_be_visible()
    assert page.evaluate("document.activeElement === document.body")
    page.keyboard.press("Tab")
    expect(tour.get_by_role("button", name="Skip")).to_be_focused()
    page.mouse.click(380, 10)  # outside of it
    expect(tour).to_be_hidden()
    page.reload()
    page.evaluate(SHOW_FIGURES, FIGURES)
    expect(page.locator("#figures dt[tabindex]")).to_have_count(2)
    expect(tour).to_have_count(0)


@pytest.mark.parametrize("width", [390, 320])
def test_the_card_of_the_tour_is_as_wide_as_the_ring_on_a_phone(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.locator("body").evaluate("(body) => { body.style.margin = 0; }")
    page.evaluate(
        """document.querySelector(".gradio-container").style.cssText = "box-sizing: border-box; padding-inline: 12px";
        document.querySelectorAll(".gradio-container > div").forEach((place) => { place.style.width = ""; })"""
    )
    page.evaluate(SHOW_FIGURES, FIGURES)
    ring, card = page.locator(".tour-ring").bounding_box(), page.get_by_role("dialog", name="Tour").bounding_box()
    assert ring
    assert card
    assert (card["x"], card["width"]) == (ring["x"], ring["width"])


def test_the_tour_is_walked_by_keyboard_and_returns_the_focus(page: Page) -> None:
    height = page.evaluate("document.documentElement.scrollHeight")
    button, tour = page.locator("#tour"), page.get_by_role("dialog", name="Tour")
    button.focus()
    page.keyboard.press("Enter")
    titles = []
    for _ in range(5):
        expect(page.get_by_text(f"{len(titles) + 1} of 5")).to_be_visible()
        titles.append(tour.get_by_role("heading").inner_text())
        box = tour.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 844
        page.keyboard.press("Enter")
    assert len(set(titles)) == 5
    expect(tour).to_be_hidden()
    expect(button).to_be_focused()
    assert page.evaluate("scrollY") == 0  # where it began
    assert page.evaluate("document.documentElement.scrollHeight") == height
    page.keyboard.press("Enter")
    expect(tour).to_be_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")  # back to the first step, which has nothing before it
    expect(tour.get_by_text("1 of 5")).to_be_visible()
    expect(tour.get_by_role("button", name="Next")).to_be_focused()
    page.keyboard.press("Escape")
    expect(tour).to_be_hidden()
    expect(button).to_be_focused()


def test_the_card_stands_beside_what_it_explains_and_not_on_the_picture(page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    places = {
        "compare": (312, 136, 768, 512),
        "journey": (312, 660, 768, 68),
        "figures": (312, 740, 768, 40),
        "mosaic": (1096, 96, 320, 304),
        "error": (1096, 412, 320, 284),
    }
    for name, (left, top, width, height) in places.items():
        style = f"position: absolute; left: {left}px; top: {top}px; width: {width}px; height: {height}px"
        page.locator(f"#{name}").evaluate("(node, style) => { node.style.cssText = style; }", style)
    page.locator("#compare .surface").evaluate("(node) => { node.style.height = '100%'; }")
    page.locator("#tour").click()
    card = page.get_by_role("dialog", name="Tour")
    for step, name in enumerate(places):
        expect(card.get_by_text(f"{step + 1} of 5")).to_be_visible()
        box = card.bounding_box()
        assert box
        for covered in {name, "compare"}:
            left, top, width, height = places[covered]
            across = min(box["x"] + box["width"], left + width) - max(box["x"], left)
            down = min(box["y"] + box["height"], top + height) - max(box["y"], top)
            assert min(across, down) <= 0, (name, covered, box)
        expect(card.get_by_role("button", name="Skip")).to_be_visible(visible=step < 4)
        card.locator(".next").click()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1440, 900)])
def test_the_tour_walks_without_layout_shift(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate(SHOW_FIGURES, FIGURES)
    card = page.get_by_role("dialog", name="Tour")
    expect(card).to_be_visible()
    page.evaluate(SHIFTS)
    places = set()
    for step in range(5):
        expect(card.get_by_text(f"{step + 1} of 5")).to_be_visible()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
        box, ring = card.bounding_box(), page.locator(".tour-ring").bounding_box()
        assert box
        assert ring
        assert all(ring[side] % 1 == 0 and box[side] % 1 == 0 for side in ("x", "y"))  # or it would be blurred
        places.add((box["x"], box["y"]))
        card.locator(".next").click()
    expect(card).to_be_hidden()
    assert len(places) > 1
    assert page.evaluate("shifts.reduce((sum, value) => sum + value, 0)") < 0.02


def test_the_tour_speaks_of_touch_where_a_finger_is_the_pointer(browser: Browser) -> None:
    for by_finger in (True, False):
        context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=by_finger, is_mobile=by_finger)
        page = context.new_page()
        page.route("**/*", lambda route: route.fulfill(body=DOCUMENT, content_type="text/html; charset=utf-8"))
        page.goto(ADDRESS)
        page.locator("#tour").click()
        card = page.get_by_role("dialog", name="Tour")
        texts = ""
        for step in range(5):
            expect(card.get_by_text(f"{step + 1} of 5")).to_be_visible()
            texts += card.inner_text()
            card.locator(".next").click()
        for word in ("Space", "Point at", "Press"):
            assert (word in texts) != by_finger, word
        context.close()


def test_the_tour_closes_where_a_tab_is_opened_by_keyboard(page: Page) -> None:
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<button role=tab>Latent lab</button>')")
    page.locator("#tour").click()
    tour = page.get_by_role("dialog", name="Tour")
    expect(tour).to_be_visible()
    page.get_by_role("tab").focus()
    expect(tour).to_be_visible()
    page.keyboard.press("Enter")
    expect(tour).to_be_hidden()


def test_a_figure_is_explained_on_focus_hover_and_touch(page: Page) -> None:
    page.evaluate("localStorage.setItem('residae-tour-seen', '1')")
    page.reload()  # without the tour
    page.evaluate(SHOW_FIGURES, FIGURES)
    psnr, rate = page.locator("#figures dt").all()
    tip = page.get_by_role("tooltip")
    expect(psnr).to_have_attribute("tabindex", "0")
    psnr.focus()
    expect(tip).to_contain_text("signal-to-noise")
    expect(psnr).to_have_attribute("aria-describedby", "explanation")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    rate.hover()
    expect(tip).to_contain_text("Bits of the whole file")
    page.mouse.move(380, 800)
    expect(tip).to_be_hidden()
    psnr.click()
    expect(tip).to_contain_text("signal-to-noise")
    page.evaluate(SHOW_FIGURES, COUNT)  # an explanation of its own
    page.get_by_text("32× fewer").click()
    expect(tip).to_have_text("16 × 2 = 32.")
