from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import manifest, sink
from roots import schema


def _documents(count: int) -> pa.RecordBatch:
    texts = [f"document {i} " * (i % 5000) for i in range(0, 2 * count, 2)]
    return schema.documents([str(i) for i in range(count)], "lm_en_x", "en", texts)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_shard_has_the_same_bytes_however_its_documents_are_batched(tmp_path: Path, batch: int) -> None:
    docs = _documents(1500)
    whole = sink.ShardWriter(tmp_path / "whole.parquet", schema.DOCUMENT)
    whole.write(docs)
    parts = sink.ShardWriter(tmp_path / "parts.parquet", schema.DOCUMENT)
    for start in range(0, len(docs), batch):
        parts.write(docs.slice(start, batch))
    groups = whole.close()
    assert len(groups) > 2
    assert parts.close() == groups
    assert manifest.file_digest(tmp_path / "whole.parquet") == manifest.file_digest(tmp_path / "parts.parquet")
    assert pq.read_table(tmp_path / "whole.parquet").to_batches()[0].schema == schema.DOCUMENT
    assert pq.read_table(tmp_path / "whole.parquet")["text"].to_pylist() == docs["text"].to_pylist()


def test_row_groups_end_with_the_document_that_fills_them(tmp_path: Path) -> None:
    texts = ["x" * (sink.ROW_GROUP_BYTES - 1), "y", "z"]
    writer = sink.ShardWriter(tmp_path / "a.parquet", schema.DOCUMENT)
    writer.write(schema.documents(["a", "b", "c"], "s", "en", texts))
    assert writer.close() == [(2, sink.ROW_GROUP_BYTES), (1, 1)]


def test_an_empty_shard_is_a_file_without_row_groups(tmp_path: Path) -> None:
    writer = sink.ShardWriter(tmp_path / "a.parquet", schema.DOCUMENT)
    assert writer.close() == []
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0


def test_a_flipped_byte_of_the_text_is_refused_when_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    writer = sink.ShardWriter(path, schema.DOCUMENT)
    writer.write(_documents(50))
    writer.close()
    text = pq.ParquetFile(path).metadata.row_group(0).column(schema.DOCUMENT.get_field_index("text"))
    data = bytearray(path.read_bytes())
    data[text.data_page_offset + text.total_compressed_size - 5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        list(sink.read_shard(path, range(1), 100))
