"""Documents into one Parquet shard whose bytes do not depend on how they arrived.

Row groups are cut after the document that fills `ROW_GROUP_BYTES` of text, wherever the batches happened to end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage

ROW_GROUP_BYTES = 8 * 2**20  # bytes of text; 4-16 MB are good units of splitting and of reading
ROW_GROUP_DOCUMENTS = 2**16  # so that documents without text fill a row group too
# 458 MB of documents: lz4 takes 2.5 s for 205 MB, zstd level 1 3.3 s for 138 MB, level 3 4.6 s for 121 MB (CPU,
# benchmarks/LOG.md); level 9 is four times as slow as 3 for 4 % less
PASSING = ("lz4", None)  # between stages: codec, level
PUBLISHED = ("zstd", 3)  # for keeping
DICTIONARY_COLUMNS = ("source", "language", "lang_label")


def text_bytes(batch: pa.RecordBatch) -> np.ndarray:
    """UTF-8 bytes of each document's text, int64 [docs]."""
    text = batch.column("text")
    if len(text) == 0:
        return np.zeros(0, np.int64)
    offsets = np.frombuffer(text.buffers()[1], np.int32, count=len(text) + 1, offset=4 * text.offset)
    return np.diff(offsets).astype(np.int64)


class ShardWriter:
    """Writes batches into a Parquet file; `close` returns the row groups as (documents, text bytes) pairs."""

    def __init__(self, path: Path, schema: pa.Schema, packing: tuple[str, int | None] = PASSING):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._schema = schema
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression=packing[0],
            compression_level=packing[1],
            use_dictionary=[name for name in DICTIONARY_COLUMNS if name in schema.names],
            write_statistics=False,  # no reader of ours asks, and the text's would hold the text
            write_page_checksum=True,
        )
        self._pending: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0
        self.row_groups: list[tuple[int, int]] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Add documents, in order."""
        while batch.num_rows:
            filled = self._bytes + np.cumsum(text_bytes(batch))
            full = int(np.searchsorted(filled, ROW_GROUP_BYTES)) + 1
            cut = min(full, ROW_GROUP_DOCUMENTS - self._rows, batch.num_rows)
            self._pending.append(batch.slice(0, cut))
            self._rows += cut
            self._bytes = int(filled[cut - 1])
            if self._bytes >= ROW_GROUP_BYTES or self._rows >= ROW_GROUP_DOCUMENTS:
                self._flush()
            batch = batch.slice(cut)

    def close(self) -> list[tuple[int, int]]:
        """Write what is left and end the file."""
        if self._pending:
            self._flush()
        self._writer.close()
        return self.row_groups

    def _flush(self) -> None:
        # one chunk per row group: Parquet cuts pages at the ends of chunks, and pages are bytes
        table = pa.Table.from_batches(self._pending, self._schema).combine_chunks()
        self._writer.write_table(table, row_group_size=self._rows)
        self.row_groups.append((self._rows, self._bytes))
        self._pending, self._rows, self._bytes = [], 0, 0


def read_shard(
    path: storage.Place, row_groups: range, batch_docs: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The documents of some row groups of a shard, in order, as batches of at most `batch_docs` documents.

    Page checksums are verified; a flipped byte raises OSError.
    """
    with storage.named(path):
        file = pq.ParquetFile(storage.source(path), page_checksum_verification=True, pre_buffer=False)
        yield from file.iter_batches(batch_docs, row_groups=list(row_groups), columns=columns)
