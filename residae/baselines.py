"""Widely used codecs at a byte budget: JPEG, WebP, AVIF and JPEG 2000 by Pillow, JPEG XL by imagecodecs, in memory."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from PIL import Image

from residae.geometry import MAX_SIDE
from residae.image import Pixels


def _encode_with_pillow(pixels: Pixels, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def _decode_with_pillow(data: bytes, mode: str) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(mode))  # WebP knows no gray


def _encode_jpeg(pixels: Pixels, quality: int, _: int) -> bytes:
    return _encode_with_pillow(pixels, format="JPEG", quality=quality, optimize=True, progressive=True)


def _encode_webp(pixels: Pixels, quality: int, method: int) -> bytes:
    return _encode_with_pillow(pixels, format="WEBP", quality=quality, method=method)


def _encode_avif(pixels: Pixels, quality: int, speed: int) -> bytes:
    subsampling = "4:0:0" if pixels.ndim == 2 else "4:2:0"
    return _encode_with_pillow(pixels, format="AVIF", quality=quality, speed=speed, subsampling=subsampling)


def _encode_jpeg2000(pixels: Pixels, step: int, _: int) -> bytes:
    levels = min(6, min(pixels.shape[:2]).bit_length())  # wavelet levels plus one; 6 needs a side of 32 pixels
    return _encode_with_pillow(
        pixels,
        format="JPEG2000",
        irreversible=True,
        quality_layers=[_jpeg2000_ratio(step)],
        num_resolutions=levels,
        mct=pixels.ndim == 3,  # code luma and chroma rather than R, G and B
    )


def _jpeg2000_ratio(step: int) -> float:
    """The compression ratio asked of JPEG 2000: from 1,000 at step 0 to 1 at step 600."""
    return float(1000 * 10 ** (-step / 200))


def _encode_jpegxl(pixels: Pixels, step: int, effort: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpegxl_encode(pixels, distance=_jpegxl_distance(step), effort=effort, numthreads=1))


def _decode_jpegxl(data: bytes, _: str) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


def _jpegxl_distance(step: int) -> float:
    """The Butteraugli distance asked of JPEG XL: from 25, the most it takes, at step 0 to 0.05 at step 200."""
    return float(25 * 500 ** (-step / 200))


@dataclass(frozen=True)
class Baseline:
    """A codec whose rate is controlled by one whole number, its step: the file grows with it.

    Attributes:
        name: Of the codec.
        encode: (pixels, step, effort) to a file.
        steps: Lowest and highest step.
        max_side: Longest side of a picture in pixels.
        effort_name: What the codec calls its trade of time for bytes; empty if it has none.
        effort: The codec's own setting of that.
        efforts: Lowest and highest effort.
        decode: (file, Pillow's mode, L or RGB) to pixels.
        quality: Step to the quality, ratio or distance that the codec is asked for.
    """

    name: str
    encode: Callable[[Pixels, int, int], bytes]
    steps: tuple[int, int]
    max_side: int = MAX_SIDE
    effort_name: str = ""
    effort: int = 0
    efforts: tuple[int, int] = (0, 0)
    decode: Callable[[bytes, str], Pixels] = _decode_with_pillow
    quality: Callable[[int], float] = float

    @property
    def description(self) -> str:
        """The effort in words, such as `speed 6`."""
        return f"{self.effort_name} {self.effort}" if self.effort_name else ""

    def at_effort(self, effort: int) -> Self:
        """The same codec at another effort, which becomes part of its name.

        Args:
            effort: Within `efforts`, as the codec itself counts: a higher speed of AVIF means less work.

        Raises:
            ValueError: The codec has no such effort.
        """
        low, high = self.efforts
        if not self.effort_name:
            raise ValueError(f"{self.name} takes no effort")
        if not low <= effort <= high:
            raise ValueError(f"{self.name} takes a {self.effort_name} of {low} to {high}, not {effort}")
        return replace(self, effort=effort, name=f"{self.name} ({self.effort_name} {effort})")


CODECS = {
    baseline.name: baseline
    for baseline in (
        Baseline("JPEG", _encode_jpeg, (1, 95)),  # beyond 95 only the file grows
        Baseline("WebP", _encode_webp, (0, 100), 16_383, "method", 6, (0, 6)),
        Baseline("AVIF", _encode_avif, (0, 100), 32_768, "speed", 6, (0, 10)),  # Pillow opens no larger AVIF
        Baseline("JPEG 2000", _encode_jpeg2000, (0, 600), quality=_jpeg2000_ratio),
        Baseline(
            "JPEG XL",
            _encode_jpegxl,
            (0, 200),
            effort_name="effort",
            effort=7,
            efforts=(1, 10),
            decode=_decode_jpegxl,
            quality=_jpegxl_distance,
        ),
    )
}


def find_baseline(text: str) -> Baseline:
    """Find a baseline by a short text, as on the command line.

    Args:
        text: The name of a codec in lower case without spaces, such as `jpeg2000`; `avif:2` sets its effort as well.

    Returns:
        The codec, at its default effort if the text names none.

    Raises:
        ValueError: There is no such codec, or it has no such effort.
    """
    names = {name.lower().replace(" ", ""): name for name in CODECS}
    name, _, effort = text.partition(":")
    if name not in names:
        raise ValueError(f"there is no codec {name!r} among the baselines: {', '.join(names)}")
    baseline = CODECS[names[name]]
    if not effort:
        return baseline
    if not effort.isdecimal():
        raise ValueError(f"the effort of {name} is a whole number, not {effort!r}")
    return baseline.at_effort(int(effort))


@dataclass(frozen=True, eq=False)
class CodedPicture:
    """A picture as one codec codes it.

    Attributes:
        data: The file.
        pixels: The decoded picture, of the shape of the original.
        quality: What the codec was asked for: a quality, the ratio of JPEG 2000 or the distance of JPEG XL.
        encode_seconds: Of making this file, without the search for its quality.
        decode_seconds: Of decoding it.
    """

    data: bytes
    pixels: Pixels
    quality: float
    encode_seconds: float
    decode_seconds: float


def compress_within(
    pixels: Pixels,
    baseline: Baseline,
    max_bytes: int,
    progress: Callable[[float], None] | None = None,
    steps: tuple[int, int] | None = None,
) -> CodedPicture | None:
    """The best file of a codec within a byte budget, found by bisection on its step.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.
        baseline: The codec.
        max_bytes: Size of the whole file.
        progress: Called with the share done, in (0, 1]; it may raise to stop the work.
        steps: Lowest and highest step to look among, which are cut to those of the codec; all of them if None.

    Returns:
        The file and its picture, or None if the codec cannot make so small a file, or none of a picture of this size.
    """
    if max(pixels.shape[:2]) > baseline.max_side:
        return None
    low, high = baseline.steps
    if steps:
        low, high = max(low, steps[0]), min(high, steps[1])
    encoded, total = 0, (high - low + 1).bit_length()
    best: tuple[int, bytes, float] | None = None
    while low <= high:
        step = (low + high) // 2
        start = time.perf_counter()
        data = baseline.encode(pixels, step, baseline.effort)
        seconds = time.perf_counter() - start
        encoded += 1
        if progress:
            progress(encoded / total)
        if len(data) <= max_bytes:
            best, low = (step, data, seconds), step + 1
        else:
            high = step - 1
    if best is None:
        return None
    step, data, seconds = best
    start = time.perf_counter()
    decoded = baseline.decode(data, "L" if pixels.ndim == 2 else "RGB")
    return CodedPicture(data, decoded, baseline.quality(step), seconds, time.perf_counter() - start)
