from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pipelines import lease, manifest, recipe, runner, sources, stage, storage, verify, workers
from pipelines import run as running

Text = Callable[[int], str]


@pytest.fixture
def folder(tmp_path: Path, text: Text) -> Path:
    """Two sources: copies within and across them, a template line, a bad record, a near copy."""
    root = tmp_path / "sources"
    swahili = [text(i) + "\nSoma habari zaidi hapa kila siku" for i in range(30)]
    swahili[20] = swahili[3]
    swahili[21] = swahili[4].replace(" ", "  ", 1)  # the same but for white space: a document copy, not an exact one
    english = [text(100 + i) + "\nwrite to a.b@example.org" for i in range(12)]
    english[5] = text(3)  # what swahili[3] is once its template line is gone
    near = text(106).split()
    near[60] = "changed"
    english[7] = " ".join(near) + "\nwrite to a.b@example.org"
    write(root / "lm_nigercongo-sw_news" / "part-00000.jsonl", swahili[:17])
    write(root / "lm_nigercongo-sw_news" / "part-00001.jsonl", swahili[17:])
    write(root / "lm_nigercongo-ig_web" / "part-00000.jsonl", english)
    with (root / "lm_nigercongo-ig_web" / "part-00000.jsonl").open("a") as file:
        file.write("not json\n")
    return root


