"""Killed, or refused by the disk, at any step of a commit: the old or the new state, and the same bytes in the end."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines import path, recipe, run, stage

Roots = Callable[..., object]
COARSE = "run.task_bytes=1_000_000"  # a task for each source


@pytest.fixture(scope="module")
def command(small_recipe: Path) -> Callable[..., list[object]]:
    return lambda output, until: ["run", small_recipe, "--output", output, "--until", until, "--set", COARSE]


@pytest.mark.parametrize(
    ("until", "step"),
    [
        ("ingest", 3),
        pytest.param("ingest", 1, marks=pytest.mark.slow),
        pytest.param("redact", 5, marks=pytest.mark.slow),
    ],
)
def test_killed_before_any_step_of_a_commit_it_resumes_to_the_same_bytes(
    until: str, step: int, roots: Roots, command: Callable, looks: tuple, tmp_path: Path
) -> None:
    tree, unsound = looks
    whole = roots(*command(tmp_path / "whole", until))
    assert whole.code == 0, whole.stderr
    expected = tree(tmp_path / "whole")
    assert whole.operations > 20
    for at in range(1, whole.operations + 1, step):
        output = tmp_path / str(at)
        assert roots(*command(output, until), kind="kill", at=at).code == -signal.SIGKILL
        assert unsound(output) == []
        assert roots(*command(output, until)).code == 0
        assert tree(output) == expected, at
        assert not list(output.rglob(".*.tmp"))
        shutil.rmtree(output)


@pytest.mark.parametrize(("kind", "lasting"), [("EIO", False), ("ENOSPC", True)])
def test_a_disk_that_refuses_is_told_with_the_file_and_what_to_do(
    kind: str, lasting: bool, roots: Roots, command: Callable, looks: tuple, tmp_path: Path
) -> None:
    tree, unsound = looks
    whole = roots(*command(tmp_path / "whole", "ingest"))
    expected = tree(tmp_path / "whole")
    for at in range(1, whole.operations + 1, 6):
        output = tmp_path / str(at)
        ended = roots(*command(output, "ingest"), kind=kind, at=at, lasting=lasting)
        assert ended.code == 1, (at, ended.stderr)
        assert os.strerror(getattr(errno, kind)) in ended.stderr
        assert str(output) in ended.stderr
        assert "run the same command again" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert unsound(output) == []
        assert roots(*command(output, "ingest")).code == 0
        assert tree(output) == expected, at


def test_a_file_that_may_not_grow_fails_its_task_by_name(
    roots: Roots, command: Callable, looks: tuple, tmp_path: Path
) -> None:
    tree, unsound = looks
    ended = roots(*command(tmp_path / "out", "ingest"), file_bytes_max=8_000)
    assert ended.code == 1
    assert "task lm_nigercongo-" in ended.stderr
    assert "File too large" in ended.stderr
    assert unsound(tmp_path / "out") == []
    assert roots(*command(tmp_path / "out", "ingest")).code == 0
    assert roots(*command(tmp_path / "whole", "ingest")).code == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_disk_that_is_full_fails_the_stage_and_nothing_is_marked_done(
    command: Callable, roots: Roots, looks: tuple, tmp_path: Path
) -> None:
    """A real file system of 36 KB; skipped where the system lets nobody mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=36k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        ended = roots(*command(disk / "out", "ingest"))
        assert ended.code == 1
        assert "No space left on device" in ended.stderr
        assert looks[1](disk / "out") == []
        assert not list(disk.rglob("documents/_SUCCESS"))
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        assert roots(*command(disk / "out", "ingest")).code == 0
        assert roots(*command(tmp_path / "whole", "ingest")).code == 0
        assert looks[0](disk / "out") == looks[0](tmp_path / "whole")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_task_done_twice_at_a_time_is_done_once(small_recipe: Path, tmp_path: Path, looks: tuple) -> None:
    """What an engine does that takes a slow worker for a lost one."""
    contexts = [stage.Context(tmp_path / name, recipe.load(small_recipe, [COARSE])) for name in ("twice", "once")]
    for context in contexts:
        now = run.standing(path.find("documents"), context)
        with ThreadPoolExecutor(8) as pool:
            wanted = now.tasks * (4 if context.output.name == "twice" else 1)
            done = list(pool.map(lambda task: stage.run_task(now.of, *task, context), wanted))  # noqa: B023
        assert len(done) == len(wanted)
    assert looks[0](contexts[0].output) == looks[0](contexts[1].output)
    assert len(looks[0](contexts[0].output)) > 4
    assert looks[1](contexts[0].output) == []


def test_of_two_commands_on_one_folder_one_is_refused(small_recipe: Path, tmp_path: Path) -> None:
    call = [sys.executable, "-m", "pipelines", "run", str(small_recipe), "--output", str(tmp_path / "out")]
    call += ["--until", "clean"]
    both = [subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = sorted((process.communicate()[1], process.returncode) for process in both)
    assert sorted(code for _, code in ends) == [0, 1]
    assert any(f"{tmp_path / 'out'}: another run is writing here" in text for text, code in ends if code == 1)


@pytest.mark.slow
def test_killed_at_fifty_random_moments_it_ends_with_the_same_bytes(
    small_recipe: Path, tmp_path: Path, looks: tuple, roots: Roots
) -> None:
    """Both workers and driver: the whole process group dies, in whatever stage it is."""
    call = [sys.executable, "-m", "pipelines", "run", str(small_recipe), "--workers", "2"]
    assert roots(*call[3:5], "--output", tmp_path / "whole").code == 0
    moments = random.Random(5)
    for _ in range(50):
        process = subprocess.Popen(
            [*call, "--output", str(tmp_path / "out")], stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(moments.uniform(3, 9))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert looks[1](tmp_path / "out") == []
    assert subprocess.run([*call, "--output", str(tmp_path / "out")], capture_output=True).returncode == 0
    assert looks[0](tmp_path / "out") == looks[0](tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("call", ["write", "rename", "fsync", "unlink"])
@pytest.mark.parametrize("fault", ["signal=SIGKILL", "error=EIO"])
def test_at_every_kth_system_call_of_a_kind(
    call: str, fault: str, small_recipe: Path, tmp_path: Path, looks: tuple, roots: Roots
) -> None:
    """Injected by the kernel, below Python and the Parquet library; skipped where there is no strace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (apt-get install strace)")
    command = [sys.executable, "-m", "pipelines", "run", str(small_recipe), "--until", "ingest", "--set", COARSE]
    assert roots(*command[3:], "--output", tmp_path / "whole").code == 0
    output = tmp_path / "out"
    traced = "/^(write|pwrite64)$" if call == "write" else f"/^{call}(at|at2|)$"
    for number in range(1, 40, 8):
        shutil.rmtree(output, ignore_errors=True)
        strace = ["strace", "-f", "-o", "/dev/null", "-P", str(output), "-e", f"inject={traced}:{fault}:when={number}"]
        for name in ("recipe.toml", "documents", "documents/lm_nigercongo-sw_news"):
            strace += ["-P", str(output / name)]
        ended = subprocess.run([*strace, *command, "--output", str(output)], capture_output=True, text=True)
        assert looks[1](output) == []
        assert "Traceback" not in ended.stderr or fault.startswith("signal")
        assert roots(*command[3:], "--output", output).code == 0
        assert looks[0](output) == looks[0](tmp_path / "whole")
