"""The contract of residae.image, row by row of what may be uploaded, on pictures made here."""

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from residae.errors import ImageError, OutOfMemoryError
from residae.image import (
    FORMATS,
    MAX_FILE_BYTES,
    CropBox,
    Picture,
    crop,
    fit,
    from_planes,
    open_picture,
    to_gray,
    to_planes,
    write_png,
)
from residae.image import as_picture as picture_of

NO_WARNINGS = pytest.mark.filterwarnings(  # no warning of a library reaches anybody
    "error",
    "ignore::ResourceWarning",  # may be of what another test left, and is raised whenever it is collected
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
pytestmark = NO_WARNINGS

ON_WHITE = "Transparency is shown on white."
FIRST_FRAME = "Only the first frame is used."
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "BMP": {}, "TIFF": {}, "JPEG2000": {}, "WEBP": {"lossless": True}}
PRECISE = LOSSLESS | {"JPEG": {"quality": 98, "subsampling": 0}, "AVIF": {"quality": 98, "subsampling": "4:4:4"}}
ORIENTED = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """(height, width, 3): each channel a ramp of its own direction."""
    y, x = np.mgrid[:height, :width] / (max(height, width) - 1)
    return np.stack([255 * x, 255 * y, 255 - 127 * (x + y)], -1).round().astype(np.uint8)


def saved(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if kind == "GIF" and image.mode == "RGB":
        image = image.quantize(64)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_picture(pixels: np.ndarray) -> Picture:
    return Picture(pixels, (), 0)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, color: int, rows: bytes, *ancillary: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(ancillary) + body


def interlaced_png(pixels: np.ndarray, last_pass: int = 7) -> bytes:
    """A gray PNG of (H, W) in the seven passes of the standard, or the first of them."""
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [pixels[y::dy, x::dx] for y, x, dy, dx in starts[:last_pass]]
    rows = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    file = bytearray(png(pixels.shape[1], pixels.shape[0], 8, 0, rows))
    file[28] = 1
    file[29:33] = struct.pack(">I", zlib.crc32(file[12:29]))
    return bytes(file)


def with_chunks(file: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks right after its header, which ends at 8 + 25 bytes."""
    return file[:33] + b"".join(chunks) + file[33:]


def tiff(width: int, height: int, data: bytes, tags: dict[int, tuple[int, int]], next_directory: int = 0) -> bytes:
    """One strip of one sample, its directory at byte 8 and its data last; `tags` are (type, value)."""
    entries = {256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1), 278: (4, height)}
    entries |= {273: (4, 0), 279: (4, len(data))} | tags
    start = 8 + 2 + 12 * len(entries) + 4
    entries[273] = (4, start)
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(entries.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + struct.pack("<I", next_directory) + data


def repeated_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG of side x side black pixels whose last scan comes `scans` times."""
    file = saved(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:last] + file[last:-2] * scans + file[-2:]


def exif(orientation: int, field_type: int = 3) -> bytes:
    entry = struct.pack("<HHII", 0x112, field_type, 1, orientation)
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


def profile(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def swapped_profile() -> bytes:
    """sRGB whose red and blue primaries have changed places: it turns red into blue."""
    return profile("sRGB").replace(b"rXYZ", b"tmp_").replace(b"bXYZ", b"rXYZ").replace(b"tmp_", b"bXYZ")


def gray_profile() -> bytes:
    """Gray with a linear tone curve, made of the header and white point of Pillow's sRGB."""
    curve = b"curv" + bytes(8)
    white = b"XYZ " + bytes(4) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)  # D50
    at = 128 + 4 + 2 * 12
    table = struct.pack(">I", 2) + struct.pack(">4sII", b"wtpt", at, 20) + struct.pack(">4sII", b"kTRC", at + 20, 12)
    header = bytearray(profile("sRGB")[:128])
    header[:4] = struct.pack(">I", at + 32)
    header[16:20] = b"GRAY"
    return bytes(header) + table + white + curve


# --- Formats and where the bytes come from ---


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_exact_pixels(kind: str) -> None:
    pixels = noise(19, 37, 3)
    file = saved(pixels, kind, **LOSSLESS[kind])
    picture = open_picture(file)
    assert np.array_equal(picture.pixels, pixels)
    assert (picture.width, picture.height, picture.file_bytes, picture.notices) == (37, 19, len(file), ())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 33)])
def test_every_format_and_size_comes_back_at_its_size(kind: str, size: tuple[int, int]) -> None:
    picture = open_picture(saved(smooth(*size) if max(size) > 1 else noise(1, 1, 3), kind))
    assert picture.pixels.shape[:2] == size
    assert picture.pixels.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_slivers(size: tuple[int, int]) -> None:
    pixels = noise(*size, 3)
    picture = open_picture(saved(pixels, "PNG"))
    assert np.array_equal(picture.pixels, pixels)
    for color in (False, True):
        assert from_planes(to_planes(picture, color)).shape[:2] == size


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "picture.txt", "picture"])
def test_a_path_is_judged_by_content(tmp_path: Path, name: str) -> None:
    pixels = noise(5, 7, 3)
    path = tmp_path / name
    path.write_bytes(saved(pixels, "BMP"))
    assert np.array_equal(open_picture(path).pixels, pixels)
    assert np.array_equal(open_picture(str(path)).pixels, pixels)


@pytest.mark.parametrize("path", ["missing.png", ".", "nul\0.png"])
def test_unreadable_paths(tmp_path: Path, path: str) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        open_picture(f"{tmp_path}/{path}")


NOT_PICTURES = {
    "one byte": b"\x89",
    "text": b"BMW is not a bitmap, though it begins like one.",
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "psd": b"8BPS\0\x01" + bytes(40),
    "fits": b"SIMPLE  =                    T" + bytes(50),
    "npy": b"\x93NUMPY\x01\0" + bytes(60),
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94.",
    "zip": b"PK\x03\x04" + bytes(40),
    "tar": b"picture.png".ljust(257, b"\0") + b"ustar\x0000",
    "ico": saved(noise(16, 16, 3), "ICO"),
    "ppm": saved(noise(4, 4, 3), "PPM"),
    "tga": saved(noise(4, 4, 3), "TGA"),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
    "heic of another first brand": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(40),
}


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    data = b"cposix\nmkdir\n(V" + str(made).encode() + b"\ntR."  # protocol 0: call posix.mkdir
    for source in (data, b"\x93NUMPY\x01\0" + data, PLAIN_PNG[:8] + data):
        with pytest.raises(ImageError):
            open_picture(source)
    assert not made.exists()


