"""Personal data: e-mail addresses, IP addresses, keys and user names, found and replaced by `PI:<TAG>`.

`find` takes the candidates that `pii_kernels` and `pii_keys` propose for each tag, and chooses among them,
left to right: the earliest start first; of equal starts the longest; of equal spans the first in TAGS. A
candidate is dropped if any byte of its footprint, that is the bytes read to judge it and so its neighbours
too, is inside a chosen span or inside a placeholder that the text already held. Hence redact(redact(x)) ==
redact(x): what a second pass could propose lies with its footprint in text that the first pass left alone, so
that pass proposed and chose it.

Two presets: "roots-original" has the shapes of the original, "default" narrower ones (a Departure each).

    EMAIL       both: local@label.label...ending; quotes, brackets and Han characters end it.
                default: letters of spaced scripts, digits, marks and . _ % + - before the '@', at most 64, no
                dot last or doubled; host labels of letters, digits and '-', 253 characters in all; an ending
                of two letters or more that is no file name (icon@2x.png), cut at '-' or another script
                (gmail.com-era).
    IP_ADDRESS  default: four octets of 0 to 255 without leading zeros, in the digits of any script, not part
                of a longer name (1.2.3.4.5, lib-1.2.3.4, v1.2.3.4, 1.2.3.4.so); "version 1.2.3.4" is still
                taken for one. IPv6 as in RFC 4291 with a digit, and all eight groups, or a dotted quad, or
                two groups of which one has three characters or more with a digit: neither ::1, nor x[1::2],
                nor a::b, nor 2019::
                original: leading zeros, any IPv6 with a digit; quads that begin like dd.mm.yy are dropped.
    KEY         default: 20 or more ASCII letters and digits, perhaps joined by _ - + / and without words,
                that look random (`pii_keys._is_key` has the measures), or a known prefix (AKIA..., ghp_...)
                and a digit. A checksum or a data blob cannot be told from a key and is replaced too. Digits
                alone, dates, prices, ISBNs, versions, UUIDs and MAC addresses are not keys.
                original: alternating groups, which catches any run of 9 digits and "2019 2020 2021".
    USER        '@' and 3 or more characters. default: at most 30, with a letter, in a spaced script, no
                annotation (@param, @Override, @module.name on its own line), not followed by '/', '(', '{' or
                '@'. In source code most of what remains is still syntax: `Preset.code_tags` leaves it out.

Departures from the original in both presets: a span is replaced where it stands, not wherever its text
occurs; delimiters are not consumed, so of three IPs with single spaces between all are found; a grouped key
is followed for 8 groups and never ends in its separator; e-mail addresses have no Han characters; time
is linear.

source  BigScience data-preparation, 02_pii/bigscience_pii_detect_redact.py ("roots-original")
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from roots import kernel, pii_kernels, pii_keys, pii_rules, utf8

TAGS, PRESETS = pii_rules.TAGS, pii_rules.PRESETS
PLACEHOLDERS = tuple(f"PI:{tag}" for tag in TAGS)
BYTES_MAX = 2**31 - 1  # of one string array with 32-bit offsets


@dataclasses.dataclass(frozen=True, slots=True)
class Spans:
    """What was found in a batch, in order of (row, start); spans do not overlap.

    row int64 [spans]; start, end int64 [spans], bytes within the document; tag uint8 [spans], a place in TAGS
    """

    row: np.ndarray
    start: np.ndarray
    end: np.ndarray
    tag: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


def find(text: pa.StringArray, tags: Sequence[str] = TAGS, preset: str = "default") -> Spans:
    """The personal data in each document, as the module's docstring says.

    text    [docs] utf8, no nulls
    tags    any of TAGS; their order does not matter
    raises  ValueError for a tag or preset that does not exist
    """
    wanted = 0
    for tag in tags:
        if tag not in TAGS:
            raise ValueError(f"pii.find: no tag {tag!r}; there are {', '.join(TAGS)}")
        wanted |= 1 << TAGS.index(tag)
    rules = pii_rules.rules(preset)
    data, offsets = utf8.view(text)
    if len(data) == 0 or wanted == 0:
        return Spans(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.int64, np.uint8)))
    chosen = _choose(data, offsets, _candidates(data, offsets, rules, wanted), *_placeholders())
    starts = offsets[chosen[:, 0]].astype(np.int64)
    return Spans(chosen[:, 0], chosen[:, 1] - starts, chosen[:, 2] - starts, chosen[:, 5].astype(np.uint8))


def redact(text: pa.StringArray, spans: Spans) -> pa.StringArray:
    """The documents with each span replaced by its placeholder; `text` itself where there is none.

    raises  ValueError where the result would not fit a string array (2 GiB)
    """
    if len(spans) == 0:
        return text
    data, offsets = utf8.view(text)
    words, word_offsets = _placeholders()
    kept = int(offsets[-1]) - int(offsets[0]) - int((spans.end - spans.start).sum())
    size = kept + int(np.diff(word_offsets)[spans.tag].sum())
    if size > BYTES_MAX:
        raise ValueError(f"pii.redact: {size} bytes do not fit one array of {BYTES_MAX}; pass fewer documents at once")
    return utf8.strings(*_replace(data, offsets, *_columns(spans), words, word_offsets, size))


def counts(spans: Spans, docs: int) -> np.ndarray:
    """int32 [docs]: spans in each document."""
    return np.bincount(spans.row, minlength=docs).astype(np.int32)


def tag_counts(spans: Spans) -> dict[str, int]:
    """Spans of each tag, all four named."""
    return dict(zip(TAGS, np.bincount(spans.tag, minlength=len(TAGS)).tolist(), strict=True))


def code_point_spans(text: pa.StringArray, spans: Spans) -> pa.Table:
    """The spans as a table for people: row, start and end in code points, type, digest of the text.

    digest  first 16 hexadecimal digits of the SHA-256 of the span's UTF-8 bytes. It shows which spans are
            equal without showing them, but hides no value that can be guessed: 2^32 addresses are soon tried.
    """
    data, offsets = utf8.view(text)
    first = offsets[spans.row].astype(np.int64) if len(spans) else np.empty(0, np.int64)
    points = _code_points(data, offsets, *_columns(spans))
    pairs = zip((first + spans.start).tolist(), (first + spans.end).tolist(), strict=True)
    return pa.table(
        {
            "row": pa.array(spans.row, pa.int64()),
            "start": pa.array(points[:, 0], pa.int64()),
            "end": pa.array(points[:, 1], pa.int64()),
            "type": pa.array([TAGS[tag] for tag in spans.tag], pa.string()),
            "digest": pa.array([hashlib.sha256(data[a:b].tobytes()).hexdigest()[:16] for a, b in pairs], pa.string()),
        }
    )


def _columns(spans: Spans) -> tuple[np.ndarray, ...]:
    return spans.row, spans.start, spans.end, spans.tag


@functools.cache
def _placeholders() -> tuple[np.ndarray, np.ndarray]:
    """The bytes of PLACEHOLDERS end to end, and where each begins."""
    return pii_rules.joined([word.encode() for word in PLACEHOLDERS])


def _candidates(data: np.ndarray, offsets: np.ndarray, rules: pii_rules.Rules, wanted: int) -> np.ndarray:
    """Every candidate of the wanted tags (bit t set = tag t), the preferred first; positions in `data`."""
    found = [np.empty((0, 6), np.int64)]
    if wanted & (1 << pii_rules.EMAIL | 1 << pii_rules.USER):
        found.append(pii_kernels.at_signs(data, offsets, rules, wanted))
    if wanted & 1 << pii_rules.IP_ADDRESS:
        found.append(pii_kernels.addresses(data, offsets, rules))
    if wanted & 1 << pii_rules.KEY:
        found.append((pii_keys.opaque if rules.strict else pii_keys.grouped)(data, offsets, rules))
    every = np.concatenate(found)
    return every[np.lexsort((every[:, 5], -every[:, 2], every[:, 1], every[:, 0]))]


@kernel.compiled
def _choose(data, offsets, found, words, word_offsets):
    """The candidates that stand, of candidates in order of preference; see the module's docstring."""
    chosen, n, row, end = np.empty_like(found), 0, -1, np.int64(-1)
    for k in range(len(found)):
        if found[k, 0] != row:
            row = found[k, 0]
            end = np.int64(offsets[row]) - 1
        if end > found[k, 3]:
            continue
        first, last = max(found[k, 3], np.int64(offsets[row])), min(found[k, 4], np.int64(offsets[row + 1]))
        if _touches_placeholder(data, first, last, offsets[row], offsets[row + 1], words, word_offsets):
            continue
        for column in range(found.shape[1]):
            chosen[n, column] = found[k, column]
        n, end = n + 1, found[k, 2]
    return chosen[:n]


