"""Formats in, batches of documents out. A record that is no document is rejected, its neighbours live.

    jsonl      a JSON object a line; plain, .gz (also of several members), .zst
    lines      a document a line of plain text
    text       a document a file
    csv, tsv   with a header
    parquet    any columns
    warc       web pages, as HTML; plain or .gz; records of other types, and their headers, are passed over
    datasets   a data set of the Hugging Face hub (streamed) or a local folder of one
    pydoc      the interpreter's own documentation topics

A reader demands the end of its stream: a cut file is one reject with reason `truncated_file` (or `unreadable_file`),
after the documents before the cut. Text must be UTF-8 without lone surrogates; a byte order mark at the start of a
file is dropped; lines end at "\\n" only. Records are numbered from 0 in each file, bad ones included.
"""

from __future__ import annotations

import ast
import csv
import gzip
import hashlib
import importlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from pipelines import recipe, storage, warc
from pipelines.stage import Rejects, Slice
from roots import schema

BATCH_BYTES = 4 * 2**20  # text gathered before a batch is handed on
BLOCK_BYTES = 2**20  # read at a time
PACKED_BYTES = 2**12  # of a zstd file given to the decoder at a time: they unpack to 128 MB at the very most
DAMAGE = ("truncated_file", "unreadable_file", "missing_column")  # reasons that concern a whole file

FORMATS = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".warc": "warc",
    ".wet": "warc",
}
COMPRESSED = (".gz", ".zst")
SPLITTABLE = ("jsonl", "lines")  # uncompressed files of these are cut between lines
META_CHARS_MAX = 2**20  # longer text is not parsed as an object
EXPONENT = re.compile(r"\d[eE]\+?\d")  # in metadata as orjson writes it: a float, or an integer too long for it
SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Job:
    """What a reader needs to know of its source."""

    source: str
    language: str
    options: recipe.SourceOptions
    record_bytes_max: int


def format_of(name: str) -> str | None:
    """The format that a file's ending names, compressed or not; None if it names none."""
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return FORMATS.get(Path(name).suffix.lower())


def read(job: Job, part: Slice, path: storage.Place, rejects: Rejects) -> Iterator[pa.RecordBatch]:
    """The documents of a slice of a file, in order; what is no document goes to `rejects`."""
    form = "datasets" if job.options.dataset else job.options.format or format_of(part.label) or "text"
    batch = _Batch(job, part.label, rejects)
    try:
        with storage.named(path):
            yield from _READERS[form](batch, part, path)
    except (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile) as error:
        batch.damaged("truncated_file", error)
    except (OSError, pa.ArrowInvalid, csv.Error) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # a disk, a network or a permission: nothing is known of the file
        batch.damaged("unreadable_file", error)
    yield from batch.rest()


class _Batch:
    """Gathers documents until there are enough of them for a batch."""

    def __init__(self, job: Job, file: str, rejects: Rejects):
        self.job = job
        self.file = file
        self.rejects = rejects
        self.record = 0  # number of the next record
        self._clear()

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._metas: list[str] = []
        self._bytes = 0

    def add(self, text: Any, identity: Any, meta: str, offset: int, raw: bytes) -> bool:
        """One record: a document if its text is one, else a reject. True when there is a batch to hand on."""
        if type(text) is not str:
            self.reject("null_text" if text is None else "text_not_a_string", "", offset, raw)
            return False
        if identity is None or identity == "":
            identity = f"{self.file}:{self.record}"
        self.record += 1
        self._ids.append(f"{self.job.source}/{identity}")
        self._texts.append(text)
        self._metas.append(meta)
        self._bytes += len(text)
        return self._bytes >= BATCH_BYTES

    def reject(self, reason: str, detail: str, offset: int, raw: bytes) -> None:
        self.rejects.add(self.file, self.record, offset, reason, detail, raw)
        self.record += 1

    def damaged(self, reason: str, error: Exception) -> None:
        self.reject(reason, f"{type(error).__name__}: {error}", -1, b"")

    def take(self) -> pa.RecordBatch:
        """The documents gathered so far, as a batch."""
        taken = schema.documents(self._ids, self.job.source, self.job.language, self._texts, self._metas)
        self._clear()
        return taken

    def rest(self) -> Iterator[pa.RecordBatch]:
        if self._texts:
            yield self.take()