def test_no_other_reader_of_pillow_is_ever_loaded(tmp_path: Path) -> None:
    """Not even to look for the right one."""
    for kind in FORMATS:
        (tmp_path / kind).write_bytes(saved(noise(4, 4, 3), kind))
    code = "import sys; from pathlib import Path; from residae.image import open_picture"
    code += f"\nfor path in Path({str(tmp_path)!r}).iterdir(): open_picture(path)"
    code += "\nprint(*(name for name in sys.modules if name.endswith('ImagePlugin')))"
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    readers = {name.removeprefix("PIL.").removesuffix("ImagePlugin").upper() for name in done.stdout.split()}
    assert readers <= {
        "AVIF",
        "BMP",
        "GIF",
        "JPEG",
        "JPEG2K",
        "PNG",
        "PPM",
        "WEBP",
    }  # PPM comes with them


@pytest.mark.parametrize("data", NOT_PICTURES.values(), ids=NOT_PICTURES)
def test_other_files_are_told_the_formats_that_work(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        open_picture(data)
    assert all(name in str(caught.value) for name, *_ in FORMATS.values())


def test_an_empty_file() -> None:
    with pytest.raises(ImageError, match="empty"):
        open_picture(b"")


# --- Limits ---

WEBP_LOSSLESS_HEADER = b"VP8L" + struct.pack("<IBI", 6, 0x2F, 9_999 | 8_899 << 14) + b"\0"
JPEG_HEADER = saved(noise(8, 8, 3), "JPEG")
JPEG_SIZE_AT = JPEG_HEADER.index(b"\xff\xc0") + 5  # marker, length, bits per sample
AVIF_16 = saved(noise(16, 16, 3), "AVIF")
JP2_16 = saved(noise(16, 16, 3), "JPEG2000")
OVER = {
    "PNG of 50,000 x 50,000": png(50_000, 50_000, 8, 2, bytes(3_000)),
    "PNG of 80 megapixels": png(10_000, 8_000, 8, 0, bytes(3_000)),
    "BMP": b"BM" + struct.pack("<IIIIiiHH", 54, 0, 54, 40, 30_000, 30_000, 1, 24) + bytes(24),
    "JPEG": JPEG_HEADER[:JPEG_SIZE_AT] + struct.pack(">HH", 65_000, 65_000) + JPEG_HEADER[JPEG_SIZE_AT + 4 :],
    "WebP of 89 megapixels": b"RIFF"
    + struct.pack("<I", 4 + len(WEBP_LOSSLESS_HEADER))
    + b"WEBP"
    + WEBP_LOSSLESS_HEADER,
    "GIF": b"GIF89a" + struct.pack("<HH", 1, 1) + bytes(3) + b"," + struct.pack("<HHHHBB", 0, 0, 65_535, 65_535, 0, 8),
    "TIFF": tiff(40_000, 40_000, b"\0", {}),
    "AVIF": AVIF_16.replace(struct.pack(">II", 16, 16), struct.pack(">II", 16_000, 16_000)),
    "JPEG 2000": JP2_16.replace(struct.pack(">II", 16, 16), struct.pack(">II", 50_000, 50_000)),
}


@pytest.mark.parametrize("data", OVER.values(), ids=OVER)
def test_too_many_pixels_are_refused_from_the_header(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)  # no decoder is asked
    with pytest.raises(ImageError, match="64 megapixels"):
        open_picture(data)


COLORS = [Image.new("RGB", (16, 16), color) for color in ("red", "lime", "blue")]
FRAMES = {
    kind: saved(COLORS[0], kind, save_all=True, append_images=COLORS[1:])
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF")
}


def animated_webp(width: int, height: int) -> bytes:
    """Three small frames on a canvas that is said to be so large."""
    file = bytearray(FRAMES["WEBP"])
    at = file.index(b"VP8X") + 12  # after name, length and flags
    file[at : at + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(file)


def test_a_canvas_is_judged_before_the_decoder_allocates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(ImageError, match="64 megapixels"):
        open_picture(animated_webp(16_383, 16_383))
    with pytest.raises(ImageError, match="65,500 pixels"):
        open_picture(animated_webp(2**24, 1))


@pytest.mark.parametrize("size", [(65_501, 1), (1, 65_501)])
def test_a_side_over_the_limit(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="65,500 pixels"):
        open_picture(png(*size, 8, 0, b""))


def test_the_longest_side() -> None:
    assert open_picture(png(65_500, 1, 1, 0, bytes(1 + 65_500 // 8 + 1))).width == 65_500


def test_a_file_over_the_limit(tmp_path: Path) -> None:
    file = saved(noise(2, 2, 3), "PNG").ljust(MAX_FILE_BYTES, b"\0")
    assert open_picture(file).file_bytes == MAX_FILE_BYTES
    path = tmp_path / "big.png"
    path.write_bytes(file + b"\0")
    for source in (file + b"\0", path):
        with pytest.raises(ImageError, match="30 MB"):
            open_picture(source)


# --- Damage ---

CUT = {kind: saved(noise(64, 64, 3), kind) for kind in FORMATS} | {
    "progressive JPEG": saved(noise(64, 64, 3), "JPEG", progressive=True),
    "lossless WebP": saved(noise(64, 64, 3), "WEBP", lossless=True),
    "LZW TIFF": saved(noise(64, 64, 3), "TIFF", compression="tiff_lzw"),
    "deflated TIFF, directory first": tiff(64, 64, zlib.compress(noise(64, 64).tobytes()), {259: (3, 8)}),
    "JPEG 2000 codestream": saved(noise(64, 64, 3), "JPEG2000", no_jp2=True),
    "irreversible JPEG 2000": saved(smooth(64, 64), "JPEG2000", irreversible=True, quality_layers=[4, 2]),
    "run-length BMP": b"BM"
    + struct.pack("<IIIIiiHHI", 0, 0, 1078, 40, 64, 64, 1, 8, 1)
    + bytes(20)
    + bytes(range(256)) * 4
    + b"\x40\x05\0\0" * 64,
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
def test_cut_files_are_refused(data: bytes) -> None:
    open_picture(data)  # whole, it is good
    for part in (0.10, 0.50, 0.95):
        with pytest.raises(ImageError, match="incomplete"):
            open_picture(data[: int(len(data) * part)])


PLAIN_PNG = saved(noise(9, 9, 3), "PNG")
SIGNATURES = {
    "PNG": PLAIN_PNG[:8],
    "JPEG": b"\xff\xd8\xff",
    "WebP": b"RIFF\x10\0\0\0WEBP",
    "GIF": b"GIF89a",
    "BMP": b"BM" + bytes(12) + b"\x28\0\0\0",
    "TIFF": b"II*\0",
    "AVIF": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "JPEG 2000 codestream": b"\xff\x4f\xff\x51",
}
DAMAGED = {
    "zero width": png(0, 5, 8, 2, b""),
    "negative length": with_chunks(PLAIN_PNG, b"\xff\xff\xff\xf0tEXtk\0v"),
    "two headers": with_chunks(PLAIN_PNG, PLAIN_PNG[8:33]),
    "corrupt zlib": PLAIN_PNG[:60] + b"\xff" * 40 + PLAIN_PNG[100:],
    "bad filter": png(1, 1, 8, 0, b"\x09\0"),
    "header checksum": PLAIN_PNG[:29] + b"\0\0\0\0" + PLAIN_PNG[33:],
}


INCOMPLETE = {f"{name} signature only": start for name, start in SIGNATURES.items() if name != "AVIF"} | {
    "no data": PLAIN_PNG[:33] + chunk(b"IEND", b""),
    "pixels that end before their time": png(4, 4, 8, 0, bytes(5 * 3)),
    "interlaced pixels that end before their time": interlaced_png(noise(13, 9), last_pass=6),
    "TIFF directory past the end": b"II*\0\xff\xff\0\0",
}
UNSUPPORTED = {
    "12 bits per sample": JPEG_HEADER[: JPEG_SIZE_AT - 1] + b"\x0c" + JPEG_HEADER[JPEG_SIZE_AT:],
    "7 bits per pixel": b"BM" + struct.pack("<IIIIiiHH", 54, 0, 54, 40, 3, 3, 1, 7) + bytes(24),
    "JPEG inside BMP": b"BM" + struct.pack("<IIIIiiHHI", 54, 0, 54, 40, 3, 3, 1, 0, 4) + bytes(40),
    "photometric interpretation 77": tiff(3, 3, bytes(9), {262: (3, 77)}),
    "inks other than CMYK": tiff(3, 3, bytes(36), {262: (3, 5), 277: (3, 4), 332: (3, 2)}),
    "65535 samples per pixel": tiff(3, 3, bytes(9), {277: (3, 65_535)}),
    "JPEG-LS": JPEG_HEADER[: JPEG_SIZE_AT - 4] + b"\xf7" + JPEG_HEADER[JPEG_SIZE_AT - 3 :],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^The [\w ]+ file is damaged\.$"):
        open_picture(data)


@pytest.mark.parametrize("data", INCOMPLETE.values(), ids=INCOMPLETE)
def test_incomplete_files_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^The [\w ]+ file is incomplete: part of the picture is missing\.$"):
        open_picture(data)


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_a_kind_that_is_not_supported_is_named(kind: str) -> None:
    with pytest.raises(ImageError, match=rf"^The [\w ]+ file is of a kind that is not supported: {kind}\.$"):
        open_picture(UNSUPPORTED[kind])


def bitmap(width: int, height: int, at: int = 54, depth: int = 24, colors: int = 0) -> bytes:
    """The headers of a BMP, and not many bytes of pixels."""
    header = struct.pack("<IIIIiiHHIIIIII", 54, 0, at, 40, width, height, 1, depth, 0, 0, 0, 0, colors, 0)
    return b"BM" + header + bytes(60)


def gif(*frames: tuple[int, int, int, int]) -> bytes:
    """A screen of 1 x 1 and frames that are said to lie at (left, top, width, height) on it, with no pixels."""
    parts = (b"," + struct.pack("<HHHHBB", *frame, 0, 8) + b"\0" for frame in frames)
    return b"GIF89a" + struct.pack("<HH", 1, 1) + bytes(3) + b"".join(parts) + b";"


def animated_png(name: bytes, at: int, values: bytes) -> bytes:
    """Three frames, and in the first chunk of that name other values at that byte."""
    file = FRAMES["PNG"]
    start = file.index(name) + 4
    length = int.from_bytes(file[start - 8 : start - 4], "big")
    content = bytearray(file[start : start + length])
    content[at : at + len(values)] = values
    return file[: start - 8] + chunk(name, bytes(content)) + file[start + length + 4 :]


LYING = {
    "TIFF without rows in a strip": tiff(3, 3, bytes(9), {278: (4, 0)}),
    "TIFF without width": tiff(0, 3, bytes(9), {}),
    "TIFF of 60 megapixels in three bytes": tiff(60_000, 1_000, b"\x80\0\1", {259: (3, 5)}),
    "GIF without size": gif((0, 0, 0, 0)),
    "BMP without size": bitmap(0, 0),
    "BMP whose pixels are elsewhere": bitmap(3, 3, at=0xFFFFFFFF),
    "JPEG without height": JPEG_HEADER[:JPEG_SIZE_AT] + bytes(2) + JPEG_HEADER[JPEG_SIZE_AT + 2 :],
    "JPEG 2000 without width": JP2_16.replace(struct.pack(">II", 16, 16), struct.pack(">II", 0, 16)),
    "JPEG 2000 of 64 megapixels": JP2_16.replace(struct.pack(">II", 16, 16), struct.pack(">II", 8_000, 8_000)),
    "AVIF without size": AVIF_16.replace(struct.pack(">II", 16, 16), bytes(8)),
    "PNG of 64 megapixels and no pixels": png(8_000, 8_000, 16, 6, b""),
}


@pytest.mark.parametrize("data", LYING.values(), ids=LYING)
def test_files_that_lie_about_their_size_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"damaged|incomplete"):
        open_picture(data)


@pytest.mark.parametrize(
    "data",
    [gif((0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)), bitmap(30_000, -30_000), bitmap(30_000, -(2**31))],
    ids=["GIF", "BMP from above", "BMP of the least number"],
)
def test_sizes_that_only_come_out_too_large_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="64 megapixels"):
        open_picture(data)


TINY = bytes(range(9))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (tiff(3, 3, TINY, {279: (4, 0xFFFFFFFF)}), (3, 3)),  # bytes in a strip
        (tiff(3, 3, TINY, {278: (4, 0xFFFFFFFF)}), (3, 3)),  # rows in a strip
        (tiff(8, 8, zlib.compress(bytes(100_000_000)), {259: (3, 8)}), (8, 8)),  # what a strip grows to
        (animated_png(b"acTL", 0, b"\xff" * 4), (16, 16)),  # number of frames
        (with_chunks(PLAIN_PNG, chunk(b"IDAT", b"") * 100_000), (9, 9)),
        (bitmap(3, 3, depth=8, colors=0xFFFFFFFF), (3, 3)),
    ],
    ids=["strip's bytes", "strip's rows", "bomb in a strip", "frames", "empty chunks", "colors"],
)
def test_what_a_picture_does_not_need_is_not_believed(data: bytes, size: tuple[int, int]) -> None:
    tracemalloc.start()
    try:
        picture = open_picture(data)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert (picture.height, picture.width) == size


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 9), (9, 1), (8, 8), (13, 9), (17, 33)])
def test_interlaced_png(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    assert np.array_equal(open_picture(interlaced_png(pixels)).pixels, pixels)


def test_a_text_that_speaks_of_chunks_is_a_text() -> None:
    texts = chunk(b"tEXt", b"Comment\0" + PLAIN_PNG) + chunk(b"tEXt", b"Comment\0IDAT IHDR IEND")
    assert np.array_equal(open_picture(with_chunks(PLAIN_PNG, texts)).pixels, open_picture(PLAIN_PNG).pixels)


@pytest.mark.parametrize("at", [-16, -4])
def test_a_wrong_checksum_has_the_same_answer_every_time(at: int) -> None:
    """Pillow has read all pixels by then, and their own checksum is right."""
    bent = PLAIN_PNG[:at] + b"\0\0\0\0" + PLAIN_PNG[at:][4:]
    for _ in range(3):
        assert np.array_equal(open_picture(bent).pixels, open_picture(PLAIN_PNG).pixels)


@pytest.mark.parametrize("kind", FORMATS)
def test_flipped_bytes_give_a_picture_or_an_image_error_and_the_same_each_time(kind: str) -> None:
    rng = np.random.default_rng(1)
    file = np.frombuffer(saved(smooth(24, 24), kind), np.uint8)
    for _ in range(60):
        bent = file.copy()
        at = rng.integers(0, len(file), 3)
        bent[at] = rng.integers(0, 256, 3)
        outcomes = []
        for _ in range(2):
            try:
                outcomes.append(open_picture(bent.tobytes()).pixels.tobytes())
            except ImageError as error:
                outcomes.append(str(error).encode())
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("error", [RecursionError, KeyError, OverflowError, EOFError, struct.error])
def test_whatever_a_decoder_raises_is_an_image_error(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Image.Image) -> None:
        raise error("inner words")

    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(ImageError) as caught:
        open_picture(PLAIN_PNG)
    assert "inner words" not in str(caught.value)


def test_memory_that_runs_out_is_not_the_picture_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(OutOfMemoryError):
        open_picture(PLAIN_PNG)


# --- Orientation ---


@pytest.mark.parametrize("kind", ORIENTED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    stored = smooth(24, 40)
    y, x = {  # where the stored row and column axes point in what is seen: +1 on, -1 back
        1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1),
    }[orientation]  # fmt: skip
    seen = stored[::y, ::x]
    if orientation >= 5:
        seen = seen.swapaxes(0, 1)
    picture = open_picture(saved(stored, kind, exif=exif(orientation), **PRECISE[kind]))
    assert picture.pixels.shape == seen.shape
    assert np.abs(picture.pixels.astype(int) - seen).max() <= (0 if kind in LOSSLESS else 12)


GARBAGE_EXIF = {
    "zero": exif(0),
    "nine": exif(9),
    "65535": exif(65_535),
    "string": exif(ord("6"), field_type=2),
    "no TIFF header": b"Exif\0\0garbage",
    "offset past the end": b"Exif\0\0MM\0*\xff\xff\xff\xff",
    "a thousand entries": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0" * 300,
    "loop": b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("data", GARBAGE_EXIF.values(), ids=GARBAGE_EXIF)
def test_garbage_exif_is_ignored(kind: str, data: bytes) -> None:
    pixels = smooth(8, 16)
    plain = open_picture(saved(pixels, kind, **PRECISE[kind]))
    assert np.array_equal(open_picture(saved(pixels, kind, exif=data, **PRECISE[kind])).pixels, plain.pixels)


def test_garbage_exif_in_avif_is_ignored() -> None:
    pixels = smooth(16, 32)
    file = saved(pixels, "AVIF", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", **PRECISE["AVIF"])
    assert file.count(b"MM\0*") == 1
    assert np.array_equal(open_picture(file.replace(b"MM\0*", b"UUUU")).pixels, open_picture(file).pixels)


@pytest.mark.parametrize(
    "tags",
    [
        {274: (3, 0)},
        {274: (3, 9)},
        {274: (3, 65_535)},
        {274: (2, ord("6"))},
        {700: (4, 5)},  # XMP that is a number
        {34665: (4, 8)},  # EXIF that is this very directory
        {34665: (4, 0xFFFFFFF0)},
        {34665: (2, ord("a")), 34853: (9, 0xFFFFFFFF)},
        {34675: (4, 5)},  # a profile that is a number
    ],
)
def test_garbage_tiff_tags_are_ignored_and_a_good_orientation_is_not(tags: dict[int, tuple[int, int]]) -> None:
    pixels = noise(2, 3)
    assert np.array_equal(open_picture(tiff(3, 2, pixels.tobytes(), tags)).pixels, pixels)
    if 274 not in tags:
        turned = open_picture(tiff(3, 2, pixels.tobytes(), tags | {274: (3, 6)})).pixels
        assert np.array_equal(turned, np.rot90(pixels, -1))


# --- Transparency ---


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = (alpha / 255.0).reshape(alpha.shape + (1,) * (color.ndim - alpha.ndim))
    return np.rint(color * weight + 255 * (1 - weight))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_rgba_is_shown_on_white(kind: str) -> None:
    rgba = noise(16, 16, 4)
    picture = open_picture(saved(rgba, kind, **LOSSLESS[kind] | ({"exact": True} if kind == "WEBP" else {})))
    if kind == "BMP":  # whose fourth byte most readers ignore
        assert np.array_equal(picture.pixels, rgba[..., :3])
        return
    assert np.abs(picture.pixels - on_white(rgba[..., :3], rgba[..., 3])).max() <= 1
    assert picture.notices == (ON_WHITE,)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_gray_with_alpha_stays_gray(kind: str) -> None:
    la = noise(16, 16, 2)
    picture = open_picture(saved(Image.merge("LA", [Image.fromarray(la[..., i]) for i in (0, 1)]), kind))
    assert picture.pixels.shape == (16, 16)
    assert np.abs(picture.pixels - on_white(la[..., 0], la[..., 1])).max() <= 1
    assert picture.notices == (ON_WHITE,)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_hidden_color_does_not_leak(kind: str) -> None:
    rgba = noise(16, 16, 4)
    rgba[..., 3] = 0
    assert (open_picture(saved(rgba, kind)).pixels == 255).all()


def test_an_alpha_channel_that_hides_nothing_is_not_mentioned() -> None:
    rgba = noise(4, 4, 4)
    rgba[..., 3] = 255
    picture = open_picture(saved(rgba, "PNG"))
    assert picture.notices == ()
    assert np.array_equal(picture.pixels, rgba[..., :3])


def test_palette_with_alpha() -> None:
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture = open_picture(saved(palette, "PNG", transparency=bytes([255, 0, 128])))
    assert np.abs(picture.pixels[0].astype(int) - [(255, 0, 0), (255, 255, 255), (127, 127, 255)]).max() <= 1
    picture = open_picture(saved(palette, "GIF", transparency=0))
    assert picture.pixels[0].tolist() == [[255, 255, 255], [0, 255, 0], [0, 0, 255]]
    pa = Image.merge("PA", (palette, Image.fromarray(np.array([[255, 0, 255]], np.uint8))))
    assert open_picture(saved(pa, "TIFF")).pixels[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


@pytest.mark.parametrize(
    ("depth", "color", "row", "key", "shown"),
    [  # two pixels, the first of the transparent color
        (1, 0, b"\x40", (0,), [255, 255]),
        (2, 0, b"\x60", (1,), [255, 170]),
        (4, 0, b"\x51", (5,), [255, 17]),
        (8, 0, b"\x05\x06", (5,), [255, 6]),
        (16, 0, b"\x05\x06\x05\x07", (0x0506,), [255, 5]),
        (8, 2, b"\1\2\3\1\2\4", (1, 2, 3), [[255] * 3, [1, 2, 4]]),
        (16, 2, b"\1\0\2\0\3\0\1\0\2\0\4\0", (0x100, 0x200, 0x300), [[255] * 3, [1, 2, 4]]),
    ],
)
def test_png_transparent_color(depth: int, color: int, row: bytes, key: tuple[int, ...], shown: list[Any]) -> None:
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    picture = open_picture(png(2, 1, depth, color, b"\0" + row, transparent))
    assert picture.pixels[0].tolist() == shown
    assert picture.notices == (ON_WHITE,)


# --- Modes and depths ---


def test_one_bit_is_black_and_white() -> None:
    bits = noise(9, 13) > 127
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(open_picture(saved(Image.fromarray(bits), kind)).pixels, bits * 255)


def test_palette_indices_out_of_range_are_black() -> None:
    picture = open_picture(png(3, 1, 8, 3, b"\0\0\1\xff", chunk(b"PLTE", b"\1\2\3\4\5\6")))
    assert picture.pixels.tolist() == [[[1, 2, 3], [4, 5, 6], [0, 0, 0]]]


@pytest.mark.parametrize("data", [png(3, 1, 8, 3, b"\0\0\1\xff"), tiff(3, 1, b"\0\1\xff", {262: (3, 3)})])
def test_palette_picture_without_palette_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="damaged"):
        open_picture(data)


def test_a_gif_without_palette_is_gray() -> None:
    levels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    file = saved(levels, "GIF")
    start = 13 + 3 * 2 ** ((file[10] & 7) + 1)  # the header, then the palette
    bare = file[:10] + bytes([file[10] & 0x7F]) + file[11:13] + file[start:]
    assert np.array_equal(open_picture(bare).pixels, levels)


def test_sixteen_bits_are_scaled() -> None:
    values = np.array([[0, 128, 129, 257, 32_896, 65_279, 65_535]], np.uint16)
    expected = [[0, 0, 1, 1, 128, 254, 255]]
    gray = {
        "PNG": png(7, 1, 16, 0, b"\0" + values.astype(">u2").tobytes()),
        "TIFF": tiff(7, 1, values.tobytes(), {258: (3, 16)}),
        "big-endian TIFF": saved(Image.frombytes("I;16B", (7, 1), values.astype(">u2").tobytes()), "TIFF"),
        "JPEG 2000": saved(Image.fromarray(values).convert("I;16"), "JPEG2000"),
    }
    for file in gray.values():
        picture = open_picture(file)
        assert picture.pixels.tolist() == expected
        assert picture.notices == ()
    white_is_zero = open_picture(tiff(7, 1, values.tobytes(), {258: (3, 16), 262: (3, 0)}))
    assert white_is_zero.pixels.tolist() == [[255 - v for v in expected[0]]]


def tiff_of_16_bit_color(values: np.ndarray) -> bytes:
    """Of (1, W, 3); the depths of its samples stand behind the pixels."""
    pixels = values.astype("<u2").tobytes()
    file = tiff(values.shape[1], 1, pixels, {262: (3, 2), 277: (3, 3)}) + struct.pack("<3H", 16, 16, 16)
    depths = struct.pack("<HHII", 258, 3, 1, 8)
    return file.replace(depths, struct.pack("<HHII", 258, 3, 3, len(file) - 6))


def test_sixteen_bit_color_is_scaled() -> None:
    values = np.array([[[0, 0x80FF, 0xFFFF], [0x0100, 0x7F00, 0xFE80]]], np.uint16)
    picture = open_picture(png(2, 1, 16, 2, b"\0" + values.astype(">u2").tobytes()))
    assert np.abs(picture.pixels - values / 257).max() <= 1
    picture = open_picture(tiff_of_16_bit_color(values))
    assert np.abs(picture.pixels - values / 257).max() <= 1
    opaque = np.dstack([values, np.full((1, 2), 0xFFFF, np.uint16)])
    picture = open_picture(png(2, 1, 16, 6, b"\0" + opaque.astype(">u2").tobytes()))
    assert np.abs(picture.pixels - values / 257).max() <= 1
    gray = np.array([[0x80FF, 0xFFFF, 0xFE80, 0xFFFF]], np.uint16)  # with alpha
    picture = open_picture(png(2, 1, 16, 4, b"\0" + gray.astype(">u2").tobytes()))
    assert np.abs(picture.pixels.reshape(1, 2, -1) - gray[:, ::2, None] / 257).max() <= 1


def test_twelve_bits_are_scaled() -> None:
    packed = b"\x00\x08\x00\xff\xf0\x00"  # 0, 0x800, 0xFFF, 0
    assert open_picture(tiff(4, 1, packed, {258: (3, 12)})).pixels.tolist() == [[0, 128, 255, 0]]


@pytest.mark.parametrize(
    ("dtype", "values", "sample_format", "notice"),
    [
        ("<i2", [-1000, 0, 1000], 2, "Values -1000 to 1000"),
        ("<i4", [-(2**31), 0, 2**31 - 1], 2, "Values -2.147e+09 to 2.147e+09"),
        ("<u4", [0, 2**31, 2**32 - 1], 1, "Values 0 to 4.295e+09"),
        ("<f4", [0.0, 0.5, 1.0], 3, "Values 0 to 1"),
        ("<f4", [0.25, 0.75, 1.25], 3, "Values 0.25 to 1.25"),
        ("<f4", [-3e38, 0, 3e38], 3, "Values -3e+38 to 3e+38"),
    ],
)
def test_wide_values_are_scaled_by_their_range(
    dtype: str, values: list[float], sample_format: int, notice: str
) -> None:
    data = np.array(values, dtype)
    picture = open_picture(tiff(3, 1, data.tobytes(), {258: (3, data.itemsize * 8), 339: (3, sample_format)}))
    assert picture.pixels.tolist() == [[0, 128, 255]]
    assert picture.notices == (f"{notice} were scaled to black to white.",)


def float_tiff(values: list[float]) -> bytes:
    return tiff(len(values), 1, np.array(values, "<f4").tobytes(), {258: (3, 32), 339: (3, 3)})


def test_values_that_are_not_finite_are_the_minimum() -> None:
    picture = open_picture(float_tiff([np.nan, 1.0, np.inf, 3.0, -np.inf]))
    assert picture.pixels.tolist() == [[0, 0, 0, 255, 0]]
    assert len(picture.notices) == 2
    assert open_picture(float_tiff([np.nan, np.inf])).pixels.tolist() == [[0, 0]]
    assert open_picture(float_tiff([0.5, 0.5])).pixels.tolist() == [[0, 0]]


FLAT = Image.new("RGB", (16, 16), (200, 60, 30))


@pytest.mark.parametrize(
    "data",
    [
        saved(FLAT.convert("CMYK"), "TIFF"),
        saved(FLAT.convert("CMYK"), "JPEG", quality=98),  # inverted, as Adobe writes it
        saved(FLAT.convert("LAB"), "TIFF"),
        saved(FLAT, "TIFF", compression="jpeg", quality=98),  # YCbCr
        saved(FLAT.convert("YCbCr"), "TIFF", compression="tiff_lzw"),
        saved(FLAT.quantize(4), "PNG"),
    ],
    ids=["CMYK TIFF", "CMYK JPEG", "LAB TIFF", "YCbCr TIFF", "YCbCr LZW TIFF", "palette PNG"],
)
def test_other_color_spaces_have_the_right_colors(data: bytes) -> None:
    assert np.abs(open_picture(data).pixels.astype(int) - (200, 60, 30)).max() <= 3


# --- Profiles ---


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_an_srgb_profile_changes_nothing(kind: str) -> None:
    pixels = smooth(16, 24)
    plain = open_picture(saved(pixels, kind, **PRECISE[kind])).pixels
    tagged = open_picture(saved(pixels, kind, icc_profile=profile("sRGB"), **PRECISE[kind])).pixels
    assert np.abs(tagged.astype(int) - plain).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_is_applied(kind: str, mode: str) -> None:
    image = FLAT.quantize(4) if mode == "P" else FLAT.convert(mode)
    picture = open_picture(saved(image, kind, icc_profile=swapped_profile(), **LOSSLESS[kind]))
    assert np.abs(picture.pixels.astype(int) - (30, 60, 200)).max() <= 1


@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG", "GIF"])
def test_a_file_of_color_whose_pixels_are_gray_is_a_gray_picture(kind: str) -> None:
    levels = np.repeat(np.arange(32, dtype=np.uint8)[:, None] * 8, 48, axis=1)
    pixels = np.stack([levels] * 3, -1)
    opened = open_picture(saved(pixels, kind, **LOSSLESS.get(kind, {})))
    assert opened.pixels.shape == levels.shape
    if kind in LOSSLESS:
        np.testing.assert_array_equal(opened.pixels, levels)
    for made in (picture_of(pixels), picture_of(Image.fromarray(pixels))):
        np.testing.assert_array_equal(made.pixels, levels)
    pixels[-1, -1, 2] ^= 1
    for picture in (
        picture_of(pixels),
        *([open_picture(saved(pixels, kind, **LOSSLESS.get(kind, {})))] if kind in LOSSLESS else []),
    ):
        np.testing.assert_array_equal(picture.pixels, pixels)
        assert crop(picture, CropBox(0, 0, 48, 31)).color is False
        assert crop(picture, CropBox(40, 16, 8, 16)).color is True


def test_looking_for_color_takes_little_memory() -> None:
    levels = noise(4096, 1024)
    pixels = np.stack([levels] * 3, -1)
    tracemalloc.start()
    try:
        gray = picture_of(pixels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(gray.pixels, levels)
    assert peak < levels.size + 4 * 2**20  # of the picture, and of some rows


def test_a_gray_profile_is_applied_to_gray_only() -> None:
    linear = gray_profile()
    picture = open_picture(saved(np.full((4, 4), 55, np.uint8), "PNG", icc_profile=linear))
    # sRGB of the linear light 55 / 255
    assert np.abs(picture.pixels.astype(int) - round(255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055))).max() <= 1
    assert picture.pixels.shape == (4, 4)
    deep = Image.fromarray(np.full((4, 4), 55 * 257, np.uint16))
    assert np.array_equal(open_picture(saved(deep, "PNG", icc_profile=linear)).pixels, picture.pixels)
    assert np.array_equal(open_picture(saved(FLAT, "PNG", icc_profile=linear)).pixels, np.asarray(FLAT))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_twenty_megabytes_of_exif_do_not_matter(kind: str) -> None:
    data = b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(20_000_000)
    pixels = smooth(8, 16)
    assert np.array_equal(open_picture(saved(pixels, kind, exif=data, **PRECISE[kind])).pixels, pixels)


PROFILES_TO_IGNORE = {
    "garbage": b"not a profile" * 20,
    "cut": swapped_profile()[:200],
    "wrong space": profile("LAB"),
    "huge": swapped_profile() + bytes(5_000_000),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("name", PROFILES_TO_IGNORE)
def test_bad_profiles_are_ignored(kind: str, name: str) -> None:
    plain = open_picture(saved(FLAT, kind, **PRECISE[kind]))
    tagged = open_picture(saved(FLAT, kind, icc_profile=PROFILES_TO_IGNORE[name], **PRECISE[kind]))
    assert np.array_equal(tagged.pixels, plain.pixels)


def test_masses_of_metadata_do_not_matter() -> None:
    texts = b"".join(chunk(b"tEXt", b"%d\0v" % i) for i in range(100_000))
    assert np.array_equal(open_picture(with_chunks(PLAIN_PNG, texts)).pixels, open_picture(PLAIN_PNG).pixels)
    segments = (b"\xff\xe1" + struct.pack(">H", 60_002) + b"Exif\0\0MM\0*".ljust(60_000)) * 200
    loaded = JPEG_HEADER[:2] + segments + JPEG_HEADER[2:]
    assert np.array_equal(open_picture(loaded).pixels, open_picture(JPEG_HEADER).pixels)


def test_a_profile_that_is_a_bomb_is_ignored_at_no_cost() -> None:
    bomb = with_chunks(PLAIN_PNG, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(200_000_000))))
    tracemalloc.start()
    try:
        assert np.array_equal(open_picture(bomb).pixels, open_picture(PLAIN_PNG).pixels)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("count", "size"), [(1, 20_000_000), (1_000, 1_000_000)])
def test_text_bombs_are_left_out_at_no_cost(count: int, size: int) -> None:
    bombs = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(size))) * count
    tracemalloc.start()
    try:
        assert np.array_equal(open_picture(with_chunks(PLAIN_PNG, bombs)).pixels, open_picture(PLAIN_PNG).pixels)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_jpeg_of_500_scans() -> None:
    """This one is small; one that takes minutes is for the decoding process to end."""
    assert (open_picture(repeated_scans(64, 500)).pixels == 0).all()


