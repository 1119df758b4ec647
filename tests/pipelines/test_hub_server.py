"""Ingestion from the hub, through the real client, from a local server that speaks the hub's interface.

The server knows what `datasets` asks for when it streams: a data set's facts, its commit, its tree of files, and the
files by range. A data set's name says what the server does to it. The client reads HF_ENDPOINT when it is imported, so
that it runs in a process of its own, with its waits cut short.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("datasets", reason="the extra `hub` is not installed")

COUNT = 700
NAMES = ["".join(chr(97 + int(digit)) for digit in str(i)) for i in range(COUNT)]  # digits tell no documents apart
TEXTS = [f"Testu honek {name} izena du eta beste inork ez du" for name in NAMES]
METAS = [
    str({"title": f"Orria {i}" if i else "User orria", "type": "text", "url": f"https://eu.example.org/{i}"})
    for i in range(COUNT)
]


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": TEXTS, "meta": METAS}), sink, row_group_size=100)
    return sink.getvalue()


FILES = {
    "parquet": ("data/train-00000-of-00001.parquet", parquet()),
    "json": (
        "data/train.jsonl",
        b"".join(json.dumps({"text": t, "meta": m}).encode() + b"\n" for t, m in zip(TEXTS, METAS, strict=True)),
    ),
}


class Hub(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: dict[str, int] = {}  # how often each data set's file was asked for
        self.healed = False
        self.commit = "a" * 40
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_GET

    def _serve(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        if facts := re.fullmatch(r"/api/datasets/(org/[\w-]+)(?:/(\w[\w-]*)/?(.*))?", url.path):
            self._facts(facts[1], facts[2] or "", facts[3] or "", urllib.parse.parse_qs(url.query), sent)
        elif data := re.fullmatch(r"/datasets/(org/[\w-]+)/resolve/[^/]+/(.*)", url.path):
            self._data(data[1], data[2])
        else:
            self._answer(404, b"{}")

    def _facts(self, name: str, what: str, rest: str, query: dict[str, list[str]], sent: bytes) -> None:
        path, body = FILES[name.rpartition("-")[2]]
        file = {"type": "file", "path": path, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
        folder = {"type": "directory", "path": "data", "size": 0, "oid": "0" * 40}
        if name == "org/missing-json":
            self._answer(404, b"{}", x_error_code="RepoNotFound")
        elif what in ("", "revision"):
            siblings = [{"rfilename": path}]
            facts = {"id": name, "sha": self.server.commit, "private": False, "gated": False, "tags": []}
            self._answer(200, json.dumps({**facts, "siblings": siblings}).encode())
        elif what == "tree":
            inside = rest.partition("/")[2]
            every = [folder, file] if query.get("recursive") == ["true"] else [file] if inside == "data" else [folder]
            self._answer(200, json.dumps(every).encode())
        elif what == "paths-info":
            asked = urllib.parse.parse_qs(sent.decode()).get("paths") or json.loads(sent or b"{}").get("paths", [])
            self._answer(200, json.dumps([each for each in (folder, file) if each["path"] in asked]).encode())
        else:
            self._answer(404, b"{}")

    def _data(self, name: str, path: str) -> None:
        own, body = FILES[name.rpartition("-")[2]]
        trick = name.removeprefix("org/").rpartition("-")[0]
        if trick == "gated" and self.headers.get("Authorization") != "Bearer hf_right":
            self._answer(401, b"{}", x_error_code="GatedRepo", x_error_message=f"Access to {name} is restricted.")
            return
        if path != own:
            self._answer(404, b"{}", x_error_code="EntryNotFound")
            return
        if self.command == "HEAD":
            self._answer(200, b"", length=len(body))
            return
        asked = self.server.asked[name] = self.server.asked.get(name, 0) + 1
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "bytes=0-")
        first, last = int(span[1]), min(int(span[2] or len(body)), len(body) - 1)
        piece = body[first : last + 1]
        if (trick == "busy" and asked <= 2) or (trick == "down" and asked > 1 and not self.server.healed):
            self._answer(503, b"")
            return
        if trick == "liar":
            piece = piece[: (len(piece) + 1) // 2]  # less than it says, and a length that agrees
        cut = (trick == "cut" and asked <= 2) or (trick == "cutting" and asked > 1 and not self.server.healed)
        self._answer(206, piece, content_range=f"bytes {first}-{last}/{len(body)}", cut=cut)

    def _answer(self, status: int, body: bytes, length: int | None = None, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("ETag", '"1"')
        self.send_header("X-Repo-Commit", self.server.commit)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut


CLIENT = """
import json, os, sys, time
from pathlib import Path
waits, time.sleep = time.sleep, lambda seconds: waits(min(seconds, 0.01))
from pipelines import recipe, run, runner, stage

