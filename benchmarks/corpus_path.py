"""The corpus path, text in to redacted Parquet out: MB/s per core by stage, peak memory, and a plain Python baseline.

    python -m benchmarks.corpus_path                      on generated text
    python -m benchmarks.corpus_path ../shared/corpus     on a folder of sources

One worker, in this process; CPU seconds (user + system) of the process, so a busy machine does not matter. Kernels
are compiled by a small run before the clock starts. The baseline does what the path does to a document, in the plain
way (json, hashlib, fastText on the whole text, datasketch, re), on the first few megabytes of the same documents.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import datasketch
import numpy as np

from pipelines import ingest, manifest, recipe, run, runner, stage
from roots import langid

GROUPS = {"documents": "ingest", "corpus": "redact"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", nargs="?", type=Path, help="folder of sources lm_<language>_<name>; default: generated"
    )
    parser.add_argument("--recipe", type=Path, default=Path("folder.toml"), help="recipe, default folder.toml")
    parser.add_argument("--megabytes", type=int, default=40, help="size of the generated text")
    parser.add_argument("--baseline-megabytes", type=float, default=3.0, help="text that the baseline is timed on")
    parser.add_argument("--output", type=Path, help="keep the run here; default: a temporary folder, removed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        warm = generated(work / "warm", 1)
        measure(arguments.recipe, warm, work / "warm-run", {})
        folder = arguments.folder or generated(work / "text", arguments.megabytes)
        output = arguments.output or work / "run"
        report(arguments.recipe, folder, output, arguments.baseline_megabytes)


def report(recipe_path: Path, folder: Path, output: Path, baseline_megabytes: float) -> None:
    shutil.rmtree(output, ignore_errors=True)
    stages: dict[str, float] = {}
    memory_before = peak_memory()
    context = measure(recipe_path, folder, output, stages)
    counts = manifest.total(part.counts for part in context.manifests("documents"))
    text = counts.text_bytes_kept / 1e6
    print(f"{text:,.1f} MB of text, {counts.kept:,} documents, recipe {recipe_path}")
    print(f"{'stage':<26} {'CPU s':>8} {'MB/s per core':>14}")
    groups: dict[str, float] = {}
    for name, seconds in stages.items():
        print(f"{name:<26} {seconds:>8.2f} {text / seconds:>14.1f}")
        group = next(s.group for s in context_stages(context) if s.name == name)
        groups[group] = groups.get(group, 0.0) + seconds
    for group, seconds in groups.items():
        print(f"= {group:<24} {seconds:>8.2f} {text / seconds:>14.1f}")
    total = sum(stages.values())
    speed = text / total
    print(f"{'whole path':<26} {total:>8.2f} {speed:>14.1f}")
    print(f"peak memory {peak_memory() / 1e6:,.0f} MB ({memory_before / 1e6:,.0f} MB before the run)")
    plain = baseline(context, baseline_megabytes)
    print(f"plain Python baseline {plain:.2f} MB/s per core; ratio {speed / plain:.1f}")


def context_stages(context: stage.Context) -> list[stage.Stage]:
    from pipelines import path

    return list(path.stages(context, "redact"))


def measure(recipe_path: Path, folder: Path, output: Path, stages: dict[str, float]) -> stage.Context:
    """Run the corpus path in this process; CPU seconds by stage go into `stages`."""
    context = stage.Context(output, recipe.load(recipe_path, [f"sources.folder={folder}"]))
    last = cpu_seconds()

    def watch(progress: run.Progress) -> None:
        nonlocal last
        if progress.finished:
            now = cpu_seconds()
            stages[progress.stage] = now - last
            last = now

    run.run(context, "redact", runner.Engine(workers=1), watch)
    return context


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def baseline(context: stage.Context, megabytes: float) -> float:
    """MB/s of a plain loop over the same documents: what each stage does, the way it is usually written."""
    documents = list(first_documents(context, megabytes * 1e6))
    named = context.recipe.language.model
    model = langid.library(recipe.local_path(named)) if named else None
    seen: set[bytes] = set()
    started = time.process_time()
    total = 0
    for line in documents:
        text = json.loads(line)["text"]
        total += len(text.encode())
        key = hashlib.md5(re.sub(r"[\s\d]|[!-/:-@\[-`{-~]", "", text).encode()).digest()
        if key in seen or not text.strip():
            continue
        seen.add(key)
        if model is not None:
            model.f.predict(text.lower().replace("\n", " ") + "\n", 1, 0.0, "strict")
        words = text.lower().split()
        grams = [" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))]
        chars = [text[i : i + 10] for i in range(max(1, len(text) - 9))]
        _ = len(set(grams)) / len(grams), len(set(chars)) / len(chars)
        signature = datasketch.MinHash(num_perm=128)
        signature.update_batch([gram.encode() for gram in grams])
        text = re.sub(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", "PI:EMAIL", text)
        re.sub(r"\b(?:\d{1,3}\.){3}\d{1,3}\b", "PI:IP_ADDRESS", text)
    return total / 1e6 / (time.process_time() - started)


def first_documents(context: stage.Context, most: float) -> Iterator[str]:
    """Documents from all sources in turn, a few of each, as JSON lines, up to about `most` bytes."""
    taken = 0.0
    tasks = ingest.plan(context)
    share = most / len(tasks)
    for task in tasks:
        here = 0.0
        for batch in ingest.documents(task, context, stage.Rejects(task.source)):
            for text in batch.column("text").to_pylist():
                if here < share and taken < most:
                    yield json.dumps({"text": text})
                    here += len(text.encode())
                    taken += len(text.encode())
            if here >= share:
                break


def generated(folder: Path, megabytes: int) -> Path:
    """Sources of Zipf-like words in four scripts, with some copies, addresses and boilerplate; seeded."""
    random = np.random.default_rng(7)
    alphabets = {
        "en": "etaoinshrdlu",
        "ar": "ابتثجحخدذرزس",
        "indic-hi": "कखगघचछजझटठडढ",
        "code": "abcdefxyz_()=",
    }
    for language, letters in alphabets.items():
        words = ["".join(random.choice(list(letters), random.integers(2, 9))) for _ in range(20_000)]
        ranks = np.arange(1, len(words) + 1)
        weights = (1 / ranks) / (1 / ranks).sum()
        target = folder / f"lm_{language}_generated"
        target.mkdir(parents=True)
        written = 0
        with gzip.open(target / "part-00000.jsonl.gz", "wt", encoding="utf-8", compresslevel=1) as file:
            while written < megabytes * 1e6 / len(alphabets):
                text = " ".join(words[i] for i in random.choice(len(words), 300, p=weights))
                if random.random() < 0.05:
                    text += f" mail {words[0]}@example.org from 192.0.2.{random.integers(1, 255)}"
                for _ in range(2 if random.random() < 0.02 else 1):
                    file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                    written += len(text.encode())
    return folder


if __name__ == "__main__":
    main()
