"""A disk that fails while an input is read, inputs of extreme shapes: a message or a whole account, never a loss."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import manifest

Roots = Callable[..., Any]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("jsonl", "read:error=EIO:when=10"),  # planning reads the file in three
        pytest.param("jsonl", "read:error=EIO:when=1", marks=pytest.mark.slow),
        pytest.param("jsonl", "openat:error=EIO:when=1", marks=pytest.mark.slow),
        pytest.param("parquet", "pread64:error=EIO:when=1", marks=pytest.mark.slow),
        pytest.param("parquet", "pread64:error=EIO:when=5", marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_fails_on_reading_is_told_with_the_file_and_nothing_is_lost(
    kind: str, fault: str, small: Path, small_recipe: Path, tmp_path: Path, roots: Roots, looks: tuple
) -> None:
    """Injected by the kernel, into the reads of one file of one source."""
    folder = shutil.copytree(small, tmp_path / "in")
    file = folder / "lm_nigercongo-ig_web" / "a.jsonl"
    file.write_bytes(file.read_bytes() * 10)
    if kind == "parquet":
        texts = [json.loads(line)["text"] for line in file.read_bytes().splitlines() if line.startswith(b"{")]
        file.unlink()
        file = file.with_suffix(".parquet")
        pq.write_table(pa.table({"text": texts}), file, row_group_size=20)
    arguments = ["run", small_recipe, "--until", "ingest", "--set", f"sources.folder={folder}", "--output"]
    strace = ["strace", "-f", "-o", "/dev/null", "-P", str(file), "-e", f"inject={fault}"]
    call = [*strace, sys.executable, "-m", "pipelines", *map(str, arguments), str(tmp_path / "out")]
    ended = subprocess.run(call, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert "Input/output error" in ended.stderr
    assert str(file) in ended.stderr
    assert "run the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert looks[1](tmp_path / "out") == []
    assert not list(tmp_path.rglob("documents/_SUCCESS"))
    assert roots(*arguments, tmp_path / "out").code == 0
    assert roots(*arguments, tmp_path / "whole").code == 0
    assert looks[0](tmp_path / "out") == looks[0](tmp_path / "whole")


def accounts(output: Path) -> dict[str, manifest.Counts]:
    """The account of each stage that documents go through."""
    found = {}
    for stage in ("documents", "clean", "annotate", "corpus"):
        success = manifest.read_sealed(output / stage / manifest.SUCCESS)
        found[stage] = manifest.Counts.from_json(success["counts"])
    return found


def run_to_the_corpus(folder: Path, output: Path, *overrides: str) -> int:
    """Runs in two workers; the peak of the largest process in bytes."""
    program = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    call = ["-m", "pipelines", "run", "folder.toml", "--workers", "2", "--until", "redact", "--output", str(output)]
    for override in (f"sources.folder={folder}", 'language.model=""', 'language.sha256=""', *overrides):
        call += ["--set", override]
    done = subprocess.run([sys.executable, "-c", program, *call], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024


def letters(number: int) -> str:
    """A word for a number: documents are compared without their digits."""
    return "".join(chr(ord("k") + int(digit)) for digit in str(number))


@pytest.mark.slow
def test_a_million_tiny_documents_are_all_accounted_for(tmp_path: Path, roots: Roots) -> None:
    """Two words each, every tenth a copy of the first."""
    (source := tmp_path / "in" / "lm_code_tiny").mkdir(parents=True)
    with (source / "a.jsonl").open("w") as file:
        for number in range(1_000_000):
            file.write(f'{{"text": "let {letters(number if number % 10 else 0)}"}}\n')
    peak = run_to_the_corpus(tmp_path / "in", tmp_path / "out")
    found = accounts(tmp_path / "out")
    assert found["documents"].documents_in == found["documents"].kept == 1_000_000
    assert (found["clean"].kept, found["clean"].removed) == (900_001, {"duplicate_document": 99_999})
    assert found["corpus"].documents_in == found["annotate"].kept == found["annotate"].documents_in == 900_001
    assert found["corpus"].kept == 900_001
    assert peak < 1_500_000_000, peak
    assert roots("verify", tmp_path / "out").code == 0


@pytest.mark.slow
def test_of_a_hundred_thousand_near_copies_one_stays(tmp_path: Path, roots: Roots) -> None:
    """Pages of 400 words that differ in one."""
    words = [
        f"{head}{tail}{end}" for head in "bdfgklmnpr" for tail in ("aro", "eli", "inu", "obe") for end in "aeiou" * 2
    ]
    (source := tmp_path / "in" / "lm_code_pages").mkdir(parents=True)
    with (source / "a.jsonl").open("w") as file:
        for number in range(100_000):
            text = " ".join([*words[:200], letters(number), *words[200:]])
            file.write(f'{{"text": "{text}"}}\n')
    peak = run_to_the_corpus(tmp_path / "in", tmp_path / "out", "dedup.removed_share_max=1")
    found = accounts(tmp_path / "out")
    assert found["corpus"].documents_in == 100_000
    assert (found["corpus"].kept, found["corpus"].removed) == (1, {"near_duplicate": 99_999})
    assert peak < 2_000_000_000, peak
    assert roots("verify", tmp_path / "out").code == 0
