"""The page, as a person uses it: the real app with the real weights, driven in Chromium."""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Error, Locator, Page, expect, sync_playwright

from residae.examples import paths
from residae.image import open_picture
from residae.session import Laboratory, Report

ROOT = Path(__file__).resolve().parent.parent
KODAK = ROOT.parent / "shared" / "data" / "kodak" / "05.png"
PHOTOGRAPH = KODAK if KODAK.exists() else Path(paths()[0])  # our rendered scene where there is no photograph
PATIENCE = 120_000  # ms; the machine may be busy


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("app") / "log").open("w")
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(PATIENCE // 250):
            assert app.poll() is None, Path(log.name).read_text()
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.25)
        else:
            pytest.fail("the app does not answer")
        yield url
    finally:
        app.terminate()
        app.wait(30)
        log.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=chromium, args=flags)
        except Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no Chromium to drive the page with: {error.message.splitlines()[0]}")
        yield running
        running.close()


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    """What the browser has reported as errors."""
    return []


@pytest.fixture(scope="module")
def page(address: str, browser: Browser, complaints: list[str]) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    return page


@pytest.fixture(scope="module")
def laboratory() -> Laboratory:
    return Laboratory.open()


@pytest.fixture(scope="module")
def report(laboratory: Laboratory) -> Report:
    """What the package itself makes of the photograph."""
    return laboratory.examine(open_picture(PHOTOGRAPH), color=False, quality=80)


def figure(page: Page, name: str) -> Locator:
    return page.locator(f"#figures dt:text-is('{name}') + dd")


def pixels(image: Locator) -> np.ndarray:
    """The pixels of the file that an <img> shows, fetched as the browser did."""
    expect(image).to_have_attribute("src", re.compile("^http"))
    with urllib.request.urlopen(image.get_attribute("src")) as answer:
        shown = Image.open(io.BytesIO(answer.read()))
    assert shown.format == "PNG"
    return np.asarray(shown.convert("L"))


def test_first_visit_shows_an_example_already_worked_on(page: Page) -> None:
    expect(figure(page, "PSNR")).to_have_text(re.compile(r"^\d\d\.\d\d dB$"), timeout=PATIENCE)
    expect(page.locator("#after img")).to_have_attribute("alt", "The picture rebuilt from its latent")
    expect(page.locator("header .device")).to_contain_text("residae-16x")
    expect(page.locator("#examples img")).to_have_count(5)
    expect(figure(page, "Latent")).to_contain_text("chroma at half size")


def test_a_photograph_comes_back_as_itself(page: Page, report: Report) -> None:
    page.get_by_label("Gray", exact=True).check()
    page.set_input_files("#upload input[type=file]", PHOTOGRAPH)
    expect(figure(page, "PSNR")).to_have_text(f"{report.psnr:.2f} dB", timeout=PATIENCE)
    expect(figure(page, "SSIM")).to_have_text(f"{report.ssim:.4f}")
    expect(figure(page, "Numbers")).to_have_text("16.0× fewer")
    height, width = report.original.shape
    expect(figure(page, "Picture")).to_have_text(f"{width} × {height} px")
    expect(figure(page, "Latent")).to_have_text(f"16 × {height // 16} × {width // 16}")
    expect(figure(page, "Encoding")).to_have_text(re.compile(r"^\d+\.\d s$"))

    np.testing.assert_array_equal(pixels(page.locator("#before img")), report.original)
    difference = pixels(page.locator("#after img")).astype(int) - report.decoding.pixels
    assert abs(difference).max() <= 1, "the page shows another reconstruction than the package makes"
    expect(page.locator("#compare img")).to_have_count(2)
    assert report.compressed
    size = len(report.compressed.data)
    expect(figure(page, "File")).to_have_text(f"{size / 1000:.1f} kB")
    expect(figure(page, "Rate")).to_have_text(f"{8 * size / (width * height):.3f} bpp")
    expect(figure(page, "Raw pixels")).to_have_text(f"{height * width / size:.3g} : 1")
    expect(page.locator("#status")).to_contain_text(
        f"This picture costs {size / 1000:.1f} kB, {height * width / size:.0f} times less"
    )


def test_error_maps_have_a_key_in_grey_levels(page: Page, report: Report) -> None:
    page.get_by_role("tab", name="Error", exact=True).click()
    assert pixels(page.locator("#absolute img")).shape == report.original.shape
    expect(page.get_by_role("img", name="Absolute error in grey levels (0 to 255)")).to_be_visible()
    page.get_by_label("Signed", exact=True).check()
    expect(page.locator("#signed img")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("blue too dark, orange too bright"))).to_be_visible()
    expect(page.locator("#absolute img")).to_be_hidden()


def test_latent_channels_can_be_looked_at_one_by_one(page: Page, report: Report) -> None:
    page.get_by_role("tab", name="Latent", exact=True).click()
    expect(page.locator("#latents img")).to_have_count(16)
    page.get_by_role("img", name="Channel 7", exact=True).click()
    channel = report.encoding.latents[0][6]
    values = page.locator("#channel-figures dd")
    expect(values.nth(0)).to_have_text("7")
    expect(values.nth(1)).to_have_text(f"{channel.mean():.4g}")
    expect(values.nth(3)).to_have_text(f"{channel.min():.4g} to {channel.max():.4g}")


