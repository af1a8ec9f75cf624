"""A picture that opens has the pixels that the standard of its format, or an independent reader, gives it.

Files are made here. Where a comment names Chromium, its canvas showed the values.
"""

import ctypes
import functools
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from test_image import NO_WARNINGS, chunk, png, saved, swapped_profile, with_chunks

from residae.errors import ImageError
from residae.image import color, open_picture

pytestmark = NO_WARNINGS

SAMPLE = (64, 128, 192)
ON_WHITE = "Transparency is shown on white."


def pixel(data: bytes) -> list[int]:
    """The upper left pixel."""
    return open_picture(data).pixels[0, 0].tolist()


def assert_near(found: Any, expected: Any, tolerance: int = 2) -> None:
    found, expected = np.asarray(found, int), np.asarray(expected, int)
    assert found.shape == expected.shape
    worst = int(np.abs(found - expected).max())
    assert worst <= tolerance


def refused(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        open_picture(data)


def printed(capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What reached standard output and error, also of what libraries in C have printed and hold back."""
    ctypes.CDLL(None).fflush(None)
    out, error = capfd.readouterr()
    return out, error


def ramp(height: int = 37, width: int = 53) -> np.ndarray:
    """(H, W, 4) in 0 to 1, each channel another pattern."""
    y, x = np.mgrid[:height, :width]
    check = (x // 8 + y // 8) % 2 * 0.6 + 0.2
    return np.stack([x / (width - 1), y / (height - 1), 1 - (x + y) / (width + height - 2), check], -1)


# --- PNG: color and metadata (rows 31, 33, 44, 45) ---


def flat_png(*ancillary: bytes) -> bytes:
    return png(8, 8, 8, 2, (b"\0" + bytes(SAMPLE) * 8) * 8, *ancillary)


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def cicp(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full]))


P3 = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
SRGB = chunk(b"sRGB", b"\0")
SWAPPED = chunk(b"iCCP", b"name\0\0" + zlib.compress(swapped_profile()))
PNG_COLORS: dict[str, tuple[tuple[bytes, ...], tuple[int, int, int]]] = {  # chunks, what Chromium shows
    "nothing": ((), SAMPLE),
    "linear": ((gamma(1),), (137, 188, 225)),
    "gamma of sRGB": ((gamma(0.45455),), SAMPLE),
    "gamma of nearly sRGB": ((gamma(0.46),), SAMPLE),
    "gamma 0.5": ((gamma(0.5),), (71, 137, 198)),
    "gamma 0.3": ((gamma(0.3),), (25, 89, 167)),
    "gamma 0": ((gamma(0),), SAMPLE),
    "primaries without gamma": ((P3,), SAMPLE),
    "Display P3": ((gamma(0.45455), P3), (24, 131, 199)),
    "sRGB over gamma and primaries": ((SRGB, P3, gamma(1)), SAMPLE),
    "code points of Display P3": ((cicp(12, 13),), (32, 130, 197)),
    "code points of BT.709": ((cicp(1, 1),), (54, 121, 189)),
    "code points of gamma 2.8": ((cicp(1, 5),), (40, 106, 179)),
    "code points of SMPTE 240M": ((cicp(1, 7),), (81, 141, 199)),
    "code points of SMPTE 428": ((cicp(1, 17),), (48, 118, 191)),
    "code points of film": ((cicp(8, 13),), (0, 129, 197)),
    "code points of XYZ": ((cicp(10, 13),), (0, 168, 198)),
    "unspecified transfer": ((cicp(12, 2),), SAMPLE),
    "narrow range": ((cicp(12, 13, full=0),), SAMPLE),
    "code points over a profile": ((cicp(12, 13), SWAPPED), (32, 130, 197)),
    "code points of sRGB over a profile": ((cicp(1, 13), SWAPPED), SAMPLE),
    "profile over sRGB": ((SWAPPED, SRGB), (192, 128, 64)),
    "profile over gamma": ((SWAPPED, gamma(1)), (192, 128, 64)),
    "broken profile, and gamma": ((chunk(b"iCCP", b"name\0\0broken"), gamma(1)), (137, 188, 225)),
}


@pytest.mark.parametrize("name", PNG_COLORS)
def test_png_colors(name: str) -> None:
    chunks, shown = PNG_COLORS[name]
    assert_near(pixel(flat_png(*chunks)), shown)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("color", [0, 2, 4, 6])
def test_png_colors_hold_for_every_kind_of_pixel(color: int, depth: int) -> None:
    """Linear light, whose sRGB is known: also where it is dark, for which 8 bits between the two would be too few."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    levels = np.array([1, 3, 20, 64, 128, 250])
    values = np.repeat(levels[:, None] * (257 if depth == 16 else 1), samples, 1)
    if color in (4, 6):
        values[:, -1] = 2**depth - 1
    rows = b"\0" + values.astype(">u2" if depth == 16 else "u1").tobytes()
    found = open_picture(png(len(levels), 1, depth, color, rows, gamma(1))).pixels[0]
    light = levels / 255
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert_near(found, encoded.round(), 1)


PROFILES = {
    "swapped": swapped_profile(),
    "linear": color.make_profile(color.SRGB_PRIMARIES, color.Curve(1.0)),
    "Display P3": color.make_profile(color.PRIMARIES[12], color.SRGB_CURVE),
    "BT.2020": color.make_profile(color.PRIMARIES[9], color.BT709_CURVE),
    "ROMM": color.make_profile((0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), color.Curve(1.8)),
}


@pytest.mark.parametrize("name", PROFILES)
def test_sums_of_light_are_what_little_cms_computes(name: str) -> None:
    exact = functools.partial(color._convert_deep, PROFILES[name], "RGB", color.NO_OPTIMIZATION)
    fast = color._by_sums(PROFILES[name], exact)
    assert fast
    samples = np.random.default_rng(0).integers(0, 65_536, (64, 64, 3), dtype=np.uint16)
    samples[:32] //= 64  # dark ones
    samples[:, :8] = samples[:, :8, :1]  # gray ones
    assert_near(fast(samples), exact(samples), 1)


def test_a_profile_that_is_no_sum_is_left_to_little_cms() -> None:
    assert color._by_sums(swapped_profile(), lambda samples: (samples // 257 ^ 255).astype(np.uint8)) is None


def table_profile(lab: Callable[[np.ndarray], np.ndarray], inks: int, points: int, power: float) -> bytes:
    """A profile of a table, as printers and scanners have it (`mft2` of ICC.1), of curves of a power and of CIELAB."""
    levels = np.stack(np.meshgrid(*[np.linspace(0, 1, points)] * inks, indexing="ij"), -1).reshape(-1, inks)
    table = np.rint((lab(levels) + np.array([0, 128, 128])) * [652.8, 256, 256]).clip(0, 65_535).astype(">u2")
    curve = np.rint(np.linspace(0, 1, 256) ** power * 65_535).astype(">u2")
    head = struct.pack(">4s4x4B9i2H", b"mft2", inks, 3, points, 0, *np.eye(3, dtype=int).ravel() * 65_536, 256, 2)
    content = head + curve.tobytes() * inks + table.tobytes() + struct.pack(">6H", *(0, 65_535) * 3)
    text, white = b"text" + bytes(8), b"XYZ " + bytes(4) + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    tags, directory, body = {b"A2B0": content, b"cprt": text, b"desc": text, b"wtpt": white}, struct.pack(">I", 4), b""
    for name, value in tags.items():
        directory += name + struct.pack(">II", 128 + 52 + len(body), len(value))
        body += value.ljust(-(-len(value) // 4) * 4, b"\0")
    space = b"RGB " if inks == 3 else b"CMYK"
    header = struct.pack(">I4xI4s4s4s", 180 + len(body), 0x02400000, b"prtr", space, b"Lab ")
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white[8:]
    return header.ljust(128, b"\0") + directory + body


def lab_of_rgb(primaries: color.Chromaticities, power: float) -> Callable[[np.ndarray], np.ndarray]:
    def lab(rgb: np.ndarray) -> np.ndarray:
        relative = rgb**power @ color._colorants(primaries).T / color.D50_XYZ
        f = np.where(relative > 216 / 24_389, np.cbrt(relative), (24_389 / 27 * relative + 16) / 116)
        return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)

    return lab


def lab_of_ink(cmyk: np.ndarray) -> np.ndarray:
    paper = (1 - cmyk[:, :3] * [0.95, 0.9, 0.85]) * (1 - 0.96 * cmyk[:, 3:])
    return lab_of_rgb(color.SRGB_PRIMARIES, 2.2)(paper)


TABLES = {
    "scanner": table_profile(lab_of_rgb(color.SRGB_PRIMARIES, 2.4), 3, 17, 0.8),
    "wide gamut": table_profile(lab_of_rgb(color.PRIMARIES[9], 1.8), 3, 33, 1.0),
    "printer": table_profile(lab_of_ink, 4, 9, 1.0),
    "printer with dot gain": table_profile(lab_of_ink, 4, 13, 0.8),
}


@pytest.mark.parametrize("name", TABLES)
def test_large_deep_pictures_are_nearly_what_small_ones_are(name: str) -> None:
    """Within a level on average, and 99 of 100 samples within 2, also where it is dark or gray."""
    inks, mode = (4, "CMYK") if "printer" in name else (3, "RGB")
    samples = np.random.default_rng(0).integers(0, 65_536, (128, 128, inks), dtype=np.uint16)
    samples[:64] //= 32
    samples[:, :16] = samples[:, :16, :1]
    exact, fast = (color.to_srgb(TABLES[name], mode, True, pixels) for pixels in (4 * 10**6, 64 * 10**6))
    assert exact
    assert fast
    right = color._convert_deep(TABLES[name], mode, color.NO_OPTIMIZATION, samples)
    assert np.array_equal(exact(samples), right)
    apart = np.abs(fast(samples).astype(int) - right)
    assert 0 < apart.mean() <= 0.5  # not the same way
    assert np.percentile(apart, 99) <= 2
    assert apart.max() <= 32


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_by_its_name(transfer: int, name: str) -> None:
    words = rf"^The picture is HDR \({name}\), which is not supported: convert it to SDR first\.$"
    refused(flat_png(cicp(9, transfer)), words)
    refused(avif(nclx=(9, transfer, 6, 128)), words)
    tag = b"cicp" + bytes(4) + bytes([9, transfer, 0, 1])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = int.from_bytes(profile[128:132], "big")  # the last tag of the profile gives its place to ours
    at = 132 + 12 * (count - 1)
    bent = profile[:at] + struct.pack(">4sII", b"cicp", len(profile), len(tag)) + profile[at + 12 :] + tag
    refused(saved(Image.new("RGB", (4, 4)), "PNG", icc_profile=bent), words)


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"tEXt"])
def test_long_text_and_broken_metadata_are_left_out(name: bytes) -> None:
    text = {
        b"zTXt": b"workflow\0\0" + zlib.compress(bytes(range(32, 127)) * 30_000),
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(range(32, 127)) * 30_000),
        b"tEXt": b"Comment\0" + b"text " * 600_000,
    }[name]
    assert pixel(flat_png(chunk(name, text))) == list(SAMPLE)
    good = chunk(name, text[:50])
    assert pixel(flat_png(good[:-4] + b"\0\0\0\0")) == list(SAMPLE)  # another checksum
    assert pixel(flat_png(chunk(b"pHYs", b"short"), chunk(b"eXIf", b"broken"), chunk(b"acTL", b""))) == list(SAMPLE)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("color", [0, 2, 4, 6])
def test_sixteen_bits_of_png(color: int, interlaced: bool, capfd: pytest.CaptureFixture[str]) -> None:
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    values = np.rint(ramp()[..., :samples] * 65_535).astype(np.uint16)
    if color in (4, 6):
        values[..., -1] = np.rint(ramp()[..., 3] * 65_535)
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [values[y::dy, x::dx] for y, x, dy, dx in passes]
    file = bytearray(png(53, 37, 16, color, b"".join(b"\0" + row.astype(">u2").tobytes() for p in parts for row in p)))
    file[28] = interlaced
    file[29:33] = struct.pack(">I", zlib.crc32(file[12:29]))
    opacity = values[..., -1:] / 65_535 if color in (4, 6) else np.ones((1, 1, 1))
    shown = np.rint(values[..., : 1 if samples < 3 else 3] / 257 * opacity + 255 * (1 - opacity))
    picture = open_picture(bytes(file))
    assert picture.color == (samples > 2)
    assert_near(picture.pixels.reshape(shown.shape), shown, 1)
    assert capfd.readouterr() == ("", "")  # libpng has something to say on interlaced pictures


# --- AVIF (rows 32, 42) ---


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full_box(kind: bytes, content: bytes, version: int = 0) -> bytes:
    return box(kind, bytes([version, 0, 0, 0]) + content)


def avif(
    pixels: np.ndarray | None = None, nclx: tuple[int, int, int, int] | None = (1, 13, 6, 128), *properties: bytes
) -> bytes:
    """An AVIF with these properties, of the AV1 data that libavif makes of the pixels."""
    pixels = np.full((64, 64, 3), SAMPLE, np.uint8) if pixels is None else pixels
    encoded = saved(pixels, "AVIF", quality=100, subsampling="4:4:4")
    at = encoded.index(b"av1C") - 4
    av1c = encoded[at : at + int.from_bytes(encoded[at : at + 4], "big")]
    data = encoded[encoded.index(b"mdat") + 4 :]
    height, width = pixels.shape[:2]
    every = [full_box(b"ispe", struct.pack(">II", width, height)), full_box(b"pixi", bytes([3, 8, 8, 8])), av1c]
    every += [box(b"colr", b"nclx" + struct.pack(">HHHB", *nclx))] if nclx else []
    every += properties
    indices = bytes((0x80 if k >= 4 else 0) | k + 1 for k in range(len(every)))  # essential from the fifth on
    associations = full_box(b"ipma", struct.pack(">IHB", 1, 1, len(every)) + indices)
    items = full_box(b"iinf", b"\0\1" + full_box(b"infe", struct.pack(">HH4s", 1, 0, b"av01") + b"\0", 2))
    fixed = full_box(b"hdlr", struct.pack(">I4s", 0, b"pict") + bytes(13)) + full_box(b"pitm", b"\0\1")

    def meta(offset: int) -> bytes:
        extent = struct.pack(">HHH", 1, 0, 1) + struct.pack(">II", offset, len(data))
        location = full_box(b"iloc", struct.pack(">BBH", 0x44, 0, 1) + extent)
        return full_box(b"meta", fixed + location + items + box(b"iprp", box(b"ipco", b"".join(every)) + associations))

    head = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", data)


AVIF_COLORS = {  # primaries and transfer function, what Chromium shows
    (1, 13): (63, 129, 190),
    (1, 1): (63, 129, 190),
    (1, 6): (63, 129, 190),
    (2, 2): (63, 129, 190),
    (1, 4): (61, 130, 191),
    (1, 5): (39, 107, 177),
    (1, 8): (136, 189, 224),
    (5, 13): (58, 129, 189),
    (9, 13): (0, 134, 196),
    (9, 14): (0, 134, 196),
    (12, 13): (28, 131, 195),
}


@pytest.mark.parametrize("points", AVIF_COLORS)
def test_avif_colors(points: tuple[int, int]) -> None:
    assert_near(open_picture(avif(None, (*points, 6, 128))).pixels[32, 32], AVIF_COLORS[points])


def test_a_profile_of_avif_goes_before_its_code_points() -> None:
    profile = box(b"colr", b"prof" + swapped_profile())
    assert_near(open_picture(avif(None, (12, 13, 6, 128), profile)).pixels[32, 32], (190, 129, 63), 3)


def clap(width: int, height: int, across: int, down: int) -> bytes:
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, across, 1, down, 1))


