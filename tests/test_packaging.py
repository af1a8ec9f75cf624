"""What `pip install .` installs, and that it says the same as requirements.txt."""

import ast
import email
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import residae.examples
from residae import checkpoint
from residae.cli import main
from residae.errors import CheckpointError
from residae.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]


def test_the_page_s_requirements_are_the_package_s_with_its_extra() -> None:
    extra = PROJECT["optional-dependencies"]
    assert extra.keys() == {"ui", "mcp"}
    assert sorted(REQUIREMENTS) == sorted([*PROJECT["dependencies"], *extra["ui"]])


def test_each_requirement_is_used_and_each_import_required() -> None:
    """Anywhere but in the tests, and but for `spaces`, which ZeroGPU brings along."""
    names: set[str] = set()
    for path in (ROOT / "app.py", *(ROOT / "residae").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).split(".")[0])
    names -= {*sys.stdlib_module_names, "residae", "spaces"}
    distributions = packages_distributions()
    used = {distributions[name][0].lower().replace("-", "_") for name in names}
    assert used == {line.split("=")[0].rstrip("<>") for line in REQUIREMENTS}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    output = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "--wheel-dir", output, ROOT], check=True, capture_output=True)
    (built,) = output.iterdir()
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_package_and_its_data(wheel: zipfile.ZipFile) -> None:
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


def test_an_installed_package_asks_for_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
