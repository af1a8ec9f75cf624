"""Who leaves is let go: the work of a visitor who closes the tab, cancels or disconnects ends within a second."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import httpx
import pytest
from gradio_client import handle_file
from service import MORE, PATIENCE, Service, ask_for_batch, program, serving
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from visitor import SILENT, VISIT, add_refined, compare, refine, visit

from residae.image import Pixels, write_png
from residae.pipeline import Pipeline
from residae.ui import work
from residae.ui.cache import EXAMPLES
from residae.ui.controls import QUALITY
from residae.ui.guard import Guard
from residae.ui.server import notice_lost
from residae.ui.state import CurrentResult
from residae.ui.tabs.batch import BatchTab
from residae.ui.tabs.files import FilesTab
from residae.ui.tabs.lab import PLANES, LabTab, prepare
from residae.ui.work import Cancelled, Updates, Work

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SOON = 1.5  # seconds: one, and what a busy machine needs to notice

# The app with a network that takes half a minute. It notes in the log when its work begins and ends, and for how many
# milliseconds it waits for connections that are lost silently.
SLOW_APP = """
import socket
import time
from residae.engine import Engine
from residae.ui import cache, server

encode, notice_lost = Engine.encode, server.notice_lost

def slow(engine, plane, progress=None):
    print("begun", flush=True)
    try:
        for step in range(1, 600):
            time.sleep(0.05)
            if progress:
                progress(step / 600)
    finally:
        print("ended", flush=True)
    return encode(engine, plane)

def noted(listener):
    notice_lost(listener)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        print("noticed", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), flush=True)

Engine.encode, server.notice_lost = slow, noted
Engine._is_as_good_as = lambda engine, network: True  # which would encode before there is any work
cache.warm_up = lambda: None
import app
app.main()
"""


@pytest.fixture(scope="module")
def service(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), checkpoint, SLOW_APP) as service:
        yield service


@pytest.fixture(scope="module")
def picture_file(smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    path.write_bytes(write_png(smooth(20, 30, 0)))
    return path


def count(service: Service, word: str) -> int:
    return service.log.read_text().split().count(word)


def wait(service: Service, word: str, number: int) -> float:
    """Wait until the log has the word so many times, and return how long that took."""
    start = time.monotonic()
    while count(service, word) < number:
        assert time.monotonic() - start < 20, f"{word} less than {number} times: {service.log.read_text()}"
        time.sleep(0.02)
    return time.monotonic() - start


Measure = Callable[[Callable[[], object], Callable[[], object]], float]


@pytest.fixture
def seconds_to_end(service: Service) -> Measure:
    """How long work goes on after it was begun and left."""

    def measure(begin: Callable[[], object], leave: Callable[[], object]) -> float:
        number = count(service, "begun") + 1
        begin()
        wait(service, "begun", number)
        time.sleep(0.2)
        leaving = threading.Thread(target=leave)  # some ways to leave wait for an answer
        leaving.start()
        seconds = wait(service, "ended", number)
        leaving.join()
        return seconds

    return measure


@pytest.mark.parametrize("endpoint", ["reconstruct", "compress", "compare"])
def test_a_program_cancels(service: Service, picture_file: Path, seconds_to_end: Measure, endpoint: str) -> None:
    client, jobs = program(service.address), []
    begin = lambda: jobs.append(client.submit(handle_file(picture_file), api_name=f"/{endpoint}"))  # noqa: E731
    assert seconds_to_end(begin, lambda: jobs[0].cancel()) < SOON
    client.close()


@pytest.mark.parametrize("kind", ["of a program", "of the page", "a batch"])
def test_connections_are_closed(service: Service, picture_file: Path, seconds_to_end: Measure, kind: str) -> None:
    """By a program that ends, or by a browser whose tab is closed or that goes to another page."""
    streams: list[socket.socket] = []
    session = {"of a program": "", "of the page": "abc", "a batch": "def"}[kind]
    paths = [f"heartbeat/{session}", f"queue/data?session_hash={session}"] if session else ["call/reconstruct/{event}"]

    def begin() -> None:
        with httpx.Client(base_url=f"{service.address}/gradio_api", timeout=PATIENCE) as client:
            if kind == "a batch":
                asked = ask_for_batch(client, service.address, session, [picture_file] * 2)
            else:
                (path,) = client.post("/upload", files={"files": picture_file.read_bytes()}).json()
                data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, True, 80, 0, 0, *MORE]
                known = {"session_hash": session} if session else {}
                asked = client.post("/call/reconstruct", json={"data": data, **known})
            event = asked.raise_for_status().json()["event_id"]
        host, port = service.address.removeprefix("http://").split(":")
        for path in paths:
            stream = socket.create_connection((host, int(port)))
            stream.sendall(f"GET /gradio_api/{path.format(event=event)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert stream.recv(1000)
            streams.append(stream)

    assert seconds_to_end(begin, lambda: [stream.close() for stream in streams]) < SOON


@pytest.mark.parametrize("leave", ["close the tab", "go to another page", "close the browser"])
def test_a_browser_leaves(service: Service, browser: "Browser", leave: str) -> None:
    """While the page reconstructs the picture that a visit starts with."""
    number = count(service, "begun") + 1
    context = browser.new_context()
    page = context.new_page()
    page.goto(service.address)
    wait(service, "begun", number)
    time.sleep(0.2)
    start = time.monotonic()
    if leave == "close the tab":
        page.close()
    elif leave == "go to another page":
        page.goto("about:blank")
    else:
        context.close()
    left = time.monotonic() - start
    assert left + wait(service, "ended", number) < SOON
    context.close()


def test_work_to_which_nobody_listens_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that asked and never came for the answer, or whose connection was lost."""
    monkeypatch.setattr(work, "PATIENCE", 0.2)
    with Work(VISIT) as running:
        with work.listening(VISIT.session_hash):
            for _ in range(5):
                running(0.5)
                time.sleep(0.1)
        running(0.5)
        time.sleep(0.3)
        with pytest.raises(Cancelled):
            running(0.5)