def opened(path: storage.Place, label: str) -> BinaryIO:
    """A file's uncompressed bytes; reading past a cut raises, several members follow one another."""
    if label.endswith(COMPRESSED) and storage.size(path) == 0:
        raise EOFError("a compressed file of no bytes")
    if label.endswith(".gz"):
        return gzip.open(path.open("rb"))  # type: ignore[return-value]
    if label.endswith(".zst"):
        return io.BufferedReader(_Zstd(path), BLOCK_BYTES)
    return path.open("rb")


class _Zstd(io.RawIOBase):
    """Reads zstd frames to the end of the file, and raises where the last one is cut."""

    def __init__(self, path: storage.Place):
        self._file = path.open("rb")
        self._frame = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
        self._inside = False
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            block = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
                self._inside = False
            block = block or self._file.read(PACKED_BYTES)
            if not block:
                if self._inside:
                    raise EOFError("the file ends inside a zstd frame")
                return 0
            self._inside = True
            self._held = memoryview(self._frame.decompress(block))
            self._inside = not self._frame.eof
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


def lines(file: BinaryIO, start: int, end: int, limit: int) -> Iterator[tuple[int, bytes | None, bytes]]:
    """(offset, line, first bytes) of each line from byte `start` to `end` (-1: of the file), without its "\\n".

    The line is None where it is longer than `limit`: it is skipped without being held.
    """
    offset = start
    if start:
        file.seek(start)
    while end < 0 or offset < end:
        line = file.readline(limit + 1)
        if not line:
            if end >= 0:
                raise EOFError(f"the file ends at byte {offset}; it had {end} when the work was planned")
            return
        length, head = len(line), line[:200]
        if len(line) > limit and not line.endswith(b"\n"):
            line = None  # type: ignore[assignment]
            while rest := file.readline(BLOCK_BYTES):
                length += len(rest)
                if rest.endswith(b"\n"):
                    break
        yield offset, line.removesuffix(b"\n") if line is not None else None, head
        offset += length


def line_cuts(path: storage.Place, target: int) -> tuple[str, list[tuple[int, int, int]]]:
    """sha256 of a file, and (start, end, number of the first line) of pieces of about `target` bytes, cut at "\\n"."""
    whole = hashlib.sha256()
    cuts: list[tuple[int, int, int]] = []
    start = first = offset = number = 0
    with storage.named(path), path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            whole.update(block)
            seen = 0  # bytes of the block whose lines are counted
            while True:
                newline = block.find(b"\n", max(seen, start + target - 1 - offset))
                if newline < 0:
                    break
                number += block.count(b"\n", seen, newline + 1)
                seen = newline + 1
                cuts.append((start, offset + seen, first))
                start, first = offset + seen, number
            number += block.count(b"\n", seen)
            offset += len(block)
    if offset > start or not cuts:
        cuts.append((start, offset, first))
    return whole.hexdigest(), cuts


