"""The app in a separate process, with the weights that a test chooses."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import psutil
import pytest
from gradio_client import Client

from residae.ui.controls import QUALITY
from residae.ui.guard import COOKIE

# Every kind of proxy, certificates that are gone, and a folder that Gradio is told to open to visitors.
HOSTILE = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "NO_PROXY": "",
    "SSL_CERT_FILE": "/nonexistent.pem",
    "GRADIO_ALLOWED_PATHS": "/",
}
ROOT = Path(__file__).resolve().parent.parent
MORE = (0, "", "", False, "", "", "", 0, 0, None, 0.5)  # what /reconstruct takes beyond refine, as if it were left out
PATIENCE = 300  # seconds until a test gives up; long, because the machine may be busy


@dataclass
class Service:
    """The running app.

    Attributes:
        address: Its URL, without a slash at the end.
        process: Its process.
        files: The folder of its uploads and results.
        log: The file with its stdout and stderr.
    """

    address: str
    process: psutil.Process
    files: Path
    log: Path


def program(
    address: str, answers: Path | Literal[False] = False, visitor: str = "", headers: dict[str, str] | None = None
) -> Client:
    """A client of the page's endpoints.

    Args:
        address: Of the service.
        answers: A folder to which to download the files among the answers.
        visitor: The guard's cookie; programs without one are one visitor.
        headers: Further headers of each request.
    """
    return Client(
        address,
        verbose=False,
        headers=({"cookie": f"{COOKIE}={visitor}"} if visitor else {}) | (headers or {}),
        download_files=answers,
        analytics_enabled=False,
        httpx_kwargs={"timeout": PATIENCE},
    )


def ask_for_batch(
    client: httpx.Client, address: str, session: str, pictures: Sequence[Path], side: int = 0
) -> httpx.Response:
    """Upload pictures and have them compressed at quality 80 in the tab Batch, as the page does.

    Args:
        client: Its URLs begin with that of the API.
        address: Of the service.
        session: A name that the page gives itself; `/queue/data` has the news of its work.
        pictures: Their files.
        side: Working size; 0 for that of the pictures.

    Returns:
        The answer to the request to compress them.
    """
    files = [("files", (path.name, path.read_bytes())) for path in pictures]
    paths = client.post("/upload", files=files).raise_for_status().json()
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    config = client.get(f"{address}/config").raise_for_status().json()
    (event,) = (fn["id"] for fn in config["dependencies"] if fn["api_name"] == "compress_all")
    checkpoint = next(c["props"]["value"] for c in config["components"] if c["props"].get("elem_id") == "checkpoint")
    settings = [checkpoint, True, side, 1, QUALITY, 80, None, 0]
    return client.post("/queue/join", json={"fn_index": event, "session_hash": session, "data": [data, *settings]})


def assert_withstands(service: Service) -> None:
    """Assert that a page started in the environment HOSTILE answers, opens no folder, and says what is wrong."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert opener.open(service.address, timeout=60).status == 200
    with pytest.raises(urllib.error.HTTPError, match="403"):
        opener.open(f"{service.address}/gradio_api/file=/etc/passwd", timeout=60)
    log = service.log.read_text()
    assert "SSL_CERT_FILE names /nonexistent.pem, which is not there" in log
    assert "Traceback" not in log


@contextmanager
def serving(
    folder: Path, checkpoint: Path, code: str = "import app; app.main()", **environment: str
) -> Iterator[Service]:
    """Run the app while the block runs.

    Args:
        folder: Where the app writes its files and its log.
        checkpoint: The folder of its weights.
        code: Python code that starts it.
        environment: Further environment variables.
    """
    host = environment.get("GRADIO_SERVER_NAME", "127.0.0.1")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    settings = {
        "GRADIO_SERVER_NAME": host,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "files"),
        "CUDA_VISIBLE_DEVICES": "",  # the expected results are computed on the CPU
        "RESIDAE_CHECKPOINT": str(checkpoint),
    }
    with (folder / "log").open("wb") as log:
        app = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | settings | environment, stdout=log, stderr=log
        )
    url_host = "[::1]" if ":" in host else host
    service = Service(f"http://{url_host}:{port}", psutil.Process(app.pid), folder / "files", folder / "log")
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
