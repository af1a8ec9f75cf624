"""Many visitors at once: each gets the result of its own picture, and afterwards the server uses no more than before.

Some leave, refine, send batches or hostile files. The short run is a few visitors for some seconds.
`python -m pytest -m long -k 30_visitors` is 30 for ten minutes, `-k soak` the same for an hour; both print what they
counted. The environment variables RESIDAE_LOAD_SECONDS and RESIDAE_LOAD_VISITORS set another time and number for both.
The first fifth of the time is for warming up.
"""

import csv
import io
import json
import os
import random
import socket
import sys
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from PIL import Image
from service import MORE, PATIENCE, Service, ask_for_batch, program, serving

import residae.examples
from residae.engine import preferred_float
from residae.image import Pixels, fit, open_picture, write_png
from residae.pipeline import Pipeline, Reconstruction
from residae.ui.budget import TOLERANCE, VARIABLE
from residae.ui.guard import COOKIE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not count a process's file descriptors")

SWEEP = (5, 150)  # seconds between sweeps, and the age of files to delete: soon, but after the slowest visitor
# In the precision of the expected results, with a log of unexpected errors only, for visitors who stay an hour. The
# log has each turn: its address, its seconds, how many turns others had while it was waited for, and how many others
# that were.
APP = """
import logging, time
import residae.engine.precision as precision
import residae.ui.guard as guard
import residae.ui.work as work
from residae.ui.turns import Turns

class Noted(Turns):
    taken, last = [], {{}}

    def _take(self, ticket, check):
        asked = len(self.taken)
        super()._take(ticket, check)
        self.meanwhile = self.taken[max(asked, self.last.get(ticket.visitor, 0)):]
        self.taken.append(ticket.visitor)
        self.last[ticket.visitor] = len(self.taken)
        self.start = time.monotonic()

    def _release(self):
        seconds = time.monotonic() - self.start
        print("turn", self._holder.visitor.address, seconds, len(self.meanwhile), len(set(self.meanwhile)), flush=True)
        super()._release()

precision.cpu_prefers_bfloat16 = lambda: {bfloat16}
logging.getLogger("residae.ui.cache").setLevel("CRITICAL")
guard.SWEEP_INTERVAL, guard.MAX_FILE_AGE = {sweep}
work.REQUESTS_PER_WINDOW *= 4
work.TURNS = Noted()
import app
app.main()
"""
IDLE = 15  # seconds after which connections are closed and threads may end
# What visitors do, and how often: have a picture shown, a small one, a file opened or refined, all pictures compressed
# in the tab Batch, a file refused that is damaged; or leave.
WEIGHTS = {"shown": 4, "small": 2, "opened": 5, "refined": 2, "batch": 1, "refused": 3, "left": 3}
REFINE = 6  # steps
SHARE_SECONDS = 30  # of one request, on this page
TRANSFER_SECONDS = 10  # of a small request apart from turns: to send, to note and to fetch files
SIDE = 1024  # px on the long side
SIZES = {"small": (40, 60), "middle": (300, 200), "large": (900, 1300)}


@dataclass(frozen=True)
class Case:
    """A file that a visitor sends, and the expected result."""

    path: Path
    report: Reconstruction | None = None  # with the file and its picture
    refined: bytes = b""  # the refined file; empty where it is not refined
    refusal: str = ""  # part of the expected message


