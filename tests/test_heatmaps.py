from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from residae import heatmaps
from residae.image import open_picture, write_png
from residae.ui.viewer import error_pane

Picture = NDArray[np.uint8]


def oklab(table: Picture) -> NDArray[np.float64]:
    srgb = table / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.linalg.inv(heatmaps.CONES_TO_LINEAR_SRGB).T
    return np.cbrt(cones) @ np.linalg.inv(heatmaps.OKLAB_TO_CONE_ROOTS).T


def test_sequential_is_even_in_lightness_and_in_steps() -> None:
    lab = oklab(heatmaps.sequential())
    assert lab.shape == (256, 3)
    assert np.abs(lab[:, 0] - np.linspace(0.15, 0.95, 256)).max() < 0.005  # 8 bits, and no color cut by the gamut
    steps = np.linalg.norm(
        np.diff(lab[::15], axis=0), axis=1
    )  # 15 entries: large in comparison with the rounding to 8 bits
    assert np.ptp(steps) < 0.1 * steps.mean()


def test_diverging_is_even_and_balanced_about_a_neutral_zero() -> None:
    lab = oklab(heatmaps.diverging())
    assert lab.shape == (255, 3)
    assert np.ptp(heatmaps.diverging()[127]) == 0  # neutral
    assert np.abs(lab[:, 0] - lab[::-1, 0]).max() < 0.005
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    assert np.abs(chroma - chroma[::-1]).max() < 0.005
    assert np.abs(lab[:, 0] - (0.96 - 0.46 * abs(np.linspace(-1, 1, 255)))).max() < 0.005
    blue, orange = heatmaps.diverging()[[0, -1]].astype(int)
    assert blue[2] > blue[1] > blue[0]
    assert orange[0] > orange[1] > orange[2]


def test_color_tables_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        heatmaps.sequential()[0] = 0


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_no_error_has_the_color_of_zero(shape: tuple[int, ...]) -> None:
    a = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert (heatmaps.error_map(a, a, False, 16) == heatmaps.sequential()[0]).all()
    assert (heatmaps.error_map(a, a, True, 16) == heatmaps.diverging()[127]).all()
    assert heatmaps.error_map(a, a, True, 16).shape == (4, 5, 3)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_error_map_is_signed_and_saturates_at_the_scale(channels: tuple[int, ...]) -> None:
    original = np.full((1, 5, *channels), 100, np.uint8)
    reconstruction = original + np.array([-100, -8, 0, 8, 155]).reshape(1, 5, *(1 for _ in channels))
    reconstruction = reconstruction.astype(np.uint8)
    signed = heatmaps.error_map(original, reconstruction, True, 8)
    assert (signed == heatmaps.diverging()[[0, 0, 127, 254, 254]]).all()
    absolute = heatmaps.error_map(original, reconstruction, False, 8)
    assert (absolute == heatmaps.sequential()[[255, 255, 0, 255, 255]]).all()
    assert (heatmaps.error_map(original, reconstruction, False, 16)[0, 1] == heatmaps.sequential()[128]).all()


def test_the_page_serves_error_maps_as_few_bytes_of_the_same_colors() -> None:
    original, reconstruction = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), np.uint8)
    pane = error_pane("Error", original, reconstruction, 64)
    for role, signed in (("picture", False), ("signed", True)):
        expected, file = heatmaps.error_map(original, reconstruction, signed, 64), Path(pane[role]["path"])
        np.testing.assert_array_equal(open_picture(file).pixels, expected)
        assert file.stat().st_size < 0.7 * len(write_png(expected, compress_level=1))


def test_color_error_is_the_root_mean_square_over_channels() -> None:
    original = np.zeros((1, 1, 3), np.uint8)
    reconstruction = np.array([[[3, 4, 5]]], np.uint8)  # (9 + 16 + 25) / 3 = 16.7 = 4.08 ** 2
    index = round(255 * np.sqrt(50 / 3) / 16)
    assert (heatmaps.error_map(original, reconstruction, False, 16)[0, 0] == heatmaps.sequential()[index]).all()


