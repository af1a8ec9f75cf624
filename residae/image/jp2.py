"""JPEG 2000 (ISO/IEC 15444-1). The boxes are read here; OpenJPEG decodes the codestream they hold."""

import io
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, Jpeg2KImagePlugin

from residae.image.boxes import boxes
from residae.image.color import profile_of_code_points
from residae.image.picture import bands
from residae.image.raster import Raster, spread
from residae.image.refusals import check_size, incomplete, unsupported

NAME = "JPEG 2000"
READER = Jpeg2KImagePlugin

CODECS = ("jpeg2k_decode", "cms_transform")

CODESTREAM = b"\xff\x4f\xff\x51"
SOT, EOC = b"\xff\x90", b"\xff\xd9"
CMYK, BLACK_IS_ZERO, SRGB, GRAY, SYCC = 12, 15, 16, 17, 18  # enumerated color spaces
COLORS = {CMYK: 4, BLACK_IS_ZERO: 1, SRGB: 3, GRAY: 1, SYCC: 3}
OTHER_SPACES = {  # ISO/IEC 15444-2, table M.25
    0: "bilevel where 1 is black",
    1: "YCbCr of BT.709",
    3: "YCbCr of BT.601",
    4: "YCbCr of BT.601",
    9: "PhotoYCC",
    11: "CMY",
    13: "YCCK",
    14: "CIELab",
    19: "CIEJab",
    20: "e-sRGB",
    21: "ROMM-RGB",
    24: "e-sYCC",
}
ALPHA, PREMULTIPLIED = 1, 2  # types of a channel
MAX_COMPONENTS = 5  # CMYK with alpha


@dataclass(frozen=True)
class Component:
    """One entry of the codestream's SIZ marker.

    Attributes:
        bits: Of a sample, 1 to 38.
        signed: Whether samples may be negative.
        dx: Pixels of the reference grid to a sample, along a row.
        dy: Pixels of the reference grid to a sample, along a column.
    """

    bits: int
    signed: bool
    dx: int
    dy: int


@dataclass
class Description:
    """What the boxes around the codestream say.

    Attributes:
        space: Number of the enumerated color space; None without one.
        profile: ICC; empty for sRGB, None where there is none.
        palette: A column for each channel that it makes.
        depths: Bits of the columns.
        mapping: Component, whether it goes through the palette, and column, for each channel.
        channels: Type of each channel, and the color that it belongs to.
        codestream: First byte, and one past the last; None until it is found.
    """

    space: int | None = None
    profile: bytes | None = None
    palette: list[NDArray[np.uint16]] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    mapping: list[tuple[int, int, int]] = field(default_factory=list)
    channels: dict[int, tuple[int, int]] = field(default_factory=dict)
    codestream: tuple[int, int] | None = None


def read(data: bytes) -> Raster:
    """Decode a JPEG 2000 file, or a codestream without one.

    Args:
        data: The whole file, or a bare codestream.

    Returns:
        The samples, and what they mean.

    Raises:
        ImageError: The file is incomplete, over a limit, or of a kind that is not supported.
        Exception: The file is damaged; `residae.image.open_picture` catches every class.
    """
    description = Description(codestream=(0, len(data))) if data.startswith(CODESTREAM) else _description(data)
    if description.codestream is None:
        raise incomplete(NAME)
    start, end = description.codestream
    stream = data[start:end]
    components, width, height = _components(stream)
    check_size(width, height)
    _check_complete(stream)
    steps = {(part.dx, part.dy) for part in components}
    if len(steps) == 1 and steps != {(1, 1)}:
        stream = _at_own_size(stream, *steps.pop())
        components, width, height = _components(stream)
    if len(components) > MAX_COMPONENTS:
        raise unsupported(NAME, f"{len(components)} channels")
    values = _decode(stream, components, description, width, height)
    if description.mapping:
        values = [_mapped(values, description, *entry) for entry in description.mapping]
    return _raster(values, description)


def _description(data: bytes) -> Description:
    found = Description()
    for box in boxes(data, 0, len(data), NAME):
        if box.kind == b"jp2c" and found.codestream is None:
            found.codestream = (box.start, box.end)
        elif box.kind == b"jp2h":
            for inner in boxes(data, box.start, box.end, NAME):
                _describe(found, inner.kind, data[inner.start : inner.end])
    return found


