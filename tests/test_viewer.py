"""The light table and the actions in a browser: zoom, keys, touch, A and B, saving, links and parts of a picture."""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect
from service import serving

from residae import heatmaps
from residae.examples import paths
from residae.image import MAX_FILE_BYTES, open_picture, write_png
from residae.pipeline import Pipeline

PATIENCE = 60_000  # ms; the machine may be busy
MINUS = "\N{MINUS SIGN}"
PREVIEWED = """() => [...document.querySelectorAll("#compare .frame :is(img, canvas)")].slice(1).map((node) => {
  const context = Object.assign(document.createElement("canvas"), { width: 768, height: 512 }).getContext("2d");
  context.drawImage(node, 0, 0);
  return [...context.getImageData(300, 200, 64, 64).data];
})"""  # pixels of the reconstruction, and of the preview over it


BEYOND = """(captions) => captions.map((caption) => {
  const room = caption.getBoundingClientRect(), parts = [...caption.children].filter((part) => part.innerText);
  const places = parts.map((part) => part.getBoundingClientRect());
  return places.flatMap(({ right, bottom }) => [right - room.right, bottom - room.bottom]);
})"""  # by how much the parts of each caption reach beyond it, in CSS pixels


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    expect.set_options(timeout=PATIENCE)
    with serving(tmp_path_factory.mktemp("app"), checkpoint) as service:
        yield f"{service.address}/"
    log = service.log.read_text()
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture(scope="module")
def page(address: str, context: BrowserContext) -> Page:
    return visit(context, address)


@pytest.fixture(scope="module")
def phone(browser: Browser, address: str) -> Iterator[Page]:
    """The page on a phone, where nothing was set yet."""
    clipboard = ["clipboard-read", "clipboard-write"]
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, has_touch=True, is_mobile=True, permissions=clipboard)
    context.set_default_timeout(PATIENCE)
    yield visit(context, address)
    context.close()


@pytest.fixture(scope="module")
def shapes(browser: Browser, address: str) -> Iterator[Page]:
    """The page to which pictures of unusual shapes are given."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    yield visit(context, address)
    context.close()


def visit(context: BrowserContext, address: str) -> Page:
    """A new page that shows its first result."""
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.add_init_script("localStorage.setItem('residae-tour-seen', '1')")
    page.goto(address)
    shown(page)
    return page


def figure(page: Page, name: str) -> Locator:
    return page.locator(f"#figures dt:text-is('{name}') + dd")


def shown(page: Page) -> None:
    """Wait until a result is there, with its figures."""
    expect(figure(page, "PSNR")).to_have_text(re.compile("dB"))
    expect(page.locator("#actions-bar .keep")).to_be_enabled()


def set_quality(page: Page, value: int) -> None:
    page.get_by_label("number input for Quality").fill(str(value))
    page.get_by_label("number input for Quality").press("Enter")
    page.wait_for_function("(value) => residae.table.panes().b.facts?.Quality === value", arg=str(value))


def choose_example(page: Page, index: int) -> None:
    page.locator("#examples button").nth(index).click()
    name = Path(paths()[index]).stem
    page.wait_for_function("(name) => residae.overview.picture() === name && residae.table.panes().b.facts", arg=name)


def show_picture(page: Page, pixels: np.ndarray, folder: Path) -> None:
    """Upload a picture of these pixels, (H, W) or (H, W, 3) uint8, and wait for its result."""
    height, width = pixels.shape[:2]
    path = folder / f"{width}-{height}.png"
    path.write_bytes(write_png(pixels))
    page.set_input_files("#upload input[type=file]", path)
    page.wait_for_function("(size) => residae.overview.panes().b.facts?.Picture === size", arg=f"{width} × {height} px")


def axe_findings(page: Page) -> list[str]:
    """What axe-core finds in the light table and the actions."""
    context = {"include": [["#compare"], ["#actions-bar"]]}
    violations = Axe().run(page, context=context, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{violation['id']}: {node['html']}" for violation in violations for node in violation["nodes"]]


def placed(page: Page) -> dict[str, Any]:
    """How the first frame of the Overview is drawn: its pictures' styles, and the divider."""
    return page.evaluate(
        """() => {
          const frame = document.querySelector("#compare .frame"), [first, second] = frame.querySelectorAll("img");
          const divided = !frame.querySelector(".divider").hidden;
          return { first: first.style.cssText, second: second.style.cssText, divided };
        }"""
    )


def expanded(page: Page, selector: str) -> bool | None:
    """Whether a screen reader is told that a button has opened something; None if it is told nothing."""
    chromium = page.context.new_cdp_session(page)
    found = chromium.send("Runtime.evaluate", {"expression": f"document.querySelector({selector!r})"})
    (node,) = chromium.send(
        "Accessibility.getPartialAXTree", {"objectId": found["result"]["objectId"], "fetchRelatives": False}
    )["nodes"]
    return next((one["value"]["value"] for one in node["properties"] if one["name"] == "expanded"), None)


def test_every_view_of_the_picture_has_a_key(page: Page) -> None:
    table, stage = page.locator("#compare"), page.locator("#compare .stage")
    original = open_picture(paths()[0]).pixels
    scale = table.locator(".scale")
    fitted = scale.inner_text()
    expect(table.locator(".hint")).to_have_css("opacity", "0")  # it leaves the picture after some seconds
    stage.focus()
    page.keyboard.press("1")
    expect(scale).to_have_text("100 %")
    assert f"width: {original.shape[1]}px" in placed(page)["first"]
    for zoom in ("125 %", "156 %", "195 %", "156 %"):
        page.keyboard.press("+" if zoom > scale.inner_text() else "-")
        expect(scale).to_have_text(zoom)
    centered = placed(page)["first"]
    page.keyboard.press("ArrowRight")
    assert placed(page)["first"] != centered
    page.keyboard.press("ArrowLeft")
    assert placed(page)["first"] == centered
    page.keyboard.press("0")
    expect(scale).to_have_text(fitted)

    divided = placed(page)
    page.keyboard.press("Shift+ArrowLeft")
    assert placed(page)["second"] != divided["second"]
    page.keyboard.down(" ")
    expect(table.locator(".tag.peek")).to_be_visible()
    expect(table.locator(".frame img")).to_have_count(3)
    on_top = table.locator(".frame img").nth(2)
    assert on_top.get_attribute("src") == table.locator(".frame img").first.get_attribute("src")
    page.keyboard.up(" ")
    expect(table.locator(".frame img")).to_have_count(2)
    page.keyboard.press("b")
    assert not placed(page)["divided"]
    assert "hidden" in placed(page)["second"]
    page.keyboard.press("b")
    assert "hidden" in placed(page)["first"]
    page.keyboard.press("Shift+ArrowRight")
    assert placed(page)["divided"]

    behind = page.locator("#journey")
    place = behind.bounding_box()
    page.keyboard.press("f")
    expect(table.locator(".full-screen")).to_have_attribute("aria-pressed", "true")
    page.wait_for_function("document.querySelector('#compare .surface').clientHeight > innerHeight * 0.9")
    assert behind.bounding_box() == place
    page.keyboard.press("f")
    expect(table.locator(".full-screen")).to_have_attribute("aria-pressed", "false")
    assert behind.bounding_box() == place
    page.keyboard.press("?")
    keys = table.locator(".help kbd").all_inner_texts()
    assert {"F", "Space", "0", "1", "+", MINUS, "B", "V", "?"} <= {*keys}
    assert axe_findings(page) == []
    expect(table.locator(".help")).to_be_focused()
    page.keyboard.press("Escape")
    expect(table.locator(".help")).to_be_hidden()
    expect(table.locator(".stage")).to_be_focused()
    for opened in (True, False):  # the button says which it is, and closes what it opened
        table.get_by_role("button", name="Keys").click()
        expect(table.locator(".help")).to_be_visible(visible=opened)
        assert expanded(page, "#compare .keys-button") == opened
    page.locator("#theme").press("?")  # from anywhere
    expect(table.locator(".help")).to_be_visible()
    table.locator(".help").get_by_role("button", name="Close").click()
    expect(table.locator(".help")).to_be_hidden()
    page.get_by_label("number input for Quality").press("?")  # where it is typed
    expect(table.locator(".help")).to_be_hidden()
    table.locator(".stage").focus()
    page.keyboard.press("v")
    expect(table.locator(".frame")).to_have_count(2)
    table.get_by_role("button", name="Divided").click()


