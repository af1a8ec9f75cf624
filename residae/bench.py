"""Measure the speed and memory of the engine on this machine, and print the tables of the README."""

import copy
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf, prod
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from residae.arrays import Floats, Latent, Pixels, Plane
from residae.engine import Engine, GradientDecoder, error_gradient, preferred_float
from residae.engine.onednn import INT8_PRODUCT
from residae.engine.precision import activation_dtype, has_fast_int8, parse_device, parse_dtype
from residae.geometry import STRIDE, grid_shape
from residae.metrics import psnr
from residae.model import ResidualAutoencoder
from residae.runtimes import Reconstruct, check_runtimes, open_runtime

MAX_SECONDS = 30.0  # to encode and decode; a larger picture is halved until it takes less
MAX_PLAIN_PIXELS = 2**20  # the plain module takes a kilobyte of memory for each pixel
ROUNDS, ROUNDS_SECONDS = 20, 15.0  # at each size: at most so many, and none begun after so many seconds
OVERHEAD_ROUNDS = 3
COMPARISON_SECONDS = 60.0  # no round of a comparison begins after these
MATRIX_SIDES = (1024, 2048, 4096)  # of the matrix products
WAYS = "encode", "decode", "refine"
APP = Path(__file__).resolve().parent.parent / "app.py"
STARTUP_LIMIT = 120.0  # seconds


@dataclass
class Run:
    """Encoding, decoding, or one step of refinement at one size. Times are the shortest of several.

    Attributes:
        way: `encode`, `decode` or `refine`.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        work: FLOP of the network's specification.
        engine: Runs the engine.
        plain: Runs the plain PyTorch module in float32; None for `refine`, and where the picture is too large for it.
        seconds: Time of the engine.
        plain_seconds: Time of the plain module.
        memory: Peak bytes above the idle process, or of the GPU's memory.
    """

    way: str
    height: int
    width: int
    work: float
    engine: Callable[[], object]
    plain: Callable[[], object] | None
    seconds: float = inf
    plain_seconds: float = inf
    memory: int = 0

    @property
    def rate(self) -> float:
        """FLOP/s of the engine."""
        return self.work / self.seconds

    @property
    def ratio(self) -> float | None:
        """Speedup over the plain module."""
        return self.plain_seconds / self.seconds if self.plain else None


@dataclass
class Measurements:
    """The result of `measure`.

    Attributes:
        device: Device and precision, as `Engine.description`.
        product: FLOP/s of the fastest matrix product in the engine's precision; None where torch has none.
        runs: Those of WAYS at each size.
        overhead: Time per pixel of the last size over that of the size before; None where there is one size.
    """

    device: str
    product: float | None
    runs: list[Run]
    overhead: float | None


def print_bench(device: str | None, sizes: Sequence[tuple[int, int]], dtype: str | None) -> dict[str, object]:
    """Measure the network with random weights, and the start of the page, and print a table.

    Args:
        device: `cpu` or `cuda`; CUDA where there is one if it is None.
        sizes: Heights and widths, multiples of 16; they are measured by rising number of pixels.
        dtype: As in `Engine`.

    Returns:
        The figures of the table.

    Raises:
        ResidaeError: There is no such device, or it cannot compute in this precision.
    """
    parse_dtype(dtype, parse_device(device))  # what cannot be measured is refused before anything is promised
    print("This takes about two minutes, in which nothing else should run on the machine.", flush=True)
    sizes = sorted(sizes, key=prod)
    measured = measure(ResidualAutoencoder().eval(), device, sizes, dtype)
    has_page = APP.exists()  # it is not installed with the package
    page = startup() if has_page else None
    product = f"{measured.product / 1e9:,.0f} GFLOP/s" if measured.product else "not available"
    print(f"{measured.device}; matrix product {product}")
    print(f"{'picture':<15}{'way':<8}{'s':>8}{'GFLOP/s':>10}{'of product':>12}{'of plain':>10}{'peak MB':>9}")
    for run in measured.runs:
        share = f"{100 * run.rate / measured.product:.0f} %" if measured.product else "-"
        plain = f"{run.ratio:.1f} x" if run.ratio else "-"
        print(
            f"{_pixels(run.height, run.width):<15}{run.way:<8}{run.seconds:>8.3f}{run.rate / 1e9:>10,.0f}"
            f"{share:>12}{plain:>10}{run.memory / 1e6:>9,.0f}"
        )
    ratios = [f"{step.seconds / decode.seconds:.2f}" for _, decode, step in _by_size(measured.runs)]
    print(f"A step of refinement takes {', '.join(ratios)} times as long as decoding, by size.")
    for size, run in zip(sizes, measured.runs[:: len(WAYS)], strict=True):
        if size != (run.height, run.width):
            print(f"{_pixels(*size)} would take too long here.")
    if measured.overhead:
        print(f"A pixel of the last picture takes {measured.overhead:.2f} times as long as one of the picture before.")
    if has_page:
        print(f"The page answers {page:.1f} s after python app.py." if page else "The page did not answer.")
    runs = [
        {"way": run.way, "height": run.height, "width": run.width, "seconds": run.seconds, "rate": run.rate}
        | {"ratio": run.ratio, "memory": run.memory}
        for run in measured.runs
    ]
    figures: dict[str, object] = {"device": measured.device, "product": measured.product, "runs": runs}
    figures["overhead"] = measured.overhead
    return figures | ({"page": page} if has_page else {})