def _filled_lines(batch: _Batch, part: Slice, path: storage.Place) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of the lines that may hold a document; too large and blank ones are rejected here."""
    limit = batch.job.record_bytes_max
    batch.record = part.first
    with opened(path, part.label) as file:
        for offset, line, head in lines(file, part.start, part.end, limit):
            if offset == 0 and line is not None:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line is None:
                batch.reject("record_too_large", f"more than {limit} bytes", offset, head)
            elif not line.strip():
                batch.reject("blank_line", "", offset, line)
            else:
                yield offset, line


def _json_lines(batch: _Batch, part: Slice, path: storage.Place) -> Iterator[pa.RecordBatch]:
    options = batch.job.options
    for offset, line in _filled_lines(batch, part, path):
        record = _parsed(line)
        if isinstance(record, str):
            reason, _, detail = record.partition(": ")
            batch.reject(reason, detail, offset, line)
        elif options.text not in record:
            batch.reject("missing_text", f"no field '{options.text}'", offset, line)
        else:
            identity = record.get(options.id) if options.id else None
            meta = _meta(record, options)
            if EXPONENT.search(meta):  # perhaps a long integer, which only the standard library keeps
                meta = _meta(json.loads(line), options)
            if batch.add(record[options.text], identity, meta, offset, line):
                yield batch.take()


def _parsed(line: bytes) -> dict[str, Any] | str:
    """The object of a line, or `reason: detail`."""
    try:
        record = orjson.loads(line)
    except (ValueError, RecursionError) as error:
        return _why_not_json(line, error)
    return record if isinstance(record, dict) else f"not_an_object: a JSON {type(record).__name__}"


def _why_not_json(line: bytes, error: Exception) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as fault:
        return f"invalid_utf8: {fault}"
    try:  # orjson refuses a lone surrogate, the standard library lets it through
        lone = SURROGATE.search(json.dumps(json.loads(line), ensure_ascii=False))
    except (ValueError, RecursionError):
        lone = None
    return f"lone_surrogate: {error}" if lone else f"invalid_json: {error}"


def _meta(record: Mapping[str, Any], options: recipe.SourceOptions) -> str:
    """The record's metadata as one JSON object: the named columns, or `meta`, or all but text and id."""
    if options.metadata:
        chosen = {name: record[name] for name in options.metadata if name in record}
    elif isinstance(meta := _object(record.get("meta")), dict):
        chosen = meta
    else:
        chosen = {name: value for name, value in record.items() if name not in (options.text, options.id)}
    if not chosen:
        return "{}"
    try:
        return orjson.dumps(chosen, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):  # an integer beyond 64 bits
        return json.dumps(chosen, ensure_ascii=False, default=str)


def _object(meta: Any) -> Any:
    """Metadata as an object, also where it is the text of one: JSON, or a Python dict as the data sets of ROOTS have
    it. Text that is neither stays what it is, a column `meta` like any other."""
    if not isinstance(meta, str) or not meta.startswith("{") or len(meta) > META_CHARS_MAX:
        return meta
    try:
        return orjson.loads(meta)
    except ValueError:
        pass
    try:
        return ast.literal_eval(meta)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the latter two: nested too deeply
        return meta


def _text_lines(batch: _Batch, part: Slice, path: storage.Place) -> Iterator[pa.RecordBatch]:
    for offset, line in _filled_lines(batch, part, path):
        if _decoded(batch, line.removesuffix(b"\r"), "{}", offset):
            yield batch.take()


def _whole_text(batch: _Batch, part: Slice, path: storage.Place) -> Iterator[pa.RecordBatch]:
    limit = batch.job.record_bytes_max
    with opened(path, part.label) as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        batch.reject("record_too_large", f"more than {limit} bytes", 0, raw[:200])
    elif not raw:
        batch.reject("empty_file", "", 0, raw)
    else:
        meta = orjson.dumps({"path": part.label}).decode()
        if _decoded(batch, raw.removeprefix(b"\xef\xbb\xbf"), meta, 0):
            yield batch.take()


def _decoded(batch: _Batch, raw: bytes, meta: str, offset: int) -> bool:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        batch.reject("invalid_utf8", str(error), offset, raw)
        return False
    return batch.add(text, None, meta, offset, raw)


def _table_text(batch: _Batch, part: Slice, path: storage.Place, delimiter: str) -> Iterator[pa.RecordBatch]:
    options = batch.job.options
    limit = batch.job.record_bytes_max
    csv.field_size_limit(limit)
    with opened(path, part.label) as file:
        # a byte that is no UTF-8 becomes a surrogate, so that it spoils its own record only
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        header = next(rows, None)
        if header is None:
            return
        if options.text not in header:
            batch.damaged("missing_column", ValueError(f"no column '{options.text}' among {', '.join(header)[:200]}"))
            return
        for row in rows:
            raw = delimiter.join(row).encode("utf-8", "surrogateescape")
            if not row:
                batch.reject("blank_line", "", -1, raw)
            elif len(row) != len(header):
                batch.reject("wrong_column_count", f"{len(row)} fields, the header has {len(header)}", -1, raw)
            elif any(SURROGATE.search(value) for value in row):
                batch.reject("invalid_utf8", "", -1, raw)
            else:
                record = dict(zip(header, row, strict=True))
                identity = record.get(options.id) if options.id else None
                if batch.add(record[options.text], identity, _meta(record, options), -1, raw):
                    yield batch.take()