def test_the_focus_stays_where_the_viewer_is_drawn_anew(page: Page) -> None:
    viewer = page.locator("#compare")
    side_by_side = viewer.get_by_role("button", name="Side by side")
    side_by_side.press("Enter")
    expect(side_by_side).to_have_attribute("aria-pressed", "true")
    expect(side_by_side).to_be_focused()
    viewer.get_by_role("button", name="Keep Reconstruction as A").press("Enter")
    expect(viewer.get_by_role("button", name="A | B")).to_have_attribute("aria-pressed", "true")
    expect(viewer.locator(".stage")).to_be_focused()  # where the button was
    page.locator("#actions .keep").press("Enter")
    expect(viewer.get_by_role("button", name="Divided")).to_have_attribute("aria-pressed", "true")


def test_the_menu_closes_where_tab_leaves_it(page: Page) -> None:
    export, menu = page.locator("#actions .save"), page.locator("#actions .menu")
    export.press("Enter")
    expect(menu.get_by_role("button").first).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(menu).to_be_hidden()
    expect(export).to_have_attribute("aria-expanded", "false")


def test_values_under_the_pointer_are_those_of_the_files(page: Page, pipeline: Pipeline) -> None:
    picture = open_picture(paths()[0])
    frame, readout = page.locator("#compare .frame"), page.locator("#compare .readout")
    box = frame.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.6)
    expect(readout).to_contain_text("error")
    x, y, *levels = (float(n) for n in re.findall(r"\d+(?:\.\d+)?", readout.inner_text()))
    before, after, error = np.array(levels[:3]), np.array(levels[3:6]), levels[6]
    np.testing.assert_array_equal(before, picture.pixels[int(y), int(x)])
    decoded = pipeline.reconstruct(picture, color=True, quality=80).decoding.pixels[int(y), int(x)]
    assert abs(after - decoded.astype(int)).max() <= 8, "another precision, not another pixel"
    assert error == pytest.approx(np.sqrt(np.mean((before - after) ** 2)), abs=0.06)
    page.mouse.down()
    expect(page.locator("#compare .tag.peek")).to_be_visible()
    page.mouse.up()
    expect(page.locator("#compare .tag.peek")).to_be_hidden()

    spans = readout.locator("span")
    values = spans.all_text_contents()
    page.locator("#examples button").nth(1).press("Enter")  # while the pointer rests
    expect(spans).not_to_have_text(values)
    values = spans.all_text_contents()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] - 60)
    expect(readout).to_be_hidden()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.6)
    expect(readout).to_be_visible()
    expect(spans).to_have_text(values)
    page.locator("#compare .stage").press("+")
    expect(spans).not_to_have_text(values)  # of another pixel
    page.keyboard.press("0")
    choose_example(page, 0)


def test_a_drag_does_one_thing_and_ends_anywhere(page: Page) -> None:
    frame, peek, scale = (page.locator(f"#compare {name}") for name in (".frame", ".tag.peek", ".scale"))
    fitted, box = scale.inner_text(), frame.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.4
    page.mouse.move(x - 100, y)
    page.mouse.down()
    expect(peek).to_be_visible()
    page.mouse.move(2, 2)
    page.mouse.up()
    expect(peek).to_be_hidden()

    page.mouse.dblclick(x - 100, y)
    expect(scale).to_have_text("100 %")
    page.locator("#compare .stage").press("+")
    before, handle = placed(page), page.locator("#compare .divider").bounding_box()
    assert handle
    page.mouse.move(handle["x"] + 1, y)
    page.mouse.down()
    page.mouse.move(handle["x"] + 81, y, steps=4)
    page.mouse.up()
    after = placed(page)
    assert after["first"] == before["first"], "the picture stays where it is"
    assert after["second"] != before["second"], "the divider moves"
    page.mouse.move(x - 100, y)
    page.mouse.down()
    page.mouse.move(x - 140, y, steps=4)
    page.mouse.up()
    assert placed(page)["first"] != before["first"]
    page.mouse.dblclick(x - 100, y)
    expect(scale).to_have_text(fitted)


