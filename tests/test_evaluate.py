"""An evaluation measures each picture of a folder, in order of name, at each setting."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from residae import evaluate as module
from residae import metrics
from residae.baselines import CODECS, Baseline, CodedPicture, compress_within
from residae.checkpoint import Checkpoint
from residae.cli import main
from residae.codec import Codec, Compressed, Tables
from residae.compare import OURS, RatePoint, bd_rate
from residae.errors import ImageError, OutOfMemoryError, ResidaeError
from residae.evaluate import Setting, evaluate, open_pictures, picture_files, print_evaluation
from residae.image import FORMATS, Picture, Pixels, open_picture, write_png
from residae.model import ResidualAutoencoder
from residae.pipeline import Encoding, Pipeline
from residae.results import COLUMNS, MeanCurves, Measurement, ResultsFile, Row, as_json, bd_rates, mean_curves

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The common folder, without the folder in it."""
    copy = tmp_path_factory.mktemp("folder") / "pictures"
    return Path(shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("more")))


@pytest.fixture(scope="module")
def large_files(network: ResidualAutoencoder) -> Checkpoint:
    """The tiny network with so fine a quantizer that its files are larger than the smallest ones of other codecs."""
    tables = Tables.default(network.latent_channels)
    return Checkpoint(network, replace(tables, gains=100 * tables.gains), "tiny")