def _by_size(runs: Sequence[Run]) -> Iterator[tuple[Run, ...]]:
    return zip(*[iter(runs)] * len(WAYS), strict=True)


def _pixels(height: int, width: int) -> str:
    return f"{width:,} x {height:,}"


def measure(
    network: ResidualAutoencoder,
    device: str | None,
    sizes: Sequence[tuple[int, int]],
    dtype: str | None = None,
) -> Measurements:
    """Measure encoding, decoding and refinement at several sizes.

    Engine, plain module in float32 and matrix product take turns, so that other load on the machine affects them alike.

    Args:
        network: In eval mode.
        device: `cpu` or `cuda`; CUDA where there is one if it is None.
        sizes: Heights and widths, rising, multiples of 16; those that would take too long are halved.
        dtype: As in `Engine`.

    Returns:
        The shortest times at each size, and the fastest matrix product to hold them against.

    Raises:
        ResidaeError: There is no such device, or it cannot compute in this precision.
    """
    engine = Engine(network, device, dtype)
    gradient = GradientDecoder(network.decoder, engine.device, activation_dtype(engine.dtype))
    plain = copy.deepcopy(network).eval().to(engine.device)
    encoding, decoding = _work(network)
    rng = np.random.default_rng(0)
    idle = _memory(engine.device)
    runs: list[Run] = []
    for size in sizes:
        height, width = _affordable(size, runs)
        plane = rng.random((height, width), np.float32)
        latent = rng.standard_normal((engine.latent_channels, *grid_shape(height, width)), np.float32)
        functions: tuple[Callable[[], object], ...] = (
            partial(engine.encode, plane),
            partial(engine.decode, latent, height, width),
            partial(_step, gradient, latent, plane),
        )
        # A step passes the decoder forward, and back to the latent.
        for way, ours, work in zip(WAYS, functions, (encoding, decoding, 2 * decoding), strict=True):
            array = plane[None] if way == "encode" else latent
            fits = way != "refine" and height * width <= MAX_PLAIN_PIXELS
            theirs = partial(_plain, plain, way, array) if fits else None
            run = Run(way, height, width, work * height * width, ours, theirs)
            with _peak_memory(engine.device) as highest:  # before the plain module has allocated any
                run.seconds = _seconds(ours)
            run.memory = highest() - idle
            runs.append(run)
    product: float | None = None
    for at_size in _by_size(runs):
        start = time.perf_counter()
        for _ in range(ROUNDS):
            product = _max_product(engine.device, engine.dtype, product)
            for run in at_size:
                run.seconds = min(run.seconds, _seconds(run.engine))
                if run.plain:
                    run.plain_seconds = min(run.plain_seconds, _seconds(run.plain))
            if time.perf_counter() - start > ROUNDS_SECONDS:
                break
    return Measurements(engine.description, product, runs, _overhead(runs[-2 * len(WAYS) :]))


