"""Worker processes that live as long as a run, and serve one Beam job after another.

Beam's own multi-processing mode starts its processes anew for every job: imports, kernels and models again for each
stage, half of a run's time. Here FnApiRunner asks for its workers by Beam's protocol for external ones (a service that
is told to start a worker for a job), and the job goes to a process that waits. A worker that is lost is seen at once;
Beam 2.77 by itself would wait for it for ever.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker import sdk_worker
from apache_beam.transforms import environments
from apache_beam.utils import thread_pool_executor

from pipelines import pulse

PROGRAM = "from pipelines import workers; workers.serve()"
START_SECONDS = 120.0  # in which a process has come to its first task, on a machine that is busy with much else


@dataclass(frozen=True, slots=True)
class Hung:
    """A process without progress: the task that it is at, "" for none, and for how long."""

    process: int
    task: str
    seconds: float


class _Worker:
    """A worker process, what it says, and its sign of life."""

    def __init__(self) -> None:
        self.talk = tempfile.TemporaryFile()  # noqa: SIM115, open as long as the worker is
        self.pulse = pulse.Listener()
        sign = self.pulse.file.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(sign)],
            stdin=subprocess.PIPE, stdout=self.talk, stderr=self.talk, pass_fds=[sign],
        )  # fmt: skip

    def take(self, job: dict[str, str]) -> None:
        """Raises BrokenPipeError where the process has ended."""
        self.process.stdin.write(json.dumps(job).encode() + b"\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]

    def last_words(self) -> str:
        self.talk.seek(0)
        words = self.talk.read().decode("utf-8", "replace").strip().splitlines()
        return words[-1] if words else ""

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):  # a job that it did not live to take
            self.process.stdin.close()  # type: ignore[union-attr]


class Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """`count` worker processes; they start with the first job that asks for them, and end with the pool."""

    def __init__(self, count: int):
        self.count = count
        self._workers: list[_Worker] = []
        self._asked = 0
        self._server: grpc.Server | None = None
        self._address = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end_workers()
        if self._server:
            self._server.stop(None)

    def end_workers(self) -> None:
        """End every process, whatever it is at; the next job starts new ones."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    @property
    def started(self) -> bool:
        return bool(self._workers)

    def environment(self) -> environments.ExternalEnvironment:
        """Where a job finds its workers. Starts the processes if they are not there yet."""
        if not self._server:
            self._server = grpc.server(thread_pool_executor.shared_unbounded_instance())
            self._address = f"localhost:{self._server.add_insecure_port('localhost:0')}"
            beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(self, self._server)
            self._server.start()
        if not self.started:
            self._workers = [_Worker() for _ in range(self.count)]
        return environments.ExternalEnvironment(self._address)

    def StartWorker(self, request: Any, context: Any) -> Any:
        """A job asks for one worker: the next process in turn gets it."""
        worker = self._workers[self._asked % self.count]
        self._asked += 1
        try:
            worker.take({"control": request.control_endpoint.url, "worker": request.worker_id})
        except BrokenPipeError:
            return beam_fn_api_pb2.StartWorkerResponse(error="the worker process is gone")
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:
        """A worker's part in a job ends with the job's own connection."""
        return beam_fn_api_pb2.StopWorkerResponse()

    def lost(self) -> tuple[int, str] | None:
        """Exit code and last words of a process that has ended, None while all live."""
        for worker in self._workers:
            if (code := worker.process.poll()) is not None:
                return code, worker.last_words()
        return None

    def hung(self, started: float, seconds_max: float) -> Hung | None:
        """A process that shows no progress for so long at a task; or, where none has come to any task, the first.

        started  of the job, on the monotonic clock
        """
        now = time.monotonic()
        signs = [(worker.process.pid, *worker.pulse.listen()) for worker in self._workers]
        for process, changed, task in signs:
            if task and now - changed > seconds_max:
                return Hung(process, task, now - changed)
        idle = now - max([started, *(changed for _, changed, _ in signs)])
        return Hung(signs[0][0], "", idle) if signs and idle > max(seconds_max, START_SECONDS) else None


def serve() -> None:
    """The program of a worker process: jobs come as JSON lines on stdin; its end is the end of the run."""
    pulse.HERE.into(mmap.mmap(int(sys.argv[1]), pulse.SIGN_BYTES))
    jobs: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            jobs.put(line)
        os._exit(1)  # the driver is gone: no orphan goes on writing

    threading.Thread(target=listen, daemon=True).start()
    while True:
        job = json.loads(jobs.get())
        sdk_worker.SdkHarness(job["control"], worker_id=job["worker"]).run()
