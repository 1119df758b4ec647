"""Other engines than our own pool: the same bytes through Beam's job service and workers that somebody else started."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import manifest, recipe, run, runner, stage, storage


def tree(output: Path) -> dict[str, str]:
    return {
        storage.relative(file, output): manifest.file_digest(file)
        for file in storage.files(output)
        if file.name != "log.jsonl"
    }


@pytest.fixture(scope="module")
def local(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    context = stage.Context(tmp_path_factory.mktemp("local") / "out", recipe.load(small_recipe))
    run.run(context, "ingest", runner.Engine(), lambda progress: None)
    return tree(context.output)


POOL = ["-m", "apache_beam.runners.worker.worker_pool_main", "--service_port"]


@pytest.fixture
def workers() -> Iterator[list[str]]:
    """An SDK worker in a process of its own, and the options that lead to it."""
    port = free_port()
    with serving([*POOL, port], port):
        yield ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return str(probe.getsockname()[1])


@contextlib.contextmanager
def serving(program: list[str], port: str, umask: int = -1) -> Iterator[None]:
    """A Python program in a process of its own, once it answers at the port."""
    # a pool starts its workers as `python`
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, *program],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, umask=umask,
    )  # fmt: skip
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("localhost", int(port))):
                break
            assert process.poll() is None, f"{program} ended with {process.returncode}"
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def through(options: list[str], small_recipe: Path, output: Path) -> dict[str, str]:
    context = stage.Context(output, recipe.load(small_recipe))
    run.run(context, "ingest", runner.Engine(beam_options=tuple(options)), lambda progress: None)
    return tree(output)


def test_two_workers_that_somebody_else_started_write_the_same_bytes(
    small_recipe: Path, local: dict[str, str], tmp_path: Path
) -> None:
    """A cluster's parts on one machine: the job API, pickled functions, and workers in two foreign processes."""
    ports = [free_port() for _ in range(4)]
    cluster = [str(Path(__file__).with_name("cluster.py")), *ports[:2], *(f"localhost:{port}" for port in ports[2:])]
    with (
        serving([*POOL, ports[2]], ports[2], umask=0o022),
        serving([*POOL, ports[3]], ports[3], umask=0o077),
        serving(cluster, ports[0]),
    ):
        options = ["--runner=PortableRunner", f"--job_endpoint=localhost:{ports[0]}"]
        options += ["--environment_type=EXTERNAL", f"--environment_config=localhost:{ports[1]}"]
        assert through(options, small_recipe, tmp_path / "out") == local
    modes = [stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "out").rglob("part-*.parquet")]
    assert set(modes) == {0o644, 0o600}  # each wrote some


def test_flink_writes_the_same_bytes(
    workers: list[str], small_recipe: Path, local: dict[str, str], tmp_path: Path
) -> None:
    jar = os.environ.get("ROOTS_FLINK_JAR")
    if not jar:
        pytest.skip("ROOTS_FLINK_JAR does not name Beam's Flink job server jar (docs/engines.md)")
    master = os.environ.get("ROOTS_FLINK_MASTER", "[local]")
    options = ["--runner=FlinkRunner", f"--flink_job_server_jar={jar}", f"--flink_master={master}", *workers]
    assert through(options, small_recipe, tmp_path / "out") == local


def test_prism_writes_the_same_bytes(small_recipe: Path, local: dict[str, str], tmp_path: Path) -> None:
    binary = os.environ.get("ROOTS_PRISM")
    if not binary:
        pytest.skip("ROOTS_PRISM does not name the prism binary (docs/engines.md)")
    options = ["--runner=PrismRunner", f"--prism_location={binary}"]
    assert through(options, small_recipe, tmp_path / "out") == local
