"""Resampling of a plane to another size. This docstring is part of the definition of the `.rae` format.

It is separable: rows, then columns, by the same rule. Sample i of an axis has its center at i + 1/2. When n samples are
resampled to m, output sample j has its center at

    c = (j + 1/2) * n / m                in samples of the input

and is the sum of weight[i] * input[i] over all 0 <= i < n, where f = max(1, n / m) and

    weight[i] = L((i + 1/2 - c) / f) / (sum of L((k + 1/2 - c) / f) over all 0 <= k < n)
    L(x) = sinc(x) * sinc(x / 3) for |x| < 3, else 0
    sinc(x) = sin(pi * x) / (pi * x), sinc(0) = 1

The kernel is Lanczos with 3 lobes. A reduction widens it by the factor f, which prevents aliasing. At the borders, the
weights are normalized over the samples that exist. The result of both axes is clamped to [0, 1]. An axis whose length
does not change is left as it is.

This is what Pillow's `Image.resize` computes with `LANCZOS` on float32, which does the work here.
"""

import numpy as np
from numpy.typing import NDArray

from residae.arrays import Plane
from residae.progress import raise_if_cancelled

LOBES = 3


def resample(plane: Plane, height: int, width: int) -> Plane:
    """Resample a plane, as the module's docstring defines it.

    Args:
        plane: (H, W) float32.
        height: Of the result.
        width: Of the result.

    Returns:
        (height, width) float32 in [0, 1]; `plane` itself if it has this size already.
    """
    if plane.shape == (height, width):
        return plane
    from PIL import Image  # the engine needs the weights of the kernel alone, and no Pillow

    raise_if_cancelled()
    image = Image.fromarray(np.asarray(plane, np.float32)).resize((width, height), Image.Resampling.LANCZOS)
    result = np.array(image, np.float32)
    return np.clip(result, 0, 1, out=result)


def taps(length: int, new_length: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The weights by which one axis is resampled: output[j] = sum over k of weights[j, k] * input[first[j] + k].

    Args:
        length: Samples of the input.
        new_length: Samples of the output.

    Returns:
        first: (new_length,) index of the first input sample of each output sample; first + K <= length.
        weights: (new_length, K); each row adds up to 1.
    """
    if length == new_length:
        return np.arange(length), np.ones((length, 1))
    step = length / new_length
    widening = max(1.0, step)
    center = (np.arange(new_length) + 0.5) * step
    number = min(length, 2 * int(np.ceil(LOBES * widening)) + 1)
    first = np.clip(np.floor(center - LOBES * widening + 0.5).astype(np.int64), 0, length - number)
    x = (first[:, None] + np.arange(number) + 0.5 - center[:, None]) / widening
    weights = np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0)
    return first, weights / weights.sum(1, keepdims=True)