def test_error_scale_is_the_round_number_above_nearly_all_errors() -> None:
    original = np.zeros((100, 100), np.uint8)
    reconstruction = original.copy()
    assert heatmaps.error_scale(original, reconstruction) == 4
    reconstruction[0, :50] = 200  # half a percent: not yet
    assert heatmaps.error_scale(original, reconstruction) == 4
    reconstruction[:10] = 33
    assert heatmaps.error_scale(original, reconstruction) == 64
    reconstruction[:10] = 32
    assert heatmaps.error_scale(original, reconstruction) == 32
    assert heatmaps.error_scale(original, original + np.uint8(255)) == 255


@pytest.mark.parametrize(
    "view",
    [
        heatmaps.error_scale,
        heatmaps.luma_error,
        heatmaps.where_error,
        lambda a, b: heatmaps.error_map(a, b, True, 8),
        lambda a, b: heatmaps.error_map(a, b, False, 8),
    ],
)
def test_pictures_of_different_shapes_are_refused(view: Callable[[Picture, Picture], object]) -> None:
    with pytest.raises(ValueError, match="shape"):
        view(np.zeros((3, 3), np.uint8), np.zeros((3, 3, 3), np.uint8))


def test_latent_tiles_share_a_scale_and_are_centered() -> None:
    noise = np.random.default_rng(0).normal(size=(16, 24)).astype(np.float32)
    z = np.stack((noise + 500, 0.01 * noise - 70, np.full_like(noise, 0.1)))
    busy, quiet, constant = heatmaps.latent_tiles(z)
    assert busy.shape == quiet.shape == constant.shape == (128, 192, 3)  # 8 x
    assert busy.dtype == np.uint8
    assert len(np.unique(busy.reshape(-1, 3), axis=0)) > 100
    assert len(np.unique(quiet.reshape(-1, 3), axis=0)) < 5
    assert (constant == heatmaps.diverging()[127]).all()
    assert (busy == busy[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)).all()


def test_latent_tiles_saturate_at_a_given_scale() -> None:
    z = np.array([[[-2, -1, 0, 1, 2]]], np.float32)
    (tile,) = heatmaps.latent_tiles(z, scale=1)
    assert (tile[0, ::102] == heatmaps.diverging()[[0, 0, 127, 254, 254]]).all()  # 512 // 5 = 102


@pytest.mark.parametrize(
    ("cells", "pixels"), [((1, 1), (128, 128)), ((3, 50), (30, 500)), ((2, 600), (2, 600)), ((130, 200), (130, 200))]
)
def test_latent_tiles_are_enlarged_in_whole_steps(cells: tuple[int, int], pixels: tuple[int, int]) -> None:
    (tile,) = heatmaps.latent_tiles(np.zeros((1, *cells), np.float32))
    assert tile.shape == (*pixels, 3)
    assert (tile == heatmaps.diverging()[127]).all()


def test_latent_channel_has_its_own_scale() -> None:
    quiet = 1e-3 * np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32) + 3
    picture = heatmaps.latent_channel(quiet)
    assert picture.shape == (512, 512, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    assert (heatmaps.latent_channel(np.full((4, 4), 0.1, np.float32)) == heatmaps.diverging()[127]).all()


def test_a_strip_of_channels_shows_each_channel_on_its_own_scale() -> None:
    latent = np.stack([1000 + 7 * np.eye(3, 5), np.eye(3, 5), np.full((3, 5), 4.0)])
    faint, vivid, constant = heatmaps.latent_strip(latent).reshape(3, 3, 5, 3)
    np.testing.assert_array_equal(faint, vivid)
    assert len(np.unique(vivid.reshape(-1, 3), axis=0)) == 2
    np.testing.assert_array_equal(constant, np.broadcast_to(heatmaps.diverging()[127], (3, 5, 3)))


def test_a_large_strip_of_channels_is_reduced_by_averaging() -> None:
    latent = np.random.default_rng(0).normal(size=(2, 3, 300))
    averages = np.stack([latent[..., start : start + 3].mean((1, 2)) for start in range(0, 300, 3)], axis=1)
    np.testing.assert_array_equal(heatmaps.latent_strip(latent), heatmaps.latent_strip(averages[:, None]))


def test_channel_statistics() -> None:
    z_c = np.array([[1, 2], [3, 6]], np.float32)
    expected = heatmaps.ChannelStatistics(mean=3, standard_deviation=3.5**0.5, minimum=1, maximum=6)
    assert heatmaps.channel_statistics(z_c) == expected


def test_where_error_of_equal_pictures() -> None:
    a = np.zeros((5, 5, 3), np.uint8)
    assert heatmaps.where_error(a, a) == "There is no error: the two pictures are equal."


@pytest.mark.parametrize("region", heatmaps.REGIONS)
def test_where_error_names_the_part_that_has_it(region: str) -> None:
    weight = np.zeros((3, 3))
    weight[heatmaps.REGIONS[region]] = 1
    error = np.kron(weight, np.full((30, 40), 6)).astype(np.uint8)
    sentence = heatmaps.where_error(np.zeros_like(error), error)
    assert sentence == f"Most of the error is {region}."


def test_where_error_claims_no_majority_that_is_not_there() -> None:
    error = np.full((90, 90), 10, np.uint8)
    error[:30, 60:] = 20  # 4 parts of 12
    sentence = heatmaps.where_error(np.zeros_like(error), error)
    assert sentence == "The error is largest in the upper right."


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 2), (40, 30), (40, 30, 3)])
def test_where_error_of_an_even_error(shape: tuple[int, ...]) -> None:
    a = np.full(shape, 100, np.uint8)
    assert heatmaps.where_error(a, a + np.uint8(9)) == "The error is spread over the picture."


