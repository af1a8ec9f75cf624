"""TIFF (TIFF 6.0, BigTIFF and supplements). tifffile reads the tags, imagecodecs the strips and tiles.

Every sample of the picture has to come from the file: a strip or tile that holds too little is never padded.
"""

import io
import logging
import math
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from residae.arrays import Pixels
from residae.image import jpeg, png
from residae.image.color import D50, lab_to_srgb
from residae.image.picture import bands
from residae.image.raster import FIRST_FRAME, Raster, spread, stretch
from residae.image.refusals import camera_raw, check_size, hdr, incomplete, unsupported

if TYPE_CHECKING:
    from tifffile import TiffPage

NAME = "TIFF"

# Tags
DNG_VERSION, COLOR_MAP, ORIENTATION, PROFILE, WHITE_POINT = 50706, 320, 274, 34675, 318
PHOTOMETRIC, EXTRA_SAMPLES, INK_SET, T4_OPTIONS = 262, 338, 332, 292
BITS_PER_SAMPLE, SAMPLES_PER_PIXEL, STRIP_OFFSETS, STRIP_BYTE_COUNTS = 258, 277, 273, 279
JPEG_STREAM, JPEG_STREAM_LENGTH = 513, 514
LUMA_COEFFICIENTS, SUBSAMPLING, REFERENCE = 529, 530, 532
# Values of PHOTOMETRIC
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, SEPARATED, YCBCR, CIELAB, ICCLAB = *range(7), 8, 9
RAW = (32803, 34892)  # a color filter array, and what is made of one
LOG = (32844, 32845)  # LogL and LogLuv
COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, MASK: 1, SEPARATED: 4, YCBCR: 3, CIELAB: 3, ICCLAB: 3}
# Values of COMPRESSION
CCITT_RLE, CCITT_3, CCITT_4, OLD_JPEG, JPEG, PACKBITS, PNG = 2, 3, 4, 6, 7, 32773, 34933
JPEGS = (OLD_JPEG, JPEG, 34892)
JPEG_START = b"\xff\xd8"
NONE, ASSOCIATED, UNASSOCIATED = range(3)  # of EXTRA_SAMPLES
CMYK_INKS = 1
UNSIGNED, SIGNED, FLOAT, VOID = 1, 2, 3, 4

COMPRESSIONS = {  # the function of imagecodecs that decodes each
    1: "packints_decode",
    CCITT_RLE: "ccittrle_decode",
    CCITT_3: "ccittfax3_decode",
    CCITT_4: "ccittfax4_decode",
    5: "lzw_decode",
    OLD_JPEG: "jpeg_decode",
    JPEG: "jpeg8_decode",
    8: "deflate_decode",
    32946: "deflate_decode",
    PACKBITS: "packbits_decode",
    32909: "pixarlog_decode",
    33003: "jpeg2k_decode",
    33004: "jpeg2k_decode",
    33005: "jpeg2k_decode",
    34712: "jpeg2k_decode",
    34887: "lerc_decode",
    34892: "jpeg8_decode",
    34925: "lzma_decode",
    34926: "zstd_decode",
    34927: "webp_decode",
    PNG: "png_decode",
    50000: "zstd_decode",
    50001: "webp_decode",
    50002: "jpegxl_decode",
}
CODECS = (*COMPRESSIONS.values(), "packbits_encode", "tiff_decode", "cms_transform", "ljpeg_decode", "jpegsof3_decode")

MAX_DIRECTORIES = 16  # looked at for the picture that belongs to a thumbnail
MAX_SAMPLES = 16
CANON_RAW = b"CR\x02"  # at byte 8 of a CR2, which has no other mark on its first directory

END_OF_PAGE = re.compile(r"(?:0{11,}1[01]?){2,}0*$")  # end-of-line codes in a row


def read(data: bytes) -> Raster:
    """Decode a TIFF: the first picture that is not marked as a smaller copy of another.

    Args:
        data: The whole file.

    Returns:
        The samples, and what they mean.

    Raises:
        ImageError: The file is incomplete, over a limit, or of a kind that is not supported.
        Exception: The file is damaged; `residae.image.open_picture` catches every class.
    """
    import tifffile  # takes a while to load, and only TIFF needs it

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # what is wrong with a file is told by the refusal
    if data[8:11] == CANON_RAW:
        raise camera_raw()
    first = _first_directory(data)
    if first >= len(data):
        raise incomplete(NAME)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page, more = _choose(file)
        check_size(page.imagewidth, page.imagelength)
        _count_samples(page)
        raster = _raster(page, _samples(page, data, _colors(page)))
        orientation = page.tags.valueof(ORIENTATION)
        if isinstance(orientation, int) and 1 <= orientation <= 8:
            raster.orientation = orientation
        profile = page.tags.valueof(PROFILE)
        if isinstance(profile, bytes) and page.photometric not in (CIELAB, ICCLAB):  # which are sRGB by now
            raster.profile = profile
        if more:
            raster.notices.append(FIRST_FRAME)
        return raster