def test_any_two_results_are_compared_as_a_and_b(page: Page, tmp_path: Path) -> None:
    table, bar = page.locator("#compare"), page.locator("#actions-bar")
    size = table.locator(".stage").bounding_box()
    bar.get_by_role("button", name="Keep as A").click()
    expect(table.get_by_role("button", name="A | B")).to_have_attribute("aria-pressed", "true")
    differences = page.locator("#comparison .differences")
    expect(differences).to_be_hidden()  # A and B are the same
    set_quality(page, 20)
    rows = differences.locator("> div")
    expect(rows.filter(has_text="Quality")).to_have_text(re.compile("80.*20"))
    expect(page.locator("#figures")).to_be_hidden()  # they take its place, and not that of the picture
    expect(table.locator(".frame .tag")).to_have_text(["A · Quality 80", "B · Quality 20"])
    expect(rows.filter(has_text="Mode")).to_have_count(0)  # as it is the same in both
    table.locator(".stage").press("f")
    expect(table.locator(".differences")).to_be_visible()
    table.locator(".stage").press("f")
    assert table.locator(".stage").bounding_box() == size, "the picture does not jump"
    first, second = (table.locator(".frame img").nth(i) for i in range(2))
    expect(first).to_have_attribute("src", re.compile("^blob:"))
    expect(second).to_have_attribute("src", re.compile("^http"))

    bar.get_by_role("button", name="Export").click()
    assert axe_findings(page) == []
    with page.expect_download() as download:
        page.get_by_role("button", name="Sheet").click()
    download.value.save_as(tmp_path / "sheet.html")
    sheet = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    inlined = re.findall(r'src="data:image/png;base64,([^"]+)"', sheet)
    assert len(inlined) == 5
    assert re.findall("<figcaption><b>([^<]+)</b>", sheet) == ["Original", "A", "B", "Error of A", "Error of B"]
    assert sheet.count(">Absolute error in gray levels") == 2  # each error has its scale
    assert re.search("<h1>scene, compressed with Residae</h1><p>Two versions .* checkpoint tiny, made both.</p>", sheet)
    assert re.search(r"Raw pixels : file</th><td>[\d,.]+ : 1</td><td>[\d,.]+ : 1</td>", sheet)
    assert not re.findall(r'(?:src|href)="(?!data:)', sheet)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(base64.b64decode(inlined[0]))).convert("RGB")), open_picture(paths()[0]).pixels
    )
    assert re.search("Quality</th><td>80</td><td>20", sheet)
    assert re.findall("<th>([^<]+)</th>", sheet)[2:8] == ["PSNR", "SSIM", "File", "Raw pixels : file", "Rate", "Codec"]
    assert sheet.index("Mode</th><td>Color<") < sheet.index("</main>")  # beside the pictures, which leave a quarter

    own = {"Latent lab": ("#edited", "Divided"), "Equal bytes": ("#baselines", "Pictures")}
    for tab, (other, view) in own.items():
        page.get_by_role("tab", name=tab).click()
        chosen = page.locator(f"{other} .views [aria-pressed=true]")
        expect(page.locator(other).get_by_role("button", name="A | B")).to_be_visible()
        expect(chosen).to_have_text(view)
    page.locator(".work:has(#baselines-status) .stop").evaluate("(button) => button.click()")
    page.get_by_role("tab", name="Overview").click()
    expect(table.get_by_role("button", name="A | B")).to_have_attribute("aria-pressed", "true")

    bar.get_by_role("button", name="Leave A | B").click()
    expect(table.get_by_role("button", name="A | B")).to_have_count(0)
    expect(differences).to_be_hidden()
    expect(page.locator("#figures")).to_be_visible()
    bar.get_by_role("button", name="Keep as A").click()
    expect(table.get_by_role("button", name="A | B")).to_have_attribute("aria-pressed", "true")
    expect(chosen).to_have_text(view)  # also where the tab was open before
    choose_example(page, 1)  # it cannot be compared with the picture before
    expect(bar.get_by_role("button", name="Keep as A")).to_be_visible()
    expect(table.get_by_role("button", name="A | B")).to_have_count(0)
    expect(table.locator(".message")).to_contain_text("A is no longer kept: it shows another picture")
    choose_example(page, 0)
    set_quality(page, 80)


def test_the_names_keep_to_their_sides_of_the_divider(page: Page) -> None:
    sides = """() => {
      const [box, line, ...tags] = [".frame", ".divider", ".tag:nth-of-type(1)", ".tag:nth-of-type(2)"].map((name) =>
        document.querySelector(`#compare .frame`).parentElement.querySelector(name).getBoundingClientRect());
      return { box: [box.left, box.right], line: line.left, tags: tags.map((tag) => [tag.left, tag.right]) };
    }"""
    slider = page.locator("#compare .wipe")
    for share in (3, 10, 50, 90, 97):
        slider.fill(str(share))
        drawn = page.evaluate(sides)
        (left, right), line = drawn["box"], drawn["line"]
        for (start, stop), (least, most) in zip(drawn["tags"], ((left, line), (line, right)), strict=True):
            assert start == stop or least < start < stop < most, (share, drawn)  # of no width: it is hidden
    slider.fill("50")


def test_a_quality_is_previewed_while_it_is_chosen(page: Page) -> None:
    tag, slider = page.locator("#compare .frame .tag").nth(1), page.locator("#quality input[type=range]")
    before, readout = figure(page, "PSNR").inner_text(), page.locator("#compare .readout")
    drawn = page.locator("#compare .frame canvas")
    box = page.locator("#compare .frame").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.6)
    expect(readout).to_be_visible()
    slider.evaluate("(node) => { node.value = 20; node.dispatchEvent(new Event('input', { bubbles: true })); }")
    expect(tag).to_contain_text(re.compile(r"Preview, \d+ bytes"))
    expect(drawn).to_have_count(1)
    expect(readout).to_be_hidden()  # no file has the pixels of a preview
    assert figure(page, "PSNR").inner_text() == before
    slider.dispatch_event("pointerup")
    page.wait_for_function("residae.overview.panes().b.facts?.Quality === '20'")
    expect(tag).not_to_contain_text("Preview")
    expect(readout).to_be_visible()
    expect(drawn).to_have_count(0)
    slider.evaluate("(node) => { node.value = 30; node.dispatchEvent(new Event('input', { bubbles: true })); }")
    expect(tag).to_contain_text("Preview")
    slider.evaluate("(node) => { node.value = 20; node.dispatchEvent(new Event('input', { bubbles: true })); }")
    expect(tag).not_to_contain_text("Preview")  # back at what is shown
    slider.evaluate("(node) => { window.released = []; node.onpointerup = () => window.released.push(window.key); }")
    for key in ("Tab", "Home"):  # only the latter moves the slider
        page.evaluate("(key) => { window.key = key; }", key)
        slider.dispatch_event("keyup", {"key": key, "bubbles": True})
        page.evaluate("() => new Promise((resolve) => setTimeout(resolve))")
    assert page.evaluate("window.released") == ["Home"]
    set_quality(page, 80)


def test_a_preview_changes_the_result_and_keeps_its_details(page: Page) -> None:
    before, after = np.full((8, 12, 3), 100, np.uint8), np.full((8, 12, 3), (90, 100, 131), np.uint8)
    change = base64.b64encode(write_png(heatmaps.change(before, after))).decode()
    page.evaluate(
        "(url) => residae.overview.preview({ change: url, text: 'Preview' })", f"data:image/png;base64,{change}"
    )
    drawn = page.locator("#compare .frame canvas")
    expect(drawn).to_have_count(1)
    assert drawn.bounding_box() == page.locator("#compare .frame img").nth(1).bounding_box()
    result, previewed = (np.array(levels, float).reshape(64, 64, 4)[..., :3] for levels in page.evaluate(PREVIEWED))
    np.testing.assert_allclose(previewed, np.clip(result + np.array([-10, 0, 31]), 0, 255), atol=1)
    page.locator("#compare .stage").focus()
    page.keyboard.down("Space")
    expect(drawn).to_be_hidden()  # as is the result: the original is shown
    page.keyboard.up("Space")
    expect(drawn).to_be_visible()
    page.evaluate("residae.overview.preview(null)")
    expect(drawn).to_have_count(0)


def test_pictures_that_are_older_than_the_figures_are_dimmed(page: Page) -> None:
    parts = [page.locator(part) for part in ("#compare .stage", "#mosaic .tiles", "#error .map")]
    held: list[Route] = []
    slow = re.compile(r"/(reconstruction|channels|error)\.png$")
    page.route(slow, lambda route: held.append(route))
    set_quality(page, 100)  # at which each of them differs
    for part in parts:
        expect(part).to_have_css("opacity", "0.4")
    for route in held:
        route.continue_()
    page.unroute(slow)
    for part in parts:
        expect(part).to_have_css("opacity", "1")
    set_quality(page, 80)


