"""Whether time grows with the text and not faster: texts that are bad for some algorithm, doubled and doubled again.

    python -m benchmarks.doubling [--megabytes N]     N of the largest text; 8 by default

Prints processor seconds of language identification, quality measures and the document modification on each text at a
quarter, a half and the whole of its size, the growth over the last doubling (2 is linear), and the peak memory. Then
one document of 500 MB, and ten thousand empty ones.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines import annotate, recipe
from roots import langid, quality, schema, web_text

TEXTS = {
    "one letter": "a",
    "spaces": " ",
    "new lines": "\n",
    "one word": "the ",
    "addresses": "http://www.x.com ",
    "almost addresses": "htthttphtt",
    "tabs and marks": "\t.\t!",
    "four bytes": "\U0001f600",
    "Han": "漢字",
    "combining marks": "a\u0301\u0302\u0303",
}


def random_letters(size: int) -> str:
    return bytes(np.random.default_rng(1).integers(97, 123, size, np.uint8)).decode()


def document(text: str) -> pa.RecordBatch:
    return schema.documents(["d"], "s", "en", [text])


def seconds(work: Callable[[pa.RecordBatch], object], docs: pa.RecordBatch) -> float:
    started = time.process_time()
    work(docs)
    return time.process_time() - started


def main(size: int) -> None:
    plan = recipe.load(Path("folder.toml"), ["sources.folder=."])
    model = annotate.model(plan.language)
    assert model is not None
    parameters = {"en": annotate.parameters("en", plan.quality)}
    works = {
        "language": lambda docs: langid.identify(docs.column("text"), model),
        "quality": lambda docs: quality.measure(docs, parameters),
        "modification": lambda docs: web_text.modified(docs.column("text"), docs.column("language")),
    }
    makers = {name: (lambda n, unit=unit: unit * (n // len(unit.encode()))) for name, unit in TEXTS.items()}
    makers["random letters"] = random_letters
    for name, work in works.items():
        work(document("compiled before the clock starts"))
        for text, make in makers.items():
            quarter, half, full = (seconds(work, document(make(size // part))) for part in (4, 2, 1))
            growth = full / max(half, 1e-4)
            print(f"{name:<14} {text:<18} {quarter:8.3f} {half:8.3f} {full:8.3f} s   x {growth:4.1f}")
    empty = schema.documents([str(i) for i in range(10_000)], "s", "en", [""] * 10_000)
    for name, work in works.items():
        print(f"{name:<14} ten thousand empty documents: {seconds(work, empty):.3f} s")
    large = document("The farmers walked to market number 12. " * (500_000_000 // 40))
    for name, work in works.items():
        print(f"{name:<14} a document of 500 MB: {seconds(work, large):.1f} s, peak memory {peak():,.0f} MB")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=8)
    main(parser.parse_args().megabytes * 1_000_000)
