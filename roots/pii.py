"""Personal data: found where it stands, and replaced by `PI:<TAG>` or by a pseudonym.

A byte pre-scan finds anchors (`pii_scan`); in windows around them bounded patterns propose places, and checks decide.
Of proposals that overlap the earliest start stands, then the longest, then the first in TAGS; none that touches a
placeholder of the text. What stands in a window is replaced and the window searched again, until nothing is found:
hence redact(redact(x)) == redact(x).

Two presets: "roots-original" has the shapes of the original (`pii_original`), "default" these:

    CREDENTIALS  user:password in scheme://user:password@host
    EMAIL        local@label.label...ending; the ending two letters or more and no file name (icon@2x.png)
    IBAN         a country's length, in groups or not, and ISO 7064's check
    CREDIT_CARD  a network's first digits and length, and Luhn's check
    CRYPTO       Bitcoin, Litecoin, Dogecoin and Tron with their checksums; Ethereum by its shape
    NATIONAL_ID  35 identifiers of persons (tables/national_ids.csv) by shape and check, and a word where those are weak
    MAC          six pairs of hexadecimal digits
    IP_ADDRESS   dotted quads that are no version; IPv6 of RFC 4291
    PHONE        after '+' with a country's code and length, of a shape used for nothing else, or after a word
    KEY          random-looking runs, known prefixes, what code assigns to a password, private keys (`pii_keys`)
    USER         '@' and 3 to 30 characters; no annotation. In source code an '@' is syntax: `code_tags` leaves it out

Digits are those of any script. Time is linear in the text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from roots import pii_keys, pii_network, pii_numbers, pii_original, pii_rules, pii_scan, utf8

TAGS, PRESETS = pii_rules.TAGS, pii_rules.PRESETS
BYTES_MAX = 2**31 - 1  # of one string array with 32-bit offsets
DIGEST_BYTES = 16  # of the keyed digest of a span
PSEUDONYM_CHARS = 12  # letters of 16: two of a million values are the same with probability 0.002
KEY_MIN, KEY_MAX = 16, 64  # bytes of a secret; BLAKE2b takes no more
ROUNDS_MAX = 16  # searches of one window, each for what the one before uncovered

Finder = Callable[[pii_scan.Window], Iterator[tuple[int, int]]]
FINDERS: tuple[tuple[str, int, Finder], ...] = (  # tag, the anchors it needs, where it stands in a window
    ("CREDENTIALS", pii_scan.AT, pii_network.credentials),
    ("EMAIL", pii_scan.AT, pii_network.emails),
    ("IBAN", pii_scan.NUMBER, pii_numbers.ibans),
    ("CREDIT_CARD", pii_scan.NUMBER, pii_numbers.credit_cards),
    ("CRYPTO", pii_scan.RUN, pii_numbers.crypto_addresses),
    ("NATIONAL_ID", pii_scan.NUMBER, pii_numbers.national_ids),
    ("MAC", pii_scan.HEX, pii_network.mac_addresses),
    ("IP_ADDRESS", pii_scan.NUMBER | pii_scan.HEX, pii_network.ip_addresses),
    ("PHONE", pii_scan.NUMBER, pii_numbers.phones),
    ("KEY", pii_scan.RUN, pii_keys.keys),
    ("KEY", pii_scan.SECRET, pii_keys.secrets),
    ("USER", pii_scan.AT, pii_network.users),
)
PLACEHOLDER = re.compile(rf"PI:(?:{'|'.join(TAGS)})(?::[a-p]{{{PSEUDONYM_CHARS}}})?")
LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")  # of a pseudonym: digits would be anchors


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


def find(
    text: pa.StringArray,
    tags: Sequence[str] = TAGS,
    preset: str = "default",
    pseudonyms: bool = False,
    stdnum: Sequence[str] = (),
) -> Spans:
    """The personal data in each document, as the module's docstring says.

    text        [docs] utf8, no nulls
    tags        any of TAGS; of these the preset looks for those that it has
    pseudonyms  whether `redact` will be given a key: what its longer placeholders uncover is found too
    stdnum      modules of python-stdnum that say what else is a NATIONAL_ID, e.g. "mu.nid" (`library_ids`)
    raises      ValueError for a tag, preset or module that does not exist
    """
    for tag in tags:
        if tag not in TAGS:
            raise ValueError(f"pii.find: no tag {tag!r}; there are {', '.join(TAGS)}")
    wanted = [tag for tag in pii_rules.preset(preset).tags if tag in tags]
    data, offsets = utf8.view(text)
    if len(data) == 0 or not wanted:
        return _spans([])
    original = preset == "roots-original"
    windows = pii_original.windows(text) if original else pii_scan.windows(data, offsets, users="USER" in wanted)
    library = (("NATIONAL_ID", pii_scan.NUMBER, pii_numbers.library_ids(stdnum)),) if stdnum else ()
    finders = [row for row in (pii_original.FINDERS if original else (*FINDERS, *library)) if row[0] in wanted]
    held = ":" + "a" * PSEUDONYM_CHARS if pseudonyms else ""
    return _spans([span for window in windows for span in _search(window, finders, held)])


def redact(text: pa.StringArray, spans: Spans, key: bytes = b"") -> pa.StringArray:
    """The documents with each span replaced by its placeholder, `text` itself where there is none.

    key     a secret: placeholders are then pseudonyms, PI:EMAIL:0f3c..., the same for the same value
    raises  ValueError where the result would not fit a string array (2 GiB), or the key is too short
    """
    if len(spans) == 0:
        return text
    data, offsets = utf8.view(text)
    words = _pseudonyms(data, offsets, spans, key) if key else [_placeholder(tag) for tag in spans.tag.tolist()]
    grown = np.cumsum([0, *map(len, words)]) - np.concatenate([[0], np.cumsum(spans.end - spans.start)])
    size = int(offsets[-1]) - int(offsets[0]) + int(grown[-1])
    if size > BYTES_MAX:
        raise ValueError(f"pii.redact: {size} bytes do not fit one array of {BYTES_MAX}; pass fewer documents at once")
    pieces, last, raw = [], int(offsets[0]), data.data
    for start, end, word in zip(*_places(offsets, spans), words, strict=True):
        pieces += [raw[last:start], memoryview(word)]
        last = end
    joined = np.frombuffer(b"".join([*pieces, raw[last : int(offsets[-1])]]), np.uint8)
    before = np.searchsorted(spans.row, np.arange(len(offsets)))  # spans before each offset
    return utf8.strings(joined, (offsets - offsets[0] + grown[before]).astype(np.int32))


def counts(spans: Spans, docs: int) -> np.ndarray:
    """int32 [docs]: spans in each document."""
    return np.bincount(spans.row, minlength=docs).astype(np.int32)


def tag_counts(spans: Spans) -> dict[str, int]:
    """Spans of each tag that was found, in the order of TAGS."""
    numbers = np.bincount(spans.tag, minlength=len(TAGS)).tolist()
    return {tag: number for tag, number in zip(TAGS, numbers, strict=True) if number}


def code_point_spans(text: pa.StringArray, spans: Spans, key: bytes = b"") -> pa.Table:
    """The spans as a table for people: row, start and end in code points, type, digest of the text.

    key     a secret, at least KEY_MIN bytes; without one there is no digest, since one that anybody can compute hides
            no value that can be guessed: 2^32 addresses are soon tried
    digest  32 hexadecimal digits of BLAKE2b under the key, of the type and the span's UTF-8 bytes; null without a key.
            It shows which spans are equal without showing them.
    raises  ValueError for a key that is too short
    """
    data, offsets = utf8.view(text)
    points = _code_points(data, offsets, spans)
    digests = [_digest(tag, value, key) for tag, value in _values(data, offsets, spans)] if key else [None] * len(spans)
    return pa.table(
        {
            "row": pa.array(spans.row, pa.int64()),
            "start": pa.array(points[:, 0], pa.int64()),
            "end": pa.array(points[:, 1], pa.int64()),
            "type": pa.array([TAGS[tag] for tag in spans.tag], pa.string()),
            "digest": pa.array(digests, pa.string()),
        }
    )


def _placeholder(tag: int) -> bytes:
    return f"PI:{TAGS[tag]}".encode()


def _pseudonyms(data: np.ndarray, offsets: np.ndarray, spans: Spans, key: bytes) -> list[bytes]:
    digests = ((tag, _digest(tag, value, key)) for tag, value in _values(data, offsets, spans))
    return [f"PI:{TAGS[tag]}:{digest[:PSEUDONYM_CHARS].translate(LETTERS)}".encode() for tag, digest in digests]


def _places(offsets: np.ndarray, spans: Spans) -> tuple[list[int], list[int]]:
    """Where each span begins and ends in the bytes of all documents."""
    first = offsets[spans.row].astype(np.int64)
    return (first + spans.start).tolist(), (first + spans.end).tolist()


def _values(data: np.ndarray, offsets: np.ndarray, spans: Spans) -> Iterator[tuple[int, bytes]]:
    """Type and text of each span, letters of an e-mail address small, since both name one person."""
    for tag, a, b in zip(spans.tag.tolist(), *_places(offsets, spans), strict=True):
        value = data[a:b].tobytes()
        yield tag, value.lower() if TAGS[tag] == "EMAIL" else value


def _digest(tag: int, value: bytes, key: bytes) -> str:
    if not KEY_MIN <= len(key) <= KEY_MAX:
        raise ValueError(f"pii: the key has {len(key)} bytes; expected {KEY_MIN} to {KEY_MAX} random ones")
    return hashlib.blake2b(value, key=key, person=TAGS[tag].encode(), digest_size=DIGEST_BYTES).hexdigest()


def _search(window: pii_scan.Window, finders: Sequence[tuple[str, int, Finder]], held: str) -> list[tuple[int, ...]]:
    """What stands in a window: row, start and end in bytes of the document, tag.

    held  what a placeholder has behind its tag
    """
    done: list[tuple[int, int, int]] = []  # start, end in the window as it was, tag
    now = window
    for _ in range(ROUNDS_MAX):
        fresh = _chosen(now, finders)
        if not fresh:
            break
        done = sorted(done + _as_before(fresh, done, held))
        now = dataclasses.replace(window, text=_replaced(window.text, done, held))
    places = window.bytes_at(place for span in done for place in span[:2])
    return [(window.row, next(places), next(places), tag) for _, _, tag in done]


def _chosen(window: pii_scan.Window, finders: Sequence[tuple[str, int, Finder]]) -> list[tuple[int, int, int]]:
    """Of what the finders propose what stands: start, end, tag; places are code points of the window."""
    proposed = [
        (start, -end, TAGS.index(tag))
        for tag, kinds, finder in finders
        if window.kinds & kinds
        for start, end in finder(window)
        if (start or window.begins) and (end < len(window.text) or window.ends)
    ]
    if not proposed:
        return []
    chosen, done = [], 0
    placeholders = (found.span() for found in PLACEHOLDER.finditer(window.text))
    taken = next(placeholders, None)
    for start, minus_end, tag in sorted(proposed):
        while taken and taken[1] <= start:
            taken = next(placeholders, None)
        if start >= done and not (taken and taken[0] < -minus_end):
            chosen.append((start, -minus_end, tag))
            done = -minus_end
    return chosen


def _replaced(text: str, spans: Sequence[tuple[int, int, int]], held: str) -> str:
    parts, last = [], 0
    for start, end, tag in spans:
        parts += [text[last:start], f"PI:{TAGS[tag]}{held}"]
        last = end
    return "".join([*parts, text[last:]])


def _as_before(
    fresh: Sequence[tuple[int, int, int]], done: Sequence[tuple[int, int, int]], held: str
) -> list[tuple[int, int, int]]:
    """Spans of a window in which `done` was replaced, in places of the window as it was."""
    found, grown, rest = [], 0, list(done[::-1])
    for start, end, tag in fresh:
        while rest and rest[-1][0] + grown < start:
            old_start, old_end, old_tag = rest.pop()
            grown += len(f"PI:{TAGS[old_tag]}{held}") - (old_end - old_start)
        found.append((start - grown, end - grown, tag))
    return found


def _spans(rows: Sequence[tuple[int, ...]]) -> Spans:
    table = np.array(rows, np.int64).reshape(len(rows), 4)
    return Spans(table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(np.uint8))


def _code_points(data: np.ndarray, offsets: np.ndarray, spans: Spans) -> np.ndarray:
    """int64 [spans, 2]: start and end of each span, counted in code points from the document's beginning."""
    points = np.empty((len(spans), 2), np.int64)
    row, seen, byte = -1, 0, 0
    for k, (at, *places) in enumerate(zip(spans.row.tolist(), *_places(offsets, spans), strict=True)):
        if at != row:
            row, seen, byte = at, 0, int(offsets[at])
        for side, place in enumerate(places):
            seen += int(np.count_nonzero((data[byte:place] & 0xC0) != 0x80))
            points[k, side], byte = seen, place
    return points
