"""Encoding: our kernels beside Hugging Face `tokenizers`, fastokens and tiktoken, on the same unseen text in one run.

    python -m benchmarks.encode FOLDER [--megabytes 20] [--vocab-size 250680] [--train-megabytes 150]
    python -m benchmarks.encode FOLDER --identity [--vocab-size 250680]

A vocabulary is learned from every second document of the folder; the others are encoded, all kinds together and then
those of some sources by themselves, each encoder starting cold. CPU seconds of all threads. The ids of every document
are compared with those of `encode_batch_fast`; a document that spells a special token counts for the peers too, which
may take it for one. The peers come with `pip install 'bloom-roots[bench]'`; one that is not there is left out.

With `--identity` nothing is timed: the vocabulary is learned from all documents, and all are encoded by us and by
`encode_batch`, a few at a time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import tokenizers

from benchmarks import texts
from tokenizer import count, encode, learn, spec

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

KINDS = {"all": "", "English": "lm_en_", "code": "lm_code_", "classical Chinese": "chinese_poetry", "Arabic": "lm_ar_"}
SPEEDUP_MIN = 10  # times encode_batch_fast

Encode = Callable[[list[str]], list[list[int]]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of texts")
    parser.add_argument("--megabytes", type=float, default=20, help="text of each kind, in MB (default: 20)")
    parser.add_argument("--vocab-size", type=int, default=spec.VOCAB_SIZE, help="tokens to learn (default: 250680)")
    parser.add_argument("--train-megabytes", type=float, default=150, help="text to learn from, in MB (default: 150)")
    parser.add_argument("--identity", action="store_true", help="compare the ids of all documents, time nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if options.identity:
            return identity(options, Path(work))
        train = itertools.islice(texts.documents(options.folder, 2e6 * options.train_megabytes), 0, None, 2)
        learned = learn.learn(count.of(texts.batches(train)), options.vocab_size)
        learn.save(learned.tokenizer(), Path(work))
        worst = min(compare(name, kind, options, Path(work)) for name, kind in KINDS.items())
    print(f"least ratio {worst:.1f}, wanted {SPEEDUP_MIN}")
    return 0 if worst >= SPEEDUP_MIN else 1


def identity(options: argparse.Namespace, work: Path) -> int:
    """Compare our ids with those of `encode_batch` for every document below the folder."""
    learned = learn.learn(count.of(texts.batches(texts.documents(options.folder))), options.vocab_size)
    learn.save(learned.tokenizer(), work)
    encoder, loaded = encode.Encoder(work), tokenizers.Tokenizer.from_file(str(work / learn.TOKENIZER))
    loaded.encode_special_tokens = True
    documents = size = tokens = different = 0
    for batch in texts.batches(texts.documents(options.folder)):
        ids, ends = encoder.encode(batch)
        theirs = loaded.encode_batch(batch.to_pylist(), add_special_tokens=False)
        for start, end, encoding in zip(ends[:-1], ends[1:], theirs, strict=True):
            different += not np.array_equal(ids[start:end], encoding.ids)
        documents, tokens = documents + len(batch), tokens + len(ids)
        size += batch.nbytes - 4 * (len(batch) + 1)
    print(f"{documents:,} documents, {size:,} bytes, {tokens:,} tokens of {encoder.vocab_size:,}: {different:,} differ")
    return 0 if documents and not different else 1


def compare(name: str, kind: str, options: argparse.Namespace, work: Path) -> float:
    """Print a line for each encoder; our speed over that of encode_batch_fast."""
    unseen = itertools.islice(texts.documents(options.folder, 2e6 * options.megabytes, kind), 1, None, 2)
    batches = list(texts.batches(unseen))
    size = sum(batch.nbytes - 4 * (len(batch) + 1) for batch in batches) / 1e6
    arrays = [batch.to_pylist() for batch in batches]
    print(f"\n{name}: {size:.1f} MB, {sum(map(len, batches)):,} documents", flush=True)
    seconds, want = timed(library(work), arrays)
    reference = size / seconds
    print(f"  encode_batch_fast      {reference:7.2f} MB/s")
    for peer, start in PEERS.items():
        try:
            other = start(work)
        except ImportError:
            print(f"  {peer:22} not installed")
            continue
        seconds, got = timed(other, arrays)
        print(f"  {peer:22} {size / seconds:7.2f} MB/s  {size / seconds / reference:5.1f} times  {same(got, want)}")
    encoder = encode.Encoder(work)
    encoder.encode(pa.array(["warm"]))
    for round_ in ("ours, cold", "ours, once more"):
        start_time = time.process_time()
        found = [encoder.encode(batch) for batch in batches]
        seconds = time.process_time() - start_time
        got = [ids[a:b].tolist() for ids, ends in found for a, b in itertools.pairwise(ends)]
        if round_ == "ours, cold":
            ratio = size / seconds / reference
        print(f"  {round_:22} {size / seconds:7.2f} MB/s  {size / seconds / reference:5.1f} times  {same(got, want)}")
    return ratio


def timed(function: Encode, batches: list[list[str]]) -> tuple[float, list[list[int]]]:
    function(["warm"])
    start = time.process_time()
    found = [ids for batch in batches for ids in function(batch)]
    return time.process_time() - start, found


def same(got: list[list[int]], want: list[list[int]]) -> str:
    return f"{sum(a == b for a, b in zip(got, want, strict=True)):,} of {len(want):,} documents identical"


def library(work: Path) -> Encode:
    loaded = tokenizers.Tokenizer.from_file(str(work / learn.TOKENIZER))
    loaded.encode_special_tokens = True
    return lambda batch: [e.ids for e in loaded.encode_batch_fast(batch, add_special_tokens=False)]


def fastokens(work: Path) -> Encode:
    import fastokens

    loaded = fastokens.Tokenizer.from_file(str(work / learn.TOKENIZER))
    return lambda batch: [e.ids for e in loaded.encode_batch(batch, add_special_tokens=False)]


def tiktoken(work: Path) -> Encode:
    import tiktoken

    marks = "".join(re.escape(chr(point)) for point in spec.SEPARATORS)
    ranks = {token: n for n, token in enumerate(encode.Encoder(work).tokens()) if n >= len(spec.SPECIALS)}
    pattern = f" ?[^{marks}]+|[{marks}]+(?= [^{marks}])|[{marks}]+"
    loaded = tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda batch: loaded.encode_ordinary_batch(batch, num_threads=1)


PEERS: dict[str, Callable[[Path], Encode]] = {"fastokens": fastokens, "tiktoken": tiktoken}

if __name__ == "__main__":
    sys.exit(main())
