"""What a session of the page remembers between events."""

from dataclasses import dataclass
from typing import Any

from residae.codec import Compressed
from residae.image import Picture
from residae.pipeline import Encoding, Pipeline
from residae.ui.cache import Settings, open_at_size
from residae.ui.previews import preview_side
from residae.ui.store import get_pipeline


@dataclass(frozen=True, eq=False)
class CurrentResult:
    """What the page shows now: all that another quality, an edit or a comparison starts from.

    It holds no pixels, because Gradio keeps it for an hour after a visitor has left.

    Attributes:
        settings: That it was made from.
        encoding: Of the picture.
        compressed: The file that the picture was decoded from; None from the unquantized latent.
        psnr: Of the decoded picture, dB.
        seconds: That decoding took.
        steps: Of refinement that the file has had.
        original: The picture at working size as the page serves it, by `png_file`; None where it is not served.
        reconstruction: The decoded picture in the same way.
    """

    settings: Settings
    encoding: Encoding
    compressed: Compressed | None
    psnr: float
    seconds: float = 0.0
    steps: int = 0
    original: dict[str, Any] | None = None
    reconstruction: dict[str, Any] | None = None

    @property
    def color(self) -> bool:
        return len(self.encoding.latents) == 3

    @property
    def quality(self) -> float | None:
        """Of the file, 0 to 100; None from the unquantized latent."""
        return self.compressed.quality if self.compressed else None

    @property
    def pipeline(self) -> Pipeline:
        return get_pipeline(self.settings.checkpoint)

    @property
    def preview_side(self) -> int:
        """The long side of a preview, in pixels."""
        return preview_side(max(self.encoding.height, self.encoding.width), self.seconds)

    def picture(self) -> Picture:
        """The original, or the part of it, at working size."""
        return open_at_size(self.settings.path, self.settings.side, self.settings.box)
