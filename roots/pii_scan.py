"""The pre-scan of personal data: one pass over the bytes finds anchors, and text is made of what stands around them.

Most text holds nothing to look at: on prose of 40 languages and code of 13 there is an anchor every 4,000 bytes. Only
there do the patterns of `pii` run. An anchor is

    AT      '@' with something on both sides, or before a name
    NUMBER  numbers side by side of together 7 digits or 4 parts with dots, or a word of letters and 4 digits
    HEX     pairs or groups of hexadecimal digits between colons or dashes
    SECRET  '=' or ':' after a word that ends like "password" or "token"; '-----BEGIN', '-----END'
    RUN     20 characters and more of letters, digits and + / _ -, with a digit, that change class often or begin
            like a provider's key

Digits are those of any script. A window holds as much text to both sides of its anchors as any pattern looks at, so
that what is found does not depend on where windows meet.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from roots import kernel, pii_rules, utf8

AT, NUMBER, HEX, SECRET, RUN = 1, 2, 4, 8, 16  # bits of an anchor's kind

DIGITS_MIN = 7  # of numbers side by side: the shortest telephone number written with its area code
PARTS_MIN = 4  # of numbers side by side: a dotted quad
WORD_DIGITS_MIN, WORD_MIN = (
    4,
    7,
)  # of a word of letters and digits: a Hong Kong identity card has 7 before its check digit
CHANGES_MIN = 5  # of class in a run: what looks random changes at every fourth character or more often
RUN_MIN = 20  # characters: the shortest key in wide use (AWS access key id) has 20
GAP_MAX = 3  # bytes between two numbers side by side
REACH = 1100  # bytes to each side of an '@': a name of 64 code points, a host of 253
BEFORE, AFTER = 40, 16  # code points to each side of an anchor: the words that say what it is
ASSIGNED = 160  # code points after a SECRET: what is assigned

OTHER, LETTER, DIGIT, WIDE, JOIN, DASH, COLON, EQUALS, AT_SIGN = range(9)  # classes of a byte; JOIN is + / _


@dataclass(frozen=True, slots=True)
class Window:
    """Text around one or more anchors.

    text   the code points, with digits of any script as ASCII digits, and dashes, spaces and full-width forms
           likewise: one for one, so that places in it are places in the document
    kinds  bits of its anchors
    begins, ends  whether the document begins and ends with it
    """

    row: int
    first: int  # byte of the document
    raw: str
    text: str
    kinds: int
    begins: bool
    ends: bool

    def bytes_at(self, places: Iterable[int]) -> Iterator[int]:
        """The byte of the document at which each code point begins; the places rise."""
        last, byte, plain = 0, self.first, self.raw.isascii()
        for place in places:
            byte += place - last if plain else len(self.raw[last:place].encode())
            last = place
            yield byte

    def before(self, place: int, reach: int = BEFORE) -> str:
        return self.text[max(0, place - reach) : place]

    def after(self, place: int) -> str:
        return self.text[place : place + AFTER]


def windows(data: np.ndarray, offsets: np.ndarray, users: bool) -> Iterator[Window]:
    """Every window of every document, in order; two never overlap.

    users  whether an '@' that no name stands before is an anchor
    """
    found = _anchors(data, offsets, users)
    row, first, last, kinds = -1, 0, 0, 0
    for at, start, end, kind in found.tolist():
        if at == row and start <= last:
            last, kinds, first = max(last, end), kinds | kind, min(first, start)
            continue
        if row >= 0:
            yield _window(data, offsets, row, first, last, kinds)
        row, first, last, kinds = at, start, end, kind
    if row >= 0:
        yield _window(data, offsets, row, first, last, kinds)


def _anchors(data: np.ndarray, offsets: np.ndarray, users: bool) -> np.ndarray:
    """int64 [anchors, 4]: document, first and last byte of what to look at, kind; by document and first byte."""
    room = 1024 + len(data) // 512
    while True:
        out = np.empty((room, 4), np.int64)
        count = _scan(data, offsets, _classes(), pii_rules.digit_values(), _key_starts(), users, out)
        if count <= room:
            found = out[:count]
            return found[np.lexsort((found[:, 1], found[:, 0]))]
        room = count


def _window(data: np.ndarray, offsets: np.ndarray, row: int, first: int, last: int, kinds: int) -> Window:
    lo, hi = int(offsets[row]), int(offsets[row + 1])
    raw = data[first:last].tobytes().decode()
    text = raw if raw.isascii() else raw.translate(pii_rules.plain_forms())
    return Window(row, first - lo, raw, text, kinds, first == lo, last == hi)


@functools.cache
def _classes() -> np.ndarray:
    """uint8 [256]: the class of each byte."""
    classes = np.full(256, OTHER, np.uint8)
    for byte in range(128):
        character = chr(byte)
        classes[byte] = DIGIT if character.isdigit() else LETTER if character.isalpha() else OTHER
    classes[[ord(c) for c in "+/_-:=@"]] = [JOIN, JOIN, JOIN, DASH, COLON, EQUALS, AT_SIGN]
    classes[128:] = WIDE
    return classes


@functools.cache
def _key_starts() -> np.ndarray:
    """bool [65536]: the first two bytes of a provider's keys, the first the high one."""
    starts = np.zeros(1 << 16, bool)
    starts[[ord(pair[0]) << 8 | ord(pair[1]) for pair in pii_rules.KEY_STARTS.split()]] = True
    return starts


