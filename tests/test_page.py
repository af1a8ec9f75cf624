"""The page in a browser: the real app, driven in Chromium on a tiny network."""

import base64
import csv
import io
import re
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect
from service import HOSTILE, Service, assert_withstands, serving

from residae.baselines import CODECS
from residae.codec import read_info
from residae.compare import OURS, compare_at_equal_bytes
from residae.edit import Edits, reconstruct_edited
from residae.examples import paths
from residae.image import open_picture, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline, Reconstruction
from residae.results import PUBLISHED, Measurement, ResultsFile
from residae.ui.tabs.batch import NOTE

PATIENCE = 120_000  # ms; the machine may be busy
IN_GRADIO = ('aria-label="Choose more files"',)  # a button around a file input, in gr.File once it holds files
LAYOUT_SHIFT = """
localStorage.setItem('residae-tour-seen', '1');
window.shifts = [];
const nameOf = ({ node }) => node?.id || node?.className?.baseVal || node?.className || node?.nodeName || "gone";
const note = ({ value, sources }) => window.shifts.push([value, sources.map(nameOf).join(", ")]); // after input as well
new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type: "layout-shift", buffered: true });
"""
MOTIONS = """() => [...document.querySelectorAll("body, .gradio-container *")].flatMap((node) => {
  const style = getComputedStyle(node), longest = (durations) => Math.max(...durations.split(", ").map(parseFloat));
  const transition = style.transitionProperty === "none" ? 0 : longest(style.transitionDuration);
  const animation = style.animationName === "none" ? 0 : longest(style.animationDuration);
  const seconds = Math.max(transition, animation);
  return seconds ? [[seconds, node.outerHTML.slice(0, 120)]] : [];
})"""
START_WHILE_REFINING = """async (patience) => { // presses Start, and counts the frames in which it or no Stop is seen
  const has = (selector) => document.querySelector("#refine").querySelector(selector);
  const end = performance.now() + patience;
  const frame = () => new Promise((resolve, reject) => {
    if (performance.now() < end) requestAnimationFrame(resolve);
    else reject(new Error(`Refine still says ${has("#refine-status").innerText}`));
  });
  has("#refine-start").click();
  while (!has(".progress-level")) await frame();
  let frames = 0;
  for (; !has("#refine-status").innerText.includes("after"); await frame()) {
    if (getComputedStyle(has("#refine-start")).visibility === "visible") frames++;
    if (getComputedStyle(has(".stop")).visibility !== "visible") frames++;
  }
  return frames;
}"""
TAB_PLACES = "tabs => tabs.map((tab) => tab.getBoundingClientRect().x - tabs[0].getBoundingClientRect().x)"
LABELS = (
    "button:not(.upload-container), [role=tab], label span, dt, dd, h2, thead th, "
    "[data-testid=block-info], [data-testid=block-label]"
)
WRAPPED = """(labels) => [...document.querySelectorAll(labels)].filter((label) => {
  if (!label.checkVisibility({ visibilityProperty: true })) return false;
  const texts = document.createTreeWalker(label, NodeFilter.SHOW_TEXT), range = document.createRange(), lines = [];
  while (texts.nextNode()) {
    if (texts.currentNode.parentElement.clientWidth === 1) continue; // for screen readers alone
    range.selectNodeContents(texts.currentNode);
    lines.push(...[...range.getClientRects()].filter((line) => line.width));
  }
  return lines.some((line) => line.top >= lines[0].bottom);
}).map((label) => label.outerHTML.slice(0, 160))"""
BEYOND = """() => [...document.querySelectorAll("main *")].filter((node) => { // the window, where nothing scrolls to it
  const { left, right, width } = node.getBoundingClientRect();
  if (!width || !node.checkVisibility() || (left >= 0 && right <= innerWidth)) return false;
  for (let around = node.parentElement; !around.matches(".gradio-container"); around = around.parentElement)
    if (getComputedStyle(around).overflowX !== "visible") return false;
  return true;
}).map((node) => node.outerHTML.slice(0, 160))"""
CUT = """() => [ // labels that have little room on a small phone: the most that each is high, where that tells
  ["header p:not(.device)", 32], ["#journey li > span", 20],
  [":is(#upload, #rae) [data-testid=block-label]"], ["#batch-table"],
].flatMap(([labels, most]) => [...document.querySelectorAll(labels)].filter((label) => label.checkVisibility() &&
  (label.scrollWidth > label.clientWidth || label.getBoundingClientRect().height > (most ?? Infinity)))
).map((label) => label.outerHTML.slice(0, 160))"""
LISTED = """() => { // notes whether Gradio's list of files is seen in the upload of .rae files, each time there is one
  const upload = document.querySelector("#rae");
  window.listed = [];
  new MutationObserver(() => {
    const list = upload.querySelector(".file-preview-holder");
    if (list) listed.push(list.checkVisibility({ visibilityProperty: true }));
  }).observe(upload, { childList: true, subtree: true });
}"""
TABS = ("Overview", "Latent lab", "Equal bytes", "Files", "Batch", "The model")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to take the place of the project's checkpoints, with one checkpoint of six channels."""
    folder = tmp_path_factory.mktemp("others")
    torch.manual_seed(1)
    ResidualAutoencoder(base_channels=4, latent_channels=6).eval().save_pretrained(folder / "six")
    (folder / "six" / "README.md").write_text(
        "The card of six.\n\n## Brief\n\nA line.\n\n## Long\n\n" + "A paragraph.\n\n" * 40
    )
    rows = [
        Measurement("a", "a", 8, 8, f"{rate} bpp{steps}", OURS, bytes=round(8 * rate), psnr=30 + rate)
        for rate in (0.5, 1.0)
        for steps in ("", ", 20 steps", ", 40 steps")
    ]
    ResultsFile(folder / "six" / PUBLISHED, resume=False, force=False).append(rows)
    return folder


