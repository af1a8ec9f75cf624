"""The sentences by which a picture is refused, and the limits on its size."""

from residae.errors import ImageError
from residae.geometry import MAX_PIXELS, MAX_SIDE


def damaged(name: str) -> ImageError:
    return ImageError(f"The {name} file is damaged.")


def incomplete(name: str) -> ImageError:
    return ImageError(f"The {name} file is incomplete: part of the picture is missing.")


def unsupported(name: str, kind: str) -> ImageError:
    return ImageError(f"The {name} file is of a kind that is not supported: {kind}.")


def camera_raw() -> ImageError:
    return ImageError("The file is a camera raw file, which is not supported: export it as a JPEG, PNG or TIFF first.")


def hdr(kind: str) -> ImageError:
    return ImageError(f"The picture is HDR ({kind}), which is not supported: convert it to SDR first.")


def check_size(width: int, height: int) -> None:
    """Hold the size that a header states against the limits, before any memory is reserved for pixels.

    Raises:
        ImageError: The size is over MAX_PIXELS or MAX_SIDE, or is empty.
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"a picture of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(f"The picture is larger than the limit of {MAX_PIXELS // 10**6} megapixels.")
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"The picture has a side longer than the limit of {MAX_SIDE:,} pixels.")
