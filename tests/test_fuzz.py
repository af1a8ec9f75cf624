"""Fuzzing: a mutated file is decoded or refused with our own error, in bounded time and memory.

The short tests use the same mutations every time. `python -m pytest -m long -k fuzz` mutates 100,000 `.rae` files and
20,000 pictures at random, and prints how many were opened and refused.
"""

import io
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_codec import CODEC, latents_of, sealed

from residae.codec import Decompressed, read_info
from residae.errors import CodecError, ImageError, ResidaeError
from residae.geometry import MAX_PIXELS, MAX_SCALE, MAX_SIDE, MIN_SCALE, scaled_shape
from residae.image import FORMATS, Picture, open_picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

MAX_SECONDS = 60  # for one file of the long tests; generous, because the machine may be busy
BATCH = 1000  # files per run of Hypothesis, which keeps all examples of a run in memory


@dataclass
class Tally:
    """How many files were opened and refused, and the longest time and the most memory that one of them took."""

    opened: int = 0
    refused: int = 0
    seconds: float = 0
    bytes: int = 0

    def open(self, reader: Callable[[bytes], Any], data: bytes, refusal: type[ResidaeError]) -> Any:
        """Read a file: its content, or None if `reader` raises `refusal`. Any other exception fails the test."""
        tracemalloc.start()
        start = time.perf_counter()
        found = None
        with suppress(refusal):
            found = reader(data)
        self.seconds = max(self.seconds, time.perf_counter() - start)
        self.bytes = max(self.bytes, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        self.opened += found is not None
        self.refused += found is None
        return found

    def __str__(self) -> str:
        resident = psutil.Process().memory_info().rss
        return (
            f"{self.opened + self.refused:,} files: {self.opened:,} opened, {self.refused:,} refused, 0 crashed; "
            f"longest {self.seconds:.2f} s, most {self.bytes / 1e6:.0f} MB, all {resident / 1e6:.0f} MB"
        )


def run_batches(number: int, prepare: Callable[..., Callable[[], None]], *tallies: Tally) -> None:
    """Check a property on `number` batches of random files."""
    for _ in range(number):
        settings(max_examples=BATCH, deadline=None, database=None)(prepare(*tallies))()


Mutation = tuple[str, int, int, bytes]
PLACES = st.one_of(st.integers(0, 48), st.integers(0, 2**16))  # in or near the header, or anywhere
NUMBERS = st.one_of(st.sampled_from([0, 1, 2, 3, 13, 255, 10_001, 0x7FFF, 65_500, 0xFFFF]), st.integers(0, 0xFFFF))
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "word", "cut", "drop", "put", "repeat"]),
        PLACES,
        NUMBERS,
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=6,
)


def mutate(data: bytes, mutations: list[Mutation]) -> bytes:
    file = bytearray(data)
    for kind, place, number, content in mutations:
        at = place % (len(file) + 1)
        match kind:
            case "flip":
                file[at : at + 1] = bytes(byte ^ 1 << number % 8 for byte in file[at : at + 1])
            case "word":
                file[at : at + 2] = number.to_bytes(2, "little")
            case "cut":
                del file[at:]
            case "drop":
                del file[at : at + number % 64]
            case "put":
                file[at:at] = content
            case "repeat":
                file[at:at] = file[at : at + number % 64] * 3
    return bytes(file)


# --- .rae ---


def _compressed(height: int, width: int, planes: int, quality: float, amplitude: float, scale: float = 1.0) -> bytes:
    latents = latents_of(*scaled_shape(height, width, scale), planes, 0, amplitude)
    return CODEC.compress(latents, height, width, quality, scale).data


RAE_BYTES = 80e6  # per file, at most: 64 megapixels with 2 latent channels take 43 MB
RAE = [
    _compressed(1, 1, 1, 50, 20),
    _compressed(70, 90, 1, 80, 20),
    _compressed(33, 49, 3, 100, 20),
    _compressed(70, 90, 3, 0, 20),
    _compressed(20, 300, 3, 95.5, 1e6),  # with escapes
    _compressed(70, 90, 1, 60, 20, 0.5),
    _compressed(33, 49, 3, 60, 20, 2.83),
]