def _parquet(batch: _Batch, part: Slice, path: storage.Place) -> Iterator[pa.RecordBatch]:
    options = batch.job.options
    file = pq.ParquetFile(storage.source(path), page_checksum_verification=True)
    if options.text not in file.schema_arrow.names:
        names = ", ".join(file.schema_arrow.names)[:200]
        batch.damaged("missing_column", ValueError(f"no column '{options.text}' among {names}"))
        return
    batch.record = part.first
    groups = range(part.start, part.end if part.end >= 0 else file.num_row_groups)
    for table in file.iter_batches(256, row_groups=list(groups)):
        try:
            records = table.to_pylist()
        except UnicodeDecodeError:  # Parquet does not check its strings: find out which
            records = [_row(table, index) for index in range(table.num_rows)]
        yield from _records(batch, records)


def _row(table: pa.RecordBatch, index: int) -> dict[str, Any] | UnicodeDecodeError:
    try:
        return table.slice(index, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        return error


def _records(batch: _Batch, records: Iterable[dict[str, Any] | UnicodeDecodeError]) -> Iterator[pa.RecordBatch]:
    options = batch.job.options
    limit = batch.job.record_bytes_max
    for record in records:
        if isinstance(record, UnicodeDecodeError):
            batch.reject("invalid_utf8", str(record), -1, b"")
            continue
        text = record.get(options.text)
        if isinstance(text, str) and len(text) > limit // 4 and len(text.encode("utf-8", "surrogatepass")) > limit:
            batch.reject("record_too_large", f"more than {limit} bytes", -1, text[:200].encode())
            continue
        identity = record.get(options.id) if options.id else None
        if batch.add(text, identity, _meta(record, options), -1, b""):
            yield batch.take()


def _warc(batch: _Batch, part: Slice, path: storage.Place) -> Iterator[pa.RecordBatch]:
    limit = batch.job.record_bytes_max
    with opened(path, part.label) as file:
        for number, record in enumerate(warc.records(file, limit)):
            batch.record = number
            if record.kind not in warc.PAGE_KINDS:
                continue
            page = warc.page(record, limit)
            if isinstance(page, str):
                reason, _, detail = page.partition(": ")
                batch.reject(reason, detail, record.offset, (record.block or b"")[:200])
            elif batch.add(*page, record.offset, b""):
                yield batch.take()


def _datasets(batch: _Batch, part: Slice, path: storage.Place) -> Iterator[pa.RecordBatch]:
    """One shard (`start` of `end`) of a data set, through the `datasets` library; nothing of it is executed."""
    from pipelines import hub

    rows = hub.open_shard(batch.job.options, path, part.start, part.end)
    for record in rows:
        yield from _records(batch, [record])


def _pydoc(batch: _Batch, part: Slice, path: storage.Place) -> Iterator[pa.RecordBatch]:
    topics = importlib.import_module("pydoc_data.topics").topics
    for name in sorted(topics):
        if batch.add(topics[name], name, orjson.dumps({"topic": name}).decode(), -1, b""):
            yield batch.take()


_READERS: dict[str, Callable[[_Batch, Slice, storage.Place], Iterator[pa.RecordBatch]]] = {
    "jsonl": _json_lines,
    "lines": _text_lines,
    "text": _whole_text,
    "csv": lambda batch, part, path: _table_text(batch, part, path, ","),
    "tsv": lambda batch, part, path: _table_text(batch, part, path, "\t"),
    "parquet": _parquet,
    "warc": _warc,
    "datasets": _datasets,
    "pydoc": _pydoc,
}
