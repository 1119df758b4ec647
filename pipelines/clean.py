"""The source's ordered steps. Maps and filters work on a document; a dedup step must see the whole source first.

So a source with n dedup steps takes n rounds before its shards are written. Round r replays the steps before the r-th
dedup step, with the verdicts of the earlier rounds, and sends that step's keys through the exchange; the last pass
replays everything and writes. Replaying costs a read and the cheap steps again; nothing is written in between.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import exchange, manifest, recipe, stage
from roots import catalogue, clean, schema, step_kinds

JOINED_BYTES_MAX = 2**30  # text of a source whose pieces are joined: a batch holds it


def steps_of(source: str, plan_of: recipe.Recipe) -> tuple[str, ...]:
    """The names of a source's steps: the recipe's for this very name, else the catalogue's, else of a pattern."""
    named = plan_of.clean.steps
    if source not in named and plan_of.clean.catalogue and (known := catalogue.get(source)):
        return known.steps
    return tuple(recipe.matching(named, source) or ())


def _dedups(names: tuple[str, ...]) -> list[int]:
    """Positions of the steps that must see the whole source."""
    return [i for i, step in enumerate(clean.parse(names)) if isinstance(step, step_kinds.Whole)]


def rounds(plan_of: recipe.Recipe, sources: list[str]) -> int:
    """How many rounds the sources need: the most dedup steps of any."""
    return max((len(_dedups(steps_of(source, plan_of))) for source in sources), default=0)


def stages(count: int) -> list[stage.Stage]:
    """The stages of cleaning: keys and verdicts of each round, then the pass that writes."""
    made = []
    for index in range(count):
        keys = stage.Stage(
            name=f"work/clean-{index + 1}-keys",
            group="clean",
            plan=functools.partial(_plan_keys, index),
            work=functools.partial(_work_keys, index),
            settings=_settings,
        )
        verdicts = stage.Stage(
            name=f"work/clean-{index + 1}-verdicts",
            group="clean",
            plan=functools.partial(_plan_verdicts, index),
            work=functools.partial(_work_verdicts, index),
            settings=_settings,
        )
        made += [keys, verdicts]
    last = stage.Stage(name="clean", group="clean", plan=_plan, work=_work, settings=_settings, conserves="documents")
    return [*made, last]


def _settings(plan_of: recipe.Recipe) -> object:
    """The steps of a task are in its options; nothing else of the recipe matters."""
    return None


def _plan(context: stage.Context) -> list[stage.Task]:
    """Tasks over the documents, each with its steps and the verdicts that they need."""
    return list(_replays(context, None))


def _replays(context: stage.Context, until: int | None) -> Iterator[stage.Task]:
    """Tasks that replay the steps of their source: before dedup step number `until`, or all of them."""
    tasks = list(_whole_where_joined(stage.one_to_one(context, "documents"), context.recipe))
    most = rounds(context.recipe, sorted({task.source for task in tasks}))
    verdicts = [_by_source(context, index) for index in range(most if until is None else until)]
    for task, number, of in _numbered(tasks):
        names = steps_of(task.source, context.recipe)
        dedups = len(_dedups(names))
        if until is not None and dedups <= until:
            continue
        given = [_named(verdicts[index][task.source]) for index in range(dedups if until is None else until)]
        options = {"steps": list(names), "shard": number, "shards": of, "verdicts": given}
        yield dataclasses.replace(task, options=options)


def _whole_where_joined(tasks: list[stage.Task], plan_of: recipe.Recipe) -> Iterator[stage.Task]:
    """One task for a source whose documents are joined. The one such source of the catalogue has 21 MB."""
    for source, group in itertools.groupby(tasks, lambda task: task.source):
        of_source = list(group)
        if not any(isinstance(step, step_kinds.Joined) for step in clean.parse(steps_of(source, plan_of))):
            yield from of_source
            continue
        weight = sum(task.weight for task in of_source)
        if weight > JOINED_BYTES_MAX:
            raise ValueError(
                f"source {source}: its pieces are joined in memory, and {weight:,} bytes of text are more than "
                f"{JOINED_BYTES_MAX:,}; give it in several sources, no recording in two of them"
            )
        parts = [part for task in of_source for part in task.slices]
        yield from stage.split(source, of_source[0].language, parts, JOINED_BYTES_MAX + 1)


def _by_source(context: stage.Context, index: int) -> dict[str, list[manifest.Manifest]]:
    found: dict[str, list[manifest.Manifest]] = {}
    for part in context.manifests(f"work/clean-{index + 1}-verdicts"):
        found.setdefault(part.source, []).append(part)
    return found


def _named(parts: list[manifest.Manifest]) -> dict[str, Any]:
    """Names of tasks, and the digests of their files, so that a change in them changes the reader's key."""
    digests = [entry["sha256"] for part in parts for entry in part.files.values()]
    return {"names": [part.name for part in parts], "digest": manifest.digest(digests)}


def _numbered(tasks: list[stage.Task]) -> Iterator[tuple[stage.Task, int, int]]:
    """Each task with its number within its source, and how many the source has."""
    count: dict[str, int] = {}
    for task in tasks:
        count[task.source] = count.get(task.source, 0) + 1
    seen: dict[str, int] = {}
    for task in tasks:
        seen[task.source] = seen.get(task.source, 0) + 1
        yield task, seen[task.source] - 1, count[task.source]


def _plan_keys(index: int, context: stage.Context) -> list[stage.Task]:
    """Tasks of the sources that have a dedup step in this round, with the number of partitions of their source."""
    documents: dict[str, int] = {}
    for part in context.manifests("documents"):
        documents[part.source] = documents.get(part.source, 0) + part.counts.kept
    return [
        dataclasses.replace(
            task,
            options={**task.options, "partitions": exchange.partitions(documents[task.source], exchange.KEY)},
        )
        for task in _replays(context, index)
    ]