def test_the_crop_of_avif_is_applied() -> None:
    pixels = (ramp(64, 64)[..., :3] * 255).astype(np.uint8)
    whole = open_picture(avif(pixels)).pixels
    shown = open_picture(avif(pixels, (1, 13, 6, 128), clap(32, 16, 8, -4))).pixels
    # ISO/IEC 14496-12, 12.1.4: the center of the crop lies that far from the center of the picture
    assert np.array_equal(shown, whole[32 - 8 - 4 : 32 + 8 - 4, 32 - 16 + 8 : 32 + 16 + 8])
    for outside in (clap(32, 16, 30, 0), clap(100, 16, 0, 0), clap(0, 0, 0, 0)):
        assert np.array_equal(open_picture(avif(pixels, (1, 13, 6, 128), outside)).pixels, whole)


def test_avif_without_color_is_gray() -> None:
    gray = (ramp()[..., 0] * 255).astype(np.uint8)
    picture = open_picture(saved(Image.fromarray(gray), "AVIF", quality=98, subsampling="4:0:0"))
    assert not picture.color
    assert_near(picture.pixels, gray, 6)


# --- Orientation (row 43) ---


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "PNG", "TIFF"])
def test_an_orientation_in_xmp_alone_is_ignored(kind: str) -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    image = Image.new("RGB", (48, 32), "red")
    if kind == "PNG":
        file = with_chunks(saved(image, kind), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    elif kind == "TIFF":
        file = saved(image, kind, tiffinfo={700: xmp})
    else:
        file = saved(image, kind, xmp=xmp)
    assert open_picture(file).pixels.shape == (32, 48, 3)


# --- JPEG 2000 (rows 34 to 36) ---


def codestream(samples: np.ndarray, bits: int = 8, level: int = 0) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples, level=level, codecformat="j2k", bitspersample=bits, reversible=level == 0, mct=False
        )
    )


