"""A stand-in for the Dataflow service: it takes jobs over Dataflow's REST API and runs them as the service would.

A job's staged pipeline and packages are fetched from the staging bucket; the packages, and nothing of this checkout,
are installed into an environment of their own; SDK workers from there run the pipeline. What this does not cover:
containers, autoscaling, the service's shuffle, permissions, dynamic splitting.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

WORKERS = 2
END_SECONDS = 20.0  # in which a worker whose job is over has ended


class Service:
    """The jobs that were submitted, by id: {state, error, counters, environments, graph_bytes}."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}

    def submit(self, job: dict[str, Any]) -> str:
        identity = f"job-{len(self.jobs)}"
        self.jobs[identity] = {"name": job["name"], "state": "JOB_STATE_RUNNING", "error": "", "counters": []}
        threading.Thread(target=self._run, args=(identity, job), daemon=True).start()
        return identity

    def _run(self, identity: str, job: dict[str, Any]) -> None:
        entry = self.jobs[identity]
        try:
            entry["counters"] = self._execute(job, entry)
            entry["state"] = "JOB_STATE_DONE"
        except BaseException:
            entry["error"] = traceback.format_exc()
            entry["state"] = "JOB_STATE_FAILED"

    def _execute(self, job: dict[str, Any], entry: dict[str, Any]) -> list[dict[str, Any]]:
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.portability import python_urns
        from apache_beam.portability.api import beam_runner_api_pb2
        from apache_beam.runners.portability.fn_api_runner import fn_runner

        options = job["environment"]["sdkPipelineOptions"]["options"]
        staged = fetch(options["pipelineUrl"])
        entry["graph_bytes"] = len(staged)
        pipeline = beam_runner_api_pb2.Pipeline.FromString(staged)
        for environment in pipeline.components.environments.values():
            command = self._worker(environment.dependencies)
            environment.urn, environment.payload = python_urns.SUBPROCESS_SDK, command.encode()
            del environment.dependencies[:]
        runner = fn_runner.FnApiRunner()
        runner._num_workers = WORKERS
        result = runner.run_via_runner_api(pipeline, PipelineOptions())
        return [
            {"step": c.key.step, "namespace": c.key.metric.namespace, "name": c.key.metric.name, "value": c.committed}
            for c in result.metrics().query()["counters"]
        ]

    def _worker(self, dependencies: Any) -> str:
        """Install what the job staged; the command that starts a worker with it."""
        from apache_beam.portability.api import beam_runner_api_pb2

        urls = [beam_runner_api_pb2.ArtifactUrlPayload.FromString(d.type_payload).url for d in dependencies]
        wheels = sorted(url for url in urls if url.endswith(".whl"))
        home = self.folder / f"worker-{hashlib.sha256(repr(wheels).encode()).hexdigest()[:8]}"
        if not home.exists():
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
            packages = next(home.glob("lib/python*/site-packages"))
            # the libraries of this environment, but not what it installs in place: only the packages' own .pth do that
            paths = [path for path in sys.path if path.endswith("site-packages")]
            (packages / "libraries.pth").write_text("".join(f"{path}\n" for path in paths))
            for url in wheels:
                wheel = self.folder / url.rpartition("/")[2]
                wheel.write_bytes(fetch(url))
                pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages), str(wheel)]
                subprocess.run(pip, check=True)
        worker = "-m apache_beam.runners.worker.sdk_worker_main"
        return f"cd {self.folder} && PYTHONPATH= exec {home}/bin/python -P {worker} 2>>{self.folder}/worker.log"


def end_worker(handler: Any) -> None:
    """Wait for a worker to end; end it where it missed that its job is over: Beam 2.77 would wait for ever."""
    handler.worker_thread.join(END_SECONDS)
    if handler.worker_thread.is_alive():
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.environ().get("WORKER_ID") == handler.worker_id:
                    process.kill()
        handler.worker_thread.join()


def fetch(url: str) -> bytes:
    from pipelines import storage

    return storage.at(url).read_bytes()


class Handler(BaseHTTPRequestHandler):
    """The part of Dataflow's REST API that Beam's client asks."""

    service: Service

    def log_message(self, *given: Any) -> None:
        pass

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer({**self._job(self.service.submit(job)), "name": job["name"]})

    def do_GET(self) -> None:
        _, _, rest = self.path.partition("?")[0].partition("/jobs/")
        identity, _, what = rest.partition("/")
        entry = self.service.jobs[identity]
        if what == "messages":
            text = entry["error"] or entry["state"]
            severity = "JOB_MESSAGE_ERROR" if entry["error"] else "JOB_MESSAGE_BASIC"
            message = {"id": text[:9], "time": now(), "messageText": text, "messageImportance": severity}
            self._answer({"jobMessages": [message]})
        elif what == "metrics":
            self._answer({"metricTime": now(), "metrics": list(metrics(entry["counters"]))})
        else:
            self._answer(self._job(identity))

    def _job(self, identity: str) -> dict[str, Any]:
        entry = self.service.jobs[identity]
        return {"id": identity, "name": entry["name"], "projectId": "p", "currentState": entry["state"]}

    def _answer(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def metrics(counters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each counter twice, as the service does: committed, and tentative."""
    for counter in counters:
        context = {"namespace": counter["namespace"], "step": counter["step"]}
        for extra in ({}, {"tentative": "true"}):
            name = {"origin": "user", "name": counter["name"], "context": {**context, **extra}}
            yield {"name": name, "scalar": counter["value"], "updateTime": now()}


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    root = Path(__file__).parents[2]
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(root)]
    subprocess.run(pip, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture
def service(tmp_path: Path, gcs: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Service, list[str]]]:
    """The service, and the Beam options that lead to it."""
    dataflow_runner = pytest.importorskip("apache_beam.runners.dataflow.dataflow_runner")
    worker_handlers = pytest.importorskip("apache_beam.runners.portability.fn_api_runner.worker_handlers")
    # the runner asks for a job's state every five seconds; here every fifth of a second
    monkeypatch.setattr(
        dataflow_runner, "time", SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(min(seconds, 0.2)))
    )
    monkeypatch.setattr(worker_handlers.SubprocessSdkWorkerHandler, "stop_worker", end_worker)
    folder = tmp_path / "service"
    folder.mkdir()
    running = Service(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": running}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = [
        "--runner=DataflowRunner",
        "--project=p",
        "--region=r",
        f"--dataflow_endpoint=http://localhost:{server.server_port}",
        "--no_auth",
        f"--staging_location={gcs}/staging",
        f"--temp_location={gcs}/temp",
    ]
    yield running, options
    server.shutdown()
