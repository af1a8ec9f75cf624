"""Boxes of the ISO base media file format, of which JPEG 2000 and AVIF files are made (ISO/IEC 14496-12, 15444-1)."""

from collections.abc import Iterator
from dataclasses import dataclass

from residae.image.refusals import incomplete


@dataclass(frozen=True)
class Box:
    """Where the content of a box lies in its file.

    Attributes:
        kind: Four characters, such as `ftyp`.
        start: First byte of the content.
        end: One past its last byte.
    """

    kind: bytes
    start: int
    end: int


def boxes(data: bytes, start: int, end: int, name: str) -> Iterator[Box]:
    """The boxes between two places of a file.

    Args:
        data: The whole file.
        start: Where the first box begins.
        end: Where its parent ends.
        name: Format of the file, for the refusal.

    Yields:
        Each box, in the order of the file.

    Raises:
        ImageError: A box goes past the end of the file.
        ValueError: A box goes past the end of its parent, or is shorter than its header.
    """
    while start + 8 <= end:
        size, kind, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == 0:
            size = end - start
        if size < head:
            raise ValueError(f"a box {kind!r} of {size} bytes")
        if start + size > len(data):
            raise incomplete(name)
        if start + size > end:
            raise ValueError(f"a box {kind!r} that is longer than its parent")
        yield Box(kind, start + head, start + size)
        start += size
