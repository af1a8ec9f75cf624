"""A picture opened in a process of its own: the same picture, or one sentence, whatever becomes of the process."""

import ctypes
import errno
import json
import os
import platform
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from test_image import (
    CUT,
    DAMAGED,
    FRAMES,
    NO_WARNINGS,
    NOT_PICTURES,
    OVER,
    PLAIN_PNG,
    png,
    repeated_scans,
    saved,
    swapped_profile,
)
from test_picture_values import BILEVEL, PHOTO, avif, codestream, gamma, jp2, tiff

from residae.errors import ImageError, OutOfMemoryError
from residae.image import FORMATS, MAX_FILE_BYTES, Picture, confinement, open_picture
from residae.image.process import ENDED, DecoderProcess

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has neither signals nor bounds on memory")
pytestmark = NO_WARNINGS

ROOT = Path(__file__).resolve().parent.parent
FAX = ("group3", "group4", "tiff_ccitt")
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

    def _start(self, *task: str) -> subprocess.Popen[bytes]:
        self.started.append(super()._start(*task))
        return self.started[-1]


REFUSED = {name: files[name] for files in (DAMAGED, NOT_PICTURES, OVER) for name in list(files)[::8]}


def assert_alike(files: dict[str, bytes]) -> None:
    """The process and our own one give the same picture or sentence. There are as many at a time as processors."""

    def different(names: list[str]) -> list[str]:
        with closing(DecoderProcess()) as decoder:
            return [
                name
                for name in names
                if outcome(decoder.open_picture, files[name]) != outcome(open_picture, files[name])
            ]

    count, names = os.cpu_count() or 1, list(files)
    with ThreadPoolExecutor(count) as pool:
        assert [*pool.map(different, (names[first::count] for first in range(count)))] == [[]] * count


@pytest.mark.parametrize("files", [CUT, FRAMES, REFUSED], ids=["good", "animated", "refused"])
def test_the_answer_is_that_of_our_own_process(files: dict[str, bytes]) -> None:
    assert_alike(files)


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


def test_a_refusal_carries_the_traceback_and_its_sentence_does_not(decoder: DecoderProcess) -> None:
    with pytest.raises(ImageError) as caught:
        decoder.open_picture(DAMAGED["corrupt zlib"])
    assert str(caught.value) == "The PNG file is damaged."
    (trace,) = caught.value.__notes__
    assert "zlib" in trace or "broken data stream" in trace
    assert "in open_picture" in trace


# --- Bounds ---


def test_a_picture_that_is_no_longer_wanted_is_given_up_and_the_next_one_opens(decoder: DecoderProcess) -> None:
    start = time.monotonic()

    def leave() -> None:
        if time.monotonic() - start > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        decoder.open_picture(ENDLESS, leave)
    assert time.monotonic() - start < 2
    assert decoder.open_picture(PLAIN_PNG).width == 9