def attempt(name, folder, token):
    os.environ["HF_TOKEN"] = token
    chosen = recipe.load(Path("roots.toml"), [
        'sources.names=["lm_eu_wikipedia"]', f"sources.options.lm_eu_wikipedia.dataset={name}"
    ])
    context = stage.Context(Path(folder), chosen)
    try:
        run.run(context, "clean", runner.Engine(workers=1), lambda progress: None)
    except (stage.StageFailed, ValueError) as error:
        return type(error).__name__ + ": " + str(error)
    return {part.stage: part.counts.kept for name in ("documents", "clean") for part in context.manifests(name)}

for line in sys.stdin:
    print(json.dumps(attempt(*json.loads(line))), flush=True)
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


class Client:
    """A process with the real client; `run(name)` brings the source in from that data set."""

    def __init__(self, hub: Hub, folder: Path):
        self._folder = folder
        self._errors = folder / "errors.txt"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(folder / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors.open("wb"),
            text=True,
        )

    def run(self, name: str, folder: str = "", token: str = "") -> dict[str, int] | str:
        self._process.stdin.write(json.dumps([f"org/{name}", str(self._folder / (folder or name)), token]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._errors.read_text()[-2000:]
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def client(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(hub, tmp_path_factory.mktemp("hub"))
    yield made
    made.close()


WHOLE = {"documents": COUNT, "clean": COUNT - 1}


@pytest.mark.parametrize("name", ["good-parquet", "good-json", "busy-parquet", "cut-parquet", "cut-json", "liar-json"])
def test_a_data_set_comes_in_whole(client: Client, name: str) -> None:
    """Also where the server is busy twice, breaks off twice, or sends less than it says."""
    assert client.run(name) == WHOLE


@pytest.mark.parametrize("trick", ["down", "cutting"])
def test_a_hub_that_stays_silent_fails_the_stage_and_the_same_command_goes_on(
    hub: Hub, client: Client, trick: str
) -> None:
    hub.healed = False
    said = client.run(f"{trick}-parquet")
    assert re.search(r"StageFailed: .*the hub at http://127.*did not give all of it .*run the same command again", said)
    hub.healed = True
    assert client.run(f"{trick}-parquet") == WHOLE


def test_a_file_that_is_shorter_than_its_size_says_is_not_taken_for_the_data(client: Client) -> None:
    assert "did not give all of it (ArrowInvalid" in client.run("liar-parquet")


def test_a_gated_data_set_is_told_with_how_to_log_in(hub: Hub, client: Client) -> None:
    said = client.run("gated-parquet")
    assert said.startswith(
        "ValueError: data set org/gated-parquet is gated, or does not exist: accept its conditions at"
    )
    assert f"{hub.endpoint}/datasets/org/gated-parquet, then log in with `hf auth login`, or set HF_TOKEN" in said
    assert client.run("gated-parquet", token="hf_right") == WHOLE


def test_a_data_set_that_is_not_there_is_told(client: Client) -> None:
    said = client.run("missing-json")
    assert re.match(r"ValueError: data set org/missing-json is gated, or does not exist.*RepositoryNotFoundError", said)


def test_a_new_commit_of_the_data_set_is_another_input(hub: Hub, client: Client) -> None:
    assert client.run("good-parquet", "moving") == WHOLE
    before = hub.asked["org/good-parquet"]
    assert client.run("good-parquet", "moving") == WHOLE
    planned = hub.asked["org/good-parquet"] - before  # to plan, the client looks at the file; nothing else is read
    hub.commit = "b" * 40
    assert client.run("good-parquet", "moving") == WHOLE
    assert hub.asked["org/good-parquet"] - before > 2 * planned
