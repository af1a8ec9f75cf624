"""What `pip install .` installs, and that pyproject.toml agrees with requirements.txt."""

import ast
import email
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import residae.examples
from residae import checkpoint
from residae.cli import main
from residae.codec import read_info
from residae.errors import CheckpointError
from residae.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]


def test_the_page_s_requirements_are_the_package_s_with_its_extra() -> None:
    extra = PROJECT["optional-dependencies"]
    assert {"ui", "mcp", "measure"} <= extra.keys()
    assert sorted(REQUIREMENTS) == sorted([*PROJECT["dependencies"], *extra["ui"]])


def test_each_requirement_is_used_and_each_import_required() -> None:
    """In the package and app.py. `spaces` is part of a ZeroGPU Space; what an extra brings need not be installed."""
    names: set[str] = set()
    for path in (ROOT / "app.py", *(ROOT / "residae").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).split(".")[0])
    names -= {*sys.stdlib_module_names, "residae", "spaces"}
    distributions = packages_distributions()
    used = {distributions.get(name, [name])[0].lower().replace("-", "_") for name in names}
    extras = {re.split("[=<>]", line)[0] for line in itertools.chain(*PROJECT["optional-dependencies"].values())}
    used -= extras - {line.split("=")[0].rstrip("<>") for line in REQUIREMENTS}
    assert used == {line.split("=")[0].rstrip("<>") for line in REQUIREMENTS}


def test_the_lowest_versions_are_those_that_the_requirements_allow() -> None:
    """For each requirement, `.github/lowest.txt` pins the first release of its lower bound."""
    text = (ROOT / ".github" / "lowest.txt").read_text(encoding="utf-8")
    pins = [line.split("==") for line in text.splitlines() if not line.startswith("#")]
    bounds = [re.match(r"(\w+)[=>]=([\d.]+)", line) for line in REQUIREMENTS]
    assert [name for name, _ in pins] == [bound[1] for bound in bounds if bound]
    for (name, pin), bound in zip(pins, bounds, strict=True):
        assert bound
        assert f"{pin}.".startswith(f"{bound[2]}."), name


PIP = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds from the repository."""
    output = tmp_path_factory.mktemp("wheel")
    command = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", output, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_package_and_its_data(wheel: zipfile.ZipFile) -> None:
    """Nothing else: no tests, and not the code that draws the example pictures."""
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    kinds = ("*.py", "*.js", "*.css")
    sources = {path.relative_to(ROOT).as_posix() for kind in kinds for path in (ROOT / "residae").rglob(kind)}
    pictures = {Path(path).relative_to(ROOT).as_posix() for path in residae.examples.paths()}
    weights = {f"residae/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "checkpoints").rglob("*.*")}
    assert files == sources | pictures | weights | {"residae/py.typed"}


def test_the_wheel_s_metadata(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["Name"] == "residae"
    assert metadata["Version"] == residae.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "residae = residae.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_an_installed_command_has_weights_and_needs_no_gradio(built: Path, tmp_path: Path) -> None:
    """`pip install .` without the extra of the page gives a command that works outside the repository."""
    installed = tmp_path / "installed"
    subprocess.run(
        [*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", installed, built], check=True
    )
    hidden = tmp_path / "hidden"
    for library in ("gradio", "starlette"):
        (hidden / library).mkdir(parents=True)
        (hidden / library / "__init__.py").write_text("raise ModuleNotFoundError")
    environment = {name: value for name, value in os.environ.items() if name != "RESIDAE_CHECKPOINT"}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, (hidden, installed)))}
    Image.new("L", (20, 30), 90).save(tmp_path / "picture.png")
    command = shutil.which("residae", path=installed / ("Scripts" if os.name == "nt" else "bin"))
    assert command
    for arguments in (["compress", "picture.png"], ["decompress", "picture.rae", "-o", "back.png"]):
        subprocess.run([command, *arguments], cwd=tmp_path, env=environment, check=True)
    with Image.open(tmp_path / "back.png") as back:
        assert back.size == (20, 30)
        assert abs(np.asarray(back, int) - 90).max() <= 8
    assert read_info((tmp_path / "picture.rae").read_bytes()).name == checkpoint.DEFAULT


def test_an_installed_package_without_weights_asks_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESIDAE_CHECKPOINT", raising=False)
    monkeypatch.setattr(checkpoint, "FOLDERS", (tmp_path,))
    with pytest.raises(CheckpointError, match="There are no weights here: name a folder with a checkpoint, or a model"):
        Pipeline.open()


@pytest.mark.parametrize(
    ("missing", "command", "sentence"),
    [
        ("gradio", ["page"], "The page needs Gradio: install residae with its extra, as residae[ui]."),
        ("mcp", ["page", "--mcp"], "MCP needs a package of its own: install residae with its extra, as residae[mcp]."),
    ],
)
def test_the_page_without_its_extras(
    missing: str,
    command: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else True)
    assert main(command) == 1
    assert capsys.readouterr().err == f"residae: {sentence}\n"