ENUMERATED = {"CMYK": 12, "sRGB": 16, "gray": 17, "sYCC": 18}


def jp2(stream: bytes, color: bytes | str, *boxes: bytes, channels: int = 3, bits: int = 8) -> bytes:
    """A JP2 file around a codestream; `color` is the name of a color space, or the content of a `colr` box."""
    height, width = struct.unpack(">II", stream[12:16] + stream[8:12])
    content = struct.pack(">BBBI", 1, 0, 0, ENUMERATED[color]) if isinstance(color, str) else color
    header = box(b"ihdr", struct.pack(">IIHBBBB", height, width, channels, bits - 1, 7, 0, 0)) + box(b"colr", content)
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 " + bytes(4) + b"jp2 ")
    return start + box(b"jp2h", header + b"".join(boxes)) + box(b"jp2c", stream)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("bits", "level"), [*((bits, 0) for bits in range(1, 17)), (8, 90), (12, 90), (16, 90)])
def test_jpeg_2000_of_any_depth(bits: int, channels: int, level: int) -> None:
    """White is 255: samples are scaled by their depth (ISO/IEC 15444-1, annex G)."""
    top = 2**bits - 1
    values = np.rint(ramp()[..., :channels] * top).astype(np.uint8 if bits <= 8 else np.uint16)
    values[:4, :4] = top
    if channels in (2, 4):
        values[..., -1] = np.rint(ramp()[..., 3] * top)
    stream = codestream(values[..., 0] if channels == 1 else values, bits, level)
    name = "gray" if channels < 3 else "sRGB"
    opacity = values[..., -1:] / top if channels in (2, 4) else np.ones((1, 1, 1))
    color = values[..., : 1 if channels < 3 else 3]
    shown = np.rint(255 * (color / top * opacity + 1 - opacity))
    alpha = box(b"cdef", struct.pack(">HHHHHHH", 2, 0, 0, 1, 1, 1, 0)) if channels == 2 else b""
    for file in (stream, jp2(stream, name, alpha, channels=channels, bits=bits)):
        picture = open_picture(file)
        assert picture.color == (channels > 2)
        assert_near(picture.pixels.reshape(shown.shape), shown, 1 if level == 0 else 2 + 255 // top)


def test_signed_samples_of_jpeg_2000() -> None:
    values = np.rint(ramp()[..., 0] * 255 - 128).astype(np.int8)
    assert_near(open_picture(codestream(values)).pixels, values.astype(int) + 128, 0)


QUARTERS = np.repeat(np.repeat(np.array([[0, 1], [2, 3]], np.uint8), 16, 0), 24, 1)
COLORS = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)], np.uint8)


def test_the_palette_of_jpeg_2000() -> None:
    columns = struct.pack(">HB3B", 4, 3, 7, 7, 7) + COLORS.tobytes()
    mapping = b"".join(struct.pack(">HBB", 0, 1, column) for column in range(3))
    file = jp2(codestream(QUARTERS), "sRGB", box(b"pclr", columns), box(b"cmap", mapping), channels=1)
    assert np.array_equal(open_picture(file).pixels, COLORS[QUARTERS])
    # columns of 4, 8 and 12 bits, in another order
    deep = struct.pack(">HB3B", 4, 3, 3, 7, 11)
    deep += b"".join(struct.pack(">BBH", int(b) * 15 // 250, int(g), int(r) * 4095 // 250) for r, g, b in COLORS)
    mapping = b"".join(struct.pack(">HBB", 0, 1, column) for column in (2, 1, 0))
    file = jp2(codestream(QUARTERS), "sRGB", box(b"pclr", deep), box(b"cmap", mapping), channels=1)
    scaled = np.where(np.arange(3) == 1, COLORS, np.minimum(COLORS.astype(int) * 255 // 250, 255))
    assert_near(open_picture(file).pixels, scaled[QUARTERS], 1)


def test_the_channel_definitions_of_jpeg_2000() -> None:
    bgr = COLORS[QUARTERS][..., ::-1]
    order = struct.pack(">H", 3) + b"".join(struct.pack(">HHH", k, 0, 3 - k) for k in range(3))
    file = jp2(codestream(np.ascontiguousarray(bgr)), "sRGB", box(b"cdef", order))
    assert np.array_equal(open_picture(file).pixels, COLORS[QUARTERS])
    argb = np.dstack([np.full_like(QUARTERS, 128), COLORS[QUARTERS]])
    for use, shown in ((1, COLORS * (128 / 255) + 127), (2, COLORS.astype(float) + 127)):
        order = struct.pack(">HHHH", 4, 0, use, 0) + b"".join(struct.pack(">HHH", k, 0, k) for k in (1, 2, 3))
        picture = open_picture(jp2(codestream(argb), "sRGB", box(b"cdef", order), channels=4))
        assert_near(picture.pixels, shown[QUARTERS].clip(0, 255))
        assert picture.notices == (ON_WHITE,)


def test_the_color_spaces_of_jpeg_2000() -> None:
    image = Image.fromarray(COLORS[QUARTERS])
    assert_near(open_picture(jp2(codestream(np.asarray(image.convert("YCbCr"))), "sYCC")).pixels, COLORS[QUARTERS])
    cmyk = np.asarray(image.convert("CMYK"))
    assert_near(open_picture(jp2(codestream(cmyk), "CMYK", channels=4)).pixels, COLORS[QUARTERS])
    lab = struct.pack(">BBBI", 1, 0, 0, 14)
    refused(
        jp2(codestream(COLORS[QUARTERS]), lab), r"^The JPEG 2000 file is of a kind that is not supported: CIELab\.$"
    )
    points = struct.pack(">BBBHHHB", 5, 0, 0, 12, 13, 0, 0x80)
    flat = np.full((8, 8, 3), SAMPLE, np.uint8)
    assert_near(pixel(jp2(codestream(flat), points)), (32, 130, 197))  # as the same code points of PNG


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "bilevel where 1 is black"), (1, "YCbCr of BT.709"), (11, "CMY"), (20, "e-sRGB"), (21, "ROMM-RGB")],
)
def test_another_color_space_of_jpeg_2000_is_refused_by_its_name(number: int, name: str) -> None:
    stream = codestream(COLORS[QUARTERS])
    box_of = struct.pack(">BBBI", 1, 0, 0, number)
    refused(jp2(stream, box_of), f"^The JPEG 2000 file is of a kind that is not supported: {name}\\.$")
    unknown = struct.pack(">BBBI", 1, 0, 0, 99)
    refused(jp2(stream, unknown), r"not supported: color space 99\.$")
    second = box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16))  # as in a JPX file, for readers that know less
    assert np.array_equal(open_picture(jp2(stream, box_of, second)).pixels, COLORS[QUARTERS])


def test_bilevel_jpeg_2000_where_1_is_white() -> None:
    bits = (QUARTERS % 2).astype(np.uint8)
    file = jp2(codestream(bits, 1), struct.pack(">BBBI", 1, 0, 0, 15), channels=1, bits=1)
    assert np.array_equal(open_picture(file).pixels, bits * 255)


@pytest.mark.parametrize("method", [2, 3])
def test_a_profile_of_jpeg_2000_is_applied(method: int) -> None:
    flat = np.full((8, 8, 3), SAMPLE, np.uint8)
    assert_near(pixel(jp2(codestream(flat), bytes([method, 0, 0]) + swapped_profile())), (192, 128, 64))


def joined(planes: list[np.ndarray], steps: list[int], depths: list[int] | None = None) -> bytes:
    """A codestream of these components, each sampled at every so many pixels.

    Without decompositions each component is one packet, and packets come in the order of components: those of
    codestreams of one component are simply put behind one another.
    """
    streams = [
        bytes(imagecodecs.jpeg2k_encode(plane, level=0, codecformat="j2k", resolutions=1, reversible=True))
        for plane in planes
    ]
    components = b"".join(bytes([bits - 1, n, n]) for bits, n in zip(depths or [8] * len(planes), steps, strict=True))
    size = struct.pack(">HH", 0xFF51, 38 + len(components)) + streams[0][6:40] + struct.pack(">H", len(planes))
    rest = streams[0][4 + 38 + 3 : streams[0].index(b"\xff\x90")]
    data = b"".join(stream[stream.index(b"\xff\x93") + 2 : -2] for stream in streams)
    tile = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14 + len(data), 0, 1) + b"\xff\x93"
    return b"\xff\x4f" + size + components + rest + tile + data + b"\xff\xd9"


