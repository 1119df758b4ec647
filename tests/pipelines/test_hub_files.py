"""Input from `hf://`, through the hub's own driver, from a local server that speaks the hub's interface to files.

The server has the small corpus as a data set, under names that say what it does to it. The client reads HF_ENDPOINT
when it is imported, so the command runs in a process of its own, with the client's waits cut short.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import manifest, storage

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")

COMMAND = (
    "import time; wait = time.sleep; time.sleep = lambda s: wait(min(s, 0.05)); from pipelines import cli; cli.main()"
)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path

    def log_message(self, *given: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        if found := re.fullmatch(r"/api/datasets/org/(\w+)(?:/(revision|tree)/(?:main|a{40})/?(.*))?", path):
            self._facts(found[1], found[2] or "revision", found[3] or "", "recursive=true" in url.query.lower())
        elif found := re.fullmatch(r"/datasets/org/(\w+)/resolve/[^/]+/(.*)", path):
            self._data(found[1], (self.root / found[2]).read_bytes())
        else:
            self._answer(404)

    do_HEAD = do_GET

    def _facts(self, name: str, what: str, inside: str, recursive: bool) -> None:
        if name == "missing":
            self._answer(401, x_error_code="RepoNotFound", x_error_message="Repository not found")
        elif name == "gated" and what == "tree":
            self._answer(403, x_error_code="GatedRepo", x_error_message="Access to dataset org/gated is restricted")
        elif what == "revision":
            facts = {"id": f"org/{name}", "sha": "a" * 40, "private": False, "gated": False, "tags": [], "siblings": []}
            self._answer(200, json.dumps(facts).encode())
        elif (folder := self.root / inside).is_dir():
            every = sorted(folder.rglob("*") if recursive else folder.iterdir())
            self._answer(200, json.dumps([self._entry(path) for path in every]).encode())
        else:
            self._answer(404, x_error_code="EntryNotFound")

    def _entry(self, path: Path) -> dict[str, object]:
        kind, size = ("directory", 0) if path.is_dir() else ("file", path.stat().st_size)
        name = path.relative_to(self.root).as_posix()
        return {"type": kind, "path": name, "size": size, "oid": hashlib.sha1(name.encode()).hexdigest()}

    def _data(self, name: str, body: bytes) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        first, last = (int(span[1]), int(span[2])) if span else (0, len(body) - 1)
        piece = body[first : last + 1]
        if name == "half":  # less than was asked for, and a length that agrees
            piece = piece[: len(piece) // 2]
        self._answer(206 if span else 200, piece, cut=name == "cut")

    def _answer(self, status: int, body: bytes = b"{}", cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", "a" * 40)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut


@pytest.fixture(scope="module")
def endpoint(small: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"root": small}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def ingest(source: str, output: Path, small_recipe: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(output.parent / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    call = ["run", str(small_recipe), "--output", str(output), "--until", "ingest", "--set", f"sources.folder={source}"]
    return subprocess.run([sys.executable, "-c", COMMAND, *call], env=environment, capture_output=True, text=True)


def test_files_of_a_data_set_give_the_same_documents_as_files_of_this_machine(
    small: Path, small_recipe: Path, endpoint: str, tmp_path: Path
) -> None:
    for source, output in (("hf://datasets/org/good", "hub"), (str(small), "local")):
        done = ingest(source, tmp_path / output, small_recipe, endpoint)
        assert done.returncode == 0, done.stderr
    hub, local = (
        {storage.relative(file, folder): manifest.file_digest(file) for file in folder.rglob("part-*.[pr]*")}
        for folder in (tmp_path / "hub", tmp_path / "local")
    )
    assert hub == local
    assert len(hub) == 5  # four shards, and what was rejected of one


@pytest.mark.parametrize(
    ("name", "code", "fault"),
    [
        ("missing", 2, "hf://datasets/org/missing is not a folder"),
        ("gated", 2, "the store refuses it .GatedRepoError: 403 .* accept the data set's conditions, set HF_TOKEN"),
        ("cut", 1, "without sending complete message body .* run the same command again: .*ig_web/a.jsonl"),
        ("half", 1, "asked for 11792 bytes from 0, got 5896; run the same command again: .*ig_web/a.jsonl"),
    ],
)
def test_a_hub_that_does_not_give_its_files_is_told(
    name: str, code: int, fault: str, small_recipe: Path, endpoint: str, tmp_path: Path
) -> None:
    done = ingest(f"hf://datasets/org/{name}", tmp_path / "out", small_recipe, endpoint)
    assert done.returncode == code
    assert re.search(fault, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1 or name == "cut"  # the client tells of each try
    assert not list(tmp_path.rglob("_SUCCESS"))
