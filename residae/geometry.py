"""Sizes: of pictures, of their planes and of their latents."""

STRIDE = 16  # pixels along each side of a latent cell: the network's four stages each halve height and width

MAX_PIXELS = 64 * 10**6  # of a picture, whether it comes as a picture file or as a compressed one
MAX_SIDE = 65_500  # pixels


def latent_shape(height: int, width: int) -> tuple[int, int]:
    """Height and width of the latent of a plane of `height` x `width` pixels: the cells that cover it."""
    return -(-height // STRIDE), -(-width // STRIDE)


def plane_shapes(height: int, width: int, planes: int) -> list[tuple[int, int]]:
    """Heights and widths of the planes of a picture: of Y alone, or of Y, Cb and Cr, with chroma at half size.

    Raises:
        ValueError: `planes` is neither 1 nor 3.
    """
    if planes not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 planes, not {planes}")
    half = -(-height // 2), -(-width // 2)
    return [(height, width), half, half][:planes]
