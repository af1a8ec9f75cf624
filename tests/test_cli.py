"""The command line: its output and its exit codes."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from residae.cli import main
from residae.errors import CheckpointError, OutOfMemoryError, ResidaeError, TrainingError
from residae.evaluate import evaluate
from residae.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent


def test_evaluate_prints_each_picture_and_the_mean(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(folder), "--checkpoint", str(checkpoint)]) == 0
    printed = capsys.readouterr()
    title, head, *rows = printed.out.splitlines()
    pipeline = Pipeline.open(checkpoint)
    assert title.startswith(f"tiny on {pipeline.engine.description}; luma")
    assert head.split()[:6] == ["picture", "setting", "bytes", "bpp", "PSNR", "SSIM"]
    (a,), (b,), (c,) = evaluate(pipeline, folder)
    assert [row.split()[:-4] for row in rows] == [  # less the times
        ["a.png", "unquantized", "-", "-", f"{a.psnr:.2f}", f"{a.ssim:.4f}", "-"],
        ["b.png", "unquantized", "-", "-", f"{b.psnr:.2f}", f"{b.ssim:.4f}", "-"],
        ["more/c.png", "unquantized", "-", "-", f"{c.psnr:.2f}", f"{c.ssim:.4f}", "-"],
        [
            "mean",
            "of",
            "3",
            "unquantized",
            "-",
            "-",
            f"{(a.psnr + b.psnr + c.psnr) / 3:.2f}",
            f"{(a.ssim + b.ssim + c.ssim) / 3:.4f}",
            "-",
        ],
    ]
    assert len({len(line) for line in (head, *rows)}) == 1  # columns line up
    assert printed.err == ""


def test_evaluate_takes_the_checkpoint_of_the_environment(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    assert main(["evaluate", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("tiny on ")


def test_evaluate_reads_standard_input(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(folder / "a.png"), "--checkpoint", str(checkpoint)]) == 0
    named = capsys.readouterr().out.splitlines()[2].split()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "a.png").read_bytes())))
    assert main(["evaluate", "-", "--checkpoint", str(checkpoint)]) == 0
    piped = capsys.readouterr().out.splitlines()[2].split()
    assert (named[0], piped[0]) == ("a.png", "-")
    assert piped[1:6] == named[1:6]


def test_folder_without_pictures(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path), "--checkpoint", str(checkpoint)]) == 1
    assert capsys.readouterr().err == f"residae: {tmp_path}: There is no file of this kind in the folder.\n"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])  # one of them is not the default
def test_evaluation_in_a_precision(
    checkpoint: Path, folder: Path, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(folder), "--checkpoint", str(checkpoint), "--dtype", dtype]) == 0
    assert f", {dtype}; luma" in capsys.readouterr().out


def test_evaluation_of_a_file_that_is_no_picture(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(folder / "README.md"), "--checkpoint", str(checkpoint)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"residae: {folder / 'README.md'} is skipped: The file is not a picture")


def test_evaluation_of_more_than_fits_the_memory(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode(*_: object, scale: float) -> None:
        raise OutOfMemoryError("Memory is full.")

    monkeypatch.setattr(Pipeline, "encode", encode)
    assert main(["evaluate", str(folder / "a.png"), "--checkpoint", str(checkpoint)]) == 4
    assert capsys.readouterr().err == f"residae: {folder / 'a.png'} is skipped: Memory is full.\n"


def test_missing_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(folder), "--checkpoint", "nowhere"]) == 3
    assert capsys.readouterr().err == "residae: There is no checkpoint folder nowhere.\n"


@pytest.mark.parametrize("command", ["compress", "decompress", "reconstruct", "compare", "evaluate", "bench"])
def test_a_missing_gpu(
    command: str,
    checkpoint: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    output = ["-o", str(tmp_path / "result")] if command in ("compress", "decompress") else []
    inputs = [] if command == "bench" else [str(folder / "a.png")]
    assert main([command, *inputs, *output, "--device", "cuda"]) == 1
    assert capsys.readouterr().err == "residae: There is no GPU here that PyTorch can use.\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--crop", "100"], "Crops must be positive multiples of 16"),
        (["--minutes", "1"], "Warm-up and decay must fit into the run"),
        ([], "There is no picture to train on in this folder."),
    ],
)
def test_training_that_cannot_start(
    options: list[str], sentence: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(tmp_path), "--run", str(tmp_path / "run"), "--output", str(tmp_path / "output")]
    assert main(["train", *folders, "--start", str(checkpoint), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"residae: {sentence}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(("kind", "code"), [(CheckpointError, 3), (OutOfMemoryError, 4), (TrainingError, 1)])
def test_exit_codes(
    kind: type[ResidaeError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise kind("It does not work.")

    monkeypatch.setattr("residae.train.loop.train", fail)
    assert main(["train", "pictures", "--run", "run", "--output", "output"]) == code
    assert capsys.readouterr().err == "residae: It does not work.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["evaluate"],
        ["train", "folder"],
        ["evaluate", "x", "--what"],
        ["evaluate", "x", "--against", "jpeg"],
        ["evaluate", "x", "--quality", "50", "--against", "bpg"],
        ["evaluate", "x", "--quality", "50", "--against", "jpeg,"],
        ["evaluate", "x", "--target-bpp", "1e308"],
        ["fit", "x", "--checkpoint", "x", "--scaled-share", "1.5"],
        ["fit", "x", "--checkpoint", "x", "--max-scale", "inf"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.startswith("usage: residae")


@pytest.mark.parametrize("command", [[], ["evaluate"], ["train"]])
def test_help_imports_nothing_slow(command: list[str]) -> None:
    """Importing torch takes seconds."""
    code = "import sys; from residae.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    arguments = [sys.executable, "-c", code, *command, "--help"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    text, modules = done.stdout.rsplit("\n", 2)[:2]
    assert text.startswith(" ".join(["usage: residae", *command]))
    assert not set(modules.split()) & {"torch", "numpy", "PIL", "huggingface_hub", "accelerate"}
    if command == ["train"]:
        assert re.search(
            r"--decay-minutes DECAY_MINUTES\s+how long learning rates fall to 0 at the end\s+\(default:\s+20.0\)", text
        )


def test_the_package_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "residae"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "COMMAND" in done.stderr
