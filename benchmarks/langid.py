"""Speed of language identification, and whether a sample of a long document says what the whole of it says.

    python benchmarks/langid.py CORPUS MODEL     CORPUS a folder of sources lm_<language>_<name>, documents as
    JSON lines

Prints MB/s of text given (not shown to the model) in one process, and for documents of more than four samples
the share whose label is the source's language, by the sample and, with the fasttext library,
by the whole document.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard

from roots import langid, languages

DOCUMENTS = 150  # of a source, at most


def documents(source: Path) -> Iterator[str]:
    for file in sorted(source.glob("part-*.jsonl.*")):
        opener = gzip.open if file.suffix == ".gz" else zstandard.open
        with opener(file) as opened, io.TextIOWrapper(opened, "utf-8", newline="\n") as lines:
            for line, _ in zip(lines, range(DOCUMENTS), strict=False):
                yield json.loads(line)["text"]


def whole(texts: list[str], library: Any) -> list[str]:
    lines = [text.lower().replace("\n", " ") + "\n" for text in texts]
    found, _ = library.f.multilinePredict(lines, 1, 0.0, "strict")
    return [labels[0].removeprefix(langid.PREFIX) for labels in found]


def main(corpus: Path, path: Path) -> None:
    model = langid.load(path, langid.digest(path))
    library = langid.library(path)
    langid.identify(pa.array(["compiled before the clock starts"]), model)
    size = seconds = whole_seconds = 0.0
    right = {"sample": 0, "whole": 0}
    long_documents = 0
    for source in sorted(corpus.glob("lm_*")):
        code = languages.short(source.name.split("_")[1])
        if code not in model.covered:
            continue
        texts = list(documents(source))
        array = pa.array(texts, pa.string())
        started = time.process_time()
        labels, _ = langid.identify(array, model)
        seconds += time.process_time() - started
        size += sum(len(text.encode()) for text in texts) / 1e6
        is_long = [len(text.encode()) > 8192 for text in texts]
        picked = [text for text, long in zip(texts, is_long, strict=True) if long]
        started = time.process_time()
        guesses = whole(picked, library)
        whole_seconds += time.process_time() - started
        expected = {code, "zh"} if code in ("zhs", "zht") else {code}
        long_documents += len(picked)
        right["whole"] += sum(guess in expected for guess in guesses)
        right["sample"] += sum(label == code for label in labels.filter(pa.array(is_long)).to_pylist())
    print(f"{size:.0f} MB in {seconds:.1f} s of processor time: {size / seconds:.0f} MB/s per core")
    for name, count in right.items():
        print(f"long documents with their source's language, by the {name}: {count / long_documents:.4f}")
    print(f"{long_documents} long documents; the whole of them took {whole_seconds:.1f} s")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("python benchmarks/langid.py CORPUS MODEL")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
