"""A worker that neither ends nor goes on: it is ended, its task is tried again, and in the end the stage says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipelines import recipe, run, runner, stage, workers

TASK = "lm_nigercongo-ig_web/part-00000-of-00001"


@pytest.fixture
def call(small: Path, small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Runs ingest in two worker processes; the input of one task blocks whoever opens it, for the first `blocks` times.

    As a disk of the network does that is gone: between plan and work a pipe that nobody writes to takes its place.
    """
    monkeypatch.setattr(runner, "IN_PROCESS_BYTES", 0)  # so that this small run has worker processes at all
    folder = shutil.copytree(small, tmp_path / "in")
    blocked, aside = folder / "lm_nigercongo-ig_web" / "a.jsonl", tmp_path / "aside"

    def go(caplog: pytest.LogCaptureFixture, blocks: int) -> stage.Context:
        def watch(progress: run.Progress) -> None:
            block = len(told(caplog)) < blocks and not progress.finished
            if block and not aside.exists():
                blocked.rename(aside)
                os.mkfifo(blocked)
            elif not block and aside.exists():
                aside.rename(blocked)

        plan = recipe.load(small_recipe, [f"sources.folder={folder}", "run.task_bytes=1_000_000"])
        context = stage.Context(tmp_path / "out", plan)
        run.run(context, "ingest", runner.Engine(workers=2, hang_seconds=3), watch)
        return context

    return go


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == runner.__name__]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of the lost job
def test_a_task_that_hangs_once_is_done_again_to_the_same_bytes(
    call: Callable, caplog: pytest.LogCaptureFixture, roots: Callable, looks: tuple, tmp_path: Path
) -> None:
    context = call(caplog, blocks=1)
    (line,) = told(caplog)
    fault = f"made no progress for [0-9]+ s at task {TASK}; the workers are ended, and what is not done is tried again"
    assert re.search(fault, line)
    again = ["run", context.output / "recipe.toml", "--output", tmp_path / "whole", "--until", "ingest"]
    assert roots(*again).code == 0
    assert looks[0](context.output) == looks[0](tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_task_that_hangs_always_fails_the_stage_by_name(
    call: Callable, caplog: pytest.LogCaptureFixture, looks: tuple, tmp_path: Path
) -> None:
    fault = rf"process \d+ made no progress for \d+ s at task {TASK}, in attempt 3\. Finished tasks are kept: look"
    with pytest.raises(stage.StageFailed, match=fault):
        call(caplog, blocks=99)
    assert len(told(caplog)) == 2
    assert looks[1](tmp_path / "out") == []
    assert list((tmp_path / "out" / "documents").rglob("lm_nigercongo-sw_news/*.manifest.json"))


def test_workers_that_come_to_no_task_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_SECONDS", 0.1)
    with workers.Pool(2) as pool:
        assert pool.hung(time.monotonic(), 0.1) is None
        pool.environment()
        assert pool.hung(time.monotonic() + 60, 0.1) is None  # of a job that has only begun
        time.sleep(0.2)
        hung = pool.hung(time.monotonic() - 60, 0.1)
        assert hung is not None
        assert (hung.task, psutil.Process(hung.process).parent()) == ("", psutil.Process())


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
def test_work_in_the_commands_own_process_that_hangs_ends_it_with_exit_1(
    small: Path, small_recipe: Path, tmp_path: Path
) -> None:
    """The kernel holds a read for ten seconds: a thread's tenth of the file, which planning reads in three."""
    folder = shutil.copytree(small, tmp_path / "in")
    file = folder / "lm_nigercongo-ig_web" / "a.jsonl"
    file.write_bytes(file.read_bytes() * 10)
    command = [sys.executable, "-m", "pipelines", "run", str(small_recipe), "--output", str(tmp_path / "out")]
    command += ["--until", "ingest", "--hang-seconds", "2", "--set", f"sources.folder={folder}"]
    command += ["--set", "run.task_bytes=1_000_000"]
    strace = ["strace", "-f", "-o", "/dev/null", "-P", str(file), "-e", "inject=read:delay_enter=10000000:when=10"]
    ended = subprocess.run([*strace, *command], capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert re.search(rf"no progress for \d+ s at task {TASK}, in attempt 1\. Finished tasks are kept", ended.stderr)
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_ended_and_the_command_ends_well(tmp_path: Path, looks: tuple) -> None:
    """SIGSTOP to one of two workers, amid the work; the same bytes as with nobody stopped."""
    (source := tmp_path / "in" / "lm_en_many").mkdir(parents=True)
    with (source / "a.jsonl").open("w") as file:
        for number in range(300_000):
            file.write(f'{{"text": "{" ".join(f"w{number * 7 % (k + 90)}" for k in range(30))} {number}"}}\n')
    command = [sys.executable, "-m", "pipelines", "run", "folder.toml", "--until", "ingest"]
    command += ["--set", f"sources.folder={tmp_path / 'in'}", "--set", "run.task_bytes=1_000_000"]
    command += ["--workers", "2", "--hang-seconds", "3"]
    assert subprocess.run([*command, "--output", str(tmp_path / "whole")], capture_output=True).returncode == 0
    output = tmp_path / "out"
    process = subprocess.Popen([*command, "--output", str(output)], stderr=subprocess.PIPE, text=True)
    while not list(output.rglob("part-*.manifest.json")):
        time.sleep(0.002)
    child = next(each for each in psutil.Process(process.pid).children() if workers.PROGRAM in each.cmdline())
    child.suspend()
    said = process.communicate()[1]
    assert re.search(rf"worker process {child.pid} made no progress for \d+ s at task", said)
    assert "Traceback" not in said
    assert process.returncode == 0
    assert looks[0](output) == looks[0](tmp_path / "whole")
