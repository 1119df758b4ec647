"""The peers' half of benchmarks/dedup.py, for an interpreter that has datatrove and rensa: prints one JSON object.

    PEERS_PYTHON benchmarks/dedup_peers.py TEXTS.jsonl WORK --bands N --rows N --ngram N --num-perm N

It imports nothing of ours. CPU seconds of the process; imports and a first small run are not counted.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import datasketch
import rensa
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("work", type=Path)
    for name in ("bands", "rows", "ngram", "num-perm"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    lines = options.texts.read_text(encoding="utf-8").splitlines()
    warm = options.work / "warm"
    warm.mkdir(parents=True)
    (warm / "texts.jsonl").write_text("\n".join(lines[:20]) + "\n", encoding="utf-8")
    datatrove(warm, warm / "run", options)
    whole = options.work / "whole"
    whole.mkdir()
    shutil.copy(options.texts, whole / "texts.jsonl")
    found = {"datatrove": timed(lambda: datatrove(whole, whole / "run", options))}
    kept = sum(1 for path in (whole / "run" / "kept").glob("*.jsonl") for _ in path.open(encoding="utf-8"))
    texts = [json.loads(line)["text"] for line in lines]
    shingles = [words(text, options.ngram) for text in texts]
    found["datasketch, from text"] = timed(lambda: [sketch(words(text, options.ngram), options) for text in texts])
    found["datasketch, from shingles"] = timed(lambda: [sketch(of, options) for of in shingles])
    found["rensa, from text"] = timed(lambda: [digest(words(text, options.ngram), options) for text in texts])
    found["rensa, from shingles"] = timed(lambda: [digest(of, options) for of in shingles])
    print(json.dumps({"seconds": found, "kept": kept}))


def datatrove(folder: Path, work: Path, options: argparse.Namespace) -> None:
    """The four steps of its example (examples/minhash_deduplication.py), in this process."""
    config = MinhashConfig(
        n_grams=options.ngram,
        num_buckets=options.bands,
        hashes_per_bucket=options.rows,
        hash_config=HashConfig(precision=64),
    )
    reader = JsonlReader(str(folder), glob_pattern="texts.jsonl")
    steps = [
        [reader, MinhashDedupSignature(output_folder=str(work / "signatures"), config=config)],
        [MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)],
        [MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config=config)],
        [
            reader,
            MinhashDedupFilter(str(work / "remove")),
            JsonlWriter(str(work / "kept"), output_filename="${rank}.jsonl", compression=None),
        ],
    ]
    for number, step in enumerate(steps):
        tasks = options.bands if number == 1 else 1
        LocalPipelineExecutor(step, tasks=tasks, workers=1, logging_dir=str(work / f"logs-{number}")).run()


def words(text: str, ngram: int) -> list[str]:
    tokens = re.findall(r"\w+", text.lower())
    return [" ".join(tokens[k : k + ngram]) for k in range(max(1, len(tokens) - ngram + 1))]


def sketch(shingles: list[str], options: argparse.Namespace) -> object:
    found = datasketch.MinHash(num_perm=options.num_perm)
    found.update_batch([shingle.encode() for shingle in shingles])
    return found.hashvalues


def digest(shingles: list[str], options: argparse.Namespace) -> object:
    found = rensa.RMinHash(num_perm=options.num_perm, seed=1)
    found.update(shingles)
    return found.digest()


def timed(function: Callable[[], object]) -> float:
    started = cpu_seconds()
    function()
    return cpu_seconds() - started


def cpu_seconds() -> float:
    """Of this process and of those that it has started and waited for: datatrove runs several tasks in one."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


if __name__ == "__main__":
    main()
