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
from typing import Any, cast

from residae.checkpoint import Checkpoint
from residae.codec import Compressed
from residae.errors import ResidaeError
from residae.geometry import Scale
from residae.image import Picture
from residae.pipeline import Decoding, Encoding, Pipeline, scale_or_default
from residae.progress import CANCELLATION, Progress
from residae.quality import DEFAULT_QUALITY
from residae.refine import OnStep, RefinementStep
from residae.ui.budget import network_pixels

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


@dataclass(frozen=True)
class _Message:
    """From the process that has the GPU: progress of a part, a step of refinement, a value or an error."""

    share: float = 0.0
    part: int = 0
    step: RefinementStep | None = None
    value: Any = None
    error: ResidaeError | None = None


class _Closed(BaseException):
    """Nobody waits for the work in the process that has the GPU any more."""


class ZeroGpuPipeline(Pipeline):
    """A pipeline that borrows a GPU for each operation, once. Open it on the main thread, before any call.

    Files are written and results measured without it, unless the network needs the file's size to go on: to choose a
    scale or quality by it, or to refine. The GPU is given back when the work is done, also where nobody takes the
    results yet, and when it is stopped.
    """

    def __init__(self, checkpoint: Checkpoint, *ignored: object) -> None:
        super().__init__(checkpoint, "cuda")  # whichever device and precision are requested
        _ = self._gradient_decoder  # its weights must be placed now
        self._borrowed = False  # True in the forked process

        def run(_: int, operation: str, parts: int, *arguments: Any, **options: Any) -> Iterator[_Message]:
            self._borrowed = True
            yield from _stream(getattr(self, operation), parts, arguments, options)

        self._run_on_gpu = GPU(duration=lambda seconds, *_, **__: seconds)(run)

    def encode(self, picture: Picture, color: bool, progress: Progress | None = None, scale: float = 1.0) -> Encoding:
        if self._borrowed:
            return super().encode(picture, color, progress, scale)
        duration = seconds(_pixels(picture, color, scale, decodes=0))
        return cast(Encoding, self._borrow(duration, "encode", picture, color, progress=progress, scale=scale))

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
        if self._borrowed or not refine:  # without refinement it encodes once, and borrows the GPU for that
            return super().encode_and_write(*arguments, progress, refine)
        chosen = scale_or_default(scale, target_bpp is not None or max_bytes is not None)
        duration = seconds(_pixels(picture, color, chosen, decodes=0, refine=refine))
        result = self._borrow(duration, "encode_and_write", *arguments, progress=progress, refine=refine)
        return cast(tuple[Encoding, Compressed], result)

    def encode_within(
        self, picture: Picture, color: bool, max_bytes: int, progress: Progress | None = None
    ) -> Encoding:
        if self._borrowed:
            return super().encode_within(picture, color, max_bytes, progress)
        duration = seconds(_pixels(picture, color, "auto", decodes=0))
        return cast(Encoding, self._borrow(duration, "encode_within", picture, color, max_bytes, progress=progress))

    def decode(self, encoding: Encoding, progress: Progress | None = None) -> Decoding:
        if self._borrowed:
            return super().decode(encoding, progress)
        return cast(Decoding, self._borrow(seconds(_decoded_pixels(encoding)), "decode", encoding, progress=progress))

    def decode_each(
        self, encodings: Sequence[Encoding], parts: Sequence[Progress | None]
    ) -> Generator[Decoding, None, None]:
        if self._borrowed:
            yield from super().decode_each(encodings, parts)
            return
        duration = seconds(sum(map(_decoded_pixels, encodings)))
        yield from self._borrow_each(duration, "decode_each", encodings, parts=parts)

    def encode_and_decode(
        self,
        picture: Picture,
        color: bool,
        quality: float | None,
        scale: Scale,
        refine: int,
        max_bytes: int | None,
        progress: Progress | None,
    ) -> tuple[Encoding, Compressed | None, Decoding]:
        arguments = picture, color, quality, scale, refine, max_bytes
        if self._borrowed:
            return super().encode_and_decode(*arguments, progress)
        duration = seconds(_pixels(picture, color, scale, refine=refine))
        result = self._borrow(duration, "encode_and_decode", *arguments, progress=progress)
        return cast(tuple[Encoding, Compressed | None, Decoding], result)

    def refine(
        self,
        picture: Picture,
        encoding: Encoding,
        quality: float,
        steps: int,
        *,
        max_bytes: int | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
        progress: Progress | None = None,
    ) -> Compressed:
        arguments = picture, encoding, quality, steps
        options: dict[str, Any] = {"max_bytes": max_bytes, "seed": seed, "on_step": on_step, "progress": progress}
        if self._borrowed:
            return super().refine(*arguments, **options)
        duration = seconds(_decoded_pixels(encoding, refine=steps))
        return cast(Compressed, self._borrow(duration, "refine", *arguments, **options))

    def _borrow(
        self,
        duration: int,
        operation: str,
        *arguments: Any,
        progress: Progress | None = None,
        on_step: OnStep | None = None,
        **options: Any,
    ) -> Any:
        """What an operation returns in the process that has the GPU; the best file so far if `on_step` stops it."""
        if on_step:
            options["on_step"] = True
        result = None
        with closing(self._messages(duration, operation, [progress], *arguments, **options)) as messages:
            for message in messages:
                if message.step is None:
                    result = message.value
                elif on_step and on_step(message.step) is False:
                    return message.step.best
        return result

    def _borrow_each(
        self, duration: int, operation: str, *arguments: Any, parts: Sequence[Progress | None]
    ) -> Generator[Any, None, None]:
        """What an operation yields in the process that has the GPU."""
        with closing(self._messages(duration, operation, parts, *arguments)) as messages:
            yield from (message.value for message in messages if message.value is not None)

    def _messages(
        self, duration: int, operation: str, parts: Sequence[Progress | None], *arguments: Any, **options: Any
    ) -> Generator[_Message, None, None]:
        """What the process that has the GPU has to say. Progress is reported, errors are raised."""
        for progress in parts[:1]:
            if progress:
                progress(1e-6)  # raises if the visitor left, for whom no GPU is to be borrowed
        lent = self._run_on_gpu(duration, operation, len(parts), *arguments, **options)
        with closing(lent) as messages:
            for message in messages:
                if message.error:
                    raise message.error
                if message.share:
                    progress = parts[message.part]
                    if progress:
                        progress(message.share)
                else:
                    yield message


