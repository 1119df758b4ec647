"""One Beam job for each stage: its elements are numbers of tasks, the tasks stand in the stage's plan file.

Locally the FnApiRunner is pinned (Beam's default asks the network which runner it is): in this process with one
worker, in the processes of a pool (`pipelines/workers.py`) with more. A worker that is killed or hangs would leave Beam
2.77 waiting for ever; the watchdog here ends the stage, or ends the workers and tries again.
"""

from __future__ import annotations

import collections
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner import fn_runner

from pipelines import manifest, path, pulse, recipe, stage, storage, workers

IN_PROCESS_BYTES = 24 * 2**20  # a stage with less text than this is not worth starting worker processes (3-4 s)
POLL_SECONDS = 0.2
HANGS_MAX = 3  # of one task; then the stage fails
SPANS_MAX = 50_000  # of tasks in a job's graph: about 160 KB; services refuse graphs of some megabytes
FAILURE = re.compile(r"(?:TaskFailed: |^)(task .*?)(?: \[while running|\\n|\n|$)")
LOG = logging.getLogger(__name__)


class TaskFailed(RuntimeError):
    """A task raised; the message names it and the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Where tasks run. `beam_options` are passed on as they are; with a --runner among them, that runner is used.

    hang_seconds  a worker of our own that makes no progress for so long is ended; 0 waits for ever
    """

    workers: int = 1
    hang_seconds: float = pulse.SILENT_SECONDS_MAX
    beam_options: tuple[str, ...] = ()

    @property
    def remote(self) -> bool:
        return bool(self.runner)

    @property
    def runner(self) -> str:
        """The runner that the options name; "" for none."""
        return PipelineOptions(list(self.beam_options)).view_as(StandardOptions).runner or ""

    def check(self, context: stage.Context) -> None:
        """Raises ValueError for a runner that could not do the work, or would do it wrongly."""
        if self.runner.endswith("DaskRunner"):
            raise ValueError(
                "--runner DaskRunner: refused. In Beam 2.77 it loses elements and reports success: what finish_bundle "
                "emits, all sinks but the last (tried with dask 2026.8). Use --workers, DataflowRunner or FlinkRunner"
            )
        if self.runner.endswith("DataflowRunner"):
            self._check_dataflow(context)

    def _check_dataflow(self, context: stage.Context) -> None:
        if isinstance(context.output, Path):
            raise ValueError(
                f"--output {context.output}: Dataflow's workers cannot write to this machine; give --output gs://..."
            )
        options = PipelineOptions(list(self.beam_options))
        setup, image = options.view_as(SetupOptions), options.view_as(WorkerOptions).sdk_container_image
        if not (image or setup.setup_file or setup.extra_packages):
            raise ValueError(
                "--runner DataflowRunner: the workers need this package; give --sdk_container_image IMAGE "
                "(docs/dataflow.md builds one), or --extra_package dist/bloom_roots-*.whl"
            )


def load_context(output: storage.Place, batch_docs: int) -> stage.Context:
    """The context of a run as a worker sees it: everything from the output folder."""
    with storage.local(output / path.RECIPE) as file:
        return stage.Context(output, recipe.load(file), batch_docs)


class RunTask(beam.DoFn):
    """Does tasks of one stage by their number in the plan."""

    def __init__(self, output: str, stage_name: str, batch_docs: int):
        self._output = output
        self._stage_name = stage_name
        self._batch_docs = batch_docs

    def setup(self) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        pa.set_cpu_count(1)  # there are as many workers as cores
        self._context = load_context(storage.at(self._output), self._batch_docs)
        self._stage = path.find(self._stage_name)
        self._plan = stage.read_plan(self._stage_name, self._context)

    def process(self, index: int) -> Iterator[str]:
        task, key = self._plan[index]
        try:
            with pulse.HERE.of_task(task.name):
                done = stage.run_task(self._stage, task, key, self._context)
        except Exception as error:
            # the one place where every fault of a task is caught: to say which task it was
            raise TaskFailed(f"task {task.name}: {type(error).__name__}: {error}") from error
        counts = done.counts
        beam.metrics.Metrics.counter(self._stage_name, "documents_in").inc(counts.documents_in)
        beam.metrics.Metrics.counter(self._stage_name, "kept").inc(counts.kept)
        yield task.name


def _expand(span: tuple[int, int]) -> Iterator[int]:
    yield from range(*span)


def run(
    chosen: stage.Stage,
    pending: Sequence[int],
    context: stage.Context,
    engine: Engine,
    pool: workers.Pool,
    weight: int,
    progress: Callable[[], None],
) -> None:
    """Run the tasks with these numbers. `progress` is called a few times a second.

    raises  stage.StageFailed where a task failed, a worker was lost, or one task hung again and again; finished tasks
            are kept
    """
    alone = pool.count == 1 or len(pending) == 1 or (not pool.started and weight < IN_PROCESS_BYTES)
    hangs: collections.Counter[str] = collections.Counter()
    while hung := _attempt(_Job(chosen, pending, context, engine, None if alone else pool), pool, progress):
        hangs[hung.task] += 1
        told = (
            f"stage {chosen.name}: worker process {hung.process} made no progress for {hung.seconds:.0f} s at "
            f"{f'task {hung.task}' if hung.task else 'no task yet'}"
        )
        if alone or hangs[hung.task] == HANGS_MAX:
            raise stage.StageFailed(
                f"{told}, in attempt {hangs[hung.task]}. Finished tasks are kept: look at the task's input, or give it "
                "longer with --hang-seconds (0 waits for ever), and run the same command again"
            )
        LOG.error("%s; the workers are ended, and what is not done is tried again", told)
        pool.end_workers()
        storage.tidy(context.folder(chosen.name))


