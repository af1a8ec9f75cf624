"""The commands, Python code, figures and links of README.md and of the model card work."""

import contextlib
import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from residae.cli import main
from residae.deploy import CHECKPOINT
from residae.image import Pixels, open_picture

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
CARD = (ROOT / CHECKPOINT / "README.md").read_text(encoding="utf-8")


def _blocks(text: str, language: str) -> list[str]:
    """The code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _commands() -> list[list[str]]:
    """The arguments of each `python -m residae` in README.md, CONTRIBUTING.md and the model card."""
    shell = "".join(_blocks(README + CONTRIBUTING, "sh") + _blocks(CARD.replace("\n   ", "\n"), "sh")).replace(
        "\\\n", " "
    )
    lines = [shlex.split(line, comments=True) for line in shell.splitlines()]
    return [words[3:] for words in lines if words[:3] == ["python", "-m", "residae"]]


def test_every_command_exists_with_its_options() -> None:
    commands = _commands()
    assert {command for command, *_ in commands} >= {"compress", "decompress", "info", "evaluate", "train", "deploy"}
    for command, *words in commands:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
            main([command, "--help"])
        known = set(re.findall(r"--[a-z-]+", output.getvalue()))
        assert {word for word in words if word.startswith("--")} <= known, command


def test_the_python_runs_as_it_stands(
    checkpoint: Path, smooth: Callable[[int, int, int], Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tiny network in place of the shipped one."""
    Image.fromarray(smooth(45, 70, 0)).save(tmp_path / "photo.jpg")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / CHECKPOINT).symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESIDAE_CHECKPOINT", str(checkpoint))
    names: dict[str, object] = {}
    files, _, module = _blocks(README, "python")  # test_endpoints.py runs the one between
    exec(module, names)
    assert names["reconstruction"].shape == (1, 1, 256, 256)
    assert names["latent"].shape[2:] == (16, 16)
    exec(files, names)
    assert open_picture("photo.png").pixels.shape == (45, 70, 3)
    assert 0 < names["psnr"] < 100


def test_figures_agree_with_the_model_card() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| at most ")]
    assert rows
    assert all(row in CARD.splitlines() for row in rows)


def test_links_within_the_repository_exist() -> None:
    for text, folder in ((README, ROOT), (CARD, ROOT / CHECKPOINT)):
        for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
            assert (folder / link).exists(), link


def test_the_map_of_the_code_names_every_module() -> None:
    """In the line of its folder; `__init__.py` and `__main__.py` need no mention."""
    package, found = ROOT / "residae", set()
    for line in re.findall(r"^- \*\*.*$", CONTRIBUTING, re.MULTILINE):
        room = re.match(r"- \*\*[^*]+\*\*, `(.+?)`:", line)
        for name in re.findall(r"`([\w./-]+\.py)`", line):
            places = [package / room[1] / name, package / name] if room else [package / name]
            place = next((place for place in places if place.is_file()), None)
            assert place, f"{name} is not where the map says"
            found.add(place.resolve())
    modules = {path.resolve() for path in package.rglob("*.py") if not path.name.startswith("__")}
    missing = {path.relative_to(ROOT).as_posix() for path in modules - found}
    assert missing == set(), "give each new module a few words in .github/CONTRIBUTING.md"
