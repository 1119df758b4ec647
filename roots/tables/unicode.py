"""Makes tables/unicode.npz from the interpreter's own Unicode data: `python -m roots.tables.unicode`.

Run it once per Unicode version that the project adopts, never at run time.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

UNICODE_VERSION = "14.0.0"  # CPython 3.11
UNSPACED_RANGES = (  # blocks of the scripts that write no spaces between words (Unicode Blocks.txt)
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x303B),  # CJK radicals, symbols
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # CJK extension A
    (0x4E00, 0x9FFF),  # CJK unified ideographs
    (0xA9E0, 0xA9FF),  # Myanmar extended B
    (0xAA60, 0xAA7F),  # Myanmar extended A
    (0xF900, 0xFAFF),  # CJK compatibility ideographs
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x20000, 0x3134F),  # CJK extensions B to G
)


def kind_of(code_point: int) -> int:
    """0 separator, 1 word character, 2 word character of a script without spaces."""
    category = unicodedata.category(chr(code_point))
    if category[0] not in "LMN" and category != "Pc":
        return 0
    return 2 if any(first <= code_point <= last for first, last in UNSPACED_RANGES) else 1


IGNORABLE_RANGES = (  # Default_Ignorable_Code_Point (Unicode DerivedCoreProperties.txt)
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)


def folding_of(code_point: int) -> str:
    """What a word character is compared as, "" for an ignorable one; see `utf8.foldings`."""
    if any(first <= code_point <= last for first, last in IGNORABLE_RANGES):
        return ""
    character = chr(code_point)
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    composed = unicodedata.normalize("NFC", decomposed)
    if all(kind_of(ord(part)) == 1 for part in decomposed):
        return decomposed
    if len(composed) == 1 and kind_of(ord(composed)):
        return composed
    return character.lower() if len(character.lower()) == 1 else character


def main() -> None:
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise SystemExit(
            f"tables/unicode.npz is made from Unicode {UNICODE_VERSION}; "
            f"this interpreter has {unicodedata.unidata_version}: run it with CPython 3.11"
        )
    kind = np.array([kind_of(c) for c in range(0x110000)], np.uint8)
    lower = [(c, ord(chr(c).lower())) for c in range(0x110000) if len(chr(c).lower()) == 1 and chr(c).lower() != chr(c)]
    source, target = np.array(lower, np.int32).T
    ignorable = {c for first, last in IGNORABLE_RANGES for c in range(first, last + 1)}
    folding = {c: folding_of(c) for c in range(0x110000) if kind[c] or c in ignorable}
    folding = {c: to for c, to in folding.items() if to != chr(c)}
    path = Path(__file__).with_name("unicode.npz")
    np.savez_compressed(
        path,
        kind=kind,
        lower_from=source,
        lower_to=target,
        fold_from=np.array(list(folding), np.int32),
        fold_length=np.array([len(to) for to in folding.values()], np.uint8),
        fold_to=np.array([ord(part) for to in folding.values() for part in to], np.int32),
    )
    words = int((kind > 0).sum())
    print(f"wrote {path}: {words} word characters, {len(source)} lower-case pairs, {len(folding)} foldings")


if __name__ == "__main__":
    main()
