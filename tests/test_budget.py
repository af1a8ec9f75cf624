"""Shares of a public page: what one request and one visitor may take, said before work begins."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from visitor import SILENT, STEPS, VISIT, add_refined, compare, refine, visit

from residae.compare import CURVE_QUALITIES
from residae.errors import ResidaeError
from residae.image import write_png
from residae.pipeline import Pipeline, network_pixels
from residae.ui import budget, cache, endpoints, store, work
from residae.ui.budget import Account, ShareError, Shares, Speed, shares
from residae.ui.cache import Settings
from residae.ui.controls import QUALITY, Controls
from residae.ui.endpoints import Options, RaeFile
from residae.ui.refinement import CPU_STEPS
from residae.ui.state import CurrentResult
from residae.ui.tabs import batch
from residae.ui.tabs.batch import BatchTab
from residae.ui.tabs.files import FilesTab
from residae.ui.tabs.overview import OverviewTab
from residae.ui.turns import Visitor
from residae.ui.work import Cancelled, Priority, Updates, Work, cancel, report_errors

COLOR_64_MEGAPIXELS = network_pixels(8000, 8000, True, encodes=0)  # a `.rae` file of 22 kB may be one


@pytest.fixture
def served(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page has the tiny network."""
    monkeypatch.setattr(store, "_open_pipeline", lambda _: pipeline)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))


