"""What a run will take before it is started, and what of it is done."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import zstandard

from pipelines import ingest, path, progress, readers, run, stage, storage
from roots import minhash

SAMPLED, SAMPLE_BYTES = 64, 2**18  # packed files, the largest, that are opened to see what is in them; bytes of each

# MB of ingested text per CPU second, beyond the fixed costs: benchmarks/scale.py on 0.43 to 10.3 GB of 176 sources,
# 2026-11-28; cards and later from smaller runs
SPEED = {
    "ingest": 85.0,
    "clean": 50.0,
    "annotate": 65.0,
    "dedup": 90.0,
    "redact": 80.0,
    "cards": 1000.0,
    "tokenizer": 15.0,
    "shards": 20.0,
}
START_SECONDS = 4.0  # CPU until a process has imported everything
STAGE_SECONDS = 0.1  # of a Beam job
TASK_SECONDS = 0.006  # of a task with nothing to do: its manifest, its renames
STEPS = {"clean": 3, "dedup": 6}  # Beam jobs of a group; cleaning has two more for each further dedup step of a source
# bytes written for a byte of text: zstd Parquet at level 3, band keys, int32 ids
DISK = {"ingest": 0.45, "clean": 0.45, "annotate": 0.45, "dedup": 0.25, "redact": 0.45, "shards": 1.1}
# bytes of a worker, and for a byte of the largest task's text: as SPEED; 0.73 GB at 29 MB, 0.82 at 58, 1.31 at 134
MEMORY_BASE, MEMORY_TASK = 570e6, 5.4

# Dataflow, batch, us-central1, dollars: as in the README of GoogleCloudPlatform/dataflow-metrics-exporter (September
# 2023); cloud.google.com/dataflow/pricing has today's, compare before you spend
CPU_HOUR, MEMORY_GB_HOUR, DISK_GB_HOUR = 0.056, 0.003557, 0.000054
MEMORY_GB, DISK_GB = 3.75, 25  # of an n1-standard-1's core, and the disk of a worker
JOB_START_HOURS = 4 / 60  # machines that start and stop, for each Beam job
STORAGE_GB_MONTH = 0.02  # Cloud Storage, standard class, us-east1: cloud.google.com/storage/pricing-examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known or guessed of a stage: `tasks` and `done` are None where an earlier stage must run first.

    todo_bytes, task_bytes  of text in all that is left to do, and in the largest task
    """

    name: str
    tasks: int | None
    done: int | None
    todo_bytes: int
    task_bytes: int
    cpu_seconds: float
    parallel: int  # tasks that can run side by side
    steps: int
    disk_bytes: float
    why: str


def rows(context: stage.Context, until: str) -> Iterator[Row]:
    """A row for each stage; for one that cannot be planned yet its group's, from the text that goes in at the start."""
    text = tasks = largest = 0
    for name, now, why in _standings(context, until):
        group = path.group_of(name) or name
        if now is None:
            todo, pending, steps = text, tasks, STEPS.get(group, 1)
        else:
            packing = _packing(now)
            todo, pending, steps = int(now.weight * packing), len(now.pending), 1
            text, tasks = max(text, int(_weight(now) * packing)), max(tasks, len(now.tasks))
            largest = max([largest, *(int(task.weight * packing) for task, _ in now.tasks)])
        cpu = todo / 1e6 / SPEED[group] + steps * (STAGE_SECONDS + pending * TASK_SECONDS) if pending else 0.0
        yield Row(
            name=name,
            tasks=len(now.tasks) if now else None,
            done=len(now.tasks) - len(now.pending) if now else None,
            todo_bytes=todo,
            task_bytes=largest if pending else 0,
            cpu_seconds=cpu,
            parallel=1 if group in ("cards", "tokenizer") else max(1, pending),
            steps=steps if pending else 0,
            disk_bytes=todo * DISK.get(group, 0.0),
            why=why,
        )


def cpu_seconds(context: stage.Context, until: str, workers: int) -> float:
    """CPU seconds of all that is left to do, in the command's process and its workers'."""
    return START_SECONDS * (1 + workers * (workers > 1)) + sum(row.cpu_seconds for row in rows(context, until))