@kernel.compiled
def _scan(data, offsets, classes, values, starts, users, out):
    """Write the anchors to `out` as far as there is room; returns how many there are."""
    n = 0
    for row in range(len(offsets) - 1):
        lo, hi = np.int64(offsets[row]), np.int64(offsets[row + 1])
        n = _scan_document(data, lo, hi, row, classes, values, starts, users, out, n)
    return n


@kernel.compiled
def _scan_document(data, lo, hi, row, classes, values, starts, users, out, n):
    word, letters, digits = lo, 0, 0  # the word that is being read: where it begins, what it holds
    chain, chain_end, chain_digits, parts = lo, lo - GAP_MAX - 1, 0, 0  # numbers side by side
    run, run_digits = lo, 0  # letters, digits and + / _ -
    gap, at_first, at_last = lo - 1, np.int64(-1), lo  # the last space; what is written without one around an '@'
    i = lo
    while i <= hi:
        kind, width = OTHER, 1
        if i < hi:
            kind = classes[data[i]]
            if kind == WIDE:
                point, width = utf8.decode(data, i)
                kind = DIGIT if values[point] >= 0 else OTHER
        if kind == LETTER:
            letters += 1
            i += 1
            continue
        if kind == DIGIT:
            digits += 1
            i += width
            continue
        if digits:
            run_digits += digits
            if letters == 0:
                if word - chain_end > GAP_MAX or _breaks(data, chain_end, word):
                    if chain_digits >= DIGITS_MIN or parts >= PARTS_MIN:
                        n = _put(out, n, data, lo, hi, row, chain, chain_end, NUMBER)
                    chain, chain_digits, parts = word, 0, 0
                chain_end, chain_digits, parts = i, chain_digits + digits, parts + 1
            elif digits >= WORD_DIGITS_MIN and letters + digits >= WORD_MIN:
                n = _put(out, n, data, lo, hi, row, word, i, NUMBER)
        if at_first >= 0 and (i == hi or data[i] <= 32 or i > at_last + REACH):
            n = _put(out, n, data, lo, hi, row, at_first, i, AT)
            at_first = np.int64(-1)
        if i < hi and data[i] <= 32:
            gap = i
        if kind == AT_SIGN:
            if i + 1 < hi and data[i + 1] > 32 and (users or (i > lo and _in_name(data[i - 1]))):
                at_first, at_last = max(gap + 1, i - REACH) if at_first < 0 else at_first, i
        elif DASH <= kind <= EQUALS:
            if kind != EQUALS and _is_hex_group(data, lo, hi, i):
                n = _put(out, n, data, lo, hi, row, i - 5, i + 45, HEX)
            if kind != DASH and _names_secret(data, lo, i):
                n = _put(out, n, data, lo, hi, row, i, i + 1, SECRET)
            if kind == DASH and i + 3 < hi and _begins_block(data, i + 1):
                n = _put(out, n, data, lo, hi, row, i, i + 1, SECRET)
        if kind != JOIN and kind != DASH:
            if i - run >= RUN_MIN and run_digits > 0 and _may_be_key(data, run, i, classes, starts):
                n = _put(out, n, data, lo, hi, row, run, i, RUN)
            run, run_digits = i + width, 0
        word, letters, digits = i + width, 0, 0
        i += width
    if chain_digits >= DIGITS_MIN or parts >= PARTS_MIN:
        n = _put(out, n, data, lo, hi, row, chain, chain_end, NUMBER)
    return n