def write(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": t, "meta": {"n": i}}) + "\n" for i, t in enumerate(texts)))


Runs = Callable[..., stage.Context]


@pytest.fixture
def runs(tmp_path: Path, folder: Path, small_recipe: Path) -> Runs:
    """Runs the small corpus' recipe over the folder: runs("out", until="clean", workers=1, ...) -> its context."""

    def go(
        name: str,
        *overrides: str,
        until: str = "shards",
        workers: int = 1,
        batch_docs: int = 1024,
        watch: running.Watcher = lambda progress: None,
    ) -> stage.Context:
        chosen = recipe.load(small_recipe, [f"sources.folder={folder}", "run.task_bytes=6_000", *overrides])
        context = stage.Context(tmp_path / name, chosen, batch_docs)
        running.run(context, until, runner.Engine(workers=workers), watch)
        return context

    return go


def tree(output: Path) -> dict[str, str]:
    """Digest of every file of a run but the log, which says when."""
    return {
        path.relative_to(output).as_posix(): manifest.file_digest(path)
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name not in ("log.jsonl",)
    }


def corpus(context: stage.Context) -> dict[str, str]:
    """id -> text of the corpus."""
    found = {}
    for path in sorted(context.folder("corpus").rglob("*.parquet")):
        table = pq.read_table(path)
        found |= dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return found


def test_each_document_ends_where_it_must(runs: Runs, text: Text) -> None:
    context = runs("out", until="redact")
    kept = corpus(context)
    counts = {
        part: manifest.total(m.counts for m in context.manifests(part)) for part in ("documents", "clean", "corpus")
    }
    assert counts["documents"].documents_in == 43
    assert counts["documents"].rejected == {"invalid_json": 1}
    assert counts["clean"].removed == {"duplicate_document": 2}
    assert counts["corpus"].removed == {"exact_duplicate": 1, "near_duplicate": 1}
    assert len(kept) == 38
    assert "lm_nigercongo-sw_news/part-00001.jsonl:3" not in kept  # a copy within its source
    assert kept["lm_nigercongo-ig_web/part-00000.jsonl:5"] == text(3)  # the copy that comes first by source stays
    assert "lm_nigercongo-sw_news/part-00000.jsonl:3" not in kept
    assert "lm_nigercongo-ig_web/part-00000.jsonl:7" not in kept  # the near copy of 6
    assert kept["lm_nigercongo-ig_web/part-00000.jsonl:6"] == text(106) + "\nwrite to PI:EMAIL"
    assert kept["lm_nigercongo-sw_news/part-00000.jsonl:0"] == text(0)  # without the template line


def test_a_removed_duplicate_has_a_witness_that_stays(runs: Runs) -> None:
    context = runs("out", until="redact")
    kept = corpus(context)
    rows = [row for path in context.folder("dedup").rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert sorted((row["kind"], row["kept_id"] in kept, row["similarity"] >= 0.8) for row in rows) == [
        ("exact", True, True),
        ("near", True, True),
    ]


@pytest.mark.parametrize("change", [{"batch_docs": 1}, {"batch_docs": 7}])
def test_the_batch_size_changes_no_byte(runs: Runs, change: dict[str, int]) -> None:
    first = tree(runs("one").output)
    assert tree(runs("two", **change).output) == first
    assert len(first) > 60


def test_a_folder_inside_an_installation_is_read_but_none_below_it(folder: Path, tmp_path: Path) -> None:
    """The sample of an installed package lies in `site-packages`; the source python:stdlib has one below it."""
    inside = shutil.copytree(folder, tmp_path / "site-packages" / "sources")
    below = inside / "lm_nigercongo-sw_news" / "site-packages" / "a.jsonl"
    below.parent.mkdir()
    below.write_text("{}")
    found = [
        {source.name: [storage.relative(file, root) for file in source.files] for source in sources.resolve(plan)}
        for root in (folder, inside)
        for plan in [recipe.load(Path("folder.toml"), [f"sources.folder={root}"])]
    ]
    assert found[0] == found[1]
    assert len(found[0]) > 1


def test_tasks_of_tiny_documents_are_cut_by_their_number() -> None:
    def task_rows(weight: int) -> list[int]:
        parts = [
            stage.Slice(path="a", label="a", sha256="", start=i, end=i + 1, weight=weight, rows=1_000) for i in range(6)
        ]
        return [task.slices[0].rows for task in stage.split("lm_en_x", "en", parts, 512_000)]

    assert task_rows(weight=5_000) == [2_000, 2_000, 2_000]
    assert task_rows(weight=600_000) == [1_000] * 6
    assert task_rows(weight=256_000) == [2_000, 2_000, 2_000]


def test_two_worker_processes_change_no_byte(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tree(runs("one", until="clean").output)
    monkeypatch.setattr(runner, "IN_PROCESS_BYTES", 0)
    assert tree(runs("two", until="clean", workers=2).output) == first


def test_a_killed_worker_ends_the_stage_and_the_next_run_has_the_same_bytes(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "IN_PROCESS_BYTES", 0)  # so that this small run has worker processes at all

    killed: list[psutil.Process] = []

    def kill_a_worker(progress: running.Progress) -> None:
        if progress.stage == "annotate" and not killed:
            alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
            killed.append(next(each for each in alive if workers.PROGRAM in each.cmdline()))
            killed[0].kill()

    with pytest.raises(stage.StageFailed, match=r"stage annotate: a worker was killed \(exit code -9; .*run the same"):
        runs("out", until="redact", workers=2, watch=kill_a_worker)
    assert tree(runs("out", until="redact", workers=2).output) == tree(runs("one", until="redact").output)


def test_the_order_of_files_on_the_disk_changes_no_byte(runs: Runs, folder: Path) -> None:
    first = tree(runs("one", until="redact").output)
    source = folder / "lm_nigercongo-sw_news"
    for name in ("part-00001.jsonl", "part-00000.jsonl"):  # written anew in the other order
        data = (source / name).read_bytes()
        (source / name).unlink()
        (source / name).write_bytes(data)
    assert tree(runs("two", until="redact").output) == first


def test_a_second_call_does_nothing_again(runs: Runs) -> None:
    context = runs("out")
    before = {path: path.stat().st_mtime_ns for path in context.output.rglob("*.parquet")}
    first = tree(context.output)
    runs("out")
    assert {path: path.stat().st_mtime_ns for path in context.output.rglob("*.parquet")} == before
    assert tree(context.output) == first


def test_a_changed_input_redoes_its_source_only(runs: Runs, folder: Path) -> None:
    context = runs("out", until="annotate")
    before = {path: path.stat().st_mtime_ns for path in context.folder("clean").rglob("*.parquet")}
    file = folder / "lm_nigercongo-ig_web" / "part-00000.jsonl"
    stamp = file.stat()
    file.write_text(file.read_text().replace("a.b@example.org", "a.c@example.org", 1))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    runs("out", until="annotate")
    changed = {path.parent.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"lm_nigercongo-ig_web"}
    assert tree(context.output) == tree(runs("fresh", until="annotate").output)


def test_a_changed_limit_redoes_its_stage_and_what_follows(runs: Runs) -> None:
    context = runs("out", until="redact")
    before = {path: path.stat().st_mtime_ns for path in context.output.rglob("*.parquet")}
    runs("out", "quality.limits.nigercongo-ig.word_count_min=121", until="redact")
    changed = {path.relative_to(context.output).parts[0] for path, t in before.items() if path.stat().st_mtime_ns != t}
    assert changed == {"annotate", "dedup", "corpus"}
    fresh = runs("fresh", "quality.limits.nigercongo-ig.word_count_min=121", until="redact")
    assert tree(context.output) == tree(fresh.output)


def test_another_cut_of_the_work_leaves_no_stale_shard(runs: Runs) -> None:
    context = runs("out", until="redact")
    runs("out", "run.task_bytes=1_000_000", until="redact")
    assert tree(context.output) == tree(runs("fresh", "run.task_bytes=1_000_000", until="redact").output)
    assert list(verify.problems(context.output)) == []


def test_a_damaged_shard_is_made_again(runs: Runs) -> None:
    context = runs("out", until="clean")
    first = tree(context.output)
    shard = next(context.folder("documents").rglob("*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    assert [p for p in verify.problems(context.output) if str(shard) in p]
    runs("out", until="clean")
    assert tree(context.output) == first


def test_verify_finds_a_flipped_byte_in_every_file(runs: Runs) -> None:
    context = runs("out")
    assert list(verify.problems(context.output)) == []
    files = [path for path in sorted(context.output.rglob("*")) if path.is_file() and path.stat().st_size]
    assert len(files) > 60
    for path in files:
        data = path.read_bytes()
        for place in {0, len(data) // 3, len(data) - 1}:
            path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            assert any(str(path) in problem for problem in verify.problems(context.output)), (path, place)
        path.write_bytes(data)
    assert list(verify.problems(context.output)) == []


def test_verify_tells_of_missing_and_foreign_files(runs: Runs, tmp_path: Path) -> None:
    context = runs("out", until="ingest")
    shard = next(context.folder("documents").rglob("*.parquet"))
    shard.rename(context.output / "stray")
    problems = list(verify.problems(context.output))
    assert [p for p in problems if p.startswith(f"{shard}: missing")]
    assert [p for p in problems if p.startswith(f"{context.output / 'stray'}: no manifest lists it")]
    with pytest.raises(FileNotFoundError, match=r"no run here \(run.json is missing\)"):
        list(verify.problems(tmp_path))


def test_a_second_run_on_the_same_folder_is_refused(runs: Runs, tmp_path: Path) -> None:
    context = runs("out", until="ingest")
    with (context.output / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(lease.Busy, match="another run is writing here"):
            runs("out", until="ingest")


def test_too_many_rejects_stop_the_stage_and_name_the_file(runs: Runs) -> None:
    with pytest.raises(
        stage.StageFailed, match=r"source lm_nigercongo-ig_web: 1 of 13 records rejected .*rejects\.jsonl"
    ):
        runs("out", "ingest.rejected_share_max=0.01", until="ingest")
    context = runs("out", until="ingest")
    rejects = next(context.folder("documents").rglob("*.rejects.jsonl"))
    assert json.loads(rejects.read_text())["raw"] == "not json"


def test_a_damaged_file_stops_the_stage(runs: Runs, folder: Path) -> None:
    (folder / "lm_nigercongo-ig_web" / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(stage.StageFailed, match=r"1 damaged files .*truncated_file.*damaged_files_max is 0"):
        runs("out", until="ingest")


def test_a_task_that_fails_is_named_and_the_others_stay(runs: Runs) -> None:
    with pytest.raises(
        stage.StageFailed, match=r"stage annotate: task lm_.*/part-.*: FileNotFoundError: .*missing\.txt"
    ):
        runs("out", "quality.flagged_words.nigercongo-sw=missing.txt", until="annotate")


def test_a_language_model_that_is_not_there_is_told_before_anything_is_measured(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.bin"):
        runs("out", "language.model=missing.bin", "language.sha256=00ff", until="annotate")
    (tmp_path / "cut.bin").write_bytes(b"half a model")
    with pytest.raises(ValueError, match=r"cut\.bin: expected sha256 00ff, got [0-9a-f]{64}"):
        runs("out", f"language.model={tmp_path / 'cut.bin'}", "language.sha256=00ff", until="annotate")


def test_a_step_that_does_not_exist_is_told_before_anything_is_cleaned(runs: Runs) -> None:
    with pytest.raises(ValueError, match="cleaning step 1, 'no_such', is not implemented"):
        runs("out", 'clean.steps={"lm_*"=["no_such"]}', until="clean")


def test_a_source_without_documents_left_is_accounted_for(runs: Runs, folder: Path) -> None:
    write(folder / "lm_fr_empty" / "part-00000.jsonl", ["  ", "\n"])
    context = runs("out")
    parts = [part for part in context.manifests("clean") if part.source == "lm_fr_empty"]
    assert manifest.total(p.counts for p in parts).removed == {"duplicate_document": 1, "empty_text": 1}
    assert (context.folder("cards") / "lm_fr_empty.md").is_file()
    assert list(verify.problems(context.output)) == []
