"""How the page is served: what it takes from strangers, what it refuses, and what it clears away."""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from gradio import route_utils
from gradio.route_utils import GradioMultiPartParser
from gradio.routes import App
from gradio.utils import get_upload_folder
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residae.image import MAX_FILE_BYTES

UPLOAD_BYTES = 10**9  # of one request, which may bring many files
JSON_BYTES = 10**6  # of any other: numbers, choices, and the places of what was uploaded
UPLOADS = 32  # at once
STALL = 60.0  # s without a byte of an upload, or for the whole of any other request
SLOWEST = 10**4  # bytes/s of an upload on the whole, once it has taken so long
FREE_BYTES = 2 * UPLOAD_BYTES  # of disk, below which nothing is taken any more: results take room as well
QUEUE_LENGTH = 20
SESSIONS = 200  # whose latents are remembered, the latest; each has up to a megabyte, at full size up to 25
DELETE_CACHE = (600, 3600)  # s: how often files are deleted, and the age that they reach

API = "/gradio_api/"
# All that the page and its clients use. What else Gradio has would fetch pages for strangers, or keep notes for them.
POSTS = ("upload", "queue/join", "run/", "api/", "call/", "cancel", "reset", "mcp")
GETS = (
    *("app_id", "call/", "file=", "heartbeat/", "info", "login_check", "mcp", "openapi.json", "queue/"),
    *("startup-events", "theme.css", "upload_progress", "user"),
)
ELSEWHERE = ("http://", "https://")
FULL = "The server's disk is full: try again later."
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
        self.uploads = asyncio.Semaphore(UPLOADS)

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
            if scope["method"] != "POST":
                if scope["method"] in ("GET", "HEAD"):
                    _check_get(name)
                await self.app(scope, receive, send_with_headers)
                return
            _check_post(name)
            if not name.startswith("upload"):
                await self.app(scope, await _read(receive), send_with_headers)
                return
            if self.uploads.locked():
                raise _RefusedError(503, f"More than {UPLOADS} uploads at once: try again soon.")
            async with self.uploads:
                await self.app(scope, _bounded(receive), send_with_headers)
        except _RefusedError as refusal:
            await JSONResponse({"detail": refusal.sentence}, refusal.status)(scope, receive, send_with_headers)


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence


def _check_get(name: str) -> None:
    if not name:  # the page, and what it is made of
        return
    if not name.startswith(GETS):
        raise _RefusedError(404, "There is nothing of this name.")
    if name.removeprefix("file=").startswith(ELSEWHERE):
        raise _RefusedError(403, "Nothing is fetched from elsewhere on a visitor's behalf.")


def _check_post(name: str) -> None:
    if not name.startswith(POSTS):
        raise _RefusedError(404, "There is nothing of this name to post to.")
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    if _is_full(folder):
        raise _RefusedError(507, FULL)


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < FREE_BYTES


def _bounded(receive: Receive) -> Receive:
    """Uploads as they come. One that goes too far or breaks off ends in the exception at which Gradio deletes it."""
    folder, size, start = Path(get_upload_folder()), 0, time.monotonic()

    async def receive_upload() -> Message:
        nonlocal size
        patience = STALL + size / SLOWEST - (time.monotonic() - start)
        try:
            async with asyncio.timeout(min(patience, STALL)):
                message = await receive()
        except TimeoutError as error:
            raise MultiPartException("The upload broke off, or is too slow.") from error
        size += len(message.get("body", b""))
        if size > UPLOAD_BYTES:
            raise MultiPartException(f"Upload exceeded maximum allowed size of {UPLOAD_BYTES // 10**6} MB at once.")
        if message["type"] == "http.disconnect":
            raise MultiPartException("The upload broke off.")
        if _is_full(folder):
            raise MultiPartException(FULL)
        return message

    return receive_upload


class FilesOnly(GradioMultiPartParser):
    """Refuses the fields of a form that are no files: Gradio keeps them in memory, whatever their size, for nothing."""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is None:
            raise MultiPartException("Files alone can be uploaded.")


async def _read(receive: Receive) -> Receive:
    """A request in JSON, read and looked through."""
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(STALL):
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > JSON_BYTES:
                    raise _RefusedError(
                        413, f"The request is larger than the limit of {JSON_BYTES // 10**6} MB: upload files first."
                    )
    except TimeoutError as error:
        raise _RefusedError(408, f"The request takes longer to arrive than the limit of {STALL:g} s.") from error
    try:
        values = [json.loads(body, parse_constant=_no_constant)] if body else []
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, "The request is not JSON.") from error
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if str(value.get("path")).startswith(ELSEWHERE):
                raise _RefusedError(400, "Nothing is fetched from elsewhere: upload the file itself.")
            values += value.values()
        elif isinstance(value, list):
            values += value
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def receive_again() -> Message:
        return whole.pop() if whole else await receive()

    return receive_again


def _no_constant(name: str) -> None:
    """Python would read NaN and Infinity, which pass by Gradio's bounds on numbers."""
    raise ValueError(f"{name} is not JSON")


def sweep(folder: Path, age: float, kept: Container[Path] = ()) -> None:
    """Delete the files in a folder that are older than `age` seconds, and folders that are as old and empty."""
    for place, folders, files in os.walk(folder, topdown=False):
        for path in (Path(place, name) for name in files + folders):
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

    route_utils.GradioMultiPartParser = FilesOnly  # type: ignore[misc]
    task = asyncio.create_task(keep_sweeping())
    try:
        yield
    finally:
        task.cancel()


QUEUE: dict[str, Any] = {
    "api_open": False,  # or programs could pass by the queue
    "default_concurrency_limit": 1,
    "max_size": QUEUE_LENGTH,
}
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
