"""What breaks around the work: each fault is told in a sentence, costs nothing that was finished, and is soon over."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from service import ROOT, Service, serving
from test_sandbox import ENDLESS

from residae.codec import inspect
from residae.errors import CheckpointError
from residae.image import Picture, Pixels, write_png
from residae.sandbox import ENDED
from residae.session import Laboratory

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform != "linux", reason="these faults are made as Linux makes them"),
]

# The app with taps: a file of a fault's name in the folder FAULTS makes it, once or for as long as the file is there.
TAPPED = """
import errno, os, shutil, torch
from pathlib import Path
from PIL import Image
from residae.engine import Engine
from residae.ui import desk
import app

desk.warm_up = lambda: None  # our own pictures must not walk into what is meant for a visitor's
faults = Path(os.environ["FAULTS"])
run, usage, save = Engine._run, shutil.disk_usage, Image.Image.save

def hungry(self, stages, array, progress):
    def more_than_there_is(x, progress):
        return torch.empty(2**50)
    try:
        (faults / "memory").unlink()
    except FileNotFoundError:
        return run(self, stages, array, progress)
    return run(self, [more_than_there_is, *stages], array, progress)

def full(folder):
    return usage(folder)._replace(free=0) if (faults / "disk").exists() else usage(folder)

def lost(*arguments, **named):
    if (faults / "write").exists():
        raise OSError(errno.ENOSPC, "No space left on device")
    return save(*arguments, **named)