def _attempt(job: _Job, pool: workers.Pool, progress: Callable[[], None]) -> workers.Hung | None:
    """One Beam job over what is not done: None when it is at its end, or the process that hangs.

    raises  stage.StageFailed
    """
    thread = threading.Thread(target=job.run, daemon=True)
    started = time.monotonic()
    thread.start()
    lost = hung = None
    while thread.is_alive() and not lost and not hung:
        thread.join(POLL_SECONDS)
        progress()
        lost = pool.lost()
        hung = job.hung(started)
    if lost:
        code, words = lost
        raise stage.StageFailed(
            f"stage {job.stage}: a worker was killed (exit code {code}; {-signal.SIGKILL} is usually the system "
            f"running out of memory){': ' + words if words else ''}. Finished tasks are kept: run the same command "
            "again, with fewer --workers or a smaller run.task_bytes"
        )
    if job.error is not None:
        raise stage.StageFailed(
            f"stage {job.stage}: {_told(job.error)}. Finished tasks are kept: put it right and run the same command "
            "again"
        ) from job.error
    return hung if thread.is_alive() else None


class _Job:
    """The Beam pipeline of a stage, to run in a thread: in this process, in a pool's, or where the engine says."""

    def __init__(
        self,
        chosen: stage.Stage,
        pending: Sequence[int],
        context: stage.Context,
        engine: Engine,
        pool: workers.Pool | None,
    ):
        self.error: BaseException | None = None
        self._spans = _spans(pending)
        self._function = RunTask(str(context.output), chosen.name, context.batch_docs)
        self._engine, self._pool, self.stage = engine, pool, chosen.name
        self._own = pulse.Listener()
        pulse.HERE.into(self._own.sign)

    def run(self) -> None:
        try:
            self.pipeline().run().wait_until_finish()
        except BaseException as error:  # told to the main thread, which raises it
            self.error = error

    def hung(self, started: float) -> workers.Hung | None:
        """The process that has made no progress for too long. `started`: of this job, on the monotonic clock."""
        if not (seconds_max := self._engine.hang_seconds):
            return None
        if self._pool is not None:
            return self._pool.hung(started, seconds_max)
        changed, task = self._own.listen()
        silent = time.monotonic() - changed
        return workers.Hung(os.getpid(), task, silent) if task and silent > seconds_max else None

    def pipeline(self) -> beam.Pipeline:
        """The whole graph: small, whatever the number of tasks."""
        pipeline = self._empty()
        _ = (
            pipeline
            | "tasks" >> beam.Create(self._spans)
            | "numbers" >> beam.FlatMap(_expand)
            | "spread" >> beam.Reshuffle()
            | "work" >> beam.ParDo(self._function)
        )
        return pipeline

    def _empty(self) -> beam.Pipeline:
        options = list(self._engine.beam_options)
        if self._engine.remote:
            named = PipelineOptions(options)
            cloud = named.view_as(GoogleCloudOptions)
            cloud.job_name = job_name(cloud.job_name or "roots", self.stage)
            return beam.Pipeline(options=named)
        if self._pool is None:
            return beam.Pipeline(runner=fn_runner.FnApiRunner(), options=PipelineOptions(options))
        options.append(f"--direct_num_workers={self._pool.count}")
        local = fn_runner.FnApiRunner(default_environment=self._pool.environment())
        return beam.Pipeline(runner=local, options=PipelineOptions(options))


def job_name(prefix: str, stage_name: str) -> str:
    """A name for a stage's job that a service takes and nobody has: lower case letters, digits and hyphens."""
    plain = re.sub(r"[^a-z0-9]+", "-", f"{prefix}-{stage_name}".lower()).strip("-")
    return f"{plain}-{time.strftime('%m%d%H%M%S', time.gmtime())}"


def _spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers as (first, last + 1): the job's graph stays small however many tasks there are."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number:
            spans[-1] = (spans[-1][0], number + 1)
        else:
            spans.append((number, number + 1))
    while len(spans) > SPANS_MAX:  # wider ones: a task between them is done already, and is not done again
        spans = [(spans[i][0], spans[min(i + 1, len(spans) - 1)][1]) for i in range(0, len(spans), 2)]
    return spans


def _told(error: BaseException) -> str:
    """What failed, out of Beam's wrapping: the task and its fault, or the first and last line of what Beam says."""
    if found := FAILURE.search(str(error)):
        return found[1]
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' ... '.join(dict.fromkeys([lines[0], lines[-1]]))}"


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    from importlib import metadata

    names = ("bloom-roots", "apache-beam", "pyarrow", "numpy", "numba", "fasttext-numpy2", "tokenizers")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def seal_run(context: stage.Context) -> None:
    """Write the resolved recipe and what ran it."""
    text = recipe.dump(context.recipe).encode()
    storage.write(context.output / path.RECIPE, text)
    import hashlib
    import platform

    value = {
        "recipe_sha256": hashlib.sha256(text).hexdigest(),
        "versions": versions(),
        "python": platform.python_version(),
    }
    storage.write(context.output / path.RUN, manifest.seal(value))
