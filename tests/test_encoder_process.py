"""Other codecs run in a process that can be ended in the middle of an encoding."""

import sys
import time
from collections.abc import Callable

import numpy as np
import psutil
import pytest

from residae.baselines import CODECS, compress_within
from residae.encoder_process import EncoderProcess
from residae.errors import OutOfMemoryError, ResidaeError
from residae.image import Pixels
from residae.metrics import ms_ssim, psnr, ssim, ssimulacra2

Draw = Callable[[int, int, int], Pixels]


@pytest.mark.parametrize("gray", [False, True])
def test_results_are_those_of_the_same_process(smooth: Draw, gray: bool) -> None:
    original, other = (smooth(170, 180, seed)[..., 0] if gray else smooth(170, 180, seed) for seed in (0, 1))
    shares: list[float] = []
    with EncoderProcess(original) as process:
        coded = process.compress_within("JPEG", 2500, shares.append)
        assert process.compress_within("JPEG", 50, None) is None
        figures = process.measure(other, ["psnr", "ssim", "ms_ssim", "ssimulacra2"], None)
        webp = process.compress_within("WebP", 2500, None)
        fast = process.compress_within("WebP", 2500, None, effort=0, steps=(10, 40))
    here = compress_within(original, CODECS["JPEG"], 2500)
    assert coded
    assert here
    assert webp
    assert (coded.data, coded.quality) == (here.data, here.quality)
    np.testing.assert_array_equal(coded.pixels, here.pixels)
    fast_here = compress_within(original, CODECS["WebP"].at_effort(0), 2500, steps=(10, 40))
    assert fast
    assert fast_here
    assert fast.data == fast_here.data != webp.data
    assert figures == pytest.approx([metric(original, other) for metric in (psnr, ssim, ms_ssim, ssimulacra2)])
    assert shares == sorted(shares)


def test_an_encoding_is_ended_in_the_middle() -> None:
    """That of AVIF at this size takes seconds, and looks at nothing meanwhile."""
    noise = np.random.default_rng(0).integers(0, 256, (2500, 2500, 3), np.uint8)
    with EncoderProcess(noise) as process:
        running = psutil.Process(process._process.pid)
        start, asked = time.monotonic(), []

        def leave(share: float) -> None:
            asked.append(time.monotonic())
            if time.monotonic() - start > 1:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            process.compress_within("AVIF", 10**6, leave)
        assert time.monotonic() - asked[-1] < 1
        running.wait(1)


def test_a_process_that_dies_is_reported_in_a_sentence(smooth: Draw) -> None:
    with EncoderProcess(smooth(64, 64, 0)) as process:
        process._process.kill()
        with pytest.raises(OutOfMemoryError, match="The comparison was stopped, probably because memory ran out"):
            process.compress_within("JPEG", 2500, None)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the memory of another process cannot be limited")
def test_a_process_that_lacks_memory_says_so(smooth: Draw, capfd: pytest.CaptureFixture[str]) -> None:
    """As one whose memory is limited, or where the system refuses to give more: no signal ends it."""
    picture = np.tile(smooth(64, 64, 0), (40, 40, 1))
    with EncoderProcess(picture) as process:
        process.measure(picture, [], None)  # it has begun
        running = psutil.Process(process._process.pid)
        most = running.memory_info().vms
        running.rlimit(psutil.RLIMIT_AS, (most, most))
        with pytest.raises(OutOfMemoryError, match=r"^The work takes more memory than there is\.$"):
            process.measure(picture, ["ssim"], None)
    assert not capfd.readouterr().err


def test_a_process_that_ends_by_itself_is_not_said_to_lack_memory(smooth: Draw) -> None:
    with EncoderProcess(smooth(64, 64, 0)) as process:
        with pytest.raises(ResidaeError, match="The comparison ended by itself") as caught:
            process.compress_within("a codec that there is not", 2500, None)
        assert not isinstance(caught.value, OutOfMemoryError)