@pytest.fixture(scope="module")
def service(checkpoint: Path, others: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    code = f"import pathlib, residae.checkpoint; residae.checkpoint.FOLDERS = (pathlib.Path({str(others)!r}),)\n"
    app = f"{code}import app; app.main()"
    with serving(tmp_path_factory.mktemp("app"), checkpoint, app, **HOSTILE) as service:
        yield service
    log = service.log.read_text().replace(" refused.\nTraceback", "")
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def address(service: Service) -> str:
    return f"{service.address}/"


@pytest.fixture(scope="module")
def browser_errors() -> list[str]:
    """Errors that the browser reported."""
    return []


@pytest.fixture(scope="module")
def page(address: str, browser: Browser, browser_errors: list[str]) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    page.on("console", lambda message: browser_errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: browser_errors.append(str(error)))
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.add_init_script("localStorage.setItem('residae-tour-seen', '1')")
    page.goto(address)
    return page


@pytest.fixture(scope="module")
def pipeline(checkpoint: Path) -> Pipeline:
    """The network of the page, with the weights as they are stored."""
    return Pipeline.open(checkpoint)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The middle of a rendered scene: as large as the properties need, so that all that is made of it is soon there."""
    pixels = open_picture(paths()[0]).pixels
    path = tmp_path_factory.mktemp("photograph") / "photograph.png"
    path.write_bytes(write_png(np.ascontiguousarray(pixels[128:384, 192:576])))
    return path


@pytest.fixture(scope="module")
def report(pipeline: Pipeline, photograph: Path) -> Reconstruction:
    """What the package computes for the photograph."""
    return pipeline.reconstruct(open_picture(photograph), color=False, quality=80)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def figure(page: Page, name: str) -> Locator:
    return page.locator(f"#figures dt:text-is('{name}') + dd")


def wait_for_number(place: Locator, expected: float, within: float) -> None:
    """Wait until the first number in the text is as expected, within a tolerance: the precisions may differ."""
    end, text = time.monotonic() + PATIENCE / 1000, ""
    while time.monotonic() < end:
        text = place.inner_text() if place.count() else ""
        found = re.search(r"\d[\d,]*\.?\d*", text)
        if found and abs(float(found[0].replace(",", "")) - expected) <= within:
            return
        time.sleep(0.05)
    pytest.fail(f"{expected} is expected, and what stands there is {text!r}")


def set_quality(page: Page, value: int) -> None:
    page.get_by_label("number input for Quality").fill(str(value))
    page.get_by_label("number input for Quality").press("Enter")


def drop(page: Page, *files: Path) -> None:
    """Drop files on the heading of the page, which is no upload."""
    page.evaluate(
        """async (files) => {
          const dataTransfer = new DataTransfer();
          for (const [name, base64] of files) {
            const content = await (await fetch(`data:application/octet-stream;base64,${base64}`)).blob();
            dataTransfer.items.add(new File([content], name));
          }
          for (const type of ["dragover", "drop"]) document.querySelector("header").dispatchEvent(
            new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));
        }""",
        [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files],
    )


def pixels(image: Locator) -> np.ndarray:
    """The pixels of the file that an <img> shows."""
    expect(image).to_have_attribute("src", re.compile("^http"))
    with urllib.request.urlopen(image.get_attribute("src")) as answer:
        shown = Image.open(io.BytesIO(answer.read()))
    assert shown.format == "PNG"
    return np.asarray(shown.convert("RGB"))


def gray(picture: np.ndarray) -> np.ndarray:
    return picture[..., None].repeat(3, axis=2)


def test_the_page_starts_in_a_hostile_environment(service: Service) -> None:
    assert_withstands(service)


def test_a_first_visit_shows_the_result_of_an_example(page: Page) -> None:
    expect(figure(page, "PSNR")).to_have_text(re.compile(r"^\d+\.\d\d dB$"))
    expect(page.get_by_alt_text("The picture rebuilt from its latent").first).to_be_visible()
    expect(page.locator("header .device")).to_contain_text("tiny")
    expect(page.locator("#examples img")).to_have_count(5)
    expect(page.locator("#examples [aria-current=true] img")).to_have_attribute("alt", "Scene")
    assert not page.evaluate("[...document.querySelectorAll('footer img')].some((icon) => icon.checkVisibility())")
    for name in ("Scene", "Texture", "Flowers", "Chart", "Page"):  # as screen readers find them
        expect(page.locator("#examples").get_by_role("button", name=name, exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Drop, paste or choose a picture", exact=True)).to_be_visible()
    expect(page.locator("footer")).to_contain_text("About the model")
    expect(page.locator("#journey li").nth(1)).to_contain_text("64× fewer, 128× with halved chroma")
    expect(page.locator("#mosaic .tile")).to_have_count(4)
    for tile in page.locator("#mosaic .tile").all():
        expect(tile).to_have_attribute("aria-label", re.compile(r"^Channel \d, (<1|\d+) % of the bits$"))


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_moves(
    address: str, browser: Browser, page: Page, photograph: Path, folder: Path, tmp_path: Path, width: int
) -> None:
    """While the page loads, and after anything that a visitor does. At 1,440 x 900, one look has the whole story."""
    visit = browser.new_page(viewport={"width": width, "height": 900})
    visit.set_default_timeout(PATIENCE)
    visit.add_init_script(LAYOUT_SHIFT)

    def assert_still(step: str, most: float = 0.02) -> None:
        visit.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
        shifts = visit.evaluate("shifts.splice(0)")
        assert sum(value for value, _ in shifts) < most, f"{step}: {shifts}"

    def wait_for_facts(**facts: str) -> None:
        visit.wait_for_function(
            "facts => Object.entries(facts).every(([name, text]) => residae.overview.panes().b.facts?.[name] === text)",
            arg=facts,
        )

    visit.goto(address)
    expect(figure(visit, "PSNR")).to_be_visible()
    expect(visit.locator("#compare .frame img").first).to_be_visible()
    assert_still("load", 0.005)
    if width == 1440:
        expect(visit.locator("#compare .scale")).to_have_text("100 %")
        for part in ("#compare .surface", "#journey", "#figures dl", "#mosaic", "#error"):
            box = visit.locator(part).bounding_box()
            assert box
            assert box["y"] + box["height"] <= 900, part

    visit.locator("#examples button").nth(1).click()
    visit.wait_for_function(
        "name => residae.overview.picture() === name && residae.overview.panes().b.facts", arg=Path(paths()[1]).stem
    )
    assert_still("example")
    for index in (4, 0):  # of another shape, and back
        visit.locator("#examples button").nth(index).click()
        visit.wait_for_function(
            "name => residae.overview.picture() === name && residae.overview.panes().b.facts",
            arg=Path(paths()[index]).stem,
        )
        assert_still("example of another shape")
    visit.set_input_files("#upload input[type=file]", photograph)
    wait_for_facts(Picture="384 × 256 px")
    assert_still("picture")
    visit.set_input_files("#upload input[type=file]", folder / "README.md")
    expect(visit.locator("#alert [role=alert]")).to_be_visible()
    assert_still("refusal")
    set_quality(visit, 30)
    wait_for_facts(Quality="30")
    assert_still("quality")
    visit.get_by_role("radio", name="File size").check()
    expect(visit.locator("#status")).to_contain_text("of the numbers, at quality")
    assert_still("size")
    visit.get_by_role("radio", name="Quality").check()
    wait_for_facts(Quality="30")
    visit.get_by_role("radio", name="1/16").check()
    wait_for_facts(**{"Numbers kept": "1/16"})
    assert_still("scale")
    visit.get_by_label("number input for Steps").fill("2")
    visit.locator("#refine-start").click()
    expect(visit.locator("#refine-status")).to_contain_text("after 2 steps")
    assert_still("refine")
    visit.get_by_role("button", name="Keep as A").click()
    set_quality(visit, 80)
    wait_for_facts(Quality="80")
    expect(visit.locator("#comparison .differences")).to_contain_text("Quality3080")
    assert_still("A | B")
    for view in ("Error", "Side by side", "Divided"):
        visit.locator("#compare").get_by_role("button", name=view, exact=True).click()
        assert_still(view)
    for pressed in ("true", "false"):
        visit.locator("#compare .full-screen").click()
        expect(visit.locator("#compare .full-screen")).to_have_attribute("aria-pressed", pressed)
        visit.wait_for_function("document.querySelector('#compare [data-moving]') === null")
        assert_still(f"full screen {pressed}")

    tab_places = visit.get_by_role("tab").evaluate_all(TAB_PLACES)
    for tab, place, text in (
        ("Latent lab", "#lab-status", "the same as unedited"),
        ("Equal bytes", "#baselines-status", "this network reaches"),
        ("Files", "#opened .invitation", "appear here"),
        ("Batch", "#batch-run", "Compress all"),
        ("The model", "#model-figures", "GFLOP"),
        ("Overview", "#journey", "samples of the picture"),
    ):
        open_tab(visit, tab)
        expect(visit.locator(place)).to_contain_text(text)
        if tab == "Latent lab":
            visit.locator("#measure").click()
            expect(visit.locator("#measure-status")).to_contain_text("Measured on luma")
            visit.get_by_label("number input for Blend").fill("0.5")
            visit.get_by_label("number input for Blend").press("Enter")
            expect(visit.locator("#lab-status")).to_contain_text("than unedited")
            visit.set_input_files("#other input[type=file]", folder / "README.md")
            expect(visit.locator("#blend-alert [role=alert]")).to_be_in_viewport(ratio=1)  # not up at the picture
            expect(visit.locator("#other")).not_to_have_class(re.compile("chosen"))
            expect(visit.locator("#lab-status")).to_contain_text("than unedited")
            assert_still("refusal in the Latent lab")
            visit.locator("#reset").click()
            expect(visit.locator("#lab-status")).to_contain_text("the same as unedited")
            assert_still("reset")
            visit.locator("#edited").get_by_role("button", name="A | B").click()
        if tab == "Equal bytes":
            expect(visit.locator("#curves svg").first).to_be_visible()
        if width == 1440 and tab in ("Overview", "Files", "Batch"):
            assert visit.evaluate("document.documentElement.scrollHeight") <= 900, tab
        assert_still(tab)
        assert visit.get_by_role("tab").evaluate_all(TAB_PLACES) == tab_places, f"{tab} moved the tabs beside it"

    open_tab(visit, "Equal bytes")
    expect(visit.locator("#baselines .frame").first).to_be_visible()
    assert_still("Equal bytes again")
    open_tab(visit, "Overview")
    visit.get_by_role("button", name="Histogram").click()
    expect(visit.locator("#error .histogram svg").first).to_be_visible()
    assert_still("histogram")
    visit.get_by_role("button", name="Leave A | B").click()
    open_tab(visit, "Latent lab")  # whose pictures were divided otherwise while they were not seen
    expect(visit.locator("#edited .divider")).to_be_visible()
    assert_still("Latent lab again")
    visit.get_by_label("Gray", exact=True).check()
    expect(visit.locator("#plane label")).to_have_count(1)
    assert_still("gray in the Latent lab", 0.01)
    open_tab(visit, "Files")
    visit.get_by_role("button", name="Open the Overview’s file").click()
    expect(visit.locator("#files-status")).to_contain_text("1 file opened.")
    assert_still("file of the Overview")
    damaged = [tmp_path / f"{name}.rae" for name in "ab"]
    for path in damaged:
        path.write_bytes(b"no such file")
    visit.set_input_files("#rae input[type=file]", damaged)
    expect(visit.locator("#files-status [role=alert]")).to_have_count(2)
    assert_still("damaged files", 0.005)
    open_tab(visit, "Batch")
    visit.set_input_files("#batch input[type=file]", [photograph] * 2)
    expect(visit.locator("#batch tr")).to_have_count(2)
    assert_still("pictures of a batch")
    visit.locator("#batch-run").click()
    expect(visit.locator("#batch-status")).to_contain_text("2 compressed.")
    assert_still("batch")
    open_tab(visit, "The model")
    visit.locator("#diagram svg:visible .stage.latent").click()
    expect(visit.locator("#stage-output img")).to_have_count(4)
    assert_still("stage")
    visit.close()


def test_the_page_shows_what_the_package_computes(page: Page, report: Reconstruction, photograph: Path) -> None:
    page.get_by_label("Gray", exact=True).check()
    expect(page.locator("#journey li").nth(1)).to_contain_text("64× fewer")
    page.set_input_files("#upload input[type=file]", photograph)
    wait_for_number(figure(page, "PSNR"), report.psnr, 0.02)
    expect(page.locator("#examples [aria-current=true]")).to_have_count(0)
    wait_for_number(figure(page, "SSIM"), report.ssim, 0.001)
    height, width = report.original.shape
    expect(figure(page, "Picture")).to_have_text(f"{width} × {height} px")
    expect(page.locator("#mosaic .caption")).to_contain_text(f"4 × {height // 16} × {width // 16}")
    expect(figure(page, "Encode · decode")).to_have_text(re.compile(r"^\d+\.\d s · \d+\.\d s$"))

    before, after = (page.locator("#compare .frame img").nth(i) for i in range(2))
    np.testing.assert_array_equal(pixels(before), gray(report.original))
    difference = pixels(after).astype(int) - gray(report.decoding.pixels)
    assert np.square(difference).mean() < 1, "the page shows another reconstruction than the package makes"
    assert report.compressed
    size = len(report.compressed.data)
    wait_for_number(figure(page, "Rate"), 8 * size / (width * height), 0.002)
    counts = [int(item.inner_text().replace(",", "")) for item in page.locator("#journey b").all()]
    assert counts[:2] == [width * height, 4 * (height // 16) * (width // 16)]
    assert counts[2] == pytest.approx(size, rel=0.02)


def test_pictures_share_one_zoom(page: Page, report: Reconstruction) -> None:
    page.get_by_role("button", name="Side by side", exact=True).click()
    frames = page.locator("#compare .frame")
    expect(frames).to_have_count(2)
    for frame, name in zip(frames.all(), page.locator("#compare figcaption b").all(), strict=True):
        picture, caption = frame.locator("img").bounding_box(), name.bounding_box()
        assert picture
        assert caption
        assert caption["x"] == pytest.approx(picture["x"], abs=1)
    page.locator("#compare .one").click()
    expect(page.locator("#compare .scale")).to_have_text("100 %")
    page.locator("#compare .stage").press("ArrowRight")
    placed = [frames.nth(i).locator("img").get_attribute("style") for i in range(2)]
    assert placed[0] == placed[1]
    assert f"width: {report.original.shape[1]}px" in str(placed[0])

    page.locator("#compare").get_by_role("button", name="Error", exact=True).click()
    key = page.locator("#compare").get_by_role("img", name="Absolute error in gray levels (0 to 255)")
    expect(key).to_be_visible()
    page.get_by_role("button", name="Signed", exact=True).first.click()
    expect(page.get_by_role("img", name=re.compile("blue too dark, orange too bright"))).to_be_visible()
    page.locator("#compare .fit").click()
    page.get_by_role("button", name="Divided", exact=True).first.click()
    divider = page.get_by_role("slider", name=re.compile("^Divide between Original"))
    divider.focus()
    before_moving = page.locator("#compare .frame img").nth(1).get_attribute("style")
    divider.press("ArrowLeft")
    assert page.locator("#compare .frame img").nth(1).get_attribute("style") != before_moving
    page.get_by_role("button", name="Histogram").click()
    expect(page.get_by_role("img", name="Share of pixels by luma error in gray levels")).to_be_visible()
    page.get_by_role("button", name="Map", exact=True).click()


def test_another_quality_decodes_without_encoding_again(
    page: Page, report: Reconstruction, pipeline: Pipeline, photograph: Path
) -> None:
    seconds = figure(page, "Encode · decode").inner_text().split(" · ")[0]
    set_quality(page, 10)
    coarse = pipeline.decode_and_measure(open_picture(photograph), report.encoding, pipeline.write(report.encoding, 10))
    wait_for_number(figure(page, "PSNR"), coarse.psnr, 0.02)
    expect(figure(page, "Encode · decode")).to_contain_text(seconds)
    set_quality(page, 80)
    wait_for_number(figure(page, "PSNR"), report.psnr, 0.02)


def test_the_unquantized_latent_scores_as_evaluate_does(
    page: Page, report: Reconstruction, pipeline: Pipeline, photograph: Path
) -> None:
    unquantized = pipeline.decode_and_measure(open_picture(photograph), report.encoding, None)
    page.get_by_role("radio", name="Unquantized").check()
    expect(figure(page, "Rate")).to_have_count(0)
    wait_for_number(figure(page, "PSNR"), unquantized.psnr, 0.02)
    open_tab(page, "Latent lab")
    expect(page.locator("#lab-status")).to_contain_text(f"{unquantized.psnr:.2f} dB, the same as unedited")
    tiles = page.locator("#mixer .strip img").all()
    own = [pixels(tile) for tile in tiles]
    page.get_by_label("One color scale for all channels").check()
    common = [pixels(tile) for tile in tiles]
    assert sum((a == b).all() for a, b in zip(own, common, strict=True)) == 1  # of the channel that varies most
    page.get_by_label("One color scale for all channels").uncheck()
    assert (pixels(tiles[0]) == own[0]).all()
    open_tab(page, "Equal bytes")
    expect(page.locator("#baselines-status")).to_contain_text("no file to compare with: choose a quality")
    expect(page.locator("#baselines .frame img")).to_have_count(2)
    expect(page.locator("#baselines figcaption").nth(1)).to_contain_text(f"{unquantized.psnr:.2f} dB")
    for place in ("#baselines-figures", "#curves"):  # no hole in the place of what needs a file
        room = page.locator(place).bounding_box()
        told = page.locator(f"{place} :is(table, .empty)").bounding_box()
        assert room
        assert told
        assert told["height"] > 0.8 * room["height"], place
    open_tab(page, "Overview")
    page.get_by_role("radio", name="Quality").check()
    expect(figure(page, "Rate")).to_have_count(1)


def test_the_lab_decodes_the_edited_latent(
    page: Page, report: Reconstruction, pipeline: Pipeline, photograph: Path
) -> None:
    open_tab(page, "Latent lab")
    status = page.locator("#lab-status")
    expect(page.locator("#mixer .strip")).to_have_count(4)
    expect(status).to_contain_text("the same as unedited")
    assert report.compressed
    shares = pipeline.channel_bits(report.compressed).sum(0)
    wait_for_number(page.get_by_role("group", name="Channel 3").locator(".share"), 100 * shares[2] / shares.sum(), 1)

    encoding = pipeline.stored(report.encoding, report.compressed)
    muted = reconstruct_edited(pipeline, open_picture(photograph), encoding, Edits((0.0, 1.0, 0.0, 0.0)))
    held = list[Route]()
    page.route("**/run/predict", lambda route: held.append(route), times=1)  # until all are pressed
    with page.expect_request("**/run/predict"):
        page.get_by_role("button", name="Mute channel 1").click()
    for channel in (3, 4):
        page.get_by_role("button", name=f"Mute channel {channel}").click()
    with page.expect_request(lambda request: "[0,1,0,0]" in (request.post_data or "")):
        held[0].continue_()
    wait_for_number(status, muted.psnr, 0.02)
    expect(page.get_by_role("group", name="Channel 3")).to_have_class(re.compile("silent"))

    page.get_by_role("button", name="Reset", exact=True).click()
    expect(status).to_contain_text("the same as unedited")
    noisy = reconstruct_edited(pipeline, open_picture(photograph), encoding, Edits(noise=1.0))
    page.get_by_label("number input for Noise").fill("1")
    page.get_by_label("number input for Noise").press("Enter")
    wait_for_number(status, noisy.psnr, 0.02)
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(status).to_contain_text("the same as unedited")

    page.get_by_role("button", name="Enlarge channel 2").click()
    values = report.encoding.latents[0][1]
    expect(page.locator("#channel figcaption")).to_contain_text(re.compile("Channel 2.*mean"))
    expect(page.locator("#channel").get_by_role("img", name="Value of the channel")).to_be_visible()
    assert values.shape == (report.encoding.height // 16, report.encoding.width // 16)
    page.get_by_role("button", name="Measure what each channel is worth").click()
    name = "By channel: share of the bits (%) and luma PSNR lost when muted (dB)"
    expect(page.get_by_role("img", name=name)).to_be_visible()
    expect(page.locator("#measure-status")).to_contain_text("Measured on luma")
    expect(page.get_by_role("button", name="Measure again")).to_be_visible()
    expect(status).to_contain_text("the same as unedited")

    chosen, own = page.locator("#others .selected"), page.locator("#other")
    expect(chosen).to_have_count(1)
    page.set_input_files("#other input[type=file]", photograph)
    expect(own.get_by_role("button", name=f"Blend with {photograph.name}")).to_be_visible()
    expect(own).to_have_class(re.compile("chosen"))
    expect(chosen).to_have_count(0)  # so that it can be chosen again
    thumbnail = page.locator("#own-picture img")
    expect(thumbnail).to_have_js_property("complete", value=True)
    assert thumbnail.evaluate("(image) => image.naturalWidth") > 0
    assert thumbnail.bounding_box() == own.bounding_box()
    page.locator("#others button").nth(1).click()
    expect(thumbnail).to_have_count(0)
    expect(own.get_by_role("button", name="Or upload your own")).to_be_visible()
    expect(own).not_to_have_class(re.compile("chosen"))
    expect(chosen).to_have_count(1)


def test_baselines_at_equal_bytes(page: Page, report: Reconstruction, tmp_path: Path) -> None:
    open_tab(page, "Equal bytes")
    assert report.compressed
    comparison = compare_at_equal_bytes(report.original, report.compressed, report.decoding)
    rows = page.locator("#baselines-figures tbody tr")
    expect(rows).to_have_count(1 + len(CODECS))
    for row, result in zip(rows.all(), comparison.results, strict=True):
        expect(row.locator("th")).to_have_text(f"{result.name} {result.effort}".strip())
        if result.pixels is None:
            expect(row).to_contain_text("cannot make a file this small")
        else:
            wait_for_number(row.locator("td").nth(1), result.psnr, 0.1)
            wait_for_number(row.locator("td").nth(3), result.ms_ssim, 0.01)
    unable = [result.name for result in comparison.results if result.pixels is None]
    assert "AVIF" in unable, "choose a harder case, which AVIF's best speed does not change"
    expect(page.locator("#baselines .absent").first).to_contain_text("cannot compress this picture to")
    expect(page.locator("#baselines-status")).to_contain_text("At ")
    expect(page.locator("#baselines").get_by_role("button", name="Keep Residae as A")).to_be_visible()
    expect(page.locator("#baselines").get_by_role("button", name="Keep Original as A")).to_be_hidden()
    page.locator("#baselines").get_by_role("button", name="Errors").click()
    present = [result for result in comparison.results if result.pixels is not None]
    expect(page.locator("#baselines .frame img")).to_have_count(len(present))
    page.locator("#baselines").get_by_role("button", name="In place").click()
    expect(page.locator("#baselines .frame img")).to_have_count(1 + len(present))
    for name in ("Original", f"{OURS} · "):  # one at a time, and B shows the next
        expect(page.locator("#baselines .frame .tag:visible")).to_have_text(re.compile(f"^{name}"))
        expect(page.locator("#baselines .frame img:visible")).to_have_count(1)
        page.locator("#baselines .stage").press("b")
    with page.expect_download() as download:
        page.locator("#actions-bar").get_by_role("button", name="Export").click()
        page.get_by_role("button", name="Sheet").click()
    download.value.save_as(tmp_path / "sheet.html")
    sheet = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img alt="[^"]+" src="data:image/png;base64,', sheet)) == 1 + 2 * len(present)
    assert all(f'<th scope="row">{name}' in sheet for name in (OURS, *CODECS))
    assert len(re.findall(r"<td>[\d,.]+ : 1</td><td>[\d.]+ dB", sheet)) == len(present)  # beside the bytes
    assert all(f"<b>Error of {result.name}</b>" in sheet for result in present)
    assert "PSNR in dB against bits per pixel, by codec" in sheet
    expect(page.get_by_role("img", name="PSNR in dB against bits per pixel, by codec")).to_contain_text(OURS)
    page.evaluate(
        "document.querySelector('.work:has(#baselines-status) .stop').click()"
    )  # the next tests need not wait for the curves


def test_the_file_can_be_downloaded_and_opened_again(
    page: Page, report: Reconstruction, tmp_path: Path, photograph: Path
) -> None:
    open_tab(page, "Overview")
    with page.expect_download() as download:
        page.locator("#download").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert report.compressed
    assert file.name == f"{photograph.stem}.rae"
    assert file.stat().st_size == pytest.approx(len(report.compressed.data), rel=0.02)  # the precisions may differ

    cut = tmp_path / "cut.rae"
    cut.write_bytes(file.read_bytes()[:-9])
    drop(page, file, cut)  # while the Overview is open
    expect(page.get_by_role("tab", name="Files", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#opened-figures")).to_contain_text(read_info(file.read_bytes()).fingerprint)
    difference = pixels(page.locator("#opened .frame img")).astype(int) - gray(report.decoding.pixels)
    assert np.square(difference).mean() < 1
    expect(page.locator("#files-status [role=alert]")).to_contain_text("cut.rae: The file is damaged or cut short")
    radii = "(node) => getComputedStyle(node).borderRadius"
    assert page.locator("#files-status [role=alert]").evaluate(radii) == "4px"  # at each corner, as other errors
    expect(page.locator("#files-status")).to_contain_text("1 file opened.")
    page.evaluate(LISTED)
    page.set_input_files("#rae input[type=file]", file)
    expect(page.locator("#files-status")).to_have_text("1 file opened.")
    listed = page.evaluate("listed")
    assert listed, "Gradio lists files no longer while they are taken"
    assert not any(listed), "the list is cut, for the upload is lower"
    for width in (1440, 1000, 870, 820, 700, 390):
        page.set_viewport_size({"width": width, "height": 1000})
        figures = page.locator("#opened-figures dd").all()
        ends = [box["x"] + box["width"] for box in map(Locator.bounding_box, figures) if box]
        assert len(ends) == len(figures)
        assert max(ends) <= width - 12, "none is cut at the edge"
    page.set_viewport_size({"width": 1440, "height": 900})
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("#opened-figures dd").last).to_be_in_viewport(ratio=1)  # with the picture
    link = page.locator("#opened-figures").get_by_role("link", name="Save as PNG")
    assert link.evaluate("link => link.getBoundingClientRect().height") >= 24  # as a finger needs
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == f"{file.stem}.png"
    assert open_picture(download.value.path()).width == read_info(file.read_bytes()).width

    open_tab(page, "Latent lab")  # which still shows what it did
    expect(page.locator("#measure-status")).to_contain_text("Measured on luma")
    expect(page.locator("#mixer .strip")).to_have_count(4)
    open_tab(page, "Equal bytes")
    expect(page.locator("#baselines-figures tbody tr")).to_have_count(1 + len(CODECS))
    expect(page.locator("#baselines .frame img").first).to_be_visible()


def test_a_batch_gives_a_table_and_an_archive(page: Page, folder: Path, tmp_path: Path) -> None:
    open_tab(page, "Batch")
    page.get_by_role("button", name="Compress all").click()
    expect(page.locator("#batch-status [role=alert]")).to_have_text("Choose some pictures first.")
    (tmp_path / "c.png").write_text("no picture")
    drop(page, folder / "a.png", folder / "b.png", tmp_path / "c.png")  # while Batch is open
    expect(page.locator("#batch tr")).to_have_count(3)
    buttons = page.locator("#batch .icon-button").evaluate_all(
        "(all) => all.map((one) => one.getBoundingClientRect().width)"
    )
    assert len(buttons) == 2
    assert min(buttons) >= 24, "as a finger needs"
    expect(page.locator("#batch-status")).to_have_text(NOTE)  # in place of the error, which no longer holds
    page.get_by_role("button", name="Compress all").click()
    expect(page.locator("#batch-status")).to_contain_text("2 compressed, 1 failed.")
    expect(page.locator("#batch-table")).to_contain_text("not a picture")
    page.locator("#batch-table thead").get_by_text("PSNR, dB").hover()
    expect(page.get_by_role("tooltip")).to_contain_text("signal-to-noise")
    for width in (390, 820, 900, 1440):
        page.set_viewport_size({"width": width, "height": 1000})
        table = page.locator("#batch-table table").bounding_box()
        sentence = page.locator("#batch-table").get_by_text("not a picture").bounding_box()
        assert table
        assert sentence
        assert sentence["width"] > min(0.9 * table["width"], 500), f"at {width} px the sentence has a narrow column"
        assert page.locator("#batch-table").evaluate("table => table.scrollWidth - table.clientWidth") == 0
    taken = {}
    for name in ("csv", "zip"):
        with page.expect_download() as download:
            page.locator(f"#batch-{name}").click()
        download.value.save_as(taken.setdefault(name, tmp_path / f"taken.{name}"))
    rows = list(csv.DictReader(taken["csv"].open(encoding="utf-8-sig")))
    assert [row["Name"] for row in rows] == ["a.png", "b.png", "c.png"]
    with zipfile.ZipFile(taken["zip"]) as archive:
        assert archive.namelist() == ["001-a.rae", "002-b.rae"]
        for row, name in zip(rows, archive.namelist(), strict=False):
            info = read_info(archive.read(name))
            assert (str(info.file_bytes), str(info.width)) == (row["Bytes"], row["Width"])


def test_maps_lead_to_the_viewer_and_to_the_lab(page: Page) -> None:
    open_tab(page, "Overview")
    page.locator("#error .map").click()
    expect(page.locator("#compare").get_by_role("button", name="Error", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    page.locator("#compare").get_by_role("button", name="Divided").click()
    page.locator("#mosaic .tile").nth(2).press("Enter")
    expect(page.locator("#channel figcaption")).to_contain_text("Channel 3")
    expect(page.get_by_role("group", name="Channel 3").get_by_role("button").first).to_be_focused()
    expect(page.get_by_role("tab", name="Latent lab")).to_have_attribute("aria-selected", "true")


def test_the_mixer_shows_all_of_each_channel(page: Page) -> None:
    """As the mosaic does: in a square, a third of a picture of 3 : 2 would be cut off."""
    open_tab(page, "Latent lab")
    for picture in page.locator("#mixer .look img").all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
        width, height, ratio = picture.evaluate(
            "(node) => [node.clientWidth, node.clientHeight, node.naturalWidth / node.naturalHeight]"
        )
        assert width / height == pytest.approx(ratio, rel=0.05)


def test_a_signed_error_map_is_dark_where_the_page_is(page: Page) -> None:
    """As the channels in the same colors are: no error is dark then, and white in the light."""
    open_tab(page, "Overview")
    viewer, theme = page.locator("#compare"), page.locator("#theme")
    viewer.get_by_role("button", name="Error", exact=True).click()
    for kind, filters in (("Signed", ("none", "invert(0.87) hue-rotate(180deg)")), ("Absolute", ("none", "none"))):
        viewer.get_by_role("button", name=kind, exact=True).click()
        for expected in filters:
            expect(viewer.locator(".frame img")).to_have_css("filter", expected)
            expect(viewer.locator(".key svg").first).to_have_css("filter", expected)
            theme.click()
    viewer.get_by_role("button", name="Divided", exact=True).click()


def test_every_tab_works_at_another_scale_with_a_refined_file(
    page: Page, report: Reconstruction, pipeline: Pipeline, tmp_path: Path, photograph: Path
) -> None:
    open_tab(page, "Overview")
    page.get_by_role("radio", name="1/16").check()  # of a network that keeps 1/64 at scale 1
    height, width = report.original.shape
    larger = pipeline.reconstruct(open_picture(photograph), False, 80, scale=2)
    numbers = page.locator("#journey li").nth(1)
    expect(numbers).to_contain_text(f"{4 * (height // 8) * (width // 8):,}")
    expect(numbers).to_contain_text("16× fewer")
    wait_for_number(figure(page, "PSNR"), larger.psnr, 0.02)

    page.get_by_label("number input for Steps").fill("5")
    height = page.evaluate("""() => {
        const bar = document.createElement("div");
        bar.className = "progress-bar-wrap"; // as Gradio's
        bar.ariaLabel = "Refining. About 50 s; this page allows 2 minutes";
        document.querySelector("#refine-status").append(bar);
        const { height } = getComputedStyle(bar, "::before");
        bar.remove();
        return height;
    }""")
    assert height == "28px", "it takes two lines, and is not cut"
    assert page.evaluate(START_WHILE_REFINING, PATIENCE) == 0, "Stop takes the place of Start, also between two steps"
    expect(page.locator("#refine-status")).to_contain_text("after 5 steps")
    expect(page.locator("#refine-start")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Refinement: .* after 5 of 5 steps"))).to_be_visible()
    refined = float(figure(page, "PSNR").inner_text().split()[0])
    size = int(page.locator("#journey b").nth(2).inner_text().replace(",", ""))
    assert refined > larger.psnr

    open_tab(page, "Latent lab")
    expect(page.locator("#lab-status")).to_contain_text("the same as unedited")
    wait_for_number(page.locator("#lab-status"), refined, 0.011)
    open_tab(page, "Equal bytes")
    ours = page.locator("#baselines-figures tbody tr").first
    expect(ours).to_contain_text(f"{size:,}")
    wait_for_number(ours.locator("td").nth(1), refined, 0.011)
    page.evaluate("document.querySelector('.work:has(#baselines-status) .stop').click()")
    open_tab(page, "Overview")
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "refined.rae")
    assert (tmp_path / "refined.rae").stat().st_size == size
    open_tab(page, "Files")
    page.set_input_files("#rae input[type=file]", tmp_path / "refined.rae")
    expect(page.locator("#opened-figures")).to_contain_text("2")
    open_tab(page, "Overview")
    page.get_by_role("radio", name="File size").check()
    expect(page.get_by_role("radio", name="Auto")).to_be_checked()
    expect(page.get_by_label("At most, kB")).to_have_value(f"{-(-size // 100) / 10:g}")
    expect(page.locator("#status")).to_contain_text("of the numbers, at quality")
    page.get_by_role("radio", name="1/64").check()
    page.get_by_role("radio", name="Quality").check()
    wait_for_number(figure(page, "PSNR"), report.psnr, 0.02)


@pytest.mark.parametrize("width", [1440, 820, 390])
def test_a_size_that_is_too_small_is_refused_below_its_field(page: Page, report: Reconstruction, width: int) -> None:
    """Without an edge over the field, whose number is to be changed, and in which all of it is read."""
    page.set_viewport_size({"width": width, "height": 1000})
    page.get_by_role("radio", name="File size").check()
    field, alert = page.get_by_label("At most, kB"), page.locator("#size-alert [role=alert]")
    expect(page.locator("#status")).to_contain_text("of the numbers, at quality")
    field.fill("100000.5")
    assert field.evaluate("(field) => field.scrollWidth <= field.clientWidth")
    field.fill("0")  # which counts as one byte
    field.scroll_into_view_if_needed()
    places = [page.locator(part).bounding_box() for part in ("#scale", "#refine")]
    field.press("Enter")
    expect(alert).to_contain_text("choose a larger file size")
    above, below = field.bounding_box(), page.locator("#size-alert .alert").bounding_box()
    assert above
    assert below
    assert 0 <= below["y"] - (above["y"] + above["height"]) < 16
    assert [page.locator(part).bounding_box() for part in ("#scale", "#refine")] == places
    page.locator("#size-alert").get_by_role("button", name="Dismiss").click()
    expect(alert).to_have_count(0)
    assert [page.locator(part).bounding_box() for part in ("#scale", "#refine")] == places
    page.get_by_role("radio", name="Quality").check()
    wait_for_number(figure(page, "PSNR"), report.psnr, 0.02)
    page.set_viewport_size({"width": 1440, "height": 1000})


def test_a_quality_that_still_waits_when_refine_is_pressed_is_the_one_that_is_refined(
    page: Page, report: Reconstruction
) -> None:
    """The server hears of it after the press, as it does where the quality before it is not done yet."""
    joined: list[Route] = []

    def join(route: Route) -> None:
        joined.append(route)
        if len(joined) > 1:
            route.continue_()

    def wait_for(joins: int) -> None:
        end = time.monotonic() + PATIENCE / 1000
        while len(joined) < joins:
            assert time.monotonic() < end
            page.wait_for_timeout(20)

    page.get_by_label("number input for Steps").fill("2")
    page.route("**/queue/join*", join)
    set_quality(page, 30)
    wait_for(1)
    page.locator("#refine-start").click()
    wait_for(2)
    joined[0].continue_()
    expect(page.locator("#refine-status")).to_contain_text("after 2 steps")
    wait_for(8)  # of three tabs, after the refinement and after the change of quality
    page.unroute("**/queue/join*")
    facts = page.evaluate("residae.overview.panes().b.facts")
    assert (facts["Quality"], facts["Refined"]) == ("30", "2 steps")
    expect(page.get_by_label("number input for Quality")).to_have_value("30")
    set_quality(page, 80)
    wait_for_number(figure(page, "PSNR"), report.psnr, 0.02)


def test_the_model_is_drawn_from_its_configuration(page: Page) -> None:
    open_tab(page, "The model")
    expect(page.locator("#diagram")).to_contain_text("latent")
    expect(page.locator("#stage-output h2")).to_have_text("Latent")  # before a stage is pressed
    expect(page.locator("#stage-output img")).to_have_count(4)
    expect(page.locator("#diagram svg:visible .stage.latent")).to_have_attribute("aria-pressed", "true")
    stem = page.get_by_role("button", name="Encoder, stem: 4 channels of 256 × 256")
    stem.focus()
    stem.press("Enter")
    expect(page.get_by_alt_text(re.compile("Channel . of Encoder, stem"))).to_have_count(4)
    expect(stem).to_have_attribute("aria-pressed", "true")
    figures = page.locator("#model-figures dt")
    expect(figures).to_have_count(5)
    for width in (820, 1440):
        page.set_viewport_size({"width": width, "height": 1000})
        tops = figures.evaluate_all("(names) => names.map((name) => name.getBoundingClientRect().top)")
        assert len({*tops}) == 1, "the figures are in one row"
    expect(page.locator("#model-figures")).to_contain_text("GFLOP")
    expect(page.locator("#model-card")).to_have_text("This checkpoint has no model card.")


def test_a_file_that_is_not_a_picture_is_refused_in_a_sentence(
    page: Page, report: Reconstruction, pipeline: Pipeline, tmp_path: Path, photograph: Path
) -> None:
    open_tab(page, "Overview")
    sentence = page.locator("#status").inner_text()
    (tmp_path / "holiday.png").write_text("<html>not a picture</html>")
    page.set_input_files("#upload input[type=file]", tmp_path / "holiday.png")
    alert = page.locator("#alert [role=alert]")
    expect(alert).to_contain_text("The file is not a picture in PNG")
    assert axe_findings(page, {"include": [["#alert"]]}) == set()
    for width, height in ((1440, 900), (820, 1180), (390, 844)):  # below the upload
        page.set_viewport_size({"width": width, "height": height})
        bar, upload = (page.locator(part).bounding_box() for part in ("#alert .alert", "#upload"))
        assert bar
        assert upload
        assert 0 <= bar["x"] < bar["x"] + bar["width"] <= width
        assert 0 <= bar["y"] - (upload["y"] + upload["height"]) < 16
    page.set_viewport_size({"width": 1440, "height": 1000})
    for tab in TABS:
        open_tab(page, tab)
        expect(alert).to_be_visible()
    open_tab(page, "Overview")
    assert page.locator("#status").inner_text() == sentence
    page.get_by_role("button", name="Dismiss").click()
    expect(alert).to_have_count(0)
    page.set_input_files("#upload input[type=file]", tmp_path / "holiday.png")
    expect(alert).to_be_visible()
    before = page.locator("#compare .frame img").first
    np.testing.assert_array_equal(pixels(before), gray(report.original))  # the result before stays

    set_quality(page, 30)
    finer = pipeline.decode_and_measure(open_picture(photograph), report.encoding, pipeline.write(report.encoding, 30))
    wait_for_number(
        figure(page, "PSNR"), finer.psnr, 0.02
    )  # of the result that is shown, not of the file that was refused

    (tmp_path / "ramp.png").write_bytes(write_png(np.tile(np.arange(0, 240, 5, np.uint8), (32, 1))))
    page.set_input_files("#upload input[type=file]", tmp_path / "ramp.png")
    expect(figure(page, "Picture")).to_have_text("48 × 32 px")
    expect(alert).to_have_count(0)


def test_files_dropped_where_they_cannot_be_taken_go_where_they_can(page: Page) -> None:
    drop = """([place, names]) => {
      const dataTransfer = new DataTransfer();
      for (const name of names) dataTransfer.items.add(new File(["neither"], name));
      const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer });
      document.querySelector(place).dispatchEvent(drop);
    }"""
    page.evaluate(drop, ["#upload button", ["one.rae"]])
    expect(page.locator("#files-status [role=alert]")).to_contain_text("one.rae: ")
    expect(page.get_by_role("tab", name="Files")).to_have_attribute("aria-selected", "true")
    open_tab(page, "Overview")
    page.evaluate(drop, ["#upload button", ["one.png", "two.png"]])
    for name in ("one", "two"):
        expect(page.locator("#batch .stem").get_by_text(name)).to_be_visible()
    expect(page.get_by_role("tab", name="Batch")).to_have_attribute("aria-selected", "true")


def test_a_picture_can_be_pasted(page: Page) -> None:
    open_tab(page, "Overview")
    data = write_png(np.tile(np.arange(0, 250, 5, np.uint8), (20, 1)))
    page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "clipboard.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        list(data),
    )
    expect(figure(page, "Picture")).to_have_text("50 × 20 px")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture at which even the tiny network works for seconds."""
    path = tmp_path_factory.mktemp("large") / "large.png"
    path.write_bytes(write_png(np.zeros((5000, 5000), np.uint8)))
    return path