def test_where_error_names_detail_that_has_it() -> None:
    original = np.zeros((96, 96), np.uint8)
    error = np.zeros((96, 96), np.uint8)
    for top in range(8, 96, 32):  # in each ninth, the same block of 8 x 8: 9 of 144 blocks
        for left in range(8, 96, 32):
            original[top + 2 : top + 6, left + 2 : left + 6] = 200
            error[top : top + 8, left : left + 8] = 5
    sentence = heatmaps.where_error(original, original + error)
    assert sentence == "Most of the error is where the detail is."


def test_where_error_names_a_part_and_the_detail_in_it() -> None:
    original = np.zeros((96, 96), np.uint8)
    original[32:64, ::16] = 200
    error = np.where(original > 0, 40, 0).astype(np.uint8)
    assert heatmaps.where_error(original, original + error) == (
        "Most of the error is across the middle, where the detail is."
    )


def test_where_error_names_no_detail_that_is_elsewhere() -> None:
    """The error is on detail, most of which is evenly spread, and in a part that has little of it."""
    original = np.zeros((96, 96), np.uint8)
    original[::16, ::16] = 200
    error = np.zeros((96, 96), np.uint8)
    error[:32, :32][original[:32, :32] > 0] = 50
    assert heatmaps.where_error(original, original + error) == "Most of the error is in the upper left."


def test_where_error_claims_no_detail_that_only_has_its_share() -> None:
    original = np.zeros((8, 16), np.uint8)
    original[:, :8] = 200 * np.eye(8, dtype=np.uint8)  # one of two blocks: half of the error on half of the picture
    assert heatmaps.where_error(original, original + np.uint8(5)) == "The error is spread over the picture."


def test_where_bits_names_the_busy_and_the_empty() -> None:
    bits = np.array([10, 60, 0.1, 30])
    assert heatmaps.where_bits(bits) == "Half of the bits are in channel 2. Channel 3 is nearly empty."
    assert heatmaps.where_bits(np.ones(4)) == "Half of the bits are in channels 1 and 2."
    some = np.array([9, 0, 0.1, 9, 9, 0])
    assert (
        heatmaps.where_bits(some) == "Half of the bits are in channels 1 and 4. Channels 2, 3 and 6 are nearly empty."
    )
    one = np.array([0, 9, 0, 0, 0, 0])
    assert heatmaps.where_bits(one).endswith(" Channels 1 and 3 to 6 are nearly empty.")
    assert heatmaps.where_bits(one[::-1]).endswith(" Channels 1 to 4 and 6 are nearly empty.")
    assert heatmaps.where_bits(np.sort(one)).endswith(" Channels 1 to 5 are nearly empty.")
    assert "nan" not in heatmaps.where_bits(np.zeros(4))


def test_a_change_can_be_added_again() -> None:
    before, after = (
        np.arange(256, dtype=np.uint8)[:, None].repeat(256, 1),
        np.arange(256, dtype=np.uint8)[None].repeat(256, 0),
    )
    restored = before + 2 * (heatmaps.change(before, after) - 128.0)
    np.testing.assert_allclose(restored, after, atol=1)
    assert (heatmaps.change(before, before) == 128).all()
    with pytest.raises(ValueError, match="shape"):
        heatmaps.change(before, after[1:])
