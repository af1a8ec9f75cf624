"""Which device and precision an engine uses. Only what the processor is decides, so that results can be repeated."""

import torch

from residae.engine import onednn
from residae.errors import ResidaeError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}


def parse_device(device: torch.device | str | None) -> torch.device:
    """The device of this name, or the default one.

    Args:
        device: Such as `cpu`, `cuda` or `cuda:1`; None for the default.

    Raises:
        ResidaeError: It is another kind of device, or a GPU that is not there.
    """
    if device is None:
        return default_device()
    try:
        parsed = torch.device(device)
    except RuntimeError as error:
        raise ResidaeError(f"There is no device {device!r}: choose cpu or cuda.") from error
    if parsed.type not in ("cpu", "cuda"):
        raise ResidaeError(f"Residae does not compute on {str(device)!r}: choose cpu or cuda.")
    if parsed.type == "cuda" and not torch.cuda.is_available():
        raise ResidaeError("There is no GPU here that PyTorch can use.")
    if parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count():
        raise ResidaeError(f"There is no GPU {parsed.index} here: they are numbered from 0.")
    return parsed


def parse_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype:
    """The precision of this name, or the one that `device` prefers.

    Args:
        dtype: float32, bfloat16 or int8, or its name; None for `preferred_dtype`.
        device: Where it will compute.

    Raises:
        ResidaeError: There is no such precision, or the device cannot compute in it.
    """
    if dtype is None:
        return preferred_dtype(device)
    parsed = PRECISIONS.get(str(dtype).removeprefix("torch."))
    if parsed is None:
        raise ResidaeError(f"There is no precision {str(dtype)!r}: choose {', '.join(PRECISIONS)}.")
    if parsed == torch.int8 and not has_fast_int8(device):
        raise ResidaeError(
            "int8 needs a CPU with VNNI and a PyTorch whose int8 convolutions work on it: choose bfloat16 or float32."
        )
    return parsed


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def preferred_dtype(device: torch.device) -> torch.dtype:
    """The precision in which `device` convolves fastest without visible loss: bfloat16, int8 or float32.

    Args:
        device: A CPU or a GPU.
    """
    if has_fast_int8(device) and not onednn.cpu_supports("amx_tile"):
        return torch.int8
    return preferred_float(device)


def preferred_float(device: torch.device) -> torch.dtype:
    """The faster of bfloat16 and float32 on `device`.

    Args:
        device: A CPU or a GPU.
    """
    if device.type == "cuda":
        prefers_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        prefers_bfloat16 = cpu_prefers_bfloat16()
    return torch.bfloat16 if prefers_bfloat16 else torch.float32


def cpu_prefers_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware: with AMX or AVX512-BF16.

    A tile instruction of AMX does sixteen times as many multiply-adds as a float32 instruction of AVX-512. VDPBF16PS of
    AVX512-BF16 does twice as many: the engine is 2.1 times as fast as in float32 on an EPYC with it (README.md, Speed).
    Other processors emulate bfloat16, which is slower than float32.
    """
    in_hardware = onednn.cpu_supports("amx_tile") or onednn.cpu_supports("avx512_bf16")
    return in_hardware and onednn.has_onednn(torch.bfloat16)


def has_fast_int8(device: torch.device) -> bool:
    """Whether `device` is a CPU with VNNI, and torch's quantized convolutions work on it.

    VNNI multiplies int8 about four times as fast as float32. Without it, oneDNN's sums of int8 products saturate.

    Args:
        device: A CPU or a GPU; never true of a GPU.
    """
    if device.type != "cpu" or not onednn.has_onednn(torch.float32):
        return False
    if not (onednn.cpu_supports("avx512_vnni") or onednn.cpu_supports("avx_vnni")):
        return False
    return onednn.INT8_CONVOLUTION.open(preferred_float(device)) is not None


def activation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision of everything between the convolutions: int8 is for the convolutions alone.

    Args:
        dtype: Of the engine: float32, bfloat16 or int8.

    Returns:
        float32 or bfloat16.
    """
    return preferred_float(torch.device("cpu")) if dtype == torch.int8 else dtype
