"""On a ZeroGPU Space, a GPU is lent for one call at a time, to a process that is forked for it.

Weights are placed before the first fork, by the main thread; the package `spaces` stands in for CUDA until then. What
crosses over is pickled, so arguments and results are arrays on the CPU. Everywhere else none of this is used.
"""

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from residae.checkpoint import Checkpoint
from residae.codec import Compressed
from residae.errors import ResidaeError
from residae.geometry import scaled_shape
from residae.image import Picture
from residae.pipeline import Decoding, Encoding, Pipeline
from residae.progress import Progress
from residae.refine import OnStep

try:
    from spaces import GPU
except ImportError:  # not on a Space, so nothing calls it
    GPU = None

ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as `spaces` itself reads it

# What is asked for decides a visitor's place in the queue. The network takes 2.03 MFLOP a pixel, both ways: at a
# careful 20 TFLOP/s, and half as many pixels again for chroma, 6.6 million pixels a second. The rest is for the start.
START_SECONDS = 10
PIXELS_PER_SECOND = 5e6
STEP_WORK = 2  # of a step of refinement, relative to encoding and decoding once

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class ZeroGpuPipeline(Pipeline):
    """A pipeline whose network runs only while a GPU is lent to it. Open it on the main thread, before any call."""

    def __init__(self, checkpoint: Checkpoint, *ignored: object) -> None:
        super().__init__(checkpoint, "cuda")  # whichever device and precision are asked for
        _ = self._gradient_decoder  # its weights must be placed now
        self._encode = _lent(super().encode, lambda picture, *arguments: _seconds(picture, arguments[-1]))
        self._decode = _lent(super().decode, lambda encoding: _seconds(encoding, encoding.scale))
        self._refine = _lent(
            super().refine,
            lambda _, encoding, quality, steps, **options: _seconds(encoding, encoding.scale, 1 + STEP_WORK * steps),
        )

    def encode(self, picture: Picture, color: bool, progress: Progress | None = None, scale: float = 1.0) -> Encoding:
        return self._encode(picture, color, None, scale)  # progress cannot be pickled; the work takes a second or two

    def decode(self, encoding: Encoding, progress: Progress | None = None) -> Decoding:
        return self._decode(encoding)

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
        return self._refine(picture, encoding, quality, steps, max_bytes=max_bytes, seed=seed)


def seconds(height: int, width: int, times: float = 1) -> int:
    """How long a GPU is asked for, at most, to send a picture of this size, after scaling, through the network."""
    return START_SECONDS + round(times * height * width / PIXELS_PER_SECOND)


def _seconds(picture: Picture | Encoding, scale: float, times: float = 1) -> int:
    return seconds(*scaled_shape(picture.height, picture.width, scale), times)


def _lent(work: Callable[Arguments, Result], duration: Callable[..., int]) -> Callable[Arguments, Result]:
    def try_to_work(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result | ResidaeError:
        try:
            return work(*arguments, **named)
        except ResidaeError as error:  # returned, since of what is raised there only the name of its class comes back
            return error

    on_gpu = GPU(duration=duration)(try_to_work)

    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        result = on_gpu(*arguments, **named)
        if isinstance(result, ResidaeError):
            raise result
        return cast(Result, result)

    return call
