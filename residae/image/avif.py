"""AVIF (AV1 Image File Format 1.2, on HEIF). The properties of the picture are read here, its pixels by libavif."""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction

from PIL import AvifImagePlugin, Image

from residae.image import exif
from residae.image.boxes import Box, boxes
from residae.image.color import profile_of_code_points
from residae.image.raster import FIRST_FRAME, Raster, raster_of
from residae.image.refusals import check_size

NAME = "AVIF"
READER = AvifImagePlugin

CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
SAMPLE_ENTRY = 78  # bytes of a visual sample entry before its boxes
BROWSER_SRGB = {1, 6, 14, 15}  # curves of BT.601, BT.709 and BT.2020, which browsers take to be that of sRGB in AVIF
SRGB = 13


def read(data: bytes) -> Raster:
    """Decode an AVIF; of a sequence the first frame.

    Args:
        data: The whole file.

    Returns:
        The samples, and what they mean.

    Raises:
        ImageError: The file is incomplete, over a limit, or of a kind that is not supported.
        Exception: The file is damaged; `residae.image.open_picture` catches every class.
    """
    properties = dict[bytes, bytes]()
    for box in _properties(data):
        kind = box.kind
        if kind == b"colr":
            kind += data[box.start : box.start + 4]
        properties.setdefault(kind, data[box.start : box.end])
    if len(properties.get(b"ispe", b"")) >= 12:
        check_size(*struct.unpack(">II", properties[b"ispe"][4:12]))
    image = _open(data)
    check_size(*image.size)
    image.load()
    raster = raster_of(image)
    gray = raster.color.ndim == 2
    raster.profile = image.info.get("icc_profile")
    code_points = properties.get(b"colrnclx", b"")
    if raster.profile is None and len(code_points) >= 8:
        primaries, transfer = struct.unpack(">HH", code_points[4:8])
        raster.profile = profile_of_code_points(primaries, SRGB if transfer in BROWSER_SRGB else transfer, gray)
    if b"clap" in properties:
        raster = _cropped(raster, properties[b"clap"])
    raster.orientation = exif.orientation(image.info.get("exif", b""))  # Pillow puts irot and imir there
    if bool(getattr(image, "is_animated", False)):
        raster.notices.append(FIRST_FRAME)
    return raster


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=["AVIF"])
    except Exception:
        bare = data.replace(b"Exif", b"skip")  # libavif refuses a good picture over EXIF that is broken
        if bare == data:
            raise
        return Image.open(io.BytesIO(bare), formats=["AVIF"])


def _properties(data: bytes) -> Iterator[Box]:
    """The properties of the primary item, in their order; then those of the tracks of a sequence."""
    for box in boxes(data, 0, len(data), NAME):
        if box.kind == b"meta":
            inner = {child.kind: child for child in boxes(data, box.start + 4, box.end, NAME)}
            if b"pitm" in inner and b"iprp" in inner:
                wide = data[inner[b"pitm"].start]
                item = int.from_bytes(data[inner[b"pitm"].start + 4 :][: 4 if wide else 2], "big")
                yield from _item_properties(data, inner[b"iprp"], item)
        elif box.kind == b"moov":
            yield from _track_properties(data, box)


def _item_properties(data: bytes, iprp: Box, item: int) -> Iterator[Box]:
    properties: list[Box] = []
    for box in boxes(data, iprp.start, iprp.end, NAME):
        if box.kind == b"ipco":
            properties = list(boxes(data, box.start, box.end, NAME))
        elif box.kind == b"ipma":
            for index in _associations(data[box.start : box.end], item):
                if 0 < index <= len(properties):
                    yield properties[index - 1]


def _associations(content: bytes, item: int) -> Iterator[int]:
    """Indices, from 1, of the properties that an `ipma` box gives to an item."""
    id_size = 4 if content[0] else 2
    size = 2 if content[3] & 1 else 1
    at = 8
    for _ in range(int.from_bytes(content[4:8], "big")):
        if at + id_size >= len(content):
            return
        found, count = int.from_bytes(content[at : at + id_size], "big"), content[at + id_size]
        at += id_size + 1
        if found == item:
            for place in range(at, at + size * count, size):
                yield int.from_bytes(content[place : place + size], "big") & (0x7FFF if size == 2 else 0x7F)
        at += size * count


def _track_properties(data: bytes, parent: Box) -> Iterator[Box]:
    for box in boxes(data, parent.start, parent.end, NAME):
        if box.kind in CONTAINERS:
            yield from _track_properties(data, box)
        elif box.kind == b"stsd":
            for entry in boxes(data, box.start + 8, box.end, NAME):
                if entry.kind == b"av01":
                    yield from boxes(data, entry.start + SAMPLE_ENTRY, entry.end, NAME)


def _cropped(raster: Raster, clap: bytes) -> Raster:
    """The clean aperture, where it lies on whole pixels inside the picture (ISO/IEC 14496-12, 12.1.4)."""
    if len(clap) < 32:
        return raster
    numbers = struct.unpack(">IIIIiIiI", clap[:32])
    if 0 in numbers[1::2]:
        return raster
    width, height, across, down = (Fraction(*numbers[k : k + 2]) for k in (0, 2, 4, 6))
    left = across + (raster.color.shape[1] - width) / 2
    top = down + (raster.color.shape[0] - height) / 2
    if any(value.denominator != 1 for value in (width, height, left, top)) or min(left, top) < 0:
        return raster
    bottom, right = int(top + height), int(left + width)
    if min(width, height) < 1 or bottom > raster.color.shape[0] or right > raster.color.shape[1]:
        return raster
    inside = (slice(int(top), bottom), slice(int(left), right))
    raster.color = raster.color[inside]
    raster.alpha = None if raster.alpha is None else raster.alpha[inside]
    return raster
