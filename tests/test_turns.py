"""Turns in front of the model: nobody's tenth request goes before another's first."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from service import MORE, PATIENCE, serving

from residae.image import write_png
from residae.ui import turns
from residae.ui.guard import COOKIE
from residae.ui.turns import CrowdedError, Turns, Visitor

ANNA, BERT, CARL = Visitor("1.1.1.1", "anna"), Visitor("1.1.1.1", "bert"), Visitor("2.2.2.2", "carl")


def patient(ahead: int) -> None:
    """Wait however many come first."""


Work = Callable[[Callable[[], None]], None]  # is given the function that lets others go first


class Line:
    """Work of visitors that begins to wait in a known order while the lock is held, and notes when it has its turn."""

    def __init__(self) -> None:
        self.turns, self.order = Turns(), list[str]()
        self.threads = list[threading.Thread]()

    def wait(self, name: str, visitor: Visitor, work: Work = lambda give_way: None) -> None:
        waiting = threading.Event()

        def run() -> None:
            try:
                with self.turns.turn(visitor, lambda ahead: waiting.set()) as give_way:
                    self.order.append(name)
                    work(give_way)
            except CrowdedError:
                self.order.append(f"{name} is refused")

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        assert waiting.wait(10)

    def go(self) -> list[str]:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
        return self.order


def test_nobodys_tenth_goes_before_anothers_first() -> None:
    line = Line()
    with line.turns.turn(ANNA, patient):
        for number in range(1, 11):
            line.wait(f"anna {number}", ANNA)
        line.wait("bert 1", BERT)
        line.wait("bert 2", BERT)
    assert line.go() == ["bert 1", "anna 1", "bert 2", *(f"anna {number}" for number in range(2, 11))]


def test_many_cookies_of_one_address_take_turns_as_one_against_other_addresses() -> None:
    line = Line()
    with line.turns.turn(ANNA, patient):
        for number in range(5):
            line.wait(f"invented {number}", Visitor(ANNA.address, f"invented {number}"))
        line.wait("carl 1", CARL)
        line.wait("carl 2", CARL)
    assert line.go()[:3] == ["carl 1", "invented 0", "carl 2"]


def test_long_work_gives_way_between_its_parts() -> None:
    line = Line()

    def batch(give_way: Callable[[], None]) -> None:
        for number in range(2, 4):
            give_way()
            line.order.append(f"picture {number}")

    with line.turns.turn(CARL, patient):
        line.wait("picture 1", ANNA, batch)
        line.wait("bert", BERT)
        line.wait("anna's next", ANNA)
    assert line.go() == ["picture 1", "bert", "picture 2", "picture 3", "anna's next"]


def test_a_place_is_given_up_when_the_check_raises() -> None:
    line, left = Line(), threading.Event()

    def leave(ahead: int) -> None:
        if left.is_set():
            raise TimeoutError

    def wait() -> None:
        with suppress(TimeoutError), line.turns.turn(BERT, leave):
            line.order.append("left")

    with line.turns.turn(ANNA, patient):
        thread = threading.Thread(target=wait)
        thread.start()
        left.set()
        start = time.monotonic()
        thread.join(10)
        assert time.monotonic() - start < 1
    with line.turns.turn(CARL, patient):
        assert not line.order


def test_giving_way_to_nobody_keeps_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Turns()
    with held.turn(ANNA, patient) as give_way:
        give_way()
        monkeypatch.setattr(turns, "MAX_WAITING", 0)
        with pytest.raises(CrowdedError, match="Too many requests wait"), held.turn(BERT, patient):
            pass


def test_one_visitor_cannot_fill_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MAX_WAITING_EACH", 2)
    line = Line()
    with line.turns.turn(ANNA, patient):
        line.wait("anna 1", ANNA)
        line.wait("anna 2", ANNA)
        with pytest.raises(CrowdedError, match="2 requests wait already"), line.turns.turn(ANNA, patient):
            pass
        line.wait("bert", BERT)
    assert line.go() == ["bert", "anna 1", "anna 2"]


def test_one_address_cannot_fill_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """By inventing cookies: where all places are taken, its newest request makes room for one of another address."""
    monkeypatch.setattr(turns, "MAX_WAITING", 3)
    line = Line()
    with line.turns.turn(CARL, patient):
        for number in range(3):
            line.wait(f"invented {number}", Visitor(ANNA.address, f"invented {number}"))
        with pytest.raises(CrowdedError), line.turns.turn(ANNA, patient):
            pass
        line.wait("dora", Visitor("3.3.3.3", "dora"))
        line.threads[2].join(10)
        assert line.order == ["invented 2 is refused"]
    assert line.go()[1:] == ["invented 0", "dora", "invented 1"]


def test_work_that_has_begun_keeps_its_place_in_a_full_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is part of a batch that gave way, and the newest request of its address."""
    line, give, done = Line(), threading.Event(), threading.Event()

    def batch(give_way: Callable[[], None]) -> None:
        assert give.wait(10)
        give_way()
        line.order.append("picture 2")

    def work(give_way: Callable[[], None]) -> None:
        assert done.wait(10)

    with line.turns.turn(BERT, patient):
        line.wait("bert 1", BERT, work)
        line.wait("bert 2", BERT)
        line.wait("picture 1", ANNA, batch)
    monkeypatch.setattr(turns, "MAX_WAITING", 2)
    give.set()
    while line.order != ["picture 1", "bert 1"]:
        time.sleep(0.01)
    line.wait("carl", CARL)
    line.threads[1].join(10)
    done.set()
    assert line.go() == ["picture 1", "bert 1", "bert 2 is refused", "carl", "picture 2"]


