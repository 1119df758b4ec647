"""What a run will take before it is started, and what of it is done."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines import path, progress, run, stage
from roots import minhash

# MB of text per second and core, measured on shared/corpus-like text by benchmarks/corpus_path.py (benchmarks/LOG.md)
SPEED = {
    "ingest": 60.0,
    "clean": 60.0,
    "annotate": 25.0,
    "dedup": 60.0,
    "redact": 45.0,
    "cards": 1000.0,
    "tokenizer": 15.0,
    "shards": 20.0,
}
# bytes written for a byte of text: zstd Parquet at level 3, band keys, int32 ids
DISK = {"ingest": 0.45, "clean": 0.45, "annotate": 0.45, "dedup": 0.25, "redact": 0.45, "shards": 1.1}
MEMORY_BASE = 400e6  # bytes of a worker that has imported everything
MEMORY_BATCH = 8.0  # bytes for a byte of the largest batch or row group


def table(context: stage.Context, until: str, workers: int) -> Iterator[str]:
    """Lines of a table: a line for each stage, then the sums."""
    plan_of = context.recipe
    yield f"recipe {plan_of.name}: {plan_of.about}".rstrip(": ")
    if plan_of.dedup.near and plan_of.dedup.method == "minhash":
        bands, rows = minhash.bands_and_rows(plan_of.dedup.num_perm, plan_of.dedup.threshold, plan_of.dedup.recall_min)
        found = float(minhash.theory(plan_of.dedup.threshold, bands, rows))
        yield (
            f"near duplicates: {bands} bands of {rows} rows (threshold {plan_of.dedup.threshold}, recall_min "
            f"{plan_of.dedup.recall_min}) find {found:.2%} of the pairs at Jaccard {plan_of.dedup.threshold}, "
            f"{float(minhash.theory(plan_of.dedup.threshold - 0.2, bands, rows)):.1%} of those at "
            f"{plan_of.dedup.threshold - 0.2:.1f}; every pair is verified"
        )
    yield f"{'stage':<26} {'tasks':>7} {'done':>7} {'text MB':>10} {'time':>9} {'disk MB':>9}  state"
    text = 0
    seconds = disk = 0.0
    for name, now, why in _standings(context, until):
        group = path.group_of(name) or name
        if now is not None:
            text = max(text, sum(task.weight for task, _ in now.tasks))
            todo = now.weight
            tasks, done = f"{len(now.tasks):,}", f"{len(now.tasks) - len(now.pending):,}"
        else:
            todo, tasks, done = text, "", ""
        share = 0 if now is not None and not now.pending else 1
        took = todo / 1e6 / SPEED[group] / min(workers, max(1, len(now.tasks) if now else workers)) * share
        wrote = todo * DISK.get(group, 0.0) * share
        seconds += took
        disk += wrote
        yield (
            f"{name:<26} {tasks:>7} {done:>7} {todo / 1e6:>10,.1f} {progress.clock(took):>9} "
            f"{wrote / 1e6:>9,.1f}  {why}"
        )
    yield f"in all about {progress.clock(seconds)} with {workers} workers, {disk / 1e6:,.0f} MB of disk"
    yield f"memory about {(MEMORY_BASE + MEMORY_BATCH * plan_of.run.task_bytes / 8) / 1e6:,.0f} MB for each worker"


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
