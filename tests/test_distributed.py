"""Two processes share the files of a command, as `accelerate launch` starts them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from service import ROOT

from residae.cli import main
from residae.distributed import Processes
from residae.image import Pixels, write_png

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="PyTorch for Windows has no libuv for torch.distributed.run"
)

# As `sitecustomize`, Python runs it first in each of the two processes, but not in those that they start.
PATCH = """
import os
if "RANK" in os.environ:
    os.environ["PYTHONPATH"] = {root!r}
    {code}
"""

KILLED = """
    import signal
    from residae.pipeline import Pipeline

    encode, started = Pipeline.encode_and_write, []

    def encode_or_die(*arguments):
        started.append(1)
        if os.environ["RANK"] == "1" and len(started) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(*arguments)

    Pipeline.encode_and_write = encode_or_die
"""

EVALUATED_TOO = """
    import atexit
    import pathlib
    import residae.cli

    def end():  # after what residae registers
        import torch
        pathlib.Path({folder!r}, "joined-" + os.environ["RANK"]).write_text(repr(torch.distributed.is_initialized()))

    atexit.register(end)
    main = residae.cli.main

    def both():
        codes = main(), main({evaluate!r})
        pathlib.Path({folder!r}, "codes-" + os.environ["RANK"]).write_text(repr(codes))
        return 0

    residae.cli.main = both
"""


def _launch(code: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `accelerate launch --multi_gpu --num_processes 2 -m residae` with the arguments, each process after code."""
    (folder / "sitecustomize.py").write_text(PATCH.format(root=str(ROOT), code=code))
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli"]  # the script `accelerate`
    launch = [*accelerate, "launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", "-m", "residae"]
    # Neither the settings of whoever runs the tests nor their GPU.
    settings = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "HF_HOME": str(folder)}
    return subprocess.run(
        [*launch, *arguments],
        env=os.environ | settings | ({"ACCELERATE_USE_CPU": "1"} if torch.cuda.is_available() else {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_of_two_processes_goes_on_after_a_kill(
    checkpoint: Path,
    smooth: Callable[[int, int, int], Pixels],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was written before is whole and stays; the end is that of one process, with one table and one code."""
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    (pictures / "in").mkdir(parents=True)
    for number in range(7):
        (pictures / ("in" if number % 2 else ".") / f"{number}.png").write_bytes(
            write_png(smooth(20, 20 + number, number))
        )
    damaged = pictures / "6.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    assert main(["compress", str(pictures), "-o", str(tmp_path / "expected")]) == 1
    expected = _files(tmp_path / "expected")
    assert len(expected) == 6

    killed = _launch(KILLED, ["compress", str(pictures), "-o", str(out)], tmp_path)
    assert killed.returncode != 0
    first = _files(out)
    assert 0 < len(first) < 6
    assert first.items() < expected.items()
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.rae")}

    capsys.readouterr()
    assert main(["evaluate", str(pictures), "--quality", "50,90", "--json", str(tmp_path / "one.json")]) == 1
    one = json.loads((tmp_path / "one.json").read_text())
    files = ["--json", str(tmp_path / "two.json"), "--tsv", str(tmp_path / "two.tsv")]
    evaluate = ["evaluate", str(pictures), "--quality", "50,90", *files]
    too = EVALUATED_TOO.format(evaluate=evaluate, folder=str(tmp_path))
    done = _launch(too, ["compress", str(pictures), "-o", str(out), "--skip-existing"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert _files(out) == expected
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [(tmp_path / f"codes-{rank}").read_text() for rank in (0, 1)] == ["(1, 1)", "(0, 0)"]
    assert [(tmp_path / f"joined-{rank}").read_text() for rank in (0, 1)] == ["False", "False"]
    lines = done.stdout.splitlines()
    sums = [lines[i + 1].split() for i, line in enumerate(lines) if line.split()[:3] == ["done", "skipped", "failed"]]
    assert [row[:3] for row in sums] == [[str(6 - len(first)), str(len(first)), "1"]]
    assert done.stderr.count("6.png: ") == 1

    two = json.loads((tmp_path / "two.json").read_text())
    assert [_lasting(row) for row in two["pictures"]] == [_lasting(row) for row in one["pictures"]]
    assert two["inputs"] == one["inputs"]
    assert len([line for line in lines if line.startswith("mean of 6")]) == 2
    assert len((tmp_path / "two.tsv").read_text().splitlines()) == 1 + 2 * 6


def _lasting(row: dict[str, object]) -> dict[str, object]:
    """A row without its times."""
    times = ("encode", "decode", "entropy enc", "entropy dec")
    return {name: value for name, value in row.items() if name not in times}


@pytest.mark.parametrize("size", [None, "", "1"])
def test_a_process_that_is_alone(size: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    alone = Processes.join("cpu")
    assert (alone.is_first, alone.device) == (True, "cpu")
    assert alone.share([1, 2, 3]) == [1, 2, 3]
    assert alone.gather("x") == ["x"]
    assert alone.first_alone(lambda: "x") == alone.from_first(lambda: "x") == "x"


@pytest.mark.parametrize(
    ("asked", "found", "chosen"),
    [
        (None, "cpu", "cpu"),
        (None, "cuda:1", "cuda:1"),
        ("cuda", "cuda:1", "cuda:1"),
        ("cpu", "cpu", "cpu"),
        ("cuda", "cpu", "cuda"),  # for the engine to refuse
    ],
)
def test_the_device_of_a_process(asked: str | None, found: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace(process_index=1, num_processes=2, device=torch.device(found))
    monkeypatch.setattr("residae.distributed.join_processes", lambda cpu: state)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert Processes.join(asked) == Processes(1, 2, chosen)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shares_are_even_and_whole(count: int) -> None:
    items = [*range(7)]
    shares = [Processes(index, count).share(items) for index in range(count)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