@pytest.fixture
def two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that allows two minutes, on a machine that does 100,000 pixels a second."""
    monkeypatch.setenv(budget.VARIABLE, "120")
    monkeypatch.setattr(work, "SPEEDS", {on_gpu: Speed(1e5) for on_gpu in (False, True)})
    for account in ("SECONDS_USED", "PIXELS_USED"):
        monkeypatch.setattr(work, account, Account())


def test_the_owner_of_a_laptop_has_no_limits_and_a_space_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert shares() == Shares(math.inf, math.inf)
    with Work(VISIT) as running:
        running.charge(1e15)
    monkeypatch.setenv("SPACE_ID", "owner/name")
    assert shares().seconds == 120
    monkeypatch.setenv(budget.VARIABLE, "0")
    assert not shares()
    monkeypatch.setenv(budget.VARIABLE, "two")
    with pytest.raises(ResidaeError, match="number of seconds, not 'two'"):
        shares()


@pytest.mark.usefixtures("two_minutes")
def test_a_tiny_file_of_a_huge_picture_is_refused_before_it_is_decoded() -> None:
    with (
        Work(VISIT) as running,
        pytest.raises(ShareError, match="takes about 10 minutes; this page allows 2 minutes and 256 megapixels"),
    ):
        running.charge(COLOR_64_MEGAPIXELS)


@pytest.mark.usefixtures("two_minutes")
def test_many_parts_of_one_request_are_added_up_on_a_fast_machine_too() -> None:
    with Work(VISIT) as running:
        work.SPEEDS[True].pixels_per_second = 1e9
        for _ in range(4):
            running.charge(COLOR_64_MEGAPIXELS, on_gpu=True)
        with pytest.raises(ShareError):
            running.charge(COLOR_64_MEGAPIXELS, on_gpu=True)


@pytest.mark.usefixtures("two_minutes")
def test_the_expected_time_is_said_until_the_remaining_time_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    progress: Any = lambda share, desc: told.append(desc)  # noqa: E731
    clock = SimpleNamespace(now=1.0)
    monkeypatch.setattr(work, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setenv(budget.VARIABLE, "0")
    with Work(VISIT, progress, "Decoding.") as running:
        running.charge(5e6)
    assert told.pop() == "Decoding. About 50 s left."
    with Work(VISIT, progress, "Comparing.") as running:
        running.charge(5e6, is_all=False)  # other codecs take their time as well, which nobody knows yet
    assert not told
    monkeypatch.setenv(budget.VARIABLE, "120")
    with Work(VISIT, progress, "Decoding.") as running:
        running(0.0001)
        running.charge(5e6)  # at once after another message
        clock.now += 1
        running(0.001)
        running.charge(5e5)  # for one of its parts
        clock.now += 9
        running(0.25)
    assert told == [
        "Decoding.",
        *["Decoding. About 50 s left; this page allows 2 minutes."] * 2,
        "Decoding. About 30 s left.",
    ]


@pytest.mark.usefixtures("two_minutes")
def test_a_visitor_has_so_much_in_an_hour_and_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    for account, amount, left in ((work.SECONDS_USED, 590, "10 s"), (work.PIXELS_USED, 1276e6, "4 megapixels")):
        account.add(Visitor("here", f"busy {left}"), amount)
        with Work(visit(f"busy {left}")) as running, pytest.raises(ShareError, match=f"you have {left} left of what"):
            running.charge(5e6)
    with Work(visit("another")) as running:
        running.charge(5e6)
    monkeypatch.setattr(budget, "WINDOW", -60)  # as an hour later
    for left in ("10 s", "4 megapixels"):
        with Work(visit(f"busy {left}")) as running:
            running.charge(5e6)


@pytest.mark.usefixtures("two_minutes")
def test_a_visitor_is_charged_for_the_pixels_that_were_done() -> None:
    with Work(visit("busy")) as running:
        running.charge(5e6)
    assert work.PIXELS_USED.used(Visitor("here", "busy")) == work.PIXELS_USED.used("here") == 5e6
    with suppress(Cancelled), Work(visit("busy")) as running:
        running.charge(5e6)
        cancel(visit("busy"))
        running.check()
    assert 5e6 < work.PIXELS_USED.used("here") < 6e6


@pytest.mark.usefixtures("two_minutes")
def test_invented_cookies_do_not_multiply_the_share_of_an_address() -> None:
    for number in range(10):
        work.SECONDS_USED.add(Visitor("here", f"invented {number}"), 600)
    with Work(visit("invented 11")) as running, pytest.raises(ShareError, match="in an hour"):
        running.charge(5e6)


def test_work_is_ended_when_the_estimate_was_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(budget.VARIABLE, "0.001")
    with Work(VISIT) as running:
        while True:
            try:
                running(0.5)
            except ShareError as error:
                assert "took longer than the 0.1 s" in str(error)  # noqa: PT017
                break


def test_the_speed_is_learned() -> None:
    speed = Speed(1e5)
    for _ in range(30):
        speed.learn(4e6, 2)
    assert speed.seconds(2e6) == pytest.approx(1, rel=0.01)
    for pixels, seconds in ((4e6, 0.5), (4e4, 3)):  # too short to tell; small pictures on a busy machine
        speed.learn(pixels, seconds)
        assert speed.seconds(2e6) == pytest.approx(1, rel=0.01)


def test_the_speed_is_learned_from_whole_work_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a large picture that was cancelled in its second second, no estimate would refuse any."""
    speeds = {on_gpu: Speed(1e5) for on_gpu in (False, True)}
    clock = SimpleNamespace(now=1.0)
    monkeypatch.setattr(work, "SPEEDS", speeds)
    monkeypatch.setattr(work, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with suppress(Cancelled), Work(VISIT) as ended:
        ended.charge(64e6)
        clock.now += 2
        cancel(VISIT)
        ended.check()
    assert speeds[False].pixels_per_second == 1e5
    with Work(VISIT, priority=Priority.BACKGROUND) as comparing:  # with the encoders of other codecs
        comparing.charge(64e6)
        clock.now += 2
    assert speeds[False].pixels_per_second == 1e5
    with Work(VISIT) as running:
        running.charge(64e6, pictures=1000)  # so small that most of the time goes to opening them
        clock.now += 2
    assert speeds[False].pixels_per_second == 1e5
    with Work(VISIT) as running:
        running.charge(64e6)
        clock.now += 2
    assert speeds[False].pixels_per_second > 1e6


@pytest.mark.usefixtures("two_minutes", "served")
def test_a_batch_is_refused_as_a_whole_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the sizes that the headers of its pictures state."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        path.write_bytes(write_png(np.zeros((2000, 3000), np.uint8)))
    with gr.Blocks():
        tab = BatchTab()
    monkeypatch.setattr(batch, "compress_one", None)
    _, refused, _ = tab.compress_all([*map(str, paths)], "tiny", True, 0, 1, QUALITY, 80, 10, 0, VISIT, SILENT)
    assert "takes about 4 minutes; this page allows 2 minutes" in refused[tab.status]
    small = [Settings(str(path), "tiny", side=1000) for path in paths]
    monkeypatch.setattr(batch, "compress_one", lambda *_: ([path.name, *[None] * 8, ""], None))
    _, *rows, _ = tab.compress_each(small, 0, Work(VISIT))
    assert len(rows) == 3


@pytest.mark.usefixtures("two_minutes", "served")
def test_a_picture_that_is_larger_than_its_header_said_is_refused_once_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(write_png(np.zeros((4000, 5000), np.uint8)))
    with Work(VISIT) as running, pytest.raises(ShareError, match="takes about"):
        batch.compress_one(Settings(str(path), "tiny", side=0), 0, 0, running, None)


@pytest.mark.usefixtures("two_minutes", "served")
def test_a_thousand_small_files_of_large_pictures_are_refused_as_a_whole(
    tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 1600
    symbols = np.zeros((4, side // 16, side // 16), np.int32)
    path = tmp_path / "file.rae"
    path.write_bytes(pipeline.codec.write([symbols], side, side, 50).data)
    with gr.Blocks():
        tab = FilesTab()
    monkeypatch.setattr(pipeline.engine, "decode", None)
    _, refused = tab.decode([str(path)] * 1000, "tiny", (), VISIT, SILENT)
    assert "takes about 4 hours; this page allows 2 minutes" in refused[tab.status]
    assert "choose fewer or smaller files" in refused[tab.status]


Ask = Callable[[CurrentResult], Iterator[Updates]]


def endpoint(function: Callable[[Work, Any], object], **wanted: Any) -> Ask:
    """Asks for what a function makes of the current picture, with these options, or of its file."""

    def ask(current: CurrentResult) -> Iterator[Updates]:
        given: Any = Options(current.settings.path, **wanted)
        if function is endpoints.decompress:
            assert current.compressed
            given = RaeFile(store.save_result(current.compressed.data, "picture.rae"))
        with Work(VISIT) as running:
            yield {"made": function(running, given)}

    return lambda current: report_errors(gr.HTML(), ask(current))


def overview() -> OverviewTab:
    with gr.Blocks():
        return OverviewTab(gr.HTML(), gr.State(), Controls())


def show(current: CurrentResult) -> Iterator[Updates]:
    path = current.settings.path
    return overview().reconstruct(path, None, None, None, "tiny", True, 0, 1, QUALITY, 80, 10, VISIT, SILENT)


def change_quality(current: CurrentResult) -> Iterator[Updates]:
    cache.ENCODINGS.keep(current.settings.of_encoding, current.encoding, 1)
    return overview().change_rate(None, None, current, "tiny", True, 0, 1, QUALITY, 30, 10, VISIT, SILENT)


RATES = len(CURVE_QUALITIES)


@pytest.mark.parametrize(
    ("ask", "passes"),
    [
        (endpoint(endpoints.reconstruct), {}),
        (endpoint(endpoints.reconstruct, scale="2", refine=7), {"scale": 2, "refine": 7}),
        (endpoint(endpoints.reconstruct, scale="auto", max_bytes=60), {"scale": "auto", "max_bytes": 60}),
        (endpoint(endpoints.map_error), {}),
        (endpoint(endpoints.compress, refine=7), {"decodes": 0, "refine": 7}),
        (endpoint(endpoints.decompress), {"encodes": 0}),
        (endpoint(endpoints.compare), {}),
        (show, {}),
        (change_quality, {"encodes": 0}),
        (refine, {"encodes": 0, "refine": STEPS}),
        (compare, {"encodes": 0, "decodes": 1 + RATES}),
        (add_refined, {"encodes": 0, "decodes": RATES, "refine": CPU_STEPS * RATES}),
    ],
)
def test_work_is_refused_before_the_network_runs(
    ask: Ask, passes: dict[str, Any], current: CurrentResult, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how often the picture is to be encoded and decoded, on a page that allows too little for it."""
    charged, charge = list[float](), Work.charge
    monkeypatch.setattr(
        Work, "charge", lambda self, pixels, *a, **more: charged.append(pixels) or charge(self, pixels, *a, **more)
    )
    for name in ("encode", "decode"):
        monkeypatch.setattr(pipeline.engine, name, None)
    monkeypatch.setenv(budget.VARIABLE, "60")
    monkeypatch.setattr(work, "SPEEDS", {False: Speed(1)})
    assert "this page allows 60 s" in str([*ask(current)])
    assert charged == [network_pixels(40, 60, True, **passes)]
