"""Color management: whatever tells what the numbers of a picture mean, to sRGB.

Every description becomes an ICC profile, and Little CMS converts: code points of H.273 (`cICP` of PNG, `nclx` of AVIF),
`cHRM` and `gAMA` of PNG, and embedded profiles. CIELAB and YCbCr have formulas of their own.
"""

import functools
import io
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from residae.arrays import Pixels
from residae.image.refusals import hdr

MAX_PROFILE_BYTES = 4 * 2**20  # the tables of a printing profile take up to 3 MB

Samples = NDArray[Any]  # uint8 or uint16
Transform = Callable[[Samples], Pixels]
Chromaticities = tuple[float, float, float, float, float, float, float, float]  # x and y of white, red, green and blue

D65, D50 = (0.3127, 0.3290), (0.34567, 0.35850)
D50_XYZ = np.array([0.9642, 1.0, 0.8249])  # white of the profile connection space
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

PRIMARIES: dict[int, Chromaticities] = {  # ITU-T H.273, table 2
    1: (*D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),  # BT.709, sRGB
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
    22: (*D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
SRGB_PRIMARIES = PRIMARIES[1]
XYZ_PRIMARIES: Chromaticities = (*D50, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Curve:
    """Linear light of a code value x: (a x + b)^gamma from d on, and c x below (ICC.1, parametric curve of type 3).

    Attributes:
        gamma: Exponent.
        a: Factor of x before the power.
        b: Offset before the power.
        c: Slope of the straight part.
        d: Where the power begins, 0 to 1; 0 for no straight part.
    """

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT709_CURVE = Curve(
    2.4
)  # of the display (BT.1886), as browsers have it; that of the camera is its inverse only in name
CURVES = {  # ITU-T H.273, table 3
    1: BT709_CURVE,
    4: Curve(2.2),
    5: Curve(2.8),
    6: BT709_CURVE,
    7: Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0913),
    8: Curve(1.0),
    11: BT709_CURVE,
    13: SRGB_CURVE,
    14: BT709_CURVE,
    15: BT709_CURVE,
    17: Curve(2.6, (52.37 / 48) ** (1 / 2.6)),
}
HDR_CURVES = {16: "PQ", 18: "HLG"}


def profile_of_code_points(primaries: int, transfer: int, gray: bool = False) -> bytes | None:
    """ICC profile of H.273 code points; empty for those of sRGB, None where they are unspecified or unknown.

    Args:
        primaries: Code of the primaries, as in table 2 of ITU-T H.273.
        transfer: Code of the transfer function, as in table 3 of ITU-T H.273.
        gray: Whether the profile is one of gray, in which the primaries do not matter.

    Raises:
        ImageError: The transfer function is one of HDR.
    """
    if transfer in HDR_CURVES:
        raise hdr(HDR_CURVES[transfer])
    if primaries not in PRIMARIES or transfer not in CURVES:
        return None
    return make_profile(PRIMARIES[primaries], CURVES[transfer], gray)


def make_profile(primaries: Chromaticities, curve: Curve, gray: bool = False) -> bytes:
    """A matrix profile, or one of gray, in version 4 of ICC.1.

    Args:
        primaries: x and y of white, red, green and blue.
        curve: Of each channel.
        gray: Whether the profile is one of gray, in which the primaries do not matter.

    Returns:
        The content of an ICC profile; empty for that of sRGB, which changes nothing.
    """
    if curve == SRGB_CURVE and (gray or primaries == SRGB_PRIMARIES):
        return b""
    parameters = (curve.gamma, curve.a, curve.b, curve.c, curve.d)
    tone = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(map(_fixed, parameters))
    text = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2, 28) + b"\0-"
    tags = {b"desc": text, b"cprt": text, b"wtpt": _xyz(D50_XYZ)}
    if gray:
        tags |= {b"kTRC": tone}
    else:
        columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), _colorants(primaries).T, strict=True)
        tags |= {name: _xyz(column) for name, column in columns}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone)
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    space = b"GRAY" if gray else b"RGB "
    header = struct.pack(">I4xI4s4s4s", at + len(body), 0x04300000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += b"".join(_fixed(value) for value in D50_XYZ)
    return header.ljust(128, b"\0") + table + body


def _colorants(primaries: Chromaticities) -> NDArray[np.float64]:
    """XYZ of the primaries as columns, adapted from their white to that of the connection space (Bradford)."""
    x, y = np.reshape(primaries, (4, 2)).T
    xyz = np.stack([x / y.clip(1e-9), np.ones(4), (1 - x - y) / y.clip(1e-9)])
    xyz[:, y == 0] = np.stack([x, y, 1 - x - y])[:, y == 0]  # of the axes of XYZ themselves
    white, columns = xyz[:, 0], xyz[:, 1:]
    scaled = columns * np.linalg.solve(columns, white)
    adaptation = np.diag(BRADFORD @ D50_XYZ / (BRADFORD @ white))
    return np.asarray(np.linalg.solve(BRADFORD, adaptation @ BRADFORD @ scaled))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(value) for value in values)


