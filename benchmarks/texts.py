"""Texts for the benchmarks: the documents below a folder, one of each file in turn."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import zstandard

BATCH_DOCUMENTS = 256


def documents(folder: Path, limit_bytes: float = float("inf"), name: str = "") -> Iterator[str]:
    """Field `text` of *.jsonl.gz and *.jsonl.zst below a folder until the limit is filled, of paths with `name`."""
    paths = [path for path in sorted(folder.rglob("*.jsonl.*")) if name in str(path.relative_to(folder))]
    files = [_lines(path) for path in paths]
    while files:
        for file in list(files):
            text = next(file, None)
            if text is None:
                files.remove(file)
            elif text:
                yield text
                limit_bytes -= len(text.encode())
                if limit_bytes <= 0:
                    return


def batches(texts: Iterator[str]) -> Iterator[pa.StringArray]:
    """The same as Arrow arrays."""
    while batch := list(itertools.islice(texts, BATCH_DOCUMENTS)):
        yield pa.array(batch, pa.string())


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as raw:
        stream = (
            gzip.GzipFile(fileobj=raw)
            if path.suffix == ".gz"
            else zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        )
        for line in io.TextIOWrapper(stream, "utf-8"):
            yield orjson.loads(line).get("text") or ""
