"""Language identification and all quality measures, beside fastText's plain predict and datatrove's Gopher filters.

    python -m benchmarks.annotate CORPUS [--share N]     CORPUS a folder of sources lm_<language>_<name>, documents as
                                                         JSON lines; of each source every N-th document, all by default

Prints MB of text per second of processor time, each with its ratio to ours, on the same documents in one process; the
peers, being slow, see the first documents of each batch only (PEER_BYTES). Then how often the language found in an
excerpt is the one found in the whole document, by our own predictor on both. Without the package datatrove its rows are
left out.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import zstandard

from pipelines import annotate, recipe
from roots import fasttext_kernels, langid, langid_text, quality, schema, utf8

BATCH_DOCS = 1024
PEER_BYTES = 30_000  # of each batch


def batches(corpus: Path, share: int) -> Iterator[pa.RecordBatch]:
    for source in sorted(corpus.glob("lm_*")):
        texts = itertools.islice(documents(source), 0, None, share)
        language = source.name.split("_")[1]
        while chunk := list(itertools.islice(texts, BATCH_DOCS)):
            ids = [f"{source.name}/{i}" for i in range(len(chunk))]
            yield schema.documents(ids, source.name, language, chunk)


def documents(source: Path) -> Iterator[str]:
    for file in sorted(source.glob("part-*.jsonl.*")):
        opener = gzip.open if file.suffix == ".gz" else zstandard.open
        with opener(file) as opened:
            yield from (orjson.loads(line)["text"] for line in io.BufferedReader(opened))


class Clock:
    """Processor seconds and bytes of text of one way to do it."""

    def __init__(self, work: Callable[[pa.RecordBatch], object], bytes_max: int = 1 << 62):
        self.work, self.bytes_max, self.seconds, self.bytes = work, bytes_max, 0.0, 0

    def run(self, batch: pa.RecordBatch) -> None:
        sizes = np.cumsum(np.diff(utf8.view(batch.column("text"))[1]))
        part = batch.slice(0, int(np.searchsorted(sizes, self.bytes_max)) + 1)
        started = time.process_time()
        self.work(part)
        self.seconds += time.process_time() - started
        self.bytes += int(sizes[part.num_rows - 1])

    @property
    def speed(self) -> float:
        return self.bytes / self.seconds / 1e6


def gopher() -> dict[str, Callable[[pa.RecordBatch], object]]:
    """datatrove's two Gopher filters, English words, one document after the other; none where it is not installed."""
    try:
        from datatrove.data import Document
        from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    except ImportError:
        return {}
    filters = (GopherQualityFilter(), GopherRepetitionFilter())

    def work(batch: pa.RecordBatch) -> None:
        for text in batch.column("text").to_pylist():
            document = Document(text=text, id="")
            for each in filters:
                each.filter(document)

    return {"datatrove, GopherQuality + GopherRepetition": work}


def whole(batch: pa.RecordBatch) -> pa.StringArray:
    lines = [text.lower().replace("\n", " ") for text in batch.column("text").to_pylist()]
    return pa.array(lines, pa.string())


def main(corpus: Path, share: int) -> None:
    plan = recipe.load(Path("folder.toml"), [f"sources.folder={corpus}"])
    model = annotate.model(plan.language)
    assert model is not None
    library = langid.library(model.path)
    parameters: dict[str, quality.Parameters] = {}
    clocks = {
        "language": Clock(lambda batch: langid.identify(batch.column("text"), model)),
        "quality": Clock(lambda batch: quality.measure(batch, parameters)),
        "fastText predict, whole document": Clock(
            lambda batch: [
                library.predict(text.lower().replace("\n", " ")) for text in batch.column("text").to_pylist()
            ],
            PEER_BYTES,
        ),
        **{name: Clock(work, PEER_BYTES) for name, work in gopher().items()},
    }
    answers = Agreement(model)
    for index, batch in enumerate(batches(corpus, share)):
        language = batch.column("language")[0].as_py()
        parameters.setdefault(language, annotate.parameters(language, plan.quality))
        for clock in clocks.values():
            if index == 0:
                clock.work(batch.slice(0, 8))  # compiled, loaded
            clock.run(batch)
        answers.add(batch)
    report(clocks, answers)


class Agreement:
    """Documents and bytes whose excerpt has the language of the whole."""

    def __init__(self, model: langid.Model):
        self.tables = model.tables
        self.counts = np.zeros((2, 2), np.int64)  # whole or cut, documents; those that agree
        self.bytes = np.zeros(2, np.int64)

    def add(self, batch: pa.RecordBatch) -> None:
        text = batch.column("text")
        shown, _ = langid_text.sample(text)
        first, _ = fasttext_kernels.predict(*utf8.view(shown), self.tables)
        second, _ = fasttext_kernels.predict(*utf8.view(whole(batch)), self.tables)
        sizes = np.diff(utf8.view(text)[1])
        is_cut = sizes > langid_text.SAMPLE_BYTES
        same = first == second
        for kind, rows in enumerate((~is_cut, is_cut)):
            self.counts[kind] += rows.sum(), (rows & same).sum()
        self.bytes += sizes.sum(), sizes[same].sum()


def report(clocks: dict[str, Clock], answers: Agreement) -> None:
    ours = [clocks[name] for name in ("language", "quality")]
    both = 1 / sum(1 / clock.speed for clock in ours)
    print(f"{ours[0].bytes / 1e6:.0f} MB")
    for name, clock in clocks.items():
        print(f"{name:<44} {clock.speed:8.1f} MB/s   on {clock.bytes / 1e6:6.1f} MB   ours {both / clock.speed:6.1f} x")
    print(f"{'language and quality':<44} {both:8.1f} MB/s")
    (short, short_same), (long, long_same) = answers.counts.tolist()
    print(f"shown whole: {short:,} documents, {short_same:,} with one answer")
    print(f"shown in excerpts: {long:,} documents, {long_same:,} ({long_same / max(long, 1):.4f}) with one answer")
    share = (short_same + long_same) / (short + long)
    print(f"all: {share:.4f} of documents, {answers.bytes[1] / answers.bytes[0]:.4f} of bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--share", type=int, default=1)
    arguments = parser.parse_args()
    main(arguments.corpus, arguments.share)
