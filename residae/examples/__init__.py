"""The example pictures; `tests/draw_examples.py` draws them."""

from pathlib import Path


def paths() -> tuple[str, ...]:
    """The pictures, in the order in which a page offers them."""
    names = ("scene.jpg", "texture.jpg", "flowers.jpg", "chart.png", "page.png")
    return tuple(str(Path(__file__).parent / name) for name in names)
