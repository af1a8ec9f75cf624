"""The tables measure what they say: luma of each picture of a folder, in order of name."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from residae.errors import ImageError
from residae.evaluate import RatePoint, evaluate, mean_psnr, open_pictures
from residae.image import Pixels, open_picture
from residae.metrics import psnr, ssim
from residae.pipeline import Pipeline

pytestmark = pytest.mark.usefixtures("one_thread")


def test_scores_are_those_of_each_picture(pipeline: Pipeline, folder: Path) -> None:
    scores = list(evaluate(pipeline, folder))
    reports = [pipeline.reconstruct(open_picture(folder / name), color=False) for name in ("a.png", "b.png")]
    assert [(score.name, score.width, score.height) for score in scores] == [("a", 52, 40), ("b", 64, 48)]
    assert [(score.psnr, score.ssim) for score in scores] == [(report.psnr, report.ssim) for report in reports]
    assert all(math.isfinite(score.psnr) and math.isfinite(score.ssim) for score in scores)
    assert all(score.encoding > 0 and score.decoding > 0 for score in scores)
    assert all(score.file is None and math.isnan(score.bits_per_pixel) for score in scores)
    assert mean_psnr(pipeline, folder) == pytest.approx((scores[0].psnr + scores[1].psnr) / 2)


def test_scores_from_files(pipeline: Pipeline, folder: Path) -> None:
    """Of each picture at each setting."""
    scores = list(evaluate(pipeline, folder, (100, 10), (0.13,), ("JPEG",)))
    assert [score.name for score in scores] == ["a"] * 3 + ["b"] * 3
    picture = open_picture(folder / "a.png")
    files = []
    for score in scores[:3]:
        assert score.file
        files.append(score.file)
        data = pipeline.write(pipeline.encode(picture, color=False), score.file.quality).data
        rebuilt = pipeline.read(data)[1].pixels
        assert score.file.bytes == len(data)
        assert score.bits_per_pixel == 8 * len(data) / (52 * 40)
        assert (score.psnr, score.ssim) == (psnr(picture.pixels, rebuilt), ssim(picture.pixels, rebuilt))
        assert 0 < score.file.ideal_bytes < score.file.bytes
        assert score.baselines == {"JPEG": None}  # none is that small
    assert [file.quality for file in files[:2]] == [100, 10]
    assert files[1].bytes <= files[2].bytes <= int(0.13 * 52 * 40 / 8) < files[0].bytes


def test_rivals_get_the_bytes_of_our_file(pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def compress_within(pixels: Pixels, codec: str, max_bytes: int) -> SimpleNamespace:
        asked.append((codec, max_bytes))
        return SimpleNamespace(data=b"12345", pixels=pixels // 2)

    monkeypatch.setattr("residae.evaluate.compress_within", compress_within)
    score, _ = evaluate(pipeline, folder, (50,), baselines=("JPEG", "AVIF"))
    assert score.file
    assert asked[:2] == [("JPEG", score.file.bytes), ("AVIF", score.file.bytes)]
    pixels = open_picture(folder / "a.png").pixels
    point = RatePoint(8 * 5 / (52 * 40), psnr(pixels, pixels // 2), ssim(pixels, pixels // 2))
    assert score.baselines == {"JPEG": point, "AVIF": point}


def test_pictures_come_one_at_a_time_and_carry_their_names(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "copied")
    (copied / "nothing.png").symlink_to("nowhere.png")
    left_out: list[str] = []
    pictures = list(open_pictures(str(copied), lambda path, error: left_out.append(f"{path.name}: {error}")))
    assert [(name, picture.width, picture.height) for name, picture in pictures] == [("a", 52, 40), ("b", 64, 48)]
    text, link = left_out
    assert text.startswith("README.md: The file is not a picture")
    assert link.startswith("nothing.png: ")


@pytest.mark.parametrize("inside", [[], ["README.md"]])
def test_folder_without_pictures(pipeline: Pipeline, tmp_path: Path, inside: list[str]) -> None:
    for name in inside:
        (tmp_path / name).write_text("no picture")
    with pytest.raises(ImageError, match="There is no picture in "):
        list(evaluate(pipeline, tmp_path))


def test_absent_folder(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"There is no picture in .*nowhere"):
        mean_psnr(pipeline, tmp_path / "nowhere")
