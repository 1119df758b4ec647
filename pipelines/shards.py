"""Encode the corpus -> shards/<language>/<source>-*.bin/.idx, as Megatron reads them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow.compute as pc

from pipelines import manifest, stage, storage
from tokenizer import encode, shards


def plan(context: stage.Context) -> list[stage.Task]:
    """A task, and so a pair of files, for each part of the corpus that holds documents."""
    learned = context.manifests("tokenizer")[0].files["tokenizer.json"]["sha256"]
    parts = [part for part in context.manifests("corpus") if part.counts.kept]
    count: dict[str, int] = {}
    for part in parts:
        count[part.source] = count.get(part.source, 0) + 1
    seen: dict[str, int] = {}
    tasks = []
    for part in parts:
        index = seen.get(part.source, 0)
        seen[part.source] = index + 1
        tasks.append(
            stage.Task(
                name=f"{part.language}/{part.source}-{index:05d}-of-{count[part.source]:05d}",
                source=part.source,
                language=part.language,
                slices=tuple(context.shards("corpus", part)),
                options={"tokenizer": learned},
            )
        )
    return tasks


def work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    with storage.local(context.folder("tokenizer") / "tokenizer.json") as file:
        encoder = encode.Encoder(file)
    documents = text_bytes = 0
    with shards.Writer(folder / task.name, encoder.vocab_size, encoder.eod) as writer:
        for part in task.slices:
            for batch in context.read(part, ["text"]):
                text = batch.column(0)
                documents += len(text)
                text_bytes += pc.sum(pc.binary_length(text), min_count=0).as_py()
                writer.add(*encoder.encode(text))
        written = writer.close()
    empty = {"no_tokens": written.empty_documents} if written.empty_documents else {}
    counts = manifest.Counts(
        documents_in=documents,
        kept=written.documents,
        removed=empty,
        text_bytes_in=text_bytes,
        text_bytes_kept=text_bytes,
    )
    facts = {**dataclasses.asdict(written), "tokenizer": encoder.sha256, "text_bytes": text_bytes}
    return stage.Result(counts=counts, facts=facts)


STAGE = stage.Stage(
    name="shards",
    group="shards",
    plan=plan,
    work=work,
    settings=lambda plan_of: dataclasses.asdict(plan_of.shards),
    conserves="corpus",
)
