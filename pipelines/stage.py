"""The one mover: plans tasks, carries documents through a stage's function, accounts for each, commits the result.

A stage is a plan (which tasks) and a work function (what one task does). A task reads slices of an earlier stage's
files, writes its own files into a temporary folder, and is committed by renaming them, its manifest last. A task is
done when its manifest carries its key and every file its digest; the key is a digest of all that decides the output:
the slices and their digests, the stage's part of the recipe, and the code that does the work.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import manifest, pulse, recipe, sink, storage
from roots import code_digest
from roots import facts as corpus_facts

PLAN = "_plan.jsonl"
PART = re.compile(r"part-\d{5}-of-\d{5}\..*|.*\.(seg|bin|idx|lineage\.parquet)")  # the names only a mover gives
DOCUMENT_BYTES_MIN = 256  # that a document counts for when work is cut: what is held for each does not shrink with it
EXCERPT_CHARS = 500  # of a removed document, for inspection


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of one input file: row groups start..end of a shard, or bytes start..end of a text file.

    path    where to read it: relative to the run's folder, or absolute; not part of any key
    label   its name in keys and document ids: relative to the source's folder, or to the run's
    sha256  of the whole file
    first   number of its first record in the file
    weight  bytes of text in it, as far as known before reading
    rows    documents in it, 0 where that is not known
    """

    path: str
    label: str
    sha256: str
    start: int
    end: int
    first: int = 0
    weight: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One unit of work, and of resumption. `options` are JSON values that the stage's work needs besides."""

    name: str
    source: str = ""
    language: str = ""
    slices: tuple[Slice, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        return sum(part.weight for part in self.slices)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Task:
        return cls(**{**value, "slices": tuple(Slice(**part) for part in value["slices"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a task reports: its account, the row groups of its shard, and what it found."""

    counts: manifest.Counts = field(default_factory=manifest.Counts)
    row_groups: tuple[tuple[int, int], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A step of the path.

    name      also its folder, below the run's output
    group     the stage as the user knows it (`--until GROUP`); several steps may form one
    settings  the part of the recipe that the work depends on
    conserves the stage whose kept documents must all come in here, per source; "" where documents do not come in
    check     raises StageFailed where the account as a whole is not acceptable
    """

    name: str
    group: str
    plan: Callable[[Context], list[Task]]
    work: Callable[[Task, Context, Path], Result]
    settings: Callable[[recipe.Recipe], Any]
    conserves: str = ""
    check: Callable[[Context, list[manifest.Manifest]], None] | None = None


class StageFailed(RuntimeError):
    """A stage ended without its result; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where a run stands: its output folder, its recipe, and how many documents a batch holds."""

    output: storage.Place
    recipe: recipe.Recipe
    batch_docs: int = 1024

    def folder(self, stage: str) -> storage.Place:
        return self.output / stage

    def manifests(self, stage: str) -> list[manifest.Manifest]:
        """The manifests of a finished stage, in the order of its plan."""
        folder = self.folder(stage)
        return list(_manifests(folder, manifest.file_digest(folder / manifest.SUCCESS)))

    def shards(self, stage: str, part: manifest.Manifest) -> Iterator[Slice]:
        """One slice for each row group of a task's shard."""
        name = f"{part.name}.parquet"
        for index, weight in enumerate(part.text):
            yield Slice(
                path=f"{stage}/{name}",
                label=f"{stage}/{name}",
                sha256=part.files[name]["sha256"],
                start=index,
                end=index + 1,
                first=sum(part.rows[:index]),
                weight=weight,
                rows=part.rows[index],
            )

    def read(self, part: Slice, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The documents of a slice of a shard, in order."""
        for batch in sink.read_shard(self.output / part.path, range(part.start, part.end), self.batch_docs, columns):
            pulse.HERE.beat()
            yield batch


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage's function says of a batch: the documents, and for each the reason to remove it, or null.

    docs     [docs] with the columns of the stage's schema
    reason   [docs] string, null = keep; None = keep all
    witness  [docs] string, what the reason rests on (the kept copy's id, a measured number); None = nothing
    facts    counts to add up over the task
    """

    docs: pa.RecordBatch
    reason: pa.StringArray | None = None
    witness: pa.StringArray | None = None
    facts: Mapping[str, int] = field(default_factory=dict)


@functools.lru_cache(maxsize=16)
def _manifests(folder: storage.Place, success: str) -> tuple[manifest.Manifest, ...]:
    """The manifests that a stage's declaration (its digest: `success`) lists; read once in a process."""
    names = manifest.read_sealed(folder / manifest.SUCCESS)["order"]
    return tuple(storage.each(lambda name: manifest.Manifest.read(folder, name), names, folder))


def one_to_one(context: Context, earlier: str) -> list[Task]:
    """Tasks over an earlier stage's shards: consecutive row groups of a source, about `task_bytes` of text each."""
    by_source: dict[tuple[str, str], list[Slice]] = {}
    for part in context.manifests(earlier):
        by_source.setdefault((part.source, part.language), []).extend(context.shards(earlier, part))
    tasks: list[Task] = []
    for (source, language), parts in sorted(by_source.items()):
        tasks += split(source, language, parts, context.recipe.run.task_bytes)
    return tasks


def split(source: str, language: str, parts: list[Slice], task_bytes: int) -> list[Task]:
    """Cut a source's slices into tasks of about `task_bytes`, or as many tiny documents, in order, and number them."""
    groups: list[list[Slice]] = []
    filled = task_bytes
    for part in parts:
        if filled >= task_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(part)
        filled += max(part.weight, part.rows * DOCUMENT_BYTES_MIN)
    return [
        Task(
            name=f"{source}/part-{index:05d}-of-{len(groups):05d}",
            source=source,
            language=language,
            slices=tuple(_joined(group)),
        )
        for index, group in enumerate(groups)
    ]


def _joined(parts: list[Slice]) -> Iterator[Slice]:
    """Neighbouring slices of one file as one."""
    held = parts[0]
    for part in parts[1:]:
        if part.path == held.path and part.start == held.end:
            weight, rows = held.weight + part.weight, held.rows + part.rows
            held = dataclasses.replace(held, end=part.end, weight=weight, rows=rows)
        else:
            yield held
            held = part
    yield held


def move(
    batches: Iterable[pa.RecordBatch],
    function: Callable[[pa.RecordBatch], Outcome],
    schema: pa.Schema,
    folder: Path,
    task: Task,
    sample: int,
    rejects: Rejects | None = None,
    publish: bool = False,
) -> Result:
    """Carry documents through a function into the task's shard, and account for each.

    Beside the shard stand `.removed.jsonl` (the first `sample` removed documents of each reason) and, if anything was
    rejected, `.rejects.jsonl`. With `publish` the shard is for readers outside: packed more tightly, and the facts of
    its documents go into the manifest.
    """
    stem = folder / task.name
    writer = sink.ShardWriter(Path(f"{stem}.parquet"), schema, sink.PUBLISHED if publish else sink.PASSING)
    removed = Removed(sample)
    documents = bytes_in = bytes_kept = 0
    found: dict[str, int] = {}
    kept_facts = corpus_facts.Facts.zero()
    for batch in batches:
        pulse.HERE.beat()
        documents += batch.num_rows
        bytes_in += int(sink.text_bytes(batch).sum())
        outcome = function(batch)
        if outcome.docs.num_rows != batch.num_rows:
            raise ValueError(
                f"{task.name}: {batch.num_rows} documents went in and {outcome.docs.num_rows} came out; a stage's "
                "function says of each document whether it stays, it drops none by itself"
            )
        kept = removed.split(outcome)
        for name, count in outcome.facts.items():
            found[name] = found.get(name, 0) + count
        if publish:
            kept_facts += corpus_facts.Facts.of(kept)
        bytes_kept += int(sink.text_bytes(kept).sum())
        writer.write(kept.select(schema.names).cast(schema))
    row_groups = writer.close()
    removed.write(Path(f"{stem}.removed.jsonl"))
    rejected = rejects.write(Path(f"{stem}.rejects.jsonl")) if rejects else {}
    counts = manifest.Counts(
        documents_in=documents + sum(rejected.values()),
        kept=sum(rows for rows, _ in row_groups),
        removed=removed.counts,
        rejected=rejected,
        text_bytes_in=bytes_in,
        text_bytes_kept=bytes_kept,
    )
    facts: dict[str, Any] = {"found": found}
    if publish:
        facts["kept"] = kept_facts.to_json()
    return Result(counts=counts, row_groups=tuple(row_groups), facts=facts)


class Removed:
    """Counts what a stage removes, and keeps a few of each reason for people to look at."""

    def __init__(self, sample: int):
        self.counts: dict[str, int] = {}
        self._sample = sample
        self._lines: list[bytes] = []

    def split(self, outcome: Outcome) -> pa.RecordBatch:
        """The documents to keep; the others are counted by reason."""
        if outcome.reason is None or outcome.reason.null_count == len(outcome.reason):
            return outcome.docs
        for row in pc.indices_nonzero(pc.is_valid(outcome.reason)).to_pylist():
            reason = outcome.reason[row].as_py()
            self.counts[reason] = self.counts.get(reason, 0) + 1
            if self.counts[reason] <= self._sample:
                self._lines.append(_removed_line(outcome, row, reason))
        return outcome.docs.filter(pc.is_null(outcome.reason))

    def write(self, path: Path) -> None:
        if self._lines:
            path.write_bytes(b"".join(self._lines))


def _removed_line(outcome: Outcome, row: int, reason: str) -> bytes:
    document = outcome.docs.slice(row, 1).to_pylist()[0]
    text = document["text"]
    line = {
        "id": document["id"],
        "reason": reason,
        "witness": outcome.witness[row].as_py() if outcome.witness is not None else None,
        "text": text[:EXCERPT_CHARS],
        "text_chars": len(text),
    }
    return manifest.canonical(line) + b"\n"


@dataclass(slots=True)
class Rejects:
    """Records that are no documents: each with its place, the reason, and the start of its bytes."""

    source: str
    lines: list[bytes] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, file: str, record: int, offset: int, reason: str, detail: str, raw: bytes) -> None:
        """record: number in the file, from 0; offset: of its first byte in the uncompressed file, -1 unknown."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        line = {
            "source": self.source,
            "file": file,
            "record": record,
            "offset": offset,
            "reason": reason,
            "detail": detail,
            "raw": raw[:200].decode("utf-8", "backslashreplace"),
            "raw_sha256": hashlib.sha256(raw).hexdigest(),
        }
        self.lines.append(manifest.canonical(line) + b"\n")

    def write(self, path: Path) -> dict[str, int]:
        """The counts by reason; writes the file if there is anything to write."""
        if self.lines:
            path.write_bytes(b"".join(self.lines))
        return dict(sorted(self.counts.items()))


def run_task(stage: Stage, task: Task, key: str, context: Context) -> manifest.Manifest:
    """Do a task and commit it: files by rename, manifest last. Done already under this key: nothing is done."""
    folder = context.folder(stage.name)
    if (done := finished(stage, task, key, context)) is not None:
        return done
    with storage.workplace(folder, task.name) as temporary:
        (temporary / task.name).parent.mkdir(parents=True, exist_ok=True)
        result = stage.work(task, context, temporary)
        files = manifest.files_of(temporary, temporary)
        storage.publish(temporary, files, folder)
    done = manifest.Manifest(
        stage=stage.name,
        name=task.name,
        source=task.source,
        language=task.language,
        key=key,
        files=files,
        counts=result.counts,
        rows=tuple(rows for rows, _ in result.row_groups),
        text=tuple(text for _, text in result.row_groups),
        facts=dict(result.facts),
    )
    done.write(folder)
    return done


def finished(stage: Stage, task: Task, key: str, context: Context) -> manifest.Manifest | None:
    """The task's manifest if it is done: same key, and each file with its digest (in a store: with its size)."""
    folder = context.folder(stage.name)
    try:
        part = manifest.Manifest.read(folder, task.name)
    except (FileNotFoundError, manifest.DamagedFile):
        return None
    whole = isinstance(folder, Path)
    return part if part.key == key and not part.problems(folder, whole) else None


def stage_key(stage: Stage, context: Context) -> str:
    """Digest of what decides the output of all of a stage's tasks: its part of the recipe, and its code."""
    return manifest.digest(
        {
            "stage": stage.name,
            "settings": recipe.settings(stage.settings(context.recipe)),
            "run": recipe.settings(context.recipe.run),
            "code": code_digest.of(_module(stage.work)),
        }
    )


def task_key(of_stage: str, task: Task) -> str:
    """Digest of all that decides a task's output; `of_stage` is the stage's own key."""
    slices = [[s.label, s.sha256, s.start, s.end, s.first] for s in task.slices]
    return manifest.digest([of_stage, task.name, task.source, task.language, slices, dict(task.options)])


def _module(function: Any) -> str:
    return _module(function.func) if isinstance(function, functools.partial) else function.__module__


def write_plan(stage: Stage, tasks: list[tuple[Task, str]], context: Context) -> None:
    """The tasks with their keys, one a line, where the workers read them."""
    lines = [manifest.seal({"task": task.to_json(), "key": key}) for task, key in tasks]
    storage.write(context.folder(stage.name) / PLAN, b"".join(lines))


def read_plan(stage: str, context: Context) -> list[tuple[Task, str]]:
    path = context.folder(stage) / PLAN
    values = [manifest.unseal(line, str(path)) for line in path.read_bytes().splitlines(keepends=True)]
    return [(Task.from_json(value["task"]), value["key"]) for value in values]


def clear_stale(stage: Stage, names: set[str], context: Context) -> None:
    """Remove what an interrupted run or another plan left: temporary folders, and files of tasks not in this plan."""
    folder = context.folder(stage.name)
    there = {storage.relative(file, folder): file for file in storage.files(folder)}
    for name in there:
        if name.endswith(manifest.MANIFEST) and name.removesuffix(manifest.MANIFEST) not in names:
            forget(folder, name.removesuffix(manifest.MANIFEST))
    named = storage.each(lambda task: _files_named(folder / (task + manifest.MANIFEST)), names, folder)
    listed = {name for files in named for name in files}
    for name, file in there.items():
        if PART.fullmatch(file.name) and not name.endswith(manifest.MANIFEST) and name not in listed:
            file.unlink(missing_ok=True)
    storage.tidy(folder)


def forget(folder: storage.Place, name: str) -> None:
    """Remove a task's manifest, then the files that it lists: the task will be done again, or never."""
    path = folder / (name + manifest.MANIFEST)
    files = _files_named(path)
    path.unlink(missing_ok=True)
    for file in files:
        (folder / file).unlink(missing_ok=True)


def _files_named(path: storage.Place) -> list[str]:
    try:
        return list(json.loads(path.read_bytes())["files"])
    except (FileNotFoundError, ValueError, KeyError):
        return []


def succeed(stage: Stage, tasks: list[tuple[Task, str]], context: Context) -> list[manifest.Manifest]:
    """Check the stage's account as a whole, then declare it done."""
    folder = context.folder(stage.name)
    parts = storage.each(lambda task: manifest.Manifest.read(folder, task[0].name), tasks, folder)
    if stage.conserves:
        _conserved(stage, parts, context)
    if stage.check:
        stage.check(context, parts)
    value = {
        "stage": stage.name,
        "key": manifest.digest([key for _, key in tasks]),
        "order": [part.name for part in parts],
        "manifests": storage.each(
            lambda part: manifest.file_digest(folder / (part.name + manifest.MANIFEST)), parts, folder
        ),
        "plan": manifest.file_digest(folder / PLAN),
        "counts": manifest.total(part.counts for part in parts).to_json(),
    }
    storage.write(folder / manifest.SUCCESS, manifest.seal(value))
    return parts


def _conserved(stage: Stage, parts: list[manifest.Manifest], context: Context) -> None:
    """Every document that the earlier stage kept has come in here."""
    kept: dict[str, int] = {}
    for part in context.manifests(stage.conserves):
        kept[part.source] = kept.get(part.source, 0) + part.counts.kept
    for part in parts:
        kept[part.source] = kept.get(part.source, 0) - part.counts.documents_in
    for source, difference in kept.items():
        if difference:
            raise StageFailed(
                f"stage {stage.name}: source {source}: {abs(difference)} documents "
                f"{'of' if difference > 0 else 'more than'} stage {stage.conserves} "
                f"{'did not come in' if difference > 0 else 'came in'}; nothing after this stage can be trusted. "
                f"Remove {context.folder(stage.name)} and run again"
            )
