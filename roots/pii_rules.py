"""What each preset of `pii` calls an address, a key, a user name: numbers, words, character classes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from roots import kernel, utf8

EMAIL, IP_ADDRESS, KEY, USER = 0, 1, 2, 3
TAGS = ("EMAIL", "IP_ADDRESS", "KEY", "USER")  # fixed order; the original iterated a set

# What a code point may be part of: the bits of Rules.classes.
LOCAL = 1  # an e-mail's local part
FIRST = 2  # the first of a local part
HOST = 4  # a label of an e-mail's host
LETTER = 8  # a letter, in the last label
ENDING = 16  # the last label after its first letter
HANDLE = 32  # a user name, after its '@'
USER_EDGE = 64  # stands before a user name's '@'
EDGE = 128  # stands next to an IP address or a key


class Rules(NamedTuple):
    """One preset as the kernels read it."""

    classes: np.ndarray  # uint8 [0x110000], the bits above
    digits: np.ndarray  # int8 [0x110000], value of a decimal digit of any script, else -1
    dashes: np.ndarray  # bool [0x110000], dash punctuation
    strict: int  # 1 for the default preset, 0 for the original's looser shapes
    local_max: int  # code points
    host_max: int  # code points
    handle_max: int  # code points
    denied_endings: np.ndarray  # uint64, sorted `name_hash` of last labels that are file names
    denied_handles: np.ndarray  # uint64, sorted `name_hash` of annotations
    prefixes: np.ndarray  # uint8, the known key prefixes end to end
    prefix_offsets: np.ndarray  # int64 [prefixes + 1]
    prefix_rest: np.ndarray  # int64 [prefixes], characters that must follow


# Unicode 17.0 properties that the original's shapes name, as code points and ranges in hexadecimal.
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """What a preset decides beyond the shapes that `pii` describes. Lists of words are parted by spaces."""

    name: str
    tags: tuple[str, ...]  # to look for in prose
    code_tags: tuple[str, ...]  # to look for in source code
    strict: bool
    local_max: int  # code points before the '@'
    host_max: int  # code points of the host
    handle_max: int  # code points of a user name
    file_endings: str = ""  # after the last dot of what is no e-mail address
    annotations: str = ""  # after the '@' of what is no user name
    key_prefixes: tuple[tuple[str, int], ...] = ()  # a known start of a key, and how many characters follow at least


UNBOUNDED = 2**31

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "roots-original": Preset(
            name="roots-original",
            tags=TAGS,
            code_tags=TAGS,
            strict=False,
            local_max=UNBOUNDED,
            host_max=UNBOUNDED,
            handle_max=UNBOUNDED,
        ),
        "default": Preset(
            name="default",
            tags=TAGS,
            code_tags=("EMAIL", "IP_ADDRESS", "KEY"),
            strict=True,
            local_max=64,  # RFC 5321, section 4.5.3.1.1 (there octets)
            host_max=253,  # RFC 1035, section 2.3.4: 255 octets on the wire
            handle_max=30,  # the longest that the large social networks allow
            file_endings=(
                "bmp class css csv eps exe gif gz html ico jar jpeg jpg js json jsx pdf php png scss so"
                " svg tar tgz tiff tsx ttf txt wav webp woff xml yaml yml"
            ),
            annotations=(
                "abstract abstractmethod after all apply auth author autowired bean before beforeeach"
                " brief charset class classmethod code component const constructor contextmanager"
                " controller copyright dataclass date defgroup deprecated description documentation echo"
                " else endcode endif enum example exception extend extends file fixture font-face foreach"
                " function group if ignore implementation implements import include ingroup inheritdoc"
                " inherits inject injectable input interface internal internalapi junit keyframes layer"
                " license link media method mixin mock module namespace name nonnull note null nullable"
                " option optional output overload override package page param parameterized parametrize"
                " params parsed pipe private property protected protocol provides public readonly ref"
                " repository request return returns safevarargs screen section see service setter since"
                " staticmethod static subpackage supports suppresslint suppresswarnings synthesize"
                " template test testing testonly throw throws todo tool transactional tsignore ts-ignore"
                " type typedef use uses value var variable version view warning while"
            ),
            key_prefixes=(
                *(
                    ("AKIA", 16),
                    ("ASIA", 16),
                    ("AIza", 30),
                    ("dop_v1_", 40),
                    ("ghp_", 30),
                    ("gho_", 30),
                    ("ghu_", 30),
                ),
                *(("ghs_", 30), ("ghr_", 30), ("github_pat_", 22), ("glpat-", 20), ("hf_", 30), ("npm_", 30)),
                *(
                    ("pk_live_", 16),
                    ("rk_live_", 16),
                    ("sk_live_", 16),
                    ("sk_test_", 16),
                    ("xoxa-", 20),
                    ("xoxb-", 20),
                ),
                *(("xoxp-", 20), ("xoxr-", 20), ("xoxs-", 20)),
            ),
        ),
    }
)


@functools.cache
def rules(name: str) -> Rules:
    """The preset of that name for the kernels.

    raises  ValueError for a name that is not in PRESETS
    """
    if name not in PRESETS:
        raise ValueError(f"pii.find: no preset {name!r}; there are {', '.join(PRESETS)}")
    preset = PRESETS[name]
    digits = np.full(0x110000, -1, np.int8)
    for zero in DIGIT_ZEROS.split():
        digits[int(zero, 16) : int(zero, 16) + 10] = range(10)
    prefixes, prefix_offsets = joined([prefix.encode() for prefix, _ in preset.key_prefixes])
    return Rules(
        classes=_default_classes(digits >= 0) if preset.strict else _original_classes(digits >= 0),
        digits=digits,
        dashes=members(DASHES),
        strict=int(preset.strict),
        local_max=preset.local_max,
        host_max=preset.host_max,
        handle_max=preset.handle_max,
        denied_endings=_hashes(preset.file_endings),
        denied_handles=_hashes(preset.annotations),
        prefixes=prefixes,
        prefix_offsets=prefix_offsets,
        prefix_rest=np.array([rest for _, rest in preset.key_prefixes], np.int64),
    )


def joined(words: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The words end to end (uint8), and where each begins (int64 [words + 1])."""
    offsets = np.zeros(len(words) + 1, np.int64)
    np.cumsum([len(word) for word in words], out=offsets[1:])
    return np.frombuffer(b"".join(words), np.uint8), offsets


