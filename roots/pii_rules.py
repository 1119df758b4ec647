"""Which personal data there are, what each preset looks for, and the character classes of its patterns."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

import numpy as np

from roots import utf8

# In the order in which they are preferred where two have the same place.
TAGS = (
    "CREDENTIALS",
    "EMAIL",
    "IBAN",
    "CREDIT_CARD",
    "CRYPTO",
    "NATIONAL_ID",
    "MAC",
    "IP_ADDRESS",
    "PHONE",
    "KEY",
    "USER",
)

KEY_STARTS = "AK AS AI do gh gi gl hf np pk rk sk xo SG ey"  # the first two characters of `pii_keys.PREFIXED`

# Unicode 17.0 properties that the shapes name, as code points and ranges in hexadecimal.
DIGIT_ZEROS = (  # Nd: ten code points from each of these, and the mathematical digits 1D7CE to 1D7FF
    "30 660 6F0 7C0 966 9E6 A66 AE6 B66 BE6 C66 CE6 D66 DE6 E50 ED0 F20 1040 1090 17E0 1810 1946 19D0"
    " 1A80 1A90 1B50 1BB0 1C40 1C50 A620 A8D0 A900 A9D0 A9F0 AA50 ABF0 FF10 104A0 10D30 10D40 11066 110F0"
    " 11136 111D0 112F0 11450 114D0 11650 116C0 116D0 116DA 11730 118E0 11950 11BF0 11C50 11D50 11DA0"
    " 11DE0 11F50 16130 16A60 16AC0 16B50 16D70 1CCF0 1D7CE 1D7D8 1D7E2 1D7EC 1D7F6 1E140 1E2F0 1E4F0"
    " 1E5F1 1E950 1FBF0"
)
DASHES = (  # Pd
    "2D 58A 5BE 1400 1806 2010-2015 2E17 2E1A 2E3A-2E3B 2E40 2E5D 301C 3030 30A0 FE31-FE32 FE58 FE63 FF0D 10D6E 10EAD"
)
HAN = (  # Script=Han; planes 2 and 3 whole
    "2E80-2E99 2E9B-2EF3 2F00-2FD5 3005 3007 3021-3029 3038-303B 3400-4DBF 4E00-9FFF F900-FA6D FA70-FAD9"
    " 16FE2-16FE3 16FF0-16FF6 20000-3FFFF"
)
WHITESPACE = "9-D 20 85 A0 1680 2000-200A 2028-2029 202F 205F 3000"  # White_Space
FULL_WIDTH = "FF01-FF5E"  # forms of ASCII 21 to 7E


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """tags: what it can find; code_tags: what of it is looked for in source code."""

    name: str
    tags: tuple[str, ...]
    code_tags: tuple[str, ...]


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="roots-original",
                tags=("EMAIL", "IP_ADDRESS", "KEY", "USER"),
                code_tags=("EMAIL", "IP_ADDRESS", "KEY", "USER"),
            ),
            Preset(name="default", tags=TAGS, code_tags=tuple(tag for tag in TAGS if tag != "USER")),
        )
    }
)


def preset(name: str) -> Preset:
    """The preset of that name; raises ValueError for a name that is not in PRESETS."""
    if name not in PRESETS:
        raise ValueError(f"pii.find: no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def table(name: str) -> list[dict[str, str]]:
    """The rows of a table of the package."""
    text = (resources.files("roots.tables") / name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


@functools.cache
def words(kind: str) -> frozenset[str]:
    """The words of a kind in tables/pii_words.csv, of all languages."""
    return frozenset(w for row in table("pii_words.csv") if row["kind"] == kind for w in row["words"].split("|"))


def members(ranges: str, characters: str = "") -> np.ndarray:
    """bool [0x110000]: the code points of hexadecimal ranges, and the characters."""
    member = np.zeros(0x110000, bool)
    for word in ranges.split():
        first, _, last = word.partition("-")
        member[int(first, 16) : int(last or first, 16) + 1] = True
    member[[ord(c) for c in characters]] = True
    return member


@functools.cache
def digit_values() -> np.ndarray:
    """int8 [0x110000]: the value of a decimal digit of any script, else -1."""
    values = np.full(0x110000, -1, np.int8)
    for zero in DIGIT_ZEROS.split():
        values[int(zero, 16) : int(zero, 16) + 10] = range(10)
    return values


@functools.cache
def plain_forms() -> dict[int, int]:
    """Digits of any script, dashes, spaces within a line and full-width forms, to their ASCII character."""
    forms = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
    forms |= {code: ord("-") for code in np.flatnonzero(members(DASHES)).tolist()}
    forms |= {code: ord(" ") for code in np.flatnonzero(members("A0 2000-200A 202F 205F 3000")).tolist()}
    values = digit_values()
    forms |= {code: ord("0") + int(values[code]) for code in np.flatnonzero(values >= 0).tolist()}
    return forms


def characters(member: np.ndarray) -> str:
    """The inside of a regular expression's character class for the code points that are members."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], member, [False]]).astype(np.int8)))
    pairs = zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
    return "".join(_escaped(a) if a == b else f"{_escaped(a)}-{_escaped(b)}" for a, b in pairs)


def _escaped(code: int) -> str:
    return re.escape(chr(code)) if code < 0x80 else chr(code) if not 0xD800 <= code < 0xE000 else f"\\u{code:04x}"


def beginning(first: str, behind: str) -> str:
    """A pattern of one character of the class `first` with none of the class `behind` before it.

    The engine skips to a class that comes first, which it does not do past an assertion that comes first.
    """
    return rf"[{first}](?<=(?<![{behind}])[{first}])"


@functools.cache
def word_members() -> np.ndarray:
    """bool [0x110000]: letters, marks, numbers and connectors of scripts that part words by spaces.

    A script without spaces does not part a name from the sentence around it, so its characters end one. The table is
    the package's, not the interpreter's, so that a corpus does not depend on the latter's Unicode version.
    """
    return (utf8.kinds() == utf8.WORD) & ~members(FULL_WIDTH)


@functools.cache
def word() -> str:
    """The inside of a character class: `word_members`."""
    return characters(word_members())


@functools.cache
def letter() -> str:
    """The inside of a character class: `word_members` that are neither digits nor '_'."""
    return characters(word_members() & (digit_values() < 0) & ~members("", "_"))
