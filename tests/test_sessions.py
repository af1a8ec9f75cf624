"""A session of the page takes little memory, is otherwise Gradio's, and is not forgotten for those of others."""

import tracemalloc
from collections.abc import Iterator

import gradio as gr
import pytest
from gradio import routes, state_holder
from starlette.testclient import TestClient

from residae.ui.guard import COOKIE, LAUNCH_OPTIONS
from residae.ui.page import build
from residae.ui.sessions import OWNER, keep_sessions_small
from residae.ui.turns import Visitor

MOST = 30_000  # bytes; Gradio's own take nine times as many


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_holder, "SessionState", state_holder.SessionState)  # to be put back
    monkeypatch.setattr(routes, "StateHolder", routes.StateHolder)
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


def sessions_after(requests: list[tuple[str, Visitor | None]], capacity: int) -> list[str]:
    """The names of the sessions that are left of those that were made or used, in this order, each for its owner."""
    with gr.Blocks() as blocks:
        gr.State()
    blocks.state_session_capacity = capacity
    sessions = routes.StateHolder()
    sessions.set_blocks(blocks)
    for name, owner in requests:
        token = OWNER.set(owner)
        _ = sessions[name]
        OWNER.reset(token)
    return sorted(sessions.session_data)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("requests", "left"),
    [
        ("a1 b1 b2 b3 b4", "a1 b3 b4"),  # of the address with the most
        ("a1 b1 b2 b3 a1 b4", "a1 b3 b4"),
        ("a1 b1 c1 d1", "b1 c1 d1"),  # of equals, the one used longest ago
        ("a1 b1 c1 a1 d1", "a1 c1 d1"),
        ("a1 a2 a3 a4", "a2 a3 a4"),  # and one address may have them all
        ("ax1 ay1 ay2 ay3", "ax1 ay2 ay3"),  # in an office, of the visitor with the most
        ("ax1 ay1 az1 b1", "ay1 az1 b1"),
        ("a1 -1 a2 b1 -2", "-2 a2 b1"),  # calls first, which remember nothing
        ("a1 a2 -1 -2 -3", "-3 a1 a2"),
    ],
)
def test_sessions_of_others_are_forgotten_last(requests: str, left: str) -> None:
    """Each is named for its address, the cookie of its visitor, and a number; or for no owner."""
    names = requests.split()
    owners = [None if name[0] == "-" else Visitor(name[0], name[1:-1]) for name in names]
    assert sessions_after(list(zip(names, owners, strict=True)), capacity=3) == sorted(left.split())


@pytest.mark.usefixtures("small")
def test_invented_sessions_of_one_address_leave_those_of_others() -> None:
    """Through the guard, by which a session has its owner."""
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None, api_name="nothing")
    blocks.state_session_capacity = 5
    blocks.queue(max_size=None)
    app = routes.App.create_app(blocks, app_kwargs={"middleware": LAUNCH_OPTIONS["app_kwargs"]["middleware"]})

    def visit(address: str, session: str, cookie: str = "") -> None:
        with TestClient(app, client=(address, 1), cookies={COOKIE: cookie} if cookie else None) as client:
            body = {"data": [], "fn_index": 0, "session_hash": session}
            client.post("/gradio_api/queue/join", json=body).raise_for_status()

    visit("192.0.2.1", "mine")
    for number in range(20):
        visit("192.0.2.2", f"invented{number}", cookie=f"invented{number}")
    assert "mine" in app.state_holder
    assert len(app.state_holder.session_data) == 5