def seconds(pixels: float) -> int:
    """For how many seconds to borrow a GPU, at most.

    Args:
        pixels: By `network_pixels`.
    """
    return START_SECONDS + round(pixels / PIXELS_PER_SECOND)


def _pixels(picture: Picture, color: bool, scale: Scale = 1.0, **work: Any) -> float:
    return network_pixels(picture.height, picture.width, color, scale, **work)


def _decoded_pixels(encoding: Encoding, refine: int = 0) -> float:
    color = len(encoding.latents) == 3
    return network_pixels(encoding.height, encoding.width, color, encoding.scale, encodes=0, refine=refine)


def _stream(
    operation: Callable[..., Any], parts: int, arguments: Sequence[Any], options: dict[str, Any]
) -> Iterator[_Message]:
    """Run an operation, and yield its progress, its steps and what it returns or yields.

    It runs in a thread beside the one that sends, because its progress comes by callbacks. Of an exception that leaves
    the process, only the name of its class arrives: errors are messages as well.
    """
    messages: queue.SimpleQueue[_Message | Exception | None] = queue.SimpleQueue()
    closed, last = threading.Event(), time.monotonic()

    def raise_if_closed() -> None:
        if closed.is_set():
            raise _Closed

    def put(message: _Message) -> None:
        raise_if_closed()
        messages.put(message)

    def report(part: int) -> Progress:
        def progress(share: float) -> None:
            nonlocal last
            raise_if_closed()
            if time.monotonic() - last > PROGRESS_INTERVAL:
                last = time.monotonic()
                put(_Message(share, part))

        return progress

    def work() -> None:
        CANCELLATION.set(raise_if_closed)
        try:
            if options.pop("on_step", False):
                options["on_step"] = lambda step: put(_Message(step=step))
            if operation.__name__ == "decode_each":
                for value in operation(*arguments, [report(part) for part in range(parts)]):
                    put(_Message(value=value))
            else:
                put(_Message(value=operation(*arguments, progress=report(0), **options)))
        except ResidaeError as error:
            messages.put(_Message(error=error))
        except _Closed:
            pass
        except Exception as error:
            messages.put(error)
        finally:
            messages.put(None)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while (message := messages.get()) is not None:
            if isinstance(message, Exception):
                raise message
            yield message
    finally:
        closed.set()
        thread.join()
