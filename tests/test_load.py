"""Many visitors at once: each gets the answer to its own picture, and the server is afterwards what it was before.

The short run is a few visitors for some seconds. `python -m pytest -m long -k load` is 30 for two minutes, and prints
what it counted. What it holds the server to is in `check`.
"""

import io
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError
from PIL import Image
from service import Service, serving

from residae.image import Pixels, fit, open_picture, write_png
from residae.session import Laboratory

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 1024  # px on the long side that are worked on
SIZES = {"small": (40, 60), "middle": (300, 200), "large": (900, 1300)}


def alike(found: Pixels, expected: Pixels) -> bool:
    """The same but for the precision, of which each process makes its own choice. Others' pictures are far off."""
    return found.shape == expected.shape and bool(np.abs(found.astype(int) - expected).mean() < 2)


@dataclass(frozen=True)
class Case:
    """A file that a visitor sends, and what is to come of it."""

    path: Path
    shown: Pixels | None = None  # the picture as the page shows it; None for a .rae
    rebuilt: Pixels | None = None
    words: str = ""  # of the refusal


@dataclass
class Visit:
    """One visitor, who sends its own files only, in an order of its own."""

    address: str
    cases: list[Case]
    random: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    longest: float = 0

    def go_on(self, until: float) -> None:
        client = Client(self.address, verbose=False, download_files=False, analytics_enabled=False)
        while time.monotonic() < until:
            case = self.random.choice(self.cases)
            if self.random.random() < 0.15:
                self.leave(case)
                continue
            start = time.monotonic()
            try:
                self.open(client, case) if case.path.suffix == ".rae" else self.show(client, case)
                self.longest = max(self.longest, time.monotonic() - start)
            except QueueError:
                self.counts["told that the queue is full"] += 1
                time.sleep(self.random.uniform(0.2, 1))
        client.close()

    def show(self, client: Client, case: Case) -> None:
        client.predict(handle_file(case.path), api_name="/take")
        status, *answer = client.predict(True, SIDE, 80, False, api_name="/show_1")
        if case.words:
            assert case.words in status
            self.counts["refused"] += 1
            return
        assert case.shown is not None
        assert case.rebuilt is not None
        assert np.array_equal(self.fetch(answer[10]), case.shown)
        assert alike(self.fetch(answer[1]), case.rebuilt)
        self.counts["shown"] += 1

    def open(self, client: Client, case: Case) -> None:
        _, opened, figures = client.predict(handle_file(case.path), api_name="/open")
        if case.words:
            assert case.words in figures
            self.counts["refused"] += 1
            return
        assert case.rebuilt is not None
        assert alike(self.fetch(opened), case.rebuilt)
        self.counts["opened"] += 1

    def fetch(self, picture: dict[str, str]) -> Pixels:
        data = httpx.get(picture["url"], timeout=60).raise_for_status().content
        return np.asarray(Image.open(io.BytesIO(data), formats=["PNG"]))

    def leave(self, case: Case) -> None:
        """Go away: in the middle of an upload, or once the work has been asked for."""
        self.counts["left"] += 1
        host, port = self.address.removeprefix("http://").split(":")
        if self.random.random() < 0.5:
            head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
            head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            head += 'Content-Disposition: form-data; name="files"; filename="half"\r\n\r\n'
            with socket.create_connection((host, int(port))) as half:
                half.sendall(head.encode() + case.path.read_bytes()[:20_000])
            return
        with httpx.Client(base_url=f"{self.address}/gradio_api", timeout=60) as client, case.path.open("rb") as file:
            (path,) = client.post("/upload", files={"files": file}).raise_for_status().json()
            data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
            asked = client.post("/call/open", json=data)
            assert asked.status_code in (200, 503), asked.text
            if asked.is_success:
                with client.stream("GET", f"/call/open/{asked.json()['event_id']}"):
                    pass


