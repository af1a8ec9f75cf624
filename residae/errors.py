"""What can go wrong for reasons a user can act on. Every message is one sentence in the user's words."""


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