def check_rae(tally: Tally, data: bytes) -> None:
    found: Decompressed | None = tally.open(CODEC.decompress, data, CodecError)
    if not found:
        return
    info = read_info(data)
    assert info == found.info
    assert 0 < info.width <= MAX_SIDE
    assert 0 < info.height <= MAX_SIDE
    assert info.width * info.height <= MAX_PIXELS
    assert MIN_SCALE <= info.scale <= MAX_SCALE
    tall, wide = scaled_shape(info.height, info.width, info.scale)
    assert tall <= MAX_SIDE
    assert wide <= MAX_SIDE
    assert tall * wide <= MAX_PIXELS
    sizes = [(tall, wide)] + [(-(-tall // 2), -(-wide // 2))] * (2 if info.color else 0)
    for latent, (height, width) in zip(found.latents, sizes, strict=True):
        assert latent.shape == (2, -(-height // 16), -(-width // 16))
        assert np.isfinite(latent).all()


def rae_property(tally: Tally) -> Callable[[], None]:
    """Three of four files get a correct checksum, without which only the checksum would be tested."""

    @given(st.sampled_from(RAE), MUTATIONS, st.sampled_from([True, True, True, False]))
    def test(data: bytes, mutations: list[Mutation], seal: bool) -> None:
        check_rae(tally, sealed(mutate(data[:-4], mutations)) if seal else mutate(data, mutations))

    return test


def test_mutated_rae_files() -> None:
    tally = Tally()
    settings(max_examples=600, deadline=None, derandomize=True, database=None)(rae_property(tally))()
    assert tally.opened
    assert tally.refused
    assert tally.bytes < RAE_BYTES


@pytest.mark.long
def test_100_000_mutated_rae_files(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    run_batches(100, rae_property, tally)
    with capsys.disabled():
        print(f"\n.rae: {tally}")
    assert tally.bytes < RAE_BYTES
    assert tally.seconds < MAX_SECONDS


# --- Pictures ---

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("1", "L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "I", "F"),
    "AVIF": ("RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "PNG": [{}, {"compress_level": 0}],
    "JPEG": [{"quality": 95, "subsampling": 0}, {"progressive": True}],
    "WEBP": [{"lossless": True}, {"quality": 50}],
    "GIF": [{}, {"interlace": 0}],
    "BMP": [{}],
    "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}, {"compression": "packbits"}],
    "AVIF": [{"speed": 10}],
    "JPEG2000": [{}, {"no_jp2": True}],
}
PICTURE_BYTES = 400e6  # per mutated file, at most: a few bytes may hold 64 megapixels


@dataclass
class Stored:
    """A picture file, and what opening it must give."""

    file: bytes
    size: tuple[int, int]  # upright
    gray: bool
    pixels: np.ndarray | None  # the exact pixels, or None where a conversion changes them


@st.composite
def pictures(draw: st.DrawFn) -> Stored:
    kind = draw(st.sampled_from(list(FORMATS)))
    mode = draw(st.sampled_from(MODES[kind]))
    options = draw(st.sampled_from(OPTIONS[kind]))
    orientation = draw(st.integers(1, 8)) if kind in ("PNG", "WEBP", "AVIF", "TIFF", "JPEG") else 1
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 4), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
    else:
        image = Image.fromarray(noise if mode == "RGBA" else noise[..., :3]).convert(mode)
    if mode == "YCbCr":
        options = {"compression": "tiff_lzw"}  # without, it is refused
    if orientation > 1:
        exif = Image.Exif()
        exif[0x112] = orientation
        options = options | {"exif": exif.tobytes()}
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    exact = mode in ("1", "L", "RGB") and orientation == 1 and (kind in ("PNG", "BMP", "TIFF", "JPEG2000"))
    return Stored(
        buffer.getvalue(),
        (width, height) if orientation >= 5 else (height, width),
        mode in ("1", "L", "LA", "I;16", "I", "F"),
        np.asarray(image.convert("L" if mode == "1" else mode)) if exact else None,
    )


def check_picture(tally: Tally, data: bytes) -> Picture | None:
    found: Picture | None = tally.open(open_picture, data, ImageError)
    if found:
        assert found.pixels.dtype == np.uint8
        assert found.pixels.shape[2:] in ((), (3,))
        assert found.width * found.height <= MAX_PIXELS
        assert max(found.width, found.height) <= MAX_SIDE
    return found


def picture_property(tally: Tally, mutated_tally: Tally) -> Callable[[], None]:
    @given(pictures(), MUTATIONS)
    def test(stored: Stored, mutations: list[Mutation]) -> None:
        whole = check_picture(tally, stored.file)
        assert whole
        assert (whole.height, whole.width) == stored.size
        if not stored.file.startswith(b"GIF"):  # which stores gray as a palette
            assert whole.pixels.ndim == (2 if stored.gray else 3)
        assert stored.pixels is None or np.array_equal(whole.pixels, stored.pixels)
        first, second = (check_picture(mutated_tally, mutate(stored.file, mutations)) for _ in range(2))
        assert (first is None) == (second is None)
        if first and second:
            assert np.array_equal(first.pixels, second.pixels)
            assert first.notices == second.notices

    return test


def test_pictures_of_every_kind_and_mutated_ones() -> None:
    tally, mutated_tally = Tally(), Tally()
    settings(max_examples=300, deadline=None, derandomize=True, database=None)(picture_property(tally, mutated_tally))()
    assert tally.refused == 0
    assert mutated_tally.opened
    assert mutated_tally.refused
    assert mutated_tally.bytes < PICTURE_BYTES


@pytest.mark.long
def test_20_000_pictures_of_every_kind_and_mutated_ones(capsys: pytest.CaptureFixture[str]) -> None:
    tally, mutated_tally = Tally(), Tally()
    run_batches(20, picture_property, tally, mutated_tally)
    with capsys.disabled():
        print(f"\npictures: {tally}\nmutated:  {mutated_tally}")
    assert tally.refused == 0
    assert mutated_tally.seconds < MAX_SECONDS
