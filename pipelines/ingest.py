"""Any format -> documents/<source>/part-*.parquet. Rejects: what is no document, with its place and reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import hub, manifest, readers, recipe, sources, stage, storage
from roots import schema

COMPRESSION = 4  # bytes of text in a byte of a compressed file, about: only balances tasks


def plan(context: stage.Context) -> list[stage.Task]:
    """Tasks over the sources' files, about `task_bytes` of text each; the digest of each file is taken here."""
    inputs = [_pinned(source) for source in sources.resolve(context.recipe)]
    target = context.recipe.run.task_bytes
    with ThreadPoolExecutor(8) as pool:
        slices = list(pool.map(lambda source: list(_slices(source, target)), inputs))
    tasks = []
    for source, parts in zip(inputs, slices, strict=True):
        # where a file lies is in its slice and in no key: the same data elsewhere is the same work
        reading = {**recipe.settings(source.options), "path": ""}
        cut = stage.split(source.name, source.language, parts, target)
        tasks += [dataclasses.replace(task, options=reading) for task in cut]
    return tasks


def _pinned(source: sources.Input) -> sources.Input:
    """A data set of the hub at the commit that it stands at now: all tasks read that one."""
    options = source.options
    if not options.dataset or options.revision or hub.is_local(options):
        return source
    return dataclasses.replace(
        source, options=dataclasses.replace(options, revision=hub.newest_commit(options.dataset))
    )


def _slices(source: sources.Input, target: int) -> Iterator[stage.Slice]:
    if source.folder is None:
        yield from _dataset_slices(source)
        return
    for path in source.files:
        label = storage.relative(path, source.folder)
        yield from file_slices(path, label, source.options.format or readers.format_of(label) or "text", target)


def file_slices(path: storage.Place, label: str, form: str, target: int) -> Iterator[stage.Slice]:
    """Where a file is cut: plain lines by bytes, Parquet by row groups, anything else not at all."""
    compressed = label.endswith(readers.COMPRESSED)
    if form in readers.SPLITTABLE and not compressed:
        digest, cuts = readers.line_cuts(path, target)
        for start, end, first in cuts:
            yield _slice(path, label, digest, start, end, first, end - start)
        return
    digest = manifest.file_digest(path)
    size = storage.size(path) * (COMPRESSION if compressed or form == "parquet" else 1)
    groups = _row_groups(path) if form == "parquet" else []
    if not groups:
        yield _slice(path, label, digest, 0, -1, 0, size)
    for index in range(len(groups)):
        yield _slice(path, label, digest, index, index + 1, sum(groups[:index]), size // len(groups))


def _slice(path: storage.Place, label: str, digest: str, start: int, end: int, first: int, weight: int) -> stage.Slice:
    return stage.Slice(
        path=str(path.resolve()), label=label, sha256=digest, start=start, end=end, first=first, weight=weight
    )


def _row_groups(path: storage.Place) -> list[int]:
    """Records in each row group; [] for a file that cannot be read (the reader will reject it)."""
    try:
        with storage.named(path):
            metadata = pq.ParquetFile(storage.source(path)).metadata
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's fault, not the file's
        return []
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def _dataset_slices(source: sources.Input) -> Iterator[stage.Slice]:
    options = source.options
    if options.format == "pydoc":
        from pydoc_data import topics

        yield _slice(Path(topics.__file__), "topics.py", manifest.file_digest(Path(topics.__file__)), 0, -1, 0, 0)
        return
    digest, count = hub.pin(options), hub.shards(options)
    for index in range(count):
        label = f"{options.config or 'default'}/{options.split}-{index:05d}-of-{count:05d}"
        yield stage.Slice(path="", label=label, sha256=digest, start=index, end=count)


def work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    rejects = stage.Rejects(task.source)
    batches = documents(task, context, rejects)
    sample = context.recipe.run.removed_sample
    return stage.move(batches, stage.Outcome, schema.DOCUMENT, folder, task, sample, rejects)


def documents(task: stage.Task, context: stage.Context, rejects: stage.Rejects) -> Iterator[pa.RecordBatch]:
    """The documents of a task's slices, in order."""
    options = recipe.SourceOptions(**{**task.options, "metadata": tuple(task.options["metadata"])})
    job = readers.Job(task.source, task.language, options, context.recipe.ingest.record_bytes_max)
    for part in task.slices:
        yield from readers.read(job, part, storage.at(part.path), rejects)


def check(context: stage.Context, parts: list[manifest.Manifest]) -> None:
    """The budget of damage, per source."""
    limits = context.recipe.ingest
    for source in sorted({part.source for part in parts}):
        counts = manifest.total(part.counts for part in parts if part.source == source)
        rejected = sum(counts.rejected.values())
        damaged = sum(counts.rejected.get(reason, 0) for reason in readers.DAMAGE)
        place = f"{context.folder('documents')}/{source}/*.rejects.jsonl"
        if damaged > limits.damaged_files_max:
            raise stage.StageFailed(
                f"source {source}: {damaged} damaged files ({counts.rejected}), ingest.damaged_files_max is "
                f"{limits.damaged_files_max}; {place} names them: mend or remove them, or raise the limit"
            )
        if rejected > limits.rejected_share_max * counts.documents_in:
            raise stage.StageFailed(
                f"source {source}: {rejected} of {counts.documents_in} records rejected ({counts.rejected}), "
                f"ingest.rejected_share_max is {limits.rejected_share_max}; see {place}, or raise the limit"
            )


def settings(plan_of: recipe.Recipe) -> object:
    """Budgets are checked over the whole stage; they change no shard."""
    return plan_of.ingest.record_bytes_max


STAGE = stage.Stage(name="documents", group="ingest", plan=plan, work=work, settings=settings, check=check)
