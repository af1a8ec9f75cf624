"""The commands that convert files, and fit."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from service import ROOT

from residae.checkpoint import Checkpoint
from residae.cli import main
from residae.codec import read_info
from residae.codec.coder import ideal_bits
from residae.errors import OutOfMemoryError
from residae.image import Pixels, open_picture, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import LUMA_ALONE, Pipeline
from residae.train import tables
from residae.train.tables import fit_tables

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def fitted(checkpoint: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with an output that depends strongly on its latents, and tables fitted to them."""
    copy = tmp_path_factory.mktemp("fitted") / "tiny"
    network = ResidualAutoencoder.from_pretrained(checkpoint)
    network.decoder.out.weight.data *= 100
    network.save_pretrained(copy)
    assert main(["fit", str(folder), "--checkpoint", str(copy)]) == 0
    return copy


@pytest.fixture(autouse=True)
def environment(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(fitted))


@pytest.fixture
def photograph(folder: Path, tmp_path: Path) -> Path:
    """A color picture in a folder of its own."""
    return Path(shutil.copy(folder / "b.png", tmp_path / "photograph.png"))


def test_compress_and_decompress_give_the_pipeline_s_picture(photograph: Path, capsys: Capture) -> None:
    assert main(["compress", str(photograph), "--quality", "80"]) == 0
    file = photograph.with_suffix(".rae")
    info = read_info(file.read_bytes())
    assert (info.width, info.height, info.color, info.quality) == (64, 48, True, 80)
    assert f"{info.file_bytes:,} bytes, {info.bits_per_pixel:.3f} bits per pixel, quality 80" in capsys.readouterr().out

    assert main(["decompress", str(file), "-o", str(photograph.with_name("back.png"))]) == 0
    expected = Pipeline.open().reconstruct(open_picture(photograph), color=True, quality=80).decoding.pixels
    np.testing.assert_array_equal(open_picture(photograph.with_name("back.png")).pixels, expected)


def test_a_gray_picture_makes_a_gray_file_and_says_so_where_color_is_asked_for(
    folder: Path, photograph: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, in_color = tmp_path / "out.rae", tmp_path / "a.bmp"
    with Image.open(folder / "a.png") as image:
        image.convert("RGB").save(in_color)
    for picture, options, color, said in [
        (folder / "a.png", [], False, False),
        (folder / "a.png", ["--color"], False, True),
        (in_color, [], False, False),
        (in_color, ["--color"], False, True),
        (photograph, ["--gray"], False, False),
        (photograph, ["--color"], True, False),
    ]:
        assert main(["compress", str(picture), "-o", str(output), "--force", *options]) == 0
        assert read_info(output.read_bytes()).color is color
        assert (f"{picture}: {LUMA_ALONE}" in capfd.readouterr().err) is said


@pytest.mark.parametrize(
    ("options", "limit"), [(["--max-bytes", "50"], 50), (["--target-bpp", "0.125"], 0.125 * 64 * 48 / 8)]
)
def test_the_best_file_within_a_byte_budget(options: list[str], limit: float, photograph: Path) -> None:
    assert main(["compress", str(photograph), "--gray", *options]) == 0
    size = photograph.with_suffix(".rae").stat().st_size
    assert 0.8 * limit < size <= limit


@pytest.mark.parametrize("options", [["--quality", "100"], ["--max-bytes", "120", "--scale", "1"]])
def test_refinement_by_the_command_is_that_of_the_package(
    options: list[str], photograph: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(fitted))
    file = photograph.with_suffix(".rae")
    assert main(["compress", str(photograph), *options]) == 0
    plain = file.read_bytes()
    assert main(["compress", str(photograph), "--force", *options, "--refine", "5"]) == 0
    refined = file.read_bytes()
    named = {name.lstrip("-").replace("-", "_"): int(value) for name, value in zip(*[iter(options)] * 2, strict=True)}
    assert refined == Pipeline.open(fitted).compress(photograph, refine=5, **named) != plain
    assert len(refined) <= named.get("max_bytes", len(refined))


def test_a_scale_is_taken_and_told(photograph: Path, capsys: Capture) -> None:
    assert main(["compress", str(photograph), "--quality", "50", "--scale", "1.41"]) == 0
    assert "quality 50, scale 1.41" in capsys.readouterr().out
    file = photograph.with_suffix(".rae")
    assert read_info(file.read_bytes()).scale == 1.41
    assert main(["info", str(file)]) == 0
    assert "scale       1.41: 90 x 68 for the network, 6 x 5 cells of the latent\n" in capsys.readouterr().out
    assert main(["decompress", str(file), "--force", "-o", str(photograph.with_name("back.png"))]) == 0
    assert open_picture(photograph.with_name("back.png")).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("options", "scale"),
    [(["--max-bytes", "300", "--scale", "1"], 1), (["--target-bpp", "2.5", "--scale", "auto"], None)],
)
def test_the_scale_of_a_budget(options: list[str], scale: float | None, photograph: Path) -> None:
    file = photograph.with_suffix(".rae")
    assert main(["compress", str(photograph), "--gray", *options]) == 0
    assert (read_info(file.read_bytes()).scale == 1) is (scale == 1)
    if scale is None:
        data = file.read_bytes()
        assert main(["compress", str(photograph), "--gray", "--force", *options[:2]]) == 0
        assert file.read_bytes() == data


