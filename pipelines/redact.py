"""Drop what dedup condemned, redact personal data -> corpus/<language>/<source>/part-*.parquet: the corpus.

Beside each shard stands a `.spans` file, Parquet too: where in which document what was replaced (schema.SPANS).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
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
    result = stage.move(batches, redact, schema.CORPUS, folder, task, sample, publish=True)
    replaced = pa.concat_tables([schema.SPANS.empty_table(), *redact.replaced])
    pq.write_table(replaced, folder / f"{task.name}.spans", compression="zstd", write_page_checksum=True)
    return result


def secret(settings_of: recipe.Redact) -> bytes:
    """The key of digests and pseudonyms, empty where the recipe names none; raises where it cannot be one."""
    if not settings_of.key_file:
        return b""
    file = recipe.local_path(settings_of.key_file)
    if not file.is_file():
        raise FileNotFoundError(
            f"redact.key_file {file}: no such file; write {pii.KEY_MIN} to {pii.KEY_MAX} random bytes"
        )
    key = file.read_bytes()
    if not pii.KEY_MIN <= len(key) <= pii.KEY_MAX:
        raise ValueError(
            f"redact.key_file {file}: {len(key)} bytes; write {pii.KEY_MIN} to {pii.KEY_MAX} random ones into it"
        )
    return key


PII = "pii "  # before a tag, in the names of what the stage found


class Redact:
    """The function of the stage: condemned documents get their reason and witness, the others lose personal data."""

    def __init__(self, condemned: pa.Table, spans: pa.Table, settings_of: recipe.Redact, language: str):
        self._condemned = condemned
        self._spans = spans
        self._rows = condemned["row"].to_numpy()
        self._settings = settings_of
        self._key = secret(settings_of)
        self.replaced: list[pa.Table] = []  # schema.SPANS of the documents that stay
        self._tags = settings_of.code_tags if language == "code" else settings_of.tags
        self._row = 0

    def __call__(self, batch: pa.RecordBatch) -> stage.Outcome:
        first, self._row = self._row, self._row + batch.num_rows
        inside = slice(*np.searchsorted(self._rows, [first, self._row]))
        text, emptied = substring.without(batch.column("text"), self._spans, first)
        reason, witness = self._verdicts(batch, first, inside, emptied)
        every = find(text, self._tags, self._settings)
        found = _of_kept(every, reason)
        self.replaced.append(span_rows(batch.column("id"), text, found, self._key))
        # what is removed is redacted too: a sample of it is kept for people to look at
        text = pii.redact(text, every, self._key if self._settings.pseudonyms else b"")
        docs = batch.set_column(batch.schema.get_field_index("text"), batch.schema.field("text"), text)
        docs = docs.append_column(
            schema.CORPUS.field("pii_count"), pa.array(pii.counts(found, batch.num_rows), pa.int32())
        )
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


def find(text: pa.StringArray, tags: Sequence[str], settings_of: recipe.Redact) -> pii.Spans:
    """The personal data of those tags, as the recipe says."""
    return pii.find(text, tags, settings_of.preset, settings_of.pseudonyms, settings_of.stdnum)


def span_rows(ids: pa.StringArray, text: pa.StringArray, found: pii.Spans, key: bytes) -> pa.Table:
    """schema.SPANS of a batch."""
    where = pii.code_point_spans(text, found, key)
    columns = [ids.take(where["row"].combine_chunks()), *(where[name] for name in schema.SPANS.names[1:])]
    return pa.table(columns, schema=schema.SPANS)


def _settings(plan_of: recipe.Recipe) -> dict[str, object]:
    """The recipe's part, with what tells one key from another in place of the name of its file."""
    key = secret(plan_of.redact)
    told = hashlib.blake2b(b"redact.key_file", key=key).hexdigest() if key else ""
    return dataclasses.asdict(plan_of.redact) | {"key_file": told}


STAGE = stage.Stage(
    name="corpus",
    group="redact",
    plan=plan,
    work=work,
    settings=_settings,
    conserves="annotate",
)
