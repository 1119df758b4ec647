"""Learning a vocabulary: our counting and learning beside the trainer of Hugging Face `tokenizers`, on one text.

    python -m benchmarks.bpe_learn FOLDER [--megabytes 400] [--vocab-size 250680] [--pieces 16000000]

Each runs in a process of its own; CPU seconds of all its threads, and its highest resident memory. The trainer's
counting ends where it has read the last document. Our learner reads the table that our counting wrote, as the stages
of a run do. The merges are compared, also those of our 8,000 and 32,000, which must be where the larger begin.
`--pieces` besides learns from so many distinct pieces, put together from halves of the text's own, with counts by a
Zipf law; and the text's again with one piece of a megabyte more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import texts
from tokenizer import count, learn, spec

SEED = 1
WORD_BYTES = 24  # a made-up piece is of two that are no longer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of texts")
    parser.add_argument("--megabytes", type=float, default=400, help="text to read, in MB (default: 400)")
    parser.add_argument("--vocab-size", type=int, default=spec.VOCAB_SIZE, help="tokens to learn (default: 250680)")
    parser.add_argument("--pieces", type=int, default=0, help="also learn from so many made-up pieces (default: none)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the trainer (default: 2)")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        CHILDREN[options.child](options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        options.work = Path(folder)
        compare(options)
    return 0


def compare(options: argparse.Namespace) -> None:
    counted = child("count", options)
    tell("our counting", counted, f"{counted['megabytes'] / counted['cpu']:.1f} MB/s, {counted['pieces']:,} pieces")
    learned = {size: child("learn", options, size) for size in sorted({8_000, 32_000, options.vocab_size})}
    for size, result in learned.items():
        tell(f"our learning, {size:,}", result, f"{result['merges']:,} merges, the last of {result['last']:,}")
    if options.pieces:
        tell("with a 1 MB piece", child("long", options), "")
        many = child("many", options)
        tell("made-up pieces", many, f"{many['pieces']:,} pieces of {many['bytes'] / many['pieces']:.1f} bytes")
    theirs = child("library", options)
    speed = theirs["megabytes"] / theirs["count_cpu"]
    tell(
        "the trainer", theirs, f"counting {theirs['count_cpu']:.1f} s ({speed:.1f} MB/s), merging {theirs['cpu']:.1f} s"
    )
    ours = learned[options.vocab_size]
    print(
        f"merging: {theirs['cpu'] / ours['cpu']:.1f} times; memory: {ours['rss'] / theirs['rss']:.2f} of the trainer's"
    )
    print(f"counting: {counted['megabytes'] / counted['cpu'] / speed:.1f} times")
    want = json.loads((options.work / "library.json").read_text(encoding="utf-8"))
    for size in learned:
        got = json.loads((options.work / f"{size}.json").read_text(encoding="utf-8"))
        same = (
            got == want
            if size == options.vocab_size
            else got["model"]["merges"] == want["model"]["merges"][: len(got["model"]["merges"])]
        )
        print(f"{size:,}: {'identical' if same else 'DIFFERENT'}")


def child(name: str, options: argparse.Namespace, size: int = 0) -> dict[str, float]:
    """Run one part in its own process; what it measured."""
    line = [sys.executable, "-m", "benchmarks.bpe_learn", str(options.folder), "--child", name, "--work", options.work]
    line += ["--megabytes", options.megabytes, "--vocab-size", size or options.vocab_size, "--pieces", options.pieces]
    threads = {"RAYON_NUM_THREADS": str(options.threads)}
    done = subprocess.run(
        list(map(str, line)), env={**os.environ, **threads}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def tell(name: str, result: dict[str, float], more: str) -> None:
    print(f"{name:24} {result['cpu']:8.2f} CPU s {result['rss']:6.2f} GB  {more}", flush=True)


def report(**measured: float) -> None:
    print(json.dumps({**measured, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))


def run_count(options: argparse.Namespace) -> None:
    count.of([pa.array(["compiled before the clock starts"])])
    table, size, seconds = count.Table(), 0, 0.0
    for batch in texts.batches(texts.documents(options.folder, options.megabytes * 1e6)):
        start = time.process_time()
        table.add(batch)
        seconds += time.process_time() - start
        size += batch.nbytes
    start = time.process_time()
    found = table.counts()
    seconds += time.process_time() - start
    count.write(options.work / "counts.parquet", found)
    report(cpu=seconds, megabytes=size / 1e6, pieces=len(found))


def timed(counts: count.Counts, vocab_size: int) -> tuple[learn.Learned, float]:
    learn.learn(count.of([pa.array(["compiled before the clock starts"])]), 270)
    start = time.process_time()
    learned = learn.learn(counts, vocab_size, special_collisions="allow")
    return learned, time.process_time() - start


def run_learn(options: argparse.Namespace) -> None:
    learned, seconds = timed(count.read(options.work / "counts.parquet"), options.vocab_size)
    report(cpu=seconds, merges=len(learned.merges), last=int(learned.counts[-1]))
    (options.work / f"{options.vocab_size}.json").write_text(learned.tokenizer().to_str(), encoding="utf-8")


def run_long(options: argparse.Namespace) -> None:
    draws = random.Random(SEED)
    piece = bytes(draws.choices(b"abcdefghijklmnopqrstuvwxyz0123456789", k=2**20))
    long = count.Counts(pa.array([piece], pa.large_binary()), np.ones(1, np.int64))
    table = count.total([count.read(options.work / "counts.parquet"), long])
    _, seconds = timed(table, options.vocab_size)
    report(cpu=seconds)


def run_many(options: argparse.Namespace) -> None:
    """Halves of two words that are near each other in order, and so of one script; clauses of Chinese are left out."""
    own = [
        piece for piece in count.read(options.work / "counts.parquet").pieces.to_pylist() if len(piece) <= WORD_BYTES
    ]
    draws, made = random.Random(SEED), set(own)
    while len(made) < options.pieces:
        i = draws.randrange(len(own))
        a, b = own[i], own[min(len(own) - 1, i + draws.randrange(1000))]
        made.add(a[: (len(a) + 1) // 2] + b[len(b) // 2 :])
    pieces = sorted(made)[: options.pieces]
    draws.shuffle(pieces)
    counts = (len(pieces) / np.arange(1, len(pieces) + 1)).astype(np.int64)
    table = count.Counts(pa.array(pieces, pa.large_binary()), counts)
    own, made, pieces = [], set(), []
    count.write(options.work / "many.parquet", table)
    print(json.dumps(child("made", options)))


def run_made(options: argparse.Namespace) -> None:
    table = count.read(options.work / "many.parquet")
    size = int(count.buffers(table.pieces)[1][-1])
    _, seconds = timed(table, options.vocab_size)
    report(cpu=seconds, pieces=len(table), bytes=size)


def run_library(options: argparse.Namespace) -> None:
    from tokenizers import pre_tokenizers, trainers

    counted, size = 0.0, 0

    def documents():
        nonlocal counted, size
        for text in texts.documents(options.folder, options.megabytes * 1e6):
            size += len(text.encode())
            yield text
        counted = time.process_time()

    built = spec.build_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=options.vocab_size,
        special_tokens=list(spec.SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    reading = time.process_time()
    for _ in documents():
        pass
    reading, size = time.process_time() - reading, 0
    start = time.process_time()
    built.train_from_iterator(documents(), trainer)
    report(count_cpu=counted - start - reading, cpu=time.process_time() - counted, megabytes=size / 1e6)
    (options.work / "library.json").write_text(built.to_str(), encoding="utf-8")


CHILDREN = {
    "count": run_count,
    "learn": run_learn,
    "long": run_long,
    "many": run_many,
    "made": run_made,
    "library": run_library,
}

if __name__ == "__main__":
    sys.exit(main())
