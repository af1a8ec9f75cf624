"""The sentences by which a picture is refused, and the limits on its size."""

from residae.errors import ImageError
from residae.geometry import MAX_PIXELS, MAX_SIDE


def damaged(name: str) -> ImageError:
    """The error for a file whose content contradicts itself or its format.

    Args:
        name: Of the format, such as `JPEG`.
    """
    return ImageError(f"The {name} file is damaged.")


def incomplete(name: str) -> ImageError:
    """The error for a file that ends too early.

    Args:
        name: Of the format, such as `JPEG`.
    """
    return ImageError(f"The {name} file is incomplete: part of the picture is missing.")


def unsupported(name: str, kind: str) -> ImageError:
    """The error for a file that may be sound, but that no reader here decodes.

    Args:
        name: Of the format, such as `JPEG`.
        kind: What the file has, such as `hierarchical coding`.
    """
    return ImageError(f"The {name} file is of a kind that is not supported: {kind}.")


def camera_raw() -> ImageError:
    """The error for a camera raw file, which begins as a TIFF."""
    return ImageError("The file is a camera raw file, which is not supported: export it as a JPEG, PNG or TIFF first.")


def hdr(kind: str) -> ImageError:
    """The error for a picture whose transfer function is one of HDR.

    Args:
        kind: The transfer function, such as `PQ`.
    """
    return ImageError(f"The picture is HDR ({kind}), which is not supported: convert it to SDR first.")


def check_size(width: int, height: int) -> None:
    """Hold the size that a header states against the limits, before any memory is reserved for pixels.

    Args:
        width: Pixels.
        height: Pixels.

    Raises:
        ImageError: The size is over MAX_PIXELS or MAX_SIDE.
        ValueError: The size is empty, or negative: the file is damaged.
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"a picture of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(f"The picture is larger than the limit of {MAX_PIXELS // 10**6} megapixels.")
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"The picture has a side longer than the limit of {MAX_SIDE:,} pixels.")