def test_what_is_shown_can_be_saved_and_copied(page: Page, tmp_path: Path) -> None:
    bar, size = page.locator("#actions-bar"), open_picture(paths()[0]).pixels.shape[1::-1]
    pictures = {}
    for name in ("Reconstruction", "Error map"):
        bar.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=re.compile(f"^{name}")).click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
        pictures[name] = Image.open(tmp_path / download.value.suggested_filename).convert("RGB")
    assert pictures["Reconstruction"].size == size
    error = pictures["Error map"]
    assert error.width == size[0]
    scale = np.asarray(error)[size[1] + 12]  # through the color bar below the map
    assert len(np.unique(scale, axis=0)) > 50
    table = page.locator("#compare")
    table.get_by_role("button", name="Error", exact=True).click()
    table.get_by_role("button", name="Signed").click()
    bar.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("^Error map")).click()
    download.value.save_as(tmp_path / "signed.png")
    bar.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Sheet").click()
    download.value.save_as(tmp_path / "sheet.html")
    chosen = page.request.get(str(table.locator(".frame img").get_attribute("src"))).body()
    assert base64.b64encode(chosen).decode() in (tmp_path / "sheet.html").read_text(encoding="utf-8")
    signed = np.asarray(Image.open(tmp_path / "signed.png").convert("RGB"))
    np.testing.assert_array_equal(signed[: size[1]], np.asarray(Image.open(io.BytesIO(chosen)).convert("RGB")))
    assert (signed[size[1] + 12] != scale).any()
    table.get_by_role("button", name="Absolute").click()
    table.get_by_role("button", name="Divided").click()
    bar.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Copy the figures").click()
    message = page.locator("#actions-bar .message")
    expect(message).to_contain_text("on the clipboard")
    bar.get_by_role("button", name="Export").click()
    assert not message.is_visible(), "the menu would cover a part of it"
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 820, "height": 900})
    bar.get_by_role("button", name="Export").click()
    edges = [place.bounding_box() for place in (bar.locator(".menu"), bar)]
    assert all(edges)
    assert len({round(box["x"] + box["width"]) for box in edges if box}) == 1  # it ends where the buttons do
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1440, "height": 900})
    assert f"PSNR\t{figure(page, 'PSNR').inner_text()}" in page.evaluate("navigator.clipboard.readText()")
    bar.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Copy the picture").click()
    page.wait_for_function(
        "navigator.clipboard.read().then(items => items.some(item => item.types.includes('image/png')))"
    )


def test_what_differs_is_as_high_as_the_figures_on_a_phone(phone: Page) -> None:
    place = phone.locator("#status").bounding_box()
    scrolled = phone.evaluate("scrollY")
    phone.locator("#actions-bar").get_by_role("button", name="Keep as A").click()
    set_quality(phone, 30)
    differences = phone.locator("#comparison .differences")
    expect(differences.locator("> div").filter(has_text="Quality")).to_have_text(re.compile("80.*30"))
    differences.evaluate(  # as many as a trained network has: two rows
        """(list, names) => list.append(...names.map((name) => {
          const cell = list.lastElementChild.cloneNode(true);
          cell.querySelector("dt").textContent = name;
          return cell;
        }))""",
        ["PSNR", "SSIM", "File", "Raw pixels : file", "Rate", "Encode · decode"],
    )
    phone.evaluate("(y) => scrollTo(0, y)", scrolled)
    tops = differences.locator("> div").evaluate_all("(cells) => cells.map((cell) => cell.offsetTop)")
    assert len(set(tops)) == 2
    assert phone.locator("#status").bounding_box() == place
    phone.locator("#actions-bar").get_by_role("button", name="Leave A | B").click()
    set_quality(phone, 80)


def test_a_and_b_and_crop_have_room_beside_the_views_on_a_phone(phone: Page) -> None:
    table, bar = phone.locator("#compare"), phone.locator("#actions-bar")
    row = "(row) => [row.clientWidth, row.scrollWidth]"
    table.locator(".crop").evaluate("(button) => { button.hidden = false; }")  # as of a large picture
    shown, needed = table.locator(".views").evaluate(row)
    assert needed <= shown
    table.locator(".crop").evaluate("(button) => { button.hidden = true; }")
    bar.get_by_role("button", name="Keep as A").click()
    for view in ("A | B", "Divided", "Side by side", "Error"):
        table.get_by_role("button", name=view, exact=True).click()
        shown, needed = table.locator(".views").evaluate(row)
        assert needed <= shown, view
    table.get_by_role("button", name="Divided").click()
    bar.get_by_role("button", name="Leave A | B").click()


def test_two_pictures_beside_each_other_take_the_width(phone: Page, page: Page) -> None:
    for visit in (page, phone):
        table = visit.locator("#compare")
        table.get_by_role("button", name="Side by side").click()
        assert table.locator("figcaption b").all_inner_texts() == ["Original", "Reconstruction"]
        pictures, captions = table.locator(".frame img"), table.locator("figcaption")
        boxes, below = ([one.bounding_box() for one in several.all()] for several in (pictures, captions))
        stage = table.locator(".stage").bounding_box()
        assert stage
        assert sum(box["width"] for box in boxes if box) > stage["width"] - 26
        for box, caption in zip(boxes, below, strict=True):
            assert box
            assert caption
            assert caption["y"] == pytest.approx(box["y"] + box["height"], abs=1)
        table.get_by_role("button", name="Divided").click()


def test_the_error_is_as_large_as_the_picture_and_its_scale_lies_over_it(phone: Page, page: Page) -> None:
    for visit in (page, phone):
        table = visit.locator("#compare")
        divided = table.locator(".frame img").first.bounding_box()
        table.get_by_role("button", name="Error", exact=True).click()
        picture, key = (table.locator(name).first.bounding_box() for name in (".frame img", ".key svg"))
        assert picture == divided
        assert picture
        assert key
        assert picture["y"] < key["y"] < key["y"] + 12 < picture["y"] + picture["height"]
        expect(table.locator(".blink")).to_be_hidden()  # there is nothing to swap it with
        for name in ("Fit", "1:1", "Signed"):
            expect(table.get_by_role("button", name=name)).to_be_visible()
        signed = table.get_by_role("button", name="Signed")
        signed.click()
        expect(signed).to_have_attribute("aria-pressed", "true")
        (signed if visit == phone else table.get_by_role("button", name="Absolute")).click()  # of which a phone has one
        expect(signed).to_have_attribute("aria-pressed", "false")
        table.get_by_role("button", name="Divided").click()


