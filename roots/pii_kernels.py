"""Kernels that propose personal data in UTF-8 text; `pii.find` chooses among the proposals.

A candidate is one int64 row: document, start, end, first, last, tag. `[start, end)` are the bytes to replace.
`[first, last)` is the footprint: every byte that was read to decide it, the neighbours included. Whether a
candidate is proposed depends on its footprint alone, so the text around it may be replaced without changing
the verdict. That is what makes redaction idempotent (see `pii`).

Each detector reads a byte a bounded number of times: a run is walked once, or from each start up to a limit.
"""

from __future__ import annotations

import numpy as np

from roots import kernel, pii_rules, utf8

AT, COLON, DASH, DOT, EQUALS = 64, 58, 45, 46, 61  # ASCII

HANDLE_MIN = 3  # code points after '@'; original, user_pattern
IPV6_MAX = 45  # characters of the longest textual IPv6 address (INET6_ADDRSTRLEN - 1)


@kernel.compiled
def _listed(names, data, start, end):
    h = pii_rules.name_hash(data, start, end)
    low, high = 0, len(names)
    while low < high:
        middle = (low + high) // 2
        if names[middle] < h:
            low = middle + 1
        else:
            high = middle
    return low < len(names) and names[low] == h


@kernel.compiled
def before(data, i):
    """Start and value of the code point that ends before byte i."""
    k = i - 1
    while data[k] & 0xC0 == 0x80:
        k -= 1
    return k, utf8.decode(data, k)[0]


@kernel.compiled
def put(out, n, row, start, end, first, last, tag):
    if n == len(out):
        grown = np.empty((2 * n, 6), np.int64)
        for k in range(n):
            for column in range(6):
                grown[k, column] = out[k, column]
        out = grown
    out[n, 0], out[n, 1], out[n, 2], out[n, 3], out[n, 4], out[n, 5] = row, start, end, first, last, tag
    return out, n + 1


# E-mail addresses and user names: around each '@'


# The scans are functions of the bytes alone: a loop that also holds `out` and `rules` counts references at
# every byte, which made it 20 times slower.


@kernel.compiled
def _next(data, i, hi, byte):
    """First place of the byte in [i, hi), hi if there is none."""
    while i < hi and data[i] != byte:
        i += 1
    return i


@kernel.compiled
def _next_dot(data, i, hi):
    """First dot in [i, hi) between bytes of digits, ASCII or of another script; hi if there is none."""
    while i < hi and (data[i] != DOT or not (_like_digit(data[i - 1]) and _like_digit(data[i + 1]))):
        i += 1
    return i


@kernel.compiled
def _like_digit(b):
    return 48 <= b <= 57 or b >= 128


@kernel.compiled
def _next_colon(data, i, hi):
    """First colon in [i, hi) before up to four hexadecimal digits and another colon; hi if there is none."""
    while i < hi:
        if data[i] == COLON:
            j = i + 1
            while j < hi and j < i + 5 and is_hex(data[j]):
                j += 1
            if j < hi and data[j] == COLON:
                return i
        i += 1
    return i


@kernel.compiled
def at_signs(data, offsets, rules, wanted):
    """Candidates for EMAIL and USER, where bit EMAIL or USER of `wanted` is set: int64 [candidates, 6]."""
    out, n = np.empty((64, 6), np.int64), np.int64(0)
    for row in range(len(offsets) - 1):
        out, n = _at_signs(data, np.int64(offsets[row]), np.int64(offsets[row + 1]), row, rules, wanted, out, n)
    return out[:n]


@kernel.compiled
def _at_signs(data, lo, hi, row, rules, wanted, out, n):
    i = _next(data, lo, hi, AT)
    while i < hi:
        if wanted & 1 << pii_rules.EMAIL:
            start, end, first, last = _email(data, lo, hi, i, rules)
            if end > 0:
                out, n = put(out, n, row, start, end, first, last, pii_rules.EMAIL)
        if wanted & 1 << pii_rules.USER:
            end, last = _user(data, lo, hi, i, rules)
            if end > 0:
                out, n = put(out, n, row, i, end, i - 1, last, pii_rules.USER)
        i = _next(data, i + 1, hi, AT)
    return out, n


@kernel.compiled
def _email(data, lo, hi, at, rules):
    """Start, end and footprint of the address around the '@' at byte `at`; end 0 = none."""
    start, j, length = at, at, 0
    while j > lo:
        k, cp = before(data, j)
        if not rules.classes[cp] & pii_rules.LOCAL or (cp == DOT and (j == at or data[j] == DOT)):
            break
        length += 1
        if length > rules.local_max:
            return 0, 0, 0, 0
        j = k
        if rules.classes[cp] & pii_rules.FIRST:
            start = j
    if start == at:
        return 0, 0, 0, 0
    end, q = _host(data, hi, at + 1, rules)
    return start, end, j - 1, q + 1


