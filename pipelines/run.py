"""A whole run: the stages in order, each planned, run where something is missing, checked, declared done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import lease, manifest, path, pulse, runner, stage, storage, workers

STORE_POLL_SECONDS = 10.0  # between two looks for finished tasks in a store: each is a listing


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a stage is: its tasks with their keys, and the numbers of those that are not done."""

    of: stage.Stage
    tasks: list[tuple[stage.Task, str]]
    pending: list[int]

    @property
    def weight(self) -> int:
        """Bytes of text in the tasks that are not done."""
        return sum(self.tasks[index][0].weight for index in self.pending)


@dataclass(slots=True)
class Progress:
    """What a watcher is told of a stage while it runs."""

    stage: str
    group: str
    tasks: int
    done: int
    weight: int  # bytes of text to read in this run
    weight_done: int = 0
    task_share: float = 0.0  # done of the task that this process is at, where the task says so
    before: float = 0.0  # share of the stage that was done when this run took it up
    seconds: float = 0.0
    counts: manifest.Counts = field(default_factory=manifest.Counts)
    finished: bool = False

    @property
    def share(self) -> float:
        """Done of the stage: of the text to read in this run, or of the tasks where none is read."""
        if self.weight:
            return self.weight_done / self.weight
        return min(1.0, (self.done + self.task_share) / max(1, self.tasks))  # a task may be both just done and shown


Watcher = Callable[[Progress], None]


def run(context: stage.Context, until: str, engine: runner.Engine, watch: Watcher) -> None:
    """Bring every stage up to `until` to its end. What is done stays; the same call again resumes.

    raises  lease.Busy, stage.StageFailed; ValueError or FileNotFoundError where the recipe does not fit the data
    """
    engine.check(context)
    with lease.held(context.output):
        storage.tidy(context.output)
        runner.seal_run(context)
        with workers.Pool(1 if engine.remote else engine.workers) as pool:
            for each in path.stages(context, until):
                _bring(each, context, engine, pool, watch)


def run_one(context: stage.Context, chosen: stage.Stage, engine: runner.Engine, watch: Watcher) -> None:
    """Bring a stage beside the path to its end, on what a run has left; the same call again resumes."""
    with lease.held(context.output), workers.Pool(1 if engine.remote else engine.workers) as pool:
        _bring(chosen, context, engine, pool, watch)


def standing(chosen: stage.Stage, context: stage.Context) -> Standing:
    """Plan a stage, and look which of its tasks are done: manifest, key and every digest."""
    of_stage = stage.stage_key(chosen, context)
    tasks = [(task, stage.task_key(of_stage, task)) for task in chosen.plan(context)]
    done = storage.each(lambda task: stage.finished(chosen, *task, context) is not None, tasks, context.output)
    pending = [index for index, finished in enumerate(done) if not finished]
    return Standing(of=chosen, tasks=tasks, pending=pending)


def _bring(
    chosen: stage.Stage, context: stage.Context, engine: runner.Engine, pool: workers.Pool, watch: Watcher
) -> None:
    started = time.monotonic()
    now = standing(chosen, context)
    folder = context.folder(chosen.name)
    stage.clear_stale(chosen, {task.name for task, _ in now.tasks}, context)
    for index in now.pending:
        stage.forget(folder, now.tasks[index][0].name)
    if now.pending or not declared(now, context):
        (folder / manifest.SUCCESS).unlink(missing_ok=True)
        stage.write_plan(chosen, now.tasks, context)
    progress = Progress(chosen.name, chosen.group, len(now.tasks), len(now.tasks) - len(now.pending), now.weight)
    progress.before = progress.share
    watch(progress)
    if now.pending:
        follow = _Follow(now, context, progress, watch, started)
        runner.run(chosen, now.pending, context, engine, pool, now.weight, follow)
        follow()
    if now.pending or not declared(now, context):
        stage.succeed(chosen, now.tasks, context)
    progress.counts = manifest.total(part.counts for part in context.manifests(chosen.name))
    progress.done, progress.finished, progress.seconds = len(now.tasks), True, time.monotonic() - started
    watch(progress)
    if now.pending:
        _note(context, progress, len(now.pending))


def declared(now: Standing, context: stage.Context) -> bool:
    """Whether the stage stands as done under these very keys, with the manifests that are there."""
    folder = context.folder(now.of.name)
    try:
        success = manifest.read_sealed(folder / manifest.SUCCESS)
        plan = manifest.file_digest(folder / stage.PLAN)
    except (FileNotFoundError, manifest.DamagedFile):
        return False
    names = [task.name for task, _ in now.tasks]
    if success.get("key") != manifest.digest([key for _, key in now.tasks]) or success.get("order") != names:
        return False
    digests = storage.each(lambda name: manifest.file_digest(folder / (name + manifest.MANIFEST)), names, folder)
    return success.get("manifests") == digests and success.get("plan") == plan


class _Follow:
    """Tells the watcher which tasks have come to their manifest; called a few times a second."""

    def __init__(self, now: Standing, context: stage.Context, progress: Progress, watch: Watcher, started: float):
        self._folder = context.folder(now.of.name)
        self._pause = 0.0 if isinstance(self._folder, Path) else STORE_POLL_SECONDS
        self._next = 0.0
        self._waiting = {
            self._folder / (now.tasks[i][0].name + manifest.MANIFEST): now.tasks[i][0].weight for i in now.pending
        }
        self._progress, self._watch, self._started = progress, watch, started

    def __call__(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._pause
        come = storage.present(self._waiting, self._folder)
        for file in come:
            self._progress.done += 1
            self._progress.weight_done += self._waiting.pop(file)
        first, self._progress.task_share = not self._progress.task_share, pulse.HERE.share
        if first and self._progress.task_share:
            self._progress.before = self._progress.share  # a task that was killed goes on from there
        self._progress.seconds = time.monotonic() - self._started
        self._watch(self._progress)


def _note(context: stage.Context, progress: Progress, ran: int) -> None:
    """Add a sealed line to the run's log: when and how long, which no other file of the run says."""
    line = manifest.seal(
        {
            "stage": progress.stage,
            "tasks_run": ran,
            "text_bytes": progress.weight,
            "seconds": round(progress.seconds, 3),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )
    storage.append(context.output / path.LOG, line)
