"""The project runs as on a Space: without root, without a network, and from a folder that it cannot write to."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image
from service import program

from residae.deploy import plan_uploads
from residae.image import Picture, Pixels
from residae.pipeline import Pipeline

OFFLINE = """
import os, socket
real_connect, real_lookup = socket.socket.connect, socket.getaddrinfo

def tell(address):
    with open(os.environ["CONNECTIONS"], "a") as file:
        print(address, file=file)
    raise OSError("there is no network")

def connect(self, address):
    local = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1")
    return real_connect(self, address) if local else tell(address)

def lookup(host, *more, **named):
    return real_lookup(host, *more, **named) if host in (None, "127.0.0.1", "localhost") else tell(host)

socket.socket.connect, socket.getaddrinfo = connect, lookup
"""


def _as_nobody() -> list[str]:
    """The start of a command line that runs a command as an unprivileged user."""
    if os.getuid():
        return []  # not root
    read_all = "+dac_read_search"  # for an interpreter in a folder that only root can read
    capabilities = [f"--bounding-set=-all,{read_all}", f"--inh-caps=-all,{read_all}", f"--ambient-caps={read_all}"]
    for extra in ([], capabilities):
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *extra]
        attempt = [*command, sys.executable, "-c", "import numpy"]
        if subprocess.run(attempt, capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("root may not become nobody here")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any user can read, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def space(place: Path) -> Iterator[tuple[str, int]]:
    """Address and process of a deployed Space, whose code folder is read-only and whose HOME is elsewhere."""
    code, home, guard = place / "code", place / "home", place / "guard"
    (upload,) = plan_uploads("owner/name", model=False)
    for name, content in upload.files.items():
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    for path in (code, *code.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    home.mkdir()
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(OFFLINE)
    home.chmod(0o777)
    nobody = _as_nobody()
    assert subprocess.run([*nobody, "touch", code / "file"], capture_output=True, check=False).returncode != 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONPATH": str(guard),
        "CONNECTIONS": str(home / "connections"),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
    }
    with (place / "log").open("w") as log:
        command = [*nobody, sys.executable, "app.py"]
        app = subprocess.Popen(command, cwd=code, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(480):
            assert app.poll() is None, (place / "log").read_text()
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.25)
        else:
            pytest.fail(f"the Space does not answer: {(place / 'log').read_text()}")
        yield address, app.pid
    finally:
        app.terminate()
        app.wait(30)


def _tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.skipif(sys.platform != "linux", reason="a Space is a Linux machine")
def test_a_space_needs_neither_root_nor_network_and_writes_only_at_home(
    space: tuple[str, int], place: Path, smooth: Callable[[int, int, int], Pixels], tmp_path: Path
) -> None:
    address, process = space
    before = _tree(place / "code")
    assert Path(f"/proc/{process}").stat().st_uid != 0

    report = Pipeline.open().reconstruct(Picture(smooth(48, 64, 0), (), None), color=True, quality=80)
    assert report.compressed
    (tmp_path / "picture.rae").write_bytes(report.compressed.data)
    client = program(address, tmp_path / "answers")
    opened, _ = client.predict(handle_file(tmp_path / "picture.rae"), api_name="/decompress")
    with Image.open(opened) as picture:
        off = np.abs(np.asarray(picture, np.int16) - report.decoding.pixels)
    assert off.max() <= 1

    assert not (place / "home" / "connections").exists(), (place / "home" / "connections").read_text()
    assert _tree(place / "code") == before
    assert "Traceback" not in (place / "log").read_text()
