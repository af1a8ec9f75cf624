"""The commands that show what the page shows: reconstruct, with edits and maps, and compare."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residae import heatmaps
from residae.baselines import CODECS
from residae.cli import main
from residae.compare import OURS, Comparison, compare_at_equal_bytes
from residae.edit import Edits, channel_gains, edit_latents, reconstruct_edited
from residae.errors import ResidaeError
from residae.image import CropBox, Pixels, cover, crop, open_picture, write_png
from residae.options import OptionError
from residae.options import crop as read_crop
from residae.pipeline import Pipeline
from residae.progress import Progress

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))


@pytest.fixture
def photograph(smooth: Callable[[int, int, int], Pixels], tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    path.write_bytes(write_png(smooth(48, 64, 1)))
    return path


def _pixels(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image)


def _printed(capsys: Capture) -> dict[str, str]:
    """The figures that were printed, by name."""
    return {line.split()[0]: line[12:] for line in capsys.readouterr().out.splitlines()}


def test_reconstruct_prints_and_writes_what_the_package_gives(
    photograph: Path, tmp_path: Path, capsys: Capture
) -> None:
    names = [str(tmp_path / name) for name in ("out.png", "error.png", "channels.png")]
    written = ["-o", names[0], "--error-map", names[1], "--channel-map", names[2]]
    assert main(["reconstruct", str(photograph), "--quality", "70", *written]) == 0
    report = Pipeline.open().reconstruct(open_picture(photograph), quality=70)
    printed = _printed(capsys)
    assert report.compressed
    assert printed["picture"] == "64 x 48, color"
    assert printed["file"].startswith(f"{len(report.compressed.data):,} bytes, ")
    assert printed["PSNR"] == f"{report.psnr:.2f} dB"
    assert printed["SSIM"] == f"{report.ssim:.4f}"
    assert printed["error"] == heatmaps.where_error(report.original, report.decoding.pixels)
    np.testing.assert_array_equal(_pixels(tmp_path / "out.png"), report.decoding.pixels)
    scale = heatmaps.error_scale(report.original, report.decoding.pixels)
    assert printed["map"] == f"saturates at an error of {scale:g} gray levels"
    expected = heatmaps.error_map(report.original, report.decoding.pixels, False, scale)
    np.testing.assert_array_equal(_pixels(tmp_path / "error.png"), expected)
    stored = Pipeline.open().stored(report.encoding, report.compressed)
    tiles = heatmaps.latent_tiles(stored.latents[0])
    np.testing.assert_array_equal(_pixels(tmp_path / "channels.png"), heatmaps.mosaic(tiles))


def test_a_picture_that_is_too_small_for_a_similarity(photograph: Path, capsys: Capture) -> None:
    assert main(["reconstruct", str(photograph), "--crop", "10x20+0+0"]) == 0
    assert _printed(capsys)["SSIM"] == "-"


@pytest.mark.parametrize(
    ("options", "edits"),
    [
        (["--mute", "2"], Edits((1, 0, 1, 1))),
        (["--mute", "1,4", "--gain", "2=0.5,3=-1"], Edits((0, 0.5, -1, 0))),
        (["--solo", "3"], Edits((0, 0, 1, 0))),
        (["--step", "1.5", "--noise", "0.25"], Edits((1, 1, 1, 1), step=1.5, noise=0.25)),
    ],
)
def test_edits(options: list[str], edits: Edits, photograph: Path, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "out.png"
    assert main(["reconstruct", str(photograph), "-o", str(output), *options]) == 0
    pipeline, picture = Pipeline.open(), open_picture(photograph)
    encoding = pipeline.encode(picture, color=True)
    encoding = pipeline.stored(encoding, pipeline.write(encoding, 80))
    report = reconstruct_edited(pipeline, picture, encoding, edits)
    np.testing.assert_array_equal(_pixels(output), report.decoding.pixels)
    assert _printed(capsys)["PSNR"] == f"{report.psnr:.2f} dB"


def test_blending(photograph: Path, folder: Path, tmp_path: Path) -> None:
    """With another picture of another size, without a file."""
    options = ["--unquantized", "--gray", "--blend", str(folder / "a.png"), "--blend-share", "0.25"]
    assert main(["reconstruct", str(photograph), "-o", str(tmp_path / "out.png"), *options]) == 0
    pipeline, picture = Pipeline.open(), open_picture(photograph)
    encoding, other = (
        pipeline.encode(some, color=False) for some in (picture, cover(open_picture(folder / "a.png"), 48, 64))
    )
    report = reconstruct_edited(pipeline, picture, encoding, Edits(blend=0.25), other)
    np.testing.assert_array_equal(_pixels(tmp_path / "out.png"), report.decoding.pixels)


def test_a_signed_map_on_a_scale(photograph: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ["--signed", "--map-scale", "40", "--unquantized"]
    assert main(["reconstruct", str(photograph), "--error-map", str(tmp_path / "map.png"), *options]) == 0
    printed = _printed(capsys)
    report = Pipeline.open().reconstruct(open_picture(photograph))
    assert "file" not in printed
    assert printed["map"] == "saturates at an error of 40 gray levels"
    expected = heatmaps.error_map(report.original, report.decoding.pixels, True, 40)
    np.testing.assert_array_equal(_pixels(tmp_path / "map.png"), expected)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("signed", [False, True])
def test_a_map_that_saturates_at_once(signed: bool, photograph: Path) -> None:
    original = _pixels(photograph)
    expected, tiny = (heatmaps.error_map(original, original.clip(9), signed, scale) for scale in (1e-3, 1e-50))
    np.testing.assert_array_equal(tiny, expected)
    assert len(np.unique(tiny.reshape(-1, 3), axis=0)) == 2  # no error, and more than the scale


@pytest.mark.parametrize("command", ["compress", "reconstruct", "compare"])
def test_a_crop(command: str, photograph: Path, tmp_path: Path, capsys: Capture) -> None:
    """It gives what the same part as a picture of its own gives."""
    part = tmp_path / "part.png"
    part.write_bytes(write_png(crop(open_picture(photograph), CropBox(9, 5, 40, 30)).pixels))
    outputs = [tmp_path / "one", tmp_path / "two"]
    assert main([command, str(photograph), "--crop", "40x30+9+5", "-o", str(outputs[0])]) == 0
    printed = capsys.readouterr()
    assert "Part of the picture: 40 × 30 px at (9, 5) of 64 × 48." in printed.err
    assert main([command, str(part), "-o", str(outputs[1])]) == 0
    if command == "compare":
        assert capsys.readouterr().out == printed.out
        outputs = [output / "residae.png" for output in outputs]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize(("size", "code"), [("64x48+0+0", 0), ("64x48+1+0", 1), ("0x9+0+0", 1), ("9x49+0+0", 1)])
def test_a_crop_beyond_the_picture(size: str, code: int, photograph: Path, capsys: Capture) -> None:
    assert main(["reconstruct", str(photograph), "--crop", size]) == code
    assert ("is not within the picture" in capsys.readouterr().err) is (code == 1)


def test_rounding_to_any_step_gives_numbers() -> None:
    """A step far below float32's precision rounds nothing, and one far above the values to their mean."""
    latent, means = np.random.default_rng(0).normal(2, 3, (4, 5, 6)).astype(np.float32), np.ones((3, 4), np.float32)
    with np.errstate(all="raise", under="ignore"):
        (fine,), (coarse,) = (edit_latents([latent], Edits(step=step), means) for step in (1e-300, 1e300))
    np.testing.assert_allclose(fine, latent, atol=1e-4)
    np.testing.assert_allclose(coarse, 1)


