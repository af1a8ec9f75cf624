"""The real app in a process of its own, with weights of the test's choosing."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from gradio_client import Client

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300  # s; the machine may be busy


@dataclass
class Service:
    address: str  # without a slash at its end
    process: psutil.Process
    files: Path  # where its uploads and results are
    log: Path


def program(address: str, answers: Path | Literal[False] = False) -> Client:
    """A program that uses the page's endpoints. It fetches files among the answers where it has a folder for them."""
    return Client(
        address,
        verbose=False,
        download_files=answers,
        analytics_enabled=False,
        httpx_kwargs={"timeout": PATIENCE},
    )


@contextmanager
def serving(
    folder: Path, checkpoint: Path, code: str = "import app; app.main()", **environment: str
) -> Iterator[Service]:
    """The app while the block runs; `code` starts it, `folder` is for what it writes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "files"),
        "CUDA_VISIBLE_DEVICES": "",  # what tests expect was worked out on the CPU
        "RESIDAE_CHECKPOINT": str(checkpoint),
        "OMP_NUM_THREADS": "1",  # the networks of tests are tiny
    }
    with (folder / "log").open("wb") as log:
        app = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | settings | environment, stdout=log, stderr=log
        )
    service = Service(f"http://127.0.0.1:{port}", psutil.Process(app.pid), folder / "files", folder / "log")
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert app.poll() is None, service.log.read_text()
            assert time.monotonic() < deadline, service.log.read_text()
            try:
                urllib.request.urlopen(service.address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield service
    finally:
        app.terminate()
        app.wait(30)