def _describe(found: Description, kind: bytes, content: bytes) -> None:
    if kind == b"colr" and found.space not in COLORS and found.profile is None:  # the first that is supported
        method = content[0]
        if method == 1:
            found.space = int.from_bytes(content[3:7], "big")
        elif method in (2, 3):
            found.space, found.profile = None, content[3:]
        elif method == 5:  # code points of H.273
            primaries, transfer = struct.unpack(">HH", content[3:7])
            found.space = SRGB
            found.profile = profile_of_code_points(primaries, transfer)
    elif kind == b"pclr":
        entries, columns = struct.unpack(">HB", content[:3])
        found.depths = [(depth & 0x7F) + 1 for depth in content[3 : 3 + columns]]
        if max(found.depths) > 16:
            raise unsupported(NAME, "a palette of more than 16 bits")
        row = np.dtype([(str(k), ">u2" if bits > 8 else "u1") for k, bits in enumerate(found.depths)])
        table = np.frombuffer(content[3 + columns :], row, entries)
        found.palette = [table[str(k)].astype(np.uint16) for k in range(columns)]
    elif kind == b"cmap":
        found.mapping = [struct.unpack_from(">HBB", content, at) for at in range(0, len(content) - 3, 4)]
    elif kind == b"cdef":
        count = int.from_bytes(content[:2], "big")
        for at in range(2, min(2 + 6 * count, len(content) - 5), 6):
            channel, use, color = struct.unpack_from(">HHH", content, at)
            found.channels[channel] = (use, color)


def _components(stream: bytes) -> tuple[list[Component], int, int]:
    """The components, width and height that the SIZ marker states."""
    if len(stream) < 42:
        raise incomplete(NAME)
    right, bottom, left, top = struct.unpack(">IIII", stream[8:24])
    count = int.from_bytes(stream[40:42], "big")
    entries = stream[42 : 42 + 3 * count]
    if len(entries) < 3 * count:
        raise incomplete(NAME)
    components = [
        Component((entries[k] & 0x7F) + 1, bool(entries[k] & 0x80), entries[k + 1], entries[k + 2])
        for k in range(0, 3 * count, 3)
    ]
    return components, right - left, bottom - top


