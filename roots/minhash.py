"""MinHash signatures straight from UTF-8, and locality-sensitive hashing over them.

The values equal those of datasketch 2.0 (`MinHash`, scheme "affine32") fed with the low 32 bits of the same
shingle hashes, one for one: datasketch can read them, and is their oracle in the tests.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from roots import clusters, kernel, shingles, utf8

MAX_VALUE = np.uint32(0xFFFFFFFF)  # each value of the signature of a document without shingles
NO_BAND = clusters.NO_KEY  # each band key of such a document; never a candidate
LANES = 8  # shingles that share one pass over the permutations


def bands_and_rows(num_perm: int, threshold: float, recall_min: float) -> tuple[int, int]:
    """The most selective split of a signature into bands that still finds a pair at `threshold` often enough.

    Returned is the largest `rows` for which bands = num_perm // rows reaches recall_min in `theory`; values
    of the signature beyond bands * rows stay unused.
    raises  ValueError for a threshold or recall outside 0..1, or where even one row a band is not enough
    """
    if not (0 < threshold <= 1 and 0 < recall_min <= 1):
        raise ValueError(f"minhash: threshold and recall_min must lie in (0, 1], got {threshold} and {recall_min}")
    for rows in range(num_perm, 0, -1):
        if theory(threshold, num_perm // rows, rows) >= recall_min:
            return num_perm // rows, rows
    raise ValueError(
        f"minhash: {num_perm} permutations cannot find a pair of Jaccard {threshold} "
        f"with probability {recall_min}; raise num_perm or lower recall_min"
    )


def theory(jaccard: float | np.ndarray, bands: int, rows: int) -> float | np.ndarray:
    """The probability that two documents of that Jaccard similarity share at least one band.

    source  Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.2
    """
    return 1.0 - (1.0 - jaccard**rows) ** bands


@functools.cache
def permutations(num_perm: int, seed: int) -> np.ndarray:
    """uint32 [2, num_perm]: multipliers (odd) and summands of h -> a * h + b modulo 2^32.

    source  datasketch 2.0.0, minhash.py, MinHash._init_permutations, scheme "affine32", the same draws
    raises  ValueError if num_perm < 1
    """
    if num_perm < 1:
        raise ValueError(f"minhash: num_perm, the values in a signature, must be at least 1, got {num_perm}")
    draws = np.random.RandomState(seed)
    multipliers = draws.randint(0, 1 << 31, num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return np.stack([multipliers, draws.randint(0, 1 << 32, num_perm, dtype=np.uint32)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Near duplicates by MinHash: the keys under which documents meet, and the features that are compared then."""

    num_perm: int
    seed: int
    ngram: int
    unit: str
    bands: int
    rows: int
    similarity_min: float

    def keys(self, text: pa.StringArray) -> np.ndarray:
        """uint64 [docs, bands], see `band_keys`."""
        found = signatures(text, num_perm=self.num_perm, seed=self.seed, ngram=self.ngram, unit=self.unit)
        return band_keys(found, self.bands, self.rows)

    def features(self, text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
        """The shingle sets, see `shingles.sets`."""
        return shingles.sets(text, self.ngram, self.unit)

    @staticmethod
    def similarity(values: np.ndarray, offsets: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """The exact Jaccard similarity of pairs, see `shingles.pair_jaccard`."""
        return shingles.pair_jaccard(values, offsets, pairs)


def signatures(text: pa.StringArray, *, num_perm: int, seed: int, ngram: int, unit: str = "words") -> np.ndarray:
    """The MinHash signature of each document's set of shingles.

    text    [docs] utf8, no nulls
    returns uint32 [docs, num_perm]; every value is MAX_VALUE for a document without shingles
    raises  ValueError if ngram or num_perm < 1, or for a unit that is not in shingles.UNITS
    """
    shingles.check_ngram(ngram)
    a, b = permutations(num_perm, seed)
    data, offsets = utf8.view(text)
    return _signatures(data, offsets, shingles.folded(unit), a, b, ngram)


@kernel.compiled
def _signatures(data, offsets, table, a, b, ngram):
    docs = len(offsets) - 1
    out = np.full((docs, len(a)), MAX_VALUE, np.uint32)
    block = np.empty(shingles.BLOCK + 1, np.uint64)
    mixed = np.empty(len(block), np.uint32)
    tokens = np.empty(ngram + shingles.BLOCK, np.uint64)
    for doc in range(docs):
        i, end = np.uint64(offsets[doc]), np.uint64(offsets[doc + 1])
        seen, pending = 0, np.uint64(0)
        while i < end:
            i, seen, pending, count = shingles.fill(data, i, end, table, tokens, ngram, seen, pending, block)
            _premix(block, count, mixed)
            _lower(out[doc], a, b, mixed, count)
    return out


@kernel.compiled
def _premix(block, count, mixed):
    """The low 32 bits of each shingle hash, through MurmurHash3's fmix32 as datasketch does (`_fmix`)."""
    for k in range(count):
        x = np.uint32(block[k])
        x = np.uint32((x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        x = np.uint32((x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        mixed[k] = x ^ (x >> np.uint32(16))


@kernel.compiled
def _lower(signature, a, b, mixed, count):
    """Lower each value of the signature to the least of its permutation over mixed[:count].

    LANES shingles at a time, so that a, b and the signature are loaded once for eight products; the last
    group repeats its last shingle, which changes no minimum. The inner loop becomes vector code.
    """
    for first in range(0, count, LANES):
        last = count - 1
        h0 = mixed[first]
        h1 = mixed[min(first + 1, last)]
        h2 = mixed[min(first + 2, last)]
        h3 = mixed[min(first + 3, last)]
        h4 = mixed[min(first + 4, last)]
        h5 = mixed[min(first + 5, last)]
        h6 = mixed[min(first + 6, last)]
        h7 = mixed[min(first + 7, last)]
        for k in range(len(signature)):
            x, y = a[k], b[k]
            m0 = min(np.uint32(x * h0 + y), np.uint32(x * h1 + y))
            m1 = min(np.uint32(x * h2 + y), np.uint32(x * h3 + y))
            m2 = min(np.uint32(x * h4 + y), np.uint32(x * h5 + y))
            m3 = min(np.uint32(x * h6 + y), np.uint32(x * h7 + y))
            signature[k] = min(signature[k], min(min(m0, m1), min(m2, m3)))


def band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """One key for each band of `rows` values; two documents with an equal key are a candidate pair.

    The band's number is part of its key, so that keys of all bands may lie in one table.
    signatures uint32 [docs, num_perm]
    returns    uint64 [docs, bands]; NO_BAND throughout a document without shingles, which must match nobody
    raises     ValueError where the signature is shorter than bands * rows
    """
    if bands * rows > signatures.shape[1]:
        raise ValueError(
            f"minhash.band_keys: {bands} bands of {rows} rows need {bands * rows} values, "
            f"a signature here has {signatures.shape[1]}"
        )
    return _band_keys(signatures, bands, rows)


@kernel.compiled
def _band_keys(signatures, bands, rows):
    out = np.empty((len(signatures), bands), np.uint64)
    for doc in range(len(signatures)):
        empty = _is_empty(signatures[doc])
        for band in range(bands):
            key = shingles.mix(np.uint64(band) + shingles.TOKEN_BASE)
            for k in range(band * rows, (band + 1) * rows):
                key = shingles.mix(key ^ np.uint64(signatures[doc, k])) + shingles.SHINGLE_BASE
            out[doc, band] = NO_BAND if empty else min(key, NO_BAND - np.uint64(1))
    return out


@kernel.compiled
def _is_empty(signature):
    return np.all(signature == MAX_VALUE)


def estimate(signatures_a: np.ndarray, signatures_b: np.ndarray) -> np.ndarray:
    """The estimated Jaccard similarity of each pair of rows: the share of equal values.

    signatures_a, signatures_b uint32 [n, num_perm]
    returns float64 [n]; 0.0 where a document has no shingles, although the values of two such are equal
    """
    equal = (signatures_a == signatures_b).mean(axis=1)
    return np.where((signatures_a != MAX_VALUE).any(axis=1), equal, 0.0)