def test_the_name_of_the_checkpoint_leads_to_the_model(page: Page) -> None:
    page.locator("header").get_by_role("button", name="tiny").click()
    expect(page.get_by_role("tab", name="The model")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Overview").click()


def test_a_number_that_was_deleted_is_no_change(page: Page) -> None:
    page.get_by_role("radio", name="File size").check()
    page.wait_for_function("residae.overview.settings().rate === 'size' && residae.table.panes().b.facts")
    size, result = page.locator("#size input"), page.evaluate("residae.overview.settings()")
    for leave in (lambda: size.press("Enter"), size.blur):
        before = size.input_value()
        size.fill("")
        leave()
        expect(size).to_have_value(before)
        page.wait_for_timeout(300)
        assert page.locator("#alert").inner_text() == ""
        assert page.evaluate("residae.overview.settings()") == result
    page.get_by_role("radio", name="Quality").check()
    set_quality(page, 80)


def test_every_rate_and_every_width_has_the_same_rows(page: Page) -> None:
    """Else what is below would move, when a rate is chosen or when the views of the first result come."""
    heights = set()
    for rate in ("File size", "Unquantized", "Quality"):
        page.get_by_role("radio", name=rate).check()
        heights.add(page.locator("#rate-card").evaluate("(card) => card.offsetHeight"))
    assert len(heights) == 1
    set_quality(page, 80)
    for width in (870, 900, 1000):
        page.set_viewport_size({"width": width, "height": 900})
        tools = page.locator("#compare .tools").bounding_box()
        assert tools
        assert tools["height"] < 40, width
    page.set_viewport_size({"width": 1280, "height": 900})  # where the maps are as narrow as beside a picture they get
    legend = page.locator("#mosaic .note")
    expect(legend).to_have_text("Bars: share of bits. Press a channel to edit it.")
    assert legend.evaluate("(node) => node.offsetHeight") == 16  # as it has where there is no file, and no bits
    page.set_viewport_size({"width": 1440, "height": 900})


def test_fingers_tap_and_mice_press(phone: Page, page: Page) -> None:
    for visit, word in ((phone, "Press"), (page, "Tap")):
        for tab in ("Latent lab", "Files", "Batch", "The model", "Overview"):
            visit.get_by_role("tab", name=tab).click()
            expect(visit.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
            said = visit.locator("#stage").inner_text()
            assert not re.search(rf"\b{word}\b", said, re.IGNORECASE), f"{tab}: {said}"


def test_too_large_files_are_refused_where_other_errors_of_their_upload_are(page: Page, tmp_path: Path) -> None:
    large, small = tmp_path / "a & b.png", tmp_path / "small.png"
    with large.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    small.write_bytes(write_png(np.zeros((16, 16), np.uint8)))
    for upload, place, tab in (
        ("#upload", "#alert", "Overview"),
        ("#other", "#blend-alert", "Latent lab"),
        ("#rae", "#files-status", "Files"),
        ("#batch", "#batch-status", "Batch"),
    ):
        page.get_by_role("tab", name=tab).click()
        if tab == "Latent lab":
            expect(page.locator("#lab-status")).to_contain_text("unedited")
        refused, chooser = page.locator(f"{place} [role=alert]"), page.locator(f"{upload} input[type=file]")
        chooser.set_input_files(large)
        expect(refused).to_have_text("The file is larger than the limit of 30 MB: choose a smaller one.")
        assert chooser.evaluate("(input) => input.files.length") == 0
    chooser.set_input_files([small, large])
    expect(refused).to_contain_text("No file was taken, for a & b.png is larger")
    expect(page.locator("#batch")).not_to_contain_text("small.png")
    expect(page.get_by_test_id("toast-body")).to_have_count(0)  # Gradio's own, in a corner of the window
    page.get_by_role("tab", name="Overview").click()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#alert [role=alert]")).to_have_count(0)


def test_a_link_whose_first_result_cannot_be_made_goes_on_with_the_second(
    context: BrowserContext, address: str
) -> None:
    link = "?picture=flowers&rate=quality&quality=50&a.rate=size&a.size=0.001"
    page = visit(context, f"{address}{link}")
    page.wait_for_function("residae.overview.picture() === 'flowers' && residae.overview.settings().quality === 50")
    expect(page.locator("#compare .message")).to_contain_text("The result A of this link cannot be made here.")
    page.wait_for_function("residae.table.panes().b.facts")
    choose_example(page, 0)
    assert page.evaluate("[residae.kept, residae.first]") == [None, None]
    assert page.evaluate("residae.overview.picture()") == Path(paths()[0]).stem  # it stays the one that was chosen
    page.close()


def test_a_link_restores_what_is_shown_and_settings_are_remembered(
    page: Page, context: BrowserContext, address: str, tmp_path: Path
) -> None:
    choose_example(page, 2)
    page.get_by_label("Gray", exact=True).check()
    set_quality(page, 33)
    page.locator("#compare .one").click()
    page.locator("#actions-bar").get_by_role("button", name="Share").click()
    expect(page.locator("#actions-bar .message")).to_contain_text("The link is on the clipboard.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert parse_qs(urlsplit(link).query)["quality"] == ["33"]
    psnr, picture = figure(page, "PSNR").inner_text(), figure(page, "Picture").inner_text()
    again = visit(context, link)
    expect(figure(again, "PSNR")).to_have_text(psnr)
    expect(figure(again, "Picture")).to_have_text(picture)
    expect(again.locator("#compare .scale")).to_have_text("100 %")
    again.close()

    page.locator("#actions-bar").get_by_role("button", name="Keep as A").click()
    set_quality(page, 60)
    expect(page.locator("#comparison .differences")).to_contain_text("Quality3360")
    page.locator("#actions-bar").get_by_role("button", name="Share").click()
    again = visit(context, f"{page.evaluate('navigator.clipboard.readText()')}&refined=7")
    expect(again.locator("#comparison .differences")).to_contain_text("Quality3360")
    expect(again.locator("#compare").get_by_role("button", name="A | B")).to_have_attribute("aria-pressed", "true")
    expect(again.locator("#compare .message")).to_contain_text("the refinement in 7 steps. Start Refine")
    again.locator("#compare .stage").click(position={"x": 100, "y": 100})
    expect(again.locator("#compare .message")).to_be_empty()
    again.close()
    page.locator("#actions-bar").get_by_role("button", name="Leave A | B").click()

    own = tmp_path / "own.png"
    own.write_bytes(write_png(np.zeros((20, 30), np.uint8)))
    page.set_input_files("#upload input[type=file]", own)
    expect(figure(page, "Picture")).to_have_text("30 × 20 px")
    page.locator("#actions-bar").get_by_role("button", name="Share").click()
    expect(page.locator("#actions-bar .message")).to_contain_text("It does not contain your picture.")
    page.locator("#actions-bar").get_by_role("button", name="Keep as A").click()
    page.locator("#actions-bar").get_by_role("button", name="Share").click()
    expect(page.locator("#actions-bar .message")).to_contain_text("The link is on the clipboard.")
    again = visit(context, page.evaluate("navigator.clipboard.readText()"))  # B is what A is: no other result follows
    expect(again.locator("#compare .message")).to_contain_text("sender’s own picture")
    again.close()
    page.locator("#actions-bar").get_by_role("button", name="Leave A | B").click()
    page.get_by_role("tab", name="Latent lab").click()
    page.get_by_role("button", name="Mute channel 1", exact=True).click()
    page.wait_for_function("residae.table.panes().b?.facts?.Edits === 'Channels muted 1'")
    page.locator("#actions-bar").get_by_role("button", name="Share").click()
    message = page.locator("#actions-bar .message")
    expect(message).to_contain_text("It does not contain your picture or the edits of the latent.")
    link = page.evaluate("navigator.clipboard.readText()")
    again = visit(context, f"{link}&quality=1e9&side=nonsense&cropped=1".replace("checkpoint=", "checkpoint=other-"))
    message = again.locator("#edited .message")
    for words in ("sender’s own picture, the part", "or the edits of the latent.", "The checkpoint other-"):
        expect(message).to_contain_text(words)
    assert message.evaluate("(node) => node.scrollWidth <= node.clientWidth"), "a long message takes several lines"
    expect(again.get_by_role("tab", name="Latent lab")).to_have_attribute("aria-selected", "true")
    again.close()
    again = visit(context, f"{address}?picture=own&rate=unquantized&tab=equal")  # where nothing will be compared
    expect(again.locator("#baselines .message")).to_contain_text("own picture. Open yours")
    assert page.evaluate("JSON.parse(residae.recall('residae-settings')).rate") == "quality", "a link is not remembered"
    again.close()
    again = visit(context, f"{address}?tab=nowhere&show=Error")
    error = again.locator("#compare").get_by_role("button", name="Error", exact=True)
    expect(error).to_have_attribute("aria-pressed", "true", timeout=10_000)
    again.close()
    page.get_by_role("tab", name="Overview").click()
    assert "edited" not in page.evaluate("residae.address()")

    page.locator("#theme").click()
    again = visit(context, address)  # without a link: the settings of the last visit, and its theme
    expect(again.get_by_label("Gray", exact=True)).to_be_checked()
    expect(again.locator("body")).to_have_class(re.compile(r"\bdark\b"))
    again.close()
    page.close()


def test_a_button_says_beside_it_what_came_of_it(phone: Page) -> None:
    bar, message = phone.locator("#actions-bar"), phone.locator("#actions-bar .message")
    bar.get_by_role("button", name="Share").click()
    expect(message).to_have_text("The link is on the clipboard.")
    expect(message).to_be_in_viewport(ratio=1)
    link = parse_qs(urlsplit(phone.evaluate("navigator.clipboard.readText()")).query)
    assert (link["color"], link["quality"], link["rate"]) == (["true"], ["80"], ["quality"])
    phone.route("**/reconstruction.png", lambda route: route.fulfill(status=404))
    bar.get_by_role("button", name="Export").click()
    phone.get_by_role("button", name="Reconstruction, PNG").click()
    expect(message).to_contain_text("The file cannot be made")
    phone.unroute("**/reconstruction.png")
    bar.get_by_role("button", name="Keep as A").click()
    expect(message).to_contain_text("Kept as A.")
    set_quality(phone, 60)
    expect(message).to_be_hidden()  # it is about the result before
    set_quality(phone, 80)
    bar.get_by_role("button", name="Leave A | B").click()
    expect(message).to_be_hidden()


def test_what_a_map_opens_is_brought_into_view(phone: Page) -> None:
    phone.locator("#error .map").click()
    expect(phone.locator("#compare .stage")).to_be_in_viewport(ratio=0.9)
    phone.locator("#compare").get_by_role("button", name="Divided").click()
    phone.locator("#mosaic .tile").nth(3).click()
    last, other = (phone.get_by_role("button", name=f"Enlarge channel {number}") for number in (4, 2))
    expect(last).to_be_in_viewport()
    expect(last).to_have_attribute("aria-current", "true")
    other.click()
    expect(other).to_have_attribute("aria-current", "true")
    expect(last).to_have_attribute("aria-current", "false")
    expect(phone.locator("#channel .stage")).to_be_in_viewport(ratio=0.9)
    picture, channel = phone.locator("#edited").bounding_box(), phone.locator("#channel").bounding_box()
    assert picture
    assert channel
    assert 0 <= channel["y"] - picture["y"] - picture["height"] < 20  # without a part of what is above it
    phone.get_by_role("tab", name="Overview").click()


@pytest.mark.parametrize("size", [(390, 664), (820, 1180)])
def test_the_picture_stays_in_the_window_while_what_changes_it_is_used(phone: Page, size: tuple[int, int]) -> None:
    before = phone.viewport_size
    assert before
    phone.set_viewport_size({"width": size[0], "height": size[1]})
    controls = {"#compare": ["#color", "#quality", "#scale"], "#edited": ["#mixer .strip:last-child .buttons"]}
    for tab, table in (("Overview", "#compare"), ("Latent lab", "#edited")):
        phone.get_by_role("tab", name=tab).click()
        expect(phone.locator(f"{table} .frame img").first).to_be_visible()
        for control in controls[table]:
            place = phone.locator(control)
            expect(place).to_be_visible()
            place.evaluate("(node) => node.scrollIntoView({ block: 'end' })")
            expect(phone.locator(f"{table} .stage")).to_be_in_viewport(ratio=0.99)
            expect(place).to_be_in_viewport(ratio=0.99)
            place.evaluate("(node) => node.scrollIntoView({ block: 'nearest' })")
            box = place.bounding_box()
            assert box
            seen = "([x, y, control]) => document.elementFromPoint(x, y).closest(control) !== null"
            assert phone.evaluate(seen, [box["x"] + box["width"] / 2, box["y"] + 4, control]), control
    phone.get_by_role("tab", name="Overview").click()
    if size[0] == 820:  # in two columns, so that all of them are seen with the picture
        phone.locator("#actions").scroll_into_view_if_needed()
        for part in ("#compare .stage", "#settings", "#actions"):
            expect(phone.locator(part)).to_be_in_viewport(ratio=0.99)
    phone.evaluate("scrollTo(0, 0)")
    phone.set_viewport_size(before)


def test_a_phone_shows_what_this_is_and_that_there_are_more_tabs(phone: Page) -> None:
    expect(phone.get_by_text("keeps of a picture")).to_be_visible()
    last, row = phone.get_by_role("tab", name="The model"), phone.locator("#stage .tab-wrapper")
    last.click()
    expect(last).to_be_in_viewport(ratio=0.9)
    for left, before, after in (("0", "0px", "32px"), ("20", "32px", "32px"), ("node.scrollWidth", "32px", "0px")):
        row.evaluate(f"(node) => {{ node.scrollLeft = {left}; }}")
        for name, width in (("--before", before), ("--after", after)):  # how far it fades out on that side
            expect(row).to_have_css(name, width)
    phone.locator("#diagram svg:visible .stage").first.click()  # at once, while the tab asks for the latent
    expect(phone.locator("#stage-output h2")).to_have_text("Encoder stem")
    expect(phone.locator("#stage-output img").first).to_be_in_viewport(ratio=0.9)
    phone.get_by_role("tab", name="Overview").click()
    phone.evaluate("scrollTo(0, 0)")


def test_files_without_a_file_are_as_high_as_the_window_of_a_phone(phone: Page) -> None:
    phone.get_by_role("tab", name="Files").click()
    expect(phone.locator("#opened .invitation")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollHeight") == 844
    phone.get_by_role("tab", name="Overview").click()


def test_every_example_can_be_chosen_on_a_phone(phone: Page) -> None:
    choose_example(phone, len(paths()) - 1)
    expect(phone.locator("#examples img").last).to_be_in_viewport(ratio=1)
    row = phone.locator("#examples .grid-container")
    for left, before, after in (("0", "0px", "32px"), ("node.scrollWidth", "32px", "0px")):
        row.evaluate(f"(node) => {{ node.scrollLeft = {left}; }}")
        for name, width in (("--before", before), ("--after", after)):  # as the row of tabs fades out
            expect(row).to_have_css(name, width)


def test_two_fingers_zoom_the_viewer_alone_and_a_file_is_taken_anywhere(phone: Page) -> None:
    stage = phone.locator("#compare .stage")
    stage.scroll_into_view_if_needed()
    before, box = phone.locator("#compare .scale").inner_text(), stage.bounding_box()
    assert box
    session, x, y = phone.context.new_cdp_session(phone), box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.3

    def touch(kind: str, *apart: float) -> None:
        points = [{"x": x + sign * d, "y": y, "id": i} for d in apart for i, sign in enumerate((-1, 1))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x - 60, "y": y}]})
    expect(phone.locator("#compare .readout")).to_contain_text("error")
    touch("touchEnd")
    expect(phone.locator("#compare .readout")).to_be_hidden()
    touch("touchStart", 20)
    for step in range(1, 12):
        touch("touchMove", 20 + 6 * step)
    touch("touchEnd")
    expect(phone.locator("#compare .scale")).not_to_have_text(before)
    assert phone.evaluate("visualViewport.scale") == 1
    data = json.dumps([*write_png(np.zeros((24, 40), np.uint8))])
    phone.evaluate(
        f"""() => {{
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array({data})], "dropped.png", {{ type: "image/png" }}));
          const send = (type) => document.querySelector("header").dispatchEvent(
            new DragEvent(type, {{ bubbles: true, cancelable: true, dataTransfer: data }}));
          send("dragover");
          if (!document.body.classList.contains("dropping")) throw new Error("nothing shows the drag");
          send("drop");
        }}"""
    )
    expect(figure(phone, "Picture")).to_have_text("40 × 24 px")


def test_what_the_server_has_deleted_is_neither_kept_nor_saved(browser: Browser, address: str) -> None:
    page = visit(browser.new_context(viewport={"width": 1440, "height": 900}), address)
    expect(figure(page, "PSNR")).to_be_visible()
    page.route(re.compile("file="), lambda route: route.fulfill(status=404))
    message = page.locator("#actions-bar .message")
    page.locator("#actions-bar").get_by_role("button", name="Keep as A").click()
    expect(message).to_contain_text("The picture is no longer on the server")
    page.locator("#download").click()
    expect(message).to_contain_text("The file is no longer on the server")
    assert page.evaluate("!residae.kept")
    page.context.close()


def test_a_part_is_worked_on_at_full_resolution(browser: Browser, address: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (900, 2048, 3), np.uint8)
    (tmp_path / "large.png").write_bytes(write_png(pixels))
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = visit(context, f"{address}?tab=lab")  # on a first visit scripts are built before the tabs
    expect(page.get_by_role("tab", name="Latent lab")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Overview").click()
    page.set_input_files("#upload input[type=file]", tmp_path / "large.png")
    expect(figure(page, "Picture")).to_have_text("1,024 × 450 px")
    expect(figure(page, "SSIM")).not_to_have_text("…")  # which A has as well
    page.locator("#actions-bar").get_by_role("button", name="Keep as A").click()
    page.locator("#side").get_by_label("Full size").check()
    message = page.locator("#actions-bar .message")
    expect(message).to_contain_text("A has 1,024 × 450 pixels, and this result has 2,048 × 900.")
    page.locator("#side").get_by_label("Up to 1,024 px").check()
    expect(page.locator("#compare").get_by_role("button", name="A | B")).to_have_attribute("aria-pressed", "true")
    expect(message).to_be_empty()
    page.locator("#compare").get_by_role("button", name="Divided").click()
    page.locator("#compare").get_by_role("button", name="Crop").click()
    expect(page.locator("#compare .use")).to_have_text("Work on these 1,024 × 900 px")
    assert axe_findings(page) == []
    for key in "10":
        page.keyboard.press(key)
        left, width = page.evaluate(
            """() => {
              const placed = (name) => document.querySelector(`#compare ${name}`).getBoundingClientRect();
              const box = placed(".box"), img = placed(".frame img");
              return [(box.left - img.left) / img.width, box.width / img.width];
            }"""
        )
        assert (left, width) == pytest.approx((0.25, 0.5), abs=0.005)
    for focused in (".use", ".stage"):  # from anywhere within the pictures
        page.locator(f"#compare {focused}").focus()
        page.keyboard.press("Escape")
        expect(page.locator("#compare .chooser")).to_be_hidden()
        page.locator("#compare").get_by_role("button", name="Crop").click()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#compare .message")).to_contain_text("A is no longer kept")
    expect(figure(page, "Picture")).to_have_text("1,024 × 868 px")
    expect(page.locator("#compare .frame img").first).to_have_js_property("naturalHeight", 868)  # it loads after that
    part = page.locator("#compare .frame img").first.get_attribute("src")
    shown = np.asarray(Image.open(io.BytesIO(page.request.get(str(part)).body())))
    np.testing.assert_array_equal(shown, pixels[:868, 512 - 32 :][:, :1024])
    expect(page.locator("#status")).to_contain_text("Part of the picture")
    assert "cropped=1" in page.evaluate("residae.address()")
    whole = page.locator("#compare").get_by_role("button", name="Whole picture")
    middles = whole.evaluate(
        """(button) => [button, button.querySelector("span")].map((node) => {
          const box = node.getBoundingClientRect();
          return box.top + box.height / 2;
        })"""
    )
    assert middles[0] == pytest.approx(middles[1], abs=2), "the words are in one line"
    tools, views = page.locator("#compare .tools"), page.locator("#compare .views button")
    for width in (1440, 1280, 1181, 861, 820, 521):
        page.set_viewport_size({"width": width, "height": 900})
        for view in (*views.all()[1:], views.first):
            view.click()
            rows = tools.evaluate("(node) => [node.offsetHeight, node.scrollWidth - node.clientWidth]")
            assert rows == [32, 0], f"the tools are in one row at {width}"
    page.set_viewport_size({"width": 1280, "height": 900})
    views.last.click()
    signed = page.locator("#compare").get_by_role("button", name="Signed")
    for pressed in ("true", "false"):  # alone, where there is no room for the other beside it
        expect(page.locator("#compare").get_by_role("button", name="Absolute")).to_be_hidden()
        signed.click()
        expect(signed).to_have_attribute("aria-pressed", pressed)
    page.set_viewport_size({"width": 1440, "height": 900})
    views.first.click()
    whole.click()
    expect(figure(page, "Picture")).to_have_text("1,024 × 450 px")

    box = page.locator("#compare .frame").bounding_box()
    assert box
    page.locator("#compare").get_by_role("button", name="Crop").click()
    page.mouse.move(box["x"] + 40, box["y"] + box["height"] * 0.4)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + box["height"] * 0.5)
    page.mouse.up()
    page.locator("#compare .use").click()
    width = 100 * 2048 / box["width"]  # the picture has the width of the frame
    page.wait_for_function(
        "(width) => Math.abs(parseInt(residae.table.panes().b.facts?.Picture) - width) < 8", arg=width
    )
    context.close()


def test_the_frame_of_a_part_is_resized_by_its_handles_and_marks_the_work(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    (tmp_path / "large.png").write_bytes(write_png(np.zeros((900, 2048, 3), np.uint8)))
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    page = visit(context, address)
    page.set_input_files("#upload input[type=file]", tmp_path / "large.png")
    expect(figure(page, "Picture")).to_have_text("1,024 × 450 px")
    page.wait_for_function("residae.overview.panes().b.facts")
    crop = page.locator("#compare").get_by_role("button", name="Crop")
    use, box = page.locator("#compare .use"), page.locator("#compare .box")

    def edges() -> list[float]:
        """Left, top, right and bottom of the frame, in pixels of the whole picture."""
        return page.evaluate(
            """() => {
              const placed = (name) => document.querySelector(`#compare ${name}`).getBoundingClientRect();
              const box = placed(".box"), img = placed(".frame img"), scale = 2048 / img.width;
              const across = [box.left, box.right].map((x) => (x - img.left) * scale);
              const down = [box.top, box.bottom].map((y) => (y - img.top) * scale);
              return [across[0], down[0], across[1], down[1]];
            }"""
        )

    page.locator("#compare").get_by_role("button", name="Error", exact=True).click()
    expect(page.locator("#compare .key")).to_be_visible()
    crop.click()
    expect(page.locator("#compare .key")).to_be_hidden()  # it is where the buttons of the chooser come
    page.keyboard.press("Escape")
    expect(page.locator("#compare .key")).to_be_visible()
    page.locator("#compare").get_by_role("button", name="Divided").click()
    crop.click()
    expect(page.locator("#compare .how")).to_contain_text("Drag to move it")
    assert edges() == pytest.approx([512, 0, 1536, 900], abs=4)
    for handle, dx, dy, expected in (
        ("se", -200, -100, [512, 0, 1336, 800]),
        ("n", 50, 300, [512, 300, 1336, 800]),
        ("w", 2000, 0, [1320, 300, 1336, 800]),  # it stays a part
        ("w", -2000, 0, [312, 300, 1336, 800]),  # as long as the working size
        ("nw", 100, -1000, [412, 0, 1336, 800]),  # within the picture
    ):
        placed = page.locator(f"#compare [data-handle={handle}]").bounding_box()
        picture = page.locator("#compare .frame img").first.bounding_box()
        assert placed
        assert picture
        scale, x = picture["width"] / 2048, placed["x"] + placed["width"] / 2
        y = max(placed["y"] + placed["height"] / 2, picture["y"] + 2)  # it reaches beyond the picture
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + dx * scale, y + dy * scale)
        page.mouse.up()
        assert edges() == pytest.approx(expected, abs=4), handle
    corner = page.get_by_role("button", name="Upper left corner")
    corner.press("ArrowRight")
    assert edges() == pytest.approx([444, 0, 1336, 800], abs=4)
    corner.press("ArrowDown")
    assert edges() == pytest.approx([444, 32, 1336, 800], abs=4)
    box.press("ArrowLeft")
    assert edges() == pytest.approx([412, 32, 1304, 800], abs=4)
    box.press("Shift+ArrowRight")
    assert edges() == pytest.approx([412, 32, 1336, 800], abs=4)
    assert axe_findings(page) == []

    held: list[Route] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    use.click()
    expect(use).to_have_text("Reconstructing 924 × 768 px…")  # at once, and until there is a result
    expect(box).to_be_visible()
    expect(page.locator("#compare .handle").first).to_be_hidden()
    page.wait_for_timeout(300)
    expect(box).to_be_visible()
    for route in held:
        route.continue_()
    page.unroute("**/queue/join*")
    expect(figure(page, "Picture")).to_have_text("924 × 768 px")
    expect(box).to_be_hidden()

    page.locator("#compare").get_by_role("button", name="Whole picture").click()
    expect(figure(page, "Picture")).to_have_text("1,024 × 450 px")
    page.wait_for_function("residae.overview.panes().b.facts")
    page.route("**/queue/join*", lambda route: None)
    crop.click()
    use.click()
    expect(box).to_be_visible()
    page.locator("#picture .stop").evaluate("(button) => button.click()")
    expect(box).to_be_hidden()
    expect(crop).to_have_attribute("aria-pressed", "false")
    context.close()


@pytest.mark.parametrize(("height", "width"), [(20, 400), (400, 20)])
def test_names_lie_beside_low_and_narrow_pictures(shapes: Page, tmp_path: Path, height: int, width: int) -> None:
    show_picture(shapes, np.zeros((height, width, 3), np.uint8), tmp_path)
    picture = shapes.locator("#compare .frame img").first
    names = shapes.locator("#compare .frame .tag:visible")
    expect(names).to_have_text(["Original", "Reconstruction"])
    shapes.wait_for_function(
        "(shape) => { const { width, height } = document.querySelector('#compare .frame img').getBoundingClientRect();"
        " return Math.abs(width / height / shape - 1) < 0.01; }",
        arg=width / height,
    )
    seen, stage = picture.bounding_box(), shapes.locator("#compare .stage").bounding_box()
    assert seen
    assert stage
    for name in map(Locator.bounding_box, names.all()):
        assert name
        apart = (
            max(name["x"] - seen["x"] - seen["width"], seen["x"] - name["x"] - name["width"]),
            max(name["y"] - seen["y"] - seen["height"], seen["y"] - name["y"] - name["height"]),
        )
        assert 0 <= max(apart) < 100, "beside it, and near"
        assert stage["x"] <= name["x"] < name["x"] + name["width"] <= stage["x"] + stage["width"]


def test_a_channel_of_one_value_has_an_edge(shapes: Page, tmp_path: Path) -> None:
    """It is as light as the page, or the card, that it lies on."""
    show_picture(shapes, np.full((16, 16), 128, np.uint8), tmp_path)
    for scheme in ("light", "dark"):
        shapes.emulate_media(color_scheme=scheme)
        for tab, tile in (("Overview", "#mosaic .tile canvas"), ("Latent lab", "#mixer .look")):
            shapes.get_by_role("tab", name=tab).click()
            shapes.wait_for_function("document.querySelectorAll('#mosaic .tile').length === 4")
            place = shapes.locator(tile).nth(1)  # the first one is enlarged, which a frame shows
            expect(place).to_be_visible()
            shapes.mouse.move(0, 0)
            box = place.bounding_box()
            assert box
            clip = {"x": round(box["x"]) - 3, "y": round(box["y"] + box["height"] / 2), "width": 8, "height": 1}
            line = np.asarray(Image.open(io.BytesIO(shapes.screenshot(clip=clip))).convert("L")).astype(int)[0]
            assert abs(line[2:5] - line[0]).max() > 16, (scheme, tab, line)
            assert abs(line[2:5] - line[-1]).max() > 16, (scheme, tab, line)
    shapes.emulate_media(color_scheme="light")


def test_captions_of_upright_pictures_are_whole_at_equal_bytes(shapes: Page, tmp_path: Path) -> None:
    upright = np.ascontiguousarray(np.rot90(open_picture(paths()[0]).pixels[128:320, 192:480]))
    show_picture(shapes, upright, tmp_path)
    shapes.get_by_role("tab", name="Equal bytes").click()
    expect(shapes.locator("#baselines-status")).to_contain_text("this network reaches")
    expect(shapes.locator("#baselines .keep:visible").first).to_be_visible()
    for width in (1440, 820, 390):
        shapes.set_viewport_size({"width": width, "height": 900})
        shapes.wait_for_function(
            "document.querySelector('#baselines .stage').getBoundingClientRect().width < innerWidth"
        )
        captions = shapes.locator("#baselines figcaption").evaluate_all(BEYOND)
        assert len(captions) > 3
        assert max(max(beyond) for beyond in captions) <= 1, f"cut at {width}: {captions}"
        heights = [box["height"] for box in map(Locator.bounding_box, shapes.locator("#baselines figure").all()) if box]
        assert max(heights) - min(heights) <= 1, width
