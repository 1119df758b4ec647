"""Worker processes that live as long as a run, and serve one Beam job after another.

Beam's own multi-processing mode starts its processes anew for every job: imports, kernels and models again for each
stage, half of a run's time. Here FnApiRunner asks for its workers by Beam's protocol for external ones (a service that
is told to start a worker for a job), and the job goes to a process that waits. A worker that is lost is seen at once;
Beam 2.77 by itself would wait for it for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import IO, Any, Self

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker import sdk_worker
from apache_beam.transforms import environments
from apache_beam.utils import thread_pool_executor

PROGRAM = "from pipelines import workers; workers.serve()"


class Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """`count` worker processes; they start with the first job that asks for them, and end with the pool."""

    def __init__(self, count: int):
        self.count = count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._talk: list[IO[bytes]] = []  # what each process says
        self._files = contextlib.ExitStack()
        self._asked = 0
        self._server: grpc.Server | None = None
        self._address = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):  # a job that it did not live to take
                process.stdin.close()  # type: ignore[union-attr]
        if self._server:
            self._server.stop(None)
        self._files.close()

    @property
    def started(self) -> bool:
        return bool(self._processes)

    def environment(self) -> environments.ExternalEnvironment:
        """Where a job finds its workers. Starts the processes if they are not there yet."""
        if not self.started:
            self._server = grpc.server(thread_pool_executor.shared_unbounded_instance())
            self._address = f"localhost:{self._server.add_insecure_port('localhost:0')}"
            beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(self, self._server)
            self._server.start()
            for _ in range(self.count):
                self._start()
        return environments.ExternalEnvironment(self._address)

    def _start(self) -> None:
        talk = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115, the stack closes it
        command = [sys.executable, "-c", PROGRAM]
        self._processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=talk, stderr=talk))
        self._talk.append(talk)

    def StartWorker(self, request: Any, context: Any) -> Any:
        """A job asks for one worker: the next process in turn gets it."""
        process = self._processes[self._asked % self.count]
        self._asked += 1
        job = {"control": request.control_endpoint.url, "worker": request.worker_id}
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            return beam_fn_api_pb2.StartWorkerResponse(error="the worker process is gone")
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:
        """A worker's part in a job ends with the job's own connection."""
        return beam_fn_api_pb2.StopWorkerResponse()

    def lost(self) -> tuple[int, str] | None:
        """Exit code and last words of a process that has ended, None while all live."""
        for process, talk in zip(self._processes, self._talk, strict=True):
            if (code := process.poll()) is not None:
                talk.seek(0)
                words = talk.read().decode("utf-8", "replace").strip().splitlines()
                return code, words[-1] if words else ""
        return None


def serve() -> None:
    """The program of a worker process: jobs come as JSON lines on stdin; its end is the end of the run."""
    jobs: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            jobs.put(line)
        os._exit(1)  # the driver is gone: no orphan goes on writing

    threading.Thread(target=listen, daemon=True).start()
    while True:
        job = json.loads(jobs.get())
        sdk_worker.SdkHarness(job["control"], worker_id=job["worker"]).run()
