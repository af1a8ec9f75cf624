"""The tab The model: the network and the card of a checkpoint, wherever it comes from."""

import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from hub import Hub
from test_components import explained
from visitor import SILENT, VISIT, use_up

from residae.checkpoint import Checkpoint
from residae.compare import OURS
from residae.image import Picture, fit
from residae.pipeline import Pipeline
from residae.results import Measurement, ResultsFile
from residae.ui import store
from residae.ui.cache import Settings
from residae.ui.tabs import model
from residae.ui.tabs.model import ModelTab, Observed, of_input, with_names, with_sections, without_local_files
from residae.ui.work import Priority, Superseded, Work

CARD = b"---\nlicense: apache-2.0\n---\n\n# Tiny\n\n![A curve](curve.jpg)\n"


@pytest.fixture(autouse=True)
def nothing_in_memory() -> Iterator[None]:
    """No checkpoint that another test has opened under the same name."""
    for kept in (store._open_pipeline, model.get_card, model.get_curves):
        kept.cache_clear()
    yield
    for kept in (store._open_pipeline, model.get_card, model.get_curves):
        kept.cache_clear()


def tab() -> ModelTab:
    with gr.Blocks():
        return ModelTab(gr.State("model"), gr.State())


def test_a_checkpoint_on_the_hub_shows_its_card(checkpoint: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    hub.add("model", "owner/hosted", files | {"README.md": CARD, "curve.jpg": b"abc"})
    monkeypatch.setenv("RESIDAE_CHECKPOINT", "owner/hosted")
    described = tab()
    assert described.checkpoint.value == "hosted"
    updates = described.describe("hosted")
    assert updates[described.card].strip() == "# Tiny\n\n![A curve](data:image/jpeg;base64,YWJj)"
    assert Checkpoint.open("owner/hosted").fingerprint.hex() in updates[described.figures]
    assert set(re.findall("<dt>(.*?)</dt>", updates[described.figures])) <= explained()
    hub.stop()
    hub.calls.clear()
    assert described.describe("hosted") == updates
    assert hub.calls == []


def test_a_checkpoint_that_is_deleted_meanwhile_is_still_described(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "brief"))
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(folder))
    store.get_pipeline("brief")
    shutil.rmtree(folder)
    monkeypatch.delenv("RESIDAE_CHECKPOINT")
    described = tab()
    updates = described.describe("brief")
    assert "GFLOP" in updates[described.figures]
    assert "has been removed" in updates[described.card]


def test_a_checkpoint_that_cannot_be_loaded_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(tmp_path / "absent"))
    described = tab()
    (message,) = described.describe("absent").values()
    assert 'role="alert"' in message


class Current:
    """The parts of a CurrentResult that the tab reads."""

    def __init__(self, pipeline: Pipeline, picture: Picture, path: str = "a", quality: float = 80) -> None:
        self.pipeline, self.picture, self.settings = pipeline, lambda: picture, Settings(path, "tiny", quality=quality)


