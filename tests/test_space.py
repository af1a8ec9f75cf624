"""The repository is a Hugging Face Space: README.md's front matter, the requirements and the size."""

import re
import tomllib
from pathlib import Path

import yaml

from residae.deploy import plan_uploads

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPACE = yaml.safe_load(README.split("---\n")[1])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_the_space_runs_the_pinned_gradio() -> None:
    assert f"gradio=={SPACE['sdk_version']}\n" in REQUIREMENTS


def test_the_front_matter_is_what_the_hub_accepts() -> None:
    assert (ROOT / SPACE["app_file"]).is_file()
    assert SPACE["license"] == PROJECT["license"].lower()
    assert SPACE["python_version"] in {"3.10", "3.12"}  # those of ZeroGPU
    assert 0 < len(SPACE["short_description"]) <= 60
    colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {SPACE["colorFrom"], SPACE["colorTo"]} <= colors


def test_every_requirement_is_bounded() -> None:
    lines = [line for line in REQUIREMENTS.splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z_\d]+(==[\d.]+|>=[\d.]+,<=?[\d.]+)", line), line


def test_the_space_is_within_the_hub_s_limits() -> None:
    (space,) = plan_uploads("owner/name", model=False)
    assert sum(space.sizes().values()) < 10**9  # bytes that a repository of a Space may have