@dataclass
class Visit:
    """One visitor, who sends files of its own in random order."""

    name: str
    address: str
    headers: dict[str, str]
    cases: list[Case]
    random: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    waits: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # seconds of each action

    def go_on(self, until: float) -> None:
        """Do everything once, in any order, and go on until the time is over."""
        client = program(self.address, visitor=self.name, headers=self.headers)
        once = self.random.sample([*WEIGHTS], len(WEIGHTS))
        while once or time.monotonic() < until:
            (action,) = once[-1:] or self.random.choices([*WEIGHTS], [*WEIGHTS.values()])
            start = time.monotonic()
            try:
                self.act(client, action)
            except QueueError:
                self.counts["queue full"] += 1
                time.sleep(self.random.uniform(0.2, 1))
                continue
            self.counts[action] += 1
            self.waits[action].append(time.monotonic() - start)
            once = once[:-1]
        client.close()

    def act(self, client: Client, action: str) -> None:
        kinds = {"shown": ".png", "opened": ".rae"}
        cases = [case for case in self.cases if case.path.suffix == kinds.get(action, case.path.suffix)]
        if action == "left":
            self.leave(self.random.choice(cases))
        elif action == "batch":
            self.batch()
        elif action == "refused":
            case = self.random.choice([case for case in cases if case.refusal])
            self.open(client, case) if case.path.suffix == ".rae" else self.show(client, case)
        elif action == "refined":
            case = self.random.choice([case for case in cases if case.refined])
            file, _ = client.predict(handle_file(case.path), True, 80, 0, SIDE, REFINE, api_name="/compress")
            assert fetch(file) == case.refined
        elif action == "small":
            self.show(client, next(case for case in cases if case.refined))
        else:
            case = self.random.choice([case for case in cases if not case.refusal])
            self.open(client, case) if action == "opened" else self.show(client, case)

    def show(self, client: Client, case: Case) -> None:
        self.ask(client, case, True, 80, SIDE, 0, api_name="/reconstruct")

    def open(self, client: Client, case: Case) -> None:
        self.ask(client, case, api_name="/decompress")

    def ask(self, client: Client, case: Case, *settings: object, api_name: str) -> None:
        """Have a picture made of a file, unless it is refused as expected."""
        try:
            picture, _ = client.predict(handle_file(case.path), *settings, api_name=api_name)
        except AppError as error:
            if isinstance(error, QueueError) or not case.refusal or case.refusal not in str(error):
                raise
            return
        assert case.report
        assert np.array_equal(Image.open(io.BytesIO(fetch(picture)), formats=["PNG"]), case.report.decoding.pixels)

    def batch(self) -> None:
        """Compress all pictures in the tab Batch, and compare the table and the archive with what is expected."""
        pictures = [case for case in self.cases if case.path.suffix != ".rae"]
        with self.connect() as client:
            session = f"{self.name}-{self.random.random()}"
            asked = ask_for_batch(client, self.address, session, [case.path for case in pictures], SIDE)
            if asked.status_code == 503:
                raise QueueError(asked.text)
            asked.raise_for_status()
            last = next(message for message in heard(client, session) if message["msg"] == "process_completed")
            assert last["success"], last
            table, archive = (output["value"] for output in last["output"]["data"][2:])
            _, *rows = csv.reader(io.StringIO(fetch(table).decode("utf-8-sig")))
            files = zipfile.ZipFile(io.BytesIO(fetch(archive)))
        assert [row[0] for row in rows] == [case.path.name for case in pictures], last
        assert files.testzip() is None
        assert len(files.namelist()) == sum(case.report is not None for case in pictures)
        for number, (case, row) in enumerate(zip(pictures, rows, strict=True), start=1):
            if case.report and case.report.compressed:
                data = case.report.compressed.data
                assert files.read(f"{number:03}-{case.path.stem}.rae") == data
                assert [float(figure) for figure in (row[3], row[5])] == [len(data), round(case.report.psnr, 2)]
            else:
                assert case.refusal in row[-1]

    def connect(self) -> httpx.Client:
        base, cookies = f"{self.address}/gradio_api", {COOKIE: self.name}
        return httpx.Client(base_url=base, timeout=PATIENCE, cookies=cookies, headers=self.headers)

    def leave(self, case: Case) -> None:
        """Disconnect in the middle of an upload, or after requesting the work."""
        host, port = self.address.removeprefix("http://").split(":")
        if self.random.random() < 0.5:
            head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
            head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            head += 'Content-Disposition: form-data; name="files"; filename="half"\r\n\r\n'
            with socket.create_connection((host, int(port))) as half:
                half.sendall(head.encode() + case.path.read_bytes()[:20_000])
            return
        name, settings = (
            ("decompress", []) if case.path.suffix == ".rae" else ("reconstruct", [True, 80, SIDE, 0, *MORE])
        )
        with self.connect() as client:
            files = {"files": case.path.read_bytes()}
            (path,) = client.post("/upload", files=files).raise_for_status().json()
            file = {"path": path, "meta": {"_type": "gradio.FileData"}}
            asked = client.post(f"/call/{name}", json={"data": [file, *settings]})
            assert asked.status_code in (200, 503), asked.text
            if asked.is_success:
                with client.stream("GET", f"/call/{name}/{asked.json()['event_id']}"):
                    pass


