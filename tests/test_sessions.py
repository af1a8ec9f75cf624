"""A session of the page takes little memory, and is otherwise Gradio's."""

import tracemalloc
from collections.abc import Iterator

import gradio as gr
import pytest
from gradio import state_holder

from residae.ui.page import build
from residae.ui.sessions import keep_sessions_small

MOST = 30_000  # bytes; Gradio's own take nine times as many


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_holder, "SessionState", state_holder.SessionState)  # to be put back
    keep_sessions_small()


@pytest.fixture
def tracing() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("small", "tracing")
def test_a_session_takes_little_memory() -> None:
    sessions = state_holder.StateHolder()
    sessions.set_blocks(build())
    _ = sessions["first"]
    before = tracemalloc.get_traced_memory()[0]
    for number in range(10):
        _ = sessions[str(number)]
    assert (tracemalloc.get_traced_memory()[0] - before) / 10 < MOST


@pytest.mark.usefixtures("small")
def test_a_session_remembers_its_own_values() -> None:
    with gr.Blocks() as blocks:
        state, text = gr.State([1]), gr.Textbox("a")
    sessions = state_holder.StateHolder()
    sessions.set_blocks(blocks)
    one, other = sessions["one"], sessions["other"]
    one[state._id] = [2]
    one[text._id] = gr.Textbox("b")
    assert (one[state._id], one[text._id].value) == ([2], "b")
    assert (other[state._id], other[text._id].value) == ([1], "a")
