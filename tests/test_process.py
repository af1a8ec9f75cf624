"""A picture opened in a process of its own: the same picture, or one sentence, whatever becomes of the process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from test_image import CUT, DAMAGED, FRAMES, NOT_PICTURES, OVER, PLAIN_PNG, png, repeated_scans, saved

from residae.errors import ImageError, OutOfMemoryError
from residae.image import MAX_FILE_BYTES, Picture, open_picture
from residae.image.process import ENDED, DecoderProcess

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has neither signals nor bounds on memory")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

ROOT = Path(__file__).resolve().parent.parent
ENDLESS = repeated_scans(8000, 3000)  # half a megabyte that takes minutes


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecoderProcess]:
    decoder = DecoderProcess()
    yield decoder
    decoder.close()


def outcome(opened: Callable[[bytes], Picture], data: bytes) -> tuple[object, ...]:
    try:
        picture = opened(data)
    except ImageError as error:
        return (str(error),)
    return picture.pixels.shape, picture.pixels.tobytes(), picture.notices, picture.file_bytes


class Watched(DecoderProcess):
    """Keeps every process that it has started."""

    def __init__(self, **bounds: Any) -> None:
        super().__init__(**bounds)
        self.started: list[subprocess.Popen[bytes]] = []

    def _start(self) -> subprocess.Popen[bytes]:
        self.started.append(super()._start())
        return self.started[-1]


REFUSED = {name: files[name] for files in (DAMAGED, NOT_PICTURES, OVER) for name in list(files)[::8]}


@pytest.mark.parametrize("files", [CUT, FRAMES, REFUSED], ids=["good", "animated", "refused"])
def test_the_answer_is_that_of_our_own_process(decoder: DecoderProcess, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        assert outcome(decoder.open_picture, data) == outcome(open_picture, data), name


def test_a_path_is_read_here(decoder: DecoderProcess, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(PLAIN_PNG)
    assert np.array_equal(decoder.open_picture(tmp_path / "picture").pixels, open_picture(PLAIN_PNG).pixels)
    for path in (tmp_path, tmp_path / "missing", "nul\0"):
        with pytest.raises(ImageError, match="cannot be read"):
            decoder.open_picture(path)


def test_what_is_no_picture_starts_no_process() -> None:
    decoder = DecoderProcess()
    for data in (b"", b"<html>", PLAIN_PNG.ljust(MAX_FILE_BYTES + 1, b"\0")):
        with pytest.raises(ImageError):
            decoder.open_picture(data)
    assert decoder._spare is None


def test_the_log_has_the_traceback_and_the_sentence_has_not(
    decoder: DecoderProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ImageError) as caught:
        decoder.open_picture(DAMAGED["corrupt zlib"])
    assert str(caught.value) == "The PNG file is damaged."
    assert "zlib" in caplog.text or "broken data stream" in caplog.text
    assert "in open_picture" in caplog.text


# --- Bounds ---


def test_time_is_bounded_and_the_next_picture_opens() -> None:
    decoder = DecoderProcess(seconds=1)
    with pytest.raises(ImageError, match="takes longer to open than the limit of 1 s"):
        decoder.open_picture(ENDLESS)
    decoder.seconds = 60
    assert decoder.open_picture(PLAIN_PNG).width == 9
    decoder.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux bounds the memory of a process")
def test_memory_is_bounded_and_the_next_picture_opens() -> None:
    decoder = DecoderProcess(memory=160 * 2**20)
    with pytest.raises(ImageError, match=r"^The picture takes more memory to open than the limit of 0\.156 GiB\."):
        decoder.open_picture(png(8000, 8000, 8, 0, bytes(8000 * 8001)))
    assert decoder.open_picture(PLAIN_PNG).width == 9
    decoder.close()


def test_a_picture_at_the_limit_fits(decoder: DecoderProcess) -> None:
    hidden, black = b"\0" * (1 + 4 * 8000), b"\0" + b"\0\0\0\xff" * 8000
    picture = decoder.open_picture(png(8000, 8000, 8, 6, 4000 * hidden + 4000 * black))
    assert picture.pixels[[0, -1], 0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux tells of a process")
def test_the_process_is_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    decoder = Watched(seconds=7, memory=2**30)
    decoder.open_picture(PLAIN_PNG)
    spare = decoder.started[-1]
    about = Path(f"/proc/{spare.pid}")
    while str((about / "fd" / "2").readlink()) != os.devnull:
        time.sleep(0.01)  # it is still starting
    assert (about / "oom_score_adj").read_text() == "1000\n"
    assert b"HF_TOKEN" not in (about / "environ").read_bytes()
    limits = {line[:25].strip(): line[25:].split()[:2] for line in (about / "limits").read_text().splitlines()}
    assert limits["Max address space"] == [str(2**30)] * 2
    assert limits["Max cpu time"] == ["29"] * 2
    assert limits["Max core file size"] == limits["Max file size"] == ["0"] * 2
    assert os.getsid(spare.pid) == spare.pid
    decoder.close()


# --- Whatever becomes of the process ---


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_process_that_is_killed_at_work(number: signal.Signals) -> None:
    decoder = Watched()
    caught: list[ImageError] = []

    def work() -> None:
        try:
            decoder.open_picture(ENDLESS)
        except ImageError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not decoder.started:
        time.sleep(0.01)
    decoder.started[0].send_signal(number)
    thread.join()
    assert str(caught[0]) == ENDED
    assert f"ended with {-number}" in str(caught[0].__cause__.__notes__)  # type: ignore[union-attr]
    assert decoder.open_picture(PLAIN_PNG).width == 9
    decoder.close()


def test_a_process_that_is_killed_while_it_waits() -> None:
    decoder = Watched()
    decoder.open_picture(PLAIN_PNG)
    decoder.started[-1].kill()
    decoder.started[-1].wait()
    assert decoder.open_picture(PLAIN_PNG).width == 9
    decoder.close()


ANSWERS = {
    "none": "",
    "an exception": "1 / 0",
    "death": "import os; os.abort()",
    "no reading": "sys.stdin.close()",
    "no JSON": "print('hello')",
    "another JSON": "print('[]')",
    "half a line": "print('{\"shape\": [1, 1', end='')",
    "no end of line": "while True: print('x' * 1000, end='')",
    "no pixels": """print('{"shape": [1, 1, 3], "notices": []}')""",
    "too few pixels": """print('{"shape": [1, 1, 3], "notices": []}', 'xx', sep='\\n', end='')""",
    "no area": """print('{"shape": [0, 5], "notices": []}')""",
    "negative sides": """print('{"shape": [-5, -5], "notices": []}', 'x' * 25, sep='\\n')""",
    "a shape of words": """print('{"shape": ["1", "1"], "notices": []}', 'x', sep='\\n')""",
    "a shape of halves": """print('{"shape": [1.5, 2], "notices": []}', 'xxx', sep='\\n')""",
    "four channels": """print('{"shape": [1, 1, 4], "notices": []}', 'xxxx', sep='\\n')""",
    "more pixels than there may be": """print('{"shape": [65500, 65500, 3], "notices": []}')""",
    "no notices": """print('{"shape": [1, 1]}', 'x', sep='\\n')""",
    "an unknown error": """print('{"error": "ZeroDivisionError", "message": "inner words", "trace": ""}')""",
    "half an error": """print('{"error": "ImageError"}')""",
}


@pytest.mark.parametrize(
    ("answer", "data"),
    [*((answer, PLAIN_PNG) for answer in ANSWERS.values()), (ANSWERS["no reading"], PLAIN_PNG + bytes(10**6))],
    ids=[*ANSWERS, "no reading of more than a pipe holds"],
)
def test_no_answer_is_believed_unless_it_makes_sense(answer: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: DecoderProcess) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", "-c", f"import sys\n{answer}"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    with monkeypatch.context() as patch:
        patch.setattr(DecoderProcess, "_start", start)
        decoder = DecoderProcess()
        with pytest.raises(ImageError) as caught:
            decoder.open_picture(data)
        assert str(caught.value) == ENDED
        decoder.close()
    assert decoder.open_picture(PLAIN_PNG).width == 9
    decoder.close()


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    decoder = DecoderProcess()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", fail)
        with pytest.raises(OutOfMemoryError, match="no memory left"):
            decoder.open_picture(PLAIN_PNG)
    assert decoder.open_picture(PLAIN_PNG).width == 9
    decoder.close()


def test_a_fork_that_holds_the_pipe_delays_nothing() -> None:
    """ZeroGPU forks the page for each loan and keeps what it has forked, with the pipes of the process that waits."""
    decoder = DecoderProcess()
    decoder.open_picture(PLAIN_PNG)
    assert decoder._spare
    assert decoder._spare.stdin
    held = os.dup(decoder._spare.stdin.fileno())
    try:
        assert decoder.open_picture(PLAIN_PNG).width == 9
    finally:
        os.close(held)
    decoder.close()


# --- Many at once ---


def test_threads_share_it_and_each_gets_its_own(smooth: Callable[[int, int, int], np.ndarray]) -> None:
    decoder = Watched()
    pictures = [smooth(40, 60, seed) for seed in range(8)]
    found: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        found[number] = decoder.open_picture(saved(pictures[number], "PNG")).pixels

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[number], pictures[number]) for number in range(8))
    assert [process.poll() is None for process in decoder.started] == [False] * 8 + [True]  # which waits for the next
    decoder.close()
    assert decoder.started[-1].poll() is not None


def test_nothing_is_left_when_the_program_ends() -> None:
    code = (
        "from residae.image.process import DecoderProcess\nimport sys\ndecoder = DecoderProcess()\n"
        "decoder.open_picture(sys.stdin.buffer.read())\nprint(decoder._spare.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=PLAIN_PNG, cwd=ROOT, capture_output=True, check=True)
    assert done.stderr == b""
    wait_for_end(int(done.stdout))


@posix
def test_a_picture_at_work_does_not_outlive_the_program_for_long(tmp_path: Path) -> None:
    """With nobody left to end it, it ends by itself, however little of the processor it gets."""
    (tmp_path / "endless").write_bytes(b"%d\n" % len(ENDLESS) + ENDLESS)
    with (tmp_path / "endless").open("rb") as file:
        command = [sys.executable, "-m", "residae.image.process", str(2**31), "0.5"]
        done = subprocess.run(command, cwd=ROOT, stdin=file, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == -signal.SIGALRM


def wait_for_end(process: int) -> None:
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
