"""What the server accepts from strangers: sizes, routes and names; and that it fetches nothing for them."""

import asyncio
import json
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from service import MORE, PATIENCE, Service, serving
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

import residae.examples
from residae.image import MAX_FILE_BYTES, Pixels, write_png
from residae.ui import guard
from residae.ui.budget import VARIABLE, Account
from residae.ui.guard import COOKIE, HEADERS, MAX_JSON_BYTES, Guard, _limit_upload, sweep
from residae.ui.store import save_result
from residae.ui.turns import Visitor

DEEP = "[" * 100_000 + "]" * 100_000
ELSEWHERE = "not fetched from other servers"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that returns the body of the request."""
    request = Request(scope, receive)
    await Response(await request.body())(scope, receive, send)


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return TestClient(Guard(echo))


# --- The guard ---


@pytest.mark.parametrize(
    "name", ["queue/join", "run/show", "api/show/", "call/show", "call/v2/show", "cancel", "reset"]
)
def test_valid_requests_pass_unchanged(guarded: TestClient, name: str) -> None:
    body = json.dumps({"data": [{"path": "uploads/x.png", "url": "http://here/file=x.png"}, 1, None, "http://x"]})
    answer = guarded.post(f"/gradio_api/{name}", content=body)
    assert answer.text == body
    assert guarded.post(f"/gradio_api/{name}").text == ""


def test_every_answer_has_the_headers(guarded: TestClient) -> None:
    for answer in (guarded.get("/"), guarded.post("/gradio_api/upload"), guarded.post("/login")):
        assert HEADERS.items() <= dict(answer.headers).items()


def chunks(size: int) -> Iterator[bytes]:
    """A body whose length is not announced."""
    for _ in range(size // 1000):
        yield b" " * 1000


@pytest.mark.parametrize("announced", [True, False])
def test_json_requests_are_limited_in_size(guarded: TestClient, announced: bool) -> None:
    picture = '"data:image/png;base64,' + "A" * (MAX_JSON_BYTES + 1) + '"'
    content = f'{{"data": [{{"url": {picture}}}]}}' if announced else chunks(MAX_JSON_BYTES + 1000)
    answer = guarded.post("/gradio_api/call/show", content=content)
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "The request is larger than the limit of 1 MB: upload files first.",
    )


@pytest.mark.parametrize(
    "body",
    [
        '{"data": [{"path": "http://169.254.169.254/"}]}',
        '{"data": [[{"a": {"path": "https://example.com/x.png", "meta": {"_type": "gradio.FileData"}}}]]}',
        '{"data": [{"p\\u0061th": "\\u0068ttp://127.0.0.1/"}]}',
        '{"data": [], "event_data": {"path": "http://x"}}',
    ],
)
def test_a_file_on_another_server_is_not_fetched(guarded: TestClient, body: str) -> None:
    answer = guarded.post("/gradio_api/queue/join", content=body)
    assert answer.status_code == 400
    assert ELSEWHERE in answer.json()["detail"]


@pytest.mark.parametrize("name", ["file=http://x", "file=https://x", "file=https:%2f%2fx"])
def test_a_link_to_another_server_is_not_fetched(guarded: TestClient, name: str) -> None:
    for answer in (guarded.get(f"/gradio_api/{name}"), guarded.head(f"/gradio_api/{name}")):
        assert answer.status_code == 403
    assert ELSEWHERE in guarded.get(f"/gradio_api/{name}").json()["detail"]


@pytest.mark.parametrize(
    "name",
    [
        *("proxy=http://x", "file/http://x", "file//etc/passwd", "deep_link?session_hash=x", "vibe-code", "elsewhere"),
        *(
            "custom_component/x/client/component/style.css",
            "dev/reload",
            "profiling/traces",
            "stream/x/y/1/playlist-file",
        ),
    ],
)
def test_other_get_routes_are_refused(guarded: TestClient, name: str) -> None:
    assert guarded.get(f"/gradio_api/{name}").status_code == 404
    assert guarded.head(f"/gradio_api/{name}").status_code == 404


@pytest.mark.parametrize(
    "body",
    ["{", "\xff", '{"data": [NaN]}', '{"data": [-Infinity]}', '{"data": [1e999]}', f'{{"a": {"9" * 400}}}', DEEP],
)
def test_invalid_json_is_refused(guarded: TestClient, body: str) -> None:
    answer = guarded.post("/gradio_api/queue/join", content=body.encode("latin-1"))
    assert (answer.status_code, answer.json()["detail"]) == (400, "The request is not JSON.")


@pytest.mark.parametrize("name", ["component_server", "process_recording", "stream/x", "vibe-edit/", "elsewhere"])
def test_other_post_routes_are_refused(guarded: TestClient, name: str) -> None:
    assert guarded.post(f"/gradio_api/{name}").status_code == 404
    assert guarded.post(f"/{name}").status_code == 404


INLINE_FILE = '{"data": [{"path": "data:image/png;base64,iVBORw0KGgo="}]}'


def test_a_full_disk_refuses_files_alone(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: usage(folder)._replace(free=guard.MIN_FREE_BYTES - 1))
        for name, body in (("upload", "x"), ("queue/join", INLINE_FILE)):
            answer = guarded.post(f"/gradio_api/{name}", content=body)
            assert (answer.status_code, answer.json()["detail"]) == (507, "The server's disk is full: try again later.")
        for name in ("queue/join", "cancel", "call/show"):
            assert guarded.post(f"/gradio_api/{name}", content="{}").text == "{}"
        assert guarded.get("/gradio_api/file=x").status_code == 200
    assert guarded.post("/gradio_api/upload", content=b"x").text == "x"


def test_a_visitor_has_a_share_of_the_disk(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "UPLOAD_BYTES", 5000)
    monkeypatch.setattr(guard, "UPLOADED", Account())
    assert guarded.post("/gradio_api/upload", content=chunks(9000)).status_code == 200  # an owner's own page
    monkeypatch.setattr(guard, "UPLOADED", Account())
    monkeypatch.setenv(VARIABLE, "60")
    cookies = [{"cookie": f"{guard.COOKIE}={name}"} for name in ("anna", "bert")]
    assert guarded.post("/gradio_api/upload", content=chunks(5000), headers=cookies[0]).status_code == 200
    for name, body in (("upload", "x"), ("queue/join", INLINE_FILE)):
        answer = guarded.post(f"/gradio_api/{name}", content=body, headers=cookies[0])
        assert (answer.status_code, answer.json()["detail"]) == (429, guard.SHARE_FULL)
    assert guarded.post("/gradio_api/cancel", content="{}", headers=cookies[0]).status_code == 200
    assert guarded.post("/gradio_api/upload", content=chunks(5000), headers=cookies[1]).status_code == 200
    with pytest.raises(MultiPartException, match="limit of uploads"):
        guarded.post("/gradio_api/upload", content=chunks(6000))


@pytest.mark.parametrize(
    ("client", "address"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1:2", "2001:db8::/64"), ("2001:db8::3", "2001:db8::/64")],
)
def test_visitors_are_told_apart_by_address_and_cookie(client: str, address: str) -> None:
    seen: list[Visitor] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["visitor"])
        await echo(scope, receive, send)

    guarded = TestClient(Guard(note), client=(client, 1))
    assert "set-cookie" not in guarded.get("/theme.css").headers
    answer = guarded.get("/", headers={"accept": "text/html", "x-forwarded-for": "198.51.100.7"})
    assert re.match(
        rf"{guard.COOKIE}=[\w-]+; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax$", answer.headers["set-cookie"]
    )
    assert "set-cookie" not in guarded.get("/", headers={"accept": "text/html"}).headers
    assert seen[0] == Visitor(address)  # a forwarded address counts only where uvicorn was told to believe it
    assert seen[-1] == Visitor(address, answer.cookies[guard.COOKIE])
    framed = TestClient(Guard(note)).get("/", headers={"accept": "text/html", "x-forwarded-proto": "https"})
    assert framed.headers["set-cookie"].endswith("SameSite=None; Secure; Partitioned")


def test_uploads_are_limited_in_size(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_UPLOAD_BYTES", 5000)
    assert len(guarded.post("/gradio_api/upload", content=chunks(5000)).content) == 5000
    with pytest.raises(MultiPartException, match="maximum allowed size"):
        guarded.post("/gradio_api/upload", content=chunks(6000))


async def never() -> Message:
    return await asyncio.Event().wait()  # type: ignore[return-value]


@pytest.mark.usefixtures("guarded")
def test_an_upload_that_stalls_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STALL_SECONDS", 0.01)
    with pytest.raises(MultiPartException, match="was interrupted or is too slow"):
        asyncio.run(_limit_upload(never, Visitor("here"))())


@pytest.mark.usefixtures("guarded")
def test_an_upload_that_trickles_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then would occupy one of the MAX_UPLOADS for hours."""
    monkeypatch.setattr(guard, "STALL_SECONDS", 0.5)
    bytes_left = 1000

    async def receive() -> Message:
        nonlocal bytes_left
        bytes_left -= 1
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": bytes_left > 0}

    with pytest.raises(MultiPartException, match="was interrupted or is too slow"):
        asyncio.run(asked(Guard(echo), "upload", receive))
    assert bytes_left


