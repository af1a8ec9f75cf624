"""Work can be ended in the middle of each part that takes long for a large picture."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextvars import copy_context
from typing import Any

import gradio as gr
import numpy as np
import psutil
import pytest
from visitor import VISIT

from residae import heatmaps
from residae.encoder_process import EncoderProcess
from residae.image import Pixels, from_planes, write_png
from residae.metrics import ms_ssim, ssim
from residae.pipeline import Pipeline
from residae.progress import CANCELLATION
from residae.ui import viewer
from residae.ui.work import Updates, Work, cancel, report_errors

SIDE = 2200  # pixels: more than one band of rows, and as many tiles of metrics as a second computes


class EndedError(Exception):
    """The work was to end."""


def looks(part: Callable[[], object]) -> int:
    """How often a part of the work looks whether it is to end."""
    count = 0

    def look() -> None:
        nonlocal count
        count += 1

    with_cancellation(look, part)
    return count


def with_cancellation(check: Callable[[], None], part: Callable[[], object]) -> None:
    def run() -> None:
        CANCELLATION.set(check)
        part()

    copy_context().run(run)


@pytest.fixture(scope="module")
def pictures() -> tuple[Pixels, Pixels]:
    """Two of noise, which takes PNG the most bytes."""
    random = np.random.default_rng(0)
    first, second = (random.integers(0, 256, (SIDE, SIDE // 2, 3), np.uint8) for _ in range(2))
    return first, second


@pytest.fixture(scope="module")
def parts(pictures: tuple[Pixels, Pixels], pipeline: Pipeline) -> dict[str, tuple[int, Callable[[], object]]]:
    """Each part, and how often it is to look at least: for a picture of 64 megapixels some 25 times as often."""
    codec, random = pipeline.codec, np.random.default_rng(0)
    latents = [random.normal(0, 3, (4, 60, 40)).astype(np.float32)]
    file = codec.compress(latents, 960, 640, 60)
    luma = pictures[0][..., 0].astype(np.float32) / 255
    return {
        "encoding a plane": (15, lambda: pipeline.engine.encode(luma)),
        "decoding a latent": (15, lambda: pipeline.engine.decode(latents[0], 960, 640)),
        "SSIM": (100, lambda: ssim(*pictures)),
        "MS-SSIM": (100, lambda: ms_ssim(*pictures)),
        "PNG": (100, lambda: write_png(pictures[0])),
        "the error map": (3, lambda: heatmaps.error_map(*pictures, False, 8)),
        "the signed error map": (3, lambda: heatmaps.error_map(*pictures, True, 8)),
        "the scale of error maps": (3, lambda: heatmaps.error_scale(*pictures)),
        "the error of luma": (3, lambda: heatmaps.luma_error(*pictures)),
        "the sentence on the error": (6, lambda: heatmaps.where_error(*pictures)),
        "pixels from planes": (3, lambda: from_planes([luma, luma[::2, ::2], luma[::2, ::2]])),
        "writing a file": (8, lambda: codec.compress(latents, 960, 640, 60)),
        "a file within a number of bytes": (80, lambda: codec.compress_within(latents, 960, 640, len(file.data) - 9)),
        "reading a file": (8, lambda: codec.decompress(file.data)),
        "the bits of channels": (8, lambda: codec.channel_bits(file.symbols, 60)),
    }


NAMES = (
    *("encoding a plane", "decoding a latent"),
    *("SSIM", "MS-SSIM", "PNG", "the error map", "the signed error map", "the scale of error maps"),
    *("the error of luma", "the sentence on the error", "pixels from planes"),
    *("writing a file", "a file within a number of bytes", "reading a file", "the bits of channels"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_part_can_be_ended_in_the_middle(parts: dict[str, tuple[int, Callable[[], object]]], name: str) -> None:
    least, part = parts[name]
    often = looks(part)
    assert often >= least
    left = often // 2

    def end() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise EndedError

    with pytest.raises(EndedError):
        with_cancellation(end, part)
    assert left == -1


def test_ssimulacra2_is_ended_in_the_middle(pictures: tuple[Pixels, Pixels]) -> None:
    """It takes several seconds at this size, and is a library's, which looks at nothing meanwhile."""
    with EncoderProcess(pictures[0]) as process:
        running, start = psutil.Process(process._process.pid), time.monotonic()
        asked: list[float] = []

        def leave() -> None:
            asked.append(time.monotonic())
            if time.monotonic() - start > 1:
                raise EndedError

        with pytest.raises(EndedError):
            with_cancellation(leave, lambda: process.measure(pictures[1], ["ssimulacra2"], None))
        assert time.monotonic() - asked[-1] < 1
        running.wait(1)


@pytest.fixture
def status() -> gr.HTML:
    with gr.Blocks():
        return gr.HTML()


def each_in_its_own_context(updates: Iterator[Updates]) -> Iterator[Updates]:
    """As Gradio runs the steps of a handler: each in another thread and a new context."""
    done: list[Updates | None] = []
    while True:
        step = threading.Thread(target=copy_context().run, args=[lambda: done.append(next(updates, None))])
        step.start()
        step.join()
        if (update := done.pop()) is None:
            return
        yield update


def test_a_handler_is_ended_in_a_part_of_a_later_step(status: gr.HTML, pictures: tuple[Pixels, Pixels]) -> None:
    done: list[str] = []

    def work() -> Generator[Updates, None, None]:
        with Work(VISIT):
            yield {status: "begun"}
            write_png(pictures[0])
            done.append("written")

    steps = each_in_its_own_context(report_errors(status, work()))
    assert next(steps) == {status: "begun"}
    cancel(VISIT)
    assert list(steps) == [{status: gr.skip()}]
    assert done == []


def test_what_comes_after_the_work_is_not_ended_with_it(pictures: tuple[Pixels, Pixels]) -> None:
    with Work(VISIT):
        cancel(VISIT)
    write_png(pictures[0][:9])


def test_pictures_that_threads_write_are_ended_too(
    pictures: tuple[Pixels, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[str] = []
    monkeypatch.setattr(viewer, "save_result", lambda _, name: saved.append(name) or name)
    report: Any = type("Report", (), {})()
    report.original, report.decoding = pictures[0], type("Decoding", (), {"pixels": pictures[1]})
    threads: set[int] = set()

    def end_in_threads() -> None:
        threads.add(threading.get_ident())
        if threading.current_thread() is not threading.main_thread():
            raise EndedError

    with pytest.raises(EndedError):
        with_cancellation(end_in_threads, lambda: viewer.report_table(report))
    assert len(threads) > 1
    assert saved == []