@pytest.fixture(scope="module")
def cases_of(
    laboratory: Laboratory, smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], list[Case]]:
    """The files of one visitor."""
    folder = tmp_path_factory.mktemp("visitors")

    def make(number: int) -> list[Case]:
        cases = []
        for name, size in SIZES.items():
            if name == "large" and number % 5:
                continue
            data = write_png(smooth(*size, seed=100 * number + size[0]))
            path = folder / f"{number}-{name}.png"
            path.write_bytes(data)
            report = laboratory.examine(fit(open_picture(data), SIDE), color=True, quality=80)
            cases.append(Case(path, report.original, report.decoding.pixels))
            assert report.compressed
            rae = path.with_suffix(".rae")
            rae.write_bytes(report.compressed.data)
            cases.append(Case(rae, rebuilt=report.decoding.pixels))
        cut = folder / f"{number}-cut.png"
        cut.write_bytes(data[: len(data) // 2])
        cases.append(Case(cut, words="damaged, cut short"))
        bent = folder / f"{number}-bent.rae"
        bent.write_bytes(report.compressed.data[:-5] + b"12345")
        cases.append(Case(bent, words="damaged or cut short"))
        page = folder / f"{number}-page.png"
        page.write_text(f"<html>{number}</html>")
        cases.append(Case(page, words="not a picture in one of the formats"))
        return cases

    return make


def visited(service: Service, visits: list[Visit], seconds: float) -> None:
    with ThreadPoolExecutor(len(visits)) as pool:
        for done in [pool.submit(visit.go_on, time.monotonic() + seconds) for visit in visits]:
            done.result()
    settle(service)


def settle(service: Service) -> None:
    """Until nothing is worked on any more, even for those who left."""
    while httpx.get(f"{service.address}/gradio_api/queue/status", timeout=60).json()["queue_size"]:
        time.sleep(0.2)
    while any(child.cpu_percent(0.2) > 20 for child in service.process.children()):
        pass


def footprint(service: Service) -> dict[str, int]:
    process = service.process
    children = process.children(recursive=True)
    return {
        "memory": process.memory_info().rss,
        "threads": process.num_threads(),
        "processes": len(children),
        "descriptors": process.num_fds(),
    }


def test_a_few_visitors(tmp_path: Path, checkpoint: Path, cases_of: Callable[[int], list[Case]]) -> None:
    with serving(tmp_path, checkpoint) as service:
        visits = [Visit(service.address, cases_of(number), random.Random(number)) for number in range(4)]
        visited(service, visits, 8)
        assert footprint(service)["processes"] == 1  # which waits for the next picture
        assert "Traceback" not in service.log.read_text()
    counts = sum((visit.counts for visit in visits), Counter())
    assert {"shown", "opened", "refused", "left"} <= counts.keys()


QUICK_TO_FORGET = "import residae.ui.server as server; server.DELETE_CACHE = (5, 60); import app; app.main()"


@pytest.mark.long
def test_load_of_30_visitors(
    tmp_path: Path,
    checkpoint: Path,
    cases_of: Callable[[int], list[Case]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    all_cases = [cases_of(number) for number in range(30)]
    with serving(tmp_path, checkpoint, QUICK_TO_FORGET) as service:
        before = [Visit(service.address, cases, random.Random(number)) for number, cases in enumerate(all_cases)]
        visited(service, before, 30)
        warm = footprint(service)
        kept = {path for path in service.files.rglob("*") if path.is_file()}
        visits = [Visit(service.address, cases, random.Random(99 + number)) for number, cases in enumerate(all_cases)]
        visited(service, visits, 120)
        after = footprint(service)
        files = [path for path in service.files.rglob("*") if path.is_file()]
        time.sleep(75)
        old = [path for path in service.files.rglob("*") if path.is_file()]
    counts = sum((visit.counts for visit in visits), Counter())
    with capsys.disabled():
        print(f"\n{dict(counts)}; longest {max(visit.longest for visit in visits):.1f} s")
        print(f"warm {warm}, after {after}; files {len(kept)}, {len(files)}, {len(old)} {old[:9]}")
        print(service.log.read_text()[-1000:])
