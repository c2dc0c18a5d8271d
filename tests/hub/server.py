"""A hub on this machine, which answers what huggingface_hub asks to push and to download models.

It knows repositories of models, their commits and one token. Files that a hub keeps apart (LFS) are
uploaded to it as they are there: announced, put, and then named by the commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_of_the_tests_alone"
READER = "hf_that_may_not_write"

REPOSITORY = r"(?P<name>[^/]+/[^/]+)"


@dataclass
class Repository:
    """A repository: its commits, oldest first, each with its files."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def newest(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: dict[str, bytes], message: str) -> str:
        number = str(len(self.commits)).encode()
        name = hashlib.sha1(number + message.encode(), usedforsecurity=False).hexdigest()
        self.commits[name] = files
        self.messages.append(message)
        return name


@dataclass
class Hub:
    """What the server holds, and how it misbehaves."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files by their sha256."""
    requests: list[str] = field(default_factory=list)
    damage: Callable[[str, bytes], bytes] = lambda name, content: content
    """What becomes of a file on its way to a reader."""
    refusal: tuple[int, str] | None = None
    """Status and message of every answer, in place of others."""


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Answering(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self._answer()

    do_GET = do_HEAD = do_PUT = do_POST  # noqa: N815 - as http.server calls them

    def _answer(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {path}")
        try:
            if self.hub.refusal:
                status, message = self.hub.refusal
                raise RefusedError(status, message=message)
            self._dispatch(path)
        except RefusedError as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            said = {"error": refused.message}
            self._send(json.dumps(said).encode(), headers, status=refused.status)

    def _dispatch(self, path: str) -> None:
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method.split():
                answer(self, **found.groupdict())
                return
        raise RefusedError(404, message=f"the hub of the tests has no {self.command} {path}")

    # What is asked for.

    def create(self) -> None:
        self._need(write=True)
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"http://{self.headers['Host']}/{name}"}
        if name in self.hub.repositories:
            self._send(json.dumps(url).encode(), status=409)
            return
        # Earlier versions of huggingface_hub send a flag.
        private = asked.get("visibility") == "private" or asked.get("private") is True
        made = Repository(private=private)
        made.commit({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        self.hub.repositories[name] = made
        self._json(url)

    def validate(self) -> None:
        head = json.loads(self.body)["content"].split("---\n")[1]
        if "library_name" not in head:
            self._send(json.dumps({"errors": [{"message": "no library"}]}).encode(), status=400)
            return
        self._json({"warnings": [], "errors": []})

    def about(self, name: str, revision: str = "main") -> None:
        repository, commit = self._at(name, revision)
        files = [{"rfilename": path} for path in repository.commits[commit]]
        self._json({
            "id": name, "modelId": name, "sha": commit, "private": repository.private,
            "siblings": files, "tags": [], "downloads": 0, "likes": 0,
        })  # fmt: skip

    def tree(self, name: str, revision: str) -> None:
        repository, commit = self._at(name, revision)
        self._json([_listed(*file) for file in repository.commits[commit].items()])

    def preupload(self, name: str, revision: str) -> None:
        self._need(write=True)
        files = json.loads(self.body)["files"]
        modes = [
            {"path": f["path"], "uploadMode": _mode(f["path"]), "shouldIgnore": False}
            for f in files
        ]
        self._json({"files": modes})

    def batch(self, name: str) -> None:
        self._need(write=True)
        host = self.headers["Host"]
        objects = [
            {**asked, "actions": {"upload": {"href": f"http://{host}/lfs/{asked['oid']}"}}}
            for asked in json.loads(self.body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.stored[oid] = self.body
        self._send(b"")

    def commit(self, name: str, revision: str) -> None:
        self._need(write=True)
        repository, newest = self._at(name, revision)
        files, message = dict(repository.commits[newest]), ""
        for line in self.body.splitlines():
            said = json.loads(line)
            value = said["value"]
            if said["key"] == "header":
                message = value["summary"]
            elif said["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif said["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif said["key"] == "deletedFile":
                del files[value["path"]]
        made = repository.commit(files, message)
        url = f"http://{self.headers['Host']}/{name}/commit/{made}"
        self._json({"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository, commit = self._at(name, revision)
        if path not in repository.commits[commit]:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        content = repository.commits[commit][path]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        self._send(self.hub.damage(path, content), headers)

    # How it answers.

    def _at(self, name: str, revision: str) -> tuple[Repository, str]:
        """A repository that the reader may see, and a commit of it."""
        repository = self.hub.repositories.get(name)
        if repository is None or repository.private:
            # As the hub does: without a token it does not tell what is missing from what is not.
            if not self._token():
                raise RefusedError(401, "RepoNotFound", "Invalid username or password.")
            self._need(write=False)
        if repository is None:
            raise RefusedError(404, "RepoNotFound", "Repository not found")
        commit = repository.newest if revision == "main" else revision
        if commit not in repository.commits:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit

    def _token(self) -> str:
        return str(self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _need(self, write: bool) -> None:
        if self._token() not in (TOKEN, READER):
            raise RefusedError(401, message="Invalid credentials in Authorization header")
        if write and self._token() == READER:
            raise RefusedError(403, message="Forbidden: this token has no right to write")

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, content: bytes, headers: dict[str, str] | None = None, status: int = 200
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("POST", "/api/repos/create", Answering.create),
    ("POST", "/api/validate-yaml", Answering.validate),
    ("GET", f"/api/models/{REPOSITORY}", Answering.about),
    ("GET", f"/api/models/{REPOSITORY}/revision/(?P<revision>.+)", Answering.about),
    ("GET", f"/api/models/{REPOSITORY}/tree/(?P<revision>.+)", Answering.tree),
    ("POST", f"/api/models/{REPOSITORY}/preupload/(?P<revision>.+)", Answering.preupload),
    ("POST", rf"/{REPOSITORY}\.git/info/lfs/objects/batch", Answering.batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", Answering.put),
    ("POST", f"/api/models/{REPOSITORY}/commit/(?P<revision>.+)", Answering.commit),
    ("GET HEAD", f"/{REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Answering.resolve),
)


def _mode(path: str) -> str:
    return "lfs" if path.endswith((".safetensors", ".png")) else "regular"


def _listed(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if _mode(path) == "lfs":
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return entry


@contextmanager
def serving() -> Iterator[tuple[Hub, str]]:
    """A hub without repositories, and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Answering,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