def table(context: stage.Context, until: str, workers: int) -> Iterator[str]:
    """Lines of a table: a line for each stage, then the sums."""
    plan_of = context.recipe
    yield f"recipe {plan_of.name}: {plan_of.about}".rstrip(": ")
    if plan_of.dedup.near and plan_of.dedup.method == "minhash":
        bands, of_band = minhash.bands_and_rows(
            plan_of.dedup.num_perm, plan_of.dedup.threshold, plan_of.dedup.recall_min
        )
        found = float(minhash.theory(plan_of.dedup.threshold, bands, of_band))
        yield (
            f"near duplicates: {bands} bands of {of_band} rows (threshold {plan_of.dedup.threshold}, recall_min "
            f"{plan_of.dedup.recall_min}) find {found:.2%} of the pairs at Jaccard {plan_of.dedup.threshold}, "
            f"{float(minhash.theory(plan_of.dedup.threshold - 0.2, bands, of_band)):.1%} of those at "
            f"{plan_of.dedup.threshold - 0.2:.1f}; every pair is verified"
        )
    yield f"{'stage':<26} {'tasks':>7} {'done':>7} {'text MB':>10} {'time':>9} {'disk MB':>9}  state"
    every = list(rows(context, until))
    for row in every:
        tasks, done = ("" if count is None else f"{count:,}" for count in (row.tasks, row.done))
        took = row.cpu_seconds / min(workers, row.parallel)
        yield (
            f"{row.name:<26} {tasks:>7} {done:>7} {row.todo_bytes / 1e6:>10,.1f} "
            f"{progress.clock(took):>9} {row.disk_bytes / 1e6:>9,.1f}  {row.why}"
        )
    seconds = START_SECONDS + sum(row.cpu_seconds / min(workers, row.parallel) for row in every)
    disk = sum(row.disk_bytes for row in every)
    yield f"in all about {progress.clock(seconds)} with {workers} workers, {disk / 1e6:,.0f} MB of disk"
    largest = min(plan_of.run.task_bytes, max((row.task_bytes for row in every), default=0))
    yield f"memory about {(MEMORY_BASE + MEMORY_TASK * largest) / 1e6:,.0f} MB for each worker"
    if str(context.output).startswith("gs://"):
        yield from dataflow_cost(every, workers)


def dataflow_cost(every: list[Row], workers: int) -> Iterator[str]:
    """What the same would take on Dataflow, with a core for each worker, all billed while a job runs."""
    starts = sum(row.steps for row in every) * JOB_START_HOURS
    hours = starts + sum(row.cpu_seconds / min(workers, row.parallel) for row in every) / 3600
    price = hours * workers * (CPU_HOUR + MEMORY_GB * MEMORY_GB_HOUR + DISK_GB * DISK_GB_HOUR)
    month = sum(row.disk_bytes for row in every) / 1e9 * STORAGE_GB_MONTH
    yield (
        f"on Dataflow with {workers} workers of one core: {hours:,.1f} hours ({starts:,.1f} of it starts), "
        f"{hours * workers:,.0f} core hours, about ${price:,.2f} at list price; storage ${month:,.2f} a month"
    )


def _weight(now: run.Standing) -> int:
    return sum(task.weight for task, _ in now.tasks)


def _packing(now: run.Standing) -> float:
    """Bytes of text in a byte of a stage's weight: packed files are weighed by a guess, so a few are opened here."""
    parts = [part for task, _ in now.tasks for part in task.slices if part.label.endswith(readers.COMPRESSED)]
    if now.of.name != "documents" or not parts:
        return 1.0
    looked = sorted(parts, key=lambda part: part.weight, reverse=True)[:SAMPLED]
    unpacked = sum(_unpacked(part) * part.weight for part in looked)
    ratio = unpacked / max(1, sum(part.weight for part in looked)) / ingest.COMPRESSION
    share = sum(part.weight for part in parts) / max(1, _weight(now))
    return 1 + share * (ratio - 1)


def _unpacked(part: stage.Slice) -> float:
    """Bytes in a byte at the start of a packed file; ingest's guess where it cannot be read (the reader will say)."""
    with storage.opened(storage.at(part.path)) as file:
        packed = file.read(SAMPLE_BYTES)
    decoder = zlib.decompressobj(31) if part.label.endswith(".gz") else zstandard.ZstdDecompressor().decompressobj()
    try:
        return len(decoder.decompress(packed)) / len(packed)
    except (zlib.error, zstandard.ZstdError, ZeroDivisionError):
        return ingest.COMPRESSION


def _standings(context: stage.Context, until: str) -> Iterator[tuple[str, run.Standing | None, str]]:
    """(stage, its standing, what that means); no standing where an earlier stage must run first."""
    blocked = ""
    for group in path.GROUPS[: path.GROUPS.index(until) + 1]:
        if blocked:
            yield group, None, f"planned after {blocked}"
            continue
        for chosen in path.group(group, context):
            if blocked:
                continue
            now = run.standing(chosen, context)
            why = _why(now, context)
            yield chosen.name, now, why
            if why != "done":
                blocked = group


def _why(now: run.Standing, context: stage.Context) -> str:
    if now.pending:
        fresh = len(now.pending) == len(now.tasks)
        started = (context.folder(now.of.name) / stage.PLAN).is_file()
        if fresh and not started:
            return "not started"
        return "its input, recipe or code has changed" if fresh else f"{len(now.pending)} tasks missing or changed"
    return "done" if run.declared(now, context) else "done, to be checked as a whole"
