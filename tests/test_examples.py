"""The example pictures: their size and content, and that draw_examples.py draws them."""

from pathlib import Path

import draw_examples as draw
import numpy as np
import pytest
from PIL import Image

import residae.examples

FOLDER = Path(residae.examples.__file__).parent


def _png_chunks(data: bytes) -> set[bytes]:
    """The names of the chunks of a PNG."""
    kinds, at = set(), 8
    while at < len(data):
        kinds.add(data[at + 4 : at + 8])
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return kinds


def _jpeg_segments(data: bytes) -> set[int]:
    """The markers of a JPEG before its first scan."""
    kinds, at = set(), 2
    while data[at + 1] != 0xDA:
        kinds.add(data[at + 1])
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return kinds


@pytest.mark.parametrize("name", draw.PICTURES)
def test_picture_opens_at_a_size_that_needs_no_padding(name: str) -> None:
    with Image.open(FOLDER / name) as picture:
        picture.load()
        assert sorted(picture.size) == [512, 768]
        assert picture.mode == ("L" if name.endswith(".png") else "RGB")
        assert np.asarray(picture).std() > 25


def test_the_folder_holds_only_these_pictures_in_less_than_600_kb() -> None:
    pictures = {path.name: path.stat().st_size for path in FOLDER.iterdir() if path.suffix in {".jpg", ".png"}}
    assert pictures.keys() == draw.PICTURES.keys()
    assert sum(pictures.values()) < 600_000


@pytest.mark.parametrize("name", draw.PICTURES)
def test_picture_carries_no_metadata(name: str) -> None:
    data = (FOLDER / name).read_bytes()
    if name.endswith(".png"):
        assert _png_chunks(data) == {b"IHDR", b"IDAT", b"IEND"}
    else:  # JFIF, tables and one progressive frame: no Exif, XMP or ICC (APP1, APP2), and no comment
        assert _jpeg_segments(data) == {0xE0, 0xDB, 0xC2, 0xC4}


@pytest.mark.parametrize("name", ["chart.png", "page.png"])
def test_redrawing_gives_the_committed_picture(name: str) -> None:
    with Image.open(FOLDER / name) as picture:
        committed = np.asarray(picture, np.float64)
    redrawn = np.asarray(draw.PICTURES[name](), np.float64)
    assert redrawn.shape == committed.shape
    assert np.abs(redrawn - committed).mean() < 0.25  # gray levels; versions of FreeType differ slightly at edges
