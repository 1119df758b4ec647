"""Speed of finding and replacing personal data, against the same kinds of thing sought by regexes over all text.

    python -m benchmarks.pii DIR [--megabytes 8] [--sources lm_en_eltec_novels ...]

DIR holds folders of JSON Lines (.jsonl, .gz, .zst) with a `text` field. CPU-seconds of one thread; best of 3 for ours.
The regexes are what one would write first: narrow patterns, bounded where an unbounded one would be quadratic.
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
    *(
        "lm_en_eltec_novels",
        "lm_fr_php_manual",
        "lm_zhs_php_manual",
        "lm_ar_edgeai_course",
        "lm_indic-hi_edgeai_course",
    ),
    *("lm_nigercongo-sw_mafand_news", "lm_vi_edgeai_course", "lm_code_python", "lm_code_java"),
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
        raw = path.open("rb")
        if path.suffix == ".zst":
            raw = zstandard.ZstdDecompressor().stream_reader(raw)
        elif path.suffix == ".gz":
            raw = gzip.open(raw)
        for line in io.BufferedReader(raw):
            text = orjson.loads(line)["text"]
            size -= len(text.encode())
            yield text
            if size <= 0:
                return


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--sources", nargs="*", default=SOURCES)
    options = parser.parse_args()
    patterns = [re.compile(pattern) for pattern in NAIVE.values()]
    pii.redact(warm := pa.array(["@bob"]), pii.find(warm))
    print(
        f"{'source':32} {'MB':>6} {'spans':>7} {'ours MB/s':>10} {'find alone':>10} {'regex MB/s':>10} {'ratio':>6}"
    )
    for source in options.sources:
        if not (options.folder / source).is_dir():
            print(f"{source:32} not there")
            continue
        texts = list(documents(options.folder / source, int(options.megabytes * 1e6)))
        array = pa.array(texts, pa.string())
        size = sum(len(text.encode()) for text in texts) / 1e6
        spans = pii.find(array)
        both = cpu_seconds(lambda array=array: pii.redact(array, pii.find(array)), 3)  # type: ignore[misc]
        find = cpu_seconds(lambda array=array: pii.find(array), 3)  # type: ignore[misc]
        naive = cpu_seconds(
            lambda texts=texts: [sum(1 for _ in p.finditer(t)) for t in texts for p in patterns],  # type: ignore[misc]
            1,
        )
        row = f"{size:6.1f} {len(spans):7} {size / both:10.0f} {size / find:10.0f} {size / naive:10.1f} {naive / both:6.0f}"
        print(f"{source:32} {row}")


if __name__ == "__main__":
    main()
