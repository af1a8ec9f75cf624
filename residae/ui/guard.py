"""How the page is served: what it accepts from strangers, what it refuses, and what it deletes."""

import asyncio
import ipaddress
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from gradio import route_utils
from gradio.route_utils import GradioMultiPartParser
from gradio.routes import App
from gradio.utils import get_upload_folder
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residae.image import MAX_FILE_BYTES
from residae.malloc import release_free_memory
from residae.ui.budget import UPLOAD_BYTES, VISITORS_PER_ADDRESS, Account, shares
from residae.ui.sessions import OWNER
from residae.ui.turns import MAX_WAITING, Visitor
from residae.ui.work import let_go, listening

MAX_UPLOAD_BYTES = 10**9  # of one request, which may bring many files
MAX_JSON_BYTES = 10**6  # of any other request: numbers, choices, and the paths of uploads
MAX_UPLOADS = 64  # at the same time; one address takes at most half of those that the others leave
MAX_UPLOADS_EACH = 8  # of one visitor
STALL_SECONDS = 60.0  # without a byte of an upload, or for the whole of any other request
MIN_UPLOAD_RATE = 10**4  # bytes per second on average, once an upload has taken STALL_SECONDS
MIN_FREE_BYTES = 2 * MAX_UPLOAD_BYTES  # of the disk, below which no upload is accepted: results take room as well
MAX_QUEUE = 20  # events that wait for a thread
MAX_THREADS = MAX_WAITING + 40  # work that waits for its turn occupies a thread; so many are left for all else
MAX_SESSIONS = 200  # whose latents are remembered; each has up to a megabyte, at full size up to 25
SWEEP_INTERVAL = 600  # seconds
MAX_FILE_AGE = 3600  # seconds