@pytest.mark.parametrize("options", [["auto"], ["auto", "--quality", "50"], ["0.49"], ["4.01"], ["x"], ["nan"]])
def test_scales_that_are_none(options: list[str], photograph: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["compress", str(photograph), "--scale", *options])
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith("usage: residae")


def test_a_byte_budget_below_every_file(photograph: Path, capsys: Capture) -> None:
    assert main(["compress", str(photograph), "--max-bytes", "20"]) == 1
    assert "at least" in capsys.readouterr().err
    assert not photograph.with_suffix(".rae").exists()


def test_nothing_is_overwritten_without_force(photograph: Path, capsys: Capture) -> None:
    kept = photograph.with_suffix(".rae")
    kept.write_bytes(b"mine")
    assert main(["compress", str(photograph)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert kept.read_bytes() == b"mine"
    assert main(["compress", str(photograph), "--force"]) == 0
    assert kept.read_bytes() != b"mine"


def test_a_bad_input_does_not_stop_the_others(photograph: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text.png").write_text("no picture")
    inputs = [str(tmp_path / name) for name in ("text.png", photograph.name, "absent.png", "x" * 300)]
    assert main(["compress", *inputs, "-o", str(tmp_path / "new" / "folder")]) == 1
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["photograph.rae"]
    errors = capsys.readouterr().err
    assert "text.png: The file is not a picture" in errors
    assert "absent.png: " in errors
    assert f"{'x' * 300}: " in errors


def test_a_full_disk_leaves_no_partial_file(photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert main(["compress", str(photograph)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in photograph.parent.iterdir()] == ["photograph.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="the errors of Windows read differently")
def test_names_that_no_file_can_have(photograph: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for output in (["-o", str(photograph.with_name("x" * 256))], ["-o", str(photograph.with_name("x" * 256) / "y")]):
        assert main(["compress", str(photograph), *output]) == 1
        assert main(["compress", str(photograph), str(photograph.with_name("absent.png")), *output]) == 1
        assert capfdbinary.readouterr().err.count(b"File name too long") == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_name_that_is_not_valid_text(photograph: Path) -> None:
    picture = photograph.rename(photograph.with_name("\udcff.png"))
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "residae", "compress", str(picture)]
    done = subprocess.run(command, cwd=ROOT, env=strict, capture_output=True, check=True)
    assert rb"\udcff.png -> " in done.stdout
    assert picture.with_suffix(".rae").exists()


def test_out_of_memory_has_its_own_exit_code(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OutOfMemoryError("The work takes more memory than there is.")

    monkeypatch.setattr(Pipeline, "encode", fail)
    assert main(["compress", str(photograph)]) == 4


def test_damaged_files_and_files_of_another_checkpoint(photograph: Path, tmp_path: Path, capsys: Capture) -> None:
    main(["compress", str(photograph)])
    file = photograph.with_suffix(".rae")
    cut = tmp_path / "cut.rae"
    cut.write_bytes(file.read_bytes()[:-5])
    assert main(["decompress", str(cut)]) == 1
    assert "damaged or cut short" in capsys.readouterr().err

    other = Pipeline.open().codec
    foreign = tmp_path / "foreign.rae"
    renamed = type(other)(other.tables, bytes(8), "stranger")
    latents = [np.zeros((4, 3, 4), np.float32)]
    foreign.write_bytes(renamed.compress(latents, 48, 64, 50).data)
    assert main(["decompress", str(foreign)]) == 1
    assert "stranger" in capsys.readouterr().err
    assert main(["info", str(foreign)]) == 0
    assert "other than the one at hand, tiny" in capsys.readouterr().out


def test_info_prints_the_bytes_of_each_channel(photograph: Path, capsys: Capture) -> None:
    main(["compress", str(photograph), "--quality", "70"])
    capsys.readouterr()
    assert main(["info", str(photograph.with_suffix(".rae"))]) == 0
    lines = capsys.readouterr().out.splitlines()
    info = read_info(photograph.with_suffix(".rae").read_bytes())
    assert lines[0] == "picture     64 x 48, color"
    assert f"{info.file_bytes:,} bytes" in lines[1]
    assert [line.split()[1] for line in lines[4:7]] == [f"{size:,}" for size in info.plane_bytes]
    channels = np.array([[float(value) for value in line.split()[1:]] for line in lines[8:]])
    assert channels.shape == (4, 3)
    assert np.all(channels.sum(0) <= np.array(info.plane_bytes) + 0.2)  # ideal code lengths, printed to 0.1


def test_info_imports_nothing_slow(fitted: Path, photograph: Path) -> None:
    """It answers within half a second of Python's start. The bytes of each channel need a checkpoint, but no torch."""
    main(["compress", str(photograph)])
    code = "import sys; from residae.cli import main\ncode = main(sys.argv[1:])\nprint(*sys.modules)\nsys.exit(code)"
    command = [sys.executable, "-c", code, "info", str(photograph.with_suffix(".rae"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    text, modules = done.stdout.rsplit("\n", 2)[:2]
    assert "channel " in text
    slow = {"torch", "PIL", "imagecodecs", "tifffile", "huggingface_hub", "accelerate", "gradio", "tqdm", "psutil"}
    assert not set(modules.split()) & (slow | {"asyncio", "multiprocessing", "ssl", "http", "email"})


def test_notices_are_printed(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    Image.new("RGBA", (20, 20), (9, 9, 9, 9)).save(tmp_path / "clear.png")
    assert main(["compress", str(tmp_path / "clear.png"), str(folder / "b.png"), "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().err == f"{tmp_path / 'clear.png'}: Transparency is shown on white.\n"


@pytest.mark.parametrize("end", ["", "/"])
def test_an_output_is_a_folder_if_it_ends_like_one(photograph: Path, tmp_path: Path, end: str) -> None:
    assert main(["compress", str(photograph), "-o", f"{tmp_path / 'new'}{end}"]) == 0
    assert (tmp_path / "new" / "photograph.rae" if end else tmp_path / "new").is_file()


@pytest.mark.parametrize("spelled", ["", "../{}/"])
def test_a_result_does_not_replace_its_input(photograph: Path, spelled: str, capsys: Capture) -> None:
    before = photograph.read_bytes()
    output = photograph.parent / spelled.format(photograph.parent.name) / photograph.name
    assert main(["compress", "--force", str(photograph), "-o", str(output)]) == 1
    assert "The result would have the same name" in capsys.readouterr().err
    assert photograph.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
@pytest.mark.parametrize("words", ["info FILE", "compress --force absent.png FILE", "--help"])
def test_a_closed_pipe_is_not_an_error(fitted: Path, photograph: Path, words: str) -> None:
    assert main(["compress", str(photograph)]) == 0
    file = str(photograph if words.startswith("compress") else photograph.with_suffix(".rae"))
    command = [sys.executable, "-m", "residae", *words.replace("FILE", file).split()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-1) as process:
        process.stdout.close()
        assert b"Broken" not in process.stderr.read()
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_reported(fitted: Path, photograph: Path) -> None:
    assert main(["compress", str(photograph)]) == 0
    command = [sys.executable, "-m", "residae", "info", str(photograph.with_suffix(".rae"))]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "residae: [Errno 28] No space left on device\n")


def test_standard_output_is_not_needed(fitted: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a console has none."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["compress", str(photograph)]) == 0


def test_fitted_tables_change_the_fingerprint_and_make_smaller_files(fitted: Path, folder: Path) -> None:
    checkpoint = Checkpoint.open(fitted)
    after = checkpoint.codec
    pipeline = Pipeline(replace(checkpoint, tables=None))
    assert pipeline.codec.fingerprint != after.fingerprint
    encoding = pipeline.encode(open_picture(folder / "b.png"), color=False)
    symbols = after.compress(encoding.latents, encoding.height, encoding.width, 80).symbols
    sizes = [ideal_bits(symbols[0], 0, 8000, codec.tables).sum() for codec in (pipeline.codec, after)]
    assert sizes[1] < 0.9 * sizes[0]


@pytest.mark.parametrize(("pictures", "opened"), [(4, [0, 1, 3, 5]), (7, list(range(7))), (64, list(range(7)))])
def test_fit_draws_evenly(
    fitted: Path, folder: Path, tmp_path: Path, pictures: int, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(tables, "open_picture", lambda path: seen.append(path.stem) or open_picture(path))
    for i in range(7):
        shutil.copy(folder / "a.png", tmp_path / f"{i}.png")
    fit_tables(Checkpoint.open(fitted), tmp_path, pictures, torch.device("cpu"))
    assert seen == [str(i) for i in opened]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_fitted_tables_are_written_as_any_other_file(fitted: Path, folder: Path, tmp_path: Path) -> None:
    """A link is followed, as those to the weights on another disk, and the mode stays."""
    copy, real = tmp_path / "copy", tmp_path / "real"
    shutil.copytree(fitted, copy)
    (copy / "codec.safetensors").replace(real)
    (copy / "codec.safetensors").symlink_to(real)
    real.chmod(0o600)
    names = sorted(path.name for path in copy.iterdir())
    command = ["fit", str(folder), "--checkpoint", str(copy), "--pictures", "1", "--force"]
    before = real.read_bytes()
    assert main(command) == 0
    assert (copy / "codec.safetensors").readlink() == real
    assert real.read_bytes() != before
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in copy.iterdir()) == names
    assert Checkpoint.open(copy).codec.fingerprint != Checkpoint.open(fitted).codec.fingerprint


def test_fit_needs_pictures(checkpoint: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["fit", str(tmp_path), "--checkpoint", str(checkpoint)]) == 1
    assert "There is no picture in" in capsys.readouterr().err


def test_json_is_written_and_not_replaced_unasked(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    scores = tmp_path / "scores.json"
    arguments = ["evaluate", str(folder), "--quality", "50", "--against", "jpeg,jpeg2000", "--json", str(scores)]
    assert main(arguments) == 0
    head = capsys.readouterr().out.splitlines()[1].split()
    assert head[7:10] == ["JPEG", "JPEG", "2000"]
    kept = scores.read_text()
    pictures = json.loads(kept)["pictures"]
    assert [row["name"] for row in pictures] == ["a.png", "b.png", "more/c.png"]
    entry = pictures[0]
    assert {"bytes", "bpp", "PSNR", "SSIM", "encode", "decode", "entropy enc", "entropy dec"} <= set(entry)
    assert {name: entry[name] for name in ("width", "height", "setting", "quality")} == {
        "width": 52,
        "height": 40,
        "setting": "quality 50",
        "quality": 50,
    }
    assert [entry[name] for name in ("JPEG", "JPEG 2000")] == [None, None]  # in so few bytes
    assert main(arguments) == 1
    assert scores.read_text() == kept
    assert main([*arguments, "--force"]) == 0


def test_contexts_of_a_constant_picture_save_nothing(tmp_path: Path, capsys: Capture) -> None:
    Image.new("L", (16, 16), 128).save(tmp_path / "flat.png")
    assert main(["evaluate", str(tmp_path), "--quality", "0"]) == 0
    out = capsys.readouterr().out
    assert "mean of 1" in out
    assert "contexts save" not in out


def test_means_leave_out_a_picture_that_takes_more_than_the_rate(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    """That picture has 8 x 8 pixels, which is also too small for SSIM."""
    pictures = Path(shutil.copytree(folder, tmp_path / "pictures", ignore=shutil.ignore_patterns("more")))
    Image.new("L", (8, 8), 99).save(pictures / "aa.png")
    scores = tmp_path / "scores.json"
    assert main(["evaluate", str(pictures), "--quality", "50", "--target-bpp", "0.3", "--json", str(scores)]) == 0
    document = json.loads(scores.read_text(), parse_constant=pytest.fail)
    rows = {(row["name"], "bytes" in row): row for row in document["pictures"]}
    assert rows.keys() == {("a.png", True), ("aa.png", True), ("aa.png", False), ("b.png", True)}
    assert "SSIM" not in rows["aa.png", True]
    assert "PSNR" not in rows["aa.png", False]
    means = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("mean")]
    assert [line[2] for line in means] == ["3", "2"]
    assert float(means[1][6]) <= 0.3


def test_two_inputs_of_one_name_do_not_overwrite_each_other(photograph: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copy(photograph, tmp_path / "photograph.webp"))  # a PNG by its content
    assert main(["compress", str(photograph), str(twin), "--force", "-o", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [["-o", "OUT"], ["--force"], ["-o", "OUT/../OUT"]])
def test_results_of_one_name_are_refused_before_any_work(
    photograph: Path, tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Also where only a link shows that the two are one."""
    folder = tmp_path / "OUT"
    folder.mkdir()
    inputs = [photograph, Path(shutil.copy(photograph, tmp_path / "photograph.jpg"))]
    if options == ["-o", "OUT"]:
        (tmp_path / "other").mkdir()
        inputs = [photograph, Path(shutil.copy(photograph, tmp_path / "other" / "second.png"))]
        (folder / "second.rae").symlink_to("photograph.rae")
        options = [*options, "--force"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Pipeline, "open", None)
    before = sorted(tmp_path.rglob("*"))
    assert main(["compress", *map(str, inputs), *options]) == 1
    assert sorted(tmp_path.rglob("*")) == before
    errors = capsys.readouterr().err
    assert f"The result would replace that of {photograph}" in errors
    assert "Nothing is done" in errors


def test_a_result_does_not_replace_another_input(photograph: Path, tmp_path: Path, capsys: Capture) -> None:
    other = Path(shutil.copy(photograph, tmp_path / "photograph.rae"))  # a PNG by its content
    assert main(["compress", "--force", str(photograph), str(other)]) == 1
    assert "which is an input as well" in capsys.readouterr().err
    assert other.read_bytes() == photograph.read_bytes()


def _streams(monkeypatch: pytest.MonkeyPatch, given: bytes) -> io.BytesIO:
    """Standard input that holds `given`, and standard output, which is returned."""
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, write_through=True))
    return output


def test_standard_input_and_output(photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert main(["compress", str(photograph)]) == 0
    file = photograph.with_suffix(".rae").read_bytes()
    for arguments in (["-"], ["-", "-o", "-"], [str(photograph), "-o", "-"]):
        with monkeypatch.context() as context:
            output = _streams(context, photograph.read_bytes())
            assert main(["compress", *arguments]) == 0
            assert output.getvalue() == file  # and nothing else
    assert "bytes, " in capsys.readouterr().err
    assert main(["decompress", str(photograph.with_suffix(".rae")), "-o", str(photograph.with_name("back.png"))]) == 0
    output = _streams(monkeypatch, file)
    assert main(["decompress", "-"]) == 0
    assert output.getvalue() == photograph.with_name("back.png").read_bytes()
    output = _streams(monkeypatch, file)
    assert main(["info", "-"]) == 0
    assert output.getvalue().startswith(b"picture     64 x 48, color\n")
    assert not Path("-").exists()


def test_standard_output_takes_one_result(photograph: Path, folder: Path, capsys: Capture) -> None:
    assert main(["compress", str(photograph), str(folder / "a.png"), "-o", "-"]) == 1
    assert "Standard output holds one result" in capsys.readouterr().err


def test_no_file_is_written_to_a_terminal(photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    output = _streams(monkeypatch, b"")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["compress", str(photograph), "-o", "-"]) == 1
    assert "Standard output is a terminal" in capsys.readouterr().err
    assert not output.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_pipe_of_two_commands(fitted: Path, photograph: Path) -> None:
    """Through the names that the system gives to the streams."""
    residae = f"{sys.executable} -m residae"
    back = photograph.with_name("back.png")
    command = f"{residae} compress /dev/stdin -o /dev/stdout < {photograph} | {residae} decompress - > {back}"
    subprocess.run(command, cwd=ROOT, shell=True, check=True, capture_output=True)
    assert open_picture(back).pixels.shape == (48, 64, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_force_replaces_neither_links_nor_fifos(photograph: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "real.rae").write_text("old")
    (tmp_path / "real.rae").chmod(0o600)
    (tmp_path / "link.rae").symlink_to("real.rae")
    assert main(["compress", str(photograph), "-o", str(tmp_path / "link.rae"), "--force"]) == 0
    assert (tmp_path / "link.rae").is_symlink()
    assert read_info((tmp_path / "real.rae").read_bytes()).width == 64
    assert (tmp_path / "real.rae").stat().st_mode & 0o777 == 0o600
    os.mkfifo(tmp_path / "fifo")
    assert main(["compress", str(photograph), "-o", str(tmp_path / "fifo"), "--force"]) == 1
    assert "no program reads from it" in capsys.readouterr().err
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    assert main(["compress", str(photograph), "-o", str(tmp_path / "fifo")]) == 0
    assert read_info(os.read(reader, 2**16)).width == 64
    os.close(reader)
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("name", ["fifo", "a.fifo", "fifo.JPG"])
def test_pictures_are_written_to_fifos_of_any_name(photograph: Path, name: str) -> None:
    fifo, file = photograph.with_name(name), photograph.with_suffix(".rae")
    assert main(["compress", str(photograph)]) == 0
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    for command in (["decompress", str(file), "-o"], ["reconstruct", str(photograph), "--error-map"]):
        assert main([*command, str(fifo)]) == 0
        with Image.open(io.BytesIO(os.read(reader, 2**16))) as picture:
            assert (picture.format, picture.size) == ("JPEG" if name == "fifo.JPG" else "PNG", (64, 48))
    os.close(reader)


@pytest.mark.skipif(sys.platform == "win32", reason="names are shorter on Windows")
def test_the_longest_name(photograph: Path) -> None:
    picture = photograph.rename(photograph.with_name("x" * 251 + ".png"))
    assert main(["compress", str(picture)]) == 0
    assert picture.with_suffix(".rae").exists()


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *(("x", "PNG"), ("x.PNG", "PNG"), ("x.jpg", "JPEG"), ("x.jpeg", "JPEG"), ("x.webp", "WEBP")),
        *(("x.tif", "TIFF"), ("x.tiff", "TIFF"), ("x.bmp", "BMP"), ("x.jp2", "JPEG2000")),
    ],
)
def test_a_picture_is_written_as_its_name_says(photograph: Path, name: str, format: str) -> None:
    assert main(["compress", str(photograph)]) == 0
    file = str(photograph.with_suffix(".rae"))
    assert main(["decompress", file]) == 0 or main(["decompress", file, "--force"]) == 0
    assert main(["decompress", file, "-o", str(photograph.with_name(name))]) == 0
    with Image.open(photograph.with_name(name)) as image:
        assert image.format == format
    error = open_picture(photograph.with_name(name)).pixels.astype(int) - open_picture(photograph).pixels
    assert abs(error).max() <= (0 if format != "JPEG" else 16)


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_a_name_of_another_format_is_refused(photograph: Path, command: str, capsys: Capture) -> None:
    assert main(["compress", str(photograph)]) == 0
    output = photograph.with_name("x.jpg" if command == "compress" else "x.xyz")
    assert main([command, str(photograph.with_suffix(".rae")), "-o", str(output)]) == 1
    assert f"but not {output.suffix}." in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("command", ["compress", "decompress"])
@pytest.mark.parametrize("name", ["x.rae", "x.jpg"])
def test_several_results_do_not_go_into_a_folder_named_as_a_file(
    photograph: Path, command: str, name: str, capsys: Capture
) -> None:
    output = photograph.with_name(name)
    for inputs in ([str(photograph.parent)], [str(photograph), "another"]):
        assert main([command, *inputs, "-o", str(output)]) == 1
        assert f"{name} is the name of one file" in capsys.readouterr().err
    assert not output.exists()


@pytest.fixture
def many(smooth: Callable[[int, int, int], Pixels], tmp_path: Path) -> Path:
    """A folder of five pictures, one in a folder within, and of files that are none; one picture is damaged."""
    folder = tmp_path / "many"
    for number, name in enumerate(("a.png", "b.png", "c.png", "d.PNG", "in/e.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(write_png(smooth(20, 20 + number, number)))
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("Five pictures.")
    return folder


def test_a_folder_is_converted(many: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["compress", str(many), "-o", str(tmp_path / "out")]) == 1  # one is damaged
    printed = capsys.readouterr()
    assert "b.png: " in printed.err
    assert "notes.txt" not in printed.err
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.rae"))
    assert written == ["a.rae", "c.rae", "d.rae", "in/e.rae"]
    head, sums = printed.out.splitlines()[-2:]
    assert head.split() == ["done", "skipped", "failed", "pixels", ".rae", "bytes", "bits", "per", "pixel"]
    pixels = 20 * (20 + 22 + 23 + 24)
    size = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.rae"))
    assert sums.split() == ["4", "0", "1", f"{pixels:,}", f"{size:,}", f"{8 * size / pixels:.4f}"]
    assert main(["decompress", str(tmp_path / "out"), "-o", str(tmp_path / "back")]) == 0
    assert open_picture(tmp_path / "back" / "in" / "e.png").pixels.shape == (20, 24, 3)


def test_a_pattern_is_converted(many: Path, tmp_path: Path) -> None:
    assert main(["compress", str(many / "**" / "[ce].png"), "-o", str(tmp_path / "out")]) == 0
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.rae"))
    assert written == ["c.rae", "in/e.rae"]
    assert main(["compress", str(many / "*.gif")]) == 1


def test_a_stopped_run_goes_on(many: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done again, and no part of a file is left."""
    (many / "b.png").unlink()
    out, encode, count = tmp_path / "out", Pipeline.encode_and_write, 0

    def stop(*args: object, **kwargs: object) -> object:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return encode(*args, **kwargs)

    monkeypatch.setattr(Pipeline, "encode_and_write", stop)
    assert main(["compress", str(many), "-o", str(out)]) == 130
    first = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert [path.name for path in first] == ["a.rae", "c.rae"] or [path.name for path in first] == ["c.rae", "a.rae"]
    capsys.readouterr()
    assert main(["compress", str(many), "-o", str(out), "--skip-existing"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["2", "2", "0"]
    assert count == 5
    assert {path: path.stat().st_mtime_ns for path in first} == first
    monkeypatch.setattr(Pipeline, "open", None)  # nothing is left to do
    assert main(["compress", str(many), "-o", str(out), "--skip-existing"]) == 0


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_standard_output_is_never_skipped(fitted: Path, photograph: Path, output: str) -> None:
    """Where a file has the name -, or standard output is one."""
    if not Path(output).exists() and output != "-":
        pytest.skip("this system has no /dev/stdout")
    photograph.with_name("-").write_text("other")
    command = [sys.executable, "-m", "residae", "compress", photograph.name, "-o", output, "--skip-existing"]
    result = photograph.with_name("result")
    with result.open("wb") as file:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=photograph.parent, env=environment, stdout=file, stderr=subprocess.PIPE, check=True)
    assert read_info(result.read_bytes()).width == 64


def test_force_and_skipping_exclude_each_other(many: Path) -> None:
    with pytest.raises(SystemExit):
        main(["compress", str(many), "--force", "--skip-existing"])


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_device_and_precision_are_taken(
    command: str, photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert main(["compress", str(photograph)]) == 0
    asked = []
    opened = Pipeline.open.__func__
    monkeypatch.setattr(Pipeline, "open", lambda *arguments: asked.append(arguments) or opened(Pipeline, *arguments))
    file = photograph if command == "compress" else photograph.with_suffix(".rae")
    assert main([command, str(file), "--force", "--dtype", "float32", "--device", "cpu"]) in (0, 1)
    assert asked == [(None, "cpu", "float32")]


def test_two_pictures_of_one_stem_are_kept_apart(photograph: Path, tmp_path: Path) -> None:
    """And two of one content."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(photograph, pictures / "a.png")
    Image.open(photograph).save(pictures / "a.jpg")
    shutil.copy(photograph, pictures / "b.png")
    scores = tmp_path / "scores.json"
    assert main(["evaluate", str(pictures), "--quality", "50,80", "--json", str(scores)]) == 0
    document = json.loads(scores.read_text())
    assert [*document["inputs"]] == ["a.jpg", "a.png", "b.png"]
    assert [row["name"] for row in document["pictures"]] == ["a.jpg", "a.jpg", "a.png", "a.png", "b.png", "b.png"]
    assert len(document["results"]["psnr"]) == 2


def test_json_on_standard_output(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    output = _streams(monkeypatch, b"")
    assert main(["evaluate", str(folder / "a.png"), "--quality", "50", "--json", "-"]) == 0
    assert json.loads(output.getvalue())["pictures"][0]["name"] == "a.png"
    assert "mean of 1" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["folder", "file/below.json", "x" * 256, "results.tsv", "exists.json"])
def test_the_targets_of_an_evaluation_are_checked_before_any_work(
    target: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(Pipeline, "open", None)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "exists.json").write_text("mine")
    tsv = ["--tsv", str(tmp_path / "results.tsv")]
    assert main(["evaluate", str(folder), "--json", str(tmp_path / target), *tsv]) == 1
    assert "residae: " in capsys.readouterr().err
    assert (tmp_path / "exists.json").read_text() == "mine"


@pytest.mark.parametrize("option", ["--json", "--tsv"])
def test_the_result_of_an_evaluation_does_not_replace_a_picture(
    option: str, photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(Pipeline, "open", None)
    before = photograph.read_bytes()
    assert main(["evaluate", str(photograph.parent), option, str(photograph), "--force"]) == 1
    assert "is an input" in capsys.readouterr().err
    assert photograph.read_bytes() == before


def test_an_evaluation_goes_on_after_a_damaged_picture(many: Path, capsys: Capture) -> None:
    assert main(["evaluate", str(many), str(many / "*.gif")]) == 1
    printed = capsys.readouterr()
    assert "b.png is skipped: " in printed.err
    assert "*.gif: No file has such a name." in printed.err
    assert "mean of 4" in printed.out


def test_pictures_of_one_name_in_two_folders(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(folder / "a.png", tmp_path / name)
    assert main(["evaluate", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[0][-9:] for row in rows[:2]] == ["one/a.png", "two/a.png"]