def _overhead(runs: list[Run]) -> float | None:
    """Time per pixel of the second of two sizes over that of the first, for encoding and decoding together.

    The two take turns, and the median counts: the speed of a machine changes within the minute that a large picture
    takes.
    """
    if len(runs) < 2 * len(WAYS):
        return None
    small, large = (_coding(list(at_size)) for at_size in _by_size(runs))
    ratios = []
    for _ in range(OVERHEAD_ROUNDS):
        now = [[replace(run, seconds=_seconds(run.engine)) for run in at_size] for at_size in (small, large)]
        ratios.append(_pace(now[1]) / _pace(now[0]))
        for run, latest in zip(small + large, now[0] + now[1], strict=True):
            run.seconds = min(run.seconds, latest.seconds)
    return median(ratios)


def _affordable(size: tuple[int, int], runs: list[Run]) -> tuple[int, int]:
    """The size, halved until it should take at most MAX_SECONDS to encode and decode, judged by the last runs."""
    height, width = size
    pace = _pace(_coding(runs[-len(WAYS) :]))
    while pace * height * width > MAX_SECONDS and max(height, width) > STRIDE:
        height, width = (max(STRIDE, side // (2 * STRIDE) * STRIDE) for side in (height, width))
    return height, width


def _coding(runs: Sequence[Run]) -> list[Run]:
    """Those that encode and decode."""
    return [run for run in runs if run.way != "refine"]


def _pace(runs: Sequence[Run]) -> float:
    """Seconds per pixel of all of them together."""
    return sum(run.seconds / (run.height * run.width) for run in runs)


@dataclass(frozen=True)
class RuntimeTiming:
    """One runtime in one precision, on one picture.

    Attributes:
        runtime: Its name.
        dtype: Its precision.
        seconds: To encode and decode the picture, the shortest of several.
        psnr: Of the reconstruction, in dB.
    """

    runtime: str
    dtype: str
    seconds: float
    psnr: float


def print_comparison(against: Sequence[str], network: ResidualAutoencoder | None = None) -> dict[str, object]:
    """Compare the engine on the CPU with other runtimes, on an example picture, and print a table.

    Args:
        against: Names of `residae.runtimes.RUNTIMES`.
        network: In eval mode; that of the default checkpoint if it is None.

    Returns:
        The figures of the table.

    Raises:
        ResidaeError: A runtime does not exist or is not installed.
        CheckpointError: The default checkpoint cannot be opened.
    """
    from residae import examples  # the rest of bench needs no checkpoint, and no picture
    from residae.checkpoint import Checkpoint
    from residae.image import open_picture, to_planes

    check_runtimes(against)
    planes = [to_planes(open_picture(path), False)[0] for path in examples.paths()]
    planes = [plane for plane in planes if plane.shape == planes[0].shape]  # runtimes convert for one size
    height, width = planes[0].shape
    print("This takes some minutes, in which nothing else should run on the machine.", flush=True)
    rows = compare_runtimes(network or Checkpoint.open().network, planes, against)
    print(f"{_pixels(height, width)}, encoded and decoded on {torch.get_num_threads()} threads")
    print(f"{'runtime':<14}{'precision':<12}{'s':>8}{'PSNR, dB':>12}{'change, dB':>14}")
    for row in rows:
        print(f"{row.runtime:<14}{row.dtype:<12}{row.seconds:>8.3f}{row.psnr:>12.2f}{row.psnr - rows[0].psnr:>+14.2f}")
    return {"height": height, "width": width, "runs": [asdict(row) for row in rows]}


def compare_runtimes(
    network: ResidualAutoencoder, planes: Sequence[Plane], against: Sequence[str]
) -> list[RuntimeTiming]:
    """Measure the plain module, the engine in each precision that suits the CPU, and other runtimes, in turns.

    Args:
        network: In eval mode.
        planes: (H, W) in [0, 1], multiples of 16, all of one size. The first is measured, all of them calibrate int8.
        against: Names of `residae.runtimes.RUNTIMES`.

    Returns:
        One timing for each runtime and precision, the plain module first.

    Raises:
        ResidaeError: A runtime does not exist or is not installed.
    """
    check_runtimes(against)  # before one of them is converted for
    plane, cpu = planes[0], torch.device("cpu")
    functions: dict[tuple[str, str], Reconstruct] = {("PyTorch", "float32"): partial(_reconstruct_plainly, network)}
    for name in against:
        functions |= {(name, kind): function for kind, function in open_runtime(name, network, planes).items()}
    suited = [torch.float32, preferred_float(cpu), *([torch.int8] if has_fast_int8(cpu) else [])]
    for dtype in dict.fromkeys(suited):
        functions["residae", str(dtype).removeprefix("torch.")] = partial(_reconstruct, Engine(network, cpu, dtype))
    original = _to_pixels(plane)
    quality = {key: psnr(original, _to_pixels(function(plane))) for key, function in functions.items()}
    seconds = dict.fromkeys(functions, inf)
    start = time.perf_counter()
    for _ in range(ROUNDS):
        for key, function in functions.items():
            seconds[key] = min(seconds[key], _seconds(partial(function, plane)))
        if time.perf_counter() - start > COMPARISON_SECONDS:
            break
    return [RuntimeTiming(*key, seconds[key], quality[key]) for key in functions]


def _reconstruct(engine: Engine, plane: Plane) -> Plane:
    return engine.decode(engine.encode(plane), *plane.shape)


@torch.inference_mode()
def _reconstruct_plainly(network: ResidualAutoencoder, plane: Plane) -> Plane:
    return np.asarray(network(torch.from_numpy(plane)[None, None])[0][0, 0])


def _to_pixels(plane: Plane) -> Pixels:
    pixels: Pixels = np.rint(255 * plane.clip(0, 1)).astype(np.uint8)
    return pixels


def _work(network: ResidualAutoencoder) -> tuple[float, float]:
    """FLOP per pixel of the encoder and of the decoder; a multiply-add counts as two."""
    network = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter:
        latent = network.encode(torch.empty(1, 1, 64, 64, device="meta"))
        encoding = counter.get_total_flops()
        network.decode(latent)
    return encoding / 64**2, (counter.get_total_flops() - encoding) / 64**2


def _step(decoder: GradientDecoder, latent: Latent, plane: Plane) -> None:
    """The part of a step of refinement that takes time."""
    error_gradient(decoder, torch.from_numpy(latent).to(decoder.device), plane.shape, plane).cpu()


@torch.inference_mode()
def _plain(network: ResidualAutoencoder, way: str, array: Floats) -> None:
    device = next(network.parameters()).device
    getattr(network, way)(torch.from_numpy(array)[None].to(device)).cpu()


def _seconds(function: Callable[[], object]) -> float:
    """Time a second call, whose weights are in the cache; or the first call, if that takes a second or more.

    Each function leaves its result in the memory of the CPU, so a GPU has finished when it returns.
    """
    taken = 0.0
    for _ in range(2):
        start = time.perf_counter()
        function()
        taken = time.perf_counter() - start
        if taken >= 1:
            break
    return taken


def _max_product(device: torch.device, dtype: torch.dtype, before: float | None) -> float | None:
    """FLOP/s of the fastest product of two square matrices, now or `before`; None where torch has no such product."""
    product = torch.mm
    if dtype == torch.int8:
        operators = INT8_PRODUCT.open(dtype)
        if operators is None:
            return None
        (product,) = operators
    return max(before or 0.0, *(_product(product, side, device, dtype) for side in MATRIX_SIDES))


def _product(product: Callable[..., Tensor], side: int, device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the product of two square matrices."""
    matrix = (100 * torch.randn(side, side, device=device)).to(dtype)
    count = 20 if device.type == "cuda" else 1

    def multiply() -> None:
        for _ in range(count):
            product(matrix, matrix)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return count * 2 * side**3 / _seconds(multiply)


def _memory(device: torch.device) -> int:
    """Bytes of memory of the process, or allocated on the GPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the highest `_memory` since. On a CPU, memory is sampled every 5 ms."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device)
        return
    seen, done = [_memory(device)], threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            seen.append(_memory(device))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: max(seen)
    finally:
        done.set()
        thread.join()


def startup(command: Sequence[str] = (sys.executable, str(APP))) -> float | None:
    """Measure the time from the start of the app's process until it serves the page.

    Args:
        command: Program and arguments that start the app, which gets a free port in GRADIO_SERVER_PORT.

    Returns:
        Seconds, or None where the process ends first or STARTUP_LIMIT is over.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)}
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and time.perf_counter() - start < STARTUP_LIMIT:
            with suppress(OSError), browser.open(f"http://127.0.0.1:{port}", timeout=STARTUP_LIMIT):
                return time.perf_counter() - start
            time.sleep(0.02)
        return None
    finally:
        process.kill()
        process.wait()
