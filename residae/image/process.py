"""Open a picture from a stranger in a process of its own, with a bound on its time and memory, and confined.

A process opens one picture and ends: a decoder that it brings down takes nothing with it, and no process ever holds
what another person's picture has left in memory. The next is started once one is done, so that nobody waits for it.
Before it decodes anything it is confined to computing, on Linux, so that a decoder that is taken over reaches nothing.
The sizes of many pictures of one person are read from their headers in one such process.

It is given the file's length in a line and the file on its standard input, and answers with a line of JSON and the
pixels, of which nothing is believed before it is checked. It does not wait for the end of its input: a fork of the
program, as on ZeroGPU, holds the pipe of the process that waits, and may never close it. The bound on memory holds on
Linux, that on time everywhere.
"""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import numpy as np
from PIL import Image

from residae.errors import ImageError, OutOfMemoryError
from residae.geometry import MAX_PIXELS
from residae.image.confinement import confine
from residae.image.formats import open_picture, prepare, read_picture, read_size
from residae.image.picture import Picture

SECONDS = 30.0  # lossless JPEG 2000 at the limits of pixels and bytes takes about half of it
MEMORY = 2 * 2**30  # bytes; WebP with alpha of 64 megapixels, turned and with a profile, takes 1.8 GiB
POLL_SECONDS = 0.1  # between two looks at whether the picture is still wanted

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = "sizes"  # the task of a process that reads headers
HEAD_BYTES = 2**16  # at most, of an answer before the pixels
INHERITED = ("LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT")  # and no tokens
SINGLE = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads lay claim to memory that they do not use

ENDED = "The picture cannot be opened: the decoder crashed, because the file is damaged or memory ran out."


