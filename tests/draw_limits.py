"""Draw the picture of the network's limits beside the weights: `python -m tests.draw_limits`

Parts of three example pictures, above, and their reconstructions in color at QUALITY and scale 1.
"""

import io

import numpy as np
from PIL import Image

from residae.deploy import CHECKPOINT, ROOT
from residae.image import Picture, Pixels, open_picture
from residae.pipeline import Pipeline

PICTURE = ROOT / CHECKPOINT / "limits.jpg"
QUALITY = 80
PARTS = {"page.png": (40, 180), "texture.jpg": (200, 260), "scene.jpg": (200, 440)}  # row and column of each
SIDE, GAP = 288, 8  # pixels


def draw() -> bytes:
    """The JPEG file."""
    pipeline = Pipeline.open(ROOT / CHECKPOINT)
    columns: list[Pixels] = []
    for name, (top, left) in PARTS.items():
        pixels = open_picture(ROOT / "residae" / "examples" / name).pixels[top : top + SIDE, left : left + SIDE]
        original = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)
        result = pipeline.read(pipeline.compress(Picture(original, (), None), QUALITY))[1].pixels
        columns.append(np.concatenate((original, np.full((GAP, SIDE, 3), 255, np.uint8), result)))
    between = np.full((2 * SIDE + GAP, GAP, 3), 255, np.uint8)
    joined = np.concatenate([part for column in columns for part in (between, column)][1:], 1)
    buffer = io.BytesIO()
    Image.fromarray(joined).save(buffer, "JPEG", quality=88, optimize=True, progressive=True)
    return buffer.getvalue()


if __name__ == "__main__":
    PICTURE.write_bytes(draw())
