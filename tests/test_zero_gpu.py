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

from residae.activations import observe
from residae.compare import compare
from residae.edit import channel_losses
from residae.engine import Engine
from residae.geometry import MAX_PIXELS
from residae.image import open_picture, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline, network_pixels
from residae.ui import zero_gpu

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in forks, as ZeroGPU does on Linux")

SPACE = """
import json, math, sys, threading
from contextlib import closing
from residae.ui.server import serve
import gradio as gr
import spaces
import residae.compare, residae.pipeline
from visitor import SILENT, VISIT
from residae.activations import observe
from residae.codec import coder
from residae.compare import compare
from residae.edit import channel_losses
from residae.errors import OutOfMemoryError
from residae.pipeline import Pipeline
from residae.progress import CANCELLATION
from residae.ui import cache, endpoints, store, zero_gpu
from residae.ui.controls import QUALITY, Controls
from residae.ui.environment import Address
from residae.ui.state import CurrentResult
from residae.ui.tabs import equal_bytes, lab, overview
from residae.ui.work import Work, cancel, let_go

refused = []

only_the_network = True  # may run while the GPU is lent

def keep_off(module, name):
    function = getattr(module, name)

    def kept_off(*arguments):
        if spaces._lent and only_the_network:
            raise spaces.Forbidden(f"{name} does not need the GPU")
        return function(*arguments)

    setattr(module, name, kept_off)

for module, name in ((coder, "encode"), (coder, "decode"), (residae.pipeline, "psnr"), (residae.pipeline, "ssim")):
    keep_off(module, name)

def attempt(work):
    try:
        work()
    except spaces.Forbidden as error:
        refused.append(str(error))

thread = threading.Thread(target=attempt, args=[zero_gpu.ZeroGpuPipeline.open])
thread.start()
thread.join()
zero_gpu.PIXELS_PER_SECOND = 100
serve(Address("127.0.0.1", None))
attempt(zero_gpu.ZeroGpuPipeline.open)
checkpoint = store.default_checkpoint()
pipeline = store.get_pipeline(checkpoint)
settings = cache.Settings(sys.argv[1], checkpoint, quality=60)
report = cache.reconstruct(settings, None)
exact = pipeline.decode_and_measure(cache.open_at_size(sys.argv[1], 0), report.encoding, None)
info, opened = pipeline.read(report.compressed.data)
scaled = pipeline.decode(pipeline.encode(cache.open_at_size(sys.argv[1], 0), False, scale=2.0))
picture = cache.open_at_size(sys.argv[1], 0)
zero_gpu.PROGRESS_INTERVAL = 0
*_, comparison = compare(pipeline, report.original, report.encoding, report.compressed)
observed = observe(pipeline.network, picture, 6)
losses = list(channel_losses(pipeline, picture))
only_the_network = False
shares = []
steps = list(pipeline.refinement(picture, report.encoding, 100, 5, shares.append))
short, _ = pipeline.encode_and_write(picture, True, 60, 1.0, refine=2)
with closing(pipeline.refinement(picture, report.encoding, 100, 50)) as refinement:
    stopped = [next(refinement) for _ in range(6)][-1]

def left():
    raise InterruptedError

for cancellation, progress in ((left, None), (lambda: None, lambda share: share < 0.1 or left())):
    CANCELLATION.set(cancellation)
    try:
        pipeline.refine(picture, report.encoding, 100, 50, progress)
    except InterruptedError:
        pass
operations = {"durations": [*spaces.RECORD["durations"]], "stopped": spaces.RECORD["stopped"]}

overview.PROGRESS_INTERVAL, equal_bytes.GPU_STEPS = -1, 2
residae.compare.CURVE_RATE, residae.compare.LARGER_SCALES = math.inf, (1.5, 2.0)
with gr.Blocks():
    refining = overview.OverviewTab(gr.HTML(), gr.State(), Controls())
    editing, comparing = lab.LabTab(gr.State(), gr.State()), equal_bytes.EqualBytesTab(gr.State(), gr.State())
shown = CurrentResult(settings, report.encoding, report.compressed, report.psnr)
RATE = 1, QUALITY, settings.quality, 10
handlers = {}

def follow(name, updates):
    before = len(spaces.RECORD["durations"])
    updates = [*updates]
    handlers[name] = spaces.RECORD["durations"][before:]
    return updates

def end(work, updates):
    yield next(updates)
    work()
    yield from updates

def edit(state, blend):
    return editing.refresh("lab", shown, state, "Luma", 0, (), 0, 0, blend, sys.argv[1], VISIT, SILENT)

def leave():
    let_go(VISIT.session_hash)

only_the_network = True
*_, edited, _ = follow("edit", edit(None, 0.5))
state = edited[editing.state]
follow("another edit", edit(state, 0.7))
follow("channels", editing.measure_channels(state, VISIT, SILENT))
for endpoint in (endpoints.reconstruct, endpoints.map_error):
    with Work(VISIT) as work:
        follow(endpoint.__name__, map(endpoint, [work], [endpoints.Options(sys.argv[1], mute="1", blend=sys.argv[1])]))
only_the_network = False
live = follow("refinement", refining.refine(shown, *RATE, 5, VISIT, SILENT))
ended = follow("stopped refinement", end(lambda: cancel(VISIT), refining.refine(shown, *RATE, 50, VISIT, SILENT)))
follow("refinement of one who left", end(leave, refining.refine(shown, *RATE, 50, VISIT, SILENT)))
compared = follow("curves", comparing.refresh("equal", shown, None, VISIT, SILENT))
again = comparing.measure_again(shown, VISIT, SILENT)
next(again)  # what is there before anything is compared
follow("curves of one who left", end(leave, again))
curves = [len([update for update in live if refining.controls.refine.curve in update])]
curves.append(len([update for update in compared if comparing.chart in update]))

facts = spaces.RECORD | operations | {
    "handlers": handlers,
    "curves": curves,
    "shown": [any(refining.current in update for update in updates) for updates in (live, ended)],
    "device": pipeline.engine.description,
    "file": report.compressed.data.hex(),
    "psnr": report.psnr,
    "unquantized": exact.psnr,
    "opened": opened.pixels.shape,
    "scaled": scaled.pixels.shape,
    "refined": steps[-1].best.data.hex(),
    "steps": [step.step for step in steps],
    "shares": shares,
    "losses": losses,
    "curve": [point.psnr for point in comparison.curves["Residae"]],
    "observed": observed.shape,
    "short": len(short.latents),
    "stopped early": stopped.best.data.hex(),
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
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("", "tests", "tests/zero_gpu")),
        "SPACES_ZERO_GPU": "true",
        "RESIDAE_CHECKPOINT": str(checkpoint),
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


def asked(width: int = 75, height: int = 53, color: bool = True, **work: float) -> int:
    """The seconds that the Space asks for."""
    return zero_gpu.START_SECONDS + round(network_pixels(height, width, color, **work) / 100)  # type: ignore[arg-type]


def test_each_operation_borrows_once(facts: dict[str, Any]) -> None:
    """And for as long as its pixels and its steps take."""
    assert facts["durations"] == [
        asked(),  # to reconstruct
        *[asked(encodes=0)] * 2,  # to decode without the file, and to open the file
        *[asked(150, 106, False, encodes=1, decodes=0), asked(150, 106, False, encodes=0)],  # at a scale
        asked(encodes=0, decodes=5),  # the file and those of the curves
        asked(decodes=5, color=False),  # what each of four channels is worth
        asked(encodes=0, refine=5),
        asked(decodes=0, refine=2),  # to encode, write and refine
        *[asked(encodes=0, refine=50)] * 2,  # stopped; of those who left, one had left before
    ]


def test_each_operation_of_the_page_and_of_programs_borrows_once(facts: dict[str, Any]) -> None:
    """Other codecs and metrics run meanwhile or later, and for a visitor who left nothing more is borrowed."""
    scaled = sum(network_pixels(53, 75, True, scale) for scale in (1.5, 2.0))
    curves = zero_gpu.START_SECONDS + round((network_pixels(53, 75, True, encodes=0, decodes=5) + scaled) / 100)
    assert facts["handlers"] == {
        "edit": [asked()],  # encodes the picture to blend in
        "another edit": [asked(encodes=0)],
        "channels": [asked(decodes=5, color=False)],
        "reconstruct": [asked(encodes=2)],
        "map_error": [asked(encodes=2)],
        "refinement": [asked(encodes=0, refine=5)],
        "stopped refinement": [asked(encodes=0, refine=50)],
        "refinement of one who left": [asked(encodes=0, refine=50)],
        "curves": [curves, asked(encodes=0, decodes=4, refine=8)],  # the latter of refined files
        "curves of one who left": [curves],
    }
    assert facts["curves"] == [6 + 1, 2 + 4 + 2 + 4]  # they grow by each step, by the other codecs and by each rate
    assert facts["shown"] == [True, True]


def test_a_refinement_is_seen_live_and_can_be_stopped(facts: dict[str, Any]) -> None:
    assert facts["steps"] == [0, 1, 2, 3, 4, 5]
    assert facts["shares"][-1] == 1
    assert facts["stopped"] == 2
    assert bytes.fromhex(facts["stopped early"])[:4] == bytes.fromhex(facts["refined"])[:4]


def test_results_are_those_of_a_cpu(facts: dict[str, Any], elsewhere: Pipeline, picture_file: Path) -> None:
    picture = open_picture(picture_file)
    report = elsewhere.reconstruct(picture, color=True, quality=60)
    assert report.compressed
    assert facts["psnr"] == pytest.approx(report.psnr, abs=1e-3)
    assert facts["unquantized"] == pytest.approx(elsewhere.reconstruct(picture, color=True).psnr, abs=1e-3)
    assert facts["opened"] == [53, 75, 3]
    assert facts["scaled"] == [53, 75]
    assert tuple(facts["observed"]) == observe(elsewhere.network, picture, 6).shape  # on the CPU, as everywhere
    refined = elsewhere.refine(picture, report.encoding, 100, 5)
    assert facts["refined"] == refined.data.hex() != elsewhere.write(report.encoding, 100).data.hex()
    assert elsewhere.codec.decompress(bytes.fromhex(facts["file"])).info.quality == 60
    assert facts["losses"] == pytest.approx([*channel_losses(elsewhere, picture)], abs=1e-3)
    *_, comparison = compare(elsewhere, report.original, report.encoding, report.compressed)
    assert facts["curve"] == pytest.approx([point.psnr for point in comparison.curves["Residae"]], abs=1e-3)


def test_the_stand_in_forbids_what_zerogpu_forbids(facts: dict[str, Any]) -> None:
    """Weights placed by a thread, as other machines do; weights placed after the launch; work without a GPU."""
    placed = "only the main thread places tensors, and only before the launch"
    assert facts["refused"] == [placed, placed, "there is no GPU to ask for its memory"]


def test_an_error_keeps_its_message(facts: dict[str, Any]) -> None:
    assert facts["error"] == "Too large."


def test_the_borrowed_time_grows_with_the_picture() -> None:
    sides = np.array([16, 1024, 4096, 8000])
    asked = [zero_gpu.seconds(network_pixels(side, side, True)) for side in sides]
    assert asked == sorted(asked)
    assert asked[0] < 15  # a small picture does not wait behind requests for a minute
    assert sides[-1] ** 2 == MAX_PIXELS
    assert asked[-1] < 60  # the default of ZeroGPU


def test_nothing_is_borrowed_elsewhere() -> None:
    assert not zero_gpu.ON_ZERO_GPU