def test_sizes_are_read_from_headers(decoder: DecoderProcess, tmp_path: Path) -> None:
    sources: list[bytes | Path] = [b"<html>", tmp_path / "none.png"]
    for width, format in enumerate(FORMATS, start=20):
        with (tmp_path / format).open("wb") as file:
            Image.new("RGB", (width, 30)).save(file, format)
        sources += [tmp_path / format, (tmp_path / format).read_bytes()]
    sizes = decoder.read_sizes(sources)
    assert sizes == [None, None, *((30, 20 + index // 2) for index in range(2 * len(FORMATS)))]


def test_sizes_that_are_no_longer_wanted_are_given_up(decoder: DecoderProcess) -> None:
    def leave() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        decoder.read_sizes([PLAIN_PNG] * 10_000, leave)


def test_sizes_are_those_read_within_the_time() -> None:
    with closing(DecoderProcess(seconds=0.01)) as decoder:
        assert decoder.read_sizes([PLAIN_PNG] * 10_000)[-1] is None


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


def test_a_picture_at_the_limit_fits_in_memory() -> None:
    decoder = DecoderProcess(seconds=120)  # of a machine that may be busy
    hidden, black = b"\0" * (1 + 4 * 8000), b"\0" + b"\0\0\0\xff" * 8000
    picture = decoder.open_picture(png(8000, 8000, 8, 6, 4000 * hidden + 4000 * black))
    assert picture.pixels[[0, -1], 0].tolist() == [255, 0]  # gray, of which there are two copies meanwhile
    decoder.close()


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


ATTEMPTS = """
import ctypes, json, os, signal, socket, sys
parent = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
ALLOWED = []

class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

def read_memory():
    here = ctypes.create_string_buffer(8)
    local, remote = Vector(ctypes.addressof(here), 8), Vector(int(sys.argv[3]), 8)
    if libc.process_vm_readv(parent, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")

def trace():
    if libc.ptrace(16, parent, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")

def connect():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 9))

ATTEMPTS = {
    "connect": connect,
    "connect to a socket of a file": lambda: socket.socket(socket.AF_UNIX).connect("/tmp/socket"),
    "open a file": lambda: open("/etc/passwd"),
    "write a file": lambda: open("/tmp/written", "w"),
    "list a folder": lambda: os.listdir("/"),
    "remove a file": lambda: os.unlink("/tmp/written"),
    "look at a file": lambda: os.stat("/etc/passwd"),
    "read the parent's environment": lambda: open(f"/proc/{parent}/environ"),
    "open the parent's memory": lambda: open(f"/proc/{parent}/mem"),
    "read the parent's memory": read_memory,
    "trace the parent": trace,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "fork": os.fork,
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "kill": lambda: os.kill(parent, 0),
    "kill all": lambda: os.kill(-1, 0),
    "lift a limit": lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_FSIZE, (9, 9)),
    "change user": lambda: os.setuid(1),
    "change root": lambda: os.chroot("/"),
    "make a pipe": os.pipe,
}

def attack(data):
    outcomes = {}
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
            outcomes[name] = "worked"
        except (PermissionError, ValueError):  # the latter of a limit
            outcomes[name] = "refused"
        except OSError as error:
            outcomes[name] = repr(error)
    from residae.errors import ImageError
    raise ImageError(json.dumps(outcomes))

import residae.errors, resource
import residae.image.process as process
process.open_picture = attack
process._serve(int(sys.argv[1]), float(sys.argv[2]))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "aarch64"),
    reason="only there a process is confined",
)
def test_a_decoder_that_is_taken_over_reaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries, in the place of a decoder, whatever user the tests run as."""
    secret = ctypes.create_string_buffer(b"secret")

    def start(decoder: DecoderProcess) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", ATTEMPTS, str(decoder.memory), "60", str(ctypes.addressof(secret))]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(DecoderProcess, "_start", start)
    decoder = DecoderProcess()
    with pytest.raises(ImageError) as caught:
        decoder.open_picture(PLAIN_PNG)
    decoder.close()
    outcomes = json.loads(str(caught.value))
    assert len(outcomes) == 20
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "refused"} == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there a process is confined")
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lets_through_what_is_listed_and_nothing_else(machine: str) -> None:
    """Its instructions run here, on every call of the kernel's table, as the kernel would run them."""
    code = confinement.filter_of(machine)
    steps = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]

    def verdict(architecture: int, call: int, argument: int) -> int:
        at = value = 0
        while True:
            operation, then, otherwise, operand = steps[at]
            at += 1
            if operation == confinement.LOAD:
                value = {confinement.NUMBER: call, confinement.ARCHITECTURE: architecture}.get(operand, argument)
            elif operation == confinement.AND:
                value &= operand
            elif operation == confinement.EQUAL:
                at += then if value == operand else otherwise
            else:
                return operand

    ours = confinement.AUDIT[machine]
    listed = set(confinement.CALLS[machine].values())
    special = {confinement.CLONE[machine], confinement.PRCTL[machine]}
    for call in (*range(600), 0x40000000, 0x40000001):
        allowed = verdict(ours, call, 0) == confinement.ALLOW
        assert allowed == (call in listed), call
        assert verdict(ours ^ 1, call, 0) != confinement.ALLOW
    for call, argument in zip(sorted(special), (0, 0), strict=True):
        assert verdict(ours, call, argument) != confinement.ALLOW
    assert verdict(ours, confinement.CLONE[machine], 0x3D0F00) == confinement.ALLOW  # as the C library starts a thread
    assert verdict(ours, confinement.CLONE[machine], 17) != confinement.ALLOW  # as it forks
    assert verdict(ours, confinement.PRCTL[machine], confinement.PR_SET_NAME) == confinement.ALLOW
    assert verdict(ours, confinement.CLONE3, 0) == confinement.FAIL | errno.ENOSYS


def test_where_the_kernel_offers_nothing_pictures_still_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert confinement.confine() is False


KINDS = {
    "16-bit PNG": png(4, 1, 16, 2, b"\0" + bytes(24), gamma(1)),
    "AVIF": avif(None, (12, 13, 6, 128)),
    "JPEG 2000 with a profile": jp2(codestream(np.full((8, 8, 3), 9, np.uint8)), b"\2\0\0" + swapped_profile()),
    "16-bit TIFF with a profile": tiff(np.full((8, 8, 3), 9000, np.uint16), "rgb", iccprofile=swapped_profile()),
    **{
        f"TIFF of {name}": saved(BILEVEL if name in FAX else PHOTO, "TIFF", compression=name)
        for name in (*FAX, "raw", "tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate", "lzma", "zstd")
    },
    **{
        f"TIFF of {name}": tiff(np.asarray(PHOTO), "rgb", compression=name)
        for name in ("jpeg2000", "lerc", "jpegxl", "png", "webp")
    },
}


def test_what_a_format_needs_is_there_before_the_process_is_confined() -> None:
    for data in KINDS.values():
        open_picture(data)  # it opens
    assert_alike(KINDS)


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
SOUND_ANSWER = """print('{"shape": [1, 1, 3], "notices": ["sound"]}', 'xxx', sep='\\n', end='')"""


@pytest.mark.parametrize(
    ("answer", "data"),
    [*((answer, PLAIN_PNG) for answer in ANSWERS.values()), (ANSWERS["no reading"], PLAIN_PNG + bytes(10**6))],
    ids=[*ANSWERS, "no reading of more than a pipe holds"],
)
def test_no_answer_is_believed_unless_it_makes_sense(answer: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter((answer, SOUND_ANSWER))

    def start(_: DecoderProcess) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", "-c", f"import sys\n{next(answers, SOUND_ANSWER)}"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    monkeypatch.setattr(DecoderProcess, "_start", start)
    with closing(DecoderProcess()) as decoder:
        with pytest.raises(ImageError) as caught:
            decoder.open_picture(data)
        assert str(caught.value) == ENDED
        assert decoder.open_picture(PLAIN_PNG).notices == ("sound",)


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
