"""Deployment by the command line, with the Hub's real client, to a fake Hub."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub import Hub, RefusalError

from residae import deploy
from residae.checkpoint import Checkpoint
from residae.cli import main
from residae.deploy import CHECKPOINT, plan_uploads, push
from residae.errors import ResidaeError
from residae.model import ResidualAutoencoder

ROOT = Path(__file__).resolve().parent.parent
NAME = "someone/residae"
WEIGHTS = CHECKPOINT.as_posix()


@pytest.fixture
def checkout(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project with a tiny network, and files that must stay private."""
    root = tmp_path / "checkout"
    files = {
        "README.md": "---\ntitle: Residae\nsdk: gradio\n---\n![The page](.github/page.jpg) [Its tests](tests/)\n",
        ".github/page.jpg": "\0 a picture",
        ".github/workflow.yml": "",
        "app.py": "print('the page')",
        "requirements.txt": "gradio",
        "pyproject.toml": "",
        "LICENSE": "Apache-2.0",
        "residae/__init__.py": "",
        "residae/ui/page.py": "",
        "residae/ui/__pycache__/page.cpython-311.pyc": "",
        "residae/.mypy_cache/x.json": "",
        f"{WEIGHTS}/README.md": "# Weights\n`pip install git+https://huggingface.co/spaces/OWNER/NAME`\n",
        f"{WEIGHTS}/.saving-x/model.safetensors": "",
        "tests/test_app.py": "",
        ".env": "HF_TOKEN=secret",
        ".git/config": "",
        "run/state.pt": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for path in checkpoint.iterdir():
        (root / CHECKPOINT / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(deploy, "ROOT", root)
    return root


SENT = {
    ".github/page.jpg",
    "LICENSE",
    "README.md",
    "app.py",
    f"{WEIGHTS}/README.md",
    f"{WEIGHTS}/config.json",
    f"{WEIGHTS}/model.safetensors",
    "pyproject.toml",
    "requirements.txt",
    "residae/__init__.py",
    "residae/ui/page.py",
}


def test_a_new_space_holds_the_project_and_nothing_else(checkout: Path, hub: Hub) -> None:
    assert main(["deploy", NAME, "--hardware", "zero-a10g"]) == 0
    assert set(hub.repositories) == {("space", NAME)}
    space = hub.repositories["space", NAME]
    assert set(space.files) == SENT | {".gitattributes"}
    for path in SENT:
        assert space.files[path] == (checkout / path).read_bytes()
    assert space.settings["sdk"] == "gradio"
    assert space.settings["hardware"] == "zero-a10g"
    assert len(space.commits) == 2  # the Hub's own, and ours
    assert not [path for _, path in hub.calls if path.endswith("/hardware")]  # it was created with its hardware
    large = {space.files[path] for path in (".github/page.jpg", f"{WEIGHTS}/model.safetensors")}
    assert set(hub.large.values()) == large


def test_an_update_deletes_old_files_and_requests_hardware(checkout: Path, hub: Hub) -> None:
    main(["deploy", NAME])
    space = hub.repositories["space", NAME]
    assert "hardware" not in space.settings
    uploads = len([path for method, path in hub.calls if method == "PUT"])
    (checkout / "residae" / "ui" / "page.py").unlink()
    (checkout / "residae" / "ui" / "tab.py").write_text("new")
    assert main(["deploy", NAME, "--hardware", "cpu-upgrade"]) == 0
    assert set(space.files) == SENT - {"residae/ui/page.py"} | {"residae/ui/tab.py", ".gitattributes"}
    assert space.settings["hardware"] == "cpu-upgrade"
    assert len([path for method, path in hub.calls if method == "PUT"]) == uploads  # large files were there


def test_the_model_is_usable_in_two_lines(checkout: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", NAME, "--model", "--private"]) == 0
    model, space = hub.repositories["model", NAME], hub.repositories["space", NAME]
    assert set(model.files) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert f"spaces/{NAME}`".encode() in model.files["README.md"]
    assert ResidualAutoencoder.from_pretrained(NAME).base_channels == 4
    head = yaml.safe_load(space.files["README.md"].split(b"---\n")[1])
    assert head == {"title": "Residae", "sdk": "gradio", "models": [NAME]}
    assert "hardware" not in model.settings
    for repository in (model, space):
        assert repository.settings.get("private") or repository.settings.get("visibility") == "private"
    printed = capsys.readouterr().out
    assert f"{hub.address}/{NAME}\n" in printed
    assert f"{hub.address}/spaces/{NAME}\n" in printed


def test_former_weights_can_be_opened_by_their_name(checkout: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    main(["deploy", NAME, "--model"])
    new = Path("checkpoints") / "residae-new"
    Checkpoint(ResidualAutoencoder(base_channels=8)).save(checkout / new)
    (checkout / new / "README.md").write_text("# Weights")
    monkeypatch.setattr(deploy, "CHECKPOINT", new)
    for _ in range(2):  # the second time, the tag is there
        assert main(["deploy", NAME, "--model"]) == 0
    names = NAME, f"{NAME}@{CHECKPOINT.name}", f"{NAME}@residae-new"
    widths = {name: ResidualAutoencoder.from_pretrained(name).base_channels for name in names}
    assert widths == dict(zip(names, (8, 4, 8), strict=True))


@pytest.mark.parametrize("model", [[], ["--model"]])
def test_a_dry_run_lists_the_upload_and_uploads_nothing(
    model: list[str], checkout: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", NAME, *model, "--dry-run"]) == 0
    assert hub.calls == []
    listed: dict[tuple[str, str], dict[str, int]] = {}
    for line in capsys.readouterr().out.splitlines():
        if match := re.fullmatch(rf"(space|model) ({NAME}): (\d+) files, ([\d,]+) bytes", line):
            sizes = listed[match[1], match[2]] = {}
        else:
            size, path = line.split(maxsplit=1)
            sizes[path] = int(size.replace(",", ""))
    assert main(["deploy", NAME, *model]) == 0
    sent = {
        key: {path: len(data) for path, data in repository.files.items() if path != ".gitattributes"}
        for key, repository in hub.repositories.items()
    }
    assert listed == sent


def test_from_a_process_of_its_own(hub: Hub) -> None:
    """The real project is deployed."""
    command = [sys.executable, "-m", "residae", "deploy", NAME]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{hub.address}/spaces/{NAME}"
    files = hub.repositories["space", NAME].files
    assert files["app.py"] == (ROOT / "app.py").read_bytes()
    assert not [path for path in files if path.startswith(("tests", ".git/", ".ci")) or "__pycache__" in path]


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (RefusalError(401, "Invalid username or password."), "sign in with `hf auth login`, or set HF_TOKEN."),
        (RefusalError(403, "You don't have the rights."), "sign in with `hf auth login`, or set HF_TOKEN."),
        (RefusalError(402, "Subscribe to PRO to host it."), "refuses the space someone/residae: Subscribe to PRO to"),
        (RefusalError(400, "Unknown hardware."), "refuses the space someone/residae: Unknown hardware."),
    ],
)
def test_a_refusal_is_one_sentence(
    refusal: RefusalError, sentence: str, checkout: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refusal = refusal
    assert main(["deploy", NAME, "--hardware", "t5"]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_no_token(checkout: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(checkout / "no-token"))
    with pytest.raises(ResidaeError, match="The Hub does not let you write to the space someone/residae"):
        push(plan_uploads(NAME, model=False)[0])


def test_a_hub_that_cannot_be_reached(checkout: Path, hub: Hub) -> None:
    hub.stop()
    with pytest.raises(ResidaeError, match="The Hub cannot be reached, so the space someone/residae was not uploaded"):
        push(plan_uploads(NAME, model=False)[0])


@pytest.mark.parametrize("name", ["residae", "a/b/c", "some one/residae", "/residae", "someone/"])
def test_invalid_names_are_refused(name: str, checkout: Path) -> None:
    with pytest.raises(ResidaeError, match=f"{name} is not a name on the Hub: it must be OWNER/NAME"):
        plan_uploads(name, model=False)


def test_an_interrupted_upload_changes_nothing(checkout: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (upload,) = plan_uploads(NAME, model=False)
    push(upload)
    (checkout / CHECKPOINT / "model.safetensors").write_bytes(b"\0 other weights")
    monkeypatch.setattr(hub, "large", _Full(hub.large))
    with pytest.raises(ResidaeError, match="The upload of the space someone/residae was interrupted"):
        push(plan_uploads(NAME, model=False)[0])
    assert len(hub.repositories["space", NAME].commits) == 2


class _Full(dict[str, bytes]):
    def __setitem__(self, oid: str, data: bytes) -> None:
        raise RefusalError(403, "No space left.")


def test_without_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(ResidaeError, match="Only a checkout of the project can be deployed"):
        plan_uploads(NAME, model=False, root=tmp_path)
