"""Speed of finding and replacing personal data, and of regexes for the same things over all the text.

    python -m benchmarks.pii DIR [--megabytes 8] [--sources lm_en_eltec_novels ...]

DIR holds folders of JSON Lines (.jsonl, .gz, .zst) with a `text` field. MB per CPU-second of one thread, the
best of three for ours. The regexes are what one would write first, bounded where they would be quadratic.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import zstandard

from roots import pii

SOURCES = (
    "lm_en_eltec_novels",
    "lm_fr_php_manual",
    "lm_zhs_php_manual",
    "lm_ar_edgeai_course",
    "lm_indic-hi_edgeai_course",
    "lm_nigercongo-sw_bible_corpus",
    "lm_vi_d2l_book",
    "lm_code_python",
    "lm_code_java",
)
NAIVE = {
    "EMAIL": r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}",
    "IP_ADDRESS": r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\b"
    r"|\b(?:[0-9A-Fa-f]{1,4}:){1,7}:(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{1,4}\b",
    "KEY": r"\b(?=[A-Za-z+/_-]{0,64}\d)[A-Za-z0-9+/_-]{20,}\b",
    "USER": r"(?<![\w@.])@\w[\w.-]{2,29}",
}


def documents(folder: Path, size: int) -> Iterator[str]:
    """Texts of a source, at least `size` bytes if it has them."""
    for path in sorted(p for p in folder.iterdir() if ".jsonl" in p.name):
        for line in lines(path):
            text = orjson.loads(line)["text"]
            size -= len(text.encode())
            yield text
            if size <= 0:
                return


def lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        if path.suffix == ".zst":
            yield from io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file))
        elif path.suffix == ".gz":
            with gzip.open(file) as plain:
                yield from plain
        else:
            yield from file


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def measured(texts: list[str], patterns: list[re.Pattern[str]]) -> str:
    """Megabytes, spans, MB/s of find and redact, of find alone and of the regexes, and ours to theirs."""
    array = pa.array(texts, pa.string())
    size = sum(len(text.encode()) for text in texts) / 1e6
    both = cpu_seconds(lambda: pii.redact(array, pii.find(array)), 3)
    find = cpu_seconds(lambda: pii.find(array), 3)
    original = cpu_seconds(lambda: pii.find(array, preset="roots-original"), 1)
    naive = cpu_seconds(lambda: [sum(1 for _ in p.finditer(t)) for t in texts for p in patterns], 1)
    speeds = f"{size / both:7.0f} {size / find:7.0f} {size / original:9.0f} {size / naive:6.1f}"
    return f"{size:6.1f} {len(pii.find(array)):7} {speeds} {naive / both:6.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--sources", nargs="*", default=SOURCES)
    options = parser.parse_args()
    patterns = [re.compile(pattern) for pattern in NAIVE.values()]
    for preset in pii.PRESETS:  # compiles
        pii.redact(warm := pa.array(["@bob"]), pii.find(warm, preset=preset))
    names = f"{'redact':>7} {'find':>7} {'original':>9} {'regex':>6} {'ratio':>6}"
    print(f"{'source':32} {'MB':>6} {'spans':>7} {names}")
    for source in options.sources:
        if (options.folder / source).is_dir():
            texts = list(documents(options.folder / source, int(options.megabytes * 1e6)))
            print(f"{source:32} {measured(texts, patterns)}")
        else:
            print(f"{source:32} not there")


if __name__ == "__main__":
    main()