async def asked(guard: Guard, name: str, receive: Receive, address: str = "here", cookie: str = "") -> list[Message]:
    """The response of the guard to a request whose body `receive` yields."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": f"/gradio_api/{name}", "client": (address, 1)}
    scope["headers"] = [(b"cookie", f"{COOKIE}={cookie}".encode())]
    await guard(scope, receive, send)
    return sent


@pytest.mark.usefixtures("guarded")
def test_a_request_that_stalls_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "STALL_SECONDS", 0.01)
    head, body = asyncio.run(asked(Guard(echo), "queue/join", never))
    assert head["status"] == 408
    assert b"takes longer to arrive than the limit of 0.01 s" in body["body"]


@pytest.mark.usefixtures("guarded")
def test_a_request_in_a_thousand_pieces_is_read_once() -> None:
    pieces = [b" "] * 1000 + [b"{}"]

    async def receive() -> Message:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    head, body, *_ = asyncio.run(asked(Guard(echo), "queue/join", receive))
    assert head["status"] == 200
    assert body["body"] == b" " * 1000 + b"{}"


@pytest.mark.usefixtures("guarded")
def test_neither_a_visitor_nor_an_address_takes_all_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_UPLOADS", 7)
    monkeypatch.setattr(guard, "MAX_UPLOADS_EACH", 2)

    async def visits() -> list[int]:
        guard, last = Guard(echo), asyncio.Event()
        uploads: list[asyncio.Task[list[Message]]] = []

        async def receive() -> Message:
            await last.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def begins(address: str, cookie: str) -> bool:
            upload = asyncio.create_task(asked(guard, "upload", receive, address, cookie))
            await asyncio.sleep(0)  # it waits for its body
            if not upload.done():
                uploads.append(upload)
                return True
            assert b"Too many uploads at once: try again when one is done." in upload.result()[1]["body"]
            return False

        assert [await begins("here", "anna") for _ in range(3)] == [True, True, False]
        assert [await begins("here", f"invented {number}") for number in range(4)] == [True, True, False, False]
        assert [await begins("there", f"invented {number}") for number in range(4)] == [True, True, False, False]
        assert [await begins("elsewhere", "bert"), await begins("nowhere", "carl")] == [True, False]
        last.set()
        answers = [*await asyncio.gather(*uploads), await asked(guard, "upload", receive, "here", "anna")]
        return [answer[0]["status"] for answer in answers]

    assert asyncio.run(visits()) == [200] * 8


@pytest.mark.usefixtures("guarded")
def test_a_disk_that_fills_up_during_an_upload_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many uploads that start while there is room must not fill the disk together."""
    usage, free = shutil.disk_usage, [guard.MIN_FREE_BYTES] * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(folder)._replace(free=free.pop() if free else 0))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(MultiPartException, match="disk is full"):
        asyncio.run(asked(Guard(echo), "upload", receive))
    assert not free


