"""Common Crawl: which captures of an address its index knows, and their records by byte range, as WARC files.

The index (one for each crawl, e.g. CC-MAIN-2021-04) gives for each capture a file, an offset and a length; the bytes
there are one gzip member with one WARC record. `fetch` writes members end to end, so that its files are ordinary
.warc.gz, each record checked: its range, its length, its gzip checksum, its WARC record to the end, its digest and its
address. A request that fails is tried again, later and later; a file that is there stays, one that was begun goes on
after its last whole record.
source  index.commoncrawl.org (pywb CDX server API); data-preparation, sourcing/cc_pseudo_crawl
"""

from __future__ import annotations

import http.client
import io
import random
import re
import time
import urllib.parse
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from pipelines import manifest, stage, storage, warc
from roots import whole_file

INDEX = "https://index.commoncrawl.org"
DATA = "https://data.commoncrawl.org"
AGENT = "bloom-roots"
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # a server that may answer later
RECORD_BYTES_MAX = 2**28  # of a record in the index, and uncompressed; Common Crawl cuts pages at 1 MiB, 5 since 2025
INDEX_BYTES_MAX = 2**28  # of a page of the index
PART_RECORDS = 1000  # of an output file
BLOCK_BYTES = 2**16
UNFINISHED = ".part"  # ending of a file that is being written
FIELDS = ("url", "timestamp", "filename", "offset", "length", "status", "mime", "digest")
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server is waited for.

    timeout     seconds without a byte;  bytes_per_second_min  slower than this, over a whole request and the timeout,
                is a stall;  attempts  of a request;  wait, wait_max  seconds before the second attempt, doubled for
                each further one up to the latter, plus up to as much again so that clients do not come in step
    """

    timeout: float = 30.0
    bytes_per_second_min: float = 1000.0
    attempts: int = 8
    wait: float = 1.0
    wait_max: float = 120.0


class Refused(ValueError):
    """The server's answer is final, or its last attempt failed too; the message says what it said."""


