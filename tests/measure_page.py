"""Measure how soon the page answers, in Chromium with the shipped weights: `python -m tests.measure_page [--rounds 20]`

Prints medians in milliseconds for an example of 768 x 512, in gray and in color: of a preview and of the whole after
another quality and after a channel is muted, of a zoom, and of the first picture after the page itself is there. A
preview should take at most 100, the whole one decode and 300 (one and a half in color), a first picture 1,000.
"""

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from residae.checkpoint import default
from residae.examples import paths
from residae.image import open_picture
from residae.pipeline import Pipeline
from tests.service import serving

ANSWER = """([table, act, kind]) => new Promise((resolve) => {
  const result = () => document.querySelectorAll(`#${table} .frame img`)[1];
  const preview = () => document.querySelector(`#${table} .frame canvas`);
  const source = result().src, drawn = preview(), begun = performance.now();
  const look = () => {
    const { src, complete } = result(), whole = src !== source && complete && !preview();
    if (kind === "preview" ? preview() && preview() !== drawn : whole) resolve(performance.now() - begun);
    else requestAnimationFrame(look);
  };
  Function(act)();
  look();
})"""
SLIDER = 'const slider = document.querySelector("#quality input[type=range]");'
DRAG = SLIDER + 'slider.value = {}; slider.dispatchEvent(new Event("input", {{ bubbles: true }}));'
RELEASE = SLIDER + 'slider.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));'
MUTE = 'document.querySelectorAll("#mixer .buttons button:first-child")[{}].click();'
ZOOM = """(selector) => new Promise((resolve) => {
  const begun = performance.now();
  document.querySelector(selector).click();
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begun)));
})"""
FIRST = """
(() => {
  let mounted = 0;
  const look = () => {
    const image = document.querySelectorAll("#compare .frame img")[1];
    if (!mounted && document.querySelector("#compare")) mounted = performance.now();
    if (!image?.complete || !image.naturalWidth) return requestAnimationFrame(look);
    window.first = performance.now() - mounted;
    window.loaded = mounted - performance.getEntriesByType("navigation")[0].loadEventEnd;
  };
  look();
})()"""


def main() -> None:
    """Print a row for each kind of answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    pipeline, picture = Pipeline.open(default()), open_picture(paths()[0])
    for color in (False, True):
        encoding = pipeline.encode(picture, color)
        decoding = [1000 * pipeline.decode(encoding).seconds for _ in range(3)]
        _print_row(f"decoding alone, {'color' if color else 'gray'}", decoding)
    threads, chromium = str(os.cpu_count()), shutil.which("chromium") or shutil.which("google-chrome")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), Path(default()), OMP_NUM_THREADS=threads) as service,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        measure(browser, service.address, rounds)
        browser.close()


def measure(browser: Browser, address: str, rounds: int) -> None:
    """Measure a running page."""
    page = _visit(browser, address)
    page.wait_for_timeout(20_000)  # until the examples are reconstructed
    loads, firsts = [], []
    for _ in range(rounds):
        page.close()
        page = _visit(browser, address)
        loads.append(page.evaluate("loaded"))
        firsts.append(page.evaluate("first"))
    _print_row("page itself, after the load event", loads)
    _print_row("first picture, after the page itself", firsts)
    for color in ("Gray", "Color"):
        page.get_by_role("tab", name="Overview").click()
        page.get_by_label(color, exact=True).check()
        page.wait_for_function("text => residae.overview.panes().b.facts?.Mode === text", arg=color)
        previews, wholes = [], []
        for quality in range(20, 20 + rounds):  # none was shown before
            previews.append(page.evaluate(ANSWER, ["compare", DRAG.format(quality), "preview"]))
            wholes.append(page.evaluate(ANSWER, ["compare", RELEASE, "whole"]))
            page.wait_for_function(f"residae.overview.panes().b.facts?.Quality === '{quality}'")
            page.wait_for_timeout(500)  # as long as a hand takes to the slider
        _print_row(f"quality, preview, {color.lower()}", previews)
        _print_row(f"quality, whole, {color.lower()}", wholes)
        zooms = [page.evaluate(ZOOM, f"#compare .{button}") for _ in range(rounds // 2) for button in ("one", "fit")]
        _print_row(f"zoom, {color.lower()}", zooms)
        page.get_by_role("tab", name="Latent lab").click()
        page.wait_for_function("document.querySelector('#lab-status').innerText.includes('unedited')")
        previews, wholes = [], []
        for index in range(rounds):
            mute = MUTE.format(index % 16)
            previews.append(page.evaluate(ANSWER, ["edited", mute, "preview"]))
            wholes.append(page.evaluate(ANSWER, ["edited", "", "whole"]) + previews[-1])
            page.wait_for_timeout(500)
        _print_row(f"mute, preview, {color.lower()}", previews)
        _print_row(f"mute, whole, {color.lower()}", wholes)
        page.get_by_role("button", name="Reset", exact=True).click()
        page.wait_for_timeout(2000)


def _visit(browser: Browser, address: str) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script("localStorage.setItem('residae-tour-seen', '1')")
    page.add_init_script(FIRST)
    page.set_default_timeout(300_000)
    page.goto(address)
    page.wait_for_selector("#figures dd")
    return page


def _print_row(name: str, milliseconds: list[float]) -> None:
    median, least, most = statistics.median(milliseconds), min(milliseconds), max(milliseconds)
    print(f"{name:<38}{median:8,.0f} ms  ({least:,.0f} to {most:,.0f}, {len(milliseconds)} times)", flush=True)


if __name__ == "__main__":
    main()
