"""The tab The model: the network and the card of a checkpoint, wherever it comes from."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from hub import Hub

from residae.checkpoint import Checkpoint
from residae.ui import store
from residae.ui.tabs import model
from residae.ui.tabs.model import ModelTab

CARD = b"---\nlicense: apache-2.0\n---\n\n# Tiny\n\n![A curve](curve.jpg)\n"


@pytest.fixture(autouse=True)
def nothing_in_memory() -> Iterator[None]:
    """No checkpoint that another test has opened under the same name."""
    for kept in (store._open_pipeline, model.get_card):
        kept.cache_clear()
    yield
    for kept in (store._open_pipeline, model.get_card):
        kept.cache_clear()


def tab() -> ModelTab:
    with gr.Blocks():
        return ModelTab()


def test_a_checkpoint_on_the_hub_shows_its_card(checkpoint: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    hub.add("model", "owner/hosted", files | {"README.md": CARD, "curve.jpg": b"abc"})
    monkeypatch.setenv("RESIDAE_CHECKPOINT", "owner/hosted")
    described = tab()
    assert described.checkpoint.value == "hosted"
    updates = described.describe("hosted")
    assert updates[described.card].strip() == "# Tiny\n\n![A curve](data:image/jpeg;base64,YWJj)"
    assert Checkpoint.open("owner/hosted").fingerprint.hex() in updates[described.figures]
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
    assert "no longer there" in updates[described.card]


def test_a_checkpoint_that_cannot_be_loaded_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(tmp_path / "absent"))
    described = tab()
    (message,) = described.describe("absent").values()
    assert 'role="alert"' in message
