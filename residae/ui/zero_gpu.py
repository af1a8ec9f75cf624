"""Running on a ZeroGPU Space, which lends a GPU to one call at a time, in a process that is forked for it.

The main thread places the weights before the first fork, until when the package `spaces` stands in for CUDA. Arguments
and what comes back are pickled, so they are arrays on the CPU. Nothing of this is used elsewhere.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from residae.checkpoint import Checkpoint
from residae.codec import Compressed
from residae.errors import ResidaeError
from residae.geometry import Scale
from residae.image import Picture
from residae.pipeline import Decoding, Encoding, Pipeline, network_pixels, scale_or_default, size_limit
from residae.progress import CANCELLATION, Progress, raise_if_cancelled
from residae.quality import DEFAULT_QUALITY
from residae.refine import RefinementStep

try:
    from spaces import GPU
except ImportError:  # not on a Space, where nothing uses it
    GPU = None

ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as the package `spaces` reads it

# The requested duration decides a visitor's place in the queue. Encoding and decoding take 2.03 MFLOP per pixel: at a
# conservative 20 TFLOP/s, 9.9 million pixels per second, less some time to write files and to measure.
START_SECONDS = 10  # to fork and to move the weights
PIXELS_PER_SECOND = 6e6
PROGRESS_INTERVAL = 0.2  # seconds between two reports from the process that has the GPU

T = TypeVar("T")


@dataclass(frozen=True)
class _Message:
    """From the process that has the GPU: progress of a part, a value or an error."""

    share: float = 0.0
    part: int | None = None
    value: Any = None
    error: ResidaeError | None = None


class _Closed(BaseException):
    """Nobody waits for the work in the process that has the GPU any more."""


class ZeroGpuPipeline(Pipeline):
    """A pipeline that borrows a GPU for each operation, once. Open it on the main thread, before any call.

    `run` and `stream` borrow it for a function, in which further operations use the same GPU. Files are written and
    results measured without it, unless the network needs the file's size to go on: to choose a scale or quality by it,
    to end a curve, or to refine. The GPU is given back when the work is done, also where nobody takes the results yet,
    and when it is stopped.
    """

    def __init__(self, checkpoint: Checkpoint, *ignored: object) -> None:
        super().__init__(checkpoint, "cuda")  # whichever device and precision are requested
        _ = self._gradient_decoder  # its weights must be placed now
        self._borrowed = False  # True in the forked process

        def lend(_: int, operation: Callable[..., Any], parts: int, *arguments: Any, **options: Any) -> Iterator[Any]:
            self._borrowed = True
            yield from _messages(lambda *reports: operation(self, *arguments, *reports, **options), parts)

        self._lend = GPU(duration=lambda seconds, *_, **__: seconds)(lend)

    def run(
        self,
        operation: Callable[..., T],
        *arguments: Any,
        pixels: float,
        progress: Progress | None = None,
        **options: Any,
    ) -> T:
        if self._borrowed:
            return super().run(operation, *arguments, pixels=pixels, progress=progress, **options)
        results: list[T] = [*self._borrow(operation, arguments, options, pixels, [progress])]
        return results[0]

    def stream(
        self,
        operation: Callable[..., Iterator[T]],
        *arguments: Any,
        pixels: float,
        parts: Sequence[Progress | None],
        **options: Any,
    ) -> Generator[T, None, None]:
        if self._borrowed:
            yield from super().stream(operation, *arguments, pixels=pixels, parts=parts, **options)
        else:
            yield from self._borrow(operation, arguments, options, pixels, parts)

    def encode(self, picture: Picture, color: bool, progress: Progress | None = None, scale: float = 1.0) -> Encoding:
        pixels = network_pixels(picture.height, picture.width, color, scale, decodes=0)
        return self.run(Pipeline.encode, picture, color, pixels=pixels, progress=progress, scale=scale)

    def encode_and_write(
        self,
        picture: Picture,
        color: bool,
        quality: float = DEFAULT_QUALITY,
        scale: Scale | None = None,
        target_bpp: float | None = None,
        max_bytes: int | None = None,
        progress: Progress | None = None,
        refine: int = 0,
    ) -> tuple[Encoding, Compressed]:
        arguments = picture, color, quality, scale, target_bpp, max_bytes
        if not refine:  # it encodes once, and borrows the GPU for that
            return super().encode_and_write(*arguments, progress)
        most, size = size_limit(picture, target_bpp, max_bytes), (picture.height, picture.width)
        chosen = scale_or_default(scale, most is not None)
        pixels = network_pixels(*size, color, chosen, max_bytes=most, decodes=0, refine=refine)
        return self.run(Pipeline.encode_and_write, *arguments, pixels=pixels, progress=progress, refine=refine)

    def encode_within(
        self, picture: Picture, color: bool, max_bytes: int, progress: Progress | None = None
    ) -> Encoding:
        pixels = network_pixels(picture.height, picture.width, color, "auto", max_bytes=max_bytes, decodes=0)
        return self.run(Pipeline.encode_within, picture, color, max_bytes, pixels=pixels, progress=progress)

    def decode(self, encoding: Encoding, progress: Progress | None = None) -> Decoding:
        return self.run(Pipeline.decode, encoding, pixels=encoding.work(decodes=1), progress=progress)

    def refinement(
        self,
        picture: Picture,
        encoding: Encoding,
        quality: float,
        steps: int,
        progress: Progress | None = None,
        *,
        max_bytes: int | None = None,
        seed: int = 0,
    ) -> Generator[RefinementStep, None, None]:
        arguments, options = (picture, encoding, quality, steps), {"max_bytes": max_bytes, "seed": seed}
        pixels = encoding.work(decodes=1, refine=steps)
        yield from self.stream(Pipeline.refinement, *arguments, pixels=pixels, parts=[progress], **options)

    def _borrow(
        self,
        operation: Callable[..., Any],
        arguments: Sequence[Any],
        options: dict[str, Any],
        pixels: float,
        parts: Sequence[Progress | None],
    ) -> Generator[Any, None, None]:
        """What an operation returns or yields in the process that has the GPU. Progress is reported, errors raised."""
        raise_if_cancelled()  # for a visitor who left, no GPU is borrowed
        with closing(self._lend(seconds(pixels), operation, len(parts), *arguments, **options)) as messages:
            for message in messages:
                if message.error:
                    raise message.error
                if message.part is None:
                    yield message.value
                    continue
                raise_if_cancelled()
                if progress := parts[message.part]:
                    progress(message.share)


def seconds(pixels: float) -> int:
    """For how many seconds to borrow a GPU, at most.

    Args:
        pixels: By `network_pixels`.
    """
    return START_SECONDS + round(pixels / PIXELS_PER_SECOND)


def _messages(work: Callable[..., Any], parts: int) -> Iterator[_Message]:
    """Do work, given a callback for the progress of each part. Yield its progress, and what it returns or yields.

    It runs in a thread beside the one that sends, because its progress comes by callbacks. Of an exception that leaves
    the process, only the name of its class arrives: errors are messages as well.
    """
    messages: queue.SimpleQueue[_Message | Exception | None] = queue.SimpleQueue()
    closed, last = threading.Event(), time.monotonic()

    def raise_if_closed() -> None:
        if closed.is_set():
            raise _Closed

    def report(part: int) -> Progress:
        def progress(share: float) -> None:
            nonlocal last
            raise_if_closed()
            if time.monotonic() - last > PROGRESS_INTERVAL:
                last = time.monotonic()
                messages.put(_Message(share, part))

        return progress

    def run() -> None:
        CANCELLATION.set(raise_if_closed)
        try:
            result = work(*map(report, range(parts)))
            for value in result if isinstance(result, Iterator) else [result]:
                raise_if_closed()
                messages.put(_Message(value=value))
        except ResidaeError as error:
            messages.put(_Message(error=error))
        except _Closed:
            pass
        except Exception as error:
            messages.put(error)
        finally:
            messages.put(None)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while (message := messages.get()) is not None:
            if isinstance(message, Exception):
                raise message
            yield message
    finally:
        closed.set()
        thread.join()
