"""Remake the golden file of the shipped weights: `python -m tests.make_golden`.

It writes a part of an example picture as `tests/golden/flowers.rae`, and what the file decodes to as
`tests/golden/flowers.json`. Run it when the weights, their tables or the `.rae` format have changed on purpose.
"""

import hashlib
import json
from pathlib import Path

import torch

from residae.checkpoint import DEFAULT, Checkpoint
from residae.codec import Symbols
from residae.image import Picture, open_picture
from residae.metrics import psnr
from residae.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "flowers.rae"
QUALITY = 80


def shipped_pipeline() -> Pipeline:
    """The weights of the repository in float32 on the CPU, which every machine computes alike."""
    return Pipeline(Checkpoint.open(ROOT / "checkpoints" / DEFAULT), "cpu", torch.float32)


def original() -> Picture:
    """The middle of an example picture, 256 x 256 in color."""
    pixels = open_picture(ROOT / "residae" / "examples" / "flowers.jpg").pixels
    top, left = (side // 2 - 128 for side in pixels.shape[:2])
    return Picture(pixels[top : top + 256, left : left + 256], (), None)


def digest(symbols: tuple[Symbols, ...]) -> str:
    """The SHA-256 of the symbols of all planes."""
    return hashlib.sha256(b"".join(plane.astype("<i4").tobytes() for plane in symbols)).hexdigest()


def main() -> None:
    """Write the golden file and its figures, and print these."""
    pipeline, picture = shipped_pipeline(), original()
    data = pipeline.compress(picture, QUALITY)
    figures = {
        "bytes": len(data),
        "psnr": round(psnr(picture.pixels, pipeline.read(data)[1].pixels), 3),
        "symbols": digest(pipeline.codec.decompress(data).symbols),
    }
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(data)
    GOLDEN.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(figures)


if __name__ == "__main__":
    main()
