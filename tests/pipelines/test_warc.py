"""WARC files, written here by hand: read whole, cut at every byte, and damaged."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import zlib
from pathlib import Path

import pytest
import zstandard

from pipelines import readers, recipe, stage, warc
from pipelines.stage import Slice

PAGE = "<html><body><p>Habari za leo, été 你好</p></body></html>"
HTML = "Content-Type: text/html; charset=utf-8\r\n"


def record(kind: str, block: bytes, url: str = "https://example.org/a", digest: str | None = None) -> bytes:
    head = f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2021-01-17T00:00:00Z\r\n"
    if digest is None:
        digest = "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode()
    if digest:
        head += f"WARC-Block-Digest: {digest}\r\n"
    return head.encode() + f"Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def http(body: bytes, headers: str = HTML, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body


def pages(count: int) -> list[bytes]:
    """A file's records: a header, and for each page its request and its response."""
    made = [record("warcinfo", b"software: hand\r\n")]
    for i in range(count):
        made += [record("request", b"GET / HTTP/1.1\r\n\r\n"), record("response", http(f"{PAGE} {i}".encode()))]
    return made


def read(path: Path, limit: int = 100_000) -> tuple[list[dict], stage.Rejects]:
    rejects = stage.Rejects("lm_en_x")
    job = readers.Job("lm_en_x", "en", recipe.SourceOptions(), limit)
    part = Slice(path=str(path), label=path.name, sha256="", start=0, end=-1)
    return [row for batch in readers.read(job, part, path, rejects) for row in batch.to_pylist()], rejects


def put(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_the_pages_of_a_file_are_read_with_their_address(tmp_path: Path, name: str) -> None:
    pack = gzip.compress if name.endswith(".gz") else bytes
    docs, rejects = read(put(tmp_path, name, b"".join(pack(each) for each in pages(3))))
    assert [doc["text"] for doc in docs] == [f"{PAGE} {i}" for i in range(3)]
    assert [doc["id"] for doc in docs] == [f"lm_en_x/{name}:{i}" for i in (2, 4, 6)]
    assert json.loads(docs[0]["meta"]) == {
        "url": "https://example.org/a",
        "date": "2021-01-17T00:00:00Z",
        "content_type": "text/html",
    }
    assert rejects.counts == {}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_file_cut_anywhere_but_between_two_records_is_told(tmp_path: Path, packed: bool) -> None:
    parts = [gzip.compress(each, mtime=0) if packed else each for each in pages(2)]
    whole = b"".join(parts)
    borders = {sum(map(len, parts[:i])) for i in range(len(parts) + 1)}
    name = "a.warc.gz" if packed else "a.warc"
    for cut in range(1, len(whole)):
        docs, rejects = read(put(tmp_path, name, whole[:cut]))
        damage = sum(rejects.counts.get(reason, 0) for reason in readers.DAMAGE)
        assert damage == (cut not in borders), cut
        assert [doc["text"] for doc in docs] == [f"{PAGE} {i}" for i in range(len(docs))]
    assert docs


def test_a_flipped_byte_of_a_page_is_told_by_the_digest_and_its_neighbours_live(tmp_path: Path) -> None:
    parts = pages(3)
    parts[4] = parts[4].replace(b"Habari", b"Hibari")
    docs, rejects = read(put(tmp_path, "a.warc", b"".join(parts)))
    assert [doc["text"][-1] for doc in docs] == ["0", "2"]
    assert rejects.counts == {"wrong_digest": 1}


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (http(b"moved", status="301 Moved"), "http_status"),
        (http(b"\x89PNG", "Content-Type: image/png\r\n"), "no_page"),
        (http(b"x", ""), "no_page"),
        (b"no http at all", "bad_http"),
        (b"", "bad_http"),
        (http(b"x", "Content-Encoding: br\r\n" + HTML), "bad_http"),
        (http(gzip.compress(b"x" * 1000, mtime=0)[:-9], "Content-Encoding: gzip\r\n" + HTML), "bad_http"),
        (http(gzip.compress(b"x" * 10**6, mtime=0), "Content-Encoding: gzip\r\n" + HTML), "bad_http"),
        (http(b"5\r\nab", "Transfer-Encoding: chunked\r\n" + HTML), "bad_http"),
        (http(b"2\r\nab\r\nxx\r\n", "Transfer-Encoding: chunked\r\n" + HTML), "bad_http"),
        (http(b"x" * 200_000), "record_too_large"),
    ],
)
def test_a_response_that_is_no_page_is_rejected_and_its_neighbours_live(
    tmp_path: Path, block: bytes, reason: str
) -> None:
    parts = pages(2)
    parts.insert(3, record("response", block))
    docs, rejects = read(put(tmp_path, "a.warc.gz", b"".join(map(gzip.compress, parts))))
    assert [doc["text"][-1] for doc in docs] == ["0", "1"]
    assert rejects.counts == {reason: 1}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Encoding: gzip\r\n", gzip.compress(PAGE.encode(), mtime=0)),
        ("Content-Encoding: deflate\r\n", zlib.compress(PAGE.encode())),
        ("Content-Encoding: gzip\r\n", PAGE.encode()),  # Common Crawl inflates and keeps the header
        (
            "Transfer-Encoding: chunked\r\n",
            f"{len(PAGE.encode()):x};a=b\r\n".encode() + PAGE.encode() + b"\r\n0\r\n\r\n",
        ),
        ("Transfer-Encoding: chunked\r\n", PAGE.encode()),
        ("X-Folded: a\r\n  b\r\n", PAGE.encode()),
    ],
)
def test_a_body_is_read_as_it_was_sent(headers: str, body: bytes) -> None:
    assert warc.response(http(body, headers + HTML), 10_000).body == PAGE.encode()