class _Transient(Exception):
    """An attempt failed and may go better later, `after` seconds from now if the server said so."""

    def __init__(self, message: str, after: float = 0.0):
        super().__init__(message)
        self.after = after


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Where the record of one page lies."""

    url: str
    timestamp: str
    filename: str
    offset: int
    length: int

    @classmethod
    def of(cls, line: bytes, where: str) -> Capture:
        """A capture from a line of the index, or of a file that `lookup` wrote; raises ValueError."""
        try:
            value = orjson.loads(line)
            capture = cls(
                url=str(value["url"]),
                timestamp=str(value["timestamp"]),
                filename=str(value["filename"]),
                offset=int(value["offset"]),
                length=int(value["length"]),
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{where}: expected a JSON object with {', '.join(FIELDS[:5])}, got {line[:100]!r} "
                f"({type(error).__name__}: {error})"
            ) from error
        if not 0 < capture.length <= RECORD_BYTES_MAX or capture.offset < 0:
            raise ValueError(f"{where}: offset {capture.offset} and length {capture.length} are no place in a file")
        return capture


def lookup(
    url: str, crawls: Iterable[str], index: str = INDEX, patience: Patience | None = None, match: str = "prefix"
) -> list[Capture]:
    """The latest capture of each address that begins with `url`, in order of address; pages that answered 200 only.

    match   prefix, exact, host or domain, as the index takes it
    raises  Refused where the index does not answer; [] where it knows no such address
    """
    client = Client(patience or Patience())
    latest: dict[str, Capture] = {}
    for crawl in crawls:
        for capture in _captures(client, f"{index}/{crawl}-index", url, match):
            known = latest.get(capture.url)
            if known is None or (known.timestamp, known.filename) < (capture.timestamp, capture.filename):
                latest[capture.url] = capture
    return [latest[address] for address in sorted(latest)]


def _captures(client: Client, base: str, url: str, match: str) -> Iterator[Capture]:
    """What one crawl's index has of an address, page by page."""
    query = {"url": url, "matchType": match, "output": "json", "filter": "=status:200", "fl": ",".join(FIELDS)}
    try:
        answer = client.get(f"{base}?{urllib.parse.urlencode({**query, 'showNumPages': 'true'})}")
    except NotThere:
        return
    try:
        count = int(orjson.loads(answer)["pages"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Refused(f"{base}: expected the number of pages, got {answer[:100]!r}") from error
    for page in range(count):
        where = f"{base}?{urllib.parse.urlencode({**query, 'page': page})}"
        try:
            lines = client.get(where).splitlines()
        except NotThere:  # a page on which nothing passes the filter
            continue
        for line in lines:
            yield Capture.of(line, where)


def read_captures(path: Path) -> list[Capture]:
    """The captures of a file of JSON lines."""
    return [
        Capture.of(line, f"{path} line {number}")
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if line.strip()
    ]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a download: records in files, files that were there already, why records were not to be had."""

    records: int = 0
    kept_files: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Fetched) -> Fetched:
        return Fetched(self.records + other.records, self.kept_files + other.kept_files, self.failed + other.failed)


def fetch(
    captures: list[Capture], output: Path, data: str = DATA, patience: Patience | None = None, connections: int = 1
) -> Fetched:
    """The records of captures as output/part-NNNNN.warc.gz, a thousand each, in their order.

    Beside each file stands a .failed with the captures that were not to be had and why, if there are any.
    The same call again fetches what is missing.

    raises  stage.StageFailed where no record was to be had
    """
    output.mkdir(parents=True, exist_ok=True)
    parts = [captures[i : i + PART_RECORDS] for i in range(0, len(captures), PART_RECORDS)]

    def one(number: int) -> Fetched:
        return _fetch_part(parts[number], output / f"part-{number:05d}.warc.gz", data, patience or Patience())

    with ThreadPoolExecutor(connections) as pool:
        got = sum(pool.map(one, range(len(parts))), Fetched())
    if got.failed and not got.records:
        reason, count = got.failed.most_common(1)[0]
        raise stage.StageFailed(
            f"none of {got.failed.total():,} records was to be had, {count:,} of them for: {reason}; {output}/*.failed "
            "says more. Choose another --output to try again"
        )
    return got


def _fetch_part(captures: list[Capture], path: Path, data: str, patience: Patience) -> Fetched:
    """One file. Until it is whole its name ends in .part; a hidden journal says what became of each capture."""
    unfinished, journal = path.with_name(path.name + UNFINISHED), path.with_name(f".{path.name}.journal")
    wanted = manifest.digest([[c.url, c.filename, c.offset, c.length] for c in captures])
    done = _journal(journal, wanted)
    if path.exists():
        if len(done) < len(captures):
            raise ValueError(f"{path}: not of this download, {journal.name} is missing; choose another --output")
        return Fetched(kept_files=1)
    size = sum(capture.length for capture, failure in zip(captures, done, strict=False) if not failure)
    storage.write(journal, b"".join(line + b"\n" for line in (wanted.encode(), *map(orjson.dumps, done))))
    with unfinished.open("ab") as file, journal.open("ab") as log:
        if file.tell() < size:
            raise ValueError(f"{unfinished}: {file.tell()} bytes, its journal says {size}; remove both and fetch again")
        file.truncate(size)
        for capture in captures[len(done) :]:
            failure = ""
            try:
                file.write(Client(patience).record(f"{data}/{capture.filename}", capture))
            except Refused as error:
                failure = str(error)
            file.flush()
            log.write(orjson.dumps(failure) + b"\n")
            log.flush()
            done.append(failure)
        whole_file.sync_file(unfinished)
    failed = [(capture, failure) for capture, failure in zip(captures, done, strict=True) if failure]
    lines = [orjson.dumps({"url": c.url, "filename": c.filename, "offset": c.offset, "reason": f}) for c, f in failed]
    if lines:
        storage.write(path.with_name(path.name + ".failed"), b"\n".join(lines) + b"\n")
    unfinished.replace(path)
    whole_file.sync_folder(path.parent)
    reasons = Counter(failure.rpartition(": ")[2] for _, failure in failed)
    return Fetched(records=len(captures) - len(failed), failed=reasons)


def _journal(path: Path, wanted: str) -> list[str]:
    """What became of the first captures of a file: "" or why it failed; a line that was cut off does not count.

    raises  ValueError where the journal is of other captures
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    if lines and lines[0].decode() != wanted:
        raise ValueError(f"{path}: of other captures; choose another --output, or remove it and the file of its name")
    return [str(orjson.loads(line)) for line in lines[1:]]


class NotThere(Refused):
    """404: the server knows no such thing."""


class Client:
    """Asks a server, patiently."""

    def __init__(self, patience: Patience, sleep: Callable[[float], None] = time.sleep):
        self._patience = patience
        self._sleep = sleep

    def get(self, url: str) -> bytes:
        """The whole answer to a request."""
        return self._patiently(url, lambda: b"".join(self._answer(url, {}, 200, INDEX_BYTES_MAX)))

    def record(self, url: str, capture: Capture) -> bytes:
        """The gzip member of a capture; bytes that came before a break are not asked for again."""
        got = bytearray()

        def go_on() -> bytes:
            first, last = capture.offset + len(got), capture.offset + capture.length - 1
            for block in self._answer(url, {"Range": f"bytes={first}-{last}"}, 206, last - first + 1, (first, last)):
                got.extend(block)
            try:
                _check(bytes(got), capture)
            except (EOFError, OSError, zlib.error, ValueError) as error:
                got.clear()
                raise _Transient(f"not the record that the index promises ({error})") from error
            return bytes(got)

        return self._patiently(url, go_on)

    def _patiently(self, url: str, ask: Callable[[], bytes]) -> bytes:
        wait = self._patience.wait
        spread = random.Random(url)
        for attempt in range(1, self._patience.attempts + 1):
            try:
                return ask()
            except (_Transient, OSError, http.client.HTTPException) as error:
                if attempt == self._patience.attempts:
                    raise Refused(f"{url}: {attempt} attempts failed, the last with: {_said(error)}") from error
                after = error.after if isinstance(error, _Transient) else 0.0
                self._sleep(max(after, wait * (1 + spread.random())))
                wait = min(2 * wait, self._patience.wait_max)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _answer(
        self, url: str, headers: dict[str, str], expected: int, limit: int, span: tuple[int, int] | None = None
    ) -> Iterator[bytes]:
        """The blocks of the body, which must be complete, come fast enough, and be what was asked for."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
            raise Refused(f"{url!r} is no address of a web server; expected http(s)://HOST/PATH")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=self._patience.timeout)
        started = time.monotonic()
        try:
            place = f"{parts.path}{'?' * bool(parts.query)}{parts.query}"
            connection.request("GET", place, headers={"User-Agent": AGENT, "Accept-Encoding": "identity", **headers})
            answer = connection.getresponse()
            _right_answer(url, answer, expected, span)
            size = 0
            while block := answer.read1(BLOCK_BYTES):
                size += len(block)
                if size > limit:
                    raise _Transient(f"more than the {limit} bytes that were asked for")
                yield block
                slowest = self._patience.timeout + size / self._patience.bytes_per_second_min
                if time.monotonic() - started > slowest:
                    raise _Transient(f"{size} bytes in {slowest:.0f} s, a stall")
            declared = answer.getheader("Content-Length", "")
            wanted = span[1] - span[0] + 1 if span else int(declared) if declared.isdecimal() else size
            if size != wanted:
                raise _Transient(f"the answer broke off after {size} of {wanted} bytes")
        finally:
            connection.close()


def _right_answer(url: str, answer: http.client.HTTPResponse, expected: int, span: tuple[int, int] | None) -> None:
    if answer.status in TRANSIENT:
        after = answer.getheader("Retry-After", "")
        raise _Transient(f"status {answer.status}", float(after) if after.isdecimal() else 0.0)
    if answer.status == 404:
        raise NotThere(f"{url}: status 404")
    if answer.status == 200 and expected == 206:
        raise Refused(f"{url}: the server sends the whole file instead of a range")
    if answer.status != expected:
        raise Refused(f"{url}: status {answer.status}")
    if span is None:
        return
    told = CONTENT_RANGE.fullmatch(answer.getheader("Content-Range", ""))
    if told is None or (int(told[1]), int(told[2])) != span:
        raise _Transient(
            f"bytes {span[0]}-{span[1]} asked for, Content-Range {answer.getheader('Content-Range')!r} sent"
        )


def _check(member: bytes, capture: Capture) -> None:
    """Raises where the bytes are not one gzip member with one whole WARC record of the capture's address."""
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = inflater.decompress(member, RECORD_BYTES_MAX)
    if not inflater.eof or inflater.unused_data:
        raise ValueError("not one whole gzip member")
    found = list(warc.records(io.BytesIO(plain), RECORD_BYTES_MAX))
    if len(found) != 1 or not found[0].intact:
        raise ValueError(f"{len(found)} WARC records, expected one with the right digest")
    address = found[0].headers.get("warc-target-uri", "").strip("<>")
    if address != capture.url:
        raise ValueError(f"the record of {address}")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def write_captures(path: Path, captures: Iterable[Capture]) -> None:
    """A file of JSON lines that `read_captures` reads."""
    lines = [
        orjson.dumps(
            {"url": c.url, "timestamp": c.timestamp, "filename": c.filename, "offset": c.offset, "length": c.length}
        )
        for c in captures
    ]
    storage.write(path, b"".join(line + b"\n" for line in lines))
