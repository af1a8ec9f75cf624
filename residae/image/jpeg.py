"""JPEG (ITU-T T.81). Metadata is read here; the decoder gets the picture alone."""

import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from residae.image import exif
from residae.image.raster import Raster
from residae.image.refusals import check_size, incomplete, unsupported

NAME = "JPEG"
READER = JpegImagePlugin

SOI, EOI, SOS, DHT, DAC, COMMENT = 0xD8, 0xD9, 0xDA, 0xC4, 0xCC, 0xFE
RESTARTS = range(0xD0, 0xD8)
FRAMES = {*range(0xC0, 0xD0)} - {DHT, 0xC8, DAC}
PROGRESSIVE, ARITHMETIC = (0xC2, 0xCA), (0xC9, 0xCA, 0xCB)
OTHER_FRAMES = {0xF7: "JPEG-LS"} | dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical coding")
ADOBE, APP1, APP2 = 0xEE, 0xE1, 0xE2
METADATA = {*range(0xE1, 0xF0), COMMENT}
ICC = b"ICC_PROFILE\0"

# What a decoder reads where data are missing. None of it is 0xFF, which would begin a marker.
NOISE = bytes((197 * i * i + 91 * i) % 251 for i in range(1, 200))


@dataclass
class Segments:
    """The parts of a JPEG file.

    Attributes:
        frame: Marker of the frame header; 0 until it is found.
        width: Pixels.
        height: Pixels; 0 until it is found.
        components: Their identifiers.
        exif: Content of the segment; empty if there is none.
        profile: Parts of the ICC profile by number, from 1.
        coded: For each component, whether each of the 64 coefficients is coded to its full precision.
        kept: What a decoder needs, without the end mark.
        scans: Indices in `kept` of what is entropy-coded.
    """

    frame: int = 0
    width: int = 0
    height: int = 0
    components: list[int] = field(default_factory=list)
    exif: bytes = b""
    profile: dict[int, bytes] = field(default_factory=dict)
    coded: dict[int, list[bool]] = field(default_factory=dict)
    kept: list[bytes] = field(default_factory=list)
    scans: list[int] = field(default_factory=list)


def read(data: bytes) -> Raster:
    """Decode a JPEG, in which a decoder would fill in whatever part is missing.

    Args:
        data: The whole file.

    Returns:
        The samples, and what they mean.

    Raises:
        ImageError: The file is incomplete, over a limit, or of a kind that is not supported.
        Exception: The file is damaged; `residae.image.open_picture` catches every class.
    """
    parts = segments(data)
    if parts.frame in OTHER_FRAMES:
        raise unsupported(NAME, OTHER_FRAMES[parts.frame])
    if parts.frame and len(parts.components) not in (1, 3, 4):  # inside TIFF there may be others
        raise unsupported(NAME, f"{len(parts.components)} components")
    if not parts.coded or not all(all(whole) for whole in parts.coded.values()):
        raise incomplete(NAME)
    samples = _decode(b"".join(parts.kept) + bytes([0xFF, EOI]))
    if parts.frame not in ARITHMETIC:  # whose data may end early: zeros at the end are left out
        _check_complete(parts, samples)
    profile = b"".join(parts.profile[number] for number in sorted(parts.profile)) or None
    return Raster(samples, profile=profile, orientation=exif.orientation(parts.exif))


def segments(data: bytes) -> Segments:
    """Take a JPEG apart at its markers.

    Args:
        data: The whole file.

    Returns:
        The segments, without metadata that decoders do not need.

    Raises:
        ImageError: It is cut, or too large.
    """
    parts = Segments(kept=[data[:2]])
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # decoders skip what is between segments
            at += 1
            continue
        marker = data[at + 1]
        if marker == EOI:
            break
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0, 1, SOI) or marker in RESTARTS:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : at + 2 + length]
        if len(content) < length - 2:
            raise incomplete(NAME)
        if marker in FRAMES or marker in OTHER_FRAMES:
            _frame(parts, marker, content)
        elif marker == APP1 and content.startswith(b"Exif\0\0"):
            parts.exif = parts.exif or content
        elif marker == APP2 and content.startswith(ICC) and len(content) > len(ICC) + 2:
            parts.profile.setdefault(content[len(ICC)], content[len(ICC) + 2 :])
        if marker == ADOBE or marker not in METADATA:
            parts.kept.append(data[at : at + 2 + length])
        at += 2 + length
        if marker == SOS:
            _scan(parts, content)
            end = _scan_end(data, at)
            parts.scans.append(len(parts.kept))
            parts.kept.append(data[at:end])
            at = end
    return parts


def _frame(parts: Segments, marker: int, content: bytes) -> None:
    if parts.frame:
        raise ValueError("two frames")
    parts.frame = marker
    parts.height, parts.width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
    if parts.height:  # else it comes after the first scan
        check_size(parts.width, parts.height)
    parts.components = list(content[6 : 6 + 3 * content[5] : 3])
    if marker not in OTHER_FRAMES and content[0] != 8:
        raise unsupported(NAME, f"{content[0]} bits per sample")
    parts.coded = {component: [False] * 64 for component in parts.components}


def _scan(parts: Segments, content: bytes) -> None:
    """Mark the coefficients that a scan brings to their full precision."""
    count = content[0]
    first, last, approximation = content[1 + 2 * count : 4 + 2 * count]
    if parts.frame not in PROGRESSIVE:
        first, last, approximation = 0, 63, 0
    if approximation & 15 == 0:
        for component in content[1 : 1 + 2 * count : 2]:
            if component in parts.coded:
                parts.coded[component][first : last + 1] = [True] * (min(last, 63) + 1 - first)


def _scan_end(data: bytes, at: int) -> int:
    """Where entropy-coded data end: at the next marker that is neither a stuffed zero nor a restart."""
    restarts = 0
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return len(data)
        if data[at + 1] in RESTARTS:  # numbered, so that one that is missing is noticed
            if data[at + 1] != RESTARTS[restarts % 8]:
                raise incomplete(NAME)
            restarts += 1
        elif data[at + 1] not in (0, 0xFF):
            return at
        at += 1 if data[at + 1] == 0xFF else 2


def _decode(file: bytes) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C)."""
    return np.asarray(Image.open(io.BytesIO(file), formats=["JPEG"]))


def _check_complete(parts: Segments, samples: NDArray[np.uint8]) -> None:
    """Refuse scans that end before their time.

    A decoder that runs out of data invents the rest. With noise after each stretch of entropy-coded data it would
    invent something else, whereas a decoder that has had all of its data never looks at what follows.
    """
    kept = list(parts.kept)
    for index in parts.scans:
        kept[index] = with_noise(kept[index])
    if not np.array_equal(samples, _decode(b"".join(kept) + bytes([0xFF, EOI]))):
        raise incomplete(NAME)


def with_noise(scan: bytes) -> bytes:
    """Entropy-coded data with noise before each restart marker and at the end.

    Args:
        scan: Without the marker that ends it.
    """
    pieces, start, at = [], 0, 0
    while (at := scan.find(b"\xff", at)) >= 0 and at + 1 < len(scan):
        if scan[at + 1] in RESTARTS:
            pieces += [scan[start:at], NOISE]
            start = at
        at += 2
    return b"".join([*pieces, scan[start:].removesuffix(b"\xff"), NOISE])
