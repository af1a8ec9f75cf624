"""Upload the project to the Hugging Face Hub: as a Space, and its weights as a model repository."""

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
from residae.checkpoint import DEFAULT, PLACEHOLDER
from residae.errors import ResidaeError

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = Path("checkpoints") / DEFAULT
FILES = ("app.py", "requirements.txt", "README.md", "LICENSE", "pyproject.toml")
FOLDERS = ("residae", "checkpoints")


@dataclass(frozen=True)
class Upload:
    """The files that a repository on the Hub holds after an upload.

    Attributes:
        kind: `space` or `model`.
        repository: `owner/name`.
        files: Content or local path of each file, by its path in the repository.
    """

    kind: str
    repository: str
    files: dict[str, bytes | Path]

    def sizes(self) -> dict[str, int]:
        """The size of each file in bytes, by its path in the repository."""
        return {
            path: len(content) if isinstance(content, bytes) else content.stat().st_size
            for path, content in self.files.items()
        }


def plan_uploads(repository: str, model: bool, root: Path | None = None) -> list[Upload]:
    """List what a deployment uploads. Only the files and folders named in this module are part of it.

    Args:
        repository: `owner/name` of the Space.
        model: Whether to upload the weights as well, to a model of the same name, which the Space then names.
        root: The checkout; that of this module if None.

    Returns:
        The model, if any, and the Space, in the order in which they should be uploaded.

    Raises:
        ResidaeError: `root` is not a checkout, or the name is not one on the Hub.
    """
    root = root or ROOT
    try:
        validate_repo_id(repository)
        _, _ = repository.split("/")
    except ValueError as error:  # HFValidationError is one too
        raise ResidaeError(f"{repository} is not a name on the Hub: it must be OWNER/NAME.") from error
    if not all((root / name).exists() for name in (*FILES, *FOLDERS)):
        raise ResidaeError(
            "Only a checkout of the project can be deployed, and this package was installed without one."
        )
    space = _space(root)
    if not model:
        return [Upload("space", repository, space)]
    readme = (root / "README.md").read_text(encoding="utf-8")
    space["README.md"] = readme.replace("\n---\n", f"\nmodels:\n  - {repository}\n---\n", 1).encode()
    weights: dict[str, bytes | Path] = {path.name: path for path in _visible(root / CHECKPOINT)}
    card = (root / CHECKPOINT / "README.md").read_text(encoding="utf-8")
    weights["README.md"] = card.replace(PLACEHOLDER, repository).encode()
    return [Upload("model", repository, weights), Upload("space", repository, space)]


def push(upload: Upload, hardware: str | None = None, private: bool | None = None) -> str:
    """Create or update a repository on the Hub, in one commit. Files that are not part of the upload are deleted.

    The commit of a model is tagged with the name of the checkpoint, unless there is such a tag: the weights can then be
    opened as `owner/name@checkpoint` for good.

    Args:
        upload: The repository and its files.
        hardware: Of a Space, such as `cpu-basic` or `zero-a10g`; unchanged if None.
        private: Whether a new repository is private; the owner's default if None.

    Returns:
        The address of the repository.

    Raises:
        ResidaeError: The Hub refuses the upload, or cannot be reached.
    """
    hub, repository, kind = HfApi(), upload.repository, upload.kind
    flavor = cast(SpaceHardware, hardware) if kind == "space" else None  # the Hub knows more names than its client
    with _translate_hub_errors(upload):
        known = hub.repo_exists(repository, repo_type=kind)
        sdk = "gradio" if kind == "space" else None
        address = hub.create_repo(
            repository, repo_type=kind, private=private, exist_ok=True, space_sdk=sdk, space_hardware=flavor
        )
        existing = set(hub.list_repo_files(repository, repo_type=kind)) - {".gitattributes"}  # the Hub's own
        deletions = [CommitOperationDelete(path, is_folder=False) for path in sorted(existing - upload.files.keys())]
        additions = [CommitOperationAdd(path, content) for path, content in upload.files.items()]
        message = f"Residae {__version__}"
        # One commit, so that a Space is never built from half of its files.
        hub.create_commit(repository, [*deletions, *additions], commit_message=message, repo_type=kind)
        if kind == "model":  # the weights are had by their name when others have taken their place
            hub.create_tag(repository, tag=CHECKPOINT.name, exist_ok=True)
        if known and flavor:
            hub.request_space_hardware(repository, flavor)
    return str(address)


def _space(root: Path) -> dict[str, bytes | Path]:
    """The files of the Space, with the pictures that README.md shows."""
    pictures = re.findall(r"\]\((\.\w[^)]*)\)", (root / "README.md").read_text(encoding="utf-8"))
    paths = [root / name for name in (*FILES, *pictures)]
    for folder in FOLDERS:
        paths += _visible(root / folder)
    return {path.relative_to(root).as_posix(): path for path in sorted(paths)}


def _visible(folder: Path) -> list[Path]:
    """The files in `folder` and below, without hidden ones and caches."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [p for p in paths if not any(n.startswith((".", "__pycache__")) for n in p.relative_to(folder).parts)]


@contextmanager
def _translate_hub_errors(upload: Upload) -> Iterator[None]:
    """Re-raise the errors of the Hub's client as ResidaeError."""
    what = f"the {upload.kind} {upload.repository}"
    try:
        yield
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise ResidaeError(
                f"The Hub does not let you write to {what}: sign in with `hf auth login`, or set HF_TOKEN."
            ) from error
        reason = error.server_message or error.response.reason_phrase
        raise ResidaeError(f"The Hub refuses {what}: {reason}") from error
    except (HTTPError, ConnectionError) as error:
        raise ResidaeError(f"The Hub cannot be reached, so {what} was not uploaded.") from error
    except ValueError as error:  # the front matter of README.md is not valid
        raise ResidaeError(f"The Hub refuses {what}: {' '.join(str(error).split())}") from error
    except RuntimeError as error:  # the client raises it for any failure of a large file
        raise ResidaeError(
            f"The upload of {what} was interrupted: try again, and only the rest is uploaded."
        ) from error
