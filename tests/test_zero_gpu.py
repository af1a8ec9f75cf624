"""ZeroGPU: the page runs under a stand-in that forks as ZeroGPU does, and forbids what it forbids.

That proves the pattern of calls. The speed of a real GPU, and CUDA itself, are beyond it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from residae.engine import Engine
from residae.geometry import MAX_PIXELS
from residae.image import open_picture, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline
from residae.ui import zero_gpu

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform != "linux", reason="the stand-in forks, as ZeroGPU does on Linux"),
]

SPACE = """
import json, sys, threading
from app import main
import spaces
from residae.errors import OutOfMemoryError
from residae.pipeline import Pipeline
from residae.ui import cache, store, zero_gpu

refused = []

def attempt(work):
    try:
        work()
    except spaces.Forbidden as error:
        refused.append(str(error))

thread = threading.Thread(target=attempt, args=[zero_gpu.ZeroGpuPipeline.open])
thread.start()
thread.join()
main()
attempt(zero_gpu.ZeroGpuPipeline.open)
checkpoint = store.default_checkpoint()
pipeline = store.get_pipeline(checkpoint)
report = cache.reconstruct(cache.Settings(sys.argv[1], checkpoint, quality=60), lambda share: None)
exact = pipeline.decode_and_measure(cache.open_at_size(sys.argv[1], 0), report.encoding, None)
info, opened = pipeline.read(report.compressed.data)
scaled = pipeline.decode(pipeline.encode(cache.open_at_size(sys.argv[1], 0), False, scale=2.0))
refined = pipeline.refine(cache.open_at_size(sys.argv[1], 0), report.encoding, 100, 5)
facts = spaces.RECORD | {
    "device": pipeline.engine.description,
    "file": report.compressed.data.hex(),
    "psnr": report.psnr,
    "unquantized": exact.psnr,
    "opened": opened.pixels.shape,
    "scaled": scaled.pixels.shape,
    "refined": refined.data.hex(),
    "durations": list(spaces.RECORD["durations"]),
}
attempt(lambda: Pipeline.encode(pipeline, cache.open_at_size(sys.argv[1], 0), True))
facts["refused"] = refused

def fail(*_):
    raise OutOfMemoryError("Too large.")

pipeline.engine.decode = fail
try:
    pipeline.read(report.compressed.data)
except OutOfMemoryError as error:
    facts["error"] = str(error)
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def picture_file(smooth: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zero") / "picture.png"
    path.write_bytes(write_png(smooth(53, 75, 0)))
    return path


@pytest.fixture(scope="module")
def elsewhere(checkpoint: Path) -> Pipeline:
    """The same checkpoint on the CPU, in the stand-in's precision."""
    pipeline = Pipeline.open(checkpoint, "cpu")
    pipeline.engine = Engine(ResidualAutoencoder.from_pretrained(checkpoint), "cpu", torch.float32)
    return pipeline


@pytest.fixture(scope="module")
def facts(picture_file: Path, checkpoint: Path) -> dict[str, Any]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "zero_gpu")]),
        "SPACES_ZERO_GPU": "true",
        "RESIDAE_CHECKPOINT": str(checkpoint),
        "OMP_NUM_THREADS": "1",  # a pool of threads does not outlive a fork
    }
    command = [sys.executable, "-c", SPACE, str(picture_file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def test_spaces_is_imported_before_torch(facts: dict[str, Any]) -> None:
    assert facts["imported first"]


def test_weights_are_placed_before_the_launch(facts: dict[str, Any], network: ResidualAutoencoder) -> None:
    assert facts["placed"] >= sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert facts["launched with"] == 2  # decorated functions, one for each checkpoint at hand: the tiny one and ours
    assert facts["device"] == "a GPU that is lent, float32"


def test_each_operation_borrows_once(facts: dict[str, Any]) -> None:
    """To reconstruct, to decode without the file, to open the file; at a scale, to encode and to decode; to refine."""
    once, scaled, refined = zero_gpu.seconds(53, 75), zero_gpu.seconds(106, 150), zero_gpu.seconds(53, 75, 11)
    assert facts["durations"] == [once] * 3 + [scaled] * 2 + [refined]


def test_results_are_those_of_a_cpu(facts: dict[str, Any], elsewhere: Pipeline, picture_file: Path) -> None:
    picture = open_picture(picture_file)
    report = elsewhere.reconstruct(picture, color=True, quality=60)
    assert report.compressed
    assert facts["psnr"] == pytest.approx(report.psnr, abs=1e-3)
    assert facts["unquantized"] == pytest.approx(elsewhere.reconstruct(picture, color=True).psnr, abs=1e-3)
    assert facts["opened"] == [53, 75, 3]
    assert facts["scaled"] == [53, 75]
    refined = elsewhere.refine(picture, report.encoding, 100, 5)
    assert facts["refined"] == refined.data.hex() != elsewhere.write(report.encoding, 100).data.hex()
    assert elsewhere.codec.decompress(bytes.fromhex(facts["file"])).info.quality == 60


def test_the_stand_in_forbids_what_zerogpu_forbids(facts: dict[str, Any]) -> None:
    """Weights placed by a thread, as other machines do; weights placed after the launch; work without a GPU."""
    placed = "only the main thread places tensors, and only before the launch"
    assert facts["refused"] == [placed, placed, "there is no GPU to ask for its memory"]


def test_an_error_keeps_its_message(facts: dict[str, Any]) -> None:
    assert facts["error"] == "Too large."


def test_the_borrowed_time_grows_with_the_picture() -> None:
    sides = np.array([16, 1024, 4096, 8000])
    asked = [zero_gpu.seconds(side, side) for side in sides]
    assert asked == sorted(asked)
    assert asked[0] < 15  # a small picture does not wait behind requests for a minute
    assert sides[-1] ** 2 == MAX_PIXELS
    assert asked[-1] < 60  # the default of ZeroGPU


def test_nothing_is_borrowed_elsewhere() -> None:
    assert not zero_gpu.ON_ZERO_GPU