def _first_directory(data: bytes) -> int:
    where = data[8:16] if data[2:4] in (b"+\0", b"\0+") else data[4:8]
    return int.from_bytes(where, "little" if data[:2] == b"II" else "big") if where else len(data)


def _choose(file: Any) -> tuple["TiffPage", bool]:
    """The directory of the picture, and whether another one of its kind follows."""
    candidates: list[TiffPage] = []
    pages = _pages(file)
    first = next(pages, None)
    if first is None:
        raise incomplete(NAME)
    for page in (first, *_sub_directories(first)):
        if page.tags.valueof(PHOTOMETRIC) in RAW or DNG_VERSION in page.tags:
            raise camera_raw()
        candidates.append(page)
    if not (first.is_reduced or first.is_mask):
        return first, next((True for page in pages if not (page.is_reduced or page.is_mask)), False)
    for page in pages:
        if page.tags.valueof(PHOTOMETRIC) in RAW:
            raise camera_raw()
        candidates.append(page)
    whole = [page for page in candidates if not (page.is_reduced or page.is_mask)]
    return (whole[0] if whole else first), False


def _pages(file: Any) -> Iterator["TiffPage"]:
    """The directories in their order, up to one that is damaged. They are never counted."""
    for index in range(MAX_DIRECTORIES):
        try:
            yield file.pages.get(index, aspage=True)
        except Exception:
            if index == 0:
                raise
            return


def _sub_directories(page: "TiffPage") -> list["TiffPage"]:
    """Directories inside another, where cameras keep the picture of which the first holds a thumbnail."""
    import tifffile

    try:
        return [sub for sub in list(page.pages or ())[:MAX_DIRECTORIES] if isinstance(sub, tifffile.TiffPage)]
    except Exception:
        return []


def _count_samples(page: "TiffPage") -> None:
    """Correct the number of samples per pixel where its tag is missing, and the color where it is RGB of one sample.

    There are as many samples as depths. If there is one depth, uncompressed strips tell by their length whether RGB has
    three samples, or only one, which is shown as gray, as other readers have it.
    """
    missing = SAMPLES_PER_PIXEL not in page.tags
    depths, count = page.tags.valueof(BITS_PER_SAMPLE), page.samplesperpixel
    if missing and isinstance(depths, tuple) and len(set(depths)) == 1:
        count = len(depths)
    elif page.photometric == RGB and count == 1 and page.compression == 1 and isinstance(page.bitspersample, int):
        held = sum(page.databytecounts) * 8 // (page.imagewidth * page.imagelength * page.bitspersample)
        if missing and held == 3:
            count = 3
        elif held == 1:
            page.photometric = BLACK_IS_ZERO
    if count == page.samplesperpixel:
        return
    page.samplesperpixel = count
    if page.planarconfig == 1:
        page.shaped = (*page.shaped[:4], count)
    else:
        page.shaped = (count, *page.shaped[1:])
        page.dataoffsets = page.tags.valueof(STRIP_OFFSETS, page.dataoffsets)  # tifffile keeps those of one plane
        page.databytecounts = page.tags.valueof(STRIP_BYTE_COUNTS, page.databytecounts)


