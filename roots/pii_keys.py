"""Kernels that propose keys, see `pii`: opaque ones by default, grouped ones as the original had them."""

from __future__ import annotations

import numpy as np

from roots import kernel, pii_rules, utf8
from roots import pii_kernels as kernels

GROUPS_MAX = 8  # separated groups followed; the original had no limit, and took more than linear time
KEY_MIN = 20  # characters of an opaque key: the shortest in wide use (AWS access key id) has 20
PREFIXED_RUN_MAX = 16  # letters of one case in a row in a key with a known prefix; identifiers have more
KEY_ENTROPY_MIN = 3.0  # bits a character; 20 random hexadecimal digits have 3.4 on average, "a1a1a1..." has 1


# Keys of the default preset: runs of ASCII letters and digits that look random


@kernel.compiled
def _alnum(b):
    return 48 <= b <= 57 or 97 <= (b | 32) <= 122


@kernel.compiled
def _joins(b, level):
    """Whether byte b belongs to a piece: '_' and '-' up to level 1, '+' and '/' at level 0."""
    return _alnum(b) or (level < 2 and (b == kernels.DASH or b == 95)) or (level < 1 and (b == 43 or b == 47))


@kernel.compiled
def opaque(data, offsets, rules):
    """Candidates of the default preset: int64 [candidates, 6]."""
    out, n = np.empty((64, 6), np.int64), np.int64(0)
    for row in range(len(offsets) - 1):
        out, n = _opaque(data, np.int64(offsets[row]), np.int64(offsets[row + 1]), row, rules, out, n)
    return out[:n]


@kernel.compiled
def _opaque(data, lo, hi, row, rules, out, n):
    s, e = _next_run(data, lo, lo, hi)
    while s < hi:
        for level in range(3):  # the whole run, its parts between '/' and '+', and those between '_' and '-'
            out, n = _pieces(data, s, e, level, row, rules, out, n)
        s, e = _next_run(data, lo, e, hi)
    return out, n


@kernel.compiled
def _next_run(data, lo, i, hi):
    """The first run of KEY_MIN bytes or more with a digit, after byte i: start and end; hi twice if none."""
    # It covers one of the bytes KEY_MIN apart: most of the text is never looked at.
    i += KEY_MIN - 1
    while i < hi:
        if not _joins(data[i], 0):
            i += KEY_MIN
            continue
        s, e = i, i + 1
        while s > lo and _joins(data[s - 1], 0):
            s -= 1
        while e < hi and _joins(data[e], 0):
            e += 1
        if e - s >= KEY_MIN and _has_digit(data, s, e):
            return s, e
        i = e + KEY_MIN
    return hi, hi


@kernel.compiled
def _has_digit(data, s, e):
    digits = 0
    for i in range(s, e):
        digits += 48 <= data[i] <= 57
    return digits > 0


@kernel.compiled
def _pieces(data, s, e, level, row, rules, out, n):
    p = s
    while p < e:
        if not _joins(data[p], level):
            p += 1
            continue
        q = p + 1
        while q < e and _joins(data[q], level):
            q += 1
        if q - p >= KEY_MIN and not _is_uuid(data, p, q) and _is_key(data, p, q, rules):
            out, n = kernels.put(out, n, row, p, q, p - 1, q + 1, pii_rules.KEY)
        p = q
    return out, n


@kernel.compiled
def _is_uuid(data, p, q):
    """8-4-4-4-12 (RFC 9562): an identifier, not a secret."""
    if q - p != 36:
        return False
    for i in range(36):
        dash = i == 8 or i == 13 or i == 18 or i == 23
        if dash != (data[p + i] == kernels.DASH) or not (dash or kernels.is_hex(data[p + i])):
            return False
    return True


@kernel.compiled
def _is_key(data, p, q, rules):
    """Whether [p, q) looks random: digits among letters, changing cases, no words, many different characters.

    size counts letters and digits; digits of them; changes between digit, capital and small letter side by
    side; mixes, the changes with a digit; wordy, letters in runs of 4 and more of one case; longest of those
    runs; plain, characters in pieces of 4 and more between two marks without any change.
    """
    counts = np.zeros(128, np.int64)
    size, digits, changes, mixes, wordy, plain, longest = 0, 0, 0, 0, 0, 0, 0
    run, last, piece, piece_changes = 0, 0, 0, 0
    for i in range(p, q + 1):
        kind = 0
        if i < q and _alnum(data[i]):
            kind = 1 if data[i] <= 57 else 2 if data[i] <= 90 else 3
        if kind != last or kind == 0:  # a run of one class ends
            if last > 1:
                longest = max(longest, run)
                wordy += run if run >= 4 else 0
            run = 0
        if kind == 0:  # and so does a piece between two marks
            plain += piece if piece >= 4 and piece_changes == 0 else 0
            last, piece, piece_changes = 0, 0, 0
            continue
        size += 1
        digits += kind == 1
        counts[data[i]] += 1
        if last and kind != last:
            changes += 1
            piece_changes += 1
            mixes += kind == 1 or last == 1
        run, piece, last = run + 1, piece + 1, kind
    if digits == 0:
        return False
    if longest <= PREFIXED_RUN_MAX and _prefixed(data, p, q, rules):
        return True
    # Either many changes of any kind, or enough digits among the letters: names in code have fewer of both.
    if size < KEY_MIN or (2 * changes < size and (digits < 3 or mixes < 3 or 4 * changes < size)):
        return False
    if 8 * plain > size or (2 * wordy > size and 10 * mixes < 3 * size):
        return False
    # The longest one-case run of random text grows with the log of its length; words make longer ones.
    if longest > 8 + max(0.0, np.log2(size) - 5.0):
        return False
    bits = 0.0
    for count in counts:
        if count:
            bits -= count * np.log2(count / size)
    return bits >= KEY_ENTROPY_MIN * size


