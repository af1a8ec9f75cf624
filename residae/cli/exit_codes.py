"""Exit codes of the command line. Code 2, for arguments that do not parse, comes from argparse itself."""

from residae.errors import CheckpointError, OutOfMemoryError, ResidaeError

BAD_INPUT, BAD_CHECKPOINT, OUT_OF_MEMORY = 1, 3, 4
SIGNALED = 128  # plus the number of the signal, as in shells
PIPE_CLOSED = SIGNALED + 13  # SIGPIPE, which `signal` lacks on Windows


def exit_code(error: ResidaeError) -> int:
    """The exit code of a command that failed with this error."""
    if isinstance(error, CheckpointError):
        return BAD_CHECKPOINT
    return OUT_OF_MEMORY if isinstance(error, OutOfMemoryError) else BAD_INPUT
