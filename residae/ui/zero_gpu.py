"""Running on a ZeroGPU Space, which lends a GPU to one call at a time, in a process that is forked for it.

The main thread places the weights before the first fork, until when the package `spaces` stands in for CUDA. Arguments
and results are pickled, so they are arrays on the CPU. Nothing of this is used elsewhere.
"""

import os
from typing import Any, cast

from residae.checkpoint import Checkpoint
from residae.codec import Compressed
from residae.errors import ResidaeError
from residae.geometry import scaled_shape
from residae.image import Picture, PictureLike, as_picture
from residae.pipeline import Decoding, Encoding, Pipeline, Reconstruction, Scale
from residae.progress import Progress
from residae.rate_control import MAX_ENCODINGS
from residae.refine import OnStep

try:
    from spaces import GPU
except ImportError:  # not on a Space, where nothing uses it
    GPU = None

ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as the package `spaces` reads it

# The requested duration decides a visitor's place in the queue. Encoding and decoding take 2.03 MFLOP per pixel, and
# chroma adds half as many pixels: at a conservative 20 TFLOP/s, 6.6 million pixels per second, less some time to write
# the file and to measure.
START_SECONDS = 10  # to fork and to move the weights
PIXELS_PER_SECOND = 4e6
STEP_TIMES = 2  # of a step of refinement, relative to encoding and decoding once
AUTO_SCALE = 2.0  # the largest that rate control chooses for most files


class ZeroGpuPipeline(Pipeline):
    """A pipeline that borrows a GPU for each operation, once. Open it on the main thread, before any call.

    It reports no progress, because a callback cannot be pickled.
    """

    def __init__(self, checkpoint: Checkpoint, *ignored: object) -> None:
        super().__init__(checkpoint, "cuda")  # whichever device and precision are requested
        _ = self._gradient_decoder  # its weights must be placed now
        self._borrowed = False  # True in the forked process

        def run(_: int, operation: str, *arguments: Any, **options: Any) -> Any:
            self._borrowed = True
            try:
                return getattr(self, operation)(*arguments, **options)
            except ResidaeError as error:  # of an exception that is raised here, only the name of its class comes back
                return error

        self._run_on_gpu = GPU(duration=lambda seconds, *_, **__: seconds)(run)

    def encode(self, picture: Picture, color: bool, progress: Progress | None = None, scale: float = 1.0) -> Encoding:
        if self._borrowed:
            return super().encode(picture, color, None, scale)
        duration = seconds(*scaled_shape(picture.height, picture.width, scale))
        return cast(Encoding, self._borrow(duration, "encode", picture, color, None, scale))

    def decode(self, encoding: Encoding, progress: Progress | None = None) -> Decoding:
        if self._borrowed:
            return super().decode(encoding)
        duration = seconds(*scaled_shape(encoding.height, encoding.width, encoding.scale))
        return cast(Decoding, self._borrow(duration, "decode", encoding))

    def reconstruct(
        self,
        picture: PictureLike,
        color: bool | None = None,
        quality: float | None = None,
        progress: Progress | None = None,
        scale: Scale = 1.0,
        refine: int = 0,
        max_bytes: int | None = None,
    ) -> Reconstruction:
        picture = as_picture(picture)
        arguments = picture, color, quality, None, scale, refine, max_bytes
        if self._borrowed:
            return super().reconstruct(*arguments)
        expected, encodings = (AUTO_SCALE, MAX_ENCODINGS) if scale == "auto" else (scale, 1)
        duration = seconds(*scaled_shape(picture.height, picture.width, expected), encodings + STEP_TIMES * refine)
        return cast(Reconstruction, self._borrow(duration, "reconstruct", *arguments))

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
        options: dict[str, Any] = {"max_bytes": max_bytes, "seed": seed}
        if self._borrowed:
            return super().refine(picture, encoding, quality, steps, **options)
        duration = seconds(*scaled_shape(encoding.height, encoding.width, encoding.scale), 1 + STEP_TIMES * steps)
        return cast(Compressed, self._borrow(duration, "refine", picture, encoding, quality, steps, **options))

    def _borrow(self, duration: int, operation: str, *arguments: Any, **options: Any) -> Any:
        """Run an operation in the process that has the GPU."""
        result = self._run_on_gpu(duration, operation, *arguments, **options)
        if isinstance(result, ResidaeError):
            raise result
        return result


def seconds(height: int, width: int, times: float = 1) -> int:
    """How long to borrow a GPU, at most, to encode and decode a picture of this size after scaling so many times."""
    return START_SECONDS + round(times * height * width / PIXELS_PER_SECOND)