def test_more_noise_than_can_be_decoded_is_refused() -> None:
    with pytest.raises(ResidaeError, match="0 to 1000 standard deviations"):
        Edits(noise=1e30)


def test_a_crop_of_thousands_of_digits() -> None:
    with pytest.raises(OptionError, match=r"is not WxH\+X\+Y"):
        read_crop(f"{'1' * 4400}x1+0+0")


@pytest.mark.parametrize(
    "options",
    [
        ["--crop", "64x48"],
        ["--crop", "64x48+-1+0"],
        ["--mute", "0"],
        ["--mute", "1", "--solo", "2"],
        ["--gain", "1"],
        ["--gain", "1=nan"],
        ["--gain", "1=-1e308"],
        ["--blend-share", "1.5"],
        ["--blend-share", "0.5"],
        ["--signed"],
        ["--map-scale", "40"],
        ["--scale", "auto"],
        ["--unquantized", "--max-bytes", "99"],
        ["--unquantized", "--refine", "5"],
    ],
    ids=" ".join,
)
def test_wrong_usage(options: list[str], photograph: Path) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["reconstruct", str(photograph), *options])
    assert leaving.value.code == 2


@pytest.mark.parametrize("options", [["--mute", "5"], ["--solo", "5"], ["--gain", "5=1"]])
def test_channels_that_the_latent_lacks(options: list[str], photograph: Path, capsys: Capture) -> None:
    assert main(["reconstruct", str(photograph), *options]) == 1
    assert "There is no channel 5: the latent of this checkpoint has 4." in capsys.readouterr().err


