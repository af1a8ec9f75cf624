"""The network in other inference runtimes, to compare the engine with: OpenVINO and ONNX Runtime.

They come with the extra `residae[bench]`; each function here imports what it needs.
"""

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from residae.arrays import Plane
from residae.errors import ResidaeError
from residae.model import ResidualAutoencoder

Reconstruct = Callable[[Plane], Plane]


def check_runtimes(names: Sequence[str]) -> None:
    """Refuse runtimes that cannot be compared with here. It imports none of them, and so takes no time.

    Args:
        names: Of RUNTIMES.

    Raises:
        ResidaeError: There is no such runtime, or it is not installed.
    """
    for name in names:
        if name not in RUNTIMES:
            raise ResidaeError(f"There is no runtime {name!r}: choose {' or '.join(RUNTIMES)}.")
        if not all(importlib.util.find_spec(module) for module in RUNTIMES[name][0]):
            raise ResidaeError(f"{name} is not installed: install residae with its extra, as residae[bench].")


def open_runtime(name: str, network: ResidualAutoencoder, planes: Sequence[Plane]) -> dict[str, Reconstruct]:
    """Convert the network for a runtime, on the CPU and for one size of picture.

    Args:
        name: One of RUNTIMES.
        network: In eval mode.
        planes: Of that size, multiples of 16; int8 is calibrated on them.

    Returns:
        A function that encodes and decodes a plane, for each precision that the runtime has on this processor.

    Raises:
        ResidaeError: As `check_runtimes`.
    """
    check_runtimes([name])
    with _quiet():
        return RUNTIMES[name][1](network, planes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what converters print besides errors: warnings about tracing, progress bars, packages that they lack."""
    loggers = [logging.getLogger(name) for name in ("nncf", "torch.onnx", "root")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _open_openvino(network: ResidualAutoencoder, planes: Sequence[Plane]) -> dict[str, Reconstruct]:
    """Float32, bfloat16 where the processor has it, and int8 throughout, quantized by NNCF."""
    import nncf
    import openvino

    inputs = [plane[None, None] for plane in planes]
    shape = inputs[0].shape
    model = openvino.convert_model(network, example_input=torch.zeros(shape), input=[shape])
    core = openvino.Core()

    def compiled(model: Any, precision: str) -> Reconstruct:
        options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        options["INFERENCE_NUM_THREADS"] = str(torch.get_num_threads())
        request = core.compile_model(model, "CPU", options)
        return lambda plane: np.asarray(request(plane[None, None])[0][0, 0])

    runs = {"float32": compiled(model, "f32")}
    floating = "f32"
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        floating = "bf16"
        runs["bfloat16"] = compiled(model, floating)
    quantized = nncf.quantize(model, nncf.Dataset(inputs), subset_size=len(inputs))
    return runs | {"int8": compiled(quantized, floating)}


def _open_onnxruntime(network: ResidualAutoencoder, planes: Sequence[Plane]) -> dict[str, Reconstruct]:
    """Float32, and int8 throughout by static quantization."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quant_pre_process, quantize_static

    onnxruntime.set_default_logger_severity(3)  # errors
    inputs = [plane[None, None] for plane in planes]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        """Calibration pictures, one at a time."""

        def __init__(self) -> None:
            self.remaining = iter(inputs)

        def get_next(self) -> dict[str, Plane] | None:
            plane = next(self.remaining, None)
            return None if plane is None else {"plane": plane}

    def opened(path: Path) -> Reconstruct:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        return lambda plane: np.asarray(session.run(["reconstruction"], {"plane": plane[None, None]})[0][0, 0])

    with TemporaryDirectory() as folder:
        model, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("model", "prepared", "quantized"))
        torch.onnx.export(
            network,
            (torch.from_numpy(inputs[0]),),
            model,
            input_names=["plane"],
            output_names=["reconstruction", "latent"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        quant_pre_process(model, prepared)
        quantize_static(prepared, quantized, Reader())
        return {"float32": opened(model), "int8": opened(quantized)}


Converter = Callable[[ResidualAutoencoder, Sequence[Plane]], dict[str, Reconstruct]]
RUNTIMES: dict[str, tuple[tuple[str, ...], Converter]] = {  # name: packages it needs, how to convert
    "openvino": (("openvino", "nncf"), _open_openvino),
    "onnxruntime": (("onnxruntime", "onnx", "onnxscript"), _open_onnxruntime),
}