def test_stop_keeps_the_result_and_the_next_work_runs(
    page: Page, report: Reconstruction, pipeline: Pipeline, large: Path, photograph: Path
) -> None:
    page.get_by_label("Gray", exact=True).check()
    page.get_by_label("Full size", exact=True).check()
    page.set_input_files("#upload input[type=file]", photograph)
    set_quality(page, 80)
    wait_for_number(figure(page, "PSNR"), report.psnr, 0.02)
    sentence = page.locator("#status").inner_text()
    page.set_viewport_size({"width": 390, "height": 664})  # of a phone, where the browser takes its part
    page.evaluate("scrollTo(0, 0)")
    page.set_input_files("#upload input[type=file]", large)
    progress, button = page.locator("#compare [role=progressbar]"), page.locator("#picture .stop")
    expect(progress).to_have_attribute("aria-valuetext", re.compile(r"^Reconstructing the picture\..*\d%$"))
    for answer in (progress, button):  # on the picture
        expect(answer).to_be_in_viewport(ratio=1)
        inner, outer = answer.bounding_box(), page.locator("#compare .surface").bounding_box()
        assert inner
        assert outer
        assert outer["y"] <= inner["y"] < inner["y"] + inner["height"] <= outer["y"] + outer["height"] + 0.1
    assert page.locator("#compare > .html-container").evaluate("(node) => getComputedStyle(node).opacity") == "1"
    button.click()
    expect(button).to_be_hidden()
    assert page.locator("#status").inner_text() == sentence
    page.set_viewport_size({"width": 1440, "height": 1000})
    np.testing.assert_array_equal(pixels(page.locator("#compare .frame img").first), gray(report.original))
    set_quality(page, 20)
    coarse = pipeline.decode_and_measure(open_picture(photograph), report.encoding, pipeline.write(report.encoding, 20))
    wait_for_number(figure(page, "PSNR"), coarse.psnr, 0.02)


