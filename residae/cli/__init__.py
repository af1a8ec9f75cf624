"""The command line: parse the arguments, make one call, return an exit code.

Importing this package imports no torch, which takes seconds: each command imports what it needs when it runs.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from residae import malloc
from residae.cli import explore, files, make, measure, serve
from residae.cli.exit_codes import BAD_INPUT, PIPE_CLOSED, SIGNALED, exit_code
from residae.errors import ResidaeError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Ended by Ctrl-C, SIGTERM or a terminal that closes, it leaves no partial file behind.

    Args:
        arguments: The command and its arguments; those of the process if None.

    Returns:
        The exit code: 0 for success, else as in `residae.cli.exit_codes`.

    Raises:
        SystemExit: With code 2 for arguments that do not parse, with 0 after `--help`, or on SIGTERM and SIGHUP.
    """
    malloc.tune_malloc()
    malloc.limit_primitive_cache()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file need not be valid text
    try:
        try:
            return _run(arguments)
        finally:
            _flush()
    except BrokenPipeError:  # the reader (e.g. head) closed the pipe
        return PIPE_CLOSED
    except OSError as error:  # one that no ResidaeError describes, for example a full disk
        print(f"residae: {error}", file=sys.stderr)
        return BAD_INPUT


def _flush() -> None:
    """Flush standard output here, where an error can still be reported, and not when Python exits."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it exits
        raise


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="residae", description="A pipeline for one residual autoencoder.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (files, explore, measure, make, serve):
        group.add_commands(commands)
    parsed = parser.parse_args(arguments)
    try:
        with _exit_on_signals():
            code: int | None = parsed.command(parsed)
            return code or 0
    except ResidaeError as error:
        print(f"residae: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return SIGNALED + signal.SIGINT


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that every `finally` runs. SIGHUP stays ignored under nohup."""
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    caught = [number for number in numbers if before[number] != signal.SIG_IGN]
    for number in caught:
        signal.signal(number, lambda number, _: sys.exit(SIGNALED + number))
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number] or signal.SIG_DFL)