# --- Frames ---


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_only_the_first_frame_is_used(data: bytes) -> None:
    picture = open_picture(data)
    assert np.abs(picture.pixels.astype(int) - (255, 0, 0)).max() <= 4
    assert picture.notices == (FIRST_FRAME,)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_frames_are_never_counted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("L", (4, 4), shade) for shade in (10, 20, 30)]
    file = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    reader = type(Image.open(io.BytesIO(file)))
    monkeypatch.setattr(reader, "n_frames", property(lambda _: pytest.fail("frames were counted")))
    assert (open_picture(file).pixels == 10).all()


def test_the_pictures_inside_a_jpeg_are_not_frames() -> None:
    file = saved(smooth(16, 16), "MPO", save_all=True, append_images=[FLAT])
    plain = saved(smooth(16, 16), "JPEG")
    picture = open_picture(file)
    assert picture.notices == ()
    assert np.array_equal(picture.pixels, open_picture(plain).pixels)
    entries = b"\x02\xb0\x07\0\x20"  # tag of the list of pictures, type, 2 x 16 bytes
    assert entries in file
    bent = file.replace(entries, entries[:-1] + b"\x01")
    assert np.array_equal(open_picture(bent).pixels, picture.pixels)


def test_a_tiff_directory_loop_ends() -> None:
    pixels = noise(2, 3)
    assert np.array_equal(open_picture(tiff(3, 2, pixels.tobytes(), {}, next_directory=8)).pixels, pixels)