def _code_points_of_profile(profile: bytes) -> tuple[int, int] | None:
    """Primaries and transfer function of the `cicp` tag (ICC.1:2022, 9.2.17), if the profile has one."""
    for at in range(132, 132 + 12 * min(int.from_bytes(profile[128:132], "big"), 100), 12):
        if profile[at : at + 4] == b"cicp":
            start = int.from_bytes(profile[at + 4 : at + 8], "big") + 8
            if start + 2 <= len(profile):
                return profile[start], profile[start + 1]
    return None


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


NO_OPTIMIZATION = int(ImageCms.Flags.NOOPTIMIZE)  # Little CMS's tables for 16 bits are coarse where it is dark
TABLES = int(ImageCms.Flags.CLUT_PRE_LINEARIZATION)  # less coarse, since they begin with the curves of the profile
MAX_EXACT = 4 * 10**6  # pixels that are converted without tables, which takes half a second for a million
SPACES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}  # of a profile: Pillow's mode


def to_srgb(profile: bytes | None, mode: str, deep: bool, pixels: int) -> Transform | None:
    """The conversion by an ICC profile, of bands of rows to uint8 sRGB.

    It is exact where there are at most MAX_EXACT pixels, or samples are gray, or the profile is one of curves and a
    matrix, or of linear light. Otherwise it goes by tables of Little CMS, which are within a level on average; a color
    at the edge of sRGB may be some 30 levels off, as it may be in a picture of 8 bits.

    Args:
        profile: The profile, or None.
        mode: What the samples are: "L", "RGB" or "CMYK" (0 is no ink).
        deep: Whether the samples are uint16.
        pixels: How many there are in all bands.

    Returns:
        (H, W) or (H, W, C) samples -> (H, W) or (H, W, 3). None where there is no profile, or none that is sound and of
        the samples' space; gray may have one of RGB, as browsers have it.

    Raises:
        ImageError: The profile is one of HDR.
    """
    if not profile or len(profile) > MAX_PROFILE_BYTES:
        return None
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        points = _code_points_of_profile(profile)
        if points and points[1] in HDR_CURVES:
            raise hdr(HDR_CURVES[points[1]])
        opened: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = SPACES.get(opened.profile.xcolor_space)
        if space is None or (space != mode and (mode, space) != ("L", "RGB")):
            return None
        flags = ImageCms.Flags(NO_OPTIMIZATION if mode == "L" else 0)  # RGB of 8 bits is right within a level
        shallow = ImageCms.buildTransform(opened, _srgb(), space, "RGB", flags=flags)  # fails where it is unsound
        convert: Transform = functools.partial(_convert, shallow, space)
        if deep:
            exact = functools.partial(_convert_deep, profile, space, NO_OPTIMIZATION)
            convert = (_by_sums(profile, exact) if mode == "RGB" else None) or exact
            if convert is exact and mode != "L" and pixels > MAX_EXACT:
                convert = functools.partial(_convert_deep, profile, space, TABLES)
        return _by_levels(convert, space, deep) if mode == "L" else convert
    return None


def _convert(transform: Any, mode: str, samples: Samples) -> Pixels:
    return np.asarray(ImageCms.applyTransform(Image.fromarray(samples, mode), transform))


def _convert_deep(profile: bytes, mode: str, flags: int, samples: Samples) -> Pixels:
    return _converted(samples, mode, profile, _srgb().tobytes(), "uint8", flags)


def _converted(
    samples: NDArray[Any], mode: str, source: bytes, target: bytes, kind: str, flags: int = NO_OPTIMIZATION
) -> NDArray[Any]:
    """Samples of uint16 or float32 from one profile to another of RGB, by Little CMS."""
    import imagecodecs  # takes a while to load, and few pictures need it

    space = {"L": "gray", "RGB": "rgb", "CMYK": "cmyk"}[mode]
    converted = imagecodecs.cms_transform(
        samples, source, target, colorspace=space, outcolorspace="rgb", outdtype=kind, flags=flags
    )
    return np.asarray(converted)


