"""README.md makes the repository a Hugging Face Space, and holds the two commands that others run."""

import re
from pathlib import Path

import yaml

from residae.deploy import shipments

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPACE = yaml.safe_load(README.split("---\n")[1])
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_the_space_runs_the_pinned_gradio() -> None:
    assert SPACE["sdk"] == "gradio"
    assert f"gradio=={SPACE['sdk_version']}\n" in REQUIREMENTS


def test_front_matter_is_complete() -> None:
    for key in ("title", "emoji", "colorFrom", "colorTo", "python_version", "tags", "suggested_hardware"):
        assert SPACE[key], key
    assert (ROOT / SPACE["app_file"]).is_file()
    assert SPACE["license"] == "apache-2.0"
    assert len(SPACE["short_description"]) <= 60  # the Hub refuses more


def test_every_requirement_is_bounded() -> None:
    lines = [line for line in REQUIREMENTS.splitlines() if line and not line.startswith("#")]
    assert "torch>=2.8,<=2.13.0" in lines
    for line in lines:
        assert re.fullmatch(r"[a-z_]+(==[\d.]+|>=[\d.]+,<=?[\d.]+)", line), line


def test_everything_is_within_a_space_s_limits() -> None:
    (space,) = shipments("owner/name", model=False)
    assert sum(space.sizes().values()) < 10**9  # of a repository there
    assert SPACE["python_version"] == "3.12"  # one of the two that ZeroGPU has
    assert SPACE["emoji"].encode().isascii() is False
    colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {SPACE["colorFrom"], SPACE["colorTo"]} <= colors


def test_the_commands_name_files_that_exist() -> None:
    for command in (
        "pip install -r requirements.txt && python app.py",
        "-r tests/requirements.txt && python -m pytest",
    ):
        assert command in README


def test_ci_runs_the_readme_s_own_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"sed -n 's/\^\\\((.*)\\\)\$/", script)
    assert pattern
    assert len(re.findall(f"^{pattern[1]}$", README, re.MULTILINE)) == 1