def _colors(page: "TiffPage") -> int:
    """Number of color samples; a kind that cannot be shown is refused here, before its pixels are decoded."""
    kind = int(page.photometric)
    if kind in LOG:
        raise hdr("LogLuv")
    if kind in RAW:
        raise camera_raw()
    if kind not in COLORS:
        raise unsupported(NAME, f"photometric interpretation {kind}")
    if page.samplesperpixel > MAX_SAMPLES:
        raise unsupported(NAME, f"{page.samplesperpixel} samples per pixel")
    if page.imagedepth > 1:
        raise unsupported(NAME, "a volume")
    if kind == SEPARATED and page.tags.valueof(INK_SET, CMYK_INKS) != CMYK_INKS:
        raise unsupported(NAME, "inks other than CMYK")
    if page.sampleformat not in (UNSIGNED, SIGNED, FLOAT, VOID):
        raise unsupported(NAME, "complex numbers")
    if kind in (CIELAB, ICCLAB) and page.compression in JPEGS:
        raise unsupported(NAME, "CIELAB in JPEG")
    if page.compression not in COMPRESSIONS:
        raise unsupported(NAME, f"compression {int(page.compression)}")
    if not isinstance(page.bitspersample, int):
        raise unsupported(NAME, "samples of different depths")
    if page.compression in JPEGS and page.bitspersample != 8:
        raise unsupported(NAME, f"JPEG of a depth of {page.bitspersample} by its tags")
    if page.dtype is None:
        raise unsupported(NAME, f"{page.bitspersample} bits per sample of format {page.sampleformat}")
    colors = COLORS[kind]
    if page.samplesperpixel < colors:
        raise ValueError("fewer samples than colors")
    return colors


def _samples(page: "TiffPage", data: bytes, colors: int) -> NDArray[Any]:
    """(H, W, samples) as they are stored; only those of color and the first extra one are kept."""
    height, width, count = page.imagelength, page.imagewidth, min(page.samplesperpixel, colors + 1)
    separate = _in_planes(page)
    whole: NDArray[Any] | None = None
    _check_tiles(page)
    for index, segment in enumerate(_segments(page, data)):
        values, (sample, _, top, left, _), _ = _decode(page, data, index, segment)
        if whole is None:
            whole = np.empty((height, width, count), values.dtype)
        values = values[0, : height - top, : width - left]
        rows, columns = slice(top, top + values.shape[0]), slice(left, left + values.shape[1])
        if not separate:
            whole[rows, columns] = values[..., :count]
        elif sample < count:
            whole[rows, columns, sample] = values[..., 0]
    if whole is None:
        raise incomplete(NAME)
    return whole


def _check_tiles(page: "TiffPage") -> None:
    """Tiles may be larger than the picture, but not without bound: each is decoded whole."""
    if page.is_tiled and page.tilewidth * page.tilelength > 4 * (page.imagewidth * page.imagelength + 2**20):
        raise ValueError("tiles that are far larger than the picture")


def _segments(page: "TiffPage", data: bytes) -> Iterator[bytes]:
    """The bytes of each strip or tile."""
    count = math.prod(page.chunked)
    if page.compression == OLD_JPEG and count == 1:
        start = page.tags.valueof(JPEG_STREAM, (len(data),))[0]
        if data[start : start + 2] == JPEG_START:
            yield data[start : start + (page.tags.valueof(JPEG_STREAM_LENGTH, (0,))[0] or len(data))]
            return
    if min(len(page.dataoffsets), len(page.databytecounts)) < count:
        raise incomplete(NAME)
    for index, (start, length) in enumerate(zip(page.dataoffsets[:count], page.databytecounts[:count], strict=True)):
        if not length and start:  # not known to the writer
            length = _full_size(page, index) if page.compression == 1 else len(data) - start if count == 1 else 0
        if not start or not length or start >= len(data):
            raise incomplete(NAME)
        yield data[start : start + length]


def _full_size(page: "TiffPage", index: int) -> int:
    """Bytes of a strip or tile without compression, each row of which ends with a whole byte."""
    _, _, (_, rows, columns, samples) = page.decode(None, index)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 0
    return rows * math.ceil(columns * samples * bits / 8)


Decoded = tuple[NDArray[Any], tuple[int, int, int, int, int], tuple[int, int, int, int]]


def _decode(page: "TiffPage", data: bytes, index: int, segment: bytes) -> Decoded:
    """Decode a strip or tile to (1, length, width, samples), and refuse one that does not hold as much."""
    import imagecodecs
    import tifffile

    if page.compression == OLD_JPEG and not segment.startswith(JPEG_START):
        raise unsupported(NAME, "old-style JPEG whose tables are not with its data")
    cut = page.dataoffsets[index] + page.databytecounts[index] > len(data)
    try:
        if page.photometric == YCBCR and page.compression not in JPEGS:
            return _subsampled(page, index, segment)
        try:
            decoded = _call(page, segment, index)
        except (imagecodecs.DeflateError, imagecodecs.PackbitsError):
            decoded = _call(page, _shortened(page, segment, index), index)
    except tifffile.TiffFileError as error:  # too few values
        raise incomplete(NAME) from error
    except Exception as error:
        if cut:
            raise incomplete(NAME) from error
        if isinstance(error, NotImplementedError | ValueError) and "supported" in str(error):
            raise unsupported(NAME, f"compression {page.compression}") from error
        raise
    if page.compression in JPEGS:
        _check_jpeg(page, index, segment, decoded[0])
    elif page.compression in (CCITT_RLE, CCITT_3):
        if not np.array_equal(_call(page, _with_row(page, segment), index)[0], decoded[0]):
            raise incomplete(NAME)
    elif page.compression == CCITT_4 and index == 0:
        _check_group_4(page, data)
    return decoded