@pytest.mark.parametrize("size", [32, 33])
def test_subsampled_components_at_odd_sizes(size: int) -> None:
    """Luma and Cb rise to the right, Cr to the bottom."""
    half = (size + 1) // 2
    luma = np.tile(np.linspace(60, 190, size).round().astype(np.uint8), (size, 1))
    cb = np.tile(np.linspace(100, 150, half).round().astype(np.uint8), (half, 1))
    cr = np.ascontiguousarray(cb.T)
    pixels = open_picture(jp2(joined([luma, cb, cr], [1, 2, 2]), "sYCC")).pixels
    y = luma.astype(float)
    blue, red = (plane.repeat(2, 0).repeat(2, 1)[:size, :size].astype(float) - 128 for plane in (cb, cr))
    shown = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], -1)
    assert_near(pixels, shown.round().clip(0, 255), 2)


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("step", [2, 3])
def test_components_that_are_all_sampled_alike_are_a_picture_of_their_own_size(step: int, size: int) -> None:
    """As ImageMagick writes with -sampling-factor, and as OpenJPEG's own programs show it."""
    side = -(-size // step)
    stream = bytearray(codestream(np.ascontiguousarray((ramp(side, side)[..., :3] * 255).round().astype(np.uint8))))
    shown = open_picture(bytes(stream)).pixels
    stream[8:40] = struct.pack(">8I", size, size, 0, 0, size, size, 0, 0)
    for component in range(3):
        stream[43 + 3 * component : 45 + 3 * component] = bytes([step, step])
    assert np.array_equal(open_picture(bytes(stream)).pixels, shown)


@pytest.mark.parametrize("step", [2, 3, 4])
def test_components_of_sizes_that_cannot_be_brought_together_are_named(
    step: int, capfd: pytest.CaptureFixture[str]
) -> None:
    wide = np.full((33, 33), 250, np.uint8)
    small = np.full((-(-33 // step),) * 2, 20, np.uint8)
    words = r"^The JPEG 2000 file is of a kind that is not supported: components of different sizes\.$"
    definitions = box(b"cdef", struct.pack(">H6H", 2, 0, 0, 1, 1, 1, 0))
    refused(jp2(joined([wide, small], [1, step]), "gray", definitions, channels=2), words)
    if step > 2:  # OpenJPEG has 4:2:0 and 4:2:2 alone
        refused(jp2(joined([wide, small, small], [1, step, step]), "sYCC"), words)
        refused(joined([wide, small, small], [1, step, step]), words)
    assert capfd.readouterr() == ("", "")  # where it has not, it says so


def test_subsampled_components_that_are_not_of_ycc() -> None:
    planes = [np.full((32, 32), 250, np.uint8), np.full((16, 16), 20, np.uint8), np.full((16, 16), 60, np.uint8)]
    assert_near(pixel(jp2(joined(planes, [1, 2, 2]), "sRGB")), (250, 20, 60))
    odd = [np.full((33, 33), 250, np.uint8), np.full((17, 17), 20, np.uint8), np.full((17, 17), 60, np.uint8)]
    refused(jp2(joined(odd, [1, 2, 2]), "sRGB"), "not supported: components of different sizes")


def test_an_alpha_channel_of_another_depth() -> None:
    opaque = (QUARTERS == 3).astype(np.uint8)  # of 1 bit, whose middle is 1 where that of 8 bits is 128
    planes = [np.ascontiguousarray(COLORS[QUARTERS][..., k]) for k in range(3)] + [opaque + np.uint8(127)]
    definitions = struct.pack(">H12H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 1, 0)
    file = jp2(joined(planes, [1] * 4, [8, 8, 8, 1]), "sRGB", box(b"cdef", definitions), channels=4)
    shown = np.where(QUARTERS[..., None] == 3, COLORS[3], np.uint8(255))
    assert np.array_equal(open_picture(file).pixels, shown)


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("depth", [8, 16])
def test_what_libpng_finds_in_a_stream_is_not_printed(
    depth: int, interlaced: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rows that are too many, bytes after the stream and a checksum that is missing change nothing."""
    rows = b"\0" + bytes(range(3 * depth // 8))
    file = png(1, 1, depth, 2, rows)
    header = file[: file.index(b"IDAT") - 4]
    if interlaced:
        fields = header[16:28] + b"\1"
        header = header[:8] + chunk(b"IHDR", fields)
    whole = zlib.compress(rows)
    shown = open_picture(header + chunk(b"IDAT", whole) + chunk(b"IEND", b"")).pixels
    for parts in (
        [zlib.compress(rows * 9)],
        [whole + b"more"],
        [whole, b"more"],
        [whole[:-4]],
        [whole[:-4], whole[-4:]],
    ):
        found = open_picture(header + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND", b""))
        assert np.array_equal(found.pixels, shown)
    refused(header + chunk(b"IDAT", whole[:-1] + bytes([whole[-1] ^ 1])) + chunk(b"IEND", b""), "damaged")
    assert printed(capfd) == ("", "")


# --- TIFF (rows 37 to 39) ---


def tiff(samples: np.ndarray, photometric: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric=photometric, metadata=None, **options)
    return buffer.getvalue()


def retagged(file: bytes, changes: dict[int, tuple[int, int] | None]) -> bytes:
    """A little-endian TIFF with other tags of one value, given by type and value, or without them."""
    at = struct.unpack("<I", file[4:8])[0]
    end = at + 2 + 12 * struct.unpack_from("<H", file, at)[0]
    tags = {struct.unpack_from("<H", file, entry)[0]: file[entry : entry + 12] for entry in range(at + 2, end, 12)}
    tags |= {tag: struct.pack("<HHII", tag, change[0], 1, change[1]) for tag, change in changes.items() if change}
    kept = [tags[tag] for tag in sorted(tags) if changes.get(tag, True)]
    directory = struct.pack("<H", len(kept)) + b"".join(kept) + bytes(4)
    return file[:4] + struct.pack("<I", len(file)) + file[8:] + directory


def with_byte_counts(file: bytes, change: Callable[[list[int]], list[int]]) -> bytes:
    """A TIFF with other lengths of its strips or tiles."""
    with tifffile.TiffFile(io.BytesIO(file)) as opened:
        tag = opened.pages[0].tags.get(279) or opened.pages[0].tags[325]
    form = f"<{tag.count}{'H' if tag.dtype == 3 else 'I'}"
    counts = struct.pack(form, *change(list(struct.unpack_from(form, file, tag.valueoffset))))
    return file[: tag.valueoffset] + counts + file[tag.valueoffset + len(counts) :]


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "planes": {"planarconfig": "separate", "rowsperstrip": 9},
    "big-endian": {"byteorder": ">"},
    "big-endian BigTIFF": {"byteorder": ">", "bigtiff": True},
    "LZW": {"compression": "lzw", "predictor": True},
    "planes of LZW": {"planarconfig": "separate", "compression": "lzw", "byteorder": ">"},
    "Deflate in tiles": {"compression": "deflate", "tile": (16, 16), "predictor": True},
    "PackBits": {"compression": "packbits"},
    "Zstandard": {"compression": "zstd"},
    "LZMA": {"compression": "lzma"},
}
TIFF_KINDS: dict[str, tuple[str, int, list[str] | None]] = {  # photometric interpretation, samples, extra samples
    "gray": ("minisblack", 1, None),
    "inverted gray": ("miniswhite", 1, None),
    "gray with alpha": ("minisblack", 2, ["unassalpha"]),
    "gray with associated alpha": ("minisblack", 2, ["assocalpha"]),
    "RGB": ("rgb", 3, None),
    "RGB with alpha": ("rgb", 4, ["unassalpha"]),
    "RGB with associated alpha": ("rgb", 4, ["assocalpha"]),
    "RGB with something else": ("rgb", 4, ["unspecified"]),
    "CMYK": ("separated", 4, None),
    "CMYK with alpha": ("separated", 5, ["unassalpha"]),
}


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", TIFF_KINDS)
def test_layouts_of_tiff(kind: str, layout: str, dtype: str) -> None:
    """The same values by TIFF 6.0, whatever way they are laid out."""
    photometric, count, extra = TIFF_KINDS[kind]
    top = np.iinfo(dtype).max
    values = ramp()[..., [0, 1, 2, 3, 3]][..., :count]
    if extra:
        values = np.concatenate([values[..., : count - 1], ramp()[..., 3:]], -1)
        if extra == ["assocalpha"]:
            values = np.concatenate([values[..., :-1] * values[..., -1:], values[..., -1:]], -1)
    stored = np.rint(values * top).astype(dtype)
    options = dict(LAYOUTS[layout])
    separate = options.get("planarconfig") == "separate"
    if count > 1 and not separate:
        options["planarconfig"] = "contig"
    samples = np.moveaxis(stored, -1, 0) if separate and count > 1 else stored[..., 0] if count == 1 else stored
    picture = open_picture(tiff(np.ascontiguousarray(samples), photometric, extrasamples=extra, **options))
    color, alpha = stored / top, np.ones((37, 53, 1))
    if extra:
        color, alpha = color[..., :-1], color[..., -1:]
    if extra == ["assocalpha"]:
        color = color / alpha
    if extra == ["unspecified"]:
        alpha = np.ones_like(alpha)
    if photometric == "miniswhite":
        color = 1 - color
    if photometric == "separated":
        color = (1 - color[..., :3]) * (1 - color[..., 3:4])
    assert picture.color == (photometric in ("rgb", "separated"))
    assert_near(picture.pixels.reshape(color.shape), np.rint(255 * (color * alpha + 1 - alpha)), 2 if extra else 1)


PACKED = [(bits, kind) for bits in (1, 2, 3, 4, 5, 6, 7, 10, 12, 14) for kind in ("minisblack", "miniswhite", "rgb")]


@pytest.mark.parametrize(("bits", "photometric"), sorted(set(PACKED) - {(1, "rgb")}))  # which tifffile does not write
def test_packed_depths_of_tiff(bits: int, photometric: str) -> None:
    values = np.rint(ramp()[..., :3] * (2**bits - 1)).astype("u1" if bits <= 8 else "u2")
    values = values if photometric == "rgb" else values[..., 0]
    file = tiff(values, photometric, bitspersample=bits, planarconfig="contig" if photometric == "rgb" else None)
    shown = np.rint(values * (255 / (2**bits - 1)))
    assert_near(open_picture(file).pixels, 255 - shown if photometric == "miniswhite" else shown, 1)


def test_a_tiff_of_samples_of_different_depths_is_named() -> None:
    file = tiff(np.zeros((8, 8, 3), np.uint8), "rgb", planarconfig="contig")
    depths = struct.pack("<3H", 8, 8, 8)
    assert file.count(depths) == 1
    refused(file.replace(depths, struct.pack("<3H", 5, 6, 5)), r"not supported: samples of different depths\.$")


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "f2", "f4", "f8"])
def test_values_without_bounds_are_scaled_by_their_range(dtype: str, samples: int) -> None:
    kind = np.dtype(dtype)
    low, high = (0.0, 1.0) if kind.kind == "f" else (float(np.iinfo(kind).min), float(np.iinfo(kind).max))
    exact = ramp()[..., :samples] * (high - low) + low
    values = (np.rint(exact).clip(low, high) if kind.kind != "f" else exact).astype(kind)
    for options in ({}, {"compression": "deflate"}, {"byteorder": ">"}):
        file = tiff(values if samples > 1 else values[..., 0], "rgb" if samples > 1 else "minisblack", **options)
        picture = open_picture(file)
        assert_near(picture.pixels.reshape(values.shape), np.rint(ramp()[..., :samples] * 255), 1)
        assert "were scaled to black to white" in picture.notices[0]


@pytest.mark.parametrize("scale", [1, 257])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_palette_of_tiff(bits: int, scale: int) -> None:
    """Of 16 bits as the standard has it, or of 8 as some writers do (libtiff: where no entry is over 255)."""
    colors = np.random.default_rng(0).integers(0, 256, (3, 2**bits), dtype=np.uint16)
    indices = np.rint(ramp()[..., 0] * (2**bits - 1)).astype(np.uint8)
    if bits == 8:
        file = tiff(indices, "palette", colormap=colors * scale)
    else:
        packed = indices[:, : 53 // 2 * 2].reshape(37, -1, 2)
        indices = indices[:, : 53 // 2 * 2]
        data = (packed[..., 0] << 4 | packed[..., 1]).astype(np.uint8).tobytes()
        entries = [(256, 4, 52), (257, 4, 37), (258, 3, 4), (259, 3, 1), (262, 3, 3), (277, 3, 1), (278, 4, 37)]
        start = 8 + 2 + 12 * (len(entries) + 3) + 4
        entries += [(273, 4, start), (279, 4, len(data))]
        directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(entries))
        directory += struct.pack("<HHII", 320, 3, 48, start + len(data)) + bytes(4)
        file = b"II*\0\x08\0\0\0\x0a\0" + directory + data + (colors * scale).astype("<u2").tobytes()
    assert np.array_equal(open_picture(file).pixels, colors.T.astype(np.uint8)[indices])


@pytest.mark.parametrize("bits", [8, 16])
def test_cielab_of_tiff(bits: int) -> None:
    """L*, a* and b* of D50 for sRGB red, gray and blue, by the ICC's sRGB profile."""
    lab = np.array([[[54.29, 80.81, 69.89], [53.39, 0, 0], [29.57, 68.30, -112.03]]])
    scale = np.array([(2**bits - 1) / 100, 2 ** (bits - 8), 2 ** (bits - 8)])
    stored = np.rint(lab * scale).astype(np.int64).astype(f"u{bits // 8}")
    shown = [[[255, 0, 0], [127, 127, 127], [0, 0, 255]]]
    assert_near(open_picture(tiff(stored, "cielab")).pixels, shown, 6 if bits == 8 else 2)


def test_the_white_of_cielab() -> None:
    """L*, a* and b* of D65, as ImageMagick and libvips have them, for sRGB red, gray and blue (IEC 61966-2-1)."""
    lab = np.array([[[53.24, 80.09, 67.20], [53.59, 0, 0], [32.30, 79.19, -107.86]]])
    stored = np.rint(lab * [655.35, 256, 256]).astype(np.int64).astype("u2")
    white = (318, 5, 2, (3127, 10_000, 3290, 10_000), True)
    assert_near(open_picture(tiff(stored, "cielab", extratags=[white])).pixels, [[[255, 0, 0], [128] * 3, [0, 0, 255]]])
    refused(tiff(np.zeros((16, 16, 3), np.uint8), "cielab", compression="jpeg"), "not supported: CIELAB in JPEG")


def test_cielab_of_floating_point() -> None:
    """L*, a* and b* themselves, as libvips has them; values that are not finite are no color."""
    lab = np.array([[[54.29, 80.81, 69.89], [53.39, 0, 0], [29.57, 68.30, -112.03], [np.nan] * 3]])
    for dtype in ("f2", "f4", "f8"):
        shown = [[[255, 0, 0], [127, 127, 127], [0, 0, 255], [0, 0, 0]]]
        assert_near(open_picture(tiff(lab.astype(dtype), "cielab")).pixels, shown)
    refused(tiff(lab.astype("f4"), "icclab"), "not supported: ICCLAB of floating point")


def jpeg_planes(planes: list[np.ndarray], photometric: str, height: int, **options: Any) -> bytes:
    """Planes in JPEG as libtiff writes them, without the mark of a JPEG file, in strips of this height."""
    strips = [plane[top : top + height] for plane in planes for top in range(0, len(plane), height)]
    encoded = [saved(strip, "JPEG", quality=98) for strip in strips]
    assert all(file[2:4] == b"\xff\xe0" for file in encoded)
    shape = (len(planes), *planes[0].shape)
    layout = {"shape": shape, "dtype": "u1", "planarconfig": "separate", "rowsperstrip": height}
    return tiff(iter(file[:2] + file[20:] for file in encoded), photometric, **layout, compression="jpeg", **options)


def old_jpeg(stream: bytes, height: int, told: str) -> bytes:
    """Old-style JPEG (TIFF 6.0, section 22): a stream at byte 8 that tags of its own tell, or a strip, or both."""
    scan = stream.index(b"\xff\xda") + 14 if "scan" in told else 0  # after the header of three components
    tags = {256: (4, 400), 257: (4, height), 258: (3, 8), 259: (3, 6), 262: (3, 6), 277: (3, 3), 278: (4, height)}
    if told != "stream":
        tags |= {273: (4, 8 + scan), 279: (4, len(stream) - scan)}
    if "stream" in told:
        tags |= {512: (3, 1), 513: (4, 8), 514: (4, len(stream))}
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
    start = struct.pack("<I", 8 + len(stream))
    return b"II*\0" + start + stream + struct.pack("<H", len(tags)) + directory + bytes(4)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("told", ["stream", "strip", "stream and strip", "stream, and scan as the strip"])
def test_old_style_jpeg_is_whole_or_refused(told: str, options: dict[str, Any]) -> None:
    stream = saved(PHOTO, "JPEG", quality=90, **options)
    assert_near(open_picture(old_jpeg(stream, 200, told)).pixels, np.asarray(Image.open(io.BytesIO(stream))), 2)
    for part in (0.5, 0.9, 0.99):
        cut = stream[: int(len(stream) * part)]
        refused(old_jpeg(cut, 200, told), "^The TIFF file is incomplete")
        refused(old_jpeg(cut + b"\xff\xd9", 200, told), "^The TIFF file is incomplete")
    if "progressive" in options:
        last = stream.rindex(b"\xff\xda")
        refused(old_jpeg(stream[:last] + b"\xff\xd9", 200, told), "^The TIFF file is incomplete")
    refused(old_jpeg(stream, 300, told), "^The TIFF file is incomplete")


def test_old_style_jpeg_in_pieces_is_named() -> None:
    refused(old_jpeg(saved(PHOTO, "JPEG"), 200, "scan"), "not supported: old-style JPEG whose tables are not with its")


@pytest.mark.parametrize("height", [37, 16])
@pytest.mark.parametrize("photometric", ["rgb", "ycbcr", "separated"])
def test_jpeg_in_planes(photometric: str, height: int) -> None:
    samples = np.rint(ramp(40, 56)[:37, :53, :] * 127 + 64).astype(np.uint8)
    samples[..., 3] = 90
    planes = [np.ascontiguousarray(samples[..., index]) for index in range(4 if photometric == "separated" else 3)]
    y, cb, cr, k = np.moveaxis(samples.astype(float), -1, 0)
    shown = samples[..., :3]
    if photometric == "ycbcr":
        cb, cr = cb - 128, cr - 128
        shown = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1).clip(0, 255)
    elif photometric == "separated":
        shown = (255 - samples[..., :3].astype(float)) * (255 - k[..., None]) / 255
    file = jpeg_planes(planes, photometric, height)
    assert_near(open_picture(file).pixels, shown, 6)
    refused(with_byte_counts(file, lambda counts: [counts[0] - 40, *counts[1:]]), "^The TIFF file is incomplete")
    refused(_taller(jpeg_planes(planes, photometric, 37), 90), "^The TIFF file is incomplete")


def test_chroma_of_half_size_in_planes_is_named() -> None:
    luma, chroma = np.zeros((32, 32), np.uint8), np.zeros((16, 16), np.uint8)
    file = jpeg_planes([luma, luma, luma], "ycbcr", 32, subsampling=(2, 2))
    half = jpeg_planes([chroma, chroma, chroma], "ycbcr", 16)
    assert np.unique(open_picture(file).pixels).tolist() == [0, 135]  # as the data are, whatever the tag says
    refused(retagged(half, {256: (4, 32), 257: (4, 32), 278: (4, 32)}), "chroma of half size in planes of its own")


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 7}, {"tile": (16, 32)}, {"planarconfig": "separate"}], ids=str)
@pytest.mark.parametrize("bits", [1, 8, 12, 16])
def test_uncompressed_data_whose_length_is_not_told(layout: dict[str, Any], bits: int) -> None:
    """A byte count of zero is taken to be what the samples need, as ImageMagick and libvips have it."""
    color = bits in (8, 16)
    values = np.rint(ramp()[..., :3] * (2**bits - 1)).astype("u1" if bits <= 8 else "u2")
    values = values if color else values[..., 0]
    shown = np.rint(values * (255 / (2**bits - 1)))
    options = {"bitspersample": bits, **layout}
    if "planarconfig" in layout and color:
        values = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    elif color:
        options["planarconfig"] = "contig"
    else:
        options.pop("planarconfig", None)
    file = tiff(values, "rgb" if color else "minisblack", **options)
    for change in (lambda counts: [0] * len(counts), lambda counts: [0, *counts[1:]]):
        assert_near(open_picture(with_byte_counts(file, change)).pixels, shown, 1)
    refused(with_byte_counts(file[:-20], lambda counts: [0] * len(counts)), "^The TIFF file is incomplete")


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits", "zstd", "jpeg"])
def test_one_strip_whose_length_is_not_told(compression: str) -> None:
    """It ends where the decoder has had enough. Of several strips each has to have a length."""
    values = np.rint(ramp()[..., 0] * 255).astype(np.uint8)
    file = tiff(values, "minisblack", compression=compression)
    unknown = with_byte_counts(file, lambda counts: [0])
    assert_near(open_picture(unknown).pixels, values, 6 if compression == "jpeg" else 0)
    refused(unknown[:-100], "^The TIFF file is (incomplete|damaged)")
    several = tiff(values, "minisblack", compression=compression, rowsperstrip=16)
    refused(with_byte_counts(several, lambda counts: [0, *counts[1:]]), "^The TIFF file is incomplete")


@pytest.mark.parametrize("layout", [{"planarconfig": "contig"}, {"planarconfig": "separate"}], ids=str)
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("photometric", ["rgb", "separated"])
def test_a_number_of_samples_that_is_missing(photometric: str, compression: str | None, layout: dict[str, Any]) -> None:
    """There are as many as have a depth."""
    values = np.rint(ramp()[..., : 3 if photometric == "rgb" else 4] * 255).astype(np.uint8)
    samples = np.ascontiguousarray(np.moveaxis(values, -1, 0)) if layout["planarconfig"] == "separate" else values
    file = tiff(samples, photometric, compression=compression, rowsperstrip=16, **layout)
    assert np.array_equal(open_picture(retagged(file, {277: None})).pixels, open_picture(file).pixels)


def test_rgb_of_one_depth_without_a_number_of_samples() -> None:
    values = np.rint(ramp()[..., :3] * 255).astype(np.uint8)
    color, gray = tiff(values, "rgb", planarconfig="contig"), tiff(values[..., 0], "minisblack")
    assert np.array_equal(open_picture(retagged(color, {277: None, 258: (3, 8)})).pixels, values)
    for samples in (None, (3, 1)):  # as ImageMagick, libvips and tifffile have it
        assert np.array_equal(open_picture(retagged(gray, {262: (3, 2), 277: samples})).pixels, values[..., 0])
    refused(retagged(color, {277: (3, 1)}), "^The TIFF file is damaged")
    refused(retagged(color, {277: None, 258: None}), "^The TIFF file is damaged")


@pytest.mark.parametrize("steps", [(1, 1), (2, 1), (2, 2), (4, 2)])
def test_ycbcr_of_tiff_without_jpeg(steps: tuple[int, int]) -> None:
    """TIFF 6.0, section 21: blocks of luma, then Cb and Cr."""
    across, down = steps
    width, height = 16, 8
    luma = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    blocks = luma.reshape(height // down, down, width // across, across).swapaxes(1, 2).reshape(-1, across * down)
    data = b"".join(block.tobytes() + bytes([100, 160]) for block in blocks)
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 6), (277, 3, 3), (278, 4, height)]
    start = 8 + 2 + 12 * (len(entries) + 3) + 4
    entries += [(273, 4, start), (279, 4, len(data))]
    tags = {tag: struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries}
    tags[258] = struct.pack("<HHII", 258, 3, 3, start + len(data))
    tags[530] = struct.pack("<HHIHH", 530, 3, 2, across, down)
    directory = b"".join(tags[tag] for tag in sorted(tags)) + bytes(4)
    file = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + directory + data + struct.pack("<3H", 8, 8, 8)
    y = luma.astype(float)
    shown = np.stack([y + 1.402 * 32, y - 0.344136 * -28 - 0.714136 * 32, y + 1.772 * -28], -1)
    assert_near(open_picture(file).pixels, shown.round().clip(0, 255), 1)


def test_strips_that_hold_more_than_they_should() -> None:
    """Some writers fill up the last strip to its full height."""
    rows = np.rint(ramp(48)[..., 0] * 255).astype(np.uint8)
    for compression in ("deflate", "packbits", "lzw", None):
        file = bytearray(tiff(rows, "minisblack", compression=compression, rowsperstrip=16))
        at = file.index(struct.pack("<HH", 257, 4))
        file[at + 8 : at + 10] = struct.pack("<H", 37)
        assert np.array_equal(open_picture(bytes(file)).pixels, rows[:37])


def _taller(file: bytes, height: int) -> bytes:
    """A TIFF of one strip that claims to have more rows."""
    return retagged(file, {257: (4, height), 278: (4, height)})


BILEVEL = Image.fromarray(((np.indices((200, 400)) // 8).sum(0) % 2 * 255).astype(np.uint8)).convert("1")
PHOTO = Image.fromarray((ramp(200, 400)[..., :3] * 255).astype(np.uint8))


@pytest.mark.parametrize("height", [201, 1000])
@pytest.mark.parametrize(
    ("compression", "mode"),
    [
        *((name, "1") for name in ("raw", "group3", "group4", "tiff_ccitt", "tiff_lzw", "packbits", "tiff_deflate")),
        *((name, mode) for name in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate") for mode in ("L", "RGB")),
    ],
)
def test_rows_that_nobody_wrote_are_never_shown(compression: str, mode: str, height: int) -> None:
    image = BILEVEL if mode == "1" else PHOTO.convert(mode)
    file = saved(image, "TIFF", compression=compression, strip_size=10**7)
    assert_near(open_picture(file).pixels, np.asarray(image.convert("L") if mode == "1" else image), 8)
    refused(_taller(file, height), "^The TIFF file is incomplete")


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 16}, {"tile": (16, 32)}, {"planarconfig": "separate"}], ids=str)
def test_a_png_inside_tiff_prints_nothing(
    layout: dict[str, Any], samples: int, dtype: str, capfd: pytest.CaptureFixture[str]
) -> None:
    values = np.rint(ramp()[..., :samples] * np.iinfo(dtype).max).astype(dtype)
    options: dict[str, Any] = {"planarconfig": "contig", **layout} if samples > 1 else {"rowsperstrip": 16}
    stored = np.ascontiguousarray(np.moveaxis(values, -1, 0)) if options.get("planarconfig") == "separate" else values
    extra = {"extrasamples": ["unspecified"]} if samples in (2, 4) else {}
    stored = stored[..., 0] if samples == 1 else stored
    file = tiff(stored, "rgb" if samples > 2 else "minisblack", compression="png", **options, **extra)
    colors = 3 if samples > 2 else 1
    shown = np.rint(values[..., :colors] * (255 / np.iinfo(dtype).max))
    assert_near(open_picture(file).pixels.reshape(shown.shape), shown, 1)
    assert printed(capfd) == ("", "")


@pytest.mark.parametrize("depth", [1, 4, 12, 16])
def test_a_jpeg_inside_tiff_of_another_depth_is_named(depth: int) -> None:
    """Its samples have 8 bits, and would be scaled as if they had as many as the tag says."""
    file = saved(PHOTO.convert("L"), "TIFF", compression="jpeg")
    refused(retagged(file, {258: (3, depth)}), f"not supported: JPEG of a depth of {depth} by its tags")


def test_a_jpeg_inside_tiff_that_ends_early_is_refused() -> None:
    whole = saved(PHOTO, "TIFF", compression="jpeg", strip_size=10**7)
    with tifffile.TiffFile(io.BytesIO(whole)) as opened:
        start, length = opened.pages[0].dataoffsets[0], opened.pages[0].databytecounts[0]
    half = bytearray(whole)
    half[start + length // 2 : start + length] = b"\xff\xd9".ljust(length - length // 2, b"\0")
    refused(bytes(half), "^The TIFF file is incomplete")


def test_a_strip_that_is_missing_is_refused() -> None:
    file = tiff(np.zeros((64, 8), np.uint8), "minisblack", rowsperstrip=16, compression="deflate")
    with tifffile.TiffFile(io.BytesIO(file)) as opened:
        counts = opened.pages[0].tags[279]
        at = counts.valueoffset
    refused(file[: at + 4] + bytes(4) + file[at + 8 :], "^The TIFF file is incomplete")  # a sparse file


THUMBNAIL, PICTURE = np.full((8, 8, 3), 10, np.uint8), np.full((32, 32, 3), (200, 100, 50), np.uint8)


def test_the_picture_is_shown_rather_than_its_thumbnail() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(THUMBNAIL, photometric="rgb", subfiletype=1, metadata=None)
        writer.write(PICTURE, photometric="rgb", subfiletype=0, metadata=None)
    assert np.array_equal(open_picture(buffer.getvalue()).pixels, PICTURE)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(THUMBNAIL, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(PICTURE, photometric="rgb", subfiletype=0, metadata=None)
    assert np.array_equal(open_picture(buffer.getvalue()).pixels, PICTURE)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(PICTURE, photometric="rgb", metadata=None)
        writer.write(THUMBNAIL, photometric="rgb", subfiletype=1, metadata=None)
    picture = open_picture(buffer.getvalue())
    assert np.array_equal(picture.pixels, PICTURE)
    assert picture.notices == ()  # a thumbnail is no frame


def test_camera_raw_is_refused_by_its_name() -> None:
    words = "^The file is a camera raw file, which is not supported"
    raw = np.zeros((32, 32), np.uint16)
    buffer = io.BytesIO()  # as DNG and NEF have it
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(THUMBNAIL, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(raw, photometric="cfa", subfiletype=0, metadata=None)
    refused(buffer.getvalue(), words)
    refused(tiff(raw, "cfa"), words)
    version = (50706, "B", 4, b"\1\4\0\0", True)
    refused(tiff(THUMBNAIL, "rgb", extratags=[version]), words)
    file = bytearray(tiff(THUMBNAIL, "rgb"))
    assert file[4:8] != b"\x10\0\0\0"
    refused(b"II*\0\x10\0\0\0CR\x02\0" + bytes(4) + bytes(file[16:]), words)


# --- JPEG, JPEG 2000 and GIF that hold only a part (row 38) ---


def _noisy(size: int = 256) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 20, (size, size, 3))
    return Image.fromarray((ramp(size, size)[..., :3] * 255 + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
def test_a_jpeg_that_ends_early_is_refused(options: dict[str, Any], mode: str, part: float) -> None:
    file = saved(_noisy().convert(mode), "JPEG", **options)
    open_picture(file)
    refused(file[: int(len(file) * part)] + b"\xff\xd9", "^The JPEG file is incomplete")
    refused(file[: int(len(file) * part)], "^The JPEG file is incomplete")


def test_a_jpeg_without_its_end_mark_is_whole() -> None:
    file = saved(_noisy(), "JPEG")
    assert np.array_equal(open_picture(file[:-2]).pixels, open_picture(file).pixels)


def test_a_jpeg_that_lacks_a_scan_is_refused() -> None:
    file = saved(_noisy(), "JPEG", progressive=True)
    scans = [at for at in range(len(file) - 1) if file[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 4
    for at in scans:
        refused(file[:at] + b"\xff\xd9", "^The JPEG file is incomplete")


def test_a_jpeg_that_lacks_a_restart_interval_is_refused() -> None:
    file = saved(_noisy(), "JPEG", restart_marker_rows=1)
    first, second = (file.index(bytes([0xFF, 0xD0 + k])) for k in (2, 3))
    refused(file[:first] + file[second:], "^The JPEG file is incomplete")


def _tile_parts(stream: bytes) -> list[bytes]:
    """The main header, then each part of a tile."""
    at = stream.index(b"\xff\x90\0\x0a")
    parts = [stream[:at]]
    while stream[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(stream[at + 6 : at + 10], "big")
        parts.append(stream[at : at + length])
        at += length
    return parts


def test_jpeg_2000_that_lacks_a_tile_is_refused() -> None:
    stream = saved(_noisy(), "JPEG2000", tile_size=(64, 64), no_jp2=True)
    head, *tiles = _tile_parts(stream)
    assert len(tiles) == 16
    words = "^The JPEG 2000 file is incomplete"
    for missing in (0, 1, 7, 15):
        rest = b"".join(tiles[:missing] + tiles[missing + 1 :])
        refused(head + rest + b"\xff\xd9", words)
        refused(jp2(head + rest + b"\xff\xd9", "sRGB"), words)
    for count in (0, 8, 15):
        refused(head + b"".join(tiles[:count]), words)
        refused(head + b"".join(tiles[:count]) + b"\xff\xd9", words)
    whole = tiles[0]
    for part in (0.3, 0.9):
        shorter = int(len(whole) * part)
        tile = whole[:6] + struct.pack(">I", shorter) + whole[10:shorter]
        refused(head + tile + b"".join(tiles[1:]) + b"\xff\xd9", r"JPEG 2000 file is (incomplete|damaged)")


def gif(indices: np.ndarray, canvas: tuple[int, int], at: tuple[int, int] = (0, 0), codes: int | None = None) -> bytes:
    """A GIF of four colors, uncompressed; of the codes only so many are kept."""
    height, width = indices.shape
    values = [code for k, index in enumerate(indices.ravel()) for code in ([4, index] if k % 2 == 0 else [index])]
    values = values[:codes] if codes is not None else values
    bits = "".join(format(int(value), "03b")[::-1] for value in [*values, 5])
    data = bytes(int(bits[k : k + 8][::-1], 2) for k in range(0, len(bits), 8))
    blocks = b"".join(bytes([len(data[k : k + 255])]) + data[k : k + 255] for k in range(0, len(data), 255)) + b"\0"
    screen = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x81, 0, 0) + COLORS.tobytes()
    return screen + b"," + struct.pack("<HHHHB", *at, width, height, 0) + b"\2" + blocks + b";"


def test_a_gif_that_ends_early_is_refused() -> None:
    indices = QUARTERS[::2, ::2]
    assert np.array_equal(open_picture(gif(indices, (24, 16))).pixels, COLORS[indices])
    for codes in (0, 100, 575):
        refused(gif(indices, (24, 16), codes=codes), "^The GIF file is incomplete")
    file = saved(_noisy().quantize(64), "GIF", interlace=0)
    start = file.index(b",", 13 + 3 * 64) + 11
    ends = [start]
    while file[ends[-1]]:
        ends.append(ends[-1] + 1 + file[ends[-1]])
    refused(file[: ends[len(ends) // 2]] + b"\0;", "^The GIF file is incomplete")


@pytest.mark.parametrize("at", [(0, 0), (5, 9), (24, 16)])
def test_what_the_first_frame_leaves_uncovered_is_clear(at: tuple[int, int]) -> None:
    left, top = at
    picture = open_picture(gif(QUARTERS[::2, ::2], (48, 32), at))
    shown = np.full((32, 48, 3), 255, np.uint8)
    shown[top : top + 16, left : left + 24] = COLORS[QUARTERS[::2, ::2]]
    assert np.array_equal(picture.pixels, shown)
    assert picture.notices == (ON_WHITE,)


def test_a_first_frame_that_is_larger_than_the_canvas_is_shown_whole() -> None:
    """As Chromium does."""
    picture = open_picture(gif(QUARTERS[::2, ::2], (10, 10)))
    assert np.array_equal(picture.pixels, COLORS[QUARTERS[::2, ::2]])


# --- BMP (rows 34, 40) ---


def bmp(
    width: int,
    height: int,
    bits: int,
    data: bytes,
    *,
    header: int = 40,
    compression: int = 0,
    palette: np.ndarray | None = None,
    masks: tuple[int, ...] = (),
    profile: bytes = b"",
) -> bytes:
    """A BMP with a header of 12, 40, 52, 56, 108 or 124 bytes."""
    if header == 12:
        fields = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        fields = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
        if header >= 52:
            fields += struct.pack("<4I", *masks, *(0,) * (4 - len(masks)))[: 12 if header == 52 else 16]
        if header >= 108:
            fields += (b"DEBM" if profile else b"BGRs") + bytes(48)
        if header >= 124:
            fields += struct.pack("<IIII", 4, header + len(data), len(profile), 0)
        if header == 40:
            fields += b"".join(struct.pack("<I", mask) for mask in masks)
    table = b""
    if palette is not None:
        table = b"".join(bytes(color[::-1]) + (b"" if header == 12 else b"\0") for color in palette.tolist())
    start = 14 + len(fields) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(data) + len(profile), 0, 0, start) + fields + table + data + profile


def padded(rows: list[bytes]) -> bytes:
    """Rows of a BMP from the last to the first, each of whole words."""
    return b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows[::-1])


MASKS = [
    (16, (0x7C00, 0x3E0, 0x1F)),
    (16, (0xF800, 0x7E0, 0x1F)),
    (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),  # 1555
    (16, (0xF00, 0xF0, 0xF, 0xF000)),  # 4444
    (16, (0x1F, 0x7E0, 0xF800)),
    (16, (0xC000, 0x3800, 0x700)),
    (16, (0x7, 0x38, 0x1C0)),
    (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    (32, (0xFF, 0xFF00, 0xFF0000)),
    (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    (32, (0xFFE00000, 0x1FFC00, 0x3FF)),
    (32, (0x7F, 0x3F80, 0x1FC000, 0xFE00000)),
    (32, (0x80000000, 0x40000000, 0x20000000)),
]


@pytest.mark.parametrize(
    ("bits", "masks", "header"),
    [
        (bits, masks, header)
        for bits, masks in MASKS
        for header in (40, 52, 56, 108, 124)
        if (len(masks), header) != (4, 52)  # which has no mask of alpha
    ],
)
def test_bit_fields_of_any_width(bits: int, masks: tuple[int, ...], header: int) -> None:
    words = np.zeros((37, 53), np.int64)
    channels = []
    for mask, values in zip(masks, np.moveaxis(ramp(), -1, 0), strict=False):
        shift = (mask & -mask).bit_length() - 1
        stored = np.rint(values * (mask >> shift)).astype(np.int64)
        channels.append(stored / (mask >> shift))
        words |= stored << shift
    compression = 6 if len(masks) == 4 and header == 40 else 3
    data = padded([row.astype(f"<u{bits // 8}").tobytes() for row in words])
    picture = open_picture(bmp(53, 37, bits, data, header=header, compression=compression, masks=masks))
    color = np.stack(channels[:3], -1)
    alpha = channels[3][..., None] if len(masks) == 4 else 1.0
    assert_near(picture.pixels, np.rint(255 * (color * alpha + 1 - alpha)), 1)


def test_alpha_that_is_nowhere_set_is_not_alpha() -> None:
    """Chromium, and writers that leave it out, have it so."""
    data = padded([struct.pack("<3I", 0xFF0000, 0xFF00, 0xFF)])
    picture = open_picture(bmp(3, 1, 32, data, header=56, compression=3, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)))
    assert picture.pixels.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]


@pytest.mark.parametrize("header", [12, 40, 124])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_bmp(bits: int, header: int) -> None:
    palette = np.random.default_rng(0).integers(0, 256, (2**bits, 3), dtype=np.uint8)
    indices = np.rint(ramp()[..., 0] * (2**bits - 1)).astype(np.uint8)
    spread = np.unpackbits(indices[..., None], axis=-1)[..., -bits:].reshape(37, -1)
    data = padded([np.packbits(row).tobytes() for row in spread])
    picture = open_picture(bmp(53, 37, bits, data, header=header, palette=palette))
    assert np.array_equal(picture.pixels, palette[indices])


RUNS = {  # run-length codes of two rows, and the indices that they stand for
    "RLE4, odd runs": (
        2,
        b"\0\5\x12\x34\x10\0\3\x22\0\0" + b"\3\x12\0\5\x34\x12\x30\0\0\0\1",
        [[1, 2, 1, 3, 4, 1, 2, 3], [1, 2, 3, 4, 1, 2, 2, 2]],
    ),
    "RLE8, odd runs": (
        1,
        b"\0\5\1\2\3\4\1\0\3\2\0\0\0\3\4\3\2\0\5\1\0\1",
        [[4, 3, 2, 1, 1, 1, 1, 1], [1, 2, 3, 4, 1, 2, 2, 2]],
    ),
    "RLE8, runs past the end of a row": (1, b"\xff\1\0\0\xff\2\0\1", [[2] * 8, [1] * 8]),
    "RLE8, skipped pixels": (1, b"\2\1\0\2\2\1\2\3\0\1", [[0, 0, 0, 0, 3, 3, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]]),
}


@pytest.mark.parametrize("name", RUNS)
def test_run_lengths_of_bmp(name: str) -> None:
    compression, data, indices = RUNS[name]
    palette = np.random.default_rng(0).integers(0, 256, (16, 3), dtype=np.uint8)
    file = bmp(8, 2, 4 if compression == 2 else 8, data, compression=compression, palette=palette)
    assert np.array_equal(open_picture(file).pixels, palette[np.array(indices)])
    refused(file[:-5], "^The BMP file is incomplete")


def test_a_profile_of_bmp_is_applied() -> None:
    data = padded([bytes(SAMPLE[::-1]) * 4] * 4)
    assert_near(pixel(bmp(4, 4, 24, data, header=124, profile=swapped_profile())), (192, 128, 64))
    assert pixel(bmp(4, 4, 24, data, header=124)) == list(SAMPLE)