@kernel.compiled
def _prefixed(data, p, q, rules):
    for k in range(len(rules.prefix_rest)):
        a, b = rules.prefix_offsets[k], rules.prefix_offsets[k + 1]
        if q - p < b - a + rules.prefix_rest[k]:
            continue
        same = True
        for i in range(b - a):
            same &= data[p + i] == rules.prefixes[a + i]
        if same:
            return True
    return False


# Keys of the original: alternating groups of letters and digits


@kernel.compiled
def grouped(data, offsets, rules):
    """Candidates of the original's preset: int64 [candidates, 6]."""
    out, n = np.empty((64, 6), np.int64), np.int64(0)
    for row in range(len(offsets) - 1):
        out, n = _grouped(data, np.int64(offsets[row]), np.int64(offsets[row + 1]), row, rules, out, n)
    return out[:n]


@kernel.compiled
def _grouped(data, lo, hi, row, rules, out, n):
    i, colon = _next_start(data, lo, lo, hi, rules.classes, rules.digits, rules.dashes)
    while i < hi:
        # A colon delimits and belongs to an alternating key, which is followed from its run's start alone.
        if not colon:
            end, last = _alternating(data, hi, i, rules.classes, rules.digits, rules.dashes)
            if end > 0:
                out, n = kernels.put(out, n, row, i, end, i - 1, last, pii_rules.KEY)
        end, last = _separated(data, hi, i, rules.classes, rules.digits, rules.dashes)
        if end > 0:
            out, n = kernels.put(out, n, row, i, end, i - 1, last, pii_rules.KEY)
        i, colon = _next_start(data, lo, i + 1, hi, rules.classes, rules.digits, rules.dashes)
    return out, n


@kernel.compiled
def _next_start(data, lo, i, hi, classes, digits, dashes):
    """First letter or mark from byte i on that follows a delimiter or nothing, and begins no plain word.

    returns its place, hi if there is none, and whether it follows a colon
    """
    previous = np.int64(32)
    if i > lo:
        while i < hi and data[i] & 0xC0 == 0x80:
            i += 1
        previous = kernels.before(data, i)[1]
    while i < hi:
        cp, width = utf8.decode(data, i)
        if classes[previous] & pii_rules.EDGE:
            letter = _is_letter(cp)
            if (letter and not _is_plain(data, i, hi)) or (not letter and _is_mark(cp, digits, dashes)):
                return i, previous == kernels.COLON
        previous = cp
        i += width
    return hi, False


@kernel.compiled
def _is_plain(data, i, hi):
    """Whether the ASCII letters at byte i end in white space, a comma or a full stop: by far the most do."""
    while i < hi and 97 <= (data[i] | 32) <= 122:
        i += 1
    return i == hi or data[i] <= 32 or data[i] == 44 or data[i] == kernels.DOT


NO = -(2**60)  # groups in a shape that was not begun


@kernel.compiled
def _is_letter(cp):
    return 97 <= (cp | 32) <= 122


@kernel.compiled
def _is_mark(cp, digits, dashes):
    return digits[cp] >= 0 or dashes[cp] or cp in (43, 47, kernels.COLON, kernels.EQUALS)


@kernel.compiled
def _ends(data, hi, i, classes):
    return i >= hi or (classes[utf8.decode(data, i)[0]] & pii_rules.EDGE) > 0


@kernel.compiled
def _alternating(data, hi, i, classes, digits, dashes):
    """End of the longest alternating key at byte i (0 = none), and end of what was read.

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
        if done >= 4 and _ends(data, hi, i, classes):
            end = i
        if lm < 0 and ml < 0 and done < 0:
            break
    return end, i + 1


@kernel.compiled
def _separated(data, hi, i, classes, digits, dashes):
    """End of the longest key of separated groups at byte i (0 = none), and end of what was read.

    Three groups or more, each of 3 digits or more (d1, d2, d3), or capitals, digits, capitals (u, ud, udu;
    the last may be missing), or digits, capitals, digits (n, nu, nun; likewise), with at most one space or
    dash between.
    """
    d1, d2, d3, u, ud, udu, n, nu, nun, done = NO, NO, NO, NO, NO, NO, NO, NO, NO, NO
    end, gaps, begin = 0, 0, 0  # begin = groups complete where the next may begin
    while i < hi and gaps < GROUPS_MAX:
        cp, width = utf8.decode(data, i)
        digit, upper = digits[cp] >= 0, 65 <= cp <= 90
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
        if done >= 3 and _ends(data, hi, i, classes):
            end = i
        if max(max(d1, d2, u), max(n, begin)) < 0:
            break
    return end, i + 1
