"""WARC records, each checked to its last byte: declared length, the two line ends behind it, its digest.

fastwarc and warcio give what is left of a record that is cut; here a cut raises, and a block whose digest is another
is told. Where the end of a file is also the end of a record, a cut cannot be seen in the file.
source  WARC 1.1 (ISO 28500:2017), sections 4 and 5; HTTP/1.1 (RFC 9112), sections 2 and 7
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import orjson

from roots import html

HEAD_BYTES_MAX = 2**20  # of a record's or a response's header
CHUNK_BYTES = 2**20  # read at a time where a block is passed over
PAGE_KINDS = ("response", "resource", "conversion")  # the types of records that hold a page
RECORD_END = b"\r\n\r\n"
DIGESTS = ("sha1", "sha256", "sha512", "md5")
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib looks which of the two it is


@dataclass(frozen=True, slots=True)
class Record:
    """One record. headers: names in lower case; block: None where it is larger than the limit; intact: the digest
    is right, or there is none that we know."""

    offset: int
    headers: Mapping[str, str]
    block: bytes | None
    intact: bool

    @property
    def kind(self) -> str:
        return self.headers.get("warc-type", "")


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response; body: what was sent, without chunks and compression."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def records(file: BinaryIO, block_bytes_max: int) -> Iterator[Record]:
    """The records of a file (uncompressed, or as `gzip.open` gives it), in order.

    raises  EOFError where a record is cut, OSError where a record does not begin where one should
    """
    offset = 0
    while True:
        lines = _head(file, offset)
        if not lines:
            return
        if not lines[0].startswith(b"WARC/"):
            raise OSError(f"at byte {offset} a WARC record should begin, got {lines[0][:40]!r}")
        headers = _fields(lines[1:])
        length = headers.get("content-length", "")
        if not length.isdecimal():
            raise OSError(f"the WARC record at byte {offset} has Content-Length {length!r}, expected a whole number")
        block, intact = _block(file, int(length), block_bytes_max, headers.get("warc-block-digest", ""), offset)
        end = file.read(len(RECORD_END))
        if end != RECORD_END:
            _cut_or_damaged(RECORD_END.startswith(end), f"the end of the WARC record at byte {offset}")
        yield Record(offset, headers, block, intact)
        offset += sum(map(len, lines)) + int(length) + len(RECORD_END) + 2


def response(block: bytes, body_bytes_max: int) -> Response:
    """The HTTP response in the block of a `response` record.

    raises  ValueError for what is none, for a broken chunk, an unknown compression, or a larger body
    """
    head, end, body = block[:HEAD_BYTES_MAX].partition(b"\r\n\r\n")
    if not end:
        head, end, body = block[:HEAD_BYTES_MAX].partition(b"\n\n")
    lines = head.splitlines(keepends=True)
    words = lines[0].split(None, 2) if lines else []
    if not end or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError("no HTTP response")
    headers = _fields(lines[1:])
    body = block[len(head) + len(end) :]
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _joined_chunks(body)
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        body = _inflated(body, body_bytes_max)
    elif encoding not in ("identity", ""):
        raise ValueError(f"Content-Encoding {encoding!r} is not known")
    return Response(int(words[1]), headers, body)


def page(record: Record, bytes_max: int) -> tuple[str, None, str] | str:
    """A record as (text, no id, metadata), HTML as it is; or `reason: detail` where it is no page.

    Metadata: url, date, content_type.
    """
    if record.block is None:
        return f"record_too_large: more than {bytes_max} bytes"
    if not record.intact:
        return "wrong_digest: the block is not the one that its WARC-Block-Digest is of"
    body, content_type = record.block, record.headers.get("content-type", "")
    if record.kind == "response":
        try:
            answer = response(record.block, bytes_max)
        except ValueError as error:
            return f"bad_http: {error}"
        if answer.status != 200:
            return f"http_status: {answer.status}"
        body, content_type = answer.body, answer.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (*html.PAGE_TYPES, "text/plain"):
        return f"no_page: its Content-Type is {kind!r}"
    text = html.decoded(body, content_type)
    if text is None:
        return "unknown_encoding: no encoding fits its bytes"
    headers = record.headers
    url, date = headers.get("warc-target-uri", "").strip("<>"), headers.get("warc-date", "")
    return text, None, orjson.dumps({"url": url, "date": date, "content_type": kind}).decode()


def _head(file: BinaryIO, offset: int) -> list[bytes]:
    """The lines before the empty one, as they are; [] at the end of the file."""
    lines: list[bytes] = []
    size = 0
    while (line := file.readline(HEAD_BYTES_MAX)) != b"\r\n":
        if not line and not lines:
            return []
        size += len(line)
        if not line.endswith(b"\n") or size > HEAD_BYTES_MAX:
            _cut_or_damaged(size < HEAD_BYTES_MAX, f"the header of the WARC record at byte {offset}")
        lines.append(line)
    if not lines:
        raise OSError(f"at byte {offset} a WARC record should begin, got an empty line")
    return lines


def _cut_or_damaged(cut: bool, what: str) -> None:
    if cut:
        raise EOFError(f"the file ends inside {what}")
    raise OSError(f"{what} is not what it should be")


def _fields(lines: list[bytes]) -> dict[str, str]:
    """Header fields; a line that begins with white space goes on with the field before; of equal names the last."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text[:1] in (" ", "\t") and name:
            fields[name] += " " + text.strip()
            continue
        name, _, value = text.partition(":")
        name = name.strip().lower()
        fields[name] = value.strip()
    return fields


def _block(file: BinaryIO, length: int, limit: int, digest: str, offset: int) -> tuple[bytes | None, bool]:
    """The block, None if it is larger than `limit`, and whether it has this digest."""
    algorithm, _, expected = digest.partition(":")
    known = algorithm.lower() in DIGESTS
    running = hashlib.new(algorithm.lower(), usedforsecurity=False) if known else None
    parts: list[bytes] = []
    left = length
    while left:
        part = file.read(min(left, CHUNK_BYTES))
        if not part:
            raise EOFError(f"the file ends {left} bytes before the end of the WARC record at byte {offset}")
        left -= len(part)
        if running:
            running.update(part)
        if length <= limit:
            parts.append(part)
    intact = running is None or expected.upper() in (
        base64.b32encode(running.digest()).decode(),
        running.hexdigest().upper(),
    )
    return b"".join(parts) if length <= limit else None, intact


def _joined_chunks(body: bytes) -> bytes:
    """The body of a chunked message; one that holds no chunk sizes was joined already and stays."""
    parts: list[bytes] = []
    place = 0
    while True:
        end = body.find(b"\r\n", place, place + 1000)
        size = body[place:end].split(b";")[0].strip() if end >= 0 else b""
        try:
            count = int(size, 16)
        except ValueError:
            if not parts:
                return body
            raise ValueError(f"a chunk of the HTTP body has the size {size[:20]!r}") from None
        begin = end + 2
        if count == 0:
            return b"".join(parts)
        if begin + count > len(body):
            raise ValueError("the HTTP body ends inside a chunk")
        parts.append(body[begin : begin + count])
        place = begin + count + 2


def _inflated(body: bytes, limit: int) -> bytes:
    """The body uncompressed; one that is not compressed, in spite of its header, stays."""
    if body[:2] != b"\x1f\x8b" and body[:1] != b"\x78":
        return body
    inflater = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise ValueError(f"the HTTP body is not compressed as it says: {error}") from error
    if len(plain) > limit:
        raise ValueError(f"the HTTP body is larger than {limit} bytes when uncompressed")
    if not inflater.eof:
        raise ValueError("the compressed HTTP body ends early")
    return plain
