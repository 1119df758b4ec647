"""Encode the corpus -> shards/<language>/<source>-*.bin/.idx, as Megatron reads them, and mix/mix.txt.

Beside each pair stands `.lineage.parquet`: which document each run of its tokens is, so that any token of any training
sample can be traced back.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipelines import manifest, stage, tokens
from tokenizer import learn, mix, shards


def _plan(context: stage.Context) -> list[stage.Task]:
    """A task, and so a pair of files, for each part of the corpus that holds documents."""
    learned = context.manifests("tokenizer")[0].files[learn.TOKENIZER]["sha256"]
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
                options={"tokenizer": learned, "end_of_document": context.recipe.tokenizer.end_of_document},
            )
        )
    return tasks


def _encode(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    encoder = tokens.encoder(context)
    documents = text_bytes = 0
    lineage = shards.Lineage(folder / task.name)
    with shards.Writer(folder / task.name, encoder.vocab_size, encoder.eod) as writer:
        for part in task.slices:
            for batch in context.read(part, ["id", "text"]):
                text = batch.column("text")
                documents += len(text)
                text_bytes += pc.sum(pc.binary_length(text), min_count=0).as_py()
                ids, offsets = encoder.encode(text)
                writer.add(ids, offsets)
                lineage.add(batch.column("id"), np.diff(offsets))
        written = writer.close()
    lineage.close()
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


def _plan_mix(context: stage.Context) -> list[stage.Task]:
    success = manifest.file_digest(context.folder("shards") / manifest.SUCCESS)
    return [stage.Task(name="mix", options={"depends": success})]


def _mix(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Weights by tokens: nothing is drawn more often than it stands in the corpus."""
    of_shard = {part.name: part.facts["tokens"] for part in context.manifests("shards")}
    shares, ratio = mix.weights(of_shard), context.recipe.shards.train_ratio
    mix.write(folder / "mix.txt", [*mix.train(shares, ratio), *mix.valid(shares, ratio)])
    return stage.Result(facts={"tokens": sum(of_shard.values()), "shards": len(shares)})


STAGES = [
    stage.Stage(
        name="shards",
        group="shards",
        plan=_plan,
        work=_encode,
        settings=lambda plan_of: None,  # the tokenizer's digest decides, and stands in each task
        conserves="corpus",
    ),
    stage.Stage(
        name="mix", group="shards", plan=_plan_mix, work=_mix, settings=lambda plan_of: plan_of.shards.train_ratio
    ),
]