API = "/gradio_api/"
# What the page and its clients use. Gradio's other routes would fetch pages for strangers, or store notes for them.
POST_ROUTES = ("upload", "queue/join", "run/", "api/", "call/", "cancel", "reset", "mcp")
GET_ROUTES = (
    *("app_id", "call/", "file=", "heartbeat/", "info", "login_check", "mcp", "openapi.json", "queue/"),
    *("startup-events", "theme.css", "upload_progress", "user"),
)
CALL_BY_NAMES = "call/v2/"
JOIN = "queue/join"  # by which the page asks for its work
REMOTE = ("http://", "https://")
DISK_FULL = "The server's disk is full: try again later."
SHARE_FULL = f"The limit of uploads is {UPLOAD_BYTES / 10**9:g} GB in an hour: try again later."
COOKIE = "residae_visitor"
HEADERS = {
    "content-security-policy": "base-uri 'self'; object-src 'none'",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


UPLOADED = Account()  # bytes of each visitor


class Guard:
    """ASGI middleware that enforces the limits above and adds HEADERS to each response.

    A refused request gets a status and one sentence as JSON: {"detail": "..."}. It tells visitors apart, in
    `scope["visitor"]`, and notes who listens for news of work, so that the work of those who leave is ended.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.uploads: list[Visitor] = []  # whose they are, for each upload in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["visitor"] = visitor = _visitor(scope)
        name = scope["path"].partition(API)[2]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if _opens_page(scope) and not visitor.cookie:
                    headers.append((b"set-cookie", _new_cookie(scope).encode()))
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        try:
            if scope["method"] != "POST":
                if scope["method"] in ("GET", "HEAD"):
                    _check_get(name)
                await self._answer(scope, receive, send_with_headers, _awaited(name, scope))
                return
            if not name.startswith(POST_ROUTES):
                raise _RefusedError(404, "Not found.")
            if not name.startswith("upload"):
                owner = OWNER.set(visitor if name == JOIN else None)
                try:
                    await self.app(scope, await _read_json(name, visitor, receive), send_with_headers)
                finally:
                    OWNER.reset(owner)
                return
            _check_room(visitor)
            self._check_uploads(visitor)
            self.uploads.append(visitor)
            try:
                await self.app(scope, _limit_upload(receive, visitor), send_with_headers)
            finally:
                self.uploads.remove(visitor)
        except _RefusedError as refusal:
            await JSONResponse({"detail": refusal.sentence}, refusal.status)(scope, receive, send_with_headers)
        except TypeError as error:
            if not name.startswith(CALL_BY_NAMES):
                raise
            # Gradio's, where a parameter has no value, or a value no parameter
            await JSONResponse({"detail": f"{error}"}, 400)(scope, receive, send_with_headers)

    def _check_uploads(self, visitor: Visitor) -> None:
        """Refuse one upload too many. An address that has none is accepted as long as anything is left."""
        of_address = sum(other.address == visitor.address for other in self.uploads)
        left = MAX_UPLOADS - len(self.uploads)
        if self.uploads.count(visitor) >= MAX_UPLOADS_EACH or of_address >= left:
            raise _RefusedError(503, "Too many uploads at once: try again when one is done.")

    async def _answer(self, scope: Scope, receive: Receive, send: Send, key: str | None) -> None:
        """Answer a request. If it waits for news of the work of `key`, note while somebody listens."""
        if key is None:
            await self.app(scope, receive, send)
            return
        complete = left = False

        async def send_and_note(message: Message) -> None:
            nonlocal complete
            await send(message)
            complete |= message["type"] == "http.response.body" and not message.get("more_body", False)

        with listening(key) as lose:

            async def receive_and_note() -> Message:
                nonlocal left
                message = await receive()
                if message["type"] == "http.disconnect" and not complete:
                    left = True
                    lose()
                return message

            try:
                await self.app(scope, receive_and_note, send_and_note)
            except KeyError:  # Gradio forgets a session twice whose two streams are lost at once
                if not left:
                    raise
            except RuntimeError as error:  # or tells the other stream in its middle that there is no such session
                if not isinstance(error.__cause__, HTTPException):
                    raise


def _visitor(scope: Scope) -> Visitor:
    """Who sends a request. The address is that of a forwarding header if uvicorn trusts the proxy that sent it."""
    address = (scope.get("client") or ("",))[0]
    with suppress(ValueError):
        if ipaddress.ip_address(address).version == 6:  # one customer has all addresses of such a network
            address = str(ipaddress.ip_network(f"{address}/64", strict=False))
    header = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
    return Visitor(address, cookie_parser(header).get(COOKIE, "")[:40])


def _opens_page(scope: Scope) -> bool:
    """Whether a browser asks for a page, and not for a part of it."""
    return b"text/html" in dict(scope["headers"]).get(b"accept", b"")


def _new_cookie(scope: Scope) -> str:
    """A cookie for a visitor without one. In the frame that shows a Space, a browser keeps it only if partitioned."""
    headers = dict(scope["headers"])
    secure = "https" in (scope["scheme"], headers.get(b"x-forwarded-proto", b"").decode("latin-1"))
    where = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"
    return f"{COOKIE}={secrets.token_urlsafe(16)}; Path=/; Max-Age=86400; HttpOnly; {where}"


def _awaited(name: str, scope: Scope) -> str | None:
    """The session or the event whose news a GET request waits for, as long as it is open."""
    kind, _, rest = name.partition("/")
    if kind == "heartbeat":
        return rest
    if kind == "call":
        return rest.rpartition("/")[2]
    if name.startswith("queue/data"):
        query: bytes = scope["query_string"]
        return parse_qs(query.decode("latin-1")).get("session_hash", [""])[0]
    return None


class _RefusedError(Exception):
    """The request is refused, with a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence


def _check_get(name: str) -> None:
    if not name:  # the page itself and its assets
        return
    if not name.startswith(GET_ROUTES):
        raise _RefusedError(404, "Not found.")
    if name.removeprefix("file=").startswith(REMOTE):
        raise _RefusedError(403, "Files are not fetched from other servers.")


def _check_room(visitor: Visitor) -> None:
    """Refuse a file for which there is no room."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    if _is_full(folder):
        raise _RefusedError(507, DISK_FULL)
    if _upload_room(visitor) <= 0:
        raise _RefusedError(429, SHARE_FULL)


def _upload_room(visitor: Visitor) -> float:
    """How many bytes the visitor may still upload."""
    if not shares():
        return math.inf
    of_address = VISITORS_PER_ADDRESS * UPLOAD_BYTES - UPLOADED.used(visitor.address)
    return min(UPLOAD_BYTES - UPLOADED.used(visitor), of_address)


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < MIN_FREE_BYTES


def _limit_upload(receive: Receive, visitor: Visitor) -> Receive:
    """Stream an upload.

    Raise MultiPartException when it is too large, too slow or disconnected, at which Gradio deletes the partial file.
    """
    folder, size, start = Path(get_upload_folder()), 0, time.monotonic()

    async def receive_upload() -> Message:
        nonlocal size
        patience = STALL_SECONDS + size / MIN_UPLOAD_RATE - (time.monotonic() - start)
        try:
            async with asyncio.timeout(min(patience, STALL_SECONDS)):
                message = await receive()
        except TimeoutError as error:
            raise MultiPartException("The upload was interrupted or is too slow.") from error
        received = len(message.get("body", b""))
        size += received
        UPLOADED.add(visitor, received)
        if size > MAX_UPLOAD_BYTES:
            raise MultiPartException(f"Upload exceeded maximum allowed size of {MAX_UPLOAD_BYTES // 10**6} MB at once.")
        if message["type"] == "http.disconnect":
            raise MultiPartException("The upload was interrupted.")
        if _is_full(folder):
            raise MultiPartException(DISK_FULL)
        if _upload_room(visitor) < 0:
            raise MultiPartException(SHARE_FULL)
        return message

    return receive_upload


class FilesOnlyParser(GradioMultiPartParser):
    """Refuse form fields other than files, which Gradio would keep in memory at any size and not use."""

    def on_headers_finished(self) -> None:
        """Begin a part of the form, whose headers are read.

        Raises:
            MultiPartException: The part is not a file.
        """
        super().on_headers_finished()
        if self._current_part.file is None:
            raise MultiPartException("Only files can be uploaded.")


async def _read_json(name: str, visitor: Visitor, receive: Receive) -> Receive:
    """Read a JSON request, check the files that it names or contains, and end the work that it cancels.

    Returns:
        A replay of the request.
    """
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(STALL_SECONDS):
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MAX_JSON_BYTES:
                    raise _RefusedError(
                        413,
                        f"The request is larger than the limit of {MAX_JSON_BYTES // 10**6} MB: upload files first.",
                    )
    except TimeoutError as error:
        raise _RefusedError(
            408, f"The request takes longer to arrive than the limit of {STALL_SECONDS:g} s."
        ) from error
    try:
        values = [json.loads(body, parse_int=_finite, parse_float=_finite, parse_constant=_finite)] if body else []
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, "The request is not JSON.") from error
    if name == "cancel" and values and isinstance(values[0], dict) and values[0].get("event_id"):
        let_go(str(values[0]["event_id"]))  # Gradio waits for the end of work that it cannot end
    contains_file = False
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if str(value.get("path")).startswith(REMOTE):
                raise _RefusedError(400, "Files are not fetched from other servers: upload the file itself.")
            contains_file |= any(str(value.get(key)).startswith("data:") for key in ("path", "url"))
            values += value.values()
        elif isinstance(value, list):
            values += value
    if contains_file:
        _check_room(visitor)
        UPLOADED.add(visitor, len(body))
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def receive_again() -> Message:
        return whole.pop() if whole else await receive()

    return receive_again


def _finite(text: str) -> float:
    """A number that a float can hold. Python reads NaN, Infinity, 1e999 and whole numbers of any length as well, which
    pass Gradio's bounds on numbers.
    """
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number


def sweep(folder: Path, age: float, kept: Container[Path] = ()) -> None:
    """Delete old files and old empty folders.

    Args:
        folder: Where to look, at any depth.
        age: Seconds since their last change after which files are deleted.
        kept: Paths that stay.
    """
    for place, folders, files in os.walk(folder, topdown=False):
        for path in (Path(place, name) for name in files + folders):
            with suppress(OSError):  # already gone, not empty, or not ours
                if path not in kept and time.time() - path.stat().st_ctime > age:
                    path.rmdir() if path.is_dir() else path.unlink()


@asynccontextmanager
async def _sweeping(app: App) -> AsyncIterator[None]:
    """Delete old files, and return freed memory to the system, while the page is served.

    Gradio's own sweep, which `delete_cache` sets up, misses interrupted uploads, and stops for good when a file arrives
    during a sweep (6.31).
    """

    def sweep_all() -> None:
        kept = (getattr(component, "keep_in_cache", ()) for component in app.get_blocks().blocks.values())
        sweep(Path(get_upload_folder()), MAX_FILE_AGE, {Path(file) for files in kept for file in files})

    async def keep_sweeping() -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            await asyncio.to_thread(sweep_all)
            await asyncio.to_thread(release_free_memory, 0)  # pictures of many visitors leave gaps of many sizes

    route_utils.GradioMultiPartParser = FilesOnlyParser  # type: ignore[misc]
    task = asyncio.create_task(keep_sweeping())
    try:
        yield
    finally:
        task.cancel()


QUEUE_OPTIONS: dict[str, Any] = {
    "api_open": False,  # otherwise programs could bypass the queue
    "default_concurrency_limit": 1,
    "max_size": MAX_QUEUE,
}
LAUNCH_OPTIONS: dict[str, Any] = {
    "allowed_paths": [],
    "app_kwargs": {"lifespan": _sweeping, "middleware": [Middleware(Guard)]},
    "enable_monitoring": False,
    "max_file_size": MAX_FILE_BYTES,
    "max_threads": MAX_THREADS,
    "run_history": False,
    "share": False,
    "show_error": False,  # the text of an exception belongs in the log
    "ssr_mode": False,
    "state_session_capacity": MAX_SESSIONS,
}
