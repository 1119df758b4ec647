"""Every cleaning step: its speed on real text, and that its time is linear on text made to be slow.

    python -m benchmarks.steps [../shared/corpus/lm_en_sona_speeches]

Each step runs on 2n and 4n bytes of each hostile text; printed is the growth for the slowest of them, which is 2 where
time is linear and 4 where it is quadratic, and its seconds for 4n.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import orjson
import pyarrow as pa

from pipelines import readers
from roots import clean, schema, step_kinds

SIZE = 150_000  # bytes, n
PASSES = 2  # the least of so many is taken
HOSTILE = {
    "stops": ". ",
    "initials": "A. ",
    "inner stops": "a.b",
    "marks": "?!.",
    "dandas": "।",
    "quotes": '."',
    "guillemets": ". »",
    "spaces": " ",
    "tabs and stops": "\t.",
    "line feeds": "\n",
    "short lines": "a\n",
    "one line": "a",
    "half marks": "<spa",
    "half phrases": "This entry needs quotations to illustrate ",
    "digits": "1",
    "wide": "語",
    "combining": "a\u0301",
    "tags": "<b>",
    "divs": "<div>",
    "open comments": "<!-- ",
    "entities": "&#x",
    "attributes": "<a b='",
    "classes": "class\n",
    "words": "le ",
}


def documents(texts: list[str]) -> pa.RecordBatch:
    meta = orjson.dumps({"url": "u" * 50, "title": "t", "id": "a_id_1", "type": "text", "path": "a.h"}).decode()
    return schema.documents([str(i) for i in range(len(texts))], "s", "en", texts, [meta] * len(texts))


def seconds(step: step_kinds.Step, docs: pa.RecordBatch) -> float:
    times = []
    for _ in range(PASSES):
        started = time.process_time()
        step_kinds.run([step], docs)
        times.append(time.process_time() - started)
    return min(times)


def real(folder: Path) -> pa.RecordBatch:
    texts: list[str] = []
    for path in sorted(folder.iterdir()):
        with readers.opened(path, path.name) as file:
            texts += [orjson.loads(line)["text"] for line in file]
    return documents(texts[: max(1, len(texts) * 20_000_000 // max(1, sum(map(len, texts))))])


def main(folder: Path) -> None:
    text = real(folder)
    size = sum(len(each.encode()) for each in text.column("text").to_pylist())
    print(f"{size / 1e6:.1f} MB of {folder.name}; hostile texts of {4 * SIZE / 1e6:.1f} MB")
    print(f"{'step':<72} {'MB/s':>7}  growth of the slowest hostile text")
    for name, step in clean.STEPS.items():
        if isinstance(step, step_kinds.Later):
            continue
        step_kinds.run([step], documents(["compile"]))
        speed = size / 1e6 / max(1e-6, seconds(step, text))
        slowest, label = (0.0, 0.0), ""
        for kind, unit in HOSTILE.items():
            two, four = (seconds(step, documents([unit * (m * SIZE // len(unit.encode()))])) for m in (2, 4))
            if four > slowest[1]:
                slowest, label = (four / max(two, 1e-4), four), kind
        print(f"{name:<72} {speed:>7.0f}  x {slowest[0]:.1f} to {slowest[1]:.3f} s ({label})", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/corpus/lm_en_sona_speeches"))
