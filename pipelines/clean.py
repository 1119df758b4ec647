"""The source's ordered steps. Maps and filters work on a document; a dedup step must see the whole source first.

So a source with n dedup steps takes n rounds before its shards are written. Round r replays the steps before the r-th
dedup step, with the verdicts of the earlier rounds, and sends that step's keys through the exchange; the last pass
replays everything and writes. Replaying costs a read and the cheap steps again; nothing is written in between.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import exchange, manifest, recipe, stage
from roots import catalogue, clean, schema


def steps_of(source: str, plan_of: recipe.Recipe) -> tuple[str, ...]:
    """The names of a source's steps: the recipe's, or else the catalogue's."""
    named = recipe.matching(plan_of.clean.steps, source)
    if named is not None:
        return tuple(named)
    known = catalogue.get(source) if plan_of.clean.catalogue else None
    return known.steps if known else ()


def _dedups(names: tuple[str, ...]) -> list[int]:
    """Positions of the steps that must see the whole source."""
    return [i for i, step in enumerate(clean.parse(names)) if isinstance(step, clean.FirstKept | clean.RareLines)]


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
    tasks = stage.one_to_one(context, "documents")
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
    step = steps[_dedups(tuple(task.options["steps"]))[index]]
    replay = _Replay(task, context)
    parts = []
    for row, docs in replay.batches(index):
        if isinstance(step, clean.RareLines):
            parts.append(step.keys(docs.column("text")))
        elif isinstance(step, clean.FirstKept):
            keys, present = step.keys(docs)
            numbers = exchange.number(task.options["shard"], row)
            parts.append(exchange.keys(keys[present], numbers[present]))
    if isinstance(step, clean.FirstKept):
        records = np.concatenate(parts) if parts else np.empty(0, exchange.KEY)
    else:  # one record for each distinct line of the task
        records = exchange.counted(np.concatenate(parts) if parts else np.empty((0, 2), np.uint64))
    count = task.options["partitions"]
    exchange.write(folder / f"{task.name}.seg", records, exchange.partition_of(records["high"], count), count)
    return stage.Result()


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
    if isinstance(step, clean.RareLines):
        records = exchange.gather(files, task.options["partition"], exchange.LINE)
        found = exchange.frequent(records, step.count_min)
        exchange.write(path, found, np.zeros(len(found), np.int64), 1)
    else:
        records = exchange.gather(files, task.options["partition"], exchange.KEY)
        exchange.by_shard(path, exchange.first_kept(records), len(names))
    return stage.Result()


def _work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    replay = _Replay(task, context)
    batches = (batch for part in task.slices for batch in context.read(part))
    return stage.move(batches, replay.outcome, schema.DOCUMENT, folder, task, context.recipe.run.removed_sample)


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
        step = [s for s in self._steps if isinstance(s, clean.FirstKept | clean.RareLines)][index]
        files = exchange.paths(self._context.folder(f"work/clean-{index + 1}-verdicts"), given["names"])
        if isinstance(step, clean.FirstKept):
            found = exchange.gather(files, self._task.options["shard"], exchange.VERDICT)
            return np.sort(exchange.row_of(found["doc"]))
        lines = exchange.gather(files, 0, exchange.LINE)
        keys = np.stack([lines["high"], lines["low"]], axis=1)
        return keys[np.lexsort((keys[:, 1], keys[:, 0]))]

    def batches(self, round_index: int) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """(rows, documents) that are left when the round's dedup step comes."""
        for part in self._task.slices:
            for batch in self._context.read(part):
                rows = np.arange(self._row, self._row + batch.num_rows)
                docs, reason = self._apply(batch, round_index)
                left = np.asarray(pc.is_null(reason))
                yield rows[left], docs.filter(pa.array(left))

    def outcome(self, batch: pa.RecordBatch) -> stage.Outcome:
        docs, reason = self._apply(batch, None)
        return stage.Outcome(docs, reason)

    def _apply(self, batch: pa.RecordBatch, until: int | None) -> tuple[pa.RecordBatch, pa.StringArray]:
        """The batch with its texts changed, and the reason of each document that a step removes."""
        rows = np.arange(self._row, self._row + batch.num_rows)
        self._row += batch.num_rows
        why = np.full(batch.num_rows, None, object)
        docs, alive = (
            batch,
            np.arange(batch.num_rows),
        )  # alive: positions in the batch of the documents in docs
        texts: list[tuple[np.ndarray, pa.StringArray]] = []
        seen = 0
        for step in self._steps:
            if isinstance(step, clean.Map):
                docs = _with_text(docs, step.text(docs))
                continue
            if isinstance(step, clean.RareLines):
                if until is not None and seen == until:
                    break
                docs = _with_text(docs, step.drop(docs.column("text"), self._verdicts[seen]))
                seen += 1
                continue
            if isinstance(step, clean.FirstKept):
                if until is not None and seen == until:
                    break
                keep = ~np.isin(rows[alive], self._verdicts[seen], assume_unique=True)
                seen += 1
            else:
                keep = step.keep(docs)
            if not keep.all():
                why[alive[~keep]] = step.reason
                texts.append((alive[~keep], docs.column("text").filter(pa.array(~keep))))
                docs, alive = docs.filter(pa.array(keep)), alive[keep]
        texts.append((alive, docs.column("text")))
        return _reassembled(batch, texts), pa.array(why, pa.string())


def _with_text(docs: pa.RecordBatch, text: pa.StringArray) -> pa.RecordBatch:
    return docs.set_column(docs.schema.get_field_index("text"), docs.schema.field("text"), text)


def _reassembled(batch: pa.RecordBatch, texts: list[tuple[np.ndarray, pa.StringArray]]) -> pa.RecordBatch:
    """The batch with each document's text as it was when it was removed, or at the end."""
    if len(texts) == 1:
        return _with_text(batch, texts[0][1])
    positions = np.concatenate([where for where, _ in texts])
    back = np.empty(len(positions), np.int64)
    back[positions] = np.arange(len(positions))
    return _with_text(batch, pa.concat_arrays([text for _, text in texts]).take(pa.array(back)))