def test_work_that_begins_after_its_visitor_left_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio had started it already, but it did not yet wait for its turn; unless the visitor is there again."""
    monkeypatch.setattr(work, "PATIENCE", 60.0)
    monkeypatch.setattr(work, "RETURN_SECONDS", 0.2)
    with work.listening(VISIT.session_hash) as lose:
        lose()
    for returns in (True, False):
        with Work(VISIT) as running:
            with work.listening(VISIT.session_hash) if returns else nullcontext():
                running(0.5)
            time.sleep(0.3)
            with nullcontext() if returns else pytest.raises(Cancelled):
                running(0.5)


def test_who_listens_twice_is_there_until_both_are_gone() -> None:
    with Work(VISIT) as running:
        with work.listening(VISIT.session_hash):
            with work.listening(VISIT.session_hash) as lose:
                lose()
            running(0.5)
            with work.listening(VISIT.session_hash):
                pass
        running(0.5)  # the last one has heard all it wanted
        with work.listening(VISIT.session_hash) as lose:
            lose()
        with pytest.raises(Cancelled):
            running(0.5)


Begin = Callable[[CurrentResult], Iterator[Updates]]


def edit(current: CurrentResult) -> Iterator[Updates]:
    with gr.Blocks():
        tab = LabTab(gr.State(), gr.State())
    return tab.refresh("lab", current, None, PLANES[0], 0, (), 0, 0, 0.5, EXAMPLES[1], VISIT, SILENT)


def measure_channels(current: CurrentResult) -> Iterator[Updates]:
    with gr.Blocks():
        tab = LabTab(gr.State(), gr.State())
    return tab.measure_channels(prepare(current, None), VISIT, SILENT)


def open_files(current: CurrentResult) -> Iterator[Updates]:
    assert current.compressed
    path = Path(current.settings.path).with_suffix(".rae")
    path.write_bytes(current.compressed.data)
    with gr.Blocks():
        tab = FilesTab()
    return tab.decode([str(path)] * 3, "tiny", (), VISIT, SILENT)


def compress_batch(current: CurrentResult) -> Iterator[Updates]:
    with gr.Blocks():
        tab = BatchTab()
    return tab.compress_all([current.settings.path] * 3, "tiny", True, 0, 1, QUALITY, 80, 10, 0, VISIT, SILENT)


IN_TABS = (refine, compare, add_refined, edit, measure_channels, open_files, compress_batch)


@pytest.mark.parametrize("begin", IN_TABS, ids=lambda begin: begin.__name__)
def test_work_of_a_tab_ends_in_the_middle_of_decoding(
    begin: Begin, current: CurrentResult, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is decoded after that: no step of a refinement, no other channel, file or picture."""
    begun, finished, decode = list[object](), list[object](), pipeline.engine.decode

    def left(*given: object) -> Pixels:
        begun.append(given)
        work.let_go(VISIT.session_hash)
        finished.append(decode(*given))
        return finished[-1]

    updates = begin(current)
    monkeypatch.setattr(pipeline.engine, "decode", left)
    for _ in updates:
        pass
    assert (len(begun), len(finished)) == (1, 0)