def _at_own_size(stream: bytes, dx: int, dy: int) -> bytes:
    """A codestream whose components are all sampled at every so many pixels, as one of pictures of their own size."""
    sides = struct.unpack(">8I", stream[8:40])  # of the picture, where it begins, of a tile, and where these begin
    right, bottom, _, _, tile_width, tile_height, tile_left, tile_top = sides
    if not dx or not dy:
        raise ValueError("no distance between samples")
    across = tile_left + tile_width < right
    down = tile_top + tile_height < bottom
    if (across and (tile_width % dx or tile_left % dx)) or (down and (tile_height % dy or tile_top % dy)):
        raise unsupported(NAME, "tiles that begin between samples")
    own = [-(-side // step) for side, step in zip(sides, (dx, dy) * 4, strict=True)]
    components = bytearray(stream[42 : 4 + int.from_bytes(stream[4:6], "big")])
    components[1::3] = components[2::3] = bytes([1]) * len(components[1::3])
    return stream[:8] + struct.pack(">8I", *own) + stream[40:42] + bytes(components) + stream[42 + len(components) :]


def _check_complete(stream: bytes) -> None:
    """Refuse a codestream some of whose tiles or parts of tiles are missing, for which OpenJPEG has no word."""
    right, bottom, *_, tile_width, tile_height, tile_left, tile_top = struct.unpack(">8I", stream[8:40])
    if not tile_width or not tile_height:
        raise ValueError("tiles without size")
    across = -(-(right - tile_left) // tile_width)
    tiles = across * -(-(bottom - tile_top) // tile_height)
    at = 4 + int.from_bytes(stream[4:6], "big")
    while stream[at : at + 2] != SOT:  # the main header
        if at + 4 > len(stream):
            raise incomplete(NAME)
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    found: dict[int, int] = {}
    announced: dict[int, int] = {}
    while stream[at : at + 2] == SOT:
        if at + 12 > len(stream):
            raise incomplete(NAME)
        tile, length, _, parts = struct.unpack(">HIBB", stream[at + 4 : at + 12])
        end = at + length if length else len(stream) - len(EOC)  # 0: the last one, up to the end mark
        if end > len(stream):
            raise incomplete(NAME)
        if end < at + 12:
            raise ValueError("a part of a tile that is shorter than its header")
        found[tile] = found.get(tile, 0) + 1
        announced[tile] = max(announced.get(tile, 0), parts)
        at = end
    if len(found) < tiles or any(found[tile] < count for tile, count in announced.items()):
        raise incomplete(NAME)


def _decode(
    stream: bytes, components: list[Component], description: Description, width: int, height: int
) -> list[tuple[NDArray[Any], int]]:
    """Unsigned values of each component at the size of the picture, and their bits."""
    import imagecodecs  # Pillow rounds what is deeper than 8 bits, and wraps white to black

    first = components[0]
    subsampled = any((part.dx, part.dy) != (first.dx, first.dy) for part in components)
    alike = all((part.bits, part.signed) == (first.bits, first.signed) for part in components)
    if subsampled and not (len(components) == 3 and description.space in (None, SYCC) and description.profile is None):
        return _decode_by_pillow(stream, components, width, height)
    if not alike:
        return _decode_by_pillow(stream, components, width, height)
    if first.bits > 16:
        raise unsupported(NAME, f"{first.bits} bits per sample")
    if subsampled and {(part.dx, part.dy) for part in components[1:]} not in ({(2, 1)}, {(2, 2)}):  # OpenJPEG has these
        raise unsupported(NAME, "components of different sizes")
    samples = imagecodecs.jpeg2k_decode(stream, numthreads=1)
    if samples.ndim == 2:
        samples = samples[..., None]
    if subsampled:
        description.space = SRGB  # OpenJPEG has converted it
    if samples.shape != (height, width, len(components)):
        raise unsupported(NAME, "components of different sizes")
    values = []
    for index in range(len(components)):
        plane = samples[..., index]
        if first.signed:
            plane = (plane.astype(np.int32) + 2 ** (first.bits - 1)).astype(np.uint16)
        values.append((plane, first.bits))
    return values


def _decode_by_pillow(
    stream: bytes, components: list[Component], width: int, height: int
) -> list[tuple[NDArray[Any], int]]:
    """Components of different depths or sizes. Pillow shifts each to 8 bits, which is undone here."""
    if max(part.bits for part in components) > 8 or any(part.signed for part in components):
        raise unsupported(NAME, "components of different depths or sizes")
    if any(width % part.dx or height % part.dy for part in components):  # where it loses step
        raise unsupported(NAME, "components of different sizes")
    if len(components) == 2:  # which Pillow takes to be of one size
        raise unsupported(NAME, "components of different sizes")
    image = Image.open(io.BytesIO(_file_around(stream, components, width, height)), formats=["JPEG2000"])
    image.load()
    samples = np.asarray(image).reshape(height, width, -1)
    if samples.shape[2] != len(components):
        raise unsupported(NAME, "components of different depths or sizes")
    return [(samples[..., k] >> np.uint8(8 - part.bits), part.bits) for k, part in enumerate(components)]


def _file_around(stream: bytes, components: list[Component], width: int, height: int) -> bytes:
    """A JP2 file that says that the components are gray or sRGB, so that Pillow does not take them to be YCC."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    space = GRAY if len(components) < 3 else SRGB
    header = box(b"ihdr", struct.pack(">IIHBBBB", height, width, len(components), 255, 7, 0, 0))
    header += box(b"bpcc", bytes(part.bits - 1 for part in components))
    header += box(b"colr", struct.pack(">BBBI", 1, 0, 0, space))
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 " + bytes(4) + b"jp2 ")
    return start + box(b"jp2h", header) + box(b"jp2c", stream)


def _mapped(
    values: list[tuple[NDArray[Any], int]], description: Description, component: int, by_palette: int, column: int
) -> tuple[NDArray[Any], int]:
    plane, bits = values[component]
    if not by_palette:
        return plane, bits
    table = description.palette[column]
    return table[np.minimum(plane, len(table) - 1)], description.depths[column]


def _raster(values: list[tuple[NDArray[Any], int]], description: Description) -> Raster:
    """Sort the channels into colors and alpha, as the boxes have it."""
    count = len(values)
    space = description.space
    if space is not None and space not in COLORS:
        raise unsupported(NAME, OTHER_SPACES.get(space, f"color space {space}"))
    if space is not None:
        colors = COLORS[space]
    else:
        profile_space = (description.profile or b"")[16:20]
        colors = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}.get(profile_space, 1 if count < 3 else 3)
    alpha, premultiplied = None, False
    order = {color: color for color in range(colors)}
    if description.channels:
        for channel, (use, color) in description.channels.items():
            if use == 0 and 0 < color <= colors:
                order[color - 1] = channel
            elif use in (ALPHA, PREMULTIPLIED) and color in (0, 0xFFFF) and alpha is None:
                alpha, premultiplied = channel, use == PREMULTIPLIED
    elif count in (colors + 1,) and count in (2, 4):  # as other readers take an extra channel that is not described
        alpha = count - 1
    if max(order.values()) >= count or (alpha or 0) >= count:
        raise ValueError("fewer channels than colors")
    deep = max(bits for _, bits in values) > 8
    planes = [_as_deep(spread(*values[order[index]]), deep) for index in range(colors)]
    samples = planes[0] if colors == 1 else np.stack(planes, -1)
    if space == SYCC:
        samples = _ycc_to_rgb(samples)
    return Raster(
        samples,
        None if alpha is None else _as_deep(spread(*values[alpha]), deep),
        premultiplied,
        profile=description.profile,
    )


def _as_deep(samples: NDArray[Any], deep: bool) -> NDArray[Any]:
    return samples.astype(np.uint16) * np.uint16(257) if deep and samples.dtype == np.uint8 else samples


def _ycc_to_rgb(ycc: NDArray[Any]) -> NDArray[Any]:
    """sYCC to sRGB (IEC 61966-2-1, amendment 1): that of BT.601 in full range."""
    white = np.iinfo(ycc.dtype).max
    rgb = np.empty_like(ycc)
    for rows in bands(*ycc.shape[:2]):
        y, cb, cr = np.moveaxis(ycc[rows].astype(np.float32), -1, 0)
        cb, cr = cb - (white + 1) // 2, cr - (white + 1) // 2
        band = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
        rgb[rows] = np.rint(band).clip(0, white)
    return rgb
