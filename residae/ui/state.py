"""What a session of the page remembers between events."""

from dataclasses import dataclass

from residae.codec import Compressed
from residae.image import CropBox, Picture
from residae.pipeline import Encoding, Pipeline
from residae.ui.cache import open_at_size
from residae.ui.store import get_pipeline


@dataclass(frozen=True, eq=False)
class CurrentResult:
    """What the page shows now: all that another quality, an edit or a comparison starts from.

    It holds no pixels, because Gradio keeps it for an hour after a visitor has left.

    Attributes:
        path: Of the picture file.
        side: Long side that the picture was reduced to, in pixels; FULL_SIZE if it was not.
        checkpoint: Name of the checkpoint.
        encoding: Of the picture.
        compressed: The file that the picture was decoded from; None from the unquantized latent.
        psnr: Of the decoded picture, dB.
        box: The part of the picture that it is of; None for the whole picture.
    """

    path: str
    side: int
    checkpoint: str
    encoding: Encoding
    compressed: Compressed | None
    psnr: float
    box: CropBox | None = None

    @property
    def color(self) -> bool:
        return len(self.encoding.latents) == 3

    @property
    def quality(self) -> float | None:
        """Of the file, 0 to 100; None from the unquantized latent."""
        return self.compressed.quality if self.compressed else None

    @property
    def pipeline(self) -> Pipeline:
        return get_pipeline(self.checkpoint)

    def picture(self) -> Picture:
        """The original, or the part of it, at working size."""
        return open_at_size(self.path, self.side, self.box)
