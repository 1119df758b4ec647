"""Outputs of another version, and a clock that jumps: redone or kept, never mixed; the same bytes in the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines import manifest, storage, verify

Roots = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def test_what_another_version_of_the_code_wrote_is_redone(
    small_recipe: Path, tmp_path: Path, roots: Roots, looks: tuple
) -> None:
    """The other version is this one with a line changed: it shows less of a removed document."""
    for package in ("model", "pipelines", "roots", "tokenizer"):
        shutil.copytree(ROOT / package, tmp_path / "old" / package, ignore=shutil.ignore_patterns("__pycache__"))
    mover = tmp_path / "old" / "pipelines" / "stage.py"
    mover.write_text(mover.read_text().replace("EXCERPT_CHARS = 500", "EXCERPT_CHARS = 5"))
    arguments = ["run", small_recipe, "--until", "clean", "--output"]
    call = [sys.executable, "-m", "pipelines", *map(str, arguments), str(tmp_path / "out")]
    old = subprocess.run(call, cwd=tmp_path / "old", capture_output=True, text=True)
    assert old.returncode == 0, old.stderr
    before = looks[0](tmp_path / "out")
    assert roots(*arguments, tmp_path / "out").code == 0
    assert roots(*arguments, tmp_path / "new").code == 0
    assert looks[0](tmp_path / "out") == looks[0](tmp_path / "new")
    changed = {name for name, digest in looks[0](tmp_path / "new").items() if before[name] != digest}
    assert any(name.endswith(".removed.jsonl") for name in changed)
    assert all(name in changed for name in before if name.endswith((manifest.MANIFEST, manifest.SUCCESS)))


def without(file: Path, field: str) -> None:
    """A sealed file as a version without this field would have written it."""
    value = json.loads(file.read_bytes())
    del value[field], value["~sha256"]
    file.write_bytes(manifest.seal(value))


def test_manifests_of_another_form_are_redone(small_recipe: Path, tmp_path: Path, roots: Roots, looks: tuple) -> None:
    arguments = ["run", small_recipe, "--until", "clean", "--output", tmp_path / "out"]
    assert roots(*arguments).code == 0
    expected = looks[0](tmp_path / "out")
    for file in (tmp_path / "out").rglob("*" + manifest.MANIFEST):
        without(file, "text")
    for file in (tmp_path / "out").rglob(manifest.SUCCESS):
        value = json.loads(file.read_bytes())
        parts = [file.parent / (name + manifest.MANIFEST) for name in value["order"]]
        value["manifests"] = [manifest.file_digest(part) for part in parts]
        file.write_bytes(manifest.seal({name: value[name] for name in value if name != "~sha256"}))
    assert {problem.partition(": ")[2][:23] for problem in verify.problems(tmp_path / "out")} >= {
        "another version wrote i"
    }
    without(tmp_path / "out" / "documents" / manifest.SUCCESS, "manifests")
    assert any("(no 'manifests'); run the same" in problem for problem in verify.problems(tmp_path / "out"))
    ended = roots(*arguments)
    assert ended.code == 0, ended.stderr
    assert looks[0](tmp_path / "out") == expected


JUMPING = """
import random, time
true, parts, moves = time.time, time.gmtime, random.Random(7)
time.time = lambda: true() + moves.choice([-40, 0, 40]) * 365.25 * 86_400
time.time_ns = lambda: int(time.time() * 1e9)
time.gmtime = lambda seconds=None: parts(time.time() if seconds is None else seconds)
"""


def test_a_clock_that_jumps_changes_no_byte_and_redoes_nothing(
    small_recipe: Path, tmp_path: Path, roots: Roots, looks: tuple
) -> None:
    """Forty years forth and back at every look; files of the input from the future, those of the run from the past."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    folder = shutil.copytree(small_recipe.parent / "sources", tmp_path / "in")
    arguments = ["run", small_recipe, "--set", f"sources.folder={folder}", "--output"]
    call = [sys.executable, "-m", "pipelines", *map(str, arguments), str(tmp_path / "out")]

    def dated(root: Path, years: int) -> None:
        for file in storage.files(root):
            os.utime(file, (then := time.time() + years * 365.25 * 86_400, then))

    for until in ("ingest", "clean"):
        dated(folder, 30)
        done = subprocess.run([*call, "--until", until], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        dated(tmp_path / "out", -30)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.parquet")}
    assert roots(*arguments, tmp_path / "out", "--until", "clean").code == 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.parquet")} == before
    assert roots(*arguments, tmp_path / "plain", "--until", "clean").code == 0
    assert looks[0](tmp_path / "out") == looks[0](tmp_path / "plain")
    lines = (tmp_path / "out" / "log.jsonl").read_bytes().splitlines()
    assert len({json.loads(line)["at"][:4] for line in lines}) > 1  # the clock did jump