def test_resources_and_extracted_texts_are_pages_too(tmp_path: Path) -> None:
    text = record("conversion", b"plain text").replace(b"WARC-Date", b"Content-Type: text/plain\r\nWARC-Date")
    page = record("resource", PAGE.encode(), digest="").replace(b"WARC-Date", b"Content-Type: text/html\r\nWARC-Date")
    docs, rejects = read(put(tmp_path, "a.warc.wet.gz", gzip.compress(text) + gzip.compress(page)))
    assert [doc["text"] for doc in docs] == ["plain text", PAGE]
    assert rejects.counts == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\r\nWARC/1.0\r\n", "at byte 0 a WARC record should begin, got an empty line"),
        (b"GET / HTTP/1.1\r\n\r\n", "at byte 0 a WARC record should begin, got b'GET / HTTP"),
        (b"WARC/1.0\r\nContent-Length: -1\r\n\r\n", "has Content-Length '-1', expected a whole number"),
        (b"WARC/1.0\r\n\r\n", "has Content-Length '', expected a whole number"),
        (
            b"WARC/1.0\r\nContent-Length: 1\r\n\r\nabcdef",
            "the end of the WARC record at byte 0 is not what it should be",
        ),
        (b"WARC/1.0\r\n" + b"a" * 2**20, "the header of the WARC record at byte 0 is not what it should be"),
    ],
)
def test_what_is_no_record_is_told_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(OSError, match=message.replace("(", r"\(")):
        list(warc.records(io.BytesIO(data), 1000))


def test_an_empty_file_has_no_records() -> None:
    assert list(warc.records(io.BytesIO(b""), 1000)) == []


def test_a_real_file_gives_the_pages_that_it_was_made_of(shared: Path) -> None:
    folder = shared / "corpus" / "pseudo_crawl_w3c_international"
    with zstandard.open(folder / "part-00000.jsonl.zst", "rt", encoding="utf-8") as file:
        expected = {record["meta"]["url"]: record["text"] for record in map(json.loads, file)}
    docs, rejects = read(folder / "pages.warc.gz", 10**7)
    assert rejects.counts == {}
    assert {json.loads(doc["meta"])["url"]: doc["text"] for doc in docs} == expected
