"""Token shards: documents of ids in a pair of files that Megatron-LM and its descendants read.

    PREFIX.lineage.parquet    document, shard, first, tokens: which document each run of tokens is (`Lineage`)
    PREFIX.bin                the ids of all documents back to back, uint16 or int32, nothing else
    PREFIX.idx                where each document starts, all little-endian:

    offset     type       value
    0          9 bytes    "MMIDIDX" 00 00
    9          uint64     version, 1
    17         uint8      type of the ids: 1 uint8, 2 int8, 3 int16, 4 int32, 5 int64, 8 uint16 (6, 7: floats)
    18         uint64     N, sequences
    26         uint64     D, entries of the document index
    34         int32[N]   tokens of each sequence
    34 + 4N    int64[N]   offset of each sequence in PREFIX.bin, in bytes, from 0
    34 + 12N   int64[D]   0, then the number of sequences up to the end of each document; D = documents + 1

Our writer makes one sequence a document; the reader takes several. Counts and offsets are 64-bit throughout:
the tokens of one sequence are the only figure that must stay below 2^31.

source  bigscience-workshop/Megatron-DeepSpeed, megatron/data/indexed_dataset.py, MMapIndexedDataset
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roots import whole_file

MAGIC = b"MMIDIDX\0\0"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")  # magic, version, type code, N, D: 34 bytes
TYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
CODES = {np.dtype(name): code for code, name in TYPES.items()}
UINT16_VOCAB_MAX = 65_500  # a vocabulary below this is stored as uint16; best_fitting_dtype
SEQUENCE_TOKENS_MAX = 2**31 - 1
CHECK_TOKENS = 2**22  # tokens looked at in one step of `Shard.check`


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What a shard holds, for its manifest; digests are sha256 in hex."""

    documents: int
    empty_documents: int  # documents without a token, which were left out
    tokens: int  # end-of-document tokens included
    bin_bytes: int
    idx_bytes: int
    bin_sha256: str
    idx_sha256: str


def bin_path(prefix: Path) -> Path:
    """PREFIX.bin; a dot in the prefix is part of the name."""
    return prefix.with_name(f"{prefix.name}.bin")


def idx_path(prefix: Path) -> Path:
    """PREFIX.idx."""
    return prefix.with_name(f"{prefix.name}.idx")


def dtype_for(vocab_size: int) -> np.dtype:
    """The type that a vocabulary's ids are stored in: uint16 below 65,500, else int32."""
    return np.dtype("<u2") if vocab_size < UINT16_VOCAB_MAX else np.dtype("<i4")