@pytest.fixture(scope="module")
def photographs(smooth: Callable[[int, int, int], Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures in color, large enough for MS-SSIM."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed in (0, 1):
        (folder / f"{seed}.png").write_bytes(write_png(smooth(176, 192, seed)))
    return folder


def test_unquantized_latents(pipeline: Pipeline, folder: Path) -> None:
    rows = list(evaluate(pipeline, folder))
    reports = [pipeline.reconstruct(open_picture(folder / name), color=False) for name in ("a.png", "b.png")]
    assert all(len(row) == 1 for row in rows)
    (a,), (b,) = rows
    assert [(m.picture, m.width, m.height) for m in (a, b)] == [("a.png", 52, 40), ("b.png", 64, 48)]
    assert [(m.psnr, m.ssim) for m in (a, b)] == [(report.psnr, report.ssim) for report in reports]
    assert a.sha256 == hashlib.sha256((folder / "a.png").read_bytes()).hexdigest()
    assert all(m.encode_seconds > 0 and m.decode_seconds > 0 for m in (a, b))
    assert all(m.bytes is None and math.isnan(m.bits_per_pixel) and m.setting == "unquantized" for m in (a, b))


def test_files(large_files: Checkpoint, folder: Path) -> None:
    pipeline = Pipeline(large_files, "cpu")
    settings = [Setting(quality=100), Setting(quality=10), Setting(bits_per_pixel=0.3, scale=1)]
    rows = list(evaluate(pipeline, folder, settings, [CODECS["JPEG"]]))
    assert [(row[0].picture, row[0].setting) for row in rows] == [
        (name, setting) for name in ("a.png", "b.png") for setting in ("quality 100", "quality 10", "0.3 bpp, scale 1")
    ]
    picture = open_picture(folder / "a.png")
    sizes = []
    for ours, jpeg in rows[:3]:
        assert ours.bytes
        sizes.append(ours.bytes)
        data = pipeline.write(pipeline.encode(picture, color=False), ours.quality).data
        rebuilt = pipeline.read(data)[1].pixels
        assert ours.bytes == len(data)
        assert ours.bits_per_pixel == 8 * len(data) / (52 * 40)
        assert (ours.psnr, ours.ssim) == (metrics.psnr(picture.pixels, rebuilt), metrics.ssim(picture.pixels, rebuilt))
        assert 0 < ours.ideal_bytes < ours.bytes
        assert 0 < ours.coding_seconds < ours.encode_seconds
        assert 0 < ours.parsing_seconds < ours.decode_seconds
        assert (jpeg.codec, jpeg.bytes, jpeg.max_bytes) == ("JPEG", None, ours.bytes)  # none is that small
        assert math.isnan(jpeg.psnr)
    assert [row[0].quality for row in rows[:2]] == [100, 10]
    assert sizes[1] <= sizes[2] <= int(0.3 * 52 * 40 / 8) < sizes[0]


@pytest.mark.parametrize(
    "setting", [Setting(quality=50), Setting(bits_per_pixel=0.5, scale=1), Setting(bits_per_pixel=0.5)], ids=str
)
def test_entropy_encoding_is_timed_once_however_often_a_search_does_it(
    pipeline: Pipeline, folder: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, compress = SimpleNamespace(seconds=0), Codec.compress

    def work_for_a_second(*arguments: Any) -> Compressed:
        clock.seconds += 1
        return compress(*arguments)

    monkeypatch.setattr(Codec, "compress", work_for_a_second)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.seconds))
    (measured,) = next(evaluate(pipeline, folder, [setting]))
    assert measured.coding_seconds == 1


@pytest.mark.parametrize("options", [{"quality": 50, "bits_per_pixel": 0.2}, {"steps": 5}, {"steps": 5, "scale": 2}])
def test_a_setting_asks_for_nothing_that_is_not_done(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="file"):
        Setting(**options)


@pytest.mark.parametrize("color", [False, True])
def test_baselines_get_the_bytes_of_our_file(large_files: Checkpoint, photographs: Path, color: bool) -> None:
    names, pipeline = ("WebP", "JPEG XL"), Pipeline(large_files, "cpu")
    row = next(evaluate(pipeline, photographs, [Setting(quality=100)], [CODECS[n] for n in names], color=color))
    ours = row[0]
    pixels = open_picture(photographs / "0.png").pixels
    original = pixels if color else np.asarray(Image.fromarray(pixels).convert("L"))
    assert ours.bytes
    assert ours.options.startswith("color, tiny " if color else "luma, tiny ")
    for name, measured in zip(names, row[1:], strict=True):
        coded = compress_within(original, CODECS[name], ours.bytes)
        assert coded
        assert (measured.codec, measured.max_bytes, measured.bytes) == (name, ours.bytes, len(coded.data))
        assert measured.quality == coded.quality
        assert measured.psnr == metrics.psnr(original, coded.pixels)
        assert measured.ms_ssim == metrics.ms_ssim(original, coded.pixels)
        assert measured.encode_seconds > 0
        assert measured.decode_seconds > 0


def test_color_is_measured_over_r_g_and_b(pipeline: Pipeline, folder: Path) -> None:
    gray, colored = (row[0] for row in evaluate(pipeline, folder, [Setting(quality=50)], color=True))
    for measured in (gray, colored):
        report = pipeline.reconstruct(open_picture(folder / measured.picture), color=True, quality=50)
        assert report.original.ndim == (2 if measured is gray else 3)  # which has no chroma to code
        assert (measured.psnr, measured.ssim) == (report.psnr, report.ssim)
        assert report.compressed
        assert measured.bytes == len(report.compressed.data)


def test_a_scale(pipeline: Pipeline, folder: Path) -> None:
    settings = [Setting(scale=2), Setting(quality=60, scale=0.5), Setting(bits_per_pixel=0.5, scale=2)]
    rows = [row[0] for row in evaluate(pipeline, folder, settings)][:3]
    names = ["unquantized, scale 2", "quality 60, scale 0.5", "0.5 bpp, scale 2"]
    assert [m.setting for m in rows] == names
    assert [m.scale for m in rows] == [2, 0.5, 2]
    picture = open_picture(folder / "a.png")
    double, half = (pipeline.encode(picture, color=False, scale=scale) for scale in (2, 0.5))
    limited = pipeline.write_within(double, int(0.5 * 52 * 40 / 8))
    for measured, encoding, compressed in zip(
        rows, (double, half, double), (None, pipeline.write(half, 60), limited), strict=True
    ):
        report = pipeline.decode_and_measure(picture, encoding, compressed)
        assert measured.psnr == report.psnr
        assert measured.bytes == (None if compressed is None else len(compressed.data))


def test_the_scale_is_chosen_where_there_is_a_limit(pipeline: Pipeline, folder: Path) -> None:
    for rate in (0.3, 3.0):
        measured = next(evaluate(pipeline, folder, [Setting(bits_per_pixel=rate)]))[0]
        assert measured.setting == f"{rate:g} bpp"
        most = int(rate * 52 * 40 / 8)
        encoding = pipeline.encode_within(open_picture(folder / "a.png"), False, most)
        assert measured.scale == encoding.scale
        assert measured.bytes == len(pipeline.write_within(encoding, most).data)
    assert encoding.scale > 1


def test_a_scale_beyond_the_limits_of_a_picture_is_not_measured(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residae.pipeline.within_limits", lambda height, width: height < 160)
    (a,), (b,) = evaluate(pipeline, folder, [Setting(quality=50, scale=4)], [])
    assert math.isnan(a.psnr)
    assert math.isnan(b.psnr)
    (a,), (b,) = evaluate(pipeline, folder, [Setting(quality=50, scale=3.5)], [])
    assert a.psnr > 0
    assert math.isnan(b.psnr)


@pytest.mark.parametrize("setting", [Setting(quality=50, steps=3), Setting(bits_per_pixel=0.8, steps=3)], ids=str)
def test_refined_files(large_files: Checkpoint, folder: Path, setting: Setting) -> None:
    pipeline = Pipeline(large_files, "cpu")
    (refined,) = next(evaluate(pipeline, folder, [setting]))
    (plain,) = next(evaluate(pipeline, folder, [replace(setting, steps=0)]))
    assert refined.setting == f"{plain.setting}, 3 steps"
    assert (refined.quality, refined.scale) == (plain.quality, plain.scale)
    picture = open_picture(folder / "a.png")
    encoding = pipeline.encode(picture, color=False, scale=plain.scale)
    compressed = pipeline.refine(picture, encoding, plain.quality, 3, max_bytes=refined.max_bytes)
    assert refined.bytes == len(compressed.data)
    assert refined.psnr == pipeline.decode_and_measure(picture, encoding, compressed).psnr
    assert refined.encode_seconds > refined.coding_seconds


def test_ssimulacra2_where_asked(pipeline: Pipeline, photographs: Path) -> None:
    pytest.importorskip("ssimulacra2")
    (ours,), _ = evaluate(pipeline, photographs, ssimulacra2=True)
    report = pipeline.reconstruct(open_picture(photographs / "0.png"), color=False)
    assert ours.ssimulacra2 == metrics.ssimulacra2(report.original, report.decoding.pixels)
    assert ours.ms_ssim == metrics.ms_ssim(report.original, report.decoding.pixels)


def test_pictures_come_one_at_a_time_with_their_paths(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    (copied / "in").mkdir()
    shutil.copy(folder / "a.png", copied / "in")
    (copied / "nothing.png").symlink_to("nowhere.png")
    skipped: list[str] = []
    pictures = list(open_pictures(str(copied), lambda path, error: skipped.append(f"{path.name}: {error}")))
    assert all(data == file.path.read_bytes() for file, data, _ in pictures)
    assert [(file.path, file.name, picture.width, picture.height) for file, _, picture in pictures] == [
        (copied / "a.png", "a.png", 52, 40),
        (copied / "b.png", "b.png", 64, 48),
        (copied / "in" / "a.png", "in/a.png", 52, 40),
    ]
    (link,) = skipped
    assert link.startswith("nothing.png: ")


def test_pictures_are_opened_in_a_process_that_is_confined(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "PNG", FORMATS["PNG"]._replace(read=lambda _: 1 / 0))  # type: ignore[arg-type, return-value]
    skipped: list[ResidaeError] = []
    assert len(list(open_pictures(folder, lambda _, error: skipped.append(error)))) == 2
    assert skipped == []


@pytest.mark.parametrize("inside", [[], ["README.md"]])
def test_folder_without_pictures(pipeline: Pipeline, tmp_path: Path, inside: list[str]) -> None:
    for name in inside:
        (tmp_path / name).write_text("no picture")
    with pytest.raises(ImageError, match="There is no picture in "):
        list(evaluate(pipeline, tmp_path))


def test_absent_folder(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"There is no picture in .*nowhere"):
        list(evaluate(pipeline, tmp_path / "nowhere"))


def _without_seconds(row: Row) -> list[Measurement]:
    seconds = {"encode_seconds": 0, "decode_seconds": 0, "coding_seconds": 0, "parsing_seconds": 0}
    return [replace(measurement, **seconds) for measurement in row]


SETTINGS = [Setting(quality=90), Setting(bits_per_pixel=0.5, scale=1)]


@pytest.mark.parametrize("cut", [0, 20])  # bytes that an interrupted run has not written of its last line
def test_a_stopped_evaluation_resumes_where_it_was(
    large_files: Checkpoint, photographs: Path, tmp_path: Path, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, baselines = Pipeline(large_files, "cpu"), [CODECS["WebP"], CODECS["JPEG"]]
    whole = [_without_seconds(row) for row in evaluate(pipeline, photographs, SETTINGS, baselines)]
    tsv = tmp_path / "results.tsv"
    first = ResultsFile(tsv, resume=False, force=False)
    for row in list(evaluate(pipeline, photographs, SETTINGS, baselines))[:3]:
        first.append(row)
    tsv.write_bytes(tsv.read_bytes()[: -cut or None])

    encoded, coded = [], []
    encode, compress = Pipeline.encode, compress_within
    monkeypatch.setattr(Pipeline, "encode", lambda *args, **kwargs: encoded.append(1) or encode(*args, **kwargs))

    def count(pixels: Pixels, baseline: Baseline, max_bytes: int) -> CodedPicture | None:
        coded.append(baseline.name)
        return compress(pixels, baseline, max_bytes)

    monkeypatch.setattr(module, "compress_within", count)
    second = ResultsFile(tsv, resume=True, force=False)
    rows = []
    for row in evaluate(pipeline, photographs, SETTINGS, baselines, results=second):
        rows.append(_without_seconds(row))
    assert [[m.key for m in row] for row in rows] == [[m.key for m in row] for row in whole]
    assert repr(rows) == repr(whole)  # NaN is not equal to itself
    assert len(encoded) == 1  # the picture that was not complete
    assert coded == ["JPEG"] * bool(cut) + ["WebP", "JPEG"]
    header, *lines = tsv.read_text().splitlines()
    assert tuple(header.split("\t")) == COLUMNS
    assert len(lines) == 2 * len(SETTINGS) * (1 + len(baselines))


def test_a_resumed_evaluation_adds_ssimulacra2(large_files: Checkpoint, photographs: Path, tmp_path: Path) -> None:
    pipeline, tsv = Pipeline(large_files, "cpu"), tmp_path / "results.tsv"
    settings, baselines = [Setting(quality=90)], [CODECS["WebP"], CODECS["JPEG"]]

    def resume(ssimulacra2: bool) -> list[str]:
        results = ResultsFile(tsv, resume=True, force=False)
        found = evaluate(pipeline, photographs, settings, baselines, ssimulacra2=ssimulacra2, results=results)
        return [repr(_without_seconds(row)) for row in found]

    before = resume(False)
    expected = [
        repr(_without_seconds(row)) for row in evaluate(pipeline, photographs, settings, baselines, ssimulacra2=True)
    ]
    assert before != resume(True) == expected
    once = tsv.read_bytes()
    assert resume(False) == resume(True) == expected
    lines = tsv.read_text().splitlines()
    assert len(lines) == 1 + 2 * 3  # the new measurements in place of the old
    assert len(once.splitlines()) > len(lines)


def test_a_picture_that_memory_did_not_suffice_for_is_measured_when_resumed(
    pipeline: Pipeline, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    encode, full = Pipeline.encode, OutOfMemoryError("Memory is full.")
    encoded: list[Picture] = []

    def encode_one(self: Pipeline, picture: Picture, *args: Any, **kwargs: Any) -> Encoding:
        encoded.append(picture)
        if len(encoded) == 1:
            raise full
        return encode(self, picture, *args, **kwargs)

    monkeypatch.setattr(Pipeline, "encode", encode_one)
    tsv, files = tmp_path / "results.tsv", picture_files([photographs])
    rows, failures = print_evaluation(pipeline, files, results=ResultsFile(tsv, resume=False, force=False))
    assert (len(rows), failures, len(encoded)) == (2, [full], 2)
    assert "0.png is skipped: Memory is full." in capsys.readouterr().err
    rows, failures = print_evaluation(pipeline, files, results=ResultsFile(tsv, resume=True, force=False))
    assert (len(rows), failures, len(encoded)) == (2, [], 3)
    assert all(math.isfinite(ours.psnr) for (ours,) in rows)


def test_a_file_fails_once_and_the_bar_reaches_its_end(
    pipeline: Pipeline, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """With two settings, a file that takes too much memory, and files that are no pictures, first and last."""
    folder, bars, start = Path(shutil.copytree(photographs, tmp_path / "some")), [], tqdm.__init__
    for name in ("-.png", "z.png"):
        (folder / name).write_text("not a picture")

    def draw(self: Any, **options: Any) -> None:
        start(self, **options | {"disable": False})
        bars.append(self)

    def encode(self: Pipeline, picture: Picture, *args: Any, **kwargs: Any) -> Encoding:
        raise OutOfMemoryError("Memory is full.")

    monkeypatch.setattr(Pipeline, "encode", encode)
    monkeypatch.setattr(tqdm, "__init__", draw)
    rows, failures = print_evaluation(pipeline, picture_files([folder]), [Setting(), Setting(quality=50)])
    assert (len(rows), len(failures)) == (4, 4)
    assert capsys.readouterr().err.count("is skipped") == 4
    assert [(bar.n, bar.total) for bar in bars] == [(8, 8)]


def test_there_is_no_mean_of_nothing(pipeline: Pipeline, photographs: Path, tmp_path: Path, capsys: Capture) -> None:
    """Neither without a picture, nor at a size that no file is within."""
    damaged = tmp_path / "damaged.png"
    damaged.write_text("not a picture")
    rows, failures = print_evaluation(pipeline, picture_files([damaged]))
    assert (rows, len(failures)) == ([], 1)
    print_evaluation(pipeline, picture_files([photographs]), [Setting(bits_per_pixel=0.001), Setting()])
    assert [line[:24].split() for line in capsys.readouterr().out.splitlines() if "mean" in line] == [
        ["mean", "of", "2", "unquantized"]
    ]


def test_other_conditions_are_measured_anew(pipeline: Pipeline, photographs: Path, tmp_path: Path) -> None:
    """Color, another checkpoint or another picture of the same name."""
    copied = Path(shutil.copytree(photographs, tmp_path / "copied"))
    tsv = ResultsFile(tmp_path / "results.tsv", resume=False, force=False)
    list(evaluate(pipeline, copied, results=tsv))
    count = len(tsv.path.read_text().splitlines())
    list(evaluate(pipeline, copied, results=tsv))
    assert len(tsv.path.read_text().splitlines()) == count == 3
    shutil.copy(copied / "1.png", copied / "0.png")
    list(evaluate(pipeline, copied, results=tsv, color=True))
    shutil.copy(photographs / "0.png", copied / "1.png")
    (zero,), (one,) = evaluate(pipeline, copied, results=tsv)
    original = {m.picture: m for (m,) in evaluate(pipeline, photographs)}
    assert (zero.psnr, one.psnr) == (original["1.png"].psnr, original["0.png"].psnr)


def test_a_table_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    measured = Measurement('a\t"name"\n', "00", 2, 3, "0.1 bpp", OURS, "x", 7, 1.5, bytes=6, psnr=math.inf)
    ResultsFile(path, resume=True, force=False).append([measured])  # nothing to resume yet
    again = ResultsFile(path, resume=True, force=False)
    found = again.find(replace(measured, psnr=math.nan, bytes=None))
    assert repr(found) == repr(measured)
    assert again.find(replace(measured, max_bytes=8)) is None
    with pytest.raises(ResidaeError, match="exists already"):
        ResultsFile(path, resume=False, force=False)
    ResultsFile(path, resume=False, force=True)
    assert path.read_text() == "\t".join(COLUMNS) + "\n"
    for text in ("picture\tsha256\n1\t2\n", path.read_text() + "a\tb\tnot a number\n", "\0\n"):
        path.write_text(text)
        with pytest.raises(ResidaeError, match="is not a TSV of this command"):
            ResultsFile(path, resume=True, force=False)
        assert path.read_text() == text


def _rows(points: dict[str, list[tuple[int, float]]], pictures: int = 1) -> list[Row]:
    """Bytes and PSNR at each setting of each codec, for pictures of 100 x 80 pixels that are equal."""
    return [
        tuple(
            Measurement(str(p), f"{p:02x}", 100, 80, f"{s}", codec, bytes=size or None, psnr=db if size else math.nan)
            for codec, curve in points.items()
            for size, db in [curve[s]]
        )
        for p in range(pictures)
        for s in range(len(points[OURS]))
    ]


OUR_CURVE = [(100, 25.0), (200, 28.0), (400, 30.0)]


def test_bd_rate_is_the_mean_over_pictures() -> None:
    rows = _rows({OURS: OUR_CURVE, "WebP": [(200, 25.0), (400, 28.0), (800, 30.0)]}, pictures=2)
    rows += _rows({OURS: OUR_CURVE, "WebP": [(0, 0), (0, 0), (800, 30.0)]})  # one point: no BD-rate
    rows = [tuple(replace(m, sha256=f"{i // 3}") for m in row) for i, row in enumerate(rows)]
    assert bd_rates(rows) == {"WebP": (pytest.approx(100), 2)}
    late = {OURS: OUR_CURVE, "JPEG": [(0, 0.0), *OUR_CURVE[1:]], "WebP": OUR_CURVE}
    assert [*bd_rates(_rows(late))] == ["JPEG", "WebP"]  # in the order of the table, though WebP has a point first
    assert bd_rates(_rows({OURS: OUR_CURVE})) == {}


def test_json_has_the_form_of_compressai() -> None:
    webp = [(0, 0.0), (190, 26.0), (390, 29.0)]
    rows = _rows({OURS: OUR_CURVE, "WebP": webp}, pictures=2)
    rows += [tuple(replace(m, sha256="ff", psnr=m.psnr + 1, picture="c") for m in row) for row in rows[:3]]
    document = json.loads(as_json(rows), parse_constant=pytest.fail)
    assert document["name"] == OURS
    assert document["results"]["bpp"] == [pytest.approx(8 * size / 8000) for size, _ in OUR_CURVE]
    assert document["results"]["psnr"] == [pytest.approx(db + 1 / 3) for _, db in OUR_CURVE]
    assert "ssimulacra2" not in document["results"]
    assert document["inputs"] == {"0": "00", "1": "01", "c": "ff"}
    assert [entry["sha256"] for entry in document["pictures"]] == ["00"] * 3 + ["01"] * 3 + ["ff"] * 3
    (baseline,) = document["baselines"]
    assert baseline["name"] == "WebP"
    assert baseline["results"] == baseline["inputs"] == {}  # no picture has it at every setting
    curves = [[RatePoint(8 * size / 8000, db) for size, db in curve if size] for curve in (OUR_CURVE, webp)]
    shifted = [[replace(point, psnr=point.psnr + 1) for point in curve] for curve in curves]
    assert baseline["bd-rate"] == pytest.approx((2 * bd_rate(*curves) + bd_rate(*shifted)) / 3)
    assert [entry["WebP"] for entry in document["pictures"][:2]] == [None, {"bpp": 0.19, "PSNR": 26.0}]


def test_the_command_writes_what_it_prints(
    large_files: Checkpoint, photographs: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "tiny"
    large_files.save(checkpoint)
    monkeypatch.setattr("residae.evaluate.bd_rates", lambda _: {"WebP": (-12.34, 2)})
    tsv, scores = tmp_path / "results.tsv", tmp_path / "scores.json"
    common = ["evaluate", str(photographs), "--checkpoint", str(checkpoint), "--against", "webp,webp:0", "--color"]
    common += ["--tsv", str(tsv)]
    assert main([*common, "--quality", "95"]) == 0
    assert main([*common, "--quality", "95,100"]) == 1  # the table is there
    assert "results.tsv exists already" in capsys.readouterr().err
    assert main([*common, "--quality", "95,100", "--resume", "--json", str(scores)]) == 0
    printed = capsys.readouterr().out
    head = printed.splitlines()[1]
    assert "; color; " in printed.splitlines()[0]
    assert head.split()[:8] == ["picture", "setting", "bytes", "bpp", "PSNR", "SSIM", "MS-SSIM", "WebP"]
    assert "WebP (method 0)" in head
    document = json.loads(scores.read_text())
    assert len(document["results"]["psnr"]) == 2
    table = [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in tsv.read_text().splitlines()[1:]]
    assert len(table) == 2 * 2 * 3
    for entry in document["pictures"]:
        (line,) = [
            line
            for line in table
            if (line["picture"], line["setting"], line["codec"]) == (entry["name"], entry["setting"], OURS)
        ]
        assert (int(line["bytes"]), float(line["psnr"])) == (entry["bytes"], entry["PSNR"])
        assert f"{entry['PSNR']:.2f}" in printed
        assert f"{entry['WebP']['PSNR']:.2f}" in printed
    assert printed.splitlines()[-1] == f"BD-rate of WebP against {OURS}: -12.3 %, mean of 2 pictures"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--resume", "--resume needs --tsv FILE"),
        ("--scale auto", "--scale auto goes by the size of the file"),
        ("--scale auto --quality 5 --target-bpp 1", "--scale auto goes by the size of the file"),
        ("--refine 5", "files are refined: give --quality or --target-bpp"),
        ("--refine 0 --quality 5", "0 is not above 0"),
        ("--scale 5 --quality 5", "a scale is auto, or 0.5 to 4"),
    ],
)
def test_options_that_make_no_sense_together(options: str, sentence: str, folder: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(folder), *options.split()])
    assert sentence in capsys.readouterr().err


def test_scale_and_steps_on_the_command_line(checkpoint: Path, folder: Path, capsys: Capture) -> None:
    common = ["evaluate", str(folder), "--checkpoint", str(checkpoint)]
    for options, setting in (
        ("--scale 2", "unquantized, scale 2"),
        ("--scale auto --target-bpp 0.5 --refine 2", "0.5 bpp, 2 steps"),
        ("--scale 1 --quality 70 --refine 1", "quality 70, scale 1, 1 step"),
    ):
        assert main([*common, *options.split()]) == 0
        assert f"a.png       {setting}  " in capsys.readouterr().out


def test_ssimulacra2_that_is_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["evaluate", str(folder), "--ssimulacra2"]) == 1
    assert "residae[measure]" in capsys.readouterr().err


def test_columns_line_up(pipeline: Pipeline, folder: Path, capsys: Capture) -> None:
    print_evaluation(
        pipeline, picture_files([folder]), [Setting(bits_per_pixel=0.1234567)], [CODECS["AVIF"].at_effort(8)]
    )
    lines = capsys.readouterr().out.splitlines()[1:5]
    assert len({len(line) for line in lines}) == 1


def test_mean_curves_are_over_the_same_pictures(tmp_path: Path) -> None:
    def measured(picture: str, setting: str, codec: str, size: int | None, psnr: float) -> Measurement:
        return Measurement(picture, picture, 8, 8, setting, codec, bytes=size, psnr=psnr)

    tsv = ResultsFile(tmp_path / "results.tsv", resume=False, force=False)
    tsv.append(
        [
            *(measured(name, "0.2 bpp", OURS, 16, 30.0 + i) for i, name in enumerate("ab")),
            *(measured(name, "0.1 bpp", OURS, 8, 20.0 + i) for i, name in enumerate("ab")),
            *(measured(name, "0.2 bpp", "AVIF", 8, 11.0 + i) for i, name in enumerate("ab")),
            *(measured(name, "0.2 bpp", "JPEG", 8, 10.0 + i) for i, name in enumerate("ab")),
            measured("a", "0.1 bpp", "JPEG", 8, 9.0),
            measured("b", "0.1 bpp", "JPEG", None, math.nan),  # cannot make so small a file of it
            measured("a", "unquantized", OURS, None, 40.0),
        ]
    )
    curves = {OURS: [RatePoint(1.0, 20.5), RatePoint(2.0, 30.5)], "JPEG": [RatePoint(1.0, 10.5)]}
    curves["AVIF"] = [RatePoint(1.0, 11.5)]
    assert mean_curves(tsv.path) == [MeanCurves(curves, ("a", "b"))]
    assert [*mean_curves(tsv.path)[0].curves] == [OURS, "JPEG", "AVIF"]  # as in all charts
    tsv.append(
        [
            measured("b", "0.1 bpp, 9 steps", OURS, 8, 22.0),
            replace(measured("b", "0.1 bpp, scale 1", OURS, 16, 50.0), options="color, tiny"),
        ]
    )
    refined = {
        OURS: [RatePoint(1.0, 21.0), RatePoint(2.0, 31.0)],
        "JPEG": [RatePoint(1.0, 11.0)],
        "AVIF": [RatePoint(1.0, 12.0)],
        f"{OURS}, 9 steps": [RatePoint(1.0, 22.0)],
    }
    assert mean_curves(tsv.path) == [MeanCurves(curves, ("a", "b")), MeanCurves(refined, ("b",))]
    tsv.append([measured(name, f"0.3 bpp, scale {i}", OURS, 8, 30.0) for i, name in enumerate("cdefgh")])
    others = [
        [name for name, curve in chart.curves.items() if curve] for chart in mean_curves(tsv.path)[2:]
    ]  # of as many pictures, in the order of the file
    assert others == [[f"{OURS}, scale {i}"] for i in range(6)]


@pytest.mark.parametrize(
    ("names", "size", "title"),
    [
        ([f"kodim{i:02}.png" for i in range(1, 25)], (768, 512), "Kodak, luma, mean of 24 pictures"),
        (["05.png", "01.png"], (512, 768), "Kodak, luma, mean of 2 pictures: 01, 05"),
        (["05.png", "25.png"], (512, 768), "Luma, mean of 2 pictures: 05, 25"),
        (["05.png"], (640, 480), "Luma, mean of 1 picture: 05"),
    ],
)
def test_mean_curves_name_their_pictures(tmp_path: Path, names: list[str], size: tuple[int, int], title: str) -> None:
    tsv = ResultsFile(tmp_path / "results.tsv", resume=False, force=False)
    tsv.append([Measurement(name, name, *size, "0.1 bpp", OURS, bytes=9, psnr=30.0) for name in names])
    (means,) = mean_curves(tsv.path)
    assert means.title == title