def heard(client: httpx.Client, session: str) -> Iterator[dict[str, Any]]:
    """What the server says of the work of a session."""
    with client.stream("GET", "/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                message = json.loads(line.removeprefix("data:"))
                yield message
                if message["msg"] in ("process_completed", "close_stream"):
                    return


def fetch(file: dict[str, str]) -> bytes:
    """The content of a file among the results."""
    return httpx.get(file["url"], timeout=PATIENCE).raise_for_status().content


@pytest.fixture(scope="module")
def pipeline(checkpoint: Path) -> Pipeline:
    """With the weights as they are stored, which are rounded."""
    return Pipeline.open(checkpoint, "cpu")


@pytest.fixture(scope="module")
def bag(
    pipeline: Pipeline, smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], list[Case]]:
    """Makes the files of one visitor."""
    folder = tmp_path_factory.mktemp("visitors")

    def pack(number: int) -> list[Case]:
        cases = []
        for name, size in SIZES.items():
            if name == "large" and number % 5:
                continue
            height, width = size[0] + number, size[1] + 2 * number  # no two visitors have the same size
            data = write_png(smooth(height, width, number))
            path = folder / f"{number}-{name}.png"
            path.write_bytes(data)
            picture = fit(open_picture(data), SIDE)
            report = pipeline.reconstruct(picture, color=True, quality=80)
            assert report.compressed
            refined = pipeline.refine(picture, report.encoding, 80, REFINE).data if name == "small" else b""
            cases.append(Case(path, report, refined))
            rae = path.with_suffix(".rae")
            rae.write_bytes(report.compressed.data)
            cases.append(Case(rae, report))
        cut = folder / f"{number}-cut.png"
        cut.write_bytes(data[: len(data) // 2])
        cases.append(Case(cut, refusal="incomplete"))
        bent = folder / f"{number}-bent.rae"
        bent.write_bytes(report.compressed.data[:-5] + b"12345")
        cases.append(Case(bent, refusal="damaged or cut short"))
        page = folder / f"{number}-page.png"
        page.write_text(f"<html>{number}</html>")
        cases.append(Case(page, refusal="not a picture in PNG"))
        return cases

    return pack


def visited(service: Service, visits: list[Visit], seconds: float) -> None:
    with ThreadPoolExecutor(len(visits)) as pool:
        for done in [pool.submit(visit.go_on, time.monotonic() + seconds) for visit in visits]:
            done.result()
    settle(service)


def settle(service: Service) -> None:
    """Wait until all work has ended, even that of visitors who left."""
    while httpx.get(f"{service.address}/gradio_api/queue/status", timeout=PATIENCE).json()["queue_size"]:
        time.sleep(0.2)
    while any(child.cpu_percent(0.2) > 20 for child in service.process.children()):
        pass


def settled(service: Service) -> dict[str, int]:
    """The resources of the idle server. Its pool ends idle threads when it is used the next time."""
    time.sleep(IDLE)
    httpx.get(service.address, timeout=PATIENCE).raise_for_status()
    return footprint(service)


def judge_waits(service: Service, visits: list[Visit]) -> tuple[float, float]:
    """Assert that visitors take turns, and that a small request waits no longer than that makes it wait.

    Between a request and its turn, or from the last turn of its visitor on, every other visitor has at most one turn.
    So the longest turns of all visitors add up to the longest wait, and each is bounded by the share of a request.

    Returns:
        The longest wait of a small request, and what it may be, in seconds.
    """
    turns = [line.split()[1:] for line in service.log.read_text().splitlines() if line.startswith("turn ")]
    longest: defaultdict[str, float] = defaultdict(float)
    for address, seconds, meanwhile, others in turns:
        assert meanwhile == others
        longest[address] = max(longest[address], float(seconds))
    assert len(longest) == len(visits)
    assert max(longest.values()) < TOLERANCE * SHARE_SECONDS
    wait, bound = max(wait for visit in visits for wait in visit.waits["small"]), sum(longest.values())
    assert wait < bound + TRANSFER_SECONDS
    return wait, bound


def footprint(service: Service) -> dict[str, int]:
    process = service.process
    children = process.children(recursive=True)
    return {
        "memory": process.memory_info().rss,
        "threads": process.num_threads(),
        "processes": len(children),
        "descriptors": process.num_fds(),
    }


@pytest.fixture
def service(tmp_path: Path, checkpoint: Path, pipeline: Pipeline) -> Iterator[Service]:
    bfloat16 = preferred_float(pipeline.engine.device) == torch.bfloat16
    shares = {VARIABLE: str(SHARE_SECONDS), "FORWARDED_ALLOW_IPS": "127.0.0.1"}
    with serving(tmp_path, checkpoint, APP.format(bfloat16=bfloat16, sweep=SWEEP), **shares) as service:
        yield service


def visitors(service: Service, bags: list[list[Case]], seed: int) -> list[Visit]:
    """Visitors behind one proxy, each with an address of its own."""
    visits = []
    for number, packed in enumerate(bags):
        headers = {"x-forwarded-for": f"192.0.2.{number}"}
        visits.append(Visit(f"visitor {number}", service.address, headers, packed, random.Random(seed + number)))
    return visits


def test_a_few_visitors(service: Service, bag: Callable[[int], list[Case]]) -> None:
    visits = visitors(service, [bag(number) for number in range(4)], 0)
    visited(service, visits, 3)
    judge_waits(service, visits)
    assert footprint(service)["processes"] == 1  # that waits for the next picture
    assert "Traceback" not in service.log.read_text()


@pytest.mark.long
def test_load_of_30_visitors(
    service: Service, bag: Callable[[int], list[Case]], capsys: pytest.CaptureFixture[str]
) -> None:
    bear(service, bag, capsys, 600)


@pytest.mark.long
def test_soak_of_an_hour(
    service: Service, bag: Callable[[int], list[Case]], capsys: pytest.CaptureFixture[str]
) -> None:
    bear(service, bag, capsys, 3600)


def bear(
    service: Service, bag: Callable[[int], list[Case]], capsys: pytest.CaptureFixture[str], seconds: float
) -> None:
    """Let visitors come twice, and compare what the server uses afterwards."""
    seconds = float(os.environ.get("RESIDAE_LOAD_SECONDS", seconds))
    bags = [bag(number) for number in range(int(os.environ.get("RESIDAE_LOAD_VISITORS", "30")))]
    visited(service, visitors(service, bags, 0), seconds / 5)
    warm = settled(service)
    visits = visitors(service, bags, 100)
    visited(service, visits, seconds * 4 / 5)
    after = settled(service)
    counts = sum((visit.counts for visit in visits), Counter())
    asked = [action for action in WEIGHTS if action not in ("batch", "left")]
    waits = np.array([wait for visit in visits for action in asked for wait in visit.waits[action]])
    longest, bound = judge_waits(service, visits)
    with capsys.disabled():
        print(
            f"\n{dict(counts)}\nwaits: median {np.median(waits):.1f} s, p95 {np.percentile(waits, 95):.1f} s, ", end=""
        )
        print(f"longest {waits.max():.1f} s, of small pictures {longest:.1f} s of at most {bound:.1f} s")
        print(f"warm  {warm}\nafter {after}")
    assert "Traceback" not in service.log.read_text()
    assert after["memory"] <= 1.1 * warm["memory"]
    assert after["processes"] == warm["processes"] == 1
    assert after["threads"] <= warm["threads"] + 5  # which torch and asyncio start when they first need them
    assert after["descriptors"] <= warm["descriptors"] + 5  # connections that are being closed
    ours = {Path(path).name for path in residae.examples.paths()}
    deadline = time.monotonic() + sum(SWEEP) + PATIENCE
    while (
        left := {name for _, _, names in os.walk(service.files) for name in names} - ours
    ):  # a sweep may go on meanwhile
        assert time.monotonic() < deadline, left
        time.sleep(1)
