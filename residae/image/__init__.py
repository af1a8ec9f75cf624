"""Pictures: untrusted bytes to pixels, pixels to planes and back; `process` decodes in a process of its own."""

from residae.arrays import Pixels
from residae.image.formats import FORMATS, MAX_FILE_BYTES, SUFFIXES, PictureLike, as_picture, open_picture, read_picture
from residae.image.picture import (
    WRITTEN,
    CropBox,
    Picture,
    cover,
    crop,
    fit,
    to_image,
    write_picture,
    write_png,
)
from residae.image.planes import from_planes, to_gray, to_planes

__all__ = [
    "FORMATS",
    "MAX_FILE_BYTES",
    "SUFFIXES",
    "WRITTEN",
    "CropBox",
    "Picture",
    "PictureLike",
    "Pixels",
    "as_picture",
    "cover",
    "crop",
    "fit",
    "from_planes",
    "open_picture",
    "read_picture",
    "to_gray",
    "to_image",
    "to_planes",
    "write_picture",
    "write_png",
]
