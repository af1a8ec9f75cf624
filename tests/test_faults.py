"""Faults around the work: each gives one sentence, loses nothing that was finished, and does not last."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from service import PATIENCE, ROOT, Service, program, serving
from test_process import ENDLESS

from residae.codec import read_info
from residae.engine import preferred_float
from residae.errors import CheckpointError
from residae.heatmaps import where_error
from residae.image import Picture, Pixels, open_picture, write_png
from residae.image.process import ENDED
from residae.pipeline import Pipeline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these faults are made as Linux makes them")

# The app with faults: a file in the folder FAULTS causes the fault of its name, once or as long as the file is there.
APP_WITH_FAULTS = """
import errno, os, shutil, torch
from pathlib import Path
from residae.engine import Engine, precision
from residae.ui import cache
import app

precision.cpu_prefers_bfloat16 = lambda: os.environ["PRECISION"] == "bfloat16"
cache.warm_up = lambda: None  # the fault is meant for the visitor's picture, not for an example
faults = Path(os.environ["FAULTS"])
run, usage, write = Engine._run, shutil.disk_usage, Path.write_bytes

def hungry(*arguments):
    done = run(*arguments)
    try:
        (faults / "memory").unlink()
    except FileNotFoundError:
        return done
    return torch.empty(2**50)  # more memory than there is

def full(folder):
    return usage(folder)._replace(free=0) if (faults / "disk").exists() else usage(folder)

