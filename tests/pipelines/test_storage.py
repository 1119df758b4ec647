"""Runs whose input and output lie in object stores, against servers that speak their protocols."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import lease, recipe, run, runner, stage, storage, verify

Runs = Callable[..., stage.Context]


@pytest.fixture
def runs(small_recipe: Path) -> Runs:
    """Runs the small recipe: runs("gs://...", override, ..., until="clean") -> its context."""

    def go(output: str, *overrides: str, until: str = "shards") -> stage.Context:
        context = stage.Context(storage.at(output), recipe.load(small_recipe, overrides))
        run.run(context, until, runner.Engine(), lambda progress: None)
        return context

    return go


@pytest.fixture(scope="module")
def local(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the files of a run on this machine's disk."""
    context = stage.Context(tmp_path_factory.mktemp("local") / "out", recipe.load(small_recipe))
    run.run(context, "shards", runner.Engine(), lambda progress: None)
    return tree(context.output)


def tree(output: storage.Place) -> dict[str, str]:
    return {
        storage.relative(file, output): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in storage.files(output)
        if file.name not in ("log.jsonl", ".lock")
    }


def data(digests: dict[str, str]) -> dict[str, str]:
    """Without the files that say where the input lay."""
    said = ("_plan.jsonl", "_SUCCESS", ".manifest.json", "recipe.toml", "run.json")
    return {name: digest for name, digest in digests.items() if not name.endswith(said)}


def upload(folder: Path, url: str) -> str:
    for file in storage.files(folder):
        storage.write(storage.at(f"{url}/{storage.relative(file, folder)}"), file.read_bytes())
    return url


def test_a_store_answers_as_a_disk_does(bucket: str, tmp_path: Path) -> None:
    for folder in (storage.at(f"{bucket}/face"), tmp_path / "face"):
        assert storage.files(folder) == []
        assert storage.size(folder / "none") == -1
        for name in ("b/日本 #1?.txt", "b-c/x", "b/a/deep", "a"):
            storage.write(folder / name, name.encode())
        names = [storage.relative(file, folder) for file in storage.files(folder)]
        assert names == ["a", "b/a/deep", "b/日本 #1?.txt", "b-c/x"]  # by the parts of the path
        assert [storage.relative(file, folder) for file in storage.matching(folder, "**/*.txt")] == ["b/日本 #1?.txt"]
        assert [path.name for path in storage.folders(folder)] == ["b", "b-c"]
        assert (storage.size(folder / "b/日本 #1?.txt"), storage.size(folder / "b")) == (16, -1)
        assert [path.exists() for path in (folder / "a", folder / "b", folder / "c")] == [True, True, False]
        assert (folder / "a").is_file()
        assert not (folder / "b").is_file()
        assert storage.present([folder / "a", folder / "z"], folder) == [folder / "a"]
        storage.append(folder / "log", b"1\n")
        storage.append(folder / "log", b"2\n")
        assert (folder / "log").read_bytes() == b"1\n2\n"
        (folder / "a").unlink()
        (folder / "a").unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError, match="face/a"):
            (folder / "a").read_bytes()
        with pytest.raises(FileNotFoundError, match="face/a"):
            storage.opened(folder / "a")


def test_an_object_is_read_here_and_there_and_line_by_line(bucket: str, tmp_path: Path) -> None:
    content = b"".join(b"line %d\n" % number for number in range(200_000))
    place = storage.at(f"{bucket}/lines/many")
    (tmp_path / "many").write_bytes(content)
    storage.publish(tmp_path, ["many"], storage.at(f"{bucket}/lines"))
    with place.open() as file:
        assert list(file) == content.splitlines(keepends=True)
    with storage.opened(place) as file:
        file.seek(-7, os.SEEK_END)
        assert (file.tell(), file.read()) == (len(content) - 7, b"199999\n")
        file.seek(5)
        assert file.read(3) == b"0\nl"
    with storage.local(place) as copy:
        assert copy.read_bytes() == content
    assert not copy.exists()
    with pytest.raises(ValueError, match="opened as 'wb'; an object is written whole"):
        place.open("wb")


def test_a_place_that_nobody_reads_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ftp://x/y: no storage is called ftp://; known are gs, s3, hf, and local"):
        storage.at("ftp://x/y")
    assert storage.at("a/b") == Path("a/b")
    assert str(storage.at("gs://bucket//a/") / "b") == "gs://bucket/a/b"


