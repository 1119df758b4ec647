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


def main() -> None:
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise SystemExit(
            f"tables/unicode.npz is made from Unicode {UNICODE_VERSION}; "
            f"this interpreter has {unicodedata.unidata_version}: run it with CPython 3.11"
        )
    kind = np.array([kind_of(c) for c in range(0x110000)], np.uint8)
    lower = [(c, ord(chr(c).lower())) for c in range(0x110000) if len(chr(c).lower()) == 1 and chr(c).lower() != chr(c)]
    source, target = np.array(lower, np.int32).T
    path = Path(__file__).with_name("unicode.npz")
    np.savez_compressed(path, kind=kind, lower_from=source, lower_to=target)
    print(f"wrote {path}: {int((kind > 0).sum())} word characters, {len(source)} lower-case pairs")


if __name__ == "__main__":
    main()