def _call(page: "TiffPage", segment: bytes, index: int) -> Decoded:
    if page.compression in JPEGS and _in_planes(page):
        return _plane_of_jpeg(page, segment, index)
    if page.compression == PNG:
        return _png(page, segment, index)
    options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in JPEGS else {}
    values, place, shape = page.decode(segment, index, **options)
    if values is None:
        raise incomplete(NAME)
    return values, place, shape


def _in_planes(page: "TiffPage") -> bool:
    return page.planarconfig == 2 and page.samplesperpixel > 1


def _plane_of_jpeg(page: "TiffPage", segment: bytes, index: int) -> Decoded:
    """A JPEG of one component, of which tifffile tells the decoder that it has all those of the picture."""
    import imagecodecs

    _, place, shape = page.decode(None, index)
    values = imagecodecs.jpeg8_decode(segment, tables=page.jpegtables)
    if values.ndim != 2:
        raise ValueError("a plane of several components")
    if values.shape[1] != shape[2]:
        if page.photometric == YCBCR:
            raise unsupported(NAME, "chroma of half size in planes of its own")
        raise ValueError("a JPEG of another width than its strip or tile")
    if len(values) < shape[1]:
        raise incomplete(NAME)
    return values[None, : shape[1], :, None], place, shape


def _png(page: "TiffPage", segment: bytes, index: int) -> Decoded:
    """A strip or tile that is a PNG, of which libpng would print what is wrong."""
    _, place, shape = page.decode(None, index)
    raster = png.read(segment)
    channels = [raster.color] if raster.alpha is None else [raster.color, raster.alpha]
    values = np.dstack(channels)
    if values.shape[1:] != shape[2:] or values.dtype != page.dtype:
        raise ValueError("a PNG of another kind than its strip or tile")
    if len(values) < shape[1]:
        raise incomplete(NAME)
    return values[None, : shape[1]], place, shape


def _shortened(page: "TiffPage", segment: bytes, index: int) -> bytes:
    """A strip or tile that holds more than it should, such as a last strip of full height, cut to its size."""
    import imagecodecs

    rows, columns = page.tilelength, page.tilewidth
    if not page.is_tiled:
        top = index % math.ceil(page.imagelength / page.rowsperstrip) * page.rowsperstrip
        rows, columns = min(page.rowsperstrip, page.imagelength - top), page.imagewidth
    samples = 1 if _in_planes(page) else page.samplesperpixel
    size = rows * columns * samples * (page.dtype.itemsize if page.dtype else 1)
    if page.compression == PACKBITS:
        return bytes(imagecodecs.packbits_encode(imagecodecs.packbits_decode(segment)[:size]))
    return zlib.compress(zlib.decompressobj().decompress(segment, size), 0)


def _check_jpeg(page: "TiffPage", index: int, segment: bytes, values: NDArray[Any]) -> None:
    """As `jpeg` does: noise after the data changes what a decoder invents, and nothing else."""
    parts = jpeg.segments(segment)
    if parts.frame in jpeg.ARITHMETIC:
        return
    if not all(all(coded) for coded in parts.coded.values()):
        raise incomplete(NAME)
    kept = list(parts.kept)
    for scan in parts.scans:
        kept[scan] = jpeg.with_noise(kept[scan])
    noisy, *_ = _call(page, b"".join(kept) + bytes([0xFF, jpeg.EOI]), index)
    if not np.array_equal(noisy, values):
        raise incomplete(NAME)