@pytest.mark.parametrize("tail", [b"PK\x03\x04" + bytes(30), b"/*<script>*/ , ! ,", b","])
@pytest.mark.parametrize("kind", ["GIF", "PNG", "JPEG"])
def test_what_follows_the_picture_is_ignored_and_never_given_out_again(kind: str, tail: bytes) -> None:
    file = saved(smooth(8, 8), kind)
    whole = open_picture(file)
    for stem in (file, file[:-1]) if kind == "GIF" else (file,):  # a GIF also without its end mark
        picture = open_picture(stem + tail)
        assert np.array_equal(picture.pixels, whole.pixels)
        assert write_png(picture.pixels) == write_png(whole.pixels)


# --- Size, planes and back ---


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (1, 300), (300, 1), (64, 64)])
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("long_side", [1, 16, 59, 64, 1000])
def test_fit_only_ever_makes_smaller(size: tuple[int, int], channels: tuple[int, ...], long_side: int) -> None:
    picture = Picture(noise(*size, *channels), (ON_WHITE,), 7)
    fitted = fit(picture, long_side)
    if max(size) <= long_side:
        assert fitted is picture
        return
    assert max(fitted.width, fitted.height) == long_side
    assert min(fitted.pixels.shape[:2]) == max(1, round(min(size) * long_side / max(size)))
    assert fitted.pixels.shape[2:] == channels
    sizes = f"{fitted.width:,} × {fitted.height:,} of {picture.width:,} × {picture.height:,} pixels"
    assert fitted.notices == (ON_WHITE, f"Worked on at {sizes}.")
    assert fitted.file_bytes is None


