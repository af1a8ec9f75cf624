"""The settings that a visit starts with, and what is said of a result."""

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from residae.compare import OURS, CodecResult
from residae.image import Picture
from residae.pipeline import Pipeline
from residae.ui import actions
from residae.ui.actions import Actions, codec_facts, facts
from residae.ui.cache import CPU_SIDE, EXAMPLES, Settings
from residae.ui.controls import QUALITY, SIZE, Controls, named_settings, read_settings
from residae.ui.state import CurrentResult

SKIPPED = gr.skip()
NAMES = ("color", "side", "scale", "rate", "quality", "size")


@pytest.fixture
def buttons(monkeypatch: pytest.MonkeyPatch) -> Actions:
    monkeypatch.setattr(actions, "default_side", lambda _: CPU_SIDE)
    with gr.Blocks():
        return Controls().actions


def restored(buttons: Actions, **wanted: Any) -> dict[str, Any]:
    """What a visit starts with, by name, without what stays as it is."""
    picture, _, *values = buttons.restore(json.dumps(wanted), "tiny")
    named = zip(["picture", *buttons.settings], [picture, *values], strict=True)
    return {name: value for name, value in named if value != SKIPPED}


def test_a_visit_starts_with_the_settings_of_a_link(buttons: Actions) -> None:
    assert restored(buttons) == {"picture": EXAMPLES[0], "side": CPU_SIDE}
    text = {
        "picture": Path(EXAMPLES[2]).stem,
        "color": "false",
        "side": "0",
        "quality": "33",
        "rate": SIZE,
        "size": "9.5",
    }
    values = {"picture": EXAMPLES[2], "color": False, "side": 0, "quality": 33.0, "rate": SIZE, "size": 9.5}
    assert restored(buttons, **text) == values
    assert restored(buttons, **(values | {"picture": text["picture"]})) == values  # as the browser remembers them


@pytest.mark.parametrize("value", ["nonsense", "", None, "nan", "inf", [1], {"a": 1}, "/etc/passwd"])
def test_values_that_a_setting_cannot_have_change_nothing(buttons: Actions, value: Any) -> None:
    wanted = dict.fromkeys(["picture", *buttons.settings, "other"], value)
    assert restored(buttons, **wanted) == {"picture": EXAMPLES[0]}


@pytest.mark.parametrize("start", ["", "no JSON", "[1, 2]", "3", "[" * 100_000])
def test_what_is_not_a_list_of_settings_changes_nothing(buttons: Actions, start: str) -> None:
    picture, refusal, *values = buttons.restore(start, "tiny")
    assert refusal == ""
    assert picture == EXAMPLES[0]
    assert [value for value in values if value != SKIPPED] == [CPU_SIDE]


@pytest.mark.parametrize(
    ("link", "refused"),
    [
        ({"picture": "flower"}, ("picture “flower”",)),
        ({"tab": "nonsense", "quality": "900"}, ("tab “nonsense”", "quality “900”")),
        ({"rate": "<b>", "scale": "3"}, ("rate “_b_”", "scale “3”")),
        ({"picture": "own", "quality": "40"}, ()),
        ({"picture": "scene", "tab": "lab", "quality": "40", "color": "false", "scale": "1.5", "size": "9.5"}, ()),
        ({"zoom": "2", "unknown": "x"}, ()),
    ],
)
def test_what_a_link_asks_in_vain_is_said(buttons: Actions, link: dict[str, str], refused: tuple[str, ...]) -> None:
    buttons.tabs = ["overview", "lab"]
    _, refusal, *_ = buttons.restore(json.dumps(link | {"linked": [*link]}), "tiny")
    assert bool(refusal) == bool(refused)
    for text in refused:
        assert text in refusal
    _, refusal, *_ = buttons.restore(json.dumps({"quality": "900", "linked": 3}), "tiny")
    assert refusal == ""  # what the browser remembers is no link


def test_numbers_are_kept_within_the_bounds_of_their_setting(buttons: Actions) -> None:
    assert restored(buttons, quality="1e9")["quality"] == 100
    assert restored(buttons, quality=-5)["quality"] == 0


def test_a_scale_that_needs_a_size_is_1_without_one() -> None:
    assert read_settings("p", None, "tiny", True, 0, "auto", "quality", 80, 9).scale == 1
    assert read_settings("p", None, "tiny", True, 0, "auto", SIZE, 80, 9).scale == "auto"


@pytest.mark.parametrize(
    "settings",
    [
        Settings("p", "tiny", False, 0, 1.5, 33.0),
        Settings("p", "tiny", True, CPU_SIDE, "auto", None, 9500),
        Settings("p", "tiny", True, CPU_SIDE, 2, None),
    ],
)
def test_a_link_holds_the_settings_of_a_result(buttons: Actions, settings: Settings) -> None:
    named = restored(buttons, **{name: str(value) for name, value in named_settings(settings).items()})
    values = [named.get(name, default) for name, default in zip(NAMES, (True, 0, 1, QUALITY, 80, 10), strict=True)]
    assert read_settings("p", None, "tiny", *values) == settings


def test_the_facts_tell_two_results_apart(pipeline: Pipeline, picture: Picture) -> None:
    def told(color: bool, quality: float | None, steps: int = 0) -> dict[str, str]:
        report = pipeline.reconstruct(picture, color, quality)
        result = CurrentResult(Settings("p", "tiny"), report.encoding, report.compressed, report.psnr, steps=steps)
        return facts(result, report)

    def differing(a: dict[str, str], b: dict[str, str]) -> set[str]:
        return {name for name in a | b if a.get(name) != b.get(name)}

    plain = told(True, 80)
    assert plain["File"].endswith("bytes")
    assert differing(plain, told(True, 80)) == set()
    assert differing(plain, told(True, 80, steps=5)) == {"Refined"}
    assert "Quality" in differing(plain, told(True, 20))
    assert "Mode" in differing(plain, told(False, 80))
    assert {"File", "Rate"} <= differing(plain, told(True, None))


def test_a_result_has_the_same_facts_among_the_codecs(pipeline: Pipeline, picture: Picture) -> None:
    report = pipeline.reconstruct(picture, True, 80)
    assert report.compressed
    current = CurrentResult(Settings("p", "tiny"), report.encoding, report.compressed, report.psnr)
    size = len(report.compressed.data)
    ours, other = (CodecResult(name, report.decoding.pixels, size, report.psnr, report.ssim) for name in (OURS, "JPEG"))
    assert codec_facts(ours, current) == facts(current, report)
    assert codec_facts(other, current)["Codec"] == "JPEG"
