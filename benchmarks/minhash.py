"""Our MinHash kernel against datasketch on the same texts, in one run: speed, equality, error.

    python benchmarks/minhash.py [FOLDER]

Prints MB/s of a core (CPU time), whether the values are equal, and the error of the estimate against theory.
Ends with status 1 where a bar is missed. Folders hold *.jsonl.gz or *.jsonl.zst with a field `text`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasketch
import numba
import numpy as np
import pyarrow as pa
import xxhash
import zstandard

from roots import minhash, shingles

NUM_PERM, SEED, NGRAM = 128, 1, 5
SPEEDUP_MIN = 20  # times the MB/s of datasketch
BIAS_MAX = 0.005
ERROR_EXCESS_MAX = 0.10  # mean absolute error against 0.8 * sqrt(J (1 - J) / NUM_PERM)
PAIRS = 1_600  # of the error measurement; its own standard error is then 2 % of the mean absolute error
REPEATS = 3  # the best of these counts, as the machine may be shared


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of texts; default: generated Zipf-like text")
    parser.add_argument("--megabytes", type=float, default=10, help="text to read, in MB (default: 10)")
    options = parser.parse_args()

    documents = list(limited(read(options.folder) if options.folder else generated(), options.megabytes))
    if not documents:
        parser.error(f"{options.folder}: no *.jsonl.gz or *.jsonl.zst below it holds a text")
    megabytes = sum(len(d.encode()) for d in documents) / 1e6
    print(f"machine     {platform.machine()}, {platform.system()}, CPython {platform.python_version()}")
    print(f"packages    datasketch {datasketch.__version__}, numba {numba.__version__}, numpy {np.__version__}")
    print(f"texts       {options.folder or 'generated'}: {len(documents):,} documents, {megabytes:.1f} MB")
    print(f"signatures  {NUM_PERM} permutations, shingles of {NGRAM} words, one core, CPU time")
    reached = [speed(documents, megabytes), error()]
    return 0 if all(reached) else 1


def read(folder: Path) -> Iterator[str]:
    """The texts below a folder, one from each file in turn, so that a limit still reads all languages."""
    files = [lines(path) for path in sorted(folder.rglob("*.jsonl.*")) if path.suffix in (".gz", ".zst")]
    while files:
        for file in list(files):
            line = next(file, None)
            if line is None:
                files.remove(file)
            elif text := json.loads(line).get("text"):
                yield text


def lines(path: Path) -> Iterator[str]:
    with path.open("rb") as raw:
        if path.suffix == ".gz":
            yield from io.TextIOWrapper(gzip.GzipFile(fileobj=raw), "utf-8")
        else:
            reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            yield from io.TextIOWrapper(reader, "utf-8")


def generated() -> Iterator[str]:
    """Documents of about 300 words, their ranks Zipf-distributed over 50,000 made-up words."""
    draws = np.random.default_rng(SEED)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    vocabulary = np.array(["".join(draws.choice(letters, n)) for n in draws.integers(2, 10, 50_000)])
    share = 1 / (np.arange(len(vocabulary)) + 2.7)
    while True:
        size = int(draws.lognormal(5.5, 0.6)) + 1
        yield " ".join(draws.choice(vocabulary, size, p=share / share.sum()).tolist())


def limited(documents: Iterator[str], megabytes: float) -> Iterator[str]:
    left = megabytes * 1e6
    for document in documents:
        yield document
        left -= len(document.encode())
        if left <= 0:
            return


def seconds(function: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def speed(documents: list[str], megabytes: float) -> bool:
    """Three ways to such signatures; the second is the whole path as a user of datasketch writes it."""
    text = pa.array(documents)
    ours = minhash.signatures(text, num_perm=NUM_PERM, seed=SEED, ngram=NGRAM)  # compiles
    values, offsets = shingles.hashes(text, NGRAM)
    given = [v.tolist() for v in np.split(values & np.uint64(0xFFFFFFFF), offsets[1:-1])]

    ways: dict[str, Callable[[], object]] = {
        "ours, from text": lambda: minhash.signatures(text, num_perm=NUM_PERM, seed=SEED, ngram=NGRAM),
        "datasketch, from text": lambda: [sketch(words(d), xxhash.xxh32_intdigest) for d in documents],
        "datasketch, from our shingle hashes": lambda: [sketch(g, int) for g in given],
    }
    figures = {name: megabytes / seconds(way) for name, way in ways.items()}
    for name, figure in figures.items():
        print(f"speed       {figure:7.1f} MB/s  {name}")
    kernel, from_text, from_hashes = figures.values()
    times = kernel / from_text
    print(f"speedup     {times:.0f} times (bar: {SPEEDUP_MIN}), {kernel / from_hashes:.0f} times the last line")
    equal = all((sketch(g, int) == row).all() for g, row in zip(given, ours, strict=True))
    print(f"equality    {'every value equal' if equal else 'VALUES DIFFER'}, {len(documents):,} documents")
    return report("speed and equality", equal and times >= SPEEDUP_MIN)


def words(document: str) -> list[bytes]:
    tokens = re.findall(r"\w+", document.lower())
    return [" ".join(tokens[k : k + NGRAM]).encode() for k in range(max(1, len(tokens) - NGRAM + 1))]


def sketch(shingles_of_one: list, hashfunc: Callable) -> np.ndarray:
    minhash_of_one = datasketch.MinHash(num_perm=NUM_PERM, seed=SEED, hashfunc=hashfunc, scheme="affine32")
    minhash_of_one.update_batch(shingles_of_one)
    return minhash_of_one.hashvalues


def error() -> bool:
    """Bias and mean absolute error of the estimate over pairs of every similarity."""
    text = pa.array([d for k in range(PAIRS) for d in pair(k, k / (PAIRS - 1))])
    values, offsets = shingles.sets(text, NGRAM)
    exact = shingles.pair_jaccard(values, offsets, np.arange(2 * PAIRS).reshape(PAIRS, 2))
    signatures = minhash.signatures(text, num_perm=NUM_PERM, seed=SEED, ngram=NGRAM)
    deviation = minhash.estimate(signatures[::2], signatures[1::2]) - exact
    bias, absolute = deviation.mean(), np.abs(deviation).mean()
    theory = (0.8 * np.sqrt(exact * (1 - exact) / NUM_PERM)).mean()
    print(f"estimate    {PAIRS:,} pairs, exact Jaccard {exact.min():.2f} to {exact.max():.2f}")
    print(f"bias        {bias:+.5f} (bar: {BIAS_MAX})")
    excess = absolute / theory - 1
    print(f"mean error  {absolute:.5f}, theory {theory:.5f}: {excess:+.1%} (bar: {ERROR_EXCESS_MAX:.0%})")
    return report("estimate", abs(bias) < BIAS_MAX and abs(excess) < ERROR_EXCESS_MAX)


def pair(number: int, share: float) -> tuple[str, str]:
    """Two texts of 800 words each that have this share of their sentences in common; no word occurs twice."""
    sentences = [" ".join(f"{number}x{n + k}" for k in range(8)) for n in range(0, 1600, 8)]
    shared = round(100 * share)
    return ". ".join(sentences[:100]), ". ".join(sentences[100 - shared : 200 - shared])


def report(what: str, reached: bool) -> bool:
    print(f"{'reached' if reached else 'MISSED':11} {what}")
    return reached


if __name__ == "__main__":
    sys.exit(main())