def test_a_stopped_batch_keeps_finished_files(
    page: Page, folder: Path, large: Path, tmp_path: Path, browser_errors: list[str]
) -> None:
    before = browser_errors.copy()
    page.reload()  # a new session
    expect(figure(page, "PSNR")).to_be_visible()
    browser_errors[:] = before  # those of requests that the reload interrupted
    open_tab(page, "Batch")
    page.get_by_label("Full size", exact=True).check()
    page.set_input_files("#batch input[type=file]", [folder / "a.png", large])
    expect(page.locator("#batch tr")).to_have_count(2)
    page.get_by_role("button", name="Compress all").click()
    expect(page.locator("#batch-table")).to_contain_text("a.png")
    open_tab(page, "The model")  # does not wait for the work
    expect(page.locator("#model-figures")).to_contain_text("GFLOP")
    open_tab(page, "Batch")
    page.locator(".work:has(#batch-status) .stop").click()
    expect(page.locator("#batch-status")).to_contain_text("Stopped: 1 of 2 compressed.")
    with page.expect_download() as download:
        page.locator("#batch-zip").click()
    download.value.save_as(tmp_path / "taken.zip")
    with zipfile.ZipFile(tmp_path / "taken.zip") as archive:
        assert archive.namelist() == ["001-a.rae"]