# --- Old files ---


def test_a_sweep_deletes_old_files(tmp_path: Path) -> None:
    (tmp_path / "tmpab12").write_bytes(b"half")
    for name in ("empty", "full", "kept"):
        (tmp_path / name).mkdir()
    for name in ("full", "kept"):
        (tmp_path / name / "picture.png").write_bytes(b"whole")
    kept = tmp_path / "kept" / "picture.png"
    sweep(tmp_path, 3600, {kept})
    assert len(list(tmp_path.rglob("*"))) == 6
    sweep(tmp_path, -1, {kept})
    assert sorted(tmp_path.rglob("*")) == [kept.parent, kept]
    sweep(tmp_path / "absent", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not replace an open file")
def test_a_file_that_is_saved_again_stays_whole_for_its_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    data = bytes(100_000)
    path = Path(save_result(data, "picture.png"))
    with path.open("rb") as reader:
        first = reader.read(10)
        before = path.stat()
        assert save_result(data, "picture.png") == str(path)
        assert first + reader.read() == data
        assert path.stat().st_ino != before.st_ino  # written elsewhere and moved into place
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["picture.png"]


# --- The real server ---


LIMITED_APP = """
from gradio import route_utils
import residae.ui.guard as guard
import residae.ui.turns as turns
from residae.ui import cache
cache.warm_up = lambda: None
guard.MAX_UPLOAD_BYTES = 80_000_000
turns.MAX_WAITING_EACH = 2
guard.SWEEP_INTERVAL, guard.MAX_FILE_AGE = 1, 3
route_utils.delete_files_created_by_app = lambda blocks, age: age and 1 / 0  # fails as under load
import app
app.main()
"""


@pytest.fixture(scope="module")
def service(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The app with a short queue, small uploads, and files that are soon old."""
    with serving(tmp_path_factory.mktemp("service"), checkpoint, LIMITED_APP, GRADIO_MCP_SERVER="True") as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.address, timeout=120) as client:
        yield client


def upload(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return client.post("/gradio_api/upload", files={"files": (name, content)})


def events(client: httpx.Client, endpoint: str, data: list[Any]) -> str:
    """All events that the server sends for one call, with the first parameters of /reconstruct, or all of another."""
    data = [*data, *MORE] if len(data) == 5 else data
    asked = client.post(f"/gradio_api/call/{endpoint}", json={"data": data}).raise_for_status().json()
    return client.get(f"/gradio_api/call/{endpoint}/{asked['event_id']}").text


def test_the_server_reveals_nothing_about_itself(client: httpx.Client) -> None:
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["show_error"] is False
    assert config["enable_queue"] is True
    assert config["max_file_size"] == MAX_FILE_BYTES
    for path in ("/monitoring", "/monitoring/summary", "/gradio_api/runs", "/gradio_api/run-history/buckets"):
        assert client.get(path).status_code in (403, 404), path


def test_the_tools_of_mcp_are_not_served_unasked(client: httpx.Client) -> None:
    """Although the environment of the process asks for them; see `service`."""
    assert client.post("/gradio_api/mcp/", json={}).status_code == 404


def test_headers_are_on_the_page_and_on_refusals(client: httpx.Client) -> None:
    for path in ("/", "/config", "/gradio_api/file=http://x"):
        assert HEADERS.items() <= dict(client.get(path).headers).items(), path


def test_an_upload_over_the_limit_is_refused(service: Service, client: httpx.Client) -> None:
    assert upload(client, "big.png", bytes(MAX_FILE_BYTES)).status_code == 200
    answer = upload(client, "big.png", bytes(MAX_FILE_BYTES + 1))
    assert answer.status_code == 413
    assert "maximum allowed size" in answer.text
    many = [("files", (f"{number}.png", bytes(MAX_FILE_BYTES))) for number in range(3)]
    answer = client.post("/gradio_api/upload", files=many)
    assert answer.status_code == 413
    assert "80 MB at once" in answer.text
    assert not [path for path in service.files.iterdir() if path.is_file()]  # partial files are deleted


def test_form_fields_other_than_files_are_refused(service: Service, client: httpx.Client) -> None:
    """Gradio would keep them in memory."""
    answer = client.post("/gradio_api/upload", data={"files": "x" * 1000}, files={"files": ("x.png", b"x")})
    assert (answer.status_code, answer.text) == (400, "Only files can be uploaded.")
    assert not [path for path in service.files.iterdir() if path.is_file()]


def test_a_body_of_unannounced_length_is_limited(client: httpx.Client) -> None:
    answer = client.post("/gradio_api/queue/join", content=chunks(MAX_JSON_BYTES + 1000))
    assert answer.status_code == 413


@pytest.mark.parametrize("way", ["run", "api"])
@pytest.mark.parametrize("name", ["reconstruct", "compress", "decompress", "compare"])
def test_the_queue_cannot_be_bypassed(client: httpx.Client, way: str, name: str) -> None:
    answer = client.post(f"/gradio_api/{way}/{name}", json={"data": [None]})
    assert answer.status_code == 404
    assert "join the queue" in answer.json()["detail"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no files of such names")
@pytest.mark.parametrize(
    "name",
    [
        *(
            "../../evil.png",
            "..\\..\\evil.png",
            "/etc/passwd",
            "CON",
            "a\nb.png",
            "\u202egnp.exe",
            "x" * 300 + ".png",
            "..",
        ),
        *(
            "a\0b.png",
            "%2e%2e%2fevil.png",
            "<img src=x onerror=alert(1)>.png",
            "=1+1.png",
            "",
            "\N{GRINNING FACE}" * 70,
        ),
    ],
)
def test_odd_names_stay_in_their_folder(service: Service, client: httpx.Client, name: str) -> None:
    """The names are sent raw; an HTTP client would escape some of them."""
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    answer = client.post(
        "/gradio_api/upload",
        content=head.encode() + name.encode() + b"\r\n--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    if answer.status_code != 200:
        assert answer.status_code in (400, 500)  # for example a name that is too long for the file system
        return
    path = Path(answer.json()[0])
    assert path.resolve().parent.parent == service.files.resolve()
    assert path.read_bytes() == name.encode()
    assert not set(path.name) & set("/\\\n")


@pytest.mark.parametrize("name", ["page.html", "script.js", "drawing.svg"])
def test_uploads_are_never_served_as_pages(client: httpx.Client, name: str) -> None:
    (path,) = upload(client, name, b"<script>alert(1)</script>").json()
    answer = client.get(f"/gradio_api/file={path}")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "//etc/passwd", "/etc/passwd%00", "/proc/self/environ", "/proc/self/cwd/app.py", "app.py"),
        *(
            "file:///etc/passwd",
            "residae/cli/files.py",
            "../README.md",
            str(Path(__file__)),
            "{files}",
            "{files}/absent",
        ),
        *("{files}/../log", "{files}/../../../../etc/passwd", "{files}/%2e%2e/log", "{files}/..%2flog"),
        *(
            "{files}/%252e%252e/log",
            "{files}/..%5clog",
            "{files}\\..\\log",
            "{upload}/../../log",
            "{weights}/config.json",
        ),
    ],
)
def test_no_other_file_is_served_or_opened(service: Service, client: httpx.Client, checkpoint: Path, path: str) -> None:
    (upload_path,) = upload(client, "one.png", b"one").json()
    path = path.format(files=service.files, upload=upload_path, weights=checkpoint)
    assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)
    received = events(client, "decompress", [{"path": unquote(path), "meta": {"_type": "gradio.FileData"}}])
    assert "event: error" in received
    assert "root:" not in received


@pytest.mark.parametrize("folder", ["static", "assets", "svelte"])
@pytest.mark.parametrize("path", ["..%2f..%2froutes.py", "%2fetc%2fpasswd", "..%5c..%5croutes.py", "%2e%2e/%2e%2e/x"])
def test_asset_folders_serve_assets_only(client: httpx.Client, folder: str, path: str) -> None:
    assert client.get(f"/{folder}/{path}").status_code in (403, 404)


def test_a_call_with_wrong_names_is_refused_in_a_sentence(client: httpx.Client) -> None:
    for given, named in (({}, "argument: file"), ({"file": None, "nonsense": 1}, "`nonsense` is not a valid")):
        answer = client.post("/gradio_api/call/v2/decompress", json=given)
        assert answer.status_code == 400
        assert named in answer.json()["detail"]


def test_a_missing_file_is_reported_in_a_sentence(service: Service, client: httpx.Client) -> None:
    for path in (service.files / ("0" * 64) / "picture", service.files):
        file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        assert "is no longer on the server" in events(client, "decompress", [file])
        assert "cannot be read: it is missing" in events(client, "reconstruct", [file, True, 80, 0, 0])


FILE = {"path": "{path}", "meta": {"_type": "gradio.FileData"}}
INLINE = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    "data",
    [
        *(
            [],
            [FILE],
            [None] * 50,
            [[FILE], True, 80, 0, 0],
            ["{path}", True, 80, 0, 0],
            [5, True, 80, 0, 0],
            [None, True, 80, 0, 0],
        ),
        *(
            [FILE, True, "80", 0, 0],
            [FILE, True, [80], 0, 0],
            [FILE, True, {}, 0, 0],
            [FILE, True, 80, "x", 0],
            [FILE, True, 80, -1, 0],
            [FILE, True, 80, None, 0],
            [FILE, True, None, 0, 0],
        ),
        *([FILE, True, -1, 0, 0], [FILE, True, 101, 0, 0], [FILE, True, 10**300, 0, 0], [FILE, True, 80, [[[[]]]], 0]),
        [{"path": INLINE, "meta": {"_type": "gradio.FileData"}}, True, 80, 0, 0],
        [{"path": "x", "url": INLINE, "meta": {"_type": "gradio.FileData"}}, True, 80, 0, 0],
        [{"path": "HTTP://127.0.0.1/", "meta": {"_type": "gradio.FileData"}}, True, 80, 0, 0],
        [{"path": "{path}\0.png", "meta": {"_type": "gradio.FileData"}}, True, 80, 0, 0],
        [json.loads("[" * 300 + "]" * 300), True, 80, 0, 0],
    ],
    ids=str,
)
def test_invalid_calls_return_an_error_without_a_traceback(
    client: httpx.Client, data: list[Any], smooth: Callable[[int, int, int], Pixels]
) -> None:
    (path,) = upload(client, "picture.png", write_png(smooth(20, 30, 1))).json()
    filled = json.loads(json.dumps(data).replace("{path}", path))
    received = events(client, "reconstruct", filled)
    assert "event: error" in received
    assert "Traceback" not in received
    assert "site-packages" not in received


def test_no_page_is_fetched(service: Service, client: httpx.Client) -> None:
    asked: list[str] = []

    class Neighbor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    neighbor = HTTPServer(("127.0.0.1", 0), Neighbor)
    threading.Thread(target=neighbor.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{neighbor.server_port}/picture.png"
    try:
        data = {"data": [{"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}]}
        assert client.post("/gradio_api/call/decompress", json=data).status_code == 400
        assert client.get(f"/gradio_api/file={address}").status_code == 403
        assert client.get(f"/gradio_api/proxy={address}").status_code == 404
        assert client.get(f"/gradio_api/file/{address}").status_code == 404
        by_url = {"path": None, "url": address, "meta": {"_type": "gradio.FileData"}}
        assert "event: error" in events(client, "decompress", [by_url])
    finally:
        neighbor.shutdown()
    assert asked == []


def test_exceptions_are_in_the_log_and_not_in_the_response(service: Service, client: httpx.Client) -> None:
    received = events(client, "compress", [None])  # a value for the first of several parameters
    assert "event: error" in received
    assert "Traceback" not in received
    assert "ValueError" not in received
    assert "ValueError" in service.log.read_text()


@pytest.mark.parametrize("forged", [False, True])
def test_a_full_queue_refuses_requests(
    client: httpx.Client, smooth: Callable[[int, int, int], Pixels], forged: bool
) -> None:
    """Of one visitor, also if each request says that it was forwarded for another."""
    (path,) = upload(client, "picture.png", write_png(smooth(600, 800, 0))).json()
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    call = {"data": [file, True, 80, 0, 0, *MORE]}
    asked = []
    for number in range(12):
        headers = {"x-forwarded-for": f"192.0.2.{number}"} if forged else None
        answer = client.post("/gradio_api/call/reconstruct", json=call, headers=headers)
        asked.append(answer.raise_for_status().json())
    received = [client.get(f"/gradio_api/call/reconstruct/{event['event_id']}").text for event in asked]
    assert any("2 requests wait already: try again when one is done." in text for text in received)
    assert any("event: complete" in text for text in received)


def test_old_files_are_deleted(service: Service, client: httpx.Client) -> None:
    """Including partial uploads, and files that Gradio does not know."""
    host, port = service.address.removeprefix("http://").split(":")
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    head += 'Content-Disposition: form-data; name="files"; filename="half"\r\n\r\nhalf'
    with socket.create_connection((host, int(port))) as half:
        half.sendall(head.encode())
    client.post("/gradio_api/upload", files={"others": ("x.png", b"unasked")})
    upload(client, "whole.png", b"whole")
    ours = {Path(path).name for path in residae.examples.paths()}
    deadline = time.monotonic() + PATIENCE
    while left := {path.name for path in service.files.rglob("*") if path.is_file()} - ours:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    assert any(service.files.rglob("*.png"))  # the examples of the page stay
