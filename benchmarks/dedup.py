"""Whole de-duplication beside datatrove's MinHash pipeline, and signatures beside rensa and datasketch, in one run.

    python -m benchmarks.dedup [FOLDER] --peers PYTHON [--megabytes N]

PYTHON is an interpreter with `datatrove[processing,io]`, rensa and datasketch (their numpy and xxhash need not be
ours). Both read one JSON Lines file and use shingles of five words, 21 bands of 6 rows; ours also finds exact copies,
verifies every pair and writes its documents anew at each stage. One core each; CPU seconds; nothing of imports and
compilation. Ends with status 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from benchmarks import minhash as texts
from pipelines import manifest, recipe, run, runner, stage
from roots import minhash

RATIO_MIN = 30  # times datatrove's MB/s, whole de-duplication
KERNEL_MIN = 100.0  # MB/s of the signatures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of texts; default: generated Zipf-like text")
    parser.add_argument("--peers", required=True, help="interpreter that has datatrove, rensa and datasketch")
    parser.add_argument("--megabytes", type=float, default=80, help="text to read, in MB (default: 80)")
    options = parser.parse_args()
    read = texts.read(options.folder) if options.folder else texts.generated()
    documents = [{"id": str(n), "text": text} for n, text in enumerate(texts.limited(read, options.megabytes))]
    size = sum(len(document["text"].encode()) for document in documents) / 1e6
    print(f"{size:.1f} MB of text, {len(documents):,} documents, {options.folder or 'generated'}")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        few, whole = work / "few.jsonl", work / "texts.jsonl"
        for path, rows in ((few, documents[:20]), (whole, documents)):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        settings = recipe.load(Path("tools.toml")).dedup
        bands, rows = minhash.bands_and_rows(settings.num_perm, settings.threshold, settings.recall_min)
        command = [options.peers, "benchmarks/dedup_peers.py", str(whole), str(work / "peers")]
        command += ["--bands", str(bands), "--rows", str(rows), "--ngram", str(settings.ngram)]
        command += ["--num-perm", str(settings.num_perm)]
        ours(few, work / "few-run")
        seconds, kept = ours(whole, work / "run")
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    peers = json.loads(done.stdout.splitlines()[-1])
    signed = signatures(documents, settings)
    rows_of_table = [
        ("whole, ours", sum(seconds.values())),
        ("  of it, the dedup stages", sum(taken for name, taken in seconds.items() if "dedup" in name)),
        ("whole, datatrove", peers["seconds"]["datatrove"]),
        ("signatures, ours, from text", signed),
        *((f"signatures, {name}", taken) for name, taken in peers["seconds"].items() if name != "datatrove"),
    ]
    for name, taken in rows_of_table:
        print(f"{name:<38} {taken:8.2f} s {size / taken:8.1f} MB/s per core")
    ratio, kernel = peers["seconds"]["datatrove"] / rows_of_table[0][1], size / signed
    alone = peers["seconds"]["datatrove"] / rows_of_table[1][1]
    print(f"kept: ours {kept:,}, datatrove {peers['kept']:,} (which verifies no pair)")
    print(
        f"whole de-duplication: {ratio:.0f} times as fast as datatrove (bar: {RATIO_MIN}), {alone:.0f} without reading"
    )
    print(f"kernel: {kernel:.0f} MB/s (bar: {KERNEL_MIN:.0f})")
    return 0 if ratio >= RATIO_MIN and kernel >= KERNEL_MIN else 1


def ours(file: Path, output: Path) -> tuple[dict[str, float], int]:
    """CPU seconds of each stage from the file to the verdicts, and how many documents stay."""
    source = recipe.SourceOptions(language="en", path=str(file), id="id")
    chosen = dataclasses.replace(
        recipe.load(Path("tools.toml")), sources=recipe.Sources(extra=("texts",), options={"texts": source})
    )
    context, seconds, started = stage.Context(output, chosen), {}, time.process_time()

    def watch(progress: run.Progress) -> None:
        nonlocal started
        if progress.finished:
            seconds[progress.stage] = time.process_time() - started
            started = time.process_time()

    run.run(context, "dedup", runner.Engine(), watch)
    removed = sum(sum(part.facts.values()) for part in context.manifests("dedup"))
    return seconds, manifest.total(part.counts for part in context.manifests("documents")).kept - removed


def signatures(documents: list[dict[str, str]], settings: recipe.Dedup) -> float:
    text = pa.array([document["text"] for document in documents])
    best = float("inf")
    for _ in range(texts.REPEATS):
        started = time.process_time()
        minhash.signatures(text, num_perm=settings.num_perm, seed=settings.seed, ngram=settings.ngram)
        best = min(best, time.process_time() - started)
    return best


if __name__ == "__main__":
    sys.exit(main())