def test_color_has_three_planes(page: Page) -> None:
    page.get_by_label("Color", exact=True).check()
    expect(page.locator("#journey li").nth(1)).to_contain_text("64× fewer, 128× with halved chroma")
    page.wait_for_function("residae.overview.panes().b.facts?.Mode === 'Color'")  # with the figures
    open_tab(page, "Latent lab")
    expect(page.locator("#lab-status")).to_contain_text(figure(page, "PSNR").inner_text())
    page.get_by_label("Red chroma", exact=True).check()
    expect(page.locator("#mixer .strip img")).to_have_count(4)


def test_another_checkpoint_is_another_network(page: Page, others: Path, photograph: Path) -> None:
    open_tab(page, "Overview")
    page.set_input_files("#upload input[type=file]", photograph)
    before = figure(page, "PSNR").inner_text()
    open_tab(page, "The model")
    page.locator("#diagram .across .stage.latent").click()
    expect(page.locator("#stage-output .caption")).to_contain_text("4 channels of 16 × 11, ")
    page.get_by_label("Checkpoint").click()
    page.get_by_role("option", name="six").click()
    six = Pipeline.open(others / "six")
    expect(page.locator("#model-figures")).to_contain_text(six.codec.fingerprint.hex())
    expect(page.locator("#model-card")).to_contain_text("The card of six.")
    expect(page.locator("#stage-output .caption")).to_contain_text("6 channels of 16 × 11, ")  # it follows
    expect(page.locator("#diagram .across .stage.latent")).to_have_attribute("aria-pressed", "true")
    open_tab(page, "Overview")
    report = six.reconstruct(open_picture(photograph), color=True, quality=80)
    wait_for_number(figure(page, "PSNR"), report.psnr, 0.02)
    expect(page.locator("header .device")).to_contain_text("six")
    expect(page.locator("header")).to_contain_text("What a 43× bottleneck keeps")
    height, width = report.original.shape[:2]
    expect(page.locator("#mosaic .caption")).to_contain_text(f"6 × {-(-height // 16)} × {-(-width // 16)}")
    expect(page.get_by_role("radio", name="1/43")).to_be_visible()  # 256 pixels to 6 numbers
    difference = pixels(page.locator("#compare .frame img").nth(1)).astype(int) - report.decoding.pixels
    assert np.square(difference).mean() < 1
    assert figure(page, "PSNR").inner_text() != before
    open_tab(page, "Latent lab")
    expect(page.locator("#mixer .strip")).to_have_count(6)