def test_fit_keeps_the_mean() -> None:
    picture = as_picture(noise(200, 300, 3))
    assert np.abs(fit(picture, 50).pixels.mean((0, 1)) - picture.pixels.mean((0, 1))).max() < 1


def test_crop_cuts_the_box_out_of_the_picture() -> None:
    picture = Picture(noise(40, 60, 3), (ON_WHITE,), 7)
    part = crop(picture, CropBox(5, 7, 20, 10))
    assert np.array_equal(part.pixels, picture.pixels[7:17, 5:25])
    assert part.notices == (ON_WHITE, "Part of the picture: 20 × 10 px at (5, 7) of 60 × 40.")
    assert (part.file_bytes, part.source_size, fit(part, 4).source_size) == (None, (40, 60), (40, 60))


@pytest.mark.parametrize(
    "box", [CropBox(-1, 0, 9, 9), CropBox(0, -1, 9, 9), CropBox(52, 0, 9, 9), CropBox(0, 32, 9, 9), CropBox(5, 5, 0, 9)]
)
def test_crop_refuses_what_is_not_within_the_picture(box: CropBox) -> None:
    with pytest.raises(
        ImageError, match=r"^A part of \d × 9 pixels from \(.*\) on is not within the picture of 60 × 40"
    ):
        crop(Picture(noise(40, 60, 3), (), 7), box)


