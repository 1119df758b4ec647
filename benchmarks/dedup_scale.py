"""De-duplication of many short documents with planted duplicates: time, memory, recall and precision by similarity.

    python -m benchmarks.dedup_scale 1_000_000 10_000_000 [--work DIR]
    python -m benchmarks.dedup_scale 25_000 100_000 --template          one cluster: pages that differ in a word

Each size runs in a process of its own, through the stages as `roots dedup` runs them, with one worker; CPU seconds
and peak memory are that process's. Documents have 24 made-up words, 20 shingles of five. One in ten is a copy of
another with its last m words replaced, so that their Jaccard similarity is (20 - m) / (20 + m) by construction. The
bands are those of threshold 0.8 and recall 0.99 (21 bands of 6 rows); the threshold of verification is set low, so
that the share that the bands find can be held against theory at every similarity.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import recipe, run, runner, stage
from roots import minhash, utf8

WORDS, LETTERS, NGRAM = 24, 7, 5
SHINGLES = WORDS - NGRAM + 1
REPLACED = (0, 1, 2, 3, 4, 5, 6, 8)  # words of a copy; 0 is an exact copy
PAIRS_SHARE = 20  # one document in so many has a copy: a tenth of all documents are of planted pairs
FILE_DOCUMENTS = 500_000
THRESHOLD, RECALL_MIN = 0.42, 0.1  # just below (20 - 8) / (20 + 8); recall that still gives 21 bands of 6 rows
MEMORY_MAX = 4e9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="+", type=int, help="how many documents")
    parser.add_argument("--work", type=Path, help="folder for the texts and the runs, about 1.5 KB a document")
    parser.add_argument("--template", action="store_true", help="pages of one template instead of planted pairs")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        if options.one:
            return 0 if measure(options.documents[0], Path(temporary), options.template) else 1
    codes = []
    for documents in options.documents:
        command = [sys.executable, "-m", "benchmarks.dedup_scale", str(documents), "--one"]
        command += ["--work", str(options.work)] if options.work else []
        command += ["--template"] if options.template else []
        codes.append(subprocess.run(command, check=False).returncode)
    return max(codes)


def measure(documents: int, work: Path, template: bool) -> bool:
    folder = work / "texts"
    megabytes = (write_pages if template else write)(documents, folder) / 1e6
    warm(work)
    chosen = settings(folder)
    bands, rows = minhash.bands_and_rows(chosen.dedup.num_perm, THRESHOLD, RECALL_MIN)
    print(f"{documents:,} documents, {megabytes:,.0f} MB, {bands} bands of {rows} rows, threshold {THRESHOLD}")
    context, before, started = stage.Context(work / "run", chosen), cpu_seconds(), time.monotonic()
    taken: dict[str, float] = {}

    def watch(progress: run.Progress) -> None:
        if progress.finished:
            taken[progress.stage] = cpu_seconds() - before - sum(taken.values())

    run.run(context, "dedup", runner.Engine(), watch)
    ours = {name: seconds for name, seconds in taken.items() if "dedup" in name}
    print("  " + ", ".join(f"{name.removeprefix('work/')} {seconds:.1f}" for name, seconds in ours.items()))
    total = sum(ours.values())
    print(
        f"  dedup {total:.0f} CPU s: {1e6 * total / documents:.1f} us a document, {megabytes / total:.1f} MB/s per core"
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"  peak memory {memory / 1e9:.2f} GB (bar: {MEMORY_MAX / 1e9:.0f}); wall {time.monotonic() - started:.0f} s")
    keys = sum(path.stat().st_size for path in context.folder("work").rglob("*.seg"))
    print(f"  keys and verdicts on disk: {keys / documents:.0f} bytes a document")
    if template:
        removed = sum(sum(part.facts.values()) for part in context.manifests("dedup"))
        print(f"  {removed:,} of {documents:,} removed")
        return removed == documents - 1 and memory < MEMORY_MAX
    return score(context, documents, bands, rows) and memory < MEMORY_MAX


def settings(folder: Path) -> recipe.Recipe:
    base = recipe.load(Path("tools.toml"), [f"dedup.threshold={THRESHOLD}", f"dedup.recall_min={RECALL_MIN}"])
    source = recipe.SourceOptions(language="en", path=str(folder), format="parquet", id="id")
    return dataclasses.replace(base, sources=recipe.Sources(extra=("made",), options={"made": source}))


def warm(work: Path) -> None:
    """Compile the kernels."""
    write(1000, work / "few")
    run.run(stage.Context(work / "few-run", settings(work / "few")), "dedup", runner.Engine(), lambda progress: None)
    shutil.rmtree(work / "few-run")


def write(documents: int, folder: Path) -> int:
    """Documents 2k and 2k + 1 are a pair where k is below documents / PAIRS_SHARE; pairs lie in different files."""
    folder.mkdir(parents=True)
    files = max(2, documents // FILE_DOCUMENTS)
    total = 0
    for file in range(files):
        numbers = np.arange(file, documents, files)
        data = texts(numbers, documents // PAIRS_SHARE, np.array(REPLACED))
        text = utf8.strings(data, (np.arange(len(numbers) + 1) * WORDS * (LETTERS + 1)).astype(np.int32))
        table = pa.table({"id": pa.array(numbers).cast(pa.string()), "text": text})
        pq.write_table(table, folder / f"part-{file:05d}.parquet", compression="lz4", row_group_size=50_000)
        total += len(data)
    return total


def write_pages(documents: int, folder: Path) -> int:
    """Pages of 400 words that differ in one word, each at a place of its own: 0.95 or more alike, all of them."""
    folder.mkdir(parents=True)
    template = [f"word{n}" for n in range(400)]
    rows = [" ".join([*template[: n % 400], f"page{n}", *template[n % 400 + 1 :]]) for n in range(documents)]
    table = pa.table({"id": [str(n) for n in range(documents)], "text": rows})
    pq.write_table(table, folder / "part-00000.parquet", compression="lz4", row_group_size=10_000)
    return sum(map(len, rows))


@numba.njit
def texts(numbers, pairs, replaced):
    """The bytes of the documents with these numbers, each WORDS * (LETTERS + 1) long."""
    out = np.full(len(numbers) * WORDS * (LETTERS + 1), 32, np.uint8)
    place = 0
    for number in numbers:
        pair = number // 2
        copied = WORDS - replaced[pair % len(replaced)] if pair < pairs and number % 2 else 0
        for word in range(WORDS):
            of = number - 1 if word < copied else number
            x = np.uint64(of) * np.uint64(WORDS) + np.uint64(word + 1)
            x = (x ^ (x >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            x ^= x >> np.uint64(32)
            for letter in range(LETTERS):
                out[place + letter] = np.uint8(97) + np.uint8((x >> np.uint64(5 * letter)) & np.uint64(31)) % np.uint8(
                    26
                )
            place += LETTERS + 1
    return out


def score(context: stage.Context, documents: int, bands: int, rows: int) -> bool:
    """Hold what was found against what was planted."""
    found = {}
    for path in sorted(context.folder("dedup").rglob("*.parquet")):
        table = pq.read_table(path, columns=["id", "witness_id", "similarity"])
        ids, witnesses = (
            np.array([int(value.partition("/")[2]) for value in table[name].to_pylist()], np.int64)
            for name in ("id", "witness_id")
        )
        similarities = table["similarity"].to_pylist()
        found.update(zip(ids.tolist(), zip(witnesses.tolist(), similarities, strict=True), strict=True))
    pairs = np.arange(documents // PAIRS_SHARE)
    planted = {2 * k + 1: 2 * k for k in pairs.tolist()}
    false = sum(planted.get(max(n, w)) != min(n, w) for n, (w, _) in found.items())
    print(f"  {len(found):,} found, {false} of them not planted: precision {1 - false / max(1, len(found)):.6f}")
    print(f"  {'Jaccard':>8} {'planted':>9} {'found':>9} {'recall':>8} {'theory':>8} {'deviations':>10}")
    fits = true = 0
    for place, m in enumerate(REPLACED):
        jaccard = (SHINGLES - m) / (SHINGLES + m)
        here = pairs[pairs % len(REPLACED) == place].tolist()
        hit = [found.get(2 * k + 1) or found.get(2 * k) for k in here]
        true += sum(abs(h[1] - jaccard) < 1e-9 for h in hit if h)
        recall, theory = sum(h is not None for h in hit) / len(here), float(minhash.theory(jaccard, bands, rows))
        deviation = (recall - theory) / max(np.sqrt(theory * (1 - theory) / len(here)), 1e-9)
        fits += abs(deviation) < 4 or recall == 1
        count = sum(h is not None for h in hit)
        print(f"  {jaccard:>8.3f} {len(here):>9,} {count:>9,} {recall:>8.4f} {theory:>8.4f} {deviation:>10.1f}")
    print(f"  similarity as constructed: {true:,} of {len(found):,}")
    return false == 0 and fits == len(REPLACED) and true == len(found)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
