"""The quality of a file: 0 to MAX_QUALITY, in hundredths, which the codec calls levels."""

MAX_QUALITY = 100
DEFAULT_QUALITY = 80
MAX_LEVEL = 100 * MAX_QUALITY


def quality_level(quality: float) -> int:
    """The level of a quality, 0 .. MAX_LEVEL.

    Args:
        quality: 0 to MAX_QUALITY; rounded to hundredths.

    Raises:
        ValueError: The quality is out of range.
    """
    if not 0 <= quality <= MAX_QUALITY:
        raise ValueError(f"quality is 0 to {MAX_QUALITY}, not {quality}")
    return round(100 * quality)