@kernel.compiled
def _host(data, hi, p, rules):
    """End of the longest valid host name at byte p (0 = none), and the byte where reading stopped."""
    end, labels, total = 0, 0, 0
    while True:
        q = p
        while q < hi:
            cp, width = utf8.decode(data, q)
            if not rules.classes[cp] & pii_rules.HOST:
                break
            q += width
            total += 1
            if total > rules.host_max:
                return 0, q
        if q == p:
            return end, q
        labels += 1
        if labels >= 2:
            ending = _ending(data, p, q, rules)
            if ending:
                end = ending
        if q == hi or data[q] != DOT:
            return end, q
        p = q + 1


@kernel.compiled
def _ending(data, p, q, rules):
    """End of the top-level domain in the label [p, q), 0 if it is none."""
    if rules.strict and q - p > 4 and _listed_xn(data, p):
        return q
    r, count = p, 0
    while r < q:
        cp, width = utf8.decode(data, r)
        if not rules.classes[cp] & (pii_rules.ENDING if count else pii_rules.LETTER):
            break
        if rules.strict and cp >= 128 and data[p] < 128:
            break  # a suffix of another script glued to the address
        r += width
        count += 1
    if count < 2:
        return 0
    if not rules.strict:
        return r if r == q else 0
    if r < q and data[r] != DASH and data[r] < 128:
        return 0
    return 0 if _listed(rules.denied_endings, data, p, r) else r


@kernel.compiled
def _listed_xn(data, p):
    return (data[p] | 32) == 120 and (data[p + 1] | 32) == 110 and data[p + 2] == DASH and data[p + 3] == DASH


@kernel.compiled
def _user(data, lo, hi, at, rules):
    """End of the user name at the '@' and the end of its footprint; end 0 = none."""
    if at > lo and not rules.classes[before(data, at)[1]] & pii_rules.USER_EDGE:
        return 0, 0
    q, end, length, kept, letters = at + 1, at + 1, 0, 0, 0
    while q < hi:
        cp, width = utf8.decode(data, q)
        if not rules.classes[cp] & pii_rules.HANDLE:
            break
        q += width
        length += 1
        if length > rules.handle_max:
            return 0, 0
        letters += (rules.classes[cp] & pii_rules.LETTER) > 0
        if not rules.strict or (cp != DOT and cp != DASH):
            end, kept = q, length
    if kept < HANDLE_MIN:
        return 0, 0
    if rules.strict:
        # @scope/package, @decorator(...), @entry{...} and the first half of @name@server are no user names
        follows = np.int64(data[q]) if q < hi else 0
        if letters == 0 or follows == AT or follows == 47 or follows == 40 or follows == 123:
            return 0, 0
        # nor is @module.decorator, on a line of its own
        if _has_dot(data, at, end) and _begins_line(data, lo, at):
            return 0, 0
        if _listed(rules.denied_handles, data, at + 1, end):
            return 0, 0
    return end, q + 1


@kernel.compiled
def _has_dot(data, start, end):
    found = False
    for i in range(start, end):
        found |= data[i] == DOT
    return found


@kernel.compiled
def _begins_line(data, lo, at):
    """Whether a line feed, or an indent of two, stands before byte `at`.

    The byte before the last is outside the footprint: neither a span nor a placeholder ends in white space,
    so that it makes no difference to the answer which of them stands there.
    """
    return at == lo or data[at - 1] == 10 or (data[at - 1] == 32 and (at - 1 == lo or data[at - 2] <= 32))


# IP addresses: around dots between digits, and runs with colons


@kernel.compiled
def addresses(data, offsets, rules):
    """Candidates for IP_ADDRESS: int64 [candidates, 6]."""
    out, n = np.empty((64, 6), np.int64), np.int64(0)
    for row in range(len(offsets) - 1):
        lo, hi = np.int64(offsets[row]), np.int64(offsets[row + 1])
        out, n = _ipv4(data, lo, hi, row, rules, out, n)
        out, n = _ipv6(data, lo, hi, row, rules, out, n)
    return out[:n]


@kernel.compiled
def _ipv4(data, lo, hi, row, rules, out, n):
    i = _next_dot(data, lo + 1, hi - 5)
    while i < hi - 5:
        start = _octet_start(data, lo, i, rules.digits)
        end = _quad(data, start, hi, rules) if start < i else 0
        if end:
            first, open_left = _open_left(data, lo, start, rules)
            last, open_right = _open_right(data, hi, end, rules)
            if open_left and open_right:
                out, n = put(out, n, row, start, end, first, last, pii_rules.IP_ADDRESS)
        i = _next_dot(data, i + 1, hi - 5)
    return out, n


@kernel.compiled
def _octet_start(data, lo, dot, digits):
    """Start of the one to three digits before the dot; the dot itself if there are none or more."""
    start, count = dot, 0
    while start > lo:
        k, cp = before(data, start)
        if digits[cp] < 0:
            break
        start, count = k, count + 1
        if count > 3:
            return dot
    return start