@pytest.mark.parametrize("width", [1440, 390])
def test_another_section_of_the_card_moves_nothing_below(page: Page, width: int) -> None:
    open_tab(page, "The model")
    card, below = page.locator("#model-card"), page.locator("footer")
    expect(card.get_by_text("A line.")).to_be_visible()
    page.set_viewport_size({"width": width, "height": 1000})
    place = card.bounding_box(), below.bounding_box()
    long = card.get_by_text("A paragraph.")
    expect(long.first).to_be_hidden()
    card.get_by_text("Long").click()
    expect(long.first).to_be_visible()
    expect(card.get_by_text("A line.")).to_be_hidden()
    long.last.scroll_into_view_if_needed()
    expect(long.last).to_be_in_viewport()
    page.mouse.move(0, 0)
    scrolled = page.evaluate("scrollY")
    page.keyboard.press("ArrowUp")
    expect(card.get_by_text("A line.")).to_be_visible()
    assert page.evaluate("scrollY") == scrolled
    page.evaluate("scrollTo(0, 0)")
    page.set_viewport_size({"width": 1440, "height": 1000})
    page.set_viewport_size({"width": width, "height": 1000})
    assert (card.bounding_box(), below.bounding_box()) == place
    page.set_viewport_size({"width": 1440, "height": 1000})