@kernel.compiled
def _touches_placeholder(data, first, last, lo, hi, words, word_offsets):
    """Whether a placeholder that stands in the document [lo, hi) shares a byte with [first, last)."""
    for w in range(len(word_offsets) - 1):
        size = word_offsets[w + 1] - word_offsets[w]
        for i in range(max(lo, first - size + 1), min(hi - size + 1, last)):
            k = 0
            while k < size and data[i + k] == words[word_offsets[w] + k]:
                k += 1
            if k == size:
                return True
    return False


@kernel.compiled
def _replace(data, offsets, row, start, end, tag, words, word_offsets, size):
    docs = len(offsets) - 1
    out, out_offsets = np.empty(size, np.uint8), np.zeros(docs + 1, np.int32)
    at, k = np.int64(0), 0
    for doc in range(docs):
        lo = np.int64(offsets[doc])
        p = lo
        while k < len(row) and row[k] == doc:
            kept = lo + start[k] - p
            out[at : at + kept] = data[p : p + kept]
            at += kept
            word = words[word_offsets[tag[k]] : word_offsets[tag[k] + 1]]
            out[at : at + len(word)] = word
            at += len(word)
            p, k = lo + end[k], k + 1
        kept = np.int64(offsets[doc + 1]) - p
        out[at : at + kept] = data[p : p + kept]
        at += kept
        out_offsets[doc + 1] = at
    return out, out_offsets


@kernel.compiled
def _code_points(data, offsets, row, start, end, tag):
    """int64 [spans, 2]: start and end of each span, counted in code points from the document's beginning."""
    points = np.empty((len(row), 2), np.int64)
    seen, i = 0, np.int64(0)
    for k in range(len(row)):
        lo = np.int64(offsets[row[k]])
        if k == 0 or row[k] != row[k - 1]:
            seen, i = 0, lo
        for side, stop in enumerate((lo + start[k], lo + end[k])):
            while i < stop:
                seen += (data[i] & 0xC0) != 0x80
                i += 1
            points[k, side] = seen
    return points
