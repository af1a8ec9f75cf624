"""Pictures: untrusted bytes to pixels, pixels to planes and back; `process` decodes in a process of its own."""

from residae.image.formats import FORMATS, MAX_FILE_BYTES, SUFFIXES, PictureLike, as_picture, open_picture, read_picture
from residae.image.picture import (
    WRITTEN,
    CropBox,
    Picture,
    Pixels,
    cover,
    crop,
    fit,
    to_image,
    write_picture,
    write_png,
)
from residae.image.planes import Plane, from_planes, to_gray, to_planes

__all__ = [
    "FORMATS",
    "MAX_FILE_BYTES",
    "SUFFIXES",
    "WRITTEN",
    "CropBox",
    "Picture",
    "PictureLike",
    "Pixels",
    "Plane",
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
