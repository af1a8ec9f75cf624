"""Many visitors at once: each gets the answer to its own picture, and the server is afterwards what it was before.

The short run is a few visitors for some seconds. `python -m pytest -m long -k load` is 30 for two minutes, and prints
what it counted.
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
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from PIL import Image
from service import Service, serving

import residae.examples
from residae.image import Picture, Pixels, fit, open_picture, write_png
from residae.session import Laboratory

pytestmark = pytest.mark.usefixtures("one_thread")

FORGETS = (5, 60)  # s: files are soon old, if not before the slowest visitor has seen them
# With a log of what was not foreseen alone.
QUIET = f"""
import logging
import residae.ui.server as server
logging.getLogger("residae.sandbox").setLevel("CRITICAL")
server.DELETE_CACHE = {FORGETS}
import app
app.main()
"""
SIDE = 1024  # px on the long side that are worked on
SIZES = {"small": (40, 60), "middle": (300, 200), "large": (900, 1300)}


def alike(found: Pixels, expected: Pixels) -> bool:
    """The same but for the precision, of which each process makes its own choice. Other visitors' have other sizes."""
    return found.shape == expected.shape and bool(np.abs(found.astype(int) - expected).mean() < 2)


@dataclass(frozen=True)
class Case:
    """A file that a visitor sends, and what is to come of it."""

    path: Path
    rebuilt: Pixels | None = None
    words: str = ""  # of the refusal


@dataclass
class Visit:
    """One visitor, who sends its own files only, in an order of its own."""

    address: str
    cases: list[Case]
    left: Path  # what is asked for and not waited for: Gradio writes over a result that somebody may be reading
    random: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    longest: float = 0

    def go_on(self, until: float) -> None:
        client = Client(self.address, verbose=False, download_files=False, analytics_enabled=False)
        while time.monotonic() < until:
            case = self.random.choice(self.cases)
            if self.random.random() < 0.15:
                self.leave()
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
        rebuilt = self.answer(client, case, True, 80, SIDE, api_name="/reconstruct")
        if rebuilt is not None:
            assert case.rebuilt is not None
            assert alike(rebuilt, case.rebuilt)
            self.counts["shown"] += 1

    def open(self, client: Client, case: Case) -> None:
        opened = self.answer(client, case, api_name="/decompress")
        if opened is not None:
            assert case.rebuilt is not None
            assert alike(opened, case.rebuilt)
            self.counts["opened"] += 1

    def answer(self, client: Client, case: Case, *settings: object, api_name: str) -> Pixels | None:
        """The picture that comes back, if one does; else the refusal is the one that the case foresees."""
        try:
            picture, _ = client.predict(handle_file(case.path), *settings, api_name=api_name)
        except AppError as error:
            if isinstance(error, QueueError) or not case.words or case.words not in str(error):
                raise
            self.counts["refused"] += 1
            return None
        assert not case.words
        return self.fetch(picture)

    def fetch(self, picture: dict[str, str]) -> Pixels:
        data = httpx.get(picture["url"], timeout=60).raise_for_status().content
        return np.asarray(Image.open(io.BytesIO(data), formats=["PNG"]))

    def leave(self) -> None:
        """Go away: in the middle of an upload, or once the work has been asked for."""
        self.counts["left"] += 1
        host, port = self.address.removeprefix("http://").split(":")
        if self.random.random() < 0.5:
            head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
            head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            head += 'Content-Disposition: form-data; name="files"; filename="half"\r\n\r\n'
            with socket.create_connection((host, int(port))) as half:
                half.sendall(head.encode() + self.left.read_bytes()[:20_000])
            return
        with httpx.Client(base_url=f"{self.address}/gradio_api", timeout=60) as client, self.left.open("rb") as file:
            (path,) = client.post("/upload", files={"files": file}).raise_for_status().json()
            data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
            asked = client.post("/call/decompress", json=data)
            assert asked.status_code in (200, 503), asked.text
            if asked.is_success:
                with client.stream("GET", f"/call/decompress/{asked.json()['event_id']}"):
                    pass


@pytest.fixture(scope="module")
def bag(
    laboratory: Laboratory, smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], tuple[list[Case], Path]]:
    """Packs the files of one visitor: the cases, and what it leaves behind."""
    folder = tmp_path_factory.mktemp("visitors")

    def pack(number: int) -> tuple[list[Case], Path]:
        cases = []
        for name, size in SIZES.items():
            if name == "large" and number % 5:
                continue
            height, width = size[0] + number, size[1] + 2 * number  # no two visitors share one
            data = write_png(smooth(height, width, number))
            path = folder / f"{number}-{name}.png"
            path.write_bytes(data)
            report = laboratory.examine(fit(open_picture(data), SIDE), color=True, quality=80)
            cases.append(Case(path, report.decoding.pixels))
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
        left = folder / f"{number}-left.rae"
        other = laboratory.encode(Picture(smooth(500 + number, 300, number), (), None), color=True)
        left.write_bytes(laboratory.compress(other, 80).data)
        return cases, left

    return pack


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


def test_a_few_visitors(tmp_path: Path, checkpoint: Path, bag: Callable[[int], tuple[list[Case], Path]]) -> None:
    with serving(tmp_path, checkpoint, QUIET) as service:
        visits = [Visit(service.address, *bag(number), random.Random(number)) for number in range(4)]
        visited(service, visits, 8)
        assert footprint(service)["processes"] == 1  # which waits for the next picture
        assert "Traceback" not in service.log.read_text()
    counts = sum((visit.counts for visit in visits), Counter())
    assert {"shown", "opened", "refused", "left"} <= counts.keys()


@pytest.mark.long
def test_load_of_30_visitors(
    tmp_path: Path,
    checkpoint: Path,
    bag: Callable[[int], tuple[list[Case], Path]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bags = [bag(number) for number in range(30)]
    with serving(tmp_path, checkpoint, QUIET) as service:
        first = [Visit(service.address, *packed, random.Random(number)) for number, packed in enumerate(bags)]
        visited(service, first, 30)
        warm = footprint(service)
        visits = [Visit(service.address, *packed, random.Random(100 + number)) for number, packed in enumerate(bags)]
        visited(service, visits, 120)
        after = footprint(service)
        time.sleep(sum(FORGETS))
        left = {path.name for path in service.files.rglob("*") if path.is_file()}
        log = service.log.read_text()
    counts = sum((visit.counts for visit in visits), Counter())
    longest = max(visit.longest for visit in visits)
    with capsys.disabled():
        print(f"\n{dict(counts)}; longest {longest:.1f} s\nwarm  {warm}\nafter {after}")
    assert {"shown", "opened", "refused", "left", "told that the queue is full"} <= counts.keys()
    assert "Traceback" not in log
    assert after["memory"] <= 1.1 * warm["memory"]
    assert after["processes"] == warm["processes"] == 1
    assert after["threads"] <= warm["threads"]
    assert after["descriptors"] <= warm["descriptors"] + 5  # connections that are just being closed
    assert left <= {Path(path).name for path in residae.examples.paths()}