def test_a_stage_shows_its_channels(pipeline: Pipeline, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, current, event = tab(), Current(pipeline, picture), SimpleNamespace(index=4)
    (updates,) = shown.show_stage(current, event, VISIT, SILENT)
    value = updates[shown.stage]
    assert value["title"] == "Latent"
    assert value["caption"] == "4 channels of 5 × 4, of a picture of 75 × 53"
    assert len(value["tiles"]) == 4
    assert all(Path(tile["picture"]["path"]).read_bytes().startswith(b"\x89PNG") for tile in value["tiles"])
    event.index = 9
    (updates,) = shown.show_stage(current, event, VISIT, SILENT)
    assert [tile["name"] for tile in updates[shown.stage]["tiles"]] == ["Reconstruction"]
    (updates,) = shown.show_stage(None, event, VISIT, SILENT)
    assert "Choose a picture" in updates[shown.status]
    use_up(VISIT, monkeypatch)
    cleared, refused = shown.show_stage(current, event, VISIT, SILENT)
    assert cleared == {shown.stage: None, shown.observed: Observed(9, None)}
    assert "allows a visitor in an hour" in refused[shown.status]


def test_a_stage_follows_the_picture_that_is_shown(
    pipeline: Pipeline, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tab()
    no_change = {shown.status: gr.skip()}
    (first,) = shown.show_stage(Current(pipeline, picture), SimpleNamespace(index=4), VISIT, SILENT)
    observed = first[shown.observed]
    for open_tab, path, quality in (("model", "a", 80), ("model", "a", 20), ("lab", "b", 80)):
        current = Current(pipeline, picture, path, quality)
        assert [*shown.refresh(open_tab, current, observed, VISIT, SILENT)] == [no_change]
    other = Current(pipeline, fit(picture, 32), "b")
    (followed,) = shown.refresh("model", other, observed, VISIT, SILENT)
    assert (first[shown.stage]["caption"], followed[shown.stage]["caption"]) == (
        "4 channels of 5 × 4, of a picture of 75 × 53",
        "4 channels of 2 × 2, of a picture of 32 × 23",
    )
    assert (followed[shown.observed].index, followed[shown.observed].settings.path) == (4, "b")
    use_up(VISIT, monkeypatch)
    cleared, refused = shown.refresh("model", other, observed, VISIT, SILENT)
    assert cleared == {shown.stage: None, shown.observed: Observed(4, None)}
    assert "allows a visitor in an hour" in refused[shown.status]


def test_the_latent_is_shown_when_the_tab_is_opened(pipeline: Pipeline, picture: Picture) -> None:
    """Until another stage is pressed, and not before there is a picture."""
    shown, current, no_change = tab(), Current(pipeline, picture), gr.skip()
    for open_tab, result in (("overview", current), ("model", None)):
        assert [*shown.refresh(open_tab, result, None, VISIT, SILENT)] == [{shown.status: no_change}]
    (first,) = shown.refresh("model", current, None, VISIT, SILENT)
    assert first[shown.stage]["title"] == "Latent"
    (pressed,) = shown.show_stage(current, SimpleNamespace(index=1), VISIT, SILENT)
    other = Current(pipeline, fit(picture, 32), "b")
    (followed,) = shown.refresh("model", other, pressed[shown.observed], VISIT, SILENT)
    assert followed[shown.observed].index == 1


def test_a_stage_that_is_pressed_at_once_stays(
    pipeline: Pipeline, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While what the tab opens with waits for its turn."""
    shown, current, session = tab(), Current(pipeline, picture), {}
    monkeypatch.setattr(model, "newest", lambda _, component, value: session.get(component, value))
    waits = threading.Event()
    with ThreadPoolExecutor() as pool:
        with Work(VISIT):  # the turn of the press
            opened = pool.submit(lambda: [*shown.refresh("model", current, None, VISIT, lambda *_, **__: waits.set())])
            assert waits.wait(20)
            session[shown.observed] = Observed(1, of_input(current))
        assert opened.result(20) == [{shown.status: gr.skip()}]


def test_a_stage_does_not_wait_for_what_another_tab_measures(pipeline: Pipeline, picture: Picture) -> None:
    shown, current, event = tab(), Current(pipeline, picture), SimpleNamespace(index=4)
    with ThreadPoolExecutor() as pool:
        with suppress(Superseded), Work(VISIT, priority=Priority.BACKGROUND) as comparing:
            asked = pool.submit(lambda: [*shown.show_stage(current, event, VISIT, SILENT)])
            end = time.monotonic() + 20
            while time.monotonic() < end:
                comparing.check()
                time.sleep(0.01)
            pytest.fail("the comparison goes on")
        assert shown.stage in asked.result(20)[-1]


def test_headings_of_a_card_are_a_choice_of_one_section() -> None:
    card = with_sections("# Name\n\nWords.\n\n## A < B\n\n```sh\n## no heading\n```\n\n## More\n\n### Less\n")
    assert re.findall('<label><input type="radio" name="section"( checked)?>(.*?)</label>', card) == [
        (" checked", "A &lt; B"),
        ("", "More"),
    ]
    assert card.count("<section") == card.count("</section>") == 2
    assert card.count("<fieldset") == card.count("</fieldset>") == 1
    assert "```sh\n## no heading\n```" in card
    assert "### Less" in card
    assert with_sections("Words alone.") == "Words alone."


def test_a_card_is_shown_without_pictures_that_the_page_does_not_serve() -> None:
    served = "![A](data:image/jpeg;base64,A=) ![B](https://example.org/b.png)"
    assert without_local_files(f"Words.\n\n![C](results.svg)\n\n{served}\n") == f"Words.\n\n{served}\n"
    links = "[Notes](NOTEBOOK.md) of [one](https://example.org/one), [part](#limits)."
    assert without_local_files(links) == links.replace("[Notes](NOTEBOOK.md)", "Notes")


def test_a_card_names_what_a_visitor_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    card = 'A.\n\n`open("OWNER/NAME")`\n\nInstall spaces/OWNER/NAME.\n\nB.\n'
    monkeypatch.delenv("SPACE_ID", raising=False)
    folder = Path("/srv/checkpoints/fine")
    assert with_names(card, folder) == 'A.\n\n`open("checkpoints/fine")`\n\n\nB.\n'
    monkeypatch.setenv("SPACE_ID", "somebody/demo")
    spaces = 'A.\n\n`open("owner/model")`\n\nInstall spaces/somebody/demo.\n\nB.\n'
    assert with_names(card, "owner/model") == spaces


def test_measurements_beside_the_weights_are_drawn(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "measured"))
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(folder))
    assert model.results_chart("measured") == ""
    model.get_curves.cache_clear()
    rows = [
        Measurement(str(i), str(i), 8, 8, "0.1 bpp", codec, bytes=9, psnr=30.0)
        for i in (0, 1)
        for codec in (OURS, "JPEG")
    ]
    rows += [replace(row, setting="0.1 bpp, 40 steps", psnr=31.0) for row in rows if row.codec == OURS]
    ResultsFile(folder / "results.tsv", resume=False, force=False).append(rows)
    chart = model.results_chart("measured")
    assert "Luma, mean of 2 pictures: 0, 1; Residae also with 40 steps of refinement" in chart
    assert "30.00 dB at 1.125 bits per pixel" in chart
    model.get_curves.cache_clear()
    (folder / "results.tsv").write_text("something else\n")
    assert 'role="alert"' in model.results_chart("measured")
