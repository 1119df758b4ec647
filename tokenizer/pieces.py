"""Cutting text into pieces: BLOOM's split (`spec.SPLIT`) on raw UTF-8 bytes, without a regular expression.

A piece is a run of non-separators with at most one U+0020 before it, or all that stands between two such runs. The
kernels here are what counting and encoding walk over a text with; nothing is decoded and no string is made.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from roots import kernel, utf8
from tokenizer import spec

SPACE = np.uint8(0x20)
PACKED_BYTES = 24  # pieces of up to so many bytes are compared as three numbers
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
MIX = np.uint64(0xD6E8FEB86659FD93)  # odd, no pattern
HALF, ALL, ZERO = np.uint64(32), np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0)


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Of each first byte, how long a separator that starts with it is (0: none does); one bit for each code point."""
    width, bits = np.zeros(256, np.uint8), np.zeros(0x10000, np.uint8)
    for point in spec.SEPARATORS:
        encoded = chr(point).encode()
        width[encoded[0]] = len(encoded)
        bits[point] = 1
    return width, np.packbits(bits, bitorder="little")


WIDTH, BITS = _tables()  # compiled into the kernels as constants


def digest() -> str:
    """sha256 (hex) of the split: what a table of counts must have been made with."""
    return hashlib.sha256(f"{spec.SPLIT} {spec.SEPARATORS}".encode()).hexdigest()


@kernel.inlined
def separator(data, i, end):
    """Bytes of the separator that starts at byte i < end, 0 where none does."""
    width = np.int64(WIDTH[data[i]])
    if width < 2:
        return width
    if i + width > end:
        return 0
    if width == 2:
        point = (np.int64(data[i]) & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F)
    else:
        point = (np.int64(data[i]) & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F)
    return width if BITS[point >> 3] >> (point & 7) & 1 else 0


@kernel.compiled
def piece_end(data, i, end):
    """The byte behind the piece that starts at byte i < end, where `end` ends the document."""
    width = separator(data, i, end)
    if width == 0 or (data[i] == SPACE and i + 1 < end and separator(data, i + 1, end) == 0):
        i += 1
        while i < end and separator(data, i, end) == 0:
            i += 1
        return i
    last = i
    while width > 0:
        last = i
        i += width
        width = separator(data, i, end) if i < end else 0
    # the last space goes with the word behind it
    return last if i < end and data[last] == SPACE else i


@kernel.compiled
def word(data, start, end):
    """Up to eight bytes from `start` on as a little-endian number; zeros for what lies at or behind `end`."""
    value = ZERO
    if start + 8 <= len(data):
        for k in range(8):  # the compiler makes one load of it
            value |= np.uint64(data[start + k]) << np.uint64(8 * k)
        return value if end - start >= 8 else value & (ALL >> np.uint64(64 - 8 * (end - start)))
    for k in range(min(8, end - start)):
        value |= np.uint64(data[start + k]) << np.uint64(8 * k)
    return value


@kernel.inlined
def blend(h, value):
    """A step of hashing: multiplicative, with the upper bits brought down."""
    h = (h ^ value) * GOLDEN
    return h ^ (h >> HALF)


@kernel.compiled
def packed(data, start, end):
    """A piece of at most PACKED_BYTES as three numbers, and a 64-bit hash of it."""
    size = end - start
    a = word(data, start, end)
    b = word(data, start + 8, end) if size > 8 else ZERO
    c = word(data, start + 16, end) if size > 16 else ZERO
    h = blend(blend(blend(np.uint64(size) * MIX, a), b), c) * MIX
    return a, b, c, h ^ (h >> HALF)


def cut(text: pa.StringArray) -> pa.ListArray:
    """The pieces of each document, as bytes.

    text    [docs] utf8, no nulls
    returns [docs] list of binary; end to end they are the document
    """
    data, offsets = utf8.view(text)
    first, bounds = _cut(data, offsets)
    bytes_of = pa.BinaryArray.from_buffers(
        pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(data)]
    )
    return pa.ListArray.from_arrays(pa.array(first, pa.int32()), bytes_of)


@kernel.compiled
def _cut(data, offsets):
    """Number of each document's first piece int32 [docs + 1], and where each piece starts int32 [pieces + 1]."""
    first = np.zeros(len(offsets), np.int32)
    bounds = np.empty(offsets[-1] - offsets[0] + 1, np.int32)
    pieces = 0
    for doc in range(len(offsets) - 1):
        i = offsets[doc]
        while i < offsets[doc + 1]:
            bounds[pieces] = i
            i = piece_end(data, i, offsets[doc + 1])
            pieces += 1
        first[doc + 1] = pieces
    bounds[pieces] = offsets[-1]
    return first, bounds[: pieces + 1]