def axe_findings(page: Page, parts: dict[str, list[list[str]]] | None = None, *rules: str) -> set[tuple[str, str]]:
    """What axe-core finds, whatever its impact, but for what Gradio makes: the rule, and the HTML.

    Args:
        page: Is looked at as it is.
        parts: What to include or to exclude, as CSS selectors; None for all of the page.
        rules: The only rules to apply; all if there are none.
    """
    options = {"resultTypes": ["violations"]} | ({"runOnly": [*rules]} if rules else {})
    found = Axe().run(page, parts, options).response["violations"]
    nodes = {(finding["id"], node["html"][:160]) for finding in found for node in finding["nodes"]}
    return {(rule, html) for rule, html in nodes if not any(own in html for own in IN_GRADIO)}


def test_axe_finds_nothing_in_light_and_dark(page: Page) -> None:
    parts = None
    for tab in TABS:
        open_tab(page, tab)
        assert axe_findings(page, parts) == set(), tab
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        assert axe_findings(page, parts, "color-contrast", "link-in-text-block") == set(), tab  # others see no color
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light
        parts = {"exclude": [["header"], ["#controls"]]}  # they are the same on all tabs


def test_axe_finds_nothing_in_what_lies_over_the_page(page: Page) -> None:
    open_tab(page, "Overview")
    expect(figure(page, "PSNR")).to_be_visible()
    page.locator("#tour").click()
    expect(page.get_by_role("dialog", name="Tour")).to_be_visible()
    assert axe_findings(page) == set()
    page.keyboard.press("Escape")
    page.locator("#figures dt").first.focus()
    expect(page.get_by_role("tooltip")).to_be_visible()
    assert axe_findings(page) == set()
    page.keyboard.press("Escape")
    page.locator("#compare .full-screen").click()
    expect(page.locator("#compare .full-screen")).to_have_attribute("aria-pressed", "true")
    assert axe_findings(page) == set()
    page.locator("#compare .full-screen").click()
    expect(page.locator("#compare .full-screen")).to_have_attribute("aria-pressed", "false")


def test_motion_is_short_and_there_is_none_where_it_is_not_wanted(page: Page) -> None:
    moving = []
    for tab in TABS:
        open_tab(page, tab)
        assert page.evaluate(MOTIONS) == [], tab
        page.emulate_media(reduced_motion="no-preference")
        moving += page.evaluate(MOTIONS)
        page.emulate_media(reduced_motion="reduce")
    assert moving
    longest = {motion[1] for motion in moving if motion[0] > 0.15}
    assert longest == set()


def test_the_tabs_and_the_picture_stay_in_place_when_another_tab_is_opened(page: Page) -> None:
    places = set()
    for tab in TABS:
        open_tab(page, tab)
        places |= {(part, str(page.locator(part).bounding_box())) for part in ("#stage [role=tablist]", "#source")}
    assert len(places) == 2


@pytest.mark.parametrize("width", [540, 681, 861, 951])
def test_what_the_bars_of_the_mosaic_are_is_said_in_one_line(page: Page, width: int) -> None:
    open_tab(page, "Overview")
    page.set_viewport_size({"width": width, "height": 1000})
    place = page.locator("#mosaic .note").bounding_box()
    page.set_viewport_size({"width": 1440, "height": 1000})
    assert place
    assert place["height"] == 16


@pytest.mark.parametrize("width", [1181, 1280, 1401])
def test_the_figures_stand_in_one_row(page: Page, width: int) -> None:
    open_tab(page, "Overview")
    page.set_viewport_size({"width": width, "height": 1000})
    places = [name.bounding_box() for name in page.locator("#figures dt").all()]
    page.set_viewport_size({"width": 1440, "height": 1000})
    assert len(places) == 7
    assert len({place["y"] for place in places if place}) == 1


def test_what_can_be_done_is_in_the_first_screen_of_a_small_laptop(page: Page) -> None:
    open_tab(page, "Overview")
    page.set_viewport_size({"width": 1280, "height": 720})
    page.evaluate("scrollTo(0, 0)")
    bottoms = {}
    for part in ("#actions", "#compare .stage", "#figures", "#error"):
        box = page.locator(part).bounding_box()
        assert box
        bottoms[part] = box["y"] + box["height"]
        assert part != "#compare .stage" or box["height"] >= 390  # three quarters of an example
    page.set_viewport_size({"width": 1440, "height": 1000})
    assert max(bottoms.values()) <= 720, bottoms


@pytest.mark.parametrize("width", [390, 820, 1100, 1440])
def test_figures_of_many_digits_move_nothing(page: Page, width: int) -> None:
    """As where the processor has other work, and the times are long."""
    open_tab(page, "Overview")
    page.set_viewport_size({"width": width, "height": 1000})
    place = page.locator("#status").bounding_box()
    page.evaluate(
        """() => {
          const size = '1,024 × 1,024<span class="wide"> px</span>';
          const longer = { Picture: size, "Encode · decode": "13.6 s · 17.9 s" };
          for (const { textContent: name, nextElementSibling: figure } of document.querySelectorAll("#figures dt"))
            figure.innerHTML = longer[name] ?? figure.innerHTML;
        }"""
    )
    assert page.locator("#status").bounding_box() == place
    row = page.locator("#figures dl").evaluate("(row) => [row.scrollWidth, row.clientWidth]")
    assert row[0] <= row[1]
    page.set_viewport_size({"width": 1440, "height": 1000})


