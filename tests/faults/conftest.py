"""What the tests of faults share: the command in a process with a fault, and what a folder must look like after it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines import manifest, storage

NURSERY = Path(__file__).with_name("nursery.py")


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (negative: the signal), stderr, the commit operations that it did."""

    code: int
    stderr: str
    operations: int


Roots = Callable[..., Ended]


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roots]:
    """Runs the command: roots("run", ..., kind="kill", at=3) -> Ended."""
    folder = tmp_path_factory.mktemp("nursery")
    command = [sys.executable, str(NURSERY)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(*arguments: object, **fault: Any) -> Ended:
        errors = folder / "stderr"
        line = json.dumps({"arguments": [str(part) for part in arguments], "stderr": str(errors), **fault})
        process.stdin.write(line + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        answer = json.loads(process.stdout.readline())  # type: ignore[union-attr]
        return Ended(answer["code"], errors.read_text(), answer["operations"])

    yield go
    process.stdin.close()  # type: ignore[union-attr]
    process.wait()


def tree(output: Path) -> dict[str, str]:
    """Digest of every file of a run but the log, which says when."""
    return {
        storage.relative(file, output): manifest.file_digest(file)
        for file in storage.files(output)
        if file.name != "log.jsonl"
    }


def unsound(output: Path) -> list[str]:
    """Manifests that speak for files which are not whole: there must be none at any moment."""
    problems = []
    for file in output.rglob("*" + manifest.MANIFEST):
        if not any(part.startswith(".") for part in file.relative_to(output).parts):
            part = json.loads(file.read_bytes())
            folder = output / part["stage"]
            problems += manifest.Manifest.read(folder, part["name"]).problems(folder)
    return problems


@pytest.fixture
def looks() -> tuple[Callable[[Path], dict[str, str]], Callable[[Path], list[str]]]:
    return tree, unsound
