"""Refinement lowers what it is measured by, in files like any other, and the gradients it follows are exact."""

import math
import zlib
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from make_golden import original as golden_picture
from make_golden import shipped_pipeline

from residae import refine
from residae.checkpoint import Checkpoint
from residae.codec import Codec, Compressed, Tables, coder
from residae.codec.coder import ideal_bits
from residae.edit import Edits, edit_picture
from residae.engine import GradientDecoder, error_gradient
from residae.errors import CodecError
from residae.geometry import grid_shape, scaled_shape
from residae.image import Picture
from residae.image.planes import CB_RANGE, CR_RANGE, KB, KG, KR
from residae.metrics import psnr
from residae.model import ResidualAutoencoder
from residae.pipeline import Encoding, Pipeline, reference
from residae.rate_model import LAMBDA, PLANE_WEIGHTS, estimate_bits, lagrange_multiplier
from residae.refine import RefinementStep, round_stochastically
from residae.resample import resample

QUALITY = 70.0


@pytest.fixture(scope="module")
def tables() -> Tables:
    """With steps that suit the tiny network's latents."""
    tables = Tables.default(4)
    return replace(tables, gains=tables.gains * 64)


@pytest.fixture(scope="module")
def pipeline(network: ResidualAutoencoder, tables: Tables) -> Pipeline:
    return Pipeline(Checkpoint(network, tables, name="tiny"), "cpu", torch.float32)


@pytest.fixture(scope="module")
def encoding(pipeline: Pipeline, picture: Picture) -> Encoding:
    return pipeline.encode(picture, color=False)


def cost(pipeline: Pipeline, picture: Picture, compressed: Compressed) -> float:
    """J, from the file alone."""
    info, decoding = pipeline.read(compressed.data)
    original = reference(picture, info.color).astype(np.float64)
    bits = pipeline.codec.channel_bits(pipeline.codec.decompress(compressed.data).symbols, info.quality).sum()
    weight = lagrange_multiplier(info.quality, len(pipeline.codec.tables.gains))
    encoded = math.prod(scaled_shape(info.height, info.width, info.scale))
    return float(np.square(original - decoding.pixels).mean() + bits / encoded / weight)


def psnr_of(pipeline: Pipeline, picture: Picture, compressed: Compressed) -> float:
    return psnr(reference(picture, color=False), pipeline.read(compressed.data)[1].pixels)


def test_the_error_of_a_plane_counts_as_in_the_colors_that_it_makes() -> None:
    """A pixel of chroma covers four of the picture. An error of Cb is in blue and green, one of Cr in red and green."""
    cb = 4 * (CB_RANGE**2 + (KB * CB_RANGE / KG) ** 2) / 3
    cr = 4 * (CR_RANGE**2 + (KR * CR_RANGE / KG) ** 2) / 3
    assert pytest.approx((1, cb, cr), rel=2e-3) == PLANE_WEIGHTS


# Gradients


@pytest.mark.parametrize("scale", [1.0, 0.7, 1.41])
@pytest.mark.parametrize(("block", "tile"), [(9999, (160, 160)), (9999, (40, 24)), (2500, (16, 16)), (300, (7, 50))])
def test_gradients_of_tiles_add_up_to_that_of_the_whole(
    network: ResidualAutoencoder, block: int, tile: tuple[int, int], scale: float
) -> None:
    generator = np.random.default_rng(0)
    plane = generator.random((107, 75), np.float32)
    height, width = shape = scaled_shape(107, 75, scale)
    latent = torch.from_numpy(generator.standard_normal((4, *grid_shape(height, width)), np.float32))
    decoder = GradientDecoder(network.decoder, torch.device("cpu"), torch.float32)
    decoder.block, decoder.tile = block, tile

    exact = latent.double().requires_grad_(True)
    double = ResidualAutoencoder(4, 4).double().eval()
    double.load_state_dict(network.state_dict())
    decoded = double.decode(exact[None])[0, 0, :height, :width]
    for axis, length in enumerate(plane.shape):  # each axis of the unit matrix resampled
        matrix = resample(np.eye(shape[axis], dtype=np.float32) * 0.5 + 0.25, length, shape[axis])
        decoded = torch.tensordot(torch.from_numpy(matrix).double() * 2 - 0.5, decoded, ([1], [axis])).movedim(0, axis)
    decoded = decoded.clamp(0, 1)
    (decoded - torch.from_numpy(plane)).square().sum().backward()
    assert exact.grad is not None
    assert torch.allclose(error_gradient(decoder, latent, shape, plane).double(), exact.grad, rtol=1e-4, atol=1e-3)