def test_the_number_of_turns_that_come_first_is_told() -> None:
    line, told = Line(), list[int]()
    with line.turns.turn(ANNA, patient):
        line.wait("bert", BERT)
        thread = threading.Thread(target=lambda: line.turns.turn(ANNA, told.append).__enter__())
        thread.start()
        while not told:
            time.sleep(0.01)
    thread.join(10)
    assert told[0] == 2  # the one that has its turn now, and Bert's


# The app with a network that begins when a file is there, and notes the width of what it is given.
HELD_APP = """
import sys, time
from pathlib import Path
from residae.engine import Engine
from residae.ui import cache
from residae.ui.turns import Turns

encode, take = Engine.encode, Turns._take

def held(engine, plane, progress=None):
    print("width", plane.shape[-1], flush=True)
    while not Path({go!r}).exists():
        time.sleep(0.02)
    return encode(engine, plane, progress)

def noted(turns, ticket, check):
    print("waiting", flush=True)
    take(turns, ticket, check)

Engine.encode, Turns._take = held, noted
Engine._is_as_good_as = lambda engine, network: True  # which would encode as well
cache.warm_up = lambda: None
import app
app.main()
"""


def test_the_page_takes_turns_and_not_requests_in_their_order(checkpoint: Path, tmp_path: Path) -> None:
    """Served at an address of IPv6, at which Gradio by itself finds no free port."""
    go = tmp_path / "go"
    code = HELD_APP.format(go=str(go))
    with (
        serving(tmp_path, checkpoint, code, GRADIO_SERVER_NAME="::1") as service,
        httpx.Client(base_url=f"{service.address}/gradio_api", timeout=PATIENCE) as client,
    ):

        def ask(visitor: str, width: int) -> str:
            (path,) = client.post("/upload", files={"files": write_png(np.zeros((16, width), np.uint8))}).json()
            data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, False, 80, 0, 0, *MORE]
            headers = {"cookie": f"{COOKIE}={visitor}"}
            asked = client.post("/call/reconstruct", json={"data": data}, headers=headers).raise_for_status().json()
            deadline = time.monotonic() + PATIENCE
            while service.log.read_text().count("waiting") < len(events) + 1:
                assert time.monotonic() < deadline, service.log.read_text()
                time.sleep(0.02)
            return f"/call/reconstruct/{asked['event_id']}"

        events: list[str] = []
        for number in range(10):
            events.append(ask("anna", 20 + number))
        events.append(ask("bert", 100))
        go.touch()
        for event in events:
            assert "event: complete" in client.get(event).text
        widths = [int(line.split()[1]) for line in service.log.read_text().splitlines() if line.startswith("width")]
    assert widths == [20, 100, *range(21, 30)]
