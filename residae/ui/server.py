"""How the page is served: what it takes from strangers, what it refuses, and what it clears away."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from gradio.routes import App
from gradio.utils import get_upload_folder
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residae.image import MAX_FILE_BYTES

UPLOAD_BYTES = 10**9  # of one request, which may bring many files
JSON_BYTES = 10**6  # of any other: numbers, choices, and the places of what was uploaded
FREE_BYTES = 2 * UPLOAD_BYTES  # of disk, below which nothing is taken any more: results take room as well
QUEUE_LENGTH = 20
SESSIONS = 200  # whose latents are remembered, the latest; each has up to a megabyte, at full size up to 25
DELETE_CACHE = (600, 3600)  # s: how often files are deleted, and the age that they reach

API = "/gradio_api/"
POSTS = ("upload", "queue/join", "run/", "api/", "call/", "cancel", "reset")  # all that the page and its clients use
FETCHES = ("proxy=", "file=http:", "file=https:", "deep_link")  # would have us fetch pages for others, or keep notes
HEADERS = {
    "content-security-policy": "base-uri 'self'; object-src 'none'",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Guard:
    """ASGI middleware that holds requests to the bounds above, and adds HEADERS to each answer.

    A request that is refused gets a status and one sentence as JSON: {"detail": "..."}.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        name = scope["path"].partition(API)[2]
        try:
            if scope["method"] == "POST":
                receive = await _post(name, receive)
            elif name.startswith(FETCHES):
                raise _RefusedError(403, "Nothing is fetched from elsewhere, or kept, on the server's behalf.")
        except _RefusedError as refusal:
            await JSONResponse({"detail": refusal.sentence}, refusal.status)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence


async def _post(name: str, receive: Receive) -> Receive:
    """What the application is to receive in place of what came."""
    if not name.startswith(POSTS):
        raise _RefusedError(404, "There is nothing of this name to post to.")
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < FREE_BYTES:
        raise _RefusedError(507, "The server's disk is full: try again later.")
    return _bounded(receive) if name.startswith("upload") else await _read(receive)


def _bounded(receive: Receive) -> Receive:
    """Uploads as they come. One that is too large or breaks off ends in the exception at which Gradio deletes it."""
    left = UPLOAD_BYTES

    async def receive_upload() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise MultiPartException(f"Upload exceeded maximum allowed size of {UPLOAD_BYTES // 10**6} MB at once.")
        if message["type"] == "http.disconnect":
            raise MultiPartException("The upload broke off.")
        return message

    return receive_upload


async def _read(receive: Receive) -> Receive:
    """A request in JSON, read and looked through."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > JSON_BYTES:
            raise _RefusedError(
                413, f"The request is larger than the limit of {JSON_BYTES // 10**6} MB: upload files first."
            )
    try:
        values = [json.loads(body)] if body else []
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, "The request is not JSON.") from error
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if str(value.get("path")).startswith(("http://", "https://")):
                raise _RefusedError(400, "Nothing is fetched from elsewhere: upload the file itself.")
            values += value.values()
        elif isinstance(value, list):
            values += value
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return whole.pop() if whole else await receive()

    return receive_again


def sweep(folder: Path, age: float, kept: Container[Path] = ()) -> None:
    """Delete the files in a folder that are older than `age` seconds, and folders that are as old and empty."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        with suppress(OSError):  # it is gone, or not empty, or not ours
            if path not in kept and time.time() - path.stat().st_ctime > age:
                path.rmdir() if path.is_dir() else path.unlink()


@asynccontextmanager
async def _held(app: App) -> AsyncIterator[None]:
    """What goes on beside the page, while it is served.

    Gradio's own sweeping, of which `delete_cache` tells it, passes over uploads that broke off, and is over for good
    once a file comes in while it looks through those it has (6.31).
    """

    def sweep_all() -> None:
        kept = (getattr(component, "keep_in_cache", ()) for component in app.get_blocks().blocks.values())
        sweep(Path(get_upload_folder()), DELETE_CACHE[1], {Path(file) for files in kept for file in files})

    async def keep_sweeping() -> None:
        while True:
            await asyncio.sleep(DELETE_CACHE[0])
            await asyncio.to_thread(sweep_all)

    task = asyncio.create_task(keep_sweeping())
    try:
        yield
    finally:
        task.cancel()


QUEUE: dict[str, Any] = {"max_size": QUEUE_LENGTH, "default_concurrency_limit": 1}
LAUNCH: dict[str, Any] = {
    "allowed_paths": [],
    "app_kwargs": {"lifespan": _held, "middleware": [Middleware(Guard)]},
    "enable_monitoring": False,
    "max_file_size": MAX_FILE_BYTES,
    "mcp_server": False,
    "run_history": False,
    "share": False,
    "show_error": False,  # an exception's own words are for the log
    "ssr_mode": False,
    "state_session_capacity": SESSIONS,
}