def members(ranges: str, characters: str = "") -> np.ndarray:
    """bool [0x110000]: the code points of hexadecimal ranges, and the characters."""
    member = np.zeros(0x110000, bool)
    for word in ranges.split():
        first, _, last = word.partition("-")
        member[int(first, 16) : int(last or first, 16) + 1] = True
    member[[ord(c) for c in characters]] = True
    return member


@kernel.compiled
def name_hash(data, start, end):
    """FNV-1a, 64 bits, of ASCII-lower-cased bytes (Fowler, Noll, Vo; IETF draft-eastlake-fnv)."""
    h = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        b = data[i]
        if 65 <= b <= 90:
            b += 32
        h = (h ^ np.uint64(b)) * np.uint64(0x100000001B3)
    return h


def _hashes(names: str) -> np.ndarray:
    """uint64, sorted: `name_hash` of each name."""
    words = [np.frombuffer(name.encode(), np.uint8) for name in names.split()]
    return np.array(sorted(name_hash(word, 0, len(word)) for word in words), np.uint64)


def _classes(**members: np.ndarray) -> np.ndarray:
    """uint8 [0x110000]: for each class named, the bit of that name."""
    table = np.zeros(0x110000, np.uint8)
    for name, member in members.items():
        table[member] |= globals()[name]
    return table


def _original_classes(digit: np.ndarray) -> np.ndarray:
    word = utf8.kinds() != utf8.SEPARATOR
    part = ~members(f"{WHITESPACE} {HAN}", "@?,!;:'\")(.")
    dotted = part | members("", ".")
    return _classes(
        LOCAL=dotted,
        FIRST=dotted,
        HOST=part,
        LETTER=word & ~digit & ~members("", "_"),
        ENDING=word,
        HANDLE=~members(WHITESPACE, "@,?!;:'\")("),
        USER_EDGE=members(f"{WHITESPACE} {HAN}", "@,?!;:'\")("),
        EDGE=~part,
    )


def _default_classes(digit: np.ndarray) -> np.ndarray:
    # Unspaced scripts do not part a name from the sentence around it, so their characters end one.
    word = utf8.kinds() == utf8.WORD
    letter = word & ~digit & ~members("", "_")
    return _classes(
        LOCAL=word | members("", ".%+-"),
        FIRST=word,
        HOST=(word & ~members("", "_")) | members("", "-"),
        LETTER=letter,
        ENDING=letter,
        HANDLE=word | members("", ".-"),
        USER_EDGE=~word & ~members("", "@.-+`\\$%&=#^[}"),
        EDGE=~word & ~members("", "."),
    )
