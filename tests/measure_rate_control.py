"""Measure how well rate control does: `python -m tests.measure_rate_control FOLDER [--rates 0.05,0.1] [--path]`

For each picture of the folder (luma) and each rate, compare the scale that `residae.rate_control` chooses with the best
of a search over the scales, each with the quality that fills the same bytes. The search goes up and down from the
chosen scale, each way until several scales in a row are no better than the best so far. With --path, follow the choice
along the rates instead: bytes should always grow, and PSNR should hardly ever fall.
"""

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from residae.cli.arguments import comma_separated, positive
from residae.errors import CodecError
from residae.evaluate import open_pictures
from residae.image import Picture
from residae.pipeline import Encoding, Pipeline
from residae.rate_control import usable_scales

RATES = [0.05, 0.1, 0.2, 0.4, 0.8]  # bits per pixel


def main() -> None:
    """Print a row for each picture and rate, then means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rates", type=comma_separated(positive(float)), default=RATES, metavar="B,...")
    parser.add_argument("--path", action="store_true", help="follow the choice along the rates, without a search")
    parser.add_argument("--patience", type=positive(int), default=3, help="scales in a row that end the search one way")
    parser.add_argument("--crop", metavar="WxH", help="use the middle of each picture alone")
    parser.add_argument("--names", type=comma_separated(str), help="use these pictures alone")
    parser.add_argument("--dtype", help="precision of the network")
    parsed = parser.parse_args()
    pipeline = Pipeline.open(dtype=parsed.dtype)
    pictures = (
        (file.path.stem, crop(picture, parsed.crop) if parsed.crop else picture)
        for file, _, picture in open_pictures(parsed.folder)
        if not parsed.names or file.path.stem in parsed.names
    )
    measure = print_path if parsed.path else print_losses
    rows = [row for name, picture in pictures for row in measure(pipeline, name, picture, parsed)]
    for rate in parsed.rates:
        values = [value for of, value in rows if of == rate]
        if values:
            what = "mean PSNR" if parsed.path else "mean loss"
            print(f"{rate:g} bpp: {what} {fmean(values):.3f} dB, least {min(values):.3f}, most {max(values):.3f}")


def print_losses(
    pipeline: Pipeline, name: str, picture: Picture, parsed: argparse.Namespace
) -> list[tuple[float, float]]:
    """Rates and what the choice loses at each, in dB."""
    cache = Encodings(pipeline, picture)
    rows = []
    for rate in parsed.rates:
        max_bytes = int(rate * picture.width * picture.height / 8)
        chosen, tried = cache.choose(max_bytes)
        found = {chosen: cache.measure(chosen, max_bytes)}
        scales = usable_scales(picture.height, picture.width)
        start = scales.index(chosen)
        for way in (reversed(scales[:start]), scales[start + 1 :]):
            worse = 0
            for scale in way:
                best_so_far = max(decibels for _, decibels, _ in found.values())
                found[scale] = cache.measure(scale, max_bytes)
                worse = 0 if found[scale][1] > best_so_far else worse + 1
                if worse == parsed.patience:
                    break
        best = max(found, key=lambda scale: found[scale][1])
        loss = found[best][1] - found[chosen][1]
        rows.append((rate, loss))
        print(
            f"{name:<12}{rate:>6g} bpp  chosen {chosen:.2f} q{found[chosen][0]:.0f} {found[chosen][1]:.2f} dB "
            f"(by {', '.join(f'{scale:g}' for scale in tried)})  "
            f"best {best:.2f} q{found[best][0]:.0f} {found[best][1]:.2f} dB  loss {loss:.3f}",
            flush=True,
        )
    return rows


def print_path(
    pipeline: Pipeline, name: str, picture: Picture, parsed: argparse.Namespace
) -> list[tuple[float, float]]:
    """Rates and the PSNR at each, in dB."""
    cache = Encodings(pipeline, picture)
    rows, sizes, scales = [], [], []
    for rate in sorted(parsed.rates):
        max_bytes = int(rate * picture.width * picture.height / 8)
        try:
            scale, _ = cache.choose(max_bytes)
            _, decibels, size = cache.measure(scale, max_bytes)
        except CodecError:
            continue
        rows.append((rate, decibels))
        sizes.append(size)
        scales.append(scale)
    falls = [before - after for (_, before), (_, after) in itertools.pairwise(rows)]
    print(
        f"{name:<12}{len(rows)} rates, scales {scales[0]:g} to {scales[-1]:g}, bytes "
        f"{'grow' if all(a < b for a, b in itertools.pairwise(sizes)) else 'DO NOT GROW'}, largest fall of PSNR "
        f"{max(0.0, *falls):.3f} dB",
        flush=True,
    )
    return rows


class Encodings:
    """The encodings of one picture, each made once."""

    def __init__(self, pipeline: Pipeline, picture: Picture) -> None:
        self.pipeline, self.picture = pipeline, picture
        self.encoded: dict[float, Encoding] = {}
        self.measured: dict[tuple[float, float], float] = {}

    def encode(self, scale: float) -> Encoding:
        if scale not in self.encoded:
            self.encoded[scale] = self.pipeline.encode(self.picture, False, scale=scale)
        return self.encoded[scale]

    def choose(self, max_bytes: int) -> tuple[float, list[float]]:
        """The chosen scale, and all that were encoded to find it."""
        tried: list[float] = []

        def encode(picture: Picture, color: bool, progress: object, scale: float) -> Encoding:
            tried.append(scale)
            return self.encode(scale)

        recorder = Recorder(self.pipeline, encode)
        return recorder.encode_within(self.picture, False, max_bytes).scale, tried

    def measure(self, scale: float, max_bytes: int) -> tuple[float, float, int]:
        """Quality, PSNR and bytes of the file within so many bytes; minus infinity if there is none."""
        encoding = self.encode(scale)
        try:
            compressed = self.pipeline.write_within(encoding, max_bytes)
        except CodecError:
            return 0.0, -math.inf, 0
        key = scale, compressed.quality
        if key not in self.measured:
            self.measured[key] = self.pipeline.decode_and_measure(self.picture, encoding, compressed).psnr
        return compressed.quality, self.measured[key], len(compressed.data)


class Recorder(Pipeline):
    """A pipeline with another way to encode."""

    def __init__(self, pipeline: Pipeline, encode: Callable[..., Encoding]) -> None:
        self.__dict__.update(pipeline.__dict__)
        self.encode = encode  # type: ignore[method-assign]


def crop(picture: Picture, size: str) -> Picture:
    """The middle of a picture, or as much of it as there is; on its side if the picture is upright."""
    width, height = map(int, size.split("x"))
    if picture.height > picture.width:
        width, height = height, width
    top, left = max(0, (picture.height - height) // 2), max(0, (picture.width - width) // 2)
    return replace(picture, pixels=picture.pixels[top : top + height, left : left + width], file_bytes=None)


if __name__ == "__main__":
    main()
