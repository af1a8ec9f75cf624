"""Style sheet and scripts of the page."""

from pathlib import Path


def read(name: str) -> str:
    """The text of a file in this folder."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