class DecoderProcess:
    """Open pictures, each in a process of its own. Several threads may share it; they take turns.

    Nothing is started before the first picture.

    Args:
        seconds: Limit on the time of one picture.
        memory: Limit on the address space of the process, in bytes (Linux).
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds = seconds
        self.memory = memory
        self._lock = threading.Lock()
        self._spare: subprocess.Popen[bytes] | None = None

    def open_picture(self, source: bytes | str | os.PathLike[str], check: Callable[[], None] | None = None) -> Picture:
        """As `residae.image.open_picture`.

        Args:
            source: As there.
            check: Called several times a second; it may raise, which ends the process.

        Returns:
            As there.

        Raises:
            ImageError: As there, and also where the picture exceeds a limit or the process dies.
            OutOfMemoryError: The machine cannot start another process.
        """
        data = read_picture(source)
        with self._lock:
            try:
                with self._take() as process:
                    return self._ask(process, data, check)
            finally:
                with suppress(OutOfMemoryError):  # the next picture will say so
                    self._spare = self._start()

    def read_sizes(
        self, sources: Sequence[bytes | str | os.PathLike[str]], check: Callable[[], None] | None = None
    ) -> list[tuple[int, int] | None]:
        """The height and width that the headers of picture files state; None where that cannot be told.

        Args:
            sources: As in `open_picture`.
            check: As there.

        Raises:
            OutOfMemoryError: As `open_picture`.
        """
        sizes: list[tuple[int, int] | None] = [None] * len(sources)
        with (
            suppress(ImageError),  # its time is over
            self._start(SIZES) as process,
            self._watching(process, check),
            suppress(OSError),  # it died before it read all
            cast(IO[bytes], process.stdin) as pipe,
        ):
            for index, source in enumerate(sources):
                with suppress(ImageError, ValueError, TypeError):  # a file or an answer that is none
                    data = read_picture(source)
                    pipe.write(b"%d\n" % len(data))
                    pipe.write(data)
                    pipe.flush()
                    height, width = json.loads(cast(IO[bytes], process.stdout).readline(HEAD_BYTES))
                    sizes[index] = int(height), int(width)
        return sizes

    def close(self) -> None:
        """End the waiting process. Opening another picture starts a new one."""
        with self._lock:
            if self._spare:
                self._spare.kill()
                self._spare.communicate()
                self._spare = None

    def _take(self) -> subprocess.Popen[bytes]:
        spare, self._spare = self._spare, None
        if spare and spare.poll() is None:
            return spare
        if spare:
            spare.communicate()
        return self._start()

    def _start(self, *task: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "residae.image.process", str(self.memory), str(self.seconds), *task]
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | SINGLE
        try:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C would reach it too
            )
        except OSError as error:
            raise OutOfMemoryError("There is no memory left to open the picture with: try again later.") from error

    def _ask(self, process: subprocess.Popen[bytes], data: bytes, check: Callable[[], None] | None) -> Picture:
        with self._watching(process, check):
            try:
                assert process.stdin
                with suppress(OSError), process.stdin as pipe:  # it may have died before it read all
                    pipe.write(b"%d\n" % len(data))
                    pipe.write(data)
                return self._answer(process, len(data))
            except ImageError:
                raise
            except Exception as error:  # whatever an answer is that is none
                process.kill()
                error.add_note(f"The process that opened the picture ended with {process.wait()}.")
                raise ImageError(ENDED) from error

    @contextmanager
    def _watching(self, process: subprocess.Popen[bytes], check: Callable[[], None] | None) -> Iterator[None]:
        """End the process after the block, when its time is over, or when `check` raises, with what it raises."""
        done, reason = threading.Event(), list[Exception]()
        deadline = time.monotonic() + self.seconds

        def watch() -> None:
            try:
                while not done.wait(min(POLL_SECONDS, self.seconds)):
                    if time.monotonic() > deadline:
                        raise ImageError(f"The picture takes longer to open than the limit of {self.seconds:g} s.")
                    if check:
                        check()
            except Exception as error:
                reason.append(error)
                process.kill()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            process.kill()
            if reason:
                raise reason[0]

    def _answer(self, process: subprocess.Popen[bytes], file_bytes: int) -> Picture:
        """What the process says, held to the form that it has when all is well. Any exception where it is not."""
        answer = cast(io.BufferedReader, process.stdout)
        head = json.loads(answer.readline(HEAD_BYTES))
        if "error" in head:
            limit = f"The picture takes more memory to open than the limit of {self.memory / 2**30:.3g} GiB."
            words = {ImageError.__name__: head["message"], OutOfMemoryError.__name__: limit}
            refusal = ImageError(words.get(head["error"], ENDED))
            refusal.add_note(head["trace"])
            raise refusal
        height, width, *channels = head["shape"]
        if min(height, width) <= 0 or height * width > MAX_PIXELS or channels not in ([], [3]):
            raise ValueError(f"pixels of shape {head['shape']}")
        pixels = np.empty((height, width, *channels), np.uint8)
        if answer.readinto(pixels.data.cast("B")) < pixels.size:
            raise EOFError("fewer pixels than announced")
        return Picture(pixels, tuple(str(notice) for notice in head["notices"]), file_bytes)


def _serve(memory: int, seconds: float, task: str = "") -> None:
    """Open the picture on standard input, or tell the sizes of many."""
    with os.fdopen(os.dup(1), "wb") as answer:
        _bound(memory, seconds)
        for stream in (1, 2):  # what a decoder prints is no answer, and is not to fill a log
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        if task == SIZES:
            Image.init()  # what reading headers would import
            confine()
            while line := sys.stdin.buffer.readline():
                answer.write(json.dumps(read_size(sys.stdin.buffer.read(int(line)))).encode() + b"\n")
                answer.flush()
            return
        Image.preinit()  # what opening a picture would import
        try:
            data = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
            if hasattr(signal, "setitimer"):  # not on Windows
                signal.setitimer(signal.ITIMER_REAL, 2 * seconds)  # ends it, should nobody be left to do so
            prepare(data)
            confine()
            picture = open_picture(data)
            head: dict[str, object] = {"shape": picture.pixels.shape, "notices": picture.notices}
            pixels = np.ascontiguousarray(picture.pixels).data
        except Exception as error:
            trace = traceback.format_exc()[-HEAD_BYTES // 4 :]  # JSON may take two bytes for one, and more
            head = {"error": type(error).__name__, "message": str(error), "trace": trace}
            pixels = memoryview(b"")
        answer.write(json.dumps(head).encode() + b"\n")
        answer.write(pixels)


def _bound(memory: int, seconds: float) -> None:
    with suppress(OSError):  # where the kernel runs short, it is to end this process rather than another
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        import resource
    except ImportError:  # Windows
        return
    bounds = {
        "RLIMIT_AS": memory,
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": int(4 * seconds) + 1,  # threads add up
        "RLIMIT_FSIZE": 0,
    }
    for name, bound in bounds.items():
        with suppress(OSError, ValueError):  # macOS knows the bound on memory, and refuses it
            resource.setrlimit(getattr(resource, name), (bound, bound))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])
