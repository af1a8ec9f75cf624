"""Which device and precision an engine uses, decided by what the processor is."""

import functools
import math
import time

import torch
from torch import nn

from residae.engine import onednn
from residae.engine.onednn import Convolution


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def preferred_dtype(device: torch.device) -> torch.dtype:
    """The precision in which `device` convolves fastest at no visible loss: bfloat16, int8 or float32."""
    return torch.int8 if has_fast_int8(device) and not onednn.cpu_has_amx() else preferred_float(device)


def preferred_float(device: torch.device) -> torch.dtype:
    """The faster of bfloat16 and float32 on `device`."""
    if device.type == "cuda":
        prefers_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        prefers_bfloat16 = cpu_prefers_bfloat16()
    return torch.bfloat16 if prefers_bfloat16 else torch.float32


def has_fast_int8(device: torch.device) -> bool:
    """VNNI: about four times as many products of bytes as of float32. Without it, sums of products would overflow."""
    if (
        device.type != "cpu"
        or not onednn.has_onednn(torch.float32)
        or not hasattr(torch.ops.onednn, "qconv2d_pointwise")
    ):
        return False
    capable = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # not in 2.8
    return torch.cpu._is_vnni_supported() or bool(capable.get("avx_vnni"))


def activation_dtype(dtype: torch.dtype) -> torch.dtype:
    """What planes are kept in: bytes are for the convolutions alone."""
    return preferred_float(torch.device("cpu")) if dtype == torch.int8 else dtype


@functools.cache
def cpu_prefers_bfloat16() -> bool:
    """With AMX, bfloat16 is several times faster than float32. Without, it is measured, since having the instructions
    does not tell: with AVX512-BF16 alone it can be half as fast, or twice."""
    if onednn.cpu_has_amx():
        return True
    emulated = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    if emulated or not onednn.has_onednn(torch.bfloat16):
        return False
    layer = nn.Conv2d(128, 128, 3, padding=1, bias=False, device="meta").to_empty(device="cpu")
    with torch.inference_mode():
        layer.weight.zero_()
        tried = []
        for dtype in (torch.bfloat16, torch.float32):
            x = torch.zeros(1, 128, 128, 128, dtype=dtype).contiguous(memory_format=torch.channels_last)
            tried.append((Convolution(layer, torch.device("cpu"), dtype), x))
        shortest = [math.inf, math.inf]
        for _ in range(6):  # in buffers, so that whatever else the machine does disturbs both alike
            for i, (convolution, x) in enumerate(tried):
                start = time.perf_counter()
                convolution(x)
                shortest[i] = min(shortest[i], time.perf_counter() - start)
    return shortest[0] < 0.8 * shortest[1]
