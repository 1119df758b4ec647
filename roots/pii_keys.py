"""Keys and secrets: random-looking runs of letters and digits, known prefixes, what code assigns to a password.

A hash is no secret: hexadecimal digits alone are a key only where something named like one is set to them, and a
run after `sha256-`, `integrity` or `checksum` is none.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from roots import pii_scan
from roots.pii_scan import Window

KEY_MIN = pii_scan.RUN_MIN
KEY_MAX = 512  # characters: longer runs are data in base64, not keys
DATA_LINE_MIN = 40  # characters of a line of data
PREFIXED_RUN_MAX = 16  # letters of one case in a row in a key with a known prefix; identifiers have more
KEY_ENTROPY_MIN = 3.0  # bits a character; 20 random hexadecimal digits have 3.4 on average, "a1a1a1..." has 1

RUN = re.compile(r"[A-Za-z0-9+/_\-]{20,}")
PIECES = (RUN, re.compile(r"[A-Za-z0-9_\-]{20,}"), re.compile(r"[A-Za-z0-9]{20,}"))
UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")  # RFC 9562: an identifier, not a secret
HEXADECIMAL = re.compile(rf"[0-9a-f]{{20,}}|[0-9A-F]{{20,}}|{UUID.pattern}")  # a hash, perhaps behind a name
NAME = re.compile(r"(?:(?:[A-Z][a-z]{2,}+|[a-z]{3,}+)[0-9]{0,3}+_?)++")  # MapInt64Int64FieldNumber
# What providers begin their keys with, and how many characters follow at least; their own documentation
PREFIXED = re.compile(
    r"(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w\-]{30}|dop_v1_\w{40}|gh[poushr]_\w{30}|github_pat_\w{22}|glpat-[\w\-]{20}"
    r"|hf_\w{30}|npm_\w{30}|[pr]k_live_\w{16}|sk_(?:live|test)_\w{16}|sk-[\w\-]{20}|xox[abprs]-[\w\-]{20}"
    r"|SG\.[\w\-]{20}|eyJ[\w\-]{17}",
    re.ASCII,
)
_NAMES = r"(?:passw(?:or)?d|pwd|secret|token|credential|(?:api|access|private|secret|auth|client)[_\-]?key)"
SECRET_BEFORE = re.compile(
    rf"{_NAMES}(?:[_\-]\w{{0,20}}|s)?[\"'\]]{{0,2}}\s?(?:=>|:=|[:=]|is)\s?[\"']?\Z", re.IGNORECASE
)
HASH_BEFORE = re.compile(
    r"(?:sha-?\d{1,3}|md5|blake\w*|crc\w*|integrity|checksum|digest|hash|commit|revision|rev|etag|fingerprint|nonce"
    r"|base64,|boundary)[\w\"'\]]{0,6}\s?[:=\-(,]{0,2}\s?[\"']?\Z",
    re.IGNORECASE,
)
HASH = re.compile(r"(?:sha-?\d{1,3}|md5|blake\w{1,3})[\-_]", re.IGNORECASE)
# the line before or after, which may be a placeholder by now
DATA_BEFORE = re.compile(r"(?:[A-Za-z0-9+/=]{8}|PI:KEY)[\"'`]?[,+.]?\\?\s{1,30}[\"'`]?\Z")
DATA_AFTER = re.compile(r"=?[\"'`]?[,+.]?\\?\s{1,30}[\"'`]?(?:[A-Za-z0-9+/=]{6}|PI:KEY)")
ASSIGNED = re.compile(r"[:=]>?\s?([\"'])(?P<value>[^\"'\s\\]{8,128})\1")
NAME_BEFORE = re.compile(rf"{_NAMES}(?:[_\-]\w{{0,20}}|s)?[\"'\]]{{0,2}}\s?:?\Z", re.IGNORECASE)
NO_SECRET = re.compile(r"[<{$%*\[(/]|x{4}|\.\.|your|example|change|placeholder|passw|secret|dummy", re.IGNORECASE)
PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----"
    r"(?:[\sA-Za-z0-9+/=:,\\]|-(?!-))*+"
    r"-----END (?:[A-Z]+ ){0,3}PRIVATE KEY-----"
)


def keys(window: Window) -> Iterator[tuple[int, int]]:
    """Runs that look random, and of several readings of a run the widest."""
    for run in RUN.finditer(window.text):
        if run.end() - run.start() > KEY_MAX or _is_data(run, window) or _is_hash(run, window):
            continue
        end, judged = 0, set()
        for pattern in PIECES:
            for found in pattern.finditer(window.text, *run.span()):
                if found.end() > end and found.span() not in judged and _is_key(found[0], window, found.start()):
                    yield found.span()
                    end = found.end()
                judged.add(found.span())


def secrets(window: Window) -> Iterator[tuple[int, int]]:
    """What is assigned to a password or token, in quotes and with a digit; a private key in PEM, whole."""
    for found in ASSIGNED.finditer(window.text):
        value = found["value"]
        if not (re.search(r"\d", value) and re.search(r"[A-Za-z]", value)) or NO_SECRET.search(value):
            continue
        if NAME_BEFORE.search(window.before(found.start())):
            yield found.span("value")
    for found in PRIVATE_KEY.finditer(window.text) if "-----BEGIN " in window.text else ():
        yield found.span()


def _is_data(run: re.Match[str], window: Window) -> bool:
    """Whether a long run goes on from the line before or on the next line: base64 of something, no key."""
    if run.end() - run.start() < DATA_LINE_MIN:
        return False
    return bool(DATA_BEFORE.search(window.before(run.start())) or DATA_AFTER.match(window.after(run.end())))


def _is_hash(run: re.Match[str], window: Window) -> bool:
    return bool(HASH.match(run[0]) or HASH_BEFORE.search(window.before(run.start())))


def _is_key(text: str, window: Window, start: int) -> bool:
    if not re.search("[0-9]", text):
        return False
    if PREFIXED.match(text) and max(map(len, re.findall("[a-z]+|[A-Z]+", text))) <= PREFIXED_RUN_MAX:
        return True
    if HEXADECIMAL.search(text):
        secret = SECRET_BEFORE.search(window.before(start)) and not UUID.fullmatch(text)
        return bool(secret) and _looks_random(text)
    return _looks_random(text) and not NAME.fullmatch(text)


CHANGE = re.compile("[A-Z0-9](?<=[a-z].)|[a-z0-9](?<=[A-Z].)|[A-Za-z](?<=[0-9].)")
MIX = re.compile("[0-9](?<=[A-Za-z].)|[A-Za-z](?<=[0-9].)")
RUNS = re.compile("[0-9]+|[A-Z]+|[a-z]+")
UNIFORM = re.compile("(?<![0-9A-Za-z])(?:[0-9]{4,}|[A-Z]{4,}|[a-z]{4,})(?![0-9A-Za-z])")


def _looks_random(text: str) -> bool:
    """Digits among letters, changing cases, no words, many different characters.

    size counts letters and digits; digits of them; changes between digit, capital and small letter side by side;
    mixes, the changes with a digit; wordy, letters in runs of 4 and more of one case; longest of those runs; plain,
    characters in pieces of 4 and more between two marks without any change.
    """
    changes = len(CHANGE.findall(text))
    if 4 * changes < KEY_MIN:
        return False
    runs = RUNS.findall(text)
    letters = [len(run) for run in runs if run > "9"]
    size = sum(map(len, runs))
    digits, longest, wordy = size - sum(letters), max(letters, default=0), sum(n for n in letters if n >= 4)
    mixes = len(MIX.findall(text))
    # Either many changes of any kind, or enough digits among the letters: names in code have fewer of both.
    if size < KEY_MIN or (2 * changes < size and (digits < 3 or mixes < 3 or 4 * changes < size)):
        return False
    plain = sum(map(len, UNIFORM.findall(text)))
    if 8 * plain > size or (2 * wordy > size and 10 * mixes < 3 * size):
        return False
    # The longest one-case run of random text grows with the log of its length; words make longer ones.
    if longest > 8 + max(0.0, math.log2(size) - 5.0):
        return False
    counts = Counter("".join(runs)).values()
    return -sum(n * math.log2(n / size) for n in counts) >= KEY_ENTROPY_MIN * size
