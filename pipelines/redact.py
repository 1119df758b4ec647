"""Drop what dedup condemned, redact personal data -> corpus/<language>/<source>/part-*.parquet: the corpus."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import recipe, stage, storage, substring
from roots import pii, schema


def plan(context: stage.Context) -> list[stage.Task]:
    """A task for each shard of documents: the verdicts are by shard."""
    verdicts = {part.name: part for part in context.manifests("dedup")}
    cut = context.recipe.dedup.substring.action == substring.CUT
    spans = {part.name: part.files for part in context.manifests("spans")} if cut else {}
    tasks = []
    for part in context.manifests(context.recipe.dedup.after):
        name = f"{part.name}.parquet"
        found = [
            verdicts[part.name].files[name]["sha256"],
            *([spans[part.name][name]["sha256"]] if part.name in spans else []),
        ]
        tasks.append(
            stage.Task(
                name=f"{part.language}/{part.name}",
                source=part.source,
                language=part.language,
                slices=tuple(context.shards(context.recipe.dedup.after, part)),
                options={"duplicates": name, "digest": found, "cut": part.name in spans},
            )
        )
    return tasks


def work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    name = task.options["duplicates"]
    condemned = pq.read_table(storage.source(context.folder("dedup") / name), page_checksum_verification=True)
    spans = substring.SPANS.empty_table()
    if task.options["cut"]:
        spans = pq.read_table(storage.source(context.folder("spans") / name), page_checksum_verification=True)
    redact = Redact(condemned, spans, context.recipe.redact, task.language)
    batches = (batch for part in task.slices for batch in context.read(part))
    sample = context.recipe.run.removed_sample
    return stage.move(batches, redact, schema.CORPUS, folder, task, sample, publish=True)


PII = "pii "  # before a tag, in the names of what the stage found


class Redact:
    """The function of the stage: condemned documents get their reason and witness, the others lose personal data."""

    def __init__(self, condemned: pa.Table, spans: pa.Table, settings_of: recipe.Redact, language: str):
        self._condemned = condemned
        self._spans = spans
        self._rows = condemned["row"].to_numpy()
        self._preset = settings_of.preset
        self._tags = settings_of.code_tags if language == "code" else settings_of.tags
        self._row = 0

    def __call__(self, batch: pa.RecordBatch) -> stage.Outcome:
        first, self._row = self._row, self._row + batch.num_rows
        inside = slice(*np.searchsorted(self._rows, [first, self._row]))
        text, emptied = substring.without(batch.column("text"), self._spans, first)
        reason, witness = self._verdicts(batch, first, inside, emptied)
        found = _of_kept(pii.find(text, self._tags, preset=self._preset), reason)
        docs = batch.set_column(
            batch.schema.get_field_index("text"), batch.schema.field("text"), pii.redact(text, found)
        ).append_column(schema.CORPUS.field("pii_count"), pa.array(pii.counts(found, batch.num_rows), pa.int32()))
        counted = {f"{PII}{tag}": count for tag, count in pii.tag_counts(found).items()}
        return stage.Outcome(docs, reason, witness, counted)

    def _verdicts(
        self, batch: pa.RecordBatch, first: int, inside: slice, emptied: dict[int, str]
    ) -> tuple[pa.StringArray, pa.StringArray]:
        why = np.full(batch.num_rows, None, object)
        by = np.full(batch.num_rows, None, object)
        ids = batch.column("id")
        for verdict in self._condemned.slice(inside.start, inside.stop - inside.start).to_pylist():
            row = verdict["row"] - first
            if ids[row].as_py() != verdict["id"]:
                raise ValueError(
                    f"dedup condemned document {verdict['id']} at row {verdict['row']}, which is {ids[row].as_py()}; "
                    "the shard and its verdicts are not of one run: remove the folder dedup and run again"
                )
            why[row], by[row] = f"{verdict['kind']}_duplicate", verdict["witness_id"]
        for row, identity in emptied.items():
            why[row], by[row] = "repeated_text", identity
        return pa.array(why, pa.string()), pa.array(by, pa.string())


def _of_kept(found: pii.Spans, reason: pa.StringArray) -> pii.Spans:
    """The spans of the documents that stay: what the corpus does not hold is not counted in it."""
    kept = np.asarray(reason.is_null())[found.row]
    return pii.Spans(*(getattr(found, field.name)[kept] for field in dataclasses.fields(found)))


STAGE = stage.Stage(
    name="corpus",
    group="redact",
    plan=plan,
    work=work,
    settings=lambda plan_of: dataclasses.asdict(plan_of.redact),
    conserves="annotate",
)
