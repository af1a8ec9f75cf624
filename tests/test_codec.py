"""A `.rae` file is decoded to its symbols, has the size that the tables predict, and is refused if it is damaged."""

import copy
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from residae.checkpoint import DEFAULT, Checkpoint, open_codec
from residae.codec import Codec, Latent, coder, quantizer, rae, read_info
from residae.codec.rae import NAME_BYTES
from residae.codec.tables import ONE, Tables
from residae.engine import Engine
from residae.errors import CheckpointError, CodecError
from residae.model import ResidualAutoencoder
from residae.train.tables import NOISE_PSNR, balance_gains, fit_contexts, measure_sensitivity, refit_tables

CODEC = Codec(Tables.default(2), bytes(range(8)), "residae-16x")
PREAMBLE = 20 + 11  # bytes before the planes of a gray picture: the header and "residae-16x"
CRC = 4


def latents_of(height: int, width: int, planes: int, seed: int = 0, amplitude: float = 20) -> list[Latent]:
    """Latents of 2 channels that are correlated in space and with each other, as those of pictures are."""
    rng = np.random.default_rng(seed)
    latents = []
    for plane_index in range(planes):
        h, w = (-(-(-(-side // 2) if plane_index else side) // 16) for side in (height, width))
        noise = rng.laplace(0, amplitude, (2, h + 3, w + 3))
        smooth = np.sum([noise[:, y : y + h, x : x + w] for y in range(4) for x in range(4)], 0) / 4
        smooth[1] += smooth[0]
        latents.append(np.asarray(smooth, np.float32))
    return latents


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from([1, 3]),
    st.integers(0, 10_000),
    st.integers(0, 2**32),
    st.sampled_from([1e-3, 20, 1e12]),
    st.one_of(st.just(100), st.integers(50, 400)),
)
def test_round_trip(
    height: int, width: int, planes: int, level: int, seed: int, amplitude: float, hundredths: int
) -> None:
    scaled = [max(1, int(length * hundredths / 100 + 0.5)) for length in (height, width)]
    latents = latents_of(*scaled, planes, seed, amplitude)
    made = CODEC.compress(latents, height, width, level / 100, hundredths / 100)
    found = CODEC.decompress(made.data)
    for plane_index, latent in enumerate(latents):
        assert np.array_equal(found.symbols[plane_index], made.symbols[plane_index])
        assert np.array_equal(
            found.latents[plane_index],
            quantizer.dequantize(made.symbols[plane_index], plane_index, level, CODEC.tables),
        )
        if amplitude < 1e12:  # beyond, symbols end at 32 bits
            gain = quantizer.channel_gains(plane_index, level, CODEC.tables)
            assert (np.abs(found.latents[plane_index] - latent) <= 0.501 / gain).all()
    info = read_info(made.data)
    assert info == found.info
    assert (info.width, info.height, info.quality, info.color) == (width, height, level / 100, planes == 3)
    assert (info.name, info.fingerprint, info.scale) == ("residae-16x", "0001020304050607", hundredths / 100)
    preamble = PREAMBLE + 2 * (hundredths != 100)
    assert sum(info.plane_bytes) + preamble + 4 * (planes - 1) + CRC == info.file_bytes == len(made.data)
    assert info.bits_per_pixel == 8 * len(made.data) / (width * height)
    bits = CODEC.channel_bits(made.symbols, level / 100)
    assert bits.shape == (planes, 2)
    assert len(made.data) <= 1.01 * bits.sum() / 8 + 40 + 2 * (hundredths != 100) + 9 * (planes - 1)


def test_the_overhead_is_at_most_40_bytes() -> None:
    named = replace(CODEC, name="a name that is longer than its place")
    data = named.compress(latents_of(16, 16, 1), 16, 16, 0).data
    assert len(data) - read_info(data).plane_bytes[0] == 36
    assert read_info(data).name == "a name that "


def test_control_characters_in_a_name_are_replaced() -> None:
    data = replace(CODEC, name="\x1b[31mRED\a").compress(latents_of(16, 16, 1), 16, 16, 0).data
    assert read_info(data).name == "\N{REPLACEMENT CHARACTER}[31mRED\N{REPLACEMENT CHARACTER}"


def test_a_name_is_never_cut_within_a_character() -> None:
    data = replace(CODEC, name="elf Bytes: ü").compress(latents_of(16, 16, 1), 16, 16, 0).data
    assert read_info(data).name == "elf Bytes: "


def test_the_format_stays() -> None:
    """These bytes must not change, or existing files can no longer be read."""
    latents = [np.full((2, 2, 3), 40.25, np.float32), *(np.full((2, 1, 2), x, np.float32) for x in (-8.25, 3e9))]
    latents[0][1] *= -3
    latents[0][0, 1, 1] = 7
    made = CODEC.compress(latents, 31, 37, 87.5)  # a knot: steps of 2
    assert made.symbols[0].tolist() == [[[20, 20, 20], [20, 4, 20]], [[-60] * 3] * 2]
    assert made.data.hex() == GOLDEN
    assert np.array_equal(CODEC.decompress(made.data).symbols[2], np.full((2, 1, 2), 1_500_000_000))


def test_the_format_of_a_scaled_file_stays() -> None:
    latents = [np.full((2, 2, 3), 40.25, np.float32)]
    made = CODEC.compress(latents, 16, 19, 87.5, 1.96)  # 31 x 37 after scaling
    assert made.data.hex() == GOLDEN_SCALED
    found = CODEC.decompress(made.data)
    assert (found.info.height, found.info.width, found.info.scale) == (16, 19, 1.96)
    assert np.array_equal(found.symbols[0], np.full((2, 2, 3), 20))


@pytest.mark.parametrize("scale", [1, 2])
def test_prefixes_flips_and_tails_are_refused(scale: int) -> None:
    data = CODEC.compress(latents_of(70, 90, 3), 70 // scale, 90 // scale, 80, scale).data
    rng = np.random.default_rng(0)
    cases = [data[:length] for length in range(len(data))]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        cases.append(bytes(flipped))
    cases += [data + rng.bytes(int(rng.integers(1, 50))) for _ in range(500)]
    for case in cases:
        with pytest.raises(CodecError, match=r"^The file .*\.$"):
            CODEC.decompress(case)
        with pytest.raises(CodecError):
            read_info(case)


@pytest.mark.parametrize("scale", [1, 2])
def test_damage_with_a_correct_checksum_is_refused_or_decoded(scale: int) -> None:
    data = CODEC.compress(latents_of(70, 90, 3), 70 // scale, 90 // scale, 80, scale).data
    rng = np.random.default_rng(1)
    refused = 0
    for bit in [*range(8 * 43), *rng.integers(8 * 43, 8 * (len(data) - CRC), size=100).tolist()]:
        body = bytearray(data[:-CRC])
        body[bit // 8] ^= 1 << bit % 8
        try:
            found = CODEC.decompress(sealed(bytes(body)))
        except CodecError:
            refused += 1
        else:
            assert len(found.latents) in (1, 3)
    assert refused > 200


def _with(data: bytes, **changes: int) -> bytes:
    """The file with other fields in its header and a correct checksum."""
    names = ("magic", "version", "fingerprint", "width", "height", "level", "planes", "name")
    fields = dict(zip(names, rae.HEADER.unpack_from(data), strict=True)) | changes
    return sealed(rae.HEADER.pack(*fields.values()) + data[rae.HEADER.size : -CRC])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 60_000, "height": 60_000}, "claims 60,000 × 60,000 pixels; the limits are 64 megapixels"),
        ({"width": 65_501}, "65,501 × 70 pixels; .* a side of 65,500"),
        ({"width": 0}, "claims 0 × 70"),
        ({"height": 0}, "claims 90 × 0"),
        ({"planes": 0}, "header makes no sense"),
        ({"planes": 2}, "header makes no sense"),
        ({"planes": 255}, "header makes no sense"),
        ({"planes": 3}, "planes are longer than the file"),
        ({"name": 13}, "header makes no sense"),
        ({"level": 10_001}, "header makes no sense"),
        ({"version": 0}, "version that this program does not know"),
        ({"version": 3}, "version that this program does not know"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(changes: dict[str, int], words: str) -> None:
    _check_refusal(_with(CODEC.compress(latents_of(70, 90, 1), 70, 90, 80).data, **changes), words)


@pytest.mark.parametrize(
    ("hundredths", "changes", "words"),
    [
        (49, {}, "claims a scale of 0.49; a scale is 0.5 to 4"),
        (401, {}, "claims a scale of 4.01"),
        (0, {}, "claims a scale of 0;"),
        (65_535, {}, "claims a scale of 655.35"),
        (400, {"width": 4000, "height": 1001}, "claims 16,000 × 4,004 pixels after scaling; the limits are 64 megap"),
        (200, {"width": 32_751}, "claims 65,502 × 70 pixels after scaling; .* a side of 65,500"),
        (50, {"width": 60_000, "height": 1067}, "claims 60,000 × 1,067 pixels; "),
    ],
)
def test_a_scale_that_lies_is_refused_before_anything_is_allocated(
    hundredths: int, changes: dict[str, int], words: str
) -> None:
    data = _with(CODEC.compress(latents_of(70, 90, 1), 35, 45, 80, 2).data, **changes)
    place = slice(rae.HEADER.size, rae.HEADER.size + rae.SCALE.size)
    body = bytearray(data[:-CRC])
    assert rae.SCALE.unpack(body[place]) == (200,)
    body[place] = rae.SCALE.pack(hundredths)
    _check_refusal(sealed(bytes(body)), words)


def _check_refusal(data: bytes, words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match=words):
            CODEC.decompress(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_file_that_is_no_rae_file_is_refused() -> None:
    for data in (b"", b"RA", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        with pytest.raises(CodecError, match=r"not a \.rae file"):
            read_info(data)


def test_a_file_of_another_checkpoint_names_both() -> None:
    data = CODEC.compress(latents_of(20, 20, 1), 20, 20, 50).data
    other = Codec(CODEC.tables, b"otherone", "residae-8x")
    with pytest.raises(
        CodecError,
        match=r"checkpoint residae-16x \(0001.*cannot be opened with residae-8x \(6f74.*OWNER/NAME@residae-16x",
    ):
        other.decompress(data)
    assert len(DEFAULT.encode()) <= NAME_BYTES  # so that the name to ask the Hub for is not cut
    mine = replace(CODEC, name="mine").compress(latents_of(20, 20, 1), 20, 20, 50).data
    with pytest.raises(
        CodecError, match=r"checkpoint mine \(0001.*cannot be opened with residae-8x \(6f74[0-9a-f]*\)\.$"
    ):
        other.decompress(mine)  # no release: the Hub need not have it
    assert read_info(data).name == "residae-16x"  # for which no checkpoint is needed


def test_bytes_and_error_are_monotone_in_quality() -> None:
    latents = latents_of(512, 768, 1, amplitude=150)
    sizes, errors = [], []
    for quality in np.linspace(0, 100, 41):
        made = CODEC.compress(latents, 512, 768, float(quality))
        sizes.append(len(made.data))
        errors.append(float(np.square(CODEC.decompress(made.data).latents[0] - latents[0]).mean()))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert sizes[-1] > 5 * sizes[0]


def test_compress_within_finds_the_highest_quality_that_fits() -> None:
    latents = latents_of(200, 300, 3, amplitude=500)
    for target in (600, 777, 1500):
        made = CODEC.compress_within(latents, 200, 300, target)
        assert len(made.data) <= target
        assert len(CODEC.compress(latents, 200, 300, made.quality + 0.01).data) > target
    assert CODEC.compress_within(latents, 200, 300, 10**9).quality == 100
    least = len(CODEC.compress(latents, 200, 300, 0).data)
    assert CODEC.compress_within(latents, 200, 300, least).data
    with pytest.raises(CodecError, match=f"at least {least} bytes, more than the {least - 1} that are allowed: choose"):
        CODEC.compress_within(latents, 200, 300, least - 1)


def test_wrong_arguments() -> None:
    latents = latents_of(20, 20, 1)
    for quality in (-0.01, 100.01, float("nan")):
        with pytest.raises(ValueError, match="quality is 0 to 100"):
            CODEC.compress(latents, 20, 20, quality)
    with pytest.raises(ValueError, match=r"\(2, 3, 2\)"):
        CODEC.compress(latents, 40, 20, 50)
    with pytest.raises(ValueError, match="1 or 3 planes"):
        CODEC.compress(latents * 2, 20, 20, 50)
    with pytest.raises(ValueError, match="NaN"):
        CODEC.compress([latents[0] * np.float32("nan")], 20, 20, 50)
    for scale in (0.49, 4.01, float("nan")):
        with pytest.raises(ValueError, match=r"a scale is 0\.5 to 4"):
            CODEC.compress(latents, 20, 20, 50, scale)
    with pytest.raises(ValueError, match="8 bytes"):
        Codec(CODEC.tables, b"short")


@pytest.fixture(scope="module")
def fitted() -> Tables:
    planes = list(zip(*(latents_of(160, 240, 3, seed) for seed in range(12)), strict=True))
    return fit_contexts(planes, *balance_gains(np.array([0.01, 0.04]), planes))


def test_fitted_tables_beat_static_ones(fitted: Tables) -> None:
    """Measured on latents other than those they were fitted to, at a low, a middle and a high rate."""
    latents = [latents_of(160, 240, 1, seed)[0] for seed in range(100, 112)]
    for level in (4000, 7000, 10_000):
        symbols = [quantizer.quantize(latent, 0, level, fitted) for latent in latents]
        ideal = sum(coder.ideal_bits(plane, 0, level, fitted).sum() for plane in symbols)
        assert ideal < 0.9 * coder.static_bits(symbols)


def test_fitted_gains_follow_the_sensitivity(fitted: Tables) -> None:
    ratio = fitted.gains[:, :, 1] / fitted.gains[:, :, 0]
    assert np.allclose(ratio, 2)  # the root of 0.04 / 0.01
    decibels = 20 * np.log10(fitted.gains[1:] / fitted.gains[:-1])
    assert np.allclose(decibels, np.diff(NOISE_PSNR)[:, None, None], atol=1e-3)
    assert np.abs(fitted.means).max() < 20  # the latents' deviation is 57


def test_refitting_keeps_the_gains(fitted: Tables, network: ResidualAutoencoder) -> None:
    """Only the weights of the predictions are fitted again."""
    planes = [[latents_of(64, 64, 1, seed)[0] for seed in range(4)]] * 3
    again = refit_tables(Engine(network, "cpu"), planes, fitted)
    assert np.array_equal(again.gains, fitted.gains)
    assert np.array_equal(again.means, fitted.means)
    assert not np.array_equal(again.mean_weights, fitted.mean_weights)


def test_sensitivity_is_that_of_the_decoder(network: ResidualAutoencoder) -> None:
    """It is 0 for a channel that the decoder ignores, and positive for the others."""
    ignoring = copy.deepcopy(network)
    with torch.no_grad():
        ignoring.decoder.stages[0][1].weight[:, 2] = 0  # type: ignore[index]
    latent = np.random.default_rng(0).standard_normal((4, 3, 3)).astype(np.float32)
    cost = measure_sensitivity(Engine(ignoring, "cpu"), [latent])
    assert cost[2] == 0
    assert (cost[[0, 1, 3]] > 0).all()


def test_tables_are_saved_with_the_checkpoint(network: ResidualAutoencoder, tmp_path: Path) -> None:
    plain = Checkpoint(network).fingerprint
    tables = Tables.default(4)
    assert Checkpoint(network, tables).fingerprint == plain  # these are the ones that are used where there are none
    spread = tables.spread_weights.copy()
    spread[0, 0, 0, 0, 0] = ONE
    own = Checkpoint(network, replace(tables, spread_weights=spread))
    own.save(tmp_path)
    loaded = Checkpoint.open(tmp_path)
    assert own.tables is not None
    assert loaded.tables is not None
    for name, array in own.tables.arrays().items():
        assert np.array_equal(array, loaded.tables.arrays()[name]), name
    assert len(plain) == 8
    assert loaded.fingerprint == own.fingerprint != plain
    assert open_codec(tmp_path).fingerprint == own.fingerprint
    changed = copy.deepcopy(loaded.network)
    with torch.no_grad():
        next(changed.decoder.parameters())[0] += 1
    assert replace(loaded, network=changed).fingerprint != own.fingerprint

    network.save_pretrained(tmp_path)  # other weights: the old tables go
    assert Checkpoint.open(tmp_path).tables is None


def test_tables_of_a_checkpoint_are_checked(network: ResidualAutoencoder, tmp_path: Path) -> None:
    Checkpoint(network, Tables.default(3)).save(tmp_path)
    with pytest.raises(CheckpointError, match="is for 3 latent channels, the network has 4"):
        Checkpoint.open(tmp_path)
    (tmp_path / "codec.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"codec\.safetensors is damaged"):
        Checkpoint.open(tmp_path)
    (tmp_path / "codec.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="must hold the arrays of the codec's tables"):
        Checkpoint.open(tmp_path)


GOLDEN_SCALED = "524145020001020304050607130010002e22010bc400726573696461652d3136782c6045fe4446674ec79c13541a788c51"
GOLDEN = (
    "52414501000102030405060725001f002e22030b726573696461652d3136781000000004000000a05b45fe5d79db7fdb67ef"
    "32087d53961852aeac59ffffffd198d5660116ec399ebb172d7ed8281a0020d2e393a6c2c0"
)
