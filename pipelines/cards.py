"""Reduce the manifests' facts -> cards/: a data card for each source, its facts as JSON, and the corpus page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq

from pipelines import annotate, clean, manifest, recipe, redact, stage, storage
from roots import card, catalogue, facts, languages

READ = {
    "documents": "ingest",
    "clean": "clean",
    "annotate": "annotate",
    "corpus": "redact",
}  # stage -> its name


def plan(context: stage.Context) -> list[stage.Task]:
    """One task, which reads manifests only."""
    depends = [manifest.file_digest(context.folder(name) / manifest.SUCCESS) for name in (*READ, "dedup")]
    return [stage.Task(name="cards", options={"depends": depends})]


def work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    runs = source_runs(context)
    card.write_all(folder, runs, known(runs))
    return stage.Result(facts={"cards": len(runs)})


def known(runs: dict[str, facts.SourceRun]) -> list[catalogue.Source | catalogue.FolderSource]:
    """What is known of the sources of a run: the catalogue's row, or the folder's name."""
    return [
        catalogue.get(name) or catalogue.FolderSource(name=name, language=run.language) for name, run in runs.items()
    ]


def source_runs(context: stage.Context) -> dict[str, facts.SourceRun]:
    """What a finished run tells of each source, by name."""
    parts: dict[str, dict[str, list[manifest.Manifest]]] = {}
    for name in (*READ, "dedup"):
        for part in context.manifests(name):
            parts.setdefault(part.source, {}).setdefault(name, []).append(part)
    return {source: _run(source, of, context) for source, of in sorted(parts.items())}


def _run(source: str, parts: dict[str, list[manifest.Manifest]], context: stage.Context) -> facts.SourceRun:
    stages = [_counts(READ[name], parts.get(name, [])) for name in READ]
    return facts.SourceRun(
        source=source,
        language=parts["documents"][0].language,
        stages=tuple(stages),
        corpus=_corpus(parts.get("corpus", [])),
        duplicates=_duplicates(parts.get("dedup", []), context),
        steps=clean.steps_of(source, context.recipe),
        language_note=_note(parts["documents"][0].language, context.recipe),
    )


def _corpus(parts: list[manifest.Manifest]) -> facts.Facts:
    """The facts of the kept documents, with the personal data by tag, which the mover counted apart."""
    found = facts.total(facts.Facts.from_json(part.facts["kept"]) for part in parts)
    tags: dict[str, int] = {}
    for part in parts:
        for name, count in part.facts["found"].items():
            tag = name.removeprefix(redact.PII)
            tags[tag] = tags.get(tag, 0) + count
    return dataclasses.replace(found, pii_tags=tags)


def _counts(name: str, parts: list[manifest.Manifest]) -> facts.StageCounts:
    counts = manifest.total(part.counts for part in parts)
    return facts.StageCounts(name=name, **counts.to_json())


def _duplicates(parts: list[manifest.Manifest], context: stage.Context) -> facts.Duplicates:
    kinds = {"exact": 0, "near": 0}
    witnesses: dict[str, int] = {}
    for part in parts:
        verdicts = storage.source(context.folder("dedup") / f"{part.name}.parquet")
        table = pq.read_table(verdicts, columns=["kind", "kept_source"])
        for kind, witness in zip(*(column.to_pylist() for column in table.columns), strict=True):
            kinds[kind] += 1
            witnesses[witness] = witnesses.get(witness, 0) + 1
    return facts.Duplicates.of(kinds["exact"], kinds["near"], witnesses)


def _note(language: str, plan_of: recipe.Recipe) -> str:
    if not plan_of.language.model:
        return "passed on provenance: the recipe names no language model"
    if annotate.judged(language, plan_of.language):
        return ""
    how = "not well enough" if languages.short(language) in plan_of.language.untrusted else "not at all"
    return f"passed on provenance: the model knows {languages.short(language)} {how}"


STAGE = stage.Stage(name="cards", group="cards", plan=plan, work=work, settings=lambda plan_of: None)
