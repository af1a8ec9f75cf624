"""What can go wrong for reasons a user can act on. Every message is one sentence in the user's words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager


class ResidaeError(Exception):
    """Any failure that the user can understand and act on."""


class ImageError(ResidaeError):
    """The input is not a picture that can be opened, or is over a limit."""


class OutOfMemoryError(ResidaeError):
    """The work takes more memory than there is."""


class CheckpointError(ResidaeError):
    """The weights cannot be found, or do not fit the network they claim to be for."""


class TrainingError(ResidaeError):
    """A training run cannot start, go on or end as it was asked to."""


class CodecError(ResidaeError):
    """The compressed file is damaged, foreign, or made by another checkpoint."""


class SizeError(CodecError):
    """No file of the picture is as small as it was asked to be."""


NO_MEMORY = re.compile(
    "out of memory"  # torch of a GPU
    "|allocate memory"  # torch of a CPU
    "|not enough memory"  # the same on Windows
    "|could not create a primitive(?! descriptor)"  # oneDNN; of a descriptor, where it cannot do what is asked
)

TOO_LITTLE_MEMORY = "The work takes more memory than there is."


@contextmanager
def translate_oom() -> Iterator[None]:
    """Re-raise out-of-memory errors as OutOfMemoryError. torch and oneDNN raise RuntimeError, known by its message.

    Raises:
        OutOfMemoryError: In place of a MemoryError, or of a RuntimeError whose message speaks of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
            raise OutOfMemoryError(TOO_LITTLE_MEMORY) from error
        raise
