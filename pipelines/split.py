"""A crawl parted by language: the cleaned pages of a source of several languages become a source for each.

Of source `pseudo_crawl_<seed>` the pages in Swahili go to split/lm_nigercongo-sw_pseudocrawl-filtered_<seed>/, and so
on: a folder of sources, as `roots run folder.toml --set sources.folder=OUT/split` reads it. A page in no language of
the corpus is removed, with the label as its witness.
source  BigScience data-preparation, sourcing/cc_pseudo_crawl (language_annotation/, pseudo_crawl_seed_to_lm_dset_v2.py)
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import annotate, manifest, recipe, sink, stage
from roots import langid, languages, schema

PREFIX = "pseudo_crawl_"
NO_LANGUAGE = "no_language_of_the_corpus"


def plan(context: stage.Context) -> list[stage.Task]:
    """A task for each cut of the cleaned pages of the sources of several languages."""
    if annotate.model(context.recipe.language) is None:
        raise ValueError("language.model: a crawl is parted by a language model, and the recipe names none")
    tasks = [task for task in stage.one_to_one(context, "clean") if task.language == languages.SEVERAL]
    if not tasks:
        raise ValueError(
            f'no source of the run is of several languages; [sources.options."NAME"] language = "{languages.SEVERAL}" '
            "says that one is"
        )
    return tasks


def folder_of(source: str, language: str) -> str:
    """The name of the part of a crawl in one language (ROOTS code)."""
    return f"lm_{language}_pseudocrawl-filtered_{source.removeprefix(PREFIX)}"


def work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    part_name = task.name.rpartition("/")[2]
    writers: dict[str, sink.ShardWriter] = {}
    removed = stage.Removed(context.recipe.run.removed_sample)
    documents = bytes_in = 0
    for batch in (batch for part in task.slices for batch in context.read(part)):
        documents += batch.num_rows
        bytes_in += int(sink.text_bytes(batch).sum())
        left = removed.split(_labelled(batch, context.recipe.language))
        for code in sorted(set(left.column("language").to_pylist())):
            name = folder_of(task.source, code)
            if code not in writers:
                writers[code] = sink.ShardWriter(folder / name / f"{part_name}.parquet", schema.DOCUMENT)
            writers[code].write(_of(left.filter(pc.equal(left.column("language"), code)), name))
    row_groups = {code: writer.close() for code, writer in sorted(writers.items())}
    removed.write(folder / f"{task.name}.removed.jsonl")
    written = [group for groups in row_groups.values() for group in groups]
    counts = manifest.Counts(
        documents_in=documents,
        kept=sum(rows for rows, _ in written),
        removed=removed.counts,
        text_bytes_in=bytes_in,
        text_bytes_kept=sum(text for _, text in written),
    )
    by_language = {code: sum(rows for rows, _ in groups) for code, groups in row_groups.items()}
    return stage.Result(counts=counts, facts={"found": by_language})


def _labelled(batch: pa.RecordBatch, settings_of: recipe.Language) -> stage.Outcome:
    """The pages with the language that the model sees in each; none of the corpus is a reason to remove it."""
    loaded = annotate.model(settings_of)
    assert loaded is not None  # plan() has asked
    label, _ = langid.identify(batch.column("text"), loaded)
    codes = {language.short_code: language.code for language in languages.load()}
    code = pa.array([codes.get(short or "") for short in label.to_pylist()], pa.string())
    reason = pc.if_else(pc.is_null(code), pa.scalar(NO_LANGUAGE), pa.scalar(None, pa.string()))
    place = batch.schema.get_field_index("language")
    docs = batch.set_column(place, batch.schema.field(place), pc.fill_null(code, languages.SEVERAL))
    return stage.Outcome(docs, reason, label)


def _of(docs: pa.RecordBatch, source: str) -> pa.RecordBatch:
    """The documents as those of another source; where each comes from stays in its metadata."""
    metas = [
        orjson.dumps({**orjson.loads(meta), "crawl_id": identity}).decode()
        for meta, identity in zip(docs.column("meta").to_pylist(), docs.column("id").to_pylist(), strict=True)
    ]
    ids = [f"{source}/{identity.partition('/')[2]}" for identity in docs.column("id").to_pylist()]
    language = docs.column("language")[0].as_py()
    return schema.documents(ids, source, language, docs.column("text").to_pylist(), metas)


def settings(plan_of: recipe.Recipe) -> object:
    """The model counts by its digest, wherever it lies."""
    return plan_of.language.sha256


STAGE = stage.Stage(name="split", group="split", plan=plan, work=work, settings=settings, check=None)