@kernel.compiled
def _quad(data, p, hi, rules):
    """End of the dotted quad at byte p, 0 if there is none."""
    dated = np.int64(0)
    for part in range(4):
        if part:
            if p >= hi or data[p] != DOT:
                return 0
            p += 1
        value, count, lead = np.int64(0), 0, np.int64(0)
        while p < hi:
            cp, width = utf8.decode(data, p)
            digit = np.int64(rules.digits[cp])
            if digit < 0:
                break
            if count == 0:
                lead = digit
            count += 1
            if count > 3:
                return 0
            value = 10 * value + digit
            p += width
        if count == 0 or value > 255 or (rules.strict and count > 1 and lead == 0):
            return 0
        dated += part < 3 and count == 2 and (part == 2 or lead <= 3)
    # the original drops what begins like dd.mm.yy, whatever follows
    return 0 if dated == 3 and not rules.strict else p


@kernel.compiled
def _open_left(data, lo, start, rules):
    """First byte of the footprint, and whether an address may begin at `start`.

    By default a dash or dot before it is judged by what stands before that, which needs no place in the
    footprint: a placeholder ends in a letter, so with one there the answer is no, and a second pass finds
    nothing new. The same holds for `_open_right`.
    """
    if start == lo:
        return start - 1, True
    k, cp = before(data, start)
    if not rules.strict or (cp != DASH and cp != DOT):
        return k, (rules.classes[cp] & pii_rules.EDGE) > 0
    if k == lo:
        return k, True
    # a range 10.0.0.1-10.0.0.9 and an ellipsis, but not package-1.2.3.4, library.so.1.2.3.4, 1.2.3.4.5
    further = before(data, k)[1]
    digit = cp == DASH and rules.digits[further] >= 0
    return k, digit or further == cp or (rules.classes[further] & pii_rules.EDGE) > 0


@kernel.compiled
def _open_right(data, hi, end, rules):
    """End of the footprint, and whether an address may end at `end`."""
    if end == hi:
        return end + 1, True
    cp, width = utf8.decode(data, end)
    if not rules.strict or (cp != DASH and cp != DOT):
        return end + width, (rules.classes[cp] & pii_rules.EDGE) > 0
    if end + 1 == hi:
        return hi, True
    further = utf8.decode(data, end + 1)[0]
    digit = cp == DASH and rules.digits[further] >= 0
    return end + 1, digit or further == cp or (rules.classes[further] & pii_rules.EDGE) > 0


@kernel.compiled
def is_hex(b):
    return 48 <= b <= 57 or 97 <= (b | 32) <= 102


@kernel.compiled
def _ipv6(data, lo, hi, row, rules, out, n):
    i = _next_colon(data, lo, hi)
    while i < hi:
        s, e = i, i
        while s > lo and (is_hex(data[s - 1]) or data[s - 1] == DOT):
            s -= 1
        while e < hi and (is_hex(data[e]) or data[e] == COLON or data[e] == DOT):
            e += 1
        i, a, b = _next_colon(data, e, hi), s, e
        if data[a] == DOT or (data[a] == COLON and a + 1 < b and data[a + 1] != COLON):
            a += 1
        while b - a > 1 and (data[b - 1] == DOT or (data[b - 1] == COLON and data[b - 2] != COLON)):
            b -= 1
        if b - a > IPV6_MAX or not _is_ipv6(data, a, b, rules.strict):
            continue
        first, last, fits = s - 1, e + 1, True
        if a == s and s > lo:
            first, cp = before(data, s)
            fits = (rules.classes[cp] & pii_rules.EDGE) > 0
        if fits and b == e and e < hi:
            cp, width = utf8.decode(data, e)
            last, fits = e + width, (rules.classes[cp] & pii_rules.EDGE) > 0
        if fits:
            out, n = put(out, n, row, a, b, first, last, pii_rules.IP_ADDRESS)
    return out, n


@kernel.compiled
def _is_ipv6(data, a, b, strict):
    """RFC 4291 section 2.2, plus evidence that an address is meant (see `pii`)."""
    p, groups, gap, digit, wide = a, 0, False, False, False
    if b - a >= 2 and data[a] == COLON and data[a + 1] == COLON:
        gap, p = True, a + 2
    while p < b:
        q, numeric = p, False
        while q < b and is_hex(data[q]):
            numeric |= data[q] <= 57
            q += 1
        if q < b and data[q] == DOT:  # a dotted quad, allowed as the last 32 bits
            if not _is_ascii_quad(data, p, b):
                return False
            groups, digit, wide, p = groups + 2, True, True, b
            break
        if not 1 <= q - p <= 4:
            return False
        digit |= numeric
        wide |= numeric and q - p >= 3
        groups += 1
        if q == b:
            p = b
            break
        p = q + 1  # data[q] is a colon
        if p == b:
            return False
        if data[p] == COLON:
            if gap:
                return False
            gap, p = True, p + 1
    if groups > 8 or (groups == 8) == gap:
        return False
    return digit and (not strict or groups == 8 or (wide and groups > 1))


@kernel.compiled
def _is_ascii_quad(data, p, b):
    for part in range(4):
        if part:
            if p >= b or data[p] != DOT:
                return False
            p += 1
        q, value = p, np.int64(0)
        while q < b and q - p < 4 and 48 <= data[q] <= 57:
            value = 10 * value + np.int64(data[q]) - 48
            q += 1
        if not 1 <= q - p <= 3 or value > 255 or (q - p > 1 and data[p] == 48):
            return False
        p = q
    return p == b
