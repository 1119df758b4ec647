"""Arrow's string buffers as numpy arrays, and the code points in them, for compiled kernels.

A kernel takes `data` (uint8, the UTF-8 bytes of all documents end to end) and `offsets` (int32 [docs + 1]); document
i is `data[offsets[i]:offsets[i + 1]]`. Nothing is copied and no Python string is made.
"""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np
import pyarrow as pa

from roots import kernel

SEPARATOR, WORD, UNSPACED = 0, 1, 2  # the kinds of a code point, see `kinds`


def view(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes and offsets of a string array, without a copy.

    text    [docs] utf8, no nulls; a slice is fine
    returns data uint8 [bytes], offsets int32 [docs + 1]; offsets need not start at 0
    raises  TypeError for another type, ValueError for nulls
    """
    if text.type != pa.string():
        raise TypeError(f"utf8.view: expected an array of type string, got {text.type}")
    if text.null_count:
        raise ValueError(f"utf8.view: expected no nulls, got {text.null_count} in {len(text)} strings")
    _, offsets, data = text.buffers()
    if len(text) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int32)
    starts = np.frombuffer(offsets, np.int32, count=len(text) + 1, offset=4 * text.offset)
    if data is None:
        return np.empty(0, np.uint8), starts
    return np.frombuffer(data, np.uint8), starts


def strings(data: np.ndarray, offsets: np.ndarray) -> pa.StringArray:
    """A string array over a kernel's output: the inverse of `view`.

    data uint8 [bytes], valid UTF-8 within each string; offsets int32 [docs + 1], starting at 0
    """
    return pa.StringArray.from_buffers(
        len(offsets) - 1,
        pa.py_buffer(np.ascontiguousarray(offsets)),
        pa.py_buffer(np.ascontiguousarray(data)),
    )


@kernel.inlined
def decode(data, i):
    """The code point that starts at byte i of valid UTF-8, and its width in bytes (1 to 4)."""
    a = np.int64(data[i])
    if a < 0x80:
        return a, 1
    if a < 0xE0:
        return (a & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F), 2
    if a < 0xF0:
        return (a & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F), 3
    return (
        (a & 0x07) << 18
        | (np.int64(data[i + 1]) & 0x3F) << 12
        | (np.int64(data[i + 2]) & 0x3F) << 6
        | (np.int64(data[i + 3]) & 0x3F),
        4,
    )


@functools.cache
def kinds() -> np.ndarray:
    """uint8 [0x110000]: SEPARATOR, WORD (letter, mark, number, connector) or UNSPACED (the same, in a script that
    writes no spaces between words: Han, kana, Thai, Lao, Khmer, Myanmar, Tibetan).

    A table of one Unicode version travels with the package, so that a corpus does not depend on the interpreter.
    source  Unicode 14.0 general categories and scripts (tables/unicode.npz, made by roots/tables/unicode.py)
    """
    return _tables()["kind"]


@functools.cache
def lowercase() -> np.ndarray:
    """int32 [0x110000]: the lower-case code point of each code point, itself where there is none or more than one."""
    return _tables()["lower"]


@functools.cache
def foldings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What word characters are compared as, where that is not themselves: code points int32 [n], how many each
    becomes uint8 [n], and those, end to end, int32.

    A code point becomes the compatibility decomposition (NFKD) of its full case folding where that consists of WORD
    characters; or else its composed form (kana keep their marks, Hangul does not); a default ignorable one (soft
    hyphen, joiners, variation selectors) becomes nothing. Marks are not put in canonical order: text in NFC, NFD,
    NFKC or NFKD is in it already.

    source  Unicode 14.0, section 3.13 (toNFKC_Casefold, of which this is the decomposed form)
    """
    return _tables()["fold_from"], _tables()["fold_length"], _tables()["fold_to"]


@functools.cache
def _tables() -> dict[str, np.ndarray]:
    with (resources.files("roots.tables") / "unicode.npz").open("rb") as file, np.load(file) as tables:
        kind = tables["kind"]
        lower = np.arange(0x110000, dtype=np.int32)
        lower[tables["lower_from"]] = tables["lower_to"]
        folds = {name: tables[name] for name in ("fold_from", "fold_length", "fold_to")}
    return {"kind": kind, "lower": lower, **folds}