def test_a_tile_is_decoded_as_the_engine_decodes_it(network: ResidualAutoencoder, pipeline: Pipeline) -> None:
    latent = np.random.default_rng(1).standard_normal((4, 10, 12), np.float32)
    decoder = GradientDecoder(network.decoder, torch.device("cpu"), torch.float32)
    part = slice(50, 83), slice(61, 190)
    ours = decoder.decode(decoder.begin(torch.from_numpy(latent), part), part).numpy()
    assert np.allclose(ours, pipeline.engine.decode(latent, 160, 192, region=part), atol=1e-5)


def test_gradients_in_bfloat16_point_the_same_way(network: ResidualAutoencoder) -> None:
    generator = np.random.default_rng(2)
    plane = generator.random((64, 64), np.float32)
    latent = torch.from_numpy(generator.standard_normal((4, 4, 4), np.float32))
    exact, coarse = (
        error_gradient(
            GradientDecoder(network.decoder, torch.device("cpu"), dtype), latent, plane.shape, plane
        ).flatten()
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert torch.cosine_similarity(exact, coarse, dim=0) > 0.99


def test_gradients_leave_the_network_alone(network: ResidualAutoencoder) -> None:
    decoder = GradientDecoder(network.decoder, torch.device("cpu"), torch.float32)
    error_gradient(decoder, torch.zeros(4, 2, 2), (32, 32), np.zeros((32, 32), np.float32))
    assert all(parameter.grad is None for parameter in network.parameters())


# The rate


@pytest.mark.parametrize("plane_index", [0, 2])
def test_the_estimated_rate_is_the_codecs(tables: Tables, plane_index: int) -> None:
    level, generator = 6300, np.random.default_rng(3)
    sizes = generator.uniform(2, 20, (20, 25)) * generator.uniform(0.5, 1.5, (4, 20, 25))  # alike in all channels
    symbols = np.rint(sizes * generator.choice([-1, 1], sizes.shape)).astype(np.int32)
    weights = (torch.from_numpy(w / 4096)[None] for w in tables.weights(plane_index, level))
    estimate = estimate_bits(torch.from_numpy(symbols)[None].double(), *weights)
    assert float(estimate) == pytest.approx(ideal_bits(symbols, plane_index, level, tables).sum(), rel=0.01)


def test_lambda_grows_geometrically_between_the_trained_knots() -> None:
    assert lagrange_multiplier(100, 8) == pytest.approx(LAMBDA[-1])
    assert lagrange_multiplier(100 * 2 / 7, 8) == pytest.approx(LAMBDA[0])
    assert lagrange_multiplier(0, 8) == LAMBDA[0]
    middle = 100 * (7 - 0.5) / 7
    assert lagrange_multiplier(middle, 8) == pytest.approx((LAMBDA[-1] * LAMBDA[-2]) ** 0.5)


def test_rounding_gets_surer_as_it_cools() -> None:
    symbols = torch.tensor([-2.3, -0.6, 0.2, 0.9, 4.0]).repeat(2000, 1)
    warm, cold = (
        round_stochastically(symbols, temperature, 1, torch.Generator().manual_seed(0)) for temperature in (1.0, 0.02)
    )
    assert torch.equal(cold.round(), symbols.round())
    assert (cold - symbols.round()).abs().mean() < 0.01
    assert not torch.equal(warm.round(), symbols.round())
    assert ((warm - symbols.floor()).clamp(0, 1) + symbols.floor() - warm).abs().max() < 1e-6
    first, second = (round_stochastically(symbols, 1.0, 0, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(first, second)


@pytest.mark.parametrize("steps", [10, 20, 40, 200])
def test_symbols_near_0_stay_there(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: dict[str, float] = {}

    def round_and_note(
        symbols: torch.Tensor, temperature: float, noise: float, generator: torch.Generator
    ) -> torch.Tensor:
        first.update(temperature=temperature, noise=noise)
        return round_stochastically(symbols, temperature, noise, generator)

    monkeypatch.setattr("residae.refine.round_stochastically", round_and_note)
    for step in pipeline.refinement(picture, encoding, QUALITY, steps):
        if step.step == 1:
            break
    near = torch.full((10_000,), 0.2)
    rounded = round_stochastically(near, **first, generator=torch.Generator().manual_seed(0))
    assert (rounded.round() != 0).float().mean() < 0.005


# Files


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.2])
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("quality", [30.0, 100.0])
def test_a_refined_file_is_better(
    pipeline: Pipeline, picture: Picture, color: bool, quality: float, scale: float
) -> None:
    encoding = pipeline.encode(picture, color, scale=scale)
    plain = pipeline.write(encoding, quality)
    refined = pipeline.refine(picture, encoding, quality, 10)
    assert cost(pipeline, picture, refined) < cost(pipeline, picture, plain)
    assert refined.quality == plain.quality
    assert [plane.shape for plane in refined.symbols] == [plane.shape for plane in plain.symbols]
    assert (pipeline.read(refined.data)[0].color, pipeline.decompress(refined.data).size) == (color, (75, 53))


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_refined_file_is_closer_at_about_the_same_bytes(scale: float) -> None:
    """With weights that are trained: at any scale, rate and error are balanced as in their training."""
    pipeline, picture = shipped_pipeline(), Picture(golden_picture().pixels[96:160, 96:160], (), None)
    encoding = pipeline.encode(picture, color=False, scale=scale)
    plain, refined = pipeline.write(encoding, 50), pipeline.refine(picture, encoding, 50, 10)
    bits, refined_bits = (pipeline.channel_bits(compressed).sum() for compressed in (plain, refined))
    assert refined_bits == pytest.approx(bits, rel=0.05)
    original = reference(picture, color=False)
    before, after = (psnr(original, pipeline.read(file.data)[1].pixels) for file in (plain, refined))
    assert after > before + 0.2


def test_a_refined_file_is_never_worse(pipeline: Pipeline, picture: Picture, encoding: Encoding) -> None:
    """Not even where the steps are too large to lead anywhere."""
    for seed in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("residae.refine.LEARNING_RATE", 30.0)
            refined = pipeline.refine(picture, encoding, QUALITY, 5, seed=seed)
        assert refined.data == pipeline.write(encoding, QUALITY).data


def test_the_same_arguments_give_the_same_file(pipeline: Pipeline, picture: Picture) -> None:
    encoding = pipeline.encode(picture, color=True, scale=2.2)
    torch.manual_seed(1)
    first = pipeline.refine(picture, encoding, 100, 10).data
    torch.manual_seed(2)
    assert pipeline.refine(picture, encoding, 100, 10).data == first
    assert pipeline.refine(picture, encoding, 100, 10, seed=1).data != first


def test_no_steps_give_the_plain_file(pipeline: Pipeline, picture: Picture, encoding: Encoding) -> None:
    assert pipeline.refine(picture, encoding, QUALITY, 0).data == pipeline.write(encoding, QUALITY).data


def test_a_negative_number_of_steps(pipeline: Pipeline, picture: Picture) -> None:
    with pytest.raises(ValueError, match="0 steps of refinement or more, not -1"):
        pipeline.compress(picture, refine=-1)


@pytest.mark.parametrize("quality", [QUALITY, 100])
def test_a_limit_of_bytes_is_kept_by_a_lower_quality(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, quality: float
) -> None:
    limit = int(0.95 * len(pipeline.write(encoding, quality).data))
    plain, refined = (pipeline.refine(picture, encoding, quality, steps, max_bytes=limit) for steps in (0, 10))
    assert plain.data == pipeline.write_within(encoding, limit).data
    assert len(refined.data) <= limit
    assert refined.quality < plain.quality  # as it has symbols that are larger
    assert psnr_of(pipeline, picture, refined) > psnr_of(pipeline, picture, plain)


def test_bytes_that_refinement_saves_go_into_less_error() -> None:
    """With weights that are trained; where refinement saves bytes, within a limit it uses them."""
    pipeline, picture = shipped_pipeline(), Picture(golden_picture().pixels[96:224, 96:224], (), None)
    encoding = pipeline.encode(picture, color=False, scale=1.5)
    plain = pipeline.write(encoding, 30)
    free, limited = (pipeline.refine(picture, encoding, 30, 10, max_bytes=n) for n in (None, len(plain.data)))
    assert len(free.data) < 0.97 * len(plain.data)
    assert len(free.data) < len(limited.data) <= len(plain.data)
    assert psnr_of(pipeline, picture, limited) > psnr_of(pipeline, picture, free) + 0.05
    assert cost(pipeline, picture, limited) < cost(pipeline, picture, plain)


def test_symbols_that_no_quality_brings_below_the_limit(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = len(pipeline.write(encoding, 0).data)
    monkeypatch.setattr(refine, "round_symbols", lambda symbols: np.full(symbols.shape, 9, np.int32))
    refined = pipeline.refine(picture, encoding, 50, 5, max_bytes=limit)
    assert refined.data == pipeline.write_within(encoding, limit).data


def test_a_limit_below_the_smallest_file(pipeline: Pipeline, picture: Picture, encoding: Encoding) -> None:
    with pytest.raises(CodecError, match="more than the 10 that are allowed: choose a larger file size"):
        pipeline.refine(picture, encoding, QUALITY, 5, max_bytes=10)


# Steps


def test_steps_are_reported_as_they_are_done(pipeline: Pipeline, picture: Picture, encoding: Encoding) -> None:
    shares: list[float] = []
    steps = list(pipeline.refinement(picture, encoding, QUALITY, 7, shares.append))
    plain = pipeline.decode_and_measure(picture, encoding, pipeline.write(encoding, QUALITY))
    refined = pipeline.decode_and_measure(picture, encoding, steps[-1].best)
    assert [step.step for step in steps] == list(range(8))
    assert steps[0].psnr == pytest.approx(plain.psnr)
    assert steps[-1].bytes == len(steps[-1].best.data)
    assert steps[-1].psnr == pytest.approx(refined.psnr)
    np.testing.assert_array_equal(steps[-1].pixels, refined.decoding.pixels)
    assert steps[-1].best.data == pipeline.refine(picture, encoding, QUALITY, 7).data
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("steps", "measured"), [(5, [0, 2, 4, 5]), (20, [*range(0, 21, 2)]), (21, [0, 5, 10, 15, 20, 21])]
)
def test_few_steps_are_measured_more_often(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, steps: int, measured: list[int]
) -> None:
    done = list(pipeline.refinement(picture, encoding, QUALITY, steps))
    assert [step.step for step in done if step.measured] == measured
    for before, step in pairwise(done):
        assert step.measured or step.best.data == before.best.data


def test_measuring_does_not_change_what_is_measured(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step leads from the symbols before it, whichever of them were measured."""
    write, written = Codec.write, list[bytes]()

    def recording(*arguments: Any) -> Compressed:
        compressed = write(*arguments)
        written.append(compressed.data)
        return compressed

    monkeypatch.setattr(Codec, "write", recording)
    often = pipeline.refine(picture, encoding, QUALITY, 20) and list(written)
    written.clear()
    monkeypatch.setattr(refine, "FEW_INTERVAL", refine.MEASURE_INTERVAL)
    rarely = pipeline.refine(picture, encoding, QUALITY, 20) and written
    assert len(rarely) == 5
    assert (rarely[0], rarely[2], rarely[4]) == (often[0], often[5], often[10])


@pytest.mark.parametrize("last", [0, 3, 6])
def test_each_step_has_the_best_file_so_far(
    pipeline: Pipeline, picture: Picture, encoding: Encoding, last: int
) -> None:
    with closing(pipeline.refinement(picture, encoding, QUALITY, 20)) as refinement:
        *_, step = islice(refinement, last + 1)
    assert step.step == last
    assert step.psnr == pytest.approx(pipeline.decode_and_measure(picture, encoding, step.best).psnr)
    assert (step.best.data == pipeline.write(encoding, QUALITY).data) == (last < 2)


@pytest.mark.parametrize("last", [0, 3, 6])
def test_false_stops_with_the_best_so_far(pipeline: Pipeline, picture: Picture, encoding: Encoding, last: int) -> None:
    steps: list[RefinementStep] = []

    def on_step(step: RefinementStep) -> bool:
        steps.append(step)
        return step.step < last

    refined = pipeline.refine(picture, encoding, QUALITY, 20, on_step=on_step)
    assert [step.step for step in steps] == list(range(last + 1))
    assert refined.data == steps[-1].best.data


@pytest.mark.parametrize("callback", ["on_step", "progress"])
def test_exceptions_pass_through(pipeline: Pipeline, picture: Picture, encoding: Encoding, callback: str) -> None:
    def fail(_: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        pipeline.refine(picture, encoding, QUALITY, 5, **{callback: fail})


@pytest.fixture
def some_coder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another entropy coder where the range coder is not installed, as on machines for training."""
    if find_spec("constriction") is None:
        monkeypatch.setattr(coder, "encode", lambda symbols, *_: zlib.compress(symbols.tobytes()))
        monkeypatch.setattr(
            coder, "decode", lambda data, shape, *_: np.frombuffer(zlib.decompress(data), np.int32).reshape(shape)
        )


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_refinement_on_a_gpu(
    network: ResidualAutoencoder, tables: Tables, picture: Picture, dtype: torch.dtype, some_coder: None
) -> None:
    """In tiles as well, and the same file each time: no operation of it depends on the order of threads."""
    pipeline = Pipeline(Checkpoint(network, tables, name="tiny"), "cuda", dtype)
    decoder = pipeline._gradient_decoder
    decoder.block, decoder.tile = 2500, (20, 30)
    encoding = pipeline.encode(picture, color=True, scale=1.41)
    refined = pipeline.refine(picture, encoding, QUALITY, 10)
    assert refined.data == pipeline.refine(picture, encoding, QUALITY, 10).data
    assert cost(pipeline, picture, refined) < cost(pipeline, picture, pipeline.write(encoding, QUALITY))


def test_a_latent_of_nan_is_refused(pipeline: Pipeline, picture: Picture) -> None:
    encoding = pipeline.encode(picture, color=False)
    (latent,) = encoding.latents
    latent[1, 0, 2] = np.nan
    for compress in (pipeline.write, lambda *arguments: pipeline.refine(picture, *arguments, steps=1)):
        with pytest.raises(ValueError, match="a latent must not hold NaN"):
            compress(encoding, QUALITY)


def test_without_a_file_there_is_nothing_to_refine(pipeline: Pipeline, picture: Picture) -> None:
    with pytest.raises(ValueError, match="files are refined"):
        pipeline.reconstruct(picture, refine=1)
    with pytest.raises(ValueError, match="files are refined"):
        edit_picture(pipeline, picture, False, Edits(), refine=1)
