"""The bench: the work of the specification, encoding and decoding, the plain module, and other runtimes."""

import itertools
import json
import re
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from residae import bench as module
from residae import runtimes
from residae.bench import Run, measure, startup
from residae.cli import main
from residae.engine.precision import has_fast_int8
from residae.errors import ResidaeError
from residae.model import ResidualAutoencoder

CPU = torch.device("cpu")
Array = NDArray[np.float32]
ROOT = Path(__file__).resolve().parent.parent
SERVER = (
    "import http.server, os; http.server.HTTPServer((os.environ['GRADIO_SERVER_NAME'],"
    " int(os.environ['GRADIO_SERVER_PORT'])), http.server.SimpleHTTPRequestHandler).serve_forever()"
)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUNDS", 2)
    monkeypatch.setattr(module, "MATRIX_SIDES", (8, 16))


def test_work_is_that_of_the_design() -> None:
    with torch.device("meta"):
        network = ResidualAutoencoder()
    encoding, decoding = module._work(network)
    assert round(encoding * 256**2 / 1e9, 3) == 51.996
    assert round(decoding * 256**2 / 1e9, 3) == 80.958


@pytest.mark.parametrize("taken", [[0.5, 0.25], [1.0]])
def test_a_second_call_counts_unless_the_first_was_long(taken: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    waits = iter(taken)

    def work() -> None:
        clock[0] += next(waits)

    assert module._seconds(work) == taken[-1]
    assert not list(waits)


def test_encoding_and_decoding_at_each_size(network: ResidualAutoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PLAIN_PIXELS", 32 * 32)
    measured = measure(network, "cpu", [(32, 16), (48, 64)])
    assert measured.device.startswith("CPU, ")
    assert [(run.way, run.height, run.width) for run in measured.runs] == [
        ("encode", 32, 16),
        ("decode", 32, 16),
        ("refine", 32, 16),
        ("encode", 48, 64),
        ("decode", 48, 64),
        ("refine", 48, 64),
    ]
    encoding, decoding = module._work(network)
    work = {"encode": encoding, "decode": decoding, "refine": 2 * decoding}
    for run in measured.runs:
        assert run.work == work[run.way] * run.height * run.width
        assert 0 < run.seconds < np.inf
        assert run.rate == run.work / run.seconds
    assert [run.ratio is not None for run in measured.runs] == [True, True, False, False, False, False]
    assert measured.runs[0].ratio == measured.runs[0].plain_seconds / measured.runs[0].seconds
    assert measured.product > 0
    assert measured.overhead is not None
    assert 0 < measured.overhead < np.inf
    assert measure(network, "cpu", [(16, 16)]).overhead is None


def test_sizes_are_compared_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pace that changes from round to round changes nothing, nor does one round that goes wrong."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    slow = iter((1, 1, 2, 2, 1, 1, 12, 12, 3, 3, 6, 6))

    def work() -> None:
        clock[0] += next(slow)

    runs = [Run(way, side, side, 0, work, None, seconds=2.5) for side in (16, 32) for way in module.WAYS]
    assert module._overhead(runs) == 0.5  # twice as long, for four times the pixels
    assert [run.seconds for run in runs] == [1, 1, 2.5, 2, 2, 2.5]
    assert not list(slow)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_precision_can_be_chosen(network: ResidualAutoencoder, dtype: str) -> None:
    if dtype == "int8" and not has_fast_int8(torch.device("cpu")):
        with pytest.raises(ResidaeError, match="int8 needs a CPU"):
            measure(network, "cpu", [(16, 16)], dtype)
        return
    measured = measure(network, "cpu", [(16, 16)], dtype)
    assert measured.device == f"CPU, {dtype}"
    assert measured.product > 0


@pytest.mark.parametrize("asked", [("meta", "float32"), ("cpu", "float16")])
def test_what_cannot_be_measured_is_refused_before_a_word(
    asked: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    device, dtype = asked
    with pytest.raises(ResidaeError):
        module.print_bench(device, [(16, 16)], dtype)
    assert not capsys.readouterr().out


def test_what_is_timed_is_the_engine_and_the_plain_module(network: ResidualAutoencoder) -> None:
    """The two agree on what they make, so that their times can be compared."""
    plane = np.random.default_rng(0).random((32, 48), np.float32)
    seen = []
    with torch.inference_mode():
        seen.append(network.encode(torch.from_numpy(plane)[None, None])[0].numpy())
    for run in measure(network, "cpu", [(32, 48)]).runs[:1]:
        assert run.engine.args[0].shape == plane.shape
        assert run.plain is not None
        np.testing.assert_array_equal(run.plain.args[2][0], run.engine.args[0])
        np.testing.assert_array_equal(run.engine.args[0], plane)
        np.testing.assert_allclose(run.engine(), seen[0], rtol=0.1, atol=0.1 * seen[0].std())


def test_a_picture_that_would_take_too_long_is_halved() -> None:
    def run(seconds: float) -> Run:
        return Run("encode", 100, 100, 0, list, None, seconds=seconds)

    assert module._affordable((4096, 4096), []) == (4096, 4096)
    assert module._affordable((4096, 4096), [run(0.001), run(0.001)]) == (4096, 4096)
    slow = [run(0.09), run(0.09)]  # 18 microseconds for each pixel
    assert module._affordable((4096, 4096), slow) == (1024, 1024)
    assert module._affordable((4096, 6000), slow) == (1024, 1488)
    assert module._affordable((16, 2**20), [run(1), run(1)]) == (16, 2**13)
    assert module._affordable((32, 48), [run(1e5), run(1e5)]) == (16, 16)


def test_peak_memory_includes_what_was_freed() -> None:
    with module._peak_memory(CPU) as highest:
        before = highest()
        array = np.ones(2**25)  # 256 MiB
        deadline = time.monotonic() + 60
        while highest() < before + 2**27 and time.monotonic() < deadline:
            time.sleep(0.01)
        del array
    assert before + 2**27 < highest() < before + 2**30


def test_startup_ends_with_the_first_answer_and_leaves_no_process(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"import os, pathlib; pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); {SERVER}"
    seconds = startup([sys.executable, "-c", code])
    assert seconds is not None
    assert 0 < seconds < module.STARTUP_LIMIT
    assert not module.psutil.pid_exists(int(mark.read_text()))


def test_an_app_that_exits_has_no_page() -> None:
    assert startup([sys.executable, "-c", "raise SystemExit(1)"]) is None


@pytest.mark.parametrize("page", [1.26, None])
def test_the_table(
    network: ResidualAutoencoder,
    page: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "startup", lambda: page)
    monkeypatch.setattr("residae.bench.ResidualAutoencoder", lambda: network)
    monkeypatch.setattr(module, "_affordable", lambda size, runs: (32, 32) if runs else size)
    file = tmp_path / "bench.json"
    arguments = ["bench", "--device", "cpu", "--sizes", "64x48,48x16", "--json", str(file)]
    assert main(arguments) == 0
    _, device, head, *rows, refinement, shrunk, overhead, last = capsys.readouterr().out.splitlines()
    figures = json.loads(file.read_text())
    assert device == f"{figures['device']}; matrix product {figures['product'] / 1e9:,.0f} GFLOP/s"
    assert [row.split()[:4] for row in rows] == [
        ["48", "x", "16", "encode"],
        ["48", "x", "16", "decode"],
        ["48", "x", "16", "refine"],
        ["32", "x", "32", "encode"],
        ["32", "x", "32", "decode"],
        ["32", "x", "32", "refine"],
    ]
    assert len({len(line) for line in (head, *rows)}) == 1  # columns line up
    for row, run in zip(rows, figures["runs"], strict=True):
        assert row.split()[4:6] == [f"{run['seconds']:.3f}", f"{run['rate'] / 1e9:,.0f}"]
    ratio = figures["runs"][2]["seconds"] / figures["runs"][1]["seconds"]
    assert refinement.startswith(f"A step of refinement takes {ratio:.2f}, ")
    assert shrunk == "64 x 48 would take too long here."
    assert overhead.startswith(f"A pixel of the last picture takes {figures['overhead']:.2f} times")
    assert last == ("The page answers 1.3 s after python app.py." if page else "The page did not answer.")
    assert figures["page"] == page
    assert main(arguments) == 1  # the file is there


def test_without_an_app_nothing_is_said_of_a_page(
    network: ResidualAutoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("residae.bench.ResidualAutoencoder", lambda: network)
    monkeypatch.setattr(module, "APP", tmp_path / "app.py")
    assert main(["bench", "--device", "cpu", "--sizes", "16x16"]) == 0
    assert "page" not in capsys.readouterr().out


HIDE = """if True:
    import sys

    class Hide:
        def __init__(self, finder):
            self.finder = finder

        def find_spec(self, name, path=None, target=None):
            return None if name.split(".")[0] in {names} else self.finder.find_spec(name, path, target)

    sys.meta_path[:] = [Hide(finder) for finder in sys.meta_path]
"""


def _run_with_few_packages(code: str, *extra: str) -> subprocess.CompletedProcess[str]:
    """Run code where PyTorch, NumPy, Pillow, psutil and the extra packages are, and no other requirement of ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[^\w-]", line)[0] for line in required}
    names -= {"residae", "torch", "numpy", "pillow", "psutil", *extra}
    assert {"constriction", "tqdm", "huggingface_hub"} <= names
    code = HIDE.format(names=names) + textwrap.indent(code, "    ")
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_it_needs_no_more_than_torch_numpy_pillow_and_psutil() -> None:
    """A machine that is rented for its GPU often has no other package."""
    done = _run_with_few_packages(
        "from pathlib import Path\n"
        "from residae import bench\n"
        "from residae.cli import main\n"
        "bench.APP, bench.ROUNDS, bench.MATRIX_SIDES = Path('absent'), 1, (8,)\n"
        "raise SystemExit(main(['bench', '--device', 'cpu', '--dtype', 'float32', '--sizes', '16x16']))\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "CPU, float32; matrix product" in done.stdout


def test_the_tests_of_a_gpu_need_little_more() -> None:
    code = (
        "import pytest\nraise SystemExit(pytest.main(['tests/test_gpu.py', '-m', 'gpu', '-p', 'no:cacheprovider']))\n"
    )
    done = _run_with_few_packages(code, "safetensors")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[678] (passed|skipped)", done.stdout)


@pytest.mark.parametrize("size", ["256", "20x32", "0x16", "16x-16", "axb"])
def test_sizes_are_multiples_of_16(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", "--sizes", size])
    assert left.value.code == 2
    assert "--sizes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_runtime_computes_the_network(network: ResidualAutoencoder, name: str) -> None:
    for package in runtimes.RUNTIMES[name][0]:
        pytest.importorskip(package)
    planes = [np.random.default_rng(seed).random((32, 48), np.float32) for seed in range(2)]
    functions = runtimes.open_runtime(name, network, planes)
    assert {"float32", "int8"} <= functions.keys()
    expected = module._reconstruct_plainly(network, planes[0])
    np.testing.assert_allclose(functions["float32"](planes[0]), expected, rtol=1e-3, atol=1e-4)
    error = functions["int8"](planes[0]) - expected
    assert 0 < np.abs(error).mean() < 0.1


def test_runtimes_are_compared_in_turns(
    network: ResidualAutoencoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    called: list[str] = []

    def convert(network: ResidualAutoencoder, planes: Sequence[Array]) -> dict[str, runtimes.Reconstruct]:
        assert {plane.shape for plane in planes} == {(512, 768)}
        return {"float32": lambda plane: called.append("float32") or plane, "int8": lambda plane: 0.9 * plane}

    monkeypatch.setitem(runtimes.RUNTIMES, "openvino", (("torch",), convert))
    monkeypatch.setattr("residae.checkpoint.Checkpoint.open", lambda: SimpleNamespace(network=network))
    file = tmp_path / "bench.json"
    assert main(["bench", "--against", "openvino", "--json", str(file)]) == 0
    _, size, head, *rows = capsys.readouterr().out.splitlines()
    assert size.startswith("768 x 512, encoded and decoded on ")
    assert len({len(line) for line in (head, *rows)}) == 1
    assert [tuple(row.split()[:2]) for row in rows[:3]] == [
        ("PyTorch", "float32"),
        ("openvino", "float32"),
        ("openvino", "int8"),
    ]
    assert ("residae", "float32") in [tuple(row.split()[:2]) for row in rows[3:]]
    figures = json.loads(file.read_text())["runs"]
    plain, exact, darker, *ours = figures
    assert exact["psnr"] == np.inf
    assert 15 < darker["psnr"] < 60
    for run in ours:
        assert run["psnr"] == pytest.approx(plain["psnr"], abs=0.1)
    assert len(called) >= 1 + module.ROUNDS


def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before anything is promised, or converted for another one."""
    monkeypatch.setitem(runtimes.RUNTIMES, "onnxruntime", ((), lambda *_: pytest.fail("converted")))
    monkeypatch.setitem(runtimes.RUNTIMES, "openvino", (("no_such_package",), lambda *_: {}))
    assert main(["bench", "--against", "onnxruntime,openvino"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "residae: openvino is not installed: install residae with its extra, as residae[bench].\n"


@pytest.mark.parametrize("options", [["--against", "tensorrt"], ["--against", "openvino", "--sizes", "16x16"]])
def test_wrong_arguments_of_a_comparison(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", *options])
    assert left.value.code == 2
    assert "--against" in capsys.readouterr().err
