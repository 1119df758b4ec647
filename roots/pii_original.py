"""The shapes of the original: preset "roots-original" of `pii`.

    EMAIL       local@host.ending of anything but white space, Han and @?,!;:'\")( ; the ending a letter and more
    USER        '@' and 3 or more characters, after one of those that part words
    IP_ADDRESS  four octets, leading zeros allowed, unless they begin like dd.mm.yy; any IPv6 with a digit
    KEY         four or more groups of letters and marks in turn, or three or more groups of digits and capitals: that
                catches any run of 9 digits and "2019 2020 2021"

Departures: a span is replaced where it stands, not wherever its text occurs; delimiters are not consumed, so of three
IPs with single spaces between all are found; a grouped key is followed for 8 groups and never ends in its separator;
e-mail addresses have no Han characters; tags have an order; time is linear.

source  BigScience data-preparation, 02_pii/bigscience_pii_detect_redact.py
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from roots import kernel, pii_network, pii_rules, utf8
from roots.pii_scan import Window

PARTING = "@?,!;:'\")("
GROUPS_MAX = 8  # separated groups followed; the original had no limit, and took more than linear time
COLON, DOT, EQUALS = 58, 46, 61  # ASCII


def windows(text: pa.StringArray) -> Iterator[Window]:
    """Each document whole, its digits those of ASCII."""
    for row, document in enumerate(text.to_pylist()):
        plain = document if document.isascii() else document.translate(_ascii_digits())
        yield Window(row, 0, document, plain, kinds=1, begins=True, ends=True)


@functools.cache
def _ascii_digits() -> dict[int, int]:
    values = pii_rules.digit_values()
    return {code: 48 + int(values[code]) for code in np.flatnonzero(values >= 0).tolist()}


@functools.cache
def _part() -> str:
    """The inside of a character class: what an address is made of, besides dots."""
    return pii_rules.characters(~pii_rules.members(f"{pii_rules.WHITESPACE} {pii_rules.HAN}", f"{PARTING}."))


@functools.cache
def _pattern(name: str) -> re.Pattern[str]:
    part, octet = f"[{_part()}]", r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
    white = pii_rules.characters(pii_rules.members(pii_rules.WHITESPACE))
    edge = pii_rules.characters(pii_rules.members(f"{pii_rules.WHITESPACE} {pii_rules.HAN}", PARTING))
    word = pii_rules.characters(utf8.kinds() != utf8.SEPARATOR)
    letter = pii_rules.characters(
        (utf8.kinds() != utf8.SEPARATOR) & (pii_rules.digit_values() < 0) & ~pii_rules.members("", "_")
    )
    return re.compile(
        {
            "email": rf"(?<!{part})(?<!{part}\.)\.?{part}++(?:\.{part}++)*+@(?P<host>{part}++(?:\.{part}++)+)",
            "ending": rf"[{letter}][{word}]+",
            "user": rf"(?:(?<=[{edge}])|(?<!.))@[^{white}@,?!;:'\")(]{{3,}}+",
            "ipv4": rf"(?<!{part})(?P<quad>{octet}\.{octet}\.{octet}\.{octet})(?!{part})",
        }[name],
        re.DOTALL,
    )


def _emails(window: Window) -> Iterator[tuple[int, int]]:
    text = window.text
    if "@" not in text:
        return
    for found in _pattern("email").finditer(text):
        labels = found["host"].split(".")
        while len(labels) > 1 and not _pattern("ending").fullmatch(labels[-1]):
            labels.pop()
        if len(labels) > 1:
            yield found.start(), found.start("host") + len(".".join(labels))


def _users(window: Window) -> Iterator[tuple[int, int]]:
    if "@" in window.text:
        yield from (found.span() for found in _pattern("user").finditer(window.text))


def _addresses(window: Window) -> Iterator[tuple[int, int]]:
    text = window.text
    found = [m.span() for m in _pattern("ipv4").finditer(text) if not re.match(r"[0-3]\d\.[0-3]\d\.\d\d\.", m[0])]
    if "::" in text or text.count(":") > 5:
        found += pii_network.ipv6(text, evident=False)
    yield from sorted(found)


# Keys: alternating groups of letters and digits


class _Tables(NamedTuple):
    edges: np.ndarray  # bool [0x110000]: stands next to a key
    digits: np.ndarray  # bool [0x110000]
    dashes: np.ndarray  # bool [0x110000]


@functools.cache
def _tables() -> _Tables:
    edges = pii_rules.members(f"{pii_rules.WHITESPACE} {pii_rules.HAN}", f"{PARTING}.")
    return _Tables(edges, pii_rules.digit_values() >= 0, pii_rules.members(pii_rules.DASHES))


def _keys(window: Window) -> Iterator[tuple[int, int]]:
    data = np.frombuffer(window.text.encode(), np.uint8)
    starts = np.cumsum((data & 0xC0) != 0x80)  # code points up to each byte
    out = np.empty((len(data) + 2, 2), np.int64)  # two at most at each place where a group may begin
    for start, end in out[: _grouped(data, *_tables(), out)].tolist():
        yield int(starts[start]) - 1, int(starts[end - 1])


FINDERS = (("EMAIL", 1, _emails), ("IP_ADDRESS", 1, _addresses), ("KEY", 1, _keys), ("USER", 1, _users))


@kernel.compiled
def _grouped(data, edges, digits, dashes, out):
    """Write the start and end of every proposal to `out`; returns how many there are."""
    n, lo, hi = 0, 0, len(data)
    i, colon = _next_start(data, lo, lo, hi, edges, digits, dashes)
    while i < hi:
        # A colon delimits and belongs to an alternating key, which is followed from its run's start alone.
        alternating = 0 if colon else _alternating(data, hi, i, edges, digits, dashes)
        for end in (alternating, _separated(data, hi, i, edges, digits, dashes)):
            if end > 0:
                out[n, 0], out[n, 1] = i, end
                n += 1
        i, colon = _next_start(data, lo, i + 1, hi, edges, digits, dashes)
    return n


@kernel.compiled
def _before(data, i):
    """The code point that ends before byte i."""
    k = i - 1
    while data[k] & 0xC0 == 0x80:
        k -= 1
    return utf8.decode(data, k)[0]


@kernel.compiled
def _next_start(data, lo, i, hi, edges, digits, dashes):
    """First letter or mark from byte i on that follows a delimiter or nothing, and begins no plain word.

    returns its place, hi if there is none, and whether it follows a colon
    """
    previous = np.int64(32)
    if i > lo:
        while i < hi and data[i] & 0xC0 == 0x80:
            i += 1
        previous = _before(data, i)
    while i < hi:
        cp, width = utf8.decode(data, i)
        if edges[previous]:
            letter = _is_letter(cp)
            if (letter and not _is_plain(data, i, hi)) or (not letter and _is_mark(cp, digits, dashes)):
                return i, previous == COLON
        previous = cp
        i += width
    return hi, False


@kernel.compiled
def _is_plain(data, i, hi):
    """Whether the ASCII letters at byte i end in white space, a comma or a full stop: by far the most do."""
    while i < hi and 97 <= (data[i] | 32) <= 122:
        i += 1
    return i == hi or data[i] <= 32 or data[i] == 44 or data[i] == DOT


NO = -(2**60)  # groups in a shape that was not begun


@kernel.compiled
def _is_letter(cp):
    return 97 <= (cp | 32) <= 122


@kernel.compiled
def _is_mark(cp, digits, dashes):
    return digits[cp] or dashes[cp] or cp in (43, 47, COLON, EQUALS)


@kernel.compiled
def _ends(data, hi, i, edges):
    return i >= hi or edges[utf8.decode(data, i)[0]]


@kernel.compiled
def _alternating(data, hi, i, edges, digits, dashes):
    """End of the longest alternating key at byte i (0 = none).

    Four groups or more, each of letters then marks (lm, then lm_ once it is complete) or marks then letters
    (ml, ml_); a mark is a digit, a dash or one of / + = : and, after letters only, _. Each variable is the
    most groups that can be complete there; `done` the same where the next group may begin.
    """
    lm, lm_, ml, ml_, done, end = NO, NO, NO, NO, 0, 0
    while i < hi:
        cp, width = utf8.decode(data, i)
        letter, mark = _is_letter(cp), _is_mark(cp, digits, dashes)
        lm, lm_, ml, ml_ = (
            max(lm, done) if letter else NO,
            max(lm + 1, lm_) if mark or cp == 95 else NO,
            max(ml, done) if mark else NO,
            max(ml + 1, ml_) if letter else NO,
        )
        done = max(lm_, ml_)
        i += width
        if done >= 4 and _ends(data, hi, i, edges):
            end = i
        if lm < 0 and ml < 0 and done < 0:
            break
    return end


@kernel.compiled
def _separated(data, hi, i, edges, digits, dashes):
    """End of the longest key of separated groups at byte i (0 = none).

    Three groups or more, each of 3 digits or more (d1, d2, d3), or capitals, digits, capitals (u, ud, udu;
    the last may be missing), or digits, capitals, digits (n, nu, nun; likewise), with at most one space or
    dash between.
    """
    d1, d2, d3, u, ud, udu, n, nu, nun, done = NO, NO, NO, NO, NO, NO, NO, NO, NO, NO
    end, gaps, begin = 0, 0, 0  # begin = groups complete where the next may begin
    while i < hi and gaps < GROUPS_MAX:
        cp, width = utf8.decode(data, i)
        digit, upper = digits[cp], 65 <= cp <= 90
        if not digit and not upper:
            gaps, begin = gaps + 1, done if dashes[cp] or cp == 32 else NO
            d1, d2, d3, u, ud, udu, n, nu, nun, done = NO, NO, NO, NO, NO, NO, NO, NO, NO, NO
        else:
            d1, d2, d3, u, ud, udu, n, nu, nun = (
                begin if digit else NO,
                d1 if digit else NO,
                max(d2 + 1, d3) if digit else NO,
                max(u, begin) if upper else NO,
                max(u + 1, ud) if digit else NO,
                max(ud, udu) if upper else NO,
                max(n, begin) if digit else NO,
                max(n + 1, nu) if upper else NO,
                max(nu, nun) if digit else NO,
            )
            done = max(max(d3, ud, udu), max(nu, nun))
            begin = done
        i += width
        if done >= 3 and _ends(data, hi, i, edges):
            end = i
        if max(max(d1, d2, u), max(n, begin)) < 0:
            break
    return end
