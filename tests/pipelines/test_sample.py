"""The embedded sample, held to its table document by document; and killed in the middle of each stage."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import manifest, recipe, run, runner, stage, verify

SAMPLE = Path(str(resources.files("roots.sample")))
OVERRIDES = ["sources.extra=[]", "run.removed_sample=100_000", "tokenizer.vocab_size=2_000"]
STAGES = {
    "documents": "ingest",
    "clean": "clean",
    "annotate": "annotate",
    "corpus": "dedup",
}  # where a reason arises


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> stage.Context:
    """The sample alone, undisturbed, through all stages."""
    output = tmp_path_factory.mktemp("sample") / "out"
    context = stage.Context(output, recipe.load(Path("sample.toml"), OVERRIDES))
    run.run(context, "shards", runner.Engine(), lambda progress: None)
    return context


def outcomes(context: stage.Context) -> dict[str, tuple[str, str, str, str]]:
    """id -> (outcome, stage, reason, witness) of every record of a run."""
    found: dict[str, tuple[str, str, str, str]] = {}
    for name, shown in STAGES.items():
        for path in sorted(context.folder(name).rglob("*.removed.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                told = json.loads(line)
                witness = told["witness"] if shown == "dedup" else ""
                assert told["id"] not in found
                found[told["id"]] = ("removed", shown, told["reason"], witness)
        for path in sorted(context.folder(name).rglob("*.rejects.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                told = json.loads(line)
                found[f"{told['source']}/{told['file']}:{told['record']}"] = (
                    "rejected",
                    shown,
                    told["reason"],
                    "",
                )
    for identity in corpus(context):
        assert identity not in found
        found[identity] = ("kept", "", "", "")
    return found


def corpus(context: stage.Context) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(context.folder("corpus").rglob("*.parquet")):
        table = pq.read_table(path)
        found |= dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return found


def test_every_document_of_the_sample_ends_as_its_table_says(whole: stage.Context) -> None:
    with (SAMPLE / "expected.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    expected = {row["id"]: (row["outcome"], row["stage"], row["reason"], row["witness"]) for row in rows}
    assert outcomes(whole) == expected
    assert {outcome for outcome, *_ in expected.values()} == {"kept", "removed", "rejected"}


def test_the_texts_of_the_sample_end_as_written_down(whole: stage.Context) -> None:
    found = corpus(whole)
    lines = (SAMPLE / "expected_text.jsonl").read_text(encoding="utf-8").splitlines()
    expected = {row["id"]: row["text"] for row in map(json.loads, lines)}
    assert {identity: found.get(identity) for identity in expected} == expected
    assert len(expected) > 10


def test_every_account_of_the_sample_closes(whole: stage.Context) -> None:
    assert list(verify.problems(whole.output)) == []
    for name in ("documents", "clean", "annotate", "corpus", "shards"):
        counts = manifest.total(part.counts for part in whole.manifests(name))
        assert counts.documents_in == counts.kept + sum(counts.removed.values()) + sum(counts.rejected.values())


def test_an_independent_reader_finds_the_documents_in_the_shards(whole: stage.Context) -> None:
    """Reads .bin/.idx from the layout table alone: header, lengths, offsets, document index, ids."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(whole.folder("tokenizer") / "tokenizer.json"))
    texts: dict[str, list[str]] = {}
    for part in whole.manifests("corpus"):
        if part.counts.kept:
            table = pq.read_table(whole.folder("corpus") / f"{part.name}.parquet")
            texts.setdefault(part.source, []).extend(table["text"].to_pylist())
    read: dict[str, list[str]] = {}
    for part in whole.manifests("shards"):
        index = (whole.folder("shards") / f"{part.name}.idx").read_bytes()
        data = (whole.folder("shards") / f"{part.name}.bin").read_bytes()
        assert index[:9] == b"MMIDIDX\0\0"
        assert np.frombuffer(index, "<u8", 1, 9)[0] == 1
        assert index[17] == 8  # uint16: the vocabulary is below 65,500
        sequences, entries = (int(n) for n in np.frombuffer(index, "<u8", 2, 18))
        lengths = np.frombuffer(index, "<i4", sequences, 34)
        offsets = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
        documents = np.frombuffer(index, "<i8", entries, 34 + 12 * sequences)
        assert len(index) == 34 + 12 * sequences + 8 * entries
        assert documents.tolist() == list(range(sequences + 1))
        assert offsets.tolist() == [0, *np.cumsum(lengths[:-1].astype(np.int64) * 2).tolist()]
        assert len(data) == 2 * int(lengths.sum())
        for offset, length in zip(offsets, lengths, strict=True):
            ids = np.frombuffer(data, "<u2", length, offset)
            assert ids[-1] == 2
            assert not np.isin(ids[:-1], [0, 1, 2, 3]).any()
            read.setdefault(part.source, []).append(tokenizer.decode(ids[:-1].tolist(), skip_special_tokens=False))
    assert read == texts