@pytest.mark.parametrize(("begin", "steps"), [(compare, 3), (edit, 2), (measure_channels, 1), (open_files, 2)])
def test_work_of_a_tab_ends_between_two_updates(begin: Begin, steps: int, current: CurrentResult) -> None:
    updates = begin(current)
    for _ in range(steps):
        next(updates)
    work.let_go(VISIT.session_hash)
    (unchanged,) = updates
    assert [*unchanged.values()] == [gr.skip()]


def test_a_batch_ends_while_it_gives_way_between_two_pictures(current: CurrentResult) -> None:
    updates = compress_batch(current)
    next(updates)
    one, waits, is_over = next(updates), threading.Event(), threading.Event()

    def another() -> None:
        with Work(visit("another"), lambda share, desc: waits.set()):
            work.let_go(VISIT.session_hash)
            assert is_over.wait(20)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(another)
        assert waits.wait(20)
        rest = [*updates]
        is_over.set()
        other.result()
    assert "1 of 3 compressed." in str(one)
    assert rest == []  # nobody takes the finished ones


STREAM: Scope = {
    "type": "http",
    "method": "GET",
    "path": "/gradio_api/queue/data",
    "query_string": b"session_hash=session",
    "headers": [],
}


def guard(app: ASGIApp, first: str, error: type[Exception] | None) -> None:
    """Let the guard pass on a stream of which it receives a first message, and assert the error that comes of it."""

    async def receive() -> Message:
        return {"type": first}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    with ThreadPoolExecutor(1) as thread:  # in this one, Playwright may have left an event loop running
        outcome = thread.submit(asyncio.run, Guard(app)(STREAM, receive, send))
    with pytest.raises(error) if error else nullcontext():
        outcome.result()


@pytest.mark.parametrize(("first", "error"), [("http.disconnect", None), ("http.request", KeyError)])
def test_a_session_that_is_forgotten_twice_is_an_error_only_to_who_listens(
    first: str, error: type[Exception] | None
) -> None:
    """Gradio raises KeyError where two streams of one session are lost at once."""

    async def forget(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise KeyError("session")

    guard(forget, first, error)


@pytest.mark.parametrize(("cause", "error"), [(HTTPException(404), None), (None, RuntimeError)])
def test_a_stream_whose_session_was_forgotten_with_another_ends(
    cause: Exception | None, error: type[Exception] | None
) -> None:
    """Gradio refuses it in its middle, where only an error in the log can come of that."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("response already started") from cause

    guard(refuse, "http.request", error)


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
def test_a_connection_that_is_lost_silently_is_noticed_within_a_minute(service: Service) -> None:
    """By the system, some seconds after the next message, which Gradio sends every 15 seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        notice_lost(listener)
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            with connection:
                lost = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert 0 < lost <= 45_000
    wait(service, "noticed", 1)
    assert f"noticed {lost}" in service.log.read_text()
