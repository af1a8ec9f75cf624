"""The pipeline: encoding once, decoding at any rate and scale, and measuring."""

import contextlib
import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from residae import checkpoint as checkpoint_module
from residae import pipeline as pipeline_module
from residae.baselines import CODECS
from residae.checkpoint import Checkpoint, read_card
from residae.compare import (
    CURVE_QUALITIES,
    LARGER_QUALITY,
    OURS,
    REFINED,
    compare,
    compare_at_equal_bytes,
    larger_scales,
    refined_curve,
    with_refined,
)
from residae.deploy import CHECKPOINT, ROOT
from residae.edit import Edits, channel_losses, edit_latents, reconstruct_edited
from residae.errors import CodecError, ImageError, OutOfMemoryError
from residae.geometry import latent_shape
from residae.image import Picture, from_planes, to_gray, to_planes, write_png
from residae.metrics import bits_per_pixel, psnr, ssim, ssimulacra2
from residae.model import ResidualAutoencoder
from residae.pipeline import LUMA_ALONE, Pipeline, reference
from residae.progress import between, split
from residae.resample import resample, taps


@pytest.fixture
def gray(picture: Picture) -> Picture:
    return dataclasses.replace(picture, pixels=to_gray(picture))


def test_latents_of_luma_alone(pipeline: Pipeline, picture: Picture) -> None:
    encoding = pipeline.encode(picture, color=False)
    assert (encoding.height, encoding.width) == (53, 75)
    assert encoding.seconds > 0
    (latent,) = encoding.latents
    np.testing.assert_array_equal(latent, pipeline.engine.encode(*to_planes(picture, color=False)))
    assert pipeline.ratio == 64


def test_latents_in_color(pipeline: Pipeline, picture: Picture) -> None:
    encoding = pipeline.encode(picture, color=True)
    assert [latent.shape for latent in encoding.latents] == [(4, 4, 5), (4, 2, 3), (4, 2, 3)]
    for latent, plane in zip(encoding.latents, to_planes(picture, color=True), strict=True):
        np.testing.assert_array_equal(latent, pipeline.engine.encode(plane))


@pytest.mark.parametrize("color", [False, True])
def test_decoding_is_that_of_each_plane(pipeline: Pipeline, picture: Picture, color: bool) -> None:
    encoding = pipeline.encode(picture, color)
    decoding = pipeline.decode(encoding)
    sizes = [(53, 75), (27, 38), (27, 38)]
    planes = [pipeline.engine.decode(z, *size) for z, size in zip(encoding.latents, sizes, strict=False)]
    np.testing.assert_array_equal(decoding.pixels, from_planes(planes))
    assert decoding.pixels.shape == ((53, 75, 3) if color else (53, 75))
    assert decoding.seconds > 0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 40), (17, 16), (1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("color", [False, True])
def test_size_comes_back_exactly(pipeline: Pipeline, size: tuple[int, int], color: bool) -> None:
    picture = Picture(np.full((*size, 3), 99, np.uint8), (), 0)
    report = pipeline.reconstruct(picture, color)
    assert report.decoding.pixels.shape == report.original.shape == (size + (3,) * color)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(1, 60), st.integers(50, 400), st.booleans())