def test_gray_planes_are_pillows_luma_and_come_back_exactly() -> None:
    pixels = noise(21, 35, 3)
    luma = np.asarray(Image.fromarray(pixels).convert("L"))
    picture = as_picture(pixels)
    (plane,) = to_planes(picture, color=False)
    assert plane.dtype == np.float32
    assert np.array_equal(plane, luma.astype(np.float32) / np.float32(255))
    assert np.array_equal(to_gray(picture), luma)
    assert np.array_equal(from_planes((plane,)), luma)


def test_every_gray_level_survives_both_modes() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(from_planes(to_planes(as_picture(levels), color=False)), levels)
    assert np.array_equal(from_planes(to_planes(as_picture(levels), color=True)), levels)  # it has no chroma
    pixels = np.stack([levels] * 3, -1)
    assert np.array_equal(from_planes(to_planes(as_picture(pixels), color=True)), pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 3), (3, 2), (16, 16), (33, 17)])
def test_color_planes(size: tuple[int, int]) -> None:
    pixels = noise(*size, 3)
    planes = to_planes(as_picture(pixels), color=True)
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert [plane.shape for plane in planes] == [size, half, half]
    assert all(plane.dtype == np.float32 and plane.min() >= 0 and plane.max() <= 1 for plane in planes)
    # The JFIF matrix on the mean of each 2 x 2 block; at an odd edge the block is repeated, which keeps its mean.
    edge = np.pad(pixels / 255, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), "edge")
    blocks = edge.reshape(half[0], 2, half[1], 2, 3).mean((1, 3))
    for plane, weights in ((planes[1], (-0.168736, -0.331264, 0.5)), (planes[2], (0.5, -0.418688, -0.081312))):
        assert np.abs(plane - np.clip(blocks @ weights + 128 / 255, 0, 1)).max() < 1e-5
    assert np.abs(planes[0] - pixels @ (0.299, 0.587, 0.114) / 255).max() < 1e-6
    assert from_planes(planes).shape == pixels.shape