def _by_sums(profile: bytes, convert: Transform) -> Transform | None:
    """The conversion of 16-bit RGB by a profile of curves and a matrix, six times as fast; None for another profile.

    By such a profile the light of a color is the sum of what its red, green and blue give each, which is known of
    every level beforehand. Sums are rounded to 16 bits of light, whose steps are at most 0.05 levels of sRGB.
    """
    ramp, middle = np.linspace(0, 1, 2**16, dtype=np.float32), 2**15
    levels = np.full((3, 2**16, 3), ramp[middle])  # the light of one channel alone may be negative, which is clipped
    for channel in range(3):
        levels[channel, :, channel] = ramp
    xyz = _converted(levels, "RGB", profile, make_profile(XYZ_PRIMARIES, Curve(1.0)), "float32")
    xyz[1:] -= xyz[0, middle]  # of a gray, which is in the first table alone
    to_srgb = np.linalg.solve(_colorants(SRGB_PRIMARIES), _colorants(XYZ_PRIMARIES))  # out of gamut it is negative
    tables = (xyz @ (65_535 * to_srgb.T)).astype(np.float32)
    encoded = encode_srgb(np.arange(2**16) / 65_535)

    def add(samples: Samples) -> Pixels:
        light = tables[0].take(samples[..., 0], 0)
        for channel in (1, 2):
            light += tables[channel].take(samples[..., channel], 0)
        pixels: Pixels = encoded.take(np.rint(light.clip(0, 65_535, out=light), out=light).astype(np.uint16))
        return pixels

    steps = np.linspace(0, 65_535, 17).astype(np.uint16)
    grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 17, 3)
    apart = np.abs(add(grid).astype(np.int16) - convert(grid))
    return add if apart.max() <= 1 else None


def _by_levels(convert: Transform, space: str, deep: bool) -> Transform:
    """The conversion of gray to gray: every level is converted once, by a profile of gray or of RGB."""
    levels = np.arange(2**16 if deep else 2**8, dtype=np.uint16 if deep else np.uint8)[None]
    rgb = convert(levels if space == "L" else np.repeat(levels[..., None], 3, axis=-1))
    table = np.asarray(Image.fromarray(rgb).convert("L"))[0]
    return lambda samples: table[samples]


def to_8_bits(samples: Samples) -> Pixels:
    """Reduce samples to 8 bits; those of uint8 stay as they are.

    Args:
        samples: uint8 or uint16, of any shape.

    Returns:
        uint8 of the same shape, rounded.
    """
    if samples.dtype == np.uint8:
        return samples.view(np.uint8)
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def cmyk_to_rgb(samples: Samples) -> Pixels:
    """Ink without a profile, by the formula that browsers use: (1 - C) (1 - K).

    Args:
        samples: (H, W, 4) uint8 or uint16; 0 is no ink.

    Returns:
        (H, W, 3) uint8.
    """
    return np.asarray(Image.fromarray(to_8_bits(samples), "CMYK").convert("RGB"))


def lab_to_srgb(lab: NDArray[np.float32], white: tuple[float, ...] = D50) -> Pixels:
    """Convert CIELAB to sRGB. Colors that sRGB does not have are clipped.

    Args:
        lab: (..., 3) of L* in 0 to 100, a* and b*.
        white: Chromaticities (x, y) of the white to which they are relative.

    Returns:
        (..., 3) uint8.
    """
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    relative = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    primaries: Chromaticities = (white[0], white[1], 1.0, 0.0, 0.0, 1.0, 0.0, 0.0)  # the axes of XYZ
    to_srgb = np.asarray(np.linalg.solve(_colorants(SRGB_PRIMARIES), _colorants(primaries)))
    return encode_srgb(relative @ to_srgb.T)


def encode_srgb(linear: NDArray[Any]) -> Pixels:
    """Encode linear light of sRGB's primaries (IEC 61966-2-1).

    Args:
        linear: Of any shape; clipped to [0, 1].

    Returns:
        uint8 of the same shape.
    """
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    pixels: Pixels = np.rint(encoded * 255).astype(np.uint8)
    return pixels