def _with_row(page: "TiffPage", segment: bytes) -> bytes:
    """A strip of CCITT with one more row at its end, of pixels in turn white and black.

    The decoder leaves rows white for which there are no data; it would fill the first of them with this one.
    """
    import imagecodecs

    width = page.tilewidth if page.is_tiled else page.imagewidth
    row = ("000111" + "010") * (width // 2) + "000111" * (width % 2)  # runs of one pixel
    if page.fillorder == 2:
        segment = bytes(imagecodecs.bitorder_decode(segment))
    if page.compression == CCITT_3:
        bits = format(int.from_bytes(segment[-32:], "big"), f"0{8 * len(segment[-32:])}b")
        two_dimensional = int(page.tags.valueof(T4_OPTIONS, 0)) & 1
        row = END_OF_PAGE.sub("", bits) + "0" * 11 + "1" + "1" * two_dimensional + row
        segment = segment[:-32]
    row += "0" * (-len(row) % 8)
    longer = segment + int(row, 2).to_bytes(len(row) // 8, "big")
    return bytes(imagecodecs.bitorder_decode(longer)) if page.fillorder == 2 else longer


def _check_group_4(page: "TiffPage", data: bytes) -> None:
    """Refuse Group 4 that ends early, which libtiff notices in the directories that it counts."""
    import imagecodecs

    if not isinstance(page.index, int):
        return
    try:
        imagecodecs.tiff_decode(data, page.index)
    except imagecodecs.TiffError as error:
        raise incomplete(NAME) from error


def _subsampled(page: "TiffPage", index: int, segment: bytes) -> Decoded:
    """YCbCr without JPEG: blocks of luma, each with one sample of Cb and of Cr (TIFF 6.0, section 21)."""
    import tifffile

    across, down = (int(value) for value in page.tags.valueof(SUBSAMPLING, (2, 2)))
    if (across, down) == (1, 1) or page.planarconfig == 2:
        if (across, down) != (1, 1):
            raise unsupported(NAME, "chroma of half size in planes of its own")
        return _call(page, segment, index)
    if page.bitspersample != 8 or page.samplesperpixel != 3 or page.predictor != 1 or not across or not down:
        raise unsupported(NAME, "YCbCr of this depth or predictor")
    if page.is_tiled:
        columns = math.ceil(page.imagewidth / page.tilewidth)
        top, left = index // columns * page.tilelength, index % columns * page.tilewidth
        rows, width = page.tilelength, page.tilewidth
    else:
        top, left, width = index * page.rowsperstrip, 0, page.imagewidth
        rows = min(page.rowsperstrip, page.imagelength - top)
    blocks, block_rows, block = math.ceil(width / across), math.ceil(rows / down), across * down + 2
    size = blocks * block_rows * block
    if page.compression != 1:
        segment = tifffile.TIFF.DECOMPRESSORS[page.compression](segment, out=size)
    values = np.frombuffer(segment, np.uint8)
    if values.size < size:
        raise incomplete(NAME)
    values = values[:size].reshape(block_rows, blocks, block)
    luma = values[..., :-2].reshape(block_rows, blocks, down, across).swapaxes(1, 2)
    ycbcr = np.empty((1, block_rows * down, blocks * across, 3), np.uint8)
    ycbcr[0, ..., 0] = luma.reshape(block_rows * down, -1)
    ycbcr[0, ..., 1:] = values[..., -2:].repeat(down, 0).repeat(across, 1)
    return ycbcr[:, :rows, :width], (0, 0, top, left, 0), (1, rows, width, 3)


def _raster(page: "TiffPage", samples: NDArray[Any]) -> Raster:
    """Sort the samples into colors and alpha, and scale them by their depth, or by their range."""
    kind = int(page.photometric)
    colors = COLORS[kind]
    notices: list[str] = []
    bits = page.bitspersample if isinstance(page.bitspersample, int) else samples.dtype.itemsize * 8
    if samples.dtype == np.bool_:
        samples = samples.view(np.uint8)
    kept = samples[..., :colors] if colors > 1 else samples[..., 0]
    if kind == PALETTE:
        color: NDArray[Any] = _colored(page, kept, bits)
    elif kind in (CIELAB, ICCLAB):
        color = _from_lab(kept, bits, kind, _rationals(page, WHITE_POINT, D50))
    elif samples.dtype.kind == "f" or page.sampleformat == SIGNED or bits > 16:
        color = stretch(kept, notices)
    else:
        color = spread(kept, bits)
    if kind == WHITE_IS_ZERO:
        color = ~color
    if kind == YCBCR and (page.compression not in JPEGS or _in_planes(page)):
        color = _from_ycbcr(page, color)
    raster = Raster(color, notices=notices)
    extra = page.tags.valueof(EXTRA_SAMPLES)
    extra = (extra,) if isinstance(extra, int) else extra
    if samples.shape[2] > colors:
        use = int(extra[0]) if extra else (UNASSOCIATED if page.samplesperpixel == colors + 1 else NONE)
        if use in (ASSOCIATED, UNASSOCIATED):
            raster.alpha = _alpha(samples[..., colors], bits, color.dtype)
            raster.premultiplied = use == ASSOCIATED
    return raster


def _alpha(values: NDArray[Any], bits: int, kind: np.dtype[Any]) -> NDArray[Any]:
    if values.dtype.kind == "f":
        alpha: NDArray[Any] = np.rint(np.nan_to_num(values.astype(np.float64), nan=1).clip(0, 1) * 255).astype(np.uint8)
    elif values.dtype.kind == "i":
        alpha = np.rint(values.astype(np.float64).clip(0) * (255 / (2 ** (bits - 1) - 1))).astype(np.uint8)
    else:
        alpha = spread(values, bits)
    if alpha.dtype == kind:
        return alpha
    return alpha.astype(np.uint16) * np.uint16(257) if kind == np.uint16 else (alpha // np.uint16(257)).astype(np.uint8)


def _colored(page: "TiffPage", indices: NDArray[Any], bits: int) -> Pixels:
    """Palette colors, of 16 bits unless none of them needs more than 8, as some writers have it."""
    table = np.asarray(page.tags.valueof(COLOR_MAP, ()))
    if table.size < 3 * 2**bits:
        raise ValueError("no palette")
    table = table.reshape(3, -1)[:, : 2**bits].T
    if table.max() > 255:
        table = table >> 8
    colors: Pixels = np.ascontiguousarray(table.astype(np.uint8))[indices]
    return colors


def _from_lab(values: NDArray[Any], bits: int, kind: int, white: tuple[float, ...]) -> Pixels:
    """CIELAB, whose a* and b* are signed, or ICCLAB, where they have an offset (TIFF 6.0, section 23).

    Floating-point values are L*, a* and b* themselves, as libvips has them. The white is D50 unless a tag says
    otherwise, as Adobe's programs and libtiff have it.
    """
    floating = values.dtype.kind == "f"
    if floating and kind == ICCLAB:
        raise unsupported(NAME, "ICCLAB of floating point")
    if not floating and bits not in (8, 16):
        raise unsupported(NAME, f"CIELAB of {bits} bits")
    pixels = np.empty(values.shape, np.uint8)
    for rows in bands(*values.shape[:2]):
        if floating:
            pixels[rows] = lab_to_srgb(np.nan_to_num(values[rows].astype(np.float32)), white)
            continue
        raw = values[rows].view(f"u{bits // 8}").astype(np.int32)
        lightness = raw[..., :1] * (100 / (2**bits - 1))
        if kind == ICCLAB:
            chroma = raw[..., 1:] - 2 ** (bits - 1)
        else:
            chroma = raw[..., 1:] - (raw[..., 1:] >= 2 ** (bits - 1)) * 2**bits
        lab = np.concatenate([lightness, chroma / 2 ** (bits - 8)], -1)
        pixels[rows] = lab_to_srgb(lab.astype(np.float32), white)
    return pixels


def _from_ycbcr(page: "TiffPage", ycbcr: NDArray[Any]) -> NDArray[Any]:
    """By the luma coefficients and the ranges that the tags give (TIFF 6.0, section 21)."""
    white = float(np.iinfo(ycbcr.dtype).max)
    red, green, blue = _rationals(page, LUMA_COEFFICIENTS, (0.299, 0.587, 0.114))
    half = (white + 1) / 2
    black_y, white_y, black_cb, white_cb, black_cr, white_cr = _rationals(
        page, REFERENCE, (0, white, half, white, half, white)
    )
    rgb = np.empty_like(ycbcr)
    for rows in bands(*ycbcr.shape[:2]):
        y, cb, cr = np.moveaxis(ycbcr[rows].astype(np.float32), -1, 0)
        y = (y - black_y) * (white / (white_y - black_y))
        cb = (cb - black_cb) * ((white - half) / (white_cb - black_cb))
        cr = (cr - black_cr) * ((white - half) / (white_cr - black_cr))
        r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
        rgb[rows] = np.rint(np.stack([r, (y - red * r - blue * b) / green, b], -1)).clip(0, white)
    return rgb


def _rationals(page: "TiffPage", tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
    """A tag's rational numbers; the default where they are missing or make no sense."""
    raw = page.tags.valueof(tag)
    try:
        values = tuple(n / d for n, d in zip(raw[::2], raw[1::2], strict=True))
    except (TypeError, ZeroDivisionError, ValueError):
        return default
    if len(values) != len(default) or any(a == b for a, b in zip(values[::2], values[1::2], strict=False)):
        return default
    return values
