"""What a language model is shown of a document, and the scripts that the document is written in."""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa

from roots import kernel, utf8

# A document of up to SAMPLE_BYTES is shown whole, a longer one as WINDOWS pieces at equal distances, the
# first at its beginning and the last at its end. Departure: the original showed whole documents. fastText
# reads 3 to 20 million bytes a second; of 64,562 documents of the mini-corpus that are longer, 99.48 % have one
# answer by 1,024 bytes and by the whole (benchmarks/annotate.py).
WINDOWS = 4
WINDOW_BYTES = 256
SAMPLE_BYTES = WINDOWS * WINDOW_BYTES

# Blocks of the scripts of the 46 languages (Unicode Blocks.txt); a letter elsewhere is of the script "other".
SCRIPTS = {
    "Latn": ((0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0x2AF), (0x1D00, 0x1DBF), (0x1E00,
             0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xAB30, 0xAB6F), (0xFB00, 0xFB06), (0xFF21,
             0xFF5A)),
    "Arab": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "Deva": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "Beng": ((0x980, 0x9FF),),
    "Guru": ((0xA00, 0xA7F),),
    "Gujr": ((0xA80, 0xAFF),),
    "Orya": ((0xB00, 0xB7F),),
    "Taml": ((0xB80, 0xBFF),),
    "Telu": ((0xC00, 0xC7F),),
    "Knda": ((0xC80, 0xCFF),),
    "Mlym": ((0xD00, 0xD7F),),
    "Hani": ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
             (0x20000, 0x3134F)),
}  # fmt: skip
# Columns of a profile: letters of each script, of any other one, and of Han those that only simplified and
# only traditional texts have.
PROFILE = (*SCRIPTS, "other", "simplified", "traditional")
LETTERS = len(SCRIPTS) + 1  # the first columns, which share out all letters

# Digits and letter-like signs are no letters: ASCII, Latin-1, full width; Arabic; and 10 in each Indic block.
_NO_LETTERS = (
    (0x30, 0x39), (0x5F, 0x5F), (0xB2, 0xB3), (0xB9, 0xB9), (0xBC, 0xBE), (0x2070, 0x2089), (0x2150, 0x218B),
    (0x2460, 0x249B), (0xFF10, 0xFF19), (0x660, 0x669), (0x6F0, 0x6F9),
    *((block + 0x66, block + 0x6F) for block in range(0x900, 0xD80, 0x80)),
    (0x300, 0x36F),  # marks that any script may have
)  # fmt: skip
_SIMPLIFIED, _TRADITIONAL = np.uint8(16), np.uint8(32)
_SCRIPT = np.uint8(15)


def sample(text: pa.StringArray) -> tuple[pa.StringArray, np.ndarray]:
    """The part of each document that a model is shown, and how many letters of which script are in it.

    text    [docs] utf8, no nulls
    returns [docs] utf8, lower-cased per code point, newlines replaced by spaces, pieces joined by a space;
            profile int32 [docs, PROFILE]
    """
    data, offsets = utf8.view(text)
    profile = np.zeros((len(text), len(PROFILE)), np.int32)
    shown, ends = _sample(data, offsets, utf8.lowercase(), letters(), profile)
    return utf8.strings(shown, ends), profile


@functools.cache
def letters() -> np.ndarray:
    """uint8 [0x110000]: 0 for no letter, else 1 + the script's column in a profile, with two bits for Han
    letters.

    A Han letter is only simplified if GB 2312 has it and Big5 has not, only traditional if it is the other
    way round.
    source  GB 2312-80 and Big5 as the codecs of the standard library have them
    """
    table = np.where(utf8.kinds() > 0, np.uint8(LETTERS), np.uint8(0))
    for column, ranges in enumerate(SCRIPTS.values()):
        for first, last in ranges:
            block = table[first : last + 1]
            block[block > 0] = column + 1
    for first, last in _NO_LETTERS:
        table[first : last + 1] = 0
    for c in range(0x4E00, 0xA000):
        simple, traditional = _has("gb2312", c), _has("big5", c)
        if simple != traditional:
            table[c] |= _SIMPLIFIED if simple else _TRADITIONAL
    return table


def _has(codec: str, code_point: int) -> bool:
    return len(chr(code_point).encode(codec, "ignore")) > 0


@kernel.compiled
def _encode(c, out, n):
    """Writes a code point as UTF-8 at place n; returns the next place."""
    if c < 0x80:
        out[n] = c
        return n + 1
    if c < 0x800:
        out[n] = 0xC0 | c >> 6
    elif c < 0x10000:
        out[n] = 0xE0 | c >> 12
    else:
        out[n] = 0xF0 | c >> 18
        n += 1
        out[n] = 0x80 | c >> 12 & 0x3F
    if c >= 0x800:
        n += 1
        out[n] = 0x80 | c >> 6 & 0x3F
    out[n + 1] = 0x80 | c & 0x3F
    return n + 2


@kernel.compiled
def _sample(data, offsets, lower, letters, profile):
    docs = len(offsets) - 1
    ends = np.zeros(docs + 1, np.int32)
    room = 0
    for d in range(docs):  # a lower-case letter has at most one byte more than its capital's two or three
        room += 3 * min(np.int64(offsets[d + 1]) - offsets[d], SAMPLE_BYTES + 4 * WINDOWS) // 2 + WINDOWS
    out = np.empty(room, np.uint8)
    n = 0
    for d in range(docs):
        start, end = np.int64(offsets[d]), np.int64(offsets[d + 1])
        whole = end - start <= SAMPLE_BYTES
        for w in range(1 if whole else WINDOWS):
            i = start if whole else start + w * (end - start - WINDOW_BYTES) // (WINDOWS - 1)
            stop = end if whole else i + WINDOW_BYTES
            while i < end and data[i] & 0xC0 == 0x80:  # begin with a whole code point
                i += 1
            if w > 0:
                out[n] = 32
                n += 1
            while i < stop:
                c, width = utf8.decode(data, i)
                i += width
                kind = letters[c]
                if kind:
                    profile[d, (kind & _SCRIPT) - 1] += 1
                    if kind & _SIMPLIFIED:
                        profile[d, LETTERS] += 1
                    elif kind & _TRADITIONAL:
                        profile[d, LETTERS + 1] += 1
                n = _encode(32 if c == 10 else np.int64(lower[c]), out, n)
        ends[d + 1] = n
    return out[:n], ends