def test_any_size_comes_back_at_every_scale(
    pipeline: Pipeline, height: int, width: int, hundredths: int, color: bool
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    scale = hundredths / 100
    report = pipeline.reconstruct(Picture(noise, (), None), color, quality=50, scale=scale)
    assert report.decoding.pixels.shape == report.original.shape == (height, width) + (3,) * color
    assert report.encoding.latents[0].shape[1:] == latent_shape(height, width, scale)
    assert report.compressed
    info, decoding = pipeline.read(report.compressed.data)
    assert (info.height, info.width, info.scale) == (height, width, scale)
    np.testing.assert_array_equal(decoding.pixels, report.decoding.pixels)
    assert report.psnr == psnr(report.original, decoding.pixels)


@pytest.mark.parametrize("scale", [0.59, 1.41])
def test_planes_are_resampled_before_the_encoder_and_after_the_decoder(
    pipeline: Pipeline, picture: Picture, scale: float
) -> None:
    encoding = pipeline.encode(picture, color=True, scale=scale)
    planes = to_planes(picture, color=True)
    sizes = {0.59: [(31, 44), (16, 22), (16, 22)], 1.41: [(75, 106), (38, 53), (38, 53)]}[scale]
    rebuilt = []
    for latent, plane, size in zip(encoding.latents, planes, sizes, strict=True):
        np.testing.assert_array_equal(latent, pipeline.engine.encode(resample(plane, *size)))
        rebuilt.append(resample(pipeline.engine.decode(latent, *size), *plane.shape))
    np.testing.assert_array_equal(pipeline.decode(encoding).pixels, from_planes(rebuilt))


def _resized(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """The plane by the weights of `taps`, clamped."""
    for axis, length in enumerate((height, width)):
        first, weights = taps(plane.shape[axis], length)
        index = first[:, None] + np.arange(weights.shape[1])
        plane = np.moveaxis(np.einsum("jk,jk...->j...", weights, np.moveaxis(plane, axis, 0)[index]), 0, axis)
    return np.clip(plane, 0, 1)


@pytest.mark.parametrize("scale", [0.77, 1.0, 1.68])
def test_another_decoder_from_the_docstring_makes_the_same_pixels(
    pipeline: Pipeline, picture: Picture, scale: float
) -> None:
    """From the decoder network's planes on, as `residae.codec.rae` defines it."""
    data = pipeline.write(pipeline.encode(picture, color=True, scale=scale), 60).data
    info, decoding = pipeline.read(data)
    tall, wide = (max(1, (length * round(100 * scale) + 50) // 100) for length in (53, 75))
    sizes = [(tall, wide), *[((tall + 1) // 2, (wide + 1) // 2)] * 2]
    planes = []
    for latent, size, own in zip(
        pipeline.codec.decompress(data).latents, sizes, [(53, 75), (27, 38), (27, 38)], strict=True
    ):
        whole = pipeline.engine.decode(latent, 16 * latent.shape[1], 16 * latent.shape[2])
        planes.append(_resized(whole[: size[0], : size[1]].astype(np.float64), *own))
    y, *chroma = planes
    rows, columns = ((np.arange(length) + 0.5) / 2 - 0.5 for length in (53, 75))
    cb, cr = (np.array([np.interp(columns, np.arange(38), row) for row in plane]) for plane in chroma)
    cb, cr = (
        np.array([np.interp(rows, np.arange(27), column) for column in plane.T]).T - 128 / 255 for plane in (cb, cr)
    )
    r, b = y + 1.402 * cr, y + 1.772 * cb
    pixels = np.stack((r, (y - 0.299 * r - 0.114 * b) / 0.587, b), 2)
    exact = 255 * np.clip(pixels, 0, 1)
    assert info.scale == scale
    assert np.abs(decoding.pixels - exact).max() < 0.51  # rounded


def test_a_picture_that_a_scale_makes_too_large(pipeline: Pipeline) -> None:
    line = Picture(np.zeros((1, 20_000), np.uint8), (), None)
    with pytest.raises(ImageError, match=r"At scale 4 the picture has 80,000 × 4 pixels; .* choose a smaller scale"):
        pipeline.encode(line, color=False, scale=4)
    for scale in (0.4, 4.1, float("nan")):
        with pytest.raises(ValueError, match="a scale is"):
            pipeline.encode(line, color=False, scale=scale)


def test_a_scale_is_that_of_the_file(pipeline: Pipeline, picture: Picture) -> None:
    """A scale is rounded to hundredths before encoding, so that encoding and file agree."""
    encoding = pipeline.encode(picture, color=False, scale=1.2345)
    assert encoding.scale == pipeline.codec.decompress(pipeline.write(encoding, 50).data).info.scale == 1.23


def test_edits_and_comparisons_work_at_a_scale(pipeline: Pipeline, picture: Picture) -> None:
    report = pipeline.reconstruct(picture, color=False, quality=60, scale=1.5)
    other = pipeline.encode(dataclasses.replace(picture, pixels=picture.pixels[::-1]), color=False, scale=1.5)
    edited = reconstruct_edited(pipeline, picture, report.encoding, Edits(blend=1.0), other)
    assert edited.psnr == pytest.approx(psnr(report.original, pipeline.decode(other).pixels), abs=1e-6)
    assert len(list(channel_losses(pipeline, picture, scale=1.5))) == 4
    last = [*compare(pipeline, report.original, report.encoding, report.compressed)][-1]
    assert report.compressed
    assert last.results[0].bytes == len(report.compressed.data)


def test_an_edited_latent_decodes_to_another_picture(pipeline: Pipeline, picture: Picture) -> None:
    encoding = pipeline.encode(picture, color=False)
    before = pipeline.decode(encoding).pixels
    (latent,) = encoding.latents
    edited = latent.copy()
    edited[2] = 0
    after = pipeline.decode(dataclasses.replace(encoding, latents=(edited,))).pixels
    assert (before != after).any()
    np.testing.assert_array_equal(pipeline.decode(encoding).pixels, before)  # the encoding itself has not changed


@pytest.mark.parametrize("color", [False, True])
def test_report(pipeline: Pipeline, picture: Picture, color: bool) -> None:
    report = pipeline.reconstruct(picture, color)
    rebuilt = pipeline.decode(pipeline.encode(picture, color)).pixels
    np.testing.assert_array_equal(report.original, picture.pixels if color else to_gray(picture))
    np.testing.assert_array_equal(report.decoding.pixels, rebuilt)
    assert report.psnr == psnr(report.original, rebuilt)
    assert report.ssim == ssim(report.original, rebuilt)
    assert report.notices[0] == "A notice."
    assert ("Only its luma is kept; choose Color to keep more." in report.notices) is not color
    assert report.file_bytes == 1000
    assert report.compressed is None
    for value in (report, report.encoding, report.decoding):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.seconds = 0.0


@pytest.mark.parametrize("color", [False, True])
def test_report_from_a_file(pipeline: Pipeline, picture: Picture, color: bool) -> None:
    """The reconstruction is decoded from the file and not from the unquantized latent."""
    report = pipeline.reconstruct(picture, color, quality=30)
    assert report.compressed
    assert report.compressed.data == pipeline.write(pipeline.encode(picture, color), 30).data
    info, decoding = pipeline.read(report.compressed.data)
    assert (info.height, info.width, info.color, info.name) == (53, 75, color, "tiny")
    np.testing.assert_array_equal(report.decoding.pixels, decoding.pixels)
    assert (decoding.pixels != pipeline.reconstruct(picture, color).decoding.pixels).any()
    assert report.psnr == psnr(report.original, decoding.pixels)


def test_file_within_a_size(pipeline: Pipeline, picture: Picture) -> None:
    encoding = pipeline.encode(picture, color=False)
    least, most = (len(pipeline.write(encoding, quality).data) for quality in (0, 100))
    compressed = pipeline.write_within(encoding, (least + most) // 2)
    assert least < len(compressed.data) <= (least + most) // 2
    with pytest.raises(CodecError):
        pipeline.write_within(encoding, least - 1)


@pytest.mark.parametrize("limit", [{"quality": 50}, {"max_bytes": 600}, {"quality": 50, "refine": 1}])
def test_a_gray_picture_is_coded_as_luma_alone(pipeline: Pipeline, gray: Picture, limit: dict[str, int]) -> None:
    """Chroma would cost bytes and half of the time, and say nothing."""
    report, luma = (pipeline.reconstruct(gray, color, **limit) for color in (True, False))
    assert report.compressed
    assert luma.compressed
    assert report.compressed.data == luma.compressed.data == pipeline.compress(gray, color=True, **limit)
    np.testing.assert_array_equal(report.original, gray.pixels)
    np.testing.assert_array_equal(report.decoding.pixels, luma.decoding.pixels)
    assert LUMA_ALONE in report.notices
    np.testing.assert_array_equal(reference(gray, color=True), gray.pixels)


def test_no_edits_change_nothing(pipeline: Pipeline, picture: Picture) -> None:
    encoding = pipeline.encode(picture, color=True)
    assert not Edits()
    assert not Edits((1.0,) * 4)
    for before, after in zip(
        encoding.latents, edit_latents(encoding.latents, Edits((1.0,) * 4), pipeline.codec.tables.means), strict=True
    ):
        np.testing.assert_allclose(after, before, atol=1e-5 * abs(before).max())
    report = reconstruct_edited(pipeline, picture, encoding, Edits())
    assert report.psnr == pytest.approx(pipeline.reconstruct(picture, color=True).psnr, abs=1e-6)


def test_a_gain_scales_what_a_channel_deviates_from_its_mean(pipeline: Pipeline, picture: Picture) -> None:
    latents = pipeline.encode(picture, color=True).latents
    edits = Edits((0.0, 1.0, 0.5, 2.0))
    assert edits
    tables = pipeline.codec.tables
    for before, after, mean in zip(latents, edit_latents(latents, edits, tables.means), tables.means, strict=True):
        means = mean[:, None, None]
        np.testing.assert_allclose(after - means, (before - means) * np.reshape(edits.gains, (4, 1, 1)), atol=1e-4)
        assert np.ptp(after[0]) == 0  # muted


def test_coarser_steps_leave_few_values(pipeline: Pipeline, picture: Picture) -> None:
    (before,) = pipeline.encode(picture, color=False).latents
    (after,) = edit_latents([before], Edits(step=1.5), pipeline.codec.tables.means)
    for channel, rounded in zip(before, after, strict=True):
        assert len(np.unique(np.round(rounded, 4))) < len(np.unique(channel))
        assert abs(rounded - channel).max() <= 0.75 * channel.std() * 1.001


def test_noise_is_of_the_asked_strength_and_the_same_each_time(pipeline: Pipeline) -> None:
    before = np.random.default_rng(0).normal(0, [[[1]], [[2]], [[3]], [[4]]], (4, 60, 60)).astype(np.float32)
    (first,), (second,) = (edit_latents([before], Edits(noise=0.5), pipeline.codec.tables.means) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose((first - before).std((1, 2)), 0.5 * before.std((1, 2)), rtol=0.05)


def test_blending_ends_at_the_other_picture(pipeline: Pipeline, picture: Picture) -> None:
    other = dataclasses.replace(picture, pixels=picture.pixels[::-1])
    ours, theirs = (pipeline.encode(one, color=False) for one in (picture, other))
    whole = edit_latents(ours.latents, Edits(blend=1.0), pipeline.codec.tables.means, theirs.latents)
    np.testing.assert_allclose(whole[0], theirs.latents[0], atol=1e-4)
    half = edit_latents(ours.latents, Edits(blend=0.5), pipeline.codec.tables.means, theirs.latents)
    np.testing.assert_allclose(half[0], (ours.latents[0] + theirs.latents[0]) / 2, atol=1e-4)


def test_edits_that_do_not_fit_are_refused(pipeline: Pipeline, picture: Picture) -> None:
    (latent,) = pipeline.encode(picture, color=False).latents
    with pytest.raises(ValueError, match="gains"):
        edit_latents([latent], Edits((1.0, 0.0)), pipeline.codec.tables.means)
    with pytest.raises(ValueError, match="shape"):
        edit_latents([latent], Edits(blend=0.5), pipeline.codec.tables.means, [latent[:, 1:]])
    with pytest.raises(ValueError, match="shorter"):
        edit_latents([latent] * 3, Edits(blend=0.5), pipeline.codec.tables.means, [latent])


def test_losses_of_channels_are_those_of_muting_them(pipeline: Pipeline, picture: Picture) -> None:
    losses = list(channel_losses(pipeline, picture))
    assert len(losses) == 4
    luma = pipeline.encode(picture, color=False)
    whole, muted = (
        reconstruct_edited(pipeline, picture, luma, Edits(gains)).psnr for gains in ((), (1.0, 1.0, 0.0, 1.0))
    )
    assert losses[2] == pytest.approx(whole - muted, abs=1e-6)


def test_bits_of_channels_are_those_of_the_file(pipeline: Pipeline, picture: Picture) -> None:
    compressed = pipeline.write(pipeline.encode(picture, color=True), 60)
    bits = pipeline.channel_bits(compressed)
    assert bits.shape == (3, 4)
    assert bits.sum() / 8 < len(compressed.data) < bits.sum() / 8 + 120


def test_comparison_is_at_no_more_bytes_and_its_curves_grow(pipeline: Pipeline, picture: Picture) -> None:
    report = pipeline.reconstruct(picture, color=False, quality=100)
    comparisons = list(compare(pipeline, report.original, report.encoding, report.compressed))
    first, last = comparisons[0], comparisons[-1]
    assert report.compressed
    assert [c.name for c in first.results] == [OURS, *CODECS]
    assert first.results[0].psnr == report.psnr
    for result in first.results[1:]:
        if result.pixels is None:
            assert not first.curves[result.name]
        else:
            assert result.bytes <= len(report.compressed.data)
            assert result.psnr == psnr(report.original, result.pixels)
    for early, late in zip(first.results, last.results, strict=True):
        assert math.isnan(early.ssimulacra2)  # it takes longer, and follows
        if late.pixels is not None:
            assert late.ssimulacra2 == pytest.approx(ssimulacra2(report.original, late.pixels))
    assert len(last.curves[OURS]) >= len(first.curves[OURS])
    for curve in last.curves.values():
        rates = [point.bits_per_pixel for point in curve]
        assert rates == sorted(rates)


def test_our_curve_goes_on_by_larger_scales_up_to_a_rate(
    pipeline: Pipeline, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = pipeline.reconstruct(picture, color=True, quality=50, scale=1.5)
    scales = larger_scales(report.encoding)
    assert scales == [2, 2.8, 4]
    larger = [pipeline.reconstruct(picture, color=True, quality=LARGER_QUALITY, scale=scale) for scale in scales]
    files = [one.compressed.data for one in larger if one.compressed]
    rates = [bits_per_pixel(len(data), picture.width, picture.height) for data in files]
    assert rates == sorted(rates)
    monkeypatch.setattr("residae.compare.CURVE_QUALITIES", (25, 50))  # all below the rates at larger scales
    for rate, expected in ((math.inf, larger), (rates[1], larger[:2]), (0.0, [])):
        monkeypatch.setattr("residae.compare.CURVE_RATE", rate)
        comparisons = [*compare(pipeline, report.original, report.encoding, report.compressed, scales)]
        assert len(comparisons) == 2 + 2 + len(expected)
        points = {point.psnr for point in comparisons[-1].curves[OURS]}
        assert points & {one.psnr for one in larger} == {one.psnr for one in expected}


def test_a_refined_file_has_a_curve_of_its_own(pipeline: Pipeline, picture: Picture) -> None:
    report = pipeline.reconstruct(picture, color=False, quality=60, refine=5)
    with contextlib.closing(compare(pipeline, report.original, report.encoding, report.compressed)) as comparisons:
        curves = with_refined(next(comparisons)).curves
    assert [point.psnr for point in curves[REFINED]] == [report.psnr]
    assert curves[OURS] == ()
    refined = [*refined_curve(pipeline, picture, report.encoding, 5)]
    unrefined = [pipeline.reconstruct(picture, color=False, quality=quality).psnr for quality in CURVE_QUALITIES]
    assert all(one.psnr >= psnr for one, psnr in zip(refined, unrefined, strict=True))


def test_comparing_goes_without_ssimulacra2_where_it_is_not_installed(
    pipeline: Pipeline, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residae.compare.find_spec", lambda _: None)
    report = pipeline.reconstruct(picture, color=False, quality=60)
    assert report.compressed
    rows = compare_at_equal_bytes(report.original, report.compressed, report.decoding).rows()
    assert {row["ssimulacra2"] for row in rows} == {None}
    assert rows[0]["psnr"] == report.psnr


def test_a_baseline_that_cannot_go_so_low_has_no_picture(pipeline: Pipeline, picture: Picture) -> None:
    report = pipeline.reconstruct(picture, color=True, quality=0)
    for comparison in compare(pipeline, report.original, report.encoding, report.compressed):
        jpeg = comparison.results[1]
        assert (jpeg.name, jpeg.pixels) == ("JPEG", None)
        assert [*comparison.curves] == [OURS, *CODECS]  # each keeps its color on the chart


@pytest.mark.parametrize(("colored", "color", "samples"), [(True, True, 3), (True, False, 1), (False, True, 1)])
def test_bare_pixels_of_gray_have_a_byte_each(
    pipeline: Pipeline, picture: Picture, colored: bool, color: bool, samples: int
) -> None:
    source = picture if colored else Picture(to_gray(picture), (), None)
    report = pipeline.reconstruct(source, color=color, quality=50)
    assert report.raw_bytes == samples * picture.width * picture.height


@pytest.mark.parametrize(
    "place",
    [
        "residae.pipeline.to_planes",
        "residae.codec.coder.encode",
        "residae.codec.coder.decode",
        "residae.engine.engine.grid_shape",  # called before there are tiles
        "residae.pipeline.from_planes",
        "residae.pipeline.psnr",
        "PIL.Image.Image.save",
    ],
)
def test_memory_that_runs_out_anywhere(
    pipeline: Pipeline, picture: Picture, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    def all_there_is() -> None:
        report = pipeline.reconstruct(picture, color=True, quality=50)
        assert report.compressed
        write_png(pipeline.read(report.compressed.data)[1].pixels)

    monkeypatch.setattr(place, fail)
    with pytest.raises(OutOfMemoryError, match=r"^The work takes more memory than there is\.$"):
        all_there_is()


def test_comparing_needs_a_file(pipeline: Pipeline, picture: Picture) -> None:
    with pytest.raises(ValueError, match="file"):
        next(compare(pipeline, picture.pixels, pipeline.encode(picture, color=True), None))


def test_checkpoints_are_found_and_the_named_one_is_first(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESIDAE_CHECKPOINT", raising=False)
    monkeypatch.setattr(checkpoint_module, "FOLDERS", (tmp_path,))
    assert Checkpoint.find() == {}
    for name in ("another", checkpoint_module.DEFAULT):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    (tmp_path / "no checkpoint").mkdir()
    assert [*Checkpoint.find()] == [checkpoint_module.DEFAULT, "another"]
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    assert next(iter(Checkpoint.find().items())) == ("tiny", str(checkpoint))


def test_a_model_card_comes_without_its_front_matter(tmp_path: Path) -> None:
    assert read_card(tmp_path) == "This checkpoint has no model card."
    (tmp_path / "README.md").write_text("---\nlicense: x\n---\n\n# Card\n\n---\n")
    assert read_card(tmp_path).strip() == "# Card\n\n---"


def test_a_model_card_has_its_pictures_in_it(tmp_path: Path) -> None:
    """Pictures from outside its folder stay links."""
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a.jpg").write_bytes(b"abc")
    (tmp_path / "b.jpg").write_bytes(b"secret")
    (tmp_path / "card" / "README.md").write_text("![A](a.jpg) ![B](../b.jpg)")
    assert read_card(tmp_path / "card") == "![A](data:image/jpeg;base64,YWJj) ![B](../b.jpg)"


@pytest.mark.parametrize("color", [False, True])
def test_progress_rises_to_one(pipeline: Pipeline, picture: Picture, color: bool) -> None:
    shares: list[float] = []
    pipeline.reconstruct(picture, color, progress=shares.append)
    assert all(a < b for a, b in itertools.pairwise([0.0, *shares]))
    assert shares[-1] == pytest.approx(1)
    assert max(b - a for a, b in itertools.pairwise(shares)) < 0.1
    encoding = pipeline_module.ENCODE_WORK / (pipeline_module.ENCODE_WORK + 1)
    assert any(share == pytest.approx(encoding) for share in shares)


def test_progress_may_stop_the_work(pipeline: Pipeline, picture: Picture) -> None:
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pipeline.reconstruct(picture, color=True, progress=stop)
    assert shares[-1] < 0.7


def test_between_and_split() -> None:
    shares: list[float] = []
    tell = between(shares.append, 0.25, 0.75)
    assert tell
    for share in (0, 0.5, 1):
        tell(share)
    assert shares == [0.25, 0.5, 0.75]
    shares.clear()
    for part in split(shares.append, 1, 0, 3):
        assert part
        part(0.5)
        part(1)
    assert shares == [0.125, 0.25, 0.25, 0.25, 0.625, 1]
    assert split(None, 1, 3) == [None, None]
    assert between(None, 0, 1) is None


def test_share_of_encoding_is_that_of_the_arithmetic() -> None:
    """51.996 and 80.958 GFLOP for one 256 x 256 picture, at 2 per multiply-add."""
    with torch.device("meta"):
        network = ResidualAutoencoder()
        x = torch.empty(1, 1, 256, 256)
    flops = []
    for work, argument in ((network.encode, x), (network.decode, network.encode(x))):
        with FlopCounterMode(display=False) as counter:
            work(argument)
        flops.append(counter.get_total_flops() / 1e9)
    assert flops == pytest.approx([51.996, 80.958], abs=0.001)
    assert flops[0] / flops[1] == pytest.approx(pipeline_module.ENCODE_WORK, abs=0.005)


def test_open_takes_the_argument_then_the_environment_then_the_project(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def find_folder(source: str | Path) -> Path:
        opened.append(Path(source))
        return checkpoint

    monkeypatch.setattr("residae.weights.find_folder", find_folder)
    monkeypatch.setenv("RESIDAE_CHECKPOINT", "owner/variable")
    assert Pipeline.open(checkpoint, "cpu").name == "tiny"
    assert Pipeline.open(device="cpu").name == "variable"
    monkeypatch.delenv("RESIDAE_CHECKPOINT")
    assert Pipeline.open(device="cpu").name == CHECKPOINT.name
    assert opened[::2] == [checkpoint, Path("owner/variable"), ROOT / CHECKPOINT]


def test_open_loads_the_weights(checkpoint: Path, picture: Picture) -> None:
    opened = Pipeline.open(checkpoint, "cpu")
    assert opened.engine.device == torch.device("cpu")
    expected = Pipeline(Checkpoint.open(checkpoint), "cpu")
    ours, theirs = (pipeline.encode(picture, color=False).latents[0] for pipeline in (opened, expected))
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * theirs.std())
