"""Repeated text by windows against a suffix array, on the same bytes in one run: equal spans, and the time of each.

    python -m benchmarks.substring [FOLDER] [--megabytes N]      needs pydivsufsort

The suffix array is libdivsufsort's (C); neighbours that agree in 50 bytes are grouped by numpy. Both take one core;
CPU seconds. Folders hold *.jsonl.gz or *.jsonl.zst with a field `text`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pydivsufsort

from benchmarks import minhash as texts
from roots import exact, substring, utf8

BYTES_MIN = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of texts; default: generated Zipf-like text")
    parser.add_argument("--megabytes", type=float, default=20, help="text to read, in MB (default: 20)")
    options = parser.parse_args()
    read = texts.read(options.folder) if options.folder else texts.generated()
    text = pa.array(texts.limited(read, options.megabytes), pa.string())
    for function in (by_windows, by_suffix_array):
        function(pa.array(["compile " * 60]))
    covered = {}
    seconds = {}
    for name, function in (("windows", by_windows), ("suffix array", by_suffix_array)):
        started = time.process_time()
        covered[name] = function(text)
        seconds[name] = time.process_time() - started
    size = len(covered["windows"]) / 1e6
    for name, taken in seconds.items():
        print(
            f"{name:<13} {taken:6.2f} s, {size / taken:6.1f} MB/s, {covered[name].mean():.2%} of {size:.1f} MB repeated"
        )
    equal = bool((covered["windows"] == covered["suffix array"]).all())
    print(f"ratio {seconds['suffix array'] / seconds['windows']:.1f}, bytes covered {'equal' if equal else 'DIFFER'}")
    return 0 if equal else 1


def by_windows(text: pa.StringArray) -> np.ndarray:
    """bool [bytes]: whether a repeated window covers the byte; what the stages do, without their files."""
    runs = substring.runs(text, BYTES_MIN)
    often = np.sort(np.concatenate([runs.anchor[exact.shared(runs.anchor)], runs.anchor[runs.several]]))
    shared = often[np.minimum(np.searchsorted(often, runs.anchor), len(often) - 1)] == runs.anchor
    keys, row, start = substring.windows(text, substring.Runs(*(part[shared] for part in runs)), BYTES_MIN)
    again = exact.shared(keys[:, 0])
    keys, row, start = keys[again], row[again], start[again]
    order = np.argsort(keys[:, 0], kind="stable")  # of equal keys the first in place comes first
    fresh = np.concatenate([[True], (keys[order[1:]] != keys[order[:-1]]).any(axis=1)])[: len(order)]
    again = np.sort(order[~fresh])
    offsets = utf8.view(text)[1].astype(np.int64)
    return marked(offsets[row[again]] + start[again], offsets[-1])


def by_suffix_array(text: pa.StringArray) -> np.ndarray:
    """The same by sorting all suffixes of the documents end to end; windows over a document's end do not count."""
    data, offsets = utf8.view(text)
    suffixes = pydivsufsort.divsufsort(data[: offsets[-1]]).astype(np.int64)
    doc = np.searchsorted(offsets, suffixes, side="right") - 1
    suffixes = suffixes[suffixes + BYTES_MIN <= offsets[doc + 1]]
    begins = np.flatnonzero(np.concatenate([[True], ~agreeing(data, suffixes)])[: len(suffixes)])
    first = np.repeat(np.minimum.reduceat(suffixes, begins), np.diff(np.append(begins, len(suffixes))))
    return marked(np.sort(suffixes[suffixes != first]), int(offsets[-1]))


@numba.njit
def agreeing(data, suffixes):
    """bool [suffixes - 1]: whether a suffix agrees with the one before it in the first bytes."""
    out = np.ones(len(suffixes) - 1, np.bool_)
    for k in range(len(out)):
        for byte in range(BYTES_MIN):
            if data[suffixes[k] + byte] != data[suffixes[k + 1] + byte]:
                out[k] = False
                break
    return out


@numba.njit
def marked(starts: np.ndarray, size: int) -> np.ndarray:
    """bool [size]: the bytes of the windows that begin at these places, which ascend."""
    marks = np.zeros(size, np.bool_)
    behind = 0
    for start in starts:
        marks[max(start, behind) : start + BYTES_MIN] = True
        behind = start + BYTES_MIN
    return marks


if __name__ == "__main__":
    sys.exit(main())
