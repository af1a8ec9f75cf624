"""Measure the engine on this machine, beside what the machine could do: the table of the README."""

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
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from residae.engine import Engine
from residae.errors import ResidaeError
from residae.geometry import grid_shape
from residae.model import ResidualAutoencoder

SIZES = ((256, 256), (512, 768), (4096, 4096))  # height and width in pixels
LONGEST = 30.0  # seconds for both ways; a larger picture is halved until it takes less
PLAIN_PIXELS = 2**20  # for each, the plain module takes a kilobyte of memory
ROUNDS, ROUNDS_SECONDS = 20, 15.0  # for each size: so many, but none begun after so many seconds
TURNS = 3  # of the last two sizes, to compare them
PRODUCTS = (1024, 2048, 4096)  # sides of the matrices whose product shows what the machine can do
APP = Path(__file__).resolve().parent.parent / "app.py"
STARTUP_LIMIT = 120.0  # seconds

Array = NDArray[np.float32]


@dataclass
class Run:
    """One way through the network at one size. Each time is the shortest of several."""

    way: str  # encode or decode
    height: int
    width: int
    work: float  # FLOP that the network's specification asks for
    engine: Callable[[], object]
    plain: Callable[[], object] | None  # None where the picture is too large for it
    seconds: float = inf
    plain_seconds: float = inf
    memory: int = 0  # bytes above the idle process when it was highest; on a GPU, of the GPU's

    @property
    def rate(self) -> float:
        """FLOP/s."""
        return self.work / self.seconds

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the plain module."""
        return self.plain_seconds / self.seconds if self.plain else None


@dataclass
class Measured:
    """What `bench` found."""

    device: str  # and precision, in words
    product: float  # FLOP/s of the best matrix product in the engine's precision
    runs: list[Run]
    overhead: float | None  # times as long as one of the size before, a pixel of the last takes; None where it is alone


def bench(
    network: ResidualAutoencoder,
    device: str | None = None,
    sizes: Sequence[tuple[int, int]] = SIZES,
    dtype: str | None = None,
) -> Measured:
    """Measure encoding and decoding at rising sizes, multiples of 16, of which those that would take too long shrink.
    `dtype` is the name of the precision, the engine's own choice without.

    Engine, plain module in float32 and matrix product take turns, so that whatever else the machine does meanwhile
    disturbs them alike. ResidaeError where there is no such device, or none of that precision.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ResidaeError("There is no GPU here that PyTorch can use.")
    engine = Engine(network, device, getattr(torch, dtype) if dtype else None)
    plain = copy.deepcopy(network).eval().to(engine.device)
    encoding, decoding = _work(network)
    rng = np.random.default_rng(0)
    idle = _memory(engine.device)
    runs: list[Run] = []
    for size in sizes:
        height, width = _affordable(size, runs)
        plane = rng.random((height, width), np.float32)
        latent = rng.standard_normal((engine.latent_channels, *grid_shape(height, width)), np.float32)
        for way, work, array, ours in (
            ("encode", encoding, plane[None], partial(engine.encode, plane)),
            ("decode", decoding, latent, partial(engine.decode, latent, height, width)),
        ):
            theirs = partial(_plain, plain, way, array) if height * width <= PLAIN_PIXELS else None
            run = Run(way, height, width, work * height * width, ours, theirs)
            with _watching(engine.device) as highest:  # before the plain module has taken any
                run.seconds = _seconds(ours)
            run.memory = highest() - idle
            runs.append(run)
    product = 0.0
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        start = time.perf_counter()
        for _ in range(ROUNDS):
            product = max(product, *(_product(side, engine.device, engine.dtype) for side in PRODUCTS))
            for run in (first, second):
                run.seconds = min(run.seconds, _seconds(run.engine))
                if run.plain:
                    run.plain_seconds = min(run.plain_seconds, _seconds(run.plain))
            if time.perf_counter() - start > ROUNDS_SECONDS:
                break
    return Measured(engine.description, product, runs, _overhead(runs[-4:]))


def _overhead(runs: list[Run]) -> float | None:
    """How many times as long a pixel of the second of two sizes takes as one of the first, both ways together.

    The two take turns, and the median counts: a machine's pace changes within the minute that a large picture takes.
    """
    if len(runs) < 4:
        return None
    ratios = []
    for _ in range(TURNS):
        now = [replace(run, seconds=_seconds(run.engine)) for run in runs]
        ratios.append(_pace(now[2:]) / _pace(now[:2]))
        for run, latest in zip(runs, now, strict=True):
            run.seconds = min(run.seconds, latest.seconds)
    return median(ratios)


def _affordable(size: tuple[int, int], runs: list[Run]) -> tuple[int, int]:
    """The size, halved until it should take no longer than a minute allows, by what the last two runs took."""
    height, width = size
    while _pace(runs[-2:]) * height * width > LONGEST:
        height, width = height // 32 * 16, width // 32 * 16
    return height, width


def _pace(runs: list[Run]) -> float:
    """Seconds for each pixel, both ways together."""
    return sum(run.seconds / (run.height * run.width) for run in runs)


def _work(network: ResidualAutoencoder) -> tuple[float, float]:
    """FLOP of the encoder and of the decoder for each pixel, two for a multiplication and its addition."""
    network = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter:
        latent = network.encode(torch.empty(1, 1, 64, 64, device="meta"))
        encoding = counter.get_total_flops()
        network.decode(latent)
    return encoding / 64**2, (counter.get_total_flops() - encoding) / 64**2


@torch.inference_mode()
def _plain(network: ResidualAutoencoder, way: str, array: Array) -> None:
    device = next(network.parameters()).device
    getattr(network, way)(torch.from_numpy(array)[None].to(device)).cpu()


def _seconds(function: Callable[[], object]) -> float:
    """Those of a second call, which finds its weights in the cache; of the first, where that took a second or more.

    Each function leaves its result in the memory of the CPU, so that on a GPU nothing is under way after it.
    """
    taken = 0.0
    for _ in range(2):
        start = time.perf_counter()
        function()
        taken = time.perf_counter() - start
        if taken >= 1:
            break
    return taken


def _product(side: int, device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the product of two square matrices."""
    matrix = (100 * torch.randn(side, side, device=device)).to(dtype)
    product = torch._int_mm if dtype == torch.int8 else torch.mm
    count = 20 if device.type == "cuda" else 1

    def multiply() -> None:
        for _ in range(count):
            product(matrix, matrix)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return count * 2 * side**3 / _seconds(multiply)


def _memory(device: torch.device) -> int:
    """Bytes that the process, or its work on a GPU, holds now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


@contextmanager
def _watching(device: torch.device) -> Iterator[Callable[[], int]]:
    """Gives a function for the highest `_memory` since: counted by torch on a GPU, looked at often on a CPU."""
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
    """Seconds from the start of the app's process to its page; None where there is no page."""
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
