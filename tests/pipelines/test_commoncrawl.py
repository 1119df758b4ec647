"""The client against a local server that answers well, and in every way it should not."""

from __future__ import annotations

import gzip
import http.server
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import cli, commoncrawl, stage, warc
from pipelines.commoncrawl import Capture, Patience

QUICK = Patience(timeout=0.3, bytes_per_second_min=10_000, attempts=4, wait=0.01, wait_max=0.02)


def member(url: str, text: str) -> bytes:
    block = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>{text}".encode()
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(block)}\r\n\r\n"
    return gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0)


class Server(http.server.ThreadingHTTPServer):
    """Serves one WARC file and an index of it; `tricks` are what it does to the next requests, first in first out."""

    daemon_threads = True

    def __init__(self, pages: int):
        super().__init__(("127.0.0.1", 0), Handler)
        self.urls = [f"https://example.org/{i}" for i in range(pages)]
        members = [member(url, f"page {i} " + "words " * 50) for i, url in enumerate(self.urls)]
        self.file = b"".join(members)
        starts = [sum(map(len, members[:i])) for i in range(pages)]
        self.captures = [
            Capture(
                url=url, timestamp=f"2021010{i % 10}000000", filename="crawl/a.warc.gz", offset=start, length=len(data)
            )
            for i, (url, start, data) in enumerate(zip(self.urls, starts, members, strict=True))
        ]
        self.tricks: list[str] = []
        self.ranges: list[str] = []
        self.base = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        trick = self.server.tricks.pop(0) if self.server.tricks else ""
        if trick == "reset":
            return
        if trick == "stall":
            time.sleep(1)
            return
        if trick.isdigit():
            self.send_response(int(trick))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = urllib.parse.urlsplit(self.path)
        if path.path.endswith("-index"):
            self._index(path.path, dict(urllib.parse.parse_qsl(path.query)))
        else:
            self._data(trick)

    def _index(self, path: str, query: dict[str, str]) -> None:
        wanted = [c for c in self.server.captures if c.url.startswith(query["url"])]
        if "showNumPages" in query:
            body = json.dumps({"pages": (len(wanted) + 1) // 2, "pageSize": 5, "blocks": 1}) + "\n"
        else:
            page = int(query["page"])
            lines = wanted[2 * page : 2 * page + 2]
            body = "".join(
                json.dumps({"url": c.url, "timestamp": c.timestamp, "filename": c.filename, "offset": str(c.offset),
                            "length": str(c.length), "status": "200"}) + "\n"
                for c in lines
            )  # fmt: skip
            old = [
                {"url": c.url, "timestamp": "20200101", "filename": "old", "offset": "0", "length": "1"} for c in lines
            ]
            body += "".join(json.dumps(line) + "\n" for line in old)
        self.send_response(200 if wanted and "nothing" not in path else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def _data(self, trick: str) -> None:
        self.server.ranges.append(self.headers["Range"])
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        body = self.server.file[first : last + 1]
        told = f"bytes {first}-{last}/{len(self.server.file)}"
        if trick == "whole":
            self.send_response(200)
            body = self.server.file
        else:
            self.send_response(206)
        if trick == "short":  # less than asked for, and says so in its length only
            body = body[:-10]
        if trick == "other":  # another range, which it admits
            told = f"bytes {first + 1}-{last + 1}/{len(self.server.file)}"
        if trick == "lie":  # other bytes under the right name
            body = self.server.file[first + 1 : last + 1] + b"x"
        if trick == "long":
            body += b"more"
        if trick != "silent":
            self.send_header("Content-Range", told)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if trick == "cut":
            self.wfile.write(body[: len(body) // 2])
        elif trick == "drip":
            for byte in body[:60]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.02)
        else:
            self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(5) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def urls(path: Path) -> list[str]:
    with gzip.open(path) as file:
        return [record.headers["warc-target-uri"] for record in warc.records(file, 10**6)]  # type: ignore[arg-type]


def test_the_latest_capture_of_each_address_is_found_over_all_pages_of_the_index(server: Server) -> None:
    found = commoncrawl.lookup("https://example.org/", ["CC-MAIN-2021-04"], server.base, QUICK)
    assert found == server.captures


def test_an_address_that_the_index_does_not_know_has_no_captures(server: Server) -> None:
    assert commoncrawl.lookup("https://nowhere.org/", ["CC-MAIN-2021-04", "nothing"], server.base, QUICK) == []


@pytest.mark.parametrize(
    "trick", ["503", "429", "500", "reset", "stall", "cut", "drip", "short", "other", "lie", "long", "silent"]
)
def test_a_record_comes_whole_after_two_bad_answers(server: Server, tmp_path: Path, trick: str) -> None:
    server.tricks = [trick, trick]
    got = commoncrawl.fetch(server.captures[:2], tmp_path, server.base, QUICK)
    assert (got.records, got.failed.total()) == (2, 0)
    first = server.captures[1]
    assert (tmp_path / "part-00000.warc.gz").read_bytes() == server.file[: first.offset + first.length]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part-00000.warc.gz.journal", "part-00000.warc.gz"]


def test_bytes_that_came_before_a_break_are_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.tricks = ["cut"]
    commoncrawl.fetch(server.captures[:1], tmp_path, server.base, QUICK)
    last = server.captures[0].length - 1
    assert server.ranges == [f"bytes=0-{last}", f"bytes={(last + 1) // 2}-{last}"]


@pytest.mark.parametrize(
    ("tricks", "reason"),
    [
        (["503"] * 4, "4 attempts failed, the last with: status 503"),
        (["stall"] * 4, "4 attempts failed, the last with: timed out"),
        (["lie"] * 4, r"not the record that the index promises \("),
        (["cut", "cut", "reset", "reset"], "4 attempts failed, the last with: Remote end closed connection"),
        (["404"], "status 404"),
        (["403"], "status 403"),
        (["whole"], "the server sends the whole file instead of a range"),
    ],
)
def test_a_record_that_is_not_to_be_had_is_told_and_the_others_come(
    server: Server, tmp_path: Path, tricks: list[str], reason: str
) -> None:
    server.tricks = list(tricks)
    got = commoncrawl.fetch(server.captures[:3], tmp_path, server.base, QUICK)
    assert (got.records, got.failed.total()) == (2, 1)
    assert urls(tmp_path / "part-00000.warc.gz") == server.urls[1:3]
    failed = json.loads((tmp_path / "part-00000.warc.gz.failed").read_text())
    assert failed["url"] == server.urls[0]
    assert re.search(reason, failed["reason"])


def test_a_download_of_which_nothing_came_fails(server: Server, tmp_path: Path) -> None:
    server.tricks = ["404", "403", "404"]
    with pytest.raises(stage.StageFailed, match="none of 3 records was to be had, 2 of them for: status 404"):
        commoncrawl.fetch(server.captures[:3], tmp_path, server.base, QUICK)


def test_a_download_that_was_stopped_goes_on_after_its_last_whole_record(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = commoncrawl.Client.record

    def stopping(self: commoncrawl.Client, url: str, capture: Capture) -> bytes:
        if capture == server.captures[3]:
            raise KeyboardInterrupt
        return record(self, url, capture)

    monkeypatch.setattr(commoncrawl.Client, "record", stopping)
    with pytest.raises(KeyboardInterrupt):
        commoncrawl.fetch(server.captures, tmp_path, server.base, QUICK)
    monkeypatch.undo()
    with (tmp_path / "part-00000.warc.gz.part").open("ab") as file:
        file.write(b"half a record")
    with (tmp_path / ".part-00000.warc.gz.journal").open("ab") as file:
        file.write(b'"half a li')
    with pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(commoncrawl.Client, "record", stopping)
        commoncrawl.fetch(server.captures, tmp_path, server.base, QUICK)
    monkeypatch.undo()
    server.ranges.clear()
    got = commoncrawl.fetch(server.captures, tmp_path, server.base, QUICK)
    assert (got.records, len(server.ranges)) == (5, 2)
    assert (tmp_path / "part-00000.warc.gz").read_bytes() == server.file
    assert commoncrawl.fetch(server.captures, tmp_path, server.base, QUICK).kept_files == 1
    assert len(server.ranges) == 2


def test_files_of_other_captures_are_not_taken_for_these(server: Server, tmp_path: Path) -> None:
    commoncrawl.fetch(server.captures[:2], tmp_path, server.base, QUICK)
    with pytest.raises(ValueError, match="of other captures; choose another --output"):
        commoncrawl.fetch(server.captures, tmp_path, server.base, QUICK)
    (tmp_path / ".part-00000.warc.gz.journal").unlink()
    with pytest.raises(ValueError, match=r"not of this download, \.part-00000\.warc\.gz\.journal is missing"):
        commoncrawl.fetch(server.captures[:2], tmp_path, server.base, QUICK)


def test_a_file_shorter_than_its_journal_says_is_told(server: Server, tmp_path: Path) -> None:
    commoncrawl.fetch(server.captures, tmp_path, server.base, QUICK)
    (tmp_path / "part-00000.warc.gz").unlink()
    (tmp_path / "part-00000.warc.gz.part").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"5 bytes, its journal says \d+; remove both and fetch again"):
        commoncrawl.fetch(server.captures, tmp_path, server.base, QUICK)


def test_waits_grow_and_a_server_that_names_a_time_is_given_it() -> None:
    waits: list[float] = []
    client = commoncrawl.Client(Patience(attempts=5, wait=1, wait_max=3), waits.append)

    def fail() -> bytes:
        raise commoncrawl._Transient("status 503", after=7.0 if len(waits) == 2 else 0.0)

    with pytest.raises(commoncrawl.Refused, match="u: 5 attempts failed, the last with: status 503"):
        client._patiently("u", fail)
    assert [low <= wait <= 2 * low for wait, low in zip(waits, (1, 2, 3.5, 3), strict=True)] == [True] * 4


@pytest.mark.parametrize("index", ["not an address", "ftp://example.org", "http://", "http://127.0.0.1:1/a b"])
def test_what_is_no_address_is_refused_at_once(index: str) -> None:
    with pytest.raises(commoncrawl.Refused, match="is no address of a web server"):
        commoncrawl.Client(QUICK).get(index)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"not json", "expected a JSON object with url, timestamp"),
        (b"[1]", "expected a JSON object"),
        (b'{"url": "u", "timestamp": "1", "filename": "f", "offset": "x", "length": 1}', "invalid literal"),
        (b'{"url": "u", "timestamp": "1", "filename": "f", "offset": -1, "length": 1}', "are no place in a file"),
        (b'{"url": "u", "timestamp": "1", "filename": "f", "offset": 0, "length": 0}', "are no place in a file"),
    ],
)
def test_a_line_that_is_no_capture_is_told_with_its_place(tmp_path: Path, line: bytes, message: str) -> None:
    (tmp_path / "captures.jsonl").write_bytes(b"\n" + line + b"\n")
    with pytest.raises(ValueError, match=f"captures.jsonl line 2: .*{message}"):
        commoncrawl.read_captures(tmp_path / "captures.jsonl")


def test_an_index_that_talks_of_something_else_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commoncrawl.Client, "get", lambda self, url: b"<html>down for maintenance")
    with pytest.raises(commoncrawl.Refused, match="expected the number of pages, got b'<html>down"):
        commoncrawl.lookup("https://example.org/", ["c"], server.base, QUICK)


def test_the_commands_look_up_and_fetch(server: Server, tmp_path: Path) -> None:
    captures = tmp_path / "captures.jsonl"
    call = [
        "crawl",
        "lookup",
        "https://example.org/",
        "--crawl",
        "c",
        "--output",
        str(captures),
        "--index",
        server.base,
    ]
    answer = CliRunner().invoke(cli.app, call)
    assert answer.stdout.startswith("5 addresses, "), answer.output
    assert commoncrawl.read_captures(captures) == server.captures
    fetch = ["crawl", "fetch", str(captures), "--output", str(tmp_path / "warc"), "--data", server.base]
    answer = CliRunner().invoke(cli.app, fetch)
    assert answer.stdout == "5 records fetched, 0 failed, 0 files were there already\n"
    assert urls(tmp_path / "warc" / "part-00000.warc.gz") == server.urls