def test_what_is_touched_is_as_high_as_a_finger_needs(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for tab, targets in (
        (
            "Overview",
            "#controls input[type=range], #figures dt, [data-explanation], #scale [tabindex], #error .kinds *, "
            "#compare .keep, footer :is(button, a)",
        ),
        ("Latent lab", "#edits-row input[type=range], #mixer input[type=range], #mixer button"),
    ):
        open_tab(page, tab)
        expect(page.locator("#figures dt" if tab == "Overview" else "#mixer .strip").first).to_be_visible()
        if tab == "Overview":
            page.locator("#compare").get_by_role("button", name="Side by side", exact=True).click()
            expect(page.locator("#compare .keep:visible")).not_to_have_count(0)
        low = page.locator(targets).evaluate_all(
            """(nodes) => nodes.filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 24)
              .map((node) => node.outerHTML.slice(0, 120))"""
        )
        assert low == []
    open_tab(page, "Overview")
    page.locator("#compare").get_by_role("button", name="Divided", exact=True).click()
    page.set_viewport_size({"width": 1440, "height": 1000})


@pytest.mark.parametrize("tab", ["Files", "Batch", "The model"])
def test_a_picture_chosen_in_a_tab_that_does_not_show_it_opens_the_overview(page: Page, tab: str) -> None:
    open_tab(page, tab)
    page.locator("#examples button").first.click()
    expect(page.get_by_role("tab", name="Overview")).to_have_attribute("aria-selected", "true")


def test_everything_fits_the_width_of_a_tablet_and_a_phone(page: Page) -> None:
    invitations = 0
    for width, height in ((820, 1180), (360, 740), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for tab in TABS:
            open_tab(page, tab)
            if tab == "The model":
                expect(page.locator("#model-chart .caption")).to_contain_text("20 steps of refinement and 40 steps")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
            assert page.evaluate(BEYOND) == [], tab
            assert page.evaluate(WRAPPED, LABELS) == [], tab
            for invitation in page.get_by_text("Drop File Here").all():  # Gradio's; the label says more
                expect(invitation).to_be_hidden()
                invitations += 1
            if tab == "Equal bytes" and width < 520:
                before, after = [page.locator(button).bounding_box() for button in ("#refined-curve", "#measure-again")]
                assert before
                assert after
                assert before["y"] + before["height"] < after["y"], "each has a row, whatever it says"
            if width == 390:
                parts = None if tab == TABS[0] else {"exclude": [["header"], ["#controls"]]}
                assert axe_findings(page, parts) == set(), tab
            if width == 360:
                assert page.evaluate(CUT) == [], tab
    assert invitations
    open_tab(page, "Overview")
    tools = page.locator("#compare .tools").bounding_box()
    assert tools
    assert tools["height"] < 40  # one row
    order = ("#upload", "#compare", "#journey", "#figures", "#mosaic", "#error", "#settings", "#actions")
    places = [page.locator(part).bounding_box() for part in order]
    tops = [place["y"] for place in places if place]
    assert tops == sorted(tops)
    assert len(tops) == len(order)
    page.set_viewport_size({"width": 820, "height": 1180})
    ends = [
        page.locator(part).evaluate("(node) => node.getBoundingClientRect().bottom")
        for part in ("#rate-card", "#actions")
    ]
    assert ends[0] == ends[1]  # no room is left below Refine
    page.set_viewport_size({"width": 844, "height": 390})  # held sideways
    for tab, viewer in (("Overview", "#compare"), ("Latent lab", "#edited")):
        open_tab(page, tab)
        shown = page.locator(f"{viewer} .tools").bounding_box(), page.locator(f"{viewer} .surface").bounding_box()
        assert shown[0]
        assert shown[1]
        assert shown[1]["y"] + shown[1]["height"] - shown[0]["y"] <= 390, tab  # all of it at once
    open_tab(page, "Overview")


def test_a_phone_without_full_screen_fills_its_window(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_tab(page, "Overview")
    page.evaluate("Element.prototype.requestFullscreen = undefined")
    page.locator("#compare .full-screen").click()
    expect(page.locator("#compare .full-screen")).to_have_attribute("aria-pressed", "true")
    assert page.locator("[data-full]").bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    assert page.evaluate("document.fullscreenElement") is None
    assert page.evaluate("document.querySelector('#compare').contains(document.elementFromPoint(195, 840))")
    assert axe_findings(page) == set()
    page.keyboard.press("Escape")
    expect(page.locator("#compare .full-screen")).to_have_attribute("aria-pressed", "false")


def test_keyboard_focus_is_visible(page: Page) -> None:
    page.locator("#theme").focus()
    seen = set()
    while "refine-start" not in seen:
        page.keyboard.press("Tab")
        where, style = page.evaluate(
            "(a => [a.closest('#controls [id]')?.id, getComputedStyle(a).outlineStyle])(document.activeElement)"
        )
        assert style == "solid", where
        seen.add(where)
    assert {"upload", "examples", "color", "side", "rate", "quality", "scale"} <= seen


def test_the_focus_is_visible_at_fields_that_gradio_gives_no_outline(page: Page) -> None:
    for tab, name, outlined in (
        ("Batch", "#batch-refine input", "#batch-refine input"),
        ("The model", "#checkpoint input", "#checkpoint .wrap:has(input)"),  # the whole field
    ):
        open_tab(page, tab)
        field = page.locator(name)
        field.focus()
        outlines = page.locator(f"{name}, {outlined}").evaluate_all(
            "(nodes) => nodes.filter((node) => getComputedStyle(node).outlineStyle === 'solid').length"
        )
        assert outlines == 1
        expect(page.locator(outlined)).to_have_css("outline-style", "solid")
        field.press("Escape")  # closes the list of checkpoints


def test_buttons_have_the_color_of_the_text(page: Page) -> None:
    open_tab(page, "Files")
    color = page.locator("h1").first.evaluate("(node) => getComputedStyle(node).color")
    expect(page.locator("#open-current")).to_have_css("color", color)


def test_arrows_choose_within_a_choice_and_tab_leaves_it(page: Page) -> None:
    open_tab(page, "Overview")
    stops = [""]
    page.locator("#theme").focus()
    while stops[-1] != "refine-start":
        page.keyboard.press("Tab")
        stops.append(page.evaluate("(a => a.type === 'radio' ? a.closest('.block').id : a.id)(document.activeElement)"))
    assert [stops.count(choice) for choice in ("color", "side", "rate", "scale")] == [1, 1, 1, 1]
    journey = page.locator("#journey")
    color = page.get_by_role("radio", name="Color", exact=True)
    color.check()
    color.focus()
    expect(journey).to_contain_text("halved chroma")
    for key, name in (("Right", "Gray"), ("Down", "Color"), ("Up", "Gray"), ("Left", "Color")):  # each draws it again
        page.keyboard.press(f"Arrow{key}")
        chosen = page.get_by_role("radio", name=name, exact=True)
        expect(chosen).to_be_focused()
        expect(chosen).to_be_checked()
        answer = expect(journey)
        (answer.to_contain_text if name == "Color" else answer.not_to_contain_text)("halved chroma")
    page.locator("#scale :checked").focus()
    for _ in range(3):  # faster than a result comes
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Auto")).to_be_focused()
    expect(page.get_by_role("radio", name="File size")).to_be_checked()  # by the server, which draws it again
    for _ in ("its explanation", "the size", "the rate"):
        page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("radio", name="File size")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("radio", name="Quality")).to_be_focused()
    expect(page.locator("#scale label").first.get_by_role("radio")).to_be_checked()


def test_arrows_lead_from_tab_to_tab_and_enter_opens_one(page: Page) -> None:
    open_tab(page, "Overview")
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="The model")).to_be_focused()
    for key, name in (("ArrowRight", "Overview"), ("End", "The model"), ("ArrowLeft", "Batch"), ("Home", "Overview")):
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=name)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Overview", selected=True)).to_be_visible()  # each opened one begins to work
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Latent lab", selected=True)).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("!document.activeElement.closest('[role=tablist]')")
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("tab", name="Latent lab")).to_be_focused()


def test_the_focus_goes_from_start_to_stop_and_back(page: Page) -> None:
    open_tab(page, "Overview")
    page.get_by_label("number input for Steps").fill("200")
    page.get_by_label("number input for Steps").press("Enter")
    page.locator("#refine-start").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#refine .stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#refine-start")).to_be_focused()
    page.get_by_label("number input for Steps").fill("2")
    page.get_by_label("number input for Steps").press("Enter")


def test_an_example_is_chosen_while_another_still_is(page: Page) -> None:
    open_tab(page, "Overview")
    held = list[Route]()
    page.route("**/run/predict", lambda route: held.append(route), times=1)  # until both are pressed
    with page.expect_request("**/run/predict"):
        page.locator("#examples button").nth(1).click()
    with page.expect_response("**/run/predict"):
        page.locator("#examples button").nth(2).click()
    page.wait_for_function("(name) => residae.overview.picture() === name", arg=Path(paths()[2]).stem)
    held[0].continue_()
    page.wait_for_function("(name) => residae.overview.picture() === name", arg=Path(paths()[1]).stem)


def test_the_focus_stays_at_an_upload_that_is_drawn_anew(page: Page, photograph: Path) -> None:
    open_tab(page, "Overview")
    upload = page.locator("#upload .upload-container")
    before = upload.element_handle()
    upload.focus()
    page.set_input_files("#upload input[type=file]", photograph)
    page.wait_for_function("(node) => !node.isConnected", arg=before)
    expect(upload).to_be_focused()


def test_the_picture_that_stays_hides_what_is_scrolled_below_it(page: Page) -> None:
    page.set_viewport_size({"width": 820, "height": 1000})
    open_tab(page, "Latent lab")
    expect(page.locator("#edited .frame img").first).to_be_visible()
    names = page.locator("#edits-row").get_by_text(re.compile("^(Rounding step|Noise|Blend)$"))
    expect(names).to_have_count(3)
    for name in names.all():
        name.evaluate("(node) => scrollBy({ top: node.getBoundingClientRect().top - 200, behavior: 'instant' })")
        on_top = """(node) => {
          const { x, y, width, height } = node.getBoundingClientRect();
          return [y, Boolean(document.elementFromPoint(x + width / 2, y + height / 2).closest("#edited"))];
        }"""
        assert name.evaluate(on_top) == [pytest.approx(200, abs=2), True]
    page.evaluate("scrollTo(0, 0)")
    page.set_viewport_size({"width": 1440, "height": 1000})


def test_the_browser_reports_no_error(page: Page, browser_errors: list[str]) -> None:
    assert page.title() == "Residae"
    assert browser_errors == []
