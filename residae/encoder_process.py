"""Run the baselines and the metrics of a comparison in a process that can be ended in the middle of any of them.

The process is given the original once, then answers one request after another: a line of JSON each, with files and
pixels behind it as they are. Nothing of this comes from strangers but the pixels.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import numpy as np

from residae.baselines import CODECS, CodedPicture, compress_within
from residae.errors import TOO_LITTLE_MEMORY, OutOfMemoryError, ResidaeError, translate_oom
from residae.image import Pixels
from residae.metrics import ms_ssim, psnr, ssim, ssimulacra2
from residae.progress import Progress, raise_if_cancelled

POLL_SECONDS = 0.1  # between two calls of the progress, which may raise
METRICS = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim, "ssimulacra2": ssimulacra2}
NO_MEMORY = 4  # exit code of the process where an allocation fails
T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent


class EncoderProcess:
    """Codes one picture with the baselines. As a context manager it ends the process.

    Args:
        original: (H, W) or (H, W, 3) uint8.
    """

    def __init__(self, original: Pixels) -> None:
        self.original = original
        command = [sys.executable, "-m", "residae.encoder_process", *map(str, original.shape)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._send(np.ascontiguousarray(original).data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def compress_within(
        self,
        codec: str,
        max_bytes: int,
        progress: Progress | None,
        effort: int | None = None,
        steps: tuple[int, int] | None = None,
    ) -> CodedPicture | None:
        """As `residae.baselines.compress_within`.

        Args:
            codec: A name among CODECS.
            max_bytes: As there.
            progress: Called several times a second; it may raise, which ends the process.
            effort: As in `Baseline.at_effort`; the codec's default if None.
            steps: As there.

        Returns:
            As there: None if the codec cannot make so small a file.

        Raises:
            OutOfMemoryError: Memory ran out, or a signal ended the process.
            ResidaeError: The process ended by itself.
        """
        return self._ask(
            {"codec": codec, "max_bytes": max_bytes, "effort": effort, "steps": steps}, progress, self._read_coded
        )

    def measure(self, pixels: Pixels, metrics: Sequence[str], progress: Progress | None) -> list[float]:
        """Metrics of pixels and the original.

        Args:
            pixels: Of the original's shape.
            metrics: Names among METRICS.
            progress: As in `compress_within`.

        Returns:
            The value of each metric, in the order of `metrics`.

        Raises:
            OutOfMemoryError: As `compress_within`.
            ResidaeError: As `compress_within`.
        """
        return self._ask({"metrics": metrics}, progress, lambda answer, _: answer["values"], pixels)

    def _read_coded(self, answer: dict[str, Any], pipe: IO[bytes]) -> CodedPicture | None:
        if not answer["found"]:
            return None
        data = pipe.read(answer["bytes"])
        pixels = np.frombuffer(pipe.read(int(np.prod(self.original.shape))), np.uint8).reshape(self.original.shape)
        return CodedPicture(data, pixels, answer["quality"], answer["encode_seconds"], answer["decode_seconds"])

    def _ask(
        self,
        request: dict[str, Any],
        progress: Progress | None,
        read: Callable[[dict[str, Any], IO[bytes]], T],
        pixels: Pixels | None = None,
    ) -> T:
        answers: queue.SimpleQueue[float | tuple[T] | Exception] = queue.SimpleQueue()
        pipe = self._process.stdout
        assert pipe

        def listen() -> None:
            try:
                while "share" in (answer := json.loads(pipe.readline())):
                    answers.put(answer["share"])
                answers.put((read(answer, pipe),))
            except (ValueError, KeyError) as error:  # it ended before or within its answer
                answers.put(error)

        self._send(json.dumps(request).encode() + b"\n")
        if pixels is not None:
            self._send(np.ascontiguousarray(pixels).data)
        thread = threading.Thread(target=listen)
        thread.start()
        share = 0.001
        try:
            while True:
                with suppress(queue.Empty):
                    answer = answers.get(timeout=POLL_SECONDS)
                    if isinstance(answer, tuple):
                        return answer[0]
                    if isinstance(answer, Exception):
                        raise self._ended() from answer
                    share = answer
                raise_if_cancelled()
                if progress:
                    progress(share)
        except BaseException:
            self._process.kill()
            raise
        finally:
            thread.join()

    def _ended(self) -> ResidaeError:
        """What is known of the end of the process."""
        code = self._process.wait()
        if code == NO_MEMORY:
            return OutOfMemoryError(TOO_LITTLE_MEMORY)
        if code < 0:  # the number of the signal
            return OutOfMemoryError("The comparison was stopped, probably because memory ran out: try again later.")
        return ResidaeError("The comparison ended by itself before it was done: try again.")

    def _send(self, data: bytes | memoryview) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it ended, which its answer will tell
            self._process.stdin.write(data)
            self._process.stdin.flush()


def _serve(shape: tuple[int, ...]) -> None:
    """Answer requests until standard input ends."""
    with suppress(OSError):  # where the kernel runs short, it is to end this process rather than the page
        Path("/proc/self/oom_score_adj").write_text("1000")
    requests, answers = sys.stdin.buffer, sys.stdout.buffer

    def answer(**facts: object) -> None:
        answers.write(json.dumps(facts).encode() + b"\n")
        answers.flush()

    original = np.empty(shape, np.uint8)
    _fill(original, requests)
    for line in requests:
        request = json.loads(line)
        if "metrics" in request:
            pixels = np.empty(shape, np.uint8)
            _fill(pixels, requests)
            answer(values=[METRICS[name](original, pixels) for name in request["metrics"]])
            continue
        baseline, effort, steps = CODECS[request["codec"]], request["effort"], request["steps"]
        if effort is not None:
            baseline = baseline.at_effort(effort)
        coded = compress_within(original, baseline, request["max_bytes"], lambda share: answer(share=share), steps)
        if coded is None:
            answer(found=False)
            continue
        seconds = {"encode_seconds": coded.encode_seconds, "decode_seconds": coded.decode_seconds}
        answer(found=True, bytes=len(coded.data), quality=coded.quality, **seconds)
        answers.write(coded.data)
        answers.write(np.ascontiguousarray(coded.pixels).data)
        answers.flush()


def _fill(array: Pixels, pipe: IO[bytes]) -> None:
    """Read the pixels of an array."""
    view = array.data.cast("B")
    while view:
        count = pipe.readinto(view)  # type: ignore[attr-defined]
        if not count:
            sys.exit()
        view = view[count:]


if __name__ == "__main__":
    try:
        with translate_oom():
            _serve(tuple(map(int, sys.argv[1:])))
    except OutOfMemoryError:
        sys.exit(NO_MEMORY)