def test_the_committed_cards_of_the_sample_are_what_a_run_makes(whole: stage.Context) -> None:
    """`roots cards OUT --into data_cards/sample` writes them again; plots depend on the version of matplotlib."""
    committed = Path(__file__).parents[2] / "data_cards" / "sample"
    texts = {
        p.relative_to(committed).as_posix(): p.read_text("utf-8")
        for p in committed.rglob("*")
        if p.suffix != ".svg" and p.is_file()
    }
    made = whole.folder("cards")
    assert texts == {name: (made / name).read_text("utf-8") for name in texts}
    assert len(texts) > 2 * 34


def tree(output: Path) -> dict[str, str]:
    files = (path for path in sorted(output.rglob("*")) if path.is_file() and path.name != "log.jsonl")
    return {path.relative_to(output).as_posix(): manifest.file_digest(path) for path in files}


def test_a_run_killed_in_each_stage_ends_with_the_same_bytes(whole: stage.Context, tmp_path: Path) -> None:
    """One folder, killed again and again: as soon as a stage has been planned and a moment into its work."""
    output = tmp_path / "out"
    command = [sys.executable, "-m", "pipelines", "run", "sample.toml", "--output", str(output)]
    command += [f"--set={override}" for override in OVERRIDES]
    stages = [path.parent.relative_to(whole.output) for path in whole.output.rglob("_plan.jsonl")]
    order = sorted(stages, key=lambda name: (whole.output / name / "_plan.jsonl").stat().st_mtime_ns)
    killed = []
    for number, name in enumerate(order):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (output / name / "_plan.jsonl").exists():
            time.sleep(0.005)
        time.sleep(0.03 * (number % 5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not (output / name / manifest.SUCCESS).exists():
            killed.append(name)
        assert not (output / order[-1] / manifest.SUCCESS).exists() or name == order[-1]
    assert len(killed) > len(order) // 2  # most kills came before the stage was declared done
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    assert tree(output) == tree(whole.output)
    assert not list(output.rglob(".*.tmp"))


def test_a_model_trained_on_the_runs_shards_goes_on_after_kill_9_with_the_same_loss(
    whole: stage.Context, tmp_path: Path
) -> None:
    def line(name: str) -> list[str]:
        folders = [f"--shards={whole.output}/shards", f"--tokenizer={whole.output}/tokenizer"]
        options = ["--size=nano", "--steps=40", "--sequence=32", "--checkpoint-every=5", "--threads=1"]
        return [sys.executable, "-m", "pipelines", "model", "train", *folders, *options, f"--output={tmp_path / name}"]

    def losses(name: str) -> list[list[str]]:
        with (tmp_path / name / "log.csv").open(newline="") as file:
            return [row[:5] for row in csv.reader(file)]

    subprocess.run(line("undisturbed"), check=True, capture_output=True)
    process = subprocess.Popen(line("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "killed" / "log.csv"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 12):
        time.sleep(0.003)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    subprocess.run(line("killed"), check=True, capture_output=True)
    assert len(losses("killed")) == 41
    assert losses("killed") == losses("undisturbed")
    evaluation = [(tmp_path / name / "evaluation.csv").read_bytes() for name in ("killed", "undisturbed")]
    assert evaluation[0] == evaluation[1]
