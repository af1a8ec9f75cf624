"""Residae: a hands-on laboratory and codec around one pre-activation residual autoencoder.

data = residae.compress("photo.jpg", quality=80)  # the bytes of a .rae file
picture = residae.decompress(data)                # a PIL image
pipeline = residae.load()                         # the checkpoint in memory, for everything else
"""

import functools
import threading
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residae.quality import DEFAULT_QUALITY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from residae.geometry import Scale
    from residae.model import ResidualAutoencoder
    from residae.pipeline import Pipeline

__all__ = ["ResidualAutoencoder", "compress", "decompress", "load"]
__version__ = "0.2.0"

_loading = threading.Lock()


def load(checkpoint: str | PathLike[str] | None = None) -> "Pipeline":
    """Load a checkpoint once; further calls return the same pipeline, in any thread.

    Args:
        checkpoint: A folder, or a model on the Hugging Face Hub as `owner/name` or `owner/name@revision`; if it is
            None, what the environment variable RESIDAE_CHECKPOINT names, else the weights that come with the package.

    Returns:
        The pipeline, on a GPU where there is one, else on the CPU.

    Raises:
        CheckpointError: Nothing is there, or it is not a checkpoint of this network.
    """
    from residae.checkpoint import default
    from residae.files import is_folder

    source = str(checkpoint or default())
    if is_folder(Path(source)):
        source = str(Path(source).resolve())  # which stays what it is in another working directory
    with _loading:  # or two threads would load it twice
        return _load(source)


@functools.lru_cache(maxsize=4)
def _load(checkpoint: str) -> "Pipeline":
    from residae.pipeline import Pipeline

    return Pipeline.open(checkpoint)


def compress(
    picture: "str | PathLike[str] | Image | NDArray[np.uint8]",
    quality: float = DEFAULT_QUALITY,
    scale: "Scale | None" = None,
    target_bpp: float | None = None,
    max_bytes: int | None = None,
    refine: int = 0,
) -> bytes:
    """Compress a picture with the default checkpoint.

    Args:
        picture: The path of a picture file, a PIL image, or a uint8 array of shape (H, W) or (H, W, 3) in sRGB.
        quality: 0 to 100; not used with `target_bpp` or `max_bytes`.
        scale: Factor from 0.5 to 4 by which the picture is resampled before it is encoded, or "auto" to choose the one
            that keeps most in the size of the file; if it is None, "auto" with `target_bpp` or `max_bytes`, else 1.
        target_bpp: Makes the best file of at most so many bits per pixel.
        max_bytes: Makes the best file of at most so many bytes.
        refine: Steps in which the file is optimized for this picture; each takes as long as two to three decodes. 20
            give most of the gain.

    Returns:
        The content of a `.rae` file.

    Raises:
        CodecError: No file is so small.
        ImageError: The picture cannot be opened, or is over a limit.
        ValueError: An argument is out of range, or the array is not a picture.
        CheckpointError: As `load`.
    """
    return load().compress(picture, quality, None, scale, target_bpp, max_bytes, refine)


def decompress(data: "bytes | str | PathLike[str]") -> "Image":
    """Decompress a `.rae` file with the default checkpoint.

    Args:
        data: The content of the file, or its path.

    Returns:
        An RGB image, or an L image of a gray picture.

    Raises:
        CodecError: The file is damaged, or was made with another checkpoint.
        CheckpointError: As `load`.
    """
    return load().decompress(data)


def __getattr__(name: str) -> Any:
    """Import torch when the network is first asked for, not with the package."""
    if name == "ResidualAutoencoder":
        from residae.model import ResidualAutoencoder

        return ResidualAutoencoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