@pytest.mark.parametrize("size", [(64, 96), (63, 95), (65, 64)])
def test_a_smooth_picture_survives_half_size_chroma(size: tuple[int, int]) -> None:
    pixels = smooth(*size)
    error = from_planes(to_planes(as_picture(pixels), color=True)).astype(int) - pixels
    assert np.abs(error[2:-2, 2:-2]).max() <= 1
    assert np.abs(error).max() <= 4  # half a chroma pixel of slope is lost where it has no neighbor


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (12, 200, 77)])
def test_flat_colors_survive(color: tuple[int, int, int]) -> None:
    pixels = np.full((5, 7, 3), color, np.uint8)
    assert np.abs(from_planes(to_planes(as_picture(pixels), color=True)).astype(int) - pixels).max() <= 1


def test_bands_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = to_planes(as_picture(noise(37, 51, 3)), color=True)
    whole = from_planes(planes)
    monkeypatch.setattr("residae.image.picture.BAND_PIXELS", 3 * 51)
    assert np.array_equal(from_planes(planes), whole)


def test_planes_are_rounded_and_bounded() -> None:
    plane = np.array([[-0.5, 0.499 / 255, 0.501 / 255, 254.6 / 255, 1.5]], np.float32)
    assert from_planes((plane,)).tolist() == [[0, 0, 1, 255, 255]]


@pytest.mark.parametrize("shape", [(1, 1), (9, 14), (9, 14, 3)])
def test_png_is_lossless(shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    assert np.array_equal(open_picture(write_png(pixels)).pixels, pixels)