def _work_keys(index: int, task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    steps = clean.parse(tuple(task.options["steps"]))
    position = _dedups(tuple(task.options["steps"]))[index]
    step = steps[position]
    replay = _Replay(task, context)
    parts = []
    documents = 0
    for row, docs in replay.before(position):
        documents += docs.num_rows
        if isinstance(step, step_kinds.RareLines):
            parts.append(step.keys(docs.column("text")))
        elif isinstance(step, step_kinds.FirstKept):
            keys, present = step.keys(docs)
            numbers = exchange.number(task.options["shard"], row)
            parts.append(exchange.keys(keys[present], numbers[present]))
    if isinstance(step, step_kinds.FirstKept):
        records = np.concatenate(parts) if parts else np.empty(0, exchange.KEY)
    else:  # one record for each distinct line of the task
        records = exchange.counted(np.concatenate(parts) if parts else np.empty((0, 2), np.uint64))
    count = task.options["partitions"]
    exchange.write(folder / f"{task.name}.seg", records, exchange.partition_of(records["high"], count), count)
    return stage.Result(facts={"documents": documents})


def _plan_verdicts(index: int, context: stage.Context) -> list[stage.Task]:
    """A task for each partition of each source."""
    by_source: dict[str, list[manifest.Manifest]] = {}
    keys = f"work/clean-{index + 1}-keys"
    options = {task.name: task.options for task, _ in stage.read_plan(keys, context)}
    for part in context.manifests(keys):
        by_source.setdefault(part.source, []).append(part)
    tasks = []
    for source, parts in sorted(by_source.items()):
        first = options[parts[0].name]
        step = first["steps"][_dedups(tuple(first["steps"]))[index]]
        for partition in range(first["partitions"]):
            given = {
                "step": step,
                "partition": partition,
                "documents": sum(part.facts["documents"] for part in parts),
                **_named(parts),
            }
            name = f"{source}/part-{partition:05d}-of-{first['partitions']:05d}"
            tasks.append(stage.Task(name=name, source=source, options=given))
    return tasks


def _work_verdicts(index: int, task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    step = clean.STEPS[task.options["step"]]
    names = task.options["names"]
    files = exchange.paths(context.folder(f"work/clean-{index + 1}-keys"), names)
    path = folder / f"{task.name}.seg"
    if isinstance(step, step_kinds.RareLines):
        records = exchange.gather(files, task.options["partition"], exchange.LINE)
        found = exchange.frequent(records, step.frequent_from(task.options["documents"]))
        exchange.write(path, found, np.zeros(len(found), np.int64), 1)
    else:
        records = exchange.gather(files, task.options["partition"], exchange.KEY)
        exchange.by_shard(path, exchange.first_kept(records), len(names))
    return stage.Result()


def _work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    replay = _Replay(task, context)
    return stage.move(
        replay.batches(), replay.outcome, schema.DOCUMENT, folder, task, context.recipe.run.removed_sample
    )


class _Replay:
    """A source's steps on a task's batches, with the verdicts of the rounds so far."""

    def __init__(self, task: stage.Task, context: stage.Context):
        self._task = task
        self._context = context
        self._steps = clean.parse(tuple(task.options["steps"]))
        self._row = 0  # of the task's next document
        self._verdicts = [self._load(index, given) for index, given in enumerate(task.options["verdicts"])]

    def _load(self, index: int, given: dict[str, Any]) -> np.ndarray:
        """For a document dedup the rows to remove; for a line dedup the frequent keys."""
        step = [s for s in self._steps if isinstance(s, step_kinds.Whole)][index]
        files = exchange.paths(self._context.folder(f"work/clean-{index + 1}-verdicts"), given["names"])
        if isinstance(step, step_kinds.FirstKept):
            found = exchange.gather(files, self._task.options["shard"], exchange.VERDICT)
            return np.sort(exchange.row_of(found["doc"]))
        lines = exchange.gather(files, 0, exchange.LINE)
        keys = np.stack([lines["high"], lines["low"]], axis=1)
        return keys[np.lexsort((keys[:, 1], keys[:, 0]))]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The task's documents; where pieces are to be joined, all of the source at once."""
        read = (batch for part in self._task.slices for batch in self._context.read(part))
        if any(isinstance(step, step_kinds.Joined) for step in self._steps):
            yield from pa.Table.from_batches(read, schema.DOCUMENT).combine_chunks().to_batches()
        else:
            yield from read

    def before(self, position: int) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """(rows, documents) that are left when the step at this position comes."""
        for batch in self.batches():
            rows = np.arange(self._row, self._row + batch.num_rows)
            docs, reason = self._apply(batch, self._steps[:position])
            left = np.asarray(pc.is_null(reason))
            yield rows[left], docs.filter(pa.array(left))

    def outcome(self, batch: pa.RecordBatch) -> stage.Outcome:
        return stage.Outcome(*self._apply(batch, self._steps))

    def _apply(
        self, batch: pa.RecordBatch, steps: tuple[step_kinds.Step, ...]
    ) -> tuple[pa.RecordBatch, pa.StringArray]:
        first = self._row
        self._row += batch.num_rows

        def answer(asked: int, step: step_kinds.Whole, left: pa.RecordBatch, rows: np.ndarray) -> np.ndarray:
            given = self._verdicts[asked]
            if isinstance(step, step_kinds.RareLines):
                return given
            return ~np.isin(first + rows, given, assume_unique=True)

        return step_kinds.replay(steps, batch, answer)
