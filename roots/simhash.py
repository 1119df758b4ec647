"""SimHash as ROOTS applied it to OSCAR: for comparison with the original; MinHash is what we use.

A document becomes its lower case without punctuation; its shingles are runs of six units, which are characters, or
in English what single spaces part; a shingle's hash is the first half of its MD5; bit i of the fingerprint is set
where it is in most of the hashes. Two documents are near where at most `distance_max` bits differ.

As in the original the last shingle is left out. Departure: a text of six units or fewer, which got fingerprint 0 there
and so was near to every other such text, has none here and is near to nobody; and a document is removed for one that
it is near to itself, not for any of its connected component.

source  BigScience data-preparation, 01b_oscar_cleaning_and_filtering/deduplicate/deduplicate/util.py
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import regex

from roots import clusters, kernel, shingles, utf8

WINDOW = 6  # units of a shingle; conf/*.yaml
BITS = 64
NONE = np.uint64(0)  # the fingerprint of a text without shingles
PUNCTUATION = regex.compile(r"\p{P}+")
UNITS = ("character", "space")
SPACE, TAIL, TAIL_MASK = np.uint8(0x20), np.uint8(0x80), np.uint8(0xC0)

# RFC 1321, section 3.4: of each step the shift, the word, and the integer part of 2^32 |sin(i)|
SHIFTS = (
    np.repeat([[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]], 4, axis=0).ravel().astype(np.uint32)
)
WORD_OF = np.array([(a * i + b) % 16 for a, b in ((1, 0), (5, 1), (3, 5), (7, 0)) for i in range(16)])
SINES = np.floor(np.abs(np.sin(np.arange(1, 65))) * 2**32).astype(np.uint32)
INITIAL = (np.uint32(0x67452301), np.uint32(0xEFCDAB89), np.uint32(0x98BADCFE), np.uint32(0x10325476))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Near duplicates by SimHash; the same face as `minhash.Comparison`."""

    unit: str
    distance_max: int
    blocks: int

    @property
    def bands(self) -> int:
        return len(_masks(self.blocks, self.distance_max))

    @property
    def similarity_min(self) -> float:
        return 1 - self.distance_max / BITS

    def keys(self, text: pa.StringArray) -> np.ndarray:
        """uint64 [docs, bands], see `block_keys`."""
        return block_keys(fingerprints(text, self.unit), self.blocks, self.distance_max)

    def features(self, text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
        """The fingerprints, one a document or none, and their bounds as `shingles.sets` gives them."""
        found = fingerprints(text, self.unit)
        return found[found != NONE], np.concatenate([[0], np.cumsum(found != NONE)])

    @staticmethod
    def similarity(values: np.ndarray, offsets: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """The share of equal bits of each pair of documents with fingerprints, float64 [n]."""
        differing = values[offsets[pairs[:, 0]]] ^ values[offsets[pairs[:, 1]]]
        return 1 - np.bitwise_count(differing) / BITS


def fingerprints(text: pa.StringArray, unit: str) -> np.ndarray:
    """The fingerprint of each document.

    text    [docs] utf8, no nulls;  unit  character or space
    returns uint64 [docs], NONE for a text without shingles
    raises  ValueError for another unit
    """
    if unit not in UNITS:
        raise ValueError(f"simhash: unit must be one of {', '.join(UNITS)}, got {unit!r}")
    plain = pa.array([PUNCTUATION.sub("", document.lower()) for document in text.to_pylist()], pa.string())
    return _fingerprints(*utf8.view(plain), unit == "space")


@kernel.compiled
def _fingerprints(data, offsets, by_space):
    out = np.full(len(offsets) - 1, NONE, np.uint64)
    begins = np.empty(np.max(np.diff(offsets)) + 2 if len(out) else 0, np.int64)  # of each unit; last, of none
    votes, words = np.empty(BITS, np.uint64), np.empty(16, np.uint32)
    for doc in range(len(out)):
        units = 1 if by_space else 0
        begins[0] = offsets[doc]
        for i in range(offsets[doc], offsets[doc + 1]):
            if by_space and data[i] == SPACE:
                begins[units] = i + 1
                units += 1
            elif not by_space and (data[i] & TAIL_MASK) != TAIL:
                begins[units] = i
                units += 1
        if units <= WINDOW:
            continue
        votes[:] = 0
        for first in range(units - WINDOW):
            digest = _md5(data, begins[first], begins[first + WINDOW] - by_space, words)
            for bit in range(BITS):
                votes[bit] += (digest >> np.uint64(bit)) & np.uint64(1)
        for bit in range(BITS):
            out[doc] |= np.uint64(2 * np.int64(votes[bit]) > units - WINDOW) << np.uint64(bit)
    return out


@kernel.compiled
def _md5(data, start, end, words):
    """The first eight bytes of the MD5 of data[start:end] as a big-endian number (RFC 1321); words uint32 [16]."""
    size = end - start
    length = np.uint64(8 * size)
    a0, b0, c0, d0 = INITIAL
    for block in range((size + 8) // 64 + 1):
        for w in range(16):
            word = np.uint32(0)
            for k in range(4):
                at = 64 * block + 4 * w + k
                byte = np.uint32(data[start + at]) if at < size else np.uint32(0x80 if at == size else 0)
                word |= byte << np.uint32(8 * k)
            words[w] = word
        if block == (size + 8) // 64:
            words[14], words[15] = np.uint32(length & np.uint64(0xFFFFFFFF)), np.uint32(length >> np.uint64(32))
        a, b, c, d = a0, b0, c0, d0
        for i in range(64):
            if i < 16:
                mixed = (b & c) | (~b & d)
            elif i < 32:
                mixed = (d & b) | (~d & c)
            elif i < 48:
                mixed = b ^ c ^ d
            else:
                mixed = c ^ (b | ~d)
            x = np.uint32(np.uint32(mixed + a) + np.uint32(SINES[i] + words[WORD_OF[i]]))
            shift = SHIFTS[i]
            turned = np.uint32(x << shift) | (x >> np.uint32(np.uint32(32) - shift))
            a, d, c, b = d, c, b, np.uint32(b + turned)
        a0, b0, c0, d0 = np.uint32(a0 + a), np.uint32(b0 + b), np.uint32(c0 + c), np.uint32(d0 + d)
    return np.uint64(_reversed(a0)) << np.uint64(32) | np.uint64(_reversed(b0))


@kernel.inlined
def _reversed(x):
    """The four bytes of x the other way round."""
    low, high = np.uint32(0x00FF00FF), np.uint32(0xFF00FF00)
    x = ((x << np.uint32(8)) & high) | ((x >> np.uint32(8)) & low)
    return np.uint32(x << np.uint32(16)) | np.uint32(x >> np.uint32(16))


def block_keys(found: np.ndarray, blocks: int, distance_max: int) -> np.ndarray:
    """One key for each choice of blocks - distance_max blocks of bits: near documents share at least one.

    distance_max differing bits lie in at most as many blocks, so the others are equal.
    found   uint64 [docs]
    returns uint64 [docs, choices]; clusters.NO_KEY throughout a document without fingerprint
    raises  ValueError unless 0 <= distance_max < blocks <= 64
    """
    masks = _masks(blocks, distance_max)
    places = np.arange(len(masks), dtype=np.uint64) * shingles.TOKEN_BASE
    keys = shingles.mixed((found[:, None] & masks) + places)
    return np.where(found[:, None] == NONE, clusters.NO_KEY, np.minimum(keys, clusters.NO_KEY - np.uint64(1)))


def _masks(blocks: int, distance_max: int) -> np.ndarray:
    """The bits of each choice of blocks, uint64 [choices]; blocks are as equal as can be."""
    if not 0 <= distance_max < blocks <= BITS:
        raise ValueError(
            f"simhash: distance_max must be below the number of blocks, at most {BITS}; got {distance_max} and {blocks}"
        )
    parts = np.array_split(np.arange(BITS), blocks)
    whole = [sum(1 << int(bit) for bit in part) for part in parts]
    return np.array([sum(chosen) for chosen in itertools.combinations(whole, blocks - distance_max)], np.uint64)