@kernel.compiled
def _put(out, n, data, lo, hi, row, first, last, kind):
    """Write an anchor with the code points around it that patterns look at."""
    if n < len(out):
        first, last, points = max(lo, first), min(hi, last), 0
        while first > lo and (points < BEFORE or data[first] & 0xC0 == 0x80):
            first -= 1
            points += data[first] & 0xC0 != 0x80
        points = -1 if kind != SECRET else AFTER - ASSIGNED - 1
        while last < hi:
            points += data[last] & 0xC0 != 0x80
            if points == AFTER:
                break
            last += 1
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = row, first, last, kind
    return n + 1


@kernel.compiled
def _breaks(data, first, last):
    """Whether a line feed or a comma stands between two numbers."""
    found = False
    for i in range(first, last):
        found |= data[i] == 10 or data[i] == 44
    return found


@kernel.compiled
def _begins_block(data, i):
    """Whether BEG or END stands at byte i: the first or last line of a key in PEM."""
    word = np.int64(data[i]) << 16 | np.int64(data[i + 1]) << 8 | np.int64(data[i + 2])
    return word == 0x424547 or word == 0x454E44


@kernel.compiled
def _in_name(byte):
    """Whether the byte may end the name before an '@', or a password."""
    return 48 <= byte <= 57 or byte >= 95 or 65 <= byte <= 90 or byte == 37 or byte == 43 or byte == 45 or byte == 33


@kernel.compiled
def _may_be_key(data, first, last, classes, starts):
    """Whether a run changes between digit, capital and small letter often enough, or begins like a provider's key."""
    if starts[np.int64(data[first]) << 8 | data[first + 1]]:
        return True
    changes, before = 0, 0
    for i in range(first, last):
        now = 0
        if classes[data[i]] == DIGIT:
            now = 1
        elif classes[data[i]] == LETTER:
            now = 2 if data[i] <= 90 else 3
        changes += now > 0 and before > 0 and now != before
        before = now
    return changes >= CHANGES_MIN


@kernel.compiled
def _hex(byte):
    return 48 <= byte <= 57 or 97 <= (byte | 32) <= 102


@kernel.compiled
def _is_hex_group(data, lo, hi, i):
    """Whether the sign at byte i is the first of five between pairs of hexadecimal digits, or of an IPv6 address."""
    sign = data[i]
    if i + 14 < hi and data[i + 3] == sign and data[i + 6] == sign and data[i + 9] == sign and data[i + 12] == sign:
        return i - lo >= 2 and _hex(data[i - 1]) and _hex(data[i + 1])
    if sign == 45 or i + 3 >= hi:
        return False
    # a run of hexadecimal digits, colons and dots that has "::" or five colons, and a digit
    k, colons, digits, pair = i, 0, 0, False
    while k < hi and k < i + 45 and (data[k] == 58 or data[k] == 46 or _hex(data[k])):
        pair |= data[k] == 58 and k > i and data[k - 1] == 58
        colons += data[k] == 58
        digits += 48 <= data[k] <= 57
        k += 1
    if not pair and colons < 5:
        return False
    k = i - 1
    while k >= lo and k > i - 6 and _hex(data[k]):
        digits += data[k] <= 57
        k -= 1
    return digits > 0


@kernel.compiled
def _names_secret(data, lo, i):
    """Whether a word that ends in word, wd, ret, ken, key or ial stands before byte i, quotes and spaces aside."""
    k = i - 1
    while k >= lo and k > i - 4 and (data[k] == 32 or data[k] == 34 or data[k] == 39 or data[k] == 93 or data[k] == 58):
        k -= 1
    if k - lo < 2:
        return False
    a, b, c = data[k - 2] | 32, data[k - 1] | 32, data[k] | 32
    end = np.int64(a) << 16 | np.int64(b) << 8 | np.int64(c)
    # ord, swd, pwd, ret, ken, key, ial
    return (
        end == 0x6F7264
        or end == 0x737764
        or end == 0x707764
        or end == 0x726574
        or end == 0x6B656E
        or end == 0x6B6579
        or end == 0x69616C
    )
