"""Training and encoding speed of the tokenizer on one text, in MB/s of a core.

    python benchmarks/bpe.py [FOLDER] [--megabytes 10] [--vocab-size 32000]

Text is read from *.jsonl.gz, *.jsonl.zst (field `text`) and *.txt below FOLDER, a document of each file in
turn; without FOLDER it is generated. Nine documents of ten are trained on, the tenth is encoded. Times are
CPU seconds of all threads together.

The file is not called tokenizer.py: a script's folder comes first on the path, and the package of that name
would be hidden from every benchmark beside it.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import platform
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import tokenizers
import zstandard

from tokenizer import encode, learn

SEED = 1
TRAIN_DOCUMENTS = 1_000  # in one list
ENCODE_DOCUMENTS = 1_000  # in one batch
REPEATS = 3  # encodings; the best counts, as the machine may be shared


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of texts; default: generated text")
    parser.add_argument("--megabytes", type=float, default=10, help="text to read, in MB (default: 10)")
    parser.add_argument("--vocab-size", type=int, default=32_000, help="tokens to learn (default: 32000)")
    options = parser.parse_args()

    source = read(options.folder) if options.folder else generated()
    documents = list(limited(source, options.megabytes * 1e6))
    held_out = documents[::10]
    if len(documents) < 10:
        parser.error(f"{options.folder}: {len(documents)} documents found below it, at least 10 are needed")
    trained_on = [document for n, document in enumerate(documents) if n % 10]
    print(f"machine     {platform.machine()}, {platform.system()}, CPython {platform.python_version()}")
    print(f"packages    tokenizers {tokenizers.__version__}, numpy {np.__version__}, pyarrow {pa.__version__}")
    print(f"texts       {options.folder or 'generated'}: {len(documents):,} documents")
    with tempfile.TemporaryDirectory() as folder:
        train(trained_on, options.vocab_size, Path(folder))
        encode_all(held_out, encode.Encoder(Path(folder)))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return 0


def train(documents: list[str], vocab_size: int, folder: Path) -> None:
    lists = (documents[n : n + TRAIN_DOCUMENTS] for n in range(0, len(documents), TRAIN_DOCUMENTS))
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a smaller vocabulary is seen in the line below
        learned = learn.train(lists, vocab_size)
    seconds = time.process_time() - start
    learn.save(learned, folder)
    size = megabytes(documents)
    print(f"train       {size:.1f} MB, {learned.get_vocab_size():,} tokens: {seconds:.1f} s, {size / seconds:.2f} MB/s")


def encode_all(documents: list[str], encoder: encode.Encoder) -> None:
    batches = [pa.array(documents[n : n + ENCODE_DOCUMENTS]) for n in range(0, len(documents), ENCODE_DOCUMENTS)]
    size, times = megabytes(documents), []
    for _ in range(REPEATS):
        start = time.process_time()
        tokens = sum(len(encoder.encode(batch)[0]) for batch in batches)
        times.append(time.process_time() - start)
    print(
        f"encode      {size:.1f} MB, {size * 1e6 / tokens:.2f} bytes per token: {size / times[0]:.2f} MB/s "
        f"the first time, {size / min(times):.2f} at best"
    )


def megabytes(documents: list[str]) -> float:
    return sum(len(document.encode()) for document in documents) / 1e6


def read(folder: Path) -> Iterator[str]:
    """The texts below a folder, one of each file in turn, so that a limit still reads all languages."""
    files = [texts(path) for path in sorted(folder.rglob("*")) if path.suffix in (".gz", ".zst", ".txt")]
    while files:
        for file in list(files):
            text = next(file, None)
            if text is None:
                files.remove(file)
            elif text:
                yield text


def texts(path: Path) -> Iterator[str]:
    if path.suffix == ".txt":
        yield path.read_text(encoding="utf-8", errors="replace")
        return
    if not path.name.endswith((".jsonl.gz", ".jsonl.zst")):
        return
    with path.open("rb") as raw:
        stream = (
            gzip.GzipFile(fileobj=raw)
            if path.suffix == ".gz"
            else zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        )
        for line in io.TextIOWrapper(stream, "utf-8"):
            yield json.loads(line).get("text") or ""


def generated() -> Iterator[str]:
    """Documents of about 300 words, drawn by a Zipf law from 50,000 made-up words in sentences."""
    draws = np.random.default_rng(SEED)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    words = np.array(["".join(draws.choice(letters, n)) for n in draws.integers(2, 10, 50_000)])
    share = 1 / (np.arange(len(words)) + 2.7)
    while True:
        drawn = draws.choice(words, int(draws.lognormal(5.5, 0.6)) + 1, p=share / share.sum())
        marks = draws.choice(np.array(["", "", "", "", "", ",", "."]), len(drawn))
        yield " ".join(np.char.add(drawn, marks).tolist())


def limited(documents: Iterator[str], left: float) -> Iterator[str]:
    """Documents until their bytes have filled `left`."""
    for document in documents:
        yield document
        left -= len(document.encode())
        if left <= 0:
            return


if __name__ == "__main__":
    sys.exit(main())
