"""A stand-in for a cluster: Beam's job service, and a manager that gives a job's workers to several pools in turn.

    python cluster.py JOB_PORT MANAGER_PORT POOL [POOL ...]        a pool: host:port of a `worker_pool_main`

Beam's own local service asks for one worker a job, at one address.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.portability import local_job_service, local_job_service_main
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.utils import thread_pool_executor


class Manager(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    def __init__(self, pools: list[str]):
        stubs = [beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(grpc.insecure_channel(pool)) for pool in pools]
        self._turns = itertools.cycle(stubs)

    def StartWorker(self, request: Any, context: Any) -> Any:
        return next(self._turns).StartWorker(request)


def main(job_port: str, manager_port: str, *pools: str) -> None:
    class Runner(fn_runner.FnApiRunner):
        def __init__(self, *given: Any, **options: Any):
            super().__init__(*given, **options)
            self._num_workers = len(pools)

    local_job_service.fn_runner.FnApiRunner = Runner  # type: ignore[misc]
    server = grpc.server(thread_pool_executor.shared_unbounded_instance())
    server.add_insecure_port(f"localhost:{manager_port}")
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(Manager(list(pools)), server)
    server.start()
    local_job_service_main.run(["--port", job_port])


if __name__ == "__main__":
    main(*sys.argv[1:])
