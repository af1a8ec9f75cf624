"""ZeroGPU with the package `spaces` itself: its decorator, its forked process and its generators.

It stands in for CUDA until a GPU is lent, also where there is none, but not in the process to which one is lent: there,
what is moved to the GPU stays on the CPU here. The service that lends it is a local server. What remains unseen is CUDA
itself, and how the Hub chooses whose turn it is.
"""

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from residae.compare import compare, refined_curve
from residae.image import open_picture, write_png
from residae.pipeline import Pipeline, network_pixels
from residae.ui import zero_gpu

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ZeroGPU is Linux's")

SPACE = """
import json, sys, threading, time
from contextlib import closing
import torch

if torch.version.cuda is None:  # the package needs a PyTorch that could use CUDA
    torch.version.cuda, torch._C._cuda_init, torch.cuda._is_in_bad_fork = "12.8", None, bool
import spaces.zero
from spaces.zero import torch as emulation
from spaces.zero.torch.patching import cuda_aliases

to = torch.Tensor.to

def stay(tensor, *arguments, **named):
    def here(value):
        return "cpu" if isinstance(value, (str, torch.device)) and torch.device(value).type == "cuda" else value

    return to(tensor, *map(here, arguments), **{name: here(value) for name, value in named.items()})

def lend(uuid):  # in the process that gets the GPU
    torch.Tensor.to = stay

def move(callback):
    for placed, original in cuda_aliases.items():
        placed.data = original

emulation.init, emulation.pack, emulation.move = lend, lambda: 0, move
torch.cuda.is_bf16_supported = lambda including_emulation=True: False
torch.cuda.mem_get_info = lambda device=None: (2**30, 2**30)

import residae.compare
from residae.image import open_picture
from residae.ui import zero_gpu

residae.compare.CURVE_RATE = float("inf")
zero_gpu.PROGRESS_INTERVAL = 0
picture, pipeline = open_picture(sys.argv[1]), zero_gpu.ZeroGpuPipeline.open(sys.argv[2])
spaces.zero.startup()
report = pipeline.reconstruct(picture, True, 60)
steps, times = [], [time.monotonic()]
for step in pipeline.refinement(picture, report.encoding, 100, 5):
    steps.append(step.step)
    times.append(time.monotonic())
times.append(time.monotonic())
refined = step.best
with closing(pipeline.refinement(picture, report.encoding, 100, 1000)) as refinement:
    next(refinement)

def left(share):
    if share > 0.001:
        raise InterruptedError

try:
    pipeline.refine(picture, report.encoding, 100, 1000, left)
except InterruptedError:
    pass
try:
    pipeline.refine(picture, report.encoding, 0, 1, max_bytes=1)
except Exception as error:
    message = f"{type(error).__name__}: {error}"
*_, comparison = residae.compare.compare(pipeline, report.original, report.encoding, report.compressed, [1.5])
curves = {"plain": comparison.curves["Residae"]}
curves["refined"] = residae.compare.refined_curve(pipeline, picture, report.encoding, 2)
curves = {name: [point.psnr for point in curve] for name, curve in curves.items()}
facts = {"curves": curves, "psnr": report.psnr, "refined": refined.data.hex(), "steps": steps, "times": times}
print(json.dumps(facts | {"error": message}))
"""


@contextmanager
def lender() -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """A service that lends GPUs as the Hub's does. Yields its address, and what it was asked."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            url = urlsplit(self.path)
            asked.append((url.path, dict(parse_qsl(url.query))))
            gpu = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": str(len(asked))}
            body = json.dumps(gpu).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def picture_file(smooth: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "picture.png"
    path.write_bytes(write_png(smooth(53, 75, 0)))
    return path


@pytest.fixture(scope="module")
def space(
    picture_file: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[tuple[str, dict[str, str]]]]:
    """What the Space found out, and what it asked of the lender."""
    home = tmp_path_factory.mktemp("home")
    (home / "cgroup").write_text("0::/space\n")
    with lender() as (address, asked):
        settings = {
            "SPACES_ZERO_GPU": "true",
            "SPACES_ZERO_DEVICE_API_URL": address,
            "ZEROGPU_PROC_SELF_CGROUP_PATH": str(home / "cgroup"),
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "127.0.0.1",
        }
        command = [sys.executable, "-c", SPACE, str(picture_file), str(checkpoint)]
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), asked


def test_each_operation_borrows_once_and_gives_back(space: Any) -> None:
    _, asked = space
    assert [path for path, _ in asked] == ["/startup-report", *["/schedule", "/allow", "/release"] * 7]
    assert [values["fail"] for path, values in asked if path == "/release"] == ["false"] * 7
    work: list[dict[str, Any]] = [{}, *({"encodes": 0, "refine": steps} for steps in (5, 1000, 1000, 1))]
    pixels = [network_pixels(53, 75, True, **each) for each in work]
    pixels.append(network_pixels(53, 75, True, encodes=0, decodes=5) + network_pixels(53, 75, True, 1.5))  # the curves
    pixels.append(network_pixels(53, 75, True, encodes=0, decodes=4, refine=8))  # that of refined files
    durations = [zero_gpu.seconds(each) for each in pixels]
    assert [int(values["durationSeconds"]) for path, values in asked if path == "/schedule"] == durations


def test_the_steps_of_a_refinement_come_live(space: Any) -> None:
    facts, _ = space
    assert facts["steps"] == [0, 1, 2, 3, 4, 5]
    begin, first, *_, last, end = facts["times"]
    assert last - first > 0.3 * (end - begin)  # not all at the end


def test_results_are_those_of_a_cpu(
    space: Any, picture_file: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residae.compare.CURVE_RATE", math.inf)
    facts, _ = space
    pipeline, picture = Pipeline.open(checkpoint, "cpu", "float32"), open_picture(picture_file)
    report = pipeline.reconstruct(picture, True, 60)
    assert facts["psnr"] == pytest.approx(report.psnr, abs=1e-3)
    assert facts["refined"] == pipeline.refine(picture, report.encoding, 100, 5).data.hex()
    *_, comparison = compare(pipeline, report.original, report.encoding, report.compressed, [1.5])
    refined = refined_curve(pipeline, picture, report.encoding, 2)
    for name, curve in (("plain", comparison.curves["Residae"]), ("refined", refined)):
        assert facts["curves"][name] == pytest.approx([point.psnr for point in curve], abs=1e-3)


def test_an_error_keeps_its_message(space: Any) -> None:
    assert space[0]["error"].startswith("SizeError: This picture takes at least ")