@pytest.mark.parametrize("number", [-1, 0, 5])
def test_channels_count_from_1(number: int) -> None:
    for mute, solo, gains in (([number], [], {}), ([], [number], {}), ([], [], {number: 2.0})):
        with pytest.raises(ResidaeError, match=f"no channel {number}"):
            channel_gains(4, mute, solo, gains)


def test_targets_are_checked_before_any_work(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(Pipeline, "open", None)
    mine, other = tmp_path / "mine.png", tmp_path / "other.png"
    mine.write_text("mine")
    other.write_bytes(photograph.read_bytes())
    for options, sentence in (
        (["-o", str(mine)], "exists already"),
        (["-o", str(photograph), "--force"], f"{photograph} is an input"),
        (["--error-map", str(other), "--blend", str(other), "--force"], f"{other} is an input"),
        (["-o", str(tmp_path / "new.png"), "--error-map", str(tmp_path / "." / "new.png")], "the same name"),
        (["--error-map", str(tmp_path / "new.xyz")], "but not .xyz"),
    ):
        assert main(["reconstruct", str(photograph), *options]) == 1
        assert sentence in capsys.readouterr().err
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "jpeg-2000.png").write_text("mine")
    assert main(["compare", str(photograph), "-o", str(folder)]) == 1
    assert "jpeg-2000.png exists already" in capsys.readouterr().err
    photograph.rename(folder / "residae.png")
    for options in (["-o", str(folder)], ["--json", str(folder / "residae.png")]):
        assert main(["compare", str(folder / "residae.png"), *options, "--force"]) == 1
        assert "residae.png is an input" in capsys.readouterr().err
    assert mine.read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/stdout")
def test_standard_output_holds_one_result(photograph: Path) -> None:
    options = ["-o", "-", "--error-map", "/dev/stdout"]
    command = [sys.executable, "-m", "residae", "reconstruct", str(photograph), *options]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Two results would have the same name" in done.stderr


def test_compare_gives_what_the_package_gives(photograph: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ["--quality", "60", "--json", str(tmp_path / "table.json"), "-o", str(tmp_path / "pictures")]
    assert main(["compare", str(photograph), *options]) == 0
    pipeline = Pipeline.open()
    report = pipeline.reconstruct(open_picture(photograph), quality=60)
    assert report.compressed
    comparison = compare_at_equal_bytes(report.original, report.compressed, report.decoding)
    results = comparison.results
    table = json.loads((tmp_path / "table.json").read_text(), parse_constant=pytest.fail)
    assert table == comparison.rows()
    assert table[0]["bytes"] == len(report.compressed.data)
    assert table[0]["psnr"] == report.psnr
    assert table[0]["bpp"] == 8 * table[0]["bytes"] / (64 * 48)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["codec", "bytes", "bpp", "PSNR", "SSIM", "MS-SSIM", "SSIMULACRA2"]
    assert len(rows) == len(results)
    assert rows[0].split()[1:4] == [f"{table[0]['bytes']:,}", f"{table[0]['bpp']:.4f}", f"{report.psnr:.4f}"]
    assert rows[0].split()[6] == f"{results[0].ssimulacra2:.4f}"
    assert rows[3].split()[:3] == ["AVIF", "speed", "6"]
    assert {entry["psnr"] is None for entry in table[1:]} == {result.pixels is None for result in results[1:]}
    np.testing.assert_array_equal(_pixels(tmp_path / "pictures" / "residae.png"), report.decoding.pixels)
    assert main(["compare", str(photograph), *options]) == 1  # nothing is replaced


def test_compare_has_avif_at_its_best_speed_where_asked(
    photograph: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def ours_alone(comparison: Comparison, progress: Progress) -> Comparison:
        return replace(comparison, results=comparison.results[:1])

    monkeypatch.setattr("residae.compare.with_best_speed", ours_alone)
    assert main(["compare", str(photograph)]) == main(["compare", str(photograph), "--slow-avif"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["codec", OURS, *(name.split()[0] for name in CODECS), "codec", OURS]


@pytest.mark.parametrize(("count", "shape"), [(1, (5, 7, 3)), (4, (5, 4 * 7 + 3 * 8, 3)), (6, (18, 52, 3))])
def test_a_mosaic_holds_every_tile(count: int, shape: tuple[int, ...]) -> None:
    tiles = [np.full((5, 7, 3), 10 * index, np.uint8) for index in range(count)]
    mosaic = heatmaps.mosaic(tiles)
    assert mosaic.shape == shape
    for index in range(count):
        top, left = index // 4 * 13, index % 4 * 15
        np.testing.assert_array_equal(mosaic[top : top + 5, left : left + 7], tiles[index])