def test_the_file_can_be_taken_away_and_opened_again(page: Page, report: Report, tmp_path: Path) -> None:
    with page.expect_download() as download:
        page.locator("#download").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert report.compressed
    assert file.suffix == ".rae"
    assert abs(file.stat().st_size - len(report.compressed.data)) <= 8  # threads may round a latent the other way

    page.get_by_role("tab", name="Open a file", exact=True).click()
    page.set_input_files("#rae input[type=file]", file)
    expect(page.locator("#opened-figures")).to_contain_text("residae-16x", timeout=PATIENCE)
    difference = pixels(page.locator("#opened img")).astype(int) - report.decoding.pixels
    assert np.square(difference).mean() < 0.01

    file.write_bytes(file.read_bytes()[:-9])
    page.set_input_files("#rae input[type=file]", file)
    expect(page.locator("#opened-figures [role=alert]")).to_contain_text("damaged or cut short")


def test_another_rate_decodes_without_encoding_again(page: Page, report: Report, laboratory: Laboratory) -> None:
    page.get_by_role("tab", name="Compare", exact=True).click()
    seconds = figure(page, "Encoding").inner_text()
    page.get_by_label("number input for Quality of the file").fill("10")
    page.get_by_label("number input for Quality of the file").press("Enter")
    coarse = laboratory.compress(report.encoding, 10)
    expect(figure(page, "File")).to_have_text(f"{len(coarse.data) / 1000:.1f} kB", timeout=PATIENCE)
    expect(figure(page, "Encoding")).to_have_text(seconds)


def test_the_unquantised_latent_scores_as_evaluate_does(page: Page, report: Report, laboratory: Laboratory) -> None:
    unquantised = laboratory.judge(open_picture(PHOTOGRAPH), report.encoding, None)
    page.get_by_label("Skip the file").check()
    expect(figure(page, "PSNR")).to_have_text(f"{unquantised.psnr:.2f} dB", timeout=PATIENCE)
    expect(figure(page, "File")).to_have_count(0)
    page.get_by_label("Skip the file").uncheck()
    expect(figure(page, "File")).to_have_count(1, timeout=PATIENCE)


def test_what_is_no_picture_gets_one_sentence_and_harms_nothing(
    page: Page, report: Report, laboratory: Laboratory, tmp_path: Path
) -> None:
    (tmp_path / "holiday.png").write_text("<html>not a picture</html>")
    page.set_input_files("#upload input[type=file]", tmp_path / "holiday.png")
    expect(page.locator("#status [role=alert]")).to_contain_text("not a picture in one of the formats that work")
    expect(page.locator("#before img")).to_be_visible()  # what was there stays
    np.testing.assert_array_equal(pixels(page.locator("#before img")), report.original)

    page.get_by_label("number input for Quality of the file").fill("30")
    page.get_by_label("number input for Quality of the file").press("Enter")
    finer = laboratory.compress(report.encoding, 30)  # of the picture that is shown, not of the file that was refused
    expect(figure(page, "File")).to_have_text(f"{len(finer.data) / 1000:.1f} kB", timeout=PATIENCE)

    Image.fromarray(np.tile(np.arange(0, 240, 5, np.uint8), (32, 1))).save(tmp_path / "ramp.png")
    page.set_input_files("#upload input[type=file]", tmp_path / "ramp.png")
    expect(figure(page, "Picture")).to_have_text("48 × 32 px", timeout=PATIENCE)
    expect(page.locator("#status [role=alert]")).to_have_count(0)


def test_a_picture_can_be_pasted(page: Page) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(0, 250, 5, np.uint8), (20, 1))).save(buffer, "PNG")
    page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "clipboard.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        list(buffer.getvalue()),
    )
    expect(figure(page, "Picture")).to_have_text("50 × 20 px", timeout=PATIENCE)


def test_colour_has_three_planes(page: Page) -> None:
    page.get_by_label("Colour", exact=True).check()
    expect(figure(page, "Latent")).to_contain_text("chroma at half size", timeout=PATIENCE)
    page.get_by_role("tab", name="Latent", exact=True).click()
    page.get_by_label("Red chroma", exact=True).check()
    expect(page.locator("#latents img")).to_have_count(16)


def test_phone_width_holds_everything(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for tab in ("Compare", "Error", "Latent", "Open a file"):
        page.get_by_role("tab", name=tab, exact=True).click()
        assert page.evaluate("document.querySelector('.gradio-container').scrollWidth") <= 390, tab
    picture = page.locator("#stage").bounding_box()
    controls = page.locator("#controls").bounding_box()
    assert picture
    assert controls
    assert picture["y"] < controls["y"], "the picture comes first"


def test_console_is_clean(page: Page, complaints: list[str]) -> None:
    assert page.title() == "Residae"
    assert complaints == []
