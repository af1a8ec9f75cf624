"""Send the project to the Hugging Face Hub: as a Space, and its weights as a model repository."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceHardware
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is httpx's, or httpx2's
    HfHubHTTPError,
    HTTPError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from residae import __version__
from residae.errors import ResidaeError

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = Path("checkpoints") / "residae-16x"
FILES = ("app.py", "requirements.txt", "README.md", "LICENSE", "pyproject.toml")
FOLDERS = ("residae", "checkpoints")
PLACEHOLDER = "OWNER/NAME"  # stands in the model card for the repository that the card comes to lie in


@dataclass(frozen=True)
class Shipment:
    """All files of one repository on the Hub, whatever it held before."""

    kind: str  # "space" or "model"
    repository: str  # "owner/name"
    files: dict[str, bytes | Path]  # by path in the repository

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by path in the repository."""
        return {
            path: len(content) if isinstance(content, bytes) else content.stat().st_size
            for path, content in self.files.items()
        }


def shipments(repository: str, model: bool, root: Path | None = None) -> list[Shipment]:
    """What a deployment to `repository` (`owner/name`) sends: a Space, after the model that it names, if any.

    The checkout in `root`, by default the one that this module lies in, without tests, caches, and whatever else is
    not named here. ResidaeError without a checkout, or for another name.
    """
    root = root or ROOT
    try:
        validate_repo_id(repository)
        _, _ = repository.split("/")
    except ValueError as error:  # HFValidationError is one, too
        raise ResidaeError(f"{repository} is no name on the Hub: it must be OWNER/NAME.") from error
    if not all((root / name).exists() for name in (*FILES, *FOLDERS)):
        raise ResidaeError(
            "Only a checkout of the project can be deployed, and this package was installed without one."
        )
    space = _space(root)
    if not model:
        return [Shipment("space", repository, space)]
    readme = (root / "README.md").read_text(encoding="utf-8")
    space["README.md"] = readme.replace("\n---\n", f"\nmodels:\n  - {repository}\n---\n", 1).encode()
    weights: dict[str, bytes | Path] = {path.name: path for path in _visible(root / CHECKPOINT)}
    card = (root / CHECKPOINT / "README.md").read_text(encoding="utf-8")
    weights["README.md"] = card.replace(PLACEHOLDER, repository).encode()
    return [Shipment("model", repository, weights), Shipment("space", repository, space)]


def send(shipment: Shipment, hardware: str | None = None, private: bool | None = None) -> str:
    """Create or update the repository, in one commit; return its address.

    A Space gets `hardware`, such as `cpu-basic` or `zero-a10g`; without it, it keeps what it has. `private` counts for
    a new repository alone. ResidaeError, naming the cause, when the Hub does not take it or cannot be reached.
    """
    hub, repository, kind = HfApi(), shipment.repository, shipment.kind
    flavor = cast(SpaceHardware, hardware) if kind == "space" else None  # the Hub knows more names than its client
    with _told(shipment):
        known = hub.repo_exists(repository, repo_type=kind)
        sdk = "gradio" if kind == "space" else None
        address = hub.create_repo(
            repository, repo_type=kind, private=private, exist_ok=True, space_sdk=sdk, space_hardware=flavor
        )
        there = set(hub.list_repo_files(repository, repo_type=kind)) - {".gitattributes"}  # the Hub's own
        gone = [CommitOperationDelete(path, is_folder=False) for path in sorted(there - shipment.files.keys())]
        new = [CommitOperationAdd(path, content) for path, content in shipment.files.items()]
        message = f"Residae {__version__}"
        # In one commit, so that a Space is never built from half of its files.
        hub.create_commit(repository, [*gone, *new], commit_message=message, repo_type=kind)
        if known and flavor:
            hub.request_space_hardware(repository, flavor)
    return str(address)


def _space(root: Path) -> dict[str, bytes | Path]:
    shown = re.findall(r"\]\((\.\w[^)]*)\)", (root / "README.md").read_text(encoding="utf-8"))
    paths = [root / name for name in (*FILES, *shown)]
    for folder in FOLDERS:
        paths += _visible(root / folder)
    return {path.relative_to(root).as_posix(): path for path in sorted(paths)}


def _visible(folder: Path) -> list[Path]:
    """The files in `folder` and below, but for caches and hidden ones."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [p for p in paths if not any(n.startswith((".", "__pycache__")) for n in p.relative_to(folder).parts)]


@contextmanager
def _told(shipment: Shipment) -> Iterator[None]:
    """What the Hub's client raises, as one sentence."""
    what = f"the {shipment.kind} {shipment.repository}"
    try:
        yield
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise ResidaeError(
                f"The Hub does not let you write to {what}: sign in with `hf auth login`, or set HF_TOKEN."
            ) from error
        reason = error.server_message or error.response.reason_phrase
        raise ResidaeError(f"The Hub does not take {what}: {reason}") from error
    except (HTTPError, ConnectionError) as error:
        raise ResidaeError(f"The Hub cannot be reached, so {what} is not sent.") from error
    except ValueError as error:  # it does not like the head of a README.md
        raise ResidaeError(f"The Hub does not take {what}: {' '.join(str(error).split())}") from error
    except RuntimeError as error:  # what an upload of a large file ends in, whatever its cause
        raise ResidaeError(
            f"{what.capitalize()} broke off on its way: try again, and only the rest is sent."
        ) from error