Engine._run, shutil.disk_usage, Image.Image.save = hungry, full, lost
app.main()
"""


@pytest.fixture(scope="module")
def weights(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that can be spared."""
    return Path(shutil.copytree(checkpoint, tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def service(weights: Path, faults: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), weights, TAPPED, FAULTS=str(faults)) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Client:
    return Client(service.address, verbose=False, download_files=False, analytics_enabled=False)


@pytest.fixture(scope="module")
def photograph(smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "photograph.png"
    path.write_bytes(write_png(smooth(90, 120, 5)))
    return path


def status(client: Client, path: Path) -> str:
    """What a picture has come to: its figures, or a sentence."""
    try:
        return str(client.predict(handle_file(path), True, 80, 1024, api_name="/reconstruct")[1])
    except AppError as error:
        return str(error)


# --- The page ---


def test_a_decoder_that_is_killed_at_work(service: Service, client: Client, photograph: Path, tmp_path: Path) -> None:
    endless = tmp_path / "endless.jpg"
    endless.write_bytes(ENDLESS)
    job = client.submit(handle_file(endless), True, 80, 1024, api_name="/reconstruct")
    while not job.done():  # whichever process is at it
        for child in service.process.children():
            if child.cpu_times().user > 1:
                child.kill()
        time.sleep(0.05)
    with pytest.raises(AppError, match=ENDED):
        job.result()
    assert "psnr" in status(client, photograph)


def test_a_model_that_finds_no_memory(client: Client, faults: Path, photograph: Path) -> None:
    (faults / "memory").touch()
    assert "takes more memory than there is" in status(client, photograph)
    assert "psnr" in status(client, photograph)


def test_a_disk_that_is_full(client: Client, faults: Path, photograph: Path) -> None:
    (faults / "disk").touch()
    with pytest.raises(Exception, match="507"):
        status(client, photograph)
    (faults / "disk").unlink()
    assert "psnr" in status(client, photograph)


def test_a_result_that_cannot_be_written(client: Client, faults: Path, photograph: Path) -> None:
    """The disk is full all of a sudden: Gradio, which writes the results, has an error of its own for that."""
    assert "psnr" in status(client, photograph)
    (faults / "write").touch()
    with pytest.raises(Exception, match="has raised an exception"):
        client.predict(handle_file(photograph), False, 77, 1024, api_name="/reconstruct")
    (faults / "write").unlink()
    assert "psnr" in status(client, photograph)


def test_weights_that_are_cut_and_deleted_under_the_running_page(
    client: Client, weights: Path, photograph: Path
) -> None:
    before = status(client, photograph)
    (file,) = weights.glob("model*.safetensors")
    os.truncate(file, file.stat().st_size // 2)
    assert status(client, photograph) == before
    shutil.rmtree(weights)
    assert status(client, photograph) == before


def test_weights_that_are_cut_before_they_are_loaded(checkpoint: Path, photograph: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copytree(checkpoint, tmp_path / "tiny"))
    (file,) = weights.glob("model*.safetensors")
    os.truncate(file, file.stat().st_size // 2)
    with serving(tmp_path, weights) as service:
        client = Client(service.address, verbose=False, download_files=False, analytics_enabled=False)
        assert "is damaged or not a safetensors file" in status(client, photograph)
        shutil.copy(checkpoint / file.name, file)
        assert "psnr" in status(client, photograph)
        with pytest.raises(AppError, match=r"not a \.rae file"):
            client.predict(handle_file(photograph), api_name="/decompress")


def test_weights_that_go_under_a_laboratory(checkpoint: Path, tmp_path: Path, picture: Picture) -> None:
    weights = Path(shutil.copytree(checkpoint, tmp_path / "tiny"))
    laboratory = Laboratory.open(weights, "cpu")
    before = laboratory.encode(picture, color=True).latents
    (file,) = weights.glob("model*.safetensors")
    os.truncate(file, 100)
    after = laboratory.encode(picture, color=True).latents
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(CheckpointError, match="damaged"):
        Laboratory.open(weights, "cpu")


# --- The command line ---


@pytest.fixture
def batch(smooth: Callable[[int, int, int], Pixels], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(write_png(smooth(64, 48, number)))
    return paths


def command(checkpoint: Path, preparation: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, after some preparation."""
    code = f"{preparation}\nimport sys\nfrom residae.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--checkpoint", str(checkpoint)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


STOPPED_WHILE_WRITING = """
import os, signal
from pathlib import Path
write, written = Path.write_bytes, []

def half(path, data):
    written.append(path)
    if len(written) < 2:
        return write(path, data)
    write(path, data[: len(data) // 2])
    os.kill(os.getpid(), signal.{})
    return write(path, data)

Path.write_bytes = half
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_batch_that_is_stopped_while_it_writes(checkpoint: Path, batch: list[Path], number: signal.Signals) -> None:
    done = command(checkpoint, STOPPED_WHILE_WRITING.format(number.name), "compress", *batch)
    assert done.returncode == 128 + number
    assert "Traceback" not in done.stderr
    folder = batch[0].parent
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "0.rae", "1.png", "2.png"]
    assert inspect((folder / "0.rae").read_bytes()).width == 48


def test_a_batch_that_is_stopped_at_work(checkpoint: Path, batch: list[Path]) -> None:
    """From outside, at no chosen moment."""
    arguments = ["-m", "residae", "compress", *map(str, batch * 400), "--force", "--checkpoint", str(checkpoint)]
    arguments += ["-o", str(batch[0].parent / "out")]
    work = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    out = batch[0].parent / "out"
    out.mkdir()
    while not list(out.iterdir()):
        time.sleep(0.02)
    work.terminate()
    _, errors = work.communicate()
    assert work.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in errors
    for path in out.iterdir():
        assert inspect(path.read_bytes()).height == 64
        assert not path.name.startswith(".")


def test_a_disk_that_is_full_under_the_command_line(checkpoint: Path, batch: list[Path]) -> None:
    """A bound on the size of files stands in for it: the write itself fails, in the middle."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))"
    done = command(checkpoint, limit, "compress", *batch)
    assert done.returncode == 1
    assert done.stderr.count("cannot be written: File too large.") == len(batch)
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in batch[0].parent.iterdir()) == ["0.png", "1.png", "2.png"]