class Writer:
    """Writes documents of ids into PREFIX.bin and PREFIX.idx, each ended by the end-of-document token.

    with shards.Writer(prefix, encoder.vocab_size, encoder.eod) as writer:
        writer.add(*encoder.encode(batch.column("text")))
        written = writer.close()

    Nothing stands under the final names before `close`, and PREFIX.idx comes last: a pair with an index is
    whole. Left without `close`, the writer removes what it wrote. A killed writer leaves `.NAME.tmp`, which
    the next one for the same prefix overwrites. Memory: 4 bytes a document, 24 in `close`.
    """

    def __init__(self, prefix: Path, vocab_size: int, eod: int):
        if not 0 <= eod < vocab_size:
            raise ValueError(f"{prefix}: end-of-document id {eod} is not in a vocabulary of {vocab_size}")
        self._prefix = prefix
        self._vocab_size = vocab_size
        self._eod = eod
        self._dtype = dtype_for(vocab_size)
        self._lengths: list[np.ndarray] = []
        self._empty = 0
        self._bin = _File(bin_path(prefix))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bin.discard()

    def add(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        """Append documents; those without a token are left out and counted.

        ids     integers [tokens], 0 <= id < vocab_size, none of them the end-of-document id
        offsets int64 [docs + 1], from 0: document i is ids[offsets[i]:offsets[i + 1]]
        raises  TypeError, ValueError where that does not hold; nothing of the call is written then
        """
        lengths = self._check(ids, offsets)
        filled = lengths > 0
        ends = offsets[1:][filled]
        self._bin.write(np.insert(ids, ends, self._eod).astype(self._dtype).data)
        self._lengths.append((lengths[filled] + 1).astype(np.int32))
        self._empty += len(lengths) - int(np.count_nonzero(filled))

    def close(self) -> Written:
        """Sync both files and give them their names."""
        lengths = np.concatenate([np.empty(0, np.int32), *self._lengths])
        doc_idx = np.arange(len(lengths) + 1, dtype=np.int64)
        return _publish(self._bin, idx_path(self._prefix), self._dtype, lengths, doc_idx, self._empty)

    def _check(self, ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Tokens of each document, int64 [docs]."""
        if ids.dtype.kind not in "iu":
            raise TypeError(f"{self._prefix}: ids must be integers, got {ids.dtype}")
        lengths = np.diff(offsets)
        if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != len(ids) or lengths.min(initial=0) < 0:
            raise ValueError(
                f"{self._prefix}: offsets must rise from 0 to the number of ids, {len(ids)}; got {_ends(offsets)}"
            )
        if lengths.max(initial=0) >= SEQUENCE_TOKENS_MAX:
            raise ValueError(
                f"{self._prefix}: document {int(lengths.argmax())} of the batch has {lengths.max()} tokens, "
                f"and the index counts to {SEQUENCE_TOKENS_MAX}; split it"
            )
        if len(ids) and not 0 <= ids.min() <= ids.max() < self._vocab_size:
            raise ValueError(
                f"{self._prefix}: ids from {ids.min()} to {ids.max()}, but the vocabulary has "
                f"{self._vocab_size}; encode with the tokenizer that the shard is for"
            )
        if np.any(ids == self._eod):
            place = int(np.searchsorted(offsets, np.flatnonzero(ids == self._eod)[0], side="right")) - 1
            raise ValueError(
                f"{self._prefix}: document {place} of the batch holds the end-of-document id {self._eod}, "
                "which would cut it in two; encode with special tokens kept as text"
            )
        return lengths


class Shard:
    """A pair of files, mapped into memory; each figure of the index is checked on opening.

    dtype    of the ids
    lengths  int32 [N] tokens of each sequence
    offsets  int64 [N] where it starts in PREFIX.bin, bytes
    doc_idx  int64 [documents + 1] first sequence of each document
    tokens   dtype [tokens] all ids
    The four arrays are read-only views of the files.

    raises   FileNotFoundError; ValueError for a file that is cut short or altered. Ids are not read here: see
             `check`, and the manifest's digests for a change that leaves valid ids.
    """

    def __init__(self, prefix: Path):
        self.prefix = prefix
        for path in (idx_path(prefix), bin_path(prefix)):
            if not path.is_file():
                raise FileNotFoundError(f"{path}: not found; a shard is a .bin and an .idx of one prefix")
        self.dtype, sequences, entries = _read_header(idx_path(prefix))
        index = np.memmap(idx_path(prefix), np.uint8, mode="r")
        self.lengths = np.frombuffer(index, "<i4", sequences, HEADER.size)
        self.offsets = np.frombuffer(index, "<i8", sequences, HEADER.size + 4 * sequences)
        self.doc_idx = np.frombuffer(index, "<i8", entries, HEADER.size + 12 * sequences)
        size = bin_path(prefix).stat().st_size
        _check_index(idx_path(prefix), self.lengths, self.offsets, self.doc_idx, self.dtype, size)
        # an empty file cannot be mapped
        self.tokens: np.ndarray = np.memmap(bin_path(prefix), self.dtype, mode="r") if size else np.empty(0, self.dtype)

    def __len__(self) -> int:
        """Documents."""
        return len(self.doc_idx) - 1

    def document(self, i: int) -> np.ndarray:
        """The ids of document i, end-of-document token included: a view of the file, dtype [tokens]."""
        if not 0 <= i < len(self):
            raise IndexError(f"{self.prefix}: document {i} of {len(self)}")
        start, end = (self._token(int(sequence)) for sequence in self.doc_idx[i : i + 2])
        return self.tokens[start:end]

    def check(self, vocab_size: int) -> None:
        """Read every id. Raises ValueError at the first that is not in 0 <= id < vocab_size."""
        for start in range(0, len(self.tokens), CHECK_TOKENS):
            part = self.tokens[start : start + CHECK_TOKENS]
            if part.min() < 0 or part.max() >= vocab_size:
                place = int(np.flatnonzero((part < 0) | (part >= vocab_size))[0])
                raise ValueError(
                    f"{bin_path(self.prefix)}: token {start + place} has the id {part[place]}, but the "
                    f"vocabulary has {vocab_size}; the file is damaged or was made with another tokenizer"
                )

    def _token(self, sequence: int) -> int:
        """Where the sequence starts, in tokens; the end of all tokens for the sequence after the last."""
        if sequence == len(self.offsets):
            return len(self.tokens)
        return int(self.offsets[sequence]) // self.dtype.itemsize


LINEAGE = pa.schema(
    [
        pa.field("document", pa.string(), nullable=False),  # its id in the corpus
        pa.field("shard", pa.dictionary(pa.int32(), pa.string()), nullable=False),  # name of the prefix
        pa.field("first", pa.int64(), nullable=False),  # number of its first token in the shard
        pa.field("tokens", pa.int32(), nullable=False),  # the end-of-document token included
    ]
)


class Lineage:
    """Writes PREFIX.lineage.parquet beside a shard: a row for each document, in the shard's order."""

    def __init__(self, prefix: Path):
        self._prefix = prefix
        self._documents: list[pa.StringArray] = [pa.array([], pa.string())]
        self._tokens: list[np.ndarray] = [np.empty(0, np.int64)]

    def add(self, documents: pa.StringArray, lengths: np.ndarray) -> None:
        """Documents that `Writer.add` got, with their tokens, the end-of-document one not counted: int [docs]."""
        filled = lengths > 0
        self._documents.append(documents.filter(pa.array(filled)))
        self._tokens.append(lengths[filled] + 1)

    def close(self) -> None:
        tokens = np.concatenate(self._tokens)
        shard = pa.DictionaryArray.from_arrays(np.zeros(len(tokens), np.int32), pa.array([self._prefix.name]))
        columns = [pa.concat_arrays(self._documents), shard, np.cumsum(tokens) - tokens, tokens.astype(np.int32)]
        pq.write_table(
            pa.table(columns, LINEAGE),
            lineage_path(self._prefix),
            compression="zstd",
            use_dictionary=["shard"],
            write_page_checksum=True,
        )


def lineage_path(prefix: Path) -> Path:
    """PREFIX.lineage.parquet."""
    return prefix.with_name(f"{prefix.name}.lineage.parquet")


def lineage(shard: Shard) -> pa.Table | None:
    """The documents of a shard, None where no file says; raises ValueError where it does not fit the index."""
    path = lineage_path(shard.prefix)
    if not path.is_file():
        return None
    table = pq.read_table(path, page_checksum_verification=True)
    starts = shard.offsets[shard.doc_idx[:-1]] // shard.dtype.itemsize
    tokens = np.add.reduceat(shard.lengths, shard.doc_idx[:-1]) if len(shard) else shard.lengths[:0]
    if not (np.array_equal(table["first"], starts) and np.array_equal(table["tokens"], tokens)):
        raise ValueError(
            f"{path}: {len(table):,} documents that are not those of {idx_path(shard.prefix)}; the two are not of one "
            "run, or one is altered: write the shard again"
        )
    return table


def trace(shard: Shard, token: int) -> tuple[int, int]:
    """The document that a token of the shard belongs to, and the token's place in it.

    raises  IndexError for a token that the shard does not have
    """
    if not 0 <= token < len(shard.tokens):
        raise IndexError(f"{shard.prefix}: token {token} of {len(shard.tokens)}")
    starts = shard.offsets[shard.doc_idx[:-1]] // shard.dtype.itemsize
    document = int(np.searchsorted(starts, token, side="right")) - 1
    return document, token - int(starts[document])


def merge(prefixes: Sequence[Path], prefix: Path) -> Written:
    """Write the documents of several shards, in the order given, as one shard.

    raises  ValueError for no shard at all, or shards of different types
    """
    shards = [Shard(part) for part in prefixes]
    if not shards:
        raise ValueError(f"{prefix}: nothing to merge; name at least one shard")
    for shard in shards:
        if shard.dtype != shards[0].dtype:
            raise ValueError(
                f"{shard.prefix}: ids are {shard.dtype}, those of {shards[0].prefix} are {shards[0].dtype}; "
                "merge shards of one tokenizer"
            )
    sequences = np.cumsum([0, *(len(shard.lengths) for shard in shards)])
    doc_idx = [shard.doc_idx[1:] + before for shard, before in zip(shards, sequences[:-1], strict=True)]
    target = _File(bin_path(prefix))
    try:
        for shard in shards:
            with bin_path(shard.prefix).open("rb") as source:
                shutil.copyfileobj(source, target, 2**20)
        lengths = np.concatenate([shard.lengths for shard in shards])
        index = np.concatenate([np.zeros(1, np.int64), *doc_idx])
        return _publish(target, idx_path(prefix), shards[0].dtype, lengths, index, 0)
    finally:
        target.discard()


def index_bytes(dtype: np.dtype, lengths: np.ndarray, doc_idx: np.ndarray) -> list[bytes]:
    """The four parts of an .idx: header, lengths, offsets, document index."""
    starts = np.zeros(len(lengths), np.int64)
    np.cumsum(lengths[:-1], dtype=np.int64, out=starts[1:])
    header = HEADER.pack(MAGIC, VERSION, CODES[dtype], len(lengths), len(doc_idx))
    return [
        header,
        lengths.astype("<i4").tobytes(),
        (starts * dtype.itemsize).astype("<i8").tobytes(),
        doc_idx.astype("<i8").tobytes(),
    ]


class _File:
    """A file under a temporary name in its own folder, digested as it is written."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.bytes = 0
        self._digest = hashlib.sha256()
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._file = self._temporary.open("wb")

    def write(self, data: bytes | memoryview) -> int:
        self._digest.update(data)
        self.bytes += memoryview(data).nbytes
        return self._file.write(data)

    def sync(self) -> str:
        """Force the bytes to the disk; returns their sha256 in hex."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()

    def rename(self) -> None:
        self._temporary.replace(self.path)

    def discard(self) -> None:
        """Remove the file if it has not got its name."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def _publish(data: _File, idx: Path, dtype: np.dtype, lengths: np.ndarray, doc_idx: np.ndarray, empty: int) -> Written:
    index = _File(idx)
    try:
        for part in index_bytes(dtype, lengths, doc_idx):
            index.write(part)
        bin_sha256, idx_sha256 = data.sync(), index.sync()
        idx.unlink(missing_ok=True)  # an older index never stands beside the new ids
        data.rename()
        index.rename()
    finally:
        index.discard()
    whole_file.sync_folder(idx.parent)
    return Written(
        documents=len(doc_idx) - 1,
        empty_documents=empty,
        tokens=data.bytes // dtype.itemsize,
        bin_bytes=data.bytes,
        idx_bytes=index.bytes,
        bin_sha256=bin_sha256,
        idx_sha256=idx_sha256,
    )


def _read_header(path: Path) -> tuple[np.dtype, int, int]:
    """Type of the ids, sequences, entries of the document index."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        raise ValueError(f"{path}: cut short, {size} bytes of a header of {HEADER.size}; write it again")
    magic, version, code, sequences, entries = HEADER.unpack(head)
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"{path}: starts with {magic!r} version {version}, expected {MAGIC!r} {VERSION}")
    if code not in TYPES:
        raise ValueError(f"{path}: type code {code} at byte 17 is none of {sorted(TYPES)}")
    expected = HEADER.size + 12 * sequences + 8 * entries
    if size != expected:
        raise ValueError(
            f"{path}: {size} bytes, but {sequences} sequences and {entries} document entries take "
            f"{expected}; the file is cut short or altered, write the shard again"
        )
    return np.dtype(TYPES[code]), sequences, entries


def _check_index(
    path: Path, lengths: np.ndarray, offsets: np.ndarray, doc_idx: np.ndarray, dtype: np.dtype, bin_bytes: int
) -> None:
    if lengths.min(initial=0) < 0:
        raise ValueError(f"{path}: sequence {int(lengths.argmin())} has {lengths.min()} tokens; it is altered")
    ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
    wrong = np.flatnonzero(offsets != ends - lengths.astype(np.int64) * dtype.itemsize)
    if len(wrong):
        raise ValueError(
            f"{path}: sequence {wrong[0]} starts at byte {offsets[wrong[0]]}, which is not where the one "
            "before it ends; the file is altered"
        )
    total = int(ends[-1]) if len(ends) else 0
    if total != bin_bytes:
        raise ValueError(
            f"{path}: its {len(lengths)} sequences take {total} bytes, the .bin has {bin_bytes}; one of the "
            "two is cut short or altered, write the shard again"
        )
    steps = np.diff(doc_idx)
    if len(doc_idx) < 1 or doc_idx[0] != 0 or doc_idx[-1] != len(lengths) or steps.min(initial=0) < 0:
        raise ValueError(
            f"{path}: the document index must rise from 0 to {len(lengths)} sequences; got {_ends(doc_idx)}; "
            "the file is altered"
        )


def _ends(values: np.ndarray) -> str:
    """First and last of an array, for an error."""
    return f"{len(values)} values" + (f", {values[0]} to {values[-1]}" if len(values) else "")