def half(path, data):
    if not (faults / "write").exists():
        return write(path, data)
    write(path, data[: len(data) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")

Engine._run, shutil.disk_usage, Path.write_bytes = hungry, full, half
app.main()
"""


@pytest.fixture(scope="module")
def weights(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkpoint, to be damaged."""
    return Path(shutil.copytree(checkpoint, tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


Serve = Callable[[Path, Path], AbstractContextManager[Service]]  # a folder to write in, and weights


@pytest.fixture(scope="module")
def serve(faults: Path, pipeline: Pipeline) -> Serve:
    """Starts the app with faults, in the precision of the expected figures."""
    precision = str(preferred_float(pipeline.engine.device)).removeprefix("torch.")
    return partial(serving, code=APP_WITH_FAULTS, FAULTS=str(faults), PRECISION=precision)


@pytest.fixture(scope="module")
def service(serve: Serve, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("service"), weights) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Client:
    return program(service.address)


@pytest.fixture(scope="module")
def pipeline(checkpoint: Path) -> Pipeline:
    """With the weights as they are stored."""
    return Pipeline.open(checkpoint, "cpu")


@pytest.fixture(scope="module")
def photograph(smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "photograph.png"
    path.write_bytes(write_png(smooth(90, 120, 5)))
    return path


@pytest.fixture(scope="module")
def figures(pipeline: Pipeline, photograph: Path) -> dict[str, Any]:
    """The expected figures of the photograph."""
    report = pipeline.reconstruct(open_picture(photograph), color=True, quality=80)
    assert report.compressed
    ssim = pytest.approx(report.ssim)  # sums of matrix products depend on the threads of the process
    measured = {"bytes": len(report.compressed.data), "psnr": report.psnr, "ssim": ssim}
    return measured | {
        "quality": 80,
        "scale": 1,
        "error": where_error(report.original, report.decoding.pixels),
        "bits_per_pixel": read_info(report.compressed.data).bits_per_pixel,
        "width": 120,
        "height": 90,
        "notices": [],
    }


def figures_or_error(client: Client, path: Path) -> Any:
    """The figures of a picture, or the error message."""
    try:
        return client.predict(handle_file(path), True, 80, 1024, api_name="/reconstruct")[1]
    except AppError as error:
        return str(error)


# --- The page ---


def decoder_at_work(service: Service) -> psutil.Process:
    """The process that opens a picture, once it has started: starting takes it less than a second."""
    while True:
        for child in service.process.children():
            if child.cpu_times().user > 1:
                return child
        time.sleep(0.05)


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    path = tmp_path / "endless.jpg"
    path.write_bytes(ENDLESS)
    return path


def test_the_decoder_process_is_killed_at_work(
    service: Service, client: Client, endless: Path, photograph: Path, figures: dict[str, Any]
) -> None:
    job = client.submit(handle_file(endless), True, 80, 1024, api_name="/reconstruct")
    decoder_at_work(service).kill()
    with pytest.raises(AppError, match=ENDED):
        job.result()
    assert figures_or_error(client, photograph) == figures


def test_the_network_runs_out_of_memory(
    client: Client, faults: Path, photograph: Path, figures: dict[str, Any]
) -> None:
    (faults / "memory").touch()
    assert (
        figures_or_error(client, photograph)
        == "The work takes more memory than there is: choose a smaller picture, or fewer steps of refinement."
    )
    assert figures_or_error(client, photograph) == figures


def test_the_disk_is_full(
    service: Service, client: Client, faults: Path, photograph: Path, figures: dict[str, Any]
) -> None:
    (faults / "disk").touch()
    files = {"files": photograph.read_bytes()}
    answer = httpx.post(f"{service.address}/gradio_api/upload", timeout=PATIENCE, files=files)
    assert (answer.status_code, answer.json()["detail"]) == (507, "The server's disk is full: try again later.")
    with pytest.raises(Exception, match="507"):
        figures_or_error(client, photograph)
    (faults / "disk").unlink()
    assert figures_or_error(client, photograph) == figures


def test_a_result_cannot_be_written(
    service: Service, client: Client, faults: Path, photograph: Path, figures: dict[str, Any]
) -> None:
    """The disk becomes full in the middle of a result."""
    (faults / "write").touch()
    assert (
        figures_or_error(client, photograph) == "The result cannot be written on the server: No space left on device."
    )
    assert not [path for path in service.files.glob("tmp*") if path.stat().st_size]  # Gradio leaves empty ones
    (faults / "write").unlink()
    assert figures_or_error(client, photograph) == figures


def test_weights_are_truncated_and_deleted_while_the_page_runs(
    client: Client, weights: Path, photograph: Path, figures: dict[str, Any]
) -> None:
    assert figures_or_error(client, photograph) == figures
    (file,) = weights.glob("model*.safetensors")
    os.truncate(file, file.stat().st_size // 2)
    assert figures_or_error(client, photograph) == figures
    shutil.rmtree(weights)
    assert figures_or_error(client, photograph) == figures


def test_the_page_is_terminated_at_work_and_starts_again_with_truncated_weights(
    service: Service,
    client: Client,
    serve: Serve,
    checkpoint: Path,
    endless: Path,
    photograph: Path,
    figures: dict[str, Any],
    tmp_path: Path,
) -> None:
    """It ends at once, and the next one works with the files that it left. No test after this one has the service."""
    job = client.submit(handle_file(endless), True, 80, 1024, api_name="/reconstruct")
    decoder = decoder_at_work(service)
    service.process.terminate()
    service.process.wait()
    decoder.kill()
    with pytest.raises(Exception):  # noqa: B017, PT011  # the client has several for a server that is gone
        job.result(PATIENCE)
    weights = Path(shutil.copytree(checkpoint, tmp_path / "tiny"))
    (file,) = weights.glob("model*.safetensors")
    os.truncate(file, file.stat().st_size // 2)
    with serve(service.files.parent, weights) as successor:
        client = program(successor.address)
        assert figures_or_error(client, photograph).endswith(f"{file.name} is damaged or not a safetensors file.")
        shutil.copy(checkpoint / file.name, file)
        assert figures_or_error(client, photograph) == figures
        with pytest.raises(AppError, match=r"not a \.rae file"):
            client.predict(handle_file(photograph), api_name="/decompress")


def test_weights_are_truncated_under_a_pipeline(checkpoint: Path, tmp_path: Path, picture: Picture) -> None:
    weights = Path(shutil.copytree(checkpoint, tmp_path / "tiny"))
    pipeline = Pipeline.open(weights, "cpu")
    before = pipeline.encode(picture, color=True).latents
    (file,) = weights.glob("model*.safetensors")
    os.truncate(file, 100)
    after = pipeline.encode(picture, color=True).latents
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(CheckpointError, match="damaged"):
        Pipeline.open(weights, "cpu")


# --- The command line ---


@pytest.fixture
def batch(smooth: Callable[[int, int, int], Pixels], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(write_png(smooth(64, 48, number)))
    return paths


def command(checkpoint: Path, preparation: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a separate process, after some code."""
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
open_file, opened = os.open, []
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs without one

def half(path, flags, *mode):
    descriptor = open_file(path, flags, *mode)
    if ".residae-" in str(path):
        opened.append(path)
        if len(opened) == 2:
            os.write(descriptor, b"half")
            os.kill(os.getpid(), signal.{})
    return descriptor

os.open = half
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_batch_is_stopped_while_it_writes(checkpoint: Path, batch: list[Path], number: signal.Signals) -> None:
    done = command(checkpoint, STOPPED_WHILE_WRITING.format(number.name), "compress", *batch)
    assert done.returncode == 128 + number
    assert "Traceback" not in done.stderr
    folder = batch[0].parent
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "0.rae", "1.png", "2.png"]
    assert read_info((folder / "0.rae").read_bytes()).width == 48


def test_a_batch_is_stopped_at_work(checkpoint: Path, batch: list[Path]) -> None:
    """From outside, at an arbitrary moment."""
    arguments = ["-m", "residae", "compress", *map(str, batch * 400), "--force", "--checkpoint", str(checkpoint)]
    arguments += ["-o", str(batch[0].parent / "out")]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    work = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, **pipes)
    out = batch[0].parent / "out"
    out.mkdir()
    while not list(out.iterdir()):
        time.sleep(0.02)
    work.terminate()
    _, errors = work.communicate()
    assert work.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in errors
    for path in out.iterdir():
        assert read_info(path.read_bytes()).height == 64
        assert not path.name.startswith(".")


def test_the_disk_is_full_during_a_command(checkpoint: Path, batch: list[Path]) -> None:
    """A limit on file sizes stands in for it: the write fails in the middle."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))"
    done = command(checkpoint, limit, "compress", *batch)
    assert done.returncode == 1
    assert done.stderr.count("cannot be written: File too large.") == len(batch)
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in batch[0].parent.iterdir()) == ["0.png", "1.png", "2.png"]