def test_a_bucket_that_is_not_there_is_told(bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such object or bucket.*nowhere"):
        storage.write(storage.at(bucket.replace("roots", "nowhere") + "/x"), b"x")


def test_the_same_bytes_in_a_store_as_on_a_disk(bucket: str, runs: Runs, local: dict[str, str]) -> None:
    context = runs(f"{bucket}/same")
    assert tree(context.output) == local
    assert not storage.at(f"{bucket}/same/.lock").exists()
    for command in (["verify"], ["inspect", "--reason", "near_duplicate"]):
        call = [sys.executable, "-m", "pipelines", *command, f"{bucket}/same"]
        done = subprocess.run(call, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "corpus  lm_nigercongo-ig_web  near_duplicate: 1 of 10" in done.stdout


def test_input_from_a_store_gives_the_same_corpus(
    bucket: str, runs: Runs, local: dict[str, str], small: Path, tmp_path: Path
) -> None:
    url = upload(small, f"{bucket}/input")
    context = runs(str(tmp_path / "out"), f"sources.folder={url}", until="redact")
    found = data(tree(context.output))
    assert found == {name: digest for name, digest in data(local).items() if name in found}
    assert sum(name.startswith("corpus/") for name in found) > 3


def test_packed_input_is_read_from_a_store(bucket: str, runs: Runs, small: Path, tmp_path: Path) -> None:
    subprocess.run(["gzip", "-k", "-r", "-n", str(shutil.copytree(small, tmp_path / "packed"))], check=True)
    for file in (tmp_path / "packed").rglob("*.jsonl"):
        file.unlink()
    url = upload(tmp_path / "packed", f"{bucket}/packed")
    at_home = runs(str(tmp_path / "one"), f"sources.folder={tmp_path / 'packed'}", until="ingest")
    away = runs(str(tmp_path / "two"), f"sources.folder={url}", until="ingest")
    assert data(tree(away.output)) == data(tree(at_home.output))


def test_a_run_in_a_store_resumes_and_mends(bucket: str, runs: Runs, local: dict[str, str]) -> None:
    context = runs(f"{bucket}/resumed", until="clean")
    lost = next(file for file in storage.files(context.folder("documents")) if file.suffix == ".parquet")
    lost.unlink()
    short = next(file for file in storage.files(context.folder("clean")) if file.suffix == ".parquet")
    short.write_bytes(b"short")
    stray = context.folder("clean") / "lm_nigercongo-sw_news" / "part-00009-of-00010.parquet"
    stray.write_bytes(b"of another plan")
    assert {p.partition(": ")[2].partition(";")[0][:7] for p in verify.problems(context.output)} == {
        "missing",
        "5 bytes",
        "no mani",
    }
    runs(f"{bucket}/resumed")
    assert tree(context.output) == local


def test_verify_reads_every_byte_of_a_store(bucket: str, runs: Runs) -> None:
    context = runs(f"{bucket}/flipped", until="ingest")
    file = next(file for file in storage.files(context.folder("documents")) if file.suffix == ".parquet")
    content = file.read_bytes()
    file.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    assert [problem for problem in verify.problems(context.output) if f"{file}: sha256 is" in problem]


def test_two_runs_in_one_store_folder_are_refused_and_a_dead_one_is_taken_over(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lease, "STILL_SECONDS", 1.2)
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.1)
    output = storage.at(f"{bucket}/lease")
    assert isinstance(output, storage.Remote)
    with (
        lease.held(output),
        pytest.raises(lease.Busy, match=rf"another run is writing here \(.* process {os.getpid()}\)"),
    ):
        lease.held(output).__enter__()
    assert not (output / ".lock").exists()
    dead = lease._Lease(output)
    dead.take()  # and never beats
    with lease.held(output), pytest.raises(lease.Busy):
        dead._check()
    assert not (output / ".lock").exists()


def test_of_two_that_start_together_one_holds(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lease, "STILL_SECONDS", 1.2)
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.5)
    output = storage.at(f"{bucket}/together")
    outcomes = []

    def start() -> None:
        try:
            with lease.held(output):
                outcomes.append("held")
                time.sleep(3)
        except lease.Busy:
            outcomes.append("busy")

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["busy", "busy", "held"]
