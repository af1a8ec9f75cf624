"""A fake Hugging Face Hub on 127.0.0.1 that keeps its repositories in memory.

It answers the calls that the client library makes, errors included, and records every call.
"""

import base64
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOKEN = "hf_fake"
LARGE = 10 * 2**20  # bytes above which the Hub stores text files in LFS as well


@dataclass
class Repository:
    """One repository: its commits in order, each with all of its files by path."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        return next(reversed(self.commits.values()))

    def commit(self, files: dict[str, bytes], message: str = "") -> str:
        sha = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[sha] = files
        self.messages.append(message)
        return sha

    def resolve(self, revision: str) -> str | None:
        if revision == "main":
            return next(reversed(self.commits))
        sha = self.tags.get(revision, revision)
        return sha if sha in self.commits else None


class RefusalError(Exception):
    """An error response: HTTP status, message, the Hub's error code, and the JSON body if it is not the message."""

    def __init__(self, status: int, message: str, code: str = "", body: object = None) -> None:
        self.status, self.message, self.code, self.body = status, message, code, body


class Hub:
    """The server.

    Attributes:
        repositories: By kind (`model` or `space`) and `owner/name`.
        large: Content of the LFS files by SHA-256.
        calls: Method and path of every request so far.
        refusal: The error with which every request that writes is answered, if any.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.refusal: RefusalError | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                hub.answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        hub = cls()
        thread = threading.Thread(target=hub.server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.stop()
            thread.join()

    def stop(self) -> None:
        """Close the port: connections are refused from now on."""
        self.server.shutdown()
        self.server.server_close()

    def add(self, kind: str, name: str, files: dict[str, bytes]) -> Repository:
        repository = self.repositories[kind, name] = Repository()
        repository.commit(files)
        return repository

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = urllib.parse.urlsplit(request.path).path
        self.calls.append((request.command, path))
        parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
        body = _body(request)
        try:
            if request.command in ("POST", "PUT"):
                if request.headers["Authorization"] != f"Bearer {TOKEN}" and parts[0] != "lfs":
                    raise RefusalError(401, "Invalid username or password.")
                if self.refusal:
                    raise self.refusal
            status, data, headers = self.route(request.command, parts, body)
        except RefusalError as refusal:
            status = refusal.status
            data = json.dumps(refusal.body or {"error": refusal.message}).encode()
            headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
        request.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)

    def route(self, method: str, parts: list[str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        match method, *parts:
            case "POST", "api", "repos", "create":
                return _json(self.create(json.loads(body)))
            case "POST", "api", "validate-yaml":
                return _json({})
            case "GET", "api", kinds, owner, name:
                return _json(self.info(kinds[:-1], f"{owner}/{name}", "main"))
            case "GET", "api", kinds, owner, name, "revision", revision:
                return _json(self.info(kinds[:-1], f"{owner}/{name}", revision))
            case "GET", "api", kinds, owner, name, "tree", revision:
                _, files = self.find(kinds[:-1], f"{owner}/{name}", revision)
                return _json([_entry(path, data) for path, data in files.items()])
            case "POST", "api", kinds, owner, name, "preupload", _:
                self.find(kinds[:-1], f"{owner}/{name}", "main")
                return _json({"files": [_mode(file) for file in json.loads(body)["files"]]})
            case "POST", *prefix, owner, name, "info", "lfs", "objects", "batch":
                self.find("space" if prefix else "model", f"{owner}/{name.removesuffix('.git')}", "main")
                return _json({"objects": [self.offer(item) for item in json.loads(body)["objects"]]})
            case "PUT", "lfs", oid:
                if hashlib.sha256(body).hexdigest() != oid:
                    raise RefusalError(400, "the content is not what was announced")
                self.large[oid] = body
                return _json({})
            case "POST", "api", kinds, owner, name, "commit", _:
                return _json(self.commit(kinds[:-1], f"{owner}/{name}", body))
            case "POST", "api", kinds, owner, name, "tag", revision:
                sha, _ = self.find(kinds[:-1], f"{owner}/{name}", revision)
                tags, tag = self.repositories[kinds[:-1], f"{owner}/{name}"].tags, json.loads(body)["tag"]
                if tag in tags:
                    raise RefusalError(409, "Tag reference exists already")
                tags[tag] = sha
                return _json({})
            case "POST", "api", "spaces", owner, name, "hardware":
                flavor = json.loads(body)["flavor"]
                self.repositories["space", f"{owner}/{name}"].settings["hardware"] = flavor
                return _json({"stage": "BUILDING", "hardware": {"current": None, "requested": flavor}})
            case "GET" | "HEAD", owner, name, "resolve", revision, *path:
                sha, files = self.find("model", f"{owner}/{name}", revision)
                if "/".join(path) not in files:
                    raise RefusalError(404, "Entry not found", "EntryNotFound")
                data = files["/".join(path)]
                etag = hashlib.sha256(data).hexdigest()
                return 200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": sha}
        raise RefusalError(404, f"the fake Hub does not implement {method} /{'/'.join(parts)}")

    def find(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        if (kind, name) not in self.repositories:
            raise RefusalError(404, "Repository not found", "RepoNotFound")
        repository = self.repositories[kind, name]
        sha = repository.resolve(revision)
        if sha is None:
            raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha, repository.commits[sha]

    def info(self, kind: str, name: str, revision: str) -> dict[str, Any]:
        sha, files = self.find(kind, name, revision)
        return {"id": name, "sha": sha, "siblings": [{"rfilename": path} for path in files]}

    def create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        kind, name = wanted.get("type") or "model", f"{wanted['organization']}/{wanted['name']}"
        url = f"{self.address}/{'spaces/' if kind == 'space' else ''}{name}"
        if (kind, name) in self.repositories:
            message = "You already created this repository"
            raise RefusalError(409, message, body={"error": message, "url": url})
        self.add(kind, name, {".gitattributes": b"*.safetensors filter=lfs\n"})  # the Hub's first commit
        self.repositories[kind, name].settings = wanted
        return {"url": url}

    def offer(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] in self.large:
            return item
        return item | {"actions": {"upload": {"href": f"{self.address}/lfs/{item['oid']}"}}}

    def commit(self, kind: str, name: str, body: bytes) -> dict[str, Any]:
        _, files = self.find(kind, name, "main")
        files, message = dict(files), ""
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        sha = self.repositories[kind, name].commit(files, message)
        prefix = "spaces/" if kind == "space" else ""
        return {"commitUrl": f"{self.address}/{prefix}{name}/commit/{sha}", "commitOid": sha}


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers["Transfer-Encoding"] != "chunked":
        return request.rfile.read(int(request.headers["Content-Length"] or 0))
    chunks = []
    while size := int(request.rfile.readline(), 16):
        chunks.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(chunks)


def _json(answer: object) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


def _mode(file: dict[str, Any]) -> dict[str, Any]:
    binary = b"\0" in base64.b64decode(file["sample"])
    mode = "lfs" if binary or file["size"] > LARGE else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
