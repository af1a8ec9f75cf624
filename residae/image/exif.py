"""The one fact that is read from EXIF: which way up the picture is."""

from residae.arrays import Pixels

UPRIGHT = 1
ORIENTATION = 0x0112
INTEGERS = {1: 1, 3: 2, 4: 4}  # bytes of a BYTE, a SHORT and a LONG


def orientation(exif: bytes) -> int:
    """Orientation 1 to 8 of the first directory of an EXIF block; 1 where it has none or cannot be read.

    Args:
        exif: A TIFF structure, with or without the "Exif\\0\\0" that JPEG puts before it.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    if exif[:2] not in (b"II", b"MM"):
        return UPRIGHT

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], "little" if exif[:1] == b"I" else "big")

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 > len(exif):
            break
        kind, count = number(entry + 2, 2), number(entry + 4, 4)
        if number(entry, 2) == ORIENTATION and count == 1 and kind in INTEGERS:
            found = number(entry + 8, INTEGERS[kind])
            return found if 1 <= found <= 8 else UPRIGHT
    return UPRIGHT


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """The pixels as seen: flipped and transposed as the orientation says (EXIF 2.32, 4.6.4).

    Args:
        pixels: (H, W) or (H, W, 3).
        orientation: 1 to 8; 1 changes nothing.

    Returns:
        A view of `pixels`; of (W, H) or (W, H, 3) from orientation 5 on.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
